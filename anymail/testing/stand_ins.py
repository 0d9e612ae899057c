"""What takes the place of mailers: the same backends, with the sandbox's providers behind them."""

from __future__ import annotations

import smtplib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import requests
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SMTPBackend
from django.utils.module_loading import import_string
from urllib3.exceptions import ConnectTimeoutError

from ..backends.base import AnymailBaseBackend
from ..backends.test import EmailBackend as AnymailTestBackend
from ..conf import declared_settings
from ..exceptions import AnymailAPIError, AnymailError, Problem
from ..providers import PROVIDERS
from ..sandbox.faults import REFUSALS, Fault
from ..sandbox.providers import Provider
from ..sandbox.store import StoredMessage
from ..sandbox.wire import ApiRequest, ApiResponse
from ..sending.failures import describe
from ..sending.problems import ADVICE
from .calls import answer_calls

if TYPE_CHECKING:
    from .records import Records

# Where no server is: https://www.rfc-editor.org/rfc/rfc6761#section-6.4
_API = "https://sandbox.invalid"


def provider_of(backend_class: type) -> str | None:
    """Return the name of the provider that a backend, or what it's derived from, sends with."""
    former = {old: name for name, provider in PROVIDERS.items() for old in provider.former_names}
    for base in backend_class.__mro__:
        package, _, name = base.__module__.rpartition(".")
        name = former.get(name, name)
        if package == "anymail.backends" and name in PROVIDERS:
            return name
    return None


def stand_in(
    records: Records, path: str, options: Mapping[str, Any], alias: str | None, as_if: str | None
) -> BaseEmailBackend:
    """Return a backend in place of that with the dotted path.

    ``as_if`` is the name of the provider to be, instead of its own.
    """
    backend_class: Any = import_string(path)
    options = dict(options)
    if alias is not None:
        options["alias"] = alias
    if as_if is not None and provider_of(backend_class) != as_if:
        backend_class = import_string(PROVIDERS[as_if].backend)
        general = {name for item in _general(backend_class) for name in item.options} | {
            *("alias", "fail_silently", "_ignore_unknown_kwargs")
        }
        options = {name: value for name, value in options.items() if name in general}
    name = provider_of(backend_class)
    if name is not None:
        return _with_provider(records, name, backend_class, options)
    if issubclass(backend_class, AnymailBaseBackend):
        return _anymail_backend(records, backend_class, options)
    if issubclass(backend_class, SMTPBackend):
        return _SMTP(records=records, **options)
    return _Other(records=records, **options)


def _general(backend_class: type) -> Iterator[Any]:
    return (item for item in declared_settings(backend_class).values() if item.general)


# -- Anymail's backends -----------------------------------------------------------------------


def _with_provider(
    records: Records, name: str, backend_class: Any, options: dict[str, Any]
) -> AnymailBaseBackend:
    provider = records.provider(name)
    known = {
        option for item in declared_settings(backend_class).values() for option in item.options
    }
    for setting, value in provider.anymail_settings(api_url(provider)).items():
        option = setting.removeprefix(f"{provider.registered.settings_prefix}_").lower()
        if option in known:
            options[option] = value
    backend: AnymailBaseBackend = backend_class(**options)
    counter = _Counter(records, provider, backend)
    answer_calls(backend, counter.answer)
    _watch_sending(backend, counter.send)
    return backend


def api_url(provider: Provider) -> str:
    """Return the URL at which a stand-in finds the API of a provider of the sandbox."""
    return f"{_API}/{provider.name}/{provider.api_path}"


def _watch_sending(backend: Any, send: Any) -> None:
    original = backend._send
    backend._send = lambda message: send(original, message)
    backend.rate = None  # Tests are not to wait.


class _Counter:
    """Takes the messages of a backend to a provider, and notes those that are accepted."""

    def __init__(self, records: Records, provider: Provider, backend: AnymailBaseBackend) -> None:
        self.records = records
        self.provider = provider
        self.backend = backend
        self._accepted: list[StoredMessage] = []
        self._fault: Fault | None = None

    def send(self, original: Any, message: EmailMessage) -> Any:
        self._accepted, self._fault = [], None
        try:
            return original(message)
        except AnymailError as error:
            fault = self._fault
            if fault is not None and fault.problem == "busy":
                describe(error, message, self.backend)
                # Not all providers can say so.
                error.retry_after = fault.seconds
            raise
        finally:
            if self._accepted:
                self.records.note_sent(message, self.backend, self._accepted, self.provider.name)

    def answer(self, url: str, request: ApiRequest) -> ApiResponse | Exception:
        start = f"{_API}/{self.provider.name}/"
        request = ApiRequest(
            request.method, url.removeprefix(start), {}, request.headers, request.body
        )
        fault = self._fault = self.records.next_fault(self.backend)
        if fault is not None and fault.problem == "unreachable":
            cause = ConnectTimeoutError("The outbox was told to be unreachable")
            return requests.exceptions.ConnectTimeout(cause)
        if fault is not None and fault.problem in REFUSALS:
            return self.provider.refuse(fault.problem, request, fault.seconds)
        with self.provider.store.noting_messages() as accepted:
            response = self.provider.handle(request)
        self._accepted += accepted
        if fault is not None:
            return requests.ConnectionError("The outbox was told to break the connection")
        return response


def _anymail_backend(
    records: Records, backend_class: Any, options: dict[str, Any]
) -> AnymailBaseBackend:
    """Return a test backend in place of one that sends nobody knows how."""
    backend: Any
    if issubclass(backend_class, AnymailTestBackend):
        backend = backend_class(**options)
    else:
        known = {name for item in _general(AnymailTestBackend) for name in item.options}
        known |= {"alias", "fail_silently", "_ignore_unknown_kwargs"}
        backend = AnymailTestBackend(**{key: options[key] for key in options.keys() & known})
        backend.esp_name = backend_class.esp_name
    # The outbox keeps the messages.
    backend.record_message = lambda message: None
    backend.get_esp_message_id = lambda message: len(records.mails)

    def send(original: Any, message: EmailMessage) -> Any:
        fault = records.next_fault(backend)
        if fault is not None and fault.problem != "unclear":
            raise _api_error(fault)
        sent = original(message)
        if sent:
            records.note_sent(message, backend)
        if fault is not None:
            raise _api_error(fault)
        return sent

    _watch_sending(backend, send)
    return backend  # type: ignore[no-any-return]


def _api_error(fault: Fault) -> AnymailAPIError:
    error = AnymailAPIError(f"The outbox was told to fail ({fault.problem})")
    error.problem = Problem(fault.problem)
    error.retry_after = fault.seconds if fault.problem == "busy" else None
    error.advice = ADVICE[error.problem]
    error.may_have_been_sent = error.problem is Problem.UNCLEAR
    return error


# -- Others -----------------------------------------------------------------------------------


class _Other(BaseEmailBackend):
    """In place of a backend that isn't Anymail's."""

    def __init__(self, *, records: Records, alias: str | None = None, **kwargs: Any) -> None:
        # Not the base class's: what versions of Django do there with options is for real backends.
        self.alias = alias
        self.fail_silently = False
        self.records = records

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        count = 0
        for message in email_messages:
            message.message()  # which checks the headers
            fault = self.records.next_fault(self)
            if fault is not None and fault.problem != "unclear":
                raise self.error(fault, message)
            self.records.note_sent(message, self)
            count += 1
            if fault is not None:
                raise self.error(fault, message)
        return count

    def error(self, fault: Fault, message: EmailMessage) -> Exception:
        """Return what is raised for a fault."""
        return _api_error(fault)


class _SMTP(SMTPBackend):
    """In place of Django's SMTP backend."""

    timeout = None

    def __init__(self, *, records: Records, alias: str | None = None, **kwargs: Any) -> None:
        self.alias = alias
        self.fail_silently = False
        self.records = records
        self._fault: Fault | None = None

    def open(self) -> bool:
        self._fault = self._fault or self.records.next_fault(self)
        if self._fault is not None and self._fault.problem == "unreachable":
            self._fault = None
            raise ConnectionRefusedError("The outbox was told to be unreachable")
        return False

    def close(self) -> None:
        pass

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        count = 0
        for message in email_messages:
            self.open()
            message.message()
            fault, self._fault = self._fault, None
            if fault is None or fault.problem == "unclear":
                self.records.note_sent(message, self)
                count += 1
            if fault is not None:
                raise _smtp_error(fault, message)
        return count


def _smtp_error(fault: Fault, message: EmailMessage) -> Exception:
    if fault.problem == "message":
        refused = dict.fromkeys(message.recipients(), (550, b"No such user"))
        return smtplib.SMTPRecipientsRefused(refused)
    errors: dict[str, Exception] = {
        "account": smtplib.SMTPAuthenticationError(535, b"Authentication failed"),
        "busy": smtplib.SMTPDataError(451, b"Try again later"),
        "unclear": smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
        "unsuitable": smtplib.SMTPDataError(552, b"Message too large"),
    }
    return errors[fault.problem]
