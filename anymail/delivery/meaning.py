"""What an attempt that failed means for what comes next."""

from __future__ import annotations

from typing import get_args

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from ..datastructures import UNSET
from ..exceptions import AnymailError, Problem
from ..sending.problems import foreign_problem
from .decisions import Duplicates, Failure


def failure_of(error: Exception, *, key_lives: bool = False) -> Failure:
    """Return what is known about a failed attempt from its error.

    ``key_lives``: whether the provider still knows the message's idempotency key.
    """
    if isinstance(error, AnymailError):
        return Failure(
            error.problem,
            # What was accepted is not sent again: only the rest counts.
            may_have_been_sent=error.may_have_been_sent and not error.unsent,
            retry_after=error.retry_after,
            about_sender=error.about_sender,
            is_our_own=error.is_our_own,
            is_canceled=error.is_canceled,
            key_lives=key_lives,
        )
    if isinstance(error, ImproperlyConfigured):
        return Failure(None, is_configuration=True)
    problem = foreign_problem(error)
    is_unclear = problem is Problem.UNCLEAR
    return Failure(problem, may_have_been_sent=is_unclear, key_lives=key_lives)


def duplicates_of(message: EmailMessage, default: Duplicates) -> Duplicates:
    """Return whether a message may arrive twice, where a mailer has the given option.

    Raises ValueError if the message's attribute is something else than "avoid" or "accept".
    """
    value = getattr(message, "duplicates", None)
    if value is None or value is UNSET:
        return default
    if value not in get_args(Duplicates):
        raise ValueError(f'duplicates must be "avoid" or "accept", not {value!r:.100}')
    return value  # type: ignore[no-any-return]


def from_domain(message: EmailMessage) -> str:
    """Return the domain that a message is from, for pauses that are about that."""
    return str(message.from_email or "").rpartition("@")[2].strip(" >").lower()
