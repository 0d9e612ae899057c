"""The least that a backend must define: what a third party's package could look like.

It takes part in the contract, so that what is documented for such packages keeps working.
"""

from __future__ import annotations

from typing import Any

from anymail.backends.base_requests import AnymailRequestsBackend, RequestsPayload
from anymail.conf import get_anymail_setting
from anymail.message import AnymailRecipientStatus


class EmailBackend(AnymailRequestsBackend):
    esp_name = "Minimal ESP"

    def __init__(self, **kwargs: Any) -> None:
        self.api_key = get_anymail_setting("api_key", esp_name=self.esp_name, kwargs=kwargs)
        api_url = get_anymail_setting(
            "api_url",
            esp_name=self.esp_name,
            kwargs=kwargs,
            default="https://api.minimal.example/v1/",
        )
        if not api_url.endswith("/"):
            api_url += "/"
        super().__init__(api_url, **kwargs)

    def build_message_payload(self, message: Any, defaults: Any) -> Any:
        headers = {"X-API-Key": self.api_key, "Content-Type": "application/json"}
        return Payload(message, defaults, self, headers=headers)

    def parse_recipient_status(self, response: Any, payload: Any, message: Any) -> Any:
        answer = self.deserialize_json_response(response, payload, message)
        try:
            status = AnymailRecipientStatus(answer["id"], "sent")
        except (KeyError, TypeError) as err:
            raise self.invalid_response_format(response, payload, message) from err
        return {email.addr_spec: status for email in payload.recipients}


class Payload(RequestsPayload):
    def init_payload(self) -> None:
        self.data: dict[str, Any] = {}
        self.recipients: list[Any] = []

    def get_api_endpoint(self) -> str:
        return "send"

    def serialize_data(self) -> str:
        return self.serialize_json(self.data)

    def format(self, email: Any) -> str:
        return str(email.format(idna_encode=self.backend.idna_encode))

    def set_from_email(self, email: Any) -> None:
        self.data["from"] = self.format(email)

    def set_recipients(self, recipient_type: str, emails: Any) -> None:
        self.recipients += emails
        self.data[recipient_type] = [self.format(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: Any) -> None:
        self.data["reply_to"] = [self.format(email) for email in emails]

    def set_extra_headers(self, headers: Any) -> None:
        self.data["headers"] = headers

    def set_text_body(self, body: str) -> None:
        self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["html"] = body

    def add_attachment(self, attachment: Any) -> None:
        self.data.setdefault("attachments", []).append(
            {
                "name": attachment.name,
                "content": attachment.b64content,
                "type": attachment.content_type,
                "cid": attachment.cid,
            }
        )
