"""Sending with one of several mailers: what failover, weighted and routed backends share.

A :class:`Run` takes messages to mailers. Each message is a :class:`Delivery`, and each attempt to
send it an :class:`Attempt`, which is the journey that the mailer's backend gets. What comes after a
failure is for ``decisions`` to say.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from ..exceptions import AnymailAPIError, AnymailError, Problem
from ..message import AnymailStatus
from ..sending.failures import failure_of
from ..sending.journey import Journey, Verdict
from . import decisions
from .decisions import Failure, Options
from .foreign import fail_to_open, run_with
from .mailers import mailers
from .pauses import Pauses
from .snapshot import copy_message

logger = logging.getLogger("anymail.delivery")

PROBE_SECONDS = 60
"""How long one message may take to find out whether a mailer works again."""


class StrategyBackend(BaseEmailBackend):
    """Base of the backends that send with one of several mailers.

    Subclasses say in which order these are tried: :meth:`route`.
    """

    takes_alias = True
    takes_journeys = True

    fail_silently: bool

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        duplicates: str | None = None,
        pause: float = 60,
        account_pause: float = 600,
        max_wait: float = 2,
        deadline: float = 40,
        alias: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.alias = alias
        self.options = Options(
            duplicates=duplicates or "avoid",  # type: ignore[arg-type]
            pause=pause,
            account_pause=account_pause,
            max_wait=max_wait,
        )
        self.deadline = deadline
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        self._is_open = False
        self._targets: dict[str, BaseEmailBackend] = {}

    # -- For subclasses -----------------------------------------------------------------------

    def route(self, message: EmailMessage) -> Sequence[str]:
        """Return the aliases of the mailers to try for a message, in order."""
        raise NotImplementedError

    # -- Connection ---------------------------------------------------------------------------

    def open(self) -> bool:
        """Begin to keep mailers' connections, which are opened when they are needed."""
        opened = not self._is_open
        self._is_open = True
        return opened

    def close(self) -> None:
        """Close the mailers' connections."""
        targets, self._targets = self._targets, {}
        self._is_open = False
        for target in targets.values():
            target.close()

    def target(self, mailer: str) -> BaseEmailBackend:
        """Return the open connection of a mailer.

        Raises what its backend raises: ImproperlyConfigured for wrong settings, for example.
        """
        target = self._targets.get(mailer)
        if target is None:
            target = mailers[mailer]
            target.open()
            self._targets[mailer] = target
        return target

    # -- Sending ------------------------------------------------------------------------------

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send the messages. Returns how many were accepted, by whichever mailer.

        Raises the first error in the order of the messages. It has an attribute ``sent_count``.
        """
        journeys = [Journey(message, mailer=self.alias) for message in email_messages or ()]
        if not journeys:
            return 0
        opened = self.open()
        try:
            self.run(journeys)
        finally:
            if opened:
                self.close()
        sent_count = sum(bool(journey.sent) for journey in journeys)
        errors = [journey.error for journey in journeys]
        for error in (*errors, *(journey.receivers_error for journey in journeys)):
            if error is not None and not self._is_silent(error):
                error.sent_count = sent_count  # type: ignore[attr-defined]
                raise error
        return sent_count

    def run(self, journeys: Iterable[Journey]) -> None:
        """Take journeys to their ends."""
        Run(self, journeys).run()

    def _is_silent(self, error: Exception) -> bool:
        return self.fail_silently and isinstance(error, AnymailError)


class Run:
    """The messages of one ``send_messages()`` on their ways through mailers."""

    def __init__(self, strategy: StrategyBackend, journeys: Iterable[Journey]) -> None:
        self.strategy = strategy
        self.options = strategy.options
        self.pauses = Pauses()
        self.is_ending = False
        """Whether no other messages are started."""
        self._waiting = [Delivery(self, journey) for journey in journeys]

    def run(self) -> None:
        """Take all messages to their ends."""
        while self._waiting:
            groups: dict[str, list[Delivery]] = {}
            for delivery in self._waiting:
                if not self._is_given_up(delivery) and (mailer := delivery.choose_mailer()):
                    groups.setdefault(mailer, []).append(delivery)
            self._waiting = []
            for mailer, group in groups.items():
                self._send_with(mailer, group)

    def _is_given_up(self, delivery: Delivery) -> bool:
        return self.is_ending and not delivery.attempts

    def set_aside(self, delivery: Delivery) -> None:
        """Have a message tried again, with the mailer that it will choose."""
        self._waiting.append(delivery)

    def _send_with(self, mailer: str, group: list[Delivery]) -> None:
        attempts = self._attempts(mailer, group)
        try:
            target = self.strategy.target(mailer)
        except Exception as error:  # noqa: BLE001 (whatever its backend raises)
            for attempt in attempts:
                fail_to_open(attempt, error)
        else:
            run_with(target, attempts)

    def _attempts(self, mailer: str, group: list[Delivery]) -> Iterator[Attempt]:
        for number, delivery in enumerate(group):
            if self._is_given_up(delivery):
                continue
            # It may have been paused by the messages before. The first one has chosen it so.
            if number and not delivery.can_use(mailer):
                self.set_aside(delivery)
                continue
            yield delivery.start(mailer)


class Delivery:
    """A message on its way through mailers."""

    def __init__(self, run: Run, journey: Journey) -> None:
        self.run = run
        self.journey = journey
        self.message = copy_message(journey.message)
        self.domain = _from_domain(self.message)
        self.duplicates = getattr(self.message, "duplicates", None) or run.options.duplicates
        self.mailers_left = list(run.strategy.route(self.message))
        self.attempts: list[tuple[str | None, Problem | None]] = []
        self.failures: list[Failure] = []
        self.errors: list[Exception] = []
        self.accepted = AnymailStatus()
        """What was accepted by attempts that were accepted in part only."""
        self._tries: Counter[str] = Counter()
        self._again: tuple[str, float] | None = None
        self._probing: str | None = None
        self._wait_left = run.options.max_wait
        self._deadline = time.monotonic() + run.strategy.deadline

    @property
    def time_left(self) -> float:
        """How many seconds are left for attempts."""
        return max(self._deadline - time.monotonic(), 0)

    # -- Which mailer -------------------------------------------------------------------------

    def choose_mailer(self) -> str | None:
        """Return the mailer to try next. None if there is none: the message has its error then."""
        if self._again is not None:
            mailer, wait = self._again
            self._again = None
            self._sleep(wait)
            return mailer
        if self.attempts and not self.time_left:
            self.give_up()
            return None
        states = self.run.pauses.states(self.mailers_left, self.domain)
        for mailer in self.mailers_left:
            state = states[mailer]
            if not state.is_paused and (not state.is_unproven or self._probe(mailer)):
                return mailer
        # All are paused, or somebody else is finding out. What nobody has named a time for is
        # tried all the same: no message is refused without a try.
        due = sorted(
            self.mailers_left, key=lambda mailer: (states[mailer].is_named, states[mailer].rest)
        )
        mailer = due[0]
        state = states[mailer]
        if state.is_named:
            if state.rest > min(self._wait_left, self.time_left):
                self._fail_busy(state.rest)
                return None
            self._sleep(state.rest)
        return mailer

    def can_use(self, mailer: str) -> bool:
        """Tell whether the mailer that it has chosen before isn't paused by now."""
        state = self.run.pauses.states([mailer], self.domain)[mailer]
        return not state.is_paused and (not state.is_unproven or self._probing == mailer)

    def _probe(self, mailer: str) -> bool:
        if self.run.pauses.probe(mailer, PROBE_SECONDS):
            self._probing = mailer
            return True
        return False

    def _sleep(self, seconds: float) -> None:
        self._wait_left -= seconds
        time.sleep(seconds)

    # -- Attempts -----------------------------------------------------------------------------

    def start(self, mailer: str) -> Attempt:
        """Begin an attempt with a mailer."""
        if mailer in self.mailers_left:
            self.mailers_left.remove(mailer)
        self._tries[mailer] += 1
        return Attempt(self, mailer)

    def note_success(self, attempt: Attempt) -> None:
        """The mailer has taken it, or the message is not to be sent at all."""
        self._note_attempt(attempt, None)
        if self._probing is not None or self._tries[attempt.mailer] > 1:
            self.run.pauses.end(attempt.mailer, self.domain)
            self._probing = None
        self._show_status(attempt)
        self.journey.receivers_error = attempt.receivers_error
        self.journey.succeed(bool(attempt.sent))

    def note_failure(self, attempt: Attempt, error: Exception) -> Verdict:
        """Decide what comes after a failed attempt."""
        failure = failure_of(error)
        self.failures.append(failure)
        self.errors.append(error)
        self._note_attempt(attempt, failure.problem)
        self._pause(attempt.mailer, failure)
        self._show_status(attempt)
        verdict = self._plan(attempt.mailer, failure, error)
        if verdict is not None:
            return verdict
        return self._end()

    def _note_attempt(self, attempt: Attempt, problem: Problem | None) -> None:
        # A strategy that was tried has attempts of its own.
        inner = getattr(_status(attempt.message), "attempts", None)
        self.attempts += inner or [(attempt.mailer, problem)]

    def _pause(self, mailer: str, failure: Failure) -> None:
        pause = decisions.pause_for(failure, self.run.options)
        if pause is not None:
            self.run.pauses.pause(mailer, pause, self.domain)
        elif self._probing == mailer:
            # It works: the problem is the message.
            self.run.pauses.end(mailer, self.domain)
        self._probing = None

    def _plan(self, mailer: str, failure: Failure, error: Exception) -> Verdict | None:
        """Have it tried again, if it can be."""
        unsent = getattr(error, "unsent", None)
        if unsent:
            self._narrow(unsent)
        tries = self._tries[mailer]
        wait = decisions.wait_to_repeat(failure, tries)
        repeats = wait is not None and tries == 1
        if failure.problem is Problem.UNREACHABLE:
            if repeats:
                self.mailers_left.append(mailer)  # after the others
        elif repeats and wait is not None and wait <= min(self._wait_left, self.time_left):
            self._again = mailer, wait
            self.run.set_aside(self)
            return Verdict(final=False, will_retry=wait, ends_sending=False)
        if not (self.mailers_left and self.time_left):
            return None
        if not decisions.moves_on(failure, self.duplicates):
            return None
        self._log(mailer, failure)
        self.run.set_aside(self)
        return Verdict(final=False, will_retry=0, ends_sending=False)

    def _narrow(self, unsent: Iterable[str]) -> None:
        """Leave only those recipients for whom it wasn't accepted."""

    def _log(self, mailer: str, failure: Failure) -> None:
        level = logging.ERROR if failure.is_configuration else logging.WARNING
        problem = failure.problem or "configuration"
        logger.log(
            level,
            "Mailer %r has not taken a message (%s); the next one is %r",
            mailer,
            problem,
            self.mailers_left[0],
        )
