"""The outbox: what is sent while it's in use, and what becomes of it."""

from __future__ import annotations

import html as html_module
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

from django.core import mail
from django.db import connections

from ..addresses import parse_single_address
from ..delivery.memory import forget_in_this_process
from ..providers import PROVIDERS
from ..sandbox import InboundMail, Sandbox, StoredAttachment, StoredMessage, StoredRecipient
from ..sandbox.faults import Fault
from ..sandbox.providers import Provider, UnsupportedEvent
from ..signals import AnymailInboundEvent, AnymailTrackingEvent, inbound, send_failed, tracking
from .events import post_webhook, webhook_target
from .later import OutboxEngine, deliver_now
from .lookups import Lookup
from .mails import SentMail
from .records import Records
from .replacing import Replacement
from .stand_ins import api_url


class Outbox:
    """What is sent while it's entered, as a context manager. See :func:`outbox`."""

    def __init__(
        self,
        *,
        as_if: str | None = None,
        mailers: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if as_if is not None and as_if not in PROVIDERS:
            raise ValueError(f"There is no provider {as_if!r}, only {', '.join(PROVIDERS)}")
        self._records = Records()
        self._replacement = Replacement(self._records, as_if, mailers)
        self._stack = ExitStack()

    def __reduce__(self) -> tuple[Any, ...]:
        # With --parallel, test cases travel between processes, if a subtest fails. Nothing is sent
        # there.
        return Outbox, ()

    def __enter__(self) -> Outbox:
        with ExitStack() as stack:
            if not hasattr(mail, "outbox"):
                mail.outbox = []
                stack.callback(delattr, mail, "outbox")
            stack.enter_context(self._replacement.in_use())
            # Pauses of mailers, and keys of messages, are none of another test's.
            stack.enter_context(forget_in_this_process())
            send_failed.connect(self._records.note_failure)
            stack.callback(send_failed.disconnect, self._records.note_failure)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    # -- What was sent ------------------------------------------------------------------------

    @property
    def mails(self) -> list[SentMail]:
        """What mailers have accepted, in order, from all threads."""
        return self._records.mails

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.mails)

    def clear(self) -> None:
        """Forget what was sent, and have nothing go wrong any more."""
        self._records.clear()

    def assert_sent(self, *, count: int | None = None, **lookups: Any) -> SentMail:
        """Return the mail that was sent with these values.

        Of several, it's the first one that no assertion has returned yet. ``count`` is how many
        there must be; then all of them count as seen, and the first is returned. For the lookups
        see :ref:`testing-lookups`.

        Raises AssertionError, which tells what was sent instead. TypeError for an unknown lookup.
        """
        conditions = _conditions(lookups)
        if count is not None and count < 1:
            raise ValueError("count must be at least 1; there is assert_not_sent()")
        found = self._find(conditions)
        if not found or (count is not None and len(found) != count):
            raise AssertionError(self._describe(conditions, found, count))
        unseen = self._records.unseen
        new = [sent for sent in found if any(sent is item for item in unseen)]
        result = (new or found)[0]
        self._records.note_seen([result] if count is None else new)
        return result if count is None else found[0]

    def assert_not_sent(self, **lookups: Any) -> None:
        """Raise AssertionError if a mail with these values was sent; without values, any mail."""
        conditions = _conditions(lookups)
        if found := self._find(conditions):
            which = f" with {', '.join(map(str, conditions))}" if conditions else ""
            raise AssertionError(f"No mail{which} should be sent, but there is:\n{_listed(found)}")

    def assert_nothing_more(self) -> None:
        """Raise AssertionError if there are mails that ``assert_sent()`` has not seen."""
        if rest := self._records.unseen:
            raise AssertionError(f"No more mail should be sent, but there is:\n{_listed(rest)}")

    def _find(self, conditions: list[Lookup]) -> list[SentMail]:
        return [
            sent
            for sent in self.mails
            if not any(condition.difference(sent) for condition in conditions)
        ]

    def _describe(self, conditions: list[Lookup], found: list[SentMail], count: int | None) -> str:
        which = f" with {', '.join(map(str, conditions))}" if conditions else ""
        mails = self.mails
        if count is None:
            lines = [f"No mail was sent{which}."]
        else:
            lines = [f"{len(found)} instead of {count} mails were sent{which}."]
        lines.append(f"All that was sent ({len(mails)}):" if mails else "Nothing was sent at all.")
        for number, sent in enumerate(mails, 1):
            lines.append(f"{number}. {_described(sent)}")
            lines += [
                f"   {difference}"
                for condition in conditions
                if (difference := condition.difference(sent))
            ]
        lines += [f"An attempt has failed: {failure}" for failure in self._records.failures]
        if waiting := sum(len(item.run_on_commit) for item in connections.all(True)):
            lines.append(
                f"Functions that wait for the transaction to be committed: {waiting} (see Django's "
                "captureOnCommitCallbacks)"
            )
        return "\n".join(lines)

    # -- What goes wrong ----------------------------------------------------------------------

    def fail_next(
        self,
        problem: str,
        *,
        mailer: str | None = None,
        calls: int = 1,
        retry_after: float | None = None,
    ) -> None:
        """Have the next attempts to send fail.

        - ``problem``: one of :class:`~anymail.exceptions.Problem`; with "unclear", the message is
          sent all the same
        - ``mailer``: the alias of the mailer with which; by default, whichever is used
        - ``calls``: how many API calls fail
        - ``retry_after``: in how many seconds a busy provider asks to come back

        The error is what the mailer's own backend makes of its provider's answer. Raises ValueError
        for another problem, and for a mailer that there is not.
        """
        aliases = self._replacement.aliases
        if mailer is not None and aliases != [""] and mailer not in aliases:
            raise ValueError(f"There is no mailer {mailer!r}, only {', '.join(map(repr, aliases))}")
        self._records.faults.add(Fault(problem, seconds=retry_after, calls=calls, provider=mailer))

    # -- What workers do ----------------------------------------------------------------------

    def deliver_later(self) -> int:
        """Do what a worker does with all messages that are queued now, and return their number.

        They are sent as if they were due. Those that are to be tried again later are in the queue
        again. Nothing is raised, as with a worker: receivers of send_failed get to know.
        """
        jobs = self._records.take_jobs()
        engine = OutboxEngine(self._records.note_queued)
        for job in jobs:
            deliver_now(job, engine, self._replacement.aliases)
        return len(jobs)

    # -- What providers report ----------------------------------------------------------------

    def deliver(self, sent: SentMail, recipient: str | None = None) -> AnymailTrackingEvent:
        """Have the provider report that the mail was delivered. See :meth:`report`."""
        return self.report(sent, "delivered", recipient)

    def bounce(self, sent: SentMail, recipient: str | None = None) -> AnymailTrackingEvent:
        """Have the provider report that the mail has bounced. See :meth:`report`."""
        return self.report(sent, "bounced", recipient)

    def open(self, sent: SentMail, recipient: str | None = None) -> AnymailTrackingEvent:
        """Have the provider report that the recipient has opened the mail. See :meth:`report`."""
        return self.report(sent, "opened", recipient)

    def click(
        self, sent: SentMail, url: str | None = None, recipient: str | None = None
    ) -> AnymailTrackingEvent:
        """Have the provider report a click on a link: by default, the mail's first one.

        See :meth:`report`. Raises ValueError if the mail has no links.
        """
        if url is None:
            if not sent.links:
                raise ValueError("The mail has no links: which URL was clicked?")
            url = sent.links[0]
        return self.report(sent, "clicked", recipient, url=url)

    def complain(self, sent: SentMail, recipient: str | None = None) -> AnymailTrackingEvent:
        """Have the provider report that the recipient takes it for spam. See :meth:`report`."""
        return self.report(sent, "complained", recipient)

    def unsubscribe(self, sent: SentMail, recipient: str | None = None) -> AnymailTrackingEvent:
        """Have the provider report that the recipient wants no more. See :meth:`report`."""
        return self.report(sent, "unsubscribed", recipient)

    def report(
        self,
        sent: SentMail,
        event_type: str,
        recipient: str | None = None,
        *,
        url: str | None = None,
    ) -> AnymailTrackingEvent:
        """Have the provider report any event, and return it as receivers have got it.

        The call is the provider's own, signed. It goes through the project's URLconf, middleware
        and webhook view, in this thread. What a receiver raises is raised here. ``recipient`` is an
        address of the mail, by default the first one.

        Raises UnsupportedEvent for what the provider doesn't report, ValueError if no provider of
        Anymail's has sent the mail, LookupError if it has no such recipient.
        """
        provider, stored, copy = self._received(sent, recipient)
        if event_type not in provider.events:
            known = ", ".join(sorted(provider.events))
            raise UnsupportedEvent(f"{provider.esp_name} reports {known}; not {event_type!r}")
        if url is not None:
            copy = replace(copy, html=f'<a href="{html_module.escape(url)}">link</a>')
        call = provider.tracking_webhook(webhook_target(provider), stored, copy, event_type)
        events: list[Any] = post_webhook(provider, call, tracking, api_url(provider))
        # Some providers report about all recipients of a message together.
        own = [event for event in events if event.recipient == copy.address]
        event: AnymailTrackingEvent = (own or events)[0]
        return event

    def reply(
        self,
        sent: SentMail,
        text: str = "Thank you!",
        *,
        html: str = "",
        attachments: Iterable[Any] = (),
        recipient: str | None = None,
    ) -> AnymailInboundEvent:
        """Have a recipient reply, and return the event as receivers of inbound mail have got it.

        It quotes the mail, and goes to its Reply-To, or else From. ``attachments`` are (name,
        content, type) tuples, as Django's ``attach()`` takes them. For the rest see :meth:`report`.
        """
        provider, stored, copy = self._received(sent, recipient)
        reply = InboundMail.reply(stored, copy, text, tuple(map(_attachment, attachments)))
        reply = replace(reply, html=html)
        call = provider.inbound_webhook(webhook_target(provider), reply)
        # Some views ask the provider's API for the rest.
        with Sandbox() as sandbox:
            sandbox.providers[provider.name] = provider
            events: list[Any] = post_webhook(provider, call, inbound, sandbox.url(provider.name))
        event: AnymailInboundEvent = events[0]
        return event

    def _received(
        self, sent: SentMail, recipient: str | None
    ) -> tuple[Provider, StoredMessage, StoredRecipient]:
        """Return the provider of a mail, and what it has received for a recipient."""
        if sent.provider is None:
            queued = (
                " It was queued: call deliver_later(), and assert_sent() again."
                if sent.later
                else ""
            )
            raise ValueError(
                "The mail was not sent with one of Anymail's providers, so none reports events. "
                f'There is outbox(as_if="postmark").{queued}'
            )
        for stored in sent.stored:
            for copy in stored.recipients:
                if recipient is None or _is_address_of(recipient, copy):
                    return self._records.provider(sent.provider), stored, copy
        raise LookupError(f"The mail has no recipient {recipient!r}")


def outbox(
    *, as_if: str | None = None, mailers: Mapping[str, Mapping[str, Any]] | None = None
) -> Outbox:
    """Return an outbox, which is a context manager.

    - ``as_if``: name of the provider that all mailers are to be of, such as "postmark"; by default,
      each is its own
    - ``mailers``: in place of the project's, of the form of MAILERS

    Raises ValueError for an unknown provider.
    """
    return Outbox(as_if=as_if, mailers=mailers)


class OutboxMixin:
    """Gives each test of a test case an outbox of its own: ``self.outbox``.

    Put it in front of Django's class. ``outbox_options`` are the arguments of :func:`outbox`.
    """

    outbox: Outbox
    outbox_options: Mapping[str, Any] = {}

    def setUp(self) -> None:
        """Begin to use the outbox, before what the test case itself sets up."""
        self.outbox = outbox(**self.outbox_options)
        self.outbox.__enter__()
        self.addCleanup(self.outbox.__exit__, None, None, None)  # type: ignore[attr-defined]
        super().setUp()  # type: ignore[misc]


# -- Details ------------------------------------------------------------------------------------


def _conditions(lookups: Mapping[str, Any]) -> list[Lookup]:
    return [Lookup(name, expected) for name, expected in lookups.items()]


def _described(sent: SentMail) -> str:
    provider = f", with {sent.provider}" if sent.provider else ""
    return f"{sent}{provider}{', later' if sent.later else ''}"


def _listed(mails: Iterable[SentMail]) -> str:
    return "\n".join(f"- {_described(sent)}" for sent in mails)


def _is_address_of(address: str, copy: StoredRecipient) -> bool:
    wanted = parse_single_address(address)
    encoded = wanted.format_addr_spec(idna_encode=lambda domain: domain.encode("idna").decode())
    return copy.address.lower() in (wanted.addr_spec.lower(), encoded.lower())


def _attachment(item: Any) -> StoredAttachment:
    name, content, content_type = item
    return StoredAttachment(
        name, content_type, content.encode() if isinstance(content, str) else content
    )
