"""Decoding webhook calls: whatever a provider or a stranger sends, it's either a 400, or fields
of the types that Anymail's events promise.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from typing import Any, TypeGuard

from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.utils.dateparse import parse_datetime

from ..addresses import parse_single_address
from ..exceptions import AnymailInvalidAddress, AnymailWebhookValidationFailure
from ..inbound import AnymailInboundMessage
from ..inbound.contents import Base64Bytes, Base64Error, Base64File
from .large_json import PIECE, LongStrings, NotLargeError

MAX_JSON_NESTING = 100
"""How deeply objects and arrays can be nested in JSON."""

LARGE = 1024 * 1024
"""How many bytes a call has that is handled in ways that take less memory."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_CONTAINERS = {dict, list, tuple}
_LONG = 4096
_OBJECTS = {dict}
_UTC = timezone.utc
_datetime_of = datetime.fromtimestamp
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Whether it's valid or not, there is nothing in it but an addr-spec.
_BARE_ADDR_SPEC = re.compile(r"[a-zA-Z0-9_.+-]+@[a-zA-Z0-9.-]+")
# Of a number of seconds, that's in the year 5138; of milliseconds, in 1973.
_MORE_THAN_SECONDS = 1e11
_MORE_THAN_MICROSECONDS = re.compile(r"([.,]\d{6})\d+")


def parse_json(
    text: str | bytes,
    what: str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Parse JSON from a webhook call. ``what`` names the text in errors.

    If an object has the same key twice, the last one counts. Text never has lone surrogates, which
    can't be encoded: there is U+FFFD in their place. ``object_pairs_hook`` is that of json.loads.

    Raises AnymailWebhookValidationFailure if it isn't JSON in UTF-8, if it's nested more than
    MAX_JSON_NESTING levels deep, or if it has numbers that are not finite or have thousands of
    digits.
    """
    if isinstance(text, bytes) and len(text) >= LARGE and object_pairs_hook is None:
        starts = range(0, len(text), PIECE)
        pieces = (text[start : start + PIECE] for start in starts)
        try:
            return parse_large_json(pieces, what)
        except NotLargeError:
            pass
    return _parse_json(text, what, object_pairs_hook)


def parse_large_json(pieces: Iterable[bytes], what: str) -> Any:
    """Parse JSON that comes in pieces, as parse_json() does, with less memory.

    Raises NotLargeError if parse_json() must do it, or knows better what is wrong with it.
    """
    strings = LongStrings()
    try:
        return strings.put_back(_parse_json(strings.take_out(pieces), what))
    except (AnymailWebhookValidationFailure, ValueError) as err:
        raise NotLargeError from err


def _parse_json(
    text: str | bytes,
    what: str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    try:
        # RecursionError: nested far too deeply. ValueError includes malformed JSON and UTF-8, and
        # integers with too many digits.
        if not isinstance(text, str):
            text = text.decode("utf-8-sig")
        data = _decoder(object_pairs_hook).decode(text)
        # Where text is long, to count takes longer than to look.
        if len(text) > _LONG or text.count("[") + text.count("{") > MAX_JSON_NESTING:
            _check_nesting(data)
    except (ValueError, RecursionError) as err:
        raise AnymailWebhookValidationFailure(f"Invalid JSON in {what}") from err
    # (To look for one character takes no time.)
    if ("\\" in text and "\\u" in text and _SURROGATE_ESCAPE.search(text)) or (
        not text.isascii() and _LONE_SURROGATE.search(text)
    ):
        data = _without_surrogates(data)
    return data


@cache
def _decoder(object_pairs_hook: Any) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=object_pairs_hook,
        parse_constant=_refuse_constant,
        parse_float=_parse_finite_float,
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _parse_finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number too large")
    return number


def _check_nesting(data: Any) -> None:
    level: list[Any] = [[data]]
    for _ in range(MAX_JSON_NESTING + 1):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) in _CONTAINERS
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_JSON_NESTING} levels deep")


def _without_surrogates(data: Any) -> Any:
    if isinstance(data, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", data)
    if isinstance(data, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(_without_surrogates, data))
    return data


def json_or_none(text: Any) -> Any:
    """Return the JSON in what can be anything, such as text of another system.

    None if it isn't JSON as parse_json wants it.
    """
    try:
        return parse_json(text, "text") if isinstance(text, (str, bytes)) else None
    except AnymailWebhookValidationFailure:
        return None


def json_body(request: HttpRequest, esp_name: str) -> Any:
    """Return the JSON body of a webhook call. Raises AnymailWebhookValidationFailure."""
    return parse_json(request.body, f"{esp_name} webhook")


def parse_json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises AnymailWebhookValidationFailure if it's anything else."""
    data = parse_json(text, what)
    if not isinstance(data, dict):
        raise AnymailWebhookValidationFailure(f"Unexpected data in {what}: not a JSON object")
    return data


def json_object(request: HttpRequest, esp_name: str) -> dict[str, Any]:
    """Return the body of a webhook call, which must be a JSON object.

    Raises AnymailWebhookValidationFailure.
    """
    return parse_json_object(request.body, f"{esp_name} webhook")


def json_objects(request: HttpRequest, esp_name: str) -> list[dict[str, Any]]:
    """Return the body of a webhook call, which must be a JSON array of objects.

    Raises AnymailWebhookValidationFailure.
    """
    data = json_body(request, esp_name)
    if not is_list_of_objects(data):
        raise AnymailWebhookValidationFailure(
            f"Unexpected data in {esp_name} webhook: not a JSON array of objects"
        )
    return data


def is_list_of_objects(data: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Tell whether what parse_json() has returned is an array of nothing but objects."""
    return isinstance(data, list) and _OBJECTS.issuperset(map(type, data))


def form_data(request: HttpRequest, esp_name: str) -> QueryDict:
    """Return the form fields of a webhook call. Raises AnymailWebhookValidationFailure."""
    try:
        return request.POST
    except (LookupError, MultiPartParserError, UnicodeError) as err:
        # Django decodes multipart forms with any codec they name; some are not for text.
        raise AnymailWebhookValidationFailure(f"Invalid form data in {esp_name} webhook") from err


def decode_base64(value: Any, what: str) -> bytes:
    """Decode base64 text from a webhook call; no text is b"". ``what`` names it in errors.

    Characters that are not base64 are ignored. Raises AnymailWebhookValidationFailure if what
    remains is incomplete.
    """
    try:
        return binascii.a2b_base64(as_str(value) or "")
    except ValueError as err:  # not ASCII, or not complete
        raise AnymailWebhookValidationFailure(f"Invalid base64 in {what}") from err


def base64_file(value: Any, what: str) -> Base64File:
    """Return the content of an attachment, as decode_base64() does, but kept as that text."""
    try:
        return Base64File(as_str(value) or "")
    except ValueError as err:
        raise AnymailWebhookValidationFailure(f"Invalid base64 in {what}") from err


def parse_base64_message(text: str, what: str) -> AnymailInboundMessage:
    """Parse raw MIME in base64, as decode_base64() decodes it.

    The bytes of a large message are never in memory: whenever a part of them is needed, it's
    decoded.
    """
    if len(text) >= LARGE:
        with suppress(Base64Error):
            return AnymailInboundMessage.parse_raw_mime_bytes(Base64Bytes(text))
    return AnymailInboundMessage.parse_raw_mime_bytes(decode_base64(text, what))


def get_path(data: Any, *keys: str) -> Any:
    """Return data[key][key]..., or None as soon as there is no mapping with such a key."""
    for key in keys:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data


def get_object(data: Any, *keys: str) -> dict[str, Any]:
    """Return data[key][key]... if that is an object, otherwise {}."""
    value = get_path(data, *keys)
    return value if isinstance(value, dict) else {}


def get_list(data: Any, *keys: str) -> list[Any]:
    """Return data[key][key]... if that is an array, otherwise []."""
    value = get_path(data, *keys)
    return value if isinstance(value, list) else []


def as_str(value: Any) -> str | None:
    """Return text as it is and numbers as text; None for anything else."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def as_text(value: Any) -> str | None:
    """Return text that is not empty: for fields of a message in which "" stands for nothing."""
    return as_str(value) or None


def as_word(value: Any) -> str:
    """Return a word to look up in a table of the provider's words; "" if it isn't text."""
    return value if isinstance(value, str) else ""


as_key = as_word  # its former name


def as_float(value: Any) -> float | None:
    """Return a number, or text that is one, as a finite float; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_tags(value: Any) -> list[str]:
    """Return a list of tags from a list, or from a single tag; without empty ones."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    return [tag for item in values if (tag := item if isinstance(item, str) else as_str(item))]


def as_metadata(value: Any) -> dict[str, Any]:
    """Return a copy of an object, or {} for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


def as_addr_spec(value: Any) -> str | None:
    """Return the addr-spec of an address that can have a display name.

    Text that can't be parsed is returned as it is: providers report bounces of bad addresses.
    None for anything but text, for "", and for "<>" (the envelope sender of bounces).
    """
    if not isinstance(value, str):
        return None
    if _BARE_ADDR_SPEC.fullmatch(value):  # as most are: there is nothing to change
        return value
    if value.strip() in ("", "<>"):
        return None
    try:
        return parse_single_address(value).addr_spec
    except AnymailInvalidAddress:
        return value


def as_unix_time(value: Any) -> datetime | None:
    """Return an aware UTC datetime from seconds since the epoch; None if that's not possible.

    Milliseconds, which some providers send where they document seconds, are told by their size.
    """
    # Integers stay integers, of which a datetime is made in half the time.
    number = value if type(value) is int else as_float(value)
    if number is None:
        return None
    try:
        seconds = number / 1000 if number > _MORE_THAN_SECONDS else number
        return _datetime_of(seconds, _UTC)
    except (OSError, OverflowError, ValueError):
        return None


def as_iso_time(value: Any) -> datetime | None:
    """Return an aware datetime from ISO 8601 text; None if that's not possible.

    Text without an offset is in UTC. Fractions of a second can have any number of digits.
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = parse_datetime(_MORE_THAN_MICROSECONDS.sub(r"\1", value.strip()))
    except ValueError:
        return None
    if parsed is not None and parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=_UTC)
    return parsed
