"""Brevo"""

from __future__ import annotations

from .base import WebhookCase, WebhookView

BREVO = WebhookCase(
    esp="brevo",
    esp_name="Brevo",
    views=(
        WebhookView(
            "tracking",
            "anymail:brevo_tracking_webhook",
            "anymail.webhooks.brevo.BrevoTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
        ),
        WebhookView(
            "inbound",
            "anymail:brevo_inbound_webhook",
            "anymail.webhooks.brevo.BrevoInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
            taken_for_other_kind=frozenset({"JSON empty object"}),
        ),
    ),
    needed_settings={"BREVO_API_KEY": "brevo-api-key"},
)


SENDINBLUE = WebhookCase(
    esp="sendinblue",
    esp_name="SendinBlue",
    views=(
        WebhookView(
            "tracking",
            "anymail:sendinblue_tracking_webhook",
            "anymail.webhooks.sendinblue.SendinBlueTrackingWebhookView",
            accepts=frozenset({"JSON empty object", "JSON empty array"}),
            warnings=("AnymailDeprecationWarning",),
        ),
        WebhookView(
            "inbound",
            "anymail:sendinblue_inbound_webhook",
            "anymail.webhooks.sendinblue.SendinBlueInboundWebhookView",
            accepts=frozenset({"JSON empty array"}),
            taken_for_other_kind=frozenset({"JSON empty object"}),
            warnings=("AnymailDeprecationWarning",),
        ),
    ),
    needed_settings={"SENDINBLUE_API_KEY": "brevo-api-key"},
)
