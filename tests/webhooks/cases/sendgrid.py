"""SendGrid: https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features"""

from __future__ import annotations

import base64
from typing import Any

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

SENDGRID_SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    # An optional package: without it, SendGrid's webhooks work, but only without signatures.
    SENDGRID_CAN_SIGN = False
else:
    SENDGRID_CAN_SIGN = True
    sendgrid_private_key = ec.generate_private_key(ec.SECP256R1())


def sendgrid_key(private_key: Any) -> str:
    """Return the public key as SendGrid shows it."""
    der = private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def sendgrid_sign(request: WebhookRequest, timestamp: str = "1930000000") -> None:
    signature = sendgrid_private_key.sign(
        timestamp.encode() + request.body, ec.ECDSA(hashes.SHA256())
    )
    request.headers[SENDGRID_TIMESTAMP] = timestamp
    request.headers[SENDGRID_SIGNATURE] = base64.b64encode(signature).decode()


def _sendgrid_tamper(name: str, value: str | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if value is None:
            del request.headers[name]
        else:
            request.headers[name] = value

    return tamper


def _sendgrid_other_body(request: WebhookRequest) -> None:
    request.raw, request.content_type = request.body + b" ", request.effective_content_type
    request.json = request.form = request.multipart = None


def sendgrid_settings(private_key: Any) -> dict[str, str]:
    key = sendgrid_key(private_key)
    return {
        "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": key,
        "SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY": key,
    }


SENDGRID = WebhookCase(
    esp="sendgrid",
    esp_name="SendGrid",
    views=(
        WebhookView(
            "tracking",
            "anymail:sendgrid_tracking_webhook",
            "anymail.webhooks.sendgrid.SendGridTrackingWebhookView",
            signature="optional" if SENDGRID_CAN_SIGN else "none",
            accepts=frozenset({"JSON empty array"}),
            options=(
                {"tracking_webhook_verification_key": sendgrid_key(sendgrid_private_key)}
                if SENDGRID_CAN_SIGN
                else {}
            ),
        ),
        WebhookView(
            "inbound",
            "anymail:sendgrid_inbound_webhook",
            "anymail.webhooks.sendgrid.SendGridInboundWebhookView",
            signature="optional" if SENDGRID_CAN_SIGN else "none",
            options=(
                {"inbound_webhook_verification_key": sendgrid_key(sendgrid_private_key)}
                if SENDGRID_CAN_SIGN
                else {}
            ),
        ),
    ),
    settings=sendgrid_settings(sendgrid_private_key) if SENDGRID_CAN_SIGN else {},
    other_settings=(
        sendgrid_settings(ec.generate_private_key(ec.SECP256R1())) if SENDGRID_CAN_SIGN else {}
    ),
    sign=sendgrid_sign if SENDGRID_CAN_SIGN else None,
    signs_any_body=True,
    tampers={
        "no signature": _sendgrid_tamper(SENDGRID_SIGNATURE, None),
        "no timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, None),
        "empty signature": _sendgrid_tamper(SENDGRID_SIGNATURE, ""),
        "empty timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, ""),
        "forged": _sendgrid_tamper(SENDGRID_SIGNATURE, base64.b64encode(b"0" * 70).decode()),
        "not base64": _sendgrid_tamper(SENDGRID_SIGNATURE, "abcde"),
        "not ASCII": _sendgrid_tamper(SENDGRID_SIGNATURE, "é" * 64),
        "other timestamp": _sendgrid_tamper(SENDGRID_TIMESTAMP, "1930000001"),
        "timestamp not ASCII": _sendgrid_tamper(SENDGRID_TIMESTAMP, "é"),
        "other body": _sendgrid_other_body,
    },
)
