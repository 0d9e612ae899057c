"""Waiting: for receivers of signals, for caches, for time to pass. All of sending waits here.

In a thread, waiting blocks the thread. In an event loop, it must not block the loop: there,
:func:`run` has the same synchronous code run in a *greenlet*, which is suspended while it waits,
and :func:`wait_for` lets it wait for something awaitable. So there is one way to send, with the
same rules, for both. (SQLAlchemy's asyncio extension works like that, too.)

Whatever is called between two of these waits has the loop to itself, as code between two ``await``
has it: no locks are held while one of these functions is called.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.dispatch import Signal

if TYPE_CHECKING:
    from .suspendable import Suspendable

P = ParamSpec("P")
T = TypeVar("T")


_find_loop_side: Callable[[], Suspendable | None] | None = None
"""None where nobody has sent with asyncio: greenlet needn't be installed."""


async def run(concurrency: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run synchronous code that waits by means of this module, in an event loop.

    ``concurrency`` is how many calls of a provider's API it can have under way. Raises what the
    code raises. If the task is canceled, CancelledError is raised in that code, where it waits.
    """
    global _find_loop_side  # noqa: PLW0603 (the same each time)
    from .suspendable import Suspendable, current

    _find_loop_side = current
    return await Suspendable(function, concurrency).drive(*args, **kwargs)  # type: ignore[no-any-return]


def loop_side() -> Suspendable | None:
    """Return what runs the code that calls this in an event loop; None if nothing does."""
    return None if _find_loop_side is None else _find_loop_side()


def wait_for(awaitable: Awaitable[T]) -> T:
    """Wait for something awaitable, in code that run() runs."""
    side = loop_side()
    assert side is not None
    return side.wait_for(awaitable)  # type: ignore[no-any-return]


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    side = loop_side()
    if side is None:
        time.sleep(seconds)
    else:
        side.wait_for(asyncio.sleep(seconds))


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what blocks: in an event loop, in the thread where Django runs synchronous code.

    It's waited for even if the task is canceled: nothing is left half done. That is raised as soon
    as something else is waited for, or another message is begun.
    """
    side = loop_side()
    if side is None:
        return function(*args, **kwargs)
    call = asyncio.ensure_future(sync_to_async(function)(*args, **kwargs))
    side.wait_until_done(call)
    return call.result()


async def finish_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what blocks, and needs nothing of Django's, in another thread.

    It's finished even if the task is canceled, and its result returned: what it does can't be
    undone.
    """
    call = asyncio.get_running_loop().run_in_executor(
        None, partial(copy_context().run, function, *args, **kwargs)
    )
    while not call.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([call])
    return call.result()


def until_done(future: Future[Any]) -> None:
    """Return when what another thread does is done, or has been given up."""
    side = loop_side()
    if side is None:
        with suppress(CancelledError):
            future.exception()
    elif not future.done():
        in_loop = asyncio.wrap_future(future)
        # Whoever wants the result asks the other one for it.
        in_loop.add_done_callback(lambda done: done.cancelled() or done.exception())
        side.wait_for(asyncio.wait([in_loop]))


def in_spite_of_cancellation(function: Callable[[], object]) -> None:
    """Call a function until it gets through: again if the task is canceled meanwhile.

    For what notes and tells what has happened. The task is canceled already: that is for the caller
    to raise.
    """
    while True:
        with suppress(asyncio.CancelledError):
            function()
            return


def give_others_a_turn(*, can_be_left: bool = True) -> None:
    """In an event loop, let other tasks run, if they haven't for a while.

    Where there can be hundreds of messages before anything is waited for. If the task is canceled
    meanwhile, that is raised here if what is done ``can_be_left``, and later if not.
    """
    side = loop_side()
    if side is not None:
        side.give_others_a_turn(can_be_left=can_be_left)


def raise_if_canceled() -> None:
    """Raise CancelledError, in an event loop, if the task was canceled during in_thread()."""
    side = loop_side()
    if side is not None:
        side.raise_if_canceled()


def send_signal(signal: Signal, sender: type, *, robust: bool = False, **named: Any) -> Any:
    """Send a signal, with Django's asend() or asend_robust() in an event loop.

    There, synchronous receivers run in Django's thread for them. With ``robust``, they are told of
    what has happened: they are called in any case, if the task was canceled before.
    """
    side = loop_side() if signal.receivers else None
    if side is None:
        return (signal.send_robust if robust else signal.send)(sender, **named)
    if robust:
        if getattr(signal, "has_async_receivers", True):
            return side.wait_for(signal.asend_robust(sender, **named), if_canceled=True)
        return in_thread(signal.send_robust, sender, **named)
    try:
        return side.wait_for(signal.asend(sender, **named))
    except Exception as error:
        # Of several receivers that fail, Django 6.0 and newer raise a group.
        several: Sequence[Any] = getattr(error, "exceptions", ())
        if len(several) > 1:
            raise several[0] from error
        raise
