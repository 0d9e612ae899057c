"""Signatures of Amazon SNS and what is compatible with it, and Amazon SES's use of them."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock, patch

import requests
from django.test import SimpleTestCase, override_settings

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInsecureWebhookWarning,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from anymail.webhooks import amazon_ses, base, downloads, sns
from anymail.webhooks.certificates import (
    MAX_CERTIFICATE_BYTES,
    MAX_CERTIFICATES,
    CertificateCache,
    TrustChain,
    fetched_certificates,
)
from anymail.webhooks.sns_signatures import string_to_sign, verify_signature

from ..utils import make_response, skip_without
from .harness import BASIC_AUTH, WebhookTestCase, basic_auth_header
from .sns_signing import (
    AMAZON_CERTIFICATE_URL,
    as_pem,
    ec_key,
    make_certificate,
    rsa_key,
    shared_key,
    sign_message,
)
from .test_amazon_ses import SEND_EVENT, confirmation, sns_request

DAY = timedelta(days=1)
NOW = datetime(2031, 3, 4, 12, tzinfo=timezone.utc)

# As in https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html and the page on
# signatures, which shows the string to sign of such messages
NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
    "Subject": "My First Message",
    "Message": "Hello world!",
    "Timestamp": "2012-05-02T00:54:06.655Z",
    "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
}
CONFIRMATION = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    "Token": "2336412f37",
    "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
    "Message": "You have chosen to subscribe to the topic.\nTo confirm, visit the SubscribeURL.",
    "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
    "Timestamp": "2012-04-26T20:45:04.751Z",
}


class StringToSignTests(SimpleTestCase):
    def test_notification(self):
        self.assertEqual(
            string_to_sign(NOTIFICATION),
            b"Message\nHello world!\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\n"
            b"Subject\nMy First Message\nTimestamp\n2012-05-02T00:54:06.655Z\n"
            b"TopicArn\narn:aws:sns:us-west-2:123456789012:MyTopic\nType\nNotification\n",
        )

    def test_notification_without_subject(self):
        expected = (
            b"Message\nHello world!\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\n"
            b"Timestamp\n2012-05-02T00:54:06.655Z\n"
            b"TopicArn\narn:aws:sns:us-west-2:123456789012:MyTopic\nType\nNotification\n"
        )
        self.assertEqual(string_to_sign({**NOTIFICATION, "Subject": None}), expected)
        without = {key: value for key, value in NOTIFICATION.items() if key != "Subject"}
        self.assertEqual(string_to_sign(without), expected)
        self.assertIn(b"\nSubject\n\n", string_to_sign({**NOTIFICATION, "Subject": ""}))

    def test_confirmations(self):
        for sns_type in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            self.assertEqual(
                string_to_sign({**CONFIRMATION, "Type": sns_type, "Subject": "not part of it"}),
                b"Message\nYou have chosen to subscribe to the topic.\n"
                b"To confirm, visit the SubscribeURL.\n"
                b"MessageId\n165545c9-2a5c-472c-8df2-7ff2be2b3b1b\n"
                b"SubscribeURL\nhttps://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription\n"
                b"Timestamp\n2012-04-26T20:45:04.751Z\nToken\n2336412f37\n"
                b"TopicArn\narn:aws:sns:us-west-2:123456789012:MyTopic\nType\n"
                + sns_type.encode()
                + b"\n",
            )

    def test_non_ascii(self):
        self.assertIn(
            "Message\nÚčet\n".encode(), string_to_sign({**NOTIFICATION, "Message": "Účet"})
        )

    def test_missing_or_invalid(self):
        for message in (NOTIFICATION, CONFIRMATION):
            for name in message.keys() - {"Subject", "Type", "UnsubscribeURL"}:
                for value in (
                    None,
                    5,
                    ["a"],
                    {},
                    "a\ud800",
                    *(["a\nb"] if name != "Message" else []),
                ):
                    with (
                        self.subTest(name=name, value=value),
                        self.assertRaises(AnymailWebhookValidationFailure),
                    ):
                        string_to_sign({**message, name: value})
        with self.assertRaises(AnymailWebhookValidationFailure):
            string_to_sign({**NOTIFICATION, "Subject": 5})

    def test_fields_cannot_be_shifted(self):
        """There is only one message with a string to sign."""
        shifted = {**NOTIFICATION, "Subject": None}
        shifted["MessageId"] += f"\nSubject\n{NOTIFICATION['Subject']}"
        with self.assertRaisesRegex(AnymailWebhookValidationFailure, "MessageId"):
            string_to_sign(shifted)


class CertificateURLTests(SimpleTestCase):
    def check(self, pattern: re.Pattern[str], right: list[str], wrong: list[str]) -> None:
        for url in right:
            self.assertTrue(pattern.fullmatch(url), url)
        for url in wrong:
            self.assertFalse(pattern.fullmatch(url), url)

    def test_amazon(self):
        path = "/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"
        host = "sns.us-east-1.amazonaws.com"
        regions = ("eu-central-1", "us-gov-west-1", "ap-southeast-3", "il-central-1")
        self.check(
            amazon_ses.CERTIFICATE_URL,
            [
                AMAZON_CERTIFICATE_URL,
                f"https://sns.cn-north-1.amazonaws.com.cn{path}",
                *(f"https://sns.{region}.amazonaws.com{path}" for region in regions),
            ],
            [
                "",
                f"http://{host}{path}",
                f"ftp://{host}{path}",
                f"https://user:password@{host}{path}",
                f"https://user@{host}{path}",
                f"https://{host}:443{path}",
                f"https://{host}:8443{path}",
                f"https://{host}{path}?",
                f"https://{host}{path}?x=.pem",
                f"https://{host}{path}#.pem",
                f"https://{host}/?.pem",
                f"https://{host}/certificate.crt",
                f"https://{host}/other/../certificate.pem",
                f"https://{host}/",
                f"https://{host}",
                f"https://{host}{path}\n",
                f" https://{host}{path}",
                f"https://{host}\\@sns.example.com{path}",
                f"https://{host}.{path}",
                f"https://{host}.example.org{path}",
                f"https://{host}.cn.example.org{path}",
                f"https://xsns.us-east-1.amazonaws.com{path}",
                f"https://evil.{host}{path}",
                f"https://sns.example.com/?.amazonaws.com{path}",
                f"https://sns.us-east-1.amazonaws.com.evil{path}",
                f"https://snsXus-east-1.amazonaws.com{path}",
                f"https://sns.amazonaws.com{path}",
                # A bucket that somebody has named "sns"
                f"https://sns.s3.amazonaws.com{path}",
                f"https://sns.s3-us-west-2.amazonaws.com{path}",
                f"https://sns.s3.us-west-2.amazonaws.com{path}",
                f"https://s3.us-east-1.amazonaws.com{path}",
                f"https://sns.us-eаst-1.amazonaws.com{path}",  # a Cyrillic letter
                "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/sns_certificate_1234567890.crt",
            ],
        )

    def test_amazon_names(self):
        for name in (
            "sns.amazonaws.com",
            "sns-signing.ap-east-1.amazonaws.com",
            "sns-cn-north-1.amazonaws.com.cn",
            "sns-us-gov-west-1.amazonaws.com",
        ):
            self.assertTrue(amazon_ses.CERTIFICATE_NAME.fullmatch(name), name)
        for name in ("s3.amazonaws.com", "sns.amazonaws.com.example.org", "snsx.amazonaws.com", ""):
            self.assertFalse(amazon_ses.CERTIFICATE_NAME.fullmatch(name), name)


@skip_without("cryptography")
class SignatureTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.certificate = make_certificate(
            "sns.amazonaws.com", shared_key(), start=NOW - DAY, end=NOW + DAY
        )

    def setUp(self):
        super().setUp()
        self.addCleanup(fetched_certificates.clear)
        fetched_certificates.clear()
        fetched_certificates.put(AMAZON_CERTIFICATE_URL, self.certificate)
        self.checked: list[Any] = []

    def signed(self, message=NOTIFICATION, version="1", key=None) -> dict[str, Any]:
        message = dict(message)
        sign_message(message, key or shared_key(), AMAZON_CERTIFICATE_URL, version)
        return message

    def verify(self, message: dict[str, Any], now: datetime = NOW) -> None:
        verify_signature(
            message,
            esp_name="Test ESP",
            certificate_url=amazon_ses.CERTIFICATE_URL,
            check_certificate=lambda *args: self.checked.append(args),
            now=now,
        )

    def assert_refused(self, message: dict[str, Any], regex: str = "", now: datetime = NOW) -> None:
        with self.assertRaisesRegex(AnymailWebhookValidationFailure, regex):
            self.verify(message, now)

    def test_right(self):
        for message in (
            NOTIFICATION,
            {**NOTIFICATION, "Subject": None},
            {**NOTIFICATION, "Message": "Účet\n"},
            CONFIRMATION,
            {**CONFIRMATION, "Type": "UnsubscribeConfirmation"},
        ):
            for version in ("1", "2"):
                with self.subTest(message=message, version=version):
                    self.verify(self.signed(message, version))
        self.assertEqual(self.checked[0], (self.certificate, NOW))

    def test_tampered(self):
        for message in (NOTIFICATION, CONFIRMATION):
            for version in ("1", "2"):
                signed = self.signed(message, version)
                for name in message.keys() - {"UnsubscribeURL", "Type"}:
                    with self.subTest(name=name, version=version):
                        self.assert_refused({**signed, name: signed[name] + "x"}, "signature")
                with self.subTest(version):
                    other = {"1": "2", "2": "1"}[version]
                    self.assert_refused({**signed, "SignatureVersion": other}, "signature")
        signed = self.signed({**CONFIRMATION, "Type": "UnsubscribeConfirmation"})
        self.assert_refused({**signed, "Type": "SubscriptionConfirmation"}, "signature")
        signed = self.signed({**NOTIFICATION, "Subject": None})
        self.assert_refused({**signed, "Subject": "added"}, "signature")
        signed = self.signed()
        self.assert_refused({**signed, "Subject": None}, "signature")

    def test_not_signed(self):
        self.verify({**self.signed(), "UnsubscribeURL": "https://example.com/", "other": 5})

    def test_other_key(self):
        self.assert_refused(self.signed(key=rsa_key()), "signature")

    def test_key_that_is_not_supported(self):
        from cryptography.exceptions import UnsupportedAlgorithm

        for error in (UnsupportedAlgorithm("a new curve"), ValueError("not a key")):
            certificate = Mock(
                not_valid_before_utc=NOW - DAY,
                not_valid_after_utc=NOW + DAY,
                public_key=Mock(side_effect=error),
            )
            fetched_certificates.put(AMAZON_CERTIFICATE_URL, certificate)
            self.assert_refused(self.signed(), "key is not supported")

    def test_versions(self):
        for version in (None, "", "0", "3", "1.0", 1, 2, ["1"], "x" * 50):
            with self.subTest(version=version):
                self.assert_refused(
                    {**self.signed(), "SignatureVersion": version}, "SignatureVersion"
                )

    def test_signature_is_not_base64(self):
        signature = self.signed()["Signature"]
        for value in (None, 5, "", "abcde", signature[:-1], f"{signature}\n", f"-{signature}"):
            with self.subTest(value=value):
                self.assert_refused({**self.signed(), "Signature": value}, "signature")

    def test_url_is_checked_before_fetching(self):
        with patch("requests.Session.get") as mock:
            for url in (
                None,
                5,
                ["https://"],
                "",
                "https://sns.example.com/a.pem",
                f"{AMAZON_CERTIFICATE_URL}\n",
                f"{AMAZON_CERTIFICATE_URL}@sns.example.com/a.pem",
            ):
                with self.subTest(url=url):
                    self.assert_refused({**self.signed(), "SigningCertURL": url}, "SigningCertURL")
        mock.assert_not_called()

    def test_dates(self):
        self.verify(self.signed(), NOW + DAY)
        self.verify(self.signed(), NOW - DAY)
        for now in (NOW + DAY + timedelta(seconds=1), NOW - DAY - timedelta(seconds=1)):
            self.assert_refused(self.signed(), "not valid now", now)

    def test_certificate_for_another_kind_of_key(self):
        certificate = make_certificate("sns.amazonaws.com", ec_key(), start=NOW, end=NOW + DAY)
        fetched_certificates.put(AMAZON_CERTIFICATE_URL, certificate)
        self.assert_refused(self.signed(), "RSA")

    def test_check_of_certificate(self):
        def check(certificate, now):
            raise AnymailWebhookValidationFailure("not ours")

        with self.assertRaisesRegex(AnymailWebhookValidationFailure, "not ours"):
            verify_signature(
                self.signed(),
                esp_name="Test ESP",
                certificate_url=amazon_ses.CERTIFICATE_URL,
                check_certificate=check,
                now=NOW,
            )

    # -- Fetching -----------------------------------------------------------------------------

    def fetch(self, *responses: Any) -> Any:
        """Verify a signature while the answers to HTTP requests are these."""
        fetched_certificates.clear()
        with patch("requests.Session.get", side_effect=responses) as mock:
            try:
                self.verify(self.signed())
            finally:
                self.assertEqual(mock.call_count, len(responses))
        return mock

    def streamed(self, content: bytes, status: int = 200) -> requests.Response:
        response = make_response(status, body=content)
        response._content_consumed = True
        return response

    def test_fetch(self):
        from cryptography.hazmat.primitives.serialization import Encoding

        for encoding in (Encoding.PEM, Encoding.DER):
            mock = self.fetch(self.streamed(self.certificate.public_bytes(encoding)))
            self.assertEqual(mock.call_args.args, (AMAZON_CERTIFICATE_URL,))
            self.assertIs(mock.call_args.kwargs["allow_redirects"], False)
            self.assertEqual(mock.call_args.kwargs["timeout"], downloads.SMALL_TIMEOUT)

    def test_fetched_once(self):
        self.fetch(self.streamed(as_pem(self.certificate).encode()))
        with patch("requests.Session.get") as mock:
            self.verify(self.signed())
        mock.assert_not_called()

    def test_nothing_there(self):
        for status in (301, 302, 307, 308, 400, 403, 404):
            with (
                self.subTest(status),
                self.assertRaisesRegex(AnymailWebhookValidationFailure, "nothing"),
            ):
                self.fetch(self.streamed(as_pem(self.certificate).encode(), status))
            self.assertEqual(len(fetched_certificates), 0)

    def test_tried_again(self):
        right = as_pem(self.certificate).encode()
        for error in (
            self.streamed(b"", 500),
            self.streamed(b"", 429),
            requests.ConnectionError(),
            requests.Timeout(),
        ):
            self.fetch(error, self.streamed(right))

    def test_temporary_failure(self):
        # Which isn't the call's fault: SNS must repeat it.
        for error in (requests.ConnectTimeout(), self.streamed(b"", 503)):
            with self.assertRaises(AnymailRequestsAPIError):
                self.fetch(error, error)
        self.assertEqual(len(fetched_certificates), 0)

    def test_not_a_certificate(self):
        for content in (b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n"):
            with self.assertRaisesRegex(AnymailWebhookValidationFailure, "no certificate"):
                self.fetch(self.streamed(content))

    def test_too_large(self):
        with self.assertRaisesRegex(AnymailWebhookValidationFailure, "more than"):
            self.fetch(self.streamed(b"x" * (MAX_CERTIFICATE_BYTES + 1)))


class CertificateCacheTests(SimpleTestCase):
    def test_bound(self):
        cache = CertificateCache(max_size=3)
        for number in range(3):
            cache.put(str(number), number)
        self.assertEqual(cache.get("0", "Test ESP"), 0)  # and so it's not the next to go
        cache.put("3", 3)
        self.assertEqual([str(n) in cache for n in range(4)], [True, False, True, True])
        for number in range(100):
            cache.put(str(number), number)
        self.assertEqual(len(cache), 3)
        cache.clear()
        self.assertEqual(len(cache), 0)

    def test_default_bound(self):
        self.assertEqual(fetched_certificates.max_size, MAX_CERTIFICATES)


@skip_without("cryptography")
class TrustChainTests(SimpleTestCase):
    setting = "TEST_CHAIN"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root_key, cls.middle_key, cls.leaf_key = ec_key(), ec_key(), ec_key()
        cls.root = make_certificate("Root", cls.root_key, start=NOW - DAY, end=NOW + 3 * DAY)
        cls.middle = cls.make_middle(NOW - DAY, NOW + 2 * DAY)
        cls.leaf = make_certificate("Leaf", cls.leaf_key, cls.middle, cls.middle_key)

    @classmethod
    def make_middle(cls, start: datetime, end: datetime) -> Any:
        return make_certificate("Middle", cls.middle_key, cls.root, cls.root_key, start, end)

    def chain(self, *certificates: Any) -> TrustChain:
        return TrustChain.load(as_pem(*certificates), self.setting)

    def assert_refused(self, certificate: Any, chain: TrustChain) -> None:
        with self.assertRaisesRegex(AnymailWebhookValidationFailure, self.setting):
            chain.check(certificate, NOW)

    def test_right(self):
        for certificates in ([self.middle, self.root], [self.root, self.middle]):
            self.chain(*certificates).check(self.leaf, NOW)

    def test_made_by_somebody_else(self):
        chain = self.chain(self.middle, self.root)
        self.assert_refused(make_certificate("Leaf", self.leaf_key), chain)
        # The names are easy to copy.
        root = make_certificate("Root", ec_key())
        key = ec_key()
        middle = make_certificate("Middle", key, root, ec_key())
        self.assert_refused(make_certificate("Leaf", self.leaf_key, middle, key), chain)
        # Signed by the right key, but in another's name
        self.assert_refused(make_certificate("Leaf", ec_key(), self.leaf, self.middle_key), chain)

    def test_incomplete(self):
        self.assert_refused(self.leaf, self.chain(self.root))
        with self.assertRaisesRegex(AnymailConfigurationError, self.setting):
            self.chain(self.middle)
        other_root = make_certificate("Other Root", ec_key())
        self.assert_refused(self.leaf, self.chain(self.middle, other_root))

    def test_dates(self):
        chain = self.chain(self.middle, self.root)
        for now in (NOW - 2 * DAY, NOW + 2.5 * DAY, NOW + 4 * DAY):
            with self.assertRaisesRegex(AnymailConfigurationError, f"CN=Middle.*{self.setting}"):
                chain.check(self.leaf, now)
        long_lived = self.make_middle(NOW, NOW + 9 * DAY)
        with self.assertRaisesRegex(AnymailConfigurationError, "CN=Root"):
            self.chain(long_lived, self.root).check(self.leaf, NOW + 5 * DAY)

    def test_renewed(self):
        old = self.make_middle(NOW - 9 * DAY, NOW - 8 * DAY)
        for certificates in ([old, self.middle, self.root], [self.middle, self.root, old]):
            self.chain(*certificates).check(self.leaf, NOW)

    def test_sources(self):
        text = as_pem(self.middle, self.root)
        with TemporaryDirectory() as directory:
            path = Path(directory) / "chain.pem"
            path.write_text(text)
            for source in (text, text.encode(), f"# Comment\n{text}", path, str(path)):
                TrustChain.load(source, self.setting).check(self.leaf, NOW)

    def test_other_sources(self):
        pem = as_pem(self.root)
        with TemporaryDirectory() as directory:
            empty = Path(directory) / "empty.pem"
            empty.touch()
            sources = (empty, directory, f"{directory}/missing.pem", "junk", "\0", 5, [pem])
            for source in (*sources, pem[:100], pem.replace("\n", "\n!", 3)):
                with (
                    self.subTest(source=source),
                    self.assertRaisesRegex(AnymailConfigurationError, self.setting),
                ):
                    TrustChain.load(source, self.setting)


# ---------------------------------------------------------------------------------------------
# Amazon SES
# ---------------------------------------------------------------------------------------------

TOPIC = "arn:aws:sns:us-west-2:123456789012:ses-events"


@skip_without("boto3", "cryptography")
class AmazonSESTests(WebhookTestCase):
    def setUp(self):
        super().setUp()
        sns._log_any_topic.cache_clear()
        fetched_certificates.clear()
        self.addCleanup(fetched_certificates.clear)
        certificate = make_certificate("sns.amazonaws.com", shared_key())
        fetched_certificates.put(AMAZON_CERTIFICATE_URL, certificate)
        patcher = patch.object(amazon_ses.AmazonSESBaseWebhookView, "_create_client")
        self.create_client = patcher.start()
        self.addCleanup(patcher.stop)

    def signed(self, request=None, **changes):
        request = request or sns_request(message=SEND_EVENT, **changes)
        request.json.setdefault("Message", "You have chosen to subscribe.")
        if request.json["Type"] != "Notification":
            request.json["SubscribeURL"] = "https://sns.us-west-2.amazonaws.com/?Action=x"
        sign_message(request.json, shared_key(), AMAZON_CERTIFICATE_URL)
        return request

    def test_off_by_default(self):
        for settings in ({}, {"AMAZON_SES_VERIFY_SNS_SIGNATURE": None}):
            with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings):
                self.assertEqual(self.call(sns_request(message=SEND_EVENT)).status_code, 200)
        self.assertEqual(len(self.received), 2)

    def test_on(self):
        for settings in (
            {"AMAZON_SES_VERIFY_SNS_SIGNATURE": True},
            {"REQUIRE_WEBHOOK_AUTH": True},
            {"REQUIRE_WEBHOOK_AUTH": True, "AMAZON_SES_VERIFY_SNS_SIGNATURE": None},
        ):
            with (
                self.subTest(settings),
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings),
            ):
                self.received.clear()
                response = self.call(sns_request(message=SEND_EVENT))
                self.assertEqual(response.status_code, 400)
                self.assert_no_signals()
                self.assertEqual(self.call(self.signed()).status_code, 200)
                self.assertEqual(len(self.received), 1)

    @override_settings(ANYMAIL={"REQUIRE_WEBHOOK_AUTH": True, "AMAZON_SES_SNS_TOPIC_ARNS": [TOPIC]})
    def test_signature_is_protection(self):
        self.assertEqual(self.call(self.signed(), authorization=None).status_code, 200)
        self.assertEqual(len(self.received), 1)
        base._log_unprotected.cache_clear()
        with (
            self.anymail_settings(REQUIRE_WEBHOOK_AUTH=True, AMAZON_SES_VERIFY_SNS_SIGNATURE=False),
            self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            self.assertEqual(self.call(self.signed(), authorization=None).status_code, 403)
        self.assertEqual(len(self.received), 1)

    def test_name_of_setting(self):
        """For the system check about webhooks that anyone could call."""
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            self.assertEqual(
                amazon_ses.AmazonSESTrackingWebhookView().signature_setting,
                "AMAZON_SES_VERIFY_SNS_SIGNATURE",
            )

    def test_any_topic_is_logged_once(self):
        with (
            self.anymail_settings(REQUIRE_WEBHOOK_AUTH=True),
            self.assertLogs("anymail.webhooks", "WARNING") as logs,
        ):
            for _ in range(2):
                self.assertEqual(self.call(self.signed(), authorization=None).status_code, 200)
        [text] = logs.output
        self.assertIn("AMAZON_SES_SNS_TOPIC_ARNS", text)

    def test_warning(self):
        """A signature alone can be anyone's."""
        settings = {"AMAZON_SES_VERIFY_SNS_SIGNATURE": True}
        with (
            self.anymail_settings(**settings),
            self.assertLogs("anymail.webhooks", "WARNING"),
        ):
            self.call(self.signed(), None, AnymailInsecureWebhookWarning)
        with self.anymail_settings(**settings, AMAZON_SES_SNS_TOPIC_ARNS=[TOPIC]):
            self.call(self.signed(), None)
        self.assertEqual(len(self.received), 2)

    def test_missing_package(self):
        with (
            patch.dict(sys.modules, {"cryptography": None, "cryptography.x509": None}),
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_VERIFY_SNS_SIGNATURE=True),
            self.assertRaisesRegex(AnymailImproperlyInstalled, r"cryptography.*\[amazon-ses\]"),
        ):
            self.call(self.signed())

    def test_certificate_for_something_else(self):
        key = shared_key()
        for certificate, status in (
            (make_certificate("s3.amazonaws.com", key), 400),
            (make_certificate("sns.amazonaws.com.example.org", key), 400),
            (make_certificate("x", key, dns_names=("y", "sns.amazonaws.com")), 200),
        ):
            fetched_certificates.put(AMAZON_CERTIFICATE_URL, certificate)
            with self.anymail_settings(
                WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_VERIFY_SNS_SIGNATURE=True
            ):
                self.assertEqual(self.call(self.signed()).status_code, status)

    def test_expired_certificate(self):
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_VERIFY_SNS_SIGNATURE=True),
            patch.object(sns, "now", return_value=datetime.now(timezone.utc) + 2 * DAY),
        ):
            self.assertEqual(self.call(self.signed()).status_code, 400)
        self.assert_no_signals()

    def test_max_age(self):
        fresh = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        fresh = fresh.replace("+00:00", "Z")
        with self.anymail_settings(
            WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_VERIFY_SNS_SIGNATURE=True, WEBHOOK_MAX_AGE=3900
        ):
            self.assertEqual(self.call(self.signed(Timestamp=fresh)).status_code, 200)
            for timestamp in ("2031-03-04T05:06:07.089Z", "2011-03-04T05:06:07.089Z", "junk"):
                response = self.call(self.signed(Timestamp=timestamp))
                self.assertEqual(response.status_code, 400)
        self.assertEqual(len(self.received), 1)

    # -- Topics -------------------------------------------------------------------------------

    def test_topics(self):
        for arns, status in (
            ([TOPIC], 200),
            (TOPIC, 200),
            (("arn:aws:sns:eu-west-1:1:x", TOPIC), 200),
            (["arn:aws:sns:*:123456789012:ses-*"], 200),
            ([], 200),
            (None, 200),
            (["arn:aws:sns:us-west-2:123456789012:other"], 400),
            ([TOPIC.upper()], 400),
            ([TOPIC[:-1]], 400),
            (["arn:aws:sns:*:999999999999:*"], 400),
        ):
            with (
                self.subTest(arns),
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_SNS_TOPIC_ARNS=arns),
            ):
                response = self.call(sns_request(message=SEND_EVENT))
                self.assertEqual(response.status_code, status)
                self.assertEqual(len(self.received), 1 if status == 200 else 0)
                self.received.clear()

    def test_topic_is_not_text(self):
        for arn in (None, 5, [TOPIC], {}):
            request = sns_request(message=SEND_EVENT)
            request.json["TopicArn"] = arn
            with self.anymail_settings(
                WEBHOOK_SECRET=BASIC_AUTH, AMAZON_SES_SNS_TOPIC_ARNS=["arn:*"]
            ):
                self.assertEqual(self.call(request).status_code, 400)
        self.assert_no_signals()

    def test_topic_comes_first(self):
        request = self.signed(confirmation(TopicArn="arn:aws:sns:us-west-2:999999999999:theirs"))
        with (
            self.anymail_settings(
                WEBHOOK_SECRET=BASIC_AUTH,
                AMAZON_SES_VERIFY_SNS_SIGNATURE=True,
                AMAZON_SES_SNS_TOPIC_ARNS=[TOPIC],
            ),
            patch.object(sns, "verify_signature") as verify,
            self.assertLogs("django.security", "ERROR") as logs,
        ):
            self.assertEqual(self.call(request).status_code, 400)
        verify.assert_not_called()
        self.create_client.assert_not_called()
        self.assertIn("AMAZON_SES_SNS_TOPIC_ARNS", logs.output[0])

    # -- Confirmation -------------------------------------------------------------------------

    def confirm(self, request, authorization=None, **settings):
        """Return the status, and whether the subscription was confirmed."""
        self.create_client.reset_mock()
        with self.anymail_settings(**settings):
            status = self.call(request, authorization).status_code
        return status, self.create_client.called

    def test_confirmation_by_signature(self):
        signatures = {"AMAZON_SES_VERIFY_SNS_SIGNATURE": True}
        topics = {"AMAZON_SES_SNS_TOPIC_ARNS": [TOPIC]}
        request = self.signed(confirmation())
        self.assertEqual(self.confirm(request, **signatures, **topics), (200, True))
        call = self.create_client.return_value.confirm_subscription.call_args
        self.assertEqual((call.kwargs["TopicArn"], call.kwargs["Token"]), (TOPIC, "SECRET_TOKEN"))
        required = {"REQUIRE_WEBHOOK_AUTH": True}
        self.assertEqual(self.confirm(request, **required, **topics), (200, True))
        # Everybody has topics with valid signatures.
        with self.assertLogs("anymail.webhooks", "WARNING"):
            self.assertEqual(self.confirm(request, **required), (400, False))
        other = self.signed(confirmation(TopicArn="arn:aws:sns:us-west-2:999999999999:theirs"))
        self.assertEqual(self.confirm(other, **signatures, **topics), (400, False))
        forged = self.signed(confirmation())
        forged.json["Token"] += "x"
        self.assertEqual(self.confirm(forged, **signatures, **topics), (400, False))

    def test_topic_is_not_enough_for_confirmation(self):
        with self.anymail_settings(AMAZON_SES_SNS_TOPIC_ARNS=[TOPIC]):
            response = self.call(confirmation(), None, AnymailInsecureWebhookWarning)
        self.assertEqual(response.status_code, 400)
        self.create_client.assert_not_called()

    def test_confirmation_by_secret(self):
        secret = {"WEBHOOK_SECRET": BASIC_AUTH}
        auth = basic_auth_header()
        self.assertEqual(self.confirm(confirmation(), auth, **secret), (200, True))
        # With signatures, secret and signature must be right.
        secret["AMAZON_SES_VERIFY_SNS_SIGNATURE"] = True
        self.assertEqual(self.confirm(confirmation(), auth, **secret), (400, False))
        self.assertEqual(self.confirm(self.signed(confirmation()), auth, **secret), (200, True))
