from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import requests
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings, tag
from django.utils.timezone import override as override_timezone
from django.utils.translation import gettext_lazy

from anymail.backends.sparkpost import EmailBackend
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidHeader,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.message import attach_inline_image
from tests.utils import SAMPLE_IMAGE, ApiTestCase, make_message, make_response


def results(accepted: Any = 1, rejected: Any = 0, **kwargs: Any) -> dict:
    """Return SparkPost's answer."""
    return {
        "results": {
            "id": "12345678901234567890",
            "total_accepted_recipients": accepted,
            "total_rejected_recipients": rejected,
            **kwargs,
        }
    }


@tag("sparkpost")
class SparkPostTestCase(ApiTestCase):
    backend = "anymail.backends.sparkpost.EmailBackend"
    settings = {"SPARKPOST_API_KEY": "test-key"}
    api_response = results()

    @property
    def content(self):
        return self.api_json["content"]

    def assert_unsupported(self, message, feature, **options):
        with self.assertRaises(AnymailUnsupportedFeature) as raised:
            self.send(message, **options)
        self.assertIn(feature, str(raised.exception))
        self.assert_api_not_called()


class SettingsTests(SparkPostTestCase):
    def test_request(self):
        self.send(make_message())
        self.assert_api_called("https://api.sparkpost.com/api/v1/transmissions/")
        self.assertEqual(
            self.api_call["headers"],
            {"Authorization": "test-key", "Content-Type": "application/json"},
        )
        self.assertEqual(self.api_call["timeout"], 30)

    @override_settings(ANYMAIL={})
    def test_missing_key(self):
        pattern = r"SPARKPOST_API_KEY.*ANYMAIL_SPARKPOST_API_KEY"
        with self.assertRaisesRegex(AnymailConfigurationError, pattern):
            self.make_backend()

    @override_settings(ANYMAIL={}, SPARKPOST_API_KEY="bare-key")
    def test_bare_setting(self):
        self.assertEqual(self.make_backend().api_key, "bare-key")

    def test_api_url(self):
        for url in ("https://api.eu.sparkpost.com/api/v1", "https://api.eu.sparkpost.com/api/v1/"):
            self.send(make_message(), api_url=url)
            self.assert_api_called("https://api.eu.sparkpost.com/api/v1/transmissions/")
        self.send(make_message(), api_url="https://api.sparkpost.com/api/labs")
        self.assert_api_called("https://api.sparkpost.com/api/labs/transmissions/")

    def test_subaccount(self):
        for subaccount in (123, "123", 0):
            self.send(make_message(), subaccount=subaccount)
            self.assertEqual(self.api_call["headers"]["X-MSYS-SUBACCOUNT"], subaccount)

    @override_settings(ANYMAIL={"SPARKPOST_API_KEY": "k", "SPARKPOST_SUBACCOUNT": 123})
    def test_subaccount_setting(self):
        self.send(make_message())
        self.assertEqual(self.api_call["headers"]["X-MSYS-SUBACCOUNT"], 123)
        self.send(make_message(), subaccount=None)
        self.assertNotIn("X-MSYS-SUBACCOUNT", self.api_call["headers"])


@tag("sparkpost")
class SubaccountHeaderTests(SimpleTestCase):
    """With the real requests.Session.request, which doesn't take numbers in headers."""

    def test_number(self):
        sent: list[requests.PreparedRequest] = []

        def send(adapter, request, **kwargs):
            sent.append(request)
            return make_response(json_data=results())

        for subaccount in (123, "123"):
            backend = EmailBackend(api_key="test-key", subaccount=subaccount)
            with patch("requests.adapters.HTTPAdapter.send", send):
                backend.send_messages([make_message()])
        self.assertEqual([item.headers["X-MSYS-SUBACCOUNT"] for item in sent], ["123", "123"])
        self.assertEqual(sent[0].headers["Authorization"], "test-key")
        self.assertTrue(sent[0].headers["User-Agent"].startswith("django-anymail/"))


class MessageTests(SparkPostTestCase):
    def test_empty_subject_and_body(self):
        self.send(EmailMessage("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual(self.content, {"from": "from@example.com", "subject": "", "text": ""})

    def test_from_email_none(self):
        message = make_message()
        message.from_email = None
        self.send(message)
        self.assertNotIn("from", self.content)

    def test_addresses(self):
        self.api_response = results(5)
        self.send(
            make_message(
                from_email='"From, Inc." <from@bücher.example>',
                to=['"Nováková, Á." <info-тест@bücher.example>', "Zoë <zoë@example.com>"],
                cc=["Cc <cc@example.com>", "cc2@example.com"],
                bcc=["Bcc <bcc@bücher.example>"],
                reply_to=['"Reply, all" <reply@example.com>', "reply2@example.com"],
            )
        )
        self.assertEqual(self.content["from"], '"From, Inc." <from@xn--bcher-kva.example>')
        header_to = '"Nováková, Á." <info-тест@xn--bcher-kva.example>, Zoë <zoë@example.com>'
        self.assertEqual(
            self.api_json["recipients"],
            [
                {"address": {"email": email, "header_to": header_to}}
                for email in (
                    "info-тест@xn--bcher-kva.example",
                    "zoë@example.com",
                    "cc@example.com",
                    "cc2@example.com",
                    "bcc@xn--bcher-kva.example",
                )
            ],
        )
        self.assertEqual(self.content["headers"], {"Cc": "Cc <cc@example.com>, cc2@example.com"})
        self.assertEqual(
            self.content["reply_to"], '"Reply, all" <reply@example.com>, reply2@example.com'
        )

    def test_headers(self):
        self.send(
            make_message(
                cc=["cc@example.com"],
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
            self.content["headers"],
            {
                "Cc": "cc@example.com",
                "X-Custom": "Grüße",
                "X-Num": 123,
                "Message-ID": "<mine@example.com>",
            },
        )
        self.assertEqual(self.content["reply_to"], "header@example.com")

    def test_cc_header(self):
        for name in ("Cc", "cc", "CC"):
            self.send(make_message(cc=["cc@example.com"], headers={name: "shown@example.com"}))
            self.assertEqual(self.content["headers"], {name: "shown@example.com"})
            self.assertEqual(len(self.api_json["recipients"]), 2)

    def test_unserializable_header(self):
        message = make_message(headers={"X-Price": Decimal("12.5")})
        with self.assertRaises(AnymailSerializationError) as raised:
            self.send(message)
        self.assertRegex(str(raised.exception), r"Don't know how to send this data to SparkPost")
        self.assertRegex(str(raised.exception), r"Decimal.* is not JSON serializable")
        self.assert_api_not_called()

    def test_from_header(self):
        self.send(
            make_message(
                from_email="Envelope <envelope@example.com>",
                headers={"From": "Header <header@example.com>"},
            )
        )
        self.assertEqual(self.content["from"], "Header <header@example.com>")
        self.assertEqual(self.api_json["return_path"], "envelope@example.com")

    def test_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>HTML</p>", "text/html")
        message.attach_alternative("<html amp4email>", "text/X-AMP-html")
        self.send(message)
        self.assertEqual(self.content["text"], "Text body")
        self.assertEqual(self.content["html"], "<p>HTML</p>")
        self.assertEqual(self.content["amp_html"], "<html amp4email>")
        self.assertNotIn("attachments", self.content)

    def test_text_alternative_for_empty_body(self):
        message = make_message(body="")
        message.attach_alternative("Alternative", "text/plain")
        self.send(message)
        self.assertEqual(self.content["text"], "Alternative")

    def test_unserializable_tag(self):
        with self.assertRaisesRegex(AnymailSerializationError, "Decimal"):
            self.send(make_message(tags=[Decimal(1)]))

    def test_send_at(self):
        zone = timezone(timedelta(hours=-8))
        for send_at, expected in (
            (datetime(2031, 5, 6, 7, 8, 9, 999_999, tzinfo=zone), "2031-05-06T07:08:09-08:00"),
            (datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc), "2031-05-06T07:08:09+00:00"),
            (1935817689.5, "2031-05-06T07:08:09+00:00"),
            ("now", "now"),
        ):
            with self.subTest(send_at=send_at):
                self.send(make_message(send_at=send_at))
                self.assertEqual(self.api_json["options"], {"start_time": expected})
        with override_timezone(zone):
            self.send(make_message(send_at=date(2031, 5, 6)))
        self.assertEqual(self.api_json["options"]["start_time"], "2031-05-06T00:00:00-08:00")


class UnsupportedFeatureTests(SparkPostTestCase):
    def test_two_html_parts(self):
        two_alternatives = make_message()
        two_alternatives.attach_alternative("<p>1</p>", "text/html")
        two_alternatives.attach_alternative("<p>2</p>", "text/html")
        body_and_alternative = make_message(body="<p>1</p>")
        body_and_alternative.content_subtype = "html"
        body_and_alternative.attach_alternative("<p>2</p>", "text/html")
        empty_body_and_alternative = make_message(body="")
        empty_body_and_alternative.content_subtype = "html"
        empty_body_and_alternative.attach_alternative("<p>2</p>", "text/html")
        for message, html in (
            (two_alternatives, "<p>1</p>"),
            (body_and_alternative, "<p>1</p>"),
            (empty_body_and_alternative, "<p>2</p>"),
        ):
            with self.subTest(html=html):
                self.mock_request.reset_mock()
                self.assert_unsupported(message, "multiple html parts")
                self.send(message, ignore_unsupported_features=True)
                self.assertEqual(self.content["html"], html)

    def test_two_amp_parts(self):
        message = make_message()
        message.attach_alternative("<p>1</p>", "text/x-amp-html")
        message.attach_alternative("<p>2</p>", "text/x-amp-html")
        self.assert_unsupported(message, "multiple html parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.content["amp_html"], "<p>2</p>")

    def test_other_alternatives(self):
        message = make_message()
        message.attach_alternative("more", "text/plain")
        self.assert_unsupported(message, "multiple plaintext parts")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.content["text"], "Text body")
        self.mock_request.reset_mock()
        message = make_message()
        message.attach_alternative("{}", "application/json")
        self.assert_unsupported(message, "alternative part with type 'application/json'")


class TemplateTests(SparkPostTestCase):
    def template_message(self, **kwargs):
        kwargs = {"from_email": None, "subject": "", "body": "", **kwargs}
        return make_message(template_id="welcome", **kwargs)

    def test_from_email_none(self):
        message = self.template_message(from_email="other@example.com")
        message.from_email = None
        self.send(message)
        self.assertEqual(self.content, {"template_id": "welcome"})

    def test_default_from_email(self):
        for default, from_email in (
            ("default@example.com", None),
            ("default@example.com", "default@example.com"),
            (gettext_lazy("Default <default@example.com>"), None),
            # The same address, though not the same text
            ('"Default" <default@example.com>', None),
            ("Default <default@bücher.example>", None),
            ("Default <default@bücher.example>", '"Default" <default@bücher.example>'),
        ):
            with self.subTest(default=default), override_settings(DEFAULT_FROM_EMAIL=default):
                self.send(self.template_message(from_email=from_email))
                self.assertEqual(self.content, {"template_id": "welcome"})

    @override_settings(DEFAULT_FROM_EMAIL="not an address")
    def test_invalid_default_from_email(self):
        message = self.template_message(from_email="other@example.com")
        self.assert_unsupported(message, "template_id with from_email")

    def test_content_beside_template_is_left_to_sparkpost(self):
        message = self.template_message(subject="Subject", body="Text")
        message.attach_alternative("<p></p>", "text/html")
        self.send(message)
        self.assertEqual(
            self.content,
            {"template_id": "welcome", "subject": "Subject", "text": "Text", "html": "<p></p>"},
        )

    def test_empty_html(self):
        message = self.template_message()
        message.content_subtype = "html"
        self.send(message)
        self.assertEqual(self.content, {"template_id": "welcome"})

    def test_ignored_fields(self):
        message = self.template_message(
            from_email="other@example.com",
            cc=["cc@example.com"],
            reply_to=["reply@example.com"],
        )
        message.attach("a.txt", "a", "text/plain")
        text = (
            "template_id with attachments, extra headers and/or cc recipients, from_email, reply_to"
        )
        self.assert_unsupported(message, text)
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(
            set(self.content), {"template_id", "from", "headers", "reply_to", "attachments"}
        )

    def test_ignored_inline_images(self):
        message = self.template_message()
        attach_inline_image(message, SAMPLE_IMAGE, "logo.png")
        self.assert_unsupported(message, "template_id with inline images")

    def test_ignored_merge_headers(self):
        message = self.template_message(merge_headers={"to@example.com": {"X-A": "1"}})
        self.assert_unsupported(message, "template_id with extra headers and/or cc recipients")

    def test_bcc(self):
        self.send(self.template_message(bcc=["bcc@example.com"]))
        self.assertEqual(len(self.api_json["recipients"]), 2)

    def test_ab_test(self):
        extra = {"content": {"ab_test_id": "subjects"}}
        self.send(make_message(from_email=None, subject="", body="", esp_extra=extra))
        self.assertEqual(self.content, {"ab_test_id": "subjects"})

    def test_template_in_esp_extra(self):
        extra = {"content": {"template_id": "welcome"}}
        self.send(make_message(from_email=None, subject="", body="", esp_extra=extra))
        self.assertEqual(self.content, {"template_id": "welcome"})
        self.mock_request.reset_mock()
        self.assert_unsupported(
            make_message(cc=["cc@example.com"], esp_extra=extra),
            "template_id with extra headers and/or cc recipients, from_email",
        )


class BatchTests(SparkPostTestCase):
    api_response = results(2)

    def test_batch(self):
        merge_data = {
            "ann@example.org": {"plan": "pro", "items": [1, {"price": 2.5}]},
            "nobody@example.org": {"plan": "none"},
        }
        self.api_response = results(4)
        status = self.send(
            make_message(
                to=["ann@example.org", "Bo <bo@example.org>"],
                cc=["Log <log@example.net>"],
                merge_data=merge_data,
                merge_global_data={"site": "Example"},
                metadata={"run": 5},
                merge_metadata={
                    "ann@example.org": {"order": 17},
                    "bo@example.org": {},
                },
            )
        )
        ann = {
            "metadata": {"order": 17},
            "substitution_data": {"plan": "pro", "items": [1, {"price": 2.5}]},
        }
        bo: dict[str, Any] = {"metadata": {}}
        to_ann, to_bo = "ann@example.org", "Bo <bo@example.org>"
        self.assertEqual(
            self.api_json["recipients"],
            [
                {"address": {"email": "ann@example.org", "header_to": to_ann}, **ann},
                {"address": {"email": "bo@example.org", "header_to": to_bo}, **bo},
                {"address": {"email": "log@example.net", "header_to": to_ann}, **ann},
                {"address": {"email": "log@example.net", "header_to": to_bo}, **bo},
            ],
        )
        self.assertEqual(self.content["headers"], {"Cc": "Log <log@example.net>"})
        self.assertEqual(self.api_json["substitution_data"], {"site": "Example"})
        self.assertEqual(self.api_json["metadata"], {"run": 5})
        self.assertEqual(
            merge_data["ann@example.org"], {"plan": "pro", "items": [1, {"price": 2.5}]}
        )
        self.assertEqual(status.status, {"queued"})

    def test_order_of_copies(self):
        self.api_response = results(6)
        self.send(
            make_message(
                to=["a@example.com", "b@example.com"],
                cc=["c@example.com"],
                bcc=["d@example.com"],
                merge_data={},
            )
        )
        self.assertEqual(
            [tuple(item["address"].values()) for item in self.api_json["recipients"]],
            [
                ("a@example.com", "a@example.com"),
                ("b@example.com", "b@example.com"),
                ("c@example.com", "a@example.com"),
                ("d@example.com", "a@example.com"),
                ("c@example.com", "b@example.com"),
                ("d@example.com", "b@example.com"),
            ],
        )

    def test_global_data_alone_is_no_batch(self):
        self.send(make_message(to=["a@example.com", "b@example.com"], merge_global_data={"x": "y"}))
        self.assertEqual(
            {item["address"]["header_to"] for item in self.api_json["recipients"]},
            {"a@example.com, b@example.com"},
        )

    def test_no_to_recipients(self):
        self.send(
            make_message(
                to=[],
                cc=["cc@example.com"],
                bcc=["bcc@example.com"],
                merge_data={"cc@example.com": {"a": 1}},
                merge_headers={"cc@example.com": {"X-A": "1"}},
            )
        )
        self.assertEqual(
            self.api_json["recipients"],
            [
                {"address": {"email": "cc@example.com", "header_to": ""}},
                {"address": {"email": "bcc@example.com", "header_to": ""}},
            ],
        )

    def test_international_domain(self):
        self.api_response = results(1)
        status = self.send(
            make_message(
                to=["Ann <ann@bücher.example>"],
                merge_data={"ann@Bücher.Example": {"first": "Ann"}},
                merge_metadata={"ann@bücher.example": {"order": 5}},
                merge_headers={"ann@bücher.example": {"X-Ann": gettext_lazy("yes")}},
            )
        )
        self.assertEqual(
            self.api_json["recipients"],
            [
                {
                    "address": {
                        "email": "ann@xn--bcher-kva.example",
                        "header_to": "Ann <ann@xn--bcher-kva.example>",
                    },
                    "metadata": {"order": 5},
                    "substitution_data": {"first": "Ann", "Header__X_Ann": "yes"},
                }
            ],
        )
        self.assertEqual(status.recipients["ann@bücher.example"].status, "queued")

    def test_merge_headers(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                headers={"X-All": "1", "List-Unsubscribe": "<mailto:all@example.com>"},
                merge_headers={
                    "ann@example.com": {
                        "List-Unsubscribe": "<mailto:ann@example.com>",
                        "X-Custom-2": "ann",
                    },
                    "nobody@example.com": {"X-Nobody": "1"},
                },
                merge_data={"bo@example.com": {"first": "Bo"}},
                merge_global_data={"site": "Shop"},
            )
        )
        self.assertEqual(
            self.content["headers"],
            {
                "X-All": "1",
                "List-Unsubscribe": "{{Header__List_Unsubscribe}}",
                "X-Custom-2": "{{Header__X_Custom_2}}",
            },
        )
        self.assertEqual(
            self.api_json["substitution_data"],
            {"site": "Shop", "Header__List_Unsubscribe": "<mailto:all@example.com>"},
        )
        self.assertEqual(
            [item.get("substitution_data") for item in self.api_json["recipients"]],
            [
                {
                    "Header__List_Unsubscribe": "<mailto:ann@example.com>",
                    "Header__X_Custom_2": "ann",
                },
                {"first": "Bo"},
            ],
        )

    def test_merge_headers_without_defaults(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                merge_headers={"ann@example.com": {"X-Ann": "1"}, "bo@example.com": {}},
            )
        )
        self.assertNotIn("substitution_data", self.api_json)
        self.assertNotIn("substitution_data", self.api_json["recipients"][1])

    def test_merge_headers_ignore_case(self):
        self.send(
            make_message(
                to=["ann@example.com", "bo@example.com"],
                headers={"X-CUSTOM": "default"},
                merge_headers={
                    "ann@example.com": {"X-Custom": "ann"},
                    "bo@example.com": {"x-custom": "bo"},
                },
            )
        )
        self.assertEqual(list(self.content["headers"].values()), ["{{Header__X_Custom}}"])
        self.assertEqual(self.api_json["substitution_data"], {"Header__X_Custom": "default"})
        self.assertEqual(
            [item["substitution_data"] for item in self.api_json["recipients"]],
            [{"Header__X_Custom": "ann"}, {"Header__X_Custom": "bo"}],
        )

    def test_merge_header_with_other_characters(self):
        # A dot would make it a path in SparkPost's template language.
        self.api_response = results(1)
        self.send(make_message(merge_headers={"to@example.com": {"X.Odd+Name": "1"}}))
        self.assertEqual(self.content["headers"], {"X.Odd+Name": "{{Header__X_Odd_Name}}"})


class EspExtraTests(SparkPostTestCase):
    def test_deep_merge(self):
        esp_extra = {
            "description": "text",
            "options": {"transactional": True, "click_tracking": True},
            "content": {"headers": {"x-one": "1b"}, "use_draft_template": True},
            "metadata": {"extra": 1},
            "campaign_id": "other",
        }
        before = json.dumps(esp_extra)
        self.send(
            make_message(
                tags=["tag"],
                track_opens=True,
                track_clicks=False,
                metadata={"order": 5},
                headers={"X-One": "1", "X-Two": "2"},
                esp_extra=esp_extra,
            )
        )
        data = self.api_json
        self.assertEqual(data["description"], "text")
        self.assertEqual(
            data["options"],
            {"open_tracking": True, "click_tracking": True, "transactional": True},
        )
        self.assertEqual(data["content"]["headers"], {"x-one": "1b", "X-Two": "2"})
        self.assertEqual(data["content"]["subject"], "Subject")
        self.assertIs(data["content"]["use_draft_template"], True)
        self.assertEqual(data["metadata"], {"order": 5, "extra": 1})
        self.assertEqual(data["campaign_id"], "other")
        self.assertEqual(json.dumps(esp_extra), before)

    def test_headers_in_esp_extra_are_defaults_too(self):
        self.send(
            make_message(
                esp_extra={"content": {"headers": {"X-A": "all"}}},
                merge_headers={"to@example.com": {"X-A": "own"}},
            )
        )
        self.assertEqual(self.content["headers"], {"X-A": "{{Header__X_A}}"})
        self.assertEqual(self.api_json["substitution_data"], {"Header__X_A": "all"})

    def test_recipients(self):
        for recipients, count in (
            ({"list_id": "stored"}, 1000),
            ([{"address": "a@example.com"}, {"address": {"email": "b@example.com"}}], 2),
            ([{"address": {"email": "b@example.com", "header_to": "x@example.com"}}], 1),
        ):
            for attrs in ({}, {"cc": ["cc@example.com"], "merge_data": {"to@example.com": {}}}):
                with self.subTest(recipients=recipients, attrs=attrs):
                    self.api_response = results(count)
                    message = make_message(esp_extra={"recipients": recipients}, **attrs)
                    status = self.send(message)
                    self.assertEqual(self.api_json["recipients"], recipients)
                    self.assertEqual(status.status, {"queued"})

    def test_status_of_a_stored_list(self):
        message = make_message(esp_extra={"recipients": {"list_id": "stored"}})
        self.api_response = results(5, 1)
        self.assertEqual(self.send(message).status, {"unknown"})
        self.api_response = results(0, 6)
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)

    def test_content_of_wrong_type(self):
        for content in ("text", None, []):
            with self.assertRaisesRegex(TypeError, "content"):
                self.send(make_message(esp_extra={"content": content}))
        self.assert_api_not_called()

    def test_line_breaks(self):
        bad = "a\r\nBcc: all@example.com"
        for content in ({"subject": bad}, {"headers": {"X-A": bad}}, {"headers": {bad: "x"}}):
            with self.subTest(content=content):
                with self.assertRaisesRegex(AnymailInvalidHeader, "esp_extra"):
                    self.send(make_message(esp_extra={"content": content}))
                self.assert_api_not_called()


class StatusTests(SparkPostTestCase):
    def test_queued(self):
        self.api_response = results(3)
        message = make_message(
            to=["TO@Example.com"], cc=["cc@bücher.example"], bcc=["bcc@example.com"]
        )
        status = self.send(message)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, "12345678901234567890")
        self.assertEqual(
            set(status.recipients), {"TO@Example.com", "cc@bücher.example", "bcc@example.com"}
        )

    def test_rejected(self):
        self.api_response = results(0, 2)
        message = make_message(to=["a@example.com", "b@example.com"])
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"rejected"})
        self.assertEqual(message.anymail_status.message_id, "12345678901234567890")
        self.assertEqual(self.send(message, ignore_recipient_status=True).status, {"rejected"})

    def test_unknown(self):
        message = make_message(to=["a@example.com", "b@example.com"])
        for accepted, rejected in ((1, 1), (1, 0), (3, 0), (0, 0), (0, 1), (2, 1), (0, 3), (2, 2)):
            with self.subTest(accepted=accepted, rejected=rejected):
                self.api_response = results(accepted, rejected)
                self.assertEqual(self.send(message).status, {"unknown"})

    def test_copies_in_a_batch_count(self):
        message = make_message(
            to=["a@example.com", "b@example.com"],
            cc=["c@example.com"],
            bcc=["d@example.com"],
            merge_data={},
        )
        self.api_response = results(6)
        self.assertEqual(self.send(message).status, {"queued"})
        self.api_response = results(0, 6)
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.api_response = results(4)
        self.assertEqual(self.send(message).status, {"unknown"})

    def test_totals_as_text(self):
        self.api_response = results("1", "0")
        self.assertEqual(self.send(make_message()).status, {"queued"})

    def test_id_as_number(self):
        self.api_response = results(id=777)
        self.assertEqual(self.send(make_message()).message_id, "777")

    def test_http_error(self):
        error = {"message": "content error", "description": "größe", "code": "1301"}
        self.api_response = make_response(400, json_data={"errors": [error]}, reason="Bad Request")
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            self.send(make_message())
        text = str(raised.exception)
        self.assertTrue(text.startswith("SparkPost API response 400 (Bad Request)"), text)
        self.assertIn('"description": "größe"', text)

    def test_malformed_answers(self):
        complete = results()["results"]
        answers: list[Any] = [None, {}, [], "text", 12, {"results": None}, {"results": []}]
        answers += [
            {"results": {k: v for k, v in complete.items() if k != key}} for key in complete
        ]
        answers += [
            results("many"),
            results(None),
            results(True),
            results(1.5),
            results(1, []),
            results(id=None),
            results(id=["1"]),
            results(id=True),
        ]
        for answer in answers:
            with self.subTest(answer=answer):
                self.api_response = make_response(body=json.dumps(answer).encode())
                message = make_message()
                with self.assertRaisesRegex(AnymailRequestsAPIError, "format"):
                    self.send(message)
                self.assertIsNone(message.anymail_status.status)
                self.assertIsNone(message.anymail_status.message_id)
                self.assertEqual(message.anymail_status.recipients, {})
                self.assertIsNotNone(message.anymail_status.esp_response)

    def test_not_json(self):
        self.api_response = make_response(body=b"not JSON")
        with self.assertRaisesRegex(AnymailRequestsAPIError, "SparkPost"):
            self.send(make_message())
