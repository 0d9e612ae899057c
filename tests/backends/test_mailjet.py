from __future__ import annotations

import base64
import json
from contextlib import redirect_stdout
from decimal import Decimal
from email.mime.text import MIMEText
from io import StringIO
from unittest.mock import patch

import requests
from django.test import SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


def recipient(email: str = "to@example.com", message_id: object = 70650000000000001) -> dict:
    """Return a recipient of Mailjet's answer."""
    return {
        "Email": email,
        "MessageUUID": "0b6f0e1c-0000-4000-8000-000000000000",
        "MessageID": message_id,
        "MessageHref": f"https://api.mailjet.com/v3/REST/message/{message_id}",
    }


def sent(*to: dict, **others: list) -> dict:
    """Return Mailjet's answer for a message that it sends."""
    return {"Status": "success", "CustomID": "", "To": list(to), "Cc": [], "Bcc": [], **others}


def refused(code: str = "mj-0013", status_code: int = 400) -> dict:
    """Return Mailjet's answer for a message that it does not send."""
    return {
        "Status": "error",
        "Errors": [
            {
                "ErrorIdentifier": "f987008f-251a-4dff-8ffc-40f1583ad7bc",
                "ErrorCode": code,
                "StatusCode": status_code,
                "ErrorMessage": '"bad@example" is an invalid email address.',
                "ErrorRelatedTo": ["Messages[0].To[0].Email"],
            }
        ],
    }


@tag("mailjet")
class MailjetTestCase(ApiTestCase):
    backend = "anymail.backends.mailjet.EmailBackend"
    settings = {"MAILJET_API_KEY": "test-key", "MAILJET_SECRET_KEY": "test-secret"}
    api_response = {"Messages": [sent(recipient())]}

    @property
    def globals(self) -> dict:
        return self.api_json["Globals"]

    @property
    def messages(self) -> list[dict]:
        return self.api_json["Messages"]

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(f"Mailjet does not support {feature}", str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(MailjetTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.mailjet.com/v3.1/send")
        self.assertEqual(self.api_call["auth"], ("test-key", "test-secret"))
        self.assertEqual(self.api_call["headers"], {"Content-Type": "application/json"})
        self.assertIsInstance(self.api_call["data"], str)
        self.assertIsNone(self.api_call["files"])
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_api_key(self):
        # It is the first that is looked for.
        pattern = r"MAILJET_API_KEY.*ANYMAIL_MAILJET_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={"MAILJET_API_KEY": "test-key"})
    def test_missing_secret_key(self):
        pattern = r"MAILJET_SECRET_KEY.*ANYMAIL_MAILJET_SECRET_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={})
    def test_missing_options(self):
        with self.assertRaisesRegex(AnymailInvalidMailer, "'api_key'"):
            self.make_backend(alias="default")
        with self.assertRaisesRegex(AnymailInvalidMailer, "'secret_key'"):
            self.make_backend(alias="default", api_key="test-key")

    @override_settings(ANYMAIL={}, MAILJET_API_KEY="bare-key", MAILJET_SECRET_KEY="bare-secret")
    def test_bare_settings(self):
        backend = self.make_backend()
        self.assertEqual((backend.api_key, backend.secret_key), ("bare-key", "bare-secret"))

    def test_api_url(self):
        self.send(make_message(), api_url="https://api.us.mailjet.com/v3.1")
        self.assert_api_called("https://api.us.mailjet.com/v3.1/send")

    @override_settings(MAILJET_API_URL="https://bare.example.com/")
    def test_api_url_has_no_bare_setting(self):
        self.assertEqual(self.make_backend().api_url, "https://api.mailjet.com/v3.1/")


class MessageTests(MailjetTestCase):
    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Inc." <from@example.com>',
                to=["Zoë <zoë@bücher.example>", "to@example.com"],
                cc=['"Čč, Cc" <cc@example.com>', "cc2@example.com"],
                bcc=["bcc@example.com"],
                reply_to=["Réponse <reply@example.com>"],
            )
        )
        self.assertEqual(self.globals["From"], {"Email": "from@example.com", "Name": "From, Inc."})
        self.assertEqual(
            self.messages,
            [
                {
                    "To": [
                        {"Email": "zoë@xn--bcher-kva.example", "Name": "Zoë"},
                        {"Email": "to@example.com"},
                    ]
                }
            ],
        )
        self.assertEqual(
            self.globals["Cc"],
            [{"Email": "cc@example.com", "Name": "Čč, Cc"}, {"Email": "cc2@example.com"}],
        )
        self.assertEqual(self.globals["Bcc"], [{"Email": "bcc@example.com"}])
        self.assertEqual(self.globals["ReplyTo"], {"Email": "reply@example.com", "Name": "Réponse"})

    def test_idna_encoder(self):
        self.send(make_message(to=["zoe@bücher.example"]), idna_encoder="none")
        self.assertEqual(self.messages[0]["To"], [{"Email": "zoe@bücher.example"}])

    def test_headers(self):
        self.send(
            make_message(
                headers={"X-Custom": "Grüße", "x-num": 123, "REPLY-TO": "header@example.com"},
                reply_to=["attribute@example.com"],
            )
        )
        self.assertEqual(self.globals["Headers"], {"X-Custom": "Grüße", "x-num": 123})
        self.assertEqual(self.globals["ReplyTo"], {"Email": "header@example.com"})

    def test_only_special_headers(self):
        self.send(make_message(headers={"Reply-To": "header@example.com"}))
        self.assertNotIn("Headers", self.globals)

    def test_from_header(self):
        self.send(make_message(headers={"From": "Header <header@example.com>"}))
        self.assertEqual(self.globals["From"], {"Email": "header@example.com", "Name": "Header"})
        self.assertEqual(self.globals["Sender"], {"Email": "from@example.com"})

    def test_unserializable_data(self):
        for message in (
            make_message(headers={"X-Price": Decimal("12.5")}),
            make_message(tags=[Decimal("12.5")]),
            make_message(metadata={"price": Decimal("12.5")}),
            make_message(merge_metadata={"to@example.com": {"price": Decimal("12.5")}}),
            make_message(merge_data={"to@example.com": {"price": Decimal("12.5")}}),
        ):
            with self.assertRaises(AnymailSerializationError) as raised:
                self.send(message)
            self.assertIsInstance(raised.exception, TypeError)
            self.assertIn("Don't know how to send this data to Mailjet", str(raised.exception))
            self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_attachment_in_another_charset(self):
        message = make_message()
        message.attachments.append(MIMEText("Grün", "plain", "iso-8859-1"))
        self.send(message)
        [attachment] = self.globals["Attachments"]
        # Mailjet says that all text is in UTF-8, so it must be.
        self.assertEqual(attachment["Base64Content"], "R3LDvG4=")
        self.assertEqual(attachment["ContentType"], "text/plain")

    def test_esp_extra(self):
        extra = {
            "SandboxMode": True,
            "Globals": {"Priority": 3, "CustomCampaign": "two", "Variables": {"b": 3}},
        }
        self.send(make_message(tags=["one"], merge_global_data={"a": 1, "b": 2}, esp_extra=extra))
        self.assertIs(self.api_json["SandboxMode"], True)
        self.assertEqual(
            self.globals,
            {
                "From": {"Email": "from@example.com"},
                "Subject": "Subject",
                "TextPart": "Text body",
                "CustomCampaign": "two",
                "Priority": 3,
                "Variables": {"a": 1, "b": 3},
            },
        )

    def test_esp_extra_headers_ignore_case(self):
        self.send(
            make_message(
                headers={"X-One": "1", "X-Two": "2"},
                esp_extra={"Globals": {"Headers": {"x-two": "zwei", "X-Three": "3"}}},
            )
        )
        self.assertEqual(self.globals["Headers"], {"X-One": "1", "x-two": "zwei", "X-Three": "3"})

    def test_esp_extra_replaces_messages(self):
        messages = [{"To": [{"Email": "other@example.com"}], "CustomID": "x"}]
        self.send(make_message(merge_metadata={}, esp_extra={"Messages": messages}))
        self.assertEqual(self.messages, messages)

    def test_caller_data_is_not_modified(self):
        extra = {"Globals": {"Variables": {"b": 3}, "Headers": {"X-One": "1"}}}
        defaults = {"esp_extra": {"Globals": {"Headers": {"X-Two": "2"}}}}
        headers, data = {"X-Three": "3"}, {"a": {"c": 1}}
        message = make_message(esp_extra=extra, headers=headers, merge_global_data=data)
        self.send(message, send_defaults=defaults)
        self.send(message, send_defaults=defaults)
        self.assertEqual(self.globals["Headers"], {"X-Three": "3", "X-Two": "2", "X-One": "1"})
        self.assertEqual(extra, {"Globals": {"Variables": {"b": 3}, "Headers": {"X-One": "1"}}})
        self.assertEqual(defaults, {"esp_extra": {"Globals": {"Headers": {"X-Two": "2"}}}})
        self.assertEqual((headers, data), ({"X-Three": "3"}, {"a": {"c": 1}}))

    def test_header_injection(self):
        bad = "a\r\nBcc: victim@example.com"
        for attrs in (
            {"merge_headers": {"to@example.com": {"X-Bad": bad}}},
            {"merge_headers": {"to@example.com": {bad: "x"}}},
            {"merge_headers": {"to@example.com": {"Reply-To": bad}}},
            {"esp_extra": {"Globals": {"Headers": {"X-Bad": bad}}}},
            {"esp_extra": {"Globals": {"Headers": {bad: "x"}}}},
            {"esp_extra": {"Globals": {"Subject": bad}}},
            {"esp_extra": {"Messages": [None, "nonsense", {"Headers": {"X-Bad": bad}}]}},
            {"esp_extra": {"Messages": [{"Subject": bad}]}},
        ):
            with self.subTest(attrs=attrs), self.assertRaises(AnymailInvalidHeader):
                self.send(make_message(**attrs))
        self.assert_api_not_called()

    def test_nonsense_in_esp_extra_is_left_to_mailjet(self):
        self.send(make_message(esp_extra={"Globals": None, "Messages": "nonsense"}))
        self.assertEqual(self.api_json, {"Globals": None, "Messages": "nonsense"})
        self.send(make_message(esp_extra={"Globals": {"Headers": 5}}))
        self.assertEqual(self.globals["Headers"], 5)


class UnsupportedFeatureTests(MailjetTestCase):
    def test_no_to_recipients_in_batch(self):
        message = make_message(to=[], cc=["cc@example.com"], merge_metadata={})
        self.assert_unsupported(message, "messages without any `to` recipients")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.messages, [])

    def test_send_at(self):
        message = make_message(send_at=1900000000)
        self.assert_unsupported(message, "send_at")
        self.send(message, ignore_unsupported_features=True)

    def test_other_alternatives(self):
        for mimetype, feature in (
            ("text/plain", "multiple plaintext parts"),
            ("text/x-amp-html", "alternative part with type 'text/x-amp-html'"),
        ):
            message = make_message()
            message.attach_alternative("alternative", mimetype)
            self.assert_unsupported(message, feature)


class TemplateTests(MailjetTestCase):
    def test_numeric_id(self):
        self.send(make_message(template_id=1234))
        self.assertEqual(self.globals["TemplateID"], 1234)

    def test_empty_body_does_not_replace_the_template(self):
        self.send(make_message(template_id=1234, body=""))
        self.assertNotIn("TextPart", self.globals)

    def test_name_instead_of_id(self):
        with self.assertRaisesRegex(ValueError, "template_id.*Mailjet.*'welcome'"):
            self.send(make_message(template_id="welcome"))
        self.assert_api_not_called()

    def test_global_merge_data_is_not_a_batch(self):
        self.send(make_message(to=["a@example.com", "b@example.com"], merge_global_data={"a": 1}))
        self.assertEqual(
            self.messages, [{"To": [{"Email": "a@example.com"}, {"Email": "b@example.com"}]}]
        )


class BatchTests(MailjetTestCase):
    api_response = {
        "Messages": [
            sent(recipient("ann@example.com", 1), Cc=[recipient("cc@example.com", 2)]),
            sent(recipient("ben@example.com", 3), Cc=[recipient("cc@example.com", 4)]),
        ]
    }

    def test_batch(self):
        merge_data = {"ann@example.com": {"plan": "Pro"}, "nobody@example.com": {"plan": "No"}}
        merge_metadata = {"ben@example.com": {"inv": 44}}
        message = make_message(
            to=["ann@example.com", "Ben <ben@example.com>"],
            cc=["cc@example.com"],
            metadata={"job": 7},
            merge_metadata=merge_metadata,
            merge_data=merge_data,
            merge_global_data={"year": 2031},
            headers={"X-All": "1"},
            merge_headers={"ben@example.com": {"X-Ben": gettext_lazy("2")}},
        )
        status = self.send(message)
        body = self.api_json
        self.assertEqual(json.loads(body["Globals"].pop("EventPayload")), {"job": 7})
        self.assertEqual(json.loads(body["Messages"][1].pop("EventPayload")), {"job": 7, "inv": 44})
        self.assertEqual(
            body,
            {
                "Globals": {
                    "From": {"Email": "from@example.com"},
                    "Cc": [{"Email": "cc@example.com"}],
                    "Subject": "Subject",
                    "TextPart": "Text body",
                    "Variables": {"year": 2031},
                    "Headers": {"X-All": "1"},
                },
                "Messages": [
                    {
                        "To": [{"Email": "ann@example.com"}],
                        "Variables": {"year": 2031, "plan": "Pro"},
                    },
                    {
                        "To": [{"Email": "ben@example.com", "Name": "Ben"}],
                        "Headers": {"X-All": "1", "X-Ben": "2"},
                    },
                ],
            },
        )
        self.assertEqual(merge_data["ann@example.com"], {"plan": "Pro"})
        self.assertEqual(merge_metadata, {"ben@example.com": {"inv": 44}})
        self.assertEqual(message.metadata, {"job": 7})
        self.assertEqual(
            {address: item.message_id for address, item in status.recipients.items()},
            {"ann@example.com": "1", "ben@example.com": "3", "cc@example.com": "4"},
        )
        self.assertEqual(status.message_id, {"1", "3", "4"})

    def test_own_data_over_those_for_everyone(self):
        self.send(
            make_message(
                merge_global_data={"a": 1, "b": 1},
                merge_data={"to@example.com": {"b": 2}},
                headers={"X-A": "1", "X-B": "1"},
                merge_headers={"to@example.com": {"x-b": "2"}},
                esp_extra={"Globals": {"Variables": {"c": 3}, "Headers": {"X-C": "3"}}},
            )
        )
        [message] = self.messages
        self.assertEqual(message["Variables"], {"a": 1, "b": 2, "c": 3})
        self.assertEqual(message["Headers"], {"X-A": "1", "x-b": "2", "X-C": "3"})

    def test_empty_merge_attributes(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            message = make_message(to=["ann@example.com", "ben@example.com"], **{attr: {}})
            self.send(message)
            self.assertEqual(
                self.messages,
                [{"To": [{"Email": "ann@example.com"}]}, {"To": [{"Email": "ben@example.com"}]}],
            )

    def test_all_merge_attributes_with_one_recipient(self):
        self.send(
            make_message(
                merge_data={"to@example.com": {"a": 1}},
                merge_headers={"to@example.com": {"X-B": "2"}},
                merge_metadata={"to@example.com": {"c": 3}},
            )
        )
        self.assertEqual(
            self.messages,
            [
                {
                    "To": [{"Email": "to@example.com"}],
                    "Variables": {"a": 1},
                    "Headers": {"X-B": "2"},
                    "EventPayload": '{"c": 3}',
                }
            ],
        )

    def test_international_domains(self):
        self.send(
            make_message(
                to=["ann@bücher.example", "ben@example.com"],
                merge_data={"ann@Bücher.Example": {"a": 1}, "ben@EXAMPLE.com": {"b": 2}},
                merge_headers={"ann@bücher.example": {"X-A": "1"}},
                merge_metadata={"ann@bücher.example": {"a": 1}},
            )
        )
        ann, ben = self.messages
        self.assertEqual(ann["To"], [{"Email": "ann@xn--bcher-kva.example"}])
        self.assertEqual(ann["Variables"], {"a": 1})
        self.assertEqual(ann["Headers"], {"X-A": "1"})
        self.assertEqual(ann["EventPayload"], '{"a": 1}')
        self.assertEqual(ben["Variables"], {"b": 2})

    def test_reply_to_in_merge_headers(self):
        message = make_message(
            to=["ann@example.com", "ben@example.com"],
            merge_headers={
                "ann@example.com": {"reply-to": "Ä <ann-reply@example.com>", "X-A": "1"},
                "ben@example.com": {"Reply-To": ""},
            },
        )
        self.send(message)
        self.assertEqual(
            self.messages,
            [
                {
                    "To": [{"Email": "ann@example.com"}],
                    "ReplyTo": {"Email": "ann-reply@example.com", "Name": "Ä"},
                    "Headers": {"X-A": "1"},
                },
                {"To": [{"Email": "ben@example.com"}]},
            ],
        )

    def test_multiple_reply_to_in_merge_headers(self):
        message = make_message(
            merge_headers={"to@example.com": {"Reply-To": "a@example.com, b@example.com"}}
        )
        self.assert_unsupported(message, "Multiple reply_to addresses")

    def test_invalid_reply_to_in_merge_headers(self):
        message = make_message(merge_headers={"to@example.com": {"Reply-To": "nobody"}})
        with self.assertRaisesRegex(AnymailInvalidAddress, r"in `merge_headers\['Reply-To'\]`"):
            self.send(message)
        self.assert_api_not_called()

    def test_recipients_share_no_dicts(self):
        message = make_message(
            to=["ann@example.com", "ben@example.com"],
            merge_data={"ann@example.com": {"a": 1}, "ben@example.com": {"a": 1}},
            merge_global_data={"b": 2},
        )
        payload = self.make_backend().build_message_payload(message, {})
        ann, ben = payload.batch_messages()
        self.assertIsNot(ann["Variables"], ben["Variables"])
        self.assertIsNot(ann["Variables"], message.merge_data["ann@example.com"])


class StatusTests(MailjetTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_sent(self):
        status = self.send(make_message())
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, "70650000000000001")
        self.assertEqual(set(status.recipients), {"to@example.com"})
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_all_kinds_of_recipients(self):
        result = sent(
            recipient("to@example.com", 1),
            Cc=[recipient("cc@example.com", 2)],
            Bcc=[recipient("bcc@example.com", "3")],
        )
        self.api_response = {"Messages": [result]}
        message = make_message(cc=["cc@example.com"], bcc=["bcc@example.com"])
        self.assertEqual(
            self.statuses(message),
            {
                "to@example.com": ("sent", "1"),
                "cc@example.com": ("sent", "2"),
                "bcc@example.com": ("sent", "3"),
            },
        )

    def test_caller_spelling(self):
        self.api_response = {
            "Messages": [
                sent(recipient("to@example.com", 1), recipient("zoe@xn--bcher-kva.example", 2))
            ]
        }
        message = make_message(to=["TO@Example.com", "Zoe <zoe@bücher.example>"])
        self.assertEqual(
            self.statuses(message),
            {"TO@Example.com": ("sent", "1"), "zoe@bücher.example": ("sent", "2")},
        )

    def test_addresses_that_differ_in_case(self):
        result = sent(recipient("Ann@example.com", 1), Cc=[recipient("ann@example.com", 2)])
        self.api_response = {"Messages": [result]}
        self.assertEqual(
            self.statuses(make_message(to=["Ann@example.com"], cc=["ann@example.com"])),
            {"Ann@example.com": ("sent", "1"), "ann@example.com": ("sent", "2")},
        )

    def test_only_to_in_answer(self):
        self.api_response = {"Messages": [{"Status": "success", "To": [recipient()]}]}
        self.assertEqual(
            self.statuses(make_message()), {"to@example.com": ("sent", "70650000000000001")}
        )

    def test_other_address_in_answer(self):
        self.api_response = {"Messages": [sent(recipient("other@example.com", 1))]}
        self.assertEqual(
            self.statuses(make_message()),
            {"to@example.com": ("failed", None), "other@example.com": ("sent", "1")},
        )

    def test_sandbox_mode(self):
        self.api_response = {"Messages": [sent(recipient(message_id=0))]}
        self.assertEqual(self.statuses(make_message()), {"to@example.com": ("sent", "0")})

    def test_partly_refused_batch(self):
        self.api_response = make_response(
            400,
            json_data={"Messages": [sent(recipient("ann@example.com", 1)), refused()]},
            content_type="Application/JSON; charset=UTF-8",
        )
        message = make_message(to=["ann@example.com", "bad@example"], merge_metadata={})
        self.assertEqual(
            self.statuses(message),
            {"ann@example.com": ("sent", "1"), "bad@example": ("failed", None)},
        )
        self.assertEqual(message.anymail_status.status, {"sent", "failed"})
        self.assertEqual(message.anymail_status.message_id, {"1", None})
        self.assertIn("failed", repr(message.anymail_status))

    def test_refused(self):
        self.api_response = make_response(400, json_data={"Messages": [refused()]})
        message = make_message()
        with self.assertRaisesRegex(AnymailRequestsAPIError, "mj-0013") as raised:
            self.send(message)
        self.assertEqual(raised.exception.status_code, 400)
        self.assertEqual(message.anymail_status.status, {"failed"})
        self.assertIsNone(message.anymail_status.message_id)
        self.assertIn("mj-0013", message.anymail_status.esp_response.text)

    def test_unknown_status_with_recipients(self):
        self.api_response = {"Messages": [{"Status": "odd", "To": [recipient(message_id=5)]}]}
        self.assertEqual(
            self.statuses(make_message(), ignore_recipient_status=True),
            {"to@example.com": ("failed", "5")},
        )

    def test_no_messages_in_answer(self):
        self.api_response = {"Messages": []}
        with self.assertRaises(AnymailRequestsAPIError):
            self.send(make_message())

    def test_global_error(self):
        error = {
            "ErrorIdentifier": "06df1144-c6f3-4ca7-8885-7ec5d4344113",
            "ErrorCode": "mj-0002",
            "ErrorMessage": "Malformed JSON, please review the syntax.",
            "StatusCode": 400,
        }
        for status_code in (200, 400):
            with self.subTest(status_code=status_code):
                self.api_response = make_response(status_code, json_data=error)
                message = make_message()
                with self.assertRaises(AnymailRequestsAPIError) as raised:
                    self.send(message)
                text = str(raised.exception)
                self.assertTrue(text.startswith(f"Mailjet API response {status_code}"), text)
                self.assertIn("Malformed JSON, please review the syntax.", text)
                self.assertIsNone(message.anymail_status.status)
                self.assertEqual(message.anymail_status.recipients, {})

    def test_wrong_keys(self):
        self.api_response = make_response(
            401,
            json_data={"StatusCode": 401, "ErrorMessage": "API key authentication failure."},
        )
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(make_message())
        self.assertEqual(raised.exception.status_code, 401)
        self.assertIn("API key authentication failure.", str(raised.exception))
        self.assertIsInstance(raised.exception.__cause__, KeyError)

    def test_http_errors(self):
        html = b"<html><h1>429 Too Many Requests</h1></html>"
        for status_code, content_type, body in (
            (429, "text/html", html),
            (404, None, b""),
            (500, "application/json", b'{"ErrorMessage": "429 Too Many Requests"}'),
            (502, "text/html", html),
            (302, "application/json", b"{}"),
        ):
            with self.subTest(status_code=status_code):
                self.api_response = make_response(
                    status_code, body=body, content_type=content_type, reason="Reason"
                )
                message = make_message()
                with self.assertRaises(AnymailAPIError) as raised:
                    self.send(message)
                text = str(raised.exception)
                self.assertTrue(text.startswith(f"Mailjet API response {status_code} (Reason)"))
                self.assertNotIn("JSON", text)
                if status_code != 404 and status_code != 302:
                    self.assertIn("429 Too Many Requests", text)
                self.assertIsNone(message.anymail_status.esp_response)

    def test_not_json(self):
        for status_code in (200, 400):
            with self.subTest(status_code=status_code):
                self.api_response = make_response(
                    status_code, body=b"not JSON", content_type="application/json"
                )
                message = make_message()
                with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in Mailjet"):
                    self.send(message)
                self.assertIsNotNone(message.anymail_status.esp_response)
                self.assertIsNone(message.anymail_status.status)

    def test_malformed_answers(self):
        for answer in (
            None,
            True,
            5,
            "Messages",
            [],
            {},
            {"Messages": None},
            {"Messages": {}},
            {"Messages": "text"},
            {"Messages": [None]},
            {"Messages": [[]]},
            {"Messages": [{"To": [recipient()]}]},
            {"Messages": [{"Status": [], "To": [recipient()]}]},
            {"Messages": [{"Status": "success", "To": None}]},
            {"Messages": [{"Status": "success", "To": [None]}]},
            {"Messages": [{"Status": "success", "To": [{"Email": "to@example.com"}]}]},
            {"Messages": [{"Status": "success", "To": [{"MessageID": 5}]}]},
            {"Messages": [sent(recipient(None))]},
            {"Messages": [sent(recipient(message_id=None))]},
            {"Messages": [sent(recipient(message_id=[]))]},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(
                    AnymailRequestsAPIError, "Invalid Mailjet API response format"
                ):
                    self.send(message)
                self.assertIsNone(message.anymail_status.status)
                self.assertIsNotNone(message.anymail_status.esp_response)


@tag("mailjet")
@override_settings(ANYMAIL=MailjetTestCase.settings)
class DebugTests(SimpleTestCase):
    def test_credentials_are_not_shown(self):
        def answer(adapter, request, **kwargs):
            response = make_response(json_data={"Messages": [sent(recipient())]})
            response.request = request
            return response

        backend = import_string(MailjetTestCase.backend)(debug_api_requests=True)
        with (
            patch("requests.adapters.HTTPAdapter.send", autospec=True, side_effect=answer),
            redirect_stdout(StringIO()) as output,
        ):
            backend.send_messages([make_message()])
        self.assertIn("POST https://api.mailjet.com/v3.1/send", output.getvalue())
        self.assertNotIn("test-secret", output.getvalue())
        credentials = base64.b64encode(b"test-key:test-secret").decode()
        self.assertNotIn(credentials, output.getvalue())
