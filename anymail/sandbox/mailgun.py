"""A stand-in for Mailgun.

- Sending: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
- Batches: https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/batch-sending
- Tracking: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
- Inbound:
  https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/receive-http
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlencode

from urllib3.filepost import encode_multipart_formdata

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes
from .providers import (
    TOO_LARGE,
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    clicked_link,
)
from .store import StoredAttachment, StoredMessage, StoredRecipient, render
from .wire import ApiRequest, ApiResponse, Form, MalformedRequest, WebhookCall

MAX_RECIPIENTS = 1000
MAX_TAGS = 10

UNKNOWN_DOMAIN = ".invalid"
"""Sending domains that end like this don't exist. All others do."""

# Anymail's word: event, and what else is in event-data.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "queued": ("accepted", {"method": "HTTP", "delivery-status": None}),
    "delivered": (
        "delivered",
        {
            "delivery-status": {
                "code": 250,
                "message": "250 2.0.0 OK",
                "description": "",
                "mx-host": "mx.example.com",
                "attempt-no": 1,
                "tls": True,
            }
        },
    ),
    "bounced": (
        "failed",
        {
            "severity": "permanent",
            "reason": "bounce",
            "delivery-status": {
                "code": 550,
                "message": "550 5.1.1 No such user",
                "description": "",
                "mx-host": "mx.example.com",
                "attempt-no": 1,
            },
        },
    ),
    "deferred": (
        "failed",
        {
            "severity": "temporary",
            "reason": "generic",
            "delivery-status": {
                "code": 451,
                "message": "451 4.7.1 Try again later",
                "description": "",
                "mx-host": "mx.example.com",
                "attempt-no": 1,
                "retry-seconds": 600,
            },
        },
    ),
    "opened": ("opened", {}),
    "clicked": ("clicked", {}),
    "complained": ("complained", {}),
    "unsubscribed": ("unsubscribed", {}),
}
BY_RECIPIENT = frozenset({"opened", "clicked", "unsubscribed"})

_VARIABLE = re.compile(r"%recipient\.([^%]+)%")

_NOT_ALLOWED = "Domain is not allowed to send: request limit exceeded"


class MailgunError(Exception):
    """An error as Mailgun's API reports it."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Mailgun(Provider):
    """Mailgun's messages API, and its webhooks."""

    name = "mailgun"
    api_path = "v3/"
    events = frozenset(EVENTS)
    webhook_signature = ("HMAC-SHA256 of timestamp and token", "")

    refusals = {
        "message": ApiResponse.json({"message": "to parameter is not a valid address"}, 400),
        "unsuitable": TOO_LARGE,
        "account": ApiResponse.text("Forbidden", 401),
        "busy": ApiResponse.json({"message": _NOT_ALLOWED}, 420),
    }

    api_key = "sandbox-api-key"
    webhook_signing_key = "sandbox-webhook-signing-key"

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "MAILGUN_API_KEY": self.api_key,
            "MAILGUN_API_URL": api_url,
            "MAILGUN_WEBHOOK_SIGNING_KEY": self.webhook_signing_key,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        match = re.fullmatch(r"v3/([^/]+)/messages", request.path)
        if not match:
            # What Mailgun has to say at unknown URLs.
            return ApiResponse.text("Mailgun Magnificent API")
        if request.method != "POST":
            return ApiResponse.json({"message": "Method not allowed"}, 405)
        user, key = request.basic_auth or ("", None)
        if user != "api" or not self.is_key(key, self.api_key):
            return ApiResponse.text("Forbidden", 401)
        domain = unquote(match[1])
        try:
            if domain.lower().endswith(UNKNOWN_DOMAIN):
                raise MailgunError(f"Domain not found: {domain}", 404)
            message = self._build(request.form(), domain, request)
        except (MailgunError, MalformedRequest) as err:
            status = err.status if isinstance(err, MailgunError) else 400
            return ApiResponse.json({"message": str(err)}, status)
        self.store.add([message])
        return ApiResponse.json({"id": message.message_ids[0], "message": "Queued. Thank you."})

    def refuse(
        self, problem: str, request: ApiRequest, retry_after: float | None = None
    ) -> ApiResponse:
        if problem != "busy" or retry_after is None:
            return super().refuse(problem, request)
        # In whole seconds. What comes back too early is refused again.
        date = formatdate(math.ceil(time.time() + retry_after)).replace("-0000", "UTC")
        return ApiResponse.json({"message": f"{_NOT_ALLOWED}, try again after {date}"}, 420)

    def _build(self, form: Form, domain: str, request: ApiRequest) -> StoredMessage:
        template_id = form.get("template")
        from_email = _mailboxes(form, "from")
        if not from_email:
            raise MailgunError("from parameter is missing")
        to, cc, bcc = (_mailboxes(form, name) for name in ("to", "cc", "bcc"))
        if not to:
            raise MailgunError("to parameter is missing")
        if len(to) + len(cc) + len(bcc) > MAX_RECIPIENTS:
            raise MailgunError(f"message has more than {MAX_RECIPIENTS} recipients")
        if not (template_id or form.get("text") or form.get("html")):
            raise MailgunError("Need at least one of 'text' or 'html' parameters specified")
        if len(form.get_list("o:tag")) > MAX_TAGS:
            raise MailgunError(f"message has more than {MAX_TAGS} tags")

        now = datetime.now(timezone.utc)
        message_id = f"<{now:%Y%m%d%H%M%S}.1.{secrets.token_hex(8).upper()}@{domain}>"
        variables = _recipient_variables(form)
        copies = []
        for group in to if variables is not None else [None]:
            # In a batch, each `to` address gets a message of its own, with copies to cc and bcc.
            copy = self._merge(form, message_id, to if group is None else [group], variables)
            copies += [
                replace(copy, kind=kind, mailbox=mailbox)
                for kind, mailboxes in (
                    ("to", to if group is None else [group]),
                    ("cc", cc),
                    ("bcc", bcc),
                )
                for mailbox in mailboxes
            ]
        return StoredMessage(
            provider=self.name,
            from_email=from_email[0],
            reply_to=form.get("h:Reply-To") or "",
            subject=form.get("subject") or "",
            text=form.get("text") or "",
            html=form.get("html") or "",
            recipients=tuple(copies),
            attachments=_files(form, "attachment"),
            inline_images=_files(form, "inline"),
            track_opens=_yes_or_no(form, "o:tracking-opens"),
            track_clicks=_yes_or_no(form, "o:tracking-clicks"),
            send_at=_delivery_time(form),
            template_id=template_id,
            request=request,
        )

    def _merge(
        self,
        form: Form,
        message_id: str,
        to: list[EmailAddress],
        variables: Mapping[str, Mapping[str, Any]] | None,
    ) -> StoredRecipient:
        """Return the message as the recipients in ``to`` get it, for the first of them."""
        merge_data = (variables or {}).get(to[0].addr_spec.lower(), {})

        def substitute(text: str | None) -> str:
            return _VARIABLE.sub(lambda match: str(merge_data.get(match[1], match[0])), text or "")

        metadata = {key: substitute(value) for key, value in form.with_prefix("v:").items()}
        content = tuple(form.get(name) or "" for name in ("subject", "text", "html"))
        if form.get("template"):
            template = self.store.templates.get(form.get("template") or "")
            if template:
                data = {**_json_object(form, "t:variables"), **metadata}
                content = (
                    content[0] or render(template.subject, data),
                    render(template.text, data),
                    render(template.html, data),
                )
        headers = form.with_prefix("h:")
        return StoredRecipient(
            kind="to",
            mailbox=to[0],
            message_id=message_id,
            header_to=", ".join(map(str, to)),
            subject=substitute(content[0]),
            text=substitute(content[1]),
            html=substitute(content[2]),
            headers={name: substitute(value) for name, value in headers.items()},
            metadata=metadata,
            tags=tuple(form.get_list("o:tag")),
            merge_data=dict(merge_data),
        )

    # -- Webhooks -----------------------------------------------------------------------------

    def _signature(self) -> dict[str, str]:
        """https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks"""
        timestamp, token = str(int(time.time())), secrets.token_hex(25)
        key = self.webhook_signing_key.encode()
        signature = hmac.new(key, f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
        return {"timestamp": timestamp, "token": token, "signature": signature}

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        esp_event, details = EVENTS[event]
        event_data = {
            "event": esp_event,
            "id": secrets.token_urlsafe(16),
            "timestamp": time.time(),
            "log-level": "error" if event == "bounced" else "info",
            "recipient": recipient.address,
            "recipient-domain": recipient.mailbox.domain,
            "tags": list(recipient.tags),
            "user-variables": dict(recipient.metadata),
            "campaigns": [],
            "flags": {"is-routed": False, "is-authenticated": True, "is-test-mode": False},
            "message": {
                "headers": {
                    "message-id": recipient.message_id.strip("<>"),
                    "from": str(message.from_email),
                    "to": recipient.header_to,
                    "subject": recipient.subject,
                },
                "attachments": [],
                "size": len(recipient.text) + len(recipient.html),
            },
            **details,
        }
        if event in BY_RECIPIENT:
            event_data |= {
                "ip": "203.0.113.7",
                "geolocation": {"country": "Unknown", "region": "Unknown", "city": "Unknown"},
                "client-info": {
                    "client-name": "Firefox",
                    "client-os": "Linux",
                    "client-type": "browser",
                    "device-type": "desktop",
                    "user-agent": USER_AGENT,
                },
            }
        if event == "clicked":
            event_data["url"] = clicked_link(recipient)
        payload = {"signature": self._signature(), "event-data": event_data}
        return WebhookCall.json(target.webhook_url("mailgun/tracking/"), payload)

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        fields = {
            "recipient": mail.recipient.addr_spec,
            "sender": mail.sender.addr_spec,
            "subject": mail.subject,
            "from": str(mail.sender),
            **self._signature(),
        }
        if raw:
            fields["body-mime"] = mail.as_bytes().decode()
            return _form_call(target.webhook_url("mailgun/inbound_mime/"), fields, [])

        headers = [
            *mail.headers,
            ("From", str(mail.sender)),
            ("To", str(mail.recipient)),
            ("Subject", mail.subject),
            ("X-Mailgun-Sflag", "No"),
            ("X-Mailgun-Sscore", "0.1"),
        ]
        fields |= dict(headers)  # each header is also a field, besides its place in the list
        fields |= {
            "message-headers": json.dumps(headers),
            "body-plain": mail.text,
            "stripped-text": mail.stripped_text or mail.text,
            "stripped-signature": "",
        }
        if mail.html:
            fields |= {"body-html": mail.html, "stripped-html": mail.html}
        if mail.attachments:
            fields["attachment-count"] = str(len(mail.attachments))
        content_ids = {
            attachment.content_id: f"attachment-{number}"
            for number, attachment in enumerate(mail.attachments, start=1)
            if attachment.content_id
        }
        if content_ids:
            fields["content-id-map"] = json.dumps(
                {f"<{cid}>": content_ids[cid] for cid in content_ids}
            )
        return _form_call(target.webhook_url("mailgun/inbound/"), fields, list(mail.attachments))


def _form_call(
    url: str, fields: Mapping[str, str], attachments: list[StoredAttachment]
) -> WebhookCall:
    """Return a call like Mailgun's routes: multipart only if there are files."""
    if not attachments:
        content_type = "application/x-www-form-urlencoded"
        return WebhookCall(url, urlencode(fields).encode(), {"Content-Type": content_type})
    files = {
        f"attachment-{number}": (item.filename, item.content, item.content_type)
        for number, item in enumerate(attachments, start=1)
    }
    body, content_type = encode_multipart_formdata([*fields.items(), *files.items()])
    return WebhookCall(url, body, {"Content-Type": content_type})


def _mailboxes(form: Form, name: str) -> list[EmailAddress]:
    mailboxes = [box for value in form.get_list(name) for box in parse_mailboxes(value)]
    for mailbox in mailboxes:
        if not is_valid(mailbox) or (name == "from" and mailbox.uses_eai):
            raise MailgunError(
                f"'{name}' parameter is not a valid address. please check documentation"
            )
    return mailboxes


def _files(form: Form, field: str) -> tuple[StoredAttachment, ...]:
    # The file name of an inline image is its Content-ID; files without names are dropped.
    return tuple(
        StoredAttachment(
            filename=file.filename,
            content_type=file.content_type,
            content=file.content,
            content_id=file.filename if field == "inline" else "",
        )
        for file in form.files
        if file.field == field and file.filename
    )


def _json_object(form: Form, name: str) -> dict[str, Any]:
    try:
        value = json.loads(form.get(name) or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MailgunError(f"{name} parameter is not a valid JSON dictionary")
    return value


def _recipient_variables(form: Form) -> dict[str, dict[str, Any]] | None:
    """Return the variables by address in lower case; None if this is not a batch."""
    if form.get("recipient-variables") is None:
        return None
    variables = _json_object(form, "recipient-variables")
    if not all(isinstance(value, dict) for value in variables.values()):
        raise MailgunError("recipient-variables parameter is not a dictionary of dictionaries")
    return {address.lower(): value for address, value in variables.items()}


def _yes_or_no(form: Form, name: str) -> bool | None:
    value = form.get(name)
    if value is None:
        return None
    if value not in ("yes", "no", "true", "false", "htmlonly"):
        raise MailgunError(f"{name} parameter is not yes or no")
    return value not in ("no", "false")


def _delivery_time(form: Form) -> str | None:
    value = form.get("o:deliverytime")
    if value is not None:
        try:
            parsedate_to_datetime(value)
        except (TypeError, ValueError) as err:
            raise MailgunError("o:deliverytime parameter is not an RFC 2822 date") from err
    return value
