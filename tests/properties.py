"""Tests of properties, which should hold for whatever examples Hypothesis makes up."""

from __future__ import annotations

import os
from typing import Any

import hypothesis

EXAMPLES_FACTOR = float(os.environ.get("ANYMAIL_EXAMPLES_FACTOR", "1"))
"""From the environment: how many times as many examples as usual there are to be."""


def examples(count: int, **options: Any) -> hypothesis.settings:
    """Return Hypothesis's settings for so many examples, which are the same in each run."""
    max_examples = max(1, round(count * EXAMPLES_FACTOR))
    return hypothesis.settings(
        derandomize=True, deadline=None, max_examples=max_examples, **options
    )
