"""The registry of providers, and the lists and files that must agree with it.

What is made from the registry can't differ: URLs, the sandbox, system checks, and the lists in the
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from unittest import TestResult
from unittest.mock import patch

from django.test import SimpleTestCase, tag
from django.utils.module_loading import import_string

from anymail.providers import PROVIDERS, Webhook
from anymail.signals import EventType
from anymail.webhook_apis.base import load_webhook_api

from .docs import test_provider_pages
from .docs.blocks import ROOT
from .feature_matrix import GROUPS, PATH
from .golden import test_golden
from .utils import PACKAGE, skip_without

TESTS = ROOT / "tests"
FORMER = {former for provider in PROVIDERS.values() for former in provider.former_names}

# Modules beside those of providers: the pattern of what all providers' have, by directory.
MODULES = {
    PACKAGE / "backends": r"^    esp_name = ",
    PACKAGE / "webhooks": r"^    esp_name = ",
    PACKAGE / "webhook_apis": r"^class \w+\(WebhookAPI\)",
    PACKAGE / "sandbox": r"^class \w+\(Provider\)",
    TESTS / "backends" / "cases": r"BackendCase\(\n    name=",
    TESTS / "webhooks" / "cases": r"WebhookCase\(\n    esp=",
}
NO_PROVIDERS = {"base", "console", "test"}


def extras() -> dict[str, list[str]]:
    """Return {extra: requirements} of pyproject.toml."""
    # (Python 3.10 has no tomllib.)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("\n[project.optional-dependencies]\n")[2].partition("\n[")[0]
    found = re.findall(r"^([\w-]+) = \[(.*)\]", table, re.MULTILINE)
    return {extra: re.findall(r'"([^"]+)"', requirements) for extra, requirements in found}


def files_in(directory: Path, pattern: str) -> list[Path]:
    return [path.relative_to(directory) for path in directory.glob(pattern)]


def distribution(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0]


class RegistryTests(SimpleTestCase):
    def test_keys_are_in_order(self):
        self.assertEqual(list(PROVIDERS), sorted(PROVIDERS))
        for name, provider in PROVIDERS.items():
            self.assertEqual(provider.module, name)
            self.assertLessEqual(set(provider.required_packages), set(provider.packages))

    def test_names_of_urls(self):
        urls = [webhook for item in PROVIDERS.values() for webhook in item.webhook_urls()]
        self.assertEqual(len({webhook.url_name for webhook in urls}), len(urls))
        self.assertEqual(len({webhook.path for webhook in urls}), len(urls))

    def test_usual_webhook(self):
        self.assertEqual(
            Webhook("tracking").of("my_esp", "My ESP"),
            Webhook(
                "tracking",
                path="my_esp/tracking/",
                url_name="my_esp_tracking_webhook",
                view="my_esp:MyESPTrackingWebhookView",
            ),
        )


class ModulesTests(SimpleTestCase):
    def assert_all(self, names: Iterable[str]) -> None:
        self.assertEqual(sorted(set(names) - FORMER), sorted(PROVIDERS))

    def test_modules(self):
        for directory, pattern in MODULES.items():
            with self.subTest(directory):
                self.assert_all(
                    path.stem
                    for path in directory.glob("*.py")
                    if path.stem not in NO_PROVIDERS
                    and re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
                )

    def test_tests(self):
        for directory in (TESTS / "golden", TESTS / "fixtures"):
            with self.subTest(directory):
                found = {path.parts[0] for path in files_in(directory, "*/**/*.json")}
                self.assert_all(found - {"signatures"})

    @skip_without("boto3")
    def test_backends(self):
        for provider in PROVIDERS.values():
            with self.subTest(provider.module):
                self.assertEqual(import_string(provider.backend).esp_name, provider.esp_name)
                for former, esp_name in provider.former_names.items():
                    backend = import_string(f"anymail.backends.{former}.EmailBackend")
                    self.assertEqual(backend.esp_name, esp_name)

    def test_views(self):
        for provider in PROVIDERS.values():
            for webhook in provider.webhook_views():
                with self.subTest(webhook.view):
                    view = import_string(webhook.view_path)
                    self.assertEqual(view.esp_name, provider.esp_name)

    def test_places_of_webhooks(self):
        for provider in PROVIDERS.values():
            with self.subTest(provider.module):
                api = load_webhook_api(provider)
                kinds = [kind for kind in ("tracking", "inbound") if provider.reports(kind)]
                self.assertEqual(list(api.places), kinds)
                self.assertLessEqual(set(api.apply_kinds), set(kinds))
                known = set(vars(EventType).values())
                words = {word for words in api.events.values() for word in words.split(", ")}
                self.assertLessEqual(words, known)
                self.assertTrue(words)


class ListsTests(SimpleTestCase):
    """Lists that are written by hand, where nothing can be made when they are read."""

    def test_extras(self):
        found = extras()
        for provider in PROVIDERS.values():
            with self.subTest(provider.module):
                names = list(map(distribution, found.pop(provider.extra)))
                self.assertEqual(names, list(provider.packages.values()))
                for former in provider.former_names:
                    self.assertEqual(list(map(distribution, found.pop(former))), names)
        with_packages = [item.extra for item in PROVIDERS.values() if item.packages]
        [everything] = found.pop("all")
        names = everything.partition("[")[2].rstrip("]").split(",")
        self.assertEqual(names, sorted([*with_packages, *found]))

    def test_keywords(self):
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        keywords = re.findall(r'"([^"]+)"', text.partition("keywords = [")[2].partition("]")[0])
        names = [provider.esp_name for provider in PROVIDERS.values()]
        self.assertEqual(set(keywords[-len(names) :]), set(names))

    def test_readme(self):
        text = Path(ROOT, "README.rst").read_text(encoding="utf-8")
        rows = re.findall(r"^(\S.*?)  +``(\w+)`` +(yes|no) +(yes|no)$", text, re.MULTILINE)
        yes = {True: "yes", False: "no"}
        self.assertEqual(
            [row[1:] for row in rows],
            [
                (name, yes[provider.reports("tracking")], yes[provider.reports("inbound")])
                for name, provider in PROVIDERS.items()
            ],
        )
        for (title, *_), provider in zip(rows, PROVIDERS.values(), strict=True):
            self.assertTrue(title.startswith(provider.esp_name), title)

    def test_tables(self):
        """Those that tell something about each provider."""
        for page, begin, end, pattern in (
            ("failover", "\n.. _provider-limits:", "\n.. _", r"<esps/(\w+)>`"),
            ("securing_webhooks", "\n   * - Provider\n", "\n.. _", r"(?m)^   \* - (.+)"),
            ("tips/international_email", "- With such an address", "\n\n", r":doc:`/esps/(\w+)`"),
        ):
            text = (ROOT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
            found = re.findall(pattern, text.partition(begin)[2].partition(end)[0])
            with self.subTest(page):
                self.assertEqual({name.lower().replace(" ", "_") for name in found}, set(PROVIDERS))

    def test_generated_lists(self):
        for page, form in {
            "index": "links",
            "esps/index": "pages",
            "installation": "install",
            "help": "logs",
            "settings": "settings",
        }.items():
            text = (ROOT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
            self.assertEqual(text.count(f"\n.. anymail-providers:: {form}\n"), 1, page)


class MissingEntryTests(SimpleTestCase):
    """Without an entry in the registry, each list that it belongs to is wrong."""

    TESTS = (
        ModulesTests("test_modules"),
        ModulesTests("test_tests"),
        ListsTests("test_extras"),
        ListsTests("test_keywords"),
        ListsTests("test_readme"),
        ListsTests("test_tables"),
        test_provider_pages.PageTests("test_there_is_a_page_for_each_provider"),
        test_golden.GoldenFilesTests("test_there_are_no_others"),
    )

    @tag("exhaustive")
    def test_each_list(self):
        with patch.dict(PROVIDERS):
            del PROVIDERS["mailjet"]
            for test in self.TESTS:
                with self.subTest(test.id()):
                    result = TestResult()
                    test.run(result)
                    self.assertTrue(result.failures, result.errors)

    def test_feature_matrix(self):
        page = PATH.read_text(encoding="utf-8")
        rows = re.findall(r"^   \* - :doc:`(\w+)`", page, re.MULTILINE)
        self.assertEqual(rows, list(PROVIDERS) * len(GROUPS))
