"""How ``send_messages()`` gets through several messages at a time. See also sequential.py.

That can be several API calls, and several messages in each of them. Payloads are built, signals
sent and statuses set in the thread that called it, in the order of the messages, in any case.
Nothing but API calls overlaps.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import AnymailError
from .joining import (
    CallToShare,
    UnclearAnswer,
    error_of_its_own,
    masking_all,
    may_be_about_one,
    take_apart,
)
from .journey import Journey, on_journey
from .sequential import Runner, canceled
from .steps import ApiCall, Sending, prepare
from .telling import log
from .waiting import give_others_a_turn, in_spite_of_cancellation, raise_if_canceled

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend
    from .calls import Calls, CallUnderWay

logger = logging.getLogger("anymail.backends")


class ConcurrentSending(Runner):
    """Sends messages with so many API calls under way at most, and so many messages in each.

    When a message fails, no further ones are started; those that are under way are finished.
    """

    def __init__(
        self, backend: AnymailBaseBackend, calls: Calls, concurrency: int, batch_size: int = 1
    ) -> None:
        super().__init__(backend)
        self.calls = calls
        self.concurrency = concurrency
        self.batch_size = batch_size
        # What is left to do, in order: take the answer to a call, or else finish a message.
        self._steps: deque[_Call | _UnderWay] = deque()
        self._calls_under_way = 0
        self._open_call: _Call | None = None
        """The last of the calls, as long as others may share it. It's not started yet."""
        self._to_repeat: deque[_UnderWay] = deque()
        """Messages that have failed, and are to be sent again."""
        self._errors: dict[int, Exception] = {}
        self._interruption: BaseException | None = None

    def run(self, journeys: Iterable[Journey]) -> int:
        """Take journeys to their ends. Returns how many messages were sent.

        Raises the first error in the order of the messages; one that the iterable of messages
        raises is that of the next message. Other errors are logged.
        """
        with self.calls:
            try:
                self._start_all(journeys)
                self._finish_all()
            except BaseException as error:  # KeyboardInterrupt or CancelledError, for example
                self._interruption = error
                self._open_call = None
                for step in self._steps:
                    if isinstance(step, _Call) and step.give_up():
                        self._cancel(step, error)
                in_spite_of_cancellation(self._finish_all)
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
                give_others_a_turn()
                self._be_ready()
                if self._errors:
                    break
                self._start(number, journey)
                self._close_full_call()
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._errors[number + 1] = error

    def _be_ready(self) -> None:
        """Take steps until another message can be started."""
        if self._open_call is None:
            self._make_room()
        while self._to_repeat:
            self._repeat()
            if self._open_call is None:
                self._make_room()

    def _repeat(self) -> None:
        under_way = self._to_repeat.popleft()
        journey = under_way.journey
        if self._interruption is not None:
            self._report(journey, canceled(self._interruption))
            return
        try:
            raise_if_canceled()
            following = journey.next_attempt()
        except BaseException as interruption:
            self._report(journey, canceled(interruption))
            raise
        if following is not None:
            self._start(under_way.number, following)
            self._close_full_call()

    def _start(self, number: int, journey: Journey) -> None:
        raise_if_canceled()
        under_way = _UnderWay(number, journey)
        try:
            if not journey.begin():
                self.sent_count += bool(journey.sent)
                return
            with on_journey(journey):
                under_way.sending = prepare(self.backend, journey)
            if under_way.sending is None:
                journey.succeed(False)
                return
            self._make_calls(under_way, under_way.sending)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._fail(under_way, error)
        except BaseException as error:
            under_way.error = under_way.error or canceled(error)
            self._steps.append(under_way)
            raise
        self._steps.append(under_way)

    def _make_calls(self, under_way: _UnderWay, sending: Sending) -> None:
        if self.batch_size > 1 and (endpoint := sending.shared_endpoint()) is not None:
            self._share_call(under_way, sending, endpoint)
            return
        while (payload := self._next_payload(under_way, sending)) is not None:
            sending.wait_for_rate(payload)
            api_call = sending.prepare_call(payload)
            self._start_call(self._add_call([_Part(under_way, payload)]), api_call)

    def _next_payload(self, under_way: _UnderWay, sending: Sending) -> Any | None:
        """Return the payload for the message's next call, when that can be made."""
        self._make_room()
        return None if under_way.error else sending.next_payload()

    def _share_call(self, under_way: _UnderWay, sending: Sending, endpoint: str) -> None:
        """Have a message sent with a call that it can share with those before and after it."""
        call_to_share = sending.prepare_to_share(partial(CallToShare, endpoint))
        payload = call_to_share.payload
        call = self._open_call
        if call is not None and self._has_room_for(call, call_to_share):
            sending.wait_for_rate(payload, shares_call=True)
            call.parts.append(_Part(under_way, payload, call_to_share))
        else:
            self._make_room()
            sending.wait_for_rate(payload)
            call = self._add_call([_Part(under_way, payload, call_to_share)])
            call.is_full = call_to_share.is_single
            self._open_call = call
        call.size += call_to_share.size
        call.is_full |= len(call.parts) >= self.batch_size

    def _has_room_for(self, call: _Call, call_to_share: CallToShare) -> bool:
        shared = self.backend.shared_call
        first = call.parts[0].call_to_share
        return (
            shared is not None
            and first is not None
            and first.can_share(call_to_share)
            and shared.has_room_for(len(call.parts) + 1, call.size + call_to_share.size)
        )

    def _add_call(self, parts: list[_Part]) -> _Call:
        call = _Call(parts)
        self._steps.append(call)
        self._calls_under_way += 1
        return call

    def _close_full_call(self) -> None:
        if self._open_call is not None and self._open_call.is_full:
            self._close_call()

    def _close_call(self) -> None:
        """Start the call that messages could be added to, if there is one."""
        call, self._open_call = self._open_call, None
        if call is not None:
            self._start_call(call, self._joined(call))

    def _joined(self, call: _Call) -> ApiCall:
        calls = [part.call_to_share for part in call.parts if part.call_to_share is not None]
        assert self.backend.shared_call is not None
        return CallToShare.join(calls, self.backend.shared_call)

    def _start_call(self, call: _Call, api_call: ApiCall) -> None:
        call.made = self.calls.new(api_call)
        try:
            call.made.start()
        except AnymailError as error:
            call.is_given_up = True
            self._fail_all(call, error)

    # -- Finish -------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Take steps until another call can be made."""
        self._close_call()
        while self._calls_under_way >= self.concurrency:
            self._take_step()
        while self._steps and not isinstance(self._steps[0], _Call):
            self._take_step()

    def _finish_all(self) -> None:
        """Take all steps that are left, and those of messages that are sent again."""
        while self._steps or self._to_repeat:
            self._close_call()
            while self._steps:
                self._take_step()
            while self._to_repeat:
                self._be_ready()

    def _take_step(self) -> None:
        give_others_a_turn()
        step = self._steps[0]
        if not isinstance(step, _Call):
            self._steps.popleft()
            self._finish(step)
            return
        if step.made is None and not step.is_given_up:
            self._start_again(step)
        if step.made is not None and not step.is_given_up:
            step.made.wait()  # If this is interrupted, the step is still to be taken.
        self._steps.popleft()
        self._calls_under_way -= 1
        if step.made is None or step.is_given_up:
            return
        try:
            self._take_answers(step, step.made.result)
        except BaseException as error:
            for part in step.parts:
                if part.under_way.has_no_outcome:
                    part.under_way.error = canceled(error, before_call=False)
            raise

    def _take_answers(self, call: _Call, get_answer: Callable[[], Any]) -> None:
        if len(call.parts) == 1:
            self._receive(call.parts[0], get_answer)
            return
        shared = self.backend.shared_call
        assert shared is not None
        masks = masking_all(call.payloads)
        try:
            response = get_answer()
            answers = take_apart(self.backend, shared, response, len(call.parts))
        except UnclearAnswer as error:
            for part in call.parts:
                get_answer = partial(error.raise_for, self.backend, part.payload)
                self._receive(part, get_answer, masks)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._fail_all(call, error)
        else:
            if answers is None and may_be_about_one(self.backend, response, call.payloads):
                self._split(call)
                return
            for part, answer in zip(call.parts, answers or repeat(response), strict=False):
                give_others_a_turn(can_be_left=False)
                self._receive(part, partial(_same, answer), masks if answers is None else None)

    def _receive(
        self,
        part: _Part,
        get_answer: Callable[[], Any],
        mask: Callable[[str], str] | None = None,
    ) -> None:
        assert part.under_way.sending is not None
        try:
            part.under_way.sending.receive(part.payload, get_answer)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            if mask is not None and isinstance(error, AnymailError):
                error._mask_others = mask
            self._fail(part.under_way, error)
        except BaseException as error:
            self._fail(part.under_way, canceled(error, before_call=False))
            raise

    def _split(self, call: _Call) -> None:
        """Have a call made again in two parts, to find out which message it's refused for."""
        if self._interruption is not None:
            self._cancel(call, self._interruption)
            return
        half = len(call.parts) // 2
        for parts in (call.parts[half:], call.parts[:half]):
            self._steps.appendleft(_Call(parts))
            self._calls_under_way += 1

    def _start_again(self, call: _Call) -> None:
        """Start a part of a call that was refused."""
        try:
            for number, part in enumerate(call.parts):
                assert part.under_way.sending is not None
                part.under_way.sending.wait_for_rate(part.payload, shares_call=number > 0)
                part.under_way.journey.go_on()
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            call.is_given_up = True
            self._fail_all(call, error)
        else:
            self._start_call(call, self._joined(call))

    def _finish(self, under_way: _UnderWay) -> None:
        sending = under_way.sending
        if sending is not None:
            try:
                with on_journey(under_way.journey):
                    sending.tell(under_way.error)
                if under_way.error is None:
                    sending.raise_if_refused()
            except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
                self._fail(under_way, error)
            except BaseException:
                # What became of it is known all the same.
                self._note_refusal(under_way, sending)
                self._end(under_way)
                raise
        self._end(under_way)

    def _note_refusal(self, under_way: _UnderWay, sending: Sending) -> None:
        if under_way.error is None:
            try:
                sending.raise_if_refused()
            except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
                self._fail(under_way, error)

    def _end(self, under_way: _UnderWay) -> None:
        journey, error = under_way.journey, under_way.error
        if error is None:
            self.sent_count += 1
            journey.succeed(True)
            return
        if self._interruption is not None and isinstance(error, AnymailError):
            error.is_canceled = True
        try:
            self._report(journey, error)
        finally:
            self._note_failed(under_way, error)

    def _note_failed(self, under_way: _UnderWay, error: Exception) -> None:
        if under_way.journey.will_repeat:
            self._to_repeat.append(under_way)
            return
        self._note_error(under_way, error)
        if under_way.number in self._errors and under_way.sending is not None:
            self.sent_count += under_way.sending.status.is_accepted

    # -- Errors -------------------------------------------------------------------------------

    def _fail(self, under_way: _UnderWay, error: Exception) -> None:
        # Of several calls, one that may have been accepted counts.
        if under_way.error is None or under_way.may_have_been_sent(error):
            under_way.error = error
        if not under_way.journey.can_repeat:  # No others are to be started.
            self._note_error(under_way, error)

    def _cancel(self, call: _Call, interruption: BaseException) -> None:
        """Let all messages of a call fail, which is not made."""
        for part in call.parts:
            self._fail(part.under_way, canceled(interruption))

    def _fail_all(self, call: _Call, error: Exception) -> None:
        """Let all messages of a call fail, each with an error of its own."""
        for part in call.parts:
            self._receive(part, partial(_raise, error_of_its_own(error)))

    def _note_error(self, under_way: _UnderWay, error: Exception) -> None:
        """Keep an error to raise later, if it ends the sending."""
        if self._ends_sending(under_way.journey, error):
            self._errors[under_way.number] = error

    @staticmethod
    def _log(errors: Iterable[Exception]) -> None:
        for error in errors:
            if not isinstance(error.__cause__, Exception | None):
                continue  # The interruption itself is raised.
            text = "Another message of the same send_messages() failed"
            log(logger, logging.ERROR, text, exc_info=error)


def _raise(error: Exception) -> Any:
    raise error


def _same(answer: Any) -> Any:
    return answer


class _UnderWay:
    """A message that is under way."""

    def __init__(self, number: int, journey: Journey) -> None:
        self.number = number
        self.journey = journey
        self.sending: Sending | None = None
        self.error: Exception | None = None

    @property
    def has_no_outcome(self) -> bool:
        """Whether there is neither an answer nor an error yet."""
        return self.error is None and (self.sending is None or not self.sending.has_answers)

    def may_have_been_sent(self, error: Exception) -> bool:
        return self.sending is not None and self.sending.is_unclear(error)


class _Part(NamedTuple):
    """A message in a call."""

    under_way: _UnderWay
    payload: Any
    call_to_share: CallToShare | None = None


class _Call:
    """A call for a message, or for several that share it."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self.size = 0
        """How many bytes the messages have that share it."""
        self.made: CallUnderWay | None = None
        """None until it's started."""
        self.is_full = False
        """Whether no more messages can be added, if it can be shared."""
        self.is_given_up = False

    @property
    def payloads(self) -> list[Any]:
        return [part.payload for part in self.parts]

    def give_up(self) -> bool:
        """Don't make it, if it has not begun. Returns whether that is so."""
        self.is_given_up = self.is_given_up or self.made is None or self.made.cancel()
        return self.is_given_up
