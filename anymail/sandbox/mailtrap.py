"""A stand-in for Mailtrap.

- Sending, and the API for received messages: https://github.com/mailtrap/mailtrap-openapi
- Tracking, signatures: https://docs.mailtrap.io/email-api-smtp/webhooks
- Inbound: https://docs.mailtrap.io/inbound-email/webhooks
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import json
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, received_address
from .providers import (
    TOO_LARGE,
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import Store, StoredAttachment, StoredMessage, StoredRecipient, render
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_RECIPIENTS = 1000
"""In each of to, cc and bcc."""
MAX_BATCH_MESSAGES = 500
MAX_CATEGORY = 255
MAX_CUSTOM_VARIABLES = 1000
"""Bytes of their JSON."""

INBOX_ID = 77

# Anymail's word: what the event has beside the fields of all.
EVENTS: dict[str, dict[str, Any]] = {
    "delivered": {"event": "delivery"},
    "opened": {"event": "open", "ip": "203.0.113.7", "user_agent": USER_AGENT},
    "clicked": {"event": "click", "ip": "203.0.113.7", "user_agent": USER_AGENT},
    "bounced": {
        "event": "bounce",
        "response": "550 5.1.1 No such user",
        "response_code": 550,
        "bounce_category": "badrecipient",
    },
    "deferred": {
        "event": "soft bounce",
        "response": "451 4.7.1 Try again later",
        "response_code": 451,
        "bounce_category": "greylisting",
    },
    "rejected": {"event": "reject", "reason": "Recipient in suppression list"},
    "complained": {"event": "spam"},
    "unsubscribed": {"event": "unsubscribe", "ip": "203.0.113.7", "user_agent": USER_AGENT},
}

_SENDING = re.compile(r"api/(?P<endpoint>send|batch)(?:/(?P<sandbox_id>\d+))?")
_RECEIVED = re.compile(r"api/inbound/inboxes/(?P<inbox_id>\d+)/messages/(?P<message_id>\d+)")
_RAW = re.compile(r"storage/(?P<message_id>\d+)\.eml")


class MailtrapError(Exception):
    """Errors as Mailtrap's API for sending reports them."""

    def __init__(self, *texts: str, status: int = 400) -> None:
        super().__init__(*texts)
        self.status = status

    def as_dict(self) -> dict[str, Any]:
        return {"success": False, "errors": list(self.args)}

    def as_response(self) -> ApiResponse:
        return ApiResponse.json(self.as_dict(), self.status)


class Mailtrap(Provider):
    """Mailtrap's APIs for sending and for received messages, and its webhooks."""

    name = "mailtrap"
    api_path = "api/"
    events = frozenset(EVENTS)
    webhook_signature = ("HMAC-SHA256", "Mailtrap-Signature")
    unsupported = frozenset({"stripped_text", "track_clicks", "track_opens"})
    template_id = "7d6c0c5a-0000-4000-8000-000000000000"

    refusals = {
        "message": MailtrapError("'to' address is invalid").as_response(),
        "unsuitable": TOO_LARGE,
        "account": MailtrapError("Unauthorized", status=401).as_response(),
        "busy": MailtrapError("Too many requests", status=429).as_response(),
    }

    api_token = "sandbox-api-token"  # noqa: S105 (opens nothing but the sandbox)
    tracking_secret = "0123456789abcdef0123456789abcdef"  # noqa: S105
    inbound_secret = "fedcba9876543210fedcba9876543210"  # noqa: S105

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._inbound_ids = itertools.count(18667)
        self._received: dict[str, InboundMail] = {}
        self._storage_key = secrets.token_hex(16)

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "MAILTRAP_API_TOKEN": self.api_token,
            "MAILTRAP_API_URL": api_url,
            "MAILTRAP_INBOUND_API_URL": api_url,
            "MAILTRAP_TRACKING_SECRET": self.tracking_secret,
            "MAILTRAP_INBOUND_SECRET": self.inbound_secret,
        }

    def handle(self, request: ApiRequest) -> ApiResponse:
        if (match := _SENDING.fullmatch(request.path)) and request.method == "POST":
            return self._handle_sending(match["endpoint"], match["sandbox_id"], request)
        if (match := _RECEIVED.fullmatch(request.path)) and request.method == "GET":
            return self._get_received(match["inbox_id"], match["message_id"], request)
        if (match := _RAW.fullmatch(request.path)) and request.method == "GET":
            return self._get_raw(match["message_id"], request)
        return ApiResponse.json({"error": "Not Found"}, 404)

    def _is_authorized(self, request: ApiRequest) -> bool:
        tokens = (request.headers.get("Api-Token"), request.bearer)
        return any(self.is_key(token, self.api_token) for token in tokens)

    # -- Sending ------------------------------------------------------------------------------

    def _handle_sending(
        self, endpoint: str, sandbox_id: str | None, request: ApiRequest
    ) -> ApiResponse:
        # A test inbox gives one id to a message, rather than one to each recipient.
        has_one_id = sandbox_id is not None
        try:
            if not self._is_authorized(request):
                raise MailtrapError("Unauthorized", status=401)
            try:
                data = request.json()
            except MalformedRequest as err:
                raise MailtrapError("Invalid JSON") from err
            if not isinstance(data, dict):
                raise MailtrapError("The request must be a JSON object")
            if endpoint == "send":
                return ApiResponse.json(self._send(data, request, has_one_id))
            results = []
            for fields in _batch_messages(data):
                # A message that is refused keeps no other one in the batch from being sent.
                try:
                    results.append(self._send(fields, request, has_one_id))
                except MailtrapError as err:
                    results.append(err.as_dict())
            return ApiResponse.json({"success": True, "responses": results})
        except MailtrapError as err:
            return err.as_response()

    def _send(self, data: dict[str, Any], request: ApiRequest, has_one_id: bool) -> dict[str, Any]:
        fields = _Fields(data)
        from_email = fields.mailbox("from")
        if from_email is None:
            raise MailtrapError("'from' is required")
        if from_email.uses_eai:
            raise MailtrapError("'from' address is invalid")
        mailboxes = [
            (kind, mailbox) for kind in ("to", "cc", "bcc") for mailbox in fields.all(kind)
        ]
        if not mailboxes:
            raise MailtrapError("'to', 'cc' or 'bcc' is required")
        subject, text, html = (fields.text(name) for name in ("subject", "text", "html"))
        template_uuid = fields.text("template_uuid")
        variables = fields.object("template_variables")
        fields.check_content()
        metadata = fields.custom_variables()
        reply_to = fields.mailbox("reply_to")
        headers = as_text(fields.object("headers"))
        attachments, inline_images = fields.attachments()

        content: tuple[str, ...] = subject, text, html
        if template_uuid:
            template = self.store.templates.get(template_uuid)
            parts = (template.subject, template.text, template.html) if template else ("", "", "")
            content = tuple(render(part, variables) for part in parts)
        one_id = str(uuid.uuid4())
        message = StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=str(reply_to) if reply_to else headers.get("Reply-To", ""),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=one_id if has_one_id else str(uuid.uuid4()),
                    header_to=", ".join(str(to) for to_kind, to in mailboxes if to_kind == "to"),
                    subject=content[0],
                    text=content[1],
                    html=content[2],
                    headers=headers,
                    metadata=metadata,
                    tags=tuple(filter(None, [fields.text("category")])),
                    merge_data=variables,
                )
                for kind, mailbox in mailboxes
            ),
            attachments=attachments,
            inline_images=inline_images,
            template_id=template_uuid or None,
            request=request,
        )
        self.store.add([message])
        message_ids = [recipient.message_id for recipient in message.recipients]
        return {"success": True, "message_ids": message_ids[:1] if has_one_id else message_ids}

    # -- Received messages --------------------------------------------------------------------

    def _get_received(self, inbox_id: str, message_id: str, request: ApiRequest) -> ApiResponse:
        if not self._is_authorized(request):
            return ApiResponse.json({"error": "Incorrect API token"}, 401)
        mail = self._received.get(message_id)
        if mail is None or inbox_id != str(INBOX_ID):
            return ApiResponse.json({"error": "Not Found"}, 404)
        # At Mailtrap, this is the host of a storage provider.
        host = request.headers.get("Host", "")
        raw_url = f"http://{host}/{self.name}/storage/{message_id}.eml?key={self._storage_key}"
        now = datetime.now(timezone.utc)
        return ApiResponse.json(
            {
                "id": message_id,
                "inbox_id": INBOX_ID,
                "from": str(mail.sender),
                "to": [str(mail.recipient)],
                "cc": [],
                "bcc": [],
                "subject": mail.subject,
                "message_id": mail.message_id,
                "in_reply_to": mail.in_reply_to or None,
                "headers": {name.lower(): value for name, value in mail.headers},
                "received_at": now.isoformat(),
                "text_body": mail.text,
                "html_body": mail.html or None,
                "attachments": [],
                "raw_message_url": raw_url,
                "raw_message_expires_at": (now + timedelta(hours=1)).isoformat(),
            }
        )

    def _get_raw(self, message_id: str, request: ApiRequest) -> ApiResponse:
        mail = self._received.get(message_id)
        # The URL is all that gives access. Storage providers refuse other credentials beside it.
        if (
            mail is None
            or request.query.get("key") != self._storage_key
            or "Authorization" in request.headers
        ):
            return ApiResponse.text("AccessDenied", 403)
        return ApiResponse(body=mail.as_bytes(), content_type="message/rfc822")

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        payload = {
            "timestamp": int(time.time()),
            "sending_stream": "transactional",
            "sending_domain_name": message.from_email.domain,
            "message_id": recipient.message_id,
            "email": recipient.address,
            "event_id": str(uuid.uuid4()),
            **EVENTS[event],
        }
        if recipient.tags:
            payload["category"] = recipient.tags[0]
        if recipient.metadata:
            payload["custom_variables"] = dict(recipient.metadata)
        if event == "clicked":
            payload["url"] = clicked_link(recipient)
        url = target.webhook_url("mailtrap/tracking/")
        return _signed_call(url, {"events": [payload]}, self.tracking_secret)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # In any case, the call has no message in it. The site gets that from the API.
        message_id = str(next(self._inbound_ids))
        self._received[message_id] = mail
        payload = {
            "event": "inbound.message_received",
            "event_id": str(uuid.uuid4()),
            "timestamp": int(time.time() * 1000),
            "inbox_id": INBOX_ID,
            "message_id": message_id,
            "from": str(mail.sender),
        }
        url = target.webhook_url("mailtrap/inbound/")
        return _signed_call(url, {"events": [payload]}, self.inbound_secret)


def _signed_call(url: str, data: Any, secret: str) -> WebhookCall:
    body = json.dumps(data).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return WebhookCall(
        url, body, {"Content-Type": "application/json", "Mailtrap-Signature": signature}
    )


def _batch_messages(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of each message: its own, and those of "base" that it has none of."""
    base, messages = data.get("base", {}), data.get("requests")
    if not isinstance(base, dict) or not isinstance(messages, list) or not messages:
        raise MailtrapError("'requests' must be an array, and not empty")
    if not all(isinstance(message, dict) for message in messages):
        raise MailtrapError("'requests' must be objects")
    if len(messages) > MAX_BATCH_MESSAGES:
        raise MailtrapError(f"'requests' must have at most {MAX_BATCH_MESSAGES} items")
    for field in ("to", "cc", "bcc"):
        if field in base:
            raise MailtrapError(f"'{field}' is not allowed in 'base'")
    return [{**base, **message} for message in messages]


class _Fields:
    """The JSON for a message. All methods raise MailtrapError for what Mailtrap refuses."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def _typed(self, name: str, expected: type, default: Any) -> Any:
        value = self.data.get(name, default)
        if not isinstance(value, expected):
            raise MailtrapError(f"'{name}' is invalid")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def object(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self._typed(name, dict, {})
        return value

    def mailbox(self, name: str) -> EmailAddress | None:
        return _mailbox(self.data[name], name) if name in self.data else None

    def all(self, name: str) -> list[EmailAddress]:
        items: list[Any] = self._typed(name, list, [])
        if len(items) > MAX_RECIPIENTS:
            raise MailtrapError(f"'{name}' must have at most {MAX_RECIPIENTS} items")
        return [_mailbox(item, name) for item in items]

    def check_content(self) -> None:
        content = {"subject", "text", "html"} & self.data.keys()
        if self.text("template_uuid"):
            content |= {"category"} & self.data.keys()
            if content:
                texts = [f"'{name}' is not allowed with 'template_uuid'" for name in content]
                raise MailtrapError(*sorted(texts))
        elif not self.text("subject"):
            raise MailtrapError("'subject' is required")
        elif not (self.text("text") or self.text("html")):
            raise MailtrapError("must specify either text or html body")
        if len(self.text("category")) > MAX_CATEGORY:
            raise MailtrapError("'category' is too long")

    def custom_variables(self) -> dict[str, str]:
        variables = self.object("custom_variables")
        if len(json.dumps(variables, ensure_ascii=False).encode()) > MAX_CUSTOM_VARIABLES:
            raise MailtrapError(f"'custom_variables' exceed {MAX_CUSTOM_VARIABLES} bytes")
        return as_text(variables)

    def attachments(self) -> tuple[tuple[StoredAttachment, ...], tuple[StoredAttachment, ...]]:
        """Return the attachments, and the inline ones."""
        attachments: list[StoredAttachment] = []
        inline_images: list[StoredAttachment] = []
        for item in self._typed("attachments", list, []):
            attachment, is_inline = _attachment(item)
            (inline_images if is_inline else attachments).append(attachment)
        return tuple(attachments), tuple(inline_images)


def _mailbox(item: Any, field: str) -> EmailAddress:
    try:
        mailbox = received_address(item.get("name", ""), item["email"])
    except (AttributeError, KeyError, TypeError):
        mailbox = received_address("", "")
    if not is_valid(mailbox):
        raise MailtrapError(f"'{field}' address is invalid")
    return mailbox


def _attachment(item: Any) -> tuple[StoredAttachment, bool]:
    try:
        is_inline = item.get("disposition", "attachment") == "inline"
        attachment = StoredAttachment(
            filename=item["filename"],
            content_type=item.get("type", "application/octet-stream"),
            content=base64.b64decode(item["content"], validate=True),
            content_id=item["content_id"] if is_inline else "",
        )
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as err:
        raise MailtrapError("'attachments' are invalid") from err
    if not attachment.filename:
        raise MailtrapError("'attachments' must have a filename")
    return attachment, is_inline
