"""Mailtrap's stand-in. https://github.com/mailtrap/mailtrap-openapi"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlsplit

from anymail.addresses import EmailAddress
from anymail.sandbox import Sandbox, StoredAttachment, StoredTemplate, WebhookCall

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, SHOP, WebhookTestCase, message

SEND = "/mailtrap/api/send"
BATCH = "/mailtrap/api/batch"
TOKEN = "sandbox-api-token"
TEMPLATE = "7d6c0c5a-0000-4000-8000-000000000000"

ANN = {"email": "ann@example.net", "name": "Ann"}
MESSAGE = {
    "from": {"email": "shop@example.com", "name": "Shop, Brno"},
    "to": [ANN],
    "subject": "Účet",
    "text": "Text",
}


class MailtrapTestCase(SandboxTestCase):
    def post(self, data: Any, path: str = SEND, **headers: str) -> Answer:
        return self.post_json(path, data, **(headers or {"Api-Token": TOKEN}))

    def assert_refused(self, answer: Answer, text: str, status: int = 400) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertIs(answer.json["success"], False)
        self.assertIn(text, " ".join(answer.json["errors"]))
        self.assertEqual(self.sandbox.messages, [])


class SendTests(MailtrapTestCase):
    def test_accepted(self):
        answer = self.post({**MESSAGE, "cc": [{"email": "c@example.net"}]})
        self.assertEqual(answer.status, 200)
        self.assertIs(answer.json["success"], True)
        [stored] = self.sandbox.messages
        self.assertEqual(answer.json["message_ids"], stored.message_ids)
        self.assertEqual(len(set(stored.message_ids)), 2)

    def test_stored(self):
        self.post(
            {
                **MESSAGE,
                "to": [ANN, {"email": "žofie@example.net"}],
                "bcc": [{"email": "b@example.net"}],
                "reply_to": {"email": "help@example.com", "name": "Help"},
                "html": "<p>Text",
                "headers": {"X-Shop": "7"},
                "category": "Objednávka",
                "custom_variables": {"order": "4711", "n": 5},
                "attachments": [
                    {
                        "filename": "účet.csv",
                        "type": 'text/csv; charset="iso-8859-2"',
                        "content": "6Ts=",
                    },
                    {
                        "filename": "logo.png",
                        "type": "image/png",
                        "content": "iVBO",
                        "disposition": "inline",
                        "content_id": "logo@inline",
                    },
                ],
            }
        )
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "mailtrap")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertIsNone(stored.template_id)
        self.assertEqual(
            stored.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"\xe9;"),),
        )
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo.png", "image/png", b"\x89PN", "logo@inline"),),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("to", EmailAddress("", "žofie@example.net")),
                ("bcc", EmailAddress("", "b@example.net")),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual(copy.header_to, "Ann <ann@example.net>, žofie@example.net")
            self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
            self.assertEqual(copy.headers, {"X-Shop": "7"})
            self.assertEqual(copy.metadata, {"order": "4711", "n": "5"})
            self.assertEqual(copy.tags, ("Objednávka",))

    def test_reply_to_header(self):
        self.post({**MESSAGE, "headers": {"Reply-To": "a@example.com, b@example.com"}})
        self.assertEqual(self.sandbox.messages[0].reply_to, "a@example.com, b@example.com")

    def test_sandbox(self):
        answer = self.post({**MESSAGE, "cc": [ANN]}, f"{SEND}/12345")
        [message_id] = answer.json["message_ids"]
        self.assertEqual(self.sandbox.messages[0].message_ids, [message_id])

    def test_template(self):
        self.sandbox.templates[TEMPLATE] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}</b>")
        self.post(
            {
                "from": MESSAGE["from"],
                "to": [ANN],
                "template_uuid": TEMPLATE,
                "template_variables": {"name": "Ann", "n": 3},
            }
        )
        [stored] = self.sandbox.messages
        self.assertEqual((stored.subject, stored.template_id), ("", TEMPLATE))
        copy = stored.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "3", "<b>3</b>"))
        self.assertEqual(copy.merge_data, {"name": "Ann", "n": 3})

    def test_unknown_template(self):
        self.post({"from": MESSAGE["from"], "to": [ANN], "template_uuid": "other"})
        self.assertEqual(self.sandbox.messages[0].recipients[0].subject, "")


class BatchTests(MailtrapTestCase):
    def test_batch(self):
        self.sandbox.templates[TEMPLATE] = StoredTemplate("Hi {{first}}, {{shop}}")
        answer = self.post(
            {
                "base": {
                    "from": MESSAGE["from"],
                    "template_uuid": TEMPLATE,
                    "template_variables": {"first": "friend", "shop": "Shop"},
                    "custom_variables": {"run": "w7"},
                },
                "requests": [
                    {"to": [ANN], "template_variables": {"first": "Ann"}},
                    {
                        "to": [{"email": "bo@example.net"}],
                        "cc": [{"email": "c@example.net"}],
                        "custom_variables": {"order": "5"},
                    },
                ],
            },
            BATCH,
        )
        ann, bo = self.sandbox.messages
        self.assertEqual(
            answer.json,
            {
                "success": True,
                "responses": [
                    {"success": True, "message_ids": ann.message_ids},
                    {"success": True, "message_ids": bo.message_ids},
                ],
            },
        )
        # What a message has is used in place of the common values, not merged with them.
        self.assertEqual(ann.recipients[0].subject, "Hi Ann, ")
        self.assertEqual(ann.recipients[0].metadata, {"run": "w7"})
        self.assertEqual(bo.recipients[0].subject, "Hi friend, Shop")
        self.assertEqual(bo.recipients[0].metadata, {"order": "5"})
        self.assertEqual([copy.kind for copy in bo.recipients], ["to", "cc"])
        self.assertEqual(bo.recipients[1].header_to, "bo@example.net")

    def test_one_is_refused(self):
        answer = self.post(
            {"base": MESSAGE_BASE, "requests": [{"to": [{"email": "bad"}]}, {"to": [ANN]}]}, BATCH
        )
        self.assertEqual(answer.status, 200)
        self.assertIs(answer.json["success"], True)
        refused, accepted = answer.json["responses"]
        self.assertEqual(refused, {"success": False, "errors": ["'to' address is invalid"]})
        [stored] = self.sandbox.messages
        self.assertEqual(accepted["message_ids"], stored.message_ids)

    def test_sandbox(self):
        answer = self.post(
            {"base": MESSAGE_BASE, "requests": [{"to": [ANN], "cc": [ANN]}]}, f"{BATCH}/1"
        )
        self.assertEqual(len(answer.json["responses"][0]["message_ids"]), 1)

    def test_refused(self):
        for data, text in (
            ({"base": MESSAGE_BASE}, "'requests'"),
            ({"base": MESSAGE_BASE, "requests": []}, "'requests'"),
            ({"base": [], "requests": [{}]}, "'requests'"),
            ({"base": MESSAGE_BASE, "requests": [5]}, "'requests'"),
            ({"base": MESSAGE_BASE, "requests": [{"to": [ANN]}] * 501}, "at most 500"),
            ({"base": MESSAGE, "requests": [{"to": [ANN]}]}, "'to' is not allowed"),
        ):
            with self.subTest(text=text):
                self.assert_refused(self.post(data, BATCH), text)


MESSAGE_BASE = {name: value for name, value in MESSAGE.items() if name != "to"}


class RefusalTests(MailtrapTestCase):
    def test_authentication(self):
        for headers in ({"X-Any": "1"}, {"Api-Token": "wrong"}, {"Authorization": TOKEN}):
            self.assert_refused(self.post(MESSAGE, **headers), "Unauthorized", 401)
        answer = self.post(MESSAGE, Authorization=f"Bearer {TOKEN}")
        self.assertEqual(answer.status, 200)

    def test_other_urls(self):
        for path in ("/mailtrap/send", "/mailtrap/api/send/", "/mailtrap/api/send/x", "/mailtrap/"):
            self.assertEqual(self.post(MESSAGE, path).status, 404)
        self.assertEqual(self.call(SEND, headers={"Api-Token": TOKEN}, method="GET").status, 404)
        self.assertEqual(self.sandbox.messages, [])

    def test_malformed_body(self):
        self.assert_refused(self.call(SEND, b"{", {"Api-Token": TOKEN}), "Invalid JSON")
        self.assert_refused(self.post([MESSAGE]), "must be a JSON object")

    def test_messages(self):
        attachment = {"filename": "a.txt", "content": "YQ=="}
        for change, text in (
            ({"from": ...}, "'from' is required"),
            ({"from": "shop@example.com"}, "'from' address"),
            ({"from": {"email": "é@example.com"}}, "'from' address"),
            ({"to": ...}, "'to', 'cc' or 'bcc' is required"),
            ({"to": []}, "'to', 'cc' or 'bcc' is required"),
            ({"to": ANN}, "'to' is invalid"),
            ({"to": [{"email": "ann@háj.example"}]}, "'to' address"),
            ({"to": [{"name": "Ann"}]}, "'to' address"),
            ({"to": [{"email": 5}]}, "'to' address"),
            ({"cc": [{"email": "c@example.com", "name": 5}]}, "'cc' address"),
            ({"bcc": ["b@example.com"]}, "'bcc' address"),
            ({"to": [ANN] * 1001}, "at most 1000"),
            ({"reply_to": [ANN]}, "'reply_to' address"),
            ({"subject": ...}, "'subject' is required"),
            ({"subject": ""}, "'subject' is required"),
            ({"subject": 5}, "'subject' is invalid"),
            ({"text": ...}, "either text or html"),
            ({"text": "", "html": ""}, "either text or html"),
            ({"headers": []}, "'headers'"),
            ({"template_uuid": TEMPLATE}, "'subject' is not allowed"),
            (
                {"template_uuid": TEMPLATE, "subject": ..., "text": ..., "category": "a"},
                "'category' is not allowed with 'template_uuid'",
            ),
            ({"category": ["a"]}, "'category'"),
            ({"category": "a" * 256}, "'category' is too long"),
            ({"custom_variables": "a"}, "'custom_variables'"),
            ({"custom_variables": {"a": "é" * 500}}, "exceed 1000 bytes"),
            ({"attachments": "a"}, "'attachments'"),
            ({"attachments": [{**attachment, "content": "?"}]}, "'attachments'"),
            ({"attachments": [{**attachment, "filename": ""}]}, "must have a filename"),
            ({"attachments": [{"content": "YQ=="}]}, "'attachments'"),
            ({"attachments": [{**attachment, "disposition": "inline"}]}, "'attachments'"),
            ({"attachments": ["a"]}, "'attachments'"),
        ):
            with self.subTest(change=str(change)[:60]):
                data: dict[str, Any] = {**MESSAGE, **change}
                data = {name: value for name, value in data.items() if value is not ...}
                self.assert_refused(self.post(data), text)


class ReceivedTests(MailtrapTestCase):
    """What a site fetches after it was told about a received message."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox.webhook_url = "http://127.0.0.1:8000/anymail"
        self.mail = WebhookTestCase.mail(self)  # type: ignore[arg-type]
        call = self.sandbox.inbound_webhook("mailtrap", self.mail)
        [notification] = json.loads(call.body)["events"]
        self.path = "/mailtrap/api/inbound/inboxes/{inbox_id}/messages/{message_id}".format_map(
            notification
        )

    def get(self, url: str, token: str | None = None) -> Answer:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return self.call(
            path, headers={"Authorization": f"Bearer {token}"} if token else {}, method="GET"
        )

    def test_message(self):
        answer = self.get(self.path, TOKEN)
        self.assertEqual(answer.status, 200)
        details = answer.json
        self.assertEqual(self.path.rpartition("/")[2], details["id"])
        self.assertEqual(details["subject"], self.mail.subject)
        self.assertTrue(details["raw_message_url"].startswith(self.sandbox.base_url + "/mailtrap/"))
        raw = self.get(details["raw_message_url"])
        self.assertEqual(raw.status, 200)
        self.assertEqual(raw.headers["Content-Type"], "message/rfc822")
        WebhookTestCase.assert_mime(self, raw.text, self.mail)  # type: ignore[arg-type]

    def test_each_message_has_an_id(self):
        ids = set()
        for _ in range(3):
            call = self.sandbox.inbound_webhook("mailtrap", self.mail)
            ids.add(json.loads(call.body)["events"][0]["message_id"])
        self.assertEqual(len(ids), 3)

    def test_refused(self):
        self.assertEqual(self.get(self.path).status, 401)
        self.assertEqual(self.get(self.path, "wrong").status, 401)
        self.assertEqual(self.get(self.path + "0", TOKEN).status, 404)
        self.assertEqual(self.get(self.path.replace("inboxes/", "inboxes/1"), TOKEN).status, 404)
        self.assertEqual(self.call(self.path, headers={"Api-Token": TOKEN}).status, 404)

    def test_raw_refused(self):
        url = self.get(self.path, TOKEN).json["raw_message_url"]
        self.assertEqual(self.get(url.partition("?")[0]).status, 403)
        self.assertEqual(self.get(url + "0").status, 403)
        self.assertEqual(self.get(url.replace(".eml", "0.eml")).status, 403)
        # Storage providers don't take two kinds of credentials.
        self.assertEqual(self.get(url, TOKEN).status, 403)


class MailtrapWebhookTests(WebhookTestCase):
    """https://docs.mailtrap.io/email-api-smtp/webhooks"""

    provider = "mailtrap"

    def assert_signed(self, call: WebhookCall, setting: str) -> None:
        key = self.sandbox.anymail_settings()[setting].encode()
        signature = hmac.new(key, call.body, hashlib.sha256).hexdigest()
        self.assertEqual(
            call.headers, {"Content-Type": "application/json", "Mailtrap-Signature": signature}
        )

    def event(self, event: str, recipient: Any = RECIPIENT) -> Any:
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/mailtrap/tracking/")
        self.assert_signed(call, "MAILTRAP_TRACKING_SECRET")
        [payload] = json.loads(call.body)["events"]
        return payload

    def test_common_fields(self):
        for event in self.sandbox.providers["mailtrap"].events:
            with self.subTest(event):
                payload = self.event(event)
                self.assertEqual(payload["email"], "ann@example.net")
                self.assertEqual(payload["message_id"], "<1@mg.example.com>")
                self.assertEqual(payload["category"], "receipt")
                self.assertEqual(payload["custom_variables"], {"order": "4711"})
                self.assertEqual(payload["sending_domain_name"], SHOP.domain)
                # In seconds
                self.assertLess(abs(time.time() - payload["timestamp"]), 5)
                self.assertNotEqual(payload["event_id"], self.event(event)["event_id"])

    def test_without_tag_and_metadata(self):
        payload = self.event("delivered", BARE_RECIPIENT)
        self.assertNotIn("category", payload)
        self.assertNotIn("custom_variables", payload)

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "delivered": {"event": "delivery"},
            "opened": {"event": "open"},
            "clicked": {"event": "click", "url": "https://shop.example.com/?a=1&b=2"},
            "bounced": {"event": "bounce", "response": "550 5.1.1 No such user"},
            "deferred": {"event": "soft bounce", "response": "451 4.7.1 Try again later"},
            "rejected": {"event": "reject"},
            "complained": {"event": "spam"},
            "unsubscribed": {"event": "unsubscribe"},
        }
        self.assertEqual(self.sandbox.providers["mailtrap"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                payload = self.event(event)
                self.assertEqual({**payload, **expected}, payload)
        self.assertIn("Mozilla", self.event("opened")["user_agent"])

    def test_inbound(self):
        for raw in (True, False):
            call = self.sandbox.inbound_webhook("mailtrap", self.mail(), raw=raw)
            self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/mailtrap/inbound/")
            self.assert_signed(call, "MAILTRAP_INBOUND_SECRET")
            [payload] = json.loads(call.body)["events"]
            self.assertEqual(payload["event"], "inbound.message_received")
            # Not that of Mailtrap's sample calls
            self.assertNotIn(payload["inbox_id"], (None, 1))
            # In milliseconds
            self.assertLess(abs(time.time() * 1000 - payload["timestamp"]), 5000)

    def test_sandboxes_have_messages_of_their_own(self):
        call = self.sandbox.inbound_webhook("mailtrap", self.mail())
        message_id = json.loads(call.body)["events"][0]["message_id"]
        other = Sandbox()
        self.addCleanup(other.stop)
        self.assertNotIn(message_id, other.providers["mailtrap"]._received)  # type: ignore[attr-defined]
