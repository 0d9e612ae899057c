"""Messages with Anymail's additional attributes, and the status of sending them."""

from __future__ import annotations

import email.message
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from email.mime.image import MIMEImage
from email.utils import make_msgid
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives

from .datastructures import UNSET, Unset

__all__ = [
    "ANYMAIL_STATUSES",
    "UNSET",
    "AnymailMessage",
    "AnymailMessageMixin",
    "AnymailRecipientStatus",
    "AnymailStatus",
    "attach_inline_image",
    "attach_inline_image_file",
]

ANYMAIL_STATUSES = [
    "sent",  # the provider has sent it (delivery is not guaranteed)
    "queued",  # the provider will try to send it later
    "invalid",  # the provider says that an address is not valid
    "rejected",  # the recipient is on a suppression list
    "failed",  # the attempt failed for another reason
    "unknown",  # anything else
    "later",  # it waits for a worker that hands it to the provider
]
"""What can become of a message for one of its recipients when it is handed to the provider."""

_ACCEPTED = frozenset({"sent", "queued"})
_REFUSED = frozenset({"invalid", "rejected", "failed"})
_is_refused = attrgetter("is_refused")


class AnymailMessageMixin(EmailMessage):
    """Gives any Django EmailMessage subclass Anymail's attributes as constructor arguments.

    Put it first among the bases. Without it the same attributes can be set on any EmailMessage:

    - ``esp_extra``: dict of additions to the provider's API parameters
    - ``envelope_sender``: address for bounces (Return-Path, MAIL FROM)
    - ``metadata``: dict of data to get back in tracking events
    - ``merge_metadata``: ``{address: metadata}`` per recipient
    - ``tags``: list of str, for statistics
    - ``track_opens``, ``track_clicks``: bool
    - ``send_at``: aware datetime; naive datetime or date (in Django's time zone); POSIX timestamp
    - ``template_id``: name or id of a template that is stored at the provider
    - ``merge_data``: ``{address: {field: value}}`` per recipient; ``merge_global_data``:
      ``{field: value}`` for all of them
    - ``merge_headers``: ``{address: {header: value}}`` per recipient
    - ``idempotency_key``: str, the same for all attempts to send the message, to send it once
    - ``duplicates``: "avoid" or "accept", in place of the option of mailers that name others

    UNSET, the default, leaves the choice to SEND_DEFAULTS and then to the provider; None
    overrides SEND_DEFAULTS.
    """

    anymail_job_id: str | None = None
    """The id of its job, where a worker sends it: its ``message_id`` when it was queued."""

    anymail_error: Exception | None = None
    """Why it was not sent, after an attempt to do so. Copies and pickles are without."""

    def __init__(
        self,
        *args: Any,
        esp_extra: Mapping[str, Any] | None | Unset = UNSET,
        envelope_sender: str | None | Unset = UNSET,
        metadata: Mapping[str, Any] | None | Unset = UNSET,
        send_at: datetime | date | float | str | None | Unset = UNSET,
        tags: Iterable[str] | None | Unset = UNSET,
        track_clicks: bool | None | Unset = UNSET,
        track_opens: bool | None | Unset = UNSET,
        template_id: str | int | None | Unset = UNSET,
        merge_data: Mapping[str, Mapping[str, Any]] | None | Unset = UNSET,
        merge_global_data: Mapping[str, Any] | None | Unset = UNSET,
        merge_headers: Mapping[str, Mapping[str, Any]] | None | Unset = UNSET,
        merge_metadata: Mapping[str, Mapping[str, Any]] | None | Unset = UNSET,
        idempotency_key: str | None | Unset = UNSET,
        duplicates: Literal["avoid", "accept"] | None | Unset = UNSET,
        **kwargs: Any,
    ) -> None:
        self.esp_extra = esp_extra
        self.envelope_sender = envelope_sender
        self.metadata = metadata
        self.send_at = send_at
        self.tags = tags
        self.track_clicks = track_clicks
        self.track_opens = track_opens
        self.template_id = template_id
        self.merge_data = merge_data
        self.merge_global_data = merge_global_data
        self.merge_headers = merge_headers
        self.merge_metadata = merge_metadata
        self.idempotency_key = idempotency_key
        self.duplicates = duplicates
        self.anymail_status = AnymailStatus()
        super().__init__(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Nobody knows whether an exception can be copied or pickled.
        return {name: value for name, value in vars(self).items() if name != "anymail_error"}

    def attach(self, filename: Any = None, content: Any = None, mimetype: Any = None) -> None:
        """Attach a file, as Django does, but take text in bytes to be in the mimetype's charset.

        Django takes it to be in UTF-8; if it isn't, as application/octet-stream.
        """
        is_bytes = isinstance(content, (bytes, bytearray, memoryview))
        if is_bytes and "charset" in str(mimetype).lower():
            # With an HTTP library, which who only makes messages need not have imported
            from .attachments import Attachment

            content = Attachment((filename, content, mimetype)).content
        super().attach(filename, content, mimetype)

    async def asend(self, using: str | None = None) -> int:
        """Send the message, with asyncio. Returns 1, or 0 if it was not to be sent.

        ``using`` is the alias of a mailer. Raises what ``send()`` raises. See :mod:`anymail.aio`.
        """
        from .aio import send_one

        return await send_one(self, using)

    def send_later(
        self,
        using: str | None = None,
        at: datetime | date | float | None = None,
        queue: str | None = None,
    ) -> int:
        """Have a worker send the message. See :func:`anymail.later.send_later`."""
        from .later import send_later

        return send_later(self, using=using, at=at, queue=queue)

    def attach_inline_image_file(
        self,
        path: str | os.PathLike[str],
        subtype: str | None = None,
        idstring: str = "img",
        domain: str | None = None,
    ) -> str:
        """Attach an image file to be shown in the HTML body, and return its Content-ID.

        See :func:`attach_inline_image_file`.
        """
        return attach_inline_image_file(self, path, subtype, idstring, domain)

    def attach_inline_image(
        self,
        content: bytes,
        filename: str | None = None,
        subtype: str | None = None,
        idstring: str = "img",
        domain: str | None = None,
    ) -> str:
        """Attach image data to be shown in the HTML body, and return its Content-ID.

        See :func:`attach_inline_image`.
        """
        return attach_inline_image(self, content, filename, subtype, idstring, domain)


class AnymailMessage(AnymailMessageMixin, EmailMultiAlternatives):
    """Django's EmailMultiAlternatives with Anymail's attributes."""


def attach_inline_image_file(
    message: EmailMessage,
    path: str | os.PathLike[str],
    subtype: str | None = None,
    idstring: str = "img",
    domain: str | None = None,
) -> str:
    """Attach an image file to any Django EmailMessage, to be shown in its HTML body.

    Returns the Content-ID without angle brackets: use it as ``<img src="cid:...">``.
    Raises OSError if the file can't be read; otherwise see :func:`attach_inline_image`.
    """
    path = Path(path)
    return attach_inline_image(message, path.read_bytes(), path.name, subtype, idstring, domain)


def attach_inline_image(
    message: EmailMessage,
    content: bytes,
    filename: str | None = None,
    subtype: str | None = None,
    idstring: str = "img",
    domain: str | None = None,
) -> str:
    """Attach image data to any Django EmailMessage, to be shown in its HTML body.

    ``subtype`` is that of the image/* content type, guessed from the content if None.
    ``idstring`` and ``domain`` become part of the Content-ID. The domain defaults to "inline"
    rather than to the host's name: mail clients show the ID as file name, and Gmail blocks
    those that end in ".com".

    Returns the Content-ID without angle brackets: use it as ``<img src="cid:...">``.
    Raises TypeError if the type of the image can't be guessed.
    """
    content_id = make_msgid(idstring, domain or "inline")
    # MIMEImage knows image types by their content. Its guess serves both kinds of attachment.
    image = MIMEImage(content, subtype) if subtype else MIMEImage(content)
    if django.VERSION >= (6, 0):
        part = email.message.MIMEPart()
        part.set_content(
            content,
            maintype="image",
            subtype=image.get_content_subtype(),
            disposition="inline",
            filename=filename,
            cid=content_id,
        )
        message.attach(part)
    else:
        if filename is None:
            image["Content-Disposition"] = "inline"
        else:
            image.add_header("Content-Disposition", "inline", filename=filename)
        image["Content-ID"] = content_id
        message.attach(image)
    return content_id[1:-1]


class AnymailRecipientStatus:
    """What became of a message for one recipient.

    - ``message_id``: the provider's id for the message; str, for Postal int; or None
    - ``status``: one of :data:`ANYMAIL_STATUSES`, or None before the message is sent
    """

    def __init__(self, message_id: Any, status: str | None) -> None:
        try:
            hash(message_id)
        except TypeError as err:
            raise TypeError(f"Invalid message_id {message_id!r}: it must be hashable") from err
        if status is not None and status not in ANYMAIL_STATUSES:
            raise ValueError(f"Invalid status {status!r}: it must be one of {ANYMAIL_STATUSES}")
        self.message_id = message_id
        self.status = status

    @property
    def is_accepted(self) -> bool:
        """Whether the provider says that it has taken the message: "sent" or "queued"."""
        return self.status in _ACCEPTED

    @property
    def is_refused(self) -> bool:
        """Whether it says that it has not: "invalid", "rejected" or "failed"."""
        return self.status in _REFUSED

    def __repr__(self) -> str:
        return f"AnymailRecipientStatus({self.message_id!r}, {self.status!r})"


class AnymailStatus:
    """What became of a message: ``message.anymail_status`` after it is sent.

    - ``status``: set of all the recipients' statuses; None until the message is sent
    - ``message_id``: the provider's id for the message, or a set if recipients' ids differ
    - ``recipients``: ``{addr-spec: AnymailRecipientStatus}``, addresses as the sender wrote them
    - ``esp_response``: the provider's raw answer; a list of them if the message took several calls
    """

    # Here, for what was pickled by earlier releases.
    mailer: str | None = None
    """The alias of the mailer that it was last given to, if that has one."""
    attempts: Sequence[tuple[str | None, str | None]] = ()
    """``[(mailer, problem), ...]``, all attempts to send it. The problem is one of
    :class:`~anymail.exceptions.Problem`, or None if there was none (or it has no name).
    """

    def __init__(self) -> None:
        self.message_id: Any = None
        self.status: set[str | None] | None = None
        self.recipients: dict[str, AnymailRecipientStatus] = {}
        self.esp_response: Any = None

    def __repr__(self) -> str:
        details = [f"status={_sorted_repr(self.status)}"]
        if self.message_id:
            details.append(f"message_id={_sorted_repr(self.message_id)}")
        if self.recipients:
            details.append(f"{len(self.recipients)} recipients")
        return f"AnymailStatus<{', '.join(details)}>"

    @property
    def is_accepted(self) -> bool:
        """Whether the provider has taken the message for one of its recipients, at least."""
        return any(recipient.is_accepted for recipient in self.recipients.values())

    @property
    def may_be_accepted(self) -> bool:
        """Whether the provider has not refused the message for all of its recipients."""
        return not all(map(_is_refused, self.recipients.values()))

    def set_recipient_status(self, recipients: Mapping[str, AnymailRecipientStatus]) -> None:
        """Add recipients' statuses, and bring ``status`` and ``message_id`` up to date."""
        found: set[str | None] = set()
        message_ids: set[Any] = set()
        if self.status is not None and self.recipients.keys().isdisjoint(recipients):
            # As after each of the calls that a large batch takes
            found = self.status
            message_ids = self.message_id if isinstance(self.message_id, set) else {self.message_id}
        self.recipients.update(recipients)
        statuses = (recipients if found else self.recipients).values()
        self.status = found | {recipient.status for recipient in statuses}
        message_ids.update([recipient.message_id for recipient in statuses])
        self.message_id = next(iter(message_ids)) if len(message_ids) == 1 else message_ids


def _sorted_repr(value: Any) -> str:
    """Return repr(value), the items of a set in a stable order."""
    if not isinstance(value, (set, frozenset)):
        return repr(value)
    try:
        items = sorted(value)
    except TypeError:  # None, or ids of different types
        items = sorted(value, key=repr)
    return "{{{}}}".format(", ".join(map(repr, items))) if items else "set()"
