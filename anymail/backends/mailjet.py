"""Mailjet.

- Sending: https://dev.mailjet.com/email/guides/send-api-v31/
- All the fields: https://dev.mailjet.com/email/reference/send-emails/
- Templates: https://dev.mailjet.com/email/template-language/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, parse_address_list
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..datastructures import update_deep
from ..exceptions import Problem
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.problems import SENDER
from ..sending.results import FAILED, RecipientResults
from ..sending.shared_calls import Results, SharedCall
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.mailjet.com/v3.1/"

# Status of one of the messages in an answer -> status. All others are failures.
STATUSES = {"success": "sent"}


def _results(answer: Any, count: int) -> Results | None:
    """Return the results for each message in a call, as Mailjet answers single messages."""
    if not isinstance(answer, dict) or "Messages" not in answer:
        return None
    return [(_status_code(result), {"Messages": [result]}) for result in answer["Messages"]]


def _status_code(result: Any) -> int:
    errors = result.get("Errors") if isinstance(result, dict) else None
    if not errors or not isinstance(errors, list):
        return 200
    code = errors[0].get("StatusCode") if isinstance(errors[0], dict) else None
    return code if isinstance(code, int) and 400 <= code < 500 else 400


class EmailBackend(AnymailRequestsBackend):
    """Sends with Mailjet's Send API v3.1."""

    esp_name = "Mailjet"

    ERRORS = {
        **dict.fromkeys(("mj-0001", "mj-0015"), Problem.ACCOUNT),  # keys
        "send-0008": SENDER,
        **dict.fromkeys(("mj-0013", "send-0003", "send-0004"), Problem.MESSAGE),
        # too large, too many items, a header that Mailjet forbids, too many recipients
        **dict.fromkeys(("mj-0008", "mj-0011", "send-0011", "send-0015"), Problem.UNSUITABLE),
    }

    shared_call = SharedCall(
        limit=50,
        max_bytes=15_000_000,
        results=_results,
        opening='{"Messages": [',
        closing="]}",
    )

    api_key: str = setting(
        "The API key: find it in your Mailjet account under *REST API*, *API key management*.",
        kind=credential,
        required=True,
        bare=True,
    )
    secret_key: str = setting(
        "The secret key that belongs to it. Some pages of Mailjet's call it the private key.",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        'Base URL of the API. For accounts in the US it is ``"https://api.us.mailjet.com/v3.1/"``.',
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="mailjet/v3.1/",
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> MailjetPayload:
        return MailjetPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        if "ErrorCode" in answer:
            yield answer["ErrorCode"]
        for result in answer.get("Messages", []):
            yield from (error["ErrorCode"] for error in result.get("Errors", []))

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        # A batch of which some messages are refused is answered with 4xx: the body tells more.
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        is_json = content_type.lower() == "application/json"
        if not (400 <= response.status_code < 500 and is_json):
            super().raise_for_status(response, payload, message)

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        reply = self.deserialize_json_response(response, payload, message)
        if isinstance(reply, dict) and "ErrorCode" in reply:
            # Nothing is sent.
            raise self.response_error(None, response, payload, message)

        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        with results:
            if not isinstance(reply["Messages"], list):
                raise TypeError("Messages must be an array")
            for result in reply["Messages"]:
                with results:
                    status = STATUSES.get(result["Status"], "failed")
                    for field in ("To", "Cc", "Bcc"):
                        with results:
                            for recipient in result.get(field, []):
                                with results:
                                    message_id = _parse_id(recipient)
                                    results.add(
                                        recipient["Email"],
                                        AnymailRecipientStatus(message_id, status),
                                    )
        self.checked_statuses(results, response, payload, message)
        # A message that is refused comes back without its recipients.
        return results.with_others(FAILED)


def _parse_id(recipient: dict[str, Any]) -> str:
    """Return the id of a recipient's message. Raises KeyError or TypeError if it's malformed."""
    message_id = recipient["MessageID"]
    if not isinstance(message_id, (int, str)):
        raise TypeError("MessageID must be a number")
    return str(message_id)


class MailjetPayload(RequestsPayload):
    """The body of a call. Its parts are built in ``data``, which is what all messages share."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=50, recipient_fields=frozenset({"Messages"}))

    def init_payload(self) -> None:
        self.auth = (self.backend.api_key, self.backend.secret_key)
        self.headers = {"Content-Type": "application/json"}
        self.data = {}
        self.metadata: dict[str, Any] = {}
        self.esp_extra: dict[str, Any] = {}
        self._serialized: tuple[str | None, str, str] = None, "", ""
        """The body of the call, and of what it was made: Globals and Messages."""

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "send"

    def serialize_data(self) -> str:
        if not self.get_recipients("to"):
            self.unsupported_feature("messages without any `to` recipients")
        body: dict[str, Any] = {"Globals": self.data, "Messages": None}
        update_deep(body, self.esp_extra)
        if body["Messages"] is None:
            body["Messages"] = self.batch_messages() if self.is_batch() else self.single_message()
        # What is in a call besides its messages, there is no place for in one of them.
        if (
            self.is_batch()
            or len(body) > 2
            or "To" in self.data
            or body["Globals"] is not self.data
        ):
            return self.serialize_json(body)
        shared, own = self.serialize_json(self.data), self.serialize_json(body["Messages"])
        self._serialized = f'{{"Globals": {shared}, "Messages": {own}}}', shared, own
        return self._serialized[0]

    def shared_endpoint(self) -> str | None:
        may_share = self.get_recipients("to") and "Messages" not in self.esp_extra
        return "send" if may_share and not self.is_batch() else None

    def shared_item(self, data: Any) -> str | None:
        body, shared, own = self._serialized
        if data is not body:
            return None
        # All of its fields are in one object: that of Globals, and the only one in Messages.
        return own[1:-1] if shared == "{}" else f"{shared[:-1]}, {own[2:-1]}"

    def single_message(self) -> list[dict[str, Any]]:
        """Return one message to all ``to`` recipients; none if there are none."""
        to_emails = self.get_recipients("to")
        return [{"To": self.format_addresses(to_emails)}] if to_emails else []

    def batch_messages(self) -> list[dict[str, Any]]:
        """Return a message for each ``to`` recipient: only what differs from the others.

        A message's fields take the place of those in Globals: Mailjet doesn't say that it merges
        variables and headers.
        """
        variables = self.data.get("Variables") or {}
        messages = []
        for email, merge_data, merge_headers, merge_metadata in self.batch_recipients():
            message: dict[str, Any] = {"To": self.format_addresses([email])}
            if merge_data is not None:
                message["Variables"] = {**variables, **merge_data}
            if merge_metadata is not None:
                message["EventPayload"] = self.serialize_json({**self.metadata, **merge_metadata})
            if merge_headers is not None:
                message.update(self.merged_headers(merge_headers))
            messages.append(message)
        return messages

    def merged_headers(self, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields for a recipient's headers, over those for everyone."""
        fields: dict[str, Any] = {}
        for name, value in headers.items():
            if name.lower() != "reply-to":
                merged = fields.setdefault("Headers", CaseInsensitiveDict(self.data.get("Headers")))
                merged[name] = value
            elif value:
                # It has a field of its own, and Mailjet can refuse it as a header.
                emails = parse_address_list(value, field=f"merge_headers[{name!r}]")
                fields["ReplyTo"] = self.format_reply_to(emails)
        return fields

    # -- Formats ------------------------------------------------------------------------------

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        return email.as_dict(email="Email", name="Name", idna_encode=self.backend.idna_encode)

    def format_addresses(self, emails: list[EmailAddress]) -> list[dict[str, str]]:
        return [self.format_address(email) for email in emails]

    def format_reply_to(self, emails: list[EmailAddress]) -> dict[str, str]:
        if len(emails) > 1:
            self.unsupported_feature("Multiple reply_to addresses")
        return self.format_address(emails[0])

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["From"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails and recipient_type != "to":
            self.data[recipient_type.capitalize()] = self.format_addresses(emails)

    def set_subject(self, subject: str) -> None:
        self.data["Subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["ReplyTo"] = self.format_reply_to(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        # As it is, so that those in esp_extra replace it in any case.
        self.data["Headers"] = headers

    def set_text_body(self, body: str) -> None:
        # Even an empty one would replace that of a template.
        if body:
            self.data["TextPart"] = body

    def set_html_body(self, body: str) -> None:
        if "HTMLPart" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["HTMLPart"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        fields = {
            # Mailjet adds charset=utf-8 to all text.
            "ContentType": attachment.content_type_without_charset,
            "Filename": attachment.name or "attachment",  # required
            "Base64Content": attachment.b64content_utf8,
        }
        if attachment.inline:
            self.data.setdefault("InlinedAttachments", []).append(
                {**fields, "ContentID": attachment.cid}
            )
        else:
            self.data.setdefault("Attachments", []).append(fields)

    def set_envelope_sender(self, email: EmailAddress) -> None:
        self.data["Sender"] = self.format_address(email)

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.data["EventPayload"] = self.serialize_json(metadata)

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature(f"multiple tags ({tags!r})")
        if tags:
            self.data["CustomCampaign"] = tags[0]

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.data["TrackClicks"] = "enabled" if track_clicks else "disabled"

    def set_track_opens(self, track_opens: bool) -> None:
        self.data["TrackOpens"] = "enabled" if track_opens else "disabled"

    def set_template_id(self, template_id: Any) -> None:
        try:
            self.data["TemplateID"] = int(template_id)
        except ValueError as err:
            raise ValueError(
                f"template_id must be a number for Mailjet, not {template_id!r}"
            ) from err
        self.data["TemplateLanguage"] = True

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["Variables"] = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        messages = extra.get("Messages")
        if isinstance(shared := extra.get("Globals"), Mapping):
            self.check_extra_fields("esp_extra['Globals']", shared)
        for fields in messages if isinstance(messages, list) else ():
            if isinstance(fields, Mapping):
                self.check_extra_fields("esp_extra['Messages']", fields)
        self.esp_extra = extra
