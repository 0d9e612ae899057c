"""Mandrill (Mailchimp Transactional).

- Sending: https://mailchimp.com/developer/transactional/api/messages/send-new-message/
- Templates: https://mailchimp.com/developer/transactional/api/messages/send-using-message-template/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, RecipientMap, parse_single_address
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import AnymailInvalidAddress, Problem
from ..message import ANYMAIL_STATUSES, AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.results import RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://mandrillapp.com/api/1.0"


class EmailBackend(AnymailRequestsBackend):
    """Sends with Mandrill's messages API."""

    esp_name = "Mandrill"

    # By the error's name. The HTTP status is 500 for most of them.
    ERRORS = {
        "GeneralError": Problem.UNCLEAR,
        "Invalid_Key": Problem.ACCOUNT,
        "PaymentRequired": Problem.ACCOUNT,
        "ServiceUnavailable": Problem.BUSY,
        "Unknown_Subaccount": Problem.ACCOUNT,
        "Unknown_Template": Problem.UNSUITABLE,
        "ValidationError": Problem.MESSAGE,
    }

    api_key: str = setting(
        "An API key: make one in Mandrill under *Settings*, *SMTP & API Info*. For one "
        'message: ``esp_extra = {"key": ...}``.',
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="mandrill/api/1.0/",
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> MandrillPayload:
        return MandrillPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        yield response.json()["name"]

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        reply = self.deserialize_json_response(response, payload, message)
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        with results:
            if not isinstance(reply, list):
                raise TypeError("It must be an array")
            for result in reply:
                with results:
                    results.add(result["email"], _parse_status(result))
        return self.checked_statuses(results, response, payload, message)

    @staticmethod
    def _dump_api_request(
        response: requests.Response, *, credentials: Iterable[str] = (), **kwargs: Any
    ) -> None:
        # The API key is in the body, and can be of that message only.
        body = response.request.body
        if body:
            key = json.loads(body).get("key")
            if isinstance(key, str) and key:
                credentials = [*credentials, key, json.dumps(key)[1:-1]]
        AnymailRequestsBackend._dump_api_request(response, credentials=credentials, **kwargs)


def _parse_status(result: dict[str, Any]) -> AnymailRecipientStatus:
    """Return a recipient's status. Raises KeyError or TypeError for a malformed result."""
    status, message_id = result["status"], result.get("_id")
    if not isinstance(status, str):
        raise TypeError("status must be text")
    if not isinstance(message_id, (str, int, type(None))):
        raise TypeError("_id must be text")
    return AnymailRecipientStatus(
        message_id=None if message_id is None else str(message_id),
        status=status if status in ANYMAIL_STATUSES else "unknown",
    )


class MandrillPayload(RequestsPayload):
    """The body of a call: the message is in ``data["message"]``."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(attrs=frozenset({"merge_data", "merge_metadata"}))

    def init_payload(self) -> None:
        self.message_data: dict[str, Any] = {}
        self.data = {"key": self.backend.api_key, "message": self.message_data}

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        if "template_name" in self.data:
            return "messages/send-template.json"
        return "messages/send.json"

    def serialize_data(self) -> str:
        if self.is_batch():
            # Don't show the recipients to each other.
            self.message_data["preserve_recipients"] = False
        return self.serialize_json(self.data)

    # -- Formats ------------------------------------------------------------------------------

    def format_addresses(self, emails: list[EmailAddress]) -> str:
        return ", ".join(email.format(idna_encode=self.backend.idna_encode) for email in emails)

    def format_per_recipient(
        self, field: str, entries: Iterable[tuple[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return [{"rcpt": address, field: value}] from (address, value) pairs."""
        # Mandrill looks for the addresses as they are in the message's "to".
        addresses = RecipientMap(
            {
                email.addr_spec: email.format_addr_spec(idna_encode=self.backend.idna_encode)
                for email in self.get_recipients()
            }
        )
        result = []
        for address, value in entries:
            try:
                rcpt = addresses.get(parse_single_address(address)) or address
            except AnymailInvalidAddress:
                rcpt = address
            result.append({"rcpt": rcpt, field: value})
        return result

    @staticmethod
    def format_vars(items: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        return [{"name": name, "content": content} for name, content in items]

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.message_data["from_email"] = email.format_addr_spec(
            idna_encode=self.backend.idna_encode
        )
        if email.display_name:
            self.message_data["from_name"] = email.display_name

    def add_recipient(self, recipient_type: str, email: EmailAddress) -> None:
        self.message_data.setdefault("to", []).append(
            {**email.as_dict(idna_encode=self.backend.idna_encode), "type": recipient_type}
        )

    def set_subject(self, subject: str) -> None:
        self.message_data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            headers = self.message_data.setdefault("headers", {})
            headers["Reply-To"] = self.format_addresses(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.message_data.setdefault("headers", {}).update(headers)

    def set_text_body(self, body: str) -> None:
        self.message_data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.message_data:
            self.unsupported_feature("multiple html parts")
        self.message_data["html"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        # The name of an image is its Content-ID.
        field, name = (
            ("images", attachment.cid) if attachment.inline else ("attachments", attachment.name)
        )
        self.message_data.setdefault(field, []).append(
            {
                "type": attachment.content_type,
                "name": name or "",
                "content": attachment.b64content,
            }
        )

    def set_envelope_sender(self, email: EmailAddress) -> None:
        # Mandrill makes up the local part.
        domain = email.domain
        if not domain.isascii():
            domain = self.backend.idna_encode(domain)
        self.message_data["return_path_domain"] = domain

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.message_data["metadata"] = metadata

    def set_send_at(self, send_at: datetime | str) -> None:
        if isinstance(send_at, datetime):
            send_at = send_at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        self.data["send_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        self.message_data["tags"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.message_data["track_clicks"] = track_clicks

    def set_track_opens(self, track_opens: bool) -> None:
        self.message_data["track_opens"] = track_opens

    def set_template_id(self, template_id: Any) -> None:
        self.data["template_name"] = template_id
        self.data["template_content"] = []  # required

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        self.message_data["merge_vars"] = self.format_per_recipient(
            "vars",
            (
                (address, self.format_vars(sorted(data.items(), key=lambda item: str(item[0]))))
                for address, data in merge_data.items()
            ),
        )

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.message_data["global_merge_vars"] = self.format_vars(merge_global_data.items())

    def set_merge_metadata(self, merge_metadata: dict[str, dict[str, Any]]) -> None:
        self.message_data["recipient_metadata"] = self.format_per_recipient(
            "values", merge_metadata.items()
        )

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        message_extra = extra.pop("message", None)
        if message_extra is not None:
            if not isinstance(message_extra, dict):
                raise TypeError("\"esp_extra['message']\" must be a dict")
            self.set_message_extra(message_extra)
        content = extra.get("template_content")
        if isinstance(content, Mapping):
            extra["template_content"] = self.format_vars(content.items())
        self.data.update(extra)
        if "template_name" in self.data:
            self.data.setdefault("template_content", [])

    def set_message_extra(self, extra: dict[str, Any]) -> None:
        """Set fields of the message from esp_extra["message"]."""
        self.check_extra_fields("esp_extra['message']", extra)
        if isinstance(metadata := extra.get("recipient_metadata"), Mapping):
            extra["recipient_metadata"] = self.format_per_recipient(
                "values", sorted(metadata.items())
            )
        self.message_data.update(extra)
