"""What differs between the providers' webhooks, as data: each provider's module here has a case.

It makes the provider take part in test_contract.py. Its fixture pairs (see
tests/fixtures/README.rst) are picked up by test_fixtures.py.
"""

from __future__ import annotations

from ...providers import cases_in
from .base import WebhookCase

CASES = {case.esp: case for case in cases_in(__name__, WebhookCase)}
