"""Brevo webhooks.

- Tracking: https://developers.brevo.com/docs/transactional-webhooks
- Inbound: https://developers.brevo.com/docs/inbound-parse-webhooks

Brevo does not sign its calls: basic auth is what protects them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urljoin

import requests  # noqa: F401 (where projects' tests replace it)
from django.http import HttpRequest

from ..conf import base_url, credential, setting
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
    get_list,
    get_object,
    get_path,
    json_body,
    json_or_none,
)
from .downloads import Downloads

DEFAULT_API_URL = "https://api.brevo.com/v3/"

# event -> event type, reject reason
EVENT_TYPES: dict[str, tuple[str, str | None]] = {
    "request": (EventType.QUEUED, None),  # "blocked" can follow
    "delivered": (EventType.DELIVERED, None),
    "hard_bounce": (EventType.BOUNCED, RejectReason.BOUNCED),
    "soft_bounce": (EventType.BOUNCED, RejectReason.BOUNCED),
    "blocked": (EventType.REJECTED, RejectReason.BLOCKED),
    "spam": (EventType.COMPLAINED, RejectReason.SPAM),
    "complaint": (EventType.COMPLAINED, RejectReason.SPAM),
    "invalid_email": (EventType.BOUNCED, RejectReason.INVALID),
    "deferred": (EventType.DEFERRED, None),
    "opened": (EventType.OPENED, None),  # again
    "unique_opened": (EventType.OPENED, None),  # for the first time
    "proxy_open": (EventType.OPENED, None),
    "unique_proxy_open": (EventType.OPENED, None),
    "click": (EventType.CLICKED, None),
    # Brevo's documentation has both spellings.
    "unsubscribe": (EventType.UNSUBSCRIBED, None),
    "unsubscribed": (EventType.UNSUBSCRIBED, None),
    "error": (EventType.FAILED, None),
    "list_addition": (EventType.SUBSCRIBED, None),
}

# What tells the time of an event, the best first
TIMESTAMPS = ("ts_epoch", "ts_event", "ts")


class BrevoBaseWebhookView(AnymailBaseWebhookView):
    """Reads the JSON of either Brevo webhook."""

    esp_name = "Brevo"

    def json_objects(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return the one object in a call, or those in a call of a batched webhook.

        See https://developers.brevo.com/docs/batch-webhooks. Raises
        AnymailWebhookValidationFailure.
        """
        data = json_body(request, self.esp_name)
        objects = data if isinstance(data, list) else [data]
        if not all(isinstance(item, dict) for item in objects):
            raise AnymailWebhookValidationFailure(
                f"Unexpected data in {self.esp_name} webhook: not a JSON object"
            )
        return objects


class BrevoTrackingWebhookView(BrevoBaseWebhookView):
    """Brevo's webhook for events of sent messages."""

    signal = tracking

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        esp_events = self.json_objects(request)
        if any("items" in esp_event for esp_event in esp_events):
            raise AnymailConfigurationError(
                "You seem to have set Brevo's *inbound* webhook to Anymail's "
                f"{self.esp_name} *tracking* webhook URL.",
                docs="esps/brevo#brevo-inbound",
            )
        return esp_events

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event."""
        event_type, reject_reason = EVENT_TYPES.get(
            as_word(esp_event.get("event")), (EventType.UNKNOWN, None)
        )
        tags = esp_event["tags"] if "tags" in esp_event else esp_event.get("tag")
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=_timestamp(esp_event),
            # "id" is the webhook's.
            esp_event=esp_event,
            message_id=as_str(esp_event.get("message-id")),
            recipient=as_addr_spec(esp_event.get("email")),
            reject_reason=reject_reason,
            mta_response=as_str(esp_event.get("reason")),
            tags=as_tags(tags),
            metadata=_parse_metadata(esp_event.get("X-Mailin-custom")),
            click_url=as_str(esp_event.get("link")),
        )


def _timestamp(esp_event: dict[str, Any]) -> datetime | None:
    """Return the time of an event. (Its "date" is in the time zone of the account.)

    Whether these are seconds or milliseconds is not as documented in some events.
    """
    times = (as_unix_time(esp_event.get(name)) for name in TIMESTAMPS)
    return next((time for time in times if time is not None), None)


def _parse_metadata(custom: Any) -> dict[str, Any]:
    """Return the metadata in an X-Mailin-custom header, which can also be another system's."""
    return as_metadata(json_or_none(custom))


class BrevoInboundWebhookView(BrevoBaseWebhookView):
    """Brevo's webhook for received messages. It fetches the attachments from Brevo's API.

    Raises AnymailConfigurationError if there is no API key.
    """

    signal = inbound

    api_key: str = setting(
        "Attachments are fetched with it.",
        required=True,
        kind=credential,
        bare=True,
    )
    api_url: str = setting(
        "Attachments of inbound messages come from there, too.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="brevo/v3/",
    )

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        calls = self.json_objects(request)
        if not all("items" in call for call in calls):
            raise AnymailConfigurationError(
                "You seem to have set Brevo's *tracking* webhook to Anymail's "
                f"{self.esp_name} *inbound* webhook URL.",
                docs="esps/brevo#brevo-tracking",
            )
        items = [call["items"] for call in calls]
        if not all(
            isinstance(group, list) and all(isinstance(item, dict) for item in group)
            for group in items
        ):
            raise AnymailWebhookValidationFailure(
                f"Unexpected items in {self.esp_name} webhook: not a list of objects"
            )
        return [item for group in items for item in group]

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        """Return the normalized event.

        Raises AnymailAPIError if an attachment can't be downloaded.
        """
        downloads = Downloads(self.esp_name, self.api_url)
        headers = _parse_headers(esp_event)
        message = AnymailInboundMessage.construct(
            headers=headers,
            text=as_text(esp_event.get("RawTextBody")),
            html=as_text(esp_event.get("RawHtmlBody")),
            attachments=[
                self._download_attachment(downloads, attachment)
                for attachment in get_list(esp_event, "Attachments")
            ],
        )
        message.envelope_sender = _envelope_address(headers, "return-path")
        message.envelope_recipient = _envelope_address(headers, "delivered-to")
        message.stripped_text = as_text(esp_event.get("ExtractedMarkdownMessage"))
        message.spam_score = as_float(esp_event.get("SpamScore"))
        uuids = get_list(esp_event, "Uuid")
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            event_id=as_str(uuids[0]) if uuids else None,
            esp_event=esp_event,
            message=message,
        )

    def _download_attachment(self, downloads: Downloads, attachment: Any) -> AnymailInboundMessage:
        token = as_word(get_path(attachment, "DownloadToken"))
        if not token.strip("."):  # in a URL, dots alone have a meaning of their own
            raise AnymailWebhookValidationFailure(
                f"Missing DownloadToken of an attachment in {self.esp_name} webhook"
            )
        content, content_type = downloads.get_content(
            urljoin(self.api_url, f"inbound/attachments/{quote(token, safe='', errors='replace')}"),
            headers={"api-key": self.api_key},
        )
        return AnymailInboundMessage.construct_attachment(
            # Only that of the download has the charset.
            content_type=content_type or as_str(attachment.get("ContentType")),
            content=content,
            filename=as_str(attachment.get("Name")),
            content_id=as_text(attachment.get("ContentID")),
            disposition="",
        )


def _parse_headers(esp_event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the well-formed ones of the Headers: {name: value}, or {name: [value, ...]}."""
    return [
        (name, unfold(value))
        for name, values in get_object(esp_event, "Headers").items()
        if name and not has_control_chars(name)
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, str)
    ]


def _envelope_address(headers: list[tuple[str, str]], wanted: str) -> str | None:
    """Return the address in the first header of that name (in lower case)."""
    value = next((value for name, value in headers if name.lower() == wanted), "")
    return as_addr_spec(value.strip().removeprefix("<").removesuffix(">"))
