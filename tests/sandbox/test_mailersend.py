from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime
from typing import Any
from unittest.mock import ANY

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredTemplate, WebhookCall

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

MESSAGE: dict[str, Any] = {
    "from": {"email": "shop@example.com", "name": "Shop, Brno"},
    "to": [{"email": "ann@example.net", "name": "Ann"}],
    "subject": "Účet",
    "text": "Text",
}


class MailerSendTestCase(SandboxTestCase):
    def post(self, data: Any, endpoint: str = "email", token: str = "sandbox-api-token") -> Answer:
        return self.post_json(f"/mailersend/v1/{endpoint}", data, Authorization=f"Bearer {token}")

    def send(self, **fields: Any) -> Answer:
        return self.post({**MESSAGE, **fields})

    def without(self, *names: str) -> dict[str, Any]:
        return {name: value for name, value in MESSAGE.items() if name not in names}

    def assert_refused(self, answer: Answer, field: str, text: str = "") -> None:
        self.assertEqual(answer.status, 422, answer.text)
        self.assertEqual(answer.json["errors"], {field: [answer.json["message"]]})
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class EmailTests(MailerSendTestCase):
    def test_accepted(self):
        answer = self.send()
        self.assertEqual((answer.status, answer.body), (202, b""))
        self.assertEqual(answer.headers["Content-Type"], "text/html; charset=UTF-8")
        self.assertRegex(answer.headers["X-Message-Id"], r"\A[0-9a-f]{24}\Z")
        [stored] = self.sandbox.messages
        self.assertEqual(stored.message_ids, [answer.headers["X-Message-Id"]])

    def test_stored(self):
        send_at = int(time.time()) + 3600
        data = {
            **MESSAGE,
            "cc": [{"email": "c@example.net"}],
            "bcc": [{"email": "b@example.net"}],
            "reply_to": {"email": "help@example.com", "name": "Help"},
            "html": "<p>{{ not_merged }}",
            "headers": [{"name": "X-Shop", "value": "7"}],
            "in_reply_to": "id@example.com",
            "precedence_bulk": True,
            "tags": ["a", "b"],
            "settings": {"track_opens": False, "track_clicks": True},
            "send_at": send_at,
            "attachments": [
                {"filename": "účet.csv", "content": base64.b64encode(b"a\xe9").decode()},
                {"filename": "a.made-up", "content": "", "disposition": "attachment", "id": "x"},
                {
                    "filename": "logo.png",
                    "content": "AAEC",
                    "disposition": "inline",
                    "id": "logo@inline",
                },
            ],
        }
        self.assertEqual(self.post(data).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "mailersend")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>")
        self.assertEqual(
            (stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>{{ not_merged }}")
        )
        self.assertEqual((stored.track_opens, stored.track_clicks), (False, True))
        assert stored.send_at is not None
        self.assertEqual(datetime.fromisoformat(stored.send_at).timestamp(), send_at)
        self.assertEqual(
            stored.attachments,
            (
                StoredAttachment("účet.csv", "text/csv; charset=utf-8", b"a\xe9"),
                StoredAttachment("a.made-up", "application/octet-stream", b""),
            ),
        )
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo.png", "image/png", b"\0\1\2", "logo@inline"),),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
                ("bcc", EmailAddress("", "b@example.net")),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual(
                (copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>{{ not_merged }}")
            )
            self.assertEqual(copy.header_to, "Ann <ann@example.net>")
            self.assertEqual(
                copy.headers,
                {"X-Shop": "7", "In-Reply-To": "<id@example.com>", "Precedence": "bulk"},
            )
            self.assertEqual((copy.metadata, copy.tags), ({}, ("a", "b")))
        self.assertEqual(json.loads(stored.request.body), data)

    def test_token(self):
        for answer in (
            self.post(MESSAGE, token="wrong"),
            self.call("/mailersend/v1/email", b"{", {"Content-Type": "application/json"}),
        ):
            self.assertEqual((answer.status, answer.json), (401, {"message": "Unauthenticated."}))
        self.assertEqual(self.sandbox.messages, [])

    def test_unknown_endpoints(self):
        headers = {"Authorization": "Bearer sandbox-api-token"}
        for path, method in (
            ("/mailersend/v1/emails", "POST"),
            ("/mailersend/email", "POST"),
            ("/mailersend/v1/email", "GET"),
            ("/mailersend/v1/bulk-email", "GET"),
            ("/mailersend/v1/bulk-email/0123", "GET"),
            ("/mailersend/v1/bulk-email/0123", "POST"),
        ):
            with self.subTest(path=path, method=method):
                self.assertEqual(self.call(path, b"{}", headers, method).status, 404)

    def test_not_json(self):
        for body, content_type in (
            (b"{", "application/json"),
            (b"\xff", "application/json"),
            (b"{}", "text/plain"),
        ):
            headers = {"Authorization": "Bearer sandbox-api-token", "Content-Type": content_type}
            answer = self.call("/mailersend/v1/email", body, headers)
            self.assertEqual(answer.status, 400)

    def test_missing_fields(self):
        for name, field in (
            ("from", "from.email"),
            ("to", "to"),
            ("subject", "subject"),
            ("text", "text"),
        ):
            with self.subTest(name):
                self.assert_refused(self.post(self.without(name)), field, "required")
        self.assert_refused(self.send(to=[], cc=[{"email": "c@example.net"}]), "to", "required")
        answer = self.post({**self.without("text"), "html": "<p>"})
        self.assertEqual(answer.status, 202)

    def test_bad_values(self):
        fields: list[tuple[str, Any, str]] = [
            ("from", "shop@example.com", "from"),
            ("from", {"email": "shop"}, "from.email"),
            ("to", {"email": "ann@example.net"}, "to"),
            ("to", ["ann@example.net"], "to.0"),
            ("to", [MESSAGE["to"][0], {"email": "x"}], "to.1.email"),
            ("to", [{"email": "ann@háj.example"}], "to.0.email"),
            ("to", [{"email": "žofie@example.com"}], "to.0.email"),
            ("cc", [{"email": 5}], "cc.0.email"),
            ("bcc", [{}], "bcc.0.email"),
            ("reply_to", [], "reply_to"),
            ("reply_to", {"email": "x"}, "reply_to.email"),
            ("subject", 5, "subject"),
            ("text", [], "text"),
            ("html", {}, "html"),
            ("headers", {}, "headers"),
            ("headers", [{"name": "X A", "value": "1"}], "headers.0.name"),
            ("headers", [{"name": "X-A", "value": 1}], "headers.0.value"),
            ("in_reply_to", 5, "in_reply_to"),
            ("precedence_bulk", "bulk", "precedence_bulk"),
            ("tags", "a", "tags"),
            ("tags", [1], "tags"),
            ("settings", [], "settings"),
            ("settings", {"track_opens": "yes"}, "settings.track_opens"),
            ("send_at", "2031-05-06T07:08:09Z", "send_at"),
            ("send_at", True, "send_at"),
            ("send_at", 1, "send_at"),
            ("send_at", int(time.time()) + 73 * 3600, "send_at"),
            ("template_id", 5, "template_id"),
            ("personalization", {}, "personalization"),
            ("personalization", [{"email": "x@example.com"}], "personalization.0.email"),
            ("attachments", {}, "attachments"),
            ("attachments", [{"content": ""}], "attachments.0.filename"),
            ("attachments", [{"filename": "a", "content": ""}], "attachments.0.filename"),
            ("attachments", [{"filename": "a.", "content": ""}], "attachments.0.filename"),
            ("attachments", [{"filename": "a.b", "content": "?"}], "attachments.0.content"),
            ("attachments", [{"filename": "a.b", "content": "ž"}], "attachments.0.content"),
            (
                "attachments",
                [{"filename": "a.b", "content": "", "disposition": "x"}],
                "attachments.0.disposition",
            ),
        ]
        for name, value, field in fields:
            with self.subTest(name=name, value=value):
                self.assert_refused(self.send(**{name: value}), field)
        for data in ([], None, "x", 1):
            with self.subTest(data=data):
                answer = self.post(data)
                self.assertEqual(answer.status, 422)
                self.assertIn("must be an object", answer.json["message"])

    def test_limits(self):
        people = [{"email": f"u{n}@example.com"} for n in range(51)]
        for name, limit in (("to", 50), ("cc", 10), ("bcc", 10)):
            with self.subTest(name):
                self.assert_refused(self.send(**{name: people[: limit + 1]}), name, f"{limit} ")
        self.assert_refused(self.send(tags=["t"] * 6), "tags", "5 items")
        answer = self.send(to=people[:50], cc=people[:10], bcc=people[:10], tags=["t"] * 5)
        self.assertEqual(answer.status, 202)

    def test_personalization(self):
        answer = self.send(
            to=[{"email": "Ann@example.net"}, {"email": "bo@example.net"}],
            cc=[{"email": "c@example.net"}],
            subject="Hi {{ name }}",
            html="<b>{{n}}",
            personalization=[
                {"email": "ann@example.net", "data": {"name": "Ann", "n": 0}},
                {"email": "bo@example.net", "data": {"name": "Bo"}},
            ],
        )
        self.assertEqual(answer.status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.subject, "Hi {{ name }}")
        self.assertEqual(
            [(copy.subject, copy.html, copy.merge_data) for copy in stored.recipients],
            [
                ("Hi Ann", "<b>0", {"name": "Ann", "n": 0}),
                ("Hi Bo", "<b>", {"name": "Bo"}),
                ("Hi ", "<b>", {}),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual(copy.header_to, "Ann@example.net, bo@example.net")
            self.assertEqual(copy.message_id, answer.headers["X-Message-Id"])

    def test_template(self):
        self.sandbox.templates["t1"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        data = {
            "to": MESSAGE["to"],
            "subject": "Own",
            "text": "not this",
            "template_id": "t1",
            "personalization": [{"email": "ann@example.net", "data": {"name": "Ann", "n": 1}}],
        }
        self.assertEqual(self.post(data).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.template_id, "t1")
        copy = stored.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))

        self.sandbox.templates["t1"] = StoredTemplate(text="{{n}}")
        self.post(data)
        copy = self.sandbox.messages[-1].recipients[0]
        self.assertEqual((copy.subject, copy.text), ("Own", "1"))

    def test_unknown_template(self):
        self.assertEqual(self.post({"to": MESSAGE["to"], "template_id": "t2"}).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.template_id, stored.recipients[0].text), ("t2", ""))

    def test_some_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        answer = self.send(cc=[{"email": "c@example.net"}])
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        [warning] = answer.json["warnings"]
        self.assertEqual(warning["type"], "SOME_SUPPRESSED")
        self.assertEqual(
            warning["recipients"],
            [{"email": "ann@example.net", "name": "Ann", "reasons": ["blocklisted"]}],
        )
        [stored] = self.sandbox.messages
        self.assertEqual([copy.address for copy in stored.recipients], ["c@example.net"])
        self.assertEqual(stored.message_ids, [answer.headers["X-Message-Id"]])

    def test_all_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        answer = self.send()
        self.assertEqual(answer.status, 202)
        self.assertNotIn("X-Message-Id", answer.headers)
        [warning] = answer.json["warnings"]
        self.assertEqual(warning["type"], "ALL_SUPPRESSED")
        self.assertEqual(self.sandbox.messages, [])


class BulkTests(MailerSendTestCase):
    def get_bulk(self, bulk_id: str) -> dict[str, Any]:
        headers = {"Authorization": "Bearer sandbox-api-token"}
        answer = self.call(f"/mailersend/v1/bulk-email/{bulk_id}", headers=headers, method="GET")
        self.assertEqual(answer.status, 200)
        return dict(answer.json["data"])

    def test_accepted(self):
        self.sandbox.suppressed.add("cy@example.net")
        messages = [
            MESSAGE,
            {**MESSAGE, "to": [{"email": "bo@example.net"}]},
            {**MESSAGE, "to": [{"email": "x"}]},
            {**MESSAGE, "to": [{"email": "cy@example.net"}]},
        ]
        answer = self.post(messages, "bulk-email")
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.json, {"message": ANY, "bulk_email_id": ANY})
        self.assertNotIn("X-Message-Id", answer.headers)
        stored = self.sandbox.messages
        self.assertEqual(
            [[copy.address for copy in item.recipients] for item in stored],
            [["ann@example.net"], ["bo@example.net"]],
        )
        bulk = self.get_bulk(answer.json["bulk_email_id"])
        self.assertEqual(bulk["id"], answer.json["bulk_email_id"])
        self.assertEqual(bulk["state"], "completed")
        self.assertEqual(bulk["messages_id"], [item.message_ids[0] for item in stored])
        self.assertEqual(len(set(bulk["messages_id"])), 2)
        self.assertEqual(bulk["total_recipients_count"], 2)
        self.assertEqual(bulk["validation_errors_count"], 1)
        self.assertEqual(list(bulk["validation_errors"]), ["message.2"])
        self.assertEqual(bulk["suppressed_recipients_count"], 1)
        [[suppressed]] = bulk["suppressed_recipients"].values()
        self.assertEqual(suppressed["email"], "cy@example.net")

    def test_nothing_wrong(self):
        bulk = self.get_bulk(self.post([MESSAGE], "bulk-email").json["bulk_email_id"])
        self.assertIsNone(bulk["validation_errors"])
        self.assertIsNone(bulk["suppressed_recipients"])

    def test_refused(self):
        for data, text in ((MESSAGE, "array"), ([], "500"), ([MESSAGE] * 501, "500")):
            with self.subTest(text):
                self.assert_refused(self.post(data, "bulk-email"), "message", text)


class TrackingTests(WebhookTestCase):
    provider = "mailersend"

    def assert_signed(self, call: WebhookCall, secret: bytes) -> None:
        signature = hmac.new(secret, call.body, hashlib.sha256).hexdigest()
        self.assertEqual(call.headers["Signature"], signature)
        # As MailerSend writes it
        self.assertNotIn(b"://", call.body)
        self.assertIn(b":\\/\\/", call.body)

    def test_signature(self):
        call = self.sandbox.tracking_webhook(message("mailersend"), "opened")
        self.assert_signed(call, b"sandbox-signing-secret")
        call = self.sandbox.inbound_webhook("mailersend", self.mail())
        self.assert_signed(call, b"sandbox-inbound-secret")

    def test_common_fields(self):
        for event in self.sandbox.providers["mailersend"].events:
            with self.subTest(event):
                payload = self.track(event)
                data = payload["data"]
                self.assertEqual(payload["type"], f"activity.{data['type']}")
                self.assertRegex(data["created_at"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
                email = data["email"]
                self.assertEqual(email["message"]["id"], "<1@mg.example.com>")
                self.assertEqual(email["recipient"]["email"], "ann@example.net")
                self.assertEqual(email["from"], "shop@example.com")
                self.assertEqual(email["tags"], ["receipt"])
                self.assertEqual(email["status"], "rejected" if event == "bounced" else "delivered")
                self.assertNotEqual(data["id"], self.track(event)["data"]["id"])

    def test_no_tags(self):
        self.assertIsNone(self.track("delivered", BARE_RECIPIENT)["data"]["email"]["tags"])

    def test_events(self):
        cases: dict[str, tuple[str, dict[str, Any] | None]] = {
            "sent": ("sent", None),
            "delivered": ("delivered", None),
            "deferred": ("deferred", None),
            "bounced": ("hard_bounced", {"object": "recipient_bounce"}),
            "opened": ("opened", {"object": "open"}),
            "clicked": (
                "clicked",
                {"object": "click", "url": "https://shop.example.com/?a=1&b=2"},
            ),
            "complained": ("spam_complaint", {"object": "spam_complaint"}),
            "unsubscribed": ("unsubscribed", {"object": "recipient_unsubscribe"}),
        }
        self.assertEqual(self.sandbox.providers["mailersend"].events, cases.keys())
        for event, (activity, morph) in cases.items():
            with self.subTest(event):
                data = self.track(event)["data"]
                self.assertEqual(data["type"], activity)
                if morph is None:
                    self.assertIsNone(data["morph"])
                else:
                    self.assertEqual({name: data["morph"][name] for name in morph}, morph)

    def test_inbound(self):
        mail = self.mail()
        for raw in (False, True):
            call = self.sandbox.inbound_webhook("mailersend", mail, raw=raw)
            self.assertEqual(
                call.url, "http://user:pass@127.0.0.1:8000/anymail/mailersend/inbound/"
            )
            payload = json.loads(call.body)
            self.assertEqual(payload["type"], "inbound.message")
            data = payload["data"]
            self.assert_mime(data["raw"], mail)
            self.assertEqual(data["sender"], {"email": "žofie@example.net"})
            self.assertEqual(data["recipients"]["rcptTo"], [{"email": "shop+4711@example.com"}])
            self.assertEqual((data["subject"], data["text"]), (mail.subject, mail.text))
            csv, png = data["attachments"]
            self.assertEqual((csv["file_name"], csv["content_type"]), ("účet.csv", "text/csv"))
            self.assertEqual(base64.b64decode(csv["content"]), b"\xe9;\r\n")
            self.assertEqual(
                (png["content_disposition"], png["content_id"]), ("inline", "logo@inline")
            )

    def test_template(self):
        call = self.sandbox.tracking_webhook(
            message("mailersend", RECIPIENT, template_id="t1"), "opened"
        )
        self.assertEqual(json.loads(call.body)["data"]["template_id"], "t1")
