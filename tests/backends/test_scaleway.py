from __future__ import annotations

import json
from decimal import Decimal

import requests
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.message import attach_inline_image
from tests.utils import SAMPLE_IMAGE, ApiTestCase, make_message, make_response


def accepted(*recipients: str, status: str = "sending") -> dict:
    """Return Scaleway's answer for recipients, as it echoes them."""
    return {
        "emails": [
            {
                "id": f"id-{number}",
                "message_id": "shared-id",
                "project_id": "project",
                "mail_from": "from@example.com",
                "mail_rcpt": recipient,
                "rcpt_type": "to",
                "status": status,
                "created_at": "2026-09-01T10:11:12.345Z",
            }
            for number, recipient in enumerate(recipients, 1)
        ]
    }


@tag("scaleway")
class ScalewayTestCase(ApiTestCase):
    backend = "anymail.backends.scaleway.EmailBackend"
    settings = {"SCALEWAY_SECRET_KEY": "test-secret", "SCALEWAY_PROJECT_ID": "test-project"}
    api_response = accepted("to@example.com")

    def assert_unsupported(self, message, feature):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()
        self.send(message, ignore_unsupported_features=True)


class SettingsTests(ScalewayTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called(
            "https://api.scaleway.com/transactional-email/v1alpha1/regions/fr-par/emails"
        )
        self.assertEqual(
            self.api_call["headers"],
            {"X-Auth-Token": "test-secret", "Content-Type": "application/json"},
        )

    def test_missing_settings(self):
        for name in self.settings:
            settings = {key: value for key, value in self.settings.items() if key != name}
            with (
                self.subTest(name=name),
                override_settings(ANYMAIL=settings),
                self.assertRaisesRegex(AnymailConfigurationError, f"You must set.*{name}"),
            ):
                self.make_backend()

    @override_settings(ANYMAIL={}, SCALEWAY_SECRET_KEY="bare", SCALEWAY_PROJECT_ID="not-read")
    def test_bare_setting_is_for_the_key_only(self):
        self.assertEqual(self.make_backend(project_id="p").secret_key, "bare")
        with self.assertRaises(AnymailConfigurationError):
            self.make_backend()

    def test_api_url(self):
        default = "https://api.scaleway.com/transactional-email/v1alpha1/regions/"
        for options, expected in (
            ({"region": "pl-waw"}, f"{default}pl-waw/"),
            ({"region": "nl-ams # from /.env"}, f"{default}nl-ams%20%23%20from%20%2F.env/"),
            (
                {"api_url": "https://scaleway.example.com/{region}/email"},
                "https://scaleway.example.com/fr-par/email/",
            ),
            (
                {"api_url": "https://scaleway.example.com/email", "region": "pl-waw"},
                "https://scaleway.example.com/email/",
            ),
        ):
            with self.subTest(options=options):
                self.assertEqual(self.make_backend(**options).api_url, expected)

    def test_other_placeholders(self):
        for api_url in ("https://x/{zone}/", "https://x/{}/", "https://x/{/"):
            with (
                self.subTest(api_url=api_url),
                self.assertRaisesRegex(AnymailConfigurationError, "SCALEWAY_API_URL"),
            ):
                self.make_backend(api_url=api_url)

    def test_project_per_message(self):
        self.send(make_message(esp_extra={"project_id": "other"}))
        self.assertEqual(self.api_json["project_id"], "other")


class MessageTests(ScalewayTestCase):
    def header(self, name):
        values = [
            header["value"]
            for header in self.api_json.get("additional_headers", [])
            if header["key"] == name
        ]
        self.assertEqual(len(values), 1, f"{name}: {values}")
        return values[0]

    def test_addresses(self):
        self.send(
            make_message(
                from_email='"Obchod, s.r.o." <from@example.com>',
                to=['"Recipient, #1" <to@příklad.example.cz>', "to@example.com"],
                cc=["Žofie <cc@example.com>"],
                bcc=["bcc@example.com"],
                reply_to=['"Odpověď, adresa" <reply@příklad.example.cz>', "two@example.com"],
            )
        )
        self.assertEqual(
            self.api_json["from"], {"email": "from@example.com", "name": "Obchod, s.r.o."}
        )
        self.assertEqual(
            self.api_json["to"],
            [
                {"email": "to@xn--pklad-zsa96e.example.cz", "name": "Recipient, #1"},
                {"email": "to@example.com"},
            ],
        )
        self.assertEqual(self.api_json["cc"], [{"email": "cc@example.com", "name": "Žofie"}])
        self.assertEqual(self.api_json["bcc"], [{"email": "bcc@example.com"}])
        self.assertEqual(
            self.header("Reply-To"),
            "=?utf-8?b?T2Rwb3bEm8SPLCBhZHJlc2E=?= <reply@xn--pklad-zsa96e.example.cz>, "
            "two@example.com",
        )

    def test_empty_content_is_left_out(self):
        message = make_message(subject="", body="")
        message.attach_alternative("", "text/html")
        self.send(message)
        for field in ("subject", "text", "html"):
            self.assertNotIn(field, self.api_json)

    def test_headers(self):
        self.send(
            make_message(
                headers={"X-Text": "Grüße", "X-Number": 123, "Reply-To": "header@example.com"},
                reply_to=["attribute@example.com"],
                metadata={"order": 4711, "name": "Zoë"},
                tags=["receipt", "eu"],
            )
        )
        self.assertEqual(
            self.api_json["additional_headers"],
            [
                {"key": "Reply-To", "value": "header@example.com"},
                {"key": "X-Text", "value": "Grüße"},
                {"key": "X-Number", "value": "123"},
                {"key": "X-Metadata", "value": '{"order": 4711, "name": "Zo\\u00eb"}'},
                {"key": "X-Tags", "value": '["receipt", "eu"]'},
            ],
        )

    def test_line_breaks_in_metadata_and_tags_stay_within_json(self):
        self.send(make_message(metadata={"x": "a\r\nBcc: b@c.d"}, tags=["a\nb"]))
        self.assertEqual(json.loads(self.header("X-Metadata")), {"x": "a\r\nBcc: b@c.d"})
        for name in ("X-Metadata", "X-Tags"):
            self.assertNotRegex(self.header(name), r"[\r\n]")

    def test_empty_metadata_and_tags(self):
        self.send(make_message(metadata={}, tags=[]))
        self.assertNotIn("additional_headers", self.api_json)

    def test_unserializable_metadata(self):
        with self.assertRaisesRegex(AnymailSerializationError, r"Scaleway[\s\S]*Decimal"):
            self.send(make_message(metadata={"price": Decimal("19.99")}))
        self.assert_api_not_called()

    def test_esp_extra(self):
        self.send(
            make_message(
                headers={"X-Lost": "1"},
                esp_extra={"send_before": "2031-01-01T00:00:00Z", "additional_headers": []},
            )
        )
        self.assertEqual(self.api_json["send_before"], "2031-01-01T00:00:00Z")
        self.assertEqual(self.api_json["additional_headers"], [])


class UnsupportedFeatureTests(ScalewayTestCase):
    def test_eai(self):
        self.assert_unsupported(make_message(from_email="zoë@example.com"), "EAI in from_email")

    def test_eai_recipients(self):
        for field in ("to", "cc", "bcc", "reply_to"):
            with self.subTest(field=field):
                message = make_message(**{field: ["zoë@example.com"]})
                with self.assertRaisesRegex(AnymailUnsupportedFeature, f"EAI in {field}"):
                    self.send(message)
        self.assert_api_not_called()

    def test_inline_attachments(self):
        message = make_message()
        attach_inline_image(message, SAMPLE_IMAGE, "logo.png")
        self.assert_unsupported(message, "inline attachments")
        [attachment] = self.api_json["attachments"]
        self.assertEqual(attachment["name"], "logo.png")
        self.assertEqual(attachment["type"], "image/png")

    def test_from_header(self):
        message = make_message(headers={"From": "header@example.com"})
        self.assert_unsupported(message, "envelope_sender")
        self.assertEqual(self.api_json["from"], {"email": "header@example.com"})

    def test_from_header_with_the_same_address(self):
        self.send(make_message(headers={"From": "Name <from@example.com>"}))
        self.assertEqual(self.api_json["from"], {"email": "from@example.com", "name": "Name"})

    def test_html_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.assertEqual(self.api_json["html"], "<p>1</p>")

    def test_html_body_and_alternative(self):
        message = make_message(body="<p>1</p>")
        message.content_subtype = "html"
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")

    def test_attributes(self):
        for attributes in (
            {"send_at": 1900000000},
            {"track_opens": True},
            {"track_clicks": False},
            {"template_id": "x"},
            {"merge_data": {}},
            {"merge_global_data": {}},
            {"merge_metadata": {}},
            {"merge_headers": {}},
        ):
            [name] = attributes
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(AnymailUnsupportedFeature, name),
            ):
                self.send(make_message(**attributes))
        self.assert_api_not_called()


class StatusTests(ScalewayTestCase):
    def test_ids_and_addresses(self):
        self.api_response = accepted("To@example.com", "zoe@xn--bcher-kva.example", "x@example.com")
        status = self.send(
            make_message(to=["to@example.com", "Zoë <zoe@bücher.example>"], bcc=["x@example.com"])
        )
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, {"id-1", "id-2", "id-3"})
        self.assertEqual(
            {addr: recipient.message_id for addr, recipient in status.recipients.items()},
            {"to@example.com": "id-1", "zoe@bücher.example": "id-2", "x@example.com": "id-3"},
        )
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_statuses(self):
        for theirs, ours in (
            ("new", "queued"),
            ("sending", "queued"),
            ("sent", "sent"),
            ("failed", "failed"),
            ("canceled", "failed"),
            ("unknown", "unknown"),
            ("something new", "unknown"),
            (None, "unknown"),
        ):
            with self.subTest(status=theirs):
                self.api_response = accepted("to@example.com", status=theirs)
                status = self.send(make_message(), ignore_recipient_status=True)
                self.assertEqual(status.status, {ours})

    def test_entries_without_recipient(self):
        self.api_response = accepted("to@example.com")
        self.api_response["emails"].append({"id": "x", "mail_rcpt": None})
        self.assertEqual(list(self.send(make_message()).recipients), ["to@example.com"])

    def test_errors(self):
        self.api_response = make_response(
            400, json_data={"message": "Invalid email from address"}, reason="Bad Request"
        )
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(make_message())
        self.assertEqual(raised.exception.status_code, 400)
        self.assertTrue(str(raised.exception).startswith("Scaleway API response 400"))
        self.assertIn("Invalid email from address", str(raised.exception))

    def test_malformed_answers(self):
        for answer in (
            {},
            [],
            None,
            {"emails": None},
            {"emails": []},
            {"emails": [5]},
            {"emails": [{"mail_rcpt": None}]},
            {"emails": [{"mail_rcpt": "to@example.com"}]},
            {"emails": [{"mail_rcpt": 5, "id": "x"}]},
            {"emails": [{"mail_rcpt": "to@example.com", "id": [], "status": "new"}]},
            {"emails": [{"mail_rcpt": "to@example.com", "id": "x", "status": {}}]},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                    self.send(make_message())
