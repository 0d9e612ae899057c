"""Making several calls of a provider's API at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Protocol

from django.views.decorators.debug import sensitive_variables

from ..exceptions import AnymailAPIError
from .steps import ApiCall


class CallUnderWay(Protocol):
    """A call that is made while others are."""

    def start(self) -> None:
        """Start it. Raises AnymailAPIError if that can't be."""

    def wait(self) -> None:
        """Return when it has ended. (If this is interrupted, it's under way still.)"""

    def cancel(self) -> bool:
        """Give it up. Returns whether it had not begun: then there is no result."""

    def cancelled(self) -> bool:
        """Tell whether it was given up before it had begun."""

    def result(self) -> Any:
        """Return the answer, or raise why there is none."""


class Calls(Protocol):
    """Makes calls. A context manager, at whose end none is under way."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...

    def new(self, call: ApiCall) -> CallUnderWay:
        """Return a call that is to be started."""


class ThreadedCalls(ThreadPoolExecutor):
    """Makes so many calls at a time, each in a thread, with ``make``."""

    def __init__(self, make: Callable[[ApiCall], Any], concurrency: int) -> None:
        super().__init__(concurrency, "anymail-send")
        self.make = make

    def new(self, call: ApiCall) -> CallUnderWay:
        return _CallInThread(self, call)


class _CallInThread(Future[Any]):
    def __init__(self, calls: ThreadedCalls, call: ApiCall) -> None:
        super().__init__()
        self._calls = calls
        self._call = call

    def start(self) -> None:
        try:
            # With the context of this thread, which instrumentation of HTTP libraries needs.
            self._calls.submit(copy_context().run, self._make)
        except RuntimeError as error:
            # The interpreter is shutting down, or there are too many threads. In that case, one of
            # the executor's others can have come to it all the same.
            if self.cancel():
                failure = AnymailAPIError("Cannot call the provider's API in another thread")
                failure.handed_over = False
                raise failure from error

    @sensitive_variables()
    def _make(self) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            answer = self._calls.make(self._call)
        except BaseException as error:  # noqa: BLE001 (raised where the answer is wanted)
            self.set_exception(error)
            del self  # The error has this frame.
        else:
            self.set_result(answer)

    def wait(self) -> None:
        with suppress(CancelledError):
            self.exception()
