"""What the sandbox's providers answer to what they refuse, as Anymail's backends understand it."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string

from anymail.exceptions import AnymailAPIError, Problem
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox
from anymail.sandbox.faults import REFUSALS

from ..utils import make_message

# When they ask to come back, if they say so
SAYS_WHEN = {"brevo", "mailersend", "mailgun", "resend", "sendgrid"}


class RefusalTests(SimpleTestCase):
    def send(self, sandbox: Sandbox, name: str) -> Any:
        """Send a message, and return the exception, if there is one."""
        with override_settings(ANYMAIL=sandbox.anymail_settings(name)):
            backend: Any = import_string(PROVIDERS[name].backend)()
            html = "<p>An HTML body that all providers take</p>"
            message = make_message(
                subject="A subject of some length",
                body="A body that all providers take",
                alternatives=[(html, "text/html")],
            )
            try:
                backend.send_messages([message])
            except AnymailAPIError as error:
                return error
        return None

    @tag("exhaustive")
    def test_all_providers(self):
        with Sandbox() as sandbox:
            for name, provider in PROVIDERS.items():
                if provider.missing_packages:
                    continue
                self.assertEqual(set(sandbox.provider(name).refusals), set(REFUSALS), name)
                for problem in REFUSALS:
                    for retry_after in (None, 7):
                        with self.subTest(name, problem=problem, retry_after=retry_after):
                            self.check(sandbox, name, problem, retry_after)

    def check(self, sandbox: Sandbox, name: str, problem: str, retry_after: float | None) -> None:
        sandbox.clear()
        sandbox.fail_next(problem, provider=name, retry_after=retry_after)
        error = self.send(sandbox, name)
        self.assertEqual(error.problem, Problem(problem))
        self.assertFalse(error.about_sender)
        self.assertFalse(error.may_have_been_sent)
        if problem == "busy" and retry_after is not None and name in SAYS_WHEN:
            self.assertGreater(error.retry_after, retry_after - 1)
            self.assertLessEqual(error.retry_after, retry_after + 1)
        else:
            self.assertIsNone(error.retry_after)
        self.assertEqual(sandbox.messages, [])
        self.assertIsNone(self.send(sandbox, name))
        self.assertEqual(len(sandbox.messages), 1)
