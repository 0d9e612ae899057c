"""Whatever goes wrong, and wherever a process dies: no mail arrives twice, none is lost unseen.

The strategies, pauses, ledger and steps of sending are real. Providers, the clock and the cache
are not.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from django.core.cache.backends.locmem import LocMemCache
from django.test import SimpleTestCase
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import anymail.delivery.memory
from anymail import mailers
from anymail.backends.test import EmailBackend as TestBackend
from anymail.exceptions import AnymailAPIError, AnymailError, Problem
from anymail.sending.problems import Meaning
from anymail.signals import post_send, pre_send, send_failed

from ..properties import examples
from ..utils import make_message
from .clock import Clock
from .leaf import ScriptedError, fails, mailer_settings
from .test_strategies import failover

KEY_SECONDS = 900

# What a provider does with a call: whether it accepts the message, and how the call ends.
OUTCOMES = {
    "accepts": (True, None),
    "unclear, accepts": (True, Problem.UNCLEAR),
    "unclear": (False, Problem.UNCLEAR),
    **{str(problem): (False, problem) for problem in Problem if problem is not Problem.UNCLEAR},
}
CRASHES = (None, "pre_send", "before the call", "after the call", "post_send", "send_failed")


class Killed(BaseException):
    """The process is gone."""


class World:
    """The providers, and what is about to happen."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.crash: str | None = None
        self.cache_calls_left: int | None = None
        self.accepted: list[str] = []
        """The names of messages, as often as they are accepted."""
        self.keys: dict[tuple[str, str], float] = {}
        """(provider, key) -> when it was first used."""

    def die_at(self, place: str) -> None:
        if self.crash == place:
            raise Killed(place)

    def call(self, backend: Any, message: Any, now: float) -> ScriptedError | None:
        accepts, problem = OUTCOMES[self.outcomes.pop(0) if self.outcomes else "accepts"]
        key = getattr(message, "idempotency_key", None)
        known = (backend.esp_name, key)
        if accepts and not self._is_known(backend, known, now):
            self.accepted.append(message.subject)
            if backend.idempotency is not None and key is not None:
                self.keys[known] = now
        return None if problem is None else fails(problem, retry_after=3 if now % 2 else None)

    def _is_known(self, backend: Any, known: tuple[Any, Any], now: float) -> bool:
        if backend.idempotency is None or known[1] is None:
            return False
        return now - self.keys.get(known, -1e9) < KEY_SECONDS


WORLD = World()


class EmailBackend(TestBackend):
    """Sends to the world."""

    esp_name = "World"

    def post_to_esp(self, payload: Any, message: Any) -> Any:
        WORLD.die_at("before the call")
        error = WORLD.call(self, message, CLOCK.now)
        WORLD.die_at("after the call")
        if error is not None:
            raise error
        return super().post_to_esp(payload, message)

    def find_meaning(self, error: AnymailAPIError) -> Meaning:
        return error.meaning if isinstance(error, ScriptedError) else super().find_meaning(error)


class KeyedEmailBackend(EmailBackend):
    """Its provider honours idempotency keys."""

    esp_name = "Keyed World"
    idempotency = timedelta(seconds=KEY_SECONDS)


CLOCK = Clock()


class MortalCache(LocMemCache):
    """A cache in whose calls the process can die."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        return super().get(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        super().set(*args, **kwargs)
        self._count()

    def add(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        result = super().add(*args, **kwargs)
        self._count()
        return result

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        return super().delete(*args, **kwargs)

    @staticmethod
    def _count() -> None:
        if WORLD.cache_calls_left is not None:
            WORLD.cache_calls_left -= 1
            if WORLD.cache_calls_left < 0:
                raise Killed("in the cache")


def _leaf(name: str, **options: Any) -> dict[str, Any]:
    return {"BACKEND": f"{__name__}.{name}", "OPTIONS": options}


MAILERS = {
    "plain": _leaf("EmailBackend"),
    "keyed": _leaf("KeyedEmailBackend"),
    "other": _leaf("EmailBackend"),
    "retrying": _leaf("KeyedEmailBackend", retries=3),
    "concurrent": _leaf("EmailBackend", send_concurrency=3),
    "failover": failover("plain", "keyed", "other"),
    "outer": failover("failover", "concurrent"),
    "weighted": {
        "BACKEND": "anymail.backends.weighted.EmailBackend",
        "OPTIONS": {"mailers": {"keyed": 1, "other": 2}, "duplicates": "avoid"},
    },
}


class Deliveries(RuleBasedStateMachine):
    """Messages are sent and sent again, while providers and processes fail."""

    def __init__(self) -> None:
        super().__init__()
        CLOCK.now = 1_900_000_000.0
        WORLD.__init__()  # type: ignore[misc]
        self.number = 0
        self.again: list[tuple[str, str]] = []
        """(name, key) of messages with a key, which can be sent again at any time."""
        self.stack = ExitStack()
        cache = MortalCache("properties", {})
        cache.clear()
        self.stack.enter_context(patch.object(anymail.delivery.memory, "_process_cache", cache))
        for name, function in {
            "time.time": CLOCK,
            "time.monotonic": CLOCK,
            "time.sleep": CLOCK.sleep,
        }.items():
            self.stack.enter_context(patch(f"anymail.delivery.strategy.{name}", function))
        self.stack.enter_context(mailer_settings(MAILERS))
        self.final_errors: list[Exception] = []
        for signal, place in ((pre_send, "pre_send"), (post_send, "post_send")):
            self._connect(signal, lambda place=place, **kwargs: WORLD.die_at(place))
        self._connect(send_failed, self._note_failure)
        logger = logging.getLogger("anymail.delivery")
        logger.disabled = True
        self.stack.callback(setattr, logger, "disabled", False)

    def teardown(self) -> None:
        self.stack.close()

    def _connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.stack.callback(signal.disconnect, receiver)

    def _note_failure(self, error: Exception, final: bool, **kwargs: Any) -> None:
        WORLD.die_at("send_failed")
        if final:
            self.final_errors.append(error)

    # -- What can happen ----------------------------------------------------------------------

    outcomes = st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=5)
    crashes = st.sampled_from((*CRASHES, *(None,) * 5))
    cache_calls = st.sampled_from((None,) * 12 + tuple(range(12)))

    @rule(
        using=st.sampled_from(sorted(MAILERS)),
        has_key=st.sampled_from((True, True, False)),
        outcomes=outcomes,
        crash=crashes,
        cache_calls=cache_calls,
    )
    def send(self, using: str, has_key: bool, outcomes: Any, crash: Any, cache_calls: Any) -> None:
        self.number += 1
        name = f"message-{self.number}"
        key = f"key-{self.number}" if has_key else None
        if key is not None:
            self.again.append((name, key))
        self._send(using, name, key, outcomes, crash, cache_calls)

    @precondition(lambda self: self.again)
    @rule(
        data=st.data(),
        using=st.sampled_from(sorted(MAILERS)),
        outcomes=outcomes,
        crash=crashes,
        cache_calls=cache_calls,
    )
    def send_again(
        self, data: Any, using: str, outcomes: Any, crash: Any, cache_calls: Any
    ) -> None:
        name, key = data.draw(st.sampled_from(self.again))
        self._send(using, name, key, outcomes, crash, cache_calls)

    @rule(seconds=st.sampled_from([1, 20, 61, 95, 500, 890, 1000]))
    def wait(self, seconds: int) -> None:
        CLOCK.now += seconds

    # -- What must hold -----------------------------------------------------------------------

    def _send(
        self,
        using: str,
        name: str,
        key: str | None,
        outcomes: list[str],
        crash: str | None,
        cache_calls: int | None,
    ) -> None:
        WORLD.outcomes = list(outcomes)
        WORLD.crash, WORLD.cache_calls_left = crash, cache_calls
        self.final_errors.clear()
        message = make_message(subject=name)
        message.idempotency_key = key
        try:
            sent: int | None = mailers[using].send_messages([message])
        except Killed:
            sent = None
        except AnymailError as error:
            self._check_failure(error, name)
            sent = None
        finally:
            WORLD.crash = WORLD.cache_calls_left = None
        accepted = WORLD.accepted.count(name)
        assert accepted <= 1, f"{name} has arrived twice"
        if sent is not None:
            assert sent == 1
            assert accepted == 1, f"{name} is lost"
            assert message.anymail_status.status == {"sent"}
            assert not self.final_errors

    def _check_failure(self, error: AnymailError, name: str) -> None:
        accepted = WORLD.accepted.count(name)
        assert error.problem is not None
        assert len(self.final_errors) == 1, "one failure is final"
        if not error.may_have_been_sent:
            assert accepted == 0, f"{name} has arrived, although {error!r}"


class DeliveriesTests(SimpleTestCase):
    def test_nothing_is_lost_and_nothing_arrives_twice(self):
        run_state_machine_as_test(
            Deliveries,
            settings=examples(
                200, stateful_step_count=20, suppress_health_check=[HealthCheck.too_slow]
            ),
        )
