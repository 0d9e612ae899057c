"""SendGrid's webhooks, beyond the fixture pairs and what all webhooks have in common."""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import time
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

from django.http import HttpRequest, HttpResponseBase
from django.test import SimpleTestCase, override_settings, tag
from django.urls import reverse

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInsecureWebhookWarning,
)
from anymail.webhooks import sendgrid
from anymail.webhooks.sendgrid import SendGridInboundWebhookView, SendGridTrackingWebhookView

from .cases.sendgrid import (
    SENDGRID,
    SENDGRID_CAN_SIGN,
    SENDGRID_SIGNATURE,
    SENDGRID_TIMESTAMP,
    sendgrid_key,
    sendgrid_sign,
)
from .harness import BASIC_AUTH, BOUNDARY, WebhookRequest, WebhookTestCase

if SENDGRID_CAN_SIGN:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

KEY_SETTING = "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"
INBOUND_KEY_SETTING = "SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY"


@tag("sendgrid")
class SendGridTestCase(WebhookTestCase):
    kind = "tracking"

    def setUp(self) -> None:
        super().setUp()
        override = override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH})
        override.enable()
        self.addCleanup(override.disable)
        self.path = reverse(SENDGRID.view(self.kind).url_name)

    def make_request(self, **body: Any) -> WebhookRequest:
        return WebhookRequest(self.kind, self.path, **body)

    def get_event(self, **body: Any) -> Any:
        """Make a call, and return its event."""
        self.received.clear()
        response = self.call(self.make_request(**body))
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        self.assert_event_contract(received.event, self.kind)
        return received.event


class NoCryptographyTests(SendGridTestCase):
    """The cryptography package is optional."""

    def setUp(self) -> None:
        super().setUp()
        modules = {name: None for name in sys.modules if name.partition(".")[0] == "cryptography"}
        patcher = patch.dict(sys.modules, {"cryptography": None, **modules})
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_without_key(self):
        # Whether it can be imported: under another name, to leave the module alone.
        spec: Any = importlib.util.spec_from_file_location(
            "anymail.webhooks.imported_again", sendgrid.__file__
        )
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for view in (module.SendGridTrackingWebhookView, module.SendGridInboundWebhookView):
            self.assertEqual(view().esp_name, "SendGrid")

    def test_call_without_key(self):
        self.assertEqual(self.get_event(json=[{"event": "delivered"}]).event_type, "delivered")

    def test_key(self):
        request = self.make_request(json=[{"event": "delivered"}])
        with (
            self.anymail_settings(**{KEY_SETTING: "AAAA"}),
            self.assertRaises(AnymailImproperlyInstalled) as raised,
        ):
            self.call(request)
        self.assertIn("cryptography", str(raised.exception))
        self.assertIn("django-anymail[sendgrid]", str(raised.exception))

    def test_key_does_not_matter_to_inbound(self):
        with self.anymail_settings(**{KEY_SETTING: "AAAA", "WEBHOOK_SECRET": BASIC_AUTH}):
            request = WebhookRequest(
                "inbound",
                reverse("anymail:sendgrid_inbound_webhook"),
                form=[["headers", "Subject: Hi\n"]],
            )
            self.assertEqual(self.call(request).status_code, 200)


@skipUnless(SENDGRID_CAN_SIGN, "cryptography is not installed")
@tag("sendgrid")
class VerificationKeyTests(SimpleTestCase):
    def setUp(self) -> None:
        self.private_key = ec.generate_private_key(ec.SECP256R1())
        self.key = sendgrid_key(self.private_key)

    def assert_is_key(self, view: Any) -> None:
        self.assertEqual(
            view.webhook_verification_key.public_numbers(),
            self.private_key.public_key().public_numbers(),
        )

    def test_as_view(self):
        view: Any = SendGridTrackingWebhookView.as_view(tracking_webhook_verification_key=self.key)
        self.assert_is_key(view.view_class(**view.view_initkwargs))

    def test_settings(self):
        for override in (
            override_settings(ANYMAIL={KEY_SETTING: self.key}),
            override_settings(**{f"ANYMAIL_{KEY_SETTING}": self.key}),
            override_settings(**{KEY_SETTING: self.key}),
        ):
            with override:
                self.assert_is_key(SendGridTrackingWebhookView())

    def test_formats(self):
        lines = f"{self.key[:64]}\n{self.key[64:]}"
        armored = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
        for key in (lines, f"  {self.key}\r\n", armored, armored.replace("\n", "\r\n")):
            with self.subTest(key=key):
                self.assert_is_key(
                    SendGridTrackingWebhookView(tracking_webhook_verification_key=key)
                )

    def test_no_keys(self):
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        for key in ("junk", "abcde", "é", self.key[:-20], sendgrid_key(rsa_key), 123, b"bytes"):
            with self.subTest(key=key):
                with self.assertRaisesRegex(AnymailConfigurationError, KEY_SETTING) as raised:
                    SendGridTrackingWebhookView(tracking_webhook_verification_key=key)
                self.assertNotIn(str(key), str(raised.exception))

    @override_settings(ANYMAIL={})
    def test_not_configured(self):
        for key in (None, "", [], [""]):
            with self.assertWarns(AnymailInsecureWebhookWarning):
                view = SendGridTrackingWebhookView(tracking_webhook_verification_key=key)
            self.assertIsNone(view.webhook_verification_key)

    def test_inbound_has_its_own_key(self):
        for view_class, other_setting, option in (
            (SendGridInboundWebhookView, KEY_SETTING, "inbound_webhook_verification_key"),
            (SendGridTrackingWebhookView, INBOUND_KEY_SETTING, "tracking_webhook_verification_key"),
        ):
            with (
                override_settings(ANYMAIL={other_setting: self.key}),
                self.assertWarns(AnymailInsecureWebhookWarning),
            ):
                self.assertIsNone(view_class().webhook_verification_key)
            view: Any = view_class.as_view(**{option: self.key})
            self.assert_is_key(view.view_class(**view.view_initkwargs))
        for override in (
            override_settings(ANYMAIL={INBOUND_KEY_SETTING: self.key}),
            override_settings(**{INBOUND_KEY_SETTING: self.key}),
        ):
            with override:
                self.assert_is_key(SendGridInboundWebhookView())

    def test_error_names_the_view_s_setting(self):
        for view_class, setting in (
            (SendGridTrackingWebhookView, KEY_SETTING),
            (SendGridInboundWebhookView, INBOUND_KEY_SETTING),
        ):
            for keys in ("junk", [self.key, "junk"]):
                with (
                    self.subTest(setting=setting, keys=keys),
                    override_settings(ANYMAIL={setting: keys}),
                    self.assertRaisesRegex(AnymailConfigurationError, setting),
                ):
                    view_class()

    def test_first_of_several(self):
        other = sendgrid_key(ec.generate_private_key(ec.SECP256R1()))
        for keys in ([self.key, other], (self.key,), ["", self.key, other]):
            self.assert_is_key(SendGridTrackingWebhookView(tracking_webhook_verification_key=keys))


@skipUnless(SENDGRID_CAN_SIGN, "cryptography is not installed")
class SignatureTests(SendGridTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.private_key = ec.generate_private_key(ec.SECP256R1())
        override = override_settings(
            ANYMAIL={KEY_SETTING: sendgrid_key(self.private_key), "WEBHOOK_SECRET": BASIC_AUTH}
        )
        override.enable()
        self.addCleanup(override.disable)

    def signed_request(self, body: bytes, timestamp: str = "1930000000") -> WebhookRequest:
        signature = self.private_key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            SENDGRID_TIMESTAMP: timestamp,
            SENDGRID_SIGNATURE: base64.b64encode(signature).decode(),
        }
        return self.make_request(raw=body, headers=headers)

    def test_raw_body_is_signed(self):
        # SendGrid's calls end with CRLF, and have JSON in no normal form.
        request = self.signed_request(b'[ {"event" : "delivered" }]\r\n')
        self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual(len(self.received), 1)

    def test_timestamp_can_be_anything(self):
        for timestamp in ("timestamp", "data timestamp", "0", "1"):
            with self.subTest(timestamp=timestamp):
                request = self.signed_request(b"[]", timestamp)
                self.assertEqual(self.call(request).status_code, 200)

    def assert_refused(self, request: WebhookRequest, text: str) -> None:
        with self.assertLogs("django.security") as logs:
            response = self.call(request)
        self.assertEqual(response.status_code, 400)
        self.assertIn(text, logs.output[0])
        self.assert_no_signals()

    def test_refused(self):
        for header, value, text in (
            (SENDGRID_SIGNATURE, None, SENDGRID_SIGNATURE),
            (SENDGRID_TIMESTAMP, None, SENDGRID_TIMESTAMP),
            (SENDGRID_SIGNATURE, "", f"check Anymail {KEY_SETTING}"),
            (SENDGRID_SIGNATURE, "abcde", f"check Anymail {KEY_SETTING}"),
            (SENDGRID_SIGNATURE, "\xe9\xe8", f"check Anymail {KEY_SETTING}"),
            (SENDGRID_TIMESTAMP, "", f"check Anymail {KEY_SETTING}"),
            (SENDGRID_TIMESTAMP, "1930000001", f"check Anymail {KEY_SETTING}"),
        ):
            with self.subTest(header=header, value=value):
                request = self.signed_request(b"[]")
                if value is None:
                    del request.headers[header]
                else:
                    request.headers[header] = value
                self.assert_refused(request, text)

    def test_freshness(self):
        now = int(time.time())
        for timestamp, fresh in (
            (str(now - 50), True),
            (str(now + 50), True),
            (str(now - 200), False),
            (str(now + 200), False),
            ("timestamp", False),
            ("nan", False),
        ):
            with (
                self.subTest(timestamp=timestamp),
                self.anymail_settings(
                    **{KEY_SETTING: sendgrid_key(self.private_key)},
                    WEBHOOK_SECRET=BASIC_AUTH,
                    WEBHOOK_MAX_AGE=100,
                ),
            ):
                request = self.signed_request(b"[]", timestamp)
                if fresh:
                    self.assertEqual(self.call(request).status_code, 200)
                else:
                    self.assert_refused(request, "WEBHOOK_MAX_AGE")
                # An old call is none of SendGrid's just because its timestamp is changed.
                request.headers[SENDGRID_TIMESTAMP] = str(now)
                if timestamp != str(now):
                    self.assert_refused(request, f"check Anymail {KEY_SETTING}")

    def test_signature_is_protection(self):
        key = sendgrid_key(self.private_key)
        with self.anymail_settings(**{KEY_SETTING: key}, REQUIRE_WEBHOOK_AUTH=True):
            request = self.signed_request(b"[]")
            self.assertEqual(self.call(request, authorization=None).status_code, 200)
            self.assertIs(SendGridTrackingWebhookView().is_protected, True)
            self.assertIs(SendGridInboundWebhookView().is_protected, False)
        with self.anymail_settings(REQUIRE_WEBHOOK_AUTH=True):
            self.assertIs(SendGridTrackingWebhookView().is_protected, False)
            view = SendGridTrackingWebhookView(basic_auth="user:pass")
            self.assertIs(view.is_protected, True)

    def test_signature_comes_before_decoding(self):
        request = self.signed_request(b"[]")
        request.raw = b"not JSON"
        self.assert_refused(request, f"check Anymail {KEY_SETTING}")

    def test_without_basic_auth(self):
        with self.anymail_settings(**{KEY_SETTING: sendgrid_key(self.private_key)}):
            request = self.signed_request(b"[]")
            self.assertEqual(self.call(request, authorization=None).status_code, 200)


@skipUnless(SENDGRID_CAN_SIGN, "cryptography is not installed")
class InboundSignatureTests(SendGridTestCase):
    """Beyond what the contract suite tests."""

    kind = "inbound"
    form = ({"name": "headers", "value": "Subject: Hi\n"}, {"name": "text", "value": "Hello"})

    def setUp(self) -> None:
        super().setUp()
        settings = {INBOUND_KEY_SETTING: SENDGRID.settings[INBOUND_KEY_SETTING]}
        override = override_settings(ANYMAIL=settings)
        override.enable()
        self.addCleanup(override.disable)

    def signed(self, *parts: Any) -> WebhookRequest:
        request = self.make_request(multipart=[*self.form, *parts])
        sendgrid_sign(request)
        return request

    def test_error_names_the_setting(self):
        request = self.signed()
        request.headers[SENDGRID_TIMESTAMP] += "1"
        with self.assertLogs("django.security") as logs:
            self.assertEqual(self.call(request).status_code, 400)
        self.assertIn(f"check Anymail {INBOUND_KEY_SETTING}", logs.output[0])

    def test_freshness(self):
        for age, status in ((50, 200), (150, 400)):
            request = self.make_request(multipart=list(self.form))
            sendgrid_sign(request, str(int(time.time()) - age))
            with self.anymail_settings(
                **{INBOUND_KEY_SETTING: SENDGRID.settings[INBOUND_KEY_SETTING]}, WEBHOOK_MAX_AGE=100
            ):
                self.assertEqual(self.call(request).status_code, status)

    @override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10_000)
    def test_size_of_calls_is_limited(self):
        for size, status in ((9_000, 200), (11_000, 400)):
            file = {"name": "attachment1", "filename": "a.txt", "text": "x" * size}
            self.assertEqual(self.call(self.signed(file)).status_code, status)

    def test_middleware_that_reads_the_form(self):
        with (
            self.modify_settings(MIDDLEWARE={"append": f"{__name__}.read_form"}),
            self.assertRaisesRegex(AnymailConfigurationError, "middleware"),
        ):
            self.call(self.signed())
        self.assert_no_signals()


class TrackingTests(SendGridTestCase):
    def test_wrong_types(self):
        wrong: dict[str, Any] = {
            "event": ["delivered"],
            "email": 5,
            "timestamp": "soon",
            "category": {"a": 1},
            "sg_event_id": ["x"],
            "anymail_id": {"x": 1},
            "smtp-id": [1],
            "url": 5,
            "useragent": None,
            "response": ["250"],
        }
        event = self.get_event(json=[wrong])
        self.assertEqual(event.event_type, "unknown")
        self.assertIsNone(event.recipient)
        self.assertIsNone(event.timestamp)
        self.assertIsNone(event.message_id)
        self.assertEqual(event.tags, [])
        self.assertEqual(event.metadata, {})

    def test_one_malformed_item_refuses_the_call(self):
        request = self.make_request(json=[{"event": "delivered"}, "junk"])
        self.assertEqual(self.call(request).status_code, 400)
        self.assert_no_signals()


def read_form(get_response: Any) -> Any:
    """Middleware that looks at forms."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.POST.get("text")
        response: HttpResponseBase = get_response(request)
        return response

    return middleware


def read_body(get_response: Any) -> Any:
    """Middleware that looks at bodies."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        len(request.body)
        response: HttpResponseBase = get_response(request)
        return response

    return middleware


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class InboundTests(SendGridTestCase):
    kind = "inbound"

    HEADERS = {"name": "headers", "value": "Subject: Hi\n"}

    def test_neither_headers_nor_email(self):
        request = self.make_request(form=[["text", "Hi"]])
        with self.assertLogs("django.security") as logs:
            self.assertEqual(self.call(request).status_code, 400)
        self.assertIn("'headers'", logs.output[0])
        self.assertIn("'email'", logs.output[0])

    def test_request_can_be_used_by_receivers(self):
        event = self.get_event(
            multipart=[
                self.HEADERS,
                {"name": "text", "value": "first"},
                {"name": "text", "value": "für"},
                {"name": "html", "base64": base64_of("für".encode("latin-1"))},
                {"name": "charsets", "value": '{"html": "latin-1"}'},
                {"name": "attachment1", "filename": "größe.txt", "text": "x"},
            ]
        )
        request = event.esp_event
        self.assertIsInstance(request, HttpRequest)
        self.assertEqual(request.POST.getlist("text"), ["first", "für"])
        self.assertEqual(request.POST["html"], "f\ufffdr")
        with self.assertRaises(AttributeError):
            request.POST["text"] = "immutable"
        self.assertEqual(request.FILES["attachment1"].name, "größe.txt")
        self.assertEqual((event.message.text, event.message.html), ("für", "für"))

    def test_attachments_are_not_limited_by_the_memory_setting(self):
        with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
            event = self.get_event(
                multipart=[
                    self.HEADERS,
                    {"name": "attachment1", "filename": "a.bin", "text": "x" * 5000},
                ]
            )
            [attachment] = event.message.attachments
            self.assertEqual(attachment.get_content_bytes(), b"x" * 5000)

            request = self.make_request(
                multipart=[self.HEADERS, {"name": "text", "value": "x" * 5000}]
            )
            self.assertEqual(self.call(request).status_code, 400)

    def test_uploads_to_temporary_files(self):
        with override_settings(FILE_UPLOAD_MAX_MEMORY_SIZE=10):
            event = self.get_event(
                multipart=[
                    self.HEADERS,
                    {"name": "attachment1", "filename": "a.bin", "text": "x" * 5000},
                ]
            )
        self.assertEqual(event.message.attachments[0].get_content_bytes(), b"x" * 5000)
        self.assertTrue(hasattr(event.esp_event.FILES["attachment1"], "temporary_file_path"))

    def test_form_encoding(self):
        event = self.get_event(
            multipart=[
                self.HEADERS,
                {"name": "text", "base64": base64_of("für".encode("latin-1"))},
                {"name": "html", "value": "für"},
                {"name": "charsets", "value": '{"html": "UTF-8"}'},
            ],
            content_type=f"multipart/form-data; charset=iso-8859-1; boundary={BOUNDARY}",
        )
        self.assertEqual((event.message.text, event.message.html), ("für", "für"))
        self.assertEqual(event.esp_event.POST["text"], "für")

    def test_urlencoded_in_another_charset(self):
        event = self.get_event(
            raw=b"headers=Subject:+Hi%0A&text=f%FCr&html=f%C3%BCr&charsets=%7B%22text%22:"
            b"+%22iso-8859-1%22%7D",
            content_type="application/x-www-form-urlencoded",
        )
        self.assertEqual((event.message.text, event.message.html), ("für", "für"))

    def charsets_body(self) -> dict[str, Any]:
        return {
            "multipart": [
                self.HEADERS,
                {"name": "text", "base64": base64_of("für €".encode("cp1252"))},
                {"name": "html", "value": "für €"},
                {"name": "charsets", "value": json.dumps({"text": "cp1252", "html": "cp1252"})},
                {"name": "attachment1", "filename": "größe.txt", "text": "x"},
            ]
        }

    def test_middleware_that_reads_the_body(self):
        with self.modify_settings(MIDDLEWARE={"append": f"{__name__}.read_body"}):
            event = self.get_event(**self.charsets_body())
        self.assertEqual(event.message.text, "für €")
        self.assertEqual(event.message.attachments[0].get_filename(), "größe.txt")

    def test_middleware_that_reads_the_form(self):
        # Then it's too late to decode anything else than the form's encoding.
        with self.modify_settings(MIDDLEWARE={"append": f"{__name__}.read_form"}):
            event = self.get_event(**self.charsets_body())
        self.assertEqual(event.message.text, "f\ufffdr \ufffd")
        self.assertEqual(event.message.html, "für €")
        self.assertEqual(event.message.attachments[0].get_filename(), "größe.txt")

    def test_odd_charsets(self):
        for charset in ("idna", "undefined", "base64", "utf-8\r\nX: y", "\0", "x" * 10000):
            with self.subTest(charset=charset):
                event = self.get_event(
                    multipart=[
                        self.HEADERS,
                        {"name": "text", "value": "für"},
                        {"name": "charsets", "value": json.dumps({"text": charset})},
                    ]
                )
                self.assertEqual(event.message.text, "für")

    def test_files_in_place_of_fields(self):
        request = self.make_request(
            multipart=[{"name": "headers", "filename": "headers.txt", "text": "Subject: Hi\n"}]
        )
        self.assertEqual(self.call(request).status_code, 400)
