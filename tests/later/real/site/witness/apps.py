from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings

HELD_SECONDS = 600
"""For a process that waits to be killed."""


class WitnessConfig(AppConfig):
    name = "witness"

    def ready(self) -> None:
        from anymail.delivery import decisions, keyed
        from anymail.signals import inbound, post_send, pre_send, send_failed, tracking
        from anymail.webhooks import dedupe

        pre_send.connect(before_call)
        post_send.connect(after_call)
        send_failed.connect(note_failure)
        tracking.connect(note_event)
        inbound.connect(note_event)
        # No settings: nobody else is to change these.
        scale = getattr(settings, "WITNESS_SCALE", 1)
        if scale != 1:
            decisions.after_failure = partial(decisions.after_failure, scale=scale)
        keyed.GRACE = getattr(settings, "WITNESS_GRACE", keyed.GRACE)
        dedupe.LEASE_SECONDS = getattr(settings, "WITNESS_LEASE", dedupe.LEASE_SECONDS)


def before_call(message: Any, **kwargs: Any) -> None:
    note("begun", message)
    subject = message.subject or ""
    if subject.startswith("before"):
        hold(message.subject)
    if subject.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)


def after_call(message: Any, status: Any, **kwargs: Any) -> None:
    note("accepted" if status.is_accepted else "refused", message)
    if (message.subject or "").startswith("after"):
        hold(message.subject)


def note_failure(message: Any, error: Any, final: bool, **kwargs: Any) -> None:
    problem = getattr(error, "problem", None)
    note("failed", message, final=final, problem=problem and str(problem), error=str(error))


def note_event(event: Any, **kwargs: Any) -> None:
    time.sleep(getattr(settings, "WITNESS_RECEIVER_SECONDS", 0))
    if (event.event_id or "").startswith("before"):
        hold(event.event_id)
    write({"what": "event", "event_id": event.event_id, "type": event.event_type})


def hold(subject: str) -> None:
    """Wait to be killed, while there is a file that says so."""
    directory = Path(settings.WITNESS)
    if (directory / "hold").exists():
        (directory / f"held {subject}").write_text(str(os.getpid()))
        time.sleep(HELD_SECONDS)


def note(what: str, message: Any, **more: Any) -> None:
    write({"what": what, "subject": message.subject, **more})


def write(line: dict[str, Any]) -> None:
    text = json.dumps({**line, "time": time.time(), "pid": os.getpid()}) + "\n"
    # In one piece, whoever else writes
    journal = os.open(Path(settings.WITNESS, "journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, text.encode())
    os.close(journal)
