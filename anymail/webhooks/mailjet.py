"""Mailjet webhooks.

- Tracking: https://dev.mailjet.com/email/guides/webhooks/
- Inbound: https://dev.mailjet.com/email/guides/parse-api/

Mailjet does not sign its calls: basic auth is what protects them.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from ..exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from ..headers import has_control_chars, unfold
from ..inbound import AnymailInboundMessage
from ..signals import (
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
    as_float,
    as_metadata,
    as_str,
    as_tags,
    as_text,
    as_unix_time,
    as_word,
    base64_file,
    get_list,
    get_object,
    json_body,
    json_or_none,
)

# event -> event type
EVENT_TYPES = {
    "sent": EventType.DELIVERED,  # accepted by the receiving mail server
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "bounce": EventType.BOUNCED,
    "blocked": EventType.REJECTED,
    "spam": EventType.COMPLAINED,
    "unsub": EventType.UNSUBSCRIBED,
}

GREYLISTED = "greylisted"

# error -> reject reason. All others are RejectReason.OTHER.
REJECT_REASONS = {
    # The recipient
    "user unknown": RejectReason.BOUNCED,
    "mailbox inactive": RejectReason.BOUNCED,
    "quota exceeded": RejectReason.BOUNCED,
    "blacklisted": RejectReason.BLOCKED,
    "spam reporter": RejectReason.SPAM,
    # The domain
    "invalid domain": RejectReason.BOUNCED,
    "no mail host": RejectReason.BOUNCED,
    "relay/access denied": RejectReason.BOUNCED,
    GREYLISTED: RejectReason.OTHER,
    "typofix": RejectReason.INVALID,
    # Policies, and the content
    "sender blocked": RejectReason.BLOCKED,
    "content blocked": RejectReason.BLOCKED,
    "policy issue": RejectReason.BLOCKED,
    # Mailjet
    "preblocked": RejectReason.BLOCKED,
    "duplicate in campaign": RejectReason.OTHER,
}


class MailjetTrackingWebhookView(AnymailBaseWebhookView):
    """Mailjet's Event API."""

    esp_name = "Mailjet"
    signal = tracking

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        data = json_body(request, self.esp_name)
        # An array only if the events are grouped, which is an option of the webhook.
        esp_events = data if isinstance(data, list) else [data]
        if not all(isinstance(esp_event, dict) for esp_event in esp_events):
            raise AnymailWebhookValidationFailure("Unexpected data in Mailjet tracking webhook")
        return esp_events

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event."""
        if "event" not in esp_event and "Headers" in esp_event:
            raise AnymailConfigurationError(
                "You seem to have set Mailjet's *inbound* webhook to Anymail's Mailjet "
                "*tracking* webhook URL.",
                docs="esps/mailjet#mailjet-inbound",
            )
        event_type, reject_reason = _classify(esp_event)
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_unix_time(esp_event.get("time")),
            esp_event=esp_event,
            message_id=as_str(esp_event.get("MessageID")),
            recipient=as_addr_spec(esp_event.get("email")),
            reject_reason=reject_reason,
            mta_response=as_str(esp_event.get("smtp_reply")),
            tags=as_tags(esp_event.get("customcampaign")),
            metadata=_parse_metadata(esp_event.get("Payload")),
            click_url=as_str(esp_event.get("url")),
            user_agent=as_str(esp_event.get("agent")),
        )


def _classify(esp_event: dict[str, Any]) -> tuple[str, str | None]:
    """Return the event type and reject reason of an event."""
    event_type = EVENT_TYPES.get(as_word(esp_event.get("event")), EventType.UNKNOWN)
    error = esp_event.get("error")
    if error is None:
        return event_type, None
    if error == GREYLISTED and not esp_event.get("hard_bounce"):
        event_type = EventType.DEFERRED
    return event_type, REJECT_REASONS.get(as_word(error), RejectReason.OTHER)


def _parse_metadata(payload: Any) -> dict[str, Any]:
    """Return the metadata in an event's Payload, which can also be of another application."""
    return as_metadata(json_or_none(payload))


class MailjetInboundWebhookView(AnymailBaseWebhookView):
    """Mailjet's Parse API."""

    esp_name = "Mailjet"
    signal = inbound

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        data = json_body(request, self.esp_name)
        # Tracking events can be in an array.
        if any(
            isinstance(item, dict) and "event" in item
            for item in (data if isinstance(data, list) else [data])
        ):
            raise AnymailConfigurationError(
                "You seem to have set Mailjet's *tracking* webhook to Anymail's Mailjet "
                "*inbound* webhook URL.",
                docs="esps/mailjet#mailjet-tracking",
            )
        if not isinstance(data, dict):
            raise AnymailWebhookValidationFailure("Unexpected data in Mailjet inbound webhook")
        return [data]

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        """Return the normalized event."""
        # The raw message can't be rebuilt: nothing tells how its parts are nested.
        message = AnymailInboundMessage.construct(
            headers=_parse_headers(esp_event),
            text=as_text(esp_event.get("Text-part")),
            html=as_text(esp_event.get("Html-part")),
            attachments=[
                _construct_attachment(esp_event, part)
                for part in get_list(esp_event, "Parts")
                # Others are the text, the HTML, and the multiparts around them.
                if isinstance(part, dict) and "Attachment" in as_word(part.get("ContentRef"))
            ],
        )
        message.envelope_sender = as_addr_spec(esp_event.get("Sender"))
        message.envelope_recipient = as_addr_spec(esp_event.get("Recipient"))
        message.spam_score = as_float(esp_event.get("SpamAssassinScore"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND, esp_event=esp_event, message=message
        )


def _parse_headers(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the Headers of a message or part: {name: value}, or {name: [value, ...]}."""
    return [
        (name, unfold(value))
        for name, values in get_object(data, "Headers").items()
        if name and not has_control_chars(name)
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, str)
    ]


def _construct_attachment(esp_event: dict[str, Any], part: dict[str, Any]) -> AnymailInboundMessage:
    field = part["ContentRef"]
    if field not in esp_event:
        raise AnymailWebhookValidationFailure(f"Missing {field!r} in Mailjet inbound webhook")
    headers = {name.lower(): value for name, value in reversed(_parse_headers(part))}
    # The email package knows how to read their parameters.
    described = AnymailInboundMessage.parse_raw_mime(
        "".join(
            f"{name}: {headers[name]}\n"
            for name in ("content-type", "content-disposition")
            if name in headers
        )
    )
    return AnymailInboundMessage.construct_attachment(
        content_type=described.get_content_type(),
        # Decoded from its Content-Transfer-Encoding, and then encoded in base64.
        content=base64_file(esp_event[field], "Mailjet attachment"),
        charset=described.get_content_charset(),
        filename=described.get_filename(),
        content_id=headers.get("content-id") or None,
        # Mailjet itself calls attachments inline that aren't.
        disposition=described.get_content_disposition() or "",
    )
