from __future__ import annotations

import base64
import json
from decimal import Decimal
from email.mime.text import MIMEText
from unittest.mock import patch

import requests
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


def sent(to: str = "to@example.com", message_id: str = "id-1") -> dict:
    """Return Postmark's answer for one message."""
    return {
        "To": to,
        "SubmittedAt": "2026-05-06T07:08:09.1234567-04:00",
        "MessageID": message_id,
        "ErrorCode": 0,
        "Message": "OK",
    }


@tag("postmark")
class PostmarkTestCase(ApiTestCase):
    backend = "anymail.backends.postmark.EmailBackend"
    settings = {"POSTMARK_SERVER_TOKEN": "test-token"}
    api_response = sent()

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(PostmarkTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.postmarkapp.com/email")
        self.assertEqual(
            self.api_call["headers"],
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "X-Postmark-Server-Token": "test-token",
            },
        )
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_token(self):
        pattern = r"POSTMARK_SERVER_TOKEN.*ANYMAIL_POSTMARK_SERVER_TOKEN"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, POSTMARK_SERVER_TOKEN="bare-token")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().server_token, "bare-token")

    def test_api_url(self):
        self.send(make_message(), api_url="https://eu.example.com/postmark")
        self.assert_api_called("https://eu.example.com/postmark/email")

    def test_token_per_message(self):
        self.send(make_message(esp_extra={"server_token": "other"}))
        self.assertEqual(self.api_call["headers"]["X-Postmark-Server-Token"], "other")
        self.assertNotIn("server_token", self.api_json)

    def test_message_stream(self):
        self.send(make_message(), message_stream="broadcasts")
        self.assertEqual(self.api_json["MessageStream"], "broadcasts")

    def test_empty_message_stream_is_sent(self):
        self.send(make_message(), message_stream="")
        self.assertEqual(self.api_json["MessageStream"], "")

    def test_message_stream_per_message(self):
        message = make_message(esp_extra={"MessageStream": "special"})
        self.send(message, message_stream="broadcasts")
        self.assertEqual(self.api_json["MessageStream"], "special")


class MessageTests(PostmarkTestCase):
    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Inc." <from@example.com>, Zweite <zwei@example.com>',
                to=["Zoë <zoe@bücher.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["bcc@example.com"],
                reply_to=['"Reply, all" <reply@example.com>', "reply2@example.com"],
            )
        )
        self.assertEqual(
            self.api_json["From"], '"From, Inc." <from@example.com>, Zweite <zwei@example.com>'
        )
        self.assertEqual(self.api_json["To"], "Zoë <zoe@xn--bcher-kva.example>, to@example.com")
        self.assertEqual(self.api_json["Cc"], "Cc <cc@example.com>, cc2@example.com")
        self.assertEqual(self.api_json["Bcc"], "bcc@example.com")
        self.assertEqual(
            self.api_json["ReplyTo"], '"Reply, all" <reply@example.com>, reply2@example.com'
        )

    def test_eai_local_part_is_left_to_postmark(self):
        self.send(make_message(to=["zoë@example.com"]))
        self.assertEqual(self.api_json["To"], "zoë@example.com")

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
            self.api_json["Headers"],
            [
                {"Name": "X-Custom", "Value": "Grüße"},
                {"Name": "X-Num", "Value": 123},
                {"Name": "Message-ID", "Value": "<mine@example.com>"},
            ],
        )
        self.assertEqual(self.api_json["ReplyTo"], "header@example.com")

    def test_only_special_headers(self):
        self.send(make_message(headers={"Reply-To": "header@example.com"}))
        self.assertNotIn("Headers", self.api_json)

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(message)
        self.assertRegex(str(raised.exception), r"Don't know how to send this data to Postmark")
        self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_attachment_in_its_own_charset(self):
        message = make_message()
        message.attachments.append(MIMEText("Grün", "plain", "iso-8859-1"))
        self.send(message)
        [attachment] = self.api_json["Attachments"]
        self.assertEqual(attachment["Content"], "R3L8bg==")
        self.assertEqual(attachment["ContentType"], 'text/plain; charset="iso-8859-1"')

    def test_esp_extra(self):
        self.send(make_message(tags=["one"], esp_extra={"Tag": "two", "InlineCss": True}))
        self.assertEqual(self.api_json["Tag"], "two")
        self.assertIs(self.api_json["InlineCss"], True)


class UnsupportedFeatureTests(PostmarkTestCase):
    def test_from_header(self):
        message = make_message(headers={"From": "header@example.com"})
        self.assert_unsupported(message, "envelope_sender")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["From"], "header@example.com")

    def test_send_at(self):
        self.assert_unsupported(make_message(send_at=1900000000), "send_at")

    def test_amp_alternative(self):
        message = make_message()
        message.attach_alternative("<html amp4email>", "text/x-amp-html")
        self.assert_unsupported(message, "alternative part with type 'text/x-amp-html'")

    def test_global_merge_data_without_template(self):
        message = make_message(merge_global_data={"site": "Shop"}, merge_data={"a@b.c": {"x": 1}})
        self.assert_unsupported(message, "merge_global_data without template_id")
        self.send(
            make_message(merge_global_data={"site": "Shop"}), ignore_unsupported_features=True
        )
        self.assertEqual(self.api_json["TemplateModel"], {"site": "Shop"})

    def test_merge_data_without_template(self):
        message = make_message(merge_data={"to@example.com": {"name": "Zoë"}})
        self.assert_unsupported(message, "merge_data without template_id")
        self.send(message, ignore_unsupported_features=True)
        self.assert_api_called("https://api.postmarkapp.com/email/batch")
        self.assertEqual(self.api_json[0]["TemplateModel"], {"name": "Zoë"})


class TemplateTests(PostmarkTestCase):
    def test_template_id(self):
        self.send(make_message(template_id=1234, subject="", body=""))
        self.assert_api_called("https://api.postmarkapp.com/email/withTemplate/")
        self.assertEqual(
            self.api_json,
            {
                "From": "from@example.com",
                "To": "to@example.com",
                "TemplateId": 1234,
                "TemplateModel": {},
            },
        )

    def test_numeric_text_is_an_id(self):
        self.send(make_message(template_id="1234"))
        self.assertEqual(self.api_json["TemplateId"], 1234)
        self.assertNotIn("TemplateAlias", self.api_json)

    def test_alias(self):
        self.send(make_message(template_id="welcome"))
        self.assertEqual(self.api_json["TemplateAlias"], "welcome")
        self.assertNotIn("TemplateId", self.api_json)

    def test_content_beside_template_is_left_to_postmark(self):
        message = make_message(template_id=1)
        message.attach_alternative("<p></p>", "text/html")
        self.send(message)
        self.assertEqual(self.api_json["Subject"], "Subject")
        self.assertEqual(self.api_json["TextBody"], "Text body")
        self.assertEqual(self.api_json["HtmlBody"], "<p></p>")

    def test_empty_html_body(self):
        message = make_message(template_id=1, subject="", body="")
        message.content_subtype = "html"
        self.send(message)
        self.assertNotIn("HtmlBody", self.api_json)

    def test_subject_none(self):
        message = make_message(template_id=1)
        message.subject = None
        self.send(message)
        self.assertNotIn("Subject", self.api_json)

    def test_global_merge_data(self):
        self.send(make_message(template_id=1, merge_global_data={"site": "Shop"}))
        self.assertEqual(self.api_json["TemplateModel"], {"site": "Shop"})

    def test_template_in_esp_extra(self):
        self.send(make_message(esp_extra={"TemplateAlias": "x", "TemplateModel": {}}))
        self.assert_api_called("https://api.postmarkapp.com/email/withTemplate/")

    def test_empty_merge_data_needs_no_template(self):
        self.api_response = [sent()]
        self.send(make_message(merge_data={}))
        self.assert_api_called("https://api.postmarkapp.com/email/batch")


class BatchTests(PostmarkTestCase):
    api_response = [sent("ann@example.com", "id-1"), sent("Bo <bo@example.com>", "id-2")]

    def test_template_batch(self):
        merge_data = {"ann@example.com": {"first": "Ann"}, "nobody@example.com": {"first": "No"}}
        merge_metadata = {"ann@example.com": {"order": 5}}
        message = make_message(
            to=["ann@example.com", "Bo <bo@example.com>"],
            cc=["cc@example.com"],
            template_id=9087,
            subject="",
            body="",
            merge_data=merge_data,
            merge_global_data={"site": "Shop", "first": "friend"},
            metadata={"run": "w7"},
            merge_metadata=merge_metadata,
        )
        status = self.send(message)
        self.assert_api_called("https://api.postmarkapp.com/email/batchWithTemplates")
        common = {"From": "from@example.com", "Cc": "cc@example.com", "TemplateId": 9087}
        self.assertEqual(
            self.api_json,
            {
                "Messages": [
                    {
                        **common,
                        "To": "ann@example.com",
                        "TemplateModel": {"site": "Shop", "first": "Ann"},
                        "Metadata": {"run": "w7", "order": 5},
                    },
                    {
                        **common,
                        "To": "Bo <bo@example.com>",
                        "TemplateModel": {"site": "Shop", "first": "friend"},
                        "Metadata": {"run": "w7"},
                    },
                ]
            },
        )
        # The caller's own are as they were.
        self.assertEqual(merge_data["ann@example.com"], {"first": "Ann"})
        self.assertEqual(merge_metadata, {"ann@example.com": {"order": 5}})
        self.assertEqual(status.recipients["ann@example.com"].message_id, "id-1")
        self.assertEqual(status.recipients["bo@example.com"].message_id, "id-2")
        self.assertEqual(status.recipients["cc@example.com"].message_id, "id-2")
        self.assertEqual(status.message_id, {"id-1", "id-2"})

    def test_merge_metadata_alone_is_a_batch(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                merge_metadata={"bo@example.com": {"order": 5}},
            )
        )
        self.assert_api_called("https://api.postmarkapp.com/email/batch")
        self.assertNotIn("Metadata", self.api_json[0])
        self.assertEqual(self.api_json[1]["Metadata"], {"order": 5})

    def test_merge_headers(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                headers={"X-Common": "all", "List-Unsubscribe": "<mailto:all@example.com>"},
                merge_headers={
                    "ann@example.com": {"LIST-Unsubscribe": "<mailto:ann@example.com>", "X-A": 1}
                },
            )
        )
        self.assertEqual(
            self.api_json[0]["Headers"],
            [
                {"Name": "X-Common", "Value": "all"},
                {"Name": "LIST-Unsubscribe", "Value": "<mailto:ann@example.com>"},
                {"Name": "X-A", "Value": 1},
            ],
        )
        self.assertEqual(
            self.api_json[1]["Headers"],
            [
                {"Name": "X-Common", "Value": "all"},
                {"Name": "List-Unsubscribe", "Value": "<mailto:all@example.com>"},
            ],
        )

    def test_international_domain(self):
        self.send(
            make_message(
                to=["Ann <ann@bücher.example>"],
                template_id=1,
                merge_data={"ann@Bücher.Example": {"first": "Ann"}},
            )
        )
        [message] = self.api_json["Messages"]
        self.assertEqual(message["To"], "Ann <ann@xn--bcher-kva.example>")
        self.assertEqual(message["TemplateModel"], {"first": "Ann"})

    def test_recipients_share_no_dicts(self):
        message = make_message(
            to=["ann@example.com", "bo@example.com"],
            template_id=1,
            metadata={"run": "w7"},
            merge_metadata={"ann@example.com": {"own": 1}, "bo@example.com": {}},
        )
        payload = self.make_backend().build_message_payload(message, {})
        ann, bo = payload.batch_messages()
        self.assertEqual(ann["Metadata"], {"run": "w7", "own": 1})
        self.assertEqual(bo["Metadata"], {"run": "w7"})
        self.assertIsNot(bo["Metadata"], payload.data["Metadata"])

    def test_unserializable_merge_data(self):
        message = make_message(template_id=1, merge_data={"to@example.com": {"x": Decimal(1)}})
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
            self.send(message)
        self.assert_api_not_called()

    def test_attachments_are_encoded_once(self):
        content = bytes(range(256))
        to = [f"to{number}@example.com" for number in range(5)]
        self.api_response = [sent(address) for address in to]
        message = make_message(to=to, merge_metadata={}, attachments=[("a", content, "image/gif")])
        with patch("base64.b64encode", wraps=base64.b64encode) as b64encode:
            self.send(message)
        self.assertEqual([call.args for call in b64encode.call_args_list], [(content,)])
        expected = base64.b64encode(content).decode()
        self.assertEqual(
            [item["Attachments"][0]["Content"] for item in self.api_json], [expected] * 5
        )


class BulkTests(PostmarkTestCase):
    settings = {**PostmarkTestCase.settings, "POSTMARK_USE_BULK_API": True}
    api_response = {"ID": "bulk-id", "Status": "Accepted", "SubmittedAt": "2026-01-02T03:04:05Z"}

    def setUp(self):
        super().setUp()
        patcher = patch("anymail.backends.postmark.uuid.uuid4", side_effect=["u-1", "u-2", "u-3"])
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_bulk(self):
        message = make_message(
            subject="Hi {{first}}",
            to=["Ann <ann@bücher.example>", "bo@example.com"],
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
            headers={"X-All": "1"},
            metadata={"run": "w7"},
            merge_data={"ann@bücher.example": {"first": "Ann"}},
            merge_global_data={"first": "friend", "site": "Shop"},
            merge_metadata={"bo@example.com": {"order": 5}},
            merge_headers={"bo@example.com": {"x-all": "2"}},
        )
        status = self.send(message, message_stream="news")
        self.assert_api_called("https://api.postmarkapp.com/email/bulk")
        copies = {"Cc": "cc@example.com", "Bcc": "bcc@example.com"}
        self.assertEqual(
            self.api_json,
            {
                "MessageStream": "news",
                "From": "from@example.com",
                "Subject": "Hi {{first}}",
                "TextBody": "Text body",
                "Headers": [{"Name": "X-All", "Value": "1"}],
                "Messages": [
                    {
                        "To": "Ann <ann@xn--bcher-kva.example>",
                        **copies,
                        "TemplateModel": {"first": "Ann", "site": "Shop"},
                        "Metadata": {"run": "w7", "anymail_id": "u-1"},
                    },
                    {
                        "To": "bo@example.com",
                        **copies,
                        "TemplateModel": {"first": "friend", "site": "Shop"},
                        "Metadata": {"run": "w7", "order": 5, "anymail_id": "u-2"},
                        "Headers": [{"Name": "x-all", "Value": "2"}],
                    },
                ],
            },
        )
        self.assertEqual(
            {addr: (s.status, s.message_id) for addr, s in status.recipients.items()},
            {
                "ann@bücher.example": ("queued", "u-1"),
                "bo@example.com": ("queued", "u-2"),
                "cc@example.com": ("unknown", None),
                "bcc@example.com": ("unknown", None),
            },
        )

    def test_each_recipient_has_an_id_of_its_own(self):
        message = make_message(to=["a@example.com", "b@example.com"], metadata={"run": 1})
        status = self.send(message)
        in_request = [entry["Metadata"]["anymail_id"] for entry in self.api_json["Messages"]]
        self.assertEqual(in_request, ["u-1", "u-2"])
        self.assertEqual(
            [status.recipients[to].message_id for to in ("a@example.com", "b@example.com")],
            in_request,
        )
        self.assertEqual(message.metadata, {"run": 1})

    def test_without_generated_ids(self):
        status = self.send(make_message(), generate_message_id=False)
        self.assertEqual(self.api_json["Messages"], [{"To": "to@example.com"}])
        self.assertEqual(status.status, {"unknown"})
        self.assertIsNone(status.message_id)

    def test_template(self):
        self.send(make_message(template_id="welcome", subject="", body=""))
        self.assert_api_called("https://api.postmarkapp.com/email/bulk")
        self.assertEqual(self.api_json["TemplateAlias"], "welcome")

    def test_no_to_recipients(self):
        self.send(make_message(to=[], cc=["cc@example.com"]))
        self.assertEqual(self.api_json["Messages"], [])

    def test_status_shaped_reply(self):
        self.api_response = {"Id": "bulk-id", "PercentageCompleted": 0, "TotalMessages": 1}
        self.assertEqual(self.send(make_message()).status, {"queued"})

    def test_error(self):
        self.api_response = make_response(
            422, json_data={"ErrorCode": 14, "Message": "Bulk is not enabled.", "Status": "no"}
        )
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Bulk is not enabled"):
            self.send(make_message())

    def test_generate_message_id_is_for_bulk_only(self):
        self.api_response = sent()
        status = self.send(make_message(), use_bulk_api=False, generate_message_id=True)
        self.assertNotIn("Metadata", self.api_json)
        self.assertEqual(status.message_id, "id-1")


class StatusTests(PostmarkTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_sent(self):
        message = make_message(cc=["cc@example.com"])
        status = self.send(message)
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, "id-1")
        self.assertEqual(set(status.recipients), {"to@example.com", "cc@example.com"})
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_caller_spelling(self):
        self.api_response = sent("to@example.com, zoe@xn--bcher-kva.example")
        message = make_message(to=["TO@Example.com", "Zoe <zoe@bücher.example>"])
        self.assertEqual(
            self.statuses(message),
            {"TO@Example.com": ("sent", "id-1"), "zoe@bücher.example": ("sent", "id-1")},
        )

    def test_no_echoed_recipients(self):
        self.api_response = {"MessageID": "id-1", "ErrorCode": 0, "Message": "OK"}
        message = make_message(to=[], bcc=["bcc@example.com"])
        self.assertEqual(self.statuses(message), {"bcc@example.com": ("sent", "id-1")})

    def test_unparsable_echo(self):
        self.api_response = sent("not an address")
        self.assertEqual(self.statuses(make_message()), {"to@example.com": ("unknown", None)})

    def test_delayed(self):
        self.api_response = {
            "To": "to@example.com",
            "MessageID": "id-1",
            "Message": "Message accepted, but delivery may be delayed.",
        }
        self.assertEqual(self.statuses(make_message()), {"to@example.com": ("queued", "id-1")})

    def test_some_inactive(self):
        self.api_response = {
            **sent("Good@example.com, bad@example.com, worse@example.com"),
            "Message": "Message OK, but will not deliver to these inactive addresses: "
            "bad@example.com, worse@example.com. Inactive recipients are ones that "
            "have generated a hard bounce.",
        }
        message = make_message(to=["Good@example.com", "Bad@example.com", "worse@example.com"])
        self.assertEqual(
            self.statuses(message),
            {
                "Good@example.com": ("sent", "id-1"),
                "Bad@example.com": ("rejected", None),
                "worse@example.com": ("rejected", None),
            },
        )

    def test_all_inactive(self):
        self.api_response = make_response(
            422,
            json_data={
                "ErrorCode": 406,
                "Message": "You tried to send to a recipient that has been marked as inactive.\n"
                "Found inactive addresses: to@example.com.\nInactive recipients are ones that ...",
            },
        )
        message = make_message()
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.recipients["to@example.com"].status, "rejected")
        self.assertEqual(
            self.statuses(make_message(), ignore_recipient_status=True),
            {"to@example.com": ("rejected", None)},
        )

    def test_invalid_recipient(self):
        texts = {
            "Invalid 'To' address: 'bad@example'.": "bad@example",
            "Error parsing 'Cc': Illegal email domain 'x' in address 'Bad@X'.": "bad@x",
            "Error parsing 'Bcc': Illegal email address 'bad@x.y'. "
            "It must contain the '@' symbol.": "bad@x.y",
        }
        for text, address in texts.items():
            with self.subTest(text=text):
                self.api_response = make_response(
                    422, json_data={"ErrorCode": 300, "Message": text}
                )
                message = make_message(to=["good@example.com"], cc=[address])
                with self.assertRaisesMessage(AnymailRequestsAPIError, text):
                    self.send(message)
                # Nobody gets it.
                self.assertEqual(
                    self.statuses(message, ignore_recipient_status=True),
                    {"good@example.com": ("failed", None), address: ("invalid", None)},
                )

    def test_only_recipient_is_invalid(self):
        self.api_response = make_response(
            422, json_data={"ErrorCode": 300, "Message": "Invalid 'To' address: 'to@example.com'."}
        )
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(make_message())

    def test_other_errors(self):
        texts = {
            300: "Invalid 'From' address: 'from@example.com'.",
            400: "The 'From' address is not a Sender Signature.",
            10: "Bad or missing server token.",
        }
        for error_code, text in texts.items():
            for status_code in (200, 422):
                with self.subTest(error_code=error_code, status_code=status_code):
                    self.api_response = make_response(
                        status_code, json_data={"ErrorCode": error_code, "Message": text}
                    )
                    with self.assertRaises(AnymailRequestsAPIError) as raised:
                        self.send(make_message())
                    self.assertIn(text, str(raised.exception))
                    self.assertEqual(raised.exception.status_code, status_code)

    def test_http_error(self):
        self.api_response = make_response(
            401, json_data={"ErrorCode": 10, "Message": "Bad token."}, reason="Unauthorized"
        )
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(make_message())
        self.assertTrue(
            str(raised.exception).startswith("Postmark API response 401 (Unauthorized)")
        )
        self.assertIn("Bad token.", str(raised.exception))

    def test_batch_with_a_refused_recipient(self):
        self.api_response = [
            sent("ann@example.com", "id-1"),
            {
                "ErrorCode": 406,
                "Message": "Found inactive addresses: bo@example.com. Inactive recipients ...",
            },
        ]
        message = make_message(to=["ann@example.com", "bo@example.com"], merge_metadata={})
        self.assertEqual(
            self.statuses(message),
            {"ann@example.com": ("sent", "id-1"), "bo@example.com": ("rejected", None)},
        )

    def test_batch_with_a_failure(self):
        refused = {"ErrorCode": 412, "Message": "Account is under review."}
        self.api_response = [sent("a@example.com", "1"), refused, sent("c@example.com", "3")]
        to = ["a@example.com", "b@example.com", "c@example.com"]
        message = make_message(to=to, cc=["cc@example.com"], merge_metadata={})
        with self.assertRaisesRegex(
            AnymailAPIError, "(?s)accepted for 3 of 4 recipients.*Account is under review"
        ) as raised:
            self.send(message, ignore_recipient_status=True)
        self.assertEqual(
            {addr: (s.status, s.message_id) for addr, s in raised.exception.recipients.items()},
            {
                "a@example.com": ("sent", "1"),
                "b@example.com": ("failed", None),
                "c@example.com": ("sent", "3"),
                "cc@example.com": ("sent", "3"),
            },
        )

    def test_empty_batch_answer(self):
        self.api_response = []
        message = make_message(merge_metadata={})
        self.assertEqual(self.statuses(message), {"to@example.com": ("unknown", None)})

    def test_malformed_answers(self):
        for answer in (
            None,
            {},
            "text",
            12,
            [1],
            [None],
            {"ErrorCode": 0, "Message": "OK"},
            {"ErrorCode": 0, "Message": None, "MessageID": "x"},
            {"ErrorCode": 0, "Message": "OK", "MessageID": []},
            {"ErrorCode": 300, "Message": 5},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                    self.send(message)
                self.assertIsNone(message.anymail_status.status)
                self.assertIsNotNone(message.anymail_status.esp_response)
