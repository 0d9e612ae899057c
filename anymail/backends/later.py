"""Has messages sent by a worker: they go through a queue that the project has."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from ..conf import configuration_error, number
from ..delivery.mailers import DEFAULT, BackendWithMailers, is_test_run, mailers
from ..delivery.memory import Memory
from ..delivery.snapshot import copy_message
from ..delivery.strategy import StrategyBackend
from ..exceptions import AnymailError, AnymailLaterError, Problem
from ..later.engines import Engine, InlineEngine, enqueue_within, get_engine, later_error
from ..later.job import MAIL, sign_job
from ..later.mail import pack_message, set_later_status, unpack_message
from ..later.storage import delete_job, store_job
from ..later.worker import first_state, ledger_alias, perform
from ..sending.failures import describe, report_failure
from ..sending.journey import Journey, clear_outcome
from ..sending.keys import idempotency_key
from ..sending.payload import aware_datetime
from ..sending.steps import note_subject
from ..sending.telling import log
from ..transactions import call_when_committed, open_transactions

logger = logging.getLogger("anymail.delivery")

_check_number = number()

_NUMBERS = ("max_age", "inline_max", "enqueue_timeout")


class EmailBackend(BackendWithMailers):
    """Gives messages to a queue, from which a worker takes and sends them.

    ``send()`` returns how many were queued; their status is "later". Options:

    - ``mailer``: the alias of the mailer that the worker sends with; must be given
    - ``engine``: what takes messages to workers, "tasks", "celery", "inline", or the dotted path of
      a class; must be given. See :ref:`engines`
    - ``queue``: the name of a queue of the engine's (None: the engine's default)
    - ``tasks_backend``: for "tasks", the alias in Django's TASKS ("default")
    - ``on_commit``: when messages are given to the queue. True: when all open transactions are
      committed; the alias of a database: when its transaction is; False: at once. By default, True,
      but False if the queue is itself in the database with the transaction
    - ``max_age``: for how many seconds, after it is due, sending a message may be tried (a day)
    - ``inline_max``: how many characters a job may have in the queue (65536). A larger one is a
      file, in
    - ``storage``: an alias of Django's STORAGES, just for that (None: larger ones are refused)
    - ``storage_is_private``: whether the check is to trust that nobody else can read that storage
    - ``enqueue_timeout``: how many seconds the queue has to take a message (5)
    - ``fallback``: "send" to send a message at once if the queue does not take it (None)
    - ``settle``: for how many seconds to wait for a tracking event, if it is unclear whether the
      provider has accepted a message (None). For that, the metadata has an ``anymail_key``, which
      receivers of events don't get to see. Only with providers whose events have metadata

    Raises AnymailConfigurationError for anything else.
    """

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        mailer: str | None = None,
        engine: str | None = None,
        queue: str | None = None,
        tasks_backend: str = "default",
        on_commit: bool | str | None = None,
        max_age: float = 24 * 60 * 60,
        inline_max: int = 65536,
        storage: str | None = None,
        storage_is_private: bool = False,
        enqueue_timeout: float = 5,
        fallback: str | None = None,
        settle: float | None = None,
        alias: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.alias = alias
        self.mailer = mailer or ""
        self.engine_name = engine or ""
        self.queue = queue
        self.tasks_backend = tasks_backend
        self.on_commit = on_commit
        self.max_age = max_age
        self.inline_max = inline_max
        self.storage = storage
        self.storage_is_private = storage_is_private
        self.enqueue_timeout = enqueue_timeout
        self.fallback = fallback
        self.settle = settle
        if (mistake := self._mistake()) is not None:
            raise _options_error(mistake, alias)
        super().__init__(fail_silently, alias, kwargs, _options_error)

    def _mistake(self) -> str | None:
        """Return what is wrong with the options; None if nothing is."""
        if not isinstance(self.mailer, str) or not self.mailer:
            return "OPTIONS must have 'mailer', the alias of the mailer that the worker sends with."
        if self.mailer == self.alias:
            return f"The mailer {self.alias!r} can't be its own 'mailer'."
        if not isinstance(self.engine_name, str) or not self.engine_name:
            return (
                'OPTIONS must have \'engine\': "tasks", "celery", "inline", or the dotted path of '
                "a class."
            )
        if self.fallback not in (None, "send"):
            return f"'fallback' must be \"send\" or None, not {self.fallback!r:.100}."
        if not (self.on_commit is None or isinstance(self.on_commit, (bool, str))):
            return "'on_commit' must be True, False, or the alias of a database."
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        if self.settle is not None:
            numbers["settle"] = self.settle
        for name, value in numbers.items():
            try:
                _check_number(value)
            except ValueError as error:
                return f"{name!r} {error}."
        return None

    @classmethod
    def for_mailer(cls, using: str | None) -> BaseEmailBackend:
        """Return the connection that delivers later, perhaps by way of a given mailer.

        In a test run, where Django puts its own in place of all mailers, it's one of these.
        Raises AnymailConfigurationError if the settings have none, or several.
        """
        aliases = later_mailers()
        if not aliases and is_test_run():
            return mailers[using or DEFAULT]
        if using in aliases:
            alias = str(using)
        elif DEFAULT in aliases or len(aliases) == 1:
            alias = DEFAULT if DEFAULT in aliases else aliases[0]
        else:
            text = (
                f"{len(aliases) or 'None'} of the mailers in {mailers.setting_name} deliver later"
            )
            raise _options_error(f"{text}: name the one to use.", None)
        options = {} if using is None or using == alias else {"mailer": using}
        if options and using not in mailers:
            raise _options_error(f"There is no mailer {using!r} in {mailers.setting_name}.", None)
        return mailers.create(alias, **options)

    @cached_property
    def engine(self) -> Engine:
        """What takes messages to workers."""
        options = {"tasks_backend": self.tasks_backend} if self.engine_name == "tasks" else {}
        return get_engine(self.engine_name, **options)

    # -- Sending ------------------------------------------------------------------------------

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Have a worker send the messages. Returns how many were queued.

        Raises the first error, which ends it. It has an attribute ``sent_count``.
        """
        return self.send_messages_later(email_messages)

    def send_messages_later(
        self,
        email_messages: Iterable[EmailMessage],
        *,
        at: datetime | date | float | None = None,
        queue: str | None = None,
    ) -> int:
        """Do the same, but have the worker begin at a given time, or use another queue."""
        due = time.time() if at is None else aware_datetime(at).timestamp()
        sent_count = 0
        parcels: list[_Parcel] = []
        databases = self._databases_to_wait_for()
        try:
            for message in email_messages or ():
                if message.recipients():
                    sent_count += self._send(message, due, queue, parcels if databases else None)
        except Exception as error:
            error.sent_count = sent_count  # type: ignore[attr-defined]
            raise
        finally:
            if parcels:
                call_when_committed(partial(self._hand_over_all, parcels), databases, robust=True)
        return sent_count

    def _send(
        self, message: EmailMessage, due: float, queue: str | None, parcels: list[_Parcel] | None
    ) -> bool:
        clear_outcome(message)
        try:
            parcel = self._make_parcel(message, due, queue or self.queue)
            if parcels is not None:
                parcels.append(parcel)
            else:
                self._hand_over(parcel)
        except Exception as error:
            journey = Journey(message, mailer=self.alias)
            report_failure(journey, error, backend=self, esp_name="Anymail")
            if self.fail_silently and isinstance(error, AnymailError):
                return False
            raise
        return True

    def _databases_to_wait_for(self) -> list[str]:
        """Return the databases whose transactions are to be committed first."""
        if self.on_commit is False:
            return []
        open_ones = open_transactions()
        if isinstance(self.on_commit, str):
            return [alias for alias in open_ones if alias == self.on_commit]
        if self.on_commit is None and self.engine.database in open_ones:
            # The queue itself is in the transaction: both are committed, or neither.
            return []
        return open_ones

    # -- Jobs ---------------------------------------------------------------------------------

    def _make_parcel(self, message: EmailMessage, due: float, queue: str | None) -> _Parcel:
        self.engine.check_queue(queue)
        packed = pack_message(message)
        self._check_for_mailer(unpack_message(packed))
        job_id = uuid.uuid4().hex
        job = sign_job(
            {
                "id": job_id,
                "key": idempotency_key(message) or job_id,
                "due": due,
                "max_age": self.max_age,
                "queue": queue,
                "mailer": self.mailer,
                "settle": self.settle,
                "state": first_state(due),
                "message": packed,
            },
            salt=MAIL,
        )
        if len(job) > self.inline_max and self.storage is None:
            raise later_error(
                f"A message is too large for the queue ({len(job)} characters): larger ones than "
                "'inline_max' need the option 'storage'",
                Problem.UNSUITABLE,
            )
        ledger_alias(job_id, message, self.max_age + max(0.0, due - time.time()))
        set_later_status(message, job_id)
        return _Parcel(message, job_id, job, due, queue)

    def _check_for_mailer(self, message: EmailMessage) -> None:
        """Build the payload, so that mistakes in the message show now, and not to a worker.

        Raises the first error if none of the mailers that the worker can use takes the message.
        """
        first: Exception | None = None
        for backend in _leaves(self.mailer, message):
            error = _why_refused(backend, message)
            if error is None:
                return
            first = first or error
        if first is not None:
            raise first

    # -- The queue ----------------------------------------------------------------------------

    def _hand_over_all(self, parcels: Iterable[_Parcel]) -> None:
        """Give messages to the queue after the transaction: nobody is there to get an error."""
        silent: AnymailLaterError | None = None
        for parcel in parcels:
            try:
                self._hand_over(parcel, silent)
            except Exception as error:  # noqa: BLE001 (the project's own engine can raise anything)
                if getattr(error, "problem", None) is Problem.UNCLEAR:
                    silent = later_error("The queue does not answer", Problem.UNREACHABLE)
                journey = Journey(parcel.message, mailer=self.alias)
                report_failure(journey, error, backend=self, esp_name="Anymail")
                log(
                    logger,
                    logging.ERROR,
                    "A message was not queued (job %s, mailer %r): %s",
                    parcel.job_id,
                    self.alias,
                    error,
                )

    def _hand_over(self, parcel: _Parcel, silent: AnymailLaterError | None = None) -> None:
        """Give a message to the queue, or else send it, if it is to be so.

        ``silent`` is an error, if the queue isn't to be tried.
        """
        try:
            if silent is not None:
                raise silent
            self._enqueue(parcel)
        except AnymailLaterError as error:
            clear_outcome(parcel.message)
            error.email_message = parcel.message
            # Otherwise, a worker that gets the job all the same would not know.
            is_safe = error.problem is not Problem.UNCLEAR or Memory().is_shared
            if self.fallback != "send" or not is_safe or parcel.due > time.time():
                raise
            log(
                logger,
                logging.WARNING,
                "A message is sent at once, since it's not queued: %s",
                error,
            )
            attempt = perform(parcel.job, InlineEngine())
            if attempt is not None:
                parcel.message.anymail_status = attempt.message.anymail_status  # type: ignore[attr-defined]
                if attempt.error is not None:
                    raise attempt.error from error

    def _enqueue(self, parcel: _Parcel) -> None:
        job = parcel.job
        if len(job) > self.inline_max:
            job = self._store(job)
        at = None if parcel.due <= time.time() else parcel.due
        try:
            enqueue_within(self.engine, self.enqueue_timeout, job, queue=parcel.queue, at=at)
        except AnymailLaterError as error:
            if error.problem is not Problem.UNCLEAR:
                delete_job(job, salt=MAIL)
            raise

    def _store(self, job: str) -> str:
        assert self.storage is not None
        try:
            return store_job(job, storage=self.storage, salt=MAIL)
        except ImproperlyConfigured:
            raise
        except Exception as error:
            text = f"The storage {self.storage!r} has not taken a message"
            raise later_error(text, Problem.UNREACHABLE) from error


@dataclass(frozen=True)
class _Parcel:
    """A message that is to be queued."""

    message: EmailMessage
    job_id: str
    job: str
    due: float
    queue: str | None


def later_mailers() -> list[str]:
    """Return the aliases of the project's mailers that deliver later."""
    return [alias for alias, config in mailers.settings.items() if _is_later(config)]


def _is_later(config: Mapping[str, Any]) -> bool:
    try:
        backend_class: Any = import_string(config.get("BACKEND", ""))
    except ImportError:  # That is for a check to tell.
        return False
    return issubclass(backend_class, EmailBackend)


def _options_error(text: str, alias: str | None) -> Exception:
    kwargs = None if alias is None else {"alias": alias}
    return configuration_error(text, "api/later#later-options", kwargs)


def _leaves(mailer: str, message: EmailMessage) -> Iterator[Any]:
    """Yield the backends that a message can be sent with by a mailer, which may be several."""
    if mailer not in mailers:
        raise _options_error(f"There is no mailer {mailer!r} in {mailers.setting_name}.", None)
    try:
        backend: Any = mailers[mailer]
    except Exception:  # noqa: BLE001 (that is for the worker to see, when it's mended)
        backend = None
    if isinstance(backend, EmailBackend):
        raise _options_error(f"'mailer' is {mailer!r}, which delivers later itself.", None)
    if isinstance(backend, StrategyBackend):
        for name in backend.route(message):
            yield from _leaves(name, message)
    else:
        yield backend


def _why_refused(backend: Any, message: EmailMessage) -> Exception | None:
    """Return why a backend can't make a call of a message; None if it can, or nobody knows."""
    if not hasattr(backend, "build_message_payload"):
        return None
    message = copy_message(message)
    try:
        payload = backend.build_message_payload(message, backend.send_defaults)
        first = next(iter(payload.split()), None)
        if getattr(backend, "makes_usual_calls", False):
            backend.prepare_call(first)
    except ImproperlyConfigured:
        return None  # as above
    except AnymailError as error:
        note_subject(error, message, None)
        describe(error, message, backend)
        return error
    except Exception as error:  # noqa: BLE001 (whatever comes of the message)
        return error
    return None
