"""Parsing messages as they come in, within limits that no real message comes near."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.feedparser import FeedParser
from email.policy import Policy
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ..exceptions import AnymailInboundLimitExceeded
from .policy import policy_for
from .structure import settle_dispositions
from .text import to_bytes
from .transfer_encodings import Base64Lines

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


def check_header(headers: int, name: str, value: str) -> None:
    """Raise AnymailInboundLimitExceeded if a part with so many headers can't have another one."""
    if headers >= MAX_HEADERS:
        raise AnymailInboundLimitExceeded(
            f"Received message with more than {MAX_HEADERS} headers in one MIME part"
        )
    if len(name) > MAX_HEADER_LENGTH or len(value) > MAX_HEADER_LENGTH:
        raise AnymailInboundLimitExceeded(
            f"Received message with a header of more than {MAX_HEADER_LENGTH} characters"
        )


def parse_message(message_class: type[Message], chunks: Iterable[bytes | bytearray]) -> Message:
    """Parse a message, with parts of the same class.

    Raises AnymailInboundLimitExceeded, as soon as that can be told.
    """
    parts = -1  # not counting the one that the parser makes only to try it

    def make_part(policy: Policy[Any]) -> Any:
        nonlocal parts
        parts += 1
        if parts > MAX_PARTS:
            raise AnymailInboundLimitExceeded(
                f"Received message with more than {MAX_PARTS} MIME parts"
            )
        # Those that are not complete. There is nothing public to tell how many that are.
        if parts and len(parser._msgstack) > MAX_NESTING:  # type: ignore[attr-defined]
            raise AnymailInboundLimitExceeded(
                f"Received message with MIME parts nested more than {MAX_NESTING} levels deep"
            )
        return message_class(policy=policy)

    # (The type stubs don't know that it's called with the policy.)
    parser = FeedParser(make_part, policy=policy_for(message_class))  # type: ignore[arg-type]
    base64_lines = Base64Lines()
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_SIZE):
            # As BytesFeedParser does it
            text = chunk[start : start + CHUNK_SIZE].decode("ascii", "surrogateescape")
            parser.feed(base64_lines.set_aside(text))
    message: Message = parser.close()
    base64_lines.put_back(message)
    settle_dispositions(message)
    return message


def read_chunks(fp: IO[bytes] | IO[str]) -> Iterator[bytes]:
    """Yield the content of an open file, in binary or text mode."""
    while chunk := fp.read(CHUNK_SIZE):
        yield to_bytes(chunk) if isinstance(chunk, str) else chunk
