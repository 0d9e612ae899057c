"""Postmark.

- Sending: https://postmarkapp.com/developer/api/email-api
- Templates: https://postmarkapp.com/developer/api/templates-api
- Bulk API: https://postmarkapp.com/developer/api/bulk-email
- Error codes: https://postmarkapp.com/developer/api/overview#error-codes
"""

from __future__ import annotations

import re
import uuid  # noqa: F401 (tests of projects replace its uuid4 here)
from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, parse_address_list
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import AnymailInvalidAddress, Problem
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.problems import SENDER
from ..sending.results import UNKNOWN, RecipientResults
from ..sending.shared_calls import Results, SharedCall
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.postmarkapp.com/"

# Postmark's ErrorCode values
OK = 0
INVALID_EMAIL_REQUEST = 300
INACTIVE_RECIPIENT = 406

MAX_CALL_BYTES = 45_000_000
"""It is 50 MB, with what differs between recipients."""

# Postmark names the addresses that it won't send to only in a text for people.
_INACTIVE_ADDRESSES = "inactive addresses:"
_AFTER_INACTIVE_ADDRESSES = "inactive recipients"
_INVALID_RECIPIENTS = re.compile(
    r"(?:Invalid|Error parsing)\s+'(?:To|Cc|Bcc)'.*?\baddress:?\s*'(?P<addresses>[^']*)'",
    re.IGNORECASE | re.DOTALL,
)


def _results(answer: Any, count: int) -> Results | None:
    """Return the results for each message of a batch, as Postmark answers single messages."""
    if not isinstance(answer, list):
        return None
    results = [result if isinstance(result, dict) else {} for result in answer]
    return [(200 if result.get("ErrorCode", OK) == OK else 422, result) for result in results]


class EmailBackend(AnymailRequestsBackend):
    """Sends with Postmark's API."""

    esp_name = "Postmark"

    # By ErrorCode. Some look like HTTP statuses.
    ERRORS = {
        **dict.fromkeys((10, 405, 412, 413), Problem.ACCOUNT),  # token, credits, under review
        **dict.fromkeys((400, 401), SENDER),
        **dict.fromkeys((100, 429), Problem.BUSY),  # maintenance, rate limit
        **dict.fromkeys((300, 402, 403, 406, 410, 411), Problem.MESSAGE),
        1101: Problem.UNSUITABLE,  # no such template
    }
    shared_call = SharedCall(limit=500, max_bytes=50_000_000, results=_results)

    server_token: str = setting(
        "The API token of one of your Postmark servers: find it in the server's *API "
        'Tokens* tab. For one message: ``esp_extra = {"server_token": ...}``.',
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="postmark/",
    )
    message_stream: str | None = setting(
        'ID of the message stream to send through, such as ``"broadcasts"``. For one '
        'message: ``esp_extra = {"MessageStream": ...}``.',
        default=None,
        default_text="Postmark's own default, the transactional stream",
    )
    use_bulk_api: bool = setting(
        "Whether to send everything with the bulk API. See :ref:`postmark-bulk`.",
        default=False,
    )
    generate_message_id: bool = setting(
        "Whether Anymail makes up message ids when it uses the bulk API.",
        default_of=lambda backend: backend.use_bulk_api,
        default_text="the value of :setting:`POSTMARK_USE_BULK_API`",
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> PostmarkPayload:
        return PostmarkPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[Any]:
        answer = response.json()
        for result in answer if isinstance(answer, list) else [answer]:
            if (code := result["ErrorCode"]) != OK:
                yield code

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        # 422 can be about particular recipients, which parse_recipient_status finds out.
        if response.status_code != requests.codes.unprocessable:
            super().raise_for_status(response, payload, message)

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        reply = self.deserialize_json_response(response, payload, message)
        if _is_bulk_reply(reply):
            for addr_spec, message_id in payload.message_ids.items():
                results.add(addr_spec, AnymailRecipientStatus(message_id, "queued"))
            return results.with_others(UNKNOWN)

        if isinstance(reply, list):
            replies = reply
            copies = payload.get_recipients("cc", "bcc")
            messages = [[email, *copies] for email in payload.get_recipients("to")]
        else:
            replies, messages = [reply], [results.recipients]
        has_error = False
        for index, result in enumerate(replies):
            emails = messages[index] if index < len(messages) else []
            with results:
                has_error |= not _read_result(result, emails, payload, results)
        self.checked_statuses(results, response, payload, message)
        statuses = results.with_others(UNKNOWN)
        if has_error:
            known = statuses if isinstance(reply, list) else None
            raise self.response_error(None, response, payload, message, known)
        return statuses


def _is_bulk_reply(reply: Any) -> bool:
    """Tell whether the bulk API has accepted a call: two kinds of answers are documented."""
    return (
        isinstance(reply, dict)
        and not reply.get("ErrorCode")
        and (
            "PercentageCompleted" in reply
            or ("Status" in reply and ("ID" in reply or "Id" in reply))
        )
    )


def _read_result(
    result: Any,
    emails: Iterable[EmailAddress],
    payload: PostmarkPayload,
    results: RecipientResults,
) -> bool:
    """Read the result for one message of a call.

    Returns False for an error that is not about particular recipients. Raises KeyError or
    TypeError for a malformed result.
    """
    text = result["Message"]
    error_code = result.get("ErrorCode", OK)
    found: list[str] = []
    refused = "rejected"

    if error_code == OK:
        delayed = "delivery may be delayed" in text
        status = AnymailRecipientStatus(result["MessageID"], "queued" if delayed else "sent")
        echoed = result.get("To")
        if echoed == payload.formatted_to:  # as nearly always
            results.add_all(payload.get_recipients("to"), status)
        else:
            for addr_spec in _parse_echoed_addresses(echoed):
                results.add(addr_spec, status)
        # In a batch, those get a copy of each message. The last one's id remains.
        results.add_all(payload.get_recipients("cc", "bcc"), status)
    else:
        results.add_failed(emails)

    if error_code in (OK, INACTIVE_RECIPIENT):
        found = _inactive_addresses(text)
    elif error_code == INVALID_EMAIL_REQUEST:
        match = _INVALID_RECIPIENTS.match(text)
        found = match["addresses"].lower().split(",") if match else []
        refused = "invalid"
    for addr_spec in found:
        results.add(addr_spec.strip(), AnymailRecipientStatus(None, refused))
    return bool(found) or error_code in (OK, INACTIVE_RECIPIENT)


def _inactive_addresses(text: str) -> list[str]:
    """Return the addresses that Postmark says it won't send to."""
    _, _, rest = text.lower().partition(_INACTIVE_ADDRESSES)
    addresses, is_complete, _ = rest.partition(_AFTER_INACTIVE_ADDRESSES)
    addresses = addresses.rstrip()
    return addresses[:-1].split(",") if is_complete and addresses.endswith(".") else []


def _parse_echoed_addresses(header: str | None) -> Iterable[str]:
    try:
        return [email.addr_spec for email in parse_address_list(header)]
    except AnymailInvalidAddress:
        # The message has been sent all the same. Its recipients' status remains unknown.
        return []


class PostmarkPayload(RequestsPayload):
    """The body of a call, built in Postmark's names; for a batch, the part common to all."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=500)

    def init_payload(self) -> None:
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self.server_token = self.backend.server_token
        self.data = {}
        if self.backend.message_stream is not None:
            self.data["MessageStream"] = self.backend.message_stream
        self.message_ids: dict[str, str] = {}
        self.formatted_to: str | None = None

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        if self.backend.use_bulk_api:
            return "email/bulk"
        if self.uses_template():
            # The slash is in Postmark's documentation of this endpoint, and only of this one.
            return "email/batchWithTemplates" if self.is_batch() else "email/withTemplate/"
        return "email/batch" if self.is_batch() else "email"

    def shared_endpoint(self) -> str | None:
        return "email/batch" if self.get_api_endpoint() == "email" else None

    def shared_trait(self) -> Any:
        return self.data.get("MessageStream")

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        params = super().get_request_params(api_url)
        params["headers"]["X-Postmark-Server-Token"] = self.server_token
        return params

    def serialize_data(self) -> str:
        if self.backend.use_bulk_api:
            return self.serialize_json(self.bulk_data())
        if not self.uses_template():
            # Postmark would deliver the message with its merge fields not filled in.
            if "TemplateModel" in self.data:
                self.unsupported_feature("merge_global_data without template_id")
            if self.merge_data:
                self.unsupported_feature("merge_data without template_id")
        if not self.is_batch():
            return self.serialize_json(self.data)
        messages = self.batch_messages()
        return self.serialize_json({"Messages": messages} if self.uses_template() else messages)

    def is_individual(self) -> bool:
        return self.is_batch() or self.backend.use_bulk_api

    def messages_per_call(self) -> int | None:
        limit = super().messages_per_call()
        assert limit is not None
        # Except with the bulk API, each message has all of the content.
        attachments = sum(len(item["Content"]) for item in self.data.get("Attachments", ()))
        bodies = sum(len(self.data.get(name) or "") for name in ("TextBody", "HtmlBody"))
        if self.backend.use_bulk_api or limit * (attachments + 6 * bodies) < MAX_CALL_BYTES:
            return limit  # as nearly always, even if all of the text must be escaped
        size = len(self.serialize_json({**self.data, "To": ""}))
        return max(1, min(limit, MAX_CALL_BYTES // size))

    def uses_template(self) -> bool:
        return "TemplateId" in self.data or "TemplateAlias" in self.data

    # -- Batch --------------------------------------------------------------------------------

    def batch_messages(self) -> list[dict[str, Any]]:
        """Return a complete message for each ``to`` recipient."""
        messages = []
        for recipient in self.batch_recipients():
            message = {**self.data, "To": self.format_addresses([recipient.email])}
            if recipient.merge_data is not None:
                message["TemplateModel"] = {
                    **self.data.get("TemplateModel", {}),
                    **recipient.merge_data,
                }
            if recipient.merge_metadata is not None:
                message["Metadata"] = {**self.data.get("Metadata", {}), **recipient.merge_metadata}
            if recipient.merge_headers is not None:
                message["Headers"] = self.merged_headers(recipient.merge_headers)
            messages.append(message)
        return messages

    def bulk_data(self) -> dict[str, Any]:
        """Return the content, followed by what is particular to each ``to`` recipient."""
        content = dict(self.data)
        content.pop("To", None)
        copies: dict[str, Any] = {
            field: content.pop(field) for field in ("Cc", "Bcc") if field in content
        }
        model = content.pop("TemplateModel", {})
        metadata = content.pop("Metadata", {})
        recipients = self.batch_recipients()
        message_ids: Iterable[str | None] = repeat(None, len(recipients))
        if self.backend.generate_message_id:
            # The bulk API doesn't return the ids of the messages, but webhooks have metadata.
            addr_specs = [recipient.email.addr_spec for recipient in recipients]
            message_ids = self.make_ids(addr_specs)
            self.message_ids = dict(zip(addr_specs, message_ids, strict=True))
        entries = []
        for recipient, message_id in zip(recipients, message_ids, strict=True):
            email, merge_data, merge_headers, merge_metadata = recipient
            entry: dict[str, Any] = {"To": self.format_addresses([email]), **copies}
            entry_model = {**model, **(merge_data or {})}
            entry_metadata = {**metadata, **(merge_metadata or {})}
            if message_id is not None:
                entry_metadata["anymail_id"] = message_id
            if entry_model:
                entry["TemplateModel"] = entry_model
            if entry_metadata:
                entry["Metadata"] = entry_metadata
            if merge_headers is not None:
                entry["Headers"] = self.merged_headers(merge_headers)
            entries.append(entry)
        return {**content, "Messages": entries}

    def merged_headers(self, headers: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a recipient's headers over those for everyone."""
        merged: CaseInsensitiveDict[Any] = CaseInsensitiveDict(
            {header["Name"]: header["Value"] for header in self.data.get("Headers", [])}
        )
        merged.update(headers)
        return self.format_headers(merged)

    # -- Formats ------------------------------------------------------------------------------

    def format_addresses(self, emails: list[EmailAddress]) -> str:
        return ", ".join(email.format(idna_encode=self.backend.idna_encode) for email in emails)

    @staticmethod
    def format_headers(headers: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"Name": name, "Value": value} for name, value in headers.items()]

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email_list(self, emails: list[EmailAddress]) -> None:
        self.data["From"] = self.format_addresses(emails)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            formatted = self.data[recipient_type.capitalize()] = self.format_addresses(emails)
            if recipient_type == "to":
                self.formatted_to = formatted

    def set_subject(self, subject: str) -> None:
        self.data["Subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["ReplyTo"] = self.format_addresses(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.data["Headers"] = self.format_headers(headers)

    def set_text_body(self, body: str) -> None:
        self.data["TextBody"] = body

    def set_html_body(self, body: str) -> None:
        if "HtmlBody" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["HtmlBody"] = body

    def set_attachments(self, attachments: list[Attachment]) -> None:
        if attachments:
            self.data["Attachments"] = [
                {
                    "Name": attachment.name or "",
                    "Content": attachment.b64content,
                    "ContentType": attachment.content_type,
                    **({"ContentID": f"cid:{attachment.cid}"} if attachment.cid else {}),
                }
                for attachment in attachments
            ]

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.data["Metadata"] = metadata

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature(f"multiple tags ({tags!r})")
        if tags:
            self.data["Tag"] = tags[0]

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.data["TrackLinks"] = "HtmlAndText" if track_clicks else "None"

    def set_track_opens(self, track_opens: bool) -> None:
        self.data["TrackOpens"] = track_opens

    def set_template_id(self, template_id: Any) -> None:
        try:
            self.data["TemplateId"] = int(template_id)
        except (OverflowError, TypeError, ValueError):
            self.data["TemplateAlias"] = template_id
        self.data.setdefault("TemplateModel", {})  # required
        # Postmark refuses content beside a template, even if it's empty.
        for field in ("Subject", "TextBody", "HtmlBody"):
            if field in self.data and not self.data[field]:
                del self.data[field]

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["TemplateModel"] = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.data.update(extra)
        self.server_token = self.data.pop("server_token", self.server_token)
