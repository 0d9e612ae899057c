"""Unisender Go"""

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


def _unisender_go_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "status": "success",
            "job_id": "1ZymBc-00041N-9X",
            "emails": [item["email"] for item in call.json["message"]["recipients"]],
        }
    )


def _unisender_go_per_recipient(call: ApiCall) -> PerRecipient:
    found: PerRecipient = {}
    for recipient in call.json["message"]["recipients"]:
        data = dict(recipient.get("substitutions", {}))
        data.pop("to_name", None)
        header = data.pop("Header__List_Unsubscribe", None)
        metadata = dict(recipient["metadata"])
        del metadata["anymail_id"]
        found[recipient["email"]] = {
            "merge_data": data,
            "merge_metadata": metadata,
            "merge_headers": {} if header is None else {"List-Unsubscribe": header},
        }
    return found


def _unisender_go_fail(answer: Any, number: int) -> None:
    address = ("to@example.com", "other@example.com")[number]
    answer["emails"].remove(address)
    answer.setdefault("failed_emails", {})[address] = "temporary_unavailable"


UNISENDER_GO = BackendCase(
    name="unisender_go",
    backend="anymail.backends.unisender_go.EmailBackend",
    esp_name="Unisender Go",
    promised_settings="API_KEY *b, API_URL *, GENERATE_MESSAGE_ID, WORKAROUND_DISPLAY_NAME_BUGS",
    options={
        "api_key": "unisender-go-api-key",
        "api_url": "https://go2.unisender.example/ru/transactional/api/v1/",
        "generate_message_id": False,
        "workaround_display_name_bugs": False,
    },
    required=("api_key", "api_url"),
    secret=("api_key",),
    success=_unisender_go_success,
    refusals=(
        Refusal(403, {"status": "error", "code": 114, "message": "User not found"}, ACCOUNT),
        Refusal(400, {"status": "error", "code": 150, "message": "Wrong field"}, MESSAGE),
        Refusal(413, {"status": "error", "code": 150, "message": "Too large"}, UNSUITABLE),
        Refusal(429, {"status": "error", "code": 150, "message": "Slow down"}, BUSY),
        Refusal(500, {"status": "error", "code": 150, "message": "Retry later"}, UNCLEAR),
        *(
            Refusal(
                status,
                {
                    "status": "error",
                    "code": 204,
                    "emails": [],
                    "failed_emails": dict(
                        zip(["to@example.com", "other@example.com"], reasons, strict=True)
                    ),
                },
                problem,
                is_batch=True,
            )
            for reasons, problem in [
                (["temporary_unavailable", "temporary_unavailable"], BUSY),
                (["temporary_unavailable", "invalid"], MESSAGE),
            ]
            for status in (400, 200)
        ),
    ),
    results_at=("emails",),
    fail=_unisender_go_fail,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
        }
    ),
    feature_attrs={
        "merge_headers": {"merge_headers": {"to@example.com": {"List-Unsubscribe": "<http://u>"}}}
    },
    # There can't be a Cc in a batch.
    combined_without=frozenset({"merge_data", "merge_headers", "merge_metadata"}),
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
    per_recipient=_unisender_go_per_recipient,
)
