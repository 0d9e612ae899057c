from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from unittest.mock import patch

import requests
from django.test import override_settings, tag

from anymail.backends.unisender_go import EmailBackend, UnisenderGoPayload
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response

API_URL = "https://go2.unisender.example/ru/transactional/api/v1/"


def sent(*addresses: str, failed: dict | None = None, job_id: str = "job-1") -> dict:
    """Return Unisender Go's answer."""
    answer: dict = {"status": "success", "job_id": job_id, "emails": list(addresses)}
    if failed is not None:
        answer["failed_emails"] = failed
    return answer


@tag("unisender_go")
class UnisenderGoTestCase(ApiTestCase):
    backend = "anymail.backends.unisender_go.EmailBackend"
    settings = {"UNISENDER_GO_API_KEY": "test-key", "UNISENDER_GO_API_URL": API_URL}
    api_response = sent("to@example.com")

    def setUp(self):
        super().setUp()
        ids = [f"uuid-{number}" for number in range(1, 10)]
        patcher = patch("anymail.backends.unisender_go.uuid.uuid4", side_effect=ids)
        self.mock_uuid4 = patcher.start()
        self.addCleanup(patcher.stop)

    @property
    def api_message(self):
        self.assertEqual(set(self.api_json), {"message"})
        return self.api_json["message"]

    @property
    def api_recipients(self):
        """The recipients in the last API call, without their ids."""
        recipients = self.api_message["recipients"]
        for recipient in recipients:
            del recipient["metadata"]["anymail_id"]
            if not recipient["metadata"]:
                del recipient["metadata"]
        return recipients

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(UnisenderGoTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called(f"{API_URL}email/send.json")
        self.assertEqual(
            self.api_call["headers"],
            {
                "X-API-KEY": "test-key",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        self.assertEqual(self.api_call["timeout"], 30)

    def test_missing_settings(self):
        for name in ("API_KEY", "API_URL"):
            settings = {**self.settings}
            del settings[f"UNISENDER_GO_{name}"]
            with self.subTest(name), override_settings(ANYMAIL=settings):
                pattern = rf"\bUNISENDER_GO_{name}\b.*\bANYMAIL_UNISENDER_GO_{name}\b"
                with self.assertRaisesRegex(AnymailConfigurationError, pattern):
                    self.make_backend()
                with self.assertRaisesRegex(AnymailInvalidMailer, f"'{name.lower()}'"):
                    self.make_backend(alias="other")

    def test_bare_settings(self):
        with override_settings(
            ANYMAIL={"UNISENDER_GO_API_URL": API_URL}, UNISENDER_GO_API_KEY="bare-key"
        ):
            self.assertEqual(self.make_backend().api_key, "bare-key")
        with (
            override_settings(ANYMAIL={}, UNISENDER_GO_API_KEY="x", UNISENDER_GO_API_URL=API_URL),
            self.assertRaisesRegex(AnymailConfigurationError, "UNISENDER_GO_API_URL"),
        ):
            self.make_backend()

    def test_several_api_keys(self):
        """They are for the webhook. Messages are sent with the first."""
        for keys in (["first", "second"], ("first",)):
            with override_settings(
                ANYMAIL={"UNISENDER_GO_API_KEY": keys, "UNISENDER_GO_API_URL": API_URL}
            ):
                self.assertEqual(self.make_backend().api_key, "first")

    def test_api_url(self):
        self.send(make_message(), api_url="https://go1.unisender.example/api")
        self.assert_api_called("https://go1.unisender.example/api/email/send.json")

    def test_payload_by_itself(self):
        message = make_message(
            subject="Hi",
            body="",
            from_email="News <news@sender.example>",
            to=["Kim <kim@rcpt.example>", "Lee <lee@rcpt.example>"],
            template_id="tpl-1",
            merge_data={"kim@rcpt.example": {"plan": "pro"}, "lee@rcpt.example": {"plan": "free"}},
            merge_global_data={"year": "2031"},
        )
        backend = EmailBackend(api_key="key", api_url=API_URL)
        payload = UnisenderGoPayload(
            message=message, defaults=backend.send_defaults, backend=backend
        )
        self.assertEqual(
            payload.data,
            {
                "from_email": "news@sender.example",
                "from_name": "News",
                "subject": "Hi",
                "template_id": "tpl-1",
                "global_substitutions": {"year": "2031"},
                "headers": {"to": "Kim <kim@rcpt.example>, Lee <lee@rcpt.example>"},
                "recipients": [
                    {
                        "email": "kim@rcpt.example",
                        "substitutions": {"plan": "pro", "to_name": "Kim"},
                    },
                    {
                        "email": "lee@rcpt.example",
                        "substitutions": {"plan": "free", "to_name": "Lee"},
                    },
                ],
            },
        )
        self.assertEqual(payload.data["headers"]["TO"], payload.data["headers"]["to"])


class MessageTests(UnisenderGoTestCase):
    def test_addresses(self):
        self.send(
            make_message(
                from_email='"Företag, AB" <from@bücher.example>',
                to=["Zoë <zoe@bücher.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["Hidden <bcc@example.com>"],
                reply_to=["reply@bücher.example"],
            )
        )
        message = self.api_message
        self.assertEqual(message["from_email"], "from@xn--bcher-kva.example")
        self.assertEqual(message["from_name"], "Företag, AB")
        self.assertEqual(message["reply_to"], "reply@xn--bcher-kva.example")
        self.assertNotIn("reply_to_name", message)
        self.assertEqual(
            message["headers"],
            {
                "to": "=?utf-8?q?Zo=C3=AB?= <zoe@xn--bcher-kva.example>, to@example.com",
                "cc": "Cc <cc@example.com>, cc2@example.com",
            },
        )
        self.assertEqual(
            self.api_recipients,
            [
                {"email": "zoe@xn--bcher-kva.example", "substitutions": {"to_name": "Zoë"}},
                {"email": "to@example.com"},
                {"email": "cc@example.com", "substitutions": {"to_name": "Cc"}},
                {"email": "cc2@example.com"},
                {"email": "bcc@example.com", "substitutions": {"to_name": "Hidden"}},
            ],
        )

    def test_eai_local_part_is_left_to_unisender_go(self):
        self.send(make_message(to=["zoë@example.com"]))
        self.assertEqual(self.api_recipients, [{"email": "zoë@example.com"}])

    def test_display_names_in_headers(self):
        for name, expected in (
            ("Ann", "Ann <ann@rcpt.example>"),
            ("Ann (HR)", '"Ann (HR)" <ann@rcpt.example>'),
            ("Acme Inc.", '"Acme Inc." <ann@rcpt.example>'),
            ("Bob, Jr.", "=?utf-8?q?Bob=2C_Jr=2E?= <ann@rcpt.example>"),
            ("before<after", "=?utf-8?q?before=3Cafter?= <ann@rcpt.example>"),
            ("before>after", "=?utf-8?q?before=3Eafter?= <ann@rcpt.example>"),
            ("before@after", "=?utf-8?q?before=40after?= <ann@rcpt.example>"),
            ("Zoë, Q", "=?utf-8?b?Wm/DqywgUQ==?= <ann@rcpt.example>"),
            ("Zoë", "=?utf-8?q?Zo=C3=AB?= <ann@rcpt.example>"),
        ):
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            for field in ("to", "cc"):
                with self.subTest(name=name, field=field):
                    self.mock_uuid4.side_effect = iter("12")
                    self.send(make_message(**{field: [f'"{quoted}" <ann@rcpt.example>']}))
                    self.assertEqual(self.api_message["headers"][field], expected)
                    self.assertEqual(
                        self.api_message["recipients"][-1]["substitutions"], {"to_name": name}
                    )

    def test_display_names_without_workaround(self):
        for name, expected in (
            ("Bob, Jr.", '"Bob, Jr." <ann@rcpt.example>'),
            ("a<b@c>", '"a<b@c>" <ann@rcpt.example>'),
            ("Zoë, Q", "=?utf-8?b?Wm/DqywgUQ==?= <ann@rcpt.example>"),
        ):
            with self.subTest(name):
                message = make_message(to=[f'"{name}" <ann@rcpt.example>'])
                self.send(message, workaround_display_name_bugs=False)
                self.assertEqual(self.api_message["headers"]["to"], expected)

    def test_reply_to_name(self):
        for name, expected in (
            ("Acme", "Acme"),
            ("Acme & Co", "Acme & Co"),
            ("Acme Inc.", "=?utf-8?q?Acme_Inc=2E?="),
            *(
                (f"before{char}after", f"=?utf-8?q?before={ord(char):02X}after?=")
                for char in '()<>@,:;.[]\\"'
            ),
            ("Zoë", "=?utf-8?q?Zo=C3=AB?="),
        ):
            quoted = name.replace("\\", "\\\\").replace('"', '\\"')
            with self.subTest(name):
                self.mock_uuid4.side_effect = iter("12")
                message = make_message(reply_to=[f'"{quoted}" <reply@example.com>'])
                self.send(message)
                self.assertEqual(self.api_message["reply_to"], "reply@example.com")
                self.assertEqual(self.api_message["reply_to_name"], expected)
                self.send(message, workaround_display_name_bugs=False)
                self.assertEqual(self.api_message["reply_to_name"], name)

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "X-Custom": "Grüße",
                    "X-ascii": "ascii, text",
                    "X-Num": 123,
                    "X-Float": 1.5,
                }
            )
        )
        self.assertEqual(
            self.api_message["headers"],
            {
                "to": "to@example.com",
                "X-Custom": "=?utf-8?b?R3LDvMOfZQ==?=",
                "X-ascii": "ascii, text",
                "X-Num": 123,
                "X-Float": 1.5,
            },
        )

    def test_cc_header(self):
        self.send(make_message(cc=["cc@example.com"], headers={"Cc": "Shown <shown@example.com>"}))
        self.assertEqual(
            self.api_message["headers"], {"to": "to@example.com", "Cc": "Shown <shown@example.com>"}
        )

    def test_unserializable_header(self):
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(make_message(headers={"X-Price": Decimal("12.5")}))
        self.assertIn("Don't know how to send this data to Unisender Go", str(raised.exception))
        self.assertIn("Decimal is not JSON serializable", str(raised.exception))
        self.assert_api_not_called()

    def test_empty_content(self):
        message = make_message(subject="", body="")
        self.send(message)
        self.assertEqual(set(self.api_message), {"from_email", "headers", "recipients"})
        message.subject = message.from_email = message.body = None
        self.send(message)
        self.assertEqual(set(self.api_message), {"headers", "recipients"})

    def test_amp(self):
        message = make_message()
        message.attach_alternative("<html amp4email>", "TEXT/x-amp-html")
        self.send(message)
        self.assertEqual(
            self.api_message["body"], {"plaintext": "Text body", "amp": "<html amp4email>"}
        )

    def test_send_at(self):
        minus5 = timezone(timedelta(hours=-5))
        for send_at, expected in (
            (datetime(2031, 5, 6, 23, 8, 9, 999999, minus5), "2031-05-07 04:08:09"),
            (datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc), "2031-05-06 07:08:09"),
            (1935904089.9, "2031-05-07 07:08:09"),
            ("2031-05-06 07:08", "2031-05-06 07:08"),
        ):
            with self.subTest(send_at=send_at):
                self.send(make_message(send_at=send_at))
                self.assertEqual(self.api_message["options"], {"send_at": expected})

    @override_settings(TIME_ZONE="Asia/Kolkata", USE_TZ=True)
    def test_send_at_in_current_time_zone(self):
        self.send(make_message(send_at=datetime(2031, 5, 6, 7, 8, 9)))  # noqa: DTZ001
        self.assertEqual(self.api_message["options"]["send_at"], "2031-05-06 01:38:09")
        self.send(make_message(send_at=date(2031, 5, 6)))
        self.assertEqual(self.api_message["options"]["send_at"], "2031-05-05 18:30:00")

    def test_tracking(self):
        for value, number in ((True, 1), (False, 0)):
            self.send(make_message(track_clicks=value, track_opens=not value))
            self.assertEqual(self.api_message["track_links"], number)
            self.assertEqual(self.api_message["track_read"], 1 - number)
            self.assertNotIsInstance(self.api_message["track_links"], bool)

    def test_empty_values_are_sent(self):
        self.send(make_message(tags=[], metadata={}, merge_global_data={}, template_id=""))
        message = self.api_message
        self.assertEqual(
            [
                message[k]
                for k in ("tags", "global_metadata", "global_substitutions", "template_id")
            ],
            [[], {}, {}, ""],
        )

    def test_esp_extra(self):
        send_at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
        extra = {
            "skip_unsubscribe": 1,
            "options": {"unsubscribe_url": "https://example.com/u", "send_at": "other"},
            "headers": {"x-own": "Grüße", "X-Other": "2"},
            "tags": ["replaced"],
        }
        self.send(
            make_message(send_at=send_at, tags=["one"], headers={"X-Own": "1"}, esp_extra=extra),
            send_defaults={"esp_extra": {"options": {"smtp_pool_id": "pool", "send_at": "x"}}},
        )
        message = self.api_message
        self.assertEqual(message["skip_unsubscribe"], 1)
        self.assertEqual(message["tags"], ["replaced"])
        self.assertEqual(
            message["options"],
            {
                "smtp_pool_id": "pool",
                "unsubscribe_url": "https://example.com/u",
                "send_at": "other",
            },
        )
        # Any case, and as they are.
        self.assertEqual(
            message["headers"], {"to": "to@example.com", "x-own": "Grüße", "X-Other": "2"}
        )

    def test_recipients_in_esp_extra(self):
        recipients = [
            {"email": "a@example.com", "metadata": {"own": 1}},
            {"email": "b@example.com", "metadata": None},
        ]
        self.api_response = sent("a@example.com", "b@example.com")
        status = self.send(make_message(esp_extra={"recipients": recipients}))
        self.assertEqual(
            self.api_message["recipients"],
            [
                {"email": "a@example.com", "metadata": {"own": 1, "anymail_id": "uuid-1"}},
                {"email": "b@example.com", "metadata": {"anymail_id": "uuid-2"}},
            ],
        )
        self.assertEqual(recipients[0]["metadata"], {"own": 1})
        self.assertEqual(status.recipients["b@example.com"].message_id, "uuid-2")

    def test_line_breaks_in_esp_extra(self):
        for extra in (
            {"subject": "a\r\nb: c"},
            {"from_name": "a\r\nb: c"},
            {"reply_to_name": "a\r\nb: c"},
            {"headers": {"X-Own": "a\nb"}},
            {"headers": {"X-Own\r\nBcc": "a"}},
        ):
            with self.subTest(extra=extra), self.assertRaisesRegex(AnymailInvalidHeader, "extra"):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()

    def test_other_types_in_esp_extra(self):
        for extra in (
            {"headers": None},
            {"headers": ["X-Own: 1"]},
            {"recipients": {"email": "a@example.com"}},
            {"recipients": ["a@example.com"]},
            {"recipients": [{"address": "a@example.com"}]},
            {"recipients": [{"email": None}]},
        ):
            [name] = extra
            with self.subTest(extra=extra), self.assertRaisesRegex(TypeError, f"'{name}'"):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()


class MessageIdTests(UnisenderGoTestCase):
    def test_one_id_for_each_address(self):
        self.api_response = sent("A@example.com", "b@example.com", "c@example.com")
        status = self.send(
            make_message(
                to=["A@example.com", "b@example.com"], cc=["a@EXAMPLE.com"], bcc=["c@example.com"]
            )
        )
        self.assertEqual(
            [item["metadata"]["anymail_id"] for item in self.api_message["recipients"]],
            ["uuid-1", "uuid-2", "uuid-1", "uuid-3"],
        )
        self.assertEqual(self.mock_uuid4.call_count, 3)
        self.assertEqual(status.message_id, {"uuid-1", "uuid-2", "uuid-3"})

    def test_id_in_metadata_is_replaced(self):
        metadata = {"anymail_id": "mine", "a": 1}
        self.send(make_message(merge_metadata={"to@example.com": metadata}))
        [recipient] = self.api_message["recipients"]
        self.assertEqual(recipient["metadata"], {"anymail_id": "uuid-1", "a": 1})
        self.assertEqual(metadata["anymail_id"], "mine")

    def test_uuids_are_text(self):
        self.mock_uuid4.side_effect = [12345]
        self.assertEqual(self.send(make_message()).message_id, "12345")

    def test_without_generated_ids(self):
        self.api_response = sent("a@example.com", "b@example.com")
        message = make_message(
            to=["a@example.com", "b@example.com"], merge_metadata={"a@example.com": {"order": 1}}
        )
        status = self.send(message, generate_message_id=False)
        self.assertEqual(
            self.api_message["recipients"],
            [{"email": "a@example.com", "metadata": {"order": 1}}, {"email": "b@example.com"}],
        )
        self.assertEqual(status.message_id, "job-1")
        self.mock_uuid4.assert_not_called()
        with override_settings(
            ANYMAIL={**self.settings, "UNISENDER_GO_GENERATE_MESSAGE_ID": False}
        ):
            self.assertEqual(self.send(message).message_id, "job-1")


class BatchTests(UnisenderGoTestCase):
    def test_batch(self):
        self.send(
            make_message(
                subject="Hi {{first}}",
                to=["kim@bücher.example", "Lee <lee@rcpt.example>"],
                bcc=["bcc@rcpt.example"],
                headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
                metadata={"run": 12},
                merge_global_data={"season": "autumn"},
                merge_data={
                    "kim@Bücher.Example": {"first": "Kim"},
                    "lee@rcpt.example": {"first": "L."},
                    "nobody@rcpt.example": {"first": "?"},
                },
                merge_metadata={"kim@bücher.example": {"crm": 88}, "nobody@rcpt.example": {"x": 1}},
                merge_headers={
                    "kim@bücher.example": {"LIST-unsubscribe": "<https://u.example/ü>"},
                    "nobody@rcpt.example": {"X-Other": "ignored"},
                },
            )
        )
        self.assertEqual(
            self.api_message,
            {
                "from_email": "from@example.com",
                "subject": "Hi {{first}}",
                "body": {"plaintext": "Text body"},
                "headers": {
                    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                    "List-Unsubscribe": "{{Header__List_Unsubscribe}}",
                },
                "global_metadata": {"run": 12},
                "global_substitutions": {"season": "autumn"},
                "recipients": [
                    {
                        "email": "kim@xn--bcher-kva.example",
                        "substitutions": {
                            "first": "Kim",
                            "Header__List_Unsubscribe": "<https://u.example/ü>",
                        },
                        "metadata": {"crm": 88, "anymail_id": "uuid-1"},
                    },
                    {
                        "email": "lee@rcpt.example",
                        "substitutions": {"to_name": "Lee", "first": "L."},
                        "metadata": {"anymail_id": "uuid-2"},
                    },
                    {"email": "bcc@rcpt.example", "metadata": {"anymail_id": "uuid-3"}},
                ],
            },
        )

    def test_no_headers_in_batch(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            self.send(make_message(**{attr: {}}))
            self.assertNotIn("headers", self.api_message)
        self.send(make_message(merge_global_data={"a": 1}))
        self.assertEqual(self.api_message["headers"], {"to": "to@example.com"})

    def test_to_name_in_merge_data(self):
        self.send(
            make_message(
                to=["Ann <to@example.com>"], merge_data={"to@example.com": {"to_name": "A"}}
            )
        )
        self.assertEqual(self.api_recipients[0]["substitutions"], {"to_name": "A"})

    def test_line_break_in_to_name(self):
        message = make_message(
            merge_data={"to@example.com": {"to_name": "A\r\nBcc: b@example.com"}}
        )
        with self.assertRaisesRegex(AnymailInvalidHeader, "to_name"):
            self.send(message)
        self.assert_api_not_called()

    def test_merge_data_for_cc_and_bcc(self):
        self.send(
            make_message(bcc=["bcc@example.com"], merge_data={"bcc@example.com": {"first": "B"}})
        )
        self.assertEqual(
            self.api_recipients,
            [
                {"email": "to@example.com"},
                {"email": "bcc@example.com", "substitutions": {"first": "B"}},
            ],
        )

    def test_cc_in_batch(self):
        message = make_message(cc=["cc@example.com"], merge_metadata={})
        feature = "cc with batch send (merge_data, merge_metadata, or merge_headers)"
        self.assert_unsupported(message, feature)
        self.send(message, ignore_unsupported_features=True)
        self.assertNotIn("headers", self.api_message)
        self.assertEqual(
            self.api_recipients, [{"email": "to@example.com"}, {"email": "cc@example.com"}]
        )

    def test_cc_header_in_batch(self):
        message = make_message(headers={"CC": "shown@example.com"}, merge_metadata={})
        self.assert_unsupported(message, "cc with batch send")

    def test_merge_headers_of_some_recipients(self):
        self.send(
            make_message(
                to=["a@example.com", "B <b@example.com>", "c@example.com"],
                headers={"list-unsubscribe": "<mailto:all@example.com>"},
                merge_headers={"a@example.com": {"List-Unsubscribe": "<https://u.example/a>"}},
            )
        )
        self.assertEqual(
            self.api_message["headers"], {"List-Unsubscribe": "{{Header__List_Unsubscribe}}"}
        )
        self.assertEqual(
            [item["substitutions"] for item in self.api_recipients],
            [
                {"Header__List_Unsubscribe": "<https://u.example/a>"},
                {"to_name": "B", "Header__List_Unsubscribe": "<mailto:all@example.com>"},
                {"Header__List_Unsubscribe": "<mailto:all@example.com>"},
            ],
        )

    def test_merge_headers_of_nobody(self):
        self.send(
            make_message(
                headers={"List-Unsubscribe": "<mailto:all@example.com>"},
                merge_headers={"x@example.com": {"List-Unsubscribe": "<https://u.example/x>"}},
            )
        )
        self.assertEqual(
            self.api_message["headers"], {"List-Unsubscribe": "<mailto:all@example.com>"}
        )
        self.assertEqual(self.api_recipients, [{"email": "to@example.com"}])

    def test_other_merge_headers(self):
        message = make_message(
            merge_headers={"to@example.com": {"x-other": "1", "list-unsubscribe": "<https://u>"}}
        )
        self.assert_unsupported(message, "'X-Other' in merge_headers")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(
            self.api_message["headers"], {"List-Unsubscribe": "{{Header__List_Unsubscribe}}"}
        )
        self.assertEqual(
            self.api_recipients[0]["substitutions"], {"Header__List_Unsubscribe": "<https://u>"}
        )
        message.merge_headers = {"to@example.com": {"X-Other": "1"}}
        self.send(message, ignore_unsupported_features=True)
        self.assertNotIn("headers", self.api_message)
        self.assertEqual(self.api_recipients, [{"email": "to@example.com"}])

    def test_unserializable_merge_header(self):
        message = make_message(merge_headers={"to@example.com": {"List-Unsubscribe": Decimal(1)}})
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
            self.send(message)
        self.assert_api_not_called()

    def test_callers_dicts_are_not_modified(self):
        attrs = {
            "merge_data": {"to@example.com": {"a": {"b": 1}}},
            "merge_metadata": {"to@example.com": {"c": 2}},
            "merge_headers": {"to@example.com": {"List-Unsubscribe": "<https://u>"}},
            "headers": {"X-Own": "1"},
        }
        before = json.dumps(attrs)
        # One of them twice
        message = make_message(to=["to@example.com", "Name <to@example.com>"], **attrs)
        self.send(message)
        self.assertEqual(json.dumps(attrs), before)
        first, second = self.api_recipients
        self.assertEqual(first["metadata"], second["metadata"])
        self.assertEqual(second["substitutions"], {**first["substitutions"], "to_name": "Name"})


class UnsupportedFeatureTests(UnisenderGoTestCase):
    def test_multiple_amp_parts(self):
        message = make_message()
        message.attach_alternative("<html amp4email>1", "text/x-amp-html")
        message.attach_alternative("<html amp4email>2", "text/x-amp-html")
        self.assert_unsupported(message, "multiple amp-html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_message["body"]["amp"], "<html amp4email>2")

    def test_multiple_html_parts(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_message["body"]["html"], "<p>1</p>")

    def test_multiple_text_parts(self):
        message = make_message()
        message.attach_alternative("2", "text/plain")
        self.assert_unsupported(message, "multiple plaintext parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_message["body"], {"plaintext": "Text body"})

    def test_from_header(self):
        message = make_message(
            from_email="Other <from@example.com>", headers={"From": "header@example.com"}
        )
        self.assert_unsupported(message, "envelope_sender")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_message["from_email"], "header@example.com")
        self.assertNotIn("from_name", self.api_message)

    def test_multiple_from(self):
        message = make_message(from_email="a@example.com, b@example.com")
        self.assert_unsupported(message, "multiple from emails")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.api_message["from_email"], "a@example.com")


class StatusTests(UnisenderGoTestCase):
    def statuses(self, message, **options):
        recipients = self.send(message, **options).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_queued(self):
        status = self.send(make_message())
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "uuid-1")
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_reasons(self):
        expected = {
            "invalid": "invalid",
            "permanent_unavailable": "rejected",
            "unsubscribed": "rejected",
            "temporary_unavailable": "failed",
            "complained": "failed",
            "blocked": "failed",
            "something_new": "failed",
        }
        failed = {f"{reason}@example.com": reason for reason in expected}
        self.api_response = sent("ok@example.com", failed={**failed, "ok@example.com": "duplicate"})
        status = self.send(make_message(to=["ok@example.com", *failed]))
        self.assertEqual(
            {addr: (item.status, item.message_id) for addr, item in status.recipients.items()},
            {
                "ok@example.com": ("queued", "uuid-1"),
                **{f"{reason}@example.com": (word, None) for reason, word in expected.items()},
            },
        )
        repr(status)

    def test_failed_overrides_sent(self):
        self.api_response = sent(
            "to@example.com", "b@example.com", failed={"to@example.com": "invalid"}
        )
        message = make_message(to=["to@example.com", "b@example.com"])
        self.assertEqual(
            self.statuses(message),
            {"to@example.com": ("invalid", None), "b@example.com": ("queued", "uuid-2")},
        )

    def test_as_the_caller_wrote_it(self):
        self.api_response = sent(
            "ann@xn--bcher-kva.example", failed={"BO@example.com": "temporary_unavailable"}
        )
        message = make_message(to=["Ann <ann@Bücher.example>", "Bo@Example.com"])
        self.assertEqual(
            self.statuses(message),
            {"ann@Bücher.example": ("queued", "uuid-1"), "Bo@Example.com": ("failed", None)},
        )

    def test_ids_in_any_case(self):
        self.api_response = sent("TO@example.com")
        self.assertEqual(
            self.statuses(make_message(to=["To@Example.com"])),
            {"To@Example.com": ("queued", "uuid-1")},
        )

    def test_unknown_address(self):
        self.api_response = sent("other@example.com")
        self.assertEqual(self.statuses(make_message()), {"other@example.com": ("queued", "job-1")})

    def test_without_job_id(self):
        self.api_response = {"status": "success", "emails": ["to@example.com"]}
        self.assertEqual(self.statuses(make_message()), {"to@example.com": ("queued", "uuid-1")})

    def test_all_refused(self):
        failed = {"a@example.com": "invalid", "b@example.com": "unsubscribed"}
        self.api_response = sent(failed=failed)
        message = make_message(to=list(failed))
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"invalid", "rejected"})
        self.assertEqual(self.send(message, ignore_recipient_status=True).message_id, None)

    def test_no_recipients_in_answer(self):
        self.api_response = sent()
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(make_message())

    def test_http_error(self):
        self.api_response = make_response(
            403,
            json_data={"status": "error", "code": 114, "message": "User with id 123 not found"},
        )
        message = make_message()
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(message)
        self.assertTrue(str(raised.exception).startswith("Unisender Go API response 403"))
        self.assertIn("User with id 123 not found", str(raised.exception))
        self.assertIsNone(message.anymail_status.status)

    def test_malformed_answers(self):
        for answer in (
            None,
            "text",
            12,
            [],
            [sent("to@example.com")],
            {},
            {"status": "success", "job_id": "x"},
            {"emails": None},
            {"emails": "to@example.com"},
            {"emails": {"to@example.com": 1}},
            {"emails": [["to@example.com"]]},
            {**sent("to@example.com"), "failed_emails": None},
            {**sent("to@example.com"), "failed_emails": ["a@example.com"]},
            {**sent("to@example.com"), "failed_emails": {"a@example.com": None}},
            {**sent("to@example.com"), "failed_emails": {"a@example.com": ["invalid"]}},
            {**sent("to@example.com"), "job_id": 12},
            {**sent("to@example.com"), "job_id": ["x"]},
        ):
            is_accepted = isinstance(answer, dict) and answer.get("emails") == ["to@example.com"]
            with self.subTest(answer=answer):
                self.mock_uuid4.side_effect = iter("1")
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                    self.send(message)
                self.assertEqual(message.anymail_status.status, {"queued"} if is_accepted else None)
                self.assertIsNotNone(message.anymail_status.esp_response)
