"""Timing variants against each other, and showing what came out."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Variant = Callable[[], Any]
Clock = Callable[[], float]


def alternate(
    variants: dict[str, Variant],
    *,
    rounds: int = 7,
    calls: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of one call of each variant.

    Variants take turns: each round times `calls` calls of every one of them. There is one round
    more, at the start, which does not count. For what only computes, time.process_time as the
    clock leaves out what other programs do at the same time.
    """
    timings: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            seconds = seconds_per_call(variant, calls, clock)
            if number:
                timings[name].append(seconds)
    return {name: statistics.median(values) for name, values in timings.items()}


def seconds_per_call(variant: Variant, calls: int = 1, clock: Clock = time.perf_counter) -> float:
    gc.collect()
    gc.disable()
    try:
        start = clock()
        for _ in range(calls):
            variant()
        return (clock() - start) / calls
    finally:
        gc.enable()


@dataclass
class Curve:
    """How the cost of something grows with its size."""

    title: str
    unit: str
    """What the sizes count, in the plural."""
    sizes: Sequence[int]
    """In ascending order."""
    measure: Callable[[int], float]
    """Takes a size, prepares what there is to prepare, and returns the seconds that it took."""


@dataclass
class Table:
    """One table of results: a title, the columns' headings, and rows of text."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def text(self) -> str:
        """Return the table for a terminal."""
        lines = [self.columns, *self.rows]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        return "\n".join(
            [
                self.title,
                "=" * len(self.title),
                *(_aligned(cells, widths) for cells in lines),
                *([self.note] if self.note else []),
                "",
            ]
        )


def _aligned(cells: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if number else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def ratio(seconds: float, baseline: float) -> str:
    return f"{seconds / baseline:.2f} x"
