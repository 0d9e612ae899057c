"""SendGrid's webhooks, of the account or subuser.

- Event webhook: https://www.twilio.com/docs/sendgrid/api-reference/webhooks
- Inbound Parse: https://www.twilio.com/docs/sendgrid/api-reference/settings-inbound-parse
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import Call, Endpoint, Registered, WebhookAPI

_SETTINGS = "user/webhooks/event/settings"


class SendGrid(WebhookAPI):
    """Signatures are switched on by a call of their own."""

    places = {
        "tracking": "Settings, Mail Settings, Event Webhooks",
        "inbound": 'Settings, Inbound Parse: with "POST the raw, full MIME message"',
    }
    events = {
        "processed": "queued",
        "dropped": "rejected",
        "deferred": "deferred",
        "delivered": "delivered",
        "bounce": "bounced",
        "open": "opened",
        "click": "clicked",
        "spam_report": "complained",
        "unsubscribe": "unsubscribed",
        "group_unsubscribe": "unsubscribed",
        "group_resubscribe": "subscribed",
    }
    signs = "each call, if that is switched on"
    permission = (
        "It takes the scopes user.webhooks.event.settings.read and "
        "user.webhooks.parse.settings.read; to change something, also .create and .update."
    )
    cannot_tell = ("Whether calls of the inbound webhook are signed.",)
    apply_kinds = ("tracking",)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.backend.api_key}"}

    def registered(self) -> Iterator[Registered]:
        for item in self.get(f"{_SETTINGS}/all")["webhooks"]:
            yield Registered(
                "tracking",
                item["url"],
                id=item["id"],
                events=frozenset(name for name in self.events if item.get(name)),
                is_active=item["enabled"],
                key=item.get("public_key") or "",
            )
        for item in self.get("user/webhooks/parse/settings")["result"]:
            yield Registered("inbound", item["url"], scope=f"host {item['hostname']}")

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        data = {"enabled": True, "url": url, "friendly_name": "Anymail"}
        return Call("POST", _SETTINGS, {**data, **dict.fromkeys(self.events, True)})

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        data = {"enabled": True, "url": url, **dict.fromkeys(self.events, True)}
        return Call("PATCH", f"{_SETTINGS}/{found.id}", data)

    def after_create(self, answer: Any) -> Call | None:
        return Call("PATCH", f"{_SETTINGS}/signed/{answer['id']}", {"enabled": True})

    def new_key(self, answer: Any) -> str:
        return str(answer.get("public_key") or "")
