"""Who imports whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from django.test import SimpleTestCase, tag

from anymail.providers import PROVIDERS

from ..utils import PACKAGE, imports_of

SANDBOX = PACKAGE / "sandbox"
TESTING = PACKAGE / "testing"


def names_from(path: Path, package: str) -> set[str]:
    return {name for name in imports_of(path) if name.startswith(package)}


@tag("exhaustive")  # The same with each Python and Django.
class BoundaryTests(SimpleTestCase):
    def test_nothing_imports_the_sandbox(self):
        for path in PACKAGE.rglob("*.py"):
            # Commands may, and what is for tests: they run only what they are for.
            if {"commands", "sandbox", "testing"} & set(path.relative_to(PACKAGE).parts):
                continue
            with self.subTest(path):
                self.assertEqual(names_from(path, "anymail.sandbox"), set())

    def test_nothing_imports_what_is_for_tests(self):
        for path in PACKAGE.rglob("*.py"):
            if path.parent != TESTING and path.stem != "pytest_plugin":
                with self.subTest(path):
                    self.assertEqual(names_from(path, "anymail.testing"), set())

    def test_the_sandbox_imports_neither_backends_nor_webhooks(self):
        for path in SANDBOX.rglob("*.py"):
            with self.subTest(path):
                self.assertFalse(
                    [
                        name
                        for name in imports_of(path)
                        if name.startswith(("anymail.backends", "anymail.webhooks"))
                    ]
                )

    def test_providers_import_only_the_sandbox(self):
        shared = {"mailboxes", "providers", "store", "wire"}
        for name in PROVIDERS:
            with self.subTest(name):
                own = {
                    item
                    for item in imports_of(SANDBOX / f"{name}.py")
                    if item.startswith("anymail") and not item.startswith("anymail.addresses")
                }
                self.assertTrue(own)
                modules = {item.split(".")[2] for item in own if item.count(".") >= 2}
                self.assertLessEqual(modules, shared)
                self.assertTrue(all(item.startswith("anymail.sandbox") for item in own))

    def test_importing_it_needs_no_settings_and_loads_no_provider(self):
        code = (
            "import sys, anymail.sandbox; "
            "print([name for name in sys.modules if name.startswith('anymail.') and "
            "name.endswith(('.postmark', '.mailgun'))])"
        )
        output = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=PACKAGE.parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self.assertEqual(output.strip(), "[]")
