"""One test for each fixture pair in tests/fixtures (see README.rst there)."""

from __future__ import annotations

import re
from typing import Any

from django.test import SimpleTestCase

from ..utils import skip_without
from .cases import CASES
from .harness import Fixture, FixtureTestCase, find_fixtures


class FixtureFilesTests(SimpleTestCase):
    def test_all_belong_to_a_provider(self):
        known = {(case.esp, view.kind) for case in CASES.values() for view in case.views}
        found = {(fixture.esp, fixture.kind) for fixture in find_fixtures()}
        self.assertLessEqual(found, known, "in tests/fixtures, but not in tests/webhooks/cases")

    def test_all_views_have_fixtures(self):
        for case in CASES.values():
            for view in case.views:
                with self.subTest(esp=case.esp, kind=view.kind):
                    self.assertTrue(find_fixtures(case.esp, view.kind))


def _make_test(fixture: Fixture) -> Any:
    def test(self: FixtureTestCase) -> None:
        self.check_fixture(CASES[fixture.esp], fixture)

    return test


def make_test_cases(base: type[FixtureTestCase], module: str) -> dict[str, type[FixtureTestCase]]:
    """Return a test case for each provider, by its name, with a test for each fixture."""
    return {
        test_case.__name__: test_case for test_case in (_make(base, module, esp) for esp in CASES)
    }


def _make(base: type[FixtureTestCase], module: str, esp: str) -> type[FixtureTestCase]:
    tests = {}
    for fixture in find_fixtures(esp):
        name = re.sub(r"\W", "_", fixture.name)
        tests[f"test_{fixture.kind}_{name}"] = _make_test(fixture)
    class_name = "".join(map(str.capitalize, esp.split("_"))) + "FixtureTests"
    test_case = type(class_name, (base,), {**tests, "__module__": module})
    return skip_without(*CASES[esp].packages)(test_case)


# For example: runtests.py tests.webhooks.test_fixtures.MailgunFixtureTests
globals().update(make_test_cases(FixtureTestCase, __name__))
