"""The tasks that workers run. Their autodiscovery looks for a module of this name.

Nothing optional is imported here, and no task is made, before it's asked for: ``deliver`` and
``handle_webhook`` are tasks of Django's, made when they are first used. (A task that is made when a
module is imported keeps projects from starting whose TASKS don't have its backend or queue.)
"""

from __future__ import annotations

import sys
from typing import Any

NAMES = ("deliver", "handle_webhook")
"""The tasks."""


def _run(name: str, context: Any, job: str) -> None:
    from .later.engines import get_engine, worker_function

    engine = get_engine("tasks", tasks_backend=context.task_result.backend)
    worker_function(name)(job, engine=engine, redelivered=context.attempt > 1)


def _deliver(context: Any, job: str) -> None:
    """Send the message in a job."""
    _run("deliver", context, job)


def _handle_webhook(context: Any, job: str) -> None:
    """Handle the call of a webhook in a job."""
    _run("handle_webhook", context, job)


# Tasks are known by where their functions are. There, __getattr__ must make them.
for _name, _function in zip(NAMES, (_deliver, _handle_webhook), strict=True):
    _function.__name__ = _function.__qualname__ = _name


def make_task(name: str, tasks_backend: str | None = None) -> Any:
    """Return one of the tasks, for a backend of TASKS.

    By default, that is one which a mailer has as its option ``tasks_backend``, or else "default",
    or else the first one. It is for a queue that the backend has.
    """
    from .later.engines import tasks_package

    package = tasks_package()
    alias = tasks_backend or _find_backend(package)
    queues = package.task_backends[alias].queues
    queue = package.DEFAULT_TASK_QUEUE_NAME
    if queues and queue not in queues:
        queue = min(queues)
    function = _deliver if name == "deliver" else _handle_webhook
    return package.task(backend=alias, queue_name=queue, takes_context=True)(function)


def _find_backend(package: Any) -> str:
    from .conf import mailers_setting

    options = [config.get("OPTIONS", {}) for config in mailers_setting().values()]
    wanted = [str(item["tasks_backend"]) for item in options if "tasks_backend" in item]
    default: str = package.DEFAULT_TASK_BACKEND_ALIAS
    known: list[str] = list(package.task_backends.settings)
    # If there is none at all, the error is about the default.
    return next((alias for alias in (*wanted, default, *known) if alias in known), default)


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return make_task(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if sys.modules.get("celery") is not None:
    # A Celery worker's autodiscovery has imported this. It discards jobs of tasks that it doesn't
    # know. (Where Celery is only installed, it isn't imported.)
    from .later import celery  # noqa: F401
