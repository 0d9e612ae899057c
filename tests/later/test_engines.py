from __future__ import annotations

import sys
import threading
import time
from datetime import datetime, timezone
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any
from unittest import skipIf, skipUnless
from unittest.mock import patch

import django
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from anymail.exceptions import AnymailConfigurationError, AnymailLaterError, Problem
from anymail.later import engines
from anymail.later.engines import as_engine, enqueue_within, get_engine

from ..utils import skip_without

NOW = 1_900_000_000.0
TASKS_PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
HAS_TASKS = django.VERSION >= (6, 0) or (
    django.VERSION >= (5, 2) and find_spec("django_tasks") is not None
)


class OwnEngine:
    """As a project may have one."""

    taken: list[Any] = []

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self.taken.append((job, queue, at))


class EnqueueTests(SimpleTestCase):
    """What an engine does with a job, or does not, becomes an error that says what is known."""

    def setUp(self) -> None:
        super().setUp()
        OwnEngine.taken.clear()

    def failing(self, error: Exception, **attributes: Any) -> Any:
        class Failing:
            def enqueue(self, job: str, **kwargs: Any) -> None:
                raise error

        engine = Failing()
        vars(engine).update(attributes)
        return as_engine(engine)

    def test_taken(self):
        engine = get_engine(f"{__name__}.OwnEngine")
        for at, expected in ((None, None), (NOW - 1, None), (NOW + 60, NOW + 60)):
            with patch("time.time", lambda: NOW):
                enqueue_within(engine, 5, "job", queue="mail", at=at)
            due = None if expected is None else datetime.fromtimestamp(expected, tz=timezone.utc)
            self.assertEqual(OwnEngine.taken.pop(), ("job", "mail", due))

    def test_longest_wait(self):
        engine = get_engine(f"{__name__}.OwnEngine")
        engine.longest_wait = 10
        with patch("time.time", lambda: NOW):
            enqueue_within(engine, 5, "job", at=NOW + 60)
        self.assertEqual(OwnEngine.taken[0][2].timestamp(), NOW + 10)

    def test_refused(self):
        class Timeout(Exception):
            pass

        class OwnConnectionError(Exception):
            pass

        late = ConnectionError("lost")
        late.__cause__ = Timeout()
        refused, refused_again = OwnConnectionError(), OwnConnectionError()
        refused.__cause__ = ConnectionRefusedError()
        refused_again.__cause__ = ConnectionRefusedError()
        refused_again.__cause__.__context__ = OwnConnectionError("lost")
        for error, problem in (
            (ConnectionRefusedError(), Problem.UNREACHABLE),
            (TypeError(), Problem.UNREACHABLE),
            (TimeoutError(), Problem.UNCLEAR),
            (late, Problem.UNCLEAR),
            (ConnectionResetError(), Problem.UNCLEAR),
            (OwnConnectionError("lost"), Problem.UNCLEAR),
            (refused, Problem.UNREACHABLE),
            (refused_again, Problem.UNCLEAR),
        ):
            for may_hang in (False, True):
                with self.subTest(error), self.assertRaises(AnymailLaterError) as caught:
                    enqueue_within(self.failing(error, may_hang=may_hang), 5, "job")
                self.assertIs(caught.exception.problem, problem)
                self.assertEqual(caught.exception.may_have_been_sent, problem is Problem.UNCLEAR)
                self.assertIs(caught.exception.__cause__, error)

    def test_settings(self):
        for attributes in ({}, {"may_hang": False}, {"runs_at_once": True}):
            with self.assertRaises(ImproperlyConfigured):
                enqueue_within(self.failing(ImproperlyConfigured(), **attributes), 5, "job")

    def test_at_once(self):
        with self.assertRaises(ValueError):
            enqueue_within(self.failing(ValueError(), runs_at_once=True), 5, "job")

    def test_silent(self):
        end = threading.Event()
        self.addCleanup(end.set)

        class Silent:
            def enqueue(self, job: str, **kwargs: Any) -> None:
                end.wait(10)

        engine = as_engine(Silent())
        started = time.monotonic()
        with (
            patch.object(engines, "_hanging", threading.BoundedSemaphore(2)),
            patch.object(engines, "MAX_HANGING", 2),
        ):
            for problem in (Problem.UNCLEAR, Problem.UNCLEAR, Problem.UNREACHABLE):
                with self.assertRaises(AnymailLaterError) as caught:
                    enqueue_within(engine, 0.02, "job")
                self.assertIs(caught.exception.problem, problem)
            self.assertLess(time.monotonic() - started, 5)
            end.set()
            for thread in threading.enumerate():
                if thread.name == "anymail-enqueue":
                    thread.join()
            enqueue_within(engine, 5, "job")  # There is room again.

    def test_no_thread(self):
        with (
            patch("threading.Thread.start", side_effect=RuntimeError("can't start new thread")),
            self.assertRaises(AnymailLaterError) as caught,
        ):
            enqueue_within(get_engine(f"{__name__}.OwnEngine"), 5, "job")
        self.assertIs(caught.exception.problem, Problem.UNREACHABLE)


class GetEngineTests(SimpleTestCase):
    def test_mistakes(self):
        for name, text in (
            ("nonesuch", "There is no engine 'nonesuch'"),
            (f"{__name__}.Nonesuch", "Could not find engine"),
            (f"{__name__}.datetime", "has no method 'enqueue'"),
        ):
            with (
                self.subTest(name),
                patch(f"{__name__}.datetime", object()),
                self.assertRaisesMessage(AnymailConfigurationError, text),
            ):
                get_engine(name)

    def test_no_webhooks(self):
        engine = get_engine(f"{__name__}.OwnEngine")
        with self.assertRaisesMessage(AnymailConfigurationError, "can't carry calls of webhooks"):
            enqueue_within(engine, 5, "job", webhook=True)

    def test_webhooks(self):
        class Both(OwnEngine):
            enqueue_webhook = OwnEngine.enqueue

        self.addCleanup(OwnEngine.taken.clear)
        enqueue_within(as_engine(Both()), 5, "job", webhook=True)
        self.assertEqual(OwnEngine.taken, [("job", None, None)])

    def test_not_installed(self):
        with patch.dict("sys.modules", {"celery": None}):
            sys.modules.pop("anymail.later.celery", None)
            with self.assertRaisesMessage(AnymailConfigurationError, "django-anymail[celery]"):
                get_engine("celery")

    @skipIf(django.VERSION >= (6, 0), "Django has tasks")
    def test_no_tasks(self):
        text = "needs Django 5.2" if django.VERSION < (5, 2) else "django-anymail[tasks]"
        with (
            patch.dict("sys.modules", {"django_tasks": None}),
            self.assertRaisesMessage(AnymailConfigurationError, text),
        ):
            get_engine("tasks")


DUMMY = f"{TASKS_PACKAGE}.backends.dummy.DummyBackend"


@skipUnless(HAS_TASKS, "needs Django 6.0, or 5.2 and django-tasks")
class TasksTests(SimpleTestCase):
    def enqueued(self, tasks: dict[str, Any], **options: Any) -> Any:
        task_backends = import_module(TASKS_PACKAGE).task_backends
        alias = next(iter(tasks))
        with override_settings(TASKS=tasks):
            engine = get_engine("tasks", tasks_backend=alias)
            enqueue_within(engine, 5, "job", **options)
            [result] = task_backends[alias].results
        return result

    def test_enqueue(self):
        at = time.time() + 1000
        result = self.enqueued(
            {"default": {"BACKEND": DUMMY, "QUEUES": ["default", "mail"]}}, queue="mail", at=at
        )
        self.assertEqual(result.args, ["job"])
        self.assertEqual(result.task.module_path, "anymail.tasks.deliver")
        self.assertEqual(result.task.queue_name, "mail")
        self.assertAlmostEqual(result.task.run_after.timestamp(), at, places=3)

    def test_webhook(self):
        result = self.enqueued({"default": {"BACKEND": DUMMY}}, webhook=True)
        self.assertEqual(result.task.module_path, "anymail.tasks.handle_webhook")

    def test_naive(self):
        with override_settings(USE_TZ=False):
            result = self.enqueued({"default": {"BACKEND": DUMMY}}, at=time.time() + 1000)
        self.assertIsNone(result.task.run_after.tzinfo)

    def test_no_default(self):
        """Neither a backend nor a queue of that name."""
        result = self.enqueued({"other": {"BACKEND": DUMMY, "QUEUES": ["b", "a"]}})
        self.assertEqual((result.backend, result.task.queue_name), ("other", "a"))

    def test_any_queue(self):
        result = self.enqueued({"default": {"BACKEND": DUMMY, "QUEUES": []}}, queue="any")
        self.assertEqual(result.task.queue_name, "any")

    def test_worker_finds_it(self):
        from django.utils.module_loading import import_string

        with override_settings(TASKS={"default": {"BACKEND": DUMMY}}):
            task = import_string("anymail.tasks.deliver")
            self.assertEqual(task.module_path, "anymail.tasks.deliver")
        from ..delivery.leaf import mailer_settings

        mailers = {"default": {"BACKEND": "x", "OPTIONS": {"tasks_backend": "mail"}}}
        with mailer_settings(mailers), override_settings(TASKS={"mail": {"BACKEND": DUMMY}}):
            self.assertEqual(import_string("anymail.tasks.handle_webhook").backend, "mail")

    def test_runs(self):
        """A task calls what does the work, with the engine that it came from."""
        calls: list[Any] = []
        functions = {"deliver": f"{__name__}.received", "handle_webhook": f"{__name__}.received"}
        immediate = f"{TASKS_PACKAGE}.backends.immediate.ImmediateBackend"
        with (
            override_settings(TASKS={"now": {"BACKEND": immediate}}),
            patch.dict(engines.WORKER_FUNCTIONS, functions),
            patch.dict(globals(), received=lambda job, **kw: calls.append((job, kw))),
        ):
            engine = get_engine("tasks", tasks_backend="now")
            self.assertFalse(engine.can_wait)
            enqueue_within(engine, 5, "job")
            enqueue_within(engine, 5, "call", webhook=True)
        [(job, kwargs), (call, _)] = calls
        self.assertEqual((job, call, kwargs["redelivered"]), ("job", "call", False))
        self.assertEqual(kwargs["engine"].alias, "now")

    def test_no_such_name(self):
        import anymail.tasks

        with self.assertRaises(AttributeError):
            _ = anymail.tasks.nonesuch


def received(job: str, **kwargs: Any) -> None:
    raise AssertionError("patched")


@skip_without("celery")
class CeleryTests(SimpleTestCase):
    """With the memory transport: no broker, no worker."""

    def setUp(self) -> None:
        super().setUp()
        from celery import Celery, current_app

        before = current_app._get_current_object()
        self.addCleanup(before.set_current)
        self.app: Any = Celery("anymail-tests", broker="memory://", set_as_current=True)
        self.app.conf.broker_connection_timeout = 1
        self.engine: Any = get_engine("celery")

    def published(self, queue: str) -> Any:
        with self.app.connection_for_read() as connection:
            simple = connection.SimpleQueue(queue)
            message = simple.get(timeout=1)
            message.ack()
            simple.close()
            return message

    def test_enqueue(self):
        at = time.time() + 100
        enqueue_within(self.engine, 5, "secret-job", queue="mail", at=at)
        message = self.published("mail")
        self.assertEqual(message.headers["task"], "anymail.deliver")
        self.assertEqual(message.headers["argsrepr"], "<anymail job>")
        self.assertNotIn("secret-job", str(message.headers))
        self.assertTrue(message.headers["ignore_result"])
        eta = datetime.fromisoformat(message.headers["eta"])
        self.assertAlmostEqual(eta.timestamp(), at, places=3)
        self.assertEqual(message.payload[0], ["secret-job"])

    def test_webhook(self):
        enqueue_within(self.engine, 5, "call", queue="calls", webhook=True)
        self.assertEqual(self.published("calls").headers["task"], "anymail.handle_webhook")

    def test_eager(self):
        """Nothing is tried again, at once and for ever."""
        self.app.conf.task_always_eager = True
        engine = get_engine("celery")
        self.assertEqual((engine.can_wait, engine.may_hang), (False, False))

    def test_other_threads(self):
        """The app is that of the project, whichever thread asks for it."""
        from celery import _state

        apps: list[Any] = []
        with patch.object(_state, "_apps", {self.app}):
            thread = threading.Thread(target=lambda: apps.append(engines.celery_app()))
            thread.start()
            thread.join()
        self.assertEqual(apps, [self.app])

    def test_options(self):
        """A worker that dies, a time limit, an exception: nothing of that ends a job."""
        for name in ("anymail.deliver", "anymail.handle_webhook"):
            task = self.app.tasks[name]
            self.assertTrue(task.acks_late and task.reject_on_worker_lost and task.ignore_result)
            self.assertIs(task.acks_on_failure_or_timeout, False)
            self.assertFalse(getattr(task, "acks_on_failure", False))
            self.assertFalse(getattr(task, "acks_on_timeout", False))

    def test_time_limit(self):
        """The job goes back to the broker, with every release of Celery."""
        from billiard.exceptions import TimeLimitExceeded, WorkerLostError
        from celery.utils.imports import symbol_by_name
        from celery.worker.request import Request

        request_class = symbol_by_name(self.app.tasks["anymail.deliver"].Request)
        for error, rejected in ((TimeLimitExceeded(1), True), (WorkerLostError(), False)):
            info = SimpleNamespace(exception=SimpleNamespace(exc=error))
            with patch.object(Request, "on_failure") as on_failure:
                request_class.on_failure(request_class.__new__(request_class), info)
            [(told,), _] = on_failure.call_args
            self.assertEqual(getattr(told.exception, "requeue", None) is True, rejected)

    def test_longest_wait(self):
        self.assertEqual(self.engine.longest_wait, 900)
        for options, expected in (({}, 900), ({"visibility_timeout": 60}, 20)):
            self.app.conf.broker_url = "redis://localhost/0"
            self.app.conf.broker_transport_options = options
            self.assertEqual(self.engine.longest_wait, expected)

    def test_runs(self):
        calls: list[Any] = []
        functions = {"deliver": f"{__name__}.received", "handle_webhook": f"{__name__}.received"}
        with (
            patch.dict(engines.WORKER_FUNCTIONS, functions),
            patch.dict(globals(), received=lambda job, **kw: calls.append((job, kw))),
        ):
            for name, redelivered in (("anymail.deliver", True), ("anymail.handle_webhook", False)):
                task = self.app.tasks[name]
                task.push_request(delivery_info={"redelivered": redelivered})
                self.addCleanup(task.pop_request)
                task.run("job")
        self.assertEqual([kwargs["redelivered"] for _, kwargs in calls], [True, False])

    def test_goes_back(self):
        """The task ends with nothing but a Reject, after a pause."""
        from celery.exceptions import Reject

        with (
            patch.dict(engines.WORKER_FUNCTIONS, {"deliver": f"{__name__}.received"}),
            patch("time.sleep") as sleep,
            self.assertLogs("anymail.delivery", "ERROR"),
            self.assertRaises(Reject) as caught,
        ):
            self.app.tasks["anymail.deliver"].run("job")
        self.assertTrue(caught.exception.requeue)
        sleep.assert_called_once_with(10)

    def test_refused(self):
        self.app.conf.broker_url = "amqp://127.0.0.1:9//"
        with self.assertRaises(AnymailLaterError) as caught:
            enqueue_within(self.engine, 5, "job")
        self.assertIs(caught.exception.problem, Problem.UNREACHABLE)
