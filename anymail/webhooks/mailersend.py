"""MailerSend webhooks.

- Tracking: https://developers.mailersend.com/api/v1/webhooks
- Inbound: https://developers.mailersend.com/api/v1/inbound

MailerSend signs its calls; the webhooks and the inbound routes have different secrets.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest

from ..conf import credentials, setting
from ..exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
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
    as_iso_time,
    as_str,
    as_tags,
    as_word,
    get_list,
    get_object,
    get_path,
    json_object,
)
from .keys import SharedKeys
from .signatures import hmac_signature, matches

# Name of the activity, without "activity." -> event type
EVENT_TYPES = {
    "sent": EventType.SENT,
    "delivered": EventType.DELIVERED,
    "deferred": EventType.DEFERRED,
    "soft_bounced": EventType.BOUNCED,
    "hard_bounced": EventType.BOUNCED,
    "opened": EventType.OPENED,
    "opened_unique": EventType.OPENED,  # for the first time
    "clicked": EventType.CLICKED,
    "clicked_unique": EventType.CLICKED,
    "unsubscribed": EventType.UNSUBSCRIBED,
    "spam_complaint": EventType.COMPLAINED,
}

# Version 1: data.morph.object -> reject reason
REJECT_REASONS = {
    "recipient_bounce": RejectReason.BOUNCED,
    "spam_complaint": RejectReason.SPAM,
    "recipient_unsubscribe": RejectReason.UNSUBSCRIBED,
}

# Version 2: event type -> reject reason
REJECT_REASONS_BY_EVENT_TYPE = {
    EventType.BOUNCED: RejectReason.BOUNCED,
    EventType.COMPLAINED: RejectReason.SPAM,
    EventType.UNSUBSCRIBED: RejectReason.UNSUBSCRIBED,
}

INBOUND_TYPE = "inbound.message"

# When a webhook is set up, MailerSend makes a call that must succeed. This is signed with a secret
# that is the same for everybody. (See "Validating webhook URLs" at the address above.)
TEST_TYPE = "webhook.test"
TEST_SECRET = b"test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"


class MailerSendBaseWebhookView(AnymailBaseWebhookView):
    """Verifies MailerSend's signatures.

    The setting with the view's secret can be a list of several that are valid. Raises
    AnymailConfigurationError if there is none.
    """

    esp_name = "MailerSend"
    signature_keys: SharedKeys

    signing_secret: Any

    def load_signature_keys(self) -> SharedKeys:
        keys = SharedKeys.of_ascii(getattr(self, self.signature_option), self.signature_setting)
        self.signing_secret = keys.first  # of both views, as other packages know it
        return keys

    def validate_request(self, request: HttpRequest) -> Any:
        received = request.headers.get("Signature")
        if received is None:
            raise AnymailWebhookValidationFailure("Missing Signature header in MailerSend webhook")
        if self.signature_keys.have_made([received], partial(_sign, request=request)):
            return
        if matches(received, _sign(TEST_SECRET, request)) and _is_test(
            json_object(request, self.esp_name)
        ):
            return
        raise AnymailWebhookValidationFailure(
            "Invalid signature in MailerSend webhook "
            f"(check Anymail {self.signature_setting} setting)"
        )

    def is_about_webhook(self, request: HttpRequest) -> bool:
        return _is_test(json_object(request, self.esp_name))

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        esp_event = json_object(request, self.esp_name)
        return [] if _is_test(esp_event) else [esp_event]


def _sign(secret: bytes, request: HttpRequest) -> str:
    return hmac_signature(secret, request.body).hexdigest()


def _is_test(esp_event: dict[str, Any]) -> bool:
    return esp_event.get("type") == TEST_TYPE


class MailerSendTrackingWebhookView(MailerSendBaseWebhookView):
    """MailerSend's webhooks for activities, in either version of their payload.

    The setting MAILERSEND_SIGNING_SECRET has the webhook's secret.
    """

    signal = tracking
    signature_option = "signing_secret"

    signing_secret: Any = setting(
        "The *signing secret* of the tracking webhook, or a list of several that are all "
        "valid, while you change it.",
        required=True,
        kind=credentials,
    )

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        if esp_event.get("type") == INBOUND_TYPE:
            raise AnymailConfigurationError(
                "You seem to have set the endpoint of MailerSend's *inbound* route to Anymail's "
                "MailerSend *activity tracking* webhook URL.",
                docs="esps/mailersend#mailersend-inbound",
            )
        data = get_object(esp_event, "data")
        if _is_version_2(data):
            return _from_version_2(esp_event, data)
        return _from_version_1(esp_event, data)


def _is_version_2(data: dict[str, Any]) -> bool:
    """Tell whether the fields are not grouped in objects."""
    return isinstance(data.get("email"), str) or not {
        "recipient",
        "message_id",
        "email_id",
        "meta",
    }.isdisjoint(data)


def _from_version_1(esp_event: dict[str, Any], data: dict[str, Any]) -> AnymailTrackingEvent:
    email = get_object(data, "email")
    # What the activity is about: a click, a bounce, ...
    morph = get_object(data, "morph")
    return AnymailTrackingEvent(
        event_type=EVENT_TYPES.get(as_word(data.get("type")), EventType.UNKNOWN),
        timestamp=as_iso_time(data.get("created_at")),
        event_id=as_str(data.get("id")),
        esp_event=esp_event,
        message_id=as_str(get_path(email, "message", "id")),
        recipient=as_addr_spec(get_path(email, "recipient", "email")),
        reject_reason=REJECT_REASONS.get(as_word(morph.get("object"))),
        description=as_str(morph.get("readable_reason") or morph.get("reason")),
        tags=as_tags(email.get("tags")),
        click_url=as_str(morph.get("url")),
    )


def _from_version_2(esp_event: dict[str, Any], data: dict[str, Any]) -> AnymailTrackingEvent:
    # data.type can be the status of the message, rather than what has happened.
    activity = as_word(esp_event.get("type")).removeprefix("activity.")
    event_type = EVENT_TYPES.get(activity, EventType.UNKNOWN)
    meta = get_object(data, "meta")
    return AnymailTrackingEvent(
        event_type=event_type,
        timestamp=as_iso_time(esp_event.get("created_at")),
        event_id=as_str(data.get("id")),
        esp_event=esp_event,
        message_id=as_str(data.get("message_id")),
        recipient=as_addr_spec(data.get("email")) or as_addr_spec(data.get("recipient")),
        reject_reason=REJECT_REASONS_BY_EVENT_TYPE.get(event_type),
        description=as_str(meta.get("bounce_reason") or meta.get("unsubscribe_reason")),
        tags=as_tags(data.get("tags")),
        click_url=as_str(meta.get("url")),
        user_agent=as_str(meta.get("user_agent")),
    )


class MailerSendInboundWebhookView(MailerSendBaseWebhookView):
    """Where MailerSend's inbound routes forward received messages.

    The setting MAILERSEND_INBOUND_SECRET has the route's secret.
    """

    signal = inbound
    signature_option = "inbound_secret"

    inbound_secret: Any = setting(
        "The *secret* of the inbound route, which is another one; or a list of several.",
        required=True,
        kind=credentials,
    )

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailInboundEvent:
        esp_type = esp_event.get("type")
        if esp_type != INBOUND_TYPE:
            raise AnymailConfigurationError(
                f"You seem to have set MailerSend's *{esp_type}* webhook to Anymail's MailerSend "
                "*inbound* route URL.",
                docs="esps/mailersend#mailersend-tracking",
            )
        data = get_object(esp_event, "data")
        # Its parsed fields have nothing more.
        message = AnymailInboundMessage.parse_raw_mime(as_str(data.get("raw")) or "")
        message.envelope_sender = as_addr_spec(get_path(data, "sender", "email"))
        recipients = get_list(data, "recipients", "rcptTo")
        if recipients:
            message.envelope_recipient = as_addr_spec(get_path(recipients[0], "email"))
        return AnymailInboundEvent(
            event_type=EventType.INBOUND,
            timestamp=as_iso_time(data.get("created_at")),
            event_id=as_str(data.get("id")),
            esp_event=esp_event,
            message=message,
        )
