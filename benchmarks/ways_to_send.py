"""The ways to send many different messages, to a provider that takes its time for each call."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .measure import Table, ratio
from .payloads import plain_message
from .plot import bar_chart, duration
from .project import set_up
from .server import LoopbackServer

MESSAGES = 500
SERVER_SECONDS = 0.03
PLAIN = "requests, one after the other"


def messages() -> list[Any]:
    result = [plain_message() for _ in range(MESSAGES)]
    for number, message in enumerate(result):
        message.metadata["order"] = str(number)
    return result


def ways(url: str) -> dict[str, Callable[[], Any]]:
    """Return functions that send the messages, by what to call it."""
    import requests

    from anymail.backends.postmark import EmailBackend

    to_send = messages()
    bodies = [json.dumps({"TextBody": message.body}).encode() for message in to_send]

    def with_requests() -> None:
        with requests.Session() as session:
            headers = {"Content-Type": "application/json", "X-Postmark-Server-Token": "token"}
            for body in bodies:
                session.post(f"{url}email", data=body, headers=headers).json()

    def send(**options: Any) -> None:
        assert EmailBackend(api_url=url, **options).send_messages(to_send) == MESSAGES

    def send_with_asyncio() -> None:
        backend = EmailBackend(api_url=url)
        assert asyncio.run(backend.asend_messages(to_send, concurrency=100)) == MESSAGES

    return {
        PLAIN: with_requests,
        "send_messages()": send,
        "SEND_CONCURRENCY = 10": partial(send, send_concurrency=10),
        "asend_messages(), 100 in flight": send_with_asyncio,
        "SEND_BATCH_SIZE = 500": partial(send, send_batch_size=500),
    }


def measure(rounds: int = 1) -> dict[str, float]:
    """Return the median seconds of each way, connections included."""
    set_up()
    seconds: dict[str, list[float]] = {}
    with LoopbackServer(SERVER_SECONDS) as server:
        for _ in range(rounds):
            for name, way in ways(server.url).items():
                started = time.perf_counter()
                way()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def chart(seconds: dict[str, float]) -> str:
    """Return the chart for the documentation, as SVG."""
    title = f"{MESSAGES} different messages, {SERVER_SECONDS * 1000:g} ms for each call of the API"
    return bar_chart(title, seconds)


def run() -> list[Table]:
    seconds = measure(rounds=3)
    table = Table(
        f"{MESSAGES} different messages, {SERVER_SECONDS * 1000:g} ms for a call at the provider",
        ["", "all messages", "to requests"],
    )
    for name, value in seconds.items():
        table.add(name, duration(value), ratio(value, seconds[PLAIN]))
    return [table]
