"""Mailjet"""

from __future__ import annotations

from .base import WebhookCase, WebhookView

MAILJET = WebhookCase(
    esp="mailjet",
    esp_name="Mailjet",
    views=(
        WebhookView(
            "tracking",
            "anymail:mailjet_tracking_webhook",
            "anymail.webhooks.mailjet.MailjetTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
        ),
        WebhookView(
            "inbound",
            "anymail:mailjet_inbound_webhook",
            "anymail.webhooks.mailjet.MailjetInboundWebhookView",
            accepts=frozenset({"JSON empty object"}),
        ),
    ),
)
