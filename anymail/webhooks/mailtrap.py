"""Mailtrap webhooks.

- Tracking: https://docs.mailtrap.io/email-api-smtp/webhooks
- Inbound: https://docs.mailtrap.io/inbound-email/webhooks
- Inbound API: https://github.com/mailtrap/mailtrap-openapi

Mailtrap signs its calls, each webhook with a secret of its own.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote, urljoin

import requests  # noqa: F401 (where projects' tests replace it)
from django.http import HttpRequest

from ..conf import base_url, credential, credentials, setting
from ..exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailWebhookValidationFailure,
)
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
    as_metadata,
    as_str,
    as_tags,
    as_text,
    as_unix_time,
    as_word,
    json_object,
    parse_json,
)
from .downloads import (
    DEFAULT_DOWNLOAD_HOSTS,  # noqa: F401 (others may import it from here)
    Downloads,
    DownloadSettings,
)
from .keys import SharedKeys
from .signatures import hmac_signature

logger = logging.getLogger("anymail.webhooks")

DEFAULT_INBOUND_API_URL = "https://mailtrap.io/api/"

SIGNATURE_HEADER = "Mailtrap-Signature"

# event -> event type, reject reason
EVENT_TYPES: dict[str, tuple[str, str | None]] = {
    "delivery": (EventType.DELIVERED, None),
    "open": (EventType.OPENED, None),
    "click": (EventType.CLICKED, None),
    "bounce": (EventType.BOUNCED, RejectReason.BOUNCED),
    "soft bounce": (EventType.DEFERRED, RejectReason.OTHER),
    "spam": (EventType.COMPLAINED, RejectReason.SPAM),
    "unsubscribe": (EventType.UNSUBSCRIBED, RejectReason.UNSUBSCRIBED),
    "reject": (EventType.REJECTED, RejectReason.BLOCKED),
    "suspension": (EventType.DEFERRED, RejectReason.OTHER),
    "blocked": (EventType.UNKNOWN, RejectReason.BLOCKED),  # not documented
}

# The second one is in the dashboard's sample payloads.
RECEIVED = {"inbound.message_received", "inbound_message_received"}

SAMPLE_INBOX_ID = 1
"""In the calls made by the button that tests a webhook. They are about a made-up message."""


class MailtrapWebhookView(AnymailBaseWebhookView):
    """Verifies Mailtrap's signatures, if there is a secret, and decodes the calls."""

    esp_name = "Mailtrap"

    signature_keys: SharedKeys | None

    def load_signature_keys(self) -> SharedKeys | None:
        secrets = getattr(self, self.signature_option)
        return None if secrets is None else SharedKeys(secrets, self.signature_setting)

    def validate_request(self, request: HttpRequest) -> Any:
        """https://docs.mailtrap.io/email-api-smtp/webhooks#webhook-signature-verification."""
        if self.signature_keys is None:
            return
        setting = self.signature_setting
        if not self.signature_keys:
            # Anyone could sign with an empty key.
            raise AnymailWebhookValidationFailure(
                f"Can't verify the signature of a Mailtrap webhook call: {setting} is empty"
            )
        received = request.headers.get(SIGNATURE_HEADER)
        if received is None:
            raise AnymailWebhookValidationFailure(
                f"Mailtrap webhook call without the {SIGNATURE_HEADER} header"
            )
        if not self.signature_keys.have_made(
            [received], lambda secret: hmac_signature(secret, request.body).hexdigest()
        ):
            raise AnymailWebhookValidationFailure(
                f"Mailtrap webhook call with an invalid signature (check Anymail {setting})"
            )

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return the events in a call, as Mailtrap has them.

        They are in one JSON object, or each is on a line of its own ("JSON Lines"): that is an
        option of the webhook. Raises AnymailWebhookValidationFailure.
        """
        events = self._read_events(request)
        if not isinstance(events, list):
            raise AnymailWebhookValidationFailure(
                "Unexpected events in Mailtrap webhook: not a JSON array"
            )
        if not all(event is None or isinstance(event, dict) for event in events):
            raise AnymailWebhookValidationFailure(
                "Unexpected event in Mailtrap webhook: not a JSON object"
            )
        return [event for event in events if event is not None]

    def _read_events(self, request: HttpRequest) -> Any:
        try:
            data = json_object(request, self.esp_name)
        except AnymailWebhookValidationFailure:
            lines = [line for line in request.body.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            return [parse_json(line, "Mailtrap webhook") for line in lines]
        if "event" in data and "events" not in data:
            return [data]  # a single line
        events = data.get("events")
        return [] if events is None else events


class MailtrapTrackingWebhookView(MailtrapWebhookView):
    """Mailtrap's webhook for events of sent messages.

    The setting MAILTRAP_TRACKING_SECRET has the webhook's secret.
    """

    signal = tracking
    signature_option = "tracking_secret"

    tracking_secret: Any = setting(
        "The *signing secret* of your webhook for sent messages. See "
        ":ref:`mailtrap-tracking`. It can be a list of several that are all valid. "
        "That's how to reset a secret, or to have several webhooks, without losing "
        "calls: Mailtrap itself stops using the old one at once.",
        default=None,
        default_text="signatures are not verified",
        kind=credentials,
    )

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event. Raises AnymailConfigurationError for an inbound message."""
        event = as_word(esp_event.get("event"))
        if event.startswith("inbound"):
            raise AnymailConfigurationError(
                "You seem to have set Mailtrap's *inbound* webhook to Anymail's Mailtrap "
                "*tracking* webhook URL.",
                docs="esps/mailtrap#mailtrap-inbound",
            )
        event_type, reject_reason = EVENT_TYPES.get(event, (EventType.UNKNOWN, None))
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_unix_time(esp_event.get("timestamp")),
            event_id=as_str(esp_event.get("event_id")),
            esp_event=esp_event,
            message_id=as_str(esp_event.get("message_id")),
            recipient=as_addr_spec(esp_event.get("email")),
            reject_reason=reject_reason,
            description=as_text(esp_event.get("reason")),
            mta_response=as_str(esp_event.get("response")),
            tags=as_tags(esp_event.get("category")),
            metadata=as_metadata(esp_event.get("custom_variables")),
            click_url=as_str(esp_event.get("url")),
            user_agent=as_str(esp_event.get("user_agent")),
        )


class MailtrapInboundWebhookView(DownloadSettings, MailtrapWebhookView):
    """Mailtrap's webhook for received messages. It fetches them from Mailtrap's API.

    Raises AnymailConfigurationError if there is no token.
    """

    signal = inbound
    signature_option = "inbound_secret"

    inbound_secret: Any = setting(
        "The *signing secret* of your webhook for received messages, or a list of "
        "several. See :ref:`mailtrap-inbound`.",
        default=None,
        default_text="signatures are not verified",
        kind=credentials,
    )
    api_token: str = setting(
        "For received messages also, with access to the inbox.",
        required=True,
        kind=credential,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API from which received messages are fetched. "
        "(:setting:`MAILTRAP_API_URL` is for sending only. In earlier releases of "
        "Anymail, it was also where received messages came from, although that's another "
        "host.)",
        name="inbound_api_url",
        default=DEFAULT_INBOUND_API_URL,
        kind=base_url,
        sandbox="mailtrap/api/",
    )

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        return [esp_event for esp_event in super().decode(request) if self.is_message(esp_event)]

    def is_message(self, esp_event: dict[str, Any]) -> bool:
        """Tell whether there is a message to fetch: not for the call that tests the webhook.

        Those that Anymail does not know are logged. Raises AnymailConfigurationError for tracking
        events.
        """
        event = esp_event.get("event")
        if not isinstance(event, str):
            raise AnymailWebhookValidationFailure("Missing event in Mailtrap webhook")
        if not event.startswith("inbound"):
            raise AnymailConfigurationError(
                f"You seem to have set Mailtrap's *tracking* webhook (event {event!r:.100}) to "
                "Anymail's Mailtrap *inbound* webhook URL.",
                docs="esps/mailtrap#mailtrap-tracking",
            )
        if event not in RECEIVED:
            # The call is in order, but it's not for this version of Anymail.
            logger.warning("Ignored a Mailtrap inbound event of an unknown type: %.100r", event)
            return False
        return esp_event.get("inbox_id") not in (None, SAMPLE_INBOX_ID)

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        """Return the normalized event, with the message that the webhook's event tells about.

        Raises AnymailAPIError if it can't be downloaded.
        """
        inbox_id, message_id = (
            as_str(esp_event.get("inbox_id")),
            as_str(esp_event.get("message_id")),
        )
        # In a URL, dots alone have a meaning of their own.
        if not (inbox_id and inbox_id.strip(".") and message_id and message_id.strip(".")):
            raise AnymailWebhookValidationFailure(
                "Missing or invalid inbox_id or message_id in Mailtrap webhook"
            )
        details, message = self.fetch_message(inbox_id, message_id)
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            # Documented in seconds, as in tracking events; calls have had milliseconds.
            timestamp=as_unix_time(esp_event.get("timestamp")),
            # Mailtrap's own event_id can be another one when it tries again.
            event_id=f"{inbox_id}/{message_id}",
            esp_event=details,
            message=message,
        )

    def fetch_message(
        self, inbox_id: str, message_id: str
    ) -> tuple[dict[str, Any], AnymailInboundMessage]:
        """Return what Mailtrap's API tells about a received message, and the message.

        Raises AnymailAPIError if it can't be downloaded.
        """
        downloads = Downloads(self.esp_name, self.api_url, hosts=self.download_hosts)
        inbox, message = (quote(item, safe="", errors="replace") for item in (inbox_id, message_id))
        details = downloads.get_json(
            urljoin(self.api_url, f"inbound/inboxes/{inbox}/messages/{message}"),
            headers={"Authorization": f"Bearer {self.api_token}"},
        )
        if not isinstance(details, dict) or not isinstance(details.get("raw_message_url"), str):
            raise AnymailAPIError(
                f"Invalid {self.esp_name} API response format: no raw_message_url of message "
                f"{message_id!r:.100} in inbox {inbox_id!r:.100}",
                esp_name=self.esp_name,
            )
        chunks = downloads.iter_content(
            details["raw_message_url"], chunk_size=self.download_chunk_size
        )
        return details, AnymailInboundMessage.parse_raw_mime_chunks(chunks)
