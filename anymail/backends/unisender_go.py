"""Unisender Go.

- Sending: https://godocs.unisender.ru/web-api-ref#email-send
- International edition, with the same API: https://docs.unione.io/en/web-api-ref#email-send
"""

from __future__ import annotations

import uuid  # noqa: F401 (tests of projects replace its uuid4 here)
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, RecipientMap
from ..attachments import Attachment
from ..conf import base_url, credentials, setting
from ..datastructures import update_deep
from ..exceptions import Problem
from ..headers import has_specials, rfc2047_encode
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.keys import shortened
from ..sending.results import RecipientResults
from .base_requests import AnymailRequestsBackend, RequestsPayload

TEMPORARY_UNAVAILABLE = "temporary_unavailable"

# failed_emails value -> recipient status; all others are "failed"
FAILED_STATUSES = {
    "invalid": "invalid",
    "permanent_unavailable": "rejected",
    "unsubscribed": "rejected",
    TEMPORARY_UNAVAILABLE: "failed",
}
# The address is among "emails", too.
DUPLICATE = "duplicate"

KEY_WAS_USED = 1573
MAX_KEY_LENGTH = 64

LIST_UNSUBSCRIBE = "List-Unsubscribe"
LIST_UNSUBSCRIBE_SUBSTITUTION = "Header__List_Unsubscribe"


def _first(value: Any) -> Any:
    # The webhook can use several keys.
    return next(iter(credentials(value)), None)


class EmailBackend(AnymailRequestsBackend):
    """Sends with Unisender Go's API."""

    esp_name = "Unisender Go"
    # It is about a minute.
    idempotency = timedelta(seconds=50)
    KEY_USED = frozenset({KEY_WAS_USED})

    # By what is wrong with the recipients, if it's all of them
    ERRORS = {TEMPORARY_UNAVAILABLE: Problem.BUSY}

    api_key: str = setting(
        "The API key of your account, or of a project. If it is a list, the first one is used to "
        "send.",
        kind=_first,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API, for the data center that your account is in: "
        '``"https://go1.unisender.ru/ru/transactional/api/v1/"`` or '
        '``"https://go2.unisender.ru/ru/transactional/api/v1/"``.',
        kind=base_url,
        sandbox="unisender_go/ru/transactional/api/v1/",
        required=True,
    )
    generate_message_id: bool = setting(
        "Whether Anymail gives each recipient an id of its own. See "
        ":ref:`unisender-go-message-id`.",
        default=True,
    )
    workaround_display_name_bugs: bool = setting(
        "Whether to encode display names that Unisender Go would get wrong. See "
        ":ref:`unisender-go-quirks`.",
        default=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> UnisenderGoPayload:
        return UnisenderGoPayload(message=message, defaults=defaults, backend=self)

    def error_codes(self, response: requests.Response) -> Iterable[Any]:
        answer = response.json()
        reasons = [
            reason for reason in (answer.get("failed_emails") or {}).values() if reason != DUPLICATE
        ]
        return reasons or [answer["code"]]

    def parse_repeat(
        self, response: requests.Response, payload: Any
    ) -> dict[str, AnymailRecipientStatus]:
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        # Made of the key, they are those of the first call.
        for address, message_id in payload.message_ids.items():
            results.add(address, AnymailRecipientStatus(message_id, "queued"))
        return results.with_others(AnymailRecipientStatus(None, "queued"))

    def parse_recipient_status(
        self, response: requests.Response, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        # {"status": "success", "job_id": "1ZymBc-00041N-9X",
        #  "emails": ["user@example.com"], "failed_emails": {"old@example.com": "unsubscribed"}}
        answer = self.deserialize_json_response(response, payload, message)
        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        job_id: str | None = None
        with results:
            job_id = _parse_job_id(answer)
        with results:
            if not isinstance(answer["emails"], list):
                raise TypeError("emails must be an array")
            for address in answer["emails"]:
                with results:
                    message_id = payload.message_ids.get(address.lower(), job_id)
                    results.add(address, AnymailRecipientStatus(message_id, "queued"))
        with results:
            for address, reason in answer.get("failed_emails", {}).items():
                with results:
                    if not isinstance(reason, str):
                        raise TypeError("A reason must be text")
                    if reason != DUPLICATE:
                        status = FAILED_STATUSES.get(reason, "failed")
                        results.add(address, AnymailRecipientStatus(None, status))
        return self.checked_statuses(results, response, payload, message)


def _parse_job_id(answer: dict[str, Any]) -> str | None:
    """Return the id that all recipients share. Raises TypeError if it's malformed."""
    job_id = answer.get("job_id")
    if not isinstance(job_id, (str, type(None))):
        raise TypeError("job_id must be text")
    return job_id


class UnisenderGoPayload(RequestsPayload):
    """Builds the ``message`` of a call, in Unisender Go's names."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(
        limit=500,
        copies_each=False,  # As all other recipients, they get one.
        limit_counts_copies=True,
        recipient_fields=frozenset({"recipients"}),
    )

    def init_payload(self) -> None:
        self.headers = {
            "X-API-KEY": self.backend.api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self.data = {"headers": CaseInsensitiveDict(), "recipients": []}
        self.message_ids: dict[str, str] = {}
        """By addr-spec, as it is sent, but in lower case. Filled in by serialize_data."""

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "email/send.json"

    def serialize_data(self) -> str:
        message = dict(self.data)
        if self.backend.generate_message_id:
            message["recipients"] = self.recipients_with_ids()
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(message.pop("headers"))
        if self.is_batch():
            # Without a To header, each recipient sees only their own address.
            headers.pop("to", None)
            if headers.pop("cc", None):
                self.unsupported_feature(
                    "cc with batch send (merge_data, merge_metadata, or merge_headers)"
                )
        if headers:
            message["headers"] = headers
        if (key := self.idempotency_key) is not None:
            message["idempotence_key"] = shortened(key, MAX_KEY_LENGTH)
        return self.serialize_json({"message": message})

    def recipients_with_ids(self) -> list[dict[str, Any]]:
        """Return the recipients with ids that webhooks will report.

        The id in Unisender Go's answer is the same for all of them.
        """
        addresses = [recipient["email"].lower() for recipient in self.data["recipients"]]
        different = list(dict.fromkeys(addresses))
        self.message_ids = dict(zip(different, self.make_ids(different), strict=True))
        recipients = []
        for address, recipient in zip(addresses, self.data["recipients"], strict=True):
            metadata = recipient.get("metadata") or {}
            metadata = {**metadata, "anymail_id": self.message_ids[address]}
            recipients.append({**recipient, "metadata": metadata})
        return recipients

    # -- Formats ------------------------------------------------------------------------------

    def format_header_address(self, email: EmailAddress) -> str:
        """Return an address for the To or Cc header."""
        name = email.display_name
        if self.backend.workaround_display_name_bugs and not set(name).isdisjoint(",<>@"):
            # Unisender Go gets them wrong even if they are quoted.
            addr_spec = email.format_addr_spec(idna_encode=self.backend.idna_encode)
            return f"{rfc2047_encode(name)} <{addr_spec}>"
        return email.format(use_rfc2047=True, idna_encode=self.backend.idna_encode)

    def entries_for_recipients(
        self, entries: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
        """Yield (recipient, entry) for the recipients that have an entry of {address: entry}."""
        recipient_map = RecipientMap(entries)
        for email, recipient in zip(self.get_recipients(), self.data["recipients"], strict=True):
            if entry := recipient_map.get(email):
                yield recipient, entry

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data.pop("from_name", None)
        self.data.update(
            email.as_dict(
                email="from_email", name="from_name", idna_encode=self.backend.idna_encode
            )
        )

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        for email in emails:
            addr_spec = email.format_addr_spec(idna_encode=self.backend.idna_encode)
            recipient: dict[str, Any] = {"email": addr_spec}
            if email.display_name:
                recipient["substitutions"] = {"to_name": email.display_name}
            self.data["recipients"].append(recipient)
        if emails and recipient_type != "bcc":
            header = ", ".join(self.format_header_address(email) for email in emails)
            self.data["headers"][recipient_type] = header

    def set_subject(self, subject: str) -> None:
        if subject:
            self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple reply_to addresses")
        if not emails:
            return
        self.data["reply_to"] = emails[0].format_addr_spec(idna_encode=self.backend.idna_encode)
        # That of the reply_to attribute, if this is from a header
        self.data.pop("reply_to_name", None)
        if name := emails[0].display_name:
            # Unisender Go does not encode or quote it.
            if self.backend.workaround_display_name_bugs and (
                has_specials(name) or not name.isascii()
            ):
                name = rfc2047_encode(name)
            self.data["reply_to_name"] = name

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        for name, value in headers.items():
            if isinstance(value, str) and not value.isascii():
                value = rfc2047_encode(value)
            self.data["headers"][name] = value

    def set_body_part(self, part: str, content: Any) -> None:
        if content:
            self.data.setdefault("body", {})[part] = content

    def set_text_body(self, body: str) -> None:
        self.set_body_part("plaintext", body)

    def set_html_body(self, body: str) -> None:
        self.set_body_part("html", body)

    def add_alternative(self, content: Any, mimetype: str) -> None:
        if mimetype.lower() == "text/x-amp-html":
            if "amp" in self.data.get("body", {}):
                self.unsupported_feature("multiple amp-html parts")
            self.set_body_part("amp", content)
        else:
            super().add_alternative(content, mimetype)

    def add_attachment(self, attachment: Attachment) -> None:
        # Unisender Go makes the name of an inline attachment its Content-ID.
        field = "inline_attachments" if attachment.inline else "attachments"
        self.data.setdefault(field, []).append(
            {
                "content": attachment.b64content,
                "type": attachment.content_type,
                "name": (attachment.cid if attachment.inline else attachment.name) or "",
            }
        )

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.data["global_metadata"] = metadata

    def set_send_at(self, send_at: datetime | str) -> None:
        if isinstance(send_at, datetime):
            send_at = send_at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        self.data.setdefault("options", {})["send_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        self.data["tags"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.data["track_links"] = 1 if track_clicks else 0

    def set_track_opens(self, track_opens: bool) -> None:
        self.data["track_read"] = 1 if track_opens else 0

    def set_template_id(self, template_id: Any) -> None:
        self.data["template_id"] = template_id

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        for recipient, data in self.entries_for_recipients(merge_data):
            # It becomes part of the To header.
            self.check_header_value("merge_data: to_name", data.get("to_name", ""))
            recipient["substitutions"] = {**recipient.get("substitutions", {}), **data}

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["global_substitutions"] = merge_global_data

    def set_merge_headers(self, merge_headers: Mapping[str, Mapping[str, Any]]) -> None:
        is_used = False
        for recipient, headers in self.entries_for_recipients(merge_headers):
            for name, value in headers.items():
                # Unisender Go allows substitutions in no other header.
                if name.title() != LIST_UNSUBSCRIBE:
                    self.unsupported_feature(f"'{name.title()}' in merge_headers")
                    continue
                is_used = True
                recipient.setdefault("substitutions", {})[LIST_UNSUBSCRIBE_SUBSTITUTION] = value
        if not is_used:
            return
        if LIST_UNSUBSCRIBE in self.data["headers"]:
            for_others = self.data["headers"][LIST_UNSUBSCRIBE]
            for recipient in self.data["recipients"]:
                recipient.setdefault("substitutions", {}).setdefault(
                    LIST_UNSUBSCRIBE_SUBSTITUTION, for_others
                )
        self.data["headers"][LIST_UNSUBSCRIBE] = f"{{{{{LIST_UNSUBSCRIBE_SUBSTITUTION}}}}}"

    def set_merge_metadata(self, merge_metadata: dict[str, dict[str, Any]]) -> None:
        for recipient, metadata in self.entries_for_recipients(merge_metadata):
            recipient["metadata"] = dict(metadata)

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        for name in ("subject", "from_name", "reply_to_name"):
            self.check_header_value(f"esp_extra[{name!r}]", extra.get(name, ""))
        headers = extra.get("headers", {})
        if not isinstance(headers, Mapping):
            raise TypeError("esp_extra['headers'] must be a dict")
        self._check_headers("esp_extra['headers']", headers)
        recipients = extra.get("recipients", [])
        if not isinstance(recipients, list) or not all(
            isinstance(recipient, Mapping) and isinstance(recipient.get("email"), str)
            for recipient in recipients
        ):
            raise TypeError("esp_extra['recipients'] must be a list of dicts with an 'email'")
        update_deep(self.data, extra)
