"""What one attempt to send a message belongs to, and who decides what comes after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.core.mail import EmailMessage


@dataclass(frozen=True)
class Verdict:
    """What comes after an error.

    ``final``: nothing more; ``will_retry``: in how many seconds there is another attempt, if that
    is known; ``ends_sending``: whether no other messages are started either.
    """

    final: bool = True
    will_retry: float | None = None
    ends_sending: bool = True


class Journey:
    """One attempt to send a message; of a message that is sent on its own, the only one.

    Runners give each message to its backend on a journey. Strategies have journeys of their own,
    which decide what comes after an error.
    """

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
        self.receivers_error: Exception | None = None
        """What a receiver of post_send has raised. That changes nothing about the message."""
        self._started = time.monotonic()

    @property
    def duration(self) -> float:
        """How many seconds the attempt has taken."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Note that the backend begins with it."""
        self._started = time.monotonic()

    def decide(self, error: Exception) -> Verdict:
        """Return what comes after an error. Called once, before anybody is told of the error."""
        return Verdict()

    def succeed(self, sent: bool) -> None:
        """Note that there was no error. ``sent`` is False if the message was not to be sent."""


_current: ContextVar[Journey | None] = ContextVar("anymail_journey", default=None)


def current_journey(message: EmailMessage) -> Journey:
    """Return the journey of a message that is being given to a backend."""
    journey = _current.get()
    if journey is None or journey.message is not message:
        return Journey(message)  # Somebody has called a method of the backend directly.
    return journey


@contextmanager
def on_journey(journey: Journey) -> Iterator[None]:
    """Let the message that is given to a backend within be on a journey.

    (A context variable, since the backend's methods for that can be overridden, and take nothing
    but the message.)
    """
    token = _current.set(journey)
    try:
        yield
    finally:
        _current.reset(token)
