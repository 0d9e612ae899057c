"""Amazon SES's webhooks, beyond the fixture pairs and what all webhooks have in common."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import ANY, Mock, call, patch

from django.test import Client, RequestFactory, SimpleTestCase, override_settings, tag
from django.urls import reverse

from anymail import __version__
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInsecureWebhookWarning,
    AnymailWebhookValidationFailure,
)
from anymail.webhooks import amazon_ses, decoding
from anymail.webhooks.amazon_ses import AmazonSESInboundWebhookView, AmazonSESTrackingWebhookView

from ..aws import REGION, AwsTestCase, MotoTestCase
from ..http_server import Answer, HttpServer
from ..utils import skip_without
from .harness import BASIC_AUTH, WebhookRequest, WebhookTestCase, basic_auth_header

TOPIC_ARN = "arn:aws:sns:us-west-2:123456789012:ses-events"
TRACKING = "anymail:amazon_ses_tracking_webhook"
INBOUND = "anymail:amazon_ses_inbound_webhook"

needs_boto3 = skip_without("boto3")
needs_encryption = skip_without("boto3", "s3_encryption")


def sns_request(
    url_name: str = TRACKING, message: Any = None, headers: dict[str, str] | None = None, **sns: Any
) -> WebhookRequest:
    """Return a call by SNS, with an SES event in a notification, or whatever ``sns`` says."""
    body: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC_ARN,
        "Timestamp": "2031-03-04T05:06:07.089Z",
        **({} if message is None else {"Message": json.dumps(message)}),
        **sns,
    }
    request = WebhookRequest(
        "inbound" if url_name == INBOUND else "tracking",
        reverse(url_name),
        content_type="text/plain; charset=UTF-8",
        json={key: value for key, value in body.items() if value is not None},
    )
    request.headers = {
        "x-amz-sns-message-type": str(body["Type"]),
        "x-amz-sns-message-id": str(body["MessageId"]),
        **(headers or {}),
    }
    return request


def confirmation(url_name: str = TRACKING, **sns: Any) -> WebhookRequest:
    return sns_request(url_name, Type="SubscriptionConfirmation", Token="SECRET_TOKEN", **sns)


SEND_EVENT = {"eventType": "Send", "mail": {"destination": ["to@example.com"]}, "send": {}}


def received(**action: Any) -> dict[str, Any]:
    """Return SES's notification of an inbound message."""
    return {
        "notificationType": "Received",
        "mail": {"source": "from@example.com", "messageId": "inbound-id"},
        "receipt": {"recipients": ["to@example.com"], "action": action},
    }


class AmazonSESWebhookTestCase(WebhookTestCase):
    def setUp(self) -> None:
        super().setUp()
        override = override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH})
        override.enable()
        self.addCleanup(override.disable)

    def assert_refused(self, request: WebhookRequest, *texts: str) -> None:
        """Check that there's a 400, with texts in the log for its reason."""
        logger = "django.security.AnymailWebhookValidationFailure"
        with self.assertLogs(logger, "ERROR") as logs:
            response = self.call(request)
        self.assertEqual(response.status_code, 400)
        self.assert_no_signals()
        for text in texts:
            self.assertIn(text, logs.output[0])

    def assert_timeouts(self, make_call: Callable[[], Any]) -> None:
        """Check the timeouts of the boto3 client that a call makes (which is a mock)."""
        from botocore.config import Config

        for timeout, config, expected in (
            (None, {}, (None, None)),
            (5, {}, (5, 5)),
            ((1, 2.5), {}, (1, 2.5)),
            ((1, 2.5), {"read_timeout": 7}, (1, 7)),
            (5, Config(connect_timeout=3), (3, 5)),
            (None, {"connect_timeout": 3, "read_timeout": 7}, (3, 7)),
            (5, {"retries": {"max_attempts": 0}}, (5, 5)),
            ("default", {}, (30, 30)),
        ):
            settings = {} if timeout == "default" else {"REQUESTS_TIMEOUT": timeout}
            if config:
                settings["AMAZON_SES_CLIENT_PARAMS"] = {"config": config}
            with (
                self.subTest(timeout=timeout, config=config),
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings),
            ):
                make_call()
                used = self.mock_client_factory.call_args.kwargs["config"]  # type: ignore[attr-defined]
                self.assertEqual((used.connect_timeout, used.read_timeout), expected)
                self.assertIn("django-anymail", used.user_agent_extra)


# ---------------------------------------------------------------------------------------------
# Optional packages
# ---------------------------------------------------------------------------------------------

NEED_BOTO3 = ("boto3", "ClientError", "AnymailBotoClientAPIError")
NEED_S3_ENCRYPTION = (
    "S3EncryptionClient",
    "S3EncryptionClientConfig",
    "CommitmentPolicy",
    "KmsKeyring",
    "S3EncryptionClientSecurityError",
    "AnymailBotoClientSecurityError",
)


class MissingPackageTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.forget_classes()
        self.addCleanup(self.forget_classes)

    def forget_classes(self) -> None:
        amazon_ses._client_api_error_class.cache_clear()
        amazon_ses._security_error_class.cache_clear()

    def without(self, *names: str) -> Any:
        return patch.dict(sys.modules, dict.fromkeys(names))

    def assert_needs(self, package: str, error: Exception) -> None:
        self.assertIsInstance(error, AnymailImproperlyInstalled)
        self.assertRegex(str(error), rf"{package}.*django-anymail\[amazon-ses\]")

    @override_settings(ANYMAIL={"WEBHOOK_SECRET": "user:password"})
    def test_views_need_boto3(self):
        with self.without("boto3", "botocore", "botocore.config"):
            for url_name in (TRACKING, INBOUND):
                for method in ("post", "head"):
                    with (
                        self.subTest(url_name=url_name, method=method),
                        self.assertRaises(AnymailImproperlyInstalled) as caught,
                    ):
                        getattr(Client(), method)(reverse(url_name))
                    self.assert_needs("boto3", caught.exception)

    def test_names(self):
        modules = {name for name in sys.modules if name.partition(".")[0] == "s3_encryption"}
        for names, package, missing in (
            (NEED_BOTO3, "boto3", ("boto3", "botocore.exceptions")),
            (
                NEED_S3_ENCRYPTION,
                "amazon-s3-encryption-client-python",
                ("s3_encryption", "s3_encryption.exceptions", *modules),
            ),
        ):
            for name in names:
                with self.subTest(name), self.without(*missing):
                    with self.assertRaises(AnymailImproperlyInstalled) as caught:
                        getattr(amazon_ses, name)
                    self.assert_needs(package, caught.exception)

    def test_unknown_name(self):
        with self.assertRaisesRegex(AttributeError, "made_up"):
            getattr(amazon_ses, "made_up")  # noqa: B009

    @needs_boto3
    def test_imported_only_when_used(self):
        code = (
            "import sys; from django.conf import settings; settings.configure(); "
            "import anymail.urls, anymail.webhooks.amazon_ses; "
            "print({'boto3', 'botocore', 's3_encryption', 'cryptography'} & set(sys.modules))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(result.stdout, "set()\n")

    @needs_encryption
    def test_names_with_packages(self):
        import botocore.exceptions
        import s3_encryption.exceptions

        for name in (*NEED_BOTO3, *NEED_S3_ENCRYPTION):
            with self.subTest(name):
                self.assertIsNotNone(getattr(amazon_ses, name))
                self.assertIs(getattr(amazon_ses, name), getattr(amazon_ses, name))
        for error_class, base in (
            (amazon_ses.AnymailBotoClientAPIError, botocore.exceptions.ClientError),
            (
                amazon_ses.AnymailBotoClientSecurityError,
                s3_encryption.exceptions.S3EncryptionClientSecurityError,
            ),
        ):
            self.assertTrue(issubclass(error_class, base))
            self.assertTrue(issubclass(error_class, AnymailAPIError))


# ---------------------------------------------------------------------------------------------
# SNS
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
@needs_boto3
class SNSTests(AmazonSESWebhookTestCase):
    def test_auth_challenge(self):
        for request in (
            sns_request(message=SEND_EVENT),
            confirmation(),
            WebhookRequest("tracking", reverse(TRACKING), text="junk"),
        ):
            response = self.call(request, authorization=None)
            self.assertEqual(response.status_code, 401)
            self.assertEqual(response["WWW-Authenticate"], 'Basic realm="Anymail WEBHOOK_SECRET"')
        self.assert_no_signals()

    def test_no_auth_challenge_for_wrong_auth(self):
        response = self.call(sns_request(message=SEND_EVENT), basic_auth_header("other:secret"))
        self.assertEqual(response.status_code, 400)
        self.assertNotIn("WWW-Authenticate", response)

    def test_no_auth_challenge_without_secret(self):
        with self.anymail_settings():
            response = self.call(
                sns_request(message=SEND_EVENT), None, AnymailInsecureWebhookWarning
            )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(len(self.received), 1)

    def test_auth_comes_before_parsing(self):
        request = sns_request(message=SEND_EVENT, headers={"x-amz-sns-message-type": "Other"})
        with self.assertLogs("django.security", "ERROR") as logs:
            self.call(request, basic_auth_header("other:secret"))
        self.assertIn("basic auth", logs.output[0])

    def test_type_mismatch(self):
        self.assert_refused(
            sns_request(message=SEND_EVENT, headers={"x-amz-sns-message-type": "Other"}),
            "'Other'",
            "'Notification'",
        )
        request = sns_request(message=SEND_EVENT)
        del request.headers["x-amz-sns-message-type"]
        self.assert_refused(request, "None", "'Notification'")

    def test_unknown_type(self):
        self.assert_refused(sns_request(Type="Made-up"), "'Made-up'")
        request = sns_request(Type=None)
        del request.headers["x-amz-sns-message-type"]
        self.assert_refused(request, "None")

    def test_message_id_mismatch(self):
        self.assert_refused(
            sns_request(message=SEND_EVENT, headers={"x-amz-sns-message-id": "other-id"}),
            "'other-id'",
            "'22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324'",
        )

    def test_raw_message_delivery(self):
        """The topic's subscription must not have this option."""
        request = WebhookRequest("tracking", reverse(TRACKING), json=SEND_EVENT)
        request.headers = {
            "x-amz-sns-message-type": "Notification",
            "x-amz-sns-message-id": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "x-amz-sns-rawdelivery": "true",
        }
        self.assert_refused(request, "'Notification'", "None")

    def test_malformed_message(self):
        for message in ("", "text", "[]", "null", '"text"', "{", '{"eventType": "Send"} more'):
            for url_name in (TRACKING, INBOUND):
                with self.subTest(message=message, url_name=url_name):
                    self.assert_refused(sns_request(url_name, Message=message))
        self.assert_refused(sns_request())

    def test_message_with_trailing_newline(self):
        self.call(sns_request(Message=json.dumps(SEND_EVENT) + "\n"))
        self.assertEqual(len(self.received), 1)

    def test_other_charsets(self):
        request = sns_request(
            message={**SEND_EVENT, "mail": {"destination": ["a@b.c"], "messageId": "ä"}}
        )
        raw = json.dumps(request.json).replace("\\\\u00e4", "ä")
        self.assertIn("ä", raw)
        request.json = None
        for charset, encoding in (
            ("iso-8859-1", "iso-8859-1"),
            ("made-up", "utf-8"),
            ("utf-8", "utf-8"),
        ):
            with self.subTest(charset):
                self.received.clear()
                request.content_type = f"text/plain; charset={charset}"
                request.raw = raw.encode(encoding)
                self.assertEqual(self.call(request).status_code, 200)
                self.assertEqual(self.received[0].event.message_id, "ä")
        self.received.clear()
        request.content_type = "text/plain; charset=hex"  # which is not for text
        self.assert_refused(request, "Invalid text")
        request.content_type = "text/plain"
        request.raw = raw.encode("iso-8859-1")
        self.assert_refused(request, "Invalid text")

    def test_parsed_once(self):
        with patch.object(decoding, "parse_json", side_effect=decoding.parse_json) as mock:
            self.call(sns_request(message=SEND_EVENT))
        self.assertEqual(mock.call_count, 2)  # the body, and the message in it

    def test_parsed_by_others(self):
        """With a view or without one, such as in a middleware"""
        request = RequestFactory().post("/", {"Type": "x"}, content_type="application/json")
        for parse in (
            AmazonSESInboundWebhookView._parse_sns_message,
            AmazonSESTrackingWebhookView(basic_auth=BASIC_AUTH)._parse_sns_message,
        ):
            self.assertEqual(parse(request), {"Type": "x"})
        self.assertIs(AmazonSESInboundWebhookView._parse_sns_message(request), parse(request))

    def test_base_view_has_no_converter(self):
        view = amazon_ses.AmazonSESBaseWebhookView()
        with self.assertRaises(NotImplementedError):
            view.esp_to_anymail_events({}, {})

    def test_settings_are_read_for_each_call(self):
        request = confirmation()
        with (
            patch.object(AmazonSESTrackingWebhookView, "_create_client") as mock,
            self.assertLogs("anymail.webhooks"),  # that it was ignored
        ):
            for confirms in (False, True):
                with self.anymail_settings(
                    WEBHOOK_SECRET=BASIC_AUTH,
                    AMAZON_SES_AUTO_CONFIRM_SNS_SUBSCRIPTIONS=confirms,
                ):
                    self.call(request)
                self.assertEqual(mock.called, confirms)


# ---------------------------------------------------------------------------------------------
# Confirmation of subscriptions
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
@needs_boto3
class ConfirmationTests(AmazonSESWebhookTestCase):
    def setUp(self) -> None:
        super().setUp()
        patcher = patch("anymail.webhooks.amazon_ses.boto3.session.Session", autospec=True)
        self.mock_session = patcher.start()
        self.addCleanup(patcher.stop)
        self.mock_client_factory = self.mock_session.return_value.client
        self.mock_client = self.mock_client_factory.return_value

    def test_confirmation(self):
        for url_name in (TRACKING, INBOUND):
            with self.subTest(url_name):
                response = self.call(confirmation(url_name))
                self.assertEqual(response.status_code, 200)
                self.mock_session.assert_called_once_with()
                self.mock_client_factory.assert_called_once_with(
                    "sns", config=ANY, region_name="us-west-2"
                )
                config = self.mock_client_factory.call_args.kwargs["config"]
                self.assertEqual(
                    config.user_agent_extra, f"django-anymail/{__version__}-amazon-ses"
                )
                self.assertEqual(
                    self.mock_client.mock_calls,
                    [
                        call.confirm_subscription(
                            TopicArn=TOPIC_ARN,
                            Token="SECRET_TOKEN",
                            AuthenticateOnUnsubscribe="true",
                        ),
                        call.close(),
                    ],
                )
                self.mock_session.reset_mock()
        self.assert_no_signals()

    def test_params(self):
        params = {"region_name": "eu-central-1", "aws_access_key_id": "id"}
        with self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH,
            AMAZON_SES_CLIENT_PARAMS=params,
            AMAZON_SES_SESSION_PARAMS={"profile_name": "mail"},
        ):
            self.call(confirmation())
        self.mock_session.assert_called_once_with(profile_name="mail")
        self.mock_client_factory.assert_called_once_with(
            "sns", config=ANY, region_name="us-west-2", aws_access_key_id="id"
        )
        self.assertEqual(params, {"region_name": "eu-central-1", "aws_access_key_id": "id"})

    def test_params_of_as_view(self):
        view = AmazonSESTrackingWebhookView.as_view(
            basic_auth=BASIC_AUTH, session_params={"profile_name": "x"}, client_params={"verify": 1}
        )
        request = confirmation()
        http_request = RequestFactory().generic(
            "POST",
            request.path,
            request.body,
            request.effective_content_type,
            headers={**request.headers, "Authorization": basic_auth_header()},
        )
        with self.anymail_settings():
            response = view(http_request)
        self.assertEqual(response.status_code, 200)
        self.mock_session.assert_called_once_with(profile_name="x")
        self.mock_client_factory.assert_called_once_with(
            "sns", config=ANY, region_name="us-west-2", verify=1
        )

    def test_timeouts(self):
        self.assert_timeouts(lambda: self.call(confirmation()))

    def test_failure(self):
        from botocore.exceptions import ClientError

        error = ClientError({"Error": {"Code": "InvalidParameter"}}, "ConfirmSubscription")
        self.mock_client.confirm_subscription.side_effect = error
        with self.assertRaises(ClientError) as caught:
            self.call(confirmation())
        self.assertIs(caught.exception, error)
        self.mock_client.close.assert_called_once_with()

    def test_off(self):
        setting = "AMAZON_SES_AUTO_CONFIRM_SNS_SUBSCRIPTIONS"
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **{setting: False}),
            self.assertLogs("anymail.webhooks", "WARNING") as logs,
        ):
            self.assertEqual(self.call(confirmation()).status_code, 200)
        for text in (TOPIC_ARN, setting, "delete the subscription"):
            self.assertIn(text, logs.output[0])
        self.assertNotIn("SECRET_TOKEN", logs.output[0])
        self.mock_session.assert_not_called()

    def test_needs_secret(self):
        logger = "django.security.AnymailWebhookValidationFailure"
        with (
            self.anymail_settings(),
            self.assertLogs(logger, "ERROR") as logs,
        ):
            response = self.call(confirmation(), None, AnymailInsecureWebhookWarning)
        self.assertEqual(response.status_code, 400)
        for text in (
            "SubscriptionConfirmation",
            TOPIC_ARN,
            "WEBHOOK_SECRET",
            "AMAZON_SES_VERIFY_SNS_SIGNATURE",
            "AMAZON_SES_SNS_TOPIC_ARNS",
            "delete the subscription",
        ):
            self.assertIn(text, logs.output[0])
        self.assertNotIn("SECRET_TOKEN", logs.output[0])
        self.mock_session.assert_not_called()

    def test_wrong_secret(self):
        response = self.call(confirmation(), basic_auth_header("other:secret"))
        self.assertEqual(response.status_code, 400)
        self.mock_session.assert_not_called()

    def test_long_topic(self):
        """What strangers send doesn't fill logs."""
        request = confirmation(TopicArn="key" * 40_000)
        for settings, warning in (
            ({}, AnymailInsecureWebhookWarning),
            ({"WEBHOOK_SECRET": BASIC_AUTH}, None),
        ):
            with (
                self.subTest(settings=settings),
                self.anymail_settings(**settings),
                self.assertLogs("django.security", "ERROR") as logs,
            ):
                args = (None, warning) if warning else ()
                self.assertEqual(self.call(request, *args).status_code, 400)
            self.assertIn("SubscriptionConfirmation", logs.records[0].getMessage())
            self.assertLess(len(logs.records[0].getMessage()), 1000)

    def test_malformed(self):
        for topic_arn in (
            "",
            "topic",
            "arn:aws:sns:us-west-2:123456789012",
            "arn:aws:sns:us-west-2:123456789012:topic:more",
            "arn:aws:sns::123456789012:topic",
            "arn:aws:sns:evil.example/:123456789012:topic",
            "arn:aws:sns:us-west-2\n:123456789012:topic",
            ["arn:aws:sns:us-west-2:123456789012:topic"],
            None,
        ):
            with self.subTest(topic_arn=topic_arn):
                self.assert_refused(confirmation(TopicArn=topic_arn))
        self.assert_refused(confirmation(TopicArn="arn:made:up"), "arn:made:up")
        request = confirmation()
        for token in (None, "", ["a"]):
            request.json["Token"] = token
            self.assert_refused(request)
        self.mock_session.assert_not_called()

    def test_unsubscribe_confirmation(self):
        request = sns_request(Type="UnsubscribeConfirmation", Token="SECRET_TOKEN")
        self.assertEqual(self.call(request).status_code, 200)
        self.mock_session.assert_not_called()
        self.assert_no_signals()


# ---------------------------------------------------------------------------------------------
# Tracking
# ---------------------------------------------------------------------------------------------


@tag("amazon_ses")
@needs_boto3
class TrackingTests(AmazonSESWebhookTestCase):
    def events(self, **ses_event: Any) -> list[Any]:
        self.received.clear()
        self.assertEqual(self.call(sns_request(message=ses_event)).status_code, 200)
        return [received.event for received in self.received]

    def test_missing_details(self):
        """What's missing is no reason to lose an event."""
        mail = {"destination": ["a@example.com"]}
        for event_type in ("Reject", "Open", "Click", "Rendering Failure", "Send", "Subscription"):
            for details in ({}, {event_type.lower(): None}, {"failure": []}):
                with self.subTest(event_type, details=details):
                    [event] = self.events(eventType=event_type, mail=mail, **details)
                    self.assertEqual(event.recipient, "a@example.com")
        for bounce, description in (
            ({}, None),
            ({"bounceType": "Permanent"}, "Permanent"),
            ({"bounceSubType": "General"}, "General"),
        ):
            bounce["bouncedRecipients"] = [{"emailAddress": "a@example.com"}]
            [event] = self.events(eventType="Bounce", bounce=bounce)
            self.assertEqual(event.description, description)

    def test_missing_recipients(self):
        for event_type, name, recipients in (
            ("Bounce", "bounce", "bouncedRecipients"),
            ("Complaint", "complaint", "complainedRecipients"),
            ("Delivery", "delivery", "recipients"),
            ("DeliveryDelay", "deliveryDelay", "delayedRecipients"),
        ):
            for details in ({}, {recipients: None}, {recipients: {}}, [], None):
                message = {"eventType": event_type, name: details}
                with self.subTest(message):
                    self.assert_refused(sns_request(message=message), recipients)
            self.assertEqual(self.events(eventType=event_type, **{name: {recipients: []}}), [])

    def test_type_takes_precedence(self):
        mail = {"destination": ["a@example.com"]}
        [event] = self.events(eventType="Send", notificationType="Received", mail=mail)
        self.assertEqual(event.event_type, "sent")

    def test_events_share_nothing(self):
        headers = [
            {"name": "X-Tag", "value": "tag"},
            {"name": "X-Metadata", "value": '{"a": 1}'},
        ]
        first, second = self.events(
            eventType="Send", mail={"destination": ["a@b.c", "d@e.f"], "headers": headers}
        )
        self.assertEqual(first.tags, second.tags)
        self.assertIsNot(first.tags, second.tags)
        self.assertEqual(first.metadata, second.metadata)
        self.assertIsNot(first.metadata, second.metadata)


# ---------------------------------------------------------------------------------------------
# Inbound
# ---------------------------------------------------------------------------------------------

MIME = (
    "From: from@example.com\r\n"
    "Subject: Grüße\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "\r\n"
    "Bödy\r\n"
).encode()

S3_EVENT = received(type="S3", bucketName="mail-in", objectKey="in/inbound-id")


@tag("amazon_ses")
@needs_boto3
class SpamTests(AmazonSESWebhookTestCase):
    def test_verdicts(self):
        for status, expected in (
            ("PASS", False),
            ("pass", False),
            ("FAIL", True),
            ("Fail", True),
            ("GRAY", None),
            ("PROCESSING_FAILED", None),
            ("DISABLED", None),
            (None, None),
            (5, None),
        ):
            with self.subTest(status):
                self.received.clear()
                message = received(type="SNS")
                message["receipt"]["spamVerdict"] = {"status": status}
                self.call(sns_request(INBOUND, message))
                [received_signal] = self.received
                self.assertIs(received_signal.event.message.spam_detected, expected)


class MockedS3TestCase(AmazonSESWebhookTestCase):
    """Has boto3's session replaced by a mock."""

    def setUp(self) -> None:
        super().setUp()
        from botocore.response import StreamingBody

        patcher = patch("anymail.webhooks.amazon_ses.boto3.session.Session", autospec=True)
        self.mock_session = patcher.start()
        self.addCleanup(patcher.stop)
        self.mock_s3 = Mock()
        self.mock_kms = Mock()
        self.mock_client_factory = self.mock_session.return_value.client
        self.mock_client_factory.side_effect = lambda service, **params: {
            "s3": self.mock_s3,
            "kms": self.mock_kms,
        }[service]
        self.body = Mock(wraps=StreamingBody(io.BytesIO(MIME), len(MIME)))
        self.addCleanup(self.body.close)
        self.mock_s3.get_object.return_value = {"Body": self.body, "Metadata": {}}

    def assert_error(self, request: WebhookRequest | None = None) -> Any:
        with self.assertRaises(AnymailAPIError) as caught:
            self.call(request or sns_request(INBOUND, S3_EVENT))
        self.assert_no_signals()
        self.mock_s3.close.assert_called_once_with()
        error = caught.exception
        self.assertEqual(error.esp_name, "Amazon SES")
        self.assertIn("AmazonSESInboundWebhookView", str(error))
        self.assertIn("S3 object 'mail-in:in/inbound-id'", str(error))
        return error


@tag("amazon_ses")
@needs_boto3
class S3Tests(MockedS3TestCase):
    def test_download(self):
        response = self.call(sns_request(INBOUND, S3_EVENT))
        self.assertEqual(response.status_code, 200)
        self.mock_session.assert_called_once_with()
        self.mock_client_factory.assert_called_once_with("s3", config=ANY)
        self.mock_s3.get_object.assert_called_once_with(Bucket="mail-in", Key="in/inbound-id")
        self.body.iter_chunks.assert_called_once_with(65536)
        self.body.close.assert_called_once_with()
        self.mock_s3.close.assert_called_once_with()
        [received_signal] = self.received
        message = received_signal.event.message
        self.assertEqual(message.subject, "Grüße")
        self.assertEqual(message.text, "Bödy\n")
        self.assertEqual(message.envelope_sender, "from@example.com")
        self.assertEqual(message.envelope_recipient, "to@example.com")

    def test_params(self):
        with self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH,
            AMAZON_SES_CLIENT_PARAMS={"region_name": "eu-west-1"},
            AMAZON_SES_SESSION_PARAMS={"profile_name": "mail"},
            AMAZON_SES_DOWNLOAD_CHUNK_SIZE=10,
        ):
            self.call(sns_request(INBOUND, S3_EVENT))
        self.mock_session.assert_called_once_with(profile_name="mail")
        self.mock_client_factory.assert_called_once_with("s3", region_name="eu-west-1", config=ANY)
        self.body.iter_chunks.assert_called_once_with(10)
        self.assertEqual(self.received[0].event.message.subject, "Grüße")

    def test_timeouts(self):
        from botocore.response import StreamingBody

        def make_call() -> None:
            body = StreamingBody(io.BytesIO(MIME), len(MIME))
            self.mock_s3.get_object.return_value["Body"] = body
            self.call(sns_request(INBOUND, S3_EVENT))

        self.assert_timeouts(make_call)

    def test_size_limit(self):
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, INBOUND_MAX_BYTES=len(MIME) - 1),
            self.assertRaisesRegex(AnymailAPIError, "INBOUND_MAX_BYTES"),
        ):
            self.call(sns_request(INBOUND, S3_EVENT))
        self.assert_no_signals()
        self.body.close.assert_called_once_with()

    def test_just_within_the_size_limit(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, INBOUND_MAX_BYTES=len(MIME)):
            self.assertEqual(self.call(sns_request(INBOUND, S3_EVENT)).status_code, 200)

    def client_error(self) -> Any:
        from botocore.exceptions import ClientError

        return ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "GetObject")

    @tag("exhaustive")
    def test_client_error(self):
        error = self.client_error()
        self.mock_s3.get_object.side_effect = error
        exception = self.assert_error()
        self.assertIsInstance(exception, type(error))
        self.assertIsInstance(exception, amazon_ses.AnymailBotoClientAPIError)
        self.assertIs(exception.__cause__, error)
        self.assertEqual(exception.response, error.response)
        self.assertEqual(exception.operation_name, "GetObject")
        self.assertIn("couldn't download", str(exception))
        self.assertIn(
            "ClientError: An error occurred (403) when calling the GetObject operation: Forbidden",
            str(exception),
        )
        copied = pickle.loads(pickle.dumps(exception))
        self.assertIs(type(copied), type(exception))
        self.assertEqual(copied.args, exception.args)
        self.assertEqual(copied.response, exception.response)

    def test_error_while_reading(self):
        def chunks(size: int) -> Any:
            yield MIME[:10]
            raise self.client_error()

        self.body.iter_chunks = chunks
        exception = self.assert_error()
        self.assertIsInstance(exception, amazon_ses.AnymailBotoClientAPIError)
        self.body.close.assert_called_once_with()

    def test_other_errors(self):
        from botocore.exceptions import NoCredentialsError, ReadTimeoutError

        for error in (
            NoCredentialsError(),
            ReadTimeoutError(endpoint_url="https://s3.example.com"),
        ):
            with self.subTest(error):
                self.mock_s3.reset_mock()
                self.mock_s3.get_object.side_effect = error
                exception = self.assert_error()
                self.assertIs(type(exception), AnymailAPIError)
                self.assertIs(exception.__cause__, error)
                self.assertIn(str(error), str(exception))

    def test_errors_without_encryption_client(self):
        modules = {name for name in sys.modules if name.partition(".")[0] == "s3_encryption"}
        with patch.dict(sys.modules, dict.fromkeys({"s3_encryption", *modules})):
            self.call(sns_request(INBOUND, S3_EVENT))
            self.assertEqual(len(self.received), 1)
            self.received.clear()
            self.mock_s3.reset_mock()
            self.mock_s3.get_object.side_effect = self.client_error()
            self.assert_error()
            # Not caught:
            self.mock_s3.get_object.side_effect = ZeroDivisionError
            with self.assertRaises(ZeroDivisionError):
                self.call(sns_request(INBOUND, S3_EVENT))
            with (
                self.anymail_settings(
                    WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_INBOUND_KMS_KEY_ID="key-id"
                ),
                self.assertRaises(AnymailImproperlyInstalled) as caught,
            ):
                self.call(sns_request(INBOUND, S3_EVENT))
        self.assertRegex(
            str(caught.exception),
            r"amazon-s3-encryption-client-python.*django-anymail\[amazon-ses\]",
        )
        self.assertEqual(self.mock_s3.close.call_count, 3)
        self.mock_kms.close.assert_called_once_with()

    def test_encrypted_without_key(self):
        self.mock_s3.get_object.return_value["Metadata"] = {"x-amz-key-v2": "key"}
        with self.assertRaisesRegex(
            AnymailConfigurationError, r"mail-in:in/inbound-id.*AMAZON_SES_INBOUND_KMS_KEY_ID"
        ):
            self.call(sns_request(INBOUND, S3_EVENT))
        self.assert_no_signals()
        self.body.iter_chunks.assert_not_called()
        self.body.close.assert_called_once_with()
        self.mock_s3.close.assert_called_once_with()

    def test_no_metadata(self):
        del self.mock_s3.get_object.return_value["Metadata"]
        self.call(sns_request(INBOUND, S3_EVENT))
        self.assertEqual(len(self.received), 1)

    def test_malformed_action(self):
        for action in (
            {},
            {"bucketName": "b"},
            {"objectKey": "k"},
            {"bucketName": 1, "objectKey": "k"},
        ):
            with self.subTest(action):
                self.assert_refused(sns_request(INBOUND, received(type="S3", **action)))
        self.mock_session.assert_not_called()

    def test_overridden_download(self):
        class View(AmazonSESInboundWebhookView):
            def download_s3_object(self, bucket_name: str, object_key: str) -> Any:
                return [f"Subject: {bucket_name} {object_key}\n".encode(), b"\n"]

        view = View(basic_auth=BASIC_AUTH)
        [event] = view.esp_to_anymail_events(S3_EVENT, {})
        self.assertEqual(event.message.subject, "mail-in in/inbound-id")
        self.mock_session.assert_not_called()


@tag("amazon_ses")
@needs_encryption
class EncryptionClientTests(MockedS3TestCase):
    """How the encryption client is called, and what becomes of its errors."""

    def setUp(self) -> None:
        super().setUp()
        settings = self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_INBOUND_KMS_KEY_ID="alias/aws/ses"
        )
        settings.__enter__()
        self.addCleanup(settings.__exit__, None, None, None)
        for name in ("S3EncryptionClient", "S3EncryptionClientConfig", "KmsKeyring"):
            patcher = patch(f"anymail.webhooks.amazon_ses.{name}", autospec=True)
            setattr(self, name, patcher.start())
            self.addCleanup(patcher.stop)
        self.get_object = self.S3EncryptionClient.return_value.get_object
        self.get_object.return_value = {"Body": self.body, "Metadata": {"x-amz-key-v2": "key"}}

    def test_download(self):
        self.call(sns_request(INBOUND, S3_EVENT))
        self.mock_session.assert_called_once_with()
        self.assertEqual(
            self.mock_client_factory.call_args_list,
            [call("s3", config=ANY), call("kms", config=ANY)],
        )
        for client_call in self.mock_client_factory.call_args_list:
            self.assertEqual(client_call.kwargs["config"].read_timeout, 30)
        self.KmsKeyring.assert_called_once_with(
            self.mock_kms, "alias/aws/ses", enable_legacy_wrapping_algorithms=True
        )
        self.S3EncryptionClientConfig.assert_called_once_with(
            self.KmsKeyring.return_value,
            commitment_policy=amazon_ses.CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT,
            enable_delayed_authentication=True,
        )
        self.S3EncryptionClient.assert_called_once_with(
            self.mock_s3, self.S3EncryptionClientConfig.return_value
        )
        self.get_object.assert_called_once_with(Bucket="mail-in", Key="in/inbound-id")
        self.mock_s3.get_object.assert_not_called()
        self.body.iter_chunks.assert_called_once_with(65536)
        self.body.close.assert_called_once_with()
        self.mock_kms.close.assert_called_once_with()
        self.mock_s3.close.assert_called_once_with()
        self.assertEqual(self.received[0].event.message.subject, "Grüße")

    def test_security_error(self):
        from s3_encryption.exceptions import (
            S3EncryptionClientError,
            S3EncryptionClientSecurityError,
        )

        error = S3EncryptionClientSecurityError("made-up problem")
        wrapped = S3EncryptionClientError("Failed to retrieve: made-up problem")
        wrapped.__cause__ = error
        for raised in (error, wrapped):
            with self.subTest(raised):
                self.mock_s3.reset_mock()
                self.get_object.side_effect = raised
                exception = self.assert_error()
                self.assertIsInstance(exception, S3EncryptionClientSecurityError)
                self.assertIsInstance(exception, amazon_ses.AnymailBotoClientSecurityError)
                self.assertIs(exception.__cause__, raised)
                self.assertIn("failed decrypting", str(exception))
                self.assertIn("made-up problem", str(exception))
                copied = pickle.loads(pickle.dumps(exception))
                self.assertIs(type(copied), type(exception))
                self.assertEqual(copied.args, exception.args)

    def test_security_error_at_the_end(self):
        from s3_encryption.exceptions import S3EncryptionClientSecurityError

        def chunks(size: int) -> Any:
            yield MIME
            raise S3EncryptionClientSecurityError("tag mismatch")

        self.body.iter_chunks = chunks
        exception = self.assert_error()
        self.assertIsInstance(exception, amazon_ses.AnymailBotoClientSecurityError)
        self.body.close.assert_called_once_with()
        self.mock_kms.close.assert_called_once_with()

    def test_wrapped_client_error(self):
        from botocore.exceptions import ClientError
        from s3_encryption.exceptions import S3EncryptionClientError

        error = S3EncryptionClientError("Failed to retrieve: An error occurred (AccessDenied)")
        error.__cause__ = ClientError({"Error": {"Code": "AccessDenied"}}, "Decrypt")
        self.get_object.side_effect = error
        exception = self.assert_error()
        self.assertIsInstance(exception, amazon_ses.AnymailBotoClientAPIError)
        self.assertIs(exception.__cause__, error)
        self.assertEqual(exception.response["Error"]["Code"], "AccessDenied")
        self.assertEqual(exception.operation_name, "Decrypt")
        self.assertIn("couldn't download", str(exception))
        self.assertIn("An error occurred (AccessDenied)", str(exception))

    def test_other_encryption_client_error(self):
        from s3_encryption.exceptions import S3EncryptionClientError

        self.get_object.side_effect = S3EncryptionClientError("not encrypted")
        exception = self.assert_error()
        self.assertIs(type(exception), AnymailAPIError)
        self.assertIn("not encrypted", str(exception))


# ---------------------------------------------------------------------------------------------
# Over HTTP
# ---------------------------------------------------------------------------------------------


class MotoWebhookTestCase(MotoTestCase, AmazonSESWebhookTestCase):
    pass


@tag("amazon_ses")
@needs_boto3
class MotoConfirmationTests(MotoWebhookTestCase):
    def test_confirmation(self):
        """The topic is in another region than the one that is configured."""
        self.assertNotEqual(REGION, "us-west-2")
        topic_arn = self.aws_client("sns", "us-west-2").create_topic(Name="t")["TopicArn"]
        response = self.call(confirmation(TopicArn=topic_arn))
        self.assertEqual(response.status_code, 200)

    def test_wrong_client_params(self):
        for params in ({"region": "us-west-2"}, {"config": {"timeout": 3}}):
            settings = {"WEBHOOK_SECRET": BASIC_AUTH, "AMAZON_SES_CLIENT_PARAMS": params}
            with (
                self.subTest(params),
                self.anymail_settings(**settings),
                self.assertRaisesRegex(AnymailConfigurationError, "AMAZON_SES_CLIENT_PARAMS"),
            ):
                self.call(confirmation())

    def test_unknown_topic(self):
        with self.assertRaisesRegex(amazon_ses.ClientError, "Topic does not exist"):
            self.call(confirmation())


@tag("amazon_ses")
@needs_boto3
class MotoS3Tests(MotoWebhookTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.s3 = self.aws_client("s3")
        self.s3.create_bucket(
            Bucket="mail-in", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        from botocore.response import StreamingBody

        bodies = patch("botocore.endpoint.StreamingBody", wraps=StreamingBody)
        self.bodies = bodies.start()
        self.addCleanup(bodies.stop)

    def tearDown(self) -> None:
        for body_call in self.bodies.call_args_list:
            raw_response = body_call.args[0]
            self.assertTrue(raw_response.closed, "the body of an S3 object is left open")
        super().tearDown()

    def put(self, body: bytes, **kwargs: Any) -> None:
        self.s3.put_object(Bucket="mail-in", Key="in/inbound-id", Body=body, **kwargs)

    def receive(self) -> Any:
        self.received.clear()
        self.assertEqual(self.call(sns_request(INBOUND, S3_EVENT)).status_code, 200)
        [received_signal] = self.received
        return received_signal.event.message

    def test_download(self):
        self.put(MIME)
        message = self.receive()
        self.assertEqual(message.subject, "Grüße")
        self.assertEqual(message.text, "Bödy\n")

    def test_large_message(self):
        attachment = os.urandom(3_000_000)
        mime = (
            b"Subject: large\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(attachment)
        )
        self.put(mime)
        self.assertEqual(self.receive().get_content_bytes(), attachment)

    def test_no_such_object(self):
        with self.assertRaises(amazon_ses.AnymailBotoClientAPIError) as caught:
            self.call(sns_request(INBOUND, S3_EVENT))
        self.assertEqual(caught.exception.response["Error"]["Code"], "NoSuchKey")
        self.assertIn("(NoSuchKey) when calling the GetObject operation", str(caught.exception))


@tag("amazon_ses")
@needs_encryption
@tag("exhaustive")
class MotoEncryptionTests(MotoS3Tests):
    """Messages encrypted as SES does.

    https://docs.aws.amazon.com/ses/latest/dg/receiving-email-action-s3.html
    """

    def setUp(self) -> None:
        super().setUp()
        self.kms = self.aws_client("kms")
        self.key_id = self.kms.create_key()["KeyMetadata"]["KeyId"]
        settings = self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_INBOUND_KMS_KEY_ID=self.key_id
        )
        settings.__enter__()
        self.addCleanup(settings.__exit__, None, None, None)

    def put(self, body: bytes, tamper: Any = None, **metadata: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        context = {
            "aws:ses:message-id": "inbound-id",
            "aws:ses:rule-name": "rule",
            "aws:ses:source-account": "123456789012",
            "kms_cmk_id": self.key_id,
        }
        data_key = self.kms.generate_data_key(
            KeyId=self.key_id, KeySpec="AES_256", EncryptionContext=context
        )
        iv = os.urandom(12)
        encrypted = AESGCM(data_key["Plaintext"]).encrypt(iv, body, None)
        super().put(
            tamper(encrypted) if tamper else encrypted,
            Metadata={
                "x-amz-key-v2": base64.b64encode(data_key["CiphertextBlob"]).decode(),
                "x-amz-iv": base64.b64encode(iv).decode(),
                "x-amz-matdesc": json.dumps(context),
                "x-amz-wrap-alg": "kms",
                "x-amz-cek-alg": "AES/GCM/NoPadding",
                "x-amz-tag-len": "128",
                "x-amz-unencrypted-content-length": str(len(body)),
                **metadata,
            },
        )

    def assert_error(self, error_class: Any, *texts: str) -> Any:
        with self.assertRaises(error_class) as caught:
            self.call(sns_request(INBOUND, S3_EVENT))
        for text in texts:
            self.assertIn(text, str(caught.exception))
        self.assert_no_signals()
        return caught.exception

    def test_tampered(self):
        for description, tamper in {
            "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
            "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
            "cut off": lambda data: data[:-20],
            "longer": lambda data: data + b"x",
        }.items():
            with self.subTest(description):
                self.put(MIME * 20_000, tamper)
                self.assert_error(amazon_ses.AnymailBotoClientSecurityError, "failed decrypting")

    def test_other_context(self):
        self.put(MIME, **{"x-amz-matdesc": '{"aws:ses:message-id": "other"}'})
        error = self.assert_error(amazon_ses.AnymailBotoClientAPIError, "couldn't download")
        self.assertEqual(error.operation_name, "Decrypt")

    def test_other_key(self):
        self.put(MIME)
        other_key_id = self.kms.create_key()["KeyMetadata"]["KeyId"]
        with self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_INBOUND_KMS_KEY_ID=other_key_id
        ):
            error = self.assert_error(amazon_ses.AnymailBotoClientAPIError, "couldn't download")
        self.assertEqual(error.operation_name, "Decrypt")

    def test_no_such_object(self):
        error = self.assert_error(amazon_ses.AnymailBotoClientAPIError, "NoSuchKey")
        self.assertEqual(error.operation_name, "GetObject")

    def test_not_encrypted(self):
        super().put(MIME)
        self.assert_error(AnymailAPIError, "couldn't download", "S3 object 'mail-in:in/inbound-id'")

    def test_encrypted_without_key(self):
        self.put(MIME)
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            self.assert_error(AnymailConfigurationError, "AMAZON_SES_INBOUND_KMS_KEY_ID")


@tag("amazon_ses")
@needs_boto3
class NoAwsTests(AwsTestCase, AmazonSESWebhookTestCase):
    def test_no_connection(self):
        with (
            patch.dict(os.environ, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
            self.assertRaisesRegex(AnymailAPIError, "Could not connect") as caught,
        ):
            self.call(sns_request(INBOUND, S3_EVENT))
        self.assertIs(type(caught.exception), AnymailAPIError)

    @contextmanager
    def aws(self, **settings: Any) -> Iterator[HttpServer]:
        """Have boto3 call a server that doesn't answer."""
        with (
            HttpServer(Answer(stall=True)) as server,
            patch.dict(os.environ, {"AWS_ENDPOINT_URL": server.url}),
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings),
        ):
            yield server

    def test_no_answer_from_s3(self):
        for timeout in (0.05, (5, 0.05)):
            with (
                self.subTest(timeout=timeout),
                self.aws(REQUESTS_TIMEOUT=timeout) as server,
                self.assertRaisesRegex(AnymailAPIError, "Read timeout on endpoint URL"),
            ):
                self.call(sns_request(INBOUND, S3_EVENT))
            self.assertEqual(len(server.requests), 1)

    def test_no_answer_from_sns(self):
        from botocore.exceptions import ReadTimeoutError

        with self.aws(REQUESTS_TIMEOUT=0.05), self.assertRaises(ReadTimeoutError):
            self.call(confirmation())

    def test_deadline(self):
        with (
            self.aws() as server,
            patch("anymail.webhooks.downloads.DEADLINE", 0),
            self.assertRaisesRegex(AnymailAPIError, "took longer than 0 seconds"),
        ):
            self.call(sns_request(INBOUND, S3_EVENT))
        self.assertEqual(server.requests, [])

    @needs_encryption
    def test_deadline_for_kms(self):
        view = AmazonSESInboundWebhookView(basic_auth=BASIC_AUTH, inbound_kms_key_id="key")
        clients = []

        def create_client(session: Any, service_name: str) -> Any:
            clients.append(AmazonSESInboundWebhookView._create_client(view, session, service_name))
            return clients[-1]

        with (
            self.aws() as server,
            patch.object(view, "_create_client", create_client),
            patch("anymail.webhooks.downloads.DEADLINE", 0),
        ):
            with self.assertRaisesRegex(AnymailAPIError, "took longer than 0 seconds"):
                list(view.download_s3_object("bucket", "key"))
            [_s3_client, kms_client] = clients
            with self.assertRaisesRegex(AnymailAPIError, "took longer than 0 seconds"):
                kms_client.decrypt(CiphertextBlob=b"key")
        self.assertEqual(server.requests, [])

    def test_validation_failure_is_not_logged_with_content(self):
        view = AmazonSESTrackingWebhookView(basic_auth=BASIC_AUTH)
        with self.assertRaises(AnymailWebhookValidationFailure) as caught:
            view.parse_events(Mock(_sns_message={"Type": "Notification", "Message": "secret {"}))
        self.assertNotIn("secret", str(caught.exception))
