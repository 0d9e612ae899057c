"""Keeps messages in django.core.mail.outbox, with what would have been sent to a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core import mail
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import configuration_error
from ..exceptions import AnymailAPIError
from ..message import AnymailRecipientStatus
from .base import AnymailBaseBackend, BasePayload


class EmailBackend(AnymailBaseBackend):
    """An email backend for the tests of projects that use Anymail's attributes.

    Each message is appended to ``django.core.mail.outbox`` and gets an attribute
    ``anymail_test_params``: what would have gone to a provider, send defaults included.
    Set ``anymail_test_response`` on a message to simulate an API error (an AnymailAPIError
    instance), or statuses: ``{"recipient_status": {addr_spec: AnymailRecipientStatus}}``.

    With ``as_if``, the name of a provider such as "postmark", it raises what that provider's
    backend does for messages that it can't send, AnymailUnsupportedFeature for example.
    """

    esp_name = "Test"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._payload_class: type[TestPayload] = kwargs.pop("payload_class", TestPayload)
        self.as_if: str | None = kwargs.pop("as_if", None)
        if self.as_if is not None:
            _check_provider(self.as_if, kwargs)
        super().__init__(*args, **kwargs)
        if not hasattr(mail, "outbox"):
            mail.outbox = []

    def get_esp_message_id(self, message: EmailMessage) -> Any:
        """Return the message's id: its index in the outbox."""
        return mail.outbox.index(message)

    def record_message(self, message: EmailMessage) -> None:
        """Keep the message in the outbox."""
        mail.outbox.append(message)

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> BasePayload:
        return self._payload_class(message, defaults, self)

    def post_to_esp(self, payload: Any, message: Any) -> Any:
        if self.as_if is not None:
            self._check_as(self.as_if, message)
        message.anymail_test_params = payload.get_params()
        self.record_message(message)
        try:
            response = message.anymail_test_response
        except AttributeError:
            status = AnymailRecipientStatus(self.get_esp_message_id(message), "sent")
            return {"recipient_status": dict.fromkeys(payload.recipient_emails, status)}
        if isinstance(response, AnymailAPIError):
            raise response
        return response

    def _check_as(self, provider: str, message: EmailMessage) -> None:
        """Raise what a provider's backend raises if it can't send a message."""
        # only needed here
        from ..delivery.snapshot import copy_message
        from ..known_settings import backend_without_keys

        backend: Any = backend_without_keys(
            provider, ignore_unsupported_features=self.ignore_unsupported_features
        )
        payload = backend.build_message_payload(copy_message(message), backend.send_defaults)
        for part in payload.split():
            if hasattr(part, "get_request_params"):
                part.get_request_params(backend.api_url)
            else:  # for boto3
                part.get_api_params()

    def parse_recipient_status(
        self, response: Any, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        try:
            return response["recipient_status"]  # type: ignore[no-any-return]
        except (KeyError, TypeError) as err:
            raise AnymailAPIError(
                "anymail_test_response must have a 'recipient_status'",
                email_message=message,
                payload=payload,
                response=response,
                backend=self,
            ) from err


def _check_provider(name: str, kwargs: Mapping[str, Any]) -> None:
    from ..providers import PROVIDERS

    if name not in PROVIDERS:
        raise configuration_error(
            f"'as_if' must be one of {', '.join(PROVIDERS)}, not {name!r:.100}.",
            "testing#testing-as-if",
            kwargs,
        )


class TestPayload(BasePayload):
    """Collects everything, under Anymail's own names."""

    __test__ = False  # not a test case

    params: dict[str, Any]
    recipient_emails: list[str]

    def init_payload(self) -> None:
        self.params = {}
        self.recipient_emails = []

    def get_params(self) -> dict[str, Any]:
        """Return what was collected. Call it once all attributes are processed."""
        self.params["is_batch_send"] = self.is_batch()
        return self.params

    def set_from_email(self, email: EmailAddress) -> None:
        self.params["from"] = email

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        self.params[recipient_type] = emails
        self.recipient_emails += [email.addr_spec for email in emails]

    def set_subject(self, subject: str) -> None:
        self.params["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        self.params["reply_to"] = emails

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.params["extra_headers"] = headers

    def set_text_body(self, body: str) -> None:
        self.params["text_body"] = body

    def set_html_body(self, body: str) -> None:
        self.params["html_body"] = body

    def add_alternative(self, content: Any, mimetype: str) -> None:
        if mimetype.startswith("text"):
            self.params.setdefault("alternatives", []).append((content, mimetype))
        else:
            self.unsupported_feature(f"alternative part with type '{mimetype}'")

    def set_attachments(self, attachments: list[Attachment]) -> None:
        self.params["attachments"] = attachments

    def set_envelope_sender(self, email: EmailAddress) -> None:
        self.params["envelope_sender"] = email.addr_spec

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.params["metadata"] = metadata

    def set_send_at(self, send_at: Any) -> None:
        self.params["send_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        self.params["tags"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.params["track_clicks"] = track_clicks

    def set_track_opens(self, track_opens: bool) -> None:
        self.params["track_opens"] = track_opens

    def set_template_id(self, template_id: Any) -> None:
        self.params["template_id"] = template_id

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        self.params["merge_data"] = merge_data

    def set_merge_headers(self, merge_headers: Mapping[str, Mapping[str, Any]]) -> None:
        self.params["merge_headers"] = merge_headers

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.params["merge_global_data"] = merge_global_data

    def set_merge_metadata(self, merge_metadata: dict[str, dict[str, Any]]) -> None:
        self.params["merge_metadata"] = merge_metadata

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.params.update(extra)
