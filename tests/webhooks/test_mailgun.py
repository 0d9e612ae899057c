"""Mailgun's webhooks, beyond the fixture pairs and what all webhooks have in common."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch

from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory, override_settings, tag
from django.urls import reverse

from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.webhooks.mailgun import (
    MailgunBaseWebhookView,
    MailgunInboundWebhookView,
    MailgunTrackingWebhookView,
)

from .cases.mailgun import MAILGUN, MAILGUN_KEY
from .harness import WebhookRequest, WebhookTestCase

TIMESTAMP = "1930000000"
TOKEN = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"


@tag("mailgun")
class MailgunTestCase(WebhookTestCase):
    kind = "tracking"

    def setUp(self) -> None:
        super().setUp()
        override = override_settings(ANYMAIL=dict(MAILGUN.settings))
        override.enable()
        self.addCleanup(override.disable)
        self.path = reverse(MAILGUN.view(self.kind).url_name)

    def make_request(self, **body: Any) -> WebhookRequest:
        request = WebhookRequest(self.kind, self.path, **body)
        assert MAILGUN.sign is not None
        MAILGUN.sign(request)
        return request

    def get_event(self, **body: Any) -> Any:
        """Make a signed call, and return its event."""
        self.received.clear()
        response = self.call(self.make_request(**body))
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        self.assert_event_contract(received.event, self.kind)
        return received.event

    def assert_bad_request(self, request: WebhookRequest) -> None:
        self.assertEqual(self.call(request).status_code, 400)
        self.assert_no_signals()


class SigningKeyTests(MailgunTestCase):
    """Which key is used, and what happens without one."""

    views = (MailgunTrackingWebhookView, MailgunInboundWebhookView)

    def test_signing_key(self):
        for view in self.views:
            self.assertEqual(view().webhook_signing_key, MAILGUN_KEY.encode())

    @override_settings(ANYMAIL={}, ANYMAIL_MAILGUN_WEBHOOK_SIGNING_KEY="flat")
    def test_flat_setting(self):
        self.assertEqual(MailgunBaseWebhookView().webhook_signing_key, b"flat")

    def test_api_key_is_the_default(self):
        with self.anymail_settings(MAILGUN_API_KEY="api-key"):
            self.assertEqual(MailgunBaseWebhookView().webhook_signing_key, b"api-key")
        with override_settings(ANYMAIL={}, MAILGUN_API_KEY="bare-key"):
            self.assertEqual(MailgunBaseWebhookView().webhook_signing_key, b"bare-key")

    def test_only_the_signing_key_is_used(self):
        settings = {"MAILGUN_API_KEY": MAILGUN_KEY, "MAILGUN_WEBHOOK_SIGNING_KEY": "other"}
        request = self.make_request(json={"event-data": {"event": "opened"}})
        with self.anymail_settings(**settings):
            self.assertEqual(MailgunBaseWebhookView().webhook_signing_key, b"other")
            self.assert_bad_request(request)

    def test_several_signing_keys(self):
        request = self.make_request(json={"event-data": {"event": "opened"}})
        for keys, status in (
            (["other", MAILGUN_KEY], 200),
            ((MAILGUN_KEY, "other"), 200),
            (["other", "another"], 400),
        ):
            with self.subTest(keys), self.anymail_settings(MAILGUN_WEBHOOK_SIGNING_KEY=keys):
                self.assertEqual(self.call(request).status_code, status)

    def test_subaccount(self):
        request = self.make_request(json={"event-data": {"event": "opened"}})
        signature = request.json["signature"]
        # Signed with the subaccount's key, and with that of the primary account
        signature["parent-signature"] = signature["signature"]
        signature["signature"] = "0" * 64
        self.assertEqual(self.call(request).status_code, 200)
        self.received.clear()
        for forged in ("1" * 64, "", None, 5):
            signature["parent-signature"] = forged
            self.assert_bad_request(request)

    def test_age(self):
        now = int(datetime.now(timezone.utc).timestamp())
        with self.anymail_settings(**MAILGUN.settings, WEBHOOK_MAX_AGE=300):
            for seconds, status in ((0, 200), (-290, 200), (-310, 400), (310, 400)):
                signature = {"timestamp": str(now + seconds)}
                request = self.make_request(
                    json={"signature": signature, "event-data": {"event": "opened"}}
                )
                with self.subTest(seconds):
                    self.assertEqual(self.call(request).status_code, status)
            # Digits moved from the token to the timestamp: the signature is the same.
            signature = {"timestamp": f"{now}1", "token": "abc"}
            request = self.make_request(
                json={"signature": signature, "event-data": {"event": "opened"}}
            )
            request.json["signature"].update(timestamp=str(now), token="1abc")
            self.assertEqual(self.call(request).status_code, 200)
            request.json["signature"].update(timestamp=f"{now}1", token="abc")
            self.assertEqual(self.call(request).status_code, 400)

    @override_settings(
        ANYMAIL={**MAILGUN.settings, "WEBHOOK_DEDUPE_CACHE": "default"},
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    )
    def test_token_is_good_for_one_event(self):
        # Mailgun does not sign the content: a signature that is known could be used for another.
        self.addCleanup(cache.clear)
        request = self.make_request(json={"event-data": {"event": "opened"}})
        self.assertEqual(self.call(request).status_code, 200)
        request.json["event-data"] = {"event": "failed", "recipient": "victim@example.com"}
        self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual([item.event.event_type for item in self.received], ["opened"])

    @override_settings(ANYMAIL={}, MAILGUN_WEBHOOK_SIGNING_KEY="bare")
    def test_no_bare_signing_key(self):
        with self.assertRaisesRegex(AnymailConfigurationError, "MAILGUN_WEBHOOK_SIGNING_KEY"):
            MailgunBaseWebhookView()

    def test_as_view(self):
        with self.anymail_settings():
            for view in self.views:
                for kwargs in (
                    {"webhook_signing_key": "X"},
                    {"api_key": "X"},
                    {"webhook_signing_key": "X", "api_key": "Y"},
                ):
                    self.assertIsNone(view.webhook_signing_key)
                    self.assertIsNone(view.api_key)
                    view.as_view(**kwargs)
                    self.assertEqual(view(**kwargs).webhook_signing_key, b"X")

    def test_api_key_works_in_as_view(self):
        view = MailgunTrackingWebhookView.as_view(api_key=MAILGUN_KEY)
        request = self.make_request(json={"event-data": {"event": "opened"}})
        http_request = RequestFactory().post(
            "/", data=request.body, content_type="application/json"
        )
        with self.anymail_settings():
            self.assertEqual(view(http_request).status_code, 200)
        self.assertEqual(len(self.received), 1)

    def test_no_key(self):
        for settings in (
            {},
            {"MAILGUN_WEBHOOK_SIGNING_KEY": ""},
            {"MAILGUN_WEBHOOK_SIGNING_KEY": None, "MAILGUN_API_KEY": None},
            {"MAILGUN_WEBHOOK_SIGNING_KEY": "", "MAILGUN_API_KEY": ""},
        ):
            for method in ("post", "head"):
                with (
                    self.subTest(settings=settings, method=method),
                    self.anymail_settings(**settings),
                    self.assertRaisesRegex(
                        AnymailConfigurationError, "MAILGUN_WEBHOOK_SIGNING_KEY"
                    ),
                ):
                    getattr(self.client, method)(self.path)

    def test_key_that_is_not_ascii(self):
        for name in ("MAILGUN_WEBHOOK_SIGNING_KEY", "MAILGUN_API_KEY"):
            with self.anymail_settings(**{name: "kéy-0123"}):
                with self.assertRaisesRegex(AnymailConfigurationError, name) as caught:
                    MailgunBaseWebhookView()
                self.assertNotIn("0123", str(caught.exception))
                self.assertIsNone(caught.exception.__cause__)


class SignatureTests(MailgunTestCase):
    """https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks"""

    def sign(self, timestamp: str = TIMESTAMP, token: str = TOKEN) -> str:
        """Sign as the documentation's example does."""
        return hmac.new(
            key=MAILGUN_KEY.encode(),
            msg=f"{timestamp}{token}".encode(),
            digestmod=hashlib.sha256,
        ).hexdigest()

    def json_request(self, **signature: Any) -> WebhookRequest:
        data = {"signature": signature, "event-data": {"event": "opened"}}
        return WebhookRequest("tracking", self.path, json=data)

    def form_request(self, *fields: tuple[str, str]) -> WebhookRequest:
        return WebhookRequest("tracking", self.path, form=[["event", "opened"], *map(list, fields)])

    def test_known_signature(self):
        # printf 1529006854a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0 |
        #   openssl dgst -sha256 -hmac key-3ax6xnjp29jd6fds4gc373sgvjxteol0
        request = self.json_request(
            timestamp="1529006854",
            token=TOKEN,
            signature="b63c0701c4f4b614f272106a1b367c5c3369bcdca664ae73ebd52787e45eef07",
        )
        self.assert_bad_request(request)
        with self.anymail_settings(
            MAILGUN_WEBHOOK_SIGNING_KEY="key-3ax6xnjp29jd6fds4gc373sgvjxteol0"
        ):
            self.assertEqual(self.call(request).status_code, 200)

    def test_json(self):
        request = self.json_request(timestamp=TIMESTAMP, token=TOKEN, signature=self.sign())
        self.assertEqual(self.call(request).status_code, 200)

    def test_json_content_type_with_parameters(self):
        request = self.json_request(timestamp=TIMESTAMP, token=TOKEN, signature=self.sign())
        for content_type in ("application/json; charset=utf-8", "Application/JSON"):
            request.content_type = content_type
            self.assertEqual(self.call(request).status_code, 200)

    def test_integer_timestamp(self):
        request = self.json_request(timestamp=int(TIMESTAMP), token=TOKEN, signature=self.sign())
        self.assertEqual(self.call(request).status_code, 200)

    def test_old_timestamp(self):
        # Mailgun repeats calls for hours.
        signature = self.sign("1000000000")
        request = self.json_request(timestamp="1000000000", token=TOKEN, signature=signature)
        self.assertEqual(self.call(request).status_code, 200)

    def test_json_signature_of_other_types(self):
        good = {"timestamp": TIMESTAMP, "token": TOKEN, "signature": self.sign()}
        for name, good_value in good.items():
            for value in (None, True, [], [good_value], {}, "", "é", "\ud800", "\0"):
                with self.subTest(name=name, value=value):
                    self.assert_bad_request(self.json_request(**{**good, name: value}))
        for signature in (None, [], "text", 1, {}, [good]):
            request = self.json_request()
            request.json["signature"] = signature
            self.assert_bad_request(request)

    def test_json_signature_in_a_form_content_type(self):
        request = self.json_request(timestamp=TIMESTAMP, token=TOKEN, signature=self.sign())
        request.content_type = "application/x-www-form-urlencoded"
        self.assert_bad_request(request)

    def test_signature_of_one_does_not_fit_the_other(self):
        for fields in (
            {"timestamp": "1930000001", "token": TOKEN},
            {"timestamp": TIMESTAMP, "token": TOKEN + "0"},
            {"timestamp": TIMESTAMP, "token": ""},
        ):
            self.assert_bad_request(self.json_request(**fields, signature=self.sign()))

    def test_form(self):
        request = self.form_request(
            ("timestamp", TIMESTAMP), ("token", TOKEN), ("signature", self.sign())
        )
        self.assertEqual(self.call(request).status_code, 200)

    def test_form_takes_the_last_values(self):
        # User variables are fields, too.
        request = self.form_request(
            *(("timestamp", "user"), ("token", "user"), ("signature", "user")),
            *(("timestamp", TIMESTAMP), ("token", TOKEN), ("signature", self.sign())),
        )
        self.assertEqual(self.call(request).status_code, 200)
        request = self.form_request(
            *(("timestamp", TIMESTAMP), ("token", TOKEN), ("signature", self.sign())),
            ("signature", "user"),
        )
        self.received.clear()
        self.assert_bad_request(request)

    def test_form_with_an_odd_charset(self):
        request = self.make_request(multipart=[{"name": "event", "value": "opened"}])
        content_type = request.effective_content_type
        for charset in ("hex", "idna", "undefined", "utf-16"):
            request.content_type = f"{content_type}; charset={charset}"
            with self.subTest(charset):
                self.assert_bad_request(request)

    def test_error_names_the_setting_and_no_secret(self):
        request = self.json_request(timestamp=TIMESTAMP, token=TOKEN, signature="0" * 64)
        http_request = RequestFactory().post(
            "/", data=request.body, content_type="application/json"
        )
        with self.assertRaises(AnymailWebhookValidationFailure) as caught:
            MailgunTrackingWebhookView.as_view()(http_request)
        text = str(caught.exception)
        self.assertIn("MAILGUN_WEBHOOK_SIGNING_KEY", text)
        self.assertNotIn(MAILGUN_KEY, text)
        self.assertNotIn(self.sign(), text)

    def test_comparison_takes_constant_time(self):
        request = self.json_request(timestamp=TIMESTAMP, token=TOKEN, signature=self.sign())
        with patch("hmac.compare_digest", return_value=False) as compare_digest:
            self.assert_bad_request(request)
        compare_digest.assert_called()

    def test_basic_auth_comes_before_decoding(self):
        request = WebhookRequest("tracking", self.path, text="not JSON")
        with (
            self.anymail_settings(**MAILGUN.settings, WEBHOOK_SECRET="user:password"),
            patch("anymail.webhooks.mailgun.json_object") as json_object,
        ):
            response = self.call(request, authorization=None)
        self.assertEqual(response.status_code, 400)
        json_object.assert_not_called()


class TrackingTests(MailgunTestCase):
    def get_event(self, **event_data: Any) -> Any:
        return super().get_event(json={"event-data": {"event": "failed", **event_data}})

    def test_event_types(self):
        expected = {
            "accepted": "queued",
            "rejected": "rejected",
            "delivered": "delivered",
            "failed": "bounced",
            "opened": "opened",
            "clicked": "clicked",
            "unsubscribed": "unsubscribed",
            "complained": "complained",
            "stored": "unknown",
            "": "unknown",
        }
        for event, event_type in expected.items():
            with self.subTest(event):
                self.assertEqual(self.get_event(event=event).event_type, event_type)

    def test_severity(self):
        for severity in ("permanent", "internal", "unknown", None, {}):
            self.assertEqual(self.get_event(severity=severity).event_type, "bounced")
        self.assertEqual(self.get_event(severity="temporary").event_type, "deferred")

    def test_reject_reasons(self):
        expected = {
            "bounce": "bounced",
            "suppress-bounce": "bounced",
            "suppress-complaint": "spam",
            "suppress-unsubscribe": "unsubscribed",
            "blacklisted": "blocked",
            "espblock": "blocked",
            "old": "timed_out",
            "generic": "other",
            "greylisted": "other",
            "hardfail": "other",
            "unknown": "other",
            "": "other",
        }
        for reason, reject_reason in expected.items():
            with self.subTest(reason):
                self.assertEqual(self.get_event(reason=reason).reject_reason, reject_reason)
        self.assertIsNone(self.get_event(reason=None).reject_reason)
        self.assertIsNone(self.get_event().reject_reason)
        self.assertEqual(self.get_event(reason=["old"]).reject_reason, "other")

    def test_message_id(self):
        for message_id, expected in (
            ("a@example.com", "<a@example.com>"),
            ("<a@example.com>", "<a@example.com>"),
            ("", None),
            (None, None),
            ([], None),
        ):
            event = self.get_event(message={"headers": {"message-id": message_id}})
            self.assertEqual(event.message_id, expected)
        for message in (None, [], {"headers": None}, {"headers": {}}, {}):
            self.assertIsNone(self.get_event(message=message).message_id)

    def test_timestamp(self):
        for timestamp in (1930000000.25, "1930000000.25"):
            self.assertEqual(
                self.get_event(timestamp=timestamp).timestamp,
                datetime(2031, 2, 27, 23, 6, 40, 250000, tzinfo=timezone.utc),
            )
        for timestamp in (None, "soon", [], 1e300):
            self.assertIsNone(self.get_event(timestamp=timestamp).timestamp)

    def test_metadata_and_tags_of_other_types(self):
        for junk in (None, "text", 1):
            event = self.get_event(**{"user-variables": junk, "tags": []})
            self.assertEqual((event.metadata, event.tags), ({}, []))
        self.assertEqual(self.get_event(**{"user-variables": []}).metadata, {})
        self.assertEqual(self.get_event(tags=None).tags, [])
        self.assertEqual(self.get_event(tags=["a", None, 1, ""]).tags, ["a", "1"])

    def test_missing_event(self):
        for event_data in ({}, {"event": None}, {"event": 1}, {"event": []}, [], None, "text"):
            with self.subTest(event_data=event_data):
                self.assert_bad_request(self.make_request(json={"event-data": event_data}))
        self.assert_bad_request(self.make_request(json={"other": 1}))


class RejectedTests(MailgunTestCase):
    """Rejected events have a format of their own."""

    def get_event(self, **event_data: Any) -> Any:
        return super().get_event(json={"event-data": {"event": "rejected", **event_data}})

    def test_description(self):
        reject = {"reason": "Not allowed", "description": "unused"}
        self.assertEqual(self.get_event(reject=reject).description, "Not allowed")
        event = self.get_event(reject=reject, **{"delivery-status": {"description": ""}})
        self.assertEqual(event.description, "Not allowed")
        event = self.get_event(reject=reject, **{"delivery-status": {"description": "Better"}})
        self.assertEqual(event.description, "Better")
        for junk in (None, [], {}, {"reason": None}):
            self.assertIsNone(self.get_event(reject=junk).description)

    def test_reject_reason(self):
        self.assertEqual(self.get_event().reject_reason, "other")
        self.assertEqual(self.get_event(reason="suppress-bounce").reject_reason, "bounced")

    def test_recipient(self):
        for to, expected in (
            ("ann@example.org", "ann@example.org"),
            ("Ann <ann@example.org>", "ann@example.org"),
            ('"Lee, Ann" <ann@bücher.example>', "ann@bücher.example"),
            ("ann@example.org, ben@example.org", None),
            ("undisclosed-recipients:;", None),
            ("ann", None),
            ("", None),
            (None, None),
            (["ann@example.org"], None),
        ):
            with self.subTest(to):
                event = self.get_event(message={"headers": {"to": to}})
                self.assertEqual(event.recipient, expected)
        event = self.get_event(
            recipient="ben@example.org", message={"headers": {"to": "ann@example.org"}}
        )
        self.assertEqual(event.recipient, "ben@example.org")

    def test_only_for_rejected(self):
        event = self.get_event(
            event="failed",
            reject={"reason": "Not allowed"},
            message={"headers": {"to": "ann@example.org"}},
        )
        self.assertEqual(
            (event.description, event.reject_reason, event.recipient), (None, None, None)
        )


class LegacyTrackingTests(MailgunTestCase):
    def get_event(self, *fields: tuple[str, str], event: str = "bounced") -> Any:
        return super().get_event(form=[["event", event], *map(list, fields)])

    def test_event_types(self):
        expected = {
            "delivered": "delivered",
            "dropped": "rejected",
            "bounced": "bounced",
            "complained": "complained",
            "unsubscribed": "unsubscribed",
            "opened": "opened",
            "clicked": "clicked",
            "stored": "unknown",
            "accepted": "unknown",
            "": "unknown",
        }
        for event, event_type in expected.items():
            with self.subTest(event):
                self.assertEqual(self.get_event(event=event).event_type, event_type)

    def test_reject_reasons(self):
        expected = {
            "499": "timed_out",
            "605": "bounced",
            "607": "spam",
            "400": "bounced",
            "498": "bounced",
            "550": "bounced",
            "599": "bounced",
            "399": "other",
            "600": "other",
            "606": "other",
            "-550": "other",
            "4.4.7": "bounced",
            "5.1.1": "bounced",
            "5": "other",
            "2.0.0": "other",
            "55.1.1": "other",
            "x.5.1": "other",
            "": "other",
            "9" * 5000: "other",
        }
        for code, reject_reason in expected.items():
            with self.subTest(code[:10]):
                self.assertEqual(self.get_event(("code", code)).reject_reason, reject_reason)
        self.assertIsNone(self.get_event().reject_reason)

    def test_first_values_count(self):
        # User variables come after Mailgun's own fields of the same name.
        event = self.get_event(
            ("event", "delivered"),
            ("recipient", "ann@example.org"),
            ("recipient", "user"),
            ("Message-Id", "<1@example.com>"),
            ("Message-Id", "user"),
            ("code", "605"),
            ("code", "499"),
            ("description", "Description"),
            ("description", "user"),
            ("error", "Error"),
            ("error", "user"),
            ("url", "https://example.com/"),
            ("url", "user"),
            ("user-agent", "Mozilla"),
            ("user-agent", "user"),
        )
        self.assertEqual(event.event_type, "bounced")
        self.assertEqual(event.recipient, "ann@example.org")
        self.assertEqual(event.message_id, "<1@example.com>")
        self.assertEqual(event.reject_reason, "bounced")
        self.assertEqual(event.description, "Description")
        self.assertEqual(event.mta_response, "Error")
        self.assertEqual(event.click_url, "https://example.com/")
        self.assertEqual(event.user_agent, "Mozilla")

    def get_event_of_fields(self, *fields: list[str]) -> Any:
        """Sign without changing the order of the fields."""
        signature = SignatureTests().sign()
        request = WebhookRequest(
            "tracking",
            self.path,
            form=[*fields, ["signature", signature]],
        )
        self.received.clear()
        self.assertEqual(self.call(request).status_code, 200)
        return self.received[0].event

    def test_user_variables_with_names_of_mailgun_fields(self):
        event = self.get_event_of_fields(
            ["event", "clicked"],
            ["recipient", "ann@example.org"],
            ["url", "https://example.com/"],
            ["tag", "a tag"],
            ["event", "wedding"],
            ["recipient", "bride"],
            ["url", "user url"],
            ["tag", "another tag"],
            ["timestamp", "user timestamp"],
            ["token", "user token"],
            ["signature", "user signature"],
            ["order", "1"],
            ["order", "2"],
            ["timestamp", TIMESTAMP],
            ["token", TOKEN],
        )
        self.assertEqual(event.event_type, "clicked")
        self.assertEqual(event.event_id, TOKEN)
        self.assertEqual(event.timestamp, datetime(2031, 2, 27, 23, 6, 40, tzinfo=timezone.utc))
        self.assertEqual(event.tags, ["a tag", "another tag"])
        self.assertEqual(
            event.metadata,
            {
                "event": "wedding",
                "recipient": "bride",
                "url": "user url",
                "timestamp": "user timestamp",
                "token": "user token",
                "signature": "user signature",
                "order": "2",
            },
        )

    def test_url_is_mailguns_only_for_clicked(self):
        for event, expected in (("clicked", {}), ("opened", {"url": "u"})):
            self.assertEqual(self.get_event(("url", "u"), event=event).metadata, expected)

    def test_fields_are_metadata_for_some_events_only(self):
        for event in ("clicked", "opened", "unsubscribed"):
            self.assertEqual(self.get_event(("a", "1"), event=event).metadata, {"a": "1"})
        for event in ("delivered", "dropped", "bounced", "complained", "stored"):
            self.assertEqual(self.get_event(("a", "1"), event=event).metadata, {})

    def test_metadata_in_message_headers(self):
        headers = [
            ["X-Mailgun-Variables", '{"a": 1, "b": 1}'],
            ["X-MAILGUN-VARIABLES", '{"c": 1}'],
            ["X-Mailgun-Variables", {"b": 2}],
            ["X-Mailgun-Variables", "[1]"],
            ["X-Mailgun-Variables", None],
            [None, 1],
        ]
        event = self.get_event(
            ("message-headers", '[["X-Mailgun-Variables", "not the last"]]'),
            ("message-headers", json.dumps(headers)),
            ("user", "field"),
            event="opened",
        )
        self.assertEqual(event.metadata, {"a": 1, "b": 2})

    def test_malformed_message_headers(self):
        for text in (
            "",
            "[",
            "{}",
            "null",
            '["text"]',
            "[[]]",
            '[["name"]]',
            '[["X-Mailgun-Variables", "{"]]',
            "[" * 100_000,
        ):
            with self.subTest(text[:30]):
                self.assert_bad_request(
                    self.make_request(form=[["event", "dropped"], ["message-headers", text]])
                )

    def test_tags(self):
        event = self.get_event(("tag", "a"), ("tag", "b"), ("X-Mailgun-Tag", "c"))
        self.assertEqual(event.tags, ["a", "b"])
        event = self.get_event(("X-Mailgun-Tag", "c"), ("X-Mailgun-Tag", "d"))
        self.assertEqual(event.tags, ["c", "d"])
        self.assertEqual(self.get_event().tags, [])

    def test_timestamp_that_is_none(self):
        request = WebhookRequest(
            "tracking",
            self.path,
            form=[
                ["event", "opened"],
                ["timestamp", "soon"],
                ["token", TOKEN],
                ["signature", SignatureTests().sign("soon")],
            ],
        )
        self.assertEqual(self.call(request).status_code, 200)
        self.assertIsNone(self.received[0].event.timestamp)

    def test_missing_event(self):
        self.assert_bad_request(self.make_request(form=[["recipient", "ann@example.org"]]))

    def test_inbound_message(self):
        for fields in ([["sender", "a@b.c"]], [["event", "inbound"]]):
            with self.assertRaisesRegex(AnymailConfigurationError, r"\*inbound\*.*\*tracking\*"):
                self.call(self.make_request(form=fields))
        # An event's sender is a user variable.
        event = self.get_event(("sender", "a@b.c"), event="opened")
        self.assertEqual(event.metadata, {"sender": "a@b.c"})


class InboundTests(MailgunTestCase):
    kind = "inbound"

    def setUp(self) -> None:
        super().setUp()
        self.fields = {"sender": "ann@example.org", "message-headers": "[]"}

    def get_message(self, **fields: str) -> Any:
        fields = {**self.fields, **{key.replace("_", "-"): fields[key] for key in fields}}
        return self.get_event(form=[[key, value] for key, value in fields.items()]).message

    def get_message_with_files(
        self, files: list[dict[str, Any]], fields: dict[str, str] | None = None
    ) -> Any:
        parts = [
            {"name": name, "value": value}
            for name, value in {**self.fields, **(fields or {})}.items()
        ]
        files = [
            {"filename": "a.txt", "content_type": "text/plain", "text": file["name"], **file}
            for file in files
        ]
        return self.get_event(multipart=[*parts, *files]).message

    def test_urls(self):
        url = reverse("anymail:mailgun_inbound_webhook")
        self.assertTrue(url.endswith("/mailgun/inbound/"), url)
        mime_url = reverse("anymail:mailgun_inbound_webhook", args=["_mime"])
        self.assertTrue(mime_url.endswith("/mailgun/inbound_mime/"), mime_url)

    def test_both_formats_at_both_urls(self):
        for url in (self.path, reverse("anymail:mailgun_inbound_webhook", args=["_mime"])):
            self.path = url
            self.assertEqual(self.get_message(body_plain="Text").text, "Text")
            self.assertEqual(self.get_message(body_mime="Subject: S\n\nRaw").text, "Raw")

    def test_raw_mime_without_message_headers(self):
        self.fields = {"body-mime": "Subject: S\n\nRaw"}
        message = self.get_message()
        self.assertEqual((message.subject, message.text), ("S", "Raw"))
        self.assertIsNone(message.envelope_sender)
        self.assertIsNone(message.envelope_recipient)

    def test_raw_mime_is_bytes(self):
        raw_mime = b"Content-Type: text/plain; charset=iso-8859-1\n\nCaf\xe9"
        event = self.get_event(form=[["sender", "a@b.c"], ["body-mime", raw_mime]])
        self.assertEqual(event.message.text, "Café")
        self.assertEqual(event.esp_event.POST["sender"], "a@b.c")

    def test_raw_mime_with_duplicate_headers(self):
        message = self.get_message(body_mime="Subject: 1\nSubject: 2\nTo: a@b.c\nTo: d@e.f\n\n")
        self.assertEqual(message.subject, "1")
        self.assertEqual([to.addr_spec for to in message.to], ["a@b.c", "d@e.f"])

    def test_envelope(self):
        for sender in ("", "<>", " "):
            self.assertIsNone(self.get_message(sender=sender).envelope_sender)
        message = self.get_message(sender="Ann <a@b.c>", recipient="Box <box@mg.example.com>")
        self.assertEqual(message.envelope_sender, "a@b.c")
        self.assertEqual(message.envelope_recipient, "box@mg.example.com")

    def test_missing_headers(self):
        del self.fields["message-headers"]
        request = self.make_request(form=[["sender", "a@b.c"], ["body-plain", "Text"]])
        self.assert_bad_request(request)

    def test_malformed_headers(self):
        for text in ("", "[", "{}", "null", '["text"]', "[[]]", '[["name"]]', "[" * 100_000):
            with self.subTest(text[:30]):
                self.assert_bad_request(
                    self.make_request(form=[["sender", "a@b.c"], ["message-headers", text]])
                )

    def test_headers_cannot_end_the_headers(self):
        headers = [
            ["Subject", "a\r\n\r\nb"],
            ["X-A", "a\n\n"],
            ["X-B\r\nX-C", "c"],
            ["X-D:", "d"],
            [" X-E", "e"],
            ["To", "\r\n to@example.com"],
            ["Content-Type", "text/plain"],
            ["Content-Transfer-Encoding", "base64"],
        ]
        message = self.get_message(message_headers=json.dumps(headers), body_plain="Text")
        self.assertEqual(
            [name for name, _ in message.items()],
            ["Subject", "X-A", "To", "MIME-Version", "Content-Type"],
        )
        self.assertEqual(message.subject, "a b")
        self.assertEqual(message.to[0].addr_spec, "to@example.com")
        self.assertEqual(message.text, "Text")
        self.assertIn(b"Subject: a b\n", message.as_bytes())

    def test_spam(self):
        def verdict(*headers: tuple[str, str]) -> tuple[bool, float | None]:
            message = self.get_message(message_headers=json.dumps(headers))
            return message.spam_detected, message.spam_score

        flag, score = "X-Mailgun-Sflag", "X-Mailgun-Sscore"
        self.assertEqual(verdict(), (False, None))
        self.assertEqual(verdict((flag, "Yes"), (score, "5.5")), (True, 5.5))
        self.assertEqual(verdict((flag.lower(), "YES"), (score.upper(), "-1")), (True, -1.0))
        self.assertEqual(verdict((flag, "No"), (score, "0")), (False, 0.0))
        self.assertEqual(verdict((flag, "maybe"), (score, "high")), (False, None))
        self.assertEqual(verdict((score, "nan"), (score, "inf")), (False, None))
        # A sender's own headers don't hide Mailgun's, whichever come first.
        real, fake = [(flag, "Yes"), (score, "9")], [(flag, "No"), (score, "-9")]
        self.assertEqual(verdict(*real, *fake), (True, 9.0))
        self.assertEqual(verdict(*fake, *real), (True, 9.0))

    def test_spam_in_raw_mime(self):
        message = self.get_message(body_mime="x-mailgun-sflag: yes \nx-mailgun-sscore: 3 \n\n")
        self.assertEqual((message.spam_detected, message.spam_score), (True, 3.0))

    def test_attachments_are_in_numeric_order(self):
        names = [f"attachment-{n}" for n in (10, 9, 100, 1, 2)]
        message = self.get_message_with_files([{"name": name} for name in names])
        self.assertEqual(
            [part.get_content_text() for part in message.attachments],
            [f"attachment-{n}" for n in (1, 2, 9, 10, 100)],
        )

    def test_attachment_count_is_ignored(self):
        for count in ("0", "1", "999999999999", "-1", "many", ""):
            with self.subTest(count):
                message = self.get_message_with_files(
                    [{"name": "attachment-1"}, {"name": "attachment-2"}],
                    {"attachment-count": count},
                )
                self.assertEqual(len(message.attachments), 2)

    def test_other_files_are_no_attachments(self):
        names = ["attachment", "attachment-", "attachment-x", "attachment-1x", "attachment-١", "a"]
        message = self.get_message_with_files([{"name": name} for name in names])
        self.assertEqual(message.attachments, [])

    def test_several_files_in_a_field(self):
        message = self.get_message_with_files([{"name": "attachment-1"}, {"name": "attachment-1"}])
        self.assertEqual(len(message.attachments), 2)

    def test_names_that_django_refuses(self):
        message = self.get_message_with_files(
            [
                {"name": "attachment-1", "filename": ""},
                {"name": "attachment-2", "filename": ".."},
                {"name": "attachment-3", "filename": "/etc/passwd"},
            ]
        )
        self.assertEqual(
            [(part.get_filename(), part.as_uploaded_file().name) for part in message.attachments],
            [(None, "attachment"), ("..", "attachment"), ("/etc/passwd", "passwd")],
        )

    def test_attachment_charset(self):
        message = self.get_message_with_files(
            [
                {
                    "name": "attachment-1",
                    "content_type": 'text/plain; charset="iso-8859-1"',
                    "base64": "Z3L232U=",
                },
                {"name": "attachment-2", "content_type": "text/plain; charset=bogus"},
                {"name": "attachment-3", "content_type": "nonsense"},
            ]
        )
        attachments = message.attachments
        self.assertEqual(attachments[0].get_content_text(), "größe")
        self.assertEqual(attachments[1].get_content_text(), "attachment-2")
        self.assertEqual(attachments[2].get_content_type(), "application/octet-stream")
        self.assertEqual(attachments[2].get_content_bytes(), b"attachment-3")

    def test_content_id_map(self):
        content_id_map = (
            '{"a@x": "attachment-1", "": "attachment-2", "": "attachment-3", "a@x": "attachment-4",'
            ' "b\\r\\nc": "attachment-5", "d": ["attachment-6"], "e": null}'
        )
        message = self.get_message_with_files(
            [{"name": f"attachment-{n}"} for n in range(1, 8)], {"content-id-map": content_id_map}
        )
        self.assertEqual(
            [(part.get_content_text(), part["Content-ID"]) for part in message.inlines],
            [
                ("attachment-1", "<a@x>"),
                ("attachment-2", ""),
                ("attachment-3", ""),
                ("attachment-4", "<a@x>"),
                ("attachment-5", "<b c>"),
            ],
        )
        self.assertEqual(
            [part.get_content_text() for part in message.attachments],
            ["attachment-6", "attachment-7"],
        )

    def test_malformed_content_id_map(self):
        for text in ("[", "[]", '[["a", "b"]]', "null", "1", '"text"', "[" * 100_000):
            with self.subTest(text[:30]):
                parts = [{"name": k, "value": v} for k, v in self.fields.items()]
                parts.append({"name": "content-id-map", "value": text})
                self.assert_bad_request(self.make_request(multipart=parts))
        for text in ("", "{}"):
            message = self.get_message_with_files(
                [{"name": "attachment-1"}], {"content-id-map": text}
            )
            self.assertEqual(len(message.attachments), 1)

    def test_uploads_of_any_kind(self):
        # Projects can have other upload handlers than Django's own.
        request = RequestFactory().post(
            "/", {**self.fields, "attachment-1": SimpleUploadedFile("a.bin", b"\0\xff", "")}
        )
        event = MailgunInboundWebhookView().esp_to_anymail_event(request)
        [attachment] = event.message.attachments
        self.assertEqual(attachment.get_content_bytes(), b"\0\xff")
        self.assertIs(event.esp_event, request)
