"""What comes after a message could not be sent: rules, as functions of what is known.

Nothing here waits, sends or remembers, so that every way to send uses the same rules: one
``send()``, several messages at a time, a worker that tries again later. The table in the docs
(:ref:`what-failures-mean`) says the same in words.

All times are in seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..exceptions import Problem

Duplicates: TypeAlias = Literal["avoid", "accept"]
"""Whether a message may arrive twice where the other choice is that it may not arrive."""

Jitter: TypeAlias = Callable[[float, float], float]
"""Returns a random number between two: ``random.uniform``."""

_LONGEST_BACKOFF = 900.0


@dataclass(frozen=True)
class Options:
    """The options of a strategy, or of a backend that repeats by itself."""

    duplicates: Duplicates = "avoid"
    pause: float = 60
    """How long a mailer isn't used that could not be reached, or whose outcome is unclear."""
    account_pause: float = 600
    """The same where our account or its settings are the problem."""
    max_wait: float = 2
    """How long one ``send()`` may wait in all."""


@dataclass(frozen=True)
class Failure:
    """One attempt that failed."""

    problem: Problem | None
    """None for errors in the configuration, and for exceptions that nobody can interpret."""
    may_have_been_sent: bool = False
    retry_after: float | None = None
    is_configuration: bool = False
    about_sender: bool = False
    """An ACCOUNT problem about the From domain, not about all of the account."""
    is_our_own: bool = False
    """BUSY because we say so: our rate, or somebody else who is sending the same message."""
    is_canceled: bool = False
    """Whether nobody waits for it to be sent any more."""
    key_lives: bool = False
    """Whether the provider still knows the message's idempotency key from the first call."""

    @property
    def is_bug(self) -> bool:
        """Whether it's an exception that says nothing about the message or the mailer."""
        return self.problem is None and not self.is_configuration


@dataclass(frozen=True)
class Pause:
    """How long a mailer is not to be used."""

    seconds: float
    is_named: bool = False
    """Whether the provider named that time."""
    sender_only: bool = False
    """Whether it is for messages of the same From domain only."""


def backoff(attempt: int, *, first: float, factor: float, jitter: Jitter = random.uniform) -> float:
    """Return how long to wait after so many attempts (from 1): exponential, with full jitter."""
    longest = min(first * factor ** min(attempt - 1, 30), _LONGEST_BACKOFF)
    return jitter(0, longest)


def wait_to_repeat(
    failure: Failure, attempt: int, *, jitter: Jitter = random.uniform
) -> float | None:
    """Return how long to wait before the same mailer is tried again; None for never.

    ``attempt`` counts those with this mailer, from 1. It is for the caller to see whether it can
    wait that long.
    """
    if failure.is_canceled:
        return None
    if failure.problem is Problem.BUSY:
        if failure.retry_after is not None:
            return failure.retry_after
    elif failure.problem is Problem.UNCLEAR:
        if not failure.key_lives:
            return None
    elif failure.problem is not Problem.UNREACHABLE:
        return None
    return backoff(attempt, first=1, factor=2, jitter=jitter)


def moves_on(failure: Failure, duplicates: Duplicates) -> bool:
    """Tell whether another mailer may be tried."""
    if failure.is_canceled:
        return False
    if failure.problem is Problem.UNCLEAR or failure.may_have_been_sent:
        return duplicates == "accept"
    if failure.is_configuration:
        return True
    return failure.problem in (
        Problem.UNSUITABLE,
        Problem.ACCOUNT,
        Problem.BUSY,
        Problem.UNREACHABLE,
    )


def pause_for(failure: Failure, options: Options) -> Pause | None:
    """Return how long the mailer is not to be used; None if it's not to blame."""
    if failure.is_canceled:
        return None
    if failure.is_configuration:
        return Pause(options.account_pause)
    if failure.problem is Problem.ACCOUNT:
        return Pause(options.account_pause, sender_only=failure.about_sender)
    if failure.problem is Problem.BUSY and not failure.is_our_own:
        if failure.retry_after is None:
            return Pause(options.pause)
        return Pause(failure.retry_after, is_named=True)
    if failure.problem in (Problem.UNREACHABLE, Problem.UNCLEAR):
        return Pause(options.pause)
    return None


# The order in which a message's fate is better known, or can change sooner.
_SOONEST = {
    Problem.BUSY: 0,
    Problem.UNREACHABLE: 1,
    Problem.ACCOUNT: 2,
    None: 2,  # in the configuration
    Problem.UNSUITABLE: 3,
    Problem.MESSAGE: 4,
}


def spokesman(failures: Sequence[Failure]) -> int:
    """Return the index of the failure that speaks for all attempts of a message.

    An unclear one, if there is any; else the one after which it can be tried again soonest. But
    what ended the attempts (a problem with the message, an exception that says nothing about the
    mailer) speaks for itself, and so it must be the last.
    """
    last = len(failures) - 1
    if failures[last].is_bug:
        return last
    for index, failure in enumerate(failures):
        if failure.problem is Problem.UNCLEAR:
            return index
    if failures[last].problem is Problem.MESSAGE:
        return last
    return min(
        range(len(failures)),
        key=lambda index: (
            _SOONEST[failures[index].problem],
            failures[index].retry_after or 0,
            index,
        ),
    )


# -- Later ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Later:
    """What a worker does with a message that could not be sent."""

    wait: float
    """How long until the next attempt."""
    elsewhere: bool = False
    """Whether that may be with another mailer than the one that failed."""
    settles: bool = False
    """Whether to wait for the provider's event that says it was sent, in that time."""
    counts: bool = True
    """Whether it counts as an attempt, for what waits grow with."""


def after_failure(
    failure: Failure,
    attempt: int,
    *,
    duplicates: Duplicates,
    settle: float | None = None,
    has_settled: bool = False,
    before_call: bool = False,
    scale: float = 1,
    jitter: Jitter = random.uniform,
) -> Later | None:
    """Return what a worker does after an attempt (they count from 1); None for giving up.

    ``settle`` is how long to wait for the provider's event where the outcome is unclear, if that
    can tell; ``has_settled`` whether that was waited for. ``before_call`` is for exceptions that
    nobody can interpret: whether they came before the provider was called. All waits but those
    that the provider names are multiplied by ``scale``.
    """

    def wait(first: float, factor: float) -> float:
        return scale * backoff(attempt, first=first, factor=factor, jitter=jitter)

    if failure.is_bug:
        if before_call:
            return None
        failure = replace(failure, problem=Problem.UNCLEAR, may_have_been_sent=True)
    if failure.is_configuration or failure.problem is Problem.ACCOUNT:
        # Not jitter alone: an account isn't put right within moments.
        return Later(scale * 600 * 2 ** min(attempt - 1, 10), elsewhere=True)
    if failure.problem is Problem.BUSY:
        if failure.retry_after is not None:
            spread = jitter(0, min(failure.retry_after, 10) / 10)
            return Later(failure.retry_after + spread, elsewhere=True, counts=False)
        return Later(wait(30, 2), elsewhere=True, counts=False)
    if failure.problem is Problem.UNREACHABLE:
        return Later(wait(10, 4), elsewhere=True)
    if failure.problem is Problem.UNCLEAR:
        if failure.key_lives:
            return Later(wait(10, 1))
        if settle is not None and not has_settled:
            return Later(settle, settles=True)
        if duplicates == "accept":
            return Later(wait(30, 1), elsewhere=True)
    return None
