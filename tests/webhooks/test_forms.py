"""Forms in webhook calls, as views read them."""

from __future__ import annotations

import json
import tracemalloc
from unittest.mock import patch
from urllib.parse import urlencode

from django.core.exceptions import TooManyFieldsSent
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
