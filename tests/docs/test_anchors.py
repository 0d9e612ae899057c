"""Errors and warnings end with where the docs help, and that place exists."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Iterator

import django
from django.test import SimpleTestCase, tag

from anymail._docs import docs_of_setting, with_docs
from anymail.checks import check_deprecated_settings
from anymail.conf import get_anymail_setting
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailImproperlyInstalled,
    AnymailInvalidMailer,
)
from anymail.providers import PROVIDERS

from ..utils import PACKAGE
from .known_settings import anymail_keys, groups
from .test_settings_reference import DOCS

# What must point to the docs. (AnymailImproperlyInstalled does by itself.)
CONFIGURATION_ERRORS = {"AnymailConfigurationError", "AnymailInvalidMailer"}
SYSTEM_CHECKS = {"Error", "checks.Warning"}
# Projects have this text in filters.
EXACT_TEXTS = {"Anymail will drop support for fail_silently after Django 6.2."}
POINTER = re.compile(r"[a-z_/]+#[A-Za-z_-]+")


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield (where, call) for all calls in the source."""
    for path in PACKAGE.rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def pointers() -> Iterator[tuple[str, str]]:
    """Yield (where, place in the docs) for all that are written out in the source."""
    for where, call in calls():
        docs = keyword(call, "docs")
        if isinstance(call.func, ast.Name) and call.func.id == "with_docs":
            docs = call.args[1]
        if isinstance(docs, ast.Constant) and docs.value is not None:
            yield where, docs.value


def is_place(docs: str) -> bool:
    """Whether the docs have a page with such a label, or the settings reference a setting."""
    page, _, anchor = docs.partition("#")
    path = DOCS / f"{page}.rst"
    if not path.is_file():
        return False
    if page == "settings" and anchor.startswith("setting-"):
        return anchor.removeprefix("setting-") in anymail_keys()
    return f"\n.. _{anchor}:\n" in f"\n{path.read_text(encoding='utf-8')}"


@tag("exhaustive")  # The same with each Python and Django.
class SourceTests(SimpleTestCase):
    def test_places_exist(self):
        found = list(pointers())
        self.assertGreater(len(found), 40)
        for where, docs in found:
            with self.subTest(where=where):
                self.assertRegex(docs, POINTER)
                self.assertTrue(is_place(docs), docs)

    def test_places_that_do_not_exist(self):
        for docs in [
            "settings#setting-POSTMARK_API_KEY",
            "settings#webhook-secret",
            "nowhere#idna-encoder",
            "esps/postmark#idna-encoder",
        ]:
            self.assertFalse(is_place(docs), docs)

    def test_all_configuration_errors(self):
        found = 0
        for where, call in calls():
            name = ast.unparse(call.func)
            if name in CONFIGURATION_ERRORS:
                found += 1
                docs = keyword(call, "docs")
                is_known = isinstance(docs, ast.Constant) or (
                    docs is not None and ast.unparse(docs).startswith(("docs_of_setting(", "docs"))
                )
                self.assertTrue(is_known, where)
        self.assertGreater(found, 40)

    def test_all_warnings_and_checks(self):
        found = 0
        for where, call in calls():
            name = ast.unparse(call.func)
            if name == "warnings.warn":
                text = call.args[0]
            elif name in SYSTEM_CHECKS:
                text = keyword(call, "hint")
            else:
                continue
            found += 1
            if isinstance(text, ast.Constant) and text.value in EXACT_TEXTS:
                continue
            self.assertTrue(ast.unparse(text).startswith("with_docs("), where)
        self.assertGreaterEqual(found, 10)


class TextTests(SimpleTestCase):
    def test_with_docs(self):
        self.assertEqual(
            with_docs("Text.", "esps/brevo#brevo-quirks"),
            "Text.\nDocs: esps/brevo.html#brevo-quirks",
        )
        self.assertEqual(with_docs("Text.", None), "Text.")

    def test_settings(self):
        for provider in PROVIDERS:
            for item in groups()[provider].settings:
                self.assertTrue(is_place(docs_of_setting(item.name)), item.name)
        self.assertTrue(is_place(docs_of_setting("ACME_API_KEY")))
        self.assertEqual(docs_of_setting("ACME_API_KEY"), "installation#setting-styles")

    def test_missing_setting(self):
        with self.assertRaises(AnymailConfigurationError) as raised:
            get_anymail_setting("server_token", esp_name="Postmark", allow_bare=True)
        self.assertRegex(
            str(raised.exception), r"\nDocs: settings\.html#setting-POSTMARK_SERVER_TOKEN$"
        )

    def test_missing_option(self):
        with self.assertRaises(AnymailInvalidMailer) as raised:
            get_anymail_setting("api_key", esp_name="Mailgun", kwargs={"alias": "other"})
        text = str(raised.exception)
        self.assertTrue(text.endswith("\nDocs: settings.html#setting-MAILGUN_API_KEY"), text)
        if django.VERSION >= (6, 1):
            self.assertTrue(text.startswith("MAILERS['other']: OPTIONS must define"), text)

    def test_missing_package(self):
        error = AnymailImproperlyInstalled("boto3", "amazon-ses")
        self.assertTrue(str(error).endswith("\nDocs: installation.html#install-extras"), error)
        self.assertTrue(is_place("installation#install-extras"))

    def test_no_docs(self):
        self.assertEqual(str(AnymailConfigurationError("Text.")), "Text.")
        self.assertEqual(AnymailConfigurationError("Text.", 2).args, ("Text.", 2))
        self.assertEqual(AnymailConfigurationError().args, ())
        self.assertEqual(str(AnymailInvalidMailer("Text.")), "Text.")

    def test_copies_say_it_once(self):
        for error in [
            AnymailConfigurationError("Text.", docs="settings#idna-encoder"),
            AnymailInvalidMailer("Text.", alias="other", docs="settings#idna-encoder"),
            AnymailImproperlyInstalled("boto3", "amazon-ses"),
        ]:
            for other in [pickle.loads(pickle.dumps(error)), copy.copy(error)]:
                self.assertIs(type(other), type(error))
                self.assertEqual(str(other), str(error))
                self.assertEqual(str(other).count("Docs:"), 1)

    def test_hint(self):
        with self.settings(ANYMAIL_WEBHOOK_AUTHORIZATION="user:password"):
            [error] = check_deprecated_settings(None)
        self.assertTrue(error.hint.endswith("\nDocs: settings.html#setting-WEBHOOK_SECRET"))
