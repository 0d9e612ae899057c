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

from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.checks import (
    check_dedupe_cache,
    check_delivery_cache,
    check_deprecated_settings,
    check_ignored_mailers,
    check_insecure_settings,
    check_mailers,
    check_open_webhooks,
    check_repeated_calls,
    check_unknown_settings,
    check_webhook_later,
    check_webhook_secret,
    get_configured_email_backends,
)
from anymail.exceptions import AnymailImproperlyInstalled
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from tests.delivery.leaf import mailer_settings
from tests.docs.known_settings import anymail_keys
from tests.utils import skip_without, use_backend

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


class EngineWithoutWebhooks:
    def enqueue(self, job: str, **kwargs: Any) -> None:
        pass


class WebhookLaterTests(SimpleTestCase):
    FILES = "django.core.files.storage.FileSystemStorage"
    STORAGES = {
        "default": {"BACKEND": FILES},
        "calls": {"BACKEND": FILES, "OPTIONS": {"location": "/srv/calls"}},
        "in media": {"BACKEND": FILES, "OPTIONS": {"location": "/srv/media/calls"}},
        "with URLs": {"BACKEND": FILES, "OPTIONS": {"location": "/srv", "base_url": "/files/"}},
        "not files": {"BACKEND": "django.core.files.storage.Storage"},
        "in memory": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    RIGHT = {
        "WEBHOOK_LATER": "tests.webhooks.harness.Queue",
        "WEBHOOK_LATER_STORAGE": "calls",
        "WEBHOOK_DEDUPE_CACHE": "events",
    }

    def found(self, debug: bool = False, **changes: Any) -> list[Any]:
        with override_settings(
            STORAGES=self.STORAGES,
            CACHES={"events": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
            MEDIA_ROOT="/srv/media",
            DEBUG=debug,
            ANYMAIL={**self.RIGHT, **changes},
        ):
            return check_webhook_later(None)

    def test_nothing_to_report(self):
        self.assertEqual(check_webhook_later(None), [])
        self.assertEqual(self.found(), [])
        self.assertEqual(self.found(WEBHOOK_LATER_STORAGE="not files"), [])
        self.assertEqual(self.found(WEBHOOK_DEDUPE_CACHE="unknown"), [])  # anymail.E006
        for changes in ({"debug": True}, {"WEBHOOK_LATER": "inline"}):
            changes |= {"WEBHOOK_LATER_STORAGE": None, "WEBHOOK_DEDUPE_CACHE": None}
            self.assertEqual(self.found(**changes), [])

    def test_unusable(self):
        for setting, value, text in (
            ("WEBHOOK_LATER", "unknown", "no engine 'unknown'"),
            ("WEBHOOK_LATER", "no.such.engine", "Could not find"),
            ("WEBHOOK_LATER", "tests.test_checks.EngineWithoutWebhooks", "enqueue_webhook"),
            ("WEBHOOK_LATER_STORAGE", "unknown", "no such alias"),
            ("WEBHOOK_LATER_STORAGE", "default", "other files"),
            ("WEBHOOK_LATER_STORAGE", "in media", "MEDIA_ROOT"),
            ("WEBHOOK_LATER_STORAGE", "with URLs", "URLs"),
            ("WEBHOOK_LATER_STORAGE", "in memory", "URLs"),
        ):
            with self.subTest(setting, value=value):
                [error] = self.found(**{setting: value})
                self.assertEqual((error.id, error.level), ("anymail.E020", checks.ERROR))
                self.assertIn(text, error.msg)
                self.assertIn(setting, error.msg)
                self.assertRegex(error.hint, "^Correct it: .*\n.*webhooks_later.html$")

    def test_engine_that_is_not_installed(self):
        missing = AnymailImproperlyInstalled(missing_package="celery", install_extra="celery")
        with mock.patch("anymail.later.engines.CeleryEngine.__init__", side_effect=missing):
            [error] = self.found(WEBHOOK_LATER="celery")
        self.assertIn("celery", error.msg)

    @skipUnless(django.VERSION >= (6, 0), "Django 6.0 introduced tasks")
    def test_tasks_without_a_queue(self):
        [warning] = self.found(WEBHOOK_LATER="tasks")
        self.assertIn("no queue", warning.msg)

    def test_what_can_be_lost_or_repeated(self):
        for changes, text in (
            ({"WEBHOOK_LATER_STORAGE": None}, "no place for"),
            ({"WEBHOOK_DEDUPE_CACHE": None}, "twice"),
            ({"WEBHOOK_DEDUPE_SECONDS": 3600}, "a day at least"),
        ):
            with self.subTest(changes):
                [warning] = self.found(**changes)
                self.assertEqual((warning.id, warning.level), ("anymail.W020", checks.WARNING))
                self.assertIn(text, warning.msg)


class SharedCacheTests(SimpleTestCase):
    """WEBHOOK_DEDUPE_CACHE and DELIVERY_CACHE."""

    SETTINGS = {
        "WEBHOOK_DEDUPE_CACHE": (check_dedupe_cache, "006", "#webhook-duplicates"),
        "DELIVERY_CACHE": (check_delivery_cache, "010", "#delivery-cache"),
    }

    def found(
        self, setting: str, backend: str = "", options: Any = None, **settings: Any
    ) -> list[Any]:
        cache = {"BACKEND": f"django.core.cache.backends.{backend}", "OPTIONS": options or {}}
        cache["LOCATION"] = "127.0.0.1"
        with override_settings(
            CACHES={"events": cache} if backend else {}, ANYMAIL={setting: "events"}, **settings
        ):
            return self.SETTINGS[setting][0](None)

    def test_nothing_to_report(self):
        many = {"MAX_ENTRIES": 10_000}
        for setting, (check, _, _) in self.SETTINGS.items():
            with self.subTest(setting):
                self.assertEqual(check(None), [])
                for backend, options in (("redis.RedisCache", None), ("db.DatabaseCache", many)):
                    self.assertEqual(self.found(setting, backend, options), [])

    def test_unsuitable(self):
        for setting, (_, number, docs) in self.SETTINGS.items():
            for backend, options, problem in (
                ("locmem.LocMemCache", None, "each process"),
                ("dummy.DummyCache", None, "keeps nothing"),
                ("filebased.FileBasedCache", None, "both add"),
                ("db.DatabaseCache", None, "MAX_ENTRIES, 300"),
                ("db.DatabaseCache", {"MAX_ENTRIES": 9_999}, "MAX_ENTRIES, 9999"),
            ):
                with self.subTest(setting, backend=backend):
                    [warning] = self.found(setting, backend, options)
                    expected = (f"anymail.W{number}", checks.WARNING)
                    self.assertEqual((warning.id, warning.level), expected)
                    self.assertIn("'events'", warning.msg)
                    self.assertIn(problem, warning.msg)
                    self.assertIn(setting, warning.msg)
                    self.assertIn(docs, warning.hint)
                    self.assertEqual(self.found(setting, backend, options, DEBUG=True), [])

    def test_no_such_cache(self):
        for setting, (_, number, _) in self.SETTINGS.items():
            for debug in (False, True):
                with self.subTest(setting, debug=debug):
                    [error] = self.found(setting, DEBUG=debug)
                    self.assertEqual((error.id, error.level), (f"anymail.E{number}", checks.ERROR))
                    self.assertIn(f"{setting} is 'events'", error.msg)


class OwnBackend(PostmarkBackend):
    pass


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

    hint = ""
    unused = 0

    def found(self) -> dict[str, str]:
        """Return what the warning names: {URL: provider}. Keeps its hint."""
        warnings = check_open_webhooks(app_configs=None, databases=None)
        self.assertLessEqual(len(warnings), 1)
        named: dict[str, str] = {}
        self.hint, self.unused = "", 0
        for warning in warnings:
            self.assertEqual((warning.level, warning.id), (checks.WARNING, "anymail.W004"))
            named = dict(re.findall(r"(/\S*) \(([^)]+)\)", warning.msg))
            self.unused = int((re.findall(r"(\d+) webhooks of providers", warning.msg) or [0])[0])
            self.hint = warning.hint
            self.assertIn("ANYMAIL['WEBHOOK_SECRET']", self.hint)
            self.assertIn("REQUIRE_WEBHOOK_AUTH", self.hint)
        return named

    @contextmanager
    def urls(self, *patterns: Any) -> Iterator[None]:
        urlconf = ModuleType("urlconf")
        urlconf.urlpatterns = list(patterns)
        with override_settings(ROOT_URLCONF=urlconf):
            yield

    @override_settings(ANYMAIL={})
    def test_open(self):
        # In this project, warnings are errors: this also finds out that there are none.
        named = self.found()
        self.assertLessEqual(self.OPEN, set(named))
        for url, esp_name in named.items():
            self.assertIn(esp_name.lower().replace(" ", "_"), url)
        self.assertEqual(self.unused, 0)

    def test_only_providers_in_use_are_named(self):
        postmark = {"/anymail/postmark/inbound/", "/anymail/postmark/tracking/"}
        for override in (
            override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token"}),
            override_settings(ANYMAIL={}, ANYMAIL_POSTMARK_SERVER_TOKEN="token"),
            use_backend("anymail.backends.postmark.EmailBackend", ANYMAIL={}),
            use_backend(f"{__name__}.OwnBackend", ANYMAIL={}),
        ):
            with override:
                self.assertEqual(set(self.found()), postmark)
                self.assertGreater(self.unused, 10)
        with override_settings(ANYMAIL={"MAILGUN_API_KEY": "key"}):  # always signed
            self.assertEqual(self.found(), {})
            self.assertGreater(self.unused, 10)
        with override_settings(ANYMAIL={"SENDINBLUE_API_KEY": "key"}):
            self.assertIn("/anymail/brevo/tracking/", self.found())
            self.assertIn("/anymail/sendinblue/tracking/", self.found())

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
        api_keys = {
            "MAILTRAP_API_TOKEN": "token",
            "RESEND_API_KEY": "key",
            "SENDGRID_API_KEY": "key",
        }
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
                self.assertIn(f"ANYMAIL['{setting}']", self.hint)
                with override_settings(ANYMAIL={**api_keys, setting: value}):
                    after = self.found()
                self.assertEqual(set(before) - set(after), {url})

    @override_settings(ANYMAIL={})
    def test_nested_urls(self):
        anymail_urls = path("hooks/", include("anymail.urls", namespace="hooks"))
        with self.urls(re_path(r"^<tenant>/", include([anymail_urls]))):
            self.assertIn("/<tenant>/hooks/postmark/tracking/", self.found())

    @override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token"})
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


class UnknownSettingsTests(SimpleTestCase):
    def found(self, **anymail: Any) -> dict[str, str]:
        """Return what the warnings are about: {how it is written: hint}."""
        with override_settings(ANYMAIL=anymail):
            return self.current()

    def current(self) -> dict[str, str]:
        found = {}
        for warning in check_unknown_settings(app_configs=None, databases=None):
            self.assertEqual((warning.level, warning.id), (checks.WARNING, "anymail.W007"))
            found[warning.msg.partition(" has no effect")[0]] = warning.hint.partition("\n")[0]
        return found

    @skip_without("boto3")
    def test_all_settings_are_known(self):
        names = dict.fromkeys(anymail_keys(), "x")
        self.assertEqual(self.found(**names), {})
        self.assertEqual(self.found(SENDINBLUE_API_KEY="x", SENDINBLUE_SEND_DEFAULTS={}), {})
        with override_settings(ANYMAIL=None, **{f"ANYMAIL_{key}": "x" for key in names}):
            self.assertEqual(self.current(), {})

    def test_misspelt(self):
        for key, hint in {
            "REQUIRE_WEBHOOK_AUHT": "Did you mean REQUIRE_WEBHOOK_AUTH?",
            "WEBHOOK_SECRETS": "Did you mean WEBHOOK_SECRET?",
            "SEND_DEFUALTS": "Did you mean SEND_DEFAULTS?",
            "requests_timeout": "Did you mean REQUESTS_TIMEOUT?",
            "POSTMARK_SERVR_TOKEN": "Did you mean POSTMARK_SERVER_TOKEN?",
            "POSTMARK_SEND_DEFUALTS": "Did you mean POSTMARK_SEND_DEFAULTS?",
            "postmark_server_token": "Did you mean POSTMARK_SERVER_TOKEN?",
            "SENDINBLUE_API_KYE": "Did you mean SENDINBLUE_API_KEY?",
            "POSTMRK_SERVER_TOKEN": "Did you mean POSTMARK_SERVER_TOKEN?",
            "UNISENDERGO_API_KEY": "Did you mean UNISENDER_GO_API_KEY?",
        }.items():
            with self.subTest(key):
                self.assertEqual(self.found(**{key: "x"}), {f"ANYMAIL[{key!r}]": hint})
                with override_settings(ANYMAIL={}, **{f"ANYMAIL_{key}": "x"}):
                    self.assertEqual(self.current(), {f"ANYMAIL_{key}": hint})

    def test_other_words(self):
        """The key is not API_KEY with each provider."""
        [hint] = self.found(POSTMARK_API_KEY="secret").values()
        self.assertIn("The settings of Postmark are POSTMARK_API_URL, ", hint)
        self.assertIn(" POSTMARK_SERVER_TOKEN,", hint)
        self.assertNotIn("secret", hint)

    def test_keys_of_other_packages(self):
        for key in (
            *("CARRIER_PIGEON_API_KEY", "ACME_SEND_DEFAULTS", "ACME_WEBHOOK_SECRET"),
            *("TENANTS", "POST_OFFICE"),
        ):
            with self.subTest(key):
                self.assertEqual(self.found(**{key: "x"}), {})

    def test_extra_that_is_missing(self):
        with mock.patch.dict(sys.modules, {"anymail.backends.amazon_ses": None}):
            self.assertEqual(self.found(AMAZON_SES_NO_SUCH_SETTING="x"), {})


class WebhookSecretTests(SimpleTestCase):
    def test_nothing_to_report(self):
        for value in (None, "", "user:password", ["user:password", "other:password"]):
            with self.subTest(value=value), override_settings(ANYMAIL={"WEBHOOK_SECRET": value}):
                self.assertEqual(check_webhook_secret(None), [])

    def test_wrong(self):
        for value in ("s3cret", ["user:password", "s3cret"], "user:s3cret\n", 1):
            with self.subTest(value=value), override_settings(ANYMAIL={"WEBHOOK_SECRET": value}):
                found = [item for item in checks.run_checks() if item.id == "anymail.E011"]
                [error] = found
                self.assertTrue(error.is_serious())
                self.assertRegex(error.msg, "WEBHOOK_SECRET (must be|has white space)")
                self.assertNotIn("s3cret", str(error))


class IgnoredMailersTests(SimpleTestCase):
    def test_nothing_to_report(self):
        with override_settings(ANYMAIL={}):
            self.assertEqual(check_ignored_mailers(None), [])

    def test_ignored(self):
        ignored: dict[str, Any] = {"MAILERS": {"default": {}}}
        ignored = {"ANYMAIL": ignored} if has_mailers else ignored
        with override_settings(**ignored):
            [error] = check_ignored_mailers(app_configs=None, databases=None)
        self.assertEqual((error.level, error.id), (checks.ERROR, "anymail.E008"))
        self.assertIn("ANYMAIL['MAILERS']" if has_mailers else "MAILERS has no effect", error.msg)

    @skipIf(has_mailers, "Django 6.1 introduced MAILERS")
    def test_it_is_not_read(self):
        options = {"debug_api_requests": True}
        mailers = {"other": {"BACKEND": "a.b.EmailBackend", "OPTIONS": options}}
        with override_settings(MAILERS=mailers, DEBUG=False):
            self.assertEqual(check_insecure_settings(None), [])
            self.assertNotIn("a.b.EmailBackend", get_configured_email_backends())


class BrokenBackend(PostmarkBackend):
    def __init__(self, **kwargs: Any) -> None:
        raise RuntimeError("sécret")


class MailersCheckTests(SimpleTestCase):
    """Each configured backend is made. Nothing is called."""

    def setUp(self):
        patcher = mock.patch("socket.socket.connect", side_effect=AssertionError)
        patcher.start()
        self.addCleanup(patcher.stop)

    def found(self, backend: str, **anymail: Any) -> str:
        """Return the only message, and in the next line its hint; empty if there is none."""
        with use_backend(backend, ANYMAIL=anymail):
            return self.current("MAILERS['default']" if has_mailers else "EMAIL_BACKEND")

    def current(self, where: str) -> str:
        messages = check_mailers(app_configs=None, databases=None)
        if not messages:
            return ""
        [message] = messages
        self.level = message.id.removeprefix("anymail.")
        self.assertEqual(message.level, checks.WARNING if self.level == "W009" else checks.ERROR)
        self.assertTrue(message.msg.startswith(f"The email backend of {where} can't"), message.msg)
        return f"{message.msg}\n{message.hint}"

    def test_those_that_work(self):
        for backend in (
            "anymail.backends.test.EmailBackend",
            "anymail.backends.sendinblue.EmailBackend",  # which warns
            "django.core.mail.backends.smtp.EmailBackend",
            "no.such.package.EmailBackend",  # says Django
        ):
            with self.subTest(backend):
                self.assertEqual(self.found(backend, SENDINBLUE_API_KEY="key"), "")

    def test_key(self):
        backend = "anymail.backends.postmark.EmailBackend"
        self.assertEqual(self.found(backend, POSTMARK_SERVER_TOKEN="key"), "")
        for anymail, text in (
            ({}, "'server_token'" if has_mailers else "POSTMARK_SERVER_TOKEN"),
            ({"POSTMARK_SERVER_TOKEN": ""}, "server_token" if has_mailers else "POSTMARK_SERVER"),
            ({"POSTMARK_SERVER_TOKEN": "sécret\n"}, "POSTMARK_SERVER_TOKEN has white space"),
            ({"POSTMARK_SERVER_TOKEN": "key", "SEND_CONCURRENCY": 0}, "SEND_CONCURRENCY must be"),
            ({"POSTMARK_SERVER_TOKEN": "key", "SEND_BATCH_SIZE": 0}, "SEND_BATCH_SIZE must be"),
        ):
            with self.subTest(anymail):
                found = self.found(backend, **anymail)
                self.assertIn(text, found)
                self.assertRegex(found, r"\nDocs: settings\.html#setting-\w+\Z")
                self.assertNotIn("sécret", found)
                self.assertEqual(self.level, "W009")

    @skip_without("limits")
    def test_rate(self):
        backend, key = "anymail.backends.postmark.EmailBackend", {"POSTMARK_SERVER_TOKEN": "key"}
        self.assertEqual(self.found(backend, **key, POSTMARK_RATE="50/second"), "")
        for rate in ("50/secnd", 50):
            found = self.found(backend, **key, POSTMARK_RATE=rate)
            self.assertIn(f'RATE must be like "50/second" or "100/minute", not {rate!r}.', found)
            self.assertEqual(self.level, "W009")
        with mock.patch.dict(sys.modules, {"limits": None}):
            found = self.found(backend, **key, POSTMARK_RATE="50/second")
        self.assertIn("The limits package is required to use RATE", found)

    def test_extra(self):
        with mock.patch.dict(sys.modules, {"boto3": None}):
            sys.modules.pop("anymail.backends.amazon_ses", None)
            found = self.found("anymail.backends.amazon_ses.EmailBackend")
        self.assertIn("django-anymail[amazon-ses]", found)
        self.assertEqual(self.level, "W009")

    def test_module(self):
        for backend, hint in (
            ("anymail.backends.postmrk.EmailBackend", "anymail.backends.postmark.EmailBackend?"),
            ("anymail.backends.amazonses.EmailBackend", "anymail.backends.amazon_ses.EmailBackend"),
            ("anymial.backends.postmark.EmailBackend", "anymail.backends.postmark.EmailBackend?"),
            ("anymail.backends.postmark.EmailBacken", "anymail.backends.postmark.EmailBackend?"),
            ("anymail.backends.postmark.PostmarkBackend", "anymail.backends.postmark.EmailBackend"),
            ("anymail.sendgrid", "anymail.backends.<provider>.EmailBackend"),
        ):
            with self.subTest(backend):
                self.assertIn(hint, self.found(backend))
                self.assertEqual(self.level, "E009")

    def test_subclass(self):
        self.assertRegex(self.found(f"{__name__}.BrokenBackend"), "used: RuntimeError\nNone")

    def test_options(self):
        mailers = {
            "default": {"BACKEND": "anymail.backends.test.EmailBackend"},
            "other": {
                "BACKEND": "anymail.backends.postmark.EmailBackend",
                "OPTIONS": {"server_token": "key", "mesage_stream": "x", "moon_phase": "full"},
            },
        }
        setting = {"MAILERS": mailers} if has_mailers else {"ANYMAIL": {"MAILERS": mailers}}
        with override_settings(**setting):
            found = self.current(
                "MAILERS['other']" if has_mailers else "ANYMAIL['MAILERS']['other']"
            )
        self.assertIn("Unknown options", found)
        self.assertIn("Did you mean 'message_stream'?", found)


class StrategyCheckTests(SimpleTestCase):
    """Mailers that name other mailers."""

    def found(self, **strategies: Any) -> dict[str, str]:
        """Return the errors, by alias. Strategies are the aliases in their "mailers"."""
        mailers = {
            "default": {"BACKEND": "anymail.backends.test.EmailBackend"},
            "postmark": {"BACKEND": "anymail.backends.test.EmailBackend"},
        }
        for alias, options in strategies.items():
            if not isinstance(options, dict) or "mailers" not in options:
                options = {"mailers": options, "duplicates": "avoid"}
            name = "weighted" if isinstance(options["mailers"], dict) else "failover"
            mailers[alias] = {
                "BACKEND": f"anymail.backends.{name}.EmailBackend",
                "OPTIONS": options,
            }
        found = {}
        with mailer_settings(mailers):
            for error in check_mailers(None):
                self.assertEqual((error.id, error.level), ("anymail.E009", checks.ERROR))
                where = re.search(r"MAILERS'?\]?\['(\w+)'\] can't be used: ", error.msg)
                if where is not None:  # Before Django 6.1, EMAIL_BACKEND is the default mailer.
                    found[where[1]] = error.msg[where.end() :]
        return found

    def test_nothing_to_report(self):
        found = self.found(a=["default", "postmark"], b={"a": 1, "postmark": 2}, c=["a", "b"])
        self.assertEqual(found, {})

    def test_no_mailers(self):
        for nothing in ([], {}, None):
            with self.subTest(nothing):
                self.assertRegex(self.found(a=nothing)["a"], "must have 'mailers'")

    def test_itself(self):
        self.assertIn("can't be one of its own", self.found(a=["postmark", "a"])["a"])

    def test_circle(self):
        found = self.found(a=["b"], b={"postmark": 1, "c": 2}, c=["postmark", "a"], d=["a"])
        self.assertEqual(
            found,
            {
                "a": "It would send with itself: 'a' -> 'b' -> 'c' -> 'a'.",
                "b": "It would send with itself: 'b' -> 'c' -> 'a' -> 'b'.",
                "c": "It would send with itself: 'c' -> 'a' -> 'b' -> 'c'.",
            },
        )

    def test_missing(self):
        found = self.found(a=["default", "postmrk"], b={"other": 1})
        self.assertEqual(
            found["a"],
            "'mailers' has 'postmrk', but there is no such mailer. Did you mean 'postmark'?",
        )
        self.assertEqual(found["b"], "'mailers' has 'other', but there is no such mailer.")

    def test_misspelt_option(self):
        strategy = {
            "BACKEND": "anymail.backends.failover.EmailBackend",
            "OPTIONS": {"mailers": ["default"], "duplicates": "avoid", "pauze": 5},
        }
        default = {"BACKEND": "anymail.backends.test.EmailBackend"}
        with mailer_settings({"default": default, "a": strategy}):
            [message] = check_mailers(None)
        self.assertIn("Unknown options 'pauze'.", message.msg)
        self.assertIn("Did you mean 'pause'?", message.hint)

    def test_duplicates(self):
        """The choice is explained."""
        for value in ({}, {"duplicates": "maybe"}):
            with self.subTest(value):
                found = self.found(a={"mailers": ["default"], **value})["a"]
                self.assertIn('\'duplicates\': "avoid" or "accept"', found)
                self.assertIn("may never arrive, or it is, and may arrive twice", found)


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
