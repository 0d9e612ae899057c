"""Strategies, retries, rates and idempotency keys: the same rules with asyncio as without."""

from __future__ import annotations

from types import ModuleType
from typing import Any
from unittest.mock import patch

from django.test import tag

from anymail.delivery.mailers import mailers

from ..delivery import test_keyed, test_strategies
from .loops import InLoop, LoopTestCase


class MailersInLoop:
    """The project's mailers, whose messages are sent in the loop of a test."""

    def __init__(self, test: Any, concurrency: int = 100) -> None:
        self.test = test
        self.concurrency = concurrency

    def __getattr__(self, name: str) -> Any:
        return getattr(mailers, name)

    def __contains__(self, alias: object) -> bool:
        return alias in mailers

    def __getitem__(self, alias: str) -> Any:
        return InLoop(self.test, mailers[alias], self.concurrency)


class InLoopMixin(LoopTestCase):
    module: ModuleType
    clock: Any

    def setUp(self) -> None:
        super().setUp()

        async def sleep(seconds: float) -> None:
            self.clock.sleep(seconds)

        for target, replacement in (
            (f"{self.module.__name__}.mailers", MailersInLoop(self)),
            ("asyncio.sleep", sleep),
        ):
            patcher = patch(target, replacement)
            patcher.start()
            self.addCleanup(patcher.stop)


# They look at what is called in a backend, by its class: of that which is in the loop.
_WITHOUT_ASYNCIO = {
    "test_all_are_closed",
    "test_connections_are_opened_when_needed_and_closed",
    "test_deadline_while_opening",
    "test_those_set_aside_go_together",
    # It ends the loop.
    "test_interrupted",
    # SEND_CONCURRENCY is not for asyncio.
    "test_concurrency_of_the_mailers",
}

for _module in (test_strategies, test_keyed):
    for _name, _class in list(vars(_module).items()):
        if isinstance(_class, type) and _class.__module__ == _module.__name__ and "Tests" in _name:
            _attrs: dict[str, Any] = {"module": _module, "__module__": __name__}
            _attrs |= dict.fromkeys(_WITHOUT_ASYNCIO & vars(_class).keys())
            _new: Any = type(_name, (InLoopMixin, _class), _attrs)
            globals()[_name] = _new if _name == "FailoverTests" else tag("exhaustive")(_new)
