"""What common tasks cost with Anymail, and what others need for the same."""

from __future__ import annotations

import time

from . import calls, imports, payloads, receiving, ways_to_send
from .measure import Table, alternate
from .plot import duration
from .project import offline_postmark, set_up

PLAIN_ROUNDS = 7
MB = 1e6


def run() -> list[Table]:
    set_up()
    table = Table(
        "What it costs",
        ["", "with Anymail", "without", "", "ratio"],
        note="CPU is the processor time of this process; where nothing else is said, it's time. "
        "Ratios say more than seconds: others on this machine slow down both.",
    )

    def add(what: str, ours: float, theirs: float, with_what: str) -> None:
        table.add(what, duration(ours), duration(theirs), with_what, f"{ours / theirs:.2f} x")

    def add_memory(what: str, ours: float, theirs: float, with_what: str) -> None:
        sizes = (f"{size / MB:.1f} MB" for size in (ours, theirs))
        table.add(what, *sizes, with_what, f"{ours / theirs:.2f} x")

    cpu = calls.seconds_per_message()
    add("Send a message: CPU", cpu[calls.SEND], cpu[calls.REQUESTS], "requests, one session")
    add(
        "Send one of several messages: CPU",
        cpu[calls.SEND_MESSAGES],
        cpu[calls.REQUESTS],
        "requests, one session",
    )
    seconds = ways_to_send.measure()
    count = ways_to_send.MESSAGES
    plain = seconds.pop(ways_to_send.PLAIN)
    for name, value in seconds.items():
        add(f"Send {count} different messages: {name}", value, plain, ways_to_send.PLAIN)
    ours, mime = plain_message_cpu()
    add("Make the API call of a message: CPU", ours, mime, "Django making MIME")
    many = payloads.seconds_for_many()
    add(
        f"Send a batch to {payloads.MANY_RECIPIENTS:,} recipients, without the network: CPU",
        many["Anymail"],
        many["json.dumps"],
        "json.dumps of the same",
    )
    events = list(receiving.tracking_seconds().values())
    add(
        f"Receive a webhook call with {receiving.EVENTS} events: CPU",
        events[2],
        events[0],
        "json.loads of the same",
    )
    parsing = receiving.parsing()
    ours, memory = parsing[receiving.OUR_PARSER]
    theirs, their_memory = parsing[receiving.PLAIN_PARSER]
    size = f"{receiving.MESSAGE_SIZE / MB:.0f} MB"
    add(f"Read a received message of {size}: CPU", ours, theirs, "email.parser")
    add_memory(f"Read a received message of {size}: memory", memory, their_memory, "email.parser")
    urls, _ = imports.measure([*imports.APP, "anymail.urls"])
    requests_seconds, _ = imports.measure(["requests"])
    add("Import anymail.urls: CPU", urls, requests_seconds, "importing requests")
    return [table]


def plain_message_cpu() -> tuple[float, float]:
    """Return the processor's seconds for a message, and for making MIME of it."""
    backend, message = offline_postmark(), payloads.plain_message()
    seconds = alternate(
        {
            "ours": lambda: backend.send_messages([message]),
            "mime": lambda: message.message().as_bytes(),
        },
        rounds=PLAIN_ROUNDS,
        calls=200,
        clock=time.process_time,
    )
    return seconds["ours"], seconds["mime"]
