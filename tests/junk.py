"""Copies of JSON data, each with one part of it missing or replaced by something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

JUNK: list[Any] = [
    None,
    True,
    -1.5,
    10**400,
    float("inf"),
    "",
    "junk",
    "a\r\nb: c\0",
    "\ud800",
    [],
    ["junk", None],
    {"junk": [1]},
]


def json_mutations(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield copies of JSON data, each with one value in it missing or replaced."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{where}.{key}"
            rest = {k: v for k, v in value.items() if k != key}
            yield f"no {here}", rest
            for junk in JUNK:
                yield f"{here}: {junk!r:.50}", {**value, key: junk}
            for description, changed in json_mutations(item, here):
                yield description, {**value, key: changed}
    elif isinstance(value, list):
        # The first two will do: the others are alike.
        for i, item in enumerate(value[:2]):
            here = f"{where}[{i}]"
            for junk in JUNK:
                yield f"{here}: {junk!r:.50}", [*value[:i], junk, *value[i + 1 :]]
            for description, changed in json_mutations(item, here):
                yield description, [*value[:i], changed, *value[i + 1 :]]
    elif isinstance(value, str):
        for description, changed in nested_json_mutations(value):
            yield f"{where} as JSON: {description}", changed


def nested_json_mutations(text: str) -> Iterator[tuple[str, str]]:
    """Yield changed versions of text that is JSON itself."""
    if text[:1] in ("{", "["):
        try:
            data = json.loads(text)
        except ValueError:
            return
        for description, changed in json_mutations(data):
            yield description, json.dumps(changed)
