"""Filters of the templates."""

from __future__ import annotations

import time
import unicodedata

from django.template import Library

register = Library()

_KEPT = "\n\t"
_HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co"}
_USED_IN_WORDS = "\u200c\u200d\u00ad"  # and, joined, in emoji


@register.filter
def visible(text: object) -> str:
    """Return text with names in place of characters that can't be seen.

    Some of them turn around what is beside them: U+202E and "fdp.exe" would look like "exe.pdf".
    """
    text = str(text).replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if char in _KEPT or char in _USED_IN_WORDS or unicodedata.category(char) not in _HIDDEN:
        return char
    return f"⟨U+{ord(char):04X}⟩"


@register.filter
def clock(seconds: float) -> str:
    """Return a POSIX time as that of the day; and which day, if it was another one than today."""
    moment = time.localtime(seconds)
    if moment[:3] == time.localtime()[:3]:
        return time.strftime("%H:%M:%S", moment)
    return time.strftime("%Y-%m-%d %H:%M", moment)


@register.filter
def iso(seconds: float) -> str:
    """Return a POSIX time as machines read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


@register.filter
def size(content: bytes) -> str:
    """Return how long something is."""
    length = len(content)
    for unit, factor in (("MB", 10**6), ("kB", 10**3)):
        if length >= factor:
            return f"{length / factor:.1f} {unit}"
    return f"{length} bytes"
