"""Runs docs/example: its development server, the sandbox, and a browser that visits the page."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import requests
from django.test import SimpleTestCase, tag

from anymail.sandbox import Sandbox

from .. import browser
from .blocks import ROOT
from .projects import Project

CHROMIUM_SECONDS = 60


class Page(HTMLParser):
    """The texts of a page: of its articles, and of those the items in lists."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.articles: list[str] = []
        self.items: list[list[str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        if tag == "article":
            self.articles.append("")
            self.items.append([])
        elif tag == "li" and "article" in self._open:
            self.items[-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass  # elements without an end tag

    def handle_data(self, data):
        text = " ".join(data.split())
        if text and "article" in self._open:
            self.articles[-1] = f"{self.articles[-1]} {text}".strip()
            if "li" in self._open:
                self.items[-1][-1] = f"{self.items[-1][-1]} {text}".strip()


@tag("exhaustive")
class ExampleProjectTests(SimpleTestCase):
    """Sends two postcards; one is opened, clicked and answered, the other one bounces."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        project = Path(directory.name) / "example"
        databases = shutil.ignore_patterns("db.sqlite3")
        shutil.copytree(ROOT / "docs" / "example", project, ignore=databases)
        cls.sandbox = Sandbox()
        cls.sandbox.start()
        cls.addClassCleanup(cls.sandbox.stop)
        cls.project = Project(project, SANDBOX_URL=cls.sandbox.base_url)
        cls.project.manage("migrate", "--verbosity=0")
        cls.project.manage("createcachetable", "--verbosity=0")
        cls.project.start_server()
        cls.addClassCleanup(cls.project.stop)
        cls.sandbox.webhook_url = f"{cls.project.url}/anymail/"
        cls.use_site()

    @classmethod
    def use_site(cls) -> None:
        for to, subject in (("ann@example.com", "From Prague"), ("bo@example.com", "From Brno")):
            cls.send(to, subject)
        opened, bounced = cls.sandbox.messages
        for event in ("delivered", "opened", "clicked", "inbound"):
            cls.trigger(opened, event)
        cls.trigger(bounced, "bounced")

    @classmethod
    def send(cls, to: str, subject: str) -> str:
        """Fill in the form, and return the page that is shown then."""
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(cls.project.url)
            [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
            text = "It's <lovely> here.\nSee you soon!"
            data = {"csrfmiddlewaretoken": token, "to": to, "subject": subject, "text": text}
            response = session.post(cls.project.url, data=data)
        response.raise_for_status()
        return response.text

    @classmethod
    def trigger(cls, message, event: str) -> None:
        cls.sandbox.trigger(message, event).raise_for_status()

    def assert_page(self, html: str) -> None:
        page = Page(html)
        self.assertEqual(len(page.articles), 3, html)
        bounced, opened, reply = page.articles
        self.assertIn("From Brno to bo@example.com", bounced)
        self.assertIn("From Prague to ann@example.com", opened)
        self.assertIn("It's <lovely> here. See you soon!", opened)
        bounced_events, opened_events, _ = page.items
        self.assertEqual(_first_words(bounced_events), ["sent", "bounced"])
        self.assertIn("550 5.1.1 No such user", bounced_events[1])
        self.assertEqual(_first_words(opened_events), ["sent", "delivered", "opened", "clicked"])
        self.assertIn("https://www.example.com/postcards", opened_events[3])
        self.assertIn("Re: From Prague from ann@example.com", reply)
        self.assertIn("Díky! Přijde v úterý.", reply)
        self.assertIn("Attached: odpověď.txt", reply)

    def test_page(self):
        response = requests.get(self.project.url)
        self.assertEqual(response.status_code, 200)
        self.assert_page(response.text)

    def test_page_in_chromium(self):
        with tempfile.TemporaryDirectory() as profile:
            options = ["--headless", *browser.OPTIONS, f"--user-data-dir={profile}", "--dump-dom"]
            result = subprocess.run(
                [browser.chromium(), *options, self.project.url],
                check=False,
                capture_output=True,
                timeout=CHROMIUM_SECONDS,
                encoding="utf-8",
            )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assert_page(result.stdout)

    def test_message(self):
        # What has arrived at the provider
        message = self.sandbox.messages[0]
        self.assertEqual(message.from_email.addr_spec, "postcards@example.com")
        self.assertEqual(message.recipients[0].tags, ("postcard",))
        self.assertIn("It&#x27;s &lt;lovely&gt; here.", message.recipients[0].html)

    def test_refused_webhook(self):
        response = requests.post(f"{self.project.url}/anymail/postmark/tracking/", json={})
        self.assertEqual(response.status_code, 400)

    def test_provider_error(self):
        self.sandbox.suppressed.add("nobody@example.com")
        html = self.send("nobody@example.com", "Hello?")
        self.assertIn("errorlist", html)
        self.assertNotIn("Hello? to", html)

    def test_migrations(self):
        self.project.manage("makemigrations", "--check", "--dry-run")

    def test_checks(self):
        self.assertIn("no issues", self.project.manage("check"))


def _first_words(texts: list[str]) -> list[str]:
    return [text.split()[0] for text in texts]
