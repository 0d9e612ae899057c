"""Unisender Go: https://godocs.unisender.ru/web-api-ref#callback-format"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..harness import WebhookRequest
from .base import Tamper, WebhookCase, WebhookView

UNISENDER_GO_KEY = "unisender-go-api-key"


def unisender_go_sign(request: WebhookRequest) -> None:
    """The signature is in the body, where the API key was when it was made."""
    if request.json is not None:
        request.json["auth"] = UNISENDER_GO_KEY
        request.json["auth"] = hashlib.md5(request.body).hexdigest()
    else:
        assert request.text is not None
        request.text = request.text.replace(json.loads(request.text)["auth"], UNISENDER_GO_KEY)
        signature = hashlib.md5(request.body).hexdigest()
        request.text = request.text.replace(UNISENDER_GO_KEY, signature)


def _unisender_go_tamper(auth: Any) -> Tamper:
    """Replace the signature by something else, or by what a function makes of it."""

    def tamper(request: WebhookRequest) -> None:
        data = json.loads(request.body)
        data["auth"] = auth(data["auth"]) if callable(auth) else auth
        request.json, request.text = data, None

    return tamper


def _unisender_go_unsigned(request: WebhookRequest) -> None:
    data = json.loads(request.body)
    del data["auth"]
    request.json, request.text = data, None


def _unisender_go_reformatted(request: WebhookRequest) -> None:
    request.text = json.dumps(json.loads(request.body), indent=1)
    request.json = None


def _unisender_go_signed_with(key: str) -> Tamper:
    def tamper(request: WebhookRequest) -> None:
        data = json.loads(request.body)
        request.json, request.text = {**data, "auth": key}, None
        request.json["auth"] = hashlib.md5(request.body).hexdigest()

    return tamper


UNISENDER_GO = WebhookCase(
    esp="unisender_go",
    esp_name="Unisender Go",
    views=(
        WebhookView(
            "tracking",
            "anymail:unisender_go_tracking_webhook",
            "anymail.webhooks.unisender_go.UnisenderGoTrackingWebhookView",
            signature="required",
            extra_methods={"GET": 200},
            options={"api_key": UNISENDER_GO_KEY},
        ),
    ),
    settings={"UNISENDER_GO_API_KEY": UNISENDER_GO_KEY},
    other_settings={"UNISENDER_GO_API_KEY": "another-api-key"},
    required_setting="UNISENDER_GO_API_KEY",
    sign=unisender_go_sign,
    no_vectors="None found. The documentation has the algorithm only.",
    tampers={
        "no signature": _unisender_go_unsigned,
        "forged": _unisender_go_tamper("0" * 32),
        "upper case": _unisender_go_tamper(str.upper),
        "cut off": _unisender_go_tamper(lambda auth: auth[:-1]),
        "longer": _unisender_go_tamper(lambda auth: auth + "0"),
        "with a line break": _unisender_go_tamper(lambda auth: auth + "\n"),
        "the key itself": _unisender_go_tamper(UNISENDER_GO_KEY),
        "empty": _unisender_go_tamper(""),
        "space": _unisender_go_tamper(" "),
        "colon": _unisender_go_tamper(":"),
        "brace": _unisender_go_tamper("{"),
        "quote": _unisender_go_tamper('"'),
        "not ASCII": _unisender_go_tamper("é" * 32),
        "lone surrogate": _unisender_go_tamper("\ud800"),
        "zero": _unisender_go_tamper(0),
        "null": _unisender_go_tamper(None),
        "false": _unisender_go_tamper(False),
        "list": _unisender_go_tamper(lambda auth: [auth]),
        "object": _unisender_go_tamper(lambda auth: {"auth": auth}),
        "signed with nothing": _unisender_go_signed_with(""),
        "other format": _unisender_go_reformatted,
    },
)
