"""Postmark"""

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


def _postmark_success(call: ApiCall) -> Any:
    def result(message: Any, number: int) -> Any:
        return {
            **({"To": message["To"]} if "To" in message else {}),
            "SubmittedAt": "2031-02-03T04:05:06.7890123-05:00",
            "MessageID": f"00000000-0000-4000-8000-{number:012}",
            "ErrorCode": 0,
            "Message": "OK",
        }

    data = call.json
    if isinstance(data, dict) and "Messages" in data:
        data = data["Messages"]
    if isinstance(data, list):
        return make_response(json_data=[result(item, n) for n, item in enumerate(data)])
    return make_response(json_data=result(data, 0))


def _postmark_per_recipient(call: ApiCall) -> PerRecipient:
    messages = call.json["Messages"] if isinstance(call.json, dict) else call.json
    return {
        message["To"].rpartition("<")[2].rstrip(">"): {
            "merge_data": message.get("TemplateModel", {}),
            "merge_metadata": message.get("Metadata", {}),
            "merge_headers": {item["Name"]: item["Value"] for item in message.get("Headers", [])},
        }
        for message in messages
    }


def _postmark_fail(answer: Any, number: int) -> None:
    answer[number] = {"ErrorCode": 412, "Message": "Account is under review."}


POSTMARK = BackendCase(
    name="postmark",
    backend="anymail.backends.postmark.EmailBackend",
    esp_name="Postmark",
    promised_settings="SERVER_TOKEN *b, API_URL, MESSAGE_STREAM, USE_BULK_API, GENERATE_MESSAGE_ID",
    options={
        "server_token": "postmark-server-token",
        "message_stream": "broadcast",
        "use_bulk_api": False,
        "generate_message_id": True,
        "api_url": "https://postmark.example/api/",
    },
    required=("server_token",),
    secret=("server_token",),
    success=_postmark_success,
    refusals=(
        *(
            Refusal(422, {"ErrorCode": code, "Message": "What is wrong"}, *means)
            for code, *means in [
                *((code, ACCOUNT) for code in (10, 405, 412, 413)),
                *((code, ACCOUNT, True) for code in (400, 401)),
                *((code, BUSY) for code in (100, 429)),
                *((code, MESSAGE) for code in (300, 402, 403, 410, 411)),
                (1101, UNSUITABLE),
                (409, MESSAGE),  # not in the table
            ]
        ),
        Refusal(401, {"ErrorCode": 10, "Message": "Bad token"}, ACCOUNT),
        Refusal(413, {"ErrorCode": 300, "Message": "Too large"}, MESSAGE),
        Refusal(500, {"Message": "Sorry"}, UNCLEAR),
        # In batches
        *(
            Refusal(
                200,
                [{"ErrorCode": code, "Message": "No."} for code in codes],
                *means,
                is_batch=True,
            )
            for codes, *means in [
                ((412, 412), ACCOUNT),
                ((400, 400), ACCOUNT, True),
                ((400, 412), ACCOUNT),
                ((429, 300), MESSAGE),
                ((406, 412), MESSAGE),
            ]
        ),
        Refusal(200, [{"ErrorCode": 412, "Message": "No."}, {}], UNCLEAR, is_batch=True),
    ),
    results_at=(),
    fail=_postmark_fail,
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "to_header",
            "from_header",
            "envelope_sender",
            "send_at",
            "multiple_tags",
        }
    ),
    feature_attrs={
        "merge_data": {"template_id": "1234"},
        "merge_global_data": {"template_id": "1234"},
        "esp_extra": {"esp_extra": {"HeadersOnly": {"nested": ["value"]}}},
    },
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
    # A batch without messages has no results.
    accepts=frozenset({"JSON empty array"}),
    per_recipient=_postmark_per_recipient,
)
