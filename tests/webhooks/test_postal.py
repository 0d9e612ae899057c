"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import base64
import importlib.util
import sys
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase, override_settings, tag

from anymail.exceptions import AnymailConfigurationError, AnymailImproperlyInstalled
from anymail.webhooks import postal
from anymail.webhooks.postal import (
    STATUSES,
    PostalInboundWebhookView,
    PostalTrackingWebhookView,
)
from tests.utils import skip_without

from .cases.postal import (
    POSTAL_SIGNATURE,
    postal_key,
    postal_other_private_key,
    postal_private_key,
    postal_signature,
)
from .harness import BASIC_AUTH, WebhookRequest, WebhookTestCase, find_fixtures

SHA256_SIGNATURE = "X-Postal-Signature-256"

VIEWS = {"tracking": PostalTrackingWebhookView, "inbound": PostalInboundWebhookView}

# Signed with OpenSSL, and not by the package that verifies it:
#   openssl genrsa -out key.pem 1024
#   openssl rsa -in key.pem -pubout
#   printf '%s' "$body" | openssl dgst -sha1 -sign key.pem | base64
OPENSSL_KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDR3/XFQlajdvMHW04aJfob35zGXLrX6A9sy61i"
    "drHPgRa0Rc2O50eaWdqm1uES1iAWVo7G5/pgfNHh61qsR0dX8KpaYZHC/TCEnI5sAbG6YDysoqzU"
    "/ZBvVCeA3nV0nRm5PH5jYQltYFhzMM3PtZeq6N0m46T57SwrCC5qME4VaQIDAQAB"
)
OPENSSL_BODY = (
    '{"event":"MessageLoaded","timestamp":1767323045.75,"payload":{},"uuid":"č"}'.encode()
)
OPENSSL_SIGNATURE = (
    "s+PUXszE/81U7DBw74ivTmsWBV+Pc6Hj4cBfIWDMtXtLF6SrJvSnieyaNBtF8XlIGccuaICu6CRe"
    "PaQjgYtIiz0+5zla6nyYm/D3wwD0BIWaXD9O51+mN7h7FWKUbZgaLLobVUOP9+S4K519Hbpe9WKD"
    "T2ngSU06ib28k1puMeo="
)
# The same, with -sha256 and another key
OPENSSL_SHA256_KEY = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDSi5I0cfOysPm/IP7B9s09fB7mpqiC7vCCTNJw"
    "fL2M/0wEpw77kNG+Mq+xc12Dwi557I1rhW30fp3MNAwc3GISaqN3dN/He2uIpKQTEK5T0C8kCOqa"
    "aK75YkP9Fsb/L72lBCse5Se+LamzxfwoGll65PN2V/Jeq1StgSCE2yGiRQIDAQAB"
)
OPENSSL_SHA256_SIGNATURE = (
    "Vlh2NS2Y5AnLvAH+1F910yl8unFK+vPhNYsHhwWE+05/f92Y/X0yGGSNZpuI02utx9Yt/N/3Gf6B"
    "8n/G1wqZAsA7B5kRJvk510772/wEGOlwp9A74FGULUsSiE4JnPEmDbs2L5v/Gi9Efefpob+JtnYW"
    "sBz4lGzCgyCrItJaf6Y="
)


@tag("postal")
class PostalTestCase(WebhookTestCase):
    settings: dict[str, Any] = {"WEBHOOK_SECRET": BASIC_AUTH, "POSTAL_WEBHOOK_KEY": ""}

    def setUp(self):
        super().setUp()
        self.settings = {**self.settings, "POSTAL_WEBHOOK_KEY": postal_key(postal_private_key)}
        override = override_settings(ANYMAIL=self.settings)
        override.enable()
        self.addCleanup(override.disable)

    def request(self, kind="tracking", **body):
        """Return a signed call."""
        request = WebhookRequest(kind=kind, path=f"/anymail/postal/{kind}/", **body)
        if postal_private_key is not None:
            request.headers.setdefault(POSTAL_SIGNATURE, postal_signature(request.body))
        return request

    def assert_refused(self, request, text):
        with self.assertLogs("django.security") as logs:
            response = self.call(request)
        self.assertEqual(response.status_code, 400)
        self.assertIn(text, logs.output[0])
        self.assert_no_signals()


class NoCryptographyTests(PostalTestCase):
    """The cryptography package is needed only to verify a signature."""

    def setUp(self):
        super().setUp()
        modules = {name: None for name in sys.modules if name.partition(".")[0] == "cryptography"}
        patcher = patch.dict(sys.modules, {"cryptography": None, **modules})
        patcher.start()
        self.addCleanup(patcher.stop)

    def unsigned(self, kind, **headers):
        return WebhookRequest(kind, f"/anymail/postal/{kind}/", json={}, headers=headers)

    def test_import(self):
        # Under another name, to leave the module alone.
        spec: Any = importlib.util.spec_from_file_location(
            "anymail.webhooks.imported_again", postal.__file__
        )
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.assertEqual(module.PostalTrackingWebhookView(webhook_key="x").esp_name, "Postal")

    def test_signed_call(self):
        for kind in VIEWS:
            with self.assertRaises(AnymailImproperlyInstalled) as raised:
                self.call(self.unsigned(kind, **{POSTAL_SIGNATURE: "AAAA"}))
            self.assertIn("cryptography", str(raised.exception))
            self.assertIn("django-anymail[postal]", str(raised.exception))
        self.assert_no_signals()

    def test_unsigned_call(self):
        for kind in VIEWS:
            self.assert_refused(self.unsigned(kind), POSTAL_SIGNATURE)

    def test_head(self):
        for kind in VIEWS:
            self.assertEqual(self.client.head(f"/anymail/postal/{kind}/").status_code, 200)


class KeySettingTests(SimpleTestCase):
    def test_missing(self):
        pattern = "POSTAL_WEBHOOK_KEY.*ANYMAIL_POSTAL_WEBHOOK_KEY"
        for kind in VIEWS:
            for method in ("get", "head", "post", "options"):
                with (
                    self.subTest(kind=kind, method=method),
                    override_settings(ANYMAIL={}),
                    self.assertRaisesRegex(AnymailConfigurationError, pattern),
                ):
                    getattr(self.client, method)(f"/anymail/postal/{kind}/")

    def test_settings(self):
        for override in (
            override_settings(ANYMAIL={"POSTAL_WEBHOOK_KEY": "key"}),
            override_settings(ANYMAIL={}, ANYMAIL_POSTAL_WEBHOOK_KEY="key"),
            override_settings(ANYMAIL={}, POSTAL_WEBHOOK_KEY="key"),
        ):
            with override:
                for view in VIEWS.values():
                    self.assertEqual(view().webhook_key, "key")

    @override_settings(ANYMAIL={"POSTAL_WEBHOOK_KEY": "other"})
    def test_as_view(self):
        for view_class in VIEWS.values():
            view: Any = view_class.as_view(webhook_key="key")
            self.assertEqual(view.view_class(**view.view_initkwargs).webhook_key, "key")

    @override_settings(ANYMAIL={"POSTAL_WEBHOOK_KEY": "key", "REQUIRE_WEBHOOK_AUTH": True})
    def test_is_protected(self):
        for view in VIEWS.values():
            self.assertIs(view().is_protected, True)


@skip_without("cryptography")
class SignatureTests(PostalTestCase):
    def test_signed_by_openssl(self):
        request = self.request(raw=OPENSSL_BODY, headers={POSTAL_SIGNATURE: OPENSSL_SIGNATURE})
        with self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": OPENSSL_KEY}):
            self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual(len(self.received), 1)

    def test_raw_body_is_signed(self):
        for kind, body in (
            ("tracking", b'{ "payload":\t{}, "uuid": "\\u010d" }\r\n'),
            ("inbound", b'{"message": "Subject: \xc4\x8d\\n\\n" }\n'),
        ):
            self.assertEqual(self.call(self.request(kind, raw=body)).status_code, 200)

    def test_key_formats(self):
        key = postal_key(postal_private_key)
        lines = "\n".join(key[start : start + 64] for start in range(0, len(key), 64))
        armored = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
        for text in (key, lines, f"\n  {key}\r\n", lines.replace("\n", "\r\n"), armored):
            with (
                self.subTest(text),
                self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": text}),
            ):
                self.assertEqual(self.call(self.request(json={})).status_code, 200)

    def test_no_keys(self):
        from cryptography.hazmat.primitives.asymmetric import ec

        key = postal_key(postal_private_key)
        other_kind = postal_key(ec.generate_private_key(ec.SECP256R1()))
        for text in ("", "junk", "abcde", "é", key[:-20], other_kind, None, 5, b"bytes"):
            with (
                self.subTest(text),
                self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": text}),
            ):
                with self.assertRaisesRegex(AnymailConfigurationError, "POSTAL_WEBHOOK_KEY"):
                    self.call(self.request(json={}))
                if text:
                    self.assertEqual(self.client.head("/anymail/postal/tracking/").status_code, 200)
        self.assert_no_signals()

    def test_error_names_setting_or_header(self):
        for kind in VIEWS:
            request = self.request(kind, json={})
            for signature in ("", "abcde", "?!", "é", "AAAA"):
                request.headers[POSTAL_SIGNATURE] = signature
                self.assert_refused(request, "POSTAL_WEBHOOK_KEY")
            del request.headers[POSTAL_SIGNATURE]
            self.assert_refused(request, POSTAL_SIGNATURE)

    def test_signature_comes_before_decoding(self):
        for kind in VIEWS:
            request = self.request(kind, raw=b"not JSON", headers={POSTAL_SIGNATURE: "AAAA"})
            self.assert_refused(request, "POSTAL_WEBHOOK_KEY")

    def test_without_basic_auth(self):
        with self.anymail_settings(POSTAL_WEBHOOK_KEY=self.settings["POSTAL_WEBHOOK_KEY"]):
            response = self.call(self.request(json={}), authorization=None)
        self.assertEqual(response.status_code, 200)


@skip_without("cryptography")
class Sha256Tests(PostalTestCase):
    """Postal 3.2.0 and newer versions sign with both SHA-1 and SHA-256."""

    def request(self, kind="tracking", **body):
        request = super().request(kind, **body)
        request.headers[SHA256_SIGNATURE] = postal_signature(request.body, digest="SHA256")
        request.headers["X-Postal-Signature-KID"] = "made-up"  # only says which key it is
        return request

    def test_accepted(self):
        for kind, body in (("tracking", {}), ("inbound", {"message": "Subject: Hi\n\n"})):
            request = self.request(kind, json=body)
            self.assertEqual(self.call(request).status_code, 200)
            del request.headers[POSTAL_SIGNATURE]
            self.assertEqual(self.call(request).status_code, 200)

    def test_signed_by_openssl(self):
        headers = {SHA256_SIGNATURE: OPENSSL_SHA256_SIGNATURE}
        request = WebhookRequest(
            "tracking", "/anymail/postal/tracking/", raw=OPENSSL_BODY, headers=headers
        )
        with self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": OPENSSL_SHA256_KEY}):
            self.assertEqual(self.call(request).status_code, 200)

    def test_sha1_does_not_count_beside_sha256(self):
        for kind in VIEWS:
            request = self.request(kind, json={})
            for signature in (
                request.headers[POSTAL_SIGNATURE],
                postal_signature(request.body + b" ", digest="SHA256"),
                postal_signature(request.body, postal_other_private_key, digest="SHA256"),
                "",
                "abcde",
                "é",
            ):
                request.headers[SHA256_SIGNATURE] = signature
                self.assert_refused(request, "POSTAL_WEBHOOK_KEY")

    def test_required(self):
        for kind, body in (("tracking", {}), ("inbound", {"message": "Subject: Hi\n\n"})):
            request = self.request(kind, json=body)
            with self.anymail_settings(**self.settings, POSTAL_REQUIRE_SHA256=True):
                self.received.clear()
                self.assertEqual(self.call(request).status_code, 200)
                self.received.clear()
                del request.headers[SHA256_SIGNATURE]
                self.assert_refused(request, SHA256_SIGNATURE)
            self.assertEqual(self.call(request).status_code, 200)

    def test_required_by_argument(self):
        for view_class in VIEWS.values():
            view: Any = view_class.as_view(require_sha256=True)
            self.assertIs(view.view_class(**view.view_initkwargs).require_sha256, True)
            self.assertIs(view_class().require_sha256, False)

    def test_rotated_keys(self):
        keys = [postal_key(postal_other_private_key), postal_key(postal_private_key)]
        with self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": keys}):
            self.assertEqual(self.call(self.request(json={})).status_code, 200)
        with self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": keys[:1]}):
            self.received.clear()
            self.assert_refused(self.request(json={}), "POSTAL_WEBHOOK_KEY")

    def test_any_wrong_key_is_an_error(self):
        for keys in (["junk", self.settings["POSTAL_WEBHOOK_KEY"]], [None], [5]):
            with (
                self.anymail_settings(**{**self.settings, "POSTAL_WEBHOOK_KEY": keys}),
                self.assertRaisesRegex(AnymailConfigurationError, "POSTAL_WEBHOOK_KEY"),
            ):
                self.call(self.request(json={}))


@skip_without("cryptography")
class TrackingTests(PostalTestCase):
    def test_fixtures_cover_all_statuses(self):
        seen = set()
        for fixture in find_fixtures("postal", "tracking"):
            body = fixture.load().get("json")
            payload = body.get("payload") if isinstance(body, dict) else None
            if isinstance(payload, dict) and isinstance(payload.get("status"), str):
                seen.add(payload["status"])
        self.assertEqual(set(STATUSES) - seen, set())

    def test_times(self):
        for timestamp, expected in (
            (1767323045.999, "2026-01-02T03:04:05+00:00"),
            (1767323045, "2026-01-02T03:04:05+00:00"),
            ("1767323045", "2026-01-02T03:04:05+00:00"),
            (0.5, None),
            (10**30, None),
            (True, None),
            ([1], None),
        ):
            self.call(self.request(json={"timestamp": timestamp}))
            timestamp = self.received.pop().event.timestamp
            self.assertEqual(timestamp and timestamp.isoformat(), expected)

    def test_incoming_messages_are_no_events(self):
        for field in ("message", "original_message"):
            payload = {field: {"id": 5, "direction": "incoming"}, "status": "HardFail"}
            response = self.call(self.request(json={"payload": payload}))
            self.assertEqual(response.status_code, 200)
        self.assert_no_signals()

    def test_ids(self):
        """message_id is a number, as in anymail_status; event_id is text, as for all providers."""
        for message_id, expected in ((902, 902), ("902", 902), ("x", None), (9.5, None)):
            self.call(self.request(json={"payload": {"message": {"id": message_id}}, "uuid": 7}))
            event = self.received.pop().event
            self.assertEqual((event.message_id, event.event_id), (expected, "7"))


@skip_without("cryptography")
class InboundTests(PostalTestCase):
    def test_configuration_errors_are_answered_with_500(self):
        """Postal returns the message to its sender after a 400, but tries again after a 500."""
        self.client.raise_request_exception = False
        for body in (
            {"json": {"rcpt_to": "a@b.example", "plain_body": "Hi"}},
            {"json": {"event": "MessageSent", "payload": {"status": "Sent"}}},
            {"form": [["rcpt_to", "a@b.example"], ["message", "Subject: Hi"]]},
        ):
            response = self.call(self.request("inbound", **body))
            self.assertEqual(response.status_code, 500)
        self.assert_no_signals()

    def test_other_forms(self):
        for body in (
            {"form": [["message", "Subject: Hi"]]},
            {"multipart": [{"name": "message", "value": "Subject: Hi"}]},
        ):
            self.assertEqual(self.call(self.request("inbound", **body)).status_code, 400)

    def test_multipart_form(self):
        request = self.request("inbound", multipart=[{"name": "rcpt_to", "value": "a@b.example"}])
        with self.assertRaisesRegex(AnymailConfigurationError, "JSON"):
            self.call(request)

    def test_json_of_another_content_type(self):
        request = self.request("inbound", json={"message": "Subject: Hi\n\n"})
        request.content_type = "text/plain"
        self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual(self.received[0].event.message.subject, "Hi")

    def test_any_bytes(self):
        """Whatever there is in the message, it arrives."""
        raw = b"Subject: x\r\n\r\n" + bytes(range(256))
        request = self.request(
            "inbound", json={"message": base64.b64encode(raw).decode(), "base64": True}
        )
        self.assertEqual(self.call(request).status_code, 200)
        self.assert_event_contract(self.received[0].event, "inbound")
