"""How long a provider waits for the answer to a webhook call, if receivers take their time."""

from __future__ import annotations

import time
from typing import Any

from tests.later.real.processes import celery_settings
from tests.redis_server import redis_server

from .measure import Table, alternate, milliseconds, ratio
from .project import set_up
from .receiving import EVENTS, caller, receiving, tracking_call

RECEIVER_SECONDS = 0.001
GOAL = 1 / 5


def receive(event: Any, **kwargs: Any) -> None:
    time.sleep(RECEIVER_SECONDS)


def run() -> list[Table]:
    set_up()
    from celery import Celery
    from django.conf import settings
    from django.test import override_settings

    with redis_server() as redis_url, receiving("tracking", receive):
        app = Celery("site")
        app.config_from_object(celery_settings(redis_url), namespace="CELERY")
        app.set_default()
        call = caller("/sendgrid/tracking/", tracking_call(EVENTS))

        def call_later() -> None:
            with override_settings(ANYMAIL={**settings.ANYMAIL, "WEBHOOK_LATER": "celery"}):
                call()

        seconds = alternate({"inline": call, "later": call_later}, rounds=7)
        app.close()
    table = Table(
        f"Until a SendGrid call with {EVENTS} events is answered; a receiver of "
        f"{RECEIVER_SECONDS * 1000:g} ms for each event",
        ["", "the call", "to inline", "goal"],
    )
    table.add("receivers run in the view", milliseconds(seconds["inline"]), "1.00 x", "")
    table.add(
        "WEBHOOK_LATER, with Celery and Redis",
        milliseconds(seconds["later"]),
        ratio(seconds["later"], seconds["inline"]),
        f"at most {GOAL:.2f} x",
    )
    return [table]
