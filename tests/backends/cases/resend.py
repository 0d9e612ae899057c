"""Resend"""

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
    BackendCase,
    PerRecipient,
    Refusal,
)


def _resend_success(call: ApiCall) -> Any:
    if isinstance(call.json, list):
        ids = [{"id": f"00000000-0000-4000-8000-{n:012}"} for n, _message in enumerate(call.json)]
        return make_response(json_data={"data": ids})
    return make_response(json_data={"id": "00000000-0000-4000-8000-000000000000"})


def _resend_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for message in call.json:
        [to] = message["to"]
        headers = dict(message.get("headers", {}))
        result[to.rpartition("<")[2].rstrip(">")] = {
            "merge_metadata": json.loads(headers.pop("X-Metadata", "{}")),
            "merge_headers": headers,
        }
    return result


def _resend_fail(answer: Any, number: int) -> None:
    answer.setdefault("errors", []).append({"index": number, "message": "Invalid `to` field."})
    # The others' only: which of the ids is missing makes no difference.
    answer["data"].pop()


RESEND = BackendCase(
    name="resend",
    backend="anymail.backends.resend.EmailBackend",
    esp_name="Resend",
    promised_settings=(
        "API_KEY *b, API_URL, VERIFY_ATTACHMENT_EXTENSIONS, SIGNING_SECRET w, "
        "INBOUND_SECRET w, DOWNLOAD_CHUNK_SIZE w"
    ),
    options={
        "api_key": "resend-api-key",
        "api_url": "https://api.resend.example/",
        "verify_attachment_extensions": False,
    },
    required=("api_key",),
    secret=("api_key",),
    success=_resend_success,
    refusals=(
        *(
            Refusal(
                status,
                {"statusCode": status, "name": name, "message": "What is wrong"},
                *means,
            )
            for status, name, *means in [
                (401, "missing_api_key", ACCOUNT),
                (401, "restricted_api_key", ACCOUNT),
                (403, "invalid_api_key", ACCOUNT),
                (422, "validation_error", MESSAGE),
                (422, "invalid_from_address", MESSAGE),
                (409, "concurrent_idempotent_requests", BUSY),
                (409, "invalid_idempotent_request", MESSAGE),
                (500, "application_error", UNCLEAR),
            ]
        ),
        Refusal(
            403,
            {"name": "validation_error", "message": "The example.com domain is not verified."},
            ACCOUNT,
            True,
        ),
        *(
            Refusal(
                429,
                {"statusCode": 429, "name": name, "message": "Too many"},
                BUSY,
                headers={"retry-after": "90", "ratelimit-reset": "1"},
                retry_after=90,
            )
            for name in ("rate_limit_exceeded", "daily_quota_exceeded", "monthly_quota_exceeded")
        ),
        Refusal(
            200,
            {"data": [], "errors": [{"index": n, "message": "Invalid `to`"} for n in (0, 1)]},
            MESSAGE,
            is_batch=True,
        ),
    ),
    results_at=("data",),
    fail=_resend_fail,
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
            "track_clicks",
            "track_opens",
            "template_id",
            "merge_data",
            "merge_global_data",
        }
    ),
    # In a batch, there can be no attachments.
    combined_without=frozenset({"merge_headers", "merge_metadata"}),
    serialized=frozenset(
        {"extra_headers", "metadata", "merge_headers", "merge_metadata", "esp_extra"}
    ),
    per_recipient=_resend_per_recipient,
)
