"""Remembering which events were handled, so that repeated calls don't have them handled again."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from django.core.cache import BaseCache, caches
from django.db import connections

from ..conf import setting
from ..signals import AnymailEvent
from ..transactions import call_when_committed, is_in_transaction

if TYPE_CHECKING:
    from ..inbound import AnymailInboundMessage

logger = logging.getLogger("anymail.webhooks")

DEFAULT_SECONDS = 3 * 24 * 60 * 60
"""How long events are remembered: longer than any provider goes on repeating its calls."""

LEASE_SECONDS = 15
"""How long an event stays with a call that has taken it on, but does not renew that, because its
process was killed. Amazon SNS, the first to give up, tries again three times, 20 seconds apart."""

CLAIM_SECONDS = LEASE_SECONDS
"""Its former name."""

RENEWAL_SECONDS = LEASE_SECONDS / 3
THREAD_NAME = "anymail-webhook-claims"

_HANDLED = "handled"


class EventInProgress(Exception):
    """Another call has the same event, and is not finished with it."""


class HandledEvents:
    """The events that receivers have handled, in the cache that WEBHOOK_DEDUPE_CACHE names.

    An instance is for one call. WEBHOOK_DEDUPE_SECONDS is how long events are remembered. Without a
    cache, every event is new.
    """

    alias: Any = setting(
        "Name of a cache in Django's :setting:`CACHES` that remembers which events were "
        "handled: one that all processes share. See :ref:`webhook-duplicates`.",
        name="webhook_dedupe_cache",
        general=True,
        default=None,
        default_text="none",
    )
    seconds: float = setting(
        "How many seconds :setting:`WEBHOOK_DEDUPE_CACHE` remembers an event.",
        name="webhook_dedupe_seconds",
        general=True,
        default=DEFAULT_SECONDS,
        default_text="three days",
    )

    def __init__(self, esp_name: str, kind: str, *, id_is_unique: bool) -> None:
        self.prefix = f"anymail:{esp_name}:{kind}:"
        self.id_is_unique = id_is_unique
        self.cache = None if self.alias is None else caches[self.alias]
        self.owner = f"claimed by {uuid.uuid4().hex}"
        self._claims: set[str] = set()
        # A renewal must not replace what finish() has just noted.
        self._lock = Lock()

    def claim(self, event: AnymailEvent) -> str | None:
        """Take on an event. Return what finish() needs for it; None if it's not new.

        Raises EventInProgress if another call has taken it on, and not finished or given it back.
        """
        if self.cache is None:
            # Without looking at the event, which takes a while for a large received message.
            return ""
        claim = self._key(event_identity(event, id_is_unique=self.id_is_unique))
        if self.cache.add(claim, self.owner, LEASE_SECONDS):
            with self._lock:
                self._claims.add(claim)
            return claim
        if self.cache.get(claim) in (_HANDLED, self.owner):
            return None
        raise EventInProgress

    def finish(self, claim: str) -> None:
        """Note that an event was handled, as soon as all of what was done up to now is committed.

        Errors are only logged: for the provider to repeat the event would not help the cache.
        """
        if self.cache is not None:
            call_when_committed(partial(self._note_handled, self.cache, claim))

    def _note_handled(self, cache: BaseCache, claim: str) -> None:
        with self._lock, _errors_logged("Cannot note that an event was handled"):
            self._claims.discard(claim)
            cache.set(claim, _HANDLED, self.seconds)

    @contextmanager
    def unfinished_given_back(self) -> Iterator[None]:
        """Have events be free for other calls, at the end of the with block, if not finished."""
        try:
            yield
        except BaseException:
            self._give_back()
            raise
        # A transaction can be rolled back without an exception.
        if not is_in_transaction():
            self._give_back()

    def _give_back(self) -> None:
        if self.cache is None:
            return
        with self._lock:
            while self._claims:
                claim = self._claims.pop()
                # What has kept the event from being handled is more important than errors here.
                with _errors_logged("Cannot note that an event was not handled"):
                    # It's another call's if this one was late to renew it.
                    if self.cache.get(claim) == self.owner:
                        self.cache.delete(claim)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Keep the events that this call has taken on while the with block runs."""
        if self.cache is None:
            yield
            return
        ended = Event()
        with suppress(RuntimeError):  # The system has no thread left.
            Thread(target=self._renew_until, args=[ended], name=THREAD_NAME, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _renew_until(self, ended: Event) -> None:
        try:
            while not ended.wait(RENEWAL_SECONDS):
                with _errors_logged("Cannot renew the claim to events in the works"):
                    self._renew(caches[self.alias])
        finally:
            # Those of this thread: the cache can be in a database.
            caches.close_all()
            connections.close_all()

    def _renew(self, cache: BaseCache) -> None:
        with self._lock:
            found = cache.get_many(list(self._claims))
            own = [key for key, value in found.items() if value == self.owner]
            cache.set_many(dict.fromkeys(own, self.owner), LEASE_SECONDS)

    def _key(self, identity: tuple[Any, ...]) -> str:
        # Ids come from outside: hashed, they fit any cache's rules for keys.
        text = json.dumps(identity, default=repr, sort_keys=True)
        return self.prefix.replace(" ", "_") + hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _errors_logged(text: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("%s in WEBHOOK_DEDUPE_CACHE", text)


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
