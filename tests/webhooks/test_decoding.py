from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from django.test import RequestFactory, SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from anymail.addresses import parse_single_address
from anymail.exceptions import AnymailInvalidAddress, AnymailWebhookValidationFailure
from anymail.webhooks.decoding import (
    MAX_JSON_NESTING,
    as_addr_spec,
    as_float,
    as_iso_time,
    as_metadata,
    as_str,
    as_tags,
    as_unix_time,
    as_word,
    decode_base64,
    form_data,
    get_list,
    get_object,
    get_path,
    json_body,
    json_object,
    json_objects,
    json_or_none,
    parse_json,
)

from ..properties import examples

fuzz = examples(300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def post(body: str | bytes, content_type: str = "application/json") -> Any:
    return RequestFactory().post("/", body, content_type=content_type)


class FailureTestCase(SimpleTestCase):
    def refused(self, text: str, function: Any, *args: Any) -> AnymailWebhookValidationFailure:
        with self.assertRaises(AnymailWebhookValidationFailure) as caught:
            function(*args)
        self.assertIn(text, str(caught.exception))
        return caught.exception


class JsonTests(FailureTestCase):
    malformed = [b"", b" ", b"{", b"{'a': 1}", b"\xff", b"[" * 200_000, b"1" * 10_000, b"nope"]

    def test_parse_json(self):
        for text in ['{"a": ["\\u00e9", null]}', b'{"a": ["\xc3\xa9", null]}']:
            self.assertEqual(parse_json(text, "this"), {"a": ["é", None]})
        for text in self.malformed:
            with self.subTest(text=text[:9]):
                error = self.refused("Invalid JSON in this", parse_json, text, "this")
                self.assertIsNotNone(error.__cause__)

    def test_nesting(self):
        def nested(levels):
            half = levels // 2
            return '{"a": [' * half + "[" * (levels % 2) + "]" * (levels % 2) + "]}" * half

        for levels in (MAX_JSON_NESTING - 1, MAX_JSON_NESTING):
            self.assertEqual(parse_json(nested(levels), "this"), json.loads(nested(levels)))
            self.assertEqual(json_or_none(nested(levels)), json.loads(nested(levels)))
        for levels in (MAX_JSON_NESTING + 1, MAX_JSON_NESTING + 2, 900, 200_000):
            with self.subTest(levels):
                self.refused("Invalid JSON in this", parse_json, nested(levels), "this")
                self.refused("this", parse_json, f"[1, {nested(levels - 1)}, 2]", "this")
                self.assertIsNone(json_or_none(nested(levels)))
        # There can be as many as you like side by side, or in text.
        many = [[{"a": []}]] * 1000
        self.assertEqual(parse_json(json.dumps(many), "this"), many)
        self.assertEqual(parse_json(json.dumps(["[" * 1000]), "this"), ["[" * 1000])

    def test_nesting_of_pairs(self):
        text = '{"a":' * 101 + "1" + "}" * 101
        self.refused("this", parse_json, text, "this", tuple)

    def test_numbers_that_are_not_finite(self):
        for text in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", f"{10**400}.0"):
            for body in (text, f"[{text}]", f'{{"a": {text}}}'):
                with self.subTest(body=body[:20]):
                    self.refused("Invalid JSON in this", parse_json, body, "this")
        self.assertEqual(parse_json('["NaN", 1e300, 1e-999]', "this"), ["NaN", 1e300, 0.0])

    def test_same_key_twice(self):
        self.assertEqual(parse_json('{"a": 1, "a": [2], "b": 3}', "this"), {"a": [2], "b": 3})

    def test_lone_surrogates(self):
        for text, expected in [
            (r'{"\ud800": ["a\uDFFFb", 1]}', {"\ufffd": ["a\ufffdb", 1]}),
            (r'"\ud83d\ude00"', "\U0001f600"),
            (r'"\ude00\ud83d"', "\ufffd\ufffd"),
            ('"\ud800"', "\ufffd"),
            (r'"\\ud800"', r"\ud800"),
        ]:
            with self.subTest(text=ascii(text)):
                self.assertEqual(parse_json(text, "this"), expected)
        self.refused("this", parse_json, b'"\xed\xa0\x80"', "this")
        pairs = parse_json(r'{"a\ud800": 1, "a": 2}', "this", tuple)
        self.assertEqual(pairs, (("a\ufffd", 1), ("a", 2)))

    def test_encodings(self):
        self.assertEqual(parse_json(b'\xef\xbb\xbf{"a": 1}', "this"), {"a": 1})
        for encoding in ("utf-16", "utf-16-le", "utf-32"):
            self.refused("this", parse_json, '{"a": 1}'.encode(encoding), "this")

    def test_json_or_none(self):
        for text, expected in [
            ('{"a": 1}', {"a": 1}),
            (b"[1]", [1]),
            ("null", None),
            ("nope", None),
            ("NaN", None),
            ("", None),
            (None, None),
            (5, None),
            ({"a": 1}, None),
        ]:
            self.assertEqual(json_or_none(text), expected)

    def test_json_body(self):
        for value in [{"a": 1}, [1], "text", 5, None]:
            self.assertEqual(json_body(post(json.dumps(value)), "My ESP"), value)
        for body in self.malformed:
            with self.subTest(body=body[:9]):
                self.refused("Invalid JSON in My ESP webhook", json_body, post(body), "My ESP")

    def test_json_object(self):
        self.assertEqual(json_object(post('{"a": 1}'), "My ESP"), {"a": 1})
        for body in ["[]", "[{}]", "null", "5", '"text"']:
            with self.subTest(body=body):
                self.refused("My ESP", json_object, post(body), "My ESP")
        self.refused("Invalid JSON", json_object, post("{"), "My ESP")

    def test_json_objects(self):
        self.assertEqual(json_objects(post("[]"), "My ESP"), [])
        self.assertEqual(json_objects(post('[{"a": 1}, {}]'), "My ESP"), [{"a": 1}, {}])
        for body in ["{}", "[[]]", '[{}, "a"]', "null", "[null]"]:
            with self.subTest(body=body):
                self.refused("My ESP", json_objects, post(body), "My ESP")
        self.refused("Invalid JSON", json_objects, post("{"), "My ESP")

    def test_errors_have_no_content(self):
        for body in ['{"private": ', '["private"]']:
            with self.assertRaises(AnymailWebhookValidationFailure) as caught:
                json_object(post(body), "My ESP")
            self.assertNotIn("private", str(caught.exception))

    @fuzz
    @given(st.binary() | st.text())
    def test_any_body(self, body):
        for function in [json_body, json_object, json_objects]:
            try:
                function(post(body), "My ESP")
            except AnymailWebhookValidationFailure as error:
                self.assertIn("My ESP", str(error))


class FormTests(FailureTestCase):
    def test_form_data(self):
        form = form_data(RequestFactory().post("/", {"a": ["1", "2"], "b": "é"}), "My ESP")
        self.assertEqual(form.getlist("a"), ["1", "2"])
        self.assertEqual(form["b"], "é")

    def test_malformed(self):
        for content_type in ["multipart/form-data", "multipart/form-data; boundary="]:
            with self.subTest(content_type=content_type):
                error = self.refused("My ESP", form_data, post(b"x", content_type), "My ESP")
                self.assertIsNotNone(error.__cause__)

    def test_codecs_that_are_not_for_text(self):
        body = (
            b"--B\r\nContent-Disposition: form-data; name*=hex''%41\r\n\r\nx\r\n"
            b'--B\r\nContent-Disposition: form-data; name="b"\r\n\r\ny\r\n--B--\r\n'
        )
        request = post(body, "multipart/form-data; boundary=B")
        try:
            form = form_data(request, "My ESP")
        except AnymailWebhookValidationFailure:
            return
        # Newer versions of Django skip what they can't decode.
        self.assertEqual(form["b"], "y")


class Base64Tests(FailureTestCase):
    def test_decode_base64(self):
        for value, expected in [
            ("bmHDr3Zl", "naïve".encode()),
            ("bmHD\r\n r3Zl\n", "naïve".encode()),
            ("", b""),
            (None, b""),
            ([], b""),
        ]:
            with self.subTest(value=value):
                self.assertEqual(decode_base64(value, "this"), expected)
        for value in ["abc", "a", "é"]:
            with self.subTest(value=value):
                self.refused("Invalid base64 in this", decode_base64, value, "this")


class PathTests(SimpleTestCase):
    data = {"a": {"b": {"c": 1}, "list": [1], "none": None}, "text": "x"}

    def test_get_path(self):
        for keys, expected in [
            ((), self.data),
            (("a", "b", "c"), 1),
            (("a", "x", "c"), None),
            (("text", "x"), None),
            (("a", "list", "0"), None),
            (("a", "none", "c"), None),
            (("x",), None),
        ]:
            with self.subTest(keys=keys):
                self.assertEqual(get_path(self.data, *keys), expected)
        for data in [None, [], "text", 5]:
            self.assertIsNone(get_path(data, "a"))

    def test_get_object(self):
        self.assertIs(get_object(self.data, "a", "b"), self.data["a"]["b"])
        for keys in [("a", "list"), ("text",), ("x",), ("a", "none")]:
            self.assertEqual(get_object(self.data, *keys), {})

    def test_get_list(self):
        self.assertIs(get_list(self.data, "a", "list"), self.data["a"]["list"])
        for keys in [("a", "b"), ("text",), ("x",), ("a", "none")]:
            self.assertEqual(get_list(self.data, *keys), [])


class ConversionTests(SimpleTestCase):
    def check(self, function: Any, cases: list[tuple[Any, Any]]) -> None:
        for value, expected in cases:
            with self.subTest(value=value):
                result = function(value)
                self.assertEqual(result, expected)
                self.assertIs(type(result), type(expected))

    def test_as_str(self):
        self.check(
            as_str,
            [
                ("text", "text"),
                ("", ""),
                (5, "5"),
                (0, "0"),
                (2.5, "2.5"),
                *[(value, None) for value in [None, True, False, [], {}, ["a"], b"a"]],
            ],
        )

    def test_as_word(self):
        self.check(as_word, [("word", "word"), ("", ""), (None, ""), (5, ""), (["a"], "")])

    def test_as_float(self):
        self.check(
            as_float,
            [
                (5, 5.0),
                (2.5, 2.5),
                ("2.5", 2.5),
                (" -1 ", -1.0),
                (0, 0.0),
                *[(value, None) for value in [None, True, "", "x", [], {}, ["1"]]],
                *[(value, None) for value in ["nan", "inf", float("nan"), float("inf"), 10**400]],
            ],
        )

    def test_as_tags(self):
        self.check(
            as_tags,
            [
                (["a", "b"], ["a", "b"]),
                ("a", ["a"]),
                (5, ["5"]),
                (["a", 5, None, "", ["b"], {}, True], ["a", "5"]),
                *[(value, []) for value in [None, "", [], {}, {"a": 1}, True]],
            ],
        )

    def test_as_metadata(self):
        self.check(
            as_metadata,
            [
                ({"a": {"b": 1}}, {"a": {"b": 1}}),
                *[(value, {}) for value in [None, "", "text", [], [("a", 1)], 5]],
            ],
        )
        original = {"a": 1}
        as_metadata(original)["b"] = 2
        self.assertEqual(original, {"a": 1})

    def test_as_addr_spec(self):
        self.check(
            as_addr_spec,
            [
                ("a@example.com", "a@example.com"),
                ("Jane <a@example.com>", "a@example.com"),
                ('"Doe, Jane" <a@example.com>', "a@example.com"),
                ("<a@example.com>", "a@example.com"),
                # As it is, if it can't be parsed:
                ("not an address", "not an address"),
                ("a@b.c, d@e.f", "a@b.c, d@e.f"),
                ("(" * 50_000, "(" * 50_000),
                *[(value, None) for value in [None, "", "  ", "<>", " <> ", 5, [], {}, ["a@b.c"]]],
            ],
        )

    @fuzz
    @given(
        st.from_regex(
            r"[a-zA-Z\u00e9.=?+'\" <>()@,:-]{1,8}@?[a-z\u00e9.=?<> -]{1,8}", fullmatch=True
        )
    )
    def test_addr_spec_is_that_of_the_parsed_address(self, text):
        try:
            expected = parse_single_address(text).addr_spec
        except AnymailInvalidAddress:
            expected = text
        if text.strip() not in ("", "<>"):
            self.assertEqual(as_addr_spec(text), expected)

    @fuzz
    @given(json_values)
    def test_any_value(self, value):
        for function, types in [
            (as_str, (str, type(None))),
            (as_word, (str,)),
            (as_float, (float, type(None))),
            (as_metadata, (dict,)),
            (as_addr_spec, (str, type(None))),
            (as_unix_time, (datetime, type(None))),
            (as_iso_time, (datetime, type(None))),
        ]:
            self.assertIsInstance(function(value), types)
        self.assertTrue(all(type(tag) is str for tag in as_tags(value)))


class TimeTests(SimpleTestCase):
    def test_as_unix_time(self):
        for value, expected in [
            (1_600_000_000, datetime(2020, 9, 13, 12, 26, 40, tzinfo=timezone.utc)),
            ("1600000000", datetime(2020, 9, 13, 12, 26, 40, tzinfo=timezone.utc)),
            (1_600_000_000.25, datetime(2020, 9, 13, 12, 26, 40, 250_000, tzinfo=timezone.utc)),
            (0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
            (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
            *[(value, None) for value in [None, "", "x", [], True, 1e20, -1e20, "nan", 10**400]],
        ]:
            with self.subTest(value=value if value != 10**400 else "huge"):
                parsed = as_unix_time(value)
                self.assertEqual(parsed, expected)
                self.assertTrue(parsed is None or parsed.utcoffset() == timedelta(0))

    def test_as_iso_time(self):
        expected = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
        for text in [
            "2031-05-06T07:08:09Z",
            "2031-05-06T07:08:09+00:00",
            "2031-05-06T09:08:09+02:00",
            "2031-05-06T09:08:09+0200",
            "2031-05-06 07:08:09",
            "2031-05-06T07:08:09",
            " 2031-05-06T07:08:09.000Z\n",
        ]:
            with self.subTest(text=text):
                self.assertEqual(as_iso_time(text), expected)
                self.assertIsNotNone(as_iso_time(text).tzinfo)

    def test_fractions(self):
        for digits in range(1, 25):
            fraction = "123456789012345678901234"[:digits]
            with self.subTest(fraction=fraction):
                for offset in ["Z", "+00:00", ""]:
                    self.assertEqual(
                        as_iso_time(f"2031-05-06T07:08:09.{fraction}{offset}"),
                        datetime(
                            2031, 5, 6, 7, 8, 9, int(fraction[:6].ljust(6, "0")), timezone.utc
                        ),
                    )

    def test_junk(self):
        for value in [
            "",
            "x",
            "2031-02-31T00:00:00Z",
            "2031-05-06T25:00:00Z",
            "2031-05-06T07:08:09+99:99",
            "1600000000",
            None,
            5,
            [],
            "0000-00-00T00:00:00Z",
        ]:
            with self.subTest(value=value):
                self.assertIsNone(as_iso_time(value))

    @fuzz
    @given(
        st.lists(
            st.sampled_from(
                ["2031", "05", "-", "06", "T", "07", ":", "Z", "+", "99", ".", "é", "W"]
            ),
            max_size=16,
        ).map("".join)
        | st.text()
    )
    def test_any_text(self, text):
        parsed = as_iso_time(text)
        self.assertTrue(parsed is None or parsed.tzinfo is not None)
