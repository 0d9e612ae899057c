"""Amazon SES with asyncio: boto3 knows no event loops, and so is called in threads."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import patch

from ..backends import test_concurrency
from ..utils import make_message, skip_without
from .loops import LoopTestCase


@skip_without("boto3")
class AmazonSESTests(LoopTestCase):
    make_backend = test_concurrency.AmazonSESTests.make_backend

    def send(self, count: int, at_a_time: int, **options: Any) -> set[threading.Thread]:
        """Send messages; so many calls wait for each other. Returns the threads of the calls."""
        barrier = threading.Barrier(at_a_time)
        threads = set()

        def call_api(client: Any, operation: str, params: Any) -> Any:
            threads.add(threading.current_thread())
            barrier.wait(10)
            subject = params["Content"]["Raw"]["Data"].partition(b"Subject: ")[2].split()[0]
            return {"MessageId": f"id of {subject.decode()}"}

        messages = [make_message(subject=str(number)) for number in range(count)]
        with patch("botocore.client.BaseClient._make_api_call", call_api):
            backend = self.make_backend(**options)
            self.assertEqual(self.await_(backend.asend_messages(messages)), count)
        self.assertEqual(
            [message.anymail_status.message_id for message in messages],
            [f"id of {number}" for number in range(count)],
        )
        self.assertNotIn(threading.current_thread(), threads)
        return threads

    def test_several_at_a_time(self):
        self.assertEqual(len(self.send(20, 10)), 10)

    def test_loop_goes_on(self):
        """Other tasks of the loop run while calls are under way: one of them ends these calls."""
        go_on = threading.Event()

        def call_api(client: Any, operation: str, params: Any) -> Any:
            self.loop.call_soon_threadsafe(self.loop.call_later, 0.01, go_on.set)
            self.assertTrue(go_on.wait(5))
            return {"MessageId": "id"}

        with patch("botocore.client.BaseClient._make_api_call", call_api):
            messages = [make_message() for _ in range(3)]
            self.assertEqual(self.await_(self.make_backend().asend_messages(messages)), 3)

    def test_as_many_as_with_threads(self):
        self.assertEqual(len(self.send(24, 12, send_concurrency=12)), 12)

    def test_client_is_created_in_a_thread(self):
        """It takes long."""
        import boto3

        threads = []
        create = boto3.session.Session.client

        def create_client(session: Any, *args: Any, **kwargs: Any) -> Any:
            threads.append(threading.current_thread())
            return create(session, *args, **kwargs)

        with patch("boto3.session.Session.client", create_client):
            self.send(1, 1)
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.current_thread(), threads)
