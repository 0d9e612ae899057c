"""Answers are read as http.client reads them, whatever their head is."""

from __future__ import annotations

import http.client
import io
from itertools import product
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from anymail.sending.answers import Answer

from ..properties import examples

USUAL = (
    b"HTTP/1.1 200 OK\r\nDate: Sun, 06 May 2035 08:49:37 GMT\r\nContent-Type: text/plain; a=b\r\n"
    b"X-Test: a, b\r\nx-test: c\r\ncontent-length: 2\r\nSet-Cookie: a=b\r\n\r\n{}"
)

STATUS_LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 422 Unprocessable Entity", b"HTTP/1.1 503 ", b"HTTP/1.1 429"),
    *(b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 100 Continue"),
    *(b"HTTP/1.0 200 OK", b"HTTP/2 200 OK", b"HTTP/1.1 200  OK ", b"HTTP/1.1 2000 OK", b"OK", b""),
    *(b"HTTP/1.1 200 \xc3\xb6", b"HTTP/1.1 302 Found", b"http/1.1 200 OK", b"HTTP/1.1 099 Low"),
]
HEADERS = [
    *(b"Content-Length: 2", b"content-length:2", b"Content-Length: 02", b"Content-Length: -2"),
    *(b"Content-Length: 2, 2", b"Content-Length: x", b"Content-Length : 2", b"Content-Length:"),
    *(
        b"Content-Length: 0",
        b"Content-Length: " + 19 * b"9",
        b"X: Content-Length: 1",
        b" Content-Length: 1",
    ),
    *(b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING: gzip", b"Transfer-Encoding : chunked"),
    *(b"Connection: close", b"Connection: Keep-Alive", b"connection: x, CLOSE", b"Keep-Alive: 5"),
    *(b"Content-Type: application/json", b"Content-Type: text/plain; charset=x"),
    *(b"Content-Type: multipart/mixed; boundary=x", b"content-type:message/rfc822"),
    *(b"Content-Type:  Message/partial", b"X-Empty:", b"X-Empty: ", b"X-Space: a ", b"X-Tab:\ta"),
    *(b" folded", b"\tfolded", b"no colon", b": no name", b"From x: y", b"X Y: z", b"X\xfc: \xfc"),
    *(b"X-CR: a\rb", b"X-LF: a\nX-Next: b", b"X-NUL: a\0b", b"X-VT: a\vb", b"X-NEL: a\xc2\x85b"),
    *(b"Set-Cookie: a=b; Path=/", b"set-cookie: c=d", b"--x", b"X-Long: " + 9000 * b"x", b""),
]


class Socket:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> Any:
        return io.BufferedReader(io.BytesIO(self.data))  # type: ignore[type-var]


def read(answer_class: Any, data: bytes, method: str = "POST") -> Any:
    """Return all of an answer that anybody can look at, or the type of an error."""
    answer = answer_class(Socket(data), method=method)
    try:
        answer.begin()
        content = answer.read()
    except Exception as error:  # noqa: BLE001 (the same must come from both)
        return type(error), str(error)
    headers = answer.headers
    assert headers is answer.msg
    return {
        **{name: value for name, value in vars(answer).items() if name not in ("headers", "msg")},
        "header items": list(headers.items()),
        "defects": list(map(str, headers.defects)),
        "payload": headers.is_multipart() or headers.get_payload(),
        "content": content,
    }


class AnswerTests(SimpleTestCase):
    def test_usual_head(self):
        for data in (USUAL, USUAL.replace(b"200 OK", b"422 Unprocessable Entity")):
            expected = read(http.client.HTTPResponse, data)
            with patch("http.client.parse_headers", side_effect=AssertionError):
                self.assertEqual(read(Answer, data), expected)

    def test_every_line(self):
        length = b"Content-Length: 2"
        for line in STATUS_LINES:
            self.assert_same(line, [length])
        for line in HEADERS:
            self.assert_same(STATUS_LINES[0], [line])
            self.assert_same(STATUS_LINES[0], [b"X-First: 1", length, line, b"X-Last: 1"])
            self.assert_same(STATUS_LINES[0], [length, line], method="HEAD")
        for first, second in product(HEADERS[:10], repeat=2):
            self.assert_same(STATUS_LINES[0], [first, second])

    @given(
        status=st.sampled_from(STATUS_LINES[:4]) | st.sampled_from(STATUS_LINES),
        headers=st.lists(st.sampled_from(HEADERS), max_size=6),
        method=st.sampled_from(["POST", "HEAD"]),
        body=st.sampled_from([b"{}", b"", b"1\r\na\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
        end=st.sampled_from([b"\r\n", b"\n", b"\r", b""]),
    )
    @examples(200)
    def test_mixtures(self, **lines: Any):
        self.assert_same(**lines)

    @given(data=st.binary(max_size=30), at=st.integers(0, len(USUAL)), cut=st.integers(0, 30))
    @examples(200)
    def test_broken(self, data: bytes, at: int, cut: int):
        broken = USUAL[:at] + data + USUAL[at + cut :]
        self.assertEqual(read(Answer, broken), read(http.client.HTTPResponse, broken))

    def test_many_headers(self):
        for count in (49, 50, 99, 100, 101):
            self.assert_same(STATUS_LINES[0], [b"X: y"] * count + [b"Content-Length: 2"])

    def assert_same(
        self,
        status: bytes,
        headers: list[bytes],
        method: str = "POST",
        body: bytes = b"{}",
        end: bytes = b"\r\n",
    ) -> None:
        data = b"\r\n".join([status, *headers, end]) + body
        self.assertEqual(
            read(Answer, data, method), read(http.client.HTTPResponse, data, method), data
        )
