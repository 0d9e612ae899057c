from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from unittest.mock import ANY
from urllib.parse import parse_qs

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredRecipient, StoredTemplate, WebhookCall

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

MESSAGE: dict[str, Any] = {
    "from_email": "shop@example.com",
    "from_name": "Shop, Brno",
    "to": [{"email": "ann@example.net", "name": "Ann", "type": "to"}],
    "subject": "Účet",
    "text": "Text",
}


class MandrillTestCase(SandboxTestCase):
    def post(self, data: Any, endpoint: str = "send") -> Answer:
        # Without a Content-Type
        return self.call(f"/mandrill/api/1.0/messages/{endpoint}.json", json.dumps(data))

    def send(self, call: dict[str, Any] | None = None, **fields: Any) -> Answer:
        data = {"key": "sandbox-api-key", "message": {**MESSAGE, **fields}, **(call or {})}
        return self.post(data)

    def copies(self, **fields: Any) -> list[StoredRecipient]:
        """Send, and return what arrived."""
        self.sandbox.clear()
        answer = self.send(**fields)
        self.assertEqual(answer.status, 200, answer.text)
        [stored] = self.sandbox.messages
        return list(stored.recipients)

    def assert_refused(
        self, answer: Answer, text: str, name: str = "ValidationError", status: int = 500
    ) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual(
            answer.json, {"status": "error", "code": ANY, "name": name, "message": ANY}
        )
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class SendTests(MandrillTestCase):
    def test_accepted(self):
        to = [*MESSAGE["to"], {"email": "c@example.net", "type": "cc"}]
        answer = self.send(to=to)
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json,
            [
                {"email": "ann@example.net", "status": "sent", "_id": ANY, "reject_reason": None},
                {"email": "c@example.net", "status": "sent", "_id": ANY, "reject_reason": None},
            ],
        )
        [stored] = self.sandbox.messages
        self.assertEqual(
            [(copy.kind, copy.mailbox, copy.message_id) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net"), answer.json[0]["_id"]),
                ("cc", EmailAddress("", "c@example.net"), answer.json[1]["_id"]),
            ],
        )
        self.assertEqual(len(stored.message_ids), 2)

    def test_stored(self):
        self.send(
            html="<p>Text",
            headers={"Reply-To": "help@example.com", "X-Shop": 7},
            metadata={"order": 4711, "name": "Žofie"},
            tags=["receipt", "order"],
            track_opens=True,
            track_clicks=False,
            attachments=[
                {
                    "type": 'text/csv; charset="iso-8859-2"',
                    "name": "účet.csv",
                    "content": base64.b64encode(b"a;b\r\n\xe9").decode(),
                }
            ],
            images=[{"type": "image/png", "name": "logo@inline", "content": "AAEC"}],
        )
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "mandrill")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "help@example.com")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.track_opens, stored.track_clicks), (True, False))
        self.assertEqual((stored.template_id, stored.send_at), (None, None))
        self.assertEqual(
            stored.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"a;b\r\n\xe9"),),
        )
        [image] = stored.inline_images
        self.assertEqual((image.content_id, image.content), ("logo@inline", b"\0\1\2"))
        [copy] = stored.recipients
        self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual(copy.headers, {"Reply-To": "help@example.com", "X-Shop": "7"})
        self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
        self.assertEqual(copy.tags, ("receipt", "order"))

    def test_recipients_are_shown(self):
        to = [
            {"email": "ann@example.net", "name": "Ann"},
            {"email": "bo@example.net", "type": "cc"},
            {"email": "cy@example.net", "type": "bcc"},
        ]
        shown = [copy.header_to for copy in self.copies(to=to, preserve_recipients=True)]
        self.assertEqual(shown, ["Ann <ann@example.net>, bo@example.net"] * 3)
        for fields in ({}, {"preserve_recipients": False}):
            self.assertEqual(
                [copy.header_to for copy in self.copies(to=to, **fields)],
                ["Ann <ann@example.net>", "bo@example.net", "cy@example.net"],
            )

    def test_merge(self):
        to = [{"email": "Ann@example.net"}, {"email": "bo@example.net"}]
        ann, bo = self.copies(
            to=to,
            subject="*|FIRST|* *|other|* {{first}}",
            text="*| first |* *|SHOP|*",
            global_merge_vars=[
                {"name": "shop", "content": "Shop"},
                {"name": "first", "content": "friend"},
            ],
            merge_vars=[
                {"rcpt": "ann@EXAMPLE.net", "vars": [{"name": "first", "content": "Ann"}]},
                {"rcpt": "nobody@example.net", "vars": [{"name": "first", "content": "No"}]},
            ],
            metadata={"run": 7},
            recipient_metadata=[{"rcpt": "bo@example.net", "values": {"run": 8, "id": 1}}],
        )
        self.assertEqual((ann.subject, ann.text), ("Ann *|other|* {{first}}", "Ann Shop"))
        self.assertEqual((bo.subject, bo.text), ("friend *|other|* {{first}}", "friend Shop"))
        self.assertEqual(ann.merge_data, {"shop": "Shop", "first": "Ann"})
        self.assertEqual((ann.metadata, bo.metadata), ({"run": "7"}, {"run": "8", "id": "1"}))

    def test_handlebars(self):
        variables = [{"name": "First", "content": "Ann"}]
        [copy] = self.copies(
            text="{{ first }} *|first|*", global_merge_vars=variables, merge_language="handlebars"
        )
        self.assertEqual(copy.text, "Ann *|first|*")

    def test_empty_objects_as_arrays(self):
        [copy] = self.copies(headers=[], metadata=[])
        self.assertEqual((copy.headers, copy.metadata), ({}, {}))

    def test_statuses(self):
        self.sandbox.suppressed.add("rejected@example.net")
        to = [{"email": address} for address in ("ann@example.net", "x", "Rejected@example.net")]
        results = self.send(to=to).json
        self.assertEqual(
            [(item["status"], item["reject_reason"]) for item in results],
            [("sent", None), ("invalid", "invalid"), ("rejected", "hard-bounce")],
        )
        [stored] = self.sandbox.messages
        self.assertEqual([copy.address for copy in stored.recipients], ["ann@example.net"])

    def test_nobody_left(self):
        for address in ("x", "ann@háj.example", "@example.com"):
            [result] = self.send(to=[{"email": address}]).json
            self.assertEqual(result["status"], "invalid")
        self.assertEqual(self.sandbox.messages, [])

    def test_in_the_background(self):
        def statuses(count: int, **call: Any) -> set[str]:
            to = [{"email": f"u{n}@example.com"} for n in range(count)]
            return {item["status"] for item in self.send(call, to=to).json}

        self.assertEqual(statuses(10), {"sent"})
        self.assertEqual(statuses(11), {"queued"})
        self.assertEqual(statuses(1, **{"async": True}), {"queued"})

    def test_send_at(self):
        answer = self.send({"send_at": "2031-05-06 07:08:09"})
        self.assertEqual(answer.json[0]["status"], "scheduled")
        self.assertEqual(self.sandbox.messages[0].send_at, "2031-05-06 07:08:09")
        self.sandbox.clear()
        for value in ("2031-05-06T07:08:09Z", "soon", 1935126489):
            self.assert_refused(self.send({"send_at": value}), "send_at")

    def test_accepted_all_the_same(self):
        for fields in (
            {"to": [{"email": "žofie@example.net"}]},
            {"from_email": "žofie@example.net"},
            {"from_name": None},
            {"text": "", "subject": ""},
        ):
            with self.subTest(fields=fields):
                self.assertEqual(len(self.copies(**fields)), 1)


class TemplateTests(MandrillTestCase):
    def template(self, fields: Any = None, **call: Any) -> Answer:
        data = {
            "key": "sandbox-api-key",
            "template_name": "welcome",
            "template_content": [],
            "message": {"to": [{"email": "ann@example.net"}], **(fields or {})},
            **call,
        }
        return self.post(data, "send-template")

    def test_rendered(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        variables = [{"name": "name", "content": "Ann"}, {"name": "n", "content": 1}]
        self.template({"global_merge_vars": variables})
        self.template({"subject": "Own"})
        first, second = self.sandbox.messages
        self.assertEqual((first.template_id, first.subject), ("welcome", ""))
        copy = first.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))
        self.assertEqual(second.recipients[0].subject, "Own")

    def test_template_content(self):
        answer = self.template(template_content=[{"name": "main", "content": "x"}])
        self.assertEqual(answer.status, 200)
        self.sandbox.clear()
        for content in ({"main": "x"}, "x", [{"name": 5}]):
            self.assert_refused(self.template(template_content=content), "")

    def test_required(self):
        data = {"key": "sandbox-api-key", "message": MESSAGE, "template_name": "welcome"}
        self.assert_refused(self.post(data, "send-template"), "template_content")
        self.assert_refused(self.template(template_name=""), "template_name")
        self.assert_refused(self.template({"from_email": "x"}), "from_email")

    def test_name_is_for_the_other_call(self):
        self.assertEqual(self.send({"template_name": "welcome"}).status, 200)
        self.assertIsNone(self.sandbox.messages[0].template_id)


class RefusalTests(MandrillTestCase):
    def test_key(self):
        for key in ("wrong", None, ["sandbox-api-key"]):
            answer = self.send({"key": key})
            self.assert_refused(answer, "Invalid API key", "Invalid_Key", 401)
            self.assertEqual(answer.json["code"], -1)

    def test_malformed(self):
        for body in (b"", b"{", b"\xff"):
            answer = self.call("/mandrill/api/1.0/messages/send.json", body)
            self.assert_refused(answer, "key")
        for data in ([], "text", None):
            self.assert_refused(self.post(data), "object")

    def test_other_endpoints(self):
        self.assertEqual(self.post({}, "send-raw").status, 404)
        path = "/mandrill/api/1.0/messages/send.json"
        self.assertEqual(self.call(path, method="GET").status, 405)

    def test_message(self):
        self.assert_refused(self.send({"message": []}), "from_email")
        self.assert_refused(self.send({"message": "text"}), "message")
        image = {"type": "text/plain", "name": "a", "content": ""}
        for fields, text in (
            ({"from_email": ""}, "from_email"),
            ({"from_email": "shop@háj.example"}, "from_email"),
            ({"from_email": 5}, "from_email"),
            ({"to": []}, "to"),
            ({"to": "ann@example.net"}, "to"),
            ({"to": ["ann@example.net"]}, "to"),
            ({"to": [{"email": "ann@example.net", "type": "from"}]}, "type"),
            ({"to": [{"email": ["ann@example.net"]}]}, "email"),
            ({"subject": []}, "subject"),
            ({"headers": "X: 1"}, "headers"),
            ({"headers": ["X: 1"]}, "headers"),
            ({"metadata": "x"}, "metadata"),
            ({"tags": "one"}, "tags"),
            ({"tags": ["_one"]}, "'_one'"),
            ({"tags": ["x" * 51]}, "tag"),
            ({"tags": [1]}, "tag"),
            ({"track_opens": "yes"}, "track_opens"),
            ({"merge_vars": {"ann@example.net": {}}}, "merge_vars"),
            ({"global_merge_vars": [{"name": "_x", "content": 1}]}, "'_x'"),
            ({"global_merge_vars": [{"content": 1}]}, "name"),
            ({"attachments": [{"type": "a/b", "name": "a", "content": "!"}]}, "base64"),
            ({"attachments": {}}, "attachments"),
            ({"images": [image]}, "image/"),
        ):
            with self.subTest(fields=fields):
                self.assert_refused(self.send(**fields), text)


class MandrillWebhookTests(WebhookTestCase):
    """https://mailchimp.com/developer/transactional/docs/webhooks/"""

    provider = "mandrill"

    def event(self, call: WebhookCall) -> dict[str, Any]:
        """Check the signature, and return the one event."""
        url = "http://user:pass@127.0.0.1:8000/anymail/mandrill/"
        self.assertEqual(call.url, url)
        self.assertEqual(call.headers["Content-Type"], "application/x-www-form-urlencoded")
        fields = parse_qs(call.body.decode(), strict_parsing=True)
        self.assertEqual(list(fields), ["mandrill_events"])
        # https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
        [text] = fields["mandrill_events"]
        key = self.sandbox.anymail_settings()["MANDRILL_WEBHOOK_KEY"].encode()
        digest = hmac.new(key, f"{url}mandrill_events{text}".encode(), hashlib.sha1).digest()
        self.assertEqual(base64.b64decode(call.headers["X-Mandrill-Signature"]), digest)
        [event] = json.loads(text)
        return dict(event)

    def track(self, event: str, recipient: StoredRecipient = RECIPIENT) -> dict[str, Any]:
        return self.event(self.sandbox.tracking_webhook(message("mandrill", recipient), event))

    def test_common_fields(self):
        for event in self.sandbox.providers["mandrill"].events:
            with self.subTest(event):
                payload = self.track(event)
                self.assertEqual(payload["_id"], RECIPIENT.message_id)
                self.assertIsInstance(payload["ts"], int)
                self.assertEqual(payload["msg"]["_id"], RECIPIENT.message_id)
                self.assertEqual(payload["msg"]["email"], "ann@example.net")
                self.assertEqual(payload["msg"]["tags"], ["receipt"])
                self.assertEqual(payload["msg"]["metadata"], {"order": "4711"})

    def test_events(self):
        names = {
            "sent": "send",
            "delivered": "delivered",
            "deferred": "deferral",
            "bounced": "hard_bounce",
            "rejected": "reject",
            "opened": "open",
            "clicked": "click",
            "complained": "spam",
            "unsubscribed": "unsub",
        }
        self.assertEqual(self.sandbox.providers["mandrill"].events, names.keys())
        for event, name in names.items():
            self.assertEqual(self.track(event)["event"], name)
        self.assertEqual(self.track("clicked")["url"], "https://shop.example.com/?a=1&b=2")
        self.assertIn("Mozilla", self.track("opened")["user_agent"])
        self.assertEqual(self.track("bounced")["msg"]["diag"], "smtp;550 5.1.1 No such user")
        self.assertNotIn("diag", self.track("deferred")["msg"])

    def test_no_metadata(self):
        payload = self.track("delivered", BARE_RECIPIENT)
        self.assertEqual((payload["msg"]["tags"], payload["msg"]["metadata"]), ([], []))

    def test_signed_with_another_key(self):
        self.sandbox.providers["mandrill"].webhook_key = "other"  # type: ignore[attr-defined]
        self.track("sent")

    def test_inbound(self):
        # https://mailchimp.com/developer/transactional/guides/set-up-inbound-email-processing/
        for raw in (False, True):
            mail = self.mail(sender=EmailAddress("Žofie, N.", "z@example.net"))
            payload = self.event(self.sandbox.inbound_webhook("mandrill", mail, raw=raw))
            self.assertEqual(payload["event"], "inbound")
            received = payload["msg"]
            self.assert_mime(received["raw_msg"], mail)
            self.assertEqual(received["email"], "shop+4711@example.com")
            self.assertEqual(received["to"], [["shop+4711@example.com", None]])
            self.assertEqual(
                (received["from_email"], received["from_name"]), ("z@example.net", "Žofie, N.")
            )
            self.assertEqual(received["subject"], mail.subject)
            self.assertEqual(received["headers"]["Subject"], mail.subject)
            self.assertEqual(received["spam_report"]["score"], 0.1)
            content = {
                "name": "účet.csv",
                "type": "text/csv",
                "content": "6TsNCg==",
                "base64": True,
            }
            self.assertEqual(received["attachments"], {"účet.csv": content})
            image = {"name": "logo@inline", "type": "image/png", "content": "iVBORwA="}
            self.assertEqual(received["images"], {"logo@inline": image})
        mail = self.mail(sender=EmailAddress("", "z@example.net"), attachments=())
        received = self.event(self.sandbox.inbound_webhook("mandrill", mail))["msg"]
        self.assertTrue({"attachments", "images"}.isdisjoint(received))
