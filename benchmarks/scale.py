"""How costs grow with the number of recipients and the like: it should be linear, or better.

Other topics add curves of their own: their modules have a list `CURVES`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from .measure import Curve, Table, seconds_per_call
from .payloads import batch_message, plain_message
from .plot import duration
from .project import offline_postmark, offline_sendgrid

TOPICS_WITH_CURVES = ("receiving", "concurrency")

ROUNDS = 5
SLOPE_GOAL = 1.1


def send_to(recipients: int) -> float:
    backend, message = offline_sendgrid(), batch_message(recipients)
    return seconds_per_call(
        lambda: backend.send_messages([message]),
        calls=max(1, 500 // recipients),
        clock=time.process_time,
    )


def send_attachment(kilobytes: int) -> float:
    backend = offline_postmark()
    content = bytes(range(250)) * 4 * kilobytes
    message = plain_message(attachments=[("photo.jpg", content, "image/jpeg")])
    return seconds_per_call(
        lambda: backend.send_messages([message]),
        calls=max(1, 500 // kilobytes),
        clock=time.process_time,
    )


CURVES = [
    Curve(
        "Recipients of one batch (SendGrid)",
        "recipients",
        (1, 10, 100, 1000, 10_000, 100_000),
        send_to,
    ),
    Curve(
        "Size of an attachment (Postmark)",
        "kB",
        (1, 10, 100, 1000, 10_000, 25_000),
        send_attachment,
    ),
]


def all_curves() -> list[Curve]:
    curves = list(CURVES)
    for topic in TOPICS_WITH_CURVES:
        if find_spec(f"benchmarks.{topic}"):
            curves += import_module(f"benchmarks.{topic}").CURVES
    return curves


def measure(curve: Curve) -> list[float]:
    """Return the median seconds for each of the sizes, which take turns."""
    rounds = [[curve.measure(size) for size in curve.sizes] for _ in range(ROUNDS + 1)]
    return [statistics.median(values) for values in zip(*rounds[1:], strict=True)]


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return by which power of the size the time grows: 1 is linear."""
    x = [math.log(size) for size in sizes]
    y = [math.log(value) for value in seconds]
    return statistics.linear_regression(x, y).slope


def run() -> list[Table]:
    table = Table(
        "How costs grow",
        ["", "sizes", "time for the first", "for the last", "slope", "goal"],
        note="The slope is the power of the size with which time grows, among the larger half of "
        "the sizes: 1 is linear, and less is better.",
    )
    for curve in all_curves():
        seconds = measure(curve)
        # Among small sizes, what is the same for all of them hides how the rest grows.
        larger = slice(len(curve.sizes) // 2 - 1, None)
        table.add(
            curve.title,
            f"{curve.sizes[0]:,} to {curve.sizes[-1]:,} {curve.unit}",
            duration(seconds[0]),
            duration(seconds[-1]),
            f"{slope(curve.sizes[larger], seconds[larger]):.2f}",
            f"{SLOPE_GOAL}",
        )
    return [table]
