"""Content-Type and Content-Disposition, with names of files above all."""

from __future__ import annotations

import time

from django.test import SimpleTestCase

from anymail.inbound import AnymailInboundMessage

from .harness import with_header


class ValueTests(SimpleTestCase):
    def test_content_types(self):
        for header, content_type, charset in (
            ("text/html; charset=utf-8", "text/html", "utf-8"),
            ('TEXT/HTML ; Charset="UTF-8"', "text/html", "utf-8"),
            ("text/html charset=utf-8", "text/html", "utf-8"),
            ('"text/html"; charset=utf-8', "text/html", "utf-8"),
            ("text / html;; charset = utf-8 ;", "text/html", "utf-8"),
            ("text/html (page); charset=utf-8", "text/html", "utf-8"),
            ("text/html; charset=us-ascii (Plain text)", "text/html", "us-ascii (plain text)"),
            ("text/html; charset*=us-ascii'en'utf-8", "text/html", "utf-8"),
            ('text/html; charset="utf-8"; charset=latin-1', "text/html", "utf-8"),
            ("text", "text/plain", None),
            ("a/b/c", "text/plain", None),
            ("; charset=utf-8", "text/plain", "utf-8"),
            ("charset=utf-8", "text/plain", "utf-8"),
            ("", "text/plain", None),
        ):
            with self.subTest(header):
                message = with_header("Content-Type", header)
                self.assertEqual(message.get_content_type(), content_type)
                self.assertEqual(message.get_content_charset(), charset)

    def test_dispositions(self):
        for header, disposition in (
            ("ATTACHMENT", "attachment"),
            ('"attachment"; filename=a.pdf', "attachment"),
            ("attachment filename=a.pdf", "attachment"),
            ("inline;filename=a.pdf", "inline"),
            ("*; filename=a.pdf", "*"),
            ("filename=a.pdf", ""),
            ("; filename=a.pdf", ""),
        ):
            with self.subTest(header):
                message = with_header("Content-Disposition", header)
                self.assertEqual(message.get_content_disposition(), disposition)
                if "filename" in header:
                    self.assertEqual(message.get_filename(), "a.pdf")

    def test_header_objects(self):
        """They are those of the email package, whatever the header was."""
        part = with_header(
            "Content-Type", 'text/html charset=utf-8; name="=?utf-8?q?=C3=A9?="; a=b'
        )
        header = part["Content-Type"]
        self.assertEqual(header, 'text/html; charset="utf-8"; name="é"; a="b"')
        self.assertEqual(header.content_type, "text/html")
        self.assertEqual(dict(header.params), {"charset": "utf-8", "name": "é", "a": "b"})
        self.assertEqual(part.get_params()[0], ("text/html", ""))
        self.assertEqual(part.get_param("NAME"), "é")
        part.set_param("charset", "latin-1")
        part.del_param("a")
        self.assertEqual(part["Content-Type"], 'text/html; charset="latin-1"; name="é"')


class FileNameTests(SimpleTestCase):
    def assertFileName(self, parameters: str | bytes, expected: str) -> None:
        if isinstance(parameters, str):
            parameters = parameters.encode()
        for name, header in (
            ("Content-Disposition", b"attachment; filename"),
            ("Content-Type", b"application/pdf; name"),
        ):
            source = header + parameters.replace(b"; *", b"; " + header.split()[-1] + b"*")
            for value in (source, source + b"; size=5"):
                part = with_header(name, value)
                self.assertEqual(part.get_filename(), expected, source)
                self.assertEqual(part[name].params.get("size"), "5" if value != source else None)
                # Whoever gets it again gets the same.
                again = AnymailInboundMessage.construct_attachment(
                    "application/pdf", b"", filename=part.get_filename()
                )
                self.assertEqual(again.get_filename(), expected)

    def test_plain(self):
        for parameters, expected in (
            ("=a.pdf", "a.pdf"),
            ('="a.pdf"', "a.pdf"),
            ("=My File(1).pdf", "My File(1).pdf"),
            ("=My, [File] <1>: a@b=c?.pdf ", "My, [File] <1>: a@b=c?.pdf"),
            ('="a; b.pdf"', "a; b.pdf"),
            (r'="a \"b\" \\ c.pdf"', r'a "b" \ c.pdf'),
            ('="a "b" c.pdf"', 'a "b" c.pdf'),
            (r'="C:\Users\me\a.pdf"', r"C:\Users\me\a.pdf"),
            ('="a.pdf" (comment)', "a.pdf"),
            ("='a.pdf'", "'a.pdf'"),
            ('="AC/DC.pdf"', "AC/DC.pdf"),
            ('="100%25.pdf"', "100%25.pdf"),
            ('="Zażółć.pdf"', "Zażółć.pdf"),
            ("=Zażółć.pdf", "Zażółć.pdf"),
            (b'="M\xfcller.pdf"', "Müller.pdf"),
        ):
            with self.subTest(parameters):
                self.assertFileName(parameters, expected)

    def test_encoded_words(self):
        for parameters, expected in (
            ('="=?utf-8?B?w6kucGRm?="', "é.pdf"),
            ("==?utf-8?B?w6kucGRm?=", "é.pdf"),
            ("==?utf-8?Q?a;_b.pdf?=", "a; b.pdf"),
            ("==?utf-8?Q?Kvie=C4?= =?utf-8?Q?=8Diame.pdf?=", "Kviečiame.pdf"),
            ('="=?utf-8?Q?Kvie=C4?=\r\n =?utf-8?Q?=8Diame.pdf?="', "Kviečiame.pdf"),
            (
                '="=?iso-8859-1?Q?M\udcfcller.pdf?="'.encode("utf-8", "surrogateescape"),
                "Müller.pdf",
            ),
            ('="=?utf-8?Q?Zażółć.pdf?="', "Zażółć.pdf"),
            ('="=?iso-2022-jp?B?GyRCRnxLXBsoQi5wZGY=?="', "日本.pdf"),
            ('="a =?utf-8?q?=0D=0Ab?="', "a  b"),
        ):
            with self.subTest(parameters):
                self.assertFileName(parameters, expected)

    def test_rfc_2231(self):
        for parameters, expected in (
            ("*=utf-8''%C3%A9.pdf", "é.pdf"),
            ("*=\"utf-8'en'%C3%A9.pdf\"", "é.pdf"),
            ("*=utf-8''My%20File (1).pdf", "My File (1).pdf"),
            ("*=iso-8859-1''%E9%80.pdf", "é€.pdf"),
            (b"*=iso-8859-1''M\xfcller.pdf", "Müller.pdf"),
            ("*=utf-8''Zażó%C5%82ć.pdf", "Zażółć.pdf"),
            ("*=''%C3%A9.pdf", "é.pdf"),
            ("*=%C3%A9.pdf", "é.pdf"),
            ("*=bogus''%C3%A9%E9.pdf", "éé.pdf"),
            ("*0=a; *1=b.pdf", "ab.pdf"),
            ("*1=b.pdf; *0=a", "ab.pdf"),
            ("*0*=utf-8''%C3; *1*=%A9; *2=\".pdf\"", "é.pdf"),
            ("*1*=%C3%A9; *2=.pdf", "é.pdf"),
            ('*0="=?utf-8?B?w6ku"; *1="cGRm?="', "é.pdf"),
            ("=ascii.pdf; *=utf-8''%C3%A9.pdf", "é.pdf"),
            ("*=utf-8''%C3%A9.pdf; filename=ascii.pdf; name=ascii.pdf", "é.pdf"),
            ("*=utf-8''a%0D%0Ab.pdf", "a b.pdf"),
        ):
            with self.subTest(parameters):
                self.assertFileName(parameters, expected)

    def test_long(self):
        for character in "aé漢😀":
            name = f"{character * 251}.pdf"
            percent = "".join(f"%{byte:02X}" for byte in name.encode())
            sections = [percent[start : start + 60] for start in range(0, len(percent), 60)]
            for parameters in (
                f'="{name}"',
                f"*=utf-8''{percent}",
                "*0*=utf-8''"
                + "; ".join(
                    f"*{number}*={section}" if number else section
                    for number, section in enumerate(sections)
                ),
            ):
                with self.subTest(parameters[:20]):
                    self.assertFileName(parameters, name)
            part = AnymailInboundMessage.construct_attachment("a/b", b"", filename=name)
            self.assertEqual(part.as_uploaded_file().name, name)

    def test_where_it_is(self):
        part = with_header("Content-Disposition", "attachment; filename=")
        self.assertIsNone(part.get_filename())
        part["Content-Type"] = 'application/pdf; name="a.pdf"'
        self.assertEqual(part.get_filename(), "a.pdf")
        self.assertIsNone(with_header("Content-Disposition", "attachment").get_filename())

    def test_junk_takes_linear_time(self):
        for junk in (
            'filename="' + '\\"' * 8000, "a" * 16_000, "a " * 8000, "a=" * 8000, "a=b;" * 4000,
            'a="b;' * 3000, 'a="b" ' * 3000, '"(' * 8000, "a*0=b;" * 3000, "=?a?q?" * 3000,
            "".join(f"a{n}*1*=%;" for n in range(1500)), ' "' * 8000,
        ):  # fmt: skip
            with self.subTest(junk[:10]):
                start = time.process_time()
                for number in range(10):  # none of which is cached
                    part = with_header("Content-Disposition", f"attachment; x{number}=y; {junk}")
                    self.assertIsInstance(part.get_filename(""), str)
                    self.assertIsInstance(part["Content-Disposition"], str)
                self.assertLess(time.process_time() - start, 0.5)
