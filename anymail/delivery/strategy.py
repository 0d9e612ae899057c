"""Sending with one of several mailers: what failover, weighted and routed backends share.

A :class:`Run` takes messages to mailers. Each message is a :class:`Delivery`, and each attempt to
send it an :class:`Attempt`, which is the journey that the mailer's backend gets. What comes after a
failure is for ``decisions`` to say.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SMTPBackend

from ..exceptions import (
    AnymailConfigurationError,
    AnymailError,
    AnymailInvalidMailer,
    Problem,
)
from ..message import AnymailRecipientStatus, AnymailStatus
from ..sending.awaitable import suspendable
from ..sending.failures import busy_error, tell_failure
from ..sending.journey import Journey, Verdict, clear_outcome
from ..sending.keys import idempotency_key
from ..sending.telling import log
from ..sending.waiting import give_others_a_turn, in_spite_of_cancellation, in_thread, sleep
from . import decisions
from .decisions import Failure, Options
from .foreign import fail_to_open, run_with
from .keyed import SendingOnce
from .mailers import BackendWithMailers, mailers
from .meaning import duplicates_of, failure_of, from_domain
from .pauses import MailerState, Pauses
from .rest import Rest
from .snapshot import copy_message

logger = logging.getLogger("anymail.delivery")

DUPLICATES_MISSING = (
    'OPTIONS must have \'duplicates\': "avoid" or "accept". It decides what becomes of a message '
    "when a mailer does not say whether it has accepted it: either it is not given to another one, "
    "and may never arrive, or it is, and may arrive twice."
)

DEFAULT_TIMEOUT = (5, 30)
"""Seconds to connect and to read, for mailers that have no timeout of their own."""

PROBE_SECONDS = 60
"""How long one message may take to find out whether a mailer works again."""


def strategy_error(text: str, alias: str | None) -> AnymailConfigurationError:
    """Return the exception for a mistake in the options of a strategy."""
    if alias is not None:
        return AnymailInvalidMailer(text, alias=alias, docs="failover#strategies")
    return AnymailConfigurationError(text, docs="failover#strategies")


def mailer_names(value: Any, alias: str | None) -> list[str]:
    """Return the aliases in the option "mailers" of a strategy.

    Raises AnymailConfigurationError if there are none, or the strategy's own is among them.
    """
    names = [value] if isinstance(value, str) else list(value or ())
    if not names or not all(isinstance(name, str) for name in names):
        raise strategy_error("OPTIONS must have 'mailers', with the aliases of mailers.", alias)
    if alias in names:
        raise strategy_error(f"The mailer {alias!r} can't be one of its own 'mailers'.", alias)
    if len(set(names)) < len(names):
        raise strategy_error("An alias is repeated in 'mailers'.", alias)
    return names


class StrategyBackend(BackendWithMailers):
    """Base of the backends that send with one of several mailers.

    Subclasses say in which order these are tried: :meth:`route`. Options of all of them:

    - ``duplicates``: "avoid" or "accept", must be given. Whether a message may be given to another
      mailer although it is unclear if one has accepted it
    - ``pause``: how many seconds a mailer isn't used after a failure (60)
    - ``account_pause``: the same for problems with its account or settings (600)
    - ``max_wait``: how many seconds one ``send()`` may wait, for a busy mailer (2)
    - ``deadline``: how many seconds all attempts of one ``send()`` may take (40)

    Raises AnymailConfigurationError for anything else.
    """

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
        if duplicates not in ("avoid", "accept"):
            raise strategy_error(DUPLICATES_MISSING, alias)
        for name, value in {
            "pause": pause,
            "account_pause": account_pause,
            "max_wait": max_wait,
            "deadline": deadline,
        }.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
                raise strategy_error(
                    f"{name!r} must be a number of seconds, not {value!r:.100}.", alias
                )
        self.options = Options(
            duplicates=duplicates,  # type: ignore[arg-type]
            pause=pause,
            account_pause=account_pause,
            max_wait=max_wait,
        )
        self.deadline = deadline
        super().__init__(fail_silently, alias, kwargs, strategy_error)
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
        with ExitStack() as stack:  # All of them, although one raises an error.
            for target in targets.values():
                stack.callback(target.close)

    def target(self, mailer: str) -> BaseEmailBackend:
        """Return the open connection of a mailer.

        Raises what its backend raises: ImproperlyConfigured for wrong settings, for example.
        """
        target = self._targets.get(mailer)
        if target is None:
            # Modules may have to be imported, which takes a while.
            target = in_thread(_make_target, mailer)
            target.open()
            self._targets[mailer] = target
        return target

    def known_target(self, mailer: str) -> BaseEmailBackend | None:
        """Return the connection of a mailer, if there is one already."""
        return self._targets.get(mailer)

    # -- Sending ------------------------------------------------------------------------------

    @suspendable
    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send the messages. Returns how many were accepted, by whichever mailer.

        Raises the first error in the order of the messages. It has an attribute ``sent_count``.
        """
        journeys = [_Caller(message, mailer=self.alias) for message in email_messages or ()]
        if not journeys:
            return 0
        self._begin_use(self.open())
        try:
            self.run_journeys(journeys)
        finally:
            self._end_use()
        sent_count = sum(bool(journey.sent) for journey in journeys)
        errors = [journey.error for journey in journeys]
        for error in (*errors, *(journey.receivers_error for journey in journeys)):
            if error is not None and not self.is_silent(error):
                error.sent_count = sent_count  # type: ignore[attr-defined]
                raise error
        return sent_count

    def run_journeys(self, journeys: Iterable[Journey]) -> None:
        """Take journeys to their ends."""
        Run(self, journeys).run()

    def is_silent(self, error: Exception) -> bool:
        """Tell whether an error is not to be raised."""
        return self.fail_silently and isinstance(error, AnymailError)


def _make_target(mailer: str) -> BaseEmailBackend:
    try:
        target: Any = mailers[mailer]
    except ImproperlyConfigured:
        raise
    except Exception as error:
        # Backends raise all sorts of exceptions for options that they don't like.
        text = f"Cannot make the backend of mailer {mailer!r}: {type(error).__name__}"
        raise strategy_error(text, mailer) from error
    if getattr(target, "has_default_timeout", False):
        target.timeout = DEFAULT_TIMEOUT
    elif isinstance(target, SMTPBackend) and target.timeout is None:
        target.timeout = DEFAULT_TIMEOUT[1]  # It has only one.
    return target  # type: ignore[no-any-return]


class _Caller(Journey):
    """The way of a caller's message, whose attempts are those of the mailers."""

    def note_attempt(self, problem: str | None) -> None:
        pass


class Run:
    """The messages of one ``send_messages()`` on their ways through mailers."""

    def __init__(self, strategy: StrategyBackend, journeys: Iterable[Journey]) -> None:
        self.strategy = strategy
        self.options = strategy.options
        self.pauses = Pauses()
        self.is_ending = False
        """Whether no other messages are started."""
        self.outer: Run | None = None
        """That of the strategy which has this one as a mailer."""
        self._waiting = []
        for journey in journeys:
            give_others_a_turn()
            if isinstance(journey, Attempt):
                self.outer = journey.delivery.run
            self._waiting.append(Delivery(self, journey))

    def run(self) -> None:
        """Take all messages to their ends."""
        deliveries = self._waiting
        try:
            self._run()
        except BaseException:  # KeyboardInterrupt or CancelledError, for example
            for delivery in deliveries:
                in_spite_of_cancellation(delivery.abandon)
            raise

    def _run(self) -> None:
        self._waiting = list(self._begin_all(self._waiting))
        # Those that come before the one that can't be sent are sent all the same.
        self.is_ending = False
        while self._waiting:
            groups: dict[str, list[Delivery]] = {}
            for delivery in self._waiting:
                give_others_a_turn()
                if not self._is_given_up(delivery) and (mailer := delivery.choose_mailer()):
                    groups.setdefault(mailer, []).append(delivery)
            self._waiting = []
            for mailer, group in groups.items():
                self._send_with(mailer, group)

    def _begin_all(self, deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
        for delivery in deliveries:
            give_others_a_turn()
            if self.is_ending:
                break
            if delivery.begin():
                yield delivery

    def _is_given_up(self, delivery: Delivery) -> bool:
        if not self.is_ending or delivery.attempts:
            return False
        delivery.forget()
        return True

    def set_aside(self, delivery: Delivery) -> None:
        """Have a message tried again, with the mailer that it will choose."""
        self._waiting.append(delivery)

    def _send_with(self, mailer: str, group: list[Delivery]) -> None:
        attempts = self._attempts(mailer, group)
        started = time.monotonic()
        try:
            if mailer in self._aliases():
                raise strategy_error(
                    f"The mailer {mailer!r} is one of its own 'mailers', by way of others.", mailer
                )
            target = self.strategy.target(mailer)
        except Exception as error:  # noqa: BLE001 (whatever its backend raises)
            for delivery in group:
                delivery.time_left -= time.monotonic() - started
            for attempt in attempts:
                fail_to_open(attempt, error, self.strategy)
        else:
            run_with(target, attempts)

    def _aliases(self) -> set[str | None]:
        """Return the aliases of the strategy, and of those that it is itself a mailer of."""
        run: Run | None = self
        aliases = set()
        while run is not None:
            aliases.add(run.strategy.alias)
            run = run.outer
        return aliases - {None}

    def _attempts(self, mailer: str, group: list[Delivery]) -> Iterator[Attempt]:
        for number, delivery in enumerate(group):
            if self._is_given_up(delivery):
                continue
            # It may have been paused by the messages before. The first one has chosen it so.
            if number and not delivery.can_use(mailer):
                delivery.put_back(mailer)
                self.set_aside(delivery)
                continue
            yield delivery.start(mailer)


class Delivery:
    """A message on its way through mailers."""

    def __init__(self, run: Run, journey: Journey) -> None:
        self.run = run
        self.journey = journey
        self.message = copy_message(journey.message)
        """What each attempt gets a copy of."""
        self.domain = from_domain(self.message)
        self.duplicates = run.options.duplicates
        self.mailers_left: list[str] = []
        self.attempts: list[tuple[str | None, Problem | None]] = []
        self.failures: list[Failure] = []
        self.errors: list[Exception] = []
        self.rest = Rest(self.message)
        """Whom attempts are still for, if others' were accepted in part."""
        self.once: SendingOnce | None = None
        """That of the outermost strategy, which is the one to begin and end it."""
        self._tries: Counter[str] = Counter()
        self._again: tuple[str, float] | None = None
        """The mailer that is to try again, and when (monotonic time)."""
        self._probing: str | None = None
        self._attempt: Attempt | None = None
        """The last one."""
        self._wait_left = run.options.max_wait
        self.time_left = run.strategy.deadline
        """How many seconds are left for attempts, and for waiting between them. (When it is other
        messages' turn doesn't count.)"""

    @property
    def _is_inner(self) -> bool:
        return isinstance(self.journey, Attempt)

    def begin(self) -> bool:
        """Tell whether it is to be sent at all. If not, it has its result."""
        try:
            self.duplicates = duplicates_of(self.message, self.duplicates)
            self.mailers_left = list(self.run.strategy.route(self.message))
            if not self.mailers_left:
                raise strategy_error("There is no mailer for a message.", self.run.strategy.alias)
            status = self._claim_key()
        except Exception as error:  # noqa: BLE001 (also what the project's own function raises)
            self._fail_without_attempt(error)
            return False
        if status is not None:
            clear_outcome(self.journey.message)
            self.journey.message.anymail_status = status  # type: ignore[attr-defined]
            self.journey.sent = True
        return status is None

    def _claim_key(self) -> AnymailStatus | None:
        """Claim the message's idempotency key, if it has one, for all attempts.

        Returns its status if it was sent before. Raises what SendingOnce.begin() does.
        """
        if isinstance(self.journey, Attempt):  # of a strategy that has this one as a mailer
            self.once = self.journey.delivery.once
        elif idempotency_key(self.message) is not None:
            self.once = SendingOnce(
                self.message, self.duplicates, remember_longer=self.journey.remember_longer
            )
            if (status := self.once.begin()) is not None:
                return status
            if self.once.is_partial:
                self.once.restore(self.rest)
            if self.once.is_unclear:
                self.mailers_left = list(filter(self._may_be_used, self.mailers_left))
                if not self.mailers_left:
                    raise self.once.unclear_error()
        return None

    def _may_be_used(self, mailer: str) -> bool:
        """Tell whether a mailer may get the message, although it's unclear if it was sent."""
        assert self.once is not None
        try:
            target = self.run.strategy.target(mailer)
        except Exception:  # noqa: BLE001 (whatever its backend raises: others come first)
            return False
        return isinstance(target, StrategyBackend) or self.once.refusal(target) is None

    # -- Which mailer -------------------------------------------------------------------------

    def choose_mailer(self) -> str | None:
        """Return the mailer to try next. None if there is none: the message has its error then."""
        if self._again is not None:
            mailer, again_at = self._again
            self._again = None
            # Others that wait for the same wait at the same time.
            self._sleep(max(0.0, again_at - time.monotonic()))
            return mailer
        states: dict[str, MailerState] = {}
        # Nearly always, the first one can be used, and nobody needs to know about the others.
        for mailers_asked_for in (self.mailers_left[:1], self.mailers_left[1:]):
            states |= self.run.pauses.states(mailers_asked_for, self.domain)
            for mailer in mailers_asked_for:
                state = states[mailer]
                if not state.is_paused and (not state.is_unproven or self._probe(mailer)):
                    return mailer
        # All are paused, or somebody else is finding out. What nobody has named a time for is
        # tried all the same: no message is refused without a try.
        due = sorted(
            self.mailers_left, key=lambda mailer: (states[mailer].is_named, states[mailer].rest)
        )
        mailer = self._probing = due[0]
        state = states[mailer]
        if state.is_named:
            if state.rest > min(self._wait_left, self.time_left):
                self._fail_busy(state.rest)
                return None
            self._sleep(state.rest)
        return mailer

    def put_back(self, mailer: str) -> None:
        """Choose anew, this mailer included, which was not tried."""
        if mailer not in self.mailers_left:  # It was to be tried again.
            self.mailers_left.insert(0, mailer)

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
        self.time_left -= seconds
        sleep(seconds)

    # -- Attempts -----------------------------------------------------------------------------

    def start(self, mailer: str) -> Attempt:
        """Begin an attempt with a mailer."""
        if mailer in self.mailers_left:
            self.mailers_left.remove(mailer)
        self._tries[mailer] += 1
        self._attempt = Attempt(self, mailer)
        return self._attempt

    def may_attempt(self, attempt: Attempt) -> bool:
        """Note the call that is about to be made. Raises AnymailError if it must not be made."""
        if self.once is not None:
            target = self.run.strategy.known_target(attempt.mailer)
            if (error := self.once.refusal(target)) is not None:
                raise error
            self.once.note_call(target, attempt.mailer, self.rest)
        return True

    def renew_claim(self, attempt: Attempt) -> None:
        """Note that another call is about to be made, of those that it takes."""
        if self.once is not None:
            self.once.renew(self.run.strategy.known_target(attempt.mailer))

    def note_success(self, attempt: Attempt, sent: bool) -> None:
        """Note that a mailer has taken it, or that it's not to be sent at all."""
        self._note_attempt(attempt, None)
        status = self._show_status(attempt)
        if self.once is not None and not self._is_inner:
            self.once.succeed(status, sent)
        if not sent:
            self._end_probe()
        # Otherwise the mailer has no pause, as far as is known.
        elif self._probing is not None or self._tries[attempt.mailer] > 1:
            self.run.pauses.end(attempt.mailer, self.domain)
        self.journey.receivers_error = attempt.receivers_error
        self.journey.succeed(sent)

    def note_failure(self, attempt: Attempt, error: Exception) -> Verdict:
        """Decide what comes after a failed attempt."""
        self.time_left -= attempt.duration
        self.journey.is_before_call = attempt.is_before_call
        failure = failure_of(error, key_lives=self._key_lives(attempt.mailer))
        target = self.run.strategy.known_target(attempt.mailer)
        if self.once is not None and not isinstance(target, StrategyBackend):
            self.once.note_failure(target, failure)
        self.failures.append(failure)
        self.errors.append(error)
        self._note_attempt(attempt, failure.problem)
        self._note_pause(attempt.mailer, failure)
        self.rest.note(attempt.message, failure)
        self._show_status(attempt)
        if failure.problem is Problem.UNCLEAR:
            self.journey.key_lives = failure.key_lives or attempt.key_lives
        return self._plan(attempt.mailer, failure, error) or self.give_up()

    def _key_lives(self, mailer: str) -> bool:
        target = self.run.strategy.known_target(mailer)
        return self.once is not None and target is not None and self.once.key_lives(target)

    def _note_attempt(self, attempt: Attempt, problem: Problem | None) -> None:
        # A strategy that was tried has made attempts of its own.
        status = getattr(attempt.message, "anymail_status", None)
        inner = status and status.attempts
        self.attempts += inner or [(attempt.mailer, problem)]

    def _note_pause(self, mailer: str, failure: Failure) -> None:
        pause = decisions.pause_for(failure, self.run.options)
        if pause is not None:
            self.run.pauses.pause(mailer, pause, self.domain)
        self._end_probe()

    def _end_probe(self) -> None:
        """Let another message find out whether the mailer works: this one couldn't."""
        if self._probing is not None:
            self.run.pauses.end_probe(self._probing)
            self._probing = None

    def _show_status(self, attempt: Attempt) -> AnymailStatus:
        """Let the caller's message have the status of the last attempt, and nothing else."""
        status = getattr(attempt.message, "anymail_status", None) or AnymailStatus()
        self.rest.complete(status)
        status.mailer = self.attempts[-1][0]
        status.attempts = list(self.attempts)
        self.journey.message.anymail_status = status  # type: ignore[attr-defined]
        self.journey.message.anymail_error = None  # type: ignore[attr-defined]
        return status

    def _plan(self, mailer: str, failure: Failure, error: Exception) -> Verdict | None:
        """Have it tried again, with the same mailer or another one, if that's right."""
        is_first = self._tries[mailer] == 1
        wait = decisions.wait_to_repeat(failure, 1) if is_first else None
        if failure.problem is Problem.UNREACHABLE:
            if wait is not None:
                self.mailers_left.append(mailer)  # after the others
        elif wait is not None and wait <= min(self._wait_left, self.time_left):
            self._again = mailer, time.monotonic() + wait
            # What is unclear must be repeated just as it was, for its key to be recognized.
            if failure.problem is not Problem.UNCLEAR:
                self.rest.leave_after(failure, getattr(error, "unsent", ()))
            return self._set_aside(wait)
        if not self.mailers_left or self.time_left <= 0:
            return None
        if self.once is not None and self.once.is_unclear:
            # With an earlier attempt, that is, or one of an earlier send().
            failure = replace(failure, may_have_been_sent=True)
        if not decisions.moves_on(failure, self.duplicates):
            return None
        log(
            logger,
            logging.ERROR if failure.is_configuration else logging.WARNING,
            "Mailer %r has not taken a message (problem: %s); next is %r",
            mailer,
            failure.problem or "configuration",
            self._next_mailer(),
        )
        self.rest.leave_after(failure, getattr(error, "unsent", ()))
        return self._set_aside(0)

    def _next_mailer(self) -> str:
        """Return the mailer that will be tried next, as it looks."""
        states = self.run.pauses.states(self.mailers_left, self.domain)
        usable = (mailer for mailer in self.mailers_left if not states[mailer].is_paused)
        return next(usable, self.mailers_left[0])

    def _set_aside(self, wait: float) -> Verdict:
        self.run.set_aside(self)
        return Verdict(final=False, will_retry=wait)

    # -- The end ------------------------------------------------------------------------------

    def give_up(self) -> Verdict:
        """Let the message have the error that speaks for all its attempts."""
        strategy = self.run.strategy
        index = decisions.spokesman(self.failures)
        if self.rest.accepted and not isinstance(self.errors[index], AnymailError):
            # Others can't say so.
            known = [isinstance(error, AnymailError) for error in self.errors]
            index = known.index(True) if any(known) else index
        error = self.errors[index]
        _chain(error, [other for number, other in enumerate(self.errors) if number != index])
        if isinstance(error, AnymailError):
            if self.rest.accepted and error.problem is not Problem.UNCLEAR:
                error.unsent = self.rest.not_accepted()
            error.may_have_been_sent |= (
                bool(self.rest.accepted)
                or any(failure.may_have_been_sent for failure in self.failures)
                or (self.once is not None and self.once.is_unclear)
            )
        if self.once is not None and not self._is_inner:
            status = getattr(self.journey.message, "anymail_status", None)
            self.once.fail(error, status, before_call=self.journey.is_before_call)
        self.journey.message.anymail_error = error  # type: ignore[attr-defined]
        verdict = self.journey.fail(error)
        if verdict.final:
            self.run.is_ending |= self.journey.ends_sending and not strategy.is_silent(error)
        return verdict

    def _fail_busy(self, seconds: float) -> None:
        """Fail without an attempt: all mailers are paused, for times that providers have named."""
        error = busy_error(
            f"All mailers of {self.run.strategy.alias or 'the strategy'!r} are busy: "
            f"{', '.join(self.mailers_left)}",
            seconds,
            email_message=self.journey.message,
        )
        self._fail_without_attempt(error)

    def abandon(self) -> None:
        """End it as it is, unless it has ended: the sending was interrupted."""
        if self.journey.sent is not None or self.journey.error is not None:
            return
        if self._attempt is not None and self._attempt.is_under_way:
            return  # Nobody knows what becomes of that.
        if self.failures:
            self._tell(self.give_up())
        else:
            self.forget()

    def forget(self) -> None:
        """Note that it isn't sent, since another message has ended the sending."""
        if self.once is not None and not self._is_inner:
            self.once.free()

    def _fail_without_attempt(self, error: Exception) -> None:
        self.failures.append(failure_of(error))
        self.errors.append(error)
        self._tell(self.give_up())

    def _tell(self, verdict: Verdict) -> None:
        error = self.journey.error
        assert error is not None
        sender = type(self.run.strategy)
        tell_failure(self.journey, error, verdict, sender=sender, esp_name="Anymail")


class Attempt(Journey):
    """An attempt to send a message with one of the mailers."""

    ends_sending = False  # The others may be sent all the same: that is for the run to decide.

    def __init__(self, delivery: Delivery, mailer: str) -> None:
        super().__init__(
            copy_message(delivery.message),
            mailer=mailer,
            attempt=delivery.journey.attempt + len(delivery.attempts),
            original=delivery.journey.original,
        )
        self.mailer: str = mailer
        self.delivery = delivery
        self.is_under_way = False
        self._time_left = delivery.time_left

    def begin(self) -> bool:
        # So is that of a strategy which has this one as a mailer.
        attempt: Journey = self
        while isinstance(attempt, Attempt):
            attempt.is_under_way = True
            attempt = attempt.delivery.journey
        return self.delivery.may_attempt(self)

    def go_on(self) -> None:
        self.delivery.renew_claim(self)

    @property
    def is_repeat(self) -> bool:
        once = self.delivery.once
        return once is not None and once.is_repeat

    @property
    def earlier_statuses(self) -> Mapping[str, AnymailRecipientStatus]:
        once = self.delivery.once
        return {} if once is None else once.earlier_statuses

    @property
    def time_left(self) -> float:
        # As it was in the beginning: if it takes several calls, each can take that long.
        return self._time_left

    def fail(self, error: Exception) -> Verdict:
        self.error = error
        self.is_under_way = False
        return self.delivery.note_failure(self, error)

    def succeed(self, sent: bool) -> None:
        self.sent = sent
        self.is_under_way = False
        self.delivery.note_success(self, sent)


def _chain(error: BaseException, others: Iterable[Exception]) -> None:
    """Have other errors shown as what happened before an error."""
    for other in others:
        before = _with_causes(error)
        # Never in a circle
        if {id(item) for item in before}.isdisjoint(id(item) for item in _with_causes(other)):
            before[-1].__context__ = other


def _with_causes(error: BaseException) -> list[BaseException]:
    """Return an error, and what is shown to have happened before it."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and not any(current is item for item in found):
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
