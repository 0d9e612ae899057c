"""Giving single messages to the mailer that delivers later."""

from __future__ import annotations

from datetime import date, datetime

from django.core.mail import EmailMessage


def send_later(
    message: EmailMessage,
    using: str | None = None,
    at: datetime | date | float | None = None,
    queue: str | None = None,
) -> int:
    """Have a worker send a message. Returns 1, or 0 for a message without recipients.

    ``using`` is the alias of the mailer that the worker sends with, or of one that delivers later
    (``anymail.backends.later.EmailBackend``): by default, "default" if that does so, or else the
    only one that does. Its options say how. ``at`` is when the worker begins: a datetime, a date or
    a POSIX timestamp, as ``send_at`` can be, which is for the provider. ``queue`` is one of the
    engine's, in place of the option.

    Raises what ``send()`` with such a mailer raises: AnymailLaterError, if the queue does not take
    the message; AnymailConfigurationError, if there is no mailer that delivers later.
    """
    # Imported when needed: everybody who makes messages imports this.
    from ..backends.later import EmailBackend

    connection = EmailBackend.for_mailer(using)
    if isinstance(connection, EmailBackend):
        return connection.send_messages_later([message], at=at, queue=queue)
    return connection.send_messages([message])
