from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage as PythonEmailMessage
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from unittest import skipUnless

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import SimpleTestCase, override_settings
from django.utils.translation import gettext_lazy

from anymail.attachments import SMTP7BIT, Attachment, unpack_alternative
from anymail.exceptions import AnymailInvalidHeader, AnymailSerializationError
from tests.utils import SAMPLE_IMAGE


def mime_part(content, **kwargs) -> MIMEPart:
    part = MIMEPart()
    part.set_content(content, **kwargs)
    return part


class TupleTests(SimpleTestCase):
    def test_text(self):
        attachment = Attachment(("note.txt", "naïve", "text/plain"))
        self.assertEqual(attachment.name, "note.txt")
        self.assertEqual(attachment.content, "naïve")
        self.assertEqual(attachment.mimetype, "text/plain")
        self.assertEqual((attachment.maintype, attachment.subtype), ("text", "plain"))
        self.assertEqual(attachment.charset, "utf-8")
        self.assertEqual(attachment.content_type, 'text/plain; charset="utf-8"')
        self.assertIs(attachment.inline, False)
        self.assertIsNone(attachment.content_id)
        self.assertEqual(attachment.cid, "")
        self.assertEqual(attachment.content_bytes, "naïve".encode())
        self.assertEqual(attachment.content_utf8_bytes, "naïve".encode())
        self.assertEqual(attachment.b64content, "bmHDr3Zl")
        self.assertEqual(attachment.b64content_utf8, "bmHDr3Zl")
        self.assertEqual(repr(attachment), "Attachment<text/plain, len=5, name='note.txt'>")

    def test_text_in_bytes_is_decoded(self):
        for buffer in [bytes, bytearray, memoryview]:
            attachment = Attachment(("note.txt", buffer("naïve".encode()), "text/plain"))
            self.assertEqual(attachment.content, "naïve")
            self.assertEqual(attachment.charset, "utf-8")

    def test_bytes(self):
        attachment = Attachment(("pixel.png", SAMPLE_IMAGE, "image/png"))
        self.assertEqual(attachment.content, SAMPLE_IMAGE)
        self.assertIsNone(attachment.charset)
        self.assertEqual(attachment.content_type, "image/png")
        self.assertEqual(attachment.content_bytes, SAMPLE_IMAGE)
        self.assertEqual(attachment.content_utf8_bytes, SAMPLE_IMAGE)
        self.assertEqual(base64.b64decode(attachment.b64content), SAMPLE_IMAGE)
        self.assertEqual(base64.b64decode(attachment.b64content_utf8), SAMPLE_IMAGE)

    def test_str_of_another_type(self):
        attachment = Attachment((None, "ü", "application/x-foo"))
        self.assertIsNone(attachment.name)
        self.assertEqual(attachment.content, "ü")
        self.assertEqual(attachment.charset, "utf-8")
        self.assertEqual(attachment.content_type, 'application/x-foo; charset="utf-8"')
        self.assertEqual(attachment.content_bytes, "ü".encode())

    def test_guessed_type(self):
        for name, content, mimetype, content_type in [
            ("t.csv", "a,b", "text/csv", 'text/csv; charset="utf-8"'),
            ("t.csv", b"a,b", "text/csv", 'text/csv; charset="utf-8"'),
            ("t.pdf", b"x", "application/pdf", "application/pdf"),
            ("t.unknown-extension", b"x", "application/octet-stream", "application/octet-stream"),
            (None, b"x", "application/octet-stream", "application/octet-stream"),
            ("", b"x", "application/octet-stream", "application/octet-stream"),
            (
                "t.unknown-extension",
                "x",
                "application/octet-stream",
                'application/octet-stream; charset="utf-8"',
            ),
        ]:
            for no_type in [None, ""]:
                with self.subTest(name=name, content=content, no_type=no_type):
                    attachment = Attachment((name, content, no_type))
                    self.assertEqual(attachment.mimetype, mimetype)
                    self.assertEqual(attachment.content_type, content_type)

    def test_type_with_parameters(self):
        """(content, type): content, mimetype, content type, the same without charset"""
        for given, expected in {
            ("é", "text/csv; charset=utf-8"): (
                "é",
                "text/csv",
                "text/csv; charset=utf-8",
                "text/csv",
            ),
            (b"\xe9", 'text/csv;header=present ; Charset = "ISO-8859-1"'): (
                "é",
                "text/csv",
                'text/csv;header=present ; Charset = "ISO-8859-1"',
                "text/csv; header=present",
            ),
            ("é", 'text/calendar; method=REQUEST; x="a;b\\"; charset=x"'): (
                "é",
                "text/calendar",
                'text/calendar; method=REQUEST; x="a;b\\"; charset=x"; charset="utf-8"',
                'text/calendar; method=REQUEST; x="a;b\\"; charset=x"',
            ),
            (b"\xc3\xa9", "text/plain; charset*=us-ascii'en'utf-8"): (
                "é",
                "text/plain",
                "text/plain; charset*=us-ascii'en'utf-8",
                "text/plain",
            ),
            ("é", "application/json; charset=iso-8859-1"): (
                "é",
                "application/json",
                "application/json; charset=iso-8859-1",
                "application/json",
            ),
            (b"{}", "application/json; charset=utf-8"): (
                b"{}",
                "application/json",
                "application/json; charset=utf-8",
                "application/json",
            ),
            ("", "text/plain; charset="): (
                "",
                "text/plain",
                'text/plain; charset="utf-8"',
                "text/plain",
            ),
            (b"\xff", "text/plain; format=flowed; charset=utf-8"): (
                b"\xff",
                *["application/octet-stream"] * 3,
            ),
        }.items():
            content, content_type = given
            buffers = [content] if isinstance(content, str) else [content, memoryview(content)]
            for buffer in buffers:
                with self.subTest(content=buffer, content_type=content_type):
                    attachment = Attachment(("name", buffer, content_type))
                    self.assertEqual(
                        (
                            attachment.content,
                            attachment.mimetype,
                            attachment.content_type,
                            attachment.content_type_without_charset,
                        ),
                        expected,
                    )
        latin = Attachment((None, "é", "text/plain; charset=iso-8859-1"))
        self.assertEqual((latin.content_bytes, latin.b64content_utf8), (b"\xe9", "w6k="))

    def test_guess_does_not_override(self):
        self.assertEqual(Attachment(("t.csv", b"x", "image/png")).mimetype, "image/png")

    def test_lazy(self):
        attachment = Attachment(
            (gettext_lazy("note.txt"), gettext_lazy("Content"), gettext_lazy("text/x-lazy"))
        )
        for value in [attachment.name, attachment.content, attachment.mimetype]:
            self.assertIs(type(value), str)
        self.assertEqual(attachment.content, "Content")

    def test_type_without_subtype(self):
        attachment = Attachment(("a", b"x", "odd"))
        self.assertEqual((attachment.maintype, attachment.subtype), ("odd", ""))

    @override_settings(DEFAULT_CHARSET="iso-8859-1")
    def test_default_charset(self):
        attachment = Attachment(("note.txt", b"na\xefve", "text/plain"))
        self.assertEqual(attachment.content, "naïve")
        self.assertEqual(attachment.content_type, 'text/plain; charset="iso-8859-1"')
        self.assertEqual(attachment.content_bytes, b"na\xefve")
        self.assertEqual(attachment.content_utf8_bytes, "naïve".encode())
        self.assertEqual(attachment.b64content, base64.b64encode(b"na\xefve").decode())
        self.assertEqual(attachment.b64content_utf8, "bmHDr3Zl")

    def test_characters_that_are_not_in_the_charset(self):
        with override_settings(DEFAULT_CHARSET="iso-8859-1"):
            attachment = Attachment(("note.txt", "private €", "text/plain"))
            self.assertEqual(attachment.content_utf8_bytes, "private €".encode())
            for name in ["content_bytes", "b64content"]:
                with self.assertRaises(AnymailSerializationError) as caught:
                    getattr(attachment, name)
                self.assertRegex(str(caught.exception), "attachments: .*'note.txt'.*iso-8859-1")
                self.assertNotIn("private", str(caught.exception))
                self.assertTrue(caught.exception.__suppress_context__)
        attachment = Attachment(("note.txt", "\ud800", "text/plain"))
        for name in ["content_bytes", "content_utf8_bytes", "b64content", "b64content_utf8"]:
            with self.subTest(name=name), self.assertRaises(AnymailSerializationError):
                getattr(attachment, name)

    @override_settings(DEFAULT_CHARSET="no-such-charset")
    def test_unknown_default_charset(self):
        attachment = Attachment(("note.txt", "text", "text/plain"))
        with self.assertRaises(AnymailSerializationError) as caught:
            _ = attachment.content_bytes
        self.assertIsInstance(caught.exception.__cause__, LookupError)

    def test_text_that_is_none(self):
        attachment = Attachment(("note.txt", b"na\xefve", "text/plain"))
        self.assertEqual(attachment.content, b"na\xefve")
        self.assertEqual(attachment.mimetype, "application/octet-stream")
        self.assertEqual((attachment.maintype, attachment.subtype), ("application", "octet-stream"))
        self.assertEqual(attachment.content_type, "application/octet-stream")
        self.assertIsNone(attachment.charset)

    def test_wrong_content(self):
        for content in [None, 5, ["a"], object()]:
            with self.subTest(content=content), self.assertRaisesRegex(TypeError, "attachments: "):
                Attachment(("a", content, "text/plain"))

    def test_header_injection(self):
        for attachment in [
            ("a\r\nX: y.txt", b"x", "text/plain"),
            ("a\0.txt", b"x", "text/plain"),
            ("a.txt", b"x", "text/plain\r\nX: y"),
            ("a.txt", b"x", "text/plain; format=flowed\r\nX: y"),
        ]:
            with self.subTest(attachment=attachment), self.assertRaises(AnymailInvalidHeader):
                Attachment(attachment)

    def test_as_attached_by_django(self):
        message = EmailMessage()
        message.attach("note.txt", "naïve", "text/plain")
        message.attach("pixel.png", SAMPLE_IMAGE)
        self.assertEqual(
            [repr(Attachment(attachment)) for attachment in message.attachments],
            [
                "Attachment<text/plain, len=5, name='note.txt'>",
                f"Attachment<image/png, len={len(SAMPLE_IMAGE)}, name='pixel.png'>",
            ],
        )

    @skipUnless(django.VERSION >= (5, 2), "Django 5.2 introduced EmailAttachment")
    def test_email_attachment(self):
        from django.core.mail import EmailAttachment

        attachment = Attachment(EmailAttachment("note.txt", "naïve", "text/plain"))
        self.assertEqual(attachment.content_type, 'text/plain; charset="utf-8"')


class MimeObjectTests(SimpleTestCase):
    """Both the legacy and the modern kind"""

    def test_text(self):
        legacy = MIMEText("naïve", "x-custom", "iso-8859-1")
        legacy.add_header("Content-Disposition", "attachment", filename="nöte.txt")
        modern = mime_part("naïve", subtype="x-custom", charset="iso-8859-1", filename="nöte.txt")
        for part in [legacy, modern]:
            with self.subTest(part=type(part).__name__):
                attachment = Attachment(part)
                self.assertEqual(attachment.name, "nöte.txt")
                self.assertEqual(attachment.content.rstrip("\n"), "naïve")
                self.assertEqual(attachment.charset, "iso-8859-1")
                self.assertEqual(attachment.mimetype, "text/x-custom")
                self.assertIn('charset="iso-8859-1"', attachment.content_type)
                self.assertEqual(attachment.content_bytes.rstrip(), b"na\xefve")
                self.assertEqual(attachment.content_utf8_bytes.rstrip(), "naïve".encode())

    def test_text_without_charset(self):
        for policy in [email.policy.compat32, email.policy.default]:
            part = email.message_from_bytes(
                b'Content-Type: text/plain; format="flowed"; name="x"\n\ntext', policy=policy
            )
            attachment = Attachment(part)
            self.assertEqual(attachment.charset, "utf-8")
            self.assertEqual(
                attachment.content_type, 'text/plain; format="flowed"; name="x"; charset="utf-8"'
            )

    def test_parameters_are_kept(self):
        for policy in [email.policy.compat32, email.policy.default]:
            for content_type in [
                'text/calendar; method="REQUEST"; charset="utf-8"',
                'application/json; charset="utf-8"',
                'application/x-foo; bar="baz"',
            ]:
                with self.subTest(policy=policy, content_type=content_type):
                    part = email.message_from_string(
                        f"Content-Type: {content_type}\n\ntext", policy=policy
                    )
                    attachment = Attachment(part)
                    self.assertEqual(attachment.content_type, content_type)
                    self.assertEqual(attachment.mimetype, content_type.partition(";")[0])

    def test_charset_only_for_text(self):
        part = email.message_from_string('Content-Type: application/json; charset="utf-8"\n\n{}')
        attachment = Attachment(part)
        self.assertIsNone(attachment.charset)
        self.assertEqual(attachment.content, b"{}")

    def test_folded_headers(self):
        for policy in [email.policy.compat32, email.policy.default]:
            part = email.message_from_string(
                'Content-Type: application/x-foo;\n bar="baz"\n'
                'Content-Disposition: inline;\n filename="long\n name.foo"\n'
                "Content-ID:\n <id@host>\n\nx",
                policy=policy,
            )
            attachment = Attachment(part)
            self.assertEqual(attachment.content_type, 'application/x-foo; bar="baz"')
            self.assertEqual(attachment.name, "long name.foo")
            self.assertEqual(attachment.content_id, "<id@host>")

    def test_without_headers(self):
        attachment = Attachment(email.message_from_string("\ntext"))
        self.assertIsNone(attachment.name)
        self.assertEqual(attachment.content, "text")
        self.assertEqual(attachment.content_type, 'text/plain; charset="utf-8"')

    def test_binary(self):
        legacy = MIMEImage(SAMPLE_IMAGE, "png")
        modern = mime_part(SAMPLE_IMAGE, maintype="image", subtype="png", disposition="attachment")
        for part in [legacy, modern]:
            with self.subTest(part=type(part).__name__):
                attachment = Attachment(part)
                self.assertEqual(attachment.content, SAMPLE_IMAGE)
                self.assertEqual(attachment.mimetype, "image/png")
                self.assertEqual(attachment.content_type, "image/png")
                self.assertIsNone(attachment.charset)
                self.assertIsNone(attachment.name)

    def test_text_that_can_not_be_decoded(self):
        for charset in ["utf-8", "no-such-charset", "a\0b", "hex"]:
            for policy in [email.policy.compat32, email.policy.default]:
                with self.subTest(charset=charset, policy=policy):
                    part = email.message_from_bytes(
                        f'Content-Type: text/plain; charset="{charset}"\n\n'.encode() + b"\xff",
                        policy=policy,
                    )
                    attachment = Attachment(part)
                    self.assertEqual(attachment.content, b"\xff")
                    self.assertEqual(attachment.content_type, "application/octet-stream")
                    self.assertIsNone(attachment.charset)

    def test_inline(self):
        for disposition, content_id, inline in [
            ("inline", "<id@host>", True),
            ("INLINE", "<id@host>", True),
            ("inline", None, True),
            (None, "<id@host>", True),
            ("attachment", "<id@host>", False),
            ("attachment", None, False),
            (None, None, False),
        ]:
            for part in [MIMEBase("image", "png"), MIMEPart()]:
                with self.subTest(part=part, disposition=disposition, content_id=content_id):
                    part.set_payload(b"x")
                    if disposition:
                        part["Content-Disposition"] = disposition
                    if content_id:
                        part["Content-ID"] = content_id
                    attachment = Attachment(part)
                    self.assertIs(attachment.inline, inline)
                    self.assertEqual(attachment.content_id, content_id if inline else None)
                    self.assertEqual(attachment.cid, "id@host" if inline and content_id else "")

    def test_cid_without_brackets(self):
        part = MIMEPart()
        part["Content-ID"] = "id@host"
        attachment = Attachment(part)
        self.assertEqual((attachment.content_id, attachment.cid), ("id@host", "id@host"))

    def test_repr(self):
        part = mime_part(
            b"12", maintype="image", subtype="png", disposition="inline", cid="<id@host>"
        )
        self.assertEqual(
            repr(Attachment(part)), "Attachment<inline, image/png, len=2, content_id='<id@host>'>"
        )
        del part["Content-ID"]
        part.add_header("Content-ID", "<id@host>")
        part.set_param("filename", "a.png", header="Content-Disposition")
        self.assertEqual(
            repr(Attachment(part)),
            "Attachment<inline, image/png, len=2, name='a.png', content_id='<id@host>'>",
        )

    def test_multipart(self):
        legacy = MIMEMultipart("related", "BOUNDARY")
        legacy.attach(MIMEText("inner"))
        modern = MIMEPart()
        modern.set_content("inner")
        modern.make_related("BOUNDARY")
        for part in [legacy, modern]:
            with self.subTest(part=type(part).__name__):
                attachment = Attachment(part)
                self.assertEqual(attachment.mimetype, "multipart/related")
                self.assertIn('boundary="BOUNDARY"', attachment.content_type)
                self.assertIn(b"--BOUNDARY\r\n", attachment.content)
                self.assertIn(b"\r\n\r\ninner", attachment.content)
                self.assertEqual(base64.b64decode(attachment.b64content), attachment.content)

    def test_attached_message(self):
        inner = PythonEmailMessage()
        inner["Subject"] = "Grüße"
        inner.set_content("naïve")
        parts = [MIMEMessage(inner), mime_part(inner)]
        for part in parts:
            with self.subTest(part=type(part).__name__):
                attachment = Attachment(part)
                self.assertEqual(attachment.mimetype, "message/rfc822")
                self.assertIsNone(attachment.charset)
                self.assertIsInstance(attachment.content, bytes)
                self.assertTrue(attachment.content.isascii())
                parsed = email.message_from_bytes(attachment.content, policy=email.policy.default)
                self.assertEqual(parsed["Subject"], "Grüße")
                self.assertEqual(parsed.get_content().strip(), "naïve")
                self.assertEqual(base64.b64decode(attachment.b64content), attachment.content)

    def test_attached_message_as_text(self):
        part = MIMEBase("message", "rfc822")
        part.set_payload("Subject: Inner\r\n\r\nText")
        attachment = Attachment(part)
        self.assertEqual(attachment.mimetype, "message/rfc822")
        self.assertEqual(attachment.content, b"Subject: Inner\r\n\r\nText")

    def test_delivery_status(self):
        report = email.message_from_bytes(
            b"Content-Type: message/delivery-status\r\n\r\n"
            b"Reporting-MTA: dns; a.example\r\n\r\nFinal-Recipient: rfc822; b@c.example\r\n"
        )
        content = Attachment(report).content
        self.assertIn(b"Reporting-MTA: dns; a.example\r\n", content)
        self.assertIn(b"Final-Recipient: rfc822; b@c.example\r\n", content)

    def test_header_injection(self):
        part = MIMEBase("image", "png")
        part["Content-ID"] = "<id\0@host>"
        part.set_payload(b"x")
        with self.assertRaises(AnymailInvalidHeader):
            Attachment(part)
        # A percent-encoded line break is one of no consequence.
        part = email.message_from_string(
            "Content-Type: image/png\n"
            "Content-Disposition: inline; filename*=utf-8''a%0D%0Ab.png\n\n"
        )
        self.assertEqual(Attachment(part).name, "a b.png")


class AlternativeTests(SimpleTestCase):
    """What unpack_alternative makes of MIME"""

    def unpack(self, content, mimetype="text/html"):
        bodies, related = unpack_alternative(content, mimetype)
        return (
            [(body.content.strip(), body.content_type_without_charset) for body in bodies],
            [repr(Attachment(part)) for part in related],
        )

    def test_not_mime(self):
        for content in ["<p>é", "<p>é".encode()]:
            self.assertEqual(
                self.unpack(content, "text/html; charset=utf-8"), ([("<p>é", "text/html")], [])
            )
        with self.assertRaisesRegex(TypeError, "^alternatives: "):
            unpack_alternative(5, "text/html")

    def test_single_part(self):
        self.assertEqual(
            self.unpack(MIMEText("<p>é", "html", "iso-8859-1")), ([("<p>é", "text/html")], [])
        )

    def test_related(self):
        legacy = MIMEMultipart("related")
        legacy.attach(MIMEText("<p>é", "html", "iso-8859-1"))
        image = MIMEImage(SAMPLE_IMAGE, "png")
        image["Content-ID"] = "<logo@inline>"
        legacy.attach(image)
        image = MIMEImage(SAMPLE_IMAGE, "png")
        image["Content-ID"] = "<other@inline>"
        image.add_header("Content-Disposition", "attachment", filename=("utf-8", "", "größe.png"))
        legacy.attach(image)
        modern = mime_part("<p>é", subtype="html")
        modern.add_related(SAMPLE_IMAGE, "image", "png", cid="<logo@inline>")
        modern.add_related(
            SAMPLE_IMAGE,
            "image",
            "png",
            cid="<other@inline>",
            disposition="attachment",
            filename="größe.png",
        )
        image = f"inline, image/png, len={len(SAMPLE_IMAGE)}, "
        for part in [legacy, modern]:
            before = part.as_bytes()
            with self.subTest(part=type(part).__name__):
                self.assertEqual(
                    self.unpack(part, "multipart/related"),
                    (
                        [("<p>é", "text/html")],
                        [
                            f"Attachment<{image}content_id='<logo@inline>'>",
                            f"Attachment<{image}name='größe.png', content_id='<other@inline>'>",
                        ],
                    ),
                )
                self.assertEqual(part.as_bytes(), before)

    def test_root_of_related(self):
        related = email.message_from_string(
            'Content-Type: multipart/related; start="<root>"; boundary=b\n\n'
            "--b\nContent-Type: image/png\nContent-ID: <i>\n\nx\n"
            "--b\nContent-Type: text/html\nContent-ID: <root>\n\n<p>\n--b--\n"
        )
        expected = (
            [("<p>", "text/html")],
            ["Attachment<inline, image/png, len=1, content_id='<i>'>"],
        )
        self.assertEqual(self.unpack(related), expected)

    def test_alternative_with_related(self):
        modern = mime_part("Text")
        modern.add_alternative("<p>", subtype="html")
        modern.get_payload()[1].add_related(b"x", "image", "gif", cid="<i@j>")
        expected = [("Text", "text/plain"), ("<p>", "text/html")]
        bodies, related = self.unpack(modern)
        self.assertEqual((bodies, len(related)), (expected, 1))

    def test_other_multiparts(self):
        """Providers can't do that, and say so."""
        for part in [MIMEMultipart("mixed"), MIMEMultipart("related")]:
            [(_content, mimetype)], related = self.unpack(part)
            self.assertEqual((mimetype.partition(";")[0], related), (part.get_content_type(), []))


class AttachedMessageTests(SimpleTestCase):
    """Messages as the content of an attachment"""

    def check(self, attachment: Attachment, subject: str, body: str) -> None:
        self.assertEqual(attachment.mimetype, "message/rfc822")
        self.assertEqual(attachment.content_type, "message/rfc822")
        self.assertIsNone(attachment.charset)
        content = attachment.content
        self.assertIsInstance(content, bytes)
        self.assertEqual(content.count(b"\n"), content.count(b"\r\n"))
        self.assertFalse(content.startswith(b"From "))
        parsed = email.message_from_bytes(content, policy=email.policy.default)
        self.assertEqual(parsed["Subject"], subject)
        text = parsed.get_body(("plain",)).get_content()
        self.assertEqual(text.strip(), body)

    def test_python_messages(self):
        modern = PythonEmailMessage()
        modern["Subject"] = "Grüße"
        modern.set_content("naïve\nFrom here on", cte="8bit")
        raw = modern.as_bytes()
        for message in [modern, email.message_from_bytes(raw)]:
            with self.subTest(message=type(message).__name__):
                attachment = Attachment(("message.eml", message, None))
                self.check(attachment, "Grüße", "naïve\nFrom here on")
                self.assertEqual(attachment.name, "message.eml")
                self.assertTrue(attachment.content.isascii())

    def test_django_messages(self):
        message = EmailMultiAlternatives("Grüße", "naïve", "from@example.com", ["to@example.com"])
        message.attach_alternative("<p>naïve</p>", "text/html")
        self.check(Attachment((None, message, None)), "Grüße", "naïve")
        if django.VERSION >= (6, 0):
            self.assertTrue(Attachment((None, message, None)).content.isascii())

    def test_given_type_wins(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        attachment = Attachment(("a.eml", message, "application/x-message"))
        self.assertEqual(attachment.mimetype, "application/x-message")
        self.assertIsInstance(attachment.content, bytes)

    def test_as_attached_by_django(self):
        inner = EmailMessage("Grüße", "naïve", "from@example.com", ["to@example.com"])
        message = EmailMessage()
        message.attach("forwarded.eml", inner, "message/rfc822")
        self.check(Attachment(message.attachments[0]), "Grüße", "naïve")

    def test_unknown_charset(self):
        raw = b"Content-Type: text/plain; charset=no-such-charset\r\n\r\n\xff\r\n"
        for policy in [email.policy.compat32, email.policy.default]:
            message = email.message_from_bytes(raw, policy=policy)
            content = Attachment((None, message, None)).content
            self.assertIn(b"\xff", content)

    def test_original_is_not_changed(self):
        message = email.message_from_bytes(
            b'Content-Type: text/plain; charset="utf-8"\n\nna\xc3\xaf'
        )
        before = message.as_bytes()
        Attachment((None, message, None))
        self.assertEqual(message.as_bytes(), before)


class PolicyTests(SimpleTestCase):
    def test_smtp7bit(self):
        self.assertEqual(SMTP7BIT.cte_type, "7bit")
        self.assertEqual(SMTP7BIT.linesep, "\r\n")
