"""Forms in webhook calls, as views read them."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import QueryDict
from django.test import RequestFactory, SimpleTestCase, override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.webhooks import forms
from anymail.webhooks.forms import URLENCODED, Fields, read_form

from ..properties import examples

SIZE = 100_000


class ReadFormTests(SimpleTestCase):
    def read(self, content: bytes) -> int:
        """Have a form read. Returns how many bytes of memory it takes, beyond the request."""
        body = (
            b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\n%b\r\n--x--\r\n' % content
        )
        request = RequestFactory().generic("POST", "/", body, "multipart/form-data; boundary=x")
        tracemalloc.start()
        try:
            fields = read_form(request, "ESP")
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(dict(fields), {"email": content})
        self.assertEqual(request.POST["email"], content.decode(errors="replace"))
        return held

    def test_text_is_kept_once(self):
        self.assertLess(self.read(b"x" * SIZE), 1.5 * SIZE)

    def test_bytes_that_are_no_text_are_kept(self):
        self.assertGreater(self.read(b"\xe4" + b"x" * SIZE), 2 * SIZE)


PART = b'Content-Disposition: form-data; name="%b"%b\r\n\r\n'
FILE = PART % (b"c", b'; filename="c.txt"')
BASE64 = PART % (b"d", b"\r\nContent-Transfer-Encoding: base64")


class FormInMemoryTests(SimpleTestCase):
    """Where the body is in memory, for a signature, long fields are not copied from there."""

    def read(self, body: bytes, *, in_memory: bool) -> Any:
        request = RequestFactory().generic("POST", "/", body, "multipart/form-data; boundary=x")
        if in_memory:
            self.assertEqual(request.body, body)
        try:
            fields = dict(read_form(request, "ESP"))
        except AnymailWebhookValidationFailure as error:
            return str(error)
        files = [(name, file.name, file.read()) for name, file in request.FILES.items()]
        return fields, dict(request.POST.lists()), files

    @examples(600)
    @example(pieces=[b"--x\r\n", PART % (b"a", b""), "ä".encode() * 9, b"\n--x", b"--\r\n"])
    @example(pieces=[b"--x\r\n", PART % (b"a", b""), b"\xe4" * 9, b"\r\n--x--\r\n"])
    @example(pieces=[b"--x\r\n", FILE, b"a long value", b"\r\n--x--\r\n"])
    @example(pieces=[b"--x\r\n", BASE64, b"YSBsb25nIG9uZQ==", b"\r\n--x--\r\n"])
    @given(
        pieces=st.lists(
            st.sampled_from([b"--x\r\n", b"\r\n--x\r\n", b"\r\n--x--\r\n", b"--x", b"\r\n", b"\n"])
            | st.sampled_from([PART % (b"a", b""), PART % (b"b", b""), FILE, BASE64])
            | st.sampled_from([b"a long value", b"\xe4\r\n and more", b"YSBsb25nIG9uZQ==", b"-"])
        )
    )
    def test_same(self, pieces: list[bytes]) -> None:
        body = b"".join(pieces)
        with patch.object(forms, "PIECE", 8):
            expected = self.read(body, in_memory=False)
            self.assertEqual(self.read(body, in_memory=True), expected)

    def test_limit(self) -> None:
        """It is Django that tells that a field is too long."""
        body = b"--x\r\n" + PART % (b"a", b"") + b"long" * 99 + b"\r\n--x--\r\n"
        request = RequestFactory().generic("POST", "/", body, "multipart/form-data; boundary=x")
        self.assertEqual(request.body, body)
        with (
            patch.object(forms, "PIECE", 8),
            override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=90),
            self.assertRaises(RequestDataTooBig),
        ):
            read_form(request, "ESP")


class UrlencodedTests(SimpleTestCase):
    """They are not decoded by Django, which needs many times the size of a large one."""

    def setUp(self) -> None:
        super().setUp()
        patcher = patch.object(forms, "PIECE", 8)
        patcher.start()
        self.addCleanup(patcher.stop)

    def read(self, body: bytes) -> Fields:
        request = RequestFactory().generic("POST", "/", body, URLENCODED)
        fields = read_form(request, "ESP")
        self.assertFalse(hasattr(request, "_post"))
        return fields

    @examples(500)
    @example(body=b"a=%e2%82%ac+%e2%82%ac%2&a=longer+value%")
    @given(body=st.lists(st.sampled_from([*b"ab=&+%2Ce;\r\n"]), min_size=1).map(bytes))
    def test_same(self, body: bytes) -> None:
        fields = self.read(body)
        self.assertEqual({name: fields.text(name) for name in fields}, QueryDict(body).dict())
        for name in fields:
            self.assertEqual(fields.text(name), fields[name].decode(errors="replace"))
            self.assertEqual(fields.is_given(name), bool(fields[name]))

    def test_json(self) -> None:
        data = [{"message": "a line of tëxt\r\n" * 8}]
        with patch("anymail.webhooks.large_json.LONG", 8):
            fields = self.read(urlencode({"a": json.dumps(data), "b": "no JSON here"}).encode())
            self.assertEqual(fields.parse_json("a", "this"), data)
            with self.assertRaisesMessage(AnymailWebhookValidationFailure, "Invalid JSON in this"):
                fields.parse_json("b", "this")

    def test_request_is_as_ever(self) -> None:
        request = RequestFactory().generic("POST", "/", b"a=b&c=%20", URLENCODED)
        self.assertEqual(dict(read_form(request, "ESP")), {"a": b"b", "c": b" "})
        self.assertEqual(request.POST.dict(), {"a": "b", "c": " "})
        self.assertEqual(request.body, b"a=b&c=%20")

    def test_too_many_fields(self) -> None:
        with override_settings(DATA_UPLOAD_MAX_NUMBER_FIELDS=2):
            self.assertEqual(len(self.read(b"a=b&c=d")), 2)
            with self.assertRaises(TooManyFieldsSent):
                self.read(b"a=b&c=d&e")
