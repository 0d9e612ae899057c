from __future__ import annotations

from django.test import SimpleTestCase

from .feature_matrix import GROUPS, PATH, as_rst, build_matrix
from .utils import skip_without


@skip_without("boto3")  # for Amazon SES's backend
class FeatureMatrixTests(SimpleTestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.matrix = build_matrix()

    def test_docs_are_up_to_date(self):
        # Run `python -m tests.feature_matrix` to write them anew.
        self.assertEqual(PATH.read_text(encoding="utf-8"), as_rst(self.matrix))

    def test_all_features_are_shown(self):
        shown = [feature for group in GROUPS.values() for feature in group]
        self.assertEqual(sorted(shown), sorted(self.matrix))
