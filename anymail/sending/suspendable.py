"""Synchronous code in an event loop: in a greenlet, suspended while it waits. See waiting.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any

from ..exceptions import AnymailImproperlyInstalled

try:
    from greenlet import getcurrent, greenlet
except ImportError as err:
    raise AnymailImproperlyInstalled(
        missing_package="greenlet", install_extra="async", feature="sending with asyncio"
    ) from err


LONGEST_TURN = 0.002
"""After so many seconds, other tasks of the event loop get a turn."""


class Suspendable(greenlet):
    """Runs a function, whose calls of :meth:`wait_for` suspend it."""

    def __init__(self, function: Callable[..., Any], concurrency: int) -> None:
        driver = getcurrent()
        super().__init__(function, driver)
        # Context variables are those of the task: awaited code sees what is set here, and the
        # other way round.
        self.gr_context = driver.gr_context
        self._cancellation: asyncio.CancelledError | None = None
        """What is still to be raised."""
        self.concurrency = concurrency
        """How many calls of a provider's API can be under way."""
        self._resumed = monotonic()

    async def drive(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the function returns, or raise what it raises."""
        result: Any = self.switch(*args, **kwargs)
        while not self.dead:
            try:
                value = await result
            except BaseException as error:  # noqa: BLE001 (raised where it's waited for)
                result = self.throw(error)
            else:
                result = self.switch(value)
        self.raise_if_canceled()
        return result

    def wait_for(self, awaitable: Awaitable[Any], *, if_canceled: bool = False) -> Any:
        """Return what comes of something awaitable, or raise it.

        If the task was canceled while something could not be left, that is raised before, or with
        ``if_canceled`` when something else is waited for.
        """
        assert self.parent is not None
        try:
            if not if_canceled:
                self.raise_if_canceled()
        except asyncio.CancelledError:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise
        try:
            return self.parent.switch(awaitable)
        finally:
            self._resumed = monotonic()

    def give_others_a_turn(self, *, can_be_left: bool = True) -> None:
        """Let other tasks of the loop run, if they haven't for a while.

        If the task is canceled meanwhile, that is raised here if what is done ``can_be_left``.
        """
        if monotonic() - self._resumed <= LONGEST_TURN:
            return
        turn = asyncio.sleep(0)
        if can_be_left:
            self.wait_for(turn)
        else:
            self.wait_until_done(asyncio.ensure_future(turn))

    def raise_if_canceled(self) -> None:
        """Raise CancelledError if the task was canceled while something could not be left."""
        if self._cancellation is not None:
            error, self._cancellation = self._cancellation, None
            raise error

    def wait_until_done(self, future: asyncio.Future[Any]) -> None:
        """Return when a future is done.

        If the task is canceled meanwhile, that is raised when something else is waited for.
        """
        cancellation = self._cancellation
        while not future.done():
            try:
                self.wait_for(asyncio.wait([future]))
            except asyncio.CancelledError as error:
                cancellation = error
        self._cancellation = cancellation


def current() -> Suspendable | None:
    """Return the one whose function calls this, if any."""
    greenlet = getcurrent()
    return greenlet if isinstance(greenlet, Suspendable) else None
