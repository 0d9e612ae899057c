"""Messages for workers: they count as sent, and are sent when the test says so."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import Any

from django.db import transaction
from django.test import SimpleTestCase, TestCase

from anymail.delivery.snapshot import copy_message
from anymail.exceptions import AnymailLaterError, AnymailUnsupportedFeature, Problem
from anymail.later import send_later
from anymail.message import AnymailMessage
from anymail.testing import OutboxMixin, outbox
from anymail.testing.later import options_with_engine

from ..utils import make_message
from .test_outbox import POSTMARK


def later(**options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.later.EmailBackend",
        "OPTIONS": {"mailer": "now", "engine": "celery", **options},
    }


class LaterTests(OutboxMixin, SimpleTestCase):
    outbox_options = {"mailers": {"default": later(), "now": POSTMARK}}

    def test_delivery(self):
        message = make_message(tags=["a"])
        message.send()
        queued = self.outbox.assert_sent(later=True, mailer="now", provider=None, tags=["a"])
        self.assertEqual(queued.status.status, {"later"})
        self.assertEqual(queued.message_id, message.anymail_status.message_id)
        self.assertEqual(str(self.outbox.mails), str([queued]))
        with self.assertRaisesMessage(ValueError, "It was queued: call deliver_later()"):
            self.outbox.bounce(queued)
        self.assertEqual(self.outbox.deliver_later(), 1)
        # It's the same mail, which was seen before.
        self.outbox.assert_nothing_more()
        sent = self.outbox.assert_sent(later=True, provider="postmark", count=1)
        self.assertEqual(sent.status.status, {"sent"})
        self.assertEqual(self.outbox.bounce(sent).message_id, sent.message_id)
        self.assertEqual(self.outbox.deliver_later(), 0)
        # By another mailer at once
        with outbox(mailers={"default": POSTMARK}) as box:
            make_message().send()
            box.assert_not_sent(later=True)
            box.assert_sent(later=False)

    def test_what_the_mailer_cannot_do(self):
        with self.assertRaises(AnymailUnsupportedFeature):
            make_message(tags=["a", "b"]).send()
        self.outbox.assert_not_sent()

    def test_failure(self):
        make_message().send()
        self.outbox.fail_next("busy", mailer="now", retry_after=600)
        self.outbox.deliver_later()
        self.outbox.assert_sent(provider=None, count=1)  # still in the queue
        self.assertEqual(self.outbox.deliver_later(), 1)
        self.outbox.assert_sent(provider="postmark", count=1)

    def test_given_up(self):
        make_message().send()
        self.outbox.fail_next("message")
        with self.assertLogs("anymail.delivery"):
            self.outbox.deliver_later()
        self.assertEqual(self.outbox.deliver_later(), 0)
        with self.assertRaisesMessage(AssertionError, "'Subject' to to@example.com, later"):
            self.outbox.assert_sent(provider="postmark")

    def test_at_a_time(self):
        send_later(make_message(), at=datetime.now(timezone.utc) + timedelta(days=1))
        self.outbox.assert_sent(later=True, provider=None)
        self.outbox.deliver_later()
        self.outbox.assert_sent(provider="postmark")

    def test_clear(self):
        make_message().send()
        self.outbox.clear()
        self.assertEqual(self.outbox.deliver_later(), 0)

    def test_engine_of_the_project(self):
        """Its queue is not needed."""
        for engine in ("tasks", "celery", "no.such.Engine"):
            with (
                self.subTest(engine),
                outbox(
                    mailers={"default": later(engine=engine, tasks_backend="x"), "now": POSTMARK}
                ) as box,
            ):
                make_message().send()
                box.assert_sent(later=True)
        with outbox(mailers={"default": later(engine="inline"), "now": POSTMARK}) as box:
            make_message().send()
            box.assert_sent(later=False, provider="postmark", count=1)

    def test_large_message(self):
        message = make_message()
        message.attach("a.bin", random.Random(1).randbytes(70_000), "application/octet-stream")
        with self.assertRaises(AnymailLaterError) as caught:
            message.send()
        self.assertIs(caught.exception.problem, Problem.UNSUITABLE)
        with outbox(mailers={"default": later(storage="default"), "now": POSTMARK}) as box:
            copy_message(message).send()  # not with the connection that it has already
            box.deliver_later()
            content = box.assert_sent(provider="postmark").attachment("a.bin").content
            self.assertEqual(content, message.attachments[0][1])

    def test_queue_in_the_database(self):
        options = {"mailer": "now", "engine": f"{__name__}.EngineInDatabase"}
        changed = options_with_engine(options, "other")
        self.assertEqual(changed, {"mailer": "now", "engine": "other", "on_commit": False})
        self.assertEqual(
            options_with_engine({**options, "on_commit": True}, "o")["on_commit"], True
        )


class EngineInDatabase:
    database = "default"

    def enqueue(self, job: str, **kwargs: Any) -> None:
        raise AssertionError("Tests have no queue")


class TransactionTests(OutboxMixin, TestCase):
    outbox_options = {"mailers": {"default": later(), "now": POSTMARK}}

    def test_on_commit(self):
        with self.captureOnCommitCallbacks(execute=True):
            with transaction.atomic():
                AnymailMessage("Hello", "Hello!", "a@example.com", ["b@example.com"]).send()
            self.outbox.assert_not_sent()
        self.outbox.assert_sent(later=True)
        self.outbox.deliver_later()
        self.outbox.assert_sent(provider="postmark")

    def test_rolled_back(self):
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            make_message().send()
            transaction.set_rollback(True)
        self.outbox.assert_not_sent()
