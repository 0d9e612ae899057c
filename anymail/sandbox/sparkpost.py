"""A stand-in for SparkPost.

- Sending: https://developers.sparkpost.com/api/transmissions/
- Error codes: https://support.sparkpost.com/docs/tech-resources/extended-error-codes
- Tracking: https://developers.sparkpost.com/api/webhooks/
- Inbound: https://developers.sparkpost.com/api/relay-webhooks/
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes, received_address
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

WRONG_FORMAT = "1300"
CONTENT_AND_TEMPLATE = "1301"
REQUIRED = "1400"
NOT_FOUND = "1600"
BAD_RECIPIENTS = "2000"

MAX_CAMPAIGN_ID_BYTES = 64

TEMPLATE_FROM = received_address("From of the template", "template@sandbox.example")
"""Templates have a From of their own at SparkPost."""

# Anymail's word: class of the event, and what it has beside the fields of all.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "queued": ("message_event", {"type": "injection"}),
    "delivered": ("message_event", {"type": "delivery", "queue_time": "12"}),
    "deferred": (
        "message_event",
        {
            "type": "delay",
            "bounce_class": "20",
            "error_code": "451",
            "raw_reason": "451 4.7.1 Try again later",
        },
    ),
    "bounced": (
        "message_event",
        {
            "type": "bounce",
            "bounce_class": "30",
            "error_code": "550",
            "raw_reason": "550 5.1.1 No such user",
        },
    ),
    "rejected": (
        "message_event",
        {
            "type": "policy_rejection",
            "bounce_class": "25",
            "error_code": "550",
            "raw_reason": "550 5.7.1 Rejected by policy",
        },
    ),
    "failed": (
        "gen_event",
        {
            "type": "generation_failure",
            "error_code": "554",
            "raw_reason": "554 5.3.0 Error while rendering the template",
        },
    ),
    "opened": ("track_event", {"type": "open", "initial_pixel": False}),
    "clicked": ("track_event", {"type": "click", "target_link_name": ""}),
    "complained": ("message_event", {"type": "spam_complaint", "fbtype": "abuse"}),
    "unsubscribed": ("unsubscribe_event", {"type": "list_unsubscribe"}),
}
BY_RECIPIENT = frozenset({"opened", "clicked"})


class SparkPostError(Exception):
    """An error as SparkPost's API reports it."""

    def __init__(self, text: str, description: str, code: str = "", status: int = 422) -> None:
        super().__init__(text)
        self.description = description
        self.code = code
        self.status = status

    def as_response(self) -> ApiResponse:
        error = {"message": str(self), "description": self.description, "code": self.code}
        given = {name: value for name, value in error.items() if value}
        return ApiResponse.json({"errors": [given]}, self.status)


class SparkPost(Provider):
    """SparkPost's Transmissions API, and its webhooks."""

    name = "sparkpost"
    api_path = "api/v1/"
    events = frozenset(EVENTS)
    unsupported = frozenset({"stripped_text"})

    refusals = {
        "message": SparkPostError(
            "invalid data format/type", "Invalid address", WRONG_FORMAT
        ).as_response(),
        "unsuitable": SparkPostError(
            "Subresource not found", "Couldn't find template", "1603"
        ).as_response(),
        "account": SparkPostError("Forbidden.", "", status=403).as_response(),
        "busy": SparkPostError("Exceed Sending Limit (hourly)", "", "2102", 420).as_response(),
    }

    api_key = "sandbox-api-key"

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {"SPARKPOST_API_KEY": self.api_key, "SPARKPOST_API_URL": api_url}

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if not self.is_key(request.headers.get("Authorization"), self.api_key):
                raise SparkPostError("Unauthorized.", "", status=401)
            if request.path.rstrip("/") != f"{self.api_path}transmissions":
                raise SparkPostError("resource not found", "", NOT_FOUND, 404)
            if request.method != "POST":
                raise SparkPostError("Method not allowed", "", status=405)
            try:
                data = request.json()
            except MalformedRequest as err:
                raise SparkPostError("invalid data format/type", str(err), WRONG_FORMAT) from err
            subaccount = request.headers.get("X-MSYS-SUBACCOUNT", "0")
            if not isinstance(data, dict) or not subaccount.isdecimal():
                raise _wrong("the call")
            call = _Call(data)
            message = self._build(call, request)
        except SparkPostError as err:
            return err.as_response()
        if message.recipients:
            self.store.add([message])
        answer: dict[str, Any] = {
            "results": {
                "total_rejected_recipients": len(call.rejected),
                "total_accepted_recipients": len(message.recipients),
                "id": call.transmission_id,
            }
        }
        if call.rejected:
            answer["errors"] = [
                {
                    "message": "transmission created, but with validation errors",
                    "code": BAD_RECIPIENTS,
                }
            ]
            answer["results"]["rcpt_to_errors"] = call.rejected
        return ApiResponse.json(answer)

    def _build(self, call: _Call, request: ApiRequest) -> StoredMessage:
        subject, text, html = (call.text(name) for name in ("subject", "text", "html"))
        from_email = TEMPLATE_FROM
        template_id = call.template_id
        merged: tuple[str, str, str] = subject, text, html
        if template_id is None:
            from_email = call.from_email()
            call.require_content()
        else:
            for name in ("subject", "text", "html", "amp_html"):
                if name in call.content:
                    raise SparkPostError(
                        "Both content object and template_id are specified",
                        f"content.{name}",
                        CONTENT_AND_TEMPLATE,
                    )
            template = self.store.templates.get(template_id)
            merged = (template.subject, template.text, template.html) if template else ("", "", "")
        # With a template, SparkPost ignores all of these.
        headers = call.headers() if template_id is None else {}
        attachments = call.attachments("attachments") if template_id is None else ()
        inline_images = call.attachments("inline_images") if template_id is None else ()
        return StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=call.text("reply_to") if template_id is None else "",
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(call.recipients(merged, headers)),
            attachments=attachments,
            inline_images=inline_images,
            track_opens=call.option("open_tracking", bool),
            track_clicks=call.option("click_tracking", bool),
            send_at=call.start_time(),
            template_id=template_id,
            request=request,
        )

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        event_class, details = EVENTS[event]
        payload = {
            "event_id": str(uuid.uuid4().int >> 64),
            "timestamp": str(int(time.time())),
            "transmission_id": recipient.message_id,
            "message_id": secrets.token_hex(10),
            "friendly_from": message.from_email.addr_spec,
            "subject": recipient.subject,
            "rcpt_to": recipient.address.lower(),
            "raw_rcpt_to": recipient.address,
            "rcpt_type": recipient.kind,
            "rcpt_meta": dict(recipient.metadata),
            "rcpt_tags": [],
            **details,
        }
        if "raw_reason" in payload:
            payload["reason"] = payload["raw_reason"]
        if recipient.tags:
            payload["campaign_id"] = recipient.tags[0]
        if message.template_id is not None:
            payload["template_id"] = message.template_id
        if event in BY_RECIPIENT:
            payload |= {"user_agent": USER_AGENT, "ip_address": "203.0.113.7"}
        if event == "clicked":
            payload["target_link_url"] = clicked_link(recipient)
        return WebhookCall.json(
            target.webhook_url("sparkpost/tracking/"), [{"msys": {event_class: payload}}]
        )

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # SparkPost has no other format than raw MIME, with some parsed fields beside it.
        mime = mail.as_bytes()
        try:
            email_rfc822, is_base64 = mime.decode(), False
        except UnicodeDecodeError:
            email_rfc822, is_base64 = base64.b64encode(mime).decode(), True
        relay_message = {
            "content": {
                "email_rfc822": email_rfc822,
                "email_rfc822_is_base64": is_base64,
                "headers": [{name: value} for name, value in mail.headers],
                "html": mail.html,
                "subject": mail.subject,
                "text": mail.text,
                "to": [mail.recipient.addr_spec],
            },
            "customer_id": "1",
            "friendly_from": mail.sender.addr_spec,
            "msg_from": mail.sender.addr_spec,
            "rcpt_to": mail.recipient.addr_spec,
            "protocol": "smtp",
            "webhook_id": "1",
        }
        return WebhookCall.json(
            target.webhook_url("sparkpost/inbound/"), [{"msys": {"relay_message": relay_message}}]
        )


class _Call:
    """The JSON of an API call. All methods raise SparkPostError for what SparkPost refuses."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.content: dict[str, Any] = _typed(data, "content", dict, {})
        self.transmission_id = str(uuid.uuid4().int >> 64)
        self.rejected: list[dict[str, str]] = []
        if not self.content:
            raise _missing("content")

    @property
    def template_id(self) -> str | None:
        """Of the template, or of the A/B test of several."""
        template_id: str | None = _typed(self.content, "template_id", str, None)
        return template_id or _typed(self.content, "ab_test_id", str, None)

    def text(self, name: str) -> str:
        text: str = _typed(self.content, name, str, "")
        return text

    def option(self, name: str, expected: type) -> Any:
        return _typed(_typed(self.data, "options", dict, {}), name, expected, None)

    def start_time(self) -> str | None:
        start_time: str | None = self.option("start_time", str)
        if start_time not in (None, "now"):
            try:
                if datetime.fromisoformat(start_time or "").tzinfo is None:
                    raise ValueError("no offset")
            except ValueError as err:
                raise _wrong("options.start_time") from err
        return start_time

    def from_email(self) -> EmailAddress:
        value = self.content.get("from")
        if isinstance(value, dict):
            mailboxes = [received_address(str(value.get("name", "")), str(value.get("email", "")))]
        else:
            mailboxes = parse_mailboxes(self.text("from"))
        if not mailboxes:
            raise _missing("content.from")
        if len(mailboxes) > 1 or not is_valid(mailboxes[0]):
            raise _wrong("content.from")
        return mailboxes[0]

    def require_content(self) -> None:
        if not isinstance(self.content.get("subject"), str):
            raise _missing("content.subject")
        if not any(name in self.content for name in ("text", "html", "amp_html")):
            raise SparkPostError(
                "required field is missing",
                "At least one of 'text', 'html' or 'amp_html' must exist in content",
                REQUIRED,
            )

    def headers(self) -> dict[str, str]:
        return as_text(_typed(self.content, "headers", dict, {}))

    def attachments(self, field: str) -> tuple[StoredAttachment, ...]:
        items = _typed(self.content, field, list, [])
        return tuple(self._attachment(item, field) for item in items)

    @staticmethod
    def _attachment(item: Any, field: str) -> StoredAttachment:
        try:
            name, content_type = item["name"], item["type"]
            content = base64.b64decode(item["data"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as err:
            raise _wrong(f"content.{field}") from err
        is_inline = field == "inline_images"
        return StoredAttachment(
            filename="" if is_inline else str(name),
            content_type=str(content_type),
            content=content,
            content_id=str(name) if is_inline else "",
        )

    def recipients(
        self, content: tuple[str, str, str], headers: Mapping[str, str]
    ) -> list[StoredRecipient]:
        """Return the message as each recipient gets it. The content is subject, text, html."""
        campaign_id: str = _typed(self.data, "campaign_id", str, "")
        if len(campaign_id.encode()) > MAX_CAMPAIGN_ID_BYTES:
            raise _wrong("campaign_id")
        shared_data = _typed(self.data, "substitution_data", dict, {})
        shared_metadata = _typed(self.data, "metadata", dict, {})
        if isinstance(self.data.get("recipients"), dict):
            raise SparkPostError("resource not found", "recipient list", NOT_FOUND, 404)
        items = _typed(self.data, "recipients", list, [])
        if not items:
            raise _missing("recipients")
        result = []
        for item in items:
            if not isinstance(item, dict):
                raise _wrong("recipients")
            mailbox, header_to = _address(item.get("address"))
            if not is_valid(mailbox):
                self.rejected.append(
                    {
                        "message": "invalid recipient address",
                        "description": f"{mailbox.addr_spec} is not a valid address",
                        "code": BAD_RECIPIENTS,
                    }
                )
                continue
            data = {**shared_data, **_typed(item, "substitution_data", dict, {})}
            subject, text, html = (render(part, data) for part in content)
            own_headers = {name: render(value, data) for name, value in headers.items()}
            metadata = {**shared_metadata, **_typed(item, "metadata", dict, {})}
            result.append(
                StoredRecipient(
                    kind=_kind(mailbox, header_to, own_headers),
                    mailbox=mailbox,
                    message_id=self.transmission_id,
                    header_to=header_to,
                    subject=subject,
                    text=text,
                    html=html,
                    headers=own_headers,
                    metadata=as_text(metadata),
                    tags=(campaign_id,) if campaign_id else (),
                    merge_data=data,
                )
            )
        return result


def _address(address: Any) -> tuple[EmailAddress, str]:
    """Return the address to send to, and the To header."""
    if isinstance(address, str):
        [mailbox] = parse_mailboxes(address)[:1] or [received_address("", "")]
        return mailbox, str(mailbox)
    if not isinstance(address, dict):
        raise _missing("recipients.address")
    addr_spec = _typed(address, "email", str, "")
    header_to: str = _typed(address, "header_to", str, addr_spec)
    name = _typed(address, "name", str, "")
    for mailbox in parse_mailboxes(header_to):
        if mailbox.addr_spec == addr_spec:
            name = name or mailbox.display_name
    return received_address(name, addr_spec), header_to


def _kind(mailbox: EmailAddress, header_to: str, headers: Mapping[str, str]) -> str:
    """Tell from the headers: to SparkPost, all recipients are alike."""
    cc = next((value for name, value in headers.items() if name.lower() == "cc"), "")
    for kind, header in (("to", header_to), ("cc", cc)):
        if any(mailbox.addr_spec == item.addr_spec for item in parse_mailboxes(header)):
            return kind
    return "bcc"


def _typed(data: Mapping[str, Any], name: str, expected: type, default: Any) -> Any:
    value = data.get(name, default)
    if value is not default and not isinstance(value, expected):
        raise _wrong(name)
    return value


def _wrong(what: str) -> SparkPostError:
    return SparkPostError("invalid data format/type", f"Problems with: {what}", WRONG_FORMAT)


def _missing(what: str) -> SparkPostError:
    return SparkPostError("required field is missing", f"'{what}' is a required field", REQUIRED)
