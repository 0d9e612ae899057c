"""Fetching what a webhook call only refers to: messages and attachments kept by the provider.

Whoever can make webhook calls can make the site fetch things. So that is bounded: in where it
goes, in how long it takes, and in how much it brings.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import requests

from .._quiet import mask_urls_in_error
from ..conf import get_anymail_setting
from ..exceptions import (
    AnymailAPIError,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from ..http import DEFAULT_DOWNLOAD_CHUNK_SIZE, no_netrc
from .decoding import parse_json

DEFAULT_MAX_BYTES = 50 * 1024 * 1024
MAX_ERROR_BYTES = 2048
DEADLINE = 60.0
"""Seconds for all downloads of one received message. Providers don't wait any longer."""


class Downloads:
    """Fetches what belongs to one received message, within limits that hold for all of it.

    URLs must be at the same scheme, host and port as ``api_url``, or https at a host that matches
    one of the patterns in ``hosts``, such as ``"*.example.com"``. ``"*"`` is any host that has a
    domain name. The setting REQUESTS_TIMEOUT applies to each connection, INBOUND_MAX_BYTES (None
    for no limit) to the sum of all downloads.

    Everything raises AnymailAPIError if a limit is exceeded or a URL is not allowed, and
    AnymailRequestsAPIError if the provider answers with an error or not at all.
    """

    def __init__(self, esp_name: str, api_url: str = "", hosts: Iterable[str] = ()) -> None:
        self.esp_name = esp_name
        self.api_origin = _origin(api_url)
        self.hosts = [host.lower() for host in hosts]
        self.timeout = get_anymail_setting("requests_timeout", default=30)
        self.max_bytes = get_anymail_setting("inbound_max_bytes", default=DEFAULT_MAX_BYTES)
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
        with self.get(url, headers) as response:
            yield from self.chunks(response, chunk_size)

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Open a URL, and close it at the end of the with block."""
        self.check_url(url)
        try:
            response = requests.get(
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
        with response:
            if not 200 <= response.status_code < 300:
                with suppress(requests.RequestException):
                    # As much as an explanation needs
                    response._content = next(response.iter_content(MAX_ERROR_BYTES), b"")
                raise self._error("Cannot download from {esp_name}", response)
            yield response

    def chunks(
        self, response: requests.Response, chunk_size: int = DEFAULT_DOWNLOAD_CHUNK_SIZE
    ) -> Iterator[bytes]:
        """Yield a response's content, within the limits."""
        try:
            yield from self.limit(response.iter_content(chunk_size))
        except requests.RequestException as err:
            raise self._connection_error(err) from err

    def limit(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks from anywhere, as long as they are within the limits."""
        for chunk in chunks:
            self._bytes_read += len(chunk)
            if self.max_bytes is not None and self._bytes_read > self.max_bytes:
                raise AnymailAPIError(
                    f"The message received by {self.esp_name} is larger than "
                    f"INBOUND_MAX_BYTES={self.max_bytes}",
                    esp_name=self.esp_name,
                )
            if time.monotonic() > self._end_time:
                raise AnymailAPIError(
                    f"Downloading from {self.esp_name} took longer than {DEADLINE:g} seconds",
                    esp_name=self.esp_name,
                )
            yield chunk

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
            # Without the path and query, which can have credentials in them.
            where = "{}://{}:{}".format(*origin) if origin else "an invalid URL"
            raise AnymailAPIError(
                f"Refused to download from {where}: that is not {self.esp_name}'s API, nor https "
                f"at any of {self.hosts!r}",
                esp_name=self.esp_name,
            )

    def _matches(self, host: str) -> bool:
        is_name = "." in host and not host.rpartition(".")[2].isdigit() and ":" not in host
        return is_name and any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def _error(self, text: str, response: requests.Response) -> AnymailRequestsAPIError:
        return AnymailRequestsAPIError(
            text.format(esp_name=self.esp_name), response=response, esp_name=self.esp_name
        )

    def _connection_error(self, err: requests.RequestException) -> AnymailRequestsAPIError:
        mask_urls_in_error(err)
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
