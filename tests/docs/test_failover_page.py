"""Compares docs/failover.rst with what is done when a provider fails."""

from __future__ import annotations

import re
from typing import Any

from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings

from anymail import mailers
from anymail.delivery import decisions
from anymail.delivery.decisions import Failure, Options
from anymail.exceptions import Problem
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox

from ..delivery.leaf import CALLS, StrategyTestCase, fails
from ..delivery.test_strategies import failover
from .blocks import ROOT, blocks_in

PAGE = ROOT / "docs" / "failover.rst"


def rows_after(label: str) -> list[list[str]]:
    """Return the cells of the first table after a label, without the header."""
    text = PAGE.read_text(encoding="utf-8").partition(f".. _{label}:\n")[2]
    table = text.partition(".. list-table::")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [re.split(r"\n     - ", row) for row in table.split("   * - ")[1:]]
    return [[" ".join(cell.split()) for cell in row] for row in rows[1:]]


class TableTests(SimpleTestCase):
    def test_what_is_done(self):
        rows = {row[0].strip("`"): row[1:] for row in rows_after("what-is-done")}
        failures = {problem.name: Failure(problem) for problem in Problem}
        failures["a mistake in the settings"] = Failure(None, is_configuration=True)
        failures["any other exception"] = Failure(None)
        self.assertEqual(list(rows), list(failures))
        for name, failure in failures.items():
            with self.subTest(name):
                again, elsewhere, pause = rows[name]
                repeats = decisions.wait_to_repeat(failure, 1) is not None
                self.assertEqual(repeats, not again.startswith(("no", "only")))
                moves_on = decisions.moves_on(failure, "avoid")
                self.assertEqual(moves_on, not elsewhere.startswith(("no", "only")))
                moves_on = decisions.moves_on(failure, "accept")
                self.assertEqual(moves_on, not elsewhere.startswith("no"))
                found = decisions.pause_for(failure, Options())
                minutes = "a minute" if found and found.seconds == 60 else "10 minutes"
                self.assertIn(minutes if found else "goes on", pause)

    def test_limits_of_all_providers(self):
        names = [
            re.sub(r".*<esps/(\w+)>.*", r"\1", row[0]) for row in rows_after("provider-limits")
        ]
        self.assertEqual(names, list(PROVIDERS))


class MailersTests(SimpleTestCase):
    def test_the_spare_takes_plain_text(self):
        settings = [
            block
            for block in blocks_in(PAGE)
            if block.caption == "settings.py"
            and block.is_for_this_django
            and '["postmark", "brevo"]' in block.text
        ]
        self.assertEqual(len(settings), 2)
        for block in settings:
            names: dict[str, Any] = {}
            exec(block.text, names)
            del names["__builtins__"]
            with self.subTest(str(block)), Sandbox() as sandbox:
                names["ANYMAIL"] = {**names.get("ANYMAIL", {}), **sandbox.anymail_settings()}
                with override_settings(**names):
                    for name in ("postmark", "brevo"):
                        mailers[name].send_messages(
                            [EmailMessage("Hello", "Text", "a@example.com", ["b@example.com"])]
                        )
                self.assertEqual(
                    [message.provider for message in sandbox.messages], ["postmark", "brevo"]
                )


class PasswordResetTests(StrategyTestCase):
    mailers = {"default": failover("a", "b")}

    def test_form(self):
        [block] = [block for block in blocks_in(PAGE) if "PasswordResetForm" in block.text]
        namespace: dict[str, Any] = {"__name__": "example"}
        exec(block.text, namespace)
        namespace["render_to_string"] = lambda name, context: f"{name} for {context['user']}\n"
        self.script(a=fails(Problem.UNCLEAR))
        form = namespace["PasswordResetForm"]({"email": "ann@example.com"})
        with self.logged("WARNING"):
            form.send_mail("subject", "body", {"user": "Ann"}, None, "ann@example.com")
        self.assertEqual(self.called, ["a", "b"])
        [_, (_, message)] = CALLS
        self.assertEqual((message.subject, message.body), ("subject for Ann", "body for Ann\n"))
        self.assertEqual(message.to, ["ann@example.com"])
