"""Addresses in headers."""

from __future__ import annotations

import copy
import pickle

from django.test import SimpleTestCase, tag

from anymail.addresses import EmailAddress
from anymail.exceptions import AnymailInvalidAddress
from anymail.inbound import MAX_ADDRESSES, AnymailInboundMessage

from .harness import parse, with_header


class AddressTests(SimpleTestCase):
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

    def test_addresses_that_exist_anyway(self):
        """They are given as a mail program would show them."""
        for header, *expected in (
            ("a..b@docomo.ne.jp", ("", "a..b@docomo.ne.jp", "a..b")),
            ("Sato <a.@docomo.ne.jp>", ("Sato", "a.@docomo.ne.jp", "a.")),
            (".a.b@example.com", ("", ".a.b@example.com", ".a.b")),
            ('"a..b"@docomo.ne.jp', ("", '"a..b"@docomo.ne.jp', "a..b")),
            ('Two <"a b".c."d"@example.com>', ("Two", '"a b".c."d"@example.com', "a b.c.d")),
            ("x@example.com.", ("", "x@example.com.", "x")),
            ("jdoe@test   . example", ("", "jdoe@test.example", "jdoe")),
            ("J <jdoe @ test.example>", ("J", "jdoe@test.example", "jdoe")),
            ("a@b(comment).com", ("", "a@b.com", "a")),
            (r"Pete(A nice \) chap) <pete(his account)@silly.test(his host)>",
             ("Pete", "pete@silly.test", "pete")),
            ("<@one.example(a),@two.example:a@b.com>", ("", "a@b.com", "a")),
            ("Bob <a@b.com", ("Bob", "a@b.com", "a")),
            ('"Bob" <a@b.com, c@d.com', ("Bob", "a@b.com", "a"), ("", "c@d.com", "c")),
            ("mailto:a@b.com", ("", "a@b.com", "a")),
            ("Bob <MAILTO:a@b.com>, c@d.com", ("Bob", "a@b.com", "a"), ("", "c@d.com", "c")),
            ("mailto:a@b.com; mailto:c@d.com", ("", "a@b.com", "a"), ("", "c@d.com", "c")),
            ("mailto:é..x@bücher.example", ("", "é..x@bücher.example", "é..x")),
            ("Bob <a@b.com>>, <<c@d.com>>", ("Bob", "a@b.com", "a"), ("", "c@d.com", "c")),
            ("<a@b.com> Bob, Eve <c@d.com> x", ("", "a@b.com", "a"), ("Eve", "c@d.com", "c")),
            ("a@b.com>, Eve <<c@d.com>", ("", "a@b.com", "a"), ("Eve", "c@d.com", "c")),
        ):  # fmt: skip
            with self.subTest(header):
                addresses = with_header("To", header).to
                self.assertEqual(
                    [(a.display_name, a.addr_spec, a.username) for a in addresses], expected
                )
                for address in addresses:
                    self.assertIn(address.addr_spec, str(address))
                    for duplicate in (copy.copy(address), pickle.loads(pickle.dumps(address))):
                        self.assertEqual(duplicate.addr_spec, address.addr_spec)
                        self.assertEqual(duplicate, address)
        # To send to them is another matter.
        for addr_spec in ("a..b@docomo.ne.jp", "a.@docomo.ne.jp", "x@example.com."):
            with self.assertRaises(AnymailInvalidAddress):
                EmailAddress("", addr_spec)

    def test_encoded_display_names(self):
        for header, name in (
            (b"=?iso-8859-1?Q?M\xfcller?= <a@b.com>", "Müller"),
            ("=?utf-8?Q?Zażółć?= <a@b.com>".encode(), "Zażółć"),
            (b"=?utf-8?Q?Kvie=C4?= =?utf-8?Q?=8Diame?= <a@b.com>", "Kviečiame"),
            (b'"=?utf-8?Q?Kvie=C4?= =?utf-8?Q?=8Diame?=" <a@b.com>', "Kviečiame"),
            (b"=?gb2312?B?6UY=?= (x) M\xfcller <a@b.com>", "镕 Müller"),
        ):
            with self.subTest(header):
                message = with_header("From", header)
                self.assertEqual(message.from_email.display_name, name)
                self.assertEqual([a.display_name for a in message["From"].addresses], [name])
                self.assertIn(name, message["From"])
                self.assertEqual(
                    with_header("Subject", header).subject.partition(" <")[0].strip('"'),
                    name.replace("镕 ", "镕 (x) "),
                )

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
            ("a@example.com <",),
            ("a b@example.com",),
            ("Doe, Jane <jane@example.com>", ("Jane", "jane@example.com")),
            ("a@example.com,, ,b@example.com,", ("", "a@example.com"), ("", "b@example.com")),
            ("a@example.com; b@example.com", ("", "a@example.com"), ("", "b@example.com")),
            ('Good <g@example.com>, "bad <bad@, ok@example.com',
             ("Good", "g@example.com"), ("", "ok@example.com")),
            ("(unclosed a@example.com, b@example.com", ("", "b@example.com")),
            ("(un(closed <a@example.com, (comment) b@example.com",
             ("(un(closed", "a@example.com"), ("", "b@example.com")),
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
             ("\\q", "a@example.com")),
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
        self.assertEqual(message.from_email, EmailAddress("Zoë", "z@example.com"))

    def test_many_addresses(self):
        addresses = [f"User {number} <{number}@example.com>" for number in range(2000)]
        message = AnymailInboundMessage.construct(to=", ".join(addresses))
        self.assertEqual(list(map(str, message.to)), addresses)
        self.assertIn("User 1999", message["To"])

    @tag("exhaustive")
    def test_addresses_after_a_great_many(self):
        pairs = "a@b.com, ," * (MAX_ADDRESSES - 1)
        message = parse("To: x@y.com, junk\n" + "To: " + pairs + "\nTo: z@z.com\n\n")
        self.assertEqual(len(message.to), MAX_ADDRESSES - 1)
        self.assertEqual(message.to[-1].domain, "b.com")

    @tag("exhaustive")
    def test_malicious_address_headers_take_linear_time(self):
        """Each of these would take from a minute to hours, if time were quadratic."""
        for text in (
            "a@b.c," * 40_000, "," * 250_000, "a:" * 100_000 + ";", "<a@b.c" * 40_000,
            "a" + " ." * 100_000 + "@b.c", "(" + ") " * 100_000,
            '"' * 200_001, "(" * 200_000, "<" * 200_000, "[" * 200_000, "\\" * 200_000,
            "=?" * 100_000, "=?a?q?" * 30_000, '\\"' * 100_001, '<\\"' * 60_001, '<"' * 100_001,
            "(\\" * 100_001, "()" * 100_000, "((" + ")(" * 100_000, ":" * 200_000,
            '"' + "a " * 100_000,
        ):  # fmt: skip
            with self.subTest(text[:9]):
                self.assertIsInstance(with_header("To", text).to, list)
