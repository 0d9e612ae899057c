"""MIME of outgoing messages: what a receiver decodes is what was written.

Headers are folded here, and not by Python. Depending on its version, that makes encoded-words of
ASCII text that doesn't fit on a line, such as URLs and Message-IDs, which other programs look for
as they are; it loses or adds spaces in long text; and in address headers it loses quotes, and puts
commas between addresses into encoded-words:
https://github.com/python/cpython/issues/100884, https://github.com/python/cpython/issues/121284
"""

from __future__ import annotations

import email.base64mime
import email.quoprimime
import quopri
import re
from base64 import encodebytes
from collections.abc import Iterable
from email.generator import BytesGenerator
from email.headerregistry import AddressHeader, UnstructuredHeader
from email.message import Message
from email.policy import EmailPolicy
from io import BytesIO
from typing import Any

from .exceptions import AnymailInvalidHeader
from .headers import quote_string, rfc2047_encode

# A line of a header must not be longer, and should not be (RFC 5322, section 2.1.1).
_MAX_LINE_LENGTH = 998
_GOOD_LINE_LENGTH = 78

# An encoded-word must not be longer (RFC 2047, section 2).
_MAX_ENCODED_WORD_LENGTH = 75
_MIN_ENCODED_WORD_LENGTH = 40
_ENCODED_WORD_FRAME = len("=?utf-8?q??=")

# What can come before the first address
_LONGEST_NAME = "Reply-To: "

# Compiled when they are first used, which is hardly ever with most providers. (re keeps them.)
_HEADER_NAME = r"[!-9;-~]*"  # Parsers also find names that are empty.
_PRINTABLE = r"[\t -~]*"
_WORD_WITH_SPACE = r"[\t ]*[^\t ]+"
_FOLDING = r"\r?\n(?=[\t ])"

# Further lines start with white space. Others would be headers, or the body.
_FOLDED = r"[^\r\n\0]*(?:\n[\t ][^\r\n\0]*)*"

# What a quoted-string is needed for, beside special characters
_SPACES_TO_KEEP = r"[\t ]{2}|\t|^ | $"


# -- Header values ----------------------------------------------------------------------------


def is_printable(text: str) -> bool:
    """Tell whether text is ASCII without control characters, but for tabs."""
    return re.fullmatch(_PRINTABLE, text) is not None


def fold_text(name: str, text: str) -> str:
    """Return text as the value of an unstructured header, folded.

    Printable ASCII stays as it is, unless there is a word that is too long for any line. All else
    is encoded as a whole.
    """
    folded = _fold_words(name, text) if is_printable(text) else None
    return "\n ".join(encoded_words(text, len(name) + 2)) if folded is None else folded


def _fold_words(name: str, text: str) -> str | None:
    """Return printable text folded at its white space; None if it has too long a word."""
    first, *words = re.findall(_WORD_WITH_SPACE, text) or [text]
    lines = [f"{name}: {first}"]
    for word in words:
        if len(lines[-1]) + len(word) > _GOOD_LINE_LENGTH:
            lines.append("")
        lines[-1] += word
    if max(map(len, lines)) > _MAX_LINE_LENGTH:
        return None
    return "\n".join(lines).removeprefix(f"{name}: ")


def encoded_words(text: str, used: int = 0) -> list[str]:
    """Return text as UTF-8 encoded-words, "q" or "b", whichever is shorter.

    Each can be decoded on its own, and has 75 characters at most; the first has fewer, for a line
    on which so many are used up.
    """
    data = text.encode()
    encoding: Any = min(email.quoprimime, email.base64mime, key=lambda it: it.header_length(data))
    room = max(min(_GOOD_LINE_LENGTH - used, _MAX_ENCODED_WORD_LENGTH), _MIN_ENCODED_WORD_LENGTH)
    words = []
    word = b""
    for character in text:
        longer_word = word + character.encode()
        if encoding.header_length(longer_word) > room - _ENCODED_WORD_FRAME:
            words.append(encoding.header_encode(word, charset="utf-8"))
            longer_word = character.encode()
            room = _MAX_ENCODED_WORD_LENGTH
        word = longer_word
    return [*words, encoding.header_encode(word, charset="utf-8")]


def fold_addresses(addresses: Iterable[tuple[str, str]]) -> str:
    """Return pairs of display name and addr-spec as the value of a header, each on its own line."""
    return ",\n ".join(_fold_address(name, addr_spec) for name, addr_spec in addresses)


def _fold_address(name: str, addr_spec: str) -> str:
    if not addr_spec.isascii():
        # There is no way to write it in ASCII. What reads mail may at least show it.
        username, _, domain = addr_spec.rpartition("@")
        addr_spec = f"{rfc2047_encode(username)}@{domain}"
    if not name:
        return addr_spec
    quoted = quote_string(name, force=re.search(_SPACES_TO_KEEP, name) is not None)
    if not is_printable(name) or len(_LONGEST_NAME) + len(quoted) > _MAX_LINE_LENGTH:
        quoted = "\n ".join(encoded_words(name, len(_LONGEST_NAME)))
    line = f"{_LONGEST_NAME}{quoted.rpartition(chr(10))[2]} <{addr_spec}>,"
    separator = " " if len(line) <= _GOOD_LINE_LENGTH else "\n "
    return f"{quoted}{separator}<{addr_spec}>"


# -- Whole messages ---------------------------------------------------------------------------


class HeadersAsWritten(EmailPolicy):
    """A policy for serializing messages of all policies, with headers folded as in this module.

    What can be anything, such as parsed or legacy headers, is left as it is if it's ASCII. Raises
    AnymailInvalidHeader for line breaks that would make other headers. They come of encoded-words,
    which Python decodes, and of attached parts. Most versions of Python don't notice.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode("ascii")

    def fold(self, name: str, value: Any) -> str:
        folded = _folded(name, value)
        if not re.fullmatch(_HEADER_NAME, name):
            raise AnymailInvalidHeader(f"{name!r:.100} can't be the name of a header")
        if not re.fullmatch(_FOLDED, folded):
            raise AnymailInvalidHeader(
                f"{name} header in MIME must not contain line breaks (CR or LF) or NUL"
            )
        return f"{name}: {folded}\n".replace("\n", self.linesep)


def _folded(name: str, value: Any) -> str:
    """Return the value of a header folded, whatever kind of value it is."""
    text = re.sub(_FOLDING, "", str(value))
    if not hasattr(value, "fold"):  # parsed, or legacy
        as_it_is = str(value).replace("\r\n", "\n")
        if text.isascii() and max(map(len, f"{name}: {as_it_is}".split("\n"))) <= _MAX_LINE_LENGTH:
            return as_it_is
        text = _decoded(text)
        try:
            value = _PYTHONS_FOLDING.header_factory(name, text)
        except Exception:  # noqa: BLE001 (Python's parser has all kinds for junk)
            return fold_text(name, text)
        text = str(value)
    if isinstance(value, AddressHeader) and _is_plain_list(value):
        return fold_addresses((item.display_name, item.addr_spec) for item in value.addresses)
    if isinstance(value, UnstructuredHeader) and not is_printable(text):
        return fold_text(name, text)
    # What was signed has been folded by Python.
    folded: str = value.fold(policy=_PYTHONS_FOLDING)[len(name) + 1 :].strip()
    if not is_printable(text) or re.sub(_FOLDING, "", folded) == text:
        return folded
    if isinstance(value, UnstructuredHeader):
        return fold_text(name, text)
    return _fold_words(name, text) or folded


_PYTHONS_FOLDING = EmailPolicy(linesep="\n")


def _decoded(text: str) -> str:
    """Return text whose bytes that are not ASCII are surrogates, as Python's parser has them."""
    try:
        return text.encode("ascii", "surrogateescape").decode()
    except UnicodeEncodeError:  # made from text, not from bytes
        return text
    except UnicodeDecodeError:
        return text.encode("ascii", "surrogateescape").decode("iso-8859-1")


def _is_plain_list(header: Any) -> bool:
    """Tell whether a header is a well-formed list of addresses, and no group."""
    return (
        bool(header.addresses)
        and not header.defects
        and all(group.display_name is None for group in header.groups)
        # Python decodes encoded-words, in the wrong places too.
        and all(is_printable(address.addr_spec) for address in header.addresses)
    )


def flatten(mime: Message, policy: EmailPolicy) -> bytes:
    """Serialize a message. Its own policy doesn't matter."""
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(mime)
    return buffer.getvalue()


def make_7bit(mime: Message) -> None:
    """Encode the content of all parts that need 8 bits for the transfer."""
    for part in mime.walk():
        cte = str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()
        is_8bit = cte in ("8bit", "binary")
        if part.is_multipart():
            if is_8bit:
                part.replace_header("Content-Transfer-Encoding", "7bit")
            continue
        payload: Any = part._payload  # type: ignore[attr-defined]  # get_payload() can decode it, or not.
        if not is_8bit and (payload is None or payload.isascii()):
            continue
        try:
            payload.encode("ascii", "surrogateescape")
        except UnicodeEncodeError:  # made from text, not from bytes
            content = payload.encode(part.get_content_charset("utf-8"), "replace")
        else:
            content = part.get_payload(decode=True)
        if part.get_content_maintype() == "text":
            cte = "quoted-printable"
            encoded = quopri.encodestring(content, quotetabs=True)
        else:
            cte = "base64"
            encoded = encodebytes(content)
        part.set_payload(encoded.decode("ascii"))
        del part["Content-Transfer-Encoding"]
        part["Content-Transfer-Encoding"] = cte
