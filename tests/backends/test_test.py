from __future__ import annotations

from typing import Any

from django.core import mail
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings
from requests.structures import CaseInsensitiveDict

from anymail.addresses import EmailAddress
from anymail.attachments import Attachment
from anymail.backends.base import AnymailBaseBackend, BasePayload
from anymail.backends.test import EmailBackend, TestPayload
from anymail.exceptions import AnymailAPIError, AnymailUnsupportedFeature
from anymail.message import AnymailRecipientStatus
from tests.utils import make_message, use_backend

from .test_base import EVERYTHING


class EmailBackendTests(SimpleTestCase):
    def test_names(self):
        self.assertTrue(issubclass(EmailBackend, AnymailBaseBackend))
        self.assertTrue(issubclass(TestPayload, BasePayload))
        self.assertEqual(EmailBackend.esp_name, "Test")
        with override_settings(ANYMAIL={"TEST_SEND_DEFAULTS": {"tags": ["a"]}}):
            self.assertEqual(EmailBackend().send_defaults, {"tags": ["a"]})

    @use_backend("anymail.backends.test.EmailBackend")
    def test_as_the_project_s_backend(self):
        message = make_message()
        self.assertEqual(message.send(), 1)
        self.assertEqual(message.anymail_test_params["subject"], "Subject")

    def test_creates_the_outbox(self):
        outbox = mail.outbox
        del mail.outbox
        try:
            EmailBackend()
            self.assertEqual(mail.outbox, [])
        finally:
            mail.outbox = outbox

    def test_keeps_the_outbox(self):
        outbox = mail.outbox
        EmailBackend()
        self.assertIs(mail.outbox, outbox)

    def test_outbox_has_the_message_itself(self):
        message = make_message()
        EmailBackend().send_messages([message])
        self.assertEqual(len(mail.outbox), 1)
        self.assertIs(mail.outbox[0], message)

    def test_message_ids(self):
        messages = [make_message(), make_message()]
        EmailBackend().send_messages(messages)
        EmailBackend().send_messages([make_message()])
        self.assertEqual([each.anymail_status.message_id for each in mail.outbox], [0, 1, 2])

    def test_default_response(self):
        message = make_message(to=["To <to@example.com>"], cc=["c@b.c"], bcc=["Zoë <zoë@b.c>"])
        EmailBackend().send_messages([message])
        status = message.anymail_status
        self.assertEqual(list(status.recipients), ["to@example.com", "c@b.c", "zoë@b.c"])
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, 0)
        self.assertEqual(status.esp_response, {"recipient_status": status.recipients})

    def test_message_id_can_be_overridden(self):
        class Custom(EmailBackend):
            def get_esp_message_id(self, message):
                return f"custom-{message.subject}"

        message = make_message()
        Custom().send_messages([message])
        self.assertEqual(message.anymail_status.message_id, "custom-Subject")

    def test_payload_class(self):
        class CustomPayload(TestPayload):
            def set_subject(self, subject):
                self.params["subject"] = subject.upper()

        message = make_message()
        EmailBackend(payload_class=CustomPayload).send_messages([message])
        self.assertEqual(message.anymail_test_params["subject"], "SUBJECT")

    def test_error_response(self):
        message = make_message()
        error = AnymailAPIError("made up")
        message.anymail_test_response = error
        with self.assertRaises(AnymailAPIError) as caught:
            EmailBackend().send_messages([message])
        self.assertIs(caught.exception, error)
        # It failed at the provider: up to there, everything is as always.
        self.assertEqual(mail.outbox, [message])
        self.assertEqual(message.anymail_test_params["subject"], "Subject")

    def test_response(self):
        message = make_message()
        message.anymail_test_response = response = {
            "recipient_status": {"to@example.com": AnymailRecipientStatus("made-up", "queued")}
        }
        EmailBackend().send_messages([message])
        self.assertEqual(message.anymail_status.message_id, "made-up")
        self.assertIs(message.anymail_status.esp_response, response)

    def test_malformed_response(self):
        for response in [{}, {"other": 1}, None, "text", 5]:
            message = make_message()
            message.anymail_test_response = response
            with self.subTest(response=response):
                with self.assertRaises(AnymailAPIError) as caught:
                    EmailBackend().send_messages([message])
                error = caught.exception
                self.assertIsNotNone(error.__cause__)
                self.assertIs(error.response, response)
                self.assertIs(error.email_message, message)
                self.assertIsInstance(error.payload, TestPayload)
                self.assertEqual(error.esp_name, "Test")


class TestPayloadTests(SimpleTestCase):
    def params(self, message: Any, **options: Any) -> dict[str, Any]:
        EmailBackend(**options).send_messages([message])
        return message.anymail_test_params

    def test_plain_message(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        self.assertEqual(
            self.params(message),
            {
                "from": EmailAddress("", "from@example.com"),
                "to": [EmailAddress("", "to@example.com")],
                "cc": [],
                "bcc": [],
                "reply_to": [],
                "subject": "Subject",
                "text_body": "Body",
                "attachments": [],
                "is_batch_send": False,
            },
        )

    def test_everything(self):
        params = self.params(make_message(**EVERYTHING))
        [attachment] = params.pop("attachments")
        self.assertIsInstance(attachment, Attachment)
        self.assertIsInstance(params["extra_headers"], CaseInsensitiveDict)
        self.assertEqual(
            params,
            {
                "from": EmailAddress("", "from@example.com"),
                "to": [EmailAddress("", "to@example.com")],
                "cc": [EmailAddress("", "cc@example.com")],
                "bcc": [EmailAddress("", "bcc@example.com")],
                "reply_to": [EmailAddress("", "reply@example.com")],
                "envelope_sender": "envelope@example.com",
                "subject": "Subject",
                "extra_headers": {"X-Custom": "1"},
                "text_body": "Body",
                "html_body": "<p>Body</p>",
                "metadata": {"a": 1},
                "send_at": EVERYTHING["send_at"],
                "tags": ["tag"],
                "track_clicks": True,
                "track_opens": False,
                "template_id": "template",
                "merge_data": {"to@example.com": {"a": 1}},
                "merge_headers": {"to@example.com": {"X-Merge": "2"}},
                "merge_metadata": {"to@example.com": {"c": 3}},
                "merge_global_data": {"b": 2},
                "is_batch_send": True,
                "option": True,  # from esp_extra
            },
        )

    def test_esp_extra_is_merged(self):
        params = self.params(
            make_message(esp_extra={"nested": {"a": 1}, "subject": "Overridden"}),
            send_defaults={"esp_extra": {"nested": {"b": 2}, "other": 3}},
        )
        self.assertEqual(params["nested"], {"a": 1, "b": 2})
        self.assertEqual(params["other"], 3)
        self.assertEqual(params["subject"], "Overridden")
        self.assertNotIn("esp_extra", params)

    def test_recipient_emails(self):
        message = make_message(to=["A <a@b.c>"], cc=["c@b.c"], bcc=["b@b.c"])
        payload = TestPayload(message, {}, EmailBackend())
        self.assertEqual(payload.recipient_emails, ["a@b.c", "c@b.c", "b@b.c"])

    def test_international_addresses(self):
        params = self.params(make_message(to=["Zoë <zoë@münchen.example>"]))
        self.assertEqual(str(params["to"][0]), "Zoë <zoë@münchen.example>")

    def test_alternatives(self):
        message = make_message()
        for mimetype in ["text/html", "text/html", "text/x-amp-html", "text/calendar"]:
            message.attach_alternative("x", mimetype)
        params = self.params(message)
        self.assertEqual(
            params["alternatives"],
            [("x", "text/html"), ("x", "text/x-amp-html"), ("x", "text/calendar")],
        )
        message.attach_alternative("x", "application/json")
        with self.assertRaisesMessage(
            AnymailUnsupportedFeature, "alternative part with type 'application/json'"
        ):
            self.params(message)

    def test_is_no_test_case(self):
        self.assertIs(TestPayload.__test__, False)
