"""Attachments of outgoing messages, in whatever form Django has them, made alike."""

from __future__ import annotations

import base64
import copy
import email.message
import mimetypes
import re
from email.mime.base import MIMEBase
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.message import DEFAULT_ATTACHMENT_MIME_TYPE

from .datastructures import force_non_lazy
from .exceptions import AnymailSerializationError
from .headers import check_header_text, unfold, unquote_string
from .mime import HeadersAsWritten, flatten

SMTP7BIT = HeadersAsWritten(linesep="\r\n", cte_type="7bit")
"""Policy for MIME that must pass through anything: CRLF line ends, 7-bit content."""

# A parameter of a content type: its name, and its value as it is written, perhaps in quotes.
# (Compiled for the first attachment; re keeps it.)
_PARAMETER = r';\s*([^\s;=]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;"]*)'


class Attachment:
    """One attachment, normalized.

    Takes a (filename, content, mimetype) tuple or Django EmailAttachment, an
    :class:`email.message.MIMEPart`, or a legacy :class:`email.mime.base.MIMEBase`.

    Attributes:

    - ``name``: filename as str, or None
    - ``content``: str for text types and for content given as str; otherwise bytes
    - ``mimetype``: such as "text/plain", without parameters; also split into ``maintype`` and
      ``subtype``
    - ``charset``: of the content if that is str; otherwise None
    - ``content_type``: the full Content-Type header value, for text with its charset
    - ``content_type_without_charset``: the same for providers that add a charset of their own
    - ``inline``: whether it is displayed within the body
    - ``content_id``, ``cid``: Content-ID of an inline attachment with and without angle brackets;
      None and "" if there is none
    """

    name: str | None
    content: str | bytes
    mimetype: str
    maintype: str
    subtype: str
    charset: str | None

    def __init__(self, attachment: Any, *, field: str = "attachments") -> None:
        self._field = field  # as errors name it
        self.inline = False
        self.content_id: str | None = None
        self.cid = ""
        raw_content: Any
        if isinstance(attachment, email.message.Message):
            declared_type = _header_text(attachment, "Content-Type") or ""
            self.name = unfold(attachment.get_filename() or "") or None
            self.mimetype = attachment.get_content_type()
            raw_content = _part_content(attachment)
            self._set_disposition(attachment)
        else:
            name, raw_content, declared_type = map(force_non_lazy, attachment)
            self.name = name
            if isinstance(raw_content, (EmailMessage, email.message.Message)):
                raw_content = _message_bytes(raw_content)
                declared_type = declared_type or "message/rfc822"
            if not declared_type:
                guess = mimetypes.guess_type(name)[0] if name else None
                declared_type = guess or DEFAULT_ATTACHMENT_MIME_TYPE
            self.mimetype = declared_type.partition(";")[0].strip()

        self.maintype, _, self.subtype = self.mimetype.partition("/")
        declared_charset, self._parameters = _split_parameters(declared_type)
        self.charset = None
        if self.maintype == "text" or isinstance(raw_content, str):
            self.charset = declared_charset or settings.DEFAULT_CHARSET
        self.content = self._decode_text(raw_content)

        if self.charset is not None and declared_charset is None:
            self.content_type = f'{self.content_type_without_charset}; charset="{self.charset}"'
        elif declared_type.lower().startswith(self.mimetype.lower()):
            self.content_type = declared_type
        else:
            self.content_type = self.mimetype

        # These become headers, and can come from an upload.
        check_header_text(self.name or "", f"{field}: filename")
        check_header_text(self.content_type, f"{field}: content type")
        check_header_text(self.content_id or "", f"{field}: Content-ID")

    @property
    def content_type_without_charset(self) -> str:
        return "; ".join([self.mimetype, *(f"{name}={value}" for name, value in self._parameters)])

    def _set_disposition(self, part: email.message.Message) -> None:
        disposition = part.get_content_disposition()
        content_id = _header_text(part, "Content-ID")
        self.inline = disposition == "inline" or (disposition is None and content_id is not None)
        if self.inline and content_id is not None:
            self.content_id = content_id
            self.cid = content_id.removeprefix("<").removesuffix(">")

    def _decode_text(self, content: object) -> str | bytes:
        """Return text as str, anything else as bytes.

        Text in bytes that its charset can't decode is no text: like Django, send it as it is,
        as application/octet-stream.
        """
        if isinstance(content, str):
            return content
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"{self._field}: content must be str or bytes, not {type(content).__name__}"
            )
        content = bytes(content)
        if self.charset is None:
            return content
        try:
            return content.decode(self.charset)
        except (LookupError, ValueError):
            self.mimetype = DEFAULT_ATTACHMENT_MIME_TYPE
            self.maintype, _, self.subtype = self.mimetype.partition("/")
            self.charset, self._parameters = None, []
            return content

    @property
    def content_bytes(self) -> bytes:
        """The content, text in its own charset."""
        return self._encode(self.charset or settings.DEFAULT_CHARSET)

    @property
    def content_utf8_bytes(self) -> bytes:
        """The content, text in UTF-8 whatever its own charset."""
        return self._encode("utf-8")

    def _encode(self, charset: str) -> bytes:
        if not isinstance(self.content, str):
            return self.content
        try:
            return self.content.encode(charset)
        except (LookupError, UnicodeEncodeError) as err:
            # The original error has the text.
            raise AnymailSerializationError(
                f"{self._field}: text of {self.name!r} has characters that are not in its charset, "
                f"{charset}"
            ) from (err if isinstance(err, LookupError) else None)

    @property
    def b64content(self) -> str:
        """Base64 of content_bytes."""
        return base64.b64encode(self.content_bytes).decode("ascii")

    @property
    def b64content_utf8(self) -> str:
        """Base64 of content_utf8_bytes."""
        return base64.b64encode(self.content_utf8_bytes).decode("ascii")

    def __repr__(self) -> str:
        details = ["inline"] if self.inline else []
        details += [self.mimetype, f"len={len(self.content)}"]
        if self.name:
            details.append(f"name={self.name!r}")
        if self.content_id:
            details.append(f"content_id={self.content_id!r}")
        return f"Attachment<{', '.join(details)}>"


def _split_parameters(content_type: str) -> tuple[str | None, list[tuple[str, str]]]:
    """Return a content type's charset, and the other parameters as they are written."""
    charset, others = None, []
    for name, value in re.findall(_PARAMETER, content_type):
        # charset*=us-ascii'en'utf-8 is the same in RFC 2231's words.
        if name.partition("*")[0].lower() == "charset":
            charset = charset or unquote_string(value.strip()).rpartition("'")[2].lower()
        else:
            others.append((name, value.strip()))
    return charset or None, others


def unpack_alternative(
    content: Any, mimetype: str
) -> tuple[list[Attachment], list[email.message.Message]]:
    """Return an alternative's bodies, normalized, and the parts that they refer to.

    Usually, there is one body, and no part. But it can be MIME, such as a multipart/related of
    HTML and its images.
    """
    if not isinstance(content, email.message.Message):
        return [Attachment((None, content, mimetype), field="alternatives")], []
    parts: Any = content.get_payload()
    mimetype = content.get_content_type()
    if mimetype not in ("multipart/alternative", "multipart/related") or not parts:
        return [Attachment(content, field="alternatives")], []
    bodies, related = [], []
    if mimetype == "multipart/related":
        root = _root_of(content)
        related = [_as_inline(part) for part in parts if part is not root]
        parts = [root]
    for part in parts:
        its_bodies, its_related = unpack_alternative(part, part.get_content_type())
        bodies += its_bodies
        related += its_related
    return bodies, related


def _root_of(related: email.message.Message) -> Any:
    """Return the part of a multipart/related that the others belong to (RFC 2387)."""
    parts: Any = related.get_payload()
    start = related.get_param("start")
    return next((part for part in parts if start and start in part.get("Content-ID", "")), parts[0])


def _as_inline(part: email.message.Message) -> email.message.Message:
    """Return a copy of a part, to be displayed where a body refers to it."""
    part = copy.deepcopy(part)
    disposition = _header_text(part, "Content-Disposition") or ""
    _, separator, parameters = disposition.partition(";")
    del part["Content-Disposition"]
    part["Content-Disposition"] = f"inline{separator}{parameters}"
    return part


def _header_text(part: email.message.Message, name: str) -> str | None:
    """Return a header unfolded, or None."""
    value = part[name]
    if value is None:
        return None
    return unfold(str(value))


def _part_content(part: email.message.Message) -> bytes:
    if part.is_multipart() and part.get_content_maintype() == "message":
        attached: Any = part.get_payload()
        return b"".join(map(_message_bytes, attached))
    content = part.get_payload(decode=True)
    if content is None:  # multipart, or nothing
        return _message_bytes(part)
    assert isinstance(content, bytes)
    return content


def _message_bytes(message: EmailMessage | email.message.Message) -> bytes:
    """Serialize a message or part that is to be attached whole."""
    mime: Any = message.message() if isinstance(message, EmailMessage) else message
    as_it_is = SMTP7BIT.clone(cte_type="8bit")
    if isinstance(message, EmailMessage) and isinstance(mime, MIMEBase):
        # Before Django 6.0: a legacy message, whose content Django has encoded as needed.
        return flatten(mime, as_it_is)
    try:
        return flatten(mime, SMTP7BIT)
    except LookupError:  # 8-bit text in a charset that Python doesn't know
        return flatten(mime, as_it_is)
