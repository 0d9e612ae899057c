"""Engines: what takes jobs to workers. Each stands for a queue that the project has.

Built in are "tasks" (Django's tasks; before Django 6.0, the package django-tasks), "celery", and
"inline", which has no queue: it runs jobs at once. Any other is the dotted path of a class of the
project's with a method ``enqueue(job, *, queue, at)``; see :class:`Engine`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from datetime import datetime, timezone
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string
from django.utils.timezone import make_naive

from ..exceptions import (
    AnymailConfigurationError,
    AnymailError,
    AnymailImproperlyInstalled,
    AnymailLaterError,
    Problem,
)
from ..sending.problems import ADVICE

WORKER_FUNCTIONS = {
    "deliver": "anymail.later.worker.deliver",
    "handle_webhook": "anymail.webhooks.later.handle_webhook",
}
"""What the tasks call, by their names: functions of (job, *, engine, redelivered)."""

MAX_HANGING = 20
"""How many calls of engines may hang at a time in one process, whose time is over."""


class Engine:
    """What takes jobs to workers.

    A project's own class can be derived from it, but needs nothing more than ``enqueue``.
    """

    can_wait = True
    """Whether a job can be run later than now, so that messages can be tried again."""

    longest_wait: float | None = None
    """In how many seconds, at the most, a job may be due that is given to it. What is due later
    than that is given to it again until then. None if there is no limit."""

    may_hang = True
    """Whether to enqueue can take forever, so that it's done in a thread, with a limit."""

    runs_at_once = False
    """Whether to enqueue is to run the job, and raises what comes of that."""

    keeps_failures = False
    """Whether a job that has raised an exception can be found there, as a failed one."""

    @property
    def carries_webhooks(self) -> bool:
        """Whether there is ``enqueue_webhook``."""
        return type(self).enqueue_webhook is not Engine.enqueue_webhook

    @property
    def database(self) -> str | None:
        """The alias of the database that has the jobs in it, if one of the project's does.

        Jobs are rolled back with what else was done in a transaction there.
        """
        return None

    def check_queue(self, queue: str | None) -> None:
        """Raise AnymailConfigurationError if there is surely no such queue."""

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        """Have ``anymail.later.worker.deliver(job, engine=...)`` called by a worker.

        In a queue of the engine's own, if one is named; at the given time (aware) or later.
        Raises any exception if that can't be done.
        """
        raise NotImplementedError

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        """Have ``anymail.webhooks.later.handle_webhook(job, engine=...)`` called by a worker."""
        raise NotImplementedError


class InlineEngine(Engine):
    """Runs jobs at once, and raises what they raise: for tests and development.

    Nothing is tried again, and ``at`` has no effect.
    """

    can_wait = False
    may_hang = False
    runs_at_once = True

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        worker_function("deliver")(job, engine=self)

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        worker_function("handle_webhook")(job, engine=self)


class TasksEngine(Engine):
    """Django's tasks, with the backend that ``tasks_backend`` names in TASKS."""

    keeps_failures = True

    def __init__(self, tasks_backend: str = "default") -> None:
        self.alias = tasks_backend
        self.backend: Any = _tasks_backend(tasks_backend)
        module = type(self.backend).__module__
        # It calls the task itself, and keeps its exception.
        self.is_immediate = module.endswith(".backends.immediate")
        # Nothing of these is in another process: not to be called in another thread.
        self.may_hang = not (module.startswith(("django.", "django_tasks.")) or self.database)
        self.can_wait = bool(self.backend.supports_defer)

    @property
    def database(self) -> str | None:
        if not type(self.backend).__module__.startswith("django_tasks_db."):
            return None
        from django.db import router

        model = import_string("django_tasks_db.models.DBTaskResult")
        return router.db_for_write(model)

    def check_queue(self, queue: str | None) -> None:
        queues = self.backend.queues
        if queue is not None and queues and queue not in queues:
            names = ", ".join(map(repr, sorted(queues)))
            raise AnymailConfigurationError(
                f"TASKS[{self.alias!r}] has no queue {queue!r}, but {names}",
                docs="api/later#engines",
            )

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._enqueue("deliver", job, queue, at)

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._enqueue("handle_webhook", job, queue, at)

    def _enqueue(self, name: str, job: str, queue: str | None, at: datetime | None) -> None:
        from ..tasks import make_task

        task = make_task(name, self.alias)
        if queue is not None:
            task = task.using(queue_name=queue)
        if at is not None:
            task = task.using(run_after=at if settings.USE_TZ else make_naive(at))
        task.enqueue(job)


def _tasks_backend(alias: str) -> Any:
    backends = tasks_package().task_backends
    if alias not in backends.settings:
        raise AnymailConfigurationError(
            f"There is no {alias!r} in the setting TASKS.", docs="api/later#later-options"
        )
    return backends[alias]


class CeleryEngine(Engine):
    """Celery, with the project's app."""

    LONGEST_WAIT = 900.0

    def __init__(self) -> None:
        import_module("anymail.later.celery")
        self._app: Any = celery_app()
        # Then it runs tasks at once, also those that are to be run later.
        self.can_wait = self.may_hang = not self._app.conf.task_always_eager

    @property
    def longest_wait(self) -> float:  # type: ignore[override]
        # A worker that has got a job keeps it until it's due. With Redis, another one gets it too
        # when visibility_timeout is over (kombu/transport/redis.py, restore_visible).
        visible = self.visibility_timeout
        return self.LONGEST_WAIT if visible is None else min(self.LONGEST_WAIT, visible / 3)

    @property
    def visibility_timeout(self) -> float | None:
        """After how many seconds Redis takes a worker for dead; None with other brokers."""
        transport = self._app.connection_for_write().transport_cls
        if transport not in ("redis", "rediss", "sentinel", "valkey"):
            return None
        return float(self.transport_options.get("visibility_timeout", 3600))

    @property
    def transport_options(self) -> Mapping[str, Any]:
        """What the app's ``broker_transport_options`` say."""
        options: Mapping[str, Any] = self._app.conf.broker_transport_options or {}
        return options

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._enqueue("anymail.deliver", job, queue, at)

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._enqueue("anymail.handle_webhook", job, queue, at)

    def _enqueue(self, task: str, job: str, queue: str | None, at: datetime | None) -> None:
        self._app.tasks[task].apply_async(
            args=[job],
            queue=queue,
            eta=at,
            # Events and logs of Celery's show the arguments of tasks otherwise.
            argsrepr="<anymail job>",
            ignore_result=True,
            # A connection that was kept can be broken though the broker is there: once more, soon.
            retry=True,
            retry_policy={
                "max_retries": 1,
                "interval_start": 0,
                "interval_step": 0.1,
                "interval_max": 0.1,
            },
        )


class ForeignEngine(Engine):
    """A class of the project's that need not know more than how to enqueue."""

    def __init__(self, engine: Any, name: str) -> None:
        self._engine = engine
        self._name = name
        for attribute in ("can_wait", "keeps_failures", "longest_wait", "may_hang", "runs_at_once"):
            setattr(self, attribute, getattr(engine, attribute, getattr(self, attribute)))
        if not callable(getattr(engine, "enqueue", None)):
            raise AnymailConfigurationError(
                f"Engine {name!r} has no method 'enqueue'.", docs="api/later#engines"
            )

    @property
    def database(self) -> str | None:
        return getattr(self._engine, "database", None)

    def enqueue(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        self._engine.enqueue(job, queue=queue, at=at)

    @property
    def carries_webhooks(self) -> bool:
        return callable(getattr(self._engine, "enqueue_webhook", None))

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        if not self.carries_webhooks:
            raise AnymailConfigurationError(
                f"Engine {self._name!r} can't carry calls of webhooks: it has no method "
                "'enqueue_webhook'.",
                docs="api/later#engines",
            )
        self._engine.enqueue_webhook(job, queue=queue, at=at)


def get_engine(name: str, **options: Any) -> Engine:
    """Return the engine of that name: "tasks", "celery", "inline", or a dotted path.

    ``tasks_backend`` is an option of "tasks". Raises AnymailConfigurationError if there is none.
    """
    if name == "tasks":
        return TasksEngine(**options)
    if name == "celery":
        return CeleryEngine()
    if name == "inline":
        return InlineEngine()
    if "." not in name:
        raise AnymailConfigurationError(
            f'There is no engine {name!r}: it must be "tasks", "celery", "inline", or the dotted '
            "path of a class.",
            docs="api/later#engines",
        )
    try:
        found = import_string(name)
    except ImportError as error:
        raise AnymailConfigurationError(
            f"Could not find engine {name!r}: {error}", docs="api/later#engines"
        ) from error
    return as_engine(found() if isinstance(found, type) else found, name)


def as_engine(engine: Any, name: str | None = None) -> Engine:
    """Return an engine, whatever a project has for one."""
    if isinstance(engine, Engine):
        return engine
    return ForeignEngine(engine, name or type(engine).__qualname__)


def worker_function(name: str) -> Any:
    """Return what one of the tasks calls."""
    return import_string(WORKER_FUNCTIONS[name])


def tasks_path(name: str) -> str:
    """Return the dotted path of one of the tasks, as Django's tasks know it."""
    return f"anymail.tasks.{name}"


def tasks_package() -> Any:
    """Return the package of Django's tasks.

    Raises AnymailConfigurationError if there can be none, AnymailImproperlyInstalled if it's not
    installed.
    """
    if django.VERSION >= (6, 0):
        return import_module("django.tasks")
    if django.VERSION < (5, 2):
        raise AnymailConfigurationError(
            'The engine "tasks" needs Django 5.2 or later. Use "celery" before that.',
            docs="api/later#engines",
        )
    try:
        return import_module("django_tasks")
    except ImportError as error:
        raise AnymailImproperlyInstalled(
            missing_package="django-tasks", install_extra="tasks", feature='the engine "tasks"'
        ) from error


def celery_app() -> Any:
    """Return the project's app of Celery.

    Celery's "current" app is that of the thread that has made it; in all others, it's an app with
    default settings, which calls a broker that isn't there (celery/_state.py, _get_current_app).
    """
    state = import_module("celery._state")
    app = state.current_app._get_current_object()
    made = [other for other in state._get_active_apps() if other.set_as_current]
    return made[0] if len(made) == 1 and not app.set_as_current else app


# -- Enqueueing ------------------------------------------------------------------------------------

_hanging = threading.BoundedSemaphore(MAX_HANGING)


def enqueue_within(
    engine: Engine,
    seconds: float,
    job: str,
    *,
    queue: str | None = None,
    at: float | None = None,
    webhook: bool = False,
) -> None:
    """Have an engine take a job, in so many seconds at the most.

    ``at`` is when it is to be run (POSIX time). What is due later than the engine can wait is given
    to it for an earlier time: whoever runs it must see to that.

    Raises AnymailLaterError: its problem is UNREACHABLE if the engine has not taken the job, and
    UNCLEAR if it may have. What an engine raises that runs jobs at once is raised as it is, and so
    are errors in the settings.
    """
    now = time.time()
    if at is not None and engine.longest_wait is not None:
        at = min(at, now + engine.longest_wait)
    due = None if at is None or at <= now else datetime.fromtimestamp(at, tz=timezone.utc)
    method = engine.enqueue_webhook if webhook else engine.enqueue

    def enqueue() -> None:
        method(job, queue=queue, at=due)

    if engine.runs_at_once:
        enqueue()
        return
    try:
        if engine.may_hang:
            _call_within(seconds, enqueue)
        else:
            enqueue()
    except (AnymailError, ImproperlyConfigured):
        raise
    except Exception as error:
        problem = Problem.UNCLEAR if _may_be_queued(error) else Problem.UNREACHABLE
        raise later_error("The queue has not taken a job", problem) from error


def later_error(text: str, problem: Problem) -> AnymailLaterError:
    """Return an AnymailLaterError with a problem."""
    error = AnymailLaterError(text)
    error.problem = problem
    error.may_have_been_sent = problem is Problem.UNCLEAR
    error.advice = ADVICE[problem]
    return error


_LOST = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)
"""Errors of connections that there were."""


def _may_be_queued(error: BaseException) -> bool:
    """Tell whether an engine may have got a job, of which it has only not told.

    That is after a time-out, or if a connection was lost. (Engines also try again themselves: any
    of the attempts may have been heard.)
    """
    chain = _chain(error)
    for cause, before in zip(chain, [*chain[1:], None], strict=True):
        # Those of redis-py and others have only the name in common.
        name = type(cause).__name__
        if isinstance(cause, (TimeoutError, *_LOST)) or "timeout" in name.lower():
            return True
        if isinstance(cause, OSError) or not name.endswith("ConnectionError"):
            continue
        if not isinstance(before, OSError):  # which says that there was no connection
            return True
    return False


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error, and those that it came of."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _call_within(seconds: float, function: Callable[[], None]) -> None:
    """Call a function in a thread, and wait so long for it. Raises what it raises.

    A thread that hangs can't be ended. So there are not to be many of them.
    """
    if not _hanging.acquire(blocking=False):
        raise later_error("The queue does not answer", Problem.UNREACHABLE)
    errors: list[Exception] = []

    def call() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 (raised where it's waited for)
            errors.append(error)
        finally:
            _hanging.release()
            connections.close_all()  # this thread's

    context = copy_context()
    try:
        thread = threading.Thread(
            target=context.run, args=(call,), name="anymail-enqueue", daemon=True
        )
        thread.start()
    except RuntimeError as error:  # There can't be another thread.
        _hanging.release()
        raise later_error("The queue can't be called", Problem.UNREACHABLE) from error
    thread.join(seconds)
    if thread.is_alive():
        raise later_error(f"The queue has not answered within {seconds:g} seconds", Problem.UNCLEAR)
    if errors:
        raise errors[0]
