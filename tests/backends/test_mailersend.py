from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import requests
from django.core.mail import EmailMessage
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response

EMAIL_URL = "https://api.mailersend.com/v1/email"
BULK_URL = "https://api.mailersend.com/v1/bulk-email"


def accepted(message_id="msg-id", **kwargs):
    """Return the answer of the email API."""
    response = make_response(202, **{"content_type": "text/html; charset=UTF-8", **kwargs})
    if message_id is not None:
        response.headers["x-message-id"] = message_id
    return response


@tag("mailersend")
class MailerSendTestCase(ApiTestCase):
    backend = "anymail.backends.mailersend.EmailBackend"
    settings = {"MAILERSEND_API_TOKEN": "test-token"}
    api_response = accepted()

    def assert_unsupported(self, message, feature, **options):
        self.mock_request.reset_mock()
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(f"MailerSend does not support {feature}", str(raised.exception))
        self.assert_api_not_called()

    def sent_json(self, message, **options):
        self.send(message, **options)
        return self.api_json


class SettingsTests(MailerSendTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called(EMAIL_URL)
        self.assertEqual(
            self.api_call["headers"],
            {
                "Authorization": "Bearer test-token",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )

    @override_settings(ANYMAIL={})
    def test_missing_token(self):
        pattern = r"\bMAILERSEND_API_TOKEN.*ANYMAIL_MAILERSEND_API_TOKEN"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, MAILERSEND_API_TOKEN="bare-token")
    def test_bare_token(self):
        self.assertEqual(self.make_backend().api_token, "bare-token")

    @override_settings(MAILERSEND_BATCH_SEND_MODE="use-bulk-email")
    def test_no_other_bare_settings(self):
        self.assertIsNone(self.make_backend().batch_send_mode)

    def test_api_url(self):
        self.send(make_message(), api_url="https://api.mailersend.example/v2")
        self.assert_api_called("https://api.mailersend.example/v2/email")

    def test_token_per_message(self):
        data = self.sent_json(make_message(esp_extra={"api_token": "other"}))
        self.assertEqual(self.api_call["headers"]["Authorization"], "Bearer other")
        self.assertNotIn("api_token", data)


class MessageTests(MailerSendTestCase):
    def test_empty_subject_and_body_are_sent(self):
        data = self.sent_json(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual((data["subject"], data["text"]), ("", ""))

    def test_none(self):
        message = make_message(template_id="t1")
        message.subject = message.body = message.from_email = None
        self.assertEqual(
            self.sent_json(message), {"to": [{"email": "to@example.com"}], "template_id": "t1"}
        )

    def test_addresses(self):
        data = self.sent_json(
            make_message(
                from_email='"From, Inc." <from@příklad.example>',
                to=['"Žofie, účtárna" <žofie@příklad.example>', "to@example.com"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["bcc@example.com"],
                reply_to=["Reply <reply@example.com>"],
            )
        )
        self.assertEqual(
            data["from"], {"email": "from@xn--pklad-zsa96e.example", "name": "From, Inc."}
        )
        self.assertEqual(
            data["to"],
            [
                {"email": "žofie@xn--pklad-zsa96e.example", "name": "Žofie, účtárna"},
                {"email": "to@example.com"},
            ],
        )
        self.assertEqual(
            data["cc"], [{"email": "cc@example.com", "name": "Cc"}, {"email": "cc2@example.com"}]
        )
        self.assertEqual(data["bcc"], [{"email": "bcc@example.com"}])
        self.assertEqual(data["reply_to"], {"email": "reply@example.com", "name": "Reply"})

    def test_headers(self):
        data = self.sent_json(
            make_message(
                headers={
                    "X-Custom": "Grüße",
                    "X-Int": 12,
                    "X-Float": 1.5,
                    "in-reply-to": "id@example.com",
                    "PRECEDENCE": "Bulk",
                    "REPLY-TO": "Header <header@example.com>",
                    "x-custom": "später",
                },
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(
            data["headers"],
            [
                {"name": "x-custom", "value": "später"},
                {"name": "X-Int", "value": "12"},
                {"name": "X-Float", "value": "1.5"},
            ],
        )
        self.assertEqual(data["in_reply_to"], "id@example.com")
        self.assertIs(data["precedence_bulk"], True)
        self.assertEqual(data["reply_to"], {"email": "header@example.com", "name": "Header"})

    def test_precedence(self):
        for value, expected in (
            ("bulk", True),
            ("JUNK", True),
            ("list", True),
            ("first-class", False),
            ("", False),
            (5, False),
            (None, False),
        ):
            with self.subTest(value=value):
                data = self.sent_json(make_message(headers={"Precedence": value}))
                self.assertIs(data["precedence_bulk"], expected)
                self.assertNotIn("headers", data)

    def test_unserializable_header(self):
        for name in ("X-Price", "In-Reply-To"):
            with self.assertRaises(AnymailSerializationError) as raised:
                self.send(make_message(headers={name: Decimal("12.5")}))
            self.assertIn("Don't know how to send this data to MailerSend", str(raised.exception))
            self.assertRegex(str(raised.exception), r"Decimal.*is not JSON serializable")
        self.assert_api_not_called()

    def test_html_alternative_after_empty_html_body(self):
        message = make_message(body="")
        message.content_subtype = "html"
        message.attach_alternative("<p>HTML</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        data = self.sent_json(message, ignore_unsupported_features=True)
        self.assertEqual(data["html"], "<p>HTML</p>")

    def test_send_at(self):
        pacific = timezone(timedelta(hours=-8))
        for send_at, expected in (
            (datetime(2031, 3, 4, 5, 6, 7, 8999, pacific), 1930395967),
            (datetime(2031, 3, 4, 5, 6, 7, tzinfo=timezone.utc), 1930367167),
            (1930000000, 1930000000),
            (1930000000.9, 1930000000),
            # as the sender wrote it
            ("1930000000", "1930000000"),
            ("2031-03-04T05:06:07Z", "2031-03-04T05:06:07Z"),
        ):
            with self.subTest(send_at=send_at):
                data = self.sent_json(make_message(send_at=send_at))
                self.assertEqual(data["send_at"], expected)
                self.assertIs(type(data["send_at"]), type(expected))

    @override_settings(TIME_ZONE="America/Los_Angeles", USE_TZ=True)
    def test_send_at_in_current_time_zone(self):
        naive = datetime(2031, 3, 4, 5, 6, 7)  # noqa: DTZ001
        self.assertEqual(self.sent_json(make_message(send_at=naive))["send_at"], 1930395967)
        data = self.sent_json(make_message(send_at=date(2031, 3, 4)))
        self.assertEqual(data["send_at"], 1930395967 - 5 * 3600 - 6 * 60 - 7)

    def test_esp_extra(self):
        extra = {
            "settings": {"track_content": True},
            "references": ["a@example.com"],
            "from": {"name": "Name"},
            "subject": "Other",
        }
        data = self.sent_json(make_message(track_clicks=True, esp_extra=extra))
        self.assertEqual(data["settings"], {"track_clicks": True, "track_content": True})
        self.assertEqual(data["references"], ["a@example.com"])
        self.assertEqual(data["from"], {"email": "from@example.com", "name": "Name"})
        self.assertEqual(data["subject"], "Other")
        self.assertEqual(extra["settings"], {"track_content": True})

    def test_esp_extra_cannot_inject_headers(self):
        for extra in (
            {"subject": "a\r\nBcc: x@example.com"},
            {"headers": [{"name": "X-A", "value": "a\r\nBcc: x@example.com"}]},
            {"headers": [None, {"value": 1}, {"name": "X-A\r\nBcc", "value": "x@example.com"}]},
        ):
            with (
                self.subTest(extra=extra),
                self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"),
            ):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()


class UnsupportedFeatureTests(MailerSendTestCase):
    def test_merge_attributes(self):
        for attr in ("merge_metadata", "merge_headers"):
            with self.subTest(attr):
                message = make_message(**{attr: {"to@example.com": {"X-A": "1"}}})
                self.assert_unsupported(message, attr)
                self.send(message, ignore_unsupported_features=True)
                self.assert_api_called(EMAIL_URL)
                # It is a batch all the same.
                self.send(
                    message, ignore_unsupported_features=True, batch_send_mode="use-bulk-email"
                )
                self.assert_api_called(BULK_URL)
                message.to.append("other@example.com")
                with self.assertRaisesRegex(
                    AnymailUnsupportedFeature, "MAILERSEND_BATCH_SEND_MODE"
                ):
                    self.send(message, ignore_unsupported_features=True)

    def test_several_from_addresses(self):
        message = make_message(from_email="a@example.com, b@example.com")
        self.assert_unsupported(message, "multiple from emails")
        data = self.sent_json(message, ignore_unsupported_features=True)
        self.assertEqual(data["from"], {"email": "a@example.com"})

    def test_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        data = self.sent_json(message, ignore_unsupported_features=True)
        self.assertEqual(data["html"], "<p>1</p>")


class BatchTests(MailerSendTestCase):
    batch = {
        "from_email": "shop@a.test",
        "to": ["ann@b.test", "Bo <bo@b.test>"],
        "cc": ["log@a.test"],
        "subject": "{{ n }}",
        "merge_data": {
            "ann@b.test": {"n": 1},
            "bo@b.test": {"n": 2, "city": "Praha"},
            "log@a.test": {"n": 3},
            "nobody@b.test": {"n": 4},
        },
        "merge_global_data": {"city": "Brno"},
    }
    personalization = [
        {"email": "ann@b.test", "data": {"n": 1, "city": "Brno"}},
        {"email": "bo@b.test", "data": {"n": 2, "city": "Praha"}},
    ]

    def test_needs_a_mode(self):
        for mode in (None, "bulk", ""):
            for options in ({}, {"ignore_unsupported_features": True}):
                with (
                    self.subTest(mode=mode, options=options),
                    self.assertRaises(AnymailUnsupportedFeature) as raised,
                ):
                    self.send(make_message(**self.batch), batch_send_mode=mode, **options)
                for text in (
                    "MailerSend",
                    "MAILERSEND_BATCH_SEND_MODE",
                    "use-bulk-email",
                    "expose-to-list",
                ):
                    self.assertIn(text, str(raised.exception))
                self.assertIsNotNone(raised.exception.email_message)
        self.assert_api_not_called()

    def test_needs_no_mode_for_one_recipient(self):
        data = self.sent_json(make_message(**{**self.batch, "to": ["ann@b.test"]}))
        self.assert_api_called(EMAIL_URL)
        self.assertEqual(data["personalization"], self.personalization[:1])

    def test_not_a_batch(self):
        for mode in (None, "use-bulk-email", "expose-to-list"):
            message = make_message(to=self.batch["to"], merge_global_data={"city": "Brno"})
            data = self.sent_json(message, batch_send_mode=mode)
            self.assert_api_called(EMAIL_URL)
            self.assertEqual(
                data["personalization"],
                [
                    {"email": "ann@b.test", "data": {"city": "Brno"}},
                    {"email": "bo@b.test", "data": {"city": "Brno"}},
                ],
            )

    def test_expose_to_list(self):
        data = self.sent_json(make_message(**self.batch), batch_send_mode="expose-to-list")
        self.assert_api_called(EMAIL_URL)
        self.assertEqual(
            data,
            {
                "from": {"email": "shop@a.test"},
                "to": [{"email": "ann@b.test"}, {"email": "bo@b.test", "name": "Bo"}],
                "cc": [{"email": "log@a.test"}],
                "subject": "{{ n }}",
                "text": "Text body",
                "personalization": self.personalization,
            },
        )

    def test_use_bulk_email(self):
        message = make_message(**self.batch, tags=["t"], esp_extra={"settings": {"a": 1}})
        data = self.sent_json(message, batch_send_mode="use-bulk-email")
        self.assert_api_called(BULK_URL)
        common = {
            "from": {"email": "shop@a.test"},
            "cc": [{"email": "log@a.test"}],
            "subject": "{{ n }}",
            "text": "Text body",
            "tags": ["t"],
            "settings": {"a": 1},
        }
        self.assertEqual(
            data,
            [
                {
                    **common,
                    "to": [{"email": "ann@b.test"}],
                    "personalization": self.personalization[:1],
                },
                {
                    **common,
                    "to": [{"email": "bo@b.test", "name": "Bo"}],
                    "personalization": self.personalization[1:],
                },
            ],
        )

    def test_bulk_for_one_recipient(self):
        message = make_message(merge_data={})
        data = self.sent_json(message, batch_send_mode="use-bulk-email")
        self.assert_api_called(BULK_URL)
        self.assertEqual(len(data), 1)
        self.assertNotIn("personalization", data[0])

    def test_recipients_without_data(self):
        for options in (
            {"merge_data": {"nobody@b.test": {"n": 1}}, "merge_global_data": None},
            {"merge_data": {"ann@b.test": {}}, "merge_global_data": {}},
        ):
            message = make_message(**{**self.batch, **options})
            data = self.sent_json(message, batch_send_mode="expose-to-list")
            self.assertEqual(
                data["personalization"],
                [{"email": "ann@b.test", "data": {}}, {"email": "bo@b.test", "data": {}}],
            )

    def test_empty_data(self):
        message = make_message(merge_data={}, merge_global_data={})
        self.assertNotIn("personalization", self.sent_json(message))

    def test_data_are_matched_to_addresses_as_written(self):
        message = make_message(
            to=["Ann <ann@Příklad.example>"], merge_data={"ann@příklad.EXAMPLE": {"n": 1}}
        )
        expected = [{"email": "ann@xn--pklad-zsa96e.example", "data": {"n": 1}}]
        self.assertEqual(self.sent_json(message)["personalization"], expected)
        [data] = self.sent_json(message, batch_send_mode="use-bulk-email")
        self.assertEqual(data["personalization"], expected)

    def test_mode_per_message(self):
        for mode, other, url in (
            ("use-bulk-email", "expose-to-list", BULK_URL),
            ("expose-to-list", "use-bulk-email", EMAIL_URL),
        ):
            message = make_message(**self.batch, esp_extra={"batch_send_mode": mode})
            data = self.sent_json(message, batch_send_mode=other)
            self.assert_api_called(url)
            self.assertNotIn("batch_send_mode", json.dumps(data))

    def test_personalization_in_esp_extra(self):
        own = [{"email": "to@example.com", "data": {"own": 1}}]
        extra = {"personalization": own}
        self.assertEqual(self.sent_json(make_message(esp_extra=extra))["personalization"], own)
        data = self.sent_json(make_message(esp_extra=extra, merge_data={}))
        self.assertEqual(data["personalization"], own)
        data = self.sent_json(make_message(esp_extra=extra, merge_global_data={"n": 1}))
        self.assertEqual(data["personalization"], [{"email": "to@example.com", "data": {"n": 1}}])

    def test_no_to(self):
        message = make_message(to=[], cc=["cc@example.com"], merge_data={})
        for mode in (None, "expose-to-list"):
            self.assertNotIn("to", self.sent_json(message, batch_send_mode=mode))
        mode = "use-bulk-email"
        self.assert_unsupported(
            message, "batch sending without `to` recipients", batch_send_mode=mode
        )
        data = self.sent_json(message, batch_send_mode=mode, ignore_unsupported_features=True)
        self.assert_api_called(BULK_URL)
        self.assertEqual([item["cc"] for item in data], [[{"email": "cc@example.com"}]])

    def test_caller_keeps_data(self):
        merge_data = {"to@example.com": {"n": 1}}
        merge_global_data = {"city": "Brno"}
        self.send(make_message(merge_data=merge_data, merge_global_data=merge_global_data))
        self.assertEqual(merge_data, {"to@example.com": {"n": 1}})
        self.assertEqual(merge_global_data, {"city": "Brno"})


class StatusTests(MailerSendTestCase):
    def statuses(self, **kwargs):
        options = kwargs.pop("options", {})
        recipients = self.send(make_message(**kwargs), **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def warn(self, *warnings, **kwargs):
        body = {"message": "There are some warnings for your request.", "warnings": [*warnings]}
        return accepted(**{"json_data": body, "content_type": "application/json", **kwargs})

    def suppressed(self, *addresses, kind="SOME_SUPPRESSED"):
        return {
            "type": kind,
            "warning": "Some of the recipients have been suppressed.",
            "recipients": [
                {"email": address, "name": "", "reasons": ["blocklisted"]} for address in addresses
            ],
        }

    def assert_error(self, text, *, is_accepted=False, **kwargs):
        message = make_message(**kwargs)
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(message)
        self.assertIn(text, str(raised.exception))
        status = message.anymail_status
        self.assertEqual(status.status, {"queued"} if is_accepted else None)
        self.assertEqual(status.message_id, "msg-id" if is_accepted else None)
        self.assertEqual(len(status.recipients), 1 if is_accepted else 0)
        return status

    def test_queued(self):
        message = make_message(to=["Ann <ann@Příklad.example>"], cc=["cc@b.test"], bcc=["b@b.test"])
        status = self.send(message)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "msg-id")
        self.assertEqual(set(status.recipients), {"ann@Příklad.example", "cc@b.test", "b@b.test"})
        self.assertIs(type(status.recipients), dict)
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_bulk(self):
        for content_type in ("application/json", "Application/JSON; charset=utf-8"):
            self.api_response = make_response(
                202, json_data={"bulk_email_id": "b1"}, content_type=content_type
            )
            self.assertEqual(
                self.statuses(
                    to=["a@b.test", "b@b.test"],
                    cc=["c@b.test"],
                    merge_data={},
                    options={"batch_send_mode": "use-bulk-email"},
                ),
                dict.fromkeys(["a@b.test", "b@b.test", "c@b.test"], ("unknown", "bulk:b1")),
            )

    def test_header_wins(self):
        self.api_response = accepted(
            json_data={"bulk_email_id": "b1"}, content_type="application/json"
        )
        self.assertEqual(self.statuses(), {"to@example.com": ("queued", "msg-id")})

    def test_no_id(self):
        for response in (
            accepted(None),
            accepted(""),
            accepted(None, content_type=None),
            accepted(None, body=b"{", content_type="text/plain"),
            accepted(None, body=b'{"bulk_email_id": "b1"}', content_type="text/json"),
            make_response(202, json_data={}),
            make_response(202, json_data={"bulk_email_id": None, "warnings": None, "errors": {}}),
        ):
            self.api_response = response
            self.assert_error("it may or may not have accepted it")
        # Who was suppressed is known all the same.
        self.api_response = self.warn(self.suppressed("bad@b.test"), message_id=None)
        message = make_message(to=["good@b.test", "bad@b.test"])
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(message, ignore_recipient_status=True)
        self.assertEqual(message.anymail_status.status, {"unknown", "rejected"})
        self.assertEqual(raised.exception.recipients["bad@b.test"].status, "rejected")

    def test_some_suppressed(self):
        for content_type in ("application/json", "application/json; charset=utf-8"):
            self.api_response = self.warn(
                self.suppressed("BAD@b.test", "bad@xn--pklad-zsa96e.example"),
                self.suppressed("stranger@b.test"),
                content_type=content_type,
            )
            to = ["good@b.test", "Bad@b.test", "bad@Příklad.example"]
            self.assertEqual(
                self.statuses(to=to),
                {
                    "good@b.test": ("queued", "msg-id"),
                    "Bad@b.test": ("rejected", None),
                    "bad@Příklad.example": ("rejected", None),
                    "stranger@b.test": ("rejected", None),
                },
            )

    def test_all_suppressed(self):
        self.api_response = self.warn(
            self.suppressed("to@example.com", "cc@b.test", kind="ALL_SUPPRESSED"), message_id=None
        )
        message = make_message(cc=["cc@b.test"])
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"rejected"})
        self.assertEqual(
            self.statuses(options={"ignore_recipient_status": True}),
            {"to@example.com": ("rejected", None), "cc@b.test": ("rejected", None)},
        )

    def test_unknown_warning(self):
        for warning in ({"type": "NEW", "warning": "Oh"}, {"warning": "Oh"}, {"type": ["x"]}):
            self.api_response = self.warn(warning)
            self.assertEqual(self.statuses(), {"to@example.com": ("queued", "msg-id")})
            self.api_response = self.warn(warning, self.suppressed("bad@b.test"))
            self.assertEqual(
                self.statuses(to=["to@example.com", "bad@b.test"]),
                {"to@example.com": ("queued", "msg-id"), "bad@b.test": ("rejected", None)},
            )
            self.api_response = self.warn(warning, message_id=None)
            self.assert_error('"warnings"')

    def test_errors(self):
        for errors in ({"from.email": ["must be verified"]}, ["must be verified"]):
            answer = {"json_data": {"errors": errors}, "content_type": "application/json"}
            self.api_response = accepted(None, **answer)
            self.assert_error("must be verified")
            self.api_response = accepted(**answer)
            self.assert_error("must be verified", is_accepted=True)

    def test_malformed_warnings(self):
        for warning, text in (
            ({"type": "ALL_SUPPRESSED"}, "'recipients'"),
            ({"type": "ALL_SUPPRESSED", "recipients": None}, "format"),
            ({"type": "ALL_SUPPRESSED", "recipients": ["to@example.com"]}, "format"),
            ({"type": "ALL_SUPPRESSED", "recipients": [{"name": "x"}]}, "'email'"),
            ({"type": "ALL_SUPPRESSED", "recipients": [{"email": None}]}, "format"),
            ({"type": "ALL_SUPPRESSED", "recipients": [{"email": ["x"]}]}, "format"),
            ("ALL_SUPPRESSED", "format"),
            (None, "format"),
        ):
            with self.subTest(warning=warning):
                self.api_response = self.warn(warning)
                self.assert_error(text, is_accepted=True)
                self.assert_error("Invalid MailerSend API response format", is_accepted=True)

    def test_malformed_answers(self):
        for answer in (
            None,
            [],
            "text",
            12,
            {"bulk_email_id": ["x"]},
            {"bulk_email_id": {"x": 1}},
            {"warnings": 5},
            {"warnings": {"type": "x"}},
            {"warnings": "text"},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(
                    202, body=json.dumps(answer).encode(), content_type="application/json"
                )
                self.assert_error("Invalid MailerSend API response format")

    def test_not_json(self):
        self.api_response = accepted(body=b"{", content_type="application/json")
        self.assert_error("Invalid JSON in MailerSend")

    def test_http_error(self):
        self.api_response = make_response(
            422,
            json_data={
                "message": "The from.email domain must be verified. #MS42207",
                "errors": {"from.email": ["The from.email domain must be verified. #MS42207"]},
            },
        )
        status = self.assert_error("MailerSend API response 422")
        self.assertIsNone(status.esp_response)
        self.assert_error("#MS42207")

    def test_rate_limit(self):
        self.api_response = make_response(429, json_data={"message": "Too Many Attempts."})
        self.api_response.headers["retry-after"] = "59"
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(make_message())
        self.assertEqual(raised.exception.status_code, 429)
        self.assertEqual(raised.exception.response.headers["Retry-After"], "59")
