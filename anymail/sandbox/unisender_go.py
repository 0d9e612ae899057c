"""A stand-in for Unisender Go.

- Sending: https://godocs.unisender.ru/web-api-ref#email-send
- Webhooks: https://godocs.unisender.ru/web-api-ref#callback-format
- International edition, with the same API: https://docs.unione.io/en/web-api-ref
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes, received_address
from .providers import (
    USER_AGENT,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import (
    KeyUse,
    Store,
    StoredAttachment,
    StoredMessage,
    StoredRecipient,
    render,
)
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

UNKNOWN_USER = 114  # because the key is wrong, or is for another data center
BAD_RECIPIENTS = 204
KEY_USED = 1573
OTHER_ERROR = 150  # one code, where Unisender Go has many

MAX_KEY = 64
KEY_SECONDS = 60
MAX_RECIPIENTS = 500
MAX_HEADERS = 50
MAX_TAGS = 4
MAX_TAG = 50
MAX_METADATA = 10
MAX_ATTACHMENT_NAME = 255
"""Bytes."""

ALLOWED_HEADERS = {
    "bcc",
    "cc",
    "in-reply-to",
    "list-archive",
    "list-help",
    "list-owner",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "references",
    "to",
}
"""Those that don't start with "x-". Some of them only after approval."""

GENERATED_ID = "anymail_id"
"""The item of metadata that tells a recipient's message from those of others in a job."""

# Anymail's word: status, and what else is in event_data.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sent": ("sent", {"delivery_status": "ok_sent"}),
    "delivered": (
        "delivered",
        {"delivery_status": "ok_delivered", "destination_response": "250 2.0.0 OK"},
    ),
    "opened": ("opened", {"delivery_status": "ok_read"}),
    "clicked": ("clicked", {"delivery_status": "ok_link_visited"}),
    "unsubscribed": ("unsubscribed", {"delivery_status": "ok_unsubscribed"}),
    "complained": ("spam", {"delivery_status": "ok_fbl"}),
    "deferred": (
        "soft_bounced",
        {
            "delivery_status": "err_will_retry",
            "destination_response": "451 4.7.1 Try again later",
        },
    ),
    "bounced": (
        "hard_bounced",
        {
            "delivery_status": "err_user_unknown",
            "destination_response": "550 5.1.1 No such user",
        },
    ),
}
BY_RECIPIENT = frozenset({"opened", "clicked", "unsubscribed"})

_MERGE_FIELD = re.compile(r"[A-Za-z]\w*", re.ASCII)


class UnisenderGoError(Exception):
    """An error as Unisender Go's API reports it."""

    def __init__(
        self,
        text: str,
        code: int = OTHER_ERROR,
        status: int = 400,
        failed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.failed = failed

    def as_response(self) -> ApiResponse:
        data: dict[str, Any] = {"status": "error", "code": self.code, "message": str(self)}
        if self.failed:
            data["failed_emails"] = dict(self.failed)
        return ApiResponse.json(data, self.status)


class UnisenderGo(Provider):
    """Unisender Go's API for sending, and its webhook."""

    name = "unisender_go"
    api_path = "ru/transactional/api/v1/"
    events = frozenset(EVENTS)
    webhook_signature = ("MD5 with the API key", "")
    unsupported = frozenset({"event_tags"})

    refusals = {
        "message": UnisenderGoError(
            "No valid recipients", BAD_RECIPIENTS, failed={"to@example.com": "invalid"}
        ).as_response(),
        "unsuitable": UnisenderGoError("The request is too large", status=413).as_response(),
        "account": UnisenderGoError("User with id '' not found", UNKNOWN_USER, 403).as_response(),
        "busy": UnisenderGoError("Too many requests", status=429).as_response(),
    }

    api_key = "sandbox-api-key"
    user_id = 456
    project_id = "6432890213745872"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._job_ids: dict[str, str] = {}
        """By the recipients' generated ids."""

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {"UNISENDER_GO_API_KEY": self.api_key, "UNISENDER_GO_API_URL": api_url}

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if request.method != "POST" or request.path != f"{self.api_path}email/send.json":
                raise UnisenderGoError("Unknown method", status=404)
            try:
                data = request.json()
            except MalformedRequest as err:
                raise UnisenderGoError("Error parsing JSON") from err
            if not isinstance(data, dict):
                raise UnisenderGoError("The request must be a JSON object")
            keys = (request.headers.get("X-API-KEY"), data.get("api_key"))
            if not any(self.is_key(key, self.api_key) for key in keys):
                raise UnisenderGoError("User with id '' not found", UNKNOWN_USER, 403)
            return ApiResponse.json(self._send(_Fields(data.get("message")), request))
        except UnisenderGoError as err:
            return err.as_response()

    def _send(self, fields: _Fields, request: ApiRequest) -> dict[str, Any]:
        job_id = f"{secrets.token_hex(3)}-{secrets.token_hex(3)}-{secrets.token_hex(1)}"
        recipients, failed = fields.recipients(self.store.suppressed)
        message = self._build(fields, recipients, job_id, request)
        if not message.recipients:
            raise UnisenderGoError("No valid recipients", BAD_RECIPIENTS, failed=failed)
        key = fields.text("idempotence_key")
        use = KeyUse(time.time() + KEY_SECONDS)
        if key and self.store.use_key(self.name, key, use) is not None:
            raise UnisenderGoError("The idempotence key was used within a minute", KEY_USED)
        for recipient in message.recipients:
            if recipient.message_id != job_id:
                self._job_ids[recipient.message_id] = job_id
        self.store.add([message])
        answer = {
            "status": "success",
            "job_id": job_id,
            "emails": [recipient.address for recipient in message.recipients],
        }
        return {**answer, "failed_emails": failed} if failed else answer

    def _build(
        self, fields: _Fields, recipients: list[_Fields], job_id: str, request: ApiRequest
    ) -> StoredMessage:
        template_id = fields.text("template_id")
        from_email = received_address(fields.text("from_name"), fields.text("from_email"))
        if from_email.addr_spec or not template_id:
            _check_address(from_email, "from_email")
        body = _Fields(fields.object("body"))
        content = (fields.text("subject"), body.text("plaintext"), body.text("html"))
        if not template_id and not (content[0] and (content[1] or content[2])):
            raise UnisenderGoError("'message.subject' and 'message.body' must not be empty")
        fields.check_limits()
        attachments = fields.attachments("attachments")
        inline_images = fields.attachments("inline_attachments")
        return StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=str(
                received_address(_decode(fields.text("reply_to_name")), fields.text("reply_to"))
            ),
            subject=content[0],
            text=content[1],
            html=content[2],
            recipients=tuple(
                self._copy(fields, recipient, content, job_id) for recipient in recipients
            ),
            attachments=attachments,
            inline_images=inline_images,
            track_opens=fields.flag("track_read"),
            track_clicks=fields.flag("track_links"),
            send_at=_Fields(fields.object("options")).text("send_at") or None,
            template_id=template_id or None,
            request=request,
        )

    def _copy(
        self, fields: _Fields, recipient: _Fields, content: tuple[str, ...], job_id: str
    ) -> StoredRecipient:
        """Return what one recipient gets."""
        own = recipient.object("substitutions")
        data = {**fields.object("global_substitutions"), **own}
        mailbox = received_address(recipient.substitution("to_name"), recipient.text("email"))
        metadata = as_text({**fields.object("global_metadata"), **recipient.object("metadata")})
        message_id = metadata.pop(GENERATED_ID, job_id)
        headers = fields.headers()
        to, cc = _mailboxes(headers.pop("to", "")), _mailboxes(headers.pop("cc", ""))
        if template_id := fields.text("template_id"):
            template = self.store.templates.get(template_id)
            if template:
                own_content = (template.subject, template.text, template.html)
                content = tuple(map(lambda own, default: own or default, content, own_content))
        subject, text, html = (render(part, data) for part in content)
        return StoredRecipient(
            kind=_kind(mailbox, to, cc),
            mailbox=mailbox,
            message_id=message_id,
            # Without such a header, recipients see only their own address.
            header_to=", ".join(map(str, to)) or str(mailbox),
            subject=subject,
            text=text,
            html=html,
            headers={name: render(_decode(value), own) for name, value in headers.items()},
            metadata=metadata,
            tags=tuple(fields.tags()),
            merge_data={key: data[key] for key in data if key != "to_name"},
        )

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        status, delivery_info = EVENTS[event]
        metadata = dict(recipient.metadata)
        job_id = self._job_ids.get(recipient.message_id)
        if job_id is not None:
            metadata[GENERATED_ID] = recipient.message_id
        event_data: dict[str, Any] = {
            "job_id": job_id or recipient.message_id,
            "metadata": metadata,
            "email": recipient.address,
            "status": status,
            "event_time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
            "delivery_info": dict(delivery_info),
        }
        if event in BY_RECIPIENT:
            event_data["delivery_info"] |= {"user_agent": USER_AGENT, "ip": "203.0.113.7"}
        if event == "clicked":
            event_data["url"] = clicked_link(recipient)
        user = {
            "user_id": self.user_id,
            "project_id": self.project_id,
            "project_name": "Pískoviště",
            "events": [{"event_name": "transactional_email_status", "event_data": event_data}],
        }
        body = _as_json({"auth": self.api_key, "events_by_user": [user]})
        # The signature takes the place of the key.
        signature = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
        body = body.replace(f'"auth":"{self.api_key}"', f'"auth":"{signature}"', 1)
        return WebhookCall(
            target.webhook_url("unisender_go/tracking/"),
            body.encode(),
            {"Content-Type": "application/json"},
        )


def _as_json(data: Any) -> str:
    """Return JSON in the way of PHP, with slashes escaped."""
    return json.dumps(data, separators=(",", ":")).replace("/", "\\/")


def _decode(value: str) -> str:
    """Decode the encoded-words (RFC 2047) in a header."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _mailboxes(header: str) -> list[EmailAddress]:
    """Return the addresses in a To or Cc header, their display names decoded."""
    return [
        received_address(_decode(mailbox.display_name), mailbox.addr_spec)
        for mailbox in parse_mailboxes(header)
    ]


def _kind(mailbox: EmailAddress, to: list[EmailAddress], cc: list[EmailAddress]) -> str:
    """Return what recipient somebody is, as the headers look."""
    for kind, shown in (("to", to), ("cc", cc)):
        if mailbox.addr_spec in (item.addr_spec for item in shown):
            return kind
    return "bcc" if to or cc else "to"


class _Fields:
    """A JSON object in a call. All methods raise UnisenderGoError for what is refused."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict):
            raise UnisenderGoError("Field 'message' is not an object, or something in it")
        self.data: dict[str, Any] = data

    def _typed(self, name: str, expected: type, default: Any) -> Any:
        value = self.data.get(name, default)
        if not isinstance(value, expected):
            raise UnisenderGoError(f"The type of field '{name}' is wrong")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def object(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self._typed(name, dict, {})
        return value

    def items(self, name: str) -> list[Any]:
        value: list[Any] = self._typed(name, list, [])
        return value

    def flag(self, name: str) -> bool | None:
        value = self.data.get(name)
        if value not in (None, 0, 1):
            raise UnisenderGoError(f"Field '{name}' must be 0 or 1")
        return None if value is None else bool(value)

    def substitution(self, name: str) -> str:
        return _Fields(self.object("substitutions")).text(name)

    def tags(self) -> list[str]:
        tags = self.items("tags")
        if len(tags) > MAX_TAGS or not all(
            isinstance(tag, str) and len(tag) <= MAX_TAG for tag in tags
        ):
            raise UnisenderGoError(f"There can be {MAX_TAGS} tags of {MAX_TAG} characters")
        return tags

    def headers(self) -> dict[str, str]:
        """Return the headers, those for recipients with their names in lower case."""
        headers = self.object("headers")
        if len(headers) > MAX_HEADERS:
            raise UnisenderGoError(f"There can be {MAX_HEADERS} headers")
        for name, value in headers.items():
            if not name.lower().startswith("x-") and name.lower() not in ALLOWED_HEADERS:
                raise UnisenderGoError(f"Header '{name}' is not allowed")
            if not isinstance(value, (str, int)) or not str(value).isascii():
                raise UnisenderGoError(f"Header '{name}' is invalid")
        return {
            name.lower() if name.lower() in ("to", "cc") else name: str(value)
            for name, value in headers.items()
        }

    def check_limits(self) -> None:
        if len(self.text("idempotence_key")) > MAX_KEY:
            raise UnisenderGoError(f"An idempotence key has at most {MAX_KEY} characters")
        self.tags()
        self.headers()
        for name in self.object("global_substitutions"):
            _check_merge_field(name)
        _check_metadata(self.object("global_metadata"))
        if reply_to := self.text("reply_to"):
            _check_address(received_address("", reply_to), "reply_to")

    def recipients(self, suppressed: set[str]) -> tuple[list[_Fields], dict[str, str]]:
        """Return the recipients, and {address: reason} for those who get nothing (more)."""
        items = [_Fields(item) for item in self.items("recipients")]
        if not items or len(items) > MAX_RECIPIENTS:
            raise UnisenderGoError(
                f"There must be 1 to {MAX_RECIPIENTS} recipients", BAD_RECIPIENTS
            )
        found: dict[str, _Fields] = {}
        failed = {}
        for item in items:
            mailbox = received_address("", item.text("email"))
            address = mailbox.addr_spec.lower()
            for name in item.object("substitutions"):
                _check_merge_field(name)
            _check_metadata({**self.object("global_metadata"), **item.object("metadata")})
            if not is_valid(mailbox) or mailbox.uses_eai:
                failed[mailbox.addr_spec] = "invalid"
            elif address in suppressed:
                failed[mailbox.addr_spec] = "unsubscribed"
            elif address in found:
                failed[mailbox.addr_spec] = "duplicate"
            else:
                found[address] = item
        return list(found.values()), failed

    def attachments(self, name: str) -> tuple[StoredAttachment, ...]:
        is_inline = name == "inline_attachments"
        return tuple(_attachment(item, is_inline) for item in self.items(name))


def _check_address(mailbox: EmailAddress, field: str) -> None:
    if not is_valid(mailbox) or mailbox.uses_eai:
        raise UnisenderGoError(f"Field 'message.{field}' is not a valid address")


def _check_merge_field(name: str) -> None:
    if not _MERGE_FIELD.fullmatch(name):
        raise UnisenderGoError(f"'{name}' can't be the name of a substitution")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    if len(metadata) > MAX_METADATA:
        raise UnisenderGoError(f"There can be {MAX_METADATA} items of metadata")


def _attachment(item: Any, is_inline: bool) -> StoredAttachment:
    try:
        name = item["name"]
        attachment = StoredAttachment(
            filename=name,
            content_type=item["type"],
            content=base64.b64decode(item["content"], validate=True),
            content_id=name if is_inline else "",
        )
        is_valid = "/" not in name and len(name.encode()) <= MAX_ATTACHMENT_NAME
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error) as err:
        raise UnisenderGoError("Invalid attachment") from err
    if not is_valid or not name:
        raise UnisenderGoError("Invalid name of an attachment")
    return attachment
