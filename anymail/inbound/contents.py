"""Contents of MIME parts that are in memory only once, in the form in which they came.

A received message of many megabytes consists of files in base64. What parsing it, decoding JSON or
reading a form has made of a file is kept, and everything else is made of that each time that it's
asked for: the source text of the part, which few look at, and the content.
"""

from __future__ import annotations

import binascii
from base64 import encodebytes
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import NamedTuple, Protocol

PIECE = 65536
"""Characters that are decoded at a time."""

MAX_LINE = 1000
"""How long a line of base64 can be, where there are several."""


class Contents(Protocol):
    """The content of a part whose transfer encoding is base64."""

    def source(self) -> str:
        """Return the payload as it is, or would be, in the source of the message."""

    def decoded(self) -> bytes | None:
        """Return the content; None if the payload isn't well-formed base64."""


class DecodedFile:
    """Contents that came as bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def source(self) -> str:
        """Return base64 in lines."""
        return encodebytes(self._content).decode("ascii")

    def decoded(self) -> bytes:
        """Return the content."""
        return self._content


class Base64File:
    """Contents that came as base64, with line breaks or without.

    Characters that are not base64 are ignored. Raises ValueError if the rest is incomplete.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.decoded()

    def source(self) -> str:
        """Return base64 in lines."""
        return encodebytes(self.decoded()).decode("ascii")

    def decoded(self) -> bytes:
        """Return the content."""
        return binascii.a2b_base64(self._text)


class Base64Error(ValueError):
    """It's not base64, or not only, or in lines of different lengths."""


class Base64Bytes:
    """The bytes that base64 stands for, of which slices can be had without decoding all of it.

    Its lines, if there are several, are all of the same length, but for the last one. Slices raise
    Base64Error for any other text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        first, newline, _ = text[:MAX_LINE].partition("\n")
        self._width = len(first) if newline else len(text)
        """Characters of a line."""
        size = len(text) - text.endswith("\n")
        newlines = text[self._width : size : self._width + 1]
        characters, padding = size - len(newlines), text[-4:].count("=")
        self._length = characters // 4 * 3 - padding
        if newlines.count("\n") < len(newlines) or self._width % 4 or characters % 4 or padding > 2:
            raise Base64Error

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._length)
        skipped = start % 3
        first, last = (self._position(index) for index in (start - skipped, -(-stop // 3) * 3))
        try:
            content = binascii.a2b_base64(self._text[first:last])
        except ValueError as err:
            raise Base64Error from err
        content = content[skipped : skipped + stop - start]
        if len(content) < stop - start:  # without what is not base64
            raise Base64Error
        return content

    def _position(self, index: int) -> int:
        """Return where in the text the characters of a byte begin, the first one of three."""
        character = index // 3 * 4
        return character + character // self._width if self._width else 0


Source = str | bytes | Base64Bytes


class Slice(NamedTuple):
    """Part of a larger source, which is ASCII there."""

    of: Source
    start: int
    stop: int

    def text(self) -> str:
        """Return it as text."""
        piece = self.of[self.start : self.stop]
        return piece if isinstance(piece, str) else piece.decode("ascii")

    def copy(self) -> Slice:
        """Return the same without its source."""
        text = self.text()
        return Slice(text, 0, len(text))


class Base64Source:
    """Contents that are in the source of the message: text, and slices of what was parsed."""

    def __init__(self, pieces: Iterable[str | Slice]) -> None:
        self._pieces = list(pieces)

    def source(self) -> str:
        """Return the payload as it came."""
        return "".join(self._texts())

    def _texts(self) -> Iterator[str]:
        for piece in self._pieces:
            yield piece.text() if isinstance(piece, Slice) else piece

    def decoded(self) -> bytes | None:
        """Return the content; None if there is anything wrong with the base64."""
        return decode_base64(self._texts())


def decode_base64(texts: Iterable[str]) -> bytes | None:
    """Decode base64 that is cut anywhere; None if there is anything wrong with it, or white space.

    The email package gets the same, but with several copies on the way.
    """
    content = BytesIO()
    characters, left, tail = 0, "", ""
    for text in texts:
        characters += len(text) - text.count("\n") - text.count("\r")
        tail = (tail + text)[-16:]
        left += text
        end, more = len(left), characters % 4
        while more:
            end -= 1
            more -= left[end] not in "\r\n"
        try:
            content.write(binascii.a2b_base64(left[:end]))  # which ignores what is not base64
        except ValueError:
            return None
        left = left[end:]
    tail = tail.rstrip("\r\n")
    padding = len(tail) - len(tail.rstrip("="))
    # Four characters are three bytes. Each one that was ignored makes the content too short.
    is_complete = padding <= 2 and 4 * (content.tell() + padding) == 3 * characters
    return content.getvalue() if is_complete else None


def in_pieces(text: str) -> Iterator[str]:
    """Yield text in pieces."""
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]
