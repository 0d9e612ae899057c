from __future__ import annotations

import json
import warnings
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from email.mime.text import MIMEText
from unittest.mock import patch

import requests
from django.core.mail import EmailMessage
from django.test import override_settings, tag
from django.utils.timezone import override as override_timezone
from django.utils.translation import gettext_lazy

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
    AnymailWarning,
)
from anymail.message import attach_inline_image
from tests.utils import SAMPLE_IMAGE, ApiTestCase, make_message, make_response


@tag("sendgrid")
class SendGridTestCase(ApiTestCase):
    backend = "anymail.backends.sendgrid.EmailBackend"
    settings = {"SENDGRID_API_KEY": "test-key"}

    def setUp(self):
        super().setUp()
        self.api_response = make_response(202)
        patcher = patch(
            "anymail.backends.sendgrid.uuid.uuid4", side_effect=["id-1", "id-2", "id-3", "id-4"]
        )
        self.mock_uuid4 = patcher.start()
        self.addCleanup(patcher.stop)

    @property
    def personalizations(self):
        return self.api_json["personalizations"]

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(SendGridTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.sendgrid.com/v3/mail/send")
        self.assertEqual(
            self.api_call["headers"],
            {
                "Authorization": "Bearer test-key",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.assertEqual(self.api_call["timeout"], 30)
        for name in ("params", "files", "auth"):
            self.assertIsNone(self.api_call[name])

    def test_no_warnings(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.send(make_message())
        self.assertEqual(caught, [])

    @override_settings(ANYMAIL={})
    def test_missing_key(self):
        pattern = r"SENDGRID_API_KEY.*ANYMAIL_SENDGRID_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, SENDGRID_API_KEY="bare-key")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().api_key, "bare-key")

    def test_api_url(self):
        for url in ("https://api.eu.sendgrid.com/v3", "https://api.eu.sendgrid.com/v3/"):
            self.send(make_message(), api_url=url)
            self.assert_api_called("https://api.eu.sendgrid.com/v3/mail/send")

    def test_username_and_password_are_refused(self):
        text = "SendGrid v3 API doesn't support username/password auth; Please change to API key."
        for settings in (
            {"SENDGRID_USERNAME": "user", "SENDGRID_PASSWORD": "password"},
            {"SENDGRID_USERNAME": "user"},
            {"SENDGRID_PASSWORD": "password"},
        ):
            for override in (
                override_settings(ANYMAIL=settings),
                override_settings(ANYMAIL={}, **settings),
            ):
                with override, self.assertRaises(AnymailConfigurationError) as raised:
                    # As Django's send_mail() does:
                    self.make_backend(username=None, password=None)
                self.assertIn(text, str(raised.exception))
        with self.assertRaises(AnymailConfigurationError):
            self.make_backend(username="user", password="password")
        self.make_backend(username=None, password="")


class MessageTests(SendGridTestCase):
    def test_plain_message(self):
        self.send(make_message())
        self.assertEqual(
            self.api_json,
            {
                "from": {"email": "from@example.com"},
                "personalizations": [
                    {
                        "to": [{"email": "to@example.com"}],
                        "custom_args": {"anymail_id": "id-1"},
                    }
                ],
                "subject": "Subject",
                "content": [{"type": "text/plain", "value": "Text body"}],
            },
        )

    def test_only_what_is_set_is_sent(self):
        self.send(make_message(), generate_message_id=False)
        self.assertEqual(set(self.api_json), {"from", "personalizations", "subject", "content"})
        self.assertEqual(self.personalizations, [{"to": [{"email": "to@example.com"}]}])

    def test_empty_subject_and_body(self):
        self.send(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertNotIn("subject", self.api_json)
        self.assertNotIn("content", self.api_json)

    def test_from_email_none(self):
        message = make_message()
        message.from_email = None
        self.send(message)
        self.assertNotIn("from", self.api_json)

    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Inc." <from@bücher.example>',
                to=["Zoë <zoe@bücher.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["bcc@example.com"],
                reply_to=['"Reply, all" <reply@example.com>', "reply2@example.com"],
            )
        )
        data = self.api_json
        self.assertEqual(
            data["from"], {"email": "from@xn--bcher-kva.example", "name": "From, Inc."}
        )
        self.assertEqual(
            data["personalizations"],
            [
                {
                    "to": [
                        {"email": "zoe@xn--bcher-kva.example", "name": "Zoë"},
                        {"email": "to@example.com"},
                    ],
                    "cc": [
                        {"email": "cc@example.com", "name": "Cc"},
                        {"email": "cc2@example.com"},
                    ],
                    "bcc": [{"email": "bcc@example.com"}],
                    "custom_args": {"anymail_id": "id-1"},
                }
            ],
        )
        self.assertEqual(
            data["reply_to_list"],
            [{"email": "reply@example.com", "name": "Reply, all"}, {"email": "reply2@example.com"}],
        )
        self.assertNotIn("reply_to", data)

    def test_no_to_recipients(self):
        message = make_message(to=[], cc=["cc@example.com"], bcc=["bcc@example.com"])
        status = self.send(message)
        self.assertEqual(
            self.personalizations,
            [
                {
                    "cc": [{"email": "cc@example.com"}],
                    "bcc": [{"email": "bcc@example.com"}],
                    "custom_args": {"anymail_id": "id-1"},
                }
            ],
        )
        self.assertEqual(status.recipients["bcc@example.com"].message_id, "id-1")

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "X-Custom": "Grüße",
                    "X-Num": 123,
                    "X-Bool": True,
                    "x-num": 4.5,
                    "Message-ID": "<mine@example.com>",
                    "REPLY-TO": '"Header, the" <header@example.com>, two@example.com',
                },
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(
            self.api_json["headers"],
            {
                "X-Custom": "Grüße",
                "x-num": "4.5",
                "X-Bool": "True",
                "Message-ID": "<mine@example.com>",
            },
        )
        self.assertEqual(
            self.api_json["reply_to_list"],
            [{"email": "header@example.com", "name": "Header, the"}, {"email": "two@example.com"}],
        )
        self.assertEqual(self.personalizations[0]["custom_args"], {"anymail_id": "id-1"})

    def test_only_special_headers(self):
        self.send(make_message(headers={"Reply-To": "header@example.com"}))
        self.assertNotIn("headers", self.api_json)

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(message)
        self.assertRegex(str(raised.exception), r"Don't know how to send this data to SendGrid")
        self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_attachments(self):
        message = make_message()
        message.attach("notiz-grün.txt", "Grün", "text/plain")
        message.attach("data.bin", b"\x00\xff", None)
        message.attachments.append((None, b"GIF89a", "image/gif"))
        self.send(message)
        self.assertEqual(
            self.api_json["attachments"],
            [
                {
                    "filename": "notiz-grün.txt",
                    "content": "R3LDvG4=",
                    "type": "text/plain",
                },
                {"filename": "data.bin", "content": "AP8=", "type": "application/octet-stream"},
                {"filename": "", "content": "R0lGODlh", "type": "image/gif"},
            ],
        )

    def test_attached_text_is_converted_to_utf8(self):
        message = make_message()
        message.attachments.append(MIMEText("Grün", "plain", "iso-8859-1"))
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual(attachment["content"], "R3LDvG4=")
        self.assertEqual(attachment["type"], "text/plain")

    def test_attached_text_keeps_its_other_parameters(self):
        message = make_message()
        invitation = MIMEText("BEGIN:VCALENDAR", "calendar", "UTF-8")
        invitation.set_param("method", "REQUEST")
        message.attachments.append(invitation)
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual(attachment["type"], 'text/calendar; method="REQUEST"')

    def test_inline_image(self):
        message = make_message()
        cid = attach_inline_image(message, SAMPLE_IMAGE, "logo.png")
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual(
            {key: attachment[key] for key in ("filename", "type", "disposition", "content_id")},
            {
                "filename": "logo.png",
                "type": "image/png",
                "disposition": "inline",
                "content_id": cid,
            },
        )

    def test_inline_without_content_id(self):
        message = make_message()
        part = MIMEText("note")
        part["Content-Disposition"] = "inline"
        message.attachments.append(part)
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual((attachment["disposition"], attachment["content_id"]), ("inline", ""))

    def test_metadata(self):
        self.send(make_message(metadata={"order": 12, "name": "Zoë", "price": 1.5}))
        self.assertEqual(
            self.api_json["custom_args"], {"order": "12", "name": "Zoë", "price": "1.5"}
        )
        self.assertEqual(self.personalizations[0]["custom_args"], {"anymail_id": "id-1"})

    def test_tags(self):
        self.send(make_message(tags=["receipt", "übung"]))
        self.assertEqual(self.api_json["categories"], ["receipt", "übung"])

    def test_tracking_options(self):
        self.send(make_message(track_opens=True, track_clicks=False))
        self.assertEqual(
            self.api_json["tracking_settings"],
            {"open_tracking": {"enable": True}, "click_tracking": {"enable": False}},
        )
        self.send(make_message(track_opens=False))
        self.assertEqual(self.api_json["tracking_settings"], {"open_tracking": {"enable": False}})

    def test_send_at(self):
        zone = timezone(timedelta(hours=2))
        for send_at, timestamp in (
            (datetime(2031, 5, 6, 7, 8, 9, 999_999, tzinfo=timezone.utc), 1935817689),
            (datetime(2031, 5, 6, 9, 8, 9, tzinfo=zone), 1935817689),
            (1935817689.7, 1935817689),
            (1935817689, 1935817689),
        ):
            with self.subTest(send_at=send_at):
                self.mock_uuid4.side_effect = ["id"]
                self.send(make_message(send_at=send_at))
                self.assertEqual(self.api_json["send_at"], timestamp)
                self.assertIs(type(self.api_json["send_at"]), int)
        with override_timezone(zone):
            self.mock_uuid4.side_effect = ["id"]
            self.send(make_message(send_at=date(2031, 5, 6)))
        expected = datetime(2031, 5, 5, 22, tzinfo=timezone.utc).timestamp()
        self.assertEqual(self.api_json["send_at"], expected)

    def test_send_at_text_is_left_to_sendgrid(self):
        self.send(make_message(send_at="tomorrow"))
        self.assertEqual(self.api_json["send_at"], "tomorrow")


class ContentTests(SendGridTestCase):
    def contents(self, message):
        self.send(message)
        return [(part["type"], part["value"]) for part in self.api_json["content"]]

    def test_html_only(self):
        message = make_message(body="<p>HTML</p>")
        message.content_subtype = "html"
        self.assertEqual(self.contents(message), [("text/html", "<p>HTML</p>")])

    def test_empty_html_body(self):
        message = make_message(body="")
        message.content_subtype = "html"
        self.send(message)
        self.assertNotIn("content", self.api_json)

    def test_other_subtype(self):
        message = make_message(body="")
        message.content_subtype = "calendar"
        self.assertEqual(self.contents(message), [("text/calendar", "")])

    def test_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<html amp4email>", "text/x-amp-html")
        message.attach_alternative("<p>2</p>", "text/html")
        message.attach_alternative('{"a": 1}', "application/json")
        message.attach_alternative("more text", "text/plain")
        self.assertEqual(
            self.contents(message),
            [
                ("text/plain", "Text body"),
                ("text/html", "<p>1</p>"),
                ("text/x-amp-html", "<html amp4email>"),
                ("text/html", "<p>2</p>"),
                ("application/json", '{"a": 1}'),
                ("text/plain", "more text"),
            ],
        )
        self.assertNotIn("attachments", self.api_json)

    def test_text_comes_first(self):
        message = make_message(body="")
        message.attach_alternative("<p>HTML</p>", "text/html")
        message.attach_alternative("Text", "text/plain")
        self.assertEqual(
            self.contents(message), [("text/plain", "Text"), ("text/html", "<p>HTML</p>")]
        )


class UnsupportedFeatureTests(SendGridTestCase):
    def test_envelope_sender(self):
        message = make_message(envelope_sender="bounces@example.com")
        self.assert_unsupported(message, "envelope_sender")

    def test_from_header(self):
        message = make_message(headers={"From": "Header <header@example.com>"})
        self.assert_unsupported(message, "envelope_sender")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["from"], {"email": "header@example.com", "name": "Header"})

    def test_multiple_from_emails(self):
        message = make_message(from_email="one@example.com, two@example.com")
        self.assert_unsupported(message, "multiple from emails")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["from"], {"email": "one@example.com"})

    def test_to_header(self):
        message = make_message(headers={"To": "list@example.com", "X-Other": "1"})
        self.assert_unsupported(message, "spoofing `To` header")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["headers"], {"X-Other": "1"})


class EspExtraTests(SendGridTestCase):
    def test_deep_merge(self):
        esp_extra = {
            "categories": ["other"],
            "tracking_settings": {"subscription_tracking": {"enable": False}},
            "custom_args": {"extra": "yes"},
            "headers": {"x-one": "1b", "X-Three": "3"},
            "asm": {"group_id": 5},
        }
        before = json.dumps(esp_extra)
        self.send(
            make_message(
                tags=["tag"],
                track_clicks=True,
                metadata={"order": 5},
                headers={"X-One": "1", "X-Two": "2"},
                esp_extra=esp_extra,
            )
        )
        data = self.api_json
        self.assertEqual(data["categories"], ["other"])
        self.assertEqual(
            data["tracking_settings"],
            {"click_tracking": {"enable": True}, "subscription_tracking": {"enable": False}},
        )
        self.assertEqual(data["custom_args"], {"order": "5", "extra": "yes"})
        self.assertEqual(data["headers"], {"x-one": "1b", "X-Two": "2", "X-Three": "3"})
        self.assertEqual(data["asm"], {"group_id": 5})
        self.assertEqual(json.dumps(esp_extra), before)

    def test_personalizations_dict(self):
        esp_extra = {"personalizations": {"send_at": 1935817689, "custom_args": {"extra": "1"}}}
        status = self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                cc=["cc@example.com"],
                merge_data={},
                esp_extra=esp_extra,
            )
        )
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "ann@example.com"}],
                    "cc": [{"email": "cc@example.com"}],
                    "send_at": 1935817689,
                    "custom_args": {"extra": "1", "anymail_id": "id-1"},
                },
                {
                    "to": [{"email": "bo@example.com"}],
                    "cc": [{"email": "cc@example.com"}],
                    "send_at": 1935817689,
                    "custom_args": {"extra": "1", "anymail_id": "id-2"},
                },
            ],
        )
        self.assertEqual(status.recipients["ann@example.com"].message_id, "id-1")
        self.assertEqual(
            esp_extra,
            {"personalizations": {"send_at": 1935817689, "custom_args": {"extra": "1"}}},
        )

    def test_merge_metadata_replaces_custom_args_in_personalizations(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                merge_metadata={"ann@example.com": {"order": 5}},
                esp_extra={"personalizations": {"custom_args": {"extra": "1"}}},
            )
        )
        self.assertEqual(
            [item["custom_args"] for item in self.personalizations],
            [{"order": "5", "anymail_id": "id-1"}, {"extra": "1", "anymail_id": "id-2"}],
        )

    def test_recipients_in_personalizations_dict(self):
        esp_extra = {"personalizations": {"to": [{"email": "other@example.com"}]}}
        status = self.send(make_message(bcc=["bcc@example.com"], esp_extra=esp_extra))
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "other@example.com"}],
                    "bcc": [{"email": "bcc@example.com"}],
                    "custom_args": {"anymail_id": "id-1"},
                }
            ],
        )
        self.assertEqual(status.recipients["other@example.com"].message_id, "id-1")
        self.assertIsNone(status.recipients["to@example.com"].message_id)

    def test_personalizations_list(self):
        esp_extra = {
            "personalizations": [
                {"to": [{"email": "ann@xn--bcher-kva.example"}], "subject": "Other"},
                {"to": [{"email": "c@example.com"}, {"email": "d@example.com"}]},
                {"bcc": [{"email": "e@example.com"}], "custom_args": {"own": "1"}},
            ]
        }
        before = json.dumps(esp_extra)
        status = self.send(make_message(to=["ann@bücher.example"], esp_extra=esp_extra))
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "ann@xn--bcher-kva.example"}],
                    "subject": "Other",
                    "custom_args": {"anymail_id": "id-1"},
                },
                {
                    "to": [{"email": "c@example.com"}, {"email": "d@example.com"}],
                    "custom_args": {"anymail_id": "id-2"},
                },
                {
                    "bcc": [{"email": "e@example.com"}],
                    "custom_args": {"own": "1", "anymail_id": "id-3"},
                },
            ],
        )
        self.assertEqual(json.dumps(esp_extra), before)
        self.assertEqual(
            {addr: recipient.message_id for addr, recipient in status.recipients.items()},
            {
                "ann@bücher.example": "id-1",
                "c@example.com": "id-2",
                "d@example.com": "id-2",
                "e@example.com": "id-3",
            },
        )

    def test_personalizations_list_in_a_batch(self):
        custom_args = {"own": "1"}
        self.send(
            make_message(
                to=["Ann <ann@bücher.example>"],
                template_id="d-1",
                merge_data={
                    "ann@bücher.example": {"first": "Ann"},
                    "d@example.com": {"first": "Dee"},
                },
                esp_extra={
                    "personalizations": [
                        {"to": [{"email": "ann@xn--bcher-kva.example"}]},
                        {
                            "to": [{"email": "c@example.com"}, {"email": "d@example.com"}],
                            "custom_args": custom_args,
                        },
                        {"cc": [{"email": "e@example.com"}]},
                    ]
                },
            )
        )
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "ann@xn--bcher-kva.example"}],
                    "dynamic_template_data": {"first": "Ann"},
                    "custom_args": {"anymail_id": "id-1"},
                },
                {
                    "to": [{"email": "c@example.com"}],
                    "custom_args": {"own": "1", "anymail_id": "id-2"},
                },
                {
                    "to": [{"email": "d@example.com"}],
                    "dynamic_template_data": {"first": "Dee"},
                    "custom_args": {"own": "1", "anymail_id": "id-3"},
                },
                {"cc": [{"email": "e@example.com"}], "custom_args": {"anymail_id": "id-4"}},
            ],
        )
        self.assertEqual(custom_args, {"own": "1"})

    def test_odd_addresses_in_personalizations_are_left_to_sendgrid(self):
        for to in ([{"email": "no address"}], [{"email": None}], ["a@example.com"], "a@b.example"):
            with self.subTest(to=to):
                self.mock_uuid4.side_effect = ["id-1"]
                esp_extra = {"personalizations": [{"to": to}]}
                message = make_message(merge_data={"x@example.com": {":a": 1}}, esp_extra=esp_extra)
                self.assertEqual(set(self.send(message).recipients), {"to@example.com"})
                self.assertEqual(
                    self.personalizations, [{"to": to, "custom_args": {"anymail_id": "id-1"}}]
                )

    def test_personalizations_of_wrong_types(self):
        for personalizations in ("text", 5, None, ["text"], [None], {"custom_args": "text"}):
            with self.subTest(personalizations=personalizations):
                message = make_message(esp_extra={"personalizations": personalizations})
                with self.assertRaisesRegex(TypeError, "personalizations"):
                    self.send(message)
                self.assert_api_not_called()

    def test_smtpapi(self):
        message = make_message(esp_extra={"x-smtpapi": {"asm_group_id": 1}})
        text = (
            "You are attempting to use SendGrid v2 API-style x-smtpapi params with the SendGrid v3 "
            "API. Please update your `esp_extra` to the new API."
        )
        with self.assertRaises(AnymailConfigurationError) as raised:
            self.send(message)
        self.assertIn(text, str(raised.exception))
        self.assert_api_not_called()

    def test_line_breaks(self):
        bad = "a\r\nBcc: all@example.com"
        for esp_extra in (
            {"headers": {"X-A": bad}},
            {"headers": {bad: "x"}},
            {"subject": bad},
            {"personalizations": {"subject": bad}},
            {"personalizations": [{"to": [], "headers": {"X-A": bad}}]},
        ):
            with self.subTest(esp_extra=esp_extra):
                with self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"):
                    self.send(make_message(esp_extra=esp_extra))
                self.assert_api_not_called()


class BatchTests(SendGridTestCase):
    def test_batch(self):
        merge_metadata = {"ann@example.org": {"order": 17, "vip": True}}
        message = make_message(
            from_email="Shop <shop@example.net>",
            to=["ann@example.org", "Bo <bo@example.org>"],
            cc=["log@example.net"],
            bcc=["bcc@example.net"],
            subject="",
            body="",
            template_id="d-77aa",
            merge_data={
                "ann@example.org": {"plan": "pro", "items": [1, {"price": 2.5}]},
                "nobody@example.org": {"plan": "none"},
            },
            merge_global_data={"city": "Oslo", "plan": "free"},
            metadata={"run": 5},
            merge_metadata=merge_metadata,
        )
        status = self.send(message)
        copies = {"cc": [{"email": "log@example.net"}], "bcc": [{"email": "bcc@example.net"}]}
        self.assertEqual(
            self.api_json,
            {
                "from": {"email": "shop@example.net", "name": "Shop"},
                "template_id": "d-77aa",
                "custom_args": {"run": "5"},
                "personalizations": [
                    {
                        "to": [{"email": "ann@example.org"}],
                        **copies,
                        "dynamic_template_data": {
                            "city": "Oslo",
                            "plan": "pro",
                            "items": [1, {"price": 2.5}],
                        },
                        "custom_args": {"order": "17", "vip": "True", "anymail_id": "id-1"},
                    },
                    {
                        "to": [{"email": "bo@example.org", "name": "Bo"}],
                        **copies,
                        "dynamic_template_data": {"city": "Oslo", "plan": "free"},
                        "custom_args": {"anymail_id": "id-2"},
                    },
                ],
            },
        )
        self.assertEqual(self.mock_uuid4.call_count, 2)
        self.assertEqual(merge_metadata, {"ann@example.org": {"order": 17, "vip": True}})
        self.assertEqual(
            {addr: (item.status, item.message_id) for addr, item in status.recipients.items()},
            {
                "ann@example.org": ("queued", "id-1"),
                "bo@example.org": ("queued", "id-2"),
                "log@example.net": ("queued", "id-2"),
                "bcc@example.net": ("queued", "id-2"),
            },
        )
        self.assertEqual(status.message_id, {"id-1", "id-2"})

    def test_global_data_alone_is_no_batch(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                template_id="d-1",
                merge_global_data={"city": gettext_lazy("Oslo")},
            )
        )
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "ann@example.com"}, {"email": "bo@example.com"}],
                    "dynamic_template_data": {"city": "Oslo"},
                    "custom_args": {"anymail_id": "id-1"},
                }
            ],
        )

    def test_empty_merge_data_is_a_batch(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            self.mock_uuid4.side_effect = ["id-1", "id-2"]
            self.send(make_message(to=["ann@example.com", "bo@example.com"], **{attr: {}}))
            self.assertEqual(
                self.personalizations,
                [
                    {
                        "to": [{"email": "ann@example.com"}],
                        "custom_args": {"anymail_id": "id-1"},
                    },
                    {"to": [{"email": "bo@example.com"}], "custom_args": {"anymail_id": "id-2"}},
                ],
            )

    def test_international_domain(self):
        status = self.send(
            make_message(
                to=["Ann <ann@bücher.example>"],
                template_id="d-1",
                merge_data={"ann@Bücher.Example": {"first": "Ann"}},
                merge_metadata={"ann@bücher.example": {"order": 5}},
                merge_headers={"ann@bücher.example": {"X-Ann": gettext_lazy("yes")}},
            )
        )
        self.assertEqual(
            self.personalizations,
            [
                {
                    "to": [{"email": "ann@xn--bcher-kva.example", "name": "Ann"}],
                    "dynamic_template_data": {"first": "Ann"},
                    "custom_args": {"order": "5", "anymail_id": "id-1"},
                    "headers": {"X-Ann": "yes"},
                }
            ],
        )
        self.assertEqual(status.recipients["ann@bücher.example"].message_id, "id-1")

    def test_merge_headers(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                headers={"X-All": "1", "List-Unsubscribe": "<mailto:all@example.com>"},
                merge_headers={
                    "ann@example.com": {"List-Unsubscribe": "<mailto:ann@example.com>"},
                    "bo@example.com": {},
                },
            )
        )
        self.assertEqual(
            self.api_json["headers"],
            {"X-All": "1", "List-Unsubscribe": "<mailto:all@example.com>"},
        )
        self.assertEqual(
            self.personalizations[0]["headers"], {"List-Unsubscribe": "<mailto:ann@example.com>"}
        )
        self.assertNotIn("headers", self.personalizations[1])

    def test_repeated_recipient(self):
        message = make_message(to=["ann@example.com", "ann@example.com"], merge_data={})
        status = self.send(message)
        self.assertEqual(len(self.personalizations), 2)
        self.assertEqual(status.recipients["ann@example.com"].message_id, "id-2")

    def test_no_to_recipients(self):
        status = self.send(
            make_message(
                to=[],
                cc=["cc@example.com"],
                template_id="d-1",
                merge_data={"cc@example.com": {"a": 1}},
                merge_global_data={"b": 2},
            )
        )
        self.assertEqual(
            self.personalizations,
            [
                {
                    "cc": [{"email": "cc@example.com"}],
                    "dynamic_template_data": {"b": 2},
                    "custom_args": {"anymail_id": "id-1"},
                }
            ],
        )
        self.assertEqual(status.message_id, "id-1")

    def test_without_generated_ids(self):
        status = self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                merge_metadata={"ann@example.com": {"order": 5}},
            ),
            generate_message_id=False,
        )
        self.assertEqual(
            self.personalizations,
            [
                {"to": [{"email": "ann@example.com"}], "custom_args": {"order": "5"}},
                {"to": [{"email": "bo@example.com"}]},
            ],
        )
        self.mock_uuid4.assert_not_called()
        self.assertIsNone(status.message_id)
        self.assertEqual(status.status, {"queued"})

    def test_unserializable_merge_data(self):
        message = make_message(template_id="d-1", merge_data={"to@example.com": {"x": Decimal(1)}})
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
            self.send(message)
        self.assert_api_not_called()


class LegacyTemplateTests(SendGridTestCase):
    def test_substitutions(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                template_id="5997fcf6-2b9f-484d-acd5-7e9a99f0dc1f",
                merge_data={"ann@example.com": {"plan": "pro", "price": 1.0, "none": None}},
                merge_global_data={"city": "Oslo", "count": 3, "vip": False},
            ),
            merge_field_format="-{}-",
        )
        common = {"-city-": "Oslo", "-count-": "3", "-vip-": "False"}
        self.assertEqual(
            [item["substitutions"] for item in self.personalizations],
            [{**common, "-plan-": "pro", "-price-": "1.0", "-none-": None}, common],
        )
        for item in self.personalizations:
            self.assertNotIn("dynamic_template_data", item)
        self.assertNotIn("sections", self.api_json)

    def test_without_any_template(self):
        self.send(make_message(merge_global_data={":city": "Oslo"}))
        self.assertEqual(self.personalizations[0]["substitutions"], {":city": "Oslo"})

    def test_field_format_per_message(self):
        esp_extra = {"merge_field_format": "*|{}|*"}
        self.send(
            make_message(merge_global_data={"city": "Oslo"}, esp_extra=esp_extra),
            merge_field_format="-{}-",
        )
        self.assertEqual(self.personalizations[0]["substitutions"], {"*|city|*": "Oslo"})
        self.assertNotIn("merge_field_format", self.api_json)
        self.assertEqual(esp_extra, {"merge_field_format": "*|{}|*"})

    def test_invalid_field_format(self):
        for merge_field_format in ("{name}", "{", "{}{}"):
            message = make_message(merge_global_data={"city": "Oslo"})
            with self.assertRaisesRegex(AnymailConfigurationError, "SENDGRID_MERGE_FIELD_FORMAT"):
                self.send(message, merge_field_format=merge_field_format)

    def test_mode_is_detected_from_the_template_id(self):
        for template_id, dynamic in (("d-1", True), ("1-d", False), (123, False)):
            with self.subTest(template_id=template_id):
                self.mock_uuid4.side_effect = ["id-1"]
                self.send(make_message(template_id=template_id, merge_global_data={":a": "b"}))
                self.assertEqual(self.api_json["template_id"], template_id)
                [personalization] = self.personalizations
                self.assertEqual("dynamic_template_data" in personalization, dynamic)
                self.assertEqual("substitutions" in personalization, not dynamic)

    def test_template_id_in_esp_extra(self):
        self.send(make_message(merge_global_data={"a": "b"}, esp_extra={"template_id": "d-1"}))
        self.assertEqual(self.personalizations[0]["dynamic_template_data"], {"a": "b"})

    def test_mode_per_message(self):
        for template_id, use_dynamic_template in (("d-1", False), ("1", True), (None, True)):
            self.mock_uuid4.side_effect = ["id-1"]
            self.send(
                make_message(
                    template_id=template_id,
                    merge_global_data={":a": "b"},
                    esp_extra={"use_dynamic_template": use_dynamic_template},
                )
            )
            name = "dynamic_template_data" if use_dynamic_template else "substitutions"
            self.assertEqual(self.personalizations[0][name], {":a": "b"})
            self.assertNotIn("use_dynamic_template", self.api_json)

    def test_values_must_be_text(self):
        for value, type_name in (([1], "list"), ({"a": 1}, "dict"), (Decimal(1), "Decimal")):
            with self.subTest(value=value):
                message = make_message(merge_global_data={":a": value})
                with self.assertRaises(AnymailSerializationError) as raised:
                    self.send(message)
                text = str(raised.exception)
                self.assertIn("SendGrid legacy substitutions require string values", text)
                self.assertIn(type_name, text)
                self.assertIs(raised.exception.email_message, message)
                self.assertIsNotNone(raised.exception.payload)
                self.assertEqual(raised.exception.esp_name, "SendGrid")
                self.assert_api_not_called()

    def assert_delimiter_warnings(self, count, esp_extra=None, **options):
        self.mock_uuid4.side_effect = ["id-1", "id-2"]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.send(make_message(esp_extra=esp_extra, **options))
        for warning in caught:
            self.assertIs(warning.category, AnymailWarning)
            self.assertIn("SENDGRID_MERGE_FIELD_FORMAT", str(warning.message))
        self.assertEqual(len(caught), count)

    def test_missing_delimiters(self):
        own = {"to@example.com": {"first": "Ann"}}
        self.assert_delimiter_warnings(1, merge_data=own)
        self.assert_delimiter_warnings(2, merge_global_data={"city": "Oslo"})
        self.assert_delimiter_warnings(2, merge_data=own, merge_global_data={"city": "Oslo"})
        self.assert_delimiter_warnings(
            1, merge_data={"to@example.com": {":first": "Ann"}}, merge_global_data={"city": "Oslo"}
        )
        self.assert_delimiter_warnings(0, merge_data={"to@example.com": {"first_name": "Ann"}})
        self.assert_delimiter_warnings(0, merge_data=own, merge_global_data={":city": "Oslo"})
        self.assert_delimiter_warnings(0, merge_data={"to@example.com": {}})
        self.assert_delimiter_warnings(0, merge_data=own, esp_extra={"merge_field_format": ":{}"})
        self.assert_delimiter_warnings(0, merge_data=own, template_id="d-1")


class StatusTests(SendGridTestCase):
    def test_queued(self):
        message = make_message(to=["TO@Example.com"], cc=["cc@example.com"])
        status = self.send(message)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "id-1")
        self.assertEqual(set(status.recipients), {"TO@Example.com", "cc@example.com"})
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_generated_ids_are_uuids(self):
        self.mock_uuid4.side_effect = None
        self.mock_uuid4.return_value = 123
        self.assertEqual(self.send(make_message()).message_id, "123")

    def test_what_is_a_success(self):
        self.mock_uuid4.side_effect = None

        def sandbox_mode(value):
            return {"esp_extra": {"mail_settings": {"sandbox_mode": value}}}

        self.api_response = make_response(200)
        self.assertEqual(
            self.send(make_message(**sandbox_mode({"enable": True}))).status, {"queued"}
        )
        for response in (
            self.api_response,
            make_response(201),
            make_response(204),
            make_response(202, body=b"Hello"),
            make_response(202, json_data={}),
        ):
            self.api_response = response
            for attrs in ({}, sandbox_mode({"enable": False}), sandbox_mode(True)):
                message = make_message(**attrs)
                with (
                    self.subTest(response, body=response.content, attrs=attrs),
                    self.assertRaisesMessage(AnymailRequestsAPIError, "SendGrid API response 20"),
                ):
                    self.send(message)
                self.assertEqual(message.anymail_status.recipients, {})

    @override_settings(
        ANYMAIL={"SENDGRID_API_KEY": "test-key", "SENDGRID_GENERATE_MESSAGE_ID": False}
    )
    def test_without_generated_id(self):
        status = self.send(make_message())
        self.assertNotIn("custom_args", self.personalizations[0])
        self.assertIsNone(status.message_id)
        self.assertIsNone(status.recipients["to@example.com"].message_id)

    def test_http_error(self):
        error = {"message": "The from address does not match", "field": "from", "help": None}
        self.api_response = make_response(400, json_data={"errors": [error]}, reason="Bad Request")
        message = make_message()
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(message)
        text = str(raised.exception)
        self.assertTrue(text.startswith("SendGrid API response 400 (Bad Request)"), text)
        self.assertIn('"message": "The from address does not match"', text)
        self.assertIsNone(message.anymail_status.status)
        self.assertEqual(message.anymail_status.recipients, {})

    def test_http_error_without_json(self):
        for body, text in ((b"", "SendGrid API response 401"), (b"<html>", "<html>")):
            self.api_response = make_response(401, body=body)
            with self.assertRaises(AnymailAPIError) as raised:
                self.send(make_message())
            self.assertIn(text, str(raised.exception))
