"""Large JSON is decoded in another way, to the same result."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.webhooks import decoding, large_json

from ..properties import examples

TEXTS = st.text(max_size=40) | st.text(alphabet='"\\\n é€😀\ud83da', max_size=40)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def parse(body: bytes) -> Any:
    try:
        return decoding._parse_json(body, "this")
    except AnymailWebhookValidationFailure as error:
        return str(error)


class LargeJsonTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.limits = ExitStack()
        self.addCleanup(self.limits.close)
        for name, value in {"LONG": 8, "MIN_AVERAGE": 0, "_MAX_ESCAPES": 1000}.items():
            self.limits.enter_context(patch.object(large_json, name, value))

    def parse_large(self, body: bytes, size: int = 16) -> Any:
        pieces = (body[start : start + size] for start in range(0, len(body), size))
        try:
            return decoding.parse_large_json(pieces, "this")
        except large_json.NotLargeError:
            return parse(body)

    @examples(600)
    @example(data=["long 0 0" * 3], size=20, ascii_only=True, indent=None)
    @example(data={"a long key, which is one": 1}, size=20, ascii_only=True, indent=None)
    @example(data="\\" * 30 + '"😀\ud83d', size=13, ascii_only=True, indent=None)
    @given(
        data=DATA,
        size=st.integers(13, 40),
        ascii_only=st.booleans(),
        indent=st.sampled_from([None, 1]),
    )
    def test_same(self, data: Any, size: int, ascii_only: bool, indent: int | None) -> None:
        text = json.dumps(data, ensure_ascii=ascii_only, indent=indent)
        body = text.encode("utf-8", "surrogatepass")
        self.assertEqual(self.parse_large(body, size), parse(body))

    @examples(600)
    @example(body=b'["too long to be \x00"]', size=16)
    @example(body=b'{"a": \\"b"}', size=16)
    @given(
        body=st.lists(
            st.sampled_from([*b'"\\[]{}:,u0d8 a\xc3\xa9\x00']).map(lambda byte: bytes([byte]))
            | st.sampled_from([b'"long enough"', b"\\ud83d", b"\\ude00", b'{"a": "', b"\\\\"]),
            max_size=30,
        ).map(b"".join),
        size=st.integers(1, 40),
    )
    def test_junk(self, body: bytes, size: int) -> None:
        self.assertEqual(self.parse_large(body, size), parse(body))

    def test_used_for_large_bodies(self) -> None:
        """Unless most strings are short, or there are escape sequences wherever one looks."""
        self.limits.close()
        message = "a line of text\r\n" * 120_000 + "я" * 5_000 + "a line of text\r\n" * 60_000
        body = json.dumps({"message": message, "other": [1, "short"]}).encode()
        with patch.object(decoding, "_parse_json", wraps=decoding._parse_json) as in_python:
            expected = {"message": message, "other": [1, "short"]}
            self.assertEqual(decoding.parse_json(body, "this"), expected)
            self.assertLess(len(in_python.call_args.args[0]), 100)
            for data in (["short"] * 150_000, ["\n" * 2_000_000]):
                body = json.dumps(data).encode()
                self.assertEqual(decoding.parse_json(body, "this"), data)
                self.assertEqual(in_python.call_args.args[0], body)

    def test_invalid(self) -> None:
        self.limits.close()
        for body in (b'["' + b"a" * 2_000_000, b'["' + b"a" * 2_000_000 + b'\x01"]'):
            with self.assertRaisesMessage(AnymailWebhookValidationFailure, "Invalid JSON in this"):
                decoding.parse_json(body, "this")
