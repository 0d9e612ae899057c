"""Postal"""

from __future__ import annotations

from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import (
    ACCOUNT,
    BUSY,
    MESSAGE,
    UNCLEAR,
    BackendCase,
    Refusal,
)


def _postal_success(call: ApiCall) -> Any:
    recipients = [*call.json["to"], *call.json["cc"], *call.json["bcc"]]
    return make_response(
        json_data={
            "status": "success",
            "time": 0.04,
            "flags": {},
            "data": {
                "message_id": "6f0c@rp.postal.example.com",
                "messages": {
                    recipient.rpartition("<")[2].rstrip(">"): {"id": 900 + n, "token": f"Zx{n}"}
                    for n, recipient in enumerate(recipients)
                },
            },
        }
    )


POSTAL = BackendCase(
    name="postal",
    backend="anymail.backends.postal.EmailBackend",
    esp_name="Postal",
    promised_settings="API_KEY *b, API_URL *, WEBHOOK_KEY *bw",
    options={"api_key": "postal-api-key", "api_url": "https://postal.example.com/"},
    required=("api_key", "api_url"),
    secret=("api_key",),
    success=_postal_success,
    refusals=(
        *(
            Refusal(
                200, {"status": "error", "data": {"code": code, "message": "What is wrong"}}, *means
            )
            for code, *means in [
                ("AccessDenied", ACCOUNT),
                ("InvalidServerAPIKey", ACCOUNT),
                ("ServerSuspended", ACCOUNT),
                ("UnauthenticatedFromAddress", ACCOUNT, True),
                ("NoContent", MESSAGE),
                ("TooManyToAddresses", MESSAGE),
                ("ValidationError", MESSAGE),
            ]
        ),
        Refusal(200, {"status": "parameter-error", "data": {"message": "`to` is wrong"}}, MESSAGE),
        Refusal(200, {"unexpected": True}, UNCLEAR),
        Refusal(503, "<html>Maintenance</html>", BUSY),
    ),
    results_at=("data", "messages"),
    statuses=frozenset({"queued"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "inline_image",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "metadata",
            "send_at",
            "multiple_tags",
            "track_clicks",
            "track_opens",
            "template_id",
            "merge_data",
            "merge_global_data",
            "merge_headers",
            "merge_metadata",
        }
    ),
    feature_texts={
        "multiple_reply_to": "multiple reply_to addresses",
        "inline_image": "inline attachments",
    },
    serialized=frozenset({"extra_headers", "esp_extra"}),
)
