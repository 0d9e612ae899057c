"""Resend webhooks.

- Tracking: https://resend.com/docs/webhooks/event-types
- Signatures: https://docs.svix.com/receiving/verifying-payloads/how-manual
- Inbound: https://resend.com/docs/api-reference/emails/retrieve-received-email
- Attachments of received messages: https://resend.com/docs/dashboard/receiving/attachments

Resend signs its calls, which Svix makes for it.
"""

from __future__ import annotations

import base64
import math
import time
from functools import cached_property
from typing import Any
from urllib.parse import quote, urljoin

import requests  # noqa: F401 (where projects' tests replace it)
from django.http import HttpRequest

from .._docs import docs_of_setting
from ..addresses import parse_single_address
from ..conf import (
    base_url,
    credential,
    credentials,
    declared_settings,
    get_anymail_setting,
    read_settings,
    setting,
)
from ..exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailWebhookValidationFailure,
)
from ..headers import has_control_chars, unfold
from ..inbound import AnymailInboundMessage
from ..signals import (
    AnymailEvent,
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    tracking,
)
from .base import AnymailBaseWebhookView
from .decoding import (
    as_float,
    as_iso_time,
    as_metadata,
    as_str,
    as_tags,
    as_text,
    as_unix_time,
    as_word,
    get_list,
    get_path,
    json_object,
    json_or_none,
)
from .downloads import (
    DEFAULT_DOWNLOAD_HOSTS,  # noqa: F401 (others may import it from here)
    Downloads,
    DownloadSettings,
)
from .keys import SharedKeys
from .signatures import hmac_signature

DEFAULT_API_URL = "https://api.resend.com/"

# type -> event type
EVENT_TYPES = {
    "email.scheduled": EventType.QUEUED,
    "email.sent": EventType.SENT,
    "email.delivered": EventType.DELIVERED,
    "email.delivery_delayed": EventType.DEFERRED,
    "email.bounced": EventType.BOUNCED,
    "email.complained": EventType.COMPLAINED,
    "email.failed": EventType.FAILED,
    "email.suppressed": EventType.REJECTED,
    "email.opened": EventType.OPENED,
    "email.clicked": EventType.CLICKED,
}

# Text in a bounce's message -> reject reason; the first that is found
BOUNCE_MESSAGES = {
    "suppressed sending": RejectReason.BLOCKED,
    "bounce message": RejectReason.BOUNCED,
}

# reason of suppressed events -> reject reason; all others are BLOCKED
SUPPRESSION_REASONS = {
    "previous_bounce": RejectReason.BOUNCED,
    "previous_complaint": RejectReason.SPAM,
}

RECEIVED = "email.received"

# Names of the headers with id, timestamp and signature of a call: Svix has two for each.
SVIX_HEADERS, UNBRANDED_HEADERS = (
    (f"{prefix}-id", f"{prefix}-timestamp", f"{prefix}-signature") for prefix in ("svix", "webhook")
)

SVIX_KEY_PREFIX = "whsec_"
SIGNATURE_VERSION = "v1"
SIGNATURE_TOLERANCE = 5 * 60
"""Seconds that the timestamp of a call can be off."""


# -- Signatures -------------------------------------------------------------------------------


class SvixWebhookValidationMixin(AnymailBaseWebhookView):
    """Verifies the signatures of calls made by Svix, if there is a secret.

    Raises AnymailConfigurationError if the secret is something else than Svix's.
    """

    svix_setting: str
    """Name of the setting with the secret, in lower case and without the provider's name; also
    that of the argument of ``as_view()``, for which there must be a class attribute. The setting
    can be a list of several secrets that are valid; in instances, the attribute is the first."""

    signature_keys: SharedKeys | None
    headers_for_worker = (*SVIX_HEADERS, *UNBRANDED_HEADERS)

    @property
    def signature_option(self) -> str:  # type: ignore[override]
        return self.svix_setting

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        if self.svix_setting not in declared_settings(type(self)):  # a view of another package
            setattr(self, self.svix_setting, self._undeclared_secrets(kwargs))
        super().__init__(**kwargs)

    def load_signature_keys(self) -> SharedKeys | None:
        secrets = getattr(self, self.svix_setting)
        if secrets is None:
            return None
        # Only no setting means that there is no secret.
        keys = SharedKeys(secrets or [""], self.signature_setting)
        for secret in keys.configured:
            _decode_secret(secret, keys.setting)
        return keys

    def _undeclared_secrets(self, kwargs: dict[str, Any]) -> list[str] | None:
        value = get_anymail_setting(
            self.svix_setting, esp_name=self.esp_name, kwargs=kwargs, default=None
        )
        return None if value is None else credentials(value)

    def validate_request(self, request: HttpRequest) -> Any:
        if self.signature_keys is None:
            return
        problem = _find_signature_problem(request, self.signature_keys)
        if problem is not None:
            raise AnymailWebhookValidationFailure(
                f"{self.esp_name} webhook call {problem} (check Anymail {self.signature_setting})"
            )
        _message_id, timestamp, _signature = _svix_headers(request)
        self.check_freshness(as_unix_time(timestamp))


def _decode_secret(secret: Any, setting: str) -> bytes:
    """Return the key in a secret as Svix shows it."""
    try:
        encoded = secret.strip().removeprefix(SVIX_KEY_PREFIX).rstrip("=")
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (AttributeError, TypeError, ValueError):
        key = b""
    if not key:
        # An empty key would accept what anybody has signed with that.
        # (The original error is left out in case it has the secret.)
        raise AnymailConfigurationError(
            f"{setting} must be a webhook's signing secret: {SVIX_KEY_PREFIX!r}, followed by "
            "base64. Leave it unset to have no signatures verified.",
            docs=docs_of_setting(setting),
        ) from None
    return key


def _svix_headers(request: HttpRequest) -> tuple[str | None, str | None, str | None]:
    """Return id, timestamp and signature of a call.

    They count only if they are complete: what is not signed must not take the place of what is.
    """
    branded, unbranded = (
        (request.headers.get(id_), request.headers.get(timestamp), request.headers.get(signature))
        for id_, timestamp, signature in (SVIX_HEADERS, UNBRANDED_HEADERS)
    )
    return unbranded if all(unbranded) and not all(branded) else branded


def _find_signature_problem(request: HttpRequest, keys: SharedKeys) -> str | None:
    """Return what is wrong with the signature of a call, None if it is right."""
    message_id, timestamp, signatures = _svix_headers(request)
    if not (message_id and timestamp and signatures):
        return "without a signature"
    seconds = as_float(timestamp)
    if seconds is None:
        return "with an invalid timestamp"
    if abs(time.time() - seconds) > SIGNATURE_TOLERANCE:
        return "signed too long ago, or in the future"
    signed = f"{message_id}.{math.floor(seconds)}.".encode("utf-8", "surrogatepass")

    def sign(secret: str) -> str:
        digest = hmac_signature(
            _decode_secret(secret, keys.setting), signed + request.body
        ).digest()
        return f"{SIGNATURE_VERSION},{base64.b64encode(digest).decode()}"

    # While a secret is being replaced, there are several signatures.
    is_valid = keys.have_made(signatures.split(), sign)
    return None if is_valid else "with an invalid signature"


class ResendBaseWebhookView(SvixWebhookValidationMixin):
    """What the Resend webhooks have in common."""

    esp_name = "Resend"

    def decode(self, request: HttpRequest) -> list[tuple[dict[str, Any], str | None]]:
        """Return the event, and its id, which is in the headers."""
        event_id, _timestamp, _signature = _svix_headers(request)
        return [(json_object(request, self.esp_name), event_id)]

    def parse_events(self, request: HttpRequest) -> list[AnymailEvent]:
        return [
            self.esp_to_anymail_event(esp_event, request) for esp_event, _ in self.decode(request)
        ]

    def esp_to_anymail_event(self, esp_event: dict[str, Any], request: HttpRequest) -> AnymailEvent:
        """Return the normalized event, as convert() does."""
        event_id, _timestamp, _signature = _svix_headers(request)
        [event] = self.convert((esp_event, event_id))
        return event


# -- Tracking ---------------------------------------------------------------------------------


class ResendTrackingWebhookView(ResendBaseWebhookView):
    """Resend's webhook for events of sent messages.

    The setting RESEND_SIGNING_SECRET has the webhook's secret.
    """

    signal = tracking
    svix_setting = "signing_secret"

    signing_secret: Any = setting(
        "The signing secret of the tracking webhook, which starts with ``whsec_``, or a "
        "list of several that are all valid. See :ref:`resend-tracking`.",
        default=None,
        default_text="signatures are not verified",
        kind=credentials,
    )

    def convert(self, data: tuple[dict[str, Any], str | None]) -> list[AnymailEvent]:
        esp_event, event_id = data
        esp_type = esp_event.get("type")
        if not isinstance(esp_type, str):
            raise AnymailWebhookValidationFailure(f"Missing type in {self.esp_name} webhook")
        return [_tracking_event(esp_type, esp_event, event_id)]


def _tracking_event(
    esp_type: str, esp_event: dict[str, Any], event_id: str | None
) -> AnymailTrackingEvent:
    event_type = EVENT_TYPES.get(esp_type, EventType.UNKNOWN)
    data = esp_event.get("data")
    return AnymailTrackingEvent(
        event_type=event_type,
        timestamp=as_iso_time(esp_event.get("created_at")),
        event_id=event_id,
        esp_event=esp_event,
        message_id=as_str(get_path(data, "email_id")),
        recipient=_first_recipient(data),
        reject_reason=_reject_reason(event_type, data),
        description=_description(data),
        tags=as_tags(_json_header(data, "X-Tags")),
        metadata=as_metadata(_json_header(data, "X-Metadata")),
        click_url=as_str(get_path(data, "click", "link")),
        user_agent=as_str(get_path(data, "click", "userAgent")),
    )


def _first_recipient(data: Any) -> str | None:
    """Return the addr-spec of a message's first recipient, if it is a valid one.

    Resend lists all of them, whichever the event is about.
    """
    to = get_path(data, "to")
    first = to[0] if isinstance(to, list) and to else to
    try:
        return parse_single_address(first).addr_spec if isinstance(first, str) else None
    except AnymailInvalidAddress:
        return None


def _reject_reason(event_type: str, data: Any) -> str | None:
    message = as_str(get_path(data, "bounce", "message"))
    if message is not None:
        found = (reason for text, reason in BOUNCE_MESSAGES.items() if text in message)
        return next(found, RejectReason.OTHER)
    if event_type == EventType.REJECTED:
        reason = as_word(get_path(data, "suppressed", "reason"))
        return SUPPRESSION_REASONS.get(reason, RejectReason.BLOCKED)
    return None


def _description(data: Any) -> str | None:
    """Return the text that tells why a message was not delivered."""
    texts = (
        as_str(get_path(data, *path))
        for path in (("bounce", "message"), ("suppressed", "message"), ("failed", "reason"))
    )
    return next((text for text in texts if text is not None), None)


def _json_header(data: Any, name: str) -> Any:
    """Return the JSON in one of the message's headers; None if there is no such thing."""
    for header in get_list(data, "headers"):
        if as_word(get_path(header, "name")).lower() == name.lower():
            return json_or_none(header.get("value"))
    return None


# -- Inbound ----------------------------------------------------------------------------------


class ResendInboundWebhookView(DownloadSettings, ResendBaseWebhookView):
    """Resend's webhook for received messages. It fetches the message from Resend's API.

    Raises AnymailConfigurationError if there is no API key.
    """

    signal = inbound
    svix_setting = "inbound_secret"

    inbound_secret: Any = setting(
        "The signing secret of the inbound webhook, or a list of several.",
        default=None,
        default_text="signatures are not verified",
        kind=credentials,
    )
    api_key: str = setting(
        "The inbound webhook needs one with *full access*.",
        required=True,
        kind=credential,
        bare=True,
    )
    api_url: str = setting(
        "Inbound messages are fetched from there, too.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="resend/",
    )

    def convert(self, data: tuple[dict[str, Any], str | None]) -> list[AnymailEvent]:
        esp_event, event_id = data
        esp_type = esp_event.get("type")
        if esp_type != RECEIVED:
            raise AnymailConfigurationError(
                f"You seem to have set Resend's *{as_word(esp_type) or 'tracking'}* webhook to "
                "Anymail's Resend *inbound* webhook URL.",
                docs="esps/resend#resend-tracking",
            )
        email_id = as_word(get_path(esp_event, "data", "email_id"))
        if not email_id:
            raise AnymailWebhookValidationFailure(f"Missing email_id in {self.esp_name} webhook")
        return [
            AnymailInboundEvent(
                event_type=EventType.INBOUND,
                timestamp=as_iso_time(esp_event.get("created_at")),
                event_id=event_id,
                esp_event=esp_event,
                message=self.fetch_message(email_id),
            )
        ]

    def fetch_message(self, email_id: str) -> AnymailInboundMessage:
        """Return a received message.

        Raises AnymailAPIError if it can't be downloaded.
        """
        email = self._fetch_inbound_email(email_id)
        raw_url = get_path(email, "raw", "download_url")
        if raw_url:
            return AnymailInboundMessage.parse_raw_mime_chunks(
                self._downloads.iter_content(raw_url, chunk_size=self.download_chunk_size)
            )
        attachments = [item for item in get_list(email, "attachments") if isinstance(item, dict)]
        attachments = self.with_download_urls(email_id, attachments)
        return AnymailInboundMessage.construct(
            from_email=_header_text(email.get("from")) or None,
            to=_header_text(email.get("to")) or None,
            cc=_header_text(email.get("cc")) or None,
            bcc=_header_text(email.get("bcc")) or None,
            subject=_header_text(email.get("subject")) or None,
            headers=_headers(email),
            text=as_text(email.get("text")),
            html=as_text(email.get("html")),
            attachments=[self._fetch_attachment(item) for item in attachments],
        )

    @cached_property
    def _downloads(self) -> Downloads:
        return Downloads(self.esp_name, self.api_url, hosts=self.download_hosts)

    # Other packages override this and the next one.
    def _fetch_inbound_email(self, email_id: str) -> dict[str, Any]:
        """Return what Resend's API tells of a received message.

        Raises AnymailAPIError if it can't be fetched.
        """
        return self.call_api(email_id)

    def _fetch_attachment(self, attachment: dict[str, Any]) -> AnymailInboundMessage:
        """Return an attachment for what the API tells of it, with its ``download_url``.

        Raises AnymailAPIError if it can't be downloaded.
        """
        url = attachment.get("download_url") or ""
        content, content_type = self._downloads.get_content(url)
        return AnymailInboundMessage.construct_attachment(
            content_type=content_type or as_str(attachment.get("content_type")),
            content=content,
            filename=as_str(attachment.get("filename")),
            content_id=as_text(attachment.get("content_id")),
            disposition=as_str(attachment.get("content_disposition")) or "",
        )

    def with_download_urls(
        self, email_id: str, attachments: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the attachments with the URLs that are not in the answer for the message.

        As documented, these are in the list of the message's attachments. That list can be
        incomplete. (To ask for each attachment, and nothing else, would soon exceed Resend's limit
        of calls per second.)
        """
        if all(item.get("download_url") for item in attachments):
            return attachments
        listed = self.call_api(email_id, "attachments")
        by_id = {as_word(get_path(item, "id")): item for item in get_list(listed, "data")}
        result = []
        for item in attachments:
            attachment_id = as_word(item.get("id"))
            if not item.get("download_url") and attachment_id:
                found = by_id.get(attachment_id) or self.call_api(
                    email_id, "attachments", attachment_id
                )
                item = {**item, "download_url": found.get("download_url")}
            result.append(item)
        return result

    def call_api(self, email_id: str, *path: str) -> dict[str, Any]:
        """Return what Resend's API has at a path within a received message."""
        parts = (email_id, *path)
        if any(not part.strip(".") for part in parts):
            # In a URL, dots alone have a meaning of their own.
            raise AnymailWebhookValidationFailure(f"Invalid id in {self.esp_name} webhook")
        path_text = "/".join(quote(part, safe="", errors="replace") for part in parts)
        answer = self._downloads.get_json(
            urljoin(self.api_url, f"emails/receiving/{path_text}"),
            headers={"Authorization": f"Bearer {self.api_key}"},
        )
        if not isinstance(answer, dict):
            raise AnymailAPIError(
                f"Invalid {self.esp_name} API response format", esp_name=self.esp_name
            )
        return answer


def _header_text(value: Any) -> str | None:
    """Return the value of a header from text, or from a list of texts; None if there is none."""
    values = value if isinstance(value, list) else [value]
    texts = [unfold(text) for item in values if (text := as_str(item)) is not None]
    return ", ".join(texts) if texts else None


def _headers(email: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the well-formed ones of a message's headers, with those that Resend takes out.

    Resend's headers are {name: value}, {name: [value, ...]} or [{name, value}].
    """
    headers = email.get("headers")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(headers, dict):
        pairs = list(headers.items())
    elif isinstance(headers, list):
        pairs = [(get_path(item, "name"), get_path(item, "value")) for item in headers]
    for name, field in (("Reply-To", "reply_to"), ("Message-ID", "message_id")):
        if text := _header_text(email.get(field)):
            # Without effect if it's in the headers, too.
            pairs.append((name, text))
    return [
        (name, unfold(text))
        for name, values in pairs
        if as_word(name) and not has_control_chars(name)
        for value in (values if isinstance(values, list) else [values])
        if (text := as_str(value)) is not None
    ]
