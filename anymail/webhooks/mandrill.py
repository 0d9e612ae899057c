"""Mandrill webhooks (Mailchimp Transactional).

- Tracking: https://mailchimp.com/developer/transactional/docs/webhooks/
- Inbound: https://mailchimp.com/developer/transactional/guides/set-up-inbound-email-processing/
- Signatures: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/

Mandrill signs its calls: the URL, and the form fields that have the events.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from ..conf import credentials, setting
from ..exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from ..http import get_request_uri
from ..inbound import AnymailInboundMessage
from ..masking import MASK
from ..signals import (
    AnymailEvent,
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    inbound,
    tracking,
)
from .base import AnymailBaseWebhookView, AnymailCoreWebhookView
from .decoding import (
    as_addr_spec,
    as_float,
    as_metadata,
    as_str,
    as_tags,
    as_text,
    as_unix_time,
    as_word,
    get_object,
    get_path,
    is_list_of_objects,
)
from .forms import read_form
from .keys import SharedKeys
from .signatures import hmac_signature

# event, or for sync events type -> event type
EVENT_TYPES = {
    "send": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "deferral": EventType.DEFERRED,
    "hard_bounce": EventType.BOUNCED,
    "soft_bounce": EventType.BOUNCED,
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "spam": EventType.COMPLAINED,
    "unsub": EventType.UNSUBSCRIBED,
    "reject": EventType.REJECTED,
    "inbound": EventType.INBOUND,
    # Changes of Mandrill's lists
    "whitelist": EventType.UNKNOWN,
    "blacklist": EventType.UNKNOWN,
}


EVENTS = "mandrill_events"
"""The field of the form that has them."""


class MandrillSignatureMixin(AnymailCoreWebhookView):
    """Checks Mandrill's signatures. To be named before AnymailBaseWebhookView among the bases."""

    signature_keys: SharedKeys
    signature_option = "webhook_key"

    webhook_key: Any = setting(
        "The key that Mandrill signs its calls with. See :ref:`mandrill-tracking`. Each "
        "webhook and inbound route has its own: with several of them, and while you "
        "change a key, list them all.",
        required="later",
        default=None,
        kind=credentials,
        bare=True,
    )
    webhook_url: str | None = setting(
        "The webhook's URL, exactly as you have entered it in Mandrill, with "
        "``USER:PASSWORD`` if that is part of it. It is signed as well.",
        default=None,
        default_text="the URL of the request as Django sees it",
        bare=True,
    )

    def load_signature_keys(self) -> SharedKeys:
        # There can be none yet: Mandrill gives out the key only after it has probed the URL.
        return SharedKeys.of_ascii(self.webhook_key or [], self.signature_setting, required=False)

    def validate_request(self, request: HttpRequest) -> Any:
        if not self.signature_keys:
            raise AnymailConfigurationError(
                "You must set ANYMAIL['MANDRILL_WEBHOOK_KEY'] in your Django settings to use "
                "Mandrill webhooks.",
                docs="settings#setting-MANDRILL_WEBHOOK_KEY",
            )
        received = request.headers.get("X-Mandrill-Signature")
        if received is None:
            raise AnymailWebhookValidationFailure(
                "Missing X-Mandrill-Signature header in Mandrill webhook"
            )
        url = self.webhook_url or get_request_uri(request)
        form = read_form(request, self.esp_name)

        def sign(key: bytes) -> bytes:
            signature = hmac_signature(key, url, "sha1")
            for name in sorted(form):
                signature.update(name.encode())
                for piece in form.text_pieces(name):
                    signature.update(piece.encode())
            return base64.b64encode(signature.digest())

        if not self.signature_keys.have_made([received], sign):
            raise AnymailWebhookValidationFailure(
                f"Invalid signature in Mandrill webhook, for the URL {_without_credentials(url)} "
                "(Check your MANDRILL_WEBHOOK_KEY setting; and if this is not the URL that you "
                "have entered in Mandrill, set MANDRILL_WEBHOOK_URL.)"
            )


def _without_credentials(url: str) -> str:
    """Return the URL with its user and password masked. Neither is necessarily quoted."""
    start, end = url.find("//") + 2, url.rfind("@")
    return f"{url[:start]}{MASK}{url[end:]}" if 2 <= start <= end else url


class MandrillCombinedWebhookView(MandrillSignatureMixin, AnymailBaseWebhookView):
    """Mandrill's webhooks, for both events of sent messages and received ones.

    The ``signal`` of an instance is that for the events in its call.
    """

    esp_name = "Mandrill"
    signal = tracking

    def is_about_webhook(self, request: HttpRequest) -> bool:
        # That's how Mandrill tries the URL.
        return read_form(request, self.esp_name).get(EVENTS) == b"[]"

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        form = read_form(request, self.esp_name)
        if EVENTS not in form:
            raise AnymailWebhookValidationFailure("Missing mandrill_events in Mandrill webhook")
        esp_events = form.parse_json(EVENTS, "mandrill_events of Mandrill webhook")
        if not is_list_of_objects(esp_events):
            raise AnymailWebhookValidationFailure(
                "Unexpected data in Mandrill webhook: not a JSON array of objects"
            )
        return esp_events

    def parse_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        events = super().parse_events(request)
        is_inbound = [isinstance(event, AnymailInboundEvent) for event in events]
        if any(is_inbound):
            if not all(is_inbound):
                raise AnymailWebhookValidationFailure(
                    "Unexpected data in Mandrill webhook: both inbound and tracking events"
                )
            self.signal = inbound
        return events

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailEvent:
        """Return the normalized event. Raises AnymailWebhookValidationFailure if it is none."""
        name = as_word(esp_event.get("event")) or as_word(esp_event.get("type"))
        event_type = EVENT_TYPES.get(name, EventType.UNKNOWN)
        if event_type == EventType.INBOUND:
            return self.esp_to_anymail_inbound_event(esp_event)
        return self.esp_to_anymail_tracking_event(esp_event, event_type)

    def esp_to_anymail_tracking_event(
        self, esp_event: dict[str, Any], event_type: str
    ) -> AnymailTrackingEvent:
        """Return the normalized event of a sent message, or of a list."""
        message = get_object(esp_event, "msg")
        reject = get_object(esp_event, "reject")
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_unix_time(esp_event.get("ts")),
            esp_event=esp_event,
            message_id=as_text(esp_event.get("_id")) or as_text(message.get("_id")),
            recipient=as_addr_spec(message.get("email") or reject.get("email")),
            description=as_text(reject.get("detail", reject.get("reason")))
            or as_text(message.get("bounce_description")),
            mta_response=as_str(message.get("diag")),
            tags=as_tags(message.get("tags")),
            metadata=as_metadata(message.get("metadata")),
            click_url=as_str(esp_event.get("url")),
            user_agent=as_str(esp_event.get("user_agent")),
        )

    def esp_to_anymail_inbound_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        """Return the normalized event of a received message.

        Raises AnymailWebhookValidationFailure if the message is missing.
        """
        raw_message = get_path(esp_event, "msg", "raw_msg")
        if not isinstance(raw_message, str):
            raise AnymailWebhookValidationFailure("Missing raw_msg in Mandrill inbound webhook")
        message = AnymailInboundMessage.parse_raw_mime(raw_message)
        # Mandrill has the sender of outbound messages only.
        message.envelope_recipient = as_addr_spec(get_path(esp_event, "msg", "email"))
        message.spam_score = as_float(get_path(esp_event, "msg", "spam_report", "score"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            timestamp=as_unix_time(esp_event.get("ts")),
            esp_event=esp_event,
            message=message,
        )


MandrillTrackingWebhookView = MandrillCombinedWebhookView
"""The name from before inbound messages came to the same URL."""
