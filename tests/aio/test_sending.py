"""Sending with ``await``: what is called where, in which order, and what callers see."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from functools import partial
from io import BytesIO
from typing import Any
from unittest.mock import patch

import django
import requests
import responses
from asgiref.sync import sync_to_async
from django.core import mail
from django.core.cache.backends.locmem import LocMemCache
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from anymail import mailers
from anymail.aio import asend_mail, asend_messages
from anymail.backends.postmark import EmailBackend
from anymail.delivery.ledger import Ledger
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailImproperlyInstalled,
    Problem,
)
from anymail.sending import async_http, suspendable, waiting
from anymail.signals import post_send, pre_send, send_failed

from ..backends.test_concurrency import KINDS, Run
from ..delivery.leaf import mailer_settings
from ..http_server import Answer, HttpServer, ReceivedRequest
from ..properties import examples
from ..utils import make_message
from .loops import LoopTestCase

OK = {"To": "to@example.com", "Message": "OK", "ErrorCode": 0, "MessageID": "id"}
POSTMARK = "anymail.backends.postmark.EmailBackend"


class OtherBackend(BaseEmailBackend):
    """Not Anymail's."""

    sent: list[tuple[EmailMessage, threading.Thread]] = []

    def __init__(self, alias: str | None = None) -> None:
        super().__init__()

    def send_messages(self, email_messages: Any) -> int:
        self.sent.extend((message, threading.current_thread()) for message in email_messages)
        return len(email_messages)


class SendingTestCase(LoopTestCase):
    """Has a provider on the loopback interface, and mailers that use it."""

    def setUp(self) -> None:
        super().setUp()
        self.server = HttpServer(self.answer)
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.answers: dict[str, Any] = {}
        self.use_mailers()

    def use_mailers(self, **anymail_settings: Any) -> None:
        override = mailer_settings(
            {
                "default": self.mailer(),
                "spare": self.mailer(server_token="spare"),
                "failover": {
                    "BACKEND": "anymail.backends.failover.EmailBackend",
                    "OPTIONS": {"mailers": ["default", "spare"], "duplicates": "avoid"},
                },
                "other": {"BACKEND": f"{__name__}.OtherBackend"},
                "routed": {
                    "BACKEND": "anymail.backends.routed.EmailBackend",
                    "OPTIONS": {"choose": f"{__name__}.choose", "duplicates": "avoid"},
                },
            },
            **anymail_settings,
        )
        override.enable()
        self.addCleanup(override.disable)

    def mailer(self, **options: Any) -> dict[str, Any]:
        options = {"api_url": f"{self.server.url}/", "server_token": "token", **options}
        return {"BACKEND": POSTMARK, "OPTIONS": options}

    def answer(self, received: ReceivedRequest) -> Answer:
        subject = json.loads(received.body)["Subject"]
        answer = self.answers.get(subject)
        if isinstance(answer, Answer):
            return answer
        if answer is not None:
            answer()
        return Answer(200, json.dumps({**OK, "MessageID": f"id of {subject}"}).encode())

    def connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    @property
    def subjects(self) -> list[str]:
        """Those of the messages that have arrived."""
        return [json.loads(request.body)["Subject"] for request in self.server.requests]


def choose(message: EmailMessage) -> str:
    CHOSEN_IN.append(threading.current_thread())
    return "default"


CHOSEN_IN: list[threading.Thread] = []


async def gather(*coroutines: Any) -> list[Any]:
    return await asyncio.gather(*coroutines)


class CallersTests(SendingTestCase):
    def test_message(self):
        message = make_message(subject="a")
        self.assertEqual(self.await_(message.asend()), 1)
        self.assertEqual(message.anymail_status.message_id, "id of a")
        self.assertEqual(message.anymail_status.mailer, "default")
        self.assertIsNone(message.anymail_error)

    def test_mailer(self):
        message = make_message(subject="a")
        self.assertEqual(self.await_(message.asend(using="spare")), 1)
        self.assertEqual(message.anymail_status.mailer, "spare")
        [request] = self.server.requests
        self.assertEqual(request.header("X-Postmark-Server-Token"), "spare")

    def test_unknown_mailer(self):
        for _ in range(2):
            with self.assertRaisesMessage(Exception, "nowhere"):
                self.await_(make_message().asend(using="nowhere"))

    def test_connection_of_the_message(self):
        message = make_message()
        connection = mailers["other"]
        vars(message)["_connection" if django.VERSION >= (6, 1) else "connection"] = connection
        OtherBackend.sent.clear()
        self.assertEqual(self.await_(message.asend()), 1)
        self.assertEqual([sent for sent, _ in OtherBackend.sent], [message])
        self.assertEqual(self.await_(message.asend(using="default")), 1)
        self.assertEqual(len(OtherBackend.sent), 1)

    def test_nobody_to_send_to(self):
        self.assertEqual(self.await_(make_message(to=[]).asend()), 0)
        self.assertEqual(self.server.requests, [])

    def test_mail(self):
        sent = self.await_(
            asend_mail(
                "Subject", "Text", "me@example.com", ["you@example.com"], html_message="<p>HTML"
            )
        )
        self.assertEqual(sent, 1)
        [request] = self.server.requests
        data = json.loads(request.body)
        self.assertEqual(
            {name: data[name] for name in ("Subject", "TextBody", "From", "To", "HtmlBody")},
            {
                "Subject": "Subject",
                "TextBody": "Text",
                "From": "me@example.com",
                "To": "you@example.com",
                "HtmlBody": "<p>HTML",
            },
        )

    def test_messages(self):
        plain = EmailMessage("plain", "", "from@example.com", ["to@example.com"])
        messages = [make_message(subject="a"), plain, make_message(subject="b")]
        self.assertEqual(self.await_(asend_messages(messages)), 3)
        self.assertEqual(
            [message.anymail_status.message_id for message in messages],
            ["id of a", "id of plain", "id of b"],
        )
        self.assertEqual(self.await_(asend_messages([])), 0)
        self.assertEqual(self.await_(asend_messages(iter(messages[:1]), using="spare")), 1)

    def test_backend(self):
        async def send() -> list[Any]:
            backend: Any = mailers["default"]
            opened = [await backend.aopen(), await backend.aopen()]
            count = await backend.asend_messages([make_message()])
            is_open = backend.is_open
            await backend.aclose()
            async with mailers["default"] as other:  # type: ignore[attr-defined]
                is_other_open = other.is_open
                count += await other.asend_messages([make_message()], concurrency=1)
            return [opened, count, is_open, backend.is_open, is_other_open, other.is_open]

        self.assertEqual(self.await_(send()), [[True, False], 2, True, False, True, False])
        self.assertEqual(self.server.connections, 1)

    def test_backend_of_several_tasks(self):
        """Who opened it doesn't close it while others send."""
        self.answers = {"first": partial(self.wait_for, 2), "second": partial(self.wait_for, 2)}
        for using in ("default", "failover"):
            with self.subTest(using):
                self.server.requests.clear()
                backend: Any = mailers[using]
                sending = (
                    backend.asend_messages([make_message(subject="first")]),
                    backend.asend_messages(
                        [
                            make_message(subject=subject)
                            for subject in ("second", "third", "fourth")
                        ],
                        concurrency=1,
                    ),
                )
                self.assertEqual(self.await_(gather(*sending)), [1, 3])
                self.assertIs(backend.open(), True)  # It was closed by the last one.
                backend.close()

    def wait_for(self, count: int) -> None:
        for _ in range(1000):
            if len(self.server.requests) >= count:
                return
            time.sleep(0.005)

    def test_concurrency(self):
        barrier = threading.Barrier(3)
        self.answers = {str(number): partial(barrier.wait, 10) for number in range(9)}
        messages = [make_message(subject=str(number)) for number in range(9)]
        self.assertEqual(self.await_(asend_messages(messages, concurrency=3)), 9)
        self.assertEqual(self.server.connections, 3)

    def test_wrong_concurrency(self):
        with self.assertRaisesMessage(ValueError, "concurrency must be at least 1, not 0"):
            self.await_(asend_messages([make_message()], concurrency=0))

    def test_many_tasks(self):
        async def send() -> int:
            return sum(await asyncio.gather(*(make_message().asend() for _ in range(20))))

        threads = threading.active_count()
        most = 0

        def count(**kwargs: Any) -> None:
            nonlocal most
            most = max(most, threading.active_count())

        self.answers = {"Subject": count}
        self.assertEqual(self.await_(send()), 20)
        # Those of the server (one for each connection), and that of Django for synchronous code
        self.assertLessEqual(most, threads + self.server.connections + 2)

    def test_from_a_thread_that_waits_for_it(self):
        """Who blocks the thread where Django runs synchronous code keeps no message from going."""

        def wait() -> int:
            coroutine = make_message().asend()
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

        async def send() -> int:
            await make_message().asend()  # Everything is imported by now.
            return await sync_to_async(wait)()

        self.assertEqual(self.await_(send()), 1)

    def test_backend_that_knows_nothing_of_it(self):
        OtherBackend.sent.clear()
        messages = [make_message(subject=subject) for subject in "ab"]
        self.assertEqual(self.await_(asend_messages(messages, using="other")), 2)
        self.assertEqual([message for message, _ in OtherBackend.sent], messages)
        self.assertNotIn(threading.current_thread(), {thread for _, thread in OtherBackend.sent})

    def test_test_run(self):
        """Where Django's test runner has replaced the project's mailers, nothing is sent."""
        locmem = "django.core.mail.backends.locmem.EmailBackend"
        if django.VERSION >= (6, 1):
            names: dict[str, Any] = {"MAILERS": {"default": {"BACKEND": locmem}}}
        else:
            names = {"EMAIL_BACKEND": locmem}
        with override_settings(**names):
            self.assertEqual(self.await_(make_message().asend()), 1)
        self.assertEqual(len(mail.outbox), 1)
        self.assertEqual(self.server.requests, [])

    def test_missing_packages(self):
        for name, module in (("greenlet", "suspendable"), ("aiohttp", "async_http")):
            path = f"anymail.sending.{module}"
            with (
                self.subTest(name),
                patch.dict("sys.modules", {name: None}),
                patch.dict("sys.modules"),
            ):
                __import__("sys").modules.pop(path)
                with self.assertRaisesMessage(AnymailImproperlyInstalled, "django-anymail[async]"):
                    self.await_(make_message().asend())
        self.assertEqual(self.await_(make_message().asend()), 1)


class SignalsTests(SendingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, str, bool]] = []
        for signal, name in (
            (pre_send, "pre_send"),
            (post_send, "post_send"),
            (send_failed, "send_failed"),
        ):
            self.connect(signal, partial(self.receive, name))
            self.connect(signal, self.areceiver(name))

    def receive(self, name: str, message: Any, **kwargs: Any) -> None:
        is_here = threading.current_thread() is threading.main_thread()
        self.told.append((f"{name} in a thread", message.subject, is_here))

    def areceiver(self, name: str) -> Any:
        async def areceive(message: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            is_here = asyncio.get_running_loop() is self.loop
            self.told.append((f"{name} awaited", message.subject, is_here))

        return areceive

    def assert_told(self, first: str, second: str) -> None:
        for told, name in ((self.told[:2], first), (self.told[2:], second)):
            self.assertCountEqual(
                told, [(f"{name} in a thread", "a", False), (f"{name} awaited", "a", True)]
            )

    def test_receivers(self):
        self.assertEqual(self.await_(make_message(subject="a").asend()), 1)
        self.assert_told("pre_send", "post_send")

    def test_failure(self):
        self.answers = {"a": Answer(500)}
        with self.assertRaises(requests.HTTPError):
            self.await_(make_message(subject="a").asend())
        self.assert_told("pre_send", "send_failed")

    def test_order(self):
        """In the order of the messages, as with SEND_CONCURRENCY, although the first is last."""
        others_are_there = threading.Event()

        def wait_for_others() -> None:
            others_are_there.wait(10)

        def note() -> None:
            if len(self.server.requests) == 4:
                others_are_there.set()

        self.answers = {"0": wait_for_others, **{str(number): note for number in range(1, 4)}}
        messages = [make_message(subject=str(number)) for number in range(4)]
        self.assertEqual(self.await_(asend_messages(messages)), 4)
        for name in ("pre_send awaited", "post_send in a thread"):
            subjects = [subject for told, subject, _ in self.told if told == name]
            self.assertEqual(subjects, ["0", "1", "2", "3"])

    def test_cancel_send(self):
        def canceling() -> Any:
            async def cancel(message: Any, **kwargs: Any) -> None:
                if message.subject == "a":
                    raise AnymailCancelSend

            return cancel

        self.connect(pre_send, canceling())
        self.connect(pre_send, canceling())  # With Django 6.0 and newer, they raise a group.
        messages = [make_message(subject=subject) for subject in "ab"]
        self.assertEqual(self.await_(asend_messages(messages)), 1)
        self.assertEqual(self.subjects, ["b"])

    def test_receiver_of_post_send_fails(self):
        async def fail(message: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError("a bug")

        self.connect(post_send, fail)
        message = make_message(subject="a")
        with (
            self.assertLogs("django.dispatch", "ERROR"),
            self.assertRaisesMessage(ZeroDivisionError, "a bug"),
        ):
            self.await_(message.asend())
        self.assertEqual(message.anymail_status.message_id, "id of a")

    def test_receiver_of_post_send_fails_for_a_refused_message(self):
        """With ``await`` and without, the message has failed."""

        def fail(message: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError("a bug")

        self.connect(post_send, fail)
        refused = Answer(422, b'{"ErrorCode": 406, "Message": "Inactive recipient"}')
        self.answers = {"a": refused}
        for concurrency in (0, 1, 2):
            backend: Any = mailers.create("default", send_concurrency=max(concurrency, 1))
            message = make_message(subject="a", idempotency_key=f"key {concurrency}")
            with (
                self.subTest(concurrency=concurrency),
                self.assertLogs("django.dispatch", "ERROR"),
                self.assertRaises(AnymailAPIError) as caught,
            ):
                if concurrency:
                    backend.send_messages([message])
                else:
                    self.await_(backend.asend_messages([message]))
            self.assertIs(message.anymail_error, caught.exception)
            self.assertIsNone(Ledger().get(f"key {concurrency}"))

    def test_mail_about_failures_is_not_told_of(self):
        """A receiver of send_failed that sends mail, which fails, too, is not called for that."""

        async def tell_somebody(message: Any, **kwargs: Any) -> None:
            with self.assertRaises(requests.HTTPError):
                await make_message(subject="fails, too").asend()

        self.connect(send_failed, tell_somebody)
        self.answers = {"fails": Answer(500), "fails, too": Answer(500)}
        with self.assertRaises(requests.HTTPError):
            self.await_(make_message(subject="fails").asend())
        self.assertEqual(self.subjects, ["fails", "fails, too"])


class RunInLoop(Run):
    """What comes of sending with asyncio, where test_concurrency does it with threads."""

    def send(self, backend: Any, messages: Any) -> int:
        loop = asyncio.new_event_loop()
        try:
            coroutine = backend.asend_messages(messages, concurrency=backend.send_concurrency)
            return loop.run_until_complete(coroutine)  # type: ignore[no-any-return]
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    @property
    def replaced(self) -> Any:
        return patch.object(async_http, "send", self.call)

    async def call(self, session: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        provider = self.provider
        subject = json.loads(request.body)["Subject"]
        provider.subjects.append(subject)
        provider.under_way += 1
        provider.most_under_way = max(provider.most_under_way, provider.under_way)
        try:
            # Not all take the same time.
            for _ in range(hash(subject) % 5):
                await asyncio.sleep(0)
            return provider.answer(subject)
        finally:
            provider.under_way -= 1


class EqualResultsTests(LoopTestCase):
    @given(
        kinds=st.lists(st.sampled_from(KINDS), max_size=10),
        fail_silently=st.booleans(),
        concurrency=st.integers(1, 5),
        breaks_off=st.booleans(),
    )
    @examples(60)
    def test_equal_to_threads(self, kinds, concurrency, **options):
        expected = Run(kinds, concurrency=1, **options)
        actual = RunInLoop(kinds, concurrency=concurrency, **options)
        self.assertEqual(actual.result, expected.result)
        self.assertEqual(repr(actual.error), repr(expected.error))
        subjects = set(expected.signals["pre_send"])
        self.assertEqual(actual.facts(subjects), expected.facts(subjects))
        self.assertLessEqual(actual.provider.most_under_way, concurrency)
        for subjects_in_order in actual.signals.values():
            self.assertEqual(
                subjects_in_order, sorted(subjects_in_order, key=lambda s: int(s.split()[0]))
            )


class InThreadsTests(SendingTestCase):
    """What knows nothing of event loops is called in threads."""

    def backend(self, backend_class: Any, **options: Any) -> Any:
        return backend_class(api_url=f"{self.server.url}/", server_token="token", **options)

    def assert_in_threads(self, threads: list[threading.Thread], backend: Any) -> None:
        messages = [make_message(subject=str(number)) for number in range(3)]
        self.assertEqual(self.await_(backend.asend_messages(messages)), 3)
        self.assertEqual(sorted(self.subjects), ["0", "1", "2"])
        self.assertEqual(len(threads), 3)
        self.assertNotIn(threading.main_thread(), threads)

    def test_overridden(self):
        threads: list[threading.Thread] = []

        def overriding(name: str) -> Any:
            def method(self: Any, *args: Any) -> Any:
                threads.append(threading.current_thread())
                return getattr(EmailBackend, name)(self, *args)

            return type("OwnBackend", (EmailBackend,), {name: method})

        for name in ("_send", "post_to_esp", "make_call"):
            with self.subTest(name):
                threads.clear()
                self.server.requests.clear()
                self.assert_in_threads(threads, self.backend(overriding(name)))
        with self.subTest("send_messages"):
            threads.clear()
            backend = self.backend(overriding("send_messages"))
            self.assertEqual(self.await_(backend.asend_messages([make_message()])), 1)
            self.assertNotIn(threading.main_thread(), threads)

    def test_own_session(self):
        threads: list[threading.Thread] = []

        class Adapter(requests.adapters.HTTPAdapter):
            def send(self, *args: Any, **kwargs: Any) -> Any:
                threads.append(threading.current_thread())
                return super().send(*args, **kwargs)

        class OwnBackend(EmailBackend):
            def create_session(self) -> requests.Session:
                session = super().create_session()
                session.mount("http://", Adapter())
                return session

        self.assert_in_threads(threads, self.backend(OwnBackend))

    @responses.activate
    def test_tools_for_tests(self):
        """They replace what requests calls, which goes on to be called."""
        responses.post("https://api.postmarkapp.com/email", json=OK)
        backend = EmailBackend(server_token="token")
        self.assertEqual(self.await_(backend.asend_messages([make_message()])), 1)
        self.assertEqual(len(responses.calls), 1)

    def test_request_that_only_requests_can_send(self):
        class OwnBackend(EmailBackend):
            def prepare_call(self, payload: Any) -> Any:
                call = super().prepare_call(payload)
                call.params["data"] = BytesIO(call.params["data"].encode())
                return call

        with patch.object(async_http, "send", side_effect=AssertionError):
            backend = self.backend(OwnBackend)
            self.assertEqual(self.await_(backend.asend_messages([make_message(subject="a")])), 1)

    def test_choose(self):
        CHOSEN_IN.clear()
        self.assertEqual(self.await_(make_message().asend(using="routed")), 1)
        self.assertNotIn(threading.current_thread(), CHOSEN_IN)
        self.assertEqual(len(CHOSEN_IN), 1)

    def test_cache(self):
        threads: set[threading.Thread] = set()

        class SlowCache(LocMemCache):
            pass

        def noting(name: str) -> Any:
            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                threads.add(threading.current_thread())
                return getattr(LocMemCache, name)(self, *args, **kwargs)

            return method

        with patch("anymail.delivery.memory.Memory.cache") as cache:
            real = LocMemCache("aio", {})
            for name in ("get", "get_many", "set", "set_many", "add", "delete"):
                getattr(cache, name).side_effect = partial(noting(name), real)
            message = make_message(idempotency_key="key")
            self.assertEqual(self.await_(message.asend(using="failover")), 1)
            self.assertEqual(self.await_(message.asend(using="failover")), 1)
        self.assertTrue(threads)
        self.assertNotIn(threading.current_thread(), threads)
        self.assertEqual(len(self.server.requests), 1)

    def test_loop_goes_on(self):
        """While a message waits to be sent again, or for its turn."""
        self.answers = {"Subject": Answer(429, b"{}", {"Retry-After": "1"})}
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if seconds:
                self.answers = {}

        backend = self.backend(EmailBackend, retries=1)
        with patch.object(waiting.asyncio, "sleep", sleep), patch("time.sleep") as blocking:
            self.assertEqual(self.await_(backend.asend_messages([make_message()])), 1)
        self.assertIn(1, map(round, slept))
        blocking.assert_not_called()

    def test_others_have_turns(self):
        """While hundreds of messages are prepared for one call, for example."""
        turns_before_call: list[int] = []

        async def call(*args: Any, **kwargs: Any) -> Any:
            turns_before_call.append(turns)
            raise requests.ConnectionError

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def send(backend: Any) -> None:
            others = asyncio.ensure_future(take_turns())
            with self.assertRaises(requests.ConnectionError):
                await backend.asend_messages([make_message() for _ in range(20)])
            others.cancel()

        for backend in (mailers.create("default", send_batch_size=500), mailers["failover"]):
            turns = 0
            turns_before_call.clear()
            with (
                patch.object(async_http, "send", call),
                patch.object(suspendable, "LONGEST_TURN", -1),
                patch("anymail.sending.runners.log"),
            ):
                self.await_(send(backend))
            self.assertGreaterEqual(turns_before_call[0], 20)

    def test_rate(self):
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if seconds:
                limiter.reset()

        backend = self.backend(EmailBackend, rate="1/minute", max_wait=100)
        limiter = backend._rate_limit.limiter.storage
        messages = [make_message(), make_message()]
        with patch.object(waiting.asyncio, "sleep", sleep), patch("time.sleep") as blocking:
            self.assertEqual(self.await_(backend.asend_messages(messages)), 2)
        self.assertEqual(len([seconds for seconds in slept if seconds > 1]), 1)
        blocking.assert_not_called()

    def test_failover(self):
        self.answers = {"Subject": Answer(503, b"{}")}

        def heal(**kwargs: Any) -> None:
            self.answers = {}

        self.connect(send_failed, heal)
        message = make_message()
        self.assertEqual(self.await_(message.asend(using="failover")), 1)
        attempts = [("default", Problem.BUSY)] * 1
        self.assertEqual(message.anymail_status.attempts[:1], attempts)
        self.assertIsNone(message.anymail_status.attempts[-1][1])
