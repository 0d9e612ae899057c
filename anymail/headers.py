"""Text of message headers: quoting, encoded-words, dates, and case-insensitive header dicts."""

from __future__ import annotations

import binascii
import email.base64mime
import email.quoprimime
import email.utils
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timezone
from itertools import groupby
from typing import Any

from requests.structures import CaseInsensitiveDict

from .exceptions import AnymailInvalidHeader

# Characters that must be quoted in a display name or other phrase (RFC 5322, section 3.2.3).
RFC5322_SPECIALS = set('()<>@,:;."[]\\')

# What ends or truncates a header: with these, text supplied by strangers could add headers.
_CONTROL_CHARS = re.compile(r"[\r\n\0]")

_LINE_BREAK = re.compile(r"[\r\n]+[ \t]*")

# These two are compiled when they are first used, which is in received mail. (re keeps them.)
#
# RFC 2047 as mail programs write it: with spaces, and with "?". It never looks beyond the start of
# the next one, so it takes linear time.
_ENCODED_WORD = r"""
    =\? (?P<charset> [^?=\s*] [^?\s*]* ) (?: \* [^?\s]* )?  # RFC 2231, section 5: a language
    \? (?P<encoding> [bBqQ] )
    \? (?P<text> (?: [^?=\r\n] | = (?! \?[^=] ) | \? (?! = ) )* )
    \?=
    """
_TIME_AND_OFFSET = r"""
    (?P<time> \d:\d\d ) \s{0,9} (?: GMT|UTC?|Z )?
    (?P<sign> [+-] ) (?P<hours> \d{1,2} ) :? (?P<minutes> \d\d )? (?! [\d:] )
    """
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]+")


def has_control_chars(text: str) -> bool:
    """Tell whether text has CR, LF or NUL, which must never get into a header."""
    return _CONTROL_CHARS.search(text) is not None


def check_header_text(value: Any, field: str, **error_kwargs: Any) -> None:
    """Raise AnymailInvalidHeader naming ``field`` if str(value) has CR, LF or NUL.

    The text itself is left out of the error, because it is message content.
    """
    if has_control_chars(value if isinstance(value, str) else str(value)):
        raise AnymailInvalidHeader(
            f"{field} must not contain line breaks (CR or LF) or NUL characters", **error_kwargs
        )


def unfold(value: str) -> str:
    """Return a header value on one line: each line break, and the space after it, is a space."""
    return _LINE_BREAK.sub(" ", value).strip()


def rfc2047_encode(text: str) -> str:
    """Return text as a single UTF-8 encoded-word, "q" or "b", whichever is shorter.

    It is never folded, so it can exceed the 75 characters of RFC 2047. "" stays "".
    """
    if not text:
        return ""
    data = text.encode("utf-8")
    as_q: str = email.quoprimime.header_encode(data, charset="utf-8")
    as_b: str = email.base64mime.header_encode(data, charset="utf-8")
    return min(as_q, as_b, key=len)


def rfc2047_decode(encoded: str) -> str:
    """Decode the encoded-words in a header value, which can be mixed with plain text.

    8-bit characters can be anywhere, also as the surrogate escapes of the email package. What can't
    be decoded gives replacement characters, not errors.
    """
    return "".join(text for text, _ in _decode_runs(encoded))


def rfc2047_normalize(encoded: str) -> str:
    """Return a header value with each run of encoded-words as a single one, in UTF-8.

    So anything can decode it, even in the midst of other syntax. What is not encoded is text.
    """
    return "".join(
        rfc2047_encode(text) if was_encoded else text for text, was_encoded in _decode_runs(encoded)
    )


def _decode_runs(encoded: str) -> Iterator[tuple[str, bool]]:
    """Yield pieces of decoded text, and whether they were encoded-words.

    Successive ones are a single piece, because they can split a character.
    """
    from .charsets import decode_8bit  # Who sends mail has hardly anything to decode.

    if "=?" not in encoded:
        yield decode_8bit(encoded), False
        return
    end = 0
    run: list[re.Match[str]] = []
    for match in re.finditer(_ENCODED_WORD, encoded, re.VERBOSE):
        between = encoded[end : match.start()]
        if between and not (run and between.isspace()):
            if run:
                yield _decode_words(run), True
                run = []
            yield decode_8bit(between), False
        run.append(match)
        end = match.end()
    if run:
        yield _decode_words(run), True
    yield decode_8bit(encoded[end:]), False


def _decode_words(words: Iterable[re.Match[str]]) -> str:
    """Decode encoded-words that have nothing but space between them."""
    from .charsets import decode_text, to_declared_bytes

    text = ""
    for charset, in_charset in groupby(words, key=lambda word: word["charset"].lower()):
        data = b""
        for encoding, group in groupby(in_charset, key=lambda word: word["encoding"].lower()):
            # Words are meant to be complete, but some programs cut just what they have encoded.
            same = list(group)
            encoded = "".join(word["text"] for word in same)
            if encoding == "q":
                octets, charset = to_declared_bytes(encoded, charset)
                data += binascii.a2b_qp(octets, header=True)
            elif encoded:
                data += _decode_base64(encoded) or "".join(word[0] for word in same).encode()
        text += decode_text(data, charset)
    return text


def _decode_base64(encoded: str) -> bytes:
    """Decode as much as there is, each piece that ends in padding (or ought to) on its own."""
    data = b""
    for piece in encoded.split("="):
        digits = _NOT_BASE64.sub("", piece)
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        data += binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
    return data


def has_specials(text: str) -> bool:
    """Tell whether text must be quoted to be a display name (RFC 5322)."""
    return not RFC5322_SPECIALS.isdisjoint(text)


def quote_string(name: str, force: bool = False) -> str:
    """Return name as an RFC 5322 quoted-string if it needs to be one, or if forced."""
    if not (force or has_specials(name)):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unquote_string(name: str) -> str:
    """Return the content of an RFC 5322 quoted-string; anything else unchanged."""
    if not (name.startswith('"') and name.endswith('"')):
        return name
    return re.sub(r"\\(.)", r"\1", name[1:-1])


def rfc2822date(dt: datetime) -> str:
    """Format as a header date in GMT, such as ``Tue, 06 May 2031 07:08:09 GMT``.

    A naive datetime is in the system's local time.
    """
    return email.utils.format_datetime(dt.astimezone(timezone.utc), usegmt=True)


def normalize_date(text: str) -> str:
    """Return a header date with its offset as RFC 5322 wants it, not "-04:00", "GMT-4" ..."""
    return re.sub(
        _TIME_AND_OFFSET,
        lambda match: (
            f"{match['time']} {match['sign']}{match['hours']:0>2}{match['minutes'] or '00'}"
        ),
        text,
        flags=re.VERBOSE | re.ASCII,
    )


def parse_rfc2822date(s: Any) -> datetime | None:
    """Parse a header date. Returns None if that's not possible.

    The result is naive if the date has no offset, or "-0000"; otherwise aware.
    """
    try:
        return email.utils.parsedate_to_datetime(normalize_date(s))
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError):
        return None


def angle_wrap(s: str) -> str:
    """Return s in angle brackets, adding those that are missing. "" stays ""."""
    if not s:
        return s
    return ("" if s.startswith("<") else "<") + s + ("" if s.endswith(">") else ">")


class CaseInsensitiveCasePreservingDict(CaseInsensitiveDict[Any]):
    """A requests CaseInsensitiveDict that keeps the spelling of the key that was set first."""

    _store: MutableMapping[str, tuple[str, Any]]

    def __init__(
        self, data: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data, **kwargs)

    def __setitem__(self, key: str, value: Any) -> None:
        first_key, _ = self._store.get(key.lower(), (key, None))
        self._store[key.lower()] = (first_key, value)

    def copy(self) -> CaseInsensitiveCasePreservingDict:
        return type(self)(self._store.values())
