"""The demonstration: sends messages, receives webhooks, and checks all that arrives."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any, TextIO

import django
import idna
from django.conf import settings
from django.utils.module_loading import import_string
from requests import RequestException

from ..addresses import parse_single_address
from ..message import AnymailMessage
from . import samples
from .mailboxes import parse_mailboxes
from .providers import InboundMail, Provider
from .report import Report, clip, shorten
from .server import LOOPBACK, Sandbox
from .site import ROOT_URLCONF, DemoSite, SeenEvent
from .store import StoredMessage, StoredRecipient

DEFAULT_PROVIDERS = ("mailgun", "postmark")

FAULTS = ("wrong-secret",)
"""What can be made to go wrong, to see that it is noticed."""

GOOD_STATUSES = ("sent", "queued")

# Which messages, by number and recipient's number, have which events.
EVENTS = (
    (1, 1, "delivered"),
    (2, 1, "delivered"),
    (2, 1, "opened"),
    (2, 1, "clicked"),
    (3, 1, "delivered"),
    (3, 2, "bounced"),
)


@dataclass
class SentMessage:
    """A message of the demonstration, and what the sandbox has got of it."""

    title: str
    message: AnymailMessage
    stored: list[StoredMessage]

    @property
    def has_arrived(self) -> bool:
        """Whether the sandbox has got a copy for everyone."""
        return all(copy is not None for _to, copy in self.copies())

    def copies(self) -> list[tuple[str, StoredRecipient | None]]:
        """Return each recipient, as addressed, with the copy that the sandbox has for it."""
        by_address = {copy.address: copy for message in self.stored for copy in message.recipients}
        return [(to, by_address.get(on_the_wire(to))) for to in self.message.to]

    def stored_for(self, copy: StoredRecipient) -> StoredMessage:
        """Return the message that the copy is of."""
        return next(message for message in self.stored if copy in message.recipients)


class Demo:
    """Runs the demonstration with a sandbox and a site, and reports on it.

    Django's settings must be demo_settings(sandbox). ``report`` gets the details.
    """

    SUMMARY_COLUMNS = ("provider", "sent", "tracking events", "inbound", "result")

    def __init__(self, sandbox: Sandbox, site: DemoSite, report: Report) -> None:
        self.sandbox = sandbox
        self.site = site
        self.report = report
        self.checks = 0
        self.problems: list[str] = []
        self.summary: list[tuple[str, ...]] = []

    def run(self, providers: Sequence[Provider]) -> None:
        """Send through providers, and have their webhooks called.

        Those that need packages which are not installed are left out.
        """
        self.sandbox.webhook_url = self.site.webhook_url
        for provider in providers:
            if missing := provider.missing_packages:
                reason = f"left out: needs {missing}"
                self.summary.append((provider.esp_name, "-", "-", "-", reason))
                continue
            self.sandbox.templates[str(provider.template_id)] = samples.TEMPLATE
            self._run_provider(provider)

    # -- Checks -------------------------------------------------------------------------------

    def check(self, ok: bool, problem: str) -> bool:
        """Count a check, and note the problem if it failed."""
        self.checks += 1
        if not ok:
            self.problems.append(problem)
        return ok

    def check_equal(self, what: str, expected: object, seen: object) -> bool:
        """Check that what was expected is what was seen."""
        return self.check(expected == seen, f"{what}: expected {expected!r}, saw {seen!r}")

    # -- One provider -------------------------------------------------------------------------

    def _run_provider(self, provider: Provider) -> None:
        checks, problems = self.checks, len(self.problems)
        self.report.heading(provider.esp_name)
        sent = [
            self._send(provider, "1 HTML, image, file", samples.html_message(provider)),
            self._send(provider, "2 tags, metadata", samples.tracked_message(provider)),
            self._send(
                provider,
                "3 batch, template",
                samples.batch_message(provider),
                # Then each recipient gets a call of their own.
                ignore_unsupported_features=not provider.has_batches,
            ),
        ]
        self._report_sent(sent)
        self._check_content(provider, sent)
        self._report_stored(provider, sent)

        events = [
            self._expect_event(provider, sent[number - 1], recipient - 1, event)
            for number, recipient, event in EVENTS
            if event in provider.events
        ]
        if provider.events:
            self._report_events([event for event in events if event])
        replies = [self._expect_reply(provider, sent[0])] if provider.receives_mail else []
        if provider.receives_mail:
            self._report_inbound([reply for reply in replies if reply])

        checks, problems = self.checks - checks, len(self.problems) - problems
        self.summary.append(
            (
                provider.esp_name,
                _ratio([item.has_arrived for item in sent]),
                _ratio(events),
                _ratio(replies),
                f"FAILED: {problems} of {checks} checks" if problems else "ok",
            )
        )

    # -- Sending ------------------------------------------------------------------------------

    def _send(
        self, provider: Provider, title: str, message: AnymailMessage, **options: Any
    ) -> SentMessage:
        before = len(self.sandbox.messages)
        what = f"{provider.esp_name}, message {title}"
        try:
            import_string(provider.backend)(**options).send_messages([message])
        except Exception as err:  # noqa: BLE001 (whatever it is, it is reported)
            self.check(False, f"{what}: not sent. {type(err).__name__}: {clip(str(err), 400)}")
        sent = SentMessage(title, message, self.sandbox.messages[before:])
        for to, copy in sent.copies():
            status = message.anymail_status.recipients.get(parse_single_address(to).addr_spec)
            self.check(
                status is not None and status.status in GOOD_STATUSES,
                f"{what}: the status for {to} is {status!r}",
            )
            if self.check(copy is not None, f"{what}: nothing for {to} arrived in the sandbox"):
                assert copy is not None
                # Postal's ids are numbers.
                message_id = status and str(status.message_id)
                self.check_equal(f"{what}: message id for {to}", copy.message_id, message_id)
        return sent

    def _check_content(self, provider: Provider, sent: list[SentMessage]) -> None:
        first, second, batch = sent
        check = partial(self._check_part, provider)
        for stored in first.stored:
            check(first, "display name", samples.SHOP_NAME, stored.from_email.display_name)
            files = [(item.filename, item.content.decode()) for item in stored.attachments]
            check(first, "attachments", [("účtenka.csv", samples.RECEIPT)], files)
            images = [
                (f"cid:{item.content_id}" in stored.html, item.content)
                for item in stored.inline_images
            ]
            if "inline_images" not in provider.unsupported:
                check(first, "inline image", [(True, samples.LOGO)], images)
        for stored in second.stored:
            copy = stored.recipients[0]
            for attribute, seen in (
                ("tags", list(copy.tags)),
                ("metadata", dict(copy.metadata)),
                ("track_opens", stored.track_opens),
                ("track_clicks", stored.track_clicks),
            ):
                if attribute not in provider.unsupported:
                    check(second, attribute, getattr(second.message, attribute), seen)
        for to, batch_copy in batch.copies():
            if batch_copy is not None:
                self._check_batch_copy(provider, batch, to, batch_copy)

    def _check_batch_copy(
        self, provider: Provider, batch: SentMessage, to: str, copy: StoredRecipient
    ) -> None:
        check = partial(self._check_part, provider, batch)
        unsupported = provider.unsupported
        if "hidden_recipients" not in unsupported:
            check(f"To header for {to}", [copy.mailbox], parse_mailboxes(copy.header_to))
        if unsupported.isdisjoint({"merge_data", "template_id"}):
            data = samples.MERGE_DATA[parse_single_address(to).addr_spec]
            subject = f"Hello {data['first']}, {data['points']} points are waiting"
            check(f"merged subject for {to}", subject, copy.subject)
        self._check_metadata(provider, f"message {batch.title} for {to}", batch, to, copy.metadata)

    def _check_part(
        self, provider: Provider, sent: SentMessage, what: str, expected: object, seen: object
    ) -> None:
        title = f"{provider.esp_name}, message {sent.title}: {what}"
        self.check_equal(title, expected, seen)

    def _check_metadata(
        self, provider: Provider, what: str, sent: SentMessage, to: str, seen: Mapping[str, str]
    ) -> None:
        message = sent.message
        expected: dict[str, str] = {}
        if isinstance(message.metadata, Mapping):
            expected |= message.metadata
        if isinstance(message.merge_metadata, Mapping) and "metadata" not in provider.unsupported:
            expected |= message.merge_metadata[parse_single_address(to).addr_spec]
        # Some providers add the template's data.
        relevant = {name: value for name, value in seen.items() if name in expected}
        self.check_equal(f"{provider.esp_name}, {what}: metadata", expected, relevant)

    # -- Webhooks -----------------------------------------------------------------------------

    def _expect_event(
        self, provider: Provider, sent: SentMessage, number: int, event_type: str
    ) -> SeenEvent | None:
        to, copy = sent.copies()[number]
        what = f"{event_type} event for {to} (message {sent.title})"
        if copy is None:
            self.check(False, f"{provider.esp_name}: no {what}: nothing was sent")
            return None
        seen = self._trigger(
            provider,
            what,
            lambda: self.sandbox.tracking_webhook(sent.stored_for(copy), event_type, copy),
        )
        if seen is None:
            return None
        event = seen.event
        check = partial(self._check_event_part, provider, what)
        check("event type", event_type, event.event_type)
        check("message id", copy.message_id, event.message_id and str(event.message_id))
        check("recipient", on_the_wire(to), event.recipient)
        tags = None if "event_tags" in provider.unsupported else sent.message.tags
        check("tags", tags if isinstance(tags, list) else [], event.tags)
        self._check_metadata(provider, what, sent, to, event.metadata)
        if event_type == "clicked":
            check("link", "https://shop.example.com/4711", event.click_url)
        if event_type == "bounced" and "reject_reason" not in provider.unsupported:
            check("reject reason", "bounced", event.reject_reason)
        return seen

    def _expect_reply(self, provider: Provider, sent: SentMessage) -> SeenEvent | None:
        to, copy = sent.copies()[0]
        what = f"inbound event for the reply of {to}"
        if copy is None:
            self.check(False, f"{provider.esp_name}: no {what}: nothing to reply to was sent")
            return None
        mail = InboundMail.reply(
            sent.stored_for(copy), copy, samples.REPLY_TEXT, (samples.REPLY_ATTACHMENT,)
        )
        seen = self._trigger(
            provider, what, lambda: self.sandbox.inbound_webhook(provider.name, mail)
        )
        if seen is None:
            return None
        message = seen.event.message
        check = partial(self._check_event_part, provider, what)
        check("event type", "inbound", seen.event.event_type)
        check("From", on_the_wire(to), getattr(message.from_email, "addr_spec", None))
        check("subject", mail.subject, message.subject)
        check("text", mail.text, message.text)
        if "stripped_text" not in provider.unsupported:
            check("text without quotes", samples.REPLY_TEXT, message.stripped_text)
        files = [(part.get_filename(), part.get_content_bytes()) for part in message.attachments]
        expected = [(samples.REPLY_ATTACHMENT.filename, samples.REPLY_ATTACHMENT.content)]
        check("attachments", expected, files)
        return seen

    def _check_event_part(
        self, provider: Provider, what: str, part: str, expected: object, seen: object
    ) -> None:
        self.check_equal(f"{provider.esp_name}, {what}: {part}", expected, seen)

    def _trigger(self, provider: Provider, what: str, build: Any) -> SeenEvent | None:
        """Have a webhook called. Returns the one event that receivers got, if they did."""
        before, complaints = len(self.site.events), len(self.site.complaints)
        try:
            answer = str(self.sandbox.send_webhook(build()).status_code)
        except RequestException as err:
            answer = f"not at all: {type(err).__name__}"
        seen = self.site.events[before:]
        complaint = "; ".join([answer, *self.site.complaints[complaints:]])
        what = f"{provider.esp_name}, {what}"
        if not self.check(
            answer == "200" and len(seen) == 1,
            f"{what}: arrived {len(seen)} times; the site answered {complaint}",
        ):
            return None
        self.check_equal(f"{what}: ESP", provider.esp_name, seen[0].esp_name)
        return seen[0]

    # -- Report -------------------------------------------------------------------------------

    def _report_sent(self, sent: list[SentMessage]) -> None:
        rows = []
        for item in sent:
            for to, _copy in item.copies():
                status = item.message.anymail_status.recipients.get(
                    parse_single_address(to).addr_spec
                )
                result = (status.status, status.message_id) if status else ("not sent", None)
                rows.append((item.title, to, result[0], _short_id(result[1])))
        self.report.line("Sent: the anymail_status of each recipient")
        self.report.table(("message", "to", "status", "message id"), rows)

    def _report_stored(self, provider: Provider, sent: list[SentMessage]) -> None:
        rows = []
        for item in sent:
            for message in item.stored:
                files = [file.filename for file in message.attachments]
                files += [file.content_type for file in message.inline_images]
                rows += [
                    (
                        copy.address,
                        copy.subject,
                        clip(_pairs(copy.metadata), 26),
                        ", ".join(files),
                    )
                    for copy in message.recipients
                ]
        self.report.line()
        self.report.line(f"Arrived: what {provider.esp_name} has for each recipient")
        self.report.table(("recipient", "subject", "metadata", "files"), rows)

    def _report_events(self, seen: list[SeenEvent]) -> None:
        rows = [
            (
                item.event.event_type,
                item.event.recipient,
                _short_id(item.event.message_id),
                ",".join(item.event.tags),
                clip(_pairs(item.event.metadata), 22),
                clip(_detail(item.event), 30),
            )
            for item in seen
        ]
        self.report.line()
        self.report.line("Tracked: what receivers of the tracking signal were called with")
        columns = ("event", "recipient", "message id", "tags", "metadata", "details")
        self.report.table(columns, rows)

    def _report_inbound(self, seen: list[SeenEvent]) -> None:
        rows = []
        for item in seen:
            message = item.event.message
            files = ", ".join(str(part.get_filename()) for part in message.attachments)
            text = message.stripped_text or (message.text or "").partition("\n")[0]
            rows.append((message.from_email, message.subject, text, files))
        self.report.line()
        self.report.line("Received: what receivers of the inbound signal were called with")
        self.report.table(("from", "subject", "text", "attachments"), rows)


def run_demo(
    sandbox: Sandbox,
    site: DemoSite,
    stream: TextIO,
    names: Sequence[str] = DEFAULT_PROVIDERS,
    *,
    details: bool = True,
) -> bool:
    """Run the demonstration, and write about it. Returns whether all was as expected.

    ``names`` are those of the providers, ``details`` is whether to list messages and events.
    Django's settings must be demo_settings(sandbox). Raises LookupError for an unknown name.
    """
    started = time.monotonic()
    report = Report(stream)
    providers = [sandbox.provider(name) for name in names]
    esp_names = ", ".join(provider.esp_name for provider in providers)
    intro = f"Anymail demo: mail out through local stand-ins for {esp_names}, webhooks back in."
    for line in textwrap.wrap(intro, 100):
        report.line(line)
    report.line("All of it is real HTTP, and none of it leaves this computer.")
    report.line()
    report.line(f"  providers    {sandbox.base_url}/")
    report.line(f"  Django site  {site.base_url}/")

    demo = Demo(sandbox, site, report if details else Report(StringIO()))
    demo.run(providers)

    if len(providers) > 1:
        report.heading("Summary")
        report.table(demo.SUMMARY_COLUMNS, demo.summary)
    if not details:
        report.line()
        report.line("Add --verbose to see each message and event.")
    report.line()
    seconds = f"{time.monotonic() - started:.1f} s"
    if demo.problems:
        report.line(f"FAILED: {len(demo.problems)} of {demo.checks} checks, in {seconds}.")
        for problem in demo.problems:
            report.line(f"- {problem}")
    else:
        report.line(f"All {demo.checks} checks passed in {seconds}: what was sent is what arrived.")
    return not demo.problems


def demo_settings(sandbox: Sandbox) -> dict[str, Any]:
    """Return Django's settings for the site of the demonstration."""
    demo_settings: dict[str, Any] = {
        "ALLOWED_HOSTS": [LOOPBACK],
        "ANYMAIL": sandbox.anymail_settings(),
        "DEFAULT_FROM_EMAIL": samples.SHOP,
        "INSTALLED_APPS": ["anymail"],
        # What goes wrong is in the report.
        "LOGGING": {
            "version": 1,
            "loggers": {"django": {"handlers": [], "propagate": False}},
        },
        "MIDDLEWARE": ["django.middleware.common.CommonMiddleware"],  # checks ALLOWED_HOSTS
        "ROOT_URLCONF": ROOT_URLCONF,
        "SECRET_KEY": "only for demonstrations",
        "USE_TZ": True,
    }
    if django.VERSION >= (6, 1):
        demo_settings["MAILERS"] = {
            name: {"BACKEND": provider.backend} for name, provider in sandbox.providers.items()
        }
    return demo_settings


def configure_django(demo_settings: Mapping[str, Any]) -> None:
    """Set up Django for the demonstration, in a process that has not done so yet."""
    settings.configure(**demo_settings)
    django.setup()


def break_on_purpose(sandbox: Sandbox, fault: str) -> None:
    """Make something go wrong: one of FAULTS."""
    assert fault == "wrong-secret"
    sandbox.webhook_secret = "sandbox:wrong-secret"  # noqa: S105


def on_the_wire(address: str) -> str:
    """Return the addr-spec of an address, its domain encoded as for a mail server."""
    local_part, _, domain = parse_single_address(address).addr_spec.rpartition("@")
    return f"{local_part}@{idna.encode(domain).decode()}"


@contextmanager
def no_proxy() -> Iterator[None]:
    """Keep proxies that are set in the environment out of calls to this computer."""
    names = ("no_proxy", "NO_PROXY")
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ[name] = ",".join(filter(None, [before[name], LOOPBACK]))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _short_id(message_id: object) -> str:
    # Of those that look like an address, it's the part before the @ that differs; of Amazon SES's,
    # the part before the zeros at the end.
    text = str(message_id).strip("<>").partition("@")[0]
    return shorten(text.removesuffix("-000000"), 14)


def _ratio(results: Sequence[object]) -> str:
    """Return how many are as they should be; a dash if there should be none."""
    return f"{sum(map(bool, results))}/{len(results)}" if results else "-"


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _detail(event: Any) -> str:
    if event.event_type == "clicked":
        return str(event.click_url)
    if event.event_type == "bounced":
        return ": ".join(filter(None, (event.reject_reason, event.mta_response)))
    return str(event.user_agent or event.mta_response or "")
