"""Resend: https://docs.svix.com/receiving/verifying-payloads/how-manual"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import time
from collections.abc import Callable

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

RESEND_SECRETS = {
    # base64 of what is signed with
    "tracking": "whsec_cmVzZW5kLXRyYWNraW5nLWtleQ==",
    "inbound": "whsec_cmVzZW5kLWluYm91bmQta2V5LjE=",
}


def resend_signature(
    secret: str, message_id: str, timestamp: float, body: bytes, version: str = "v1"
) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{math.floor(timestamp)}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"{version},{base64.b64encode(digest).decode()}"


def resend_sign(request: WebhookRequest) -> None:
    message_id = request.headers.setdefault("svix-id", "msg_made-for-this-test")
    timestamp = int(time.time())
    request.headers["svix-timestamp"] = str(timestamp)
    request.headers["svix-signature"] = resend_signature(
        RESEND_SECRETS[request.kind], message_id, timestamp, request.body
    )


def _resend_tamper(name: str, value: str | None | Callable[[str], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        original = request.headers.pop(name)
        if value is not None:
            request.headers[name] = value(original) if callable(value) else value

    return tamper


def _resend_at(offset: float) -> Tamper:
    """Sign correctly, with another time than now."""

    def tamper(request: WebhookRequest) -> None:
        timestamp = int(time.time() + offset)
        request.headers["svix-timestamp"] = str(timestamp)
        request.headers["svix-signature"] = resend_signature(
            RESEND_SECRETS[request.kind], request.headers["svix-id"], timestamp, request.body
        )

    return tamper


def _resend_other_kind(request: WebhookRequest) -> None:
    kind = request.kind
    request.kind = "inbound" if kind == "tracking" else "tracking"
    resend_sign(request)
    request.kind = kind


RESEND = WebhookCase(
    esp="resend",
    esp_name="Resend",
    views=(
        WebhookView(
            "tracking",
            "anymail:resend_tracking_webhook",
            "anymail.webhooks.resend.ResendTrackingWebhookView",
            signature="optional",
            # Resend sends all events that are ticked for a URL.
            refuses_other_kind=False,
            options={"signing_secret": RESEND_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:resend_inbound_webhook",
            "anymail.webhooks.resend.ResendInboundWebhookView",
            signature="optional",
            taken_for_other_kind=frozenset({"JSON empty object"}),
            options={"inbound_secret": RESEND_SECRETS["inbound"]},
        ),
    ),
    settings={
        "RESEND_SIGNING_SECRET": RESEND_SECRETS["tracking"],
        "RESEND_INBOUND_SECRET": RESEND_SECRETS["inbound"],
    },
    other_settings={
        "RESEND_SIGNING_SECRET": "whsec_b3RoZXI=",
        "RESEND_INBOUND_SECRET": "whsec_b3RoZXI=",
    },
    needed_settings={"RESEND_API_KEY": "resend-api-key"},
    sign=resend_sign,
    signs_any_body=True,
    tampers={
        "no id": _resend_tamper("svix-id", None),
        "no timestamp": _resend_tamper("svix-timestamp", None),
        "no signature": _resend_tamper("svix-signature", None),
        "empty id": _resend_tamper("svix-id", ""),
        "empty timestamp": _resend_tamper("svix-timestamp", ""),
        "empty signature": _resend_tamper("svix-signature", ""),
        "other id": _resend_tamper("svix-id", "msg_other"),
        "id not ASCII": _resend_tamper("svix-id", "\xe9"),
        "other timestamp": _resend_tamper("svix-timestamp", lambda value: str(int(value) + 1)),
        "timestamp not a number": _resend_tamper("svix-timestamp", lambda value: f"{value}x"),
        "timestamp NaN": _resend_tamper("svix-timestamp", "nan"),
        "timestamp infinite": _resend_tamper("svix-timestamp", "-inf"),
        "timestamp not ASCII": _resend_tamper("svix-timestamp", "\xe9"),
        "forged": _resend_tamper("svix-signature", "v1," + "A" * 43 + "="),
        "other version": _resend_tamper("svix-signature", lambda value: f"v2{value[2:]}"),
        "no version": _resend_tamper("svix-signature", lambda value: value[3:]),
        "only a version": _resend_tamper("svix-signature", "v1,"),
        "no comma": _resend_tamper("svix-signature", "v1"),
        "not base64": _resend_tamper("svix-signature", "v1,=="),
        "signature not ASCII": _resend_tamper("svix-signature", "v1,\xe9"),
        "cut off": _resend_tamper("svix-signature", lambda value: value[:-4]),
        "lower case": _resend_tamper("svix-signature", str.lower),
        "stale": _resend_at(-305),
        "in the future": _resend_at(305),
        "secret of the other webhook": _resend_other_kind,
        "other body": lambda request: request.json.update(more=1),
    },
)
