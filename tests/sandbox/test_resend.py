"""Resend's stand-in. https://resend.com/docs/api-reference/introduction"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import datetime, timezone
from http.client import RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from django.test import tag

from anymail.addresses import EmailAddress
from anymail.sandbox import Sandbox, StoredAttachment, WebhookCall
from tests.utils import skip_without

from .cases import Answer, SandboxTestCase
from .test_webhooks import ATTACHMENTS, RECIPIENT, WebhookTestCase, message

EMAILS = "/resend/emails"
BATCH = "/resend/emails/batch"
KEY = "Bearer re_sandbox"
MESSAGE: dict[str, Any] = {
    "from": '"Shop, Brno" <shop@example.com>',
    "to": ["Ann <ann@example.net>"],
    "subject": "Účet",
    "text": "Text",
}


class ResendTestCase(SandboxTestCase):
    def post(self, data: Any, path: str = EMAILS, **headers: str) -> Answer:
        return self.post_json(path, data, **(headers or {"Authorization": KEY}))

    def get(self, url: str, authorization: str | None = KEY) -> Answer:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"Authorization": authorization} if authorization else {}
        return self.call(path, headers=headers, method="GET")

    def assert_refused(
        self, answer: Answer, text: str, status: int = 422, name: str = "validation_error"
    ) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertEqual((answer.json["statusCode"], answer.json["name"]), (status, name))
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class IdempotencyTests(ResendTestCase):
    def send(self, key: str = "a key", path: str = EMAILS, **fields: Any) -> Answer:
        data: Any = {**MESSAGE, **fields}
        headers = {"Authorization": KEY, "Idempotency-Key": key}
        return self.post([data] if path == BATCH else data, path, **headers)

    def test_same_call(self):
        for path in (EMAILS, BATCH):
            self.sandbox.clear()
            first = self.send(path=path)
            self.assertEqual(first.status, 200)
            self.assertEqual(self.send(path=path).body, first.body)
            self.assertEqual(len(self.sandbox.messages), 1)

    def test_another_key(self):
        self.assertNotEqual(self.send().body, self.send("another").body)
        self.assertEqual(len(self.sandbox.messages), 2)

    def test_another_message(self):
        self.send()
        answer = self.send(subject="Else")
        self.assertEqual((answer.status, answer.json["name"]), (409, "invalid_idempotent_request"))
        self.assertEqual(len(self.sandbox.messages), 1)

    def test_under_way(self):
        self.send()
        for use in self.sandbox.store._keys.values():
            use.answer = None
        answer = self.send()
        self.assertEqual(
            (answer.status, answer.json["name"]), (409, "concurrent_idempotent_requests")
        )

    def test_lost_answer(self):
        self.sandbox.fail_next("unclear")
        with self.assertRaises(RemoteDisconnected):
            self.send()
        [stored] = self.sandbox.messages
        self.assertEqual(self.send().json, {"id": stored.message_ids[0]})
        self.assertEqual(len(self.sandbox.messages), 1)

    def test_refused_call(self):
        self.assertEqual(self.send(to=["nobody"]).status, 422)
        self.sandbox.fail_next("busy")
        self.assertEqual(self.send().status, 429)
        self.assertEqual(self.send().status, 200)

    def test_after_a_day(self):
        self.send()
        for use in self.sandbox.store._keys.values():
            self.assertAlmostEqual(use.until - time.time(), 86400, delta=60)
            use.until = 0
        self.assertEqual(self.send(subject="Else").status, 200)

    def test_invalid_key(self):
        self.assert_refused(self.send("k" * 257), "key", 400, "invalid_idempotency_key")


class SendTests(ResendTestCase):
    def test_accepted(self):
        answer = self.post({**MESSAGE, "cc": ["c@example.net"], "bcc": "b@example.net"})
        self.assertEqual(answer.status, 200)
        [stored] = self.sandbox.messages
        self.assertEqual(answer.json, {"id": stored.message_ids[0]})
        self.assertEqual(len(stored.message_ids), 1)
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
                ("bcc", EmailAddress("", "b@example.net")),
            ],
        )

    def test_stored(self):
        data = {
            **MESSAGE,
            "to": ["Ann <ann@example.net>", "bo@example.net"],
            "html": "<p>Text",
            "reply_to": ["Help <help@example.com>", "x@example.com"],
            "headers": {
                "X-Shop": "7",
                "X-Metadata": '{"order": 4711, "name": "\\u017dofie"}',
                "X-Tags": '["receipt", "week 7"]',
            },
            "tags": [{"name": "category", "value": "a_b-1"}],
            "scheduled_at": "2031-02-03T04:05:06+00:00",
            "attachments": [
                {
                    "filename": "účet.csv",
                    "content_type": 'text/csv; charset="iso-8859-2"',
                    "content": "6Ts=",
                },
                {
                    "filename": "logo.png",
                    "content_type": "image/png",
                    "content": "iVBO",
                    "content_id": "logo@inline",
                },
            ],
        }
        self.assertEqual(self.post(data).status, 200)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "resend")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>, x@example.com")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual(stored.send_at, "2031-02-03T04:05:06+00:00")
        self.assertEqual(
            (stored.track_opens, stored.track_clicks, stored.template_id), (None, None, None)
        )
        self.assertEqual(
            stored.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"\xe9;"),),
        )
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo.png", "image/png", b"\x89PN", "logo@inline"),),
        )
        for copy in stored.recipients:
            self.assertEqual(copy.header_to, "Ann <ann@example.net>, bo@example.net")
            self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
            self.assertEqual(copy.headers, data["headers"])
            self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
            self.assertEqual(copy.tags, ("receipt", "week 7"))

    def test_headers_that_are_not_anymails(self):
        for headers in (
            {},
            {"X-Metadata": "a=1", "X-Tags": "a, b"},
            {"X-Metadata": "[1]", "X-Tags": '{"a": 1}'},
        ):
            self.sandbox.clear()
            self.assertEqual(self.post({**MESSAGE, "headers": headers}).status, 200)
            copy = self.sandbox.messages[0].recipients[0]
            self.assertEqual((copy.metadata, copy.tags), ({}, ()))

    def test_minimal(self):
        answer = self.post(
            {"from": "a@example.com", "to": "b@example.com", "subject": "", "html": "<p>"}
        )
        self.assertEqual(answer.status, 200)


class BatchTests(ResendTestCase):
    def test_batch(self):
        answer = self.post(
            [
                {**MESSAGE, "scheduled_at": "in 1 hour"},
                {**MESSAGE, "to": ["bo@example.net"], "cc": ["c@example.net"]},
            ],
            BATCH,
        )
        self.assertEqual(answer.status, 200)
        ann, bo = self.sandbox.messages
        self.assertEqual(
            answer.json, {"data": [{"id": ann.message_ids[0]}, {"id": bo.message_ids[0]}]}
        )
        self.assertNotEqual(ann.message_ids, bo.message_ids)
        self.assertEqual(ann.recipients[0].header_to, "Ann <ann@example.net>")
        self.assertEqual([copy.kind for copy in bo.recipients], ["to", "cc"])
        self.assertEqual((ann.send_at, bo.send_at), ("in 1 hour", None))

    def test_limit(self):
        self.assert_refused(self.post([MESSAGE] * 101, BATCH), "at most 100")
        self.assertEqual(self.post([MESSAGE] * 100, BATCH).status, 200)

    def test_refused(self):
        for data, text in (
            ([], "array"),
            (MESSAGE, "array"),
            ([MESSAGE, 5], "JSON object"),
            # One that is refused keeps all from being sent.
            ([MESSAGE, {**MESSAGE, "to": ["bad"]}], "Invalid `to` field"),
            ([{**MESSAGE, "attachments": []}], "`attachments` field is not supported"),
        ):
            with self.subTest(text=text):
                self.assert_refused(self.post(data, BATCH), text)


class RefusalTests(ResendTestCase):
    def test_authentication(self):
        answer = self.post(MESSAGE, **{"X-Any": "1"})
        self.assert_refused(answer, "Missing API key", 401, "missing_api_key")
        for authorization in ("re_sandbox", "Bearer wrong", "Basic re_sandbox"):
            answer = self.post(MESSAGE, Authorization=authorization)
            self.assert_refused(answer, "API key is invalid", 403, "invalid_api_key")
        answer = self.call(EMAILS, b"{")
        self.assert_refused(answer, "Missing API key", 401, "missing_api_key")

    def test_other_urls(self):
        for path in ("/resend/", "/resend/email", "/resend/emails/", "/resend/emails/batch/x"):
            self.assert_refused(self.post(MESSAGE, path), "endpoint", 404, "not_found")
        self.assert_refused(self.get(EMAILS), "endpoint", 404, "not_found")

    def test_malformed_body(self):
        answer = self.call(EMAILS, b"{", {"Authorization": KEY})
        self.assert_refused(answer, "not valid JSON", 400)
        self.assert_refused(self.post([MESSAGE]), "must be a JSON object")

    def test_messages(self):
        attachment = {"filename": "a.txt", "content": "YQ=="}
        tag = {"name": "a", "value": "b"}
        missing = "missing_required_field"
        for change, text, name in (
            ({"from": ...}, "Missing `from`", missing),
            ({"from": "shop"}, "Invalid `from` field", ""),
            ({"from": ["a@example.com", "b@example.com"]}, "Invalid `from`", ""),
            ({"from": "a@example.com, b@example.com"}, "Invalid `from`", ""),
            ({"from": 5}, "type of the `from`", ""),
            ({"to": ...}, "Missing `to`", missing),
            ({"to": []}, "Missing `to`", missing),
            ({"to": ["ann"]}, "Invalid `to` field", ""),
            ({"to": ["žofie@example.com"]}, "Invalid `to` field", ""),
            ({"to": ["zofie@háj.example"]}, "Invalid `to` field", ""),
            ({"to": ["a@example.com, b@example.com"]}, "Invalid `to` field", ""),
            ({"to": [5]}, "Invalid `to` field", ""),
            ({"to": {"email": "a@example.com"}}, "type of the `to`", ""),
            ({"to": ["a@example.com"] * 51}, "at most 50", ""),
            ({"cc": ["c"]}, "Invalid `cc`", ""),
            ({"bcc": ["b"]}, "Invalid `bcc`", ""),
            ({"reply_to": ["r"]}, "Invalid `reply_to`", ""),
            ({"subject": ...}, "Missing `subject`", missing),
            ({"subject": None}, "type of the `subject`", ""),
            ({"text": ...}, "Missing `html` or `text`", ""),
            ({"text": ""}, "Missing `html` or `text`", ""),
            ({"html": 5}, "type of the `html`", ""),
            ({"headers": []}, "type of the `headers`", ""),
            ({"headers": {"X-A": 5}}, "must be text", ""),
            ({"tags": {"a": "b"}}, "type of the `tags`", ""),
            ({"tags": ["a"]}, "Tags should only contain", ""),
            ({"tags": [{**tag, "value": "á"}]}, "Tags should only contain", ""),
            ({"tags": [{**tag, "value": "week 7"}]}, "Tags should only contain", ""),
            ({"tags": [{"name": "a"}]}, "Tags should only contain", ""),
            ({"scheduled_at": 5}, "type of the `scheduled_at`", ""),
            ({"attachments": "a"}, "type of the `attachments`", ""),
            ({"attachments": ["a"]}, "Invalid attachment", ""),
            ({"attachments": [{**attachment, "content": "?"}]}, "Invalid attachment", ""),
            ({"attachments": [{**attachment, "filename": ""}]}, "must have a `filename`", ""),
            ({"attachments": [{"content": "YQ=="}]}, "Invalid attachment", ""),
        ):
            with self.subTest(change=str(change)[:60]):
                data: dict[str, Any] = {**MESSAGE, **change}
                data = {key: value for key, value in data.items() if value is not ...}
                self.assert_refused(self.post(data), text, name=name or "validation_error")


class ReceivedTests(ResendTestCase):
    """What a site fetches after it was told about a received message."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox.webhook_url = "http://127.0.0.1:8000/anymail"
        self.mail = WebhookTestCase.mail(self)  # type: ignore[arg-type]

    def path(self, *, raw: bool, mail: Any = None) -> str:
        call = self.sandbox.inbound_webhook("resend", mail or self.mail, raw=raw)
        return "/resend/emails/receiving/{email_id}".format_map(json.loads(call.body)["data"])

    def test_raw(self):
        path = self.path(raw=True)
        answer = self.get(path)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["id"], path.rpartition("/")[2])
        url = answer.json["raw"]["download_url"]
        self.assertTrue(url.startswith(self.sandbox.base_url + "/resend/"))
        self.assertGreater(
            datetime.fromisoformat(answer.json["raw"]["expires_at"]), datetime.now(timezone.utc)
        )
        raw = self.get(url, None)
        self.assertEqual((raw.status, raw.headers["Content-Type"]), (200, "message/rfc822"))
        WebhookTestCase.assert_mime(self, raw.text, self.mail)  # type: ignore[arg-type]

    def test_fields(self):
        answer = self.get(self.path(raw=False)).json
        self.assertIsNone(answer["raw"])
        self.assertEqual(answer["from"], '"Žofie, N." <žofie@example.net>')
        self.assertEqual(answer["to"], ["shop+4711@example.com"])
        self.assertEqual(answer["received_for"], ["shop+4711@example.com"])
        for field in ("cc", "bcc", "reply_to"):
            self.assertEqual(answer[field], [])
        self.assertEqual(answer["subject"], self.mail.subject)
        self.assertEqual((answer["text"], answer["html"]), (self.mail.text, self.mail.html))
        self.assertEqual(answer["headers"]["in-reply-to"], "<1@example.com>")
        self.assertEqual(answer["message_id"], self.mail.message_id)
        self.assertIsNone(
            self.get(self.path(raw=False, mail=replace(self.mail, html=""))).json["html"]
        )

    def test_attachments(self):
        path = self.path(raw=False)
        described = self.get(path).json["attachments"]
        # As documented, their URLs are elsewhere.
        self.assertFalse(any("download_url" in item for item in described))
        self.assertEqual(
            [
                (item["filename"], item["content_type"], item["content_id"], item["size"])
                for item in described
            ],
            [("účet.csv", "text/csv", None, 4), ("logo.png", "image/png", "logo@inline", 5)],
        )
        self.assertEqual(
            [item["content_disposition"] for item in described], ["attachment", "inline"]
        )
        listed = self.get(f"{path}/attachments").json
        self.assertEqual((listed["object"], listed["has_more"]), ("list", False))
        self.assertEqual([item["id"] for item in listed["data"]], [i["id"] for i in described])
        for item, attachment in zip(listed["data"], ATTACHMENTS, strict=True):
            content = self.get(item["download_url"], None)
            self.assertEqual(content.body, attachment.content)
            self.assertEqual(content.headers["Content-Type"], attachment.content_type)
            single = self.get(f"{path}/attachments/{item['id']}").json
            self.assertEqual(single["object"], "attachment")
            self.assertEqual(self.get(single["download_url"], None).body, attachment.content)

    def test_refused(self):
        path = self.path(raw=True)
        self.assert_refused(self.get(path, None), "Missing API key", 401, "missing_api_key")
        self.assert_refused(self.get(path, "Bearer x"), "invalid", 403, "invalid_api_key")
        self.assert_refused(self.get(f"{path}0"), "Email not found", 404, "not_found")
        self.assert_refused(self.get(f"{path}0/attachments"), "Email not found", 404, "not_found")
        self.assert_refused(self.get(f"{path}/attachments/0"), "Attachment", 404, "not_found")
        self.assert_refused(self.get(f"{path}/other"), "endpoint", 404, "not_found")
        answer = self.call(path, headers={"Authorization": KEY})
        self.assert_refused(answer, "endpoint", 404, "not_found")

    def test_download_refused(self):
        url = self.get(self.path(raw=True)).json["raw"]["download_url"]
        self.assertEqual(self.get(url.partition("?")[0], None).status, 403)
        self.assertEqual(self.get(f"{url}0", None).status, 403)
        self.assertEqual(self.get(url.replace("/raw", "0/raw"), None).status, 403)
        self.assertEqual(self.get(url.replace("/raw", "/other"), None).status, 404)
        self.assertEqual(self.call(url.removeprefix(self.sandbox.base_url)).status, 403)
        # Storage providers don't take two kinds of credentials.
        self.assertEqual(self.get(url).status, 403)


class ResendWebhookTests(WebhookTestCase):
    """https://resend.com/docs/webhooks/event-types"""

    provider = "resend"
    recipient = replace(RECIPIENT, headers={"X-Tags": '["receipt"]', "X-Own": "Účet"})

    def assert_signed(self, call: WebhookCall, setting: str) -> None:
        secret = self.sandbox.anymail_settings()[setting].removeprefix("whsec_")
        signed = f"{call.headers['svix-id']}.{call.headers['svix-timestamp']}.{call.body.decode()}"
        digest = hmac.new(base64.b64decode(secret), signed.encode(), hashlib.sha256).digest()
        signature = base64.b64encode(digest).decode()
        self.assertEqual(call.headers["svix-signature"], f"v1,{signature}")
        self.assertLess(abs(time.time() - int(call.headers["svix-timestamp"])), 5)
        self.assertEqual(call.headers["Content-Type"], "application/json")

    def event(self, event: str, **kwargs: Any) -> Any:
        stored = message(self.provider, self.recipient, **kwargs)
        call = self.sandbox.tracking_webhook(stored, event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/resend/tracking/")
        self.assert_signed(call, "RESEND_SIGNING_SECRET")
        return json.loads(call.body)

    @tag("exhaustive")
    @skip_without("svix")
    def test_signature(self):
        from svix.webhooks import Webhook

        settings = self.sandbox.anymail_settings()
        for call, setting in (
            (
                self.sandbox.tracking_webhook(message(self.provider), "sent"),
                "RESEND_SIGNING_SECRET",
            ),
            (self.sandbox.inbound_webhook("resend", self.mail()), "RESEND_INBOUND_SECRET"),
        ):
            Webhook(settings[setting]).verify(call.body, dict(call.headers))
        self.assertNotEqual(settings["RESEND_SIGNING_SECRET"], settings["RESEND_INBOUND_SECRET"])

    def test_common_fields(self):
        ids = set()
        for event in self.sandbox.providers["resend"].events:
            with self.subTest(event):
                payload = self.event(event)
                data = payload["data"]
                self.assertEqual(data["email_id"], "<1@mg.example.com>")
                self.assertEqual(data["to"], ["Ann <ann@example.net>"])
                self.assertEqual(data["subject"], "Účet")
                self.assertEqual(
                    data["headers"],
                    [
                        {"name": "X-Tags", "value": '["receipt"]'},
                        {"name": "X-Own", "value": "Účet"},
                    ],
                )
                self.assertRegex(
                    payload["created_at"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z"
                )
                call = self.sandbox.tracking_webhook(message(self.provider), event)
                ids.add(call.headers["svix-id"])
        self.assertEqual(len(ids), len(self.sandbox.providers["resend"].events))

    def test_events(self):
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            "queued": ("email.scheduled", {}),
            "sent": ("email.sent", {}),
            "delivered": ("email.delivered", {}),
            "deferred": ("email.delivery_delayed", {}),
            "bounced": ("email.bounced", {"type": "Permanent"}),
            "rejected": ("email.suppressed", {"reason": "previous_bounce"}),
            "failed": ("email.failed", {"reason": "reached_daily_quota"}),
            "complained": ("email.complained", {}),
            "opened": ("email.opened", {}),
            "clicked": ("email.clicked", {"link": "https://shop.example.com/?a=1&b=2"}),
        }
        self.assertEqual(self.sandbox.providers["resend"].events, cases.keys())
        fields = {"bounced": "bounce", "rejected": "suppressed", "failed": "failed"}
        for event, (esp_type, expected) in cases.items():
            with self.subTest(event):
                payload = self.event(event)
                self.assertEqual(payload["type"], esp_type)
                details = payload["data"].get(fields.get(event, "click"), {})
                self.assertEqual({**details, **expected}, details)
        self.assertIn("Mozilla", self.event("clicked")["data"]["click"]["userAgent"])

    def test_all_recipients_are_named(self):
        other = replace(self.recipient, mailbox=EmailAddress("", "bo@example.net"))
        stored = replace(
            message(self.provider, self.recipient),
            recipients=(self.recipient, other, replace(other, kind="bcc")),
        )
        call = self.sandbox.tracking_webhook(stored, "delivered", other)
        self.assertEqual(
            json.loads(call.body)["data"]["to"], ["Ann <ann@example.net>", "bo@example.net"]
        )

    def test_inbound(self):
        for raw in (True, False):
            call = self.sandbox.inbound_webhook("resend", self.mail(), raw=raw)
            self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/resend/inbound/")
            self.assert_signed(call, "RESEND_INBOUND_SECRET")
            payload = json.loads(call.body)
            self.assertEqual(payload["type"], "email.received")
            data = payload["data"]
            self.assertEqual(data["from"], '"Žofie, N." <žofie@example.net>')
            self.assertEqual(data["to"], ["shop+4711@example.com"])
            self.assertEqual(
                [item["filename"] for item in data["attachments"]], ["účet.csv", "logo.png"]
            )
            self.assertNotIn("text", data)

    def test_sandboxes_have_messages_of_their_own(self):
        call = self.sandbox.inbound_webhook("resend", self.mail())
        email_id = json.loads(call.body)["data"]["email_id"]
        other = Sandbox()
        self.addCleanup(other.stop)
        self.assertIn(email_id, self.sandbox.providers["resend"]._received)  # type: ignore[attr-defined]
        self.assertNotIn(email_id, other.providers["resend"]._received)  # type: ignore[attr-defined]
