"""docs/commands.rst: all commands and options, and what they print."""

from __future__ import annotations

import io
import re
import shlex
from argparse import ArgumentParser
from typing import Any
from unittest.mock import patch

from django.core.management import call_command, load_command_class
from django.test import SimpleTestCase, override_settings

from ..sandbox.cases import AnyKeySandboxTestCase
from ..test_webhooks_command import TRACKING
from ..utils import PACKAGE, use_backend
from .blocks import ROOT, Block, blocks_in

DOCS = ROOT / "docs"
PAGE = DOCS / "commands.rst"
COMMAND = re.compile(r"^\$ python manage\.py (anymail_\w+.*)$", re.MULTILINE)
NAMES = sorted(path.stem for path in (PACKAGE / "management/commands").glob("anymail_*.py"))


def parser(name: str) -> ArgumentParser:
    return load_command_class("anymail", name).create_parser("manage.py", name)


def blocks() -> list[tuple[Block, list[str]]]:
    """Return (block, [command line]) for all blocks with Anymail's commands."""
    return [
        (block, found)
        for path in sorted(DOCS.rglob("*.rst"))
        for block in blocks_in(path)
        if block.language == "console" and (found := COMMAND.findall(block.text))
    ]


class PageTests(SimpleTestCase):
    def test_all_commands(self):
        text = PAGE.read_text(encoding="utf-8")
        sections = dict(re.findall(r"(?s)\n(anymail_\w+)\n-+\n(.*?)(?=\n\.\. _anymail-|\Z)", text))
        self.assertEqual(sorted(sections), NAMES)
        for name in NAMES:
            for action in parser(name)._actions:
                for option in action.option_strings:
                    if action.help and option.startswith("--") and option not in COMMON:
                        with self.subTest(name, option=option):
                            self.assertRegex(sections[name], rf"``.*{option}\b")

    def test_examples_can_be_called(self):
        found = blocks()
        self.assertGreater(len(found), 5)
        for block, commands in found:
            for command in commands:
                with self.subTest(str(block), command=command):
                    name, *arguments = shlex.split(command)
                    parser(name).parse_args(arguments)


COMMON = {
    *("--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback"),
    *("--no-color", "--force-color", "--skip-checks"),
}
POSTMARK = "anymail.backends.postmark.EmailBackend"


@override_settings(ROOT_URLCONF="anymail.sandbox.urls")
class OutputTests(AnyKeySandboxTestCase):
    """The page shows what is printed. "..." stands for anything."""

    def assert_as_documented(self, part: str, **settings: Any) -> None:
        """Run the only example with this in its command line, and compare."""
        [(block, [command])] = [item for item in blocks() if item[1][0].endswith(part)]
        name, *arguments = shlex.split(command)
        expected = block.text.partition("\n")[2].strip().replace("Make them? [y/N]", "")
        settings |= {"SANDBOX": self.sandbox.base_url, "WEBHOOK_SECRET": "user:password"}
        output = io.StringIO()
        with use_backend(POSTMARK, ANYMAIL=settings), patch("builtins.input", return_value="n"):
            call_command(name, *arguments, stdout=output)
        text = re.sub(r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", UUID, output.getvalue())
        text = text.replace("The backend:", "Mailer 'default':")  # Django before 6.1
        text = text.replace(self.sandbox.url("brevo"), "https://api.brevo.com/v3/")
        pattern = re.escape(expected.strip()).replace(re.escape("..."), r"(?s:.*)")
        self.assertRegex(text, rf"\A{pattern}\s")

    def test_send_test(self):
        self.assert_as_documented(
            "anymail_send_test you@example.com", POSTMARK_SERVER_TOKEN="token"
        )

    def test_webhooks(self):
        self.assert_as_documented("--only tracking", POSTMARK_SERVER_TOKEN="token")

    def test_check(self):
        path = "www.example.com/anymail/postmark/tracking/"
        events = ["Delivery", "Bounce", "SpamComplaint", "SubscriptionChange"]
        items = self.sandbox.provider("postmark").webhooks.items
        items += TRACKING["postmark"](
            f"https://user:password@{path.replace('www', 'staging')}", [*events, "Open", "Click"]
        )
        items += TRACKING["postmark"](f"https://{path}", events)
        items[1] |= {"MessageStream": "broadcasts", "ID": 2}
        self.assert_as_documented("tracking --check", POSTMARK_SERVER_TOKEN="token")

    def test_apply(self):
        self.assert_as_documented("--esp brevo --apply", BREVO_API_KEY="key")


UUID = "8bbd6c85-fbfd-4ae4-a2f8-0f0ea2d8e2b6"
