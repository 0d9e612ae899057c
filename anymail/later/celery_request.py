"""How a Celery worker takes a job whose time limit was exceeded."""

from __future__ import annotations

from typing import Any

from . import celery as _  # noqa: F401 (raises the documented error without Celery)  # isort: skip

from billiard.exceptions import TimeLimitExceeded
from celery.exceptions import Reject
from celery.worker.request import Request


class JobRequest(Request):  # type: ignore[misc]
    """Gives such a job back to the broker, to be run again.

    Celery 5.4 tells it to forget the job, whatever the task's options say. Later releases do the
    same as this (celery/worker/request.py, on_failure).
    """

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        exception = exc_info.exception
        # Between processes, it is wrapped.
        if isinstance(getattr(exception, "exc", exception), TimeLimitExceeded):
            exc_info.exception = Reject("time limit", requeue=True)
        return super().on_failure(exc_info, *args, **kwargs)
