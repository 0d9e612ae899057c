"""Webhook calls for workers: WEBHOOK_LATER.

The view finds out whether a call is the provider's, puts it into a queue and answers. A worker
makes a request of it again and sends the signals. What is in the queue is signed: nobody can make
up events there without the SECRET_KEY.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
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
from ..delivery.memory import Memory
from ..exceptions import AnymailConfigurationError, AnymailLaterError, Problem
from ..later.engines import Engine, as_engine, enqueue_within, get_engine, later_error
from ..later.executions import MAX_EXECUTIONS, Executions
from ..later.job import WEBHOOK, JobRefused, NewerJob, read_job, sign_job
from ..later.storage import delete_job, fetch_job, store_job
from ..signals import AnymailEvent
from ..transactions import atomic, databases_of_django
from ..urls import loaded_view
from .base import AnymailBasicAuthMixin
from .calls import Call, keep_body
from .dedupe import LEASE_SECONDS, EventInProgress, HandledEvents
from .kept import CallStorage, KeptCall, forget, keep, read_kept

if TYPE_CHECKING:
    from .base import AnymailCoreWebhookView

logger = logging.getLogger("anymail.webhooks")

INLINE_MAX = 64 * 1024
"""A call whose job has more characters is a file, which the queue has only the name of."""

COMPRESSED_MAX = 1024 * 1024
"""A call with a larger body is not compressed: the provider is waiting."""

ENQUEUE_TIMEOUT = 5.0
"""How many seconds a provider waits at most until its call is in the queue."""

RETRY_SECONDS = 24 * 60 * 60
"""For how long a call is tried again whose events can't be handled."""

AGAIN_SECONDS = 60
"""When a job is tried again that this worker can't read: it's of a later release of Anymail, or the
storage with its file can't be reached."""

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
    if isinstance(view, AnymailBasicAuthMixin):
        # Strangers' calls are not read into memory, where the secret tells.
        AnymailBasicAuthMixin.validate_request(view, request)
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
        compress=len(call.body) <= COMPRESSED_MAX,
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

    turn: int = 1
    """How often it was published, to be executed."""
    attempt: int = 1
    """How often it was tried to handle it, with this time."""
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

    Raises AnymailLaterError if the engine does not take the job again, what a storage does that
    does not take it, and if there is none, the exception that kept the call from being handled. An
    engine that runs jobs at once gets whatever is raised.
    """
    engine = as_engine(engine)
    try:
        header = read_job(job, salt=WEBHOOK)
        execution = Execution(job, header, engine)
        if execution.must_wait:
            # The engine can't wait that long.
            execution.publish(job, execution.state.at)
            return
        if execution.is_copy:
            logger.warning("A webhook call that was handled was put in again: %s", header["id"])
            return
        full_job = fetch_job(job, salt=WEBHOOK)
    except NewerJob as error:
        _put_off(job, error.content, engine, str(error))
    except JobRefused as error:
        logger.error("%s. No events are made of it.", error)  # noqa: TRY400 (it says all)
    except AnymailLaterError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever the storage raises)
        _put_off(job, header, engine, f"Its file can't be read: {type(error).__name__}")
    else:
        execution.run(full_job)


def _put_off(job: str, content: Mapping[str, Any], engine: Engine, reason: str) -> None:
    """Leave a job to a worker that can read it, until its time is over."""
    at = time.time() + AGAIN_SECONDS
    if not engine.can_wait or at > content["due"] + content["max_age"]:
        logger.error("No events are made of a webhook call. %s", reason)
        return
    logger.warning("A webhook call can't be read now, and is tried again. %s", reason)
    enqueue_within(engine, ENQUEUE_TIMEOUT, job, at=at, webhook=True)


class Execution:
    """One attempt to handle the call in a job. ``header`` is what the job has without its file."""

    def __init__(self, job: str, header: Mapping[str, Any], engine: Engine) -> None:
        self.job = job
        self.engine = engine
        self.id: str = header["id"]
        self.esp_name: str = header["esp_name"]
        self.state = State(**header.get("state", {}))
        self.expires: float = header["due"] + header["max_age"]
        self.handled = set(self.state.handled)
        self.executions = Executions(
            self.id,
            self.state.turn,
            max(0.0, self.expires - time.time()) + RETRY_SECONDS,
            Memory(HandledEvents(self.esp_name, "", id_is_unique=True).cache),
        )

    @property
    def must_wait(self) -> bool:
        """Whether it's not yet time."""
        return self.engine.can_wait and self.state.at > time.time() + 1

    @property
    def is_copy(self) -> bool:
        """Whether the job has ended, or been published again since."""
        return not self.engine.runs_at_once and self.executions.is_over

    def run(self, full_job: str) -> None:
        """See :func:`handle_webhook`."""
        call = Call.from_json(read_job(full_job, salt=WEBHOOK)["call"])
        if self.engine.runs_at_once:
            self._handle(call)
            return
        number = self.executions.begin()
        if number is None:
            return
        try:
            if time.time() > self.expires:
                self._keep(full_job, "It is older than what has been handled is remembered.")
            elif number >= MAX_EXECUTIONS:
                self._keep(full_job, f"Workers have begun with it {number} times without an end.")
            else:
                self._try(call, full_job)
        finally:
            self.executions.end()

    def _try(self, call: Call, full_job: str) -> None:
        attempt = self.state.attempt
        try:
            self._handle(call)
        except EventInProgress:
            # It is not certain that the other one succeeds.
            self._again(full_job, LEASE_SECONDS, attempt)
        except CantBeDecodedError as error:
            self._keep(full_job, "It can't be decoded.", error.__cause__)
        except Exception as error:  # noqa: BLE001 (whatever receivers raise)
            wait = backoff(attempt, first=10, factor=4)
            self._again(full_job, wait, attempt + 1, error)
        else:
            self._end()

    def _handle(self, call: Call) -> None:
        """Send the signals of the events that were not handled before.

        Adds those to ``handled`` that are. Raises what receivers do, and CantBeDecodedError.
        """
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

    def publish(self, job: str, at: float) -> None:
        """Give a job to the engine. Raises AnymailLaterError."""
        enqueue_within(self.engine, ENQUEUE_TIMEOUT, job, at=at, webhook=True)

    def _again(
        self, full_job: str, wait: float, attempt: int, error: Exception | None = None
    ) -> None:
        """Have the job executed again, if that was not tried for too long."""
        now = time.time()
        since = self.state.since or now
        if not self.engine.can_wait or now + wait > since + RETRY_SECONDS:
            self._keep(full_job, "It could not be handled.", error)
            return
        # Once as an error, so that somebody gets to know of it
        level = logging.ERROR if self.state.attempt == 1 else logging.WARNING
        if error is not None:
            text = "Handling a call of the %s webhook failed; it's tried again"
            logger.log(level, text, self.esp_name, exc_info=error)
        turn = self.state.turn + 1
        state = State(turn, attempt, since, now + wait, tuple(sorted(self.handled)))
        self.publish(with_state(self.job, state), state.at)
        # If a worker dies before this, the job is executed in both turns. If that was noted before,
        # it might be in none.
        self.executions.note_turn(turn)

    def _keep(self, full_job: str, reason: str, error: BaseException | None = None) -> None:
        """Give it up, but leave it where it can be found."""
        alias = CallStorage().alias
        if alias is None:
            logger.error("Gave up a %s webhook call. %s", self.esp_name, reason, exc_info=error)
            if self.engine.keeps_failures:
                raise error or AnymailLaterError(reason)
        else:
            state = State(handled=tuple(sorted(self.handled)))
            # A new job, when it is put into the queue again
            job = with_state(full_job, state, id=uuid.uuid4().hex)
            name = keep(job, self.id, self.esp_name, alias)
            text = "Gave up a %s webhook call, which is now the file %s in the storage %r. %s"
            logger.error(text, self.esp_name, name, alias, reason, exc_info=error)
        self._end()

    def _end(self) -> None:
        self.executions.note_end()
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
