"""SendGrid"""

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

SENDGRID_NOT_VERIFIED = "The from address does not match a verified Sender Identity"


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
    promised_settings=(
        "API_KEY *b, API_URL, GENERATE_MESSAGE_ID, MERGE_FIELD_FORMAT, "
        "TRACKING_WEBHOOK_VERIFICATION_KEY bw, USERNAME b, PASSWORD b"
    ),
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
    refusals=(
        *(
            Refusal(status, {"errors": [{"message": text, "field": name, "help": None}]}, *means)
            for status, text, name, *means in [
                (401, "Maximum credits exceeded", None, ACCOUNT),
                (401, "The provided authorization grant is invalid", None, ACCOUNT),
                (403, f"{SENDGRID_NOT_VERIFIED}. Mail cannot be sent.", "from", ACCOUNT, True),
                (400, "The template_id must be a valid GUID", "template_id", UNSUITABLE),
                (400, "Does not contain a valid address.", "personalizations.0.to", MESSAGE),
                (413, "Payload too large", None, UNSUITABLE),
                (500, "Internal error", None, UNCLEAR),
            ]
        ),
        Refusal(
            429,
            {"errors": [{"message": "too many requests", "field": None}]},
            BUSY,
            headers={"X-RateLimit-Reset": "{epoch}"},
            retry_after=90,
        ),
        Refusal(200, "<html>Welcome</html>", UNCLEAR),
    ),
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
