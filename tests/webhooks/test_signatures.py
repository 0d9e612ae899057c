from __future__ import annotations

import hashlib
import hmac

from django.test import SimpleTestCase

from anymail.webhooks.signatures import hmac_signature, matches, matches_any


class MatchesTests(SimpleTestCase):
    def test_text_and_bytes(self):
        for received in ["sécret", "sécret".encode()]:
            for expected in ["sécret", "sécret".encode()]:
                self.assertIs(matches(received, expected), True)
            for expected in ["secret", b"", "sécre", "sécrett", b"s\xe9cret"]:
                self.assertIs(matches(received, expected), False)

    def test_lone_surrogates(self):
        self.assertIs(matches("\ud800", "secret"), False)
        self.assertIs(matches("\ud800", "\ud800"), True)

    def test_matches_any(self):
        self.assertIs(matches_any("b", ["a", "b", "c"]), True)
        self.assertIs(matches_any("b", (each for each in ["a", b"b"])), True)
        self.assertIs(matches_any("d", ["a", "b", "c"]), False)
        self.assertIs(matches_any("", []), False)
        self.assertIs(matches_any("ab", ["a", "b"]), False)

    def test_matches_any_compares_all(self):
        # It takes the same time whichever matches.
        asked = []

        def expected():
            for each in ["a", "b", "c"]:
                asked.append(each)
                yield each

        self.assertIs(matches_any("a", expected()), True)
        self.assertEqual(asked, ["a", "b", "c"])


class HmacTests(SimpleTestCase):
    def test_known_value(self):
        # https://www.rfc-editor.org/rfc/rfc4231#section-4.3
        key, data = "Jefe", "what do ya want for nothing?"
        digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        for arguments in [(key, data), (key.encode(), data.encode()), (key, data.encode())]:
            self.assertEqual(hmac_signature(*arguments).hexdigest(), digest)

    def test_other_digests(self):
        for digest in ["md5", "sha1", "sha512"]:
            expected = hmac.new("clé".encode(), "données".encode(), getattr(hashlib, digest))
            self.assertEqual(hmac_signature("clé", "données", digest).digest(), expected.digest())
