"""The table that the settings reference is made from has what the code reads, and nothing else."""

from __future__ import annotations

import ast
import importlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from anymail._settings import ALIASES, GROUPS, Setting
from anymail.datastructures import UNSET

from ..utils import PACKAGE, imports_of, skip_without

DOCS = PACKAGE.parent / "docs"

# Functions that read a setting, whose name is the first argument.
READERS = {"get_anymail_setting", "_get_number_setting"}

PROVIDERS = set(GROUPS) - {"general", "every_provider", "webhooks"}

DYNAMIC = object()
"""Stands for a default that depends on something."""

# Where the name as an option or argument is not that of the setting in lower case.
OTHER_OPTIONS = {"REQUESTS_TIMEOUT": {"timeout"}}
OTHER_ARGUMENTS = {"WEBHOOK_SECRET": "basic_auth", "MAILTRAP_INBOUND_API_URL": "api_url"}

# Required by code that looks at them later: a default of None is none.
CHECKED_LATER = {"MAILGUN_WEBHOOK_SIGNING_KEY", "MANDRILL_WEBHOOK_KEY"}


@dataclass
class Use:
    """How the code reads a setting, in all places that do."""

    scopes: set[str] = field(default_factory=set)
    defaults: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    """By scope. Each once."""
    is_option: bool = False
    is_argument: bool = False
    bare: bool = False


@cache
def source_modules() -> dict[str, Path]:
    """Return the modules that read settings: name within the package -> path."""
    paths = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if "sandbox" not in path.parts
    }
    del paths["conf"]  # defines the functions
    return paths


@cache
def providers_of(module: str) -> set[str]:
    """Return the groups of settings that ``esp_name=self.esp_name`` stands for in a module."""
    stem = module.rpartition(".")[2].removeprefix("_")
    if stem in PROVIDERS:
        return {stem}
    if module == "backends.base":
        return {"every_provider"}
    importers = {
        name.rpartition(".")[2]
        for name, path in source_modules().items()
        if f"anymail.{module}" in imports_of(path)
    }
    return importers & PROVIDERS


def scopes_of(module: str) -> set[str]:
    kind = module.partition(".")[0]
    of_webhooks = {kind: {"webhooks"} for kind in ("webhooks", "transactions")}
    return {"backends": {"sending"}, **of_webhooks}.get(kind, {"sending", "webhooks"})


class Reader(ast.NodeVisitor):
    """Collects the calls that read a setting in one module."""

    def __init__(self, module: str, path: Path) -> None:
        self.module = importlib.import_module(f"anymail.{module}")
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.calls: list[ast.Call] = []
        self.visit(self.tree)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in READERS:
            self.calls.append(node)
        self.generic_visit(node)

    def names(self, call: ast.Call) -> set[str]:
        """The name of the setting; several, if classes of the module have each another one."""
        name = call.args[0]
        if isinstance(name, ast.Constant):
            return {name.value}
        assert isinstance(name, ast.Attribute), ast.unparse(call)
        found = {
            statement.value.value
            for cls in ast.walk(self.tree)
            if isinstance(cls, ast.ClassDef)
            for statement in cls.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
            for target in statement.targets
            if isinstance(target, ast.Name) and target.id == name.attr
        }
        assert found, ast.unparse(call)
        return found

    def default(self, call: ast.Call) -> Any:
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        if "default" not in keywords:
            return UNSET
        node = keywords["default"]
        if isinstance(node, ast.Name):
            return getattr(self.module, node.id)
        try:
            return ast.literal_eval(node)
        except ValueError:
            return DYNAMIC


def is_argument(name: str, group: str) -> bool:
    """Whether views of a provider, or all views, take it in as_view()."""
    module = importlib.import_module(f"anymail.webhooks.{group or 'base'}")
    return any(hasattr(view, name) for view in vars(module).values() if hasattr(view, "as_view"))


def uses() -> dict[tuple[str, str], Use]:
    """Return what the code reads: (group, name in the group) -> how."""
    found: dict[tuple[str, str], Use] = defaultdict(Use)
    for module, path in source_modules().items():
        if not any(reader in path.read_text(encoding="utf-8") for reader in READERS):
            continue
        reader = Reader(module, path)
        for call in reader.calls:
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            groups = {""}
            if "esp_name" in keywords:
                groups = providers_of(module)
                if isinstance(keywords["esp_name"], ast.Constant):
                    groups = {str(keywords["esp_name"].value).lower().replace(" ", "_")}
                assert groups, f"{module}: whose setting is {ast.unparse(call)}?"
            for name in reader.names(call):
                for group in groups:
                    use = found[group, name.upper()]
                    if module == "checks":  # looks at settings that others read
                        continue
                    use.scopes |= scopes_of(module)
                    default = reader.default(call)
                    for scope in scopes_of(module):
                        if default not in use.defaults[scope]:
                            use.defaults[scope].append(default)
                    use.bare |= "allow_bare" in keywords
                    if "kwargs" in keywords or len(call.args) > 1:
                        use.is_option |= "sending" in scopes_of(module)
                        use.is_argument |= "webhooks" in scopes_of(module) and is_argument(
                            name, group
                        )
    return found


def rows() -> dict[tuple[str, str], Setting]:
    """Return the table, with the same keys. (Settings of no provider are all in group "".)"""
    return {
        (group if GROUPS[group].prefix else "", setting.name): setting
        for group in GROUPS
        for setting in GROUPS[group].settings
    }


def full_name(key: tuple[str, str]) -> str:
    return f"{key[0].upper()}_{key[1]}".removeprefix("_")


@skip_without("boto3")  # the module of the Amazon SES backend needs it
class TableTests(SimpleTestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.uses = uses()
        cls.rows = rows()

    def test_same_settings(self):
        self.assertEqual(
            sorted(full_name(key) for key in self.rows), sorted(full_name(key) for key in self.uses)
        )

    def check_each(self, check: Callable[[str, Setting, Use], None]) -> None:
        for key in sorted(set(self.rows) & set(self.uses)):
            with self.subTest(setting=full_name(key)):
                check(full_name(key), self.rows[key], self.uses[key])

    def test_scope(self):
        def check(_, row, use):
            expected = {"sending", "webhooks"} if row.scope == "both" else {row.scope}
            self.assertEqual(use.scopes, expected)

        self.check_each(check)

    def test_bare(self):
        self.check_each(lambda _, row, use: self.assertEqual(row.bare, use.bare))

    def test_default(self):
        def check(_, row, use):
            # Where a setting is read by both, a webhook can have another one to look at.
            [default] = use.defaults.get("sending") or use.defaults["webhooks"]
            self.assertEqual(row.default, UNSET if default is DYNAMIC else default)
            if default in (DYNAMIC, None):
                told = row.default_text or row.required or "``None``" in row.text
                self.assertTrue(told, "what happens by default?")

        self.check_each(check)

    def test_required(self):
        def check(name, row, use):
            defaults = [default for found in use.defaults.values() for default in found]
            is_required = UNSET in defaults or name in CHECKED_LATER
            self.assertEqual(bool(row.required), is_required)

        self.check_each(check)

    def test_options(self):
        def check(name, row, use):
            options = {row.name.lower()} if use.is_option else set()
            self.assertEqual(set(row.options), options | OTHER_OPTIONS.get(name, set()))

        self.check_each(check)

    def test_arguments(self):
        def check(name, row, use):
            argument = row.name.lower() if use.is_argument else ""
            self.assertEqual(row.argument, OTHER_ARGUMENTS.get(name, argument))

        self.check_each(check)

    def test_nothing_is_said_twice(self):
        names = [(group, setting.name) for group in GROUPS for setting in GROUPS[group].settings]
        self.assertEqual(len(names), len(set(names)))

    def test_prefixes(self):
        for name in PROVIDERS:
            module = importlib.import_module(f"anymail.backends.{name}")
            esp_name = module.EmailBackend.esp_name
            self.assertEqual(GROUPS[name].prefix, esp_name.upper().replace(" ", "_"))
            self.assertEqual(GROUPS[name].title, esp_name)

    def test_it_is_lazy(self):
        """The docs need the table, and perhaps an error message; sending does not."""
        for module, path in source_modules().items():
            for statement in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(statement, ast.ImportFrom):
                    names = {statement.module, *(alias.name for alias in statement.names)}
                    self.assertNotIn("_settings", names, module)


class PagesTests(SimpleTestCase):
    """The docs have all of the table."""

    def test_reference(self):
        text = (DOCS / "settings.rst").read_text(encoding="utf-8")
        for name in GROUPS:
            self.assertEqual(text.count(f".. anymail-settings:: {name}\n   :reference:\n"), 1, name)

    def test_providers_pages(self):
        for name in PROVIDERS:
            text = (DOCS / "esps" / f"{name}.rst").read_text(encoding="utf-8")
            self.assertEqual(text.count(f".. anymail-settings:: {name}\n"), 1, name)

    def test_webhooks_page(self):
        text = (DOCS / "securing_webhooks.rst").read_text(encoding="utf-8")
        self.assertEqual(text.count(".. anymail-settings:: webhooks\n"), 1)


# What projects have in their settings: names that must go on working. After a name, "*" means
# that it is required, "b" that it is read without ANYMAIL too, "w" that only webhooks read it.
PROMISED = {
    "": """
        IGNORE_UNSUPPORTED_FEATURES, IGNORE_RECIPIENT_STATUS, DEBUG_API_REQUESTS, SEND_DEFAULTS,
        IDNA_ENCODER, REQUESTS_TIMEOUT, WEBHOOK_SECRET w""",
    "every_provider": "SEND_DEFAULTS, IDNA_ENCODER",
    "amazon_ses": """
        CLIENT_PARAMS, SESSION_PARAMS, CONFIGURATION_SET_NAME, MESSAGE_TAG_NAME,
        AUTO_CONFIRM_SNS_SUBSCRIPTIONS w, INBOUND_KMS_KEY_ID w, DOWNLOAD_CHUNK_SIZE w""",
    "brevo": """
        API_KEY *b, API_URL, WORKAROUND_DISPLAY_NAME_BUGS, PREVENT_HEADER_ENCODING_BUGS""",
    "mailersend": """
        API_TOKEN *b, API_URL, BATCH_SEND_MODE, SIGNING_SECRET *w, INBOUND_SECRET *w""",
    "mailgun": "API_KEY *b, SENDER_DOMAIN b, API_URL, WEBHOOK_SIGNING_KEY *w",
    "mailjet": "API_KEY *b, SECRET_KEY *b, API_URL",
    "mailtrap": """
        API_TOKEN *b, SANDBOX_ID, API_URL, TRACKING_SECRET w, INBOUND_SECRET w,
        DOWNLOAD_CHUNK_SIZE w""",
    "mandrill": "API_KEY *b, API_URL, WEBHOOK_KEY *bw, WEBHOOK_URL bw",
    "postal": "API_KEY *b, API_URL *, WEBHOOK_KEY *bw",
    "postmark": "SERVER_TOKEN *b, API_URL, MESSAGE_STREAM, USE_BULK_API, GENERATE_MESSAGE_ID",
    "resend": """
        API_KEY *b, API_URL, VERIFY_ATTACHMENT_EXTENSIONS, SIGNING_SECRET w, INBOUND_SECRET w,
        DOWNLOAD_CHUNK_SIZE w""",
    "scaleway": "SECRET_KEY *b, PROJECT_ID *, REGION, API_URL",
    "sendgrid": """
        API_KEY *b, API_URL, GENERATE_MESSAGE_ID, MERGE_FIELD_FORMAT,
        TRACKING_WEBHOOK_VERIFICATION_KEY bw, USERNAME b, PASSWORD b""",
    "sparkpost": "API_KEY *b, API_URL, SUBACCOUNT, TRACK_INITIAL_OPEN_AS_OPENED w",
    "unisender_go": """
        API_KEY *b, API_URL *, GENERATE_MESSAGE_ID, WORKAROUND_DISPLAY_NAME_BUGS""",
}


class PromisedTests(SimpleTestCase):
    def test_promised(self):
        table = rows()
        for group, text in PROMISED.items():
            for item in text.split(","):
                name, _, marks = item.strip().partition(" ")
                with self.subTest(setting=full_name((group, name))):
                    row = table[group, name]
                    self.assertEqual("*" in marks, bool(row.required))
                    self.assertEqual("b" in marks, row.bare)
                    self.assertEqual("w" in marks, row.scope == "webhooks")

    def test_former_name(self):
        from anymail.backends.sendinblue import EmailBackend

        self.assertEqual(ALIASES, {EmailBackend.esp_name.upper(): "BREVO"})
