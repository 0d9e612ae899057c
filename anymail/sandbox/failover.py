"""The demonstration of failover: messages that arrive although the first provider fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import django

from ..delivery.mailers import mailers
from ..exceptions import Problem
from ..message import AnymailMessage
from . import samples
from .demo import demo_settings
from .providers import Provider
from .report import Report, clip
from .server import Sandbox

PAUSE = 1.0
"""Seconds that a mailer isn't used after a failure. In reality, it's a minute."""

_OUTAGE = 60.0


@dataclass(frozen=True)
class Scene:
    """A message, what goes wrong with it, and what is to become of it."""

    title: str
    attempts: tuple[tuple[int, str | None], ...]
    """Which provider (0 or 1) has what problem with it."""
    arrives: tuple[int, ...]
    """The providers that accept it."""
    prepare: Callable[[Sandbox, str], None] = lambda sandbox, first: None
    """Has something go wrong at the first provider."""


def _go_down(sandbox: Sandbox, first: str) -> None:
    sandbox.fail_next("unreachable", provider=first, seconds=_OUTAGE)


def _come_back(sandbox: Sandbox, first: str) -> None:
    sandbox.recover()
    time.sleep(PAUSE)


def _refuse(sandbox: Sandbox, first: str) -> None:
    sandbox.fail_next("account", provider=first)


def _drop_answer(sandbox: Sandbox, first: str) -> None:
    _come_back(sandbox, first)
    sandbox.fail_next("unclear", provider=first)


SCENES = (
    Scene("1 all is well", ((0, None),), (0,)),
    Scene("2 {first} is down", ((0, "unreachable"), (1, None)), (1,), _go_down),
    Scene("3 still down: not tried", ((1, None),), (1,)),
    Scene("4 {first} is back", ((0, None),), (0,), _come_back),
    Scene("5 out of credits at {first}", ((0, "account"), (1, None)), (1,), _refuse),
    Scene("6 {first}'s answer is lost", ((0, "unclear"),), (0,), _drop_answer),
)


def failover_settings(sandbox: Sandbox, first: str, second: str) -> dict[str, Any]:
    """Return Django's settings for the demonstration, with two mailers and one that has both."""
    entries = {
        "default": {
            "BACKEND": "anymail.backends.failover.EmailBackend",
            "OPTIONS": {
                "mailers": [first, second],
                "duplicates": "avoid",
                "pause": PAUSE,
                "account_pause": PAUSE,
            },
        },
        **{name: {"BACKEND": sandbox.provider(name).backend} for name in (first, second)},
    }
    result = demo_settings(sandbox)
    if django.VERSION >= (6, 1):
        result["MAILERS"] = entries
    else:
        result["EMAIL_BACKEND"] = "anymail.backends.mailers.EmailBackend"
        result["ANYMAIL"] = {**result["ANYMAIL"], "MAILERS": entries}
    return result


def run_failover(sandbox: Sandbox, stream: TextIO, first: str, second: str) -> bool:
    """Run the demonstration, and write about it. Returns whether all was as expected.

    ``first`` and ``second`` are the names of providers; the first must have a port of its own.
    Django's settings must be failover_settings(sandbox, first, second).
    """
    started = time.monotonic()
    providers = [sandbox.provider(first), sandbox.provider(second)]
    report = Report(stream)
    names = " and ".join(provider.esp_name for provider in providers)
    report.line(f"Anymail demo of failover: mail through local stand-ins for {names}.")
    report.line(f"{providers[0].esp_name} comes first. What goes wrong there is played.")
    report.line()
    problems: list[str] = []
    with _quiet_log():
        rows = [_play(sandbox, providers, scene, problems) for scene in SCENES]
    report.table(("message", "attempts", "taken by", "arrived"), rows)
    report.line()
    seconds = f"{time.monotonic() - started:.1f} s"
    if problems:
        report.line(f"FAILED, in {seconds}.")
        for problem in problems:
            report.line(f"- {problem}")
    else:
        report.line(f"As expected, in {seconds}: each message has arrived, and none of them twice.")
        report.line("The last one isn't given to the other provider: it may have arrived already.")
    return not problems


def _play(
    sandbox: Sandbox, providers: list[Provider], scene: Scene, problems: list[str]
) -> tuple[str, ...]:
    """Send a message, and note what is not as expected. Returns a row for the table."""
    first = providers[0]
    title = scene.title.format(first=first.esp_name)
    scene.prepare(sandbox, first.name)
    before = len(sandbox.messages)
    message = AnymailMessage(
        subject="Your order",
        body="It's on its way.\n",
        from_email=samples.SHOP,
        to=[samples.ANN],
    )
    message.attach_alternative("<p>It's on its way.</p>", "text/html")
    error: Exception | None = None
    try:
        mailers["default"].send_messages([message])
    except Exception as caught:  # noqa: BLE001 (whatever it is, it is reported)
        error = caught
    arrived = [stored.provider for stored in sandbox.messages[before:]]
    status = message.anymail_status

    expected: list[tuple[str | None, Problem | None]] = [
        (providers[number].name, Problem(problem) if problem else None)
        for number, problem in scene.attempts
    ]
    if list(status.attempts) != expected:
        problems.append(f"Message {title}: the attempts are {status.attempts!r}. {error or ''}")
    if arrived != [providers[number].name for number in scene.arrives]:
        problems.append(f"Message {title}: it has arrived at {arrived!r}")
    if (error is None) != (scene.attempts[-1][1] is None):
        problems.append(f"Message {title}: {clip(str(error), 400)}")

    def esp_name(mailer: Any) -> str:
        return sandbox.provider(mailer).esp_name

    attempts = [f"{esp_name(mailer)}: {problem or 'ok'}" for mailer, problem in status.attempts]
    taken_by = str(getattr(error, "problem", "nobody")) if error else esp_name(status.mailer)
    times = "once" if len(arrived) == 1 else f"{len(arrived)} times"
    return title, ", ".join(attempts), taken_by, times


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Keep warnings about moving on from the terminal: the table has all of it."""
    logger = logging.getLogger("anymail.delivery")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
