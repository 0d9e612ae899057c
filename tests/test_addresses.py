from __future__ import annotations

import copy
import itertools
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.headerregistry import Address
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase, tag
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st

from anymail import addresses
from anymail._idna import idna2008
from anymail.addresses import (
    EmailAddress,
    RecipientMap,
    ReportedAddresses,
    are_plain_addresses,
    parse_address_list,
    parse_single_address,
)
from anymail.exceptions import AnymailInvalidAddress

from .properties import examples

fuzz = examples(500)

# Made of what address parsers look at, so that more than junk comes out of it.
address_like = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "b.c", "é", "@", "<", ">", '"', ",", ";", ":", "(", ")", "[", "]", "\\", " "]
        ),
        st.sampled_from(["x.com", "a@x.com", "é@ö.example", "Jane <j@x.com>", "=?utf-8?q?a?="]),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)

# One of the plain forms, or nearly.
name_like = st.text(st.characters(exclude_categories=["C"]), max_size=8)
plain_like = st.tuples(
    st.sampled_from(["", "", "Jane ", "J. R. Doe ", '"Doe, Jane" ', "Zoë\u00a0Q ", "a  b "])
    | name_like.map("{} ".format)
    | name_like.map('"{}" '.format),
    st.sampled_from(["", "<"]),
    st.sampled_from(["a", "a.b", "zoë", "=?utf-8?q?a?=", ".a", "a b"]) | name_like,
    st.sampled_from(["@", "@", "@", "", "@@"]),
    st.sampled_from(["x.com", "x", "ö.example", "[1.2.3.4]", "x.", "=?a?q?b?="]) | name_like,
    st.sampled_from(["", ">", " >", ">,", "\n"]),
).map("".join)


class InvalidAddressTestCase(SimpleTestCase):
    def invalid(self, function, *args, **kwargs) -> str:
        with self.assertRaises(AnymailInvalidAddress) as caught:
            function(*args, **kwargs)
        self.error = caught.exception
        return str(caught.exception)


class EmailAddressTests(InvalidAddressTestCase):
    def test_parts(self):
        address = EmailAddress("Doe, Jane", '"odd@name"@example.org')
        self.assertEqual(address.display_name, "Doe, Jane")
        self.assertEqual(address.username, "odd@name")
        self.assertEqual(address.domain, "example.org")
        self.assertEqual(address.addr_spec, '"odd@name"@example.org')
        self.assertEqual(address.address, '"Doe, Jane" <"odd@name"@example.org>')
        self.assertEqual(str(address), address.address)
        self.assertIs(address.address, address.address)  # cached

    def test_without_display_name(self):
        for address in [EmailAddress("", "a@example.com"), EmailAddress(None, "a@example.com")]:
            self.assertEqual(address.display_name, "")
            self.assertEqual(str(address), "a@example.com")

    def test_from_username_and_domain(self):
        address = EmailAddress("Name", username="odd@name", domain="example.com")
        self.assertEqual(str(address), 'Name <"odd@name"@example.com>')
        self.assertEqual(EmailAddress(username="a", domain="b").addr_spec, "a@b")

    def test_read_only(self):
        address = EmailAddress("Name", "a@example.com")
        for name in ["display_name", "username", "domain", "addr_spec"]:
            with self.subTest(name=name), self.assertRaises(AttributeError):
                setattr(address, name, "x")

    def test_equality(self):
        address = EmailAddress("Name", "a@example.com")
        self.assertEqual(address, EmailAddress("Name", username="a", domain="example.com"))
        self.assertEqual(address, Address("Name", addr_spec="a@example.com"))
        self.assertNotEqual(address, EmailAddress("", "a@example.com"))
        self.assertNotEqual(address, "Name <a@example.com>")
        with self.assertRaises(TypeError):
            hash(address)

    def test_repr(self):
        address = EmailAddress("Name", "addr@example.com")
        self.assertEqual(repr(address), "EmailAddress('Name', 'addr@example.com')")

    def test_copies(self):
        address = EmailAddress("Zoë", "é@münchen.example")
        for duplicate in [copy.deepcopy(address), pickle.loads(pickle.dumps(address))]:
            self.assertIs(type(duplicate), EmailAddress)
            self.assertEqual(duplicate, address)
            self.assertEqual(str(duplicate), str(address))

    def test_international_addresses_are_kept(self):
        for addr_spec, username, domain in [
            ("zoë@example.com", "zoë", "example.com"),
            ("a@münchen.example", "a", "münchen.example"),
            ("用户@例子.测试", "用户", "例子.测试"),
            ('"zoë @ home"@example.com', "zoë @ home", "example.com"),
            (r'"zoë\"\\"@example.com', 'zoë"\\', "example.com"),
            ('"a@b"@münchen.example', "a@b", "münchen.example"),
        ]:
            with self.subTest(addr_spec=addr_spec):
                address = EmailAddress("Zoë", addr_spec)
                self.assertEqual((address.username, address.domain), (username, domain))
                self.assertEqual(address.addr_spec, addr_spec)

    def test_uses_eai(self):
        self.assertIs(EmailAddress("", "zoë@example.com").uses_eai, True)
        self.assertIs(EmailAddress("Zoë", "a@münchen.example").uses_eai, False)

    def test_invalid(self):
        for addr_spec in [
            "",
            " ",
            "localonly",
            "localonly@",
            "@domainonly",
            "a@b@example.com",
            "a b@example.com",
            "<a@example.com>",
            "a@example.com, b@example.com",
            '""@example.com',
            "a@[",
            "a@[ ",
        ]:
            with self.subTest(addr_spec=addr_spec):
                text = self.invalid(EmailAddress, "", addr_spec)
                self.assertIn(f"Invalid email address {addr_spec!r}", text)
                self.assertNotIn("display_name", text)
                text = self.invalid(EmailAddress, "The Name", addr_spec)
                self.assertIn(f"Invalid email address {addr_spec!r}", text)
                self.assertIn("display_name='The Name'", text)

    def test_invalid_is_chained(self):
        text = self.invalid(EmailAddress, "", "localonly")
        self.assertIsNotNone(self.error.__cause__)
        self.assertIn(str(self.error.__cause__), text)

    def test_invalid_international(self):
        for addr_spec in [
            "é",
            "é@",
            "@é.com",
            "é@a@b.com",
            "é b@example.com",
            "é@exa mple.com",
            '"é@example.com',
            '"é"x"@example.com',
            '"é\\"@example.com',
            '""é@example.com',
            "é@[127.0.0.1]",
            "é@.example.com",
            ".é@example.com",
        ]:
            with self.subTest(addr_spec=addr_spec):
                text = self.invalid(EmailAddress, "", addr_spec)
                self.assertIn(f"Invalid email address {addr_spec!r}", text)
        self.assertIn("missing domain", self.invalid(EmailAddress, "", "é"))

    def test_control_characters(self):
        for char in "\r\n\0":
            for args, kwargs in [
                ((f"Na{char}me", "a@example.com"), {}),
                (("", f"a{char}@example.com"), {}),
                (("", f"é@exam{char}ple.com"), {}),
                (("", f'"é{char}"@example.com'), {}),
                (("Name",), {"username": f"a{char}", "domain": "example.com"}),
                (("Name",), {"username": "a", "domain": f"example.com{char}"}),
            ]:
                with self.subTest(args=args, kwargs=kwargs):
                    text = self.invalid(EmailAddress, *args, **kwargs)
                    self.assertIn("cannot contain CR or LF", text)

    def test_too_long(self):
        self.assertEqual(len(EmailAddress("", "a" * 986 + "@example.com").addr_spec), 998)
        for char in "aé":
            text = self.invalid(EmailAddress, "", char * 987 + "@example.com")
            self.assertIn("Invalid email address", text)
            self.assertLess(len(text), 200)

    def test_conflicting_arguments(self):
        with self.assertRaises(TypeError):
            EmailAddress("", "a@example.com", username="b", domain="example.com")


class FormatTests(SimpleTestCase):
    def test_format(self):
        for name, plain, rfc2047 in [
            ("", "a@example.org", "a@example.org"),
            ("Jane Doe", "Jane Doe <a@example.org>", "Jane Doe <a@example.org>"),
            ("Doe, Jane", '"Doe, Jane" <a@example.org>', '"Doe, Jane" <a@example.org>'),
            (
                "Zoë Quinn",
                "Zoë Quinn <a@example.org>",
                "=?utf-8?q?Zo=C3=AB_Quinn?= <a@example.org>",
            ),
            (
                "Quinn, Zoë",
                '"Quinn, Zoë" <a@example.org>',
                "=?utf-8?b?UXVpbm4sIFpvw6s=?= <a@example.org>",
            ),
        ]:
            with self.subTest(name=name):
                address = EmailAddress(name, "a@example.org")
                self.assertEqual(address.format(), plain)
                self.assertEqual(address.format(use_rfc2047=True), rfc2047)
                self.assertEqual(str(address), plain)

    def test_format_never_folds(self):
        address = EmailAddress("Zoë " * 50 + "Quinn", "a@" + "long." * 30 + "example.org")
        for formatted in [address.format(), address.format(use_rfc2047=True)]:
            self.assertNotRegex(formatted, r"[\r\n]")
        self.assertEqual(address.format(use_rfc2047=True).count("=?"), 1)

    def test_idna(self):
        address = EmailAddress("Zoë", "a@münchen.example")
        self.assertEqual(address.format_addr_spec(), "a@münchen.example")
        self.assertEqual(address.format_addr_spec(idna_encode=idna2008), "a@xn--mnchen-3ya.example")
        self.assertEqual(
            address.format(idna_encode=idna2008, use_rfc2047=True),
            "=?utf-8?q?Zo=C3=AB?= <a@xn--mnchen-3ya.example>",
        )

    def test_idna_only_for_non_ascii_domains(self):
        def refuse(domain):
            raise AssertionError(domain)

        for addr_spec in ["a@under_score.example", "zoë@example.com"]:
            address = EmailAddress("", addr_spec)
            self.assertEqual(address.format(idna_encode=refuse), addr_spec)
            self.assertEqual(address.as_dict(idna_encode=refuse), {"email": addr_spec})

    def test_local_part_is_quoted_if_need_be(self):
        for addr_spec in ['"odd@name"@example.org', r'"a\"b\\c"@example.org', '"a b"@example.org']:
            self.assertEqual(EmailAddress("", addr_spec).format_addr_spec(), addr_spec)
        self.assertEqual(
            EmailAddress("", '"odd@name"@münchen.example').format_addr_spec(idna_encode=idna2008),
            '"odd@name"@xn--mnchen-3ya.example',
        )
        self.assertEqual(EmailAddress("", '"plain"@example.org').addr_spec, "plain@example.org")
        self.assertEqual(EmailAddress("", "a@[127.0.0.1]").addr_spec, "a@[127.0.0.1]")

    def test_incomplete(self):
        self.assertEqual(EmailAddress("Name").format_addr_spec(), "<>")
        self.assertEqual(EmailAddress(username="postmaster").addr_spec, "postmaster")

    def test_display_name(self):
        plain = EmailAddress("Jane Doe", "a@example.org")
        special = EmailAddress("Doe, Jane", "a@example.org")
        unicode = EmailAddress("Quinn, Zoë", "a@example.org")
        empty = EmailAddress("", "a@example.org")
        encoded = "=?utf-8?b?UXVpbm4sIFpvw6s=?="
        for address, options, expected in [
            (plain, {}, "Jane Doe"),
            (special, {}, "Doe, Jane"),
            (unicode, {}, "Quinn, Zoë"),
            (plain, {"use_quotes": True}, "Jane Doe"),
            (special, {"use_quotes": True}, '"Doe, Jane"'),
            (unicode, {"use_quotes": True}, '"Quinn, Zoë"'),
            (plain, {"use_quotes": "force"}, '"Jane Doe"'),
            (empty, {"use_quotes": True}, ""),
            (empty, {"use_quotes": "force"}, '""'),
            (plain, {"use_rfc2047": True}, "Jane Doe"),
            (plain, {"use_rfc2047": "force"}, "=?utf-8?q?Jane_Doe?="),
            (special, {"use_rfc2047": True, "use_quotes": True}, '"Doe, Jane"'),
            (unicode, {"use_rfc2047": True}, encoded),
            (unicode, {"use_rfc2047": True, "use_quotes": True}, encoded),
            (unicode, {"use_rfc2047": True, "use_quotes": "force"}, encoded),
            (empty, {"use_rfc2047": "force"}, ""),
        ]:
            with self.subTest(address=address, options=options):
                self.assertEqual(address.format_display_name(**options), expected)

    def test_as_dict(self):
        address = EmailAddress("Quinn, Zoë", "a@münchen.example")
        self.assertEqual(
            list(address.as_dict().items()),
            [("email", "a@münchen.example"), ("name", "Quinn, Zoë")],
        )
        self.assertEqual(
            address.as_dict(name="n", email="e", use_rfc2047=True, idna_encode=idna2008),
            {"e": "a@xn--mnchen-3ya.example", "n": "=?utf-8?b?UXVpbm4sIFpvw6s=?="},
        )
        self.assertEqual(address.as_dict(quote_name=True)["name"], '"Quinn, Zoë"')
        self.assertEqual(EmailAddress("", "a@b.c").as_dict(quote_name="force"), {"email": "a@b.c"})
        with self.assertRaises(TypeError):
            address.as_dict("name")


class ParseAddressListTests(InvalidAddressTestCase):
    def parse(self, *args, **kwargs) -> list[tuple[str, str]]:
        parsed = parse_address_list(*args, **kwargs)
        self.assertTrue(all(type(address) is EmailAddress for address in parsed))
        return [(address.display_name, address.addr_spec) for address in parsed]

    def test_single(self):
        for text, name, addr_spec in [
            ("a@example.com", "", "a@example.com"),
            ("<a@example.com>", "", "a@example.com"),
            ("Jane <a@example.com>", "Jane", "a@example.com"),
            ('"Doe, Jane" <a@example.com>', "Doe, Jane", "a@example.com"),
            ('"say \\"hi\\"" <a@example.com>', 'say "hi"', "a@example.com"),
            ("a@example.com (Jane)", "Jane", "a@example.com"),
            ("J. R. Doe <a@example.com>", "J. R. Doe", "a@example.com"),
            ("Zoë <zoë@münchen.example>", "Zoë", "zoë@münchen.example"),
            ('"odd@name"@example.org', "", '"odd@name"@example.org'),
            ("a@[127.0.0.1]", "", "a@[127.0.0.1]"),
            ("=?utf-8?q?Zo=C3=AB?= <a@example.com>", "=?utf-8?q?Zo=C3=AB?=", "a@example.com"),
            ("(a, (b) c) Jane <a@example.com>", None, "a@example.com"),
        ]:
            with self.subTest(text=text):
                [(parsed_name, parsed_addr_spec)] = self.parse(text)
                self.assertEqual(parsed_addr_spec, addr_spec)
                if name is not None:
                    self.assertEqual(parsed_name, name)
                self.assertEqual(self.parse([text]), [(parsed_name, addr_spec)])

    def test_nothing(self):
        for nothing in [None, [], [None], (), iter([])]:
            with self.subTest(nothing=nothing):
                self.assertEqual(parse_address_list(nothing), [])

    def test_several_in_one_string(self):
        self.assertEqual(
            self.parse('a@example.com, "Doe, Jane" <b@example.com>,c@example.com'),
            [("", "a@example.com"), ("Doe, Jane", "b@example.com"), ("", "c@example.com")],
        )

    def test_group(self):
        self.assertEqual(
            self.parse("Friends: a@example.com, B <b@example.com>;"),
            [("", "a@example.com"), ("B", "b@example.com")],
        )
        self.assertEqual(
            self.parse("Friends: a@example.com, b@example.com;, c@example.com"),
            [("", "a@example.com"), ("", "b@example.com"), ("", "c@example.com")],
        )

    def test_several_items(self):
        self.assertEqual(
            self.parse(["a@example.com, b@example.com", "C <c@example.com>"]),
            [("", "a@example.com"), ("", "b@example.com"), ("C", "c@example.com")],
        )
        self.assertEqual(self.parse(item for item in ["a@example.com"]), [("", "a@example.com")])

    def test_items_are_parsed_separately(self):
        text = self.invalid(parse_address_list, ["Doe", "Jane <a@example.com>"])
        self.assertIn("Invalid email address 'Doe'", text)
        self.assertIn("parsed from 'Doe, Jane <a@example.com>'", text)
        self.invalid(parse_address_list, ['"unclosed', '" <a@example.com>'])

    def test_lazy(self):
        lazy = gettext_lazy("Jane <a@example.com>")
        expected = [("Jane", "a@example.com")]
        self.assertEqual(self.parse(lazy), expected)
        self.assertEqual(self.parse([lazy]), expected)
        self.assertEqual(
            self.parse([format_lazy('"{}" <a@example.com>', gettext_lazy("Jane"))]), expected
        )
        self.assertIn(
            "'Jane' in `to`", self.invalid(parse_address_list, gettext_lazy("Jane"), "to")
        )

    def test_address_objects(self):
        address = EmailAddress("Doe, Jane", "a@example.com")
        self.assertEqual(parse_address_list([address]), [address])
        self.assertEqual(parse_address_list(address), [address])
        self.assertEqual(parse_address_list([Address("Jane", "a", "example.com")])[0].username, "a")

    def test_invalid(self):
        for bad in [
            "",
            " ",
            "localonly",
            "Jane",
            "a@example.com,",
            ",a@example.com",
            "a@example.com,,b@example.com",
            "undisclosed-recipients:;",
            "Jane <localonly>",
            "Doe, Jane <a@example.com>",
            "a@example.com b@example.com",
            "a@example.com; b@example.com",
            "a@example.com, b@example.com;",
            "Friends: a@example.com; b@example.com",
            "Friends: a@example.com,;",
            "Friends: a@example.com;; b@example.com",
            "a@example.com: b@example.com;",
            "(not closed a@example.com",
            "[Jane] <a@example.com>",
            "real@example.com <other@example.com>",
            "<a@example.com> <b@example.com>",
            "a@example.com\nBcc: b@example.com",
            "a@example.com\0",
            "None",
        ]:
            with self.subTest(bad=bad):
                self.assertIn("Invalid email address", self.invalid(parse_address_list, [bad]))
                self.invalid(parse_address_list, bad)
                self.invalid(parse_address_list, ["ok@example.com", bad])

    def test_trailing_comma(self):
        text = self.invalid(parse_address_list, "a@example.com, b@example.com,")
        self.assertTrue(text.startswith("Invalid email address '' parsed from"))

    def test_none_among_others(self):
        text = self.invalid(parse_address_list, [None, "a@example.com"])
        self.assertIn("Invalid email address 'None'", text)
        self.invalid(parse_address_list, [None, None])

    def test_not_an_address_at_all(self):
        for bad in [5, b"a@example.com", [5], [b"a@example.com"], object()]:
            with self.subTest(bad=bad):
                self.invalid(parse_address_list, bad)

    def test_error_text(self):
        text = self.invalid(parse_address_list, ["ok@example.com", "bad one"], field="cc")
        self.assertRegex(
            text, r"Invalid email address 'bad'.* in `cc`.*parsed from 'ok@example\.com, bad one'"
        )
        self.assertNotIn("quotes", text)
        self.assertIsNotNone(self.error.__cause__)
        self.assertNotIn(" in `", self.invalid(parse_address_list, ["bad"]))

    def test_error_text_hints_at_quotes(self):
        text = self.invalid(parse_address_list, ["Doe, Jane <a@example.com>"], field="to")
        self.assertRegex(
            text,
            r"Invalid email address 'Doe' in `to` parsed from 'Doe, Jane <a@example.com>'"
            r".*maybe missing quotes around a display-name\?",
        )
        # Several items are joined with commas, which are not the user's.
        text = self.invalid(parse_address_list, ["Doe", "a@example.com"])
        self.assertNotIn("maybe missing quotes", text)

    def test_control_characters(self):
        for bad in ["Na\nme <a@example.com>", '"Na\r\n me" <a@example.com>', "a@example.com\0"]:
            with self.subTest(bad=bad):
                text = self.invalid(parse_address_list, ["ok@example.com", bad], field="to")
                self.assertRegex(text, r"Invalid email address '.*' in `to` parsed from")
                self.assertIn("cannot contain CR or LF", text)
                self.assertIsNotNone(self.error.__cause__)

    @tag("exhaustive")
    def test_nested_too_deeply(self):
        for bad in [
            "(" * 50000,
            "a@example.com" + "(" * 50000,
            "(" * 50000 + ")" * 50000,
            ":" * 50000,
            "a:" * 50000,
            "<" + "(" * 20000 + "a@b.c>",
        ]:
            with self.subTest(bad=bad[:20]):
                self.invalid(parse_address_list, bad)
                self.invalid(EmailAddress, "", bad)
        self.invalid(EmailAddress, "", "(" * 985 + "a@example.com")

    def test_no_text_takes_forever(self):
        for bad in ['"' + '\\"' * 20000, "(" + "\\(" * 20000, "[" + "\\[" * 20000, '"a".' * 20000]:
            with self.subTest(bad=bad[:10]):
                start = time.process_time()
                self.invalid(parse_address_list, bad)
                self.assertLess(time.process_time() - start, 1)  # it was more than 6


class ParseSingleAddressTests(InvalidAddressTestCase):
    def test_one(self):
        address = parse_single_address('"Doe, Jane" <a@example.com>')
        self.assertEqual(address, EmailAddress("Doe, Jane", "a@example.com"))
        self.assertEqual(parse_single_address(gettext_lazy("a@example.com")).username, "a")

    def test_several(self):
        text = self.invalid(parse_single_address, "a@example.com, b@example.com", field="x_sender")
        self.assertIn("Only one email address is allowed; found 2", text)
        self.assertIn("'a@example.com, b@example.com'", text)
        self.assertIn("in `x_sender`", text)
        self.assertNotIn(" in `", self.invalid(parse_single_address, "a@b.c, b@b.c"))

    def test_invalid(self):
        self.assertIn("in `x_sender`", self.invalid(parse_single_address, "bad", field="x_sender"))
        self.invalid(parse_single_address, "")

    def test_none(self):
        text = self.invalid(parse_single_address, None, field="x_sender")
        self.assertIn("Only one email address is allowed; found 0", text)
        self.assertIn("in `x_sender`", text)


class AnyTextTests(SimpleTestCase):
    """Whatever text comes in, an error that tells about the address comes out, or an address."""

    @fuzz
    @given(st.text() | address_like, st.text() | address_like)
    @example("", '"é\\"@x.com')
    @example("", "a@[é]")
    def test_email_address(self, name, addr_spec):
        try:
            address = EmailAddress(name, addr_spec)
        except AnymailInvalidAddress as error:
            self.assertIn("Invalid email address", str(error))
            return
        self.assertEqual(EmailAddress(name, address.addr_spec), address)
        self.assertNotRegex(str(address), r"[\r\n\0]")

    @fuzz
    @given(st.text() | address_like)
    @example("a <b@x.com>, ")
    @example("(a, (b), c) d@x.com")
    def test_parse_address_list(self, text):
        try:
            parsed = parse_address_list(text)
        except AnymailInvalidAddress as error:
            self.assertIn("Invalid email address", str(error))
            return
        self.assertGreaterEqual(len(parsed), 1)
        for address in parsed:
            self.assertTrue(address.username and address.domain)
            formatted = address.format_addr_spec()
            self.assertEqual(
                [each.addr_spec for each in parse_address_list(formatted)], [formatted]
            )

    @fuzz
    @given(st.text() | address_like)
    def test_parse_single_address(self, text):
        try:
            address = parse_single_address(text)
        except AnymailInvalidAddress:
            return
        self.assertEqual(parse_address_list(text), [address])

    @fuzz
    @given(
        # A parser collapses whitespace and control characters in names that are not quoted.
        st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")).map(
            lambda name: " ".join(name.split())
        ),
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
        st.text(
            st.characters(categories=["L", "N"], include_characters="-"), min_size=1, max_size=20
        ),
    )
    @example("Doe, Jane", "odd@name", "example")
    @example('"', "\\", "a")
    @example("=?utf-8?q?a?=", ".", "é")
    def test_round_trip(self, name, username, domain):
        address = EmailAddress(name, username=username, domain=domain)
        self.assertEqual(parse_address_list(address.format()), [address])
        self.assertEqual(parse_single_address(str(address)), address)
        self.assertEqual(EmailAddress(name, address.addr_spec), address)
        several = f"a@example.com, {address}, b@example.com"
        self.assertEqual(parse_address_list(several)[1:-1], [address])

    @fuzz
    @given(st.lists(st.text() | address_like, max_size=4))
    def test_items_never_run_into_each_other(self, items):
        try:
            parsed = parse_address_list(items)
        except AnymailInvalidAddress:
            return
        self.assertEqual(
            parsed, [address for item in items for address in parse_address_list(item)]
        )


@contextmanager
def slow_path() -> Iterator[None]:
    """Leave all addresses to the stdlib's parser, and what is around that."""
    with (
        patch.object(addresses, "_parse_plain_address", return_value=None),
        patch.object(addresses, "parse_plain_addr_spec", return_value=None),
    ):
        yield


def outcome(function: Any, *args: Any) -> Any:
    """Return all that can be seen of the addresses that come out, or of the error."""
    try:
        result = function(*args)
    except AnymailInvalidAddress as error:
        cause = error.__cause__
        return str(error), type(cause), str(cause)
    found = result if isinstance(result, list) else [result]
    return [
        (type(address), address.display_name, address.username, address.domain, str(address))
        for address in found
    ]


class PlainFormTests(SimpleTestCase):
    """The short cut for plain forms makes no difference."""

    PLAIN = (
        "a@example.com",
        "first.last+tag@sub.example.co.uk",
        "o'brien_1-2@xn--mnchen-3ya.example",
        "zoë@münchen.example",
        "Jane <a@example.com>",
        "J. R. Doe-Smith <a@example.com>",
        "Zoë Quinn <zoë@münchen.example>",
        '"Doe, Jane" <a@example.com>',
        '"J (Q) [x] <y>; é" <a@example.com>',
        '"" <a@example.com>',
    )

    def assertNoDifference(self, function: Any, *args: Any) -> None:
        with slow_path():
            expected = outcome(function, *args)
        self.assertEqual(outcome(function, *args), expected)

    def test_plain_forms_take_it(self):
        for text in self.PLAIN:
            with self.subTest(text=text):
                self.assertIsNotNone(addresses._parse_plain_address(text))
                addr_spec = parse_single_address(text).addr_spec
                self.assertIsNotNone(addresses.parse_plain_addr_spec(addr_spec))
                with patch("anymail.address_syntax.split_elements", side_effect=AssertionError):
                    parse_single_address(text)
                self.assertNoDifference(parse_address_list, text)
                self.assertNoDifference(EmailAddress, "Jane", addr_spec)

    def test_several_without_parsing(self):
        self.assertIs(are_plain_addresses(self.PLAIN), True)
        for other in ("", "a@", "a@b, c@d", "=?utf-8?q?a?=@b", gettext_lazy("a@b"), None, 1):
            with self.subTest(other=other):
                self.assertIs(are_plain_addresses([*self.PLAIN, other]), False)

    def test_addresses_stay_what_they_are(self):
        address = EmailAddress("Jane", "a@example.com")
        self.assertIs(parse_address_list([address, "b@example.com"])[0], address)

    def test_copies_are_like_any_other(self):
        for text in self.PLAIN:
            address = parse_single_address(text)
            with slow_path():
                expected = parse_single_address(text)
            self.assertEqual(expected.addr_spec, address.addr_spec)  # which is kept then
            self.assertEqual(vars(address), vars(expected))
            for duplicate in [
                copy.copy(address),
                copy.deepcopy(address),
                pickle.loads(pickle.dumps(address)),
            ]:
                self.assertIs(type(duplicate), EmailAddress)
                self.assertEqual(duplicate, expected)
                self.assertEqual(str(duplicate), str(expected))

    @tag("exhaustive")
    def test_any_character_at_any_place(self):
        # The separators and spaces of Unicode, a surrogate, and what is beyond 16 bits.
        others = (
            "\u1680\u2000\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\uff20\ud800\U0001f600"
        )
        characters = [*map(chr, range(0x100)), *others]
        for function, text in [
            (parse_address_list, "ab@cd.ef"),
            (parse_address_list, "Ab Cd <e@f.gh>"),
            (parse_address_list, '"Ab, C" <d@e.fg>'),
            (lambda addr_spec: EmailAddress("Name", addr_spec), "ab@cd.ef"),
        ]:
            changed = [
                text[:position] + character + text[position:]
                for position, character in itertools.product(range(len(text) + 1), characters)
            ]
            with slow_path():
                expected = {each: outcome(function, each) for each in changed}
            self.assertEqual({each: outcome(function, each) for each in changed}, expected)

    def test_lengths(self):
        for length in range(990, 1002):
            long = "a" * (length - len("@example.com")) + "@example.com"
            self.assertEqual(len(long), length)
            self.assertNoDifference(parse_address_list, long)
            self.assertNoDifference(parse_address_list, f"Jane Doe <{long}>")
            self.assertNoDifference(EmailAddress, "Jane Doe", long)

    @fuzz
    @given(st.text() | address_like | plain_like)
    @example("=?utf-8?q?a?=@x.com")
    @example("Jane <a@=?utf-8?q?x.com?=>")
    @example("=?utf-8?q?Jane?= <a@x.com>")
    def test_parse_address_list(self, text):
        self.assertNoDifference(parse_address_list, text)

    @examples(200)
    @given(st.lists(plain_like, max_size=3))
    def test_lists(self, items):
        self.assertNoDifference(parse_address_list, items)
        self.assertNoDifference(parse_address_list, ", ".join(items))

    @fuzz
    @given(st.text() | name_like, st.text() | address_like | plain_like)
    @example("", "=?utf-8?q?a?=@x.com")
    def test_email_address(self, name, addr_spec):
        self.assertNoDifference(EmailAddress, name, addr_spec)


class RecipientMapTests(SimpleTestCase):
    def get(self, entries, addr_spec):
        return RecipientMap(entries).get(EmailAddress("Name", addr_spec))

    def test_domains_in_any_case(self):
        entries = {"Alice@Example.COM": 1, "bob@münchen.example": 2}
        self.assertEqual(self.get(entries, "Alice@example.com"), 1)
        self.assertEqual(self.get(entries, "Alice@EXAMPLE.com"), 1)
        self.assertEqual(self.get(entries, "bob@MÜNCHEN.example"), 2)

    def test_local_parts_exactly(self):
        self.assertIsNone(self.get({"Alice@example.com": 1}, "alice@example.com"))

    def test_as_written(self):
        self.assertEqual(self.get({" a@example.com ": 1}, "a@example.com"), 1)
        self.assertEqual(self.get({'"odd@name"@example.com': 1}, '"odd@name"@example.com'), 1)
        self.assertEqual(self.get({gettext_lazy("a@example.com"): 1}, "a@example.com"), 1)
        self.assertIsNone(self.get({"bob@xn--mnchen-3ya.example": 1}, "bob@münchen.example"))

    def test_several(self):
        entries = {"a@example.com": 1, "B@EXAMPLE.com": 2}
        recipients = parse_address_list(["a@example.com", "c@example.com", "B@example.com"])
        self.assertEqual(RecipientMap(entries).get_all(recipients), [1, None, 2])
        self.assertEqual(RecipientMap(entries).get_all(recipients[:1]), [1])

    def test_others_are_ignored(self):
        self.assertIsNone(self.get({"b@example.com": 1, "no address": 2}, "a@example.com"))
        self.assertIsNone(self.get({}, "a@example.com"))


class ReportedAddressesTests(SimpleTestCase):
    def reported(self, *addr_specs: str, idna_encode=None) -> ReportedAddresses:
        recipients = (EmailAddress("Name", addr_spec) for addr_spec in addr_specs)
        return ReportedAddresses(recipients, idna_encode)

    def test_in_another_case(self):
        reported = self.reported("Alice@Example.com")
        for text in ["alice@example.com", "Alice@Example.com", "ALICE@EXAMPLE.COM"]:
            self.assertEqual(reported.addr_spec(text), "Alice@Example.com")

    def test_idna_encoded(self):
        reported = self.reported("Zoë@München.example", idna_encode=idna2008)
        for text in ["Zoë@xn--mnchen-3ya.example", "zoë@XN--MNCHEN-3YA.example"]:
            self.assertEqual(reported.addr_spec(text), "Zoë@München.example")

    def test_unknown(self):
        self.assertEqual(self.reported("a@example.com").addr_spec("B@example.com"), "B@example.com")
        self.assertEqual(self.reported().addr_spec("B@example.com"), "B@example.com")

    def test_recipients_that_differ_in_case(self):
        reported = self.reported("Info@example.com", "info@example.com")
        self.assertEqual(reported.addr_spec("Info@example.com"), "Info@example.com")
        self.assertEqual(reported.addr_spec("info@example.com"), "info@example.com")
        reported = self.reported("A@München.example", "a@münchen.example", idna_encode=idna2008)
        self.assertEqual(reported.addr_spec("a@xn--mnchen-3ya.example"), "a@münchen.example")
        self.assertEqual(reported.addr_spec("A@xn--mnchen-3ya.example"), "A@München.example")
