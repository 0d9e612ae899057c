"""WEBHOOK_LATER: the view puts calls into a queue, and workers handle them."""

from __future__ import annotations

import base64
import json
import time
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

import django
from asgiref.sync import sync_to_async
from django.conf import settings as project_settings
from django.conf.urls.i18n import i18n_patterns
from django.core.cache import caches
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.http import HttpRequest
from django.test import AsyncClient, modify_settings, override_settings, tag
from django.urls import include, path, reverse
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from anymail.delivery.decisions import backoff
from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.later.job import MAIL, WEBHOOK, JobRefused, read_job, sign_job
from anymail.signals import tracking
from anymail.webhooks import later, sns
from anymail.webhooks.base import AnymailBaseWebhookView
from anymail.webhooks.kept import FOLDER, kept_calls
from anymail.webhooks.later import RETRY_SECONDS, handle_webhook, requeue
from anymail.webhooks.postmark import PostmarkTrackingWebhookView

from .cases import CASES
from .harness import (
    BASIC_AUTH,
    FixtureTestCase,
    Queue,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    find_fixtures,
)
from .large import large_mailgun_call
from .test_amazon_ses import confirmation
from .test_fixtures import make_test_cases

HERE = __name__
QUEUE = "tests.webhooks.harness.Queue"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": HERE}}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "calls": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
}


# -- All fixture pairs ------------------------------------------------------------------------


class LaterFixtureTestCase(FixtureTestCase):
    """What comes of a call is the same if it goes through a signed job."""

    @contextmanager
    def anymail_settings(self, **settings: Any) -> Iterator[None]:
        with super().anymail_settings(WEBHOOK_LATER="inline", **settings):
            yield

    @contextmanager
    def assert_warnings(self, *expected: type[Warning]) -> Iterator[list[Any]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
        # The worker, too, has a view that issues them.
        self.assertEqual({warning.category for warning in caught}, set(expected))

    def _check_converter(self, *args: Any) -> None:
        """Nothing here is different from without WEBHOOK_LATER."""


for _name, _test_case in make_test_cases(LaterFixtureTestCase, __name__).items():
    globals()[_name] = tag("exhaustive")(_test_case)
del _test_case


class SampleFixtureTests(LaterFixtureTestCase):
    def test_a_fixture_of_each_view(self):
        for case in CASES.values():
            for view in case.views:
                fixture = next(
                    fixture
                    for fixture in find_fixtures(case.esp, view.kind)
                    if fixture.load_expected().get("events")
                )
                with self.subTest(esp=case.esp, kind=view.kind):
                    self.received.clear()
                    self.check_fixture(case, fixture)


# -- The queue --------------------------------------------------------------------------------


class ReceiverError(Exception):
    pass


class LaterTestCase(WebhookTestCase):
    """Calls have the events of ids "1" to "3". Receivers fail for those in ``fails``."""

    settings_: dict[str, Any] = {}
    url_name = "anymail:sendgrid_tracking_webhook"

    def setUp(self) -> None:
        super().setUp()
        Queue.jobs = []
        self.fails: set[str] = set()
        override = override_settings(
            CACHES=CACHES,
            STORAGES=STORAGES,
            ANYMAIL={
                "WEBHOOK_SECRET": BASIC_AUTH,
                "WEBHOOK_LATER": QUEUE,
                "WEBHOOK_LATER_STORAGE": "calls",
                **self.settings_,
            },
        )
        override.enable()
        self.addCleanup(override.disable)
        self.addCleanup(caches["default"].clear)
        tracking.connect(self.receive)
        self.addCleanup(tracking.disconnect, self.receive)

    def receive(self, event: Any, **kwargs: Any) -> None:
        if event.event_id in self.fails:
            self.received.pop()
            raise ReceiverError(event.event_id)

    @property
    def handled(self) -> list[str]:
        return [received.event.event_id for received in self.received]

    def post(self, *ids: str, **kwargs: Any) -> int:
        events = [{"event": "open", "sg_event_id": event_id} for event_id in ids or ("1", "2", "3")]
        request = WebhookRequest("tracking", reverse(self.url_name), json=events)
        status: int = self.call(request, **kwargs).status_code
        return status

    def job(self, *ids: str) -> str:
        """Return the job of a call, which is not in the queue any more."""
        self.assertEqual(self.post(*ids), 200)
        [(job, _)] = Queue.jobs
        Queue.jobs.clear()
        return job

    def work(self, job: str | None = None) -> float | None:
        """Execute a job, by default the only one in the queue.

        Returns in how many seconds it's to be executed again; None if it's not.
        """
        if job is None:
            [(job, _)] = Queue.jobs
            Queue.jobs.clear()
        handle_webhook(job, engine=Queue())
        if not Queue.jobs:
            return None
        [(_, at)] = Queue.jobs
        assert at is not None
        return at.timestamp() - time.time()

    @contextmanager
    def at(self, seconds: float) -> Iterator[None]:
        """Have it be so many seconds later."""
        now = time.time() + seconds
        with patch("time.time", lambda: now):
            yield

    @contextmanager
    def changed(self, **settings: Any) -> Iterator[None]:
        with override_settings(ANYMAIL={**project_settings.ANYMAIL, **settings}):
            yield

    def files(self, folder: str) -> list[str]:
        try:
            return storages["calls"].listdir(folder)[1]
        except FileNotFoundError:
            return []


class ViewTests(LaterTestCase):
    def test_only_a_worker_sends_signals(self):
        self.assertEqual(self.post(), 200)
        self.assert_no_signals()
        self.assertIsNone(self.work())
        self.assertEqual(self.handled, ["1", "2", "3"])

    @skipUnless(django.VERSION >= (6, 0), "Django 6.0 introduced tasks")
    def test_tasks(self):
        """Here, with a backend that runs them at once."""
        backend = {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
        with override_settings(TASKS={"default": backend}), self.changed(WEBHOOK_LATER="tasks"):
            self.assertEqual(self.post(), 200)
            self.assertEqual(self.handled, ["1", "2", "3"])
            self.received.clear()
            self.fails = {"2"}
            with self.assertLogs("anymail.webhooks", "ERROR"):
                self.assertEqual(self.post(), 200)
        self.assertEqual(self.handled, ["1"])
        self.assertEqual(len(list(kept_calls())), 1)

    @skipUnless(find_spec("celery"), "needs celery")
    def test_celery(self):
        """Here, without a broker."""
        from celery import Celery, current_app

        self.addCleanup(current_app._get_current_object().set_current)
        app = Celery("test_later", set_as_current=True)
        self.addCleanup(app.close)
        app.conf.task_always_eager = True
        with self.changed(WEBHOOK_LATER="celery"):
            self.assertEqual(self.post(), 200)
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_invalid_calls(self):
        self.assertEqual(self.post(authorization=basic_auth_header("other:secret")), 400)
        self.assertEqual(Queue.jobs, [])

    def test_no_secret_in_job(self):
        job = self.job()
        self.assertNotIn("Authorization", json.dumps(read_job(job, salt=WEBHOOK)))

    def test_queue_does_not_take_it(self):
        """The provider is asked to call again, and then it works."""
        for error in (ConnectionError("secret"), TimeoutError()):
            with (
                self.subTest(error=error),
                patch.object(Queue, "error", error),
                self.assertLogs("anymail.webhooks", "ERROR"),
            ):
                self.assertEqual(self.post(), 503)
        self.assertEqual(self.post(), 200)
        self.work()
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_calls_about_the_webhook_itself(self):
        calls = {
            "mandrill": ("tracking", "empty_batch"),
            "mailersend": ("tracking", "webhook_test"),
            "sparkpost": ("tracking", "test_of_the_url"),
        }
        for esp, (kind, name) in calls.items():
            case = CASES[esp]
            [fixture] = [item for item in find_fixtures(esp, kind) if item.name == name]
            settings = {"WEBHOOK_SECRET": BASIC_AUTH, "WEBHOOK_LATER": QUEUE}
            with self.subTest(esp), self.anymail_settings(**settings, **case.settings):
                self.assertEqual(self.call(fixture.request(case)).status_code, 200)
                self.assertEqual(Queue.jobs, [])

    def test_sns_subscription_is_confirmed_by_the_view(self):
        request = confirmation()
        with patch.object(sns.SNSBaseWebhookView, "auto_confirm_sns_subscription") as confirm:
            self.assertEqual(self.call(request).status_code, 200)
        confirm.assert_called_once()
        self.assertEqual(Queue.jobs, [])

    def test_as_view(self):
        paths = {
            "own/": PostmarkTrackingWebhookView.as_view(later=QUEUE),
            "never/": PostmarkTrackingWebhookView.as_view(later=None),
        }
        patterns = [path(at, view) for at, view in paths.items()]
        for at, settings, jobs in (
            ("/own/", {}, 1),
            ("/never/", {"WEBHOOK_LATER": "celery"}, 0),
        ):
            with (
                self.subTest(at),
                override_settings(ROOT_URLCONF=urlconf(*patterns)),
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings),
            ):
                Queue.jobs.clear()
                call = WebhookRequest("tracking", at, json={"RecordType": "Open"})
                self.assertEqual(self.call(call).status_code, 200)
                self.assertEqual(len(Queue.jobs), jobs)

    def assert_not_found(self) -> None:
        call = WebhookRequest("tracking", "/hidden/", json={"RecordType": "Open"})
        with self.assertRaisesRegex(AnymailConfigurationError, "ROOT_URLCONF"):
            self.call(call)

    def test_view_inside_another_that_workers_would_not_find(self):
        view = PostmarkTrackingWebhookView.as_view()

        @csrf_exempt
        def wrapper(request: HttpRequest) -> Any:
            return view(request)

        with override_settings(ROOT_URLCONF=urlconf(path("hidden/", wrapper))):
            self.assert_not_found()

    @modify_settings(MIDDLEWARE={"append": f"{HERE}.other_urlconf"})
    def test_urlconf_that_workers_do_not_have(self):
        self.assert_not_found()

    @modify_settings(MIDDLEWARE={"append": f"{HERE}.other_urlconf"})
    def test_another_view_that_workers_would_find(self):
        patterns = path("hidden/", RequestView.as_view())
        with override_settings(ROOT_URLCONF=urlconf(patterns)):
            self.assert_not_found()

    def test_path_with_a_language(self):
        patterns = i18n_patterns(path("hook/", PostmarkTrackingWebhookView.as_view()))
        with override_settings(ROOT_URLCONF=urlconf(*patterns), LANGUAGES=[("en", ""), ("de", "")]):
            call = WebhookRequest("tracking", "/de/hook/", json={"RecordType": "Open"})
            with modify_settings(
                MIDDLEWARE={"append": "django.middleware.locale.LocaleMiddleware"}
            ):
                self.assertEqual(self.call(call).status_code, 200)
            with translation.override("en"):
                self.work()
        self.assertEqual(len(self.received), 1)


def urlconf(*patterns: Any) -> Any:
    module: Any = types.ModuleType("urlconf")
    module.urlpatterns = patterns
    return module


def other_urlconf(get_response: Any) -> Any:
    """A middleware as of sites with several hosts."""

    def middleware(request: HttpRequest) -> Any:
        view = PostmarkTrackingWebhookView.as_view()
        request.urlconf = urlconf(path("hidden/", view))  # type: ignore[attr-defined]
        return get_response(request)

    return middleware


def form_reader(get_response: Any) -> Any:
    """A middleware that looks at forms."""

    def middleware(request: HttpRequest) -> Any:
        request.POST  # noqa: B018
        return get_response(request)

    return middleware


class RequestView(AnymailBaseWebhookView):
    """Its events are about the request."""

    esp_name = "Test ESP"
    signal = tracking
    headers_for_worker = ("X-Tenant",)

    def parse_events(self, request: HttpRequest) -> Any:
        from anymail.signals import AnymailTrackingEvent

        return [
            AnymailTrackingEvent(
                event_type="opened",
                esp_event={
                    "url": request.build_absolute_uri(),
                    "secure": request.is_secure(),
                    "kwargs": {**self.kwargs, "of_match": request.resolver_match.kwargs},
                    "tenant": request.headers.get("X-Tenant"),
                    "other": request.headers.get("X-Other"),
                    "method": request.method,
                    "content_type": request.content_type,
                    "body": request.body,
                    "user": hasattr(request, "user"),
                },
            )
        ]


urlpatterns = [
    path("", include("tests.test_settings.urls")),
    path("tenants/<slug:name>/ü/", RequestView.as_view()),
]


class RequestTests(LaterTestCase):
    @override_settings(ROOT_URLCONF=HERE, ALLOWED_HOSTS=["hooks.example.com"])
    def test_request_of_worker(self):
        response = self.client.post(
            "/tenants/one/ü/?a=%C3%BC",
            data=b"\xff\x00",
            content_type="application/octet-stream",
            headers={
                "Authorization": basic_auth_header(),
                "X-Tenant": "é",
                "X-Other": "x",
                "Host": "hooks.example.com:8443",
            },
            secure=True,
            SCRIPT_NAME="/mounted",
        )
        self.assertEqual(response.status_code, 200)
        self.work()
        [received] = self.received
        self.assertEqual(
            received.event.esp_event,
            {
                "url": "https://hooks.example.com:8443/mounted/tenants/one/%C3%BC/?a=%C3%BC",
                "secure": True,
                "kwargs": {"name": "one", "of_match": {"name": "one"}},
                "tenant": "é",
                "other": None,
                "method": "POST",
                "content_type": "application/octet-stream",
                "body": b"\xff\x00",
                "user": False,
            },
        )


# -- Workers ----------------------------------------------------------------------------------


class RetryTests(LaterTestCase):
    def test_events_that_were_handled_are_left_out(self):
        for dedupe in ({}, {"WEBHOOK_DEDUPE_CACHE": "default"}):
            with self.subTest(dedupe), self.changed(**dedupe):
                self.received.clear()
                self.fails = {"2"}
                self.post()
                with self.assertLogs("anymail.webhooks", "ERROR"):
                    wait = self.work()
                assert wait is not None
                self.assertTrue(0 <= wait <= 10)
                self.assertEqual(self.handled, ["1"])
                self.fails = {"3"}
                with self.at(wait + 1), self.assertLogs("anymail.webhooks", "WARNING"):
                    wait = self.work()
                assert wait is not None
                self.assertTrue(0 <= wait <= 40)
                self.assertEqual(self.handled, ["1", "2"])
                self.fails = set()
                with self.at(60):
                    self.assertIsNone(self.work())
                self.assertEqual(self.handled, ["1", "2", "3"])

    def test_isolated_events(self):
        with self.changed(WEBHOOK_ISOLATE_EVENTS=True):
            self.fails = {"1"}
            self.post()
            with self.assertLogs("anymail.webhooks", "ERROR"):
                self.work()
            self.assertEqual(self.handled, ["2", "3"])
            self.fails = set()
            with self.at(60):
                self.work()
        self.assertEqual(self.handled, ["2", "3", "1"])

    def test_waits_grow_to_a_quarter_of_an_hour_for_a_day(self):
        self.fails = {"1"}
        self.post()
        longest: list[float] = []
        elapsed = 0.0
        with (
            self.assertLogs("anymail.webhooks"),
            patch.object(later, "backoff", partial(backoff, jitter=max)),
        ):
            while True:
                with self.at(elapsed):
                    wait = self.work()
                if wait is None:
                    break
                longest.append(round(wait))
                elapsed += wait
        self.assertEqual(longest[:5], [10, 40, 160, 640, 900])
        self.assertAlmostEqual(sum(longest), RETRY_SECONDS, delta=900)
        self.assertEqual(len(list(kept_calls())), 1)

    def test_given_up(self):
        """A call that was kept can be put into the queue again, and then has another day."""
        self.fails = {"2"}
        self.post()
        with self.assertLogs("anymail.webhooks"):
            self.work()
            with self.at(RETRY_SECONDS), self.assertLogs("anymail.webhooks", "ERROR") as logs:
                self.assertIsNone(self.work())
        self.assertEqual(Queue.jobs, [])
        [kept] = kept_calls()
        self.assertIn(kept.name, logs.output[-1])
        self.assertEqual(kept.esp, "sendgrid")

        with self.at(RETRY_SECONDS * 30):
            requeue(kept)
            with self.assertLogs("anymail.webhooks"):
                self.assertIsNotNone(self.work())
            self.assertEqual(list(kept_calls()), [])
        self.fails = set()
        with self.at(RETRY_SECONDS * 30 + 60):
            self.work()
        self.assertEqual(self.handled, ["1", "2", "3"])
        self.assertEqual((self.files("anymail"), self.files(FOLDER)), ([], []))

    def test_requeue_that_fails_keeps_the_call(self):
        self.keep_one()
        [kept] = kept_calls()
        with (
            patch.object(Queue, "error", ConnectionError()),
            self.assertRaises(later.AnymailLaterError),
        ):
            requeue(kept)
        self.assertEqual(list(kept_calls()), [kept])

    def keep_one(self) -> None:
        call = WebhookRequest("tracking", reverse(self.url_name), text="no JSON")
        self.assertEqual(self.call(call).status_code, 200)
        with self.assertLogs("anymail.webhooks", "ERROR"):
            self.assertIsNone(self.work())
        self.assert_no_signals()

    def test_what_can_not_be_decoded_is_kept(self):
        storages["calls"].save(f"{FOLDER}/README", ContentFile(b"of somebody"))
        self.keep_one()
        self.assertEqual(len(list(kept_calls())), 1)

    def test_no_storage(self):
        call = WebhookRequest("tracking", reverse(self.url_name), text="no JSON")
        with self.changed(WEBHOOK_LATER_STORAGE=None), self.assertLogs("anymail.webhooks"):
            self.call(call)
            [(job, _)] = Queue.jobs
            Queue.jobs.clear()
            with (
                patch.object(Queue, "keeps_failures", True),
                self.assertRaises(AnymailWebhookValidationFailure),
            ):
                self.work(job)
            self.assertIsNone(self.work(job))
        self.assertEqual(list(kept_calls()), [])

    def test_engine_that_can_not_wait(self):
        self.fails = {"1"}
        self.post()
        with patch.object(Queue, "can_wait", False), self.assertLogs("anymail.webhooks"):
            self.assertIsNone(self.work())
        self.assertEqual(len(list(kept_calls())), 1)

    def test_engine_that_can_not_wait_for_long(self):
        """It gets the job several times, until it's time."""
        self.fails = {"1"}
        self.post()
        with (
            patch.object(Queue, "longest_wait", 2),
            patch.object(later, "backoff", lambda *args, **kwargs: 5),
        ):
            with self.assertLogs("anymail.webhooks"):
                self.assertAlmostEqual(self.work() or 0, 2, delta=0.5)
            self.fails = set()
            with self.at(2):
                self.assertAlmostEqual(self.work() or 0, 2, delta=0.5)
            self.assert_no_signals()
            with self.at(5):
                self.assertIsNone(self.work())
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_retry_that_the_queue_does_not_take(self):
        """It's the engine's again: an exception says so."""
        self.fails = {"1"}
        job = self.job()
        with (
            patch.object(Queue, "error", ConnectionError()),
            self.assertLogs("anymail.webhooks"),
            self.assertRaises(later.AnymailLaterError),
        ):
            self.work(job)

    def test_waiting_job_that_the_queue_does_not_take(self):
        self.fails = {"1"}
        self.post()
        with self.assertLogs("anymail.webhooks"), patch.object(later, "backoff", return_value=60):
            self.work()
        job, _ = Queue.jobs.pop()
        with (
            patch.object(Queue, "error", ConnectionError()),
            self.assertRaises(later.AnymailLaterError),
        ):
            self.work(job)

    def test_job_that_kills_workers(self):
        """Its fourth execution is the last: it's kept."""

        class Killed(BaseException):
            pass

        job = self.job()
        with patch.object(later.Execution, "_handle", side_effect=Killed):
            executions = patch.object(later.Executions, "end")  # nobody is left to note it
            for _ in range(3):
                with executions, self.assertRaises(Killed):
                    self.work(job)
            with self.assertLogs("anymail.webhooks", "ERROR"):
                self.assertIsNone(self.work(job))
        self.assertEqual(len(list(kept_calls())), 1)
        with self.assertLogs("anymail.webhooks", "WARNING"):
            self.assertIsNone(self.work(job))
        self.assertEqual(len(list(kept_calls())), 1)

    def test_many_retries_are_no_killed_workers(self):
        self.fails = {"1"}
        self.post()
        with self.assertLogs("anymail.webhooks"):
            for hour in range(10):
                with self.at(hour * 3600):
                    self.assertIsNotNone(self.work())

    def test_copy_of_a_job(self):
        """What has ended, or is to be tried again, is not executed in another copy."""
        self.fails = {"2"}
        job = self.job()
        with self.assertLogs("anymail.webhooks", "WARNING"):
            self.work(job)
            retry, _ = Queue.jobs.pop()
            self.assertIsNone(self.work(job))
            self.fails = set()
            with self.at(60):
                for copy in (job, retry, retry, job):
                    self.assertIsNone(self.work(copy))
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_job_of_a_later_release(self):
        job = sign_job({"due": time.time(), "max_age": 1000}, salt=WEBHOOK)
        with patch("anymail.later.job.VERSION", 0), self.assertLogs("anymail.webhooks", "WARNING"):
            self.assertAlmostEqual(self.work(job) or 0, 60, delta=1)
            Queue.jobs.clear()
            with self.at(1001), self.assertLogs("anymail.webhooks", "ERROR"):
                self.assertIsNone(self.work(job))


class DedupeTests(LaterTestCase):
    settings_ = {"WEBHOOK_DEDUPE_CACHE": "default"}

    def test_delivered_twice(self):
        job = self.job()
        with self.assertLogs("anymail.webhooks", "WARNING"):
            for _ in range(2):
                self.assertIsNone(self.work(job))
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_call_repeated_after_a_timeout(self):
        """The queue may have taken a call that was answered with 503."""

        class Slow(Queue):
            def enqueue_webhook(self, job: str, **kwargs: Any) -> None:
                Queue.jobs.append((job, None))
                raise TimeoutError

        with patch.object(later, "get_engine", lambda name: Slow()), self.assertLogs():
            self.assertEqual(self.post(), 503)
        self.assertEqual(self.post(), 200)
        jobs = [job for job, _ in Queue.jobs]
        Queue.jobs.clear()
        self.assertEqual(len(jobs), 2)
        for job in jobs:
            self.work(job)
        self.assertEqual(self.handled, ["1", "2", "3"])

    def test_same_event_in_progress(self):
        """The job waits for the other call's, which may fail."""
        job, repeated = self.job("1"), self.job("1")
        waits = []

        def receive(event: Any, **kwargs: Any) -> None:
            if not waits:
                waits.append(self.work(repeated))

        tracking.connect(receive)
        self.addCleanup(tracking.disconnect, receive)
        handle_webhook(job, engine=Queue())
        self.assertAlmostEqual(waits[0] or 0, 15, delta=1)
        with self.at(16):
            self.assertIsNone(self.work())
        self.assertEqual(self.handled, ["1"])

    def test_view_has_no_part_in_it(self):
        """It claims no events, which would keep the worker from them."""
        self.post()
        self.post()
        self.assertEqual(len(Queue.jobs), 2)
        self.assertEqual(caches["default"]._cache, {})


class ForgeryTests(LaterTestCase):
    """Who can write to the queue, but has no SECRET_KEY, can have no event made."""

    settings_ = {"WEBHOOK_DEDUPE_CACHE": "default"}

    def assert_refused(self, job: str) -> None:
        with self.assertLogs("anymail.webhooks", "ERROR"):
            self.assertIsNone(self.work(job))
        self.assert_no_signals()

    def test_forged(self):
        job = self.job()
        content = read_job(job, salt=WEBHOOK)
        payload, _, signature = job.rpartition(":")
        with override_settings(SECRET_KEY="another"):
            other_key = sign_job(content, salt=WEBHOOK)
        for description, forged in {
            "made up": base64.b64encode(json.dumps(content).encode()).decode(),
            "empty": "",
            "changed": f"{payload[:-1]}{'A' if payload[-1] != 'A' else 'B'}:{signature}",
            "signature cut": job[:-1],
            "of another key": other_key,
            "mail": sign_job(content, salt=MAIL),
        }.items():
            with self.subTest(description):
                self.assertNotEqual(forged, job)
                self.assert_refused(forged)

    def test_no_mail_job(self):
        with self.assertRaises(JobRefused):
            read_job(self.job(), salt=MAIL)

    def test_job_put_in_again(self):
        """It's refused, but not lost, when what was handled isn't remembered any more."""
        job = self.job()
        self.work(job)
        with self.at(3 * 86400 - 1), self.assertLogs("anymail.webhooks", "WARNING"):
            self.work(job)
        caches["default"].clear()
        with self.at(3 * 86400 + 1), self.assertLogs("anymail.webhooks", "ERROR"):
            self.work(job)
        with self.at(3 * 86400 + 60), self.assertLogs("anymail.webhooks", "WARNING"):
            self.work(job)
        self.assertEqual(self.handled, ["1", "2", "3"])
        self.assertEqual(len(list(kept_calls())), 1)

    def test_kept_file_exchanged(self):
        job = self.job()
        with self.at(4 * 86400), self.assertLogs("anymail.webhooks", "ERROR"):
            self.work(job)
        [kept] = kept_calls()
        storages["calls"].delete(kept.name)
        storages["calls"].save(kept.name, ContentFile(b"made-up"))
        with self.assertRaises(JobRefused):
            requeue(kept)


class LargeCallTests(LaterTestCase):
    """What is too large for the queue is in a file until it was handled."""

    url_name = "anymail:mailgun_inbound_webhook"
    settings_ = dict(CASES["mailgun"].settings)
    size = 200_000

    def large_call(self, size: int | None = None) -> WebhookRequest:
        return large_mailgun_call(size or self.size, path=reverse(self.url_name))

    def test_storage(self):
        self.check_through_storage(self.size)

    @tag("exhaustive")
    def test_20_megabytes(self):
        self.check_through_storage(20_000_000)

    def check_through_storage(self, size: int) -> None:
        self.assertEqual(self.call(self.large_call(size)).status_code, 200)
        [(job, _)] = Queue.jobs
        self.assertLess(len(job), 1000)
        self.assertEqual(len(self.files("anymail")), 1)
        self.assertIsNone(self.work())
        [received] = self.received
        [attachment] = received.event.message.attachments
        self.assertEqual(len(attachment.get_content_bytes()), size)
        self.assertEqual(self.files("anymail"), [])

    def test_file_stays_while_it_is_tried_again(self):
        from anymail.signals import inbound

        def fail(**kwargs: Any) -> None:
            raise ReceiverError

        inbound.connect(fail)
        self.addCleanup(inbound.disconnect, fail)
        self.call(self.large_call())
        with self.assertLogs("anymail.webhooks"):
            self.work()
        [(job, _)] = Queue.jobs
        self.assertLess(len(job), 1000)
        self.assertEqual(len(self.files("anymail")), 1)
        with self.at(RETRY_SECONDS + 60), self.assertLogs("anymail.webhooks"):
            self.work()
        self.assertEqual(self.files("anymail"), [])
        inbound.disconnect(fail)
        self.received.clear()
        [kept] = kept_calls()
        requeue(kept)
        [(job, _)] = Queue.jobs
        self.assertLess(len(job), 1000)
        self.work()
        self.assertEqual(len(self.received), 1)
        self.assertEqual((self.files("anymail"), self.files(FOLDER)), ([], []))

    def test_file_exchanged(self):
        self.call(self.large_call())
        [name] = self.files("anymail")
        storages["calls"].delete(f"anymail/{name}")
        storages["calls"].save(f"anymail/{name}", ContentFile(b"made-up"))
        with self.assertLogs("anymail.webhooks", "ERROR"):
            self.assertIsNone(self.work())
        self.assert_no_signals()

    def test_file_can_not_be_deleted(self):
        self.call(self.large_call())
        with (
            patch("django.core.files.storage.InMemoryStorage.delete", side_effect=OSError),
            self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            self.assertIsNone(self.work())
        self.assertEqual(len(self.received), 1)

    def test_storage_can_not_be_read(self):
        self.call(self.large_call())
        with (
            patch("django.core.files.storage.InMemoryStorage.open", side_effect=OSError),
            self.assertLogs("anymail.webhooks", "WARNING"),
        ):
            self.assertAlmostEqual(self.work() or 0, 60, delta=1)
            job, _ = Queue.jobs[0]
            with self.at(4 * 86400), self.assertLogs("anymail.webhooks", "ERROR"):
                Queue.jobs.clear()
                self.assertIsNone(self.work(job))
        self.work(job)
        self.assertEqual(len(self.received), 1)

    def test_copy_of_a_job_whose_file_was_deleted(self):
        self.call(self.large_call())
        job, _ = Queue.jobs.pop()
        self.work(job)
        with self.assertLogs("anymail.webhooks", "WARNING") as logs:
            self.work(job)
        self.assertIn("put in again", logs.output[0])

    def test_refused_by_the_queue(self):
        with patch.object(Queue, "error", ConnectionError()), self.assertLogs("anymail.webhooks"):
            self.assertEqual(self.call(self.large_call()).status_code, 503)
        self.assertEqual(self.files("anymail"), [])

    def test_storage_fails(self):
        with (
            patch("django.core.files.storage.InMemoryStorage.save", side_effect=OSError),
            self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            self.assertEqual(self.call(self.large_call()).status_code, 503)
        self.assertEqual(Queue.jobs, [])

    def test_no_storage(self):
        with (
            self.anymail_settings(WEBHOOK_LATER=QUEUE, **self.settings_),
            self.assertRaisesRegex(AnymailConfigurationError, "WEBHOOK_LATER_STORAGE"),
        ):
            self.call(self.large_call(), authorization=None)

    def test_limit(self):
        settings = {"WEBHOOK_LATER": QUEUE, **self.settings_}
        request = self.large_call()
        for limit, status in ((len(request.body) - 1, 400), (len(request.body), 200), (None, 200)):
            with (
                self.subTest(limit=limit),
                self.anymail_settings(
                    **settings, WEBHOOK_LATER_STORAGE="calls", INBOUND_MAX_BYTES=limit
                ),
            ):
                self.assertEqual(self.call(request).status_code, status)

    def test_calls_of_strangers_are_not_read(self):
        settings = {"WEBHOOK_LATER": QUEUE, "WEBHOOK_SECRET": BASIC_AUTH, **self.settings_}
        with self.anymail_settings(**settings), patch.object(later, "keep_body") as keep_body:
            response = self.call(self.large_call(), authorization=basic_auth_header("a:b"))
        self.assertEqual(response.status_code, 400)
        keep_body.assert_not_called()

    async def test_asgi(self):
        call = self.large_call()
        response = await AsyncClient().generic(
            "POST",
            call.path,
            call.body,
            content_type=call.effective_content_type,
            headers={"Authorization": basic_auth_header()},
        )
        self.assertEqual(response.status_code, 200)
        await sync_to_async(self.work)()
        self.assertEqual(len(self.received), 1)

    def test_form_was_read_already(self):
        with (
            modify_settings(MIDDLEWARE={"append": f"{HERE}.form_reader"}),
            self.assertRaisesRegex(AnymailConfigurationError, "middleware"),
        ):
            self.call(self.large_call())
