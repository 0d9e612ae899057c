"""What is wrong with a project's settings for webhooks that workers handle: for a system check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.core.cache import InvalidCacheBackendError
from django.core.files.storage import InvalidStorageError

from ..later.engines import TasksEngine, get_engine
from ..later.storage import why_public
from .dedupe import HandledEvents
from .kept import CallStorage
from .later import RETRY_SECONDS


def errors(engine_name: str) -> Iterator[str]:
    """Yield why calls can't be left to workers, or others may read them."""
    try:
        engine = get_engine(engine_name)
    except Exception as error:  # noqa: BLE001 (whatever a project's class raises)
        text = str(error).partition("\nDocs: ")[0]
        yield f"Webhooks can't use the engine {engine_name!r} in WEBHOOK_LATER: {text}"
    else:
        if not engine.carries_webhooks:
            yield f"The engine {engine_name!r} in WEBHOOK_LATER has no method enqueue_webhook()."
    alias = CallStorage().alias
    try:
        reason = None if alias is None else why_public(alias)
    except InvalidStorageError:
        yield f"WEBHOOK_LATER_STORAGE is {alias!r}, but there is no such alias in STORAGES."
    else:
        if reason is not None:
            yield (
                f"WEBHOOK_LATER_STORAGE is {alias!r}, but others may read what is there: {reason}. "
                "(If they can't, silence this check.)"
            )


def warnings(engine_name: str) -> Iterator[str]:
    """Yield how calls can be lost, or handled twice."""
    with suppress(Exception):  # It's one of the errors.
        engine = get_engine(engine_name)
        if isinstance(engine, TasksEngine) and engine.is_immediate:
            yield (
                f"WEBHOOK_LATER is {engine_name!r}, but the backend in TASKS has no queue: it runs "
                "tasks at once, and hides their exceptions."
            )
    if CallStorage().alias is None:
        yield (
            "There is WEBHOOK_LATER, but no WEBHOOK_LATER_STORAGE: there is no place for webhook "
            "calls that are too large for a queue, and for those that fail for a day."
        )
    try:
        handled = HandledEvents("", "", id_is_unique=True)
    except InvalidCacheBackendError:  # That is what another check tells.
        return
    if handled.cache is None:
        yield (
            "There is WEBHOOK_LATER, but no WEBHOOK_DEDUPE_CACHE: a queue can give a call to a "
            "worker twice, or the provider can make it twice."
        )
    elif handled.seconds < RETRY_SECONDS:
        yield (
            "With WEBHOOK_LATER, WEBHOOK_DEDUPE_SECONDS must be a day at least: workers don't "
            "handle calls that are older."
        )
