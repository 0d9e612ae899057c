"""Mailgun's webhooks, of each domain, and its routes, of the account.

- Webhooks: https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/domain-webhooks
- Routes: https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/routes
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import quote

from .base import Registered, WebhookAPI, WebhookAPIError

_PAGE = 100
_FORWARD = re.compile(r"""forward\(\s*["']([^"']+)["']\s*\)""")


class Mailgun(WebhookAPI):
    """The API has the URLs of each type of event."""

    places = {
        "tracking": "Sending, Webhooks, the domain: for each type of event",
        "inbound": "Receiving, a route with the action forward",
    }
    inbound_path = "mailgun/inbound_mime/"
    events = {
        "accepted": "queued",
        "delivered": "delivered",
        "permanent_fail": "bounced",
        "temporary_fail": "deferred",
        "opened": "opened",
        "clicked": "clicked",
        "unsubscribed": "unsubscribed",
        "complained": "complained",
    }
    signs = "only timestamp and token of each call"
    permission = (
        "A domain's sending key can only send: put an API key of the account into MAILGUN_API_KEY "
        "for this command."
    )
    cannot_tell = ("Webhooks for the whole account, instead of for a domain, are not looked at.",)

    def auth(self) -> tuple[str, str] | None:
        return "api", self.backend.api_key

    def registered(self) -> Iterator[Registered]:
        domain = self.domain or self.backend.sender_domain
        if not domain:
            raise WebhookAPIError(
                "Mailgun's webhooks belong to domains: say which with --domain, or set "
                "MAILGUN_SENDER_DOMAIN."
            )
        events = defaultdict(list)
        path = f"domains/{quote(domain, safe='')}/webhooks"
        for name, details in self.get(path)["webhooks"].items():
            for url in details.get("urls") or [details["url"]]:
                events[url].append(name)
        signing_key = self.get("../v5/accounts/http_signing_key").get("http_signing_key") or ""
        for url, names in events.items():
            scope = f"domain {domain}"
            yield Registered("tracking", url, events=frozenset(names), scope=scope, key=signing_key)
        for route in self.pages("routes", "items", _PAGE, limit=_PAGE, skip=0):
            for action in route["actions"]:
                # Commas separate several destinations.
                for match in _FORWARD.finditer(action):
                    for url in match[1].split(","):
                        if "://" in url:
                            scope = f"route {route['expression']}"
                            yield Registered("inbound", url.strip(), scope=scope, key=signing_key)
