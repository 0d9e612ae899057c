"""A message in a provider's words: the walk through the attributes of an EmailMessage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timezone
from email.message import Message
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.mail import EmailMessage
from django.utils.timezone import get_current_timezone, is_naive, make_aware
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, parse_address_list, parse_single_address
from ..attachments import Attachment, unpack_alternative
from ..datastructures import UNSET, force_non_lazy, is_lazy
from ..exceptions import (
    AnymailError,
    AnymailInvalidHeader,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from ..headers import check_header_text, has_control_chars
from .attributes import (
    ANYMAIL_ATTRIBUTES,
    DJANGO_ATTRIBUTES,
    MessageAttr,
    MessageAttribute,
    is_list,
)
from .batches import (
    BATCH_ATTRS,
    BatchRecipient,
    NativeBatch,
    individual_messages,
    match_recipients,
    partial_messages,
)
from .keys import KEY_IN_METADATA, derived_id, idempotency_key, random_ids
from .large_batches import addresses_one_by_one, first_part

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend


_SPECIAL_HEADERS = frozenset({"from", "reply-to", "to"})
"""Headers with a meaning of their own, in lower case."""


def not_implemented(obj: object, method: str) -> NotImplementedError:
    """Return the exception to raise where a subclass must have a method of its own."""
    cls = type(obj)
    return NotImplementedError(f"{cls.__module__}.{cls.__qualname__} must implement {method}()")


class BasePayload:
    """Expresses one EmailMessage as one call of a provider's API.

    Construction walks the attribute tables below in order. Each attribute's value is combined
    with that of SEND_DEFAULTS, converted, and handed to the method ``set_<attribute>``, unless it
    is unset. Subclasses override those for what their provider supports; the rest are reported
    as unsupported features.
    """

    base_message_attrs: ClassVar[tuple[MessageAttr, ...]] = tuple(
        attribute.as_row() for attribute in DJANGO_ATTRIBUTES
    )
    anymail_message_attrs: ClassVar[tuple[MessageAttr, ...]] = tuple(
        attribute.as_row() for attribute in ANYMAIL_ATTRIBUTES
    )
    esp_message_attrs: ClassVar[tuple[MessageAttr | MessageAttribute, ...]] = ()

    batch_attrs: ClassVar[tuple[str, ...]] = tuple(
        attribute.attr for attribute in ANYMAIL_ATTRIBUTES if attribute.makes_batch
    )
    """Attributes that ask for an individual message to each recipient, even if empty."""

    _known_attributes: ClassVar[tuple[Any, tuple[tuple[MessageAttribute, bool], ...]]] = ((), ())
    """What the tables above were when they were last seen, and what is known about the attributes
    in them: that, and whether it's in batch_attrs."""

    native_batch: ClassVar[NativeBatch | None] = None
    """What the provider takes in one call for a batch; None if it has nothing like that."""

    def __init__(
        self, message: EmailMessage, defaults: Mapping[str, Any], backend: AnymailBaseBackend
    ) -> None:
        # Any: the attributes of Anymail can be on any EmailMessage
        self.message: Any = message
        self.whole_message: Any = message
        """The message that ``message`` is for one recipient of, if it is sent in several calls."""
        self.defaults = defaults
        self.backend = backend
        self.esp_name = backend.esp_name
        self.merge_data: Mapping[str, Mapping[str, Any]] = {}
        self.merge_headers: Mapping[str, Mapping[str, Any]] = {}
        self.merge_metadata: Mapping[str, Mapping[str, Any]] = {}
        self._values: dict[str, Any] = {}
        """Of the attributes, combined with the defaults and converted."""
        self._ignored_features = 0
        self._is_batch_ignored = True
        """Whether there is nothing about batches that the provider supports."""
        self.idempotency_key: str | None = idempotency_key(message)
        """That of the call. It's a hint: providers that don't take keys do without."""
        self._batch_attrs_used: dict[str, bool | None] = dict.fromkeys(self.batch_attrs)
        self._related_parts: list[Message] = []
        """Parts of a multipart/related among the alternatives, to be attached."""

        key_for_events = getattr(message, "anymail_key_for_events", None)
        if key_for_events is not None and type(self).set_metadata is BasePayload.set_metadata:
            key_for_events = None  # There is no metadata.

        self.init_payload()
        for attribute, makes_batch in self._attributes():
            attr = attribute.attr
            value = getattr(message, attr, UNSET)
            if value is not UNSET or attr in defaults or not attribute.needs_value:
                value = self._combine(attribute, value)
            if key_for_events is not None and attr == "metadata":
                others: Any = {} if value is UNSET else value
                value = {**others, KEY_IN_METADATA: key_for_events}
            if value is not UNSET:
                ignored_features = self._ignored_features
                self._apply(attribute, value)
                if makes_batch and self._ignored_features == ignored_features:
                    self._is_batch_ignored = False
            if makes_batch:
                self._batch_attrs_used[attr] = value is not UNSET

    def _attributes(self) -> tuple[tuple[MessageAttribute, bool], ...]:
        """Return what is known about the attributes in the tables, and which make a batch."""
        tables = self.base_message_attrs, self.anymail_message_attrs, self.esp_message_attrs
        known, attributes = self._known_attributes
        if known != (*tables, self.batch_attrs):
            rows = [MessageAttribute.of(row) for table in tables for row in table]
            attributes = tuple((row, row.attr in self.batch_attrs) for row in rows)
            type(self)._known_attributes = (*tables, self.batch_attrs), attributes
        return attributes

    def _combine(self, attribute: MessageAttribute, value: Any) -> Any:
        """Return the message's value combined with the default, or UNSET."""
        if value is not UNSET and value is not None:
            if attribute.validate is not None:
                getattr(self, attribute.validate)(attribute.attr, value)
            if attribute.is_valid is not None and not attribute.is_valid(value):
                attribute.refuse("attribute")
            if attribute.choose is not None:
                value = getattr(self.backend, attribute.choose)(value)
        default = self.defaults.get(attribute.attr, UNSET)
        if attribute.combiner is None or (default is UNSET and not attribute.combines_alone):
            return UNSET if value is None else value
        if default is not UNSET and default is not None:
            if attribute.is_valid is not None and not attribute.is_valid(default):
                attribute.refuse("in SEND_DEFAULTS")
            if attribute.choose is not None:
                default = getattr(self.backend, attribute.choose)(default)
        return attribute.combiner(default, value)

    def _apply(self, attribute: MessageAttribute, value: Any) -> None:
        """Convert a value, check it, and hand it to its setter."""
        if attribute.convert is not None:
            value = attribute.convert(value)
        elif attribute.method is not None:
            value = getattr(self, attribute.method)(value)
        if attribute.adapt is not None:
            value = getattr(self, attribute.adapt)(value)
        self._values[attribute.attr] = value
        if attribute.check is not None:
            # Nothing that can inject headers gets to a provider, whether or not that would care.
            getattr(self, attribute.check)(attribute.attr, value)
        getattr(self, attribute.setter)(value)

    # -- Validation ---------------------------------------------------------------------------

    def validate_not_bare_string(self, attr: str, value: Any) -> None:
        """Raise TypeError if a str is given where a list is expected."""
        if not (isinstance(value, list) or is_list(value)):
            raise TypeError(f'"{attr}" attribute must be a list or other iterable')

    def check_header_value(self, field: str, value: Any) -> None:
        """Raise AnymailInvalidHeader naming the field if value has CR, LF or NUL.

        For payloads that turn other attributes, such as tags, into headers.
        """
        text = value if isinstance(value, str) else str(value)
        if has_control_chars(text):
            check_header_text(text, field, **self._error_context())

    def check_extra_fields(self, where: str, fields: Mapping[str, Any]) -> None:
        """Check the subject and headers in part of esp_extra as those of the message are.

        Raises AnymailInvalidHeader. The fields' names can be in any case.
        """
        for name, value in fields.items():
            if str(name).lower() == "subject":
                self.check_header_value(f"{where}[{name!r}]", value)
            elif str(name).lower() == "headers" and isinstance(value, Mapping):
                self._check_headers(f"{where}[{name!r}]", value)

    def _check_headers(self, attr: str, headers: Mapping[str, Any]) -> None:
        for name, value in headers.items():
            if not (isinstance(name, str) or is_lazy(name)):
                raise AnymailInvalidHeader(
                    f"{attr}: header name {name!r} must be a str", **self._error_context()
                )
            if has_control_chars(str(name)) or has_control_chars(str(value)):
                self.check_header_value(f"{attr}: header name {name!r}", name)
                self.check_header_value(f"{attr}[{name!r}]", value)

    def _check_merge_headers(self, attr: str, merge_headers: Mapping[str, Any]) -> None:
        for headers in merge_headers.values():
            self._check_headers(attr, headers)

    def unsupported_feature(self, feature: str) -> None:
        """Raise AnymailUnsupportedFeature, unless IGNORE_UNSUPPORTED_FEATURES is set."""
        if not self.backend.ignore_unsupported_features:
            raise self._unsupported(feature)
        self._ignored_features += 1

    def _unsupported(self, feature: str) -> AnymailUnsupportedFeature:
        return AnymailUnsupportedFeature(
            f"{self.esp_name} does not support {feature}", **self._error_context()
        )

    def _error_context(self) -> dict[str, Any]:
        return {"email_message": self.whole_message, "payload": self, "backend": self.backend}

    # -- Converters ---------------------------------------------------------------------------

    def prepped_alternatives(self, alternatives: Iterable[Any]) -> list[tuple[Any, str]]:
        """Return [(content, mimetype)]: text as str, so without a charset in its type.

        Of what is a multipart, take the bodies; its images become attachments.
        """
        prepped: list[tuple[Any, str]] = []
        for content, mimetype in alternatives:
            if isinstance(content, str) and mimetype in ("text/plain", "text/html"):
                prepped.append((content, mimetype))  # as nearly always
                continue
            bodies, related = unpack_alternative(force_non_lazy(content), mimetype)
            prepped += [(body.content, body.content_type_without_charset) for body in bodies]
            self._related_parts += related
        return prepped

    def prepped_attachments(self, attachments: Iterable[Any]) -> list[Attachment]:
        """Return the attachments normalized, after those that the alternatives refer to."""
        return [Attachment(attachment) for attachment in (*self._related_parts, *attachments)]

    def aware_datetime(self, value: Any) -> Any:
        """Return an aware datetime: see :func:`aware_datetime`."""
        return aware_datetime(value)

    def adapt_template_id(self, template_id: Any) -> Any:
        """Return the provider's id for a template, if the mailer has names for templates.

        Raises AnymailUnsupportedFeature if this is none of them, whatever the settings say: nobody
        wants the message without its template.
        """
        ids = self.backend.template_ids
        if not ids:
            return template_id
        if str(template_id) not in ids:
            raise self._unsupported(
                f"template_id {template_id!r}, which is not in its template_ids"
            )
        return ids[str(template_id)]

    # -- State --------------------------------------------------------------------------------

    def is_batch(self) -> bool:
        """Tell whether each of the ``to`` recipients must get an individual message.

        Only works once all attributes are processed, for example in serialize_data.
        """
        used = self._batch_attrs_used.values()
        assert None not in used, "Cannot call is_batch before all attributes processed"
        return True in used

    def get_recipients(self, *recipient_types: str) -> list[EmailAddress]:
        """Return all recipients, or those of some types: "to", "cc", "bcc".

        Only works once all attributes are processed.
        """
        values = self._values
        emails: list[EmailAddress] = []
        for recipient_type in recipient_types or ("to", "cc", "bcc"):
            emails += values.get(recipient_type, ())
        return emails

    def batch_recipients(
        self, emails: Iterable[EmailAddress] | None = None
    ) -> list[BatchRecipient]:
        """Return recipients, by default those in ``to``, with what is particular to them.

        Only works once all attributes are processed.
        """
        entries = {
            "merge_data": self.merge_data,
            "merge_headers": self.merge_headers,
            "merge_metadata": self.merge_metadata,
        }
        return match_recipients(self.get_recipients("to") if emails is None else emails, entries)

    def is_individual(self) -> bool:
        """Tell whether each ``to`` recipient gets an individual message, in a batch or not."""
        return self.is_batch()

    def has_own_recipients(self) -> bool:
        """Tell whether something in esp_extra takes the place of the message's recipients."""
        fields = frozenset() if self.native_batch is None else self.native_batch.recipient_fields
        return not fields.isdisjoint(self._values.get("esp_extra", ()))

    def messages_per_call(self) -> int | None:
        """Return how many ``to`` recipients of a batch a call can have, as far as that is known."""
        if self.native_batch is None:
            return None
        return self.native_batch.messages_per_call(len(self.get_recipients("cc", "bcc")))

    def split(self) -> Iterator[BasePayload]:
        """Return the payloads that send the message together, one for each call.

        That is usually just this one. A batch can be larger than a call. If the provider has no
        batches, nobody must see the others all the same: each ``to`` recipient gets a call.

        Raises AnymailUnsupportedFeature if that would give too many copies to others, cc or bcc.
        """
        messages = self._split_message()
        return iter([self]) if messages is None else self._payloads_of(messages)

    def _split_message(self) -> Iterator[tuple[EmailMessage, Mapping[str, Any]]] | None:
        """Return what each call sends, and its defaults; None if one call sends all."""
        messages: Iterator[tuple[EmailMessage, Mapping[str, Any]]]
        if self.native_batch is None:
            if not (
                self._is_batch_ignored and self.is_batch() and (to := self.get_recipients("to"))
            ):
                return None
            messages = individual_messages(self.message, self.defaults, self._values)
            can_have_copies = len(to) == 1
        else:
            to = self.get_recipients("to")
            size = self._size_of_parts() if len(to) > 1 else None
            if size is None or len(to) <= size:
                return None
            entries = {attr: self._values[attr] for attr in BATCH_ATTRS if attr in self._values}
            messages = partial_messages(self.message, self.defaults, to, size, entries)
            can_have_copies = self.native_batch.copies_each
        self._check_copies(can_have_copies)
        return messages

    def split_large(self, message: EmailMessage) -> Iterator[BasePayload] | None:
        """Return the payloads that send a large batch, if this is the one for its first recipient.

        None if the batch is sent in a single call. The payloads are built when they are needed, but
        what can be wrong in the whole message is checked before.
        """
        self.whole_message = message
        size = self._size_of_parts()
        if self.native_batch is None or size is None or len(message.to) <= size:
            return None
        self._check_copies(self.native_batch.copies_each)
        entries: dict[str, Any] = {}
        for attribute, _ in self._attributes():
            attr = attribute.attr
            if attr in BATCH_ATTRS:
                value = self._combine(attribute, getattr(message, attr, UNSET))
                if value is not UNSET:
                    entries[attr] = value
                    if attribute.check is not None:
                        getattr(self, attribute.check)(attr, value)
        to = addresses_one_by_one(message.to)
        return self._payloads_of(partial_messages(message, self.defaults, to, size, entries))

    def _check_copies(self, can_have_copies: bool) -> None:
        if not can_have_copies and self.get_recipients("cc", "bcc"):
            raise self._unsupported(
                "cc or bcc in a batch that takes several calls: they would get a copy with each"
            )

    def _payloads_of(
        self, messages: Iterable[tuple[EmailMessage, Mapping[str, Any]]]
    ) -> Iterator[BasePayload]:
        for number, (message, defaults) in enumerate(messages, 1):
            yield self._part(number, self.backend.build_message_payload(message, defaults))

    def _part(self, number: int, payload: BasePayload) -> BasePayload:
        payload.whole_message = self.whole_message
        if self.idempotency_key is not None:
            payload.idempotency_key = f"{self.idempotency_key}/{number}"
        return payload

    def _size_of_parts(self) -> int | None:
        """Return how many ``to`` recipients a call is to have; None for all of them."""
        if not (self.backend.split_batches and self.is_individual()) or self.has_own_recipients():
            return None
        return self.messages_per_call()

    def make_id(self, *details: str) -> str | None:
        """Return an id for something in the message, such as a recipient, that details tell apart.

        The same each time for the same idempotency key. None if the message has none: then it's up
        to the caller to make up an id.
        """
        key = self.idempotency_key
        return None if key is None else derived_id(key, *details)

    def make_ids(self, details: Sequence[str]) -> list[str]:
        """Return what :meth:`make_id` does for each detail, or random ids."""
        key = self.idempotency_key
        if key is None:
            return random_ids(len(details))
        return [derived_id(key, detail) for detail in details]

    # -- Setters: what subclasses must implement ----------------------------------------------

    def init_payload(self) -> None:
        """Prepare for the ``set_...`` methods."""
        raise not_implemented(self, "init_payload")

    def set_from_email(self, email: EmailAddress) -> None:
        raise not_implemented(self, "set_from_email")

    def add_recipient(self, recipient_type: str, email: EmailAddress) -> None:
        """Add one recipient; recipient_type is "to", "cc" or "bcc"."""
        raise not_implemented(self, "add_recipient")

    def set_subject(self, subject: str) -> None:
        raise not_implemented(self, "set_subject")

    def set_text_body(self, body: str) -> None:
        raise not_implemented(self, "set_text_body")

    def set_html_body(self, body: str) -> None:
        raise not_implemented(self, "set_html_body")

    def add_attachment(self, attachment: Attachment) -> None:
        raise not_implemented(self, "add_attachment")

    # -- Setters: what subclasses can override -------------------------------------------------

    def set_from_email_list(self, emails: list[EmailAddress]) -> None:
        if len(emails) > 1:
            self.unsupported_feature("multiple from emails")
        if emails:
            self.set_from_email(emails[0])

    def set_to(self, emails: list[EmailAddress]) -> None:
        self.set_recipients("to", emails)

    def set_cc(self, emails: list[EmailAddress]) -> None:
        self.set_recipients("cc", emails)

    def set_bcc(self, emails: list[EmailAddress]) -> None:
        self.set_recipients("bcc", emails)

    def set_recipients(self, recipient_type: str, emails: list[EmailAddress]) -> None:
        """Set all recipients of one type: "to", "cc" or "bcc"."""
        for email in emails:
            self.add_recipient(recipient_type, email)

    def set_reply_to(self, emails: list[EmailAddress]) -> None:
        """Set the addresses for replies. Most messages have none: the list can be empty."""
        self.unsupported_feature("reply_to")

    def process_extra_headers(self, headers: Mapping[str, Any]) -> None:
        """Hand headers with a meaning of their own to their setters. Not to be overridden.

        These work as in Django's SMTP backend. What is left goes to set_extra_headers.
        """
        if not headers:
            return
        copied: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        for name, value in headers.items():
            copied[name] = value
        if _SPECIAL_HEADERS.isdisjoint([str(name).lower() for name in headers]):
            self.set_extra_headers(copied)  # as nearly always
            return
        headers = copied  # since the special headers are taken out

        reply_to = headers.pop("Reply-To", None)
        if reply_to:
            self.set_reply_to(parse_address_list(reply_to, field="extra_headers['Reply-To']"))

        if "From" in headers:
            # With a From header, message.from_email is the envelope sender.
            header_from = parse_address_list(headers.pop("From"), field="extra_headers['From']")
            self.set_from_email_list(header_from)
            if self.message.from_email is not None:
                self.set_envelope_sender(
                    parse_single_address(self.message.from_email, field="from_email")
                )

        if "To" in headers:
            self.set_spoofed_to_header(headers.pop("To"))

        if headers:
            self.set_extra_headers(headers)

    def set_extra_headers(self, headers: CaseInsensitiveDict[Any]) -> None:
        """Set headers other than those that have setters of their own. Never empty."""
        self.unsupported_feature("extra_headers")

    def set_spoofed_to_header(self, header_to: str) -> None:
        """Show another To header than the real recipients."""
        self.unsupported_feature("spoofing `To` header")

    def set_body(self, body: str) -> None:
        content_subtype = self.message.content_subtype
        if content_subtype == "plain":
            self.set_text_body(body)
        elif content_subtype == "html":
            self.set_html_body(body)
        else:
            self.add_alternative(body, f"text/{content_subtype}")

    def set_alternatives(self, alternatives: list[tuple[Any, str]]) -> None:
        """Take the first plain and HTML alternatives as the bodies if those are still missing."""
        content_subtype = self.message.content_subtype
        has_text = content_subtype == "plain" and bool(self.message.body)
        has_html = content_subtype == "html" and bool(self.message.body)
        for content, mimetype in alternatives:
            if mimetype == "text/plain" and not has_text:
                self.set_text_body(content)
                has_text = True
            elif mimetype == "text/html" and not has_html:
                self.set_html_body(content)
                has_html = True
            else:
                self.add_alternative(content, mimetype)

    def add_alternative(self, content: Any, mimetype: str) -> None:
        """Add a body part beyond one text and one HTML body."""
        if mimetype == "text/plain":
            self.unsupported_feature("multiple plaintext parts")
        elif mimetype == "text/html":
            self.unsupported_feature("multiple html parts")
        else:
            self.unsupported_feature(f"alternative part with type '{mimetype}'")

    def set_attachments(self, attachments: list[Attachment]) -> None:
        for attachment in attachments:
            self.add_attachment(attachment)

    def set_envelope_sender(self, email: EmailAddress) -> None:
        self.unsupported_feature("envelope_sender")

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        self.unsupported_feature("metadata")

    def set_send_at(self, send_at: Any) -> None:
        """Schedule the message. send_at is an aware datetime, or a str as the user gave it."""
        self.unsupported_feature("send_at")

    def set_tags(self, tags: list[str]) -> None:
        self.unsupported_feature("tags")

    def set_track_clicks(self, track_clicks: bool) -> None:
        self.unsupported_feature("track_clicks")

    def set_track_opens(self, track_opens: bool) -> None:
        self.unsupported_feature("track_opens")

    def set_template_id(self, template_id: Any) -> None:
        self.unsupported_feature("template_id")

    def set_merge_data(self, merge_data: dict[str, dict[str, Any]]) -> None:
        if self._supports_in_batch("merge_data"):
            self.merge_data = merge_data

    def set_merge_headers(self, merge_headers: Mapping[str, Mapping[str, Any]]) -> None:
        if self._supports_in_batch("merge_headers"):
            self.merge_headers = merge_headers

    def set_merge_global_data(self, merge_global_data: dict[str, Any]) -> None:
        self.unsupported_feature("merge_global_data")

    def set_merge_metadata(self, merge_metadata: dict[str, dict[str, Any]]) -> None:
        if self._supports_in_batch("merge_metadata"):
            self.merge_metadata = merge_metadata

    def _supports_in_batch(self, attr: str) -> bool:
        """Tell whether each recipient can have an own value of an attribute."""
        if self.native_batch is not None and attr in self.native_batch.attrs:
            return True
        self.unsupported_feature(attr)
        return False

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.unsupported_feature("esp_extra")

    # -- Serialization ------------------------------------------------------------------------

    def serialize_json(self, data: Any) -> str:
        """Return data as JSON text.

        Raises AnymailSerializationError for values that have no JSON equivalent.
        """
        try:
            return self._json_encoder().encode(data)
        except (TypeError, ValueError, RecursionError) as err:
            # The original error says it all: its text is included.
            raise AnymailSerializationError(orig_err=err, **self._error_context()) from None

    def _json_encoder(self) -> json.JSONEncoder:
        if self._json_default is BasePayload._json_default:
            return _USUAL_ENCODER
        return _json_encoder(self._json_default)

    @staticmethod
    def _json_default(o: Any) -> Any:
        """Return a JSON-serializable equivalent of o. Raises TypeError if there is none."""
        if isinstance(o, CaseInsensitiveDict):
            return dict(o)
        raise TypeError(f"Object of type {type(o).__name__} is not JSON serializable")


def _json_encoder(default: Callable[[Any], Any]) -> json.JSONEncoder:
    # NaN and infinity are not JSON, although Python's default is to write them.
    return json.JSONEncoder(default=default, allow_nan=False)


_USUAL_ENCODER = _json_encoder(BasePayload._json_default)


def payloads_of(message: EmailMessage, backend: AnymailBaseBackend) -> tuple[Any, Iterator[Any]]:
    """Return a message's payload, and those of the calls that send it: usually just that one.

    Of a large batch, it's the payload for its first recipient.
    """
    defaults = backend.send_defaults
    first = first_part(message, defaults)
    if first is not None:
        try:
            payload = backend.build_message_payload(first, defaults)
        except AnymailError as error:
            error.email_message = message
            raise
        if isinstance(payload, BasePayload):
            payloads = payload.split_large(message)
            if payloads is not None:
                return payload, payloads
    payload = backend.build_message_payload(message, defaults)
    return payload, payload.split() if isinstance(payload, BasePayload) else iter([payload])


def aware_datetime(value: Any) -> Any:
    """Return an aware datetime.

    A naive datetime is in Django's current time zone, a date means its midnight there, and
    a number is a POSIX timestamp. Anything else is left unchanged.
    Raises ValueError for timestamps beyond what a datetime can hold.
    """
    if isinstance(value, datetime):
        return make_aware(value, get_current_timezone()) if is_naive(value) else value
    if isinstance(value, date):
        midnight = datetime.combine(value, time.min)
        return make_aware(midnight, get_current_timezone())
    if isinstance(value, (int, float)):
        try:
            return datetime.fromtimestamp(value, tz=timezone.utc)
        except (OverflowError, OSError, ValueError) as err:
            raise ValueError(f"send_at timestamp {value!r} is out of range") from err
    return value
