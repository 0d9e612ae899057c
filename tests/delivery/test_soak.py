"""Thousands of messages while everything goes wrong at times: none is lost, none arrives twice."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any

from django.test import SimpleTestCase, tag

import anymail.delivery.memory
from anymail import mailers
from anymail.exceptions import AnymailError
from anymail.sandbox import Sandbox
from anymail.signals import post_send, send_failed

from ..utils import make_message
from .leaf import mailer_settings

PROVIDERS = ("postmark", "sendgrid")
MESSAGES = 5000
THREADS = 4
AT_ONCE = 50
"""Messages of one send_messages()."""

SHARE_OF_FAULTS = 0.2
REFUSALS = ("message", "unsuitable", "account", "busy", "unclear")
MIN_SENT = 0.85


@tag("soak")
class SoakTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        anymail.delivery.memory._process_cache.clear()
        self.sandboxes = {name: Sandbox(own_ports=[name]) for name in PROVIDERS}
        settings: dict[str, Any] = {"CONNECTION_MAX_IDLE": 5}
        for name, sandbox in self.sandboxes.items():
            sandbox.start()
            self.addCleanup(sandbox.stop)
            settings |= sandbox.anymail_settings(name)
            for problem in REFUSALS:
                share = SHARE_OF_FAULTS / len(REFUSALS)
                sandbox.fail_next(problem, provider=name, share=share)
        leaves = {
            name: {
                "BACKEND": f"anymail.backends.{name}.EmailBackend",
                "OPTIONS": {"send_concurrency": 8},
            }
            for name in PROVIDERS
        }
        failover = {
            "BACKEND": "anymail.backends.failover.EmailBackend",
            "OPTIONS": {
                "mailers": list(PROVIDERS),
                "duplicates": "avoid",
                "pause": 0.05,
                "account_pause": 0.1,
                "max_wait": 0.5,
            },
        }
        override = mailer_settings({"default": failover, **leaves}, **settings)
        override.enable()
        self.addCleanup(override.disable)
        self.accepted: Counter[str] = Counter()
        self.errors: dict[str, Exception] = {}
        self.connect(post_send, self.note_accepted)
        self.connect(send_failed, self.note_failed)
        # Thousands of warnings that a mailer has not taken a message
        logging.getLogger("anymail.delivery").disabled = True
        self.addCleanup(setattr, logging.getLogger("anymail.delivery"), "disabled", False)

    def connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    def note_accepted(self, original: Any, status: Any, **kwargs: Any) -> None:
        self.accepted[original.subject] += status.is_accepted

    def note_failed(self, original: Any, error: Exception, final: bool, **kwargs: Any) -> None:
        if final:
            assert original.subject not in self.errors, "two failures are final"
            self.errors[original.subject] = error

    def send(self, number: int) -> None:
        count = MESSAGES // THREADS
        messages = [
            make_message(subject=f"{number}-{n}", from_email=f"from@{n % 7}.example.com")
            for n in range(count)
        ]
        connection: Any = mailers["default"]
        connection.fail_silently = True
        with connection:
            for start in range(0, count, AT_ONCE):
                connection.send_messages(messages[start : start + AT_ONCE])

    def break_now_and_then(self, done: threading.Event) -> None:
        number = 0
        while not done.wait(0.4):
            provider = PROVIDERS[number % len(PROVIDERS)]
            self.sandboxes[provider].fail_next("unreachable", provider=provider, seconds=0.1)
            number += 1

    def test_everything_goes_wrong(self):
        done = threading.Event()
        breaking = threading.Thread(target=self.break_now_and_then, args=(done,))
        senders = [threading.Thread(target=self.send, args=(number,)) for number in range(THREADS)]
        for thread in (breaking, *senders):
            thread.start()
        for thread in senders:
            thread.join()
        done.set()
        breaking.join()
        time.sleep(0.2)  # The last outage is over, and so the sandbox can be stopped.

        arrived = Counter(
            message.subject for sandbox in self.sandboxes.values() for message in sandbox.messages
        )
        outcomes: Counter[str] = Counter()
        for subject in (f"{n}-{m}" for n in range(THREADS) for m in range(MESSAGES // THREADS)):
            outcomes[self.outcome(subject, arrived[subject])] += 1
        self.assertEqual(sum(outcomes.values()), MESSAGES)
        self.assertGreaterEqual(outcomes["sent"], MIN_SENT * MESSAGES, outcomes)
        for outcome in ("message", "unclear"):
            self.assertGreater(outcomes[outcome], 0, outcomes)
        refused = sum(
            call.response is None or call.response.status >= 300
            for sandbox in self.sandboxes.values()
            for call in sandbox.calls
        )
        self.assertGreater(refused, SHARE_OF_FAULTS / 2 * MESSAGES, "faults were played")

    def outcome(self, subject: str, arrived: int) -> str:
        """Check what became of a message, and say it in a word."""
        error = self.errors.get(subject)
        if error is None:
            self.assertEqual((self.accepted[subject], arrived), (1, 1), f"{subject} was sent")
            return "sent"
        assert isinstance(error, AnymailError), repr(error)
        self.assertEqual(self.accepted[subject], 0, subject)
        if error.may_have_been_sent:
            self.assertEqual(error.problem, "unclear", repr(error))
            self.assertLessEqual(arrived, 1, subject)
        else:
            self.assertEqual(arrived, 0, f"{subject}: {error!r}")
        return str(error.problem)
