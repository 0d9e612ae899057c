"""Exceptions and warnings.

::

    AnymailError                            anything that keeps a message from being sent
    ├── AnymailAPIError                     the provider's API, or the connection to it, failed
    │   └── AnymailRequestsAPIError         the same over HTTP (also a requests.HTTPError)
    ├── AnymailRecipientsRefused            every recipient was invalid or rejected
    ├── AnymailInvalidAddress               an address could not be parsed or encoded (ValueError)
    ├── AnymailInvalidHeader                a header has control characters (ValueError)
    ├── AnymailUnsupportedFeature           the provider can't do it (ValueError)
    ├── AnymailSerializationError           data that can't be expressed to the API (TypeError)
    ├── AnymailCancelSend                   raised by pre_send receivers to drop a message
    ├── AnymailLaterError                   a message could not be queued, or its time is over
    └── AnymailWebhookValidationFailure     a webhook call that can't be trusted or understood
        │                                   (Django's SuspiciousOperation: answered with 400)
        └── AnymailInboundLimitExceeded     a received message beyond any real one (ValueError)
    ImproperlyConfigured (Django's)
    └── AnymailConfigurationError           the project's settings need work
        ├── AnymailInvalidMailer            an entry of MAILERS needs work (Django's InvalidMailer)
        └── AnymailImproperlyInstalled      an optional package is missing (ImportError)
    AnymailWarning
    ├── AnymailInsecureWebhookWarning
    ├── AnymailDeprecationWarning           (DeprecationWarning)
    └── AnymailNotSupportedWarning

Configuration errors are not AnymailErrors on purpose: ``fail_silently`` never hides them.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from requests import Response
from requests.exceptions import HTTPError, RequestException

from ._docs import with_docs
from .masking import MASK, find_error_texts, mask_credentials, mask_message, mask_urls

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.mail import EmailMessage

    from .message import AnymailRecipientStatus

    class InvalidMailer(ImproperlyConfigured):  # noqa: D101 (for the type checker)
        def __init__(self, msg: str, *, alias: str | None = None) -> None: ...

else:
    try:
        from django.core.mail import InvalidMailer
    except ImportError:

        class InvalidMailer(ImproperlyConfigured):
            """Stands in for Django 6.1's exception of that name."""

            def __init__(self, msg, *, alias=None):
                super().__init__(msg)


_T = TypeVar("_T")

MAX_DESCRIPTION = 4096
"""How many characters of a provider's answer, or of another exception's text, are shown."""

_MAX_ESP_MESSAGE = 1000


def _shortened(text: str, mask: Callable[[str], str]) -> str:
    """Return the start of a text, masked, and how much there is."""
    shown = _start(text, MAX_DESCRIPTION + 1, mask)
    if len(text) <= 4 * MAX_DESCRIPTION and len(shown) <= MAX_DESCRIPTION:
        return shown
    shown = shown[:MAX_DESCRIPTION]
    return f"{shown}... (the first {len(shown)} of {len(text)} characters)"


def _start(text: str, length: int, mask: Callable[[str], str]) -> str:
    """Return the start of a text, masked."""
    # What comes later is not shown, and would take a while.
    start = text[: 4 * length]
    masked = mask(start)
    if len(start) < len(text) and len(masked) <= length:
        # Much was masked, so that the end shows. That can be a part of something secret.
        masked = masked[: masked.rfind(MASK) + len(MASK)]
    return masked[:length]


class Problem(str, Enum):
    """What kind of problem keeps a message from being sent: says what can help.

    The docs have a table: :ref:`what-failures-mean`.
    """

    MESSAGE = "message"
    """This message, with any provider: malformed, recipients refused, not serializable."""
    UNSUITABLE = "unsuitable"
    """This message, with this provider: unsupported feature, too large, template not there."""
    ACCOUNT = "account"
    """Our account with the provider: its key, quota, domain, or the API's URL."""
    BUSY = "busy"
    """The provider asks to come back later: rate limit, maintenance."""
    UNREACHABLE = "unreachable"
    """Nothing was handed over to the provider."""
    UNCLEAR = "unclear"
    """The provider may or may not have accepted it."""

    def __str__(self) -> str:
        return self.value


_kept_methods: dict[str, Callable[[Any], Any]] = {}


def _kept(method: Callable[[Any], _T]) -> Callable[[Any], _T]:
    """Make a method return for an exception from a pickle what it did before.

    It can't do its work there: without the backend, it doesn't know what is secret.
    """

    @functools.wraps(method)
    def wrapper(self: AnymailError) -> _T:
        if method.__name__ in self._texts:
            text: _T = self._texts[method.__name__]
            return text
        return method(self)

    _kept_methods[method.__name__] = wrapper
    return wrapper


class AnymailError(Exception):
    """Base of everything that Anymail raises while it sends a message.

    The keyword arguments become attributes, all of them None unless given:

    - ``backend``: the email backend
    - ``email_message``: the Django EmailMessage that was being sent
    - ``payload``: the backend's payload for it
    - ``status_code``: HTTP status of the provider's answer (int)
    - ``esp_name``: name of the provider; taken from the backend by default
    - ``response``: the provider's raw answer
    - ``recipients``: see below

    What ``send_messages()`` raises, and only that, also has ``sent_count``: how many of the
    messages were sent, to some of their recipients at least; and it says what can be done about
    the message, by what follows.
    """

    problem: Problem | None = None
    """What it means for the message; None if nobody can say."""
    may_have_been_sent: bool = False
    """Whether somebody may get the message all the same: False only if it's known that nobody
    does.
    """
    retry_after: float | None = None
    """In how many seconds the provider asks to come back, or None."""
    unsent: Sequence[str] = ()
    """If it was accepted for some of the recipients, the addr-specs that it was not accepted for.
    """
    advice: str = ""
    """A sentence for people."""
    about_sender: bool = False
    """Whether an ACCOUNT problem is about the sender or its domain only."""
    is_our_own: bool = False
    """Whether it says so itself, and not the provider."""
    is_canceled: bool = False
    """Whether nobody has waited for the provider's answer: the task that was sending was canceled.
    """

    recipients: Mapping[str, AnymailRecipientStatus] = MappingProxyType({})
    """``{addr-spec: AnymailRecipientStatus}``, what the provider's answer says about them although
    it is an error. It is in the message's ``anymail_status``, too.
    """
    _texts: Mapping[str, Any] = MappingProxyType({})
    _mask_others: Callable[[str], str] | None = None
    """Masks what an answer repeats of other messages, if they shared the call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.backend = kwargs.pop("backend", None)
        self.email_message: EmailMessage | None = kwargs.pop("email_message", None)
        self.payload = kwargs.pop("payload", None)
        self.status_code: int | None = kwargs.pop("status_code", None)
        self.esp_name: str | None = kwargs.pop("esp_name", None) or getattr(
            self.backend, "esp_name", None
        )
        self.recipients = dict(kwargs.pop("recipients", None) or {})
        self.response: Any = kwargs.get("response")
        if isinstance(self, RequestException):
            # It wants the response too. (Not super: classes that are combined with others from
            # requests should not depend on what those want.)
            RequestException.__init__(self, *args, **kwargs)
        else:
            kwargs.pop("response", None)
            super().__init__(*args, **kwargs)

    @_kept
    def __str__(self) -> str:
        parts = (
            self._quiet(" ".join(str(arg) for arg in self.args)),
            self.describe_cause(),
            self._describe_accepted(),
            self.describe_response(),
        )
        return "\n".join(part for part in parts if part)

    @_kept
    def __repr__(self) -> str:
        return self._quiet(super().__repr__())

    def _quiet(self, text: str) -> str:
        """Return text without the backend's credentials, and those in URLs.

        Of errors that can repeat a provider's words, also without what that repeats of the message.
        """
        get_credentials = getattr(self.backend, "_credentials", list)
        text = mask_urls(mask_credentials(text, get_credentials()))
        if self.response is None and not isinstance(self, AnymailAPIError):
            return text
        if self._mask_others is not None:
            return self._mask_others(text)
        return mask_message(text, self.email_message)

    @_kept
    def describe_cause(self) -> str | None:
        """Return the class and text of the exception that led to this one, or None."""
        cause = self.__cause__
        if cause is None:
            return None
        text = _shortened(str(cause), self._quiet)
        return f"{type(cause).__name__}: {text}" if text else type(cause).__name__

    def _describe_accepted(self) -> str | None:
        accepted = sum(recipient.is_accepted for recipient in self.recipients.values())
        if not accepted:
            return None
        return f"The message was accepted for {accepted} of {len(self.recipients)} recipients."

    @_kept
    def describe_response(self) -> str | None:
        """Return the status and body of the provider's answer, or None without a status.

        At most MAX_DESCRIPTION characters of the body, and what it repeats of the message's
        content, headers and metadata, and of recipients' names, is masked. It is all there in
        ``response``.
        """
        if self.status_code is None or self.response is None:
            return None
        description = f"{self.esp_name or 'ESP'} API response {self.status_code}"
        reason: Any = getattr(self.response, "reason", None)
        if isinstance(reason, bytes):
            try:
                reason = reason.decode("utf-8")
            except UnicodeDecodeError:
                reason = reason.decode("iso-8859-1")
        if reason:
            description += f" ({_shortened(str(reason), self._quiet)})"
        try:
            body = json.dumps(self.response.json(), indent=2, ensure_ascii=False)
            # JSON can have escapes for what is not a character, and could not be printed.
            body = body.encode("utf-8", "backslashreplace").decode("utf-8")
        except (AttributeError, TypeError, ValueError, RecursionError):
            text = getattr(self.response, "text", None)
            if not text:
                return description
            shown = _shortened(str(text), lambda text: repr(self._quiet(text)))
            return f"{description}: {shown}"
        return f"{description}:\n{_shortened(body, self._quiet)}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The backend and payload hold connections and locks; the request, credentials. Leave them
        # behind, so that the exception can travel to a task queue's result store.
        state = {
            name: None if name in ("backend", "payload", "request", "_mask_others") else value
            for name, value in vars(self).items()
        }
        if isinstance(self.response, Response):
            response = copy.copy(self.response)
            response.request = None  # type: ignore[assignment]
            state["response"] = response
        state["_texts"] = {
            name: method(self) for name, method in _kept_methods.items() if hasattr(self, name)
        }
        return _restore, (*self._pickle_class(), self.args, state)

    def _pickle_class(self) -> tuple[Callable[..., type[AnymailError]], tuple[Any, ...]]:
        return _same_class, (type(self),)


def _same_class(cls: type[AnymailError]) -> type[AnymailError]:
    return cls


def _restore(
    get_class: Callable[..., type[AnymailError]],
    class_args: tuple[Any, ...],
    args: tuple[Any, ...],
    state: dict[str, Any],
) -> AnymailError:
    """Rebuild a pickled exception without running its __init__."""
    cls = get_class(*class_args)
    error = cls.__new__(cls)
    error.args = args
    vars(error).update(state)
    return error


class AnymailAPIError(AnymailError):
    """The provider's API refused or failed a call, or could not be reached."""

    handed_over: bool | None = None
    """Of a call without an answer: whether any of it was written; None if that isn't known."""

    @property
    @_kept
    def esp_message(self) -> str | None:
        """What the provider's answer says is wrong, for logs: at most 1000 characters.

        Only the text of fields for errors, if the answer has some; None otherwise.
        """
        answer = self.response
        if not isinstance(answer, Mapping):  # Of boto3, it's a dict.
            try:
                answer = answer.json()
            except (AttributeError, TypeError, ValueError, RecursionError):
                return None
        texts = "; ".join(dict.fromkeys(find_error_texts(answer)))
        return _start(texts, _MAX_ESP_MESSAGE, self._quiet) or None


class AnymailRequestsAPIError(AnymailAPIError, HTTPError):
    """An AnymailAPIError of a provider whose API is called with ``requests``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.status_code = getattr(self.response, "status_code", self.status_code)

    @classmethod
    def combined_with(cls, other: type[RequestException]) -> type[AnymailRequestsAPIError]:
        """Return a class that is this one and ``other`` too, so that either can be caught."""
        return _combine(cls, other)


_combined: dict[tuple[type, type], type] = {}


def _combine(
    cls: type[AnymailRequestsAPIError], other: type[RequestException]
) -> type[AnymailRequestsAPIError]:
    if issubclass(cls, other):
        return cls
    if (cls, other) in _combined:
        return _combined[cls, other]

    class Combined(cls, other):  # type: ignore[valid-type, misc]
        def _pickle_class(self) -> tuple[Any, ...]:
            return _combine, (cls, other)

    Combined.__name__ = Combined.__qualname__ = cls.__name__
    Combined.__module__ = cls.__module__
    Combined.__doc__ = cls.__doc__
    _combined[cls, other] = Combined
    return Combined


class AnymailRecipientsRefused(AnymailError):
    """Every recipient of the message was invalid, or rejected by the provider.

    The statuses are on the message: ``message.anymail_status.recipients``.
    """

    def __init__(self, message: str | None = None, *args: Any, **kwargs: Any) -> None:
        if message is None:
            message = "All message recipients were rejected or invalid"
        super().__init__(message, *args, **kwargs)


class AnymailInvalidAddress(AnymailError, ValueError):
    """An email address could not be parsed, or its domain could not be encoded."""


class AnymailInvalidHeader(AnymailError, ValueError):
    """A subject, header name or header value has control characters.

    CR and LF would let whoever supplied the text add headers of their own.
    """


class AnymailUnsupportedFeature(AnymailError, ValueError):
    """The message uses something that the provider's API does not offer.

    With the IGNORE_UNSUPPORTED_FEATURES setting, such messages are sent without it.
    """


class AnymailSerializationError(AnymailError, TypeError):
    """Message data (metadata, merge data, ...) that can't be expressed to the provider's API."""

    def __init__(
        self,
        message: str | None = None,
        orig_err: Exception | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if message is None:
            esp_name = kwargs.get("esp_name") or getattr(kwargs.get("backend"), "esp_name", None)
            message = (
                f"Don't know how to send this data to {esp_name or 'the ESP'}. "
                "Try converting it to a string or number first."
            )
        if orig_err is not None:
            message = f"{message}\n{orig_err}"
        super().__init__(message, *args, **kwargs)


class AnymailCancelSend(AnymailError):
    """Raise this in a pre_send receiver to drop the message without an error."""


class AnymailLaterError(AnymailError):
    """A message could not be handed to the queue; or a worker can't send it any more.

    ``problem`` tells what is known: UNREACHABLE if nobody has got it, UNCLEAR if the queue, or a
    provider, may have.
    """


class AnymailWebhookValidationFailure(AnymailError, SuspiciousOperation):
    """A webhook call that did not come from the provider, or that makes no sense.

    Django answers it with a 400.
    """


class AnymailInboundLimitExceeded(AnymailWebhookValidationFailure, ValueError):
    """A received message that exceeds one of the limits in anymail.inbound.

    It has too many MIME parts, nested too deeply, or too many or too large headers.
    """


class AnymailConfigurationError(ImproperlyConfigured):
    """Anymail can't work with the project's settings.

    Not an AnymailError, so that it is never silenced. ``docs`` is where Anymail's docs help, such
    as "settings#idna-encoder": the text then ends with that.
    """

    def __init__(self, *args: Any, docs: str | None = None) -> None:
        if docs is not None:
            args = (with_docs(str(args[0]), docs), *args[1:])
        super().__init__(*args)


class AnymailInvalidMailer(AnymailConfigurationError, InvalidMailer):
    """Anymail can't work with an entry of the project's MAILERS setting."""

    def __init__(self, msg: str, *, alias: str | None = None, docs: str | None = None) -> None:
        InvalidMailer.__init__(self, with_docs(msg, docs), alias=alias)


class AnymailImproperlyInstalled(AnymailConfigurationError, ImportError):
    """An optional package that this feature needs is not installed."""

    def __init__(
        self, missing_package: str, install_extra: str = "<esp>", feature: str = "this ESP"
    ) -> None:
        super().__init__(
            f"The {missing_package} package is required to use {feature}, but isn't installed. "
            f'(Be sure to use `pip install "django-anymail[{install_extra}]"` '
            "with your desired ESPs.)",
            docs="installation#install-extras",
        )
        self._init_args = (missing_package, install_extra, feature)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._init_args


def problem_of(error: BaseException) -> Problem | None:
    """Return what an exception means for the message that was being sent.

    It can be Anymail's, or what smtplib, requests, botocore and sockets raise when mail is sent
    without Anymail: by Django's SMTP backend, for example. Returns None if nobody can say: for
    errors in the settings, which are no problem of the message's, and anything else.
    """
    # Imported when needed, for sending only
    from .sending.problems import foreign_problem, meaning_of, socket_problem

    if isinstance(error, AnymailError):
        if error.problem is not None:
            return error.problem
        meaning = meaning_of(error, error.backend)
        return None if meaning is None else meaning.problem
    if isinstance(error, ImproperlyConfigured):
        return None
    return foreign_problem(error) or socket_problem(error)


class AnymailWarning(Warning):
    """Base of Anymail's warnings."""


class AnymailInsecureWebhookWarning(AnymailWarning):
    """A webhook accepts calls from anyone, because no authentication is configured."""


class AnymailDeprecationWarning(AnymailWarning, DeprecationWarning):
    """Something that will go away, with what to use instead."""


class AnymailNotSupportedWarning(AnymailWarning):
    """No longer issued by Anymail; kept for projects that name it in a warnings filter."""


class _LazyError:
    """Stands in for something from a package that is not installed.

    May be assigned, but raises the error as soon as it is called or an attribute of it is read.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Without that of earlier uses, which would be extended each time.
        raise self._error.with_traceback(None)

    def __getattr__(self, name: str) -> Any:
        raise self._error.with_traceback(None)
