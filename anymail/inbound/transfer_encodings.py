"""Transfer encodings, and base64 above all: most of what large messages consist of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..charsets import decode_8bit
from .contents import Base64Source, Slice, Source

if TYPE_CHECKING:
    from .message import AnymailInboundMessage


_NAME = re.compile(r"""[\s"']*([\w-]+)""", re.ASCII)


def normalize_transfer_encoding(text: str) -> str:
    """Return the encoding's name without what can be around it; text itself if it has no name."""
    match = _NAME.match(text)
    if not match:
        return decode_8bit(text.strip())
    name = match[1].lower().replace("_", "-")
    return _ENCODINGS.get(name.replace("-", ""), name)


_ENCODINGS = {
    "7bit": "7bit",
    "8bit": "8bit",
    "base64": "base64",
    "quotedprintable": "quoted-printable",
}


class Window(NamedTuple):
    """Text that is parsed, as the parser wants it, and where that is in what it was decoded from.

    There, a character for a character.
    """

    text: str
    source: Source
    start: int


class Base64Lines:
    """Keeps lines of base64 aside while a message is parsed, which takes time for each line.

    The parser gets one line, a placeholder, in place of several successive ones. It makes the same
    of that: it's no header, no continuation of one, no boundary and no empty line, so in whatever
    part of a message, it's only kept, between the line before and the one after. Then the lines
    are put back. Nothing in a message can be taken for a placeholder: the parser's text is ASCII,
    with other bytes as surrogate escapes.
    """

    # Those that are not enough to save time match too, and are left. Otherwise, they would be tried
    # again from each line on.
    _LINES = re.compile(r"\n(?:[A-Za-z0-9+/=]+\r?\n)+")
    _MIN_LINES = 4
    _PLACEHOLDER = re.compile("\ue000([0-9]+)")

    def __init__(self) -> None:
        self._blocks: list[Slice] = []

    def set_aside(self, window: Window) -> str:
        """Return text for the parser, from anywhere in a message."""
        return self._LINES.sub(partial(self._replace, window), window.text)

    def _replace(self, window: Window, match: re.Match[str]) -> str:
        lines = match[0]
        if lines.count("\n") <= self._MIN_LINES:
            return lines
        # The line ends before and after are left: those can belong to a boundary.
        end = "\r\n" if lines.endswith("\r\n") else "\n"
        start, stop = (window.start + position for position in match.span())
        self._blocks.append(Slice(window.source, start + 1, stop - len(end)))
        return f"\n\ue000{len(self._blocks) - 1}{end}"

    def put_back(self, message: AnymailInboundMessage) -> None:
        """Complete what the parser has returned."""
        if not self._blocks:
            return
        self._copy_little()
        for part in message.walk():
            part.preamble = self._complete(part.preamble)
            part.epilogue = self._complete(part.epilogue)
            payload = part._payload
            if isinstance(payload, str) and self._PLACEHOLDER.search(payload):
                part._keep(Base64Source(self._pieces(payload)))

    def _copy_little(self) -> None:
        """Let go of sources of which not much more than half is in blocks."""
        used: dict[int, int] = {}
        for source, start, stop in self._blocks:
            used[id(source)] = used.get(id(source), 0) + stop - start
        self._blocks = [
            block if 2 * used[id(block.of)] > len(block.of) else block.copy()
            for block in self._blocks
        ]

    def _pieces(self, text: str) -> Iterator[str | Slice]:
        for index, piece in enumerate(self._PLACEHOLDER.split(text)):
            yield self._blocks[int(piece)] if index % 2 else piece

    def _complete(self, text: str | None) -> str | None:
        return text and Base64Source(self._pieces(text)).source()
