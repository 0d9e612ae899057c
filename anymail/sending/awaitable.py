"""Email backends for code with ``await``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage

from . import waiting

DEFAULT_CONCURRENCY = 100
"""How many calls of a provider's API one asend_messages() has under way at the most."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def suspendable(method: _Method) -> _Method:
    """Say of a ``send_messages`` that it waits by means of waiting.py only."""
    method.is_suspendable = True  # type: ignore[attr-defined]
    return method


def is_suspendable(backend: Any) -> bool:
    """Tell whether a backend's ``send_messages`` is, and hasn't been overridden."""
    return getattr(type(backend).send_messages, "is_suspendable", False)


class AwaitableBackend:
    """Adds the methods that wait without blocking an event loop to those of an email backend."""

    open: Callable[[], bool | None]
    close: Callable[[], None]
    send_messages: Callable[..., int]

    _uses = 0, False
    """How many ``send_messages()`` use the connection now: in several tasks, there can be some. And
    whether the last one is to close it."""

    def _begin_use(self, opened: bool | None) -> None:
        """Note that messages are sent with the connection; ``opened`` if it was opened for that."""
        count, is_to_be_closed = self._uses
        self._uses = count + 1, is_to_be_closed or bool(opened)

    def _end_use(self) -> None:
        """Close the connection, if it was opened to send messages, after the last ones."""
        count, is_to_be_closed = self._uses
        self._uses = count - 1, is_to_be_closed and count > 1
        if is_to_be_closed and count == 1:
            self.close()

    async def aopen(self) -> bool | None:
        """Open a connection, as ``open()`` does."""
        return await waiting.run(1, self.open)

    async def aclose(self) -> None:
        """Close the connection, as ``close()`` does."""
        await waiting.run(1, self.close)

    async def asend_messages(
        self, email_messages: Iterable[EmailMessage], concurrency: int = DEFAULT_CONCURRENCY
    ) -> int:
        """Send messages as ``send_messages()`` does, and return how many were sent.

        With so many calls of the provider's API under way at the most. (SEND_CONCURRENCY is not for
        this.) Raises what ``send_messages()`` raises.
        """
        return await asend_with(self, email_messages, concurrency)

    async def __aenter__(self) -> Any:
        await self.aopen()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


async def asend_with(
    backend: Any, messages: Iterable[EmailMessage], concurrency: int = DEFAULT_CONCURRENCY
) -> int:
    """Have any email backend send messages. Returns how many were sent.

    If its ``send_messages()`` blocks, in the thread where Django runs synchronous code.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
    if is_suspendable(backend):
        return await waiting.run(concurrency, backend.send_messages, messages) or 0
    return await sync_to_async(backend.send_messages)(messages) or 0


def send_with(backend: Any, messages: Iterable[EmailMessage]) -> Any:
    """Have another backend send messages, in code that may run in an event loop."""
    if is_suspendable(backend):
        return backend.send_messages(messages)
    return waiting.in_thread(backend.send_messages, messages)
