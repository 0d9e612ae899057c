"""``manage.py anymail_later``: jobs that nobody works on any more, and files that are left."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone as django_timezone

from ...delivery.mailers import mailers
from ...later.engines import tasks_path
from ...later.job import MAIL, WEBHOOK, read_job
from ...later.storage import left_files
from ...webhooks.kept import CallStorage, kept_calls
from ...webhooks.later import requeue

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TASKS = {tasks_path("deliver"): MAIL, tasks_path("handle_webhook"): WEBHOOK}


@dataclass(frozen=True)
class Stale:
    """A job that nobody works on."""

    text: str
    since: datetime
    requeue: Callable[[], object]


class Command(BaseCommand):
    """Lists jobs that nobody works on, has them run again, and deletes files that are left."""

    help = (
        "Lists messages and webhook calls that no worker will go on with, because one died or gave "
        "up, and can have them run again; deletes files of large jobs that are left."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--stale",
            nargs="?",
            const="1h",
            metavar="AGE",
            help="list jobs that workers began with so long ago, such as 30m, 1h (the default) or "
            "2d, and those that failed",
        )
        parser.add_argument(
            "--requeue", action="store_true", help="have these run again (with --stale)"
        )
        parser.add_argument(
            "--clean", action="store_true", help="delete files whose jobs must have ended"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["stale"] is None and options["requeue"]:
            options["stale"] = "1h"
        if options["stale"] is None and not options["clean"]:
            raise CommandError("Say what to do: --stale, --stale --requeue, or --clean.")
        if options["stale"] is not None:
            self._stale(_seconds(options["stale"]), requeue=options["requeue"])
        if options["clean"]:
            self._clean()

    def _stale(self, seconds: float, *, requeue: bool) -> None:
        count = failed = 0
        for item in (*_stale_tasks(seconds), *_kept_calls()):
            count += 1
            outcome = ""
            if requeue:
                try:
                    item.requeue()
                    outcome = " Runs again."
                except Exception as error:  # noqa: BLE001 (the others are to be tried, too)
                    failed += 1
                    outcome = f" Can't be run again: {type(error).__name__}: {error}"
            since = django_timezone.localtime(item.since)
            self.stdout.write(f"{since:%Y-%m-%d %H:%M:%S %Z} {item.text}{outcome}")
        if not count:
            self.stdout.write("There are none.")
        if failed:
            raise CommandError(f"{failed} of {count} can't be run again.")

    def _clean(self) -> None:
        from django.core.files.storage import storages

        count = 0
        for alias in sorted(_storages()):
            for name in list(left_files(alias, time.time())):
                storages[alias].delete(name)
                count += 1
        self.stdout.write(f"Deleted {count} files.")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smhd]?)", text)
    if match is None:
        raise CommandError(f"An age is a number and s, m, h or d, such as 1h; not {text!r}.")
    return float(match[1]) * _UNITS[match[2]]


def _storages() -> set[str]:
    """Return the storages that files of jobs can be in."""
    options = (config.get("OPTIONS", {}) for config in mailers.settings.values())
    found = {str(item["storage"]) for item in options if item.get("storage")}
    alias = CallStorage().alias
    return found if alias is None else {*found, alias}


def _stale_tasks(seconds: float) -> Iterator[Stale]:
    """Yield the tasks of django-tasks-db that are running since long ago, or have failed.

    Its worker leaves a task as running when it's killed. (Celery's brokers give a job to another
    worker by themselves.)
    """
    if not apps.is_installed("django_tasks_db"):
        return
    model: Any = import_module("django_tasks_db.models").DBTaskResult
    limit = django_timezone.now() - timedelta(seconds=seconds)
    ours = model.objects.filter(task_path__in=_TASKS)
    rows = [*ours.filter(status="RUNNING", started_at__lt=limit), *ours.filter(status="FAILED")]
    for row in sorted(rows, key=lambda row: row.started_at or row.enqueued_at):
        state = "since then, a worker is running" if row.status == "RUNNING" else "failed:"
        yield Stale(
            f"{state} task {row.id}, {_describe(row)}.",
            row.started_at or row.enqueued_at,
            _requeue_row(model, row),
        )


def _describe(row: Any) -> str:
    salt = _TASKS[row.task_path]
    what = "message" if salt == MAIL else "webhook call"
    try:
        content = read_job(row.args_kwargs["args"][0], salt=salt)
    except Exception as error:  # noqa: BLE001 (whatever is in there)
        return f"a {what} that can't be read ({type(error).__name__})"
    return f"the {what} with job {content.get('id')}"


def _requeue_row(model: Any, row: Any) -> Callable[[], object]:
    def requeue() -> None:
        # Unless a worker has ended it meanwhile.
        changed = model.objects.filter(pk=row.pk, status=row.status, started_at=row.started_at)
        if not changed.update(status="READY", started_at=None, finished_at=None):
            raise CommandError("it is not as it was")

    return requeue


def _kept_calls() -> Iterator[Stale]:
    for kept in kept_calls():
        yield Stale(
            f"given up: the {kept.esp} webhook call in {kept.name}.",
            kept.since.astimezone(timezone.utc),
            partial(requeue, kept),
        )
