"""Send through SendGrid's v3 API.

- Sending: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
- Personalizations: https://www.twilio.com/docs/sendgrid/for-developers/sending-email/personalizations
- Errors: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors
"""

from __future__ import annotations

import copy
import uuid  # noqa: F401 (tests of projects replace its uuid4 here)
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import requests
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from .._docs import with_docs
from ..addresses import EmailAddress
from ..attachments import Attachment
from ..conf import base_url, credential, setting
from ..datastructures import update_deep
from ..exceptions import (
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailSerializationError,
    AnymailWarning,
    Problem,
)
from ..message import AnymailRecipientStatus
from ..sending.batches import BatchRecipient, NativeBatch
from ..sending.problems import SENDER
from .base_requests import AnymailRequestsBackend, RequestsPayload

DEFAULT_API_URL = "https://api.sendgrid.com/v3/"

DYNAMIC_TEMPLATE_PREFIX = "d-"
"""Of the ids of dynamic templates. Those of legacy templates are plain UUIDs."""


def _refuse(value: Any) -> None:
    if value:
        raise AnymailConfigurationError(
            "SendGrid v3 API doesn't support username/password auth; Please change to API key.",
            docs="settings#setting-SENDGRID_API_KEY",
        )


class EmailBackend(AnymailRequestsBackend):
    """Sends with SendGrid's v3 API."""

    esp_name = "SendGrid"

    # By the field that an error is about, or else its first sentence
    ERRORS = {
        "Maximum credits exceeded": Problem.ACCOUNT,
        "The from address does not match a verified Sender Identity": SENDER,
        "template_id": Problem.UNSUITABLE,
    }

    api_key: str = setting(
        "An API key with *Mail Send* access.",
        kind=credential,
        required=True,
        bare=True,
    )
    api_url: str = setting(
        "Base URL of the API. For subusers in SendGrid's EU region, use "
        '``"https://api.eu.sendgrid.com/v3/"``.',
        default=DEFAULT_API_URL,
        kind=base_url,
        sandbox="sendgrid/v3/",
    )
    generate_message_id: bool = setting(
        "Whether Anymail gives each message an id of its own. See :ref:`sendgrid-message-id`.",
        default=True,
    )
    merge_field_format: str | None = setting(
        'How merge fields are written in legacy templates, such as ``"-{}-"``. See '
        ":ref:`sendgrid-legacy-templates`. For one message: ``esp_extra = "
        '{"merge_field_format": ...}``.',
        default=None,
        default_text="as they are in ``merge_data``",
    )
    username: None = setting(
        "Must not be set: SendGrid's API does not take user names and passwords.",
        default=None,
        default_text="none",
        kind=_refuse,
        bare=True,
    )
    password: None = setting(
        "Must not be set, either.",
        default=None,
        default_text="none",
        kind=_refuse,
        bare=True,
    )

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> SendGridPayload:
        return SendGridPayload(message, defaults, self)

    def error_codes(self, response: requests.Response) -> Iterable[str]:
        for error in response.json()["errors"]:
            field = error.get("field")
            yield field if field in self.ERRORS else error["message"].partition(".")[0]

    def parse_recipient_status(
        self, response: requests.Response, payload: SendGridPayload, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        # SendGrid accepts a message whole, with an empty answer, or not at all. Whom it refuses to
        # send to is only reported to the tracking webhook. Other successes can be a proxy's.
        status = response.status_code
        is_accepted = status == 202 or (status == 200 and payload.is_test)
        if not is_accepted or response.content.strip():
            raise self.response_error(
                "Unexpected answer to a SendGrid API call, which succeeds with status 202 (or 200, "
                "in sandbox mode) and nothing else",
                response,
                payload,
                message,
            )
        addr_specs = [email.addr_spec for email in payload.get_recipients()]
        return {
            addr_spec: AnymailRecipientStatus(payload.message_ids.get(addr_spec), "queued")
            for addr_spec in dict.fromkeys([*addr_specs, *payload.message_ids])
        }


class Personalization:
    """One message to be: who gets it, and what is particular to them."""

    own: BatchRecipient | None = None
    """What the message has for the ``to`` recipient, if there is just one."""

    def __init__(
        self,
        fields: dict[str, Any],
        to: Sequence[EmailAddress | None],
        copies: Sequence[EmailAddress | None],
    ) -> None:
        self.fields = fields
        """All of it, in SendGrid's form."""
        self.to = to
        """The ``to`` recipients as the sender wrote them. None for what can't be an address: that
        is for SendGrid to refuse."""
        self.copies = copies
        """Those in cc and bcc."""

    def split(self) -> list[Personalization]:
        """Return one for each ``to`` recipient, which share nothing that is changed.

        If there are none, return just this one: its other recipients must get the message, too.
        """
        if not self.to:
            return [self]
        others = {name: value for name, value in self.fields.items() if name != "to"}
        is_usual = others.keys() <= {"cc", "bcc"}
        return [
            Personalization(
                {"to": [wire], **(others if is_usual else copy.deepcopy(others))},
                (email,),
                self.copies,
            )
            for wire, email in zip(self.fields["to"], self.to, strict=True)
        ]


class SendGridPayload(RequestsPayload):
    """The JSON of a call, built in SendGrid's names.

    What differs between recipients, the personalizations, depends on several attributes of the
    message, and is added in serialize_data.
    """

    backend: EmailBackend
    data: dict[str, Any]
    native_batch = NativeBatch(limit=1000, limit_counts_copies=True)

    def init_payload(self) -> None:
        self.headers = {
            "Authorization": f"Bearer {self.backend.api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        self.data = {"headers": CaseInsensitiveDict()}
        self.message_ids: dict[str, str] = {}
        """By addr-spec, as the sender wrote it. Filled in by serialize_data."""
        self.merge_global_data: dict[str, Any] = {}
        # From esp_extra:
        self.merge_field_format = self.backend.merge_field_format
        self.use_dynamic_template: bool | None = None
        self.extra_personalizations: Any = {}

    @property
    def is_test(self) -> bool:
        """Whether SendGrid only checks the message, and sends nothing: in its sandbox mode."""
        settings = self.data.get("mail_settings")
        mode = settings.get("sandbox_mode") if isinstance(settings, Mapping) else None
        return isinstance(mode, Mapping) and bool(mode.get("enable"))

    # -- Request ------------------------------------------------------------------------------

    def get_api_endpoint(self) -> str:
        return "mail/send"

    def serialize_data(self) -> str:
        personalizations = self.personalizations()
        if self.merge_data or self.merge_global_data:
            self.add_template_data(personalizations)
        self.add_for_recipients(personalizations)
        if self.backend.generate_message_id:
            self.add_message_ids(personalizations)

        data = {"personalizations": [item.fields for item in personalizations], **self.data}
        if not data["headers"]:
            del data["headers"]
        return self.serialize_json(data)

    def has_own_recipients(self) -> bool:
        extra = self.extra_personalizations
        return not (isinstance(extra, Mapping) and extra.keys().isdisjoint(("to", "cc", "bcc")))

    # -- Personalizations ---------------------------------------------------------------------

    def personalizations(self) -> list[Personalization]:
        """Return who is to get a message together; in a batch, each ``to`` recipient alone."""
        if isinstance(self.extra_personalizations, Mapping):
            emails: dict[str, Sequence[EmailAddress | None]] = {}
            fields: dict[str, Any] = {}
            for recipient_type in ("to", "cc", "bcc"):
                if recipients := self.get_recipients(recipient_type):
                    emails[recipient_type] = recipients
                    fields[recipient_type] = list(map(self.format_address, recipients))
            if self.extra_personalizations:
                custom = self.custom_fields(self.extra_personalizations)
                fields = {**fields, **custom}
                emails = {**emails, **self.find_addresses(custom)}
            result = [self.personalization(fields, emails)]
        else:
            result = [
                self.personalization(custom, self.find_addresses(custom))
                for custom in map(self.custom_fields, self.extra_personalizations)
            ]
        if self.is_batch():
            result = [single for personalization in result for single in personalization.split()]
        singles = [item for item in result if len(item.to) == 1 and item.to[0] is not None]
        own_values = self.batch_recipients(
            [email for item in singles for email in item.to if email]
        )
        for personalization, own in zip(singles, own_values, strict=True):
            personalization.own = own
        return result

    @staticmethod
    def personalization(
        fields: dict[str, Any], emails: Mapping[str, Sequence[EmailAddress | None]]
    ) -> Personalization:
        """Return a personalization for recipients by type: "to", "cc", "bcc"."""
        copies = [*emails.get("cc", ()), *emails.get("bcc", ())]
        return Personalization(fields, emails.get("to", ()), copies)

    def custom_fields(self, extra: Any) -> dict[str, Any]:
        """Return a personalization's fields from esp_extra. They're independent of the caller's."""
        if not isinstance(extra, Mapping):
            raise TypeError("esp_extra['personalizations'] must be a dict, or a list of dicts")
        fields = copy.deepcopy(dict(extra))
        for name in ("subject", "headers"):
            self.check_extra_header(f"esp_extra['personalizations'][{name!r}]", fields.get(name))
        custom_args = fields.get("custom_args")
        if custom_args is not None and not isinstance(custom_args, Mapping):
            raise TypeError("esp_extra['personalizations']: custom_args must be a dict")
        return fields

    def find_addresses(self, fields: Mapping[str, Any]) -> dict[str, list[EmailAddress | None]]:
        """Return the recipients in a personalization's fields, by type."""
        return {
            recipient_type: list(map(self.find_address, fields[recipient_type]))
            for recipient_type in ("to", "cc", "bcc")
            if isinstance(fields.get(recipient_type), list)
        }

    @cached_property
    def recipients_by_wire(self) -> dict[str, EmailAddress]:
        """The message's recipients by their addr-specs in SendGrid's form."""
        found: dict[str, EmailAddress] = {}
        for email in self.get_recipients():
            found.setdefault(self.format_address(email)["email"], email)
        return found

    def find_address(self, wire: Any) -> EmailAddress | None:
        """Return an address from SendGrid's form, in the sender's spelling if that is known."""
        addr_spec = wire.get("email") if isinstance(wire, Mapping) else None
        if not isinstance(addr_spec, str):
            return None
        if addr_spec in self.recipients_by_wire:
            return self.recipients_by_wire[addr_spec]
        try:
            return EmailAddress(addr_spec=addr_spec)
        except AnymailInvalidAddress:
            return None

    def add_template_data(self, personalizations: Iterable[Personalization]) -> None:
        """Add merge_data, over merge_global_data."""
        dynamic = self.uses_dynamic_template()
        if not dynamic:
            self.warn_about_missing_delimiters()
        for personalization in personalizations:
            own = personalization.own
            data = {**self.merge_global_data, **((own and own.merge_data) or {})}
            if not data:
                continue
            if dynamic:
                personalization.fields["dynamic_template_data"] = data
            else:
                personalization.fields["substitutions"] = self.substitutions(data)

    def add_for_recipients(self, personalizations: Iterable[Personalization]) -> None:
        """Add merge_metadata and merge_headers. SendGrid merges them with those for everyone."""
        for personalization in personalizations:
            own = personalization.own
            if own is not None and own.merge_metadata:
                personalization.fields["custom_args"] = _numbers_as_text(own.merge_metadata)
            if own is not None and own.merge_headers:
                personalization.fields["headers"] = own.merge_headers

    def add_message_ids(self, personalizations: Sequence[Personalization]) -> None:
        """Give each personalization an id of its own, which SendGrid's webhooks will report.

        The id that SendGrid answers with is for the whole call, and neither that nor any other is
        in all the events.
        """
        message_ids = self.make_ids([str(number) for number in range(len(personalizations))])
        for personalization, message_id in zip(personalizations, message_ids, strict=True):
            custom_args = personalization.fields.get("custom_args") or {}
            personalization.fields["custom_args"] = {**custom_args, "anymail_id": message_id}
            for email in (*personalization.to, *personalization.copies):
                if email is not None:
                    self.message_ids[email.addr_spec] = message_id

    # -- Templates ----------------------------------------------------------------------------

    def uses_dynamic_template(self) -> bool:
        if self.use_dynamic_template is not None:
            return self.use_dynamic_template
        template_id = self.data.get("template_id")
        return isinstance(template_id, str) and template_id.startswith(DYNAMIC_TEMPLATE_PREFIX)

    def substitutions(self, data: Mapping[str, Any]) -> dict[str, str | None]:
        """Return data in the form of legacy templates: text, to search for and to put there."""
        return {
            self.format_merge_field(name): self.substitution_text(name, value)
            for name, value in _numbers_as_text(data).items()
        }

    def format_merge_field(self, name: str) -> str:
        if self.merge_field_format is None:
            return name
        try:
            return self.merge_field_format.format(name)
        except (IndexError, KeyError, ValueError) as err:
            raise AnymailConfigurationError(
                f"SENDGRID_MERGE_FIELD_FORMAT (or esp_extra['merge_field_format']) is "
                f"{self.merge_field_format!r}, but must have one {{}} for the name of the field.",
                docs="settings#setting-SENDGRID_MERGE_FIELD_FORMAT",
            ) from err

    def substitution_text(self, name: str, value: Any) -> str | None:
        if value is not None and not isinstance(value, str):
            raise AnymailSerializationError(
                "SendGrid legacy substitutions require string values; merge data for "
                f"{name!r} is of type {type(value).__name__}.",
                **self._error_context(),
            )
        return value

    def warn_about_missing_delimiters(self) -> None:
        """Warn about merge fields that SendGrid would replace wherever they are in a text."""
        if self.merge_field_format is not None:
            return
        all_data = [self.merge_global_data, *self.merge_data.values()]
        for fields, attrs in (
            ({name for data in all_data for name in data}, "merge fields"),
            (set(self.merge_global_data), "merge_global_data fields"),
        ):
            if fields and all(str(name).isalnum() for name in fields):
                warnings.warn(
                    with_docs(
                        f"Your SendGrid {attrs} have no delimiters, so their names would be "
                        "replaced in other words, too. Set SENDGRID_MERGE_FIELD_FORMAT to the "
                        "format that your template uses.",
                        "esps/sendgrid#sendgrid-legacy-templates",
                    ),
                    AnymailWarning,
                    stacklevel=2,
                )

    # -- Formats ------------------------------------------------------------------------------

    def format_address(self, email: EmailAddress) -> dict[str, str]:
        return email.as_dict(idna_encode=self.backend.idna_encode)

    def check_extra_header(self, name: str, value: Any) -> None:
        """Refuse line breaks in what esp_extra puts into headers: a subject, or a dict."""
        if isinstance(value, Mapping):
            self._check_headers(name, value)
        elif isinstance(value, str):
            self.check_header_value(name, value)

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        self.data["from"] = self.format_address(email)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        """They become personalizations in serialize_data."""

    def set_subject(self, subject: str) -> None:
        if subject:
            # Even an empty one would replace that of a template.
            self.data["subject"] = subject

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.data["reply_to_list"] = [self.format_address(email) for email in emails]

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.data["headers"].update(_numbers_as_text(headers))

    def set_text_body(self, body: str) -> None:
        if body:
            # SendGrid insists on the plain text first.
            self.data.setdefault("content", []).insert(0, _content_part(body, "text/plain"))

    def set_html_body(self, body: str) -> None:
        if body:
            self.add_alternative(body, "text/html")

    def add_alternative(self, content: Any, mimetype: str) -> None:
        self.data.setdefault("content", []).append(_content_part(content, mimetype))

    def set_attachments(self, attachments: list[Attachment]) -> None:
        if attachments:
            self.data["attachments"] = [_attachment_part(attachment) for attachment in attachments]

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.data["custom_args"] = _numbers_as_text(metadata)

    def set_send_at(self, send_at: Any) -> None:
        if isinstance(send_at, datetime):
            send_at = int(send_at.timestamp())
        self.data["send_at"] = send_at

    def set_tags(self, tags: list[str]) -> None:
        self.data["categories"] = tags

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.set_tracking("click_tracking", track_clicks)

    def set_track_opens(self, track_opens: bool) -> None:
        self.set_tracking("open_tracking", track_opens)

    def set_tracking(self, name: str, enable: bool) -> None:
        self.data.setdefault("tracking_settings", {})[name] = {"enable": enable}

    def set_template_id(self, template_id: Any) -> None:
        self.data["template_id"] = template_id

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.merge_global_data = merge_global_data

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        if "x-smtpapi" in extra:
            raise AnymailConfigurationError(
                "You are attempting to use SendGrid v2 API-style x-smtpapi params with the "
                "SendGrid v3 API. Please update your `esp_extra` to the new API.",
                docs="esps/sendgrid#sendgrid-esp-extra",
            )
        self.merge_field_format = extra.pop("merge_field_format", self.merge_field_format)
        self.use_dynamic_template = extra.pop("use_dynamic_template", None)
        self.extra_personalizations = extra.pop("personalizations", {})
        if not isinstance(self.extra_personalizations, (Mapping, list, tuple)):
            raise TypeError("esp_extra['personalizations'] must be a dict, or a list of dicts")
        for name in ("subject", "headers"):
            self.check_extra_header(f"esp_extra[{name!r}]", extra.get(name))
        update_deep(self.data, extra)


def _content_part(content: Any, mimetype: str) -> dict[str, Any]:
    return {"type": mimetype, "value": content}


def _attachment_part(attachment: Attachment) -> dict[str, Any]:
    part = {
        "content": attachment.b64content_utf8,
        # SendGrid refuses types with a charset, and takes all text for UTF-8.
        "type": attachment.content_type_without_charset,
        "filename": attachment.name or "",  # required
    }
    if attachment.inline:
        part["disposition"] = "inline"
        part["content_id"] = attachment.cid
    return part


def _numbers_as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which numbers are text: SendGrid takes no others."""
    return {
        name: str(value) if isinstance(value, (int, float)) else value
        for name, value in values.items()
    }
