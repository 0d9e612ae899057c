"""SEND_BATCH_SIZE: different messages that share calls of the provider's API."""

from __future__ import annotations

import atexit
import time
from functools import cache, partial
from typing import Any

from .measure import Table, alternate, milliseconds, ratio, seconds_per_call
from .payloads import plain_message
from .project import set_up
from .server import LoopbackServer

MESSAGES = 500
SERVER_SECONDS = 0.03
TIME_RATIO_GOAL = 1 / 50
CPU_RATIO_GOAL = 1 / 4


@cache
def _server(delay: float) -> LoopbackServer:
    set_up()
    server = LoopbackServer(delay).__enter__()
    atexit.register(server.__exit__)
    return server


@cache
def _messages(count: int) -> list[Any]:
    messages = [plain_message() for _ in range(count)]
    for number, message in enumerate(messages):
        message.metadata["order"] = str(number)
    return messages


def send(messages: int, delay: float, **options: Any) -> None:
    """Send different messages with Postmark's API, which takes so many seconds for a call."""
    from anymail.backends.postmark import EmailBackend

    backend = EmailBackend(api_url=_server(delay).url, **options)
    assert backend.send_messages(_messages(messages)) == messages


def seconds_to_send(messages: int, **options: Any) -> float:
    """Return how long it takes to send messages, if each call takes SERVER_SECONDS."""
    _server(SERVER_SECONDS)
    return seconds_per_call(partial(send, messages, SERVER_SECONDS, **options))


def cpu_seconds(
    messages: int, variants: dict[str, dict[str, Any]], rounds: int
) -> dict[str, float]:
    """Return the processor time of this process for sending messages, by the variants' names."""
    _server(0)
    return alternate(
        {name: partial(send, messages, 0, **options) for name, options in variants.items()},
        rounds=rounds,
        clock=time.process_time,
    )


def run() -> list[Table]:
    variants: dict[str, dict[str, Any]] = {
        "one after the other": {},
        "SEND_CONCURRENCY = 16": {"send_concurrency": 16},
        "SEND_BATCH_SIZE = 50": {"send_batch_size": 50},
        "SEND_BATCH_SIZE = 500": {"send_batch_size": 500},
    }
    seconds = {name: seconds_to_send(MESSAGES, **options) for name, options in variants.items()}
    cpu = cpu_seconds(MESSAGES, variants, rounds=5)
    table = Table(
        f"{MESSAGES} different messages, {SERVER_SECONDS * 1000:g} ms for a call at the provider",
        ["", "all messages", "to the first", "goal", "CPU per message", "to the first", "goal"],
    )
    first = next(iter(variants))
    for name in variants:
        is_goal = name == "SEND_BATCH_SIZE = 500"
        table.add(
            name,
            milliseconds(seconds[name]),
            ratio(seconds[name], seconds[first]),
            f"{TIME_RATIO_GOAL:.2f} x" if is_goal else "",
            milliseconds(cpu[name] / MESSAGES),
            ratio(cpu[name], cpu[first]),
            f"{CPU_RATIO_GOAL:.2f} x" if is_goal else "",
        )
    return [table]
