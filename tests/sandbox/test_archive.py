from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

from django.utils.module_loading import import_string

from anymail.sandbox import InboundMail, Sandbox, samples

from ..utils import use_backend
from .cases import SandboxTestCase
from .test_server import MESSAGE, POSTMARK, SinkTestCase


class ArchiveTests(SinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name) / "a" / "b"
        self.sandbox = self.again()
        self.sandbox.start()

    def again(self) -> Sandbox:
        sandbox = Sandbox(directory=self.directory, webhook_url=self.sandbox.webhook_url)
        self.addCleanup(sandbox.stop)
        return sandbox

    def assert_kept(self) -> Sandbox:
        """Check that another sandbox has the same, and return it."""
        again = self.again()
        for name in ("messages", "calls", "webhooks"):
            kept, now = getattr(self.sandbox, name), getattr(again, name)
            self.assertEqual(now, kept)
            self.assertEqual([item.number for item in now], [item.number for item in kept])
            self.assertEqual([item.time for item in now], [item.time for item in kept])
        return again

    def test_every_provider(self):
        settings = self.sandbox.anymail_settings()
        for provider in self.sandbox.providers.values():
            if not provider.missing_packages:
                with use_backend(provider.backend, ANYMAIL=settings):
                    backend = import_string(provider.backend)()
                    backend.send_messages(
                        [samples.html_message(provider), samples.tracked_message(provider)]
                    )
                self.sandbox.trigger(self.sandbox.messages[-1], "bounced")
        again = self.assert_kept()
        for message in again.messages:
            self.assertIs(again.trigger(message, "delivered").ok, True)
        self.assertGreater(again.webhooks[-1].number, self.sandbox.webhooks[-1].number)

    def test_refused_and_unanswered(self):
        self.post_json("/postmark/email", {**MESSAGE, "To": "nobody"}, **POSTMARK)
        self.sandbox.fail_next("unclear")
        with self.assertRaises(ConnectionError):
            self.send()
        mail = InboundMail("ann@example.net", "shop@example.com", "Hi", "Text")
        self.sandbox.send_webhook(self.sandbox.inbound_webhook("mailgun", mail))
        self.assert_kept()

    def test_batch(self):
        batch = json.dumps([MESSAGE] * 3).encode()
        headers = {"Content-Type": "application/json", **POSTMARK}
        self.call("/postmark/email/batch", batch, headers)
        again = self.assert_kept()
        self.assertIs(again.messages[0].request, again.messages[2].request)
        [path] = self.directory.glob("*.call.json")
        # The request is there once, and not with each message.
        self.assertEqual(path.read_text().count(base64.b64encode(batch).decode()), 1)

    def test_delete_and_clear(self):
        for _ in range(2):
            self.send()
            self.sandbox.trigger(self.sandbox.messages[-1], "opened")
        self.sandbox.store.delete(self.sandbox.messages[0].number)
        self.assertEqual(len(self.assert_kept().messages), 1)
        self.assertEqual(len(list(self.directory.iterdir())), 2)
        self.sandbox.clear()
        self.assertEqual(list(self.directory.iterdir()), [])
        self.assert_kept()

    def test_private(self):
        self.send()
        [path] = self.directory.iterdir()
        self.assertEqual(path.stat().st_mode & 0o077, 0)
        self.assertEqual(self.directory.stat().st_mode & 0o077, 0)

    def test_files_of_others(self):
        self.send()
        [path] = self.directory.iterdir()
        (self.directory / "notes.json").write_text("{")
        self.assert_kept()
        good = path.read_text()
        for text in (
            "",
            good[:-9],
            good.replace('"format": 1', '"format": 2'),
            good.replace("StoredCall", "StoredFall"),
            good.replace('"provider"', '"deliverer"', 1),
            "[]",
        ):
            path.write_text(text)
            with self.subTest(text[:30]), self.assertRaisesMessage(ValueError, str(path)):
                Sandbox(directory=self.directory)

    def test_directory_that_is_lost(self):
        for path in (self.directory, self.directory.parent):
            path.rmdir()
        with self.assertLogs("anymail.sandbox", "ERROR") as logs:
            self.send()
        self.assertIn("Not stored", logs.output[0])
        self.assertEqual(len(self.sandbox.messages), 1)


class NoArchiveTests(SandboxTestCase):
    def test_directory_that_cannot_be_made(self):
        with tempfile.NamedTemporaryFile() as file, self.assertRaises(OSError):
            Sandbox(directory=Path(file.name) / "x")
