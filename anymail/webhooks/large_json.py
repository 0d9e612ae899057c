"""Decoding JSON that consists mostly of a few very long strings: messages, and files in base64.

Python's decoder needs all of it as a str, beside the bytes of the request's body and the strings
that it makes. Here, the long strings are taken out piece by piece; what is left is little.
"""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Iterable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from ..charsets import replace_surrogates

PIECE = 256 * 1024
"""How many bytes are decoded at a time."""

LONG = 64 * 1024
"""How many bytes a string has that is taken out."""

MIN_AVERAGE = 256
"""How many bytes of JSON there must be for a quote, for it not to take longer than Python's way."""

# Longer than any character, or pair of surrogates, is in JSON
_ESCAPES = 12
_MAX_ESCAPES = 4096
_MAX_UNCUT = 2 * 1024 * 1024


class NotLargeError(Exception):
    """There are too many strings, or something is wrong: it's for Python's decoder."""


class LongStrings:
    """The long strings that were taken out of JSON, and what is in their place."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        # Nobody can have sent that.
        self._mark = f"long {secrets.token_hex(8)} "

    def take_out(self, pieces: Iterable[bytes]) -> bytes:
        """Return JSON in UTF-8 without its long strings. They can be put back where it's decoded.

        Raises NotLargeError, or ValueError for long strings that are not well-formed.
        """
        rest = bytearray()
        string: _String | None = None
        quotes = size = 0
        for piece in _safely_cut(pieces):
            size += len(piece)
            position = 0
            while (quote := piece.find(b'"', position)) >= 0:
                quotes += 1
                if quotes * MIN_AVERAGE > size + LONG:
                    raise NotLargeError
                text = piece[position : quote + 1]
                position = quote + 1
                if string is None:
                    rest += text
                    string = _String()
                elif _is_escaped(piece, quote):
                    string.add(text)
                else:
                    string.add(text[:-1])
                    rest += b'%b"' % self._end(string)
                    string = None
            text = piece[position:]
            if string is None:
                rest += text
            else:
                string.add(text)
        if string is not None:
            raise NotLargeError
        return bytes(rest)

    def _end(self, string: _String) -> bytes:
        if not string.is_long:
            return bytes(string.raw)
        mark = f"{self._mark}{len(self._found)}"
        self._found[mark] = string.end()
        return mark.encode()

    def put_back(self, data: Any) -> Any:
        """Return decoded JSON with the strings. It must not be nested too deeply.

        Raises NotLargeError if one of them is the key of an object.
        """
        if not self._found:
            return data
        if isinstance(data, str):
            return self._found.get(data, data)
        containers = [data] if isinstance(data, (dict, list)) else []
        while containers:
            container = containers.pop()
            if isinstance(container, dict):
                if not self._found.keys().isdisjoint(container):
                    raise NotLargeError
                items: Any = container.items()
            else:
                items = enumerate(container)
            for key, value in items:
                if isinstance(value, str):
                    if value.startswith(self._mark):
                        container[key] = self._found[value]
                elif isinstance(value, (dict, list)):
                    containers.append(value)
        return data


class _String:
    """A string, decoded as it comes in once it's long."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.is_long = False
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def add(self, piece: bytes) -> None:
        self.raw += piece
        if len(self.raw) >= LONG:
            self.is_long = True
            self._decode(final=False)

    def end(self) -> str:
        self._decode(final=True)
        return self._text

    def _decode(self, *, final: bool) -> None:
        escaped = self._decoder.decode(self.raw, final)
        piece, _ = scanstring(f'{escaped}"', 0)
        piece = replace_surrogates(piece)
        self.raw.clear()
        # To append to a str that nothing else refers to doesn't copy it.
        text, self._text = self._text, ""
        text += piece
        self._text = text


def _is_escaped(text: bytes, position: int) -> bool:
    first = position
    while first and text[first - 1] == 0x5C:  # a backslash
        first -= 1
    return (position - first) % 2 == 1


def _safely_cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces that are cut neither in an escape sequence, nor in a pair of them."""
    left = b""
    for piece in pieces:
        left += piece
        end = len(left)
        while (found := left.rfind(b"\\", max(0, end - _ESCAPES), end)) >= 0:
            end = found
            if end < len(left) - _MAX_ESCAPES:
                # Text in another script, perhaps. There is more after it.
                end = 0
        if len(left) - end > _MAX_UNCUT:
            raise NotLargeError
        yield left[:end]
        left = left[end:]
    yield left
