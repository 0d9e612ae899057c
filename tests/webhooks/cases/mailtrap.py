"""Mailtrap: https://docs.mailtrap.io/email-api-smtp/webhooks"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

MAILTRAP_SIGNATURE = "Mailtrap-Signature"
MAILTRAP_SECRETS = {
    "tracking": "0123456789abcdef0123456789abcdef",
    "inbound": "fedcba9876543210fedcba9876543210",
}


def mailtrap_signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def mailtrap_sign(request: WebhookRequest) -> None:
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature(
        MAILTRAP_SECRETS[request.kind], request.body
    )


def _mailtrap_tamper(value: str | None | Callable[[str], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        original = request.headers.pop(MAILTRAP_SIGNATURE)
        if value is not None:
            request.headers[MAILTRAP_SIGNATURE] = value(original) if callable(value) else value

    return tamper


def _mailtrap_other_body(request: WebhookRequest) -> None:
    request.raw = request.body + b" "
    request.json = request.text = None


def _mailtrap_other_kind(request: WebhookRequest) -> None:
    [secret] = {*MAILTRAP_SECRETS.values()} - {MAILTRAP_SECRETS[request.kind]}
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature(secret, request.body)


def _mailtrap_empty_key(request: WebhookRequest) -> None:
    request.headers[MAILTRAP_SIGNATURE] = mailtrap_signature("", request.body)


MAILTRAP = WebhookCase(
    esp="mailtrap",
    esp_name="Mailtrap",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailtrap_tracking_webhook",
            "anymail.webhooks.mailtrap.MailtrapTrackingWebhookView",
            signature="optional",
            accepts=frozenset({"JSON empty object"}),
            options={"tracking_secret": MAILTRAP_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:mailtrap_inbound_webhook",
            "anymail.webhooks.mailtrap.MailtrapInboundWebhookView",
            signature="optional",
            accepts=frozenset({"JSON empty object"}),
            options={
                "inbound_secret": MAILTRAP_SECRETS["inbound"],
                "api_token": "other-token",
                "api_url": "https://mailtrap.io/api",
            },
        ),
    ),
    settings={
        "MAILTRAP_TRACKING_SECRET": MAILTRAP_SECRETS["tracking"],
        "MAILTRAP_INBOUND_SECRET": MAILTRAP_SECRETS["inbound"],
    },
    other_settings={
        "MAILTRAP_TRACKING_SECRET": "0123456789abcdef0123456789abcdee",
        "MAILTRAP_INBOUND_SECRET": "fedcba9876543210fedcba9876543211",
    },
    needed_settings={"MAILTRAP_API_TOKEN": "mailtrap-api-token"},
    sign=mailtrap_sign,
    signs_any_body=True,
    tampers={
        "forged": _mailtrap_tamper("0" * 64),
        "no signature": _mailtrap_tamper(None),
        "empty": _mailtrap_tamper(""),
        "upper case": _mailtrap_tamper(str.upper),
        "cut off": _mailtrap_tamper(lambda signature: signature[:-1]),
        "with a prefix": _mailtrap_tamper(lambda signature: f"sha256={signature}"),
        "not ASCII": _mailtrap_tamper("\xe9" * 64),
        "other body": _mailtrap_other_body,
        "the other webhook's secret": _mailtrap_other_kind,
        "empty key": _mailtrap_empty_key,
    },
)
