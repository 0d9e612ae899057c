from __future__ import annotations

import io
from typing import Any
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.test import override_settings

from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailAPIError, AnymailCancelSend, AnymailError, Problem
from anymail.message import AnymailRecipientStatus
from anymail.signals import pre_send

from .delivery.leaf import CALLS, LEAF, SCRIPTS, StrategyTestCase, fails, mailer_settings
from .delivery.test_strategies import failover
from .later.harness import QUEUED, later
from .utils import make_message, make_response, use_backend


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


class SendTestTests(StrategyTestCase):
    """``anymail_send_test`` sends a message and tells what became of it."""

    mailers = {
        "default": failover("a", "b"),
        "postal": {
            "BACKEND": "anymail.backends.postal.EmailBackend",
            "OPTIONS": {"api_key": "key", "api_url": "https://postal.example.com/"},
        },
        "locmem": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"},
        "broken": {"BACKEND": "anymail.backends.postmark.EmailBackend"},
    }

    def send(self, *arguments: str) -> str:
        output = io.StringIO()
        call_command("anymail_send_test", "you@example.com", *arguments, stdout=output)
        return output.getvalue()

    def test_sent(self):
        output = self.send()
        self.assertIn("Mailer 'a': took it", output)
        self.assertRegex(output, r"you@example.com: sent, id \S+")
        [(_, message)] = CALLS
        self.assertEqual(message.to, ["you@example.com"])
        self.assertEqual(message.from_email, "webmaster@localhost")

    def test_second_took_it(self):
        self.script(a=fails(Problem.ACCOUNT))
        with self.logged("WARNING"):
            output = self.send()
        self.assertIn("Mailer 'a': account\nMailer 'b': took it\n", output)

    def test_using_and_from(self):
        self.send("--using", "c", "--from", "Me <me@example.com>")
        [(alias, message)] = CALLS
        self.assertEqual((alias, message.from_email), ("c", "Me <me@example.com>"))

    def test_all_features(self):
        output = self.send("--all-features")
        [(_, message)] = CALLS
        self.assertEqual(message.tags, ["anymail-test"])
        self.assertEqual(message.metadata, {"test": "1"})
        self.assertIs(message.track_opens, True)
        self.assertEqual(len(message.attachments), 2)
        self.assertNotIn("Without", output)

    def test_features_that_are_not_supported(self):
        with patch(
            "requests.Session.request",
            return_value=make_response(
                json_data={
                    "status": "success",
                    "data": {"messages": {"you@example.com": {"id": 1, "token": "t"}}},
                }
            ),
        ) as request:
            output = self.send("--using", "postal", "--all-features")
        self.assertIn("Without metadata, which Postal does not support.", output)
        self.assertIn("you@example.com: queued, id 1", output)
        self.assertIn("<p>A test message.</p>", request.call_args.kwargs["data"])

    def test_other_backends(self):
        output = self.send("--using", "locmem", "--all-features")
        self.assertIn("Without tags, which a backend that is not Anymail's does not", output)
        self.assertIn("tells no status", output)

    def test_error(self):
        self.script(a=fails(Problem.MESSAGE))
        with self.assertRaisesMessage(CommandError, "Correct the message"):
            self.send()

    def test_later(self):
        self.addCleanup(QUEUED.clear)
        with mailer_settings({"later": later(mailer="a"), "a": LEAF}):
            output = self.send("--using", "later")
        self.assertRegex(output, r"later, id (\w+)\nIt is in the queue.*\n.* anymail_why \1\n$")

    def test_unknown_alias(self):
        with self.assertRaisesMessage(CommandError, "There is no mailer 'nonesuch'"):
            self.send("--using", "nonesuch")

    def test_broken_mailer(self):
        with self.assertRaisesMessage(CommandError, "server_token"):
            self.send("--using", "broken")

    def test_canceled(self):
        def cancel(**kwargs: Any) -> None:
            raise AnymailCancelSend

        self.connect(pre_send, cancel)
        with self.assertRaisesMessage(CommandError, "was not sent"):
            self.send()
