"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, SimpleTestCase, override_settings, tag
from urllib3 import HTTPResponse

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInsecureWebhookWarning,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from anymail.inbound import AnymailInboundMessage
from anymail.signals import tracking
from anymail.webhooks.base import AnymailBaseWebhookView
from anymail.webhooks.resend import (
    EVENT_TYPES,
    SUPPRESSION_REASONS,
    ResendInboundWebhookView,
    ResendTrackingWebhookView,
    SvixWebhookValidationMixin,
)
from tests.utils import FIXTURES, skip_without
from tests.webhooks.cases.resend import RESEND_SECRETS, resend_signature
from tests.webhooks.harness import BASIC_AUTH, WebhookRequest, WebhookTestCase, simulated_downloads

SECRET = RESEND_SECRETS["tracking"]
BODY = json.dumps({"type": "email.sent", "data": {"subject": "Grüße"}}, ensure_ascii=False)
SVIX_NAMES = ("svix-id", "svix-timestamp", "svix-signature")
WEBHOOK_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")


class ResendWebhookTestCase(WebhookTestCase):
    settings: dict[str, Any] = {"RESEND_SIGNING_SECRET": SECRET, "RESEND_API_KEY": "api-key"}

    def setUp(self) -> None:
        super().setUp()
        override = override_settings(ANYMAIL=dict(self.settings))
        override.enable()
        self.addCleanup(override.disable)

    def post(self, headers=None, body=BODY, kind="tracking", warns=None):
        request = WebhookRequest(
            kind=kind, path=f"/anymail/resend/{kind}/", text=body, headers=headers or {}
        )
        return self.call(request, authorization=None, warns=warns)

    def assert_accepted(self, *args, **kwargs) -> Any:
        self.received.clear()
        self.assertEqual(self.post(*args, **kwargs).status_code, 200)
        [received] = self.received
        return received.event

    def assert_refused(self, *args, **kwargs) -> None:
        self.received.clear()
        self.assertEqual(self.post(*args, **kwargs).status_code, 400)
        self.assert_no_signals()


def signed(
    message_id="msg_1", timestamp=None, names=SVIX_NAMES, secret=SECRET, body=BODY
) -> dict[str, str]:
    """Return the headers of a call."""
    if timestamp is None:
        timestamp = int(time.time())
    signature = resend_signature(secret, message_id, timestamp, body.encode())
    return dict(zip(names, (message_id, str(timestamp), signature), strict=True))


@tag("resend")
class SignatureTests(ResendWebhookTestCase):
    def test_signed(self):
        event = self.assert_accepted(signed())
        self.assertEqual(event.event_id, "msg_1")

    def test_fraction_of_a_second(self):
        # The timestamp is rounded down before it is signed.
        now = int(time.time())
        for fraction in (0.25, 0.999):
            self.assert_accepted(signed(timestamp=now + fraction))

    def test_unbranded_headers(self):
        event = self.assert_accepted(signed("msg_2", names=WEBHOOK_NAMES))
        self.assertEqual(event.event_id, "msg_2")

    def test_both_kinds_of_headers(self):
        event = self.assert_accepted(
            {**signed("msg_2", names=WEBHOOK_NAMES), **signed("msg_1", names=SVIX_NAMES)}
        )
        self.assertEqual(event.event_id, "msg_1")
        self.assert_refused(
            {**signed("msg_2", names=WEBHOOK_NAMES), **signed(secret="whsec_b3RoZXI=")}
        )

    def test_headers_of_both_kinds_are_not_mixed(self):
        headers = signed()
        headers["webhook-id"] = headers.pop("svix-id")
        self.assert_refused(headers)

    def test_unsigned_id_does_not_replace_a_signed_one(self):
        # Otherwise a call could be repeated with another event_id.
        headers = {**signed("msg_2", names=WEBHOOK_NAMES), "svix-id": "msg_other"}
        self.assertEqual(self.assert_accepted(headers).event_id, "msg_2")

    def test_several_signatures(self):
        headers = signed()
        right = headers["svix-signature"]
        wrong = resend_signature("whsec_b3RoZXI=", "msg_1", 1, b"")
        for signatures in (
            f"{wrong} {right}",
            f"{right} {wrong}",
            f"v1a,{right[3:]} {right}",
            f"no-comma {right}",
            f"v1,=not-base64= {right}",
            f"v1,a,b {right}",
            f"  {right}  ",
        ):
            with self.subTest(signatures):
                self.assert_accepted({**headers, "svix-signature": signatures})
        for signatures in (f"{wrong} {wrong}", f"{wrong} v2,{right[3:]}", " "):
            with self.subTest(signatures):
                self.assert_refused({**headers, "svix-signature": signatures})

    def test_tolerance(self):
        with patch("anymail.webhooks.resend.time.time", return_value=1800000000.5):
            for offset, accepted in (
                (-301, False),
                (-300, False),
                (-299, True),
                (0, True),
                (300, True),
                (301, False),
            ):
                with self.subTest(offset):
                    headers = signed(timestamp=1800000000 + offset)
                    if accepted:
                        self.assert_accepted(headers)
                    else:
                        self.assert_refused(headers)

    def test_less_tolerance(self):
        for max_age, offset, accepted in (
            (60, -50, True),
            (60, -70, False),
            (60, 70, False),
            (3600, -290, True),
            (3600, -310, False),
        ):
            with (
                self.subTest(max_age=max_age, offset=offset),
                self.anymail_settings(**self.settings, WEBHOOK_MAX_AGE=max_age),
            ):
                headers = signed(timestamp=int(time.time()) + offset)
                if accepted:
                    self.assert_accepted(headers)
                else:
                    self.assert_refused(headers)

    def test_signature_is_protection(self):
        with self.anymail_settings(**self.settings, REQUIRE_WEBHOOK_AUTH=True):
            self.assert_accepted(signed())
            self.assertIs(ResendTrackingWebhookView().is_protected, True)
            # It has another secret.
            self.assertIs(ResendInboundWebhookView().is_protected, False)
            self.assertIs(ResendInboundWebhookView(basic_auth="user:pass").is_protected, True)

    def test_huge_timestamps(self):
        for timestamp in ("1e308", "-1e308", "1e999", "9" * 400):
            self.assert_refused({**signed(), "svix-timestamp": timestamp})

    def test_empty_id(self):
        self.assert_refused(signed(""))
        self.assert_refused(signed("", names=WEBHOOK_NAMES))

    def test_id_not_ascii(self):
        self.assert_accepted(signed("msg_é"))

    def test_body_is_verified_as_bytes(self):
        # Neither decoded nor formatted again
        for body in ('{ "type" :"email.sent"}\n', '{"type": "email.sent", "type": "email.opened"}'):
            self.assert_accepted(signed(body=body), body)
        self.assert_refused(signed(body='{"type": "email.sent"}'), '{"type":"email.sent"}')

    def test_error_names_the_setting(self):
        problems = {
            "without a signature": {},
            "with an invalid signature": {**signed(), "svix-id": "other"},
            "with an invalid timestamp": {**signed(), "svix-timestamp": "x"},
            "signed too long ago": signed(timestamp=1),
        }
        for kind, view_class, setting in (
            ("tracking", ResendTrackingWebhookView, "RESEND_SIGNING_SECRET"),
            ("inbound", ResendInboundWebhookView, "RESEND_INBOUND_SECRET"),
        ):
            view = view_class.as_view()
            for text, headers in problems.items():
                request = RequestFactory().post(
                    "/", BODY, content_type="application/json", headers=headers
                )
                with (
                    self.subTest(kind=kind, problem=text),
                    override_settings(ANYMAIL={setting: SECRET, "RESEND_API_KEY": "api-key"}),
                    self.assertRaises(AnymailWebhookValidationFailure) as raised,
                ):
                    view(request)
                self.assertIn(text, str(raised.exception))
                self.assertIn(f"check Anymail {setting}", str(raised.exception))

    def test_error_is_logged(self):
        with self.assertLogs("django.security") as logs:
            self.assert_refused()
        self.assertIn("check Anymail RESEND_SIGNING_SECRET", "".join(logs.output))

    def test_each_view_has_its_own_secret(self):
        body = '{"type": "email.received", "data": {"email_id": "email-1"}}'
        with (
            self.anymail_settings(RESEND_SIGNING_SECRET=SECRET, RESEND_API_KEY="api-key"),
            patch.object(ResendInboundWebhookView, "fetch_message"),
        ):
            self.assert_accepted(kind="inbound", body=body, warns=AnymailInsecureWebhookWarning)
        with self.anymail_settings(RESEND_INBOUND_SECRET=SECRET, RESEND_API_KEY="api-key"):
            self.assert_accepted(warns=AnymailInsecureWebhookWarning)
            self.assert_refused(kind="inbound", body=body)

    def test_head_needs_no_signature(self):
        settings = {**self.settings, "RESEND_INBOUND_SECRET": SECRET}
        for kind in ("tracking", "inbound"):
            with self.anymail_settings(**settings):
                self.assertEqual(self.client.head(f"/anymail/resend/{kind}/").status_code, 200)
                self.assertEqual(self.client.get(f"/anymail/resend/{kind}/").status_code, 405)

    def test_svix_is_not_needed(self):
        with patch.dict(sys.modules, {"svix": None, "svix.webhooks": None}):
            self.assert_accepted(signed())
            self.assert_refused({**signed(), "svix-id": "other"})


@tag("resend")
@skip_without("svix")
class SvixPackageTests(ResendWebhookTestCase):
    """Svix's own implementation agrees."""

    def sign(self, secret=SECRET, message_id="msg_1", body=BODY, timestamp=None):
        from svix.webhooks import Webhook

        timestamp = timestamp or datetime.now(tz=timezone.utc)
        signature = Webhook(secret).sign(message_id, timestamp, body)
        return dict(
            zip(SVIX_NAMES, (message_id, str(timestamp.timestamp()), signature), strict=True)
        )

    def test_signed_by_svix(self):
        for secret in (
            SECRET,
            SECRET.removeprefix("whsec_"),
            "whsec_" + base64.b64encode(bytes(range(256))).decode(),
            "whsec_YQ",  # without padding
        ):
            with self.subTest(secret), self.anymail_settings(RESEND_SIGNING_SECRET=secret):
                self.assert_accepted(self.sign(secret))
                self.assert_refused(self.sign(secret, body=BODY + " "))
                self.assert_refused(self.sign(secret="whsec_b3RoZXI="))

    def test_same_verdicts(self):
        from svix.webhooks import Webhook, WebhookVerificationError

        right = self.sign()
        now = datetime.now(tz=timezone.utc).timestamp()
        for headers in (
            right,
            {name.replace("svix", "webhook"): value for name, value in right.items()},
            *({k: v for k, v in right.items() if k != name} for name in SVIX_NAMES),
            *({**right, name: ""} for name in SVIX_NAMES),
            {**right, "svix-id": "msg_2"},
            {**right, "svix-timestamp": "0"},
            {**right, "svix-timestamp": "x"},
            {**right, "svix-signature": right["svix-signature"].replace("v1,", "v2,")},
            {**right, "svix-signature": "v1,YWJj " + right["svix-signature"]},
            {**right, "svix-signature": "v1,YWJj"},
            *(
                self.sign(timestamp=datetime.fromtimestamp(now + offset, tz=timezone.utc))
                for offset in (-305, -295, 295, 305)
            ),
        ):
            with self.subTest(headers=headers):
                try:
                    Webhook(SECRET).verify(BODY, headers)
                except WebhookVerificationError:
                    self.assert_refused(headers)
                else:
                    self.assert_accepted(headers)


@tag("resend")
class SecretTests(ResendWebhookTestCase):
    def test_forms_of_the_same_secret(self):
        encoded = SECRET.removeprefix("whsec_")
        for secret in (SECRET, encoded, SECRET.rstrip("=")):
            with self.subTest(secret), self.anymail_settings(RESEND_SIGNING_SECRET=secret):
                self.assert_accepted(signed())
                self.assert_refused()

    def test_no_secret(self):
        with self.anymail_settings(RESEND_SIGNING_SECRET=None):
            self.assert_accepted(warns=AnymailInsecureWebhookWarning)
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            self.assert_refused()

    def test_other_than_a_secret(self):
        # An empty secret must not mean that anything is accepted.
        for secret in (
            "",
            "whsec_",
            "whsec_====",
            "re_123!hush",
            "whsec_hushé",
            "hush-hush",
            5,
            [],
            [""],
            [SECRET, "hush-hush"],
        ):
            for kind, setting in (
                ("tracking", "RESEND_SIGNING_SECRET"),
                ("inbound", "RESEND_INBOUND_SECRET"),
            ):
                settings = {setting: secret, "RESEND_API_KEY": "api-key"}
                with self.subTest(secret=secret, kind=kind), self.anymail_settings(**settings):
                    with self.assertRaisesRegex(AnymailConfigurationError, setting) as raised:
                        self.post(signed(), kind=kind)
                    self.assertNotIn("hush", str(raised.exception))
                    self.assertIsNone(raised.exception.__cause__)
                    self.assertTrue(raised.exception.__suppress_context__)
        self.assert_no_signals()

    def test_as_view(self):
        for view_class, option in (
            (ResendTrackingWebhookView, "signing_secret"),
            (ResendInboundWebhookView, "inbound_secret"),
        ):
            view = view_class.as_view(**{option: SECRET})
            instance = view.view_class(**view.view_initkwargs)
            self.assertEqual(getattr(instance, option), SECRET)
        with self.assertRaises(TypeError):
            ResendTrackingWebhookView.as_view(inbound_secret=SECRET)

    def test_setting_is_on_the_view(self):
        self.assertEqual(ResendTrackingWebhookView().signing_secret, SECRET)

    def test_mixin_for_other_views(self):
        class OtherView(SvixWebhookValidationMixin, AnymailBaseWebhookView):
            esp_name = "Other ESP"
            signal = tracking
            svix_setting = "hook_secret"
            hook_secret = None

            def parse_events(self, request):
                return []

        request = RequestFactory().post(
            "/", BODY, content_type="application/json", headers=signed()
        )
        unsigned = RequestFactory().post("/", BODY, content_type="application/json")
        with self.anymail_settings(OTHER_ESP_HOOK_SECRET=SECRET):
            self.assertEqual(OtherView.as_view()(request).status_code, 200)
            with self.assertRaisesRegex(
                AnymailWebhookValidationFailure, "Other ESP.*check Anymail OTHER_ESP_HOOK_SECRET"
            ):
                OtherView.as_view()(unsigned)


@tag("resend")
class TrackingTests(SimpleTestCase):
    def test_fixtures_cover_all(self):
        paths = Path(FIXTURES, "resend", "tracking").glob("*.json")
        bodies = [json.loads(p.read_text())["json"] for p in paths if "expected" not in p.name]
        types = {body["type"] for body in bodies if isinstance(body.get("type"), str)}
        self.assertLessEqual(set(EVENT_TYPES), types)
        data = [body.get("data") for body in bodies]
        reasons = {
            item["suppressed"].get("reason")
            for item in data
            if isinstance(item, dict) and item.get("suppressed")
        }
        self.assertLessEqual(set(SUPPRESSION_REASONS), reasons)


EMAIL = "https://api.resend.com/emails/receiving/email-1"
RECEIVED = json.dumps({"type": "email.received", "data": {"email_id": "email-1"}})


RAW = b"Subject: raw\r\n\r\n" + b"text\r\n" * 50


class Source(io.BytesIO):
    """What is downloaded; knows how it was read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.sizes.append(-1 if size is None else size)
        return super().read(size)

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(size)


@tag("resend")
class InboundTests(ResendWebhookTestCase):
    settings = {"RESEND_API_KEY": "api-key", "WEBHOOK_SECRET": "user:pass"}
    url = "https://cdn.example.com/raw?signature=abc"

    def setUp(self):
        super().setUp()
        self.requests: list[Any] = []
        self.raw = Source(RAW)
        self.email: Any = {"raw": {"download_url": self.url}}
        patcher = patch("requests.adapters.HTTPAdapter.send", self._send)
        patcher.start()
        self.addCleanup(patcher.stop)

    def _send(self, request, **kwargs):
        self.requests.append(request)
        source = (
            self.raw if request.url == self.url else io.BytesIO(json.dumps(self.email).encode())
        )
        raw = HTTPResponse(body=source, status=200, preload_content=False)
        return requests.adapters.HTTPAdapter().build_response(request, raw)

    def message(self, **options):
        request = RequestFactory().post(
            "/",
            RECEIVED,
            content_type="application/json",
            headers={"authorization": "Basic dXNlcjpwYXNz"},
        )
        view = ResendInboundWebhookView(**options)
        view.setup(request)
        view.dispatch(request)
        return self.received.pop().event.message

    def test_authorization(self):
        self.message()
        [api_request, download] = self.requests
        self.assertEqual((api_request.method, api_request.url), ("GET", EMAIL))
        self.assertEqual(api_request.headers["Authorization"], "Bearer api-key")
        self.assertEqual((download.method, download.url), ("GET", self.url))
        self.assertNotIn("Authorization", download.headers)

    def test_methods_to_override(self):
        """Where a package fetches messages in its own way, nothing else is called."""
        email = {"subject": "Hi", "attachments": [{"id": "1", "download_url": "https://x.example"}]}
        attachment = AnymailInboundMessage.construct_attachment("text/plain", "x", filename="1.txt")
        calls: list[Any] = []

        class OwnView(ResendInboundWebhookView):
            def _fetch_inbound_email(self, email_id):
                calls.append(email_id)
                return email

            def _fetch_attachment(self, attachment_data):
                calls.append(attachment_data)
                return attachment

        message = OwnView().fetch_message("email-1")
        self.assertEqual(message.subject, "Hi")
        self.assertEqual([part.get_filename() for part in message.attachments], ["1.txt"])
        self.assertEqual(calls, ["email-1", *email["attachments"]])
        self.assertEqual(self.requests, [])

    def test_methods_to_call(self):
        view = ResendInboundWebhookView()
        self.assertEqual(view._fetch_inbound_email("email-1"), self.email)
        self.raw = Source(b"content")
        part = view._fetch_attachment({"download_url": self.url, "filename": "a.txt"})
        self.assertEqual((part.get_filename(), part.get_content_bytes()), ("a.txt", b"content"))

    def test_authorization_for_attachments(self):
        url = "https://cdn.example.com/1"
        self.email = {"attachments": [{"id": "1", "download_url": url}]}
        self.message()
        [api_request, download] = self.requests
        self.assertEqual(api_request.headers["Authorization"], "Bearer api-key")
        self.assertEqual(download.url, url)
        self.assertNotIn("Authorization", download.headers)

        self.requests.clear()
        self.email = {"attachments": [{"id": "1"}], "data": [{"id": "1", "download_url": url}]}
        self.message()
        self.assertEqual(
            [(request.url, request.headers.get("Authorization")) for request in self.requests],
            [(EMAIL, "Bearer api-key"), (f"{EMAIL}/attachments", "Bearer api-key"), (url, None)],
        )

    def test_raw_is_streamed(self):
        expected = "text\n" * 50
        for options, size in (({}, 65536), ({"download_chunk_size": 40}, 40)):
            self.raw = Source(RAW)
            message = self.message(**options)
            self.assertEqual((message.subject, message.text), ("raw", expected))
            self.assertEqual(set(self.raw.sizes), {size})
            self.assertTrue(self.raw.closed)
        with override_settings(ANYMAIL={**self.settings, "RESEND_DOWNLOAD_CHUNK_SIZE": 50}):
            self.raw = Source(RAW)
            self.message()
            self.assertEqual(set(self.raw.sizes), {50})

    def test_download_hosts(self):
        other = "https://evil.example.com/1"
        by_attachment = {"attachments": [{"id": "1", "download_url": other}]}
        for email in ({"raw": {"download_url": other}}, by_attachment):
            for hosts in ("cdn.example.com", ["cdn.*", "*.example.net"], []):
                self.email = email
                self.requests.clear()
                with self.assertRaisesRegex(AnymailAPIError, "Refused.*evil.example.com"):
                    self.message(download_hosts=hosts)
                self.assertEqual([request.url for request in self.requests], [EMAIL])
        self.email = {"raw": {"download_url": self.url}}
        for hosts in ("cdn.example.com", ["*.example.net", "CDN.*"]):
            with override_settings(ANYMAIL={**self.settings, "RESEND_DOWNLOAD_HOSTS": hosts}):
                self.raw = Source(RAW)
                self.assertEqual(self.message().subject, "raw")

    def test_options_of_the_view(self):
        view = ResendInboundWebhookView(
            api_key="other", api_url="https://example.com/x", basic_auth="a:b"
        )
        self.assertEqual(view.api_key, "other")
        self.assertEqual(view.api_url, "https://example.com/x/")

    def test_api_key_is_required(self):
        pattern = r"\bRESEND_API_KEY\b.*\bANYMAIL_RESEND_API_KEY\b"
        with override_settings(ANYMAIL={"WEBHOOK_SECRET": "user:pass"}):
            for method in ("post", "head"):
                with self.assertRaisesRegex(ImproperlyConfigured, pattern):
                    getattr(self.client, method)("/anymail/resend/inbound/")
            # Tracking does without.
            self.assertEqual(self.client.head("/anymail/resend/tracking/").status_code, 200)
            with override_settings(RESEND_API_KEY="bare"):
                self.assertEqual(self.client.head("/anymail/resend/inbound/").status_code, 200)

    def test_failed_download_is_a_server_error(self):
        # So Resend will call again.
        self.client.raise_request_exception = False
        request = WebhookRequest(kind="inbound", path="/anymail/resend/inbound/", text=RECEIVED)
        with simulated_downloads([], required=False):
            response = self.call(request, authorization="Basic dXNlcjpwYXNz")
        self.assertEqual(response.status_code, 500)
        self.assert_no_signals()

    def test_network_error(self):
        with (
            patch("requests.adapters.HTTPAdapter.send", side_effect=requests.ReadTimeout("late")),
            self.assertRaises(AnymailRequestsAPIError) as raised,
        ):
            self.message()
        self.assertIsInstance(raised.exception, requests.HTTPError)
        self.assertIsInstance(raised.exception, requests.Timeout)
