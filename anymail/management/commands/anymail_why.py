"""``manage.py anymail_why``: what became of a message with an idempotency key."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import get_current_timezone

from ...delivery.ledger import Entry, Ledger


class Command(BaseCommand):
    """Tells what is known of a message: its state, the attempts to send it, their problems."""

    help = (
        "Tells what became of a message that has an idempotency key: who was asked to send it, and "
        "what the answers were."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "message", help="its key, the id of its job, or the provider's id for it"
        )

    def handle(self, *args: Any, message: str, **options: Any) -> None:
        ledger = Ledger()
        if ledger.memory.delivery_cache is None:
            raise CommandError(
                "There is no DELIVERY_CACHE in your settings: each process remembers for itself "
                "what it has sent, and this one has sent nothing."
            )
        entry = ledger.find(message)
        if entry is None:
            raise CommandError(
                f"Nothing is known of a message {message!r}. Either no worker has begun to send "
                "it, or it was not sent with an idempotency key, or that is too long ago "
                "(SEND_DEDUPE_SECONDS), or it was surely not accepted: then nothing is remembered."
            )
        for line in describe(entry, time.time()):
            self.stdout.write(line)


def describe(entry: Entry, now: float) -> Iterator[str]:
    """Yield lines that tell what is known of a message."""
    yield _state(entry, now)
    for number, (mailer, problem) in enumerate(entry.attempts, 1):
        yield f"  Attempt {number}, {_name(mailer, entry)}: {problem or 'no problem'}"
    if not entry.attempts and (entry.mailer or entry.esp_name):
        yield f"  It was last given to {_name(entry.mailer, entry)}."
    statuses = Counter(str(status) for status, _ in entry.statuses.values())
    if statuses:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        yield f"  Recipients: {counts}"
    message_ids = {str(message_id) for _, message_id in entry.statuses.values()} - {"None"}
    yield from (f"  Message id: {message_id}" for message_id in sorted(message_ids))


def _name(mailer: str | None, entry: Entry) -> str:
    return f"mailer {mailer!r}" if mailer is not None else str(entry.esp_name)


def _state(entry: Entry, now: float) -> str:
    if entry.state == "sent":
        return "It was sent."
    if entry.state == "claimed" and entry.until > now:
        return f"Somebody is sending it. They have until {_time(entry.until)}."
    if entry.state == "claimed":
        return (
            "Somebody was sending it, and never said what became of it (they had until "
            f"{_time(entry.until)}). So it is unclear if it was sent."
        )
    return "It is unclear if it was sent. The provider's log may tell."


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, get_current_timezone()).strftime("%H:%M:%S %Z")
