"""The tasks for Celery, which all of the project's apps have as soon as this is imported."""

from __future__ import annotations

import logging
import time
from typing import Any

from ..exceptions import AnymailImproperlyInstalled
from .engines import get_engine, worker_function

try:
    from celery import shared_task
    from celery.exceptions import Reject
except ImportError as error:
    raise AnymailImproperlyInstalled(
        missing_package="celery", install_extra="celery", feature='the engine "celery"'
    ) from error

logger = logging.getLogger("anymail.delivery")

PAUSE = 10.0
"""How many seconds until a job is given back that could not be dealt with now."""

_OPTIONS: dict[str, Any] = {
    "bind": True,
    "ignore_result": True,
    # A job is the broker's until it has ended, whatever becomes of the worker.
    "acks_late": True,
    "reject_on_worker_lost": True,
    "Request": "anymail.later.celery_request:JobRequest",
    # The first is all that releases before 5.7 know, in place of the others.
    # https://docs.celeryq.dev/en/stable/userguide/configuration.html#task-acks-on-failure-or-timeout
    "acks_on_failure_or_timeout": False,
    "acks_on_failure": False,
    "acks_on_timeout": False,
}


def _run(task: Any, name: str, job: str) -> None:
    redelivered = bool((task.request.delivery_info or {}).get("redelivered"))
    try:
        worker_function(name)(job, engine=get_engine("celery"), redelivered=redelivered)
    except Exception as error:
        # With any exception but this, the broker would be told to forget the job
        # (celery/worker/request.py: on_failure rejects it without requeueing it).
        logger.exception("A job can't be dealt with now; it goes back to the queue")
        time.sleep(PAUSE)
        raise Reject(type(error).__name__, requeue=True) from error


@shared_task(name="anymail.deliver", **_OPTIONS)  # type: ignore[untyped-decorator]
def deliver(self: Any, job: str) -> None:
    """Send the message in a job."""
    _run(self, "deliver", job)


@shared_task(name="anymail.handle_webhook", **_OPTIONS)  # type: ignore[untyped-decorator]
def handle_webhook(self: Any, job: str) -> None:
    """Handle the call of a webhook in a job."""
    _run(self, "handle_webhook", job)
