"""SendGrid webhooks.

- Tracking: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
- Signatures: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
- Inbound: https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook

SendGrid can sign its calls. Verifying that takes the cryptography package, which is imported only
where a key is configured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, RawPostDataException

from ..charsets import decode_text
from ..conf import setting
from ..exceptions import (
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
    as_float,
    as_str,
    as_tags,
    as_text,
    as_unix_time,
    as_word,
    form_data,
    get_list,
    get_object,
    get_path,
    json_objects,
    json_or_none,
)
from .forms import URLENCODED, Form, InboundFormView, Upload
from .keys import PublicKeys

# event -> event type
EVENT_TYPES = {
    "processed": EventType.QUEUED,
    "dropped": EventType.REJECTED,
    "deferred": EventType.DEFERRED,
    "bounce": EventType.BOUNCED,
    "delivered": EventType.DELIVERED,
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "spamreport": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "group_unsubscribe": EventType.UNSUBSCRIBED,
    "group_resubscribe": EventType.SUBSCRIBED,
}

# type or reason of "dropped" events, in lower case -> reject reason; all others are OTHER
REJECT_REASONS = {
    "invalid": RejectReason.INVALID,
    "unsubscribed address": RejectReason.UNSUBSCRIBED,
    "bounce": RejectReason.BOUNCED,
    "bounced address": RejectReason.BOUNCED,
    "blocked": RejectReason.BLOCKED,
    "expired": RejectReason.TIMED_OUT,
    "spam content": RejectReason.SPAM,
    "spam reporting address": RejectReason.SPAM,
}

# SendGrid puts custom_args, which have the sender's metadata, among an event's own fields: these.
EVENT_FIELDS = {
    "anymail_id",
    "asm_group_id",
    "attempt",
    "bounce_classification",
    "category",
    "cert_err",
    "email",
    "event",
    "ip",
    "marketing_campaign_id",
    "marketing_campaign_name",
    "marketing_campaign_split_id",
    "marketing_campaign_version",
    "newsletter",
    "nlvx_campaign_id",
    "nlvx_campaign_split_id",
    "nlvx_user_id",
    "pool",
    "post_type",
    "reason",
    "response",
    "send_at",
    "sg_content_type",
    "sg_event_id",
    "sg_machine_open",
    "sg_message_id",
    "sg_template_id",
    "sg_template_name",
    "sg_user_id",
    "smtp-id",
    "status",
    "timestamp",
    "tls",
    "type",
    "tz",
    "url",
    "url_offset",
    "useragent",
}

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

MULTIPART = "multipart/form-data"
ATTACHMENT_FIELD = re.compile(r"attachment[0-9]+")


# -- Signatures -------------------------------------------------------------------------------


class SendGridSignatureMixin(AnymailBaseWebhookView):
    """Verifies SendGrid's signatures, if there is a key.

    The setting has the key as SendGrid shows it, or a list of several that are valid. Raises
    AnymailConfigurationError if it is something else, AnymailImproperlyInstalled if there is a key
    but no cryptography package.
    """

    esp_name = "SendGrid"
    signature_keys: PublicKeys | None

    def load_signature_keys(self) -> PublicKeys | None:
        keys = PublicKeys(
            getattr(self, self.signature_option),
            self.signature_setting,
            key_type="EC",
            source="SendGrid's webhook settings",
            esp_name=self.esp_name,
            install_extra="sendgrid",
        )
        if not keys:
            return None
        keys.load()
        return keys

    @property
    def webhook_verification_key(self) -> Any:
        """The (first) key as a public key of the cryptography package, or None."""
        return self.signature_keys.load()[0] if self.signature_keys else None

    def validate_request(self, request: HttpRequest) -> Any:
        if self.signature_keys is None:
            return
        for header in (SIGNATURE_HEADER, TIMESTAMP_HEADER):
            if header not in request.headers:
                raise AnymailWebhookValidationFailure(
                    f"SendGrid webhook call without the {header} header"
                )
        timestamp = request.headers[TIMESTAMP_HEADER]
        signature = request.headers[SIGNATURE_HEADER]
        signed = timestamp.encode("utf-8", "surrogatepass") + _raw_body(request)
        if not self.signature_keys.have_made(signature, signed):
            raise AnymailWebhookValidationFailure(
                "SendGrid webhook call with an invalid signature "
                f"(check Anymail {self.signature_setting})"
            )
        self.check_freshness(as_unix_time(timestamp))


def _raw_body(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RawPostDataException as err:
        raise AnymailConfigurationError(
            "Can't verify the signature of a SendGrid webhook call: something, such as a "
            "middleware, has already read the form in it.",
            docs="esps/sendgrid#sendgrid-inbound",
        ) from err


# -- Tracking ---------------------------------------------------------------------------------


class SendGridBaseWebhookView(SendGridSignatureMixin):
    """Verifies signatures with the setting SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY."""

    signature_option = "tracking_webhook_verification_key"

    tracking_webhook_verification_key: Any = setting(
        "The *verification key* of your signed event webhook, or a list of several that "
        "are all valid. See :ref:`sendgrid-tracking`.",
        default=None,
        default_text="signatures are not verified",
        bare=True,
    )


class SendGridTrackingWebhookView(SendGridBaseWebhookView):
    """SendGrid's event webhook."""

    signal = tracking

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # The events of a call have the same few sets of fields.
        self._found_custom_args: dict[tuple[str, ...], tuple[str, ...]] = {}

    def decode(self, request: HttpRequest) -> list[dict[str, Any]]:
        if request.content_type in (MULTIPART, URLENCODED):
            form = form_data(request, self.esp_name)
            if "headers" in form or "email" in form:
                raise AnymailConfigurationError(
                    "You seem to have set SendGrid's *inbound* parse webhook to Anymail's SendGrid "
                    "*tracking* webhook URL.",
                    docs="esps/sendgrid#sendgrid-inbound",
                )
            raise AnymailWebhookValidationFailure("SendGrid webhook call without JSON")
        return json_objects(request, self.esp_name)

    def esp_to_anymail_event(self, esp_event: dict[str, Any]) -> AnymailTrackingEvent:
        """Return the normalized event."""
        get = esp_event.get
        event_type = EVENT_TYPES.get(as_word(get("event")), EventType.UNKNOWN)
        mta_response = reject_reason = None
        if event_type == EventType.REJECTED:
            # SendGrid itself has dropped the message.
            reason = as_word(get("type", get("reason")))
            reject_reason = REJECT_REASONS.get(reason.lower(), RejectReason.OTHER)
        else:
            mta_response = as_str(get("response", get("reason")))
        # In two steps, so that no dict is made of the arguments: calls can have many events.
        event = AnymailTrackingEvent.__new__(AnymailTrackingEvent)
        event.__init__(  # type: ignore[misc]
            event_type=event_type,
            timestamp=as_unix_time(get("timestamp")),
            event_id=as_str(get("sg_event_id")),
            esp_event=esp_event,
            message_id=as_str(get("anymail_id")) or as_str(get("smtp-id")),
            recipient=as_addr_spec(get("email")),
            reject_reason=reject_reason,
            mta_response=mta_response,
            tags=as_tags(get("category")),
            metadata={name: esp_event[name] for name in self._custom_args(tuple(esp_event))},
            click_url=as_str(get("url")),
            user_agent=as_str(get("useragent")),
        )
        return event

    def _custom_args(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        found = self._found_custom_args.get(fields)
        if found is None:
            found = tuple(name for name in fields if name not in EVENT_FIELDS)
            self._found_custom_args[fields] = found
        return found


# -- Inbound ----------------------------------------------------------------------------------


class SendGridInboundWebhookView(InboundFormView, SendGridSignatureMixin):
    """SendGrid's inbound parse webhook, with the message parsed into fields or as raw MIME.

    Verifies signatures with the setting SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY. Since these
    cover all of a call, Django's setting DATA_UPLOAD_MAX_MEMORY_SIZE then limits its size.
    https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/securing-your-parse-webhooks
    """

    signal = inbound
    # Unconfirmed: SendGrid's documentation does not tell that headers and signed content are those
    # of the event webhook.
    signature_option = "inbound_webhook_verification_key"

    inbound_webhook_verification_key: Any = setting(
        "The *public key* of the security policy for your inbound parse webhook, or a "
        "list of several. See :ref:`sendgrid-inbound`.",
        default=None,
        default_text="signatures are not verified",
        bare=True,
    )

    def decode(self, request: HttpRequest) -> list[Form]:
        if request.content_type == "application/json":
            for esp_event in json_objects(request, self.esp_name):
                if "event" in esp_event:
                    raise AnymailConfigurationError(
                        "You seem to have set SendGrid's *tracking* (event) webhook to Anymail's "
                        "SendGrid *inbound* webhook URL.",
                        docs="esps/sendgrid#sendgrid-tracking",
                    )
        return [Form.read(request, self.esp_name, ATTACHMENT_FIELD)]

    def convert(self, data: Form) -> list[AnymailInboundEvent]:
        form = data.fields
        if "headers" in form:
            message = _construct_message(data)
        elif "email" in form:
            message = form.parse_message("email")
        else:
            raise AnymailWebhookValidationFailure(
                "SendGrid inbound webhook call with neither 'headers' nor 'email'"
            )
        envelope = _json_field(form, "envelope")
        message.envelope_sender = as_addr_spec(get_path(envelope, "from"))
        message.envelope_recipient = as_addr_spec(next(iter(get_list(envelope, "to")), None))
        message.spam_score = as_float(form.get("spam_score", b"").decode("ascii", "replace"))
        return [AnymailInboundEvent(event_type=EventType.INBOUND, esp_event=data, message=message)]


def _construct_message(sent: Form) -> AnymailInboundMessage:
    """Return a message made of SendGrid's parsed fields."""
    form = sent.fields
    # If Django has decoded the fields, it was regardless of those.
    charsets = _json_field(form, "charsets") if sent.is_as_sent else None
    bodies = {
        name: decode_text(form[name], as_str(get_path(charsets, name)) or sent.charset)
        for name in ("text", "html")
        if form.get(name)
    }
    attachment_info = _json_field(form, "attachment-info")
    return AnymailInboundMessage.construct(
        raw_headers=form["headers"].decode("utf-8", "surrogateescape"),
        text=bodies.get("text"),
        html=bodies.get("html"),
        attachments=[
            _construct_attachment(upload, get_object(attachment_info, upload.field))
            for upload in sent.uploads
        ],
    )


def _construct_attachment(upload: Upload, info: dict[str, Any]) -> AnymailInboundMessage:
    return AnymailInboundMessage.construct_attachment(
        content_type=upload.content_type or as_str(info.get("type")),
        content=upload.content,
        charset=upload.charset,
        filename=as_str(info.get("filename")) or upload.filename,
        content_id=as_text(info.get("content-id")),
        disposition="",
    )


def _json_field(form: Mapping[str, bytes], name: str) -> Any:
    """Return a form field that has JSON; None if it's missing, or malformed."""
    return json_or_none(form.get(name))
