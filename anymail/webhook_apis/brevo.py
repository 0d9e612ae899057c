"""Brevo's webhooks: https://developers.brevo.com/reference/get-webhooks"""

from __future__ import annotations

from collections.abc import Iterator

from .base import Call, Endpoint, Registered, WebhookAPI

_SAME = {"sent": "request"}  # Which of them answers have is not documented.


class Brevo(WebhookAPI):
    """Webhooks of the account."""

    places = {
        "tracking": "Transactional, Settings, Webhook",
        "inbound": "not in the dashboard: by a call of the API (in the docs, esps/brevo)",
    }
    events = {
        "request": "queued",
        "delivered": "delivered",
        "hardBounce": "bounced",
        "softBounce": "bounced",
        "invalid": "bounced",
        "blocked": "rejected",
        "deferred": "deferred",
        "spam": "complained",
        "opened": "opened",
        "click": "clicked",
        "unsubscribed": "unsubscribed",
    }
    doubling = frozenset({"uniqueOpened"})
    cannot_tell = ("Webhooks of the type marketing are not looked at.",)
    apply_kinds = ("tracking",)

    def headers(self) -> dict[str, str]:
        return {"api-key": self.backend.api_key}

    def registered(self) -> Iterator[Registered]:
        for kind, type_ in (("tracking", "transactional"), ("inbound", "inbound")):
            for item in self.get("webhooks", type=type_)["webhooks"]:
                yield Registered(
                    kind,
                    item["url"],
                    id=str(item["id"]),
                    events=frozenset(_SAME.get(name, name) for name in item["events"]),
                    scope=f"domain {item['domain']}" if item.get("domain") else "",
                )

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        data = {"type": "transactional", "url": url, "events": list(self.events)}
        return Call("POST", "webhooks", {**data, "description": "Anymail"})

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        events = sorted({*self.events, *(found.events or ())} - self.doubling)
        return Call("PUT", f"webhooks/{found.id}", {"url": url, "events": events})
