"""SparkPost's webhooks, beyond the fixture pairs and what all webhooks have in common."""

from __future__ import annotations

import base64
from typing import Any

from django.test import SimpleTestCase, override_settings, tag
from django.urls import reverse

from anymail.webhooks.sparkpost import SparkPostTrackingWebhookView

from .cases.sparkpost import SPARKPOST
from .harness import BASIC_AUTH, WebhookRequest, WebhookTestCase


@tag("sparkpost")
@override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH})
class InitialOpenSettingTests(SimpleTestCase):
    setting = "SPARKPOST_TRACK_INITIAL_OPEN_AS_OPENED"

    def test_default(self):
        self.assertIs(SparkPostTrackingWebhookView().track_initial_open_as_opened, False)

    def test_settings(self):
        for override in (
            override_settings(ANYMAIL={self.setting: True, "WEBHOOK_SECRET": BASIC_AUTH}),
            override_settings(**{f"ANYMAIL_{self.setting}": True}),
        ):
            with override:
                view = SparkPostTrackingWebhookView()
                self.assertIs(view.track_initial_open_as_opened, True)
        with override_settings(**{self.setting: True}):
            self.assertIs(SparkPostTrackingWebhookView().track_initial_open_as_opened, False)

    def test_as_view(self):
        view: Any = SparkPostTrackingWebhookView.as_view(track_initial_open_as_opened=True)
        instance = view.view_class(**view.view_initkwargs)
        self.assertIs(instance.track_initial_open_as_opened, True)


@tag("sparkpost")
@override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH})
class SparkPostTestCase(WebhookTestCase):
    kind = "tracking"

    def post(self, data: Any) -> Any:
        path = reverse(SPARKPOST.view(self.kind).url_name)
        self.received.clear()
        return self.call(WebhookRequest(self.kind, path, json=data))

    def get_event(self, event: Any, event_class: str) -> Any:
        self.assertEqual(self.post([{"msys": {event_class: event}}]).status_code, 200)
        [received] = self.received
        self.assert_event_contract(received.event, self.kind)
        return received.event


class TrackingTests(SparkPostTestCase):
    def test_timestamps(self):
        for timestamp, expected in (
            ("1930000000", "2031-02-27T23:06:40+00:00"),
            (1930000000, "2031-02-27T23:06:40+00:00"),
            ("2031-02-27T23:06:40.123Z", "2031-02-27T23:06:40.123000+00:00"),
            ("2031-02-27T23:06:40.000-05:00", "2031-02-27T23:06:40-05:00"),
            ("0", "1970-01-01T00:00:00+00:00"),
            ("", None),
            (None, None),
            ("1e400", None),
            ([1930000000], None),
        ):
            with self.subTest(timestamp=timestamp):
                event = self.get_event({"type": "open", "timestamp": timestamp}, "track_event")
                self.assertEqual(event.timestamp and event.timestamp.isoformat(), expected)

    def test_wrong_types(self):
        event = self.get_event(
            {
                "type": ["open"],
                "bounce_class": {"a": 1},
                "raw_rcpt_to": 5,
                "raw_reason": ["x"],
                "transmission_id": 777,
                "event_id": None,
                "campaign_id": {"a": 1},
                "rcpt_meta": "text",
                "target_link_url": 5,
                "user_agent": [],
            },
            "message_event",
        )
        self.assertEqual(event.event_type, "unknown")
        self.assertEqual(event.reject_reason, "other")
        self.assertIsNone(event.recipient)
        self.assertEqual(event.message_id, "777")
        self.assertEqual((event.tags, event.metadata), ([], {}))

    def test_one_malformed_item_refuses_the_call(self):
        good = {"msys": {"message_event": {"type": "delivery"}}}
        for bad in ({}, {"msys": None}, {"msys": {"a": 1}}, {"msys": {"a": {}, "b": {}}}, 5):
            with self.subTest(bad=bad):
                self.assertEqual(self.post([good, bad]).status_code, 400)
                self.assert_no_signals()

    def test_not_an_array(self):
        self.assertEqual(self.post({"msys": {}}).status_code, 400)


class InboundTests(SparkPostTestCase):
    kind = "inbound"

    def message(self, raw: bytes) -> Any:
        content = {
            "email_rfc822": base64.b64encode(raw).decode(),
            "email_rfc822_is_base64": True,
        }
        return self.get_event({"content": content, "protocol": "smtp"}, "relay_message").message

    def test_every_charset(self):
        for charset, text in (
            ("utf-8", "Größe 日本"),
            ("iso-8859-15", "Größe €"),
            ("koi8-r", "Размер"),
            ("shift_jis", "日本"),
            ("gb18030", "尺寸"),
        ):
            with self.subTest(charset=charset):
                message = self.message(
                    f"Content-Type: text/plain; charset={charset}\r\n"
                    "Content-Transfer-Encoding: 8bit\r\n\r\n".encode()
                    + text.encode(charset)
                )
                self.assertEqual(message.text, text)

    def test_bytes_in_no_charset(self):
        message = self.message(b"Subject: \xff\xfe\r\nX-Other: ok\r\n\r\n\xff\xfe\r\n")
        self.assertEqual(message.subject, "ÿþ")
        self.assertEqual(message["X-Other"], "ok")
        self.assertEqual(message.text, "ÿþ\n")

    def test_binary_attachment(self):
        message = self.message(
            b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
            b"Content-Type: application/octet-stream\r\n"
            b"Content-Disposition: attachment; filename=a.bin\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n\x80\xff\xfe\r\n--b--\r\n"
        )
        [attachment] = message.attachments
        self.assertEqual(attachment.get_content_bytes(), b"\x80\xff\xfe")
