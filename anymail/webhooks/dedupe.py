"""Remembering which events were handled, so that repeated calls don't have them handled again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from ..conf import get_anymail_setting
from ..signals import AnymailEvent

if TYPE_CHECKING:
    from ..inbound import AnymailInboundMessage

DEFAULT_SECONDS = 3 * 24 * 60 * 60
"""How long events are remembered: longer than any provider goes on repeating its calls."""

CLAIM_SECONDS = 5 * 60
"""How long an event can be in the works before it is taken for abandoned (by a killed process)."""

_CLAIMED, _HANDLED = "claimed", "handled"


class EventInProgress(Exception):
    """Another call has the same event, and is not finished with it."""


class HandledEvents:
    """The events that receivers have handled, in the cache that WEBHOOK_DEDUPE_CACHE names.

    WEBHOOK_DEDUPE_SECONDS is how long they are remembered. Without a cache, every event is new.
    """

    def __init__(self, esp_name: str, kind: str) -> None:
        self.prefix = f"anymail:{esp_name}:{kind}:"
        alias = get_anymail_setting("webhook_dedupe_cache", default=None)
        self.seconds = get_anymail_setting("webhook_dedupe_seconds", default=DEFAULT_SECONDS)
        self.cache = None if alias is None else caches[alias]

    def claim(self, identity: tuple[Any, ...]) -> bool:
        """Return whether an event is new, and take it on.

        Raises EventInProgress if another call has taken it on, and not finished or given it back.
        """
        if self.cache is None or self.cache.add(self._key(identity), _CLAIMED, CLAIM_SECONDS):
            return True
        if self.cache.get(self._key(identity)) == _HANDLED:
            return False
        raise EventInProgress

    def finish(self, identity: tuple[Any, ...]) -> None:
        """Note that all receivers have handled an event."""
        if self.cache is not None:
            self.cache.set(self._key(identity), _HANDLED, self.seconds)

    def give_back(self, identity: tuple[Any, ...]) -> None:
        """Note that an event is still to be handled."""
        if self.cache is not None:
            self.cache.delete(self._key(identity))

    def _key(self, identity: tuple[Any, ...]) -> str:
        # Ids come from outside: hashed, they fit any cache's rules for keys.
        text = json.dumps(identity, default=repr, sort_keys=True)
        return self.prefix.replace(" ", "_") + hashlib.sha256(text.encode()).hexdigest()


def event_identity(event: AnymailEvent, *, id_is_unique: bool) -> tuple[Any, ...]:
    """Return what makes an event the same as another one.

    That is its id; for ids shared by several events, also the type and recipient. Events without an
    id are the same if all of their content is.
    """
    if event.event_id is not None and id_is_unique:
        return ("id", event.event_id)
    message = getattr(event, "message", None)
    content = {
        name: value
        for name, value in vars(event).items()
        if name not in ("esp_event", "message") and not name.startswith("_")
    }
    if event.event_id is not None:
        return ("id", event.event_id, event.event_type, content.get("recipient"))
    if message is not None:
        return ("content", content, _message_digest(message))
    return ("content", content, event.esp_event if isinstance(event.esp_event, dict) else None)


def _message_digest(message: AnymailInboundMessage) -> str:
    # Not of as_bytes(), which makes up boundaries.
    digest = hashlib.sha256()
    for part in message.walk():
        content = None if part.is_multipart() else part.get_payload()
        digest.update(repr((list(part.raw_items()), content)).encode("utf-8", "replace"))
    return digest.hexdigest()
