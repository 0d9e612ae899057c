"""Sending with asyncio: with ``await``, and many messages at a time without threads.

It takes the extra ``async``. See :doc:`/sending/asyncio` in the docs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage, EmailMultiAlternatives

from .delivery.mailers import DEFAULT, mailers
from .sending.awaitable import DEFAULT_CONCURRENCY, asend_with

__all__ = ["asend_mail", "asend_messages"]

_known_aliases: set[str] = set()
"""Those whose backends have been imported."""


async def asend_messages(
    messages: Iterable[EmailMessage],
    using: str | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> int:
    """Send messages. Returns how many were sent.

    ``using`` is the alias of a mailer, by default that of "default"; ``concurrency`` how many calls
    of the provider's API can be under way at a time. Otherwise it's like ``send_messages()`` with
    SEND_CONCURRENCY: an error keeps messages from being started, those that are under way are
    finished, and the first error in the order of the messages is raised, with ``sent_count``.

    If the task is canceled, calls that are under way are given up. Each message's
    ``anymail_error`` tells what became of it.
    """
    return await asend_with(await _connection(using), messages, concurrency)


async def asend_mail(
    subject: str,
    message: str,
    from_email: str | None,
    recipient_list: Sequence[str],
    *,
    html_message: str | None = None,
    using: str | None = None,
) -> int:
    """Send one message, as Django's ``send_mail()`` does. Returns how many were sent: 1, or 0.

    ``using`` is the alias of a mailer.
    """
    mail = EmailMultiAlternatives(subject, message, from_email, recipient_list)
    if html_message:
        mail.attach_alternative(html_message, "text/html")
    return await send_one(mail, using)


async def send_one(message: EmailMessage, using: str | None = None) -> int:
    """Send a message as its ``send()`` does. Returns how many were sent: 1, or 0.

    ``using`` is the alias of a mailer, by default that of the connection which the message was made
    with, or else "default".
    """
    if not message.recipients():
        return 0
    given = vars(message).get("_connection") or vars(message).get("connection")
    connection = given if given is not None and using is None else await _connection(using)
    return await asend_with(connection, [message])


async def _connection(using: str | None) -> Any:
    alias = DEFAULT if using is None else using
    if alias in _known_aliases:
        return mailers[alias]
    # Modules may have to be imported, which takes a while.
    connection = await sync_to_async(mailers.__getitem__)(alias)
    _known_aliases.add(alias)
    return connection
