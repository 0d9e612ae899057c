"""Postal webhooks.

- Tracking: https://docs.postalserver.io/developer/webhooks
- Inbound: https://docs.postalserver.io/developer/http-payloads
- Signatures: lib/postal/http.rb in https://github.com/postalserver/postal

Verifying signatures takes the cryptography package, which is imported only then.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from django.http import HttpRequest

from ..addresses import parse_single_address
from ..conf import setting
from ..exceptions import (
    AnymailConfigurationError,
    AnymailInvalidAddress,
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
    as_float,
    as_str,
    as_tags,
    as_unix_time,
    as_word,
    form_data,
    get_object,
    json_object,
    parse_base64_message,
)
from .keys import PublicKeys

SIGNATURE_HEADER = "X-Postal-Signature"  # SHA-1
SHA256_SIGNATURE_HEADER = "X-Postal-Signature-256"  # too, since version 3.2.0

_ID = re.compile("[0-9]{1,20}")

# Status of a delivery -> event type
STATUSES = {
    "Sent": EventType.DELIVERED,
    "SoftFail": EventType.DEFERRED,
    "HardFail": EventType.FAILED,
    "Held": EventType.QUEUED,
}


# -- Signatures -------------------------------------------------------------------------------


class PostalBaseWebhookView(AnymailBaseWebhookView):
    """Verifies Postal's signatures.

    The public key is in the setting POSTAL_WEBHOOK_KEY, which can be a list of several that are
    valid. Signatures with SHA-1 count only in calls without one with SHA-256, and not at all if the
    setting POSTAL_REQUIRE_SHA256 is true.

    Raises AnymailConfigurationError if a key is missing or something else,
    AnymailImproperlyInstalled if there is no cryptography package.
    """

    esp_name = "Postal"
    signature_keys: PublicKeys
    signature_option = "webhook_key"

    webhook_key: Any = setting(
        "The public key of the installation: in the output of ``postal "
        "default-dkim-record``, it is what follows ``p=``, up to the semicolon. It can "
        "be on one line or on several. While you change it, a list of the old and the "
        "new one.",
        required=True,
        bare=True,
    )
    require_sha256: bool = setting(
        "Whether to refuse calls that have only an SHA-1 signature. See "
        ":ref:`postal-tracking`. Set it to ``True`` if you have Postal 3.2.0 or newer.",
        default=False,
    )

    def load_signature_keys(self) -> PublicKeys:
        return PublicKeys(
            self.webhook_key,
            self.signature_setting,
            key_type="RSA",
            source="the output of `postal default-dkim-record` (what follows p=)",
            esp_name=self.esp_name,
            install_extra="postal",
        )

    def validate_request(self, request: HttpRequest) -> Any:
        # If it is there, it alone counts: what anybody can forge with SHA-1 must not.
        uses_sha256 = self.require_sha256 or SHA256_SIGNATURE_HEADER in request.headers
        header = SHA256_SIGNATURE_HEADER if uses_sha256 else SIGNATURE_HEADER
        signature = request.headers.get(header)
        if signature is None:
            raise AnymailWebhookValidationFailure(
                f"Postal webhook call without the {header} header"
            )
        digest: Literal["SHA1", "SHA256"] = "SHA256" if uses_sha256 else "SHA1"
        if not self.signature_keys.have_made(signature, request.body, digest):
            raise AnymailWebhookValidationFailure(
                "Postal webhook call with an invalid signature (check Anymail POSTAL_WEBHOOK_KEY)"
            )


# -- Tracking ---------------------------------------------------------------------------------


class PostalTrackingWebhookView(PostalBaseWebhookView):
    """Postal's webhook for events of sent messages."""

    signal = tracking

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        esp_event = json_object(request, self.esp_name)
        if "rcpt_to" in esp_event:
            raise AnymailConfigurationError(
                "You seem to have set Postal's *inbound* webhook (an HTTP endpoint) to Anymail's "
                "Postal *tracking* webhook URL.",
                docs="esps/postal#postal-inbound",
            )
        if not isinstance(esp_event.get("payload", {}), dict):
            raise AnymailWebhookValidationFailure(
                "Unexpected payload in Postal webhook: not a JSON object"
            )
        if _message(esp_event).get("direction") == "incoming":
            # About the delivery of a received message: to the inbound webhook, for example
            return []
        return [esp_event]

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event."""
        payload = get_object(esp_event, "payload")
        message = _message(esp_event)
        event_type = _event_type(esp_event, payload)
        # In whole seconds
        timestamp = math.trunc(as_float(esp_event.get("timestamp")) or 0)
        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_unix_time(timestamp or None),
            event_id=as_str(esp_event.get("uuid")),
            esp_event=esp_event,
            message_id=_as_int(message.get("id")),
            recipient=_only_addr_spec(message.get("to")),
            reject_reason=RejectReason.BOUNCED if event_type == EventType.BOUNCED else None,
            description=as_str(payload.get("details")),
            mta_response=as_str(payload.get("output")),
            tags=as_tags(message.get("tag")),
            click_url=as_str(payload.get("url")),
            user_agent=as_str(payload.get("user_agent")),
        )


def _as_int(value: Any) -> int | None:
    """Return the id of a message as in the API's answers."""
    text = as_str(value) or ""
    return int(text) if _ID.fullmatch(text) else None


def _message(esp_event: dict[str, Any]) -> dict[str, Any]:
    """Return the message that an event is about; {} for events about something else."""
    return get_object(esp_event, "payload", "message") or get_object(
        esp_event, "payload", "original_message"
    )


def _event_type(esp_event: dict[str, Any], payload: dict[str, Any]) -> str:
    """Return the type of an event. That depends on what there is in the payload."""
    if "status" in payload:
        return STATUSES.get(as_word(payload["status"]), EventType.UNKNOWN)
    if "bounce" in payload:
        return EventType.BOUNCED
    if "url" in payload:
        return EventType.CLICKED
    # For opens, nothing in it is particular.
    if esp_event.get("event") == "MessageLoaded":
        return EventType.OPENED
    return EventType.UNKNOWN


def _only_addr_spec(value: Any) -> str | None:
    """Return the addr-spec of a single address; None for anything else."""
    try:
        return parse_single_address(value).addr_spec if isinstance(value, str) else None
    except AnymailInvalidAddress:
        return None


# -- Inbound ----------------------------------------------------------------------------------


class PostalInboundWebhookView(PostalBaseWebhookView):
    """Where a Postal HTTP endpoint delivers received messages: as raw MIME, in JSON."""

    signal = inbound

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        # Postal returns a message to its sender if the answer is 400, but tries again after the
        # 500 of an AnymailConfigurationError.
        if "rcpt_to" in form_data(request, self.esp_name):
            raise AnymailConfigurationError(
                "Your Postal HTTP endpoint for Anymail's inbound webhook URL sends forms. Change "
                "its encoding to JSON.",
                docs="esps/postal#postal-inbound",
            )
        esp_event = json_object(request, self.esp_name)
        if not {"event", "payload", "status"}.isdisjoint(esp_event):
            raise AnymailConfigurationError(
                "You seem to have set Postal's *tracking* webhook to Anymail's Postal *inbound* "
                "webhook URL.",
                docs="esps/postal#postal-tracking",
            )
        if "message" not in esp_event and "plain_body" in esp_event:
            raise AnymailConfigurationError(
                "Your Postal HTTP endpoint for Anymail's inbound webhook URL sends processed "
                "messages. Change its format to raw messages.",
                docs="esps/postal#postal-inbound",
            )
        return [esp_event]

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        """Return the normalized event. Raises AnymailWebhookValidationFailure without a message."""
        raw_message = esp_event.get("message")
        if not isinstance(raw_message, str):
            raise AnymailWebhookValidationFailure("Missing message in Postal webhook")
        if esp_event.get("base64") is True:
            message = parse_base64_message(raw_message, "Postal message")
        else:
            message = AnymailInboundMessage.parse_raw_mime(raw_message)
        message.envelope_sender = as_addr_spec(esp_event.get("mail_from"))
        message.envelope_recipient = as_addr_spec(esp_event.get("rcpt_to"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            event_id=as_str(esp_event.get("id")),
            esp_event=esp_event,
            message=message,
        )
