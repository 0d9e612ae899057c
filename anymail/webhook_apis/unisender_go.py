"""Unisender Go's webhooks: https://godocs.unisender.ru/web-api-ref#webhook"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Registered, WebhookAPI, WebhookAPIError


class UnisenderGo(WebhookAPI):
    """What its API answers is documented nowhere that could be read."""

    places = {"tracking": "Settings, Webhooks: the format JSON, with delivery info"}
    events = {
        "delivered": "delivered",
        "opened": "opened",
        "clicked": "clicked",
        "unsubscribed": "unsubscribed",
        "subscribed": "subscribed",
        "soft_bounced": "deferred",
        "hard_bounced": "bounced",
        "spam": "complained",
    }
    signs = "each call, with MD5 and your API key"
    credentials_unconfirmed = True

    def registered(self) -> Iterator[Registered]:
        raise WebhookAPIError("What Unisender Go's API for webhooks answers is not documented.")
