"""A bar chart, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

# The chart has a background of its own, so that it can be read on a light and on a dark page.
WIDTH, ROW, TOP, LEFT, RIGHT = 720, 36, 48, 250, 90

STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 15px; font-weight: 600 }
    .name { text-anchor: end }
    .value { font-weight: 600; fill: #0550ae }
    .bar { fill: #0969da }
"""


def bar_chart(title: str, seconds: Mapping[str, float]) -> str:
    """Return the SVG for times, by what takes them."""
    height = TOP + ROW * len(seconds) + 12
    scale = (WIDTH - LEFT - RIGHT) / max(seconds.values())
    size = f'width="{WIDTH}" height="{height}"'
    view_box = f'viewBox="0 0 {WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {view_box}>',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect {size} rx="8" fill="#ffffff"/>',
        _text("title", 16, 28, title),
    ]
    for number, (name, value) in enumerate(seconds.items()):
        y = TOP + ROW * number
        width = max(value * scale, 2)
        lines += [
            _text("name", LEFT - 10, y + 20, name),
            f'<rect class="bar" x="{LEFT}" y="{y + 6}" width="{width:.1f}" height="20" rx="3"/>',
            _text("value", LEFT + width + 8, y + 20, duration(value)),
        ]
    return "\n".join([*lines, "</svg>", ""])


def _text(classes: str, x: float, y: float, text: str) -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with at most one decimal."""
    value, unit = seconds * 1e6, "µs"
    for larger in ("ms", "s"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.2g} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
