"""What all email backends share: their options, their connection, and their hooks in sending."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import django
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string
from requests.structures import CaseInsensitiveDict

from .. import _idna
from ..addresses import EmailAddress, IdnaEncoder, parse_address_list, parse_single_address
from ..attachments import Attachment
from ..conf import (
    SANDBOX,
    configuration_error,
    get_anymail_setting,
    mailers_setting,
    number,
    read_settings,
    setting,
)
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
from ..delivery.alone import journeys_of
from ..delivery.particular import checked_template_ids, esp_extra_for
from ..exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailError,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
    Problem,
)
from ..masking import find_credentials
from ..message import AnymailRecipientStatus, AnymailStatus
from ..sending.attributes import Combiner, Converter, MessageAttr
from ..sending.awaitable import AwaitableBackend, send_with, suspendable
from ..sending.journey import DEFAULT_CALL_SECONDS, Journey, journey_of, on_journey
from ..sending.payload import BasePayload, not_implemented
from ..sending.problems import (
    ErrorTable,
    Meaning,
    api_error_meaning,
    is_json_object,
    retry_after,
)
from ..sending.sequential import SequentialSending
from ..sending.shared_calls import SharedCall
from ..sending.steps import ApiCall, note_subject, send
from ..sending.waiting import loop_side, send_signal
from ..signals import post_send, pre_send

if TYPE_CHECKING:
    from ..delivery.rate import RateLimit
    from ..sending.calls import CallsInLoop
    from ..sending.runners import ConcurrentSending

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
    "ApiCall",
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

_MAX_THREADS = 10
"""How many calls are made at a time with asyncio, where each takes a thread; unless
SEND_CONCURRENCY allows more."""

DEFAULT_IDNA_ENCODER = "idna2008"
"""Without an IDNA_ENCODER setting."""


_NO_DEFAULTS = {
    "duplicates": "it is an option of mailers that name other mailers",
    "idempotency_key": "each message needs a key of its own",
}
"""Attributes of messages that there can be no defaults for, and why."""


class AnymailBaseBackend(AwaitableBackend, BaseEmailBackend):
    """Base of all Anymail email backends.

    Subclasses set ``esp_name`` and implement :meth:`build_message_payload`, :meth:`post_to_esp`
    and :meth:`parse_recipient_status`.

    Settings that a class declares (:func:`anymail.conf.setting`) are keyword arguments, and so are
    OPTIONS in Django's MAILERS. All other arguments go to Django's base class, which knows what to
    do with unknown options.
    """

    ERRORS: ClassVar[ErrorTable] = MappingProxyType({})
    """What the provider's codes for errors mean, as far as it's not what the HTTP status means."""

    KEY_USED: ClassVar[frozenset[Any]] = frozenset()
    """Those of the provider's codes for errors (error_codes) that say that a message with the same
    idempotency key was accepted before."""

    fail_silently: bool
    idempotency: ClassVar[timedelta | None] = None
    """How long the provider remembers idempotency keys, if it takes any."""

    shared_call: ClassVar[SharedCall | None] = None
    """The call in which the provider takes several different messages, if it has one."""

    takes_alias = True
    """Whether the class knows the argument ``alias``, which Django has from 6.1 on."""
    _api_error_class: ClassVar[type[AnymailAPIError]] = AnymailAPIError
    _session_name: ClassVar[str] = "Session"

    _sandbox: str | None = SANDBOX
    ignore_unsupported_features: bool = setting(
        "Whether to send messages without what the provider does not support, instead of raising "
        ":exc:`~anymail.exceptions.AnymailUnsupportedFeature`. See :ref:`unsupported-features`.",
        general=True,
        default=False,
    )
    ignore_recipient_status: bool = setting(
        "Whether not to raise :exc:`~anymail.exceptions.AnymailRecipientsRefused` when the "
        "provider has refused all recipients. See :ref:`recipients-refused`.",
        general=True,
        default=False,
    )
    _general_send_defaults: dict[str, Any] | None = setting(
        "Values for messages' attributes. See :ref:`send-defaults`.",
        name="send_defaults",
        general=True,
        default=None,
        default_text="``{}``",
        options=(),
    )
    send_defaults: dict[str, Any] = setting(
        "As :setting:`SEND_DEFAULTS`, for one provider; its keys replace those of "
        ":setting:`SEND_DEFAULTS`.",
        default=None,
        default_text="``{}``",
    )
    send_concurrency: int = setting(
        "How many calls of the provider's API can be under way at a time, if one "
        "``send_messages()`` sends several messages.",
        general=True,
        default=1,
        kind=number(minimum=1, integer=True),
        none=False,
    )
    send_batch_size: int = setting(
        "How many different messages can be in one call of the provider's API, if one "
        "``send_messages()`` sends several. For providers that have such a call: see "
        ":ref:`send-batch-size`.",
        general=True,
        default=1,
        kind=number(minimum=1, integer=True),
        none=False,
    )
    split_batches: bool = setting(
        "Whether to send a :ref:`batch <batch>` that is larger than the provider takes per call in "
        "several calls. See :ref:`split-batches`.",
        general=True,
        default=True,
    )
    retries: int = setting(
        "How often a message is sent again, within one ``send()``, if that is safe: see "
        ":ref:`what-failures-mean`.",
        general=True,
        default=0,
        kind=number(integer=True),
        none=False,
    )
    max_wait: float = setting(
        "How many seconds one ``send()`` may wait in all for :setting:`RETRIES`, and for the "
        "provider's rate.",
        general=True,
        default=2,
        kind=number(),
        none=False,
    )
    rate: str | None = setting(
        'How many messages are sent at the most, such as ``"50/second"`` or ``"100/minute"``. See '
        ":ref:`rate`.",
        default=None,
        default_text="no limit",
    )
    rate_storage: str | None = setting(
        "Where the messages are counted: a URI of the package ``limits``, such as "
        '``"redis://localhost/1"``.',
        general=True,
        default=None,
        default_text="in each process",
    )
    template_ids: Mapping[str, Any] | None = setting(
        "Names for templates that messages can have as ``template_id``, and the provider's ids for "
        "them. See :ref:`template-ids`.",
        default=None,
        default_text="``{}``",
        kind=checked_template_ids,
    )
    _general_idna_encoder: Any = setting(
        'How non-ASCII domains in addresses are encoded: ``"idna2008"``, ``"uts46"``, '
        '``"idna2003"``, ``"none"``, a function, or its dotted path. See :ref:`idna-encoder`.',
        name="idna_encoder",
        general=True,
        default=DEFAULT_IDNA_ENCODER,
        options=(),
    )
    idna_encoder: Any = setting(
        "As :setting:`IDNA_ENCODER`, for one provider.",
        default=None,
        default_text="what :setting:`IDNA_ENCODER` says",
    )
    debug_api_requests: bool = setting(
        "Whether to print API calls and their answers, for use in development. Credentials are "
        "masked, but addresses and content are not. Not for Amazon SES.",
        general=True,
        default=False,
    )

    def __init__(self, fail_silently: bool = False, **kwargs: Any) -> None:
        SANDBOX.read(self, kwargs)  # raises an error where no mail must go there
        read_settings(self, kwargs)
        self.send_defaults = {**(self._general_send_defaults or {}), **(self.send_defaults or {})}
        for attr in _NO_DEFAULTS.keys() & self.send_defaults.keys():
            text = f"SEND_DEFAULTS must not have {attr!r}: {_NO_DEFAULTS[attr]}."
            raise configuration_error(text, "sending/attributes#send-defaults", kwargs)
        self.idna_encoder = self.idna_encoder or self._general_idna_encoder
        self._idna_encoder = _resolve_idna_encoder(self.idna_encoder, kwargs)

        if fail_silently:
            warnings.warn(
                "Anymail will drop support for fail_silently after Django 6.2.",
                DeprecationWarning,
                stacklevel=2,
            )
        self.alias: str | None = kwargs.get("alias")
        self._mailers = mailers_setting() or {"default": {}}
        """Those of the project: to read no settings for each message."""
        unknown = [name for name in kwargs if name != "alias"]
        if unknown and self.alias is not None and django.VERSION < (6, 1):
            # As later versions of Django do.
            names = ", ".join(map(repr, unknown))
            raise AnymailInvalidMailer(
                f"Unknown options {names}.", alias=self.alias, docs="failover#mailers"
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

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: always, unless subclasses need a connection for it."""
        return True

    # -- Sending ------------------------------------------------------------------------------

    @suspendable
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Send the messages. Returns how many were sent.

        The first AnymailError ends it, unless ``fail_silently``; other errors always do. The error
        has an attribute ``sent_count``: how many were sent, to some recipients at least.

        One after the other, unless SEND_CONCURRENCY allows several calls of the provider's API at
        a time, or SEND_BATCH_SIZE several messages in a call. Then those that are under way when an
        error occurs are finished; if several messages fail, the first one's error is raised.
        """
        if not email_messages:
            return 0
        try:
            created_session = self.open()
        except Exception as error:
            error.sent_count = 0  # type: ignore[attr-defined]
            first = next(iter(self.journeys_of(email_messages)))
            from ..sending.failures import report_failure

            report_failure(first, error, backend=self, esp_name=self.esp_name)
            raise
        self._begin_use(created_session)
        try:
            return self._send_all(email_messages)
        finally:
            self._end_use()

    def _send_all(self, messages: Sequence[EmailMessage]) -> int:
        is_single = isinstance(messages, list) and len(messages) == 1
        sending = self._runner(may_share_calls=not is_single)
        try:
            return sending.send(messages)
        except BaseException as error:
            error.sent_count = sending.sent_count  # type: ignore[attr-defined]
            raise

    def journeys_of(self, messages: Iterable[EmailMessage]) -> Iterable[Journey]:
        """Return journeys for messages that are to be sent with this backend only."""
        return journeys_of(self, messages)

    @property
    def call_seconds(self) -> float:
        """How many seconds one call of the provider's API can take at the most, about."""
        return DEFAULT_CALL_SECONDS

    @cached_property
    def _rate_limit(self) -> RateLimit | None:
        if self.rate is None:
            return None
        from ..delivery.rate import RateLimit

        return RateLimit(self.rate, f"{self.alias} {self.account_hash}", self.rate_storage)

    @cached_property
    def account_hash(self) -> str:
        """The same text for all backends that use the same account, made of its credentials."""
        return sha256("\n".join([self.esp_name, *self._credentials()]).encode()).hexdigest()

    def rate_cost(self, payload: Any) -> int:
        """Return how much a call counts for the provider's rate limit."""
        return 1

    def wait_for_rate(self, payload: Any, *, shares_call: bool = False) -> None:
        """Wait until RATE lets a call be made, or with ``shares_call``, be made for one more.

        Raises AnymailAPIError if that takes longer than ``max_wait`` seconds.
        """
        limit = self._rate_limit
        if limit is None:
            return
        if shares_call and type(self).rate_cost is AnymailBaseBackend.rate_cost:
            return  # It is calls that are counted.
        time_left = journey_of(payload.whole_message).time_left
        max_wait = self.max_wait if time_left is None else min(self.max_wait, time_left)
        rest = limit.wait(self.rate_cost(payload), max_wait)
        if rest:
            from ..sending.failures import busy_error

            raise busy_error(
                f"No more messages are sent with {self.esp_name} right now, as RATE says "
                f"({self.rate})",
                rest,
                email_message=payload.whole_message,
                payload=payload,
                backend=self,
            )

    def run_journeys(self, journeys: Iterable[Journey]) -> None:
        """Send messages that are on journeys, which get to know what becomes of them.

        The backend must be open.
        """
        if type(self).send_messages is AnymailBaseBackend.send_messages:
            self._runner().run(journeys)
            return
        # Nobody knows what else a subclass's own method does.
        for journey in journeys:
            with on_journey(journey):
                try:
                    sent = send_with(self, [journey.message])
                except Exception as error:
                    if journey.error is None and journey.sent is None:
                        from ..sending.failures import report_failure

                        report_failure(journey, error, backend=self, esp_name=self.esp_name)
                    if journey.ends_sending:
                        raise
                else:
                    if journey.error is None and journey.sent is None:
                        journey.succeed(bool(sent))

    def _runner(self, *, may_share_calls: bool = True) -> SequentialSending | ConcurrentSending:
        """Return what is to take messages through the steps of sending."""
        concurrency = self.send_concurrency
        batch_size = 1
        if self.shared_call is not None and may_share_calls:
            batch_size = min(self.send_batch_size, self.shared_call.limit)
        side = loop_side()
        if side is None and concurrency == batch_size == 1:
            return SequentialSending(self)
        if not self.is_open or not self._takes_usual_steps():
            return SequentialSending(self)
        from ..sending.calls import CallsInTurn, ThreadedCalls
        from ..sending.runners import ConcurrentSending

        if side is not None:
            calls_in_loop = self._calls_in_loop()
            if calls_in_loop is not None:
                return ConcurrentSending(self, calls_in_loop, side.concurrency, batch_size)
            concurrency = max(concurrency, min(side.concurrency, _MAX_THREADS))
        elif concurrency == 1:
            return ConcurrentSending(self, CallsInTurn(self.make_call), 1, batch_size)
        calls = ThreadedCalls(self.make_call, concurrency)
        return ConcurrentSending(self, calls, concurrency, batch_size)

    def _calls_in_loop(self) -> CallsInLoop | None:
        """Return what makes calls of the provider's API in an event loop.

        None if this backend can't: then each call is made in a thread.
        """
        return None

    @property
    def makes_usual_calls(self) -> bool:
        """Whether prepare_call() returns what is sent.

        Subclasses can have their own way to send, in post_to_esp().
        """
        usual: Any = AnymailBaseBackend
        cls: Any = type(self)
        return cls.post_to_esp is usual.post_to_esp and cls.prepare_call is not usual.prepare_call

    def _takes_usual_steps(self) -> bool:
        """Tell whether messages can be sent by other methods than _send and post_to_esp.

        Nobody knows what else a subclass's own methods of those names do.
        """
        usual: Any = AnymailBaseBackend
        return all(
            getattr(method, "__func__", None) is usual_method
            for method, usual_method in (
                (self._send, usual._send),
                (self.post_to_esp, usual.post_to_esp),
            )
        )

    def _send(self, message: EmailMessage) -> bool:
        """Send one message. Returns whether it was sent (rather than canceled)."""
        if self.is_open:
            return send(self, message)
        if self.fail_silently:
            # open() failed, silently.
            return False
        cls = type(self)
        name = f"{cls.__module__}.{cls.__qualname__}"
        raise RuntimeError(f"{self._session_name} not opened: call {name}.open() first")

    def _credentials(self) -> list[str]:
        """Return the backend's API keys and such, to be kept out of errors and debugging output."""
        return list(find_credentials(vars(self)))

    def run_pre_send(self, message: EmailMessage) -> bool:
        """Send the pre_send signal. Returns False if a receiver raised AnymailCancelSend."""
        try:
            send_signal(pre_send, self.__class__, message=message, esp_name=self.esp_name)
        except AnymailCancelSend:
            return False
        return True

    def run_post_send(self, message: EmailMessage) -> None:
        """Send the post_send signal to all receivers, then raise the first error among them."""
        if not post_send.receivers:
            return
        journey = journey_of(message, mailer=self.alias)
        results = send_signal(
            post_send,
            self.__class__,
            robust=True,
            message=message,
            status=message.anymail_status,  # type: ignore[attr-defined]
            esp_name=self.esp_name,
            mailer=journey.mailer,
            duration=journey.duration,
            original=journey.original,
        )
        for _receiver, result in results:
            if isinstance(result, Exception):
                journey.receivers_error = result
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

        Raises AnymailAPIError if that fails. Subclasses can override it, which is the way to send
        through an API of another kind. If they implement prepare_call() and make_call() instead,
        several calls can be made at a time.
        """
        try:
            response = self.make_call(self.prepare_call(payload))
        except AnymailError as error:
            note_subject(error, message, payload)
            raise
        self.raise_for_status(response, payload, message)
        return response

    def choose_esp_extra(self, esp_extra: Mapping[str, Any]) -> Any:
        """Return what of esp_extra is for this backend: it can be given for each provider."""
        return esp_extra_for(self, esp_extra)

    def prepare_call(self, payload: Any) -> ApiCall:
        """Return the call of the provider's API that sends the payload, not yet made."""
        raise not_implemented(self, "post_to_esp")

    def make_call(self, call: ApiCall) -> Any:
        """Make a call, and return its raw answer. This can be in another thread.

        Raises AnymailAPIError if there is no answer.
        """
        raise not_implemented(self, "make_call")

    def find_meaning(self, error: AnymailAPIError) -> Meaning:
        """Return what an error of the provider's API means for the message.

        By default, from the codes in an answer that are in ERRORS; from its HTTP status; or from
        why there is no answer.
        """
        response = error.response
        return api_error_meaning(
            error,
            [self._meaning_of_code(code) for code in self._error_codes(response)],
            by_provider=response is not None and self.is_own_answer(response),
            wait=None if response is None else self.find_retry_after(response),
        )

    def error_codes(self, response: Any) -> Iterable[Any]:
        """Return the codes of what is wrong, as they are in ERRORS, from the API's answer.

        With one for each reason why it's not sent, also those that are not in ERRORS. It can be
        called with any answer, and may raise what comes of a malformed one: AttributeError,
        LookupError, TypeError, ValueError. (What it has yielded before counts.)
        """
        return ()

    def is_own_answer(self, response: Any) -> bool:
        """Tell whether an answer looks like an error of the provider's API.

        Otherwise, a proxy or the like has refused the call. By default, it's any JSON object.
        """
        return isinstance(response, Mapping) or is_json_object(response)

    def find_retry_after(self, response: Any) -> float | None:
        """Return in how many seconds an answer asks to come back; None if it doesn't.

        By default, from the usual headers.
        """
        return retry_after(getattr(response, "headers", {}))

    def _error_codes(self, response: Any) -> Iterator[Any]:
        if response is not None:
            with suppress(AttributeError, LookupError, RecursionError, TypeError, ValueError):
                yield from self.error_codes(response)

    def _meaning_of_code(self, code: Any) -> Meaning | None:
        meaning = self.ERRORS.get(code) if isinstance(code, Hashable) else None
        return Meaning(meaning) if isinstance(meaning, Problem) else meaning

    def raise_for_status(self, response: Any, payload: Any, message: EmailMessage) -> None:
        """Raise AnymailAPIError if the answer is that the call has failed."""

    def forget_call(self, response: Any) -> None:
        """Let go of the content of the call that an answer is for: there is one more now.

        Otherwise, all of a batch would be kept, in the status of its message.
        """

    def was_sent_before(self, response: Any, payload: Any) -> bool:
        """Tell whether an answer says that the message was accepted before.

        By default, if one of its codes is in KEY_USED, and the call had an idempotency key.
        """
        return (
            getattr(payload, "idempotency_key", None) is not None
            and bool(self.KEY_USED)
            and not self.KEY_USED.isdisjoint(self._error_codes(response))
        )

    def parse_repeat(self, response: Any, payload: Any) -> dict[str, AnymailRecipientStatus]:
        """Return ``{addr-spec: status}`` for the recipients of a message that was sent before."""
        known = {
            addr_spec: status
            for addr_spec, status in journey_of(payload.whole_message).earlier_statuses.items()
            if status.is_accepted
        }
        queued = AnymailRecipientStatus(None, "queued")
        return {
            email.addr_spec: known.get(email.addr_spec, queued)
            for email in payload.get_recipients()
        }

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
        if self.ignore_recipient_status or anymail_status.may_be_accepted:
            return
        recipients = anymail_status.recipients
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
        raise configuration_error(text, "settings#idna-encoder", kwargs) from err
