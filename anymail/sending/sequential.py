"""How ``send_messages()`` gets through its messages: one by one. See runners.py for the others."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage

from ..exceptions import AnymailAPIError, AnymailError
from ..message import AnymailStatus
from .journey import Journey, on_journey
from .waiting import in_thread, loop_side, raise_if_canceled

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend


class Runner:
    """Takes messages through a backend, which is open."""

    def __init__(self, backend: AnymailBaseBackend) -> None:
        self.backend = backend
        self.sent_count = 0

    def send(self, messages: Iterable[EmailMessage]) -> int:
        """Send the messages. Returns how many were sent.

        Raises the first error in the order of the messages.
        """
        return self.run(self.backend.journeys_of(messages))

    def run(self, journeys: Iterable[Journey]) -> int:
        """Take journeys to their ends. Returns how many messages were sent.

        Raises the first error in the order of the messages, of those that end the sending.
        """
        raise NotImplementedError

    def _ends_sending(self, journey: Journey, error: Exception) -> bool:
        """Tell whether no more messages are started after an error."""
        is_silent = self.backend.fail_silently and isinstance(error, AnymailError)
        return journey.ends_sending and not is_silent

    def _report(self, journey: Journey, error: Exception) -> None:
        if error is journey.receivers_error:
            journey.succeed(True)
        else:
            from .failures import report_failure

            report_failure(journey, error, backend=self.backend, esp_name=self.backend.esp_name)


class SequentialSending(Runner):
    """Sends messages one after the other. The first error ends it."""

    def __init__(self, backend: AnymailBaseBackend) -> None:
        super().__init__(backend)
        # A subclass can have a way of its own to send, which knows nothing of event loops.
        self._send: Callable[[EmailMessage], bool] = backend._send
        if loop_side() is not None:
            self._send = partial(in_thread, backend._send)  # type: ignore[call-arg]

    def run(self, journeys: Iterable[Journey]) -> int:
        for journey in journeys:
            attempt: Journey | None = journey
            while attempt is not None:
                attempt = self._make_attempt(attempt)
        return self.sent_count

    def _make_attempt(self, journey: Journey) -> Journey | None:
        """Send a message. Returns the next attempt to do so, if there is to be one."""
        raise_if_canceled()
        try:
            if not journey.begin():
                self.sent_count += bool(journey.sent)
                return None
            with on_journey(journey):
                sent = bool(self._send(journey.message))
        except Exception as error:
            try:
                self._report(journey, error)
                following = journey.next_attempt()
            except (KeyboardInterrupt, CancelledError) as interruption:
                if journey.will_repeat:
                    self._report(journey, canceled(interruption))
                raise
            if following is not None:
                return following
            if self._ends_sending(journey, error):
                # It can have been accepted for some recipients all the same.
                status = getattr(journey.message, "anymail_status", AnymailStatus())
                self.sent_count += status.is_accepted
                raise
        except (KeyboardInterrupt, CancelledError) as error:
            self._report(journey, canceled(error, before_call=journey.is_before_call))
            raise
        else:
            self.sent_count += sent
            journey.succeed(sent)
        return None


def canceled(cause: BaseException, *, before_call: bool = True) -> AnymailAPIError:
    """Return the error for a message whose sending was interrupted, before a call or later."""
    error = AnymailAPIError("Sending was interrupted, or its task was canceled")
    error.handed_over = False if before_call else None
    error.is_canceled = True
    error.__cause__ = cause
    return error
