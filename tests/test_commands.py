from __future__ import annotations

import io
from typing import Any
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.test import override_settings

from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailAPIError, AnymailError, Problem
from anymail.message import AnymailRecipientStatus

from .delivery.leaf import LEAF, SCRIPTS, StrategyTestCase, fails, mailer_settings
from .delivery.test_strategies import failover
from .utils import make_message, use_backend


class WhyTests(StrategyTestCase):
    """``anymail_why`` tells what became of a message with a key."""

    def setUp(self) -> None:
        super().setUp()
        strategies = {"default": failover("a", "b"), "a": LEAF, "b": LEAF}
        settings = mailer_settings(strategies, DELIVERY_CACHE="default")
        settings.enable()
        self.addCleanup(settings.disable)
        Ledger().memory.cache.clear()

    def why(self, message: str = "key") -> list[str]:
        output = io.StringIO()
        call_command("anymail_why", message, stdout=output)
        return output.getvalue().splitlines()

    def send(self, **attrs: Any) -> Any:
        message = make_message(idempotency_key="key", **attrs)
        with self.assertLogs("anymail.delivery", "WARNING"):
            mailers["default"].send_messages([message])
        return message.anymail_status

    def test_sent(self):
        self.script(a=fails(Problem.BUSY, retry_after=60))
        status = self.send(to=["one@example.com", "two@example.com"])
        expected = [
            "It was sent.",
            "  Attempt 1, mailer 'a': busy",
            "  Attempt 2, mailer 'b': no problem",
            "  Recipients: 2 sent",
            f"  Message id: {status.message_id}",
        ]
        self.assertEqual(self.why(), expected)
        self.assertEqual(self.why(str(status.message_id)), expected)
        Ledger().note_alias("job", "key")
        self.assertEqual(self.why("job"), expected)

    def test_unclear(self):
        def partly(message: Any) -> Any:
            error = fails(Problem.UNCLEAR)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id-1", "queued")}
            return error

        self.script(a=fails(Problem.ACCOUNT), b=partly)
        with self.assertRaises(AnymailAPIError):
            self.send(to=["one@example.com", "two@example.com"])
        self.assertEqual(
            self.why(),
            [
                "It is unclear if it was sent. The provider's log may tell.",
                "  Attempt 1, mailer 'a': account",
                "  Attempt 2, mailer 'b': unclear",
                "  Recipients: 1 queued, 1 unknown",
                "  Message id: id-1",
            ],
        )

    def test_under_way(self):
        seen: list[list[str]] = []
        SCRIPTS["a"].append(lambda message: seen.append(self.why()))
        now = self.clock.now
        with patch("time.time", lambda: now):
            mailers["default"].send_messages([make_message(idempotency_key="key")])
        [lines] = seen
        self.assertRegex(lines[0], r"Somebody is sending it\. They have until \d\d:\d\d:\d\d \w+\.")
        self.assertEqual(lines[1:], ["  It was last given to mailer 'a'."])

    def test_died(self):
        class Killed(BaseException):
            pass

        self.script(a=Killed())
        with self.assertRaises(Killed):
            mailers["default"].send_messages([make_message(idempotency_key="key")])
        with patch("time.time", lambda: self.clock.now + 1000):
            lines = self.why()
        self.assertIn("never said what became of it", lines[0])
        self.assertIn("unclear", lines[0])

    def test_without_mailers(self):
        """Then the provider is named."""
        with use_backend("tests.delivery.leaf.EmailBackend", ANYMAIL={"DELIVERY_CACHE": "default"}):
            message = make_message(idempotency_key="key")
            message.send()
            [attempt] = [line for line in self.why() if "Attempt" in line]
        # From Django 6.1 on, each backend has an alias.
        self.assertRegex(attempt, "^  Attempt 1, (Leaf|mailer 'default'): no problem$")

    def test_unknown(self):
        self.script(a=fails(Problem.MESSAGE))
        with self.assertRaises(AnymailError):
            mailers["default"].send_messages([make_message(idempotency_key="key")])
        for message in ("key", "other"):
            with self.assertRaisesMessage(
                CommandError, f"Nothing is known of a message {message!r}"
            ):
                self.why(message)

    def test_each_process_for_itself(self):
        with (
            override_settings(ANYMAIL={}),
            self.assertRaisesMessage(CommandError, "no DELIVERY_CACHE"),
        ):
            self.why()
