"""Brevo (formerly Sendinblue).

- Sending: https://developers.brevo.com/reference/send-transac-email
- Batches: https://developers.brevo.com/docs/batch-send-transactional-emails
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
from django.core.mail import EmailMessage
from django.utils.html import escape, linebreaks
from requests.structures import CaseInsensitiveDict

from .._docs import with_docs
from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting, setting_name
from ..exceptions import Problem
from ..headers import has_specials, rfc2047_encode
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.keys import as_uuid
from ..sending.results import RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.brevo.com/v3/"

HTML_MISSING = "htmlContent is missing"
KEY_HEADER = "idempotencyKey"
METADATA_HEADER = "X-Mailin-custom"

# A URL in text, without punctuation that follows it. Parentheses are part of it in pairs.
_LINK = re.compile(
    r"""(https?://(?:[^\s<>"()]|\([^\s<>"()]*\))*(?:[^\s<>"().,:;!?'\]]|\([^\s<>"()]*\)))"""
)

# A JSON escape, as opposed to an escaped backslash that is followed by a "u".
_UNICODE_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u")


class EmailBackend(AnymailRequestsBackend):
    """Sends with Brevo's transactional email API."""

    esp_name = "Brevo"
    # Brevo's documentation doesn't say how long it remembers keys.
    idempotency = timedelta(minutes=15)
    KEY_USED = frozenset({"duplicate_parameter"})

    ERRORS = {
        "account_under_validation": Problem.ACCOUNT,
        "not_enough_credits": Problem.ACCOUNT,
        "permission_denied": Problem.ACCOUNT,
        "unauthorized": Problem.ACCOUNT,
        HTML_MISSING: Problem.UNSUITABLE,  # Others send messages without HTML.
    }

    api_key: str = setting(
        "A v3 API key, which starts with ``xkeysib-``: find it in your Brevo account under "
        "*SMTP & API*, *API keys*. (The SMTP key is another.)",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API.",
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="brevo/v3/",
    )
    html_from_text: bool = setting(
        "Whether to make HTML of the text of messages that have nothing else, which Brevo refuses. "
        "See :ref:`brevo-html`.",
        default=False,
    )
    workaround_display_name_bugs: bool = setting(
        "Whether to encode display names that Brevo would lose. See :ref:`brevo-quirks`.",
        default=True,
    )
    prevent_header_encoding_bugs: bool = setting(
        "Whether to refuse non-ASCII characters in headers and metadata, which Brevo does "
        "not encode.",
        default=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> BrevoPayload:
        return BrevoPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        if _needs_html(response):
            yield HTML_MISSING
        else:
            yield response.json()["code"]

    def raise_for_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> None:
        if _needs_html(response):
            setting = setting_name("html_from_text", self.esp_name)
            problem = (
                "Brevo does not send messages without HTML, unless they have a template. Add an "
                f"HTML alternative, or set {setting} to True to have HTML made of the text."
            )
            problem = with_docs(problem, "esps/brevo#brevo-html")
            raise self.response_error(problem, response, payload, message)
        super().raise_for_status(response, payload, message)

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        # Brevo reports addresses that it refuses with webhooks only.
        queued = AnymailRecipientStatus(None, "queued")
        results = RecipientResults(payload.get_recipients())
        if not response.content:
            return results.with_others(queued)
        answer = self.deserialize_json_response(response, payload, message)
        with results:
            if isinstance(message_id := answer.get("messageId"), str):
                return results.with_others(AnymailRecipientStatus(message_id, "queued"))
            if not isinstance(answer["messageIds"], list):
                raise TypeError("messageIds must be an array")
            # Those of the "to" recipients of a batch
            to_emails = payload.get_recipients("to")
            for email, batch_id in zip(to_emails, answer["messageIds"], strict=False):
                with results:
                    if not isinstance(batch_id, str):
                        raise TypeError("messageIds must be text")
                    results.add(email.addr_spec, AnymailRecipientStatus(batch_id, "queued"))
        if results.problem is not None:
            # The provider's name, also for the backend that has the former one.
            raise self.response_error(
                "Invalid Brevo API response format", response, payload, message, results.known()
            ) from results.problem
        return results.with_others(queued)


def _needs_html(response: requests.Response) -> bool:
    return response.status_code == 400 and b"htmlContent" in response.content


def _html_from_text(text: str) -> str:
    """Return text as HTML, with its paragraphs, line breaks, indentation and links."""
    pieces = _LINK.split(text)
    pieces[::2] = [escape(piece).replace("  ", "&nbsp; ") for piece in pieces[::2]]
    pieces[1::2] = [f'<a href="{url}">{url}</a>' for url in map(escape, pieces[1::2])]
    return linebreaks("".join(pieces))


class BrevoPayload(RequestsPayload):
    """The body of a call, built in Brevo's names; for a batch, the part common to all."""

    backend: EmailBackend
    data: dict[str, Any]
    # It's not known who gets a copy of what with cc and bcc.
    native_batch = NativeBatch(limit=1000, copies_each=False)

    def init_payload(self) -> None:
        self.headers = {"api-key": self.backend.api_key, "Content-Type": "application/json"}
        self.message_headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        self.data = {"headers": self.message_headers}
        self.metadata: dict[str, Any] = {}

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "smtp/email"

    def serialize_data(self) -> str:
        data = dict(self.data)
        if (key := self.idempotency_key) is not None:
            # That is no header: it's among them to control Brevo.
            data["headers"] = {**data["headers"], KEY_HEADER: as_uuid(key)}
        if not data["headers"]:
            del data["headers"]
        text = data.get("textContent")
        if (
            self.backend.html_from_text
            and text
            and data.keys().isdisjoint({"htmlContent", "templateId"})
        ):
            data["htmlContent"] = _html_from_text(text)
        if self.is_batch():
            data.pop("to", None)
            data["messageVersions"] = self.message_versions()
        return self.serialize_json(data)

    def message_versions(self) -> list[dict[str, Any]]:
        """Return what is particular to each ``to`` recipient of a batch.

        A version's params and headers take the place of those common to all. (Brevo merges them,
        or not: it ignores the common params if there is only one version.)
        """
        common_params = self.data.get("params") or {}
        common_headers = self.data.get("headers") or {}
        versions = []
        for email, merge_data, merge_headers, merge_metadata in self.batch_recipients():
            version: dict[str, Any] = {"to": [self.format_address(email)]}
            if merge_data is not None or common_params:
                version["params"] = {**common_params, **(merge_data or {})}
            headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(common_headers)
            if merge_metadata is not None:
                headers[METADATA_HEADER] = self.format_metadata(
                    {**self.metadata, **merge_metadata}, "merge_metadata"
                )
            for name, value in (merge_headers or {}).items():
                self.check_ascii(value, "merge_headers")
                headers[name] = value
            if headers:
                version["headers"] = headers
            versions.append(version)
        return versions

    # -- Formats ------------------------------------------------------------------------------

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        formatted = email.as_dict(idna_encode=self.backend.idna_encode)
        name = email.display_name
        # Brevo drops such names, or puts them into headers without any encoding.
        if self.backend.workaround_display_name_bugs and not name.isascii() and has_specials(name):
            formatted["name"] = rfc2047_encode(name)
        return formatted

    def format_metadata(self, metadata: Mapping[str, Any], attr: str) -> str:
        formatted = self.serialize_json(metadata)
        if self.backend.prevent_header_encoding_bugs and _UNICODE_ESCAPE.search(formatted):
            self.unsupported_feature(f"non-ASCII characters in {attr}")
        return formatted

    def check_ascii(self, value: Any, where: str) -> None:
        """Refuse a header value that Brevo would put into a message without any encoding."""
        if (
            self.backend.prevent_header_encoding_bugs
            and isinstance(value, str)
            and not value.isascii()
        ):
            self.unsupported_feature(f"non-ASCII characters in {where}")

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["sender"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            self.data[recipient_type] = [self.format_address(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        # Without one, a template's own is used.
        if subject:
            self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple reply_to addresses")
        if emails:
            self.data["replyTo"] = self.format_address(emails[0])

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        for name, value in headers.items():
            value = str(value) if isinstance(value, (int, float)) else value
            self.check_ascii(value, f"{name!r} header")
            self.message_headers[name] = value

    def set_text_body(self, body: str) -> None:
        if body:
            self.data["textContent"] = body

    def set_html_body(self, body: str) -> None:
        if body:
            self.data["htmlContent"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        if attachment.inline:
            self.unsupported_feature("inline attachments")
        # The type of the content is what the name says, and the charset of text is UTF-8.
        self.data.setdefault("attachment", []).append(
            {"name": attachment.name or "", "content": attachment.b64content_utf8}
        )

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.message_headers[METADATA_HEADER] = self.format_metadata(metadata, "metadata")

    def set_send_at(self, send_at: datetime | str) -> None:
        try:
            formatted = send_at.isoformat(timespec="milliseconds")  # type: ignore[union-attr]
        except (AttributeError, TypeError):
            # Something else than a datetime: as the sender wrote it.
            formatted = send_at
        self.data["scheduledAt"] = formatted

    def set_tags(self, tags: list[str]) -> None:
        if tags:
            self.data["tags"] = tags

    def set_template_id(self, template_id: Any) -> None:
        self.data["templateId"] = template_id

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["params"] = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.check_header_value("esp_extra['subject']", extra.get("subject", ""))
        if isinstance(headers := extra.get("headers"), Mapping):
            self._check_headers("esp_extra['headers']", headers)
        self.data.update(extra)
