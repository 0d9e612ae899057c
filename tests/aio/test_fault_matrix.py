"""Every problem, at every provider, with every way to send: the same outcome with asyncio."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import urlsplit

import aiohappyeyeballs
from django.test import tag

from ..delivery import test_fault_matrix as without_asyncio
from .loops import LoopTestCase
from .test_strategies import MailersInLoop

if TYPE_CHECKING:
    _Base = without_asyncio.FaultMatrixTestCase
else:
    _Base = object


class InLoopMixin(LoopTestCase, _Base):
    def setUp(self) -> None:
        super().setUp()
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            await real_sleep(0)

        for target, replacement in (
            (f"{without_asyncio.__name__}.mailers", MailersInLoop(self, concurrency=1)),
            ("asyncio.sleep", sleep),
        ):
            patcher = patch(target, replacement)
            patcher.start()
            self.addCleanup(patcher.stop)

    @contextmanager
    def unreachable(self, provider: str, attempt: int = 1) -> Iterator[None]:
        port = urlsplit(self.sandbox.url(provider)).port
        connect = aiohappyeyeballs.start_connection
        attempts = itertools.count(1)

        async def start_connection(addr_infos: Any, *args: Any, **kwargs: Any) -> Any:
            if addr_infos[0][4][1] == port and next(attempts) == attempt:
                raise ConnectionRefusedError("refused")
            return await connect(addr_infos, *args, **kwargs)

        with (
            super().unreachable(provider, attempt),  # in threads
            patch("aiohttp.connector.aiohappyeyeballs.start_connection", start_connection),
        ):
            yield


@tag("exhaustive")
class FaultMatrixTests(InLoopMixin, without_asyncio.FaultMatrixTests):
    pass


@tag("exhaustive")
class SplitBatchTests(InLoopMixin, without_asyncio.SplitBatchTests):
    pass
