"""Mandrill's webhooks, of the account, and its inbound routes.

- Webhooks: https://mailchimp.com/developer/transactional/api/webhooks/
- Inbound: https://mailchimp.com/developer/transactional/api/inbound/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import Call, Registered, WebhookAPI

_API = "../1.4/"


class Mandrill(WebhookAPI):
    """Each webhook and each route has a key of its own; only those of webhooks can be read."""

    places = {
        "tracking": "Settings, Webhooks",
        "inbound": "Inbound, the domain, a route",
    }
    events = {
        "send": "sent",
        "hard_bounce": "bounced",
        "soft_bounce": "bounced",
        "open": "opened",
        "click": "clicked",
        "spam": "complained",
        "unsub": "unsubscribed",
        "reject": "rejected",
    }
    signs = "URL and content of each call, with SHA-1"
    cannot_tell = (
        "Whether deliveries and deferrals are reported.",
        "Which key signs the calls of an inbound route.",
    )

    def _list(self, path: str, **data: Any) -> list[Any]:
        call = Call("POST", f"{_API}{path}", {"key": self.backend.api_key, **data})
        answer = self.make(call)
        if not isinstance(answer, list):
            raise TypeError(path)
        return answer

    def registered(self) -> Iterator[Registered]:
        for item in self._list("webhooks/list"):
            yield Registered(
                "tracking",
                item["url"],
                events=frozenset(item["events"]),
                key=item.get("auth_key") or "",
            )
        for domain in self._list("inbound/domains"):
            for route in self._list("inbound/routes", domain=domain["domain"]):
                scope = f"route {route['pattern']}@{domain['domain']}"
                yield Registered("inbound", route["url"], scope=scope)
