"""Masking of credentials and content in errors, logs and debugging output.

Providers repeat in their answers what they were sent.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

from django.utils.functional import Promise

MASK = "*****"
"""What is shown in place of something secret."""

_MIN_ANYWHERE = 6
"""Shorter texts can be in the middle of any word, and are masked only where they stand alone."""

CREDENTIAL_NAME = re.compile(
    r"authorization|(api|auth|access)[-_]?key|secret|token|password|cookie", re.IGNORECASE
)
"""Matches the names of settings, attributes and headers with credentials in them."""

_SECRET_PARAMETER = re.compile(r"key|token|secret|passw|signature|auth", re.IGNORECASE)

# All others are compiled when there is something to mask. (re keeps them.)
_USER_INFO = r"(?<=://)[^/?#\s'\"]+@"
_PARAMETER_NAME = r"""[?&]([^=&?\s'"]*)="""
_PARAMETER_VALUE = r"""[^&#\s'"<>)]*"""


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return text without some other texts in it.

    Of less than six characters, they are only masked where they stand alone.
    """
    # The longest first: others can be a part of it.
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _MIN_ANYWHERE:
            text = text.replace(secret, MASK)
        elif secret and secret in text:
            # Neither part of a word, as the "t" of "don't" is, nor of an escape sequence
            alone = rf"(?<![\w\\-])(?<!\w\w['\u2019]){re.escape(secret)}(?![\w-])"
            text = re.sub(alone, MASK, text)
    return text


def _spellings(text: str) -> Iterator[str]:
    """Yield the ways in which text can be written: in URLs, forms, HTML, JSON, JSON in JSON ..."""
    yield from (text, quote(text), quote(text, safe=""), quote_plus(text), html.escape(text))
    for ensure_ascii in (False, True):
        for slash in ("/", "\\/"):  # PHP escapes those, too.
            written = text
            for _ in range(3):
                written = json.dumps(written, ensure_ascii=ensure_ascii)[1:-1]
                written = written.replace("/", slash)
                yield written


# -- Credentials ------------------------------------------------------------------------------


def find_credentials(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text in a mapping whose key says that it's a credential."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from find_credentials(value)
        elif isinstance(value, str) and value and CREDENTIAL_NAME.search(str(name)):
            yield value


def mask_credentials(text: str, credentials: Iterable[str]) -> str:
    """Return text without some credentials, however they are escaped."""
    return mask(text, (written for credential in credentials for written in _spellings(credential)))


def mask_urls(text: str) -> str:
    """Return text without what is secret in URLs: user and password, and tokens in the query."""
    text = re.sub(_USER_INFO, f"{MASK}@", text)
    masked = []
    end = 0
    for match in re.finditer(_PARAMETER_NAME, text):
        if match.start() >= end and _SECRET_PARAMETER.search(match[1]):
            value = re.compile(_PARAMETER_VALUE).match(text, match.end())
            if value and value[0]:
                masked += [text[end : match.end()], MASK]
                end = value.end()
    return "".join([*masked, text[end:]])


def mask_urls_in_error(error: BaseException) -> None:
    """Do the same to the text of an exception, and of those that led to it.

    They are part of what is printed and logged when an exception is raised from that one.
    """
    seen = set()
    pending: BaseException | None = error
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        pending.args = tuple(
            mask_urls(arg) if isinstance(arg, str) else arg for arg in pending.args
        )
        pending = pending.__cause__ or pending.__context__


def drop_tracebacks(error: BaseException) -> None:
    """Take the tracebacks from an exception, and from those that led to it.

    Django's error reports show the variables of all functions in them. What it has to hide some
    (``sensitive_variables``) has no effect below generators before Python 3.12.
    """
    seen = set()
    pending: BaseException | None = error
    while pending is not None and id(pending) not in seen:
        seen.add(id(pending))
        pending.__traceback__ = None
        pending = pending.__cause__ or pending.__context__


# -- Content ----------------------------------------------------------------------------------

_MIN_CONTENT = 8
"""Shorter lines of a message are too likely to be in other text."""

_ESCAPE = r"(?s)\\(?:u([0-9a-fA-F]{4})|(.))"
_ESCAPED_CHARACTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

_LINE_BREAK = r"(?:[\r\n]|\\[rn]|%0[AD])+"
_BASE64 = (
    rf"[A-Za-z0-9+/]{{16,}}(?:{_LINE_BREAK}[A-Za-z0-9+/]{{16,}})*"
    rf"(?:{_LINE_BREAK}[A-Za-z0-9+/]+)?={{0,2}}"
)
_MAX_BASE64 = 20
"""How many of the longest such texts in an answer are looked for in attachments."""

# Fields of providers' answers that tell what went wrong, in lower case
_ERROR_TEXTS = {
    *("code", "description", "detail", "details", "error_code", "error_message", "errorcode"),
    *("errormessage", "message", "messages", "name", "reason", "title"),
}
_ERROR_OBJECTS = {"error", "errors"}


def mask_message(text: str, *messages: Any) -> str:
    """Return text without what it repeats of a message, or of several.

    That is lines of at least eight characters of subject, bodies, attachments, header values, tags,
    metadata and merge data; attachments in base64; and display names of any length. Also where they
    are in JSON, in JSON within JSON, in a form or in HTML.
    """
    for message in messages:
        text = _mask_base64(text, message)
    starts = _starts(text)
    found: set[str] = set()
    for message in messages:
        found.update(line for line in _lines(_content(message)) if line[:_MIN_CONTENT] in starts)
        found.update(_display_names(message))
    return mask(text, (written for line in found for written in _spellings(line)))


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        lines = (line.strip() for line in text.splitlines())
        yield from (line for line in lines if len(line) >= _MIN_CONTENT)


def _starts(text: str) -> set[str]:
    """Return whatever a line that is in the text can start with, in all its spellings.

    There can be very many lines. This says which of them are worth a closer look.
    """
    variants = {text, unquote_plus(text), html.unescape(text)}
    for _ in range(3):
        text = re.sub(_ESCAPE, _unescaped, text)
        # Other characters than those of the BMP are two escapes.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        variants.add(text)
    return {
        variant[start : start + _MIN_CONTENT]
        for variant in variants
        for start in range(len(variant) - _MIN_CONTENT + 1)
    }


def _unescaped(match: re.Match[str]) -> str:
    code, character = match.groups()
    return chr(int(code, 16)) if code else _ESCAPED_CHARACTERS.get(character, character)


def _content(message: Any) -> Iterator[str]:
    """Yield the texts of a message."""
    for name in ("subject", "body", "metadata", "tags", "extra_headers"):
        yield from _texts(getattr(message, name, None))
    for name in ("merge_data", "merge_global_data", "merge_headers", "merge_metadata"):
        yield from _texts(getattr(message, name, None))
    for content, *_ in _items(message, "alternatives"):
        yield from _part_texts(content)
    for attachment in _items(message, "attachments"):
        if isinstance(attachment, tuple):
            filename, content, mimetype = attachment
            yield from _texts(filename)
            yield from _part_texts(content, mimetype)
        else:
            yield from _part_texts(attachment)


def _texts(data: Any) -> Iterator[str]:
    """Yield the text and numbers in data of any structure."""
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _texts(item)
    elif isinstance(data, (str, Promise, int, float)):
        yield str(data)


def _part_texts(content: Any, mimetype: str | None = None) -> Iterator[str]:
    """Yield the texts of a body or attachment, which can be a message or another MIME part."""
    if isinstance(content, Message):
        for part in content.walk():
            yield from _texts(part.get_filename())
            yield from _part_texts(part.get_payload(decode=True), part.get_content_type())
    elif isinstance(content, bytes):
        try:
            yield content.decode("utf-8")
        except UnicodeDecodeError:
            if str(mimetype).startswith("text/"):
                yield content.decode("iso-8859-1")
    elif isinstance(content, (str, Promise)):
        yield str(content)
    elif hasattr(content, "body"):  # a Django message
        yield from _content(content)


def _items(message: Any, name: str) -> list[Any]:
    items = getattr(message, name, None)
    return items if isinstance(items, list) else []


def _display_names(message: Any) -> Iterator[str]:
    """Yield the recipients' display names."""
    # These modules import exceptions, which import this one.
    from .addresses import parse_address_list
    from .exceptions import AnymailInvalidAddress
    from .headers import rfc2047_decode, rfc2047_encode

    for field in ("to", "cc", "bcc", "reply_to"):
        for address in _items(message, field):
            try:
                names = [email.display_name for email in parse_address_list(address)]
            except AnymailInvalidAddress:
                continue
            for name in names:
                if name:
                    yield from (name, rfc2047_decode(name), rfc2047_encode(name))


def _mask_base64(text: str, message: Any) -> str:
    """Return text without attachments in base64, and without parts of them."""
    longest = sorted(set(re.findall(_BASE64, text)), key=len, reverse=True)[:_MAX_BASE64]
    if not longest:
        return text
    found = set()
    for attachment in _items(message, "attachments"):
        content: Any = attachment
        if isinstance(attachment, tuple):
            content = attachment[1]
        elif isinstance(attachment, Message):
            content = attachment.get_payload(decode=True)
        if isinstance(content, (str, Promise)):
            content = str(content).encode("utf-8", "surrogatepass")
        if isinstance(content, bytes):
            encoded = base64.b64encode(content).decode("ascii")
            found |= {item for item in longest if re.sub(_LINE_BREAK, "", item) in encoded}
    return mask(text, found)


def find_error_texts(answer: Any, is_error: bool = False) -> Iterator[str]:
    """Yield the text in those fields of a provider's answer that tell what went wrong."""
    if isinstance(answer, Mapping):
        for name, value in answer.items():
            is_text = str(name).lower() in _ERROR_TEXTS
            # Such as {"errors": {"to": ["is not valid"]}}
            is_list = is_error and isinstance(value, (list, tuple))
            is_object = str(name).lower() in _ERROR_OBJECTS
            is_text = is_text and not isinstance(value, Mapping)
            yield from find_error_texts(value, is_text or is_list or is_object)
    elif isinstance(answer, (list, tuple)):
        for item in answer:
            yield from find_error_texts(item, is_error and not isinstance(item, Mapping))
    elif is_error and isinstance(answer, (str, int)) and not isinstance(answer, bool):
        yield str(answer)
