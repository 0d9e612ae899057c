"""Stand-ins for mailers: what is replaced, what stays, and what goes wrong on request."""

from __future__ import annotations

import asyncio
import pickle
import smtplib
import threading
import warnings
from typing import Any
from unittest.mock import patch

import django
import requests
from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.mail import send_mail
from django.core.mail.backends.base import BaseEmailBackend
from django.http import HttpRequest, HttpResponse
from django.test import LiveServerTestCase, SimpleTestCase, override_settings
from django.urls import path
from requests.adapters import HTTPAdapter

import anymail.delivery.memory
from anymail import mailers as project_mailers
from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailUnsupportedFeature,
    Problem,
)
from anymail.message import AnymailMessage, AnymailRecipientStatus
from anymail.signals import post_send, pre_send
from anymail.testing import OutboxMixin, outbox

from ..utils import make_message, use_backend

LOCMEM = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
POSTMARK = {"BACKEND": "anymail.backends.postmark.EmailBackend"}
SMTP = {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "mx.example"}}
TEST = {"BACKEND": "anymail.backends.test.EmailBackend"}
MAILGUN = {"BACKEND": "anymail.backends.mailgun.EmailBackend", "OPTIONS": {"api_key": "real"}}
HAS_MAILERS = django.VERSION >= (6, 1)


def failover(*mailers: str, duplicates: str = "avoid") -> dict[str, Any]:
    return {
        "BACKEND": "anymail.backends.failover.EmailBackend",
        "OPTIONS": {"mailers": list(mailers), "duplicates": duplicates, "max_wait": 0},
    }


class OtherBackend(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        raise AssertionError("this sends for real")


class OwnBackend(PostmarkBackend):
    message_stream = "own"

    def create_session(self) -> requests.Session:
        session = super().create_session()
        session.mount(self.api_url, HTTPAdapter(max_retries=1))  # which would use the network
        return session


OTHER = {"BACKEND": f"{__name__}.OtherBackend"}
MINIMAL = {"BACKEND": "tests.backends.minimal.EmailBackend", "OPTIONS": {"api_key": "key"}}


class StandInTests(SimpleTestCase):
    def test_every_kind_of_mailer(self):
        for config, provider, statuses in [
            (POSTMARK, "postmark", {"sent"}),
            ({"BACKEND": f"{__name__}.OwnBackend"}, "postmark", {"sent"}),
            (MAILGUN, "mailgun", {"queued"}),
            (TEST, None, {"sent"}),
            (MINIMAL, None, {"sent"}),
            (LOCMEM, None, None),
            (SMTP, None, None),
            (OTHER, None, None),
        ]:
            with self.subTest(config["BACKEND"]), outbox(mailers={"default": config}) as box:
                message = AnymailMessage("Hello", "Text", "a@example.com", ["b@example.com"])
                self.assertEqual(message.send(), 1)
                sent = box.assert_sent(to="b@example.com", provider=provider, mailer="default")
                self.assertEqual(sent.status.status, statuses)
                self.assertEqual(message.anymail_status.message_id, sent.message_id)
                self.assertEqual(mail.outbox[-1].subject, "Hello")
                box.assert_nothing_more()

    def test_asyncio(self):
        """They know nothing of event loops, and so are called in a thread."""
        for config, provider in [(POSTMARK, "postmark"), (LOCMEM, None), (SMTP, None)]:
            message = AnymailMessage("Hello", "Text", "a@example.com", ["b@example.com"])
            mailers = {"default": failover("leaf"), "leaf": config}
            with self.subTest(config["BACKEND"]), outbox(mailers=mailers) as box:
                self.assertEqual(asyncio.run(message.asend()), 1)
                box.assert_sent(to="b@example.com", provider=provider, mailer="leaf")
                asyncio.run(message.asend(using="leaf"))
                box.assert_sent(to="b@example.com", provider=provider, mailer="leaf")
                box.assert_nothing_more()

    def test_settings_of_the_project(self):
        with use_backend(POSTMARK["BACKEND"]), outbox() as box:
            make_message().send()
            self.assertEqual(box.assert_sent().provider, "postmark")

    def test_settings_before_the_test_run(self):
        """Test runs replace all mailers by Django's locmem backend."""
        config = apps.get_app_config("anymail")
        at_start = {
            "MAILERS": {"default": POSTMARK} if HAS_MAILERS else None,
            "EMAIL_BACKEND": POSTMARK["BACKEND"],
        }
        with patch.object(config, "mail_settings_at_start", at_start), outbox() as box:
            make_message().send()
            self.assertEqual(box.assert_sent().provider, "postmark")

    def test_without_mailers(self):
        """Before Django 6.1, or until a project has MAILERS."""
        with use_backend(POSTMARK["BACKEND"]), warnings.catch_warnings():
            if HAS_MAILERS:
                warnings.simplefilter("ignore")
                settings.EMAIL_BACKEND = POSTMARK["BACKEND"]
                del settings.MAILERS
            with outbox() as box:
                make_message().send()
                box.fail_next("account", mailer="default")
                with self.assertRaises(AnymailAPIError):
                    make_message().send()
            sent = box.assert_sent(count=1)
            self.assertEqual((sent.mailer, sent.provider), (None, "postmark"))

    def test_mailers_before_django_6_1(self):
        if HAS_MAILERS:
            self.skipTest("Later versions have a setting of their own.")
        anymail_settings = {"MAILERS": {"default": failover("one"), "one": POSTMARK}}
        with (
            use_backend("anymail.backends.mailers.EmailBackend", ANYMAIL=anymail_settings),
            outbox() as box,
        ):
            make_message().send()
            self.assertEqual(box.assert_sent().mailer, "one")

    def test_as_if(self):
        with outbox(as_if="postmark") as box:
            make_message(tags=["a"]).send()
            self.assertEqual(box.assert_sent().stored[0].recipients[0].tags, ("a",))
            with self.assertRaises(AnymailUnsupportedFeature):
                make_message(tags=["a", "b"]).send()
            self.assertEqual(box.count, 1)
        # What is general stays.
        options = {"ignore_unsupported_features": True, "api_key": "real"}
        mailers = {"default": {"BACKEND": MAILGUN["BACKEND"], "OPTIONS": options}}
        with outbox(as_if="postmark", mailers=mailers) as box:
            make_message(tags=["a", "b"]).send()
            self.assertEqual(box.assert_sent().provider, "postmark")
        with self.assertRaisesMessage(
            ValueError, "There is no provider 'sendmail', only amazon_ses"
        ):
            outbox(as_if="sendmail")

    def test_signals(self):
        seen = []

        def receive(sender: type, esp_name: str, **kwargs: Any) -> None:
            seen.append((sender, esp_name))

        for signal in (pre_send, post_send):
            signal.connect(receive)
            self.addCleanup(signal.disconnect, receive)
        with outbox(mailers={"default": POSTMARK}):
            make_message().send()
        self.assertEqual(seen, [(PostmarkBackend, "Postmark")] * 2)
        seen.clear()
        with outbox(mailers={"default": LOCMEM}):
            make_message().send()
        self.assertEqual(seen, [])

    def test_not_the_sandbox_of_development(self):
        with (
            override_settings(ANYMAIL={"SANDBOX": "http://127.0.0.1:1"}),
            outbox(as_if="brevo") as box,
        ):
            make_message(alternatives=[("<p>Hello", "text/html")]).send()
            self.assertIn("api.brevo.com", box.assert_sent().as_provider("brevo").url)

    def test_rate_is_not_waited_for(self):
        config = {**POSTMARK, "OPTIONS": {"rate": "1/hour"}}
        with outbox(mailers={"default": config}) as box:
            make_message().send()
            make_message().send()
            self.assertEqual(box.count, 2)

    def test_test_response(self):
        """The test backend stays what it is."""
        with outbox(mailers={"default": TEST}) as box:
            message = make_message()
            status = AnymailRecipientStatus("id-1", "queued")
            message.anymail_test_response = {"recipient_status": {"to@example.com": status}}
            message.send()
            self.assertEqual(box.assert_sent().message_id, "id-1")
            [kept] = mail.outbox
            self.assertEqual(kept.anymail_test_params["subject"], "Subject")
            message.anymail_test_response = AnymailAPIError("Down")
            with self.assertRaises(AnymailAPIError):
                message.send()
            self.assertEqual(box.count, 1)


class AsIfTests(SimpleTestCase):
    """The option of the test backend."""

    def use(self, **options: Any) -> BaseEmailBackend:
        from anymail.backends.test import EmailBackend

        return EmailBackend(**options)

    def test_unsupported(self):
        message = make_message(tags=["a", "b"])
        for provider, is_supported in [("postmark", False), ("brevo", True), ("amazon_ses", True)]:
            with self.subTest(provider):
                before = len(mail.outbox)
                if is_supported:
                    self.use(as_if=provider).send_messages([message])
                else:
                    with self.assertRaisesMessage(AnymailUnsupportedFeature, "multiple tags"):
                        self.use(as_if=provider).send_messages([message])
                self.assertEqual(len(mail.outbox), before + is_supported)
        self.use(as_if="postmark", ignore_unsupported_features=True).send_messages([message])
        self.use().send_messages([message])

    def test_unknown(self):
        with self.assertRaisesMessage(
            AnymailConfigurationError, "'as_if' must be one of amazon_ses"
        ):
            self.use(as_if="Postmark")


class FaultTests(SimpleTestCase):
    PROBLEMS = ("message", "unsuitable", "account", "busy", "unreachable", "unclear")

    def test_problems(self):
        for config in (POSTMARK, TEST, OTHER):
            for problem in self.PROBLEMS:
                with (
                    self.subTest(config["BACKEND"], problem=problem),
                    outbox(mailers={"default": config}) as box,
                ):
                    box.fail_next(problem, retry_after=3)
                    with self.assertRaises(AnymailAPIError) as caught:
                        make_message().send()
                    self.assertEqual(caught.exception.problem, problem)
                    if problem == "busy":
                        self.assertEqual(caught.exception.retry_after, 3)
                    self.assertEqual(box.count, int(problem == "unclear"))
                    make_message().send()
                    self.assertEqual(box.count, 1 + (problem == "unclear"))

    def test_smtp(self):
        for problem, error in zip(
            self.PROBLEMS,
            [
                *(smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError),
                *(smtplib.SMTPAuthenticationError, smtplib.SMTPDataError),
                *(ConnectionRefusedError, smtplib.SMTPServerDisconnected),
            ],
            strict=True,
        ):
            with self.subTest(problem), outbox(mailers={"default": SMTP}) as box:
                box.fail_next(problem)
                with self.assertRaises(error):
                    make_message().send()
                self.assertEqual(box.count, int(problem == "unclear"))
            mailers = {"default": failover("one", "two"), "one": SMTP, "two": TEST}
            with self.subTest(problem, mailers="failover"), outbox(mailers=mailers) as box:
                box.fail_next(problem)
                message = make_message()
                try:
                    message.send()
                except AnymailAPIError as error:
                    self.assertIn(problem, ("message", "unclear"))
                    self.assertEqual(error.problem, problem)
                else:
                    self.assertEqual(
                        message.anymail_status.attempts, [("one", problem), ("two", None)]
                    )

    def test_wrong_problem(self):
        with outbox() as box, self.assertRaisesMessage(ValueError, "The problem must be one of"):
            box.fail_next("broken")

    def test_failure_of_a_mailer_that_there_is_not(self):
        with (
            outbox(mailers={"default": POSTMARK}) as box,
            self.assertRaisesMessage(ValueError, "There is no mailer 'one', only 'default'"),
        ):
            box.fail_next("busy", mailer="one")

    def test_failover(self):
        mailers = {"default": failover("one", "two"), "one": POSTMARK, "two": MAILGUN}
        with outbox(mailers=mailers) as box:
            box.fail_next("busy", mailer="one", retry_after=30)
            message = make_message()
            message.send()
            sent = box.assert_sent(mailer="two", provider="mailgun")
            self.assertEqual(
                message.anymail_status.attempts, [("one", Problem.BUSY), ("two", None)]
            )
            self.assertEqual(sent.message_id, message.anymail_status.message_id)
            # The pause goes on.
            make_message().send()
            self.assertEqual([item.mailer for item in box.mails], ["two", "two"])
        # No pause is left to the next test.
        with outbox(mailers=mailers) as box:
            make_message().send()
            box.assert_sent(mailer="one")

    def test_duplicates(self):
        mailers = {
            "default": failover("one", "two", duplicates="accept"),
            "one": POSTMARK,
            "two": MAILGUN,
        }
        with outbox(mailers=mailers) as box:
            box.fail_next("unclear")
            make_message().send()
            self.assertEqual([item.mailer for item in box.mails], ["one", "two"])

    def test_the_other_messages_of_a_connection(self):
        with outbox(mailers={"default": POSTMARK}) as box:
            with project_mailers.default as connection:
                connection.send_messages([make_message(to=["a@example.com"])])
                box.fail_next("message")
                with self.assertRaises(AnymailAPIError):
                    connection.send_messages([make_message(to=["b@example.com"])])
            box.assert_sent(to="a@example.com", count=1)
            box.assert_not_sent(to="b@example.com")

    def test_several_calls(self):
        with outbox(mailers={"default": POSTMARK}) as box:
            box.fail_next("account", calls=2)
            for _ in range(2):
                with self.assertRaises(AnymailAPIError):
                    make_message().send()
            box.fail_next("account")
            box.clear()
            make_message().send()


class IsolationTests(SimpleTestCase):
    def test_settings_are_put_back(self):
        before = (settings.ANYMAIL if hasattr(settings, "ANYMAIL") else None), list(project_mailers)
        with outbox(mailers={"default": POSTMARK, "other": TEST}):
            self.assertEqual(list(project_mailers), ["default", "other"])
        after = (settings.ANYMAIL if hasattr(settings, "ANYMAIL") else None), list(project_mailers)
        self.assertEqual(after, before)
        make_message().send()
        self.assertFalse(hasattr(mail.outbox[-1], "anymail_test_params"))

    def test_nested(self):
        with outbox() as outer:
            with outbox() as inner:
                make_message().send()
            make_message().send()
            self.assertEqual((outer.count, inner.count), (1, 1))

    def test_late_thread(self):
        """A thread that outlives its test doesn't put mail into the next test's outbox."""
        with outbox(mailers={"default": POSTMARK}) as first:
            connection = project_mailers.default
        with outbox(mailers={"default": POSTMARK}) as second:
            thread = threading.Thread(target=connection.send_messages, args=([make_message()],))
            thread.start()
            thread.join()
            self.assertEqual((first.count, second.count), (1, 0))

    def test_after_the_outbox(self):
        from anymail.testing.replacing import StandIn

        with self.assertRaisesMessage(RuntimeError, "not in use any more"):
            StandIn()

    def test_mail_outbox_is_not_necessary(self):
        kept = mail.outbox
        del mail.outbox
        self.addCleanup(setattr, mail, "outbox", kept)
        with outbox() as box:
            make_message().send()
            self.assertEqual(box.count, 1)
        self.assertFalse(hasattr(mail, "outbox"))

    def test_delivery_cache(self):
        with override_settings(ANYMAIL={"DELIVERY_CACHE": "no such cache"}), outbox():
            self.assertIs(
                anymail.delivery.memory.Memory().cache, anymail.delivery.memory._process_cache
            )

    def test_error_on_the_way_in(self):
        with override_settings(ANYMAIL=("a tuple",)), self.assertRaises(AnymailConfigurationError):
            outbox().__enter__()
        with outbox() as box:  # nothing is left over
            self.assertEqual(box.count, 0)


def send_view(request: HttpRequest) -> HttpResponse:
    send_mail("From the server", "Text", "a@example.com", ["b@example.com"])
    return HttpResponse("sent")


urlpatterns = [path("send/", send_view)]


class ParallelTests(OutboxMixin, SimpleTestCase):
    def test_failing_subtest(self):
        """With --parallel, its test case is pickled."""
        make_message().send()
        outbox, _cleanups = pickle.loads(pickle.dumps((self.outbox, self._cleanups)))
        self.assertEqual(outbox.count, 0)


@override_settings(ROOT_URLCONF=__name__)
class LiveServerTests(OutboxMixin, LiveServerTestCase):
    """What threads of the server send is in the outbox of the test."""

    def test_server(self):
        from urllib.request import urlopen

        with urlopen(f"{self.live_server_url}/send/") as response:
            self.assertEqual(response.read(), b"sent")
        self.outbox.assert_sent(subject="From the server")

    def test_next(self):
        self.outbox.assert_not_sent()
