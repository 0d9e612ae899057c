"""A figure of how costs grow: one small plot per curve, logarithmic in both directions, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .measure import Curve

# One plot, and what is around its axes. The figure has a background of its own, so that it can be
# read on a light and on a dark page.
WIDTH, HEIGHT = 360, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 44
COLUMNS = 2

STYLE = """
    text { font: 12px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 14px; font-weight: 600 }
    .x { text-anchor: middle }
    .y { text-anchor: end }
    .value { font-weight: 600; fill: #0550ae }
    .grid { stroke: #e1e4e8 }
    .linear { stroke: #8c959f; stroke-dasharray: 4 4 }
    .measured { stroke: #0969da; stroke-width: 2; fill: none }
    circle { fill: #0969da }
"""


def figure(curves: Sequence[tuple[Curve, Sequence[float]]]) -> str:
    """Return the SVG for curves, each with the seconds for its sizes."""
    columns = min(COLUMNS, len(curves))
    width, height = columns * WIDTH, math.ceil(len(curves) / columns) * HEIGHT
    plots = []
    for number, (curve, seconds) in enumerate(curves):
        row, column = divmod(number, columns)
        plots += [
            f'<g transform="translate({column * WIDTH} {row * HEIGHT})">',
            *_plot(curve, seconds),
            "</g>",
        ]
    size = f'width="{width}" height="{height}"'
    view_box = f'viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {view_box}>',
        "<title>How costs grow with sizes</title>",
        f"<style>{STYLE}</style>",
        f'<rect {size} rx="8" fill="#ffffff"/>',
        *plots,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _plot(curve: Curve, seconds: Sequence[float]) -> list[str]:
    x_axis = _Axis(curve.sizes, LEFT, WIDTH - RIGHT)
    y_axis = _Axis(seconds, HEIGHT - BOTTOM, TOP)
    points = [(x_axis.at(x), y_axis.at(y)) for x, y in zip(curve.sizes, seconds, strict=True)]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = [_text("title", LEFT, 24, curve.title)]
    for decade in x_axis.decades:
        x = x_axis.at(decade)
        lines.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        lines.append(_text("x", x, bottom + 16, _number(decade)))
    for decade in y_axis.decades:
        y = y_axis.at(decade)
        lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        lines.append(_text("y", LEFT - 8, y + 4, duration(decade)))
    path = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
    last_x, last_y = points[-1]
    grows = seconds[-1] > seconds[0]
    if grows:
        lines.append(_linear(points, x_axis, y_axis))
    return [
        *lines,
        _text("x", (LEFT + right) / 2, HEIGHT - 8, curve.unit),
        f'<path class="measured" d="M{path}"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points),
        _text("value y", last_x - 10, last_y + (4 if grows else 20), duration(seconds[-1])),
    ]


def _text(classes: str, x: float, y: float, text: str) -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


class _Axis:
    """A logarithmic axis, from a full power of ten to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self.start, self.end = start, end
        self.per_decade = (end - start) / (self.high - self.low)
        self.decades = [10.0**power for power in range(self.low, self.high + 1)]

    def at(self, value: float) -> float:
        """Return where a value is, in pixels."""
        return self.start + (math.log10(value) - self.low) * self.per_decade


def _linear(points: Sequence[tuple[float, float]], x_axis: _Axis, y_axis: _Axis) -> str:
    """Return the line of linear growth that ends in the last point."""
    x, y = points[-1]
    decades = min((x - points[0][0]) / x_axis.per_decade, (y - y_axis.start) / y_axis.per_decade)
    start_x, start_y = x - decades * x_axis.per_decade, y - decades * y_axis.per_decade
    return f'<path class="linear" d="M{start_x:.1f} {start_y:.1f}L{x:.1f} {y:.1f}"/>'


def _number(value: float) -> str:
    return f"{value / 1000:.0f}k" if value >= 1000 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with at most one decimal."""
    value, unit = seconds * 1e6, "µs"
    for larger in ("ms", "s"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.2g} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
