from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from unittest.mock import ANY
from urllib.parse import quote

from anymail.addresses import EmailAddress
from anymail.sandbox import (
    InboundMail,
    StoredAttachment,
    StoredTemplate,
    UnsupportedEvent,
)

from .cases import Answer, SandboxTestCase
from .test_webhooks import ATTACHMENTS, BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

MESSAGE: dict[str, Any] = {
    "sender": {"email": "shop@example.com", "name": "Shop, Brno"},
    "to": [{"email": "ann@example.net", "name": "Ann"}],
    "subject": "Účet",
    "htmlContent": "<p>Text",
}


class BrevoTestCase(SandboxTestCase):
    def post(self, data: Any, key: str | None = "xkeysib-sandbox") -> Answer:
        headers = {} if key is None else {"api-key": key}
        return self.post_json("/brevo/v3/smtp/email", data, **headers)

    def send(self, **fields: Any) -> Answer:
        return self.post({**MESSAGE, **fields})

    def without(self, *names: str) -> dict[str, Any]:
        return {name: value for name, value in MESSAGE.items() if name not in names}

    def assert_refused(
        self, answer: Answer, text: str, code: str = "invalid_parameter", status: int = 400
    ) -> None:
        self.assertEqual((answer.status, answer.json["code"]), (status, code), answer.text)
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class IdempotencyTests(BrevoTestCase):
    key = "5b0e3c7e-0000-4000-8000-000000000000"

    def test_used_before(self):
        headers = {"idempotencyKey": self.key, "X-Mine": "kept"}
        self.assertEqual(self.send(headers=headers).status, 201)
        answer = self.send(headers={"idempotencyKey": self.key.upper()})
        self.assertEqual((answer.status, answer.json["code"]), (400, "duplicate_parameter"))
        [stored] = self.sandbox.messages
        self.assertEqual(dict(stored.recipients[0].headers), {"X-Mine": "kept"})
        for use in self.sandbox.store._keys.values():
            self.assertAlmostEqual(use.until - time.time(), 30 * 60, delta=60)
            use.until = 0
        self.assertEqual(self.send(headers=headers).status, 201)

    def test_refused_call(self):
        headers = {"idempotencyKey": self.key}
        self.assertEqual(self.send(headers=headers, subject="").status, 400)
        self.assertEqual(self.send(headers=headers).status, 201)

    def test_invalid(self):
        self.assert_refused(self.send(headers={"idempotencyKey": "mine"}), "UUID")


class EmailTests(BrevoTestCase):
    def test_accepted(self):
        answer = self.send()
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.json, {"messageId": ANY})
        self.assertRegex(answer.json["messageId"], r"\A<\d{12}\.\d{11}@smtp-relay\.mailin\.fr>\Z")
        [stored] = self.sandbox.messages
        self.assertEqual(stored.message_ids, [answer.json["messageId"]])
        self.assertNotEqual(self.send().json, answer.json)

    def test_stored(self):
        data = {
            **MESSAGE,
            "cc": [{"email": "c@example.net"}],
            "bcc": [{"email": "žofie@example.net"}],
            "replyTo": {"email": "help@example.com", "name": "Help"},
            "textContent": "Text",
            "headers": {
                "X-Shop": 7,
                "x-mailin-CUSTOM": '{"order": 4711, "name": "\\u017dofie"}',
            },
            "tags": ["a", "b"],
            "attachment": [
                {"name": "účet.CSV", "content": base64.b64encode(b"a;b\r\n\xe9").decode()},
                {"name": "logo.png", "content": "AAEC"},
                {"name": "a.tar", "content": ""},
            ],
        }
        self.assertEqual(self.post(data).status, 201)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "brevo")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.template_id, stored.send_at), (None, None))
        self.assertEqual((stored.track_opens, stored.track_clicks), (None, None))
        self.assertEqual(
            stored.attachments,
            (
                StoredAttachment("účet.CSV", "text/csv; charset=utf-8", b"a;b\r\n\xe9"),
                StoredAttachment("logo.png", "image/png", b"\0\1\2"),
                StoredAttachment("a.tar", "application/x-tar", b""),
            ),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
                ("bcc", EmailAddress("", "žofie@example.net")),
            ],
        )
        for copy in stored.recipients:
            self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
            self.assertEqual(copy.header_to, "Ann <ann@example.net>")
            self.assertEqual(copy.headers["X-Shop"], "7")
            self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
            self.assertEqual(copy.tags, ("a", "b"))
            self.assertEqual(copy.merge_data, {})
        self.assertEqual(json.loads(stored.request.body), data)

    def test_metadata_of_others(self):
        for custom in ("key:value|key:value", "[1]", "[" * 100_000, ""):
            self.assertEqual(self.send(headers={"X-Mailin-custom": custom}).status, 201)
            self.assertEqual(self.sandbox.messages[-1].recipients[0].metadata, {})

    def test_display_names(self):
        for name, expected in (
            ("=?utf-8?b?Q2Fmw6ksIEx5b24=?=", "Café, Lyon"),
            ("Café Lyon", "Café Lyon"),
            ("Cafe, Lyon", "Cafe, Lyon"),
            # Brevo's bug
            ("Café, Lyon", ""),
            ("=?nosuch?q?a?=", "=?nosuch?q?a?="),
            ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ):
            with self.subTest(name=name):
                self.send(to=[{"email": "a@example.com", "name": name}])
                [copy] = self.sandbox.messages[-1].recipients
                self.assertEqual(copy.mailbox.display_name, expected)

    def test_key(self):
        for key in ("wrong", None):
            answer = self.post(MESSAGE, key)
            self.assert_refused(answer, "Key not found", "unauthorized", 401)
        # Even if there is more that is wrong
        answer = self.call("/brevo/v3/smtp/email", b"{")
        self.assert_refused(answer, "Key not found", "unauthorized", 401)

    def test_unknown_endpoints(self):
        headers = {"api-key": "xkeysib-sandbox"}
        for path, method in (
            ("/brevo/v3/smtp/emails", "POST"),
            ("/brevo/smtp/email", "POST"),
            ("/brevo/v3/smtp/email", "GET"),
            ("/brevo/v3/inbound/attachments/x", "POST"),
        ):
            with self.subTest(path=path, method=method):
                answer = self.call(path, b"{}", headers, method)
                self.assert_refused(answer, "", "document_not_found", 404)

    def test_not_json(self):
        headers = {"api-key": "xkeysib-sandbox", "Content-Type": "application/json"}
        for body in (b"{", b"\xff", b"[]", b"null", b"1"):
            answer = self.call("/brevo/v3/smtp/email", body, headers)
            self.assert_refused(answer, "JSON", "bad_request")

    def test_missing_fields(self):
        for name, text in (
            ("sender", "sender is missing"),
            ("to", "to is missing"),
            ("subject", "subject is missing"),
            ("htmlContent", "htmlContent or templateId"),
        ):
            with self.subTest(name):
                self.assert_refused(self.post(self.without(name)), text, "missing_parameter")
        answer = self.post({**self.without("htmlContent"), "textContent": "Text"})
        self.assert_refused(answer, "htmlContent", "missing_parameter")
        answer = self.send(to=[], cc=[{"email": "c@example.net"}])
        self.assert_refused(answer, "to is missing", "missing_parameter")

    def test_bad_values(self):
        fields: list[tuple[str, Any]] = [
            ("sender", "shop@example.com"),
            ("sender", {"email": "shop"}),
            ("sender", {"name": "Shop"}),
            ("to", {"email": "ann@example.net"}),
            ("to", [{"email": "ann"}]),
            ("to", [{"email": "ann@háj.example"}]),
            ("to", [{"email": 5}]),
            ("cc", [{"email": "c@"}]),
            ("bcc", [{"email": ""}]),
            ("replyTo", [{"email": "a@example.com"}]),
            ("replyTo", {"email": "a"}),
            ("subject", 5),
            ("htmlContent", []),
            ("textContent", {}),
            ("headers", []),
            ("headers", {"X-A": ["1"]}),
            ("tags", "a"),
            ("tags", [1]),
            ("templateId", "77"),
            ("templateId", True),
            ("params", []),
            ("scheduledAt", 5),
            ("scheduledAt", "soon"),
            ("scheduledAt", "2031-05-06T07:08:09"),
            ("attachment", {}),
            ("attachment", [{"name": "a", "content": ""}]),
            ("attachment", [{"name": ".txt", "content": ""}]),
            ("attachment", [{"name": "a.exe", "content": ""}]),
            ("attachment", [{"name": "a.txt", "content": "?"}]),
            ("attachment", [{"name": "a.txt", "content": "ž"}]),
            ("messageVersions", {}),
        ]
        for name, value in fields:
            with self.subTest(name=name, value=value):
                self.assert_refused(self.send(**{name: value}), "")
        for name in ("to", "cc", "attachment", "messageVersions"):
            with self.subTest(name):
                self.assert_refused(self.send(**{name: ["x"]}), "JSON object", "bad_request")

    def test_limits(self):
        people = [{"email": f"u{n}@example.com"} for n in range(2001)]
        self.assert_refused(self.send(to=people), "At most 2000 recipients")
        versions = [{"to": people[:100]}]
        self.assert_refused(self.send(messageVersions=versions), "At most 99 recipients")
        versions = [{"to": people[:1]}] * 1001
        self.assert_refused(self.send(messageVersions=versions), "At most 1000 messageVersions")
        self.assertEqual(self.send(to=people[:-1]).status, 201)

    def test_scheduled(self):
        for when in ("2031-05-06T07:08:09.123+02:00", "2031-05-06T07:08:09Z"):
            answer = self.send(scheduledAt=when)
            self.assertEqual(answer.status, 202)
            self.assertEqual(answer.json, {"messageId": ANY, "batchId": ANY})
            self.assertEqual(self.sandbox.messages[-1].send_at, when)

    def test_dropped(self):
        answer = self.send(headers={"x-sib-sandbox": "drop"})
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.sandbox.messages, [])
        self.assert_refused(self.send(headers={"X-Sib-Sandbox": "drop"}, tags=1), "tags")

    def test_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        answer = self.send(to=[{"email": "Ann@example.net"}, {"email": "bo@example.net"}])
        self.assertEqual(answer.status, 201)
        [stored] = self.sandbox.messages
        self.assertEqual([copy.address for copy in stored.recipients], ["bo@example.net"])


class BatchTests(BrevoTestCase):
    def test_versions(self):
        answer = self.post(
            {
                **self.without("to"),
                "subject": "Hi {{ params.name }}",
                "htmlContent": "<b>{{params.n}} {{ params.missing }} {{ other }}",
                "cc": [{"email": "c@example.net"}],
                "params": {"name": "all", "n": 1},
                "headers": {"X-All": "1", "X-Mailin-custom": '{"run": "w7"}'},
                "messageVersions": [
                    {
                        "to": [{"email": "ann@example.net"}],
                        "params": {"name": "Ann"},
                        "headers": {"x-mailin-custom": '{"run": "w7", "user": "1"}'},
                    },
                    {"to": [{"email": "bo@example.net", "name": "Bo"}]},
                ],
            }
        )
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.json, {"messageIds": [ANY, ANY]})
        [stored] = self.sandbox.messages
        self.assertEqual(stored.message_ids, answer.json["messageIds"])
        self.assertEqual(
            [(c.kind, c.address, c.message_id, c.header_to) for c in stored.recipients],
            [
                ("to", "ann@example.net", answer.json["messageIds"][0], "ann@example.net"),
                ("cc", "c@example.net", answer.json["messageIds"][0], "ann@example.net"),
                ("to", "bo@example.net", answer.json["messageIds"][1], "Bo <bo@example.net>"),
                ("cc", "c@example.net", answer.json["messageIds"][1], "Bo <bo@example.net>"),
            ],
        )
        ann, _ann_cc, bo, _bo_cc = stored.recipients
        # A version's own take the place of the others.
        self.assertEqual((ann.subject, ann.html), ("Hi Ann", "<b>  {{ other }}"))
        self.assertEqual(ann.merge_data, {"name": "Ann"})
        self.assertEqual(ann.metadata, {"run": "w7", "user": "1"})
        self.assertEqual(set(ann.headers), {"x-mailin-custom"})
        self.assertEqual((bo.subject, bo.metadata), ("Hi all", {"run": "w7"}))
        self.assertEqual(bo.headers["X-All"], "1")

    def test_params_for_a_single_version_are_ignored(self):
        """As Brevo does."""
        self.send(
            subject="Hi {{ params.name }}",
            params={"name": "all"},
            messageVersions=[{"to": [{"email": "ann@example.net"}]}],
        )
        [stored] = self.sandbox.messages
        self.assertEqual(stored.recipients[0].subject, "Hi ")

    def test_refused(self):
        for versions, text in (([], "messageVersions is empty"), ([{}], "to is missing")):
            answer = self.send(messageVersions=versions)
            self.assert_refused(answer, text, "missing_parameter")
        self.assert_refused(self.send(messageVersions=[{"to": [{"email": "x"}]}]), "email")

    def test_template(self):
        self.sandbox.templates["77"] = StoredTemplate(
            "Hi {{ params.name }}", "{{ name }}", "<b>{{params.n}}"
        )
        data = {
            "to": MESSAGE["to"],
            "templateId": 77,
            "htmlContent": "not this",
            "params": {"name": "Ann", "n": 0},
        }
        self.assertEqual(self.post(data).status, 201)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.template_id, "77")
        copy = stored.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "Ann", "<b>0"))

        self.post({**data, "subject": "Own {{params.name}}"})
        self.assertEqual(self.sandbox.messages[-1].recipients[0].subject, "Own Ann")

    def test_unknown_template(self):
        data = {"to": MESSAGE["to"], "templateId": 0, "htmlContent": "not this"}
        self.assertEqual(self.post(data).status, 201)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.template_id, stored.recipients[0].html), ("0", ""))


class TrackingTests(WebhookTestCase):
    provider = "brevo"
    recipient = replace(
        RECIPIENT, headers={"x-mailin-custom": '{"order": 4711}'}, tags=("receipt", "größe")
    )

    def test_common_fields(self):
        for event in self.sandbox.providers["brevo"].events:
            with self.subTest(event):
                payload = self.track(event, self.recipient)
                self.assertEqual(payload["message-id"], "<1@mg.example.com>")
                self.assertEqual(payload["email"], "ann@example.net")
                self.assertEqual(payload["X-Mailin-custom"], '{"order": 4711}')
                self.assertEqual(payload["tags"], ["receipt", "größe"])
                self.assertEqual(json.loads(payload["tag"]), ["receipt", "größe"])
                self.assertEqual(payload["subject"], "Účet")
                self.assertEqual(payload["ts_epoch"] // 1000, payload["ts_event"])
                self.assertGreater(payload["ts_epoch"], 1_700_000_000_000)

    def test_without_tags_and_metadata(self):
        payload = self.track("delivered", BARE_RECIPIENT)
        for name in ("tag", "tags", "X-Mailin-custom", "template_id", "link"):
            self.assertNotIn(name, payload)

    def test_template(self):
        call = self.sandbox.tracking_webhook(message("brevo", template_id="77"), "opened")
        self.assertEqual(json.loads(call.body)["template_id"], 77)

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "queued": {"event": "request"},
            "delivered": {"event": "delivered"},
            "opened": {"event": "unique_opened"},
            "clicked": {"event": "click", "link": "https://shop.example.com/?a=1&b=2"},
            "bounced": {"event": "hard_bounce", "reason": "550 5.1.1 No such user"},
            "deferred": {"event": "deferred"},
            "rejected": {"event": "blocked"},
            "complained": {"event": "spam"},
            "unsubscribed": {"event": "unsubscribe"},
        }
        self.assertEqual(self.sandbox.providers["brevo"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                payload = self.track(event)
                self.assertEqual({name: payload[name] for name in expected}, expected)


class InboundTests(WebhookTestCase):
    provider = "brevo"

    def item(self, mail: InboundMail) -> dict[str, Any]:
        call = self.sandbox.inbound_webhook("brevo", mail)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/brevo/inbound/")
        [item] = json.loads(call.body)["items"]
        return dict(item)

    def test_item(self):
        mail = self.mail()
        item = self.item(mail)
        self.assertEqual(len(item["Uuid"]), 1)
        self.assertEqual(item["RawTextBody"], mail.text)
        self.assertEqual(item["RawHtmlBody"], mail.html)
        self.assertEqual(item["ExtractedMarkdownMessage"], "Příliš")
        self.assertEqual(item["From"], {"Name": "Žofie, N.", "Address": "žofie@example.net"})
        self.assertEqual(item["Recipients"], ["shop+4711@example.com"])
        headers = item["Headers"]
        self.assertEqual(headers["From"], '"Žofie, N." <žofie@example.net>')
        self.assertEqual(headers["Subject"], mail.subject)
        self.assertEqual(headers["Return-Path"], "<žofie@example.net>")
        self.assertEqual(headers["Delivered-To"], "shop+4711@example.com")
        self.assertEqual(headers["In-Reply-To"], "<1@example.com>")
        self.assertEqual(
            parsedate_to_datetime(item["SentAtDate"]), mail.date.replace(microsecond=0)
        )

    def test_minimal(self):
        item = self.item(self.mail(html="", stripped_text="", attachments=(), in_reply_to=""))
        self.assertIsNone(item["RawHtmlBody"])
        self.assertIsNone(item["InReplyTo"])
        self.assertEqual(item["ExtractedMarkdownMessage"], item["RawTextBody"])
        self.assertEqual(item["Attachments"], [])

    def test_raw(self):
        with self.assertRaises(UnsupportedEvent):
            self.sandbox.inbound_webhook("brevo", self.mail(), raw=True)


class AttachmentTests(BrevoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sandbox.webhook_url = "http://127.0.0.1:8000/anymail"
        mail = InboundMail(
            EmailAddress("", "a@example.net"),
            EmailAddress("", "b@example.com"),
            "Hi",
            "Text",
            attachments=ATTACHMENTS,
        )
        [item] = json.loads(self.sandbox.inbound_webhook("brevo", mail).body)["items"]
        self.csv, self.png = item["Attachments"]

    def get(self, token: str, key: str = "xkeysib-sandbox") -> Answer:
        path = f"/brevo/v3/inbound/attachments/{quote(token, safe='')}"
        return self.call(path, headers={"api-key": key}, method="GET")

    def test_described(self):
        self.assertEqual(
            self.csv,
            {
                "Name": "účet.csv",
                "ContentType": "text/csv",
                "ContentLength": 4,
                "ContentID": None,
                "DownloadToken": ANY,
            },
        )
        self.assertEqual(self.png["ContentID"], "logo@inline")
        self.assertNotEqual(self.csv["DownloadToken"], self.png["DownloadToken"])

    def test_downloaded(self):
        answer = self.get(self.csv["DownloadToken"])
        self.assertEqual((answer.status, answer.body), (200, b"\xe9;\r\n"))
        self.assertEqual(answer.headers["Content-Type"], "text/csv; charset=iso-8859-2")
        self.assertEqual(self.get(self.png["DownloadToken"]).body, b"\x89PNG\0")

    def test_refused(self):
        answer = self.get(self.csv["DownloadToken"], key="wrong")
        self.assert_refused(answer, "Key not found", "unauthorized", 401)
        self.assert_refused(self.get("other"), "not found", "document_not_found", 404)
        path = f"/brevo/v3/inbound/attachments/{quote(self.csv['DownloadToken'], safe='')}"
        answer = self.call(path, headers={"api-key": "xkeysib-sandbox"})
        self.assert_refused(answer, "", "document_not_found", 404)
