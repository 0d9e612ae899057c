"""Send through Mailgun's messages API.

- https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
- https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-http
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..exceptions import AnymailError, Problem
from ..headers import rfc2822date
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.problems import SENDER, seconds_until
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.mailgun.net/v3"

DOMAIN_NOT_FOUND = b"Domain not found"
NOT_THE_API = b"Mailgun Magnificent API"

# Domain example.com is not allowed to send: request limit exceeded, try again after <date>
_RETRY_DATE = re.compile(r"after (\w{3}, \d+ \w{3} \d{4} [\d:]+ \w+)")


class EmailBackend(AnymailRequestsBackend):
    """Email backend for Mailgun."""

    esp_name = "Mailgun"

    # By text
    ERRORS = {DOMAIN_NOT_FOUND: SENDER, NOT_THE_API: Problem.ACCOUNT}

    api_key: str = setting(
        "One of your domain's *sending keys*, which can do nothing but send. (An API key "
        "of the whole account works, too.)",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API. Without a domain, and without ``/messages``. For domains in "
        'Mailgun\'s EU region, use ``"https://api.eu.mailgun.net/v3"``.',
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="mailgun/v3/",
    )
    sender_domain: str | None = setting(
        "The Mailgun domain to send from. See :ref:`mailgun-sender-domain`.",
        default=None,
        default_text="the domain of each message's ``from_email``",
        bare=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> MailgunPayload:
        return MailgunPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[bytes]:
        if response.status_code in (200, 404):
            yield from (text for text in self.ERRORS if text in response.content)

    def find_retry_after(self, response: requests.Response) -> float | None:
        date = _RETRY_DATE.search(response.text)
        return seconds_until(date[1]) if date else super().find_retry_after(response)

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        # Mailgun's answers to a wrong URL don't help to find out what is wrong with it.
        problem = None
        if response.status_code == 404 and DOMAIN_NOT_FOUND in response.content:
            problem = (
                f"Unknown sender domain {payload.sender_domain!r}.\n"
                "Check that it's one of your Mailgun domains, and that MAILGUN_API_URL "
                f"{self.api_url!r} is for the region it is in."
            )
        elif response.status_code == 200 and NOT_THE_API in response.content:
            problem = (
                f"Invalid Mailgun API endpoint {response.url!r}.\n"
                "Check your MAILGUN_SENDER_DOMAIN and MAILGUN_API_URL settings."
            )
        if problem is not None:
            raise self.response_error(problem, response, payload, message)
        super().raise_for_status(response, payload, message)

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        # {"id": "<20310203040506.1.0123456789@mail.example.com>",
        #  "message": "Queued. Thank you."}
        answer = self.deserialize_json_response(response, payload, message)
        try:
            message_id = answer["id"]
            outcome = answer["message"]
            if not isinstance(message_id, str) or not isinstance(outcome, str):
                raise TypeError("id and message must be text")
        except (KeyError, TypeError) as err:
            raise self.invalid_response_format(response, payload, message) from err
        if not outcome.startswith("Queued"):
            raise self.response_error(
                f"Unrecognized Mailgun API message {outcome!r}", response, payload, message
            )
        status = AnymailRecipientStatus(message_id=message_id, status="queued")
        return {email.addr_spec: status for email in payload.get_recipients()}


class MailgunPayload(RequestsPayload):
    """Expresses a message as the form fields and files of Mailgun's messages API."""

    native_batch = NativeBatch(
        limit=1000, limit_counts_copies=True, recipient_fields=frozenset({"to"})
    )
    data: dict[str, Any]
    files: list[tuple[str, tuple[str, bytes, str]]]

    def __init__(
        self,
        message: EmailMessage,
        defaults: Mapping[str, Any],
        backend: EmailBackend,
        **kwargs: Any,
    ) -> None:
        self.sender_domain = backend.sender_domain or None
        # These depend on each other: they become form fields in serialize_data.
        self.metadata: dict[str, Any] = {}
        self.merge_global_data: dict[str, Any] = {}
        super().__init__(
            message, defaults, backend, headers={}, auth=("api", backend.api_key), **kwargs
        )

    def get_api_endpoint(self) -> str:
        domain = self.sender_domain
        if domain is None:
            raise AnymailError(
                "Cannot send through Mailgun without a sender domain. Use a from_email, set "
                "MAILGUN_SENDER_DOMAIN, or add esp_extra={'sender_domain': ...} to the message.",
                **self._error_context(),
            )
        if "/" in domain or "%2f" in domain.lower():
            # With a slash, even an encoded one, this could become another API endpoint.
            raise AnymailError(f"Invalid '/' in sender domain {domain!r}", **self._error_context())
        if not domain.isascii():
            domain = self.backend.idna_encode(domain)
        return f"{quote(domain, safe='')}/messages"

    def serialize_data(self) -> dict[str, Any]:
        return self._with_recipient_variables(
            {**self.data, **{f"v:{key}": value for key, value in self.metadata.items()}}
        )

    def _with_recipient_variables(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the form fields with those that differ between recipients added.

        Such a field refers to a variable: ``%recipient.<variable>%``. Mailgun looks that up in the
        field ``recipient-variables``: ``{address: {variable: value}}``. If this is present, even
        if empty, each ``to`` recipient gets an individual message. All variables are set for all
        of the recipients, so that no reference is left over.
        """
        metadata_keys = _all_keys(self.merge_metadata.values())
        merge_keys = _all_keys([*self.merge_data.values(), self.merge_global_data])
        header_names = _all_keys(self.merge_headers.values())
        header_defaults = {name: data.get(f"h:{name}", "") for name in header_names}

        variables: dict[str, dict[str, Any]] = {}
        for recipient in self.batch_recipients():
            own = {
                **_variables("v:", metadata_keys, self.metadata, recipient.merge_metadata),
                **_variables("", merge_keys, self.merge_global_data, recipient.merge_data),
                **_variables("h:", header_names, header_defaults, recipient.merge_headers),
            }
            if own:
                # Mailgun compares the keys with the addresses in the field "to".
                address = recipient.email.format_addr_spec(idna_encode=self.backend.idna_encode)
                variables[address] = own

        result = dict(data)
        for key in metadata_keys:
            result[f"v:{key}"] = f"%recipient.v:{key}%"
        if "template" in data:
            # Stored templates don't know recipient variables, but the user variables "v:...".
            self._check_template_conflicts(merge_keys, [*self.metadata, *metadata_keys])
            for key in merge_keys:
                result[f"v:{key}"] = f"%recipient.{key}%"
        for name in header_names:
            result[f"h:{name}"] = f"%recipient.h:{name}%"
        if variables or self.is_batch():
            result["recipient-variables"] = self.serialize_json(variables)
        return result

    def _check_template_conflicts(
        self, merge_keys: Iterable[str], metadata_keys: Iterable[str]
    ) -> None:
        conflicts = sorted({str(key) for key in merge_keys} & {str(key) for key in metadata_keys})
        if conflicts:
            keys = ", ".join(f"'{key}'" for key in conflicts)
            self.unsupported_feature(
                f"conflicting merge_data and metadata keys ({keys}) when using template_id"
            )

    # -- Setters ------------------------------------------------------------------------------

    def init_payload(self) -> None:
        self.data = {}
        self.files = []

    def _format(self, emails: list[EmailAddress]) -> list[str]:
        return [email.format(idna_encode=self.backend.idna_encode) for email in emails]

    def set_from_email_list(self, emails: list[EmailAddress]) -> None:
        if not emails:
            return
        if any(email.uses_eai for email in emails):
            self.unsupported_feature("EAI in from_email")
        self.data["from"] = self._format(emails)
        if self.sender_domain is None:
            self.sender_domain = emails[0].domain

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if not emails:
            return
        self.data[recipient_type] = self._format(emails)

    def set_subject(self, subject: str) -> None:
        self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["h:Reply-To"] = ", ".join(self._format(emails))

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        for name, value in headers.items():
            self.data[f"h:{_field_name(name)}"] = value

    def set_text_body(self, body: str) -> None:
        self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["html"] = body

    def add_alternative(self, content: Any, mimetype: str) -> None:
        if mimetype.lower() == "text/x-amp-html":
            if "amp-html" in self.data:
                self.unsupported_feature("multiple html parts")
            self.data["amp-html"] = content
        else:
            super().add_alternative(content, mimetype)

    def add_attachment(self, attachment: Attachment) -> None:
        if attachment.inline:
            # Mailgun makes the file name the Content-ID.
            field, name = "inline", attachment.cid
            if not name:
                self.unsupported_feature("inline attachments without Content-ID")
        else:
            # Mailgun requires file names.
            field, name = "attachment", attachment.name or "attachment"
        self.files.append((field, (name, attachment.content_bytes, attachment.content_type)))

    def set_envelope_sender(self, email: EmailAddress) -> None:
        # Mailgun makes up the local part.
        self.sender_domain = email.domain

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata

    def set_send_at(self, send_at: datetime | str) -> None:
        self.data["o:deliverytime"] = (
            rfc2822date(send_at) if isinstance(send_at, datetime) else send_at
        )

    def set_tags(self, tags: list[str]) -> None:
        self.data["o:tag"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.data["o:tracking-clicks"] = "yes" if track_clicks else "no"

    def set_track_opens(self, track_opens: bool) -> None:
        self.data["o:tracking-opens"] = "yes" if track_opens else "no"

    def set_template_id(self, template_id: Any) -> None:
        self.data["template"] = template_id

    def set_merge_headers(self, merge_headers: Mapping[str, Mapping[str, Any]]) -> None:
        super().set_merge_headers(
            {
                address: {_field_name(name): value for name, value in headers.items()}
                for address, headers in merge_headers.items()
            }
        )

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.merge_global_data = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.sender_domain = extra.pop("sender_domain", None) or self.sender_domain
        for field, value in extra.items():
            if field == "subject" or field.startswith("h:"):
                self.check_header_value(f"esp_extra[{field!r}]", value)
        self.data.update(extra)


def _field_name(name: str) -> str:
    """Return a header's name in the case that Anymail uses for all of them: they ignore case."""
    return name.title()


def _variables(
    prefix: str,
    names: Iterable[str],
    common: Mapping[str, Any],
    own: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return ``{prefix}{name}`` for all names: a recipient's own values over the common ones."""
    values = {**common, **(own or {})}
    return {f"{prefix}{name}": values.get(name, "") for name in names}


def _all_keys(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all the entries, each once, in the order of their first appearance."""
    return list(dict.fromkeys(key for entry in entries for key in entry))
