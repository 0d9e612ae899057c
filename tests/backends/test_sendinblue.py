"""Brevo's backend under its former name."""

from __future__ import annotations

from typing import Any

import django
from django.core import mail
from django.test import override_settings, tag

from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailDeprecationWarning,
    AnymailInvalidMailer,
    AnymailUnsupportedFeature,
    InvalidMailer,
)
from anymail.signals import post_send, pre_send
from tests.utils import ApiTestCase, make_message, make_response


@tag("brevo", "sendinblue")
class SendinBlueTests(ApiTestCase):
    backend = "anymail.backends.sendinblue.EmailBackend"
    settings = {"SENDINBLUE_API_KEY": "test-key"}
    api_response = {"messageId": "<id@smtp-relay.mailin.fr>"}

    def make_backend(self, **options: Any) -> Any:
        with self.assertWarnsRegex(
            AnymailDeprecationWarning,
            r"`anymail\.backends\.sendinblue\.EmailBackend` has been renamed "
            r"`anymail\.backends\.brevo\.EmailBackend`",
        ):
            return super().make_backend(**options)

    def test_request(self):
        status = self.send(make_message())
        self.assertEqual(status.message_id, "<id@smtp-relay.mailin.fr>")
        self.assert_api_called("https://api.brevo.com/v3/smtp/email")
        self.assertEqual(self.api_call["headers"]["api-key"], "test-key")

    @override_settings(
        ANYMAIL={
            "SENDINBLUE_API_KEY": "test-key",
            "SENDINBLUE_API_URL": "https://brevo.example.com/",
            "SENDINBLUE_SEND_DEFAULTS": {"tags": ["default"]},
            "SENDINBLUE_WORKAROUND_DISPLAY_NAME_BUGS": False,
            "SENDINBLUE_PREVENT_HEADER_ENCODING_BUGS": False,
            "SENDINBLUE_IDNA_ENCODER": "none",
            "BREVO_API_KEY": "not-this",
            "BREVO_SEND_DEFAULTS": {"tags": ["not this"]},
        }
    )
    def test_settings(self):
        self.send(make_message(to=['"Café, Lyon" <a@háj.example>'], headers={"X-A": "é"}))
        self.assert_api_called("https://brevo.example.com/smtp/email")
        self.assertEqual(self.api_call["headers"]["api-key"], "test-key")
        self.assertEqual(self.api_json["tags"], ["default"])
        self.assertEqual(self.api_json["to"], [{"email": "a@háj.example", "name": "Café, Lyon"}])
        self.assertEqual(self.api_json["headers"], {"X-A": "é"})

    @override_settings(ANYMAIL={"BREVO_API_KEY": "not-this"})
    def test_missing_key(self):
        with self.assertRaisesRegex(AnymailConfigurationError, "SENDINBLUE_API_KEY"):
            self.make_backend()
        with self.assertRaisesRegex(AnymailInvalidMailer, "'api_key'"):
            self.make_backend(alias="other")

    def test_esp_name_in_errors(self):
        with self.assertRaisesRegex(AnymailUnsupportedFeature, "SendinBlue does not support"):
            self.send(make_message(track_opens=True))
        self.api_response = make_response(400, json_data={"message": "problem"})
        with self.assertRaisesRegex(AnymailAPIError, "SendinBlue API response 400"):
            self.send(make_message())
        self.api_response = []
        with self.assertRaisesRegex(AnymailAPIError, "Invalid Brevo API response format"):
            self.send(make_message())

    def test_signals(self):
        received = []

        def receiver(sender: Any, esp_name: Any, **kwargs: Any) -> None:
            received.append((sender, esp_name))

        for signal in (pre_send, post_send):
            signal.connect(receiver)
            self.addCleanup(signal.disconnect, receiver)
        backend = self.make_backend()
        backend.send_messages([make_message()])
        self.assertEqual(received, [(type(backend), "SendinBlue")] * 2)
        self.assertEqual(type(backend).__module__, "anymail.backends.sendinblue")

    def test_send_mail(self):
        """The warning says where the backend was asked for."""
        with self.assertWarns(AnymailDeprecationWarning):
            mail.send_mail("Subject", "Body", "from@example.com", ["to@example.com"])
        self.assert_api_called("https://api.brevo.com/v3/smtp/email")

    def test_unknown_option(self):
        if django.VERSION < (6, 1):
            self.skipTest("Before Django 6.1, unknown options are ignored")
        with self.assertRaisesRegex(InvalidMailer, "Unknown options 'made_up'"):
            self.make_backend(alias="other", made_up=1)
