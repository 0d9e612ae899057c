"""What the fixture pairs and the contract suite don't cover. (And under Brevo's former name.)"""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import requests
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailDeprecationWarning,
    AnymailRequestsAPIError,
)
from anymail.webhooks.brevo import EVENT_TYPES, BrevoInboundWebhookView
from tests.utils import FIXTURES
from tests.webhooks.harness import BASIC_AUTH, WebhookRequest, WebhookTestCase, simulated_downloads

API = "https://api.brevo.com/v3/inbound/attachments/"


@tag("brevo")
class BrevoWebhookTests(WebhookTestCase):
    def post(self, kind, body, esp="brevo", warnings=(), **settings):
        request = WebhookRequest(
            kind=kind, path=f"/anymail/{esp}/{kind}/", json=body, warnings=warnings
        )
        settings = {"WEBHOOK_SECRET": BASIC_AUTH, "BREVO_API_KEY": "test-key", **settings}
        with self.anymail_settings(**settings):
            response = self.call(request)
        self.assertEqual(response.status_code, 200)
        events = [received.event for received in self.received]
        self.received.clear()
        return events

    def post_attachment(self, downloads, **kwargs):
        attachment = {
            "Name": "a.txt",
            "ContentType": "text/plain",
            "ContentID": None,
            "DownloadToken": "token",
        }
        with simulated_downloads(downloads):
            [event] = self.post("inbound", {"items": [{"Attachments": [attachment]}]}, **kwargs)
        [part] = event.message.attachments
        return part

    def test_fixtures_cover_all_events(self):
        paths = Path(FIXTURES, "brevo", "tracking").glob("*.json")
        bodies = [json.loads(path.read_text(encoding="utf-8")).get("json") for path in paths]
        seen = {
            body["event"]
            for body in bodies
            if isinstance(body, dict) and isinstance(body.get("event"), str)
        }
        self.assertEqual(set(EVENT_TYPES) - seen, set())

    def test_metadata_is_nested_too_deeply(self):
        [event] = self.post("tracking", {"event": "spam", "X-Mailin-custom": "[" * 100_000})
        self.assertEqual(event.metadata, {})

    def test_tracking_needs_no_key(self):
        request = WebhookRequest(
            kind="tracking", path="/anymail/brevo/tracking/", json={"event": "delivered"}
        )
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            self.assertEqual(self.call(request).status_code, 200)

    def test_inbound_needs_a_key(self):
        request = WebhookRequest(kind="inbound", path="/anymail/brevo/inbound/", json={"items": []})
        pattern = r"\bBREVO_API_KEY.*ANYMAIL_BREVO_API_KEY"
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, SENDINBLUE_API_KEY="not-this"),
            self.assertRaisesRegex(AnymailConfigurationError, pattern),
        ):
            self.call(request)

    def test_bare_key(self):
        with override_settings(BREVO_API_KEY="bare", ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH}):
            self.assertEqual(BrevoInboundWebhookView().api_key, "bare")

    def test_download_request(self):
        item = {"Attachments": [{"DownloadToken": "a/b", "Name": "x.csv"}]}
        with (
            simulated_downloads([{"url": API + "a%2Fb"}]),
            patch.object(
                requests.Session, "get", autospec=True, side_effect=requests.Session.get
            ) as mock_get,
        ):
            self.post("inbound", {"items": [item]}, REQUESTS_TIMEOUT=7)
        [call] = mock_get.call_args_list
        self.assertEqual(call.args[1], API + "a%2Fb")
        self.assertEqual(call.kwargs["headers"]["api-key"], "test-key")
        self.assertEqual(call.kwargs["timeout"], 7)

    def test_attachment_charset(self):
        part = self.post_attachment(
            [{"url": API + "token", "content_type": "text/plain; charset=utf-16", "base64": "YQA="}]
        )
        self.assertEqual(part.get_content_text(), "a")

    def test_failed_downloads(self):
        for status, error in ((404, AnymailRequestsAPIError), (500, requests.HTTPError)):
            with self.subTest(status), self.assertRaises(error) as raised:
                self.post_attachment([{"url": API + "token", "status": status}])
            self.assertNotIn("test-key", str(raised.exception))
            self.assert_no_signals()

    def test_size_limit(self):
        download = {"url": API + "token", "text": "1234567890"}
        with self.assertRaisesRegex(AnymailAPIError, "INBOUND_MAX_BYTES=9"):
            self.post_attachment([download], INBOUND_MAX_BYTES=9)
        part = self.post_attachment([download], INBOUND_MAX_BYTES=10)
        self.assertEqual(part.get_content_bytes(), b"1234567890")

    def test_api_url(self):
        part = self.post_attachment(
            [{"url": "http://127.0.0.1:8025/v3/inbound/attachments/token", "text": "a"}],
            BREVO_API_URL="http://127.0.0.1:8025/v3",
        )
        self.assertEqual(part.get_content_bytes(), b"a")

    def test_deprecated_urls(self):
        for kind, body in (("tracking", {"event": "delivered"}), ("inbound", {"items": [{}]})):
            with self.subTest(kind):
                with (
                    self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, SENDINBLUE_API_KEY="k"),
                    self.assertWarns(AnymailDeprecationWarning) as caught,
                ):
                    self.client.head(f"/anymail/sendinblue/{kind}/")
                text = str(caught.warning)
                for part in (
                    "Anymail's SendinBlue webhook URLs are deprecated.",
                    f"anymail/sendinblue/{kind}/",
                    f"anymail/brevo/{kind}/",
                ):
                    self.assertIn(part, text)
                [event] = self.post(
                    kind,
                    body,
                    esp="sendinblue",
                    warnings=("AnymailDeprecationWarning",),
                    SENDINBLUE_API_KEY="test-key",
                )
                self.assertIsNotNone(event)

    def test_deprecated_inbound_url_needs_its_own_key(self):
        request = WebhookRequest(
            kind="inbound",
            path="/anymail/sendinblue/inbound/",
            json={"items": []},
            warnings=("AnymailDeprecationWarning",),
        )
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, BREVO_API_KEY="not-this"),
            self.assertRaisesRegex(AnymailConfigurationError, "SENDINBLUE_API_KEY"),
        ):
            self.call(request)
