"""Fetching what a webhook call only refers to: messages and attachments kept by the provider.

Whoever can make webhook calls can make the site fetch things. So that is bounded: in where it
goes, in how long it takes, and in how much it brings.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from ..conf import as_list, setting
from ..exceptions import (
    AnymailAPIError,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from ..http import DEFAULT_DOWNLOAD_CHUNK_SIZE, no_netrc
from ..masking import drop_tracebacks, mask_urls_in_error
from .decoding import parse_json

# Which hosts providers keep messages and attachments at is not documented.
DEFAULT_DOWNLOAD_HOSTS = ("*",)
DEFAULT_MAX_BYTES = 50 * 1024 * 1024
MAX_ERROR_BYTES = 2048
DEADLINE = 60.0
"""Seconds for all downloads of one received message. Providers don't wait any longer."""

# IPv4 addresses as those who have only IPv6 reach them: https://www.rfc-editor.org/rfc/rfc6052
_NAT64 = IPv6Network("64:ff9b::/96")


class DownloadSettings:
    """Declares what views have in common that download received messages."""

    download_hosts: list[str] = setting(
        "Names of the hosts that received messages are downloaded from: one, or a list. "
        "``*`` in one stands for any characters (as in Python's :mod:`fnmatch`). What "
        "matches only because of that must have a public address.",
        default=DEFAULT_DOWNLOAD_HOSTS,
        default_text="any host",
        kind=as_list,
    )
    download_chunk_size: int = setting(
        "How many bytes of a received message are read at a time.",
        default=DEFAULT_DOWNLOAD_CHUNK_SIZE,
    )


class Downloads:
    """Fetches what belongs to one received message, within limits that hold for all of it.

    URLs must be at the same scheme, host and port as ``api_url``, or https at one of ``hosts``.
    Those can be patterns, such as ``"*.example.com"``; ``"*"`` is any host that has a domain name.
    What only a pattern allows must be at a public address. (Where there is a proxy, it's the proxy
    that looks up addresses, and must see to it.)

    The setting REQUESTS_TIMEOUT applies to each connection, INBOUND_MAX_BYTES (None for no limit)
    to the sum of all downloads.

    Everything raises AnymailAPIError if a limit is exceeded or a URL is not allowed, and
    AnymailRequestsAPIError if the provider answers with an error or not at all.
    """

    timeout: Any = setting(
        "The setting, but not the option, also holds for what webhooks call.",
        name="requests_timeout",
        general=True,
        default=30,
    )
    max_bytes: int | None = setting(
        "Limit of what is downloaded for one received message, where the provider's "
        "webhook only refers to it; ``None`` for no limit.",
        name="inbound_max_bytes",
        general=True,
        default=DEFAULT_MAX_BYTES,
        default_text="50 MiB",
    )

    def __init__(self, esp_name: str, api_url: str = "", hosts: Iterable[str] = ()) -> None:
        self.esp_name = esp_name
        self.api_origin = _origin(api_url)
        self.hosts = [host.lower() for host in hosts]
        self._bytes_read = 0
        self._end_time = time.monotonic() + DEADLINE

    def get_json(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON at a URL."""
        with self.get(url, headers) as response:
            content = b"".join(self.chunks(response))
            # Have the response show it, in case it is needed for an error.
            response._content = content
            try:
                return parse_json(content, f"{self.esp_name} API response")
            except AnymailWebhookValidationFailure as err:
                raise self._error("Invalid JSON in {esp_name} API response", response) from err

    def get_content(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, str | None]:
        """Return what is at a URL, and its Content-Type header."""
        with self.get(url, headers) as response:
            return b"".join(self.chunks(response)), response.headers.get("Content-Type")

    def iter_content(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        chunk_size: int = DEFAULT_DOWNLOAD_CHUNK_SIZE,
    ) -> Iterator[bytes]:
        """Yield what is at a URL in chunks, as it arrives."""
        return self._read(self._open(url, headers), chunk_size)

    def _read(self, response: requests.Response, chunk_size: int) -> Iterator[bytes]:
        with response:
            yield from self.chunks(response, chunk_size)

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> closing[requests.Response]:
        """Open a URL, and close it at the end of the with block."""
        return closing(self._open(url, headers))

    # Not a generator, nor a context manager made of one: before Python 3.12, Django's error reports
    # would show its variables, and the API key in the headers.
    def _open(self, url: str, headers: Mapping[str, str] | None) -> requests.Response:
        self.check_url(url)
        get = requests.get if self._is_expected(url) else _get_from_public_address
        try:
            response = get(
                url,
                # Content that is not compressed can't turn out much larger than what arrives.
                headers={"Accept-Encoding": "identity", **(headers or {})},
                auth=no_netrc,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as err:
            raise self._connection_error(err) from err
        except _InternalAddressError as err:
            raise self._refusal(url, str(err)) from err
        if not 200 <= response.status_code < 300:
            with response:
                response._content = self._beginning(response)
            raise self._error("Cannot download from {esp_name}", response)
        return response

    def chunks(
        self, response: requests.Response, chunk_size: int = DEFAULT_DOWNLOAD_CHUNK_SIZE
    ) -> Iterator[bytes]:
        """Yield a response's content, within the limits."""
        try:
            if isinstance(response.raw, HTTPResponse) and hasattr(response.raw, "read1"):
                # (Old versions of urllib3 don't have that.)
                response.raw = _AsItArrives(response.raw)
            yield from self.limit(response.iter_content(chunk_size))
        except requests.RequestException as err:
            raise self._connection_error(err) from err

    def _beginning(self, response: requests.Response) -> bytes:
        """Return as much of an error's content as an explanation needs."""
        content = b""
        with suppress(AnymailAPIError):
            for chunk in self.chunks(response, MAX_ERROR_BYTES):
                content += chunk
                if len(content) >= MAX_ERROR_BYTES:
                    break
        return content[:MAX_ERROR_BYTES]

    def limit(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks from anywhere, as long as they are within the limits."""
        for chunk in chunks:
            self._bytes_read += len(chunk)
            if self._exceeded_limit() is not None:
                del chunk  # not to be in error reports
                self.check_limits()
            yield chunk

    def check_limits(self, **kwargs: Any) -> None:
        """Raise AnymailAPIError if there was too much, or if it takes too long."""
        problem = self._exceeded_limit()
        if problem is not None:
            raise AnymailAPIError(problem, esp_name=self.esp_name)

    def _exceeded_limit(self) -> str | None:
        if self.max_bytes is not None and self._bytes_read > self.max_bytes:
            return (
                f"The message received by {self.esp_name} is larger than "
                f"INBOUND_MAX_BYTES={self.max_bytes}"
            )
        if time.monotonic() > self._end_time:
            return f"Downloading from {self.esp_name} took longer than {DEADLINE:g} seconds"
        return None

    def check_url(self, url: str) -> None:
        """Raise AnymailAPIError if a URL is not one of the provider's."""
        origin = _origin(url)
        if origin is not None and origin == self.api_origin:
            return
        if (
            origin is None
            or origin[0] != "https"
            or origin[2] != 443
            or not self._matches(origin[1])
        ):
            raise self._refusal(
                url, f"that is not {self.esp_name}'s API, nor https at any of {self.hosts!r}"
            )

    def _is_expected(self, url: str) -> bool:
        """Tell whether a URL's host is named in the settings, and not only matches a pattern."""
        origin = _origin(url)
        return origin is not None and (origin == self.api_origin or origin[1] in self.hosts)

    def _matches(self, host: str) -> bool:
        is_name = "." in host and not host.rpartition(".")[2].isdigit() and ":" not in host
        return is_name and any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def _refusal(self, url: str, reason: str) -> AnymailAPIError:
        origin = _origin(url)
        # Without the path and query, which can have credentials in them.
        where = "{}://{}:{}".format(*origin) if origin else "an invalid URL"
        return AnymailAPIError(
            f"Refused to download from {where}: {reason}", esp_name=self.esp_name
        )

    def _error(self, text: str, response: requests.Response) -> AnymailRequestsAPIError:
        return AnymailRequestsAPIError(
            text.format(esp_name=self.esp_name), response=response, esp_name=self.esp_name
        )

    def _connection_error(self, err: requests.RequestException) -> AnymailRequestsAPIError:
        mask_urls_in_error(err)
        drop_tracebacks(err)
        error_class = AnymailRequestsAPIError.combined_with(type(err))
        return error_class(f"Cannot download from {self.esp_name}", esp_name=self.esp_name)


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return a URL's scheme, host and port; None if it is malformed or has credentials in it."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
    except (AttributeError, TypeError, ValueError):
        return None


class _AsItArrives:
    """A urllib3 response whose ``stream()`` does not wait until a chunk is full.

    That takes hours where single bytes trickle in, and until then, nobody looks at the deadline.
    """

    def __init__(self, raw: HTTPResponse) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amt: int, decode_content: bool | None = None) -> Iterator[bytes]:
        while chunk := self._raw.read1(amt, decode_content):
            yield chunk


# -- Public addresses -------------------------------------------------------------------------


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet, and not of an internal network."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


class _InternalAddressError(Exception):
    pass


class _PublicConnection(HTTPSConnection):
    # Where urllib3's own support for SOCKS proxies connects in its way, too. To look at the address
    # of an open connection leaves no time for the name to be given another one, and it's before
    # anything is sent.
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        address = connection.getpeername()[0]
        if not is_public(address):
            connection.close()
            raise _InternalAddressError(f"its address, {address}, is not a public one")
        return connection


class _PublicConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicAddressAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"https": _PublicConnectionPool}


def _get_from_public_address(url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.mount("https://", _PublicAddressAdapter())
        return session.get(url, **options)
