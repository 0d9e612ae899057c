"""Messages that are sent later: the outbox is their queue, until a test has them sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..backends.test import EmailBackend as AnymailTestBackend
from ..delivery.meaning import from_domain
from ..delivery.pauses import Pauses
from ..later.engines import Engine, get_engine
from ..later.job import MAIL, read_job, sign_job
from ..later.mail import set_later_status, unpack_message
from ..later.worker import deliver
from .mails import SentMail, sent_mail

_NO_LIMIT = 2**40
"""Characters in a job: none becomes a file."""


class OutboxEngine(Engine):
    """Gives jobs to a function of an outbox."""

    may_hang = False

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._take(job)


def options_with_engine(options: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Return the options of a mailer that delivers later, with another engine.

    ``engine`` is a dotted path. "inline", which has no queue, stays.
    """
    changed = dict(options)
    if options.get("engine") == "inline":
        return changed
    changed["engine"] = engine
    if options.get("storage") is not None:
        changed["inline_max"] = _NO_LIMIT
    if options.get("on_commit") is None and _is_in_database(options):
        changed["on_commit"] = False
    return changed


def _is_in_database(options: Mapping[str, Any]) -> bool:
    """Tell whether the project's own queue is in a database, so that commits don't matter."""
    with suppress(Exception):  # Tests can do without it.
        tasks = {"tasks_backend": options["tasks_backend"]} if "tasks_backend" in options else {}
        return get_engine(options["engine"], **tasks).database is not None
    return False


def job_id_of(job: str) -> str:
    """Return the id of a job."""
    return str(read_job(job, salt=MAIL)["id"])


def mail_of(job: str) -> SentMail:
    """Return the mail for a job that was put into the queue."""
    content = read_job(job, salt=MAIL)
    message: Any = unpack_message(content["message"])
    set_later_status(message, content["id"])
    return sent_mail(
        message,
        mailer=content["mailer"],
        later=True,
        # Those of the mailer that will send it are added by the worker.
        defaults=AnymailTestBackend().send_defaults,
    )


def deliver_now(job: str, engine: Engine, mailers: Iterable[str]) -> None:
    """Do what a worker does with a job when it's due. By then, the mailers' pauses are over."""
    content = read_job(job, salt=MAIL)
    if content["state"]["not_before"] > time.time():
        content["state"]["not_before"] = 0
        job = sign_job(content, salt=MAIL)
        domain = from_domain(mail_of(job).message)
        for mailer in mailers:
            Pauses().end(mailer, domain)
    deliver(job, engine=engine)
