from __future__ import annotations

import tempfile
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

import django
from django.core import mail
from django.core.checks import CheckMessage
from django.test import SimpleTestCase, override_settings

from anymail.checks import check_later, check_mailers

from ..delivery.leaf import LEAF, mailer_settings
from ..delivery.test_strategies import failover
from ..utils import skip_without
from .harness import later
from .test_engines import DUMMY, HAS_TASKS, TASKS_PACKAGE
from .test_job import use_storage

SMTP = {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"}
IMMEDIATE = f"{TASKS_PACKAGE}.backends.immediate.ImmediateBackend"


class CheckTests(SimpleTestCase):
    """What would lose messages, or keep them from being sent, is told before."""

    def check(self, settings: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """Return the ids of what is found. The texts are in ``found``."""
        config = later(**options)
        with mailer_settings({"default": config, "a": SMTP}), override_settings(**settings or {}):
            messages = [*check_later(None), *check_mailers(None)]
        self.found = "\n".join(f"{message.msg} {message.hint}" for message in messages)
        self.assertTrue(all(type(message) is CheckMessage for message in messages))
        return [str(message.id).removeprefix("anymail.") for message in messages]

    def setUp(self) -> None:
        super().setUp()
        patcher = patch("anymail.delivery.memory.Memory.is_shared", True)
        self.shared = patcher.start()
        self.addCleanup(patcher.stop)

    def test_fine(self):
        self.assertEqual(self.check(), [])
        self.assertEqual(self.check(engine="inline"), [])

    def test_mailer(self):
        for options, text in (
            ({"mailer": "b"}, "'mailer' has 'b', but there is no such mailer."),
            ({"mailer": None}, "must have 'mailer'"),
            ({"engin": "x"}, "Did you mean 'engine'?"),
        ):
            with self.subTest(options):
                self.assertEqual(self.check(**options)[0][1:], "009")
                self.assertIn(text, self.found)

    def test_circle(self):
        mailers = {"default": later(mailer="other"), "other": later(mailer="default")}
        with mailer_settings(mailers):
            messages = check_mailers(None)
        self.assertIn("'default' -> 'other' -> 'default'", messages[0].msg)

    def test_engine(self):
        self.assertEqual(self.check(engine="nonesuch"), ["E012"])
        self.assertIn("no engine 'nonesuch'", self.found)
        self.assertNotIn("..", self.found)
        self.assertEqual(self.check(engine="nonesuch.Engine"), ["E012"])

    @skipUnless(HAS_TASKS, "needs Django's tasks")
    def test_tasks_backend(self):
        self.assertEqual(self.check(engine="tasks", tasks_backend="nonesuch"), ["E012"])
        self.assertIn("There is no 'nonesuch' in the setting TASKS.", self.found)

    def test_mailers_that_stand_for_themselves(self):
        path = "anymail.backends.mailers.EmailBackend"
        settings = [mailer_settings({"default": {"BACKEND": path}})]
        if django.VERSION < (6, 1):
            settings.append(override_settings(EMAIL_BACKEND=path, ANYMAIL={}))
        for override in settings:
            with override:
                [error, *_] = check_mailers(None)
            self.assertIn("name the backend that is to send there", error.msg)

    def test_storage(self):
        with tempfile.TemporaryDirectory() as folder:
            with use_storage(folder):
                self.assertEqual(self.check(storage="jobs"), [])
                self.assertEqual(self.check(storage="others"), ["E012"])
                self.assertIn("Add it there.", self.found)
            with use_storage(folder, base_url="/jobs/"):
                self.assertEqual(self.check(storage="jobs"), ["E012"])
                self.assertIn("others may read", self.found)
                self.assertEqual(self.check(storage="jobs", storage_is_private=True), [])
            for alias in ("default", "staticfiles"):
                with use_storage(folder, alias):
                    self.assertEqual(self.check(storage=alias), ["E012"])

    def test_cache(self):
        with patch("anymail.delivery.memory.Memory.is_shared", False):
            self.assertEqual(self.check(), ["W012"])
            self.assertIn("DELIVERY_CACHE", self.found)
            self.assertEqual(self.check({"DEBUG": True}), [])
            self.assertEqual(self.check(engine="inline"), [])

    def test_settle(self):
        postal = {"api_key": "key", "api_url": "https://postal.example.com/"}
        mailers = {
            "default": later(mailer="both", settle=5),
            "both": failover("a", "b"),
            "a": {"BACKEND": "anymail.backends.postal.EmailBackend", "OPTIONS": postal},
            "b": LEAF,
        }
        with mailer_settings(mailers):
            [warning] = check_later(None)
            self.assertIn("unclear with 'a': there are no events", warning.msg)
        mailers["default"] = later(mailer="b", settle=5)
        mailers["both"] = failover("default", "both2")
        with mailer_settings({**mailers, "both2": failover("both", "a")}):
            self.assertEqual(check_later(None), [])
        mailers["default"] = later(mailer="both", settle=5)
        with mailer_settings({**mailers, "both": failover("c"), "c": failover("both")}):
            self.assertEqual(check_later(None), [])

    @skipUnless(HAS_TASKS, "needs Django 6.0, or 5.2 and django-tasks")
    def test_tasks(self):
        tasks = {
            "mail": {"BACKEND": DUMMY, "QUEUES": ["one", "two"]},
            "now": {"BACKEND": IMMEDIATE},
        }
        options = {"engine": "tasks", "tasks_backend": "mail"}
        self.assertEqual(self.check({"TASKS": tasks}, **options), [])
        self.assertEqual(self.check({"TASKS": tasks}, **options, queue="two"), [])
        self.assertEqual(self.check({"TASKS": tasks}, **options, queue="three"), ["E012"])
        self.assertIn("TASKS['mail'] has no queue 'three', but 'one', 'two'", self.found)
        self.assertEqual(self.check({"TASKS": tasks}, engine="tasks"), ["E012"])
        options["tasks_backend"] = "now"
        self.assertEqual(self.check({"TASKS": tasks}, **options), [])  # in a test run
        outbox = mail.outbox
        del mail.outbox
        self.addCleanup(setattr, mail, "outbox", outbox)
        for debug in (True, False):
            self.assertEqual(self.check({"TASKS": tasks, "DEBUG": debug}, **options), ["W012"])

    @skip_without("celery")
    def test_celery(self):
        from celery import Celery, current_app

        self.addCleanup(current_app._get_current_object().set_current)
        app = Celery("anymail-checks", broker="memory://", set_as_current=True)
        self.assertEqual(self.check(engine="celery"), [])
        app.conf.broker_url = "redis://localhost/0"
        self.assertEqual(self.check(engine="celery"), ["W012"])
        self.assertIn("no socket_timeout and no socket_connect_timeout", self.found)
        app.conf.broker_transport_options = {"socket_timeout": 5, "visibility_timeout": 900}
        self.assertEqual(self.check(engine="celery"), ["W012", "W012"])
        app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 5}
        self.assertEqual(self.check(engine="celery"), [])
