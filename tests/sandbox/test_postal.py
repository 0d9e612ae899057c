"""Postal's stand-in. https://github.com/postalserver/postal"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, WebhookCall
from tests.utils import skip_without

from .cases import Answer, SandboxTestCase
from .test_webhooks import RECIPIENT, StoredRecipient, WebhookTestCase, message

URL = "/postal/api/v1/send/message"
KEY = "sandbox-api-key"

MESSAGE = {
    "from": '"Shop, Brno" <shop@example.com>',
    "to": ["Ann <ann@example.net>"],
    "cc": [],
    "bcc": [],
    "subject": "Účet",
    "plain_body": "Text",
}


class PostalTestCase(SandboxTestCase):
    def post(self, data: Any, path: str = URL, **headers: str) -> Answer:
        answer = self.post_json(path, data, **{"X-Server-API-Key": KEY, **headers})
        if path == URL:
            # That of errors, too
            self.assertEqual(answer.status, 200, answer.text)
            self.assertEqual(answer.json["flags"], {})
            self.assertIsInstance(answer.json["time"], float)
        return answer

    def assert_refused(self, answer: Answer, code: str, text: str) -> None:
        data = answer.json["data"]
        self.assertEqual(answer.json["status"], "error" if code else "parameter-error")
        self.assertEqual(data.get("code", ""), code)
        self.assertIn(text, data["message"])
        self.assertEqual(self.sandbox.messages, [])


class SendTests(PostalTestCase):
    def test_accepted(self):
        answer = self.post({**MESSAGE, "bcc": ["b@example.net"]})
        self.assertEqual(answer.json["status"], "success")
        messages = answer.json["data"]["messages"]
        self.assertEqual(list(messages), ["ann@example.net", "b@example.net"])
        ids = [result["id"] for result in messages.values()]
        self.assertEqual(len(set(ids)), 2)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.message_ids, [str(message_id) for message_id in ids])
        self.assertIs(type(ids[0]), int)

    def test_stored(self):
        self.post(
            {
                **MESSAGE,
                "to": ["Ann <ann@example.net>", "žofie@example.net"],
                "cc": ["c@example.net"],
                "html_body": "<p>Text",
                "reply_to": "help@example.com",
                "headers": {"X-Shop": 7},
                "tag": "účtenka",
                "sender": "bounces@example.com",
                "attachments": [
                    {
                        "name": "účet.csv",
                        "content_type": 'text/csv; charset="iso-8859-2"',
                        "data": "6Ts=",
                    },
                    {"name": "a.bin", "data": "AP8="},
                ],
            }
        )
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "postal")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "help@example.com")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual(
            stored.attachments,
            (
                StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"\xe9;"),
                StoredAttachment("a.bin", "application/octet-stream", b"\0\xff"),
            ),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("to", EmailAddress("", "žofie@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual(copy.header_to, "Ann <ann@example.net>, žofie@example.net")
            self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
            self.assertEqual(copy.headers, {"X-Shop": "7"})
            self.assertEqual(copy.tags, ("účtenka",))

    def test_missing_fields(self):
        """Nothing but From, somebody to send to, and a body is required."""
        answer = self.post({"from": "a@example.com", "cc": ["c@example.net"], "html_body": "<p>"})
        self.assertEqual(answer.json["status"], "success")
        copy = self.sandbox.messages[0].recipients[0]
        self.assertEqual((copy.kind, copy.subject, copy.tags), ("cc", "", ()))


class RefusalTests(PostalTestCase):
    def test_authentication(self):
        answer = self.post_json(URL, MESSAGE)
        self.assert_refused(answer, "AccessDenied", "authenticated")
        answer = self.post(MESSAGE, **{"X-Server-API-Key": "wrong"})
        self.assert_refused(answer, "InvalidServerAPIKey", "X-Server-API-Key")

    def test_other_urls(self):
        for path in ("/postal/api/v1/send/raw", "/postal/send/message", f"{URL}/"):
            self.assertEqual(self.post(MESSAGE, path).status, 404)
        self.assertEqual(
            self.call(URL, headers={"X-Server-API-Key": KEY}, method="GET").status, 404
        )
        self.assertEqual(self.sandbox.messages, [])

    def test_malformed_body(self):
        answer = self.call(URL, b"{", {"X-Server-API-Key": KEY})
        self.assert_refused(answer, "", "Invalid JSON")
        self.assert_refused(self.post([MESSAGE]), "", "must be a JSON object")
        answer = self.call(URL, b"{}", {"X-Server-API-Key": KEY, "Content-Type": "text/plain"})
        self.assert_refused(answer, "", "must be a JSON object")

    def test_messages(self):
        attachment = {"name": "a.txt", "content_type": "text/plain", "data": "YQ=="}
        for change, code, text in (
            ({"to": []}, "NoRecipients", "no recipients"),
            ({"to": None}, "NoRecipients", "no recipients"),
            ({"to": "ann@example.net"}, "", "`to`"),
            ({"to": [5]}, "", "`to`"),
            ({"to": ["ann"]}, "ValidationError", "`to`"),
            ({"cc": ["c@háj.example"]}, "ValidationError", "`cc`"),
            ({"to": ["a@example.com"] * 51}, "TooManyToAddresses", "50"),
            ({"cc": ["a@example.com"] * 51}, "TooManyCCAddresses", "50"),
            ({"bcc": ["a@example.com"] * 51}, "TooManyBCCAddresses", "50"),
            ({"plain_body": ""}, "NoContent", "no content"),
            ({"plain_body": 5}, "", "`plain_body`"),
            ({"from": None}, "FromAddressMissing", "missing"),
            ({"from": "shop"}, "UnauthenticatedFromAddress", "authorised"),
            ({"from": "shop@example.invalid"}, "UnauthenticatedFromAddress", "authorised"),
            ({"headers": ["X-A"]}, "", "`headers`"),
            ({"tag": ["a"]}, "", "`tag`"),
            ({"attachments": "a"}, "", "`attachments`"),
            ({"attachments": ["a"]}, "", "`attachments`"),
            ({"attachments": [{**attachment, "name": ""}]}, "AttachmentMissingName", "name"),
            ({"attachments": [{**attachment, "data": ""}]}, "AttachmentMissingData", "data"),
            ({"attachments": [{**attachment, "data": "?"}]}, "", "`data`"),
            ({"attachments": [{**attachment, "data": 5}]}, "", "`data`"),
        ):
            with self.subTest(change=str(change)[:60]):
                self.assert_refused(self.post({**MESSAGE, **change}), code, text)


def copy_of(recipient: StoredRecipient, **changes: Any) -> StoredRecipient:
    return StoredRecipient(**{**vars(recipient), "message_id": "902", **changes})


class PostalWebhookTests(WebhookTestCase):
    """https://docs.postalserver.io/developer/webhooks"""

    provider = "postal"

    def event(self, event: str, **changes: Any) -> Any:
        stored = message(self.provider, copy_of(RECIPIENT, **changes))
        call = self.sandbox.tracking_webhook(stored, event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/postal/tracking/")
        self.assertEqual(set(call.headers), {"Content-Type", "X-Postal-Signature"})
        self.assertEqual(call.headers["Content-Type"], "application/json")
        return json.loads(call.body)

    def test_common_fields(self):
        for event in self.sandbox.providers["postal"].events:
            with self.subTest(event):
                data = self.event(event)
                self.assertEqual(set(data), {"event", "timestamp", "payload", "uuid"})
                self.assertLess(abs(time.time() - data["timestamp"]), 5)
                self.assertNotEqual(data["uuid"], self.event(event)["uuid"])
                payload = data["payload"]
                described = payload.get("message") or payload["original_message"]
                self.assertEqual(described["id"], 902)
                self.assertEqual(described["to"], "ann@example.net")
                self.assertEqual(described["direction"], "outgoing")
                self.assertEqual(described["tag"], "receipt")
                self.assertEqual(described["subject"], "Účet")

    def test_without_tag(self):
        self.assertIsNone(self.event("delivered", tags=())["payload"]["message"]["tag"])

    def test_events(self):
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            "delivered": ("MessageSent", {"status": "Sent", "output": "250 2.0.0 OK\n"}),
            "deferred": ("MessageDelayed", {"status": "SoftFail"}),
            "failed": ("MessageDeliveryFailed", {"status": "HardFail"}),
            "queued": ("MessageHeld", {"status": "Held"}),
            "bounced": ("MessageBounced", {}),
            "clicked": ("MessageLinkClicked", {"url": "https://shop.example.com/?a=1&b=2"}),
            "opened": ("MessageLoaded", {"ip_address": "203.0.113.7"}),
        }
        self.assertEqual(self.sandbox.providers["postal"].events, cases.keys())
        for event, (name, expected) in cases.items():
            with self.subTest(event):
                data = self.event(event)
                self.assertEqual(data["event"], name)
                payload = data["payload"]
                self.assertEqual({**payload, **expected}, payload)
        for event in ("clicked", "opened"):
            self.assertIn("Mozilla", self.event(event)["payload"]["user_agent"])

    def test_bounce(self):
        payload = self.event("bounced")["payload"]
        self.assertEqual(set(payload), {"original_message", "bounce"})
        bounce = payload["bounce"]
        self.assertEqual((bounce["direction"], bounce["tag"]), ("incoming", None))
        self.assertEqual(bounce["to"], "shop@example.com")
        self.assertNotEqual(bounce["id"], 902)

    def inbound_call(self, **kwargs: Any) -> WebhookCall:
        call = self.sandbox.inbound_webhook("postal", self.mail(), **kwargs)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/postal/inbound/")
        return call

    def test_inbound(self):
        for raw in (True, False):
            data = json.loads(self.inbound_call(raw=raw).body)
            self.assertEqual(data["rcpt_to"], "shop+4711@example.com")
            self.assertEqual(data["mail_from"], "žofie@example.net")
            self.assertIs(data["base64"], True)
            self.assertIs(type(data["id"]), int)
            mime = base64.b64decode(data["message"])
            self.assertEqual(data["size"], len(mime))
            # In lines, as Ruby does it
            self.assertEqual(data["message"].index("\n"), 76)
            self.assert_mime(mime.decode(), self.mail(message_id=self.message_id(mime)))

    def message_id(self, mime: bytes) -> str:
        [line] = [line for line in mime.decode().splitlines() if line.startswith("Message-ID:")]
        return line.partition(" ")[2]

    @skip_without("cryptography")
    def test_signature(self):
        """It's right by somebody else's reckoning."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.hashes import SHA1
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        der = base64.b64decode(self.sandbox.anymail_settings()["POSTAL_WEBHOOK_KEY"])
        public_key = load_der_public_key(der)
        assert isinstance(public_key, RSAPublicKey)
        stored = message(self.provider, copy_of(RECIPIENT))
        for call in (
            self.inbound_call(),
            *(self.sandbox.tracking_webhook(stored, event) for event in ("delivered", "opened")),
        ):
            signature = base64.b64decode(call.headers["X-Postal-Signature"], validate=True)
            self.assertEqual(len(signature), 256)
            public_key.verify(signature, call.body, PKCS1v15(), SHA1())
            with self.assertRaises(InvalidSignature):
                public_key.verify(signature, call.body + b" ", PKCS1v15(), SHA1())
