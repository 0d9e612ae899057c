"""A message as MIME, as a provider could write it for a recipient."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.charset import QP, Charset
from email.encoders import encode_base64
from email.message import Message
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate

from ...mime import HeadersAsWritten, flatten
from ..store import StoredAttachment, StoredMessage, StoredRecipient

_UTF8 = Charset("utf-8")
_UTF8.body_encoding = QP
_OWN = {"from", "to", "cc", "bcc", "subject", "reply-to", "date", "message-id"}


def raw_mime(message: StoredMessage, recipient: StoredRecipient) -> bytes:
    """Return the copy of a recipient as raw MIME."""
    mime = _body(message, recipient)
    del mime["MIME-Version"]
    headers = [
        ("From", str(message.from_email)),
        ("To", recipient.header_to),
        ("Cc", ", ".join(str(item.mailbox) for item in message.recipients if item.kind == "cc")),
        ("Reply-To", message.reply_to),
        ("Subject", recipient.subject),
        ("Date", formatdate(message.time)),
        ("Message-ID", f"<{recipient.message_id.strip('<>')}>"),
        *((name, value) for name, value in recipient.headers.items() if name.lower() not in _OWN),
        ("MIME-Version", "1.0"),
    ]
    given = {name.lower(): value for name, value in recipient.headers.items()}
    # Those of the content come last, as mail is usually written.
    content = [(name, mime[name]) for name in mime.keys()]  # noqa: SIM118 (not unique in a dict)
    for name in mime.keys():  # noqa: SIM118
        del mime[name]
    for name, value in headers:
        value = given.get(name.lower(), value)
        if value and re.fullmatch("[!-9;-~]+", name):
            mime[name] = one_line(value)
    for name, value in content:
        mime[name] = value
    return flatten(mime, HeadersAsWritten())


def one_line(text: object) -> str:
    """Return text without control characters, which can be in what is sent to a provider."""
    return "".join(char if char.isprintable() else " " for char in str(text)).strip()


def _body(message: StoredMessage, recipient: StoredRecipient) -> Message:
    parts: list[Message] = []
    if recipient.text or not recipient.html:
        parts.append(_text(recipient.text, "plain"))
    if recipient.html:
        html: Message = _text(recipient.html, "html")
        images = [_part(image, "inline") for image in message.inline_images]
        parts.append(MIMEMultipart("related", None, [html, *images]) if images else html)
    body = parts[0] if len(parts) == 1 else MIMEMultipart("alternative", None, parts)
    if message.attachments:
        files = [_part(attachment, "attachment") for attachment in message.attachments]
        return MIMEMultipart("mixed", None, [body, *files])
    return body


def _text(text: str, subtype: str) -> MIMEText:
    return MIMEText(text.encode("utf-8", "replace").decode(), subtype, _UTF8)  # type: ignore[arg-type]


def _part(attachment: StoredAttachment, disposition: str) -> Message:
    content_type = one_line(attachment.content_type) or "application/octet-stream"
    part: Message
    if content_type.startswith("message/rfc822"):
        part = MIMEMessage(message_from_bytes(attachment.content))
    else:
        part = Message()
        part["Content-Type"] = content_type
        part.set_payload(attachment.content)
        encode_base64(part)
    filename = one_line(attachment.filename)
    part.add_header(
        "Content-Disposition",
        disposition,
        filename=filename if filename.isascii() else ("utf-8", "", filename),
    )
    if attachment.content_id:
        part["Content-ID"] = f"<{one_line(attachment.content_id)}>"
    return part
