from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from unittest.mock import ANY

from anymail.addresses import EmailAddress
from anymail.sandbox import (
    InboundMail,
    StoredAttachment,
    StoredTemplate,
    UnsupportedEvent,
)

from .cases import Answer, SandboxTestCase, basic_auth
from .test_webhooks import ATTACHMENTS, BARE_RECIPIENT, RECIPIENT, WebhookTestCase

MESSAGE: dict[str, Any] = {
    "From": {"Email": "shop@example.com", "Name": "Shop, Brno"},
    "To": [{"Email": "ann@example.net", "Name": "Ann"}],
    "Subject": "Účet",
    "TextPart": "Text",
}


class MailjetTestCase(SandboxTestCase):
    def post(self, data: Any, auth: str | None = None) -> Answer:
        if auth is None:
            auth = basic_auth("sandbox-api-key", "sandbox-secret-key")
        return self.post_json("/mailjet/v3.1/send", data, Authorization=auth)

    def send(self, *messages: Any, **call: Any) -> Answer:
        return self.post({"Messages": list(messages), **call})

    def assert_refused(self, answer: Answer, code: str, text: str, status: int = 400) -> None:
        """Check the error of the call, or of the one message in it."""
        error = answer.json
        if "Messages" in error:
            [result] = error["Messages"]
            self.assertEqual(result["Status"], "error")
            [error] = result["Errors"]
        self.assertEqual((answer.status, error["StatusCode"]), (status, status), answer.text)
        self.assertEqual(error["ErrorCode"], code, answer.text)
        self.assertIn(text, error["ErrorMessage"])
        self.assertEqual(self.sandbox.messages, [])


class SendTests(MailjetTestCase):
    def test_accepted(self):
        answer = self.send({**MESSAGE, "Cc": [{"Email": "c@example.net"}], "CustomID": "x"})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(
            answer.json,
            {
                "Messages": [
                    {
                        "Status": "success",
                        "CustomID": "x",
                        "To": [
                            {
                                "Email": "ann@example.net",
                                "MessageUUID": ANY,
                                "MessageID": ANY,
                                "MessageHref": ANY,
                            }
                        ],
                        "Cc": [ANY],
                        "Bcc": [],
                    }
                ]
            },
        )
        result = answer.json["Messages"][0]
        [stored] = self.sandbox.messages
        self.assertEqual(
            [(copy.kind, copy.mailbox, int(copy.message_id)) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net"), result["To"][0]["MessageID"]),
                ("cc", EmailAddress("", "c@example.net"), result["Cc"][0]["MessageID"]),
            ],
        )
        self.assertEqual(len(stored.message_ids), 2)

    def test_stored(self):
        data = {
            **MESSAGE,
            "Sender": {"Email": "bounces@example.com"},
            "HTMLPart": "<p>Text",
            "ReplyTo": {"Email": "help@example.com", "Name": "Help"},
            "Headers": {"X-Shop": 7},
            "EventPayload": '{"order": 4711, "name": "Žofie"}',
            "CustomCampaign": "receipt",
            "TrackOpens": "enabled",
            "TrackClicks": "disabled",
            "Attachments": [
                {
                    "ContentType": "text/csv",
                    "Filename": "účet.csv",
                    "Base64Content": base64.b64encode(b"a;b\r\n\xe9").decode(),
                }
            ],
            "InlinedAttachments": [
                {
                    "ContentType": "image/png",
                    "Filename": "logo.png",
                    "ContentID": "logo@inline",
                    "Base64Content": "AAEC",
                }
            ],
        }
        self.send(data)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "mailjet")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.track_opens, stored.track_clicks), (True, False))
        self.assertEqual((stored.template_id, stored.send_at), (None, None))
        self.assertEqual(
            stored.attachments, (StoredAttachment("účet.csv", "text/csv", b"a;b\r\n\xe9"),)
        )
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo.png", "image/png", b"\0\1\2", "logo@inline"),),
        )
        [copy] = stored.recipients
        self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual(copy.header_to, "Ann <ann@example.net>")
        self.assertEqual(copy.headers, {"X-Shop": "7"})
        self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
        self.assertEqual(copy.tags, ("receipt",))

    def test_globals(self):
        shared = {
            **MESSAGE,
            "To": None,
            "Variables": {"shop": "Shop", "name": "friend"},
            "Headers": {"X-A": "1", "X-B": "1"},
            "EventPayload": '{"run": 7}',
            "Cc": [{"Email": "c@example.net"}],
            "TextPart": "Hi [[var:name]] of [[var:shop]]",
        }
        answer = self.send(
            {
                "To": [{"Email": "ann@example.net"}],
                "Variables": {"name": "Ann"},
                "Headers": {"X-B": "2"},
                "EventPayload": '{"run": 8}',
            },
            {"To": [{"Email": "bo@example.net"}, {"Email": "cy@example.net"}]},
            Globals=shared,
        )
        self.assertEqual(answer.status, 200)
        ann, bo = self.sandbox.messages
        copy = ann.recipients[0]
        # A message's own take the place of the others.
        self.assertEqual(copy.text, "Hi Ann of ")
        self.assertEqual(copy.headers, {"X-B": "2"})
        self.assertEqual(copy.metadata, {"run": "8"})
        self.assertEqual([item.kind for item in ann.recipients], ["to", "cc"])
        copy = bo.recipients[0]
        self.assertEqual(copy.text, "Hi friend of Shop")
        self.assertEqual(copy.headers, {"X-A": "1", "X-B": "1"})
        self.assertEqual(copy.metadata, {"run": "7"})
        self.assertEqual(copy.header_to, "bo@example.net, cy@example.net")

    def test_template_language(self):
        fields = {
            **MESSAGE,
            "Subject": "{{var:n}} [[var:n]]",
            "TextPart": '{{var:n}} [[var:n]] [[var:x:"y z"]] {{var:x:y}} [[var:x]].',
            "Variables": {"n": 1},
        }
        self.send(fields)
        self.send({**fields, "TemplateLanguage": True})
        without, with_language = [item.recipients[0] for item in self.sandbox.messages]
        self.assertEqual(without.subject, "{{var:n}} [[var:n]]")
        self.assertEqual(without.text, "{{var:n}} 1 y z {{var:x:y}} .")
        self.assertEqual(with_language.subject, "1 [[var:n]]")
        self.assertEqual(with_language.text, "1 1 y z y .")

    def test_template(self):
        self.sandbox.templates["7"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        fields = {"To": MESSAGE["To"], "TemplateID": 7, "Variables": {"name": "Ann", "n": 1}}
        self.assertEqual(self.send(fields).status, 200)
        self.assertEqual(self.send({**fields, "Subject": "Own"}).status, 200)
        self.assertEqual(self.send({**fields, "TemplateID": 8}).status, 200)
        first, second, third = self.sandbox.messages
        self.assertEqual((first.template_id, first.subject), ("7", ""))
        copy = first.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))
        self.assertEqual(copy.merge_data, {"name": "Ann", "n": 1})
        self.assertEqual(second.recipients[0].subject, "Own")
        self.assertEqual(third.recipients[0].text, "")

    def test_null_in_variables(self):
        answer = self.send({**MESSAGE, "Variables": {"x": None}})
        self.assertEqual((answer.status, answer.json["StatusCode"]), (500, 500))
        self.assertIn("Null", answer.json["ErrorMessage"])
        self.assertEqual(self.sandbox.messages, [])

    def test_payload_that_is_no_metadata(self):
        for payload in ("text", "5", "", "[" * 100_000):
            self.send({**MESSAGE, "EventPayload": payload})
        self.assertEqual([item.recipients[0].metadata for item in self.sandbox.messages], [{}] * 4)

    def test_partly_refused(self):
        bad = {**MESSAGE, "To": [{"Email": "x"}]}
        answer = self.send(MESSAGE, bad, "x", MESSAGE)
        self.assertEqual(answer.status, 400)
        self.assertEqual(
            [item["Status"] for item in answer.json["Messages"]],
            ["success", "error", "error", "success"],
        )
        self.assertEqual(
            answer.json["Messages"][1]["Errors"],
            [
                {
                    "ErrorIdentifier": ANY,
                    "ErrorCode": "mj-0013",
                    "StatusCode": 400,
                    "ErrorMessage": ANY,
                    "ErrorRelatedTo": ["Messages[1].To[0].Email"],
                }
            ],
        )
        self.assertNotIn("To", answer.json["Messages"][1])
        self.assertEqual(len(self.sandbox.messages), 2)

    def test_sandbox_mode(self):
        answer = self.send(MESSAGE, SandboxMode=True)
        self.assertEqual(answer.status, 200)
        [recipient] = answer.json["Messages"][0]["To"]
        self.assertEqual((recipient["MessageUUID"], recipient["MessageID"]), ("", 0))
        self.assertEqual(self.sandbox.messages, [])
        self.assert_refused(self.send({**MESSAGE, "To": []}, SandboxMode=True), "mj-0003", "To")

    def test_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        self.assertEqual(self.send(MESSAGE).status, 200)
        self.assertEqual(self.sandbox.messages, [])
        self.send({**MESSAGE, "Bcc": [{"Email": "bo@example.net"}]})
        [stored] = self.sandbox.messages
        self.assertEqual([copy.address for copy in stored.recipients], ["bo@example.net"])


class RefusalTests(MailjetTestCase):
    def test_keys(self):
        for auth in ("", basic_auth("sandbox-api-key", "x"), basic_auth("x", "sandbox-secret-key")):
            self.assert_refused(self.post({}, auth), "mj-0015", "authentication", 401)

    def test_malformed(self):
        auth = {"Authorization": basic_auth("sandbox-api-key", "sandbox-secret-key")}
        for content_type, body in (
            ("application/json", b"{"),
            ("application/json", b"\xff"),
            ("text/plain", json.dumps({"Messages": [MESSAGE]}).encode()),
        ):
            headers = {**auth, "Content-Type": content_type}
            self.assert_refused(self.call("/mailjet/v3.1/send", body, headers), "mj-0002", "")

    def test_call(self):
        for data, code in (
            ([], "mj-0004"),
            ({}, "mj-0007"),
            ({"Messages": []}, "mj-0007"),
            ({"Messages": {}}, "mj-0004"),
            ({"Messages": [MESSAGE] * 51}, "mj-0008"),
            ({"Messages": [MESSAGE], "Globals": []}, "mj-0004"),
            ({"Messages": [MESSAGE], "SandboxMode": "yes"}, "mj-0004"),
        ):
            with self.subTest(data=data):
                self.assert_refused(self.post(data), code, "")
        self.assertEqual(self.send(*[MESSAGE] * 50).status, 200)

    def test_other_endpoints(self):
        auth = {"Authorization": basic_auth("sandbox-api-key", "sandbox-secret-key")}
        self.assertEqual(self.call("/mailjet/v3.1/send", headers=auth, method="GET").status, 405)
        self.assertEqual(self.call("/mailjet/v3/send", "{}", auth).status, 404)

    def test_message(self):
        many = [{"Email": f"u{n}@example.com"} for n in range(26)]
        for fields, code, text in (
            ({"From": None}, "mj-0003", "From"),
            ({"From": {"Email": "shop"}}, "mj-0013", "'shop'"),
            ({"From": "shop@example.com"}, "mj-0004", "From"),
            ({"To": None}, "mj-0003", "To"),
            ({"To": []}, "mj-0003", "To"),
            ({"To": [{"Email": "ann@háj.example"}]}, "mj-0013", "háj"),
            ({"To": [{"Name": "Ann"}]}, "mj-0013", ""),
            ({"To": [{"Email": ["a@b.c"]}]}, "mj-0004", "Email"),
            ({"To": ["ann@example.net"]}, "mj-0004", "object"),
            ({"To": {"Email": "ann@example.net"}}, "mj-0004", "To"),
            ({"To": many, "Bcc": many}, "send-0015", "too many"),
            ({"Sender": {"Email": "x"}}, "mj-0013", "'x'"),
            ({"ReplyTo": {"Email": "x"}}, "mj-0013", "'x'"),
            ({"TextPart": ""}, "send-0003", "TextPart"),
            ({"Subject": 5}, "mj-0004", "Subject"),
            ({"Headers": {"SUBJECT": "x"}}, "send-0011", "SUBJECT"),
            ({"Headers": {"X-MJ-CustomID": "x"}}, "send-0011", "X-MJ-CustomID"),
            ({"Headers": []}, "mj-0004", "Headers"),
            ({"Variables": "x"}, "mj-0004", "Variables"),
            ({"EventPayload": {"a": 1}}, "mj-0004", "EventPayload"),
            ({"CustomCampaign": ["a"]}, "mj-0004", "CustomCampaign"),
            ({"TrackOpens": True}, "mj-0004", "TrackOpens"),
            ({"TrackClicks": "yes"}, "mj-0004", "TrackClicks"),
            ({"TemplateID": "7"}, "mj-0004", "TemplateID"),
            ({"TemplateID": True}, "mj-0004", "TemplateID"),
            ({"TemplateLanguage": 1}, "mj-0004", "TemplateLanguage"),
            ({"Attachments": [{"Filename": "a", "Base64Content": ""}]}, "mj-0003", "ContentType"),
            ({"Attachments": [{"ContentType": "a/b"}]}, "mj-0003", "Filename"),
            (
                {
                    "InlinedAttachments": [
                        {"ContentType": "a/b", "Filename": "a", "Base64Content": "!"}
                    ]
                },
                "mj-0004",
                "base64",
            ),
        ):
            with self.subTest(fields=fields):
                self.assert_refused(self.send({**MESSAGE, **fields}), code, text)

    def test_accepted_all_the_same(self):
        for fields in (
            {"To": [{"Email": "žofie@example.net"}]},
            {"TrackOpens": "account_default"},
            {"From": None, "TemplateID": 7},
            {"TextPart": "", "HTMLPart": "x"},
        ):
            with self.subTest(fields=fields):
                self.assertEqual(self.send({**MESSAGE, **fields}).status, 200)
        self.assertEqual([item.track_opens for item in self.sandbox.messages], [None] * 4)


class MailjetWebhookTests(WebhookTestCase):
    """https://dev.mailjet.com/email/guides/webhooks/"""

    provider = "mailjet"

    recipient = replace(
        RECIPIENT,
        message_id="70650000000000001",
        metadata={"order": "4711", "name": "Žofie"},
    )

    def test_common_fields(self):
        for event in self.sandbox.providers["mailjet"].events:
            with self.subTest(event):
                payload = self.track(event, self.recipient)
                self.assertEqual(payload["MessageID"], 70650000000000001)
                self.assertEqual(payload["email"], "ann@example.net")
                self.assertEqual(payload["customcampaign"], "receipt")
                self.assertEqual(json.loads(payload["Payload"]), {"order": "4711", "name": "Žofie"})
                self.assertIsInstance(payload["time"], int)

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "delivered": {"event": "sent", "smtp_reply": "sent (250 2.0.0 OK)"},
            "opened": {"event": "open"},
            "clicked": {"event": "click", "url": "https://shop.example.com/?a=1&b=2"},
            "bounced": {"event": "bounce", "error": "user unknown", "hard_bounce": True},
            "deferred": {"event": "bounce", "error": "greylisted", "hard_bounce": False},
            "rejected": {"event": "blocked", "error": "preblocked"},
            "complained": {"event": "spam"},
            "unsubscribed": {"event": "unsub"},
        }
        self.assertEqual(self.sandbox.providers["mailjet"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                payload = self.track(event, self.recipient)
                self.assertEqual({**payload, **expected}, payload)
        self.assertIn("Mozilla", self.track("opened", self.recipient)["agent"])

    def test_no_metadata(self):
        recipient = replace(BARE_RECIPIENT, message_id="2")
        payload = self.track("delivered", recipient)
        self.assertEqual((payload["Payload"], payload["customcampaign"]), ("", ""))

    def inbound(self, **kwargs: Any) -> tuple[InboundMail, dict[str, Any]]:
        mail = self.mail(sender=EmailAddress("Žofie, N.", "z@example.net"), **kwargs)
        call = self.sandbox.inbound_webhook("mailjet", mail)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/mailjet/inbound/")
        return mail, json.loads(call.body)

    def test_inbound(self):
        # https://dev.mailjet.com/email/guides/parse-api/
        mail, payload = self.inbound()
        self.assertEqual(payload["Sender"], "z@example.net")
        self.assertEqual(payload["Recipient"], "shop+4711@example.com")
        self.assertEqual(payload["From"], '"Žofie, N." <z@example.net>')
        self.assertEqual(payload["Subject"], mail.subject)
        self.assertRegex(payload["Date"], r"\A\d{8}T\d{6}\Z")
        self.assertEqual(payload["Text-part"].replace("\r\n", "\n"), mail.text)
        self.assertEqual(payload["Html-part"].rstrip(), mail.html)
        headers = payload["Headers"]
        self.assertEqual(headers["To"], "shop+4711@example.com")
        self.assertEqual(headers["Subject"], mail.subject)
        self.assertIn("Žofie, N.", headers["From"])
        self.assertEqual(headers["In-Reply-To"], "<1@example.com>")
        self.assertIsInstance(headers["Content-Type"], list)
        parts = {part["ContentRef"]: part for part in payload["Parts"] if "ContentRef" in part}
        self.assertEqual(
            list(parts), ["Text-part", "Html-part", "Attachment1", "InlineAttachment1"]
        )
        self.assertEqual(len(payload["Parts"]), 6)  # and two multiparts
        self.assertEqual(base64.b64decode(payload["Attachment1"]), b"\xe9;\r\n")
        self.assertIn("účet.csv", parts["Attachment1"]["Headers"]["Content-Disposition"])
        self.assertIn("iso-8859-2", parts["Attachment1"]["Headers"]["Content-Type"][0])
        self.assertEqual(base64.b64decode(payload["InlineAttachment1"]), b"\x89PNG\0")
        self.assertEqual(parts["InlineAttachment1"]["Headers"]["Content-ID"], "<logo@inline>")

    def test_inbound_text_only(self):
        _mail, payload = self.inbound(html="", attachments=())
        self.assertEqual([part["ContentRef"] for part in payload["Parts"]], ["Text-part"])
        self.assertNotIn("Html-part", payload)

    def test_inbound_attached_message(self):
        """What is in it is neither a part nor the text of the message that it is attached to."""
        content = b"Subject: Inner\r\nContent-Type: text/plain\r\n\r\nInner\r\n"
        attachments = (StoredAttachment("fwd.eml", "message/rfc822", content),)
        mail, payload = self.inbound(html="", attachments=attachments)
        refs = [part.get("ContentRef") for part in payload["Parts"]]
        self.assertEqual(refs, [None, "Text-part", "Attachment1"])
        self.assertEqual(payload["Text-part"].replace("\r\n", "\n"), mail.text)
        self.assertEqual(base64.b64decode(payload["Attachment1"]), content)

    def test_no_raw_inbound(self):
        with self.assertRaises(UnsupportedEvent):
            self.sandbox.inbound_webhook("mailjet", self.mail(attachments=ATTACHMENTS), raw=True)
