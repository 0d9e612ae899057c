"""Scaleway: https://www.scaleway.com/en/docs/topics-and-events/reference-content/verifying-webhooks/"""

from __future__ import annotations

from functools import cache
from typing import Any

from anymail.webhooks.certificates import fetched_certificates

from .. import sns_signing
from ..harness import WebhookRequest
from .amazon_ses import amazon_ses_sign
from .base import WebhookCase, WebhookView
from .sns import SNS_TAMPERS

CERTIFICATE_URL = "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/sns_certificate_1234567890.crt"


@cache
def scaleway_authority(which: str) -> tuple[Any, Any, Any]:
    """Return root, intermediate, and the intermediate's key."""
    root_key, key = sns_signing.ec_key(), sns_signing.ec_key()
    root = sns_signing.make_certificate("Scaleway MnQ Root", root_key)
    return root, sns_signing.make_certificate("Scaleway MnQ", key, root, root_key), key


@cache
def scaleway_certificate() -> Any:
    _, intermediate, key = scaleway_authority("ours")
    return sns_signing.make_certificate(
        "sns.mnq.srr.scw.cloud", sns_signing.shared_key(), intermediate, key
    )


def scaleway_trust_chain(which: str = "ours") -> str:
    root, intermediate, _ = scaleway_authority(which)
    return sns_signing.as_pem(intermediate, root)


def scaleway_sign(request: WebhookRequest) -> None:
    url = CERTIFICATE_URL
    fetched_certificates.put(url, scaleway_certificate())
    sns_signing.sign_message(request.json, sns_signing.shared_key(), url)


SCALEWAY_SETTINGS: dict[str, Any] = (
    {
        "SCALEWAY_SNS_TRUST_CHAIN": scaleway_trust_chain(),
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
        {"SCALEWAY_SNS_TRUST_CHAIN": scaleway_trust_chain("other")} if sns_signing.CAN_SIGN else {}
    ),
    sign=scaleway_sign if sns_signing.CAN_SIGN else None,
    example_files={"sns-trust-chain.pem": lambda: scaleway_trust_chain().encode()},
    sns_subscription=("arn:scw:sns:fr-par:project-0:topic", "sns.mnq.fr-par.scaleway.com"),
    no_vectors="None found. The documentation refers to that of Amazon SNS.",
    tampers={**SNS_TAMPERS, "Amazon's certificate": amazon_ses_sign},
)
