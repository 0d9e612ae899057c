from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from unittest.mock import patch

import requests
from django.core.mail import EmailMessage
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.message import attach_inline_image
from tests.utils import SAMPLE_IMAGE, ApiTestCase, make_message, make_response


def batch_answer(*message_ids: str) -> dict:
    return {"data": [{"id": message_id} for message_id in message_ids]}


@tag("resend")
class ResendTestCase(ApiTestCase):
    backend = "anymail.backends.resend.EmailBackend"
    settings = {"RESEND_API_KEY": "test-key"}
    api_response = {"id": "id-1"}

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(ResendTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.resend.com/emails")
        self.assertEqual(
            self.api_call["headers"],
            {
                "Authorization": "Bearer test-key",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.assertIsInstance(self.api_call["data"], str)
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_key(self):
        pattern = r"\bRESEND_API_KEY\b.*\bANYMAIL_RESEND_API_KEY\b"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, RESEND_API_KEY="bare-key")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().api_key, "bare-key")

    @override_settings(RESEND_API_URL="https://bare.example.com", RESEND_SEND_DEFAULTS={"tags": []})
    def test_only_the_key_can_be_bare(self):
        self.assertEqual(self.make_backend().api_url, "https://api.resend.com/")

    def test_api_url(self):
        self.send(make_message(), api_url="https://eu.example.com/resend")
        self.assert_api_called("https://eu.example.com/resend/emails")
        self.send(make_message(merge_metadata={}), api_url="https://eu.example.com/resend/")
        self.assert_api_called("https://eu.example.com/resend/emails/batch")

    def test_svix_is_not_needed(self):
        with patch.dict(sys.modules, {"svix": None, "svix.webhooks": None}):
            self.assertEqual(self.send(make_message()).message_id, "id-1")


class MessageTests(ResendTestCase):
    def test_empty_subject_and_body(self):
        self.send(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual(self.api_json["subject"], "")
        self.assertEqual(self.api_json["text"], "")

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
        expected = {
            "from": '"From, Inc." <from@xn--bcher-kva.example>',
            "to": ["Zoë <zoe@xn--bcher-kva.example>", "to@example.com"],
            "cc": ["Cc <cc@example.com>", "cc2@example.com"],
            "bcc": ["bcc@example.com"],
            "reply_to": ['"Reply, all" <reply@example.com>', "reply2@example.com"],
        }
        self.assertEqual({name: self.api_json[name] for name in expected}, expected)

    def test_eai_local_part_is_left_to_resend(self):
        self.send(make_message(to=["zoë@example.com"]))
        self.assertEqual(self.api_json["to"], ["zoë@example.com"])

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "X-Custom": "Grüße",
                    "X-Int": 123,
                    "X-Float": 1.5,
                    "X-Bool": True,
                    "Message-ID": "<mine@example.com>",
                    "REPLY-TO": "header@example.com",
                },
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(
            self.api_json["headers"],
            {
                "X-Custom": "Grüße",
                "X-Int": "123",
                "X-Float": "1.5",
                "X-Bool": "True",
                "Message-ID": "<mine@example.com>",
            },
        )
        self.assertEqual(self.api_json["reply_to"], ["header@example.com"])

    def test_only_special_headers(self):
        self.send(make_message(headers={"Reply-To": "header@example.com"}))
        self.assertNotIn("headers", self.api_json)

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal.* is not JSON serial"):
            self.send(message)
        self.assert_api_not_called()

    def test_unserializable_metadata(self):
        with self.assertRaises(TypeError) as raised:
            self.send(make_message(metadata={"price": Decimal("12.5")}))
        self.assertIsInstance(raised.exception, AnymailSerializationError)
        self.assertRegex(str(raised.exception), r"Don't know how to send this data to Resend")
        self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_line_breaks_in_tags_and_metadata(self):
        # They are escaped in JSON.
        self.send(make_message(tags=["a\r\nBcc: x@example.com"], metadata={"b\n": "c\0"}))
        self.assertEqual(
            self.api_json["headers"],
            {"X-Tags": '["a\\r\\nBcc: x@example.com"]', "X-Metadata": '{"b\\n": "c\\u0000"}'},
        )

    def test_headers_tags_and_metadata(self):
        self.send(make_message(headers={"X-Own": "1"}, tags=["a"], metadata={"b": 2}))
        self.assertEqual(
            self.api_json["headers"], {"X-Own": "1", "X-Tags": '["a"]', "X-Metadata": '{"b": 2}'}
        )

    def test_tags_and_metadata_replace_headers_in_any_case(self):
        headers = {"x-tags": "own", "X-METADATA": "own"}
        self.send(make_message(headers=headers, tags=["a"], metadata={"b": 2}))
        self.assertEqual(self.api_json["headers"], {"X-Tags": '["a"]', "X-Metadata": '{"b": 2}'})

    def test_without_headers(self):
        self.send(make_message(tags=[], metadata={}, headers={}, attachments=[]))
        self.assertEqual(set(self.api_json), {"from", "to", "subject", "text"})

    def test_send_at(self):
        plus3 = timezone(timedelta(hours=3))
        minus5 = timezone(timedelta(hours=-5))
        for send_at, expected in (
            (datetime(2027, 5, 6, 9, 30, 15, 250999, plus3), "2027-05-06T09:30:15.250+03:00"),
            (datetime(2027, 5, 6, 9, 30, 15, 0, minus5), "2027-05-06T09:30:15-05:00"),
            (datetime(2027, 5, 6, 9, 30, tzinfo=timezone.utc), "2027-05-06T09:30:00+00:00"),
            (1809595815, "2027-05-06T09:30:15+00:00"),
            (1809595815.5, "2027-05-06T09:30:15.500+00:00"),
            ("in 1 hour", "in 1 hour"),
        ):
            with self.subTest(send_at=send_at):
                self.send(make_message(send_at=send_at))
                self.assertEqual(self.api_json["scheduled_at"], expected)

    @override_settings(TIME_ZONE="Asia/Kolkata", USE_TZ=True)
    def test_send_at_in_current_time_zone(self):
        self.send(make_message(send_at=datetime(2027, 5, 6, 9, 30)))  # noqa: DTZ001
        self.assertEqual(self.api_json["scheduled_at"], "2027-05-06T09:30:00+05:30")
        self.send(make_message(send_at=date(2027, 5, 6)))
        self.assertEqual(self.api_json["scheduled_at"], "2027-05-06T00:00:00+05:30")

    def test_esp_extra(self):
        self.send(
            make_message(
                subject="replaced",
                tags=["portable"],
                headers={"X-Own": "1"},
                esp_extra={"subject": "Other", "tags": [{"name": "category", "value": "x"}]},
            )
        )
        self.assertEqual(self.api_json["subject"], "Other")
        self.assertEqual(self.api_json["tags"], [{"name": "category", "value": "x"}])
        self.assertEqual(self.api_json["headers"], {"X-Own": "1", "X-Tags": '["portable"]'})

    def test_template_in_esp_extra(self):
        message = make_message(esp_extra={"template": {"id": "welcome"}})
        message.body = None
        self.send(message)
        self.assertEqual(set(self.api_json), {"from", "to", "subject", "template"})

    def test_headers_in_esp_extra_replace_all(self):
        self.send(
            make_message(tags=["a"], headers={"X-Own": "1"}, esp_extra={"headers": {"X-Two": "2"}})
        )
        self.assertEqual(self.api_json["headers"], {"X-Two": "2"})

    def test_line_breaks_in_esp_extra(self):
        for extra in (
            {"subject": "a\r\nb: c"},
            {"headers": {"X-Own": "a\nb"}},
            {"headers": {"X-Own\r\nBcc": "a"}},
        ):
            with self.subTest(extra=extra), self.assertRaisesRegex(AnymailInvalidHeader, "extra"):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()

    def test_headers_in_esp_extra_of_another_type(self):
        with self.assertRaisesRegex(TypeError, r"esp_extra\['headers'\] must be a dict"):
            self.send(make_message(esp_extra={"headers": ["X-Own: 1"]}))
        self.assert_api_not_called()


class AttachmentTests(ResendTestCase):
    def test_attachment_in_its_own_charset(self):
        message = make_message()
        part = MIMEText("Grün", "plain", "iso-8859-1")
        part.add_header("Content-Disposition", "attachment", filename="a.txt")
        message.attachments.append(part)
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual(attachment["content"], "R3L8bg==")
        self.assertEqual(attachment["content_type"], 'text/plain; charset="iso-8859-1"')

    def test_unnamed_inline_image(self):
        message = make_message()
        attach_inline_image(message, SAMPLE_IMAGE)
        self.send(message)
        [attachment] = self.api_json["attachments"]
        self.assertEqual(attachment["filename"], "attachment.png")

    def test_inline_image_without_content_id(self):
        message = make_message()
        image = MIMEImage(SAMPLE_IMAGE, "png")
        image.add_header("Content-Disposition", "inline", filename="logo.png")
        message.attachments.append(image)
        self.assert_unsupported(message, "inline attachments without Content-ID")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["attachments"][0]["content_id"], "")

    def test_name_does_not_fit_type(self):
        message = make_message()
        message.attach("notes.txt", "<p>", "text/html")
        feature = "attachments of type text/html with name 'notes.txt'"
        self.assert_unsupported(message, feature)
        self.send(message, ignore_unsupported_features=True)
        expected = {
            "content": "PHA+",
            "filename": "notes.txt",
            "content_type": 'text/html; charset="utf-8"',
        }
        self.assertEqual(self.api_json["attachments"], [expected])
        self.send(message, verify_attachment_extensions=False)
        self.assertEqual(self.api_json["attachments"], [expected])
        with override_settings(
            ANYMAIL={**self.settings, "RESEND_VERIFY_ATTACHMENT_EXTENSIONS": False}
        ):
            self.send(message)
        self.assertEqual(self.api_json["attachments"], [expected])

    def test_inline_image_is_verified_too(self):
        message = make_message()
        attach_inline_image(message, SAMPLE_IMAGE, "logo.gif", "png")
        self.assert_unsupported(message, "attachments of type image/png with name 'logo.gif'")

    def test_type_in_upper_case(self):
        message = make_message()
        message.attach("logo.png", SAMPLE_IMAGE, "IMAGE/PNG")
        self.send(message)
        self.assertEqual(self.api_json["attachments"][0]["content_type"], "IMAGE/PNG")

    def test_unnamed_attachments(self):
        message = make_message()
        message.attachments.append((None, "text", "text/plain"))
        message.attachments.append(("", SAMPLE_IMAGE, "image/png"))
        attached = EmailMessage("Attached", "body", "a@example.com", ["b@example.com"])
        message.attach(None, attached, "message/rfc822")
        for options in ({}, {"verify_attachment_extensions": False}):
            self.send(message, **options)
            self.assertEqual(
                [(item["filename"], item["content_type"]) for item in self.api_json["attachments"]],
                [
                    ("attachment.txt", 'text/plain; charset="utf-8"'),
                    ("attachment.png", "image/png"),
                    ("attachment.eml", "message/rfc822"),
                ],
            )

    def test_unnamed_attachment_of_unknown_type(self):
        message = make_message()
        part = MIMEBase("application", "x-made-up")
        part.set_payload(b"x")
        message.attachments.append(part)
        self.assert_unsupported(message, "unnamed attachments of type application/x-made-up")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["attachments"][0]["filename"], "")


class UnsupportedFeatureTests(ResendTestCase):
    def test_features(self):
        for attrs, feature in (
            ({"merge_data": {"to@example.com": {"name": "Zoë"}}}, "merge_data"),
            ({"merge_global_data": {"site": "Shop"}}, "merge_global_data"),
            ({"template_id": "welcome"}, "template_id"),
            ({"track_opens": True}, "track_opens"),
            ({"track_clicks": False}, "track_clicks"),
            ({"envelope_sender": "bounces@example.com"}, "envelope_sender"),
            ({"headers": {"From": "header@example.com"}}, "envelope_sender"),
            ({"headers": {"To": "list@example.com"}}, "spoofing `To` header"),
            ({"from_email": "a@example.com, b@example.com"}, "multiple from emails"),
        ):
            with self.subTest(attrs):
                self.assert_unsupported(make_message(**attrs), feature)

    def test_ignored(self):
        message = make_message(
            from_email="a@example.com, b@example.com",
            headers={"To": "list@example.com"},
            merge_global_data={"site": "Shop"},
            template_id="welcome",
            track_opens=True,
        )
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(
            self.api_json,
            {
                "from": "a@example.com",
                "to": ["to@example.com"],
                "subject": "Subject",
                "text": "Text body",
            },
        )

    def test_ignored_merge_data(self):
        self.api_response = batch_answer("id-1")
        message = make_message(merge_data={"to@example.com": {"name": "Zoë"}})
        self.send(message, ignore_unsupported_features=True)
        self.assert_api_called("https://api.resend.com/emails/batch")
        self.assertNotIn("Zo", self.api_call["data"])

    def test_merge_data_for_others(self):
        self.send(make_message(merge_data={"other@example.com": {"name": "Zoë"}}))
        self.assert_api_called("https://api.resend.com/emails/batch")

    def test_two_html_parts(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["html"], "<p>1</p>")

    def test_html_body_and_alternative(self):
        message = make_message(body="<p>1</p>")
        message.content_subtype = "html"
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")


class BatchTests(ResendTestCase):
    api_response = batch_answer("id-1", "id-2")

    def test_batch(self):
        status = self.send(
            make_message(
                to=["Ann <ann@bücher.example>", "bo@example.net"],
                cc=["cc@example.com"],
                bcc=["bcc@example.com"],
                metadata={"run": "w7", "order": 0},
                tags=["receipt"],
                headers={"List-Unsubscribe": "<mailto:u@example.com>", "X-Int": 1},
                merge_metadata={"ann@Bücher.Example": {"order": 5}},
                merge_headers={
                    "ann@bücher.example": {
                        "LIST-unsubscribe": "<https://example.com/u/1>",
                        "X-Ann": "Ann",
                    }
                },
                esp_extra={"topic_id": "topic"},
            )
        )
        self.assert_api_called("https://api.resend.com/emails/batch")
        shared = {
            "from": "from@example.com",
            "cc": ["cc@example.com"],
            "bcc": ["bcc@example.com"],
            "subject": "Subject",
            "text": "Text body",
            "topic_id": "topic",
        }
        self.assertEqual(
            self.api_json,
            [
                {
                    **shared,
                    "to": ["Ann <ann@xn--bcher-kva.example>"],
                    "headers": {
                        "X-Metadata": '{"run": "w7", "order": 5}',
                        "X-Tags": '["receipt"]',
                        # The name is as in the headers for everyone.
                        "List-Unsubscribe": "<https://example.com/u/1>",
                        "X-Int": "1",
                        "X-Ann": "Ann",
                    },
                },
                {
                    **shared,
                    "to": ["bo@example.net"],
                    "headers": {
                        "X-Metadata": '{"run": "w7", "order": 0}',
                        "X-Tags": '["receipt"]',
                        "List-Unsubscribe": "<mailto:u@example.com>",
                        "X-Int": "1",
                    },
                },
            ],
        )
        self.assertEqual(
            {addr: (s.status, s.message_id) for addr, s in status.recipients.items()},
            {
                "ann@bücher.example": ("queued", "id-1"),
                "bo@example.net": ("queued", "id-2"),
                "cc@example.com": ("queued", None),
                "bcc@example.com": ("queued", None),
            },
        )
        self.assertEqual(status.message_id, {"id-1", "id-2", None})

    def test_attachments(self):
        """Resend drops them from a batch, and says nothing."""
        message = make_message(to=["a@example.com", "b@example.com"], merge_metadata={})
        message.attach("a.txt", "attached", "text/plain")
        extra = {"attachments": [{"path": "https://example.com/a.pdf"}]}
        for batch in (message, make_message(merge_metadata={}, esp_extra=extra)):
            self.assert_unsupported(batch, "attachments in a batch")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(len(self.api_json), 2)
        self.assertTrue(all("attachments" not in item for item in self.api_json))

    def test_send_at(self):
        to = ["a@example.com", "b@example.com"]
        self.send(make_message(to=to, merge_metadata={}, send_at="in 1 hour"))
        self.assertEqual([item["scheduled_at"] for item in self.api_json], ["in 1 hour"] * 2)

    def test_empty_merge_attributes(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            for value in ({}, {"a@example.com": {}}):
                with self.subTest(attr=attr, value=value):
                    to = ["a@example.com", "b@example.com"]
                    self.send(make_message(to=to, **{attr: value}))
                    self.assert_api_called("https://api.resend.com/emails/batch")
                    content = {"from": "from@example.com", "subject": "Subject"}
                    self.assertEqual(
                        self.api_json,
                        [{**content, "text": "Text body", "to": [address]} for address in to],
                    )

    def test_only_merge_metadata(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                merge_metadata={"bo@example.com": {"order": 5}, "nobody@example.com": {"x": 1}},
            )
        )
        ann, bo = self.api_json
        self.assertNotIn("headers", ann)
        self.assertEqual(bo["headers"], {"X-Metadata": '{"order": 5}'})

    def test_merge_headers_win_over_metadata(self):
        self.send(
            make_message(
                metadata={"a": 1},
                merge_metadata={"to@example.com": {"b": 2}},
                merge_headers={"to@example.com": {"x-metadata": "own", "X-Int": 7}},
            )
        )
        self.assertEqual(self.api_json[0]["headers"], {"X-Metadata": "own", "X-Int": 7})

    def test_headers_in_esp_extra(self):
        self.send(
            make_message(
                metadata={"a": 1},
                esp_extra={"headers": {"X-Two": "2"}},
                merge_metadata={"to@example.com": {"b": 2}},
            )
        )
        self.assertEqual(
            self.api_json[0]["headers"], {"X-Two": "2", "X-Metadata": '{"a": 1, "b": 2}'}
        )

    def test_recipients_share_no_headers(self):
        headers = {"X-Own": "all"}
        metadata = {"run": "w7"}
        message = make_message(
            to=["a@example.com", "b@example.com", "c@example.com"],
            headers=headers,
            metadata=metadata,
            merge_headers={"a@example.com": {"X-Own": "a"}, "b@example.com": {"X-B": "b"}},
            merge_metadata={"a@example.com": {"run": "a"}, "b@example.com": {"own": 1}},
        )
        self.send(message)
        self.assertEqual(
            [item["headers"] for item in self.api_json],
            [
                {"X-Own": "a", "X-Metadata": '{"run": "a"}'},
                {"X-Own": "all", "X-B": "b", "X-Metadata": '{"run": "w7", "own": 1}'},
                {"X-Own": "all", "X-Metadata": '{"run": "w7"}'},
            ],
        )
        self.assertEqual((headers, metadata), ({"X-Own": "all"}, {"run": "w7"}))

    def test_no_to_recipients(self):
        self.api_response = {"data": []}
        status = self.send(make_message(to=[], cc=["cc@example.com"], merge_metadata={}))
        self.assertEqual(self.api_json, [])
        self.assertEqual(status.recipients["cc@example.com"].status, "queued")

    def test_unserializable_merge_metadata(self):
        message = make_message(merge_metadata={"to@example.com": {"x": Decimal(1)}})
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
            self.send(message)
        self.assert_api_not_called()


class StatusTests(ResendTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_queued(self):
        message = make_message(cc=["Cc@Example.com"], bcc=["bcc@bücher.example"])
        status = self.send(message)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "id-1")
        self.assertEqual(
            set(status.recipients), {"to@example.com", "Cc@Example.com", "bcc@bücher.example"}
        )
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_some_of_a_batch_refused(self):
        # With the header "x-batch-validation: permissive", "data" is about the others.
        self.api_response = {**batch_answer("1"), "errors": [{"index": 0, "message": "Oh"}]}
        message = make_message(to=["a@b.test", "c@b.test"], cc=["cc@b.test"], merge_metadata={})
        self.assertEqual(
            self.statuses(message),
            {
                "a@b.test": ("failed", None),
                "c@b.test": ("queued", "1"),
                "cc@b.test": ("queued", None),
            },
        )
        errors = [{"index": 0, "message": "Oh"}, {"index": 1, "message": "Oh"}]
        self.api_response = {"data": [], "errors": errors}
        with self.assertRaises(AnymailRequestsAPIError):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"failed"})
        for errors in (5, [None], [{}], [{"index": 2}], [{"index": -1}], [{"index": "0"}]):
            self.api_response = {**batch_answer("1"), "errors": errors}
            with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                self.send(message)

    def test_fewer_or_more_ids_than_recipients(self):
        to = ["a@example.com", "b@example.com"]
        for ids, expected in (
            ([], [None, None]),
            (["1"], ["1", None]),
            (["1", "2"], ["1", "2"]),
            (["1", "2", "3"], ["1", "2"]),
        ):
            with self.subTest(ids=ids):
                self.api_response = batch_answer(*ids)
                self.assertEqual(
                    self.statuses(make_message(to=to, merge_metadata={})),
                    {addr: ("queued", i) for addr, i in zip(to, expected, strict=True)},
                )

    def test_one_id_for_a_batch(self):
        message = make_message(to=["a@example.com", "b@example.com"], merge_metadata={})
        self.assertEqual(
            self.statuses(message),
            {"a@example.com": ("queued", "id-1"), "b@example.com": ("queued", "id-1")},
        )

    def test_http_errors(self):
        for status, body in (
            (422, {"statusCode": 422, "name": "validation_error", "message": "Invalid `to` field"}),
            (403, {"statusCode": 403, "name": "invalid_api_key", "message": "API key is invalid"}),
        ):
            with self.subTest(status):
                self.api_response = make_response(status, json_data=body)
                message = make_message()
                with self.assertRaises(AnymailRequestsAPIError) as raised:
                    self.send(message)
                self.assertTrue(str(raised.exception).startswith(f"Resend API response {status}"))
                self.assertIn(body["message"], str(raised.exception))
                self.assertIsNone(message.anymail_status.status)

    def test_rate_limit(self):
        self.api_response = make_response(429, json_data={"name": "rate_limit_exceeded"})
        self.api_response.headers["retry-after"] = "1"
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(make_message())
        self.assertEqual(raised.exception.status_code, 429)
        self.assertEqual(raised.exception.response.headers["Retry-After"], "1")

    def test_rate_limit_headers(self):
        self.api_response = make_response(json_data={"id": "id-1"})
        self.api_response.headers["ratelimit-remaining"] = "4"
        status = self.send(make_message())
        self.assertEqual(status.esp_response.headers["ratelimit-remaining"], "4")

    def test_malformed_answers(self):
        for answer in (
            None,
            "text",
            "id",
            12,
            ["id"],
            [],
            [{"id": "id-1"}],
            {},
            {"id": None},
            {"id": 12},
            {"id": ["id-1"]},
            {"data": None},
            {"data": ""},
            {"data": {}},
            {"data": {"id": "id-1"}},
            {"data": [None]},
            {"data": ["id-1"]},
            {"data": [[]]},
            {"data": [{}]},
        ):
            for attrs in ({}, {"merge_metadata": {}}):
                with self.subTest(answer=answer, attrs=attrs):
                    self.api_response = make_response(body=json.dumps(answer).encode())
                    message = make_message(**attrs)
                    with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                        self.send(message)
                    self.assertIsNone(message.anymail_status.status)
                    self.assertIsNotNone(message.anymail_status.esp_response)

    def test_not_json(self):
        self.api_response = make_response(body=b"<p>")
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in Resend API response"):
            self.send(make_message())
