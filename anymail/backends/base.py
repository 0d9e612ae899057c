"""What all email backends share: their options, their connection, and their hooks in sending."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables
from requests.structures import CaseInsensitiveDict

from .. import _idna
from .._quiet import find_credentials
from ..addresses import EmailAddress, IdnaEncoder, parse_address_list, parse_single_address
from ..attachments import Attachment
from ..conf import _get_number_setting, get_anymail_setting
from ..datastructures import (
    UNSET,
    concat_lists,
    force_non_lazy,
    force_non_lazy_dict,
    force_non_lazy_list,
    is_lazy,
    last,
    merge_dicts_deep,
    merge_dicts_one_level,
    merge_dicts_shallow,
)
from ..exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from ..message import AnymailRecipientStatus, AnymailStatus
from ..sending.payload import BasePayload, Combiner, Converter, MessageAttr, not_implemented
from ..sending.runners import ApiCall, ConcurrentSending, SequentialSending
from ..signals import post_send, pre_send

# Other packages import these from here, too.
__all__ = [
    "DEFAULT_IDNA_ENCODER",
    "UNSET",
    "AnymailBaseBackend",
    "AnymailCancelSend",
    "AnymailError",
    "AnymailInvalidHeader",
    "AnymailRecipientsRefused",
    "AnymailSerializationError",
    "AnymailUnsupportedFeature",
    "Attachment",
    "BasePayload",
    "CaseInsensitiveDict",
    "Combiner",
    "Converter",
    "EmailAddress",
    "MessageAttr",
    "concat_lists",
    "force_non_lazy",
    "force_non_lazy_dict",
    "force_non_lazy_list",
    "get_anymail_setting",
    "is_lazy",
    "last",
    "merge_dicts_deep",
    "merge_dicts_one_level",
    "merge_dicts_shallow",
    "parse_address_list",
    "parse_single_address",
    "post_send",
    "pre_send",
]

DEFAULT_IDNA_ENCODER = "idna2008"
"""Without an IDNA_ENCODER setting."""


class AnymailBaseBackend(BaseEmailBackend):
    """Base of all Anymail email backends.

    Subclasses set ``esp_name`` and implement :meth:`build_message_payload`, :meth:`post_to_esp`
    and :meth:`parse_recipient_status`.

    Keyword arguments (and Django's MAILERS OPTIONS): ``ignore_unsupported_features``,
    ``ignore_recipient_status``, ``debug_api_requests``, ``send_concurrency``, ``send_defaults``
    and ``idna_encoder``; where one isn't given, the setting of that name applies. All others go to
    Django's base class, which knows what to do with unknown options.
    """

    fail_silently: bool
    _api_error_class: ClassVar[type[AnymailAPIError]] = AnymailAPIError

    def __init__(self, fail_silently: bool = False, **kwargs: Any) -> None:
        self.ignore_unsupported_features = get_anymail_setting(
            "ignore_unsupported_features", kwargs=kwargs, default=False
        )
        self.ignore_recipient_status = get_anymail_setting(
            "ignore_recipient_status", kwargs=kwargs, default=False
        )
        self.debug_api_requests = get_anymail_setting(
            "debug_api_requests", kwargs=kwargs, default=False
        )
        self.send_concurrency = _get_number_setting(
            "send_concurrency", kwargs, default=1, minimum=1, integer=True
        )
        self.send_defaults: dict[str, Any] = {
            **(get_anymail_setting("send_defaults", default=None) or {}),
            **(
                get_anymail_setting(
                    "send_defaults", esp_name=self.esp_name, kwargs=kwargs, default=None
                )
                or {}
            ),
        }
        self.idna_encoder = get_anymail_setting(
            "idna_encoder", esp_name=self.esp_name, kwargs=kwargs, default=None
        ) or get_anymail_setting("idna_encoder", default=DEFAULT_IDNA_ENCODER)
        self._idna_encoder = _resolve_idna_encoder(self.idna_encoder, kwargs)

        if fail_silently:
            warnings.warn(
                "Anymail will drop support for fail_silently after Django 6.2.",
                DeprecationWarning,
                stacklevel=2,
            )
        super().__init__(**kwargs)
        # After super: Django's own handling of fail_silently is deprecated.
        self.fail_silently = fail_silently

    @property
    def esp_name(self) -> str:
        """Name of the provider, in its own capitalization. Subclasses set a class attribute."""
        raise NotImplementedError(
            f"{type(self).__module__}.{type(self).__qualname__} must declare esp_name"
        )

    # -- Connection ---------------------------------------------------------------------------

    def open(self) -> bool | None:
        """Open a connection, unless there is one. Returns whether this call opened it.

        Whoever gets True must call :meth:`close`. Subclasses keep the connection in an instance
        attribute, and suppress operational errors if ``fail_silently``.
        """
        return False

    def close(self) -> None:
        """Close the connection, if there is one."""

    # -- Sending ------------------------------------------------------------------------------

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Send the messages. Returns how many were sent.

        The first AnymailError ends it, unless ``fail_silently``; other errors always do. The error
        has an attribute ``sent_count``: how many were sent, to some recipients at least.

        One after the other, unless SEND_CONCURRENCY allows several calls of the provider's API at
        a time. Then those that are under way when an error occurs are finished; if several
        messages fail, the first one's error is raised.
        """
        if not email_messages:
            return 0
        created_session = self.open()
        sending: SequentialSending | ConcurrentSending
        if self.send_concurrency > 1 and self._can_send_concurrently:
            sending = ConcurrentSending(self, self.send_concurrency)
        else:
            sending = SequentialSending(self)
        try:
            return sending.send(email_messages)
        except Exception as error:
            error.sent_count = sending.sent_count  # type: ignore[attr-defined]
            raise
        finally:
            if created_session:
                self.close()

    def _send(self, message: EmailMessage) -> bool:
        """Send one message. Returns whether it was sent (rather than canceled)."""
        if not self._is_to_be_sent(message):
            return False
        self._finish_sending(message, self._build_payload(message))
        return True

    def _is_to_be_sent(self, message: EmailMessage) -> bool:
        """Give the message an empty status, and ask the receivers of pre_send."""
        message.anymail_status = AnymailStatus()  # type: ignore[attr-defined]
        return self.run_pre_send(message) and bool(message.recipients())

    # The decorator is for all that is called here and in _call_esp, in requests and boto3 too:
    # Django's error reports show no local variables of it, which hold credentials and content.
    @sensitive_variables()
    def _build_payload(self, message: EmailMessage) -> Any:
        return self.build_message_payload(message, self.send_defaults)

    def _finish_sending(self, message: EmailMessage, payload: Any) -> None:
        """Send the payload, keep in the message's status what the answer says, and tell that.

        Also if the answer is an error, but says what became of the message for some recipients.
        """
        status: AnymailStatus = message.anymail_status  # type: ignore[attr-defined]
        try:
            response = self._call_esp(message, payload, status)
        except AnymailError as error:
            if error.recipients:
                status.set_recipient_status(error.recipients)
                self.run_post_send(message)
            raise
        self.run_post_send(message)
        self.raise_for_recipient_status(status, response, payload, message)

    @sensitive_variables()
    def _call_esp(self, message: EmailMessage, payload: Any, status: AnymailStatus) -> Any:
        response = self.post_to_esp(payload, message)
        status.esp_response = response
        status.set_recipient_status(self.parse_recipient_status(response, payload, message))
        return response

    @property
    def _can_send_concurrently(self) -> bool:
        """Whether post_to_esp does nothing but make the call that _prepare_call returns.

        So it is as long as subclasses of the class that has both don't override it, or _send.
        """
        cls = type(self)
        owner: Any = next(base for base in cls.__mro__ if "_prepare_call" in vars(base))
        return (
            owner is not AnymailBaseBackend
            and cls._send is owner._send
            and cls.post_to_esp is owner.post_to_esp
        )

    def _prepare_call(self, payload: Any) -> ApiCall:
        """Return the call of the provider's API, not yet made."""
        raise not_implemented(self, "_prepare_call")

    def _take_api_call(self, payload: Any) -> ApiCall:
        """Return the call of the provider's API, which may be under way already."""
        call = vars(payload).pop("_api_call", None)
        return call or self._prepare_call(payload)

    def _credentials(self) -> list[str]:
        """Return the backend's API keys and such, to be kept out of errors and debugging output."""
        return list(find_credentials(vars(self)))

    def run_pre_send(self, message: EmailMessage) -> bool:
        """Send the pre_send signal. Returns False if a receiver raised AnymailCancelSend."""
        try:
            pre_send.send(self.__class__, message=message, esp_name=self.esp_name)
        except AnymailCancelSend:
            return False
        return True

    def run_post_send(self, message: EmailMessage) -> None:
        """Send the post_send signal to all receivers, then raise the first error among them."""
        results = post_send.send_robust(
            self.__class__,
            message=message,
            status=message.anymail_status,  # type: ignore[attr-defined]
            esp_name=self.esp_name,
        )
        for _receiver, result in results:
            if isinstance(result, Exception):
                raise result

    def idna_encode(self, domain: str) -> str:
        """Encode a domain as the IDNA_ENCODER setting says.

        Raises AnymailInvalidAddress if the encoder refuses the domain.
        """
        try:
            return self._idna_encoder(domain)
        except ValueError as err:
            raise AnymailInvalidAddress(
                f"Cannot encode {domain!r} using IDNA_ENCODER={self.idna_encoder!r}", backend=self
            ) from err

    # -- For subclasses -----------------------------------------------------------------------

    def build_message_payload(
        self, message: EmailMessage, defaults: Mapping[str, Any]
    ) -> BasePayload:
        """Return a payload that expresses the message to the provider's API.

        Raises AnymailUnsupportedFeature for what the API does not offer.
        """
        raise not_implemented(self, "build_message_payload")

    def post_to_esp(self, payload: Any, message: EmailMessage) -> Any:
        """Hand the payload to the provider, and return its raw answer.

        Raises AnymailAPIError if that fails.
        """
        raise not_implemented(self, "post_to_esp")

    def parse_recipient_status(
        self, response: Any, payload: Any, message: EmailMessage
    ) -> dict[str, AnymailRecipientStatus]:
        """Return ``{addr-spec: status}`` for the recipients, from the provider's answer.

        Raises AnymailAPIError if the answer can't be understood, or is an error. Its
        ``recipients`` are what the answer tells all the same.
        """
        raise not_implemented(self, "parse_recipient_status")

    def raise_for_recipient_status(
        self, anymail_status: AnymailStatus, response: Any, payload: Any, message: EmailMessage
    ) -> None:
        """Raise an error if the provider has refused the message for all of its recipients.

        AnymailAPIError if it failed for some of them, AnymailRecipientsRefused if they are invalid
        or rejected. Neither with the IGNORE_RECIPIENT_STATUS setting.
        """
        recipients = anymail_status.recipients
        is_refused = all(recipient.is_refused for recipient in recipients.values())
        if self.ignore_recipient_status or not is_refused:
            return
        if "failed" in (anymail_status.status or ()):
            raise self._api_error_class(
                f"{self.esp_name} has not accepted the message for any recipient",
                email_message=message,
                payload=payload,
                response=response,
                backend=self,
                recipients=recipients,
            )
        raise AnymailRecipientsRefused(
            email_message=message,
            payload=payload,
            response=response,
            backend=self,
            recipients=recipients,
        )


def _resolve_idna_encoder(encoder: Any, kwargs: Mapping[str, Any]) -> IdnaEncoder:
    if callable(encoder):
        return encoder  # type: ignore[no-any-return]
    try:
        if not isinstance(encoder, str):
            raise TypeError("it must be the name of an encoder, or a callable")
        found = import_string(encoder if "." in encoder else f"{_idna.__name__}.{encoder}")
        if not callable(found):
            raise TypeError("it is not callable")
        return found  # type: ignore[no-any-return]
    except (ImportError, TypeError, ValueError) as err:
        text = f"Cannot use IDNA_ENCODER={encoder!r}: {err}"
        if "alias" in kwargs:
            raise AnymailInvalidMailer(
                text, alias=kwargs["alias"], docs="settings#idna-encoder"
            ) from err
        raise AnymailConfigurationError(text, docs="settings#idna-encoder") from err
