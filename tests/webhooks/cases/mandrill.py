"""Mandrill: https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

MANDRILL_KEY = "mandrill-webhook-key"
MANDRILL_URL = "https://user:password@www.example.com/anymail/mandrill/"


def mandrill_signature(url: str, fields: Mapping[str, str], key: str = MANDRILL_KEY) -> str:
    data = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(key.encode(), data.encode(), hashlib.sha1).digest()).decode()


def mandrill_sign(request: WebhookRequest) -> None:
    pairs: list[Any] = []
    if request.form is not None:
        pairs = request.form
    elif request.effective_content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(request.body.decode("ascii", "replace"), keep_blank_values=True)
    request.headers["X-Mandrill-Signature"] = mandrill_signature(MANDRILL_URL, dict(pairs))


def _mandrill_header(value: Callable[[str], str] | None) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        signature = request.headers.pop("X-Mandrill-Signature")
        if value is not None:
            request.headers["X-Mandrill-Signature"] = value(signature)

    return tamper


def _mandrill_events(request: WebhookRequest) -> None:
    events = request.get_field("mandrill_events") or ""
    request.set_field("mandrill_events", events.replace("}]", '},{"event":"send"}]'))


def _mandrill_repeated(request: WebhookRequest) -> None:
    assert request.form is not None
    request.form.append(["mandrill_events", "[]"])


_MANDRILL_OPTIONS = {"webhook_key": MANDRILL_KEY, "webhook_url": MANDRILL_URL}

MANDRILL = WebhookCase(
    esp="mandrill",
    esp_name="Mandrill",
    views=(
        WebhookView(
            "tracking",
            "anymail:mandrill_webhook",
            "anymail.webhooks.mandrill.MandrillCombinedWebhookView",
            signature="required",
            refuses_other_kind=False,
            options=_MANDRILL_OPTIONS,
        ),
        WebhookView(
            "inbound",
            "anymail:mandrill_webhook",
            "anymail.webhooks.mandrill.MandrillCombinedWebhookView",
            signature="required",
            refuses_other_kind=False,
            options=_MANDRILL_OPTIONS,
        ),
    ),
    settings={"MANDRILL_WEBHOOK_KEY": MANDRILL_KEY, "MANDRILL_WEBHOOK_URL": MANDRILL_URL},
    other_settings={
        "MANDRILL_WEBHOOK_KEY": "another-webhook-key",
        "MANDRILL_WEBHOOK_URL": MANDRILL_URL,
    },
    required_setting="MANDRILL_WEBHOOK_KEY",
    sign=mandrill_sign,
    signs_any_body=True,
    tampers={
        "forged": _mandrill_header(lambda signature: "A" * 27 + "="),
        "not base64": _mandrill_header(lambda signature: base64.b64decode(signature).hex()),
        "cut off": _mandrill_header(lambda signature: signature[:-1]),
        "lower case": _mandrill_header(str.lower),
        "empty": _mandrill_header(lambda signature: ""),
        "not ASCII": _mandrill_header(lambda signature: "\xe9" * 28),
        "no signature": _mandrill_header(None),
        "other events": _mandrill_events,
        "events twice": _mandrill_repeated,
        "additional field": lambda request: request.set_field("extra", ""),
        "additional field with value": lambda request: request.set_field("z", "1"),
    },
)
