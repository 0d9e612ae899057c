"""API calls, without a network: those that are answered here, and those that are only looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from ..backends.base import AnymailBaseBackend
from ..masking import CREDENTIAL_NAME, MASK, mask_credentials, mask_urls
from ..sandbox.wire import ApiRequest, ApiResponse


@dataclass(frozen=True)
class ProviderCall:
    """A call of a provider's API, with credentials masked.

    ``further`` are the other calls, if the message takes more than one. ``str()`` shows all of it.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    further: tuple[ProviderCall, ...] = ()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body's JSON. Raises ValueError if it's none."""
        return json.loads(self.body)

    def __str__(self) -> str:
        try:
            content = json.dumps(self.json, indent=2, ensure_ascii=False)
        except ValueError:
            content = self.text
        lines = [
            f"{self.method} {self.url}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            "",
            content,
        ]
        return "\n\n".join(["\n".join(lines), *map(str, self.further)])


Answer = Callable[[str, ApiRequest], "ApiResponse | Exception"]
"""Takes the URL and the call, and returns the provider's answer, or what is to be raised."""


def answer_calls(backend: AnymailBaseBackend, answer: Answer) -> None:
    """Have the calls of a backend answered by a function, from when it's opened."""
    patched: Any = backend
    original_open = backend.open

    def open_without_network() -> bool | None:
        opened = original_open()
        if opened:
            _connect(patched, answer)
        return opened

    patched.open = open_without_network


def _connect(backend: Any, answer: Answer) -> None:
    session = getattr(backend, "session", None)
    client = getattr(backend, "client", None)
    if session is not None:
        session.adapters.clear()
        session.trust_env = False
        session.mount("https://", _Adapter(answer))
        session.mount("http://", _Adapter(answer))
    if client is not None:  # boto3's
        client.meta.events.register("before-send", _BotoHandler(answer))


def _api_request(request: Any) -> ApiRequest:
    """Return a request of requests' or botocore's as the sandbox's providers have it."""
    body = request.body
    url = urlsplit(request.url)
    headers = {name: _text(value) for name, value in request.headers.items()}
    return ApiRequest(
        method=request.method,
        path=url.path,
        headers=CaseInsensitiveDict({"Host": url.netloc, **headers}),
        body=body.encode() if isinstance(body, str) else bytes(body or b""),
    )


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _http_response(response: ApiResponse) -> HTTPResponse:
    return HTTPResponse(
        body=BytesIO(response.body),
        headers={"Content-Type": response.content_type, **response.headers},
        status=response.status,
        preload_content=False,
    )


class _Adapter(HTTPAdapter):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        response = self._answer(str(request.url), _api_request(request))
        if isinstance(response, Exception):
            raise response
        return self.build_response(request, _http_response(response))


class _BotoHandler:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __call__(self, request: Any, **kwargs: Any) -> Any:
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

        response = self._answer(request.url, _api_request(request))
        if isinstance(response, requests.exceptions.ConnectTimeout):
            raise EndpointConnectionError(endpoint_url=request.url)
        if isinstance(response, Exception):
            raise ConnectionClosedError(endpoint_url=request.url)
        raw = _http_response(response)
        return AWSResponse(request.url, response.status, raw.headers, raw)


def collect_calls(backend: AnymailBaseBackend, message: Any) -> ProviderCall:
    """Return the call that would send a message with a backend.

    Raises what the backend does if the message can't be sent with it.
    """
    calls: list[ProviderCall] = []
    credentials = list(backend._credentials())

    def note(url: str, request: ApiRequest) -> ApiResponse:
        calls.append(_masked(url, request, credentials))
        return ApiResponse.json({})

    answer_calls(backend, note)
    with backend:
        payload = backend.build_message_payload(message, backend.send_defaults)
        for part in payload.split():
            backend.make_call(backend.prepare_call(part))
    first, *further = calls
    return ProviderCall(first.method, first.url, first.headers, first.body, tuple(further))


def _masked(url: str, request: ApiRequest, credentials: list[str]) -> ProviderCall:
    headers = {
        name: MASK if CREDENTIAL_NAME.search(name) else mask_credentials(value, credentials)
        for name, value in request.headers.items()
    }
    try:
        body = mask_credentials(request.body.decode(), credentials).encode()
    except UnicodeDecodeError:
        body = request.body
        for credential in credentials:
            body = body.replace(credential.encode(), MASK.encode())
    return ProviderCall(
        request.method, mask_credentials(mask_urls(url), credentials), headers, body
    )
