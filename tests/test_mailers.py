"""Django 6.1's MAILERS setting: several email backends, each with options of its own."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import Any
from unittest import mock, skipIf, skipUnless

import django
from django.core import mail
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings

from anymail.backends.console import EmailBackend as ConsoleBackend
from anymail.backends.test import EmailBackend, TestPayload
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidMailer,
    InvalidMailer,
)
from tests.backends.minimal import EmailBackend as MinimalBackend
from tests.utils import make_message, make_response

has_mailers = django.VERSION >= (6, 1)
TEST_BACKEND = "anymail.backends.test.EmailBackend"
CONSOLE_BACKEND = "anymail.backends.console.EmailBackend"
MINIMAL_BACKEND = "tests.backends.minimal.EmailBackend"


def use_mailers(**mailers: Any) -> override_settings:
    return override_settings(MAILERS={"default": {"BACKEND": TEST_BACKEND}, **mailers})


@skipUnless(has_mailers, "Django 6.1 introduced MAILERS")
class MailersTests(SimpleTestCase):
    def mailer(self, alias: str = "default") -> Any:
        return mail.mailers[alias]

    def test_backend(self):
        with use_mailers():
            backend = self.mailer()
            self.assertIs(type(backend), EmailBackend)
            self.assertEqual(backend.alias, "default")
            self.assertIs(backend.fail_silently, False)  # no warning for reading that

    def test_options(self):
        class CustomPayload(TestPayload):
            pass

        options = {
            "ignore_unsupported_features": True,
            "ignore_recipient_status": True,
            "debug_api_requests": True,
            "send_defaults": {"tags": ["default"]},
            "idna_encoder": "none",
            "payload_class": CustomPayload,
        }
        with use_mailers(other={"BACKEND": TEST_BACKEND, "OPTIONS": options}):
            backend = self.mailer("other")
            self.assertEqual(backend.alias, "other")
            self.assertIs(backend.ignore_unsupported_features, True)
            self.assertIs(backend.ignore_recipient_status, True)
            self.assertIs(backend.debug_api_requests, True)
            self.assertEqual(backend.send_defaults, {"tags": ["default"]})
            self.assertEqual(backend.idna_encoder, "none")
            self.assertIs(backend._payload_class, CustomPayload)
            # Options are the mailer's own.
            self.assertEqual(self.mailer("default").send_defaults, {})
        self.assertEqual(len(options), 6)  # the setting is not consumed

    def test_options_of_requests_backends(self):
        for name in ["timeout", "requests_timeout"]:
            options = {"api_key": "key", "api_url": "https://other.example", name: 5}
            with use_mailers(other={"BACKEND": MINIMAL_BACKEND, "OPTIONS": options}):
                backend = self.mailer("other")
                self.assertEqual(backend.timeout, 5)
                self.assertEqual(backend.api_url, "https://other.example/")
                self.assertEqual(backend.api_key, "key")

    def test_several_accounts(self):
        def respond(*args, **kwargs):
            return make_response(json_data={"id": "id"})

        with (
            use_mailers(
                first={"BACKEND": MINIMAL_BACKEND, "OPTIONS": {"api_key": "first-key"}},
                second={"BACKEND": MINIMAL_BACKEND, "OPTIONS": {"api_key": "second-key"}},
            ),
            mock.patch("requests.Session.request", autospec=True, side_effect=respond) as request,
        ):
            for alias in ["first", "second", "first"]:
                self.assertEqual(make_message().send(using=alias), 1)
        keys = [call.kwargs["headers"]["X-API-Key"] for call in request.call_args_list]
        self.assertEqual(keys, ["first-key", "second-key", "first-key"])

    def test_options_fall_back_to_settings(self):
        with (
            use_mailers(other={"BACKEND": MINIMAL_BACKEND, "OPTIONS": {"timeout": 5}}),
            override_settings(
                ANYMAIL={
                    "MINIMAL_ESP_API_KEY": "from-settings",
                    "REQUESTS_TIMEOUT": 1,
                    "SEND_DEFAULTS": {"tags": ["a"]},
                }
            ),
        ):
            backend = self.mailer("other")
            self.assertEqual(backend.api_key, "from-settings")
            self.assertEqual(backend.timeout, 5)
            self.assertEqual(backend.send_defaults, {"tags": ["a"]})

    def test_unknown_options(self):
        for path, options in [
            (TEST_BACKEND, {}),
            (CONSOLE_BACKEND, {}),
            (MINIMAL_BACKEND, {"api_key": "key"}),
        ]:
            with (
                self.subTest(path=path),
                use_mailers(other={"BACKEND": path, "OPTIONS": {**options, "no_such": 1}}),
                self.assertRaises(InvalidMailer) as caught,
            ):
                self.mailer("other")
            self.assertEqual(str(caught.exception), "MAILERS['other']: Unknown options 'no_such'.")

    def test_missing_option(self):
        with (
            use_mailers(other={"BACKEND": MINIMAL_BACKEND}),
            self.assertRaises(AnymailInvalidMailer) as caught,
        ):
            self.mailer("other")
        self.assertTrue(
            str(caught.exception).startswith("MAILERS['other']: OPTIONS must define 'api_key'")
        )
        self.assertIsInstance(caught.exception, AnymailConfigurationError)
        self.assertIsInstance(caught.exception, mail.InvalidMailer)

    def test_unusable_option(self):
        options = {"idna_encoder": "no_such"}
        with (
            use_mailers(other={"BACKEND": TEST_BACKEND, "OPTIONS": options}),
            self.assertRaises(AnymailInvalidMailer) as caught,
        ):
            self.mailer("other")
        self.assertRegex(str(caught.exception), r"^MAILERS\['other'\]: .*IDNA_ENCODER='no_such'")

    def test_console(self):
        stream = io.StringIO()
        with use_mailers(other={"BACKEND": CONSOLE_BACKEND, "OPTIONS": {"stream": stream}}):
            backend = self.mailer("other")
            self.assertIs(type(backend), ConsoleBackend)
            self.assertEqual(backend.alias, "other")
            self.assertEqual(make_message().send(using="other"), 1)
        self.assertIn("Subject: Subject", stream.getvalue())
        output = io.StringIO()
        with redirect_stdout(output), use_mailers(other={"BACKEND": CONSOLE_BACKEND}):
            make_message().send(using="other")
        self.assertIn("Subject: Subject", output.getvalue())

    def test_sending_without_an_alias(self):
        with use_mailers():
            message = make_message()
            self.assertEqual(message.send(), 1)
            self.assertEqual(mail.send_mail("s", "b", "from@example.com", ["to@example.com"]), 1)
        first, _second = mail.outbox
        self.assertIs(first, message)

    def test_deprecated_fail_silently(self):
        """Django hands options that it can't be sure of over with a private argument."""
        message = make_message()
        message.anymail_test_response = AnymailAPIError("text")
        with use_mailers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            connection = mail.get_connection(fail_silently=True, no_such_option=1)
            self.assertIs(connection.fail_silently, True)
            self.assertEqual(connection.send_messages([message, make_message()]), 1)
            self.assertEqual(message.send(fail_silently=True), 0)

    def test_unknown_arguments_without_an_alias(self):
        deprecation = (DeprecationWarning, PendingDeprecationWarning)
        with self.assertWarnsRegex(deprecation, "does not support 'no_such'"):
            EmailBackend(no_such=1)


@skipIf(has_mailers, "Django 6.1 has MAILERS")
class WithoutMailersTests(SimpleTestCase):
    def test_setting_has_no_effect(self):
        with (
            override_settings(EMAIL_BACKEND=TEST_BACKEND),
            use_mailers(default={"BACKEND": "no.such.EmailBackend"}),
        ):
            self.assertEqual(make_message().send(), 1)

    def test_unknown_arguments_are_ignored(self):
        self.assertIs(EmailBackend(no_such=1).fail_silently, False)

    def test_username_and_password(self):
        """send_mail and send_mass_mail pass these, as None."""
        with override_settings(EMAIL_BACKEND=TEST_BACKEND):
            sent = mail.send_mail("s", "b", "from@example.com", ["to@example.com"])
            self.assertEqual(sent, 1)
            datatuple = [("s", "b", "from@example.com", ["to@example.com"])] * 2
            self.assertEqual(mail.send_mass_mail(datatuple), 2)
        self.assertEqual([type(each) for each in mail.outbox[1:]], [EmailMessage] * 2)

    def test_missing_setting(self):
        with self.assertRaises(AnymailConfigurationError) as caught:
            MinimalBackend()
        self.assertNotIsInstance(caught.exception, AnymailInvalidMailer)
        self.assertIn("'MINIMAL_ESP_API_KEY'", str(caught.exception))
