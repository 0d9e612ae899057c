"""Making several calls of a provider's API at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from django.views.decorators.debug import sensitive_variables

from ..exceptions import AnymailAPIError
from .sequential import canceled
from .steps import ApiCall
from .waiting import give_others_a_turn, until_done, wait_for

if TYPE_CHECKING:
    from typing_extensions import Self


class CallUnderWay(Protocol):
    """A call that is made while others are."""

    def start(self) -> None:
        """Start it. Raises AnymailAPIError if that can't be."""

    def wait(self) -> None:
        """Return when it has ended. (If this is interrupted, it's under way still.)"""

    def cancel(self) -> bool:
        """Give it up. Returns whether it had not begun: then there is no result."""

    def result(self) -> Any:
        """Return the answer, or raise why there is none."""


class Calls(Protocol):
    """Makes calls. A context manager, at whose end none is under way."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...

    def new(self, call: ApiCall) -> CallUnderWay:
        """Return a call that is to be started."""


class _CallsWithoutEnd:
    """Makes calls with ``make``. At their end, there is nothing to do."""

    def __init__(self, make: Callable[[ApiCall], Any]) -> None:
        self.make = make

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class CallsInTurn(_CallsWithoutEnd):
    """Makes one call after the other, in this thread, with ``make``."""

    def new(self, call: ApiCall) -> CallUnderWay:
        return _CallInTurn(self.make, call)


class _CallInTurn:
    """Is made when its answer is waited for."""

    def __init__(self, make: Callable[[ApiCall], Any], call: ApiCall) -> None:
        self._make = make
        self._call = call
        self._answer: Any = None
        self._error: Exception | None = None
        self._has_ended = False

    def start(self) -> None:
        pass

    @sensitive_variables()
    def wait(self) -> None:
        if self._has_ended:  # It has been interrupted.
            return
        try:
            self._answer = self._make(self._call)
        except Exception as error:  # noqa: BLE001 (raised where the answer is wanted)
            self._error = error
        except BaseException as error:
            self._error = canceled(error, before_call=False)
            raise
        finally:
            self._has_ended = True

    def cancel(self) -> bool:
        return not self._has_ended

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._answer


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
        until_done(self)


class CallsInLoop(_CallsWithoutEnd):
    """Makes calls in an event loop, with ``make``, which is awaited; see waiting.run()."""

    def new(self, call: ApiCall) -> CallUnderWay:
        return _CallInLoop(self, call)


class _CallInLoop:
    def __init__(self, calls: CallsInLoop, call: ApiCall) -> None:
        self._calls = calls
        self._call = call
        self._task: asyncio.Task[Any] | None = None
        self._has_begun = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._make())
        give_others_a_turn()

    async def _make(self) -> Any:
        self._has_begun = True
        return await self._calls.make(self._call)

    def wait(self) -> None:
        if self._task is not None and not self._task.done():
            wait_for(asyncio.wait([self._task]))

    def cancel(self) -> bool:
        has_begun = self._has_begun
        if self._task is not None:
            self._task.cancel()
        return not has_begun

    def result(self) -> Any:
        assert self._task is not None
        return self._task.result()
