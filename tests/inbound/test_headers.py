"""Headers other than addresses."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime, timedelta, timezone
from email.generator import Generator
from io import StringIO
from textwrap import dedent

from django.test import SimpleTestCase

from anymail.addresses import EmailAddress
from anymail.inbound import AnymailInboundMessage

from .harness import parse, with_header


class HeaderTests(SimpleTestCase):
    def test_subject(self):
        message = with_header("Subject", "=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?q?_=E9?=")
        self.assertEqual(message.subject, "Grüße é")
        self.assertEqual(message["Subject"].name, "Subject")  # one of the email package's objects
        self.assertEqual(with_header("Subject", "").subject, "")
        self.assertIsNone(AnymailInboundMessage().subject)

    def test_odd_subjects(self):
        for header, expected in (
            ("=?utf-8?q?=FF?=", "\ufffd"),
            ("=?bogus?q?x?=", "x"),
            ("=?idna?q?=FF?=", "ÿ"),
            ("=?a\0b?q?x?=", "x"),
            # A long one, and what the stdlib fails to parse: still decoded.
            ("a " * 10_000 + "=?utf-8?q?=C3=A9?=", "a " * 10_000 + "é"),
            ("=?utf-7?q?+2AA-?= =?utf-8?q?=C3=A9?=", "\ufffdé"),
            # What begins like an encoded-word hides the next one from the stdlib.
            ("=?utf-8?q?cut off =?utf-8?q?=C3=A9?=", "=?utf-8?q?cut off é"),
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
            ("Tue, 06 May 2031 07:08:09 -07:00",
             datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=-7)))),
            ("Tue, 06 May 2031 07:08:09 GMT+0200",
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
                if expected:
                    self.assertEqual(message["Date"].datetime, expected)
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
            ("Content-Type", f'text/plain; x="{"y" * 5000}"'),
            ("Content-Disposition", "attachment" + "".join(f'; x{n}="y"' for n in range(1000))),
            ("Subject", "x" * 20_000),
            ("To", '"' * 20_001),
        ):
            with self.subTest(name=name, value=value[:40]):
                message = with_header(name, value)
                self.assertIs(type(message[name]), str)
                self.assertTrue(value.startswith(message[name]))
                self.assertIn(value.encode(), message.as_bytes())

    def test_malformed_content_disposition(self):
        for value in (
            "attachment; " + "(" * 2000,
            "ATTACHMENT ; filename*=idna'en'%00",
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
