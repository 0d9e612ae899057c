"""Runs the code in the documentation: see ``Block.kind()`` for what there is.

There is one test for each page, with a subtest for each block. What pages need to be run is in the
tables at the top.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib.util
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import types
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import django
from django.conf import Settings, settings
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings
from django.urls import URLPattern, URLResolver, include, path
from django.urls.resolvers import RegexPattern
from django.utils.module_loading import import_string

import anymail.delivery.memory
from anymail import mailers
from anymail.backends.later import EmailBackend as LaterBackend
from anymail.checks import check_deprecated_settings, check_ignored_mailers
from anymail.delivery.strategy import StrategyBackend
from anymail.exceptions import AnymailAPIError, AnymailError, AnymailImproperlyInstalled
from anymail.inbound import AnymailInboundMessage
from anymail.message import AnymailMessage
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox
from anymail.sandbox.commands import main as sandbox_command
from anymail.signals import (
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    post_send,
    pre_send,
    send_failed,
    tracking,
)
from anymail.webhooks.base import AnymailCoreWebhookView

from ..later.harness import ENGINE
from ..utils import SAMPLE_IMAGE, use_backend
from ..webhooks.cases import CASES as WEBHOOK_CASES
from ..webhooks.sns_signing import CAN_SIGN
from .blocks import (
    ROOT,
    TABS,
    Block,
    blocks_in,
    compile_async,
    find_blocks,
    pages,
    values_in_comments,
)
from .known_settings import anymail_keys, top_level_names

# Tasks are run at once. Retries raise an error, as they do in workers.
CELERY = """
def shared_task(function=None, *, bind=False, **options):
    if function is None:
        return lambda function: shared_task(function, bind=bind, **options)
    return function
"""


# -- What pages need --------------------------------------------------------------------------

# Python to run before a page's first block: what its text speaks of, but its code doesn't define.
SETUP: dict[str, str] = {
    "docs/sending/index.rst": "messages = [message]",
}

# Settings while a page's blocks are run.
SETTINGS: dict[str, dict[str, Any]] = {
    "docs/later.rst": {"RQ_URL": "redis://127.0.0.1:6379/0"},
    "docs/adding_a_provider.rst": {"ANYMAIL_CARRIER_PIGEON_SIGNING_KEY": "a key"},
    "docs/quickstart.rst": {"INSTALLED_APPS": [*settings.INSTALLED_APPS, "django.contrib.admin"]},
    "docs/esps/mandrill.rst": {"MANDRILL_INBOUND_KEY": "a webhook's key"},
}

# Settings of packages that a page is about, which are not Anymail's
OWN_SETTINGS: dict[str, set[str]] = {
    "docs/adding_a_provider.rst": {"CARRIER_PIGEON_API_KEY", "CARRIER_PIGEON_SIGNING_KEY"},
    "docs/contributing_a_provider.rst": {"CARRIER_PIGEON_SIGNING_KEY"},
}

# Modules that a page imports and that are not there, with their content: what a project, or another
# package, would have.
MODULES: dict[str, dict[str, str]] = {
    "docs/tips/transient_errors.rst": {"celery": CELERY},
}

# Files in the current directory of a page's code, by function that returns their content.
FILES: dict[str, Mapping[str, Callable[[], bytes]]] = {
    f"docs/esps/{case.esp}.rst": case.example_files
    for case in WEBHOOK_CASES.values()
    if case.example_files
}

# What a block needs, by page and some text in that block.
NEEDS: dict[tuple[str, str], bool] = {
    # Those for a project of their own: test_later_page.py follows them.
    ("docs/later.rst", "127.0.0.1:8035"): False,
    ("docs/later.rst", "autodiscover_tasks"): False,
    ("docs/later.rst", "celery_app"): False,
    ("docs/later.rst", "greeting"): False,
    ("docs/later.rst", "import Queue"): importlib.util.find_spec("rq") is not None,
    ("docs/later.rst", "import dramatiq"): importlib.util.find_spec("dramatiq") is not None,
    ("docs/sending/index.rst", "MIMEPart"): django.VERSION >= (6, 0),
    # There are no tabs where a repository's pages are shown.
    ("README.rst", "MAILERS"): TABS["Django 6.1 and newer"],
    ("README.rst", "EMAIL_BACKEND"): TABS["Before Django 6.1"],
}

# Languages of blocks. Only Python and some console commands are run.
LANGUAGES = {"console", "doctest", "html", "json", "pycon", "python", "rst", "text"}


# -- What all pages can use -------------------------------------------------------------------

TEST_BACKEND = "anymail.backends.test.EmailBackend"

SIGNALS = (pre_send, post_send, send_failed, tracking, inbound)

IMPORTS = """
from django.conf import settings
from anymail.message import AnymailMessage
message = AnymailMessage(
    subject="Hello from the shop",
    body="Hello! Look what's new.",
    to=["ann@example.com", "Bo <bo@example.com>"],
    alternatives=[("<p>Hello!</p>", "text/html")],
)
"""

OUTCOMES = (EventType.BOUNCED, EventType.DEFERRED, EventType.FAILED, EventType.REJECTED)

TRACKING_EVENTS = [
    AnymailTrackingEvent(
        event_type=event_type,
        timestamp=datetime(2031, 1, 31, 12, tzinfo=timezone.utc),
        event_id="event-1",
        message_id="message-1",
        recipient="ann@example.com",
        tags=["welcome"],
        metadata={"user_id": "12345"},
        reject_reason=RejectReason.BOUNCED if event_type in OUTCOMES else None,
        description="No such user",
        mta_response="550 5.1.1 No such user",
        user_agent="Mozilla/5.0",
        click_url="https://www.example.com/",
        esp_event={},
    )
    for name, event_type in vars(EventType).items()
    if name.isupper() and event_type != EventType.INBOUND
]


def inbound_event() -> AnymailInboundEvent:
    message = AnymailInboundMessage.construct(
        from_email="Ann <ann@example.com>",
        to="Shop <shop@example.com>, reply+12345@example.com",
        subject="Re: Hello",
        text="Thank you!\n\n> Hello!",
        html="<p>Thank you!</p>",
        attachments=[
            AnymailInboundMessage.construct_attachment(
                "image/png", SAMPLE_IMAGE, filename="photo.png"
            )
        ],
    )
    message.envelope_sender = "ann@example.com"
    message.envelope_recipient = "reply+12345@example.com"
    message.stripped_text = "Thank you!"
    message.spam_detected = False
    message.spam_score = 0.1
    return AnymailInboundEvent(
        event_type=EventType.INBOUND,
        timestamp=datetime(2031, 1, 31, 12, tzinfo=timezone.utc),
        event_id="event-1",
        esp_event={},
        message=message,
    )


class BlockTestCase(SimpleTestCase):
    """Runs blocks, all of those of one page in the same namespace."""

    databases = {"default"}  # for the test cases in examples
    sandbox: Sandbox
    """Providers' APIs: no block reaches another network."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sandbox = Sandbox()
        # The credentials in examples are made up.
        patcher = patch("anymail.sandbox.postmark.Postmark._check_token")
        patcher.start()
        cls.addClassCleanup(patcher.stop)
        cls.sandbox.start()
        cls.addClassCleanup(cls.sandbox.stop)

    def run_page(self, page: str, blocks: list[Block]) -> None:
        """Run a page's blocks, each as a subtest."""
        self.run_blocks(page, blocks, self.subTest)

    def run_blocks(
        self,
        page: str,
        blocks: list[Block],
        context: Callable[[str], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.namespace: dict[str, Any] = {"__name__": "example"}
        self.modules: dict[str, types.ModuleType] = {}
        self.sent: set[int] = set()
        with contextlib.ExitStack() as stack:
            self.enter_environment(stack, page)
            exec(IMPORTS + SETUP.get(page, ""), self.namespace)
            for block in blocks:
                with context(str(block)):
                    self.run_block(block)

    def enter_environment(self, stack: contextlib.ExitStack, page: str) -> None:
        """Change the surroundings of the code, until the stack is left."""
        self.anymail_settings = self.sandbox.anymail_settings()
        stack.enter_context(
            use_backend(
                self.backend_for(page),
                ANYMAIL=self.anymail_settings,
                DEFAULT_FROM_EMAIL="shop@example.com",
                **SETTINGS.get(page, {}),
            )
        )
        for signal in SIGNALS:
            stack.callback(_restore_receivers, signal, list(signal.receivers))
        post_send.connect(self.note_sent)
        self.stack = stack
        # What is remembered of messages and mailers
        anymail.delivery.memory._process_cache.clear()
        stack.callback(anymail.delivery.memory._process_cache.clear)
        for name, source in MODULES.get(page, {}).items():
            exec(source, vars(self.add_module(name)))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(os.chdir, Path.cwd())
        os.chdir(directory)
        Path("static").mkdir()
        Path("static/logo.png").write_bytes(SAMPLE_IMAGE)
        Path("report.pdf").write_bytes(b"%PDF-1.4")
        for name, content in FILES.get(page, {}).items():
            Path(name).write_bytes(content() if CAN_SIGN else b"")
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))

    def backend_for(self, page: str) -> str:
        """Return the backend that is the subject of a page."""
        provider = self.sandbox.providers.get(Path(page).stem)
        if provider is None or provider.missing_packages:
            return TEST_BACKEND
        return provider.backend

    def add_module(self, name: str) -> types.ModuleType:
        """Return a module that can be imported until the page is done, a new one if need be."""
        if name not in self.modules:
            self.modules[name] = module = types.ModuleType(name)
            package, _, rest = name.rpartition(".")
            if package:
                setattr(self.add_module(package), rest, module)
            sys.modules[name] = module
            self.stack.callback(sys.modules.pop, name)
        return self.modules[name]

    def add_module_of(self, block: Block) -> None:
        """Let what the page has defined be imported from where a block's caption says it is."""
        if match := _MODULE.match(block.caption):
            name = match[1].replace("/", ".")
            package = name.partition(".")[0]
            # Not in packages that are there
            if package in self.modules or importlib.util.find_spec(package) is None:
                vars(self.add_module(name)).update(self.namespace, __name__=name)

    def note_sent(self, original: EmailMessage, **kwargs: Any) -> None:
        self.sent.add(id(original))

    def run_block(self, block: Block) -> None:
        if block.is_python:
            kind = block.kind()
            needs = (met for (page, text), met in NEEDS.items() if _is_in(block, page, text))
            if block.is_for_this_django and all(needs):
                getattr(self, f"run_{kind}")(block)
        elif block.language == "console":
            self.run_console(block)

    # -- Settings -----------------------------------------------------------------------------

    def run_settings(self, block: Block) -> None:
        names = self.load_settings(block)
        self.assertLessEqual(set(names), top_level_names(), "neither Django's nor Anymail's")
        own = names.get("ANYMAIL", {})
        known = anymail_keys() | OWN_SETTINGS.get(block.page, set()) | {"MAILERS"}
        self.assertLessEqual(set(own), known, "not in Anymail")
        # What is not in the block, such as credentials, is elsewhere in the settings.
        anymail_settings = {**self.anymail_settings, **own}
        mail = {name: names[name] for name in ("EMAIL_BACKEND", "MAILERS") if name in names}
        with override_settings(ANYMAIL=anymail_settings, **mail):
            self.assertEqual(check_deprecated_settings(None), [])
            self.assertEqual(check_ignored_mailers(None), [])
            if mail:
                self.make_mailers()
            self.make_webhooks(include("anymail.urls")[0].urlpatterns)
        if "MAILERS" in mail:
            mail["MAILERS"] = _without_sending(mail["MAILERS"])
        elif "MAILERS" in own:
            anymail_settings = {
                **self.anymail_settings,
                "MAILERS": _without_sending(own["MAILERS"]),
            }
        else:
            return
        self.stack.enter_context(override_settings(ANYMAIL=anymail_settings, **mail))

    def load_settings(self, block: Block) -> dict[str, Any]:
        """Return the settings in a block. They must be acceptable to Django."""
        names: dict[str, Any] = {
            "BASE_DIR": Path.cwd(),
            "os": os,
            "INSTALLED_APPS": [],
            "env": lambda name, *args, **kwargs: f"<{name}>",
        }
        # "..." are other items.
        tree = _WithoutEllipses().visit(block.tree())
        variables = {name: f"<{name}>" for name in re.findall(r"environ\[.(\w+).\]", block.text)}
        with patch.dict(os.environ, variables):
            exec(compile_async(ast.fix_missing_locations(tree), block.page), names)
        names = {name: value for name, value in names.items() if name.isupper()}
        module = types.ModuleType("settings_in_docs")
        vars(module).update(names, TIME_ZONE="UTC")
        with patch.dict(sys.modules, {module.__name__: module}):
            loaded = Settings(module.__name__)
        for name, value in names.items():
            self.assertEqual(getattr(loaded, name), value)
        return names

    def make_mailers(self) -> None:
        """Make a connection of each mailer in the settings."""
        for alias in mailers:
            with self.unless_package_is_missing():
                connection = mailers[alias]
                if isinstance(connection, StrategyBackend):
                    for mailer in getattr(connection, "mailers", []):
                        self.assertIn(mailer, mailers)

    @contextlib.contextmanager
    def unless_package_is_missing(self) -> Iterator[None]:
        try:
            yield
        except AnymailImproperlyInstalled:
            self.assertTrue(any(p.missing_packages for p in self.sandbox.providers.values()))

    # -- URLs ---------------------------------------------------------------------------------

    def run_urls(self, block: Block) -> None:
        names = {**self.namespace, "path": path, "include": include}
        source = block.padded_text
        if "urlpatterns" not in source:
            source = f"urlpatterns = [{source}]"
        exec(compile(source, str(ROOT / block.page), "exec", dont_inherit=True), names)
        self.namespace.update(names)
        self.add_module_of(block)
        resolver = URLResolver(RegexPattern(r"^/"), names["urlpatterns"])
        self.assertEqual(resolver.check(), [])
        self.assertTrue(self.make_webhooks(resolver.url_patterns), "no patterns of Anymail's")

    def make_webhooks(self, patterns: list[Any]) -> int:
        """Make an instance of each of Anymail's views in URL patterns. Return their number."""
        count = 0
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                count += self.make_webhook(pattern.callback)
            else:
                count += self.make_webhooks(pattern.url_patterns)
        return count

    def make_webhook(self, view: Any) -> bool:
        """Make an instance of a view if it's one of Anymail's. Return whether it is."""
        if view.__name__.startswith("SendinBlue"):
            return True  # It needs settings by a name that is not in the docs any more.
        with self.unless_package_is_missing():
            view = getattr(view, "load_anymail_view", lambda: view)()
            if not issubclass(getattr(view, "view_class", object), AnymailCoreWebhookView):
                return False
            view.view_class(**view.view_initkwargs)
        return True

    # -- Tests --------------------------------------------------------------------------------

    def run_tests(self, block: Block) -> None:
        # As with Django's test runner
        with use_backend("django.core.mail.backends.locmem.EmailBackend"):
            self.run_test_cases(block)

    def run_test_cases(self, block: Block) -> None:
        before = set(self.namespace)
        self.execute(block)
        result = unittest.TestResult()
        for name in self.namespace.keys() - before:
            item = self.namespace[name]
            if self.is_own(item, unittest.TestCase):
                unittest.defaultTestLoader.loadTestsFromTestCase(item).run(result)
        self.assertEqual([text for _test, text in result.errors + result.failures], [])
        self.assertEqual(result.testsRun > 0, "def test_" in block.text)

    # -- Other code ---------------------------------------------------------------------------

    def run_code(self, block: Block) -> None:
        counts = [(signal, len(signal.receivers)) for signal in SIGNALS]
        self.sent.clear()
        self.execute(block)
        has_new_receivers = {signal for signal, count in counts if len(signal.receivers) > count}
        if tracking in has_new_receivers:
            for event in TRACKING_EVENTS:
                tracking.send(sender=object(), event=event, esp_name="Postmark")
        if inbound in has_new_receivers:
            inbound.send(sender=object(), event=inbound_event(), esp_name="Postmark")
        if has_new_receivers & {pre_send, post_send}:
            AnymailMessage("Hello", "Hello!", to=["ann@example.com"]).send()
        if send_failed in has_new_receivers:
            self.sandbox.fail_next("message")
            with contextlib.suppress(AnymailError):
                AnymailMessage("Hello", "Hello!", to=["ann@example.com"]).send()
        self.send_unsent(block)

    def send_unsent(self, block: Block) -> None:
        """Send the message if a block made or changed it, but did not send it."""
        message = self.namespace.get("message")
        concerns_message = any(
            isinstance(node, ast.Name) and node.id == "message"
            for statement in block.tree().body
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            for node in ast.walk(statement)
        )
        if concerns_message and isinstance(message, EmailMessage) and id(message) not in self.sent:
            message.send()
            self.assertIn(id(message), self.sent, "The message is not sent")

    def execute(self, block: Block) -> None:
        tree = _WithCheckedValues(values_in_comments(block.padded_text)).visit(block.tree())
        self.namespace["_check_value"] = self.assertEqual
        code = compile_async(ast.fix_missing_locations(tree), str(ROOT / block.page))
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, self.namespace))
        else:
            exec(code, self.namespace)
        self.add_module_of(block)

    def is_own(self, item: Any, base: type) -> bool:
        """Return whether something is a subclass that the page has defined."""
        return (
            isinstance(item, type)
            and issubclass(item, base)
            and item.__module__ == self.namespace["__name__"]
        )

    def run_doctest(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.text, self.namespace, str(block), block.page, block.line
        )
        report = io.StringIO()
        result = doctest.DocTestRunner().run(test, out=report.write, clear_globs=False)
        self.assertEqual(result.failed, 0, report.getvalue())

    # -- Commands -----------------------------------------------------------------------------

    def run_console(self, block: Block) -> None:
        for command in re.findall(r"^\$ (python -.*)", block.text, re.MULTILINE):
            _python, option, *arguments = shlex.split(command)
            if option == "-c":
                subprocess.run([sys.executable, "-c", *arguments], check=True, capture_output=True)
            elif arguments[0] == "anymail.sandbox":
                # The sandbox has its own tests: here, it's enough that there are such options.
                with patch.multiple(
                    "anymail.sandbox.commands", _demo=self.pretend, _serve=self.pretend
                ):
                    self.assertEqual(sandbox_command(arguments[1:]), 0)

    @staticmethod
    def pretend(options: Any, stream: Any) -> int:
        return 0


# What pages say to install
_INSTALLED = re.compile(
    r'"\.\[([^]]*)\]"(?: "celery\[redis\]")?|(?:-e \. ?)?(?:-r \w+/\w+\.txt ?)*'
)

# A caption that tells in which module of a project some code is.
_MODULE = re.compile(r"(\w+(?:/\w+)+)\.py\b")


def _without_sending(configs: dict[str, Any]) -> dict[str, Any]:
    """Return mailers' settings with which the code of a page can use them, but sends nothing."""
    return {alias: _config_without_sending(config) for alias, config in configs.items()}


def _config_without_sending(config: dict[str, Any]) -> dict[str, Any]:
    backend = import_string(config["BACKEND"])
    if issubclass(backend, StrategyBackend):
        return config
    if issubclass(backend, LaterBackend):
        return {**config, "OPTIONS": {**config["OPTIONS"], "engine": ENGINE}}
    return {"BACKEND": TEST_BACKEND}


class _WithoutEllipses(ast.NodeTransformer):
    def visit_List(self, node: ast.List) -> ast.List:
        self.generic_visit(node)
        node.elts = [item for item in node.elts if not _is_ellipsis(item)]
        return node


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


class _WithCheckedValues(ast.NodeTransformer):
    """Compares expressions that have a value as a comment in the same line with it."""

    def __init__(self, values: dict[int, ast.expr]) -> None:
        self.values = values

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        value = self.values.get(node.end_lineno or 0)
        if value is not None and not _is_ellipsis(value):
            check = ast.Name("_check_value", ast.Load())
            node.value = ast.copy_location(ast.Call(check, [node.value, value], []), node)
        return node


def _is_in(block: Block, page: str, text: str) -> bool:
    return block.page == page and text in block.text


def _restore_receivers(signal: Any, receivers: list[Any]) -> None:
    with signal.lock:
        signal.receivers = receivers
        signal.sender_receivers_cache.clear()


class ExampleTests(BlockTestCase):
    """Has a test for each page with examples: see below."""


def _test_for(page: str, blocks: list[Block]) -> Callable[[ExampleTests], None]:
    def test(self: ExampleTests) -> None:
        self.run_page(page, blocks)

    test.__doc__ = page
    return test


def _blocks_by_page() -> Iterator[tuple[str, list[Block]]]:
    for page in pages():
        blocks = blocks_in(page)
        if any(block.is_python or block.language == "console" for block in blocks):
            yield blocks[0].page, blocks


BLOCKS = dict(_blocks_by_page())
for _page, _blocks in BLOCKS.items():
    setattr(ExampleTests, "test_" + re.sub(r"\W", "_", _page), _test_for(_page, _blocks))


class BlockTests(BlockTestCase):
    """What makes the tests of pages fail."""

    # Text of a page; what the error says.
    WRONG = {
        "setting that is not Anymail's": (
            """
            .. code-block:: python

               ANYMAIL = {"POSTMARK_API_KEY": "secret"}
            """,
            "POSTMARK_API_KEY",
        ),
        "setting that is nobody's": (
            """
            .. code-block:: python

               EMAIL_BACKENDS = ["anymail.backends.postmark.EmailBackend"]
            """,
            "EMAIL_BACKENDS",
        ),
        "no such backend": (
            """
            .. tab-item:: Django 6.1 and newer

               .. code-block:: python

                  MAILERS = {"default": {"BACKEND": "anymail.backends.smtp.EmailBackend"}}

            .. tab-item:: Before Django 6.1

               .. code-block:: python

                  EMAIL_BACKEND = "anymail.backends.smtp.EmailBackend"
            """,
            "anymail.backends.smtp",
        ),
        "no such option": (
            """
            .. tab-item:: Django 6.1 and newer

               .. code-block:: python

                  MAILERS = {
                      "default": {
                          "BACKEND": "anymail.backends.postmark.EmailBackend",
                          "OPTIONS": {"stream": "broadcasts"},
                      },
                  }
            """,  # Earlier versions don't know which options are unknown.
            "stream",
        ),
        "no such mailer": (
            """
            .. tab-item:: Django 6.1 and newer

               .. code-block:: python

                  MAILERS = {
                      "default": {
                          "BACKEND": "anymail.backends.failover.EmailBackend",
                          "OPTIONS": {"mailers": ["ses"], "duplicates": "avoid"},
                      },
                  }

            .. tab-item:: Before Django 6.1

               .. code-block:: python

                  EMAIL_BACKEND = "anymail.backends.mailers.EmailBackend"
                  ANYMAIL = {
                      "MAILERS": {
                          "default": {
                              "BACKEND": "anymail.backends.failover.EmailBackend",
                              "OPTIONS": {"mailers": ["ses"], "duplicates": "avoid"},
                          },
                      },
                  }
            """,
            "ses",
        ),
        "mailers that this Django ignores": (
            """
            .. tab-item:: Django 6.1 and newer

               .. code-block:: python

                  ANYMAIL = {"MAILERS": {}}

            .. tab-item:: Before Django 6.1

               .. code-block:: python

                  MAILERS = {}
            """,
            "anymail.E008",
        ),
        "renamed setting": (
            """
            .. code-block:: python

               ANYMAIL = {"WEBHOOK_AUTHORIZATION": "user:password"}
            """,
            "WEBHOOK_AUTHORIZATION",
        ),
        "URLs without Anymail's": (
            """
            .. code-block:: python

               urlpatterns = [path("anymail/", lambda request: None)]
            """,
            "no patterns",
        ),
        "failing test": (
            """
            .. code-block:: python

               from django.test import SimpleTestCase

               class MyTests(SimpleTestCase):
                   def test_it(self):
                       self.fail("as expected")
            """,
            "as expected",
        ),
        "unknown name": (
            """
            .. code-block:: python

               massage.send()
            """,
            "massage",
        ),
        "message that can't be sent": (
            """
            .. code-block:: python

               message.to = ["not an address"]
            """,
            "not an address",
        ),
        "receiver that fails": (
            """
            .. code-block:: python

               from anymail.signals import tracking
               from django.dispatch import receiver

               @receiver(tracking)
               def handle_tracking(sender, event, esp_name, **kwargs):
                   print(event.type)
            """,
            "'type'",
        ),
        "receiver of inbound messages that fails": (
            """
            .. code-block:: python

               from anymail.signals import inbound
               from django.dispatch import receiver

               @receiver(inbound)
               def handle_inbound(sender, event, esp_name, **kwargs):
                   print(event.message.body)
            """,
            "'body'",
        ),
        "value in a comment": (
            """
            .. code-block:: python

               message.send()
               message.anymail_status.status  # {"queued"}
            """,
            "queued",
        ),
        "doctest": (
            """
            >>> message.subject
            'Good bye'
            """,
            "Good bye",
        ),
        "no Python": (
            """
            .. code-block:: python

               $ pip install django-anymail
            """,
            "invalid syntax",
        ),
        "command that fails": (
            """
            .. code-block:: console

               $ python -c "import sys; sys.exit('failed')"
            """,
            "returned non-zero",
        ),
        "option that is not the sandbox's": (
            """
            .. code-block:: console

               $ python -m anymail.sandbox demo --every
            """,
            "2",
        ),
    }

    def test_wrong_examples(self):
        for name, (rst, error) in self.WRONG.items():
            with self.subTest(name):
                blocks = list(find_blocks(textwrap.dedent(rst), "docs/wrong.rst"))
                if not any(block.is_for_this_django for block in blocks):
                    continue
                stderr = contextlib.redirect_stderr(io.StringIO())
                with stderr, self.assertRaises((Exception, SystemExit)) as raised:
                    self.run_blocks("docs/wrong.rst", blocks)
                self.assertIn(error, str(raised.exception))

    def test_provider_refuses(self):
        # Other pages' messages go through the test backend, which has no such limit.
        [block] = find_blocks(
            ".. code-block:: python\n\n   message.metadata = {'x' * 21: 1}",
            "docs/esps/postmark.rst",
        )
        with self.assertRaisesMessage(AnymailAPIError, "Postmark API response 422"):
            self.run_blocks("docs/esps/postmark.rst", [block])

    def test_namespace(self):
        # Blocks of a page share names and modules; nothing of that is left to other pages.
        rst = """
            .. code-block:: python
               :caption: yourproject/mail.py

               def greet(name):
                   return f"Hello, {name}"

            .. code-block:: python

               from yourproject.mail import greet as imported

               imported("Ann")  # "Hello, Ann"
               greet("Bo")  # "Hello, Bo"
            """
        blocks = list(find_blocks(textwrap.dedent(rst), "docs/right.rst"))
        self.run_blocks("docs/right.rst", blocks)
        self.assertNotIn("yourproject", sys.modules)
        with self.assertRaisesMessage(ModuleNotFoundError, "yourproject"):
            self.run_blocks("docs/right.rst", blocks[1:])

    def test_tabs(self):
        # Of what is in tabs, the reader's Django has one, and what comes after them is for all.
        rst = """
            .. tab-set::

               .. tab-item:: Django 6.1 and newer

                  .. code-block:: python

                     found = ["new"]

               .. tab-item:: Before Django 6.1

                  .. code-block:: python

                     found = ["old"]

            .. code-block:: python

               found += ["both"]
            """
        self.run_blocks("docs/right.rst", list(find_blocks(textwrap.dedent(rst), "docs/right.rst")))
        which = "new" if django.VERSION >= (6, 1) else "old"
        self.assertEqual(self.namespace["found"], [which, "both"])

    def test_tabs_are_for_all_versions(self):
        for page in pages():
            with self.subTest(page.relative_to(ROOT).as_posix()):
                text = page.read_text(encoding="utf-8")
                found = re.findall(r"^ *\.\. (tab-.*)", text, re.MULTILINE)
                one = ["tab-set::", *(f"tab-item:: {label}" for label in TABS)]
                self.assertEqual(found, one * found.count("tab-set::"))

    def test_settings_that_not_all_versions_have_are_in_tabs(self):
        new_only = r"""\bMAILERS *= *|(?<!later\()\busing=|["']using["']|\bmail\.mailers\b"""
        old_only = (
            r"""\b(EMAIL_BACKEND|connection) *=(?!R)|["']MAILERS["']|email_backend|get_conn"""
        )
        for page in pages():
            for block in blocks_in(page):
                if block.is_python and block.page != "README.rst":
                    with self.subTest(str(block)):
                        for label, pattern in zip(TABS, [new_only, old_only], strict=True):
                            if re.search(pattern, block.text):
                                self.assertEqual(block.tab, label)

    def test_await(self):
        rst = ".. code-block:: python\n\n   import asyncio\n\n   await asyncio.sleep(0, 5)  # 6"
        with self.assertRaisesMessage(AssertionError, "5 != 6"):
            self.run_blocks("docs/wrong.rst", list(find_blocks(rst, "docs/wrong.rst")))

    def test_receivers_are_disconnected(self):
        before = [list(signal.receivers) for signal in SIGNALS]
        for page in ("docs/tracking.rst", "docs/sending/signals.rst"):
            self.run_blocks(page, BLOCKS[page])
        after = [list(signal.receivers) for signal in SIGNALS]
        self.assertEqual(after, before)

    def test_all_blocks_are_found(self):
        for page in pages():
            with self.subTest(page.relative_to(ROOT).as_posix()):
                directives = re.findall(
                    r"^.*\b(?:code-block|sourcecode|code|literalinclude|parsed-literal)::.*",
                    page.read_text(encoding="utf-8"),
                    re.MULTILINE,
                )
                blocks = [block for block in blocks_in(page) if block.language != "doctest"]
                self.assertEqual(len(directives), len(blocks))
                self.assertLessEqual({block.language for block in blocks}, LANGUAGES)

    def test_what_is_installed(self):
        # A package index has another package by that name.
        extras = {*(provider.extra for provider in PROVIDERS.values()), "<your provider>"}
        extras |= {"async", "celery", "rate", "tasks"}
        found = set()
        for page in pages():
            if page.stem == "contributing_a_provider":  # It makes up the extra that it installs.
                continue
            for what in re.findall(r"pip install ([^`\n&]*)", page.read_text(encoding="utf-8")):
                with self.subTest(page.relative_to(ROOT).as_posix(), what=what):
                    match = re.fullmatch(_INSTALLED, what)
                    self.assertIsNotNone(match)
                    names = match[1].split(",") if match[1] else []
                    self.assertLessEqual(set(names), extras)
                    found.update(names)
        self.assertEqual(found, extras)

    def test_tables_are_of_use(self):
        blocks = [block for blocks in BLOCKS.values() for block in blocks]
        for page, text in NEEDS:
            with self.subTest(page, text=text):
                self.assertTrue(any(_is_in(block, page, text) for block in blocks))
        for page in [*SETUP, *SETTINGS, *OWN_SETTINGS, *MODULES, *FILES]:
            with self.subTest(page):
                self.assertIn(page, BLOCKS)
