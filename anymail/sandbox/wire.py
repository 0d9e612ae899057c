"""HTTP as the sandbox's providers see it: API calls, answers, and calls of webhooks.

Bodies are decoded here, from the bytes that arrived, and not by what Anymail's backends and
webhooks are made of: a mistake there must not be able to hide behind the same mistake here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_string
from typing import Any
from urllib.parse import parse_qsl

from requests.structures import CaseInsensitiveDict


class MalformedRequest(ValueError):
    """A request whose body is not what its Content-Type says."""


@dataclass(frozen=True)
class UploadedFile:
    """A file in a multipart form. The content type is as sent, parameters included."""

    field: str
    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Form:
    """The fields and files of a form, in the order of the request. Fields can be repeated."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[UploadedFile] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the first value of a field, or None."""
        return next((value for key, value in self.fields if key == name), None)

    def get_list(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self.fields if key == name]

    def with_prefix(self, prefix: str) -> dict[str, str]:
        """Return the last value of each field whose name has the prefix, without the prefix."""
        return {
            name[len(prefix) :]: value for name, value in self.fields if name.startswith(prefix)
        }


@dataclass(frozen=True)
class ApiRequest:
    """A call of a provider's API.

    ``path`` is what follows the sandbox's URL for the provider, percent-encoded as it was sent.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: CaseInsensitiveDict[str] = field(default_factory=CaseInsensitiveDict)
    body: bytes = b""

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case and without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User name and password; None if there are none that can be decoded."""
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            decoded = base64.b64decode(credentials.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        user, _, password = decoded.partition(":")
        return user, password

    @property
    def bearer(self) -> str | None:
        """The token of a bearer; None if there is none."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    def json(self) -> Any:
        """Return the body's JSON. Raises MalformedRequest."""
        try:
            return json.loads(self.body.decode())
        except (ValueError, RecursionError) as err:
            raise MalformedRequest("The body is not JSON in UTF-8") from err

    def form(self) -> Form:
        """Return the body's form, URL-encoded or multipart. Raises MalformedRequest."""
        if self.content_type == "multipart/form-data":
            return _parse_multipart(self.body, self.headers["Content-Type"])
        if self.content_type == "application/x-www-form-urlencoded":
            try:
                return Form(parse_qsl(self.body.decode(), keep_blank_values=True, errors="strict"))
            except ValueError as err:
                raise MalformedRequest("The body is not a URL-encoded form in UTF-8") from err
        raise MalformedRequest(f"The body's type is {self.content_type!r}, not a form")


@dataclass(frozen=True)
class ApiResponse:
    """An answer to an API call.

    ``stream`` is in place of a body, for one that has no end: the connection is closed after it.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None

    @classmethod
    def json(cls, data: Any, status: int = 200) -> ApiResponse:
        """Return an answer in JSON."""
        return cls(status, json.dumps(data).encode(), "application/json")

    @classmethod
    def text(cls, text: str, status: int = 200) -> ApiResponse:
        """Return an answer in plain text."""
        return cls(status, text.encode())


@dataclass(frozen=True)
class WebhookCall:
    """A POST request that a provider sends to a webhook.

    What it is about is filled in by the sandbox: provider and event, the recipient's addr-spec, and
    the number of the message, 0 for none.
    """

    url: str
    body: bytes
    headers: Mapping[str, str]
    provider: str = ""
    event: str = ""
    recipient: str = ""
    message: int = 0

    @classmethod
    def json(cls, url: str, data: Any, headers: Mapping[str, str] | None = None) -> WebhookCall:
        """Return a call with a JSON body."""
        return cls(
            url, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})}
        )


# -- Multipart forms (RFC 7578) -------------------------------------------------------------------

_ESCAPED = re.compile("%(22|0D|0A)", re.IGNORECASE)


def _parse_multipart(body: bytes, content_type: str) -> Form:
    # Neither the email package, which takes raw UTF-8 in headers for garbage, nor Django's parser,
    # whose limits come from the settings of a project that never receives these forms.
    boundary = message_from_string(f"Content-Type: {content_type}\n\n").get_boundary()
    if not boundary:
        raise MalformedRequest("The multipart form has no boundary")
    _preamble, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or not parts.pop().startswith(b"--"):
        raise MalformedRequest("The multipart form is not terminated")
    form = Form()
    for part in parts:
        _parse_part(part, form)
    return form


def _parse_part(part: bytes, form: Form) -> None:
    head, separator, content = part.partition(b"\r\n\r\n")
    try:
        headers = message_from_string(head.decode().lstrip())
        name = headers.get_param("name", header="Content-Disposition")
        filename = headers.get_param("filename", header="Content-Disposition")
        if not separator or not isinstance(name, str):
            raise MalformedRequest("A part of the multipart form has no name")
        # `filename*=` (RFC 2231) is not for forms, and not understood by providers either.
        if isinstance(filename, str):
            form.files.append(
                UploadedFile(
                    _unescape(name),
                    _unescape(filename),
                    headers.get("Content-Type", "application/octet-stream"),
                    content,
                )
            )
        else:
            form.fields.append((_unescape(name), content.decode()))
    except UnicodeDecodeError as err:
        raise MalformedRequest("A part of the multipart form is not in UTF-8") from err


def _unescape(value: str) -> str:
    """Undo what browsers and urllib3 do to names: https://url.spec.whatwg.org/#multipart-form-data"""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)
