from __future__ import annotations

import json
from contextlib import redirect_stdout
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from unittest.mock import patch

import requests
from django.test import SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


def result(email: object = "to@example.com", status: object = "sent", **other: object) -> dict:
    """Return Mandrill's answer for one recipient."""
    return {"email": email, "status": status, "_id": "f00d0001", "reject_reason": None, **other}


@tag("mandrill")
class MandrillTestCase(ApiTestCase):
    backend = "anymail.backends.mandrill.EmailBackend"
    settings = {"MANDRILL_API_KEY": "md-test-key"}
    api_response = [result()]

    @property
    def api_message(self) -> dict:
        return self.api_json["message"]

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(f"Mandrill does not support {feature}", str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(MandrillTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://mandrillapp.com/api/1.0/messages/send.json")
        self.assertEqual(self.api_json["key"], "md-test-key")
        for name in ("auth", "files", "headers", "params"):
            self.assertFalse(self.api_call[name], name)
        self.assertIsInstance(self.api_call["data"], str)
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_api_key(self):
        pattern = r"MANDRILL_API_KEY.*ANYMAIL_MANDRILL_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()
        with self.assertRaisesRegex(AnymailInvalidMailer, "'api_key'"):
            self.make_backend(alias="default")

    @override_settings(ANYMAIL={}, MANDRILL_API_KEY="bare-key")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().api_key, "bare-key")

    def test_api_url(self):
        for api_url in ("https://mandrill.example.com/api", "https://mandrill.example.com/api/"):
            self.send(make_message(), api_url=api_url)
            self.assert_api_called("https://mandrill.example.com/api/messages/send.json")

    @override_settings(MANDRILL_API_URL="https://bare.example.com/")
    def test_api_url_has_no_bare_setting(self):
        self.assertEqual(self.make_backend().api_url, "https://mandrillapp.com/api/1.0/")


class MessageTests(MandrillTestCase):
    def test_addresses(self):
        self.send(
            make_message(
                from_email='"From, Größe" <frøm@bücher.example>',
                to=["Zoë <zoë@bücher.example>", "to@example.com"],
                bcc=["bcc@example.com"],
                cc=['"Čč, Cc" <cc@example.com>'],
                reply_to=['"Réply, all" <reply@bücher.example>', "reply2@example.com"],
            )
        )
        self.assertEqual(self.api_message["from_email"], "frøm@xn--bcher-kva.example")
        self.assertEqual(self.api_message["from_name"], "From, Größe")
        self.assertEqual(
            self.api_message["to"],
            [
                {"email": "zoë@xn--bcher-kva.example", "name": "Zoë", "type": "to"},
                {"email": "to@example.com", "type": "to"},
                {"email": "cc@example.com", "name": "Čč, Cc", "type": "cc"},
                {"email": "bcc@example.com", "type": "bcc"},
            ],
        )
        self.assertEqual(
            self.api_message["headers"],
            {"Reply-To": '"Réply, all" <reply@xn--bcher-kva.example>, reply2@example.com'},
        )
        self.assertNotIn("preserve_recipients", self.api_message)
        self.assertNotIn("bcc_address", self.api_message)

    def test_headers(self):
        headers = {"X-Custom": "Grüße", "x-num": 123, "reply-to": "header@example.com"}
        message = make_message(headers=headers, reply_to=["attribute@example.com"])
        self.send(message)
        self.assertEqual(
            self.api_message["headers"],
            {"X-Custom": "Grüße", "x-num": 123, "Reply-To": "header@example.com"},
        )
        self.assertEqual(len(headers), 3)

    def test_from_header(self):
        self.send(make_message(headers={"From": "Header <header@example.com>"}))
        self.assertEqual(self.api_message["from_email"], "header@example.com")
        self.assertEqual(self.api_message["from_name"], "Header")
        self.assertEqual(self.api_message["return_path_domain"], "example.com")

    def test_unserializable_data(self):
        for message in (
            make_message(metadata={"price": Decimal("12.5")}),
            make_message(headers={"X-Price": Decimal("12.5")}),
            make_message(merge_global_data={"price": Decimal("12.5")}),
            make_message(merge_data={"to@example.com": {"price": Decimal("12.5")}}),
        ):
            with self.assertRaises(AnymailSerializationError) as raised:
                self.send(message)
            self.assertIsInstance(raised.exception, TypeError)
            self.assertIn("Don't know how to send this data to Mandrill", str(raised.exception))
            self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_send_at(self):
        for send_at, expected in (
            (datetime(2031, 5, 6, 7, 8, 9, 999999, tzinfo=timezone.utc), "2031-05-06 07:08:09"),
            (
                datetime(2031, 5, 6, 0, 8, 9, tzinfo=timezone(timedelta(hours=5, minutes=30))),
                "2031-05-05 18:38:09",
            ),
            (1935126489, "2031-04-28 07:08:09"),
            ("2031-05-06T07:08:09Z", "2031-05-06T07:08:09Z"),
        ):
            with self.subTest(send_at=send_at):
                self.send(make_message(send_at=send_at))
                self.assertEqual(self.api_json["send_at"], expected)
                self.assertNotIn("send_at", self.api_message)

    def test_send_at_in_current_time_zone(self):
        with override_settings(TIME_ZONE="America/Phoenix"):  # UTC-7, always
            self.send(make_message(send_at=datetime(2031, 5, 6, 7, 8, 9)))  # noqa: DTZ001
            self.assertEqual(self.api_json["send_at"], "2031-05-06 14:08:09")
            self.send(make_message(send_at=date(2031, 5, 6)))
            self.assertEqual(self.api_json["send_at"], "2031-05-06 07:00:00")

    def test_empty_values(self):
        self.send(
            make_message(
                metadata={}, tags=[], merge_data={}, merge_global_data={}, merge_metadata={}
            )
        )
        for name, expected in (
            ("metadata", {}),
            ("tags", []),
            ("merge_vars", []),
            ("global_merge_vars", []),
            ("recipient_metadata", []),
        ):
            self.assertEqual(self.api_message[name], expected)


class ESPExtraTests(MandrillTestCase):
    def test_top_level(self):
        self.send(make_message(esp_extra={"ip_pool": "main", "async": True, "key": "other-key"}))
        self.assertEqual(self.api_json["ip_pool"], "main")
        self.assertIs(self.api_json["async"], True)
        self.assertEqual(self.api_json["key"], "other-key")
        self.assertEqual(self.api_message["subject"], "Subject")

    def test_message(self):
        extra = {"message": {"subaccount": "a", "tags": ["three"], "headers": {"X-Two": "2"}}}
        self.send(make_message(tags=["one"], headers={"X-One": "1"}, esp_extra=extra))
        self.assertEqual(self.api_message["subaccount"], "a")
        # They replace what was there.
        self.assertEqual(self.api_message["tags"], ["three"])
        self.assertEqual(self.api_message["headers"], {"X-Two": "2"})
        self.assertEqual(self.api_message["text"], "Text body")

    def test_no_effect(self):
        self.send(make_message())
        expected = self.api_json
        for extra in ({}, {"message": {}}, {"message": None}):
            self.send(make_message(esp_extra=extra))
            self.assertEqual(self.api_json, expected)

    def test_message_is_not_a_dict(self):
        with self.assertRaisesRegex(TypeError, r"esp_extra\['message'\]"):
            self.send(make_message(esp_extra={"message": ["text"]}))
        self.assert_api_not_called()

    def test_recipient_metadata(self):
        extra = {
            "message": {
                "recipient_metadata": {
                    "to@bücher.example": {"crm": 88},
                    "other@example.com": {"crm": 89},
                }
            }
        }
        self.send(make_message(to=["to@bücher.example"], esp_extra=extra))
        self.assertEqual(
            self.api_message["recipient_metadata"],
            [
                {"rcpt": "other@example.com", "values": {"crm": 89}},
                {"rcpt": "to@xn--bcher-kva.example", "values": {"crm": 88}},
            ],
        )
        as_list = [{"rcpt": "to@example.com", "values": {}}]
        self.send(make_message(esp_extra={"message": {"recipient_metadata": as_list}}))
        self.assertEqual(self.api_message["recipient_metadata"], as_list)

    def test_template_content(self):
        extra = {"template_content": {"main": "<b>x</b>", "footer": "y"}}
        self.send(make_message(template_id="welcome", esp_extra=extra))
        as_list = [{"name": "main", "content": "<b>x</b>"}, {"name": "footer", "content": "y"}]
        self.assertEqual(self.api_json["template_content"], as_list)
        self.send(make_message(template_id="welcome", esp_extra={"template_content": as_list}))
        self.assertEqual(self.api_json["template_content"], as_list)

    def test_template_name(self):
        self.send(make_message(esp_extra={"template_name": "welcome"}))
        self.assert_api_called("https://mandrillapp.com/api/1.0/messages/send-template.json")
        self.assertEqual(self.api_json["template_name"], "welcome")
        self.assertEqual(self.api_json["template_content"], [])

    def test_caller_data_is_not_modified(self):
        def make_extra():
            return {
                "message": {"recipient_metadata": {"to@example.com": {}}, "important": True},
                "template_content": {"main": "x"},
            }

        extra = make_extra()
        defaults = {"esp_extra": make_extra()}
        for _ in range(2):
            self.send(make_message(esp_extra=extra), send_defaults=defaults)
            self.assertEqual(self.api_json["template_content"], [{"name": "main", "content": "x"}])
        self.assertEqual(extra, make_extra())
        self.assertEqual(defaults, {"esp_extra": make_extra()})

    def test_defaults_are_merged_deeply(self):
        self.send(
            make_message(esp_extra={"message": {"subaccount": "b"}}),
            send_defaults={"esp_extra": {"message": {"subaccount": "a", "important": True}}},
        )
        self.assertEqual(self.api_message["subaccount"], "b")
        self.assertIs(self.api_message["important"], True)

    def test_header_injection(self):
        bad = "a\r\nBcc: victim@example.com"
        for extra in (
            {"headers": {"X-Bad": bad}},
            {"headers": {bad: "x"}},
            {"subject": bad},
        ):
            with self.subTest(extra=extra), self.assertRaises(AnymailInvalidHeader):
                self.send(make_message(esp_extra={"message": extra}))
        self.assert_api_not_called()


class UnsupportedFeatureTests(MandrillTestCase):
    def test_merge_headers(self):
        message = make_message(merge_headers={})
        self.assert_unsupported(message, "merge_headers")
        self.send(message, ignore_unsupported_features=True)
        self.assertIs(self.api_message["preserve_recipients"], False)

    def test_other_alternatives(self):
        for mimetype, feature in (
            ("text/plain", "multiple plaintext parts"),
            ("text/x-amp-html", "alternative part with type 'text/x-amp-html'"),
            ("application/json", "alternative part with type 'application/json'"),
        ):
            message = make_message()
            message.attach_alternative("alternative", mimetype)
            self.assert_unsupported(message, feature)

    def test_silently(self):
        with self.assertWarns(DeprecationWarning):
            backend = self.make_backend(fail_silently=True)
        self.assertEqual(backend.send_messages([make_message(merge_headers={})]), 0)
        self.assert_api_not_called()


class TemplateTests(MandrillTestCase):
    def test_content_beside_template(self):
        message = make_message(template_id="welcome")
        message.attach_alternative("<p></p>", "text/html")
        self.send(message)
        self.assertEqual(self.api_message["subject"], "Subject")
        self.assertEqual(self.api_message["text"], "Text body")
        self.assertEqual(self.api_message["html"], "<p></p>")

    def test_global_merge_data_is_not_a_batch(self):
        self.send(make_message(merge_global_data={"season": "autumn", "a": 1}))
        self.assertEqual(
            self.api_message["global_merge_vars"],
            [{"name": "season", "content": "autumn"}, {"name": "a", "content": 1}],
        )
        self.assertNotIn("preserve_recipients", self.api_message)


class BatchTests(MandrillTestCase):
    def test_batch(self):
        merge_data = {
            "kim@example.com": {"plan": "pro", "first": "Kim"},
            "nobody@example.com": {"first": "No"},
        }
        merge_metadata = {"lee@example.com": {"crm": 88}}
        self.send(
            make_message(
                to=["kim@example.com", "Lee <lee@example.com>"],
                cc=["cc@example.com"],
                merge_data=merge_data,
                merge_global_data={"season": "autumn"},
                metadata={"run": "w7"},
                merge_metadata=merge_metadata,
            )
        )
        self.assertEqual(self.mock_request.call_count, 1)
        self.assertEqual(
            self.api_message,
            {
                "from_email": "from@example.com",
                "to": [
                    {"email": "kim@example.com", "type": "to"},
                    {"email": "lee@example.com", "name": "Lee", "type": "to"},
                    {"email": "cc@example.com", "type": "cc"},
                ],
                "subject": "Subject",
                "text": "Text body",
                "merge_vars": [
                    {
                        "rcpt": "kim@example.com",
                        "vars": [
                            {"name": "first", "content": "Kim"},
                            {"name": "plan", "content": "pro"},
                        ],
                    },
                    {
                        "rcpt": "nobody@example.com",
                        "vars": [{"name": "first", "content": "No"}],
                    },
                ],
                "global_merge_vars": [{"name": "season", "content": "autumn"}],
                "metadata": {"run": "w7"},
                "recipient_metadata": [{"rcpt": "lee@example.com", "values": {"crm": 88}}],
                "preserve_recipients": False,
            },
        )
        self.assertEqual(list(merge_data["kim@example.com"]), ["plan", "first"])
        self.assertEqual(merge_metadata, {"lee@example.com": {"crm": 88}})

    def test_recipients_are_never_shown_to_each_other(self):
        message = make_message(
            merge_metadata={}, esp_extra={"message": {"preserve_recipients": True}}
        )
        self.send(message)
        self.assertIs(self.api_message["preserve_recipients"], False)

    def test_esp_extra_decides_if_not_batch(self):
        self.send(make_message(esp_extra={"message": {"preserve_recipients": True}}))
        self.assertIs(self.api_message["preserve_recipients"], True)

    def test_keys_are_as_in_to(self):
        self.send(
            make_message(
                to=["Ann <ann@bücher.example>", "ben@EXAMPLE.com"],
                bcc=["copy@bücher.example"],
                merge_data={
                    "ann@Bücher.Example": {"a": 1},
                    "ben@example.com": {"b": 2},
                    "BEN@example.com": {"b": 3},
                    "copy@bücher.example": {"c": 4},
                    "nobody@bücher.example": {"d": 5},
                    "not an address": {"e": 6},
                },
                merge_metadata={"ann@bücher.example": {"a": 1}},
            )
        )
        self.assertEqual(
            [item["rcpt"] for item in self.api_message["merge_vars"]],
            [
                "ann@xn--bcher-kva.example",
                "ben@EXAMPLE.com",
                "BEN@example.com",
                "copy@xn--bcher-kva.example",
                "nobody@bücher.example",
                "not an address",
            ],
        )
        self.assertEqual(
            self.api_message["recipient_metadata"],
            [{"rcpt": "ann@xn--bcher-kva.example", "values": {"a": 1}}],
        )

    def test_names_of_different_types(self):
        self.send(make_message(merge_data={"to@example.com": {"b": 1, 10: 2, "a": 3}}))
        [item] = self.api_message["merge_vars"]
        self.assertEqual([var["name"] for var in item["vars"]], [10, "a", "b"])


class StatusTests(MandrillTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_sent(self):
        status = self.send(make_message())
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, "f00d0001")
        self.assertEqual(set(status.recipients), {"to@example.com"})
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_all_statuses(self):
        statuses = ["sent", "queued", "invalid", "rejected", "failed", "unknown"]
        others = ["scheduled", "odd", ""]
        addresses = [f"to{number}@example.com" for number in range(len(statuses + others))]
        self.api_response = [
            result(address, status, _id=f"id-{status}")
            for address, status in zip(addresses, statuses + others, strict=True)
        ]
        self.assertEqual(
            list(self.statuses(make_message(to=addresses)).values()),
            [(status, f"id-{status}") for status in statuses]
            + [("unknown", f"id-{status}") for status in others],
        )

    def test_caller_spelling(self):
        self.api_response = [result(), result("zoe@xn--bcher-kva.example", "queued", _id="f00d2")]
        message = make_message(to=["TO@Example.com", "Zoe <zoe@bücher.example>"])
        self.assertEqual(
            self.statuses(message),
            {"TO@Example.com": ("sent", "f00d0001"), "zoe@bücher.example": ("queued", "f00d2")},
        )

    def test_other_address_in_answer(self):
        self.api_response = [result("Other@example.com")]
        self.assertEqual(self.statuses(make_message()), {"Other@example.com": ("sent", "f00d0001")})

    def test_address_twice_in_answer(self):
        self.api_response = [result(_id="1"), result(_id="2")]
        self.assertEqual(self.statuses(make_message()), {"to@example.com": ("sent", "2")})

    def test_no_message_id(self):
        self.api_response = [
            {"email": "to@example.com", "status": "invalid"},
            result("other@example.com", _id=5),
            result("third@example.com", "rejected", _id=None),
        ]
        message = make_message()
        self.assertEqual(
            self.statuses(message),
            {
                "to@example.com": ("invalid", None),
                "other@example.com": ("sent", "5"),
                "third@example.com": ("rejected", None),
            },
        )
        self.assertEqual(message.anymail_status.message_id, {None, "5"})
        self.assertIn("message_id", repr(message.anymail_status))

    def test_refused(self):
        self.api_response = [
            result(status="invalid"),
            result("other@example.com", "rejected", reject_reason="hard-bounce"),
        ]
        message = make_message(to=["to@example.com", "other@example.com"])
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"invalid", "rejected"})
        self.send(message, ignore_recipient_status=True)
        with self.assertWarns(DeprecationWarning):
            backend = self.make_backend(fail_silently=True)
        self.assertEqual(backend.send_messages([message]), 0)

    def test_empty_answer(self):
        self.api_response = []
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(make_message())

    def test_api_errors(self):
        error = {
            "status": "error",
            "code": -1,
            "name": "Invalid_Key",
            "message": "Invalid API key: schlüssel",
        }
        for status_code in (401, 500):
            with self.subTest(status_code=status_code):
                self.api_response = make_response(status_code, json_data=error)
                message = make_message()
                with self.assertRaises(AnymailRequestsAPIError) as raised:
                    self.send(message)
                text = str(raised.exception)
                self.assertTrue(text.startswith(f"Mandrill API response {status_code}"), text)
                self.assertIn("Invalid API key: schlüssel", text)
                self.assertNotIn("md-test-key", text)
                self.assertIsNone(message.anymail_status.esp_response)

    def test_other_http_errors(self):
        for body in (b"<html>Gateway</html>", b""):
            self.api_response = make_response(502, body=body)
            with self.assertRaises(AnymailRequestsAPIError) as raised:
                self.send(make_message())
            self.assertIn("Mandrill API response 502", str(raised.exception))
            self.assertIn(body.decode(), str(raised.exception))

    def test_not_json(self):
        self.api_response = make_response(body=b"not JSON")
        message = make_message()
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in Mandrill"):
            self.send(message)
        self.assertIsNotNone(message.anymail_status.esp_response)
        self.assertIsNone(message.anymail_status.status)

    def test_malformed_answers(self):
        for answer in (
            None,
            5,
            "text",
            "",
            {},
            result(),
            [None],
            ["text"],
            [[]],
            [{}],
            [{"email": "to@example.com"}],
            [{"status": "sent"}],
            [result(None)],
            [result(status=None)],
            [result(status=[])],
            [result(_id=[])],
            [result(_id={})],
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(
                    AnymailRequestsAPIError, "Invalid Mandrill API response format"
                ) as raised:
                    self.send(message)
                self.assertIsInstance(raised.exception.__cause__, (KeyError, TypeError))
                self.assertIsNone(message.anymail_status.status)
                self.assertIsNotNone(message.anymail_status.esp_response)

    def test_invalid_address(self):
        with self.assertRaises(AnymailInvalidAddress):
            self.send(make_message(to=["nobody"]))
        self.assert_api_not_called()


@tag("mandrill")
@override_settings(ANYMAIL=MandrillTestCase.settings)
class DebugTests(SimpleTestCase):
    def debug_output(self, answer=None, **attrs):
        def send(adapter, request, **kwargs):
            response = make_response(json_data=[result(echo=json.loads(request.body)["key"])])
            response.request = request
            if answer is not None:
                answer(response)
            return response

        backend = import_string(MandrillTestCase.backend)(debug_api_requests=True)
        with (
            patch("requests.adapters.HTTPAdapter.send", autospec=True, side_effect=send),
            redirect_stdout(StringIO()) as output,
        ):
            backend.send_messages([make_message(**attrs)])
        return output.getvalue()

    def test_api_key_is_not_shown(self):
        output = self.debug_output()
        self.assertIn('"key": "*****"', output)
        self.assertIn('"subject": "Subject"', output)
        self.assertNotIn("md-test-key", output)

    def test_api_key_of_the_message_is_not_shown(self):
        for key in ("other-key", 'odd "kéy"'):
            output = self.debug_output(esp_extra={"key": key})
            self.assertIn('"key": "*****"', output)
            self.assertIn('"echo": "*****"', output)
            self.assertIn('"subject": "Subject"', output)
            self.assertNotIn(key, output)

    def test_no_api_key(self):
        for key in ("", None, 5):
            output = self.debug_output(esp_extra={"key": key})
            self.assertIn(f'{{"key": {json.dumps(key)}, "message": ', output)

    def test_no_body(self):
        # As of a GET that a redirect leads to.
        def without_body(response):
            response.request = requests.Request("GET", "https://example.com/").prepare()

        output = self.debug_output(without_body)
        self.assertIn("GET https://example.com/", output)
