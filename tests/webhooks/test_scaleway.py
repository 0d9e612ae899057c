"""Scaleway's webhook, beyond the fixture pairs and what all webhooks have in common."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import requests
from django.urls import reverse

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInsecureWebhookWarning,
    AnymailRequestsAPIError,
)
from anymail.webhooks import base, scaleway, sns
from anymail.webhooks.certificates import fetched_certificates

from ..utils import skip_without
from . import sns_signing
from .cases.scaleway import (
    CERTIFICATE_URL,
    scaleway_certificate,
    scaleway_sign,
    scaleway_trust_chain,
)
from .harness import (
    BASIC_AUTH,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    simulated_downloads,
)

TOPIC = "arn:scw:sns:fr-par:project-11112222-3333-4444-8555-666677778888:tem-events"
TOKEN = "336412f37fb687f5d51e6e241d09c805"


def subscribe_url(topic: str = TOPIC, token: str = TOKEN, region: str = "fr-par") -> str:
    return (
        f"https://sns.mnq.{region}.scaleway.com/?Action=ConfirmSubscription"
        f"&TopicArn={topic}&Token={token}"
    )


def sns_request(message: Any = None, **body: Any) -> WebhookRequest:
    event = {"id": "1", "type": "email_delivered", "email_to": "a@b.c"}
    return WebhookRequest(
        "tracking",
        reverse("anymail:scaleway_tracking_webhook"),
        content_type="text/plain; charset=UTF-8",
        json={
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": json.dumps(event if message is None else message),
            "Timestamp": "2031-10-02T10:03:34Z",
            **body,
        },
    )


def confirmation(**body: Any) -> WebhookRequest:
    return sns_request(
        **{
            "Type": "SubscriptionConfirmation",
            "Token": TOKEN,
            "SubscribeURL": subscribe_url(),
            **body,
        }
    )


class ScalewayTestCase(WebhookTestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(fetched_certificates.clear)

    @contextmanager
    def downloads(self, *downloads: dict[str, Any]) -> Any:
        with simulated_downloads(list(downloads)):
            yield

    def status(self, request: WebhookRequest, **kwargs: Any) -> int:
        return int(self.call(request, **kwargs).status_code)


class HeaderTests(ScalewayTestCase):
    """That Scaleway sends SNS's headers is not documented."""

    def test_headers(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            for headers, status in (
                ({}, 200),
                ({"x-amz-sns-message-type": "Notification"}, 200),
                ({"x-amz-sns-message-type": "SubscriptionConfirmation"}, 400),
                ({"x-amz-sns-message-type": ""}, 400),
                ({"x-amz-sns-message-id": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"}, 200),
                ({"x-amz-sns-message-id": "other"}, 400),
            ):
                request = sns_request()
                request.headers = headers
                with self.subTest(headers):
                    self.assertEqual(self.status(request), status)

    def test_types(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            for sns_type in (None, "", "Made-up", 5, ["Notification"], {}):
                with self.subTest(sns_type):
                    self.assertEqual(self.status(sns_request(Type=sns_type)), 400)
        self.assert_no_signals()

    def test_auth_challenge(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH):
            response = self.call(sns_request(), authorization=None)
        self.assertEqual(response.status_code, 401)
        self.assertIn("Basic", response["WWW-Authenticate"])


class SubscriptionTests(ScalewayTestCase):
    """Subscriptions are confirmed by a GET request."""

    confirms = {"url": subscribe_url(), "text": "<ConfirmSubscriptionResponse/>"}

    def test_by_secret(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH), self.downloads(self.confirms):
            self.assertEqual(self.status(confirmation()), 200)
        self.assert_no_signals()

    def test_other_forms_of_the_url(self):
        for url in (
            subscribe_url(topic=quote(TOPIC, safe="")),
            subscribe_url() + "&Version=2010-03-31",
            subscribe_url(region="nl-ams"),
        ):
            with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH), self.downloads({"url": url}):
                self.assertEqual(self.status(confirmation(SubscribeURL=url)), 200)

    def test_off(self):
        settings = {"SCALEWAY_AUTO_CONFIRM_SNS_SUBSCRIPTIONS": False}
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings),
            self.downloads(),
            self.assertLogs("anymail.webhooks", "WARNING") as logs,
        ):
            self.assertEqual(self.status(confirmation()), 200)
        self.assertIn("SCALEWAY_AUTO_CONFIRM_SNS_SUBSCRIPTIONS", logs.output[0])
        self.assertIn(TOPIC, logs.output[0])

    def test_unsubscribe_confirmation(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH), self.downloads():
            self.assertEqual(self.status(confirmation(Type="UnsubscribeConfirmation")), 200)

    def test_needs_secret(self):
        with (
            self.anymail_settings(),
            self.downloads(),
            self.assertLogs("django.security", "ERROR") as logs,
        ):
            self.assertEqual(
                self.status(
                    confirmation(), authorization=None, warns=AnymailInsecureWebhookWarning
                ),
                400,
            )
        for text in (
            "SubscriptionConfirmation",
            TOPIC,
            "WEBHOOK_SECRET",
            "SCALEWAY_SNS_TRUST_CHAIN",
            "SCALEWAY_SNS_TOPIC_ARNS",
        ):
            self.assertIn(text, logs.output[0])
        self.assertNotIn(TOKEN, logs.output[0])

    def test_other_topic(self):
        settings = {"SCALEWAY_SNS_TOPIC_ARNS": ["arn:scw:sns:fr-par:project-other:*"]}
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **settings), self.downloads():
            self.assertEqual(self.status(confirmation()), 400)

    def test_wrong_urls(self):
        right = subscribe_url()
        host = "sns.mnq.fr-par.scaleway.com"
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH), self.downloads():
            for url in (
                None,
                5,
                "",
                [right],
                right.replace("https", "http"),
                right.replace(host, f"user@{host}"),
                right.replace(host, f"user:password@{host}"),
                right.replace(host, f"{host}:443"),
                right.replace(host, f"{host}:8443"),
                right.replace(host, f"{host}.example.org"),
                right.replace(host, f"evil.{host}"),
                right.replace(host, "sns.example.com"),
                right.replace(host, "169.254.169.254"),
                right.replace(host, f"sns.example.com\\@{host}"),
                right.replace(f"{host}/", f"sns.example.com/{host}/"),
                right.replace("/?", "/path?"),
                right.replace("/?", "?"),
                right + "\n",
                " " + right,
                right + " ",
                subscribe_url(topic=TOPIC + "x"),
                subscribe_url(token=TOKEN + "x"),
                right + "&TopicArn=arn:scw:sns:fr-par:project-other:theirs",
                right.replace("ConfirmSubscription", "Unsubscribe"),
                right.partition("?")[0],
            ):
                with self.subTest(url=url):
                    self.assertEqual(self.status(confirmation(SubscribeURL=url)), 400)

    def test_malformed(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH), self.downloads():
            for body in (
                {"Token": None},
                {"Token": ""},
                {"Token": ["a"]},
                {"TopicArn": None},
                {"TopicArn": "arn:scw:sns"},
                {"TopicArn": "arn:scw:sns:fr/par:project:topic"},
            ):
                with self.subTest(body):
                    self.assertEqual(self.status(confirmation(**body)), 400)

    def test_redirect_is_not_followed(self):
        elsewhere = {"Location": "https://example.com/"}
        for download in (
            {"url": subscribe_url(), "status": 302, "headers": elsewhere},
            {"url": subscribe_url(), "status": 500},
        ):
            with (
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
                self.downloads(download),
                self.assertRaises(AnymailRequestsAPIError),
            ):
                self.call(confirmation())

    def test_no_connection(self):
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
            patch("requests.Session.get", side_effect=requests.ConnectionError()),
            self.assertRaises(AnymailRequestsAPIError),
        ):
            self.call(confirmation())


@skip_without("cryptography")
class SignatureTests(ScalewayTestCase):
    def setUp(self):
        super().setUp()
        self.settings_ = {
            "SCALEWAY_SNS_TRUST_CHAIN": scaleway_trust_chain(),
            "SCALEWAY_SNS_TOPIC_ARNS": [TOPIC],
        }

    def signed(self, request: WebhookRequest | None = None) -> WebhookRequest:
        request = request or sns_request()
        scaleway_sign(request)
        return request

    def test_certificate_urls(self):
        host, path = "messaging.s3.fr-par.scw.cloud", "/fr-par/sns/sns_certificate_1234.crt"
        right = [
            CERTIFICATE_URL,
            "https://messaging.s3.nl-ams.scw.cloud/nl-ams/sns/sns_certificate_1234.crt",
        ]
        wrong = [
            "",
            f"http://{host}{path}",
            f"https://user@{host}{path}",
            f"https://{host}:443{path}",
            f"https://{host}{path}?a=.crt",
            f"https://{host}{path}#.crt",
            f"https://{host}{path}\n",
            f"https://{host}/nl-ams/sns/sns_certificate_1234.crt",
            f"https://{host}/fr-par/other/sns_certificate_1234.crt",
            f"https://{host}/fr-par/sns/../other/sns_certificate_1234.crt",
            f"https://{host}/fr-par/sns/%2e%2e/sns_certificate_1234.crt",
            f"https://{host}/fr-par/sns/sns-trust-chain.pem",
            f"https://{host}.example.org{path}",
            f"https://xmessaging.s3.fr-par.scw.cloud{path}",
            f"https://evil.{host}{path}",
            f"https://other.s3.fr-par.scw.cloud{path}",
            f"https://s3.fr-par.scw.cloud/messaging{path}",
            f"https://messaging.s3.pl-waw.scw.cloud{path}",
            sns_signing.AMAZON_CERTIFICATE_URL,
        ]
        for url in right:
            self.assertTrue(scaleway.CERTIFICATE_URL.fullmatch(url), url)
        for url in wrong:
            self.assertFalse(scaleway.CERTIFICATE_URL.fullmatch(url), url)

    def test_protected(self):
        with self.anymail_settings(REQUIRE_WEBHOOK_AUTH=True, **self.settings_):
            self.assertEqual(self.status(self.signed(), authorization=None), 200)
            self.assertEqual(len(self.received), 1)
            self.assertEqual(self.status(sns_request(), authorization=None), 400)

    def test_not_protected_by_topics(self):
        settings = {"SCALEWAY_SNS_TOPIC_ARNS": [TOPIC], "REQUIRE_WEBHOOK_AUTH": True}
        base._log_unprotected.cache_clear()
        with (
            self.anymail_settings(**settings),
            self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            self.assertEqual(self.status(self.signed(), authorization=None), 403)

    def test_version_2(self):
        request = self.signed()
        url = CERTIFICATE_URL
        sns_signing.sign_message(request.json, sns_signing.shared_key(), url, version="2")
        with self.anymail_settings(**self.settings_):
            self.assertEqual(self.status(request, authorization=None), 200)

    def test_fetched(self):
        request = self.signed()
        fetched_certificates.clear()
        pem = sns_signing.as_pem(scaleway_certificate())
        download = {"url": CERTIFICATE_URL, "text": pem}
        with self.anymail_settings(**self.settings_):
            with self.downloads(download):
                self.assertEqual(self.status(request, authorization=None), 200)
            with self.downloads():
                self.assertEqual(self.status(request, authorization=None), 200)

    def test_certificate_of_nobody(self):
        request = self.signed()
        certificate = sns_signing.make_certificate(
            "sns.mnq.srr.scw.cloud", sns_signing.shared_key()
        )
        fetched_certificates.put(CERTIFICATE_URL, certificate)
        with self.anymail_settings(**self.settings_):
            self.assertEqual(self.status(request, authorization=None), 400)
        self.assert_no_signals()

    def test_expired(self):
        later = datetime.now(timezone.utc) + timedelta(days=2)
        with (
            self.anymail_settings(**self.settings_),
            patch.object(sns, "now", return_value=later),
        ):
            self.assertEqual(self.status(self.signed(), authorization=None), 400)

    def test_max_age(self):
        with self.anymail_settings(WEBHOOK_MAX_AGE=3600, **self.settings_):
            self.assertEqual(self.status(self.signed(), authorization=None), 400)
            now = datetime.now(timezone.utc)
            for timestamp in (f"{now:%Y-%m-%dT%H:%M:%SZ}", f"{now:%Y-%m-%dT%H:%M:%S.123Z}"):
                request = self.signed(sns_request(Timestamp=timestamp))
                self.assertEqual(self.status(request, authorization=None), 200)

    def test_confirmation(self):
        with self.anymail_settings(**self.settings_):
            with self.downloads({"url": subscribe_url()}):
                self.assertEqual(self.status(self.signed(confirmation()), authorization=None), 200)
            tampered = self.signed(confirmation())
            tampered.json["SubscribeURL"] += "&a=b"
            with self.downloads():
                self.assertEqual(self.status(tampered, authorization=None), 400)
                self.assertEqual(self.status(confirmation(), authorization=None), 400)

    def test_confirmation_needs_topics(self):
        sns._log_any_topic.cache_clear()
        del self.settings_["SCALEWAY_SNS_TOPIC_ARNS"]
        with (
            self.anymail_settings(**self.settings_, REQUIRE_WEBHOOK_AUTH=True),
            self.downloads(),
            self.assertLogs("anymail.webhooks", "WARNING") as logs,
        ):
            self.assertEqual(self.status(self.signed(confirmation()), authorization=None), 400)
        self.assertIn("SCALEWAY_SNS_TOPIC_ARNS", logs.output[0])

    def test_invalid_setting(self):
        for chain in ("junk", 5, ["a"], "-----BEGIN CERTIFICATE-----"):
            with (
                self.subTest(chain=chain),
                self.anymail_settings(SCALEWAY_SNS_TRUST_CHAIN=chain),
                self.assertRaisesRegex(AnymailConfigurationError, "SCALEWAY_SNS_TRUST_CHAIN"),
            ):
                self.call(sns_request())

    def test_expired_trust_chain(self):
        start = datetime.now(timezone.utc) - timedelta(days=9)
        root_key, key = sns_signing.ec_key(), sns_signing.ec_key()
        root = sns_signing.make_certificate("Root", root_key)
        end = start + timedelta(days=1)
        middle = sns_signing.make_certificate("Middle", key, root, root_key, start, end)
        certificate = sns_signing.make_certificate("Leaf", sns_signing.shared_key(), middle, key)
        request = self.signed()
        fetched_certificates.put(CERTIFICATE_URL, certificate)
        self.settings_["SCALEWAY_SNS_TRUST_CHAIN"] = sns_signing.as_pem(middle, root)
        with (
            self.anymail_settings(**self.settings_),
            self.assertRaisesRegex(AnymailConfigurationError, "SCALEWAY_SNS_TRUST_CHAIN"),
        ):
            self.call(request, authorization=None)

    def test_missing_package(self):
        with (
            patch.dict(sys.modules, {"cryptography": None, "cryptography.x509": None}),
            self.anymail_settings(**self.settings_),
            self.assertRaisesRegex(AnymailImproperlyInstalled, r"cryptography.*\[scaleway\]"),
        ):
            self.call(sns_request())


class WithoutPackageTests(ScalewayTestCase):
    def test_secret_is_enough(self):
        with (
            patch.dict(sys.modules, {"cryptography": None, "cryptography.x509": None}),
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
        ):
            self.assertEqual(self.status(sns_request(), authorization=basic_auth_header()), 200)
        self.assertEqual(len(self.received), 1)
        self.assertIs(self.received[0].sender, scaleway.ScalewayTrackingWebhookView)
