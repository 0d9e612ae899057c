"""Compares each provider's API calls for common messages with the golden files."""

from __future__ import annotations

import json
from typing import Any

from django.test import SimpleTestCase

from ..backends.cases.base import BackendCase
from ..utils import skip_without
from .messages import MESSAGES
from .requests import DIRECTORY, golden_file, outcome_of, provider_cases

REWRITE = "python -m tests.golden"


class GoldenFilesTests(SimpleTestCase):
    def test_there_are_no_others(self):
        expected = {golden_file(case, name) for case in provider_cases() for name in MESSAGES}
        self.assertEqual(set(DIRECTORY.glob("*/*.json")), expected, f"see {REWRITE}")


class GoldenTestCase(SimpleTestCase):
    maxDiff = None

    def check(self, case: BackendCase, name: str) -> None:
        expected = json.loads(golden_file(case, name).read_text())
        # Through JSON and back: tuples become lists.
        outcome = json.loads(json.dumps(outcome_of(case, MESSAGES[name])))
        self.assertEqual(outcome, expected, f"If this is right: {REWRITE} {case.name}")


def _make_test(case: BackendCase, name: str) -> Any:
    def test(self: GoldenTestCase) -> None:
        self.check(case, name)

    return test


def _make_test_case(case: BackendCase) -> type[GoldenTestCase]:
    tests = {f"test_{name}": _make_test(case, name) for name in MESSAGES}
    class_name = "".join(map(str.capitalize, case.name.split("_"))) + "GoldenTests"
    test_case = type(class_name, (GoldenTestCase,), {**tests, "__module__": __name__})
    return skip_without(*case.packages)(test_case)


# For example: runtests.py tests.golden.test_golden.MailgunGoldenTests.test_plain
for _case in provider_cases():
    _test_case = _make_test_case(_case)
    globals()[_test_case.__name__] = _test_case
del _test_case
