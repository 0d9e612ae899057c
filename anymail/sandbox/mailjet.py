"""A stand-in for Mailjet.

- Sending: https://dev.mailjet.com/email/guides/send-api-v31/,
  https://dev.mailjet.com/email/reference/send-emails/
- Tracking: https://dev.mailjet.com/email/guides/webhooks/
- Inbound: https://dev.mailjet.com/email/guides/parse-api/
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import has_valid_domain, received_address
from .providers import (
    USER_AGENT,
    InboundMail,
    Provider,
    UnsupportedEvent,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import StoredAttachment, StoredMessage, StoredRecipient, render
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MALFORMED_JSON = "mj-0002"
MISSING = "mj-0003"
WRONG_TYPE = "mj-0004"
EMPTY = "mj-0007"
TOO_MANY_ITEMS = "mj-0008"
TOO_LARGE = "mj-0011"
INVALID_EMAIL = "mj-0013"
BAD_KEYS = "mj-0015"
NO_CONTENT = "send-0003"
FORBIDDEN_HEADER = "send-0011"
TOO_MANY_RECIPIENTS = "send-0015"

MAX_MESSAGES = 50
MAX_RECIPIENTS = 50

FORBIDDEN_HEADERS = frozenset(
    {
        "authentication-results",
        "bcc",
        "cc",
        "date",
        "delivered-to",
        "dkim-signature",
        "domainkey-status",
        "from",
        "list-id",
        "message-id",
        "received",
        "received-spf",
        "return-path",
        "sender",
        "subject",
        "to",
        "user-agent",
        "x-csa-complaints",
        "x-feedback-id",
        "x-mailer",
    }
)

# Anymail's word: what the event has beside the fields of all.
EVENTS: dict[str, dict[str, Any]] = {
    "delivered": {"event": "sent", "smtp_reply": "sent (250 2.0.0 OK)"},
    "opened": {"event": "open", "ip": "203.0.113.7", "geo": "CZ", "agent": USER_AGENT},
    "clicked": {"event": "click", "ip": "203.0.113.7", "geo": "CZ", "agent": USER_AGENT},
    "bounced": {
        "event": "bounce",
        "blocked": False,
        "hard_bounce": True,
        "error_related_to": "recipient",
        "error": "user unknown",
        "comment": "550 5.1.1 No such user",
    },
    "deferred": {
        "event": "bounce",
        "blocked": False,
        "hard_bounce": False,
        "error_related_to": "domain",
        "error": "greylisted",
        "comment": "451 4.7.1 Try again later",
    },
    "rejected": {"event": "blocked", "error_related_to": "mailjet", "error": "preblocked"},
    "complained": {"event": "spam", "source": "JMRPP"},
    "unsubscribed": {
        "event": "unsub",
        "mj_list_id": 1,
        "ip": "203.0.113.7",
        "geo": "CZ",
        "agent": USER_AGENT,
    },
}

_VARIABLE = r"var:([\w.-]+)(?::\"?([^\]}\"]*)\"?)?"
_IN_BRACKETS = re.compile(rf"\[\[{_VARIABLE}\]\]")
_IN_BRACES = re.compile(rf"\{{\{{{_VARIABLE}\}}\}}")


class MailjetError(Exception):
    """An error as Mailjet's API reports it, about the call or about one of its messages."""

    def __init__(self, code: str, text: str, related_to: str = "", status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.related_to = related_to
        self.status = status

    def as_dict(self) -> dict[str, Any]:
        return {
            "ErrorIdentifier": str(uuid.uuid4()),
            "ErrorCode": self.code,
            "StatusCode": self.status,
            "ErrorMessage": str(self),
            **({"ErrorRelatedTo": [self.related_to]} if self.related_to else {}),
        }

    def as_result(self) -> dict[str, Any]:
        return {"Status": "error", "Errors": [self.as_dict()]}

    def as_response(self) -> ApiResponse:
        return ApiResponse.json(self.as_dict(), self.status)


class ServerError(Exception):
    """What Mailjet fails at."""


class Mailjet(Provider):
    """Mailjet's Send API v3.1, and its webhooks."""

    name = "mailjet"
    api_path = "v3.1/"
    events = frozenset(EVENTS)
    unsupported = frozenset({"stripped_text"})
    template_id = "176375"

    refusals = {
        "message": ApiResponse.json(
            {
                "Messages": [
                    MailjetError(
                        INVALID_EMAIL, '"to" is an invalid email address.', "To[0].Email"
                    ).as_result()
                ]
            },
            400,
        ),
        "unsuitable": MailjetError(TOO_LARGE, "The payload is too large.", "", 413).as_response(),
        "account": MailjetError(
            BAD_KEYS, "API key authentication/authorization failure.", "", 401
        ).as_response(),
        "busy": ApiResponse(
            429, b"<html><h1>Too Many Requests</h1></html>", "text/html; charset=utf-8"
        ),
    }

    api_key = "sandbox-api-key"
    secret_key = "sandbox-secret-key"  # noqa: S105 (opens nothing but the sandbox)

    _message_ids = itertools.count(70650000000000001)

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "MAILJET_API_KEY": self.api_key,
            "MAILJET_SECRET_KEY": self.secret_key,
            "MAILJET_API_URL": api_url,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        if request.path.rstrip("/") != "v3.1/send":
            return ApiResponse.text("Not found", 404)
        if request.method != "POST":
            return ApiResponse.json({"StatusCode": 405, "ErrorMessage": "Method not allowed"}, 405)
        try:
            return self._post_send(request)
        except MailjetError as err:
            return err.as_response()
        except ServerError as err:
            return ApiResponse.json({"StatusCode": 500, "ErrorMessage": str(err)}, 500)

    def _post_send(self, request: ApiRequest) -> ApiResponse:
        user, password = request.basic_auth or (None, None)
        if not (self.is_key(user, self.api_key) and self.is_key(password, self.secret_key)):
            raise MailjetError(BAD_KEYS, "API key authentication/authorization failure.", "", 401)
        try:
            if request.content_type != "application/json":
                raise MalformedRequest("The Content-Type must be application/json")
            call = _Fields(request.json(), "")
        except MalformedRequest as err:
            raise MailjetError(MALFORMED_JSON, f"Malformed JSON: {err}") from err
        messages = call.array("Messages")
        if not messages:
            raise MailjetError(EMPTY, "The Messages must not be empty", "Messages")
        if len(messages) > MAX_MESSAGES:
            raise MailjetError(TOO_MANY_ITEMS, f"At most {MAX_MESSAGES} messages", "Messages")
        shared = call.object("Globals")
        test = call.boolean("SandboxMode") or False

        results, stored = [], []
        for number, item in enumerate(messages):
            # A message that is refused keeps no other one in the call from being sent.
            try:
                fields = _Fields(item, f"Messages[{number}]").over(shared)
                result, message = self._send(fields, request, test=test)
                results.append(result)
                stored.append(message)
            except MailjetError as err:
                results.append(err.as_result())
        if not test:
            self.store.add(message for message in stored if message.recipients)
        failed = len(stored) < len(messages)
        return ApiResponse.json({"Messages": results}, 400 if failed else 200)

    def _send(
        self, fields: _Fields, request: ApiRequest, *, test: bool
    ) -> tuple[dict[str, Any], StoredMessage]:
        """Return the answer for one message, and the message that Mailjet would send."""
        from_email = fields.mailbox("From")
        recipients = {kind: fields.mailboxes(kind) for kind in ("To", "Cc", "Bcc")}
        if not recipients["To"]:
            raise fields.error(MISSING, "To", "is mandatory but missing from the input")
        if sum(map(len, recipients.values())) > MAX_RECIPIENTS:
            raise fields.error(TOO_MANY_RECIPIENTS, "To", "has too many recipients")
        fields.mailbox("Sender")
        reply_to = fields.mailbox("ReplyTo")
        template_id = fields.integer("TemplateID")
        if from_email is None and template_id is None:
            raise fields.error(MISSING, "From", "is mandatory but missing from the input")

        copy = self._merge(fields, ", ".join(map(str, recipients["To"])), template_id)
        payload = fields.text("EventPayload")
        results: dict[str, list[dict[str, Any]]] = {}
        copies = []
        for kind, mailboxes in recipients.items():
            results[kind] = []
            for mailbox in mailboxes:
                message_id = 0 if test else next(self._message_ids)
                results[kind].append(
                    {
                        "Email": mailbox.addr_spec,
                        "MessageUUID": "" if test else str(uuid.uuid4()),
                        "MessageID": message_id,
                        "MessageHref": f"https://api.mailjet.com/v3/REST/message/{message_id}",
                    }
                )
                # Mailjet accepts those, and reports them later as blocked.
                if mailbox.addr_spec.lower() not in self.store.suppressed:
                    copies.append(
                        replace(
                            copy, kind=kind.lower(), mailbox=mailbox, message_id=str(message_id)
                        )
                    )
        message = StoredMessage(
            provider=self.name,
            from_email=from_email or received_address("", "template@example.com"),
            reply_to=str(reply_to or ""),
            subject=fields.text("Subject"),
            text=fields.text("TextPart"),
            html=fields.text("HTMLPart"),
            recipients=tuple(replace(item, metadata=_metadata(payload)) for item in copies),
            attachments=tuple(fields.attachments("Attachments")),
            inline_images=tuple(fields.attachments("InlinedAttachments")),
            track_opens=fields.tracking("TrackOpens"),
            track_clicks=fields.tracking("TrackClicks"),
            template_id=None if template_id is None else str(template_id),
            request=request,
        )
        return {"Status": "success", "CustomID": fields.text("CustomID"), **results}, message

    def _merge(self, fields: _Fields, header_to: str, template_id: int | None) -> StoredRecipient:
        """Return what all recipients of a message have in common, variables filled in."""
        data = fields.object("Variables").data
        if None in data.values():
            raise ServerError("Cannot convert data from Null value")
        subject, text, html = (fields.text(name) for name in ("Subject", "TextPart", "HTMLPart"))
        if template_id is not None:
            template = self.store.templates.get(str(template_id))
            if template:
                subject = subject or render(template.subject, data)
                text, html = render(template.text, data), render(template.html, data)
        elif not (text or html):
            raise fields.error(NO_CONTENT, "TextPart", "or HTMLPart or TemplateID is required")
        text, html = _fill(_IN_BRACKETS, text, data), _fill(_IN_BRACKETS, html, data)
        if fields.boolean("TemplateLanguage"):
            subject, text, html = (_fill(_IN_BRACES, item, data) for item in (subject, text, html))
        headers = fields.object("Headers").data
        for name in headers:
            if name.lower() in FORBIDDEN_HEADERS or name.lower().startswith(("x-mj-", "x-mailjet")):
                raise fields.error(FORBIDDEN_HEADER, "Headers", f"can't have {name!r}")
        campaign = fields.text("CustomCampaign")
        return StoredRecipient(
            kind="to",
            mailbox=received_address("", ""),
            message_id="",
            header_to=header_to,
            subject=subject,
            text=text,
            html=html,
            headers=as_text(headers),
            tags=(campaign,) if campaign else (),
            merge_data=data,
        )

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        payload = {
            **EVENTS[event],
            "time": int(time.time()),
            "MessageID": int(recipient.message_id),
            "Message_GUID": str(uuid.uuid4()),
            "email": recipient.address,
            "mj_campaign_id": 7257,
            "mj_contact_id": 4,
            "customcampaign": recipient.tags[0] if recipient.tags else "",
            "CustomID": "",
            "Payload": json.dumps(recipient.metadata) if recipient.metadata else "",
        }
        if event == "clicked":
            payload["url"] = clicked_link(recipient)
        return WebhookCall.json(target.webhook_url("mailjet/tracking/"), payload)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        if raw:
            raise UnsupportedEvent("Mailjet does not post raw messages")
        mime = message_from_bytes(mail.as_bytes(), policy=policy.default)
        assert isinstance(mime, EmailMessage)
        payload: dict[str, Any] = {
            "Sender": mail.sender.addr_spec,
            "Recipient": mail.recipient.addr_spec,
            "Date": mail.date.strftime("%Y%m%dT%H%M%S"),
            "From": str(mail.sender),
            "Subject": mail.subject,
            "Headers": _headers(mime),
            "Parts": [],
            "SpamAssassinScore": "0.1",
            "CustomID": "",
            "Payload": "",
        }
        numbers = {"Attachment": itertools.count(1), "InlineAttachment": itertools.count(1)}
        attachments = iter(mail.attachments)
        for part in _parts(mime):
            entry: dict[str, Any] = {"Headers": _headers(part)}
            payload["Parts"].append(entry)
            if part.get_content_maintype() == "multipart":
                continue
            disposition = part.get_content_disposition()
            if disposition is None:
                ref = "Html-part" if part.get_content_subtype() == "html" else "Text-part"
                payload[ref] = part.get_content()
            else:
                kind = "InlineAttachment" if disposition == "inline" else "Attachment"
                ref = f"{kind}{next(numbers[kind])}"
                payload[ref] = base64.b64encode(next(attachments).content).decode()
            entry["ContentRef"] = ref
        return WebhookCall.json(target.webhook_url("mailjet/inbound/"), payload)


@dataclass(frozen=True)
class _Fields:
    """A JSON object in a call, and the path to it. Raises MailjetError for wrong types."""

    data: dict[str, Any]
    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise MailjetError(WRONG_TYPE, "Type mismatch. Expected an object.", self.path)

    def over(self, shared: _Fields) -> _Fields:
        """Return the fields of a message, with those for all messages where it has none.

        Mailjet doesn't say that it merges headers and variables, so nobody should rely on that.
        """
        return _Fields({**shared.data, **self.data}, self.path)

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def error(self, code: str, name: str, text: str) -> MailjetError:
        return MailjetError(code, f"{name} {text}", self._path(name))

    def _typed(self, name: str, expected: type, empty: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return empty
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise self.error(WRONG_TYPE, name, f"must be of type {expected.__name__}")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def integer(self, name: str) -> int | None:
        value: int | None = self._typed(name, int, None)
        return value

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, None)
        return value

    def array(self, name: str) -> list[Any]:
        value: list[Any] = self._typed(name, list, [])
        return value

    def object(self, name: str) -> _Fields:
        return _Fields(self._typed(name, dict, {}), self._path(name))

    def objects(self, name: str) -> list[_Fields]:
        return [
            _Fields(item, f"{self._path(name)}[{number}]")
            for number, item in enumerate(self.array(name))
        ]

    def mailbox(self, name: str) -> EmailAddress | None:
        return self.object(name).as_mailbox() if self.data.get(name) is not None else None

    def mailboxes(self, name: str) -> list[EmailAddress]:
        return [item.as_mailbox() for item in self.objects(name)]

    def as_mailbox(self) -> EmailAddress:
        mailbox = received_address(self.text("Name"), self.text("Email"))
        # Mailjet takes non-ASCII local parts, but domains must be encoded.
        if not has_valid_domain(mailbox):
            raise self.error(INVALID_EMAIL, "Email", f"{mailbox.addr_spec!r} is invalid")
        return mailbox

    def tracking(self, name: str) -> bool | None:
        value = self.text(name)
        if value not in ("", "account_default", "enabled", "disabled"):
            raise self.error(WRONG_TYPE, name, "must be enabled, disabled or account_default")
        return {"enabled": True, "disabled": False}.get(value)

    def attachments(self, name: str) -> list[StoredAttachment]:
        return [item.as_attachment() for item in self.objects(name)]

    def as_attachment(self) -> StoredAttachment:
        for name in ("ContentType", "Filename"):
            if not self.text(name):
                raise self.error(MISSING, name, "is mandatory but missing from the input")
        try:
            content = base64.b64decode(self.text("Base64Content"), validate=True)
        except (binascii.Error, ValueError) as err:
            raise self.error(WRONG_TYPE, "Base64Content", "must be base64") from err
        return StoredAttachment(
            filename=self.text("Filename"),
            content_type=self.text("ContentType"),
            content=content,
            content_id=self.text("ContentID"),
        )


def _fill(pattern: re.Pattern[str], text: str, data: Mapping[str, Any]) -> str:
    """Replace variables by data, or else by their defaults."""
    return pattern.sub(lambda match: str(data.get(match[1], match[2] or "")), text)


def _metadata(payload: str) -> dict[str, str]:
    """Return the metadata in an EventPayload, which can be any text."""
    try:
        metadata = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return as_text(metadata) if isinstance(metadata, dict) else {}


def _parts(part: MIMEPart) -> Iterator[MIMEPart]:
    """Yield a message and all of its parts, but not those of messages attached to it."""
    yield part
    if part.get_content_maintype() == "multipart":
        for item in part.iter_parts():
            yield from _parts(item)


def _headers(part: MIMEPart) -> dict[str, Any]:
    """Return the headers of a message or part as the Parse API does: several values as a list."""
    headers: dict[str, list[str]] = {}
    for name, value in part.items():
        headers.setdefault(name, []).append(str(value))
    return {
        name: values if len(values) > 1 or name == "Content-Type" else values[0]
        for name, values in headers.items()
    }
