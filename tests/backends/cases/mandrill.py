"""Mandrill"""

from __future__ import annotations

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


def _mandrill_success(call: ApiCall) -> Any:
    return make_response(
        json_data=[
            {"email": item["email"], "status": "sent", "_id": f"f00d{n:04}", "reject_reason": None}
            for n, item in enumerate(call.json["message"]["to"])
        ]
    )


def _mandrill_per_recipient(call: ApiCall) -> PerRecipient:
    message = call.json["message"]
    found: PerRecipient = {
        item["email"]: {"merge_data": {}, "merge_metadata": {}}
        for item in message["to"]
        if item["type"] == "to"
    }
    # Mandrill ignores those for other addresses.
    for item in message.get("merge_vars", []):
        if item["rcpt"] in found:
            found[item["rcpt"]]["merge_data"] = {
                var["name"]: var["content"] for var in item["vars"]
            }
    for item in message.get("recipient_metadata", []):
        if item["rcpt"] in found:
            found[item["rcpt"]]["merge_metadata"] = item["values"]
    return found


def _mandrill_fail(answer: Any, number: int) -> None:
    answer[number]["status"] = "failed"


MANDRILL = BackendCase(
    name="mandrill",
    backend="anymail.backends.mandrill.EmailBackend",
    esp_name="Mandrill",
    promised_settings="API_KEY *b, API_URL, WEBHOOK_KEY *bw, WEBHOOK_URL bw",
    options={"api_key": "mandrill-api-key", "api_url": "https://mandrill.example.com/api/1.0/"},
    required=("api_key",),
    secret=("api_key",),
    success=_mandrill_success,
    refusals=tuple(
        Refusal(
            status,
            {"status": "error", "code": -1, "name": name, "message": "What is wrong"},
            problem,
        )
        for status in (500, 400, 401)
        for name, problem in [
            ("Invalid_Key", ACCOUNT),
            ("PaymentRequired", ACCOUNT),
            ("Unknown_Subaccount", ACCOUNT),
            ("ServiceUnavailable", BUSY),
            ("ValidationError", MESSAGE),
            ("Unknown_Template", UNSUITABLE),
            ("GeneralError", UNCLEAR),
        ]
    ),
    results_at=(),
    fail=_mandrill_fail,
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "merge_headers",
        }
    ),
    serialized=frozenset(
        {
            "extra_headers",
            "metadata",
            "merge_data",
            "merge_global_data",
            "merge_metadata",
            "esp_extra",
        }
    ),
    # No recipients is none but refused ones.
    accepts=frozenset({"JSON empty array"}),
    per_recipient=_mandrill_per_recipient,
)
