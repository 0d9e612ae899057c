"""Scaleway: https://www.scaleway.com/en/docs/topics-and-events/reference-content/verifying-webhooks/"""

from __future__ import annotations

from typing import Any

from anymail.webhooks import sns

from .. import sns_signing
from ..harness import WebhookRequest
from .amazon_ses import amazon_ses_sign
from .base import WebhookCase, WebhookView
from .sns import SNS_TAMPERS


def scaleway_sign(request: WebhookRequest) -> None:
    url = sns_signing.SCALEWAY_CERTIFICATE_URL
    sns.certificates.put(url, sns_signing.scaleway_certificate())
    sns_signing.sign_message(request.json, sns_signing.shared_key(), url)


SCALEWAY_SETTINGS: dict[str, Any] = (
    {
        "SCALEWAY_SNS_TRUST_CHAIN": sns_signing.scaleway_trust_chain(),
        "SCALEWAY_SNS_TOPIC_ARNS": ["arn:scw:sns:fr-par:project-*:tem-events"],
    }
    if sns_signing.CAN_SIGN
    else {}
)

SCALEWAY = WebhookCase(
    esp="scaleway",
    esp_name="Scaleway",
    views=(
        WebhookView(
            "tracking",
            "anymail:scaleway_tracking_webhook",
            "anymail.webhooks.scaleway.ScalewayTrackingWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,
            options={
                name.removeprefix("SCALEWAY_").lower(): value
                for name, value in SCALEWAY_SETTINGS.items()
            },
        ),
    ),
    settings=SCALEWAY_SETTINGS,
    other_settings=(
        {"SCALEWAY_SNS_TRUST_CHAIN": sns_signing.scaleway_trust_chain("other")}
        if sns_signing.CAN_SIGN
        else {}
    ),
    sign=scaleway_sign if sns_signing.CAN_SIGN else None,
    tampers={**SNS_TAMPERS, "Amazon's certificate": amazon_ses_sign},
)
