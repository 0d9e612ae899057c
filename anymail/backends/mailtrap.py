"""Mailtrap.

- Documentation for developers: https://docs.mailtrap.io/developers
- Sending and batches: email-sending-transactional in https://github.com/mailtrap/mailtrap-openapi
- Sandbox: sandbox-sending there
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..datastructures import update_deep
from ..exceptions import Problem
from ..message import AnymailRecipientStatus
from ..sending.batches import NativeBatch
from ..sending.results import RecipientResults
from ..sending.shared_calls import Results, SharedCall
from .base_requests import AnymailRequestsBackend, RequestsPayload


def _results(answer: Any, count: int) -> Results | None:
    """Return the results for each message of a batch, as Mailtrap answers single messages."""
    if not isinstance(answer, dict) or "responses" not in answer:
        return None
    return [
        (400 if isinstance(result, dict) and result.get("success") is False else 200, result)
        for result in answer["responses"]
    ]


class EmailBackend(AnymailRequestsBackend):
    """Sends with Mailtrap's API, or with a sandbox id, to a test inbox."""

    DEFAULT_API_URL = "https://send.api.mailtrap.io/api/"
    DEFAULT_SANDBOX_API_URL = "https://sandbox.api.mailtrap.io/api/"

    esp_name = "Mailtrap"

    # By text
    ERRORS = dict.fromkeys(("Forbidden", "Unauthorized"), Problem.ACCOUNT)
    shared_call = SharedCall(
        limit=500,
        max_bytes=50_000_000,
        results=_results,
        opening='{"requests": [',
        closing="]}",
    )

    api_token: str = setting(
        "An API token with access to your sending domain or sandbox.",
        kind=credential,
        required=True,
        bare=True,
    )
    sandbox_id: int | str | None = setting(
        "The number of one of your sandboxes, to have messages land there rather than be "
        "sent. See :ref:`mailtrap-sandbox`.",
        default=None,
        default_text="none",
    )
    api_url: str = setting(
        "Base URL of the API for sending. For the bulk stream, use "
        '``"https://bulk.api.mailtrap.io/api/"``.',
        default_of=lambda backend: (
            backend.DEFAULT_SANDBOX_API_URL if backend.sandbox_id else backend.DEFAULT_API_URL
        ),
        default_text=(
            '``"https://send.api.mailtrap.io/api/"``, or with a sandbox id '
            '``"https://sandbox.api.mailtrap.io/api/"``'
        ),
        kind=base_url,
        sandbox="mailtrap/api/",
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> MailtrapPayload:
        return MailtrapPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        answer = response.json()
        for result in [answer, *answer.get("responses", [])]:
            if not result.get("success") and not {"success", "error", "errors"}.isdisjoint(result):
                yield from result.get("errors") or [result.get("error")]

    def parse_recipient_status(
        self, response: requests.Response, payload: MailtrapPayload, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        reply = self.deserialize_json_response(response, payload, message)
        if not isinstance(reply, dict):
            raise self.invalid_response_format(response, payload, message)
        results = RecipientResults(payload.get_recipients())
        with results:
            answers = reply["responses"] if payload.uses_batch_api() else [reply]
            messages = payload.recipients_by_message()
            for emails, result in zip(messages, answers, strict=False):
                with results:
                    self._read_result(result, emails, results)
            if len(answers) != len(messages):
                raise TypeError(f"Expected {len(messages)} responses, got {len(answers)}")
        if reply.get("errors") or reply.get("success") is not True:
            raise self.response_error(
                "Unexpected failure fields in Mailtrap's answer with "
                f"response status {response.status_code}",
                response,
                payload,
                message,
                results.known(),
            )
        return self.checked_statuses(results, response, payload, message)

    def _read_result(
        self, result: dict[str, Any], emails: list[EmailAddress], results: RecipientResults
    ) -> None:
        """Read the result for a message. Raises KeyError or TypeError if it's malformed."""
        message_ids = _message_ids(result)
        if message_ids is None:
            results.add_failed(emails)
            return
        # The sandbox has one id for all recipients of a message.
        expected = 1 if self.sandbox_id else len(emails)
        if len(message_ids) != expected:
            raise TypeError(f"Expected {expected} message_ids, got {len(message_ids)}")
        if self.sandbox_id:
            message_ids = message_ids * len(emails)
        for email, message_id in zip(emails, message_ids, strict=True):
            results.add(email.addr_spec, AnymailRecipientStatus(message_id, "queued"))


def _message_ids(result: Any) -> list[str] | None:
    """Return the ids of a message for its recipients; None if Mailtrap has refused it.

    Raises KeyError or TypeError for a malformed result.
    """
    success = result["success"]
    if not isinstance(success, bool):
        raise TypeError("success must be a boolean")
    if not success:
        return None
    message_ids = result["message_ids"]
    if not isinstance(message_ids, list) or not all(isinstance(item, str) for item in message_ids):
        raise TypeError("message_ids must be an array of strings")
    return message_ids


class MailtrapPayload(RequestsPayload):
    """The body of a call in Mailtrap's names. For a batch, it's split up in serialize_data."""

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=500)

    def init_payload(self) -> None:
        self.headers = {
            "Api-Token": self.backend.api_token,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self.data = {}
        self.reply_to_header: str | None = None

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return self._endpoint("batch" if self.uses_batch_api() else "send")

    def shared_endpoint(self) -> str | None:
        return None if self.uses_batch_api() else self._endpoint("batch")

    def _endpoint(self, name: str) -> str:
        if self.backend.sandbox_id:
            return f"{name}/{quote(str(self.backend.sandbox_id), safe='')}"
        return name

    def serialize_data(self) -> str:
        return self.serialize_json(self.batch_data() if self.uses_batch_api() else self.data)

    def uses_batch_api(self) -> bool:
        # Without anybody in `to`, there is nobody to get an individual message.
        return self.is_batch() and bool(self.get_recipients("to"))

    def recipients_by_message(self) -> list[list[EmailAddress]]:
        """Return the recipients of each message in a call, in the order of their ids."""
        if not self.uses_batch_api():
            return [self.get_recipients()]
        copies = self.get_recipients("cc", "bcc")
        return [[email, *copies] for email in self.get_recipients("to")]

    # -- Batch --------------------------------------------------------------------------------

    def batch_data(self) -> dict[str, Any]:
        """Return what is common to all messages, and what each ``to`` recipient has instead."""
        base = dict(self.data)
        del base["to"]
        copies: dict[str, Any] = {
            field: base.pop(field) for field in ("cc", "bcc") if field in base
        }
        self.unify_reply_to(base)
        messages = []
        for email, merge_data, merge_headers, merge_metadata in self.batch_recipients():
            message: dict[str, Any] = {
                "to": [self.format_address(email)],
                **copy.deepcopy(copies),
            }
            # Mailtrap does not merge these: a message's own are used in place of the common ones.
            if merge_data is not None:
                message["template_variables"] = {**base.get("template_variables", {}), **merge_data}
            if merge_metadata is not None:
                message["custom_variables"] = {**base.get("custom_variables", {}), **merge_metadata}
            if merge_headers is not None:
                message["headers"] = CaseInsensitiveDict(base.get("headers", {}))
                message["headers"].update(merge_headers)
            messages.append(message)
        return {"base": base, "requests": messages}

    def unify_reply_to(self, base: dict[str, Any]) -> None:
        """Have Reply-To among the headers if some recipients' headers have it."""
        merge_headers = map(CaseInsensitiveDict, self.merge_headers.values())
        if self.reply_to_header and any("Reply-To" in headers for headers in merge_headers):
            base.pop("reply_to", None)
            headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(
                {"Reply-To": self.reply_to_header}
            )
            headers.update(base.get("headers", {}))
            base["headers"] = headers

    # -- Formats ------------------------------------------------------------------------------

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        return email.as_dict(idna_encode=self.backend.idna_encode)

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["from"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            self.data[recipient_type] = [self.format_address(email) for email in emails]

    def set_subject(self, subject: str) -> None:
        # Mailtrap refuses messages that have both a template and a subject or body.
        if subject:
            self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if not emails:
            return
        # A Reply-To header replaces the attribute, which comes first.
        self.data.pop("reply_to", None)
        self.data.pop("headers", None)
        self.reply_to_header = ", ".join(
            email.format(use_rfc2047=True, idna_encode=self.backend.idna_encode) for email in emails
        )
        if len(emails) == 1:
            self.data["reply_to"] = self.format_address(emails[0])
        else:
            if any(email.uses_eai for email in emails):
                self.unsupported_feature("EAI with multiple reply_to addresses")
            self.set_extra_headers(CaseInsensitiveDict({"Reply-To": self.reply_to_header}))

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.data.setdefault("headers", CaseInsensitiveDict()).update(headers)

    def set_text_body(self, body: str) -> None:
        if body:
            self.data["text"] = body

    def set_html_body(self, body: str) -> None:
        if "html" in self.data:
            self.unsupported_feature("multiple html parts")
        self.data["html"] = body

    def add_attachment(self, attachment: Attachment) -> None:
        fields = {
            "filename": attachment.name or "attachment",  # required
            "type": attachment.content_type,
            "content": attachment.b64content,
        }
        if attachment.inline:
            fields["disposition"] = "inline"
            fields["content_id"] = attachment.cid
        self.data.setdefault("attachments", []).append(fields)

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.data["custom_variables"] = {str(key): str(value) for key, value in metadata.items()}

    def set_tags(self, tags: list[str]) -> None:
        if len(tags) > 1:
            self.unsupported_feature(f"multiple tags ({tags!r})")
        if tags:
            self.data["category"] = tags[0]

    def set_template_id(self, template_id: Any) -> None:
        self.data["template_uuid"] = template_id
        if not self.data.get("html"):
            self.data.pop("html", None)

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.data["template_variables"] = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.check_extra_fields("esp_extra", extra)
        update_deep(self.data, extra)
