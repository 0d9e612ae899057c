"""A queue without a broker, and mailers that do what tests tell them: for messages sent later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from anymail.delivery.ledger import Ledger
from anymail.later.job import MAIL, read_job
from anymail.later.worker import deliver
from anymail.signals import send_failed

from ..delivery.leaf import StrategyTestCase

# (job, queue, at) of all that is queued
QUEUED: list[tuple[str, str | None, datetime | None]] = []
# What the queue raises next, in place of taking a job
REFUSALS: list[Exception] = []


class QueueEngine:
    """Keeps jobs in a list."""

    may_hang = False

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        if REFUSALS:
            raise REFUSALS.pop(0)
        QUEUED.append((job, queue, at))


ENGINE = f"{__name__}.QueueEngine"


def later(**options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.later.EmailBackend",
        "OPTIONS": {"mailer": "a", "engine": ENGINE, **options},
    }


class LaterTestCase(StrategyTestCase):
    """Has a mailer "default" that delivers later with "a", and what a worker does."""

    mailers = {"default": later()}

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(QUEUED.clear)
        self.addCleanup(REFUSALS.clear)
        self.final: list[Any] = []
        """The errors of messages that were given up."""
        self.connect(
            send_failed, lambda error, final, **kw: self.final.append(error) if final else None
        )

    def queued(self, index: int = -1) -> dict[str, Any]:
        """Return the content of a job in the queue; by default, of the last one."""
        return read_job(QUEUED[index][0], salt=MAIL)

    def work_once(self, **kwargs: Any) -> float:
        """Take a job, wait until it's due, and run it. Returns how long it has waited."""
        job, _, at = QUEUED.pop(0)
        wait = 0.0 if at is None else max(0.0, at.timestamp() - self.clock.now)
        self.clock.now += wait
        deliver(job, engine=QueueEngine(), **kwargs)
        return wait

    def work(self) -> list[float]:
        """Run jobs until the queue is empty. Returns how long each has waited."""
        waits = []
        while QUEUED:
            waits.append(self.work_once())
            self.assertLess(len(waits), 100, "There is no end")
        return waits

    def entry(self, key: str) -> Any:
        return Ledger().get(key)
