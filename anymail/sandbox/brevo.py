"""A stand-in for Brevo.

- Sending: https://developers.brevo.com/reference/send-transac-email,
  https://developers.brevo.com/docs/batch-send-transactional-emails
- Tracking: https://developers.brevo.com/docs/transactional-webhooks
- Inbound: https://developers.brevo.com/docs/inbound-parse-webhooks
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import mimetypes
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from .mailboxes import is_valid, received_address
from .providers import (
    USER_AGENT,
    InboundMail,
    Provider,
    UnsupportedEvent,
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

INVALID = "invalid_parameter"
MISSING = "missing_parameter"

MAX_RECIPIENTS = 2000
MAX_RECIPIENTS_OF_VERSION = 99
MAX_VERSIONS = 1000

METADATA_HEADER = "X-Mailin-custom"
# These are no headers: they control Brevo.
KEY_HEADER = "idempotencyKey"
KEY_SECONDS = 30 * 60

_ATTACHMENT_NAME = re.compile(
    r""".+\.(
    xlsx|xls|ods|docx|docm|doc|csv|pdf|txt|gif|jpg|jpeg|png|tif|tiff|rtf|bmp|cgm|css|shtml|html|htm|
    zip|xml|ppt|pptx|tar|ez|ics|mobi|msg|pub|eps|odt|mp3|m4a|m4v|wma|ogg|flac|wav|aif|aifc|aiff|mp4|
    mov|avi|mkv|mpeg|mpg|wmv|pkpass|xlsm
    )""",
    re.IGNORECASE | re.VERBOSE,
)

# Anymail's word: what the event has beside the fields of all.
EVENTS: dict[str, dict[str, Any]] = {
    "queued": {"event": "request"},
    "delivered": {"event": "delivered"},
    "opened": {"event": "unique_opened", "user_agent": USER_AGENT},
    "clicked": {"event": "click", "user_agent": USER_AGENT},
    "bounced": {"event": "hard_bounce", "reason": "550 5.1.1 No such user"},
    "deferred": {"event": "deferred", "reason": "451 4.7.1 Try again later"},
    "rejected": {"event": "blocked", "reason": "blocked : due to blacklist user"},
    "complained": {"event": "spam"},
    "unsubscribed": {"event": "unsubscribe"},
}

_SENDING = "v3/smtp/email"
_SPECIALS = frozenset('()<>@,:;."[]\\')  # RFC 5322, section 3.2.3
_ATTACHMENT = re.compile(r"v3/inbound/attachments/([^/]+)")
_PARAM = re.compile(r"\{\{\s*params\.([\w-]+)\s*\}\}")


class BrevoError(Exception):
    """An error as Brevo's API reports it."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status

    def as_response(self) -> ApiResponse:
        return ApiResponse.json({"code": self.code, "message": str(self)}, self.status)


class Brevo(Provider):
    """Brevo's transactional email API, its API for received attachments, and its webhooks."""

    name = "brevo"
    api_path = "v3/"
    events = frozenset(EVENTS)
    unsupported = frozenset({"inline_images", "non_ascii_metadata", "track_clicks", "track_opens"})
    template_id = 77

    refusals = {
        "message": BrevoError(INVALID, "email is not valid in to").as_response(),
        "unsuitable": BrevoError(MISSING, "htmlContent is missing").as_response(),
        "account": BrevoError("not_enough_credits", "Not enough credits", 402).as_response(),
        "busy": BrevoError("too_many_requests", "Too many requests", 429).as_response(),
    }
    retry_header = "x-sib-ratelimit-reset"

    api_key = "xkeysib-sandbox"

    _numbers = itertools.count(1)

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._received: dict[str, StoredAttachment] = {}

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {"BREVO_API_KEY": self.api_key, "BREVO_API_URL": api_url}

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if not self.is_key(request.headers.get("api-key"), self.api_key):
                raise BrevoError("unauthorized", "Key not found", 401)
            if request.path == _SENDING and request.method == "POST":
                return self._post_email(request)
            if (match := _ATTACHMENT.fullmatch(request.path)) and request.method == "GET":
                return self._get_attachment(unquote(match[1]))
            raise BrevoError("document_not_found", "Unable to find the requested route", 404)
        except BrevoError as err:
            return err.as_response()

    def _get_attachment(self, token: str) -> ApiResponse:
        attachment = self._received.get(token)
        if attachment is None:
            raise BrevoError("document_not_found", "Attachment not found", 404)
        return ApiResponse(200, attachment.content, attachment.content_type)

    def _post_email(self, request: ApiRequest) -> ApiResponse:
        try:
            fields = _Fields(request.json())
        except MalformedRequest as err:
            raise BrevoError("bad_request", "Input must be a valid JSON object") from err
        # In a batch, each version of the message has an id of its own.
        in_versions = fields.get("messageVersions") is not None
        versions = fields.versions() if in_versions else [fields]
        ids = [self._message_id() for _version in versions]
        message = self._build(fields, versions, ids, request)
        key = fields.idempotency_key()
        use = KeyUse(time.time() + KEY_SECONDS)
        if key and self.store.use_key(self.name, key, use) is not None:
            raise BrevoError("duplicate_parameter", "Duplicate idempotency key")
        if fields.headers().get("X-Sib-Sandbox") != "drop":
            self.store.add([message])
        scheduled = message.send_at is not None
        answer: dict[str, Any] = {"messageIds": ids} if in_versions else {"messageId": ids[0]}
        if scheduled:
            answer["batchId"] = str(uuid.uuid4())
        return ApiResponse.json(answer, 202 if scheduled else 201)

    def _message_id(self) -> str:
        now = datetime.now(timezone.utc)
        return f"<{now:%Y%m%d%H%M}.{next(self._numbers):011}@smtp-relay.mailin.fr>"

    def _build(
        self, fields: _Fields, versions: list[_Fields], ids: list[str], request: ApiRequest
    ) -> StoredMessage:
        template_id = fields.integer("templateId")
        sender = fields.mailbox("sender")
        if template_id is None:
            if sender is None:
                raise BrevoError(MISSING, "sender is missing")
            if not fields.text("subject"):
                raise BrevoError(MISSING, "subject is missing")
            if not fields.text("htmlContent"):
                raise BrevoError(MISSING, "Either of htmlContent or templateId is missing")
        recipients = [
            copy
            for version, message_id in zip(versions, ids, strict=True)
            for copy in self._copies(fields, version, message_id, len(versions) == 1)
        ]
        if len(recipients) > MAX_RECIPIENTS:
            raise BrevoError(INVALID, f"At most {MAX_RECIPIENTS} recipients are allowed")
        return StoredMessage(
            provider=self.name,
            from_email=sender or received_address("", "template@example.com"),
            reply_to=str(fields.mailbox("replyTo") or ""),
            subject=fields.text("subject"),
            text=fields.text("textContent"),
            html=fields.text("htmlContent"),
            # Brevo accepts those, and reports them later as blocked.
            recipients=tuple(
                copy for copy in recipients if copy.address.lower() not in self.store.suppressed
            ),
            attachments=fields.attachments(),
            send_at=fields.time("scheduledAt"),
            template_id=None if template_id is None else str(template_id),
            request=request,
        )

    def _copies(
        self, fields: _Fields, version: _Fields, message_id: str, is_only_version: bool
    ) -> list[StoredRecipient]:
        """Return what the recipients of a version of the message get."""
        to = version.mailboxes("to")
        if not to:
            raise BrevoError(MISSING, "to is missing")
        if version is not fields and len(to) > MAX_RECIPIENTS_OF_VERSION:
            raise BrevoError(
                INVALID, f"At most {MAX_RECIPIENTS_OF_VERSION} recipients in a version are allowed"
            )
        # Brevo ignores those for all versions if there is just one, and doesn't say when it merges.
        params = version.object("params")
        if not (params or is_only_version):
            params = fields.object("params")
        headers = version.headers() or fields.headers()
        subject, text, html = self._content(fields, params)
        copy = StoredRecipient(
            kind="to",
            mailbox=to[0],
            message_id=message_id,
            header_to=", ".join(map(str, to)),
            subject=subject,
            text=text,
            html=html,
            headers=dict(headers),
            metadata=_metadata(headers.get(METADATA_HEADER)),
            tags=tuple(fields.texts("tags")),
            merge_data=params,
        )
        return [
            replace(copy, kind=kind, mailbox=mailbox)
            for kind, mailboxes in (
                ("to", to),
                ("cc", fields.mailboxes("cc")),
                ("bcc", fields.mailboxes("bcc")),
            )
            for mailbox in mailboxes
        ]

    def _content(self, fields: _Fields, params: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return subject, text and HTML, params filled in."""
        subject, text, html = (
            fields.text(name) for name in ("subject", "textContent", "htmlContent")
        )
        if (template_id := fields.integer("templateId")) is not None:
            template = self.store.templates.get(str(template_id))
            text = html = ""
            if template:
                data = {**params, **{f"params.{name}": params[name] for name in params}}
                subject = subject or render(template.subject, data)
                text, html = render(template.text, data), render(template.html, data)
        return _fill(subject, params), _fill(text, params), _fill(html, params)

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        now = datetime.now(timezone.utc)
        headers = CaseInsensitiveDict(recipient.headers)
        payload = {
            **EVENTS[event],
            "email": recipient.address,
            "id": 1234567,
            "date": f"{now:%Y-%m-%d %H:%M:%S}",
            "ts": int(now.timestamp()),
            "ts_event": int(now.timestamp()),
            "ts_epoch": int(now.timestamp() * 1000),
            "message-id": recipient.message_id,
            "subject": recipient.subject,
            "sender_email": message.from_email.addr_spec,
            "sending_ip": "203.0.113.9",
        }
        if recipient.tags:
            payload |= {"tag": json.dumps(recipient.tags), "tags": list(recipient.tags)}
        if METADATA_HEADER in headers:
            payload[METADATA_HEADER] = headers[METADATA_HEADER]
        if message.template_id is not None:
            payload["template_id"] = int(message.template_id)
        if event == "clicked":
            payload["link"] = clicked_link(recipient)
        return WebhookCall.json(target.webhook_url("brevo/tracking/"), payload)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        if raw:
            raise UnsupportedEvent("Brevo does not post raw messages")
        headers: dict[str, Any] = {
            **dict(mail.headers),
            "Return-Path": f"<{mail.sender.addr_spec}>",
            "Delivered-To": mail.recipient.addr_spec,
            "From": str(mail.sender),
            "To": str(mail.recipient),
            "Subject": mail.subject,
            "MIME-Version": "1.0",
            "Content-Type": "multipart/mixed; boundary=sandbox",
        }
        item = {
            "Uuid": [str(uuid.uuid4())],
            "MessageId": mail.message_id,
            "InReplyTo": mail.in_reply_to or None,
            "From": _person(mail.sender),
            "To": [_person(mail.recipient)],
            "Recipients": [mail.recipient.addr_spec],
            "Cc": [],
            "ReplyTo": None,
            "SentAtDate": format_datetime(mail.date),
            "Subject": mail.subject,
            "RawHtmlBody": mail.html or None,
            "RawTextBody": mail.text,
            "ExtractedMarkdownMessage": mail.stripped_text or mail.text,
            "ExtractedMarkdownSignature": None,
            "SpamScore": 0.1,
            "Attachments": [self._keep(attachment) for attachment in mail.attachments],
            "Headers": headers,
        }
        return WebhookCall.json(target.webhook_url("brevo/inbound/"), {"items": [item]})

    def _keep(self, attachment: StoredAttachment) -> dict[str, Any]:
        """Keep a received attachment to be downloaded, and return how webhooks refer to it."""
        token = f"{secrets.token_urlsafe(24)}=="
        self._received[token] = attachment
        return {
            "Name": attachment.filename,
            "ContentType": attachment.content_type.partition(";")[0],
            "ContentLength": len(attachment.content),
            "ContentID": attachment.content_id or None,
            "DownloadToken": token,
        }


@dataclass(frozen=True)
class _Fields:
    """A JSON object in a call. All methods raise BrevoError for wrong types and values."""

    data: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise BrevoError("bad_request", "Input must be a valid JSON object")

    def get(self, name: str) -> Any:
        return self.data.get(name)

    def _typed(self, name: str, expected: type, empty: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return empty
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise BrevoError(INVALID, f"{name} is not valid: must be {expected.__name__}")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def integer(self, name: str) -> int | None:
        value: int | None = self._typed(name, int, None)
        return value

    def object(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self._typed(name, dict, {})
        return value

    def array(self, name: str) -> list[Any]:
        value: list[Any] = self._typed(name, list, [])
        return value

    def texts(self, name: str) -> list[str]:
        values = self.array(name)
        if not all(isinstance(value, str) for value in values):
            raise BrevoError(INVALID, f"{name} is not valid: must be an array of text")
        return values

    def time(self, name: str) -> str | None:
        text = self.text(name)
        if not text:
            return None
        try:
            # Before Python 3.11, a "Z" was not understood.
            offset = datetime.fromisoformat(re.sub("Z$", "+00:00", text)).utcoffset()
        except ValueError:
            offset = None
        if offset is None:
            raise BrevoError(INVALID, f"{name} is not a valid date-time")
        return text

    def mailbox(self, name: str) -> EmailAddress | None:
        return _mailbox(self.object(name), name) if self.get(name) is not None else None

    def mailboxes(self, name: str) -> list[EmailAddress]:
        return [_mailbox(item, name) for item in self.array(name)]

    def headers(self) -> CaseInsensitiveDict[str]:
        headers = self.object("headers")
        if not all(isinstance(value, (str, int, float)) for value in headers.values()):
            raise BrevoError(INVALID, "headers is not valid")
        return CaseInsensitiveDict(
            {name: value for name, value in as_text(headers).items() if name != KEY_HEADER}
        )

    def idempotency_key(self) -> str | None:
        key = self.object("headers").get(KEY_HEADER)
        if key is None:
            return None
        try:
            return str(uuid.UUID(key))
        except (AttributeError, TypeError, ValueError) as err:
            raise BrevoError(INVALID, f"{KEY_HEADER} is not valid: must be a UUID") from err

    def versions(self) -> list[_Fields]:
        versions = self.array("messageVersions")
        if not versions:
            raise BrevoError(MISSING, "messageVersions is empty")
        if len(versions) > MAX_VERSIONS:
            raise BrevoError(INVALID, f"At most {MAX_VERSIONS} messageVersions are allowed")
        return [_Fields(version) for version in versions]

    def attachments(self) -> tuple[StoredAttachment, ...]:
        return tuple(_attachment(_Fields(item)) for item in self.array("attachment"))


def _mailbox(data: Any, name: str) -> EmailAddress:
    fields = _Fields(data)
    mailbox = received_address(_display_name(fields.text("name")), fields.text("email"))
    if not is_valid(mailbox):
        raise BrevoError(INVALID, f"email is not valid in {name}")
    return mailbox


def _display_name(name: str) -> str:
    """Return a name as it looks in the message that Brevo delivers."""
    if not name.isascii() and not _SPECIALS.isdisjoint(name):
        return ""  # a bug of Brevo's
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, ValueError):
        return name


def _attachment(fields: _Fields) -> StoredAttachment:
    name = fields.text("name")
    if not _ATTACHMENT_NAME.fullmatch(name):
        raise BrevoError(INVALID, f"Unsupported file format of attachment {name!r}")
    # Brevo derives the type from the name, and takes all text for UTF-8.
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    try:
        content = base64.b64decode(fields.text("content"), validate=True)
    except (binascii.Error, ValueError) as err:
        raise BrevoError(INVALID, f"content of attachment {name!r} is not base64") from err
    return StoredAttachment(name, content_type, content)


def _metadata(header: str | None) -> dict[str, str]:
    """Return the metadata in a header, which can have anything in it."""
    try:
        data = json.loads(header or "{}")
    except (ValueError, RecursionError):
        return {}
    return as_text(data) if isinstance(data, dict) else {}


def _fill(text: str, params: Mapping[str, Any]) -> str:
    return _PARAM.sub(lambda match: str(params.get(match[1], "")), text)


def _person(mailbox: EmailAddress) -> dict[str, str | None]:
    return {"Name": mailbox.display_name or None, "Address": mailbox.addr_spec}
