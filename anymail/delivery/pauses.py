"""Mailers that are not used for a while, because messages could not be sent with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from .decisions import Pause
from .memory import Memory

# How long a mailer whose pause is over has to prove itself with one message at a time.
_UNPROVEN_SECONDS = 3600


@dataclass(frozen=True)
class MailerState:
    """Whether a mailer can be used."""

    rest: float = 0
    """How many seconds its pause goes on."""
    is_named: bool = False
    """Whether the provider named the time."""
    is_unproven: bool = False
    """Whether it has not been used since the pause was over: see :meth:`Pauses.probe`."""

    @property
    def is_paused(self) -> bool:
        return self.rest > 0


IN_USE = MailerState()


class Pauses:
    """The pauses of all mailers, by their aliases.

    ``domain`` is a message's From domain, for pauses that are only about that.
    """

    def __init__(
        self, memory: Memory | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.memory = memory or Memory()
        self.clock = clock or time.time

    def states(self, mailers: Sequence[str], domain: str = "") -> dict[str, MailerState]:
        """Return the states of mailers."""
        keys = {
            mailer: [_key(mailer), *([_key(mailer, domain)] if domain else [])]
            for mailer in mailers
        }
        records = self.memory.get_many([key for names in keys.values() for key in names])
        if not records:
            return dict.fromkeys(mailers, IN_USE)
        now = self.clock()
        return {
            mailer: max(
                (_state(records.get(key), now) for key in names),
                key=lambda state: (state.rest, state.is_unproven),
            )
            for mailer, names in keys.items()
        }

    def pause(self, mailer: str, pause: Pause, domain: str = "") -> None:
        """Don't use a mailer for a while. A longer pause that it has already goes on."""
        key = _key(mailer, domain if pause.sender_only else "")
        until = self.clock() + pause.seconds
        record = self.memory.get(key)
        if record is None or record["until"] <= until:
            record = {"until": until, "named": pause.is_named}
            self.memory.set(key, record, pause.seconds + _UNPROVEN_SECONDS)
        self.memory.delete(_probe_key(mailer))

    def probe(self, mailer: str, seconds: float) -> bool:
        """Tell whether the caller may try a mailer that is unproven.

        For so many seconds, nobody else may.
        """
        return self.memory.add(_probe_key(mailer), True, seconds)

    def end_probe(self, mailer: str) -> None:
        """Let others try a mailer that is unproven still."""
        self.memory.delete(_probe_key(mailer))

    def end(self, mailer: str, domain: str = "") -> None:
        """Let everybody use a mailer again: a message was sent with it."""
        for key in (_key(mailer), _key(mailer, domain), _probe_key(mailer)):
            self.memory.delete(key)


def _state(record: Any, now: float) -> MailerState:
    if record is None:
        return IN_USE
    rest = record["until"] - now
    if rest > 0:
        return MailerState(rest, record["named"])
    return MailerState(is_unproven=True)


def _key(mailer: str, domain: str = "") -> str:
    # Aliases can have characters that keys can't.
    return f"anymail.pause.{_hash(mailer)}" + (f".{_hash(domain.lower())}" if domain else "")


def _probe_key(mailer: str) -> str:
    return f"anymail.probe.{_hash(mailer)}"


@lru_cache(maxsize=1000)
def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
