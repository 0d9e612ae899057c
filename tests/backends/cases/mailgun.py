"""Mailgun"""

from __future__ import annotations

import json
from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import (
    ACCOUNT,
    BUSY,
    MESSAGE,
    UNCLEAR,
    UNSUITABLE,
    BackendCase,
    PerRecipient,
    Refusal,
)


def _mailgun_success(call: ApiCall) -> Any:
    return make_response(json_data={"id": "<1@mg.example.com>", "message": "Queued. Thank you."})


def _mailgun_per_recipient(call: ApiCall) -> PerRecipient:
    [recipient_variables] = call.form["recipient-variables"]
    result: PerRecipient = {}
    for address, variables in json.loads(recipient_variables).items():
        entry = result[address] = {"merge_data": {}, "merge_metadata": {}, "merge_headers": {}}
        for name, value in variables.items():
            if name.startswith("v:"):
                entry["merge_metadata"][name[2:]] = value
            elif name.startswith("h:"):
                entry["merge_headers"][name[2:]] = value
            else:
                entry["merge_data"][name] = value
    return result


MAILGUN = BackendCase(
    name="mailgun",
    backend="anymail.backends.mailgun.EmailBackend",
    esp_name="Mailgun",
    promised_settings="API_KEY *b, SENDER_DOMAIN b, API_URL, WEBHOOK_SIGNING_KEY *w",
    options={
        "api_key": "mailgun-api-key",
        "sender_domain": "mg.example.com",
        "api_url": "https://api.eu.mailgun.net/v3/",
    },
    required=("api_key",),
    matrix_options=("sender_domain",),
    secret=("api_key",),
    success=_mailgun_success,
    refusals=(
        Refusal(401, "Forbidden", ACCOUNT),
        Refusal(404, {"message": "Domain not found: example.com"}, ACCOUNT, True),
        Refusal(200, "Mailgun Magnificent API", ACCOUNT),
        Refusal(400, {"message": "to parameter is not a valid address"}, MESSAGE),
        Refusal(413, "Request Entity Too Large", UNSUITABLE),
        Refusal(
            420,
            {
                "message": "Domain example.com is not allowed to send: request limit exceeded, "
                "try again after {date}"
            },
            BUSY,
            retry_after=90,
        ),
        Refusal(420, {"message": "Domain example.com is not allowed to send"}, BUSY),
        Refusal(
            429,
            {"message": "Too many requests"},
            BUSY,
            headers={"X-RateLimit-Reset": "{epoch}"},
            retry_after=90,
        ),
        Refusal(500, {"message": "Domain not found, due to a bug"}, UNCLEAR),
        Refusal(200, {"id": "<1@example.com>", "message": "Perhaps."}, UNCLEAR),
    ),
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_html", "multiple_text", "other_alternative", "to_header"}),
    feature_attrs={"esp_extra": {"esp_extra": {"o:testmode": "yes"}}},
    serialized=frozenset({"merge_data", "merge_global_data", "merge_metadata", "merge_headers"}),
    per_recipient=_mailgun_per_recipient,
)
