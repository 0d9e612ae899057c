from __future__ import annotations

import io
import threading
from contextlib import redirect_stdout
from uuid import UUID

from django.core import mail
from django.core.mail.backends.console import EmailBackend as DjangoConsoleBackend
from django.test import SimpleTestCase

from anymail.backends.console import EmailBackend
from anymail.backends.test import EmailBackend as AnymailTestBackend
from anymail.exceptions import AnymailAPIError, AnymailCancelSend, AnymailRecipientsRefused
from anymail.message import AnymailRecipientStatus
from anymail.signals import post_send, pre_send
from tests.utils import make_message, use_backend

from .test_base import fail_silently


class ConsoleTests(SimpleTestCase):
    def setUp(self):
        self.stream = io.StringIO()

    def send(self, *messages, **options):
        return EmailBackend(stream=self.stream, **options).send_messages(messages)

    def test_bases(self):
        self.assertEqual(EmailBackend.__bases__, (AnymailTestBackend, DjangoConsoleBackend))
        self.assertEqual(EmailBackend.esp_name, "Console")

    def test_prints_as_django_does(self):
        message = make_message(tags=["tag"])
        self.assertEqual(self.send(message), 1)
        printed = self.stream.getvalue()
        self.assertIn("Subject: Subject\n", printed)
        self.assertIn("\nText body\n", printed)
        self.assertTrue(printed.endswith("\n" + "-" * 79 + "\n"))

    def test_to_stdout_by_default(self):
        output = io.StringIO()
        with redirect_stdout(output):
            EmailBackend().send_messages([make_message()])
        self.assertIn("Subject: Subject\n", output.getvalue())

    @use_backend("anymail.backends.console.EmailBackend")
    def test_as_the_project_s_backend(self):
        output = io.StringIO()
        with redirect_stdout(output):
            self.assertEqual(make_message().send(), 1)
        self.assertIn("Subject: Subject\n", output.getvalue())

    def test_status(self):
        message, other = make_message(cc=["cc@example.com"]), make_message()
        self.assertEqual(self.send(message, other), 2)
        status = message.anymail_status
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(list(status.recipients), ["to@example.com", "cc@example.com"])
        self.assertIs(type(status.message_id), str)
        self.assertEqual(UUID(status.message_id).version, 4)
        self.assertNotEqual(status.message_id, other.anymail_status.message_id)
        self.assertEqual(message.anymail_test_params["subject"], "Subject")

    def test_signals(self):
        calls = []

        def receiver(signal, sender, esp_name, **kwargs):
            calls.append((signal, sender, esp_name, self.stream.getvalue()))

        for signal in [pre_send, post_send]:
            signal.connect(receiver)
            self.addCleanup(signal.disconnect, receiver)
        self.send(make_message())
        self.assertEqual(
            calls,
            [(pre_send, EmailBackend, "Console", ""), (post_send, EmailBackend, "Console", "")],
        )

    def test_outbox_does_not_grow(self):
        self.send(make_message(), make_message())
        self.assertEqual(mail.outbox, [])

    def test_nothing_to_send(self):
        for nothing in [[], None]:
            self.assertIsNone(EmailBackend(stream=self.stream).send_messages(nothing))

    def test_canceled_messages_are_not_printed(self):
        def receiver(message, **kwargs):
            if message.subject == "Canceled":
                raise AnymailCancelSend

        pre_send.connect(receiver)
        self.addCleanup(pre_send.disconnect, receiver)
        self.assertEqual(self.send(make_message(subject="Canceled"), make_message()), 1)
        self.assertNotIn("Canceled", self.stream.getvalue())
        self.assertIn("Subject: Subject", self.stream.getvalue())

    def test_messages_without_recipients_are_not_printed(self):
        self.assertEqual(self.send(make_message(to=[])), 0)
        self.assertEqual(self.stream.getvalue(), "")

    def test_failed_messages_are_not_printed(self):
        message = make_message()
        message.anymail_test_response = AnymailAPIError("text")
        with self.assertRaises(AnymailAPIError):
            self.send(message)
        message.anymail_test_response = {
            "recipient_status": {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        }
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(self.stream.getvalue(), "")

    def test_fail_silently(self):
        message = make_message(subject="Bad")
        message.anymail_test_response = AnymailAPIError("text")
        backend = fail_silently(EmailBackend, stream=self.stream)
        self.assertEqual(backend.send_messages([message, make_message()]), 1)
        self.assertNotIn("Bad", self.stream.getvalue())

    def test_options(self):
        backend = EmailBackend(stream=self.stream, send_defaults={"cc": ["cc@example.com"]})
        message = make_message()
        backend.send_messages([message])
        self.assertIn("cc@example.com", message.anymail_status.recipients)

    def test_flushes_after_each_message(self):
        class Stream(io.StringIO):
            flushed: list[int] = []

            def flush(self):
                self.flushed.append(self.getvalue().count("Subject: Subject"))

        self.stream = Stream()
        self.send(make_message(), make_message())
        self.assertEqual(self.stream.flushed, [1, 2])

    def test_one_thread_at_a_time(self):
        backend = EmailBackend(stream=self.stream)
        thread = threading.Thread(target=backend.send_messages, args=([make_message()],))
        with backend._lock:
            thread.start()
            thread.join(0.1)
            self.assertEqual(self.stream.getvalue(), "")
        thread.join(10)
        self.assertIn("Subject: Subject", self.stream.getvalue())
