"""SEND_CONCURRENCY: many messages, to a provider that takes its time."""

from __future__ import annotations

import atexit
from functools import cache, partial

from .measure import Curve, Table, alternate, milliseconds, ratio, seconds_per_call
from .payloads import plain_message
from .project import set_up
from .server import LoopbackServer

MESSAGES = 64
SERVER_SECONDS = 0.03
IN_FLIGHT = 16
RATIO_GOAL = 1 / 10
MESSAGES_PER_CALL_IN_FLIGHT = 10


@cache
def running_server() -> LoopbackServer:
    set_up()
    server = LoopbackServer(SERVER_SECONDS).__enter__()
    atexit.register(server.__exit__)
    return server


def send(messages: int, in_flight: int) -> None:
    from anymail.backends.postmark import EmailBackend

    backend = EmailBackend(api_url=running_server().url, send_concurrency=in_flight)
    assert backend.send_messages([plain_message() for _ in range(messages)]) == messages


def send_in_flight(in_flight: int) -> float:
    """Each of so many calls in flight sends as many messages: that should take the same time."""
    return seconds_per_call(lambda: send(in_flight * MESSAGES_PER_CALL_IN_FLIGHT, in_flight))


CURVES = [
    Curve(
        f"{MESSAGES_PER_CALL_IN_FLIGHT} messages for each API call in flight",
        "calls in flight",
        (1, 2, 4, 8, 16, 32, 64),
        send_in_flight,
    )
]


def run() -> list[Table]:
    counts = (1, 2, 4, 8, IN_FLIGHT, 32, 64)
    running_server()
    seconds = alternate({str(count): partial(send, MESSAGES, count) for count in counts}, rounds=3)
    table = Table(
        f"{MESSAGES} messages, {SERVER_SECONDS * 1000:g} ms each at the provider",
        ["SEND_CONCURRENCY", "all messages", "to 1", "goal"],
    )
    for name in seconds:
        table.add(
            name,
            milliseconds(seconds[name]),
            ratio(seconds[name], seconds["1"]),
            f"{RATIO_GOAL:.2f} x" if name == str(IN_FLIGHT) else "",
        )
    return [table]
