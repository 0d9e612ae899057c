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
    from requests import PreparedRequest

DEFAULT_DOWNLOAD_CHUNK_SIZE = 65536
"""Bytes read at a time when a webhook downloads a message from the provider."""


def with_trailing_slash(url: str) -> str:
    """Return a base URL with the "/" at its end that joining it with an endpoint needs."""
    return url if url.endswith("/") else f"{url}/"


def no_netrc(request: PreparedRequest) -> PreparedRequest:
    """Do nothing, as the auth of a request. Without any, requests looks into ~/.netrc."""
    return request


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
