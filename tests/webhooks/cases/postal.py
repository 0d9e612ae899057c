"""Postal: https://github.com/postalserver/postal/blob/main/lib/postal/http.rb"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

POSTAL_SIGNATURE = "X-Postal-Signature"

try:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
except ImportError:
    # Without this package, Postal's webhooks work no more than it takes to say so.
    postal_private_key = postal_other_private_key = None
else:
    postal_private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    postal_other_private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def postal_key(private_key: Any) -> str:
    """Return the public key as Postal shows it; "" without the cryptography package."""
    if private_key is None:
        return ""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def postal_signature(
    body: bytes, private_key: Any = postal_private_key, digest: str = "SHA1"
) -> str:
    from cryptography.hazmat.primitives import hashes

    signature = private_key.sign(body, padding.PKCS1v15(), getattr(hashes, digest)())
    return base64.b64encode(signature).decode()


def postal_sign(request: WebhookRequest) -> None:
    request.headers[POSTAL_SIGNATURE] = postal_signature(request.body)


def _postal_tamper(value: str | None | Callable[[WebhookRequest], str]) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        if value is None:
            del request.headers[POSTAL_SIGNATURE]
        else:
            request.headers[POSTAL_SIGNATURE] = value(request) if callable(value) else value

    return tamper


def _postal_other_body(request: WebhookRequest) -> None:
    request.raw = request.body + b" "
    request.json = request.text = None


POSTAL = WebhookCase(
    esp="postal",
    esp_name="Postal",
    views=(
        WebhookView(
            "tracking",
            "anymail:postal_tracking_webhook",
            "anymail.webhooks.postal.PostalTrackingWebhookView",
            signature="required",
            accepts=frozenset({"JSON empty object"}),
            options={"webhook_key": postal_key(postal_private_key)},
        ),
        WebhookView(
            "inbound",
            "anymail:postal_inbound_webhook",
            "anymail.webhooks.postal.PostalInboundWebhookView",
            signature="required",
            options={"webhook_key": postal_key(postal_private_key)},
        ),
    ),
    packages=("cryptography",),
    settings={"POSTAL_WEBHOOK_KEY": postal_key(postal_private_key)},
    other_settings={"POSTAL_WEBHOOK_KEY": postal_key(postal_other_private_key)},
    required_setting="POSTAL_WEBHOOK_KEY",
    sign=postal_sign,
    signs_any_body=True,
    no_vectors="None found. Those in test_postal.py were made with OpenSSL.",
    tampers={
        "no signature": _postal_tamper(None),
        "empty": _postal_tamper(""),
        "forged": _postal_tamper(base64.b64encode(b"0" * 256).decode()),
        "too short": _postal_tamper(base64.b64encode(b"0" * 20).decode()),
        "not base64": _postal_tamper("abcde"),
        "garbage": _postal_tamper("?!"),
        "not ASCII": _postal_tamper("\xe9" * 344),
        "cut off": _postal_tamper(lambda request: postal_signature(request.body)[:-4]),
        "hex": _postal_tamper(
            lambda request: base64.b64decode(postal_signature(request.body)).hex()
        ),
        "SHA-256": _postal_tamper(lambda request: postal_signature(request.body, digest="SHA256")),
        "other key": _postal_tamper(
            lambda request: postal_signature(request.body, postal_other_private_key)
        ),
        "other body": _postal_other_body,
    },
)
