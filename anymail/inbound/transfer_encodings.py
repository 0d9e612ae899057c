"""Transfer encodings, and base64 above all: most of what large messages consist of."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any

from ..charsets import decode_8bit

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
        self._blocks: list[str] = []

    def set_aside(self, text: str) -> str:
        """Return text for the parser, from anywhere in a message."""
        return self._LINES.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        lines = match[0]
        if lines.count("\n") <= self._MIN_LINES:
            return lines
        # The line ends before and after are left: those can belong to a boundary.
        end = "\r\n" if lines.endswith("\r\n") else "\n"
        self._blocks.append(lines[1 : -len(end)])
        return f"\n\ue000{len(self._blocks) - 1}{end}"

    def put_back(self, message: AnymailInboundMessage) -> None:
        """Complete what the parser has returned."""
        if self._blocks:
            for part in message.walk():
                part._payload = self._complete(part._payload)
                part.preamble = self._complete(part.preamble)
                part.epilogue = self._complete(part.epilogue)

    def _complete(self, text: Any) -> Any:
        if not isinstance(text, str):  # None, or parts
            return text
        return self._PLACEHOLDER.sub(lambda match: self._blocks[int(match[1])], text)


def decode_base64(text: str) -> bytes | None:
    """Decode lines of base64; None if there is anything wrong with it, or other white space.

    The email package gets the same, but with several copies on the way.
    """
    try:
        content = binascii.a2b_base64(text)  # which ignores what is not base64
    except ValueError:
        return None
    tail = text[-16:].rstrip("\r\n")
    padding = len(tail) - len(tail.rstrip("="))
    characters = len(text) - text.count("\n") - text.count("\r")
    # Four characters are three bytes. Each one that was ignored makes the content too short.
    is_complete = padding <= 2 and 4 * (len(content) + padding) == 3 * characters
    return content if is_complete else None
