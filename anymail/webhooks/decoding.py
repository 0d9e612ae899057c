"""Decoding webhook calls: whatever a provider or a stranger sends, it's either a 400, or fields
of the types that Anymail's events promise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from django.http import HttpRequest
from django.utils.dateparse import parse_datetime

from ..addresses import parse_single_address
from ..exceptions import AnymailInvalidAddress, AnymailWebhookValidationFailure


def parse_json(text: str | bytes, what: str) -> Any:
    """Parse JSON from a webhook call. ``what`` names the text in errors.

    Raises AnymailWebhookValidationFailure if it isn't JSON in UTF-8.
    """
    try:
        # RecursionError: nested too deeply. ValueError includes malformed JSON and UTF-8, and
        # integers with too many digits.
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise AnymailWebhookValidationFailure(f"Invalid JSON in {what}") from err


def json_body(request: HttpRequest, esp_name: str) -> Any:
    """Return the JSON body of a webhook call. Raises AnymailWebhookValidationFailure."""
    return parse_json(request.body, f"{esp_name} webhook")


def json_object(request: HttpRequest, esp_name: str) -> dict[str, Any]:
    """Return the body of a webhook call, which must be a JSON object.

    Raises AnymailWebhookValidationFailure.
    """
    data = json_body(request, esp_name)
    if not isinstance(data, dict):
        raise AnymailWebhookValidationFailure(
            f"Unexpected data in {esp_name} webhook: not a JSON object"
        )
    return data


def json_objects(request: HttpRequest, esp_name: str) -> list[dict[str, Any]]:
    """Return the body of a webhook call, which must be a JSON array of objects.

    Raises AnymailWebhookValidationFailure.
    """
    data = json_body(request, esp_name)
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise AnymailWebhookValidationFailure(
            f"Unexpected data in {esp_name} webhook: not a JSON array of objects"
        )
    return data


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
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def as_key(value: Any) -> str:
    """Return a word to look up in a table of the provider's words; "" if it isn't text."""
    return value if isinstance(value, str) else ""


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
    values = value if isinstance(value, list) else [value]
    return [tag for tag in map(as_str, values) if tag]


def as_metadata(value: Any) -> dict[str, Any]:
    """Return a copy of an object, or {} for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


def as_addr_spec(value: Any) -> str | None:
    """Return the addr-spec of an address that can have a display name.

    Text that can't be parsed is returned as it is: providers report bounces of bad addresses.
    None for anything but text, and for "".
    """
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        return parse_single_address(value).addr_spec
    except AnymailInvalidAddress:
        return value


def as_unix_time(value: Any) -> datetime | None:
    """Return an aware UTC datetime from seconds since the epoch; None if that's not possible."""
    seconds = as_float(value)
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, tz=timezone.utc)
    except (OSError, OverflowError, ValueError):
        return None


def as_iso_time(value: Any) -> datetime | None:
    """Return an aware datetime from ISO 8601 text; None if that's not possible.

    Text without an offset is in UTC. Fractions of a second can have any number of digits.
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = parse_datetime(value.strip())
    except ValueError:
        return None
    if parsed is not None and parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    return parsed
