"""Unisender Go webhooks.

- https://godocs.unisender.ru/web-api-ref#callback-format
- International edition, with the same API: https://docs.unione.io/en/web-api-ref#callback-format

Unisender Go signs its calls with the API key. It does not receive mail.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django.http import HttpRequest, HttpResponse

from ..conf import credentials, setting
from ..exceptions import AnymailWebhookValidationFailure
from ..signals import AnymailTrackingEvent, EventType, RejectReason, tracking
from .base import AnymailBaseWebhookView
from .decoding import (
    as_addr_spec,
    as_iso_time,
    as_metadata,
    as_str,
    as_word,
    get_list,
    get_path,
    json_object,
)
from .keys import SharedKeys

# The event_name of what becomes an event; all others are ignored.
STATUS_EVENT = "transactional_email_status"

# status -> event type
EVENT_TYPES = {
    "sent": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "opened": EventType.OPENED,
    "clicked": EventType.CLICKED,
    "unsubscribed": EventType.UNSUBSCRIBED,
    "subscribed": EventType.SUBSCRIBED,
    "spam": EventType.COMPLAINED,
    "soft_bounced": EventType.DEFERRED,
    "hard_bounced": EventType.BOUNCED,
}

# delivery_status -> reject reason; all others that start with "err" are OTHER
REJECT_REASONS: dict[str, str | None] = {
    "err_user_unknown": RejectReason.BOUNCED,
    "err_user_inactive": RejectReason.BOUNCED,
    "err_will_retry": None,
    "err_mailbox_discarded": RejectReason.BOUNCED,
    "err_mailbox_full": RejectReason.BOUNCED,
    "err_spam_rejected": RejectReason.SPAM,
    "err_spam_removed": RejectReason.SPAM,
    "err_spam_skipped": RejectReason.SPAM,
    "err_blacklisted": RejectReason.BLOCKED,
    "err_too_large": RejectReason.BOUNCED,
    "err_unsubscribed": RejectReason.UNSUBSCRIBED,
    "err_unreachable": RejectReason.BOUNCED,
    "err_skip_letter": RejectReason.BOUNCED,
    "err_dest_invalid": RejectReason.INVALID,
    "err_domain_inactive": RejectReason.BOUNCED,
    "err_destination_misconfigured": RejectReason.BOUNCED,
    "err_delivery_failed": RejectReason.OTHER,
    "err_lost": RejectReason.OTHER,
}

_MD5 = re.compile(r"[0-9a-f]{32}")
_PROJECT_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class UnisenderGoTrackingWebhookView(AnymailBaseWebhookView):
    """Unisender Go's webhook for events of sent messages.

    The setting UNISENDER_GO_API_KEY has the key that verifies signatures, or a list of several that
    are valid. Raises AnymailConfigurationError if there is none.
    """

    esp_name = "Unisender Go"
    signal = tracking
    signature_option = "api_key"
    http_method_names = ["post", "head", "options", "get"]

    api_key: Any = setting(
        "It also verifies the webhook's signatures: it can be a list of several that are valid.",
        required=True,
        kind=credentials,
        bare=True,
    )
    signature_keys: SharedKeys

    def load_signature_keys(self) -> SharedKeys:
        return SharedKeys.of_ascii(self.api_key, self.signature_setting)

    @property
    def api_key_bytes(self) -> Any:
        """The first key. (As other packages know it.)"""
        return self.signature_keys.first

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer 200: that is how Unisender Go tries the URL before it uses it."""
        return HttpResponse()

    def validate_request(self, request: HttpRequest) -> Any:
        data = json_object(request, self.esp_name)
        if not self._is_signed(request.body, as_word(data.get("auth"))):
            project_id = _project_id(data)
            where = "" if project_id is None else f" setting is for Project ID {project_id}"
            raise AnymailWebhookValidationFailure(
                "Missing or invalid signature in Unisender Go webhook "
                f"(check Anymail UNISENDER_GO_API_KEY{where})"
            )

    def _is_signed(self, body: bytes, signature: str) -> bool:
        """Tell whether the signature is the MD5 of the body with the API key in its place."""

        def sign(key: bytes) -> str:
            text = body.replace(signature.encode(), key)
            return hashlib.md5(text, usedforsecurity=False).hexdigest()

        return bool(_MD5.fullmatch(signature)) and self.signature_keys.have_made([signature], sign)

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        return _status_events(json_object(request, self.esp_name))

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event."""
        metadata = as_metadata(esp_event.get("metadata"))
        anymail_id = as_str(metadata.pop("anymail_id", None))
        delivery_status = as_str(get_path(esp_event, "delivery_info", "delivery_status"))
        return AnymailTrackingEvent(
            event_type=EVENT_TYPES.get(as_word(esp_event.get("status")), EventType.UNKNOWN),
            # It has no offset, and is in UTC.
            timestamp=as_iso_time(esp_event.get("event_time")),
            esp_event=esp_event,
            message_id=anymail_id or as_str(esp_event.get("job_id")),
            recipient=as_addr_spec(esp_event.get("email")),
            reject_reason=_reject_reason(delivery_status or ""),
            # The comment is what the recipient has entered on the unsubscribe page.
            description=delivery_status or as_str(esp_event.get("comment")),
            mta_response=as_str(get_path(esp_event, "delivery_info", "destination_response")),
            metadata=metadata,
            click_url=as_str(esp_event.get("url")),
            user_agent=as_str(get_path(esp_event, "delivery_info", "user_agent")),
        )


def _project_id(data: dict[str, Any]) -> str | None:
    """Return the id of the project that a call is for, if it says so in a form fit for a log."""
    by_user = get_list(data, "events_by_user")
    ids = [get_path(by_user[0], "project_id") if by_user else None, data.get("project_id")]
    texts = [as_str(project_id) or "" for project_id in ids]
    return next((text for text in texts if _PROJECT_ID.fullmatch(text)), None)


def _status_events(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events about messages that are in a call.

    Unisender Go's option "use single event" decides on the format of calls.
    Raises AnymailWebhookValidationFailure if it is neither.
    """
    if "events_by_user" not in data:
        return [data] if data.get("event_name") == STATUS_EVENT else []
    by_user = get_list(data, "events_by_user")
    items = get_path(by_user[0], "events") if len(by_user) == 1 else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise AnymailWebhookValidationFailure(
            "Unexpected events_by_user in Unisender Go webhook: "
            "not a list with one object that has a list of events"
        )
    status_items = [item for item in items if item.get("event_name") == STATUS_EVENT]
    esp_events = [item.get("event_data") for item in status_items]
    if not all(isinstance(esp_event, dict) for esp_event in esp_events):
        raise AnymailWebhookValidationFailure(
            "Unexpected event_data in Unisender Go webhook: not an object"
        )
    return esp_events


def _reject_reason(delivery_status: str) -> str | None:
    is_error = delivery_status.startswith("err")
    return REJECT_REASONS.get(delivery_status, RejectReason.OTHER if is_error else None)
