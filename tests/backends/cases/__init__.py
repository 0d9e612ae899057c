"""What differs between the backends, as data: each provider's module here has a case.

It makes the backend take part in test_contract.py.
"""

from __future__ import annotations

from ...providers import cases_in
from .base import CONSOLE, MINIMAL, TEST, BackendCase

CASES = {case.name: case for case in (MINIMAL, TEST, CONSOLE, *cases_in(__name__, BackendCase))}
