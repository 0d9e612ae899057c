"""What processes must remember together while they deliver: a cache, which may also fail."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache

from ..conf import setting
from ..sending.telling import log
from ..sending.waiting import in_thread

logger = logging.getLogger("anymail.delivery")

_MAX_ENTRIES = 50_000

_MANY_ENTRIES = 10_000
"""The least that a cache must have room for to remember something for days."""

_process_cache = LocMemCache("anymail.delivery", {"OPTIONS": {"MAX_ENTRIES": _MAX_ENTRIES}})


@contextmanager
def forget_in_this_process() -> Iterator[None]:
    """Have this process remember nothing from before within, and nothing of it afterwards."""
    _process_cache.clear()
    try:
        yield
    finally:
        _process_cache.clear()


class Memory:
    """A cache that never keeps mail from being sent.

    If it fails, that is logged, and it answers as if nothing were there.
    """

    delivery_cache: str | None = setting(
        "Name of a cache in Django's :setting:`CACHES` that all processes which send share: it "
        "remembers which mailers have failed, and which messages with an idempotency key were "
        "sent. See :ref:`delivery-cache`.",
        general=True,
        default=None,
        default_text="each process for itself",
        options=(),
    )

    def __init__(self, cache: BaseCache | None = None) -> None:
        self._cache = cache

    @property
    def cache(self) -> BaseCache:
        """The cache that DELIVERY_CACHE names; without it, one of this process."""
        if self._cache is None:
            alias = self.delivery_cache
            self._cache = _process_cache if alias is None else caches[alias]
        return self._cache

    @property
    def is_shared(self) -> bool:
        """Whether all processes have the same cache, as far as can be known."""
        return why_not_shared(self.cache) is None

    def get_many(self, keys: Iterable[str]) -> Mapping[str, Any]:
        return self._call("get_many", {}, keys)  # type: ignore[no-any-return]

    def get(self, key: str) -> Any:
        return self._call("get", None, key)

    def set(self, key: str, value: Any, seconds: float) -> None:
        self._call("set", None, key, value, _timeout(seconds))

    def set_many(self, values: Mapping[str, Any], seconds: float) -> None:
        self._call("set_many", None, values, _timeout(seconds))

    def add(self, key: str, value: Any, seconds: float) -> bool:
        """Set it if there is nothing. Tells whether there was nothing."""
        return bool(self._call("add", True, key, value, _timeout(seconds)))

    def delete(self, key: str) -> None:
        self._call("delete", None, key)

    def _call(self, method: str, if_it_fails: Any, *args: Any) -> Any:
        try:
            call = getattr(self.cache, method)
            if isinstance(self.cache, LocMemCache):
                return call(*args)
            return in_thread(call, *args)
        except Exception:  # noqa: BLE001
            # Whatever a cache raises: its server may be down, just as mail is wanted most.
            text = "DELIVERY_CACHE failed; mail is sent without what it remembers"
            log(logger, logging.ERROR, text, exc_info=True)
            return if_it_fails


def _timeout(seconds: float) -> int:
    # Some caches take whole seconds only, and 0 means not at all.
    return max(1, round(seconds + 0.5))


def why_not_shared(cache: BaseCache) -> str | None:
    """Return why processes can't learn from a cache what the others have done; None if they can."""
    # Imported here, since it isn't asked where messages are just sent.
    from django.core.cache.backends.db import DatabaseCache
    from django.core.cache.backends.dummy import DummyCache
    from django.core.cache.backends.filebased import FileBasedCache

    if isinstance(cache, DummyCache):
        return "it keeps nothing"
    if isinstance(cache, LocMemCache):
        return "each process has one of its own"
    if isinstance(cache, FileBasedCache):
        return "two processes can both add the same key"
    if isinstance(cache, DatabaseCache) and cache._max_entries < _MANY_ENTRIES:
        return f"it drops entries beyond its MAX_ENTRIES, {cache._max_entries}"
    return None
