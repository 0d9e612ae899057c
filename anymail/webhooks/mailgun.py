"""Mailgun webhooks.

- Tracking: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
- Signatures: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
- Inbound: https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http

Mailgun signs its calls: the timestamp and the token in them, though not the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, QueryDict

from ..addresses import parse_single_address
from ..conf import credentials, setting
from ..exceptions import (
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailWebhookValidationFailure,
)
from ..headers import angle_wrap, unfold
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
    form_data,
    get_object,
    get_path,
    json_object,
    parse_json,
)
from .forms import Form, InboundFormView, read_form
from .keys import SharedKeys
from .signatures import hmac_signature

# event-data.event -> event type
EVENT_TYPES = {
    "accepted": EventType.QUEUED,
    "rejected": EventType.REJECTED,
    "delivered": EventType.DELIVERED,
    "failed": EventType.BOUNCED,  # DEFERRED if the severity is temporary
    "opened": EventType.OPENED,
    "clicked": EventType.CLICKED,
    "unsubscribed": EventType.UNSUBSCRIBED,
    "complained": EventType.COMPLAINED,
}

# event-data.reason -> reject reason; all others are OTHER
REJECT_REASONS = {
    "bounce": RejectReason.BOUNCED,
    "suppress-bounce": RejectReason.BOUNCED,
    "suppress-complaint": RejectReason.SPAM,
    "suppress-unsubscribe": RejectReason.UNSUBSCRIBED,
    "blacklisted": RejectReason.BLOCKED,
    "espblock": RejectReason.BLOCKED,
    "old": RejectReason.TIMED_OUT,
    "generic": RejectReason.OTHER,
}

# The legacy webhooks' "event" -> event type
LEGACY_EVENT_TYPES = {
    "delivered": EventType.DELIVERED,
    "dropped": EventType.REJECTED,
    "bounced": EventType.BOUNCED,
    "complained": EventType.COMPLAINED,
    "unsubscribed": EventType.UNSUBSCRIBED,
    "opened": EventType.OPENED,
    "clicked": EventType.CLICKED,
}

# The legacy webhooks' "code" -> reject reason: an SMTP status, or one of Mailgun's own codes
LEGACY_REJECT_REASONS = {
    499: RejectReason.TIMED_OUT,
    605: RejectReason.BOUNCED,
    607: RejectReason.SPAM,
    **dict.fromkeys((code for code in range(400, 600) if code != 499), RejectReason.BOUNCED),
}

# The legacy webhooks' form fields, which don't say which of them are user variables
LEGACY_FIELDS = {
    "event",
    "recipient",
    "domain",
    "ip",
    "country",
    "region",
    "city",
    "user-agent",
    "device-type",
    "client-type",
    "client-name",
    "client-os",
    "campaign-id",
    "campaign-name",
    "tag",
    "mailing-list",
    "timestamp",
    "token",
    "signature",
    "body-plain",
    "h",
    "message-id",
}

_HEADER_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322, section 2.2
_SIGNATURE_FIELDS = ("timestamp", "token", "signature", "parent-signature")
_ATTACHMENT_FIELD = re.compile(r"attachment-[0-9]+")


class MailgunBaseWebhookView(AnymailBaseWebhookView):
    """Verifies Mailgun's signatures.

    The key is in the setting MAILGUN_WEBHOOK_SIGNING_KEY, which can be a list of several that are
    valid; without that, MAILGUN_API_KEY. Raises AnymailConfigurationError if there is neither.

    Calls for a subaccount are also accepted by the key of the primary account.
    """

    esp_name = "Mailgun"
    signature_keys: SharedKeys
    signature_option = "webhook_signing_key"

    webhook_signing_key: Any = setting(
        "The account's *HTTP webhook signing key*, from Mailgun's dashboard. This is not "
        "an API key. Without it, Anymail checks signatures with "
        ":setting:`MAILGUN_API_KEY`. It can be a list of keys that are all valid, while "
        "you change it. For the webhooks of a subaccount, the key of the primary account "
        "does as well.",
        required="later",
        default=None,
        default_text="the value of :setting:`MAILGUN_API_KEY`",
        kind=credentials,
    )
    api_key: Any = setting(
        "Without :setting:`MAILGUN_WEBHOOK_SIGNING_KEY`, it verifies webhooks' signatures.",
        default=None,
        kind=credentials,
        bare=True,
    )

    def load_signature_keys(self) -> SharedKeys:
        if self.webhook_signing_key:
            return SharedKeys.of_ascii(self.webhook_signing_key, "MAILGUN_WEBHOOK_SIGNING_KEY")
        if self.api_key:
            return SharedKeys.of_ascii(self.api_key, "MAILGUN_API_KEY")
        raise AnymailConfigurationError(
            "You must set ANYMAIL['MAILGUN_WEBHOOK_SIGNING_KEY'] in your Django settings to "
            "use Mailgun webhooks.",
            docs="settings#setting-MAILGUN_WEBHOOK_SIGNING_KEY",
        )

    def validate_request(self, request: HttpRequest) -> Any:
        signature: Mapping[str, Any]
        if _is_json(request):
            signature = get_object(json_object(request, self.esp_name), "signature")
        else:
            form = read_form(request, self.esp_name)
            signature = {name: form.text(name) for name in _SIGNATURE_FIELDS}
        timestamp = as_str(signature.get("timestamp"))
        token = as_str(signature.get("token"))
        received = as_str(signature.get("signature"))
        if timestamp is None or token is None or received is None:
            raise AnymailWebhookValidationFailure("Missing signature in Mailgun webhook")
        # Calls for a subaccount have the signature of the primary account, too.
        parent = as_str(signature.get("parent-signature")) or ""
        if not self.signature_keys.have_made(
            (received, parent), lambda key: hmac_signature(key, timestamp + token).hexdigest()
        ):
            raise AnymailWebhookValidationFailure(
                "Invalid signature in Mailgun webhook. "
                "(Check your MAILGUN_WEBHOOK_SIGNING_KEY setting.)"
            )
        # Between timestamp and token, digits could be moved without invalidating the signature.
        self.check_freshness(as_unix_time(timestamp) if timestamp.isdecimal() else None)


class MailgunTrackingWebhookView(MailgunBaseWebhookView):
    """Mailgun's webhooks for events of sent messages, the legacy ones included."""

    signal = tracking

    def decode(self, request: HttpRequest) -> list[dict[str, Any] | QueryDict]:
        if _is_json(request):
            return [json_object(request, self.esp_name)]
        return [form_data(request, self.esp_name)]

    def convert(self, data: dict[str, Any] | QueryDict) -> list[AnymailTrackingEvent]:
        if isinstance(data, QueryDict):
            return [self.legacy_to_anymail_event(data)]
        return [self.esp_to_anymail_event(data)]

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event. Raises AnymailWebhookValidationFailure if it is none."""
        event_data = get_object(esp_event, "event-data")
        event = event_data.get("event")
        if not isinstance(event, str):
            raise AnymailWebhookValidationFailure("Missing event in Mailgun webhook")
        event_type = EVENT_TYPES.get(event, EventType.UNKNOWN)
        if event_data.get("severity") == "temporary":
            event_type = EventType.DEFERRED

        recipient = as_addr_spec(event_data.get("recipient"))
        description = as_str(get_path(event_data, "delivery-status", "description"))
        reject_reason = None
        if (reason := event_data.get("reason")) is not None:
            reject_reason = REJECT_REASONS.get(as_word(reason), RejectReason.OTHER)
        if event_type == EventType.REJECTED:
            # These have another format.
            recipient = recipient or _only_addr_spec(
                get_path(event_data, "message", "headers", "to")
            )
            description = description or as_str(get_path(event_data, "reject", "reason"))
            reject_reason = reject_reason or RejectReason.OTHER

        return AnymailTrackingEvent(
            event_type=event_type,
            timestamp=as_unix_time(event_data.get("timestamp")),
            # Mailgun's own id, event-data.id, is unique only within a day.
            event_id=as_str(get_path(esp_event, "signature", "token")),
            esp_event=esp_event,
            message_id=_message_id(get_path(event_data, "message", "headers", "message-id")),
            recipient=recipient,
            reject_reason=reject_reason,
            description=description,
            mta_response=as_str(get_path(event_data, "delivery-status", "message")),
            tags=as_tags(event_data.get("tags")),
            metadata=as_metadata(event_data.get("user-variables")),
            click_url=as_str(event_data.get("url")),
            user_agent=as_str(get_path(event_data, "client-info", "user-agent")),
        )

    def legacy_to_anymail_event(self, esp_event: QueryDict) -> AnymailTrackingEvent:
        """Return the normalized event from a legacy webhook's form.

        Raises AnymailConfigurationError for an inbound message, AnymailWebhookValidationFailure
        if it is no event either.
        """
        # User variables are form fields too. In signed fields and the timestamp, Mailgun's own
        # value comes last; in all others, first.
        event = _first(esp_event, "event")
        if event == "inbound" or (event is None and "sender" in esp_event):
            raise AnymailConfigurationError(
                "You seem to have set a Mailgun *inbound* route to Anymail's Mailgun *tracking* "
                "webhook URL.",
                docs="esps/mailgun#mailgun-inbound",
            )
        if event is None:
            raise AnymailWebhookValidationFailure("Missing event in Mailgun webhook")
        return AnymailTrackingEvent(
            event_type=LEGACY_EVENT_TYPES.get(event, EventType.UNKNOWN),
            timestamp=as_unix_time(esp_event.get("timestamp")),
            event_id=esp_event.get("token"),
            esp_event=esp_event,
            message_id=_message_id(_first(esp_event, "Message-Id", "message-id")),
            recipient=as_addr_spec(_first(esp_event, "recipient")),
            reject_reason=_legacy_reject_reason(_first(esp_event, "code")),
            description=_first(esp_event, "description"),
            mta_response=_first(esp_event, "error", "notification"),
            tags=as_tags(esp_event.getlist("tag") or esp_event.getlist("X-Mailgun-Tag")),
            metadata=_legacy_metadata(esp_event, event),
            click_url=_first(esp_event, "url"),
            user_agent=_first(esp_event, "user-agent"),
        )


class MailgunInboundWebhookView(InboundFormView, MailgunBaseWebhookView):
    """Where Mailgun routes forward received messages: parsed into fields, or as raw MIME."""

    signal = inbound

    def decode(self, request: HttpRequest) -> list[Form]:
        if _is_json(request):
            event = get_path(json_object(request, self.esp_name), "event-data", "event")
            self._refuse_tracking(as_word(event))
        form = Form.read(request, self.esp_name, _ATTACHMENT_FIELD)
        event = form.text("event")
        if event not in (None, "inbound"):
            self._refuse_tracking(event)
        if "attachments" in form.fields:
            raise AnymailConfigurationError(
                "You seem to have used Mailgun's store() action for a route to Anymail's Mailgun "
                "inbound webhook URL. Use forward() instead.",
                docs="esps/mailgun#mailgun-inbound",
            )
        return [form]

    def _refuse_tracking(self, event: str) -> None:
        raise AnymailConfigurationError(
            f"You seem to have set Mailgun's *{event} tracking* webhook to Anymail's Mailgun "
            "*inbound* webhook URL.",
            docs="esps/mailgun#mailgun-tracking",
        )

    def convert(self, form: Form) -> list[AnymailInboundEvent]:
        if form.fields.is_given("body-mime"):
            message = form.fields.parse_message("body-mime")
        else:
            message = AnymailInboundMessage.construct(
                raw_headers=_raw_headers(form),
                text=as_text(form.text("body-plain")),
                html=as_text(form.text("body-html")),
                attachments=_attachments(form),
            )
        message.envelope_sender = as_addr_spec(form.text("sender"))
        message.envelope_recipient = as_addr_spec(form.text("recipient"))
        message.stripped_text = as_text(form.text("stripped-text"))
        message.stripped_html = as_text(form.text("stripped-html"))
        message.spam_detected, message.spam_score = _spam_verdict(message)
        return [
            AnymailInboundEvent(
                event_type=EventType.INBOUND,
                timestamp=as_unix_time(form.text("timestamp")),
                event_id=form.text("token"),
                esp_event=form,
                message=message,
            )
        ]


def _is_json(request: HttpRequest) -> bool:
    """Tell whether a call is in the current format of the tracking webhooks."""
    return request.content_type == "application/json"


def _message_id(value: Any) -> str | None:
    """Return a message id as Mailgun's send API gives it: in angle brackets."""
    return angle_wrap(as_str(value) or "") or None


def _only_addr_spec(header: Any) -> str | None:
    """Return the addr-spec in a To header, if it has just one."""
    try:
        return parse_single_address(header).addr_spec if isinstance(header, str) else None
    except AnymailInvalidAddress:
        return None


# -- Legacy forms -----------------------------------------------------------------------------


def _first(form: QueryDict, *fields: str) -> str | None:
    """Return the first value of the first of the fields that is there."""
    return next((form.getlist(field)[0] for field in fields if field in form), None)


def _legacy_reject_reason(code: str | None) -> str | None:
    if code is None:
        return None
    try:
        return LEGACY_REJECT_REASONS.get(int(code), RejectReason.OTHER)
    except ValueError:
        # An enhanced status code such as 5.1.1 (RFC 3463)
        is_bounce = code.partition(".")[0] in ("4", "5")
        return RejectReason.BOUNCED if is_bounce else RejectReason.OTHER


def _legacy_metadata(form: QueryDict, event: str) -> dict[str, Any]:
    """Return the user variables, which are in the message's headers or among the form fields."""
    message_headers = form.get("message-headers")
    if message_headers is not None:
        metadata: dict[str, Any] = {}
        for name, value in _header_pairs(message_headers):
            if name == "X-Mailgun-Variables":
                variables = parse_json(value, name) if isinstance(value, str) else value
                metadata.update(as_metadata(variables))
        return metadata
    if event not in ("clicked", "opened", "unsubscribed"):
        return {}

    metadata = {}
    mailgun_fields = LEGACY_FIELDS | {"url"} if event == "clicked" else LEGACY_FIELDS
    for field, values in form.lists():
        if field not in mailgun_fields:
            metadata[field] = values[-1]
        elif len(values) > 1 and field != "tag":
            # One of them is Mailgun's own.
            is_ours_first = field in ("signature", "timestamp", "token")
            metadata[field] = values[0 if is_ours_first else -1]
    return metadata


# -- Inbound ----------------------------------------------------------------------------------


def _header_pairs(message_headers: str) -> list[list[Any]]:
    """Return the [name, value] pairs in a "message-headers" field."""
    pairs = parse_json(message_headers, "message-headers in Mailgun webhook")
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        raise AnymailWebhookValidationFailure(
            "Unexpected message-headers in Mailgun webhook: not a list of [name, value]"
        )
    return pairs


def _raw_headers(form: Form) -> str:
    """Return the message's headers as they would be in MIME, without the malformed ones."""
    message_headers = form.text("message-headers")
    if message_headers is None:
        raise AnymailWebhookValidationFailure(
            "Missing message-headers or body-mime in Mailgun webhook"
        )
    return "".join(
        f"{name}: {unfold(text)}\n"
        for name, value in _header_pairs(message_headers)
        if _HEADER_NAME.fullmatch(as_word(name)) and (text := as_str(value)) is not None
    )


def _attachments(form: Form) -> list[AnymailInboundMessage]:
    """Return the uploaded files attachment-1, attachment-2 and so on, those that are there."""
    content_ids = _content_ids(form.text("content-id-map"))
    return [
        AnymailInboundMessage.construct_attachment(
            content_type=upload.content_type,
            content=upload.content,
            charset=upload.charset,
            filename=upload.filename,
            content_id=content_ids.get(upload.field),
            # The map has all Content-IDs; and "" for inline files without one.
            disposition="inline" if content_ids.get(upload.field) == "" else "",
        )
        for upload in form.uploads
    ]


def _content_ids(content_id_map: str | None) -> dict[str, str]:
    """Return {field: Content-ID} from a "content-id-map" field.

    That is a JSON object {Content-ID: field} in which several files can have the same Content-ID.
    """
    if not content_id_map:
        return {}
    pairs = parse_json(content_id_map, "content-id-map in Mailgun webhook", object_pairs_hook=tuple)
    if not isinstance(pairs, tuple):
        raise AnymailWebhookValidationFailure(
            "Unexpected content-id-map in Mailgun webhook: not a JSON object"
        )
    return {field: content_id for content_id, field in pairs if isinstance(field, str)}


def _spam_verdict(message: AnymailInboundMessage) -> tuple[bool, float | None]:
    """Return whether Mailgun found the message to be spam, and its score.

    Senders can add such headers too, so the worst verdict counts.
    """
    flags = (str(flag).strip().lower() for flag in message.get_all("X-Mailgun-Sflag", []))
    scores = map(as_float, message.get_all("X-Mailgun-Sscore", []))
    return "yes" in flags, max((score for score in scores if score is not None), default=None)
