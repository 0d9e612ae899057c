"""Webhook calls for workers: WEBHOOK_LATER.

The view finds out whether a call is the provider's, puts it into a queue and answers. A worker
makes a request of it again and sends the signals. What is in the queue is signed: nobody can make
up events there without the SECRET_KEY.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils import translation
from django.views.decorators.debug import sensitive_variables

from ..conf import setting_name
from ..delivery.decisions import backoff
from ..exceptions import AnymailConfigurationError, AnymailLaterError, Problem
from ..later.engines import Engine, as_engine, enqueue_within, get_engine, later_error
from ..later.job import WEBHOOK, JobRefused, NewerJob, read_job, sign_job
from ..later.storage import delete_job, fetch_job, store_job
from ..signals import AnymailEvent
from ..transactions import atomic, databases_of_django
from ..urls import loaded_view
from .calls import Call, keep_body
from .dedupe import LEASE_SECONDS, EventInProgress, HandledEvents
from .kept import CallStorage, KeptCall, forget, keep, read_kept

if TYPE_CHECKING:
    from .base import AnymailCoreWebhookView

logger = logging.getLogger("anymail.webhooks")

INLINE_MAX = 64 * 1024
"""A call whose job has more characters is a file, which the queue has only the name of."""

ENQUEUE_TIMEOUT = 5.0
"""How many seconds a provider waits at most until its call is in the queue."""

RETRY_SECONDS = 24 * 60 * 60
"""For how long a call is tried again whose events can't be handled."""

NEWER_JOB_SECONDS = 60
"""When a job of a later release is given to another worker."""

CANT_BE_DECODED = (SuspiciousOperation, BadRequest, MultiPartParserError)
"""What Django answers with a 400, if a view raises it."""


# -- In the view ------------------------------------------------------------------------------


@sensitive_variables()
def hand_over(view: AnymailCoreWebhookView, request: HttpRequest) -> HttpResponse:
    """Validate a call, and have a worker handle it.

    Answers 503 if the queue does not take it, so that the provider calls again. Calls about the
    webhook itself are handled at once. Raises what validating does, and AnymailConfigurationError
    if a worker could not find the view, or if there is no storage for a large call.
    """
    keep_body(request, view.esp_name)
    view.run_validators(request)
    if view.is_about_webhook(request):
        view.parse_events(request)
        return HttpResponse()
    call = Call.of(request, view.headers_for_worker)
    if view_at(call.path)[1].view_class is not type(view):
        raise _not_found(view.esp_name)
    try:
        enqueue(call, view.esp_name, get_engine(view.later))
    except AnymailLaterError:
        logger.exception("The queue has not taken a call of the %s webhook", view.esp_name)
        return HttpResponse(status=503, headers={"Retry-After": str(LEASE_SECONDS)})
    return HttpResponse()


def view_at(path: str) -> tuple[ResolverMatch, Any]:
    """Return what the project's URLs have at a path, and the view function that as_view() made.

    Raises AnymailConfigurationError if there is none.
    """
    # A path can begin with a language: see i18n_patterns.
    language = translation.get_language_from_path(path) or translation.get_language()
    with translation.override(language):
        try:
            # Not with the urlconf that a middleware has chosen for the view's request.
            match = resolve(path, settings.ROOT_URLCONF)
        except Resolver404:
            raise _not_found("Anymail") from None
    view_function = loaded_view(match.func)
    if not hasattr(view_function, "view_class"):
        raise _not_found("Anymail")
    return match, view_function


def _not_found(name: str) -> AnymailConfigurationError:
    return AnymailConfigurationError(
        f"Workers can't find the view of this {name} webhook: ROOT_URLCONF must have at its path "
        "what as_view() returns, or a wrapper made with functools.wraps.",
        docs="webhooks_later#webhooks-later-worker",
    )


def enqueue(call: Call, esp_name: str, engine: Engine) -> None:
    """Put a call into the queue. Raises AnymailLaterError if that is not possible.

    Also AnymailConfigurationError; and if the engine runs jobs at once, whatever comes of that.
    """
    job = sign_job(
        {
            "id": call.id,
            "due": call.received,
            # What has been handled is remembered for so long.
            "max_age": HandledEvents(esp_name, "", id_is_unique=True).seconds,
            "esp_name": esp_name,
            "call": call.as_json(),
        },
        salt=WEBHOOK,
    )
    _put(job, esp_name, engine)


def _put(job: str, esp_name: str, engine: Engine) -> None:
    short = job
    if len(job) > INLINE_MAX and not engine.runs_at_once:
        storage = CallStorage().alias
        if storage is None:
            raise AnymailConfigurationError(
                f"A call of the {esp_name} webhook is too large for the queue. Set "
                f"{setting_name('webhook_later_storage')}.",
                docs="webhooks_later#webhooks-later-storage",
            )
        try:
            short = store_job(job, storage=storage, salt=WEBHOOK)
        except Exception as error:
            raise later_error(
                f"Cannot write a webhook call to the storage {storage!r}", Problem.UNREACHABLE
            ) from error
    try:
        enqueue_within(engine, ENQUEUE_TIMEOUT, short, webhook=True)
    except AnymailLaterError as error:
        if not error.may_have_been_sent:
            _delete_file(short)
        raise


# -- In the worker ----------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What changes from one execution of a job to the next."""

    attempt: int = 1
    since: float | None = None
    """When the first one was (POSIX time)."""
    at: float = 0
    """When it is to be executed."""
    handled: tuple[int, ...] = ()
    """Which of the call's events have been handled, counted from 0."""


class CantBeDecodedError(Exception):
    """A call makes no sense, as its cause says."""


@sensitive_variables()
def handle_webhook(job: str, *, engine: Any, redelivered: bool = False) -> None:
    """Handle a call that a job has: what a worker does.

    If a receiver raises an exception, the job is given to the engine again; after a day, or if the
    call can't be decoded, it becomes a file in WEBHOOK_LATER_STORAGE.

    Raises what an engine raises that does not take the job again, what a storage does, and if there
    is none, the exception that kept the call from being handled. An engine that runs jobs at once
    gets whatever is raised.
    """
    engine = as_engine(engine)
    try:
        content = read_job(job, salt=WEBHOOK)
        full_job = fetch_job(job, salt=WEBHOOK)
    except NewerJob as newer:
        _pass_on(job, newer, engine)
        return
    except JobRefused as error:
        logger.error("%s. No events are made of it.", error)  # noqa: TRY400 (it says all)
        return
    state = State(**content.get("state", {}))
    now = time.time()
    if state.at > now + 1 and not engine.runs_at_once:
        # The engine can't wait that long.
        enqueue_within(engine, ENQUEUE_TIMEOUT, job, at=state.at, webhook=True)
        return
    Execution(job, full_job, state, engine).run()


def _pass_on(job: str, newer: NewerJob, engine: Engine) -> None:
    """Leave a job of a later release to workers that know it."""
    now = time.time()
    if not engine.can_wait or now > newer.content["due"] + newer.content["max_age"]:
        logger.error("%s. No events are made of it.", newer)
        return
    enqueue_within(engine, ENQUEUE_TIMEOUT, job, at=now + NEWER_JOB_SECONDS, webhook=True)


class Execution:
    """One attempt to handle the call in a job."""

    def __init__(self, job: str, full_job: str, state: State, engine: Engine) -> None:
        self.job = job
        self.full_job = full_job
        self.content = read_job(full_job, salt=WEBHOOK)
        self.esp_name: str = self.content["esp_name"]
        self.state = state
        self.engine = engine
        self.handled = set(state.handled)

    def run(self) -> None:
        """See :func:`handle_webhook`."""
        if self.engine.runs_at_once:
            self._handle()
            return
        if time.time() > self.content["due"] + self.content["max_age"]:
            self._keep("It is older than what has been handled is remembered.", None)
            return
        try:
            self._handle()
        except EventInProgress:
            # It is not certain that the other one succeeds.
            self._again(LEASE_SECONDS, self.state.attempt, None)
        except CantBeDecodedError as error:
            self._keep("It can't be decoded.", error.__cause__)
        except Exception as error:  # noqa: BLE001 (whatever receivers raise)
            attempt = self.state.attempt
            self._again(backoff(attempt, first=10, factor=4), attempt + 1, error)
        else:
            _delete_file(self.job)

    def _handle(self) -> None:
        """Send the signals of the events that were not handled before.

        Adds those to ``handled`` that are. Raises what receivers do, and CantBeDecodedError.
        """
        call = Call.from_json(self.content["call"])
        match, view_function = view_at(call.path)
        view: AnymailCoreWebhookView = view_function.view_class(**view_function.view_initkwargs)
        with closing(call.request()) as request:
            request.resolver_match = match
            view.setup(request, *match.args, **match.kwargs)
            try:
                events = view.parse_events(request)
            except CANT_BE_DECODED as error:
                if self.engine.runs_at_once:
                    raise
                raise CantBeDecodedError from error
            self._send(view, events, databases_of_django(match.func))

    def _send(
        self, view: AnymailCoreWebhookView, events: Sequence[AnymailEvent], databases: list[str]
    ) -> None:
        positions = {id(event): position for position, event in enumerate(events)}

        def note(event: AnymailEvent) -> None:
            self.handled.add(positions.get(id(event), -1))

        view.when_handled = note
        left = [event for event in events if positions[id(event)] not in self.handled]
        with atomic(databases):
            view.send_events(left)

    def _again(self, wait: float, attempt: int, error: Exception | None) -> None:
        """Have the job executed again, if that was not tried for too long."""
        now = time.time()
        since = self.state.since or now
        if not self.engine.can_wait or now + wait > since + RETRY_SECONDS:
            self._keep("It could not be handled.", error)
            return
        # Once as an error, so that somebody gets to know of it
        level = logging.ERROR if self.state.attempt == 1 else logging.WARNING
        if error is not None:
            text = "Handling a call of the %s webhook failed; it's tried again"
            logger.log(level, text, self.esp_name, exc_info=error)
        state = State(attempt, since, now + wait, tuple(sorted(self.handled)))
        job = with_state(self.job, state)
        enqueue_within(self.engine, ENQUEUE_TIMEOUT, job, at=state.at, webhook=True)

    def _keep(self, reason: str, error: BaseException | None) -> None:
        """Give it up, but leave it where it can be found."""
        alias = CallStorage().alias
        if alias is None:
            logger.error("Gave up a %s webhook call. %s", self.esp_name, reason, exc_info=error)
            if self.engine.keeps_failures:
                raise error or AnymailLaterError(reason)
        else:
            state = State(handled=tuple(sorted(self.handled)))
            job = with_state(self.full_job, state)
            name = keep(job, self.content["id"], self.esp_name, alias)
            text = "Gave up a %s webhook call, which is now the file %s in the storage %r. %s"
            logger.error(text, self.esp_name, name, alias, reason, exc_info=error)
        _delete_file(self.job)


def with_state(job: str, state: State, **changes: Any) -> str:
    """Return a job of the same call, in another state."""
    content = read_job(job, salt=WEBHOOK)
    return sign_job({**content, **changes, "state": asdict(state)}, salt=WEBHOOK)


def _delete_file(job: str) -> None:
    try:
        delete_job(job, salt=WEBHOOK)
    except Exception:
        # What it was for is done. `anymail_later --clean` finds it.
        logger.exception("Cannot delete the file of a webhook call")


# -- Calls that were given up -----------------------------------------------------------------


def requeue(kept: KeptCall) -> None:
    """Put a call that was given up into the queue again, and delete its file.

    Raises what :func:`enqueue` does, Resolver404 and what the storage does.
    """
    job = read_kept(kept.name)
    content = read_job(job, salt=WEBHOOK)
    view_function = view_at(Call.from_json(content["call"]).path)[1]
    view = view_function.view_class(**view_function.view_initkwargs)
    state = State(**content["state"])
    job = with_state(job, state, due=time.time())
    _put(job, view.esp_name, get_engine(view.later or "inline"))
    forget(kept.name)
