"""The plugin for pytest, in a process of its own: pytest finds it by its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from django.test import SimpleTestCase, tag

from ..docs.blocks import ROOT, blocks_in
from ..utils import PACKAGE, imports_of, skip_without

SETTINGS = """
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["anymail"]
DEFAULT_FROM_EMAIL = "shop@example.com"
ROOT_URLCONF = "shop.urls"
"""

URLS = """
from django.urls import include, path

urlpatterns = [path("anymail/", include("anymail.urls"))]
"""

# What pytest-django does in a project, without depending on it.
CONFTEST = """
import sys

# Nothing of the project is imported because of the plugin.
assert "anymail.testing" not in sys.modules
assert "django" not in sys.modules, "django"

import django
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
"""

TESTS = """
import pytest
from django.conf import settings
from anymail.exceptions import AnymailUnsupportedFeature
from anymail.message import AnymailMessage


@pytest.mark.anymail(as_if="postmark")
def test_marker(anymail_outbox):
    AnymailMessage("Hello", "Hello!", to=["ann@example.com"]).send()
    mail = anymail_outbox.assert_sent(provider="postmark")
    anymail_outbox.bounce(mail)
    with pytest.raises(AnymailUnsupportedFeature):
        AnymailMessage("Hello", "Hello!", to=["ann@example.com"], tags=["a", "b"]).send()


def test_own_outbox(anymail_outbox):
    anymail_outbox.assert_not_sent()


def test_text(anymail_outbox):
    anymail_outbox.assert_sent(to="ann@example.com")


def test_without():
    assert not hasattr(settings, "ANYMAIL")
"""


@skip_without("pytest")
class PluginTests(SimpleTestCase):
    def test_imports(self):
        """pytest imports it in every project where Anymail is installed."""
        path = PACKAGE / "pytest_plugin.py"
        # (The type checker's and the fixture's own are at the end of names.)
        self.assertEqual(
            {name for name in imports_of(path) if "." not in name},
            {"__future__", "pytest", "typing"},
        )
        code = (
            "import sys, anymail.pytest_plugin; "
            "print(sorted({'django', 'requests', 'anymail.testing'} & set(sys.modules)))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual(result.stdout.strip(), "[]")

    def test_entry_point(self):
        entry_point = '[project.entry-points.pytest11]\nanymail = "anymail.pytest_plugin"\n'
        self.assertIn(entry_point, (ROOT / "pyproject.toml").read_text())

    @tag("exhaustive")
    def test_run(self):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            (directory / "shop").mkdir()
            files = {
                "shop/__init__.py": "",
                "shop/settings.py": SETTINGS,
                "shop/urls.py": URLS,
                "conftest.py": CONFTEST,
                "test_marker.py": TESTS,
                **self.files_of_docs(),
            }
            for path, content in files.items():
                (directory / path).write_text(content)
            # As if it were installed, whether it is or not.
            metadata = directory / "django_anymail-0.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text("Name: django-anymail\nVersion: 0\n")
            (metadata / "entry_points.txt").write_text(
                "[pytest11]\nanymail = anymail.pytest_plugin\n"
            )
            result = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-p",
                    "no:cacheprovider",
                    "--strict-markers",
                    "-rA",
                ],
                check=False,
                capture_output=True,
                cwd=directory,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}"},
                text=True,
            )
        self.assertIn("4 passed", result.stdout, result.stdout + result.stderr)
        self.assertIn("1 failed", result.stdout)
        self.assertIn("No mail was sent with to='ann@example.com'.", result.stdout)

    def files_of_docs(self) -> dict[str, str]:
        """Return the examples for pytest in the documentation, and the module that they test."""
        blocks = [block for block in blocks_in(ROOT / "docs/testing.rst") if block.is_python]
        [module] = [block for block in blocks if block.caption]
        [test] = [block for block in blocks if "(anymail_outbox)" in block.text]
        return {module.caption: module.text, "test_docs.py": test.text}
