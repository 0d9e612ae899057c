"""Calls of a provider's API in which it takes several different messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http.client import responses
from types import MappingProxyType
from typing import Any, NamedTuple

import requests

Results = Sequence[tuple[int, Any]]
"""For each message the HTTP status, and the JSON, that its own call would have been answered with.
"""


class SharedCall(NamedTuple):
    """A call in which a provider takes several different messages."""

    limit: int
    """How many messages."""
    max_bytes: int
    """How long the body of the call can be."""
    results: Callable[[Any, int], Results | None]
    """Takes the JSON of an answer to so many messages, and returns the results in it. None if it
    is about the whole call. What is malformed in a way that leaves no result for a message raises
    AttributeError, LookupError or TypeError."""
    opening: str = "["
    """What is before the messages' JSON in the body."""
    closing: str = "]"
    """What is after it."""
    separator: str = ", "
    """What is between them."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Those that only this call has."""

    def has_room_for(self, messages: int, size: int) -> bool:
        """Tell whether there can be so many messages, whose JSON has so many bytes together."""
        size += len(self.opening) + (messages - 1) * len(self.separator) + len(self.closing)
        return messages <= self.limit and size <= self.max_bytes


class PartOfResponse(requests.Response):
    """What is about one message in the answer to a call that several messages share.

    It's like the answer to a call of its own: its HTTP status and JSON are those of the message.
    Headers, ``request`` and all else are those of the shared call.
    """

    def __init__(self, whole: requests.Response, status_code: int, result: Any) -> None:
        vars(self).update(vars(whole))
        if status_code != whole.status_code:
            self.status_code = status_code
            self.reason = responses.get(status_code, "")
        self.encoding = "utf-8"
        self._result = result
        self._content: Any = None
        self._content_consumed = True

    @property
    def content(self) -> bytes:
        """The same, as JSON text."""
        if self._content is None:
            self._content = json.dumps(self._result).encode()
        return self._content  # type: ignore[no-any-return]

    def json(self, **kwargs: Any) -> Any:
        """Return the message's part of the JSON."""
        return super().json(**kwargs) if kwargs else self._result

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_content": None, "_result": self._result}  # type: ignore[misc]
