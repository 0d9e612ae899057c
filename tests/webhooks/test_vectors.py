"""Signatures that providers have published: those of our own signer could share our mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.http import HttpRequest
from django.test import RequestFactory, SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail.exceptions import AnymailWebhookValidationFailure

from ..utils import skip_without
from .cases import CASES


@dataclass(frozen=True)
class Vector:
    esp: str
    source: str
    setting: str
    key: str
    headers: Mapping[str, str]
    body: str
    time: float | None = None
    """When it was signed, where that must be now."""


# Released with @sendgrid/eventwebhook on npm; the first one also with sendgrid on PyPI
_SENDGRID_SOURCE = (
    "https://github.com/sendgrid/sendgrid-nodejs/blob/main/packages/eventwebhook/src/"
    "eventwebhook.spec.js"
)

VECTORS = [
    Vector(
        "resend",
        "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        setting="RESEND_SIGNING_SECRET",
        key="whsec_plJ3nmyCDGBKInavdOK15jsl",
        headers={
            "svix-id": "msg_loFOjxBNrRLzqYUf",
            "svix-timestamp": "1731705121",
            "svix-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        },
        body='{"event_type":"ping","data":{"success":true}}',
        time=1731705121,
    ),
    Vector(
        "resend",
        # Released with svix on npm
        "https://github.com/svix/svix-webhooks/blob/main/javascript/src/webhook.test.ts",
        setting="RESEND_SIGNING_SECRET",
        key="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers={
            "svix-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "svix-timestamp": "1614265330",
            "svix-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        body='{"test": 2432232314}',
        time=1614265330,
    ),
    Vector(
        "sendgrid",
        _SENDGRID_SOURCE,
        setting="SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY",
        key=(
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpV"
            "KS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
        ),
        headers={
            "X-Twilio-Email-Event-Webhook-Signature": (
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqH"
                "h89M15TluLtEZtM="
            ),
            "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
        },
        body=(
            '[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
            '"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
            '"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-'
            '5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",'
            '"timestamp":1600112492}]\r\n'
        ),
    ),
    Vector(
        "sendgrid",
        _SENDGRID_SOURCE,
        setting="SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY",
        key=(
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ4LIFtWztlsF7skFqOncjD1lun4H5w8XOhyOArHW9RcI"
            "x/FfEzx6cikC/yPfUvwaX/JScE7Fc9CJD2afQ9Ok3Q=="
        ),
        headers={
            "X-Twilio-Email-Event-Webhook-Signature": (
                "MEYCIQC/I4o6vCgqRYrTljjoVWB/GRWNtxeePlLMHr3x9ETeRQIhAIpV+03nREPTTHWSW0wIOA0EoMPd"
                "cNgXa70yCaqDJlu5"
            ),
            "X-Twilio-Email-Event-Webhook-Timestamp": "1619651159",
        },
        body=(
            '[{"email":"invalid@gmail.com","event":"processed","send_at":0,'
            '"sg_event_id":"cHJvY2Vzc2VkLTE5OTQyMTEyLXFOd0JMZ1BRUWpXNkRKdktRd1NBYnctMA",'
            '"sg_message_id":"qNwBLgPQQjW6DJvKQwSAbw.filterdrecv-canary-547b64655b-cw6zx-1-6089EA4A'
            '-56.0","smtp-id":"<qNwBLgPQQjW6DJvKQwSAbw@ismtpd0178p1mdw1.sendgrid.net>",'
            '"timestamp":1619651146},\r\n'
            '{"email":"invalid@gmail.com","event":"bounce","ip":"167.89.101.76",'
            '"reason":"552 5.2.2 The email account that you tried to reach is over quota and '
            "inactive. Please direct the recipient to "
            'https://support.google.com/mail/?p=OverQuotaPerm c17si1130468pgv.34 - gsmtp",'
            '"sg_event_id":"Ym91bmNlLTAtMTk5NDIxMTItcU53QkxnUFFRalc2REp2S1F3U0Fidy0w",'
            '"sg_message_id":"qNwBLgPQQjW6DJvKQwSAbw.filterdrecv-canary-547b64655b-cw6zx-1-6089EA4A'
            '-56.0","smtp-id":"<qNwBLgPQQjW6DJvKQwSAbw@ismtpd0178p1mdw1.sendgrid.net>",'
            '"status":"5.2.2","timestamp":1619651147,"tls":1,"type":"blocked"}]\r\n'
        ),
    ),
]

NO_VECTORS = {
    "amazon_ses": (
        "The documentation's messages have made-up signatures: they begin with EXAMPLE. Real ones "
        "are in the tests of AWS's SDK for Java, but not in the packages that it is released as."
    ),
    "mailersend": "None found. The documentation has the algorithm only.",
    "mailgun": "The documentation's example does not have the key that it was made with.",
    "mailtrap": "None found in the documentation, nor in what its libraries are released with.",
    "mandrill": "None found. The documentation has the algorithm only.",
    "postal": "None found. Those in test_postal.py were made with OpenSSL.",
    "scaleway": "None found. The documentation refers to that of Amazon SNS.",
    "unisender_go": "None found. The documentation has the algorithm only.",
}
"""Providers without a vector, and why."""


class VectorTests(SimpleTestCase):
    def validate(self, vector: Vector, body: str, headers: Mapping[str, str]) -> None:
        view_class: Any = import_string(CASES[vector.esp].view("tracking").view)
        request: HttpRequest = RequestFactory().post(
            "/", body, content_type="application/json", headers=dict(headers)
        )
        with (
            override_settings(ANYMAIL={vector.setting: vector.key}),
            patch("time.time", return_value=vector.time) if vector.time else nullcontext(),
        ):
            view_class().run_validators(request)

    def check(self, esp: str) -> None:
        for vector in VECTORS:
            if vector.esp != esp:
                continue
            with self.subTest(key=vector.key):
                self.validate(vector, vector.body, vector.headers)
                with self.assertRaises(AnymailWebhookValidationFailure):
                    self.validate(vector, f"{vector.body} ", vector.headers)

    def test_resend(self):
        self.check("resend")

    @skip_without("cryptography")
    def test_sendgrid(self):
        self.check("sendgrid")

    def test_all_have_a_test(self):
        for vector in VECTORS:
            self.assertTrue(hasattr(self, f"test_{vector.esp}"), vector.esp)

    def test_all_providers_with_signatures_are_here(self):
        have_vectors = {vector.esp for vector in VECTORS}
        self.assertEqual(have_vectors & set(NO_VECTORS), set())
        with_signatures = {
            case.esp
            for case in CASES.values()
            if any(view.signature != "none" for view in case.views)
        }
        self.assertLessEqual(with_signatures, have_vectors | set(NO_VECTORS))
        self.assertLessEqual(have_vectors | set(NO_VECTORS), set(CASES))
