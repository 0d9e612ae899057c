"""What one attempt to send a message belongs to, and who decides what comes after it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from django.core.mail import EmailMessage

from ..message import AnymailRecipientStatus, AnymailStatus

DEFAULT_CALL_SECONDS = 60
"""How long a call can take of a backend that doesn't say."""


def clear_outcome(message: EmailMessage) -> AnymailStatus:
    """Let a message tell nothing of what becomes of it, yet. Returns its new status."""
    status = AnymailStatus()
    message.anymail_status = status  # type: ignore[attr-defined]
    message.anymail_error = None  # type: ignore[attr-defined]
    return status


class Verdict:
    """What comes after an error.

    ``final``: nothing more; ``will_retry``: in how many seconds there is another attempt, if that
    is known.
    """

    def __init__(self, final: bool = True, will_retry: float | None = None) -> None:
        self.final = final
        self.will_retry = will_retry


class Journey:
    """One attempt to send a message; of a message that is sent on its own, the only one.

    Runners give each message to its backend on a journey, and tell the journey how it ended.
    Strategies have journeys of their own, which decide what comes after an error.
    """

    can_repeat = False
    """Whether there can be a next_attempt()."""

    will_repeat = False
    """Whether there is a next_attempt(), after an error."""

    ends_sending = True
    """Whether an error keeps messages from being sent that come after this one."""

    remember_longer: float = 0
    """How many seconds longer than usual it must be remembered what became of the message."""

    sent: bool | None = None
    """Whether it was accepted. None if that isn't known (yet)."""

    error: Exception | None = None
    """Why it wasn't."""

    is_before_call = False
    """Whether it's certain that nobody was asked to send it yet, in this attempt."""

    key_lives = False
    """Whether the provider still knows its idempotency key, of which it's unclear if it has
    accepted it."""

    receivers_error: Exception | None = None
    """What a receiver of post_send has raised. That changes nothing about the message."""

    _attempts: Sequence[tuple[str | None, str | None]] = ()
    """All attempts that are known, this one included when it has ended."""

    def __init__(
        self,
        message: EmailMessage,
        *,
        mailer: str | None = None,
        attempt: int = 1,
        original: EmailMessage | None = None,
    ) -> None:
        self.message = message
        """What is given to the backend."""
        self.mailer = mailer
        """The alias of the mailer, if it has one."""
        self.attempt = attempt
        """Number of the attempt, from 1."""
        self.original = message if original is None else original
        """The message as the caller knows it."""
        self._started = time.monotonic()

    @property
    def duration(self) -> float:
        """How many seconds the attempt has taken so far."""
        return time.monotonic() - self._started

    @property
    def time_left(self) -> float | None:
        """How many seconds a call may take; None for as many as the backend allows."""
        return None

    @property
    def is_repeat(self) -> bool:
        """Whether the same account got the message before, with its idempotency key."""
        return False

    @property
    def earlier_statuses(self) -> Mapping[str, AnymailRecipientStatus]:
        """What became of it then for recipients, by addr-spec, as far as that is known."""
        return {}

    def start(self) -> None:
        """Note that the backend begins with it now."""
        self._started = time.monotonic()

    def begin(self) -> bool:
        """Tell whether the message is to be given to the backend now.

        If not, the journey has ended. Raises AnymailError if it can't be sent.
        """
        return True

    def go_on(self) -> None:
        """Note that there is another call for the message, which takes several."""

    def next_attempt(self) -> Journey | None:
        """After an error: wait, and return the journey that follows at once, if there is one."""
        return None

    def fail(self, error: Exception) -> Verdict:
        """Note that it has failed. Returns what comes next, before anybody is told of the error."""
        self.error = error
        self.note_attempt(getattr(error, "problem", None))
        return Verdict()

    def succeed(self, sent: bool) -> None:
        """Note that it has not failed. ``sent`` is False if the message was not to be sent."""
        self.sent = sent
        self.note_attempt(None)

    def note_attempt(self, problem: str | None) -> None:
        """Let the message's status tell of the attempt."""
        status = getattr(self.message, "anymail_status", None)
        if status is not None:
            status.mailer = self.mailer
            # Each attempt has a status of its own.
            self._attempts = [*self._attempts, *status.attempts, (self.mailer, problem)]
            status.attempts = list(self._attempts)


_current: ContextVar[Journey | None] = ContextVar("anymail_journey", default=None)


def current_journey(message: Any) -> Journey | None:
    """Return the journey of a message that is being given to a backend, if it is on one."""
    journey = _current.get()
    return journey if journey is not None and journey.message is message else None


def journey_of(message: Any, mailer: str | None = None) -> Journey:
    """Return the journey of a message that is being given to a backend.

    A new one, with a mailer, if it isn't on a journey.
    """
    return current_journey(message) or Journey(message, mailer=mailer)


class on_journey:  # noqa: N801 (used as a statement)
    """Let the message that is given to a backend within be on a journey.

    (A context variable, since the backend's methods for that can be overridden, and take nothing
    but the message.)
    """

    def __init__(self, journey: Journey) -> None:
        self.journey = journey

    def __enter__(self) -> None:
        self._token = _current.set(self.journey)

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)
