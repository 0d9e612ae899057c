"""A process that does what a site does: queues messages, and runs management commands.

``python -m tests.later.real.client`` reads a JSON object from each line of standard input, and
writes one: what came of it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "later_settings"
    if importlib.util.find_spec("celery") is not None:
        import celery_app  # noqa: F401  (as a project's __init__.py does)
    import django

    django.setup()
    for line in sys.stdin:
        command = json.loads(line)
        name = command.pop("do")
        print(json.dumps(COMMANDS[name](**command)), flush=True)


def send(messages: list[dict[str, Any]], mailer: str = "default") -> list[Any]:
    """Send messages, each given by what it has. Returns [status, message id or error] of each."""
    from ...utils import make_message

    return [_send(make_message(**attributes), mailer) for attributes in messages]


def send_golden(names: list[str], mailer: str) -> list[Any]:
    """Send messages with golden files."""
    from ...golden.messages import MESSAGES

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the backends are in the golden files
        return [_send(_with_own_key(MESSAGES[name](), mailer), mailer) for name in names]


def _with_own_key(message: Any, mailer: str) -> Any:
    """Return a message; its key, if it has one, is for its provider only."""
    if isinstance(key := getattr(message, "idempotency_key", None), str):
        message.idempotency_key = f"{key}-{mailer.removeprefix('later-')}"
    return message


def _send(message: Any, mailer: str) -> list[str | None]:
    from anymail import mailers
    from anymail.exceptions import AnymailError

    try:
        mailers[mailer].send_messages([message])
    except (AnymailError, ValueError) as error:
        return [type(error).__name__, str(error).partition("\n")[0]]
    status = message.anymail_status
    return [next(iter(status.status), None), str(status.message_id)]


def manage(arguments: list[str]) -> str:
    """Run a management command. Returns what it prints."""
    from django.core.management import call_command

    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def control(command: str, queue: str) -> None:
    """Have Celery's workers do something about a queue, and wait until they have."""
    import celery_app

    getattr(celery_app.app.control, command)(queue, reply=True)


def count_tasks() -> int:
    """Return how many jobs django-tasks-db has that have not ended."""
    from django_tasks_db.models import DBTaskResult

    return int(DBTaskResult.objects.filter(finished_at=None).count())


def post(path: str, file: str, content_type: str, authorization: str) -> int:
    """Make a webhook call, whose body is in a file. Returns the answer's status."""
    from django.test import Client

    response = Client().generic(
        "POST",
        path,
        Path(file).read_bytes(),
        content_type=content_type,
        headers={"Authorization": authorization},
    )
    return response.status_code


def publish(jobs: list[str], task: str) -> None:
    """Put jobs into the queue as somebody does who can write to the broker."""
    import celery_app

    for job in jobs:
        celery_app.app.send_task(task, [job])


COMMANDS: dict[str, Any] = {
    "send": send,
    "send_golden": send_golden,
    "manage": manage,
    "control": control,
    "count_tasks": count_tasks,
    "post": post,
    "publish": publish,
}

if __name__ == "__main__":
    main()
