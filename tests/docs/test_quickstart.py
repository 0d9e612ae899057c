"""Follows docs/quickstart.rst: makes the project, and compares what happens with what it shows."""

from __future__ import annotations

import re
import shlex

import requests
from django.test import tag

from .blocks import ROOT, Block, blocks_in
from .projects import ProjectTestCase

PAGE = ROOT / "docs" / "quickstart.rst"
BLOCKS = blocks_in(PAGE)


def commands() -> list[list[str]]:
    """Return what the page says to type into a terminal."""
    return [
        shlex.split(command, comments=True)
        for block in BLOCKS
        if block.language == "console"
        for command in re.findall(r"^\$ (.*)", block.text, re.MULTILINE)
    ]


@tag("exhaustive")
class QuickstartTests(ProjectTestCase):
    def test_it(self):
        self.make_project()
        self.run_checks()
        self.start_server()
        self.send()
        self.trigger_events()

    def make_project(self) -> None:
        install, cd, django_admin, manage = commands()[2:6]
        self.assertEqual(install, ["python", "-m", "pip", "install", ".[postmark]"])
        self.assertEqual(cd, ["cd", "../mysite"])
        self.assertEqual([django_admin[0], *manage[:2]], ["django-admin", "python", "manage.py"])
        self.project.run("-m", "django", *django_admin[1:])
        self.project.manage(*manage[2:])
        for block in BLOCKS:
            if block.caption and block.is_for_this_django:
                self.edit(block)

    def edit(self, block: Block) -> None:
        """Do what the page says to do with a block."""
        path = self.project.directory / block.caption
        text = block.text
        if block.tab:  # at the end of the settings
            # The sandbox has any free port here.
            text = text.replace("http://127.0.0.1:8035", self.sandbox.base_url)
            text = f"{path.read_text(encoding='utf-8')}\n{text}"
        if "<" not in block.text:  # real credentials
            path.write_text(text, encoding="utf-8")

    def run_checks(self) -> None:
        [block] = [block for block in BLOCKS if "manage.py check" in block.text]
        migrate, check, output = block.text.splitlines()
        self.assertEqual(self.project.manage(*shlex.split(migrate)[3:]), "")
        self.assertEqual(self.project.manage(*shlex.split(check)[3:]).strip(), output)

    def start_server(self) -> None:
        self.project.start_server()
        self.addCleanup(self.project.stop)
        self.assertIn(["python", "manage.py", "runserver"], commands())
        [serve] = [command for command in commands() if "anymail.sandbox" in command]
        self.assertEqual(serve[-2:], ["--webhook-url", "http://127.0.0.1:8000/anymail/"])
        self.sandbox.webhook_url = f"{self.project.url}/anymail/"

    def send(self) -> None:
        """Run the page's examples in the project's shell, and compare what they return."""
        examples = "".join(block.text for block in BLOCKS if block.language == "pycon")
        (self.project.directory / "examples.txt").write_text(examples, encoding="utf-8")
        code = "import doctest; print(doctest.testfile('examples.txt', module_relative=False))"
        result = self.project.manage("shell", "--command", code)
        self.assertIn("TestResults(failed=0, attempted=6)", result)

        to_ann, to_bo = self.sandbox.messages
        self.assertEqual(to_ann.subject, "Welcome, Ann")
        self.assertEqual(to_ann.recipients[0].tags, ("onboarding",))
        self.assertEqual(to_ann.recipients[0].metadata, {"user_id": "12345"})
        self.assertEqual(to_bo.recipients[0].address, "bo@example.com")

    def trigger_events(self) -> None:
        message = self.sandbox.messages[0]
        url = f"{self.sandbox.base_url}/_sandbox/mail/{message.number}?view=events"
        page = requests.get(url).text
        bounce, reply = (block.text for block in BLOCKS if block.language == "text")
        for event, output, kind in (("bounced", bounce, "tracking"), ("inbound", reply, "inbound")):
            self.assertIn(f'data-report="{event}">', page)
            self.assertEqual(self.sandbox.trigger(message, event).status_code, 200)
            self.project.wait_for_output(re.escape(output))
            # The server notes calls after it has answered, and that must not be amid the next.
            self.project.wait_for_output(f'"POST /anymail/postmark/{kind}/')
