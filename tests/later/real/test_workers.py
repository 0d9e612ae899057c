"""Celery's workers when something goes wrong, with a broker of their own."""

from __future__ import annotations

import time
from typing import Any

from django.test import tag

from ...redis_server import RedisServer, running_redis
from ...utils import skip_without
from .cases import CeleryTestCase
from .processes import Project, celery_settings
from .test_kills import IMPATIENT

EXECUTIONS = 4
"""How often a job is begun, at the most, that never ends."""


@tag("real")
@skip_without("celery", "redis")
class WorkersTests(CeleryTestCase):
    def start_project(self, **settings: Any) -> Project:
        return super().start_project(**{**IMPATIENT, **settings})

    def queue(self, site: Project, *subjects: str, provider: str = "postmark") -> None:
        messages = [{"subject": subject} for subject in subjects]
        answers = site.client().send(messages=messages, mailer=f"later-{provider}")
        self.assertEqual({status for status, _ in answers}, {"later"}, answers)

    def wait_for_end(self, site: Project, subject: str, what: str) -> dict[str, Any]:
        """Wait until a message was "accepted", or has "failed" for good."""
        values = {"final": True} if what == "failed" else {}
        [line] = site.wait_for(lambda: site.noted(what, subject=subject, **values), what)
        return dict(line)

    def test_job_that_kills_its_worker(self):
        site = self.start_project()
        site.celery_worker(2)
        self.queue(site, "deadly", "harmless")
        self.wait_for_end(site, "harmless", "accepted")
        failure = self.wait_for_end(site, "deadly", "failed")
        self.assertEqual(failure["problem"], "unclear")
        self.assertLessEqual(len(site.noted("begun", subject="deadly")), EXECUTIONS)
        self.assertEqual(self.arrived(), {"harmless": 1})

    def test_hard_time_limit(self):
        site = self.start_project(CELERY_TASK_TIME_LIMIT=1)
        site.celery_worker(2)
        site.hold()
        self.queue(site, "before", "during", "after")
        outcomes = {
            "before": self.wait_for_end(site, "before", "failed"),
            "during": self.wait_for_end(site, "during", "failed"),
            "after": self.wait_for_end(site, "after", "accepted"),
        }
        for subject in ("before", "during"):
            self.assertEqual(outcomes[subject]["problem"], "unclear")
        site.release()
        self.assertEqual(self.arrived(), {"during": 1, "after": 1})

    def test_busy_provider_is_left_alone(self):
        """By all workers, for as long as it asks."""
        pause = 5
        site = self.start_project()
        workers = [site.celery_worker(2) for _ in range(2)]
        self.provider.fail_next("busy", retry_after=pause)
        self.queue(site, "first", provider="resend")  # which says for how long
        first = site.wait_for(lambda: self.provider.calls, "call")[0]
        self.assertEqual(first.response.status, 429)
        others = [str(number) for number in range(20)]
        self.queue(site, *others, provider="resend")
        for subject in ("first", *others):
            self.wait_for_end(site, subject, "accepted")
        self.assertEqual(self.arrived(), dict.fromkeys(("first", *others), 1))
        self.assertGreaterEqual(
            min(call.time for call in self.provider.calls[1:]), first.time + pause
        )
        pids = {line["pid"] for line in site.noted("accepted")}
        self.assertGreater(len(pids), len(workers), "all take part")

    def test_no_line_about_anymail(self):
        """A worker finds the tasks by itself: its settings name the app, and nothing else."""
        site = self.start_project()
        worker = site.celery_worker()
        self.assertRegex(worker.output, r"\. anymail\.deliver\n")
        self.assertRegex(worker.output, r"\. anymail\.handle_webhook\n")


@tag("real")
@skip_without("celery", "redis")
class BrokerTests(CeleryTestCase):
    """The broker goes away while a job is to be tried again, and comes back with what it had."""

    provider_names = ("postmark",)

    def setUp(self) -> None:
        super().setUp()
        self.broker: RedisServer = self.stack.enter_context(
            running_redis("--appendonly", "yes", "--appendfsync", "always")
        )

    def test_broker_goes_away(self):
        site = self.start_project(**celery_settings(self.broker.url), **IMPATIENT)
        site.celery_worker()
        self.provider.fail_next("busy", retry_after=1)
        site.hold()
        client = site.client()
        client.send(messages=[{"subject": "during"}], mailer="later-postmark")
        site.wait_for(site.held, "call")
        self.broker.stop()
        site.release()  # The provider answers that it's busy, and nobody takes the job.
        site.wait_for(lambda: self.provider.calls, "answer")
        time.sleep(2)
        self.assertEqual(self.arrived(), {})
        self.broker.start()
        site.wait_for(lambda: site.noted("accepted"), "end")
        self.assertEqual(self.arrived(), {"during": 1})
        self.assertEqual(site.noted("failed", final=True), [])
