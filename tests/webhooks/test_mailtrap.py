"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import requests
from django.test import RequestFactory, override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInsecureWebhookWarning,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from anymail.webhooks.decoding import get_list, get_path
from anymail.webhooks.mailtrap import (
    EVENT_TYPES,
    MailtrapInboundWebhookView,
    MailtrapTrackingWebhookView,
)

from .cases.mailtrap import MAILTRAP_SIGNATURE, mailtrap_signature
from .harness import (
    BASIC_AUTH,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    find_fixtures,
    simulated_downloads,
)

MESSAGE_URL = "https://mailtrap.io/api/inbound/inboxes/77/messages/18667"
RAW_URL = "https://bucket.example/raw.eml?sig=x"
NOTIFICATION = {
    "event": "inbound.message_received",
    "timestamp": 1770091200000,
    "inbox_id": 77,
    "message_id": "18667",
}


@tag("mailtrap")
class MailtrapTestCase(WebhookTestCase):
    settings = {"WEBHOOK_SECRET": BASIC_AUTH, "MAILTRAP_API_TOKEN": "test-token"}

    def setUp(self):
        super().setUp()
        override = override_settings(ANYMAIL=self.settings)
        override.enable()
        self.addCleanup(override.disable)

    def request(self, kind, **body):
        return WebhookRequest(kind=kind, path=f"/anymail/mailtrap/{kind}/", **body)


class TrackingTests(MailtrapTestCase):
    def test_fixtures_cover_all_events(self):
        seen = set()
        for fixture in find_fixtures("mailtrap", "tracking"):
            for event in get_list(fixture.load(), "json", "events"):
                if isinstance(get_path(event, "event"), str):
                    seen.add(event["event"])
        self.assertEqual(set(EVENT_TYPES) - seen, set())

    def test_needs_no_token(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            self.assertEqual(self.call(self.request("tracking", json={})).status_code, 200)

    def test_no_signals_if_one_event_is_malformed(self):
        for body in (
            {"json": {"events": [{"event": "open"}, 5]}},
            {"text": '{"event": "open"}\n5'},
            {"text": '{"event": "open"}\n{"event": '},
        ):
            self.assertEqual(self.call(self.request("tracking", **body)).status_code, 400)
        self.assert_no_signals()


class SecretTests(MailtrapTestCase):
    """One secret is for tracking, another for inbound."""

    VIEWS = {
        "tracking": (MailtrapTrackingWebhookView, "MAILTRAP_TRACKING_SECRET"),
        "inbound": (MailtrapInboundWebhookView, "MAILTRAP_INBOUND_SECRET"),
    }

    def assert_refused(self, kind, text, headers=None, **settings):
        with self.anymail_settings(**self.settings, **settings):
            request = self.request(kind, json={}, headers=headers or {})
            with self.assertLogs("django.security") as logs:
                response = self.call(request)
        self.assertEqual(response.status_code, 400)
        self.assertIn(text, logs.output[0])

    def test_error_names_setting(self):
        for kind, (_view, setting) in self.VIEWS.items():
            self.assert_refused(
                kind, setting, {MAILTRAP_SIGNATURE: "0" * 64}, **{setting: "secret"}
            )

    def test_error_names_header(self):
        for kind, (_view, setting) in self.VIEWS.items():
            self.assert_refused(kind, MAILTRAP_SIGNATURE, **{setting: "secret"})

    def test_other_views_secret_does_not_matter(self):
        for kind in self.VIEWS:
            [setting] = [setting for other, (_, setting) in self.VIEWS.items() if other != kind]
            with self.anymail_settings(**self.settings, **{setting: "secret"}):
                self.assertEqual(self.call(self.request(kind, json={})).status_code, 200)

    def test_empty_secret(self):
        """That is not the same as none. And anybody could sign with it."""
        for kind, (_view, setting) in self.VIEWS.items():
            for headers in ({}, {MAILTRAP_SIGNATURE: mailtrap_signature("", b"{}")}):
                for empty in ("", [], [""], ()):
                    self.assert_refused(kind, f"{setting} is empty", headers, **{setting: empty})

    def test_signature_comes_before_decoding(self):
        for kind, (_view, setting) in self.VIEWS.items():
            with self.anymail_settings(**self.settings, **{setting: "secret"}):
                request = self.request(kind, raw=b"not JSON")
                with self.assertLogs("django.security") as logs:
                    self.call(request)
            self.assertIn(MAILTRAP_SIGNATURE, logs.output[0])

    def test_raw_body_is_signed(self):
        body = b'{ "events":[ ]}\r\n'
        headers = {MAILTRAP_SIGNATURE: mailtrap_signature("sécret", body)}
        with self.anymail_settings(**self.settings, MAILTRAP_TRACKING_SECRET="sécret"):
            request = self.request("tracking", raw=body, headers=headers)
            self.assertEqual(self.call(request).status_code, 200)

    def test_insecure_warning(self):
        for view, setting in self.VIEWS.values():
            with (
                self.anymail_settings(MAILTRAP_API_TOKEN="test-token"),
                self.assertWarns(AnymailInsecureWebhookWarning),
            ):
                view()
            with (
                self.anymail_settings(**{"MAILTRAP_API_TOKEN": "test-token", setting: "secret"}),
                self.assert_warnings(),
            ):
                view()

    def test_is_protected(self):
        settings = {"MAILTRAP_API_TOKEN": "test-token", "REQUIRE_WEBHOOK_AUTH": True}
        for view, setting in self.VIEWS.values():
            for secrets, is_protected in (
                ({}, False),
                ({setting: "secret"}, True),
                ({"WEBHOOK_SECRET": BASIC_AUTH}, True),
            ):
                with self.anymail_settings(**settings, **secrets):
                    self.assertIs(view().is_protected, is_protected, secrets)

    def test_as_view(self):
        for kind, (view_class, setting) in self.VIEWS.items():
            argument = setting.removeprefix("MAILTRAP_").lower()
            view = view_class.as_view(**{argument: "secret", "basic_auth": BASIC_AUTH})
            request = RequestFactory().post(
                "/",
                "{}",
                content_type="application/json",
                headers={MAILTRAP_SIGNATURE: "x", "Authorization": basic_auth_header()},
            )
            with (
                self.subTest(kind),
                self.assertRaisesRegex(AnymailWebhookValidationFailure, setting),
            ):
                view(request)


class InboundTests(MailtrapTestCase):
    def receive(self, *downloads, **notification):
        """Return the event that results from a notification."""
        request = self.request("inbound", json={"events": [{**NOTIFICATION, **notification}]})
        with simulated_downloads([*downloads]):
            response = self.call(request)
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        return received.event

    def details(self, **fields):
        return {"url": MESSAGE_URL, "json": {"raw_message_url": RAW_URL, **fields}}

    def test_esp_event_is_what_the_api_tells(self):
        event = self.receive(
            self.details(id="18667", subject="Hi"), {"url": RAW_URL, "text": "Subject: Hi\n\n"}
        )
        self.assertEqual(
            event.esp_event, {"raw_message_url": RAW_URL, "id": "18667", "subject": "Hi"}
        )

    def test_requests(self):
        sent = []
        send = requests.Session.send

        def spy(session, request, **kwargs):
            sent.append((request, kwargs))
            return send(session, request, **kwargs)

        with patch.object(requests.Session, "send", spy):
            self.receive(self.details(), {"url": RAW_URL, "text": "\n"})
        (api_request, api_args), (raw_request, raw_args) = sent
        self.assertEqual(api_request.url, MESSAGE_URL)
        self.assertEqual(api_request.headers["Authorization"], "Bearer test-token")
        self.assertNotIn("Api-Token", api_request.headers)
        # The URL of the raw message has a signature of its own.
        self.assertEqual(raw_request.url, RAW_URL)
        self.assertNotIn("Authorization", raw_request.headers)
        self.assertNotIn("test-token", str(raw_request.headers))
        for arguments in (api_args, raw_args):
            self.assertEqual(arguments["timeout"], 30)
            self.assertFalse(arguments["allow_redirects"])
            self.assertTrue(arguments["stream"])

    def test_chunk_size(self):
        settings = {**self.settings, "MAILTRAP_DOWNLOAD_CHUNK_SIZE": 10}
        for expected, context in (
            (65536, self.anymail_settings(**self.settings)),
            (10, self.anymail_settings(**settings)),
        ):
            sizes = []
            iter_content = requests.Response.iter_content

            def spy(response, chunk_size, sizes=sizes, iter_content=iter_content):
                sizes.append((response.url, chunk_size))
                return iter_content(response, chunk_size)

            with context, patch.object(requests.Response, "iter_content", spy):
                event = self.receive(
                    self.details(), {"url": RAW_URL, "text": "Subject: Hi\n\n" + "a b c\n" * 50}
                )
            self.received.clear()
            self.assertIn((RAW_URL, expected), sizes)
            self.assertEqual(event.message.text, "a b c\n" * 50)

    def test_download_hosts(self):
        host = RAW_URL.split("/")[2]
        raw = {"url": RAW_URL, "text": "Subject: Hi\n\n"}
        for hosts in (host, [host], ["*.example.net", host.upper()], [f"*{host[1:]}"], "*"):
            with (
                self.subTest(hosts=hosts),
                self.anymail_settings(**self.settings, MAILTRAP_DOWNLOAD_HOSTS=hosts),
            ):
                self.assertEqual(self.receive(self.details(), raw).message.subject, "Hi")
            self.received.clear()
        for hosts in ("example.net", ["*.example.net", f"{host}.example.net"], [], ""):
            with (
                self.subTest(hosts=hosts),
                self.anymail_settings(**self.settings, MAILTRAP_DOWNLOAD_HOSTS=hosts),
                self.assertRaisesRegex(AnymailAPIError, "Refused to download"),
            ):
                self.receive(self.details())
        self.assert_no_signals()

    def test_download_hosts_as_argument(self):
        for hosts, expected in ((None, ["*"]), ("a.example", ["a.example"]), (["b"], ["b"])):
            arguments = {} if hosts is None else {"download_hosts": hosts}
            view: Any = MailtrapInboundWebhookView.as_view(**arguments)
            self.assertEqual(view.view_class(**view.view_initkwargs).download_hosts, expected)

    def test_too_large(self):
        with (
            self.anymail_settings(**self.settings, INBOUND_MAX_BYTES=1000),
            self.assertRaisesRegex(Exception, "INBOUND_MAX_BYTES"),
        ):
            self.receive(self.details(), {"url": RAW_URL, "text": "\n" + "x" * 2000})
        self.assert_no_signals()

    def test_connection_error(self):
        error = requests.ConnectionError("refused")
        with (
            patch("requests.adapters.HTTPAdapter.send", side_effect=error),
            self.assertRaises(AnymailRequestsAPIError) as raised,
        ):
            self.call(self.request("inbound", json={"events": [NOTIFICATION]}))
        self.assertIsInstance(raised.exception, requests.ConnectionError)

    def test_missing_token(self):
        pattern = r"MAILTRAP_API_TOKEN.*ANYMAIL_MAILTRAP_API_TOKEN"
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            for make_call in (
                lambda: self.call(self.request("inbound", json={})),
                lambda: self.client.head("/anymail/mailtrap/inbound/"),
            ):
                with self.assertRaisesRegex(AnymailConfigurationError, pattern):
                    make_call()

    @override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH}, MAILTRAP_API_TOKEN="bare-token")
    def test_bare_token(self):
        self.assertEqual(MailtrapInboundWebhookView().api_token, "bare-token")

    def test_api_url(self):
        self.assertEqual(MailtrapInboundWebhookView().api_url, "https://mailtrap.io/api/")
        for settings, arguments, expected in (
            ({"MAILTRAP_API_URL": "https://bulk.example/api"}, {}, "https://mailtrap.io/api/"),
            ({"MAILTRAP_INBOUND_API_URL": "https://a.example"}, {}, "https://a.example/"),
            ({}, {"api_url": "https://b.example/api"}, "https://b.example/api/"),
            (
                {"MAILTRAP_INBOUND_API_URL": "https://a.example"},
                {"api_url": "https://b.example/"},
                "https://b.example/",
            ),
        ):
            with self.anymail_settings(**self.settings, **settings):
                view = MailtrapInboundWebhookView.as_view(**arguments)
                self.assertEqual(
                    view.view_class(**view.view_initkwargs).api_url, expected, settings
                )

    def test_samples_are_not_fetched(self):
        for notification in (
            {**NOTIFICATION, "inbox_id": 1},
            {**NOTIFICATION, "event": "inbound_message_received", "inbox_id": None},
            {"event": "inbound_message_received"},
        ):
            with patch.object(requests, "get") as mock_get:
                response = self.call(self.request("inbound", json={"events": [notification]}))
            self.assertEqual(response.status_code, 200)
            mock_get.assert_not_called()
        self.assert_no_signals()

    def test_malformed_mime(self):
        for raw in ("", "\n\n", "no headers", "Content-Type: multipart/mixed; boundary=x\n\n--x"):
            with self.subTest(raw):
                event = self.receive(self.details(), {"url": RAW_URL, "text": raw})
                self.assert_event_contract(event, "inbound")
                self.received.clear()

    def test_unknown_event_is_logged(self):
        notification = {**NOTIFICATION, "event": "inbound.message_deleted"}
        with self.assertLogs("anymail.webhooks", "WARNING") as logs:
            response = self.call(self.request("inbound", json={"events": [notification]}))
        self.assertEqual(response.status_code, 200)
        self.assertIn("inbound.message_deleted", logs.output[0])
        self.assert_no_signals()

    def test_times(self):
        for timestamp, expected in (
            (1770091200123, "2026-02-03T04:00:00.123000+00:00"),
            (1770091200, "2026-02-03T04:00:00+00:00"),
            (10**30, None),
            (True, None),
            ([1], None),
        ):
            event = self.receive(
                self.details(), {"url": RAW_URL, "text": "\n"}, timestamp=timestamp
            )
            self.received.clear()
            self.assertEqual(event.timestamp and event.timestamp.isoformat(), expected)

    def test_json_of_the_api_can_have_other_fields(self):
        event = self.receive(
            {"url": MESSAGE_URL, "text": json.dumps({"raw_message_url": RAW_URL, "new": [1]})},
            {"url": RAW_URL, "text": "\n"},
        )
        self.assertEqual(event.esp_event["new"], [1])
