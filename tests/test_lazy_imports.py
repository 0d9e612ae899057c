"""What is imported by importing something else: a project pays only for what it uses."""

from __future__ import annotations

import subprocess
import sys

from django.test import SimpleTestCase, tag

from .providers import OPTIONAL_PACKAGES
from .test_architecture import SHARED, STRATEGIES
from .utils import PACKAGE, skip_without

# What reading settings and routing URLs can do without.
NOT_FOR_URLS = {
    *OPTIONAL_PACKAGES,
    "requests",
    "urllib3",
    "idna",
    "anymail.addresses",
    "anymail.attachments",
    "anymail.backends",
    "anymail.exceptions",
    "anymail.headers",
    "anymail.inbound",
    "anymail.message",
    "anymail.sandbox",
    "anymail.signals",
    "anymail.utils",
    "anymail.webhooks",
}

# What sending has nothing to do with.
NOT_FOR_BACKENDS = {
    *OPTIONAL_PACKAGES,
    "anymail.inbound",
    "anymail.sandbox",
    "anymail.urls",
    "anymail.utils",
    "anymail.webhooks",
}

# What is for keys, failures, limits, strategies, several messages at a time, received mail and
# checks only: most messages need none of that.
NOT_FOR_PLAIN_BACKENDS = {
    *("anymail.sending.calls", "anymail.sending.joining", "anymail.sending.runners"),
    *("anymail.sending.async_http", "anymail.sending.failures", "anymail.sending.suspendable"),
    *("anymail.address_syntax", "anymail.charsets", "anymail.diagnosis", "anymail.known_settings"),
    *("anymail.delivery.decisions", "anymail.delivery.keyed", "anymail.delivery.ledger"),
    *("anymail.delivery.meaning", "anymail.delivery.memory", "anymail.delivery.pauses"),
    *("anymail.delivery.rate", "anymail.delivery.rest", "anymail.delivery.snapshot"),
    *("anymail.delivery.strategy", "anymail.providers"),
    *("django.core.cache.backends.db", "smtplib"),
}

# The one provider whose backend can't do without an optional package, and the aliases.
NEEDED = {
    "amazon_ses": {"boto3", "botocore"},
    "sendinblue": {"anymail.backends.brevo"},
    "sending": {"anymail.sending.joining", "anymail.sending.runners"},
}


def modules_in(package: str) -> set[str]:
    return {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}


class LazyImportTestCase(SimpleTestCase):
    def modules_after(self, code: str) -> set[str]:
        """Return the names of all modules in a new process that runs code."""
        setup = (
            "from django.conf import settings; import django, sys; "
            "settings.configure(INSTALLED_APPS=['anymail'], ANYMAIL={}); django.setup(); "
        )
        process = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"{setup}{code}; print(*sorted(sys.modules))"],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(process.returncode, 0, process.stderr)
        return set(process.stdout.split())


@tag("exhaustive")
class UrlsTests(LazyImportTestCase):
    def assertLean(self, modules: set[str]) -> None:
        self.assertEqual(modules & NOT_FOR_URLS, set())
        strays = {
            name
            for name in modules
            if name.startswith(("anymail.webhooks.", "anymail.backends.", "anymail.sandbox."))
        }
        self.assertEqual(strays, set())

    def test_urls(self):
        modules = self.modules_after("import anymail.urls")
        self.assertIn("anymail.urls", modules)
        self.assertLean(modules)
        self.assertEqual(modules & NOT_FOR_PLAIN_BACKENDS, {"anymail.providers"})

    def test_system_checks(self):
        modules = self.modules_after(
            "from django.core.checks import run_checks; assert run_checks() is not None"
        )
        self.assertIn("anymail.checks", modules)
        self.assertLean(modules)

    def test_system_checks_for_deployment(self):
        """They look at views only if the project's URLs include them."""
        run_checks = (
            "from types import ModuleType; from django.core.checks import run_checks; "
            "from django.urls import include, path; "
            "urls = settings.ROOT_URLCONF = ModuleType('urls'); urls.urlpatterns = [{}]; "
            "found = run_checks(include_deployment_checks=True); "
            "assert {} == any(message.id == 'anymail.W004' for message in found)"
        )
        self.assertLean(self.modules_after(run_checks.format("path('', print)", False)))
        included = "path('', include('anymail.urls'))"
        modules = self.modules_after(run_checks.format(included, True))
        self.assertIn("anymail.webhooks.postmark", modules)


@tag("exhaustive")
class MessagesTests(LazyImportTestCase):
    def test_no_http_library(self):
        """Who makes messages, for a worker to send, has no use for one."""
        modules = self.modules_after("from anymail.message import AnymailMessage")
        self.assertIn("anymail.message", modules)
        unwanted = {"requests", "urllib3", "anymail.attachments", "anymail.backends"}
        self.assertEqual(modules & unwanted, set())


@tag("exhaustive")
class WebhooksTests(LazyImportTestCase):
    def test_one_view(self):
        modules = self.modules_after("import anymail.webhooks.postmark")
        esps = {name.split(".")[-1] for name in modules if name.startswith("anymail.webhooks.")}
        self.assertEqual(esps - SHARED["webhooks"], {"postmark"})
        self.assertEqual({name for name in modules if name.startswith("anymail.backends")}, set())

    def test_no_view_loads_optional_packages(self):
        """They are loaded when a request needs them."""
        imports = "; ".join(f"import anymail.webhooks.{name}" for name in modules_in("webhooks"))
        modules = self.modules_after(imports)
        self.assertIn("anymail.webhooks.resend", modules)
        self.assertEqual(modules & OPTIONAL_PACKAGES, set())


@tag("exhaustive")
class WorkersTests(LazyImportTestCase):
    def test_nothing_optional(self):
        """Where Celery is installed, it isn't imported by what its autodiscovery looks for."""
        modules = self.modules_after("import anymail.tasks, anymail.later")
        self.assertIn("anymail.tasks", modules)
        unwanted = {*NOT_FOR_BACKENDS, "anymail.backends", "django.tasks"}
        self.assertEqual(modules & unwanted, set())

    @skip_without("celery")
    def test_celery_knows_the_tasks(self):
        """In a project that has no line about Anymail but INSTALLED_APPS."""
        self.modules_after(
            "from celery import Celery; app = Celery('x', broker='memory://'); "
            "app.autodiscover_tasks(['anymail'], force=True); app.finalize(); "
            "assert {'anymail.deliver', 'anymail.handle_webhook'} <= set(app.tasks), app.tasks"
        )


@tag("exhaustive")
class BackendsTests(LazyImportTestCase):
    def assertLoadsOnly(self, name: str) -> None:
        modules = self.modules_after(f"import anymail.backends.{name}")
        self.assertIn(f"anymail.backends.{name}", modules)
        others = {
            f"anymail.backends.{other}"
            for other in modules_in("backends") - SHARED["backends"] - {name}
        }
        unwanted = NOT_FOR_BACKENDS | others
        if name not in STRATEGIES:
            unwanted |= NOT_FOR_PLAIN_BACKENDS
        self.assertEqual(modules & unwanted - NEEDED.get(name, set()), set())

    def test_each_backend(self):
        names = modules_in("backends")
        self.assertLessEqual({"base", "console", "postmark", "sendinblue"}, names)
        for name in sorted(names - {"amazon_ses"}):
            with self.subTest(name):
                self.assertLoadsOnly(name)

    def test_sending(self):
        """What isn't imported with the backend isn't needed to send a plain message, either."""
        modules = self.modules_after(
            "from anymail.backends.test import EmailBackend; "
            "from django.core.mail import EmailMessage; "
            "message = EmailMessage('Hi', '.', 'Me <me@example.com>', ['you@example.com']); "
            "assert EmailBackend().send_messages([message]) == 1"
        )
        self.assertIn("anymail.delivery.alone", modules)
        self.assertEqual(modules & NOT_FOR_PLAIN_BACKENDS, set())

    @skip_without("boto3")
    def test_amazon_ses(self):
        self.assertLoadsOnly("amazon_ses")
