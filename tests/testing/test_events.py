"""Events by way of the project's webhooks, for every provider, and events that are made up."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.test import SimpleTestCase, override_settings, tag
from django.urls import include, path

from anymail.exceptions import AnymailAPIError
from anymail.message import AnymailMessage
from anymail.providers import PROVIDERS
from anymail.sandbox import UnsupportedEvent
from anymail.sandbox.providers import load_provider
from anymail.sandbox.store import Store
from anymail.signals import inbound, tracking
from anymail.testing import (
    Outbox,
    OutboxMixin,
    SentMail,
    make_inbound_event,
    make_tracking_event,
    outbox,
)
from anymail.webhooks.postmark import PostmarkTrackingWebhookView

from ..utils import make_message


def make_html_message() -> AnymailMessage:
    message = AnymailMessage(
        "A subject that is long enough",
        "Go to https://e.example/text\n",
        '"Shop, the" <shop@example.com>',
        ["Ann <ann@example.com>", "bo@example.com"],
    )
    html = '<p><a href="https://e.example/1">One</a> <a href="https://e.example/?a=1&amp;b=2">Two</a></p>'
    message.attach_alternative(html, "text/html")
    return message


class SilentView(PostmarkTrackingWebhookView):
    def parse_events(self, request: HttpRequest) -> list[Any]:
        return []


def urls_with(view: Any) -> list[Any]:
    return [
        path("anymail/postmark/tracking/", view),
        path("anymail/", include("anymail.urls")),
    ]


class OtherURLs:
    urlpatterns = [path("deep/hooks/", include("anymail.urls"))]


class NoURLs:
    urlpatterns: list[Any] = []


class ProtectedURLs:
    urlpatterns = urls_with(PostmarkTrackingWebhookView.as_view(basic_auth="of:its own"))


class SilentURLs:
    urlpatterns = urls_with(SilentView.as_view())


class WebhookTests(OutboxMixin, SimpleTestCase):
    outbox_options = {"as_if": "postmark"}
    databases = {"default"}

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Any] = []
        for signal in (tracking, inbound):
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)
        make_html_message().send()
        self.mail = self.outbox.assert_sent()

    def receive(self, event: Any, esp_name: str, **kwargs: Any) -> None:
        self.seen.append((esp_name, event))

    def test_tracking(self):
        for method, event_type in [
            (self.outbox.deliver, "delivered"),
            (self.outbox.bounce, "bounced"),
            (self.outbox.open, "opened"),
            (self.outbox.complain, "complained"),
            (self.outbox.unsubscribe, "unsubscribed"),
        ]:
            with self.subTest(event_type):
                event = method(self.mail)
                self.assertEqual(self.seen.pop(), ("Postmark", event))
                self.assertEqual(event.event_type, event_type)
                self.assertEqual(event.message_id, self.mail.message_id)
                self.assertEqual(event.recipient, "ann@example.com")
                self.assertEqual(method(self.mail, "bo@example.com").recipient, "bo@example.com")
                self.seen.clear()
        self.assertEqual(self.outbox.bounce(self.mail).reject_reason, "bounced")

    def test_click(self):
        self.assertEqual(self.outbox.click(self.mail).click_url, "https://e.example/1")
        event = self.outbox.click(self.mail, self.mail.link("Two"), "bo@example.com")
        self.assertEqual(event.click_url, "https://e.example/?a=1&b=2")
        self.assertEqual(event.recipient, "bo@example.com")
        make_message().send()
        with self.assertRaisesMessage(ValueError, "no links"):
            self.outbox.click(self.outbox.assert_sent(subject="Subject"))

    def test_reply(self):
        event = self.outbox.reply(
            self.mail,
            "Díky!",
            html="<p>Díky!</p>",
            attachments=[("a.txt", "čau", "text/plain; charset=utf-8"), ("b", b"1", "image/png")],
            recipient="bo@example.com",
        )
        self.assertEqual(self.seen, [("Postmark", event)])
        message = event.message
        self.assertEqual(message.from_email.addr_spec, "bo@example.com")
        self.assertEqual(message.to[0].addr_spec, "shop@example.com")
        self.assertEqual(message.subject, "Re: A subject that is long enough")
        self.assertTrue(message.text.startswith("Díky!"))
        self.assertIn("Díky!", message.html)
        names = [attachment.get_filename() for attachment in message.attachments]
        self.assertEqual(names, ["a.txt", "b"])

    def test_international_domain(self):
        make_message(to=["zofie@háj.example"], subject="Účtenka").send()
        sent = self.outbox.assert_sent(subject="Účtenka")
        event = self.outbox.bounce(sent, "zofie@HÁJ.example")
        self.assertEqual(event.recipient, "zofie@xn--hj-mia.example")

    def test_receiver_fails(self):
        def fail(**kwargs: Any) -> None:
            raise ZeroDivisionError("receiver")

        for signal, report in [(tracking, self.outbox.bounce), (inbound, self.outbox.reply)]:
            signal.connect(fail)
            self.addCleanup(signal.disconnect, fail)
            # (The log would be mailed to admins.)
            with (
                self.assertLogs("django.request"),
                self.assertRaisesMessage(ZeroDivisionError, "receiver"),
            ):
                report(self.mail)

    def test_what_cannot_be(self):
        with self.assertRaisesMessage(LookupError, "no recipient 'cy@example.com'"):
            self.outbox.bounce(self.mail, "cy@example.com")
        with self.assertRaisesMessage(UnsupportedEvent, "Postmark reports bounced,"):
            self.outbox.report(self.mail, "queued")
        with outbox() as box:
            make_message().send()
            with self.assertRaisesMessage(ValueError, 'There is outbox(as_if="postmark")'):
                box.bounce(box.assert_sent())

    def test_secrets(self):
        for secret in ["a:secret", ["new:sécret", "old:secret"], None]:
            with (
                self.subTest(secret),
                override_settings(ANYMAIL={"WEBHOOK_SECRET": secret, "REQUIRE_WEBHOOK_AUTH": True}),
            ):
                self.outbox.bounce(self.mail)
        self.assertEqual(len(self.seen), 3)

    @override_settings(ROOT_URLCONF=OtherURLs)
    def test_prefix(self):
        self.outbox.bounce(self.mail)
        self.assertEqual(len(self.seen), 1)

    @override_settings(ROOT_URLCONF=NoURLs)
    def test_no_urls(self):
        with self.assertRaisesMessage(ImproperlyConfigured, "does not include anymail.urls"):
            self.outbox.bounce(self.mail)

    @override_settings(ROOT_URLCONF=ProtectedURLs)
    def test_refused(self):
        with (
            self.assertLogs("django.security"),
            self.assertRaisesMessage(
                AssertionError,
                "The Postmark webhook at /anymail/postmark/tracking/ has answered 400",
            ),
        ):
            self.outbox.bounce(self.mail)

    @override_settings(ROOT_URLCONF=SilentURLs)
    def test_no_signal(self):
        with self.assertRaisesMessage(AssertionError, "sent no signal"):
            self.outbox.bounce(self.mail)


# What makes webhooks stricter, with keys that the tests can't have. See also strict_settings().
STRICT = {
    "WEBHOOK_SECRET": "my:secret",
    "REQUIRE_WEBHOOK_AUTH": True,
    "WEBHOOK_DEDUPE_CACHE": "default",
    "WEBHOOK_MAX_AGE": 60,
    "MAILGUN_WEBHOOK_SIGNING_KEY": "real",
    "MANDRILL_WEBHOOK_KEY": "real",
    "MAILTRAP_DOWNLOAD_HOSTS": ["cdn.example.com"],
    "RESEND_SIGNING_SECRET": "whsec_cmVhbA==",
    "WEBHOOK_LATER": "tests.later.harness.QueueEngine",
}


def strict_settings(name: str) -> dict[str, Any]:
    """Return STRICT and the opposite of what the sandbox relaxes for a provider."""
    opposite = {False: True, None: "https://www.example.com/real"}
    return {
        **STRICT,
        **{
            key: ["real"] if value == [] else opposite[value]
            for key, value in load_provider(name, Store()).relaxed_settings.items()
        },
    }


class EveryProviderTests(SimpleTestCase):
    """Each provider, in a project that protects its webhooks in all ways there are."""

    databases = {"default"}

    def send(self, box: Outbox) -> SentMail:
        message = make_html_message()
        message.send()
        sent = box.assert_sent()
        self.assertEqual(sent.message_id, message.anymail_status.message_id)
        return sent

    def test_delivered(self):
        for name, provider in PROVIDERS.items():
            if provider.missing_packages or name == "amazon_ses":  # slow to begin with
                continue
            with (
                self.subTest(name),
                override_settings(ANYMAIL=strict_settings(name)),
                outbox(as_if=name) as box,
            ):
                sent = self.send(box)
                if "delivered" in box._records.provider(name).events:
                    self.assertEqual(box.deliver(sent).event_type, "delivered")

    @tag("exhaustive")
    def test_all(self):
        for name, provider in PROVIDERS.items():
            if provider.missing_packages:
                continue
            for attempt in ("first", "again"):  # with the same ids
                with (
                    self.subTest(name, attempt=attempt),
                    override_settings(ANYMAIL=strict_settings(name)),
                    outbox(as_if=name) as box,
                ):
                    self.check_events(box, box._records.provider(name), self.send(box))

    def check_events(self, box: Outbox, provider: Any, sent: SentMail) -> None:
        for event_type in sorted(provider.events):
            url = "https://e.example/?a=1&b=2" if event_type == "clicked" else None
            event = box.report(sent, event_type, "bo@example.com", url=url)
            self.assertEqual(event.event_type, event_type)
            if provider.name != "resend":  # which names them all, so that nobody can tell
                self.assertIn(event.recipient, ("bo@example.com", None))
            status = sent.status.recipients["bo@example.com"]
            self.assertEqual(str(event.message_id), str(status.message_id))
            if url:
                self.assertEqual(event.click_url, url)
        if provider.receives_mail:
            attachments = [("a.txt", "čau", "text/plain; charset=utf-8")]
            message = box.reply(sent, "Díky", html="<p>Díky", attachments=attachments).message
            self.assertEqual(message.from_email.addr_spec, "ann@example.com")
            self.assertIn("Díky", message.text)
            self.assertIn("Díky", message.html)
            self.assertEqual(message.attachments[0].get_content_text().strip(), "čau")
        else:
            with self.assertRaises(UnsupportedEvent):
                box.reply(sent)

    @tag("exhaustive")
    def test_problems(self):
        for name, provider in PROVIDERS.items():
            if provider.missing_packages:
                continue
            with outbox(as_if=name) as box:
                for problem in (
                    "message",
                    "unsuitable",
                    "account",
                    "busy",
                    "unreachable",
                    "unclear",
                ):
                    with self.subTest(name, problem=problem):
                        box.clear()
                        box.fail_next(problem, retry_after=3)
                        with self.assertRaises(AnymailAPIError) as caught:
                            make_html_message().send()
                        self.assertEqual(caught.exception.problem, problem)
                        if problem == "busy":
                            self.assertEqual(caught.exception.retry_after, 3)
                        self.assertEqual(box.count, int(problem == "unclear"))


class MadeUpEventTests(SimpleTestCase):
    def test_tracking(self):
        event = make_tracking_event("bounced", recipient="ann@example.com", tags=["a"])
        self.assertEqual((event.event_type, event.reject_reason), ("bounced", "bounced"))
        self.assertEqual((event.recipient, event.tags), ("ann@example.com", ["a"]))
        other = make_tracking_event("clicked", click_url="https://e.example/", message_id=7)
        self.assertEqual((other.reject_reason, other.message_id), (None, 7))
        self.assertNotEqual(event.event_id, other.event_id)
        self.assertIsNotNone(event.timestamp.tzinfo)
        self.assertEqual(
            make_tracking_event("bounced", reject_reason="invalid").reject_reason, "invalid"
        )

    def test_inbound(self):
        event = make_inbound_event(
            from_email="Ann <ann@example.com>",
            to="comments+1@example.net",
            html="<p>Hi",
            attachments=[("a.txt", "Notes", "text/plain")],
            headers={"X-A": "b"},
            event_id="1",
        )
        self.assertEqual((event.event_type, event.event_id), ("inbound", "1"))
        message = event.message
        self.assertEqual(message.from_email.display_name, "Ann")
        self.assertEqual(message.envelope_sender, "ann@example.com")
        self.assertEqual(message.envelope_recipient, "comments+1@example.net")
        self.assertEqual(
            (message.subject, message.text, message.html), ("Subject", "Text", "<p>Hi")
        )
        self.assertEqual(message["X-A"], "b")
        self.assertEqual(message.attachments[0].get_filename(), "a.txt")
