"""Keeping credentials out of errors and debugging output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

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
