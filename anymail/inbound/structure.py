"""Which part of a message is what: part of a body, an attachment, an inline file, or none of these.

This is the one place that decides. It takes what an ordinary mail program shows as the measure, and
follows RFC 8621 (JMAP), section 4.1.4, except that the Content-ID and the HTML tell inline files
from attachments where the sender doesn't.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote

if TYPE_CHECKING:
    from .message import AnymailInboundMessage

Message = TypeVar("Message", bound="AnymailInboundMessage")

BODY_TYPES = ("text/plain", "text/html")

SIGNATURE_TYPES = {
    "application/pgp-signature",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
}

_CID_URL = re.compile(r"cid:([^\s\"'<>)]+)", re.IGNORECASE)


def subparts(part: Message) -> list[Message]:
    """Return the parts of a multipart, or the message(s) in a message/* part; otherwise []."""
    return part._payload if part.is_multipart() else []


def explicit_disposition(part: AnymailInboundMessage) -> str | None:
    """Return "attachment" or "inline", as the sender says; None if that's nothing.

    What is neither counts as "attachment" (RFC 2183, section 2.8).
    """
    disposition = part.get_content_disposition()
    if disposition in (None, "inline"):
        return disposition
    is_blank = part.get_params(header="Content-Disposition") == [("", "")]
    return None if is_blank else "attachment"


def content_id(part: AnymailInboundMessage) -> str:
    """Return the Content-ID without its angle brackets; "" if there is none."""
    value = str(part.get("Content-ID", ""))
    return value.strip().removeprefix("<").removesuffix(">").strip()


def implied_disposition(part: AnymailInboundMessage, html: Iterable[str]) -> str:
    """Return what a file is, of which the sender says nothing, in a message with that HTML."""
    return _FromHTML(html).disposition(part)


def find_bodies(message: Message) -> list[tuple[Message, str]]:
    """Return the (part, content type) pairs of what makes up the bodies, in order.

    The type is text/plain or text/html, the former also for a multipart without boundaries.
    """
    return _Contents(message).bodies


def find_files(message: Message) -> list[tuple[Message, str]]:
    """Return the (part, disposition) pairs of all files, those in attached messages included.

    The disposition is "attachment" or "inline". Not among them are bodies and other versions of
    bodies, and signatures and delivery reports, as far as the sender does not say otherwise.
    """
    contents = _Contents(message)
    if not (contents.files or contents.attached_messages):  # as in most messages
        return []
    found = {}
    pending = [contents]
    while pending:
        contents = pending.pop()
        found.update({id(part): disposition for part, disposition in contents.dispositions()})
        pending.extend(map(_Contents, contents.attached_messages))
    return [(part, found[id(part)]) for part in message.walk() if id(part) in found]


def settle_dispositions(message: AnymailInboundMessage) -> None:
    """Have all files of a message know what they are, where the sender does not say."""
    for part, disposition in find_files(message):
        if explicit_disposition(part) is None:
            part._implied_disposition = disposition


class _Contents(Generic[Message]):
    """What is in a message, up to the messages that are attached to it."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.bodies: list[tuple[Message, str]] = []
        self.other_bodies: list[tuple[Message, str]] = []
        """Alternatives to those."""
        self.files: list[tuple[Message, str | None]] = []
        """With their explicit disposition."""
        self.attached_messages: list[Message] = []
        self._add(message, "mixed", self.bodies, is_attached=False)
        if message.get_content_maintype() == "message" and self.attached_messages:
            # Looked at on its own, an attached message is about what is in it.
            self.bodies = find_bodies(self.attached_messages[0])

    def _add(
        self,
        part: Message,
        container: str,
        bodies: list[tuple[Message, str]],
        *,
        is_attached: bool,
    ) -> None:
        """Sort a part in a multipart of a subtype. ("related-to": but for the first part of it.)"""
        content_type = part.get_content_type()
        disposition = explicit_disposition(part)
        if content_type.startswith("multipart/"):
            if part.is_multipart():
                is_attached |= part is not self.message and disposition == "attachment"
                self._add_multipart(part, content_type, bodies, is_attached=is_attached)
                return
            # RFC 2046, section 5.1: without boundaries, it's not well-formed. (Nor is it lost.)
            content_type = "text/plain"
            if disposition is None and not (part._payload or "").strip():
                return
        self.attached_messages += subparts(part)
        if (
            content_type in BODY_TYPES
            and disposition != "attachment"
            and not is_attached
            and _is_body(part, content_type, disposition, container, bodies)
        ):
            bodies.append((part, content_type))
        elif disposition is not None or _is_file(content_type, container):
            self.files.append((part, disposition))

    def _add_multipart(
        self,
        part: Message,
        content_type: str,
        bodies: list[tuple[Message, str]],
        *,
        is_attached: bool,
    ) -> None:
        container = content_type.removeprefix("multipart/")
        if container == "alternative":
            self._add_alternatives(part, bodies, is_attached=is_attached)
            return
        for subpart in subparts(part):
            self._add(subpart, container, bodies, is_attached=is_attached)
            if container == "related":
                container = "related-to"

    def _add_alternatives(
        self, part: Message, bodies: list[tuple[Message, str]], *, is_attached: bool
    ) -> None:
        """Sort the parts of a multipart/alternative: the first body of each type counts."""
        types: set[str] = set()
        for subpart in subparts(part):
            alternative: list[tuple[Message, str]] = []
            self._add(subpart, "alternative", alternative, is_attached=is_attached)
            bodies += [body for body in alternative if body[1] not in types]
            self.other_bodies += [body for body in alternative if body[1] in types]
            types |= {content_type for _, content_type in alternative}

    def dispositions(self) -> Iterator[tuple[Message, str]]:
        """Yield the files with their disposition."""
        from_html = _FromHTML(
            body.get_content_text() or ""
            for body, content_type in (*self.bodies, *self.other_bodies)
            if content_type == "text/html"
        )
        for part, disposition in self.files:
            implied = disposition or part._implied_disposition
            yield part, implied or from_html.disposition(part)


def _is_body(
    part: AnymailInboundMessage,
    content_type: str,
    disposition: str | None,
    container: str,
    bodies: list[Any],
) -> bool:
    """Tell whether text that is no attachment belongs to the body, after those found to do so."""
    if container == "alternative":
        return True
    if container == "related-to":
        # That is what the HTML refers to. (Some senders write text and HTML there, side by side.)
        is_resource = disposition or any(content_type == other for _, other in bodies)
        return not is_resource and not part.get_filename()
    # Text can go on after a picture or file; and files can be text.
    return not bodies or not part.get_filename()


def _is_file(content_type: str, container: str) -> bool:
    """Tell whether something that is no body, of which the sender says nothing, is a file."""
    if container == "alternative":
        # Such as an invitation in text/calendar. (Some put files there.)
        return not content_type.startswith("text/")
    if container == "report":
        # The message that came back is something to look at. (RFC 6522)
        is_message = content_type in ("message/rfc822", "message/global")
        return is_message or not content_type.startswith(("message/", "text/rfc822-headers"))
    return content_type not in SIGNATURE_TYPES


class _FromHTML:
    """Tells inline files from attachments by what the HTML refers to. Read only if needed."""

    def __init__(self, html: Iterable[str]) -> None:
        self._html = html
        self._content_ids: set[str] | None = None
        """None if there is no HTML."""
        self._is_read = False

    def disposition(self, part: AnymailInboundMessage) -> str:
        part_id = content_id(part)
        if not part_id:
            return "attachment"
        if not self._is_read:
            self._read()
        is_inline = self._content_ids is None or part_id in self._content_ids
        return "inline" if is_inline else "attachment"

    def _read(self) -> None:
        self._is_read = True
        for html in self._html:
            urls = (unescape(url) for url in _CID_URL.findall(html))
            found = {content_id for url in urls for content_id in (url, unquote(url))}
            self._content_ids = (self._content_ids or set()) | found
