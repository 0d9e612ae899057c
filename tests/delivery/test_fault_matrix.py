"""Every problem, at every provider, with every way to send: who gets the message, and how often.

The sandbox plays the problems, with the provider's own errors. Nothing else is replaced but the
clock, so that nobody waits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any, ClassVar
from unittest.mock import patch
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from django.test import SimpleTestCase, tag

import anymail.delivery.memory
from anymail.delivery.mailers import mailers
from anymail.exceptions import Problem
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox, samples
from anymail.sandbox.faults import PROBLEMS
from anymail.sending.batches import NativeBatch
from anymail.signals import post_send, pre_send, send_failed

from ..utils import make_message
from .leaf import mailer_settings

TO = "to@example.com"

# The provider's answer tells of recipients although it refuses the message: so does post_send.
TELLS_OF_RECIPIENTS = {("mailjet", "message")}

Attempts = list[tuple[str, "str | None"]]


@dataclass(frozen=True)
class Expected:
    """What becomes of the message."""

    attempts: Attempts
    """(mailer, problem) of each."""
    accepted_by: tuple[str, ...] = ()
    """The mailers whose provider accepts it."""
    problem: str | None = None
    """Of the error that is raised, if there is one."""
    may_have_been_sent: bool = False


def strategy(first: str, other: str, problem: str) -> Expected:
    """Return what strategies do, if the first mailer has a problem, and there is another one."""
    if problem == "message":
        return Expected([(first, problem)], problem=problem)
    if problem == "unclear":
        return Expected([(first, problem)], (first,), problem, may_have_been_sent=True)
    if problem == "busy":  # tried once more
        return Expected([(first, problem), (first, problem), (other, None)], (other,))
    return Expected([(first, problem), (other, None)], (other,))


def retries(first: str, other: str, problem: str) -> Expected:
    """Return what a single mailer does that may repeat its call once, if it has a problem once."""
    if problem in ("busy", "unreachable"):
        return Expected([(first, problem), (first, None)], (first,))
    if problem == "unclear":
        return Expected([(first, problem)], (first,), problem, may_have_been_sent=True)
    return Expected([(first, problem)], problem=problem)


@dataclass(frozen=True)
class Way:
    """A way to send."""

    expected: Any
    mailer: Any
    """Returns the mailer's entry in MAILERS, for two mailers."""
    calls: dict[str, int]
    """How many calls have a problem, if it's not one."""


def failover(first: str, other: str) -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.failover.EmailBackend",
        "OPTIONS": {"mailers": [first, other], "duplicates": "avoid"},
    }


def weighted(first: str, other: str) -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.weighted.EmailBackend",
        # The first one gets all.
        "OPTIONS": {"mailers": {first: 1, other: 1e-300}, "duplicates": "avoid"},
    }


def repeating(first: str, other: str) -> dict[str, Any]:
    return {"BACKEND": PROVIDERS[first].backend, "OPTIONS": {"retries": 1}}


WAYS = {
    "failover": Way(strategy, failover, {"busy": 2}),
    "weighted": Way(strategy, weighted, {"busy": 2}),
    "retries": Way(retries, repeating, {}),
}


class FaultMatrixTestCase(SimpleTestCase):
    sandbox: ClassVar[Sandbox]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Those with a port of their own can be out of reach.
        cls.sandbox = Sandbox(own_ports=PROVIDERS)
        cls.sandbox.start()
        cls.addClassCleanup(cls.sandbox.stop)
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        stack.enter_context(patch("anymail.sending.waiting.time.sleep", lambda seconds: None))

    def setUp(self) -> None:
        super().setUp()
        self.signals: list[tuple[Any, ...]] = []
        self.connect(pre_send, lambda esp_name, **kw: self.signals.append(("pre_send", esp_name)))
        self.connect(
            post_send,
            lambda mailer, esp_name, **kw: self.signals.append(("post_send", esp_name)),
        )
        self.connect(
            send_failed,
            lambda esp_name, attempt, error, final, **kw: self.signals.append(
                ("send_failed", esp_name, attempt, str(error.problem), final)
            ),
        )

    def connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    def unreachable(self, provider: str, attempt: int = 1) -> Any:
        """Return a context in which an attempt to connect to a provider fails, the first or so."""
        port = urlsplit(self.sandbox.url(provider)).port
        connect = urllib3.util.connection.create_connection
        attempts = itertools.count(1)

        def create_connection(address: tuple[str, int], *args: Any, **kwargs: Any) -> Any:
            if address[1] == port and next(attempts) == attempt:
                raise ConnectionRefusedError("refused")
            return connect(address, *args, **kwargs)

        return patch("urllib3.util.connection.create_connection", create_connection)

    def send(
        self, message: Any, mailer: Any, names: Iterable[str], prepare: Any, **settings: Any
    ) -> Any:
        """Send with a mailer, and others. Returns the error, if there is one.

        ``prepare`` returns a context in which something goes wrong.
        """
        self.sandbox.clear()
        self.signals.clear()
        anymail.delivery.memory._process_cache.clear()
        with (
            mailer_settings(
                {
                    **{name: {"BACKEND": PROVIDERS[name].backend} for name in names},
                    "default": mailer,
                },
                CONNECTION_MAX_IDLE=0,  # Those that are kept need not connect.
                **self.sandbox.anymail_settings(*names),
                **settings,
            ),
            prepare(),
        ):
            try:
                sent = mailers["default"].send_messages([message])
            except Exception as error:  # noqa: BLE001 (looked at by tests)
                return error
        self.assertEqual(sent, 1)
        return None


@tag("exhaustive")
class FaultMatrixTests(FaultMatrixTestCase):
    def check(self, way: Way, first: str, problem: str) -> None:
        other = "brevo" if first == "postmark" else "postmark"
        message = make_message(
            to=[TO],
            subject="A subject that all providers take",
            body="A body that all providers take",
            alternatives=[("<p>HTML that all providers take</p>", "text/html")],
        )

        def prepare() -> Any:
            if problem == "unreachable":
                return self.unreachable(first)
            self.sandbox.fail_next(problem, provider=first, calls=way.calls.get(problem, 1))
            return nullcontext()

        error = self.send(message, way.mailer(first, other), {first, other}, prepare)
        expected = way.expected(first, other, problem)
        self.assertEqual(error and error.problem, expected.problem)
        if error is not None:
            self.assertEqual(error.may_have_been_sent, expected.may_have_been_sent)
            self.assertEqual(list(error.unsent), [])
        accepted = [stored.provider for stored in self.sandbox.messages]
        self.assertEqual(accepted, list(expected.accepted_by))
        alias = partial("{0}".format) if way.mailer is not repeating else lambda name: "default"
        self.assertEqual(
            message.anymail_status.attempts,
            [(alias(name), problem and Problem(problem)) for name, problem in expected.attempts],
        )
        if error is None:
            self.assertEqual(message.anymail_status.mailer, alias(expected.accepted_by[0]))
            self.assertTrue(message.anymail_status.is_accepted)
        self.assertEqual(self.signals, list(self.expected_signals(expected.attempts)))

    def expected_signals(self, attempts: Attempts) -> Any:
        for number, (name, problem) in enumerate(attempts, 1):
            esp_name = PROVIDERS[name].esp_name
            yield "pre_send", esp_name
            if problem is None or (name, problem) in TELLS_OF_RECIPIENTS:
                yield "post_send", esp_name
            if problem is not None:
                yield "send_failed", esp_name, number, problem, number == len(attempts)


@tag("exhaustive")
class SplitBatchTests(FaultMatrixTestCase):
    """A batch that takes several calls, with a problem after the first one, and then failover.

    Who has got the message gets no other one; the others get it, where that is safe.
    """

    def check(self, first: str, problem: str) -> None:
        other = "mailgun" if first == "postmark" else "postmark"
        provider = self.sandbox.provider(first)
        message = samples.batch_message(provider)
        message.to = [samples.ANN, "bo@example.com", "cy@example.com"]
        if first == "mailersend":
            message.esp_extra = {"mailersend": {"batch_send_mode": "use-bulk-email"}}
        if first == "sparkpost":
            message.from_email = settings.DEFAULT_FROM_EMAIL  # It takes no other with a template.
        to = ["ann@example.com", "bo@example.com", "cy@example.com"]

        def prepare() -> Any:
            stack = ExitStack()
            stack.enter_context(one_recipient_per_call(first))
            stack.enter_context(self.problem_after_first_call(first, problem))
            return stack

        error = self.send(
            message,
            failover(first, other),
            {first, other},
            prepare,
            IGNORE_UNSUPPORTED_FEATURES=not provider.has_batches,
        )
        if (first, problem) in TELLS_OF_RECIPIENTS:  # So it's no problem of the others'.
            self.assertIsNone(error)
            self.assertEqual(self.accepted(first), [to[0], to[2]])
            self.assertEqual(message.anymail_status.status, {"sent", "failed"})
            return
        takes_rest = problem not in ("message", "unclear")
        reached = to[:2] if problem == "unclear" else to[:1]
        rest = to[len(reached) :]
        self.assertEqual(self.accepted(first), reached, repr(error) + str(error))
        self.assertEqual(self.accepted(other), rest if takes_rest else [], error)
        status = message.anymail_status
        known = to if takes_rest else to[:1]
        have_it = [  # MailerSend doesn't say so, but then there is an id.
            to
            for to, recipient in status.recipients.items()
            if recipient.is_accepted or recipient.message_id is not None
        ]
        self.assertEqual(sorted(have_it), known)
        tries = [(first, problem)] * (2 if problem == "busy" else 1)
        self.assertEqual(status.attempts, [*tries, *([(other, None)] if takes_rest else [])])
        if takes_rest:
            self.assertIsNone(error)
            self.assertEqual(status.mailer, other)
        else:
            self.assertEqual(error.problem, problem)
            self.assertTrue(error.may_have_been_sent)
            self.assertEqual(list(error.unsent), rest)
        one = self.sandbox.provider(first).esp_name
        failed = [
            ("send_failed", one, n, problem, not takes_rest) for n in range(1, len(tries) + 1)
        ]
        expected = [("pre_send", one), ("post_send", one), failed[0]]
        if problem == "busy":
            expected += [("pre_send", one), failed[1]]
        if takes_rest:
            two = self.sandbox.provider(other).esp_name
            expected += [("pre_send", two), ("post_send", two)]
        self.assertEqual(self.signals, expected)

    def accepted(self, name: str) -> list[str]:
        """Return who gets a message from a provider, each as often as that is."""
        return [
            copy.address
            for stored in self.sandbox.messages
            for copy in stored.recipients
            if stored.provider == name
        ]

    @contextmanager
    def problem_after_first_call(self, first: str, problem: str) -> Iterator[None]:
        provider = self.sandbox.provider(first)
        handle = provider.handle
        is_first = True

        def handle_call(request: Any) -> Any:
            nonlocal is_first
            response = handle(request)
            if is_first and problem != "unreachable":
                self.sandbox.fail_next(problem, provider=first, calls=2 if problem == "busy" else 1)
            is_first = False
            # The next call has to connect.
            return replace(response, headers={**response.headers, "Connection": "close"})

        with ExitStack() as stack:
            stack.enter_context(patch.object(provider, "handle", handle_call))
            if problem == "unreachable":
                stack.enter_context(self.unreachable(first, attempt=2))
            yield


@contextmanager
def one_recipient_per_call(name: str) -> Iterator[None]:
    """Let a provider take one recipient in each call for a batch."""
    module = import_module(PROVIDERS[name].backend.rpartition(".")[0])
    with ExitStack() as stack:
        for value in vars(module).values():
            native = getattr(value, "native_batch", None)
            if isinstance(native, NativeBatch):
                limited = native._replace(limit=1)
                stack.enter_context(patch.object(value, "native_batch", limited))
        yield


def _add_tests() -> None:
    for name, provider in PROVIDERS.items():
        if provider.missing_packages:
            continue

        def test(self: FaultMatrixTests, name: str = name) -> None:
            for way_name, way in WAYS.items():
                for problem in PROBLEMS:
                    with self.subTest(way=way_name, problem=problem):
                        self.check(way, name, problem)

        def test_split(self: SplitBatchTests, name: str = name) -> None:
            for problem in PROBLEMS:
                with self.subTest(problem=problem):
                    self.check(name, problem)

        setattr(FaultMatrixTests, f"test_{name}", test)
        setattr(SplitBatchTests, f"test_{name}", test_split)


_add_tests()
