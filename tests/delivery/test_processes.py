"""What processes tell each other, by way of a Redis server."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, ClassVar

from django.test import SimpleTestCase, tag

from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox

from ..redis_server import redis_server
from ..utils import skip_without
from .leaf import mailer_settings
from .sending_process import SendingProcess, sending_process
from .test_strategies import failover

PROCESSES = 2
THREADS = 4


class ProcessesTestCase(SimpleTestCase):
    redis_url: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        server = redis_server()
        cls.redis_url = server.__enter__()
        cls.addClassCleanup(server.__exit__, None, None, None)

    def start(self, sandbox: Sandbox, **mailers: Any) -> list[SendingProcess]:
        """Start processes with the same settings."""
        cache = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": self.redis_url,
            "KEY_PREFIX": self.id(),
        }
        options = mailer_settings(
            mailers, **sandbox.anymail_settings(), DELIVERY_CACHE="default"
        ).options
        stack = ExitStack()
        self.addCleanup(stack.close)
        settings = {**options, "CACHES": {"default": cache}}
        return [stack.enter_context(sending_process(settings)) for _ in range(PROCESSES)]


@tag("exhaustive")
@skip_without("redis", "limits")
class RateTests(ProcessesTestCase):
    LIMIT = 20
    MOST = 22
    """In any second. A call can take a moment to get there."""

    def test_rate(self):
        options = {
            "rate": f"{self.LIMIT}/second",
            "rate_storage": self.redis_url,
            "max_wait": 60,
        }
        postmark = {"BACKEND": PROVIDERS["postmark"].backend, "OPTIONS": options}
        with Sandbox() as sandbox:
            processes = self.start(sandbox, default=postmark)
            self.send(processes, messages=1)  # All have opened their connections.
            found = []
            for _ in range(3):  # The machine can be busy with other things.
                sandbox.clear()
                time.sleep(1.2)
                started = time.monotonic()
                self.send(processes, messages=10)
                seconds = time.monotonic() - started
                times = [call.time for call in sandbox.calls]
                self.assertEqual(len(times), PROCESSES * THREADS * 10)
                self.assertLess(seconds, 2 * len(times) / self.LIMIT, "no longer than it must")
                found.append(max(sum(start <= at < start + 1 for at in times) for start in times))
                if found[-1] <= self.MOST:
                    break
            self.assertLessEqual(found[-1], self.MOST, found)

    def send(self, processes: list[SendingProcess], messages: int) -> None:
        for process in processes:
            process.begin(THREADS, messages)
        for process in processes:
            process.end()


@tag("exhaustive")
@skip_without("redis")
class PausesTests(ProcessesTestCase):
    def test_outage(self):
        """One process learns of it. The other doesn't try that provider within its pause."""
        pause = 4
        with Sandbox(own_ports=["postmark"]) as sandbox:
            one, other = self.start(
                sandbox,
                default=failover("postmark", "brevo", pause=pause),
                postmark={"BACKEND": PROVIDERS["postmark"].backend},
                brevo={"BACKEND": PROVIDERS["brevo"].backend, "OPTIONS": {"html_from_text": True}},
            )
            to_postmark = [["postmark", None]]
            self.assertEqual([one.send(), other.send()], [[to_postmark]] * 2)
            sandbox.fail_next("unreachable", provider="postmark", seconds=0.3)
            started = time.monotonic()
            self.assertEqual(one.send(), [[["postmark", "unreachable"], ["brevo", None]]])
            time.sleep(0.5)  # By now, the provider could be reached again.
            self.assertEqual(other.send(messages=3), [[["brevo", None]]] * 3)
            self.assertLess(time.monotonic() - started, pause)
            time.sleep(pause)
            self.assertEqual(other.send(), [to_postmark])
            self.assertEqual(one.send(), [to_postmark])
