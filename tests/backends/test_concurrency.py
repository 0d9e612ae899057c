"""SEND_CONCURRENCY: the same results as one after the other, with several API calls at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import requests
from django.test import SimpleTestCase, override_settings, tag
from hypothesis import given
from hypothesis import strategies as st

from anymail.backends.postmark import EmailBackend
from anymail.exceptions import (
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
)
from anymail.message import AnymailMessage
from anymail.sending.runners import ConcurrentSending
from anymail.sending.sequential import SequentialSending
from anymail.signals import post_send, pre_send

from ..http_server import Answer, HttpServer, ReceivedRequest
from ..properties import examples
from ..utils import PACKAGE, make_message, make_response, skip_without

# What a message can meet with. The API and the signals' receivers look at its subject.
KINDS = [
    "ok",
    "ok",
    "canceled",
    "nobody",
    "unsupported",
    "not serializable",
    "refused",
    "error 500",
    "no connection",
    "pre_send fails",
    "post_send fails",
]

OK = {"To": "to@example.com", "Message": "OK", "ErrorCode": 0, "MessageID": "id"}


class Provider:
    """Stands in for requests.Session.request, and keeps track of who calls it when."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.subjects: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.under_way = 0
        self.most_under_way = 0

    def request(self, session: Any, **params: Any) -> requests.Response:
        subject = json.loads(params["data"])["Subject"]
        with self.lock:
            self.subjects.append(subject)
            self.threads.add(threading.current_thread())
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return self.answer(subject)
        finally:
            with self.lock:
                self.under_way -= 1

    def answer(self, subject: str) -> requests.Response:
        if "refused" in subject:
            text = (
                "You tried to send to recipient(s) that have been marked as inactive. Found "
                "inactive addresses: to@example.com. Inactive recipients are ones that..."
            )
            return make_response(422, json_data={"ErrorCode": 406, "Message": text})
        if "error 500" in subject:
            return make_response(500, body=b"Sorry")
        if "no connection" in subject:
            raise requests.ConnectionError("no connection")
        return make_response(json_data={**OK, "MessageID": f"id of {subject}"})


class Run:
    """What came of sending messages of the given kinds."""

    def __init__(
        self, kinds: list[str], *, fail_silently: bool, concurrency: int, breaks_off: bool = False
    ) -> None:
        self.provider = Provider()
        self.signals: dict[str, list[str]] = {"pre_send": [], "post_send": []}
        self.threads: set[threading.Thread] = set()
        self.messages = [
            self.make_message(f"{number} {kind}", kind) for number, kind in enumerate(kinds)
        ]
        backend = EmailBackend(server_token="token", send_concurrency=concurrency)
        backend.fail_silently = fail_silently
        self.result: int | None = None
        self.error: Any = None
        pre_send.connect(self.before)
        post_send.connect(self.after)
        try:
            with self.replaced, patch("anymail.sending.runners.logger"):
                self.result = self.send(backend, self.iterate(breaks_off))
        except (AnymailError, ZeroDivisionError) as error:
            self.error = error
        finally:
            pre_send.disconnect(self.before)
            post_send.disconnect(self.after)

    def send(self, backend: EmailBackend, messages: Any) -> int:
        return backend.send_messages(messages)

    @property
    def replaced(self) -> Any:
        """A context in which the provider stands in for requests."""
        return patch("requests.Session.request", self.request)

    def iterate(self, breaks_off: bool) -> Iterator[AnymailMessage]:
        yield from self.messages
        if breaks_off:
            raise ZeroDivisionError("No more messages")

    @property
    def request(self) -> Any:
        provider = self.provider

        def request(session, **params):
            return provider.request(session, **params)

        return request

    def make_message(self, subject: str, kind: str) -> AnymailMessage:
        message = AnymailMessage(subject, "", "from@example.com", ["to@example.com"])
        if kind == "nobody":
            message.to = []
        elif kind == "unsupported":
            message.tags = ["one", "too many"]
        elif kind == "not serializable":
            message.metadata = {"key": object()}
        return message

    def before(self, message: Any, **kwargs: Any) -> None:
        self.signals["pre_send"].append(message.subject)
        self.threads.add(threading.current_thread())
        if "canceled" in message.subject:
            raise AnymailCancelSend
        if "pre_send fails" in message.subject:
            raise ZeroDivisionError(message.subject)

    def after(self, message: Any, status: Any, **kwargs: Any) -> None:
        self.signals["post_send"].append(message.subject)
        self.threads.add(threading.current_thread())
        assert status is message.anymail_status
        if "post_send fails" in message.subject:
            raise ZeroDivisionError(message.subject)

    def facts(self, subjects: set[str]) -> Any:
        """Return all that can be known about some of the messages."""
        return {
            "statuses": [
                (
                    status.status,
                    status.message_id,
                    str(status.recipients),
                    repr(getattr(message, "anymail_error", None)),
                )
                for message in self.messages
                if message.subject in subjects
                for status in [message.anymail_status]
            ],
            "API calls": sorted(
                subject for subject in self.provider.subjects if subject in subjects
            ),
            "signals": {
                name: [subject for subject in all_subjects if subject in subjects]
                for name, all_subjects in self.signals.items()
            },
        }


class EqualResultsTests(SimpleTestCase):
    @given(
        kinds=st.lists(st.sampled_from(KINDS), max_size=10),
        fail_silently=st.booleans(),
        concurrency=st.integers(2, 5),
        breaks_off=st.booleans(),
    )
    @examples(100)
    def test_equal_to_one_after_the_other(self, kinds, concurrency, **options):
        expected = Run(kinds, concurrency=1, **options)
        actual = Run(kinds, concurrency=concurrency, **options)

        self.assertEqual(actual.result, expected.result)
        self.assertEqual(repr(actual.error), repr(expected.error))
        # One after the other, what comes after an error is not even started.
        subjects = set(expected.signals["pre_send"])
        self.assertEqual(actual.facts(subjects), expected.facts(subjects))

        # Of the messages that had been started by then, none is left half-done.
        others = {message.subject for message in actual.messages} - subjects
        if others:
            self.assertIsNotNone(actual.error)
            self.assertLess(len(actual.provider.subjects) - len(expected.provider.subjects), 5)
        for message in actual.messages:
            if message.subject in others and message.subject in actual.provider.subjects:
                is_answered = any(
                    word in message.subject for word in ("ok", "refused", "post_send")
                )
                self.assertEqual(message.subject in actual.signals["post_send"], is_answered)
                self.assertEqual(bool(message.anymail_status.status), is_answered)
        if actual.error is not None:
            sent = {subject for subject in actual.signals["post_send"] if "refused" not in subject}
            self.assertEqual(actual.error.sent_count, len(sent))

        # In order, and nothing but the calls in other threads.
        for subjects_in_order in actual.signals.values():
            self.assertEqual(
                subjects_in_order, sorted(subjects_in_order, key=lambda s: int(s.split()[0]))
            )
        self.assertLessEqual(actual.threads, {threading.current_thread()})
        self.assertNotIn(threading.current_thread(), actual.provider.threads)
        self.assertLessEqual(actual.provider.most_under_way, concurrency)


@override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token", "SEND_CONCURRENCY": 3})
class ConcurrencyTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.barrier = threading.Barrier(3)
        self.provider = Provider()

    def request(self, session: Any, **params: Any) -> requests.Response:
        """Answer three calls at a time, and none before."""
        self.barrier.wait(10)
        return self.provider.request(session, **params)

    def send(self, *subjects: str, backend: Any = None) -> tuple[Any, list[Any]]:
        """Return the result, which can be an exception, and the messages."""
        messages = [make_message(subject=subject) for subject in subjects]

        def request(session, **params):
            return self.request(session, **params)

        with patch("requests.Session.request", request):
            try:
                return (backend or EmailBackend()).send_messages(messages), messages
            except AnymailError as error:
                return error, messages

    def test_several_at_a_time(self):
        result, messages = self.send(*"abcdef")
        self.assertEqual(result, 6)
        self.assertEqual(
            [message.anymail_status.message_id for message in messages],
            [f"id of {subject}" for subject in "abcdef"],
        )

    def test_those_under_way_are_finished_after_an_error(self):
        with self.assertNoLogs("anymail", "ERROR"):
            error, messages = self.send("error 500", "b", "c", "d", "e")
        self.assertEqual(error.email_message, messages[0])
        self.assertEqual(error.sent_count, 2)
        self.assertEqual(sorted(self.provider.subjects), ["b", "c", "error 500"])
        self.assertEqual(messages[1].anymail_status.message_id, "id of b")
        self.assertEqual(messages[2].anymail_status.message_id, "id of c")
        self.assertIsNone(messages[3].anymail_status.status)

    def test_further_errors_are_logged(self):
        with self.assertLogs("anymail.backends", "ERROR") as logged:
            error, messages = self.send("a", "error 500", "no connection")
        self.assertEqual(error.email_message, messages[1])
        self.assertEqual(error.sent_count, 1)
        self.assertEqual(len(logged.output), 1)
        self.assertIn("ConnectionError: no connection", logged.output[0])

    def test_interrupted(self):
        """By something in the thread that sends: what is under way is finished."""
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, handler)
        main_thread = threading.get_ident()
        for interrupted_at in ("in the iterable", "while it waits"):
            # Both calls have begun by then.
            self.barrier = threading.Barrier(3 if interrupted_at == "in the iterable" else 2)
            self.provider = Provider()
            messages = [make_message(subject=subject) for subject in ("a", "error 500")]
            told = []

            def iterate(messages=messages, interrupted_at=interrupted_at):
                yield from messages
                if interrupted_at == "in the iterable":
                    self.barrier.wait(10)
                    raise KeyboardInterrupt

            def request(session, interrupted_at=interrupted_at, **params):
                self.barrier.wait(10)
                if interrupted_at == "while it waits" and "error" not in params["data"]:
                    signal.pthread_kill(main_thread, signal.SIGINT)
                    time.sleep(0.05)
                return self.provider.request(session, **params)

            def tell(message, told=told, **kwargs):
                told.append(message.subject)

            post_send.connect(tell)
            self.addCleanup(post_send.disconnect, tell)
            with (
                self.subTest(interrupted_at),
                patch("requests.Session.request", request),
                self.assertLogs("anymail.backends", "ERROR") as logged,
                self.assertRaises(KeyboardInterrupt) as caught,
            ):
                EmailBackend().send_messages(iterate())
            self.assertEqual(messages[0].anymail_status.message_id, "id of a")
            self.assertEqual(told, ["a"])
            self.assertEqual(caught.exception.sent_count, 1)
            self.assertIn("API response 500", logged.output[0])

    def test_no_more_threads(self):
        def submit(executor, *args):
            if self.provider.threads or executor._threads:
                raise RuntimeError("can't start new thread")
            return real_submit(executor, *args)

        real_submit = ThreadPoolExecutor.submit
        self.barrier = threading.Barrier(1)
        with patch.object(ThreadPoolExecutor, "submit", submit):
            error, messages = self.send("a", "b")
        self.assertIsInstance(error, AnymailError)
        self.assertIn("RuntimeError: can't start new thread", str(error))
        self.assertEqual((error.email_message, error.sent_count), (messages[1], 1))
        self.assertEqual(messages[0].anymail_status.message_id, "id of a")
        self.assertEqual(self.provider.subjects, ["a"])

    @tag("exhaustive")
    def test_interpreter_shuts_down(self):
        script = """
            import threading, time
            from django.conf import settings
            settings.configure(ANYMAIL={"SEND_CONCURRENCY": 2})
            from anymail.backends.postmark import EmailBackend
            from anymail.exceptions import AnymailError
            from anymail.message import AnymailMessage

            def send():
                threading.main_thread().join()
                time.sleep(0.2)
                message = AnymailMessage("", "", "from@example.com", ["to@example.com"])
                try:
                    EmailBackend(server_token="token").send_messages([message])
                except AnymailError as error:
                    print(error)

            threading.Thread(target=send).start()
        """
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("RuntimeError: cannot schedule new futures", process.stdout, process.stderr)

    def test_same_message_several_times(self):
        message = make_message()
        statuses = []

        def keep(status, **kwargs):
            statuses.append(status)

        post_send.connect(keep)
        self.addCleanup(post_send.disconnect, keep)

        def request(session, **params):
            return self.request(session, **params)

        with patch("requests.Session.request", request):
            self.assertEqual(EmailBackend().send_messages([message] * 3), 3)
        self.assertEqual(len({id(status) for status in statuses}), 3)
        self.assertTrue(all(status.status == {"sent"} for status in statuses))
        self.assertIs(message.anymail_status, statuses[2])

    def test_context_of_the_caller(self):
        """Such as what instrumentation keeps there to connect what it sees."""
        from contextvars import ContextVar

        variable: ContextVar[str] = ContextVar("variable", default="not set")
        seen = []
        self.request = lambda session, **params: (
            seen.append(variable.get()) or self.provider.request(session, **params)
        )
        token = variable.set("set")
        self.send("a", "b")
        variable.reset(token)
        self.assertEqual(seen, ["set", "set"])

    def test_backend_option(self):
        self.barrier = threading.Barrier(2)
        result, _ = self.send("a", "b", "c", "d", backend=EmailBackend(send_concurrency=2))
        self.assertEqual(result, 4)
        self.assertEqual(len(self.provider.threads), 2)

    def test_invalid_setting(self):
        for value in (0, -1, 1.5, "4", None, True):
            with (
                self.subTest(value=value),
                self.assertRaisesMessage(AnymailConfigurationError, "SEND_CONCURRENCY must be"),
            ):
                EmailBackend(send_concurrency=value)

    def test_one_after_the_other_if_overridden(self):
        """Nobody knows what else such methods do."""
        threads = []

        class PostBackend(EmailBackend):
            def post_to_esp(self, payload, message):
                threads.append(threading.current_thread())
                return super().post_to_esp(payload, message)

        class SendBackend(EmailBackend):
            def _send(self, message):
                threads.append(threading.current_thread())
                return super()._send(message)

        self.barrier = threading.Barrier(1)
        for backend_class in (PostBackend, SendBackend):
            with self.subTest(backend=backend_class.__name__):
                result, _ = self.send("a", "b", "c", backend=backend_class())
                self.assertEqual(result, 3)
        self.assertEqual(set(threads), {threading.current_thread()})
        self.assertEqual(self.provider.threads, {threading.current_thread()})

    def test_one_after_the_other_has_sent_count_too(self):
        self.barrier = threading.Barrier(1)
        error, _ = self.send("a", "b", "error 500", "d", backend=EmailBackend(send_concurrency=1))
        self.assertEqual(error.sent_count, 2)

    def test_no_session(self):
        class BrokenBackend(EmailBackend):
            def create_session(self):
                raise OSError("no session")

        backend = BrokenBackend()
        backend.fail_silently = True
        self.assertEqual(backend.send_messages([make_message(), make_message()]), 0)

    def test_over_http(self):
        def answer(received: ReceivedRequest) -> Answer:
            self.barrier.wait(10)
            return Answer(body=json.dumps(OK).encode())

        with (
            patch.dict("os.environ", {"NO_PROXY": "127.0.0.1"}),
            HttpServer(answer) as server,
        ):
            backend = EmailBackend(api_url=server.url)
            messages = [make_message(subject=str(number)) for number in range(9)]
            self.assertEqual(backend.send_messages(messages), 9)
            self.assertEqual(len(server.requests), 9)
            self.assertEqual(server.connections, 3)
        self.assertEqual({m.anymail_status.message_id for m in messages}, {"id"})


@skip_without("boto3")
class AmazonSESTests(SimpleTestCase):
    def make_backend(self, **options: Any) -> Any:
        from anymail.backends.amazon_ses import EmailBackend

        session_params = {
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
            "region_name": "us-east-1",
        }
        return EmailBackend(session_params=session_params, **options)

    def test_several_at_a_time(self):
        barrier = threading.Barrier(3)
        threads = set()

        def call_api(client, operation, params):
            threads.add(threading.current_thread())
            barrier.wait(10)
            subject = params["Content"]["Raw"]["Data"].partition(b"Subject: ")[2][:1].decode()
            return {"MessageId": f"id of {subject}"}

        messages = [make_message(subject=subject) for subject in "abcdef"]
        with patch("botocore.client.BaseClient._make_api_call", call_api):
            self.assertEqual(self.make_backend(send_concurrency=3).send_messages(messages), 6)
        self.assertEqual(
            [message.anymail_status.message_id for message in messages],
            [f"id of {subject}" for subject in "abcdef"],
        )
        self.assertNotIn(threading.current_thread(), threads)

    def test_pool_is_large_enough(self):
        for options, expected in [
            ({}, 10),
            ({"send_concurrency": 20}, 20),
            ({"send_concurrency": 20, "client_params": {"config": {"max_pool_connections": 5}}}, 5),
        ]:
            with self.subTest(options=options), self.make_backend(**options) as backend:
                self.assertEqual(backend.client.meta.config.max_pool_connections, expected)

    def test_one_after_the_other_if_overridden(self):
        from anymail.backends.amazon_ses import EmailBackend

        class PostBackend(EmailBackend):
            def post_to_esp(self, payload, message):
                return super().post_to_esp(payload, message)

        backend = PostBackend(client_params={"region_name": "us-east-1"}, send_concurrency=2)
        with backend:
            self.assertIsInstance(backend._runner(), SequentialSending)
        with self.make_backend(send_concurrency=2) as backend:
            self.assertIsInstance(backend._runner(), ConcurrentSending)
