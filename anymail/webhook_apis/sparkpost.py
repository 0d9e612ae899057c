"""SparkPost's webhooks, of the account or subaccount.

- Webhooks: https://developers.sparkpost.com/api/webhooks/
- Relay webhooks (inbound): https://developers.sparkpost.com/api/relay-webhooks/
"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Registered, WebhookAPI


class SparkPost(WebhookAPI):
    """Credentials can be in the URL, or those of its basic auth."""

    places = {
        "tracking": "Configuration, Webhooks",
        "inbound": "not in the dashboard: by calls of the API (in the docs, esps/sparkpost)",
    }
    events = {
        "injection": "queued",
        "delivery": "delivered",
        "bounce": "bounced",
        "out_of_band": "bounced",
        "delay": "deferred",
        "policy_rejection": "rejected",
        "generation_rejection": "rejected",
        "generation_failure": "failed",
        "spam_complaint": "complained",
        "open": "opened",
        "amp_open": "opened",
        "click": "clicked",
        "amp_click": "clicked",
        "list_unsubscribe": "unsubscribed",
        "link_unsubscribe": "unsubscribed",
    }
    doubling = frozenset({"initial_open", "amp_initial_open"})
    permission = "It takes the grant webhooks/view, and those for relay webhooks."

    def headers(self) -> dict[str, str]:
        return {"Authorization": self.backend.api_key}

    def registered(self) -> Iterator[Registered]:
        for item in self.get("webhooks", timezone="UTC")["results"]:
            auth = item.get("auth_credentials") if item.get("auth_type") == "basic" else None
            yield Registered(
                "tracking",
                item["target"],
                events=frozenset(item["events"]),
                is_active=item.get("active"),
                own_credentials=f"{auth['username']}:{auth['password']}" if auth else "",
            )
        for item in self.get("relay-webhooks")["results"]:
            yield Registered("inbound", item["target"], scope=f"domain {item['match']['domain']}")
