"""Scaleway"""

from __future__ import annotations

from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import (
    ACCOUNT,
    ADVANCED_FEATURES,
    BUSY,
    MESSAGE,
    UNCLEAR,
    BackendCase,
    Refusal,
)


def _scaleway_success(call: ApiCall) -> Any:
    return make_response(
        json_data={
            "emails": [
                {
                    "id": f"00000000-0000-4000-8000-{number:012}",
                    "message_id": "11111111-0000-4000-8000-000000000000",
                    "mail_rcpt": recipient["email"],
                    "rcpt_type": kind,
                    "status": "sending",
                }
                for number, (kind, recipient) in enumerate(
                    (kind, recipient)
                    for kind in ("to", "cc", "bcc")
                    for recipient in call.json.get(kind, [])
                )
            ]
        }
    )


def _scaleway_fail(answer: Any, number: int) -> None:
    answer["emails"][number]["status"] = "failed"


SCALEWAY = BackendCase(
    name="scaleway",
    backend="anymail.backends.scaleway.EmailBackend",
    esp_name="Scaleway",
    promised_settings="SECRET_KEY *b, PROJECT_ID *, REGION, API_URL",
    options={
        "secret_key": "scaleway-secret-key",
        "project_id": "11112222-3333-4444-8555-666677778888",
        "region": "pl-waw",
        "api_url": "https://api.scaleway.example/{region}/",
    },
    required=("secret_key", "project_id"),
    secret=("secret_key",),
    success=_scaleway_success,
    refusals=(
        Refusal(401, {"type": "denied_authentication", "message": "denied"}, ACCOUNT),
        Refusal(403, {"type": "permissions_denied", "message": "insufficient"}, ACCOUNT),
        Refusal(403, {"message": "insufficient permissions"}, ACCOUNT),
        Refusal(400, {"type": "quotas_exceeded", "message": "quota"}, ACCOUNT),
        Refusal(409, {"type": "transient_state", "message": "not yet"}, BUSY),
        Refusal(400, {"type": "invalid_arguments", "message": "to"}, MESSAGE),
        Refusal(429, {"type": "too_many_requests", "message": "slower"}, BUSY),
        Refusal(500, {"type": "internal", "message": "sorry"}, UNCLEAR),
        Refusal(
            200,
            {"emails": [{"id": "1", "mail_rcpt": "to@example.com", "status": "failed"}]},
            MESSAGE,
        ),
        Refusal(200, {"emails": []}, UNCLEAR),
    ),
    results_at=("emails",),
    fail=_scaleway_fail,
    statuses=frozenset({"queued"}),
    unsupported=(ADVANCED_FEATURES - {"metadata", "tags", "multiple_tags", "esp_extra"})
    | {"inline_image"},
    serialized=frozenset({"metadata", "esp_extra"}),
)
