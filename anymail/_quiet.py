"""Keeping credentials out of errors and debugging output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from django.utils.functional import Promise

MASK = "*****"
"""What is shown in place of a credential."""

CREDENTIAL_NAME = re.compile(
    r"authorization|(api|auth|access)[-_]?key|secret|token|password|cookie", re.IGNORECASE
)
"""Matches the names of settings, attributes and headers with credentials in them."""

_USER_INFO = re.compile(r"(?<=://)[^/?#@\s'\"]+@")
_SECRET_PARAMETER = re.compile(
    r"""([?&][^=&?\s'"]*(?:key|token|secret|passw|signature|auth)[^=&?\s'"]*=)[^&#\s'"<>)]+""",
    re.IGNORECASE,
)


def find_credentials(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text in a mapping whose key says that it's a credential."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from find_credentials(value)
        elif isinstance(value, str) and value and CREDENTIAL_NAME.search(str(name)):
            yield value


def mask_credentials(text: str, credentials: Iterable[str]) -> str:
    """Return text without some credentials, however they are escaped."""
    for credential in credentials:
        as_json = json.dumps(credential)[1:-1]
        for written in (credential, as_json, quote(credential), quote(credential, safe="")):
            text = text.replace(written, MASK)
    return text


def mask_urls(text: str) -> str:
    """Return text without what is secret in URLs: user and password, and tokens in the query."""
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", text))


def mask_urls_in_error(error: BaseException) -> None:
    """Do the same to the text of an exception, and of those that led to it.

    They are part of what is printed and logged when an exception is raised from that one.
    """
    seen = set()
    pending: BaseException | None = error
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        pending.args = tuple(
            mask_urls(arg) if isinstance(arg, str) else arg for arg in pending.args
        )
        pending = pending.__cause__ or pending.__context__


def drop_tracebacks(error: BaseException) -> None:
    """Take the tracebacks from an exception, and from those that led to it.

    Django's error reports show the variables of all functions in them. What it has to hide some
    (``sensitive_variables``) has no effect below generators before Python 3.12.
    """
    seen = set()
    pending: BaseException | None = error
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        pending.__traceback__ = None
        pending = pending.__cause__ or pending.__context__


# -- Content ----------------------------------------------------------------------------------

_MIN_CONTENT = 8
"""Shorter lines of a message are too likely to be in other text."""

# Fields of providers' answers that tell what went wrong, in lower case
_ERROR_TEXTS = {
    *("code", "description", "detail", "details", "error_code", "error_message", "errorcode"),
    *("errormessage", "message", "messages", "name", "reason", "title"),
}
_ERROR_OBJECTS = {"error", "errors"}


def find_content(message: Any) -> Iterator[str]:
    """Yield the lines of a message's subject, body, alternatives and merge data."""
    bodies = [getattr(message, "subject", None), getattr(message, "body", None)]
    bodies += [item[0] for item in getattr(message, "alternatives", None) or () if item]
    for name in ("merge_data", "merge_global_data"):
        bodies += _texts(getattr(message, name, None))
    for body in bodies:
        if isinstance(body, (str, Promise)):
            lines = (line.strip() for line in str(body).splitlines())
            yield from (line for line in lines if len(line) >= _MIN_CONTENT)


def _texts(data: Any) -> Iterator[Any]:
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _texts(item)
    else:
        yield data


def mask_content(text: str, lines: Iterable[str]) -> str:
    """Return text without the lines of a message.

    Also where they are in JSON, in JSON within JSON, or in a form.
    """
    for line in sorted(set(lines), key=len, reverse=True):
        text = text.replace(quote_plus(line), MASK)
        for escape_all in (False, True):
            written = line
            for _ in range(3):
                text = text.replace(written, MASK)
                written = json.dumps(written, ensure_ascii=escape_all)[1:-1]
    return text


def find_error_texts(answer: Any, is_error: bool = False) -> Iterator[str]:
    """Yield the text in those fields of a provider's answer that tell what went wrong."""
    if isinstance(answer, Mapping):
        for name, value in answer.items():
            is_text = str(name).lower() in _ERROR_TEXTS
            # Such as {"errors": {"to": ["is not valid"]}}
            is_list = is_error and isinstance(value, (list, tuple))
            is_object = str(name).lower() in _ERROR_OBJECTS
            is_text = is_text and not isinstance(value, Mapping)
            yield from find_error_texts(value, is_text or is_list or is_object)
    elif isinstance(answer, (list, tuple)):
        for item in answer:
            yield from find_error_texts(item, is_error and not isinstance(item, Mapping))
    elif is_error and isinstance(answer, (str, int)) and not isinstance(answer, bool):
        yield str(answer)
