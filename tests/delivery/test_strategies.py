"""Failover, weighted and routed mailers: who gets a message, when, and what the caller sees."""

from __future__ import annotations

import logging
import smtplib
import threading
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import django
import requests
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.test import override_settings, tag
from django.utils.log import AdminEmailHandler

from anymail.delivery.decisions import Pause
from anymail.delivery.mailers import mailers
from anymail.delivery.pauses import Pauses
from anymail.delivery.strategy import StrategyBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailUnsupportedFeature,
    Problem,
)
from anymail.message import AnymailRecipientStatus
from anymail.sending.journey import journey_of
from anymail.signals import post_send, pre_send, send_failed

from ..utils import make_message
from .leaf import CALLS, LEAF, SCRIPTS, StrategyTestCase, fails


def failover(*aliases: str, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.failover.EmailBackend",
        "OPTIONS": {"mailers": list(aliases), "duplicates": "avoid", **options},
    }


class FailoverTestCase(StrategyTestCase):
    mailers = {"default": failover("a", "b"), "accepting": failover("a", "b", duplicates="accept")}

    def send(self, message: Any = None, using: str = "default") -> Any:
        message = message or make_message()
        self.assertEqual(mailers[using].send_messages([message]), 1)
        return message.anymail_status

    def send_failing(self, message: Any = None, using: str = "default") -> Any:
        message = message or make_message()
        with self.assertRaises(Exception) as caught:
            mailers[using].send_messages([message])
        return caught.exception


class FailoverTests(FailoverTestCase):
    def test_first_takes_it(self):
        with self.logged():
            status = self.send()
        self.assertEqual(self.called, ["a"])
        self.assertEqual(status.mailer, "a")
        self.assertEqual(status.attempts, [("a", None)])
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(self.signals, [("pre_send",), ("post_send", "a")])

    def test_second_takes_it(self):
        for problem in (Problem.UNSUITABLE, Problem.ACCOUNT, Problem.BUSY, Problem.UNREACHABLE):
            with self.subTest(problem=problem):
                self.reset()
                self.script(a=fails(problem, retry_after=10 if problem == "busy" else None))
                with self.logged("WARNING"):
                    status = self.send()
                self.assertEqual(self.called, ["a", "b"])
                self.assertEqual(status.attempts, [("a", problem), ("b", None)])
                self.assertEqual(status.mailer, "b")
                self.assertEqual(status.status, {"sent"})
                self.assertEqual(
                    self.signals,
                    [
                        ("pre_send",),
                        ("send_failed", "a", 1, problem, False),
                        ("pre_send",),
                        ("post_send", "b"),
                    ],
                )

    def test_problem_with_the_message(self):
        """It is not given to another mailer, and no mailer is paused for it."""
        self.script(a=fails(Problem.MESSAGE))
        with self.logged():
            error = self.send_failing()
        self.assertIs(error.problem, Problem.MESSAGE)
        self.assertFalse(error.may_have_been_sent)
        self.assertEqual(self.called, ["a"])
        self.assertEqual(self.signals[-1], ("send_failed", "a", 1, "message", True))
        self.send()
        self.assertEqual(self.called, ["a", "a"])

    def test_unclear(self):
        self.script(a=fails(Problem.UNCLEAR))
        with self.logged():
            error = self.send_failing()
        self.assertIs(error.problem, Problem.UNCLEAR)
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(self.called, ["a"])

    def test_unclear_accepting_duplicates(self):
        self.script(a=fails(Problem.UNCLEAR))
        with self.logged("WARNING"):
            self.send(using="accepting")
        self.assertEqual(self.called, ["a", "b"])

    def test_message_that_accepts_duplicates(self):
        self.script(a=fails(Problem.UNCLEAR))
        message = make_message()
        message.duplicates = "accept"
        with self.logged("WARNING"):
            self.send(message)
        self.assertEqual(self.called, ["a", "b"])

    def test_all_fail(self):
        self.script(a=fails(Problem.ACCOUNT), b=fails(Problem.UNSUITABLE))
        with self.logged("WARNING"):
            error = self.send_failing()
        self.assertIs(error.problem, Problem.ACCOUNT, "which can be put right")
        self.assertFalse(error.may_have_been_sent)
        self.assertIsNotNone(error.__context__)
        self.assertIs(error.__context__.problem, Problem.UNSUITABLE, "the others are chained")
        self.assertEqual(self.called, ["a", "b"])
        finals = [signal[-1] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(finals, [False, True])

    def test_may_have_been_sent_by_any(self):
        """It's told by whichever error speaks for all, such as that of the last attempt."""
        self.script(a=fails(Problem.UNCLEAR), b=fails(Problem.MESSAGE))
        with self.logged("WARNING"):
            error = self.send_failing(using="accepting")
        self.assertIs(error.problem, Problem.UNCLEAR)

        def half(message: Any) -> Any:
            error = fails(Problem.BUSY, retry_after=60)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.reset()
        self.script(a=half, b=fails(Problem.MESSAGE))
        with self.logged("WARNING"):
            error = self.send_failing(make_message(to=["one@example.com", "two@example.com"]))
        self.assertIs(error.problem, Problem.MESSAGE)
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(error.unsent, ["two@example.com"])

    def test_unreachable_again_after_the_others(self):
        self.script(a=[fails(Problem.UNREACHABLE)], b=fails(Problem.UNSUITABLE))
        with self.logged("WARNING", "WARNING"):
            self.send()
        self.assertEqual(self.called, ["a", "b", "a"])

    def test_busy_for_a_moment(self):
        """The same mailer again, after the time that it names."""
        start = self.clock.now
        self.script(a=fails(Problem.BUSY, retry_after=1.5))
        with self.logged():
            self.send()
        self.assertEqual(self.called, ["a", "a"])
        self.assertAlmostEqual(self.clock.now - start, 1.5)
        self.assertIn(("send_failed", "a", 1, "busy", False), self.signals)

    def test_busy_again_and_again(self):
        self.script(a=[fails(Problem.BUSY, retry_after=0.5)] * 9)
        with self.logged("WARNING"):
            self.send()
        self.assertEqual(self.called, ["a", "a", "b"])

    def test_exceptions_that_say_nothing(self):
        """They are raised as they are, and no other mailer is tried."""

        def receiver(**kwargs: Any) -> None:
            raise ValueError("from a receiver")

        self.connect(pre_send, receiver)
        error = self.send_failing()
        self.assertIsInstance(error, ValueError)
        self.assertEqual(self.called, [])
        self.assertEqual(self.signals[-1][0::4], ("send_failed", True))

    def test_deadline(self):
        def slow(message: Any) -> Any:
            self.clock.now += 30
            return fails(Problem.UNREACHABLE)

        self.use_mailers(default=failover("a", "b", "c", deadline=40))
        self.script(a=slow, b=slow, c=slow)
        with self.logged("WARNING"):
            error = self.send_failing()
        self.assertIs(error.problem, Problem.UNREACHABLE)
        self.assertEqual(self.called, ["a", "b"])

    def test_plain_send(self):
        self.script(a=fails(Problem.ACCOUNT))
        message = make_message()
        with self.logged("WARNING"):
            self.assertEqual(message.send(), 1)
        self.assertEqual(message.anymail_status.mailer, "b")


class CopiesTests(FailoverTestCase):
    def test_each_attempt_has_a_copy(self):
        seen = []

        def receiver(message: Any, **kwargs: Any) -> None:
            seen.append((list(message.to), deepcopy(message.metadata), len(message.attachments)))
            message.to.append("receiver@example.com")
            message.metadata["receiver"] = "was here"
            message.metadata["nested"]["list"].append("was here")
            message.attachments.clear()
            message.subject = "Changed"

        self.connect(pre_send, receiver)
        lock = threading.Lock()
        metadata = {"user": "1", "nested": {"list": ["a"]}}
        message = make_message(metadata=deepcopy(metadata))
        message.attach("a.txt", "content")
        message.lock = lock
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            self.send(message)
        self.assertEqual(seen, [(["to@example.com"], metadata, 1)] * 2)
        self.assertEqual(message.to, ["to@example.com"])
        self.assertEqual(message.metadata, metadata)
        self.assertEqual(message.subject, "Subject")
        self.assertEqual(len(message.attachments), 1)
        for _, sent in CALLS:
            self.assertEqual(sent.subject, "Changed")
            self.assertIs(sent.lock, lock)
        self.assertEqual(
            set(message.anymail_status.recipients), {"to@example.com", "receiver@example.com"}
        )

    def test_signals_know_the_original(self):
        originals = []
        for signal in (post_send, send_failed):
            self.connect(signal, lambda original, **kwargs: originals.append(original))
        message = make_message()
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            self.send(message)
        self.assertEqual(len(originals), 2)
        self.assertTrue(all(original is message for original in originals))

    def test_canceled(self):
        def receiver(**kwargs: Any) -> None:
            raise AnymailCancelSend

        self.connect(pre_send, receiver)
        message = make_message()
        self.assertEqual(mailers["default"].send_messages([message]), 0)
        self.assertEqual(self.called, [])
        self.assertIsNone(message.anymail_status.status)

    def test_canceled_at_the_second_attempt(self):
        def receiver(**kwargs: Any) -> None:
            if self.called:
                raise AnymailCancelSend

        self.connect(pre_send, receiver)
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            self.assertEqual(mailers["default"].send_messages([make_message()]), 0)
        self.assertEqual(self.called, ["a"])

    def test_receiver_of_post_send_fails(self):
        """Accepted is accepted. It is raised when all messages are done."""

        def receiver(message: Any, **kwargs: Any) -> None:
            if message.subject == "1":
                raise ValueError("from a receiver")

        self.connect(post_send, receiver)
        messages = [make_message(subject=str(number)) for number in range(3)]
        with (
            self.assertLogs("django.dispatch", "ERROR"),
            self.assertRaisesMessage(ValueError, "from a receiver") as caught,
        ):
            mailers["default"].send_messages(messages)
        self.assertEqual(caught.exception.sent_count, 3)
        self.assertEqual(self.called, ["a", "a", "a"])
        self.assertNotIn("send_failed", [signal[0] for signal in self.signals])

    def test_refused_recipients(self):
        message = make_message()
        message.anymail_test_response = {
            "recipient_status": {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        }
        error = self.send_failing(message)
        self.assertIsInstance(error, AnymailRecipientsRefused)
        self.assertEqual(message.anymail_status.status, {"rejected"})
        self.assertEqual(
            self.signals,
            [("pre_send",), ("post_send", "a"), ("send_failed", "a", 1, "message", True)],
        )

    def test_accepted_in_part(self):
        """Only those who are left are given to the next one."""

        def half(message: Any) -> Any:
            error = fails(Problem.BUSY, retry_after=60)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.script(a=half)
        message = make_message(to=["One <one@example.com>", "Two <two@example.com>"])
        with self.logged("WARNING"):
            status = self.send(message)
        [_, (_, second)] = CALLS
        self.assertEqual(second.to, ["Two <two@example.com>"])
        self.assertEqual(set(status.recipients), {"one@example.com", "two@example.com"})
        self.assertEqual(status.recipients["one@example.com"].message_id, "id-1")
        self.assertEqual(message.to, ["One <one@example.com>", "Two <two@example.com>"])

    def test_accepted_in_part_and_again(self):
        """Nor is the same one asked for all of them once more."""

        def half(message: Any) -> Any:
            error = fails(Problem.BUSY, retry_after=1)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.script(a=half)
        status = self.send(make_message(to=["one@example.com", "two@example.com"]))
        self.assertEqual([message.to for _, message in CALLS[1:]], [["two@example.com"]])
        self.assertEqual(self.called, ["a", "a"])
        self.assertEqual(status.recipients["one@example.com"].message_id, "id-1")

    def test_accepted_in_part_and_misconfigured(self):
        """The error that can say so says that some have got it."""

        def half(message: Any) -> Any:
            error = fails(Problem.UNSUITABLE)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "sent")}
            return error

        self.use_mailers(default=failover("a", "b"), b={"BACKEND": "nowhere.EmailBackend"})
        self.script(a=half)
        with self.logged("WARNING"):
            error = self.send_failing(make_message(to=["one@example.com", "two@example.com"]))
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(error.unsent, ["two@example.com"])
        self.assertIsInstance(error.__context__, ImproperlyConfigured)

    def test_sent_again(self):
        """What became of it then says nothing about what becomes of it now."""
        message = make_message()
        self.send(message)
        self.use_mailers(default=failover("a", "b"), a={**LEAF, "OPTIONS": {"fails_to_open": True}})
        with self.logged("WARNING"):
            status = self.send(message)
        self.assertEqual(status.attempts, [("a", Problem.UNREACHABLE), ("b", None)])
        self.assertEqual(self.called, ["a", "b"])


class PausesTests(FailoverTestCase):
    def fail_once(self, problem: Problem = Problem.UNREACHABLE, **meaning: Any) -> None:
        self.script(a=fails(problem, **meaning))
        with self.logged("WARNING"):
            self.send()
        CALLS.clear()

    def test_pause(self):
        self.fail_once()
        self.send()
        self.clock.now += 59
        self.send()
        self.assertEqual(self.called, ["b", "b"])
        self.clock.now += 1
        self.send()
        self.send()
        self.assertEqual(self.called, ["b", "b", "a", "a"])

    def test_account_pause(self):
        self.fail_once(Problem.ACCOUNT)
        self.clock.now += 599
        self.send()
        self.clock.now += 1
        self.send()
        self.assertEqual(self.called, ["b", "a"])

    def test_pause_of_a_sender(self):
        self.fail_once(Problem.ACCOUNT, about_sender=True)
        self.send(make_message(from_email="Other <other@example.net>"))
        self.send(make_message())
        self.assertEqual(self.called, ["a", "b"])

    def test_one_message_probes(self):
        self.fail_once()
        self.clock.now += 60
        in_the_meantime = []

        def while_it_probes(message: Any) -> None:
            in_the_meantime.append(self.send().mailer)

        self.script(a=while_it_probes)
        self.assertEqual(self.send().mailer, "a")
        self.assertEqual(in_the_meantime, ["b"])
        self.assertEqual(self.send().mailer, "a")

    def test_probe_fails(self):
        self.fail_once()
        self.clock.now += 60
        self.fail_once()
        self.send()
        self.assertEqual(self.called, ["b"])

    def test_probe_with_a_bad_message(self):
        self.fail_once()
        self.clock.now += 60
        self.script(a=fails(Problem.MESSAGE))
        self.send_failing()
        self.send()
        self.assertEqual(self.called, ["a", "a"])

    def test_probe_that_does_not_call(self):
        """It proves nothing: the next message probes, and still others use the next mailer."""

        def receiver(message: Any, **kwargs: Any) -> None:
            if message.subject == "canceled":
                raise AnymailCancelSend
            if message.subject == "unsuitable":
                raise AnymailUnsupportedFeature("by the receiver")

        self.connect(pre_send, receiver)
        for subject in ("canceled", "unsuitable"):
            with self.subTest(subject):
                self.reset()
                Pauses().pause("a", Pause(0))
                mailers["default"].fail_silently = True
                with suppress(AnymailError):
                    mailers["default"].send_messages([make_message(subject=subject)])
                self.assertTrue(Pauses().states(["a"])["a"].is_unproven)
                self.send()
                self.assertEqual(self.called, ["a"])
                self.assertFalse(Pauses().states(["a"])["a"].is_unproven)

    def test_all_paused(self):
        """None is refused without a try: with the one that is due first."""
        pauses = Pauses()
        pauses.pause("a", Pause(60))
        pauses.pause("b", Pause(30))
        self.send()
        self.assertEqual(self.called, ["b"])

    def test_all_paused_by_name(self):
        Pauses().pause("a", Pause(60, is_named=True))
        Pauses().pause("b", Pause(30, is_named=True))
        error = self.send_failing()
        self.assertEqual(self.called, [])
        self.assertIs(error.problem, Problem.BUSY)
        self.assertEqual(round(error.retry_after), 30)
        self.assertIn("'default'", str(error))
        self.assertEqual(self.signals, [("send_failed", "default", 1, "busy", True)])

    def test_wait_for_a_named_pause(self):
        start = self.clock.now
        Pauses().pause("a", Pause(60, is_named=True))
        Pauses().pause("b", Pause(1.5, is_named=True))
        self.send()
        self.assertEqual(self.called, ["b"])
        self.assertAlmostEqual(self.clock.now - start, 1.5)

    def test_named_and_other_pauses(self):
        Pauses().pause("a", Pause(5, is_named=True))
        Pauses().pause("b", Pause(60))
        self.send()
        self.assertEqual(self.called, ["b"])


class SeveralMessagesTests(FailoverTestCase):
    def messages(self, count: int) -> list[Any]:
        return [make_message(subject=str(number)) for number in range(count)]

    def test_those_set_aside_go_together(self):
        batches = []
        original = type(mailers["b"]).run_journeys

        def run_journeys(backend: Any, journeys: Any) -> None:
            journeys = list(journeys)
            batches.append((backend.alias, len(journeys)))
            original(backend, journeys)

        self.script(a=[None, fails(Problem.UNSUITABLE), None, fails(Problem.UNSUITABLE), None])
        messages = self.messages(5)
        with (
            patch.object(type(mailers["b"]), "run_journeys", run_journeys),
            self.logged("WARNING", "WARNING"),
        ):
            self.assertEqual(mailers["default"].send_messages(messages), 5)
        self.assertEqual(
            [message.anymail_status.mailer for message in messages], ["a", "b", "a", "b", "a"]
        )
        self.assertEqual(batches, [("a", 5), ("b", 2)])

    def test_after_an_outage_no_more_are_tried(self):
        self.script(a=[None, fails(Problem.UNREACHABLE)])
        with self.logged("WARNING"):
            self.assertEqual(mailers["default"].send_messages(self.messages(5)), 5)
        self.assertEqual(Counter(self.called), {"a": 2, "b": 4})

    def test_paused_before_it_is_tried_again(self):
        self.use_mailers(default=failover("a"))
        busy = fails(Problem.BUSY, retry_after=0.1)
        self.script(a=[busy, fails(Problem.BUSY, retry_after=0.1), fails(Problem.UNREACHABLE)])
        connection = mailers["default"]
        connection.fail_silently = True
        messages = self.messages(2)
        self.assertEqual(connection.send_messages(messages), 1)
        self.assertEqual(len(CALLS), 4)
        self.assertEqual(messages[1].anymail_status.status, {"sent"})

    def test_error_ends_it(self):
        """After those that were set aside."""
        self.script(a=[None, fails(Problem.UNSUITABLE), fails(Problem.MESSAGE)])
        messages = self.messages(5)
        with self.logged("WARNING"), self.assertRaises(AnymailAPIError) as caught:
            mailers["default"].send_messages(messages)
        self.assertEqual(caught.exception.sent_count, 2)
        self.assertEqual(self.called, ["a", "a", "a", "b"])
        self.assertEqual(messages[1].anymail_status.mailer, "b")
        self.assertIsNone(messages[4].anymail_status.status)

    def test_fail_silently(self):
        self.script(a=[None, fails(Problem.MESSAGE)])
        connection = mailers["default"]
        connection.fail_silently = True
        self.assertEqual(connection.send_messages(self.messages(3)), 2)
        self.script(a=KeyError("a bug"))
        with self.assertRaisesMessage(KeyError, "a bug"):
            connection.send_messages(self.messages(1))

    def test_nothing(self):
        self.assertEqual(mailers["default"].send_messages([]), 0)

    def test_connections_are_opened_when_needed_and_closed(self):
        opened, closed = [], []
        leaf = type(mailers["a"])
        with (
            patch.object(leaf, "open", lambda backend: opened.append(backend.alias)),
            patch.object(leaf, "close", lambda backend: closed.append(backend.alias)),
        ):
            with mailers["default"] as connection:
                connection.send_messages(self.messages(1))
                connection.send_messages(self.messages(1))
                self.assertEqual((opened, closed), (["a"], []))
            self.assertEqual(closed, ["a"])
            mailers["default"].send_messages(self.messages(1))
            self.assertEqual(closed, ["a", "a"])

    def test_all_are_closed(self):
        closed = []

        def close(backend: Any) -> None:
            closed.append(backend.alias)
            raise OSError("can't be closed")

        self.script(a=fails(Problem.ACCOUNT))
        with (
            patch.object(type(mailers["a"]), "close", close),
            self.logged("WARNING"),
            self.assertRaisesMessage(OSError, "can't be closed"),
        ):
            self.send()
        self.assertEqual(sorted(closed), ["a", "b"])

    def test_deadlines(self):
        """Each message has its own, in which the others' time doesn't count."""
        times_left = []

        def slow(message: Any) -> None:
            times_left.append(journey_of(message).time_left)
            self.clock.now += 1

        self.script(a=[fails(Problem.UNSUITABLE), *[slow] * 99])
        with self.logged("WARNING"):
            self.assertEqual(mailers["default"].send_messages(self.messages(100)), 100)
        self.assertEqual(self.called, ["a"] * 100 + ["b"])
        self.assertEqual(times_left, [40] * 99)

    def test_deadline_while_opening(self):
        def open_slowly(backend: Any) -> None:
            self.clock.now += 30
            raise OSError("no network")

        self.use_mailers(default=failover("a", "b", "c"))
        with (
            patch.object(type(mailers["a"]), "open", open_slowly),
            self.logged("WARNING"),
            self.assertRaises(AnymailAPIError) as caught,
        ):
            mailers["default"].send_messages(self.messages(1))
        self.assertIs(caught.exception.problem, Problem.UNREACHABLE)
        self.assertEqual([signal[1] for signal in self.signals], ["a", "b"])

    def test_all_paused(self):
        """The first one proves that it works: others aren't asked one by one."""
        self.use_mailers(default=failover("a"))
        Pauses().pause("a", Pause(60))
        with patch.object(Pauses, "states", autospec=True, side_effect=Pauses.states) as states:
            self.assertEqual(mailers["default"].send_messages(self.messages(50)), 50)
        self.assertLess(states.call_count, 200)

    def test_concurrency_of_the_mailers(self):
        barrier = threading.Barrier(3, timeout=10)

        def request(session: Any, **kwargs: Any) -> Any:
            barrier.wait()
            raise requests.ConnectionError("broken")

        leaf = {
            "BACKEND": "tests.backends.minimal.EmailBackend",
            "OPTIONS": {"api_key": "key", "send_concurrency": 3},
        }
        self.use_mailers(default=failover("leaf"), leaf=leaf)
        connection = mailers["default"]
        connection.fail_silently = True
        with patch("requests.Session.request", request):
            self.assertEqual(connection.send_messages(self.messages(3)), 0)
        self.assertFalse(barrier.broken)


class ConfigurationTests(FailoverTestCase):
    def test_broken_mailer(self):
        """It doesn't keep the others from sending, but is loud."""
        for broken in (
            {"BACKEND": "nowhere.EmailBackend"},
            {**LEAF, "OPTIONS": {"no_such_option": 1}},
            {"BACKEND": "anymail.backends.postmark.EmailBackend"},  # no token
        ):
            with self.subTest(broken=broken):
                self.reset()
                self.use_mailers(default=failover("a", "b"), a=broken)
                with self.logged("ERROR"):
                    status = self.send()
                self.assertEqual(status.attempts, [("a", None), ("b", None)])
                self.send()

    def test_only_broken_mailers(self):
        self.use_mailers(default=failover("a"), a={"BACKEND": "nowhere.EmailBackend"})
        error = self.send_failing()
        self.assertIsInstance(error, ImproperlyConfigured)
        self.assertIn("nowhere", str(error))

    def test_unknown_alias(self):
        self.use_mailers(default=failover("nonesuch"))
        self.assertIn("nonesuch", str(self.send_failing()))

    def test_no_mailer(self):
        strategy = StrategyBackend(duplicates="avoid")
        with (
            patch.object(StrategyBackend, "route", return_value=[]),
            self.assertRaisesMessage(AnymailConfigurationError, "no mailer"),
        ):
            strategy.send_messages([make_message()])

    def test_what_is_logged(self):
        """Which mailer will be tried next; nothing of the message."""
        self.use_mailers(default=failover("a", "b", "c"))
        Pauses().pause("b", Pause(60))
        self.script(a=fails(Problem.ACCOUNT))
        with self.assertLogs("anymail.delivery") as logs:
            self.send()
        self.assertEqual(
            [record.getMessage() for record in logs.records],
            ["Mailer 'a' has not taken a message (problem: account); next is 'c'"],
        )

    def test_does_not_open(self):
        self.use_mailers(default=failover("a", "b"), a={**LEAF, "OPTIONS": {"fails_to_open": True}})
        with self.logged("WARNING"):
            status = self.send()
        self.assertEqual(status.attempts, [("a", Problem.UNREACHABLE), ("b", None)])

    def test_exceptions_that_say_nothing(self):
        """From a backend that is made: its configuration; from one that is opened: a bug."""
        self.use_mailers(default=failover("odd", "b"), odd={"BACKEND": f"{__name__}.OddBackend"})
        self.assertIsInstance(self.send_failing(), KeyError)
        self.assertEqual(self.called, [])
        options = {"OPTIONS": {"no_such_option": 1}}
        odd = {"BACKEND": f"{__name__}.OddBackend", **options}
        self.use_mailers(default=failover("odd", "b"), odd=odd)
        with self.logged("ERROR"):
            self.assertEqual(self.send().attempts, [("odd", None), ("b", None)])

    def test_options(self):
        for options, text in [
            ({"duplicates": None}, "duplicates"),
            ({"duplicates": "perhaps"}, "may arrive twice"),
            ({"mailers": []}, "mailers"),
            ({"mailers": None}, "mailers"),
            ({"mailers": ["a", "a"]}, "repeated"),
            ({"mailers": ["default"]}, "its own"),
            ({"mailers": [1]}, "mailers"),
            ({"pause": "60"}, "pause"),
            ({"max_wait": -1}, "max_wait"),
            ({"deadline": True}, "deadline"),
            ({"no_such_option": 1}, "no_such_option"),
        ]:
            with self.subTest(options=options):
                self.use_mailers(default=failover("a", **options))
                with self.assertRaisesMessage(ImproperlyConfigured, text):
                    mailers["default"]

    def test_without_an_alias(self):
        from anymail.backends.failover import EmailBackend

        with self.assertRaisesMessage(AnymailConfigurationError, "duplicates"):
            EmailBackend(mailers=["a"])
        backend = EmailBackend(mailers=["a"], duplicates="avoid")
        self.assertEqual(backend.send_messages([make_message()]), 1)


class NestedTests(FailoverTestCase):
    mailers = {
        "default": failover("inner", "c"),
        "inner": failover("a", "b"),
        "circle": failover("circle2"),
        "circle2": failover("circle"),
    }

    def test_inner_takes_it(self):
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            status = self.send()
        self.assertEqual(status.mailer, "b")
        self.assertEqual(status.attempts, [("a", Problem.ACCOUNT), ("b", None)])

    def test_inner_fails(self):
        self.script(a=fails(Problem.ACCOUNT), b=fails(Problem.ACCOUNT))
        with self.logged("WARNING", "WARNING"):
            status = self.send()
        self.assertEqual(self.called, ["a", "b", "c"])
        self.assertEqual(
            status.attempts, [("a", Problem.ACCOUNT), ("b", Problem.ACCOUNT), ("c", None)]
        )
        finals = [signal[-1] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(finals, [False, False])

    def test_all_fail(self):
        for alias in ("a", "b", "c"):
            self.script(**{alias: fails(Problem.ACCOUNT)})
        with self.logged("WARNING", "WARNING"):
            self.send_failing()
        failed = [(signal[1], signal[2], signal[-1]) for signal in self.signals if signal[1:]]
        self.assertEqual(failed, [("a", 1, False), ("b", 2, False), ("c", 3, True)])

    def test_all_fail_in_another_order(self):
        self.use_mailers(default=failover("c", "inner"), inner=failover("a", "b"))
        for alias in ("a", "b", "c"):
            self.script(**{alias: fails(Problem.ACCOUNT)})
        with self.logged("WARNING", "WARNING"):
            self.send_failing()
        failed = [(signal[1], signal[2], signal[-1]) for signal in self.signals if signal[1:]]
        self.assertEqual(failed, [("c", 1, False), ("a", 2, False), ("b", 3, True)])

    def test_circle(self):
        error = self.send_failing(using="circle")
        self.assertIsInstance(error, AnymailConfigurationError)
        self.assertIn("circle", str(error))


class OddBackend(BaseEmailBackend):
    def __init__(self, *, alias: str | None = None, **kwargs: Any) -> None:
        if kwargs:
            raise TypeError("unexpected")
        super().__init__()

    def open(self) -> bool:
        raise KeyError("a bug")


class WrappingBackend(BaseEmailBackend):
    """Has another one send the messages, as other packages do."""

    def __init__(self, *, alias: str | None = None) -> None:
        super().__init__()

    def send_messages(self, messages: Any) -> int:
        return mailers["b"].send_messages(messages)


class WrapperTests(FailoverTestCase):
    """Nobody is told twice of what a backend within another one does."""

    mailers = {
        "default": failover("wrapper", "c"),
        "wrapper": {"BACKEND": f"{__name__}.WrappingBackend"},
    }

    def test_sent(self):
        self.assertEqual(self.send().attempts, [("wrapper", None)])
        self.assertEqual(self.signals.count(("post_send", "wrapper")), 1)

    def test_fails(self):
        self.script(b=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            self.assertEqual(self.send().attempts, [("wrapper", Problem.ACCOUNT), ("c", None)])
        self.assertEqual(
            [signal for signal in self.signals if signal[1:]],
            [("send_failed", "wrapper", 1, Problem.ACCOUNT, False), ("post_send", "c")],
        )


class WeightedTests(FailoverTestCase):
    def weighted(self, **options: Any) -> None:
        self.use_mailers(
            default={
                "BACKEND": "anymail.backends.weighted.EmailBackend",
                "OPTIONS": {
                    "mailers": {"a": 6, "b": 3, "c": 1},
                    "duplicates": "avoid",
                    **options,
                },
            }
        )

    def shares(self, count: int = 1000) -> dict[str | None, float]:
        messages = [make_message(to=[f"User <{n}@{n % 300}.example>"]) for n in range(count)]
        mailers["default"].send_messages(messages)
        return {mailer: number / count for mailer, number in Counter(self.called).items()}

    @tag("exhaustive")
    def test_shares(self):
        for sticky in (None, "recipient", "domain"):
            with self.subTest(sticky=sticky):
                self.reset()
                self.weighted(sticky=sticky)
                shares = self.shares()
                for mailer, share in {"a": 0.6, "b": 0.3, "c": 0.1}.items():
                    self.assertAlmostEqual(shares[mailer], share, delta=0.08)

    def test_sticky(self):
        for sticky, first, second in [
            ("recipient", "Ann <Ann@example.com>", "ann@example.com"),
            ("domain", "ann@example.com", "bob@EXAMPLE.com"),
        ]:
            with self.subTest(sticky=sticky):
                self.reset()
                self.weighted(sticky=sticky)
                for _ in range(10):
                    self.send(make_message(to=[first]))
                    self.send(make_message(to=[second]))
                self.assertEqual(len(set(self.called)), 1)

    def test_moves_on(self):
        self.weighted()
        self.script(**{alias: fails(Problem.ACCOUNT) for alias in "ab"})
        SCRIPTS["c"].append(fails(Problem.ACCOUNT))
        with self.assertLogs("anymail.delivery", "WARNING"):
            self.send_failing()
        self.assertEqual(sorted(map(str, self.called)), ["a", "b", "c"])

    @tag("exhaustive")
    def test_others_share_what_one_does_not_take(self):
        self.weighted()
        Pauses().pause("a", Pause(60))
        shares = self.shares()
        self.assertAlmostEqual(shares["b"], 0.75, delta=0.08)

    def test_options(self):
        for options, text in [
            ({"mailers": ["a", "b"]}, "weights"),
            ({"mailers": {}}, "mailers"),
            ({"mailers": {"a": 0}}, "'a'"),
            ({"mailers": {"a": "9"}}, "'a'"),
            ({"mailers": {"a": float("nan")}}, "'a'"),
            ({"sticky": "sender"}, "sticky"),
        ]:
            with self.subTest(options=options):
                self.weighted(**options)
                with self.assertRaisesMessage(ImproperlyConfigured, text):
                    mailers["default"]


def choose(message: EmailMessage) -> Any:
    return {"1": "a", "2": "b"}.get(str(message.subject))


ADMINS = ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.com")]


@override_settings(ADMINS=ADMINS, SERVER_EMAIL="server@example.com")
class AdminMailTests(FailoverTestCase):
    """What is logged is mailed: about mail that fails, too."""

    def setUp(self) -> None:
        super().setUp()
        handler = AdminEmailHandler()
        handler.setLevel("WARNING")
        for name in ("anymail", "django.dispatch"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            self.addCleanup(logger.removeHandler, handler)

    def test_all_mailers_are_down(self):
        self.script(a=[unreachable] * 1000, b=[unreachable] * 1000)
        self.assertIs(self.send_failing().problem, Problem.UNREACHABLE)
        # It moves on three times. The mail about each of them is tried with both, twice.
        self.assertEqual(len(CALLS), 4 + 3 * 4)
        self.assertEqual(self.signals.count(("pre_send",)), len(CALLS))
        failed = [signal[1:3] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(failed, [("a", 1), ("b", 2), ("a", 3), ("b", 4)])

    def test_all_mailers_are_misconfigured(self):
        nowhere = {"BACKEND": "nowhere.EmailBackend"}
        self.use_mailers(default=failover("a", "b"), a=nowhere, b=nowhere)
        self.assertIsInstance(self.send_failing(), ImproperlyConfigured)
        failed = [signal[1:3] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(failed, [("a", 1), ("b", 2)])

    def test_cache_is_down(self):
        with patch("anymail.delivery.memory.Memory.cache", None):
            self.send()
        self.assertLess(len(CALLS), 10)

    def test_receiver_of_post_send_fails(self):
        self.connect(post_send, lambda **kwargs: 1 / 0)
        self.assertIsInstance(self.send_failing(), ZeroDivisionError)
        self.assertEqual(self.called, ["a", "a"])

    def test_receiver_of_send_failed_fails(self):
        self.connect(send_failed, lambda **kwargs: 1 / 0)
        self.script(a=[unreachable] * 1000, b=[unreachable] * 1000)
        self.assertIs(self.send_failing().problem, Problem.UNREACHABLE)
        # As above, and the mail about the receiver each time.
        self.assertLess(len(CALLS), 50)


def unreachable(message: Any) -> Any:
    return fails(Problem.UNREACHABLE)


class RoutedTests(FailoverTestCase):
    def routed(self, **options: Any) -> None:
        self.use_mailers(
            default={
                "BACKEND": "anymail.backends.routed.EmailBackend",
                "OPTIONS": {
                    "choose": f"{__name__}.choose",
                    "duplicates": "avoid",
                    **options,
                },
            }
        )

    def test_choose(self):
        self.routed()
        mailers["default"].send_messages(
            [make_message(subject="1"), make_message(subject="2"), make_message(subject="1")]
        )
        self.assertEqual(Counter(self.called), {"a": 2, "b": 1})

    def test_chooses_nothing(self):
        self.routed()
        with self.assertRaisesMessage(TypeError, "choose"):
            mailers["default"].send_messages([make_message(subject="3")])

    def test_options(self):
        for value in (None, "no.such.function", "no_dots", 7):
            self.routed(choose=value)
            with (
                self.subTest(choose=value),
                self.assertRaisesMessage(ImproperlyConfigured, "choose"),
            ):
                mailers["default"]


class SmtpTests(FailoverTestCase):
    """Django's own backend as a mailer."""

    mailers = {
        "default": failover("smtp", "b"),
        "smtp": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": 1},
        },
    }

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[bytes] = []
        self.error: Exception | None = None
        self.fails_to_open = False
        case = self

        self.timeouts: list[float | None] = []

        class Connection:
            def __init__(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> None:
                case.timeouts.append(timeout)
                if case.error is not None and case.fails_to_open:
                    raise case.error

            def sendmail(self, from_addr: str, to_addrs: list[str], data: bytes, **kw: Any) -> None:
                if case.error is not None:
                    raise case.error
                case.sent.append(data)

            def quit(self) -> None:
                pass

        patcher = patch("smtplib.SMTP", Connection)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_sent(self):
        esp_names = []
        self.connect(post_send, lambda esp_name, **kwargs: esp_names.append(esp_name))
        status = self.send()
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.mailer, "smtp")
        self.assertIn(f"Message-ID: {status.message_id}".encode(), self.sent[0])
        self.assertEqual(self.signals, [("pre_send",), ("post_send", "smtp")])
        self.assertEqual(esp_names, ["SMTP"])

    def test_own_message_id(self):
        status = self.send(make_message(headers={"Message-Id": "<own@example.com>"}))
        self.assertEqual(status.message_id, "<own@example.com>")

    def test_refused(self):
        self.error = smtplib.SMTPDataError(554, b"no")
        error = self.send_failing()
        self.assertIsInstance(error, AnymailAPIError)
        self.assertIs(error.problem, Problem.MESSAGE)
        self.assertIs(error.__cause__, self.error)

    def test_moves_on(self):
        for error, opening, problem in [
            (ConnectionRefusedError("refused"), True, Problem.UNREACHABLE),
            (smtplib.SMTPAuthenticationError(535, b"no"), True, Problem.ACCOUNT),
            (smtplib.SMTPSenderRefused(553, b"no", "from@example.com"), False, Problem.ACCOUNT),
            (smtplib.SMTPNotSupportedError("SMTPUTF8"), False, Problem.UNSUITABLE),
        ]:
            with self.subTest(error=error):
                self.reset()
                self.error, self.fails_to_open = error, opening
                with self.logged("WARNING"):
                    status = self.send()
                self.assertEqual(status.attempts, [("smtp", problem), ("b", None)])

    def test_connection_breaks(self):
        self.error = smtplib.SMTPServerDisconnected("gone")
        error = self.send_failing()
        self.assertIs(error.problem, Problem.UNCLEAR)
        self.assertTrue(error.may_have_been_sent)

    def test_does_not_open_again(self):
        """After a connection that has broken: nothing can have been sent with another one."""
        connection = mailers["default"]
        connection.fail_silently = True
        self.error, self.fails_to_open = smtplib.SMTPServerDisconnected("gone"), False
        messages = [make_message(), make_message()]

        def begin_to_fail(signal: Any = None, **kwargs: Any) -> None:
            self.fails_to_open = True

        self.connect(send_failed, begin_to_fail)
        Pauses().pause("b", Pause(60, is_named=True))
        self.use_mailers(default=failover("smtp", pause=0), smtp=self.mailers["smtp"])
        self.assertEqual(connection.send_messages(messages), 0)
        problems = [signal[3] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(problems[0], "unclear")
        self.assertIn("unreachable", problems)

    def test_timeout(self):
        for options, timeout in [({}, 30), ({"timeout": 7}, 7)]:
            smtp = self.mailers["smtp"]
            smtp = {**smtp, "OPTIONS": {**smtp["OPTIONS"], **options}}
            self.use_mailers(default=failover("smtp"), smtp=smtp)
            self.send()
            self.assertEqual(self.timeouts.pop(), timeout)

    def test_pre_send(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            message.subject = "From the receiver"

        self.connect(pre_send, receiver)
        self.send()
        self.assertIn(b"Subject: From the receiver", self.sent[0])

    def test_canceled(self):
        def receiver(**kwargs: Any) -> None:
            raise AnymailCancelSend

        self.connect(pre_send, receiver)
        self.assertEqual(mailers["default"].send_messages([make_message()]), 0)
        self.assertEqual(self.sent, [])
