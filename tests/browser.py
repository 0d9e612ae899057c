"""A browser: Chromium, as Debian has it."""

from __future__ import annotations

import shutil
from pathlib import Path

from .debian import find_or_install

NAMES = ("chromium", "chromium-browser", "google-chrome")

# Without what it does for itself: looking for updates, and calling home.
OPTIONS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # which can't be had as root, and tests visit only pages of ours
]


def find() -> Path | None:
    """Return the program, or None if it isn't installed."""
    return next((Path(path) for path in map(shutil.which, NAMES) if path), None)


def chromium() -> Path:
    """Return the program. Skips the test, and says why, if it can't be had."""
    return find_or_install("Chromium", "chromium", find)
