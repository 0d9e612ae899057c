"""The base of all backends, mostly by way of the test backend, which is the thinnest of them."""

from __future__ import annotations

import copy
import json
import re
import tracemalloc
import uuid
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, ClassVar
from unittest import mock, skipUnless
from unittest.mock import patch
from zoneinfo import ZoneInfo

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.test import SimpleTestCase, override_settings
from django.utils import timezone as django_timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy
from requests.structures import CaseInsensitiveDict

from anymail import _idna
from anymail.addresses import EmailAddress, parse_address_list, parse_single_address
from anymail.attachments import Attachment
from anymail.backends.base import DEFAULT_IDNA_ENCODER, AnymailBaseBackend, BasePayload
from anymail.backends.test import EmailBackend, TestPayload
from anymail.datastructures import (
    UNSET,
    concat_lists,
    force_non_lazy,
    force_non_lazy_dict,
    force_non_lazy_list,
    last,
    merge_dicts_deep,
    merge_dicts_one_level,
    merge_dicts_shallow,
)
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
    AnymailImproperlyInstalled,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.message import AnymailMessage, AnymailRecipientStatus, AnymailStatus
from anymail.sending.batches import NativeBatch
from anymail.sending.payload import payloads_of
from anymail.signals import post_send, pre_send
from tests.utils import SAMPLE_IMAGE, make_message

FAIL_SILENTLY_WARNING = "Anymail will drop support for fail_silently after Django 6.2."


def fail_silently(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Return an instance of a backend class that fails silently."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=FAIL_SILENTLY_WARNING)
        return cls(*args, fail_silently=True, **kwargs)


def params_of(message: Any, **options: Any) -> dict[str, Any]:
    """Send through the test backend, and return what it would have sent."""
    EmailBackend(**options).send_messages([message])
    return message.anymail_test_params


def addr_specs(emails: list[EmailAddress]) -> list[str]:
    return [email.addr_spec for email in emails]


def reach(name: str) -> str:
    """An encoder to be found by its dotted path."""
    return f"reached-{name.replace('é', 'e')}"


not_an_encoder = "text"


class ConstructorTests(SimpleTestCase):
    options = [
        ("ignore_unsupported_features", "IGNORE_UNSUPPORTED_FEATURES"),
        ("ignore_recipient_status", "IGNORE_RECIPIENT_STATUS"),
        ("debug_api_requests", "DEBUG_API_REQUESTS"),
    ]

    def test_defaults(self):
        backend = EmailBackend()
        for option, _ in self.options:
            self.assertIs(getattr(backend, option), False)
        self.assertEqual(backend.send_defaults, {})
        self.assertEqual(backend.idna_encoder, "idna2008")
        self.assertIs(backend._idna_encoder, _idna.idna2008)
        self.assertIs(backend.fail_silently, False)
        if django.VERSION >= (6, 1):
            self.assertIsNone(backend.alias)

    def test_options_from_settings(self):
        for option, setting in self.options:
            with self.subTest(option=option):
                with override_settings(ANYMAIL={setting: True}):
                    self.assertIs(getattr(EmailBackend(), option), True)
                with override_settings(**{f"ANYMAIL_{setting}": True}):
                    self.assertIs(getattr(EmailBackend(), option), True)
                # Read for each instance: the override is over.
                self.assertIs(getattr(EmailBackend(), option), False)

    def test_options_from_kwargs(self):
        for option, setting in self.options:
            with self.subTest(option=option), override_settings(ANYMAIL={setting: True}):
                self.assertIs(getattr(EmailBackend(**{option: False}), option), False)

    def test_all_options_are_consumed(self):
        with mock.patch.object(BaseEmailBackend, "__init__", autospec=True) as init:
            fail_silently(
                EmailBackend,
                ignore_unsupported_features=True,
                ignore_recipient_status=True,
                debug_api_requests=True,
                send_defaults={},
                idna_encoder="none",
                other_option=1,
                _ignore_unknown_kwargs={"x"},
            )
        self.assertEqual(
            init.call_args.kwargs, {"other_option": 1, "_ignore_unknown_kwargs": {"x"}}
        )

    def test_fail_silently(self):
        for args, kwargs in [((True,), {}), ((), {"fail_silently": True})]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                backend = EmailBackend(*args, **kwargs)
            self.assertIs(backend.fail_silently, True)
            [warning] = caught
            self.assertIs(warning.category, DeprecationWarning)
            self.assertEqual(str(warning.message), FAIL_SILENTLY_WARNING)
        # Warnings are errors: there is none for this.
        self.assertIs(EmailBackend(fail_silently=False).fail_silently, False)
        self.assertIs(EmailBackend(False).fail_silently, False)

    def test_is_cooperative(self):
        class Mixin(BaseEmailBackend):
            def __init__(self, **kwargs):
                self.mixed_in = kwargs.pop("mixed_in")
                super().__init__(**kwargs)

        class Mixed(EmailBackend, Mixin):
            pass

        backend = Mixed(mixed_in=1, ignore_unsupported_features=True)
        self.assertEqual((backend.mixed_in, backend.ignore_unsupported_features), (1, True))

    def test_esp_name_is_required(self):
        class Nameless(AnymailBaseBackend):
            pass

        with self.assertRaisesRegex(NotImplementedError, r"test_base\..*Nameless.*esp_name"):
            Nameless()

    def test_abstract_methods(self):
        class Abstract(AnymailBaseBackend):
            esp_name = "My ESP"

        backend = Abstract()
        for method, args in [
            ("build_message_payload", 2),
            ("post_to_esp", 2),
            ("parse_recipient_status", 3),
        ]:
            with self.assertRaisesRegex(
                NotImplementedError, rf"tests\.backends\.test_base\..*Abstract.*{method}"
            ):
                getattr(backend, method)(*[None] * args)


class SendDefaultsSettingTests(SimpleTestCase):
    """Which defaults there are. What becomes of them is in SendDefaultsTests."""

    def test_from_settings(self):
        with override_settings(ANYMAIL={"SEND_DEFAULTS": {"tags": ["a"], "track_opens": True}}):
            self.assertEqual(EmailBackend().send_defaults, {"tags": ["a"], "track_opens": True})
        with override_settings(ANYMAIL_SEND_DEFAULTS={"tags": ["a"]}):
            self.assertEqual(EmailBackend().send_defaults, {"tags": ["a"]})

    def test_no_defaults(self):
        for setting in ("SEND_DEFAULTS", "TEST_SEND_DEFAULTS"):
            for name in ("idempotency_key", "duplicates"):
                with (
                    self.subTest(setting, name=name),
                    override_settings(ANYMAIL={setting: {name: "avoid"}}),
                    self.assertRaisesMessage(AnymailConfigurationError, f"{name!r}"),
                ):
                    EmailBackend()

    def test_esp_s_replace_general_ones_key_by_key(self):
        with override_settings(
            ANYMAIL={
                "SEND_DEFAULTS": {"tags": ["general"], "metadata": {"a": 1}, "esp_extra": {"b": 1}},
                "TEST_SEND_DEFAULTS": {"tags": ["esp"], "metadata": None, "esp_extra": {"c": 1}},
                "OTHER_SEND_DEFAULTS": {"tags": ["other"]},
            }
        ):
            self.assertEqual(
                EmailBackend().send_defaults,
                {"tags": ["esp"], "metadata": None, "esp_extra": {"c": 1}},
            )

    def test_from_kwargs(self):
        with override_settings(
            ANYMAIL={
                "SEND_DEFAULTS": {"tags": ["general"], "track_opens": True},
                "TEST_SEND_DEFAULTS": {"tags": ["esp"], "track_clicks": True},
            }
        ):
            # A keyword argument takes the place of the ESP's settings, not of the general ones.
            self.assertEqual(
                EmailBackend(send_defaults={"tags": ["kwarg"]}).send_defaults,
                {"tags": ["kwarg"], "track_opens": True},
            )
            for nothing in [None, {}]:
                self.assertEqual(
                    EmailBackend(send_defaults=nothing).send_defaults,
                    {"tags": ["general"], "track_opens": True},
                )

    def test_none_is_nothing(self):
        with override_settings(ANYMAIL={"SEND_DEFAULTS": None, "TEST_SEND_DEFAULTS": None}):
            self.assertEqual(EmailBackend().send_defaults, {})

    def test_settings_are_copied(self):
        settings = {"SEND_DEFAULTS": {"tags": ["a"]}, "TEST_SEND_DEFAULTS": {"track_opens": True}}
        with override_settings(ANYMAIL=settings):
            EmailBackend().send_defaults["new"] = 1
        self.assertEqual(
            settings,
            {"SEND_DEFAULTS": {"tags": ["a"]}, "TEST_SEND_DEFAULTS": {"track_opens": True}},
        )

    def test_handed_to_the_payload(self):
        class Backend(EmailBackend):
            def build_message_payload(self, message, defaults):
                self.seen = defaults
                return super().build_message_payload(message, defaults)

        backend = Backend(send_defaults={"tags": ["a"]})
        backend.send_messages([make_message()])
        self.assertIs(backend.seen, backend.send_defaults)


class IdnaEncoderTests(SimpleTestCase):
    domain = "straße.example"

    def encode(self, **options: Any) -> str:
        return EmailBackend(**options).idna_encode(self.domain)

    def test_default(self):
        self.assertEqual(DEFAULT_IDNA_ENCODER, "idna2008")
        self.assertEqual(self.encode(), "xn--strae-oqa.example")

    def test_names(self):
        for name, expected in [
            ("idna2008", "xn--strae-oqa.example"),
            ("idna2003", "strasse.example"),
            ("none", "straße.example"),
        ]:
            with self.subTest(name=name), override_settings(ANYMAIL={"IDNA_ENCODER": name}):
                self.assertEqual(self.encode(), expected)

    def test_callable(self):
        backend = EmailBackend(idna_encoder=str.upper)
        self.assertIs(backend.idna_encoder, str.upper)
        self.assertEqual(backend.idna_encode(self.domain), "STRASSE.EXAMPLE")

    def test_dotted_path(self):
        with override_settings(ANYMAIL={"IDNA_ENCODER": f"{__name__}.reach"}):
            self.assertEqual(self.encode(), "reached-straße.example")

    def test_precedence(self):
        with override_settings(ANYMAIL={"IDNA_ENCODER": "none", "TEST_IDNA_ENCODER": "idna2003"}):
            self.assertEqual(self.encode(), "strasse.example")
            self.assertEqual(self.encode(idna_encoder="idna2008"), "xn--strae-oqa.example")
            # The keyword argument takes the place of the ESP's setting; falsy is not set.
            for falsy in [None, ""]:
                self.assertEqual(self.encode(idna_encoder=falsy), "straße.example")
        with override_settings(ANYMAIL={"IDNA_ENCODER": "no such", "TEST_IDNA_ENCODER": "none"}):
            self.assertEqual(self.encode(), "straße.example")
        with override_settings(ANYMAIL={"IDNA_ENCODER": "none", "TEST_IDNA_ENCODER": None}):
            self.assertEqual(self.encode(), "straße.example")

    def test_unusable(self):
        for value in [
            "no_such_encoder",
            "no.such.module",
            f"{__name__}.no_such_function",
            f"{__name__}.not_an_encoder",
            ".reach",
            "..reach",
            "annotations",  # in the module's namespace, but no encoder
            None,
            5,
            b"idna2008",
        ]:
            with self.subTest(value=value), override_settings(ANYMAIL={"IDNA_ENCODER": value}):
                with self.assertRaises(AnymailConfigurationError) as caught:
                    EmailBackend()
                self.assertNotIsInstance(caught.exception, AnymailInvalidMailer)
                self.assertIn("IDNA_ENCODER", str(caught.exception))
                self.assertIn(repr(value), str(caught.exception))
                self.assertIsNotNone(caught.exception.__cause__)

    def test_unusable_in_mailers(self):
        with self.assertRaises(AnymailInvalidMailer) as caught:
            EmailBackend(alias="marketing", idna_encoder="no_such_encoder")
        self.assertIn("IDNA_ENCODER='no_such_encoder'", str(caught.exception))
        self.assertIsNotNone(caught.exception.__cause__)

    def test_refused_domain(self):
        for name, domain in [("idna2008", "☃.example"), ("idna2003", "é..example")]:
            backend = EmailBackend(idna_encoder=name)
            with self.subTest(name=name), self.assertRaises(AnymailInvalidAddress) as caught:
                backend.idna_encode(domain)
            self.assertIn(
                f"Cannot encode {domain!r} using IDNA_ENCODER={name!r}", str(caught.exception)
            )
            self.assertIsInstance(caught.exception.__cause__, ValueError)
            self.assertEqual(caught.exception.esp_name, "Test")

    def test_other_errors_of_encoders_propagate(self):
        def broken(domain):
            raise KeyError(domain)

        with self.assertRaises(KeyError):
            EmailBackend(idna_encoder=broken).idna_encode("é")

    def test_missing_package_matters_only_when_used(self):
        with mock.patch.dict("sys.modules", {"uts46": None}):
            backend = EmailBackend(idna_encoder="uts46")
            with self.assertRaises(AnymailImproperlyInstalled):
                backend.idna_encode("é.example")

    def test_with_the_methods_of_addresses(self):
        address = EmailAddress("Name", "a@straße.example")
        self.assertEqual(
            address.format(idna_encode=EmailBackend(idna_encoder="idna2003").idna_encode),
            "Name <a@strasse.example>",
        )


class Recorder(EmailBackend):
    """Records what happens, in order."""

    new_connection = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.events: list[str] = []
        self.fail_at: dict[str, Exception] = {}

    def event(self, name):
        self.events.append(name)
        if name in self.fail_at:
            raise self.fail_at[name]

    def open(self):
        self.event("open")
        return self.new_connection

    def close(self):
        self.event("close")

    def build_message_payload(self, message, defaults):
        self.event("build")
        return super().build_message_payload(message, defaults)

    def post_to_esp(self, payload, message):
        self.event("post")
        return super().post_to_esp(payload, message)

    def parse_recipient_status(self, response, payload, message):
        self.event("parse")
        return super().parse_recipient_status(response, payload, message)

    def raise_for_recipient_status(self, anymail_status, response, payload, message):
        self.event("raise_for_recipient_status")
        super().raise_for_recipient_status(anymail_status, response, payload, message)


class SendMessagesTests(SimpleTestCase):
    def test_counts(self):
        self.assertEqual(EmailBackend().send_messages([make_message(), make_message()]), 2)

    def test_nothing_to_send(self):
        for nothing in [[], (), None]:
            backend = Recorder()
            with self.subTest(nothing=nothing):
                self.assertEqual(backend.send_messages(nothing), 0)
                self.assertEqual(backend.events, [])

    def test_any_iterable(self):
        self.assertEqual(EmailBackend().send_messages(make_message() for _ in range(3)), 3)

    def test_opens_once_and_closes(self):
        backend = Recorder()
        backend.send_messages([make_message(), make_message()])
        self.assertEqual(backend.events.count("open"), 1)
        self.assertEqual(backend.events.count("close"), 1)
        self.assertEqual((backend.events[0], backend.events[-1]), ("open", "close"))

    def test_does_not_close_what_others_opened(self):
        for not_opened in [False, None]:
            backend = Recorder()
            backend.new_connection = not_opened
            backend.send_messages([make_message()])
            self.assertNotIn("close", backend.events)

    def test_closes_after_an_error(self):
        for error in [AnymailAPIError("text"), ValueError("text")]:
            backend = Recorder()
            backend.fail_at["post"] = error
            with self.subTest(error=error), self.assertRaises(type(error)):
                backend.send_messages([make_message(), make_message()])
            # The second message is not sent.
            self.assertEqual(backend.events, ["open", "build", "post", "close"])

    def test_error_opening(self):
        backend = Recorder()
        backend.fail_at["open"] = ValueError("text")
        with self.assertRaises(ValueError):
            backend.send_messages([make_message()])
        self.assertEqual(backend.events, ["open"])

    def test_fail_silently(self):
        backend = fail_silently(EmailBackend)
        bad = make_message()
        bad.anymail_test_response = AnymailAPIError("text")
        refused = make_message(tags=["a"])
        refused.anymail_test_response = {
            "recipient_status": {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        }
        invalid = make_message(to=["invalid"])
        good = make_message()
        self.assertEqual(backend.send_messages([bad, refused, invalid, good]), 1)
        self.assertEqual(good.anymail_status.status, {"sent"})
        self.assertEqual(refused.anymail_status.status, {"rejected"})
        self.assertIsNone(bad.anymail_status.status)

    def test_fail_silently_does_not_hide_other_errors(self):
        for error in [ValueError("text"), AnymailConfigurationError("text")]:
            backend = fail_silently(Recorder)
            backend.fail_at["post"] = error
            with self.subTest(error=error), self.assertRaises(type(error)):
                backend.send_messages([make_message()])
            self.assertEqual(backend.events[-1], "close")

    def test_context_manager(self):
        backend = Recorder()
        with backend as connection:
            self.assertIs(connection, backend)
            self.assertEqual(backend.events, ["open"])
        self.assertEqual(backend.events, ["open", "close"])

    def test_base_connection(self):
        backend = EmailBackend()
        self.assertIs(backend.open(), False)
        self.assertIsNone(backend.close())


class SendOneTests(SimpleTestCase):
    def setUp(self):
        self.backend = Recorder()
        for signal, name in [(pre_send, "pre_send"), (post_send, "post_send")]:

            def receiver(name=name, **kwargs):
                self.backend.event(name)

            signal.connect(receiver, weak=False)
            self.addCleanup(signal.disconnect, receiver)

    def send(self, message: Any = None) -> Any:
        message = message or make_message()
        self.sent = self.backend._send(message)
        return message

    def test_order(self):
        message = self.send()
        self.assertIs(self.sent, True)
        self.assertEqual(
            self.backend.events,
            ["pre_send", "build", "post", "parse", "post_send", "raise_for_recipient_status"],
        )
        self.assertEqual(message.anymail_status.status, {"sent"})
        self.assertIn("recipient_status", message.anymail_status.esp_response)

    def test_fresh_status_for_each_time(self):
        for message in [make_message(), EmailMessage(to=["a@b.c"], from_email="a@b.c")]:
            self.send(message)
            first = message.anymail_status
            self.assertIsInstance(first, AnymailStatus)
            self.send(message)
            self.assertIsNot(message.anymail_status, first)

    def test_run_pre_send(self):
        self.assertIs(self.backend.run_pre_send(make_message()), True)
        self.backend.fail_at["pre_send"] = AnymailCancelSend()
        self.assertIs(self.backend.run_pre_send(make_message()), False)

    def test_old_status_is_gone_even_if_canceled(self):
        message = self.send()
        self.backend.fail_at["pre_send"] = AnymailCancelSend()
        self.send(message)
        self.assertIs(self.sent, False)
        self.assertIsNone(message.anymail_status.status)
        self.assertEqual(message.anymail_status.recipients, {})

    def test_no_recipients(self):
        message = self.send(EmailMessage("Subject", "Body", "from@example.com"))
        self.assertIs(self.sent, False)
        self.assertEqual(self.backend.events, ["pre_send"])
        self.assertIsNone(message.anymail_status.status)

    def test_recipients_only_in_defaults_are_not_enough(self):
        message = EmailMessage("Subject", "Body", "from@example.com")
        backend = EmailBackend(send_defaults={"to": ["default@example.com"]})
        self.assertEqual(backend.send_messages([message]), 0)

    def test_cc_or_bcc_are_enough(self):
        for kwargs in [{"cc": ["cc@example.com"]}, {"bcc": ["bcc@example.com"]}]:
            message = EmailMessage("Subject", "Body", "from@example.com", **kwargs)
            self.assertEqual(EmailBackend().send_messages([message]), 1)

    def test_errors(self):
        for step, response in [("build", False), ("post", False), ("parse", True)]:
            self.backend = Recorder()
            self.backend.fail_at[step] = AnymailAPIError("text")
            message = make_message()
            with self.subTest(step=step), self.assertRaises(AnymailAPIError):
                self.send(message)
            self.assertEqual(self.backend.events[-1], step)  # no post_send
            status = message.anymail_status
            self.assertIsNone(status.status)
            self.assertIsNone(status.message_id)
            self.assertEqual(status.recipients, {})
            self.assertIs(status.esp_response is not None, response)

    def test_errors_that_tell_statuses(self):
        recipients = {
            "a@example.com": AnymailRecipientStatus("1", "sent"),
            "b@example.com": AnymailRecipientStatus(None, "failed"),
        }
        self.backend.fail_at["parse"] = AnymailAPIError("text", recipients=recipients)
        message = make_message(to=[*recipients])
        with self.assertRaises(AnymailAPIError) as caught:
            self.backend.send_messages([message])
        self.assertEqual(self.backend.events[-3:], ["parse", "post_send", "close"])
        self.assertEqual(caught.exception.sent_count, 1)
        self.assertEqual(message.anymail_status.recipients, recipients)
        self.assertEqual(message.anymail_status.status, {"sent", "failed"})
        self.assertEqual(
            str(caught.exception), "text\nThe message was accepted for 1 of 2 recipients."
        )

    def test_post_send_errors(self):
        self.backend.fail_at["post_send"] = AnymailError("from the receiver")
        message = make_message()
        with (
            self.assertLogs("django.dispatch"),
            self.assertRaisesMessage(AnymailError, "from the receiver"),
        ):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"sent"})
        # If the message had been refused, that would be the error.
        self.assertEqual(self.backend.events[-1], "raise_for_recipient_status")

    def test_post_send_anymail_error_can_be_silent(self):
        self.backend = fail_silently(Recorder)
        self.backend.fail_at["post_send"] = AnymailError("from the receiver")
        with self.assertLogs("django.dispatch"):
            self.assertEqual(self.backend.send_messages([make_message()]), 0)


class RecipientStatusTests(SimpleTestCase):
    def send(self, *statuses: str, **options: Any) -> Any:
        self.message = make_message(to=[f"to{n}@example.com" for n in range(len(statuses) or 1)])
        self.message.anymail_test_response = {
            "recipient_status": {
                f"to{n}@example.com": AnymailRecipientStatus("id", status)
                for n, status in enumerate(statuses)
            }
        }
        return EmailBackend(**options).send_messages([self.message])

    def test_not_refused(self):
        for statuses in [
            ["sent"],
            ["queued"],
            ["unknown"],
            ["rejected", "sent"],
            ["failed", "queued"],
            ["invalid", "failed", "unknown"],
        ]:
            with self.subTest(statuses=statuses):
                self.assertEqual(self.send(*statuses), 1)
                self.assertEqual(self.message.anymail_status.status, set(statuses))

    def test_refused(self):
        for statuses in [["rejected"], ["invalid"], ["invalid", "rejected"], []]:
            with self.subTest(statuses=statuses):
                with self.assertRaises(AnymailRecipientsRefused) as caught:
                    self.send(*statuses)
                error = caught.exception
                self.assertIs(error.email_message, self.message)
                self.assertIsInstance(error.payload, TestPayload)
                self.assertIsInstance(error.backend, EmailBackend)
                self.assertIs(error.response, self.message.anymail_test_response)
                self.assertEqual(self.message.anymail_status.status, set(statuses))
                self.assertNotIn("example.com", str(error))

    def test_failed(self):
        for statuses in [["failed"], ["failed", "failed"], ["invalid", "failed", "rejected"]]:
            with self.subTest(statuses=statuses):
                with self.assertRaisesMessage(
                    AnymailAPIError, "Test has not accepted the message for any recipient"
                ) as caught:
                    self.send(*statuses)
                error = caught.exception
                self.assertIs(error.email_message, self.message)
                self.assertIs(error.response, self.message.anymail_test_response)
                self.assertEqual(error.recipients, self.message.anymail_status.recipients)
                self.assertEqual(self.message.anymail_status.status, set(statuses))
                self.assertEqual(error.sent_count, 0)

    def test_ignored(self):
        for status in ["rejected", "failed"]:
            self.assertEqual(self.send(status, ignore_recipient_status=True), 1)
            self.assertEqual(self.message.anymail_status.status, {status})
        with override_settings(ANYMAIL={"IGNORE_RECIPIENT_STATUS": True}):
            self.assertEqual(self.send("invalid"), 1)


# -- Payloads -------------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "from_email": "from@example.com",
    "to": ["to@example.com"],
    "cc": ["cc@example.com"],
    "bcc": ["bcc@example.com"],
    "subject": "Subject",
    "reply_to": ["reply@example.com"],
    "headers": {"X-Custom": "1"},
    "body": "Body",
    "alternatives": [("<p>Body</p>", "text/html")],
    "attachments": [("a.txt", "text", "text/plain")],
    "envelope_sender": "envelope@example.com",
    "metadata": {"a": 1},
    "send_at": datetime(2031, 5, 6, tzinfo=timezone.utc),
    "tags": ["tag"],
    "track_clicks": True,
    "track_opens": False,
    "template_id": "template",
    "merge_data": {"to@example.com": {"a": 1}},
    "merge_global_data": {"b": 2},
    "merge_headers": {"to@example.com": {"X-Merge": "2"}},
    "merge_metadata": {"to@example.com": {"c": 3}},
    "esp_extra": {"option": True},
}


class RecordingPayload(BasePayload):
    """Records the calls of its setters."""

    def init_payload(self):
        self.calls: list[tuple[str, Any]] = []

    def __getattribute__(self, name):
        if name.startswith("set_") and name not in type(self).__dict__:
            return lambda value: self.calls.append((name, value))
        return super().__getattribute__(name)


def record(message: Any, defaults: Any = None, cls: type = RecordingPayload) -> dict[str, Any]:
    """Build a payload, and return what its setters were called with, in order."""
    payload = cls(message, defaults or {}, EmailBackend())
    calls = dict(payload.calls)
    assert len(calls) == len(payload.calls)  # each once
    return calls


class AttributeTableTests(SimpleTestCase):
    def test_base_message_attrs(self):
        self.assertEqual(
            BasePayload.base_message_attrs,
            (
                ("from_email", last, parse_address_list),
                ("to", concat_lists, parse_address_list),
                ("cc", concat_lists, parse_address_list),
                ("bcc", concat_lists, parse_address_list),
                ("subject", last, force_non_lazy),
                ("reply_to", concat_lists, parse_address_list),
                ("extra_headers", merge_dicts_shallow, force_non_lazy_dict),
                ("body", last, force_non_lazy),
                ("alternatives", concat_lists, "prepped_alternatives"),
                ("attachments", concat_lists, "prepped_attachments"),
            ),
        )

    def test_anymail_message_attrs(self):
        self.assertEqual(
            BasePayload.anymail_message_attrs,
            (
                ("envelope_sender", last, parse_single_address),
                ("metadata", merge_dicts_shallow, force_non_lazy_dict),
                ("send_at", last, "aware_datetime"),
                ("tags", concat_lists, force_non_lazy_list),
                ("track_clicks", last, None),
                ("track_opens", last, None),
                ("template_id", last, force_non_lazy),
                ("merge_data", merge_dicts_one_level, force_non_lazy_dict),
                ("merge_global_data", merge_dicts_shallow, force_non_lazy_dict),
                ("merge_headers", None, force_non_lazy_dict),
                ("merge_metadata", merge_dicts_one_level, force_non_lazy_dict),
                ("esp_extra", merge_dicts_deep, force_non_lazy_dict),
            ),
        )

    def test_for_subclasses(self):
        self.assertEqual(BasePayload.esp_message_attrs, ())
        self.assertEqual(BasePayload.batch_attrs, ("merge_data", "merge_headers", "merge_metadata"))

    def test_setters_are_called_in_order(self):
        calls = record(AnymailMessage(**EVERYTHING))
        self.assertEqual(
            list(calls),
            [
                "set_from_email_list",
                "set_to",
                "set_cc",
                "set_bcc",
                "set_subject",
                "set_reply_to",
                "set_extra_headers",
                "set_body",
                "set_alternatives",
                "set_attachments",
                "set_envelope_sender",
                "set_metadata",
                "set_send_at",
                "set_tags",
                "set_track_clicks",
                "set_track_opens",
                "set_template_id",
                "set_merge_data",
                "set_merge_global_data",
                "set_merge_headers",
                "set_merge_metadata",
                "set_esp_extra",
            ],
        )

    def test_esp_message_attrs_come_last(self):
        class Payload(RecordingPayload):
            esp_message_attrs = (("esp_attr", last, str.upper), ("subject", None, None))

        message = make_message()
        message.esp_attr = "value"
        payload = Payload(message, {}, EmailBackend())
        self.assertEqual(
            payload.calls[-2:], [("set_esp_attr", "VALUE"), ("set_subject", "Subject")]
        )

    def test_attribute_without_setter(self):
        class Payload(TestPayload):
            esp_message_attrs = (("no_setter", last, None),)

        message = make_message()
        Payload(message, {}, EmailBackend())  # unset: fine
        message.no_setter = None
        Payload(message, {}, EmailBackend())
        message.no_setter = "value"
        with self.assertRaisesRegex(AttributeError, "set_no_setter"):
            Payload(message, {}, EmailBackend())

    def test_instance_attributes(self):
        class Payload(TestPayload):
            def init_payload(self):
                super().init_payload()
                # Available from the start
                self.seen = (self.message, self.defaults, self.backend, self.esp_name)

        message, defaults, backend = make_message(), {"tags": []}, EmailBackend()
        payload = Payload(message, defaults, backend)
        self.assertIs(payload.seen[0], message)
        self.assertIs(payload.seen[1], defaults)
        self.assertIs(payload.seen[2], backend)
        self.assertEqual(payload.seen[3], "Test")


class ProcessingRulesTests(SimpleTestCase):
    def test_converted_values(self):
        calls = record(AnymailMessage(**EVERYTHING))
        for setter, expected in [
            ("set_from_email_list", ["from@example.com"]),
            ("set_to", ["to@example.com"]),
            ("set_cc", ["cc@example.com"]),
            ("set_bcc", ["bcc@example.com"]),
            ("set_reply_to", ["reply@example.com"]),
        ]:
            self.assertEqual([str(email) for email in calls[setter]], expected)
            self.assertIsInstance(calls[setter][0], EmailAddress)
        self.assertEqual(calls["set_envelope_sender"], EmailAddress("", "envelope@example.com"))
        [attachment] = calls["set_attachments"]
        self.assertIsInstance(attachment, Attachment)
        self.assertEqual(calls["set_alternatives"], [("<p>Body</p>", "text/html")])
        self.assertEqual(calls["set_subject"], "Subject")
        self.assertEqual(calls["set_body"], "Body")
        for name in [
            "metadata",
            "send_at",
            "tags",
            "track_clicks",
            "track_opens",
            "template_id",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        ]:
            self.assertEqual(calls[f"set_{name}"], EVERYTHING[name])

    def test_plain_message(self):
        """Empty lists are values; what is missing is not."""
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        calls = record(message)
        self.assertEqual(
            list(calls),
            [
                *("set_from_email_list", "set_to", "set_cc", "set_bcc", "set_subject"),
                *("set_reply_to", "set_body", "set_attachments"),
            ],
        )
        for setter in ["set_cc", "set_bcc", "set_reply_to", "set_attachments"]:
            self.assertEqual(calls[setter], [])
        calls = record(EmailMultiAlternatives(to=["to@example.com"]))
        self.assertEqual(calls["set_alternatives"], [])
        self.assertEqual(calls["set_body"], "")
        self.assertEqual(calls["set_subject"], "")

    def test_missing_attributes(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        del message.reply_to, message.cc
        message.bcc = UNSET
        calls = record(message)
        for setter in ["set_reply_to", "set_cc", "set_bcc"]:
            self.assertNotIn(setter, calls)

    def test_none_suppresses_everything(self):
        message = AnymailMessage(to=["to@example.com"])
        defaults = {}
        for name in [attr for attr, _, _ in RecordingPayload.base_message_attrs]:
            setattr(message, name, None)
            defaults[name] = EVERYTHING.get(name, {"X-Custom": "1"})
        for name in [attr for attr, _, _ in RecordingPayload.anymail_message_attrs]:
            setattr(message, name, None)
            defaults[name] = EVERYTHING[name]
        self.assertEqual(record(message, defaults), {})

    def test_unset_values_are_not_converted(self):
        def refuse(value):
            raise AssertionError("converted")

        class Payload(RecordingPayload):
            esp_message_attrs = (("x_one", last, refuse), ("x_two", None, refuse))

        message = make_message()
        message.x_one, message.x_two = None, None
        record(message, cls=Payload)
        message.x_one, message.x_two = UNSET, UNSET
        record(message, cls=Payload)

    def test_converter_by_name_of_a_method(self):
        class Payload(RecordingPayload):
            esp_message_attrs = (("x_one", last, "shout"),)

            def shout(self, value):
                return f"{value}!"

        message = make_message()
        message.x_one = "hey"
        self.assertEqual(record(message, cls=Payload)["set_x_one"], "hey!")

    def test_bare_strings(self):
        lazy = gettext_lazy("reply@example.com")
        for name in ["to", "cc", "bcc", "reply_to"]:
            for value in ["reply@example.com", lazy, b"reply@example.com", 5]:
                message = make_message()
                setattr(message, name, value)
                with (
                    self.subTest(name=name, value=value),
                    self.assertRaisesRegex(
                        TypeError, f'"{name}" attribute must be a list or other iterable'
                    ) as caught,
                ):
                    record(message)
                self.assertNotIsInstance(caught.exception, AnymailError)

    def test_bare_strings_in_sending(self):
        message = make_message()
        message.reply_to = "reply@example.com"
        with self.assertRaisesRegex(TypeError, '"reply_to" attribute must be'):
            EmailBackend().send_messages([message])

    def test_any_iterable_of_addresses(self):
        for value in [("reply@example.com",), {"reply@example.com"}, iter(["reply@example.com"])]:
            message = make_message()
            message.reply_to = value
            self.assertEqual(addr_specs(record(message)["set_reply_to"]), ["reply@example.com"])

    def test_wrong_types(self):
        for name, values, expected in [
            ("tags", ["abc", gettext_lazy("abc"), b"abc", 5], "a list or other iterable"),
            ("attachments", ["abc", 5], "a list or other iterable"),
            ("alternatives", ["abc", 5], "a list or other iterable"),
            ("metadata", ["abc", ["a"], [("a", "b")], 5], "a dict"),
            ("merge_global_data", ["abc", ["a"]], "a dict"),
            ("esp_extra", ["abc", ["a"]], "a dict"),
            ("extra_headers", ["abc", [("a", "b")]], "a dict"),
            ("merge_data", ["abc", ["a"], {"a": "b"}, {"a": None}], "a dict of address: dict"),
            ("merge_headers", ["abc", {"a": [("b", "c")]}], "a dict of address: dict"),
            ("merge_metadata", ["abc", {"a": {}, "b": 1}], "a dict of address: dict"),
        ]:
            for value in values:
                message = make_message()
                setattr(message, name, value)
                with (
                    self.subTest(name=name, value=value),
                    self.assertRaisesRegex(TypeError, f'"{name}" attribute must be {expected}'),
                ):
                    record(message)

    def test_wrong_types_in_defaults(self):
        for name, value in [("tags", "abc"), ("metadata", ["a"]), ("merge_data", {"a": 1})]:
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(TypeError, f'"{name}" in SEND_DEFAULTS must be a'),
            ):
                record(make_message(), {name: value})

    def test_read_only_mappings(self):
        frozen = MappingProxyType
        message = make_message(
            metadata=frozen({"a": 1}),
            esp_extra=frozen({"b": {"c": 2}}),
            merge_data=frozen({"to@example.com": frozen({"d": 3})}),
        )
        for defaults in [{}, {"metadata": {}, "esp_extra": {}, "merge_data": {}}]:
            calls = record(message, defaults)
            self.assertEqual(calls["set_metadata"], {"a": 1})
            self.assertEqual(calls["set_esp_extra"], {"b": {"c": 2}})
            self.assertEqual(calls["set_merge_data"], {"to@example.com": {"d": 3}})

    def test_subclass_can_have_batch_attrs_of_any_type(self):
        class Payload(RecordingPayload):
            esp_message_attrs = (("x_list", None, None),)
            batch_attrs = (*BasePayload.batch_attrs, "x_list")

        message = make_message()
        message.x_list = ["a"]
        payload = Payload(message, {}, EmailBackend())
        self.assertIs(payload.is_batch(), True)

    def test_invalid_addresses_name_the_attribute(self):
        for name in ["to", "cc", "bcc", "reply_to"]:
            message = make_message()
            setattr(message, name, ["bad"])
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(
                    AnymailInvalidAddress, rf"Invalid email address 'bad' in `{name}`"
                ),
            ):
                record(message)
        for name in ["from_email", "envelope_sender"]:
            message = make_message()
            setattr(message, name, "bad")
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(AnymailInvalidAddress, f"in `{name}`"),
            ):
                record(message)

    def test_empty_from(self):
        message = make_message()
        message.from_email = ""
        with self.assertRaisesRegex(AnymailInvalidAddress, "in `from_email`"):
            record(message)

    def test_values_are_copies(self):
        metadata = {"list": ["caller's own"]}
        tags = ["a"]
        esp_extra = {"nested": {"list": []}}
        message = make_message(metadata=metadata, tags=tags, esp_extra=esp_extra)
        calls = record(message)
        calls["set_tags"].append("b")
        calls["set_metadata"]["new"] = 1
        calls["set_esp_extra"]["nested"]["new"] = 1
        self.assertEqual(tags, ["a"])
        self.assertEqual(metadata, {"list": ["caller's own"]})
        self.assertEqual(esp_extra, {"nested": {"list": []}})
        # but not deeper than that
        self.assertIs(calls["set_metadata"]["list"], metadata["list"])


class SendDefaultsTests(SimpleTestCase):
    """How defaults combine with what the message has"""

    def test_used_if_message_has_none(self):
        defaults = {
            name: value
            for name, value in EVERYTHING.items()
            if name not in ("headers", "merge_headers", "from_email", "subject", "body")
        }
        defaults["extra_headers"] = EVERYTHING["headers"]
        message = AnymailMessage("Own", "Own body", "own@example.com", ["own-to@example.com"])
        calls = record(message, defaults)
        self.assertEqual(addr_specs(calls["set_to"]), ["to@example.com", "own-to@example.com"])
        self.assertEqual(addr_specs(calls["set_cc"]), ["cc@example.com"])
        self.assertEqual(addr_specs(calls["set_bcc"]), ["bcc@example.com"])
        self.assertEqual(addr_specs(calls["set_reply_to"]), ["reply@example.com"])
        self.assertEqual(calls["set_extra_headers"], {"X-Custom": "1"})
        self.assertEqual(len(calls["set_attachments"]), 1)
        self.assertEqual(len(calls["set_alternatives"]), 1)
        self.assertEqual(calls["set_envelope_sender"].addr_spec, "envelope@example.com")
        for name in [
            *("metadata", "send_at", "tags", "track_clicks", "track_opens", "template_id"),
            *("merge_data", "merge_global_data", "merge_metadata", "esp_extra"),
        ]:
            self.assertEqual(calls[f"set_{name}"], EVERYTHING[name])

    def test_used_for_plain_django_messages(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        params = params_of(message, send_defaults={"tags": ["default"], "track_opens": True})
        self.assertEqual(params["tags"], ["default"])
        self.assertIs(params["track_opens"], True)

    def test_message_s_own_always_apply(self):
        defaults = {"subject": "Default", "from_email": "default@example.com", "body": "Default"}
        calls = record(make_message(), defaults)
        self.assertEqual(calls["set_subject"], "Subject")
        self.assertEqual(addr_specs(calls["set_from_email_list"]), ["from@example.com"])
        self.assertEqual(calls["set_body"], "Text body")

    def test_merge_headers_has_no_default(self):
        calls = record(make_message(), {"merge_headers": EVERYTHING["merge_headers"]})
        self.assertNotIn("set_merge_headers", calls)

    def test_combined(self):
        defaults = {
            "tags": ["default"],
            "metadata": {"a": "default", "b": {"x": 1}},
            "merge_data": {"a@b.c": {"x": "default", "y": "default"}, "d@e.f": {"z": 1}},
            "merge_global_data": {"a": "default", "b": "default"},
            "merge_metadata": {"a@b.c": {"x": "default"}},
            "esp_extra": {"a": {"x": 1, "y": [1]}, "b": 1},
            "extra_headers": {"X-A": "default", "X-B": "default"},
            "track_opens": True,
            "template_id": "default",
            "bcc": ["default@example.com"],
        }
        message = make_message(
            tags=["own"],
            metadata={"b": {"y": 2}},
            merge_data={"a@b.c": {"x": "own"}},
            merge_global_data={"b": "own"},
            merge_metadata={"a@b.c": {"y": "own"}},
            esp_extra={"a": {"y": [2], "z": 3}},
            headers={"X-B": "own"},
            track_opens=False,
            template_id="own",
            bcc=["own@example.com"],
        )
        calls = record(message, defaults)
        self.assertEqual(calls["set_tags"], ["default", "own"])
        self.assertEqual(calls["set_metadata"], {"a": "default", "b": {"y": 2}})
        self.assertEqual(
            calls["set_merge_data"],
            {"a@b.c": {"x": "own", "y": "default"}, "d@e.f": {"z": 1}},
        )
        self.assertEqual(calls["set_merge_global_data"], {"a": "default", "b": "own"})
        self.assertEqual(calls["set_merge_metadata"], {"a@b.c": {"x": "default", "y": "own"}})
        self.assertEqual(calls["set_esp_extra"], {"a": {"x": 1, "y": [2], "z": 3}, "b": 1})
        self.assertEqual(calls["set_extra_headers"], {"X-A": "default", "X-B": "own"})
        self.assertIs(calls["set_track_opens"], False)
        self.assertEqual(calls["set_template_id"], "own")
        self.assertEqual(addr_specs(calls["set_bcc"]), ["default@example.com", "own@example.com"])

    def test_headers_that_differ_in_case(self):
        calls = record(make_message(headers={"x-a": "own"}), {"extra_headers": {"X-A": "default"}})
        self.assertEqual(list(calls["set_extra_headers"].items()), [("x-a", "own")])

    def test_suppressed_with_none(self):
        defaults = {"tags": ["default"], "metadata": {"a": 1}, "track_opens": True}
        calls = record(make_message(tags=None, metadata=None, track_opens=None), defaults)
        for setter in ["set_tags", "set_metadata", "set_track_opens"]:
            self.assertNotIn(setter, calls)

    def test_bare_strings_in_defaults_are_invalid_addresses(self):
        with self.assertRaises(AnymailInvalidAddress):
            record(make_message(), {"bcc": "bcc@example.com"})

    def test_settings_are_never_modified(self):
        settings = {
            "SEND_DEFAULTS": {
                "metadata": {"a": {"b": 1}},
                "tags": ["default"],
                "esp_extra": {"a": {"b": {"c": [1]}}},
                "extra_headers": {"Reply-To": "reply@example.com", "X-A": "1"},
            },
            "TEST_SEND_DEFAULTS": {"merge_data": {"a@b.c": {"x": 1}}},
        }
        before = copy.deepcopy(settings)
        with override_settings(ANYMAIL=settings):
            for _ in range(2):
                message = make_message(
                    metadata={"new": 1},
                    tags=["new"],
                    esp_extra={"a": {"b": {"new": 1}}},
                    merge_data={"a@b.c": {"new": 1}},
                    headers={"X-New": "1"},
                )
                params = params_of(message)
                self.assertEqual(params["tags"], ["default", "new"])
                self.assertEqual(params["a"], {"b": {"c": [1], "new": 1}})
                params["tags"].append("changed")
                params["metadata"]["changed"] = 1
                params["a"]["b"]["c"].append("changed")
                params["merge_data"]["a@b.c"]["changed"] = 1
        self.assertEqual(settings, before)


class LazyStringTests(SimpleTestCase):
    lazy = gettext_lazy("Lazy")

    def assertResolved(self, value: Any) -> None:
        self.assertIs(type(value), str)
        self.assertEqual(value, "Lazy")

    def test_everywhere(self):
        address = format_lazy('"{}" <lazy@example.com>', self.lazy)
        message = AnymailMessage(
            self.lazy,
            self.lazy,
            address,
            [address],
            cc=[address],
            bcc=[address],
            reply_to=[address],
            headers={"X-A": self.lazy},
            envelope_sender=address,
            metadata={"a": self.lazy, "b": {"c": self.lazy}},
            tags=[self.lazy],
            template_id=self.lazy,
            merge_data={"a@b.c": {"a": self.lazy}},
            merge_global_data={"a": self.lazy},
            merge_headers={"a@b.c": {"X-A": self.lazy}},
            merge_metadata={"a@b.c": {"a": self.lazy}},
            esp_extra={"a": {"b": self.lazy}},
        )
        message.attach_alternative(self.lazy, "text/html")
        message.attachments.append((self.lazy, self.lazy, self.lazy))
        calls = record(message)
        self.assertResolved(calls["set_subject"])
        self.assertResolved(calls["set_body"])
        self.assertResolved(calls["set_template_id"])
        self.assertResolved(calls["set_extra_headers"]["X-A"])
        self.assertResolved(calls["set_metadata"]["a"])
        self.assertResolved(calls["set_metadata"]["b"]["c"])
        self.assertResolved(calls["set_tags"][0])
        self.assertResolved(calls["set_merge_data"]["a@b.c"]["a"])
        self.assertResolved(calls["set_merge_global_data"]["a"])
        self.assertResolved(calls["set_merge_headers"]["a@b.c"]["X-A"])
        self.assertResolved(calls["set_merge_metadata"]["a@b.c"]["a"])
        self.assertResolved(calls["set_esp_extra"]["a"]["b"])
        self.assertResolved(calls["set_alternatives"][0][0])
        self.assertResolved(calls["set_attachments"][0].name)
        self.assertResolved(calls["set_attachments"][0].content)
        for setter in ["set_from_email_list", "set_to", "set_cc", "set_bcc", "set_reply_to"]:
            [email] = calls[setter]
            self.assertResolved(email.display_name)
            self.assertEqual(email.addr_spec, "lazy@example.com")
        self.assertResolved(calls["set_envelope_sender"].display_name)

    def test_in_defaults(self):
        calls = record(make_message(), {"tags": [self.lazy], "metadata": {"a": self.lazy}})
        self.assertResolved(calls["set_tags"][0])
        self.assertResolved(calls["set_metadata"]["a"])

    def test_left_alone(self):
        nested = [self.lazy]
        key = gettext_lazy("key")
        calls = record(make_message(metadata={"a": nested, key: "value"}))
        self.assertIs(calls["set_metadata"]["a"], nested)
        self.assertIs([*calls["set_metadata"]][1], key)


class HeaderInjectionTests(SimpleTestCase):
    """Nothing with CR, LF or NUL gets to a provider."""

    def assertRefused(self, field: str, **kwargs: Any) -> None:
        message = make_message(**kwargs)
        with self.subTest(**kwargs), self.assertRaises(AnymailInvalidHeader) as caught:
            EmailBackend().send_messages([message])
        error = caught.exception
        self.assertIn(field, str(error))
        self.assertNotIn("private", str(error))
        self.assertIs(error.email_message, message)
        self.assertEqual(error.esp_name, "Test")
        self.assertIsInstance(error.backend, EmailBackend)
        self.assertIsInstance(error.payload, TestPayload)

    def test_refused(self):
        for char in "\r\n\0":
            bad = f"private{char}Bcc: a@b.c"
            self.assertRefused("subject", subject=bad)
            self.assertRefused("subject", subject=gettext_lazy(bad))
            self.assertRefused("extra_headers['X-A']", headers={"X-A": bad})
            self.assertRefused("extra_headers['X-A']", headers={"X-A": gettext_lazy(bad)})
            self.assertRefused("extra_headers['Reply-To']", headers={"Reply-To": bad})
            self.assertRefused("extra_headers: header name", headers={f"X-A{char}B": "1"})
            self.assertRefused("merge_headers['X-A']", merge_headers={"a@b.c": {"X-A": bad}})
            self.assertRefused("merge_headers: header name", merge_headers={"a": {f"X{char}": "1"}})

    def test_names_must_be_text(self):
        self.assertRefused("extra_headers: header name b'X-A'", headers={b"X-A": "1"})
        self.assertRefused("merge_headers: header name 5", merge_headers={"a@b.c": {5: "1"}})
        calls = record(make_message(merge_headers={"a@b.c": {gettext_lazy("X-A"): "1"}}))
        self.assertIn("set_merge_headers", calls)

    def test_addresses(self):
        for name in ["to", "cc", "bcc", "reply_to"]:
            message = make_message()
            setattr(message, name, ['"Na\nme" <a@example.com>'])
            with self.subTest(name=name), self.assertRaises(AnymailInvalidAddress):
                EmailBackend().send_messages([message])

    def test_body_is_free(self):
        self.assertEqual(params_of(make_message(body="a\r\nb\0"))["text_body"], "a\r\nb\0")

    def test_other_values(self):
        params = params_of(make_message(headers={"X-Number": 5, "X-Tab": "a\tb"}))
        self.assertEqual(params["extra_headers"], {"X-Number": 5, "X-Tab": "a\tb"})

    def test_check_for_subclasses(self):
        payload = TestPayload(make_message(), {}, EmailBackend())
        payload.check_header_value("tags", "fine")
        with self.assertRaisesRegex(AnymailInvalidHeader, "tags"):
            payload.check_header_value("tags", "a\nb")

    def test_check_of_fields_for_subclasses(self):
        payload = TestPayload(make_message(), {}, EmailBackend())
        fine = {"subject": "a", "Headers": {"X-A": "1"}, "text": "a\nb", "other": {"X-A": "a\nb"}}
        payload.check_extra_fields("esp_extra", fine)
        payload.check_extra_fields("esp_extra", {"headers": "not a mapping\n"})
        for field, fields in [
            ("esp_extra['Subject']", {"Subject": "a\nb"}),
            ("esp_extra['headers']['X-A']", {"headers": {"X-A": "a\nb"}}),
            ("esp_extra['HEADERS']: header name", {"HEADERS": {"X-A\n": "a"}}),
        ]:
            with (
                self.subTest(field=field),
                self.assertRaisesRegex(AnymailInvalidHeader, re.escape(field)),
            ):
                payload.check_extra_fields("esp_extra", fields)


class BatchDetectionTests(SimpleTestCase):
    def is_batch(self, message: Any = None, **kwargs: Any) -> bool:
        return params_of(message or make_message(**kwargs))["is_batch_send"]

    def test_not_a_batch(self):
        self.assertIs(self.is_batch(), False)
        self.assertIs(self.is_batch(merge_global_data={"a": 1}, template_id="x"), False)
        self.assertIs(self.is_batch(EmailMessage("s", "b", "f@example.com", ["t@b.c"])), False)

    def test_batch(self):
        for name in ["merge_data", "merge_headers", "merge_metadata"]:
            for value in [{"to@example.com": {"a": "1"}}, {"to@example.com": {}}, {}]:
                with self.subTest(name=name, value=value):
                    self.assertIs(self.is_batch(**{name: value}), True)

    def test_none_is_not_a_batch(self):
        for name in ["merge_data", "merge_headers", "merge_metadata"]:
            with self.subTest(name=name):
                message = make_message(**{name: None})
                self.assertIs(self.is_batch(message), False)
                self.assertNotIn(name, message.anymail_test_params)

    def test_defaults_count(self):
        params = params_of(make_message(), send_defaults={"merge_data": {}})
        self.assertIs(params["is_batch_send"], True)
        params = params_of(make_message(merge_data=None), send_defaults={"merge_data": {}})
        self.assertIs(params["is_batch_send"], False)

    def test_too_early(self):
        text = "Cannot call is_batch before all attributes processed"

        class Early(TestPayload):
            def set_merge_metadata(self, merge_metadata):
                self.is_batch()

        with self.assertRaisesMessage(AssertionError, text):
            Early(make_message(merge_metadata={}), {}, EmailBackend())

        class VeryEarly(TestPayload):
            def init_payload(self):
                self.is_batch()

        with self.assertRaisesMessage(AssertionError, text):
            VeryEarly(make_message(), {}, EmailBackend())

        class LateEnough(TestPayload):
            def set_esp_extra(self, extra):
                assert self.is_batch()

        LateEnough(make_message(merge_data={}, esp_extra={}), {}, EmailBackend())


# -- Setters --------------------------------------------------------------------------------------


class NoBatches(TestPayload):
    """Of a provider that has templates, but no batches"""

    set_merge_data = BasePayload.set_merge_data
    set_merge_headers = BasePayload.set_merge_headers
    set_merge_metadata = BasePayload.set_merge_metadata


class SplitTests(SimpleTestCase):
    """Batches of which each recipient gets a call"""

    def split(self, message: Any, defaults: Any = None, cls: Any = NoBatches) -> list[Any]:
        backend = EmailBackend(payload_class=cls, ignore_unsupported_features=True)
        return list(cls(message, defaults or {}, backend).split())

    def test_what_each_gets(self):
        message = make_message(
            to=["Ann <ann@example.com>", '"Cy, Jr." <cy@bücher.example>'],
            headers={"x-own": "all", "X-Other": "all"},
            metadata={"a": 1, "b": 1},
            merge_data={"cy@example.com": {"x": 3}, "cy@Bücher.example": {"x": 4}},
            merge_global_data={"x": 1, "y": 1},
            merge_headers={"ann@example.com": {"X-Own": "Ann"}},
            merge_metadata={"ann@example.com": {"b": 2}},
            tags=["tag"],
        )
        before = copy.deepcopy(vars(message))
        defaults = {
            "to": ["default@example.com"],
            "metadata": {"a": 0, "z": 0},
            "merge_metadata": {"default@example.com": {"b": 5}},
            "tags": ["default"],
        }
        payloads = self.split(message, defaults)
        params = [payload.get_params() for payload in payloads]
        expected = [
            ("default@example.com", "all", {"a": 1, "b": 5, "z": 0}, 1),
            ("Ann <ann@example.com>", "Ann", {"a": 1, "b": 2, "z": 0}, 1),
            ('"Cy, Jr." <cy@bücher.example>', "all", {"a": 1, "b": 1, "z": 0}, 4),
        ]
        self.assertEqual(
            [
                (str(p["to"][0]), p["extra_headers"]["X-OWN"], p["metadata"], x)
                for p in params
                for x in [p["merge_global_data"]["x"]]
            ],
            expected,
        )
        for payload, values in zip(payloads, params, strict=True):
            self.assertEqual(len(values["to"]), 1)
            self.assertEqual(values["extra_headers"]["X-Other"], "all")
            self.assertEqual(values["merge_global_data"]["y"], 1)
            self.assertEqual(values["tags"], ["default", "tag"])
            self.assertIs(values["is_batch_send"], False)
            self.assertIs(payload.whole_message, message)
        self.assertEqual(str(vars(message)), str(before))

    def test_nothing_to_split(self):
        to = ["ann@example.com", "bob@example.com"]
        for message in (make_message(to=to), make_message(to=[], cc=to, merge_data={})):
            [payload] = self.split(message)
            self.assertIs(payload.message, message)

    def test_sent_natively(self):
        """Nobody has to say so who takes the values of recipients in an own way."""

        class OwnWay(NoBatches):
            set_merge_metadata = TestPayload.set_merge_metadata

        class Declared(NoBatches):
            native_batch = NativeBatch(attrs=frozenset({"merge_data"}))

        for cls, count in ((OwnWay, 1), (Declared, 1), (NoBatches, 2)):
            message = make_message(to=["a@example.com", "b@example.com"], merge_metadata={})
            with self.subTest(cls.__name__):
                self.assertEqual(len(self.split(message, cls=cls)), count)

    def test_payloads_are_built_when_needed(self):
        class Counting(NoBatches):
            count = 0

            def init_payload(self):
                super().init_payload()
                Counting.count += 1

        backend = EmailBackend(payload_class=Counting, ignore_unsupported_features=True)
        message = make_message(to=["a@example.com", "b@example.com"], merge_data={})
        payloads = Counting(message, {}, backend).split()
        for count in (2, 3):
            next(payloads)
            self.assertEqual(Counting.count, count)

    def test_errors_are_about_the_whole_message(self):
        class Failing(NoBatches):
            def set_metadata(self, metadata):
                if metadata["user"] == 2:
                    self.check_header_value("metadata", "\n")

        message = make_message(
            to=["a@example.com", "b@example.com"],
            metadata={"user": 1},
            merge_metadata={"b@example.com": {"user": 2}},
        )
        backend = EmailBackend(payload_class=Failing, ignore_unsupported_features=True)
        with self.assertRaises(AnymailInvalidHeader) as caught:
            backend.send_messages([message])
        self.assertIs(caught.exception.email_message, message)
        self.assertEqual(set(message.anymail_status.recipients), {"a@example.com"})


@patch("anymail.sending.large_batches.LARGE_BATCH", 2)
class LargeBatchTests(SimpleTestCase):
    """Not all recipients of a large batch are in memory."""

    class Pairs(TestPayload):
        native_batch = NativeBatch(limit=2, copies_each=False)
        built: ClassVar[list[list[str]]] = []

        def init_payload(self):
            super().init_payload()
            self.built.append([str(email) for email in self.message.to])

    def setUp(self):
        self.Pairs.built.clear()

    def message(self, **kwargs: Any) -> Any:
        return make_message(
            **{
                "to": ["Ann <a@example.com>", "b@example.com", "c@EXAMPLE.com", "d@example.com"],
                "merge_data": {"c@example.com": {"x": 1}, "d@example.com": {"x": 2}, "z@z": {}},
                "merge_metadata": {" a@example.com": {"x": 3}},
                "merge_headers": {"d@example.com": {"X-Own": "own"}},
                "idempotency_key": "key",
                **kwargs,
            }
        )

    def payloads(self, message: Any, **options: Any) -> Iterator[Any]:
        backend = EmailBackend(payload_class=self.Pairs, **options)
        return payloads_of(message, backend)[1]

    def send_fails(self, message: Any, error_class: type[Exception], text: str) -> None:
        backend = EmailBackend(payload_class=self.Pairs)
        with (
            patch.object(EmailBackend, "post_to_esp", side_effect=AssertionError),
            self.assertRaisesMessage(error_class, text) as caught,
        ):
            backend.send_messages([message])
        self.assertIs(caught.exception.email_message, message)

    def test_same_as_others(self):
        for to in (
            ["Ann <a@example.com>", "b@example.com", "c@EXAMPLE.com", "d@example.com"],
            ("a@example.com, b@example.com", "c@example.com", gettext_lazy("d@example.com")),
            ["a@example.com", "b@example.com"] * 3,
        ):
            message = self.message(to=list(to))
            large = list(self.payloads(message))
            with patch("anymail.sending.large_batches.LARGE_BATCH", 10):
                usual = list(self.payloads(message))
            self.assertEqual(
                [payload.get_params() for payload in large],
                [payload.get_params() for payload in usual],
            )
            for number, payload in enumerate(large, 1):
                self.assertIs(payload.whole_message, message)
                self.assertEqual(payload.idempotency_key, f"key/{number}")

    def test_each_has_its_own(self):
        first, second = (payload.get_params() for payload in self.payloads(self.message()))
        all_fields = {"": {"x": ""}}
        self.assertEqual(first["merge_metadata"], {**all_fields, "a@example.com": {"x": 3}})
        self.assertEqual(first["merge_data"], all_fields)
        self.assertEqual(first["merge_headers"], {"": {"X-Own": ""}})
        own = {"c@EXAMPLE.com": {"x": 1}, "d@example.com": {"x": 2}}
        self.assertEqual(second["merge_data"], {**all_fields, **own})

    def test_built_when_needed(self):
        payloads = self.payloads(self.message())
        self.assertEqual(self.Pairs.built, [["Ann <a@example.com>"]])
        next(payloads)
        self.assertEqual(self.Pairs.built[1:], [["Ann <a@example.com>", "b@example.com"]])

    def test_one_call(self):
        [payload] = self.payloads(self.message(), split_batches=False)
        self.assertEqual(len(payload.get_recipients()), 4)
        no_batch = self.message(merge_data=None, merge_metadata=UNSET, merge_headers=UNSET)
        [payload] = self.payloads(no_batch)
        self.assertIs(payload.message, no_batch)

    def test_with_defaults(self):
        defaults = {"to": ["z@example.com"], "merge_data": {"z@example.com": {"x": 0}}}
        payloads = list(self.payloads(self.message(), send_defaults=defaults))
        self.assertEqual([len(payload.get_recipients()) for payload in payloads], [2, 2, 1])
        own = {"": {"x": ""}, "z@example.com": {"x": 0}}
        self.assertEqual(payloads[0].get_params()["merge_data"], own)

    def test_errors_come_before_the_first_call(self):
        invalid = ["a@example.com", "b@example.com", "c@example.com", "d@"]
        with self.assertRaisesMessage(AnymailInvalidAddress, "'d@' in `to`"):
            self.payloads(self.message(to=invalid))
        for message, error_class, text in [
            (self.message(merge_headers={"d@example.com": {"X": "\n"}}), AnymailInvalidHeader, "X"),
            (self.message(cc=["cc@example.com"]), AnymailUnsupportedFeature, "cc or bcc"),
            (self.message(subject="\n"), AnymailInvalidHeader, "subject"),
        ]:
            with self.subTest(text):
                self.send_fails(message, error_class, text)
        with self.assertRaisesMessage(TypeError, '"merge_data" attribute'):
            self.payloads(self.message(merge_data={"d@example.com": 1}))

    def test_memory(self):
        """What there is beside the message doesn't grow with it."""

        def peak(count: int) -> int:
            to = [f"customer{number}@example.com" for number in range(count)]
            message = make_message(
                to=[f"Name <{email}>" for email in to], merge_data={email: {"x": 1} for email in to}
            )
            with patch.object(self.Pairs, "native_batch", NativeBatch(limit=50)):
                tracemalloc.start()
                for _ in self.payloads(message):
                    self.Pairs.built.clear()
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            return peak

        peak(100)  # what is kept for all messages
        self.assertLess(peak(1000), 1.5 * peak(100))


class IdsTests(SimpleTestCase):
    def ids(self, count: int, **kwargs: Any) -> list[str]:
        payload = TestPayload(make_message(**kwargs), {}, EmailBackend())
        return payload.make_ids([str(number) for number in range(count)])

    def test_random(self):
        for count in (0, 1, 9, 10, 500):
            ids = self.ids(count)
            self.assertEqual(len(set(ids)), count)
            for text in ids:
                parsed = uuid.UUID(text)
                self.assertEqual((str(parsed), parsed.version), (text, 4))

    def test_of_a_key(self):
        ids = self.ids(20, idempotency_key="key")
        self.assertEqual(ids, self.ids(20, idempotency_key="key"))
        self.assertEqual(len(set(ids)), 20)
        self.assertTrue(set(ids).isdisjoint(self.ids(20, idempotency_key="other")))


class Minimal(BasePayload):
    """Only what a payload can't do without"""

    def init_payload(self):
        self.params: dict[str, Any] = {}

    def set_from_email(self, email):
        self.params["from"] = email

    def add_recipient(self, recipient_type, email):
        self.params.setdefault(recipient_type, []).append(email)

    def set_subject(self, subject):
        self.params["subject"] = subject

    def set_reply_to(self, emails):
        if emails:
            super().set_reply_to(emails)

    def set_text_body(self, body):
        self.params["text"] = body

    def set_html_body(self, body):
        self.params["html"] = body

    def add_attachment(self, attachment):
        self.params.setdefault("attachments", []).append(attachment)


class BaseSettersTests(SimpleTestCase):
    def build(self, message: Any, cls: type = Minimal, **options: Any) -> Any:
        return cls(message, {}, EmailBackend(**options))

    def test_minimal(self):
        message = make_message(
            to=["a@example.com", "b@example.com"], cc=["c@example.com"], bcc=["d@example.com"]
        )
        message.attach("a.txt", "text", "text/plain")
        message.attach("b.txt", "text", "text/plain")
        params = self.build(message).params
        self.assertEqual(params["from"].addr_spec, "from@example.com")
        self.assertEqual(addr_specs(params["to"]), ["a@example.com", "b@example.com"])
        self.assertEqual(addr_specs(params["cc"]), ["c@example.com"])
        self.assertEqual(addr_specs(params["bcc"]), ["d@example.com"])
        self.assertEqual(params["subject"], "Subject")
        self.assertEqual(params["text"], "Text body")
        self.assertEqual([each.name for each in params["attachments"]], ["a.txt", "b.txt"])

    def test_must_be_implemented(self):
        complete = make_message(attachments=[("a.txt", "text", "text/plain")])
        html = make_message()
        html.content_subtype = "html"
        for method, message in [
            ("init_payload", complete),
            ("set_from_email", complete),
            ("add_recipient", complete),
            ("set_subject", complete),
            ("set_text_body", complete),
            ("set_html_body", html),
            ("add_attachment", complete),
        ]:
            cls = type("Incomplete", (Minimal,), {method: getattr(BasePayload, method)})
            with (
                self.subTest(method=method),
                self.assertRaisesRegex(NotImplementedError, rf"test_base\.Incomplete.*{method}"),
            ):
                self.build(message, cls)

    def test_recipients(self):
        class Payload(Minimal):
            def set_recipients(self, recipient_type, emails):
                self.params[recipient_type] = addr_specs(emails)

        params = self.build(make_message(), Payload).params
        self.assertEqual((params["to"], params["cc"], params["bcc"]), (["to@example.com"], [], []))

    def assertUnsupported(self, feature: str, message: Any, cls: type = Minimal) -> None:
        with self.subTest(feature=feature):
            with self.assertRaises(AnymailUnsupportedFeature) as caught:
                self.build(message, cls)
            error = caught.exception
            self.assertIn(f"Test does not support {feature}", str(error))
            self.assertIs(error.email_message, message)
            self.assertIsInstance(error.payload, cls)
            self.assertIsInstance(error.backend, EmailBackend)
            for address in ["from@example.com", "to@example.com"]:
                self.assertNotIn(address, str(error))
            self.build(message, cls, ignore_unsupported_features=True)
            with override_settings(ANYMAIL={"IGNORE_UNSUPPORTED_FEATURES": True}):
                self.build(message, cls)

    def test_unsupported(self):
        for name in [
            *("envelope_sender", "metadata", "send_at", "tags", "track_clicks", "track_opens"),
            *("template_id", "merge_data", "merge_global_data", "merge_headers"),
            *("merge_metadata", "esp_extra"),
        ]:
            self.assertUnsupported(name, make_message(**{name: EVERYTHING[name]}))
        self.assertUnsupported("extra_headers", make_message(headers={"X-A": "1"}))
        self.assertUnsupported("reply_to", make_message(reply_to=["reply@example.com"]))
        self.assertUnsupported("spoofing `To` header", make_message(headers={"To": "x"}))

    def test_falsy_values_are_unsupported_too(self):
        self.assertUnsupported("track_opens", make_message(track_opens=False))
        self.assertUnsupported("tags", make_message(tags=[]))
        self.assertUnsupported("merge_data", make_message(merge_data={}))

    def test_base_refuses_even_empty_reply_to(self):
        cls = type("Naive", (Minimal,), {"set_reply_to": BasePayload.set_reply_to})
        self.assertUnsupported("reply_to", make_message(), cls)

    def test_several_senders(self):
        message = make_message(from_email="first@example.com, second@example.com")
        self.assertUnsupported("multiple from emails", message)
        payload = self.build(message, ignore_unsupported_features=True)
        self.assertEqual(payload.params["from"].addr_spec, "first@example.com")

    def test_no_sender(self):
        message = make_message()
        message.from_email = None
        self.assertNotIn("from", self.build(message).params)
        payload = self.build(make_message())
        payload.params.clear()
        payload.set_from_email_list([])
        self.assertEqual(payload.params, {})

    def test_body_by_content_subtype(self):
        message = make_message()
        self.assertEqual(self.build(message).params["text"], "Text body")
        message.content_subtype = "html"
        params = self.build(message).params
        self.assertEqual(params["html"], "Text body")
        self.assertNotIn("text", params)
        message.content_subtype = "calendar"
        self.assertUnsupported("alternative part with type 'text/calendar'", message)

    def test_alternatives_beyond_the_bodies(self):
        for mimetype, feature in [
            ("text/plain", "multiple plaintext parts"),
            ("text/html", "multiple html parts"),
            ("application/json", "alternative part with type 'application/json'"),
            ("Text/HTML", "alternative part with type 'Text/HTML'"),
        ]:
            message = make_message()
            message.attach_alternative("<p>First</p>", "text/html")
            message.attach_alternative("Second", mimetype)
            self.assertUnsupported(feature, message)


class AlternativesTests(SimpleTestCase):
    """What becomes of alternative parts, as the test backend shows it"""

    def send(self, body: str, *alternatives: tuple[str, str], subtype: str = "plain") -> Any:
        message = make_message(body=body)
        message.content_subtype = subtype
        for content, mimetype in alternatives:
            message.attach_alternative(content, mimetype)
        params = params_of(message)
        return tuple(params.get(key) for key in ["text_body", "html_body", "alternatives"])

    def test_text_body(self):
        self.assertEqual(self.send("Text"), ("Text", None, None))

    def test_html_alternative(self):
        self.assertEqual(self.send("Text", ("Html", "text/html")), ("Text", "Html", None))

    def test_html_body(self):
        self.assertEqual(self.send("Html", subtype="html"), (None, "Html", None))
        self.assertEqual(
            self.send("Html", ("Text", "text/plain"), subtype="html"), ("Text", "Html", None)
        )
        self.assertEqual(self.send("", ("Html", "text/html"), subtype="html"), (None, "Html", None))

    def test_everything_in_alternatives(self):
        for alternatives in [
            [("Text", "text/plain"), ("Html", "text/html")],
            [("Html", "text/html"), ("Text", "text/plain")],
        ]:
            self.assertEqual(self.send("", *alternatives), ("Text", "Html", None))

    def test_second_ones(self):
        self.assertEqual(
            self.send("Text", ("More", "text/plain")), ("Text", None, [("More", "text/plain")])
        )
        self.assertEqual(
            self.send("Text", ("One", "text/html"), ("Two", "text/html")),
            ("Text", "One", [("Two", "text/html")]),
        )
        self.assertEqual(
            self.send("", ("One", "text/plain"), ("Two", "text/plain")),
            ("One", None, [("Two", "text/plain")]),
        )
        self.assertEqual(
            self.send("One", ("Two", "text/html"), subtype="html"),
            (None, "One", [("Two", "text/html")]),
        )

    def test_other_body(self):
        self.assertEqual(
            self.send("Cal", ("Text", "text/plain"), ("Html", "text/html"), subtype="calendar"),
            ("Text", "Html", [("Cal", "text/calendar")]),
        )

    def test_other_text(self):
        self.assertEqual(
            self.send("Text", ("Amp", "text/x-amp-html")),
            ("Text", None, [("Amp", "text/x-amp-html")]),
        )

    def test_types_are_compared_exactly(self):
        self.assertEqual(
            self.send("Text", ("Html", "text/HTML")), ("Text", None, [("Html", "text/HTML")])
        )

    def test_unsupported(self):
        with self.assertRaisesMessage(
            AnymailUnsupportedFeature, "alternative part with type 'application/json'"
        ):
            self.send("Text", ("{}", "application/json"))

    def test_prepped_alternatives(self):
        payload = TestPayload(make_message(), {}, EmailBackend())
        alternatives = [(gettext_lazy("Lazy"), "text/html"), ("Text", "text/plain")]
        prepped = payload.prepped_alternatives(alternatives)
        self.assertEqual(prepped, [("Lazy", "text/html"), ("Text", "text/plain")])
        self.assertIs(type(prepped[0][0]), str)

    @skipUnless(django.VERSION >= (5, 2), "Django 5.2 introduced EmailAlternative")
    def test_email_alternative(self):
        from django.core.mail import EmailAlternative

        payload = TestPayload(make_message(), {}, EmailBackend())
        prepped = payload.prepped_alternatives([EmailAlternative("Html", "text/html")])
        self.assertEqual(prepped, [("Html", "text/html")])

    def test_prepped_attachments(self):
        payload = TestPayload(make_message(), {}, EmailBackend())
        message = EmailMessage(attachments=[("a.png", SAMPLE_IMAGE, "image/png")])
        [attachment] = payload.prepped_attachments(message.attachments)
        self.assertIsInstance(attachment, Attachment)
        self.assertEqual(attachment.content, SAMPLE_IMAGE)


class SpecialHeadersTests(SimpleTestCase):
    def send(self, headers: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return params_of(make_message(headers=headers, **kwargs))

    def test_reply_to(self):
        for name in ["Reply-To", "reply-to", "REPLY-TO"]:
            params = self.send({name: "Header <header@example.com>, other@example.com", "X-A": "1"})
            self.assertEqual(
                addr_specs(params["reply_to"]), ["header@example.com", "other@example.com"]
            )
            self.assertEqual(params["extra_headers"], {"X-A": "1"})

    def test_reply_to_overrides_the_attribute(self):
        params = self.send({"Reply-To": "header@example.com"}, reply_to=["attr@example.com"])
        self.assertEqual(addr_specs(params["reply_to"]), ["header@example.com"])
        self.assertNotIn("extra_headers", params)

    def test_empty_reply_to(self):
        for empty in ["", None]:
            params = self.send({"Reply-To": empty}, reply_to=["attr@example.com"])
            self.assertEqual(addr_specs(params["reply_to"]), ["attr@example.com"])
            self.assertNotIn("extra_headers", params)

    def test_from(self):
        params = self.send({"from": "Header <header@example.com>"})
        self.assertEqual(str(params["from"]), "Header <header@example.com>")
        self.assertEqual(params["envelope_sender"], "from@example.com")
        self.assertNotIn("extra_headers", params)

    def test_from_and_envelope_sender(self):
        params = self.send(
            {"From": "header@example.com"}, envelope_sender="Envelope <envelope@example.com>"
        )
        self.assertEqual(params["from"].addr_spec, "header@example.com")
        self.assertEqual(params["envelope_sender"], "envelope@example.com")

    def test_from_without_from_email(self):
        message = make_message(headers={"From": "header@example.com"})
        message.from_email = None
        params = params_of(message)
        self.assertEqual(params["from"].addr_spec, "header@example.com")
        self.assertNotIn("envelope_sender", params)

    def test_from_with_several_senders(self):
        with self.assertRaisesMessage(AnymailUnsupportedFeature, "multiple from emails"):
            self.send({"From": "a@example.com, b@example.com"})
        with self.assertRaisesRegex(
            AnymailInvalidAddress, "Only one email address is allowed; found 2.* in `from_email`"
        ):
            params_of(
                make_message(headers={"From": "header@example.com"}, from_email="a@b.c, d@e.f"),
                ignore_unsupported_features=True,
            )

    def test_to(self):
        with self.assertRaisesMessage(AnymailUnsupportedFeature, "spoofing `To` header"):
            self.send({"to": "Somebody <else@example.com>"})

        class Payload(TestPayload):
            def set_spoofed_to_header(self, header_to):
                self.params["spoofed"] = header_to

        message = make_message(headers={"To": "Somebody <else@example.com>"})
        params = params_of(message, payload_class=Payload)
        self.assertEqual(params["spoofed"], "Somebody <else@example.com>")
        self.assertEqual(addr_specs(params["to"]), ["to@example.com"])
        self.assertNotIn("extra_headers", params)

    def test_invalid_addresses_name_the_header(self):
        for name in ["Reply-To", "From"]:
            with (
                self.subTest(name=name),
                self.assertRaisesRegex(AnymailInvalidAddress, rf"in `extra_headers\['{name}'\]`"),
            ):
                self.send({name: "bad"})

    def test_what_is_left(self):
        params = self.send({"X-A": "1", "x-a": "2", "X-B": "3"})
        self.assertIsInstance(params["extra_headers"], CaseInsensitiveDict)
        # The later key wins, with its spelling.
        self.assertEqual(list(params["extra_headers"].items()), [("x-a", "2"), ("X-B", "3")])

    def test_nothing_left(self):
        self.assertNotIn("extra_headers", self.send({}))

    def test_message_s_headers_are_not_changed(self):
        headers = {"From": "header@example.com", "Reply-To": "reply@example.com", "X-A": "1"}
        message = make_message(headers=headers)
        params = params_of(message)
        params["extra_headers"]["X-New"] = "1"
        self.assertEqual(message.extra_headers, headers)
        self.assertEqual(len(headers), 3)

    def test_merge_headers_are_not_special(self):
        merge_headers = {"to@example.com": {"Reply-To": "merged@example.com", "To": "x"}}
        params = params_of(make_message(merge_headers=merge_headers))
        self.assertEqual(params["reply_to"], [])
        self.assertEqual(params["merge_headers"], merge_headers)


class AwareDatetimeTests(SimpleTestCase):
    def convert(self, value: Any) -> Any:
        return TestPayload(make_message(), {}, EmailBackend()).aware_datetime(value)

    def test_aware(self):
        value = datetime(2031, 5, 6, 7, 8, 9, 10, tzinfo=timezone(timedelta(hours=2)))
        self.assertIs(self.convert(value), value)

    def test_naive(self):
        naive = datetime(2031, 5, 6, 7, 8, 9, 10)  # noqa: DTZ001
        with django_timezone.override("America/New_York"):
            converted = self.convert(naive)
        self.assertEqual(converted, datetime(2031, 5, 6, 11, 8, 9, 10, tzinfo=timezone.utc))

    def test_date(self):
        with django_timezone.override("America/New_York"):
            converted = self.convert(date(2031, 12, 6))
        self.assertEqual(converted, datetime(2031, 12, 6, tzinfo=ZoneInfo("America/New_York")))
        self.assertIsNotNone(converted.tzinfo)

    @override_settings(TIME_ZONE="Asia/Tokyo")
    def test_time_zone_setting(self):
        with django_timezone.override(None):
            converted = self.convert(date(2031, 5, 6))
        self.assertEqual(converted, datetime(2031, 5, 5, 15, tzinfo=timezone.utc))

    def test_timestamp(self):
        with django_timezone.override("America/New_York"):
            for value, expected in [
                (1_600_000_000, datetime(2020, 9, 13, 12, 26, 40, tzinfo=timezone.utc)),
                (0.5, datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=timezone.utc)),
                (True, datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)),
            ]:
                with self.subTest(value=value):
                    converted = self.convert(value)
                    self.assertEqual(converted, expected)
                    self.assertEqual(converted.utcoffset(), timedelta(0))

    def test_timestamp_out_of_range(self):
        for value in [1e20, -1e20, 10**30, float("inf"), float("nan"), 10**400]:
            with self.subTest(value=str(value)[:10]), self.assertRaisesRegex(ValueError, "send_at"):
                self.convert(value)

    def test_anything_else(self):
        for value in ["2031-05-06T07:08:09Z", [1], object()]:
            self.assertIs(self.convert(value), value)

    def test_in_sending(self):
        params = params_of(make_message(send_at=date(2031, 5, 6)))
        self.assertEqual(params["send_at"], datetime(2031, 5, 6, tzinfo=timezone.utc))
        params = params_of(make_message(send_at="next week"))
        self.assertEqual(params["send_at"], "next week")


class SerializationTests(SimpleTestCase):
    def setUp(self):
        self.message = make_message()
        self.payload = TestPayload(self.message, {}, EmailBackend())

    def test_json(self):
        data = {"a": [1, None, True, "é"], "h": CaseInsensitiveDict({"X-A": "1"})}
        serialized = self.payload.serialize_json(data)
        self.assertIsInstance(serialized, str)
        self.assertEqual(json.loads(serialized), {"a": [1, None, True, "é"], "h": {"X-A": "1"}})

    def refused(self, data: Any) -> AnymailSerializationError:
        with self.assertRaises(AnymailSerializationError) as caught:
            self.payload.serialize_json(data)
        error = caught.exception
        self.assertIs(error.email_message, self.message)
        self.assertIs(error.payload, self.payload)
        self.assertIs(error.backend, self.payload.backend)
        self.assertIsNone(error.__cause__)
        self.assertIn("Don't know how to send this data to Test", str(error))
        return error

    def test_not_serializable(self):
        for value in [date(2031, 5, 6), {1}, b"bytes", object()]:
            with self.subTest(value=value):
                error = self.refused({"a": [value]})
                self.assertIsInstance(error, TypeError)
                self.assertRegex(str(error), rf"\b{type(value).__name__} is not JSON serializable")
        self.refused({("a", "tuple"): 1})

    def test_not_json(self):
        circular: list[Any] = []
        circular.append(circular)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in [circular, deep, float("nan"), float("inf")]:
            self.refused({"a": value})

    def test_hook(self):
        self.assertEqual(BasePayload._json_default(CaseInsensitiveDict({"A": 1})), {"A": 1})
        with self.assertRaisesRegex(TypeError, "date is not JSON serializable"):
            BasePayload._json_default(date(2031, 5, 6))

        class Payload(TestPayload):
            @staticmethod
            def _json_default(o):
                return "custom"

        payload = Payload(make_message(), {}, EmailBackend())
        self.assertEqual(payload.serialize_json([object()]), '["custom"]')
