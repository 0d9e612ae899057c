"""Amazon SES, with its v2 API.

- SendEmail: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
- SendBulkEmail: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendBulkEmail.html
- boto3: https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/sesv2.html

Messages are sent as MIME, made by Django. With a template, SES makes them, one for each recipient.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from email.message import Message
from email.mime.base import MIMEBase
from typing import Any, ClassVar

import django
import django.core.mail
from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, parse_address_list
from ..attachments import Attachment, unpack_alternative
from ..aws import (
    AWS_ERRORS,
    CallsAWS,
    aws_error_code,
    boto3_params,
    configuration_errors,
    missing_package,
)
from ..conf import setting
from ..datastructures import UNSET, force_non_lazy
from ..exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidAddress,
    Problem,
)
from ..message import AnymailRecipientStatus
from ..mime import (
    HeadersAsWritten,
    encoded_words,
    flatten,
    fold_addresses,
    fold_text,
    is_printable,
    make_7bit,
)
from ..sending.batches import NativeBatch
from ..sending.problems import SENDER
from ..sending.results import RecipientResults
from ..sending.steps import ApiCall
from ..sending.waiting import in_thread
from .base import AnymailBaseBackend, BasePayload, MessageAttr

try:
    import boto3
    from botocore.config import Config
    from botocore.endpoint import MAX_POOL_CONNECTIONS
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError as err:
    raise missing_package("boto3") from err

# Of a BulkEmailEntryResult. All others are errors.
SUCCESS = "SUCCESS"

# Headers with addresses, and what they are made from if they are not in extra_headers
_ADDRESS_ATTRS = {"From": "from_email", "To": "to", "Cc": "cc", "Reply-To": "reply_to"}
_ADDRESS_HEADERS = {"sender", "resent-from", "resent-sender", "resent-to", "resent-cc"}

# Placeholders for what Django makes by itself, unless it is in extra_headers
_DJANGOS_HEADERS = {"Date": "Thu, 01 Jan 1970 00:00:00 +0000", "Message-ID": "<id@example.com>"}

# Headers that say how to read the message
_STRUCTURAL_HEADERS = {"content-type", "content-transfer-encoding", "mime-version"}

# Django before 5.2 had tuples.
_EmailAlternative: Any = getattr(django.core.mail, "EmailAlternative", lambda *values: values)


class EmailBackend(CallsAWS, AnymailBaseBackend):
    """Sends with Amazon SES, through boto3."""

    esp_name = "Amazon SES"

    ERRORS = {
        **AWS_ERRORS,
        # Of a bulk call's entries
        "ACCOUNT_DAILY_QUOTA_EXCEEDED": Problem.ACCOUNT,
        "ACCOUNT_SENDING_PAUSED": Problem.ACCOUNT,
        "ACCOUNT_SUSPENDED": Problem.ACCOUNT,
        "ACCOUNT_THROTTLED": Problem.BUSY,
        "CONFIGURATION_SET_NOT_FOUND": Problem.ACCOUNT,
        "CONFIGURATION_SET_SENDING_PAUSED": Problem.ACCOUNT,
        "INVALID_SENDING_POOL_NAME": Problem.ACCOUNT,
        "MAIL_FROM_DOMAIN_NOT_VERIFIED": SENDER,
        "TEMPLATE_NOT_FOUND": Problem.UNSUITABLE,
        "TRANSIENT_FAILURE": Problem.BUSY,
    }

    _session_name = "boto3 Session"

    configuration_set_name: str | None = setting(
        "Name of the configuration set to send with. For one message: "
        '``esp_extra = {"ConfigurationSetName": ...}``.',
        default=None,
        default_text="that of the identity",
    )
    message_tag_name: str | None = setting(
        "Name of an SES message tag to send a message's (only) tag as, too. See "
        ":ref:`amazon-ses-tags`.",
        default=None,
        default_text="none",
    )

    timeout: tuple[float, float] | None = None
    """Seconds to connect and to read, where AMAZON_SES_CLIENT_PARAMS has none."""

    has_default_timeout = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_params, self.client_params = boto3_params(
            self.esp_name, self.session_params, self.client_params
        )
        self.client: Any = None

    def open(self) -> bool | None:
        if self.client is not None:
            return False
        try:
            with configuration_errors(self.esp_name):
                self.client = in_thread(self._create_client)  # It takes a while.
        except AnymailConfigurationError:
            raise
        except Exception:
            if not self.fail_silently:
                raise
            return None
        return True

    def _create_client(self) -> Any:
        session = boto3.session.Session(**self.session_params)
        return session.client("sesv2", **self._client_params())

    def _client_params(self) -> dict[str, Any]:
        """Return the client's parameters: for one attempt, and enough connections at a time.

        Left to itself, boto3 sends a message up to three times if SES is slow or has trouble.
        """
        config = Config(max_pool_connections=max(self.send_concurrency, MAX_POOL_CONNECTIONS))
        if self.timeout is not None:
            connect_timeout, read_timeout = self.timeout
            config = config.merge(
                Config(connect_timeout=connect_timeout, read_timeout=read_timeout)
            )
        config = config.merge(self.client_params["config"])
        if not config.retries:
            config = config.merge(Config(retries={"total_max_attempts": 1}))
        return {**self.client_params, "config": config}

    def close(self) -> None:
        if self.client is None:
            return
        try:
            self.client.close()
        finally:
            self.client = None

    @property
    def is_open(self) -> bool:
        return self.client is not None

    def rate_cost(self, payload: Any) -> int:
        # Amazon SES counts recipients.
        return len(payload.get_recipients())

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> AmazonSESBasePayload:
        if getattr(message, "template_id", UNSET) is not UNSET:
            return AmazonSESV2SendBulkEmailPayload(message, defaults, self)
        return AmazonSESV2SendEmailPayload(message, defaults, self)

    def error_codes(self, response: Any) -> Iterable[str]:
        if "Error" in response:
            yield aws_error_code(response)
            return
        statuses = [entry["Status"] for entry in response["BulkEmailEntryResults"]]
        yield from (status for status in statuses if status != SUCCESS)

    def prepare_call(self, payload: Any) -> ApiCall:
        return ApiCall(payload.api_name, **payload.get_api_params())

    def make_call(self, call: ApiCall) -> Any:
        """Make the call, and return the response, a dict.

        Raises AnymailAPIError with the error that boto3 raised as its cause; NotImplementedError if
        it's too old.
        """
        if not hasattr(self.client, call.function):
            raise NotImplementedError(
                f"This version of boto3 does not have {call.function} for Amazon SES v2. "
                "Upgrade boto3."
            )
        try:
            return call.make(self.client)
        except (BotoCoreError, ClientError) as err:
            raise AnymailAPIError(
                f"Error calling Amazon SES {call.function}:",
                backend=self,
                response=err.response if isinstance(err, ClientError) else None,
            ) from err

    def parse_recipient_status(
        self, response: Any, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        statuses: dict[str, AnymailRecipientStatus] = payload.parse_recipient_status(response)
        return statuses


class AmazonSESBasePayload(BasePayload):
    """The parameters of an API call.

    Subclasses implement ``get_api_params()``, which returns the arguments of the boto3 client's
    method, and ``parse_recipient_status(response)``, which raises AnymailAPIError if it can't.
    """

    backend: EmailBackend

    api_name: ClassVar[str]
    """Name of the boto3 client's method."""

    message_tags_param: ClassVar[str]
    """Parameter that holds SES message tags, which are not Anymail's tags."""

    def init_payload(self) -> None:
        self.params: dict[str, Any] = {}
        if self.backend.configuration_set_name is not None:
            self.params["ConfigurationSetName"] = self.backend.configuration_set_name
        self.tags: list[str] = []

    def response_error(
        self,
        text: str,
        response: Any,
        recipients: Mapping[str, AnymailRecipientStatus] | None = None,
    ) -> AnymailAPIError:
        """Return the exception to raise for an answer that is not what it should be.

        ``recipients`` are those whose status it tells all the same.
        """
        return AnymailAPIError(
            text, response=response, recipients=recipients, **self._error_context()
        )

    def invalid_response_format(
        self,
        err: BaseException,
        response: Any,
        recipients: Mapping[str, AnymailRecipientStatus] | None = None,
    ) -> AnymailAPIError:
        """Return the exception to raise for an answer that lacks what the API promises."""
        return self.response_error(
            f"{type(err).__name__} {err} parsing Amazon SES send result {response!r}",
            response,
            recipients,
        )

    def bare_addresses(self, emails: list[EmailAddress]) -> list[str]:
        """Return addresses without display names, as the API wants them."""
        return [email.format_addr_spec(idna_encode=self.backend.idna_encode) for email in emails]

    # -- Message attributes -------------------------------------------------------------------

    def set_envelope_sender(self, email: EmailAddress) -> None:
        [self.params["FeedbackForwardingEmailAddress"]] = self.bare_addresses([email])

    def set_tags(self, tags: list[Any]) -> None:
        for tag in tags:
            self.check_header_value("tags", tag)
        self.tags = [str(tag) for tag in tags]
        if self.tags and self.backend.message_tag_name is not None:
            if len(self.tags) > 1:
                self.unsupported_feature(
                    "multiple tags with the AMAZON_SES_MESSAGE_TAG_NAME setting"
                )
            self.params[self.message_tags_param] = [
                {"Name": self.backend.message_tag_name, "Value": self.tags[0]}
            ]

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.params.update(extra)


class AmazonSESV2SendEmailPayload(AmazonSESBasePayload):
    """A message without a template: MIME, and the addresses to send it to."""

    api_name = "send_email"
    message_tags_param = "EmailTags"

    # Django makes MIME of all kinds of these, so they are not normalized.
    base_message_attrs: ClassVar[tuple[MessageAttr, ...]] = tuple(
        (attr, combiner, None if attr in ("alternatives", "attachments") else converter)
        for attr, combiner, converter in BasePayload.base_message_attrs
    )

    def init_payload(self) -> None:
        super().init_payload()
        self.metadata: str | None = None
        for attr, *_ in self.base_message_attrs:
            if attr in self.defaults:
                # Django, which makes the MIME, doesn't know of them.
                self.unsupported_feature(f"Anymail send defaults for '{attr}' with Amazon SES")

    def get_api_params(self) -> dict[str, Any]:
        return {**self.params, "Content": {"Raw": {"Data": self.mime_data()}}}

    def parse_recipient_status(self, response: Any) -> dict[str, AnymailRecipientStatus]:
        try:
            status = AnymailRecipientStatus(response["MessageId"], "queued")
        except (KeyError, TypeError) as err:
            raise self.invalid_response_format(err, response) from err
        return {email.addr_spec: status for email in self.get_recipients()}

    # -- MIME ---------------------------------------------------------------------------------

    def mime_data(self) -> bytes:
        """Return the message as MIME in nothing but ASCII, which is all that SES takes."""
        mime = self.make_mime()
        if self.metadata is not None:
            mime.set_raw("X-Metadata", fold_text("X-Metadata", self.metadata))
        for tag in self.tags:
            mime.set_raw("X-Tag", fold_text("X-Tag", tag))
        make_7bit(mime)
        return flatten(mime, HeadersAsWritten())

    def make_mime(self) -> Any:
        """Return the message as Django makes it, but with headers of ours."""
        addresses = self.mime_addresses()
        message = self.message_for_mime(addresses)
        if getattr(message.message, "__func__", None) is not EmailMessage.message:
            # A subclass's own: nobody knows where it has headers from.
            mime: Any = message.message()
            if not mime["From"]:
                del mime["From"]
            return mime

        headers = {"Subject": message.subject, **addresses, **message.extra_headers}
        message.subject = message.from_email = ""
        message.to = message.cc = message.reply_to = []
        message.extra_headers = {
            name: placeholder
            for name, placeholder in _DJANGOS_HEADERS.items()
            if name in CaseInsensitiveDict(headers)
        }
        mime = message.message()
        del mime["Subject"], mime["From"]
        for name, value in headers.items():
            if name.lower() in _STRUCTURAL_HEADERS:
                mime[name] = value
            else:
                del mime[name]
                mime.set_raw(name, self.fold_header(name, value))
        return mime

    def mime_addresses(self) -> dict[str, str | list[EmailAddress]]:
        """Return what is to be in the headers that are made from attributes."""
        headers = CaseInsensitiveDict(self.message.extra_headers or {})
        found: dict[str, str | list[EmailAddress]] = {}
        for name, attr in _ADDRESS_ATTRS.items():
            value = headers.get(name)
            if value is None or (name == "Reply-To" and not value):
                found[name] = parse_address_list(getattr(self.message, attr), field=attr)
            else:
                found[name] = self.parse_header(name, str(value))
        return {name: value for name, value in found.items() if value}

    def parse_header(self, name: str, value: str) -> str | list[EmailAddress]:
        """Return the addresses in a header.

        ASCII that has none stays as it is, such as "undisclosed-recipients:;".
        """
        try:
            return parse_address_list(value, field=f"extra_headers[{name!r}]")
        except AnymailInvalidAddress:
            if value.isascii():
                return value
            raise

    def fold_header(self, name: str, value: str | list[EmailAddress]) -> str:
        if isinstance(value, str) and name.lower() in _ADDRESS_HEADERS:
            value = self.parse_header(name, value)
        if isinstance(value, str):
            return fold_text(name, value)
        idna_encode = self.backend.idna_encode
        return fold_addresses(
            (email.display_name, email.format_addr_spec(idna_encode=idna_encode)) for email in value
        )

    def message_for_mime(self, addresses: Mapping[str, str | list[EmailAddress]]) -> EmailMessage:
        """Return a copy of the message for Django to make MIME of, with other addresses.

        Django would encode domains in its own way. And where it finds headers that replace
        attributes depends on its version, so they become those attributes.
        """
        message: Any = copy.copy(self.message)
        message.subject = str(message.subject or "")
        message.body = force_non_lazy(message.body) or ""
        texts = {name: self.as_texts(value) for name, value in addresses.items()}
        message.from_email = ", ".join(texts.get("From", []))
        message.to, message.cc = texts.get("To", []), texts.get("Cc", [])
        message.reply_to = texts.get("Reply-To", [])
        message.bcc = self.as_texts(parse_address_list(message.bcc, field="bcc"))
        message.extra_headers = {
            name: str(value)
            for name, value in CaseInsensitiveDict(message.extra_headers or {}).items()
            if name.title() not in {*_ADDRESS_ATTRS, "Bcc"}
        }

        message.attachments = [_copy_attachment(item) for item in message.attachments or []]
        if hasattr(message, "alternatives"):
            alternatives, message.alternatives = message.alternatives or [], []
            for content, mimetype in alternatives:
                bodies, related = unpack_alternative(force_non_lazy(content), mimetype)
                message.alternatives += [
                    _EmailAlternative(*_as_django_takes_it(body)) for body in bodies
                ]
                message.attachments += map(_as_mime_base_if_needed, related)
        return message  # type: ignore[no-any-return]

    def as_texts(self, addresses: str | list[EmailAddress]) -> list[str]:
        """Return addresses in Unicode, but for their domains."""
        if isinstance(addresses, str):
            return [addresses]
        return [email.format(idna_encode=self.backend.idna_encode) for email in addresses]

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email_list(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple from emails")

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        if emails:
            destination = self.params.setdefault("Destination", {})
            destination[f"{recipient_type.capitalize()}Addresses"] = self.bare_addresses(emails)

    def set_subject(self, subject: str) -> None:
        """Leave it to Django."""

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        """Leave it to Django."""

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        # In MIME it would be there for everyone to see.
        if "Bcc" in headers:
            self.unsupported_feature("`Bcc` header")

    def set_spoofed_to_header(self, header_to: str) -> None:
        """Leave it to Django: the real recipients are in the API's parameters."""

    def set_body(self, body: str) -> None:
        """Leave it to Django."""

    def set_alternatives(self, alternatives: list[Any]) -> None:
        """Leave them to Django."""

    def set_attachments(self, attachments: list[Any]) -> None:
        # Whether Django refuses these depends on its version.
        for attachment in attachments:
            if not isinstance(attachment, Message):
                name, _, mimetype = attachment
                self.check_header_value("attachments: filename", name)
                self.check_header_value("attachments: content type", mimetype)

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = self.serialize_json(metadata)

    def set_template_id(self, template_id: Any) -> None:
        raise NotImplementedError(
            "Amazon SES can't take template_id from SEND_DEFAULTS: set it on each message"
        )

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        self.unsupported_feature("merge_data without template_id")

    def set_merge_headers(self, merge_headers: Mapping[str, Mapping[str, Any]]) -> None:
        self.unsupported_feature("merge_headers without template_id")

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.unsupported_feature("global_merge_data without template_id")


def _copy_attachment(attachment: Any) -> Any:
    """Return an attachment for Django to make MIME of.

    Parts and messages are copied, because make_7bit changes them. (Copies share the payload.)
    """
    if isinstance(attachment, Message):
        return copy.deepcopy(attachment)
    name, content, mimetype = map(force_non_lazy, attachment)
    if isinstance(content, (EmailMessage, Message)):
        return name, copy.deepcopy(content), mimetype or "message/rfc822"
    return name, *_as_django_takes_it(Attachment((name, content, mimetype)))


def _as_django_takes_it(normalized: Attachment) -> tuple[str | bytes, str]:
    """Return an attachment's or alternative's content and type for Django to make MIME of."""
    if normalized.maintype in ("text", "message"):
        # Django adds the charset.
        return normalized.content, normalized.content_type_without_charset
    # Django before 6.0 doesn't get str right.
    return normalized.content_bytes, normalized.content_type


def _as_mime_base_if_needed(part: Message) -> Message:
    """Return a part as one of the class that Django before 6.0 takes for an attachment."""
    if django.VERSION >= (6, 0) or isinstance(part, MIMEBase):
        return part
    legacy = MIMEBase(part.get_content_maintype(), part.get_content_subtype())
    del legacy["Content-Type"], legacy["MIME-Version"]
    for name, value in part.items():
        legacy[name] = str(value)
    legacy.set_payload(part.get_payload())
    return legacy


class AmazonSESV2SendBulkEmailPayload(AmazonSESBasePayload):
    """A template, and for each ``to`` recipient what to fill it in with.

    https://docs.aws.amazon.com/ses/latest/dg/send-personalized-email-api.html
    """

    api_name = "send_bulk_email"
    message_tags_param = "DefaultEmailTags"
    native_batch = NativeBatch(limit=50)

    def init_payload(self) -> None:
        super().init_payload()
        self.headers: Mapping[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def is_individual(self) -> bool:
        return True

    def get_api_params(self) -> dict[str, Any]:
        return {**self.params, "BulkEmailEntries": self.entries()}

    def parse_recipient_status(self, response: Any) -> dict[str, AnymailRecipientStatus]:
        to_emails = self.get_recipients("to")
        results = RecipientResults(to_emails)
        codes: set[str] = set()
        errors: dict[str, None] = {}
        with results:
            entries = list(response["BulkEmailEntryResults"])
            # In the order of the entries; there are no addresses in the results.
            for email, entry in zip(to_emails, entries, strict=False):
                with results:
                    results.add(email.addr_spec, _parse_entry_status(entry))
                    codes.add(entry["Status"])
                    errors[str(entry.get("Error") or entry["Status"])] = None
            if len(entries) != len(to_emails):
                raise TypeError(
                    f"Sent to {len(to_emails)} destinations, but got {len(entries)} statuses"
                )
        if results.problem is not None:
            raise self.invalid_response_format(
                results.problem, response, results.known()
            ) from results.problem
        # If they have all failed for the same reason, it's most likely not about the recipients.
        is_general = len(codes) == 1 or not self.backend.ignore_recipient_status
        if codes and SUCCESS not in codes and is_general:
            raise self.response_error("; ".join(errors), response, results.statuses)
        return results.statuses

    # -- Entries ------------------------------------------------------------------------------

    def entries(self) -> list[dict[str, Any]]:
        """Return what is particular to each ``to`` recipient."""
        entries = []
        for email, merge_data, merge_headers, merge_metadata in self.batch_recipients():
            entry: dict[str, Any] = {
                "Destination": self.destination(email),
                "ReplacementEmailContent": {
                    "ReplacementTemplate": {
                        "ReplacementTemplateData": self.serialize_json(merge_data or {})
                    }
                },
            }
            if headers := self.entry_headers(merge_headers or {}, merge_metadata or {}):
                entry["ReplacementHeaders"] = headers
            entries.append(entry)
        return entries

    def destination(self, email: EmailAddress) -> dict[str, list[str]]:
        destination = {"ToAddresses": self.format_addresses([email])}
        if cc := self.get_recipients("cc"):
            destination["CcAddresses"] = self.format_addresses(cc)
        if bcc := self.get_recipients("bcc"):
            destination["BccAddresses"] = self.bare_addresses(bcc)
        return destination

    def entry_headers(
        self, own_headers: Mapping[str, Any], own_metadata: Mapping[str, Any]
    ) -> list[dict[str, str]]:
        """Return the headers of a recipient's message: theirs over those for everyone."""
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(self.headers)
        headers.update(own_headers)
        named = list(headers.items())
        if metadata := {**self.metadata, **own_metadata}:
            named.append(("X-Metadata", self.serialize_json(metadata)))
        named += [("X-Tag", tag) for tag in self.tags]
        return [{"Name": str(name), "Value": _header_value(value)} for name, value in named]

    def format_addresses(self, emails: list[EmailAddress]) -> list[str]:
        return [
            email.format(use_rfc2047=True, idna_encode=self.backend.idna_encode) for email in emails
        ]

    # -- Message attributes -------------------------------------------------------------------

    def set_from_email(self, email: EmailAddress) -> None:
        [self.params["FromEmailAddress"]] = self.format_addresses([email])

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        """They are in the entries."""

    def set_subject(self, subject: str) -> None:
        if subject:
            self.unsupported_feature("overriding template subject")

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        if emails:
            self.params["ReplyToAddresses"] = self.format_addresses(emails)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        self.headers = headers

    def set_text_body(self, body: str) -> None:
        if body:
            self.unsupported_feature("overriding template body content")

    def set_html_body(self, body: str) -> None:
        self.set_text_body(body)

    def set_attachments(self, attachments: list[Any]) -> None:
        if attachments:
            self.unsupported_feature("attachments with template")

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata

    def set_template_id(self, template_id: Any) -> None:
        self.params["DefaultContent"] = {"Template": {"TemplateName": str(template_id)}}

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        if "DefaultContent" in self.params:
            template = self.params["DefaultContent"]["Template"]
            template["TemplateData"] = self.serialize_json(merge_global_data)


def _parse_entry_status(entry: dict[str, Any]) -> AnymailRecipientStatus:
    """Return the status of a batch's recipient. Raises KeyError or TypeError if malformed."""
    if not isinstance(entry["Status"], str):
        raise TypeError("Status must be text")
    status = "queued" if entry["Status"] == SUCCESS else "failed"
    return AnymailRecipientStatus(entry.get("MessageId"), status)


def _header_value(value: Any) -> str:
    """Return a header's value as the API takes it: printable ASCII."""
    text = str(value)
    return text if is_printable(text) else " ".join(encoded_words(text))
