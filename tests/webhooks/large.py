"""A call with a large message."""

from __future__ import annotations

import base64
import json
from random import Random

from .cases.mailgun import MAILGUN
from .harness import WebhookRequest


def large_mailgun_call(size: int, path: str) -> WebhookRequest:
    """Return a call with an attachment of so many bytes, which can't be compressed."""
    content = base64.b64encode(Random(1).randbytes(size)).decode()
    headers = json.dumps([["Subject", "Large"], ["Content-Type", "text/plain"]])
    request = WebhookRequest(
        "inbound",
        path,
        multipart=[
            {"name": "recipient", "value": "to@example.com"},
            {"name": "message-headers", "value": headers},
            {"name": "body-plain", "value": "Hello"},
            {
                "name": "attachment-1",
                "filename": "large.bin",
                "content_type": "application/octet-stream",
                "base64": content,
            },
        ],
    )
    assert MAILGUN.sign is not None
    MAILGUN.sign(request)
    return request
