from __future__ import annotations

from io import BytesIO, StringIO, TextIOWrapper

from django.test import SimpleTestCase

from anymail.sandbox.report import Report, clip, display_width, shorten


class ReportTests(SimpleTestCase):
    def table(self, rows: list[tuple[object, ...]], stream: StringIO | None = None) -> list[str]:
        stream = stream or StringIO()
        Report(stream).table(("name", "n"), rows)
        return stream.getvalue().split("\n")

    def test_table(self):
        self.assertEqual(
            self.table([("Žofie", 1), ("a\tb\n c", "two"), ("", None)]),
            ["  name   n", "  -----  ----", "  Žofie  1", "  a b c  two", "         None", ""],
        )

    def test_width_of_characters(self):
        # wide, combining, zero-width
        rows = [("日本", "|"), ("Z\u030cofie", "|"), ("a\u200db", "|")]
        self.assertEqual(
            self.table(rows),
            ["  name   n", "  -----  -", "  日本   |", "  Z\u030cofie  |", "  a\u200db     |", ""],
        )
        self.assertEqual([display_width(str(row[0])) for row in rows], [4, 5, 2])

    def test_empty_table(self):
        self.assertEqual(self.table([]), ["  nothing", ""])

    def test_characters_that_the_encoding_does_not_have(self):
        stream = TextIOWrapper(BytesIO(), encoding="ascii", newline="\n")
        report = Report(stream)
        report.heading("日本")
        report.table(("name", "n"), [("日本", 1), ("Žofie", 2)])
        report.line("\ud800")
        stream.seek(0)
        self.assertEqual(
            stream.read().split("\n"),
            ["", "??", "==", "  name   n", "  -----  -", "  ??     1", "  ?ofie  2", "?", ""],
        )

    def test_shorten(self):
        for text, width, expected in (
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "ab..fg"),
            ("abcdefgh", 7, "abc..gh"),
        ):
            self.assertEqual(shorten(text, width), expected)

    def test_clip(self):
        for text, width, expected in (("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcd..")):
            self.assertEqual(clip(text, width), expected)
