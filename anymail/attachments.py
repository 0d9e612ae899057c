"""Attachments of outgoing messages, in whatever form Django has them, made alike."""

from __future__ import annotations

import base64
import email.generator
import email.message
import email.policy
import mimetypes
from email.mime.base import MIMEBase
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.message import DEFAULT_ATTACHMENT_MIME_TYPE

from .datastructures import force_non_lazy
from .exceptions import AnymailSerializationError
from .headers import check_header_text, unfold

SMTP7BIT = email.policy.SMTP.clone(cte_type="7bit")
"""Policy for MIME that must pass through anything: CRLF line ends, 7-bit content."""


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

    def __init__(self, attachment: Any) -> None:
        self.inline = False
        self.content_id: str | None = None
        self.cid = ""
        declared_content_type: str | None = None
        declared_mimetype: str | None = None
        declared_charset: str | None = None

        if isinstance(attachment, email.message.Message):
            declared_content_type = _header_text(attachment, "Content-Type")
            declared_mimetype = attachment.get_content_type()
            declared_charset = attachment.get_content_charset()
            self.name = unfold(attachment.get_filename() or "") or None
            self.mimetype = declared_mimetype
            raw_content: Any = _part_content(attachment)
            self._set_disposition(attachment)
        else:
            name, raw_content, mimetype = attachment
            self.name = force_non_lazy(name)
            mimetype = force_non_lazy(mimetype)
            raw_content = force_non_lazy(raw_content)
            if isinstance(raw_content, (EmailMessage, email.message.Message)):
                raw_content = _message_bytes(raw_content)
                mimetype = mimetype or "message/rfc822"
            if not mimetype and self.name:
                mimetype = mimetypes.guess_type(self.name)[0]
            self.mimetype = mimetype or DEFAULT_ATTACHMENT_MIME_TYPE

        # These become headers, and can come from an upload.
        check_header_text(self.name or "", "attachments: filename")
        check_header_text(self.mimetype, "attachments: content type")
        check_header_text(self.content_id or "", "attachments: Content-ID")

        self.maintype, _, self.subtype = self.mimetype.partition("/")
        self.charset = None
        if self.maintype == "text" or isinstance(raw_content, str):
            self.charset = declared_charset or settings.DEFAULT_CHARSET
        self.content = self._decode_text(raw_content)

        if self.charset is not None and self.charset != declared_charset:
            self.content_type = f'{self.mimetype}; charset="{self.charset}"'
        elif declared_content_type is not None and self.mimetype == declared_mimetype:
            self.content_type = declared_content_type
        else:
            self.content_type = self.mimetype

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
                f"attachments: content must be str or bytes, not {type(content).__name__}"
            )
        content = bytes(content)
        if self.charset is None:
            return content
        try:
            return content.decode(self.charset)
        except (LookupError, ValueError):
            self.mimetype = DEFAULT_ATTACHMENT_MIME_TYPE
            self.maintype, _, self.subtype = self.mimetype.partition("/")
            self.charset = None
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
                f"attachments: text of {self.name!r} has characters that are not in its charset, "
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
    if isinstance(message, EmailMessage) and isinstance(mime, MIMEBase):
        # Before Django 6.0: a legacy message, with a serialization of its own that's 7-bit safe.
        legacy: bytes = mime.as_bytes(linesep="\r\n")  # type: ignore[call-arg]
        return legacy
    try:
        return _flatten(mime, SMTP7BIT)
    except LookupError:  # 8-bit text in a charset that Python doesn't know: leave it as it is
        return _flatten(mime, email.policy.SMTP)


def _flatten(mime: Any, policy: email.policy.Policy) -> bytes:
    buffer = BytesIO()
    email.generator.BytesGenerator(buffer, mangle_from_=False, policy=policy).flatten(mime)
    return buffer.getvalue()
