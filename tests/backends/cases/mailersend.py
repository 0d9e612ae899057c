"""MailerSend"""

from __future__ import annotations

from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import BackendCase, PerRecipient


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
    options={
        "api_token": "mailersend-api-token",
        "batch_send_mode": "use-bulk-email",
        "api_url": "https://api.mailersend.example/v1/",
    },
    required=("api_token",),
    secret=("api_token",),
    success=_mailersend_success,
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
