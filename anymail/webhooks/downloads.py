"""Fetching what a webhook call only refers to: messages and attachments kept by the provider.

Whoever can make webhook calls can make the site fetch things. So that is bounded: in where it
goes, in how long it takes, and in how much it brings.
"""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

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

SMALL_TIMEOUT = 5.0
"""Seconds to connect, and to wait for data, of fetch_small(). Amazon SNS waits for 15 seconds."""
MAX_FRAMING_BYTES = 1024 * 1024
"""What headers can have; and the lengths around chunks, beside as much as the content has."""

# Names of hosts with a domain. (The last part of what can be taken for an IP address is a number.)
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,62}"
)

# IPv4 addresses as those who have only IPv6 reach them: https://www.rfc-editor.org/rfc/rfc6052
_NAT64 = IPv6Network("64:ff9b::/96")
# All others are for networks, loopback, multicast and so on, or not assigned.
_GLOBAL_UNICAST = IPv6Network("2000::/3")


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
        "webhook only refers to it; ``None`` for no limit. With :setting:`WEBHOOK_LATER`, also of "
        "a call with a message in a form.",
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
        self._bytes_arrived = 0
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
        self.check_limits()
        self.check_url(url)
        try:
            response = self._get(url, headers)
        except requests.RequestException as err:
            raise self._connection_error(err) from err
        except (HTTPError, UnicodeError, _InternalAddressError) as err:
            # Such as names that are not possible in DNS
            raise self._refusal(url, str(err)) from err
        # What is compressed, though not asked for, could turn out much larger than what arrives.
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        is_plain = encoding in ("", "identity")
        if is_plain and 200 <= response.status_code < 300:
            return response
        with response:
            response._content = self._beginning(response) if is_plain else b""
        if is_plain:
            raise self._error("Cannot download from {esp_name}", response)
        raise self._error("Compressed content in {esp_name} API response", response)

    def _get(self, url: str, headers: Mapping[str, str] | None) -> requests.Response:
        with requests.Session() as session:
            adapter = _BoundedAdapter(self, only_public=not self._is_expected(url))
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            return session.get(
                url,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                auth=no_netrc,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            )

    def chunks(
        self, response: requests.Response, chunk_size: int = DEFAULT_DOWNLOAD_CHUNK_SIZE
    ) -> Iterator[bytes]:
        """Yield a response's content, within the limits."""
        try:
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
        if self.max_bytes is not None and (
            self._bytes_read > self.max_bytes
            or self._bytes_arrived > 2 * self.max_bytes + MAX_FRAMING_BYTES
        ):
            return (
                f"The message received by {self.esp_name} is larger than "
                f"INBOUND_MAX_BYTES={self.max_bytes}"
            )
        if self.seconds_left <= 0:
            return f"Downloading from {self.esp_name} took longer than {DEADLINE:g} seconds"
        return None

    @property
    def seconds_left(self) -> float:
        """How long all of it can still take. Not positive if that's too long."""
        return self._end_time - time.monotonic()

    def count_arrived(self, size: int) -> None:
        """Note that bytes have arrived, of any part of a response."""
        self._bytes_arrived += size

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
        return _HOST_NAME.fullmatch(host) is not None and any(
            fnmatchcase(host, pattern) for pattern in self.hosts
        )

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


def fetch_small(url: str, esp_name: str, max_bytes: int) -> bytes:
    """Return what is at a URL that a call refers to, and that has been checked.

    Raises AnymailWebhookValidationFailure if it's more than ``max_bytes``, AnymailRequestsAPIError
    if the provider answers with an error or not at all.
    """
    downloads = Downloads(esp_name, url)
    downloads.timeout = SMALL_TIMEOUT
    content = b""
    with downloads.get(url) as response:
        for chunk in downloads.chunks(response, 4096):
            content += chunk
            if len(content) > max_bytes:
                raise AnymailWebhookValidationFailure(
                    f"{esp_name} webhook call that refers to more than {max_bytes} bytes"
                )
    return content


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return a URL's scheme, host and port; None if it is malformed or has credentials in it.

    They are those that requests would connect to.
    """
    try:
        parts = urlsplit(str(requests.Request("GET", url).prepare().url))
        if parts.username is not None or not parts.hostname:
            return None
        return parts.scheme, parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
    except (requests.RequestException, AttributeError, TypeError, ValueError):
        return None


# -- Public addresses -------------------------------------------------------------------------


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the internet, and not of an internal network."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            ip = IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    if isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast


class _InternalAddressError(Exception):
    pass


# -- Connections ------------------------------------------------------------------------------

# requests' timeout is for each wait for data: headers that drip in, or an endless number of
# "100 Continue", can take hours. So what is read from the socket is bounded.


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, downloads: Downloads) -> None:
        self._sock = sock
        self._file: Any = sock.makefile("rb", buffering=0)
        self._downloads = downloads

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._downloads.check_limits()
        timeout = self._sock.gettimeout()
        seconds_left = self._downloads.seconds_left
        self._sock.settimeout(seconds_left if timeout is None else min(timeout, seconds_left))
        try:
            size: int | None = self._file.readinto(buffer)
        except TimeoutError:
            self._downloads.check_limits()
            raise
        self._downloads.count_arrived(size or 0)
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedSocket:
    def __init__(self, sock: Any, downloads: Downloads) -> None:
        self._sock = sock
        self._downloads = downloads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._downloads))


class _BoundedConnection(HTTPConnection):
    def __init__(self, *args: Any, downloads: Downloads, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._downloads = downloads

    def connect(self) -> None:
        super().connect()
        self.sock: Any = _BoundedSocket(self.sock, self._downloads)


class _BoundedTLSConnection(_BoundedConnection, HTTPSConnection):
    pass


class _PublicTLSConnection(_BoundedTLSConnection):
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


class _BoundedAdapter(HTTPAdapter):
    """Connects to where downloads come from, which is held to the limits of ``downloads``."""

    def __init__(self, downloads: Downloads, *, only_public: bool) -> None:
        self._downloads = downloads
        self._only_public = only_public
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._bound(self.poolmanager, self._only_public)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # These have connections of their own.
            self._bound(manager, only_public=False)
        return manager

    def _bound(self, manager: Any, only_public: bool) -> None:
        tls_connection = _PublicTLSConnection if only_public else _BoundedTLSConnection
        manager.pool_classes_by_scheme = {
            "http": self._pools(HTTPConnectionPool, _BoundedConnection),
            "https": self._pools(HTTPSConnectionPool, tls_connection),
        }

    def _pools(self, pool_class: Any, connection_class: Any) -> Callable[..., Any]:
        def make_pool(*args: Any, **kwargs: Any) -> Any:
            pool = pool_class(*args, **kwargs)
            pool.ConnectionCls = partial(connection_class, downloads=self._downloads)
            return pool

        return make_pool
