"""Which modules import which: the rules that keep a provider's code in its own two files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.test import SimpleTestCase

from anymail.providers import PROVIDERS

from .utils import PACKAGE, imports_of

# The former name of a provider may import what it is now.
ALIASES = {(old, name) for name, provider in PROVIDERS.items() for old in provider.former_names}

# The modules that are no provider's.
SHARED = {
    kind: {path.stem for path in (PACKAGE / kind).glob("*.py")}
    - {"__init__", *PROVIDERS, *(old for old, _ in ALIASES)}
    for kind in ("backends", "webhooks", "webhook_apis")
}

# Backends that send with others.
STRATEGIES = {"failover", "later", "mailers", "routed", "weighted"}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield (name in the package, path) of all modules, such as ("webhooks.base", ...)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts).removesuffix("__init__").removesuffix("."), path


class ImportTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        names = {name for name, _ in modules() if name}
        cls.imports = {
            name: names & {item.removeprefix("anymail.") for item in imports_of(path)}
            for name, path in modules()
        }

    def test_imports_are_found(self):
        self.assertIn("backends.base_requests", self.imports["backends.postmark"])
        self.assertIn("addresses", self.imports["backends.postmark"])
        self.assertIn("webhooks.brevo", self.imports["webhooks.sendinblue"])
        self.assertIn("exceptions", self.imports["conf"])  # within a function

    def test_backends_and_webhooks_keep_apart(self):
        for name, imports in self.imports.items():
            for one, other in (("backends.", "webhooks."), ("webhooks.", "backends.")):
                if name.startswith(one):
                    self.assertEqual([i for i in imports if i.startswith(other)], [], name)

    def test_small_modules_import_neither(self):
        for name, imports in self.imports.items():
            # Checks look at views, whose class they know from the type checker's point of view.
            if "." not in name and name not in ("sandbox", "checks", "known_settings"):
                above = [i for i in imports if i.startswith(("backends", "webhooks"))]
                self.assertEqual(above, [], name)

    def test_providers_do_not_import_each_other(self):
        for name, imports in self.imports.items():
            kind, _, module = name.partition(".")
            if kind not in SHARED or not module or module in SHARED[kind]:
                continue
            for item in imports:
                other_kind, _, other = item.partition(".")
                if other_kind == kind and other and other not in SHARED[kind]:
                    self.assertIn((module, other), ALIASES)
