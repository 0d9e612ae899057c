"""Email addresses as the sandbox's providers read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LIST_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^",])+')
_NAME_ADDR = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*"\s*|[^<>]*)<(?P<addr_spec>[^<>]*)>\s*\Z', re.DOTALL
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ADDR_SPEC = re.compile(
    r"""(?: "[^"\r\n]+" | [^\s()<>@,:;"\[\]\\]+ )
        @
        (?: [a-z0-9_] (?: [a-z0-9_-]* [a-z0-9_] )?
                    (?: \. [a-z0-9_] (?: [a-z0-9_-]* [a-z0-9_] )? )* )\Z""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True)
class Mailbox:
    """An address: addr-spec, and a display name that can be empty."""

    addr_spec: str
    display_name: str = ""

    def __str__(self) -> str:
        if not self.display_name:
            return self.addr_spec
        escaped = re.sub(r'(["\\])', r"\\\1", self.display_name)
        return f'"{escaped}" <{self.addr_spec}>'

    @property
    def domain(self) -> str:
        """What follows the last @."""
        return self.addr_spec.rpartition("@")[2]

    @property
    def is_valid(self) -> bool:
        """Whether it has a local part, and a domain in ASCII: IDNs must be encoded."""
        return _ADDR_SPEC.match(self.addr_spec) is not None

    @property
    def uses_eai(self) -> bool:
        """Whether the local part is internationalized (RFC 6530)."""
        return not self.addr_spec.rpartition("@")[0].isascii()


def parse_mailboxes(text: str) -> list[Mailbox]:
    """Return the addresses in a comma-separated list, which are not necessarily valid."""
    items = _LIST_ITEM.findall(text)
    return [_parse_mailbox(item.strip()) for item in items if item.strip()]


def _parse_mailbox(text: str) -> Mailbox:
    match = _NAME_ADDR.match(text)
    if not match:
        return Mailbox(text)
    name = match["name"].strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = _QUOTED_PAIR.sub(r"\1", name[1:-1])
    return Mailbox(match["addr_spec"].strip(), name)
