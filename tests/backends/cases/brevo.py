"""Brevo"""

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
    UNSUITABLE,
    BackendCase,
    PerRecipient,
    Refusal,
)


def _brevo_success(call: ApiCall) -> Any:
    versions = call.json.get("messageVersions")
    if versions is None:
        return make_response(201, json_data={"messageId": "<1@smtp-relay.mailin.fr>"})
    ids = [f"<1.{n}@smtp-relay.mailin.fr>" for n, _version in enumerate(versions)]
    return make_response(201, json_data={"messageIds": ids})


def _brevo_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for version in call.json["messageVersions"]:
        [to] = version["to"]
        headers = dict(version.get("headers", {}))
        result[to["email"]] = {
            "merge_data": version.get("params", {}),
            "merge_metadata": json.loads(headers.pop("X-Mailin-custom", "{}")),
            "merge_headers": headers,
        }
    return result


BREVO = BackendCase(
    name="brevo",
    backend="anymail.backends.brevo.EmailBackend",
    esp_name="Brevo",
    promised_settings=(
        "API_KEY *b, API_URL, WORKAROUND_DISPLAY_NAME_BUGS, PREVENT_HEADER_ENCODING_BUGS"
    ),
    options={
        "api_key": "brevo-api-key",
        "api_url": "https://api.brevo.example/v3/",
        "workaround_display_name_bugs": False,
        "prevent_header_encoding_bugs": False,
        "html_from_text": True,
    },
    required=("api_key",),
    secret=("api_key",),
    success=_brevo_success,
    refusals=(
        Refusal(401, {"code": "unauthorized", "message": "Key not found"}, ACCOUNT),
        Refusal(400, {"code": "not_enough_credits", "message": "Not enough credits"}, ACCOUNT),
        Refusal(403, {"code": "permission_denied", "message": "Not activated"}, ACCOUNT),
        Refusal(403, {"code": "account_under_validation", "message": "Not yet"}, ACCOUNT),
        Refusal(400, {"code": "invalid_parameter", "message": "email is not valid"}, MESSAGE),
        Refusal(
            400, {"code": "missing_parameter", "message": "htmlContent is missing"}, UNSUITABLE
        ),
        Refusal(404, {"code": "document_not_found", "message": "No such route"}, ACCOUNT),
        Refusal(
            429,
            {"code": "too_many_requests", "message": "Too many requests"},
            BUSY,
            headers={"x-sib-ratelimit-reset": "90"},
            retry_after=90,
        ),
        Refusal(500, {"code": "internal_error", "message": "Sorry"}, UNCLEAR),
        Refusal(201, {"unexpected": True}, UNCLEAR),
    ),
    results_at=("messageIds",),
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
            "from_header",
            "envelope_sender",
            "track_clicks",
            "track_opens",
        }
    ),
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
    accepts=frozenset({"empty"}),
    per_recipient=_brevo_per_recipient,
)
