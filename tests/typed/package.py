"""What a package does that adds a provider to Anymail."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import requests
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponse

from anymail.backends.base import AnymailBaseBackend, BasePayload
from anymail.backends.base_requests import AnymailRequestsBackend, RequestsPayload
from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.conf import base_url, credential, number, setting
from anymail.exceptions import AnymailWebhookValidationFailure
from anymail.message import AnymailRecipientStatus
from anymail.signals import (
    AnymailEvent,
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    inbound,
    tracking,
)
from anymail.utils import (
    Attachment,
    CaseInsensitiveDict,
    EmailAddress,
    get_anymail_setting,
    last,
    parse_address_list,
    rfc2822date,
)
from anymail.webhooks.base import AnymailBaseWebhookView

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


class EmailBackend(AnymailRequestsBackend):
    esp_name = "New ESP"

    def __init__(self, **kwargs: Any) -> None:
        self.api_key: str = get_anymail_setting("api_key", esp_name=self.esp_name, kwargs=kwargs)
        api_url: str = get_anymail_setting(
            "api_url", esp_name=self.esp_name, kwargs=kwargs, default="https://api.example.com/v1/"
        )
        super().__init__(api_url, **kwargs)

    def create_session(self) -> requests.Session:
        session = super().create_session()
        session.headers["X-API-Key"] = self.api_key
        return session

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> NewPayload:
        return NewPayload(message, defaults, self, headers={"Accept": "application/json"})

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        if response.status_code != 409:
            super().raise_for_status(response, payload, message)

    def parse_recipient_status(
        self, response: Any, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        answer = self.deserialize_json_response(response, payload, message)
        try:
            message_id = answer["id"]
        except (KeyError, TypeError) as err:
            raise self.invalid_response_format(response, payload, message) from err
        status = AnymailRecipientStatus(message_id=message_id, status="queued")
        return {email.addr_spec: status for email in payload.recipients}


class DeclaredBackend(EmailBackend):
    """One that declares its settings"""

    api_url: str = setting("Base URL.", kind=base_url, default="https://api.example.com/v2/")
    api_key: str = setting("A key.", kind=credential, required=True)
    limit: int | None = setting("How many.", kind=number(minimum=1, integer=True), default=None)

    def send_slowly(self) -> None:
        assert_type(self.api_key, str)
        assert_type(self.limit, int | None)


class SubclassOfOurs(PostmarkBackend):
    message_stream = "broadcasts"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.api_url = f"{self.api_url}v2/"


class NewPayload(RequestsPayload):
    esp_message_attrs = (("folder", last, None),)

    data: dict[str, Any]
    recipients: list[EmailAddress]

    def init_payload(self) -> None:
        self.data = {}
        self.recipients = []

    def get_api_endpoint(self) -> str:
        return "batch" if self.is_batch() else "send"

    def serialize_data(self) -> str:
        return self.serialize_json(self.data)

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["from"] = email.as_dict(idna_encode=self.backend.idna_encode)
        assert_type(email.display_name, str)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        self.recipients += emails
        self.data[recipient_type] = [email.format(use_rfc2047=True) for email in emails]

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["reply_to"] = emails[0].address

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.data["headers"] = headers

    def set_text_body(self, body: str) -> None:
        self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        self.data["html"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        assert_type(attachment.b64content, str)
        assert_type(attachment.content, str | bytes)
        assert_type(attachment.name, str | None)
        self.data.setdefault("attachments", []).append(
            {"name": attachment.name or "", "content": attachment.b64content}
        )

    def set_send_at(self, send_at: Any) -> None:
        self.data["date"] = rfc2822date(send_at)

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature("multiple tags")
        self.data["tag"] = tags[0]

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        for name, value in metadata.items():
            self.check_header_value(f"metadata[{name!r}]", value)
        self.data["metadata"] = metadata

    def set_folder(self, folder: str) -> None:
        self.data["folder"] = folder

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.data.update(extra)


class QueueBackend(AnymailBaseBackend):
    """One without HTTP"""

    esp_name = "Queue"

    def open(self) -> bool:
        return False

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> BasePayload:
        return BasePayload(message, defaults, self)

    def post_to_esp(self, payload: Any, message: EmailMessage) -> object:
        return object()

    def parse_recipient_status(
        self, response: object, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        return {}


class NewBaseWebhookView(AnymailBaseWebhookView):
    esp_name = "New ESP"
    warn_if_no_basic_auth = False

    key: str | None = None  # can be an argument of as_view

    def __init__(self, **kwargs: Any) -> None:
        self.key = get_anymail_setting("webhook_key", esp_name=self.esp_name, kwargs=kwargs)
        super().__init__(**kwargs)

    def validate_request(self, request: HttpRequest) -> None:
        if request.headers.get("X-Key") != self.key:
            raise AnymailWebhookValidationFailure("Wrong key")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponse()


class NewTrackingWebhookView(NewBaseWebhookView):
    signal = tracking

    event_types: Mapping[str, str] = {"open": EventType.OPENED}

    def parse_events(self, request: HttpRequest) -> list[AnymailTrackingEvent]:
        kind = request.POST.get("kind", "")
        return [
            AnymailTrackingEvent(
                event_type=self.event_types.get(kind, EventType.UNKNOWN),
                recipient=parse_address_list(request.POST.get("to"))[0].addr_spec,
                esp_event=request.POST,
            )
        ]


class NewInboundWebhookView(NewBaseWebhookView):
    signal = inbound

    def parse_events(self, request: HttpRequest) -> list[AnymailEvent]:
        return [AnymailInboundEvent(event_id=request.POST.get("id"))]


view = NewTrackingWebhookView.as_view(key="a-key", basic_auth=["user:password"])
