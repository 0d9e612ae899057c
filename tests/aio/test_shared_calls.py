"""SEND_BATCH_SIZE with ``await``: the same results as one after the other, without."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

from django.test import tag
from hypothesis import given

from anymail.sending import async_http

from ..backends.test_shared_calls import MIXTURES, EqualResultsTestCase, Run
from ..properties import examples


class RunInLoop(Run):
    def send(self, backend: Any) -> int:
        loop = asyncio.new_event_loop()
        try:
            coroutine = backend.asend_messages(self.messages, concurrency=backend.send_concurrency)
            return loop.run_until_complete(coroutine)  # type: ignore[no-any-return]
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def replaced(self) -> Any:
        return patch.object(async_http, "send", self.call)

    async def call(self, session: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        for _ in range(len(request.body) % 5):  # Not all take the same time.
            await asyncio.sleep(0)
        return self.server.respond(request, kwargs["handover"])


class EqualResultsTests(EqualResultsTestCase):
    run_class = RunInLoop

    @tag("exhaustive")
    @given(**MIXTURES)
    @examples(60)
    def test_many_mixtures(self, name, kinds, **options):
        self.check(name, kinds, **options)

    @given(**MIXTURES)
    @examples(10)
    def test_mixtures(self, name, kinds, **options):
        self.check(name, kinds, **options)
