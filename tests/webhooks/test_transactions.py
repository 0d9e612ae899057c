"""Events count as handled when the work of their receivers is committed."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections, transaction
from django.test import SimpleTestCase, override_settings
from django.urls import get_resolver, path

from anymail.signals import AnymailTrackingEvent, tracking
from anymail.transactions import atomic, call_when_committed
from anymail.webhooks import dedupe
from anymail.webhooks.later import handle_webhook
from tests.asgi_server import AsgiServer
from tests.postgresql import postgresql_server
from tests.utils import skip_without

from .harness import Queue
from .test_trust import CACHES, View

DATABASE, OTHER_DATABASE = "receivers", "other"


class OneTwoThreeView(View):
    """A call always has the same three events."""

    ids = ("1", "2", "3")

    def parse_events(self, request):
        is_atomic_while_parsing.append(connections[DATABASE].in_atomic_block)
        return [AnymailTrackingEvent(event_type="sent", event_id=text) for text in self.ids]


is_atomic_while_parsing: list[bool] = []
webhook = OneTwoThreeView.as_view()


def wrapped(request):
    """As a project's own view: Django does not know that it's a webhook."""
    return webhook(request)


urlpatterns = [
    path("webhook/", webhook),
    path("wrapped/", wrapped),
    path("doubled/", OneTwoThreeView.as_view(ids=("1", "1"))),
    path("exempt/", transaction.non_atomic_requests(using=DATABASE)(OneTwoThreeView.as_view())),
]


# Whether there are ATOMIC_REQUESTS, WEBHOOK_ISOLATE_EVENTS -> what is handled before the failure of
# "2" has the call repeated
HANDLED_BEFORE_RETRY = {
    (False, False): ["1"],
    (False, True): ["1", "3"],
    (True, False): [],
    (True, True): ["1", "3"],
}
WAYS = list(HANDLED_BEFORE_RETRY)


def execute(sql: str, *params: str) -> None:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(sql, params)


class ReceiverError(Exception):
    pass


class Transactions(SimpleTestCase):
    """A receiver saves each event's id. It fails for "2", in the way that the test chooses."""

    database: dict[str, Any] = {}

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        databases = {
            alias: {**connections.settings["default"], "NAME": str(Path(directory.name, alias))}
            for alias in (DATABASE, OTHER_DATABASE)
        }
        databases[DATABASE].update(cls.database)
        patcher = patch.dict(connections.settings, databases)
        patcher.start()
        cls.addClassCleanup(patcher.stop)
        cls.databases = set(databases)  # which the test runner need not know
        super().setUpClass()
        for alias in databases:
            cls.addClassCleanup(connections[alias].close)
        execute("CREATE TABLE known (id VARCHAR(9) PRIMARY KEY)")
        reference = "REFERENCES known DEFERRABLE INITIALLY DEFERRED"
        execute(f"CREATE TABLE handled (id VARCHAR(9) {reference})")

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for alias in (DATABASE, OTHER_DATABASE):
            del connections[alias]

    def setUp(self):
        super().setUp()
        settings = override_settings(ROOT_URLCONF=__name__, CACHES=CACHES)
        settings.enable()
        self.addCleanup(settings.disable)
        tracking.connect(self.receive)
        self.addCleanup(tracking.disconnect, self.receive)
        self.start()

    def start(self, fail: Any = None) -> None:
        """Begin anew, as if no event had ever come."""
        self.fail_for_2 = fail
        self.is_atomic: list[bool] = []
        is_atomic_while_parsing.clear()
        self.client.raise_request_exception = False
        caches["default"].clear()
        execute("DELETE FROM handled")
        execute("DELETE FROM known")
        for event_id in ("1", "2", "3"):
            execute("INSERT INTO known VALUES (%s)", event_id)

    def receive(self, event, **kwargs):
        self.is_atomic.append(connections[DATABASE].in_atomic_block)
        if event.event_id == "2" and self.fail_for_2:
            self.fail_for_2()
        else:
            execute("INSERT INTO handled VALUES (%s)", event.event_id)

    def handled(self) -> list[str]:
        with connections[DATABASE].cursor() as cursor:
            cursor.execute("SELECT id FROM handled ORDER BY id")
            return [event_id for (event_id,) in cursor.fetchall()]

    def post(self, url="/webhook/") -> int:
        return self.client.post(url).status_code

    @contextmanager
    def configured(self, *, atomic: bool = True, **settings: Any) -> Iterator[None]:
        settings = {"WEBHOOK_DEDUPE_CACHE": "default", **settings}
        with (
            override_settings(ANYMAIL=settings),
            patch.dict(connections[DATABASE].settings_dict, ATOMIC_REQUESTS=atomic),
        ):
            yield

    @contextmanager
    def each(self, way: tuple[bool, bool], fail: Callable[[], object]) -> Iterator[None]:
        atomic, isolate = way
        self.start(fail)
        with (
            self.subTest(atomic=atomic, isolate=isolate),
            self.configured(atomic=atomic, WEBHOOK_ISOLATE_EVENTS=isolate),
            self.assertLogs(),
        ):
            yield

    # -- Under ASGI ---------------------------------------------------------------------------

    def test_asgi(self):
        """Django refuses ATOMIC_REQUESTS for asynchronous views, but webhooks' are none."""

        async def receiver(event: Any, **kwargs: Any) -> None:
            # What asynchronous receivers do with a database takes part in the transaction.
            self.is_atomic.append(await sync_to_async(in_transaction)())

        def in_transaction() -> bool:
            return connections[DATABASE].in_atomic_block

        tracking.connect(receiver)
        self.addCleanup(tracking.disconnect, receiver)
        for way in WAYS:
            atomic, isolate = way
            self.start()
            with (
                self.subTest(atomic=atomic, isolate=isolate),
                self.configured(atomic=atomic, WEBHOOK_ISOLATE_EVENTS=isolate),
                override_settings(ALLOWED_HOSTS=["*"]),
                AsgiServer() as site,
            ):
                self.assertEqual(requests.post(f"{site.url}/webhook/", timeout=10).status_code, 200)
                self.assertEqual(self.handled(), ["1", "2", "3"])
                self.assertEqual(self.is_atomic, [atomic] * 6)

    # -- Failures -----------------------------------------------------------------------------

    def raise_error(self):
        raise ReceiverError

    def violate_deferred(self):
        execute("INSERT INTO handled VALUES ('unknown')")

    def violate_constraint(self):
        execute("INSERT INTO known VALUES ('1')")

    def roll_back(self):
        transaction.set_rollback(True, using=DATABASE)

    def fail_after_commit(self):
        execute("INSERT INTO handled VALUES ('2')")
        transaction.on_commit(self.raise_error, using=DATABASE)

    # -- Tests --------------------------------------------------------------------------------

    def test_nothing_is_lost_or_handled_twice(self):
        for way in WAYS:
            for fail in (self.raise_error, self.violate_constraint, self.violate_deferred):
                with self.each(way, fail):
                    self.assertEqual(self.post(), 500)
                    self.assertEqual(self.handled(), HANDLED_BEFORE_RETRY[way])
                    self.fail_for_2 = None
                    self.assertEqual(self.post(), 200)
                    self.assertEqual(self.handled(), ["1", "2", "3"])
                    self.assertEqual(self.post(), 200)
                    self.assertEqual(self.handled(), ["1", "2", "3"])

    def test_what_is_done_on_commit_fails(self):
        """The work itself is committed, but something is missing: the event comes again."""
        for way in WAYS:
            with self.each(way, self.fail_after_commit):
                self.assertEqual(self.post(), 500)
                self.fail_for_2 = None
                received = len(self.is_atomic)
                self.assertEqual(self.post(), 200)
                self.assertEqual(self.handled().count("1"), 1)
                self.assertEqual(self.handled().count("2"), 2)
                self.assertIn("3", self.handled())
                self.assertGreater(len(self.is_atomic), received)

    def test_same_event_twice_in_a_call(self):
        with self.configured():
            self.assertEqual(self.post("/doubled/"), 200)
        self.assertEqual(self.handled(), ["1"])

    def test_rolled_back_without_exception(self):
        self.fail_for_2 = self.roll_back
        with self.configured(WEBHOOK_ISOLATE_EVENTS=True):
            self.assertEqual(self.post(), 200)
            self.assertEqual(self.handled(), ["1", "3"])
            self.fail_for_2 = None
            self.assertEqual(self.post(), 200)
        self.assertEqual(self.handled(), ["1", "2", "3"])

    def test_isolated_without_deduplication(self):
        self.fail_for_2 = self.violate_constraint
        with (
            self.configured(WEBHOOK_DEDUPE_CACHE=None, WEBHOOK_ISOLATE_EVENTS=True),
            self.assertLogs(),
        ):
            self.assertEqual(self.post(), 500)
        self.assertEqual(self.handled(), ["1", "3"])

    def test_where_transactions_begin(self):
        """With the view, as ATOMIC_REQUESTS says, unless it takes Anymail to begin them."""
        for url, settings, expected in (
            ("/webhook/", {"WEBHOOK_DEDUPE_CACHE": None}, (True, True)),
            ("/webhook/", {}, (False, True)),
            ("/webhook/", {"atomic": False}, (False, False)),
            ("/wrapped/", {}, (True, True)),
            ("/exempt/", {"WEBHOOK_DEDUPE_CACHE": None}, (False, False)),
            ("/exempt/", {}, (False, False)),
            ("/exempt/", {"WEBHOOK_ISOLATE_EVENTS": True}, (False, False)),
        ):
            self.start()
            with self.subTest(url=url, settings=settings), self.configured(**settings):
                self.assertEqual(self.post(url), 200)
                while_parsing, while_handling = expected
                self.assertEqual(is_atomic_while_parsing, [while_parsing])
                self.assertEqual(self.is_atomic, [while_handling] * 3)

    def test_worker(self):
        """What a worker handles is as if the view had; nothing of it is in the view."""
        for way in WAYS:
            for dedupe_cache in (None, "default"):
                settings = {
                    "WEBHOOK_LATER": "tests.webhooks.harness.Queue",
                    "WEBHOOK_DEDUPE_CACHE": dedupe_cache,
                    "WEBHOOK_ISOLATE_EVENTS": way[1],
                }
                for fail in (self.raise_error, self.violate_constraint, self.violate_deferred):
                    with self.each(way, fail), self.configured(atomic=way[0], **settings):
                        self.assertEqual(self.post(), 200)
                        self.assertEqual(self.is_atomic, [])
                        self.work()
                        self.assertEqual(set(self.is_atomic), {way[0]})
                        self.assertEqual(self.handled(), HANDLED_BEFORE_RETRY[way])
                        self.fail_for_2 = None
                        self.work()
                        self.assertEqual(self.handled(), ["1", "2", "3"])

    def work(self):
        job, at = Queue.jobs.pop()
        now = at.timestamp() if at else time.time()
        with patch("time.time", lambda: now):
            handle_webhook(job, engine=Queue())

    def test_anymail_urls(self):
        """Also where a view's module is not imported before the first call"""
        for settings, is_exempt in (({}, True), ({"WEBHOOK_DEDUPE_CACHE": None}, False)):
            with self.subTest(settings=settings), self.configured(**settings):
                self.start()
                resolver = get_resolver("tests.test_settings.urls")
                view = resolver.resolve("/anymail/postmark/tracking/").func
                made_atomic = self.client.handler.make_view_atomic(view)
                self.assertIs(made_atomic is view, is_exempt)

    def test_transaction_of_others(self):
        with self.configured():
            self.assertEqual(self.post("/wrapped/"), 200)
            self.assertEqual(self.post("/wrapped/"), 200)
            self.assertEqual(self.handled(), ["1", "2", "3"])

    def test_transaction_of_others_fails(self):
        """Nothing tells that it was rolled back: the events are free when their claim runs out."""
        self.fail_for_2 = self.violate_deferred
        with self.configured(), patch.object(dedupe, "LEASE_SECONDS", 1), self.assertLogs():
            self.assertEqual(self.post("/wrapped/"), 500)
            self.assertEqual(self.post("/wrapped/"), 503)
            self.fail_for_2 = None
            time.sleep(1.1)
            self.assertEqual(self.post("/wrapped/"), 200)
        self.assertEqual(self.handled(), ["1", "2", "3"])

    def test_two_databases(self):
        """What fails in one of them is to be done in both of them again."""
        committed: list[int] = []
        for inner, outer in ((DATABASE, OTHER_DATABASE), (OTHER_DATABASE, DATABASE)):
            with self.subTest(outer=outer), transaction.atomic(using=outer):
                with transaction.atomic(using=inner):
                    call_when_committed(lambda: committed.append(1))
                self.assertEqual(committed, [])
                transaction.set_rollback(True, using=outer)
            self.assertEqual(committed, [])
        with atomic([DATABASE, OTHER_DATABASE]):
            call_when_committed(lambda: committed.append(1))
            self.assertEqual(committed, [])
        self.assertEqual(committed, [1])


class SQLiteTests(Transactions):
    pass


@skip_without("psycopg")
class PostgreSQLTests(Transactions):
    @classmethod
    def setUpClass(cls):
        server = postgresql_server()
        cls.database = server.__enter__()
        cls.addClassCleanup(server.__exit__, None, None, None)
        super().setUpClass()

    def test_cache_in_the_same_database(self):
        """Claims don't depend on the transaction: other calls see them, and they are renewed."""
        cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}
        with (
            override_settings(CACHES={"default": cache}, DATABASE_ROUTERS=[Router()]),
            self.configured(),
            patch.multiple(dedupe, LEASE_SECONDS=2, RENEWAL_SECONDS=0.2),
        ):
            call_command("createcachetable", database=DATABASE)
            started, end = threading.Event(), threading.Event()

            def fail_late():
                started.set()
                end.wait(9)
                self.raise_error()

            self.fail_for_2 = fail_late
            answers = []

            def first_call():
                answers.append(self.post())
                connections.close_all()

            call = threading.Thread(target=first_call)
            with self.assertLogs():
                call.start()
                self.assertTrue(started.wait(5))
                time.sleep(3.1)
                self.assertEqual(self.post(), 503)
                end.set()
                call.join()
                self.assertEqual(answers, [500])
            self.fail_for_2 = None
            self.assertEqual(self.post(), 200)
            self.assertEqual(self.handled(), ["1", "2", "3"])


class Router:
    def db_for_read(self, model, **hints):
        return DATABASE

    db_for_write = db_for_read

    def allow_migrate(self, *args, **kwargs):
        return True


del Transactions  # It has no database.
