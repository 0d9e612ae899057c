"""SparkPost"""

from __future__ import annotations

from .base import WebhookCase, WebhookView

SPARKPOST = WebhookCase(
    esp="sparkpost",
    esp_name="SparkPost",
    views=(
        WebhookView(
            "tracking",
            "anymail:sparkpost_tracking_webhook",
            "anymail.webhooks.sparkpost.SparkPostTrackingWebhookView",
            accepts=frozenset({"JSON empty array"}),
            options={"track_initial_open_as_opened": False},
        ),
        WebhookView(
            "inbound",
            "anymail:sparkpost_inbound_webhook",
            "anymail.webhooks.sparkpost.SparkPostInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
        ),
    ),
)
