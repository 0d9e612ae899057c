"""Processes are killed while they send: nothing is sent twice, and nothing is lost in silence."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import skipIf

import django
from django.test import tag

from ...postgresql import postgresql_server
from ...utils import skip_without
from .cases import CeleryTestCase, RealTestCase
from .processes import Project

AT_ONCE = 2
ROUNDS = max(1, int(os.environ.get("ANYMAIL_KILLS", "2")) // AT_ONCE)
"""So many processes are killed in each moment, so often."""

MOMENTS = ("before", "during", "after")
"""The provider's call."""

IMPATIENT = {
    # Nobody waits for a minute here until a claim of somebody who was killed is over.
    "WITNESS_GRACE": 1,
    "WITNESS_SCALE": 0.01,
}


class KillsTestCase(RealTestCase):
    def in_rounds(self, test: Callable[[], None]) -> None:
        for number in range(ROUNDS):
            with self.subTest(round=number):
                if number:
                    self.stack.close()
                    self.setUp()
                test()

    def subjects(self, provider: str) -> list[str]:
        return [f"{moment} {provider} {n}" for moment in MOMENTS for n in range(AT_ONCE)]

    def send_and_hold(self, site: Project) -> dict[str, int]:
        """Have all messages sent until the moments when processes are to be killed.

        Returns these processes.
        """
        site.hold()
        client = site.client()
        subjects: list[str] = []
        for name in self.provider_names:
            messages = [{"subject": subject} for subject in self.subjects(name)]
            subjects += self.subjects(name)
            answers = client.send(messages=messages, mailer=f"later-{name}")
            self.assertEqual({status for status, _ in answers}, {"later"}, answers)
        site.wait_for(
            lambda: set(site.held()) == set(subjects) and all(site.held().values()),
            f"process for each of {subjects}",
        )
        return site.held()

    def check_fates(self, site: Project, stale: str = "") -> None:
        """Wait until it's known what became of each message, and check that."""
        for name in self.provider_names:
            for subject in self.subjects(name):
                with self.subTest(subject):
                    site.wait_for(partial(self.is_over, site, subject), f"end of {subject!r}")
        self.wait_for_silence(site)
        arrived = self.arrived()
        for name in self.provider_names:
            for subject in self.subjects(name):
                with self.subTest(subject):
                    self.assertLessEqual(arrived[subject], 1)
                    accepted = bool(site.noted("accepted", subject=subject))
                    told = site.noted("failed", subject=subject, final=True)
                    self.assertLessEqual(len(told), 1)
                    self.assertTrue(accepted or told, "lost in silence")
                    if told:
                        self.assertEqual(told[0]["problem"], "unclear")
                    if name == "resend":  # It knows the message by its key.
                        self.assertEqual((arrived[subject], told), (1, []))

    def is_over(self, site: Project, subject: str) -> Any:
        if "after" in subject and len(site.noted("begun", subject=subject)) == 1:
            # Who was killed has told that it was accepted, but has not ended the job.
            return site.noted("accepted", subject=subject)
        return site.noted("accepted", subject=subject) or site.noted(
            "failed", subject=subject, final=True
        )

    def wait_for_silence(self, site: Project) -> None:
        """Wait until no job is left in the engine: such a one could be sent yet."""
        raise NotImplementedError


@tag("real")
@skip_without("celery", "redis")
class CeleryTests(CeleryTestCase, KillsTestCase):
    def wait_for_silence(self, site: Project) -> None:
        import redis

        connection = redis.Redis.from_url(self.redis.url)
        self.addCleanup(connection.close)
        site.wait_for(
            lambda: not connection.llen("celery") and not connection.hlen("unacked"),
            "end of all jobs",
        )

    @property
    def concurrency(self) -> int:
        return len(self.provider_names) * len(MOMENTS) * AT_ONCE

    def test_child(self):
        self.in_rounds(self.kill_children)

    def test_worker(self):
        self.in_rounds(self.kill_worker)

    def kill_children(self) -> None:
        site = self.start_project(**IMPATIENT)
        site.celery_worker(self.concurrency)
        processes = self.send_and_hold(site)
        site.release()
        for pid in processes.values():
            os.kill(pid, signal.SIGKILL)
        self.check_fates(site)

    def kill_worker(self) -> None:
        site = self.start_project(**IMPATIENT)
        worker = site.celery_worker(self.concurrency)
        self.send_and_hold(site)
        worker.kill()
        site.release()
        site.celery_worker(2)
        self.check_fates(site)


@tag("real")
@skipIf(django.VERSION < (5, 2), "Django 5.2 is the first that has tasks")
@skip_without("psycopg", "redis", "django_tasks_db")
class TasksTests(KillsTestCase):
    # A process for each message, which takes long to start
    provider_names = ("postmark", "resend") if ROUNDS > 1 else ("postmark",)

    def engine_options(self) -> dict[str, Any]:
        return {"engine": "tasks", "on_commit": False}

    def test_worker(self):
        self.in_rounds(self.kill_workers)

    def kill_workers(self) -> None:
        database = self.stack.enter_context(postgresql_server())
        site = self.start_project(**tasks_settings(database), **IMPATIENT)
        site.client().manage("migrate", "--verbosity=0")
        count = len(self.provider_names) * len(MOMENTS) * AT_ONCE
        workers = site.db_workers(count)
        self.send_and_hold(site)
        for worker in workers:
            worker.kill()
        site.release()
        self.client = site.client()
        site.db_workers(1)
        listed = self.client.manage("anymail_later", "--stale", "0s", "--requeue")
        self.assertEqual(listed.count("Runs again."), count, listed)
        self.check_fates(site)

    def wait_for_silence(self, site: Project) -> None:
        site.wait_for(lambda: self.client.count_tasks() == 0, "end of all jobs")
        self.assertIn("none", self.client.manage("anymail_later", "--stale", "0s"))


def tasks_settings(database: dict[str, Any]) -> dict[str, Any]:
    """Return settings for django-tasks-db, with its tables in a database."""
    return {
        "INSTALLED_APPS": ["anymail", "django_tasks_db", "witness"],
        "DATABASES": {"default": database},
        "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
    }
