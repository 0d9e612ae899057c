"""Calling the sandbox with raw HTTP, without anything of Anymail's."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.test import SimpleTestCase

from anymail.sandbox import Sandbox


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class SandboxTestCase(SimpleTestCase):
    """Has a running sandbox."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox = Sandbox()
        self.sandbox.start()
        self.addCleanup(self.sandbox.stop)

    def call(
        self,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Answer:
        address = urlsplit(self.sandbox.base_url)
        connection = HTTPConnection(str(address.hostname), address.port, timeout=5)
        try:
            connection.request(
                method, path, body.encode() if isinstance(body, str) else body, dict(headers or {})
            )
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def post_json(self, path: str, data: Any, **headers: str) -> Answer:
        return self.call(path, json.dumps(data), {"Content-Type": "application/json", **headers})


class AnyKeySandboxTestCase(SandboxTestCase):
    """Has a running sandbox that takes any key."""

    def setUp(self) -> None:
        super().setUp()
        for provider in self.sandbox.providers.values():
            provider.takes_any_key = True


def basic_auth(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def form(fields: list[tuple[str, str]]) -> str:
    return urlencode(fields)


def multipart(*parts: tuple[str, bytes], boundary: str = "limit") -> bytes:
    """Return a multipart form from (head without final newline, content) pairs."""
    body = b"".join(
        f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    )
    return body + f"--{boundary}--\r\n".encode()
