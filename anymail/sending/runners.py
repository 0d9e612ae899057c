"""How ``send_messages()`` gets through its messages: one by one, or several API calls at a time.

In both cases, payloads are built, signals sent and statuses set in the thread that called it, in
the order of the messages. Nothing but API calls overlaps.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from django.core.mail import EmailMessage
from django.views.decorators.debug import sensitive_variables

from ..exceptions import AnymailError
from ..message import AnymailStatus

logger = logging.getLogger("anymail.backends")


class Backend(Protocol):
    """What is needed of an email backend, which is open."""

    fail_silently: bool

    def _send(self, message: EmailMessage) -> bool: ...
    def _is_to_be_sent(self, message: EmailMessage) -> bool: ...
    def _build_payload(self, message: EmailMessage) -> Any: ...
    def _prepare_call(self, payload: Any) -> ApiCall: ...
    def _finish_sending(self, message: EmailMessage, payload: Any) -> None: ...


class ApiCall:
    """A call of a provider's API: a function and its arguments.

    It is made when its answer is asked for, unless it was started in another thread before.
    """

    def __init__(self, function: Callable[..., Any], **params: Any) -> None:
        self.function = function
        self.params = params
        self._future: Future[Any] | None = None

    def start(self, executor: Executor) -> None:
        """Start the call in a thread of the executor."""
        # With the context of this thread, which instrumentation of HTTP libraries needs.
        self._future = executor.submit(copy_context().run, self._call)

    def answer(self) -> Any:
        """Return what the function returns, or raise what it raises."""
        return self._call() if self._future is None else self._future.result()

    @sensitive_variables()
    def _call(self) -> Any:
        return self.function(**self.params)


def _was_accepted(message: EmailMessage) -> bool:
    """Tell whether a message that has failed was accepted for some recipients all the same."""
    status: AnymailStatus | None = getattr(message, "anymail_status", None)
    return status is not None and any(
        recipient.is_accepted for recipient in status.recipients.values()
    )


class SequentialSending:
    """Sends messages one after the other."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sent_count = 0

    def send(self, messages: Iterable[EmailMessage]) -> int:
        """Send the messages. Returns how many were sent. The first error ends it."""
        for message in messages:
            try:
                sent = self.backend._send(message)
            except Exception as error:
                if not (self.backend.fail_silently and isinstance(error, AnymailError)):
                    self.sent_count += _was_accepted(message)
                    raise
            else:
                self.sent_count += bool(sent)
        return self.sent_count


class _Sending(NamedTuple):
    """A message whose API call is under way."""

    number: int
    message: EmailMessage
    status: AnymailStatus
    payload: Any


class ConcurrentSending:
    """Sends messages through a backend, with so many API calls under way at most.

    When a message fails, no further ones are started; those that are under way are finished.
    """

    def __init__(self, backend: Backend, concurrency: int) -> None:
        self.backend = backend
        self.concurrency = concurrency
        self.sent_count = 0
        self._under_way: deque[_Sending] = deque()
        self._errors: dict[int, Exception] = {}

    def send(self, messages: Iterable[EmailMessage]) -> int:
        """Send the messages. Returns how many were sent.

        Raises the first error in the order of the messages. Others are logged.
        """
        with ThreadPoolExecutor(self.concurrency, "anymail-send") as executor:
            for number, message in enumerate(messages):
                if len(self._under_way) == self.concurrency:
                    self._finish(self._under_way.popleft())
                if not self._errors:
                    self._start(number, message, executor)
                if self._errors:
                    break
            while self._under_way:
                self._finish(self._under_way.popleft())
        if not self._errors:
            return self.sent_count
        first, *others = (error for _, error in sorted(self._errors.items(), key=itemgetter(0)))
        for error in others:
            logger.error("Another message of the same send_messages() failed", exc_info=error)
        raise first

    def _start(self, number: int, message: EmailMessage, executor: Executor) -> None:
        try:
            if self.backend._is_to_be_sent(message):
                payload = self.backend._build_payload(message)
                payload._api_call = self.backend._prepare_call(payload)
                payload._api_call.start(executor)
                status: AnymailStatus = message.anymail_status  # type: ignore[attr-defined]
                self._under_way.append(_Sending(number, message, status, payload))
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            self._note_error(number, error)

    def _finish(self, sending: _Sending) -> None:
        # If the same message is there twice, it has the status of the second by now.
        sending.message.anymail_status = sending.status  # type: ignore[attr-defined]
        try:
            self.backend._finish_sending(sending.message, sending.payload)
        except Exception as error:  # noqa: BLE001 (raised when what is under way is finished)
            if self._note_error(sending.number, error):
                self.sent_count += _was_accepted(sending.message)
        else:
            self.sent_count += 1

    def _note_error(self, number: int, error: Exception) -> bool:
        """Keep an error to raise later. Returns False if it is to be silent."""
        if self.backend.fail_silently and isinstance(error, AnymailError):
            return False
        self._errors[number] = error
        return True
