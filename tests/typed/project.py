"""What a Django project does with Anymail: send messages, and receive signals."""

from __future__ import annotations

import sys
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives

from anymail.addresses import EmailAddress
from anymail.aio import asend_mail, asend_messages
from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
)
from anymail.inbound import AnymailInboundMessage
from anymail.message import (
    UNSET,
    AnymailMessage,
    AnymailMessageMixin,
    AnymailRecipientStatus,
    AnymailStatus,
    attach_inline_image,
    attach_inline_image_file,
)
from anymail.signals import (
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    post_send,
    pre_send,
    tracking,
)
from anymail.utils import get_anymail_setting

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type

LOGO = Path("logo.png")


async def send_with_asyncio() -> None:
    assert_type(await compose().asend(using="default"), int)
    assert_type(await asend_messages([compose(), EmailMessage()], concurrency=5), int)
    assert_type(await asend_mail("Subject", "Text", None, ["a@example.com"]), int)
    async with PostmarkBackend() as backend:
        await backend.asend_messages([compose()])


def compose() -> AnymailMessage:
    message = AnymailMessage(
        subject="Welcome",
        body="Hello",
        from_email="Site <site@example.com>",
        to=["a@example.com", "b@example.com"],
        headers={"X-Custom": "1"},
        tags=["welcome"],
        metadata={"user": 123},
        track_opens=True,
        merge_data={"a@example.com": {"name": "A"}},
        merge_headers={"a@example.com": {"List-Unsubscribe": "<https://example.com/a>"}},
        send_at=datetime(2031, 5, 6, tzinfo=timezone.utc),
    )
    message.attach_alternative("<p>Hello</p>", "text/html")
    assert_type(message.attach_inline_image(b"GIF89a", "pixel.gif"), str)
    return message


def set_attributes(message: AnymailMessage) -> None:
    message.tags = ["one", "two"]
    message.tags = ("one", "two")
    message.metadata = {"user": 123, "nested": {"any": "value"}}
    message.merge_metadata = {"a@example.com": {"user": 456}}
    message.merge_global_data = {"site": "Example"}
    message.esp_extra = {"Option": True}
    message.envelope_sender = "bounces@example.com"
    message.template_id = "welcome"
    message.template_id = 12345
    message.track_clicks = False
    message.idempotency_key = "order-1"
    message.duplicates = "accept"
    message.send_at = date(2031, 5, 6)
    message.send_at = 1_900_000_000
    # No default for this message
    message.tags = None
    # The default again
    message.tags = UNSET
    if isinstance(message.tags, list):
        assert_type(message.tags, list[str] | list[Any])


def send(message: AnymailMessage) -> str | None:
    try:
        assert_type(message.send(), int)
    except AnymailRecipientsRefused as error:
        assert_type(error.email_message, EmailMessage | None)
    except AnymailRequestsAPIError as error:
        assert_type(error.status_code, int | None)
        print(error.response.json())
    except AnymailAPIError as error:
        assert_type(error.esp_name, str | None)
    except AnymailError as error:
        assert_type(error.describe_response(), str | None)

    status = message.anymail_status
    assert_type(status, AnymailStatus)
    assert_type(status.status, set[str | None] | None)
    for address, recipient in status.recipients.items():
        assert_type(address, str)
        assert_type(recipient, AnymailRecipientStatus)
        assert_type(recipient.status, str | None)
        print(recipient.message_id)
    # str, for most providers, or a set of those
    assert_type(status.message_id, Any)
    return str(status.message_id) if status.message_id else None


def attach_images(message: EmailMessage) -> None:
    """These work with any Django message."""
    cid = attach_inline_image_file(message, LOGO)
    assert_type(cid, str)
    attach_inline_image(message, LOGO.read_bytes(), subtype="png", idstring="logo")
    message.body = f'<img src="cid:{cid}">'


class ProjectMessage(AnymailMessageMixin, EmailMultiAlternatives):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tags = ["project"]


class PatientBackend(PostmarkBackend):
    """A provider's backend, with the project's own session"""

    def open(self) -> bool | None:
        opened = super().open()
        if opened and self.session is not None:
            self.session.headers["X-Project"] = "1"
        return opened


def check(sender: type, message: EmailMessage, esp_name: str, **kwargs: Any) -> None:
    if not message.subject:
        raise AnymailCancelSend(f"No subject for {esp_name}")
    if isinstance(message, AnymailMessage) and isinstance(message.tags, list):
        message.tags = [*message.tags, "checked"]


def log(
    sender: type, message: EmailMessage, status: AnymailStatus, esp_name: str, **kwargs: Any
) -> None:
    print(esp_name, message.recipients(), status.status)


def track(sender: type, event: AnymailTrackingEvent, esp_name: str, **kwargs: Any) -> None:
    assert_type(event.event_type, str)
    assert_type(event.timestamp, datetime | None)
    assert_type(event.recipient, str | None)
    assert_type(event.tags, list[str])
    assert_type(event.metadata, dict[str, Any])
    assert_type(event.esp_event, Any)
    if event.event_type == EventType.BOUNCED and event.reject_reason == RejectReason.INVALID:
        print(event.message_id, event.mta_response, event.description, event.click_url)


def receive(sender: type, event: AnymailInboundEvent, esp_name: str, **kwargs: Any) -> None:
    message = event.message
    assert_type(message, AnymailInboundMessage)
    assert_type(message.to, list[EmailAddress])
    assert_type(message.subject, str | None)
    assert_type(message.text, str | None)
    assert_type(message.envelope_recipient, str | None)
    assert_type(message.spam_detected, bool | None)
    for attachment in message.attachments:
        assert_type(attachment, AnymailInboundMessage)
        assert_type(attachment.get_content_bytes(), bytes | None)
    for address in message.to:
        assert_type(address.addr_spec, str)
        assert_type(address.as_dict(name="Name", email="Email"), dict[str, str])


def connect() -> None:
    """As in the ready method of the project's AppConfig"""
    pre_send.connect(check)
    post_send.connect(log, sender=PatientBackend)
    tracking.connect(track)
    inbound.connect(receive)


def disconnect() -> None:
    pre_send.disconnect(check)
    post_send.disconnect(log, sender=PatientBackend)
    tracking.disconnect(track)
    inbound.disconnect(receive)


def make_test_events() -> None:
    """As in the project's own tests"""
    event = AnymailTrackingEvent(event_type=EventType.OPENED, message_id="id", tags=["welcome"])
    tracking.send(sender=object, event=event, esp_name="Test")
    message = AnymailInboundMessage.construct(from_email="a@example.com", text="Hello")
    inbound.send(sender=object, event=AnymailInboundEvent(message=message), esp_name="Test")


def read_settings() -> None:
    print(get_anymail_setting("api_key", esp_name="Postmark", default=None))
