from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal

import requests
from django.core.mail import EmailMessage
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


def accepted(**ids: int) -> dict:
    """Return Postal's answer; ids by local parts of addresses at example.com."""
    return {
        "status": "success",
        "time": 0.4,
        "flags": {},
        "data": {
            "message_id": "6f0c@rp.postal.example.com",
            "messages": {
                f"{name}@example.com": {"id": message_id, "token": "Zx81"}
                for name, message_id in ids.items()
            },
        },
    }


def refused(code: str, text: str) -> dict:
    return {"status": "error", "time": 0.4, "flags": {}, "data": {"code": code, "message": text}}


@tag("postal")
class PostalTestCase(ApiTestCase):
    backend = "anymail.backends.postal.EmailBackend"
    settings = {"POSTAL_API_KEY": "test-key", "POSTAL_API_URL": "https://postal.example.com"}
    api_response = accepted(to=902)

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(PostalTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://postal.example.com/api/v1/send/message")
        self.assertEqual(
            self.api_call["headers"],
            {
                "X-Server-API-Key": "test-key",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.assertEqual(self.api_call["timeout"], 30)

    def test_api_url(self):
        for api_url in ("https://example.com/mail/postal", "https://example.com/mail/postal/"):
            self.send(make_message(), api_url=api_url)
            self.assert_api_called("https://example.com/mail/postal/api/v1/send/message")

    @override_settings(ANYMAIL={})
    def test_missing_settings(self):
        # The key is looked up first.
        for options, setting in (({}, "POSTAL_API_KEY"), ({"api_key": "x"}, "POSTAL_API_URL")):
            option = setting.removeprefix("POSTAL_").lower()
            with self.assertRaisesRegex(
                AnymailConfigurationError, rf"{setting}.*ANYMAIL_{setting}"
            ):
                self.make_backend(**options)
            with self.assertRaisesRegex(AnymailInvalidMailer, f"'{option}'"):
                self.make_backend(alias="other", **options)

    @override_settings(ANYMAIL={}, POSTAL_API_KEY="bare-key", POSTAL_API_URL="https://bare.example")
    def test_bare_settings(self):
        backend = self.make_backend(api_url="https://postal.example.com")
        self.assertEqual(backend.api_key, "bare-key")
        # There is no bare setting for this.
        with self.assertRaisesRegex(AnymailConfigurationError, "POSTAL_API_URL"):
            self.make_backend()


class MessageTests(PostalTestCase):
    def test_empty_message(self):
        self.send(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual(self.api_json["subject"], "")
        self.assertEqual(self.api_json["plain_body"], "")

    def test_none(self):
        message = make_message()
        message.from_email = message.subject = message.body = None
        self.send(message)
        self.assertEqual(self.api_json, {"to": ["to@example.com"], "cc": [], "bcc": []})

    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Inc." <from@bücher.example>',
                to=["Zoë <zoe@bücher.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "zoë@example.com"],
                bcc=["bcc@example.com"],
                reply_to=['"Reply, all" <reply@bücher.example>'],
                envelope_sender="Bounces <bounces@bücher.example>",
            )
        )
        self.assertEqual(self.api_json["from"], '"From, Inc." <from@xn--bcher-kva.example>')
        self.assertEqual(self.api_json["to"], ["Zoë <zoe@xn--bcher-kva.example>", "to@example.com"])
        self.assertEqual(self.api_json["cc"], ["Cc <cc@example.com>", "zoë@example.com"])
        self.assertEqual(self.api_json["bcc"], ["bcc@example.com"])
        self.assertEqual(self.api_json["reply_to"], '"Reply, all" <reply@xn--bcher-kva.example>')
        self.assertEqual(self.api_json["sender"], "Bounces <bounces@xn--bcher-kva.example>")

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "X-Custom": "Grüße",
                    "X-Num": 123,
                    "Message-ID": "<mine@example.com>",
                    "REPLY-TO": "header@example.com",
                },
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(
            self.api_json["headers"],
            {"X-Custom": "Grüße", "X-Num": 123, "Message-ID": "<mine@example.com>"},
        )
        self.assertEqual(self.api_json["reply_to"], "header@example.com")

    def test_only_special_headers(self):
        self.send(make_message(headers={"Reply-To": "header@example.com"}))
        self.assertNotIn("headers", self.api_json)

    def test_from_header(self):
        self.send(make_message(headers={"From": "Header <header@example.com>"}))
        self.assertEqual(self.api_json["from"], "Header <header@example.com>")
        self.assertEqual(self.api_json["sender"], "from@example.com")

    def test_unserializable(self):
        for attrs in ({"headers": {"X-Price": Decimal("12.5")}}, {"tags": [Decimal("12.5")]}):
            with self.assertRaises(AnymailSerializationError) as raised:
                self.send(make_message(**attrs))
            text = str(raised.exception)
            self.assertIn("Don't know how to send this data to Postal", text)
            self.assertIn("Decimal is not JSON serializable", text)
        self.assert_api_not_called()

    def test_esp_extra(self):
        self.send(
            make_message(
                tags=["one"],
                headers={"X-Custom": "1"},
                esp_extra={"tag": "two", "headers": {"X-Other": "2"}, "bounce": True},
            )
        )
        self.assertEqual(self.api_json["tag"], "two")
        # It replaces fields, rather than being merged into them.
        self.assertEqual(self.api_json["headers"], {"X-Other": "2"})
        self.assertIs(self.api_json["bounce"], True)

    def test_injection_in_esp_extra(self):
        for extra in (
            {"subject": "a\r\nBcc: x@example.com"},
            {"headers": {"X-A": "a\r\nBcc: x@example.com"}},
            {"headers": {"X-A\r\nBcc": "x@example.com"}},
        ):
            with self.subTest(extra), self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()


class UnsupportedFeatureTests(PostalTestCase):
    def test_multiple_from(self):
        message = make_message(from_email="a@example.com, b@example.com")
        self.assert_unsupported(message, "multiple from emails")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["from"], "a@example.com")

    def test_multiple_html(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["html_body"], "<p>1</p>")

    def test_ignored(self):
        """Without any effect, when they are ignored."""
        self.send(make_message())
        without = self.api_json
        for feature, attrs in (
            ("metadata", {"metadata": {}}),
            ("send_at", {"send_at": datetime(2031, 5, 6, tzinfo=timezone.utc)}),
            ("track_opens", {"track_opens": False}),
            ("track_clicks", {"track_clicks": False}),
            ("template_id", {"template_id": "1"}),
            ("merge_data", {"merge_data": {}}),
            ("merge_global_data", {"merge_global_data": {}}),
            ("merge_headers", {"merge_headers": {}}),
            ("merge_metadata", {"merge_metadata": {}}),
            ("spoofing `To` header", {"headers": {"To": "list@example.com"}}),
        ):
            with self.subTest(feature):
                self.mock_request.reset_mock()
                self.assert_unsupported(make_message(**attrs), feature)
                self.send(make_message(**attrs), ignore_unsupported_features=True)
                self.assertEqual(self.api_json, without)


class StatusTests(PostalTestCase):
    def test_one_recipient(self):
        status = self.send(make_message())
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, 902)
        self.assertIsInstance(status.message_id, int)
        self.assertEqual(status.recipients["to@example.com"].message_id, 902)
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_several_recipients(self):
        self.api_response = accepted(to=902, cc=903, bcc=904)
        status = self.send(make_message(cc=["cc@example.com"], bcc=["Bcc <bcc@example.com>"]))
        self.assertEqual(status.message_id, {902, 903, 904})
        self.assertEqual(
            {address: item.message_id for address, item in status.recipients.items()},
            {"to@example.com": 902, "cc@example.com": 903, "bcc@example.com": 904},
        )
        self.assertEqual({item.status for item in status.recipients.values()}, {"queued"})

    def test_caller_spelling(self):
        self.api_response = {
            "status": "success",
            "data": {
                "messages": {
                    "to@example.com": {"id": 1},
                    "zoe@xn--bcher-kva.example": {"id": 2},
                    "other@example.com": {"id": 3},
                }
            },
        }
        status = self.send(make_message(to=["TO@Example.com", "zoe@bücher.example"]))
        self.assertEqual(
            {address: item.message_id for address, item in status.recipients.items()},
            {"TO@Example.com": 1, "zoe@bücher.example": 2, "other@example.com": 3},
        )

    def test_no_recipients(self):
        self.api_response = accepted()
        message = make_message()
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.recipients, {})
        status = self.send(make_message(), ignore_recipient_status=True)
        self.assertEqual(status.recipients, {})

    def test_errors(self):
        for answer, text in (
            (refused("UnauthenticatedFromAddress", "The From address is not authorised"), "From"),
            (
                {"status": "parameter-error", "data": {"message": "`provider_id` is required"}},
                "provider_id",
            ),
        ):
            with self.subTest(text):
                self.api_response = answer
                message = make_message()
                with self.assertRaises(AnymailRequestsAPIError) as raised:
                    self.send(message)
                self.assertTrue(str(raised.exception).startswith("Postal API response 200"))
                self.assertIn(text, str(raised.exception))
                self.assertIn(answer["data"].get("code", ""), str(raised.exception))
                self.assertEqual(raised.exception.status_code, 200)
                self.assertIsNotNone(raised.exception.response)
                self.assertIsNone(message.anymail_status.status)

    def test_http_errors(self):
        for body in (b'{"status": "error"}', b"<html>", b""):
            self.api_response = make_response(503, body=body)
            message = make_message()
            with self.assertRaises(AnymailAPIError) as raised:
                self.send(message)
            self.assertTrue(str(raised.exception).startswith("Postal API response 503"))
            self.assertIsNone(message.anymail_status.esp_response)

    def test_not_json(self):
        self.api_response = make_response(body=b"not JSON")
        message = make_message()
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in Postal"):
            self.send(message)
        self.assertIsNotNone(message.anymail_status.esp_response)
        self.assertIsNone(message.anymail_status.status)

    def test_malformed_answers(self):
        for answer in (
            None,
            {},
            [],
            "text",
            12,
            {"status": "success"},
            {"status": "success", "data": None},
            {"status": "success", "data": []},
            {"status": "success", "data": {}},
            {"status": "success", "data": {"messages": None}},
            {"status": "success", "data": {"messages": []}},
            {"status": "success", "data": {"messages": "text"}},
            {"status": "success", "data": {"messages": {"to@example.com": None}}},
            {"status": "success", "data": {"messages": {"to@example.com": {}}}},
            {"status": "success", "data": {"messages": {"to@example.com": {"id": None}}}},
            {"status": "success", "data": {"messages": {"to@example.com": {"id": True}}}},
            {"status": "success", "data": {"messages": {"to@example.com": {"id": [1]}}}},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(
                    AnymailRequestsAPIError, "Invalid Postal API response format"
                ) as raised:
                    self.send(message)
                self.assertEqual(raised.exception.status_code, 200)
                self.assertIsNotNone(message.anymail_status.esp_response)
