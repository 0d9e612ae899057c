from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal

import requests
from django.core.mail import EmailMessage
from django.test import override_settings, tag

from anymail.backends.mailtrap import EmailBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


def accepted(*message_ids: str) -> dict:
    """Return Mailtrap's answer for one message, or the part of it in that for a batch."""
    return {"success": True, "message_ids": list(message_ids)}


def accepted_batch(*results: dict) -> dict:
    return {"success": True, "responses": list(results)}


@tag("mailtrap")
class MailtrapTestCase(ApiTestCase):
    backend = "anymail.backends.mailtrap.EmailBackend"
    settings = {"MAILTRAP_API_TOKEN": "test-token"}
    api_response = accepted("id-1")

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(MailtrapTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://send.api.mailtrap.io/api/send")
        self.assertEqual(
            self.api_call["headers"],
            {
                "Api-Token": "test-token",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.assertEqual(self.api_call["timeout"], 30)
        self.assertIsInstance(self.api_call["data"], str)

    @override_settings(ANYMAIL={})
    def test_missing_token(self):
        pattern = r"MAILTRAP_API_TOKEN.*ANYMAIL_MAILTRAP_API_TOKEN"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, MAILTRAP_API_TOKEN="bare-token")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().api_token, "bare-token")

    @override_settings(MAILTRAP_SANDBOX_ID=12, MAILTRAP_API_URL="https://example.com")
    def test_not_bare(self):
        self.assertIsNone(self.make_backend().sandbox_id)
        self.assertEqual(self.make_backend().api_url, EmailBackend.DEFAULT_API_URL)

    def test_api_url(self):
        self.send(make_message(), api_url="https://bulk.api.mailtrap.io/api")
        self.assert_api_called("https://bulk.api.mailtrap.io/api/send")

    def test_sandbox(self):
        for sandbox_id in (12345, "12345"):
            self.send(make_message(), sandbox_id=sandbox_id)
            self.assert_api_called("https://sandbox.api.mailtrap.io/api/send/12345")
        self.assertEqual(
            EmailBackend.DEFAULT_SANDBOX_API_URL, "https://sandbox.api.mailtrap.io/api/"
        )

    def test_sandbox_with_api_url(self):
        self.send(make_message(), sandbox_id=12345, api_url="https://bulk.api.mailtrap.io/api/")
        self.assert_api_called("https://bulk.api.mailtrap.io/api/send/12345")

    def test_no_sandbox(self):
        for sandbox_id in ("", None, 0):
            self.send(make_message(), sandbox_id=sandbox_id)
            self.assert_api_called("https://send.api.mailtrap.io/api/send")

    def test_sandbox_id_is_quoted(self):
        self.send(make_message(), sandbox_id="a/b?c")
        self.assert_api_called("https://sandbox.api.mailtrap.io/api/send/a%2Fb%3Fc")

    def test_batch_in_sandbox(self):
        self.api_response = accepted_batch(accepted("id-1"))
        self.send(make_message(merge_data={}), sandbox_id=12345)
        self.assert_api_called("https://sandbox.api.mailtrap.io/api/batch/12345")


class MessageTests(MailtrapTestCase):
    def test_empty_message(self):
        self.send(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual(
            self.api_json,
            {"from": {"email": "from@example.com"}, "to": [{"email": "to@example.com"}]},
        )

    def test_addresses(self):
        self.api_response = accepted("1", "2", "3", "4", "5")
        self.send(
            make_message(
                from_email='"From, Inc." <from@example.com>',
                to=["Zoë <zoe@bücher.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "zoë@example.com"],
                bcc=["bcc@example.com"],
                reply_to=['"Reply, all" <reply@bücher.example>'],
            )
        )
        self.assertEqual(self.api_json["from"], {"email": "from@example.com", "name": "From, Inc."})
        self.assertEqual(
            self.api_json["to"],
            [{"email": "zoe@xn--bcher-kva.example", "name": "Zoë"}, {"email": "to@example.com"}],
        )
        self.assertEqual(
            self.api_json["cc"],
            [{"email": "cc@example.com", "name": "Cc"}, {"email": "zoë@example.com"}],
        )
        self.assertEqual(self.api_json["bcc"], [{"email": "bcc@example.com"}])
        self.assertEqual(
            self.api_json["reply_to"],
            {"email": "reply@xn--bcher-kva.example", "name": "Reply, all"},
        )
        self.assertNotIn("headers", self.api_json)

    def test_eai_from_and_reply_to_are_left_to_mailtrap(self):
        self.send(make_message(from_email="zoë@example.com", reply_to=["ann.é@example.com"]))
        self.assertEqual(self.api_json["from"], {"email": "zoë@example.com"})
        self.assertEqual(self.api_json["reply_to"], {"email": "ann.é@example.com"})

    def test_reply_to_header_replaces_attribute(self):
        several = ["a@example.net", "b@example.net"]
        field = {"email": "one@example.com"}
        for reply_to, header, expected in (
            (several, "one@example.com", (field, None)),
            (["a@example.net"], "one@example.com", (field, None)),
            (
                ["a@example.net"],
                "one@example.com, two@example.com",
                (None, {"Reply-To": "one@example.com, two@example.com"}),
            ),
        ):
            with self.subTest(reply_to=reply_to, header=header):
                self.send(make_message(reply_to=reply_to, headers={"reply-to": header}))
                self.assertEqual(
                    (self.api_json.get("reply_to"), self.api_json.get("headers")), expected
                )

    def test_empty_reply_to_header(self):
        self.send(make_message(reply_to=["a@example.net"], headers={"Reply-To": ""}))
        self.assertEqual(self.api_json["reply_to"], {"email": "a@example.net"})

    def test_headers(self):
        self.send(
            make_message(
                headers={"X-Custom": "Grüße", "X-Num": 123, "Message-ID": "<mine@example.com>"},
                reply_to=["a@example.net", "b@example.net"],
            )
        )
        self.assertEqual(
            self.api_json["headers"],
            {
                "Reply-To": "a@example.net, b@example.net",
                "X-Custom": "Grüße",
                "X-Num": 123,
                "Message-ID": "<mine@example.com>",
            },
        )

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(message)
        self.assertRegex(str(raised.exception), r"Don't know how to send this data to Mailtrap")
        self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_esp_extra(self):
        self.api_response = accepted("id-1", "id-2")
        self.send(
            make_message(
                tags=["one"],
                metadata={"kept": "1", "replaced": "2"},
                headers={"X-Custom": "1"},
                bcc=["bcc@example.com"],
                esp_extra={
                    "category": "two",
                    "custom_variables": {"replaced": 3},
                    "headers": {"x-custom": "2"},
                    "to": [{"email": "other@example.com"}],
                    "future": {"option": True},
                },
            )
        )
        self.assertEqual(self.api_json["category"], "two")
        self.assertEqual(self.api_json["custom_variables"], {"kept": "1", "replaced": 3})
        self.assertEqual(self.api_json["headers"], {"x-custom": "2"})
        self.assertEqual(self.api_json["to"], [{"email": "other@example.com"}])
        self.assertEqual(self.api_json["future"], {"option": True})

    def test_injection_in_esp_extra(self):
        for extra in (
            {"subject": "a\r\nBcc: x@example.com"},
            {"headers": {"X-A": "a\r\nBcc: x@example.com"}},
            {"headers": {"X-A\r\nBcc": "x@example.com"}},
        ):
            with self.subTest(extra), self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()


class UnsupportedFeatureTests(MailtrapTestCase):
    def test_multiple_from(self):
        message = make_message(from_email="a@example.com, b@example.com")
        self.assert_unsupported(message, "multiple from emails")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["from"], {"email": "a@example.com"})

    def test_eai_with_multiple_reply_to(self):
        message = make_message(reply_to=["a@example.com", "Bé <bé@example.com>"])
        self.assert_unsupported(message, "EAI with multiple reply_to addresses")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(
            self.api_json["headers"],
            {"Reply-To": "a@example.com, =?utf-8?b?QsOp?= <bé@example.com>"},
        )

    def test_multiple_html(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_json["html"], "<p>1</p>")

    def test_ignored(self):
        """Without any effect, when they are ignored."""
        self.send(make_message())
        without = self.api_json
        for feature, attrs in (
            ("envelope_sender", {"envelope_sender": "bounces@example.com"}),
            ("send_at", {"send_at": datetime(2031, 5, 6, tzinfo=timezone.utc)}),
            ("track_opens", {"track_opens": False}),
            ("track_clicks", {"track_clicks": False}),
            ("spoofing `To` header", {"headers": {"To": "list@example.com"}}),
        ):
            with self.subTest(feature):
                self.mock_request.reset_mock()
                self.assert_unsupported(make_message(**attrs), feature)
                self.send(make_message(**attrs), ignore_unsupported_features=True)
                self.assertEqual(self.api_json, without)


class TemplateTests(MailtrapTestCase):
    def test_empty_html_body(self):
        message = make_message(template_id="7d6c", subject="", body="")
        message.content_subtype = "html"
        self.send(message)
        self.assertNotIn("html", self.api_json)

    def test_content_beside_template_is_left_to_mailtrap(self):
        message = make_message(template_id="7d6c", tags=["tag"])
        message.attach_alternative("<p></p>", "text/html")
        self.send(message)
        self.assertEqual(self.api_json["subject"], "Subject")
        self.assertEqual(self.api_json["text"], "Text body")
        self.assertEqual(self.api_json["html"], "<p></p>")
        self.assertEqual(self.api_json["category"], "tag")

    def test_no_from_email(self):
        message = make_message(template_id="7d6c")
        message.from_email = None
        self.send(message)
        self.assertNotIn("from", self.api_json)


class BatchTests(MailtrapTestCase):
    api_response = accepted_batch(accepted("id-1"), accepted("id-2"))

    def batch(self, **attrs):
        return make_message(**{"to": ["ann@example.net", "Bo <bo@example.net>"], **attrs})

    def test_batch(self):
        self.api_response = accepted_batch(accepted("1", "2"), accepted("3", "4"))
        self.send(
            self.batch(
                subject="",
                body="",
                from_email="Shop <shop@example.com>",
                cc=["audit@example.com"],
                template_id="7d6c",
                merge_global_data={"site": "Shop", "first": "friend"},
                merge_data={"ann@example.net": {"first": "Ann"}, "nobody@example.net": {"x": 1}},
                metadata={"run": 12, "order": 0},
                merge_metadata={"ann@example.net": {"order": 5}},
            )
        )
        self.assert_api_called("https://send.api.mailtrap.io/api/batch")
        audit = [{"email": "audit@example.com"}]
        self.assertEqual(
            self.api_json,
            {
                "base": {
                    "from": {"email": "shop@example.com", "name": "Shop"},
                    "template_uuid": "7d6c",
                    "template_variables": {"site": "Shop", "first": "friend"},
                    "custom_variables": {"run": "12", "order": "0"},
                },
                "requests": [
                    {
                        "to": [{"email": "ann@example.net"}],
                        "cc": audit,
                        "template_variables": {"site": "Shop", "first": "Ann"},
                        "custom_variables": {"run": "12", "order": 5},
                    },
                    {"to": [{"email": "bo@example.net", "name": "Bo"}], "cc": audit},
                ],
            },
        )

    def test_merge_attributes_mean_batch(self):
        for attrs in ({"merge_data": {}}, {"merge_metadata": {}}, {"merge_headers": {}}):
            self.send(self.batch(**attrs))
            self.assert_api_called("https://send.api.mailtrap.io/api/batch")
            self.assertEqual(
                self.api_json["requests"],
                [
                    {"to": [{"email": "ann@example.net"}]},
                    {"to": [{"email": "bo@example.net", "name": "Bo"}]},
                ],
            )

    def test_global_merge_data_means_no_batch(self):
        self.api_response = accepted("id-1", "id-2")
        self.send(self.batch(merge_global_data={"site": "Shop"}))
        self.assert_api_called("https://send.api.mailtrap.io/api/send")

    def test_merge_headers(self):
        self.send(
            self.batch(
                headers={"X-Common": "all", "List-Unsubscribe": "<mailto:all@example.com>"},
                merge_headers={
                    "ann@example.net": {"LIST-Unsubscribe": "<mailto:ann@example.com>", "X-A": 1}
                },
            )
        )
        self.assertEqual(
            self.api_json["base"]["headers"],
            {"X-Common": "all", "List-Unsubscribe": "<mailto:all@example.com>"},
        )
        ann, bo = self.api_json["requests"]
        self.assertEqual(
            ann["headers"],
            {"X-Common": "all", "LIST-Unsubscribe": "<mailto:ann@example.com>", "X-A": 1},
        )
        self.assertNotIn("headers", bo)

    def test_merge_headers_without_headers(self):
        self.send(self.batch(merge_headers={"bo@example.net": {"X-A": "1"}}))
        self.assertNotIn("headers", self.api_json["base"])
        self.assertEqual(self.api_json["requests"][1]["headers"], {"X-A": "1"})

    def test_reply_to_in_merge_headers(self):
        """There is never both the field for everyone, and a header."""
        for reply_to, common in (
            (["Zoë <zoe@example.com>"], "=?utf-8?q?Zo=C3=AB?= <zoe@example.com>"),
            (["a@example.com", "b@example.com"], "a@example.com, b@example.com"),
        ):
            with self.subTest(reply_to):
                self.send(
                    self.batch(
                        reply_to=reply_to,
                        headers={"X-A": "1"},
                        merge_headers={"ann@example.net": {"reply-to": "ann+7@example.com"}},
                    )
                )
                base = self.api_json["base"]
                self.assertNotIn("reply_to", base)
                self.assertEqual(base["headers"], {"Reply-To": common, "X-A": "1"})
                ann, bo = self.api_json["requests"]
                self.assertEqual(ann["headers"], {"reply-to": "ann+7@example.com", "X-A": "1"})
                self.assertNotIn("headers", bo)

    def test_other_merge_headers_leave_reply_to_alone(self):
        self.send(
            self.batch(
                reply_to=["zoe@example.com"], merge_headers={"ann@example.net": {"X-A": "1"}}
            )
        )
        self.assertEqual(self.api_json["base"]["reply_to"], {"email": "zoe@example.com"})
        self.assertEqual(self.api_json["requests"][0]["headers"], {"X-A": "1"})

    def test_international_domain(self):
        self.api_response = accepted_batch(accepted("id-1"))
        self.send(
            make_message(
                to=["Ann <ann@bücher.example>"],
                template_id="7d6c",
                merge_data={"ann@Bücher.Example": {"first": "Ann"}},
                merge_metadata={"ann@bücher.example": {"order": 5}},
                merge_headers={"ann@bücher.example": {"X-A": "1"}},
            )
        )
        [ann] = self.api_json["requests"]
        self.assertEqual(
            ann,
            {
                "to": [{"email": "ann@xn--bcher-kva.example", "name": "Ann"}],
                "template_variables": {"first": "Ann"},
                "custom_variables": {"order": 5},
                "headers": {"X-A": "1"},
            },
        )

    def test_esp_extra_is_in_base(self):
        self.api_response = accepted_batch(accepted("1", "2"), accepted("3", "4"))
        self.send(
            self.batch(
                cc=["cc@example.com"],
                merge_data={"ann@example.net": {"first": "Ann"}},
                esp_extra={"category": "extra", "template_variables": {"site": "Extra"}},
            )
        )
        self.assertEqual(self.api_json["base"]["category"], "extra")
        self.assertEqual(self.api_json["base"]["template_variables"], {"site": "Extra"})
        self.assertEqual(
            self.api_json["requests"][0]["template_variables"], {"site": "Extra", "first": "Ann"}
        )

    def test_recipients_share_nothing(self):
        message = self.batch(
            cc=["cc@example.com"],
            metadata={"run": "w7"},
            headers={"X-A": "1"},
            merge_metadata={"ann@example.net": {}, "bo@example.net": {}},
            merge_headers={"ann@example.net": {}, "bo@example.net": {}},
        )
        payload = self.make_backend().build_message_payload(message, {})
        body = payload.batch_data()
        base, (ann, bo) = body["base"], body["requests"]
        ann["custom_variables"]["own"] = ann["headers"]["X-A"] = ann["cc"][0]["email"] = "changed"
        self.assertEqual(base["custom_variables"], {"run": "w7"})
        self.assertEqual(bo["custom_variables"], {"run": "w7"})
        self.assertEqual(base["headers"]["X-A"], "1")
        self.assertEqual(bo["headers"]["X-A"], "1")
        self.assertEqual(bo["cc"], [{"email": "cc@example.com"}])
        self.assertEqual(message.metadata, {"run": "w7"})

    def test_unserializable_merge_data(self):
        for attr in ("merge_data", "merge_metadata"):
            message = self.batch(**{attr: {"ann@example.net": {"price": Decimal(1)}}})
            with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
                self.send(message)
        self.assert_api_not_called()

    def test_no_to_recipients(self):
        """There is nobody to get an individual message, so it's sent as it is."""
        self.api_response = accepted("id-1")
        message = make_message(to=[], cc=["cc@example.com"], merge_data={})
        status = self.send(message)
        self.assert_api_called("https://send.api.mailtrap.io/api/send")
        self.assertEqual(self.api_json["cc"], [{"email": "cc@example.com"}])
        self.assertEqual(status.recipients["cc@example.com"].message_id, "id-1")


class StatusTests(MailtrapTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_one_recipient(self):
        status = self.send(make_message())
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "id-1")
        self.assertIsInstance(status.esp_response, requests.Response)
        self.assertEqual(status.recipients["to@example.com"].status, "queued")

    def test_several_recipients(self):
        self.api_response = accepted("id-1", "id-2", "id-3", "id-4")
        message = make_message(
            to=["To <To@Example.com>", "zoe@bücher.example"],
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
        )
        self.assertEqual(
            self.statuses(message),
            {
                "To@Example.com": ("queued", "id-1"),
                "zoe@bücher.example": ("queued", "id-2"),
                "cc@example.com": ("queued", "id-3"),
                "bcc@example.com": ("queued", "id-4"),
            },
        )
        self.assertEqual(message.anymail_status.message_id, {"id-1", "id-2", "id-3", "id-4"})

    def test_sandbox_has_one_id(self):
        message = make_message(to=["a@example.com", "b@example.com"], bcc=["c@example.com"])
        self.assertEqual(
            self.statuses(message, sandbox_id=12345),
            dict.fromkeys(("a@example.com", "b@example.com", "c@example.com"), ("queued", "id-1")),
        )
        self.assertEqual(message.anymail_status.message_id, "id-1")

    def test_batch(self):
        self.api_response = accepted_batch(
            accepted("id-1", "id-2", "id-3"), accepted("id-4", "id-5", "id-6")
        )
        message = make_message(
            to=["ann@example.net", "bo@bücher.example"],
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
            merge_data={},
        )
        self.assertEqual(
            self.statuses(message),
            {
                "ann@example.net": ("queued", "id-1"),
                "bo@bücher.example": ("queued", "id-4"),
                # The copy of the last message
                "cc@example.com": ("queued", "id-5"),
                "bcc@example.com": ("queued", "id-6"),
            },
        )

    def test_batch_in_sandbox(self):
        self.api_response = accepted_batch(accepted("id-1"), accepted("id-2"))
        message = make_message(
            to=["ann@example.net", "bo@example.net"], cc=["cc@example.com"], merge_data={}
        )
        self.assertEqual(
            self.statuses(message, sandbox_id=12345),
            {
                "ann@example.net": ("queued", "id-1"),
                "bo@example.net": ("queued", "id-2"),
                "cc@example.com": ("queued", "id-2"),
            },
        )

    def test_failure_in_batch(self):
        failure = {"success": False, "errors": ["'to' address is malformed"]}
        message = make_message(
            to=["ann@example.net", "bo@example.net"], cc=["cc@example.com"], merge_data={}
        )
        for results, for_cc in (
            # A copy is on its way.
            ((accepted("id-1", "id-2"), failure), ("queued", "id-2")),
            ((failure, accepted("id-1", "id-2")), ("queued", "id-2")),
        ):
            self.api_response = accepted_batch(*results)
            statuses = self.statuses(message)
            self.assertEqual(
                {statuses["ann@example.net"], statuses["bo@example.net"]},
                {("queued", "id-1"), ("failed", None)},
            )
            self.assertEqual(statuses["cc@example.com"], for_cc)

    def test_all_of_a_batch_failed(self):
        self.api_response = accepted_batch({"success": False, "errors": ["bad"]})
        message = make_message(merge_data={})
        with self.assertRaisesRegex(AnymailRequestsAPIError, '"bad"'):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"failed"})
        self.assertIsNone(message.anymail_status.message_id)

    def assert_error(self, message, pattern, *, status=None, **options):
        with self.assertRaisesRegex(AnymailRequestsAPIError, pattern) as raised:
            self.send(message, **options)
        self.assertIsNotNone(raised.exception.response)
        self.assertEqual(message.anymail_status.status, status)
        self.assertIsNotNone(message.anymail_status.esp_response)
        return raised.exception

    def test_failure_fields(self):
        for answer in (
            {"success": False, "errors": ["Unauthorized: made-up"]},
            {"success": True, "errors": ["Unauthorized: made-up"], "message_ids": ["id-1"]},
            {"errors": "Unauthorized: made-up"},
            {"message_ids": ["id-1"]},
            {"success": None, "message_ids": ["id-1"]},
        ):
            with self.subTest(answer):
                self.api_response = answer
                status = {"queued"} if answer.get("success") else None
                error = self.assert_error(make_message(), "(?m)response status 200$", status=status)
                self.assertTrue(error.args[0].endswith("response status 200"))
                if "errors" in answer:
                    self.assertIn("Unauthorized: made-up", str(error))
                self.assert_error(make_message(merge_data={}), "response status 200")

    def test_wrong_number_of_message_ids(self):
        self.api_response = accepted("id-1", "id-2")
        self.assert_error(make_message(), "Expected 1 message_ids, got 2")
        self.assert_error(
            make_message(cc=["cc@example.com"]),
            "Expected 1 message_ids, got 2",
            sandbox_id=12345,
        )
        self.api_response = accepted()
        self.assert_error(make_message(), "Expected 1 message_ids, got 0")
        self.api_response = accepted_batch(accepted("id-1"))
        self.assert_error(
            make_message(cc=["cc@example.com"], merge_data={}), "Expected 2 message_ids, got 1"
        )

    def test_wrong_number_of_responses(self):
        self.api_response = accepted_batch(accepted("id-1"))
        message = make_message(to=["ann@example.net", "bo@example.net"], merge_data={})
        self.assert_error(message, "Expected 2 responses, got 1", status={"queued", "unknown"})

    def test_malformed_answers(self):
        for answer in (
            None,
            [],
            [accepted("id-1")],
            "text",
            12,
            {"success": True},
            {"success": True, "message_ids": None},
            {"success": True, "message_ids": "i"},
            {"success": True, "message_ids": [1]},
            {"success": True, "message_ids": [None]},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                self.assert_error(make_message(), "Invalid Mailtrap API response format")

    def test_malformed_batch_answers(self):
        for answer in (
            {"success": True},
            {"success": True, "message_ids": ["id-1"]},
            {"success": True, "responses": None},
            {"success": True, "responses": 1},
            {"success": True, "responses": "x"},
            {"success": True, "responses": {"x": 1}},
            {"success": True, "responses": [None]},
            {"success": True, "responses": [[]]},
            {"success": True, "responses": [{"message_ids": ["id-1"]}]},
            {"success": True, "responses": [{"success": 1, "message_ids": ["id-1"]}]},
            {"success": True, "responses": [{"success": True}]},
        ):
            with self.subTest(answer=answer):
                self.api_response = answer
                error = self.assert_error(
                    make_message(merge_data={}), "Invalid Mailtrap API response format"
                )
                self.assertEqual(error.status_code, 200)

    def test_http_error(self):
        self.api_response = make_response(
            401, json_data={"success": False, "errors": ["Unauthorized"]}, reason="Unauthorized"
        )
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(make_message())
        self.assertTrue(
            str(raised.exception).startswith("Mailtrap API response 401 (Unauthorized)")
        )
        self.assertIn('"errors"', str(raised.exception))

    def test_not_json(self):
        self.api_response = make_response(body=b"not JSON")
        self.assert_error(make_message(), "Invalid JSON in Mailtrap API response")
