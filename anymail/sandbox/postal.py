"""A stand-in for Postal.

- Sending: https://docs.postalserver.io/developer/api
- Tracking: https://docs.postalserver.io/developer/webhooks
- Inbound: https://docs.postalserver.io/developer/http-payloads
- The source of it all: https://github.com/postalserver/postal
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes
from .providers import (
    TOO_LARGE,
    USER_AGENT,
    InboundMail,
    Provider,
    WebhookTarget,
    as_text,
    clicked_link,
)
from .store import Store, StoredAttachment, StoredMessage, StoredRecipient
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_RECIPIENTS = 50
"""In each of to, cc and bcc."""

UNKNOWN_DOMAIN = ".invalid"
"""Domains that end like this are not verified. All others are."""

# Anymail's word: name of the event, and for deliveries what there is in the payload.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "delivered": (
        "MessageSent",
        {
            "status": "Sent",
            "details": "Message accepted by mx.example.com",
            "output": "250 2.0.0 OK\n",
        },
    ),
    "deferred": (
        "MessageDelayed",
        {
            "status": "SoftFail",
            "details": "Temporary SMTP delivery error",
            "output": "451 4.7.1 Try again later\n",
        },
    ),
    "failed": (
        "MessageDeliveryFailed",
        {
            "status": "HardFail",
            "details": "Permanent SMTP delivery error",
            "output": "550 5.1.1 No such user\n",
        },
    ),
    "queued": (
        "MessageHeld",
        {"status": "Held", "details": "Recipient is on the suppression list", "output": ""},
    ),
    "bounced": ("MessageBounced", {}),
    "clicked": ("MessageLinkClicked", {}),
    "opened": ("MessageLoaded", {}),
}

# Anybody can sign with this key, which is why nothing but a sandbox should accept it.
RSA_MODULUS = (
    "xYcW44jVTGieJJ09IZ0Oo4N+4Yxfk6MNZ41ZWVKT2N+13CWfBrb3Qme4igf8jN1ovyLE2RHtHuJoRuT4+4eZvQ4P"
    "A+W7+GAAAJDowHCvEU8/EtygKa10rambBzVm6zdYho7qe40c8kjKPXst/p0smnyKt0GjrEVIMaXZPFFDlAKUlLLC"
    "XidDNEk0aBhD5aNi6ndH9xbsLqMQmX733bLCDv4Ije9u/2QlSlil+y8V/fJtwmbLXjfvrW3tZoDlq4zeWTlTPP3h"
    "6Tm/6yvYjZaJbQbBSnrwyYuISZYvcIFs0Q5DfGtONl05icW5e++ACpuSVfpQdUxxgpmDrwTRRz7kaQ=="
)
RSA_PRIVATE_EXPONENT = (
    "LtlznFQAAzdtCtIghbByoGW32lco9CNgModcAcuMNYwZ3jUuGrGaw61GH7b1N5PsHClq9vFBhGm+wdHdHAt1c1m6"
    "RfpfMvHSDlBQZBRV8Y0SMK8Tbc8uNWJc2sDXwEJIROHwy40UqIKLNTnaFuHAioOvgveWkm18SgpEFAJSPPBUSekh"
    "RyrBTdnUnaIyJjoc+BQkintHcWj1FHhT1o/UUDdKaDOhzCioq7/KE2GtxarvMu2wyWxq/CAZ4dCTwr1rBk3Cb0nT"
    "8M3cuyhIvaQKPwP2o7CdMx5RxZURwud606bJm2NAhrj//I/tG6m12ge+Sb5GH6jX72B4x/Bz/Go8YQ=="
)

# DER around the modulus of a key of 2048 bits (RFC 8017, appendix A.1.1)
PUBLIC_KEY_START = bytes.fromhex(
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100"
)
PUBLIC_KEY_END = bytes.fromhex("0203010001")
# DER in front of a digest (RFC 8017, section 9.2)
SHA1_START = bytes.fromhex("3021300906052b0e03021a05000414")


class PostalError(Exception):
    """An error as Postal's API reports it: with the HTTP status 200."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def as_dict(self) -> dict[str, Any]:
        if not self.code:
            return {"status": "parameter-error", "data": {"message": str(self)}}
        return {"status": "error", "data": {"code": self.code, "message": str(self)}}

    def as_response(self) -> ApiResponse:
        return ApiResponse.json({**self.as_dict(), "time": 0.0, "flags": {}})


class Postal(Provider):
    """Postal's API for sending, and its webhooks."""

    name = "postal"
    events = frozenset(EVENTS)
    webhook_signature = ("RSA with SHA-1", "X-Postal-Signature")
    relaxed_settings = {"POSTAL_REQUIRE_SHA256": False}
    unsupported = frozenset(
        {
            "inline_images",
            "merge_data",
            "merge_global_data",
            "merge_metadata",
            "metadata",
            "stripped_text",
            "template_id",
            "track_clicks",
            "track_opens",
        }
    )

    # Postal itself takes messages of any size, and keeps those that are too many for later.
    refusals = {
        "message": PostalError("ValidationError", "`to` has an invalid address").as_response(),
        "unsuitable": TOO_LARGE,
        "account": PostalError(
            "ServerSuspended", "The mail server has been suspended."
        ).as_response(),
        "busy": ApiResponse.text("Service Unavailable", 503),
    }

    api_key = "sandbox-api-key"

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._ids = itertools.count(901)

    @property
    def webhook_key(self) -> str:
        """The public key, as Postal's command line shows it."""
        der = PUBLIC_KEY_START + base64.b64decode(RSA_MODULUS) + PUBLIC_KEY_END
        return base64.b64encode(der).decode()

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "POSTAL_API_KEY": self.api_key,
            "POSTAL_API_URL": api_url,
            "POSTAL_WEBHOOK_KEY": self.webhook_key,
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        if request.method != "POST" or request.path != "api/v1/send/message":
            return ApiResponse.text("Not found", 404)
        started = time.monotonic()
        try:
            message = self._build(self._read(request), request)
        except PostalError as err:
            answer = err.as_dict()
        else:
            self.store.add([message])
            answer = {
                "status": "success",
                "data": {
                    "message_id": f"{uuid.uuid4()}@rp.sandbox.example",
                    "messages": {
                        recipient.address: {
                            "id": int(recipient.message_id),
                            "token": secrets.token_urlsafe(12),
                        }
                        for recipient in message.recipients
                    },
                },
            }
        return ApiResponse.json({**answer, "time": time.monotonic() - started, "flags": {}})

    def _read(self, request: ApiRequest) -> dict[str, Any]:
        key = request.headers.get("X-Server-API-Key")
        if not key:
            raise PostalError("AccessDenied", "Must be authenticated as a server.")
        if not self.is_key(key, self.api_key):
            raise PostalError(
                "InvalidServerAPIKey", "The API token provided in X-Server-API-Key was not valid."
            )
        try:
            data = request.json()
        except MalformedRequest as err:
            raise PostalError("", "Invalid JSON") from err
        if request.content_type != "application/json" or not isinstance(data, dict):
            raise PostalError("", "The request must be a JSON object")
        return data

    def _build(self, data: dict[str, Any], request: ApiRequest) -> StoredMessage:
        mailboxes = _recipients(data)
        subject, text, html = (_text(data, name) for name in ("subject", "plain_body", "html_body"))
        if not text and not html:
            raise PostalError("NoContent", "There is no content defined for this e-mail")
        from_email = _from_email(data)
        headers = data.get("headers") or {}
        if not isinstance(headers, dict):
            raise PostalError("", "`headers` must be an object")
        tag = _text(data, "tag")
        header_to = ", ".join(str(mailbox) for kind, mailbox in mailboxes if kind == "to")
        return StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=_text(data, "reply_to"),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=mailbox,
                    message_id=str(next(self._ids)),
                    header_to=header_to,
                    subject=subject,
                    text=text,
                    html=html,
                    headers=as_text(headers),
                    tags=(tag,) if tag else (),
                )
                for kind, mailbox in mailboxes
            ),
            attachments=_attachments(data),
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
        esp_event, details = EVENTS[event]
        described = self._describe(message, recipient)
        payload: dict[str, Any] = {"message": described}
        if event == "bounced":
            bounce = {
                **described,
                "id": next(self._ids),
                "direction": "incoming",
                "from": f"mailer-daemon@{recipient.mailbox.domain}",
                "to": message.from_email.addr_spec,
                "subject": "Undelivered Mail Returned to Sender",
                "tag": None,
            }
            payload = {"original_message": described, "bounce": bounce}
        elif event in ("clicked", "opened"):
            payload |= {"ip_address": "203.0.113.7", "user_agent": USER_AGENT}
            if event == "clicked":
                payload |= {"url": clicked_link(recipient), "token": secrets.token_urlsafe(8)}
        else:
            payload |= {**details, "sent_with_ssl": True, "timestamp": time.time(), "time": 0.1}
        return self._signed_call(
            target.webhook_url("postal/tracking/"),
            {
                "event": esp_event,
                "timestamp": time.time(),
                "payload": payload,
                "uuid": str(uuid.uuid4()),
            },
        )

    def _describe(self, message: StoredMessage, recipient: StoredRecipient) -> dict[str, Any]:
        return {
            "id": int(recipient.message_id),
            "token": secrets.token_urlsafe(12),
            "direction": "outgoing",
            "message_id": f"{uuid.uuid4()}@rp.sandbox.example",
            "to": recipient.address,
            "from": message.from_email.addr_spec,
            "subject": recipient.subject,
            "timestamp": time.time(),
            "spam_status": "NotChecked",
            "tag": recipient.tags[0] if recipient.tags else None,
        }

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # Postal's other format is not for Anymail.
        mime = mail.as_bytes()
        return self._signed_call(
            target.webhook_url("postal/inbound/"),
            {
                "id": next(self._ids),
                "rcpt_to": mail.recipient.addr_spec,
                "mail_from": mail.sender.addr_spec,
                # In lines, as Ruby does it
                "message": base64.encodebytes(mime).decode(),
                "base64": True,
                "size": len(mime),
            },
        )

    def _signed_call(self, url: str, data: Mapping[str, Any]) -> WebhookCall:
        body = json.dumps(data).encode()
        headers = {"Content-Type": "application/json", "X-Postal-Signature": _sign(body)}
        return WebhookCall(url, body, headers)


def _sign(data: bytes) -> str:
    """Return the base64 of an RSA signature: PKCS #1 v1.5 with SHA-1 (RFC 8017, section 8.2.1).

    Made here rather than by a package, so that the sandbox needs none.
    """
    modulus, exponent = (
        int.from_bytes(base64.b64decode(number), "big")
        for number in (RSA_MODULUS, RSA_PRIVATE_EXPONENT)
    )
    size = (modulus.bit_length() + 7) // 8
    digest = SHA1_START + hashlib.sha1(data, usedforsecurity=False).digest()
    padded = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    signature = pow(int.from_bytes(padded, "big"), exponent, modulus)
    return base64.b64encode(signature.to_bytes(size, "big")).decode()


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, (str, type(None))):
        raise PostalError("", f"`{name}` must be a string")
    return value or ""


def _recipients(data: dict[str, Any]) -> list[tuple[str, EmailAddress]]:
    recipients = []
    for kind, name in (("to", "To"), ("cc", "CC"), ("bcc", "BCC")):
        items = data.get(kind) or []
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise PostalError("", f"`{kind}` must be an array of strings")
        if len(items) > MAX_RECIPIENTS:
            raise PostalError(
                f"TooMany{name}Addresses",
                f"The maximum number of {name} addresses has been reached ({MAX_RECIPIENTS})",
            )
        recipients += [(kind, mailbox) for item in items for mailbox in parse_mailboxes(item)]
    if not recipients:
        raise PostalError("NoRecipients", "There are no recipients defined to receive this message")
    for kind, mailbox in recipients:
        if not is_valid(mailbox):
            raise PostalError("ValidationError", f"`{kind}` has an invalid address")
    return recipients


def _from_email(data: dict[str, Any]) -> EmailAddress:
    mailboxes = parse_mailboxes(_text(data, "from"))
    if not mailboxes:
        raise PostalError(
            "FromAddressMissing", "The From address is missing and is required to send a message"
        )
    if not is_valid(mailboxes[0]) or mailboxes[0].domain.lower().endswith(UNKNOWN_DOMAIN):
        raise PostalError(
            "UnauthenticatedFromAddress",
            "The From address is not authorised to send mail from this server",
        )
    return mailboxes[0]


def _attachments(data: dict[str, Any]) -> tuple[StoredAttachment, ...]:
    items = data.get("attachments") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise PostalError("", "`attachments` must be an array of objects")
    attachments = []
    for item in items:
        if not item.get("name"):
            raise PostalError("AttachmentMissingName", "An attachment is missing a name")
        if not item.get("data"):
            raise PostalError("AttachmentMissingData", "An attachment is missing data")
        try:
            attachments.append(
                StoredAttachment(
                    filename=item["name"],
                    content_type=item.get("content_type") or "application/octet-stream",
                    content=base64.b64decode(item["data"], validate=True),
                )
            )
        except (TypeError, ValueError, binascii.Error) as err:
            raise PostalError("", "`data` of an attachment must be base64") from err
    return tuple(attachments)
