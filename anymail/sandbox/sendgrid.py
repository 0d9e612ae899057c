"""A stand-in for SendGrid.

- Sending: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send,
  https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors
- Tracking: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
- Inbound:
  https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook

It signs its calls if the cryptography package is there.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from requests.structures import CaseInsensitiveDict
from urllib3.filepost import encode_multipart_formdata

from ..addresses import EmailAddress
from .mailboxes import is_valid, received_address
from .providers import (
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import (
    Store,
    StoredAttachment,
    StoredMessage,
    StoredRecipient,
    StoredTemplate,
    render,
)
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_PERSONALIZATIONS = 1000
MAX_RECIPIENTS = 1000
MAX_CATEGORIES = 10
MAX_CATEGORY_LENGTH = 255
MAX_CUSTOM_ARGS_BYTES = 10_000
MAX_SECONDS_AHEAD = 72 * 3600

FORBIDDEN_HEADERS = frozenset(
    {
        "bcc",
        "cc",
        "content-transfer-encoding",
        "content-type",
        "dkim-signature",
        "from",
        "received",
        "reply-to",
        "subject",
        "to",
        "x-sg-eid",
        "x-sg-id",
    }
)

ANYMAIL_ID = "anymail_id"
"""The custom argument that is reported as the message's id."""

# Anymail's word: what the event has beside the fields of all.
EVENTS: dict[str, dict[str, Any]] = {
    "queued": {"event": "processed"},
    "delivered": {"event": "delivered", "response": "250 2.0.0 OK", "tls": 1},
    "deferred": {"event": "deferred", "response": "451 4.7.1 Try again later", "attempt": "1"},
    "bounced": {
        "event": "bounce",
        "type": "bounce",
        "reason": "550 5.1.1 No such user",
        "status": "5.1.1",
        "bounce_classification": "Invalid Address",
    },
    "rejected": {"event": "dropped", "reason": "Bounced Address", "status": "5.0.0"},
    "opened": {"event": "open", "sg_content_type": "html", "sg_machine_open": False},
    "clicked": {"event": "click", "url_offset": {"index": 0, "type": "html"}},
    "complained": {"event": "spamreport"},
    "unsubscribed": {"event": "unsubscribe"},
    "subscribed": {"event": "group_resubscribe", "asm_group_id": 1},
}
BY_RECIPIENT = frozenset({"opened", "clicked"})

_NOT_IN_TYPE = re.compile(r"[\r\n]|;\s*charset\b", re.IGNORECASE)


class SendGridError(Exception):
    """An error as SendGrid's API reports it."""

    def __init__(self, text: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(text)
        self.field = field
        self.status = status

    def as_response(self) -> ApiResponse:
        error = {"message": str(self), "field": self.field, "help": None}
        return ApiResponse.json({"errors": [error]}, self.status)


class SendGrid(Provider):
    """SendGrid's mail/send API, and its webhooks."""

    name = "sendgrid"
    api_path = "v3/"
    events = frozenset(EVENTS)
    webhook_signature = ("ECDSA", "X-Twilio-Email-Event-Webhook-Signature")
    relaxed_settings = {"SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY": None}
    unsupported = frozenset({"reject_reason", "stripped_text"})
    template_id = "d-0123456789abcdef0123456789abcdef"

    refusals = {
        "message": SendGridError(
            "Does not contain a valid address.", "personalizations.0.to.0.email"
        ).as_response(),
        "unsuitable": SendGridError("Payload too large", status=413).as_response(),
        "account": SendGridError("Maximum credits exceeded", status=401).as_response(),
        "busy": SendGridError("too many requests", status=429).as_response(),
    }

    api_key = "SG.sandbox-api-key"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.sign: Callable[[bytes], bytes] | None = None
        self.verification_key: str | None = None
        if (key := _new_key()) is not None:
            self.sign, self.verification_key = key

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        settings = {
            "SENDGRID_API_KEY": self.api_key,
            "SENDGRID_API_URL": api_url,
        }
        if self.verification_key:
            settings["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"] = self.verification_key
        return settings

    # -- API ----------------------------------------------------------------------------------

    def refuse(
        self, problem: str, request: ApiRequest, retry_after: float | None = None
    ) -> ApiResponse:
        response = super().refuse(problem, request)
        if problem != "busy" or retry_after is None:
            return response
        return replace(
            response, headers={"X-RateLimit-Reset": str(math.ceil(time.time() + retry_after))}
        )

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if request.path.rstrip("/") != f"{self.api_path}mail/send":
                raise SendGridError("not found", status=404)
            if request.method != "POST":
                raise SendGridError("method not allowed", status=405)
            if not self.is_key(request.bearer, self.api_key):
                raise SendGridError(
                    "The provided authorization grant is invalid, expired, or revoked", status=401
                )
            try:
                data = request.json()
            except MalformedRequest as err:
                raise SendGridError("Bad Request") from err
            if not isinstance(data, dict):
                raise SendGridError("Bad Request")
            call = _Call(data, self.store.templates.get(str(data.get("template_id"))))
            messages = [
                call.message(personalization, self.name, request)
                for personalization in call.personalizations
            ]
        except SendGridError as err:
            return err.as_response()
        if call.is_test:
            return ApiResponse(200)
        self.store.add(messages)
        # The API's own id is of no use: it's not in webhooks.
        return ApiResponse(202, headers={"X-Message-Id": uuid.uuid4().hex[:22]})

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        is_ours = recipient.message_id.startswith("<")
        payload = {
            # Custom arguments are among SendGrid's own fields, and those win.
            **recipient.metadata,
            **({} if is_ours else {ANYMAIL_ID: recipient.message_id}),
            "smtp-id": recipient.message_id if is_ours else _smtp_id(),
            "email": recipient.address,
            "timestamp": int(time.time()),
            "sg_event_id": uuid.uuid4().hex,
            "sg_message_id": f"{uuid.uuid4().hex[:22]}.recvd-1-1",
            **EVENTS[event],
        }
        if recipient.tags:
            payload["category"] = list(recipient.tags)
        if event in BY_RECIPIENT:
            payload |= {"useragent": USER_AGENT, "ip": "203.0.113.7"}
        if event == "clicked":
            payload["url"] = clicked_link(recipient)
        # The line break at the end is part of what is signed.
        body = json.dumps([payload]).encode() + b"\r\n"
        headers = {"Content-Type": "application/json"}
        if self.sign is not None:
            timestamp = str(int(time.time()))
            signature = self.sign(timestamp.encode() + body)
            headers |= {
                "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
                "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            }
        return WebhookCall(target.webhook_url("sendgrid/tracking/"), body, headers)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        mime = mail.as_bytes()
        envelope = {"to": [mail.recipient.addr_spec], "from": mail.sender.addr_spec}
        fields: dict[str, Any] = {
            "to": str(mail.recipient),
            "from": str(mail.sender),
            "subject": mail.subject,
            "sender_ip": "203.0.113.7",
            "SPF": "pass",
            "dkim": f"{{@{mail.sender.domain} : pass}}",
            "envelope": json.dumps(envelope),
            "charsets": json.dumps(dict.fromkeys(("to", "from", "subject", "text"), "UTF-8")),
        }
        if raw:
            fields["email"] = mime
            return _form_call(target, fields)

        fields |= {
            "headers": mime.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n") + b"\n",
            "text": mail.text,
            "attachments": str(len(mail.attachments)),
        }
        if mail.html:
            fields["html"] = mail.html
        info = {}
        for number, attachment in enumerate(mail.attachments, start=1):
            info[f"attachment{number}"] = {
                "filename": attachment.filename,
                "name": attachment.filename,
                "type": attachment.content_type.partition(";")[0],
                **({"content-id": attachment.content_id} if attachment.content_id else {}),
            }
            fields[f"attachment{number}"] = (
                attachment.filename,
                attachment.content,
                attachment.content_type,
            )
        if info:
            fields["attachment-info"] = json.dumps(info)
        return _form_call(target, fields)


class _Call:
    """The JSON of an API call. All methods raise SendGridError for what SendGrid refuses."""

    def __init__(self, data: dict[str, Any], template: StoredTemplate | None) -> None:
        self.data = data
        self.template = template
        self.template_id: str | None = _typed(data, "template_id", str, None)
        self.is_dynamic = (self.template_id or "").startswith("d-")
        self.from_email = _mailbox(_typed(data, "from", dict, {}), "from")
        self.subject: str = _typed(data, "subject", str, "")
        self.content = self._content()
        self.headers = _headers(data, "headers")
        self.custom_args = _text_values(data, "custom_args")
        self.attachments = [
            _attachment(item, f"attachments.{number}")
            for number, item in enumerate(_objects(data, "attachments"))
        ]
        self.personalizations = _objects(data, "personalizations")
        if not self.personalizations:
            raise SendGridError("The personalizations field is required", "personalizations")
        if len(self.personalizations) > MAX_PERSONALIZATIONS:
            raise SendGridError(
                f"At most {MAX_PERSONALIZATIONS} personalizations are allowed", "personalizations"
            )
        self.recipients_count = 0
        self._check_categories()
        self._check_reply_to()
        self.send_at = self._send_at()

    @property
    def is_test(self) -> bool:
        mail_settings = _typed(self.data, "mail_settings", dict, {})
        return bool(_typed(mail_settings, "sandbox_mode", dict, {}).get("enable"))

    def _content(self) -> dict[str, str]:
        """Return the bodies by type."""
        parts = _objects(self.data, "content")
        if not parts and not self.template_id:
            raise SendGridError(
                "Unless a valid template_id is provided, the content parameter is required.",
                "content",
            )
        content: dict[str, str] = {}
        for number, part in enumerate(parts):
            mimetype, value = part.get("type"), part.get("value")
            if not isinstance(mimetype, str) or not isinstance(value, str) or not value:
                raise SendGridError(
                    "The content value must be a string at least one character in length.",
                    f"content.{number}.value",
                )
            _check_type(mimetype, f"content.{number}.type")
            if mimetype == "text/plain" and number:
                raise SendGridError(
                    "If present, text/plain must be the first of the content.", "content"
                )
            content.setdefault(mimetype, value)
        return content

    def _check_categories(self) -> None:
        categories = _typed(self.data, "categories", list, [])
        if len(set(map(str, categories))) > MAX_CATEGORIES:
            raise SendGridError(f"At most {MAX_CATEGORIES} categories are allowed", "categories")
        for item in categories:
            if not isinstance(item, str) or len(item) > MAX_CATEGORY_LENGTH:
                raise SendGridError("Each category must be a short string", "categories")

    def _check_reply_to(self) -> None:
        if "reply_to" in self.data and "reply_to_list" in self.data:
            raise SendGridError("Use either reply_to or reply_to_list", "reply_to")

    def _send_at(self) -> str | None:
        send_at = _typed(self.data, "send_at", int, None)
        if send_at is None:
            return None
        if send_at > time.time() + MAX_SECONDS_AHEAD:
            raise SendGridError("send_at is more than 72 hours in the future", "send_at")
        return str(send_at)

    def _tracking(self, name: str) -> bool | None:
        settings = _typed(self.data, "tracking_settings", dict, {})
        enable: bool | None = _typed(_typed(settings, name, dict, {}), "enable", bool, None)
        return enable

    def message(
        self, personalization: dict[str, Any], provider: str, request: ApiRequest
    ) -> StoredMessage:
        """Return the message that SendGrid makes of one of the personalizations."""
        mailboxes = {kind: _mailboxes(personalization, kind) for kind in ("to", "cc", "bcc")}
        if not mailboxes["to"]:
            raise SendGridError("The to array is required", "personalizations.to")
        self._check_recipients([box for boxes in mailboxes.values() for box in boxes])

        subject = _typed(personalization, "subject", str, "") or self.subject
        if not subject and not self.template_id:
            raise SendGridError("The subject is required.", "subject")
        merge_data, merge = self._merge(personalization)
        content = [subject, self.content.get("text/plain", ""), self.content.get("text/html", "")]
        if self.template is not None:
            content = [subject or self.template.subject, self.template.text, self.template.html]
        merged_subject, text, html = map(merge, content)

        metadata = {**self.custom_args, **_text_values(personalization, "custom_args")}
        message_id = metadata.pop(ANYMAIL_ID, None) or _smtp_id()
        headers = CaseInsensitiveDict(self.headers)
        headers.update(_headers(personalization, "headers"))
        reply_to = [
            *_objects(self.data, "reply_to_list"),
            *([self.data["reply_to"]] if "reply_to" in self.data else []),
        ]
        return StoredMessage(
            provider=provider,
            from_email=self.from_email,
            reply_to=", ".join(str(_mailbox(item, "reply_to_list")) for item in reply_to),
            subject=subject,
            text=self.content.get("text/plain", ""),
            html=self.content.get("text/html", ""),
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=message_id,
                    header_to=", ".join(map(str, mailboxes["to"])),
                    subject=merged_subject,
                    text=text,
                    html=html,
                    headers=dict(headers),
                    metadata=metadata,
                    tags=tuple(self.data.get("categories", ())),
                    merge_data=merge_data,
                )
                for kind, boxes in mailboxes.items()
                for mailbox in boxes
            ),
            attachments=tuple(item for item in self.attachments if not item.content_id),
            inline_images=tuple(item for item in self.attachments if item.content_id),
            track_opens=self._tracking("open_tracking"),
            track_clicks=self._tracking("click_tracking"),
            send_at=self.send_at,
            template_id=self.template_id,
            request=request,
        )

    def _check_recipients(self, mailboxes: list[EmailAddress]) -> None:
        self.recipients_count += len(mailboxes)
        if self.recipients_count > MAX_RECIPIENTS:
            raise SendGridError(f"At most {MAX_RECIPIENTS} recipients are allowed")
        seen = set()
        for mailbox in mailboxes:
            address = mailbox.addr_spec.lower()
            if address in seen:
                raise SendGridError(
                    "Each email address in the personalization block should be unique between "
                    f"to, cc, and bcc. We found the first duplicate instance of [{address}].",
                    "personalizations",
                )
            seen.add(address)

    def _merge(
        self, personalization: dict[str, Any]
    ) -> tuple[dict[str, Any], Callable[[str], str]]:
        """Return the merge data, and a function that puts them into text."""
        substitutions = _text_values(personalization, "substitutions")
        dynamic_data: dict[str, Any] = _typed(personalization, "dynamic_template_data", dict, {})
        if self.is_dynamic and substitutions:
            raise SendGridError(
                "Substitutions may not be used with dynamic templating", "personalizations"
            )
        if self.is_dynamic:
            return dynamic_data, lambda text: render(text, dynamic_data)

        def substitute(text: str) -> str:
            for name, value in substitutions.items():
                text = text.replace(name, value)
            return text

        return dict(substitutions), substitute


def _new_key() -> tuple[Callable[[bytes], bytes], str] | None:
    """Return a function that signs, and the key to verify that as SendGrid shows it."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        return None
    private_key = ec.generate_private_key(ec.SECP256R1())
    der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def sign(data: bytes) -> bytes:
        signature: bytes = private_key.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature

    return sign, base64.b64encode(der).decode()


def _smtp_id() -> str:
    return f"<{uuid.uuid4().hex[:22]}@ismtpd-sandbox>"


def _form_call(target: WebhookTarget, fields: Mapping[str, Any]) -> WebhookCall:
    body, content_type = encode_multipart_formdata(list(fields.items()))
    url = target.webhook_url("sendgrid/inbound/")
    return WebhookCall(url, body, {"Content-Type": content_type})


# -- Parts of a call ------------------------------------------------------------------------------


def _typed(data: Mapping[str, Any], name: str, expected: type, default: Any) -> Any:
    value = data.get(name, default)
    if value is default:
        return default
    is_bool = isinstance(value, bool)
    if not isinstance(value, expected) or (is_bool and expected is not bool):
        raise SendGridError(f"Invalid type. Expected: {expected.__name__}.", name)
    return value


def _objects(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = _typed(data, name, list, [])
    if not all(isinstance(item, dict) for item in items):
        raise SendGridError("Invalid type. Expected: array of objects.", name)
    return items


def _text_values(data: Mapping[str, Any], name: str) -> dict[str, str]:
    values = _typed(data, name, dict, {})
    # Anymail sends None for no text.
    values = {key: "" if value is None else value for key, value in values.items()}
    if not all(isinstance(value, str) for value in values.values()):
        raise SendGridError("Invalid type. Expected: string.", name)
    if len(json.dumps(values)) > MAX_CUSTOM_ARGS_BYTES:
        raise SendGridError(f"{name} must be less than {MAX_CUSTOM_ARGS_BYTES} bytes", name)
    return as_text(values)


def _headers(data: Mapping[str, Any], name: str) -> dict[str, str]:
    headers = _text_values(data, name)
    for header in headers:
        if header.lower() in FORBIDDEN_HEADERS or not header.isascii():
            raise SendGridError(f"The header {header} is not allowed", f"headers.{header}")
    return headers


def _mailboxes(personalization: Mapping[str, Any], kind: str) -> list[EmailAddress]:
    return [_mailbox(item, f"personalizations.{kind}") for item in _objects(personalization, kind)]


def _mailbox(item: Any, field: str) -> EmailAddress:
    if not isinstance(item, dict) or not isinstance(item.get("name", ""), str):
        raise SendGridError("Invalid type. Expected: object.", field)
    mailbox = received_address(item.get("name", ""), str(item.get("email", "")))
    if not is_valid(mailbox):
        raise SendGridError("Does not contain a valid address.", f"{field}.email")
    return mailbox


def _check_type(content_type: str, field: str) -> None:
    # SendGrid's words. In fact, it takes parameters other than a charset.
    if _NOT_IN_TYPE.search(content_type):
        raise SendGridError("The type cannot contain ';', or CRLF characters.", field)


def _attachment(item: Mapping[str, Any], field: str) -> StoredAttachment:
    filename, content = item.get("filename"), item.get("content")
    if not isinstance(filename, str):
        raise SendGridError("The attachment filename parameter is required.", f"{field}.filename")
    try:
        if not content:
            raise ValueError("empty")
        decoded = base64.b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error) as err:
        raise SendGridError(
            "The attachment content must be base64 encoded.", f"{field}.content"
        ) from err
    if item.get("disposition", "attachment") not in ("inline", "attachment"):
        raise SendGridError("The disposition is invalid.", f"{field}.disposition")
    content_type = _typed(item, "type", str, "application/octet-stream")
    _check_type(content_type, f"{field}.type")
    return StoredAttachment(
        filename=filename,
        content_type=content_type,
        content=decoded,
        content_id=_typed(item, "content_id", str, ""),
    )
