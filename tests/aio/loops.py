"""Running asyncio's code in tests: one event loop for each test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from django.test import SimpleTestCase

T = TypeVar("T")


class LoopTestCase(SimpleTestCase):
    """Has an event loop, which is shut down after the test as asyncio.run() does it."""

    def setUp(self) -> None:
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.close_loop)

    def close_loop(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def await_(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what comes of a coroutine, or raise it."""
        return self.loop.run_until_complete(coroutine)


class InLoop:
    """A backend whose messages are sent by the methods for ``await``, in the loop of a test."""

    def __init__(self, test: LoopTestCase, backend: Any, concurrency: int = 100) -> None:
        vars(self).update(test=test, backend=backend, concurrency=concurrency)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.backend, name, value)

    def __enter__(self) -> InLoop:
        self.test.await_(self.backend.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self.test.await_(self.backend.__aexit__(*error))

    def send_messages(self, messages: Any) -> int:
        if self.test.loop.is_running():  # This is called in a thread: by a receiver, for example.
            return self.backend.send_messages(messages)  # type: ignore[no-any-return]
        return self.test.await_(  # type: ignore[no-any-return]
            self.backend.asend_messages(messages, concurrency=self.concurrency)
        )
