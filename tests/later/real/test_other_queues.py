"""The engines for other queues that docs/later.rst shows, with these queues."""

from __future__ import annotations

import sys
import types
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

from django.test import SimpleTestCase, override_settings, tag

from anymail import mailers
from anymail.sandbox import Sandbox

from ...delivery.leaf import mailer_settings
from ...docs.blocks import blocks_in
from ...docs.test_later_page import PAGE
from ...redis_server import redis_server
from ...utils import make_message, skip_without

IN_A_MOMENT = 1.5


@tag("real")
class OtherQueuesTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.sandbox = self.stack.enter_context(Sandbox())

    def engine_of_page(self, name: str) -> types.ModuleType:
        """Make a module of a block in the page. Returns it."""
        [block] = [block for block in blocks_in(PAGE) if block.caption == f"mysite/{name}.py"]
        module = types.ModuleType(f"mysite_{name}")
        exec(block.text, vars(module))
        sys.modules[module.__name__] = module
        self.addCleanup(sys.modules.pop, module.__name__)
        return module

    def send(self, engine: str) -> None:
        """Queue two messages: one that can be sent now, and one a moment later."""
        mailers_ = {
            "default": {
                "BACKEND": "anymail.backends.later.EmailBackend",
                "OPTIONS": {"mailer": "now", "engine": engine},
            },
            "now": {"BACKEND": "anymail.backends.postmark.EmailBackend"},
        }
        self.stack.enter_context(mailer_settings(mailers_, **self.sandbox.anymail_settings()))
        mailers["default"].send_messages([make_message(subject="now")])
        due = datetime.now(timezone.utc) + timedelta(seconds=IN_A_MOMENT)
        make_message(subject="later").send_later(at=due)

    def subjects(self) -> list[str]:
        return [message.subject for message in self.sandbox.messages]

    @skip_without("rq", "redis")
    def test_rq(self):
        from redis import Redis
        from rq import Queue, SimpleWorker

        url = self.stack.enter_context(redis_server())
        connection = self.stack.enter_context(Redis.from_url(url))
        with override_settings(RQ_URL=url):
            module = self.engine_of_page("rq_engine")
        self.stack.callback(module.REDIS.close)
        self.send(f"{module.__name__}.RQEngine")
        queue = Queue("default", connection=connection)
        SimpleWorker([queue], connection=connection).work(burst=True, logging_level="ERROR")
        self.assertEqual(self.subjects(), ["now"])
        self.assertEqual(queue.scheduled_job_registry.count, 1)

    @skip_without("dramatiq")
    def test_dramatiq(self):
        import dramatiq
        from dramatiq.brokers.stub import StubBroker

        broker = StubBroker()
        dramatiq.set_broker(broker)
        module = self.engine_of_page("dramatiq_engine")
        self.send(f"{module.__name__}.DramatiqEngine")
        worker = dramatiq.Worker(broker, worker_timeout=100)
        worker.start()
        self.addCleanup(worker.stop)
        broker.join("default", timeout=10_000)
        worker.join()
        self.assertEqual(self.subjects(), ["now", "later"])
