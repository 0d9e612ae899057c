"""Scaleway's Transactional Email publishes to topics, which have subscriptions with the URLs.

https://www.scaleway.com/en/developers/api/transactional-email/#path-webhooks-list-webhooks
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Registered, WebhookAPI, WebhookAPIError


class Scaleway(WebhookAPI):
    """The URL is in Topics and Events, which takes other credentials."""

    places = {
        "tracking": (
            "Topics and Events, a topic, an HTTPS subscription; the topic in Transactional Email, "
            "the domain, Webhooks"
        )
    }
    events = {
        "email_queued": "queued",
        "email_delivered": "delivered",
        "email_deferred": "deferred",
        "email_dropped": "bounced",
        "email_mailbox_not_found": "bounced",
        "email_spam": "rejected",
        "email_blocklisted": "rejected",
    }
    signs = "each call, by Topics and Events"
    credentials_unconfirmed = True

    def registered(self) -> Iterator[Registered]:
        raise WebhookAPIError(
            "Scaleway's URLs are in Topics and Events, which takes other credentials than sending."
        )
