"""A stand-in for Postmark.

- Sending: https://postmarkapp.com/developer/api/email-api,
  https://postmarkapp.com/developer/api/templates-api,
  https://postmarkapp.com/developer/api/bulk-email
- Error codes: https://postmarkapp.com/developer/api/overview#error-codes
- Webhooks: https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes
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

BAD_TOKEN = 10
INVALID_EMAIL = 300
INVALID_JSON = 402
INCOMPATIBLE_JSON = 403
INACTIVE_RECIPIENT = 406
JSON_REQUIRED = 409
TOO_MANY_MESSAGES = 410

MAX_BATCH_MESSAGES = 500
MAX_RECIPIENTS = 50
MAX_METADATA_NAME = 20

TEST_TOKEN = "POSTMARK_API_TEST"  # noqa: S105 (documented: validates, but doesn't send)

RECORD_TYPES = {
    "bounced": "Bounce",
    "clicked": "Click",
    "complained": "SpamComplaint",
    "deferred": "Bounce",
    "delivered": "Delivery",
    "opened": "Open",
    "unsubscribed": "SubscriptionChange",
}

# https://postmarkapp.com/developer/api/bounce-api#bounce-types
BOUNCE_TYPES: dict[str, dict[str, Any]] = {
    "bounced": {
        "Type": "HardBounce",
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Description": "The server was unable to deliver your message (unknown user).",
        "Details": "smtp;550 5.1.1 No such user",
        "Inactive": True,
        "CanActivate": True,
    },
    "deferred": {
        "Type": "Transient",
        "TypeCode": 2,
        "Name": "Message delayed",
        "Description": "The server could not temporarily deliver your message.",
        "Details": "smtp;451 4.7.1 Try again later.",
        "Inactive": False,
        "CanActivate": False,
    },
    "complained": {
        "Type": "SpamComplaint",
        "TypeCode": 100001,
        "Name": "Spam complaint",
        "Description": "The subscriber explicitly marked this message as spam.",
        "Details": "",
        "Inactive": True,
        "CanActivate": False,
    },
}


class PostmarkError(Exception):
    """An error as Postmark's API reports it."""

    def __init__(self, code: int, text: str, status: int = 422) -> None:
        super().__init__(text)
        self.code = code
        self.status = status

    def as_dict(self) -> dict[str, Any]:
        return {"ErrorCode": self.code, "Message": str(self)}


class Postmark(Provider):
    """Postmark's email, batch, template and bulk APIs, and its webhooks."""

    name = "postmark"
    events = frozenset(RECORD_TYPES)

    refusals = {
        "message": ApiResponse.json(
            {"ErrorCode": INVALID_EMAIL, "Message": "Error parsing 'To': Illegal email address."},
            422,
        ),
        "unsuitable": ApiResponse.json(
            {"ErrorCode": 1101, "Message": "The Template's 'Alias' was not found."}, 422
        ),
        "account": ApiResponse.json(
            {"ErrorCode": 412, "Message": "Your account is pending approval."}, 422
        ),
        "busy": ApiResponse.json({"ErrorCode": 429, "Message": "Rate limit exceeded."}, 429),
    }

    server_token = "sandbox-server-token"  # noqa: S105 (opens nothing but the sandbox)

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {"POSTMARK_SERVER_TOKEN": self.server_token, "POSTMARK_API_URL": api_url}

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        endpoints: dict[str, Callable[[Any, ApiRequest], list[StoredMessage] | Any]] = {
            "email": self._post_email,
            "email/batch": self._post_batch,
            "email/withTemplate": self._post_template,
            "email/batchWithTemplates": self._post_template_batch,
            "email/bulk": self._post_bulk,
        }
        endpoint = endpoints.get(request.path.rstrip("/"))
        if endpoint is None or request.method != "POST":
            return ApiResponse(404)
        try:
            self._check_token(request)
            if request.content_type != "application/json":
                raise PostmarkError(JSON_REQUIRED, "The Content-Type must be application/json.")
            try:
                data = request.json()
            except MalformedRequest as err:
                raise PostmarkError(INVALID_JSON, "Invalid JSON.") from err
            return ApiResponse.json(endpoint(data, request))
        except PostmarkError as err:
            return ApiResponse.json(err.as_dict(), err.status)

    def _check_token(self, request: ApiRequest) -> None:
        token = request.headers.get("X-Postmark-Server-Token")
        if not token:
            raise PostmarkError(
                BAD_TOKEN, "No Account or Server API tokens were supplied in the HTTP headers.", 401
            )
        if not self.is_key(token, self.server_token, TEST_TOKEN):
            raise PostmarkError(
                BAD_TOKEN, "The Server Token you provided in the request was invalid.", 401
            )

    def _post_email(self, data: Any, request: ApiRequest) -> dict[str, Any]:
        return self._send(_Fields(data), request)

    def _post_template(self, data: Any, request: ApiRequest) -> dict[str, Any]:
        return self._send(_Fields(data), request, with_template=True)

    def _post_batch(self, data: Any, request: ApiRequest) -> list[dict[str, Any]]:
        return self._send_batch(data, request)

    def _post_template_batch(self, data: Any, request: ApiRequest) -> list[dict[str, Any]]:
        return self._send_batch(_Fields(data).get("Messages"), request, with_template=True)

    def _send_batch(
        self, data: Any, request: ApiRequest, *, with_template: bool = False
    ) -> list[dict[str, Any]]:
        if not isinstance(data, list):
            raise PostmarkError(INCOMPATIBLE_JSON, "The messages must be an array.")
        if len(data) > MAX_BATCH_MESSAGES:
            raise PostmarkError(
                TOO_MANY_MESSAGES, f"Batches are limited to {MAX_BATCH_MESSAGES} messages."
            )
        results = []
        for item in data:
            # A message that is refused keeps no other one in the batch from being sent.
            try:
                results.append(self._send(_Fields(item), request, with_template=with_template))
            except PostmarkError as err:
                results.append(err.as_dict())
        return results

    def _post_bulk(self, data: Any, request: ApiRequest) -> dict[str, Any]:
        shared = _Fields(data)
        entries = shared.get("Messages")
        if not isinstance(entries, list) or not entries:
            raise PostmarkError(INCOMPATIBLE_JSON, "The Messages must be a non-empty array.")
        messages = []
        for entry in map(_Fields, entries):
            merged = {**shared.data, **entry.data}
            for name in ("Metadata", "TemplateModel"):
                merged[name] = {**shared.object(name), **entry.object(name)}
            headers = {**shared.headers(), **entry.headers()}
            merged["Headers"] = [{"Name": key, "Value": headers[key]} for key in headers]
            # Fields of the content can be templates, whether or not there is a stored one.
            message, _inactive = self._build(
                _Fields(merged), request, with_template=shared.has_template(), merge=True
            )
            if message.recipients:
                messages.append(message)
        self._keep(messages, request)
        return {"ID": str(uuid.uuid4()), "Status": "Accepted", "SubmittedAt": _timestamp()}

    def _send(
        self, fields: _Fields, request: ApiRequest, *, with_template: bool = False
    ) -> dict[str, Any]:
        message, inactive = self._build(fields, request, with_template=with_template)
        if not message.recipients:
            raise PostmarkError(
                INACTIVE_RECIPIENT,
                "You tried to send to recipients that have been marked as inactive. "
                f"Found inactive addresses: {', '.join(inactive)}.\n{_ABOUT_INACTIVE}",
            )
        self._keep([message], request)
        result = {name: fields.text(name) for name in ("To", "Cc", "Bcc") if fields.get(name)}
        text = "Test job accepted" if _is_test(request) else "OK"
        if inactive:
            text = (
                f"Message OK, but will not deliver to these inactive addresses: "
                f"{', '.join(inactive)}. {_ABOUT_INACTIVE}"
            )
        return {
            **result,
            "SubmittedAt": _timestamp(),
            "MessageID": message.message_ids[0],
            "ErrorCode": 0,
            "Message": text,
        }

    def _keep(self, messages: list[StoredMessage], request: ApiRequest) -> None:
        if not _is_test(request):
            self.store.add(messages)

    def _build(
        self, fields: _Fields, request: ApiRequest, *, with_template: bool, merge: bool = False
    ) -> tuple[StoredMessage, list[str]]:
        """Return the message that Postmark would send, and its inactive recipients."""
        from_email = fields.mailboxes("From")
        if not from_email:
            raise PostmarkError(INVALID_EMAIL, "Invalid 'From' address: ''.")
        recipients = [
            (kind, mailbox)
            for kind in ("to", "cc", "bcc")
            for mailbox in fields.mailboxes(kind.capitalize())
        ]
        if not recipients:
            raise PostmarkError(INVALID_EMAIL, "Zero recipients specified.")
        if len(recipients) > MAX_RECIPIENTS:
            raise PostmarkError(INVALID_EMAIL, f"Too many recipients: at most {MAX_RECIPIENTS}.")
        fields.mailboxes("ReplyTo")

        subject, text, html = (fields.text(name) for name in ("Subject", "TextBody", "HtmlBody"))
        model = fields.object("TemplateModel")
        if with_template:
            merged_content = self._template_content(fields, model)
        elif not text and not html:
            raise PostmarkError(INVALID_EMAIL, "Provide either email TextBody or HtmlBody or both.")
        elif merge:
            merged_content = (render(subject, model), render(text, model), render(html, model))
        else:
            merged_content = (subject, text, html)

        copy = StoredRecipient(
            kind="to",
            mailbox=from_email[0],
            message_id=str(uuid.uuid4()),
            header_to=fields.text("To"),
            subject=merged_content[0],
            text=merged_content[1],
            html=merged_content[2],
            headers=fields.headers(),
            metadata=fields.metadata(),
            tags=(fields.text("Tag"),) if fields.text("Tag") else (),
            merge_data=model,
        )
        suppressed = self.store.suppressed
        attachments = fields.attachments()
        message = StoredMessage(
            provider=self.name,
            from_email=from_email[0],
            reply_to=fields.text("ReplyTo"),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                replace(copy, kind=kind, mailbox=mailbox)
                for kind, mailbox in recipients
                if mailbox.addr_spec.lower() not in suppressed
            ),
            attachments=tuple(item for item in attachments if not item.content_id),
            inline_images=tuple(item for item in attachments if item.content_id),
            track_opens=fields.boolean("TrackOpens"),
            track_clicks=fields.track_links(),
            template_id=fields.template_id(),
            request=request,
        )
        inactive = [
            mailbox.addr_spec.lower()
            for _kind, mailbox in recipients
            if mailbox.addr_spec.lower() in suppressed
        ]
        return message, inactive

    def _template_content(self, fields: _Fields, model: Mapping[str, Any]) -> tuple[str, str, str]:
        template_id = fields.template_id()
        if template_id is None or fields.get("TemplateModel") is None:
            raise PostmarkError(
                INCOMPATIBLE_JSON,
                "A TemplateId or TemplateAlias, and a TemplateModel are required.",
            )
        for name in ("Subject", "TextBody", "HtmlBody"):
            if fields.text(name):
                raise PostmarkError(
                    INCOMPATIBLE_JSON,
                    f"The '{name}' is the template's: it can't be in the request.",
                )
        template = self.store.templates.get(template_id)
        if template is None:
            return "", "", ""
        subject, text, html = template.subject, template.text, template.html
        return render(subject, model), render(text, model), render(html, model)

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        record_type = RECORD_TYPES[event]
        payload = {
            "RecordType": record_type,
            "MessageStream": "outbound",
            "ServerID": 23,
            "MessageID": recipient.message_id,
            "Tag": recipient.tags[0] if recipient.tags else "",
            "Metadata": dict(recipient.metadata),
            **self._event_details(message, recipient, event),
        }
        return WebhookCall.json(target.webhook_url("postmark/tracking/"), payload)

    def _event_details(
        self, message: StoredMessage, recipient: StoredRecipient, event: str
    ) -> dict[str, Any]:
        if event in BOUNCE_TYPES:
            return {
                "ID": uuid.uuid4().int >> 80,
                "Email": recipient.address,
                "From": message.from_email.addr_spec,
                "Subject": recipient.subject,
                "BouncedAt": _timestamp(),
                "DumpAvailable": False,
                "Content": "",
                **BOUNCE_TYPES[event],
            }
        details: dict[str, Any] = {"Recipient": recipient.address}
        if event == "delivered":
            return details | {"DeliveredAt": _timestamp(), "Details": "smtp;250 2.0.0 OK"}
        if event == "unsubscribed":
            return details | {
                "ChangedAt": _timestamp(),
                "Origin": "Recipient",
                "SuppressSending": True,
                "SuppressionReason": "ManualSuppression",
            }
        details |= {
            "ReceivedAt": _timestamp(),
            "Platform": "Desktop",
            "Client": {"Name": "Firefox", "Company": "Mozilla", "Family": "Firefox"},
            "OS": {"Name": "Linux", "Company": "", "Family": "Linux"},
            "Geo": {},
            "UserAgent": USER_AGENT,
        }
        if event == "opened":
            return details | {"FirstOpen": True, "ReadSeconds": 3}
        return details | {"ClickLocation": "HTML", "OriginalLink": clicked_link(recipient)}

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        headers = [("Return-Path", f"<{mail.sender.addr_spec}>"), *mail.headers]
        sender, recipient = _full(mail.sender), _full(mail.recipient)
        payload: dict[str, Any] = {
            "FromName": sender["Name"],
            "MessageStream": "inbound",
            "From": sender["Email"],
            "FromFull": sender,
            "To": str(mail.recipient),
            "ToFull": [recipient],
            "Cc": "",
            "CcFull": [],
            "Bcc": "",
            "BccFull": [],
            "OriginalRecipient": recipient["Email"],
            "Subject": mail.subject,
            "MessageID": str(uuid.uuid4()),
            "ReplyTo": "",
            "MailboxHash": recipient["MailboxHash"],
            "Date": format_datetime(mail.date),
            "TextBody": mail.text,
            "HtmlBody": mail.html,
            "StrippedTextReply": mail.stripped_text,
            "Tag": "",
            "Headers": [
                {"Name": name, "Value": value}
                for name, value in headers
                if name not in ("Date", "Message-ID")
            ]
            + [{"Name": "Message-ID", "Value": mail.message_id}],
            "Attachments": [
                {
                    "Name": attachment.filename,
                    "Content": base64.b64encode(attachment.content).decode(),
                    "ContentType": attachment.content_type,
                    "ContentLength": len(attachment.content),
                    "ContentID": attachment.content_id,
                }
                for attachment in mail.attachments
            ],
        }
        if raw:
            payload["RawEmail"] = mail.as_bytes().decode()
        return WebhookCall.json(target.webhook_url("postmark/inbound/"), payload)


_ABOUT_INACTIVE = (
    "Inactive recipients are ones that have generated a hard bounce, a spam complaint, "
    "or a manual suppression."
)


class _Fields:
    """The JSON object of one message. All methods raise PostmarkError for wrong types."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict):
            raise PostmarkError(INCOMPATIBLE_JSON, "The message must be a JSON object.")
        self.data: dict[str, Any] = data

    def get(self, name: str) -> Any:
        return self.data.get(name)

    def _typed(self, name: str, expected: type, empty: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return empty
        if not isinstance(value, expected):
            raise PostmarkError(INCOMPATIBLE_JSON, f"The type of '{name}' is wrong.")
        return value

    def text(self, name: str) -> str:
        text: str = self._typed(name, str, "")
        return text

    def object(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self._typed(name, dict, {})
        return value

    def objects(self, name: str) -> list[_Fields]:
        return [_Fields(item) for item in self._typed(name, list, [])]

    def boolean(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, None)
        return value

    def mailboxes(self, name: str) -> list[EmailAddress]:
        mailboxes = parse_mailboxes(self.text(name))
        for mailbox in mailboxes:
            address = mailbox.addr_spec
            if "@" not in address:
                raise PostmarkError(
                    INVALID_EMAIL,
                    f"Error parsing '{name}': Illegal email address '{address}'. "
                    "It must contain the '@' symbol.",
                )
            if not mailbox.domain.isascii():
                raise PostmarkError(
                    INVALID_EMAIL,
                    f"Error parsing '{name}': Illegal email domain '{mailbox.domain}' "
                    f"in address '{address}'.",
                )
            if not is_valid(mailbox) or mailbox.uses_eai:
                raise PostmarkError(INVALID_EMAIL, f"Invalid '{name}' address: '{address}'.")
        return mailboxes

    def headers(self) -> dict[str, str]:
        return {item.text("Name"): str(item.get("Value")) for item in self.objects("Headers")}

    def metadata(self) -> dict[str, str]:
        metadata = as_text(self.object("Metadata"))
        for name in metadata:
            if len(name) > MAX_METADATA_NAME:
                raise PostmarkError(
                    INVALID_EMAIL,
                    f"Error in metadata: the name '{name}' is longer than "
                    f"{MAX_METADATA_NAME} characters.",
                )
        return metadata

    def has_template(self) -> bool:
        return self.template_id() is not None

    def template_id(self) -> str | None:
        for name in ("TemplateId", "TemplateAlias"):
            if self.get(name):
                return str(self.get(name))
        return None

    def track_links(self) -> bool | None:
        value = self.text("TrackLinks")
        return value != "None" if value else None

    def attachments(self) -> list[StoredAttachment]:
        return [self._attachment(item) for item in self.objects("Attachments")]

    @staticmethod
    def _attachment(item: _Fields) -> StoredAttachment:
        name = item.text("Name")
        try:
            content = base64.b64decode(item.text("Content"), validate=True)
        except (binascii.Error, ValueError) as err:
            raise PostmarkError(
                INCOMPATIBLE_JSON, f"The Content of attachment '{name}' is not base64."
            ) from err
        return StoredAttachment(
            filename=name,
            content_type=item.text("ContentType"),
            content=content,
            content_id=item.text("ContentID").removeprefix("cid:"),
        )


def _is_test(request: ApiRequest) -> bool:
    return request.headers.get("X-Postmark-Server-Token") == TEST_TOKEN


def _full(mailbox: EmailAddress) -> dict[str, str]:
    """Return an address as in FromFull, ToFull and so on."""
    local_part = mailbox.addr_spec.rpartition("@")[0]
    return {
        "Email": mailbox.addr_spec,
        "Name": mailbox.display_name,
        "MailboxHash": local_part.partition("+")[2],
    }


def _timestamp() -> str:
    """Return now, with Postmark's seven digits of a second's fraction."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f1Z")
