"""Amazon SNS: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html"""

from __future__ import annotations

import base64
from typing import Any

from ..harness import WebhookRequest
from .base import Tamper


def _sns_tamper(name: str, value: Any) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        request.json[name] = value

    return tamper


def _sns_without(name: str) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        del request.json[name]

    return tamper


SNS_TAMPERS = {
    "no signature": _sns_without("Signature"),
    "no version": _sns_without("SignatureVersion"),
    "no certificate": _sns_without("SigningCertURL"),
    "no timestamp": _sns_without("Timestamp"),
    "empty signature": _sns_tamper("Signature", ""),
    "forged": _sns_tamper("Signature", base64.b64encode(b"0" * 256).decode()),
    "not base64": _sns_tamper("Signature", "abcde"),
    "signature not ASCII": _sns_tamper("Signature", "é" * 64),
    "signature not text": _sns_tamper("Signature", 5),
    "other hash": _sns_tamper("SignatureVersion", "2"),
    "unknown version": _sns_tamper("SignatureVersion", "3"),
    "version not text": _sns_tamper("SignatureVersion", 1),
    "other timestamp": _sns_tamper("Timestamp", "2031-03-04T05:06:07.090Z"),
    "other message": _sns_tamper("Message", "{}"),
    "other subject": _sns_tamper("Subject", "Made up"),
    "other host": _sns_tamper("SigningCertURL", "https://sns.example.com/certificate.pem"),
    "certificate not text": _sns_tamper("SigningCertURL", ["https://sns.example.com/c.pem"]),
}
