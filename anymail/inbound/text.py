"""Text as senders write it, which can hold any bytes and any characters."""

from __future__ import annotations

import re

DEFAULT_CONTENT_TYPE = "application/octet-stream"

LINE_BREAKS = re.compile(r"[\r\n]+")
CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f]+")
# Those, halves of surrogate pairs, and what breaks lines or changes the direction of text: with
# that, "gpj.exe" can look like "exe.jpg".
_NOT_IN_FILE_NAME = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)


def single_line(text: str) -> str:
    """Replace each run of line breaks by a space."""
    return LINE_BREAKS.sub(" ", text)


def unfold(value: str) -> str:
    """Return a source header value on one line."""
    return value.replace("\r", "").replace("\n", "")


def base_name(filename: str | None) -> str | None:
    """Return the last component of a path in any notation, None if that is not a name."""
    path = _NOT_IN_FILE_NAME.sub("", filename or "").replace("\\", "/")
    name = path.rpartition("/")[2].strip()
    return None if name in {"", ".", ".."} else name


def valid_content_type(content_type: str | None) -> str:
    """Return a Content-Type header value, a default if its media type makes no sense."""
    content_type = single_line(content_type or "").strip()
    is_valid = _MEDIA_TYPE.fullmatch(content_type.partition(";")[0].rstrip())
    return content_type if is_valid else DEFAULT_CONTENT_TYPE


# RFC 2045, section 5.1: two tokens
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`{|}~\w-]+\s*/\s*[!#$%&'*+.^_`{|}~\w-]+", re.ASCII)
