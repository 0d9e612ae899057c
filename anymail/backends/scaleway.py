"""Scaleway Transactional Email.

- Sending: https://www.scaleway.com/en/developers/api/transactional-email/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import AnymailConfigurationError, Problem
from ..message import AnymailRecipientStatus
from ..sending.results import RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.scaleway.com/transactional-email/v1alpha1/regions/{region}/"
DEFAULT_REGION = "fr-par"

# Scaleway's email statuses -> Anymail's
STATUSES = {
    "new": "queued",
    "sending": "queued",
    "sent": "sent",
    "failed": "failed",
    "canceled": "failed",
}


class EmailBackend(AnymailRequestsBackend):
    """Sends with Scaleway's API."""

    esp_name = "Scaleway"

    # By the error's type
    ERRORS = {
        "denied_authentication": Problem.ACCOUNT,
        "permissions_denied": Problem.ACCOUNT,
        "quotas_exceeded": Problem.ACCOUNT,
        "transient_state": Problem.BUSY,
    }

    secret_key: str = setting(
        "The secret key (not the access key) of an IAM API key that may send for the project.",
        kind=credential,
        required=True,
        bare=True,
    )
    project_id: str = setting(
        "The project that your domain belongs to. For one message: ``esp_extra = "
        '{"project_id": ...}``.',
        required=True,
    )
    region: str = setting(
        "The region. The default is the only one that offers the service so far.",
        default=DEFAULT_REGION,
    )
    api_url: str = setting(
        "Base URL of the API. ``{region}`` in it is replaced by the region.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="scaleway/transactional-email/v1alpha1/regions/{region}/",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        template = self.api_url
        try:
            self.api_url = template.format(region=quote(self.region, safe=""))
        except (IndexError, KeyError, ValueError) as err:
            raise AnymailConfigurationError(
                f"Invalid SCALEWAY_API_URL {template!r}: it must have no placeholder in braces "
                "except for {region}",
                docs="settings#setting-SCALEWAY_API_URL",
            ) from err

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> ScalewayPayload:
        return ScalewayPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        if "emails" not in answer:
            yield answer["type"]
        for email in answer.get("emails", []):
            if STATUSES.get(email["status"]) == "failed":
                yield email["status"]

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        answer = self.deserialize_json_response(response, payload, message)
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        with results:
            for email in answer["emails"]:
                with results:
                    if email.get("mail_rcpt") is not None:
                        results.add(email["mail_rcpt"], _parse_status(email))
        if not results.statuses:
            raise self.invalid_response_format(response, payload, message) from results.problem
        return self.checked_statuses(results, response, payload, message)


def _parse_status(email: Any) -> AnymailRecipientStatus:
    """Return a recipient's status. Raises KeyError or TypeError if it's malformed."""
    # The API and webhooks use this id; "message_id" is the same for all recipients.
    message_id, status = email["id"], email.get("status")
    return AnymailRecipientStatus(message_id, STATUSES.get(status, "unknown"))


class ScalewayPayload(RequestsPayload):
    """The JSON body of a call."""

    backend: EmailBackend
    data: dict[str, Any]

    def init_payload(self) -> None:
        self.headers = {
            "X-Auth-Token": self.backend.secret_key,
            "Content-Type": "application/json",
        }
        self.data = {"project_id": self.backend.project_id}
        self.from_addr_spec: str | None = None

    def get_api_endpoint(self) -> str:
        return "emails"

    def serialize_data(self) -> str:
        return self.serialize_json(self.data)

    def refuse_eai(self, emails: list[EmailAddress], field: str) -> None:
        """Report addresses that Scaleway accepts, but then loses the message for."""
        if any(email.uses_eai for email in emails):
            self.unsupported_feature(f"EAI in {field}")

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        return email.as_dict(idna_encode=self.backend.idna_encode)

    def add_header(self, name: str, value: str) -> None:
        self.data.setdefault("additional_headers", []).append({"key": name, "value": value})

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.refuse_eai([email], "from_email")
        self.from_addr_spec = email.addr_spec
        self.data["from"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        self.refuse_eai(emails, recipient_type)
        if emails:
            self.data[recipient_type] = [self.format_address(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        if subject:
            self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        self.refuse_eai(emails, "reply_to")
        if emails:
            # A Reply-To header replaces the attribute, which comes first.
            self.data.pop("additional_headers", None)
            # Scaleway encodes its own fields, but not additional headers.
            addresses = (
                email.format(use_rfc2047=True, idna_encode=self.backend.idna_encode)
                for email in emails
            )
            self.add_header("Reply-To", ", ".join(addresses))

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        for name, value in headers.items():
            self.add_header(name, str(value))

    def set_text_body(self, body: str) -> None:
        if body:
            self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.data:
            self.unsupported_feature("multiple html parts")
        if body:
            self.data["html"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        if attachment.inline:
            self.unsupported_feature("inline attachments")
        self.data.setdefault("attachments", []).append(
            {
                "name": attachment.name,
                "type": attachment.content_type,
                "content": attachment.b64content,
            }
        )

    def set_envelope_sender(self, email: EmailAddress) -> None:
        if email.addr_spec != self.from_addr_spec:
            super().set_envelope_sender(email)

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        if metadata:
            self.add_header("X-Metadata", self.serialize_json(metadata))

    def set_tags(self, tags: list[str]) -> None:
        if tags:
            self.add_header("X-Tags", self.serialize_json(tags))

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.data.update(extra)
