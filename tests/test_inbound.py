from __future__ import annotations

import base64
import copy
import email
import email.policy
import pickle
import quopri
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from email.generator import Generator
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
from io import BytesIO, StringIO
from itertools import pairwise
from textwrap import dedent
from unittest.mock import patch

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory, SimpleTestCase, override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.addresses import EmailAddress
from anymail.exceptions import AnymailDeprecationWarning, AnymailInboundLimitExceeded
from anymail.inbound import (
    MAX_HEADER_LENGTH,
    MAX_HEADERS,
    MAX_NESTING,
    MAX_PARTS,
    AnymailInboundMessage,
)
from anymail.webhooks.sparkpost import SparkPostInboundWebhookView

from .properties import examples
from .utils import FIXTURES, SAMPLE_IMAGE
from .webhooks.harness import basic_auth_header

SAMPLE_FILE = FIXTURES / "inbound" / "alternative.eml"
SAMPLE_MIME = SAMPLE_FILE.read_bytes()


def parse(source: str | bytes) -> AnymailInboundMessage:
    """Parse a dedented str (as UTF-8), or bytes."""
    if isinstance(source, bytes):
        return AnymailInboundMessage.parse_raw_mime_bytes(source)
    return AnymailInboundMessage.parse_raw_mime(dedent(source))


def with_header(name: str, value: str | bytes) -> AnymailInboundMessage:
    value = value.encode() if isinstance(value, str) else value
    return AnymailInboundMessage.parse_raw_mime_bytes(name.encode() + b": " + value + b"\n\n")


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

    # Messages from parsed fields

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
        self.assertEqual(message.subject, "Grüße\ufffd\ufffd")

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

    # Attachments

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
        self.assertEqual(part.get_filename(), "=?utf-8?q?a=0D=0Ab?=")

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

    # Parsing

    def assertIsSample(self, message):
        self.assertIsInstance(message, AnymailInboundMessage)
        self.assertEqual(message.from_email, EmailAddress("Sender, Inc.", "from@example.com"))
        self.assertEqual(message.subject, "Test email\N{HORIZONTAL ELLIPSIS}")
        self.assertEqual(message.text, "It's a body\N{HORIZONTAL ELLIPSIS}\n")
        self.assertEqual(message.html, '<div dir="ltr">It\'s a body\N{HORIZONTAL ELLIPSIS}</div>\n')
        [received] = message.get_all("Received")
        self.assertEqual(
            received,
            "from mail.example.com (mail.example.com [192.0.2.1]) by mx.example.net with ESMTPS;"
            " Tue, 6 May 2031 07:08:10 -0700 (PDT)",
        )
        self.assertEqual(message.defects, [])
        for part in message.walk():
            self.assertIsInstance(part, AnymailInboundMessage)
            self.assertEqual(part.defects, [])

    def test_parse_raw_mime(self):
        self.assertIsSample(AnymailInboundMessage.parse_raw_mime(SAMPLE_MIME.decode("ascii")))

    def test_parse_raw_mime_8bit(self):
        message = parse("""\
            Subject: Grüße
            Content-Type: text/plain; charset="utf-8"
            Content-Transfer-Encoding: 8bit

            Žluťoučký kůň
            """)
        self.assertEqual(message.subject, "Grüße")
        self.assertEqual(message.text, "Žluťoučký kůň\n")

    def test_parse_raw_mime_needs_str(self):
        with self.assertRaisesRegex(TypeError, "parse_raw_mime_bytes"):
            AnymailInboundMessage.parse_raw_mime(SAMPLE_MIME)

    def test_parse_raw_mime_bytes(self):
        self.assertIsSample(AnymailInboundMessage.parse_raw_mime_bytes(SAMPLE_MIME))

    def test_parse_raw_mime_bytes_8bit(self):
        message = parse(
            b"Subject: Gr\xfc\xdfe\nContent-Type: text/plain; charset=iso-8859-1\n"
            b"Content-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\r\n"
        )
        self.assertEqual(message.subject, "Gr\ufffd\ufffde")
        self.assertEqual(message.text, "Grüße\n")
        self.assertEqual(message.get_content_bytes(), b"Gr\xfc\xdfe\r\n")

    def test_parse_longer_than_one_read(self):
        content = SAMPLE_IMAGE * 10_000
        message = AnymailInboundMessage.construct(
            attachments=[AnymailInboundMessage.construct_attachment("image/png", content)]
        )
        [attachment] = parse(message.as_bytes()).attachments
        self.assertEqual(attachment.get_content_bytes(), content)

    def test_parse_raw_mime_chunks(self):
        for size in (1, 2, 7, 1000, len(SAMPLE_MIME)):
            for kind in (bytes, bytearray):
                with self.subTest(size=size, kind=kind):
                    chunks = (
                        kind(SAMPLE_MIME[start : start + size])
                        for start in range(0, len(SAMPLE_MIME), size)
                    )
                    self.assertIsSample(AnymailInboundMessage.parse_raw_mime_chunks(chunks))

    def test_parse_raw_mime_chunks_that_are_empty(self):
        self.assertIsSample(
            AnymailInboundMessage.parse_raw_mime_chunks([b"", SAMPLE_MIME, b"", bytearray()])
        )
        self.assertEqual(AnymailInboundMessage.parse_raw_mime_chunks([]).get_payload(), "")

    def test_parse_raw_mime_chunks_from_file(self):
        with SAMPLE_FILE.open("rb") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_chunks(file))

    def test_parse_raw_mime_chunks_does_not_collect_them(self):
        """Each chunk is parsed before the next one is asked for."""

        def chunks():
            yield b"Subject: x\n\n"
            self.assertEqual(created, 1)

        created = 0

        class CountedMessage(AnymailInboundMessage):
            def set_raw(self, name, value):
                nonlocal created
                created += 1
                super().set_raw(name, value)

        message = CountedMessage.parse_raw_mime_chunks(chunks())
        self.assertEqual(message.subject, "x")

    def test_parse_raw_mime_chunks_needs_bytes(self):
        with self.assertRaises(AttributeError):
            AnymailInboundMessage.parse_raw_mime_chunks([SAMPLE_MIME.decode("ascii")])

    def test_parse_raw_mime_file(self):
        with SAMPLE_FILE.open("rb") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_file(file))
        with SAMPLE_FILE.open(encoding="ascii") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_file(file))
        message = AnymailInboundMessage.parse_raw_mime_file(
            StringIO("Subject: č\nContent-Type: text/plain; charset=utf-8\n\nč\udcff")
        )
        self.assertEqual(message.subject, "č")
        self.assertEqual(message.text, "č\ufffd")

    def test_subclass(self):
        class CustomMessage(AnymailInboundMessage):
            pass

        for message in (
            CustomMessage.parse_raw_mime_bytes(SAMPLE_MIME),
            CustomMessage.construct(raw_headers="X: y", text="t", html="h"),
        ):
            for part in message.walk():
                self.assertIs(type(part), CustomMessage)

    def test_pickle_and_copy(self):
        message = AnymailInboundMessage.parse_raw_mime_bytes(SAMPLE_MIME)
        message.envelope_sender = "bounces@example.com"
        message.spam_score = 1.5
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            self.assertIsSample(pickle.loads(pickle.dumps(message, protocol)))
        for duplicate in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
            self.assertIsSample(duplicate)
            self.assertEqual(duplicate.envelope_sender, "bounces@example.com")
            self.assertEqual(duplicate.spam_score, 1.5)
            self.assertEqual(duplicate.as_bytes(), message.as_bytes())
            del duplicate["Subject"]
            duplicate["Subject"] = "Ändered"
            self.assertEqual(duplicate.subject, "Ändered")
            self.assertEqual(duplicate["From"], message["From"])
        self.assertIsSample(message)

    def test_pickles_are_small(self):
        """The policy is a part of each, but not all that the policy refers to."""
        self.assertNotIn(b"headerregistry", pickle.dumps(AnymailInboundMessage()))

    def test_pickle_and_copy_constructed(self):
        attachment = AnymailInboundMessage.construct_attachment(
            "image/png", SAMPLE_IMAGE, filename="č.png"
        )
        message = AnymailInboundMessage.construct(
            subject="č", text="t", attachments=[attachment], headers={"Date": "nonsense"}
        )
        for duplicate in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
            self.assertEqual(duplicate.subject, "č")
            self.assertEqual(duplicate.text, "t")
            self.assertEqual(duplicate.attachments[0].get_filename(), "č.png")
            self.assertEqual(duplicate.attachments[0].get_content_bytes(), SAMPLE_IMAGE)


class ConveniencePropTests(SimpleTestCase):
    def test_address_props(self):
        message = parse("""\
            From: "Sender, Inc." <sender@example.com>
            To: First To <to1@example.com>, to2@example.com
            Cc: =?utf-8?q?Zo=C3=AB?= <cc1@example.com>
            cc: Friends: cc2@example.com, "Three, Cc" <cc3@example.com>;
            Bcc: bcc@xn--mnchen-3ya.example

            """)
        self.assertEqual(str(message.from_email), '"Sender, Inc." <sender@example.com>')
        self.assertEqual(message.from_email.addr_spec, "sender@example.com")
        self.assertEqual(message.from_email.display_name, "Sender, Inc.")
        self.assertIsInstance(message.from_email, EmailAddress)
        self.assertEqual(
            message.to,
            [EmailAddress("First To", "to1@example.com"), EmailAddress("", "to2@example.com")],
        )
        self.assertEqual(
            message.cc,
            [
                EmailAddress("Zoë", "cc1@example.com"),
                EmailAddress("", "cc2@example.com"),
                EmailAddress("Three, Cc", "cc3@example.com"),
            ],
        )
        self.assertEqual([address.domain for address in message.bcc], ["xn--mnchen-3ya.example"])
        self.assertEqual(message.get_address_header("CC"), message.cc)

    def test_address_props_missing_or_blank(self):
        for message in (
            AnymailInboundMessage(),
            parse("From:\nTo: \nCc: \n \nBcc:  \n\n"),
            parse("From: ,\nTo: ,,\nCc: ()\nBcc: (none)\n\n"),
        ):
            self.assertIsNone(message.from_email)
            self.assertEqual(message.to, [])
            self.assertEqual(message.cc, [])
            self.assertEqual(message.bcc, [])

    def test_several_from_addresses(self):
        self.assertEqual(
            with_header("From", "a@example.com, B <b@example.com>").from_email,
            [EmailAddress("", "a@example.com"), EmailAddress("B", "b@example.com")],
        )

    def test_other_address_headers(self):
        message = parse("""\
            Return-Path: <bounce@example.com>
            Delivered-To: =?utf-8?q?=C3=A9?= <a@example.com>
            X-Empty: <>

            """)
        self.assertEqual(
            message.get_address_header("return-path"), [EmailAddress("", "bounce@example.com")]
        )
        self.assertEqual(
            message.get_address_header("Delivered-To"), [EmailAddress("é", "a@example.com")]
        )
        self.assertEqual(message.get_address_header("X-Empty"), [])
        self.assertEqual(message.get_address_header("X-Missing"), [])

    def test_valid_addresses(self):
        """As far as the stdlib parses these without defects, it finds the same."""
        for header, *expected in (
            ("a@example.com", ("", "a@example.com")),
            ("<a@example.com>", ("", "a@example.com")),
            ("< a@example.com >", ("", "a@example.com")),
            ("J. R. Smith <j@example.com>", ("J. R. Smith", "j@example.com")),
            ('"A \\"q\\" \\\\ B" <a@example.com>', ('A "q" \\ B', "a@example.com")),
            ('"A  B" <a@example.com>', ("A  B", "a@example.com")),
            ("A   B <a@example.com>", ("A B", "a@example.com")),
            ('"odd@name, <x>"@example.com', ("", '"odd@name, <x>"@example.com')),
            ('A <"odd > name"@example.com>', ("A", '"odd > name"@example.com')),
            ("a@example.com (comment, (nested; \\) <x@y>))", ("", "a@example.com")),
            ("A (comment) B <a@example.com> (c)", ("A B", "a@example.com")),
            ("x@[192.0.2.1]", ("", "x@[192.0.2.1]")),
            ("x@[IPv6:2001:db8::1], y@example.com",
             ("", "x@[IPv6:2001:db8::1]"), ("", "y@example.com")),
            ("x@[IPv6:2001:db8::1]; y@example.com",
             ("", "x@[IPv6:2001:db8::1]"), ("", "y@example.com")),
            ("<@r1.example,@r2.example:a@example.com>", ("", "a@example.com")),
            ("A: x@example.com, B <b@example.com>;, c@example.com",
             ("", "x@example.com"), ("B", "b@example.com"), ("", "c@example.com")),
            ("=?utf-8?b?xb1vZmllLCDDusSNdMOhcm5h?= <z@example.com>",
             ("Žofie, účtárna", "z@example.com")),
            ('"=?utf-8?q?Zo=C3=AB?=" <z@example.com>', ("Zoë", "z@example.com")),
            ('=?iso-8859-1?q?Ren=E9?= "Noir, Sr." <r@example.com>',
             ("René Noir, Sr.", "r@example.com")),
            ("Zoë <z@exämple.com>", ("Zoë", "z@exämple.com")),
            ("é@example.com", ("", "é@example.com")),
        ):  # fmt: skip
            with self.subTest(header):
                message = with_header("To", header)
                self.assertEqual([(a.display_name, a.addr_spec) for a in message.to], expected)
                stdlib = message["To"].addresses
                if not message["To"].defects and "IPv6" not in header and "A   B" not in header:
                    self.assertEqual([(a.display_name, a.addr_spec) for a in stdlib], expected)

    def test_invalid_addresses(self):
        """Nothing is raised, and what is valid is returned."""
        for header, *expected in (
            ("undisclosed-recipients:;",),
            ("Undisclosed recipients: ;",),
            ("word",),
            ("two words",),
            ("<>",),
            ("@example.com",),
            ("a@",),
            ("a@example.com b@example.com",),
            ("<a@example.com> <b@example.com>",),
            ("<a@example.com> trailing",),
            ("<<a@example.com>", ("<", "a@example.com")),
            ("a@example.com <",),
            ("a b@example.com",),
            ("Doe, Jane <jane@example.com>", ("Jane", "jane@example.com")),
            ("a@example.com,, ,b@example.com,", ("", "a@example.com"), ("", "b@example.com")),
            ("a@example.com; b@example.com", ("", "a@example.com"), ("", "b@example.com")),
            ('Good <g@example.com>, "bad <bad@, ok@example.com',
             ("Good", "g@example.com"), ("", "ok@example.com")),
            ("(unclosed a@example.com, b@example.com", ("", "b@example.com")),
            ("(un(closed <a@example.com, (comment) b@example.com", ("", "b@example.com")),
            ("[unclosed a@example.com, b@example.com", ("", "b@example.com")),
            ("at 10:30 <a@example.com>", ("at 10:30", "a@example.com")),
            ("é@, a@example.com", ("", "a@example.com")),
            ("a@example.com\0, b@example.com", ("", "b@example.com")),
            (f"{'a' * 999}@example.com, b@example.com", ("", "b@example.com")),
            (f"{'(' * 500}a@example.com>, b@example.com", ("", "b@example.com")),
            # The address counts, not another one in its display name:
            ("boss@example.com <crook@example.net>", ("boss@example.com", "crook@example.net")),
            # Illegal, but frequent:
            ("=?utf-8?q?Doe,_Jane?= <jane@example.com>", ("Doe, Jane", "jane@example.com")),
            # Bytes that are illegal, an unknown charset, or a malformed encoded-word:
            ("=?utf-8?q?=FF?= <a@example.com>", ("\ufffd", "a@example.com")),
            ("=?bogus?q?=C3=A9?= <a@example.com>", ("é", "a@example.com")),
            ("=?utf-8?b?x?= =?utf-8?q?=C3=A9?= <a@example.com>",
             ("=?utf-8?b?x?=é", "a@example.com")),
            ("=?a\0b?q?x?= <a@example.com>", ("x", "a@example.com")),
            # A codec of Python that is no charset, and warns about what it decodes:
            ("=?unicode_escape?q?=5Cq?= <a@example.com>",
             ("=?unicode_escape?q?=5Cq?=", "a@example.com")),
            # Neither part of an address can have line breaks:
            ("=?utf-8?q?a=0D=0AX:_b?= <a@example.com>", ("a X: b", "a@example.com")),
            ("=?utf-8?q?a=0D=0AX:_b?=@example.com",),
            ('"=?utf-8?q?a=0D=0AX:_b?="@example.com',),
            ("a@=?utf-8?q?example=2Ecom?=",),
            ("a@example.=?utf-8?q?com?=",),
        ):  # fmt: skip
            with self.subTest(header):
                message = with_header("To", header)
                self.assertEqual([(a.display_name, a.addr_spec) for a in message.to], expected)
                constructed = AnymailInboundMessage.construct(to=header)
                self.assertEqual(constructed.to, message.to)

    def test_raw_8bit_addresses(self):
        message = with_header("From", "Zoë <z@example.com>".encode())
        self.assertEqual(message.from_email, EmailAddress("Zoë", "z@example.com"))
        message = with_header("From", "Zoë <z@example.com>".encode("iso-8859-1"))
        self.assertEqual(message.from_email, EmailAddress("Zo\ufffd", "z@example.com"))

    def test_many_addresses(self):
        addresses = [f"User {number} <{number}@example.com>" for number in range(2000)]
        message = AnymailInboundMessage.construct(to=", ".join(addresses))
        self.assertEqual(list(map(str, message.to)), addresses)
        self.assertIn("User 1999", message["To"])

    def test_malicious_address_headers_take_linear_time(self):
        """Each of these would take from a minute to hours, if time were quadratic."""
        for text in (
            '"' * 200_001, "(" * 200_000, "<" * 200_000, "[" * 200_000, "\\" * 200_000,
            "=?" * 100_000, "=?a?q?" * 30_000, '\\"' * 100_001, '<\\"' * 60_001, '<"' * 100_001,
            "(\\" * 100_001, "()" * 100_000, "((" + ")(" * 100_000, ":" * 200_000,
            '"' + "a " * 100_000,
        ):  # fmt: skip
            with self.subTest(text[:9]):
                self.assertIsInstance(with_header("To", text).to, list)

    def test_subject(self):
        message = with_header("Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?q?_=E9?=")
        self.assertEqual(message.subject, "Grüße é")
        self.assertIsInstance(message.subject, str)
        self.assertEqual(with_header("Subject", "").subject, "")
        self.assertIsNone(AnymailInboundMessage().subject)

    def test_odd_subjects(self):
        for header, expected in (
            ("=?utf-8?q?=FF?=", "\ufffd"),
            ("=?bogus?q?x?=", "x"),
            ("=?idna?q?=FF?=", "=?idna?q?=FF?="),
            ("=?a\0b?q?x?=", "=?a\0b?q?x?="),
            # A long one, and what the stdlib fails to parse: still decoded.
            ("a " * 10_000 + "=?utf-8?q?=C3=A9?=", "a " * 10_000 + "é"),
            ("=?utf-7?q?+2AA-?= =?utf-8?q?=C3=A9?=", "\ufffdé"),
            # Whoever replies with this subject must not get another header.
            ("=?utf-8?q?a=0D=0ABcc:_b@example=2Ecom?=", "a Bcc: b@example.com"),
        ):
            with self.subTest(header[:40]):
                message = with_header("Subject", header)
                self.assertIsInstance(message.subject, str)
                self.assertEqual(message.subject, expected)

    def test_date(self):
        naive = datetime(2031, 5, 6, 7, 8, 9)  # noqa: DTZ001  # what the property promises
        for header, expected in (
            ("Tue, 06 May 2031 07:08:09 -0700",
             datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=-7)))),
            ("Tue, 06 May 2031 07:08:09 +0000", datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)),
            ("Tue, 06 May 2031\r\n 07:08:09 +0200 (CEST)",
             datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))),
            ("Tue, 06 May 2031 07:08:09 -0000", naive),
            ("Tue, 06 May 2031 07:08:09", naive),
            ("", None),
            ("tomorrow", None),
            ("Tue, 41 May 2031 07:08:09 +0000", None),
            ("Tue, 06 May 2031 07:08:09 +9999999999999", None),
            ("9" * 5000, None),
        ):  # fmt: skip
            with self.subTest(header[:40]):
                message = with_header("Date", header)
                self.assertEqual(message.date, expected)
                self.assertEqual(message.date and message.date.tzinfo, expected and expected.tzinfo)
        self.assertIsNone(AnymailInboundMessage().date)

    def test_get_date_header(self):
        message = with_header("Resent-Date", "Tue, 06 May 2031 07:08:09 +0000")
        self.assertEqual(
            message.get_date_header("resent-date"),
            datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc),
        )
        self.assertIsNone(message.get_date_header("Date"))

    def test_properties_are_read_only(self):
        message = AnymailInboundMessage()
        for name in ("from_email", "to", "cc", "bcc", "subject", "date", "text", "html"):
            with self.subTest(name), self.assertRaises(AttributeError):
                setattr(message, name, "x")

    # Bodies

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
        self.assertEqual(message.text, "Inline text")
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
        self.assertEqual(message.text, "deep")

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
            "unknown-8bit", "utf-8-typo", "x" * 300, "idna", "punycode", "undefined", "hex", "zlib",
            "rot13", "unicode_escape", "raw-unicode-escape", '"a b"', '""', "\0", "é", "a\0b",
            "*0*=a\0b'en'x", "aliases",
        ):  # fmt: skip
            with self.subTest(charset):
                message = parse(
                    f"Content-Type: text/plain; charset={charset}\n\nčau \\q".encode() + b"\xff"
                )
                self.assertIn(message.text, {"čau \\q\ufffd", "\ufffd\ufffdau \\q\ufffd"})
        message = parse(b"Content-Type: text/html; charset=unknown-8bit\n\n\xc4\x8dau \xff")
        self.assertEqual(message.html, "čau \ufffd")

    # Content

    def test_get_content_text_charset_and_errors(self):
        message = parse(b"Content-Type: text/plain\n\nGr\xfc\xdfe")
        self.assertEqual(message.get_content_text(), "Gr\ufffd\ufffde")
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
        self.assertEqual(
            [part.get_filename() for part in message.attachments], ["one.png", "four.png"]
        )
        self.assertEqual([part.get_filename() for part in message.inlines], ["two.gif"])
        self.assertEqual(message.content_id_map, {})
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
        self.assertIsNone(parse("Content-Type: image/png; name=x.png\n\nx").as_uploaded_file())

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
                    self.assertEqual(part.get_filename(), filename)

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
        self.assertIn("caf\ufffd", wrapper.get_content_text())
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
        self.assertIn("no boundary: \ufffd\ufffd", wrapper.as_string())

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


class EmailParserBehaviorTests(SimpleTestCase):
    def test_folded_headers(self):
        source = dedent("""\
            Content-Type: text/plain
            Subject: This subject uses
             header folding
            X-Json: {"problematic": ["encoded newline\\\\n",
             "comma,semi;no space"]}
            To: one@example.com,
            \ttwo@example.com

            Not-A-Header: This is the body.
             It is not folded.
            """)
        for newline in ("\n", "\r\n", "\r"):
            with self.subTest(newline=newline):
                message = AnymailInboundMessage.parse_raw_mime(source.replace("\n", newline))
                self.assertEqual(message["Subject"], "This subject uses header folding")
                self.assertEqual(
                    message["X-Json"],
                    '{"problematic": ["encoded newline\\\\n", "comma,semi;no space"]}',
                )
                self.assertEqual(
                    [address.addr_spec for address in message.to],
                    ["one@example.com", "two@example.com"],
                )
                self.assertEqual(
                    message.text, "Not-A-Header: This is the body.\n It is not folded.\n"
                )
                self.assertEqual(
                    message.get_content_bytes(),
                    f"Not-A-Header: This is the body.{newline} It is not folded.{newline}".encode(),
                )
                self.assertEqual(message.defects, [])

    def test_encoded_headers(self):
        message = parse("""\
            From: =?US-ASCII?Q?Keith_Moore?= <moore@example.com>
            To: =?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@example.com>,
             =?iso-8859-1?q?Ren=E9?= "Noir, Sr." <rene@example.com>
            Cc: =?ISO-8859-1?Q?Andr=E9?= Pirard <pirard@example.com>
            Subject: =?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=
             =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=
            X-Broken: =?utf-8?q?Don=92t_w=F8rry?=

            Some-Text: =?US-ASCII?Q?not_a_header?=
            """)
        self.assertEqual(message["From"], "Keith Moore <moore@example.com>")
        self.assertEqual(message.from_email.display_name, "Keith Moore")
        self.assertEqual(
            message["To"],
            'Keld Jørn Simonsen <keld@example.com>, "René Noir, Sr." <rene@example.com>',
        )
        self.assertEqual(
            [address.display_name for address in message.to],
            ["Keld Jørn Simonsen", "René Noir, Sr."],
        )
        self.assertEqual(message.cc[0].display_name, "André Pirard")
        self.assertEqual(message["Subject"], "If you can read this you understand the example.")
        self.assertEqual(message["X-Broken"], "Don\ufffdt w\ufffdrry")
        self.assertEqual(message.text, "Some-Text: =?US-ASCII?Q?not_a_header?=\n")

    def test_encoded_params(self):
        message = parse("""\
            Content-Type: multipart/mixed; boundary=B

            --B
            Content-Type: text/plain; name*=us-ascii''TPS%20Report
            Content-Disposition: attachment; filename*=iso-8859-1''Une%20pi%E8ce%20jointe%2Etxt

            Content
            --B
            Content-Type: text/plain; name*0*=utf-8''%C3%A9t%C3%A9; name*1=".txt"
            Content-Disposition: inline

            --B
            Content-Type: application/pdf
            Content-Disposition: attachment; filename="=?utf-8?q?=C3=A9t=C3=A9=2Epdf?="

            --B--
            """)
        one, two, three = message.get_payload()
        self.assertEqual(one.get_content_type(), "text/plain")
        self.assertEqual(one["Content-Type"].params["name"], "TPS Report")
        self.assertEqual(one.get_content_disposition(), "attachment")
        self.assertTrue(one.is_attachment())
        self.assertEqual(one.get_filename(), "Une pièce jointe.txt")
        self.assertEqual(two.get_filename(), "été.txt")
        self.assertTrue(two.is_inline())
        self.assertEqual(three.get_filename(), "été.pdf")

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

    def test_no_headers_after_blank_line_or_bom(self):
        for start in (b"\n", b"\r\n", b"\xef\xbb\xbf"):
            with self.subTest(start=start):
                message = parse(start + b"Subject: x\n\ntext")
                self.assertIsNone(message.subject)
                self.assertIn("Subject: x", message.text)

    def test_mbox_from_line(self):
        message = parse(b"From me@example.com Tue May  6 07:08:09 2031\nSubject: x\n\ntext")
        self.assertEqual(message.subject, "x")
        self.assertEqual(message.text, "text")

    def test_stdlib_api(self):
        message = parse(SAMPLE_MIME)
        self.assertEqual(message.get_body(["plain"]).get_content(), message.text)
        self.assertEqual(list(message.iter_attachments()), [])
        self.assertEqual(len(list(message.iter_parts())), 2)
        self.assertEqual(message["SUBJECT"], message["subject"])
        self.assertEqual(message.as_bytes(), SAMPLE_MIME)
        self.assertEqual(bytes(message), SAMPLE_MIME)
        self.assertEqual(message.as_string(), SAMPLE_MIME.decode("ascii"))
        self.assertEqual(parse(message.as_bytes(policy=email.policy.SMTP)).text, message.text)


class LimitTests(SimpleTestCase):
    """Messages that are made to keep a server busy are refused."""

    def parse(self, data: bytes) -> AnymailInboundMessage:
        return AnymailInboundMessage.parse_raw_mime_bytes(data)

    @contextmanager
    def refused(self, text: str) -> Iterator[None]:
        with self.assertRaises(AnymailInboundLimitExceeded) as caught:
            yield
        self.assertIn(text, str(caught.exception))

    @staticmethod
    def nested(levels: int) -> bytes:
        """Return a message with parts nested that deeply, of both kinds that can be."""
        lines = []
        for level in range(levels):
            if level % 2:
                lines += ["Content-Type: message/rfc822", ""]
            else:
                lines += [f"Content-Type: multipart/mixed; boundary=b{level}.", "", f"--b{level}."]
        lines += ["Content-Type: text/plain", "", "innermost", ""]
        return "\n".join(lines).encode()

    def test_nesting(self):
        message = self.parse(self.nested(MAX_NESTING))
        depth, part = 0, message
        while part.is_multipart():
            depth, part = depth + 1, part.get_payload(0)
        self.assertEqual(depth, MAX_NESTING)
        self.assertEqual(part.get_content_text(), "innermost")
        self.assertEqual(self.parse(message.as_bytes()).as_bytes(), message.as_bytes())
        self.assertEqual(len(list(message.walk())), MAX_NESTING + 1)
        for levels in (MAX_NESTING + 1, 500, 100_000):
            with self.subTest(levels), self.refused(f"{MAX_NESTING} levels"):
                self.parse(self.nested(levels))

    def test_nesting_is_refused_at_once(self):
        """Not after all of it was parsed, or even received."""

        def chunks() -> Iterator[bytes]:
            yield self.nested(MAX_NESTING + 1)
            self.fail("It was read on")

        with self.refused("levels"):
            AnymailInboundMessage.parse_raw_mime_chunks(chunks())

    def test_nesting_of_attached_messages(self):
        with self.refused("levels"):
            AnymailInboundMessage.construct_attachment("message/rfc822", self.nested(1000))

    def test_parts(self):
        start = b"Content-Type: multipart/mixed; boundary=b\n\n"
        for count in (MAX_PARTS - 1, MAX_PARTS):  # The message itself is one.
            with (
                self.subTest(count),
                self.refused(f"{MAX_PARTS} MIME parts") if count == MAX_PARTS else nullcontext(),
            ):
                message = self.parse(start + b"--b\n\nx\n" * count + b"--b--\n")
                self.assertEqual(len(message.get_payload()), count)

    def test_blocks_of_delivery_reports(self):
        report = b"Content-Type: message/delivery-status\n\n" + b"Final-Recipient: x\n\n" * 20_000
        with self.refused("MIME parts"):
            self.parse(report)

    def test_headers(self):
        message = self.parse(b"X-A: b\n" * MAX_HEADERS + b"\ntext")
        self.assertEqual(len(message.keys()), MAX_HEADERS)
        with self.refused(f"{MAX_HEADERS} headers"):
            self.parse(b"X-A: b\n" * (MAX_HEADERS + 1) + b"\ntext")
        part = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
        with self.refused(f"{MAX_HEADERS} headers"):
            self.parse(part + b"X-A: b\n" * 100_000 + b"\ntext\n--b--\n")

    def test_constructed_headers(self):
        for count in (MAX_HEADERS - 2, MAX_HEADERS - 1):  # Two more describe the format.
            headers = [("X-A", "b")] * (count - 1)
            with self.subTest(count):
                message = AnymailInboundMessage.construct(subject="x", headers=headers)
                self.assertEqual(len(message.keys()), count + 2)
        for arguments in (
            {"headers": [("X-A", "b")] * (MAX_HEADERS + 1)},
            {"headers": [*[("X-A", "b")] * 100_000, *[("Subject", "b")] * 100_000]},
            {"raw_headers": "X-A: b\n" * (MAX_HEADERS + 1)},
            {"headers": {"X-A": "b" * (MAX_HEADER_LENGTH + 1)}},
            {"subject": "b" * (MAX_HEADER_LENGTH + 1)},
        ):
            with self.subTest(str(arguments)[:30]), self.refused("header"):
                AnymailInboundMessage.construct(**arguments)

    def test_header_length(self):
        message = self.parse(b"X-A: " + b"b" * MAX_HEADER_LENGTH + b"\n\ntext")
        self.assertEqual(len(message["X-A"]), MAX_HEADER_LENGTH)
        for header in (
            b"X-A: " + b"b" * (MAX_HEADER_LENGTH + 1),
            b"X-A: b" + b"\n b" * MAX_HEADER_LENGTH,
            b"X" * (MAX_HEADER_LENGTH + 1) + b": b",
        ):
            with self.subTest(header=header[:10]), self.refused(f"{MAX_HEADER_LENGTH} characters"):
                self.parse(header + b"\n\ntext")

    def test_webhook_answers_400(self):
        for raw in (self.nested(100_000), b"X-A: b\n" * 100_000 + b"\n"):
            content = {"email_rfc822": raw.decode(), "email_rfc822_is_base64": False}
            event = {"msys": {"relay_message": {"content": content}}}
            request = RequestFactory().post("/", [event], content_type="application/json")
            with (
                override_settings(
                    ANYMAIL={"WEBHOOK_SECRET": "user:password"},
                    DATA_UPLOAD_MAX_MEMORY_SIZE=len(raw) * 2,
                ),
                self.refused("Received message with"),
            ):
                request.META["HTTP_AUTHORIZATION"] = basic_auth_header("user:password")
                SparkPostInboundWebhookView.as_view()(request)
            # ... which is how Django answers that.
            self.assertTrue(issubclass(AnymailInboundLimitExceeded, SuspiciousOperation))


class RobustnessTests(SimpleTestCase):
    """What the stdlib's parsers and generators can't take."""

    def test_header_that_stdlib_fails_to_parse(self):
        message = with_header("From", "=?utf-8?q?a=0D=0Ab?= <x@example.com>")
        with self.assertRaises(ValueError):
            email.policy.default.header_fetch_parse("From", "=?utf-8?q?a=0D=0Ab?= <x@example.com>")
        self.assertIsInstance(message["From"], str)
        self.assertEqual(message.from_email, EmailAddress("a b", "x@example.com"))

    def test_malformed_content_type(self):
        for value in (
            "text/plain; " + "(" * 2000,
            "text/plain; charset*=idna'en'%FF",
            "text/plain; name*=undefined'en'%FF",
            "text/plain; name*=a\0b'en'%FF",
            "text/plain" + ";" * 100_000,
            "text/plain; " + "a*0=b;" * 10_000,
            "text/plain; " + '"' * 100_001,
            f"text/plain; name*{'9' * 5000}*=x",
        ):
            with self.subTest(value[:40]):
                message = with_header("Content-Type", value)
                self.assertEqual(message.get_content_type(), "text/plain")
                self.assertIsInstance(message["Content-Type"], str)
                self.assertIsInstance(message.get_filename(""), str)
                self.assertEqual(message.text, "")

    def test_excessive_headers(self):
        """The stdlib, which takes quadratic time for some of them, does not get to see these."""
        for name, value in (
            ("Content-Type", "text/plain; x=" + "y" * 3000),
            ("Content-Type", "text/plain" + ";" * 300),
            ("Content-Type", "text/plain; " + "(" * 300),
            ("Content-Disposition", "attachment; " + '"' * 301),
            ("Subject", "x" * 20_000),
            ("To", '"' * 20_001),
        ):
            with self.subTest(name=name, value=value[:40]):
                message = with_header(name, value)
                self.assertIs(type(message[name]), str)
                self.assertTrue(value.startswith(message[name]))
                if name.startswith("Content"):
                    self.assertLess(len(message[name]), 2100)
                self.assertIn(value.encode(), message.as_bytes())

    def test_malformed_content_disposition(self):
        for value in (
            "attachment; " + "(" * 2000,
            "ATTACHMENT ; filename*=idna'en'%FF",
            "attachment" + ";" * 100_000,
        ):
            with self.subTest(value[:40]):
                message = with_header("Content-Disposition", value)
                self.assertTrue(message.is_attachment())
                self.assertEqual(message.get_content_disposition(), "attachment")
                self.assertEqual(message.as_uploaded_file().name, "attachment")
        message = with_header("Content-Disposition", "")
        self.assertEqual(message.get_content_disposition(), "")
        self.assertFalse(message.is_attachment())

    def test_boundary_that_is_not_ascii(self):
        message = parse("Content-Type: multipart/mixed; boundary=é\n\n--é\n\ntext\n--é--\n")
        self.assertIn(b"text", message.as_bytes())
        self.assertIn("text", message.as_string())

    def test_serializing_headers_that_stdlib_fails_to_fold(self):
        message = AnymailInboundMessage.construct(
            to="=?utf-8?q?a=0D=0Ab?= é <x@example.com>",
            subject="é\ud83d",
            headers=[("X", "é =?a\0b?q?x?="), ("Y", "=?utf-8?q?=0AZ:_z?= é")],
            text="text",
        )
        generated = StringIO()
        Generator(generated).flatten(message)
        for serialized in (
            message.as_bytes(),
            message.as_string().encode(),
            generated.getvalue().encode(),
        ):
            parsed = parse(serialized)
            self.assertEqual(parsed.text, "text")
            self.assertIn("é", parsed.subject)
            self.assertNotIn("Z", parsed)
            self.assertEqual(set(parsed.keys()), set(message.keys()))

    def test_serializing_8bit_text_in_unknown_charset(self):
        source = b"Content-Type: text/plain; charset=bogus\n\ncaf\xc3\xa9\n"
        message = parse(source)
        self.assertEqual(message.as_bytes(), source)
        self.assertEqual(message.as_string(), source.decode())
        self.assertEqual(str(message), source.decode())

    def test_setting_header_objects(self):
        source = with_header("Subject", "=?utf-8?q?=C3=A9?=")
        message = AnymailInboundMessage()
        message["Subject"] = source["Subject"]
        message["X-Original-Subject"] = source["Subject"]
        for result in (message, parse(message.as_bytes())):
            self.assertEqual(result.subject, "é")
            self.assertEqual(result["X-Original-Subject"], "é")
            self.assertEqual(result.keys(), ["Subject", "X-Original-Subject"])

    def test_serializing_invalid_header_names(self):
        message = AnymailInboundMessage.construct(
            headers=[("Xé", "1"), ("X: y", "2"), ("X\0", "3"), ("", "4")], text="text"
        )
        for serialized in (message.as_bytes(), message.as_string().encode("ascii")):
            parsed = parse(serialized)
            for name, value in (("X?", "1"), ("X??y", "2"), ("?", "4")):
                self.assertEqual(parsed[name], value)
            self.assertEqual(parsed.get_all("X?"), ["1", "3"])
            self.assertEqual(parsed.text, "text")

    def test_setting_headers_with_newlines(self):
        message = AnymailInboundMessage()
        for name, value in (("Subject", "a\nb"), ("X-Any", "a\rb"), ("X\nY", "a")):
            with self.subTest(name=name), self.assertRaises(ValueError):
                message[name] = value
        self.assertEqual(message.keys(), [])


HEADER_NAMES = st.sampled_from(
    [b"From", b"To", b"Cc", b"Bcc", b"Subject", b"Date", b"Content-Type", b"Content-Disposition",
     b"Content-Transfer-Encoding", b"Content-ID", b"MIME-Version", b"X-Any"]
)  # fmt: skip
FRAGMENTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\r\n ", b"\n\n", b"\0", b"\xc3\xa9", b"\xff", b"\xe2\x80\xa8",
         b'"', b"'", b"*", b";", b"=", b"=?", b"?=", b"?q?", b"?b?", b"<", b">", b"(", b")", b"[",
         b"]", b"@", b",", b":", b"\\", b"..", b"--B", b"--B--", b"multipart/mixed; boundary=B",
         b"multipart/digest", b"message/rfc822", b"message/delivery-status", b"text/plain",
         b"text/html", b"; charset=bogus", b"; charset=idna", b"; charset=utf-16",
         b"; charset*=a'b'%FF", b"filename*0*=utf-8''%FF", b"; name=", b"attachment", b"inline",
         b"base64", b"x-uuencode", b"quoted-printable", b"begin 644 x\n", b"=?utf-8?q?=0D=0A?=",
         b"=?utf-7?q?+2AA-?=", b"=?undefined?q?x?=", b"=?unicode_escape?q?=5Cq?=",
         b"=?utf-8?b?x?=", b"a@example.com", b"Tue, 06 May 2031", b" -0000", b"9999999999"]
    ),
)  # fmt: skip
HEADERS = st.tuples(HEADER_NAMES, st.lists(FRAGMENTS, max_size=8).map(b"".join)).map(
    lambda header: b"%s: %s\n" % header
)
ENTITIES = st.tuples(
    st.lists(HEADERS, max_size=6).map(b"".join), st.lists(FRAGMENTS, max_size=12).map(b"".join)
).map(b"\n".join)
MULTIPARTS = st.lists(ENTITIES, max_size=3).map(
    lambda entities: (
        b"Content-Type: multipart/mixed; boundary=B\n\n"
        + b"".join(b"--B\n%s\n" % entity for entity in entities)
        + b"--B--\n"
    )
)
MESSAGES = st.one_of(st.binary(max_size=200), ENTITIES, MULTIPARTS)


def describe(message):
    """Return the structure and content of a message in a form that can be compared."""
    payload = message._payload
    return (
        list(message.raw_items()),
        message.get_unixfrom(),
        message.preamble,
        message.epilogue,
        list(map(repr, message.defects)),
        list(map(describe, payload)) if isinstance(payload, list) else payload,
    )


class PropertyTests(SimpleTestCase):
    @examples(300)
    @given(source=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=8))
    @example(source=b"Subject: a\r\n b\r\n\r\nx\r\n", cuts=[11, 17, 19, 20, 23])
    @example(source=b"Subject: \xc3\xa9\n\n\xc3\xa9", cuts=[10, 14])
    def test_result_is_independent_of_chunks(self, source, cuts):
        bounds = [0, *sorted(min(cut, len(source)) for cut in cuts), len(source)]
        chunks = [source[start:end] for start, end in pairwise(bounds)]
        self.assertEqual(b"".join(chunks), source)
        expected = describe(AnymailInboundMessage.parse_raw_mime_bytes(source))
        for variant in (chunks, [bytes([byte]) for byte in source], [source]):
            self.assertEqual(
                describe(AnymailInboundMessage.parse_raw_mime_chunks(variant)), expected
            )
        self.assertEqual(
            describe(AnymailInboundMessage.parse_raw_mime_file(BytesIO(source))), expected
        )

    @examples(100)
    @given(
        start=st.integers(0, 5),
        text=st.text(st.sampled_from("a\n\u00e9\U0001f600\udcc3\udca9\ud83d"), min_size=1),
    )
    @example(start=0, text="\udcc3\udca9\ud83d")
    def test_str_that_is_longer_than_a_chunk(self, start, text):
        body = "a" * start + text * (200_000 // len(text))
        # Bytes that were decoded as surrogates, and halves of surrogate pairs, which can't be
        expected = body.replace("\ud83d", "\ufffd").encode("utf-8", "surrogateescape")
        message = AnymailInboundMessage.parse_raw_mime(f"X: y\n\n{body}")
        self.assertEqual(message.get_content_bytes(), expected)

    def read_everything(self, message):
        """Return all text that can be got from a message. Nothing in here must raise."""
        found = [message.subject, message.text, message.html, *message.content_id_map]
        addresses = [*message.to, *message.cc, *message.bcc]
        from_email = message.from_email
        if from_email:
            addresses += from_email if isinstance(from_email, list) else [from_email]
        for address in addresses:
            self.assertNotRegex(str(address) + address.username + address.domain, r"[\r\n\0]")
            found.append(str(address))
        self.assertIsInstance(message.date, (datetime, type(None)))
        self.assertLessEqual(
            set(map(id, message.attachments + message.inlines)), set(map(id, message.walk()))
        )
        for part in message.walk():
            if part.get_content_maintype() != "multipart":
                self.assertIsInstance(part.get_content_bytes(), bytes)
                found.append(part.get_content_text())
            found += [part.get_filename(), part.get_content_charset(), *part.values()]
            file = part.as_uploaded_file()
            if file is not None:
                self.assertNotIn(file.name, {"", ".", ".."})
                self.assertNotRegex(file.name, r"[/\\\x00-\x1f]")
                found.append(file.name)
        return [text for text in found if text is not None]

    @examples(600)
    @given(source=MESSAGES)
    def test_nothing_raises_on_arbitrary_bytes(self, source):
        message = AnymailInboundMessage.parse_raw_mime_bytes(source)
        for text in self.read_everything(message):
            text.encode()  # no surrogates
        copy.deepcopy(message).as_bytes()
        copy.deepcopy(message).as_string().encode()
        duplicate = pickle.loads(pickle.dumps(message))
        self.assertEqual(describe(duplicate), describe(message))

    @examples(300)
    @given(
        value=st.one_of(
            st.text(),
            st.lists(FRAGMENTS, max_size=8).map(
                lambda fragments: b"".join(fragments).decode("utf-8", "surrogateescape")
            ),
        ).map(lambda text: text.replace("\r", "").replace("\n", "")),
        data=st.binary(max_size=50),
    )
    @example(value="(message/rfc822\udc80", data=b"")
    @example(value="message/rfc822é", data=b"x")
    def test_nothing_raises_on_arbitrary_fields(self, value, data):
        attachments = [
            AnymailInboundMessage.construct_attachment(
                value, data, charset=value, filename=value, content_id=value
            ),
            AnymailInboundMessage.construct_attachment(f"text/plain; {value}", data),
            AnymailInboundMessage.construct_attachment("message/rfc822", data, filename=value),
            AnymailInboundMessage.construct_attachment("text/plain", value),
        ]
        message = AnymailInboundMessage.construct(
            raw_headers=value,
            from_email=value,
            to=value,
            subject=value,
            headers={"X-Any": value, "Date": value, "Content-Type": value},
            text=value,
            html=value,
            attachments=attachments,
        )
        for text in self.read_everything(message):
            text.encode()
        self.assertEqual(message.inlines, attachments[:1])
        self.assertTrue(set(map(id, attachments[1:])) <= set(map(id, message.attachments)))
        self.assertEqual(message["Content-Type"], "multipart/mixed")
        parsed = parse(message.as_bytes())
        self.assertEqual(len(list(parsed.walk())), len(list(message.walk())))

    @examples(300)
    @given(
        filename=st.text(
            st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1
        ).filter(lambda name: "=?" not in name),
        content=st.binary(),
    )
    def test_attachments_survive(self, filename, content):
        part = AnymailInboundMessage.construct_attachment(
            "application/pdf", content, filename=filename
        )
        self.assertEqual(part.get_filename(), filename)
        self.assertEqual(part.get_content_bytes(), content)
        [parsed] = parse(AnymailInboundMessage.construct(attachments=[part]).as_bytes()).attachments
        self.assertEqual(parsed.get_filename(), filename)
        self.assertEqual(parsed.get_content_bytes(), content)


NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\n", b"\r\n", b"\r", b" \n"])
LINES = st.sampled_from(
    [b"", b"--B", b"--B--", b"--B ", b"--BA", b"--C", b"--C--", b"--", b"From x", b" AAAA", b"X: y",
     b"AAAA", b"AAA=", b"=", b"AA-A", b"AA:A", b"\xc3\xa9", b"\0", b"\xee\x80\x800",
     b"Content-Type: multipart/mixed; boundary=B", b"Content-Type: multipart/digest; boundary=C",
     b"Content-Type: multipart/mixed", b"Content-Type: message/rfc822",
     b"Content-Type: message/delivery-status", b"Content-Transfer-Encoding: base64",
     b"Content-Transfer-Encoding: 8bit"]
)  # fmt: skip
PART_STARTS = st.sampled_from(
    [[b"Content-Type: multipart/mixed; boundary=B", b"", b"--B"],
     [b"Content-Type: multipart/mixed; boundary=C", b"", b"--C"],
     [b"", b"--B", b"Content-Type: message/rfc822", b""],
     [b"--B", b"Content-Type: message/delivery-status", b""],
     [b"--B", b"Content-Type: image/png", b"Content-Transfer-Encoding: base64", b""],
     [b"--C", b"Content-Type: image/png", b"Content-Transfer-Encoding: BASE64", b""],
     [b"Content-Transfer-Encoding: base64", b""]]
)  # fmt: skip
BASE64_LINES = st.builds(
    lambda seed, length, width: [
        encoded[start : start + width]
        for encoded in [base64.b64encode(random.Random(seed).randbytes(length))]
        for start in range(0, len(encoded), width)
    ],
    seed=st.integers(0, 1000),
    length=st.integers(0, 1200),
    width=st.sampled_from([76, 76, 72, 4, 3, 1]),
)
BASE64_MESSAGES = st.lists(
    st.tuples(
        LINES.map(lambda line: [line])
        | LINES.map(lambda line: [line] * 9)
        | PART_STARTS
        | BASE64_LINES
        | BASE64_LINES,
        NEWLINES,
    ),
    max_size=10,
).map(lambda runs: b"".join(line + newline for lines, newline in runs for line in lines))


def parse_plainly(source):
    """Parse with what the stdlib has, and nothing else that AnymailInboundMessage does."""
    policy = AnymailInboundMessage().policy
    return BytesParser(AnymailInboundMessage, policy=policy).parsebytes(source)


class Base64Tests(SimpleTestCase):
    """Base64 does not go through the stdlib's parser. It makes no difference but the time."""

    def assert_same_as_plain(self, source, *messages):
        plain = parse_plainly(source)
        expected = describe(plain)
        contents = [
            EmailMessage.get_payload(part, decode=True)
            for part in plain.walk()
            if not part.is_multipart()
        ]
        for message in messages:
            self.assertEqual(describe(message), expected)
            self.assertEqual(
                [
                    part.get_payload(decode=True)
                    for part in message.walk()
                    if not part.is_multipart()
                ],
                contents,
            )
            # Those that decoding finds
            self.assertEqual(describe(message), describe(plain))
            self.assertEqual(message.as_bytes(), plain.as_bytes())

    @examples(600)
    @given(
        source=BASE64_MESSAGES,
        changes=st.lists(
            st.tuples(
                st.floats(0, 1),
                st.sampled_from([0, 0, 1, 2, 80]),
                st.sampled_from(
                    [b"", b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"=", b"-", b"\xff", b"A"]
                ),
            ),
            max_size=3,
        ),
        cuts=st.lists(st.floats(0, 1), max_size=4),
    )
    def test_same_as_plain_parser(self, source, changes, cuts):
        for where, removed, added in changes:
            start = round(where * len(source))
            source = source[:start] + added + source[start + removed :]
        bounds = [0, *sorted(round(cut * len(source)) for cut in cuts), len(source)]
        chunks = [source[start:end] for start, end in pairwise(bounds)]
        self.assert_same_as_plain(
            source,
            AnymailInboundMessage.parse_raw_mime_bytes(source),
            AnymailInboundMessage.parse_raw_mime_chunks(chunks),
            AnymailInboundMessage.parse_raw_mime(source.decode("utf-8", "surrogateescape")),
        )

    def test_wherever_it_is(self):
        lines = base64.encodebytes(random.Random(1).randbytes(1000))
        multipart = b"Content-Type: multipart/mixed; boundary=B\n\n"
        for name, source in {
            "body": b"X: y\n\n%s",
            "after a header": b"X: y\n%s",
            "part": multipart + b"--B\nContent-Transfer-Encoding: base64\n\n%s--B--\n",
            "several times in parts": (
                multipart + b"--B\n\n%s\n%s--B\nX: y\n\n%s%s\n" * 12 + b"--B--\n"
            ),
            "headers of a part": multipart + b"--B\n%s--B--\n",
            "preamble": multipart + b"a\n%s--B\n\nb\n--B--\n",
            "epilogue": multipart + b"--B\n\na\n--B--\n%s",
            "after a blank line in the epilogue": multipart + b"--B\n\na\n--B--\n\n%s",
            "multipart without boundary": b"Content-Type: multipart/mixed\n\n%s",
            "multipart without parts": multipart + b"%s",
            "attached message": b"Content-Type: message/rfc822\n\nX: y\n\n%s",
            "headers of attached message": b"Content-Type: message/rfc822\n\n%s",
            "delivery report": b"Content-Type: message/delivery-status\n\nX: y\n\n%s\nX: y\n",
        }.items():
            for newline in (b"\n", b"\r\n"):
                with self.subTest(name, newline=newline):
                    message = source.replace(b"%s", lines).replace(b"\n", newline)
                    for raw in (message, message[:-1], message[:-2]):
                        self.assert_same_as_plain(
                            raw, AnymailInboundMessage.parse_raw_mime_bytes(raw)
                        )

    def test_decoding_what_is_well_formed(self):
        """It is done without the stdlib's copies."""
        for length in (0, 1, 2, 3, 1000):
            content = bytes(length)
            lines = base64.encodebytes(content)
            for encoded in (lines, lines.replace(b"\n", b"\r\n"), lines + b"\n\n", lines.strip()):
                with self.subTest(encoded=encoded[-20:]):
                    part = parse(b"Content-Transfer-Encoding: base64\n\n" + encoded)
                    with patch.object(EmailMessage, "get_payload") as in_stdlib:
                        self.assertEqual(part.get_content_bytes(), content)
                    in_stdlib.assert_not_called()

    def test_decoding_what_is_not_well_formed(self):
        for encoded in (
            b"A", b"AA", b"AAA", b"AAAA=", b"AAAA==", b"AAAA====", b"AA=", b"AA===", b"AAA==",
            b"AAAA-===", b"AAAA-=\r\n==", b"AA=A", b"AA==AAAA", b"AA=\n=", b"=", b"====", b"A===",
            b"AA AA", b"AA\x0cAA", b" AAAA", b"AAAA ", b"AAA-AAA-", b"AAAA\xc3\xa9",
        ):  # fmt: skip
            with self.subTest(encoded):
                source = b"Content-Transfer-Encoding: base64\n\n" + encoded
                self.assert_same_as_plain(source, parse(source))
