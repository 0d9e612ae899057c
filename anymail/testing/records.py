"""What an outbox knows: what was sent and queued, what is to go wrong, and the providers."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.core import mail
from django.core.mail import EmailMessage

from ..delivery.snapshot import copy_message
from ..exceptions import AnymailError
from ..sandbox import StoredMessage
from ..sandbox.faults import Fault, Faults
from ..sandbox.providers import Provider, load_provider
from ..sandbox.store import Store
from .later import job_id_of, mail_of
from .mails import SentMail, sent_mail

DEFAULT = "default"
"""The alias, for faults, of mailers that have none."""


class Records:
    """The memory of an outbox, which mailers' stand-ins write to, from any thread."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._lock = threading.Lock()
        self._mails: list[SentMail] = []
        self._seen: list[SentMail] = []
        self._failures: list[str] = []
        self._jobs: list[str] = []
        self._job_ids: set[str] = set()
        self._queued: dict[str, SentMail] = {}
        """The mails in the queue by the ids of their jobs, until they are sent."""
        self._store = Store()
        self._providers: dict[str, Provider] = {}

    @property
    def mails(self) -> list[SentMail]:
        """What mailers have accepted, in order."""
        with self._lock:
            return list(self._mails)

    @property
    def failures(self) -> list[str]:
        """The attempts to send that have failed, in words."""
        with self._lock:
            return list(self._failures)

    @property
    def unseen(self) -> list[SentMail]:
        """The mails that no assertion has seen."""
        with self._lock:
            return [sent for sent in self._mails if not _is_in(sent, self._seen)]

    def note_seen(self, mails: Iterable[SentMail]) -> None:
        """Note that an assertion has seen mails."""
        with self._lock:
            self._seen += mails

    def clear(self) -> None:
        """Forget what was sent and queued, and have nothing go wrong any more."""
        with self._lock:
            for items in (self._mails, self._seen, self._failures, self._jobs):
                items.clear()
            self._queued.clear()
        self.faults.clear()

    # -- For stand-ins ------------------------------------------------------------------------

    def provider(self, name: str) -> Provider:
        """Return the provider of the sandbox that accepts what is sent here."""
        with self._lock:
            if name not in self._providers:
                self._providers[name] = load_provider(name, self._store)
            return self._providers[name]

    def next_fault(self, backend: Any) -> Fault | None:
        """Return what goes wrong with the next call of a mailer, if anything does."""
        return self.faults.next(getattr(backend, "alias", None) or DEFAULT)

    def note_sent(
        self,
        message: EmailMessage,
        backend: Any,
        stored: Iterable[StoredMessage] = (),
        provider: str | None = None,
    ) -> None:
        """Keep a message that was accepted."""
        sent = sent_mail(
            message,
            mailer=getattr(backend, "alias", None),
            provider=provider,
            stored=tuple(stored),
            defaults=getattr(backend, "send_defaults", {}),
        )
        with self._lock:
            queued = self._queued.pop(getattr(message, "anymail_job_id", None) or "", None)
            if queued is None:
                self._mails.append(sent)
            else:
                sent = replace(sent, later=True)
                for mails in (self._mails, self._seen):
                    mails[:] = [sent if item is queued else item for item in mails]
        django_message = copy_message(message)
        django_message.anymail_status = sent.status  # type: ignore[attr-defined]
        # (There is none for a thread that goes on after the test.)
        getattr(mail, "outbox", []).append(django_message)

    def note_failure(self, error: Exception, mailer: str | None, **kwargs: Any) -> None:
        """Keep a failed attempt: a receiver of send_failed."""
        problem = f" ({error.problem})" if isinstance(error, AnymailError) and error.problem else ""
        where = f" with mailer {mailer!r}" if mailer else ""
        with self._lock:
            self._failures.append(f"{type(error).__name__}{where}{problem}")

    # -- For workers --------------------------------------------------------------------------

    def note_queued(self, job: str) -> None:
        """Keep a job. Its mail is one that was sent, unless it's a job that comes back."""
        job_id = job_id_of(job)
        queued = mail_of(job)
        with self._lock:
            self._jobs.append(job)
            if job_id not in self._job_ids:
                self._job_ids.add(job_id)
                self._queued[job_id] = queued
                self._mails.append(queued)

    def take_jobs(self) -> list[str]:
        """Return the jobs that are in the queue, which is empty then."""
        with self._lock:
            jobs, self._jobs = self._jobs, []
        return jobs


def _is_in(sent: SentMail, mails: Iterable[SentMail]) -> bool:
    return any(item is sent for item in mails)
