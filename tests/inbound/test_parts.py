"""Which part is what: bodies, attachments, inline files, attached messages."""

from __future__ import annotations

import base64
import email
import email.policy
from textwrap import dedent

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import SimpleTestCase

from anymail.exceptions import AnymailDeprecationWarning
from anymail.inbound import AnymailInboundMessage

from ..utils import SAMPLE_IMAGE
from .harness import parse


class PartTests(SimpleTestCase):
    def test_body_text(self):
        message = parse("""\
            Content-Type: multipart/alternative; boundary=B

            --B
            Content-Type: text/plain

            First
            --B
            Content-Type: text/plain

            Second
            --B
            Content-Type: text/html

            <p>First</p>
            --B--
            """)
        self.assertEqual(message.text, "First")
        self.assertEqual(message.html, "<p>First</p>")

    def test_simple_messages(self):
        message = parse("Subject: no type\n\nBody\n")
        self.assertEqual(message.text, "Body\n")
        self.assertIsNone(message.html)
        message = parse("Content-Type: TEXT/HTML\n\nBody\n")
        self.assertIsNone(message.text)
        self.assertEqual(message.html, "Body\n")
        message = parse("Content-Type: image/png\n\nBody\n")
        self.assertIsNone(message.text)

    def test_attachments_are_not_bodies(self):
        message = parse("""\
            Content-Type: multipart/mixed; boundary=B

            --B
            Content-Type: text/plain
            Content-Disposition: attachment

            Attached text
            --B
            Content-Type: multipart/mixed; boundary=C
            Content-Disposition: attachment

            --C
            Content-Type: text/plain

            Within an attachment
            --C--
            --B
            Content-Type: text/plain
            Content-Disposition: INLINE; filename=body.txt

            Inline text
            --B
            Content-Type: text/plain

            More text
            --B--
            """)
        self.assertEqual(message.text, "Inline text\nMore text")
        self.assertIsNone(message.html)
        message = parse("Content-Disposition: attachment\nContent-Type: text/plain\n\nx\n")
        self.assertIsNone(message.text)
        self.assertEqual(message.attachments, [message])

    def test_bodies_of_attached_messages_are_not_bodies(self):
        for disposition in (
            "Content-Disposition: attachment",
            "Content-Disposition: inline",
            "X-No: disposition",
        ):
            with self.subTest(disposition):
                message = parse(f"""\
                    Content-Type: multipart/mixed; boundary=B

                    --B
                    Content-Type: message/rfc822
                    {disposition}

                    Content-Type: text/html

                    <p>attached</p>
                    --B
                    Content-Type: text/plain

                    Text
                    --B--
                    """)
                self.assertIsNone(message.html)
                self.assertEqual(message.text, "Text")
                # The attached message has its own.
                wrapper = message.get_payload(0)
                self.assertEqual(wrapper.html, "<p>attached</p>")
                self.assertEqual(wrapper.get_payload(0).html, "<p>attached</p>")

    def test_body_order_is_depth_first(self):
        message = parse("""\
            Content-Type: multipart/mixed; boundary=B

            --B
            Content-Type: multipart/related; boundary=C

            --C
            Content-Type: multipart/alternative; boundary=D

            --D
            Content-Type: text/plain

            deep
            --D--
            --C--
            --B
            Content-Type: text/plain

            footer
            --B--
            """)
        self.assertEqual(message.text, "deep\nfooter")

    def test_attachments(self):
        message = parse("""\
            Content-Type: multipart/mixed; boundary=B

            --B
            Content-Type: text/plain

            Text
            --B
            Content-Type: image/png
            Content-Disposition: ATTACHMENT; filename="one.png"

            --B
            Content-Type: image/gif
            Content-Disposition: inline; filename="two.gif"

            --B
            Content-Type: image/png
            Content-ID: <three>

            --B
            Content-Disposition: attachment (with comment); filename="four.png"

            --B
            Content-Disposition: form-data; name=x

            --B--
            """)
        _, one, two, three, four, form_data = message.get_payload()
        self.assertEqual(message.attachments, [one, four, form_data])
        self.assertEqual(message.inlines, [two, three])
        self.assertEqual(message.content_id_map, {"three": three})
        dispositions = [part.get_content_disposition() for part in message.get_payload()]
        self.assertEqual(
            dispositions, [None, "attachment", "inline", None, "attachment", "form-data"]
        )
        self.assertEqual(message.get_payload(1).get_content_maintype(), "image")
        self.assertEqual(message.get_payload(1).get_content_subtype(), "png")

    def test_content_id_map(self):
        def inline(content_id):
            return f"--B\nContent-Disposition: inline\nContent-Type: image/png\n{content_id}\n\n"

        message = parse(
            "Content-Type: multipart/related; boundary=B\n\n"
            + inline("Content-ID: <one@example.com>")
            + inline("Content-Id: <two>  ")
            + inline("Content-ID:\n <three>")
            + inline("Content-ID: < four >")
            + inline("Content-ID: five")
            + inline("Content-ID: <one@example.com>")
            + inline("X-Header: x")
            + "--B--\n"
        )
        self.assertEqual(len(message.inlines), 7)
        cids = message.content_id_map
        self.assertEqual(set(cids), {"one@example.com", "two", "three", "four", "five"})
        self.assertIs(cids["one@example.com"], message.inlines[5])
        self.assertIs(cids["two"], message.inlines[1])

    def test_inlines(self):
        encoded = base64.b64encode(SAMPLE_IMAGE).decode()
        message = parse(f"""\
            Content-Type: multipart/related; boundary=B

            --B
            Content-Type: text/html

            <img src="cid:one@example.com">
            --B
            Content-Type: image/png; name="image1.png"
            Content-Disposition: inline
            Content-Transfer-Encoding: base64
            Content-ID: <one@example.com>

            {encoded}
            --B
            Content-Type: image/png; name="dir/image2.png"
            Content-Disposition: inline
            Content-Transfer-Encoding: base64

            {encoded}
            --B--
            """)
        self.assertEqual(len(message.inlines), 2)
        self.assertEqual(list(message.content_id_map), ["one@example.com"])
        self.assertEqual(message.attachments, [])
        one, two = (part.as_uploaded_file() for part in message.inlines)
        self.assertEqual(one.name, "image1.png")
        self.assertEqual(two.name, "image2.png")
        self.assertEqual(two.read(), SAMPLE_IMAGE)


class AttachedMessageTests(SimpleTestCase):
    ORIGINAL = dedent("""\
        MIME-Version: 1.0
        From: original@example.com
        Subject: =?utf-8?q?Original_m=C3=A9ssage?= with a subject so long that it has been folded
         in the original, and another line that is long
        X-Long: not folded, although it is longer than the 78 characters that lines should have
        Content-Type: multipart/related; boundary="ORIGINAL"

        --ORIGINAL
        Content-Type: text/html; charset="UTF-8"

        <img src="cid:abc">
        --ORIGINAL
        Content-Type: image/png; name="inline.png"
        Content-Disposition: inline; filename="inline.png"
        Content-Transfer-Encoding: base64
        Content-ID: <abc>

        {image}
        --ORIGINAL
        Content-Type: text/csv
        Content-Disposition: attachment; filename="nested.csv"

        a,b
        --ORIGINAL--
        """).format(image=base64.b64encode(SAMPLE_IMAGE).decode())  # fmt: skip

    def assertHasOriginal(self, wrapper):
        self.assertIsInstance(wrapper, AnymailInboundMessage)
        self.assertEqual(wrapper.get_content_type(), "message/rfc822")
        self.assertTrue(wrapper.is_attachment())
        self.assertEqual(wrapper.get_content_text(), self.ORIGINAL)
        self.assertEqual(wrapper.get_content_bytes(), self.ORIGINAL.encode())
        self.assertEqual(wrapper.as_uploaded_file().read(), self.ORIGINAL.encode())
        [original] = wrapper.get_payload()
        self.assertIsInstance(original, AnymailInboundMessage)
        self.assertEqual(original.get_content_type(), "multipart/related")
        self.assertTrue(original["Subject"].startswith("Original méssage with a subject"))
        self.assertFalse(original.is_attachment())
        [inline] = original.inlines
        self.assertTrue(inline.is_inline())
        self.assertEqual(inline.get_content_bytes(), SAMPLE_IMAGE)
        self.assertEqual(original.content_id_map, {"abc": inline})
        [nested] = original.attachments
        self.assertEqual(nested.get_filename(), "nested.csv")

    def test_parse(self):
        for newline in ("\n", "\r\n"):
            with self.subTest(newline=newline):
                source = (
                    "Subject: outer\nContent-Type: multipart/mixed; boundary=OUTER\n\n"
                    "--OUTER\nContent-Type: text/plain\n\nouter text\n"
                    "--OUTER\nContent-Type: message/rfc822\n"
                    "Content-Disposition: attachment\n\n" + self.ORIGINAL + "\n--OUTER--\n"
                )
                message = parse(source.replace("\n", newline))
                self.assertEqual(message.subject, "outer")
                self.assertIsNone(message.html)
                wrapper, nested = message.attachments
                self.assertHasOriginal(wrapper)
                self.assertEqual(nested.get_filename(), "nested.csv")
                self.assertEqual(len(message.inlines), 1)
                self.assertEqual(list(message.content_id_map), ["abc"])
                for part in message.walk():
                    self.assertEqual(part.defects, [])

    def test_in_base64(self):
        """RFC 2046, section 5.2.1 forbids that, but some programs do it."""
        for encoding in ("base64", "BASE-64 (all of it)"):
            for newline in ("\n", "\r\n"):
                encoded = base64.encodebytes(self.ORIGINAL.encode()).decode()
                source = (
                    "Subject: outer\nContent-Type: multipart/mixed; boundary=OUTER\n\n"
                    "--OUTER\nContent-Type: message/rfc822\n"
                    f"Content-Transfer-Encoding: {encoding}\n"
                    f"Content-Disposition: attachment\n\n{encoded}\n--OUTER--\n"
                )
                message = parse(source.replace("\n", newline))
                with self.subTest(encoding=encoding, newline=newline):
                    self.assertHasOriginal(message.attachments[0])
                    self.assertHasOriginal(parse(message.as_bytes()).attachments[0])
        # Not so those that aren't.
        message = parse("""\
            Content-Type: message/rfc822
            Content-Transfer-Encoding: base64

            Subject: x

            text
            """)
        self.assertEqual(message.get_payload(0).subject, "x")
        self.assertEqual(message.get_payload(0).text, "text\n")

    def test_construct(self):
        for content in (self.ORIGINAL, self.ORIGINAL.encode(), bytearray(self.ORIGINAL.encode())):
            with self.subTest(type=type(content)):
                wrapper = AnymailInboundMessage.construct_attachment(
                    "message/rfc822", content, charset="us-ascii", filename="original.eml"
                )
                self.assertHasOriginal(wrapper)
                self.assertEqual(wrapper.get_filename(), "original.eml")
                message = AnymailInboundMessage.construct(text="outer", attachments=[wrapper])
                self.assertHasOriginal(parse(message.as_bytes()).attachments[0])

    def test_construct_from_base64(self):
        self.assertHasOriginal(
            AnymailInboundMessage.construct_attachment(
                "message/rfc822", base64.b64encode(self.ORIGINAL.encode()), base64=True
            )
        )

    def test_construct_from_uploaded_file(self):
        file = SimpleUploadedFile("forwarded.msg", self.ORIGINAL.encode(), "message/rfc822")
        file.charset = "us-ascii"
        self.assertHasOriginal(AnymailInboundMessage.construct_attachment_from_uploaded_file(file))

    def test_8bit(self):
        """It need not be UTF-8."""
        original = (
            b"Subject: \xe9 \xe8\n\xe9: Non-ASCII header name makes this a body\n"
            b"Content-Type: text/plain; charset=iso-8859-1\n\ncaf\xe9\n"
        )
        wrapper = AnymailInboundMessage.construct_attachment("message/rfc822", original)
        self.assertIn(b"caf\xe9", wrapper.get_content_bytes())

        original = original.replace(b"\xe9: Non", b"X: Non")
        wrapper = AnymailInboundMessage.construct_attachment("message/rfc822", original)
        self.assertEqual(wrapper.get_payload(0).text, "café\n")
        self.assertEqual(wrapper.get_content_bytes(), original)
        self.assertIn("café", wrapper.get_content_text())
        self.assertIn("café", wrapper.get_content_text(charset="iso-8859-1"))
        with self.assertRaises(UnicodeDecodeError):
            wrapper.get_content_text(errors="strict")

        original = "Subject: é\nContent-Type: text/plain; charset=utf-8\n\nčau\n"
        wrapper = AnymailInboundMessage.construct_attachment("message/rfc822", original)
        self.assertEqual(wrapper.get_content_text(), original)
        self.assertEqual(wrapper.get_content_bytes(), original.encode())

    def test_delivery_status(self):
        status = dedent("""\
            Reporting-MTA: dns; mx.example.com

            Final-Recipient: rfc822; one@example.com
            Status: 5.1.1

            Final-Recipient: rfc822; two@example.com
            Diagnostic-Code: smtp; 550 a very long explanation of why this can not be delivered
             to the recipient, folded
            """)
        report = parse(
            "Content-Type: multipart/report; report-type=delivery-status; boundary=B\n\n"
            "--B\nContent-Type: text/plain\n\nIt bounced.\n"
            f"--B\nContent-Type: message/delivery-status\n\n{status}"
            "--B\nContent-Type: text/rfc822-headers\n\nSubject: x\n"
            "--B--\n"
        )
        self.assertEqual(report.text, "It bounced.")
        constructed = AnymailInboundMessage.construct_attachment("message/delivery-status", status)
        for part in (report.get_payload(1), constructed):
            self.assertEqual(part.get_content_text(), status)
            self.assertEqual(part.get_content_bytes(), status.encode())
            blocks = part.get_payload()
            self.assertEqual(len(blocks), 3)
            self.assertEqual(blocks[1]["Status"], "5.1.1")

    @staticmethod
    def blocks(part):
        # (To the parser, a newline at the end belongs to the boundary that follows.)
        return [(block.items(), block.get_content_text().rstrip()) for block in part.get_payload()]

    def test_lines_of_a_delivery_report_that_are_no_fields(self):
        for content in (
            "x", "x\n", "\nx", "A: b\nx", "A: b\nx\ny\n\nC: d\n", "x\n\nC: d\n",
            "A: b\n\nx\n\nC: d\n", "A: b\n\nné", "A: é\nx\n\nC: d\n", "",
        ):  # fmt: skip
            with self.subTest(content):
                part = AnymailInboundMessage.construct_attachment(
                    "message/delivery-status", content
                )
                self.assertEqual(part.get_content_text(), content)
                message = AnymailInboundMessage.construct(attachments=[part])
                for again in (parse(message.as_bytes()), parse(message.as_string())):
                    [copy] = again.attachments
                    self.assertEqual(self.blocks(copy), self.blocks(part))
                crlf = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
                self.assertEqual(crlf, b"\r\n".join(message.as_bytes().split(b"\n")))

    def test_other_message_types(self):
        for content_type in ("message/partial", "message/feedback-report", "message/global"):
            with self.subTest(content_type):
                part = AnymailInboundMessage.construct_attachment(content_type, "A: b\n\nc\n")
                self.assertEqual(part.get_content_text(), "A: b\n\nc\n")
                self.assertEqual(part.get_payload(0)["A"], "b")

    def test_in_digest(self):
        message = parse("""\
            Content-Type: multipart/digest; boundary=B

            --B

            Subject: one

            text
            --B--
            """)
        [part] = message.get_payload()
        self.assertEqual(part.get_content_type(), "message/rfc822")
        self.assertEqual(part.get_content_text(), "Subject: one\n\ntext")
        self.assertEqual(part.get_payload(0).subject, "one")

    def test_malformed_multipart_with_8bit_text(self):
        """Python's generators fail to write these."""
        original = b"Content-Type: multipart/mixed; boundary=X\n\nno boundary: \xe9\xe8\n"
        wrapper = AnymailInboundMessage.construct_attachment("message/rfc822", original)
        self.assertEqual(wrapper.get_content_bytes(), original)
        self.assertEqual(wrapper.get_payload(0).as_bytes(), original)
        self.assertIn("no boundary: éè", wrapper.as_string())

    def test_with_stdlib_policy(self):
        """Such as a message that was made by the stdlib's parser."""
        source = b"Content-Type: message/rfc822\n\nSubject: " + b"long " * 20 + b"\n\ntext"
        for policy in (email.policy.default, email.policy.compat32):
            message = email.message_from_bytes(source, _class=AnymailInboundMessage, policy=policy)
            self.assertIn(b"text", message.get_content_bytes())

    def test_deprecated_names(self):
        message = parse(self.ORIGINAL)
        with self.assertWarnsMessage(AnymailDeprecationWarning, "inline_attachments") as caught:
            inline_attachments = message.inline_attachments
        self.assertIn("content_id_map", str(caught.warning))
        self.assertEqual(caught.filename, __file__)
        self.assertEqual(inline_attachments, message.content_id_map)

        with self.assertWarnsMessage(AnymailDeprecationWarning, "is_inline_attachment") as caught:
            self.assertIs(inline_attachments["abc"].is_inline_attachment(), True)
        self.assertIn("is_inline()", str(caught.warning))
        self.assertEqual(caught.filename, __file__)
        with self.assertWarns(AnymailDeprecationWarning):
            self.assertIs(message.is_inline_attachment(), False)
