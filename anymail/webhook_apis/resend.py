"""Resend's webhooks, of the team: https://resend.com/docs/api-reference/webhooks"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import MAX_PAGES, Call, Endpoint, Registered, WebhookAPI

_INBOUND = "email.received"


class Resend(WebhookAPI):
    """Tracking and inbound are webhooks of the same kind, with other events."""

    places = {
        "tracking": "Webhooks, Add Webhook",
        "inbound": f"Webhooks, Add Webhook: another one, with just the event {_INBOUND}",
    }
    events = {
        "email.scheduled": "queued",
        "email.sent": "sent",
        "email.delivered": "delivered",
        "email.delivery_delayed": "deferred",
        "email.bounced": "bounced",
        "email.failed": "failed",
        "email.suppressed": "rejected",
        "email.complained": "complained",
        "email.opened": "opened",
        "email.clicked": "clicked",
    }
    signs = "each call"
    credentials_unconfirmed = True
    permission = "It must have full access."
    apply_kinds = ("tracking", "inbound")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.backend.api_key}"}

    def registered(self) -> Iterator[Registered]:
        params: dict[str, Any] = {"limit": 100}
        for _ in range(MAX_PAGES):
            page = self.get("webhooks", **params)
            for item in page["data"]:
                events = item["events"]
                is_inbound = events is not None and _INBOUND in events
                key = self.get(f"webhooks/{item['id']}").get("signing_secret")
                yield Registered(
                    "inbound" if is_inbound else "tracking",
                    item["endpoint"],
                    id=item["id"],
                    events=None if events is None else frozenset(events),
                    is_active=item["status"] == "enabled",
                    key=key or "",
                )
            if not page.get("has_more") or not page["data"]:
                return
            params["after"] = page["data"][-1]["id"]

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        return Call("POST", "webhooks", {"endpoint": url, "events": self._events(kind)})

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        events = sorted({*self._events(found.kind), *(found.events or ())})
        data = {"endpoint": url, "events": events, "status": "enabled"}
        return Call("PATCH", f"webhooks/{found.id}", data)

    def _events(self, kind: str) -> list[str]:
        return list(self.events) if kind == "tracking" else [_INBOUND]

    def new_key(self, answer: Any) -> str:
        return str(answer.get("signing_secret") or "")
