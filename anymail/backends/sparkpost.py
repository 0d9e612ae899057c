"""Send through SparkPost's Transmissions API.

- Sending: https://developers.sparkpost.com/api/transmissions/
- Recipients: https://developers.sparkpost.com/api/recipient-lists/
- Substitutions: https://developers.sparkpost.com/api/template-language/
- Errors: https://support.sparkpost.com/docs/tech-resources/extended-error-codes
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import requests
from django.conf import settings
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, parse_address_list
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..datastructures import update_deep
from ..exceptions import AnymailInvalidAddress, Problem
from ..message import AnymailRecipientStatus
from ..sending.batches import BatchRecipient, NativeBatch
from ..sending.problems import SENDER
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.sparkpost.com/api/v1/"

SUBACCOUNT_HEADER = "X-MSYS-SUBACCOUNT"

# Fields of content that name what is stored at SparkPost, an A/B test being several templates
STORED_CONTENT = frozenset({"template_id", "ab_test_id"})

# Fields of content that SparkPost drops without a word if there is a template: what users call them
IGNORED_WITH_TEMPLATE = {
    "attachments": "attachments",
    "inline_images": "inline images",
    "headers": "extra headers and/or cc recipients",
    "from": "from_email",
    "reply_to": "reply_to",
}

_NOT_IN_VARIABLE_NAME = re.compile(r"\W", re.ASCII)


class EmailBackend(AnymailRequestsBackend):
    """Sends with SparkPost's Transmissions API."""

    esp_name = "SparkPost"

    ERRORS = {
        "1603": Problem.UNSUITABLE,  # no such template
        "7001": SENDER,
        **dict.fromkeys(("2101", "2102", "2103", "2105"), Problem.BUSY),  # limits
    }

    api_key: str = setting(
        "An API key that has at least *Transmissions: Read/Write*. It is not read from the "
        "environment.",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API. It includes the version. For accounts in SparkPost's EU "
        'region, which are separate, use ``"https://api.eu.sparkpost.com/api/v1/"``.',
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="sparkpost/api/v1/",
    )
    subaccount: int | str | None = setting(
        "Number of the subaccount to send from.",
        default=None,
        default_text="none",
    )

    def create_session(self) -> requests.Session:
        session = super().create_session()
        prepare_request = session.prepare_request

        def prepare_text_headers(request: requests.Request) -> requests.PreparedRequest:
            # Subaccounts are numbers, and requests refuses numbers in headers.
            if SUBACCOUNT_HEADER in request.headers:
                request.headers = {
                    **request.headers,
                    SUBACCOUNT_HEADER: str(request.headers[SUBACCOUNT_HEADER]),
                }
            return prepare_request(request)

        session.prepare_request = prepare_text_headers  # type: ignore[method-assign]
        return session

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> SparkPostPayload:
        return SparkPostPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str | None]:
        for error in response.json()["errors"]:
            yield error.get("code")

    def parse_recipient_status(
        self, response: requests.Response, payload: SparkPostPayload, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        answer = self.deserialize_json_response(response, payload, message)
        try:
            results = answer["results"]
            message_id = results["id"]
            accepted = _as_count(results["total_accepted_recipients"])
            rejected = _as_count(results["total_rejected_recipients"])
            if isinstance(message_id, bool) or not isinstance(message_id, (int, str)):
                raise TypeError("id must be text")
        except (KeyError, TypeError, ValueError) as err:
            raise self.invalid_response_format(response, payload, message) from err

        # SparkPost does not tell which of the recipients it has rejected.
        total = payload.recipient_count
        if total is None:  # of a recipient list that is stored at SparkPost
            total = accepted + rejected
        if accepted == total and rejected == 0:
            status = "queued"
        elif rejected == total and accepted == 0:
            status = "rejected"
        else:
            status = "unknown"
        recipient_status = AnymailRecipientStatus(str(message_id), status)
        return {email.addr_spec: recipient_status for email in payload.get_recipients()}


def _as_count(value: Any) -> int:
    """Return a number. Raises TypeError or ValueError if it's no whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError("totals must be numbers")
    return int(value)


class SparkPostPayload(RequestsPayload):
    """The JSON of a call, built in SparkPost's names.

    The recipients, and what depends on several attributes of the message, are added in
    serialize_data.
    """

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(
        limit=2000,  # More are possible, but SparkPost advises against it.
        limit_counts_copies=True,
        recipient_fields=frozenset({"recipients"}),
    )

    def init_payload(self) -> None:
        self.headers: dict[str, Any] = {
            "Authorization": self.backend.api_key,
            "Content-Type": "application/json",
        }
        if self.backend.subaccount is not None:
            self.headers[SUBACCOUNT_HEADER] = self.backend.subaccount
        self.data = {"content": {}}
        self.recipient_count: int | None = None
        """How many recipients SparkPost will count, if that is known."""

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "transmissions/"

    def serialize_data(self) -> str:
        data = {**self.data, "content": dict(self.data["content"])}
        self.add_merge_headers(data)
        if not STORED_CONTENT.isdisjoint(data["content"]):
            self.prepare_for_template(data["content"])
        if "recipients" not in data:  # Those in esp_extra take the place of the message's.
            data["recipients"] = self.recipients()
        if isinstance(data["recipients"], list):
            self.recipient_count = len(data["recipients"])
        return self.serialize_json(data)

    # -- Recipients ---------------------------------------------------------------------------

    def recipients(self) -> list[dict[str, Any]]:
        """Return everyone who gets a copy, with the To header that they see."""
        to_emails = self.get_recipients("to")
        if not (self.is_batch() and to_emails):
            header_to = self.format_addresses(to_emails)
            return [self.recipient(email, header_to) for email in self.get_recipients()]

        copies = self.get_recipients("cc", "bcc")
        entries = [
            (recipient.email, self.format_addresses([recipient.email]), _own_fields(recipient))
            for recipient in self.batch_recipients()
        ]
        result = [self.recipient(email, header_to, own) for email, header_to, own in entries]
        for _email, header_to, own in entries:
            result += [self.recipient(email, header_to, own) for email in copies]
        return result

    def recipient(
        self, email: EmailAddress, header_to: str, fields: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        addr_spec = email.format_addr_spec(idna_encode=self.backend.idna_encode)
        return {"address": {"email": addr_spec, "header_to": header_to}, **(fields or {})}

    def add_merge_headers(self, data: dict[str, Any]) -> None:
        """Add headers that SparkPost fills in from each recipient's substitution data.

        The message's own headers of those names are for recipients who don't have one.
        """
        names = {
            name: None
            for recipient in self.batch_recipients()
            for name in recipient.merge_headers or {}
        }
        if not names:
            return
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(data["content"].get("headers", {}))
        defaults = {_header_variable(name): headers[name] for name in names if name in headers}
        for name in names:
            headers[name] = "{{" + _header_variable(name) + "}}"
        data["content"]["headers"] = headers
        if defaults:
            data["substitution_data"] = {**data.get("substitution_data", {}), **defaults}

    # -- Templates ----------------------------------------------------------------------------

    def prepare_for_template(self, content: dict[str, Any]) -> None:
        """Leave out what is empty or a default, and SparkPost wouldn't accept with a template."""
        for field in ("subject", "text", "html"):
            if field in content and not content[field]:
                del content[field]
        if "from" in content and content["from"] in ("", None, self.default_from()):
            del content["from"]
        ignored = [name for field, name in IGNORED_WITH_TEMPLATE.items() if field in content]
        if ignored:
            self.unsupported_feature(f"template_id with {', '.join(ignored)}")

    def default_from(self) -> str | None:
        """Return what messages without a from_email are sent from: Django adds that to them."""
        try:
            return self.format_addresses(parse_address_list(settings.DEFAULT_FROM_EMAIL))
        except AnymailInvalidAddress:
            return None

    # -- Formats ------------------------------------------------------------------------------

    def format_addresses(self, emails: list[EmailAddress]) -> str:
        return ", ".join(email.format(idna_encode=self.backend.idna_encode) for email in emails)

    def set_option(self, name: str, value: Any) -> None:
        self.data.setdefault("options", {})[name] = value

    # -- Message attributes -------------------------------------------------------------------

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.data["content"]
        return content

    def set_from_email(self, email: EmailAddress) -> None:
        self.content["from"] = self.format_addresses([email])

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        # The recipients are added in serialize_data.
        if emails and recipient_type == "cc":
            self.set_extra_headers(CaseInsensitiveDict({"Cc": self.format_addresses(emails)}))

    def set_subject(self, subject: str) -> None:
        self.content["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.content["reply_to"] = self.format_addresses(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.content.setdefault("headers", CaseInsensitiveDict()).update(headers)

    def set_text_body(self, body: str) -> None:
        self.content["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.content:
            self.unsupported_feature("multiple html parts")
        self.content["html"] = body

    def add_alternative(self, content: Any, mimetype: str) -> None:
        if mimetype.lower() == "text/x-amp-html":
            if "amp_html" in self.content:
                self.unsupported_feature("multiple html parts")
            self.content["amp_html"] = content
        else:
            super().add_alternative(content, mimetype)

    def add_attachment(self, attachment: Attachment) -> None:
        if attachment.inline:
            field, name, content_type = "inline_images", attachment.cid, attachment.mimetype
        else:
            field, name = "attachments", attachment.name or ""
            content_type = attachment.content_type
        self.content.setdefault(field, []).append(
            {"name": name, "type": content_type, "data": attachment.b64content}
        )

    def set_envelope_sender(self, email: EmailAddress) -> None:
        self.data["return_path"] = email.addr_spec

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.data["metadata"] = metadata

    def set_send_at(self, send_at: Any) -> None:
        if isinstance(send_at, datetime):
            send_at = send_at.replace(microsecond=0).isoformat()
        self.set_option("start_time", send_at)

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature(f"multiple tags ({tags!r})")
        if tags:
            self.data["campaign_id"] = tags[0]

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.set_option("click_tracking", track_clicks)

    def set_track_opens(self, track_opens: bool) -> None:
        self.set_option("open_tracking", track_opens)

    def set_template_id(self, template_id: Any) -> None:
        self.content["template_id"] = template_id

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["substitution_data"] = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        content = extra.get("content", {})
        if not isinstance(content, Mapping):
            raise TypeError("esp_extra['content'] must be a dict")
        if isinstance(content.get("subject"), str):
            self.check_header_value("esp_extra['content']['subject']", content["subject"])
        if isinstance(content.get("headers"), Mapping):
            self._check_headers("esp_extra['content']['headers']", content["headers"])
        update_deep(self.data, extra)


def _own_fields(recipient: BatchRecipient) -> dict[str, Any]:
    """Return what is particular to a ``to`` recipient, and to the copies of their message."""
    fields: dict[str, Any] = {}
    if recipient.merge_metadata is not None:
        fields["metadata"] = recipient.merge_metadata
    headers = recipient.merge_headers or {}
    if recipient.merge_data is not None or headers:
        variables = {_header_variable(name): value for name, value in headers.items()}
        fields["substitution_data"] = {**(recipient.merge_data or {}), **variables}
    return fields


def _header_variable(name: str) -> str:
    """Return the name in substitution data for a header that differs between recipients."""
    return "Header__" + _NOT_IN_VARIABLE_NAME.sub("_", name.title())
