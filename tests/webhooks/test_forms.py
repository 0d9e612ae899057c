"""Forms in webhook calls, as views read them."""

from __future__ import annotations

import tracemalloc

from django.test import RequestFactory, SimpleTestCase

from anymail.webhooks.forms import read_form

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
