"""Unisender Go's stand-in. https://godocs.unisender.ru/web-api-ref"""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredTemplate, UnsupportedEvent

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

SEND = "/unisender_go/ru/transactional/api/v1/email/send.json"
KEY = "sandbox-api-key"

ANN = {"email": "ann@example.net", "substitutions": {"to_name": "Ann"}}
BO = {"email": "bo@example.net"}
MESSAGE: dict[str, Any] = {
    "from_email": "shop@example.com",
    "from_name": "Shop, Brno",
    "subject": "Účet",
    "body": {"plaintext": "Text"},
    "headers": {"to": "Ann <ann@example.net>"},
    "recipients": [ANN],
}


class UnisenderGoTestCase(SandboxTestCase):
    def post(self, data: Any, path: str = SEND, **headers: str) -> Answer:
        return self.post_json(path, {"message": data}, **(headers or {"X-API-KEY": KEY}))

    def assert_refused(
        self, answer: Answer, text: str, status: int = 400, code: int | None = None
    ) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(answer.json["status"], "error")
        self.assertIsInstance(answer.json["code"], int)
        if code is not None:
            self.assertEqual(answer.json["code"], code)
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class IdempotencyTests(UnisenderGoTestCase):
    def test_used_before(self):
        data = {**MESSAGE, "idempotence_key": "mine"}
        self.assertEqual(self.post(data).status, 200)
        answer = self.post(data)
        self.assertEqual((answer.status, answer.json["code"]), (400, 1573))
        self.assertEqual(len(self.sandbox.messages), 1)
        for use in self.sandbox.store._keys.values():
            self.assertAlmostEqual(use.until - time.time(), 60, delta=30)
            use.until = 0
        self.assertEqual(self.post(data).status, 200)

    def test_too_long(self):
        self.assert_refused(self.post({**MESSAGE, "idempotence_key": "k" * 65}), "64")


class SendTests(UnisenderGoTestCase):
    def test_accepted(self):
        answer = self.post(MESSAGE)
        self.assertEqual(answer.status, 200)
        [stored] = self.sandbox.messages
        self.assertEqual(
            answer.json,
            {
                "status": "success",
                "job_id": stored.message_ids[0],
                "emails": ["ann@example.net"],
            },
        )

    def test_stored(self):
        self.post(
            {
                **MESSAGE,
                "body": {"plaintext": "Text", "html": "<p>Text", "amp": "<html amp4email>"},
                "headers": {
                    "to": "=?utf-8?q?Bob=2C_Jr=2E?= <bob@example.net>, bo@example.net",
                    "cc": "c@example.net",
                    "X-Shop": "=?utf-8?b?w5rEjWV0?=",
                    "X-Num": 7,
                    "X-Odd": "=?utf-8?b?w5rEj?=",
                },
                "recipients": [
                    {"email": "bob@example.net", "substitutions": {"to_name": "Bob, Jr."}},
                    {"email": "bo@example.net", "metadata": {"order": 5, "anymail_id": "id-2"}},
                    {"email": "c@example.net"},
                    {"email": "b@example.net"},
                ],
                "global_metadata": {"run": "w7", "order": 1},
                "reply_to": "help@example.com",
                "reply_to_name": "=?utf-8?q?Help_Inc=2E?=",
                "tags": ["receipt", "Účet"],
                "track_links": 0,
                "track_read": 1,
                "options": {"send_at": "2031-02-03 04:05:06"},
                "attachments": [
                    {
                        "name": "účet.csv",
                        "type": 'text/csv; charset="iso-8859-2"',
                        "content": "6Ts=",
                    }
                ],
                "inline_attachments": [
                    {"name": "logo@inline", "type": "image/png", "content": "iVBO"}
                ],
            }
        )
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "unisender_go")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, '"Help Inc." <help@example.com>')
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.track_opens, stored.track_clicks), (True, False))
        self.assertEqual(stored.send_at, "2031-02-03 04:05:06")
        self.assertIsNone(stored.template_id)
        self.assertEqual(
            stored.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"\xe9;"),),
        )
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo@inline", "image/png", b"\x89PN", "logo@inline"),),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Bob, Jr.", "bob@example.net")),
                ("to", EmailAddress("", "bo@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
                ("bcc", EmailAddress("", "b@example.net")),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual(copy.header_to, '"Bob, Jr." <bob@example.net>, bo@example.net')
            self.assertEqual(
                copy.headers, {"X-Shop": "Účet", "X-Num": "7", "X-Odd": "=?utf-8?b?w5rEj?="}
            )
            self.assertEqual(copy.tags, ("receipt", "Účet"))
        bob, bo, *_others = stored.recipients
        self.assertEqual(bob.metadata, {"run": "w7", "order": "1"})
        # The id has a place of its own.
        self.assertEqual((bo.metadata, bo.message_id), ({"run": "w7", "order": "5"}, "id-2"))
        self.assertNotEqual(bob.message_id, bo.message_id)

    def test_api_key_in_body(self):
        answer = self.post_json(SEND, {"api_key": KEY, "message": MESSAGE})
        self.assertEqual(answer.status, 200)

    def test_batch(self):
        self.post(
            {
                **MESSAGE,
                "subject": "Hi {{first}}",
                "body": {"plaintext": "{{first}} {{shop}} {{other}}", "html": "<p>{{to_name}}"},
                "headers": {"List-Unsubscribe": "{{Header__List_Unsubscribe}}"},
                "global_substitutions": {"first": "friend", "shop": "Shop"},
                "recipients": [
                    {
                        "email": "ann@example.net",
                        "substitutions": {
                            "to_name": "Ann",
                            "first": "A.",
                            "Header__List_Unsubscribe": "<https://u>",
                        },
                    },
                    BO,
                ],
            }
        )
        ann, bo = self.sandbox.messages[0].recipients
        self.assertEqual((ann.subject, ann.text, ann.html), ("Hi A.", "A. Shop ", "<p>Ann"))
        self.assertEqual((bo.subject, bo.text, bo.html), ("Hi friend", "friend Shop ", "<p>"))
        self.assertEqual(ann.headers, {"List-Unsubscribe": "<https://u>"})
        self.assertEqual(bo.headers, {"List-Unsubscribe": ""})
        self.assertEqual(bo.merge_data, {"first": "friend", "shop": "Shop"})
        self.assertNotIn("to_name", ann.merge_data)
        # Nobody sees others.
        self.assertEqual((ann.kind, ann.header_to), ("to", "Ann <ann@example.net>"))
        self.assertEqual((bo.kind, bo.header_to), ("to", "bo@example.net"))

    def test_template(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{first}}", "{{n}}", "<b>{{n}}")
        recipients = [{**ANN, "substitutions": {"first": "Ann", "n": 3}}]
        self.post({"template_id": "welcome", "recipients": recipients})
        self.post({**MESSAGE, "template_id": "welcome", "recipients": recipients})
        first, second = self.sandbox.messages
        self.assertEqual((first.subject, first.template_id), ("", "welcome"))
        copy = first.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "3", "<b>3"))
        # What the message has is used in place of the template's.
        self.assertEqual(second.recipients[0].subject, "Účet")

    def test_unknown_template(self):
        self.post({"template_id": "other", "recipients": [ANN]})
        self.assertEqual(self.sandbox.messages[0].recipients[0].subject, "")

    def test_failed(self):
        self.sandbox.suppressed.add("bo@example.net")
        recipients = [
            ANN,
            {"email": "Bo@example.net"},
            {"email": "bad"},
            {"email": "žofie@example.net"},
            {"email": "zofie@háj.example"},
            {"email": "ANN@example.net"},
        ]
        answer = self.post({**MESSAGE, "recipients": recipients})
        self.assertEqual(answer.json["emails"], ["ann@example.net"])
        self.assertEqual(
            answer.json["failed_emails"],
            {
                "Bo@example.net": "unsubscribed",
                "bad": "invalid",
                "žofie@example.net": "invalid",
                "zofie@háj.example": "invalid",
                "ANN@example.net": "duplicate",
            },
        )
        self.assertEqual(len(self.sandbox.messages[0].recipients), 1)

    def test_all_failed(self):
        self.sandbox.suppressed.add("ann@example.net")
        self.assert_refused(self.post(MESSAGE), "No valid recipients", code=204)


class RefusalTests(UnisenderGoTestCase):
    def test_authentication(self):
        for headers in ({"X-Any": "1"}, {"X-API-KEY": "wrong"}, {"Authorization": KEY}):
            self.assert_refused(self.post(MESSAGE, **headers), "not found", 403, 114)

    def test_other_urls(self):
        for path in (
            "/unisender_go/",
            SEND.replace("/v1", ""),
            SEND.replace("ru/", "en/"),
            f"{SEND}x",
        ):
            self.assert_refused(self.post(MESSAGE, path), "Unknown method", 404)
        answer = self.call(SEND, headers={"X-API-KEY": KEY}, method="GET")
        self.assert_refused(answer, "Unknown method", 404)

    def test_malformed_body(self):
        headers = {"X-API-KEY": KEY}
        self.assert_refused(self.call(SEND, b"{", headers), "Error parsing JSON")
        self.assert_refused(self.call(SEND, b"[]", headers), "JSON object")
        self.assert_refused(self.call(SEND, b"{}", headers), "'message'")
        self.assert_refused(self.post([MESSAGE]), "'message'")

    def test_messages(self):
        attachment = {"name": "a.txt", "type": "text/plain", "content": "YQ=="}
        for change, text in (
            ({"from_email": ...}, "from_email"),
            ({"from_email": "shop"}, "from_email"),
            ({"from_email": "é@example.com"}, "from_email"),
            ({"from_email": "shop", "template_id": "t"}, "from_email"),
            ({"from_email": 5}, "'from_email'"),
            ({"reply_to": "help"}, "reply_to"),
            ({"subject": ...}, "'message.subject'"),
            ({"body": ...}, "'message.body'"),
            ({"body": {"plaintext": ""}}, "'message.body'"),
            ({"body": "Text"}, "'body'"),
            ({"recipients": ...}, "recipients"),
            ({"recipients": []}, "recipients"),
            ({"recipients": ANN}, "'recipients'"),
            ({"recipients": ["ann@example.net"]}, "not an object"),
            ({"recipients": [{"email": 5}]}, "'email'"),
            ({"recipients": [ANN] * 501}, "500"),
            ({"recipients": [{**ANN, "substitutions": {"to name": "x"}}]}, "'to name'"),
            ({"recipients": [{**ANN, "substitutions": {"é": "x"}}]}, "'é'"),
            ({"recipients": [{**ANN, "substitutions": {"to_name": 5}}]}, "'to_name'"),
            ({"recipients": [{**ANN, "metadata": []}]}, "'metadata'"),
            ({"recipients": [{**ANN, "metadata": dict.fromkeys("abcdefghijk", 1)}]}, "10 items"),
            ({"global_metadata": dict.fromkeys("abcdefghijk", 1)}, "10 items"),
            ({"global_substitutions": {"1a": "x"}}, "'1a'"),
            ({"headers": []}, "'headers'"),
            ({"headers": {"Received": "x"}}, "'Received' is not allowed"),
            ({"headers": {"X-A": "é"}}, "'X-A' is invalid"),
            ({"headers": {"X-A": None}}, "'X-A' is invalid"),
            ({"headers": {f"X-{n}": "x" for n in range(51)}}, "50 headers"),
            ({"tags": "a"}, "'tags'"),
            ({"tags": list("abcde")}, "4 tags"),
            ({"tags": ["a" * 51]}, "50 characters"),
            ({"tags": [5]}, "tags"),
            ({"track_links": 2}, "'track_links'"),
            ({"track_read": "yes"}, "'track_read'"),
            ({"options": []}, "'options'"),
            ({"attachments": {}}, "'attachments'"),
            ({"attachments": ["a"]}, "Invalid attachment"),
            ({"attachments": [{**attachment, "content": "?"}]}, "Invalid attachment"),
            ({"attachments": [{"content": "YQ=="}]}, "Invalid attachment"),
            ({"attachments": [{**attachment, "name": "a/b"}]}, "Invalid name"),
            ({"attachments": [{**attachment, "name": ""}]}, "Invalid name"),
            ({"attachments": [{**attachment, "name": "é" * 128}]}, "Invalid name"),
            ({"inline_attachments": [{**attachment, "name": 5}]}, "Invalid attachment"),
        ):
            with self.subTest(change=str(change)[:60]):
                data: dict[str, Any] = {**MESSAGE, **change}
                data = {name: value for name, value in data.items() if value is not ...}
                self.assert_refused(self.post(data), text)


class UnisenderGoWebhookTests(WebhookTestCase):
    """https://godocs.unisender.ru/web-api-ref#callback-format"""

    provider = "unisender_go"

    def event(self, event: str, recipient: Any = RECIPIENT) -> Any:
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/unisender_go/tracking/")
        self.assertEqual(call.headers, {"Content-Type": "application/json"})
        # The signature is the digest of the call with the key in its place.
        signature = json.loads(call.body)["auth"]
        key = self.sandbox.anymail_settings()["UNISENDER_GO_API_KEY"]
        signed = call.body.replace(signature.encode(), key.encode())
        self.assertEqual(signature, hashlib.md5(signed).hexdigest())
        self.assertNotIn(key, call.body.decode())
        self.assertTrue(call.body.isascii())
        self.assertIsNone(re.search(rb"(?<!\\)/", call.body))
        [user] = json.loads(call.body)["events_by_user"]
        [item] = user["events"]
        self.assertEqual(item["event_name"], "transactional_email_status")
        return item["event_data"]

    def test_common_fields(self):
        for event in self.sandbox.providers["unisender_go"].events:
            with self.subTest(event):
                data = self.event(event)
                self.assertEqual(data["email"], "ann@example.net")
                self.assertEqual(data["job_id"], "<1@mg.example.com>")
                self.assertEqual(data["metadata"], {"order": "4711"})
                time = datetime.strptime(data["event_time"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
                age = datetime.now(timezone.utc) - time.replace(tzinfo=timezone.utc)
                self.assertLess(abs(age.total_seconds()), 5)

    def test_generated_ids(self):
        self.sandbox.start()
        recipients = [{**ANN, "metadata": {"order": "5", "anymail_id": "id-1"}}]
        headers = {"X-API-KEY": KEY, "Content-Type": "application/json"}
        body = json.dumps({"message": {**MESSAGE, "recipients": recipients}})
        answer = UnisenderGoTestCase.call(self, SEND, body, headers)  # type: ignore[arg-type]
        [stored] = self.sandbox.messages
        call = self.sandbox.tracking_webhook(stored, "delivered")
        data = json.loads(call.body)["events_by_user"][0]["events"][0]["event_data"]
        self.assertEqual(data["job_id"], answer.json["job_id"])
        self.assertEqual(data["metadata"], {"order": "5", "anymail_id": "id-1"})

    def test_events(self):
        cases: dict[str, tuple[str, str]] = {
            "sent": ("sent", "ok_sent"),
            "delivered": ("delivered", "ok_delivered"),
            "opened": ("opened", "ok_read"),
            "clicked": ("clicked", "ok_link_visited"),
            "unsubscribed": ("unsubscribed", "ok_unsubscribed"),
            "complained": ("spam", "ok_fbl"),
            "deferred": ("soft_bounced", "err_will_retry"),
            "bounced": ("hard_bounced", "err_user_unknown"),
        }
        self.assertEqual(self.sandbox.providers["unisender_go"].events, cases.keys())
        for event, (status, delivery_status) in cases.items():
            with self.subTest(event):
                data = self.event(event)
                self.assertEqual(data["status"], status)
                self.assertEqual(data["delivery_info"]["delivery_status"], delivery_status)
        self.assertEqual(self.event("clicked")["url"], "https://shop.example.com/?a=1&b=2")
        self.assertIn("Mozilla", self.event("opened")["delivery_info"]["user_agent"])
        # The table that these come from stays as it is.
        self.assertNotIn("user_agent", self.event("sent")["delivery_info"])

    def test_without_metadata(self):
        self.assertEqual(self.event("delivered", BARE_RECIPIENT)["metadata"], {})

    def test_key_in_content(self):
        recipient = replace(RECIPIENT, metadata={"key": "sandbox-api-key"})
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), "delivered")
        data = json.loads(call.body)
        signed = call.body.replace(data["auth"].encode(), KEY.encode())
        self.assertEqual(data["auth"], hashlib.md5(signed).hexdigest())
        event_data = data["events_by_user"][0]["events"][0]["event_data"]
        self.assertEqual(event_data["metadata"], {"key": "sandbox-api-key"})

    def test_no_inbound(self):
        with self.assertRaisesRegex(UnsupportedEvent, "does not receive mail"):
            self.sandbox.inbound_webhook("unisender_go", self.mail())
