from __future__ import annotations

import base64
import importlib.util
import sys
from typing import Any
from unittest.mock import patch

from django.test import SimpleTestCase

from anymail.exceptions import AnymailConfigurationError, AnymailImproperlyInstalled
from anymail.webhooks import public_keys
from anymail.webhooks.public_keys import is_signature, load_public_key, require_cryptography
from tests.utils import skip_without

from .sns_signing import ec_key, rsa_key

DATA = b"what is signed"


def public_bytes(private_key: Any, encoding: str = "DER") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    data: bytes = private_key.public_key().public_bytes(
        getattr(Encoding, encoding), PublicFormat.SubjectPublicKeyInfo
    )
    return data


def load(key: Any, key_type: Any) -> Any:
    return load_public_key(
        key,
        key_type,
        setting="TEST_KEY",
        source="the dashboard",
        esp_name="Test ESP",
        install_extra="test-esp",
    )


class NoCryptographyTests(SimpleTestCase):
    def setUp(self):
        super().setUp()
        modules = {name: None for name in sys.modules if name.partition(".")[0] == "cryptography"}
        patcher = patch.dict(sys.modules, {"cryptography": None, **modules})
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_import(self):
        # Under another name, to leave the module alone.
        spec: Any = importlib.util.spec_from_file_location(
            "anymail.webhooks.imported_again", public_keys.__file__
        )
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    def test_missing(self):
        for function in (
            lambda: require_cryptography("Test ESP", "test-esp"),
            lambda: load("AAAA", "RSA"),
        ):
            with self.assertRaisesRegex(
                AnymailImproperlyInstalled,
                r"(?s)(?=.*cryptography)(?=.*django-anymail\[test-esp\])(?=.*Test ESP's signed)",
            ):
                function()


@skip_without("cryptography")
class LoadTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = {"RSA": rsa_key(), "EC": ec_key()}

    def test_formats(self):
        for key_type, private_key in self.keys.items():
            one_line = base64.b64encode(public_bytes(private_key)).decode()
            pem = public_bytes(private_key, "PEM").decode()
            for text in (one_line, f"\n {one_line}\r\n", pem, pem.replace("\n", "\r\n")):
                with self.subTest(text):
                    self.assertEqual(load(text, key_type), private_key.public_key())

    def test_no_keys(self):
        for key_type, other in (("RSA", "EC"), ("EC", "RSA")):
            der = public_bytes(self.keys[key_type])
            for key in (
                None,
                5,
                der,
                "",
                "abcde",
                "é",
                "junk",
                base64.b64encode(der[:-1]).decode(),
                base64.b64encode(public_bytes(self.keys[other])).decode(),
            ):
                with (
                    self.subTest(key=key),
                    self.assertRaisesRegex(
                        AnymailConfigurationError,
                        "^TEST_KEY is not a public key as in the dashboard",
                    ),
                ):
                    load(key, key_type)

    def test_algorithm_that_is_not_supported(self):
        from cryptography.exceptions import UnsupportedAlgorithm

        with (
            patch(
                "cryptography.hazmat.primitives.serialization.load_der_public_key",
                side_effect=UnsupportedAlgorithm("what?"),
            ),
            self.assertRaisesRegex(AnymailConfigurationError, "TEST_KEY"),
        ):
            load("AAAA", "RSA")


@skip_without("cryptography")
class SignatureTests(SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = [rsa_key(), ec_key()]

    def sign(self, key: Any, digest: str) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        algorithm = getattr(hashes, digest)()
        if key is self.keys[0]:
            signature = key.sign(DATA, PKCS1v15(), algorithm)
        else:
            signature = key.sign(DATA, ECDSA(algorithm))
        return base64.b64encode(signature).decode()

    def test_signature(self):
        for key in self.keys:
            for digest, other in (("SHA1", "SHA256"), ("SHA256", "SHA1")):
                with self.subTest(key=type(key).__name__, digest=digest):
                    public_key = key.public_key()
                    signature = self.sign(key, digest)
                    self.assertIs(is_signature(public_key, signature, DATA, digest), True)
                    self.assertIs(is_signature(public_key, signature, DATA, other), False)
                    self.assertIs(is_signature(public_key, signature, DATA + b"x", digest), False)

    def test_default_digest(self):
        for key in self.keys:
            self.assertIs(is_signature(key.public_key(), self.sign(key, "SHA256"), DATA), True)
            self.assertIs(is_signature(key.public_key(), self.sign(key, "SHA1"), DATA), False)

    def test_other_keys(self):
        for key, other in zip(self.keys, reversed(self.keys), strict=True):
            signature = self.sign(key, "SHA256")
            self.assertIs(is_signature(other.public_key(), signature, DATA), False)
        self.assertIs(
            is_signature(rsa_key().public_key(), self.sign(self.keys[0], "SHA256"), DATA), False
        )
        self.assertIs(
            is_signature(ec_key().public_key(), self.sign(self.keys[1], "SHA256"), DATA), False
        )

    def test_no_signatures(self):
        for key in self.keys:
            signature = self.sign(key, "SHA256")
            for text in (
                "",
                "abcde",
                "é",
                "\ud800",
                signature[:-4],
                f"{signature}\n",
                f"-{signature}",
                base64.b64decode(signature).hex(),
                base64.b64encode(b"0" * 256).decode(),
            ):
                with self.subTest(key=type(key).__name__, text=text):
                    self.assertIs(is_signature(key.public_key(), text, DATA), False)

    def test_other_kinds_of_keys(self):
        from cryptography.hazmat.primitives.asymmetric import ed25519

        key = ed25519.Ed25519PrivateKey.generate()
        signature = base64.b64encode(key.sign(DATA)).decode()
        self.assertIs(is_signature(key.public_key(), signature, DATA), False)
