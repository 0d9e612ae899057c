"""Webhook calls that a Celery worker handles, with a broker that goes away and forged jobs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from django.test import override_settings, tag

from anymail.later.job import MAIL, WEBHOOK, sign_job

from ...redis_server import RedisServer, running_redis
from ...utils import skip_without
from ...webhooks.cases.mailgun import MAILGUN
from ...webhooks.harness import BASIC_AUTH, basic_auth_header
from ...webhooks.large import large_mailgun_call
from .cases import CeleryTestCase
from .processes import Client, Project, celery_settings

SENDGRID = "/sendgrid/tracking/"


@tag("real")
@skip_without("celery", "redis")
class WebhooksTests(CeleryTestCase):
    provider_names = ("postmark",)

    def setUp(self) -> None:
        super().setUp()
        self.broker: RedisServer = self.stack.enter_context(running_redis())

    def start_project(self, **settings: Any) -> Project:
        site = super().start_project(
            ROOT_URLCONF="anymail.urls",
            ALLOWED_HOSTS=["*"],
            WITNESS_LEASE=1,
            ANYMAIL={
                "WEBHOOK_SECRET": BASIC_AUTH,
                "WEBHOOK_LATER": "celery",
                "WEBHOOK_LATER_STORAGE": "calls",
                "WEBHOOK_DEDUPE_CACHE": "default",
                **MAILGUN.settings,
            },
            **celery_settings(self.broker.url),
        )
        backend = "django.core.files.storage.FileSystemStorage"
        self.calls = site.directory / "calls"
        site.change(
            STORAGES={"calls": {"BACKEND": backend, "OPTIONS": {"location": str(self.calls)}}}
        )
        return site

    def post(self, site: Project, client: Client, *ids: str) -> int:
        events = [{"event": "open", "sg_event_id": event_id} for event_id in ids]
        return self.post_body(site, client, SENDGRID, json.dumps(events).encode())

    def post_body(
        self, site: Project, client: Client, path: str, body: bytes, content_type: str = ""
    ) -> int:
        file = site.directory / "body"
        file.write_bytes(body)
        status: int = client.post(
            path=path,
            file=str(file),
            content_type=content_type or "application/json",
            authorization=basic_auth_header(),
        )
        return status

    def wait_for_events(self, site: Project, *ids: str) -> None:
        """Wait until there are all of these, and check that there is none twice."""

        def events() -> Counter[str]:
            return Counter(line["event_id"] for line in site.noted("event"))

        site.wait_for(lambda: set(ids) <= set(events()), f"event for each of {ids}")
        time.sleep(0.5)
        self.assertEqual(events(), Counter(ids))

    def test_broker_that_is_away_and_worker_that_is_killed(self):
        site = self.start_project()
        client = site.client()
        self.broker.stop()
        self.assertEqual(self.post(site, client, "first", "before", "last"), 503)
        self.broker.start()
        site.celery_worker(2)
        site.hold()
        self.assertEqual(self.post(site, client, "first", "before", "last"), 200)
        [pid] = site.wait_for(lambda: [pid for pid in site.held().values() if pid], "event")
        site.release()
        os.kill(pid, signal.SIGKILL)
        # Meanwhile, the provider repeats its call.
        self.assertEqual(self.post(site, client, "first", "before", "last"), 200)
        self.wait_for_events(site, "first", "before", "last")

    def test_large_message(self):
        site = self.start_project()
        call = large_mailgun_call(20_000_000, path="/mailgun/inbound/")
        status = self.post_body(
            site, site.client(), call.path, call.body, call.effective_content_type
        )
        self.assertEqual(status, 200)
        self.assertLess(sum(map(len, self.queued())), 10_000)
        self.assertEqual(len(self.files()), 1)
        site.celery_worker()
        site.wait_for(lambda: site.noted("event", type="inbound"), "message")
        site.wait_for(lambda: not self.files(), "end of the file")

    def queued(self) -> list[bytes]:
        from redis import Redis

        with Redis.from_url(self.broker.url) as redis:
            return redis.lrange("celery", 0, -1)  # type: ignore[no-any-return]

    def files(self) -> list[Path]:
        return [path for path in self.calls.rglob("*") if path.is_file()]

    def test_forged_jobs(self):
        site = self.start_project()
        client = site.client()
        now = time.time()
        events = json.dumps([{"event": "open", "sg_event_id": "forged"}])
        content = {"id": "1", "due": now, "max_age": 1000, "esp_name": "SendGrid", "body": events}
        with override_settings(SECRET_KEY="another"):
            stranger = sign_job(content, salt=WEBHOOK)
        with override_settings(SECRET_KEY=site.settings["SECRET_KEY"]):
            mail, call = sign_job(content, salt=MAIL), sign_job(content, salt=WEBHOOK)
        worker = site.celery_worker()
        client.publish(jobs=[events, stranger, mail], task="anymail.handle_webhook")
        client.publish(jobs=[events, call], task="anymail.deliver")
        self.assertEqual(self.post(site, client, "genuine"), 200)
        self.wait_for_events(site, "genuine")
        site.wait_for(lambda: worker.output.count(" is not one of this project") == 5, "refusal")
        self.assertEqual(self.arrived(), {})
