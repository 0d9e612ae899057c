"""What people send arrives, with each provider: from the sandbox's call to the receiver."""

from __future__ import annotations

from typing import Any

from anymail.addresses import EmailAddress
from anymail.sandbox import InboundMail, StoredAttachment
from anymail.sandbox.providers import UnsupportedEvent

from .test_demo import DemoTestCase, usable

FORWARDED = (
    b"From: someone@example.net\r\nSubject: Forwarded\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Nep\xc5\x99e\xc4\x8dten\xc3\xa9\r\n"
    b'--b\r\nContent-Disposition: attachment; filename="inner.txt"\r\n\r\nInner\r\n--b--\r\n'
)


class InboundTests(DemoTestCase):
    def receive(self, provider: str, *, raw: bool) -> Any:
        mail = InboundMail(
            sender=EmailAddress("Ann", "ann@example.net"),
            recipient=EmailAddress("", "shop@example.com"),
            subject="Přeposláno",
            text="Příliš\n",
            html='<p>Příliš <img src="cid:logo@inline">',
            attachments=(
                StoredAttachment("fwd.eml", "message/rfc822", FORWARDED),
                StoredAttachment("účet.csv", "text/csv; charset=utf-8", "é;1\n".encode()),
                StoredAttachment("logo.png", "image/png", b"\x89PNG\0", "logo@inline"),
            ),
        )
        self.sandbox.webhook_url = self.site.webhook_url
        response = self.sandbox.send_webhook(self.sandbox.inbound_webhook(provider, mail, raw=raw))
        self.assertEqual(response.status_code, 200, self.site.complaints)
        return self.site.events[-1].event.message

    def test_attached_message(self):
        """It's an attachment as a whole: what is in it is not the message's own."""
        for name in usable(self.sandbox):
            for raw in (False, True):
                if not self.sandbox.providers[name].receives_mail:
                    continue
                with self.subTest(provider=name, raw=raw):
                    try:
                        message = self.receive(name, raw=raw)
                    except UnsupportedEvent:
                        continue
                    self.assertEqual(message.text.strip(), "Příliš")
                    self.assertEqual(message.html.strip(), '<p>Příliš <img src="cid:logo@inline">')
                    # Those of the attached message may be among them.
                    attachments = {item.get_filename(): item for item in message.attachments}
                    forwarded, csv = attachments["fwd.eml"], attachments["účet.csv"]
                    self.assertEqual(forwarded.get_content_type(), "message/rfc822")
                    inner = forwarded.get_payload(0)
                    self.assertEqual(inner["Subject"], "Forwarded")
                    text, attached = inner.get_payload()
                    self.assertEqual(text.get_content().strip(), "Nepřečtené")
                    self.assertEqual(attached.get_filename(), "inner.txt")
                    self.assertEqual(csv.get_content_bytes(), "é;1\n".encode())
                    [image] = message.inlines
                    self.assertEqual(image.get_content_bytes(), b"\x89PNG\0")
