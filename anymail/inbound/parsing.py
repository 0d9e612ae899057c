"""Parsing messages as they come in, within limits that no real message comes near."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.feedparser import FeedParser
from email.policy import Policy
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ..charsets import to_bytes
from ..exceptions import AnymailInboundLimitExceeded
from .contents import Base64Bytes
from .policy import policy_for
from .structure import settle_dispositions
from .transfer_encodings import Base64Lines, Window

if TYPE_CHECKING:
    from .message import AnymailInboundMessage

Message = TypeVar("Message", bound="AnymailInboundMessage")

CHUNK_SIZE = 65536
"""Bytes that are fed to the parser, or read from a file, at a time."""

MAX_NESTING = 50
"""How deeply MIME parts can be nested. Each level makes every line below it slower to parse."""

MAX_PARTS = 10_000
"""How many MIME parts a message can have; also the blocks in delivery reports count."""

MAX_HEADERS = 1000
"""How many headers a message, or one of its parts, can have."""

MAX_HEADER_LENGTH = 256 * 1024
"""How many characters can be in the value of one header."""


MAX_HEADERS_LENGTH = 1024 * 1024
"""How many characters can be in all headers of a message, or one of its parts."""

_BOM = codecs.BOM_UTF8.decode("ascii", "surrogateescape")


def check_headers(headers: int, length: int, last: int) -> None:
    """Raise AnymailInboundLimitExceeded if a MIME part has too many or too long headers.

    ``length`` is that of all, in characters; ``last`` that of the last one.
    """
    if headers > MAX_HEADERS:
        raise AnymailInboundLimitExceeded(
            f"Received message with more than {MAX_HEADERS} headers in one MIME part"
        )
    if last > MAX_HEADER_LENGTH:
        raise AnymailInboundLimitExceeded(
            f"Received message with a header of more than {MAX_HEADER_LENGTH} characters"
        )
    if length > MAX_HEADERS_LENGTH:
        raise AnymailInboundLimitExceeded(
            f"Received message with more than {MAX_HEADERS_LENGTH} characters of headers in one"
            " MIME part"
        )


@dataclass
class _Extent:
    """What there is already of a message: parts, and levels that what is parsed is nested in."""

    parts: int = 0
    levels: int = 0

    def add_part(self, level: int) -> None:
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise AnymailInboundLimitExceeded(
                f"Received message with more than {MAX_PARTS} MIME parts"
            )
        if self.levels + level > MAX_NESTING:
            raise AnymailInboundLimitExceeded(
                f"Received message with MIME parts nested more than {MAX_NESTING} levels deep"
            )


def parse_message(
    message_class: type[Message],
    windows: Iterator[Window],
    extent: _Extent | None = None,
) -> Message:
    """Parse a message, with parts of the same class.

    Raises AnymailInboundLimitExceeded, as soon as that can be told.
    """
    extent = extent or _Extent()
    is_trial = True  # The parser makes one part only to try it.

    def make_part(policy: Policy[Any]) -> Any:
        nonlocal is_trial
        if not is_trial:
            # Those that are not complete. There is nothing public to tell how many that are.
            extent.add_part(len(parser._msgstack))  # type: ignore[attr-defined]
        is_trial = False
        return message_class(policy=policy)

    # (The type stubs don't know that it's called with the policy.)
    parser = FeedParser(make_part, policy=policy_for(message_class))  # type: ignore[arg-type]
    base64_lines = Base64Lines()
    for window in _without_bom(windows):
        parser.feed(base64_lines.set_aside(window))
    message: Message = parser.close()
    base64_lines.put_back(message)
    _decode_attached_messages(message, extent)
    settle_dispositions(message)
    return message


def windows_of_chunks(chunks: Iterable[bytes | bytearray | Base64Bytes]) -> Iterator[Window]:
    """Yield bytes for the parser, as they come in."""
    for chunk in chunks:
        # What can be changed later is copied.
        yield from windows_of(bytes(chunk) if isinstance(chunk, bytearray) else chunk)


def windows_of(data: bytes | Base64Bytes) -> Iterator[Window]:
    """Yield bytes for the parser."""
    for start in range(0, len(data), CHUNK_SIZE):
        yield Window(as_parsed(data[start : start + CHUNK_SIZE]), data, start)


def windows_of_text(text: str) -> Iterator[Window]:
    """Yield text for the parser, as UTF-8."""
    for start in range(0, len(text), CHUNK_SIZE):
        piece = text[start : start + CHUNK_SIZE]
        if piece.isascii():
            yield Window(piece, text, start)
        else:
            piece = as_parsed(to_bytes(piece))
            yield Window(piece, piece, 0)


def as_parsed(data: bytes | bytearray) -> str:
    """Decode as BytesFeedParser does it; to_bytes() is the reverse."""
    return data.decode("ascii", "surrogateescape")


def _without_bom(windows: Iterator[Window]) -> Iterator[Window]:
    beginning = ""
    for text, source, start in windows:
        if beginning:
            text = source = beginning + text
            start = 0
        if len(text) >= len(_BOM) or not _BOM.startswith(text):
            length = len(_BOM) if text.startswith(_BOM) else 0
            yield Window(text[length:], source, start + length)
            break
        beginning = text
    else:
        yield Window(beginning.removeprefix(_BOM), beginning, 0)
    yield from windows


def parse_attached(part: Message, content: bytes, extent: _Extent | None = None) -> None:
    """Have a message/* part attach the message(s) in ``content``."""
    # As a part of its own content type, because message/delivery-status parses into several.
    header = f"Content-Type: {part.get_content_type()}\n\n".encode()
    windows = windows_of_chunks([header, content])
    part.set_payload(parse_message(type(part), windows, extent).get_payload())


def _decode_attached_messages(message: Message, extent: _Extent) -> None:
    """Parse attached messages again that are in base64, which RFC 2046, 5.2.1 does not allow.

    To the parser, they are messages of nothing but text.
    """
    pending = [(message, extent.levels)]
    while pending:
        part, level = pending.pop()
        if not part.is_multipart():
            continue
        payload: Any = part.get_payload()
        is_encoded = str(part.get("Content-Transfer-Encoding", "")).lower() == "base64"
        if not is_encoded or part.get_content_maintype() != "message" or any(map(len, payload)):
            pending += [(item, level + 1) for item in payload]
            continue
        encoded = type(part)()
        encoded["Content-Transfer-Encoding"] = "base64"
        encoded.set_payload(as_parsed(part.get_content_bytes() or b""))
        part.replace_header("Content-Transfer-Encoding", "8bit")
        outer, extent.levels = extent.levels, level
        parse_attached(part, encoded.get_content_bytes() or b"", extent)
        extent.levels = outer


def read_chunks(fp: IO[bytes] | IO[str]) -> Iterator[bytes]:
    """Yield the content of an open file, in binary or text mode."""
    while chunk := fp.read(CHUNK_SIZE):
        yield to_bytes(chunk) if isinstance(chunk, str) else chunk
