"""Addresses in headers, as senders write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from ..address_syntax import Pieces, join_phrase, split_elements
from ..addresses import MAX_ADDR_SPEC_LENGTH, EmailAddress
from ..charsets import decode_8bit
from ..exceptions import AnymailInvalidAddress
from ..headers import rfc2047_decode
from .text import CONTROL_CHARS

MAX_ADDRESSES = 10_000
"""How many addresses in a header are looked at."""

# What there is, although RFC 5322 doesn't allow it: dots at any place in the local part.
_ATOM_TEXT = r"[^\s()<>@,:;.\"\[\]\\\x00-\x1f\x7f]"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\.)*"'
_ADDR_SPEC = re.compile(
    rf"""
    (?:mailto:)?
    (?!\.*@) ( (?: {_ATOM_TEXT} | \. | {_QUOTED} )+
    @ (?: {_ATOM_TEXT}+ (?: \.{_ATOM_TEXT}+ )* \.? | \[[^\[\]\\\s]*\] ) )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def parse_addresses(headers: Iterable[str]) -> Iterator[EmailAddress]:
    """Yield the addresses in header values, whose 8-bit text can be in surrogate escapes.

    What has no address in it is left out, and so is everything after MAX_ADDRESSES.
    """
    elements = (element for header in headers for element in split_elements(header))
    filled = (element for element in elements if not element.is_blank)
    for element in islice(filled, MAX_ADDRESSES):
        # Which of two addresses would count?
        address = None if "@" in element.rest else _parse_mailbox(element.pieces())
        if address:
            yield address


def _parse_mailbox(mailbox: Pieces) -> EmailAddress | None:
    phrase = join_phrase(mailbox.phrase).rstrip("< ")
    name = CONTROL_CHARS.sub(" ", rfc2047_decode(phrase)).strip()
    addr_spec = decode_8bit(mailbox.addr_spec).removesuffix(">")
    # Encoded-words don't belong in an addr-spec, but the email package decodes some of them.
    if "=?" in addr_spec or len(addr_spec) > MAX_ADDR_SPEC_LENGTH:
        return None
    try:
        return EmailAddress(name, addr_spec)
    except AnymailInvalidAddress:
        match = _ADDR_SPEC.fullmatch(addr_spec)
        return EmailAddress.as_written(name, match[1]) if match else None
