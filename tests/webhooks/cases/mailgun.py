"""Mailgun: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

MAILGUN_KEY = "mailgun-signing-key"


def _mailgun_set(request: WebhookRequest, **values: Any) -> None:
    """Set parts of the signature; None removes them."""
    if request.json is not None:
        signature = request.json.setdefault("signature", {})
        for name, value in values.items():
            if value is None:
                signature.pop(name, None)
            else:
                signature[name] = value
    else:
        for name, value in values.items():
            request.set_field(name, value)


def _mailgun_get(request: WebhookRequest, name: str) -> Any:
    if request.json is not None:
        return request.json.get("signature", {}).get(name)
    return request.get_field(name)


def mailgun_sign(request: WebhookRequest) -> None:
    timestamp = _mailgun_get(request, "timestamp")
    token = _mailgun_get(request, "token")
    if timestamp is None:
        timestamp = "1893456000"
        _mailgun_set(request, timestamp=timestamp)
    if token is None:
        token = "made-for-this-test"
        _mailgun_set(request, token=token)
    data = f"{timestamp}{token}".encode()
    signature = hmac.new(MAILGUN_KEY.encode(), data, hashlib.sha256).hexdigest()
    _mailgun_set(request, signature=signature)


def _mailgun_tamper(**values: Any) -> Tamper:
    return lambda request: _mailgun_set(request, **values)


def _mailgun_upper(request: WebhookRequest) -> None:
    _mailgun_set(request, signature=_mailgun_get(request, "signature").upper())


MAILGUN = WebhookCase(
    esp="mailgun",
    esp_name="Mailgun",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailgun_tracking_webhook",
            "anymail.webhooks.mailgun.MailgunTrackingWebhookView",
            signature="required",
            options={"webhook_signing_key": MAILGUN_KEY},
        ),
        WebhookView(
            "inbound",
            "anymail:mailgun_inbound_webhook",
            "anymail.webhooks.mailgun.MailgunInboundWebhookView",
            signature="required",
            options={"webhook_signing_key": MAILGUN_KEY},
        ),
    ),
    settings={"MAILGUN_WEBHOOK_SIGNING_KEY": MAILGUN_KEY},
    other_settings={"MAILGUN_WEBHOOK_SIGNING_KEY": "another-signing-key"},
    required_setting="MAILGUN_WEBHOOK_SIGNING_KEY",
    sign=mailgun_sign,
    tampers={
        "forged": _mailgun_tamper(signature="0" * 64),
        "other token": _mailgun_tamper(token="another-token"),
        "other timestamp": _mailgun_tamper(timestamp="1893456001"),
        "no signature": _mailgun_tamper(signature=None),
        "no token": _mailgun_tamper(token=None),
        "no timestamp": _mailgun_tamper(timestamp=None),
        "empty": _mailgun_tamper(signature=""),
        "upper case": _mailgun_upper,
        "not ASCII": _mailgun_tamper(signature="é" * 64),
        "token not ASCII": _mailgun_tamper(token="tökén"),
    },
)
