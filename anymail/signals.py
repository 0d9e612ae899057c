"""Django signals around sending and receiving, and the normalized webhook events they carry.

All receivers should accept ``**kwargs``.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from .sending.telling import is_telling, logging_of_failure

if TYPE_CHECKING:
    from .inbound import AnymailInboundMessage

_logger = logging.getLogger("anymail.delivery")


class _SendFailed(Signal):
    @property
    def has_async_receivers(self) -> bool:
        """Whether one has to be awaited."""
        return any(is_async for *_, is_async in self.receivers)

    def _log_robust_failure(self, receiver: Any, err: Exception) -> None:
        with logging_of_failure():
            super()._log_robust_failure(receiver, err)  # type: ignore[misc]


class _PostSend(_SendFailed):
    def _log_robust_failure(self, receiver: Any, err: Exception) -> None:
        if is_telling():
            # In mail that AdminEmailHandler sends about the same receiver, for example.
            _logger.debug("A receiver of post_send failed while a failure was reported")
        else:
            super()._log_robust_failure(receiver, err)


pre_send = Signal()
"""Sent before a message is handed to the provider, with ``message`` and ``esp_name``.

Receivers can change the message, or raise AnymailCancelSend to drop it. The sender is the email
backend class.
"""

post_send = _PostSend()
"""Sent after a message is handed to the provider, with ``message``, ``status`` and ``esp_name``.

The status is the message's AnymailStatus. All receivers are called, even if one raises. There are
also ``mailer``, the alias of the mailer that has sent it, if there is one; ``duration``, how many
seconds that took; and ``original``, the message as the caller of ``send()`` knows it, where
``message`` is a copy of it.
"""

send_failed = _SendFailed()
"""Sent for each attempt to send a message that fails, with the ``error``.

The sender is the email backend class. There are also ``message``, ``esp_name``, ``mailer``,
``duration`` and ``original``, as with post_send; ``attempt``, its number, from 1; ``final``,
whether there won't be another one; and ``will_retry``, in how many seconds there will be one, or
None if that isn't known. An exception in a receiver is logged, and changes nothing.
"""

tracking = Signal()
"""Sent for each tracking event, with ``event`` (AnymailTrackingEvent) and ``esp_name``.

The sender is the webhook's view class.
"""

inbound = Signal()
"""Sent for each received message, with ``event`` (AnymailInboundEvent) and ``esp_name``.

The sender is the webhook's view class.
"""


class AnymailEvent:
    """Base of the normalized webhook events.

    - ``event_type``: one of EventType's values
    - ``timestamp``: when it happened, an aware datetime; None if the provider doesn't say
    - ``event_id``: the provider's unique id of the event, str or None; use it to recognize
      events that are delivered twice
    - ``esp_event``: the provider's raw event
    """

    def __init__(
        self,
        event_type: str,
        timestamp: datetime | None = None,
        event_id: str | None = None,
        esp_event: Any = None,
        **kwargs: Any,
    ) -> None:
        self.event_type = event_type
        self.timestamp = timestamp
        self.event_id = event_id
        self.esp_event = esp_event

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.event_type} {self.event_id or '(no event_id)'}>"


class AnymailTrackingEvent(AnymailEvent):
    """Something that happened to a sent message.

    - ``message_id``: as in the sent message's anymail_status; str, for Postal int
    - ``recipient``: addr-spec
    - ``reject_reason``: one of RejectReason's values, for bounced and rejected events, with some
      providers also for complained, unsubscribed, deferred and failed ones
    - ``description``: the provider's explanation for people
    - ``mta_response``: answer of the receiving mail server, as the provider reports it
    - ``tags``: list of str, ``metadata``: dict, as the message was sent with
    - ``click_url``: for clicked events
    - ``user_agent``: for opened and clicked events

    All but tags and metadata can be None.
    """

    def __init__(
        self,
        *,
        event_type: str,
        timestamp: datetime | None = None,
        event_id: str | None = None,
        esp_event: Any = None,
        message_id: Any = None,
        recipient: str | None = None,
        reject_reason: str | None = None,
        description: str | None = None,
        mta_response: str | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        click_url: str | None = None,
        user_agent: str | None = None,
        **kwargs: Any,
    ) -> None:
        # One function sets them all: a call can have thousands of events.
        self.event_type = event_type
        self.timestamp = timestamp
        self.event_id = event_id
        self.esp_event = esp_event
        self.message_id = message_id
        self.recipient = recipient
        self.reject_reason = reject_reason
        self.description = description
        self.mta_response = mta_response
        self.tags: list[str] = [] if tags is None else tags
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.click_url = click_url
        self.user_agent = user_agent


class AnymailInboundEvent(AnymailEvent):
    """A received message: ``message`` is an AnymailInboundMessage.

    The event_type is "inbound", or "inbound_failed".
    """

    def __init__(
        self,
        *,
        message: AnymailInboundMessage | None = None,
        event_type: str = "inbound",
        **kwargs: Any,
    ) -> None:
        super().__init__(event_type=event_type, **kwargs)
        # Only tests construct inbound events without a message.
        self.message: AnymailInboundMessage = message  # type: ignore[assignment]


class EventType:
    """Normalized types of webhook events."""

    QUEUED = "queued"  #: the provider has accepted the message and will try to send it
    SENT = "sent"  #: the provider has handed the message to the next hop
    REJECTED = "rejected"  #: the provider won't send it (suppression list, policy, bad address)
    FAILED = "failed"  #: the provider can't send it (for example, because of a template error)
    BOUNCED = "bounced"  #: the receiving mail server refused the message
    DEFERRED = "deferred"  #: delayed; bounced or delivered should follow
    DELIVERED = "delivered"  #: the receiving mail server accepted the message
    AUTORESPONDED = "autoresponded"  #: an automatic reply came back
    OPENED = "opened"  #: the recipient opened the message
    CLICKED = "clicked"  #: the recipient followed a link in the message
    COMPLAINED = "complained"  #: the recipient reported the message as spam
    UNSUBSCRIBED = "unsubscribed"  #: the recipient asked to get no more mail
    SUBSCRIBED = "subscribed"  #: the recipient asked to get mail, maybe again
    INBOUND = "inbound"  #: a message was received
    INBOUND_FAILED = "inbound_failed"  #: the provider had trouble receiving a message
    UNKNOWN = "unknown"  #: anything else; see the event's esp_event


class RejectReason:
    """Normalized reasons why a message was not delivered, or won't be."""

    INVALID = "invalid"  #: the address is malformed
    BOUNCED = "bounced"  #: the address bounced, now or earlier
    TIMED_OUT = "timed_out"  #: the provider gave up after temporary failures
    BLOCKED = "blocked"  #: a policy or block list of the provider's
    SPAM = "spam"  #: the message looks like spam, or the recipient reported one earlier
    UNSUBSCRIBED = "unsubscribed"  #: the recipient has unsubscribed
    OTHER = "other"  #: anything else
