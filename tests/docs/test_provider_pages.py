"""Checks that the providers' pages have the same form, and that the boxes at the top are right."""

from __future__ import annotations

import re
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase, override_settings
from django.urls import resolve, reverse
from django.utils.module_loading import import_string

from anymail.exceptions import AnymailAPIError, AnymailInsecureWebhookWarning
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox
from anymail.signals import pre_send

from ..utils import make_message
from .blocks import ROOT, blocks_in
from .known_settings import groups

PAGES = ROOT / "docs" / "esps"

SECTIONS = [
    "Settings",
    "esp_extra",
    "Limitations and quirks",
    "Batch sending/merge and templates",
    "Tracking webhook",
    "Inbound webhook",
    "Troubleshooting",
]
# What errors and other pages refer to: the names of these, after the provider's.
LABELS = {
    "settings": "Settings",
    "quirks": "Limitations and quirks",
    "templates": "Batch sending/merge and templates",
    "tracking": "Tracking webhook",
    "inbound": "Inbound webhook",
}

BOX = [
    "Install",
    "Required settings",
    "Backend",
    "Tracking webhook",
    "Inbound webhook",
    "Webhooks are protected by",
    "Logs",
    "Features",
]

_HEADING = re.compile(r"(?P<labels>(?:^\.\. _[\w-]+:\n+)*)^(?P<title>\S.*)\n-{3,}$", re.MULTILINE)
_FIELD = re.compile(r"^   :([\w ]+): (.*(?:\n      .*)*)", re.MULTILINE)
_NAME = re.compile(r"[A-Z][A-Z0-9_]{4,}")


@cache
def page(provider: str) -> str:
    return (PAGES / f"{provider}.rst").read_text(encoding="utf-8")


def sections(provider: str) -> dict[str, str]:
    """Return {title: the labels before it} of a page's sections, in order."""
    return {match["title"]: match["labels"] for match in _HEADING.finditer(page(provider))}


def box(provider: str) -> dict[str, str]:
    """Return the fields in the box at the top of a page, in order."""
    _, _, rest = page(provider).partition("\n.. admonition:: At a glance\n\n")
    text = re.split(r"\n\n(?=\S)", rest, maxsplit=1)[0]
    return {name: re.sub(r"\s+", " ", value) for name, value in _FIELD.findall(text)}


def view_classes(provider: str, kind: str) -> list[Any]:
    """Return the classes of a provider's webhook views of that kind, each once."""
    return [import_string(webhook.view_path) for webhook in PROVIDERS[provider].webhook_views(kind)]


def webhook_prefix() -> str:
    """Return the path that the tests' URLconf includes anymail.urls at."""
    return reverse("anymail:postmark_tracking_webhook").partition("postmark/")[0]


def protection(view_class: Any) -> tuple[bool, str | None]:
    """Return whether calls must be signed, and what to set for them to have to be."""
    group = groups()[view_class.__module__.rpartition(".")[2]]
    required = {item.name: "x" for item in group.settings if item.required}
    with override_settings(ANYMAIL=required), warnings.catch_warnings():
        warnings.simplefilter("ignore", AnymailInsecureWebhookWarning)
        view = view_class()
        return view.is_protected, (not view.is_protected and view.signature_setting) or None


class PageTests(SimpleTestCase):
    def test_there_is_a_page_for_each_provider(self):
        others = {"index", "feature_matrix"}
        self.assertEqual({path.stem for path in PAGES.glob("*.rst")} - others, set(PROVIDERS))

    def test_title(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                esp_name = PROVIDERS[provider].esp_name
                self.assertTrue(page(provider).startswith(f"{esp_name}\n{'=' * len(esp_name)}\n"))

    def test_sections(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                self.assertEqual(list(sections(provider)), SECTIONS)

    def test_labels(self):
        for provider in PROVIDERS:
            name = provider.replace("_", "-")
            found = sections(provider)
            for label, title in LABELS.items():
                with self.subTest(provider, label=label):
                    self.assertIn(f".. _{name}-{label}:\n", found[title])

    def test_settings_come_from_the_table(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                directives = re.findall(
                    r"^Settings\n-+\n\n\.\. anymail-settings:: (\w+)$", page(provider), re.MULTILINE
                )
                self.assertEqual(directives, [provider])

    def test_all_urls_exist(self):
        prefix = webhook_prefix()
        for provider in PROVIDERS:
            for url in re.findall(r"HOST/anymail/([\w/]*)", page(provider)):
                with self.subTest(provider, url=url):
                    resolve(prefix + url)  # or raise Resolver404


class BoxTests(SimpleTestCase):
    def test_fields(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                self.assertEqual(list(box(provider)), BOX)

    def test_install(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                extra = PROVIDERS[provider].extra
                text = box(provider)["Install"]
                start = f'``python -m pip install ".[{extra}]"``, :ref:`in a copy of the repository'
                self.assertTrue(text.startswith(f"{start} <install-extras>` ("), text)
                self.assertEqual("(no other packages)" in text, not PROVIDERS[provider].packages)

    def test_required_settings(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                settings = groups()[provider].settings
                names = {item.name for item in settings}
                required = {item.name for item in settings if item.required}
                named = set(_NAME.findall(box(provider)["Required settings"])) - {"AWS"}
                self.assertLessEqual(named, names)
                self.assertLessEqual(required, named)

    def test_backend(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                self.assertEqual(
                    box(provider)["Backend"], f"``anymail.backends.{provider}.EmailBackend``"
                )
                self.assertIsNotNone(find_spec(f"anymail.backends.{provider}"))

    def test_webhook_urls(self):
        prefix = webhook_prefix()
        for provider in PROVIDERS:
            for kind in ("tracking", "inbound"):
                with self.subTest(provider, kind=kind):
                    text = box(provider)[f"{kind.capitalize()} webhook"]
                    urls = re.findall(r"``https://(?:USER:PASSWORD@)?HOST/anymail/(.*?)``", text)
                    expected = [cls.__name__ for cls in view_classes(provider, kind)]
                    if not expected:
                        self.assertTrue(text.startswith("none"), text)
                    self.assertEqual(
                        [resolve(prefix + url).func.__name__ for url in urls], expected
                    )

    def test_protection(self):
        for provider in PROVIDERS:
            fields = box(provider)
            text = fields["Webhooks are protected by"]
            for kind in ("tracking", "inbound"):
                for view_class in view_classes(provider, kind):
                    with self.subTest(provider, kind=kind):
                        if provider == "amazon_ses" and find_spec("boto3") is None:
                            self.skipTest("views of Amazon SES can't be made without boto3")
                        is_signed, setting = protection(view_class)
                        self.assertEqual("signature, which is always checked" in text, is_signed)
                        self.assertEqual(
                            "does not sign its calls" in text, not is_signed and setting is None
                        )
                        self.assertIn(setting or "WEBHOOK_SECRET", text)
                        # Where they are signed, the URL needs no password.
                        url = fields[f"{kind.capitalize()} webhook"]
                        self.assertEqual("USER:PASSWORD@" in url, not is_signed)

    def test_features(self):
        for provider in PROVIDERS:
            with self.subTest(provider):
                self.assertIn(":doc:`feature matrix <feature_matrix>`", box(provider)["Features"])


class HeadersTests(SimpleTestCase):
    """Receivers on the pages of providers that refuse headers of well-known packages"""

    def test_dropped_headers(self):
        for provider, refused in {
            "mailjet": ["X-Mailer", "List-Id", "Message-ID"],
            "unisender_go": ["Auto-Submitted", "Precedence", "Message-ID"],
        }.items():
            blocks = blocks_in(PAGES / f"{provider}.rst")
            [block] = [block for block in blocks if "def drop_headers" in block.text]
            namespace: dict[str, Any] = {}  # keeps the receiver alive
            for name in refused:
                with self.subTest(provider=provider, name=name), Sandbox() as sandbox:
                    headers = {name: "value", "Reply-To": "a@example.com", "X-Own": "1"}
                    mail = make_message(headers=headers)
                    with override_settings(ANYMAIL=sandbox.anymail_settings()):
                        backend = import_string(PROVIDERS[provider].backend)()
                        with self.assertRaises(AnymailAPIError):
                            backend.send_messages([mail])
                        with patch.object(pre_send, "receivers", []):
                            exec(block.text, namespace)
                            pre_send.sender_receivers_cache.clear()
                            backend.send_messages([mail])
                    [stored] = sandbox.messages
                    self.assertEqual(set(stored.recipients[0].headers), {"X-Own"})
                    self.assertEqual(stored.reply_to, "a@example.com")
