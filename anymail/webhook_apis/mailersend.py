"""MailerSend's webhooks, of each domain.

- Webhooks: https://developers.mailersend.com/api/v1/webhooks.html
- Inbound routes: https://developers.mailersend.com/api/v1/inbound.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import MAX_PAGES, Call, Endpoint, Registered, WebhookAPI, WebhookAPIError, words

MAX_URL = 191


class MailerSend(WebhookAPI):
    """They belong to domains, which have ids."""

    places = {
        "tracking": "Domains, the domain, Webhooks",
        "inbound": "Domains, the domain, Inbound: a route that forwards to this URL",
    }
    events = {
        "activity.sent": "sent",
        "activity.delivered": "delivered",
        "activity.deferred": "deferred",
        "activity.soft_bounced": "bounced",
        "activity.hard_bounced": "bounced",
        "activity.opened": "opened",
        "activity.clicked": "clicked",
        "activity.unsubscribed": "unsubscribed",
        "activity.spam_complaint": "complained",
    }
    doubling = frozenset({"activity.opened_unique", "activity.clicked_unique"})
    signs = "each call"
    credentials_unconfirmed = True
    permission = "It takes the scopes domains_read, webhooks_full and inbounds_full."
    apply_kinds = ("tracking",)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.backend.api_token}"}

    def registered(self) -> Iterator[Registered]:
        for domain_id, domain in self._domains().items():
            scope = f"domain {domain}"
            for item in self.get("webhooks", domain_id=domain_id)["data"]:
                yield Registered(
                    "tracking",
                    item["url"],
                    id=item["id"],
                    events=frozenset(item["events"]),
                    is_active=item["enabled"],
                    scope=scope,
                    key=item.get("secret") or "",
                )
            for route in self._all("inbound", domain_id=domain_id):
                for forward in route["forwards"]:
                    if forward["type"] == "webhook":
                        yield Registered(
                            "inbound",
                            forward["value"],
                            scope=scope,
                            is_active=route.get("enabled"),
                            key=forward.get("secret") or "",
                        )

    def _domains(self) -> dict[str, str]:
        """Return the domains to look at: id -> name."""
        domains = {item["id"]: item["name"] for item in self._all("domains")}
        if self.domain:
            domains = {id_: name for id_, name in domains.items() if name == self.domain}
        if not domains:
            raise WebhookAPIError(f"MailerSend has no domain {self.domain}.".replace(" .", "."))
        return domains

    def _all(self, path: str, **params: Any) -> Iterator[Any]:
        for page in range(1, MAX_PAGES + 1):
            items = self.get(path, page=page, limit=100, **params)["data"]
            yield from items
            if len(items) < 100:
                return

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        domains = self._domains()
        if len(domains) != 1:
            names = words(domains.values())
            raise WebhookAPIError(f"MailerSend has the domains {names}: say which with --domain.")
        data = {"name": "Anymail", "domain_id": next(iter(domains)), **self._data(url)}
        return Call("POST", "webhooks", {**data, "events": list(self.events)})

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        events = sorted({*self.events, *(found.events or ())} - self.doubling)
        return Call("PUT", f"webhooks/{found.id}", {**self._data(url), "events": events})

    @staticmethod
    def _data(url: str) -> dict[str, Any]:
        if len(url) > MAX_URL:
            raise WebhookAPIError(
                f"MailerSend takes URLs of up to {MAX_URL} characters, with the secret in them."
            )
        return {"url": url, "enabled": True}

    def new_key(self, answer: Any) -> str:
        return str(answer["data"].get("secret") or "")
