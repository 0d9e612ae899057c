"""Django's tasks with rows in the database: django-tasks-db, on SQLite, without its worker."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import modify_settings, override_settings
from django.utils import timezone

from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailConfigurationError
from anymail.later import send_later
from anymail.later.engines import TasksEngine, get_engine

from ..delivery.leaf import CALLS
from ..utils import make_message, skip_without
from .harness import LaterTestCase, later
from .test_engines import HAS_TASKS
from .test_job import use_storage

TASKS = {"mail": {"BACKEND": "django_tasks_db.backend.DatabaseBackend", "QUEUES": ["one"]}}


@contextmanager
def tasks_table() -> Iterator[Any]:
    """Have the table of the tasks. ``with`` gives the model."""
    with (
        modify_settings(INSTALLED_APPS={"append": "django_tasks_db"}),
        override_settings(TASKS=TASKS),
    ):
        from django_tasks_db.models import DBTaskResult

        with connection.schema_editor() as editor:
            editor.create_model(DBTaskResult)
        try:
            yield DBTaskResult
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(DBTaskResult)


class CommandTestCase(LaterTestCase):
    databases = {"default"}

    def command(self, *arguments: str) -> list[str]:
        output = io.StringIO()
        call_command("anymail_later", *arguments, stdout=output)
        return output.getvalue().splitlines()


@skipUnless(HAS_TASKS, "needs Django 6.0, or 5.2 and django-tasks")
@skip_without("django_tasks_db")
class DatabaseTests(CommandTestCase):
    mailers = {"default": later(engine="tasks", tasks_backend="mail")}

    def setUp(self) -> None:
        super().setUp()
        table = tasks_table()
        self.model = table.__enter__()
        self.addCleanup(table.__exit__, None, None, None)

    def rows(self) -> list[Any]:
        return list(self.model.objects.all())

    def run_row(self, row: Any, worker: str = "worker") -> None:
        """Do what the worker does with a task."""
        row.claim(worker)
        result = row.task_result
        task = row.task
        from django_tasks_db.compat import TaskContext

        task.call(TaskContext(task_result=result), *result.args)
        row.set_successful(None)

    def test_sent(self):
        make_message().send()
        [row] = self.rows()
        self.assertEqual((row.queue_name, row.backend_name), ("one", "mail"))
        self.run_row(row)
        self.assertEqual(len(CALLS), 1)

    def test_unknown_queue(self):
        """A mistake in the settings, and no trouble with the queue, after which to send at once."""
        message = make_message()
        with (
            self.assertRaisesMessage(AnymailConfigurationError, "has no queue 'slow', but 'one'"),
            transaction.atomic(),
        ):
            send_later(message, queue="slow")
        self.assertEqual(self.rows(), [])

    def test_in_the_transaction(self):
        engine = get_engine("tasks", tasks_backend="mail")
        self.assertIsInstance(engine, TasksEngine)
        self.assertEqual(engine.database, "default")
        self.assertFalse(engine.may_hang)
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            make_message().send()
            self.assertEqual(len(self.rows()), 1)
            raise ZeroDivisionError
        self.assertEqual(self.rows(), [])

    def test_again_later(self):
        from anymail.exceptions import Problem

        from ..delivery.leaf import fails

        self.script(a=fails(Problem.ACCOUNT))
        make_message().send()
        self.run_row(self.rows()[0])
        [row] = self.model.objects.filter(status="READY")
        self.assertAlmostEqual(row.run_after.timestamp(), self.clock.now + 600, places=2)
        self.clock.now += 600
        self.run_row(row)
        self.assertEqual((len(CALLS), self.final), (2, []))

    def test_stale(self):
        """What a killed worker leaves is listed, and run again."""
        message = make_message()
        message.send()
        make_message().send()
        row, other = self.rows()
        row.claim("killed")
        other.claim("alive")
        self.model.objects.filter(pk=row.pk).update(started_at=timezone.now() - timedelta(hours=2))
        self.assertEqual(self.command("--stale", "3h"), ["There are none."])
        [line] = self.command("--stale")
        self.assertIn(f"task {row.id}", line)
        ids = [self.rows()[index].args_kwargs for index in (0, 1)]
        self.assertEqual(len(ids), 2)
        [line] = self.command("--stale", "90m", "--requeue")
        self.assertIn("Runs again.", line)
        row.refresh_from_db()
        self.assertEqual(row.status, "READY")
        with patch("anymail.delivery.memory.Memory.is_shared", True):
            self.run_row(row)
        self.assertEqual(len(CALLS), 1)

    def test_failed(self):
        make_message().send()
        [row] = self.rows()
        self.model.objects.filter(pk=row.pk).update(args_kwargs={"args": ["x"], "kwargs": {}})
        row.refresh_from_db()
        row.claim("worker")
        row.set_failed(ValueError())
        [line] = self.command("--stale")
        self.assertIn("can't be read", line)

    def test_not_as_it_was(self):
        make_message().send()
        [row] = self.rows()
        row.claim("worker")
        row.set_failed(ValueError())

        def change(*args: Any) -> str:
            row.set_successful(None)
            return "changed"

        with (
            patch("anymail.management.commands.anymail_later._describe", change),
            self.assertRaisesMessage(CommandError, "1 of 1 can't be run again"),
        ):
            self.command("--stale", "--requeue")


class OtherQueuesTests(CommandTestCase):
    def test_nothing(self):
        self.assertEqual(self.command("--requeue"), ["There are none."])

    def test_mistakes(self):
        for arguments, text in ((["--stale", "1x"], "An age is"), ([], "Say what to do")):
            with self.assertRaisesMessage(CommandError, text):
                self.command(*arguments)

    def test_kept_calls(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            use_storage(folder),
            override_settings(ANYMAIL_WEBHOOK_LATER_STORAGE="jobs"),
        ):
            name = "anymail-webhooks/20260101T120000_mailgun_id"
            storages["jobs"].save(name, ContentFile(b"job"))
            self.assertEqual(
                self.command("--stale"),
                [f"2026-01-01 12:00:00 UTC given up: the mailgun webhook call in {name}."],
            )
            with patch("anymail.management.commands.anymail_later.requeue") as requeue:
                self.command("--stale", "--requeue")
            [(kept,), _] = requeue.call_args
            self.assertEqual(kept.name, name)

    def test_clean(self):
        self.use_mailers(default=later(storage="jobs", inline_max=0))
        with tempfile.TemporaryDirectory() as folder, use_storage(folder):
            mailers["default"].send_messages([make_message()])
            self.assertEqual(self.command("--clean"), ["Deleted 0 files."])
            self.clock.now += 3 * 86400
            self.assertEqual(self.command("--clean"), ["Deleted 1 files."])
