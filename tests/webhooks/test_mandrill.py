"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from unittest.mock import patch

from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, SimpleTestCase, override_settings, tag
from django.urls import reverse

from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.webhooks.mandrill import (
    EVENT_TYPES,
    MandrillCombinedWebhookView,
    MandrillTrackingWebhookView,
)
from tests.utils import FIXTURES
from tests.webhooks.harness import WebhookRequest, WebhookTestCase, basic_auth_header

KEY = "mandrill-webhook-key"
EVENTS = '[{"event":"send","_id":"1","msg":{"email":"zoë@example.com"}}]'


def signature(url: str, *, key: str = KEY, **fields: str) -> str:
    """Return what Mandrill's documentation says is the signature."""
    signed = url
    for name in sorted(fields):
        signed += name + fields[name]
    digest = hmac.new(key.encode(), signed.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


@tag("mandrill")
class MandrillSignatureTests(WebhookTestCase):
    def post(self, path="/anymail/mandrill/", signed_url=None, headers=None, authorization=None):
        url = signed_url or f"http://testserver{path}"
        request = WebhookRequest(
            kind="tracking",
            path=path,
            form=[["mandrill_events", EVENTS]],
            headers={
                "X-Mandrill-Signature": signature(url, mandrill_events=EVENTS),
                **(headers or {}),
            },
        )
        return self.call(request, authorization=authorization)

    def assert_accepted(self, *args, **kwargs):
        self.received.clear()
        self.assertEqual(self.post(*args, **kwargs).status_code, 200)
        self.assertEqual(len(self.received), 1)

    def assert_refused(self, *args, **kwargs):
        self.received.clear()
        self.assertEqual(self.post(*args, **kwargs).status_code, 400)
        self.assert_no_signals()

    def test_url_of_request(self):
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY):
            self.assert_accepted()
            self.assert_accepted("/anymail/mandrill/tracking/")
            self.assert_accepted("/anymail/mandrill/?a=1&b=%C3%A9")
            self.assert_accepted(signed_url="http://testserver/anymail/mandrill/")
            self.assert_refused(signed_url="https://testserver/anymail/mandrill/")
            self.assert_refused(signed_url="http://testserver/anymail/mandrill")
            self.assert_refused(
                "/anymail/mandrill/?a=1", signed_url="http://testserver/anymail/mandrill/"
            )

    def test_url_with_basic_auth(self):
        url = "http://usér:pässword@testserver/anymail/mandrill/"
        authorization = basic_auth_header("usér:pässword")
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY):
            self.assert_accepted(signed_url=url, authorization=authorization)
            self.assert_refused(signed_url=url)
            self.assert_refused(authorization=authorization)
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY, WEBHOOK_SECRET="usér:pässword"):
            self.assert_accepted(signed_url=url, authorization=authorization)
            self.assert_refused()
            other = "http://other:secret@testserver/anymail/mandrill/"
            self.assert_refused(signed_url=other, authorization=basic_auth_header("other:secret"))

    @override_settings(
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
        USE_X_FORWARDED_HOST=True,
        ALLOWED_HOSTS=["www.example.com"],
    )
    def test_proxy(self):
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.example.com"}
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY):
            url = "https://www.example.com/anymail/mandrill/"
            self.assert_accepted(signed_url=url, headers=headers)
            self.assert_refused(signed_url="http://testserver/anymail/mandrill/", headers=headers)

    def test_webhook_url_setting(self):
        url = "https://user:password@www.example.com/some/where?else=1"
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY, MANDRILL_WEBHOOK_URL=url):
            self.assert_accepted(signed_url=url)
            self.assert_accepted("/anymail/mandrill/?other=query", signed_url=url)
            self.assert_refused()

    def test_bare_settings(self):
        url = "https://www.example.com/"
        with (
            self.anymail_settings(),
            override_settings(MANDRILL_WEBHOOK_KEY=KEY, MANDRILL_WEBHOOK_URL=url),
        ):
            self.assert_accepted(signed_url=url)

    def test_missing_key(self):
        for key in ({}, {"MANDRILL_WEBHOOK_KEY": ""}, {"MANDRILL_WEBHOOK_KEY": None}):
            with self.subTest(key=key), self.anymail_settings(**key):
                for path in ("/anymail/mandrill/", "/anymail/mandrill/tracking/"):
                    response = self.client.head(path)
                    self.assertEqual((response.status_code, response.content), (200, b""))
                with self.assertRaisesRegex(AnymailConfigurationError, "MANDRILL_WEBHOOK_KEY"):
                    self.post()
                with self.assertRaises(ImproperlyConfigured):
                    # No reason to accept what is signed with nothing.
                    self.client.post(
                        "/anymail/mandrill/",
                        {"mandrill_events": "[]"},
                        headers={
                            "X-Mandrill-Signature": signature(
                                "http://testserver/anymail/mandrill/", key="", mandrill_events="[]"
                            )
                        },
                    )

    def test_non_ascii_key(self):
        with (
            self.anymail_settings(MANDRILL_WEBHOOK_KEY="schlüssel"),
            self.assertRaises(AnymailConfigurationError) as raised,
        ):
            self.post()
        self.assertIn("MANDRILL_WEBHOOK_KEY", str(raised.exception))
        self.assertNotIn("schl", str(raised.exception))

    def test_head_with_secret(self):
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY, WEBHOOK_SECRET="user:password"):
            self.assertEqual(self.client.head("/anymail/mandrill/").status_code, 200)

    def test_no_warning_without_secret(self):
        # self.call() fails if there is one.
        with self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY):
            self.assert_accepted()

    def test_broken_form_is_refused_for_its_signature(self):
        request = WebhookRequest(
            kind="tracking",
            path="/anymail/mandrill/",
            form=[["mandrill_events", "["]],
            headers={"X-Mandrill-Signature": "A" * 27 + "="},
        )
        with (
            self.anymail_settings(MANDRILL_WEBHOOK_KEY=KEY),
            patch("anymail.webhooks.forms.parse_json") as parse_json,
        ):
            self.assertEqual(self.call(request, authorization=None).status_code, 400)
        parse_json.assert_not_called()


@tag("mandrill")
@override_settings(ANYMAIL={"MANDRILL_WEBHOOK_KEY": KEY})
class MandrillViewTests(SimpleTestCase):
    def refuse(self, headers=None, path="/anymail/mandrill/?q=1", **options):
        request = RequestFactory().post(path, {"mandrill_events": "[]"}, headers=headers)
        with self.assertRaises(AnymailWebhookValidationFailure) as raised:
            MandrillCombinedWebhookView.as_view(**options)(request)
        return str(raised.exception)

    def test_error_names_header(self):
        self.assertIn("X-Mandrill-Signature", self.refuse())

    def test_error_names_url(self):
        headers = {"X-Mandrill-Signature": "wrong"}
        self.assertIn("http://testserver/anymail/mandrill/?q=1 ", self.refuse(headers))
        error = self.refuse(headers, webhook_url="https://www.example.com/hook/")
        self.assertIn("https://www.example.com/hook/ ", error)

    def test_error_has_no_credentials(self):
        headers = {
            "X-Mandrill-Signature": "wrong",
            "Authorization": basic_auth_header("someuser:p/a?s@s#word"),
        }
        error = self.refuse(headers)
        self.assertIn("http://*****@testserver/anymail/mandrill/?q=1 ", error)
        self.assertNotRegex(error, "someuser|word")
        error = self.refuse(headers, webhook_url="https://someuser:word@www.example.com/hook/")
        self.assertIn("https://*****@www.example.com/hook/ ", error)
        self.assertNotRegex(error, "someuser|word")

    def test_options_of_as_view(self):
        url = "https://www.example.com/"
        request = RequestFactory().post(
            "/",
            {"mandrill_events": "[]"},
            headers={"X-Mandrill-Signature": signature(url, key="other", mandrill_events="[]")},
        )
        view = MandrillCombinedWebhookView.as_view(webhook_key="other", webhook_url=url)
        self.assertEqual(view(request).status_code, 200)

    def test_key_is_bytes(self):
        self.assertEqual(MandrillCombinedWebhookView().webhook_key, KEY.encode())

    def test_signal_is_for_one_call_only(self):
        view = MandrillCombinedWebhookView()
        tracking = view.signal
        request = RequestFactory().post(
            "/", {"mandrill_events": '[{"event": "inbound", "msg": {"raw_msg": ""}}]'}
        )
        view.parse_events(request)
        self.assertIsNot(view.signal, tracking)
        self.assertIs(MandrillCombinedWebhookView().signal, tracking)

    def test_names(self):
        self.assertIs(MandrillTrackingWebhookView, MandrillCombinedWebhookView)
        self.assertEqual(reverse("anymail:mandrill_webhook"), "/anymail/mandrill/")
        self.assertEqual(
            reverse("anymail:mandrill_tracking_webhook"), "/anymail/mandrill/tracking/"
        )

    def test_fixtures_cover_all_events(self):
        seen = set()
        for path in Path(FIXTURES, "mandrill").glob("*/*.json"):
            for _name, value in json.loads(path.read_text()).get("form", []):
                if isinstance(value, dict) and isinstance(value["$json"], list):
                    for event in value["$json"]:
                        if isinstance(event, dict):
                            seen |= {str(event.get("event")), str(event.get("type"))}
        self.assertEqual(set(EVENT_TYPES) - seen, set())
