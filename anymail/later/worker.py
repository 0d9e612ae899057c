"""What a worker does with a job that is a message: it tries to send it, and sees to the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from ..delivery import decisions
from ..delivery.decisions import Failure, Later
from ..delivery.ledger import Ledger, key_hash
from ..delivery.mailers import mailers
from ..delivery.meaning import duplicates_of, failure_of
from ..delivery.memory import Memory
from ..delivery.rest import Rest
from ..delivery.strategy import StrategyBackend
from ..exceptions import AnymailError, AnymailLaterError, Problem
from ..message import AnymailMessage
from ..sending.failures import tell_failure
from ..sending.journey import Journey, Verdict
from ..sending.keys import idempotency_key
from ..sending.telling import log
from .engines import Engine, as_engine, enqueue_within, later_error
from .executions import MAX_EXECUTIONS, Executions
from .job import MAIL, JobRefused, NewerJob, read_job, sign_job
from .mail import unpack_message
from .storage import delete_job, fetch_job

logger = logging.getLogger("anymail.delivery")

ENQUEUE_SECONDS = 30.0
"""How long a worker waits for the queue to take a job again."""

AGAIN_SECONDS = 60.0
"""In how many seconds a job is tried again that this worker can't read: it's of a later release of
Anymail, or the storage with its file can't be reached."""

_TOLERANCE = 1.0
"""A job that is due in less than so many seconds is not given back to the queue."""


@dataclass(frozen=True)
class State:
    """What changes in a job from one attempt to the next. It's a part of the job."""

    turn: int = 1
    """How often it was published, to be run."""
    not_before: float = 0
    """When it's due (POSIX time)."""
    attempt: int = 1
    """The number of the next attempt, as signals have it."""
    failures: int = 0
    """How many attempts have failed, that count."""
    busy: int = 0
    """How often the provider was busy."""
    left: list[str] | None = None
    """The addr-specs of those who have not got it, if others have."""
    is_settling: bool = False
    """Whether it was published to wait for an event that says that it was sent."""
    has_settled: bool = False
    """Whether that was waited for in an earlier turn."""

    @property
    def was_settled(self) -> bool:
        """Whether that was waited for."""
        return self.is_settling or self.has_settled


def deliver(job: str, *, engine: Any, redelivered: bool = False) -> None:
    """Send the message in a job, or have that done again later.

    This is all that the task of an engine does. ``engine`` is where the job came from: any object
    with a method ``enqueue(job, *, queue, at)``. ``redelivered`` says that another worker has got
    the same job before, and may have begun with it.

    Raises AnymailLaterError if the job is to be run again, and the engine has not taken it: it must
    keep the one that it has. With an engine that runs jobs at once, raises what keeps the message
    from being sent. Nothing else is raised on purpose.
    """
    engine = as_engine(engine)
    attempt = perform(job, engine, redelivered=redelivered)
    if engine.runs_at_once and attempt is not None and attempt.error is not None:
        raise attempt.error


def perform(job: str, engine: Engine, *, redelivered: bool = False) -> JobAttempt | None:
    """Do the same, but return the attempt to send it, if there was one."""
    try:
        header = read_job(job, salt=MAIL)
        work = Work(job, header, engine, redelivered)
        if work.must_wait:
            work.wait()
            return None
        content = read_job(fetch_job(job, salt=MAIL), salt=MAIL)
    except NewerJob as error:
        _put_off(job, error.content, engine, str(error))
    except JobRefused as error:
        log(logger, logging.ERROR, "A job is refused: %s", error)
    except AnymailLaterError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever the storage raises)
        _put_off(job, header, engine, f"Its file can't be read: {type(error).__name__}")
    else:
        return work.run(content)
    return None


def _put_off(job: str, content: Mapping[str, Any], engine: Engine, reason: str) -> None:
    """Have a job run later that can't be read now; or lose it, when its time is over."""
    again = time.time() + AGAIN_SECONDS
    if again > content["due"] + content["max_age"] or not engine.can_wait:
        log(logger, logging.ERROR, "A message is not sent. Its job can't be read: %s", reason)
        return
    log(logger, logging.WARNING, "A job can't be read now, and is tried again: %s", reason)
    enqueue_within(engine, ENQUEUE_SECONDS, job, queue=content.get("queue"), at=again)


class Work:
    """A job that a worker has got."""

    def __init__(
        self, job: str, header: Mapping[str, Any], engine: Engine, redelivered: bool = False
    ) -> None:
        self.job = job
        self.header = header
        self.engine = engine
        self.redelivered = redelivered
        self.id: str = header["id"]
        self.state = State(**header["state"])
        self.expires: float = header["due"] + header["max_age"]
        self.now = time.time()
        self.remaining = max(0.0, self.expires - self.now)
        """How many seconds it can still be tried again."""
        self.executions = Executions(self.id, self.state.turn, Ledger().seconds + self.remaining)

    # -- Waiting ------------------------------------------------------------------------------

    @property
    def must_wait(self) -> bool:
        """Whether it isn't due. Engines can't wait as long as a message may have to."""
        return self.engine.can_wait and self.state.not_before > self.now + _TOLERANCE

    def wait(self) -> None:
        """Give the job back to the queue as it is. That is no attempt."""
        self._enqueue(self.job, self.state.not_before)

    def _enqueue(self, job: str, at: float) -> None:
        queue = self.header.get("queue")
        enqueue_within(self.engine, ENQUEUE_SECONDS, job, queue=queue, at=at)

    # -- An attempt ---------------------------------------------------------------------------

    def run(self, content: Mapping[str, Any]) -> JobAttempt | None:
        """Make the attempt to send it, unless the job is only a copy of one that has ended."""
        is_strange = self.redelivered and not (Memory().is_shared or self.executions.is_known)
        number = self.executions.begin()
        if number is None:
            log(logger, logging.WARNING, "A job that has ended was put in again: %s", self.id)
            return None
        attempt = JobAttempt(self, content)
        refusal = self._refusal(attempt, number, is_strange=is_strange)
        if refusal is not None:
            attempt.give_up(refusal)
        elif self.state.is_settling:
            attempt.settle()
        else:
            attempt.make()
        try:
            self._go_on(attempt)
        finally:
            # Also if the queue doesn't take the job: that is no worker which has died.
            self.executions.end()
        return attempt

    def _refusal(
        self, attempt: JobAttempt, number: int, *, is_strange: bool
    ) -> AnymailLaterError | None:
        """Return an error if the message must not be given to anybody."""
        if self.now > self.expires:
            return later_error(
                "A message was not sent before its max_age was over", Problem.UNREACHABLE
            )
        if number >= MAX_EXECUTIONS:
            return later_error(
                f"Workers have begun {number} times to send a message, without an end",
                Problem.UNCLEAR,
            )
        if is_strange and not self._key_lives(attempt.mailer):
            return later_error(
                "Another worker has got a message before. Without a DELIVERY_CACHE that all "
                "processes share, nobody knows whether it was sent",
                Problem.UNCLEAR,
            )
        return None

    def _key_lives(self, mailer: str) -> bool:
        """Tell whether the provider recognizes the message if it has got it before."""
        try:
            lifetime = getattr(mailers[mailer], "idempotency", None)
        except Exception:  # noqa: BLE001 (whatever its backend raises)
            return False
        return lifetime is not None and self.now - self.header["due"] < lifetime.total_seconds()

    # -- What comes of it ---------------------------------------------------------------------

    def plan(
        self, failure: Failure, duplicates: decisions.Duplicates, **facts: Any
    ) -> Later | None:
        """Return when and how it is to be tried again after a failure; None for not at all."""
        if not self.engine.can_wait:
            return None
        is_busy = failure.problem is Problem.BUSY
        later = decisions.after_failure(
            failure,
            1 + (self.state.busy if is_busy else self.state.failures),
            duplicates=duplicates,
            has_settled=self.state.was_settled,
            **facts,
        )
        return later if later is not None and later.wait <= self.remaining else None

    def _go_on(self, attempt: JobAttempt) -> None:
        if attempt.later is not None:
            self._publish(attempt.next_state())
            return
        self.executions.note_end()
        if attempt.error is not None:
            log(
                logger,
                logging.ERROR,
                "Gave up on a message (job %s, mailer %r, problem: %s)",
                self.id,
                attempt.mailer,
                getattr(attempt.error, "problem", None) or type(attempt.error).__name__,
            )
        try:
            delete_job(self.job, salt=MAIL)
        except Exception:  # noqa: BLE001 (whatever the storage raises; see anymail_later --clean)
            log(logger, logging.WARNING, "The file of a job was not deleted", exc_info=True)

    def _publish(self, state: State) -> None:
        job = sign_job({**self.header, "state": asdict(state)}, salt=MAIL)
        self._enqueue(job, state.not_before)
        # If a worker dies before this, the job is run in both turns, and the ledger sees to it
        # that it's sent once. If that was noted before, it might be run in none.
        self.executions.note_turn(state.turn)


class JobAttempt(Journey):
    """An attempt to send the message of a job."""

    ends_sending = False
    mailer: str

    def __init__(self, work: Work, content: Mapping[str, Any]) -> None:
        state = work.state
        super().__init__(
            job_message(content, state), mailer=content["mailer"], attempt=state.attempt
        )
        self.work = work
        self.settle_seconds: float | None = content.get("settle") if work.engine.can_wait else None
        if self.settle_seconds is not None:
            self._let_events_tell()
        self.remember_longer = work.remaining
        # Nobody has got it before a mailer says so.
        self.is_before_call = True
        self.duplicates: decisions.Duplicates = "avoid"
        """Whether another mailer may get it, when nothing has settled whether it was sent."""
        self.later: Later | None = None
        """What comes next, after an error."""

    def _let_events_tell(self) -> None:
        message: Any = self.message
        key = idempotency_key(message)
        if key is not None:
            message.anymail_key_for_events = key_hash(key)
        if not self.work.state.was_settled:
            # No other mailer gets it before that was waited for.
            message.duplicates = "avoid"

    def make(self) -> None:
        """Give it to its mailer."""
        backend = _strategy(self.mailer)
        backend.open()
        try:
            backend.run_journeys([self])
        finally:
            backend.close()

    def settle(self) -> None:
        """See if it has turned out that it was sent, for which it has waited."""
        key = idempotency_key(self.message)
        entry = None if key is None else Ledger().get(key)
        if entry is not None and entry.state == "sent":
            self.sent = True
            return
        with suppress(ValueError):
            self.duplicates = duplicates_of(self.message, _strategy(self.mailer).options.duplicates)
        error = later_error("It is unclear if a message was sent", Problem.UNCLEAR)
        self._tell(error, self.fail(error))

    def give_up(self, error: AnymailLaterError) -> None:
        """End it without giving it to anybody."""
        self.error = error
        self._tell(error, Verdict())

    def _tell(self, error: AnymailLaterError, verdict: Verdict) -> None:
        from ..backends.later import EmailBackend

        self.message.anymail_error = error  # type: ignore[attr-defined]
        tell_failure(self, error, verdict, sender=EmailBackend, esp_name="Anymail")

    def fail(self, error: Exception) -> Verdict:
        self.error = error
        failure = failure_of(error, key_lives=self.key_lives)
        self.later = self.work.plan(
            failure,
            # Otherwise, the mailer has tried others already, if it may.
            self.duplicates if self.work.state.is_settling else "avoid",
            settle=self.settle_seconds,
            before_call=self.is_before_call,
        )
        return Verdict() if self.later is None else Verdict(False, self.later.wait)

    def note_attempt(self, problem: str | None) -> None:
        pass  # The mailer has done so.

    def next_state(self) -> State:
        """Return the state of the job for its next turn."""
        assert self.later is not None
        state = self.work.state
        attempts = len(self.message.anymail_status.attempts)  # type: ignore[attr-defined]
        is_busy = getattr(self.error, "problem", None) is Problem.BUSY
        return replace(
            state,
            turn=state.turn + 1,
            not_before=time.time() + self.later.wait,
            attempt=state.attempt + max(1, attempts),
            failures=state.failures + self.later.counts,
            busy=state.busy + is_busy,
            left=self._left() or state.left,
            is_settling=self.later.settles,
            has_settled=state.was_settled,
        )

    def _left(self) -> list[str]:
        """Return who has surely not got it, if others have."""
        error = self.error
        if not isinstance(error, AnymailError) or error.problem is Problem.UNCLEAR:
            return []
        return list(error.unsent)


def job_message(content: Mapping[str, Any], state: State) -> AnymailMessage:
    """Return the message of a job, with the job's key, for those who have not got it."""
    message = unpack_message(content["message"])
    message.anymail_job_id = content["id"]
    message.idempotency_key = content["key"]
    if state.left is not None:
        Rest(message).leave(state.left)
    return message


def _strategy(mailer: str) -> StrategyBackend:
    """Return a backend that can say what became of each attempt: one that sends with others."""
    try:
        backend: BaseEmailBackend | None = mailers[mailer]
    except Exception:  # noqa: BLE001 (it is raised again when it's used)
        backend = None
    if isinstance(backend, StrategyBackend):
        return backend
    from ..backends.failover import EmailBackend

    # What is to be repeated after a wait is published again.
    return EmailBackend(mailers=[mailer], duplicates="avoid", max_wait=0)


def first_state(at: float) -> dict[str, Any]:
    """Return the state of a job that is made now, and due then (POSIX time)."""
    return asdict(State(not_before=at))


def ledger_alias(job_id: str, message: EmailMessage, seconds: float) -> None:
    """Let ``anymail_why`` find a message that has a key of its own by its job's id too."""
    key = idempotency_key(message)
    if key is not None:
        ledger = Ledger()
        ledger.seconds += seconds
        ledger.note_alias(job_id, key)
