"""Mailjet"""

from __future__ import annotations

import itertools
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


def _mailjet_success(call: ApiCall) -> Any:
    ids = itertools.count(70650000000000001)

    def results(recipients: list[Any]) -> list[Any]:
        return [{"Email": item["Email"], "MessageID": next(ids)} for item in recipients]

    shared = call.json.get("Globals", {})
    return make_response(
        json_data={
            "Messages": [
                {
                    "Status": "success",
                    "CustomID": "",
                    "To": results(message["To"]),
                    "Cc": results(message.get("Cc", [])),
                    "Bcc": results(message.get("Bcc", [])),
                }
                for message in ({**shared, **own} for own in call.json["Messages"])
            ]
        }
    )


def _mailjet_per_recipient(call: ApiCall) -> PerRecipient:
    return {
        message["To"][0]["Email"]: {
            "merge_data": message.get("Variables", {}),
            "merge_metadata": json.loads(message.get("EventPayload", "{}")),
            "merge_headers": message.get("Headers", {}),
        }
        for message in call.json["Messages"]
    }


def _mailjet_fail(answer: Any, number: int) -> None:
    answer["Messages"][number] = {"Status": "error", "Errors": [{"ErrorCode": "send-0008"}]}


MAILJET = BackendCase(
    name="mailjet",
    backend="anymail.backends.mailjet.EmailBackend",
    esp_name="Mailjet",
    promised_settings="API_KEY *b, SECRET_KEY *b, API_URL",
    options={
        "api_key": "mailjet-api-key",
        "secret_key": "mailjet-secret-key",
        "api_url": "https://api.us.mailjet.com/v3.1/",
    },
    required=("api_key", "secret_key"),
    secret=("api_key", "secret_key"),
    success=_mailjet_success,
    refusals=(
        *(
            Refusal(
                status, {"ErrorCode": code, "ErrorMessage": "No.", "StatusCode": status}, problem
            )
            for status, code, problem in [
                (401, "mj-0001", ACCOUNT),
                (401, "mj-0015", ACCOUNT),
                (400, "mj-0002", MESSAGE),
                (400, "mj-0008", UNSUITABLE),
                (400, "mj-0011", UNSUITABLE),
            ]
        ),
        Refusal(
            401, {"StatusCode": 401, "ErrorMessage": "API key authentication failure"}, ACCOUNT
        ),
        *(
            Refusal(
                status,
                {"Messages": [{"Status": "error", "Errors": [{"ErrorCode": code}]}]},
                *means,
            )
            for status, code, *means in [
                (403, "send-0008", ACCOUNT, True),
                (400, "mj-0013", MESSAGE),
                (400, "send-0003", MESSAGE),
                (400, "send-0004", MESSAGE),
                (400, "send-0011", UNSUITABLE),
                (400, "send-0015", UNSUITABLE),
                (200, "mj-0013", MESSAGE),
            ]
        ),
        Refusal(429, "<html><h1>Too Many Requests</h1></html>", BUSY),
        Refusal(500, {"StatusCode": 500, "ErrorMessage": "Internal error"}, UNCLEAR),
    ),
    results_at=("Messages",),
    fail=_mailjet_fail,
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "send_at",
            "multiple_tags",
        }
    ),
    feature_texts={"multiple_reply_to": "Multiple reply_to addresses"},
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_mailjet_per_recipient,
)
