"""Messages with an idempotency key whose first answer was lost, and that are sent again.

At each provider, which the sandbox plays: it accepts the message, and breaks the connection.
"""

from __future__ import annotations

import uuid
from typing import Any

import anymail.delivery.memory
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailAPIError, Problem
from anymail.signals import pre_send

from ..utils import make_message
from .sandbox_mailers import SandboxMailersTestCase

# Those that know keys; and what tells the repeat, of which there is no other trace in the sandbox
KNOWING = {
    "brevo": lambda call: call.response.status == 400,
    "resend": lambda call: call.response.status == 200,
    "unisender_go": lambda call: b"1573" in call.response.body,
}


class LostAnswerTestCase(SandboxMailersTestCase):
    def send(self, name: str, key: str | None = "order 17", **attrs: Any) -> Any:
        html = "<p>An HTML body that all providers take</p>"
        message = make_message(
            **{
                "subject": "A subject of some length",
                "body": "A body that all providers take",
                "alternatives": [(html, "text/html")],
                "idempotency_key": key,
                **attrs,
            }
        )
        mailers[name].send_messages([message])
        return message.anymail_status

    def send_with_lost_answer(self, name: str, **attrs: Any) -> None:
        self.sandbox.fail_next("unclear", provider=name)
        with self.assertRaises(AnymailAPIError) as caught:
            self.send(name, **attrs)
        self.assertIs(caught.exception.problem, Problem.UNCLEAR)


class LostAnswerTests(LostAnswerTestCase):
    def test_repeat(self):
        for name, is_recognized in KNOWING.items():
            with self.subTest(name):
                self.forget()
                self.send_with_lost_answer(name)
                status = self.send(name)
                self.assertEqual(status.status, {"queued"})
                [message] = self.sandbox.messages
                _, repeat = self.sandbox.calls
                self.assertTrue(is_recognized(repeat), repeat.response)
                if name == "brevo":  # says nothing more
                    self.assertIsNone(status.message_id)
                else:
                    self.assertEqual(status.message_id, message.recipients[0].message_id)
                self.assertEqual(self.send(name).status, {"queued"})
                self.assertEqual(len(self.sandbox.calls), 2, "It's known by now")

    def test_providers_that_do_not_know_keys(self):
        for name in mailers:
            if name in KNOWING:
                continue
            with self.subTest(name):
                self.forget()
                self.assertIsNone(mailers[name].idempotency)
                self.send_with_lost_answer(name)
                with self.assertRaisesMessage(AnymailAPIError, "idempotency_key"):
                    self.send(name)
                self.assertEqual(len(self.sandbox.calls), 1)

    def test_key_of_the_call(self):
        """UUIDs, or with a limited length: always the same for the same key."""
        as_uuid = "5c6a1f9c-5ba0-5d0b-98c5-d6c5c7b3d8a2"
        long_key = "key" * 80
        for key, expected in [
            ("order 17", ("uuid", "order 17", "order 17")),
            (as_uuid, (as_uuid, as_uuid, as_uuid)),
            (long_key, ("uuid", long_key, "uuid")),
        ]:
            for name, wanted in zip(KNOWING, expected, strict=True):
                with self.subTest(name, key=key):
                    seen = set()
                    for _ in range(2):
                        self.forget()
                        self.send(name, key=key)
                        seen.add(self.key_of_last_call(name))
                    [found] = seen
                    if wanted == "uuid":
                        self.assertEqual(str(uuid.UUID(found)), found)
                    else:
                        self.assertEqual(found, wanted)

    def key_of_last_call(self, name: str) -> Any:
        request = self.sandbox.calls[-1].request
        if name == "brevo":
            return request.json()["headers"]["idempotencyKey"]
        if name == "resend":
            return request.headers["Idempotency-Key"]
        return request.json()["message"]["idempotence_key"]

    def test_what_is_made_up(self):
        """With a key, such as recipients' ids: the same each time."""
        to = ["one@example.com", "two@example.com"]
        for name in mailers:
            if name == "amazon_ses":  # MIME has a date and boundaries, as in any mail.
                continue
            with self.subTest(name):
                bodies = []
                for key in ("key-1", "key-1", "key-2", None, None):
                    self.forget()
                    self.send(name, key=key, to=to)
                    bodies.append(self.sandbox.calls[-1].request.body)
                self.assertEqual(bodies[0], bodies[1])
                if name in ("sendgrid", "unisender_go"):
                    self.assertEqual(len(set(bodies)), 4)

    def test_made_up_for_postmark_s_bulk_api(self):
        self.options = {"use_bulk_api": True}
        self.use_settings()
        ids = []
        for _ in range(2):
            self.forget()
            status = self.send("postmark", to=["one@example.com", "two@example.com"])
            ids.append([recipient.message_id for recipient in status.recipients.values()])
        self.assertEqual(ids[0], ids[1])
        self.assertEqual(len(set(ids[0])), 2)

    def test_without_a_key(self):
        for name in KNOWING:
            with self.subTest(name):
                self.forget()
                self.send(name, key=None)
                self.send(name, key=None)
                self.assertEqual(len(self.sandbox.messages), 2)

    def test_same_key_for_another_message(self):
        """Only Resend tells that. (Nobody here remembers the first message.)"""
        self.send("resend")
        anymail.delivery.memory._process_cache.clear()
        with self.assertRaises(AnymailAPIError) as caught:
            self.send("resend", subject="Another message")
        self.assertIs(caught.exception.problem, Problem.MESSAGE)

    def test_same_message_with_other_details(self):
        """It's for Resend another one with the same key, but not for us."""
        self.send_with_lost_answer("resend")
        status = self.send("resend", metadata={"attempt": 2})
        self.assertEqual(self.sandbox.calls[-1].response.status, 409)
        self.assertEqual(status.status, {"queued"})
        self.assertIsNone(status.message_id)

    def test_keys_in_esp_extra(self):
        """Whoever gives the provider a key like that wants to get its error."""
        key = str(uuid.uuid4())
        for name, extra in {
            "brevo": {"headers": {"idempotencyKey": key}},
            "unisender_go": {"idempotence_key": key},
        }.items():
            with self.subTest(name):
                self.send(name, key=None, esp_extra=extra)
                with self.assertRaises(AnymailAPIError) as caught:
                    self.send(name, key=None, esp_extra=extra)
                self.assertIs(caught.exception.problem, Problem.MESSAGE)


class LostAnswerWithRetriesTests(LostAnswerTestCase):
    """All within one send(), also with several calls at a time."""

    options = {"retries": 1, "send_concurrency": 2}

    def test_repeat(self):
        for name in KNOWING:
            with self.subTest(name):
                self.forget()
                self.sandbox.fail_next("unclear", provider=name)
                status = self.send(name)
                self.assertEqual(status.status, {"queued"})
                self.assertEqual([problem for _, problem in status.attempts], ["unclear", None])
                self.assertEqual(len(self.sandbox.messages), 1)
                self.assertEqual(len(self.sandbox.calls), 2)

    def test_same_message_with_other_details(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            message.metadata = {"attempt": len(self.sandbox.calls)}

        pre_send.connect(receiver)
        self.addCleanup(pre_send.disconnect, receiver)
        self.sandbox.fail_next("unclear", provider="resend")
        self.assertEqual(self.send("resend").status, {"queued"})
        self.assertEqual(self.sandbox.calls[-1].response.status, 409)
