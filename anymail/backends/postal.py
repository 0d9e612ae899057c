"""Postal, which is for self-hosting.

- Sending: https://docs.postalserver.io/developer/api
- Its source: send_controller.rb in https://github.com/postalserver/postal
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import Problem
from ..message import AnymailRecipientStatus
from ..sending.problems import SENDER
from ..sending.results import RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload


class EmailBackend(AnymailRequestsBackend):
    """Sends with the API of a Postal installation."""

    esp_name = "Postal"

    # The HTTP status is 200. All other codes are about the message.
    ERRORS = {
        "AccessDenied": Problem.ACCOUNT,
        "InvalidServerAPIKey": Problem.ACCOUNT,
        "ServerSuspended": Problem.ACCOUNT,
        "UnauthenticatedFromAddress": SENDER,
    }

    api_key: str = setting(
        "The key of an *API credential* of one of your Postal mail servers.",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        'URL of your Postal installation, such as ``"https://postal.example.com"``, '
        "without ``/api/v1``.",
        kind=base_url,
        sandbox="postal/",
        required=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> PostalPayload:
        return PostalPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        if answer["status"] != "success":
            yield answer["data"].get("code", answer["status"])

    def parse_recipient_status(
        self, response: requests.Response, payload: PostalPayload, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        reply = self.deserialize_json_response(response, payload, message)
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        with results:
            if reply["status"] != "success":
                # The HTTP status of errors is 200, too.
                raise self.response_error(None, response, payload, message)
            for address, result in reply["data"]["messages"].items():
                with results:
                    # This is the id in webhooks. "message_id" is the Message-ID header.
                    message_id = result["id"]
                    if isinstance(message_id, bool) or not isinstance(message_id, int):
                        raise TypeError("id must be a number")
                    results.add(address, AnymailRecipientStatus(message_id, "queued"))
        return self.checked_statuses(results, response, payload, message)


class PostalPayload(RequestsPayload):
    """The JSON body of a call."""

    backend: EmailBackend
    data: dict[str, Any]

    def init_payload(self) -> None:
        self.headers = {
            "X-Server-API-Key": self.backend.api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self.data = {}

    def get_api_endpoint(self) -> str:
        return "api/v1/send/message"

    def serialize_data(self) -> str:
        return self.serialize_json(self.data)

    def format_address(self, email: EmailAddress) -> str:
        return email.format(idna_encode=self.backend.idna_encode)

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["from"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        self.data[recipient_type] = [self.format_address(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple reply_to addresses")
        if emails:
            self.data["reply_to"] = self.format_address(emails[0])

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.data["headers"] = headers

    def set_text_body(self, body: str) -> None:
        self.data["plain_body"] = body

    def set_html_body(self, body: str) -> None:
        if "html_body" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["html_body"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        if attachment.inline:
            # There is no field for the Content-ID.
            self.unsupported_feature("inline attachments")
        self.data.setdefault("attachments", []).append(
            {
                "name": attachment.name or "",
                "content_type": attachment.content_type,
                "data": attachment.b64content,
            }
        )

    def set_envelope_sender(self, email: EmailAddress) -> None:
        self.data["sender"] = self.format_address(email)

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature(f"multiple tags ({tags!r})")
        if tags:
            self.data["tag"] = tags[0]

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.check_extra_fields("esp_extra", extra)
        self.data.update(extra)
