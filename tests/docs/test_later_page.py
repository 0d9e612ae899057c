"""Follows docs/later.rst: both ways from nothing to a message that was sent, and what it says."""

from __future__ import annotations

import re
import shlex
import time
from importlib.metadata import requires, version
from unittest import skipIf

import django
from django.test import SimpleTestCase, tag

from ..redis_server import running_redis
from ..utils import skip_without
from .blocks import ROOT, Block, find_blocks
from .projects import SECONDS, ProjectTestCase

PAGE = ROOT / "docs" / "later.rst"

USE_REDIS = ("kombu", "limits")
"""Packages with an extra "redis"."""


def blocks_after(label: str, end: str) -> list[Block]:
    """Return the code blocks between two labels."""
    text = PAGE.read_text(encoding="utf-8")
    return list(
        find_blocks(text.partition(f".. _{label}:")[2].partition(f".. _{end}:")[0], PAGE.name)
    )


@tag("real")
class FromNothingTests(ProjectTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.replacements = {"http://127.0.0.1:8035": self.sandbox.base_url}
        self.ran: list[list[str]] = []

    @skipIf(django.VERSION < (5, 2), "Django 5.2 is the first that has tasks")
    @skip_without("django_tasks_db")
    def test_tasks(self):
        self.follow(blocks_after("with-tasks", "with-celery"))
        [message] = self.sandbox.messages
        self.assertEqual(message.recipients[0].tags, ("greeting",))
        self.assertIn(["python", "manage.py", "createcachetable"], self.ran)
        self.assertIn(["python", "manage.py", "db_worker"], self.ran)

    @skip_without("celery", "redis")
    def test_celery(self):
        redis = running_redis()
        server = redis.__enter__()
        self.addCleanup(redis.__exit__, None, None, None)
        self.replacements["127.0.0.1:6379"] = f"127.0.0.1:{server.port}"
        # Celery warns those who are root.
        self.project.environment["PYTHONWARNINGS"] = "error,default:You're running"
        self.follow(blocks_after("with-celery", "redis-versions"))
        self.assertEqual(len(self.sandbox.messages), 1)
        self.assertIn(["redis-server"], self.ran)
        self.assertIn("mysite", self.ran[-1])

    def follow(self, blocks: list[Block]) -> None:
        """Do what the blocks say, and wait until a message has been sent."""
        for block in blocks:
            if block.language == "console":
                for line in re.findall(r"^\$ (.*)", block.text, re.MULTILINE):
                    self.run_command(shlex.split(line))
            elif block.caption and block.is_for_this_django:
                self.edit(block)
            elif block.language == "pycon":
                self.send(block)
        end = time.monotonic() + SECONDS
        while not self.sandbox.messages and time.monotonic() < end:
            time.sleep(0.05)
        self.assertTrue(self.sandbox.messages, self.project.output)

    def run_command(self, command: list[str]) -> None:
        self.ran.append(command)
        match command:
            case ["python", "-m", "pip", "install", *requirements]:
                self.check_installed(requirements)
            case ["mkdir" | "cd", "../mysite"]:
                pass  # It's the project's directory already.
            case ["django-admin", *arguments]:
                self.project.run("-m", "django", *arguments)
            case ["redis-server"] | ["python", "-m", "anymail.sandbox", "serve"]:
                pass  # They are running already, at other ports.
            case ["python", "manage.py", "db_worker"] | ["python", "-m", "celery", *_]:
                self.project.start(*command[1:])
                self.addCleanup(self.project.stop)
            case ["python", *arguments]:
                output = self.project.run(*arguments)
                if "check" in arguments:
                    self.assertIn("no issues", output)
            case _:
                self.fail(f"{PAGE.name} has a command that isn't run: {command}")

    def check_installed(self, requirements: list[str]) -> None:
        """Check that this environment has what the page says to install."""
        extras = re.findall(r"[\w-]+", requirements[0])
        pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for extra in extras:
            self.assertRegex(pyproject, rf"(?m)^{extra} = \[")
        for requirement in requirements[1:]:
            version(requirement.partition("[")[0])

    def edit(self, block: Block) -> None:
        path = self.project.directory / block.caption
        text = block.text
        for old, new in self.replacements.items():
            text = text.replace(old, new)
        if block.tab:  # at the end of the settings
            text = f"{path.read_text(encoding='utf-8')}\n{text}"
        path.write_text(text, encoding="utf-8")

    def send(self, block: Block) -> None:
        (self.project.directory / "examples.txt").write_text(block.text, encoding="utf-8")
        code = "import doctest; print(doctest.testfile('examples.txt', module_relative=False))"
        self.assertIn("TestResults(failed=0", self.project.manage("shell", "--command", code))


@skip_without("kombu", "limits", "redis", "packaging")
class RedisVersionsTests(SimpleTestCase):
    """What the page says of redis-py's versions, compared with what the packages say."""

    def setUp(self) -> None:
        from packaging.requirements import Requirement

        found = [
            (package, Requirement(text))
            for package in USE_REDIS
            for text in requires(package) or ()
        ]
        self.specifiers = {
            package: requirement.specifier
            for package, requirement in found
            if requirement.name == "redis"
            and requirement.marker
            and requirement.marker.evaluate({"extra": "redis"})
        }
        self.assertEqual(set(self.specifiers), set(USE_REDIS))

    def test_this_environment(self):
        for package, specifier in self.specifiers.items():
            self.assertIn(version("redis"), specifier, package)

    def test_page(self):
        text = " ".join(PAGE.read_text(encoding="utf-8").split())
        for package in USE_REDIS:
            if f"{package} {'.'.join(version(package).split('.')[:2])} " not in text:
                self.skipTest(f"The page speaks of another version of {package} than is here")
        said = re.search(r"\*\*redis-py (\d+)\.(\d+) to (\d+)\.x\*\*", text)
        assert said
        first, minor, last = map(int, said.groups())
        numbers = [f"{first}.{minor - 1}.99", f"{first}.{minor}", f"{last}.99", f"{last + 1}.0"]
        self.assertEqual(
            [number for number in numbers if all(number in s for s in self.specifiers.values())],
            numbers[1:3],
        )
