"""Making received messages, and comparing them."""

from __future__ import annotations

from textwrap import dedent

from anymail.inbound import AnymailInboundMessage

from ..utils import FIXTURES

SAMPLE_FILE = FIXTURES / "inbound" / "alternative.eml"
SAMPLE_MIME = SAMPLE_FILE.read_bytes()


def parse(source: str | bytes) -> AnymailInboundMessage:
    """Parse a dedented str (as UTF-8), or bytes."""
    if isinstance(source, bytes):
        return AnymailInboundMessage.parse_raw_mime_bytes(source)
    return AnymailInboundMessage.parse_raw_mime(dedent(source))


def with_header(name: str, value: str | bytes) -> AnymailInboundMessage:
    value = value.encode() if isinstance(value, str) else value
    return AnymailInboundMessage.parse_raw_mime_bytes(name.encode() + b": " + value + b"\n\n")


def describe(message):
    """Return the structure and content of a message in a form that can be compared."""
    payload = message._payload
    return (
        list(message.raw_items()),
        message.get_unixfrom(),
        message.preamble,
        message.epilogue,
        list(map(repr, message.defects)),
        list(map(describe, payload)) if isinstance(payload, list) else payload,
    )
