"""Text of message headers: quoting, encoded-words, dates, and case-insensitive header dicts."""

from __future__ import annotations

import email.base64mime
import email.errors
import email.header
import email.quoprimime
import email.utils
import re
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime, timezone
from typing import Any

from requests.structures import CaseInsensitiveDict

from .exceptions import AnymailInvalidHeader

# Characters that must be quoted in a display name or other phrase (RFC 5322, section 3.2.3).
RFC5322_SPECIALS = set('()<>@,:;."[]\\')

# What ends or truncates a header: with these, text supplied by strangers could add headers.
_CONTROL_CHARS = re.compile(r"[\r\n\0]")

_LINE_BREAK = re.compile(r"[\r\n]+[ \t]*")

_ENCODED_WORD = r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?="
_FIND_ENCODED_WORD = re.compile(_ENCODED_WORD)
_SPACE_BETWEEN_ENCODED_WORDS = re.compile(rf"({_ENCODED_WORD})\s+(?={_ENCODED_WORD})")


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

    Undecodable bytes and unknown charsets give replacement characters, not errors.
    """
    joined = _SPACE_BETWEEN_ENCODED_WORDS.sub(r"\1", encoded)
    return _FIND_ENCODED_WORD.sub(lambda match: _decode_word(match[0]), joined)


def _decode_word(word: str) -> str:
    try:
        decoded: list[tuple[str | bytes, str | None]] = email.header.decode_header(word)
        [(data, charset)] = decoded
    except (email.errors.HeaderParseError, ValueError):  # malformed base64; not one word
        return word
    if isinstance(data, str):
        return data
    try:
        return data.decode(charset or "ascii", "replace")
    except (LookupError, ValueError):  # idna and some other codecs can't replace
        return data.decode("utf-8", "replace")


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


def parse_rfc2822date(s: Any) -> datetime | None:
    """Parse a header date. Returns None if that's not possible.

    The result is naive if the date has no offset, or "-0000"; otherwise aware.
    """
    try:
        return email.utils.parsedate_to_datetime(s)
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
