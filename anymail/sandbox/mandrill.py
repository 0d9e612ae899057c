"""A stand-in for Mandrill (Mailchimp Transactional).

- Sending: https://mailchimp.com/developer/transactional/api/messages/
- Tracking: https://mailchimp.com/developer/transactional/docs/webhooks/
- Inbound: https://mailchimp.com/developer/transactional/guides/set-up-inbound-email-processing/
- Signatures: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from ..addresses import EmailAddress
from .mailboxes import has_valid_domain, received_address
from .providers import (
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import StoredAttachment, StoredMessage, StoredRecipient, render
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

BACKGROUND = 10
"""Calls with more recipients than this are handled in the background."""
MAX_TAG_LENGTH = 50

_VISIT: dict[str, Any] = {
    "ip": "203.0.113.7",
    "location": {"country_short": "CZ", "country": "Czechia", "city": "Brno"},
    "user_agent": USER_AGENT,
    "user_agent_parsed": {"type": "Browser", "ua_family": "Firefox", "mobile": False},
}

# Anymail's word: Mandrill's, what else is in the event, and what else is in its msg.
EVENTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sent": ("send", {}, {}),
    "delivered": ("delivered", {}, {}),
    "deferred": (
        "deferral",
        {},
        {
            "state": "deferred",
            "smtp_events": [
                {
                    "type": "deferred",
                    "diag": "451 4.7.1 Try again later",
                    "source_ip": "203.0.113.8",
                    "destination_ip": "203.0.113.9",
                    "size": 0,
                }
            ],
        },
    ),
    "bounced": (
        "hard_bounce",
        {},
        {
            "state": "bounced",
            "bounce_description": "bad_mailbox",
            "bgtools_code": 10,
            "diag": "smtp;550 5.1.1 No such user",
        },
    ),
    "rejected": ("reject", {}, {"state": "rejected"}),
    "opened": ("open", _VISIT, {}),
    "clicked": ("click", _VISIT, {}),
    "complained": ("spam", {}, {}),
    "unsubscribed": ("unsub", {}, {}),
}

_MAILCHIMP_FIELD = re.compile(r"\*\|\s*([\w.-]+)\s*\|\*")
_HANDLEBARS_FIELD = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


class MandrillError(Exception):
    """An error as Mandrill's API reports it."""

    def __init__(self, text: str, name: str = "ValidationError", status: int = 500) -> None:
        super().__init__(text)
        self.name = name
        self.status = status

    def as_dict(self) -> dict[str, Any]:
        code = -1 if self.name == "Invalid_Key" else -2
        return {"status": "error", "code": code, "name": self.name, "message": str(self)}

    def as_response(self) -> ApiResponse:
        return ApiResponse.json(self.as_dict(), self.status)


class Mandrill(Provider):
    """Mandrill's calls to send messages, with and without template, and its webhooks."""

    name = "mandrill"
    api_path = "api/1.0/"
    events = frozenset(EVENTS)
    webhook_signature = ("HMAC-SHA1 of URL and fields", "X-Mandrill-Signature")
    relaxed_settings = {"MANDRILL_WEBHOOK_URL": None}
    unsupported = frozenset({"reject_reason", "stripped_text"})

    refusals = {
        "message": MandrillError("message.to: not a valid address").as_response(),
        "unsuitable": MandrillError("No such template", "Unknown_Template").as_response(),
        "account": MandrillError("The account has no credits", "PaymentRequired").as_response(),
        "busy": MandrillError("Down for maintenance", "ServiceUnavailable").as_response(),
    }

    api_key = "sandbox-api-key"
    webhook_key = "sandbox-webhook-key"

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "MANDRILL_API_KEY": self.api_key,
            "MANDRILL_API_URL": api_url,
            "MANDRILL_WEBHOOK_KEY": self.webhook_key,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        endpoint = request.path.removeprefix(self.api_path)
        if endpoint not in ("messages/send.json", "messages/send-template.json"):
            return ApiResponse.text("Not found", 404)
        if request.method != "POST":
            return ApiResponse.text("Method not allowed", 405)
        try:
            # The type of the body doesn't matter.
            call = _Fields(request.json(), "The call")
            if not self.is_key(call.data.get("key"), self.api_key):
                raise MandrillError("Invalid API key", "Invalid_Key", 401)
            with_template = endpoint == "messages/send-template.json"
            return ApiResponse.json(self._send(call, request, with_template=with_template))
        except MalformedRequest:
            error = MandrillError("You must specify a key value")
        except MandrillError as err:
            error = err
        return error.as_response()

    def _send(
        self, call: _Fields, request: ApiRequest, *, with_template: bool
    ) -> list[dict[str, Any]]:
        fields = call.object("message")
        template_id = None
        if with_template:
            template_id = call.text("template_name")
            if not template_id or "template_content" not in call.data:
                raise MandrillError("template_name and template_content are required")
            for item in call.objects("template_content"):
                item.text("name")
        from_email = received_address(fields.text("from_name"), fields.text("from_email"))
        if not has_valid_domain(from_email) and not (with_template and not from_email.addr_spec):
            raise MandrillError("message.from_email: not a valid address")
        to = fields.objects("to")
        if not to:
            raise MandrillError("message.to: Please enter an array")

        scheduled = call.send_at()
        background = bool(call.boolean("async")) or len(to) > BACKGROUND
        results, copies = [], []
        for item in to:
            result = self._result(item.text("email"), scheduled=scheduled, background=background)
            results.append(result)
            copy = self._merge(fields, item, to, template_id, result["_id"])
            if result["reject_reason"] is None:
                copies.append(copy)
        message = StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=str(fields.object("headers").data.get("Reply-To", "")),
            subject=fields.text("subject"),
            text=fields.text("text"),
            html=fields.text("html"),
            recipients=tuple(copies),
            attachments=fields.files("attachments"),
            inline_images=fields.files("images"),
            track_opens=fields.boolean("track_opens"),
            track_clicks=fields.boolean("track_clicks"),
            send_at=scheduled,
            template_id=template_id,
            request=request,
        )
        if message.recipients:
            self.store.add([message])
        return results

    def _result(self, address: str, *, scheduled: str | None, background: bool) -> dict[str, Any]:
        status, reason = "queued" if background else "sent", None
        if scheduled:
            status = "scheduled"
        if not has_valid_domain(received_address("", address)):
            status, reason = "invalid", "invalid"
        elif address.lower() in self.store.suppressed:
            status, reason = "rejected", "hard-bounce"
        return {
            "email": address,
            "status": status,
            "_id": uuid.uuid4().hex,
            "reject_reason": reason,
        }

    def _merge(
        self,
        fields: _Fields,
        recipient: _Fields,
        to: list[_Fields],
        template_id: str | None,
        message_id: str,
    ) -> StoredRecipient:
        """Return the message as one recipient gets it."""
        mailbox = recipient.as_mailbox()
        data = fields.variables("global_merge_vars")
        for item in fields.objects("merge_vars"):
            if item.text("rcpt").lower() == mailbox.addr_spec.lower():
                data |= item.variables("vars")
        metadata = fields.object("metadata").data
        for item in fields.objects("recipient_metadata"):
            if item.text("rcpt").lower() == mailbox.addr_spec.lower():
                metadata = {**metadata, **item.object("values").data}

        content = [fields.text(name) for name in ("subject", "text", "html")]
        template = self.store.templates.get(template_id or "")
        if template:
            content = [
                content[0] or render(template.subject, data),
                render(template.text, data),
                render(template.html, data),
            ]
        handlebars = fields.text("merge_language") == "handlebars"
        pattern = _HANDLEBARS_FIELD if handlebars else _MAILCHIMP_FIELD
        subject, text, html = (_fill(pattern, item, data) for item in content)

        shown = [item.as_mailbox() for item in to if item.text("type") != "bcc"]
        if not fields.boolean("preserve_recipients"):
            shown = [mailbox]
        return StoredRecipient(
            kind=recipient.text("type") or "to",
            mailbox=mailbox,
            message_id=message_id,
            header_to=", ".join(map(str, shown)),
            subject=subject,
            text=text,
            html=html,
            headers=as_text(fields.object("headers").data),
            metadata=as_text(metadata),
            tags=fields.tags(),
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
        name, details, message_details = EVENTS[event]
        now = int(time.time())
        payload = {
            "event": name,
            "_id": recipient.message_id,
            "ts": now,
            "msg": {
                "_id": recipient.message_id,
                "_version": "sandbox",
                "ts": now,
                "email": recipient.address,
                "sender": message.from_email.addr_spec,
                "subject": recipient.subject,
                "state": "sent",
                "tags": list(recipient.tags),
                # Mandrill's PHP makes an array of an empty one.
                "metadata": dict(recipient.metadata) or [],
                "template": message.template_id,
                "subaccount": None,
                "opens": [],
                "clicks": [],
                "resends": [],
                **message_details,
            },
            **details,
        }
        if event == "clicked":
            payload["url"] = clicked_link(recipient)
        return self._signed_call(target, [payload])

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # Mandrill posts both at once: the raw message, and the parsed one.
        payload = {
            "event": "inbound",
            "ts": int(mail.date.timestamp()),
            "msg": {
                "raw_msg": mail.as_bytes().decode(),
                "headers": {
                    **dict(mail.headers),
                    "From": str(mail.sender),
                    "To": str(mail.recipient),
                    "Subject": mail.subject,
                },
                "text": mail.text,
                "html": mail.html,
                "from_email": mail.sender.addr_spec,
                "from_name": mail.sender.display_name,
                "to": [[mail.recipient.addr_spec, mail.recipient.display_name or None]],
                "email": mail.recipient.addr_spec,
                "subject": mail.subject,
                "sender": None,
                "tags": [],
                "template": None,
                "spam_report": {"score": 0.1, "matched_rules": []},
                **_files(mail),
            },
        }
        return self._signed_call(target, [payload])

    def _signed_call(self, target: WebhookTarget, events: list[dict[str, Any]]) -> WebhookCall:
        url = target.webhook_url("mandrill/")
        fields = {"mandrill_events": json.dumps(events)}
        signed = url + "".join(name + fields[name] for name in sorted(fields))
        digest = hmac.new(self.webhook_key.encode(), signed.encode(), hashlib.sha1).digest()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Mandrill-Signature": base64.b64encode(digest).decode(),
        }
        return WebhookCall(url, urlencode(fields).encode(), headers)


class _Fields:
    """A JSON object in a call, and its name. All methods raise MandrillError for wrong types."""

    def __init__(self, data: Any, name: str) -> None:
        if not isinstance(data, dict):
            raise MandrillError(f"{name}: Please enter an object")
        self.data: dict[str, Any] = data
        self.name = name

    def _typed(self, name: str, expected: type | tuple[type, ...], empty: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return empty
        if not isinstance(value, expected):
            raise MandrillError(f"{self.name}.{name}: wrong type of value")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, None)
        return value

    def object(self, name: str) -> _Fields:
        # PHP takes an empty array for an empty object.
        value = self._typed(name, (dict, list), {})
        return _Fields(value or {}, name)

    def objects(self, name: str) -> list[_Fields]:
        return [_Fields(item, name) for item in self._typed(name, list, [])]

    def as_mailbox(self) -> EmailAddress:
        if self.text("type") not in ("", "to", "cc", "bcc"):
            raise MandrillError(f"{self.name}.type: must be to, cc or bcc")
        return received_address(self.text("name"), self.text("email"))

    def variables(self, name: str) -> dict[str, Any]:
        variables: dict[str, Any] = {}
        for item in self.objects(name):
            variable = item.text("name")
            if not variable or variable.startswith("_"):
                raise MandrillError(f"{name}: invalid name {variable!r}")
            variables[variable] = item.data.get("content")
        return variables

    def tags(self) -> tuple[str, ...]:
        tags = self._typed("tags", list, [])
        for tag in tags:
            if not isinstance(tag, str) or tag.startswith("_") or len(tag) > MAX_TAG_LENGTH:
                raise MandrillError(f"message.tags: invalid tag {tag!r}")
        return tuple(tags)

    def send_at(self) -> str | None:
        value = self.text("send_at")
        if not value:
            return None
        try:
            datetime.strptime(value, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 (it is in UTC)
        except ValueError as err:
            raise MandrillError("send_at: Please enter a date like YYYY-MM-DD HH:MM:SS") from err
        return value

    def files(self, name: str) -> tuple[StoredAttachment, ...]:
        return tuple(item.as_file() for item in self.objects(name))

    def as_file(self) -> StoredAttachment:
        is_image = self.name == "images"
        content_type, name = self.text("type"), self.text("name")
        if is_image and not content_type.startswith("image/"):
            raise MandrillError("message.images: the type must begin with image/")
        try:
            content = base64.b64decode(self.text("content"), validate=True)
        except (binascii.Error, ValueError) as err:
            raise MandrillError(f"message.{self.name}: the content is not base64") from err
        # The name of an image is its Content-ID.
        return StoredAttachment(name, content_type, content, name if is_image else "")


def _files(mail: InboundMail) -> dict[str, dict[str, Any]]:
    """Return the attachments by name, and the embedded images by Content-ID, if there are any."""
    files: dict[str, dict[str, Any]] = {}
    for attachment in mail.attachments:
        content_type = attachment.content_type.partition(";")[0]
        is_image = bool(attachment.content_id) and content_type.startswith("image/")
        name = attachment.content_id if is_image else attachment.filename
        files.setdefault("images" if is_image else "attachments", {})[name] = {
            "name": name,
            "type": content_type,
            "content": base64.b64encode(attachment.content).decode(),
            **({} if is_image else {"base64": True}),
        }
    return files


def _fill(pattern: re.Pattern[str], text: str, data: Mapping[str, Any]) -> str:
    """Replace merge fields, whose names ignore case; those without data remain."""
    values = {name.lower(): value for name, value in data.items()}
    return pattern.sub(lambda match: str(values.get(match[1].lower(), match[0])), text)
