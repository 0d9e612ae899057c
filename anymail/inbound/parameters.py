"""Content-Type and Content-Disposition: a value, and parameters that can be encoded (RFC 2231)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..charsets import decode_8bit, decode_text, to_declared_bytes
from ..headers import quote_string, rfc2047_decode
from .text import single_line

MAX_LENGTH = 16384
"""Characters of a header that are looked at."""

MAX_PARAMETERS = 100
"""Parameters that are looked at."""

# The semicolon can be missing, or all but parameters.
_VALUE = re.compile(r"""[\s"']*([^\s;="'/]+(?:\s*/\s*[^\s;="'/(]+)?)["']?(?=[\s;(]|\Z)""")
_PARAMETER = re.compile(
    r"""
    (?<! [^\s;] ) ([^\s;=]+) \s* = \s*
    (?:
        # Quotes are not always escaped, and not always closed.
        " ((?: [^"\\] | \\. | "(?! \s*(?:\([^()]*\)\s*)?(?:;|\Z) | \s+[\w*-]+= ) )*) (?: "|\Z )
      | ((?: =\?[^?\s]+\?[bBqQ]\?[^?]*\?= | [^;] )*)
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_SECTION = re.compile(r"(.*?)(?:\*(\d{1,4}))?(\*)?", re.DOTALL)
_QUOTED_PAIR = re.compile(r'\\(["\\])')
_TOKEN = re.compile(r"[!#$&+.^_`{|}~\w-]+", re.ASCII)


class ParameterizedHeader(NamedTuple):
    """A value, as it was sent, and parameters, decoded and with names in lower case."""

    value: str
    parameters: Mapping[str, str]

    def format(self, *, encode: bool) -> str:
        """Return a well-formed header value; with ``encode``, in ASCII."""
        text = self.value
        for name, value in self.parameters.items():
            if not _TOKEN.fullmatch(name):
                continue
            if encode and not (value.isascii() and value.isprintable()):
                text += f"; {name}*=utf-8''{quote(value, safe='')}"
            else:
                text += f"; {name}={quote_string(value, force=True)}"
        return text


@lru_cache(maxsize=256)  # the same few are looked at again and again
def parse_parameters(text: str) -> ParameterizedHeader:
    """Parse a header value of up to MAX_LENGTH characters, with 8-bit text as surrogate escapes."""
    match = _VALUE.match(text)
    value = decode_8bit("".join(match[1].split())) if match else ""
    parameters = islice(_PARAMETER.finditer(text, match.end() if match else 0), MAX_PARAMETERS)
    found = (
        (
            decode_8bit(name).lower(),
            bare.strip() if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted),
        )
        for name, quoted, bare in (parameter.groups() for parameter in parameters)
    )
    return ParameterizedHeader(value, MappingProxyType(_decode_parameters(found)))


def _decode_parameters(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Decode (name, source text) pairs. Of the same name, the first counts, but encoded ones more.

    Encoded parameters, and those in several sections, are those of RFC 2231, sections 3 and 4.
    """
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for full_name, text in found:
        name, number, is_encoded = _SECTION.fullmatch(full_name).groups()  # type: ignore[union-attr]
        if number is None and is_encoded is None:
            plain.setdefault(name, single_line(rfc2047_decode(text)))
        else:
            plain.setdefault(name, "")
            numbered = sections.setdefault(name, {})
            numbered.setdefault(int(number or 0), (text, is_encoded is not None))
    for name, numbered in sections.items():
        plain[name] = single_line(_join_sections([numbered[n] for n in sorted(numbered)]))
    return plain


def _join_sections(sections: list[tuple[str, bool]]) -> str:
    """Decode the sections of a parameter, some of which are percent-encoded."""
    if not any(is_encoded for _, is_encoded in sections):
        return rfc2047_decode("".join(text for text, _ in sections))
    charset = "us-ascii"
    (first, has_charset), *others = sections
    if has_charset and first.count("'") >= 2:
        charset, _language, first = first.split("'", 2)
    data = b""
    for text, is_encoded in [(first, has_charset), *others]:
        octets, charset = to_declared_bytes(text, charset)
        data += unquote_to_bytes(octets) if is_encoded else octets
    return decode_text(data, charset)
