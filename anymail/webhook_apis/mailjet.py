"""Mailjet's webhooks, of each API key: one for each type of event.

- Events: https://dev.mailjet.com/email/reference/webhook/
- Parse API: https://dev.mailjet.com/email/reference/parse-api/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .base import Registered, WebhookAPI

_PAGE = 100


class Mailjet(WebhookAPI):
    """The same URL has an object for each event."""

    places = {
        "tracking": "Account settings, Event notifications (webhooks): for each event",
        "inbound": "not in the dashboard: by a call of the API (in the docs, esps/mailjet)",
    }
    events = {
        "sent": "delivered",
        "open": "opened",
        "click": "clicked",
        "bounce": "bounced",
        "blocked": "rejected",
        "spam": "complained",
        "unsub": "unsubscribed",
    }
    cannot_tell = ("Whether Mailjet has suspended a URL that kept failing.",)

    def auth(self) -> tuple[str, str] | None:
        return self.backend.api_key, self.backend.secret_key

    def registered(self) -> Iterator[Registered]:
        events = defaultdict(list)
        rest = "../v3/REST/"
        for item in self.pages(f"{rest}eventcallbackurl", "Data", _PAGE, Limit=_PAGE, Offset=0):
            scope = "backup" if item.get("IsBackup") else ""
            events[item["Url"], scope].append(item["EventType"])
        for (url, scope), names in events.items():
            yield Registered("tracking", url, events=frozenset(names), scope=scope)
        for item in self.pages(f"{rest}parseroute", "Data", _PAGE, Limit=_PAGE, Offset=0):
            scope = f"address {item['Email']}" if item.get("Email") else ""
            yield Registered("inbound", item["Url"], scope=scope)
