"""The API reference names everything that projects and other packages can rely on.

docs/check_site.py compares the same with what is built.
"""

from __future__ import annotations

import re
from collections import defaultdict

from django.test import SimpleTestCase

from anymail import sandbox, testing, utils

from ..test_public_names import DEFINED, IMPORTED
from .test_settings_reference import DOCS

# Of no use to others, though they have no underscore.
UNDOCUMENTED = {
    "anymail.aio": {"send_one"},  # that is message.asend()
    "anymail.addresses": {"MAX_ADDR_SPEC_LENGTH", "T"},  # a type variable
    "anymail.headers": {"normalize_date", "rfc2047_normalize"},
    "anymail.conf": {"DJANGO_HAS_MAILERS", "T", "mailers_setting"},
    "anymail.inbound": {"CHUNK_SIZE", "DEFAULT_ATTACHMENT_NAME", "DEFAULT_CONTENT_TYPE"},
    "anymail.sending.awaitable": {
        *("DEFAULT_CONCURRENCY", "asend_with", "is_suspendable", "send_with", "suspendable"),
    },
    "anymail.sending.batches": {
        *("BATCH_ATTRS", "individual_messages", "match_recipients", "partial_messages"),
    },
    "anymail.backends.later": {"later_mailers", "logger"},
    "anymail.later.worker": {
        *("AGAIN_SECONDS", "ENQUEUE_SECONDS", "JobAttempt", "State", "Work", "logger"),
        *("first_state", "job_message", "ledger_alias", "perform"),
    },
    "anymail.later.engines": {
        *("ForeignEngine", "MAX_HANGING", "WORKER_FUNCTIONS", "celery_app", "enqueue_within"),
        *("later_error", "tasks_package", "tasks_path", "worker_function"),
    },
    "anymail.exceptions": {"InvalidMailer"},  # Django's, or what stands in for it
    "anymail.webhooks.base": {"as_keys", "logger"},  # a former name; docs tell its name
}

DIRECTIVE = re.compile(r"^\.\. ([a-z]+):: *([^\s(]*).*\n((?:   :.*\n)*)", re.MULTILINE)
ADDITIONS = {"autoclass", "autodata", "autoexception", "autofunction", "data"}


def public_names() -> dict[str, set[str]]:
    """Return the names that the reference must have: module -> names."""
    names = {
        module: defined - UNDOCUMENTED.get(module, set()) for module, defined in DEFINED.items()
    }
    # What other packages import from anymail.utils is documented there.
    promised = set(utils.__all__)
    for module in names:
        if not module.startswith(("anymail.backends", "anymail.webhooks", "anymail.message")):
            names[module] -= promised
    names["anymail.utils"] = promised
    names["anymail.message"] |= IMPORTED["anymail.message"]
    names["anymail.backends.base"] |= {"BasePayload", "Combiner", "Converter", "MessageAttr"}
    for package in (sandbox, testing):
        names[package.__name__] = set(package.__all__)
    # Defined in anymail.sending, but these are the places to import them from.
    names["anymail.backends.base"] |= {
        *("ApiCall", "BasePayload", "Combiner", "Converter", "MessageAttr")
    }
    return names


def documented_names() -> dict[str, set[str]]:
    """Return the names that the pages ask for: module -> names. "*" stands for all of them."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (DOCS / "api").glob("*.rst"):
        current = ""
        for directive, argument, options in DIRECTIVE.findall(path.read_text(encoding="utf-8")):
            if directive == "currentmodule":
                current = argument
            elif directive in ADDITIONS:
                found[current].add(argument)
            elif directive == "automodule":
                members = re.search(r"   :members:(.*)\n", options)
                if members:
                    names = {name.strip() for name in members[1].split(",")} - {""}
                    found[argument] |= names or {"*"}
    return found


class ReferenceTests(SimpleTestCase):
    def test_all_public_names(self):
        documented = documented_names()
        for module, names in public_names().items():
            with self.subTest(module=module):
                if "*" not in documented[module]:
                    self.assertEqual(names - documented[module], set())

    def test_nothing_that_is_not_public(self):
        public = public_names()
        for module, names in documented_names().items():
            with self.subTest(module=module):
                self.assertLessEqual(names - {"*"}, public[module])

    def test_pages_are_in_the_index(self):
        index = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
        for path in (DOCS / "api").glob("*.rst"):
            if path.stem != "index":
                self.assertIn(f"\n   {path.stem}\n", index)
