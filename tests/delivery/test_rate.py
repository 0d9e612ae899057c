from __future__ import annotations

import time
from unittest.mock import patch

from django.test import SimpleTestCase

from anymail.delivery.rate import RateLimit
from anymail.exceptions import AnymailConfigurationError, AnymailImproperlyInstalled

from ..utils import skip_without
from .clock import Clock


@skip_without("limits")
class RateLimitTests(SimpleTestCase):
    def setUp(self):
        self.clock = Clock(time.time())
        patcher = patch("time.time", self.clock)
        patcher.start()
        self.addCleanup(patcher.stop)

    def limit(self, rate, name=None, **kwargs):
        kwargs = {"clock": self.clock, "sleep": self.clock.sleep, **kwargs}
        return RateLimit(rate, name or self.id(), **kwargs)

    def test_enough_room(self):
        start = self.clock.now
        limit = self.limit("3/second")
        self.assertEqual([limit.wait() for _ in range(3)], [0, 0, 0])
        self.assertEqual(self.clock.now, start)

    def test_waits(self):
        start = self.clock.now
        limit = self.limit("3/second")
        times = []
        for _ in range(9):
            self.assertEqual(limit.wait(max_wait=2), 0)
            times.append(self.clock.now)
        for first, fourth in zip(times, times[3:], strict=False):
            self.assertGreaterEqual(fourth - first, 1)
        self.assertLess(self.clock.now - start, 2.3)

    def test_too_long(self):
        start = self.clock.now
        limit = self.limit("1/minute")
        limit.wait()
        self.clock.now += 20
        missing = limit.wait(max_wait=2)
        self.assertAlmostEqual(missing, 40, delta=0.1)
        self.assertEqual(self.clock.now, start + 20, "did not wait in vain")
        self.clock.now += 41
        self.assertEqual(limit.wait(max_wait=2), 0)

    def test_cost(self):
        limit = self.limit("10/minute")
        self.assertEqual(limit.wait(cost=8), 0)
        self.assertGreater(limit.wait(cost=3), 0)
        self.assertEqual(limit.wait(cost=2), 0)

    def test_costs_more_than_there_is(self):
        limit = self.limit("10/minute")
        self.assertEqual(limit.wait(cost=50), 0)
        self.assertGreater(limit.wait(), 0)

    def test_accounts_are_told_apart(self):
        self.assertEqual(self.limit("1/minute", "account a").wait(), 0)
        self.assertEqual(self.limit("1/minute", "account b").wait(), 0)
        self.assertGreater(self.limit("1/minute", "account a").wait(), 0)

    def test_cannot_be_understood(self):
        for rate in ("fast", "", "50", "50/fortnight"):
            with (
                self.subTest(rate=rate),
                self.assertRaisesMessage(AnymailConfigurationError, "RATE"),
            ):
                self.limit(rate)

    def test_storage_fails(self):
        limit = self.limit("1/minute")
        with (
            patch.object(limit.limiter, "hit", side_effect=ConnectionError("no Redis")),
            self.assertLogs("anymail.delivery", "ERROR") as logs,
        ):
            self.assertEqual([limit.wait() for _ in range(3)], [0, 0, 0])
        self.assertIn("no Redis", logs.output[0])

    def test_not_installed(self):
        with (
            patch.dict("sys.modules", {"limits": None}),
            self.assertRaisesMessage(AnymailImproperlyInstalled, "django-anymail[rate]"),
        ):
            self.limit("1/minute")
