"""Database transactions around the receivers of webhooks' events.

What a receiver has done counts when it's committed. With ATOMIC_REQUESTS, that is after the view
has returned, which is too late to tell which events were handled, or to have an event's failure
concern only that event. So with WEBHOOK_DEDUPE_CACHE or WEBHOOK_ISOLATE_EVENTS, webhook views are
exempt from ATOMIC_REQUESTS, and open the transactions themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase

from .conf import get_anymail_setting

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class _NonAtomicRequests(set[str]):
    """The databases that a view is exempt from ATOMIC_REQUESTS for.

    To Django, that's all of them while the view opens the transactions. What it iterates over is
    what the project has exempted it from, with ``transaction.non_atomic_requests``.
    """

    def __contains__(self, alias: object) -> bool:
        return _are_up_to_views() or super().__contains__(alias)


def _are_up_to_views() -> bool:
    return bool(
        get_anymail_setting("webhook_dedupe_cache", default=None) is not None
        or get_anymail_setting("webhook_isolate_events", default=False)
    )


def mark_as_webhook(view: View) -> View:
    """Return a view function with the attributes that Django looks for before it's called.

    Providers know no CSRF tokens and can't log in; authenticating calls is what protects webhooks.
    """
    view.csrf_exempt = True  # type: ignore[attr-defined]
    view.login_required = False  # type: ignore[attr-defined]
    view._non_atomic_requests = _NonAtomicRequests()  # type: ignore[attr-defined]
    return view


def databases_to_begin(request: HttpRequest | None) -> list[str]:
    """Return the databases in whose transactions the request's view is to run receivers.

    They are those with ATOMIC_REQUESTS, unless Django itself has begun transactions.
    """
    match = request.resolver_match if request is not None else None
    view = match.func if match is not None else None
    exempt = getattr(view, "_non_atomic_requests", None)
    if not isinstance(exempt, _NonAtomicRequests) or not _are_up_to_views():
        return []
    return [
        alias
        for alias, database in connections.settings.items()
        if database["ATOMIC_REQUESTS"] and alias not in list(exempt)
    ]


def databases_of_django(view: object) -> list[str]:
    """Return the databases in whose transactions Django calls a view function."""
    exempt = getattr(view, "_non_atomic_requests", ())
    return [
        alias
        for alias, database in connections.settings.items()
        if database["ATOMIC_REQUESTS"] and alias not in exempt
    ]


def atomic(databases: Iterable[str]) -> ExitStack:
    """Return a context manager with a transaction in each of the databases."""
    with ExitStack() as stack:
        for alias in databases:
            stack.enter_context(transaction.atomic(using=alias))
        return stack.pop_all()


def is_in_transaction() -> bool:
    """Tell whether what was done up to now can still be rolled back."""
    return bool(open_transactions())


def open_transactions() -> list[str]:
    """Return the databases in which what is done now can still be rolled back."""
    return [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
    ]


def call_when_committed(
    function: Callable[[], object],
    databases: Iterable[str] | None = None,
    *,
    robust: bool = False,
) -> None:
    """Call a function when what was done up to now can't be rolled back any more.

    In some databases; by default, in all that have transactions. That is at once without
    transactions. It's never called if one of them is rolled back, or if what the project has given
    to ``transaction.on_commit`` before raises an exception. ``robust`` says that an exception of
    the function's is only logged if it's called later.
    """
    uncommitted = set(open_transactions() if databases is None else databases)

    def call_if_last(alias: str) -> None:
        uncommitted.discard(alias)
        if not uncommitted:
            function()

    if not uncommitted:
        function()
    for alias in list(uncommitted):
        transaction.on_commit(partial(call_if_last, alias), using=alias, robust=robust)
