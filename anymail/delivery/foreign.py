"""Giving messages to any email backend, Anymail's or not, on journeys."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from email.utils import make_msgid
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import DNS_NAME, EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SMTPBackend

from ..addresses import parse_address_list
from ..exceptions import AnymailAPIError, AnymailCancelSend, AnymailError, Problem
from ..message import AnymailRecipientStatus
from ..sending.failures import report_failure
from ..sending.journey import Journey, clear_outcome, on_journey
from ..sending.problems import ADVICE, foreign_problem, smtp_problem
from ..sending.waiting import in_thread
from ..signals import post_send, pre_send


def run_with(backend: BaseEmailBackend, journeys: Iterable[Journey]) -> None:
    """Take journeys to their ends with a backend, which is open."""
    run = getattr(backend, "run_journeys", None)
    if run is not None:
        run(journeys)
        return
    for journey in journeys:
        in_thread(_send, backend, journey)


def fail_to_open(journey: Journey, error: Exception, strategy: BaseEmailBackend) -> None:
    """Report that a mailer's backend could not be made or opened."""
    journey.is_before_call = True
    error = _opening_error(error, journey)
    report_failure(journey, error, backend=strategy, esp_name="Anymail")


def _opening_error(error: Exception, journey: Journey) -> Exception:
    """Return an AnymailAPIError for what open() raises, if it's known what that means."""
    if isinstance(error, (AnymailError, ImproperlyConfigured)):
        return error
    if isinstance(error, OSError):  # smtplib's exceptions, too
        problem: Problem | None = smtp_problem(error, opening=True)
    else:
        problem = foreign_problem(error)
    if problem is None:
        return error
    if problem is Problem.UNCLEAR:  # It can't be: nothing was to be sent yet.
        problem = Problem.UNREACHABLE
    text = f"Cannot open a connection of mailer {journey.mailer!r}"
    return _api_error(text, journey.message, problem, error)


def _send(backend: Any, journey: Journey) -> None:
    """Do for a message what Anymail's backends do by themselves: signals and status."""
    journey.start()
    journey.is_before_call = True
    message: Any = journey.message
    esp_name = _esp_name(backend)
    sender = type(backend)
    try:
        clear_outcome(message)
        try:
            pre_send.send(sender, message=message, esp_name=esp_name)
        except AnymailCancelSend:
            journey.succeed(False)
            return
        if not message.recipients():
            journey.succeed(False)
            return
        headers = {name.lower(): value for name, value in message.extra_headers.items()}
        if not journey.begin():
            return
        message_id = headers.get("message-id")
        if message_id is None:
            message_id = message.extra_headers["Message-ID"] = make_msgid(domain=str(DNS_NAME))
        try:
            backend.open()  # again, after an error
        except Exception as error:
            raise _opening_error(error, journey) from error
        journey.is_before_call = False
        with on_journey(journey):
            count = backend.send_messages([message])
    except Exception as error:  # noqa: BLE001 (whatever it raises)
        with suppress(Exception):
            backend.close()  # The connection may be broken. It is opened again when needed.
        if journey.error is error:  # told by another backend that this one has given it to
            return
        error = _with_problem(error, backend, message)
        report_failure(journey, error, backend=backend, esp_name=esp_name)
        return
    if journey.sent is not None or journey.error is not None:
        return  # Another backend has done all that, which this one has given it to.
    # Some backends return None, although they should return a number.
    sent = count is None or count > 0
    if sent:
        status = AnymailRecipientStatus(message_id=message_id, status="sent")
        message.anymail_status.set_recipient_status(
            {email.addr_spec: status for email in parse_address_list(message.recipients())}
        )
        results = post_send.send_robust(
            sender,
            message=message,
            status=message.anymail_status,
            esp_name=esp_name,
            mailer=journey.mailer,
            duration=journey.duration,
            original=journey.original,
        )
        for _receiver, result in results:
            if isinstance(result, Exception):
                journey.receivers_error = journey.receivers_error or result
    journey.succeed(sent)


def _with_problem(error: Exception, backend: Any, message: EmailMessage) -> Exception:
    """Return an AnymailAPIError for what a backend raises, if it's known what that means."""
    if isinstance(error, AnymailError):
        return error
    if isinstance(backend, SMTPBackend) and isinstance(error, OSError):
        problem: Problem | None = smtp_problem(error)
    else:
        problem = foreign_problem(error)
    if problem is None:
        return error
    return _api_error("The message was not sent", message, problem, error)


def _api_error(
    text: str, message: EmailMessage, problem: Problem, cause: Exception
) -> AnymailAPIError:
    error = AnymailAPIError(text, email_message=message)
    error.problem = problem
    error.may_have_been_sent = problem is Problem.UNCLEAR
    error.advice = ADVICE[problem]
    error.__cause__ = cause
    return error


def _esp_name(backend: Any) -> str:
    if backend is None or isinstance(backend, SMTPBackend):
        return "SMTP"
    name = getattr(backend, "esp_name", None)
    return str(name) if name else type(backend).__module__.rpartition(".")[2]
