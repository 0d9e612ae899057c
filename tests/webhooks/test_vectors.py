"""Signatures that others have published: those of our own signer could share our mistakes."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from typing import Any
from unittest.mock import patch

from django.test import RequestFactory, SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail.exceptions import AnymailWebhookValidationFailure

from ..utils import FIXTURES, skip_without
from .cases import CASES


@cache
def read_vectors() -> dict[str, list[dict[str, Any]]]:
    """Return the vectors by provider (see README.rst beside them)."""
    content = json.loads((FIXTURES / "signatures" / "vectors.json").read_text(encoding="utf-8"))
    by_esp: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for vector in content["vectors"]:
        for url, name in vector.get("certificates", {}).items():
            vector["certificates"][url] = content["certificates"][name]
        by_esp[esp_of(vector)].append(vector)
    return dict(by_esp)


def esp_of(vector: dict[str, Any]) -> str:
    esp: str = vector["url"].split("/")[2]  # /anymail/<esp>/...
    return esp


class VectorTests(SimpleTestCase):
    def enter(self, vector: dict[str, Any], stack: ExitStack) -> None:
        """Use the vector's settings and certificates, at its time."""
        stack.enter_context(override_settings(ANYMAIL=vector["settings"]))
        if "time" in vector:
            time = datetime.fromisoformat(vector["time"].replace("Z", "+00:00"))
            stack.enter_context(patch("time.time", return_value=time.timestamp()))
            for module in ("base", "sns"):
                stack.enter_context(patch(f"anymail.webhooks.{module}.now", return_value=time))
        if "certificates" in vector:
            from anymail.webhooks.certificates import fetched_certificates

            fetched_certificates.clear()
            stack.callback(fetched_certificates.clear)
            fetch = stack.enter_context(patch("anymail.webhooks.certificates._fetch_certificate"))
            fetch.side_effect = lambda url, esp_name: vector["certificates"][url].encode()

    def is_accepted(self, vector: dict[str, Any], body: str) -> bool:
        kind = "inbound" if "/inbound" in vector["url"] else "tracking"
        view_class: Any = import_string(CASES[esp_of(vector)].view(kind).view)
        headers = dict(vector["headers"])
        request = RequestFactory().post(
            vector["url"], body.encode(), content_type=headers.pop("Content-Type"), headers=headers
        )
        try:
            view_class().run_validators(request)
        except AnymailWebhookValidationFailure:
            return False
        return True

    def get_status(self, vector: dict[str, Any]) -> int:
        headers = dict(vector["headers"])
        return self.client.post(
            vector["url"],
            vector["body"].encode(),
            content_type=headers.pop("Content-Type"),
            headers=headers,
        ).status_code

    def check(self, esp: str, is_body_signed: bool = True) -> None:
        for vector in read_vectors()[esp]:
            expected = vector["expect"] == "accept"
            with self.subTest(vector["note"], source=vector["source"]), ExitStack() as stack:
                self.enter(vector, stack)
                self.assertEqual(self.is_accepted(vector, vector["body"]), expected)
                self.assertEqual(self.get_status(vector), vector["status"])
                if expected and is_body_signed:
                    self.assertFalse(self.is_accepted(vector, f"{vector['body']} "))

    @skip_without("cryptography")
    def test_amazon_ses(self):
        # What is signed is not the body as it is, but text made of the fields in it.
        self.check("amazon_ses", is_body_signed=False)

    def test_mailersend(self):
        self.check("mailersend")

    def test_mailgun(self):
        self.check("mailgun", is_body_signed=False)

    def test_mailtrap(self):
        self.check("mailtrap")

    def test_mandrill(self):
        self.check("mandrill")

    def test_resend(self):
        self.check("resend")

    @skip_without("cryptography")
    def test_sendgrid(self):
        self.check("sendgrid")

    def test_all_have_a_test(self):
        for esp, vectors in read_vectors().items():
            self.assertTrue(hasattr(self, f"test_{esp}"), esp)
            self.assertEqual({vector["expect"] for vector in vectors}, {"accept", "refuse"}, esp)

    def test_all_providers_with_signatures_are_here(self):
        have_vectors = set(read_vectors())
        self.assertLessEqual(have_vectors, set(CASES))
        for case in CASES.values():
            if any(view.signature != "none" for view in case.views):
                with self.subTest(case.esp):
                    self.assertEqual(bool(case.no_vectors), case.esp not in have_vectors)
