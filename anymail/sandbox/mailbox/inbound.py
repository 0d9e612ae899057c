"""Mail for a provider to receive, from a form or a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from email.utils import make_msgid, parsedate_to_datetime
from typing import Any

from ...addresses import EmailAddress, parse_single_address
from ...mime import HeadersAsWritten, flatten, make_7bit
from ..mailboxes import parse_mailboxes
from ..providers import InboundMail
from ..store import StoredAttachment
from ..wire import Form
from .mime import one_line

# Those that are in other attributes of InboundMail, or that it makes itself.
_KNOWN = {
    *("from", "to", "subject", "date", "message-id", "in-reply-to", "references", "received"),
    *("return-path", "mime-version", "content-type", "content-transfer-encoding"),
    "content-disposition",
}


def mail_from_form(form: Form) -> InboundMail:
    """Return the mail that was written, or uploaded as a file. Raises ValueError."""
    for file in form.files:
        if file.field == "eml" and file.content:
            return mail_from_file(file.content)
    text = _text(form, "text")
    return InboundMail(
        sender=_address(form, "from"),
        recipient=_address(form, "to"),
        subject=one_line(_text(form, "subject")),
        text=text,
        html=_text(form, "html"),
        stripped_text=text,
        attachments=tuple(
            StoredAttachment(one_line(file.filename), one_line(file.content_type), file.content)
            for file in form.files
            if file.field == "files" and file.filename
        ),
    )


def _text(form: Form, name: str) -> str:
    return (form.get(name) or "").replace("\r\n", "\n")


def _address(form: Form, name: str) -> EmailAddress:
    return parse_single_address(form.get(name) or "", name)


def mail_from_file(content: bytes) -> InboundMail:
    """Return the mail in an .eml file. Raises ValueError."""
    mime: EmailMessage = message_from_bytes(content, policy=default_policy)
    sender = parse_mailboxes(_header(mime, "From"))
    recipients = parse_mailboxes(_header(mime, "To"))
    if not sender or not recipients:
        raise ValueError("The file is no email: it has no From or no To")
    text, html = (_content(mime.get_body((kind,))) for kind in ("plain", "html"))
    return InboundMail(
        sender=sender[0],
        recipient=recipients[0],
        subject=one_line(_header(mime, "Subject")),
        text=text,
        html=html,
        stripped_text=text,
        attachments=tuple(_attachments(mime)),
        in_reply_to=one_line(_header(mime, "In-Reply-To")),
        date=_date(_header(mime, "Date")),
        raw=content if content.isascii() else _as_ascii(content),
        other_headers=tuple(
            (name, one_line(value)) for name, value in mime.items() if name.lower() not in _KNOWN
        ),
        message_id=one_line(_header(mime, "Message-ID")) or make_msgid(domain="mail.example.com"),
    )


def _as_ascii(content: bytes) -> bytes:
    """Return raw MIME as it goes from one server to another that takes no more."""
    mime = message_from_bytes(content)
    make_7bit(mime)
    return flatten(mime, HeadersAsWritten(linesep="\r\n"))


def _header(mime: EmailMessage, name: str) -> str:
    return str(mime.get(name, ""))


def _date(text: str) -> datetime:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return datetime.now(timezone.utc)
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def _content(part: Any) -> str:
    if part is None:
        return ""
    charset = part.get_content_charset("utf-8")
    payload = part.get_payload(decode=True) or b""
    try:
        text: str = payload.decode(charset, "replace")
    except LookupError:
        text = payload.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def _attachments(mime: EmailMessage) -> list[StoredAttachment]:
    bodies = [mime.get_body((kind,)) for kind in ("plain", "html")]
    return [
        StoredAttachment(
            one_line(part.get_filename("")),
            one_line(part.get("Content-Type", "text/plain")),
            _payload(part),
            one_line(part.get("Content-ID", "")).strip("<>"),
        )
        for part in _leaves(mime)
        if not any(part is body for body in bodies)
    ]


def _leaves(mime: Any) -> Iterator[Any]:
    """Yield the parts that are no containers. An attached message is one of them."""
    if mime.get_content_maintype() == "multipart" and mime.is_multipart():
        for part in mime.get_payload():
            yield from _leaves(part)
    else:
        yield mime


def _payload(part: Any) -> bytes:
    if part.is_multipart():  # an attached message
        inner: bytes = part.get_payload(0).as_bytes()
        return inner
    content: bytes = part.get_payload(decode=True)
    return content
