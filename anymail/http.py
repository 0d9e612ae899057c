"""HTTP: reading Django's requests, and what all calls of providers' APIs need."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict, MultiValueDictKeyError

from .datastructures import UNSET

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

DEFAULT_DOWNLOAD_CHUNK_SIZE = 65536
"""Bytes read at a time when a webhook downloads a message from the provider."""


def with_trailing_slash(url: str) -> str:
    """Return a base URL with the "/" at its end that joining it with an endpoint needs."""
    return url if url.endswith("/") else f"{url}/"


def no_netrc(request: PreparedRequest) -> PreparedRequest:
    """Do nothing, as the auth of a request. Without any, requests looks into ~/.netrc."""
    return request


def no_redirect(resp: Response) -> str | None:
    """Return None, as the ``get_redirect_target`` of a requests Session, which then follows none.

    Otherwise, requests would send what is secret in headers and content to another host, or make a
    GET of a POST, whose success says nothing.
    """
    return None


def is_html_page(response: Response) -> bool:
    """Tell whether the body of a response is an HTML page."""
    content = response.content
    if not isinstance(content, bytes):
        return False  # of a test's stand-in
    start = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"<"):
        return False
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_labelled = media_type in ("text/html", "application/xhtml+xml")
    return is_labelled or start.lower().startswith((b"<!doctype html", b"<html"))


def querydict_getfirst(qdict: MultiValueDict[str, Any], field: str, default: Any = UNSET) -> Any:
    """Return the *first* of a form field's values. (QueryDict's own lookup returns the last.)

    Raises MultiValueDictKeyError naming the field if it's missing and there is no default.
    """
    values = qdict.getlist(field)
    if values:
        return values[0]
    if default is UNSET:
        raise MultiValueDictKeyError(field)
    return default


def get_request_basic_auth(request: HttpRequest) -> str | None:
    """Return the request's basic-auth credentials as "user:password", or None.

    None also for other schemes and for anything that doesn't decode.
    """
    parts = request.META.get("HTTP_AUTHORIZATION", "").split()
    if len(parts) != 2 or parts[0].lower() != "basic":
        return None
    try:
        return base64.b64decode(parts[1], validate=True).decode("utf-8") or None
    except (binascii.Error, ValueError):
        return None


def get_request_uri(request: HttpRequest) -> str:
    """Return the absolute URI of the request, with the basic-auth credentials that came with it.

    That is the URL which was entered in the provider's dashboard, and which some providers sign.
    """
    url = request.build_absolute_uri()
    credentials = get_request_basic_auth(request)
    if credentials is None:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{credentials}@{parts.netloc}"))
