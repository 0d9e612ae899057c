from __future__ import annotations

import tempfile
import threading
import time
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch

import django
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.test import override_settings

from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailError,
    AnymailLaterError,
    AnymailUnsupportedFeature,
    Problem,
)
from anymail.later import send_later
from anymail.message import AnymailMessage
from anymail.signals import pre_send

from ..delivery.leaf import CALLS, LEAF, fails
from ..delivery.test_strategies import failover
from ..utils import make_message
from .harness import QUEUED, REFUSALS, LaterTestCase, QueueEngine, later
from .test_job import use_storage

POSTAL = {
    "BACKEND": "anymail.backends.postal.EmailBackend",
    "OPTIONS": {"api_key": "key", "api_url": "https://postal.example.com/"},
}


class SendTests(LaterTestCase):
    """Messages are queued, as the options say."""

    def test_status(self):
        message = make_message(to=["One <one@example.com>"], cc=["two@example.com"])
        self.assertEqual(mailers["default"].send_messages([message]), 1)
        status = message.anymail_status
        self.assertEqual(status.status, {"later"})
        self.assertEqual(set(status.recipients), {"one@example.com", "two@example.com"})
        self.assertRegex(status.message_id, "^[0-9a-f]{32}$")
        self.assertEqual(status.message_id, self.queued()["id"])
        self.assertFalse(status.is_accepted)
        self.assertEqual((CALLS, self.signals), ([], []))

    def test_nothing_to_send(self):
        backend = mailers["default"]
        self.assertEqual(backend.send_messages([]), 0)
        self.assertEqual(backend.send_messages([make_message(to=[])]), 0)
        self.assertEqual(QUEUED, [])

    def test_job(self):
        self.use_mailers(default=later(queue="mail", max_age=100, settle=5))
        message = make_message(idempotency_key="own key")
        mailers["default"].send_messages([message])
        content = self.queued()
        expected = {"key": "own key", "queue": "mail", "max_age": 100, "settle": 5, "mailer": "a"}
        self.assertEqual({name: content[name] for name in expected}, expected)
        self.assertEqual(QUEUED[0][1:], ("mail", None))
        self.work()
        self.assertEqual(Ledger().find(message.anymail_status.message_id).state, "sent")

    def test_made_up_key(self):
        """It's the job's: the same message can be sent again."""
        message = make_message()
        for _ in range(2):
            message.send()
            self.work()
        self.assertEqual(len(CALLS), 2)
        self.assertNotEqual(*(sent.idempotency_key for _, sent in CALLS))
        self.assertEqual(message.idempotency_key, AnymailMessage().idempotency_key)

    def test_send_later(self):
        at = datetime.fromtimestamp(self.clock.now + 50, tz=timezone.utc)
        message = EmailMessage("Subject", "Body", "me@example.com", ["you@example.com"])
        self.assertEqual(send_later(message, using="b", at=at, queue="mail"), 1)
        self.assertEqual(QUEUED[0][1:], ("mail", at))
        self.assertEqual(self.queued()["due"], at.timestamp())
        self.work()
        self.assertEqual(self.called, ["b"])

    def test_which_mailer(self):
        self.use_mailers(default=LEAF, mail=later())
        make_message().send_later()
        make_message().send_later(using="mail")
        self.assertEqual([self.queued(index)["mailer"] for index in (0, 1)], ["a", "a"])
        self.use_mailers(default=LEAF, mail=later(), other=later(mailer="b"))
        make_message().send_later(using="other")
        self.assertEqual(self.queued()["mailer"], "b")
        for config in (later(), LEAF):
            self.use_mailers(default=LEAF, mail=config, other=config)
            with self.assertRaisesMessage(AnymailConfigurationError, "deliver later"):
                make_message().send_later()
        self.use_mailers(default=later())
        with self.assertRaisesMessage(AnymailConfigurationError, "no mailer 'nonesuch'"):
            make_message().send_later(using="nonesuch")
        self.use_mailers(default=later(mailer="nonesuch"))
        with self.assertRaisesMessage(AnymailConfigurationError, "no mailer 'nonesuch'"):
            make_message().send()

    def test_test_run(self):
        """Where Django's test runner has replaced the mailers, messages are in its outbox."""
        locmem = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
        settings: dict[str, Any] = {"EMAIL_BACKEND": locmem["BACKEND"]}
        if django.VERSION >= (6, 1):
            settings = {"MAILERS": {"default": locmem}}
        with override_settings(**settings), patch.object(mail, "outbox", [], create=True):
            self.assertEqual(make_message().send_later(), 1)
            self.assertEqual(len(mail.outbox), 1)

    def test_mistakes_in_options(self):
        for options, text in (
            ({"mailer": None}, "must have 'mailer'"),
            ({"mailer": "default"}, "can't be its own 'mailer'"),
            ({"engine": None}, "must have 'engine'"),
            ({"fallback": "yes"}, "'fallback' must be"),
            ({"on_commit": 5}, "'on_commit' must be"),
            ({"max_age": -1}, "'max_age' must be a number"),
            ({"settle": "x"}, "'settle' must be a number"),
            ({"nonesuch": 1}, "nonesuch"),
        ):
            self.use_mailers(default=later(**options))
            with self.subTest(options), self.assertRaisesMessage(ImproperlyConfigured, text):
                _ = mailers["default"]

    def test_later_by_itself(self):
        self.use_mailers(default=later(mailer="other"), other=later())
        with self.assertRaisesMessage(AnymailConfigurationError, "delivers later itself"):
            make_message().send()

    # -- Mistakes in messages -------------------------------------------------------------------

    def test_mistakes_show_at_once(self):
        self.use_mailers(default=later(mailer="postal"), postal=POSTAL)
        with self.assertRaises(AnymailUnsupportedFeature) as caught:
            mailers["default"].send_messages([make_message(), make_message(metadata={"a": 1})])
        self.assertIs(caught.exception.problem, Problem.UNSUITABLE)
        self.assertEqual(caught.exception.sent_count, 1)
        self.assertEqual(len(QUEUED), 1)
        [signal] = self.signals
        self.assertEqual(signal, ("send_failed", "default", 1, "unsuitable", True))
        with self.assertRaises(ValueError):
            make_message(to=["not an address"]).send()

    def test_mistakes_in_the_call(self):
        """Those of the first one that would be made."""
        postmark = {"BACKEND": "anymail.backends.postmark.EmailBackend"}
        self.use_mailers(default=later(), a={**postmark, "OPTIONS": {"server_token": "token"}})
        message = make_message(merge_data={"to@example.com": {"a": 1}})
        with self.assertRaisesMessage(AnymailUnsupportedFeature, "merge_data without template_id"):
            message.send()
        with patch("anymail.backends.postmark.EmailBackend.post_to_esp"):
            message.send()  # Who knows what that sends.
        self.assertEqual(len(QUEUED), 1)

    def test_one_of_them_takes_it(self):
        both = failover("postal", "a")
        self.use_mailers(default=later(mailer="both"), both=both, postal=POSTAL)
        make_message(metadata={"a": 1}).send()
        only = failover("postal", "other")
        self.use_mailers(default=later(mailer="only"), only=only, postal=POSTAL, other=POSTAL)
        with self.assertRaises(AnymailUnsupportedFeature):
            make_message(metadata={"a": 1}).send()
        self.assertEqual(len(QUEUED), 1)

    def test_not_ours_or_not_configured(self):
        """Nobody knows what they take."""
        locmem = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
        for mailer in (locmem, {**LEAF, "OPTIONS": {"nonesuch": 1}}):
            self.use_mailers(default=later(), a=mailer)
            with self.subTest(mailer):
                make_message(metadata={"a": 1}).send()

    def test_fail_silently(self):
        connection = mailers.create("default")
        connection.fail_silently = True
        REFUSALS.append(ConnectionRefusedError())
        self.assertEqual(connection.send_messages([make_message(), make_message()]), 1)

    def test_inline(self):
        """It is sent at once, and raises what keeps it from that."""
        self.use_mailers(default=later(engine="inline"))
        self.script(a=[None, fails(Problem.UNREACHABLE), fails(Problem.UNREACHABLE)])
        self.assertEqual(make_message().send(), 1)
        with self.assertRaises(AnymailError) as caught, self.assertLogs("anymail.delivery"):
            make_message().send()
        self.assertIs(caught.exception.problem, Problem.UNREACHABLE)
        with self.assertRaises(ZeroDivisionError), self.assertLogs("anymail.delivery"):
            self.script(a=ZeroDivisionError())
            make_message().send()

    # -- Large ones -----------------------------------------------------------------------------

    def test_too_large(self):
        self.use_mailers(default=later(inline_max=10))
        with self.assertRaisesMessage(AnymailLaterError, "'storage'") as caught:
            make_message().send()
        self.assertIs(caught.exception.problem, Problem.UNSUITABLE)

    def test_storage(self):
        self.use_mailers(default=later(inline_max=10, storage="jobs"))
        with tempfile.TemporaryDirectory() as folder, use_storage(folder):

            def files() -> list[str]:
                return storages["jobs"].listdir("anymail")[1]

            make_message().send()
            self.assertEqual(len(files()), 1)
            self.work()
            for error, left in ((ConnectionRefusedError(), 0), (TimeoutError(), 1)):
                REFUSALS.append(error)
                with self.assertRaises(AnymailLaterError):
                    make_message().send()
                self.assertEqual(len(files()), left)
            with (
                patch("django.core.files.storage.FileSystemStorage.save", side_effect=OSError),
                self.assertRaisesMessage(AnymailLaterError, "The storage 'jobs'") as caught,
            ):
                make_message().send()
            self.assertIs(caught.exception.problem, Problem.UNREACHABLE)
        with override_settings(STORAGES={}), self.assertRaises(ImproperlyConfigured):
            make_message().send()

    # -- The queue is away ----------------------------------------------------------------------

    def test_refused(self):
        for error, problem in (
            (ConnectionRefusedError(), Problem.UNREACHABLE),
            (TimeoutError(), Problem.UNCLEAR),
        ):
            REFUSALS.append(error)
            message = make_message()
            with self.subTest(problem), self.assertRaises(AnymailLaterError) as caught:
                message.send()
            self.assertIs(caught.exception.problem, problem)
            self.assertEqual(caught.exception.sent_count, 0)
            self.assertIsNone(message.anymail_status.status)
            self.assertEqual(self.signals.pop(), ("send_failed", "default", 1, problem, True))
        self.assertEqual(QUEUED, [])

    def test_silent(self):
        self.use_mailers(default=later(enqueue_timeout=0.05))
        end = threading.Event()
        self.addCleanup(end.set)
        started = time.perf_counter()
        with (
            patch.object(QueueEngine, "may_hang", True),
            patch.object(QueueEngine, "enqueue", lambda *args, **kwargs: end.wait(10)),
            self.assertRaises(AnymailLaterError) as caught,
        ):
            make_message().send()
        self.assertIs(caught.exception.problem, Problem.UNCLEAR)
        self.assertLess(time.perf_counter() - started, 5)

    def test_sent_at_once(self):
        self.use_mailers(default=later(fallback="send"))
        REFUSALS.append(ConnectionRefusedError())
        message = make_message()
        with self.logged("WARNING"):
            self.assertEqual(mailers["default"].send_messages([message]), 1)
        self.assertEqual((self.called, message.anymail_status.status), (["a"], {"sent"}))
        REFUSALS.append(ConnectionRefusedError())
        self.script(a=fails(Problem.MESSAGE))
        with self.logged("WARNING", "ERROR"), self.assertRaises(AnymailError) as caught:
            message.send()
        self.assertIs(caught.exception.problem, Problem.MESSAGE)

    def test_not_sent_at_once_before_its_time(self):
        self.use_mailers(default=later(fallback="send"))
        REFUSALS.append(ConnectionRefusedError())
        with self.assertRaises(AnymailLaterError):
            make_message().send_later(at=self.clock.now + 100)
        self.assertEqual(CALLS, [])

    def test_sent_at_once_though_it_may_be_queued(self):
        """The job that comes all the same sends nothing; if it could, nothing is sent at once."""
        self.use_mailers(default=later(fallback="send"))

        def late(engine: Any, job: str, **kwargs: Any) -> None:
            QUEUED.append((job, None, None))
            raise TimeoutError

        with patch.object(QueueEngine, "enqueue", late):
            with self.assertRaises(AnymailLaterError):
                make_message().send()
            QUEUED.clear()
            with patch("anymail.delivery.memory.Memory.is_shared", True), self.logged("WARNING"):
                make_message().send()
        self.assertEqual(len(CALLS), 1)
        with self.logged("WARNING"):
            self.work()
        self.assertEqual(len(CALLS), 1)


class TransactionTests(LaterTestCase):
    """In a transaction, messages are queued when it's committed."""

    databases = {"default"}

    def setUp(self) -> None:
        super().setUp()
        connection.ensure_connection()
        self.addCleanup(connection.close)

    def test_committed(self):
        with transaction.atomic():
            with transaction.atomic():
                self.assertEqual(make_message().send(), 1)
            self.assertEqual(QUEUED, [])
        self.assertEqual(len(QUEUED), 1)

    def test_rolled_back(self):
        with transaction.atomic():
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                make_message().send()
                raise ZeroDivisionError
            make_message(subject="Committed").send()
        self.assertEqual([self.queued()["message"]["subject"], len(QUEUED)], ["Committed", 1])

    def test_options(self):
        for on_commit, waits in ((True, True), (False, False), ("default", True), ("other", False)):
            self.use_mailers(default=later(on_commit=on_commit))
            with self.subTest(on_commit):
                QUEUED.clear()
                with transaction.atomic():
                    make_message().send()
                    self.assertEqual(len(QUEUED), not waits)
                self.assertEqual(len(QUEUED), 1)

    def test_queue_in_the_database(self):
        """It is in the transaction itself; or else in another database."""
        for database, waits in (("default", False), ("other", True)):
            QUEUED.clear()
            with patch.object(QueueEngine, "database", database, create=True), transaction.atomic():
                make_message().send()
                self.assertEqual(len(QUEUED), not waits)

    def test_mistakes_show_at_once(self):
        with transaction.atomic():
            with self.assertRaises(AnymailError) as caught:
                mailers["default"].send_messages([make_message(), make_message(to=["x"])])
            self.assertEqual(caught.exception.sent_count, 1)
        self.assertEqual(len(QUEUED), 1)

    def test_refused(self):
        """Nobody can get an error. All else that is to be done is done."""
        done: list[str] = []
        self.connect(pre_send, lambda **kwargs: done.append("sent"))
        message = make_message()
        with self.logged("ERROR"), transaction.atomic():
            transaction.on_commit(lambda: done.append("before"))
            message.send()
            transaction.on_commit(lambda: done.append("after"))
            REFUSALS.append(ConnectionRefusedError())
        self.assertEqual(done, ["before", "after"])
        self.assertEqual([error.problem for error in self.final], [Problem.UNREACHABLE])
        self.assertIsNone(message.anymail_status.status)

    def test_silent(self):
        """The queue is not asked for each of many messages."""
        with self.logged(*["ERROR"] * 4), transaction.atomic():
            mailers["default"].send_messages([make_message() for _ in range(4)])
            REFUSALS.append(TimeoutError())
            REFUSALS.insert(0, ConnectionRefusedError())
            REFUSALS.append(AssertionError("asked again"))
        self.assertEqual(
            [error.problem for error in self.final],
            [Problem.UNREACHABLE, Problem.UNCLEAR, Problem.UNREACHABLE, Problem.UNREACHABLE],
        )

    def test_sent_at_once(self):
        self.use_mailers(default=later(fallback="send"))
        with self.logged("WARNING"), transaction.atomic():
            make_message().send()
            REFUSALS.append(ConnectionRefusedError())
        self.assertEqual(self.called, ["a"])
