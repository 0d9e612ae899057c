"""Charsets, as mail programs name them."""

from __future__ import annotations

import codecs

# Charsets that mail uses, under names that Python does not know.
_CHARSET_ALIASES = {
    "iso-8859-8-e": "iso-8859-8",  # RFC 1556: the suffix is about directionality only
    "iso-8859-8-i": "iso-8859-8",
    "windows-874": "cp874",
    "x-sjis": "shift_jis",
}
# What bytes can be decoded from, but is not a charset.
_NOT_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def find_charset(charset: str) -> str | None:
    """Return the charset's name in Python, or None if there is no such charset."""
    charset = _CHARSET_ALIASES.get(charset.lower(), charset)
    try:
        name = codecs.lookup(charset).name
        "a".encode(name).decode(name)  # some codecs are not for text
    except (LookupError, ValueError):
        return None
    return None if name.replace("_", "-") in _NOT_CHARSETS else name
