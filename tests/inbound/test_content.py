"""The content of a part: charsets, transfer encodings, uploaded files."""

from __future__ import annotations

import quopri
from unittest.mock import patch

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import SimpleTestCase

from anymail.inbound import AnymailInboundMessage

from ..utils import SAMPLE_IMAGE
from .harness import SAMPLE_MIME, parse


class ContentTests(SimpleTestCase):
    def test_body_charsets(self):
        for charset, text in (
            ("iso-8859-10", "Þórður Ķēniņš"),
            ("iso-8859-8", "שלום"),
            ("ISO-8859-8-I", "שלום"),
            ("windows-874", "ไทย"),
            ("koi8-r", "Привет"),
            ("shift_jis", "日本語"),
            ("x-sjis", "日本語"),
            ("utf-16", "é"),
        ):
            codec = {"ISO-8859-8-I": "iso-8859-8", "windows-874": "cp874", "x-sjis": "sjis"}.get(
                charset, charset
            )
            with self.subTest(charset):
                message = parse(
                    f"Content-Type: text/plain; charset={charset}\n"
                    "Content-Transfer-Encoding: quoted-printable\n\n".encode()
                    + quopri.encodestring(text.encode(codec))
                )
                self.assertEqual(message.text, text)

    def test_unknown_body_charsets(self):
        for charset in (
            "unknown-8bit", "typo-8", "x" * 300, "idna", "punycode", "undefined", "hex", "zlib",
            "rot13", "unicode_escape", "raw-unicode-escape", '"a b"', '""', "\0", "é", "a\0b",
            "*0*=a\0b'en'x", "aliases",
        ):  # fmt: skip
            with self.subTest(charset):
                message = parse(
                    f"Content-Type: text/plain; charset={charset}\n\nčau \\q".encode() + b"\xff"
                )
                self.assertEqual(message.text, "čau \\qÿ")
        message = parse(b"Content-Type: text/html; charset=unknown-8bit\n\n\xc4\x8dau \xff")
        self.assertEqual(message.html, "čau ÿ")

    def test_get_content_text_charset_and_errors(self):
        message = parse(b"Content-Type: text/plain\n\nGr\xfc\xdfe")
        self.assertEqual(message.get_content_text(), "Grüße")
        self.assertEqual(message.get_content_text(errors="replace"), "Gr\ufffd\ufffde")
        self.assertEqual(message.get_content_text(charset="ISO-8859-1"), "Grüße")
        self.assertEqual(message.get_content_text(errors="ignore"), "Gre")
        with self.assertRaises(UnicodeDecodeError):
            message.get_content_text(errors="strict")
        with self.assertRaises(LookupError):
            message.get_content_text(charset="bogus")

    def test_line_ends(self):
        message = parse(b"Content-Type: text/plain\r\n\r\na\r\nb\rc\nd\r\r\n\r\n")
        self.assertEqual(message.text, "a\nb\nc\nd\n\n\n")
        self.assertEqual(message.get_content_bytes(), b"a\r\nb\rc\nd\r\r\n\r\n")

    def test_get_content_of_multipart(self):
        message = parse(SAMPLE_MIME)
        with self.assertRaisesRegex(ValueError, r"as_bytes\(\)"):
            message.get_content_bytes()
        with self.assertRaisesRegex(ValueError, r"as_string\(\)"):
            message.get_content_text()

    def test_transfer_encodings(self):
        for encoding, content, expected in (
            ("base64", "w6k=", b"\xc3\xa9"),
            ("BASE64 ", "w6k=\n", b"\xc3\xa9"),
            ("base64 (comment)", "w6\nk=", b"\xc3\xa9"),
            ("base64;", "w6k", b"\xc3\xa9"),
            ("base64", "w6k=!", b"\xc3\xa9"),
            ("base64 some text", "w6k=", b"\xc3\xa9"),
            ('"base64"', "w6k=", b"\xc3\xa9"),
            ("'Base64'", "w6k=", b"\xc3\xa9"),
            ("base-64", "w6k=", b"\xc3\xa9"),
            ("base_64, base64", "w6k=", b"\xc3\xa9"),
            ('"Quoted Printable"', "=C3=A9", b"=C3=A9"),
            ("QUOTED_PRINTABLE;", "=C3=A9=\n", b"\xc3\xa9"),
            ("quotedprintable", "=C3=A9=\n", b"\xc3\xa9"),
            ("quoted-printable", "=C3=A9=\n", b"\xc3\xa9"),
            ("x-uuencode", 'begin 644 a\n"PZD \n`\nend\n', b"\xc3\xa9"),
            ("x-uuencode", "begin 644 a\n\xff\xff\nend\n", b"begin 644 a\n\xc3\xbf\xc3\xbf\nend\n"),
            ("7bit", "é", b"\xc3\xa9"),
            ("bogus", "w6k=", b"w6k="),
        ):
            with self.subTest(encoding=encoding, content=content):
                message = AnymailInboundMessage.parse_raw_mime(
                    f"Content-Transfer-Encoding: {encoding}\n\n{content}"
                )
                self.assertEqual(message.get_content_bytes(), expected)

    def test_malformed_uuencode(self):
        message = parse(b"Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n\xff\xff~~~\nend\n")
        self.assertIsInstance(message.get_content_bytes(), bytes)


class UploadedFileTests(SimpleTestCase):
    def test_as_uploaded_file(self):
        part = AnymailInboundMessage.construct_attachment(
            "image/png", SAMPLE_IMAGE, filename="sample.png"
        )
        file = part.as_uploaded_file()
        self.assertIsInstance(file, SimpleUploadedFile)
        self.assertEqual(file.name, "sample.png")
        self.assertEqual(file.content_type, "image/png")
        self.assertEqual(file.size, len(SAMPLE_IMAGE))
        self.assertEqual(file.read(), SAMPLE_IMAGE)

    def test_as_uploaded_file_without_disposition(self):
        self.assertIsNone(parse("Content-Type: text/plain\n\nx").as_uploaded_file())
        file = parse("Content-Type: image/png; name=x.png\n\nx").as_uploaded_file()
        self.assertEqual((file.name, file.read()), ("x.png", b"x"))

    def test_as_uploaded_file_without_payload(self):
        part = AnymailInboundMessage()
        part["Content-Disposition"] = "attachment"
        self.assertEqual(part.as_uploaded_file().read(), b"")

    def test_as_uploaded_file_name_is_safe(self):
        for filename, expected in {
            "/srv/secret/x.gif": "x.gif",
            "../up/x.html": "x.html",
            "C:\\Windows\\x.exe": "x.exe",
            "..\\..\\x.exe": "x.exe",
            "/mixed\\x.gif": "x.gif",
            "": "attachment",
            ".": "attachment",
            "..": "attachment",
            "a/..": "attachment",
            "dir/": "attachment",
            "dir\\": "attachment",
            "nul\0\x1f.txt": "nul.txt",
            "žluť.txt": "žluť.txt",
            "photo\u202egpj.exe": "photogpj.exe",
            "a\u2028b\x85c\u2066.txt": "abc.txt",
        }.items():
            with self.subTest(filename):
                part = AnymailInboundMessage.parse_raw_mime(
                    "Content-Disposition: attachment;"
                    f' filename="{filename.encode("unicode_escape").decode()}"\n\nx'
                    if "\\" in filename
                    else f'Content-Disposition: attachment; filename="{filename}"\n\nx'
                )
                self.assertEqual(part.as_uploaded_file().name, expected)
                if "\0" not in filename:
                    self.assertEqual(part.get_filename(), filename or None)

    def test_as_uploaded_file_name_can_be_encoded(self):
        part = AnymailInboundMessage.construct_attachment("x/y", b"", filename="a.txt")
        with patch.object(part, "get_filename", return_value="a\ud800.txt"):
            self.assertEqual(part.as_uploaded_file().name, "a.txt")

    def test_as_uploaded_file_name_is_short(self):
        part = AnymailInboundMessage.construct_attachment("x/y", b"", filename="x" * 300 + ".txt")
        self.assertEqual(part.as_uploaded_file().name, "x" * 251 + ".txt")

    def test_as_uploaded_file_without_filename(self):
        part = AnymailInboundMessage.construct_attachment("image/png", SAMPLE_IMAGE)
        self.assertEqual(part.as_uploaded_file().name, "attachment")

    def test_as_uploaded_file_of_multipart(self):
        message = parse(b"Content-Disposition: attachment\n" + SAMPLE_MIME)
        file = message.as_uploaded_file()
        self.assertEqual(file.content_type, "multipart/alternative")
        self.assertEqual(AnymailInboundMessage.parse_raw_mime_bytes(file.read()).text, message.text)
