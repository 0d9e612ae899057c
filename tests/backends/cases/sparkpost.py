"""SparkPost"""

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


def _sparkpost_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "results": {
                "id": "12345678901234567890",
                "total_accepted_recipients": len(call.json["recipients"]),
                "total_rejected_recipients": 0,
            }
        }
    )


def _sparkpost_per_recipient(call: ApiCall) -> PerRecipient:
    variables = {
        value.strip("{}"): name for name, value in call.json["content"].get("headers", {}).items()
    }
    result: PerRecipient = {}
    for recipient in call.json["recipients"]:
        data = recipient.get("substitution_data", {})
        result[recipient["address"]["email"]] = {
            "merge_data": {key: data[key] for key in data if key not in variables},
            "merge_metadata": recipient.get("metadata", {}),
            "merge_headers": {variables[key]: data[key] for key in data if key in variables},
        }
    return result


SPARKPOST = BackendCase(
    name="sparkpost",
    backend="anymail.backends.sparkpost.EmailBackend",
    esp_name="SparkPost",
    promised_settings="API_KEY *b, API_URL, SUBACCOUNT, TRACK_INITIAL_OPEN_AS_OPENED w",
    options={
        "api_key": "sparkpost-api-key",
        "subaccount": 123,
        "api_url": "https://api.eu.sparkpost.com/api/v1/",
    },
    required=("api_key",),
    secret=("api_key",),
    success=_sparkpost_success,
    refusals=(
        *(
            Refusal(status, {"errors": [{"message": "What is wrong", "code": code}]}, *means)
            for status, code, *means in [
                (422, "1300", MESSAGE),
                (400, "1902", MESSAGE),
                (400, "7001", ACCOUNT, True),
                (404, "1600", ACCOUNT),
                (422, "1603", UNSUITABLE),
                *((420, code, BUSY) for code in ("2101", "2102", "2103", "2105")),
                (500, "9000", UNCLEAR),
            ]
        ),
        Refusal(401, {"errors": [{"message": "Unauthorized."}]}, ACCOUNT),
        Refusal(403, {"errors": [{"message": "Forbidden."}]}, ACCOUNT),
        Refusal(420, {"errors": [{"message": "Exceed Sending Limit (daily)"}]}, BUSY),
        Refusal(429, {"errors": [{"message": "Too many requests"}]}, BUSY),
    ),
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "other_alternative",
            "multiple_from",
            "to_header",
            "multiple_tags",
        }
    ),
    feature_attrs={"template_id": {"template_id": "1234", "from_email": None}},
    # Templates have headers, attachments and a From of their own.
    combined_without=frozenset({"template_id"}),
    not_in_defaults=frozenset({"from_email"}),
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
    per_recipient=_sparkpost_per_recipient,
)
