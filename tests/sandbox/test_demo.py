from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stderr
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import requests
from django.dispatch import receiver
from django.test import SimpleTestCase, override_settings, tag

from anymail import signals
from anymail.providers import PROVIDERS, Webhook
from anymail.sandbox import ApiRequest, Sandbox, commands, demo, failover
from anymail.sandbox.faults import Fault
from anymail.sandbox.mailgun import Mailgun
from anymail.sandbox.postmark import Postmark
from anymail.sandbox.site import DemoSite
from anymail.sandbox.wire import ApiResponse

from ..providers import OPTIONAL_PACKAGES

ROOT = Path(__file__).parent.parent.parent


def known_as(name: str, **changes: Any) -> Any:
    """Return a context in which a provider's entry in the registry is another."""
    return patch.dict(PROVIDERS, {name: PROVIDERS[name]._replace(**changes)})


class DemoTestCase(SimpleTestCase):
    """Runs the demonstration in this process, with the settings of the tests replaced."""

    names: tuple[str, ...] = demo.DEFAULT_PROVIDERS

    def setUp(self) -> None:
        super().setUp()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.stack.enter_context(demo.no_proxy())
        self.sandbox = self.stack.enter_context(Sandbox())
        self.stack.enter_context(site_settings(self.sandbox))
        self.site = self.stack.enter_context(DemoSite())

    def run_demo(self, **kwargs: Any) -> str:
        stream = StringIO()
        self.passed = demo.run_demo(self.sandbox, self.site, stream, self.names, **kwargs)
        return stream.getvalue()

    def run_and_fail(self, *reasons: str) -> str:
        output = self.run_demo()
        self.assertFalse(self.passed, output)
        problems = re.findall("^- .*", output.partition("FAILED: ")[2], re.MULTILINE)
        self.assertRegex(output, rf"(?m)^FAILED: {len(problems)} of \d+ checks")
        for reason in reasons:
            self.assertTrue(any(reason in problem for problem in problems), problems)
        return output


def site_settings(sandbox: Sandbox) -> override_settings:
    return in_tests(demo.demo_settings(sandbox))


def in_tests(settings: dict[str, Any]) -> override_settings:
    # Those of the tests are in place, and include what is needed.
    left_out = {"INSTALLED_APPS", "LOGGING"}
    return override_settings(**{key: settings[key] for key in settings.keys() - left_out})


def headings(output: str) -> list[str]:
    return re.findall(r"(?m)^(.+)\n=+$", output)


def summary(output: str) -> dict[str, list[str]]:
    """Return the lines of the summary: {provider: other columns}."""
    _columns, _rule, *lines = re.findall(
        r"(?m)^  (\S.*)$", output.partition("\nSummary\n=======\n")[2]
    )
    rows = [re.split(" {2,}", line) for line in lines]
    return {row[0]: row[1:] for row in rows}


def usable(sandbox: Sandbox) -> list[str]:
    """Return the names of the providers whose packages are installed."""
    return [name for name, item in sandbox.providers.items() if not item.missing_packages]


class RunDemoTests(DemoTestCase):
    def test_passes(self):
        output = self.run_demo()
        self.assertTrue(self.passed, output)
        self.assertIn("Anymail demo", output.splitlines()[0])
        self.assertRegex(output.splitlines()[-1], r"\AAll 1\d\d checks passed in \d+\.\d s")
        self.assertLessEqual(max(map(len, output.splitlines())), 120)
        self.assertNotIn("None", output)

    def test_what_is_sent(self):
        self.run_demo()
        for name in self.names:
            messages = [item for item in self.sandbox.messages if item.provider == name]
            copies = [copy for item in messages for copy in item.recipients]
            self.assertEqual(
                [(copy.subject, dict(copy.metadata).get("user")) for copy in copies],
                [
                    ("Účtenka č. 4711", None),
                    ("Your order 4711", None),
                    ("Hello Ann, 12 points are waiting", "1001"),
                    ("Hello Bořek, 345 points are waiting", "1002"),
                ],
            )
            self.assertEqual([len(item.inline_images) for item in messages][:2], [1, 0])

    def test_what_receivers_see(self):
        self.run_demo()
        for name in ("Mailgun", "Postmark"):
            events = [seen.event for seen in self.site.events if seen.esp_name == name]
            self.assertEqual(
                [event.event_type for event in events],
                ["delivered", "delivered", "opened", "clicked", "delivered", "bounced", "inbound"],
            )
            self.assertEqual(events[2].metadata, {"order": "4711", "name": "Žofie"})
            self.assertEqual(events[5].metadata["user"], "1002")
            self.assertEqual(events[6].message.stripped_text, "Díky! Přijdu v úterý.")

    def test_tables(self):
        output = self.run_demo()
        for event in self.site.events[:6]:
            [row] = [
                line for line in output.partition("Tracked")[2].splitlines()
                if line.startswith(f"  {event.event.event_type} ")
                and event.event.message_id.strip("<>").partition("@")[0][-6:] in line
                and event.event.recipient in line
            ]  # fmt: skip
            for name in event.event.tags:
                self.assertIn(name, row)
        for text in (
            "Žofie Nováková <zofie@háj.example>  queued  2",
            "Žofie Nováková <zofie@háj.example>  sent    ",
            "Hello Bořek, 345 points are waiting  run=w7 user=1002",
            "účtenka.csv, image/png",
            "order=4711 name=Žofie",
            "https://shop.example.com/4711",
            "bounced: 550 5.1.1",
            "Re: Účtenka č. 4711  Díky! Přijdu v úterý.  přání.txt",
        ):
            self.assertIn(text, output)

    def test_any_encoding(self):
        for encoding in ("ascii", "cp1252", "utf-16"):
            stream = TextIOWrapper(BytesIO(), encoding=encoding)
            self.assertTrue(demo.run_demo(self.sandbox, self.site, stream))
            stream.seek(0)
            output = stream.read()
            self.assertIn("checks passed", output)
            tables = re.findall(r"(?:^  .*\n)+", output, re.MULTILINE)
            for table in tables:
                rule = re.search("^ +-[ -]+$", table, re.MULTILINE)
                if rule:
                    starts = [match.start() for match in re.finditer("-+", rule[0])]
                    for row in table.splitlines():
                        padded = row.ljust(200)
                        # A cell never begins before its column.
                        self.assertTrue(all(padded[start - 1] == " " for start in starts), row)

    def test_provider_with_fewer_features(self):
        lacks = frozenset(
            {"merge_data", "merge_global_data", "merge_metadata", "tags", "template_id"}
        )
        with (
            patch.object(Postmark, "unsupported", lacks),
            patch.object(Postmark, "events", frozenset({"delivered"})),
            patch.object(Mailgun, "events", frozenset()),
            known_as("mailgun", webhooks=(Webhook("tracking"),)),
        ):
            output = self.run_demo()
        self.assertTrue(self.passed, output)
        self.assertEqual(
            summary(output),
            {"Mailgun": ["3/3", "-", "-", "ok"], "Postmark": ["3/3", "3/3", "1/1", "ok"]},
        )
        self.assertEqual(
            [seen.event.event_type for seen in self.site.events],
            ["delivered", "delivered", "delivered", "inbound"],
        )
        for stored in self.sandbox.messages[-2:]:
            self.assertEqual(stored.subject, "Your points")
            self.assertEqual(len(stored.recipients), 1)


class SummaryTests(DemoTestCase):
    def test_all_is_well(self):
        output = self.run_demo()
        self.assertEqual(
            summary(output),
            {
                "Mailgun": ["3/3", "6/6", "1/1", "ok"],
                "Postmark": ["3/3", "6/6", "1/1", "ok"],
            },
        )
        self.assertLess(output.index("Received: "), output.index("\nSummary\n====="))
        self.assertNotIn("--verbose", output)

    def test_without_details(self):
        output = self.run_demo(details=False)
        self.assertTrue(self.passed, output)
        self.assertEqual(headings(output), ["Summary"])
        self.assertEqual(list(summary(output)), ["Mailgun", "Postmark"])
        self.assertIn("\nAdd --verbose to see each message and event.\n", output)
        self.assertRegex(output.splitlines()[-1], r"\AAll 1\d\d checks passed in \d+\.\d s")
        self.assertNotIn("Žofie", output)
        self.assertEqual(len(self.site.events), 14)

    def test_events_that_are_missing(self):
        demo.break_on_purpose(self.sandbox, "wrong-secret")
        for line in summary(self.run_demo()).values():
            self.assertEqual(line[:3], ["3/3", "0/6", "0/1"])
            self.assertRegex(line[3], r"\AFAILED: 7 of [34]\d checks\Z")

    def test_messages_that_are_missing(self):
        self.sandbox.suppressed.add("ann@example.com")
        lines = summary(self.run_demo(details=False))
        self.assertEqual(lines["Mailgun"], ["3/3", "6/6", "1/1", "ok"])
        self.assertEqual(lines["Postmark"][:3], ["2/3", "5/6", "1/1"])
        self.assertRegex(lines["Postmark"][3], r"\AFAILED: 3 of \d\d checks\Z")

    def test_packages_that_are_missing(self):
        with known_as("mailgun", required_packages=("requests", "no_such_package", "nor_this")):
            output = self.run_demo(details=False)
        self.assertTrue(self.passed, output)
        reason = 'left out: needs no_such_package, nor_this (pip install "django-anymail[mailgun]")'
        self.assertEqual(
            summary(output),
            {"Mailgun": ["-", "-", "-", reason], "Postmark": ["3/3", "6/6", "1/1", "ok"]},
        )
        self.assertEqual({item.provider for item in self.sandbox.messages}, {"postmark"})
        self.assertNotIn("Mailgun", {seen.esp_name for seen in self.site.events})


class OneProviderTests(DemoTestCase):
    names = ("postmark",)

    def test_no_summary(self):
        output = self.run_demo()
        self.assertTrue(self.passed, output)
        self.assertEqual(headings(output), ["Postmark"])
        self.assertEqual({item.provider for item in self.sandbox.messages}, {"postmark"})

    def test_unknown(self):
        self.names = ("nosuch",)
        with self.assertRaisesRegex(LookupError, "no provider 'nosuch'"):
            self.run_demo()


@tag("exhaustive")
class AllProvidersTests(DemoTestCase):
    names = tuple(PROVIDERS)

    def test_passes(self):
        output = self.run_demo()
        self.assertTrue(self.passed, output)
        self.assertLessEqual(max(map(len, output.splitlines())), 120)
        esp_names = [provider.esp_name for provider in self.sandbox.providers.values()]
        self.assertEqual(list(summary(output)), esp_names)
        for name, provider in self.sandbox.providers.items():
            with self.subTest(name):
                line = summary(output)[provider.esp_name]
                used = name in {item.provider for item in self.sandbox.messages}
                if provider.missing_packages:
                    self.assertIn("left out", line[3])
                    self.assertNotIn(provider.esp_name, headings(output))
                    self.assertFalse(used)
                else:
                    self.assertEqual((line[0], line[3]), ("3/3", "ok"))
                    self.assertIn(provider.esp_name, headings(output))
                    self.assertTrue(used)

    def test_ids_can_be_told_apart(self):
        sections = self.run_demo().split("\nSent: ")[1:]
        self.assertEqual(len(sections), len(usable(self.sandbox)))
        for section in sections:
            ids = re.findall(r"(?m)^  [12] .* (\S+)$", section)
            self.assertEqual(len(set(ids)), 2, section)


class FaultTests(DemoTestCase):
    def test_wrong_secret(self):
        demo.break_on_purpose(self.sandbox, "wrong-secret")
        output = self.run_and_fail(
            "Postmark, clicked event for Žofie Nováková <zofie@háj.example>",
            "Mailgun, inbound event for the reply of Žofie Nováková",
            "arrived 0 times; the site answered 400; AnymailWebhookValidationFailure: "
            "Missing or invalid basic auth in Anymail Postmark webhook",
        )
        self.assertRegex(output, "FAILED: 14 of")
        self.assertEqual(self.site.events, [])

    def test_wrong_signing_key(self):
        self.sandbox.providers["mailgun"].webhook_signing_key = "wrong"  # type: ignore[attr-defined]
        output = self.run_and_fail(
            "Mailgun, bounced event for Bořek",
            "AnymailWebhookValidationFailure: ",
            "MAILGUN_WEBHOOK_SIGNING_KEY",
        )
        self.assertRegex(output, "FAILED: 7 of")

    def test_wrong_api_key(self):
        self.sandbox.providers["postmark"].server_token = "other"  # type: ignore[attr-defined]
        self.run_and_fail(
            "Postmark, message 1 HTML, image, file: not sent. AnymailRequestsAPIError: ",
            "the status for Ann <ann@example.com> is None",
            "nothing for Ann <ann@example.com> arrived in the sandbox",
            "Postmark: no opened event for Žofie Nováková <zofie@háj.example> (message 2",
            "Postmark: no inbound event for the reply of Žofie Nováková",
        )

    def test_refused_recipient(self):
        self.sandbox.suppressed.add("ann@example.com")
        self.run_and_fail(
            "Postmark, message 3 batch, template: the status for Ann <ann@example.com> is "
            "AnymailRecipientStatus(None, 'rejected')"
        )

    def test_backend_that_fails(self):
        with patch(
            "anymail.backends.postmark.PostmarkPayload.set_tags", side_effect=TypeError("x")
        ):
            self.run_and_fail("Postmark, message 2 tags, metadata: not sent. TypeError: x")

    def test_content_that_is_lost(self):
        original = Postmark.handle

        def handle(provider: Postmark, request: ApiRequest) -> ApiResponse:
            body = request.body.replace(b'"Tag": "order"', b'"Tag": "other"')
            body = body.replace(b'"points": "12"', b'"points": "13"')
            body = body.replace(b'"user": "1002"', b'"user": "1001"')
            changed = ApiRequest(request.method, request.path, request.query, request.headers, body)
            return original(provider, changed)

        with patch.object(Postmark, "handle", handle):
            self.run_and_fail(
                "Postmark, message 2 tags, metadata: tags: expected ['order'], saw ['other']",
                "merged subject for Ann <ann@example.com>: expected 'Hello Ann, 12 points",
                "message 3 batch, template for Bořek <borek@háj.example>: metadata: expected "
                "{'run': 'w7', 'user': '1002'}, saw {'run': 'w7', 'user': '1001'}",
                "opened event for Žofie Nováková <zofie@háj.example> (message 2 tags, metadata): "
                "tags: expected ['order'], saw ['other']",
            )

    def test_event_that_is_wrong(self):
        original = Postmark.tracking_webhook

        def tracking_webhook(provider: Postmark, *args: Any) -> Any:
            call = original(provider, *args)
            body = call.body.replace(b"HardBounce", b"AddressChange").replace(b"/4711", b"/1")
            return type(call)(call.url, body, call.headers)

        with patch.object(Postmark, "tracking_webhook", tracking_webhook):
            self.run_and_fail(
                "event type: expected 'bounced', saw 'autoresponded'",
                "reject reason: expected 'bounced', saw None",
                "link: expected 'https://shop.example.com/4711', saw 'https://shop.example.com/1'",
            )

    def test_reply_that_is_wrong(self):
        original = Mailgun.inbound_webhook

        def inbound_webhook(provider: Mailgun, target: Any, mail: Any, **kwargs: Any) -> Any:
            call = original(provider, target, mail, **kwargs)
            body = call.body.replace("prosím".encode(), b"hned").replace(b"Djen", b"")
            body = body.replace("Přijdu".encode(), "Nepřijdu".encode())
            return type(call)(call.url, body, call.headers)

        with patch.object(Mailgun, "inbound_webhook", inbound_webhook):
            self.run_and_fail(
                "text without quotes: expected 'Díky! Přijdu v úterý.', saw 'Díky! Nepřijdu v",
                "attachments: expected [('přání.txt'",
            )

    def test_receiver_that_fails(self):
        @receiver(signals.inbound)
        def fail(**kwargs: object) -> None:
            raise ValueError("made up")

        self.addCleanup(signals.inbound.disconnect, fail)
        self.run_and_fail("the site answered 500; ValueError: made up")

    def test_site_that_is_down(self):
        self.site._server.stop()
        self.run_and_fail(
            "Postmark, delivered event for Žofie Nováková <zofie@háj.example> (message 1 HTML, "
            "image, file): arrived 0 times; the site answered not at all: ConnectionError"
        )


class SiteTests(DemoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.http = self.stack.enter_context(requests.Session())

    def test_page_and_sending(self):
        page = self.http.get(self.site.base_url)
        self.assertEqual(page.status_code, 200)
        self.assertIn("Send through Postmark", page.text)
        for name in ("mailgun", "postmark"):
            page = self.http.post(f"{self.site.base_url}/send/{name}/")
            self.assertEqual(page.status_code, 200)
            self.assertEqual(self.sandbox.messages[-1].provider, name)
        self.sandbox.webhook_url = self.site.webhook_url
        for event in ("opened", "inbound"):
            self.assertEqual(
                self.sandbox.trigger(self.sandbox.messages[-1], event).status_code, 200
            )
        page = self.http.get(self.site.base_url)
        self.assertIn("<tr><td>Postmark<td>inbound<td><td><tr><td>Postmark<td>opened", page.text)

    def test_no_buttons_for_what_cannot_work(self):
        with known_as("postmark", required_packages=("no_such_package",)):
            page = self.http.get(self.site.base_url)
        self.assertIn("Send through Mailgun", page.text)
        self.assertNotIn("Send through Postmark", page.text)

    def test_unknown_provider(self):
        self.assertEqual(self.http.post(f"{self.site.base_url}/send/nosuch/").status_code, 404)
        self.assertEqual(self.http.get(f"{self.site.base_url}/send/postmark/").status_code, 405)

    def test_other_hosts_are_refused(self):
        page = self.http.get(self.site.base_url, headers={"Host": "evil.example"})
        self.assertEqual(page.status_code, 400)
        self.assertIn("DisallowedHost", self.site.complaints[0])

    def test_raw_inbound(self):
        self.http.post(f"{self.site.base_url}/send/mailgun/")
        self.http.post(f"{self.site.base_url}/send/postmark/")
        self.sandbox.webhook_url = self.site.webhook_url
        for message in self.sandbox.messages:
            answer = self.sandbox.trigger(message, "inbound", raw=True)
            self.assertEqual(answer.status_code, 200)
            received = self.site.events[-1].event.message
            self.assertEqual(received.from_email.display_name, "Žofie Nováková")
            self.assertIn("Díky! Přijde v úterý.", received.text)
            [attachment] = received.attachments
            self.assertEqual(attachment.get_filename(), "odpověď.txt")
            self.assertEqual(attachment.get_content_text(), "Žluťoučký kůň\n")

    @tag("exhaustive")
    def test_all_events(self):
        """Anymail's webhooks agree with the sandbox about what happened."""
        for name in usable(self.sandbox):
            self.http.post(f"{self.site.base_url}/send/{name}/")
        self.sandbox.webhook_url = self.site.webhook_url
        for message in self.sandbox.messages:
            for event in self.sandbox.providers[message.provider].events:
                with self.subTest(provider=message.provider, event=event):
                    self.assertEqual(self.sandbox.trigger(message, event).status_code, 200)
                    seen = self.site.events[-1].event
                    self.assertEqual(seen.event_type, event)
                    self.assertEqual(str(seen.message_id), message.message_ids[0])
                    self.assertEqual(seen.recipient, message.recipients[0].address)

    def test_events_are_not_kept_after_the_end(self):
        self.stack.close()
        before = len(self.site.events)
        signals.tracking.send(
            object, event=signals.AnymailTrackingEvent(event_type="x"), esp_name=""
        )
        self.assertEqual(len(self.site.events), before)


class NoProxyTests(SimpleTestCase):
    def test_environment(self):
        with patch.dict(os.environ, {"no_proxy": "example.com"}):
            os.environ.pop("NO_PROXY", None)
            with demo.no_proxy():
                self.assertEqual(os.environ["no_proxy"], "example.com,127.0.0.1")
                self.assertEqual(os.environ["NO_PROXY"], "127.0.0.1")
            self.assertEqual(os.environ["no_proxy"], "example.com")
            self.assertNotIn("NO_PROXY", os.environ)


class CommandTests(SimpleTestCase):
    """The command line in this process."""

    def run_command(self, *arguments: str) -> tuple[int, str]:
        stream = StringIO()

        def configure_django(demo_settings: dict[str, Any]) -> None:
            settings = in_tests(demo_settings)
            settings.enable()
            self.addCleanup(settings.disable)

        with patch.object(demo, "configure_django", configure_django):
            status = commands.main(arguments, stream)
        return status, stream.getvalue()

    def interrupt(self) -> Any:
        """Press Ctrl-C as soon as a command waits for it."""
        return patch.object(commands, "_forever", side_effect=KeyboardInterrupt)

    def assert_refused(self, arguments: tuple[str, ...], *texts: str) -> None:
        stderr = StringIO()
        with redirect_stderr(stderr), self.assertRaises(SystemExit) as caught:
            self.run_command(*arguments)
        self.assertEqual(caught.exception.code, 2)
        for text in texts:
            self.assertIn(text, stderr.getvalue())

    def test_demo(self):
        status, output = self.run_command("demo")
        self.assertEqual(status, 0, output)
        self.assertIn("checks passed", output)
        # As README.rst has it
        self.assertEqual(headings(output), ["Mailgun", "Postmark", "Summary"])

    @tag("exhaustive")
    def test_failover(self):
        for arguments, first, second in [
            ((), "Mailgun", "Postmark"),
            (("--esp", "postmark", "--esp", "brevo"), "Postmark", "Brevo"),
        ]:
            status, output = self.run_command("demo", "--failover", *arguments)
            self.assertEqual(status, 0, output)
            self.assertIn("none of them twice", output)
            for row in (
                f"2 {first} is down +{first}: unreachable, {second}: ok +{second} +once",
                f"6 .*lost +{first}: unclear +unclear +once",
            ):
                self.assertRegex(output, rf"(?m) {row}$")

    def test_failover_that_fails(self):
        scenes = [
            dataclasses.replace(scene, prepare=lambda sandbox, first: None)
            for scene in failover.SCENES
        ]
        with patch.object(failover, "SCENES", scenes):
            status, output = self.run_command("demo", "--failover")
        self.assertEqual(status, 1)
        self.assertIn("FAILED", output)
        self.assertIn("Message 2 Mailgun is down: it has arrived at ['mailgun']", output)

    def test_failover_needs_two_providers(self):
        status, output = self.run_command("demo", "--failover", "--esp", "postmark")
        self.assertEqual(status, 2)
        self.assertIn("needs two providers", output)

    def test_demo_of_some_providers(self):
        three = ("--esp", "mailgun", "--esp", "postmark", "--esp", "brevo", "--esp", "mailgun")
        for arguments, expected in {
            ("--esp", "Postmark"): ["Postmark"],
            ("--esp", "brevo", "--esp", "mailgun"): ["Brevo", "Mailgun", "Summary"],
            three: ["Summary"],
            (*three, "-v"): ["Mailgun", "Postmark", "Brevo", "Summary"],
            (*three, "--verbose"): ["Mailgun", "Postmark", "Brevo", "Summary"],
        }.items():
            with self.subTest(arguments):
                status, output = self.run_command("demo", *arguments)
                self.assertEqual(status, 0, output)
                self.assertEqual(headings(output), expected)
                self.assertEqual("Add --verbose" in output, expected == ["Summary"])
        self.assertEqual(list(summary(output)), ["Mailgun", "Postmark", "Brevo"])

    def test_demo_of_unknown_provider(self):
        self.assert_refused(("demo", "--esp", "nosuch"), "no provider 'nosuch'", *PROVIDERS)

    def test_demo_of_some_and_all_providers(self):
        self.assert_refused(("demo", "--all", "--esp", "mailgun"), "not allowed with")

    def test_demo_of_provider_that_needs_a_package(self):
        with known_as("amazon_ses", required_packages=("no_such_package",)):
            for name in ("amazon_ses", "amazon-ses"):
                self.assert_refused(
                    ("demo", "--esp", name),
                    'Amazon SES needs no_such_package (pip install "django-anymail[amazon-ses]")',
                )

    def test_demo_with_fault(self):
        status, output = self.run_command("demo", "--fault", "wrong-secret")
        self.assertEqual(status, 1)
        self.assertIn("Missing or invalid basic auth", output)

    def test_demo_interrupted(self):
        with patch.object(demo, "run_demo", side_effect=KeyboardInterrupt):
            self.assertEqual(self.run_command("demo"), (130, ""))

    def test_demo_serve(self):
        calls = []

        def use() -> None:
            [url] = re.findall(r"As JSON: curl (http\S+)", stream.getvalue())
            calls.append(len(requests.get(url, timeout=5).json()["messages"]))
            raise KeyboardInterrupt

        stream = StringIO()
        with (
            patch.object(demo, "configure_django", lambda settings: None),
            patch.object(demo, "run_demo", return_value=True),
            patch.object(commands, "_forever", use),
        ):
            status = commands.main(["demo", "--serve"], stream)
        self.assertEqual(status, 0)
        self.assertEqual(calls, [0])
        output = stream.getvalue()
        for text in ("Still running", "curl -X POST", "/send/postmark/", "Ctrl-C ends it."):
            self.assertIn(text, output)
        self.assertIn("GET /_sandbox/messages: 200", output)
        self.assertTrue(output.endswith("\nStopped.\n"))

    def test_serve(self):
        with self.interrupt():
            status, output = self.run_command("serve", "--port", "0")
        self.assertEqual(status, 0)
        printed: dict[str, Any] = {}
        exec(output.partition("settings:\n")[2].partition("\n\n")[0], printed)
        with Sandbox() as sandbox:
            self.assertEqual(printed["ANYMAIL"].keys(), sandbox.anymail_settings().keys())
        self.assertRegex(output, r"'POSTMARK_API_URL': 'http://127.0.0.1:\d+/postmark/'")
        self.assertIn("Webhooks need --webhook-url", output)
        with self.interrupt():
            status, output = self.run_command(
                "serve", "--port", "0", "--webhook-url", "http://127.0.0.1:8000/anymail/"
            )
        self.assertEqual(status, 0)
        self.assertNotIn("Webhooks need", output)

    def test_serve_with_faults(self):
        """They are there when it's said that messages can be sent."""
        found: list[Any] = []

        class KnownSandbox(Sandbox):
            def __enter__(self):
                found.append(self)
                return super().__enter__()

        faults = ["busy:3", "postmark=accountx2", "postmark=unreachable:60", "unclear@20%"]
        arguments = [argument for fault in faults for argument in ("--fault", fault)]
        with patch.object(commands, "Sandbox", KnownSandbox), self.interrupt():
            status, output = self.run_command("serve", "--port", "0", *arguments)
            self.assertEqual(status, 0)
            everybody, _ = self.run_command("serve", "--port", "0", "--fault", "unreachable")
        self.assertEqual(everybody, 0)
        ports = [{urlsplit(sandbox.url(name)).port for name in PROVIDERS} for sandbox in found]
        self.assertEqual([len(each) for each in ports], [2, len(PROVIDERS)])
        self.assertIn(f"'POSTMARK_API_URL': '{found[0].url('postmark')}'", output)
        self.assertEqual(
            [found[0].faults.next("postmark") for _ in range(2)],
            [Fault("busy", seconds=3, calls=0), Fault("account", calls=1, provider="postmark")],
        )

    def test_serve_with_unknown_faults(self):
        for fault, text in [
            ("bad", "must be one of message"),
            ("nonesuch=busy", "no provider 'nonesuch'"),
            ("busy:soon", "'busy:soon' is no fault"),
        ]:
            self.assert_refused(("serve", "--fault", fault), text)

    def test_serve_elsewhere(self):
        with self.interrupt():
            status, output = self.run_command(
                "serve", "--port", "0", "--webhook-url", "http://example.com/"
            )
        self.assertEqual(status, 1)
        self.assertIn("must be on this computer", output)

    def test_serve_on_a_taken_port(self):
        with Sandbox() as sandbox:
            port = sandbox.base_url.rpartition(":")[2]
            status, output = self.run_command("serve", "--port", port)
        self.assertEqual(status, 1)
        self.assertIn(f"can't start: port {port} is taken", output)
        self.assertIn("--port", output)

    def test_serve_for_some_providers(self):
        with self.interrupt():
            _, output = self.run_command(
                "serve", "--port", "0", "--esp", "postmark", "--esp", "amazon-ses"
            )
        self.assertEqual(
            set(re.findall("^    '([A-Z]+)_", output, re.MULTILINE)),
            {"AMAZON", "POSTMARK", "WEBHOOK"},
        )
        self.assert_refused(("serve", "--esp", "pigeon"), "no provider 'pigeon'")

    def test_serve_with_a_store(self):
        with self.interrupt(), tempfile.TemporaryDirectory() as directory:
            store = Path(directory) / "mail"
            status, _ = self.run_command("serve", "--port", "0", "--store", str(store))
            self.assertEqual((status, store.is_dir()), (0, True))
            (store / "1.call.json").write_text("{}")
            status, output = self.run_command("serve", "--port", "0", "--store", str(store))
        self.assertEqual(status, 1)
        self.assertIn("1.call.json can't be read", output)


@tag("exhaustive")
class ProcessTests(SimpleTestCase):
    """The command line as it is used, in a process where Django is not set up."""

    def start(
        self,
        *arguments: str,
        python: tuple[str, ...] = ("-m", "anymail.sandbox"),
        stdout: int = subprocess.PIPE,
        **env: str,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-u", *python, *arguments],
            cwd=ROOT,
            env={
                **{name: os.environ[name] for name in os.environ if name != "PYTHONPATH"},
                "DJANGO_SETTINGS_MODULE": "does.not.exist",
                **env,
            },
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def run_process(self, *arguments: str, **kwargs: Any) -> tuple[int, str, str]:
        with self.start(*arguments, **kwargs) as process:
            stdout, stderr = process.communicate(timeout=30)
        return process.returncode, stdout.decode(), stderr.decode()

    def test_demo(self):
        started = time.monotonic()
        status, stdout, stderr = self.run_process("demo", PYTHONIOENCODING="utf-8")
        self.assertEqual((status, stderr), (0, ""), stdout)
        self.assertLess(time.monotonic() - started, 10)
        self.assertIn("Žofie Nováková <zofie@háj.example>", stdout)
        self.assertIn("checks passed", stdout)

    def test_demo_of_all_providers(self):
        started = time.monotonic()
        status, stdout, stderr = self.run_process("demo", "--all", PYTHONIOENCODING="utf-8")
        self.assertEqual((status, stderr), (0, ""), stdout)
        self.assertLess(time.monotonic() - started, 15)
        self.assertEqual(len(summary(stdout)), len(PROVIDERS))
        self.assertIn("checks passed", stdout)

    def test_demo_without_optional_packages(self):
        # Nothing can import what is None here.
        code = (
            "import sys; from anymail.sandbox.commands import main; "
            f"sys.modules |= dict.fromkeys({sorted(OPTIONAL_PACKAGES)!r}); "
            "sys.exit(main(['demo', '--all']))"
        )
        status, stdout, stderr = self.run_process(python=("-c", code), PYTHONIOENCODING="utf-8")
        self.assertEqual((status, stderr), (0, ""), stdout)
        lines = summary(stdout)
        self.assertEqual(
            lines["Amazon SES"][3],
            'left out: needs boto3 (pip install "django-anymail[amazon-ses]")',
        )
        self.assertEqual(lines["Mailgun"][3], "ok")
        self.assertEqual(len(lines), len(PROVIDERS))

    def test_demo_with_proxy_and_ascii(self):
        status, stdout, stderr = self.run_process(
            "demo",
            PYTHONIOENCODING="ascii",
            http_proxy="http://127.0.0.1:9",
            HTTP_PROXY="http://127.0.0.1:9",
        )
        self.assertEqual((status, stderr), (0, ""), stdout)
        self.assertIn("?ofie Nov?kov? <zofie@h?j.example>  sent ", stdout)

    def test_demo_with_fault(self):
        status, stdout, stderr = self.run_process("demo", "--fault", "wrong-secret")
        self.assertEqual((status, stderr), (1, ""), stdout)
        self.assertRegex(stdout, r"FAILED: \d+ of")
        self.assertIn("Missing or invalid basic auth in Anymail Mailgun webhook", stdout)

    def live_page(self, url: str) -> requests.Response:
        response = requests.get(f"{url}_sandbox/live", timeout=10, stream=True)
        self.addCleanup(response.close)
        return response

    def test_ctrl_c(self):
        for arguments in (("demo", "--serve"), ("serve", "--port", "0")):
            with self.subTest(arguments), self.start(*arguments) as process:
                assert process.stdout is not None and process.stderr is not None
                output = b""
                for line in process.stdout:
                    output += line
                    if b"Ctrl-C ends it." in line:
                        break
                # Pages are made without Django's settings, and those that wait keep nobody waiting.
                [url] = re.findall(rb"Messages are listed at (http://127.0.0.1:\d+/)", output)
                pages = [requests.get(url, timeout=10), self.live_page(url.decode())]
                self.assertEqual([page.status_code for page in pages], [200, 200])
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=10)
                self.assertEqual((process.returncode, stderr), (0, b""), output)
                self.assertTrue(stdout.endswith(b"\nStopped.\n"))

    def test_output_that_nobody_reads(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            with self.start("demo", stdout=write_end) as process:
                _stdout, stderr = process.communicate(timeout=30)
        finally:
            os.close(write_end)
        self.assertEqual((process.returncode, stderr), (1, b""))

    def test_help(self):
        status, stdout, stderr = self.run_process("--help")
        self.assertEqual((status, stderr), (0, ""))
        self.assertIn("python -m anymail.sandbox", stdout)
        status, _stdout, stderr = self.run_process()
        self.assertEqual(status, 2)
        self.assertIn("COMMAND", stderr)
