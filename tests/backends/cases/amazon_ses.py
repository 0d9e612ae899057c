"""Amazon SES"""

from __future__ import annotations

import json
from typing import Any

from ..harness import BotoCall, BotoTransport
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
    promised_settings=(
        "CLIENT_PARAMS, SESSION_PARAMS, CONFIGURATION_SET_NAME, MESSAGE_TAG_NAME, "
        "AUTO_CONFIRM_SNS_SUBSCRIPTIONS w, INBOUND_KMS_KEY_ID w, "
        "DOWNLOAD_CHUNK_SIZE w"
    ),
    packages=("boto3",),
    options={
        "client_params": {"region_name": "eu-central-1"},
        "session_params": {"profile_name": "ses"},
        "configuration_set_name": "config-set",
        "message_tag_name": "campaign",
    },
    success=_amazon_ses_success,
    refusals=(
        *(
            Refusal(status, {"Error": {"Code": code, "Message": "What is wrong"}}, *means)
            for status, code, *means in [
                (403, "AccessDeniedException", ACCOUNT),
                (403, "UnrecognizedClientException", ACCOUNT),
                (403, "ExpiredTokenException", ACCOUNT),
                (403, "InvalidClientTokenId", ACCOUNT),
                (403, "InvalidSignatureException", ACCOUNT),
                (403, "SignatureDoesNotMatch", ACCOUNT),
                (400, "LimitExceededException", ACCOUNT),
                (400, "AccountSuspendedException", ACCOUNT),
                (400, "SendingPausedException", ACCOUNT),
                (400, "MailFromDomainNotVerifiedException", ACCOUNT, True),
                (429, "TooManyRequestsException", BUSY),
                (400, "Throttling", BUSY),
                (400, "ThrottlingException", BUSY),
                (400, "MessageRejected", MESSAGE),
                (400, "BadRequestException", MESSAGE),
                (404, "NotFoundException", UNSUITABLE),
                (413, "RequestEntityTooLarge", UNSUITABLE),
                (500, "InternalFailure", UNCLEAR),
                (503, "ServiceUnavailable", BUSY),
            ]
        ),
        Refusal(
            400,
            {
                "Error": {
                    "Code": "MessageRejected",
                    "Message": "Email address is not verified. The following identities failed the "
                    "check in region US-EAST-1: from@example.com",
                }
            },
            ACCOUNT,
            True,
        ),
        *(
            Refusal(
                200,
                {"BulkEmailEntryResults": [{"Status": status}] * 2},
                *means,
                is_batch=True,
            )
            for status, *means in [
                ("ACCOUNT_DAILY_QUOTA_EXCEEDED", ACCOUNT),
                ("ACCOUNT_SENDING_PAUSED", ACCOUNT),
                ("ACCOUNT_SUSPENDED", ACCOUNT),
                ("ACCOUNT_THROTTLED", BUSY),
                ("CONFIGURATION_SET_NOT_FOUND", ACCOUNT),
                ("CONFIGURATION_SET_SENDING_PAUSED", ACCOUNT),
                ("INVALID_SENDING_POOL_NAME", ACCOUNT),
                ("MAIL_FROM_DOMAIN_NOT_VERIFIED", ACCOUNT, True),
                ("MESSAGE_REJECTED", MESSAGE),
                ("TEMPLATE_NOT_FOUND", UNSUITABLE),
                ("TRANSIENT_FAILURE", BUSY),
                ("FAILED", MESSAGE),
            ]
        ),
        Refusal(200, {}, UNCLEAR),
    ),
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
