"""Builds the provider of docs/adding_a_provider.rst, uses it over HTTP, and runs the contracts.

The blocks become files of the package that the page describes, in a temporary directory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib
import json
import sys
import tempfile
import types
import unittest
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from django.core.mail import EmailMessage
from django.test import LiveServerTestCase, SimpleTestCase, override_settings, tag
from django.urls import include, path

from anymail import signals
from anymail.exceptions import AnymailRequestsAPIError, AnymailUnsupportedFeature
from anymail.message import AnymailMessage
from anymail.urls import _view_on_first_request

from ..backends import test_contract as backend_contract
from ..http_server import Answer, HttpServer
from ..utils import use_backend
from ..webhooks import test_contract as webhook_contract
from ..webhooks import test_fixtures
from .blocks import ROOT, blocks_in

PACKAGE = "anymail_carrier_pigeon"
BLOCKS = blocks_in(ROOT / "docs" / "adding_a_provider.rst")


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
class ContributionTests(TutorialTestCase):
    """What the page says about Anymail's own tests: the entries make this provider pass them."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        write_files(cls.directory, "tests/")

    def urls(self) -> types.ModuleType:
        """Return a URLconf like Anymail's own, with the entries that the page has for that."""
        [block] = [block for block in BLOCKS if "WEBHOOKS = [" in block.text]
        names: dict[str, Any] = {}
        exec(compile(block.text, str(block), "exec", dont_inherit=True), names)
        patterns = [
            path(route, _view_on_first_request(view_path), name=name)
            for route, view_path, name in names["WEBHOOKS"]
        ]
        urls = types.ModuleType("urls")
        vars(urls)["urlpatterns"] = [path("anymail/", include((patterns, "anymail")))]
        return urls

    def entry(self, file: str) -> Any:
        """Return the entry that the page has for one of the tables of Anymail's tests."""
        names: dict[str, Any] = {}
        source = (self.directory / file).read_text(encoding="utf-8")
        exec(compile(source, file, "exec", dont_inherit=True), names)
        return names["CARRIER_PIGEON"]

    def run_tests(self, test_case: type[unittest.TestCase], at_least: int) -> None:
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(test_case).run(result)
        for test, text in result.failures + result.errors:
            with self.subTest(str(test)):
                self.fail(text)
        self.assertGreaterEqual(result.testsRun, at_least)

    def test_backend_contract(self):
        case = self.entry("tests/backends/cases.py")
        self.run_tests(backend_contract._make_test_case(case), at_least=50)

    def test_webhook_contract(self):
        case = self.entry("tests/webhooks/cases.py")
        modules = {
            "anymail.webhooks.carrier_pigeon": importlib.import_module(f"{PACKAGE}.webhooks"),
            "urls": self.urls(),
        }
        fixtures = self.directory / "tests" / "fixtures"
        with (
            patch.dict(sys.modules, modules),
            patch("tests.webhooks.harness.FIXTURES", fixtures),
            override_settings(ROOT_URLCONF="urls"),
        ):
            for view in case.views:
                self.run_tests(webhook_contract._make_test_case(case, view), at_least=20)
            with patch.dict(test_fixtures.CASES, {case.esp: case}):
                self.run_tests(test_fixtures._make_test_case(case.esp), at_least=2)
