"""How fast Celery's workers send what is in the queue, against threads that send directly."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.later.real.processes import celery_settings, project, redis_cache, settings_for
from tests.redis_server import redis_server

from .concurrency import SERVER_SECONDS
from .measure import Table, seconds_per_call
from .payloads import plain_message
from .project import set_up
from .server import LoopbackServer

if TYPE_CHECKING:
    from tests.later.real.processes import Client

WORKERS = 8
MESSAGES = 400
ROUNDS = 2
"""Those that count."""

GOAL = 0.8

QUEUE = "celery"


class Queue:
    """The broker, as somebody sees it who looks on."""

    def __init__(self, url: str) -> None:
        import redis

        self.redis = redis.Redis.from_url(url)

    def wait_until_empty(self) -> None:
        while self.redis.llen(QUEUE) or self.redis.hlen("unacked"):
            time.sleep(0.01)


def send_directly(url: str) -> None:
    from anymail.backends.postmark import EmailBackend

    def send(messages: int) -> None:
        backend = EmailBackend(api_url=url, server_token="token")
        for _ in range(messages):
            assert backend.send_messages([plain_message()]) == 1

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(send, [MESSAGES // WORKERS] * WORKERS))


def seconds_of_workers(client: Client, queue: Queue) -> float:
    """Return how long the workers take for all messages, which are in the queue before."""
    message = {"subject": "Subject", "body": plain_message().body}
    client.control("cancel_consumer", QUEUE)
    client.send(messages=[message] * MESSAGES, mailer="later")
    assert queue.redis.llen(QUEUE) == MESSAGES
    client.control("add_consumer", QUEUE)
    return seconds_per_call(queue.wait_until_empty)


def run() -> list[Table]:
    set_up()
    leaf = "anymail.backends.postmark.EmailBackend"
    with LoopbackServer(SERVER_SECONDS) as server, redis_server() as redis_url:
        mailers: dict[str, Any] = {
            "later": {
                "BACKEND": "anymail.backends.later.EmailBackend",
                "OPTIONS": {"mailer": "now", "engine": "celery"},
            },
            "now": {"BACKEND": leaf, "OPTIONS": {"api_url": server.url, "server_token": "token"}},
        }
        settings = settings_for(
            mailers,
            INSTALLED_APPS=["anymail"],
            ANYMAIL={"DELIVERY_CACHE": "default"},
            CACHES={"default": redis_cache(redis_url)},
            **celery_settings(redis_url, CELERY_WORKER_PREFETCH_MULTIPLIER=4),
        )
        certificate = {name: os.environ[name] for name in ("NO_PROXY", "REQUESTS_CA_BUNDLE")}
        with project(settings, **certificate) as site:
            site.celery_worker(WORKERS)
            client, queue = site.client(), Queue(redis_url)
            directly, later = [], []
            for number in range(ROUNDS + 1):
                seconds = (
                    seconds_per_call(lambda: send_directly(server.url)),
                    seconds_of_workers(client, queue),
                )
                if number:  # The first is for all to warm up.
                    directly.append(MESSAGES / seconds[0])
                    later.append(MESSAGES / seconds[1])
            queue.redis.close()
    by_threads, by_workers = statistics.median(directly), statistics.median(later)
    table = Table(
        f"{MESSAGES} messages, {SERVER_SECONDS * 1000:g} ms each at the provider",
        ["", "messages per second", "to threads", "goal"],
    )
    table.add(f"{WORKERS} threads, directly", f"{by_threads:.0f}", "1.00 x", "")
    table.add(
        f"{WORKERS} processes of a Celery worker",
        f"{by_workers:.0f}",
        f"{by_workers / by_threads:.2f} x",
        f"at least {GOAL:.2f} x",
    )
    return [table]
