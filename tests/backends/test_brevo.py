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
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from tests.utils import ApiTestCase, make_message, make_response


@tag("brevo")
class BrevoTestCase(ApiTestCase):
    backend = "anymail.backends.brevo.EmailBackend"
    settings = {"BREVO_API_KEY": "test-key"}
    api_response = make_response(201, json_data={"messageId": "<id@smtp-relay.mailin.fr>"})

    def assert_unsupported(self, message, feature, **options):
        self.mock_request.reset_mock()
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(f"Brevo does not support {feature}", str(raised.exception))
        self.assert_api_not_called()

    def sent_json(self, message, **options):
        self.send(message, **options)
        return self.api_json


class SettingsTests(BrevoTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.brevo.com/v3/smtp/email")
        self.assertEqual(
            self.api_call["headers"], {"api-key": "test-key", "Content-Type": "application/json"}
        )

    @override_settings(ANYMAIL={"SENDINBLUE_API_KEY": "other"})
    def test_missing_key(self):
        pattern = r"\bBREVO_API_KEY.*ANYMAIL_BREVO_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, BREVO_API_KEY="bare-key")
    def test_bare_key(self):
        self.assertEqual(self.make_backend().api_key, "bare-key")

    def test_api_url(self):
        self.send(make_message(), api_url="https://brevo.example.com/base")
        self.assert_api_called("https://brevo.example.com/base/smtp/email")


class MessageTests(BrevoTestCase):
    def test_body_is_ascii(self):
        self.send(make_message(subject="Grüße"))
        self.assertIn('"Gr\\u00fc\\u00dfe"', self.api_call["data"])

    def test_empty_parts_are_left_to_the_template(self):
        message = EmailMessage("", "", "from@example.com", ["to@example.com"])
        self.assertEqual(
            self.sent_json(message),
            {"sender": {"email": "from@example.com"}, "to": [{"email": "to@example.com"}]},
        )
        message.content_subtype = "html"
        self.assertNotIn("htmlContent", self.sent_json(message))
        message = make_message(template_id=5)
        message.subject = message.body = message.from_email = None
        self.assertEqual(
            self.sent_json(message), {"to": [{"email": "to@example.com"}], "templateId": 5}
        )

    def test_addresses(self):
        data = self.sent_json(
            make_message(
                from_email='"From, Inc." <from@příklad.example>',
                to=["Žofie <žofie@příklad.example>", "to@example.com"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["bcc@example.com"],
                reply_to=["Reply <reply@example.com>"],
            )
        )
        self.assertEqual(
            data["sender"], {"email": "from@xn--pklad-zsa96e.example", "name": "From, Inc."}
        )
        self.assertEqual(
            data["to"],
            [
                {"email": "žofie@xn--pklad-zsa96e.example", "name": "Žofie"},
                {"email": "to@example.com"},
            ],
        )
        self.assertEqual(
            data["cc"], [{"email": "cc@example.com", "name": "Cc"}, {"email": "cc2@example.com"}]
        )
        self.assertEqual(data["bcc"], [{"email": "bcc@example.com"}])
        self.assertEqual(data["replyTo"], {"email": "reply@example.com", "name": "Reply"})

    def test_display_name_workaround(self):
        names = {
            "Žofie, účtárna": "=?utf-8?b?xb1vZmllLCDDusSNdMOhcm5h?=",
            "Renée van den Berg, sales": "=?utf-8?q?Ren=C3=A9e_van_den_Berg=2C_sales?=",
            "Café, Lyon": "=?utf-8?b?Q2Fmw6ksIEx5b24=?=",
            "Smith, Jo": "Smith, Jo",
            "Renée van den Berg": "Renée van den Berg",
            "Zoë (private)": "=?utf-8?b?Wm/DqyAocHJpdmF0ZSk=?=",
        }
        for name, expected in names.items():
            with self.subTest(name=name):
                address = f'"{name}" <a@example.com>'
                message = make_message(
                    from_email=address,
                    to=[address],
                    cc=[address],
                    bcc=[address],
                    reply_to=[address],
                )
                data = self.sent_json(message)
                wanted = {"email": "a@example.com", "name": expected}
                self.assertEqual(data["sender"], wanted)
                self.assertEqual(data["replyTo"], wanted)
                self.assertEqual([data["to"], data["cc"], data["bcc"]], [[wanted]] * 3)
                message.merge_data = {}
                [version] = self.sent_json(message)["messageVersions"]
                self.assertEqual(version["to"], [wanted])
                data = self.sent_json(message, workaround_display_name_bugs=False)
                self.assertEqual(data["sender"], {"email": "a@example.com", "name": name})

    @override_settings(ANYMAIL={"BREVO_API_KEY": "k", "BREVO_WORKAROUND_DISPLAY_NAME_BUGS": False})
    def test_workaround_setting(self):
        data = self.sent_json(make_message(to=['"Café, Lyon" <a@example.com>']))
        self.assertEqual(data["to"], [{"email": "a@example.com", "name": "Café, Lyon"}])

    def test_headers(self):
        data = self.sent_json(
            make_message(
                headers={
                    "X-Custom": "custom",
                    "X-Int": 12,
                    "X-Float": 1.5,
                    "X-Bool": True,
                    "Message-ID": "<mine@example.com>",
                    "x-custom": "later",
                    "sender.ip": "192.0.2.1",
                    "idempotencyKey": "abc",
                },
            )
        )
        self.assertEqual(
            data["headers"],
            {
                "x-custom": "later",
                "X-Int": "12",
                "X-Float": "1.5",
                "X-Bool": "True",
                "Message-ID": "<mine@example.com>",
                "sender.ip": "192.0.2.1",
                "idempotencyKey": "abc",
            },
        )

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(message)
        self.assertIn("Don't know how to send this data to Brevo", str(raised.exception))
        self.assertRegex(str(raised.exception), r"Decimal.*is not JSON serializable")
        self.assert_api_not_called()

    def test_empty_metadata_is_sent(self):
        data = self.sent_json(make_message(metadata={}))
        self.assertEqual(data["headers"], {"X-Mailin-custom": "{}"})

    def test_metadata_replaces_header(self):
        data = self.sent_json(make_message(metadata={"a": 1}, headers={"x-mailin-CUSTOM": "mine"}))
        self.assertEqual(data["headers"], {"X-Mailin-custom": '{"a": 1}'})

    def test_metadata_cannot_add_headers(self):
        data = self.sent_json(make_message(metadata={"a": "b\r\nBcc: x@example.com"}))
        self.assertEqual(data["headers"], {"X-Mailin-custom": '{"a": "b\\r\\nBcc: x@example.com"}'})

    def test_send_at(self):
        pacific = timezone(timedelta(hours=-8))
        cases = [
            (datetime(2031, 3, 4, 5, 6, 7, 8999, pacific), "2031-03-04T05:06:07.008-08:00"),
            (datetime(2031, 3, 4, 5, 6, 7, tzinfo=timezone.utc), "2031-03-04T05:06:07.000+00:00"),
            (1930000000, "2031-02-27T23:06:40.000+00:00"),
            (1930000000.1239, "2031-02-27T23:06:40.123+00:00"),
            ("2031-03-04T05:06:07Z", "2031-03-04T05:06:07Z"),
        ]
        for send_at, expected in cases:
            with self.subTest(send_at=send_at):
                data = self.sent_json(make_message(send_at=send_at))
                self.assertEqual(data["scheduledAt"], expected)

    @override_settings(TIME_ZONE="America/Los_Angeles", USE_TZ=True)
    def test_send_at_in_current_time_zone(self):
        data = self.sent_json(make_message(send_at=datetime(2031, 3, 4, 5, 6, 7)))  # noqa: DTZ001
        self.assertEqual(data["scheduledAt"], "2031-03-04T05:06:07.000-08:00")
        data = self.sent_json(make_message(send_at=date(2031, 7, 4)))
        self.assertEqual(data["scheduledAt"], "2031-07-04T00:00:00.000-07:00")

    def test_send_at_with_isoformat_of_its_own(self):
        class Time:
            def isoformat(self, timespec="auto"):
                return f"time in {timespec}"

        data = self.sent_json(make_message(send_at=Time()))
        self.assertEqual(data["scheduledAt"], "time in milliseconds")

    def test_template_id(self):
        for template_id in (12, "12", 0):
            data = self.sent_json(make_message(template_id=template_id))
            self.assertEqual(data["templateId"], template_id)

    def test_merge_global_data(self):
        data = self.sent_json(make_message(merge_global_data={"shop": "Café"}))
        self.assertEqual(data["params"], {"shop": "Café"})
        self.assertEqual(data["to"], [{"email": "to@example.com"}])
        self.assertNotIn("messageVersions", data)
        self.assertEqual(self.sent_json(make_message(merge_global_data={}))["params"], {})

    def test_esp_extra(self):
        data = self.sent_json(
            make_message(
                tags=["a"],
                metadata={"a": 1},
                merge_global_data={"a": 1},
                esp_extra={
                    "batchId": "5",
                    "tags": ["b"],
                    "headers": {"X-Sib-Sandbox": "drop"},
                    "params": {"b": 2},
                    "to": [{"email": "other@example.com"}],
                },
            )
        )
        self.assertEqual(data["batchId"], "5")
        self.assertEqual(data["tags"], ["b"])
        self.assertEqual(data["headers"], {"X-Sib-Sandbox": "drop"})
        self.assertEqual(data["params"], {"b": 2})
        self.assertEqual(data["to"], [{"email": "other@example.com"}])

    def test_esp_extra_can_remove_headers(self):
        for headers in ({}, None):
            message = make_message(metadata={"a": 1}, esp_extra={"headers": headers})
            self.assertNotIn("headers", self.sent_json(message))

    def test_esp_extra_cannot_inject_headers(self):
        for extra in (
            {"headers": {"X-A": "b\r\nBcc: x@example.com"}},
            {"headers": {"X-A\r\nBcc": "x@example.com"}},
            {"subject": "a\nBcc: x@example.com"},
        ):
            with (
                self.subTest(extra=extra),
                self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"),
            ):
                self.send(make_message(esp_extra=extra))
        self.assert_api_not_called()

    def test_esp_extra_is_not_modified(self):
        extra = {"params": {"a": 1}, "tags": ["x"]}
        self.send(make_message(esp_extra=extra, merge_data={}))
        self.assertEqual(extra, {"params": {"a": 1}, "tags": ["x"]})


class HtmlFromTextTests(BrevoTestCase):
    def html(self, text, **options):
        return self.sent_json(make_message(body=text), html_from_text=True, **options)[
            "htmlContent"
        ]

    def test_setting(self):
        self.assertNotIn("htmlContent", self.sent_json(make_message()))
        with override_settings(ANYMAIL={**self.settings, "BREVO_HTML_FROM_TEXT": True}):
            data = self.sent_json(make_message(body="Text"))
        self.assertEqual((data["textContent"], data["htmlContent"]), ("Text", "<p>Text</p>"))

    def test_only_if_there_is_nothing_else(self):
        with_html = make_message(alternatives=[("<p>HTML", "text/html")])
        self.assertEqual(self.sent_json(with_html, html_from_text=True)["htmlContent"], "<p>HTML")
        for attrs in ({"template_id": 77}, {"esp_extra": {"templateId": 77}}, {"body": ""}):
            with self.subTest(attrs):
                data = self.sent_json(make_message(**attrs), html_from_text=True)
                self.assertNotIn("htmlContent", data)

    def test_batch(self):
        data = self.sent_json(make_message(body="Text", merge_data={}), html_from_text=True)
        self.assertEqual(data["htmlContent"], "<p>Text</p>")

    def test_error(self):
        answer = {
            "code": "missing_parameter",
            "message": "Either of htmlContent or templateId is missing",
        }
        self.api_response = make_response(400, json_data=answer)
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(make_message())
        text = str(raised.exception)
        for part in ("HTML alternative", "BREVO_HTML_FROM_TEXT", "esps/brevo.html#brevo-html"):
            self.assertIn(part, text)
        self.assertIn("Brevo API response 400", text)


class UnsupportedFeatureTests(BrevoTestCase):
    def test_non_ascii_header(self):
        message = make_message(headers={"X-Name": "Žofie"})
        self.assert_unsupported(message, "non-ASCII characters in 'X-Name' header")
        for options in (
            {"ignore_unsupported_features": True},
            {"prevent_header_encoding_bugs": False},
        ):
            with self.subTest(options=options):
                data = self.sent_json(message, **options)
                self.assertEqual(data["headers"], {"X-Name": "Žofie"})

    def test_non_ascii_metadata(self):
        for metadata in (
            {"name": "Žofie"},
            {"jméno": "Zofie"},
            {"nested": {"list": ["a", "😀"]}},
            {"control": "\x01"},
            {"path": "C:\\Žofie"},
        ):
            with self.subTest(metadata=metadata):
                message = make_message(metadata=metadata)
                self.assert_unsupported(message, "non-ASCII characters in metadata")
                for options in (
                    {"ignore_unsupported_features": True},
                    {"prevent_header_encoding_bugs": False},
                ):
                    custom = self.sent_json(message, **options)["headers"]["X-Mailin-custom"]
                    self.assertTrue(custom.isascii())
                    self.assertEqual(json.loads(custom), metadata)

    def test_backslashes_are_ascii(self):
        for value in ("C:\\users", "\\u00e9", "\\\\u", "\\"):
            with self.subTest(value=value):
                data = self.sent_json(
                    make_message(
                        metadata={"path": value},
                        headers={"X-Path": value},
                        merge_metadata={"to@example.com": {"own": value}},
                        merge_headers={"to@example.com": {"X-Own": value}},
                    )
                )
                self.assertEqual(data["headers"]["X-Path"], value)
                self.assertEqual(json.loads(data["headers"]["X-Mailin-custom"]), {"path": value})
                [version] = data["messageVersions"]
                self.assertEqual(version["headers"]["X-Own"], value)

    def test_non_ascii_merge_metadata(self):
        message = make_message(merge_metadata={"to@example.com": {"name": "Žofie"}})
        self.assert_unsupported(message, "non-ASCII characters in merge_metadata")
        for options in (
            {"ignore_unsupported_features": True},
            {"prevent_header_encoding_bugs": False},
        ):
            [version] = self.sent_json(message, **options)["messageVersions"]
            custom = version["headers"]["X-Mailin-custom"]
            self.assertEqual(json.loads(custom), {"name": "Žofie"})

    def test_non_ascii_merge_headers(self):
        message = make_message(merge_headers={"to@example.com": {"X-Name": "Žofie"}})
        self.assert_unsupported(message, "non-ASCII characters in merge_headers")
        for options in (
            {"ignore_unsupported_features": True},
            {"prevent_header_encoding_bugs": False},
        ):
            [version] = self.sent_json(message, **options)["messageVersions"]
            self.assertEqual(version["headers"], {"X-Name": "Žofie"})

    def test_non_ascii_data_of_others(self):
        self.send(
            make_message(
                merge_metadata={"nobody@example.com": {"name": "Žofie"}},
                merge_headers={"nobody@example.com": {"X-Name": "Žofie"}},
            )
        )
        self.assertEqual(self.api_json["messageVersions"], [{"to": [{"email": "to@example.com"}]}])

    def test_several_from_addresses(self):
        message = make_message(from_email="a@example.com, b@example.com")
        self.assert_unsupported(message, "multiple from emails")
        data = self.sent_json(message, ignore_unsupported_features=True)
        self.assertEqual(data["sender"], {"email": "a@example.com"})

    def test_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/html")
        message.attach_alternative("<p>2</p>", "text/html")
        self.assert_unsupported(message, "multiple html parts")
        data = self.sent_json(message, ignore_unsupported_features=True)
        self.assertEqual(data["htmlContent"], "<p>1</p>")


class BatchTests(BrevoTestCase):
    def versions(self, **kwargs):
        self.send(make_message(to=["ann@b.test", "Bo <bo@b.test>"], **kwargs))
        self.assertNotIn("to", self.api_json)
        return self.api_json["messageVersions"]

    def test_everything(self):
        message = make_message(
            from_email="shop@a.test",
            to=["ann@b.test", "Bo <bo@b.test>"],
            cc=["cc@b.test"],
            bcc=["bcc@b.test"],
            template_id=77,
            subject="Hi",
            body="",
            tags=["t"],
            headers={"X-All": "1"},
            metadata={"run": 9, "uid": 0},
            merge_global_data={"season": "autumn"},
            merge_data={"ann@b.test": {"pts": 3}, "nobody@b.test": {"pts": 4}},
            merge_metadata={"ann@b.test": {"uid": 1}},
            merge_headers={"ann@b.test": {"List-Unsubscribe": "<https://a.test/u/1>"}},
        )
        data = self.sent_json(message)
        custom = data["headers"].pop("X-Mailin-custom")
        self.assertEqual(json.loads(custom), {"run": 9, "uid": 0})
        for version, uid in zip(data["messageVersions"], (1, 0), strict=True):
            custom = version["headers"].pop("X-Mailin-custom")
            self.assertEqual(json.loads(custom), {"run": 9, "uid": uid})
        self.assertEqual(
            data,
            {
                "sender": {"email": "shop@a.test"},
                "cc": [{"email": "cc@b.test"}],
                "bcc": [{"email": "bcc@b.test"}],
                "templateId": 77,
                "subject": "Hi",
                "tags": ["t"],
                "params": {"season": "autumn"},
                "headers": {"X-All": "1"},
                "messageVersions": [
                    {
                        "to": [{"email": "ann@b.test"}],
                        "params": {"season": "autumn", "pts": 3},
                        "headers": {"X-All": "1", "List-Unsubscribe": "<https://a.test/u/1>"},
                    },
                    {
                        "to": [{"email": "bo@b.test", "name": "Bo"}],
                        "params": {"season": "autumn"},
                        "headers": {"X-All": "1"},
                    },
                ],
            },
        )

    def test_empty_merge_attributes(self):
        for attr in ("merge_data", "merge_metadata", "merge_headers"):
            with self.subTest(attr):
                self.assertEqual(
                    self.versions(**{attr: {}}),
                    [
                        {"to": [{"email": "ann@b.test"}]},
                        {"to": [{"email": "bo@b.test", "name": "Bo"}]},
                    ],
                )

    def test_data_are_matched_to_addresses_as_written(self):
        message = make_message(
            to=["Ann <ann@Příklad.example>"],
            merge_data={"ann@příklad.example": {"n": 1}},
            merge_metadata={"ann@PŘÍKLAD.example": {"n": 2}},
            merge_headers={"ann@Příklad.EXAMPLE": {"X-N": "3"}},
        )
        [version] = self.sent_json(message)["messageVersions"]
        self.assertEqual(
            version,
            {
                "to": [{"email": "ann@xn--pklad-zsa96e.example", "name": "Ann"}],
                "params": {"n": 1},
                "headers": {"X-Mailin-custom": '{"n": 2}', "X-N": "3"},
            },
        )

    def test_empty_entries(self):
        versions = self.versions(
            merge_data={"ann@b.test": {}},
            merge_metadata={"ann@b.test": {}},
            merge_headers={"ann@b.test": {}, "bo@b.test": {}},
            metadata={"run": 9},
        )
        self.assertEqual(versions[0]["params"], {})
        self.assertEqual(versions[0]["headers"], {"X-Mailin-custom": '{"run": 9}'})
        self.assertEqual(set(versions[1]), {"to", "headers"})

    def test_merge_headers_win(self):
        versions = self.versions(
            merge_metadata={"ann@b.test": {"n": 1}},
            merge_headers={"ann@b.test": {"X-MAILIN-Custom": "own", "X-Number": 5}},
        )
        self.assertEqual(versions[0]["headers"], {"X-MAILIN-Custom": "own", "X-Number": 5})

    def test_caller_keeps_merge_data(self):
        merge_data = {"ann@b.test": {"n": 1}}
        merge_metadata = {"ann@b.test": {"n": 1}}
        self.versions(merge_data=merge_data, merge_metadata=merge_metadata, metadata={"m": 2})
        self.assertEqual(merge_data, {"ann@b.test": {"n": 1}})
        self.assertEqual(merge_metadata, {"ann@b.test": {"n": 1}})

    def test_no_to(self):
        self.send(make_message(to=[], cc=["cc@example.com"], merge_data={}))
        self.assertEqual(self.api_json["messageVersions"], [])

    def test_esp_extra_versions_are_replaced(self):
        versions = self.versions(merge_data={}, esp_extra={"messageVersions": [], "to": []})
        self.assertEqual(len(versions), 2)

    def test_esp_extra_versions_without_batch(self):
        message = make_message(esp_extra={"messageVersions": [{"to": [{"email": "x@b.test"}]}]})
        data = self.sent_json(message)
        self.assertEqual(data["messageVersions"], [{"to": [{"email": "x@b.test"}]}])

    def test_scheduled(self):
        self.send(make_message(send_at="2031-03-04T05:06:07Z", merge_data={}))
        self.assertEqual(self.api_json["scheduledAt"], "2031-03-04T05:06:07Z")
        self.assertIn("messageVersions", self.api_json)


class StatusTests(BrevoTestCase):
    def statuses(self, **kwargs):
        recipients = self.send(make_message(**kwargs)).recipients
        return {addr: (status.status, status.message_id) for addr, status in recipients.items()}

    def test_one_id(self):
        message = make_message(
            to=["Ann <ann@Příklad.example>"], cc=["cc@example.com"], bcc=["bcc@example.com"]
        )
        status = self.send(message)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "<id@smtp-relay.mailin.fr>")
        self.assertEqual(
            set(status.recipients), {"ann@Příklad.example", "cc@example.com", "bcc@example.com"}
        )
        self.assertIsInstance(status.esp_response, requests.Response)

    def test_batch(self):
        self.api_response = make_response(
            202, json_data={"messageIds": ["<1@x>", "<2@x>"], "batchId": "b"}
        )
        kwargs = {"to": ["a@b.test", "b@b.test"], "cc": ["cc@b.test"], "merge_data": {}}
        self.assertEqual(
            self.statuses(**kwargs),
            {
                "a@b.test": ("queued", "<1@x>"),
                "b@b.test": ("queued", "<2@x>"),
                "cc@b.test": ("queued", None),
            },
        )
        status = self.send(make_message(**kwargs))
        self.assertEqual(status.message_id, {"<1@x>", "<2@x>", None})

    def test_fewer_or_more_ids(self):
        for ids, expected in (([], None), (["<1@x>"], "<1@x>"), (["<1@x>", "<2@x>", "3"], "<1@x>")):
            with self.subTest(ids=ids):
                self.api_response = make_response(201, json_data={"messageIds": ids})
                statuses = self.statuses(
                    to=["a@b.test", "b@b.test"], cc=["cc@b.test"], merge_data={}
                )
                self.assertEqual(statuses["a@b.test"], ("queued", expected))
                self.assertEqual(
                    statuses["b@b.test"], ("queued", "<2@x>" if len(ids) > 1 else None)
                )
                self.assertEqual(statuses["cc@b.test"], ("queued", None))

    def test_last_of_duplicates(self):
        self.api_response = make_response(201, json_data={"messageIds": ["<1@x>", "<2@x>"]})
        self.assertEqual(
            self.statuses(to=["a@b.test", "a@b.test"], merge_data={}),
            {"a@b.test": ("queued", "<2@x>")},
        )

    def test_null_beside_the_other(self):
        self.api_response = make_response(
            201, json_data={"messageId": None, "messageIds": ["<1@x>"]}
        )
        self.assertEqual(self.statuses(), {"to@example.com": ("queued", "<1@x>")})

    def test_empty_answer(self):
        self.api_response = make_response(201)
        self.assertEqual(self.statuses(), {"to@example.com": ("queued", None)})

    def test_malformed_answers(self):
        for answer in (
            None,
            {},
            [],
            "text",
            12,
            [{"messageId": "x"}],
            {"messageId": None},
            {"messageId": ["x"]},
            {"messageIds": "x"},
            {"messageIds": [["x"]]},
            {"messageIds": {"x": 1}},
        ):
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(
                    AnymailRequestsAPIError, "Invalid Brevo API response format"
                ):
                    self.send(message)
                self.assertIsNone(message.anymail_status.status)
                self.assertIsNotNone(message.anymail_status.esp_response)

    def test_not_json(self):
        self.api_response = make_response(201, body=b"not JSON")
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in Brevo"):
            self.send(make_message())

    def test_http_error(self):
        self.api_response = make_response(
            400, json_data={"code": "invalid_parameter", "message": "sender is missing"}
        )
        message = make_message()
        with self.assertRaises(AnymailAPIError) as raised:
            self.send(message)
        self.assertIn("Brevo API response 400", str(raised.exception))
        self.assertIn("sender is missing", str(raised.exception))
        self.assertIsNone(message.anymail_status.status)
        self.assertEqual(message.anymail_status.recipients, {})
        self.assertIsNone(message.anymail_status.esp_response)
