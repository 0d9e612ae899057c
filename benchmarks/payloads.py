"""What it costs to make an API call of a message, and the message's status of the answer.

All that `backend.send_messages()` does is measured, in processor time: only the network call is
replaced. The same messages are sent again and again.
"""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from .measure import Table, Variant, alternate, microseconds, milliseconds, ratio
from .project import offline_postmark, offline_sendgrid, set_up

PLAIN_MESSAGE_GOAL = 0.1e-3
PER_RECIPIENT_GOAL = 25e-6
BATCH_SIZE = 1000
MANY_RECIPIENTS = 4000
MANY_GOAL = 3
SENDGRID_CALL_SIZE = 1000
LARGE_BATCH_SIZE = 100_000
LARGE_BATCH_GOAL = 1.3
ATTACHMENT_SIZE = 100_000


def plain_message(**kwargs: Any) -> Any:
    """Return a message with two bodies, metadata, tags and a header."""
    from anymail.message import AnymailMessage

    message = AnymailMessage(
        "Your order has been shipped",
        "Hello, your order is on its way.\n" * 20,
        "Example Shop <shop@example.com>",
        ["Some Customer <customer@example.org>"],
        headers={"List-Unsubscribe": "<mailto:unsubscribe@example.com>"},
        metadata={"order": "12345", "customer": 67890},
        tags=["shipping"],
        **kwargs,
    )
    message.attach_alternative("<p>Hello, your order is on its way.</p>\n" * 20, "text/html")
    return message


def batch_message(recipients: int) -> Any:
    """Return a message with merge data and metadata for each recipient."""
    from anymail.message import AnymailMessage

    addresses = [f"customer{number}@example.org" for number in range(recipients)]
    return AnymailMessage(
        "Your order has been shipped",
        "Hello {{name}}, your order {{order}} is on its way.",
        "Example Shop <shop@example.com>",
        [f"Customer {number} <{address}>" for number, address in enumerate(addresses)],
        template_id="d-5a963add2ec84305813ff860db277d7a",
        merge_data={
            address: {"name": f"Customer {number}", "order": number}
            for number, address in enumerate(addresses)
        },
        merge_global_data={"site": "Example Shop"},
        merge_metadata={
            address: {"order": number, "campaign": "spring"}
            for number, address in enumerate(addresses)
        },
    )


@contextmanager
def all_addresses_by_the_full_parser() -> Iterator[None]:
    from anymail import addresses

    with (
        patch.object(addresses, "_parse_plain_address", lambda text: None),
        patch.object(addresses, "parse_plain_addr_spec", lambda addr_spec: None),
    ):
        yield


def with_the_full_parser(variant: Variant) -> Variant:
    def slow() -> None:
        with all_addresses_by_the_full_parser():
            variant()

    return slow


def plain_table() -> Table:
    backend, message, calls = offline_postmark(), plain_message(), 200

    def send() -> None:
        for _ in range(calls):
            backend.send_messages([message])

    def django_mime() -> None:
        for _ in range(calls):
            message.message().as_bytes()

    ours, slow, mime = "as it is", "without the fast path for addresses", "Django: MIME only"
    timings = alternate(
        {ours: send, slow: with_the_full_parser(send), mime: django_mime}, clock=time.process_time
    )
    table = Table(
        "A plain message through Postmark, without the network",
        ["", "per message", "ratio", "goal"],
        note="Text and HTML, metadata, a tag and a header. The last row is what Django needs to "
        "make MIME of the same message, as for SMTP, for comparison.",
    )
    for name, seconds in timings.items():
        goal = milliseconds(PLAIN_MESSAGE_GOAL) if name == ours else ""
        table.add(name, milliseconds(seconds / calls), ratio(seconds, timings[ours]), goal)
    return table


def batch_table() -> Table:
    backend, message = offline_sendgrid(), batch_message(BATCH_SIZE)

    def send() -> None:
        backend.send_messages([message])

    ours, slow = "as it is", "without the fast path for addresses"
    timings = alternate({ours: send, slow: with_the_full_parser(send)}, clock=time.process_time)
    table = Table(
        f"A batch to {BATCH_SIZE} recipients through SendGrid, without the network",
        ["", "per recipient", "ratio", "goal"],
        note="With merge data and metadata for each of them.",
    )
    for name, seconds in timings.items():
        goal = microseconds(PER_RECIPIENT_GOAL) if name == ours else ""
        table.add(name, microseconds(seconds / BATCH_SIZE), ratio(seconds, timings[ours]), goal)
    return table


def seconds_for_many(recipients: int = MANY_RECIPIENTS) -> dict[str, float]:
    """Return the seconds that sending a batch takes, and JSON encoding of the same API calls."""
    backend, message = offline_sendgrid(), batch_message(recipients)
    answer, bodies = backend.session.request, []

    def keep_body(**params: Any) -> Any:
        bodies.append(json.loads(params["data"]))
        return answer(**params)

    with patch.object(backend.session, "request", keep_body):
        backend.send_messages([message])
    return alternate(
        {
            "Anymail": lambda: backend.send_messages([message]),
            "json.dumps": lambda: [json.dumps(body) for body in bodies],
        },
        clock=time.process_time,
    )


def memory_of_batch(recipients: int) -> int:
    """Return the bytes that sending a batch takes beside the message and its recipients' status."""
    backend, message = offline_sendgrid(), batch_message(recipients)
    backend.send_messages([batch_message(1)])
    tracemalloc.start()
    try:
        backend.send_messages([message])
        left, peak = tracemalloc.get_traced_memory()
        return peak - left
    finally:
        tracemalloc.stop()


def many_table() -> Table:
    timings = seconds_for_many()
    baseline = timings["json.dumps"]
    one_call = memory_of_batch(SENDGRID_CALL_SIZE)
    whole = memory_of_batch(LARGE_BATCH_SIZE)
    table = Table(
        "Batches to many recipients through SendGrid, without the network",
        ["", "Anymail", "baseline", "ratio", "goal"],
        note=f"Time is per recipient, for {MANY_RECIPIENTS:,} of them; the baseline is json.dumps "
        f"of the same {-(-MANY_RECIPIENTS // SENDGRID_CALL_SIZE)} calls. Memory is the peak beside "
        f"the message itself and the statuses, for {LARGE_BATCH_SIZE:,}; the baseline is that for "
        "the recipients of one call.",
    )
    table.add(
        "time",
        microseconds(timings["Anymail"] / MANY_RECIPIENTS),
        microseconds(baseline / MANY_RECIPIENTS),
        ratio(timings["Anymail"], baseline),
        f"{MANY_GOAL:.2f} x",
    )
    table.add(
        "memory",
        f"{whole / 1e6:.2f} MB",
        f"{one_call / 1e6:.2f} MB",
        ratio(whole, one_call),
        f"{LARGE_BATCH_GOAL:.2f} x",
    )
    return table


def attachment_table() -> Table:
    backend = offline_postmark()
    content = bytes(range(256)) * (ATTACHMENT_SIZE // 256)
    message = plain_message(attachments=[("photo.jpg", content, "image/jpeg")])
    without = plain_message()

    def floor() -> None:
        json.dumps({"Content": base64.b64encode(content).decode("ascii")})

    variants: dict[str, Variant] = {
        "message with the attachment": lambda: backend.send_messages([message]),
        "the same message without it": lambda: backend.send_messages([without]),
        "one base64 and one JSON encoding": floor,
    }
    timings = alternate(variants, calls=50, clock=time.process_time)
    table = Table(
        f"An attachment of {ATTACHMENT_SIZE // 1000} kB through Postmark, without the network",
        ["", "per message", "peak memory"],
        note="Memory is in sizes of the attachment, beyond the attachment itself. The last row is "
        "the least that can be done: the first is that and the second.",
    )
    for name, seconds in timings.items():
        table.add(
            name, milliseconds(seconds), f"{peak_memory(variants[name]) / len(content):.2f} x"
        )
    return table


def peak_memory(variant: Variant) -> int:
    """Return the bytes that a call of the variant allocates at most, at any one time."""
    tracemalloc.start()
    try:
        variant()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run() -> list[Table]:
    set_up()
    return [plain_table(), batch_table(), many_table(), attachment_table()]
