"""Amazon SES: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html"""

from __future__ import annotations

from anymail.webhooks.certificates import fetched_certificates

from .. import sns_signing
from ..harness import WebhookRequest
from .base import WebhookCase, WebhookView
from .sns import SNS_TAMPERS


def amazon_ses_sign(request: WebhookRequest) -> None:
    fetched_certificates.put(sns_signing.AMAZON_CERTIFICATE_URL, sns_signing.amazon_certificate())
    sns_signing.sign_message(
        request.json, sns_signing.shared_key(), sns_signing.AMAZON_CERTIFICATE_URL
    )


AMAZON_SES_SETTINGS = {
    "AMAZON_SES_VERIFY_SNS_SIGNATURE": True,
    "AMAZON_SES_SNS_TOPIC_ARNS": ["arn:aws:sns:*:123456789012:ses-*"],
}

AMAZON_SES = WebhookCase(
    esp="amazon_ses",
    esp_name="Amazon SES",
    views=(
        WebhookView(
            "tracking",
            "anymail:amazon_ses_tracking_webhook",
            "anymail.webhooks.amazon_ses.AmazonSESTrackingWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,  # asks Amazon SNS for the credentials
            options={
                "auto_confirm_sns_subscriptions": False,
                "verify_sns_signature": sns_signing.CAN_SIGN,
                "sns_topic_arns": "arn:aws:sns:eu-central-1:123456789012:ses-events",
            },
        ),
        WebhookView(
            "inbound",
            "anymail:amazon_ses_inbound_webhook",
            "anymail.webhooks.amazon_ses.AmazonSESInboundWebhookView",
            signature="optional" if sns_signing.CAN_SIGN else "none",
            missing_auth_status=401,
            options={
                "inbound_kms_key_id": "key-id",
                "download_chunk_size": 1000,
                "verify_sns_signature": sns_signing.CAN_SIGN,
            },
        ),
    ),
    packages=("boto3",),
    settings=AMAZON_SES_SETTINGS if sns_signing.CAN_SIGN else {},
    other_settings={
        **AMAZON_SES_SETTINGS,
        "AMAZON_SES_SNS_TOPIC_ARNS": ["arn:aws:sns:*:999999999999:ses-*"],
    },
    sign=amazon_ses_sign if sns_signing.CAN_SIGN else None,
    sns_subscription=(
        "arn:aws:sns:eu-central-1:123456789012:topic",
        "sns.eu-central-1.amazonaws.com",
    ),
    tampers=SNS_TAMPERS,
)
