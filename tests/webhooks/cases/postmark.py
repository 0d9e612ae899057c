"""Postmark"""

from __future__ import annotations

from .base import WebhookCase, WebhookView

POSTMARK = WebhookCase(
    esp="postmark",
    esp_name="Postmark",
    views=(
        WebhookView(
            "tracking",
            "anymail:postmark_tracking_webhook",
            "anymail.webhooks.postmark.PostmarkTrackingWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
        WebhookView(
            "inbound",
            "anymail:postmark_inbound_webhook",
            "anymail.webhooks.postmark.PostmarkInboundWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
    ),
)
