"""Does what docs/adding_a_provider.rst and docs/contributing_a_provider.rst say, and tries it.

The blocks become files of the package that the first page describes, in a temporary directory; and
files in a copy of the repository, where Anymail's own tests are run.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests
from django.core.mail import EmailMessage
from django.test import LiveServerTestCase, SimpleTestCase, tag

from anymail import signals
from anymail.exceptions import AnymailRequestsAPIError, AnymailUnsupportedFeature
from anymail.message import AnymailMessage

from ..http_server import Answer, HttpServer
from ..utils import use_backend
from .blocks import ROOT, blocks_in

PACKAGE = "anymail_carrier_pigeon"
BLOCKS = blocks_in(ROOT / "docs" / "adding_a_provider.rst")
CONTRIBUTION = blocks_in(ROOT / "docs" / "contributing_a_provider.rst")


def write_files(directory: Path, prefix: str) -> None:
    """Write all files that the page has code for."""
    for block in BLOCKS:
        file = block.caption.removesuffix(" (continued)")
        if file.startswith(prefix):
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", encoding="utf-8") as output:
                output.write(f"{block.text}\n\n")


class TutorialTestCase(SimpleTestCase):
    """Has the package as a module that can be imported."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.directory = Path(directory.name)
        write_files(cls.directory, f"{PACKAGE}/")
        (cls.directory / PACKAGE / "__init__.py").touch()
        sys.path.insert(0, directory.name)
        cls.addClassCleanup(sys.path.remove, directory.name)
        cls.addClassCleanup(cls.forget_package)
        importlib.invalidate_caches()

    @staticmethod
    def forget_package() -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] == PACKAGE:
                del sys.modules[name]


class UseTests(TutorialTestCase, LiveServerTestCase):
    """What the provider does for a project, over HTTP in both directions."""

    maxDiff = None
    settings_for_webhooks = {"CARRIER_PIGEON_SIGNING_KEY": "the signing key"}

    def setUp(self) -> None:
        super().setUp()
        self.server = HttpServer(Answer(202, b'{"flight": "f-1", "turned_away": []}'))
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)
        override = use_backend(
            f"{PACKAGE}.backend.EmailBackend",
            ROOT_URLCONF=f"{PACKAGE}.urls",
            ANYMAIL={
                "CARRIER_PIGEON_API_URL": f"{self.server.url}/v1/",
                "CARRIER_PIGEON_API_KEY": "the API key",
                **self.settings_for_webhooks,
            },
        )
        override.enable()
        self.addCleanup(override.disable)
        self.events: list[Any] = []
        for signal in (signals.tracking, signals.inbound):
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)

    def receive(self, event: Any, esp_name: str, **kwargs: Any) -> None:
        self.events.append((esp_name, event))

    def test_send(self):
        message = AnymailMessage(
            "Hello",
            "Hello, Ann!",
            "Shop <shop@example.com>",
            ["Ann <ann@example.com>"],
            reply_to=["help@example.com"],
            alternatives=[("<p>Hello, Ann!</p>", "text/html")],
            attachments=[("a.pdf", b"%PDF-1.4", "application/pdf")],
            headers={"X-Custom": "value"},
            tags=["welcome"],
            metadata={"user_id": "12345"},
            send_at=datetime.fromtimestamp(1927800000, timezone.utc),
        )
        message.send()
        [request] = self.server.requests
        self.assertEqual((request.method, request.path), ("POST", "/v1/messages"))
        self.assertEqual(request.header("Authorization"), "Bearer the API key")
        # What the page says that the API takes
        example = next(block for block in BLOCKS if '"take_off"' in block.text)
        expected = json.loads(example.text)
        expected["parcels"][0]["content"] = base64.b64encode(b"%PDF-1.4").decode()
        self.assertEqual(json.loads(request.body), expected)
        self.assertEqual(message.anymail_status.status, {"queued"})
        self.assertEqual(message.anymail_status.message_id, "f-1")

    def test_turned_away(self):
        self.server.answers = [Answer(202, b'{"flight": "f-1", "turned_away": ["BO@example.com"]}')]
        message = EmailMessage("Hello", "", to=["ann@example.com", "bo@example.com"])
        message.send()
        statuses = message.anymail_status.recipients
        self.assertEqual(statuses["ann@example.com"].status, "queued")
        self.assertEqual(statuses["bo@example.com"].status, "rejected")

    def test_api_error(self):
        self.server.answers = [Answer(401, b'{"error": "Who are you?"}')]
        with self.assertRaisesMessage(AnymailRequestsAPIError, "Who are you?"):
            EmailMessage("Hello", "", to=["ann@example.com"]).send()

    def test_unsupported_feature(self):
        message = AnymailMessage("Hello", "", to=["ann@example.com"], template_id="welcome")
        with self.assertRaisesMessage(AnymailUnsupportedFeature, "template_id"):
            message.send()
        self.assertEqual(self.server.requests, [])

    def post(self, path: str, data: Any, key: bytes = b"the signing key") -> requests.Response:
        body = json.dumps(data).encode()
        signature = hmac.new(key, b"1927800000." + body, hashlib.sha256).hexdigest()
        headers = {"Pigeon-Time": "1927800000", "Pigeon-Signature": signature}
        return requests.post(f"{self.live_server_url}{path}", data=body, headers=headers)

    def test_tracking(self):
        example = next(block for block in BLOCKS if block.text.startswith("["))
        self.assertEqual(self.post("/tracking/", json.loads(example.text)).status_code, 200)
        [(esp_name, event)] = self.events
        self.assertEqual(esp_name, "Carrier Pigeon")
        self.assertEqual(event.event_type, "delivered")
        self.assertEqual(event.timestamp, datetime(2031, 1, 31, 12, tzinfo=timezone.utc))
        self.assertEqual((event.message_id, event.recipient), ("f-1", "ann@example.com"))
        self.assertEqual((event.tags, event.metadata), (["welcome"], {"user_id": "12345"}))

    def test_event_types(self):
        words = {
            "took_off": "sent",
            "landed": "delivered",
            "lost": "bounced",
            "circling": "deferred",
            "opened": "opened",
            "moulting": "unknown",
        }
        self.post("/tracking/", [{"what": word} for word in words])
        self.assertEqual([event.event_type for _, event in self.events], list(words.values()))

    def test_inbound(self):
        mime = b"From: ann@example.com\r\nSubject: Re: Hello\r\n\r\nThanks!\r\n"
        data = {"id": "i-1", "from": "ann@example.com", "mime": base64.b64encode(mime).decode()}
        self.assertEqual(self.post("/inbound/", data).status_code, 200)
        [(esp_name, event)] = self.events
        self.assertEqual(esp_name, "Carrier Pigeon")
        self.assertEqual(event.message.subject, "Re: Hello")
        self.assertEqual(event.message.envelope_sender, "ann@example.com")

    def test_forged(self):
        for url in ("/tracking/", "/inbound/"):
            with self.assertLogs("django", "ERROR"):
                self.assertEqual(self.post(url, [], b"another key").status_code, 400)
        self.assertEqual(self.events, [])


@tag("exhaustive")
class ContributionTests(SimpleTestCase):
    """Does in a copy of the repository what docs/contributing_a_provider.rst says."""

    MOVED = {
        f"{PACKAGE}/backend.py": "anymail/backends/carrier_pigeon.py",
        f"{PACKAGE}/webhooks.py": "anymail/webhooks/carrier_pigeon.py",
    }
    COPIED = ["anymail", "docs", "tests", "pyproject.toml", "README.rst", "runtests.py"]

    # What looks at all providers, or at everything in a directory
    LABELS = [
        *("tests.golden", "tests.test_providers", "tests.test_feature_matrix", "tests.test_urls"),
        *("tests.test_architecture", "tests.test_checks", "tests.test_public_names"),
        *("tests.docs.test_provider_pages", "tests.docs.test_settings_reference"),
        "tests.docs.test_api_reference",
        *("tests.sandbox.test_boundaries", "tests.sandbox.test_server.ProviderTests"),
        *("tests.sandbox.test_refusals", "tests.sandbox.test_webhooks"),
        *("tests.webhooks.test_fixtures", "tests.webhooks.test_vectors"),
    ]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.directory = Path(directory.name)
        ignored = shutil.ignore_patterns("__pycache__", "_build")
        for name in cls.COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, cls.directory / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, cls.directory)
        for source, target in cls.MOVED.items():
            write_files(cls.directory, source)
            shutil.move(cls.directory / source, cls.directory / target)
        (cls.directory / PACKAGE).rmdir()
        for block in CONTRIBUTION:
            file, _, place = block.caption.partition(", before: ")
            if place:
                cls.insert(cls.directory / file, place, block.text)
            elif file:
                target = cls.directory / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(f"{block.text}\n", encoding="utf-8")
        for block in CONTRIBUTION:
            for command in block.text.splitlines() if block.language == "console" else []:
                if command.startswith("$ python -m tests."):
                    cls.run_in_copy(*command.split()[2:])

    @staticmethod
    def insert(path: Path, place: str, text: str) -> None:
        """Insert text before the first line that has something in it, with its indentation."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        number = next(number for number, line in enumerate(lines) if place in line)
        indent = lines[number][: -len(lines[number].lstrip())]
        lines.insert(number, textwrap.indent(f"{text.rstrip()}\n", indent))
        path.write_text("".join(lines), encoding="utf-8")

    @classmethod
    def run_in_copy(cls, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(cls.directory)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=cls.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise AssertionError(f"{arguments}\n{process.stdout}\n{process.stderr}")
        return process.stdout

    def run_tests(self, *arguments: str) -> int:
        """Run tests in the copy. Returns the number of those that passed."""
        output = self.run_in_copy("-W", "error", "runtests.py", *arguments)
        return int(output.rpartition(" passed, 0 failed")[0].rpartition("\n")[2])

    def test_its_contracts(self):
        labels = ("tests.backends.test_contract", "tests.webhooks.test_contract")
        self.assertGreater(self.run_tests("-k", "CarrierPigeon", *labels), 100)

    def test_all_lists(self):
        self.run_tests(*self.LABELS)

    def test_sandbox(self):
        output = self.run_in_copy("-m", "anymail.sandbox", "demo", "--esp", "carrier_pigeon")
        self.assertIn("Carrier Pigeon", output)

    def test_wheel(self):
        self.assertIn("in order", self.run_in_copy("-W", "error", "tests/check_wheel.py", "--tree"))

    def test_generated_lists(self):
        try:
            import sphinx  # noqa: F401
        except ImportError:
            self.skipTest("needs Sphinx")
        code = (
            "import sys; sys.path[:0] = ['docs/_ext']; "
            "from anymail_providers import FORMS, PROVIDERS; "
            "print([form for form in FORMS if 'carrier_pigeon' in "
            "str(FORMS[form](list(PROVIDERS.values())))] == list(FORMS))"
        )
        self.assertEqual(self.run_in_copy("-c", code), "True\n")
