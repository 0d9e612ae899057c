"""Postmark's webhooks, for each message stream.

- Webhooks: https://postmarkapp.com/developer/api/webhooks-api
- Server (inbound): https://postmarkapp.com/developer/api/server-api
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .base import Call, Endpoint, Registered, WebhookAPI
from .urls import credentials_in, without_credentials

LEGACY_HOOKS = ("BounceHookUrl", "OpenHookUrl", "DeliveryHookUrl", "ClickHookUrl")


class Postmark(WebhookAPI):
    """Credentials can be in the URL, or in fields of their own."""

    places = {
        "tracking": "your server, the message stream, Webhooks",
        "inbound": "your server, the inbound stream, Settings, Webhook: with raw email content",
    }
    events = {
        "Delivery": "delivered",
        "Open": "opened",
        "Click": "clicked",
        "Bounce": "bounced, deferred, autoresponded, rejected, failed",
        "SpamComplaint": "complained",
        "SubscriptionChange": "unsubscribed, subscribed",
    }
    apply_kinds = ("tracking",)

    def headers(self) -> dict[str, str]:
        return {"X-Postmark-Server-Token": self.backend.server_token}

    @property
    def scope(self) -> str:
        stream = self.backend.message_stream
        return f"stream {stream}" if stream else ""

    def registered(self) -> Iterator[Registered]:
        scopes = []
        for item in self.get("webhooks")["Webhooks"]:
            scopes.append(f"stream {item['MessageStream']}")
            auth = item.get("HttpAuth") or {}
            yield Registered(
                "tracking",
                item["Url"],
                id=str(item["ID"]),
                events=frozenset(
                    name for name, trigger in item["Triggers"].items() if trigger.get("Enabled")
                ),
                scope=scopes[-1],
                own_credentials=(
                    f"{auth['Username']}:{auth['Password']}" if auth.get("Username") else ""
                ),
                data=item,
            )
        server = self.get("server")
        for name in LEGACY_HOOKS:
            if server.get(name):
                # Older than streams: they are called for all of them.
                for scope in dict.fromkeys(scopes or ["server"]):
                    events = frozenset({name.removesuffix("HookUrl")})
                    yield Registered("tracking", server[name], events=events, scope=scope)
        if server.get("InboundHookUrl"):
            yield Registered("inbound", server["InboundHookUrl"])

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        data = {**_address(url), "Triggers": {name: _trigger(name, {}) for name in self.events}}
        if self.backend.message_stream:
            data["MessageStream"] = self.backend.message_stream
        return Call("POST", "webhooks", data)

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        old = found.data["Triggers"]
        triggers = {name: _trigger(name, old.get(name, {})) for name in self.events}
        return Call("PUT", f"webhooks/{found.id}", {**_address(url), "Triggers": triggers})


def _address(url: str) -> dict[str, Any]:
    user, _, password = credentials_in(url).partition(":")
    address: dict[str, Any] = {"Url": without_credentials(url)}
    if user:
        address["HttpAuth"] = {"Username": user, "Password": password}
    return address


def _trigger(name: str, old: dict[str, Any]) -> dict[str, Any]:
    details = {"Open": "PostFirstOpenOnly", "Bounce": "IncludeContent"}
    details["SpamComplaint"] = details["Bounce"]
    detail = details.get(name)
    return {"Enabled": True, **({detail: bool(old.get(detail))} if detail else {})}
