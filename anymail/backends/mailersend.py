"""MailerSend.

- Sending: https://developers.mailersend.com/api/v1/email
- Bulk: https://developers.mailersend.com/api/v1/email#send-bulk-emails
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..datastructures import update_deep
from ..exceptions import AnymailUnsupportedFeature, Problem
from ..message import AnymailRecipientStatus
from ..sending.batches import BatchRecipient, NativeBatch
from ..sending.problems import SENDER
from ..sending.results import UNKNOWN, RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.mailersend.com/v1/"

# Values of batch_send_mode
EXPOSE_TO_LIST = "expose-to-list"
USE_BULK_EMAIL = "use-bulk-email"

SUPPRESSION_WARNINGS = ("ALL_SUPPRESSED", "SOME_SUPPRESSED")

# Values of a Precedence header that make precedence_bulk true
BULK_PRECEDENCES = frozenset({"bulk", "junk", "list"})

# At the end of texts about errors
_ERROR_CODE = re.compile(r"#(MS\d+)")


class EmailBackend(AnymailRequestsBackend):
    """Sends with MailerSend's email and bulk-email APIs."""

    esp_name = "MailerSend"

    ERRORS = {
        **dict.fromkeys((f"MS4030{number}" for number in range(1, 6)), Problem.ACCOUNT),
        "MS42207": SENDER,  # The domain isn't verified.
        **dict.fromkeys(("MS42204", "MS42901", "MS42903"), Problem.BUSY),  # quota, rate limit
    }

    api_token: str = setting(
        "An API token of the domain that you send from; sending is all that it must be "
        'allowed to do. For one message: ``esp_extra = {"api_token": ...}``.',
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="mailersend/v1/",
    )
    batch_send_mode: str | None = setting(
        'How to send batches: ``"use-bulk-email"`` or ``"expose-to-list"``. See '
        ':ref:`mailersend-templates`. For one message: ``esp_extra = {"batch_send_mode": '
        "...}``.",
        default=None,
        default_text="not at all to several recipients",
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> MailerSendPayload:
        return MailerSendPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        texts = [text for errors in (answer.get("errors") or {}).values() for text in errors]
        for text in texts or [answer["message"]]:
            found = _ERROR_CODE.search(text)
            yield found[1] if found else text

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        # Usually there is no content, and it's declared to be HTML.
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        answer: Any = {}
        if media_type == "application/json":
            answer = self.deserialize_json_response(response, payload, message)
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        status = None
        with results:
            status = _parse_outcome(response, answer)
        with results:
            for warning in answer.get("warnings") or []:
                with results:
                    _read_warning(warning, results)

        known = results.known() if status is None else results.with_others(status)
        if results.problem is not None:
            raise self.invalid_response_format(
                response, payload, message, known
            ) from results.problem
        if answer.get("errors"):
            raise self.response_error(
                "Errors in MailerSend API response", response, payload, message, known
            )
        if status is not None:
            return known
        statuses = results.with_others(UNKNOWN)
        if UNKNOWN in statuses.values():
            raise self.response_error(
                "MailerSend has given the message no id: it may or may not have accepted it",
                response,
                payload,
                message,
                statuses if results.statuses else None,
            )
        return statuses


def _parse_outcome(response: requests.Response, answer: Any) -> AnymailRecipientStatus | None:
    """Return the status of all recipients that no warning is about; None if there is no id.

    Raises AttributeError or TypeError for a malformed answer.
    """
    message_id = response.headers.get("X-Message-Id")
    if message_id:
        return AnymailRecipientStatus(message_id, "queued")
    bulk_id = answer.get("bulk_email_id")
    if not bulk_id:
        return None
    if not isinstance(bulk_id, str):
        raise TypeError("bulk_email_id must be text")
    # The ids of the messages will be known when MailerSend has validated and sent them.
    return AnymailRecipientStatus(f"bulk:{bulk_id}", "unknown")


def _read_warning(warning: dict[str, Any], results: RecipientResults) -> None:
    """Add the addresses that MailerSend won't send to. Warnings of other kinds change nothing.

    Raises AttributeError, KeyError or TypeError for a malformed warning.
    """
    if warning.get("type") in SUPPRESSION_WARNINGS:
        for recipient in warning["recipients"]:
            with results:
                results.add(recipient["email"], AnymailRecipientStatus(None, "rejected"))


class MailerSendPayload(RequestsPayload):
    """The body of a call of the email API: one message, perhaps to several recipients.

    For the bulk-email API, one such message is made for each ``to`` recipient.
    """

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=500, attrs=frozenset({"merge_data"}))

    def init_payload(self) -> None:
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self.api_token = self.backend.api_token
        self.batch_send_mode = self.backend.batch_send_mode
        self.data = {}
        self.merge_global_data: dict[str, Any] = {}

    # -- Request ------------------------------------------------------------------------------

    def is_individual(self) -> bool:
        return self.is_batch() and self.batch_send_mode == USE_BULK_EMAIL

    def get_api_endpoint(self) -> str:
        if not self.is_batch():
            return "email"
        if self.is_individual():
            return "bulk-email"
        if self.batch_send_mode != EXPOSE_TO_LIST and len(self.get_recipients("to")) > 1:
            # Either choice has consequences that must not come as a surprise. So this can't be
            # ignored like other unsupported features.
            raise AnymailUnsupportedFeature(
                f"{self.esp_name} has no batch sending that both hides the recipients from each "
                "other and tells the message ids. Choose one of the two with the setting "
                f"MAILERSEND_BATCH_SEND_MODE: {USE_BULK_EMAIL!r} does not tell the ids, "
                f"{EXPOSE_TO_LIST!r} shows everybody all of the recipients.",
                **self._error_context(),
            )
        return "email"

    def get_request_params(self, api_url: str) -> dict[str, Any]:
        params = super().get_request_params(api_url)
        params["headers"]["Authorization"] = f"Bearer {self.api_token}"
        return params

    def serialize_data(self) -> str:
        if self.get_api_endpoint() == "bulk-email":
            return self.serialize_json(self.bulk_messages())
        data = dict(self.data)
        if self.has_merge_data:
            data["personalization"] = [self.personalize(item) for item in self.batch_recipients()]
        return self.serialize_json(data)

    # -- Batch --------------------------------------------------------------------------------

    @property
    def has_merge_data(self) -> bool:
        return bool(self.merge_data or self.merge_global_data)

    def personalize(self, recipient: BatchRecipient) -> dict[str, Any]:
        """Return the data to be merged for a recipient."""
        return {
            "email": self.format_address(recipient.email)["email"],
            "data": {**self.merge_global_data, **(recipient.merge_data or {})},
        }

    def bulk_messages(self) -> list[dict[str, Any]]:
        """Return a complete message for each ``to`` recipient."""
        recipients = self.batch_recipients()
        if not recipients:
            self.unsupported_feature("batch sending without `to` recipients")
            return [self.data]  # which MailerSend refuses
        messages = []
        for recipient in recipients:
            message = {**self.data, "to": [self.format_address(recipient.email)]}
            if self.has_merge_data:
                message["personalization"] = [self.personalize(recipient)]
            messages.append(message)
        return messages

    # -- Formats ------------------------------------------------------------------------------

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        return email.as_dict(idna_encode=self.backend.idna_encode)

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["from"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            self.data[recipient_type] = [self.format_address(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple reply_to emails")
        if emails:
            self.data["reply_to"] = self.format_address(emails[0])

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        # MailerSend only takes text.
        texts: CaseInsensitiveDict[Any] = CaseInsensitiveDict(
            {
                name: str(value) if isinstance(value, (int, float)) else value
                for name, value in headers.items()
            }
        )
        # These have fields of their own.
        if "In-Reply-To" in texts:
            self.data["in_reply_to"] = texts.pop("In-Reply-To")
        if "Precedence" in texts:
            precedence = str(texts.pop("Precedence")).strip().lower()
            self.data["precedence_bulk"] = precedence in BULK_PRECEDENCES
        if texts:
            self.data["headers"] = [{"name": name, "value": value} for name, value in texts.items()]

    def set_text_body(self, body: str) -> None:
        self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["html"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        filename = attachment.name
        if not filename:
            # Required, and its extension is what the type of the content is derived from.
            extension = mimetypes.guess_extension(attachment.mimetype, strict=False)
            filename = f"attachment{extension}" if extension else filename
        formatted = {
            "filename": filename,
            "content": attachment.b64content_utf8,
            "disposition": "attachment",
        }
        if attachment.inline:
            formatted.update(disposition="inline", id=attachment.cid)
        self.data.setdefault("attachments", []).append(formatted)

    def set_send_at(self, send_at: datetime | str) -> None:
        if isinstance(send_at, datetime):
            self.data["send_at"] = int(send_at.timestamp())
        else:
            self.data["send_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        if tags:
            self.data["tags"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.data.setdefault("settings", {})["track_clicks"] = track_clicks

    def set_track_opens(self, track_opens: bool) -> None:
        self.data.setdefault("settings", {})["track_opens"] = track_opens

    def set_template_id(self, template_id: Any) -> None:
        self.data["template_id"] = template_id

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.merge_global_data = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.api_token = extra.pop("api_token", self.api_token)
        self.batch_send_mode = extra.pop("batch_send_mode", self.batch_send_mode)
        self.check_header_value("esp_extra['subject']", extra.get("subject", ""))
        headers = extra.get("headers")
        for header in headers if isinstance(headers, list) else []:
            if isinstance(header, Mapping) and isinstance(name := header.get("name"), str):
                self._check_headers("esp_extra['headers']", {name: header.get("value")})
        update_deep(self.data, extra)
