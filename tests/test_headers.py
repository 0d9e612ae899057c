from __future__ import annotations

import copy
import email.message
import email.policy
import pickle
from datetime import datetime, timedelta, timezone

from django.test import SimpleTestCase, tag
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from anymail.exceptions import AnymailInvalidHeader
from anymail.headers import (
    RFC5322_SPECIALS,
    CaseInsensitiveCasePreservingDict,
    angle_wrap,
    check_header_text,
    has_control_chars,
    has_specials,
    parse_rfc2822date,
    quote_string,
    rfc2047_decode,
    rfc2047_encode,
    rfc2047_normalize,
    rfc2822date,
    unfold,
    unquote_string,
)

from .properties import examples

fuzz = examples(300)
text = st.text(st.characters(exclude_categories=["Cs"]))


class ControlCharsTests(SimpleTestCase):
    def test_has_control_chars(self):
        for bad in ["\r", "\n", "\0", "a\r\nb: c", "ends in\n"]:
            with self.subTest(bad=bad):
                self.assertIs(has_control_chars(bad), True)
        for good in ["", "text", "tab\tis fine", "naïve"]:
            with self.subTest(good=good):
                self.assertIs(has_control_chars(good), False)

    def test_check_header_text(self):
        for good in ["", "text", 1, None]:
            self.assertIsNone(check_header_text(good, "field"))
        for bad in ["\r", "Private\nBcc: x", "\0", ["a\n"][0]]:
            with self.subTest(bad=bad), self.assertRaises(AnymailInvalidHeader) as caught:
                check_header_text(bad, "subject", esp_name="My ESP")
            self.assertIn("subject must not contain", str(caught.exception))
            self.assertNotIn("Private", str(caught.exception))  # which is message content
            self.assertEqual(caught.exception.esp_name, "My ESP")

    def test_check_header_text_of_other_types(self):
        class Sneaky:
            def __str__(self):
                return "a\nb"

        with self.assertRaises(AnymailInvalidHeader):
            check_header_text(Sneaky(), "field")

    def test_unfold(self):
        for folded, expected in [
            ("a\r\n b", "a b"),
            ("a\n\t b\n  c", "a b c"),
            ("a", "a"),
            ("a\r\nb", "a b"),
            (" a\r\n ", "a"),
        ]:
            with self.subTest(folded=folded):
                self.assertEqual(unfold(folded), expected)

    @fuzz
    @given(text)
    def test_unfold_leaves_no_line_breaks(self, value):
        self.assertNotRegex(unfold(value), r"[\r\n]")


class Rfc2047Tests(SimpleTestCase):
    def test_encode(self):
        for plain, encoded in [
            ("", ""),
            ("plain words", "=?utf-8?q?plain_words?="),
            ("Grüße", "=?utf-8?b?R3LDvMOfZQ==?="),
            ("Zoë Wittgenstein", "=?utf-8?q?Zo=C3=AB_Wittgenstein?="),
            ("Ready, set", "=?utf-8?q?Ready=2C_set?="),
        ]:
            with self.subTest(plain=plain):
                self.assertEqual(rfc2047_encode(plain), encoded)
                self.assertEqual(rfc2047_decode(encoded), plain)

    def test_encode_never_folds(self):
        for long in ["é" * 200, "a é" * 200]:
            encoded = rfc2047_encode(long)
            self.assertRegex(encoded, r"^=\?utf-8\?[bq]\?[^?\s]+\?=$")
            self.assertGreater(len(encoded), 300)

    @fuzz
    @given(text)
    def test_round_trip(self, plain):
        encoded = rfc2047_encode(plain)
        self.assertTrue(encoded.isascii())
        self.assertEqual(rfc2047_decode(encoded), plain)

    def test_decode(self):
        for encoded, plain in [
            ("", ""),
            ("plain", "plain"),
            ("raw naïve text", "raw naïve text"),
            # Whitespace between encoded-words is theirs; next to plain text it is the text's.
            ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?=\r\n  =?utf-8?b?Yg==?=\t=?utf-8?q?c?=", "abc"),
            ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
            ("x =?utf-8?q?a_b?=", "x a b"),
            ("naïve =?utf-8?q?caf=C3=A9?=", "naïve café"),
            # Each with its own charset
            ("=?iso-8859-1?q?=E9?= =?utf-8?q?=C3=A9?= =?koi8-r?b?8A==?=", "ééП"),
            ("=?UTF-8?Q?caf=C3=A9?=", "café"),
            # Characters that are split, of bytes or of digits
            ("=?utf-8?Q?Kvie=C4?= =?utf-8?Q?=8Diame?=", "Kviečiame"),
            ("=?utf-8?Q?Kvie=C?= =?UTF-8?q?4=8Diame?=", "Kviečiame"),
            ("=?utf-8?Q?Kvie=C4?= =?utf-8?B?jWlhbWU?=", "Kviečiame"),
            ("=?utf-8?B?5pel5p?= =?utf-8?B?ys?=", "日本"),
            ("=?utf-8?B?5pel?==?utf-8?B?5pys?=", "日本"),
            ("=?utf-8?B?YQ==?= =?utf-8?B?Yg==?=", "ab"),
            # 8-bit characters, as such and as surrogate escapes
            ("=?utf-8?Q?Zażółć?=", "Zażółć"),
            ("=?iso-8859-1?Q?Müll=E9r?=", "Müllér"),
            ("=?iso-8859-1?Q?Zażółć?=", "Zażółć"),
            ("=?iso-8859-1?Q?M\udcfcller?=", "Müller"),
            ("=?utf-8?Q?Za\udcc5\udcbc=C3\udcb3?=", "Zażó"),
            ("=?gb2312?Q?\udce9F?=", "镕"),
            ("M\udcfcller =?utf-8?q?=C3=A9?= \udcc3\udca9", "Müller é é"),
            # Spaces, question marks, and no space around
            ("=?utf-8?Q?Really? Yes, a=3Db?=", "Really? Yes, a=b"),
            ("Re:=?utf-8?Q?_caf=C3=A9?=!", "Re: café!"),
            ("=?utf-8?Q??=", ""),
            ("=?utf-8?Q?a==?=", "a="),
            # Charsets as browsers take them
            ("=?us-ascii?Q?M=C3=BCller?=", "Müller"),
            ("=?x-unknown?Q?M=FCller?=", "Müller"),
            ("=?iso-8859-1?Q?=935_=80=94?=", "“5 €”"),
            ("=?win-1251?B?z/Do4uXy?=", "Привет"),
            # RFC 2231, section 5: with a language
            ("=?utf-8*fr?q?caf=C3=A9?=", "café"),
            # Neither of these is an encoded-word.
            ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
            ("=?utf-8?q?a", "=?utf-8?q?a"),
        ]:
            with self.subTest(encoded=encoded):
                self.assertEqual(rfc2047_decode(encoded), plain)

    def test_normalize(self):
        for encoded, normalized in [
            ("a =?utf-8?q?b?= c", "a =?utf-8?q?b?= c"),
            ("=?iso-8859-1?q?=E9?=\r\n =?utf-8?b?w6k=?=", "=?utf-8?b?w6nDqQ==?="),
            ("\udce9 =?utf-8?q??= =?utf-8?q?b", "é  =?utf-8?q?b"),
        ]:
            with self.subTest(encoded=encoded):
                self.assertEqual(rfc2047_normalize(encoded), normalized)
                self.assertEqual(rfc2047_decode(normalized), rfc2047_decode(encoded))

    @tag("exhaustive")
    def test_decode_takes_linear_time(self):
        """Each of these would take minutes, if time were quadratic."""
        for junk in [
            "=?" * 200_000, "=?a?q?" * 60_000, "=?a?q?=?=" * 60_000, "=?a?b?x?= " * 30_000,
            "=?a?q?" + "=" * 400_000, "=?a?q?" + "?" * 400_000, "=?" + "a*" * 200_000,
            "=?a?b?" + "a=" * 200_000 + "?=",
        ]:  # fmt: skip
            with self.subTest(junk[:10]):
                self.assertIsInstance(rfc2047_decode(junk), str)

    def test_decode_junk(self):
        for encoded, plain in [
            ("=?utf-8?q?=FF?=", "\N{REPLACEMENT CHARACTER}"),
            ("=?shift_jis?q?=82=A0=82?=", "あ\N{REPLACEMENT CHARACTER}"),
            ("=?no-such-charset?q?caf=C3=A9?=", "café"),
            ("=?no-such-charset?q?=FF?=", "ÿ"),
            ("=?utf-8?b?a?=", "=?utf-8?b?a?="),  # not base64
            ("=?hex?q?61?=", "61"),  # a codec, but not for text
            ("=?idna?q?=C3=A9?=", "é"),  # one that can't replace
            ("=?a\0b?q?caf=C3=A9?=", "café"),
            ("=?utf-8?q?a\nb?=", "=?utf-8?q?a\nb?="),
        ]:
            with self.subTest(encoded=encoded):
                self.assertEqual(rfc2047_decode(encoded), plain)

    @fuzz
    @given(
        st.lists(
            st.one_of(
                st.sampled_from(["=?", "?=", "?q?", "?b?", "utf-8", "=", "_", " ", "\n", "idna"]),
                st.text(max_size=4),
            ),
            max_size=12,
        ).map("".join)
    )
    def test_decode_raises_nothing(self, value):
        self.assertIsInstance(rfc2047_decode(value), str)


class QuotingTests(SimpleTestCase):
    def test_specials(self):
        self.assertEqual(RFC5322_SPECIALS, set('()<>@,:;."[]\\'))
        for char in '()<>@,:;."[]\\':
            with self.subTest(char=char):
                self.assertIs(has_specials(f"a{char}b"), True)
        for ordinary in ["", "a b", "\t", "naïve", "$%=*+_^#!'&/?{|}~`-"]:
            with self.subTest(ordinary=ordinary):
                self.assertIs(has_specials(ordinary), False)

    def test_quote_string(self):
        for plain, quoted in [
            ("plain words", "plain words"),
            ("", ""),
            ("Doe, Jane", '"Doe, Jane"'),
            ("J.", '"J."'),
            ('say "hi"', r'"say \"hi\""'),
            ("back\\slash", r'"back\\slash"'),
            ("naïve, really", '"naïve, really"'),
        ]:
            with self.subTest(plain=plain):
                self.assertEqual(quote_string(plain), quoted)

    def test_quote_string_forced(self):
        self.assertEqual(quote_string("", force=True), '""')
        self.assertEqual(quote_string("plain", force=True), '"plain"')
        self.assertEqual(quote_string('"', force=True), r'"\""')

    def test_unquote_string(self):
        for quoted, plain in [
            ('"Doe, Jane"', "Doe, Jane"),
            (r'"say \"hi\""', 'say "hi"'),
            (r'"back\\slash"', "back\\slash"),
            ('""', ""),
            ('"', ""),
            ("", ""),
            ("plain", "plain"),
            ('"only the start', '"only the start'),
            ('only the end"', 'only the end"'),
            ("<angle>", "<angle>"),
            ('"<angle>"', "<angle>"),
            (r"\"not quoted\"", r"\"not quoted\""),
        ]:
            with self.subTest(quoted=quoted):
                self.assertEqual(unquote_string(quoted), plain)

    @fuzz
    @given(text.filter(lambda value: "\n" not in value))
    def test_round_trip(self, value):
        self.assertEqual(unquote_string(quote_string(value, force=True)), value)


class DateTests(SimpleTestCase):
    def test_rfc2822date(self):
        aware = datetime(2031, 5, 6, 9, 8, 9, tzinfo=timezone(timedelta(hours=2)))
        self.assertEqual(rfc2822date(aware), "Tue, 06 May 2031 07:08:09 GMT")
        # A timestamp, as a float, would be rounded up.
        far = datetime(6326, 1, 1, 0, 0, 0, 999_985, timezone.utc)
        self.assertEqual(rfc2822date(far), "Fri, 01 Jan 6326 00:00:00 GMT")

    def test_rfc2822date_naive_is_local(self):
        naive = datetime(2031, 5, 6, 7, 8, 9)  # noqa: DTZ001
        self.assertEqual(rfc2822date(naive), rfc2822date(naive.astimezone(timezone.utc)))

    def test_parse(self):
        utc = timezone.utc
        for value, expected in [
            ("Tue, 06 May 2031 07:08:09 +0000", datetime(2031, 5, 6, 7, 8, 9, tzinfo=utc)),
            ("Tue, 06 May 2031 09:08:09 +0200", datetime(2031, 5, 6, 7, 8, 9, tzinfo=utc)),
            ("6 May 2031 07:08 GMT", datetime(2031, 5, 6, 7, 8, tzinfo=utc)),
            ("Tue, 06 May 2031 07:08:09 GMT", datetime(2031, 5, 6, 7, 8, 9, tzinfo=utc)),
        ]:
            with self.subTest(value=value):
                parsed = parse_rfc2822date(value)
                self.assertIsNotNone(parsed.tzinfo)
                self.assertEqual(parsed, expected)

    def test_parse_other_offsets(self):
        for offset, hours in [
            ("-04:00", -4), ("GMT-04:00", -4), ("GMT-0400", -4), ("UTC+5:30", 5.5), ("-4:00", -4),
            (" +02", 2), ("+200", 2), ("  UT+02 (CEST)", 2), ("Z", 0), ("-00:30", -0.5),
        ]:  # fmt: skip
            with self.subTest(offset):
                parsed = parse_rfc2822date(f"Tue, 06 May 2031 07:08:09 {offset}")
                self.assertEqual(parsed.utcoffset(), timedelta(hours=hours))
                self.assertEqual(parsed.replace(tzinfo=None), datetime(2031, 5, 6, 7, 8, 9))  # noqa: DTZ001
        self.assertIsNone(parse_rfc2822date("Tue, 06 May 2031 07:08:09 -00:00").tzinfo)

    def test_parse_naive(self):
        for value in ["Tue, 06 May 2031 07:08:09 -0000", "Tue, 06 May 2031 07:08:09"]:
            with self.subTest(value=value):
                naive = datetime(2031, 5, 6, 7, 8, 9)  # noqa: DTZ001
                self.assertEqual(parse_rfc2822date(value), naive)

    def test_parse_junk(self):
        for value in [
            "",
            " ",
            "junk",
            None,
            5,
            b"bytes",
            "Tue, 31 Feb 2031 07:08:09 +0000",
            "Tue, 06 May 2031 25:08:09 +0000",
            "Tue, 06 May 2031 07:08:09 +9999",
            "Tue, 06 May 99999 07:08:09 +0000",
            "Tue, 06 May 2031 07:08:09 +99999999999999999999",
        ]:
            with self.subTest(value=value):
                self.assertIsNone(parse_rfc2822date(value))

    @fuzz
    @given(
        st.lists(
            st.sampled_from(
                ["Tue,", "6", "May", "2031", "07:08:09", "+0000", "-", ":", ",", " ", "99999", "T"]
            ),
            max_size=9,
        ).map(" ".join)
        | st.text()
    )
    def test_parse_raises_nothing(self, value):
        parsed = parse_rfc2822date(value)
        self.assertTrue(parsed is None or isinstance(parsed, datetime))

    @fuzz
    @given(st.datetimes(timezones=st.just(timezone.utc)).filter(lambda value: value.year >= 1000))
    def test_round_trip(self, value):
        self.assertEqual(parse_rfc2822date(rfc2822date(value)), value.replace(microsecond=0))


class AngleWrapTests(SimpleTestCase):
    def test_angle_wrap(self):
        for value, expected in [
            ("", ""),
            ("id@host", "<id@host>"),
            ("<id@host", "<id@host>"),
            ("id@host>", "<id@host>"),
            ("<id@host>", "<id@host>"),
        ]:
            with self.subTest(value=value):
                self.assertEqual(angle_wrap(value), expected)


class CaseInsensitiveCasePreservingDictTests(SimpleTestCase):
    def test_lookups_ignore_case(self):
        headers = CaseInsensitiveCasePreservingDict({"X-Custom": "1"})
        self.assertIsInstance(headers, CaseInsensitiveDict)
        self.assertEqual(headers["x-custom"], "1")
        self.assertIn("X-CUSTOM", headers)
        self.assertEqual(headers.get("x-other"), None)
        del headers["x-CUSTOM"]
        self.assertEqual(len(headers), 0)

    def test_keeps_the_first_spelling(self):
        headers = CaseInsensitiveCasePreservingDict({"X-Custom": "1"})
        headers["x-custom"] = "2"
        headers.update({"X-CUSTOM": "3"})
        self.assertEqual(list(headers.items()), [("X-Custom", "3")])
        # unlike its parent
        parent = CaseInsensitiveDict({"X-Custom": "1"})
        parent["x-custom"] = "2"
        self.assertEqual(list(parent.items()), [("x-custom", "2")])

    def test_a_key_that_was_removed_is_forgotten(self):
        headers = CaseInsensitiveCasePreservingDict({"X-Custom": "1"})
        del headers["X-Custom"]
        headers["x-custom"] = "2"
        self.assertEqual(list(headers), ["x-custom"])

    def test_construction(self):
        for headers in [
            CaseInsensitiveCasePreservingDict([("A", 1), ("a", 2)]),
            CaseInsensitiveCasePreservingDict({"A": 2}),
            CaseInsensitiveCasePreservingDict(A=2),
        ]:
            self.assertEqual(dict(headers), {"A": 2})
        self.assertEqual(dict(CaseInsensitiveCasePreservingDict()), {})

    def test_copy(self):
        original = CaseInsensitiveCasePreservingDict({"A": 1})
        for duplicate in [
            original.copy(),
            copy.deepcopy(original),
            pickle.loads(pickle.dumps(original)),
        ]:
            self.assertIs(type(duplicate), CaseInsensitiveCasePreservingDict)
            duplicate["a"] = 2
            self.assertEqual(dict(duplicate), {"A": 2})
            self.assertEqual(dict(original), {"A": 1})


class StandardLibraryAssumptionsTests(SimpleTestCase):
    def test_encoded_words_are_what_other_software_decodes(self):
        message = email.message.Message(policy=email.policy.default)
        message["Subject"] = rfc2047_encode("Grüße, Zoë")
        self.assertEqual(message["Subject"], "Grüße, Zoë")
