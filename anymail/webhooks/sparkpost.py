"""SparkPost webhooks.

- Tracking: https://developers.sparkpost.com/api/webhooks/
- Event fields: https://support.sparkpost.com/docs/tech-resources/webhook-event-reference
- Bounce classes: https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
- Inbound: https://developers.sparkpost.com/api/relay-webhooks/

SparkPost does not sign its calls: basic auth is what protects them.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from ..conf import setting
from ..exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from ..inbound import AnymailInboundMessage
from ..signals import (
    AnymailEvent,
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    tracking,
)
from .base import AnymailBaseWebhookView
from .decoding import (
    as_addr_spec,
    as_iso_time,
    as_metadata,
    as_str,
    as_tags,
    as_unix_time,
    as_word,
    get_object,
    json_objects,
    parse_base64_message,
)

# type -> event type
EVENT_TYPES = {
    "injection": EventType.QUEUED,
    "delivery": EventType.DELIVERED,
    "bounce": EventType.BOUNCED,
    "out_of_band": EventType.BOUNCED,
    "delay": EventType.DEFERRED,
    "policy_rejection": EventType.REJECTED,
    "generation_rejection": EventType.REJECTED,
    "generation_failure": EventType.FAILED,
    "spam_complaint": EventType.COMPLAINED,
    "open": EventType.OPENED,
    "amp_open": EventType.OPENED,
    "click": EventType.CLICKED,
    "amp_click": EventType.CLICKED,
    "list_unsubscribe": EventType.UNSUBSCRIBED,
    "link_unsubscribe": EventType.UNSUBSCRIBED,
}

# The same, if the setting says so. An "open" usually follows for the same message.
INITIAL_OPEN_EVENT_TYPES = {
    "initial_open": EventType.OPENED,
    "amp_initial_open": EventType.OPENED,
}

# bounce_class -> reject reason; all others are OTHER
REJECT_REASONS = {
    "1": RejectReason.OTHER,  # Undetermined
    "10": RejectReason.INVALID,  # Invalid Recipient
    "20": RejectReason.BOUNCED,  # Soft Bounce
    "21": RejectReason.BOUNCED,  # DNS Failure
    "22": RejectReason.BOUNCED,  # Mailbox Full
    "23": RejectReason.BOUNCED,  # Too Large
    "24": RejectReason.TIMED_OUT,  # Timeout
    "25": RejectReason.BLOCKED,  # Admin Failure
    "30": RejectReason.BOUNCED,  # Generic Bounce: No RCPT
    "40": RejectReason.BOUNCED,  # Generic Bounce
    "50": RejectReason.BLOCKED,  # Mail Block
    "51": RejectReason.SPAM,  # Spam Block
    "52": RejectReason.SPAM,  # Spam Content
    "53": RejectReason.OTHER,  # Prohibited Attachment
    "54": RejectReason.BLOCKED,  # Relaying Denied
    "60": RejectReason.OTHER,  # Auto-Reply
    "70": RejectReason.BOUNCED,  # Transient Failure
    "80": RejectReason.OTHER,  # Subscribe
    "90": RejectReason.UNSUBSCRIBED,  # Unsubscribe
    "100": RejectReason.OTHER,  # Challenge-Response
}

# bounce_class -> event type, for those that are not what their type says
BOUNCE_EVENT_TYPES = {
    "60": EventType.AUTORESPONDED,
    "80": EventType.SUBSCRIBED,
    "90": EventType.UNSUBSCRIBED,
    "100": EventType.AUTORESPONDED,
}

# The class of an event from SparkPost's inbound webhook
RELAY_MESSAGE = "relay_message"

# More than the call that tests a URL has.
_MAX_TEST_BYTES = 100


class SparkPostBaseWebhookView(AnymailBaseWebhookView):
    """Unwraps the events in a call of either SparkPost webhook."""

    esp_name = "SparkPost"

    def is_about_webhook(self, request: HttpRequest) -> bool:
        return len(request.body) < _MAX_TEST_BYTES and not self.decode(request)

    def decode(self, request: HttpRequest) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        events = []
        for item in json_objects(request, self.esp_name):
            # {"msys": {event class: event}}; or {"msys": {}} in a test of the URL
            msys = item.get("msys")
            if msys == {}:
                continue
            if not isinstance(msys, dict) or len(msys) != 1:
                raise AnymailWebhookValidationFailure(
                    "SparkPost webhook call with something else than one event in 'msys'"
                )
            [(event_class, event)] = msys.items()
            if not isinstance(event, dict):
                raise AnymailWebhookValidationFailure(
                    "SparkPost webhook call with an event that is not an object"
                )
            events.append((event_class, event, item))
        return events

    def convert(self, data: tuple[str, dict[str, Any], dict[str, Any]]) -> list[AnymailEvent]:
        return [self.esp_to_anymail_event(*data)]

    def esp_to_anymail_event(
        self, event_class: str, event: dict[str, Any], esp_event: dict[str, Any]
    ) -> AnymailEvent:
        """Return the normalized event. ``esp_event`` is the event with what is around it."""
        raise NotImplementedError


class SparkPostTrackingWebhookView(SparkPostBaseWebhookView):
    """SparkPost's webhook for events of sent messages."""

    signal = tracking

    track_initial_open_as_opened: bool = setting(
        'Whether SparkPost\'s "initial open" events are reported as opened, too. See '
        ":ref:`sparkpost-tracking`.",
        default=False,
    )

    def esp_to_anymail_event(
        self, event_class: str, event: dict[str, Any], esp_event: dict[str, Any]
    ) -> AnymailTrackingEvent:
        if event_class == RELAY_MESSAGE:
            raise AnymailConfigurationError(
                "You seem to have set SparkPost's *inbound* relay webhook to Anymail's SparkPost "
                "*tracking* webhook URL.",
                docs="esps/sparkpost#sparkpost-inbound",
            )
        event_type, reject_reason = self._classify(event)
        timestamp = event.get("timestamp")
        return AnymailTrackingEvent(
            event_type=event_type,
            # Some events have ISO 8601 text, though only Unix time is documented.
            timestamp=as_unix_time(timestamp) or as_iso_time(timestamp),
            event_id=as_str(event.get("event_id")),
            esp_event=esp_event,
            # This is the id that sending returns. The event's message_id is another.
            message_id=as_str(event.get("transmission_id")),
            # As it was sent to; rcpt_to is in lower case.
            recipient=as_addr_spec(event.get("raw_rcpt_to")),
            reject_reason=reject_reason,
            mta_response=as_str(event.get("raw_reason")),
            tags=as_tags(event.get("campaign_id")),
            metadata=as_metadata(event.get("rcpt_meta")),
            click_url=as_str(event.get("target_link_url")),
            user_agent=as_str(event.get("user_agent")),
        )

    def _classify(self, event: dict[str, Any]) -> tuple[str, str | None]:
        """Return the event type and reject reason of a SparkPost event."""
        event_types = EVENT_TYPES
        if self.track_initial_open_as_opened:
            event_types = {**EVENT_TYPES, **INITIAL_OPEN_EVENT_TYPES}
        event_type = event_types.get(as_word(event.get("type")), EventType.UNKNOWN)
        if event.get("bounce_class") is None:
            return event_type, None
        bounce_class = as_str(event["bounce_class"]) or ""
        return (
            BOUNCE_EVENT_TYPES.get(bounce_class, event_type),
            REJECT_REASONS.get(bounce_class, RejectReason.OTHER),
        )


class SparkPostInboundWebhookView(SparkPostBaseWebhookView):
    """SparkPost's relay webhook, for received messages."""

    signal = inbound

    def esp_to_anymail_event(
        self, event_class: str, event: dict[str, Any], esp_event: dict[str, Any]
    ) -> AnymailInboundEvent:
        if event_class != RELAY_MESSAGE:
            raise AnymailConfigurationError(
                "You seem to have set SparkPost's *tracking* webhook to Anymail's SparkPost "
                "*inbound* (relay) webhook URL.",
                docs="esps/sparkpost#sparkpost-tracking",
            )
        # SparkPost's own sample has no protocol.
        protocol = event.get("protocol", "smtp")
        if protocol != "smtp":
            raise AnymailConfigurationError(
                f"Anymail's SparkPost inbound webhook can only handle the protocol 'smtp', not "
                f"{protocol!r:.100}. Check the 'match' of your SparkPost relay webhook.",
                docs="esps/sparkpost#sparkpost-inbound",
            )
        message = _parse_message(get_object(event, "content"))
        message.envelope_sender = as_addr_spec(event.get("msg_from"))
        message.envelope_recipient = as_addr_spec(event.get("rcpt_to"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            esp_event=esp_event,
            message=message,
        )


def _parse_message(content: dict[str, Any]) -> AnymailInboundMessage:
    raw_mime = content.get("email_rfc822")
    if not isinstance(raw_mime, str):
        raise AnymailWebhookValidationFailure(
            "SparkPost inbound webhook call without 'email_rfc822'"
        )
    if content.get("email_rfc822_is_base64"):
        # SparkPost does this to messages that have bytes which are not UTF-8.
        return parse_base64_message(raw_mime, "SparkPost email_rfc822")
    return AnymailInboundMessage.parse_raw_mime(raw_mime)
