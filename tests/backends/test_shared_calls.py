"""SEND_BATCH_SIZE: the same results as one after the other, with several messages in a call."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import requests
from django.test import SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string
from django.views.debug import ExceptionReporter
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

import anymail.delivery.memory
from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.backends.postmark import PostmarkPayload
from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailCancelSend, AnymailError, Problem
from anymail.message import AnymailMessage
from anymail.providers import PROVIDERS
from anymail.sandbox.providers import load_provider
from anymail.sandbox.store import Store
from anymail.sandbox.wire import ApiRequest, ApiResponse
from anymail.sending.connections import _note_handover
from anymail.sending.joining import CallToShare
from anymail.sending.steps import ApiCall
from anymail.signals import post_send, pre_send, send_failed

from ..delivery.clock import Clock
from ..delivery.leaf import mailer_settings
from ..properties import examples
from ..utils import make_message, make_response, skip_without

NAMES = [
    name
    for name, provider in PROVIDERS.items()
    if getattr(import_string(provider.backend), "shared_call", None)
]

# What becomes of a message. Receivers and the provider look at its subject.
KINDS = [
    *("plain", "plain", "plain", "html", "attachment", "template", "merge", "keyed", "many"),
    *("canceled", "nobody", "unsupported", "not serializable", "invalid address", "refused"),
    *("pre_send fails", "post_send fails"),
]
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "html": {"alternatives": [("<p>Größe</p>", "text/html")], "metadata": {"number": 5}},
    "attachment": {"attachments": [("a.txt", "é", "text/plain")]},
    "merge": {
        "to": ["ann@example.com", "bo@example.com"],
        "merge_metadata": {"bo@example.com": {"a": 1}},
    },
    "many": {"to": ["ann@example.com", "bo@example.com"], "cc": ["cc@example.com"]},
    "nobody": {"to": []},
    "unsupported": {"alternatives": [("<p>1", "text/html"), ("x", "text/x-other")]},
    "invalid address": {"to": ["not an address <"]},
}
REFUSED: dict[str, dict[str, Any]] = {
    "postmark": {"to": ["inactive@example.com"]},
    "mailjet": {"esp_extra": {"Globals": {"TemplateID": "x"}}},
    "mailtrap": {"body": ""},
    "resend": {"body": ""},
}
# What becomes of the call that a message is in. The first two are about that message only.
FAULTS = [
    *("fault message", "fault unsuitable", "fault account", "fault busy", "fault 500"),
    *("fault unreachable", "fault unclear", "fault lost", "fault garbage", "fault too few"),
    *("fault too many", "fault null", "fault empty", "fault html", "fault odd"),
]
MALFORMED = {f"fault {how}" for how in ("too few", "too many", "null", "empty", "odd")}
ABOUT_ONE = {"fault message", "fault unsuitable"}

_FAULT = re.compile(r'"(\d+) (fault \w+(?: \w+)?)"')


class Server:
    """A provider of the sandbox, in place of requests' adapter, and what goes wrong with it."""

    def __init__(self, name: str) -> None:
        self.store = Store()
        self.store.suppressed.add("inactive@example.com")
        self.provider = load_provider(name, self.store)
        self.calls: list[ApiRequest] = []
        self.threads: set[threading.Thread] = set()
        self.url = f"https://{name}.example/"

    @property
    def settings(self) -> dict[str, Any]:
        return self.provider.anymail_settings(self.url + self.provider.api_path)

    @property
    def accepted(self) -> list[tuple[str, str]]:
        """The subjects and recipients of messages that it has accepted."""
        return [
            (message.subject, recipient.address)
            for message in self.store.messages
            for recipient in message.recipients
        ]

    def running(self) -> Any:
        return running({f"{self.provider.name}.example": self})

    def respond(self, request: Any, handover: Any = None) -> requests.Response:
        with nullcontext() if handover is None else handover:
            answer = self.answer(request)
        response = make_response(
            answer.status, body=answer.body, content_type=answer.content_type, url=request.url
        )
        response.headers.update(answer.headers)
        response.request = request
        return response

    def answer(self, request: Any) -> ApiResponse:
        self.threads.add(threading.current_thread())
        body = request.body if isinstance(request.body, bytes) else request.body.encode()
        path = urlsplit(request.url).path.lstrip("/")
        call = ApiRequest(request.method, path, {}, CaseInsensitiveDict(request.headers), body)
        self.calls.append(call)
        fault = fault_of(call)
        return self.provider.handle(call) if fault is None else self.fail(fault[1], call)

    def fail(self, fault: str, call: ApiRequest) -> ApiResponse:
        word = fault.partition(" ")[2]
        if word in self.provider.refusals:
            answer = self.provider.refuse(word, call, retry_after=7)
            if is_shared(call) and b'"Messages"' in answer.body:
                # That is for a call with one message.
                [error] = json.loads(answer.body)["Messages"][0]["Errors"]
                return ApiResponse.json(error, answer.status)
            return answer
        if word in ("unreachable", "unclear"):
            _note_handover(word == "unclear")
            raise requests.ConnectionError(word)
        if word == "500":
            return ApiResponse.text("Sorry", 500)
        answer = self.provider.handle(call)
        if word == "lost":
            _note_handover(True)
            raise requests.ReadTimeout("lost")
        if word == "html":
            return ApiResponse(200, b"<!doctype html><p>Welcome", "text/html")
        if word == "garbage" or not is_shared(call):
            return ApiResponse.text("garbage")
        return ApiResponse.json(changed(json.loads(answer.body), word), answer.status)


@contextmanager
def running(servers: dict[str, Server]) -> Iterator[None]:
    """Have requests reach some servers, by their hosts."""

    def send(adapter: Any, request: Any, **kwargs: Any) -> Any:
        return servers[str(urlsplit(request.url).hostname)].respond(request)

    with patch("requests.adapters.HTTPAdapter.send", send):
        yield


def fault_of(call: ApiRequest) -> tuple[int, str] | None:
    """Return the number of the message because of which a call fails, and how it does."""
    match = _FAULT.search(call.body.decode())
    return None if match is None else (int(match[1]), match[2])


def is_shared(call: ApiRequest) -> bool:
    return len(subjects_in(call)) > 1


def subjects_in(call: ApiRequest) -> list[str]:
    """Return the subjects of the messages in a call."""
    return re.findall(r'"(?:S|s)ubject": "([^"]*)"', call.body.decode())


def changed(answer: Any, how: str) -> Any:
    """Return an answer to a shared call that makes no sense."""
    if how == "null":
        return None
    if isinstance(answer, list):
        return {
            "too few": answer[:-1],
            "too many": [*answer, answer[0]],
            "empty": [],
            "odd": 5,
        }[how]
    [key] = {"responses", "data", "Messages"} & answer.keys()
    return {**answer, key: changed(answer[key], how)}


class Outcome:
    """What a message and its signals tell."""

    def __init__(self, server: Server, message: Any, signals: list[str]) -> None:
        error = getattr(message, "anymail_error", None)
        status = message.anymail_status
        self.error = error
        self.signals = signals
        self.facts = {
            "error": type(error).__name__.replace("Shared", ""),
            "problem": getattr(error, "problem", None),
            "may have been sent": getattr(error, "may_have_been_sent", None),
            "retry_after": getattr(error, "retry_after", None),
            "status": status.status,
            "recipients": {
                address: (recipient.status, recipient.message_id is None)
                for address, recipient in status.recipients.items()
            },
            "signals": signals,
        }
        self.texts = (
            str(error).partition(": ")[2][:40],
            getattr(status.esp_response, "status_code", None),
            getattr(getattr(error, "response", None), "status_code", None),
        )


class Run:
    """What came of sending messages of the given kinds."""

    def __init__(self, server: Server, kinds: Iterable[tuple[int, str]], **options: Any) -> None:
        self.server = server
        self.signals: list[tuple[str, str]] = []
        self.threads: set[threading.Thread] = set()
        self.messages = [self.message(f"{number} {kind}", kind) for number, kind in kinds]
        fail_silently = options.pop("fail_silently", False)
        anymail.delivery.memory._process_cache.clear()
        with override_settings(ANYMAIL=server.settings):
            backend = import_string(server.provider.backend)(**options)
        backend.fail_silently = fail_silently
        self.result: int | None = None
        self.error: Any = None
        receivers = {pre_send: self.before, post_send: self.after, send_failed: self.failed}
        for signal, receiver in receivers.items():
            signal.connect(receiver)
        try:
            with (
                self.replaced(),
                patch("anymail.sending.runners.logger"),
                patch("django.dispatch.dispatcher.logger"),
            ):
                self.result = self.send(backend)
        except (AnymailError, ValueError, ZeroDivisionError) as error:
            self.error = error
        finally:
            for signal, receiver in receivers.items():
                signal.disconnect(receiver)

    def replaced(self) -> Any:
        return self.server.running()

    def send(self, backend: Any) -> int:
        return backend.send_messages(self.messages)  # type: ignore[no-any-return]

    def message(self, subject: str, kind: str) -> AnymailMessage:
        name = self.server.provider.name
        attributes = REFUSED[name] if kind == "refused" else ATTRIBUTES.get(kind, {})
        message = make_message(subject=subject, **{"to": ["Ann <ann@example.com>"], **attributes})
        if kind == "template":
            message.template_id = self.server.provider.template_id
        elif kind == "keyed":
            message.idempotency_key = subject
        elif kind == "not serializable":
            message.esp_extra = {"Globals" if name == "mailjet" else "x": {"x": object()}}
        return message

    def before(self, message: Any, **kwargs: Any) -> None:
        self.note("pre_send", message)
        if "canceled" in message.subject:
            raise AnymailCancelSend
        if "pre_send fails" in message.subject:
            raise ZeroDivisionError(message.subject)

    def after(self, message: Any, status: Any, **kwargs: Any) -> None:
        self.note("post_send", message)
        assert status is message.anymail_status
        assert message.anymail_error is None
        if "post_send fails" in message.subject:
            raise ZeroDivisionError(message.subject)

    def failed(self, message: Any, error: Any, **kwargs: Any) -> None:
        self.note("send_failed", message)
        assert message.anymail_error is error

    def note(self, signal: str, message: Any) -> None:
        self.threads.add(threading.current_thread())
        self.signals.append((signal, message.subject))

    def outcome(self, message: Any) -> Outcome:
        signals = [signal for signal, subject in self.signals if subject == message.subject]
        return Outcome(self.server, message, signals)


class FakePayload:
    def shared_item(self, data: Any) -> Any:
        return data

    def get_api_endpoint(self) -> str:
        return ""


MIXTURES: dict[str, Any] = {
    "name": st.sampled_from(NAMES),
    "kinds": st.lists(st.sampled_from([*KINDS, *KINDS, *FAULTS]), min_size=1, max_size=10),
    "fail_silently": st.booleans(),
    "ignore_recipient_status": st.booleans(),
    "send_concurrency": st.sampled_from([1, 1, 3]),
    "send_batch_size": st.integers(2, 5),
}


class EqualResultsTestCase(SimpleTestCase):
    """Over random mixtures of messages, with faults in the middle."""

    run_class = Run

    def check(
        self,
        name: str,
        kinds: list[str],
        fail_silently: bool,
        ignore_recipient_status: bool,
        **options: Any,
    ) -> None:
        common = {"ignore_recipient_status": ignore_recipient_status}
        options.update(common)
        alone = {
            number: Run(Server(name), [(number, kind)], **common)
            for number, kind in enumerate(kinds)
        }
        server = Server(name)
        run = self.run_class(server, enumerate(kinds), fail_silently=fail_silently, **options)
        culprits = self.culprits(server)

        ending, accepted, count = {}, [], 0
        is_started = True
        for number, message in enumerate(run.messages):
            if not any(subject == message.subject for _, subject in run.signals):
                self.assertTrue(ending, "only after an error")
                self.assertNotIn(message.subject, dict(server.accepted))
                is_started = False
                continue
            self.assertTrue(is_started, "in order")
            actual = run.outcome(message)
            culprit = culprits.get(number, number)
            single = alone[culprit]
            expected = single.outcome(single.messages[0])
            self.assertEqual(actual.facts, expected.facts)
            # Malformed answers differ, and the texts of what Resend refuses in a batch.
            if kinds[culprit] not in MALFORMED:
                differs = (name, kinds[number]) == ("resend", "refused")
                self.assertEqual(actual.texts[differs:], expected.texts[differs:])
            if message.anymail_status.is_accepted:
                accepted.append(message.subject)
            is_sent = actual.error is None and "post_send" in actual.signals
            count += is_sent or message.anymail_status.is_accepted
            error = single.error if actual.error is None else actual.error
            if error is not None and not (fail_silently and isinstance(error, AnymailError)):
                ending[number] = error

        self.assertEqual(
            sorted(server.accepted), sorted(set(server.accepted)), "nothing accepted twice"
        )
        unclear = {
            message.subject
            for message in run.messages
            if getattr(getattr(message, "anymail_error", None), "problem", None) == "unclear"
        }
        self.assertLessEqual(set(accepted), dict(server.accepted).keys(), "nothing wrongly sent")
        self.assertLessEqual(dict(server.accepted).keys(), {*accepted, *unclear}, "nothing lost")
        if ending:
            first = ending[min(ending)]
            self.assertEqual(type(run.error), type(first))
            self.assertEqual(run.error.sent_count, count)
            if isinstance(first, AnymailError):
                self.assertIs(run.error, first)
        else:
            self.assertIsNone(run.error)
            self.assertEqual(run.result, count)
        self.check_order(run, fail_silently)

    def culprits(self, server: Server) -> dict[int, int]:
        """Return, for messages whose call has failed, because of which message it has."""
        result = {}
        for call in server.calls:
            fault = fault_of(call)
            for subject in subjects_in(call) if fault else ():
                number = int(subject.split()[0])
                if fault[1] in ABOUT_ONE and number != fault[0]:
                    result.pop(number, None)
                else:
                    result[number] = fault[0]
        return result

    def check_order(self, run: Run, fail_silently: bool) -> None:
        for names in (("pre_send",), ("post_send", "send_failed")):
            numbers = [int(subject.split()[0]) for name, subject in run.signals if name in names]
            self.assertEqual(numbers, sorted(numbers))
        if self.run_class is Run:
            self.assertLessEqual(run.threads, {threading.current_thread()})


class EqualResultsTests(EqualResultsTestCase):
    @tag("exhaustive")
    @given(**MIXTURES)
    @examples(150)
    def test_many_mixtures(self, name, kinds, **options):
        self.check(name, kinds, **options)

    @given(**MIXTURES)
    @examples(20)
    def test_mixtures(self, name, kinds, **options):
        self.check(name, kinds, **options)


class SharedCallTestCase(SimpleTestCase):
    def run_with(self, name: str, *kinds: str, **options: Any) -> Run:
        return Run(Server(name), enumerate(kinds), **{"send_batch_size": 500, **options})

    def calls(self, run: Run) -> list[list[int]]:
        """Return the numbers of the messages in each call."""
        return [
            [int(subject.split()[0]) for subject in subjects_in(call)] for call in run.server.calls
        ]


class WhoSharesTests(SharedCallTestCase):
    """Which messages share a call, and which need one of their own."""

    def test_which(self):
        kinds = ("plain", "plain", "KIND", "plain", "html", "many")
        shared = {
            "attachment": {"postmark", "mailtrap", "mailjet"},
            "template": {"mailtrap", "mailjet"},
            "keyed": {"postmark", "mailtrap", "mailjet"},
            "merge": set(),
        }
        for name, (kind, sharing) in itertools.product(NAMES, shared.items()):
            with self.subTest(name=name, kind=kind):
                if (name, kind) == ("resend", "template"):
                    continue  # It has none.
                run = self.run_with(
                    name,
                    *(kind if item == "KIND" else item for item in kinds),
                    fail_silently=kind == "template",  # which some refuse, with a subject
                )
                self.assertIsNone(run.error)
                calls = [[0, 1, 2, 3, 4, 5]] if name in sharing else [[0, 1], [2], [3, 4, 5]]
                # What a merge has in common for all recipients, such as the subject, is there once.
                self.assertEqual([sorted(set(call)) for call in self.calls(run)], calls)

    def test_providers(self):
        self.assertEqual(set(NAMES), {"mailjet", "mailtrap", "postmark", "resend"})

    def test_differences(self):
        """What a call has for all of its messages must be the same for them."""
        for name, *extras in (
            ("postmark", {"server_token": "POSTMARK_API_TEST"}, {"MessageStream": "broadcast"}),
            (
                "mailjet",
                {"SandboxMode": True},
                {"Messages": [{"To": [{"Email": "a@example.com"}]}]},
            ),
            ("resend", {"attachments": [{"content": "YQ==", "filename": "a.txt"}]}),
        ):
            for extra in extras:
                with self.subTest(name=name, extra=extra):
                    run = self.sent_with(name, [{}, {}, extra, {}, {}])
                    self.assertIsNone(run.error)
                    self.assertEqual(self.calls(run), [[0, 1], [2], [3, 4]])
        run = self.sent_with("postmark", [{}, *[{"MessageStream": "broadcast"}] * 2, {}])
        self.assertEqual(self.calls(run), [[0], [1, 2], [3]])
        run = self.sent_with("mailtrap", [{"category": "a"}, {}, {"html": "<p>"}])
        self.assertEqual(self.calls(run), [[0, 1, 2]])

    def sent_with(self, name: str, extras: list[dict[str, Any]]) -> Run:
        class Sent(Run):
            def message(self, subject: str, kind: str) -> AnymailMessage:
                message = super().message(subject, kind)
                message.esp_extra = extras[int(kind)]
                return message

        kinds = [(number, str(number)) for number in range(len(extras))]
        return Sent(Server(name), kinds, send_batch_size=500)

    def test_bulk_api(self):
        run = self.run_with("postmark", "plain", "plain", use_bulk_api=True)
        self.assertEqual((run.result, self.calls(run)), (2, [[0], [1]]))

    def test_sandbox_of_mailtrap(self):
        run = self.run_with("mailtrap", *["plain"] * 3, sandbox_id=123)
        self.assertEqual((run.result, self.calls(run)), (3, [[0, 1, 2]]))
        self.assertEqual(run.server.calls[0].path, "api/batch/123")

    def test_overridden(self):
        """Subclasses' own ways to make a call are kept."""

        class Payload(PostmarkPayload):
            def get_api_endpoint(self) -> str:
                return "email?x=y"

        class Backend(PostmarkBackend):
            def build_message_payload(self, message: Any, defaults: Any) -> Any:
                return Payload(message, defaults, self)

        class OtherBackend(PostmarkBackend):
            def prepare_call(self, payload: Any) -> Any:
                call = super().prepare_call(payload)
                call.params["headers"]["X-To"] = payload.message.to[0]
                return call

        class OldBackend(PostmarkBackend):
            def post_to_esp(self, payload: Any, message: Any) -> Any:
                return super().post_to_esp(payload, message)

        for backend in (Backend, OtherBackend, OldBackend):
            messages = [make_message(to=[f"{number}@example.com"]) for number in range(2)]
            server = Server("postmark")
            with server.running():
                connection = backend(
                    server_token=server.settings["POSTMARK_SERVER_TOKEN"],
                    api_url=server.url,
                    send_batch_size=5,
                )
                self.assertEqual(connection.send_messages(messages), 2)
            self.assertEqual(len(server.calls), 2)


class LimitTests(SharedCallTestCase):
    def test_count(self):
        for name in NAMES:
            backend: Any = import_string(PROVIDERS[name].backend)
            with (
                self.subTest(name=name),
                patch.object(backend, "shared_call", backend.shared_call._replace(limit=3)),
            ):
                run = self.run_with(name, *["plain"] * 8)
                self.assertEqual(self.calls(run), [[0, 1, 2], [3, 4, 5], [6, 7]])
                run = self.run_with(name, *["plain"] * 3, send_batch_size=2)
                self.assertEqual(self.calls(run), [[0, 1], [2]])
                run = self.run_with(name, *["plain"] * 3, send_batch_size=1)
                self.assertEqual(self.calls(run), [[0], [1], [2]])
        limits = {name: import_string(PROVIDERS[name].backend).shared_call.limit for name in NAMES}
        self.assertEqual(limits, {"postmark": 500, "resend": 100, "mailtrap": 500, "mailjet": 50})

    def test_bytes(self):
        """The body of a call has no more than is allowed."""
        for name in NAMES:
            backend: Any = import_string(PROVIDERS[name].backend)
            sizes = [len(call.body) for call in self.run_with(name, *["html"] * 4).server.calls]
            for max_bytes, calls in (
                (sizes[0], [[0, 1, 2, 3]]),
                (sizes[0] - 1, [[0, 1, 2], [3]]),
                (1, [[0], [1], [2], [3]]),
            ):
                changed = backend.shared_call._replace(max_bytes=max_bytes)
                with self.subTest(name=name), patch.object(backend, "shared_call", changed):
                    run = self.run_with(name, *["html"] * 4)
                    self.assertEqual(self.calls(run), calls)

    def test_timeout(self):
        """That of a call is the shortest of its messages'."""
        for timeouts, expected in (
            ([5, 5], 5),
            ([(5, 30), 7.5], (5, 7.5)),
            ([None, 3], (3, 3)),
            ([(None, 3), (None, 2)], (None, 2)),
            ([None, None], None),
        ):
            with self.subTest(timeouts=timeouts):
                calls = [
                    CallToShare(
                        "batch", FakePayload(), ApiCall("request", data="{}", timeout=timeout)
                    )
                    for timeout in timeouts
                ]
                joined = CallToShare.join(calls, PostmarkBackend.shared_call)
                self.assertEqual(joined.params["timeout"], expected)


class AnswerTests(SharedCallTestCase):
    """Each message gets the part of the answer that is about it."""

    def test_own_part(self):
        for name in NAMES:
            with self.subTest(name=name):
                run = self.run_with(name, "plain", "refused", "many", fail_silently=True)
                self.assertEqual((run.result, self.calls(run)), (2, [[0, 1, 2]]))
                accepted, refused, many = run.messages
                response = accepted.anymail_status.esp_response
                self.assertIsInstance(response, requests.Response)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.headers["Content-Type"], "application/json")
                self.assertEqual(json.loads(response.content), response.json())
                self.assertEqual(json.loads(response.text), response.json(parse_int=int))
                self.assertIn(str(accepted.anymail_status.message_id), response.text)
                for message_id in {*many.anymail_status.message_id} - {
                    *accepted.anymail_status.message_id
                }:
                    if len(message_id) > 1:
                        self.assertNotIn(message_id, response.text)
                error: Any = refused.anymail_error
                self.assertIn(error.response.status_code, (400, 422))
                self.assertNotIn("bo@example.com", str(error))

    def test_one_is_malformed(self):
        """That says nothing about the others."""
        for name in NAMES:
            for junk in (None, 5, {}, [], "text"):
                with self.subTest(name=name, junk=junk):
                    server = Server(name)
                    handle = server.provider.handle

                    def respond(call: Any, handle: Any = handle, junk: Any = junk) -> Any:
                        answer = json.loads(handle(call).body)
                        items = answer
                        if isinstance(answer, dict):
                            [key] = {"responses", "data", "Messages"} & answer.keys()
                            items = answer[key]
                        items[1] = junk
                        return ApiResponse.json(answer)

                    server.provider.handle = respond
                    run = Run(
                        server, enumerate(["plain"] * 3), send_batch_size=5, fail_silently=True
                    )
                    self.assertEqual(run.result, 2)
                    first, second, third = (message.anymail_error for message in run.messages)
                    self.assertEqual((first, third), (None, None))
                    self.assertIs(second.problem, Problem.UNCLEAR)
                    self.assertIsNone(run.messages[1].anymail_status.status)

    def test_error_of_the_caller(self):
        """What a requests hook of the project raises, for example."""
        server = Server("postmark")

        def broken(call: Any) -> Any:
            raise ZeroDivisionError

        server.provider.handle = broken
        run = Run(server, enumerate(["plain"] * 3), send_batch_size=2)
        self.assertIsInstance(run.error, ZeroDivisionError)
        self.assertEqual([message.anymail_error for message in run.messages[:2]], [run.error] * 2)
        self.assertEqual((len(server.calls), run.error.sent_count), (1, 0))

    def test_pickled(self):
        for name in NAMES:
            run = self.run_with(name, "plain", "plain")
            response = run.messages[1].anymail_status.esp_response
            for copied in (pickle.loads(pickle.dumps(response)), copy.deepcopy(response)):
                self.assertEqual(copied.json(), response.json())
                self.assertEqual(copied.content, response.content)
                self.assertEqual(copied.status_code, 200)
            self.assertLess(len(pickle.dumps(response.json())), len(pickle.dumps(response)))

    def test_errors_of_their_own(self):
        for fault in ("account", "busy", "500", "unreachable", "unclear", "garbage", "empty"):
            with self.subTest(fault=fault):
                run = self.run_with("postmark", "plain", f"fault {fault}", "many")
                errors = [message.anymail_error for message in run.messages]
                self.assertEqual(len({id(error) for error in errors}), 3)
                self.assertIs(run.error, errors[0])
                self.assertEqual(run.error.sent_count, 0)
                for message, error in zip(run.messages, errors, strict=True):
                    self.assertIs(error.email_message, message)
                    self.assertIs(error.payload.message, message)
                    self.assertEqual(type(error), type(errors[0]))
                    self.assertEqual(type(error.__cause__), type(errors[0].__cause__))
                    self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_refused_as_a_whole(self):
        """Who is to blame is found out with few calls, and nobody else is refused."""
        for name in NAMES:
            with self.subTest(name=name):
                kinds = [*["plain"] * 20, "fault message", *["plain"] * 11]
                run = self.run_with(name, *kinds, fail_silently=True)
                self.assertEqual(run.result, 31)
                self.assertEqual(len(run.server.accepted), 31)
                self.assertEqual(len(run.server.calls), 11)
                numbers = [int(subject.split()[0]) for subject, _ in run.server.accepted]
                self.assertEqual(numbers, sorted(numbers))

    def test_refused_because_of_the_sender(self):
        """There is another one in the call, or there isn't."""

        class Sent(Run):
            def message(self, subject: str, kind: str) -> AnymailMessage:
                message = super().message(subject, "plain")
                message.from_email = kind
                return message

        for senders, sent, calls in (
            (["a@example.com", "b@unknown.example", "a@example.com"], 2, 5),
            (["b@unknown.example"] * 3, 0, 1),
        ):
            server = Server("resend")
            handle_call = server.provider.handle
            server.provider.handle = lambda call, handle=handle_call: (
                ApiResponse.json(
                    {"message": "The unknown.example domain is not verified.", "name": "x"}, 403
                )
                if b"@unknown.example" in call.body
                else handle(call)
            )
            run = Sent(server, enumerate(senders), send_batch_size=500, fail_silently=True)
            self.assertEqual((run.result, len(server.calls)), (sent, calls))
            for message, sender in zip(run.messages, senders, strict=True):
                is_refused = sender == "b@unknown.example"
                self.assertEqual(message.anymail_error is not None, is_refused)
                if is_refused:
                    self.assertTrue(message.anymail_error.about_sender)

    def test_others_content(self):
        """An answer to the whole call can repeat any of its messages."""

        class Sent(Run):
            def message(self, subject: str, kind: str) -> AnymailMessage:
                return make_message(subject=subject, body=f"secret of number {kind} ")

        for status in (200, 500):
            server = Server("postmark")
            server.provider.handle = lambda call, status=status: ApiResponse.json(
                {"Message": call.body.decode()}, status
            )
            run = Sent(server, [(n, str(n)) for n in range(3)], send_batch_size=500)
            for message in run.messages:
                self.assertIn(f"response {status}", str(message.anymail_error))
                self.assertNotIn("secret of", str(message.anymail_error))
                copied = pickle.loads(pickle.dumps(message.anymail_error))
                self.assertNotIn("secret of", f"{copied} {copied!r}")
            reporter = ExceptionReporter(None, type(run.error), run.error, run.error.__traceback__)
            self.assertNotIn("secret of", reporter.get_traceback_text())


class RunnerTests(SharedCallTestCase):
    def test_threads(self):
        """There are others only if several calls are under way."""
        run = self.run_with("postmark", *["plain"] * 4, send_batch_size=2)
        self.assertEqual(run.server.threads, {threading.current_thread()})
        run = self.run_with("postmark", *["plain"] * 4, send_batch_size=2, send_concurrency=2)
        self.assertNotIn(threading.current_thread(), run.server.threads)
        self.assertEqual(sorted(self.calls(run)), [[0, 1], [2, 3]])

    def test_error_ends_the_sending(self):
        kinds = ("plain", "refused", "plain", "plain", "plain")
        run = self.run_with("postmark", *kinds, send_batch_size=3)
        self.assertIs(run.error, run.messages[1].anymail_error)
        self.assertEqual(run.error.sent_count, 2)
        self.assertEqual(self.calls(run), [[0, 1, 2]])
        self.assertIsNone(run.messages[3].anymail_status.status)
        # What was prepared before it was known is sent, too.
        run = self.run_with("postmark", "plain", "unsupported", "plain")
        self.assertEqual((run.error.sent_count, self.calls(run)), (1, [[0]]))
        self.assertEqual(
            [signal for signal, _ in run.signals],
            ["pre_send", "pre_send", "post_send", "send_failed"],
        )

    def test_interrupted(self):
        """A call that has begun is unclear; messages that were to be in one are not sent."""

        def interrupt(*args: Any) -> Any:
            raise KeyboardInterrupt

        class InPreSend(Run):
            def note(self, signal: str, message: Any) -> None:
                super().note(signal, message)
                if signal == "pre_send" and message.subject == "2 plain":
                    interrupt()

        class InAnswer(Run):
            def send(self, backend: Any) -> int:
                with patch.object(backend, "parse_recipient_status", interrupt):
                    return super().send(backend)

        in_call = Server("postmark")
        in_call.provider.handle = interrupt
        for run_class, server, problem in (
            (Run, in_call, Problem.UNCLEAR),
            (InAnswer, Server("postmark"), Problem.UNCLEAR),
            (InPreSend, Server("postmark"), Problem.UNREACHABLE),
        ):
            failures: list[Any] = []

            def failed(message: Any, error: Any, failures: Any = failures, **kwargs: Any) -> None:
                failures.append((message.subject[0], error.problem))

            send_failed.connect(failed)
            self.addCleanup(send_failed.disconnect, failed)
            with self.assertRaises(KeyboardInterrupt) as caught:
                run_class(server, enumerate(["plain"] * 3), send_batch_size=500)
            self.assertEqual(caught.exception.sent_count, 0)
            self.assertEqual(failures, [(number, problem) for number in "012"])
            self.assertEqual(len(server.calls), problem is Problem.UNCLEAR)
            self.assertEqual(len(server.accepted), 3 if run_class is InAnswer else 0)

    def test_repeated(self):
        """Messages of a call that wait to be sent again wait together."""
        clock = Clock()
        answers = [ApiResponse.json({"ErrorCode": 429, "Message": "Slow down"}, 429)] * 2
        server = Server("postmark")
        handle = server.provider.handle
        server.provider.handle = lambda call: answers.pop() if answers else handle(call)
        with patch("time.sleep", clock.sleep), patch("time.monotonic", clock):
            start = clock.now
            run = Run(
                server, enumerate(["plain"] * 30), send_batch_size=20, retries=2, max_wait=100
            )
            seconds = clock.now - start
        self.assertEqual((run.result, run.error), (30, None))
        self.assertEqual([len(call) for call in self.calls(run)], [20, 20, 20, 10])
        self.assertLess(seconds, 5)
        self.assertEqual({message.anymail_error for message in run.messages}, {None})

    @skip_without("limits")
    def test_rate(self):
        """A call costs what a call costs."""
        run = self.run_with("postmark", *["plain"] * 5, send_batch_size=3, rate="1/day", max_wait=0)
        self.assertEqual((run.error.sent_count, self.calls(run)), (3, [[0, 1, 2]]))
        self.assertIs(run.error.problem, Problem.BUSY)

        # So does each part of a call that is refused.
        server = Server("postmark")
        server.provider.takes_any_key = True
        run = Run(
            server,
            enumerate(["plain", "fault message", "plain"]),
            server_token="third",  # which counts for itself
            send_batch_size=3,
            rate="2/day",
            max_wait=0,
            fail_silently=True,
        )
        self.assertEqual(self.calls(run), [[0, 1, 2], [0]])
        problems = [getattr(m.anymail_error, "problem", None) for m in run.messages]
        self.assertEqual(problems, [None, Problem.BUSY, Problem.BUSY])

        class CountsRecipients(PostmarkBackend):
            def rate_cost(self, payload: Any) -> int:
                return len(payload.get_recipients())

        server = Server("postmark")
        backend = CountsRecipients(
            server_token="other", api_url=server.url, rate="2/day", max_wait=0, send_batch_size=5
        )
        server.provider.takes_any_key = True
        with server.running(), self.assertRaises(AnymailError) as caught:
            backend.send_messages([make_message() for _ in range(4)])
        self.assertEqual(caught.exception.sent_count, 2)

    def test_keys(self):
        """Each message has its own place in the ledger."""
        kinds = ("keyed", "refused", "keyed", "fault lost", "keyed")
        for name in ("postmark", "mailtrap", "mailjet"):
            run = self.run_with(name, *kinds[:3], fail_silently=True)
            self.assertEqual(
                [Ledger().get(f"{number} keyed").state for number in (0, 2)], ["sent", "sent"]
            )
            run = self.run_with(name, *kinds, fail_silently=True)
            self.assertEqual(self.calls(run), [[0, 1, 2, 3, 4]])
            self.assertEqual(Ledger().get("0 keyed").state, "unclear")


class StrategyTests(SharedCallTestCase):
    """With failover, only the messages that have failed move on."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = Server("postmark"), Server("mailtrap")
        self.handle = self.first.provider.handle

    def send(self) -> list[Any]:
        """Send four messages. Returns them."""
        leaves = {
            name: {"BACKEND": PROVIDERS[name].backend, "OPTIONS": {"send_batch_size": 500}}
            for name in ("postmark", "mailtrap")
        }
        failover = {
            "BACKEND": "anymail.backends.failover.EmailBackend",
            "OPTIONS": {"mailers": list(leaves), "duplicates": "avoid"},
        }
        settings = {**self.first.settings, **self.second.settings}
        messages = [make_message(subject=f"{number} plain") for number in range(4)]
        anymail.delivery.memory._process_cache.clear()
        with (
            mailer_settings({"default": failover, **leaves}, **settings),
            running({"postmark.example": self.first, "mailtrap.example": self.second}),
            self.assertLogs("anymail.delivery", "WARNING"),
        ):
            self.assertEqual(mailers["default"].send_messages(messages), 4)
        self.assertEqual({message.anymail_error for message in messages}, {None})
        self.assertEqual([len(subjects_in(call)) for call in self.first.calls], [4])
        return messages

    def test_refused(self):
        def account_problem(call: ApiRequest) -> ApiResponse:
            answer = json.loads(self.handle(call).body)
            answer[1] = {"ErrorCode": 412, "Message": "under review"}
            return ApiResponse.json(answer)

        self.first.provider.handle = account_problem
        moved = [("postmark", "account"), ("mailtrap", None)]
        sent = [("postmark", None)]
        self.assertEqual(
            [message.anymail_status.attempts for message in self.send()], [sent, moved, sent, sent]
        )
        self.assertEqual([subjects_in(call) for call in self.second.calls], [["1 plain"]])

    def test_unreachable(self):
        """They share a call there, too."""

        def unreachable(call: ApiRequest) -> ApiResponse:
            _note_handover(False)
            raise requests.ConnectionError

        self.first.provider.handle = unreachable
        for message in self.send():
            self.assertEqual(
                message.anymail_status.attempts, [("postmark", "unreachable"), ("mailtrap", None)]
            )
        self.assertEqual([len(subjects_in(call)) for call in self.second.calls], [4])
