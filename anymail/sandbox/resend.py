"""A stand-in for Resend.

- Sending: https://resend.com/docs/api-reference/emails/send-email,
  https://resend.com/docs/api-reference/emails/send-batch-emails
- Errors: https://resend.com/docs/api-reference/errors
- Tracking: https://resend.com/docs/webhooks/event-types
- Signatures: https://docs.svix.com/receiving/verifying-payloads/how-manual
- Inbound: https://resend.com/docs/api-reference/emails/retrieve-received-email,
  https://resend.com/docs/dashboard/receiving/attachments
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes
from .providers import (
    TOO_LARGE,
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import KeyUse, Store, StoredAttachment, StoredMessage, StoredRecipient
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_KEY = 256
KEY_SECONDS = 24 * 60 * 60
MAX_BATCH_MESSAGES = 100
MAX_TO = 50

# Anymail's word: type, and what else is in data.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "queued": ("email.scheduled", {}),
    "sent": ("email.sent", {}),
    "delivered": ("email.delivered", {}),
    "deferred": ("email.delivery_delayed", {}),
    "bounced": (
        "email.bounced",
        {
            "bounce": {
                "message": "The recipient's server returned a bounce message: 550 No such user",
                "type": "Permanent",
                "subType": "General",
                "diagnosticCode": ["smtp; 550 5.1.1 No such user"],
            }
        },
    ),
    "rejected": (
        "email.suppressed",
        {
            "suppressed": {
                "message": "The recipient is on your account's suppression list.",
                "type": "OnAccountSuppressionList",
                "reason": "previous_bounce",
                "diagnosticCode": [],
            }
        },
    ),
    "failed": ("email.failed", {"failed": {"reason": "reached_daily_quota"}}),
    "complained": ("email.complained", {}),
    "opened": ("email.opened", {}),
    "clicked": ("email.clicked", {}),
}

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_RECEIVED = re.compile(r"emails/receiving/(?P<email_id>[^/]+)(?P<rest>/attachments(?:/[^/]+)?)?")
_DOWNLOAD = re.compile(r"downloads/(?P<email_id>[^/]+)/(?P<name>[^/]+)")


class ResendError(Exception):
    """An error as Resend's API reports it."""

    def __init__(self, text: str, name: str = "validation_error", status: int = 422) -> None:
        super().__init__(text)
        self.name = name
        self.status = status

    def as_response(self) -> ApiResponse:
        data = {"statusCode": self.status, "message": str(self), "name": self.name}
        return ApiResponse.json(data, self.status)


@dataclass(frozen=True)
class ReceivedMail:
    """A received message, and whether Resend has kept it raw."""

    mail: InboundMail
    raw: bool


class Resend(Provider):
    """Resend's APIs for sending and for received messages, and its webhooks."""

    name = "resend"
    events = frozenset(EVENTS)
    webhook_signature = ("Standard Webhooks: HMAC-SHA256", "svix-signature")
    unsupported = frozenset(
        {
            "merge_data",
            "merge_global_data",
            "stripped_text",
            "template_id",
            "track_clicks",
            "track_opens",
        }
    )

    refusals = {
        "message": ResendError("Invalid `to` field.").as_response(),
        "unsuitable": TOO_LARGE,
        "account": ResendError("API key is invalid", "invalid_api_key", 403).as_response(),
        "busy": ResendError("Too many requests.", "rate_limit_exceeded", 429).as_response(),
    }
    retry_header = "retry-after"

    api_key = "re_sandbox"
    signing_secret = "whsec_c2FuZGJveC10cmFja2luZy1zZWNyZXQ="  # noqa: S105
    inbound_secret = "whsec_c2FuZGJveC1pbmJvdW5kLXNlY3JldC0="  # noqa: S105

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._received: dict[str, ReceivedMail] = {}
        self._storage_key = secrets.token_hex(16)

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "RESEND_API_KEY": self.api_key,
            "RESEND_API_URL": api_url,
            "RESEND_SIGNING_SECRET": self.signing_secret,
            "RESEND_INBOUND_SECRET": self.inbound_secret,
        }

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if match := _DOWNLOAD.fullmatch(request.path):
                return self._download(match["email_id"], match["name"], request)
            self._check_key(request)
            if request.method == "POST" and request.path in ("emails", "emails/batch"):
                return self._send_once(request)
            match = _RECEIVED.fullmatch(request.path)
            if match and request.method == "GET":
                return self._get_received(match["email_id"], match["rest"] or "", request)
            raise ResendError("The requested endpoint does not exist", "not_found", 404)
        except ResendError as err:
            return err.as_response()

    def _check_key(self, request: ApiRequest) -> None:
        if "Authorization" not in request.headers:
            raise ResendError("Missing API key in the authorization header", "missing_api_key", 401)
        if not self.is_key(request.bearer, self.api_key):
            raise ResendError("API key is invalid", "invalid_api_key", 403)

    # -- Sending ------------------------------------------------------------------------------

    def _send_once(self, request: ApiRequest) -> ApiResponse:
        """Send, unless that was done before with the same idempotency key."""
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return self._post(request)
        if not 0 < len(key) <= MAX_KEY:
            raise ResendError("The idempotency key is too long", "invalid_idempotency_key", 400)
        use = KeyUse(time.time() + KEY_SECONDS, request.body)
        known = self.store.use_key(self.name, key, use)
        if known is None:
            try:
                use.answer = self._post(request)
            finally:
                if use.answer is None:
                    self.store.forget_key(self.name, key)
            return use.answer
        if known.body != request.body:
            raise ResendError(
                "This idempotency key was used with another body", "invalid_idempotent_request", 409
            )
        if known.answer is None:
            raise ResendError(
                "A call with this idempotency key is under way",
                "concurrent_idempotent_requests",
                409,
            )
        return known.answer

    def _post(self, request: ApiRequest) -> ApiResponse:
        if request.path == "emails":
            return ApiResponse.json(self._send([_json(request)], request)[0])
        return ApiResponse.json(self._send_batch(_json(request), request))

    def _send_batch(self, data: Any, request: ApiRequest) -> dict[str, Any]:
        if not isinstance(data, list) or not data:
            raise ResendError("The request must be an array of messages")
        if len(data) > MAX_BATCH_MESSAGES:
            raise ResendError(f"A batch can have at most {MAX_BATCH_MESSAGES} messages")
        for item in data:
            # Resend accepts them, and sends the messages without: worse than an error.
            if isinstance(item, dict) and "attachments" in item:
                raise ResendError("The `attachments` field is not supported in batches")
        if request.headers.get("x-batch-validation") != "permissive":
            return {"data": self._send(data, request)}
        accepted, errors = [], []
        for index, item in enumerate(data):
            try:
                accepted += self._send([item], request)
            except ResendError as err:
                errors.append({"index": index, "message": str(err)})
        return {"data": accepted, "errors": errors}

    def _send(self, items: list[Any], request: ApiRequest) -> list[dict[str, str]]:
        """Keep all of the messages, or none. Returns their ids."""
        messages = [self._build(_Fields(item), request) for item in items]
        self.store.add(messages)
        return [{"id": message.message_ids[0]} for message in messages]

    def _build(self, fields: _Fields, request: ApiRequest) -> StoredMessage:
        from_email = fields.mailboxes("from", required=True)
        if len(from_email) > 1:
            raise ResendError("Invalid `from` field.")
        to = fields.mailboxes("to", required=True)
        if len(to) > MAX_TO:
            raise ResendError(f"The `to` field can have at most {MAX_TO} addresses")
        subject, text, html = (fields.text(name) for name in ("subject", "text", "html"))
        if "subject" not in fields.data:
            raise ResendError("Missing `subject` field.", "missing_required_field")
        if not text and not html:
            raise ResendError("Missing `html` or `text` field.")
        fields.check_tags()
        headers = fields.headers()
        attachments = fields.attachments()
        message_id = str(uuid.uuid4())
        return StoredMessage(
            provider=self.name,
            from_email=from_email[0],
            reply_to=", ".join(map(str, fields.mailboxes("reply_to"))),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=message_id,
                    header_to=", ".join(map(str, to)),
                    subject=subject,
                    text=text,
                    html=html,
                    headers=headers,
                    # Anymail's own headers: Resend's tags are something else.
                    metadata=as_text(_json_header(headers, "X-Metadata", {})),
                    tags=tuple(_json_header(headers, "X-Tags", [])),
                )
                for kind in ("to", "cc", "bcc")
                for mailbox in (to if kind == "to" else fields.mailboxes(kind))
            ),
            attachments=tuple(item for item in attachments if not item.content_id),
            inline_images=tuple(item for item in attachments if item.content_id),
            send_at=fields.text("scheduled_at") or None,
            request=request,
        )

    # -- Received messages --------------------------------------------------------------------

    def _get_received(self, email_id: str, rest: str, request: ApiRequest) -> ApiResponse:
        received = self._received.get(email_id)
        if received is None:
            raise ResendError("Email not found", "not_found", 404)
        # At Resend, this is another host.
        host = request.headers.get("Host", "")
        base_url = f"http://{host}/{self.name}/downloads/{email_id}"
        if not rest:
            return ApiResponse.json(self._describe(email_id, received, base_url))
        attachments = [
            {**item, **self._download_url(f"{base_url}/{item['id']}")}
            for item in _describe_attachments(email_id, received.mail)
        ]
        if rest == "/attachments":
            return ApiResponse.json({"object": "list", "has_more": False, "data": attachments})
        for item in attachments:
            if rest == f"/attachments/{item['id']}":
                return ApiResponse.json({"object": "attachment", **item})
        raise ResendError("Attachment not found", "not_found", 404)

    def _describe(self, email_id: str, received: ReceivedMail, base_url: str) -> dict[str, Any]:
        mail = received.mail
        return {
            "object": "email",
            "id": email_id,
            "to": [str(mail.recipient)],
            "from": str(mail.sender),
            "created_at": mail.date.isoformat(),
            "subject": mail.subject,
            "html": mail.html or None,
            "text": mail.text,
            "headers": {name.lower(): value for name, value in mail.headers},
            "bcc": [],
            "cc": [],
            "reply_to": [],
            "received_for": [mail.recipient.addr_spec],
            "message_id": mail.message_id,
            "raw": self._download_url(f"{base_url}/raw") if received.raw else None,
            "attachments": _describe_attachments(email_id, mail),
        }

    def _download_url(self, url: str) -> dict[str, str]:
        expires_at = datetime.now(timezone.utc) + timedelta(hours=1)
        return {
            "download_url": f"{url}?key={self._storage_key}",
            "expires_at": expires_at.isoformat(),
        }

    def _download(self, email_id: str, name: str, request: ApiRequest) -> ApiResponse:
        received = self._received.get(email_id)
        # The URL is all that gives access. Storage providers refuse other credentials beside it.
        if (
            received is None
            or request.method != "GET"
            or request.query.get("key") != self._storage_key
            or "Authorization" in request.headers
        ):
            return ApiResponse.text("AccessDenied", 403)
        if name == "raw":
            return ApiResponse(body=received.mail.as_bytes(), content_type="message/rfc822")
        described = _describe_attachments(email_id, received.mail)
        for item, attachment in zip(described, received.mail.attachments, strict=True):
            if item["id"] == name:
                return ApiResponse(body=attachment.content, content_type=attachment.content_type)
        return ApiResponse.text("NoSuchKey", 404)

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        esp_type, details = EVENTS[event]
        # All of them, whichever the event is about
        to = [copy for copy in message.recipients if copy.message_id == recipient.message_id]
        data = {
            "created_at": _timestamp(),
            "email_id": recipient.message_id,
            "from": str(message.from_email),
            "to": [str(copy.mailbox) for copy in to if copy.kind == "to"],
            "subject": recipient.subject,
            "headers": [
                {"name": name, "value": value} for name, value in recipient.headers.items()
            ],
            **details,
        }
        if event == "clicked":
            data["click"] = {
                "ipAddress": "203.0.113.7",
                "link": clicked_link(recipient),
                "timestamp": _timestamp(),
                "userAgent": USER_AGENT,
            }
        payload = {"type": esp_type, "created_at": _timestamp(), "data": data}
        url = target.webhook_url("resend/tracking/")
        return _signed_call(url, payload, self.signing_secret)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # In any case, the call has only a summary. The site gets the message from the API.
        email_id = str(uuid.uuid4())
        self._received[email_id] = ReceivedMail(mail, raw)
        payload = {
            "type": "email.received",
            "created_at": _timestamp(),
            "data": {
                "email_id": email_id,
                "created_at": _timestamp(),
                "from": str(mail.sender),
                "to": [mail.recipient.addr_spec],
                "bcc": [],
                "cc": [],
                "message_id": mail.message_id,
                "subject": mail.subject,
                "attachments": _describe_attachments(email_id, mail),
            },
        }
        url = target.webhook_url("resend/inbound/")
        return _signed_call(url, payload, self.inbound_secret)


def _signed_call(url: str, data: Any, secret: str) -> WebhookCall:
    body = json.dumps(data, ensure_ascii=False).encode()
    message_id, timestamp = f"msg_{secrets.token_urlsafe(20)}", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    headers = {
        "Content-Type": "application/json",
        "svix-id": message_id,
        "svix-timestamp": timestamp,
        "svix-signature": f"v1,{signature}",
    }
    return WebhookCall(url, body, headers)


def _describe_attachments(email_id: str, mail: InboundMail) -> list[dict[str, Any]]:
    return [
        {
            "id": str(uuid.uuid5(uuid.UUID(email_id), str(number))),
            "filename": attachment.filename,
            "content_type": attachment.content_type.partition(";")[0],
            "content_disposition": "inline" if attachment.content_id else "attachment",
            "content_id": attachment.content_id or None,
            "size": len(attachment.content),
        }
        for number, attachment in enumerate(mail.attachments)
    ]


def _timestamp() -> str:
    """Return now, as in Resend's events."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _json(request: ApiRequest) -> Any:
    try:
        return request.json()
    except MalformedRequest as err:
        raise ResendError("The request body is not valid JSON", status=400) from err


def _json_header(headers: dict[str, str], name: str, default: Any) -> Any:
    """Return the JSON in a header; the default if it's something else."""
    try:
        value = json.loads(headers.get(name, ""))
    except ValueError:
        return default
    return value if isinstance(value, type(default)) else default


class _Fields:
    """The JSON for a message. All methods raise ResendError for what Resend refuses."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict):
            raise ResendError("The message must be a JSON object")
        self.data: dict[str, Any] = data

    def _typed(self, name: str, expected: type, default: Any) -> Any:
        value = self.data.get(name, default)
        if not isinstance(value, expected):
            raise ResendError(f"The type of the `{name}` field is wrong")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def mailboxes(self, name: str, *, required: bool = False) -> list[EmailAddress]:
        items = self.data.get(name, [])
        items = [items] if isinstance(items, str) else items
        if not isinstance(items, list):
            raise ResendError(f"The type of the `{name}` field is wrong")
        if required and not items:
            raise ResendError(f"Missing `{name}` field.", "missing_required_field")
        return [self._mailbox(name, item) for item in items]

    @staticmethod
    def _mailbox(name: str, item: Any) -> EmailAddress:
        mailboxes = parse_mailboxes(item) if isinstance(item, str) else []
        if len(mailboxes) != 1 or not is_valid(mailboxes[0]) or mailboxes[0].uses_eai:
            raise ResendError(
                f"Invalid `{name}` field. The email address needs to follow the "
                "`email@example.com` or `Name <email@example.com>` format."
            )
        return mailboxes[0]

    def headers(self) -> dict[str, str]:
        headers: dict[str, Any] = self._typed("headers", dict, {})
        if not all(isinstance(value, str) for value in headers.values()):
            raise ResendError("The values in the `headers` field must be text")
        return headers

    def check_tags(self) -> None:
        for tag in self._typed("tags", list, []):
            if not isinstance(tag, dict) or not all(
                isinstance(tag.get(part), str) and _TAG.fullmatch(tag[part])
                for part in ("name", "value")
            ):
                raise ResendError(
                    "Tags should only contain ASCII letters, numbers, underscores, or dashes."
                )

    def attachments(self) -> list[StoredAttachment]:
        return [_attachment(item) for item in self._typed("attachments", list, [])]


def _attachment(item: Any) -> StoredAttachment:
    try:
        attachment = StoredAttachment(
            filename=item["filename"],
            content_type=item.get("content_type", "application/octet-stream"),
            content=base64.b64decode(item["content"], validate=True),
            content_id=item.get("content_id", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as err:
        raise ResendError("Invalid attachment: it must have a `filename` and `content`") from err
    if not attachment.filename:
        raise ResendError("Invalid attachment: it must have a `filename`")
    return attachment
