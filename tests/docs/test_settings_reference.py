"""The settings reference is made from the declarations, and pages have all of it."""

from __future__ import annotations

import re

from django.test import SimpleTestCase

from anymail.backends.sendinblue import EmailBackend as SendinBlueBackend
from anymail.conf import Setting
from anymail.providers import PROVIDERS

from ..backends.cases import CASES
from ..utils import PACKAGE, skip_without
from .known_settings import groups

DOCS = PACKAGE.parent / "docs"

# Where settings are looked for without a declaration: in what others call or derive from, or to
# look at what others declare.
UNDECLARED = {
    *("aws.py", "checks.py", "conf.py", "transactions.py"),
    "webhooks/resend.py",
}


@skip_without("boto3")  # the module of the Amazon SES backend needs it
class DeclarationsTests(SimpleTestCase):
    def test_all_that_is_read_is_declared(self):
        found = {
            str(path.relative_to(PACKAGE))
            for path in PACKAGE.rglob("*.py")
            if re.search(r"\bget_anymail_setting\(", path.read_text(encoding="utf-8"))
        }
        self.assertEqual(found, UNDECLARED)

    def test_help(self):
        for group in groups().values():
            for item in group.settings:
                with self.subTest(item.name):
                    self.assertRegex(item.help, r"\A[A-Z`][^\n]*[.)]\Z")
                    for declared in item.declarations.values():
                        self.assertIsInstance(declared, Setting)
                        self.assertTrue(declared.help)

    def test_default(self):
        for group in groups().values():
            for item in group.settings:
                with self.subTest(item.name):
                    told = item.default_text or item.required or item.default is not None
                    self.assertTrue(told or "``None``" in item.help, "what happens by default?")

    def test_nothing_is_said_twice(self):
        names = [item.name for group in groups().values() for item in group.settings]
        self.assertEqual(len(names), len(set(names)))


class PagesTests(SimpleTestCase):
    """The docs have all of the table."""

    def test_reference(self):
        text = (DOCS / "settings.rst").read_text(encoding="utf-8")
        for name in set(groups()) - set(PROVIDERS):  # those are all in one directive
            self.assertEqual(text.count(f".. anymail-settings:: {name}\n   :reference:\n"), 1, name)

    def test_providers_pages(self):
        for name in PROVIDERS:
            text = (DOCS / "esps" / f"{name}.rst").read_text(encoding="utf-8")
            self.assertEqual(text.count(f".. anymail-settings:: {name}\n"), 1, name)

    def test_webhooks_page(self):
        text = (DOCS / "securing_webhooks.rst").read_text(encoding="utf-8")
        self.assertEqual(text.count(".. anymail-settings:: webhooks\n"), 1)


PROMISED = {
    "": """
        IGNORE_UNSUPPORTED_FEATURES, IGNORE_RECIPIENT_STATUS, DEBUG_API_REQUESTS, SEND_DEFAULTS,
        IDNA_ENCODER, REQUESTS_TIMEOUT, WEBHOOK_SECRET w""",
    "every_provider": "SEND_DEFAULTS, IDNA_ENCODER",
    **{name: CASES[name].promised_settings for name in PROVIDERS},
}


@skip_without("boto3")
class PromisedTests(SimpleTestCase):
    def test_promised(self):
        for name, text in PROMISED.items():
            group = groups()[name or "general"].settings
            if not name:
                group = group + groups()["webhooks"].settings
            prefix = {"": "", "every_provider": "<PROVIDER>_"}.get(name, f"{name.upper()}_")
            found = {item.name: item for item in group}
            for promised in text.split(","):
                key, _, marks = promised.strip().partition(" ")
                with self.subTest(setting=f"{prefix}{key}"):
                    item = found[f"{prefix}{key}"]
                    self.assertEqual("*" in marks, bool(item.required))
                    self.assertEqual("b" in marks, item.bare)
                    self.assertEqual("w" in marks, item.used_by == "webhooks")

    def test_former_name(self):
        former_names = {"sendinblue": SendinBlueBackend.esp_name}
        self.assertEqual(PROVIDERS["brevo"].former_names, former_names)
