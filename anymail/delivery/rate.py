"""No more calls of a provider's API than it takes, of all threads and (with Redis) processes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ..exceptions import AnymailConfigurationError, AnymailImproperlyInstalled
from ..sending import waiting
from ..sending.telling import log

if TYPE_CHECKING:
    from limits import RateLimitItem

logger = logging.getLogger("anymail.delivery")

_SHORTEST_WAIT = 0.001

# How long after there is room again. Providers count calls when they arrive, which can be later
# than they were counted here: the last calls of one second must not meet the first of the next.
_MARGIN = 0.1


class RateLimit:
    """A limit such as "50/second" for what is sent with one account.

    ``storage`` is a URI as the package ``limits`` takes it, such as ``redis://localhost/1``; by
    default, the memory of this process. ``name`` tells accounts apart.
    Raises AnymailConfigurationError for a rate that can't be understood.
    """

    def __init__(
        self,
        rate: str,
        name: str,
        storage: str | None = None,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.item = parse_rate(rate)
        self.limiter = _limiter(storage)
        self._ask = waiting.in_thread if storage else _call
        self.key = sha256(name.encode()).hexdigest()[:32]
        self.clock = clock or time.time
        self.sleep = sleep or waiting.sleep

    def wait(self, cost: int = 1, max_wait: float = 0) -> float:
        """Wait until so much can be sent. Returns 0; or, if max_wait isn't enough, how many
        seconds are missing from now on: then nothing may be sent.
        """
        # What is more than fits at all has to do with all there is.
        cost = min(cost, self.item.amount)
        give_up = self.clock() + max_wait
        while (rest := self._hit(cost)) > 0:
            if self.clock() + rest > give_up:
                return rest
            self.sleep(rest + _MARGIN)
        return 0

    def _hit(self, cost: int) -> float:
        """Return 0 if it has been counted, or how long to wait before there may be room."""
        try:
            if self._ask(self.limiter.hit, self.item, self.key, cost=cost):
                return 0
            stats = self._ask(self.limiter.get_window_stats, self.item, self.key)
        except Exception:  # noqa: BLE001
            # Whatever the storage raises: its server may be down.
            text = "The storage of rates failed; mail is sent without a limit"
            log(logger, logging.ERROR, text, exc_info=True)
            return 0
        if stats.remaining >= cost:  # by now
            return _SHORTEST_WAIT
        # The oldest call that counts leaves the window then. (There may have to be more of them.)
        return max(float(stats.reset_time) - self.clock(), _SHORTEST_WAIT)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def parse_rate(rate: str) -> RateLimitItem:
    """Return a rate such as "50/second" as the package ``limits`` has it.

    Raises AnymailConfigurationError if it can't be understood, or if that package is missing.
    """
    try:
        item: RateLimitItem = _import_limits().parse(rate)
    except (TypeError, ValueError) as err:
        raise AnymailConfigurationError(
            f'RATE must be like "50/second" or "100/minute", not {rate!r:.100}.',
            docs="failover#rate",
        ) from err
    return item


def _import_limits() -> Any:
    try:
        import limits
    except ImportError as err:
        raise AnymailImproperlyInstalled(
            missing_package="limits", install_extra="rate", feature="RATE"
        ) from err
    return limits


_lock = threading.Lock()


def _limiter(storage: str | None) -> Any:
    with _lock:  # All must have the same one.
        return _make_limiter(storage or "memory://")


@lru_cache(maxsize=32)
def _make_limiter(storage: str) -> Any:
    limits = _import_limits()
    from limits.storage import storage_from_string

    # Not the sliding window counter: that lets nearly twice as many through at times.
    return limits.strategies.MovingWindowRateLimiter(storage_from_string(storage))
