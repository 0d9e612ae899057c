from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock, skipIf, skipUnless

import django
from django.conf import settings
from django.core import checks
from django.http import HttpResponse
from django.test import SimpleTestCase, override_settings
from django.urls import include, path, re_path, resolve
from django.views.decorators.cache import never_cache
from django.views.generic import View

from anymail.checks import (
    check_dedupe_cache,
    check_deprecated_settings,
    check_insecure_settings,
    check_open_webhooks,
    check_repeated_calls,
    get_configured_email_backends,
)
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from tests.utils import use_backend

has_mailers = django.VERSION >= (6, 1)


def use_mailers(**mailers: Any) -> override_settings:
    return override_settings(MAILERS=mailers)


class DeprecatedSettingsTests(SimpleTestCase):
    def test_nothing_to_report(self):
        self.assertEqual(check_deprecated_settings(None), [])
        for value in [{}, None, {"WEBHOOK_SECRET": "x"}]:
            with self.subTest(value=value), override_settings(ANYMAIL=value):
                self.assertEqual(check_deprecated_settings(None), [])
        with override_settings(ANYMAIL_WEBHOOK_SECRET="x"):
            self.assertEqual(check_deprecated_settings(None), [])

    def assertRenamed(self, error: checks.CheckMessage, old: str, new: str) -> None:
        self.assertIsInstance(error, checks.Error)
        self.assertEqual(error.level, checks.ERROR)
        self.assertEqual(error.id, "anymail.E001")
        self.assertIn(old, error.msg)
        self.assertRegex(error.msg, rf"\b{new}\b")
        self.assertRegex(error.hint, rf"Update your settings.*\b{new}\b")

    @override_settings(ANYMAIL={"WEBHOOK_AUTHORIZATION": "a-secret"})
    def test_in_dict(self):
        [error] = check_deprecated_settings(None)
        self.assertRenamed(error, "ANYMAIL['WEBHOOK_AUTHORIZATION']", "WEBHOOK_SECRET")
        self.assertNotIn("a-secret", str(error))

    @override_settings(ANYMAIL_WEBHOOK_AUTHORIZATION="a-secret")
    def test_prefixed(self):
        [error] = check_deprecated_settings(None)
        self.assertRenamed(error, "ANYMAIL_WEBHOOK_AUTHORIZATION", "ANYMAIL_WEBHOOK_SECRET")
        self.assertNotIn("a-secret", str(error))

    @override_settings(
        ANYMAIL={"WEBHOOK_AUTHORIZATION": None}, ANYMAIL_WEBHOOK_AUTHORIZATION="a-secret"
    )
    def test_both(self):
        self.assertEqual(len(check_deprecated_settings(None)), 2)
        self.assertEqual(len(check_deprecated_settings(app_configs=None, databases=["x"])), 2)


class InsecureSettingsTests(SimpleTestCase):
    def assertWarns(self) -> None:
        with override_settings(DEBUG=False):
            [warning] = check_insecure_settings(None)
        self.assertEqual((warning.level, warning.id), (checks.WARNING, "anymail.W002"))
        self.assertIn("DEBUG_API_REQUESTS", warning.msg)
        self.assertIn("leak", warning.msg)
        self.assertIn("DEBUG_API_REQUESTS", warning.hint)
        with override_settings(DEBUG=True):
            self.assertEqual(check_insecure_settings(None), [])

    def assertDoesNotWarn(self) -> None:
        with override_settings(DEBUG=False):
            self.assertEqual(check_insecure_settings(app_configs=None, databases=None), [])

    def test_nothing_to_report(self):
        self.assertDoesNotWarn()
        with override_settings(ANYMAIL={"DEBUG_API_REQUESTS": False}):
            self.assertDoesNotWarn()

    def test_setting(self):
        with override_settings(ANYMAIL={"DEBUG_API_REQUESTS": True}):
            self.assertWarns()
        with override_settings(ANYMAIL_DEBUG_API_REQUESTS=True):
            self.assertWarns()

    @skipUnless(has_mailers, "Django 6.1 introduced MAILERS")
    def test_mailers(self):
        for backend in ["anymail.backends.test.EmailBackend", "my_project.mail.AnymailSubclass"]:
            options = {"debug_api_requests": True}
            with use_mailers(default={}, other={"BACKEND": backend, "OPTIONS": options}):
                self.assertWarns()
            with use_mailers(default={"BACKEND": backend, "OPTIONS": {}}):
                self.assertDoesNotWarn()
            with use_mailers(default={"OPTIONS": {"debug_api_requests": False}}):
                self.assertDoesNotWarn()


class RepeatedCallsTests(SimpleTestCase):
    def found(self) -> list[str]:
        """Return what the warnings say is to be changed."""
        found = check_repeated_calls(app_configs=None, databases=None)
        self.assertEqual(
            {(item.level, item.id) for item in found} - {(checks.WARNING, "anymail.W005")}, set()
        )
        return [re.findall(r'"config" of (\S+),', item.msg)[0] for item in found]

    def test_setting(self):
        for config, repeats in [
            (None, False),
            ({}, False),
            ({"connect_timeout": 3}, False),
            ({"retries": None}, False),
            ({"retries": {}}, False),
            ({"retries": {"total_max_attempts": 1}}, False),
            ({"retries": {"total_max_attempts": 1, "max_attempts": 5}}, False),
            ({"retries": {"max_attempts": 0}}, False),
            ({"retries": {"max_attempts": 1}}, True),
            ({"retries": {"total_max_attempts": 2, "max_attempts": 0}}, True),
            ({"retries": {"mode": "standard"}}, True),
        ]:
            for written in (config, SimpleNamespace(**(config or {}))):
                settings = {"AMAZON_SES_CLIENT_PARAMS": {"config": written}}
                with self.subTest(written), override_settings(ANYMAIL=settings):
                    self.assertEqual(self.found(), ["AMAZON_SES_CLIENT_PARAMS"] * repeats)

    def test_no_setting(self):
        self.assertEqual(self.found(), [])
        with override_settings(ANYMAIL={"AMAZON_SES_CLIENT_PARAMS": None}):
            self.assertEqual(self.found(), [])

    @skipUnless(has_mailers, "Django 6.1 introduced MAILERS")
    def test_mailers(self):
        params = {"config": {"retries": {"mode": "adaptive"}}}
        with use_mailers(default={}, own={"OPTIONS": {"client_params": params}}):
            self.assertEqual(self.found(), ["MAILERS['own']['OPTIONS']['client_params']"])


class DedupeCacheTests(SimpleTestCase):
    def found(self, backend: str = "", options: Any = None, **settings: Any) -> list[Any]:
        cache = {"BACKEND": f"django.core.cache.backends.{backend}", "OPTIONS": options or {}}
        cache["LOCATION"] = "127.0.0.1"
        with override_settings(
            CACHES={"events": cache} if backend else {},
            ANYMAIL={"WEBHOOK_DEDUPE_CACHE": "events"},
            **settings,
        ):
            return check_dedupe_cache(None)

    def test_nothing_to_report(self):
        self.assertEqual(check_dedupe_cache(None), [])
        many = {"MAX_ENTRIES": 10_000}
        for backend, options in (("redis.RedisCache", None), ("db.DatabaseCache", many)):
            self.assertEqual(self.found(backend, options), [])

    def test_unsuitable(self):
        for backend, options, problem in (
            ("locmem.LocMemCache", None, "each process"),
            ("dummy.DummyCache", None, "keeps nothing"),
            ("filebased.FileBasedCache", None, "both add"),
            ("db.DatabaseCache", None, "MAX_ENTRIES, 300"),
            ("db.DatabaseCache", {"MAX_ENTRIES": 9_999}, "MAX_ENTRIES, 9999"),
        ):
            with self.subTest(backend):
                [warning] = self.found(backend, options)
                self.assertEqual((warning.id, warning.level), ("anymail.W006", checks.WARNING))
                self.assertIn("'events'", warning.msg)
                self.assertIn(problem, warning.msg)
                self.assertIn("webhook-duplicates", warning.hint)
                self.assertEqual(self.found(backend, options, DEBUG=True), [])

    def test_no_such_cache(self):
        for debug in (False, True):
            [error] = self.found(DEBUG=debug)
            self.assertEqual((error.id, error.level), ("anymail.E006", checks.ERROR))
            self.assertIn("'events'", error.msg)


class OpenWebhooksTests(SimpleTestCase):
    """Anymail's URLs are at /anymail/ in the test settings."""

    # Without a secret, and without any other setting
    OPEN = {
        *("/anymail/brevo/tracking/", "/anymail/sendinblue/tracking/"),
        *("/anymail/mailjet/inbound/", "/anymail/mailjet/tracking/"),
        *("/anymail/mailtrap/tracking/",),
        *("/anymail/postmark/inbound/", "/anymail/postmark/tracking/"),
        *("/anymail/resend/tracking/",),
        *("/anymail/sendgrid/inbound/", "/anymail/sendgrid/tracking/"),
        *("/anymail/sparkpost/inbound/", "/anymail/sparkpost/tracking/"),
    }

    def found(self) -> dict[str, checks.CheckMessage]:
        """Return the warnings, by URL."""
        warnings = {}
        for warning in check_open_webhooks(app_configs=None, databases=None):
            self.assertEqual((warning.level, warning.id), (checks.WARNING, "anymail.W004"))
            [url] = re.findall(r"to (/\S+),", warning.msg)
            self.assertNotIn(url, warnings)
            warnings[url] = warning
        return warnings

    @contextmanager
    def urls(self, *patterns: Any) -> Iterator[None]:
        urlconf = ModuleType("urlconf")
        urlconf.urlpatterns = list(patterns)
        with override_settings(ROOT_URLCONF=urlconf):
            yield

    @override_settings(ANYMAIL={})
    def test_open(self):
        # In this project, warnings are errors: this also finds out that there are none.
        warnings = self.found()
        self.assertLessEqual(self.OPEN, set(warnings))
        for url, warning in warnings.items():
            self.assertIn("ANYMAIL['WEBHOOK_SECRET']", warning.hint)
            self.assertIn("REQUIRE_WEBHOOK_AUTH", warning.hint)
            self.assertEqual("Postmark" in warning.msg, "postmark" in url)

    @override_settings(ANYMAIL={})
    def test_those_that_refuse_calls(self):
        for esp in ("mailersend", "mailgun", "mandrill", "postal", "unisender_go"):
            self.assertFalse([url for url in self.found() if f"/{esp}/" in url])
        # They need an API key or token to fetch messages.
        for url in ("/anymail/mailtrap/inbound/", "/anymail/resend/inbound/"):
            self.assertNotIn(url, self.found())

    def test_protected(self):
        for value in (
            {"WEBHOOK_SECRET": "user:password"},
            {"WEBHOOK_SECRET": ["user:password"]},
            {"REQUIRE_WEBHOOK_AUTH": True},
        ):
            with self.subTest(value), override_settings(ANYMAIL=value):
                self.assertEqual(self.found(), {})

    def test_settings_that_help(self):
        api_keys = {"MAILTRAP_API_TOKEN": "token", "RESEND_API_KEY": "key"}
        for url, setting, value in (
            ("/anymail/mailtrap/tracking/", "MAILTRAP_TRACKING_SECRET", "secret"),
            ("/anymail/mailtrap/inbound/", "MAILTRAP_INBOUND_SECRET", "secret"),
            ("/anymail/resend/tracking/", "RESEND_SIGNING_SECRET", "whsec_YQ=="),
            ("/anymail/resend/inbound/", "RESEND_INBOUND_SECRET", "whsec_YQ=="),
            # These are not keys. Then calls are refused, by an exception.
            ("/anymail/sendgrid/tracking/", "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY", "k"),
            ("/anymail/sendgrid/inbound/", "SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY", "k"),
        ):
            with self.subTest(setting):
                with override_settings(ANYMAIL=api_keys):
                    before = self.found()
                self.assertIn(f"ANYMAIL['{setting}']", before[url].hint)
                with override_settings(ANYMAIL={**api_keys, setting: value}):
                    after = self.found()
                self.assertEqual(set(before) - set(after), {url})

    @override_settings(ANYMAIL={})
    def test_nested_urls(self):
        anymail_urls = path("hooks/", include("anymail.urls", namespace="hooks"))
        with self.urls(re_path(r"^<tenant>/", include([anymail_urls]))):
            self.assertIn("/<tenant>/hooks/postmark/tracking/", self.found())

    @override_settings(ANYMAIL={})
    def test_views_in_other_places(self):
        class OwnView(PostmarkTrackingWebhookView):
            esp_name = "Own"

        protected = OwnView.as_view(basic_auth="user:password")
        with self.urls(
            path("open/", OwnView.as_view()),
            path("decorated/", never_cache(OwnView.as_view())),
            path("protected/", protected),
            path("other/", View.as_view()),
            path("function/", lambda request: HttpResponse()),
        ):
            self.assertEqual(set(self.found()), {"/open/", "/decorated/"})

    @override_settings(ANYMAIL={})
    def test_no_views(self):
        with self.urls():
            self.assertEqual(self.found(), {})
        with self.urls(path("", View.as_view())):
            self.assertEqual(self.found(), {})
        for urlconf in (None, ""):
            with override_settings(ROOT_URLCONF=urlconf):
                self.assertEqual(self.found(), {})
        with override_settings():
            del settings.ROOT_URLCONF
            self.assertEqual(self.found(), {})

    @override_settings(ANYMAIL={})
    def test_views_that_cannot_be_used(self):
        class BrokenView(PostmarkTrackingWebhookView):
            def __init__(self, **kwargs: Any) -> None:
                raise RuntimeError

        with (
            self.urls(path("", BrokenView.as_view()), path("anymail/", include("anymail.urls"))),
            mock.patch.dict(sys.modules, {"anymail.webhooks.brevo": None}),
        ):
            # Views that were used before are not imported again.
            resolve("/anymail/brevo/tracking/").func.load_anymail_view.cache_clear()
            found = self.found()
        self.assertNotIn("/", found)
        self.assertNotIn("/anymail/brevo/tracking/", found)
        self.assertIn("/anymail/postmark/tracking/", found)


class SendGridTests(SimpleTestCase):
    @use_backend("anymail.backends.sendgrid.EmailBackend")
    def test_is_supported(self):
        errors = [*check_deprecated_settings(None), *check_insecure_settings(None)]
        self.assertEqual(errors, [])


class ConfiguredBackendsTests(SimpleTestCase):
    @use_backend("anymail.backends.test.EmailBackend")
    def test_configured(self):
        self.assertEqual(get_configured_email_backends(), {"anymail.backends.test.EmailBackend"})

    @skipIf(has_mailers, "Django 6.1 has MAILERS")
    def test_default(self):
        with override_settings():
            del settings.EMAIL_BACKEND
            settings._wrapped.EMAIL_BACKEND = "a.b.EmailBackend"
            self.assertEqual(get_configured_email_backends(), {"a.b.EmailBackend"})

    @skipUnless(has_mailers, "Django 6.1 introduced MAILERS")
    def test_mailers(self):
        # Reading EMAIL_BACKEND would be an error here.
        with use_mailers(default={"BACKEND": "a.b.EmailBackend"}, other={"OPTIONS": {}}):
            self.assertEqual(
                get_configured_email_backends(),
                {"a.b.EmailBackend", "django.core.mail.backends.smtp.EmailBackend"},
            )
        with use_mailers():
            self.assertEqual(get_configured_email_backends(), set())

    @skipUnless(has_mailers, "Django 6.1 deprecated EMAIL_BACKEND")
    def test_without_mailers(self):
        # The test settings define MAILERS, and warnings are errors.
        with override_settings():
            del settings.MAILERS
            self.assertEqual(
                get_configured_email_backends(), {"django.core.mail.backends.smtp.EmailBackend"}
            )
