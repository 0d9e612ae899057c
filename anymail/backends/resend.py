"""Resend.

- Sending: https://resend.com/docs/api-reference/emails/send-email
- Batches: https://resend.com/docs/api-reference/emails/send-batch-emails
- Errors: https://resend.com/docs/api-reference/errors
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, RecipientMap
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import Problem
from ..headers import CaseInsensitiveCasePreservingDict
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.journey import journey_of
from ..sending.keys import shortened
from ..sending.problems import SENDER
from ..sending.results import RecipientResults
from ..sending.shared_calls import Results, SharedCall
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.resend.com/"

# Resend has tags of its own, but those allow few characters.
METADATA_HEADER = "X-Metadata"
TAGS_HEADER = "X-Tags"

NOT_VERIFIED = "domain is not verified"

MAX_KEY_LENGTH = 256


def _results(answer: Any, count: int) -> Results | None:
    """Return the results for each message of a batch, as Resend answers single messages."""
    if not isinstance(answer, dict) or "data" not in answer:
        return None
    refused = {error["index"]: (422, error) for error in answer.get("errors") or []}
    accepted = iter([(200, item) for item in answer["data"]])
    results = [refused.pop(index, None) or next(accepted, None) for index in range(count)]
    if refused or None in results or next(accepted, None) is not None:
        raise TypeError("data and errors don't fit the messages")
    return [result for result in results if result]


class EmailBackend(AnymailRequestsBackend):
    """Sends with Resend's API."""

    esp_name = "Resend"
    idempotency = timedelta(hours=24)
    KEY_USED = frozenset({"invalid_idempotent_request"})

    # By the error's name, but for one that has none of its own
    ERRORS = {
        "concurrent_idempotent_requests": Problem.BUSY,
        "daily_quota_exceeded": Problem.BUSY,
        "monthly_quota_exceeded": Problem.BUSY,
        "rate_limit_exceeded": Problem.BUSY,
        NOT_VERIFIED: SENDER,
    }
    shared_call = SharedCall(
        limit=100,
        max_bytes=40_000_000,
        results=_results,
        # Otherwise, Resend would refuse all for the sake of one.
        headers={"x-batch-validation": "permissive"},
    )

    api_key: str = setting(
        "An API key. One with *sending access* will do for sending. To have a key that can do "
        "nothing else, give that to the backend in ``MAILERS``, and put one with full access into "
        "``ANYMAIL``.",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="resend/",
    )
    verify_attachment_extensions: bool = setting(
        "Whether to refuse attachments whose names don't fit their types. See "
        ":ref:`resend-quirks`.",
        default=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> ResendPayload:
        return ResendPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        for error in answer.get("errors", [answer]):
            yield NOT_VERIFIED if NOT_VERIFIED in error["message"] else error.get("name")

    def was_sent_before(self, response: requests.Response, payload: Any) -> bool:
        # The answer is that another call had the same key. If it was for the same message, that
        # differs in details only, such as its metadata. (The same call gets the same answer.)
        is_same = (
            payload.idempotency_key is not None and journey_of(payload.whole_message).is_repeat
        )
        return is_same and super().was_sent_before(response, payload)

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        answer = self.deserialize_json_response(response, payload, message)
        # Resend reports addresses that it won't send to with webhooks only.
        queued = AnymailRecipientStatus(None, "queued")
        results = RecipientResults(payload.get_recipients())
        with results:
            if "id" in answer:
                return results.with_others(AnymailRecipientStatus(_checked_id(answer), "queued"))
            to_emails = payload.get_recipients("to")
            refused = _refused_messages(answer, len(to_emails))
            results.add_failed(to_emails[index] for index in refused)
            accepted = [email for index, email in enumerate(to_emails) if index not in refused]
            if refused and not accepted:
                results.add_failed(payload.get_recipients("cc", "bcc"))
            if not isinstance(answer["data"], list):
                raise TypeError("data must be an array")
            for index, item in enumerate(answer["data"]):
                with results:
                    status = AnymailRecipientStatus(_checked_id(item), "queued")
                    results.add_all(accepted[index : index + 1], status)
        self.checked_statuses(results, response, payload, message)
        return results.with_others(queued)


def _refused_messages(answer: dict[str, Any], count: int) -> set[int]:
    """Return which messages of a batch Resend has refused, while it has accepted the others.

    It does so with the header "x-batch-validation: permissive". Its "data" is then about the
    others. Raises KeyError or TypeError if it's malformed.
    """
    refused = {error["index"] for error in answer.get("errors") or []}
    if not refused.issubset(range(count)):
        raise TypeError("index must be that of a message")
    return refused


def _checked_id(item: Any) -> str:
    message_id = item["id"]
    if not isinstance(message_id, str):
        raise TypeError("id must be text")
    return message_id


class ResendPayload(RequestsPayload):
    """The JSON of a call, built in Resend's names; for a batch, the part common to all."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=100)

    def init_payload(self) -> None:
        self.headers = {
            "Authorization": f"Bearer {self.backend.api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self.data = {}
        self.metadata: dict[str, Any] = {}

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "emails/batch" if self.is_batch() else "emails"

    def shared_endpoint(self) -> str | None:
        if self.get_api_endpoint() != "emails" or self.idempotency_key is not None:
            return None
        # Resend would drop attachments without an error.
        return None if "attachments" in self.data else "emails/batch"

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        params = super().get_request_params(api_url)
        if (key := self.idempotency_key) is not None:
            params["headers"]["Idempotency-Key"] = shortened(key, MAX_KEY_LENGTH)
        return params

    def serialize_data(self) -> str:
        return self.serialize_json(self.batch_messages() if self.is_batch() else self.data)

    def batch_messages(self) -> list[dict[str, Any]]:
        """Return a complete message for each ``to`` recipient."""
        common = dict(self.data)
        if common.pop("attachments", None):
            # Resend would drop them without an error.
            self.unsupported_feature("attachments in a batch")
        messages = []
        for email, _, merge_headers, merge_metadata in self.batch_recipients():
            message = {**common, "to": self.format_addresses([email])}
            headers = CaseInsensitiveCasePreservingDict(self.data.get("headers"))
            if merge_metadata:
                headers[METADATA_HEADER] = self.serialize_json({**self.metadata, **merge_metadata})
            headers.update(merge_headers or {})
            if headers:
                message["headers"] = headers
            messages.append(message)
        return messages

    # -- Formats ------------------------------------------------------------------------------

    def format_addresses(self, emails: list[EmailAddress]) -> list[str]:
        return [email.format(idna_encode=self.backend.idna_encode) for email in emails]

    def set_header(self, name: str, value: Any) -> None:
        self.data.setdefault("headers", CaseInsensitiveDict())[name] = value

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        [self.data["from"]] = self.format_addresses([email])

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            self.data[recipient_type] = self.format_addresses(emails)

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["reply_to"] = self.format_addresses(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        for name, value in headers.items():
            self.set_header(name, str(value) if isinstance(value, (int, float)) else value)

    def set_text_body(self, body: str) -> None:
        self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        self.data["html"] = body

    def set_attachments(self, attachments: list[Attachment]) -> None:
        if attachments:
            self.data["attachments"] = [self.format_attachment(item) for item in attachments]

    def format_attachment(self, attachment: Attachment) -> dict[str, str]:
        formatted = {
            "content": attachment.b64content,
            "filename": self.attachment_filename(attachment),
            "content_type": attachment.content_type,
        }
        if attachment.inline:
            if not attachment.cid:
                self.unsupported_feature("inline attachments without Content-ID")
            formatted["content_id"] = attachment.cid
        return formatted

    def attachment_filename(self, attachment: Attachment) -> str:
        """Return the name to send.

        Resend accepts messages with attachments whose names don't fit their types, or that have no
        names, but does not deliver them.
        """
        mimetype = attachment.mimetype.lower()
        name = attachment.name
        if name:
            if self.backend.verify_attachment_extensions:
                expected, _encoding = mimetypes.guess_type(name)
                if expected is not None and expected != mimetype:
                    self.unsupported_feature(f"attachments of type {mimetype} with name {name!r}")
            return name
        extension = mimetypes.guess_extension(mimetype)
        if extension is None:
            self.unsupported_feature(f"unnamed attachments of type {mimetype}")
            return ""
        return f"attachment{extension}"

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        if metadata:
            self.set_header(METADATA_HEADER, self.serialize_json(metadata))

    def set_send_at(self, send_at: datetime | str) -> None:
        if isinstance(send_at, datetime):
            timespec = "milliseconds" if send_at.microsecond else "seconds"
            send_at = send_at.isoformat(timespec=timespec)
        self.data["scheduled_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        if tags:
            self.set_header(TAGS_HEADER, self.serialize_json(tags))

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        # Without any data, it's a batch all the same.
        recipients = RecipientMap(merge_data)
        if any(recipients.get(email) for email in self.get_recipients("to")):
            self.unsupported_feature("merge_data")

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.check_header_value("esp_extra['subject']", extra.get("subject", ""))
        if headers := extra.get("headers"):
            if not isinstance(headers, Mapping):
                raise TypeError("esp_extra['headers'] must be a dict")
            self._check_headers("esp_extra['headers']", headers)
        self.data.update(extra)
