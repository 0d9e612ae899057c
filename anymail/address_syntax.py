"""Lists of addresses as they are written (RFC 5322, section 3.4), right or wrong.

This takes them apart. What is made of the pieces is decided where they come from: those that the
project writes must be valid; of those in received mail, everything that a mail program would show
counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from .headers import unquote_string

Token = tuple[str, str]
"""Kind and text."""

# It never looks further back than to the start of a token, so it takes linear time.
_TOKEN = re.compile(
    r"""
      (?P<quoted>     "[^"\\]*(?:\\.[^"\\]*)*" )
    | (?P<angle>      <(?:[^<>"\\]|\\.|"[^"\\]*(?:\\.[^"\\]*)*")*> )
    | (?P<literal>    \[[^\[\]\\]*(?:\\.[^\[\]\\]*)*\] )
    | (?P<word>       =\?[^?\s]+\?[bBqQ]\?[^?]*\?= )
    | (?P<separator>  [,;] )
    | (?P<colon>      : )
    | (?P<comment>    \( )
    | (?P<text>       [^"<\[=,;:(\\]+ | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_DELIMITER = re.compile(r"\\.|[()]", re.DOTALL)
_NOT_IN_PHRASE = re.compile(r'[()<>\[\]:;@,"]')
_BLANKS = re.compile(r"[ \t]+")
_SPACE_AT_DOT = re.compile(r"(?<!\s)\s+(?=[.@])|(?<=[.@])\s+")


class Pieces(NamedTuple):
    """The pieces of an address: ``phrase <addr_spec> (comment)``. Comments can be anywhere.

    The addr-spec is without comments, and without space around dots and @. ``in_brackets`` tells
    whether it was in angle brackets, of which the second can be missing.
    """

    phrase: list[Token]
    addr_spec: str
    comments: list[str]
    in_brackets: bool


class Element(NamedTuple):
    """What is between two separators.

    ``separator`` is the one that follows: ",", ";", or "" at the end.
    """

    tokens: list[Token]
    separator: str
    in_group: bool
    starts_group: bool

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but space and comments."""
        return all(kind == "comment" or text.isspace() for kind, text in self.tokens)

    @property
    def rest(self) -> str:
        """What is after an addr-spec in angle brackets, but for comments."""
        start = self._find_brackets()
        rest = [] if start is None else self.tokens[start + 1 :]
        return "".join(text for kind, text in rest if kind != "comment").strip()

    def _find_brackets(self) -> int | None:
        return next((i for i, (kind, _) in enumerate(self.tokens) if kind == "angle"), None)

    def pieces(self) -> Pieces:
        """Return the pieces, but for what is after an addr-spec in angle brackets."""
        tokens = self.tokens
        start = self._find_brackets()
        if start is not None:
            inner = list(_tokenize(tokens[start][1][1:-1]))
        else:
            openings = [i for i, token in enumerate(tokens) if token == ("text", "<")]
            start = openings[-1] if openings else -1
            inner = tokens[start + 1 :]
        phrase = tokens[: max(start, 0)]
        comments = [text[1:-1] for kind, text in phrase + inner if kind == "comment"]
        addr_spec = _join_addr_spec(inner)
        if start >= 0 and addr_spec.startswith("@"):  # an obsolete route: <@a,@b:user@domain>
            addr_spec = addr_spec.partition(":")[2]
        return Pieces(phrase, addr_spec, comments, in_brackets=start >= 0)


def _join_addr_spec(tokens: list[Token]) -> str:
    addr_spec = ""
    for is_opaque, group in groupby(tokens, key=lambda token: token[0] in ("quoted", "literal")):
        text = "".join(" " if kind == "comment" else text for kind, text in group)
        addr_spec += text if is_opaque else _SPACE_AT_DOT.sub("", text)
    return addr_spec.strip()


def is_phrase(tokens: list[Token]) -> bool:
    """Tell whether the tokens can be a display name, or the name of a group."""
    return not any(
        kind == "literal" or (kind not in ("quoted", "comment") and _NOT_IN_PHRASE.search(text))
        for kind, text in tokens
    )


def join_phrase(tokens: list[Token]) -> str:
    """Return a phrase, without its quotes, and space outside of them as single blanks."""
    phrase = ""
    for is_quoted, group in groupby(tokens, key=lambda token: token[0] == "quoted"):
        texts = [" " if kind == "comment" else text for kind, text in group]
        if is_quoted:
            phrase += "".join(map(unquote_string, texts))
        else:
            phrase += _BLANKS.sub(" ", "".join(texts))
    if tokens and tokens[0][0] != "quoted":
        phrase = phrase.removeprefix(" ")
    if tokens and tokens[-1][0] != "quoted":
        phrase = phrase.removesuffix(" ")
    return phrase


def split_elements(text: str, *, any_colon: bool = False) -> Iterator[Element]:
    """Split a list of addresses at its commas and semicolons.

    Names of groups are left out. A colon ends one if there is a semicolon further on; with
    ``any_colon``, always.
    """
    last_semicolon = len(text) if any_colon else text.rfind(";")
    tokens: list[Token] = []
    in_group = starts_group = False
    end = 0
    for kind, part in _tokenize(text):
        end += len(part)
        if kind == "separator":
            yield Element(tokens, part, in_group, starts_group)
            tokens = []
            starts_group = False
            in_group = in_group and part == ","
        elif kind == "colon" and end <= last_semicolon and is_phrase(tokens):
            tokens = []
            in_group = starts_group = True
        else:
            tokens.append((kind, part))
    yield Element(tokens, "", in_group, starts_group)


def _tokenize(text: str) -> Iterator[Token]:
    """Yield tokens, which together are the text. What is not closed is text, up to what is next."""
    comments_end = True  # False: there is a parenthesis without its counterpart
    pos = 0
    while match := _TOKEN.match(text, pos):
        kind, start, pos = str(match.lastgroup), pos, match.end()
        if kind == "comment":
            end = _find_comment_end(text, pos) if comments_end else None
            comments_end = end is not None
            kind, pos = ("text", pos) if end is None else (kind, end)
        yield kind, text[start:pos]


def _find_comment_end(text: str, pos: int) -> int | None:
    """Return where the comment ends that starts before pos. Comments can be nested."""
    depth = 1
    for match in _COMMENT_DELIMITER.finditer(text, pos):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    return None
