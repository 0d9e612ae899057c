"""MailerSend: https://developers.mailersend.com/api/v1/webhooks#security"""

from __future__ import annotations

import hashlib
import hmac

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

MAILERSEND_SECRETS = {
    "tracking": "mailersend-signing-secret",
    "inbound": "mailersend-inbound-secret",
}


def mailersend_signature(request: WebhookRequest, secret: str) -> str:
    return hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()


def mailersend_sign(request: WebhookRequest) -> None:
    secret = MAILERSEND_SECRETS[request.kind]
    request.headers["Signature"] = mailersend_signature(request, secret)


def _mailersend_tamper(signature: str | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if signature is None:
            del request.headers["Signature"]
        else:
            request.headers["Signature"] = signature

    return tamper


def _mailersend_upper(request: WebhookRequest) -> None:
    request.headers["Signature"] = request.headers["Signature"].upper()


def _mailersend_other_body(request: WebhookRequest) -> None:
    request.text = request.body.decode().replace("2026", "2027", 1)
    request.json = None


def _mailersend_other_kind(request: WebhookRequest) -> None:
    [secret] = (secret for kind, secret in MAILERSEND_SECRETS.items() if kind != request.kind)
    request.headers["Signature"] = mailersend_signature(request, secret)


def _mailersend_test_secret(request: WebhookRequest) -> None:
    # That is only for calls that test the URL.
    secret = "test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
    request.headers["Signature"] = mailersend_signature(request, secret)


MAILERSEND = WebhookCase(
    esp="mailersend",
    esp_name="MailerSend",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailersend_tracking_webhook",
            "anymail.webhooks.mailersend.MailerSendTrackingWebhookView",
            signature="required",
            accepts=frozenset({"JSON empty object"}),
            options={"signing_secret": MAILERSEND_SECRETS["tracking"]},
        ),
        WebhookView(
            "inbound",
            "anymail:mailersend_inbound_webhook",
            "anymail.webhooks.mailersend.MailerSendInboundWebhookView",
            signature="required",
            taken_for_other_kind=frozenset({"JSON empty object"}),
            options={"inbound_secret": MAILERSEND_SECRETS["inbound"]},
        ),
    ),
    settings={
        "MAILERSEND_SIGNING_SECRET": MAILERSEND_SECRETS["tracking"],
        "MAILERSEND_INBOUND_SECRET": MAILERSEND_SECRETS["inbound"],
    },
    other_settings={
        "MAILERSEND_SIGNING_SECRET": "another-signing-secret",
        "MAILERSEND_INBOUND_SECRET": "another-inbound-secret",
    },
    required_setting="MAILERSEND_(SIGNING|INBOUND)_SECRET",
    sign=mailersend_sign,
    signs_any_body=True,
    tampers={
        "forged": _mailersend_tamper("0" * 64),
        "no signature": _mailersend_tamper(None),
        "empty": _mailersend_tamper(""),
        "not ASCII": _mailersend_tamper("é" * 64),
        "upper case": _mailersend_upper,
        "other body": _mailersend_other_body,
        "secret of the other webhook": _mailersend_other_kind,
        "secret of test calls": _mailersend_test_secret,
    },
)
