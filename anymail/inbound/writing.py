"""Serializing: delivery reports as they came, where the standard library's generators change them.

A message/delivery-status consists of blocks of header fields with empty lines between them
(RFC 3464, section 2.1). The parser also takes lines that are no fields, as text of their block. The
generators write an empty line before such text, and so make one more block of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.generator import BytesGenerator, Generator
from email.message import Message
from email.policy import Policy
from io import BytesIO, StringIO
from typing import Any

from .parsing import as_parsed


def join_blocks(blocks: Iterable[str], newline: str = "\n") -> str:
    """Return the content of a delivery report from its blocks, each serialized as a message."""
    content = ""
    for index, block in enumerate(blocks):
        # The first empty line is the end of the fields, of which there may be none.
        fields, _, text = (newline + block).partition(newline * 2)
        if fields:
            fields = fields.removeprefix(newline) + newline
        if content and not content.endswith(newline):
            content += newline
        content += (newline if index else "") + fields + text
    return content


class _Reports:
    """Mixin for a generator: writes delivery reports as they came."""

    # (The generators look for methods by the content type.)
    def _handle_message_delivery_status(self: Any, message: Message) -> None:
        blocks = [self._serialized(block) for block in message.get_payload()]
        self.write(join_blocks(blocks, self.policy.linesep))


class _StringGenerator(_Reports, Generator):
    def _serialized(self, block: Message) -> str:
        buffer = StringIO()
        self.clone(buffer).flatten(block)
        return buffer.getvalue()


class _BytesGenerator(_Reports, BytesGenerator):
    def _serialized(self, block: Message) -> str:
        buffer: Any = BytesIO()
        self.clone(buffer).flatten(block)
        return as_parsed(buffer.getvalue())


def write_string(
    message: Message, unixfrom: bool, maxheaderlen: int | None, policy: Policy[Any] | None
) -> str:
    """As EmailMessage.as_string()."""
    policy = policy or message.policy
    if maxheaderlen is None:
        maxheaderlen = policy.max_line_length
    buffer = StringIO()
    generator = _StringGenerator(
        buffer, mangle_from_=False, maxheaderlen=maxheaderlen, policy=policy
    )
    generator.flatten(message, unixfrom=unixfrom)
    return buffer.getvalue()


def write_bytes(message: Message, unixfrom: bool, policy: Policy[Any] | None) -> bytes:
    """As EmailMessage.as_bytes()."""
    buffer = BytesIO()
    generator = _BytesGenerator(buffer, mangle_from_=False, policy=policy or message.policy)
    generator.flatten(message, unixfrom=unixfrom)
    return buffer.getvalue()
