"""A webhook call as data: what a worker needs of a request, and a request made of it again."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.request import HttpHeaders, split_domain_port

from ..exceptions import AnymailConfigurationError
from .downloads import Downloads

MULTIPART = "multipart/form-data"

_DEFAULT_PORTS = {"http": "80", "https": "443"}


def keep_body(request: HttpRequest, esp_name: str) -> None:
    """Have the body of a request be there after its form was read, too.

    Django's limit for bodies is not for files that are uploaded in forms. Here, INBOUND_MAX_BYTES
    limits a form with all of its files. Raises RequestDataTooBig (answered with 400) beyond that,
    AnymailConfigurationError if the form was read already.
    """
    if hasattr(request, "_body"):
        return
    if request.content_type != MULTIPART:
        request.body  # noqa: B018 (which Django keeps)
        return
    if request._read_started:  # type: ignore[attr-defined]
        raise AnymailConfigurationError(
            f"A call of the {esp_name} webhook can't be left to a worker: something, such as a "
            "middleware, has already read the form in it.",
            docs="webhooks_later#webhooks-later-forms",
        )
    limit = Downloads(esp_name).max_bytes
    body = request.read() if limit is None else request.read(limit + 1)
    if limit is not None and len(body) > limit:
        raise RequestDataTooBig(f"{esp_name} webhook call beyond INBOUND_MAX_BYTES={limit}")
    request._body = body


@dataclass(frozen=True, repr=False)  # for content not to be in errors
class Call:
    """A call that was found to be the provider's."""

    id: str
    received: float
    """POSIX time."""
    method: str
    scheme: str
    host: str
    script_name: str
    path: str
    """Without the script name: what the URLconf has."""
    query: str
    headers: Mapping[str, str]
    """Only those that handling the call takes."""
    body: bytes

    @classmethod
    def of(cls, request: HttpRequest, headers: Iterable[str]) -> Call:
        """Return the call in a request whose body is there (see :func:`keep_body`).

        Raises Django's DisallowedHost.
        """
        return cls(
            id=uuid.uuid4().hex,
            received=time.time(),
            method=request.method or "POST",
            scheme=request.scheme or "https",
            host=request.get_host(),
            script_name=request.META.get("SCRIPT_NAME", ""),
            path=request.path_info,
            query=request.META.get("QUERY_STRING", ""),
            headers={
                name: value
                for name in ("Content-Type", *headers)
                if (value := request.headers.get(name)) is not None
            },
            body=request.body,
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Call:
        """Return what :meth:`as_json` was made of."""
        return cls(**{**content, "body": base64.b64decode(content["body"])})

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can express."""
        return {**vars(self), "body": base64.b64encode(self.body).decode("ascii")}

    def request(self) -> HttpRequest:
        """Return a request like the one that it was in, as far as this is known."""
        domain, port = split_domain_port(self.host)
        request = WSGIRequest(
            {
                "REQUEST_METHOD": self.method,
                "SCRIPT_NAME": _as_in_environ(self.script_name),
                "PATH_INFO": _as_in_environ(self.path),
                "QUERY_STRING": self.query,
                "SERVER_NAME": domain,
                "SERVER_PORT": port or _DEFAULT_PORTS.get(self.scheme, "80"),
                "HTTP_HOST": self.host,
                "CONTENT_LENGTH": str(len(self.body)),
                "wsgi.url_scheme": self.scheme,
                "wsgi.input": BytesIO(self.body),
                **{HttpHeaders.to_wsgi_name(name): value for name, value in self.headers.items()},
            }
        )
        request._body = self.body  # The limits were for strangers.
        return request


def _as_in_environ(path: str) -> str:
    return path.encode().decode("latin-1")
