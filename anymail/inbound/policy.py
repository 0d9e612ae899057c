"""The policy of received messages: how their headers are decoded, and written again."""

from __future__ import annotations

import re
from email.headerregistry import UnstructuredHeader
from email.policy import EmailPolicy
from email.policy import default as default_policy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..charsets import LONE_SURROGATE, decode_8bit
from ..headers import normalize_date, rfc2047_decode, rfc2047_encode, rfc2047_normalize
from .parameters import MAX_LENGTH, parse_parameters
from .text import CONTROL_CHARS, LINE_BREAKS, single_line, unfold
from .transfer_encodings import normalize_transfer_encoding

if TYPE_CHECKING:
    from .message import AnymailInboundMessage

    EmailPolicyBase = EmailPolicy[Any]  # generic in the type stubs only
else:
    EmailPolicyBase = EmailPolicy

# What the parsers of the email package, which can take quadratic time, get to see.
_MAX_HEADER_LENGTH = 16384
_MAX_PARAMETERS_LENGTH = 4096
_MAX_WORDS = 64

_MIME_HEADERS = {"content-disposition", "content-transfer-encoding", "content-type"}
_DATE_HEADERS = {"date", "orig-date", "resent-date"}
_NOT_IN_HEADER_NAME = re.compile(r"[^!-9;-~]|^$")  # RFC 5322, section 2.2
_NEWLINE_WITHOUT_SPACE = re.compile(r"\r\n[^ \t]|\r[^ \n\t]|\n[^ \t]")


class InboundPolicy(EmailPolicyBase):
    """The default policy, except that no header can make it fail.

    The header parsers of the email package raise all kinds of errors for malformed headers, some
    of them while a message is being parsed, and take quadratic time for some long ones. Headers
    they can't handle are plain str, with encoded-words decoded, instead of header objects.

    Headers that are set are kept as source text, the same as those that have been parsed.
    """

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        if LINE_BREAKS.search(name):
            raise ValueError("Header names may not contain linefeed or carriage return characters")
        if not isinstance(value, str):  # datetime, Address ...
            return super().header_store_parse(name, value)
        if LINE_BREAKS.search(value):
            raise ValueError(
                f"Value of header {name!r} may not contain linefeed or carriage return characters"
            )
        return name, str(value)  # not a header object with perhaps another name

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        if hasattr(value, "name"):
            return value
        text = unfold(value)
        kind = name.lower()
        if kind in _MIME_HEADERS:
            return _parse_mime_header(kind, name, text[:MAX_LENGTH])
        decoded = single_line(rfc2047_decode(text))
        if len(text) > _MAX_HEADER_LENGTH:
            return decoded
        text = normalize_date(text) if kind in _DATE_HEADERS else rfc2047_normalize(text)
        header = _parse_header(name, text)
        # Line breaks in encoded-words are an attack on whoever uses the text in a reply.
        if header is None or (isinstance(header, UnstructuredHeader) and str(header) != decoded):
            return decoded
        return header

    def fold(self, name: str, value: Any) -> str:
        try:
            folded: str = super().fold(name, self._to_fold(name, value))
            self._check_folded(folded)
            return folded
        except Exception:  # noqa: BLE001  # as above
            return self._fold_unparsed(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        try:
            folded = super().fold_binary(name, self._to_fold(name, value))
            self._check_folded(folded.decode("utf-8", "replace"))
            return folded
        except Exception:  # noqa: BLE001  # as above
            return self._fold_unparsed(name, value).encode("ascii")

    def _to_fold(self, name: str, value: Any) -> Any:
        """Have characters encoded as Python 3.13 does, in earlier versions too."""
        if _NOT_IN_HEADER_NAME.search(name):
            raise ValueError("invalid header name")
        if self.utf8 or hasattr(value, "name") or value.isascii() or LONE_SURROGATE.search(value):
            return value
        return self.header_factory(name, value)

    def _check_folded(self, folded: str) -> None:
        if _NEWLINE_WITHOUT_SPACE.search(folded.removesuffix(self.linesep)):
            raise ValueError("newline in folded header")

    def _fold_unparsed(self, name: str, value: Any) -> str:
        name = _NOT_IN_HEADER_NAME.sub("?", name)
        text = CONTROL_CHARS.sub(" ", decode_8bit(unfold(str(value))))
        return f"{name}: {text if text.isascii() else rfc2047_encode(text)}{self.linesep}"


def _parse_header(name: str, text: str) -> Any:
    """Return a header object, or None if the email package fails to parse the header."""
    try:
        header = default_policy.header_factory(name, text)
    except Exception:  # noqa: BLE001  # IndexError, AttributeError, RecursionError ...
        return None
    return None if LINE_BREAKS.search(header) else header


@lru_cache(maxsize=256)  # the same few are looked at again and again
def _parse_mime_header(kind: str, name: str, text: str) -> Any:
    if kind == "content-transfer-encoding":
        text = normalize_transfer_encoding(text)
        return _parse_header(name, text) or text
    parsed = parse_parameters(text)
    text = parsed.format(encode=True)
    header = None
    if len(text) <= _MAX_PARAMETERS_LENGTH and len(text.split()) <= _MAX_WORDS:
        header = _parse_header(name, text)
    return parsed.format(encode=False) if header is None else header


_policies: dict[type[AnymailInboundMessage], InboundPolicy] = {}


def policy_for(message_class: type[AnymailInboundMessage]) -> InboundPolicy:
    """Return the policy for messages of that class, with parts of the same class."""
    if message_class not in _policies:
        policy = InboundPolicy(message_factory=message_class, refold_source="none")
        # Use the class's, as email.policy.default does; a copy would go into every pickle.
        object.__delattr__(policy, "header_factory")
        _policies[message_class] = policy
    return _policies[message_class]
