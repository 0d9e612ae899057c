from __future__ import annotations

from typing import Any

from django.core.mail import send_mail
from django.test import LiveServerTestCase

from anymail import signals
from anymail.sandbox import Sandbox

from ..utils import use_backend


class LiveServerTests(LiveServerTestCase):
    """What docs/sandbox.rst shows."""

    def setUp(self) -> None:
        super().setUp()
        self.sandbox = Sandbox(webhook_url=f"{self.live_server_url}/anymail/")
        self.sandbox.start()
        self.addCleanup(self.sandbox.stop)
        override = use_backend(
            "anymail.backends.postmark.EmailBackend", ANYMAIL=self.sandbox.anymail_settings()
        )
        override.enable()
        self.addCleanup(override.disable)

    def test_bounce(self):
        seen = []

        def receive(event: Any, **kwargs: Any) -> None:
            seen.append((event.event_type, event.recipient))

        signals.tracking.connect(receive)
        self.addCleanup(signals.tracking.disconnect, receive)

        send_mail("Welcome, Ann", "Have a look around.", None, ["ann@example.com"])
        [message] = self.sandbox.messages
        self.assertEqual(message.recipients[0].subject, "Welcome, Ann")
        response = self.sandbox.trigger(message, "bounced")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(seen, [("bounced", "ann@example.com")])
