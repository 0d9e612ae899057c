"""What the API calls for the messages look like, in a form to be kept and reviewed."""

from __future__ import annotations

import base64
import json
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import Message
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.test import override_settings
from django.utils.module_loading import import_string

import anymail.delivery.memory
from anymail.exceptions import AnymailError, AnymailUnsupportedFeature
from anymail.providers import PROVIDERS

from ..backends.cases import CASES
from ..backends.cases.base import BackendCase
from ..backends.harness import ApiCall, BotoCall
from .messages import Messages

DIRECTORY = Path(__file__).parent

# Of requests, or different each time.
_LEFT_OUT_HEADERS = {"accept-encoding", "connection", "content-length", "user-agent"}

_LEFT_OUT_OF_MIME = {
    "content-transfer-encoding",
    "content-type",  # has been taken apart
    "date",
    "message-id",
    "mime-version",
}


def provider_cases() -> list[BackendCase]:
    """Return the cases of the providers' backends."""
    return [CASES[name] for name in PROVIDERS]


def golden_file(case: BackendCase, name: str) -> Path:
    """Return the path of the file for a provider's call for one of the messages."""
    return DIRECTORY / case.name / f"{name}.json"


def as_text(outcome: Any) -> str:
    """Return an outcome as it stands in a golden file."""
    return json.dumps(outcome, indent=2, ensure_ascii=False) + "\n"


def outcome_of(case: BackendCase, make_message: Callable[[], Messages]) -> Any:
    """Send a message, or several, through a provider's backend, with the network replaced.

    Returns the calls that are made, or the error. If that is about an unsupported feature, then
    also what comes of the message with IGNORE_UNSUPPORTED_FEATURES.
    """
    try:
        return _calls_for(case, make_message())
    except AnymailUnsupportedFeature as error:
        try:
            rest = _calls_for(case, make_message(), ignore_unsupported_features=True)
        except (AnymailError, ValueError) as other_error:
            rest = _described(other_error)
        return {**_described(error), "ignoring unsupported features": rest}
    except (AnymailError, ValueError) as error:
        return _described(error)


def _described(error: Exception) -> dict[str, Any]:
    return {"error": type(error).__name__, "text": _first_line(error)}


def _first_line(error: Exception | Warning | str) -> str:
    return str(error).partition("\n")[0]


def _calls_for(case: BackendCase, message: Messages, **options: Any) -> dict[str, Any]:
    transport = case.transport(case)
    # Nobody is to remember idempotency keys.
    anymail.delivery.memory._process_cache.clear()
    settings = {
        f"{case.esp_name}_{option}".upper().replace(" ", "_"): case.options[option]
        for option in case.required
    }
    with (
        transport.entered(),
        override_settings(ANYMAIL=settings),
        _counted_uuids(),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        options = {**case.base_options(), "send_batch_size": 500, **options}
        messages = message if isinstance(message, list) else [message]
        import_string(case.backend)(**options).send_messages(messages)
    result: dict[str, Any] = {"calls": [_readable(call) for call in transport.calls]}
    if caught:
        result["warnings"] = [_first_line(warning.message) for warning in caught]
    return result


@contextmanager
def _counted_uuids() -> Iterator[None]:
    numbers = count(1)
    with patch("uuid.uuid4", lambda: uuid.UUID(int=next(numbers))):
        yield


def _readable(call: ApiCall | BotoCall) -> dict[str, Any]:
    return _boto_call(call) if isinstance(call, BotoCall) else http_call(call)


def http_call(call: ApiCall) -> dict[str, Any]:
    """Return an HTTP request as it stands in a golden file."""
    multipart = call.content_type.startswith("multipart/")
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in sorted(call.headers.items(), key=lambda item: item[0].lower())
        if name.lower() not in _LEFT_OUT_HEADERS
        and not (name.lower() == "accept" and value == "*/*")
    }
    if multipart:
        headers["Content-Type"] = call.content_type.partition(";")[0]
    result: dict[str, Any] = {"method": call.method, "url": call.url, "headers": headers}
    if multipart:
        result["parts"] = [
            {
                "name": name,
                **({} if filename is None else {"filename": filename}),
                **({} if content_type is None else {"type": content_type}),
                **_content(content),
            }
            for name, filename, content_type, content in call.parts
        ]
    elif "json" in call.content_type or call.body.startswith(b"{"):
        result["json"] = call.json
    else:
        result["form"] = call.form
    return result


def _content(content: bytes) -> dict[str, Any]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}
    if text.startswith("{"):
        return {"json": json.loads(text)}
    return {"content": text}


def _boto_call(call: BotoCall) -> dict[str, Any]:
    params = call.params
    if "Raw" in params.get("Content", {}):
        # In what is decoded, all versions of Django and Python agree.
        mime = message_from_bytes(params["Content"]["Raw"]["Data"], policy=policy.default)
        params = {**params, "Content": {"Raw": {"MIME": mime_parts(mime)}}}
    return {"operation": call.operation, "params": params}


def mime_parts(part: Message) -> dict[str, Any]:
    result: dict[str, Any] = {"type": part.get_content_type()}
    parameters = {name: value for name, value in part.get_params([])[1:] if name != "boundary"}
    if parameters:
        result["parameters"] = parameters
    # Not the order, not a disposition that says nothing, and not the last line break of texts:
    # versions of Django differ in these.
    headers = sorted(
        f"{name}: {str(value).strip()}"
        for name, value in part.items()
        if name.lower() not in _LEFT_OUT_OF_MIME and value != "attachment"
    )
    if headers:
        result["headers"] = headers
    if part.is_multipart():
        result["parts"] = [mime_parts(item) for item in part.get_payload()]
    else:
        content = part.get_payload(decode=True)
        is_text = part.get_content_maintype() == "text"
        result.update(_content(content.removesuffix(b"\n") if is_text else content))
    return result
