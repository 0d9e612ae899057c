"""Email addresses as the sandbox's providers read them."""

from __future__ import annotations

import re

from ..address_syntax import Element, join_phrase, split_elements
from ..addresses import EmailAddress

_CONTROL_CHARS = re.compile(r"[\r\n\0]")
_ADDR_SPEC = re.compile(
    r"""(?: "[^"\r\n]+" | [^\s()<>@,:;"\[\]\\]+ )
        @
        (?: [a-z0-9_] (?: [a-z0-9_-]* [a-z0-9_] )?
                    (?: \. [a-z0-9_] (?: [a-z0-9_-]* [a-z0-9_] )? )* )\Z""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)


def received_address(display_name: str, addr_spec: str) -> EmailAddress:
    """Return an address that is in a call, valid or not."""
    return EmailAddress.as_written(
        _CONTROL_CHARS.sub(" ", display_name), _CONTROL_CHARS.sub(" ", addr_spec)
    )


def is_valid(mailbox: EmailAddress) -> bool:
    """Tell whether it has a local part, and a domain in ASCII: IDNs must be encoded."""
    return _ADDR_SPEC.match(mailbox.addr_spec) is not None


def has_valid_domain(mailbox: EmailAddress) -> bool:
    """Tell whether it has any local part, and a domain in ASCII."""
    return bool(mailbox.username) and is_valid(received_address("", f"x@{mailbox.domain}"))


def parse_mailboxes(text: str) -> list[EmailAddress]:
    """Return the addresses in a comma-separated list, which are not necessarily valid."""
    elements = [element for element in split_elements(text) if not element.is_blank]
    if any(element.separator == ";" and not element.in_group for element in elements):
        return [received_address("", text)]
    return [_parse_mailbox(element) for element in elements]


def _parse_mailbox(element: Element) -> EmailAddress:
    mailbox = element.pieces()
    text = "".join(part for _, part in element.tokens).strip()
    if element.rest or (mailbox.in_brackets and "<" in text and ">" not in text):
        return received_address("", text)
    return received_address(join_phrase(mailbox.phrase), mailbox.addr_spec)
