"""What is wrong with a project's settings for delivering later: for system checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core import mail
from django.core.files.storage import InvalidStorageError

from ..conf import as_list
from ..delivery.mailers import mailers
from ..delivery.memory import Memory
from ..exceptions import AnymailConfigurationError, AnymailUnsupportedFeature
from ..message import AnymailMessage
from .engines import CeleryEngine, TasksEngine
from .storage import why_public

MIN_VISIBILITY_TIMEOUT = 15 * 60
"""A Redis broker must not take workers for dead sooner than that (seconds)."""


def errors(backend: Any) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong, what helps) for a mailer that delivers later: it can't be used so."""
    try:
        engine = backend.engine
    except Exception as error:  # noqa: BLE001 (whatever a project's class, or Django, raises)
        yield (
            f"its engine can't be used: {_text(error)}",
            "Correct the engine, or install what it needs.",
        )
    else:
        try:
            engine.check_queue(backend.queue)
        except AnymailConfigurationError as error:
            yield _text(error), "Add it to QUEUES there, or name another one."
    if backend.storage is not None:
        yield from _wrong_storage(backend.storage, trusts=backend.storage_is_private)


def _text(error: Exception) -> str:
    return str(error).partition("\nDocs: ")[0].rstrip(".") or type(error).__name__


def _wrong_storage(alias: str, *, trusts: bool) -> Iterator[tuple[str, str]]:
    try:
        reason = None if trusts else why_public(alias)
    except InvalidStorageError:
        yield f"'storage' is {alias!r}, but there is no such alias in STORAGES", "Add it there."
        return
    if reason:
        yield (
            f"'storage' is {alias!r}, but others may read what is there: {reason}",
            "Use a storage of its own; or, if nobody else can read it, 'storage_is_private': True.",
        )


def warnings(backend: Any, *, debug: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (what can go wrong, what helps) for a mailer that delivers later.

    With ``debug``, only what is bad in development too.
    """
    try:
        engine = backend.engine
    except Exception:  # noqa: BLE001 (told as an error)
        return
    if isinstance(engine, TasksEngine) and engine.is_immediate:
        if not hasattr(mail, "outbox"):  # a test run
            text = (
                f"TASKS[{engine.alias!r}] runs tasks at once, and hides that they fail: nothing is "
                "tried again, and nobody is told that a message was not sent"
            )
            yield text, 'Use a backend that has workers; or, in development, the engine "inline".'
    elif not (debug or engine.runs_at_once):
        yield from _not_shared()
        if backend.settle is not None:
            yield from _cannot_settle(backend.mailer)
        if isinstance(engine, CeleryEngine):
            yield from _redis(engine)


def _not_shared() -> Iterator[tuple[str, str]]:
    if not Memory().is_shared:
        text = (
            "a worker can't know what others have sent: when one of them dies, its messages are "
            "not tried again, since it is unclear if they were sent"
        )
        yield text, "Set DELIVERY_CACHE to a cache that all processes share, such as one in Redis."


def _cannot_settle(mailer: str) -> Iterator[tuple[str, str]]:
    names = [name for name in _leaves(mailer) if not _has_metadata(name)]
    if names:
        text = (
            "'settle' only makes messages wait whose outcome is unclear with "
            f"{', '.join(map(repr, names))}: there are no events with metadata"
        )
        yield text, "Leave 'settle' away, if these are all that are used."


def _leaves(mailer: str, before: Sequence[str] = ()) -> Iterator[str]:
    """Yield the aliases of the mailers that one sends with in the end."""
    if mailer in before:  # a circle, which another check tells
        return
    try:
        names = as_list(getattr(mailers[mailer], "mailers", ()))
    except Exception:  # noqa: BLE001 (another check tells)
        return
    if not names:
        yield mailer
    for name in names:
        yield from _leaves(name, [*before, mailer])


def _has_metadata(mailer: str) -> bool:
    backend: Any = mailers[mailer]
    message = AnymailMessage("-", "-", "from@example.com", ["to@example.com"], metadata={"a": "b"})
    try:
        backend.build_message_payload(message, {})
    except (AnymailUnsupportedFeature, AttributeError):
        return False
    return True


def _redis(engine: CeleryEngine) -> Iterator[tuple[str, str]]:
    visible = engine.visibility_timeout
    if visible is None:
        return
    names = ("socket_timeout", "socket_connect_timeout")
    if missing := [name for name in names if not engine.transport_options.get(name)]:
        text = (
            "threads that send, and workers, hang when Redis does not answer: Celery's "
            f"broker_transport_options has no {' and no '.join(missing)}"
        )
        yield text, "Set them to a few seconds there."
    if visible <= MIN_VISIBILITY_TIMEOUT:
        text = (
            f"after {visible:g} seconds, Redis takes a worker for dead that is busy or waiting, "
            "and another one begins with the same message"
        )
        hint = "Set visibility_timeout in Celery's broker_transport_options to more than {:g}."
        yield text, hint.format(MIN_VISIBILITY_TIMEOUT)
