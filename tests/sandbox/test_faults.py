"""What goes wrong in the sandbox on request, as clients see it."""

from __future__ import annotations

import time
from http.client import RemoteDisconnected
from unittest.mock import patch
from urllib.parse import urlsplit

import requests
from django.test import SimpleTestCase

from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox
from anymail.sandbox.faults import Fault, Faults, parse_fault

from .cases import SandboxTestCase

MESSAGE = {"From": "from@example.com", "To": "to@example.com", "Subject": "S", "TextBody": "T"}


class FaultTests(SandboxTestCase):
    def send(self, provider="postmark"):
        return self.post_json(
            f"/{provider}/email", MESSAGE, **{"X-Postmark-Server-Token": "sandbox-server-token"}
        )

    def test_own_ports(self):
        """Where a sandbox has a known port, the others are known, too."""
        with patch("anymail.sandbox.server._SandboxServer") as server:
            Sandbox(port=8025, own_ports=["postmark", "amazon_ses"])
            Sandbox(own_ports=["postmark"])
        ports = [call.args[0] for call in server.call_args_list]
        number = list(PROVIDERS).index("postmark")
        self.assertEqual(ports, [8025, 8026 + number, 8026, 0, 0])

    def test_next_calls(self):
        self.sandbox.fail_next("account", calls=2)
        self.assertEqual([self.send().status for _ in range(3)], [422, 422, 200])
        self.assertEqual(len(self.sandbox.messages), 1)

    def test_one_after_the_other(self):
        self.sandbox.fail_next("account")
        self.sandbox.fail_next("busy")
        codes = [self.send().json["ErrorCode"] for _ in range(3)]
        self.assertEqual(codes, [412, 429, 0])

    def test_other_provider(self):
        self.sandbox.fail_next("account", provider="mailgun")
        self.assertEqual(self.send().status, 200)

    def test_share(self):
        self.sandbox.faults.random.seed(1)
        self.sandbox.fail_next("account", share=0.3)
        refused = sum(self.send().status == 422 for _ in range(200))
        self.assertGreater(refused, 40)
        self.assertLess(refused, 80)

    def test_clear(self):
        self.sandbox.fail_next("account", share=1)
        self.sandbox.clear()
        self.assertEqual(self.send().status, 200)

    def test_unclear(self):
        self.sandbox.fail_next("unclear")
        with self.assertRaises(RemoteDisconnected):
            self.send()
        self.assertEqual(len(self.sandbox.messages), 1, "was accepted all the same")
        self.assertEqual(self.send().status, 200)

    def test_calls_are_kept(self):
        before = time.time()
        self.sandbox.fail_next("account")
        self.sandbox.fail_next("unclear")
        self.send()
        with self.assertRaises(RemoteDisconnected):
            self.send()
        self.send()
        refused, unclear, accepted = self.sandbox.calls
        first, second = self.sandbox.messages
        self.assertEqual([refused.messages, unclear.messages], [(), (first,)])
        self.assertEqual(accepted.messages, (second,))
        self.assertEqual(refused.response.status, 422)
        self.assertIsNone(unclear.response)
        self.assertEqual((accepted.provider, accepted.request.path), ("postmark", "email"))
        self.assertGreaterEqual(accepted.time, before)

    def test_unreachable_needs_a_port_of_its_own(self):
        for provider in (None, "postmark"):
            with self.assertRaisesMessage(ValueError, "own_ports"):
                self.sandbox.fail_next("unreachable", provider=provider)

    def test_unknown_provider(self):
        with self.assertRaisesMessage(LookupError, "nonesuch"):
            self.sandbox.fail_next("busy", provider="nonesuch")

    def test_unknown_problem(self):
        with self.assertRaisesMessage(ValueError, "message, unsuitable"):
            self.sandbox.fail_next("bad weather")


class OwnPortTests(SimpleTestCase):
    def test_unreachable(self):
        with Sandbox(own_ports=["postmark"]) as sandbox, requests.Session() as session:
            session.trust_env = False
            url = sandbox.url("postmark") + "email"
            self.assertNotEqual(urlsplit(url).port, urlsplit(sandbox.base_url).port)
            self.assertEqual(urlsplit(sandbox.url("mailgun")).port, urlsplit(sandbox.base_url).port)
            self.assertEqual(session.post(url, json={}).status_code, 401)
            sandbox.fail_next("unreachable", provider="postmark", seconds=0.3)
            # Not even the connection that was kept
            for _ in range(2):
                with self.assertRaises(requests.ConnectionError) as caught:
                    session.post(url, json={})
            self.assertIn("refused", str(caught.exception))
            self.assertEqual(
                session.post(sandbox.url("mailgun"), allow_redirects=False).status_code, 200
            )
            time.sleep(0.5)
            self.assertEqual(session.post(url, json={}).status_code, 401)

    def test_back_before_its_time(self):
        with Sandbox(own_ports=["postmark"]) as sandbox:
            for come_back in (sandbox.recover, sandbox.clear):
                sandbox.fail_next("unreachable", provider="postmark", seconds=60)
                with self.assertRaises(requests.ConnectionError):
                    requests.post(sandbox.url("postmark"), timeout=1)
                come_back()
                self.assertEqual(requests.post(sandbox.url("postmark"), timeout=1).status_code, 404)

    def test_stopped_while_unreachable(self):
        with Sandbox(own_ports=["postmark"]) as sandbox:
            url = sandbox.url("postmark")
            sandbox.fail_next("unreachable", provider="postmark", seconds=0.1)
        time.sleep(0.2)
        with self.assertRaises(requests.ConnectionError):
            requests.get(url, timeout=1)

    def test_unknown_provider(self):
        with self.assertRaisesMessage(LookupError, "nonesuch"):
            Sandbox(own_ports=["nonesuch"])


class ParsingTests(SimpleTestCase):
    def test_parse(self):
        for text, expected in [
            ("account", Fault("account")),
            ("busy:3", Fault("busy", seconds=3)),
            ("unreachable", Fault("unreachable", seconds=5)),
            ("postmark=unreachable:0.5", Fault("unreachable", seconds=0.5, provider="postmark")),
            ("amazon-ses=messagex5", Fault("message", calls=5, provider="amazon_ses")),
            ("unclear@20%", Fault("unclear", calls=None, share=0.2)),
            ("busy:3x2", Fault("busy", seconds=3, calls=2)),
        ]:
            with self.subTest(text=text):
                self.assertEqual(parse_fault(text), expected)

    def test_no_fault(self):
        for text in ("", "bad", "busy:", "busy:x", "postmark=", "account@20", "account x5"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                parse_fault(text)

    def test_nothing_more_to_come(self):
        faults = Faults()
        faults.add(Fault("account"))
        self.assertIsNotNone(faults.next("postmark"))
        self.assertIsNone(faults.next("postmark"))
