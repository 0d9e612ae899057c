"""The rules for what comes after a failure."""

from __future__ import annotations

from django.test import SimpleTestCase

from anymail.delivery.decisions import (
    Failure,
    Later,
    Options,
    Pause,
    after_failure,
    backoff,
    moves_on,
    pause_for,
    spokesman,
    wait_to_repeat,
)
from anymail.exceptions import Problem

MESSAGE = Failure(Problem.MESSAGE)
UNSUITABLE = Failure(Problem.UNSUITABLE)
ACCOUNT = Failure(Problem.ACCOUNT)
SENDER = Failure(Problem.ACCOUNT, about_sender=True)
BUSY = Failure(Problem.BUSY)
BUSY_5 = Failure(Problem.BUSY, retry_after=5)
OUR_RATE = Failure(Problem.BUSY, retry_after=5, is_our_own=True)
UNREACHABLE = Failure(Problem.UNREACHABLE)
UNCLEAR = Failure(Problem.UNCLEAR, may_have_been_sent=True)
UNCLEAR_WITH_KEY = Failure(Problem.UNCLEAR, may_have_been_sent=True, key_lives=True)
CONFIGURATION = Failure(None, is_configuration=True)
BUG = Failure(None)


def longest(low: float, high: float) -> float:
    """Stand in for random.uniform."""
    return high


class DecisionTests(SimpleTestCase):
    def test_backoff(self):
        waits = [backoff(n, first=10, factor=4, jitter=longest) for n in (1, 2, 3, 4, 5, 1000)]
        self.assertEqual(waits, [10, 40, 160, 640, 900, 900])

    def test_backoff_has_full_jitter(self):
        waits = [backoff(1, first=100, factor=2) for _ in range(1000)]
        self.assertLess(min(waits), 10)
        self.assertGreater(max(waits), 90)
        self.assertLessEqual(max(waits), 100)

    def test_the_same_mailer_again(self):
        for failure, attempt, expected in [
            (MESSAGE, 1, None),
            (UNSUITABLE, 1, None),
            (ACCOUNT, 1, None),
            (BUSY, 1, 1),
            (BUSY, 3, 4),
            (BUSY_5, 3, 5),
            (OUR_RATE, 1, 5),
            (UNREACHABLE, 2, 2),
            (UNCLEAR, 1, None),
            (UNCLEAR_WITH_KEY, 1, 1),
            (CONFIGURATION, 1, None),
            (BUG, 1, None),
        ]:
            with self.subTest(failure=failure, attempt=attempt):
                self.assertEqual(wait_to_repeat(failure, attempt, jitter=longest), expected)

    def test_another_mailer(self):
        for failure, avoiding, accepting in [
            (MESSAGE, False, False),
            (UNSUITABLE, True, True),
            (ACCOUNT, True, True),
            (BUSY, True, True),
            (OUR_RATE, True, True),
            (UNREACHABLE, True, True),
            (UNCLEAR, False, True),
            (UNCLEAR_WITH_KEY, False, True),
            (Failure(Problem.ACCOUNT, may_have_been_sent=True), False, True),
            (CONFIGURATION, True, True),
            (BUG, False, False),
        ]:
            with self.subTest(failure=failure):
                self.assertEqual(moves_on(failure, "avoid"), avoiding)
                self.assertEqual(moves_on(failure, "accept"), accepting)

    def test_pauses(self):
        options = Options(pause=60, account_pause=600)
        for failure, expected in [
            (MESSAGE, None),
            (UNSUITABLE, None),
            (ACCOUNT, Pause(600)),
            (SENDER, Pause(600, sender_only=True)),
            (BUSY, Pause(60)),
            (BUSY_5, Pause(5, is_named=True)),
            (OUR_RATE, None),
            (UNREACHABLE, Pause(60)),
            (UNCLEAR, Pause(60)),
            (CONFIGURATION, Pause(600)),
            (BUG, None),
        ]:
            with self.subTest(failure=failure):
                self.assertEqual(pause_for(failure, options), expected)

    def test_which_speaks_for_all(self):
        for failures, expected in [
            ([UNREACHABLE], UNREACHABLE),
            ([UNREACHABLE, BUSY_5], BUSY_5),
            ([BUSY, BUSY_5], BUSY),
            ([Failure(Problem.BUSY, retry_after=9), BUSY_5], BUSY_5),
            ([UNREACHABLE, UNCLEAR, BUSY], UNCLEAR),
            ([UNCLEAR, MESSAGE], UNCLEAR),
            ([UNREACHABLE, MESSAGE], MESSAGE),
            ([UNSUITABLE, ACCOUNT], ACCOUNT),
            ([UNSUITABLE, CONFIGURATION], CONFIGURATION),
            ([UNREACHABLE, BUG], BUG),
        ]:
            with self.subTest(failures=failures):
                self.assertIs(failures[spokesman(failures)], expected)

    def test_later(self):
        for failure, attempt, expected in [
            (MESSAGE, 1, None),
            (UNSUITABLE, 1, None),
            (ACCOUNT, 1, Later(600, elsewhere=True)),
            (ACCOUNT, 3, Later(2400, elsewhere=True)),
            (CONFIGURATION, 2, Later(1200, elsewhere=True)),
            (BUSY, 1, Later(30, elsewhere=True, counts=False)),
            (BUSY, 9, Later(900, elsewhere=True, counts=False)),
            (BUSY_5, 9, Later(5.5, elsewhere=True, counts=False)),
            (UNREACHABLE, 2, Later(40, elsewhere=True)),
            (UNCLEAR, 1, None),
            (UNCLEAR_WITH_KEY, 5, Later(10)),
            (BUG, 1, None),
        ]:
            with self.subTest(failure=failure, attempt=attempt):
                decision = after_failure(failure, attempt, duplicates="avoid", jitter=longest)
                self.assertEqual(decision, expected)

    def test_later_if_unclear(self):
        def decide(failure, **kwargs):
            return after_failure(failure, 1, **{"duplicates": "avoid", **kwargs}, jitter=longest)

        self.assertEqual(decide(UNCLEAR, settle=600), Later(600, settles=True))
        self.assertIsNone(decide(UNCLEAR, settle=600, has_settled=True))
        elsewhere = Later(30, elsewhere=True)
        self.assertEqual(decide(UNCLEAR, duplicates="accept"), elsewhere)
        self.assertEqual(
            decide(UNCLEAR, settle=600, has_settled=True, duplicates="accept"), elsewhere
        )
        self.assertEqual(decide(UNCLEAR_WITH_KEY, settle=600), Later(10))

    def test_later_after_other_exceptions(self):
        decision = after_failure(BUG, 1, duplicates="accept", jitter=longest)
        self.assertEqual(decision, Later(30, elsewhere=True))
        self.assertIsNone(after_failure(BUG, 1, duplicates="accept", before_call=True))

    def test_later_scaled(self):
        scaled = after_failure(UNREACHABLE, 1, duplicates="avoid", scale=0.01, jitter=longest)
        self.assertEqual(scaled, Later(0.1, elsewhere=True))
        named = after_failure(BUSY_5, 1, duplicates="avoid", scale=0.01, jitter=longest)
        assert named is not None
        self.assertGreaterEqual(named.wait, 5)
