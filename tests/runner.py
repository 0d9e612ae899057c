from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
from typing import Any
from unittest import TestResult, TestSuite, TextTestResult

from django.test.runner import DiscoverRunner

LIVE_TAG = "live"
SEPARATE_TAGS = {"soak", "real"}
LIVE_KEY_PREFIX = "ANYMAIL_TEST_"

HANGING_SECONDS = 600
"""After so many seconds of one test, it's printed where each thread is."""


class PassCounter(TextTestResult):
    """unittest counts what fails and what is skipped, but not what passes."""

    passed = 0

    def startTest(self, test):
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, HANGING_SECONDS)
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.passed += 1


def _is_of_a_tunnel(warning: Warning) -> bool:
    # Before Python 3.11, http.client does not close the answer of a proxy that refuses a tunnel:
    # the garbage collector does, sooner or later, with the socket before or after it.
    is_closed_but_read = isinstance(warning, ResourceWarning) and "[closed]" in str(warning)
    return is_closed_but_read and sys.version_info < (3, 11)


class TestRunner(DiscoverRunner):
    """Django's test runner, which also

    - runs the whole suite if no label is given,
    - leaves out the tests tagged "live" unless the environment has keys for them,
    - leaves out the tests tagged "soak", which take long, and those tagged "real", which need
      servers and processes, unless it's called with `--tag soak` or `--tag real`,
    - fails if nothing passed or failed: an empty run proves nothing,
    - fails if a warning was raised where it could not reach a test, such as in a destructor, where
      Python only prints it,
    - prints where each thread is, if a test takes forever,
    - ends its output with the line `N passed, N failed, N skipped`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not any(name.startswith(LIVE_KEY_PREFIX) for name in os.environ):
            self.exclude_tags.add(LIVE_TAG)
        self.exclude_tags |= SEPARATE_TAGS - self.tags

    def get_resultclass(self) -> type[PassCounter]:
        special = super().get_resultclass()  # for --debug-sql or --pdb
        return type("Result", (PassCounter, special), {}) if special else PassCounter

    def run_tests(self, test_labels: list[str], **kwargs: Any) -> int:
        self.stray_warnings: list[Warning] = []
        print_unraisable = sys.unraisablehook

        def keep_warning(unraisable: Any) -> None:
            warning = unraisable.exc_value
            if isinstance(warning, Warning) and not _is_of_a_tunnel(warning):
                self.stray_warnings.append(warning)
            print_unraisable(unraisable)

        sys.unraisablehook = keep_warning
        if hasattr(signal, "SIGALRM"):
            faulthandler.register(signal.SIGALRM, file=sys.__stderr__)
        try:
            problems = super().run_tests(test_labels or ["tests"], **kwargs)
        finally:
            sys.unraisablehook = print_unraisable
        print(self.summary, flush=True)
        return problems

    def suite_result(self, suite: TestSuite, result: TestResult, **kwargs: Any) -> int:
        gc.collect()  # destroys what was left open
        unsuccessful = [test for test, _ in result.failures + result.errors]
        unsuccessful += result.unexpectedSuccesses
        # A test with several failed subtests is one failed test.
        failed = len({getattr(test, "test_case", test).id() for test in unsuccessful})
        problems = failed
        if result.passed + failed == 0:
            print("No tests were run.", file=sys.stderr)
            problems += 1
        if self.stray_warnings:
            print(f"{len(self.stray_warnings)} warnings outside of tests (above)", file=sys.stderr)
            problems += len(self.stray_warnings)
        self.summary = f"{result.passed} passed, {failed} failed"
        if result.skipped:
            self.summary += f", {len(result.skipped)} skipped"
        return problems
