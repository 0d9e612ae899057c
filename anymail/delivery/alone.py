"""Sending with one mailer, without a strategy: what is remembered, and when it is repeated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage

from ..exceptions import AnymailError, Problem
from ..message import AnymailRecipientStatus
from ..sending.journey import Journey, Verdict, clear_outcome, current_journey
from ..sending.keys import idempotency_key
from ..sending.waiting import sleep

# What only messages with keys need, repetitions, or failures, is imported by the first of them.
if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend
    from .keyed import SendingOnce
    from .rest import Rest


def journeys_of(backend: AnymailBaseBackend, messages: Iterable[EmailMessage]) -> Iterator[Journey]:
    """Yield a journey for each message that a backend is to send.

    Messages that are on a journey already, because a strategy has given them to the backend, go on
    with that.
    """
    for message in messages:
        journey = current_journey(message)
        yield Alone(backend, message) if journey is None or type(journey) is Journey else journey


class Alone(Journey):
    """The way of a message that is sent with one mailer only."""

    wait: float | None = None
    """How many seconds after an error it's sent again."""

    _failed_at = 0.0
    """When that was (monotonic time). Others that fail at the same time wait at the same time."""

    _once: SendingOnce | None = None
    _may_have_been_sent = False
    _wait_left = 0.0
    _rest: Rest | None = None
    """What each attempt after this one gets a copy of."""

    def __init__(
        self, backend: AnymailBaseBackend, message: EmailMessage, before: Alone | None = None
    ) -> None:
        super().__init__(message, mailer=backend.alias)
        self.backend = backend
        if not backend.retries:
            return
        self.can_repeat = True
        self._wait_left = backend.max_wait
        if before is not None:
            self.attempt = before.attempt + 1
            self._attempts = before._attempts
            self.original = before.original
            self._wait_left = before._wait_left
            self._once = before._once
            self._may_have_been_sent = before._may_have_been_sent
            self._rest = before._rest
        else:
            from .rest import Rest
            from .snapshot import copy_message

            # Receivers of pre_send change the message itself, as ever. That is done anew each time.
            self._rest = Rest(copy_message(message))

    def begin(self) -> bool:
        clear_outcome(self.message)
        if self.attempt > 1:
            self._note_call()
            return True
        if idempotency_key(self.message) is None:
            return True
        from .keyed import SendingOnce
        from .meaning import duplicates_of
        from .rest import Rest
        from .snapshot import copy_message

        self._once = SendingOnce(self.message, duplicates_of(self.message, "avoid"))
        status = self._once.begin(self.backend.call_seconds)
        if status is not None:
            self.message.anymail_status = status  # type: ignore[attr-defined]
            self.sent = True
            return False
        if (error := self._once.refusal(self.backend)) is not None:
            raise error
        if self._once.is_partial:
            self._rest = self._rest or Rest(copy_message(self.message))
            self._once.restore(self._rest)
            self.message = copy_message(self._rest.message)
        self._note_call()
        return True

    @property
    def will_repeat(self) -> bool:  # type: ignore[override]
        return self.wait is not None

    @property
    def is_repeat(self) -> bool:
        return self._once is not None and self._once.is_repeat

    @property
    def earlier_statuses(self) -> Mapping[str, AnymailRecipientStatus]:
        return {} if self._once is None else self._once.earlier_statuses

    def go_on(self) -> None:
        if self._once is not None:
            self._once.renew(self.backend)

    def _note_call(self) -> None:
        if self._once is not None:
            self._once.note_call(self.backend, self.mailer, self._rest)

    def fail(self, error: Exception) -> Verdict:
        from . import decisions
        from .meaning import failure_of, from_domain
        from .pauses import Pauses

        key_lives = self._once is not None and self._once.key_lives(self.backend)
        failure = failure_of(error, key_lives=key_lives)
        if self.mailer is not None:
            pause = decisions.pause_for(failure, decisions.Options())
            if pause is not None:
                Pauses().pause(self.mailer, pause, from_domain(self.message))
        self.note_attempt(failure.problem)
        self._may_have_been_sent |= failure.may_have_been_sent
        if self._once is not None:
            self._once.note_failure(self.backend, failure)
            self._may_have_been_sent |= self._once.is_unclear
        if self._rest is not None:
            self._rest.note(self.message, failure)
        if self.attempt <= self.backend.retries and self._rest is not None:
            wait = decisions.wait_to_repeat(failure, self.attempt)
            if wait is not None and wait <= self._wait_left:
                # What is unclear must be repeated just as it was, for its key to be recognized.
                if failure.problem is not Problem.UNCLEAR:
                    self._rest.leave_after(failure, getattr(error, "unsent", ()))
                self.wait = wait
                self._failed_at = time.monotonic()
                return Verdict(final=False, will_retry=wait)
        self.error = error
        self._show_status()
        if isinstance(error, AnymailError):
            accepted = self._rest is not None and self._rest.accepted
            # With earlier attempts, too
            error.may_have_been_sent |= self._may_have_been_sent or bool(accepted)
            if self._rest is not None and accepted and error.problem is not Problem.UNCLEAR:
                error.unsent = self._rest.not_accepted()
        if self._once is not None:
            status = getattr(self.message, "anymail_status", None)
            self._once.fail(error, status, before_call=self.is_before_call)
        return Verdict()

    def next_attempt(self) -> Journey | None:
        if self.wait is None:
            return None
        from .snapshot import copy_message

        self._wait_left -= self.wait
        sleep(max(0.0, self._failed_at + self.wait - time.monotonic()))
        assert self._rest is not None
        return Alone(self.backend, copy_message(self._rest.message), before=self)

    def succeed(self, sent: bool) -> None:
        super().succeed(sent)
        if self.original is not self.message or self._rest is not None:
            self._show_status()
        if self._once is not None:
            self._once.succeed(self.message.anymail_status, sent)  # type: ignore[attr-defined]

    def _show_status(self) -> None:
        """Let the caller's message have the status of the last attempt."""
        status = getattr(self.message, "anymail_status", None)
        if self._rest is not None and status is not None:
            self._rest.complete(status)
        if self.original is not self.message:
            self.original.anymail_status = status  # type: ignore[attr-defined]
            self.original.anymail_error = self.error  # type: ignore[attr-defined]
