"""Mailers for tests: each does what its script says, in place of a provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import django
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings

import anymail.delivery.memory
from anymail.backends.test import EmailBackend as TestBackend
from anymail.exceptions import AnymailAPIError, Problem
from anymail.sending.problems import Meaning
from anymail.signals import post_send, pre_send, send_failed

from .clock import Clock

# What mailers do next, by alias: None for success, or an exception to raise.
SCRIPTS: dict[str, list[Any]] = defaultdict(list)
# (alias, message) of each call
CALLS: list[tuple[str | None, EmailMessage]] = []


class ScriptedError(AnymailAPIError):
    def __init__(self, problem: Problem, **meaning: Any) -> None:
        super().__init__(f"scripted: {problem}")
        self.meaning = Meaning(problem, **meaning)


class EmailBackend(TestBackend):
    """Does what its script says."""

    esp_name = "Leaf"

    def __init__(self, fails_to_open: bool = False, api_key: str = "", **kwargs: Any) -> None:
        self.fails_to_open = fails_to_open
        self.api_key = api_key
        super().__init__(**kwargs)

    def open(self) -> bool | None:
        if self.fails_to_open:
            raise OSError("no network")
        return super().open()

    def post_to_esp(self, payload: Any, message: Any) -> Any:
        CALLS.append((self.alias, message))
        script = SCRIPTS[str(self.alias)]
        outcome = script.pop(0) if script else None
        if callable(outcome):
            outcome = outcome(message)
        if outcome is not None:
            raise outcome
        return super().post_to_esp(payload, message)

    def find_meaning(self, error: AnymailAPIError) -> Meaning:
        return error.meaning if isinstance(error, ScriptedError) else super().find_meaning(error)


def fails(problem: Problem, **meaning: Any) -> ScriptedError:
    return ScriptedError(problem, **meaning)


LEAF = {"BACKEND": "tests.delivery.leaf.EmailBackend"}


class StrategyTestCase(SimpleTestCase):
    """Has mailers "a", "b" and "c", a clock, and notes what happens."""

    mailers: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.signals: list[tuple[Any, ...]] = []
        self.reset()
        for name in ("time.sleep", "time.time", "time.monotonic"):
            target = self.clock.sleep if name == "time.sleep" else self.clock
            patcher = patch(f"anymail.delivery.strategy.{name}", target)
            patcher.start()
            self.addCleanup(patcher.stop)
        self.use_mailers(**self.mailers)
        self.connect(pre_send, lambda **kw: self.signals.append(("pre_send",)))
        self.connect(post_send, lambda mailer, **kw: self.signals.append(("post_send", mailer)))
        self.connect(
            send_failed,
            lambda mailer, attempt, error, final, **kw: self.signals.append(
                ("send_failed", mailer, attempt, str(getattr(error, "problem", error)), final)
            ),
        )

    def reset(self) -> None:
        """Forget all that has happened."""
        SCRIPTS.clear()
        CALLS.clear()
        self.signals.clear()
        anymail.delivery.memory._process_cache.clear()

    def connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    def use_mailers(self, **mailers: Any) -> None:
        """Have settings with mailers: the three leaves, and others."""
        override = mailer_settings({"a": LEAF, "b": LEAF, "c": LEAF, **mailers})
        override.enable()
        self.addCleanup(override.disable)

    @property
    def called(self) -> list[str | None]:
        """The aliases of the mailers that were called."""
        return [alias for alias, _ in CALLS]

    def script(self, **outcomes: Any) -> None:
        for alias, outcome in outcomes.items():
            SCRIPTS[alias].extend(outcome if isinstance(outcome, list) else [outcome])

    @contextmanager
    def logged(self, *levels: str) -> Iterator[None]:
        """Check what is logged: the levels in order."""
        if not levels:
            with self.assertNoLogs("anymail.delivery", "INFO"):
                yield
            return
        with self.assertLogs("anymail.delivery", "INFO") as logs:
            yield
        self.assertEqual([record.levelname for record in logs.records], list(levels))


def mailer_settings(mailers: dict[str, Any], **anymail_settings: Any) -> override_settings:
    """Return settings with mailers, as this version of Django has them."""
    if django.VERSION >= (6, 1):
        return override_settings(MAILERS=mailers, ANYMAIL=anymail_settings)
    return override_settings(
        ANYMAIL={"MAILERS": mailers, **anymail_settings},
        EMAIL_BACKEND="anymail.backends.mailers.EmailBackend",
    )
