"""Messages that are put together from fields."""

from __future__ import annotations

import base64
import email
import email.policy
import tempfile
from datetime import datetime, timezone
from email.headerregistry import Address
from io import BytesIO, StringIO
from textwrap import dedent

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import SimpleTestCase

from anymail.addresses import EmailAddress
from anymail.inbound import AnymailInboundMessage

from ..utils import SAMPLE_IMAGE
from .harness import SAMPLE_MIME, parse


class ConstructionTests(SimpleTestCase):
    def test_without_arguments(self):
        message = AnymailInboundMessage()
        self.assertIsNone(message.envelope_sender)
        self.assertIsNone(message.envelope_recipient)
        self.assertIsNone(message.stripped_text)
        self.assertIsNone(message.stripped_html)
        self.assertIsNone(message.spam_detected)
        self.assertIsNone(message.spam_score)
        self.assertIsNone(message.get_payload())
        self.assertIsNone(message.get_content_bytes())
        self.assertIsNone(message.get_content_text())
        self.assertIsInstance(message, email.message.EmailMessage)

    def test_with_policy(self):
        message = AnymailInboundMessage(policy=email.policy.SMTP)
        self.assertIs(message.policy, email.policy.SMTP)

    def test_by_stdlib_parser(self):
        message = email.message_from_bytes(
            SAMPLE_MIME, _class=AnymailInboundMessage, policy=email.policy.default
        )
        self.assertEqual(message.text, "It's a body\N{HORIZONTAL ELLIPSIS}\n")
        self.assertEqual(message.from_email, EmailAddress("Sender, Inc.", "from@example.com"))

    def test_building_with_stdlib_api(self):
        message = AnymailInboundMessage()
        message["To"] = [Address("Jan", "jan", "example.com"), Address("", "eva", "example.com")]
        message["Date"] = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
        message["Subject"] = "Grüße"
        message.set_content("Čau\n")
        message.add_alternative("<p>Čau</p>\n", subtype="html")
        message.add_attachment(SAMPLE_IMAGE, "image", "png", filename="příloha.png")
        for result in (message, AnymailInboundMessage.parse_raw_mime_bytes(message.as_bytes())):
            with self.subTest(serialized=result is not message):
                self.assertEqual(
                    list(map(str, result.to)), ["Jan <jan@example.com>", "eva@example.com"]
                )
                self.assertEqual(result.date, datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc))
                self.assertEqual(result.subject, "Grüße")
                self.assertEqual(result.text, "Čau\n")
                self.assertEqual(result.html, "<p>Čau</p>\n")
                [attachment] = result.attachments
                self.assertIsInstance(attachment, AnymailInboundMessage)
                self.assertEqual(attachment.get_filename(), "příloha.png")
                self.assertEqual(attachment.get_content_bytes(), SAMPLE_IMAGE)

    def test_construct_headers_from_arguments(self):
        message = AnymailInboundMessage.construct(
            from_email='"Sender, Inc." <sender@example.com>',
            to="First To <to1@example.com>, to2@example.com",
            cc="First Cc <cc1@example.com>, cc2@example.com",
            bcc="bcc@example.com",
            subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?= to you",
            headers={"Reply-To": "reply@example.com", "X-Extra": "=?utf-8?q?=C3=A9?="},
        )
        self.assertEqual(message["from"], '"Sender, Inc." <sender@example.com>')
        self.assertEqual(message["TO"], "First To <to1@example.com>, to2@example.com")
        self.assertEqual(message["Cc"], "First Cc <cc1@example.com>, cc2@example.com")
        self.assertEqual(message["Bcc"], "bcc@example.com")
        self.assertEqual(message["Subject"], "Grüße to you")
        self.assertEqual(message["Reply-to"], "reply@example.com")
        self.assertEqual(message["x-extra"], "é")
        self.assertEqual(message.get_all("X-Missing"), None)

    def test_construct_empty_address_headers(self):
        message = AnymailInboundMessage.construct(from_email="", to="", cc="", bcc="", subject="")
        self.assertIsNone(message.from_email)
        self.assertEqual(message.to, [])
        self.assertEqual(message.cc, [])
        self.assertEqual(message.bcc, [])
        self.assertEqual(message.subject, "")

    def test_construct_headers_from_pairs(self):
        message = AnymailInboundMessage.construct(
            headers=[
                ("Reply-To", "reply@example.com"),
                ("Received", "from relay1"),
                ("received", "from relay2"),
            ],
        )
        self.assertEqual(message["Reply-To"], "reply@example.com")
        self.assertEqual(message.get_all("Received"), ["from relay1", "from relay2"])

    def test_construct_headers_from_raw(self):
        # (The header names are mixed-case on purpose.)
        raw_headers = dedent(
            """\
            Reply-To: reply@example.com
            Subject: raw subject
            To: =?iso-8859-1?q?Ren=E9?= <rene@example.com>
            Received: from relay1.example.com
             (localhost [127.0.0.1]) by relay2
            CONTENT-type: text/html; charset="utf-8"
            Content-Transfer-Encoding: base64
            Content-Disposition: attachment; filename="all.html"
            Mime-Version: 2.0
            X-Json: {"a": "b\\n"}"""
        )
        for newline in ("\n", "\r\n"):
            for end in ("", newline, f"{newline}{newline}X-Body: not a header{newline}"):
                with self.subTest(newline=newline, end=end):
                    message = AnymailInboundMessage.construct(
                        raw_headers=raw_headers.replace("\n", newline) + end,
                        subject="explicit subject",
                        headers={"X-Other": "other"},
                    )
                    self.assertEqual(message["Reply-To"], "reply@example.com")
                    self.assertEqual(message.get_all("Subject"), ["explicit subject"])
                    self.assertEqual(message.to, [EmailAddress("René", "rene@example.com")])
                    self.assertEqual(
                        message["Received"],
                        "from relay1.example.com (localhost [127.0.0.1]) by relay2",
                    )
                    self.assertEqual(message.get_all("Content-Type"), ["multipart/mixed"])
                    self.assertEqual(message.get_all("MIME-Version"), ["1.0"])
                    self.assertNotIn("Content-Transfer-Encoding", message)
                    self.assertNotIn("Content-Disposition", message)
                    self.assertNotIn("X-Body", message)
                    self.assertEqual(message["X-Json"], '{"a": "b\\n"}')
                    self.assertEqual(message["X-Other"], "other")
                    self.assertEqual(message.attachments, [])
                    self.assertEqual(message.defects, [])

    def test_construct_raw_headers_of_multipart(self):
        message = AnymailInboundMessage.construct(
            raw_headers='Content-Type: multipart/signed; boundary="x"\nSubject: s\n', text="t"
        )
        self.assertEqual(message["Content-Type"], "multipart/mixed")
        self.assertEqual(message.text, "t")
        self.assertEqual(message.defects, [])

    def test_construct_raw_headers_that_are_not_ascii(self):
        message = AnymailInboundMessage.construct(raw_headers="Subject: Grüße\udce9\ud800\n")
        self.assertEqual(message.subject, "Grüßeé\ufffd")

    def test_construct_arguments_replace_raw_headers(self):
        message = AnymailInboundMessage.construct(
            raw_headers="From: a@example.com\nTo: b@example.com\nTo: c@example.com\nCc: d@example",
            from_email="",
            to="x@example.com",
        )
        self.assertIsNone(message.from_email)
        self.assertEqual(message.get_all("To"), ["x@example.com"])
        self.assertEqual(message.get_all("Cc"), ["d@example"])

    def test_construct_repeated_unique_headers(self):
        """The first one counts: the argument, raw_headers, headers."""
        message = AnymailInboundMessage.construct(
            raw_headers="Cc: raw@example.com\nMessage-ID: <1@example.com>\n",
            from_email="from@example.com",
            subject="",
            headers=[
                ("FROM", "other@example.com"),
                ("cc", "other@example.com"),
                ("Subject", "other"),
                ("Message-Id", "<2@example.com>"),
                ("Date", "Tue, 06 May 2031 07:08:09 +0200"),
                ("DATE", "Wed, 07 May 2031 07:08:09 +0200"),
                ("Sender", "one@example.com"),
                ("Sender", "two@example.com"),
                ("MIME-Version", "9"),
                ("Content-Type", "text/plain"),
                ("Content-Transfer-Encoding", "base64"),
                ("Content-Disposition", "attachment"),
            ],
        )
        for name, expected in {
            "From": "from@example.com",
            "Cc": "raw@example.com",
            "Subject": "",
            "Message-ID": "<1@example.com>",
            "Date": "Tue, 06 May 2031 07:08:09 +0200",
            "Sender": "one@example.com",
            "MIME-Version": "1.0",
            "Content-Type": "multipart/mixed",
        }.items():
            with self.subTest(name):
                self.assertEqual(message.get_all(name), [expected])
        self.assertNotIn("Content-Transfer-Encoding", message)
        self.assertNotIn("Content-Disposition", message)

    def test_construct_rejects_newlines_in_headers(self):
        for value in ("a\nX: b", "a\rX: b", "a\r\n b", "a\n"):
            for kwargs in (
                {"from_email": value},
                {"to": value},
                {"cc": value},
                {"bcc": value},
                {"subject": value},
                {"headers": {"X-Extra": value}},
                {"headers": {value: "text"}},
            ):
                with self.subTest(**kwargs), self.assertRaises(ValueError):
                    AnymailInboundMessage.construct(**kwargs)

    def test_construct_accepts_other_characters_in_headers(self):
        """Some characters count as line ends for str.splitlines(), but not in mail."""
        message = AnymailInboundMessage.construct(subject="a\x0b\x0c\x1c\x85\u2028b")
        self.assertEqual(message.subject, "a\x0b\x0c\x1c\x85\u2028b")

    def test_construct_rejects_headers_that_are_not_str(self):
        for kwargs in (
            {"subject": b"bytes"},
            {"to": ["a@example.com"]},
            {"headers": {"X-Number": 3}},
            {"headers": {"X-None": None}},
        ):
            with self.subTest(**kwargs), self.assertRaisesRegex(TypeError, "must be str"):
                AnymailInboundMessage.construct(**kwargs)

    def test_construct_bodies(self):
        message = AnymailInboundMessage.construct(text="Text čau", html="<b>Čau</b>")
        self.assertEqual(message.text, "Text čau")
        self.assertEqual(message.html, "<b>Čau</b>")
        self.assertEqual(message["Content-Type"], "multipart/mixed")
        [related] = message.get_payload()
        self.assertEqual(related["Content-Type"], "multipart/related")
        [alternative] = related.get_payload()
        self.assertEqual(alternative["Content-Type"], "multipart/alternative")
        text, html = alternative.get_payload()
        self.assertEqual(text["Content-Type"], 'text/plain; charset="utf-8"')
        self.assertEqual(html["Content-Type"], 'text/html; charset="utf-8"')
        self.assertEqual(text.get_content(), "Text čau")
        for part in message.walk():
            self.assertIsInstance(part, AnymailInboundMessage)
            self.assertNotIn("boundary", str(part["Content-Type"]))

    def test_construct_no_body(self):
        for kwargs in ({}, {"text": None, "html": None, "attachments": []}):
            message = AnymailInboundMessage.construct(**kwargs)
            self.assertIsNone(message.text)
            self.assertIsNone(message.html)
            [related] = message.get_payload()
            [alternative] = related.get_payload()
            self.assertEqual(alternative.get_payload(), [])

    def test_construct_empty_bodies(self):
        message = AnymailInboundMessage.construct(text="", html="")
        self.assertEqual(message.text, "")
        self.assertEqual(message.html, "")

    def test_construct_charsets(self):
        message = AnymailInboundMessage.construct(
            text="Žluť €",
            text_charset="utf-16",
            html="Žluť",
            html_charset="windows-1250",
        )
        text, html = message.get_payload(0).get_payload(0).get_payload()
        self.assertEqual(text["Content-Type"], 'text/plain; charset="utf-16"')
        self.assertEqual(text.get_content_bytes().decode("utf-16"), "Žluť €")
        self.assertEqual(message.text, "Žluť €")
        self.assertEqual(html["Content-Type"], 'text/html; charset="windows-1250"')
        self.assertEqual(html.get_content_bytes(), "Žluť".encode("cp1250"))
        self.assertEqual(message.html, "Žluť")

    def test_construct_charset_that_is_not_like_ascii(self):
        message = AnymailInboundMessage.construct(text="a\r\nb", text_charset="utf-16-le")
        self.assertEqual(message.text, "a\nb")
        self.assertEqual(parse(message.as_bytes()).text, "a\nb")

    def test_construct_text_outside_charset(self):
        with self.assertRaises(UnicodeEncodeError):
            AnymailInboundMessage.construct(text="€", text_charset="iso-8859-1")

    def test_construct_text_with_halves_of_surrogate_pairs(self):
        message = AnymailInboundMessage.construct(text="a\ud83db", subject="c\ud83dd")
        self.assertEqual(message.text, "a\ufffdb")
        self.assertEqual(message.subject, "c\ufffdd")

    def test_construct_with_unknown_charset(self):
        """The text is all there already, so there is nothing to guess."""
        for charset in ("x-unknown", "idna", "hex", "\0", ""):
            with self.subTest(charset=charset):
                message = AnymailInboundMessage.construct(text="čau", text_charset=charset)
                self.assertEqual(message.text, "čau")

    def test_construct_with_charset_under_another_name(self):
        message = AnymailInboundMessage.construct(text="שלום", text_charset="ISO-8859-8-I")
        self.assertEqual(message.text, "שלום")
        part = message.get_payload(0).get_payload(0).get_payload(0)
        self.assertEqual(part["Content-Type"], 'text/plain; charset="ISO-8859-8-I"')

    def test_construct_attachments(self):
        inline = AnymailInboundMessage.construct_attachment(
            "image/png", SAMPLE_IMAGE, filename="inline.png", content_id="cid1"
        )
        regular = AnymailInboundMessage.construct_attachment(
            "image/png", SAMPLE_IMAGE, filename="regular.png"
        )
        message = AnymailInboundMessage.construct(text="t", attachments=[regular, inline])
        related, first_attachment = message.get_payload()
        self.assertEqual(len(related.get_payload()), 2)
        self.assertEqual(related.get_payload(0)["Content-Type"], "multipart/alternative")
        self.assertIs(related.get_payload(1), inline)
        self.assertIs(first_attachment, regular)
        self.assertEqual(message.attachments, [regular])
        self.assertIs(message.attachments[0], regular)
        self.assertEqual(message.inlines, [inline])
        self.assertEqual(message.content_id_map, {"cid1": inline})

    def test_constructed_messages_serialize(self):
        """In Python before 3.13, too, where the stdlib writes 8-bit headers, or fails to."""
        message = AnymailInboundMessage.construct(
            from_email="Zoë <zoe@example.com>",
            subject="Grüße",
            headers=[("Xé", "naïve"), ("X-Long", "long " * 50)],
            text="Text čau",
            attachments=[
                AnymailInboundMessage.construct_attachment(
                    "image/png", SAMPLE_IMAGE, filename="č.png"
                )
            ],
        )
        for serialized in (message.as_bytes(), message.as_string().encode("ascii")):
            self.assertTrue(serialized.isascii())
            parsed = AnymailInboundMessage.parse_raw_mime_bytes(serialized)
            self.assertEqual(parsed.from_email, EmailAddress("Zoë", "zoe@example.com"))
            self.assertEqual(parsed.subject, "Grüße")
            self.assertEqual(parsed["X?"], "naïve")
            self.assertEqual(parsed["X-Long"], ("long " * 50))
            self.assertEqual(parsed.text, "Text čau")
            self.assertEqual(parsed.attachments[0].get_filename(), "č.png")
            self.assertEqual(parsed.attachments[0].get_content_bytes(), SAMPLE_IMAGE)
            self.assertEqual(parsed.defects, [])
        self.assertIn("Grüße", str(message))

    def test_construct_attachment(self):
        part = AnymailInboundMessage.construct_attachment(
            "text/tab-separated-values", "a\tβ", charset="utf-8", filename="data.tsv"
        )
        self.assertEqual(
            part["Content-Type"], 'text/tab-separated-values; name="data.tsv"; charset="utf-8"'
        )
        self.assertEqual(part["Content-Disposition"], 'attachment; filename="data.tsv"')
        self.assertNotIn("Content-ID", part)
        self.assertTrue(part.is_attachment())
        self.assertFalse(part.is_inline())
        self.assertEqual(part.get_content_text(), "a\tβ")
        self.assertEqual(part.get_content_bytes(), "a\tβ".encode())

    def test_construct_attachment_charset_of_bytes(self):
        content = "Názov;Cena\r\nčaj;1,50"
        part = AnymailInboundMessage.construct_attachment(
            "text/csv", content.encode("iso-8859-2"), charset="iso-8859-2", filename="data.csv"
        )
        self.assertEqual(part.get_content_text(), "Názov;Cena\nčaj;1,50")
        self.assertEqual(part.get_content_bytes(), content.encode("iso-8859-2"))

    def test_construct_attachment_charset_in_content_type(self):
        part = AnymailInboundMessage.construct_attachment(
            "text/plain; charset=iso-8859-1; format=flowed", "é".encode("iso-8859-1")
        )
        self.assertEqual(part.get_content_text(), "é")
        self.assertEqual(part.get_param("format"), "flowed")

        part = AnymailInboundMessage.construct_attachment(
            "text/plain; charset=us-ascii", "é".encode(), charset="utf-8", filename="a.txt"
        )
        self.assertEqual(part.get_content_text(), "é")
        self.assertEqual(part["Content-Type"].params["charset"], "utf-8")

    def test_construct_attachment_from_text(self):
        for kwargs, charset in (
            ({"charset": "iso-8859-2"}, "iso-8859-2"),
            ({"content_type": "text/plain; charset=iso-8859-2"}, "iso-8859-2"),
            # It must be readable, whatever is declared:
            ({}, "utf-8"),
            ({"content_type": "application/json"}, "utf-8"),
            ({"content_type": "text/plain; charset=us-ascii"}, "utf-8"),
            ({"content_type": "text/plain; charset=bogus"}, "utf-8"),
            ({"charset": "bogus"}, "utf-8"),
        ):
            with self.subTest(**kwargs):
                part = AnymailInboundMessage.construct_attachment(
                    **{"content_type": "text/plain", "content": "čau", **kwargs}
                )
                self.assertEqual(part.get_content_text(), "čau")
                self.assertEqual(part.get_content_bytes(), "čau".encode(charset))
                self.assertEqual(part.get_content_charset(), charset)

    def test_construct_attachment_from_ascii_text(self):
        part = AnymailInboundMessage.construct_attachment("text/plain", "ciao\r\n")
        self.assertEqual(part["Content-Type"], "text/plain")
        self.assertEqual(part.get_content_bytes(), b"ciao\r\n")
        part = AnymailInboundMessage.construct_attachment("text/plain; charset=utf-16", "ciao")
        self.assertEqual(part.get_content_text(), "ciao")

    def test_construct_attachment_text_outside_charset(self):
        with self.assertRaises(UnicodeEncodeError):
            AnymailInboundMessage.construct_attachment("text/plain", "€", charset="iso-8859-1")

    def test_construct_attachment_keeps_bytes(self):
        content = bytes(range(256)) * 4 + b"\r\n\r\r\n\n.\nFrom \n--\n"
        for content_type in ("application/pdf", "text/plain", "image/png", "x/y"):
            for kind in (bytes, bytearray, memoryview):
                with self.subTest(content_type=content_type, kind=kind):
                    part = AnymailInboundMessage.construct_attachment(content_type, kind(content))
                    self.assertEqual(part.get_content_bytes(), content)
                    serialized = AnymailInboundMessage.construct(attachments=[part]).as_bytes()
                    [parsed] = parse(serialized).attachments
                    self.assertEqual(parsed.get_content_bytes(), content)

    def test_construct_inline_attachment(self):
        for content_id in ("abc123", "<abc123>", "<abc123", " <abc123>\r\n"):
            with self.subTest(content_id=content_id):
                part = AnymailInboundMessage.construct_attachment(
                    "image/png", SAMPLE_IMAGE, filename="Sample Image.png", content_id=content_id
                )
                self.assertEqual(part["Content-ID"], "<abc123>")
                self.assertEqual(part["Content-Type"], 'image/png; name="Sample Image.png"')
                self.assertEqual(part["Content-Disposition"], 'inline; filename="Sample Image.png"')
                self.assertTrue(part.is_inline())
                self.assertFalse(part.is_attachment())
                self.assertEqual(part.get_content_bytes(), SAMPLE_IMAGE)

    def test_construct_inline_attachment_with_empty_content_id(self):
        part = AnymailInboundMessage.construct_attachment("image/png", b"", content_id="")
        self.assertTrue(part.is_inline())
        self.assertEqual(part["Content-ID"], "")
        self.assertEqual(
            AnymailInboundMessage.construct(attachments=[part]).content_id_map, {"": part}
        )

    def test_construct_attachment_from_base64(self):
        encoded = base64.b64encode(SAMPLE_IMAGE)
        for content in (
            encoded,
            encoded.decode("ascii"),
            base64.encodebytes(SAMPLE_IMAGE).decode("ascii").replace("\n", "\r\n"),
            " \N{NO-BREAK SPACE}" + encoded.decode("ascii") + "\n",
        ):
            with self.subTest(content=content):
                part = AnymailInboundMessage.construct_attachment("image/png", content, base64=True)
                self.assertEqual(part.get_content_bytes(), SAMPLE_IMAGE)

    def test_construct_attachment_from_base64_text(self):
        part = AnymailInboundMessage.construct_attachment(
            "text/plain", base64.b64encode("é".encode("iso-8859-1")), "iso-8859-1", base64=True
        )
        self.assertEqual(part.get_content_text(), "é")

    def test_construct_attachment_from_wrong_base64(self):
        with self.assertRaises(ValueError):
            AnymailInboundMessage.construct_attachment("image/png", "QUJDR", base64=True)

    def test_construct_attachment_filenames(self):
        for filename, expected in {
            "a\r\n\nb.txt": "a b.txt",
            "žluťoučký kůň.txt": "žluťoučký kůň.txt",
            'with "quotes"; and=more, \\.txt': 'with "quotes"; and=more, \\.txt',
            "100%.txt": "100%.txt",
            "it's*.txt": "it's*.txt",
            "/srv/secret/x.gif": "/srv/secret/x.gif",
            "half\ud83d.txt": "half\ufffd.txt",
            "f" * 300: "f" * 300,
            "日本語" * 50: "日本語" * 50,
        }.items():
            for kwargs in ({}, {"charset": "utf-8"}, {"content_id": "x"}):
                with self.subTest(filename=filename, **kwargs):
                    part = AnymailInboundMessage.construct_attachment(
                        "text/plain", b"", filename=filename, **kwargs
                    )
                    self.assertEqual(part.get_filename(), expected)
                    self.assertEqual(part["Content-Type"].params["name"], expected)
                    self.assertEqual(part.get_content_type(), "text/plain")
                    self.assertEqual(part.is_inline(), "content_id" in kwargs)

    def test_construct_attachment_filename_with_encoded_line_break(self):
        part = AnymailInboundMessage.construct_attachment(
            "text/plain", b"", filename="=?utf-8?q?a=0D=0Ab?="
        )
        self.assertEqual(part.get_filename(), "a b")

    def test_construct_attachment_without_filename(self):
        for filename in (None, ""):
            with self.subTest(filename=filename):
                part = AnymailInboundMessage.construct_attachment(
                    "text/plain", b"", filename=filename
                )
                self.assertEqual(part["Content-Type"], "text/plain")
                self.assertEqual(part["Content-Disposition"], "attachment")
                self.assertIsNone(part.get_filename())

    def test_construct_attachment_content_types(self):
        for content_type, expected in {
            None: "application/octet-stream",
            "": "application/octet-stream",
            "pdf": "application/octet-stream",
            "image/": "application/octet-stream",
            "/png": "application/octet-stream",
            "a/b/c; d=e": "application/octet-stream",
            "Image/PNG": "image/png",
            "application/pdf;\r\n x=y": "application/pdf",
        }.items():
            with self.subTest(content_type=content_type):
                part = AnymailInboundMessage.construct_attachment(content_type, b"x")
                self.assertEqual(part.get_content_type(), expected)
                self.assertEqual(part.get_content_bytes(), b"x")

    def test_construct_attachment_that_is_multipart(self):
        part = AnymailInboundMessage.construct_attachment("multipart/mixed", b"\x80", filename="m")
        with self.assertRaises(ValueError):
            part.get_content_bytes()
        self.assertIn(b"gA==", part.as_uploaded_file().read())

    def test_construct_attachment_from_uploaded_file(self):
        file = SimpleUploadedFile("data.csv", "čaj".encode("iso-8859-2"), "text/csv")
        file.charset = "iso-8859-2"
        part = AnymailInboundMessage.construct_attachment_from_uploaded_file(file)
        self.assertEqual(part["Content-Type"], 'text/csv; name="data.csv"; charset="iso-8859-2"')
        self.assertEqual(part["Content-Disposition"], 'attachment; filename="data.csv"')
        self.assertEqual(part.get_content_text(), "čaj")

        file = SimpleUploadedFile("data.csv", "čaj".encode("iso-8859-2"), "text/csv")
        file.charset = b"iso-8859-2"  # as Django's form parser sets it
        part = AnymailInboundMessage.construct_attachment_from_uploaded_file(file)
        self.assertEqual(part.get_content_text(), "čaj")

        file = SimpleUploadedFile("image.png", SAMPLE_IMAGE, "image/png")
        part = AnymailInboundMessage.construct_attachment_from_uploaded_file(file, content_id="x")
        self.assertTrue(part.is_inline())
        self.assertEqual(part["Content-ID"], "<x>")
        self.assertEqual(part.get_content_bytes(), SAMPLE_IMAGE)

    def test_construct_attachment_from_other_files(self):
        part = AnymailInboundMessage.construct_attachment_from_uploaded_file(BytesIO(b"\x80"))
        self.assertEqual(part.get_content_type(), "application/octet-stream")
        self.assertIsNone(part.get_filename())
        self.assertEqual(part.get_content_bytes(), b"\x80")

        part = AnymailInboundMessage.construct_attachment_from_uploaded_file(StringIO("é"))
        self.assertEqual(part.get_content_bytes(), "é".encode())

        with tempfile.TemporaryFile() as file:  # its name is a number
            part = AnymailInboundMessage.construct_attachment_from_uploaded_file(file)
        self.assertIsNone(part.get_filename())
