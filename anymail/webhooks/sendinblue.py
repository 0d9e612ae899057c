"""Brevo webhooks at the URLs with its former name. Deprecated."""

from __future__ import annotations

import warnings
from typing import Any

from .._docs import with_docs
from ..exceptions import AnymailDeprecationWarning
from .brevo import BrevoInboundWebhookView, BrevoTrackingWebhookView


class SendinBlueTrackingWebhookView(BrevoTrackingWebhookView):
    """Brevo's tracking webhook. Deprecated: use Brevo's own URL."""

    esp_name = "SendinBlue"

    def __init__(self, **kwargs: Any) -> None:
        _warn("tracking")
        super().__init__(**kwargs)


class SendinBlueInboundWebhookView(BrevoInboundWebhookView):
    """Brevo's inbound webhook with the settings ``SENDINBLUE_...``. Deprecated, too."""

    esp_name = "SendinBlue"

    def __init__(self, **kwargs: Any) -> None:
        _warn("inbound")
        super().__init__(**kwargs)


def _warn(kind: str) -> None:
    warnings.warn(
        with_docs(
            "Anymail's SendinBlue webhook URLs are deprecated. In your Brevo account, change the "
            f"{kind} webhook's URL from .../anymail/sendinblue/{kind}/ to "
            f".../anymail/brevo/{kind}/.",
            "esps/brevo#brevo-sendinblue",
        ),
        AnymailDeprecationWarning,
        stacklevel=3,
    )
