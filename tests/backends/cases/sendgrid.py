"""SendGrid"""

from __future__ import annotations

from typing import Any

from ...utils import make_response
from ..harness import ApiCall
from .base import BackendCase, PerRecipient


def _sendgrid_success(call: ApiCall) -> Any:
    return make_response(202)


def _sendgrid_per_recipient(call: ApiCall) -> PerRecipient:
    result: PerRecipient = {}
    for personalization in call.json["personalizations"]:
        [to] = personalization["to"]
        metadata = dict(personalization["custom_args"])
        del metadata["anymail_id"]
        result[to["email"]] = {
            "merge_data": personalization.get("dynamic_template_data", {}),
            "merge_metadata": metadata,
            "merge_headers": personalization.get("headers", {}),
        }
    return result


SENDGRID = BackendCase(
    name="sendgrid",
    backend="anymail.backends.sendgrid.EmailBackend",
    esp_name="SendGrid",
    options={
        "api_key": "sendgrid-api-key",
        "generate_message_id": True,
        "merge_field_format": "-{}-",
        "api_url": "https://api.eu.sendgrid.com/v3/",
    },
    required=("api_key",),
    matrix_options=("merge_field_format",),
    secret=("api_key",),
    success=_sendgrid_success,
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_from", "to_header", "from_header", "envelope_sender"}),
    feature_attrs={
        # The data for legacy templates can only be text.
        "template_id": {"template_id": "d-1234"},
        "merge_data": {"template_id": "d-1234"},
        "merge_global_data": {"template_id": "d-1234"},
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
    # Its answers are empty: the HTTP status is all that counts.
    per_recipient=_sendgrid_per_recipient,
)
