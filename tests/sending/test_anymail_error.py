"""``message.anymail_error`` tells why a message was not sent, whichever way that was tried."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailCancelSend, AnymailError, Problem
from anymail.message import AnymailMessage
from anymail.signals import post_send, pre_send, send_failed

from ..delivery.leaf import LEAF, EmailBackend, StrategyTestCase, fails
from ..delivery.test_strategies import failover
from ..later.harness import LaterTestCase, later
from ..utils import make_message


class ForeignBackend(BaseEmailBackend):
    """Not Anymail's."""

    def send_messages(self, email_messages: Any) -> int:
        if email_messages[0].subject == "bad":
            raise ConnectionError("gone")
        return len(email_messages)


class OldBackend(EmailBackend):
    """As packages for older releases have them: sends each message by itself."""

    def send_messages(self, email_messages: Any) -> int:
        return sum(bool(self._send(message)) for message in email_messages)


def backend(cls: type) -> dict[str, Any]:
    return {"BACKEND": f"{__name__}.{cls.__qualname__}"}


class ErrorTests(StrategyTestCase):
    mailers = {
        "both": failover("a", "b"),
        "nested": failover("both", "c"),
        "retrying": {**LEAF, "OPTIONS": {"retries": 1, "max_wait": 0.001}},
        "old": backend(OldBackend),
        "foreign": failover("not anymail's"),
        "not anymail's": backend(ForeignBackend),
    }

    def assert_told(self, using: str, message: Any = None, sent: bool = False) -> Any:
        """Send a message that has an error from before, and check that it has the right one."""
        message = message or make_message()
        message.anymail_error = ValueError("of an earlier time")
        told: list[tuple[Any, Any]] = []
        self.connect(pre_send, lambda message, **kw: told.append((message.anymail_error, None)))
        self.connect(
            send_failed, lambda message, error, **kw: told.append((message.anymail_error, error))
        )
        error = None
        try:
            mailers[using].send_messages([message])
        except Exception as raised:  # noqa: BLE001
            error = raised
        self.assertEqual(error is None, sent)
        self.assertIs(message.anymail_error, error)
        for message_error, expected in told:
            self.assertIs(message_error, expected)
        return message

    def test_each_way(self):
        for using in ("a", "both", "nested", "retrying", "old"):
            with self.subTest(using=using):
                self.reset()
                self.assert_told(using, sent=True)
                self.script(**dict.fromkeys("abc", [fails(Problem.ACCOUNT)] * 2))
                self.script(retrying=fails(Problem.ACCOUNT), old=fails(Problem.ACCOUNT))
                self.assert_told(using)
        self.assert_told("foreign", sent=True)
        self.assert_told("foreign", make_message(subject="bad"))

    def test_errors_that_were_overcome(self):
        for using in ("both", "nested", "retrying"):
            with self.subTest(using=using):
                self.reset()
                self.script(
                    a=fails(Problem.UNREACHABLE), retrying=fails(Problem.BUSY, retry_after=0)
                )
                self.assert_told(using, sent=True)

    def test_not_sent_and_no_error(self):
        def cancel(message: Any, **kwargs: Any) -> None:
            raise AnymailCancelSend

        self.assert_told("a", make_message(to=[]), sent=True)
        self.connect(pre_send, cancel)
        for using in ("a", "both"):
            self.assert_told(using, sent=True)

    def test_sent_before(self):
        for using in ("a", "both"):
            self.reset()
            for _ in range(2):
                message = make_message()
                message.idempotency_key = "key"
                self.assert_told(using, message, sent=True)

    def test_receivers_error(self):
        """It says nothing about the message."""

        def fail(**kwargs: Any) -> None:
            raise ZeroDivisionError

        self.connect(post_send, fail)
        for using in ("a", "both"):
            message = make_message()
            with self.assertLogs("django.dispatch"), self.assertRaises(ZeroDivisionError):
                mailers[using].send_messages([message])
            self.assertIsNone(message.anymail_error)

    def test_silently(self):
        messages = [make_message() for _ in range(3)]
        self.script(a=[None, fails(Problem.ACCOUNT)])
        connection = mailers["a"]
        connection.fail_silently = True
        self.assertEqual(connection.send_messages(messages), 2)
        self.assertEqual(
            [type(message.anymail_error).__name__ for message in messages],
            ["NoneType", "ScriptedError", "NoneType"],
        )

    def test_copies(self):
        """Whatever an exception holds: a message can be copied and pickled."""
        self.script(a=LockedError(threading.Lock()))
        message = self.assert_told("a", AnymailMessage("Hello", "", None, ["to@example.com"]))
        for copied in (
            copy.copy(message),
            copy.deepcopy(message),
            pickle.loads(pickle.dumps(message)),
        ):
            self.assertIsNone(copied.anymail_error)
            self.assertEqual(copied.subject, "Hello")
        self.script(a=fails(Problem.ACCOUNT))
        message = self.assert_told("a", EmailMessage("Hello", "", None, ["to@example.com"]))
        self.assertIsInstance(pickle.loads(pickle.dumps(message)).anymail_error, AnymailError)
        self.assertIsInstance(copy.deepcopy(message).anymail_error, AnymailError)


class LockedError(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("locked")
        self.lock = lock


class LaterErrorTests(LaterTestCase):
    """In the caller it's about the queue, in the worker about the message."""

    def test_later(self):
        told: list[Any] = []
        self.connect(send_failed, lambda message, error, **kw: told.append((message, error)))
        message = make_message()
        message.anymail_error = ValueError("of an earlier time")
        mailers["default"].send_messages([message])
        self.assertIsNone(message.anymail_error)
        self.script(a=fails(Problem.MESSAGE))
        with self.assertLogs("anymail.delivery", "ERROR"):
            self.work()
        [(sent, error)] = told
        self.assertIs(sent.anymail_error, error)
        self.assertIsNone(message.anymail_error)

        mailers["default"].send_messages([sent])
        self.assertEqual(self.work(), [0])

    def test_not_queued(self):
        self.use_mailers(default=later(mailer="a"))
        message = make_message(attachments=[("name", object(), "text/plain")])
        with self.assertRaises(Exception) as caught:
            mailers["default"].send_messages([message])
        self.assertIs(message.anymail_error, caught.exception)
