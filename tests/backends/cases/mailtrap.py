"""Mailtrap"""

from __future__ import annotations

import itertools
from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import (
    ACCOUNT,
    BUSY,
    MESSAGE,
    UNCLEAR,
    BackendCase,
    PerRecipient,
    Refusal,
)


def _mailtrap_success(call: ApiCall) -> Any:
    ids = itertools.count(10000)

    def result(message: Any) -> Any:
        # One id for each recipient
        recipients = sum(len(message.get(field, [])) for field in ("to", "cc", "bcc"))
        return {"success": True, "message_ids": [str(next(ids)) for _ in range(recipients)]}

    if "requests" not in call.json:
        return make_response(json_data=result(call.json))
    return make_response(
        json_data={
            "success": True,
            "responses": [result(message) for message in call.json["requests"]],
        }
    )


def _mailtrap_per_recipient(call: ApiCall) -> PerRecipient:
    return {
        message["to"][0]["email"]: {
            "merge_data": message.get("template_variables", {}),
            "merge_metadata": message.get("custom_variables", {}),
            "merge_headers": message.get("headers", {}),
        }
        for message in call.json["requests"]
    }


def _mailtrap_fail(answer: Any, number: int) -> None:
    answer["responses"][number] = {"success": False, "errors": ["'to' is malformed"]}


MAILTRAP = BackendCase(
    name="mailtrap",
    backend="anymail.backends.mailtrap.EmailBackend",
    esp_name="Mailtrap",
    promised_settings=(
        "API_TOKEN *b, SANDBOX_ID, API_URL, TRACKING_SECRET w, INBOUND_SECRET w, "
        "DOWNLOAD_CHUNK_SIZE w"
    ),
    options={
        "api_token": "mailtrap-api-token",
        "sandbox_id": None,
        "api_url": "https://bulk.api.mailtrap.io/api/",
    },
    required=("api_token",),
    secret=("api_token",),
    success=_mailtrap_success,
    refusals=(
        Refusal(401, {"success": False, "errors": ["Unauthorized"]}, ACCOUNT),
        Refusal(401, {"error": "Incorrect API token"}, ACCOUNT),
        Refusal(403, {"success": False, "errors": ["Forbidden"]}, ACCOUNT),
        Refusal(400, {"success": False, "errors": ["'to' address is invalid"]}, MESSAGE),
        Refusal(429, {"success": False, "errors": ["Too many requests"]}, BUSY),
        Refusal(500, {"success": False, "errors": ["internal error"]}, UNCLEAR),
        Refusal(200, {"success": False, "errors": ["'to' address is invalid"]}, MESSAGE),
        Refusal(200, {"success": False, "errors": ["Unauthorized"]}, ACCOUNT),
        Refusal(
            200,
            {"success": True, "responses": [{"success": False, "errors": ["'to' is invalid"]}] * 2},
            MESSAGE,
            is_batch=True,
        ),
        Refusal(
            200,
            {"success": True, "responses": [{"success": False, "errors": ["Forbidden"]}] * 2},
            ACCOUNT,
            is_batch=True,
        ),
    ),
    results_at=("responses",),
    fail=_mailtrap_fail,
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "send_at",
            "multiple_tags",
            "track_clicks",
            "track_opens",
        }
    ),
    # All values in metadata become text.
    serialized=frozenset(
        {
            "extra_headers",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
            "esp_extra",
        }
    ),
    per_recipient=_mailtrap_per_recipient,
)
