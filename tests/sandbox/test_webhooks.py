"""The calls that the sandbox makes, checked against the providers' documentation.

Signatures are computed here on their own. That Anymail's webhooks accept them is a matter of
test_demo.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from email import message_from_string, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.test import SimpleTestCase
from requests.structures import CaseInsensitiveDict

from anymail.addresses import EmailAddress
from anymail.exceptions import AnymailInvalidAddress
from anymail.sandbox import (
    ApiRequest,
    InboundMail,
    Sandbox,
    StoredAttachment,
    StoredMessage,
    StoredRecipient,
    WebhookCall,
)
from anymail.sandbox.wire import Form

RECIPIENT = StoredRecipient(
    kind="to",
    mailbox=EmailAddress("Ann", "ann@example.net"),
    message_id="<1@mg.example.com>",
    header_to="Ann <ann@example.net>",
    subject="Účet",
    text="Text\n\n\nMore",
    html='<p><a href="mailto:x@y">no</a> <a class="x" href="https://shop.example.com/?a=1&amp;b=2">',
    metadata={"order": "4711"},
    tags=("receipt",),
)
BARE_RECIPIENT = StoredRecipient("to", EmailAddress("", "bo@example.net"), "2", "", "", "", "")
SHOP = EmailAddress("Shop", "shop@example.com")


def message(provider: str, recipient: StoredRecipient = RECIPIENT, **kwargs: Any) -> StoredMessage:
    return StoredMessage(provider, SHOP, "", "Účet", "", "", (recipient,), **kwargs)


ATTACHMENTS = (
    StoredAttachment("účet.csv", "text/csv; charset=iso-8859-2", b"\xe9;\r\n"),
    StoredAttachment("logo.png", "image/png", b"\x89PNG\0", "logo@inline"),
)


class InboundMailTests(SimpleTestCase):
    def test_addresses_as_text(self):
        mail = InboundMail("Ann <ann@example.net>", "shop@example.com", "Hi", "Text")
        self.assertEqual(mail.sender, EmailAddress("Ann", "ann@example.net"))
        self.assertEqual(mail.recipient, EmailAddress("", "shop@example.com"))
        self.assertEqual(replace(mail, sender=SHOP, recipient=SHOP).sender, SHOP)
        self.assertIn(b"\r\nFrom: Ann <ann@example.net>\r\n", mail.as_bytes())
        for text in ("ann", "a@b.com, c@d.com"):
            with self.subTest(text), self.assertRaisesRegex(AnymailInvalidAddress, "`recipient`"):
                InboundMail("a@example.com", text, "Hi", "Text")


class WebhookTestCase(SimpleTestCase):
    provider: str

    def setUp(self) -> None:
        super().setUp()
        self.sandbox = Sandbox(
            webhook_url="http://127.0.0.1:8000/anymail", webhook_secret="user:pass"
        )
        self.addCleanup(self.sandbox.stop)

    def track(self, event: str, recipient: StoredRecipient = RECIPIENT) -> dict[str, Any]:
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), event)
        self.assertEqual(
            call.url, f"http://user:pass@127.0.0.1:8000/anymail/{self.provider}/tracking/"
        )
        self.assertEqual(call.headers["Content-Type"], "application/json")
        return dict(json.loads(call.body))

    def mail(self, **kwargs: Any) -> InboundMail:
        return InboundMail(
            **{
                "sender": EmailAddress("Žofie, N.", "žofie@example.net"),
                "recipient": EmailAddress("", "shop+4711@example.com"),
                "subject": "Ahoj, " + "žluťoučký kůň " * 20,
                "text": "Příliš\nžluťoučký\n",
                "html": "<p>Příliš",
                "stripped_text": "Příliš",
                "attachments": ATTACHMENTS,
                "in_reply_to": "<1@example.com>",
                **kwargs,
            }
        )

    def assert_mime(self, raw: str, mail: InboundMail) -> None:
        mime = message_from_string(raw.replace("\r\n", "\n"), policy=policy.default)
        assert isinstance(mime, EmailMessage)
        self.assertEqual(mime["Return-Path"], f"<{mail.sender.addr_spec}>")
        self.assertEqual(mime["From"].addresses[0].display_name, "Žofie, N.")
        self.assertEqual(mime["From"].addresses[0].addr_spec, mail.sender.addr_spec)
        self.assertEqual(mime["To"], "shop+4711@example.com")
        self.assertEqual(mime["Subject"], mail.subject)
        self.assertEqual(mime["Message-ID"], mail.message_id)
        self.assertEqual(mime["In-Reply-To"], "<1@example.com>")
        body = mime.get_body(("plain",))
        assert body is not None
        self.assertEqual(body.get_content(), mail.text)
        self.assertEqual(mime.get_body(("html",)).get_content().rstrip(), mail.html)
        csv, png = mime.iter_attachments()
        self.assertEqual(csv.get_filename(), "účet.csv")
        self.assertEqual(csv.get_content_charset(), "iso-8859-2")
        self.assertEqual(csv.get_payload(decode=True), b"\xe9;\r\n")
        self.assertEqual(png["Content-ID"], "<logo@inline>")
        self.assertEqual(png.get_content_disposition(), "inline")


class PostmarkTests(WebhookTestCase):
    """https://postmarkapp.com/developer/webhooks/webhooks-overview"""

    provider = "postmark"

    def test_common_fields(self):
        for event in self.sandbox.providers["postmark"].events:
            with self.subTest(event):
                payload = self.track(event)
                self.assertEqual(payload["MessageID"], "<1@mg.example.com>")
                self.assertEqual(payload["Tag"], "receipt")
                self.assertEqual(payload["Metadata"], {"order": "4711"})
                recipient = payload.get("Email", payload.get("Recipient"))
                self.assertEqual(recipient, "ann@example.net")
                [when] = [payload[key] for key in payload if key.endswith("At")]
                self.assertRegex(when, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z\Z")

    def test_no_tag(self):
        payload = self.track("delivered", BARE_RECIPIENT)
        self.assertEqual((payload["Tag"], payload["Metadata"]), ("", {}))

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "delivered": {"RecordType": "Delivery", "Details": "smtp;250 2.0.0 OK"},
            "opened": {"RecordType": "Open", "FirstOpen": True},
            "clicked": {
                "RecordType": "Click",
                "OriginalLink": "https://shop.example.com/?a=1&b=2",
                "ClickLocation": "HTML",
            },
            "bounced": {"RecordType": "Bounce", "Type": "HardBounce", "Inactive": True},
            "deferred": {"RecordType": "Bounce", "Type": "Transient", "Inactive": False},
            "complained": {"RecordType": "SpamComplaint", "Type": "SpamComplaint"},
            "unsubscribed": {"RecordType": "SubscriptionChange", "SuppressSending": True},
        }
        self.assertEqual(self.sandbox.providers["postmark"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                payload = self.track(event)
                self.assertEqual({**payload, **expected}, payload)
        self.assertIn("Mozilla", self.track("opened")["UserAgent"])
        self.assertIsInstance(self.track("bounced")["ID"], int)
        self.assertNotEqual(self.track("bounced")["ID"], self.track("bounced")["ID"])

    def test_click_without_link(self):
        self.assertEqual(
            self.track("clicked", BARE_RECIPIENT)["OriginalLink"], "https://www.example.com/"
        )

    def test_inbound(self):
        mail = self.mail()
        call = self.sandbox.inbound_webhook("postmark", mail)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/postmark/inbound/")
        payload = json.loads(call.body)
        self.assertEqual(
            payload["FromFull"],
            {"Email": "žofie@example.net", "Name": "Žofie, N.", "MailboxHash": ""},
        )
        self.assertEqual(
            payload["ToFull"],
            [{"Email": "shop+4711@example.com", "Name": "", "MailboxHash": "4711"}],
        )
        self.assertEqual(payload["OriginalRecipient"], "shop+4711@example.com")
        self.assertEqual(payload["MailboxHash"], "4711")
        self.assertEqual(payload["Subject"], mail.subject)
        self.assertEqual(payload["TextBody"], mail.text)
        self.assertEqual(payload["HtmlBody"], mail.html)
        self.assertEqual(payload["StrippedTextReply"], "Příliš")
        self.assertNotIn("RecordType", payload)
        self.assertNotIn("RawEmail", payload)
        # https://postmarkapp.com/developer/user-guide/inbound: Return-Path is the first header.
        self.assertEqual(
            payload["Headers"][0], {"Name": "Return-Path", "Value": "<žofie@example.net>"}
        )
        self.assertIn({"Name": "In-Reply-To", "Value": "<1@example.com>"}, payload["Headers"])
        self.assertIn({"Name": "Message-ID", "Value": mail.message_id}, payload["Headers"])
        csv, png = payload["Attachments"]
        self.assertEqual(base64.b64decode(csv["Content"]), b"\xe9;\r\n")
        self.assertEqual((csv["Name"], csv["ContentLength"]), ("účet.csv", 4))
        self.assertEqual(csv["ContentType"], "text/csv; charset=iso-8859-2")
        self.assertEqual((csv["ContentID"], png["ContentID"]), ("", "logo@inline"))

    def test_inbound_raw(self):
        for sender in (
            EmailAddress("Žofie, N.", "žofie@example.net"),
            EmailAddress("Žofie, N.", "z@a.b"),
        ):
            mail = self.mail(sender=sender)
            call = self.sandbox.inbound_webhook("postmark", mail, raw=True)
            self.assert_mime(json.loads(call.body)["RawEmail"], mail)


class MailgunTests(WebhookTestCase):
    """https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads"""

    provider = "mailgun"

    def form(self, call: WebhookCall) -> Form:
        headers = CaseInsensitiveDict(call.headers)
        return ApiRequest("POST", "", headers=headers, body=call.body).form()

    def assert_signed(self, signed: dict[str, str]) -> None:
        # https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
        expected = hmac.new(
            key=self.sandbox.anymail_settings()["MAILGUN_WEBHOOK_SIGNING_KEY"].encode(),
            msg="{}{}".format(signed["timestamp"], signed["token"]).encode(),
            digestmod=hashlib.sha256,
        ).hexdigest()
        self.assertEqual(signed["signature"], expected)
        self.assertEqual(len(signed["token"]), 50)
        self.assertLess(abs(time.time() - int(signed["timestamp"])), 5)

    def test_signature(self):
        first = self.track("delivered")["signature"]
        self.assert_signed(first)
        self.assertNotEqual(first["token"], self.track("delivered")["signature"]["token"])

    def test_signature_with_another_key(self):
        self.sandbox.providers["mailgun"].webhook_signing_key = "other"  # type: ignore[attr-defined]
        self.assert_signed(self.track("delivered")["signature"])

    def test_common_fields(self):
        for event in self.sandbox.providers["mailgun"].events:
            with self.subTest(event):
                data = self.track(event)["event-data"]
                self.assertEqual(data["recipient"], "ann@example.net")
                self.assertEqual(data["tags"], ["receipt"])
                self.assertEqual(data["user-variables"], {"order": "4711"})
                headers = data["message"]["headers"]
                self.assertEqual(headers["message-id"], "1@mg.example.com")
                self.assertEqual(headers["to"], "Ann <ann@example.net>")
                self.assertLess(abs(time.time() - data["timestamp"]), 5)

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "queued": {"event": "accepted", "delivery-status": None},
            "delivered": {"event": "delivered"},
            "opened": {"event": "opened"},
            "clicked": {"event": "clicked", "url": "https://shop.example.com/?a=1&b=2"},
            "bounced": {"event": "failed", "severity": "permanent", "reason": "bounce"},
            "deferred": {"event": "failed", "severity": "temporary"},
            "complained": {"event": "complained"},
            "unsubscribed": {"event": "unsubscribed"},
        }
        self.assertEqual(self.sandbox.providers["mailgun"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                data = self.track(event)["event-data"]
                self.assertEqual({**data, **expected}, data)
        self.assertIn("Mozilla", self.track("opened")["event-data"]["client-info"]["user-agent"])
        status = self.track("bounced")["event-data"]["delivery-status"]
        self.assertEqual((status["code"], status["message"]), (550, "550 5.1.1 No such user"))

    def test_inbound(self):
        mail = self.mail()
        call = self.sandbox.inbound_webhook("mailgun", mail)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/mailgun/inbound/")
        self.assertTrue(call.headers["Content-Type"].startswith("multipart/form-data; boundary="))
        form = self.form(call)
        fields = dict(form.fields)
        self.assert_signed(fields)
        self.assertEqual(fields["sender"], "žofie@example.net")
        self.assertEqual(fields["recipient"], "shop+4711@example.com")
        self.assertEqual(fields["from"], '"Žofie, N." <žofie@example.net>')
        self.assertEqual(fields["subject"], mail.subject)
        self.assertEqual(fields["Subject"], mail.subject)
        self.assertEqual(fields["body-plain"], mail.text)
        self.assertEqual(fields["body-html"], mail.html)
        self.assertEqual(fields["stripped-text"], "Příliš")
        headers = json.loads(fields["message-headers"])
        self.assertIn(["To", "shop+4711@example.com"], headers)
        self.assertIn(["In-Reply-To", "<1@example.com>"], headers)
        self.assertEqual(fields["attachment-count"], "2")
        self.assertEqual(json.loads(fields["content-id-map"]), {"<logo@inline>": "attachment-2"})
        self.assertEqual(
            [(file.field, file.filename, file.content_type, file.content) for file in form.files],
            [
                ("attachment-1", "účet.csv", "text/csv; charset=iso-8859-2", b"\xe9;\r\n"),
                ("attachment-2", "logo.png", "image/png", b"\x89PNG\0"),
            ],
        )

    def test_inbound_without_files(self):
        # https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http
        call = self.sandbox.inbound_webhook("mailgun", self.mail(attachments=(), html=""))
        self.assertEqual(call.headers["Content-Type"], "application/x-www-form-urlencoded")
        fields = parse_qs(call.body.decode())
        self.assertEqual(fields["body-plain"], [self.mail().text])
        for name in ("body-html", "attachment-count", "content-id-map"):
            self.assertNotIn(name, fields)

    def test_inbound_without_inline_files(self):
        call = self.sandbox.inbound_webhook("mailgun", self.mail(attachments=ATTACHMENTS[:1]))
        fields = dict(self.form(call).fields)
        self.assertEqual(fields["attachment-count"], "1")
        self.assertNotIn("content-id-map", fields)

    def test_inbound_raw(self):
        mail = self.mail()
        call = self.sandbox.inbound_webhook("mailgun", mail, raw=True)
        # Mailgun posts raw MIME only to URLs with "mime" in them.
        self.assertEqual(urlsplit(call.url).path, "/anymail/mailgun/inbound_mime/")
        fields = dict(self.form(call).fields)
        self.assert_signed(fields)
        self.assertNotIn("body-plain", fields)
        self.assert_mime(fields["body-mime"], mail)


class ReplyTests(SimpleTestCase):
    def test_reply(self):
        mail = InboundMail.reply(message("postmark"), RECIPIENT, "Thanks")
        self.assertEqual(mail.sender, RECIPIENT.mailbox)
        self.assertEqual(mail.recipient, SHOP)
        self.assertEqual(mail.subject, "Re: Účet")
        self.assertEqual(mail.text, "Thanks\n\nshop@example.com wrote:\n> Text\n>\n>\n> More\n")
        self.assertEqual(mail.stripped_text, "Thanks")
        self.assertEqual(mail.in_reply_to, "<1@mg.example.com>")

    def test_reply_to(self):
        original = StoredMessage("postmark", SHOP, "Help <help@a.b>, x@a.b", "", "", "", ())
        mail = InboundMail.reply(original, BARE_RECIPIENT, "Thanks", ATTACHMENTS)
        self.assertEqual(mail.recipient, EmailAddress("Help", "help@a.b"))
        self.assertEqual(mail.in_reply_to, "<2>")
        self.assertEqual(mail.attachments, ATTACHMENTS)

    def test_subject_with_line_breaks(self):
        recipient = StoredRecipient("to", SHOP, "1", "", "a\r\nBcc: x@example.com", "", "")
        mail = InboundMail.reply(message("postmark"), recipient, "Thanks")
        self.assertEqual(mail.subject, "Re: a Bcc: x@example.com")
        self.assertNotIn(b"\nBcc:", mail.as_bytes())

    def test_new_mail_has_no_references(self):
        mail = InboundMail(SHOP, SHOP, "Hi", "Text")
        self.assertNotIn(b"In-Reply-To", mail.as_bytes())
