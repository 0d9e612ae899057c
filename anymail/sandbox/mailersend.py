"""A stand-in for MailerSend.

- Sending: https://developers.mailersend.com/api/v1/email
- Errors: https://developers.mailersend.com/general
- Tracking: https://developers.mailersend.com/api/v1/webhooks
- Inbound: https://developers.mailersend.com/api/v1/inbound
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import mimetypes
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, received_address
from .providers import TOO_LARGE, InboundMail, Provider, WebhookTarget, clicked_link
from .store import Store, StoredAttachment, StoredMessage, StoredRecipient, render
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_RECIPIENTS = {"to": 50, "cc": 10, "bcc": 10}
MAX_TAGS = 5
MAX_BULK_MESSAGES = 500
MAX_DELAY = 72 * 60 * 60
"""Seconds that send_at can be ahead."""

# Anymail's word: the activity, and what it has in "morph".
EVENTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "sent": ("sent", None),
    "delivered": ("delivered", None),
    "deferred": ("deferred", None),
    "bounced": (
        "hard_bounced",
        {
            "object": "recipient_bounce",
            "reason": "550 5.1.1 No such user",
            "readable_reason": "The recipient's mailbox does not exist",
        },
    ),
    "opened": ("opened", {"object": "open", "ip": "203.0.113.7"}),
    "clicked": ("clicked", {"object": "click", "ip": "203.0.113.7"}),
    "complained": ("spam_complaint", {"object": "spam_complaint", "reason": None}),
    "unsubscribed": (
        "unsubscribed",
        {
            "object": "recipient_unsubscribe",
            "reason": "option_3",
            "readable_reason": "I get too many emails",
        },
    ),
}

_BULK = re.compile(r"v1/bulk-email/(?P<bulk_id>[0-9a-f]+)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")


class MailerSendError(Exception):
    """An error as MailerSend's API reports it: about a field, or with another status."""

    def __init__(self, text: str, field: str = "", status: int = 422) -> None:
        super().__init__(text)
        self.field = field
        self.status = status

    def as_dict(self) -> dict[str, Any]:
        errors = {"errors": {self.field: [str(self)]}} if self.field else {}
        return {"message": str(self), **errors}

    def as_response(self) -> ApiResponse:
        return ApiResponse.json(self.as_dict(), self.status)


class MailerSend(Provider):
    """MailerSend's email and bulk-email APIs, and its webhooks."""

    name = "mailersend"
    api_path = "v1/"
    events = frozenset(EVENTS)
    webhook_signature = ("HMAC-SHA256", "Signature")
    unsupported = frozenset({"hidden_recipients", "merge_metadata", "metadata", "stripped_text"})
    template_id = "0z76k5jg0o3yeg2d"
    batch_esp_extra = {"batch_send_mode": "expose-to-list"}

    refusals = {
        "message": MailerSendError(
            "The to.0.email must be a valid email address. #MS42209", "to.0.email"
        ).as_response(),
        "unsuitable": TOO_LARGE,
        "account": MailerSendError(
            "This token may not send in the name of this domain. #MS40302", status=403
        ).as_response(),
        "busy": MailerSendError("Too many requests. #MS42903", status=429).as_response(),
    }
    retry_header = "retry-after"

    api_token = "sandbox-api-token"  # noqa: S105 (opens nothing but the sandbox)
    signing_secret = "sandbox-signing-secret"  # noqa: S105
    inbound_secret = "sandbox-inbound-secret"  # noqa: S105

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._bulks: dict[str, dict[str, Any]] = {}

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "MAILERSEND_API_TOKEN": self.api_token,
            "MAILERSEND_API_URL": api_url,
            "MAILERSEND_SIGNING_SECRET": self.signing_secret,
            "MAILERSEND_INBOUND_SECRET": self.inbound_secret,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if not self.is_key(request.bearer, self.api_token):
                raise MailerSendError("Unauthenticated.", status=401)
            if request.method == "GET" and (match := _BULK.fullmatch(request.path)):
                return self._get_bulk(match["bulk_id"])
            if request.method == "POST" and request.path in ("v1/email", "v1/bulk-email"):
                data = _json(request)
                post = self._post_email if request.path == "v1/email" else self._post_bulk
                return post(data, request)
            raise MailerSendError("The resource was not found.", status=404)
        except MailerSendError as err:
            return err.as_response()

    def _post_email(self, data: Any, request: ApiRequest) -> ApiResponse:
        message, suppressed = self._build(_Fields(data), request)
        headers = {}
        if message.recipients:
            self.store.add([message])
            headers["X-Message-Id"] = message.message_ids[0]
        if not suppressed:
            return ApiResponse(202, b"", "text/html; charset=UTF-8", headers)
        everybody = not message.recipients
        warning = {
            "type": "ALL_SUPPRESSED" if everybody else "SOME_SUPPRESSED",
            "warning": f"{'All' if everybody else 'Some'} of the recipients have been suppressed.",
            "recipients": [_suppression(mailbox) for mailbox in suppressed],
        }
        answer = {"message": "There are some warnings for your request.", "warnings": [warning]}
        return ApiResponse(202, json.dumps(answer).encode(), "application/json", headers)

    def _post_bulk(self, data: Any, request: ApiRequest) -> ApiResponse:
        if not isinstance(data, list):
            raise MailerSendError("The request must be an array.", "message")
        if not 0 < len(data) <= MAX_BULK_MESSAGES:
            raise MailerSendError(f"1 to {MAX_BULK_MESSAGES} messages are allowed.", "message")
        messages, problems, suppressions = [], {}, {}
        for number, item in enumerate(data):
            # Messages are looked at only after the call has been answered.
            try:
                message, suppressed = self._build(_Fields(item), request)
            except MailerSendError as err:
                problems[f"message.{number}"] = err.as_dict().get("errors", {})
                continue
            if message.recipients:
                messages.append(message)
            if suppressed:
                message_id = (message.message_ids or [secrets.token_hex(12)])[0]
                suppressions[message_id] = [_suppression(mailbox) for mailbox in suppressed]
        self.store.add(messages)
        bulk_id = secrets.token_hex(12)
        self._bulks[bulk_id] = {
            "id": bulk_id,
            "state": "completed",
            "total_recipients_count": sum(len(message.recipients) for message in messages),
            "suppressed_recipients_count": sum(map(len, suppressions.values())),
            "suppressed_recipients": suppressions or None,
            "validation_errors_count": len(problems),
            "validation_errors": problems or None,
            "messages_id": [message.message_ids[0] for message in messages],
        }
        return ApiResponse.json(
            {"message": "The bulk email is being processed.", "bulk_email_id": bulk_id}, 202
        )

    def _get_bulk(self, bulk_id: str) -> ApiResponse:
        if bulk_id not in self._bulks:
            raise MailerSendError("The resource was not found.", status=404)
        return ApiResponse.json({"data": self._bulks[bulk_id]})

    def _build(
        self, fields: _Fields, request: ApiRequest
    ) -> tuple[StoredMessage, list[EmailAddress]]:
        """Return the message that MailerSend would send, and its suppressed recipients."""
        template_id = fields.text("template_id") or None
        from_email = fields.mailbox("from")
        if template_id is None:
            if from_email is None:
                raise MailerSendError("The from.email field is required.", "from.email")
            if not fields.text("subject"):
                raise MailerSendError("The subject field is required.", "subject")
            if not (fields.text("text") or fields.text("html")):
                raise MailerSendError("The text or the html field is required.", "text")
        recipients = [
            (kind, mailbox) for kind in MAX_RECIPIENTS for mailbox in fields.recipients(kind)
        ]
        to = [mailbox for kind, mailbox in recipients if kind == "to"]
        if not to:
            raise MailerSendError("The to field is required.", "to")
        data = fields.personalization([mailbox for _kind, mailbox in recipients])

        message_id = secrets.token_hex(12)
        copies, suppressed = [], []
        for kind, mailbox in recipients:
            if mailbox.addr_spec.lower() in self.store.suppressed:
                suppressed.append(mailbox)
                continue
            own_data = data.get(mailbox.addr_spec.lower(), {})
            subject, text, html = self._content(fields, own_data, is_merged=bool(data))
            copies.append(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=message_id,
                    header_to=", ".join(map(str, to)),
                    subject=subject,
                    text=text,
                    html=html,
                    headers=fields.headers(),
                    tags=tuple(fields.tags()),
                    merge_data=own_data,
                )
            )
        attachments = fields.attachments()
        options = fields.object("settings")
        message = StoredMessage(
            provider=self.name,
            from_email=from_email or received_address("", "template@example.com"),
            reply_to=str(fields.mailbox("reply_to") or ""),
            subject=fields.text("subject"),
            text=fields.text("text"),
            html=fields.text("html"),
            recipients=tuple(copies),
            attachments=tuple(item for item in attachments if not item.content_id),
            inline_images=tuple(item for item in attachments if item.content_id),
            track_opens=options.boolean("track_opens"),
            track_clicks=options.boolean("track_clicks"),
            send_at=fields.send_at(),
            template_id=template_id,
            request=request,
        )
        return message, suppressed

    def _content(
        self, fields: _Fields, data: Mapping[str, Any], *, is_merged: bool
    ) -> tuple[str, str, str]:
        """Return subject, text and HTML as a recipient gets them."""
        subject, text, html = (fields.text(name) for name in ("subject", "text", "html"))
        if template_id := fields.text("template_id"):
            template = self.store.templates.get(template_id)
            text = html = ""
            if template:
                subject, text, html = template.subject or subject, template.text, template.html
        elif not is_merged:
            return subject, text, html
        return render(subject, data), render(text, data), render(html, data)

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        activity, morph = EVENTS[event]
        now = _timestamp()
        if morph is not None:
            morph = {**morph, "id": secrets.token_hex(12), "created_at": now}
            if event == "clicked":
                morph["url"] = clicked_link(recipient)
        payload: dict[str, Any] = {
            "type": f"activity.{activity}",
            "domain_id": "yv69oxl5kl785kw2",
            "webhook_id": "2351ndgwr4zqx8ko",
            "url": target.webhook_url("mailersend/tracking/"),
            "created_at": now,
            "data": {
                "object": "activity",
                "id": secrets.token_hex(12),
                "type": activity,
                "created_at": now,
                "email": {
                    "object": "email",
                    "id": secrets.token_hex(12),
                    "created_at": now,
                    "from": message.from_email.addr_spec,
                    "subject": recipient.subject,
                    "status": "rejected" if event == "bounced" else "delivered",
                    "tags": list(recipient.tags) or None,
                    "message": {
                        "object": "message",
                        "id": recipient.message_id,
                        "created_at": now,
                    },
                    "recipient": {
                        "object": "recipient",
                        "id": secrets.token_hex(12),
                        "email": recipient.address,
                        "created_at": now,
                    },
                },
                "morph": morph,
                "template_id": message.template_id or "",
            },
        }
        return _signed_call(
            target.webhook_url("mailersend/tracking/"), payload, self.signing_secret
        )

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # Both are in each call: the raw message, and the parsed fields.
        sender = {"email": mail.sender.addr_spec, "name": mail.sender.display_name}
        recipient = {"email": mail.recipient.addr_spec, "name": mail.recipient.display_name}
        payload: dict[str, Any] = {
            "type": "inbound.message",
            "inbound_id": "v86qr5yxm1kz4nde",
            "url": target.webhook_url("mailersend/inbound/"),
            "created_at": _timestamp(),
            "data": {
                "object": "message",
                "id": secrets.token_hex(12),
                "created_at": _timestamp(),
                "recipients": {
                    "rcptTo": [{"email": mail.recipient.addr_spec}],
                    "to": {"raw": str(mail.recipient), "data": [recipient]},
                },
                "sender": {"email": mail.sender.addr_spec},
                "from": {**sender, "raw": str(mail.sender)},
                "subject": mail.subject,
                "date": format_datetime(mail.date),
                "headers": dict(mail.headers),
                "text": mail.text,
                "html": mail.html,
                "attachments": [
                    {
                        "file_name": attachment.filename,
                        "content_type": attachment.content_type.partition(";")[0],
                        "content_disposition": "inline" if attachment.content_id else "attachment",
                        "content_id": attachment.content_id,
                        "size": len(attachment.content),
                        "content": base64.b64encode(attachment.content).decode(),
                    }
                    for attachment in mail.attachments
                ],
                "raw": mail.as_bytes().decode(),
                "spf_check": {"code": "+", "value": None},
                "dkim_check": False,
            },
        }
        return _signed_call(payload["url"], payload, self.inbound_secret)


def _signed_call(url: str, payload: Any, secret: str) -> WebhookCall:
    """https://developers.mailersend.com/api/v1/webhooks#security"""
    # Slashes are escaped like this, and it's such text that is signed.
    body = json.dumps(payload).replace("/", "\\/").encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return WebhookCall(url, body, {"Content-Type": "application/json", "Signature": signature})


def _timestamp() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(request: ApiRequest) -> Any:
    try:
        if request.content_type != "application/json":
            raise MalformedRequest("The Content-Type must be application/json")
        return request.json()
    except MalformedRequest as err:
        raise MailerSendError(str(err), status=400) from err


def _suppression(mailbox: EmailAddress) -> dict[str, Any]:
    return {
        "email": mailbox.addr_spec,
        "name": mailbox.display_name,
        "reasons": ["blocklisted"],
    }


@dataclass(frozen=True)
class _Fields:
    """A JSON object in a call, and the path to it. Raises MailerSendError for wrong values."""

    data: Any
    path: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise MailerSendError(f"The {self.path or 'message'} must be an object.", self.path)

    def error(self, name: str, text: str) -> MailerSendError:
        field = f"{self.path}.{name}" if self.path else name
        return MailerSendError(f"The {field} {text}", field)

    def _typed(self, name: str, expected: type, empty: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return empty
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise self.error(name, f"must be of type {expected.__name__}.")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, None)
        return value

    def object(self, name: str) -> _Fields:
        return _Fields(self._typed(name, dict, {}), f"{self.path}.{name}" if self.path else name)

    def objects(self, name: str) -> list[_Fields]:
        items = self._typed(name, list, [])
        return [_Fields(item, f"{name}.{number}") for number, item in enumerate(items)]

    def as_mailbox(self) -> EmailAddress:
        mailbox = received_address(self.text("name"), self.text("email"))
        if not is_valid(mailbox) or mailbox.uses_eai:
            raise self.error("email", "must be a valid email address.")
        return mailbox

    def mailbox(self, name: str) -> EmailAddress | None:
        return self.object(name).as_mailbox() if self.data.get(name) is not None else None

    def recipients(self, kind: str) -> list[EmailAddress]:
        mailboxes = [item.as_mailbox() for item in self.objects(kind)]
        if len(mailboxes) > MAX_RECIPIENTS[kind]:
            raise self.error(kind, f"may not have more than {MAX_RECIPIENTS[kind]} items.")
        return mailboxes

    def tags(self) -> list[str]:
        tags: list[str] = self._typed("tags", list, [])
        if not all(isinstance(tag, str) for tag in tags):
            raise self.error("tags", "must be text.")
        if len(tags) > MAX_TAGS:
            raise self.error("tags", f"may not have more than {MAX_TAGS} items.")
        return tags

    def headers(self) -> dict[str, str]:
        headers = {}
        for item in self.objects("headers"):
            name = item.text("name")
            if not _HEADER_NAME.fullmatch(name):
                raise item.error("name", "must be alphanumeric.")
            headers[name] = item.text("value")
        if in_reply_to := self.text("in_reply_to"):
            headers["In-Reply-To"] = f"<{in_reply_to}>"
        if self.boolean("precedence_bulk"):
            headers["Precedence"] = "bulk"
        return headers

    def personalization(self, recipients: list[EmailAddress]) -> dict[str, dict[str, Any]]:
        """Return the data by address in lower case."""
        known = {mailbox.addr_spec.lower() for mailbox in recipients}
        data = {}
        for item in self.objects("personalization"):
            address = item.text("email").lower()
            if address not in known:
                raise item.error("email", "must be one of the recipients. #MS42217")
            data[address] = item.object("data").data
        return data

    def send_at(self) -> str | None:
        timestamp = self._typed("send_at", int, None)
        if timestamp is None:
            return None
        if not 0 < timestamp - time.time() <= MAX_DELAY:
            raise self.error("send_at", "must be within the next 72 hours.")
        return datetime.fromtimestamp(timestamp, tz=timezone.utc).isoformat()

    def attachments(self) -> list[StoredAttachment]:
        return [item.as_attachment() for item in self.objects("attachments")]

    def as_attachment(self) -> StoredAttachment:
        filename = self.text("filename")
        if not filename.rpartition(".")[2] or "." not in filename:
            raise self.error("filename", "must have an extension.")
        disposition = self.text("disposition") or "attachment"
        if disposition not in ("attachment", "inline"):
            raise self.error("disposition", "is invalid.")
        try:
            content = base64.b64decode(self.text("content"), validate=True)
        except (binascii.Error, ValueError) as err:
            raise self.error("content", "must be base64.") from err
        # MailerSend derives the type from the name.
        content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if content_type.startswith("text/"):
            content_type += "; charset=utf-8"
        content_id = self.text("id") if disposition == "inline" else ""
        return StoredAttachment(filename, content_type, content, content_id)
