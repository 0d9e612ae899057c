"""Amazon SES"""

from __future__ import annotations

import json
from typing import Any

from ..harness import BotoCall, BotoTransport
from .base import BackendCase, PerRecipient

AMAZON_SES_TEMPLATE = {"template_id": "1234", "subject": "", "body": ""}


def _amazon_ses_success(call: BotoCall) -> Any:
    if call.operation == "send_email":
        return {"MessageId": "0102018e00000000-00000000-0000-0000-0000-000000000000-000000"}
    return {
        "BulkEmailEntryResults": [
            {"Status": "SUCCESS", "MessageId": f"0102018e00000000-{number}"}
            for number, _ in enumerate(call.params["BulkEmailEntries"])
        ]
    }


def _amazon_ses_per_recipient(call: BotoCall) -> PerRecipient:
    result: PerRecipient = {}
    for entry in call.params["BulkEmailEntries"]:
        [to] = entry["Destination"]["ToAddresses"]
        template = entry["ReplacementEmailContent"]["ReplacementTemplate"]
        headers = {item["Name"]: item["Value"] for item in entry.get("ReplacementHeaders", [])}
        result[to.rpartition("<")[2].rstrip(">")] = {
            "merge_data": json.loads(template["ReplacementTemplateData"]),
            "merge_metadata": json.loads(headers.pop("X-Metadata", "{}")),
            "merge_headers": headers,
        }
    return result


def _amazon_ses_fail(answer: Any, number: int) -> None:
    error = {"Status": "TRANSIENT_FAILURE", "Error": "Try again."}
    answer["BulkEmailEntryResults"][number] = error


AMAZON_SES = BackendCase(
    name="amazon_ses",
    backend="anymail.backends.amazon_ses.EmailBackend",
    esp_name="Amazon SES",
    packages=("boto3",),
    options={
        "client_params": {"region_name": "eu-central-1"},
        "session_params": {"profile_name": "ses"},
        "configuration_set_name": "config-set",
        "message_tag_name": "campaign",
    },
    success=_amazon_ses_success,
    results_at=("BulkEmailEntryResults",),
    fail=_amazon_ses_fail,
    statuses=frozenset({"queued"}),
    unsupported=frozenset({"multiple_from", "send_at", "track_clicks", "track_opens"}),
    feature_attrs={
        "esp_extra": {"esp_extra": {"ListManagementOptions": {"ContactListName": "customers"}}},
        "template_id": AMAZON_SES_TEMPLATE,
        "merge_data": AMAZON_SES_TEMPLATE,
        "merge_global_data": AMAZON_SES_TEMPLATE,
        "merge_headers": AMAZON_SES_TEMPLATE,
        "merge_metadata": AMAZON_SES_TEMPLATE,
    },
    # With a template, there can't be bodies and attachments.
    combined_without=frozenset(
        {"template_id", "merge_data", "merge_global_data", "merge_headers", "merge_metadata"}
    ),
    # Django makes the MIME, or the choice of the API depends on it.
    not_in_defaults=frozenset(
        {
            "from_email",
            "to",
            "cc",
            "bcc",
            "subject",
            "reply_to",
            "extra_headers",
            "body",
            "alternatives",
            "attachments",
            "template_id",
        }
    ),
    template_is_batch=True,
    serialized=frozenset({"metadata", "merge_data", "merge_global_data", "merge_metadata"}),
    per_recipient=_amazon_ses_per_recipient,
    transport=BotoTransport,
)
