from __future__ import annotations

import sys
from types import ModuleType
from unittest import mock, skipUnless

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from anymail import _idna
from anymail.exceptions import AnymailImproperlyInstalled

from .properties import examples

try:
    import uts46 as uts46_package
except ImportError:
    uts46_package = None

# In the Thaana script, words end in combining marks, which IDNA 2003 forbids at the end of
# right-to-left labels: https://www.rfc-editor.org/rfc/rfc5893#section-1.2
THAANA, THAANA_ENCODED = "ބަ.example", "xn--lqb2e.example"
fuzz = examples(300)


class ModuleTests(SimpleTestCase):
    def test_all(self):
        self.assertEqual(set(_idna.__all__), {"idna2003", "idna2008", "uts46", "none"})


class EncoderTests(SimpleTestCase):
    def test_idna2008(self):
        for domain, encoded in [
            ("straße.example", "xn--strae-oqa.example"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("MÜNCHEN.Example", "xn--mnchen-3ya.example"),
            ("ascii.example", "ascii.example"),
            (THAANA, THAANA_ENCODED),
        ]:
            with self.subTest(domain=domain):
                self.assertEqual(_idna.idna2008(domain), encoded)

    def test_idna2008_refuses(self):
        for domain in ["☃.example", "under_score.example", "", "é..example", "-é.example"]:
            with self.subTest(domain=domain), self.assertRaises(ValueError):
                _idna.idna2008(domain)

    def test_idna2003(self):
        for domain, encoded in [
            ("straße.example", "strasse.example"),
            ("☃.example", "xn--n3h.example"),
            ("☃ß.example", "xn--ss-esx.example"),
            ("ascii.example", "ascii.example"),
        ]:
            with self.subTest(domain=domain):
                self.assertEqual(_idna.idna2003(domain), encoded)

    def test_idna2003_refuses(self):
        for domain in [THAANA, "é..example", "é" * 64 + ".example"]:
            with self.subTest(domain=domain), self.assertRaises(ValueError):
                _idna.idna2003(domain)

    def test_none(self):
        for domain in ["straße.example", "☃.example", "ascii.example", ""]:
            with self.subTest(domain=domain):
                self.assertEqual(_idna.none(domain), domain)

    @fuzz
    @given(st.sampled_from([_idna.idna2003, _idna.idna2008]), st.text())
    def test_nothing_but_value_error(self, encoder, domain):
        try:
            encoded = encoder(domain)
        except ValueError:
            return
        self.assertIsInstance(encoded, str)
        self.assertTrue(encoded.isascii())


class Uts46Tests(SimpleTestCase):
    def test_missing_package(self):
        with (
            mock.patch.dict(sys.modules, {"uts46": None}),
            self.assertRaises(AnymailImproperlyInstalled) as caught,
        ):
            _idna.uts46("straße.example")
        text = str(caught.exception)
        self.assertIn("uts46 package", text)
        self.assertIn("django-anymail[<your-esp>,uts46]", text)
        self.assertIn('IDNA_ENCODER="uts46"', text)
        self.assertIsInstance(caught.exception.__cause__, ImportError)

    def test_missing_package_does_not_matter_before(self):
        with mock.patch.dict(sys.modules, {"uts46": None}):
            self.assertEqual(_idna.none("é"), "é")
            self.assertTrue(callable(_idna.uts46))

    def test_calls_the_package(self):
        package = ModuleType("uts46")
        package.encode = mock.Mock(return_value=b"xn--something.example")
        with mock.patch.dict(sys.modules, {"uts46": package}):
            self.assertEqual(_idna.uts46("straße.example"), "xn--something.example")
        package.encode.assert_called_once_with("straße.example")

    @skipUnless(uts46_package, "needs the uts46 package (an extra)")
    def test_with_the_package(self):
        for domain, encoded in [
            ("straße.example", "xn--strae-oqa.example"),
            ("☃.example", "xn--n3h.example"),
            ("☃ß.example", "xn--zca921q.example"),
            (THAANA, THAANA_ENCODED),
        ]:
            with self.subTest(domain=domain):
                self.assertEqual(_idna.uts46(domain), encoded)
        with self.assertRaises(ValueError):
            _idna.uts46("\N{ZERO WIDTH NON-JOINER}a.example")
