"""Calling an HTTP API in an event loop, with aiohttp: requests' requests, and its responses.

What is sent, and what is made of the answer, is the same as with requests, whose sessions don't
know event loops. Only the way there and back is aiohttp's.

It's chosen over httpx for two reasons. With 200 calls under way, httpx takes more than twenty times
as much processor time for each of them (``benchmarks/async_sending.py``), since its pool looks at
all connections for each call. And aiohttp has had a release every month or two in 2026, while
httpx's last stable one is of 2024.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import timedelta
from email.message import Message
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest
from requests import exceptions as errors
from requests.cookies import extract_cookies_to_jar
from requests.hooks import dispatch_hook
from requests.structures import CaseInsensitiveDict
from requests.utils import (
    DEFAULT_ACCEPT_ENCODING,
    DEFAULT_CA_BUNDLE_PATH,
    get_encoding_from_headers,
    prepend_scheme_if_needed,
    select_proxy,
)
from urllib3.util import SKIP_HEADER
from urllib3.util.ssl_ import create_urllib3_context

from ..exceptions import AnymailImproperlyInstalled
from .connections import watch_handover

try:
    import aiohttp
    from aiohttp.http_exceptions import ContentEncodingError
    from yarl import URL
except ImportError as err:
    raise AnymailImproperlyInstalled(
        missing_package="aiohttp", install_extra="async", feature="sending with asyncio"
    ) from err

MAX_CONNECTIONS_PER_HOST = 200
"""Calls beyond that wait until another one has ended."""

MAX_CONNECTING = 8
"""Connections that are made at a time: computing for TLS takes milliseconds for each, in which the
event loop stands still."""

_ENCODINGS = "gzip, deflate"
"""Those that aiohttp can decode whatever else is installed."""

_LARGE = 500_000
"""From so many bytes on, a body is written piece by piece, for the loop not to stand still."""

# In the order in which they are looked up: subclasses come first.
_REQUESTS_ERRORS: dict[type[Exception], type[requests.RequestException]] = {
    aiohttp.ClientConnectorCertificateError: errors.SSLError,
    aiohttp.ClientSSLError: errors.SSLError,
    aiohttp.ClientProxyConnectionError: errors.ProxyError,
    aiohttp.ClientHttpProxyError: errors.ProxyError,
    aiohttp.ConnectionTimeoutError: errors.ConnectTimeout,
    aiohttp.ServerTimeoutError: errors.ReadTimeout,
    aiohttp.ClientPayloadError: errors.ChunkedEncodingError,
    aiohttp.InvalidURL: errors.InvalidURL,
    aiohttp.ClientError: errors.ConnectionError,
    OSError: errors.ConnectionError,
}


def can_send(
    session: requests.Session, request: PreparedRequest, environment: Mapping[str, Any]
) -> bool:
    """Tell whether a request can be sent here, so that the server can't tell the difference.

    Not if its body is a file or a generator; if a header is not ASCII, or one that urllib3 is to
    leave out; if its auth looks at the answer, as that for digest authentication; or if its proxy
    doesn't speak HTTP without TLS, such as one for SOCKS. ``environment`` is as for :func:`send`.
    """
    if not isinstance(request.body, (bytes, str, type(None))) or request.hooks != session.hooks:
        return False
    proxy = _proxy(str(request.url), environment["proxies"])
    if proxy is not None and urlsplit(proxy).scheme.lower() != "http":
        return False
    return all(
        name.isascii() and value.isascii() and value != SKIP_HEADER
        for name, value in request.headers.items()
    )


async def send(
    session: requests.Session,
    request: PreparedRequest,
    environment: Mapping[str, Any],
    *,
    timeout: Any,
    max_idle: float,
    handover: watch_handover,
) -> requests.Response:
    """Send a prepared request, and return the response, whose content is there.

    ``environment`` are its "proxies", "verify" and "cert", as requests has them; ``timeout`` is as
    for requests; ``max_idle`` is how many seconds the connection is kept for others. ``handover``
    gets to know whether any of the request was written. The session gets the answer's cookies, and
    its hooks are called.

    Raises the exceptions of requests, with aiohttp's as cause.
    """
    handover.happened = False
    url = str(request.url)
    session.get_adapter(url=url)  # raises InvalidSchema
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    proxy = _proxy(url, environment["proxies"])
    context = await _ssl_context(environment["verify"], environment["cert"])
    clients = await _clients_of_loop()
    connecting = _Connecting(clients.connecting, handover)
    # Connections that the server has closed are known by then.
    await asyncio.sleep(0)
    started = monotonic()
    try:
        async with clients.get(max_idle).request(
            str(request.method),
            _url(url),
            data=_body(request),
            headers=_headers(request),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            allow_redirects=False,
            proxy=proxy,
            ssl=context,
            timeout=aiohttp.ClientTimeout(sock_connect=connect, sock_read=read),
            trace_request_ctx=connecting,
        ) as answer:
            content = await answer.read()
    except tuple(_REQUESTS_ERRORS) as error:
        raise _as_requests_error(error, request) from error
    finally:
        connecting.end()
    response = _as_response(answer, content, request)
    response.elapsed = timedelta(seconds=monotonic() - started)
    if "Set-Cookie" in response.headers:
        extract_cookies_to_jar(session.cookies, request, response.raw)  # type: ignore[no-untyped-call]
    if request.hooks["response"]:
        response = dispatch_hook("response", request.hooks, response, timeout=timeout)  # type: ignore[no-untyped-call]
    return response


@lru_cache(maxsize=256)
def _url(url: str) -> URL:
    # Credentials in it are in the headers by now, if they are to be.
    return URL(url, encoded=True).with_user(None)


def _proxy(url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy to use, if any, as requests' adapters do."""
    proxy = select_proxy(url, proxies) if proxies else None
    if not proxy:
        return None
    proxy = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
    if not urlsplit(proxy).hostname:
        raise errors.InvalidProxyURL("The URL of the proxy has no host")
    return proxy


def _body(request: PreparedRequest) -> Any:
    body = request.body
    if isinstance(body, str):
        body = body.encode()
    return BytesIO(body) if isinstance(body, bytes) and len(body) > _LARGE else body


def _headers(request: PreparedRequest) -> list[tuple[str, str]]:
    return [
        (_as_str(name), _ENCODINGS if value == DEFAULT_ACCEPT_ENCODING else _as_str(value))
        for name, value in request.headers.items()
    ]


def _as_str(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _as_requests_error(error: Exception, request: PreparedRequest) -> requests.RequestException:
    error_class = next(
        target for source, target in _REQUESTS_ERRORS.items() if isinstance(error, source)
    )
    if isinstance(error.__cause__, ContentEncodingError):
        error_class = errors.ContentDecodingError
    return error_class(error, request=request)


# -- Responses --------------------------------------------------------------------------------


class _Raw:
    """As much of urllib3's response as finding its cookies takes."""

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self.msg = Message()
        for name, value in headers:
            self.msg[name] = value
        self._original_response = self


def _as_response(
    answer: aiohttp.ClientResponse, content: bytes, request: PreparedRequest
) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.reason = answer.reason or ""
    pairs = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers
    ]
    by_name: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        first, earlier = by_name.get(name.lower(), (name, None))
        by_name[name.lower()] = first, value if earlier is None else f"{earlier}, {value}"
    response.headers = headers = CaseInsensitiveDict(by_name.values())
    response.encoding = get_encoding_from_headers(headers)
    response.url = str(request.url)
    response.request = request
    response._content = content
    response._content_consumed = True  # type: ignore[attr-defined]
    if "Set-Cookie" in headers:
        response.raw = _Raw(pairs)
        extract_cookies_to_jar(response.cookies, request, response.raw)  # type: ignore[no-untyped-call]
    return response


# -- Connections ------------------------------------------------------------------------------


class _Clients:
    """The clients of an event loop, which are closed when the loop is shut down.

    (Connections belong to their loop, and so can't be shared by all of a process.)
    """

    def __init__(self) -> None:
        self._by_max_idle: dict[float, aiohttp.ClientSession] = {}
        self.connecting = asyncio.Semaphore(MAX_CONNECTING)
        self._end = self._close_at_end()

    async def prepare(self) -> None:
        """Have them closed when the loop is: asyncio.run() ends asynchronous generators."""
        await anext(self._end)

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _clients.pop(asyncio.get_running_loop(), None)
            for client in self._by_max_idle.values():
                await client.close()

    def get(self, max_idle: float) -> aiohttp.ClientSession:
        """Return the one that keeps connections for so many seconds."""
        client = self._by_max_idle.get(max_idle)
        if client is None:
            client = self._by_max_idle[max_idle] = _new_client(max_idle)
        return client


_clients: dict[asyncio.AbstractEventLoop, _Clients] = {}


async def _clients_of_loop() -> _Clients:
    loop = asyncio.get_running_loop()
    clients = _clients.get(loop)
    if clients is None:
        # (Other threads have loops, too.)
        for other in [other for other in list(_clients) if other.is_closed()]:
            # Closed without a shutdown: nobody can use its connections any more.
            _clients.pop(other, None)
        clients = _clients[loop] = _Clients()
        await clients.prepare()
    return clients


def _new_client(max_idle: float) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,
        limit_per_host=MAX_CONNECTIONS_PER_HOST,
        force_close=not max_idle,
        keepalive_timeout=max_idle or None,
    )
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_begin_connecting)
    trace.on_connection_create_end.append(_end_connecting)
    trace.on_request_headers_sent.append(_note_handover)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # The cookies are those of the session.
        trace_configs=[trace],
    )


class _Connecting:
    """A request, as far as it's about connections."""

    def __init__(self, turns: asyncio.Semaphore, handover: watch_handover) -> None:
        self.handover = handover
        self._turns = turns
        self._has_turn = False

    async def begin(self) -> None:
        """Wait until there can be another connection."""
        await self._turns.acquire()
        self._has_turn = True

    def end(self) -> None:
        """Let another one be made, unless that has been so already."""
        if self._has_turn:
            self._has_turn = False
            self._turns.release()


async def _begin_connecting(client: Any, context: Any, params: Any) -> None:
    await context.trace_request_ctx.begin()


async def _end_connecting(client: Any, context: Any, params: Any) -> None:
    context.trace_request_ctx.end()


async def _note_handover(client: Any, context: Any, params: Any) -> None:
    # Right before they are written.
    context.trace_request_ctx.handover.happened = True


# -- TLS --------------------------------------------------------------------------------------

_ssl_contexts: dict[Any, ssl.SSLContext] = {}


async def _ssl_context(verify: Any, cert: Any) -> ssl.SSLContext:
    """Return what "verify" and "cert" mean to requests."""
    key = (verify, tuple(cert) if isinstance(cert, list) else cert)
    context = _ssl_contexts.get(key)
    if context is None:
        # To read the bundle of certificates takes a while.
        context = await asyncio.get_running_loop().run_in_executor(
            None, _make_ssl_context, verify, cert
        )
        # The same one for all: connections with others are not shared.
        context = _ssl_contexts.setdefault(key, context)
    return context


def _make_ssl_context(verify: Any, cert: Any) -> ssl.SSLContext:
    context = create_urllib3_context()
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = True
        context.verify_mode = ssl.CERT_REQUIRED
        bundle = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
        is_directory = Path(bundle).is_dir()
        context.load_verify_locations(**{"capath" if is_directory else "cafile": bundle})
    if cert is not None:
        context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return context
