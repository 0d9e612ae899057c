"""Plain text for terminals: headings and aligned tables, in any encoding."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO

_GAP = "  "


class Report:
    """Writes to a text stream.

    What its encoding doesn't have is replaced by question marks, one for each character: output
    never fails, and tables stay aligned.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def line(self, text: str = "") -> None:
        """Write a line."""
        print(self._printable(text), file=self._stream, flush=True)

    def heading(self, text: str) -> None:
        """Write a heading, set apart from what comes before it."""
        self.line()
        self.line(text)
        self.line("=" * display_width(self._printable(text)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Write a table. Columns are as wide as what is in them."""
        rows = list(rows)
        if not rows:
            self.line(f"{_GAP}nothing")
            return
        table = [[self._printable(_one_line(str(cell))) for cell in row] for row in rows]
        widths = [
            max(display_width(cell) for cell in column)
            for column in zip(columns, *table, strict=True)
        ]
        rule = ["-" * width for width in widths]
        for row in (list(columns), rule, *table):
            padded = [
                cell + " " * (width - display_width(cell))
                for cell, width in zip(row, widths, strict=True)
            ]
            self.line((_GAP + _GAP.join(padded)).rstrip())

    def _printable(self, text: str) -> str:
        return text.encode(self._encoding, "replace").decode(self._encoding)


def shorten(text: str, width: int) -> str:
    """Return text with its middle replaced by dots, if it is longer than width characters."""
    if len(text) <= width:
        return text
    tail = (width - 2) // 2
    return f"{text[: width - 2 - tail]}..{text[-tail:]}"


def clip(text: str, width: int) -> str:
    """Return text with its end replaced by dots, if it is longer than width characters."""
    return text if len(text) <= width else f"{text[: width - 2]}.."


def display_width(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("F", "W") else 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
