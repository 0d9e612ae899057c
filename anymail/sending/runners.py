"""How ``send_messages()`` gets through its messages: one by one, or several API calls at a time.

In both cases, payloads are built, signals sent and statuses set in the thread that called it, in
the order of the messages. Nothing but API calls overlaps.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.core.mail import EmailMessage

from ..exceptions import AnymailAPIError, AnymailError
from ..message import AnymailStatus
from .failures import report_failure
from .journey import Journey, on_journey
from .steps import Sending, note_subject, prepare
from .telling import log
from .waiting import in_thread, loop_side

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend
    from .calls import Calls, CallUnderWay

logger = logging.getLogger("anymail.backends")


class _Runner:
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
            report_failure(journey, error, backend=self.backend, esp_name=self.backend.esp_name)


class SequentialSending(_Runner):
    """Sends messages one after the other. The first error ends it."""

    def __init__(self, backend: AnymailBaseBackend) -> None:
        super().__init__(backend)
        # A subclass can have a way of its own to send, which knows nothing of event loops.
        self._send: Callable[[EmailMessage], bool] = backend._send
        if loop_side() is not None:
            self._send = lambda message: in_thread(backend._send, message)

    def run(self, journeys: Iterable[Journey]) -> int:
        for journey in journeys:
            attempt: Journey | None = journey
            while attempt is not None:
                attempt = self._make_attempt(attempt)
        return self.sent_count

    def _make_attempt(self, journey: Journey) -> Journey | None:
        """Send a message. Returns the next attempt to do so, if there is to be one."""
        try:
            if not journey.begin():
                self.sent_count += bool(journey.sent)
                return None
            with on_journey(journey):
                sent = bool(self._send(journey.message))
        except Exception as error:
            self._report(journey, error)
            if (following := journey.next_attempt()) is not None:
                return following
            if self._ends_sending(journey, error):
                # It can have been accepted for some recipients all the same.
                status = getattr(journey.message, "anymail_status", AnymailStatus())
                self.sent_count += status.is_accepted
                raise
        else:
            self.sent_count += sent
            journey.succeed(sent)
        return None


class ConcurrentSending(_Runner):
    """Sends messages with so many API calls under way at most, which ``calls`` makes.

    When a message fails, no further ones are started; those that are under way are finished.
    """

    def __init__(self, backend: AnymailBaseBackend, calls: Calls, concurrency: int) -> None:
        super().__init__(backend)
        self.calls = calls
        self.concurrency = concurrency
        # What is left to do, in order: take the answer to a call, or else finish the message.
        self._steps: deque[tuple[_UnderWay, _Call | None]] = deque()
        self._calls_under_way = 0
        self._errors: dict[int, Exception] = {}
        self._is_interrupted = False

    def run(self, journeys: Iterable[Journey]) -> int:
        """Take journeys to their ends. Returns how many messages were sent.

        Raises the first error in the order of the messages; one that the iterable of messages
        raises is that of the next message. Other errors are logged.
        """
        with self.calls:
            try:
                self._start_all(journeys)
                self._take_all_steps()
            except BaseException as error:  # KeyboardInterrupt or CancelledError, for example
                self._is_interrupted = True
                for under_way, call in self._steps:
                    if call is not None and call.made.cancel():
                        under_way.error = _canceled(error)
                self._take_all_steps()
                self._log(self._errors.values())
                raise
        if not self._errors:
            return self.sent_count
        first, *others = (error for _, error in sorted(self._errors.items(), key=itemgetter(0)))
        self._log(others)
        raise first

    # -- Start --------------------------------------------------------------------------------

    def _start_all(self, journeys: Iterable[Journey]) -> None:
        number = 0
        try:
            for number, journey in enumerate(journeys, 1):
                self._make_room()
                if self._errors:
                    break
                self._start(number, journey)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._errors[number + 1] = error

    def _start(self, number: int, journey: Journey) -> None:
        try:
            if not journey.begin():
                self.sent_count += bool(journey.sent)
                return
            with on_journey(journey):
                sending = prepare(self.backend, journey)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._report_and_repeat(number, journey, error)
            return
        except BaseException as error:
            self._report(journey, _canceled(error))
            raise
        if sending is None:
            journey.succeed(False)
            return
        under_way = _UnderWay(number, sending)
        try:
            while (payload := self._next_payload(under_way)) is not None:
                api_call = sending.prepare_call(payload)
                call = _Call(payload, self.calls.new(api_call))
                self._steps.append((under_way, call))
                self._calls_under_way += 1
                try:
                    call.made.start()
                except AnymailError as error:
                    note_subject(error, journey.message, payload)
                    raise
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._fail(under_way, error)
        except BaseException as error:
            under_way.error = under_way.error or _canceled(error)
            raise
        finally:
            self._steps.append((under_way, None))

    def _next_payload(self, under_way: _UnderWay) -> Any | None:
        """Return the payload for the message's next call, when that can be made."""
        self._make_room()
        return None if under_way.error else under_way.sending.next_payload()

    # -- Finish -------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Take steps until another call can be made."""
        while self._calls_under_way >= self.concurrency:
            self._take_step()
        while self._steps and self._steps[0][1] is None:
            self._take_step()

    def _take_all_steps(self) -> None:
        while self._steps:
            self._take_step()

    def _take_step(self) -> None:
        under_way, call = self._steps[0]
        if call is not None:
            call.made.wait()  # If this is interrupted, the step is still to be taken.
        self._steps.popleft()
        if call is None:
            self._finish(under_way)
            return
        self._calls_under_way -= 1
        if call.made.cancelled():
            return
        try:
            under_way.sending.receive(call.payload, call.made.result)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._fail(under_way, error)

    def _finish(self, under_way: _UnderWay) -> None:
        sending = under_way.sending
        try:
            with on_journey(sending.journey):
                sending.tell(under_way.error)
            if under_way.error is None:
                sending.raise_if_refused()
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._fail(under_way, error)
        except BaseException:
            self._end(under_way)  # What became of it is known all the same.
            raise
        self._end(under_way)

    def _end(self, under_way: _UnderWay) -> None:
        sending = under_way.sending
        if under_way.error is None:
            self.sent_count += 1
            sending.journey.succeed(True)
            return
        if self._report_and_repeat(under_way.number, sending.journey, under_way.error):
            return
        if under_way.number in self._errors:
            self.sent_count += sending.status.is_accepted

    # -- Errors -------------------------------------------------------------------------------

    def _fail(self, under_way: _UnderWay, error: Exception) -> None:
        # Of several calls, one that may have been accepted counts.
        if under_way.error is None or under_way.sending.is_unclear(error):
            under_way.error = error
        journey = under_way.sending.journey
        if not journey.can_repeat:  # No others are to be started.
            self._note_error(under_way.number, journey, error)

    def _report_and_repeat(self, number: int, journey: Journey, error: Exception) -> bool:
        """Report an error, and send the message again if it's so. Returns whether it is."""
        if self._is_interrupted and isinstance(error, AnymailError):
            error.is_canceled = True
        self._report(journey, error)
        try:
            following = journey.next_attempt()
        except BaseException as interruption:
            self._report(journey, _canceled(interruption))
            raise
        if following is None:
            self._note_error(number, journey, error)
            return False
        self._start(number, following)
        return True

    def _note_error(self, number: int, journey: Journey, error: Exception) -> None:
        """Keep an error to raise later, if it ends the sending."""
        if self._ends_sending(journey, error):
            self._errors[number] = error

    @staticmethod
    def _log(errors: Iterable[Exception]) -> None:
        for error in errors:
            text = "Another message of the same send_messages() failed"
            log(logger, logging.ERROR, text, exc_info=error)


class _UnderWay:
    """A message that is under way."""

    def __init__(self, number: int, sending: Sending) -> None:
        self.number = number
        self.sending = sending
        self.error: Exception | None = None


class _Call:
    """A call that is under way for a message."""

    def __init__(self, payload: Any, made: CallUnderWay) -> None:
        self.payload = payload
        self.made = made


def _canceled(cause: BaseException) -> AnymailAPIError:
    """Return the error for a message of which no call was made, since that was interrupted."""
    error = AnymailAPIError("Sending was interrupted, or its task was canceled")
    error.handed_over = False
    error.is_canceled = True
    error.__cause__ = cause
    return error
