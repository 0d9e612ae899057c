from __future__ import annotations

from django.test import SimpleTestCase

from anymail.providers import PROVIDERS

from .feature_matrix import GROUPS, NO, PATH, YES, as_rst, build_matrix
from .utils import skip_without

# Y: yes; N: no; 1: one tag; T: only with a template. In the order of PROVIDERS.
EXPECTED = {
    #                     SES BRE MSD MG MJ MTR MAN POL PMK RES SCW SG SP UGO
    "envelope_sender":   "Y   N   N   Y  Y  N   Y   Y   N   N   N   N  Y  N",
    "merge_headers":     "T   Y   N   Y  Y  Y   N   N   Y   Y   N   Y  Y  Y",
    "metadata":          "Y   Y   N   Y  Y  Y   Y   N   Y   Y   Y   Y  Y  Y",
    "merge_metadata":    "T   Y   N   Y  Y  Y   Y   N   Y   Y   N   Y  Y  Y",
    "send_at":           "N   Y   Y   Y  N  N   Y   N   N   Y   N   Y  Y  Y",
    "tags":              "Y   Y   Y   Y  1  1   Y   1   1   Y   Y   Y  1  Y",
    "track_clicks":      "N   N   Y   Y  Y  N   Y   N   Y   N   N   Y  Y  Y",
    "track_opens":       "N   N   Y   Y  Y  N   Y   N   Y   N   N   Y  Y  Y",
    "AMP email":         "Y   N   N   Y  N  N   N   N   N   N   N   Y  Y  Y",
    "template_id":       "Y   Y   Y   Y  Y  Y   Y   N   Y   N   N   Y  Y  Y",
    "merge_data":        "T   Y   Y   Y  Y  Y   Y   N   T   N   N   Y  Y  Y",
    "merge_global_data": "T   Y   Y   Y  Y  Y   Y   N   T   N   N   Y  Y  Y",
    "tracking webhook":  "Y   Y   Y   Y  Y  Y   Y   Y   Y   Y   Y   Y  Y  Y",
    "inbound webhook":   "Y   Y   Y   Y  Y  Y   Y   Y   Y   Y   N   Y  Y  N",
}  # fmt: skip

WORDS = {"Y": YES, "N": NO, "1": "one tag", "T": "with template"}


@skip_without("boto3")  # for Amazon SES's backend
class FeatureMatrixTests(SimpleTestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.matrix = build_matrix()

    def test_features(self):
        expected = {
            feature: dict(
                zip(
                    PROVIDERS,
                    (WORDS[cell] for cell in cells.split()),
                    strict=True,
                )
            )
            for feature, cells in EXPECTED.items()
        }
        self.assertEqual(self.matrix, expected)

    def test_docs_are_up_to_date(self):
        # Run `python -m tests.feature_matrix` to write them anew.
        self.assertEqual(PATH.read_text(encoding="utf-8"), as_rst(self.matrix))

    def test_all_features_are_shown(self):
        shown = [feature for group in GROUPS.values() for feature in group]
        self.assertEqual(sorted(shown), sorted(self.matrix))
