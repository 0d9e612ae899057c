"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import json
import re
from pathlib import Path

from django.test import tag

from anymail.webhooks.postmark import BOUNCE_TYPES, RECORD_TYPES
from tests.utils import FIXTURES
from tests.webhooks.harness import WebhookRequest, WebhookTestCase


def fixture_bodies(kind: str) -> list[dict]:
    paths = sorted(Path(FIXTURES, "postmark", kind).glob("*.json"))
    return [json.loads(path.read_text())["json"] for path in paths if "expected" not in path.name]


@tag("postmark")
class PostmarkWebhookTests(WebhookTestCase):
    def post(self, kind, body):
        request = WebhookRequest(kind=kind, path=f"/anymail/postmark/{kind}/", json=body)
        with self.anymail_settings(WEBHOOK_SECRET="fixture-user:fixture-password"):
            response = self.call(request)
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        self.received.clear()
        return received.event

    def test_fixtures_cover_all_record_types(self):
        seen = {
            body["RecordType"]
            for body in fixture_bodies("tracking")
            if "RecordType" in body and isinstance(body["RecordType"], str)
        }
        self.assertEqual(set(RECORD_TYPES) - seen, set())

    def test_fixtures_cover_all_bounce_types(self):
        seen = {body.get("Type") for body in fixture_bodies("tracking")}
        seen |= {body.get("SuppressionReason") for body in fixture_bodies("tracking")}
        self.assertEqual(set(BOUNCE_TYPES) - seen, set())

    def test_timestamps(self):
        for name in ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt"):
            event = self.post("tracking", {"RecordType": "Open", name: "2026-01-02T03:04:05.5Z"})
            self.assertEqual(event.timestamp.isoformat(), "2026-01-02T03:04:05.500000+00:00")

    def test_other_spam_headers(self):
        for status, detected in (("YES", True), ("yes", True), ("No", False), ("", False)):
            headers = [{"Name": "x-spam-status", "Value": status}]
            event = self.post("inbound", {"Headers": headers})
            self.assertIs(event.message.spam_detected, detected)

    def test_return_path_without_brackets(self):
        headers = [{"Name": "RETURN-PATH", "Value": "bounce@example.org"}]
        event = self.post("inbound", {"Headers": headers})
        self.assertEqual(event.message.envelope_sender, "bounce@example.org")

    def test_empty_return_path(self):
        # A bounce: its envelope sender is "<>".
        headers = [{"Name": "Return-Path", "Value": "<>"}]
        event = self.post("inbound", {"Headers": headers})
        self.assertIsNone(event.message.envelope_sender)

    def test_long_display_name_is_not_folded(self):
        name = "Ä very, long name " * 20
        full = {"Name": name.strip(), "Email": "a@example.com"}
        event = self.post("inbound", {"FromFull": full, "ToFull": [full]})
        self.assertEqual(event.message.from_email.display_name, name.strip())
        self.assertEqual(event.message.to[0].display_name, name.strip())
        self.assertIsNone(re.search(r"[\r\n]", event.message["From"]))
