"""What a large message takes, in each format, is bounded by the size of the call."""

from __future__ import annotations

from django.test import SimpleTestCase, tag

from benchmarks.receiving_memory import FORMATS, GOAL, peak_of

SIZE = 6_000_000
PIECES = 1_000_000
"""What is decoded piece by piece takes some more, whatever the size."""


class MemoryTests(SimpleTestCase):
    def assert_bounded(self, names: list[str]) -> None:
        for name in names:
            with self.subTest(name):
                call = FORMATS[name](SIZE)
                self.assertLessEqual(peak_of(call), GOAL * call.size + PIECES)

    def test_some_formats(self) -> None:
        self.assert_bounded(["Mailgun, parsed", "Postmark, raw", "Resend, raw"])

    @tag("exhaustive")
    def test_all_formats(self) -> None:
        self.assert_bounded(list(FORMATS))
