from __future__ import annotations

import copy
import email
import email.policy
import json
import os
import pickle
import quopri
import re
import sys
import traceback
import warnings
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import getaddresses
from importlib import import_module
from typing import Any
from unittest import skipIf
from unittest.mock import ANY, patch

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import SimpleTestCase, override_settings, tag
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from anymail import __version__
from anymail.backends.failover import EmailBackend as Failover
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from anymail.headers import quote_string, rfc2047_decode, unfold
from anymail.message import attach_inline_image

from ..aws import HAS_BOTO3, AwsTestCase, MotoTestCase
from ..delivery.leaf import mailer_settings
from ..http_server import Answer, HttpServer
from ..properties import examples
from ..test_mime import LONG_HEADERS, decode, read_headers, texts
from ..utils import SAMPLE_IMAGE, make_message, skip_without, use_backend

if HAS_BOTO3:
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,  # noqa: A004
        NoCredentialsError,
    )

    from anymail.backends import amazon_ses
    from anymail.backends.amazon_ses import AmazonSESV2SendEmailPayload, EmailBackend

BACKEND = "anymail.backends.amazon_ses.EmailBackend"

filenames = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" ")).map(
    lambda name: name.strip().replace("=?", "?=")
)

SEND_EMAIL_RESPONSE = {
    "MessageId": "0107018e2f3a4b5c-6d7e8f90-000000",
    "ResponseMetadata": {"RequestId": "request-id", "HTTPStatusCode": 200},
}


def bulk_response(*results: dict[str, Any]) -> dict[str, Any]:
    return {
        "BulkEmailEntryResults": list(results),
        "ResponseMetadata": {"RequestId": "request-id", "HTTPStatusCode": 200},
    }


def success(message_id: str = "id-1") -> dict[str, Any]:
    return {"Status": "SUCCESS", "MessageId": message_id}


@skip_without("boto3")
class AmazonSESTestCase(SimpleTestCase):
    maxDiff = None

    """Has boto3's session replaced by a mock."""

    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        override = use_backend(BACKEND, ANYMAIL=dict(self.settings))
        override.enable()
        self.addCleanup(override.disable)
        patcher = patch("anymail.backends.amazon_ses.boto3.session.Session", autospec=True)
        self.mock_session = patcher.start()
        self.addCleanup(patcher.stop)
        self.mock_client_factory = self.mock_session.return_value.client
        self.mock_client = self.mock_client_factory.return_value
        self.mock_client.send_email.return_value = SEND_EMAIL_RESPONSE
        self.mock_client.send_bulk_email.return_value = bulk_response(success())

    def make_backend(self, **options: Any) -> EmailBackend:
        return EmailBackend(**options)

    def send(self, message: Any, **options: Any) -> Any:
        """Send, and return the message's anymail_status."""
        self.assertEqual(self.make_backend(**options).send_messages([message]), 1)
        return message.anymail_status

    def params(self, api: str = "send_email") -> dict[str, Any]:
        """Return the parameters of the last API call."""
        method = getattr(self.mock_client, api)
        method.assert_called()
        self.assertEqual(method.call_args.args, ())
        return dict(method.call_args.kwargs)

    @property
    def bulk_params(self) -> dict[str, Any]:
        return self.params("send_bulk_email")

    @property
    def data(self) -> bytes:
        data = self.params()["Content"]["Raw"]["Data"]
        self.assertIsInstance(data, bytes)
        self.assertTrue(data.isascii(), data)
        return bytes(data)

    @property
    def mime(self) -> Any:
        return email.message_from_bytes(self.data, policy=email.policy.default)

    def assert_not_sent(self) -> None:
        self.mock_client.send_email.assert_not_called()
        self.mock_client.send_bulk_email.assert_not_called()

    def assert_unsupported(self, message: Any, feature: str, **options: Any) -> None:
        with self.assertRaises(AnymailUnsupportedFeature) as caught:
            self.send(message, **options)
        self.assertEqual(
            str(caught.exception).splitlines()[0], f"Amazon SES does not support {feature}"
        )
        self.assert_not_sent()


# ---------------------------------------------------------------------------------------------
# Settings, lifecycle, errors
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
class SettingsTests(AmazonSESTestCase):
    def test_no_settings(self):
        self.send(make_message())
        self.mock_session.assert_called_once_with()
        self.mock_client_factory.assert_called_once_with("sesv2", config=ANY)
        config = self.mock_client_factory.call_args.kwargs["config"]
        self.assertIsInstance(config, Config)
        self.assertEqual(config.user_agent_extra, f"django-anymail/{__version__}-amazon-ses")
        self.assertNotIn("ConfigurationSetName", self.params())

    def test_client_and_session_params(self):
        settings = {
            "AMAZON_SES_CLIENT_PARAMS": {
                "region_name": "ap-northeast-1",
                "config": {"retries": {}},
            },
            "AMAZON_SES_SESSION_PARAMS": {"profile_name": "mail"},
        }
        original = copy.deepcopy(settings)
        with override_settings(ANYMAIL=settings):
            self.send(make_message())
        self.mock_session.assert_called_once_with(profile_name="mail")
        self.mock_client_factory.assert_called_once_with(
            "sesv2", region_name="ap-northeast-1", config=ANY
        )
        self.assertEqual(settings, original)

    @override_settings(ANYMAIL_AMAZON_SES_CLIENT_PARAMS={"region_name": "from-setting"})
    def test_options_replace_settings(self):
        self.send(make_message())
        self.mock_client_factory.assert_called_with("sesv2", region_name="from-setting", config=ANY)
        self.send(make_message(), client_params={"aws_access_key_id": "id"}, session_params={})
        self.mock_client_factory.assert_called_with("sesv2", aws_access_key_id="id", config=ANY)

    def client_config(self, **client_params: Any) -> Any:
        self.send(make_message(), client_params=client_params)
        return self.mock_client_factory.call_args.kwargs["config"]

    def test_config(self):
        for config in (Config(retries={"max_attempts": 2}), {"retries": {"max_attempts": 2}}):
            with self.subTest(type(config)):
                merged = self.client_config(config=config)
                self.assertEqual(merged.retries["max_attempts"], 2)
                self.assertEqual(
                    merged.user_agent_extra, f"django-anymail/{__version__}-amazon-ses"
                )

    def test_user_agent_in_config(self):
        self.assertEqual(self.client_config(config={"user_agent_extra": "x"}).user_agent_extra, "x")

    def test_no_config(self):
        self.assertIsInstance(self.client_config(config=None), Config)

    def test_configuration_set_name(self):
        self.send(make_message(), configuration_set_name="config-set")
        self.assertEqual(self.params()["ConfigurationSetName"], "config-set")
        self.send(make_message(), configuration_set_name="")
        self.assertEqual(self.params()["ConfigurationSetName"], "")
        with override_settings(ANYMAIL={"AMAZON_SES_CONFIGURATION_SET_NAME": "from-setting"}):
            self.send(make_message())
            self.assertEqual(self.params()["ConfigurationSetName"], "from-setting")
            self.send(make_message(esp_extra={"ConfigurationSetName": "special"}))
            self.assertEqual(self.params()["ConfigurationSetName"], "special")
            self.send(make_message(template_id="t", subject="", body=""))
            self.assertEqual(self.bulk_params["ConfigurationSetName"], "from-setting")


@tag("amazon_ses")
class ConnectionTests(AmazonSESTestCase):
    def test_open_and_close(self):
        backend = self.make_backend()
        self.assertIsNone(backend.client)
        self.assertIs(backend.open(), True)
        self.assertIs(backend.client, self.mock_client)
        self.assertIs(backend.open(), False)
        backend.close()
        self.assertIsNone(backend.client)
        self.mock_client.close.assert_called_once_with()
        backend.close()
        self.mock_client.close.assert_called_once_with()
        self.mock_session.assert_called_once_with()

    def test_close_fails(self):
        backend = self.make_backend()
        backend.open()
        self.mock_client.close.side_effect = ZeroDivisionError
        with self.assertRaises(ZeroDivisionError):
            backend.close()
        self.assertIsNone(backend.client)

    def test_one_client_for_several_messages(self):
        self.assertEqual(self.make_backend().send_messages([make_message(), make_message()]), 2)
        self.assertEqual(self.mock_client.send_email.call_count, 2)
        self.mock_client_factory.assert_called_once()
        self.mock_client.close.assert_called_once_with()

    def test_opened_client_is_not_closed(self):
        with self.make_backend() as backend:
            backend.send_messages([make_message()])
            self.mock_client.send_email.side_effect = ClientError({}, "SendEmail")
            with self.assertRaises(AnymailAPIError):
                backend.send_messages([make_message()])
            self.mock_client.close.assert_not_called()
        self.mock_client_factory.assert_called_once()
        self.mock_client.close.assert_called_once_with()

    def test_closed_after_error(self):
        self.mock_client.send_email.side_effect = ClientError({}, "SendEmail")
        with self.assertRaises(AnymailAPIError):
            self.send(make_message())
        self.mock_client.close.assert_called_once_with()

    def silent_backend(self) -> EmailBackend:
        with self.assertWarns(DeprecationWarning):
            return self.make_backend(fail_silently=True)

    def test_session_cant_be_created(self):
        self.mock_session.side_effect = NoCredentialsError()
        with self.assertRaises(NoCredentialsError):
            self.send(make_message())
        backend = self.silent_backend()
        self.assertIsNone(backend.open())
        self.assertEqual(backend.send_messages([make_message()]), 0)
        self.assert_not_sent()

    def test_needs_open_client(self):
        with self.assertRaisesRegex(
            RuntimeError, r"boto3 Session not opened.*anymail\.backends\.amazon_ses\.EmailBackend"
        ):
            self.make_backend()._send(make_message())
        self.assertIs(self.silent_backend()._send(make_message()), False)


@tag("amazon_ses")
class ErrorTests(AmazonSESTestCase):
    error_response = {
        "Error": {"Code": "MessageRejected", "Message": "Email address is not verified: <x>"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }

    def assert_error(self, error: Exception) -> AnymailAPIError:
        self.mock_client.send_email.side_effect = error
        message = make_message()
        with self.assertRaises(AnymailAPIError) as caught:
            self.send(message)
        exception = caught.exception
        self.assertIs(exception.__cause__, error)
        self.assertIn(str(error), str(exception))
        self.assertIs(exception.email_message, message)
        self.assertIsInstance(exception.backend, EmailBackend)
        self.assertEqual(exception.esp_name, "Amazon SES")
        self.assertIsNone(exception.status_code)
        self.assertIsNone(message.anymail_status.status)
        self.assertIsNone(message.anymail_status.esp_response)
        return exception

    def test_client_error(self):
        error = ClientError(copy.deepcopy(self.error_response), "SendEmail")
        exception = self.assert_error(error)
        self.assertEqual(exception.response, self.error_response)
        self.assertIn("Email address is not verified", str(exception))
        copied = pickle.loads(pickle.dumps(exception))
        self.assertEqual(copied.args, exception.args)
        self.assertEqual(copied.response, self.error_response)

    def test_other_errors(self):
        for error in (
            BotoCoreError(),
            NoCredentialsError(),
            ConnectionError(error="refused"),
        ):
            with self.subTest(error):
                self.assertIsNone(self.assert_error(error).response)

    def test_fail_silently(self):
        self.mock_client.send_email.side_effect = ClientError(self.error_response, "SendEmail")
        with self.assertWarns(DeprecationWarning):
            backend = self.make_backend(fail_silently=True)
        self.assertEqual(backend.send_messages([make_message()]), 0)

    def test_old_boto3(self):
        del self.mock_client.send_bulk_email
        with self.assertRaisesRegex(NotImplementedError, "send_bulk_email"):
            self.send(make_message(template_id="x", subject="", body=""))

    def test_attribute_error_of_the_api_method(self):
        self.mock_client.send_email.side_effect = AttributeError("other problem")
        with self.assertRaisesRegex(AttributeError, "other problem"):
            self.send(make_message())


class NotInstalledTests(SimpleTestCase):
    @skipIf(HAS_BOTO3, "is about boto3 not being installed")
    def test_not_installed(self):
        with self.assertRaisesRegex(AnymailImproperlyInstalled, r"boto3.*amazon-ses"):
            import_module("anymail.backends.amazon_ses")


@skip_without("boto3")
class MissingPackageTests(SimpleTestCase):
    def test_missing_boto3(self):
        name = "anymail.backends.amazon_ses"
        for missing in ("boto3", "botocore.exceptions"):
            with (
                self.subTest(missing),
                patch.dict(sys.modules, {missing: None}),
                self.assertRaises(AnymailImproperlyInstalled) as caught,
            ):
                del sys.modules[name]
                import_module(name)
            self.assertRegex(str(caught.exception), r"boto3.*amazon-ses")
        self.assertIs(sys.modules[name], amazon_ses)  # patch.dict has restored it

    def test_missing_after_import(self):
        with (
            patch.dict(sys.modules, {"botocore.config": None}),
            self.assertRaisesRegex(AnymailImproperlyInstalled, r"boto3.*amazon-ses"),
        ):
            EmailBackend()


# ---------------------------------------------------------------------------------------------
# SendEmail
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
class SendEmailTests(AmazonSESTestCase):
    def test_simple_message(self):
        status = self.send(make_message())
        self.assertEqual(
            self.params(),
            {
                "Destination": {"ToAddresses": ["to@example.com"]},
                "Content": {"Raw": {"Data": ANY}},
            },
        )
        self.assertIn(b"\nFrom: from@example.com\n", self.data)
        self.assertIn(b"\nTo: to@example.com\n", self.data)
        self.assertIn(b"\nSubject: Subject\n", self.data)
        self.assertEqual(self.data.partition(b"\n\n")[2].rstrip(b"\n"), b"Text body")
        self.assertNotIn(b"\r", self.data)
        for name in ("Cc", "Bcc", "Reply-To", "X-Metadata", "X-Tag"):
            self.assertNotIn(name, self.mime)
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(status.message_id, SEND_EMAIL_RESPONSE["MessageId"])
        self.assertIs(status.esp_response, SEND_EMAIL_RESPONSE)

    def test_plain_django_message(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        self.assertEqual(self.send(message).status, {"queued"})

    def test_addresses(self):
        message = make_message(
            from_email='"From, Inc." <from@example.com>',
            to=["Příjemce <to1@example.com>", "to2@example.com"],
            cc=['"Copy, 1" <cc@example.com>'],
            bcc=["Blind <bcc@bücher.example>"],
            reply_to=["Reply <reply@example.com>", "reply2@example.com"],
        )
        status = self.send(message)
        self.assertEqual(
            self.params()["Destination"],
            {
                "ToAddresses": ["to1@example.com", "to2@example.com"],
                "CcAddresses": ["cc@example.com"],
                "BccAddresses": ["bcc@xn--bcher-kva.example"],
            },
        )
        self.assertEqual(self.mime["From"], '"From, Inc." <from@example.com>')
        self.assertEqual(self.mime["To"], "Příjemce <to1@example.com>, to2@example.com")
        self.assertEqual(self.mime["Cc"], '"Copy, 1" <cc@example.com>')
        self.assertEqual(self.mime["Reply-To"], "Reply <reply@example.com>, reply2@example.com")
        self.assertNotIn(b"bcc", self.data.lower())
        self.assertEqual(
            set(status.recipients),
            {"to1@example.com", "to2@example.com", "cc@example.com", "bcc@bücher.example"},
        )
        self.assertEqual(
            {recipient.message_id for recipient in status.recipients.values()},
            {SEND_EMAIL_RESPONSE["MessageId"]},
        )

    def test_only_bcc(self):
        self.send(make_message(to=[], bcc=["bcc@example.com"]))
        self.assertEqual(self.params()["Destination"], {"BccAddresses": ["bcc@example.com"]})
        self.assertNotIn("To", self.mime)

    def test_international_domains(self):
        message = make_message(
            from_email="from@މިސާލު.example.mv",
            to=["To <to@މިސާލު.example.mv>"],
            cc=["cc@bücher.example"],
            bcc=["bcc@bücher.example"],
            reply_to=["reply@މިސާލު.example.mv"],
            headers={"Sender": "sender@bücher.example"},
        )
        before = copy.deepcopy({k: v for k, v in vars(message).items() if k != "anymail_status"})
        status = self.send(message)
        self.assertEqual(
            self.params()["Destination"],
            {
                "ToAddresses": ["to@xn--qqbii6gdp.example.mv"],
                "CcAddresses": ["cc@xn--bcher-kva.example"],
                "BccAddresses": ["bcc@xn--bcher-kva.example"],
            },
        )
        self.assertEqual(self.mime["From"], "from@xn--qqbii6gdp.example.mv")
        self.assertEqual(self.mime["To"], "To <to@xn--qqbii6gdp.example.mv>")
        self.assertEqual(self.mime["Cc"], "cc@xn--bcher-kva.example")
        self.assertEqual(self.mime["Reply-To"], "reply@xn--qqbii6gdp.example.mv")
        self.assertEqual(self.mime["Sender"], "sender@xn--bcher-kva.example")
        self.assertEqual({name: vars(message)[name] for name in before}, before)
        self.assertIn("to@މިސާލު.example.mv", status.recipients)

    def test_idna_encoder(self):
        self.send(make_message(to=["to@straße.example"]), idna_encoder="idna2003")
        self.assertEqual(self.params()["Destination"]["ToAddresses"], ["to@strasse.example"])
        self.assertEqual(self.mime["To"], "to@strasse.example")

    def test_message_is_restored_after_errors(self):
        class Message(EmailMessage):
            def message(self, **kwargs: Any) -> Any:
                raise ZeroDivisionError

        message = Message("", "", "from@bücher.example", ["to@bücher.example"])
        with self.assertRaises(ZeroDivisionError):
            self.send(message)
        self.assertEqual(message.from_email, "from@bücher.example")
        self.assertEqual(message.to, ["to@bücher.example"])

    def test_overridden_message_method(self):
        class Message(EmailMessage):
            def message(self, **kwargs: Any) -> Any:
                mime = super().message(**kwargs)
                mime["X-Own"] = "own"
                del mime["To"]
                mime["To"] = "undisclosed-recipients:;"
                return mime

        self.send(Message("", "", "from@example.com", ["to@example.com"]))
        self.assertEqual(self.mime["X-Own"], "own")
        self.assertEqual(self.mime.get_all("To"), ["undisclosed-recipients:;"])

    def test_message_method_with_legacy_mime(self):
        """As in Django before 6.0, but without its protections."""
        attached = MIMEBase("message", "rfc822")
        attached.attach(email.message_from_string("Subject: Zoë\n\nGrößer\n"))
        attached.attach(email.message_from_bytes("Subject: Zoë\n\nGröße\n".encode()))

        class Message(EmailMessage):
            def message(self, **kwargs: Any) -> Any:
                mime = MIMEMultipart()
                mime["From"] = self.from_email
                mime["To"] = ", ".join(self.to)
                mime["Subject"] = self.subject
                mime.attach(attached)
                return mime

        message = Message("Größe", "", "from@example.com", ["Zoë <to@bücher.example>"])
        self.send(message)
        self.assertEqual(self.mime["Subject"], "Größe")
        self.assertEqual(self.mime["From"], "from@example.com")
        self.assertEqual(
            rfc2047_decode(email.message_from_bytes(self.data)["To"]),
            "Zoë <to@xn--bcher-kva.example>",
        )
        self.assertIn("Größer\n".encode(), quopri.decodestring(self.data))
        message.subject = "a\r\nX-Injected: 1"
        with (
            patch.object(AmazonSESV2SendEmailPayload, "check_header_value"),
            self.assertRaisesRegex(AnymailInvalidHeader, "Subject header in MIME"),
        ):
            self.send(message)

    def test_non_ascii_local_part_is_left_to_ses(self):
        self.send(make_message(to=["zoë@example.com"]))
        self.assertEqual(self.params()["Destination"], {"ToAddresses": ["zoë@example.com"]})

    def test_encoded_headers(self):
        self.send(
            make_message(
                subject="Předmět e-mailu",
                from_email='"Odesílatel, z adresy" <from@example.com>',
                headers={"X-Extra": "Další"},
            )
        )
        self.assertIn(b"\nSubject: =?utf-8?b?UMWZZWRtxJt0", self.data)
        self.assertIn(b"=?utf-8?q?Odes=C3=ADlatel=2C", self.data)
        self.assertEqual(self.mime["Subject"], "Předmět e-mailu")
        self.assertEqual(self.mime["From"], '"Odesílatel, z adresy" <from@example.com>')
        self.assertEqual(self.mime["X-Extra"], "Další")

    def test_long_headers(self):
        addresses = [
            '"Příjmení, Křestní jméno" <to1@example.com>',
            f'"Very {"Long " * 20}Name With a Comma, Incorporated" <to2@example.com>',
            '"Žluťoučký, A." <to3@example.com>',
            f"to4@{'long.' * 20}example.com",
            '"back\\\\slash, \\"quoted\\"" <to5@example.com>',
        ]
        subject = "100,000,000 reasons, 200,000,000 excuses, and 300,000,000 others: 1,2,3,4,5,6,7"
        self.send(
            make_message(subject=subject, to=addresses, cc=addresses, from_email=addresses[0])
        )
        self.assertEqual(self.mime["To"], ", ".join(addresses))
        self.assertEqual(self.mime["Cc"], ", ".join(addresses))
        self.assertEqual(self.mime["From"], addresses[0])
        self.assertEqual(self.mime["Subject"], subject)

    def test_very_long_name(self):
        name = "Příliš žluťoučký kůň, který úpěl ďábelské ódy " * 3
        self.send(make_message(from_email=f'"{name.strip()}" <from@example.com>'))
        raw = email.message_from_bytes(self.data, policy=email.policy.compat32)["From"]
        self.assertTrue(all(len(line) <= 78 for line in raw.splitlines()), raw)
        self.assertEqual(rfc2047_decode(unfold(raw)), f"{name.strip()} <from@example.com>")

    def test_long_ascii_headers(self):
        headers = {name: value for name, value in LONG_HEADERS.items() if name != "Subject"}
        self.send(make_message(subject=LONG_HEADERS["Subject"], headers=headers))
        self.assertLessEqual(LONG_HEADERS.items(), read_headers(self.data).items())
        self.assertEqual(len(re.findall(rb"^Message-ID:", self.data, re.MULTILINE)), 1)

    @tag("exhaustive")
    @given(texts, texts, texts, st.lists(texts, min_size=4, max_size=4), filenames)
    @examples(1000)
    def test_what_a_receiver_decodes(self, subject, header, tag, names, filename):
        """Whatever is written, with all versions of Python and Django."""
        names = [name.replace("=?", "?=").strip() for name in names]
        pairs = [(name, f"{n}@example.com") for n, name in enumerate(names)]
        from_email, to, cc, reply_to = (
            f"{quote_string(name, force=True)} <{address}>" for name, address in pairs
        )
        message = make_message(
            subject=subject,
            from_email=from_email,
            to=[to],
            cc=[cc],
            reply_to=[reply_to],
            headers={"X-Header": header},
            tags=[tag],
            metadata={"text": subject},
        )
        message.attach(filename, b"", "application/pdf")
        self.send(message)
        received = read_headers(self.data)
        for name, text in {"Subject": subject, "X-Header": header, "X-Tag": tag}.items():
            if text.isascii():  # Encoded-words in it are meant to be decoded.
                text = decode(text)
            self.assertEqual(decode(received[name]).strip("\t "), text.strip("\t "))
        for header_name, pair in zip(("From", "To", "Cc", "Reply-To"), pairs, strict=True):
            [(name, address)] = getaddresses([received[header_name]])
            self.assertEqual((decode(name), address), pair)
        self.assertEqual(json.loads(decode(received["X-Metadata"])), {"text": subject})
        [_, attachment] = self.mime.iter_parts()
        self.assertEqual(attachment.get_filename() or "", filename)

    def test_headers(self):
        self.send(
            make_message(
                headers={
                    "X-Custom": "value",
                    "X-Int": 123,
                    "Message-ID": "<mine@example.com>",
                    "Date": "Tue, 04 Mar 2031 05:06:07 +0000",
                    "reply-to": "header@bücher.example",
                    "cc": "shown-cc@example.com",
                },
                reply_to=["attribute@example.com"],
                cc=["cc@example.com"],
            )
        )
        for name, value in {
            "X-Custom": "value",
            "X-Int": "123",
            "Message-ID": "<mine@example.com>",
            "Date": "Tue, 04 Mar 2031 05:06:07 +0000",
            "Reply-To": "header@xn--bcher-kva.example",
            "Cc": "shown-cc@example.com",
        }.items():
            self.assertEqual(self.mime.get_all(name), [value])
        self.assertEqual(self.params()["Destination"]["CcAddresses"], ["cc@example.com"])

    def test_empty_headers(self):
        message = make_message(
            headers={"Reply-To": "", "Cc": ""},
            reply_to=["reply@example.com"],
            cc=["cc@example.com"],
        )
        self.send(message)
        self.assertEqual(self.mime.get_all("Reply-To"), ["reply@example.com"])
        self.assertNotIn("Cc", self.mime)

    def test_to_header(self):
        for name, value, expected in (
            ("To", "Liste <list@example.com>", "Liste <list@example.com>"),
            ("TO", "lïst@bücher.example, a@bücher.example", None),
            ("to", "Größe <list@bücher.example>", "Größe <list@xn--bcher-kva.example>"),
            ("To", "undisclosed-recipients:;", "undisclosed-recipients:;"),
            ("To", "Üs: a@example.com;", None),
        ):
            with self.subTest(value):
                status = self.send(make_message(headers={name: value}))
                self.assertEqual(len(self.mime.get_all("To")), 1)
                if expected is not None:
                    self.assertEqual(self.mime["To"], expected)
                self.assertNotIn(b"to@example.com", self.data)
                self.assertEqual(self.params()["Destination"], {"ToAddresses": ["to@example.com"]})
                self.assertEqual(set(status.recipients), {"to@example.com"})

    def test_malformed_to_header(self):
        message = make_message(headers={"TO": "Größe:;"})
        with self.assertRaisesRegex(AnymailInvalidAddress, r"extra_headers\['To'\]"):
            self.send(message)
        self.assert_not_sent()

    def test_from_header(self):
        for name in ("From", "FROM"):
            with self.subTest(name):
                self.send(
                    make_message(
                        from_email="Bounces <bounces@example.com>",
                        headers={name: "Größe <header@bücher.example>"},
                    )
                )
                self.assertEqual(
                    self.mime.get_all("From"), ["Größe <header@xn--bcher-kva.example>"]
                )
                self.assertEqual(
                    self.params()["FeedbackForwardingEmailAddress"], "bounces@example.com"
                )
                self.assertNotIn(b"bounces", self.data)

    def test_bcc_header(self):
        message = make_message(headers={"BCC": "hidden@example.com"})
        self.assert_unsupported(message, "`Bcc` header")
        self.send(message, ignore_unsupported_features=True)
        self.assertNotIn(b"hidden", self.data)

    def test_from_email_none(self):
        message = make_message()
        message.from_email = None
        self.send(message)
        self.assertNotIn("From", self.mime)

    def test_subject_and_body_none(self):
        message = make_message()
        message.subject = message.body = None
        self.send(message)
        self.assertEqual(self.mime["Subject"], "")
        self.assertEqual(self.mime.get_content().strip(), "")

    def test_envelope_sender(self):
        self.send(make_message(envelope_sender="Bounces <bounces@bücher.example>"))
        self.assertEqual(
            self.params()["FeedbackForwardingEmailAddress"], "bounces@xn--bcher-kva.example"
        )

    def test_esp_extra(self):
        extra = {
            "FromEmailAddressIdentityArn": "arn:aws:ses:eu-west-1:123456789012:identity/x",
            "ListManagementOptions": {"ContactListName": "customers"},
            "EmailTags": [{"Name": "other", "Value": "tag"}],
            "Content": {"Simple": {}},
        }
        original = copy.deepcopy(extra)
        self.send(make_message(esp_extra=extra, tags=["one"]), message_tag_name="campaign")
        params = self.params()
        self.assertIn("Raw", params.pop("Content"))
        del params["Destination"]
        del extra["Content"]
        self.assertEqual(params, extra)
        self.assertEqual({**extra, "Content": {"Simple": {}}}, original)


@tag("amazon_ses")
class MetadataAndTagsTests(AmazonSESTestCase):
    def test_metadata(self):
        metadata = {"order": 5, "name": "Zoë", "lines": "a\r\nBcc: x@example.com"}
        self.send(make_message(metadata=metadata))
        self.assertEqual(json.loads(self.mime["X-Metadata"]), metadata)
        self.assertNotIn("Bcc", self.mime)

    def test_long_metadata_stays_plain(self):
        metadata = {"words": "several words of it " * 10, "id": "x" * 200, "name": "Zoë" * 30}
        self.send(make_message(metadata=metadata))
        value = email.message_from_bytes(self.data)["X-Metadata"]
        self.assertNotIn("=?", value)
        self.assertIn("\n", value)
        self.assertEqual(json.loads(value.replace("\n", "")), metadata)

    def test_metadata_longer_than_a_line_may_be(self):
        metadata = {"id": "x" * 2000, "name": "Zoë"}
        self.send(make_message(metadata=metadata))
        self.assertEqual(json.loads(self.mime["X-Metadata"]), metadata)

    def test_empty_metadata(self):
        self.send(make_message(metadata={}))
        self.assertEqual(self.mime["X-Metadata"], "{}")

    def test_unserializable_metadata(self):
        with self.assertRaisesRegex(AnymailSerializationError, "object"):
            self.send(make_message(metadata={"x": object()}))
        self.assert_not_sent()

    def test_tags(self):
        self.send(make_message(tags=["receipt", "Größe, 2. Wahl", "with: \"special' chars;"]))
        self.assertEqual(
            self.mime.get_all("X-Tag"), ["receipt", "Größe, 2. Wahl", "with: \"special' chars;"]
        )
        self.assertNotIn("EmailTags", self.params())

    def test_tags_with_line_breaks(self):
        for template in ({}, {"template_id": "x", "subject": "", "body": ""}):
            with self.subTest(template), self.assertRaisesRegex(AnymailInvalidHeader, "tags") as e:
                self.send(make_message(tags=["a\nBcc: x@example.com"], **template))
            self.assertIsInstance(e.exception, ValueError)
        self.assert_not_sent()

    def test_message_tag_name(self):
        self.send(make_message(tags=["receipt"]), message_tag_name="campaign")
        self.assertEqual(self.params()["EmailTags"], [{"Name": "campaign", "Value": "receipt"}])
        self.assertEqual(self.mime.get_all("X-Tag"), ["receipt"])
        self.send(make_message(tags=[]), message_tag_name="campaign")
        self.assertNotIn("EmailTags", self.params())

    def test_several_tags_with_message_tag_name(self):
        message = make_message(tags=["one", "two"])
        options = {"message_tag_name": "campaign"}
        self.assert_unsupported(
            message, "multiple tags with the AMAZON_SES_MESSAGE_TAG_NAME setting", **options
        )
        self.send(message, ignore_unsupported_features=True, **options)
        self.assertEqual(self.params()["EmailTags"], [{"Name": "campaign", "Value": "one"}])
        self.assertEqual(self.mime.get_all("X-Tag"), ["one", "two"])


@tag("amazon_ses")
class ContentTests(AmazonSESTestCase):
    def test_text(self):
        self.send(make_message(body="Prostý text\n"))
        self.assertIn(b"Prost=C3=BD=20text", self.data)
        self.assertEqual(self.mime["Content-Transfer-Encoding"], "quoted-printable")
        self.assertEqual(self.mime.get_content().rstrip("\n"), "Prostý text")

    def test_ascii_is_left_alone(self):
        self.send(make_message(body="Plain text = text\n"))
        self.assertIn(b"\nPlain text = text\n", self.data)
        self.assertEqual(self.mime["Content-Transfer-Encoding"], "7bit")

    def test_lines_that_start_with_from(self):
        self.send(make_message(body="From me\nFrom you\n"))
        self.assertIn(b"\nFrom me\nFrom you\n", self.data)

    def test_html(self):
        message = make_message(body="<p>Größe</p>")
        message.content_subtype = "html"
        self.send(message)
        self.assertEqual(self.mime.get_content_type(), "text/html")
        self.assertEqual(self.mime.get_content().rstrip("\n"), "<p>Größe</p>")

    def test_alternatives(self):
        message = make_message(body="Prostý text")
        message.attach_alternative("<p>První html</p>", "text/html")
        message.attach_alternative("<p>Druhé html</p>", "text/html")
        message.attach_alternative("<!doctype html><html amp4email>ä", "text/x-amp-html")
        message.attach_alternative("{'ö': 1}", "application/json")
        self.send(message)
        self.assertEqual(self.mime.get_content_type(), "multipart/alternative")
        self.assertEqual(
            [
                (part.get_content_type(), part.get_payload(decode=True).decode().rstrip("\n"))
                for part in self.mime.iter_parts()
            ],
            [
                ("text/plain", "Prostý text"),
                ("text/html", "<p>První html</p>"),
                ("text/html", "<p>Druhé html</p>"),
                ("text/x-amp-html", "<!doctype html><html amp4email>ä"),
                ("application/json", "{'ö': 1}"),
            ],
        )
        self.assertNotIn(b"8bit", self.data)

    def test_alternatives_set_as_tuples(self):
        message = make_message()
        message.alternatives = [(lazystr("<p>Größe"), "text/html")]
        self.send(message)
        [_, html] = self.mime.iter_parts()
        self.assertEqual(html.get_content().rstrip("\n"), "<p>Größe")

    def attached(self, *attachments: Any) -> list[Any]:
        """Send attachments, and return the parts that were sent."""
        message = make_message()
        message.attachments.extend(attachments)
        self.send(message)
        return list(self.mime.iter_parts())[1:]

    def test_attachments(self):
        csv, pdf, nameless, guessed, binary, json_part = self.attached(
            ("Größe.csv", "größe,1\n", "text/csv"),
            ("a.pdf", b"%PDF\xff\x00", "application/pdf"),
            (None, b"GIF89a", "image/gif"),
            ("x.txt", lazystr("Größe"), None),
            ("x.unknown-type", b"\xff", None),
            ("a.json", "{'ö': 1}", "application/json"),
        )
        self.assertEqual(csv.get_filename(), "Größe.csv")
        self.assertEqual(csv.get_content_type(), "text/csv")
        self.assertEqual(csv["Content-Transfer-Encoding"], "quoted-printable")
        self.assertEqual(csv.get_content().rstrip("\n"), "größe,1")
        self.assertEqual(pdf["Content-Transfer-Encoding"], "base64")
        self.assertEqual(pdf.get_content(), b"%PDF\xff\x00")
        self.assertIsNone(nameless.get_filename())
        self.assertEqual(guessed.get_content_type(), "text/plain")
        self.assertEqual(guessed.get_content().rstrip("\n"), "Größe")
        self.assertEqual(binary.get_content_type(), "application/octet-stream")
        self.assertEqual(json_part.get_content(), "{'ö': 1}".encode())

    def test_attachment_in_its_own_charset(self):
        [part] = self.attached(MIMEText("Größe", "plain", "iso-8859-1"))
        self.assertEqual(part.get_content_charset(), "iso-8859-1")
        self.assertEqual(part.get_payload(decode=True), "Größe".encode("iso-8859-1"))

    def test_related_alternative(self):
        """HTML and its image as one alternative, which Django can't make MIME of"""
        legacy = MIMEMultipart("related")
        legacy.attach(MIMEText('<img src="cid:logo@inline">', "html"))
        image = MIMEImage(SAMPLE_IMAGE, "png")
        image["Content-ID"] = "<logo@inline>"
        legacy.attach(image)
        modern = MIMEPart()
        modern.set_content('<img src="cid:logo@inline">', subtype="html")
        modern.add_related(SAMPLE_IMAGE, "image", "png", cid="<logo@inline>")
        for related in (legacy, modern):
            with self.subTest(type(related).__name__):
                message = make_message()
                message.attach_alternative(related, "multipart/related")
                self.send(message)
                bodies, image = self.mime.iter_parts()
                self.assertEqual(bodies.get_content_type(), "multipart/alternative")
                _text, html = bodies.iter_parts()
                self.assertEqual(html.get_content().strip(), '<img src="cid:logo@inline">')
                self.assertEqual(image["Content-ID"], "<logo@inline>")
                self.assertEqual(image.get_content_disposition(), "inline")
                self.assertEqual(image.get_content(), SAMPLE_IMAGE)

    def test_8bit_attachments(self):
        text = MIMEText("", "plain", "iso-8859-1")
        del text["Content-Transfer-Encoding"]
        text["Content-Transfer-Encoding"] = "8bit"
        text.set_payload("Größe".encode("iso-8859-1"))
        other = MIMEBase("application", "x-other")
        other["Content-Transfer-Encoding"] = "8BIT"
        other.set_payload(b"\x01Gr\xc3\xb6\xc3\x9fe\n")
        unlabeled = MIMEBase("application", "x-unlabeled")
        unlabeled.set_payload(b"\xff\xfe")
        originals = [part.as_bytes() for part in (text, other, unlabeled)]
        parts = self.attached(text, other, unlabeled)
        self.assertEqual(parts[0].get_all("Content-Transfer-Encoding"), ["quoted-printable"])
        self.assertEqual(parts[0].get_payload(decode=True), "Größe".encode("iso-8859-1"))
        self.assertEqual(parts[1].get_all("Content-Transfer-Encoding"), ["base64"])
        self.assertEqual(parts[1].get_payload(decode=True), b"\x01Gr\xc3\xb6\xc3\x9fe\n")
        self.assertEqual(parts[2].get_all("Content-Transfer-Encoding"), ["base64"])
        self.assertEqual(parts[2].get_payload(decode=True), b"\xff\xfe")
        # The caller's attachments are as they were.
        self.assertEqual([part.as_bytes() for part in (text, other, unlabeled)], originals)

    def test_inline_image(self):
        message = make_message()
        cid = attach_inline_image(message, SAMPLE_IMAGE, "logo.png")
        message.attach_alternative(f'<img src="cid:{cid}">', "text/html")
        self.send(message)
        image = next(part for part in self.mime.walk() if part.get_content_type() == "image/png")
        self.assertEqual(image["Content-ID"], f"<{cid}>")
        self.assertEqual(image.get_content_disposition(), "inline")
        self.assertEqual(image.get_filename(), "logo.png")
        self.assertEqual(image.get_content(), SAMPLE_IMAGE)

    def test_attached_messages(self):
        attached = EmailMultiAlternatives(
            "Příloha", "Prostý text", "zoë@example.com", ["Zoë <b@example.com>"]
        )
        attached.attach_alternative("<p>Größe", "text/html")
        raw = "Subject: Größe\nContent-Type: text/plain; charset=utf-8\n\nGrüße\nFrom me\n"
        parsed = email.message_from_bytes(raw.encode())
        for content in (attached, raw, parsed):
            with self.subTest(type(content)):
                before = None if isinstance(content, str) else pickle.dumps(content)
                [part] = self.attached(("a.eml", content, "message/rfc822"))
                self.assertEqual(part.get_content_type(), "message/rfc822")
                self.assertNotIn(part["Content-Transfer-Encoding"], ("8bit", "base64"))
                message = part.get_payload(0)
                if content is attached:
                    self.assertEqual(message["Subject"], "Příloha")
                    texts = [item.get_content().rstrip("\n") for item in message.iter_parts()]
                    self.assertEqual(texts, ["Prostý text", "<p>Größe"])
                else:
                    self.assertEqual(message["Subject"], "Größe")
                    self.assertEqual(message.get_content(), "Grüße\nFrom me\n")
                if before is not None:
                    self.assertEqual(pickle.dumps(content), before)

    def test_lazy_strings(self):
        message = make_message(
            subject=lazystr("Předmět"), body=lazystr("Größe"), tags=[lazystr("t")]
        )
        message.attach(lazystr("Größe.txt"), lazystr("ä"), "text/plain")
        self.send(message)
        self.assertEqual(self.mime["Subject"], "Předmět")
        self.assertEqual(self.mime["X-Tag"], "t")
        body, attachment = self.mime.iter_parts()
        self.assertEqual(body.get_content().rstrip("\n"), "Größe")
        self.assertEqual(attachment.get_filename(), "Größe.txt")
        self.assertEqual(attachment.get_content().rstrip("\n"), "ä")


@tag("amazon_ses")
class HeaderInjectionTests(AmazonSESTestCase):
    """Headers are made of text that Python decodes or copies: it must not become other headers."""

    # As the display name or file name, it is decoded: "a\r\nX-Injected: b"
    encoded_word = "=?utf-8?q?a=0D=0AX-Injected:_b?="

    def assert_no_injection(self, **attrs: Any) -> None:
        try:
            self.send(make_message(**attrs))
        except ValueError:
            self.assert_not_sent()
        else:
            self.assertNotRegex(self.data, rb"[\r\n]X-Injected")
            for part in self.mime.walk():
                self.assertNotIn("X-Injected", part)
            self.mock_client.reset_mock()

    def test_encoded_words(self):
        for name in (self.encoded_word, self.encoded_word.replace("a=", "=C3=A9=")):
            address = f"{name} <a@example.com>"
            for attrs in (
                {"from_email": address},
                {"to": [address, "b@example.com"]},
                {"to": [f'"{name}" <a@example.com>']},
                {"to": [f"<{name}@example.com>"]},
                {"cc": [address]},
                {"reply_to": [address]},
                {"headers": {"Sender": address}},
                {"headers": {"To": address}},
                {"headers": {"From": address}},
                {"headers": {"X-Custom": name}},
                {"subject": name},
                {"tags": [name]},
                {"metadata": {name: name}},
                {"attachments": [(f"{name}.txt", "a", "text/plain")]},
                {"attachments": [(name, b"a", "application/pdf")]},
            ):
                with self.subTest(attrs):
                    self.assert_no_injection(**attrs)

    def test_attachments(self):
        for chars in ("\r\n", "\n", "\r", "\0"):
            for attachment, text in (
                ((f"a{chars}X-Injected: b", "a", "text/plain"), "filename"),
                ((f"ä{chars}X-Injected: b", b"a", "application/pdf"), "filename"),
                (("a", b"a", f"application/pdf{chars}X-Injected: b"), "content type"),
            ):
                message = make_message()
                message.attachments.append(attachment)
                with (
                    self.subTest(attachment),
                    self.assertRaisesRegex(AnymailInvalidHeader, f"attachments: {text}"),
                ):
                    self.send(message)
        self.assert_not_sent()

    def test_attached_parts(self):
        for value in (
            "inline\nX-Injected: b",
            "inline\n\nX-Injected: b",
            "inline\r\nX-Injected: b",
            "inline\rX-Injected: b",
            "inline\0",
        ):
            part = MIMEImage(SAMPLE_IMAGE)
            part["Content-Disposition"] = value
            message = make_message()
            message.attachments.append(part)
            with (
                self.subTest(value),
                self.assertRaisesRegex(AnymailInvalidHeader, "Content-Disposition") as caught,
            ):
                self.send(message)
            self.assertIs(caught.exception.email_message, message)
        self.assert_not_sent()

    def test_folded_header_of_a_part(self):
        part = MIMEImage(SAMPLE_IMAGE)
        part["Content-Disposition"] = "inline;\n filename=a.png"
        message = make_message()
        message.attachments.append(part)
        self.send(message)
        [_, image] = self.mime.iter_parts()
        self.assertEqual(image.get_filename(), "a.png")


@tag("amazon_ses")
class UnsupportedFeatureTests(AmazonSESTestCase):
    def test_multiple_from_emails(self):
        message = make_message(from_email="a@example.com, B <b@bücher.example>")
        self.assert_unsupported(message, "multiple from emails")
        self.send(message, ignore_unsupported_features=True)
        self.assertEqual(self.mime["From"], "a@example.com, B <b@xn--bcher-kva.example>")

    def test_delay_and_tracking(self):
        for attrs in ({"send_at": 1_900_000_000}, {"track_opens": True}, {"track_clicks": False}):
            [feature] = attrs
            for template in ({}, {"template_id": "x", "subject": "", "body": ""}):
                with self.subTest(attrs, template=template):
                    self.assert_unsupported(make_message(**attrs, **template), feature)

    def test_merge_without_template(self):
        for name, value, feature in (
            ("merge_data", {}, "merge_data without template_id"),
            ("merge_headers", {}, "merge_headers without template_id"),
            ("merge_global_data", {}, "global_merge_data without template_id"),
            ("merge_metadata", {}, "merge_metadata"),
        ):
            with self.subTest(name):
                message = make_message(**{name: value})
                self.assert_unsupported(message, feature)
                self.send(message, ignore_unsupported_features=True)
                self.mock_client.reset_mock()

    def test_send_defaults(self):
        for name, value in {
            "from_email": "default@example.com",
            "to": ["default@example.com"],
            "cc": ["default@example.com"],
            "bcc": ["default@example.com"],
            "subject": "default",
            "reply_to": ["default@example.com"],
            "extra_headers": {"X-Default": "1"},
            "body": "default",
            "alternatives": [("default", "text/html")],
            "attachments": [("a.txt", "default", "text/plain")],
        }.items():
            with self.subTest(name), override_settings(ANYMAIL={"SEND_DEFAULTS": {name: value}}):
                message = make_message(cc=["cc@example.com"])
                self.assert_unsupported(
                    message, f"Anymail send defaults for '{name}' with Amazon SES"
                )
                status = self.send(message, ignore_unsupported_features=True)
                self.assertNotIn(b"default", self.data)
                if name in ("to", "cc", "bcc"):
                    addresses = self.params()["Destination"][f"{name.capitalize()}Addresses"]
                    self.assertIn("default@example.com", addresses)
                    self.assertIn("default@example.com", status.recipients)
                self.mock_client.reset_mock()

    def test_supported_send_defaults(self):
        defaults = {
            "metadata": {"a": 1},
            "tags": ["default"],
            "envelope_sender": "bounces@example.com",
            "esp_extra": {"ConfigurationSetName": "default"},
        }
        with override_settings(ANYMAIL={"AMAZON_SES_SEND_DEFAULTS": defaults}):
            self.send(make_message(tags=["own"], metadata={"b": 2}))
        self.assertEqual(json.loads(self.mime["X-Metadata"]), {"a": 1, "b": 2})
        self.assertEqual(self.mime.get_all("X-Tag"), ["default", "own"])
        self.assertEqual(self.params()["ConfigurationSetName"], "default")
        self.assertEqual(self.params()["FeedbackForwardingEmailAddress"], "bounces@example.com")

    @override_settings(ANYMAIL={"SEND_DEFAULTS": {"template_id": "default"}})
    def test_template_id_in_send_defaults(self):
        with self.assertRaisesRegex(NotImplementedError, "template_id"):
            self.send(make_message())
        self.send(make_message(template_id="own", subject="", body=""))


# ---------------------------------------------------------------------------------------------
# SendBulkEmail
# ---------------------------------------------------------------------------------------------


def template_message(**kwargs: Any) -> Any:
    return make_message(**{"template_id": "receipt-v3", "subject": "", "body": "", **kwargs})


@tag("amazon_ses")
class TemplateTests(AmazonSESTestCase):
    def test_minimal(self):
        self.send(template_message())
        self.assertEqual(
            self.bulk_params,
            {
                "FromEmailAddress": "from@example.com",
                "DefaultContent": {"Template": {"TemplateName": "receipt-v3"}},
                "BulkEmailEntries": [
                    {
                        "Destination": {"ToAddresses": ["to@example.com"]},
                        "ReplacementEmailContent": {
                            "ReplacementTemplate": {"ReplacementTemplateData": "{}"}
                        },
                    }
                ],
            },
        )
        self.mock_client.send_email.assert_not_called()

    def test_everything(self):
        self.mock_client.send_bulk_email.return_value = bulk_response(success("1"), success("2"))
        merge = {
            "merge_data": {
                "ann@example.net": {"first": "Ann", "items": [1, "ä"]},
                "nobody@example.net": {"first": "Nobody"},
            },
            "merge_global_data": {"site": "Shop"},
            "metadata": {"run": "w7", "order": 0},
            "merge_metadata": {"ann@example.net": {"order": 5}},
            "merge_headers": {"ann@example.net": {"list-ID": "<own>", "X-Own": 5}},
        }
        original = copy.deepcopy(merge)
        status = self.send(
            template_message(
                from_email='"Obchod, Žižkov" <shop@bücher.example>',
                to=["罗伯特 <ann@example.net>", '"Bo, Jr." <bo@bücher.example>'],
                cc=["Ops Ä <ops@example.com>", "cc@example.com"],
                bcc=["Blind <bcc@bücher.example>"],
                reply_to=["Größe <reply@example.com>", "reply2@bücher.example"],
                headers={"List-ID": "<all>", "X-Groesse": "Größe"},
                envelope_sender="bounces@bücher.example",
                tags=["receipt", "Größe"],
                esp_extra={"ConfigurationSetName": "special"},
                **merge,
            ),
        )
        common = {
            "CcAddresses": ["=?utf-8?b?T3BzIMOE?= <ops@example.com>", "cc@example.com"],
            "BccAddresses": ["bcc@xn--bcher-kva.example"],
        }
        self.assertEqual(
            self.bulk_params,
            {
                "FromEmailAddress": "=?utf-8?b?T2JjaG9kLCDFvWnFvmtvdg==?="
                " <shop@xn--bcher-kva.example>",
                "ReplyToAddresses": [
                    "=?utf-8?b?R3LDtsOfZQ==?= <reply@example.com>",
                    "reply2@xn--bcher-kva.example",
                ],
                "FeedbackForwardingEmailAddress": "bounces@xn--bcher-kva.example",
                "ConfigurationSetName": "special",
                "DefaultContent": {
                    "Template": {"TemplateName": "receipt-v3", "TemplateData": '{"site": "Shop"}'}
                },
                "BulkEmailEntries": [
                    {
                        "Destination": {
                            "ToAddresses": ["=?utf-8?b?572X5Lyv54m5?= <ann@example.net>"],
                            **common,
                        },
                        "ReplacementEmailContent": {
                            "ReplacementTemplate": {
                                "ReplacementTemplateData": '{"first": "Ann",'
                                ' "items": [1, "\\u00e4"]}'
                            }
                        },
                        "ReplacementHeaders": [
                            {"Name": "list-ID", "Value": "<own>"},
                            {"Name": "X-Groesse", "Value": "=?utf-8?b?R3LDtsOfZQ==?="},
                            {"Name": "X-Own", "Value": "5"},
                            {"Name": "X-Metadata", "Value": '{"run": "w7", "order": 5}'},
                            {"Name": "X-Tag", "Value": "receipt"},
                            {"Name": "X-Tag", "Value": "=?utf-8?b?R3LDtsOfZQ==?="},
                        ],
                    },
                    {
                        "Destination": {
                            "ToAddresses": ['"Bo, Jr." <bo@xn--bcher-kva.example>'],
                            **common,
                        },
                        "ReplacementEmailContent": {
                            "ReplacementTemplate": {"ReplacementTemplateData": "{}"}
                        },
                        "ReplacementHeaders": [
                            {"Name": "List-ID", "Value": "<all>"},
                            {"Name": "X-Groesse", "Value": "=?utf-8?b?R3LDtsOfZQ==?="},
                            {"Name": "X-Metadata", "Value": '{"run": "w7", "order": 0}'},
                            {"Name": "X-Tag", "Value": "receipt"},
                            {"Name": "X-Tag", "Value": "=?utf-8?b?R3LDtsOfZQ==?="},
                        ],
                    },
                ],
            },
        )
        self.assertEqual(merge, original)
        # cc and bcc have no status of their own.
        self.assertEqual(set(status.recipients), {"ann@example.net", "bo@bücher.example"})
        self.assertEqual(status.recipients["ann@example.net"].message_id, "1")
        self.assertEqual(status.recipients["bo@bücher.example"].message_id, "2")
        self.assertEqual(status.status, {"queued"})
        self.assertIs(status.esp_response, self.mock_client.send_bulk_email.return_value)

    def test_recipients_share_nothing(self):
        self.mock_client.send_bulk_email.return_value = bulk_response(success("1"), success("2"))
        self.send(template_message(to=["a@example.com", "b@example.com"], cc=["cc@example.com"]))
        a, b = self.bulk_params["BulkEmailEntries"]
        self.assertIsNot(a["Destination"]["CcAddresses"], b["Destination"]["CcAddresses"])

    def test_no_replacement_headers(self):
        self.send(template_message(merge_headers={"to@example.com": {}}, metadata={}, tags=[]))
        [entry] = self.bulk_params["BulkEmailEntries"]
        self.assertNotIn("ReplacementHeaders", entry)

    def test_merge_keys(self):
        """Addresses match as they were written, but for the domain's case."""
        self.send(
            template_message(
                to=["Ann <Ann@bücher.example>"],
                merge_data={"Ann@Bücher.Example": {"a": 1}, "ann@bücher.example": {"a": 2}},
            )
        )
        [entry] = self.bulk_params["BulkEmailEntries"]
        template = entry["ReplacementEmailContent"]["ReplacementTemplate"]
        self.assertEqual(template["ReplacementTemplateData"], '{"a": 1}')

    def test_template_id_none(self):
        self.send(template_message(template_id=None, merge_global_data={"a": 1}))
        self.assertNotIn("DefaultContent", self.bulk_params)

    def test_numeric_template_id(self):
        self.send(template_message(template_id=5))
        self.assertEqual(self.bulk_params["DefaultContent"]["Template"]["TemplateName"], "5")

    def test_from_email_none(self):
        message = template_message()
        message.from_email = None
        self.send(message)
        self.assertNotIn("FromEmailAddress", self.bulk_params)

    def test_subject_and_body_none(self):
        message = template_message()
        message.subject = message.body = None
        self.send(message)

    def test_template_on_django_message(self):
        message = EmailMessage("", "", "from@example.com", ["to@example.com"])
        message.template_id = "x"  # type: ignore[attr-defined]
        self.send(message)
        self.assertEqual(self.bulk_params["DefaultContent"]["Template"]["TemplateName"], "x")

    def test_reply_to_header(self):
        self.send(
            template_message(
                reply_to=["attribute@example.com"], headers={"Reply-To": "header@example.com"}
            )
        )
        self.assertEqual(self.bulk_params["ReplyToAddresses"], ["header@example.com"])

    def test_message_tag(self):
        self.send(template_message(tags=["receipt"]), message_tag_name="campaign")
        self.assertEqual(
            self.bulk_params["DefaultEmailTags"], [{"Name": "campaign", "Value": "receipt"}]
        )
        self.assertNotIn("EmailTags", self.bulk_params)

    def test_esp_extra(self):
        self.send(
            template_message(
                esp_extra={
                    "DefaultContent": {"Template": {"TemplateArn": "arn"}},
                    "BulkEmailEntries": [],
                }
            )
        )
        self.assertEqual(self.bulk_params["DefaultContent"], {"Template": {"TemplateArn": "arn"}})
        self.assertEqual(len(self.bulk_params["BulkEmailEntries"]), 1)

    def test_unserializable(self):
        for attrs in (
            {"merge_data": {"to@example.com": {"a": object()}}},
            {"merge_global_data": {"a": object()}},
            {"merge_metadata": {"to@example.com": {"a": object()}}},
        ):
            with self.subTest(attrs), self.assertRaises(AnymailSerializationError):
                self.send(template_message(**attrs))
        self.assert_not_sent()

    def test_unsupported(self):
        html = template_message()
        html.content_subtype = "html"
        html.body = "<p>"
        alternative = template_message()
        alternative.attach_alternative("<p>", "text/html")
        amp = template_message()
        amp.attach_alternative("<p>", "text/x-amp-html")
        attachment = template_message()
        attachment.attach("a.txt", "a", "text/plain")
        for message, feature in (
            (template_message(subject="S"), "overriding template subject"),
            (template_message(body="B"), "overriding template body content"),
            (html, "overriding template body content"),
            (alternative, "overriding template body content"),
            (amp, "alternative part with type 'text/x-amp-html'"),
            (attachment, "attachments with template"),
            (template_message(headers={"To": "x@example.com"}), "spoofing `To` header"),
            (template_message(from_email="a@example.com, b@example.com"), "multiple from emails"),
        ):
            with self.subTest(feature):
                self.assert_unsupported(message, feature)
                self.send(message, ignore_unsupported_features=True)
                self.assertNotIn("ReplacementHeaders", self.bulk_params["BulkEmailEntries"][0])
                self.mock_client.reset_mock()

    def test_first_of_several_from_emails(self):
        self.send(
            template_message(from_email="a@example.com, b@example.com"),
            ignore_unsupported_features=True,
        )
        self.assertEqual(self.bulk_params["FromEmailAddress"], "a@example.com")


@tag("amazon_ses")
class StatusTests(AmazonSESTestCase):
    def assert_parse_error(self, message: Any, response: Any) -> None:
        with self.assertRaises(AnymailAPIError) as caught:
            self.send(message)
        text = str(caught.exception)
        self.assertIn("parsing Amazon SES send result", text)
        self.assertIn(repr(response), text)
        self.assertIs(caught.exception.response, response)
        status = message.anymail_status
        self.assertIsNone(status.status)
        self.assertIsNone(status.message_id)
        self.assertEqual(status.recipients, {})
        self.assertIs(status.esp_response, response)

    def test_malformed_response(self):
        for response in ({}, {"MessageId": []}, [], "text", None, 5, {"other": "value"}):
            with self.subTest(response):
                self.mock_client.send_email.return_value = response
                self.assert_parse_error(make_message(), response)

    def test_malformed_bulk_response(self):
        for response in (
            {},
            [],
            "text",
            None,
            {"BulkEmailEntryResults": None},
            {"BulkEmailEntryResults": [{}]},
            {"BulkEmailEntryResults": [None]},
            {"BulkEmailEntryResults": ["text"]},
            {"BulkEmailEntryResults": [{"Status": []}]},
            {"BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": {}}]},
        ):
            with self.subTest(response):
                self.mock_client.send_bulk_email.return_value = response
                self.assert_parse_error(template_message(), response)

    def send_bulk(self, *results: dict[str, Any], to: int = 2) -> Any:
        self.response = bulk_response(*results)
        self.mock_client.send_bulk_email.return_value = self.response
        return self.send(template_message(to=[f"to{n}@example.com" for n in range(to)]))

    def test_mixed_statuses(self):
        status = self.send_bulk(success("id"), {"Status": "ACCOUNT_THROTTLED", "Error": "slow"})
        self.assertEqual(status.status, {"queued", "failed"})
        self.assertEqual(status.message_id, {"id", None})
        self.assertEqual(status.recipients["to0@example.com"].status, "queued")
        self.assertEqual(status.recipients["to1@example.com"].status, "failed")
        self.assertIsNone(status.recipients["to1@example.com"].message_id)

    def test_failed_for_different_reasons(self):
        results = [{"Status": "FAILED", "Error": "Oh"}, {"Status": "MESSAGE_REJECTED"}]
        with self.assertRaisesMessage(AnymailAPIError, "Oh; MESSAGE_REJECTED"):
            self.send_bulk(*results)
        with override_settings(ANYMAIL_IGNORE_RECIPIENT_STATUS=True):
            self.assertEqual(self.send_bulk(*results).status, {"failed"})

    def test_failed_for_the_same_reason(self):
        error = {"Status": "TEMPLATE_NOT_FOUND", "Error": "Template 'x' does not exist"}
        for results in ([error], [error, {**error, "Error": "other"}]):
            with self.assertRaisesMessage(AnymailAPIError, "Template 'x' does not exist") as e:
                self.send_bulk(*results, to=len(results))
            self.assertIs(e.exception.response, self.response)

    def test_failed_without_error_text(self):
        with self.assertRaisesMessage(AnymailAPIError, "TRANSIENT_FAILURE"):
            self.send_bulk({"Status": "TRANSIENT_FAILURE"}, {"Status": "TRANSIENT_FAILURE"})

    def test_wrong_number_of_results(self):
        for results in ([], [success()], [success()] * 3):
            with (
                self.subTest(len(results)),
                self.assertRaisesRegex(AnymailAPIError, rf"\b2 dest.*\b{len(results)} stat") as e,
            ):
                self.send_bulk(*results)
            self.assertIn(repr(self.response), str(e.exception))

    def test_no_to_recipients(self):
        self.mock_client.send_bulk_email.return_value = bulk_response()
        message = template_message(to=[], cc=["cc@example.com"])
        with self.assertRaises(AnymailRecipientsRefused):
            self.send(message)
        self.assertEqual(self.bulk_params["BulkEmailEntries"], [])


# ---------------------------------------------------------------------------------------------
# Over HTTP
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
class MotoTests(MotoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.aws_client("sesv2").create_email_identity(EmailIdentity="from@example.com")

    def sent(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.call_moto("GET", "data.json")["ses"]["RawMessage"]
        return messages

    def test_send_email(self):
        message = make_message(
            subject="Předmět",
            body="Prostý text",
            to=["Příjemce <to@bücher.example>"],
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
            metadata={"order": 5},
            tags=["receipt"],
        )
        message.attach("Größe.csv", "größe", "text/csv")
        self.assertEqual(EmailBackend().send_messages([message]), 1)
        [sent] = self.sent()
        self.assertEqual(message.anymail_status.message_id, sent["id"])
        self.assertEqual(message.anymail_status.status, {"queued"})
        self.assertLessEqual(
            {"to@xn--bcher-kva.example", "cc@example.com", "bcc@example.com"},
            set(sent["destinations"]),
        )
        mime = email.message_from_string(sent["raw_data"], policy=email.policy.default)
        self.assertEqual(mime["To"], "Příjemce <to@xn--bcher-kva.example>")
        self.assertEqual(mime["Subject"], "Předmět")
        self.assertEqual(mime["X-Tag"], "receipt")
        body, attachment = mime.iter_parts()  # type: ignore[attr-defined]
        self.assertEqual(body.get_content().rstrip("\n"), "Prostý text")
        self.assertEqual(attachment.get_filename(), "Größe.csv")

    def test_settings(self):
        self.send_refused("other@example.com")
        with override_settings(
            ANYMAIL={
                "AMAZON_SES_CLIENT_PARAMS": {
                    "region_name": "us-west-2",  # where the address is not verified
                    "config": {"retries": {"max_attempts": 1}},
                }
            }
        ):
            self.send_refused("from@example.com")
        self.assertEqual(self.sent(), [])

    def send_refused(self, from_email: str) -> None:
        message = make_message(from_email=from_email)
        with self.assertRaisesRegex(AnymailAPIError, "Did not have authority to send") as caught:
            EmailBackend().send_messages([message])
        self.assertEqual(caught.exception.response["Error"]["Code"], "MessageRejected")
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 400)


@tag("exhaustive")
@tag("amazon_ses")
class HttpTests(AwsTestCase):
    """What moto doesn't have: SendBulkEmail, and trouble."""

    def serve(self, *answers: Any) -> HttpServer:
        server = HttpServer(*answers)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def test_send_bulk_email(self):
        response = {"BulkEmailEntryResults": [success("1"), {"Status": "ACCOUNT_THROTTLED"}]}
        server = self.serve(Answer(body=json.dumps(response).encode()))
        message = template_message(
            from_email="Žižkov <from@example.com>",
            to=["Ann <ann@example.com>", "bo@example.com"],
            merge_data={"ann@example.com": {"first": "Ann"}},
            metadata={"name": "Zoë"},
            envelope_sender="bounces@example.com",
            tags=["receipt"],
        )
        backend = EmailBackend(
            client_params={"endpoint_url": server.url}, message_tag_name="campaign"
        )
        self.assertEqual(backend.send_messages([message]), 1)
        self.assertEqual(message.anymail_status.message_id, {"1", None})
        [request] = server.requests
        self.assertEqual((request.method, request.path), ("POST", "/v2/email/outbound-bulk-emails"))
        self.assertIn(
            f"django-anymail/{__version__}-amazon-ses", request.header("User-Agent") or ""
        )
        self.assertRegex(
            request.header("Authorization") or "",
            r"^AWS4-HMAC-SHA256 Credential=test-key-id/\d{8}/eu-central-1/ses/aws4_request,",
        )
        headers = [
            {"Name": "X-Metadata", "Value": '{"name": "Zo\\u00eb"}'},
            {"Name": "X-Tag", "Value": "receipt"},
        ]
        self.assertEqual(
            json.loads(request.body),
            {
                "FromEmailAddress": "=?utf-8?b?xb1pxb5rb3Y=?= <from@example.com>",
                "FeedbackForwardingEmailAddress": "bounces@example.com",
                "DefaultContent": {"Template": {"TemplateName": "receipt-v3"}},
                "DefaultEmailTags": [{"Name": "campaign", "Value": "receipt"}],
                "BulkEmailEntries": [
                    {
                        "Destination": {"ToAddresses": [to]},
                        "ReplacementEmailContent": {
                            "ReplacementTemplate": {"ReplacementTemplateData": data}
                        },
                        "ReplacementHeaders": headers,
                    }
                    for to, data in (
                        ("Ann <ann@example.com>", '{"first": "Ann"}'),
                        ("bo@example.com", "{}"),
                    )
                ],
            },
        )

    def test_error(self):
        error = b'{"message": "Maximum sending rate exceeded."}'
        answer = Answer(
            429,
            error,
            {
                "Content-Type": "application/json",
                "x-amzn-ErrorType": "TooManyRequestsException",
            },
        )
        server = self.serve(answer)
        backend = EmailBackend(client_params={"endpoint_url": server.url})
        with self.assertRaisesRegex(AnymailAPIError, "Maximum sending rate exceeded") as caught:
            backend.send_messages([make_message()])
        self.assertEqual(caught.exception.response["Error"]["Code"], "TooManyRequestsException")

    def assert_calls(self, count: int, *answers: Answer, config: Any = None, **env: str) -> None:
        """Send a message for each answer, and check how often that was asked for."""
        # boto3's own number of attempts
        environment = patch.dict("os.environ", {"AWS_MAX_ATTEMPTS": "3", **env})
        with environment, patch("time.sleep"):
            server = self.serve()
            with EmailBackend(client_params={"endpoint_url": server.url, "config": config}) as b:
                for answer in answers:
                    server.requests.clear()
                    server.answers = [answer]
                    with self.subTest(answer, config=config), self.assertRaises(AnymailAPIError):
                        b.send_messages([make_message()])
                    self.assertEqual(len(server.requests), count)

    def test_one_attempt(self):
        """Whatever goes wrong: the message may have been sent."""
        answers = [Answer(status) for status in (429, 500, 502, 503, 504)]
        self.assert_calls(1, *answers, Answer(close=True))
        self.assert_calls(1, Answer(stall=True), config={"read_timeout": 0.2})
        self.assert_calls(1, Answer(500), config=Config(connect_timeout=3))
        self.assert_calls(1, Answer(500), config={"retries": {}})
        self.assert_calls(1, Answer(500), AWS_RETRY_MODE="adaptive")

    def test_timeouts_under_a_strategy(self):
        for config, timeouts in ((None, (5, 30)), (Config(read_timeout=9), (5, 9))):
            options = {"client_params": {"region_name": "us-east-1", "config": config}}
            mailer = {"BACKEND": "anymail.backends.amazon_ses.EmailBackend", "OPTIONS": options}
            with (
                mailer_settings({"ses": mailer}),
                Failover(mailers=["ses"], duplicates="avoid") as strategy,
            ):
                used = strategy.target("ses").client.meta.config
            self.assertEqual((used.connect_timeout, used.read_timeout), timeouts)

    def test_retries_of_ones_own(self):
        retries = {"total_max_attempts": 2}
        self.assert_calls(2, Answer(500), config={"retries": retries})
        self.assert_calls(2, Answer(500), config=Config(retries=retries))
        self.assertEqual(retries, {"total_max_attempts": 2})

    def test_redirects_are_not_followed(self):
        with HttpServer() as other:
            # (urllib3 fails when it prepares for following boto3's 303.)
            statuses = (301, 302, 307, 308)
            headers = {"Location": f"{other.url}/elsewhere"}
            self.assert_calls(1, *(Answer(status, headers=headers) for status in statuses))
        self.assertEqual(other.requests, [])

    def test_not_an_answer_of_ses(self):
        for body in (b"<p>Hello</p>", b"{}", b"{"):
            with self.subTest(body):
                server = self.serve(Answer(body=body))
                backend = EmailBackend(client_params={"endpoint_url": server.url})
                with self.assertRaises(AnymailAPIError):
                    backend.send_messages([make_message()])

    def assert_configuration_error(self, problem: str, **options: Any) -> None:
        """Such errors come with the backend or with its client, and are never silent."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with self.assertRaisesRegex(AnymailConfigurationError, problem) as caught:
                EmailBackend(**options, fail_silently=True).open()
        for setting in ("AMAZON_SES_CLIENT_PARAMS", "AMAZON_SES_SESSION_PARAMS"):
            self.assertIn(setting, str(caught.exception))

    def test_wrong_parameters(self):
        for client_params, problem in (
            ({"region": "eu-central-1"}, "unexpected keyword argument 'region'"),
            ({"region_name": "eu central 1"}, "region_name 'eu central 1'"),
            ({"aws_access_key_id": "x"}, "missing: aws_secret_access_key"),
            ({"endpoint_url": "example"}, "Invalid endpoint: example"),
            ({"api_version": "1"}, "sesv2/1"),
            ({"config": {"timeout": 3}}, "unexpected keyword argument 'timeout'"),
            ({"config": {"retries": {"mode": "eager"}}}, "eager"),
            ({"config": {"retries": 3}}, "int"),
            ({"config": "eu-central-1"}, "mapping"),
            ("eu-central-1", "dict"),
        ):
            with self.subTest(client_params):
                self.assert_configuration_error(problem, client_params=client_params)
        self.assert_configuration_error("profile", session_params={"profile": "mail"})
        self.assert_configuration_error("mail", session_params={"profile_name": "mail"})

    def test_secrets_in_wrong_parameters(self):
        with self.assertRaises(AnymailConfigurationError) as caught:
            EmailBackend(client_params={"endpoint_url": "http://user:secret@"}).open()
        text = "".join(traceback.format_exception(caught.exception))
        self.assertIn("Invalid endpoint", text)
        self.assertNotIn("secret@", text)

    def test_no_region(self):
        with patch.dict("os.environ"):
            del os.environ["AWS_DEFAULT_REGION"]
            self.assert_configuration_error("region")

    def test_no_connection(self):
        with HttpServer() as server:
            url = server.url
        backend = EmailBackend(client_params={"endpoint_url": url})
        with self.assertRaisesRegex(AnymailAPIError, "Could not connect") as caught:
            backend.send_messages([make_message()])
        self.assertIsNone(caught.exception.response)

    def test_parameters_that_boto3_refuses(self):
        backend = EmailBackend(client_params={"endpoint_url": "http://127.0.0.1:1"})
        message = make_message(esp_extra={"MadeUp": 1})
        with self.assertRaisesRegex(AnymailAPIError, "MadeUp"):
            backend.send_messages([message])
