"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import json
from pathlib import Path

from django.test import tag

from anymail.webhooks.mailjet import EVENT_TYPES, REJECT_REASONS
from tests.utils import FIXTURES
from tests.webhooks.harness import WebhookRequest, WebhookTestCase


@tag("mailjet")
class MailjetWebhookTests(WebhookTestCase):
    def post(self, kind, body):
        request = WebhookRequest(kind=kind, path=f"/anymail/mailjet/{kind}/", json=body)
        with self.anymail_settings(WEBHOOK_SECRET="fixture-user:fixture-password"):
            response = self.call(request)
        self.assertEqual(response.status_code, 200)
        [received] = self.received
        self.received.clear()
        return received.event

    def test_fixtures_cover_all_events_and_errors(self):
        paths = Path(FIXTURES, "mailjet", "tracking").glob("*.json")
        bodies = [json.loads(path.read_text()).get("json") for path in paths]
        events = [body for body in bodies if isinstance(body, dict)]
        seen = {event["event"] for event in events if isinstance(event.get("event"), str)}
        self.assertEqual(set(EVENT_TYPES) - seen, set())
        seen = {event["error"] for event in events if isinstance(event.get("error"), str)}
        self.assertEqual(set(REJECT_REASONS) - seen, set())

    def test_any_content_type(self):
        request = WebhookRequest(
            kind="tracking",
            path="/anymail/mailjet/tracking/",
            content_type="text/plain; charset=iso-8859-1",
            raw='{"event": "sent", "customcampaign": "größe"}'.encode(),
        )
        with self.anymail_settings(WEBHOOK_SECRET="fixture-user:fixture-password"):
            self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual(self.received[0].event.tags, ["größe"])

    def test_metadata_is_nested_too_deeply(self):
        event = self.post("tracking", {"event": "sent", "Payload": "[" * 100_000})
        self.assertEqual(event.metadata, {})

    def test_hard_bounce_decides_whether_greylisted_is_deferred(self):
        for hard_bounce, event_type in ((True, "bounced"), (False, "deferred"), (None, "deferred")):
            body = {"event": "bounce", "error": "greylisted", "hard_bounce": hard_bounce}
            self.assertEqual(self.post("tracking", body).event_type, event_type)

    def test_event_with_headers(self):
        event = self.post("tracking", {"event": "open", "Headers": {"From": "a@example.com"}})
        self.assertEqual(event.event_type, "opened")

    def test_name_of_attachment(self):
        for headers, filename in (
            ({"Content-Type": "text/plain; name=a.txt"}, "a.txt"),
            ({"content-type": ["text/plain; name=a.txt", "text/html; name=b.txt"]}, "a.txt"),
            (
                {
                    "Content-Type": "text/plain; name=a.txt",
                    "Content-Disposition": "attachment; filename*=utf-8''gr%C3%BCn.txt",
                },
                "grün.txt",
            ),
            ({"Content-Disposition": 'attachment; filename="=?utf-8?q?gr=C3=BCn?="'}, "grün"),
            ({"Content-Disposition": 'attachment; filename="a\r\n b"'}, "a b"),
            ({"Content-Disposition": "attachment"}, None),
        ):
            with self.subTest(headers=headers):
                parts = [{"Headers": headers, "ContentRef": "Attachment1"}]
                event = self.post("inbound", {"Parts": parts, "Attachment1": "YQ=="})
                [attachment] = event.message.attachments
                self.assertEqual(attachment.get_filename(), filename)
                self.assertEqual(attachment.get_content_type(), "text/plain")
                self.assertEqual(attachment.get_content_bytes(), b"a")
