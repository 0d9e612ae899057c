"""Messages with an idempotency key are sent once, by whichever backend."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import requests
from django.core.exceptions import ImproperlyConfigured

from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailAPIError, AnymailConfigurationError, Problem
from anymail.message import AnymailRecipientStatus
from anymail.signals import pre_send

from ..utils import make_message, skip_without
from .leaf import CALLS, LEAF, EmailBackend, StrategyTestCase, fails
from .test_strategies import failover


class KeyedTestCase(StrategyTestCase):
    using = "a"

    def send(self, using: str | None = None, **attrs: Any) -> Any:
        message = self.message(**attrs)
        self.assertEqual(mailers[using or self.using].send_messages([message]), 1)
        return message.anymail_status

    def send_failing(self, using: str | None = None, **attrs: Any) -> Any:
        with self.assertRaises(Exception) as caught:
            mailers[using or self.using].send_messages([self.message(**attrs)])
        return caught.exception

    def message(self, key: Any = "key-1", **attrs: Any) -> Any:
        message = make_message(**attrs)
        message.idempotency_key = key
        return message

    def state(self, key: str = "key-1") -> str | None:
        entry = Ledger().get(key)
        return entry and entry.state


class KeyedTests(KeyedTestCase):
    """With one mailer."""

    def test_sent_once(self):
        first = self.send()
        second = self.send()
        self.assertEqual(len(CALLS), 1)
        self.assertEqual(second.status, {"sent"})
        self.assertEqual(second.message_id, first.message_id)
        self.assertEqual(second.mailer, first.mailer)
        self.assertEqual(self.signals.count(("pre_send",)), 1)

    def test_other_keys(self):
        self.send()
        self.send(key="key-2")
        self.send(key=None)
        self.send(key=None)
        self.assertEqual(len(CALLS), 4)

    def test_other_message(self):
        self.send()
        error = self.send_failing(subject="Another")
        self.assertIsInstance(error, ValueError)
        self.assertIn("idempotency_key", str(error))
        self.assertEqual(len(CALLS), 1)

    def test_surely_not_sent(self):
        for problem in (Problem.MESSAGE, Problem.ACCOUNT, Problem.BUSY, Problem.UNREACHABLE):
            with self.subTest(problem=problem):
                self.reset()
                self.script(a=fails(problem))
                self.send_failing()
                self.assertIsNone(self.state())
                self.send()
                self.assertEqual(len(CALLS), 2)

    def test_unclear(self):
        self.script(a=fails(Problem.UNCLEAR))
        self.send_failing()
        self.assertEqual(self.state(), "unclear")
        error = self.send_failing()
        self.assertIs(error.problem, Problem.UNCLEAR)
        self.assertTrue(error.may_have_been_sent)
        self.assertIn("idempotency_key", str(error))
        self.assertEqual(len(CALLS), 1, "no call")
        self.assertEqual(self.state(), "unclear")

    def test_unclear_while_the_provider_knows_the_key(self):
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=[fails(Problem.UNCLEAR)] * 2)
            self.send_failing()
            self.clock.now += 899
            self.send_failing()
            self.assertEqual(len(CALLS), 2)
            self.clock.now += 1
            self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
            self.assertEqual(len(CALLS), 2, "counted from the first call")

    def test_somebody_else_is_sending_it(self):
        errors = []

        def meanwhile(message: Any) -> None:
            errors.append(self.send_failing())

        self.script(a=meanwhile)
        self.send()
        [error] = errors
        self.assertIs(error.problem, Problem.BUSY)
        self.assertGreater(error.retry_after, 0)
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(len(CALLS), 1)

    def test_killed(self):
        """Nobody knows what has become of it, however many strategies it has come through."""

        class Killed(BaseException):
            pass

        self.use_mailers(inner=failover("a", "b"), outer=failover("inner", "c"))
        for using in ("a", "inner", "outer"):
            with self.subTest(using=using):
                self.reset()
                self.script(a=Killed())
                with self.assertRaises(Killed):
                    mailers[using].send_messages([self.message()])
                self.assertEqual(self.state(), "claimed")

    def test_somebody_else_has_died(self):
        """The claim is over, and nobody knows whether they had called the provider."""

        class Killed(BaseException):
            pass

        self.script(a=Killed())
        with self.assertRaises(Killed):
            mailers["a"].send_messages([self.message()])
        self.assertIs(self.send_failing().problem, Problem.BUSY)
        self.clock.now += 91
        self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
        self.assertEqual(len(CALLS), 1)

    def test_interrupted(self):
        self.script(a=KeyboardInterrupt())
        message = self.message()
        with self.assertRaises(KeyboardInterrupt):
            mailers["a"].send_messages([message])
        self.assertTrue(message.anymail_error.is_canceled)
        self.assertIs(message.anymail_error.problem, Problem.UNCLEAR)
        self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
        self.assertEqual(len(CALLS), 1)

    def test_expires(self):
        self.send()
        self.clock.now += 24 * 60 * 60 + 2
        self.send()
        self.assertEqual(len(CALLS), 2)

    def test_invalid_keys(self):
        for key in ("", "x" * 256, "ü", "new\nline", 7, b"bytes"):
            with self.subTest(key=key):
                error = self.send_failing(key=key)
                self.assertIsInstance(error, ValueError)
                self.assertIn("idempotency_key", str(error))
        self.assertEqual(CALLS, [])
        self.send(key="x" * 255)

    def test_canceled(self):
        from anymail.exceptions import AnymailCancelSend

        def receiver(**kwargs: Any) -> None:
            raise AnymailCancelSend

        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=fails(Problem.UNCLEAR))
            self.send_failing(key="unclear")
            self.connect(pre_send, receiver)
            for key, state in {"key-1": None, "unclear": "unclear"}.items():
                self.assertEqual(mailers["a"].send_messages([self.message(key)]), 0)
                self.assertEqual(self.state(key), state)

    def test_unclear_attempt_before_the_last(self):
        """The first attempt may have been accepted, whatever is wrong with the second."""
        self.use_mailers(a={**LEAF, "OPTIONS": {"retries": 1}})
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=[fails(Problem.UNCLEAR), fails(Problem.ACCOUNT)])
            error = self.send_failing()
        self.assertIs(error.problem, Problem.ACCOUNT)
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(self.state(), "unclear")

    def test_unclear_and_then_refused(self):
        """The attempt of the first send() may still have been accepted."""
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=[fails(Problem.UNCLEAR), fails(Problem.ACCOUNT)])
            self.send_failing()
            self.assertTrue(self.send_failing().may_have_been_sent)
            self.assertEqual(self.state(), "unclear")
            self.clock.now += 900
            self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
            self.assertEqual(len(CALLS), 2, "The key counts from the first call")

    def test_concurrently(self):
        self.use_mailers(a={**LEAF, "OPTIONS": {"send_concurrency": 4}})
        messages = [self.message(key=f"key-{number % 3}") for number in range(3)]
        self.assertEqual(mailers["a"].send_messages(messages), 3)
        self.assertEqual(mailers["a"].send_messages(messages), 3)
        self.assertEqual(len(CALLS), 3)

    def test_cache_is_not_asked_without_a_key(self):
        with patch("anymail.delivery.memory.Memory._call", side_effect=AssertionError):
            self.send(key=None)


class BeforeCallTests(KeyedTestCase):
    """What surely was not sent can be: the key is free again."""

    mailers = {
        "default": failover("a", "b"),
        "outer": failover("default", "c"),
        "through-foreign": failover("foreign"),
        "misconfigured": failover("nowhere"),
        "nowhere": {"BACKEND": "nowhere.EmailBackend"},
        "foreign": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"},
    }

    def test_exceptions(self):
        def receiver(**kwargs: Any) -> None:
            raise ValueError("from a receiver")

        pre_send.connect(receiver)
        self.addCleanup(pre_send.disconnect, receiver)
        for using in ("a", "default", "outer", "through-foreign"):
            with self.subTest(using):
                self.assertIsInstance(self.send_failing(using), ValueError)
                self.assertIsNone(self.state())

    def test_configuration(self):
        self.assertIsInstance(self.send_failing("misconfigured"), ImproperlyConfigured)
        self.assertIsNone(self.state())

    def test_exceptions_from_calls(self):
        """Nobody knows what they mean."""
        for using in ("a", "default", "outer"):
            with self.subTest(using):
                self.reset()
                self.script(a=KeyError("a bug"))
                self.assertIsInstance(self.send_failing(using), KeyError)
                self.assertEqual(self.state(), "unclear")


class KeyedStrategyTests(KeyedTestCase):
    """With a strategy, which claims the key once for all its attempts."""

    using = "default"
    mailers = {
        "default": failover("a", "b"),
        "accepting": failover("a", "b", duplicates="accept"),
        "outer": failover("default", "c"),
    }

    def test_sent_once(self):
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            first = self.send()
        second = self.send()
        self.assertEqual(self.called, ["a", "b"])
        self.assertEqual(second.mailer, "b")
        self.assertEqual(second.attempts, [("a", "account"), ("b", None)])
        self.assertEqual(second.message_id, first.message_id)

    def test_nested(self):
        self.script(a=fails(Problem.ACCOUNT), b=fails(Problem.ACCOUNT))
        with self.logged("WARNING", "WARNING"):
            self.send(using="outer")
        self.send(using="outer")
        self.assertEqual(self.called, ["a", "b", "c"])

    def test_unclear(self):
        self.script(a=fails(Problem.UNCLEAR))
        self.send_failing()
        self.assertEqual(self.state(), "unclear")
        self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
        self.assertEqual(self.called, ["a"])

    def test_unclear_with_a_provider_that_knows_keys(self):
        """The same mailer again, once."""
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=fails(Problem.UNCLEAR))
            self.send()
            self.assertEqual(self.called, ["a", "a"])

    def test_unclear_accepting_duplicates(self):
        self.script(a=fails(Problem.UNCLEAR), b=fails(Problem.UNCLEAR))
        with self.logged("WARNING"):
            self.assertIs(self.send_failing(using="accepting").problem, Problem.UNCLEAR)
        self.assertEqual(self.called, ["a", "b"])

    def test_unclear_attempt_before_the_last(self):
        """Nobody else gets the message, since the first attempt may have been accepted."""
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            for problem in (Problem.BUSY, Problem.ACCOUNT, Problem.UNREACHABLE):
                with self.subTest(problem=problem):
                    self.reset()
                    self.script(a=[fails(Problem.UNCLEAR), fails(problem)])
                    self.assertIs(self.send_failing().problem, Problem.UNCLEAR)
                    self.assertEqual(self.called, ["a", "a"])
                    self.assertEqual(self.state(), "unclear")

    def use_accounts(self, **mailers: Any) -> None:
        accounts = {
            alias: {**LEAF, "OPTIONS": {"api_key": key}}
            for alias, key in {"a": "one", "a2": "one", "b": "two"}.items()
        }
        self.use_mailers(**accounts, default=failover("a", "b"), **mailers)

    def test_unclear_goes_on_where_the_key_is_known(self):
        """That is with the account, not with all at the same provider."""
        self.use_accounts(others=failover("a", "a2"), again=failover("a2", "b"))
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=fails(Problem.UNSUITABLE), b=[fails(Problem.UNCLEAR)] * 2)
            with self.logged("WARNING"):
                self.send_failing()
            self.assertEqual(self.called, ["a", "b", "b"])
            self.assertIs(self.send_failing(using="others").problem, Problem.UNCLEAR)
            self.assertEqual(len(CALLS), 3, "no call")
            self.send(using="again")
            self.assertEqual(self.called[3:], ["b"])

    def test_unclear_within_another_strategy(self):
        self.use_accounts(outer=failover("inner", "a2"), inner=failover("a"))
        with patch.object(EmailBackend, "idempotency", timedelta(minutes=15)):
            self.script(a=fails(Problem.UNCLEAR))
            self.send(using="outer")
            self.assertEqual(self.called, ["a", "a"])
            self.reset()
            self.script(a=[fails(Problem.UNCLEAR)] * 2)
            self.send_failing(using="outer")
            self.send(using="inner")
            self.assertEqual(self.called, ["a", "a", "a"])

    def test_messages_that_are_not_started(self):
        """Their keys are free again."""
        messages = [self.message(f"key-{number}", subject=str(number)) for number in range(3)]
        self.script(a=fails(Problem.MESSAGE))
        with self.assertRaises(AnymailAPIError):
            mailers["default"].send_messages(messages)
        self.assertEqual([self.state(f"key-{number}") for number in range(3)], [None] * 3)

    def test_wrong_attributes(self):
        """Other messages are sent before."""
        for attrs in ({"key": ""}, {"duplicates": "maybe"}):
            with self.subTest(attrs):
                self.reset()
                messages = [self.message("key-1"), self.message(**{"key": "key-2", **attrs})]
                with self.assertRaises(ValueError) as caught:
                    mailers["default"].send_messages(messages)
                self.assertIn(next(iter(attrs)), str(caught.exception))
                self.assertEqual(caught.exception.sent_count, 1)
                self.assertEqual(len(CALLS), 1)

    def test_all_fail(self):
        self.script(a=fails(Problem.ACCOUNT), b=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            self.send_failing()
        self.assertIsNone(self.state())

    def test_claimed(self):
        errors = []

        def meanwhile(message: Any) -> None:
            errors.append(self.send_failing())

        self.script(a=meanwhile)
        self.send()
        [error] = errors
        self.assertIs(error.problem, Problem.BUSY)
        self.assertEqual(self.called, ["a"])
        failed = [signal for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(failed, [("send_failed", "default", 1, "busy", True)])

    def test_claim_lasts_as_long_as_it_works(self):
        """Each attempt renews it."""
        states = []

        def slow(message: Any) -> Any:
            self.clock.now += 80
            states.append(self.send_failing().problem)
            return fails(Problem.ACCOUNT)

        self.use_mailers(default=failover("a", "b", deadline=1000))
        self.script(a=slow, b=slow)
        with self.logged("WARNING"):
            self.send_failing()
        self.assertEqual(states, [Problem.BUSY, Problem.BUSY])

    def test_accepted_in_part(self):
        def half(message: Any) -> Any:
            error = fails(Problem.BUSY, retry_after=60)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.script(a=half, b=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            error = self.send_failing(to=["one@example.com", "two@example.com"])
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(error.unsent, ["two@example.com"])
        self.assertEqual(self.state(), "unclear")


class RetriesTests(StrategyTestCase):
    """With one mailer, and no key."""

    def setUp(self) -> None:
        super().setUp()
        self.use_mailers(a={**LEAF, "OPTIONS": {"retries": 2}})
        patcher = patch("random.uniform", lambda low, high: high)
        patcher.start()
        self.addCleanup(patcher.stop)

    def send(self, message: Any = None) -> Any:
        message = message or make_message()
        self.assertEqual(mailers["a"].send_messages([message]), 1)
        return message.anymail_status

    def send_failing(self) -> Any:
        with self.assertRaises(AnymailAPIError) as caught:
            mailers["a"].send_messages([make_message()])
        return caught.exception

    def test_busy(self):
        start = self.clock.now
        self.script(a=[fails(Problem.BUSY, retry_after=0.5), fails(Problem.BUSY, retry_after=1)])
        status = self.send()
        self.assertAlmostEqual(self.clock.now - start, 1.5)
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(
            self.signals,
            [
                ("pre_send",),
                ("send_failed", "a", 1, "busy", False),
                ("pre_send",),
                ("send_failed", "a", 2, "busy", False),
                ("pre_send",),
                ("post_send", "a"),
            ],
        )

    def test_too_often(self):
        self.script(a=[fails(Problem.BUSY, retry_after=0.1)] * 3)
        self.assertIs(self.send_failing().problem, Problem.BUSY)
        self.assertEqual(len(CALLS), 3)
        self.assertEqual(self.signals[-1], ("send_failed", "a", 3, "busy", True))

    def test_too_long(self):
        """All waits together, of one message."""
        start = self.clock.now
        self.script(a=[fails(Problem.BUSY, retry_after=1.5)] * 2)
        self.send_failing()
        self.assertEqual(len(CALLS), 2)
        self.assertAlmostEqual(self.clock.now - start, 1.5)

    def test_unreachable(self):
        self.script(a=fails(Problem.UNREACHABLE))
        self.send()
        self.assertEqual(len(CALLS), 2)

    def test_what_is_not_repeated(self):
        for problem in (
            Problem.MESSAGE,
            Problem.UNSUITABLE,
            Problem.ACCOUNT,
            Problem.UNCLEAR,
        ):
            with self.subTest(problem=problem):
                self.reset()
                self.script(a=fails(problem))
                self.send_failing()
                self.assertEqual(len(CALLS), 1)

    def test_accepted_in_part(self):
        """Never repeated as a whole: only for the others."""

        def error() -> Any:
            error = fails(Problem.BUSY, retry_after=0.1)
            error.recipients = {"to@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.script(a=error())
        message = make_message(cc=["cc@example.com"])
        status = self.send(message)
        self.assertEqual([sent.recipients() for _, sent in CALLS[1:]], [["cc@example.com"]])
        self.assertEqual(set(status.recipients), {"to@example.com", "cc@example.com"})
        self.assertEqual(status.recipients["to@example.com"].message_id, "id-1")
        self.assertEqual(message.to, ["to@example.com"], "unchanged")

        self.script(a=[error(), fails(Problem.ACCOUNT)])
        with self.assertRaises(AnymailAPIError) as caught:
            self.send(make_message(cc=["cc@example.com"]))
        self.assertEqual(caught.exception.unsent, ["cc@example.com"])
        self.assertTrue(caught.exception.may_have_been_sent)

    def test_what_receivers_change_is_not_changed_twice(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            message.subject += "!"

        self.connect(pre_send, receiver)
        self.script(a=fails(Problem.UNREACHABLE))
        message = make_message(subject="Hi")
        self.send(message)
        self.assertEqual([sent.subject for _, sent in CALLS], ["Hi!", "Hi!"])
        self.assertIs(CALLS[0][1], message, "as ever")

    def test_error_ends_the_sending_after_the_last_retry(self):
        self.script(a=[None, *[fails(Problem.BUSY, retry_after=0.1)] * 2])
        self.assertEqual(mailers["a"].send_messages([make_message() for _ in range(3)]), 3)
        self.assertEqual(len(CALLS), 5)

    def test_concurrently(self):
        self.use_mailers(a={**LEAF, "OPTIONS": {"retries": 1, "send_concurrency": 2}})
        self.script(a=[None, fails(Problem.UNREACHABLE)])
        self.assertEqual(mailers["a"].send_messages([make_message() for _ in range(5)]), 5)

    def test_a_strategy_repeats_by_itself(self):
        self.use_mailers(default=failover("a", "b"), a={**LEAF, "OPTIONS": {"retries": 9}})
        self.script(a=[fails(Problem.BUSY, retry_after=0.1)] * 9)
        with self.logged("WARNING"):
            mailers["default"].send_messages([make_message()])
        self.assertEqual(self.called, ["a", "a", "b"])

    def test_plain_mailers_note_pauses(self):
        self.use_mailers(default=failover("b", "c"))
        self.script(b=fails(Problem.ACCOUNT))
        with self.assertRaises(AnymailAPIError):
            mailers["b"].send_messages([make_message()])
        mailers["b"].send_messages([make_message()])
        mailers["default"].send_messages([make_message()])
        self.assertEqual(self.called, ["b", "b", "c"])


@skip_without("limits")
class RateTests(StrategyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock.now = time.time()  # limits has looked at the clock before
        self.use_rate("2/second")

    def use_rate(self, rate: str, **options: Any) -> None:
        # The memory of rates is that of the process.
        options["max_wait"] = options.get("max_wait", 2)
        leaf = {**LEAF, "OPTIONS": {"rate": rate, **options}}
        self.alias = f"rate-{next(_numbers)}"
        self.use_mailers(**{self.alias: leaf, "default": failover(self.alias, "b")})

    def test_waits(self):
        start = self.clock.now
        mailer = mailers[self.alias]
        for _ in range(6):
            mailer.send_messages([make_message()])
        self.assertEqual(len(CALLS), 6)
        self.assertGreaterEqual(self.clock.now - start, 2)

    def test_no_longer_than_max_wait(self):
        self.use_rate("1/minute")
        mailer = mailers[self.alias]
        mailer.send_messages([make_message()])
        start = self.clock.now
        with self.assertRaisesMessage(AnymailAPIError, "RATE") as caught:
            mailer.send_messages([make_message()])
        self.assertEqual(self.clock.now, start)
        self.assertIs(caught.exception.problem, Problem.BUSY)
        self.assertAlmostEqual(caught.exception.retry_after, 60, delta=1)
        self.assertFalse(caught.exception.may_have_been_sent)
        self.assertEqual(len(CALLS), 1)

    def test_strategy_moves_on_without_a_pause(self):
        self.use_rate("1/minute")
        with self.logged("WARNING"):
            mailers["default"].send_messages([make_message(), make_message()])
        self.assertEqual(self.called, [self.alias, "b"])
        self.clock.now += 60
        mailers["default"].send_messages([make_message()])
        self.assertEqual(self.called[-1], self.alias)

    def test_for_all_backends_with_the_same_account(self):
        self.use_rate("1/minute")
        mailers[self.alias].send_messages([make_message()])
        with self.assertRaises(AnymailAPIError):
            mailers[self.alias].send_messages([make_message()])

    def test_wrong_rate(self):
        self.use_rate("fast")
        with self.assertRaisesMessage(AnymailConfigurationError, "RATE"):
            mailers[self.alias].send_messages([make_message()])

    def test_concurrently(self):
        self.use_rate("2/second", send_concurrency=4)
        start = self.clock.now
        mailers[self.alias].send_messages([make_message() for _ in range(6)])
        self.assertEqual(len(CALLS), 6)
        self.assertGreaterEqual(self.clock.now - start, 2)


_numbers = itertools.count()


class TimeLeftTests(StrategyTestCase):
    """A strategy's deadline is for all attempts: calls get what is left."""

    def test_timeouts(self):
        timeouts = []

        def request(session: Any, **kwargs: Any) -> Any:
            timeouts.append(kwargs["timeout"])
            self.clock.now += 15
            raise requests.ConnectionError("broken")

        minimal = "tests.backends.minimal.EmailBackend"
        self.use_mailers(
            default=failover("default-timeout", "own", "tuple", "none", duplicates="accept"),
            **{
                "default-timeout": {"BACKEND": minimal, "OPTIONS": {"api_key": "key"}},
                "own": {"BACKEND": minimal, "OPTIONS": {"api_key": "key", "timeout": 60}},
                "tuple": {"BACKEND": minimal, "OPTIONS": {"api_key": "key", "timeout": (3, 60)}},
                "none": {"BACKEND": minimal, "OPTIONS": {"api_key": "key", "timeout": None}},
            },
        )
        with (
            patch("requests.Session.request", request),
            self.assertLogs("anymail.delivery", "WARNING"),
            self.assertRaises(AnymailAPIError),
        ):
            mailers["default"].send_messages([make_message()])
        self.assertEqual(timeouts, [(5, 30), 25, (3, 10)])

    def test_alone(self):
        timeouts = []

        def request(session: Any, **kwargs: Any) -> Any:
            timeouts.append(kwargs["timeout"])
            raise requests.ConnectionError("broken")

        minimal = "tests.backends.minimal.EmailBackend"
        self.use_mailers(a={"BACKEND": minimal, "OPTIONS": {"api_key": "key"}})
        with patch("requests.Session.request", request), self.assertRaises(AnymailAPIError):
            mailers["a"].send_messages([make_message()])
        self.assertEqual(timeouts, [30])
