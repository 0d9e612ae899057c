"""Postal has no API for webhooks: they are entered in its web interface.

https://docs.postalserver.io/developer/webhooks
"""

from __future__ import annotations

from .base import WebhookAPI


class Postal(WebhookAPI):
    """Just what to enter."""

    places = {
        "tracking": "your mail server, Webhooks: with signatures",
        "inbound": (
            "your mail server, Routing, HTTP endpoints: sent in the body as JSON, delivered as the "
            "raw message; and a route to it"
        ),
    }
    events = {
        "MessageSent": "delivered",
        "MessageDelayed": "deferred",
        "MessageDeliveryFailed": "failed",
        "MessageHeld": "queued",
        "MessageBounced": "bounced",
        "MessageLinkClicked": "clicked",
        "MessageLoaded": "opened",
    }
    signs = "each call"
