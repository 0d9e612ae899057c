"""``manage.py anymail_webhooks``, against the sandbox."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import requests
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, override_settings

from anymail.providers import PROVIDERS
from anymail.webhook_apis.base import Endpoint, Registered, WebhookAPI, load_webhook_api
from anymail.webhook_apis.compare import compare
from anymail.webhook_apis.urls import (
    credentials_in,
    masked,
    with_credentials,
    without_credentials,
)

from .providers import own_settings
from .sandbox.cases import AnyKeySandboxTestCase
from .utils import use_backend

SITE = "https://www.example.com"
ROOT = f"{SITE}/anymail/"
SECRET = "us/er:pass-word"
RESEND_SECRET = "whsec_b3duLXNlY3JldA=="
PARTICULAR: dict[str, dict[str, Any]] = {
    "mailersend": {
        "MAILERSEND_SIGNING_SECRET": ["newer-key", "own-secret"],
        "MAILERSEND_INBOUND_SECRET": "own-secret",
    },
    "mailgun": {
        "MAILGUN_SENDER_DOMAIN": "example.com",
        "MAILGUN_WEBHOOK_SIGNING_KEY": "sandbox-webhook-signing-key",
    },
    "mandrill": {"MANDRILL_WEBHOOK_KEY": "own-secret"},
    "resend": {"RESEND_SIGNING_SECRET": RESEND_SECRET},
}
SETTINGS = {
    name: {**own_settings(provider), **PARTICULAR.get(name, {})}
    for name, provider in PROVIDERS.items()
}
APPLY = ("brevo", "mailersend", "postmark", "resend", "sendgrid")
DOMAIN_ID = "yv69oxl5kl785kw2"


def _mailgun(url: str, events: list[str]) -> list[dict[str, Any]]:
    return [{"domain": "example.com", "id": event, "urls": [url]} for event in events]


def _user(url: str) -> dict[str, str]:
    username, _, password = credentials_in(url).partition(":")
    return {"username": username, "password": password}


# What a provider has for tracking: items of its API.
TRACKING: dict[str, Callable[[str, list[str]], list[dict[str, Any]]]] = {
    "brevo": lambda url, events: [
        {
            "id": 1,
            "type": "transactional",
            "url": url,
            # Either name of the same event
            "events": ["sent" if event == "request" else event for event in events],
        }
    ],
    "mailersend": lambda url, events: [
        {
            "id": "w1",
            "url": url,
            "events": events,
            "enabled": True,
            "secret": "own-secret",
            "domain_id": DOMAIN_ID,
        }
    ],
    "mailgun": _mailgun,
    "mailjet": lambda url, events: [
        {"ID": number, "Url": url, "EventType": event, "IsBackup": False}
        for number, event in enumerate(events)
    ],
    "mailtrap": lambda url, events: [
        {
            "url": url,
            "event_types": events,
            "active": True,
            "domain_id": None,
            "webhook_type": "email_sending",
            "sending_stream": "transactional",
        },
        {"url": url, "webhook_type": "audit_log"},
    ],
    "mandrill": lambda url, events: [{"url": url, "events": events, "auth_key": "own-secret"}],
    "postmark": lambda url, events: [
        {
            "ID": 1,
            "Url": url,
            "MessageStream": "outbound",
            "HttpAuth": {"Username": None, "Password": None},
            "Triggers": {event: {"Enabled": True} for event in events},
        }
    ],
    "resend": lambda url, events: [
        {
            "id": "w-1",
            "endpoint": url,
            "events": events,
            "status": "enabled",
            "signing_secret": RESEND_SECRET,
        }
    ],
    "sendgrid": lambda url, events: [
        {"id": "w-1", "url": url, "enabled": True, **dict.fromkeys(events, True)}
    ],
    "sparkpost": lambda url, events: [
        {"target": without_credentials(url), "events": events, "active": True, "auth_type": "basic"}
        | {"auth_credentials": _user(url)}
        if credentials_in(url)
        else {"target": url, "events": events, "auth_type": "none"}
    ],
}
# The same for inbound: whether it is a list of its own, and its items.
INBOUND: dict[str, tuple[bool, Callable[[str], list[dict[str, Any]]]]] = {
    "brevo": (
        False,
        lambda url: [
            {
                "id": 2,
                "type": "inbound",
                "url": url,
                "domain": "in.example.com",
                "events": ["inboundEmailProcessed"],
            }
        ],
    ),
    "mailersend": (
        True,
        lambda url: [
            {
                "domain_id": DOMAIN_ID,
                "enabled": True,
                "forwards": [
                    {"type": "webhook", "value": url, "secret": "own-secret"},
                    {"type": "email", "value": "ann@example.com"},
                ],
            }
        ],
    ),
    "mailgun": (
        True,
        lambda url: [
            {
                "expression": "catch_all()",
                "actions": [f'forward("https://a.example/,{url}")', "stop()"],
            }
        ],
    ),
    "mailjet": (True, lambda url: [{"Url": url, "Email": "in@example.com"}]),
    "mailtrap": (
        False,
        lambda url: [{"url": url, "webhook_type": "inbound_receiving", "active": True}],
    ),
    "mandrill": (
        True,
        lambda url: [{"url": url, "pattern": "*", "domain": "example.com"}],
    ),
    "postmark": (True, lambda url: [{"InboundHookUrl": url}]),
    "resend": (
        False,
        lambda url: [
            {
                "id": "w-2",
                "endpoint": url,
                "events": ["email.received"],
                "status": "enabled",
                "signing_secret": "",
            }
        ],
    ),
    "sendgrid": (True, lambda url: [{"url": url, "hostname": "in.example.com"}]),
    "sparkpost": (True, lambda url: [{"target": url, "match": {"domain": "in.example.com"}}]),
}


@override_settings(ROOT_URLCONF="anymail.sandbox.urls")
class CommandTestCase(AnyKeySandboxTestCase):
    """Has a sandbox that takes any key, and settings for a provider."""

    def use(self, name: str, **settings: Any) -> override_settings:
        settings = {"WEBHOOK_SECRET": SECRET, **SETTINGS[name], **settings}
        return override_settings(ANYMAIL={**settings, "SANDBOX": self.sandbox.base_url})

    def run_command(self, *arguments: str, answer: str = "n") -> str:
        output = io.StringIO()
        self.questions: list[str] = []

        def ask(question: str) -> str:
            self.questions.append(output.getvalue() + question)
            return answer

        with patch("builtins.input", ask):
            call_command(
                "anymail_webhooks",
                f"--host={SITE}",
                *arguments,
                stdout=output,
                stderr=(errors := io.StringIO()),
            )
        asks = not {"--check", "--apply"}.isdisjoint(arguments)
        self.assertEqual(asks, f"{self.sandbox.base_url} is asked" in errors.getvalue())
        return output.getvalue()

    def webhooks(self, name: str) -> Any:
        return self.sandbox.provider(name).webhooks

    def enter(self, name: str, *, url: str = "", events: list[str] | None = None) -> Any:
        """Enter a provider's webhooks as they should be, or otherwise."""
        api = load_webhook_api(PROVIDERS[name])
        webhooks = self.webhooks(name)
        tracking, inbound = (
            with_credentials(url or urls(name, kind), SECRET) for kind in ("tracking", "inbound")
        )
        webhooks.items += TRACKING[name](tracking, list(api.events) if events is None else events)
        has_own_list, items = INBOUND[name]
        (webhooks.inbound if has_own_list else webhooks.items).extend(items(inbound))
        return webhooks


def urls(name: str, kind: str) -> str:
    """Return the URL to enter."""
    if name == "mandrill":
        return f"{ROOT}mandrill/"
    if (name, kind) == ("mailgun", "inbound"):
        return f"{ROOT}mailgun/inbound_mime/"
    return f"{ROOT}{name}/{kind}/"


def results(output: str) -> list[str]:
    """Return the lines about what there is: ["Right: tracking: ...", ...]."""
    return re.findall(r"(?m)^  ((?:Right|Missing|Different|Doubled|Can't be told): .*)$", output)


class PrintTests(CommandTestCase):
    def test_each_provider(self):
        for name in SETTINGS:
            provider = PROVIDERS[name]
            with self.subTest(name), self.use(name):
                output = self.run_command()
                self.assertIn(f"{provider.esp_name}\n", output)
                for kind in ("tracking", "inbound"):
                    if provider.reports(kind):
                        self.assertIn(masked(with_credentials(urls(name, kind), SECRET)), output)
                        self.assertIn(f"  Where: {load_webhook_api(provider).places[kind]}", output)
                self.assertNotIn("own-", output)
                self.assertNotIn("pass-word", output)
                self.assertEqual(results(output), [])
                self.assertIn("us%2Fer:pass-word@www", self.run_command("--show-secrets"))
        self.assertEqual(self.sandbox.calls, [])

    def test_what_protects(self):
        with self.use("postmark", WEBHOOK_SECRET=None):
            output = self.run_command("--only=inbound")
        self.assertIn("Inbound: https://www.example.com/anymail/postmark/inbound/", output)
        self.assertNotIn("Tracking:", output)
        self.assertIn("    Signed: no\n    Secret: none, as there is no WEBHOOK_SECRET", output)
        self.assertIn("    UNPROTECTED: anyone can make up calls.", output)
        with self.use("resend"):
            output = self.run_command()
        self.assertIn("Signed: each call; verified (RESEND_SIGNING_SECRET)", output)
        self.assertIn("not verified, as RESEND_INBOUND_SECRET is not set", output)
        self.assertIn("whether such credentials are sent is not documented", output)
        self.assertNotIn("UNPROTECTED", output)
        with self.use("mandrill", MANDRILL_WEBHOOK_KEY=None):
            self.assertIn("Calls fail: You must set MANDRILL_WEBHOOK_KEY.", self.run_command())
        with self.use("mailersend", MAILERSEND_SIGNING_SECRET=None):
            self.assertRegex(self.run_command(), "Calls fail: .*MAILERSEND_SIGNING_SECRET")

    def test_site(self):
        def run(*arguments: str) -> str:
            output = io.StringIO()
            call_command("anymail_webhooks", *arguments, stdout=output)
            return output.getvalue()

        with self.use("postmark", WEBHOOK_SECRET=None):
            with override_settings(ALLOWED_HOSTS=["localhost", "shop.example.com"]):
                self.assertIn("https://shop.example.com/anymail/postmark/tracking/", run())
            for hosts in (["*"], [".example.com"], ["a.example.com", "b.example.com"], []):
                with override_settings(ALLOWED_HOSTS=hosts):
                    self.assertIn("https://YOUR-SITE/anymail/postmark/tracking/", run())
                    with self.assertRaisesMessage(CommandError, "Say where your site is"):
                        run("--check")
            for url in ("http://www.example.com", "www.example.com", "https://u:p@example.com"):
                with self.assertRaisesMessage(CommandError, "--host must be an https URL"):
                    run("--host", url)
            with patch("anymail.management.commands.anymail_webhooks.webhooks_root") as root:
                root.return_value = None
                with self.assertRaisesMessage(CommandError, "anymail.urls"):
                    run()
        with self.assertRaisesMessage(CommandError, "name no provider"):
            run()
        self.assertIn("Brevo", run("--esp=brevo"))


class ProvidersTests(CommandTestCase):
    """What providers have is read, and changed, by their APIs."""

    def test_right(self):
        for name in TRACKING:
            with self.subTest(name), self.use(name):
                self.enter(name)
                output = self.run_command("--check")
                found = [line for line in results(output) if not line.startswith("Can't")]
                self.assertEqual([line.split(":")[0] for line in found], ["Right", "Right"], found)
                self.assertNotIn("own-", output)
                self.assertNotIn("pass-word", output)

    def test_nothing_there(self):
        for name in TRACKING:
            with self.subTest(name), self.use(name):
                found = results(self.run_command("--check"))
                for kind in ("tracking", "inbound"):
                    self.assertIn(f"Missing: {kind}: Nothing calls {urls(name, kind)}.", found)

    def test_other_site(self):
        for name in TRACKING:
            with self.subTest(name), self.use(name):
                path = urls(name, "tracking").removeprefix(SITE)
                self.enter(name, url=f"https://staging.example.com{path}")
                output = self.run_command("--check", "--only=tracking")
                self.assertRegex(
                    output, r"Different: .*https://(us%2Fer:\*{5}@)?staging.example.com"
                )
                self.assertIn("Missing: tracking", output)

    def test_events(self):
        for name in TRACKING:
            api = load_webhook_api(PROVIDERS[name])
            [event, *others] = sorted(api.events)
            extra = sorted(api.doubling)
            with self.subTest(name), self.use(name):
                self.enter(name, events=others + extra)
                output = self.run_command("--check", "--only=tracking")
                self.assertRegex(output, rf"Different: tracking: Not reported.*: {event}\.")
                if extra:
                    self.assertRegex(output, f"Doubled: .*: {', '.join(extra)}")

    def test_wrong_keys(self):
        for name in TRACKING:
            with self.subTest(name), self.use(name):
                self.sandbox.provider(name).takes_any_key = False
                [line] = results(self.run_command("--check"))
                api = load_webhook_api(PROVIDERS[name])
                self.assertIn("answers 401: your key is not allowed to do that.", line)
                self.assertTrue(line.endswith(api.permission), line)

    def test_no_api(self):
        for name in sorted(SETTINGS.keys() - TRACKING.keys()):
            with self.subTest(name), self.use(name):
                [line] = results(self.run_command("--check"))
                self.assertTrue(line.startswith("Can't be told: "), line)

    def test_unexpected_answers(self):
        for name in TRACKING:
            for text in ("[1]", "{}", "<html>"):
                response = requests.Response()
                response.status_code, response._content = 200, text.encode()
                with (
                    self.subTest(name, text=text),
                    self.use(name),
                    patch("requests.Session.request", return_value=response),
                ):
                    [line] = results(self.run_command("--check"))
                    self.assertRegex(line, "Can't be told: .*answer is (not as expected|no JSON)")

    def test_errors(self):
        with self.use("brevo"):
            response = requests.Response()
            response.status_code, response._content = 500, b"no https://u:pass-word@x own-key"
            with patch("requests.Session.request", return_value=response):
                [line] = results(self.run_command("--check"))
            self.assertEqual(line, "Can't be told: Brevo answers 500: no https://*****@x *****")
            with patch("requests.Session.request", side_effect=requests.ConnectTimeout("own-key")):
                [line] = results(self.run_command("--check"))
            self.assertEqual(line, "Can't be told: Brevo can't be reached: ConnectTimeout.")
        with self.use("brevo", BREVO_API_KEY=None):
            [line] = results(self.run_command("--check"))
            self.assertIn("BREVO_API_KEY", line)

    def test_nothing_is_dumped(self):
        for name in TRACKING:
            with self.use(name, DEBUG_API_REQUESTS=True), patch("builtins.print") as mock_print:
                self.run_command("--check")
                self.assertEqual(mock_print.call_args_list, [], name)

    def test_particular(self):
        """Where several providers have something of their own."""
        with self.use("postmark", POSTMARK_MESSAGE_STREAM="broadcasts"):
            webhooks = self.enter("postmark")
            webhooks.items[0]["HttpAuth"] = {"Username": "us/er", "Password": "pass-word"}
            webhooks.items[0]["Url"] = url = urls("postmark", "tracking")
            webhooks.inbound[0]["OpenHookUrl"] = url
            found = results(self.run_command("--check", "--only=tracking"))
            self.assertEqual(
                found,
                [
                    f"Missing: tracking: Nothing calls {url} (stream broadcasts).",
                    "Doubled: tracking: It is called twice (stream outbound): Open.",
                    "Different: tracking: It is called without WEBHOOK_SECRET (stream outbound).",
                ],
            )
            webhooks.items.clear()
            self.assertIn("(server)", self.run_command("--check", "--only=tracking"))
        with self.use("mailgun", MAILGUN_SENDER_DOMAIN=None):
            [line] = results(self.run_command("--check"))
            self.assertIn("say which with --domain", line)
            self.enter("mailgun")
            self.webhooks("mailgun").provider.webhook_signing_key = "another-key"
            output = self.run_command("--check", "--domain=example.com")
            self.assertIn("another key than that in MAILGUN_WEBHOOK_SIGNING_KEY", output)
        with self.use("mailersend"):
            [line] = results(self.run_command("--check", "--domain=other.example"))
            self.assertEqual(line, "Can't be told: MailerSend has no domain other.example.")
        with self.use("sendgrid"):
            self.enter("sendgrid").items[0]["enabled"] = False
            self.assertIn("Different: tracking: It is switched off.", self.run_command("--check"))
        with self.use("mailtrap"):
            self.enter("mailtrap")
            self.webhooks("mailtrap").items[0] |= {"active": False, "domain_id": 5}
            found = results(self.run_command("--check"))
            where = "(stream transactional, domain 5)"
            self.assertIn(f"Different: tracking: It is switched off {where}.", found)
        with self.use("resend"):
            webhooks = self.enter("resend")
            webhooks.items[0]["events"] = None
            webhooks.items[:0] = [
                {**webhooks.items[1], "id": f"x-{number}", "endpoint": "https://x.example/"}
                for number in range(100)
            ]
            found = results(self.run_command("--check", "--only=tracking"))
            self.assertIn(
                "Can't be told: tracking: Which events are reported can't be told.", found
            )
            self.assertIn("RESEND_INBOUND_SECRET", "".join(results(self._with_key(webhooks))))
        with self.use("mailjet"):
            for number in range(150):
                self.webhooks("mailjet").items += TRACKING["mailjet"](
                    f"https://{number}.example/", ["open"]
                )
            self.enter("mailjet")
            self.assertIn("Right: tracking", self.run_command("--check", "--only=tracking"))

    def _with_key(self, webhooks: Any) -> str:
        webhooks.items[-1]["signing_secret"] = RESEND_SECRET
        return self.run_command("--check", "--only=inbound")


class AmazonSESTests(CommandTestCase):
    """Of AWS's answers, which the sandbox hasn't."""

    def check(self, configuration_set: str | None = "set") -> list[str]:
        with (
            self.use("amazon_ses", AMAZON_SES_CONFIGURATION_SET_NAME=configuration_set),
            patch("boto3.session.Session.client", lambda session, name, **params: FakeAWS()),
        ):
            return results(self.run_command("--check"))

    def test_right(self):
        found = self.check()
        self.assertEqual([line.split(":")[0] for line in found[:2]], ["Right", "Right"], found)

    def test_no_configuration_set(self):
        tracking, inbound, _ = self.check(None)
        self.assertTrue(tracking.startswith("Can't be told: tracking: Set AMAZON_SES_CONF"))
        self.assertTrue(inbound.startswith("Right: inbound: "))

    def test_error(self):
        from botocore.exceptions import ClientError, NoCredentialsError

        answer: Any = {"Error": {"Code": "AccessDenied"}}
        for error, text in (
            (ClientError(answer, "ListTopics"), "ListTopics of AWS answers AccessDenied."),
            (NoCredentialsError(), "AWS can't be asked: NoCredentialsError."),
        ):
            with patch.object(FakeAWS, "describe_active_receipt_rule_set", side_effect=error):
                self.assertEqual(self.check(), [f"Can't be told: {text}"])


class FakeAWS:
    """All of boto3's clients. Answers have the shapes in botocore's models."""

    def get_configuration_set_event_destinations(self, **params: str) -> Any:
        events = list(load_webhook_api(PROVIDERS["amazon_ses"]).events)
        topic = {"TopicArn": "tracking"}
        destination = {"Name": "d", "Enabled": True, "MatchingEventTypes": events}
        other = {"Name": "firehose", "MatchingEventTypes": []}
        return {"EventDestinations": [{**destination, "SnsDestination": topic}, other]}

    def describe_active_receipt_rule_set(self) -> Any:
        actions = [{"SNSAction": {"TopicArn": "inbound"}}, {"StopAction": {"Scope": "RuleSet"}}]
        return {"Rules": [{"Name": "r", "Enabled": True, "Actions": actions}]}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_subscriptions_by_topic"
        return self

    def paginate(self, TopicArn: str) -> Any:
        url = with_credentials(urls("amazon_ses", TopicArn), SECRET)
        yield {"Subscriptions": [{"Protocol": "email", "Endpoint": "ann@example.com"}]}
        yield {"Subscriptions": [{"Protocol": "https", "Endpoint": url}]}


class ApplyTests(CommandTestCase):
    def test_create(self):
        for name in APPLY:
            with self.subTest(name), self.use(name):
                webhooks = self.webhooks(name)
                other = TRACKING[name]("https://x.example/anymail/", ["open"])
                webhooks.items += deepcopy(other)
                output = self.run_command("--apply", answer="n")
                self.assertEqual(webhooks.items, other)
                self.assertIn("Nothing was changed.", output)
                [question] = self.questions
                self.assertIn("--apply is experimental", question)
                self.assertIn(f"POST {self.sandbox.url(name)}", question)
                self.assertNotIn("pass-word", question)
                is_unconfirmed = name in ("mailersend", "resend")
                self.assertEqual("Beware: It is not documented" in question, is_unconfirmed)

                output = self.run_command("--apply", answer="y")
                self.assertEqual(webhooks.items[: len(other)], other)
                self.assertEqual(len(webhooks.items), len(other) + 1)
                output = self.run_command("--check", "--only=tracking")
                bad = [line for line in results(output) if "tracking: " in line]
                bad = [line for line in bad if "key than that" not in line and "signed" not in line]
                self.assertEqual([line.split(":")[0] for line in bad if "Right" not in line], [])

    def test_update(self):
        for name in APPLY:
            with self.subTest(name), self.use(name):
                webhooks = self.enter(
                    name, events=sorted(load_webhook_api(PROVIDERS[name]).events)[1:]
                )
                self.assertIn("Not reported", self.run_command("--check"))
                inbound = deepcopy(webhooks.items[1:])
                output = self.run_command("--apply", answer="yes")
                self.assertRegex(output, "(PUT|PATCH) http://127.0.0.1")
                self.assertIn("is updated.", output)
                self.assertIn("Right: tracking: ", self.run_command("--check"))
                self.assertEqual(webhooks.items[1:], inbound)
                output = self.run_command("--apply", answer="yes")
                self.assertIn("There is nothing that --apply could change.", output)
                self.assertEqual(self.questions, [])

    def test_update_of_credentials(self):
        for name in APPLY:
            settings = {**SETTINGS[name], "WEBHOOK_SECRET": ["user:new", "user:newer"]}
            with self.subTest(name), self.use(name, **settings):
                self.enter(name)
                self.run_command("--apply", answer="yes")
                self.assertIn("Right: tracking: ", self.run_command("--check"))

    def test_what_is_there_twice_is_left_alone(self):
        with self.use("brevo"):
            webhooks = self.enter("brevo", events=["opened"])
            webhooks.items.append({**webhooks.items[0], "id": 3})
            output = self.run_command("--apply")
            self.assertIn("Doubled: tracking: It is called twice", output)
            self.assertIn("There is nothing that --apply could change.", output)

    def test_new_keys(self):
        for name, setting, key in (
            ("mailersend", "MAILERSEND_SIGNING_SECRET", "secret-of-"),
            ("resend", "RESEND_SIGNING_SECRET", "whsec_"),
            ("sendgrid", "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY", ""),
            ("resend", "RESEND_INBOUND_SECRET", "whsec_"),
        ):
            with self.subTest(setting), self.use(name, **{setting: None}):
                only = "--only=inbound" if "INBOUND" in setting else "--only=tracking"
                output = self.run_command("--apply", only, answer="y")
                self.assertIn("It is not shown again:", output)
                self.assertRegex(output, rf"    '{setting}': '{key}[\w+/=-]+',")

    def test_message_stream(self):
        with self.use("postmark", POSTMARK_MESSAGE_STREAM="broadcasts"):
            self.enter("postmark")
            self.run_command("--apply", answer="y")
            streams = [item["MessageStream"] for item in self.webhooks("postmark").items]
            self.assertEqual(streams, ["outbound", "broadcasts"])

    def test_refusals(self):
        with self.use("mailersend"):
            domains = self.webhooks("mailersend").domains
            domains["other"] = "other.example"
            with self.assertRaisesMessage(CommandError, "other.example: say which with --domain"):
                self.run_command("--apply")
            self.run_command("--apply", "--domain=other.example", answer="y")
            self.assertEqual(self.webhooks("mailersend").items[0]["domain_id"], "other")
        long = self.use("mailersend", WEBHOOK_SECRET=f"user:{'x' * 191}")
        with long, self.assertRaisesMessage(CommandError, "up to 191 characters"):
            self.run_command("--apply", "--domain=example.com")
        with self.use("brevo"), patch("builtins.input", side_effect=EOFError):
            output = io.StringIO()
            call_command("anymail_webhooks", f"--host={SITE}", "--apply", stdout=output)
            self.assertIn("Nothing was changed.", output.getvalue())
        with self.use("mailjet"):
            self.assertIn("--apply can't change anything at Mailjet.", self.run_command("--apply"))
        for content, text in ((b"[]", "not as expected"), (b"", "not as expected")):
            with self.use("resend"), self.assertRaisesMessage(CommandError, text):
                self._apply_with_answer(200, content)
        with self.use("resend"), self.assertRaisesMessage(CommandError, "answers 422: taken"):
            self._apply_with_answer(422, b"taken")

    def _apply_with_answer(self, status: int, content: bytes) -> None:
        """Make a POST be answered so."""
        original = requests.Session.request
        response = requests.Response()
        response.status_code, response._content = status, content

        def request(session: Any, method: str, url: str, **kwargs: Any) -> Any:
            return response if method == "POST" else original(session, method, url, **kwargs)

        with patch("requests.Session.request", request):
            self.run_command("--apply", answer="y")

    def test_several_accounts(self):
        backend = "anymail.backends.postmark.EmailBackend"
        other = f"{self.sandbox.base_url}/other/"
        with (
            self.use("postmark"),
            use_backend(backend),
            patch("anymail.webhook_apis.project.configured_mailers") as mailers,
        ):
            from anymail.diagnosis import Mailer

            mailers.return_value = [
                Mailer("MAILERS['a']", backend, {"server_token": "own-one"}),
                Mailer("MAILERS['b']", backend, {"server_token": "own-two"}),
                Mailer("MAILERS['c']", backend, {"server_token": "own-two"}),
                Mailer("MAILERS['d']", "no.such.Backend", {}),
                Mailer("MAILERS['e']", backend, {"server_token": "own-two", "api_url": other}),
            ]
            output = self.run_command("--check")
        found = re.findall(r"With the key of MAILERS\['(.*)'\]:", output)
        self.assertEqual(found, ["a", "b", "e"])


class CompareTests(SimpleTestCase):
    """What can't be seen of all providers."""

    class API(WebhookAPI):
        events = {"a": "opened", "b": "clicked"}

    endpoint = Endpoint(("tracking",), f"{ROOT}x/tracking/", ("u:p",), paths=("x/tracking/",))

    def compare(self, *registered: Registered, kind: str = "tracking", **details: Any) -> list[str]:
        endpoint = Endpoint(**{**vars(self.endpoint), **details})
        found = compare(self.API(PROVIDERS["postmark"]), kind, endpoint, registered)
        return [f"{item.result}: {item.text}" for item in found]

    def entry(self, **details: Any) -> Registered:
        url = with_credentials(self.endpoint.url, "u:p")
        return Registered(**{"kind": "tracking", "url": url, "events": frozenset("ab"), **details})

    def test_credentials(self):
        url = self.endpoint.url
        for credentials, result in (
            ("u:p", "right"),
            ("u:q", "different: It is called with another secret than WEBHOOK_SECRET."),
            ("", "different: It is called without WEBHOOK_SECRET."),
            ("u:****", "unknown: Whether it is called with WEBHOOK_SECRET can't be told."),
        ):
            for entry in (
                self.entry(url=with_credentials(url, credentials)),
                self.entry(url=url, own_credentials=credentials),
            ):
                [found] = self.compare(entry)
                self.assertTrue(found.startswith(result), found)
        self.assertIn("right", self.compare(self.entry(), secrets=())[0])

    def test_doubled(self):
        twice = self.compare(self.entry(), self.entry(events=frozenset("a")))
        self.assertEqual(twice, ["doubled: It is called twice: a."])
        parts = [self.entry(events=frozenset(event)) for event in "ab"]
        self.assertIn("right", self.compare(*parts)[0])
        other_scopes = [self.entry(scope="one"), self.entry(scope="two")]
        self.assertIn("right", self.compare(*other_scopes)[0])
        inbound = [self.entry(kind="inbound", events=None)] * 2
        found = self.compare(*inbound, kind="inbound", kinds=("inbound",))
        self.assertEqual(found, ["doubled: It is called twice."])

    def test_wrong_kind(self):
        found = self.compare(self.entry(kind="inbound"))
        text = f"different: It is entered for inbound, not for tracking: {ROOT}"
        self.assertEqual(found[0].replace("u:*****@", ""), f"{text}x/tracking/.")

    def test_keys(self):
        keys = {"keys_setting": "X_KEY", "keys": ("-----BEGIN-----\nab\nc\n-----END-----", "d")}
        self.assertIn("right", self.compare(self.entry(key="abc"), **keys)[0])
        [found] = self.compare(self.entry(key="other"), **keys)
        self.assertEqual(found, "different: Calls are signed with another key than that in X_KEY.")
        [found] = self.compare(self.entry(key="other"), keys_setting="X_KEY")
        self.assertEqual(found, "different: Calls are signed, but X_KEY is not set.")

    def test_urls(self):
        url = with_credentials("https://x.example:1/a?b", "u/,:p@:")
        self.assertEqual(url, "https://u%2F%2C:p%40%3A@x.example:1/a?b")
        self.assertEqual(credentials_in(url), "u/,:p@:")
        self.assertEqual(without_credentials(url), "https://x.example:1/a?b")
        self.assertEqual(masked(url), "https://u%2F%2C:*****@x.example:1/a?b")
        self.assertEqual(masked("https://x.example/"), "https://x.example/")
