"""Postmark webhooks.

- Tracking: https://postmarkapp.com/developer/webhooks/webhooks-overview
- Bounce types: https://postmarkapp.com/developer/api/bounce-api#bounce-types
- Inbound: https://postmarkapp.com/developer/webhooks/inbound-webhook

Postmark does not sign its calls: basic auth is what protects them.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from ..addresses import EmailAddress
from ..exceptions import AnymailConfigurationError, AnymailInvalidAddress
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
    as_iso_time,
    as_metadata,
    as_str,
    as_tags,
    as_text,
    as_word,
    base64_file,
    get_list,
    get_object,
    json_object,
)

# RecordType -> event type
RECORD_TYPES = {
    "Bounce": EventType.BOUNCED,  # refined by BOUNCE_TYPES
    "SpamComplaint": EventType.COMPLAINED,  # refined by BOUNCE_TYPES
    "Click": EventType.CLICKED,
    "Delivery": EventType.DELIVERED,
    "Inbound": EventType.INBOUND,
    "Open": EventType.OPENED,
    "SubscriptionChange": EventType.UNSUBSCRIBED,  # refined by SuppressSending
}

# Type of bounces and complaints, SuppressionReason -> event type, reject reason
BOUNCE_TYPES: dict[str, tuple[str, str | None]] = {
    "HardBounce": (EventType.BOUNCED, RejectReason.BOUNCED),
    "SoftBounce": (EventType.BOUNCED, RejectReason.BOUNCED),
    "VirusNotification": (EventType.BOUNCED, RejectReason.OTHER),
    "Transient": (EventType.DEFERRED, None),
    "DnsError": (EventType.DEFERRED, None),
    "OpenRelayTest": (EventType.DEFERRED, None),
    "AutoResponder": (EventType.AUTORESPONDED, None),
    "AddressChange": (EventType.AUTORESPONDED, None),
    "ChallengeVerification": (EventType.AUTORESPONDED, None),
    "SpamNotification": (EventType.COMPLAINED, RejectReason.SPAM),
    "SpamComplaint": (EventType.COMPLAINED, RejectReason.SPAM),
    "Unsubscribe": (EventType.UNSUBSCRIBED, RejectReason.UNSUBSCRIBED),
    "ManualSuppression": (EventType.UNSUBSCRIBED, RejectReason.UNSUBSCRIBED),
    "Subscribe": (EventType.SUBSCRIBED, None),
    "BadEmailAddress": (EventType.REJECTED, RejectReason.INVALID),
    "ManuallyDeactivated": (EventType.REJECTED, RejectReason.BLOCKED),
    "Blocked": (EventType.REJECTED, RejectReason.BLOCKED),
    "DMARCPolicy": (EventType.REJECTED, RejectReason.BLOCKED),
    "Unconfirmed": (EventType.REJECTED, None),
    "SMTPApiError": (EventType.FAILED, None),
    "TemplateRenderingFailed": (EventType.FAILED, None),
    "InboundError": (EventType.INBOUND_FAILED, None),
    "Unknown": (EventType.UNKNOWN, None),
}

# The record types each have a timestamp of another name.
TIMESTAMPS = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")


class PostmarkBaseWebhookView(AnymailBaseWebhookView):
    """Parses the one event in a call of either Postmark webhook."""

    esp_name = "Postmark"

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        return [json_object(request, self.esp_name)]


class PostmarkTrackingWebhookView(PostmarkBaseWebhookView):
    """Postmark's webhook for events of sent messages."""

    signal = tracking

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        event_type, reject_reason = _classify(esp_event)
        if event_type == EventType.INBOUND:
            raise AnymailConfigurationError(
                "You seem to have set Postmark's *inbound* webhook to Anymail's Postmark "
                "*tracking* webhook URL.",
                docs="esps/postmark#postmark-inbound",
            )
        metadata = as_metadata(esp_event.get("Metadata"))
        timestamp = next((esp_event[name] for name in TIMESTAMPS if name in esp_event), None)
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_iso_time(timestamp),
            event_id=as_str(esp_event.get("ID")),
            esp_event=esp_event,
            message_id=as_str(metadata.get("anymail_id") or esp_event.get("MessageID")),
            recipient=as_addr_spec(esp_event.get("Email") or esp_event.get("Recipient")),
            reject_reason=reject_reason,
            description=as_str(esp_event.get("Description")),
            mta_response=as_str(esp_event.get("Details")),
            tags=as_tags(esp_event.get("Tag")),
            metadata=metadata,
            click_url=as_str(esp_event.get("OriginalLink")),
            user_agent=as_str(esp_event.get("UserAgent")),
        )


def _classify(esp_event: dict[str, Any]) -> tuple[str, str | None]:
    """Return the event type and reject reason of a Postmark event."""
    if "RecordType" in esp_event:
        event_type = RECORD_TYPES.get(as_word(esp_event["RecordType"]), EventType.UNKNOWN)
    else:
        # Inbound calls had no RecordType at first.
        event_type = EventType.INBOUND if "FromFull" in esp_event else EventType.UNKNOWN
    reject_reason: str | None = None

    if event_type in (EventType.BOUNCED, EventType.COMPLAINED):
        event_type, reject_reason = BOUNCE_TYPES.get(
            as_word(esp_event.get("Type")), (event_type, reject_reason)
        )
    if event_type == EventType.UNSUBSCRIBED:
        if esp_event.get("SuppressSending", True):
            event_type, reject_reason = BOUNCE_TYPES.get(
                as_word(esp_event.get("SuppressionReason")), (event_type, reject_reason)
            )
        else:
            event_type, reject_reason = EventType.SUBSCRIBED, None
    return event_type, reject_reason


class PostmarkInboundWebhookView(PostmarkBaseWebhookView):
    """Postmark's webhook for received messages."""

    signal = inbound

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        record_type = esp_event.get("RecordType", "Inbound")
        if record_type != "Inbound":
            raise AnymailConfigurationError(
                f"You seem to have set Postmark's *{record_type}* webhook to Anymail's Postmark "
                "*inbound* webhook URL.",
                docs="esps/postmark#postmark-tracking",
            )
        headers = _headers(esp_event)
        envelope_sender = None
        # Postmark puts the Return-Path first. Any other comes from the message, and can be forged.
        if headers and headers[0][0].lower() == "return-path":
            envelope_sender = headers.pop(0)[1].strip().removeprefix("<").removesuffix(">")

        raw_email = esp_event.get("RawEmail")
        if isinstance(raw_email, str) and raw_email and not raw_email.isspace():
            message = AnymailInboundMessage.parse_raw_mime(raw_email)
            bcc = _address_header(esp_event.get("BccFull"))
            # A Bcc is not in what was transmitted, but Postmark knows of it.
            if bcc and "Bcc" not in message:
                message["Bcc"] = bcc
        else:
            message = _construct_message(esp_event, headers)

        message.envelope_sender = as_addr_spec(envelope_sender)
        message.envelope_recipient = as_addr_spec(esp_event.get("OriginalRecipient"))
        message.stripped_text = as_text(esp_event.get("StrippedTextReply"))
        spam_headers = {name.lower(): value for name, value in headers}
        message.spam_detected = spam_headers.get("x-spam-status", "").strip().lower() == "yes"
        message.spam_score = as_float(spam_headers.get("x-spam-score"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            event_id=as_str(esp_event.get("MessageID")),
            esp_event=esp_event,
            message=message,
        )


def _construct_message(
    esp_event: dict[str, Any], headers: list[tuple[str, str]]
) -> AnymailInboundMessage:
    """Return a message made of Postmark's parsed fields."""
    for name, field in (("Date", "Date"), ("Reply-To", "ReplyTo")):
        if value := as_str(esp_event.get(field)):
            # Without effect where the headers already have one.
            headers = [*headers, (name, unfold(value))]
    subject = as_text(esp_event.get("Subject"))
    return AnymailInboundMessage.construct(
        from_email=_address_header([get_object(esp_event, "FromFull")]) or None,
        to=_address_header(esp_event.get("ToFull")) or None,
        cc=_address_header(esp_event.get("CcFull")) or None,
        bcc=_address_header(esp_event.get("BccFull")) or None,
        subject=None if subject is None else unfold(subject),
        headers=headers,
        text=as_text(esp_event.get("TextBody")),
        html=as_text(esp_event.get("HtmlBody")),
        attachments=[
            _construct_attachment(attachment)
            for attachment in get_list(esp_event, "Attachments")
            if isinstance(attachment, dict)
        ],
    )


def _construct_attachment(attachment: dict[str, Any]) -> AnymailInboundMessage:
    return AnymailInboundMessage.construct_attachment(
        content_type=as_str(attachment.get("ContentType")),
        # The "Check" button in Postmark's dashboard sends Data in place of Content.
        content=base64_file(
            attachment.get("Content") or attachment.get("Data"), "Postmark attachment"
        ),
        filename=as_str(attachment.get("Name")),
        content_id=as_text(attachment.get("ContentID")),
        disposition="",
    )


def _headers(esp_event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the well-formed ones of Postmark's Headers."""
    return [
        (header["Name"], unfold(as_str(header.get("Value")) or ""))
        for header in get_list(esp_event, "Headers")
        if isinstance(header, dict)
        and as_word(header.get("Name"))
        and not has_control_chars(header["Name"])
    ]


def _address_header(full_addresses: Any) -> str:
    """Return a header of Postmark's {Email, Name} objects."""
    if not isinstance(full_addresses, list):
        return ""
    return ", ".join(
        _format_address(as_str(item.get("Name")) or "", as_str(item.get("Email")) or "")
        for item in full_addresses
        if isinstance(item, dict) and (item.get("Name") or item.get("Email"))
    )


def _format_address(name: str, addr_spec: str) -> str:
    try:
        return EmailAddress(name, addr_spec).format()
    except AnymailInvalidAddress:
        # Received mail can have anything in its headers.
        return unfold(f"{name} <{addr_spec}>" if name else addr_spec)
