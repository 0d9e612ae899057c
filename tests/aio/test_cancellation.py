"""A task that sends is canceled: it's known afterwards what became of each message."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine
from io import BytesIO
from typing import Any
from unittest.mock import patch

from asgiref.sync import sync_to_async

from anymail import mailers
from anymail.aio import asend_messages
from anymail.backends.postmark import EmailBackend
from anymail.delivery.ledger import Ledger
from anymail.delivery.memory import forget_in_this_process
from anymail.delivery.pauses import IN_USE, Pauses
from anymail.exceptions import AnymailAPIError, Problem
from anymail.sending import suspendable, waiting
from anymail.signals import post_send, pre_send, send_failed

from ..http_server import Answer, ReceivedRequest
from ..utils import make_message
from .test_sending import OK, SendingTestCase


class CancellationTestCase(SendingTestCase):
    def setUp(self) -> None:
        super().setUp()
        forgetting = forget_in_this_process()
        forgetting.__enter__()
        self.addCleanup(forgetting.__exit__, None, None, None)
        self.now: asyncio.Event
        self.failed: list[tuple[str, Any, bool]] = []
        self.connect(
            send_failed,
            lambda message, error, final, **kwargs: self.failed.append(
                (message.subject, error.problem, final)
            ),
        )

    def cancel_at(self, coroutine: Coroutine[Any, Any, Any], seconds: float = 10) -> None:
        """Run a coroutine, and cancel it as soon as self.now is set."""

        async def run() -> None:
            self.now = asyncio.Event()
            task = asyncio.ensure_future(coroutine)
            await asyncio.wait_for(self.now.wait(), seconds)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        self.await_(run())

    def cancel_now(self) -> None:
        """Cancel it: can be called in any thread."""
        self.loop.call_soon_threadsafe(self.now.set)

    def hold(self, subject: str) -> None:
        """Have the provider receive a message, and not answer it before the test ends."""
        end = threading.Event()
        self.addCleanup(end.set)

        def wait() -> None:
            self.cancel_now()
            end.wait(10)

        self.answers[subject] = wait

    def assert_canceled(self, message: Any, problem: Problem) -> None:
        error = message.anymail_error
        self.assertIsInstance(error, AnymailAPIError)
        self.assertTrue(error.is_canceled)
        self.assertIs(error.problem, problem)
        self.assertEqual(error.may_have_been_sent, problem is Problem.UNCLEAR)

    def assert_not_begun(self, message: Any) -> None:
        self.assertIsNone(message.anymail_status.status)
        self.assertIsNone(message.anymail_error)


class CancellationTests(CancellationTestCase):
    def test_before_the_call(self):
        async def wait(message: Any, **kwargs: Any) -> None:
            if message.subject == "b":
                self.now.set()
                await asyncio.sleep(10)

        self.connect(pre_send, wait)
        self.hold("a")
        messages = [make_message(subject=subject) for subject in "abc"]
        self.cancel_at(asend_messages(messages, concurrency=5))
        self.assert_canceled(messages[1], Problem.UNREACHABLE)
        self.assert_not_begun(messages[2])
        self.assertNotIn("b", self.subjects)

    def test_while_it_waits_for_the_answer(self):
        self.hold("a")
        message = make_message(subject="a")
        self.cancel_at(message.asend())
        self.assertEqual(self.subjects, ["a"])
        self.assert_canceled(message, Problem.UNCLEAR)
        self.assertEqual(self.failed, [("a", Problem.UNCLEAR, True)])
        self.assertIn("http://127.0.0.1", str(message.anymail_error))

    def test_while_it_connects(self):
        message = make_message(subject="a")
        with socket.create_server(("127.0.0.1", 0)) as silent:

            def accept() -> None:
                connection, _ = silent.accept()
                with connection:
                    connection.recv(1)  # TLS' first words. It says nothing.
                    self.cancel_now()
                    while connection.recv(1000):
                        pass

            thread = threading.Thread(target=accept)
            thread.start()
            url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
            backend = EmailBackend(api_url=url, server_token="token")
            self.cancel_at(backend.asend_messages([message]))
            thread.join(10)
        self.assert_canceled(message, Problem.UNREACHABLE)
        self.assertEqual(self.failed, [("a", Problem.UNREACHABLE, True)])
        # Others needn't wait for it.
        self.assertEqual(self.await_(make_message(subject="b").asend()), 1)

    def test_before_it_has_a_turn(self):
        """In the same moment in which the call is started."""
        messages = [make_message(subject=subject) for subject in "ab"]

        async def start() -> None:
            task = asyncio.ensure_future(asend_messages(iterate(), concurrency=5))
            tasks.append(task)
            with self.assertRaises(asyncio.CancelledError):
                await task

        def iterate() -> Any:
            yield messages[0]
            tasks[0].cancel()
            yield messages[1]

        tasks: list[asyncio.Future[Any]] = []
        self.await_(start())
        self.assertEqual(self.subjects, [])
        for message in messages:
            self.assert_canceled(message, Problem.UNREACHABLE)

    def test_after_the_answer(self):
        async def wait(message: Any, **kwargs: Any) -> None:
            self.now.set()
            await asyncio.sleep(10)

        self.connect(post_send, wait)
        message = make_message(subject="a", idempotency_key="key")
        self.cancel_at(message.asend())
        self.assertEqual(message.anymail_status.message_id, "id of a")
        self.assertIsNone(message.anymail_error)
        entry = Ledger().get("key")
        assert entry is not None
        self.assertEqual(entry.state, "sent")

    def test_nothing_is_logged(self):
        """The exception tells of it."""
        self.hold("b")
        with self.assertNoLogs("anymail", "WARNING"):
            self.cancel_at(asend_messages([make_message(subject=subject) for subject in "ab"]))

    def test_several_at_a_time(self):
        answered = threading.Event()

        def note(message: Any, **kwargs: Any) -> None:
            answered.set()

        self.connect(post_send, note)
        self.hold("b")

        def wait_then_hold() -> None:
            answered.wait(10)
            self.cancel_now()
            end.wait(10)

        end = threading.Event()
        self.addCleanup(end.set)
        self.answers["b"] = self.answers["c"] = wait_then_hold
        messages = [make_message(subject=subject) for subject in "abcd"]
        self.cancel_at(asend_messages(messages, concurrency=3))
        self.assertTrue(messages[0].anymail_status.is_accepted)
        for message in messages[1:3]:
            self.assert_canceled(message, Problem.UNCLEAR)

    def test_timeout(self):
        self.hold("a")
        message = make_message(subject="a")

        async def send() -> None:
            self.now = asyncio.Event()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(message.asend(), 0.3)

        self.await_(send())
        self.assert_canceled(message, Problem.UNCLEAR)

    def test_while_it_waits_to_be_sent_again(self):
        self.answers["a"] = Answer(503, b"{}", {"Retry-After": "60"})
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            if seconds:
                self.now.set()
                seconds = 10
            await real_sleep(seconds)

        message = make_message(subject="a", idempotency_key="key")
        backend = EmailBackend(
            api_url=f"{self.server.url}/", server_token="token", retries=1, max_wait=100
        )
        with patch.object(waiting.asyncio, "sleep", sleep):
            self.cancel_at(backend.asend_messages([message]))
        self.assert_canceled(message, Problem.UNREACHABLE)
        self.assertEqual(
            self.failed, [("a", Problem.BUSY, False), ("a", Problem.UNREACHABLE, True)]
        )
        self.assertIsNone(Ledger().get("key"))

    def test_in_a_thread(self):
        """What is called there is finished: its result is not lost."""

        class OwnBackend(EmailBackend):
            def post_to_esp(self, payload: Any, message: Any) -> Any:
                return super().post_to_esp(payload, message)

        go_on = threading.Event()

        def wait() -> None:
            self.cancel_now()
            # By then, the task has got to know that it's canceled.
            self.loop.call_soon_threadsafe(self.loop.call_soon, go_on.set)
            go_on.wait(10)

        self.answers["a"] = wait
        messages = [make_message(subject=subject, idempotency_key=subject) for subject in "ab"]
        backend = OwnBackend(api_url=f"{self.server.url}/", server_token="token")
        self.cancel_at(backend.asend_messages(messages))
        self.assertEqual(messages[0].anymail_status.message_id, "id of a")
        entry = Ledger().get("a")
        assert entry is not None
        self.assertEqual(entry.state, "sent")
        self.assertEqual(self.subjects, ["a"])
        self.assertIsNone(Ledger().get("b"))
        self.assert_not_begun(messages[1])

    def test_in_a_thread_by_requests(self):
        """A call that aiohttp can't make."""

        class OwnBackend(EmailBackend):
            def prepare_call(self, payload: Any) -> Any:
                call = super().prepare_call(payload)
                call.params["data"] = BytesIO(call.params["data"].encode())
                return call

        self.answers["a"] = self.cancel_now
        message = make_message(subject="a")
        backend = OwnBackend(api_url=f"{self.server.url}/", server_token="token")
        self.cancel_at(backend.asend_messages([message]))
        self.assertEqual(message.anymail_status.message_id, "id of a")

    def test_keys(self):
        self.hold("a")
        message = make_message(subject="a", idempotency_key="key")
        self.cancel_at(message.asend())
        entry = Ledger().get("key")
        assert entry is not None
        self.assertEqual(entry.state, "unclear")


class CanceledWhileTellingTests(CancellationTestCase):
    """Receivers are told of what has happened, and that is noted, however often it's canceled."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, Any, bool]] = []

    async def cancel_again(self, coroutine: Coroutine[Any, Any, Any], *at: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        for wait_until in at:
            await asyncio.wait_for(wait_until, 3)
            task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    def slow_receiver(self, signal: Any, *subjects: str) -> Callable[[], Coroutine[Any, Any, Any]]:
        """Connect a receiver. Returns a function that waits until it's called for a message."""
        called: asyncio.Queue[str] = asyncio.Queue()

        async def receive(message: Any, **kwargs: Any) -> None:
            if signal is send_failed:
                self.told.append((message.subject, kwargs["error"].problem, kwargs["final"]))
            if message.subject in subjects:
                called.put_nowait(message.subject)
                await asyncio.sleep(10)

        self.connect(signal, receive)
        return called.get

    async def under_way(self, count: int) -> None:
        for _ in range(1000):
            if len(self.server.requests) == count:
                return
            await asyncio.sleep(0.005)
        self.fail(f"{len(self.server.requests)} requests")

    def states(self, keys: str) -> list[str | None]:
        return [(entry := Ledger().get(key)) and entry.state for key in keys]

    def test_again_at_once(self):
        self.now = asyncio.Event()
        self.hold("a")
        self.hold("b")
        messages = [make_message(subject=subject, idempotency_key=subject) for subject in "ab"]
        sending = asend_messages(messages)
        turn = asyncio.sleep
        self.await_(self.cancel_again(sending, self.under_way(2), turn(0), turn(0), turn(0)))
        for message in messages:
            self.assert_canceled(message, Problem.UNCLEAR)
        self.assertEqual(self.failed, [(subject, Problem.UNCLEAR, True) for subject in "ab"])
        self.assertEqual(self.states("ab"), ["unclear", "unclear"])
        self.assertEqual(asyncio.all_tasks(self.loop), set())

    def test_again_while_receivers_are_told(self):
        self.now = asyncio.Event()
        for subject in "abc":
            self.hold(subject)
        told = self.slow_receiver(send_failed, "a", "b")
        for using in ("default", "failover"):
            with self.subTest(using):
                self.told.clear()
                self.server.requests.clear()
                messages = [make_message(subject=s, idempotency_key=using + s) for s in "abc"]
                sending = asend_messages(messages, using=using)
                self.await_(self.cancel_again(sending, self.under_way(3), told(), told()))
                for message in messages:
                    self.assert_canceled(message, Problem.UNCLEAR)
                self.assertEqual(self.told, [(s, Problem.UNCLEAR, True) for s in "abc"])
                self.assertEqual([Ledger().get(using + s).state for s in "abc"], ["unclear"] * 3)

    def test_before_another_attempt(self):
        """While receivers are told of the first one."""
        self.answers["a"] = Answer(503, b"{}", {"Retry-After": "1"})
        told = self.slow_receiver(send_failed, "a")
        options: Any = {"api_url": f"{self.server.url}/", "server_token": "token", "retries": 1}
        own = type("OwnBackend", (EmailBackend,), {"make_call": _make_call})
        for name, backend, problem in (
            ("default", EmailBackend(**options), Problem.UNREACHABLE),
            ("one by one", own(**options), Problem.UNREACHABLE),
            ("failover", mailers["failover"], Problem.BUSY),
        ):
            with self.subTest(name):
                self.told.clear()
                message = make_message(subject="a", idempotency_key="a")
                sending = backend.asend_messages([message])  # type: ignore[attr-defined]
                self.await_(self.cancel_again(sending, told(), told()))
                self.assertEqual(self.told, [("a", Problem.BUSY, False), ("a", problem, True)])
                self.assertIs(message.anymail_error.problem, problem)
                self.assertEqual(self.states("a"), [None])

    def test_call_that_is_refused_for_one_of_its_messages(self):
        """It's not made again in parts."""
        self.now = asyncio.Event()
        refused = Answer(422, b'{"ErrorCode": 300, "Message": "Invalid"}')
        held = self.answers

        def answer(received: ReceivedRequest) -> Answer:
            if "first" in received.body.decode():
                held["a"]()
            return refused

        self.server.answers[:] = [answer]
        self.hold("a")
        subjects = ["first", "second", "third", "fourth"]
        messages = [make_message(subject=subject) for subject in subjects]
        backend = mailers.create("default", send_batch_size=2)

        async def both_answered() -> None:
            await self.under_way(2)
            await asyncio.sleep(0.05)

        self.await_(self.cancel_again(backend.asend_messages(messages), both_answered()))
        self.assertEqual(len(self.server.requests), 2)
        for message, problem in zip(
            messages, [Problem.UNCLEAR] * 2 + [Problem.UNREACHABLE] * 2, strict=True
        ):
            self.assert_canceled(message, problem)

    def test_while_the_answer_to_a_shared_call_is_taken_apart(self):
        """All of it is taken."""
        backend = mailers.create("default", send_batch_size=5)
        messages = [make_message(subject=subject) for subject in "abcde"]
        self.server.answers[:] = [Answer(200, json.dumps([OK for _ in messages]).encode())]

        def parse(response: Any, payload: Any, message: Any) -> Any:
            if message is messages[2]:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
            return parse_recipient_status(response, payload, message)

        async def send() -> None:
            await backend.asend_messages(messages)  # type: ignore[attr-defined]

        parse_recipient_status = backend.parse_recipient_status  # type: ignore[attr-defined]
        with (
            patch.object(backend, "parse_recipient_status", parse),
            patch.object(suspendable, "LONGEST_TURN", -1),
            self.assertRaises(asyncio.CancelledError),
        ):
            self.await_(send())
        self.assertEqual([m.anymail_status.status for m in messages], [{"sent"}] * 5)
        self.assertEqual([m.anymail_error for m in messages], [None] * 5)

    def test_refused(self):
        """A message that was refused doesn't count as sent."""
        told = self.slow_receiver(post_send, "a")
        self.answers["a"] = Answer(422, b'{"ErrorCode": 406, "Message": "Inactive recipient"}')
        message = make_message(subject="a", idempotency_key="a")
        self.await_(self.cancel_again(message.asend(), told()))
        self.assertIsInstance(message.anymail_error, AnymailAPIError)
        self.assertEqual(self.failed, [("a", Problem.MESSAGE, True)])
        self.assertEqual(self.states("a"), [None])

    def test_synchronous_receivers(self):
        """They are called, although Django's thread is busy when the task is canceled."""
        told: list[Any] = []
        busy, go_on = threading.Event(), threading.Event()

        async def cancel() -> None:
            def block() -> None:
                busy.set()
                go_on.wait(10)

            await message.asend()  # Everything is imported by now.
            told.clear()
            blocking = asyncio.ensure_future(sync_to_async(block)())
            await asyncio.to_thread(busy.wait, 10)
            task = asyncio.ensure_future(message.asend())
            await self.under_way(2)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.sleep(0.02)
            go_on.set()
            with self.assertRaises(asyncio.CancelledError):
                await task
            await blocking

        message = make_message(subject="a")
        self.connect(post_send, lambda message, **kwargs: told.append(message.subject))
        self.await_(cancel())
        self.assertEqual(told, ["a"])


def _make_call(self: Any, call: Any) -> Any:
    return EmailBackend.make_call(self, call)


class CancellationOfStrategiesTests(CancellationTestCase):
    def test_call(self):
        """No other mailer is tried, and this one is not to blame."""
        self.hold("a")
        messages = [make_message(subject=subject, idempotency_key=subject) for subject in "ab"]
        self.cancel_at(asend_messages(messages, using="failover", concurrency=1))
        self.assert_canceled(messages[0], Problem.UNCLEAR)
        self.assertEqual(messages[0].anymail_status.attempts, [("default", Problem.UNCLEAR)])
        self.assertEqual(self.failed, [("a", Problem.UNCLEAR, True)])
        self.assertEqual(Pauses().states(["default"]), {"default": IN_USE})
        self.assertEqual(self.subjects, ["a"])
        entry = Ledger().get("a")
        assert entry is not None
        self.assertEqual(entry.state, "unclear")
        # Nobody was asked to send the other one.
        self.assertIsNone(Ledger().get("b"))
        self.assert_not_begun(messages[1])

    def test_while_another_mailer_is_to_be_tried(self):
        """The error of the first attempt is that of the message, then."""
        self.answers["a"] = Answer(503, b"{}", {"Retry-After": "60"})

        def take_long(alias: str) -> Any:
            if alias == "spare":
                self.cancel_now()
                go_on.wait(10)
            return real(alias)

        go_on = threading.Event()
        real = type(mailers).__getitem__.__get__(mailers)
        message = make_message(subject="a", idempotency_key="key")

        async def send() -> None:
            await asend_messages([message], using="failover")

        with patch("anymail.delivery.strategy._make_target") as make_target:
            make_target.side_effect = take_long
            self.loop.call_later(0.5, go_on.set)
            self.cancel_at(send())
        self.assertIs(message.anymail_error.problem, Problem.BUSY)
        self.assertEqual(self.failed, [("a", Problem.BUSY, False), ("a", Problem.BUSY, True)])
        self.assertIsNone(Ledger().get("key"))
