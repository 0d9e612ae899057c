"""What happens when a message can't be sent: its error says why, and receivers are told."""

from __future__ import annotations

import logging
from typing import Any

from django.core.mail import EmailMessage

from ..addresses import parse_address_list
from ..exceptions import AnymailAPIError, AnymailError, AnymailInvalidAddress, Problem
from ..signals import send_failed
from .journey import Journey, Verdict
from .problems import ADVICE, Meaning, meaning_of
from .telling import is_telling, telling
from .waiting import send_signal

logger = logging.getLogger("anymail.delivery")


def report_failure(journey: Journey, error: Exception, *, backend: Any, esp_name: str) -> Verdict:
    """Let an error say what it means, decide what comes next, and tell receivers of send_failed.

    ``backend`` is what was to send the message of the journey.
    """
    if isinstance(error, AnymailError):
        describe(error, journey.message, backend)
    journey.message.anymail_error = error  # type: ignore[attr-defined]
    verdict = journey.fail(error)
    tell_failure(journey, error, verdict, sender=type(backend), esp_name=esp_name)
    return verdict


def busy_error(text: str, seconds: float, **context: Any) -> AnymailAPIError:
    """Return an error that says to come back in so many seconds, without the provider's asking."""
    error = AnymailAPIError(text, **context)
    error.problem = Problem.BUSY
    error.retry_after = seconds
    error.advice = ADVICE[Problem.BUSY]
    error.is_our_own = True
    return error


def describe(error: AnymailError, message: EmailMessage, backend: Any) -> None:
    """Give an error its problem, unless it has one, and what is known about recipients."""
    if error.problem is None:
        meaning = meaning_of(error, backend) or Meaning(Problem.MESSAGE)
        error.problem = meaning.problem
        error.about_sender = meaning.about_sender
        error.retry_after = meaning.retry_after
        error.advice = ADVICE[meaning.problem]
        error.may_have_been_sent = meaning.problem is Problem.UNCLEAR
    status = getattr(message, "anymail_status", None)
    if status is not None and status.may_be_accepted:
        error.unsent = _not_accepted(message, status)
        error.may_have_been_sent = True


def _not_accepted(message: EmailMessage, status: Any) -> list[str]:
    try:
        everyone = [email.addr_spec for email in parse_address_list(message.recipients())]
    except AnymailInvalidAddress:
        everyone = list(status.recipients)
    # Of those whose status is "unknown", nobody can say.
    not_refused = {
        addr_spec for addr_spec, recipient in status.recipients.items() if not recipient.is_refused
    }
    return [addr_spec for addr_spec in everyone if addr_spec not in not_refused]


def tell_failure(
    journey: Journey, error: Exception, verdict: Verdict, *, sender: type, esp_name: str
) -> None:
    """Send send_failed. What receivers raise is logged."""
    if is_telling():
        logger.debug(
            "A message failed (%s) that was sent while a failure was reported",
            getattr(error, "problem", None) or type(error).__name__,
        )
        return
    with telling():
        send_signal(
            send_failed,
            sender,
            robust=True,  # What receivers raise is logged.
            message=journey.message,
            error=error,
            esp_name=esp_name,
            mailer=journey.mailer,
            attempt=journey.attempt,
            will_retry=verdict.will_retry,
            final=verdict.final,
            duration=journey.duration,
            original=journey.original,
        )
