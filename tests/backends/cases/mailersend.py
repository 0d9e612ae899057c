"""MailerSend"""

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
    PerRecipient,
    Refusal,
)

FORBIDDEN = [f"MS4030{number}" for number in range(1, 6)]


def _mailersend_success(call: ApiCall) -> Any:
    if isinstance(call.json, list):
        return make_response(
            202,
            json_data={
                "message": "The bulk email is being processed.",
                "bulk_email_id": "614470d1588b866d0454f3e2",
            },
        )
    response = make_response(202, content_type="text/html; charset=UTF-8")
    response.headers["X-Message-Id"] = "5e42957d51f1d94a1070a733"
    return response


def _mailersend_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for message in call.json:
        [to] = message["to"]
        [personalization] = message["personalization"]
        assert personalization["email"] == to["email"]
        result[to["email"]] = {"merge_data": personalization["data"]}
    return result


MAILERSEND = BackendCase(
    name="mailersend",
    backend="anymail.backends.mailersend.EmailBackend",
    esp_name="MailerSend",
    promised_settings=(
        "API_TOKEN *b, API_URL, BATCH_SEND_MODE, SIGNING_SECRET *w, INBOUND_SECRET *w"
    ),
    options={
        "api_token": "mailersend-api-token",
        "batch_send_mode": "use-bulk-email",
        "api_url": "https://api.mailersend.example/v1/",
    },
    required=("api_token",),
    secret=("api_token",),
    success=_mailersend_success,
    refusals=(
        Refusal(401, {"message": "Unauthenticated."}, ACCOUNT),
        *(Refusal(403, {"message": f"Not allowed. #{code}"}, ACCOUNT) for code in FORBIDDEN),
        *(
            Refusal(
                422, {"message": "Invalid.", "errors": {"from.email": [f"No. #{code}"]}}, *means
            )
            for code, *means in [
                ("MS42207", ACCOUNT, True),
                ("MS42204", BUSY),
                ("MS42217", MESSAGE),
                ("MS42212", MESSAGE),
            ]
        ),
        # Several reasons
        Refusal(
            422,
            {"message": "Invalid.", "errors": {"to": ["No. #MS42208"], "from": ["No. #MS42207"]}},
            MESSAGE,
        ),
        Refusal(422, {"message": "The subject field is required."}, MESSAGE),
        *(
            Refusal(
                429,
                {"message": f"Too many requests. #{code}"},
                BUSY,
                headers={"retry-after": "90"},
                retry_after=90,
            )
            for code in ("MS42901", "MS42903")
        ),
        Refusal(421, {"message": "Service isn't available, try again later."}, BUSY),
        Refusal(202, {}, UNCLEAR),
    ),
    statuses=frozenset({"queued"}),
    batch_statuses=frozenset({"unknown"}),
    unsupported=frozenset(
        {
            "multiple_reply_to",
            "multiple_html",
            "multiple_text",
            "amp_alternative",
            "other_alternative",
            "multiple_from",
            "to_header",
            "from_header",
            "envelope_sender",
            "metadata",
            "merge_headers",
            "merge_metadata",
        }
    ),
    serialized=frozenset({"extra_headers", "merge_data", "merge_global_data", "esp_extra"}),
    # Its answers are empty, other than those of bulk sending: ids are in a header.
    reads_answers=False,
    per_recipient=_mailersend_per_recipient,
    base_options=lambda: {"batch_send_mode": "use-bulk-email"},
)
