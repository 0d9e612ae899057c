"""Mailtrap's webhooks, of the account: https://docs.mailtrap.io/developers/webhooks"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.module_loading import import_string

from ..conf import declared_settings
from .base import Registered, WebhookAPI

_KINDS = {"email_sending": "tracking", "inbound_receiving": "inbound"}


class Mailtrap(WebhookAPI):
    """At another host than sending: that of received messages."""

    places = {
        "tracking": "Settings, Webhooks: for email sending, for each stream",
        "inbound": "the inbox, Webhooks: for received messages",
    }
    events = {
        "delivery": "delivered",
        "bounce": "bounced",
        "soft_bounce": "deferred",
        "suspension": "deferred",
        "unsubscribe": "unsubscribed",
        "open": "opened",
        "click": "clicked",
        "spam_complaint": "complained",
        "reject": "rejected",
    }
    signs = "each call"
    credentials_unconfirmed = True
    permission = "Which permission it takes is not documented."
    cannot_tell = ("Whether MAILTRAP_TRACKING_SECRET and MAILTRAP_INBOUND_SECRET are right.",)

    @property
    def base_url(self) -> str:
        [inbound] = self.provider.webhook_views("inbound")
        view_class: Any = import_string(inbound.view_path)
        return str(declared_settings(view_class)["api_url"].read(view_class))

    def headers(self) -> dict[str, str]:
        return {"Api-Token": self.backend.api_token}

    def registered(self) -> Iterator[Registered]:
        for item in self.get("webhooks")["data"]:
            if item["webhook_type"] not in _KINDS:
                continue
            stream, domain = item.get("sending_stream"), item.get("domain_id")
            scope = [f"stream {stream}"] if stream else []
            scope += [f"domain {domain}"] if domain else []
            yield Registered(
                _KINDS[item["webhook_type"]],
                item["url"],
                events=frozenset(item.get("event_types") or ()),
                is_active=item["active"],
                scope=", ".join(scope),
            )
