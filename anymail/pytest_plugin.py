"""The plugin for pytest, which is found by its entry point. It imports nothing before it's used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Outbox


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker with the outbox's arguments."""
    config.addinivalue_line(
        "markers", "anymail(as_if=..., mailers=...): arguments of the fixture anymail_outbox"
    )


@pytest.fixture
def anymail_outbox(request: pytest.FixtureRequest) -> Iterator[Outbox]:
    """Return an outbox for what the test sends: see anymail.testing."""
    from .testing import outbox

    marker = request.node.get_closest_marker("anymail")
    with outbox(**(marker.kwargs if marker else {})) as box:
        yield box
