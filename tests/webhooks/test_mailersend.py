"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import json
from pathlib import Path

from django.test import SimpleTestCase, override_settings, tag

from anymail.exceptions import AnymailConfigurationError
from anymail.webhooks.mailersend import (
    EVENT_TYPES,
    REJECT_REASONS,
    MailerSendInboundWebhookView,
    MailerSendTrackingWebhookView,
)
from tests.utils import FIXTURES
from tests.webhooks.cases.mailersend import MAILERSEND
from tests.webhooks.harness import WebhookRequest, WebhookTestCase


@tag("mailersend")
class MailerSendSecretTests(SimpleTestCase):
    @override_settings(
        ANYMAIL={
            "MAILERSEND_SIGNING_SECRET": "signing-setting",
            "MAILERSEND_INBOUND_SECRET": "inbound-setting",
        }
    )
    def test_settings(self):
        self.assertEqual(MailerSendTrackingWebhookView().signing_secret, b"signing-setting")
        self.assertEqual(MailerSendInboundWebhookView().signing_secret, b"inbound-setting")
        # Arguments of as_view() win.
        view = MailerSendTrackingWebhookView(signing_secret="argument")
        self.assertEqual(view.signing_secret, b"argument")
        view = MailerSendInboundWebhookView(inbound_secret="argument")
        self.assertEqual(view.signing_secret, b"argument")

    def test_other_views_setting(self):
        for view_class, setting, other in (
            (
                MailerSendTrackingWebhookView,
                "MAILERSEND_SIGNING_SECRET",
                "MAILERSEND_INBOUND_SECRET",
            ),
            (
                MailerSendInboundWebhookView,
                "MAILERSEND_INBOUND_SECRET",
                "MAILERSEND_SIGNING_SECRET",
            ),
        ):
            for settings in ({other: "secret"}, {setting: "", other: "secret"}, {setting: None}):
                with (
                    self.subTest(settings=settings),
                    override_settings(ANYMAIL=settings),
                    self.assertRaisesRegex(AnymailConfigurationError, setting),
                ):
                    view_class()
            # There is no bare setting.
            with (
                override_settings(ANYMAIL={}, **{setting: "secret"}),
                self.assertRaisesRegex(AnymailConfigurationError, setting),
            ):
                view_class()

    def test_arguments_of_as_view(self):
        for view_class, name in (
            (MailerSendTrackingWebhookView, "inbound_secret"),
            (MailerSendInboundWebhookView, "signing_secret"),
        ):
            with self.assertRaisesRegex(TypeError, name):
                view_class.as_view(**{name: "x"})

    def test_not_ascii(self):
        for view_class, name in (
            (MailerSendTrackingWebhookView, "signing_secret"),
            (MailerSendInboundWebhookView, "inbound_secret"),
        ):
            with self.assertRaises(AnymailConfigurationError) as raised:
                view_class(**{name: "gehéim-0123"})
            self.assertIn(f"MAILERSEND_{name.upper()}", str(raised.exception))
            self.assertNotIn("0123", str(raised.exception))
            self.assertIsNone(raised.exception.__cause__)


@tag("mailersend")
class MailerSendWebhookTests(WebhookTestCase):
    def request(self, kind, body):
        request = WebhookRequest(kind=kind, path=f"/anymail/mailersend/{kind}/", json=body)
        assert MAILERSEND.sign is not None
        MAILERSEND.sign(request)
        return request

    def post(self, kind, body):
        with self.anymail_settings(**MAILERSEND.settings):
            response = self.call(self.request(kind, body), authorization=None)
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        self.received.clear()
        return received.event

    def test_fixtures_cover_all_activities(self):
        paths = Path(FIXTURES, "mailersend", "tracking").glob("*.json")
        bodies = [json.loads(path.read_text(encoding="utf-8")).get("json") for path in paths]
        types = {
            version: {
                body["type"].removeprefix("activity.")
                for body in bodies
                if isinstance(body, dict)
                and isinstance(body.get("data"), dict)
                and isinstance(body.get("type"), str)
                and ("meta" in body["data"]) == (version == 2)
            }
            for version in (1, 2)
        }
        for version, seen in types.items():
            self.assertEqual(set(EVENT_TYPES) - seen, set(), f"version {version}")
        morphs = [body["data"].get("morph") for body in bodies if body and body.get("data")]
        seen = {
            morph["object"]
            for morph in morphs
            if isinstance(morph, dict) and isinstance(morph.get("object"), str)
        }
        self.assertEqual(set(REJECT_REASONS) - seen, set())

    def test_errors_name_the_setting(self):
        for kind, setting in (("tracking", "SIGNING_SECRET"), ("inbound", "INBOUND_SECRET")):
            request = self.request(kind, {"type": "x"})
            request.headers["Signature"] = "0" * 64
            with (
                self.subTest(kind),
                self.anymail_settings(**MAILERSEND.settings),
                self.assertLogs("django.security", "ERROR") as logs,
            ):
                self.call(request)
            self.assertIn(f"check Anymail MAILERSEND_{setting}", logs.output[0])
            self.assertNotIn("mailersend-", logs.output[0])

    def test_signatures_are_enough(self):
        with self.anymail_settings(REQUIRE_WEBHOOK_AUTH=True, **MAILERSEND.settings):
            request = self.request("tracking", {"data": {"type": "sent"}})
            self.assertEqual(self.call(request, authorization=None).status_code, 200)

    def test_basic_auth_comes_first(self):
        """What only looks like a test is not decoded before that."""
        request = WebhookRequest("tracking", "/anymail/mailersend/tracking/", text="not JSON")
        MAILERSEND.tampers["secret of test calls"](request)
        with (
            self.anymail_settings(WEBHOOK_SECRET="user:password", **MAILERSEND.settings),
            self.assertLogs("django.security", "ERROR") as logs,
        ):
            self.call(request)
        self.assertIn("basic auth", logs.output[0])

    def test_test_call_without_the_right_type(self):
        for body in ({"type": None}, {"type": ["webhook.test"]}, {"type": "webhook.test "}, {}):
            request = WebhookRequest("tracking", "/anymail/mailersend/tracking/", json=body)
            MAILERSEND.tampers["secret of test calls"](request)
            with (
                self.subTest(body=body),
                self.anymail_settings(MAILERSEND_SIGNING_SECRET="secret"),
            ):
                self.assertEqual(self.call(request).status_code, 400)

    def test_version_2_reject_reasons(self):
        for activity, reject_reason in (
            ("soft_bounced", "bounced"),
            ("hard_bounced", "bounced"),
            ("spam_complaint", "spam"),
            ("unsubscribed", "unsubscribed"),
            ("delivered", None),
        ):
            body = {"type": f"activity.{activity}", "data": {"recipient": "a@example.com"}}
            event = self.post("tracking", body)
            self.assertEqual(event.reject_reason, reject_reason)
            self.assertEqual(event.recipient, "a@example.com")

    def test_version_2_is_recognized_by_any_field(self):
        for data in (
            {"email": "a@example.com"},
            {"recipient": "a@example.com"},
            {"message_id": "m1"},
            {"email_id": "e1"},
            {"meta": None},
        ):
            with self.subTest(data=data):
                body = {"type": "activity.delivered", "data": {**data, "type": "rejected"}}
                self.assertEqual(self.post("tracking", body).event_type, "delivered")
