"""A stand-in for Scaleway Transactional Email.

- Sending: https://www.scaleway.com/en/developers/api/transactional-email/
- Tracking: https://www.scaleway.com/en/docs/transactional-email/reference-content/webhook-events-payloads/

Webhooks have basic auth, if the site has a secret, but are not signed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from datetime import datetime, timezone
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, received_address
from .providers import TOO_LARGE, Provider, WebhookTarget, as_text
from .store import StoredAttachment, StoredMessage, StoredRecipient
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MIN_LENGTH = 10
"""Of the subject and the bodies, in characters."""

RECIPIENT_FIELDS = ("to", "cc", "bcc")

# Event -> type, what is particular to it
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "queued": ("email_queued", {}),
    "delivered": (
        "email_delivered",
        {"email_response_code": 250, "email_response_message": "2.0.0 OK"},
    ),
    "deferred": (
        "email_deferred",
        {
            "email_try_count": 1,
            "email_response_code": 452,
            "email_response_message": "4.2.2 Mailbox full",
        },
    ),
    "bounced": (
        "email_mailbox_not_found",
        {"email_response_code": 550, "email_response_message": "5.1.1 No such user"},
    ),
    "rejected": (
        "email_spam",
        {"email_response_code": 554, "email_response_message": "5.7.1 Looks like spam"},
    ),
}


class ScalewayError(Exception):
    """An error as Scaleway's API reports it."""

    def __init__(self, text: str, status: int = 400, error_type: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.type = error_type

    def as_response(self) -> ApiResponse:
        data = {"message": str(self), **({"type": self.type} if self.type else {})}
        return ApiResponse.json(data, self.status)


_SENDING = re.compile(r"transactional-email/v1alpha1/regions/[a-z]+-[a-z]+/emails")


class Scaleway(Provider):
    """Scaleway's API for sending, and its webhooks, which come through Topics and Events."""

    name = "scaleway"
    api_path = "transactional-email/v1alpha1/regions/fr-par/"
    events = frozenset(EVENTS)
    relaxed_settings = {"SCALEWAY_SNS_TRUST_CHAIN": None}
    unsupported = frozenset(
        {
            "inline_images",
            "merge_data",
            "merge_global_data",
            "merge_metadata",
            "template_id",
            "track_clicks",
            "track_opens",
        }
    )

    refusals = {
        "message": ScalewayError(
            "Invalid email to address", 400, "invalid_arguments"
        ).as_response(),
        "unsuitable": TOO_LARGE,
        "account": ScalewayError("quota exceeded", 403, "quotas_exceeded").as_response(),
        "busy": ScalewayError("too many requests", 429, "too_many_requests").as_response(),
    }

    secret_key = "sandbox-secret-key"  # noqa: S105 (opens nothing but the sandbox)
    project_id = "11112222-3333-4444-8555-666677778888"

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "SCALEWAY_SECRET_KEY": self.secret_key,
            "SCALEWAY_PROJECT_ID": self.project_id,
            "SCALEWAY_API_URL": api_url,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        try:
            if request.method != "POST" or not _SENDING.fullmatch(request.path):
                raise ScalewayError("resource is not found", 404)
            if not self.is_key(request.headers.get("X-Auth-Token"), self.secret_key):
                raise ScalewayError("authentication is denied", 401)
            try:
                data = request.json()
            except MalformedRequest as err:
                raise ScalewayError("request body is not valid JSON") from err
            if not isinstance(data, dict):
                raise ScalewayError("request body is not a JSON object")
            message = self._build(data, request)
        except ScalewayError as err:
            return err.as_response()
        self.store.add([message])
        return ApiResponse.json(
            {"emails": [self._describe(message, recipient) for recipient in message.recipients]}
        )

    def _build(self, data: dict[str, Any], request: ApiRequest) -> StoredMessage:
        if not self.is_key(data.get("project_id"), self.project_id):
            raise ScalewayError("insufficient permissions", 403)
        from_email = _mailbox(data.get("from"), "from")
        subject, text, html = (_content(data, name) for name in ("subject", "text", "html"))
        if not text and not html:
            raise ScalewayError("Invalid arguments: text or html is required")
        headers = _headers(data)
        mailboxes = [
            (kind, _mailbox(item, kind)) for kind in RECIPIENT_FIELDS for item in _list(data, kind)
        ]
        if not mailboxes:
            raise ScalewayError("Invalid arguments: no recipient")
        header_to = ", ".join(str(mailbox) for kind, mailbox in mailboxes if kind == "to")
        return StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=headers.pop("Reply-To", ""),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=str(uuid.uuid4()),
                    header_to=header_to,
                    subject=subject,
                    text=text,
                    html=html,
                    headers=headers,
                    # Anymail's own headers: Scaleway knows neither metadata nor tags.
                    metadata=as_text(json.loads(headers.get("X-Metadata", "{}"))),
                    tags=tuple(json.loads(headers.get("X-Tags", "[]"))),
                )
                for kind, mailbox in mailboxes
            ),
            attachments=tuple(_attachment(item) for item in _list(data, "attachments")),
            request=request,
        )

    def _describe(self, message: StoredMessage, recipient: StoredRecipient) -> dict[str, Any]:
        return {
            "id": recipient.message_id,
            "message_id": str(uuid.uuid5(uuid.NAMESPACE_URL, message.message_ids[0])),
            "project_id": self.project_id,
            "mail_from": message.from_email.addr_spec,
            "mail_rcpt": recipient.address,
            "rcpt_type": recipient.kind,
            "status": "sending",
        }

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        event_type, details = EVENTS[event]
        scaleway_event = {
            "id": str(uuid.uuid4()),
            "type": event_type,
            "organization_id": str(uuid.UUID(int=1)),
            "project_id": self.project_id,
            "domain_id": str(uuid.UUID(int=2)),
            "domain_name": message.from_email.domain,
            "created_at": _now(),
            "email_id": recipient.message_id,
            "email_from": message.from_email.addr_spec,
            "email_to": recipient.address,
            "email_headers": [
                {"key": "Subject", "value": recipient.subject},
                *({"key": name, "value": value} for name, value in recipient.headers.items()),
            ],
            **details,
        }
        topic = f"arn:scw:sns:fr-par:project-{self.project_id}:sandbox"
        envelope = {
            "Type": "Notification",
            "MessageId": str(uuid.uuid4()),
            "TopicArn": topic,
            "Message": json.dumps(scaleway_event),
            "Timestamp": _now(),
        }
        return WebhookCall.json(
            target.webhook_url("scaleway/tracking/"),
            envelope,
            {"Content-Type": "text/plain; charset=UTF-8"},
        )


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _list(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = data.get(name, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ScalewayError(f"Invalid arguments: {name} is not a list of objects")
    return items


def _content(data: dict[str, Any], name: str) -> str:
    content = data.get(name, "")
    if not isinstance(content, str):
        raise ScalewayError(f"Invalid arguments: {name} is not a string")
    if content and len(content) < MIN_LENGTH:
        raise ScalewayError(f"Invalid arguments: {name} is shorter than {MIN_LENGTH} characters")
    return content


def _mailbox(item: Any, field: str) -> EmailAddress:
    if not isinstance(item, dict) or not isinstance(item.get("email"), str):
        raise ScalewayError(f"Invalid email {field} address")
    if not isinstance(item.get("name") or "", str):
        raise ScalewayError(f"Invalid arguments: {field}.name is not a string")
    mailbox = received_address(item.get("name") or "", item["email"])
    if not is_valid(mailbox):
        raise ScalewayError(f"Invalid email {field} address")
    return mailbox


def _headers(data: dict[str, Any]) -> dict[str, str]:
    headers = {}
    for item in _list(data, "additional_headers"):
        name, value = item.get("key"), item.get("value")
        if not isinstance(name, str) or not isinstance(value, str):
            raise ScalewayError("Invalid arguments: additional_headers")
        headers[name] = value
    return headers


def _attachment(item: dict[str, Any]) -> StoredAttachment:
    try:
        return StoredAttachment(
            filename=item["name"] or "",
            content_type=item["type"],
            content=base64.b64decode(item["content"], validate=True),
        )
    except (KeyError, TypeError, binascii.Error) as err:
        raise ScalewayError("Invalid arguments: attachments") from err
