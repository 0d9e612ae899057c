"""Addresses in headers, as senders write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..addresses import EmailAddress
from ..headers import unquote_string
from .policy import decode_header_text
from .text import CONTROL_CHARS, WHITESPACE

# Never backtracks further than the end of one token, so it takes linear time.
_ADDRESS_TOKEN = re.compile(
    r"""
      (?P<quoted>     "[^"\\]*(?:\\.[^"\\]*)*" )
    | (?P<angle>      <(?:[^<>"\\]|\\.|"[^"\\]*(?:\\.[^"\\]*)*")*> )
    | (?P<literal>    \[[^\[\]\\]*(?:\\.[^\[\]\\]*)*\] )
    | (?P<word>       =\?[^?\s]+\?[bBqQ]\?[^?]*\?= )
    | (?P<separator>  [,;] )
    | (?P<group>      : )
    | (?P<comment>    \( )
    | (?P<text>       [^"<\[=,;:(\\]+ | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_DELIMITER = re.compile(r"\\.|[()]", re.DOTALL)


def split_mailboxes(header: str) -> Iterator[list[tuple[str, str]]]:
    """Split an address header into one list of tokens (kind, text) per mailbox.

    Comments and group names are left out. Semicolons separate like commas.
    """
    tokens: list[tuple[str, str]] = []
    last_semicolon = header.rfind(";")
    comments_end = True  # False: there is a parenthesis without its counterpart
    pos = 0
    while match := _ADDRESS_TOKEN.match(header, pos):
        pos = match.end()
        kind = str(match.lastgroup)
        if kind == "comment" and comments_end:
            end = _find_comment_end(header, pos)
            if end is not None:
                pos = end
                tokens.append(("text", " "))
                continue
            comments_end = False
        if kind == "separator":
            yield tokens
            tokens = []
        elif kind == "group" and pos <= last_semicolon:
            tokens = []
        else:
            tokens.append((kind, match[0]))
    yield tokens


def _find_comment_end(header: str, pos: int) -> int | None:
    """Return where the comment ends that starts before pos. Comments can be nested."""
    depth = 1
    for match in _COMMENT_DELIMITER.finditer(header, pos):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    return None


def parse_mailbox(tokens: list[tuple[str, str]]) -> EmailAddress | None:
    """Return the address that the tokens make up, or None."""
    angles = [index for index, (kind, _) in enumerate(tokens) if kind == "angle"]
    if not angles:
        display_name = ""
        addr_spec = "".join(text for _, text in tokens)
    elif len(angles) == 1 and not "".join(text for _, text in tokens[angles[0] + 1 :]).strip():
        display_name = _parse_display_name(tokens[: angles[0]])
        addr_spec = tokens[angles[0]][1][1:-1]
        if addr_spec.lstrip().startswith("@"):  # obsolete source route
            addr_spec = addr_spec.partition(":")[2]
    else:
        return None
    addr_spec = addr_spec.strip()
    # Encoded-words don't belong in an addr-spec, but the email package decodes some of them.
    if not addr_spec or "=?" in addr_spec:
        return None
    try:
        return EmailAddress(display_name, addr_spec)
    except Exception:  # noqa: BLE001  # AnymailInvalidAddress, or whatever the email package raises
        return None


def _parse_display_name(tokens: list[tuple[str, str]]) -> str:
    phrase = ""
    for kind, text in tokens:
        if kind == "quoted":
            phrase += unquote_string(text)
        else:
            text = WHITESPACE.sub(" ", text)
            phrase += text.lstrip() if phrase.endswith(" ") else text
    return CONTROL_CHARS.sub(" ", decode_header_text(phrase)).strip()
