"""What an exception means for the message: which :class:`~anymail.exceptions.Problem` it is.

Providers' own codes are in the tables of their backends (``ERRORS``). Here is what is the same
everywhere: HTTP statuses, connections that fail, and the exceptions of requests, botocore, smtplib
and sockets.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeAlias

import requests
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailError,
    AnymailUnsupportedFeature,
    AnymailWebhookValidationFailure,
    Problem,
)

ADVICE = {
    Problem.MESSAGE: "Correct the message or its recipients: no provider would take it like this.",
    Problem.UNSUITABLE: "This provider can't send this message, but another one may.",
    Problem.ACCOUNT: (
        "Check the account with the provider: its API key, quota and verified domains, and the "
        "API's URL in the settings."
    ),
    Problem.BUSY: "Send it again later: the provider takes no more right now.",
    Problem.UNREACHABLE: "Send it again: nothing has reached the provider.",
    Problem.UNCLEAR: (
        "Look at the provider's log before it's sent again: it may have been accepted, and would "
        "arrive twice."
    ),
}


class Meaning(NamedTuple):
    """What an error means."""

    problem: Problem
    about_sender: bool = False
    """Of ACCOUNT: whether it's about the sender or its domain, not about all of the account."""
    retry_after: float | None = None
    """Of BUSY: when to come back, in seconds, if the provider says so."""


SENDER = Meaning(Problem.ACCOUNT, about_sender=True)
"""The provider refuses to send in the name of this sender: its domain isn't verified there."""

ErrorTable: TypeAlias = Mapping[Any, "Problem | Meaning"]
"""What a provider's codes for errors mean."""

# If a call is refused for several reasons, this is the order in which they count: another mailer
# can't help with what comes first.
_GRAVITY = (
    Problem.UNCLEAR,
    Problem.MESSAGE,
    Problem.UNSUITABLE,
    Problem.ACCOUNT,
    Problem.BUSY,
    Problem.UNREACHABLE,
)


def gravest(meanings: Iterable[Meaning]) -> Meaning:
    """Return which of the reasons for refusing a call counts. There must be one at least."""
    all_meanings = list(meanings)
    problem = min((meaning.problem for meaning in all_meanings), key=_GRAVITY.index)
    about = [meaning.about_sender for meaning in all_meanings if meaning.problem is problem]
    return Meaning(problem, about_sender=all(about))


_STATUSES = {
    **dict.fromkeys((400, 409, 415, 422), Problem.MESSAGE),
    **dict.fromkeys((413, 414, 431), Problem.UNSUITABLE),
    **dict.fromkeys((401, 402, 403, 404, 405, 407, 451), Problem.ACCOUNT),
    **dict.fromkeys((420, 421, 425, 429, 503), Problem.BUSY),
    408: Problem.UNCLEAR,
}

# Statuses that a proxy gives to what it doesn't understand.
_PROXY_STATUSES = (400, 422)


def http_problem(status: int, *, by_provider: bool = True) -> Problem:
    """Return what an HTTP status means that isn't a success.

    ``by_provider``: whether the answer looks like one of the provider's API. Otherwise something
    in between has refused the call, and it's not about the message.
    """
    if not by_provider and status in _PROXY_STATUSES:
        return Problem.ACCOUNT
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:
        return Problem.ACCOUNT  # the URL is wrong
    if 400 <= status < 500:
        return Problem.MESSAGE if by_provider else Problem.ACCOUNT
    return Problem.UNCLEAR


# -- Connections ----------------------------------------------------------------------------------

# Nothing was sent when these are raised.
_NOT_CONNECTED = (
    NewConnectionError,
    NameResolutionError,
    ConnectTimeoutError,
    ssl.SSLCertVerificationError,
)

_URL_ERRORS = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)


def is_configuration_error(error: BaseException) -> bool:
    """Tell whether an exception of requests is about a URL or a header in the settings."""
    return isinstance(error, _URL_ERRORS)


def connection_problem(error: BaseException, handed_over: bool | None = None) -> Problem:
    """Return what it means that a call has failed without an answer.

    ``handed_over``: whether any byte of the request was written, if that is known. If it isn't,
    only what can't have happened after that is taken for UNREACHABLE.
    """
    if handed_over is not None:
        return Problem.UNCLEAR if handed_over else Problem.UNREACHABLE
    causes = list(_causes(error))
    if any(map(_was_repeated, causes)):
        return Problem.UNCLEAR
    if any(isinstance(cause, _NOT_CONNECTED) for cause in causes):
        return Problem.UNREACHABLE
    return Problem.UNCLEAR


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, and what the libraries have wrapped in it."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        item = pending.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += [item.__cause__, item.__context__, *item.args]
        # urllib3's, and botocore's
        pending += [getattr(item, "reason", None), *getattr(item, "kwargs", {}).values()]


def _was_repeated(error: BaseException) -> bool:
    """Tell whether urllib3 had made the call before, for an adapter that repeats calls.

    Exceptions don't say so; but the function that they come from knows.
    """
    traceback = error.__traceback__
    while traceback is not None:
        retries = traceback.tb_frame.f_locals.get("retries")
        if isinstance(retries, Retry) and retries.history:
            return True
        traceback = traceback.tb_next
    return False


# -- botocore -------------------------------------------------------------------------------------

_BOTO_NOT_CONNECTED = {
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ProxyConnectionError",
}
_BOTO_CREDENTIALS = {
    "CredentialRetrievalError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}


def boto_problem(error: BaseException) -> Problem:
    """Return what an exception of botocore means, of a client for Amazon SES."""
    names = {cls.__name__ for cls in type(error).__mro__}
    response: Any = getattr(error, "response", None)
    if "ClientError" in names and isinstance(response, Mapping):
        return _client_error_problem(response)
    if names & _BOTO_CREDENTIALS:
        return Problem.ACCOUNT
    if "ParamValidationError" in names:
        return Problem.MESSAGE
    if names & _BOTO_NOT_CONNECTED:
        return Problem.UNREACHABLE
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return Problem.UNREACHABLE
    return Problem.UNCLEAR


def _client_error_problem(response: Mapping[str, Any]) -> Problem:
    from ..aws import AWS_ERRORS, aws_error_code

    with suppress(AttributeError, KeyError, TypeError):
        meaning = AWS_ERRORS.get(aws_error_code(response))
        if meaning is not None:
            return meaning.problem if isinstance(meaning, Meaning) else meaning
    status = status_of(response)
    return Problem.UNCLEAR if status is None else http_problem(status)


# -- smtplib --------------------------------------------------------------------------------------

_SMTP_OPENING = {"SMTPConnectError", "SMTPHeloError"}


def smtp_problem(error: BaseException, *, opening: bool = False) -> Problem:
    """Return what an exception of Django's SMTP backend means.

    ``opening``: whether the connection was being opened, so that nothing can have been sent.
    """
    import smtplib  # What raises these exceptions has imported it.

    if isinstance(error, smtplib.SMTPAuthenticationError):
        return Problem.ACCOUNT
    if opening:
        is_busy = getattr(error, "smtp_code", None) == 421
        return Problem.BUSY if is_busy else Problem.UNREACHABLE
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Problem.UNSUITABLE
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = {reply[0] for reply in error.recipients.values()}
    elif isinstance(error, (smtplib.SMTPSenderRefused, smtplib.SMTPDataError)):
        codes = {error.smtp_code}
    else:
        return Problem.UNCLEAR
    if any(400 <= code < 500 for code in codes):
        return Problem.BUSY
    if codes == {552}:
        return Problem.UNSUITABLE
    return Problem.ACCOUNT if isinstance(error, smtplib.SMTPSenderRefused) else Problem.MESSAGE


# -- Exceptions that aren't Anymail's -------------------------------------------------------------


def foreign_problem(error: BaseException) -> Problem | None:
    """Return what an exception means that isn't Anymail's; None if nobody can say."""
    if isinstance(error, requests.RequestException):
        if is_configuration_error(error):
            return None
        if error.response is not None:
            by_provider = is_json_object(error.response)
            return http_problem(error.response.status_code, by_provider=by_provider)
        return connection_problem(error)
    classes = type(error).__mro__
    if any(cls.__module__.startswith("botocore.") for cls in classes):
        return boto_problem(error)
    names = {cls.__name__ for cls in classes if cls.__module__ == "smtplib"}
    if names:
        return smtp_problem(error, opening=not names.isdisjoint(_SMTP_OPENING))
    return None


_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def socket_problem(error: BaseException) -> Problem | None:
    """Return what an exception of a socket means, such as from smtplib; None for any other.

    Only for where it's known that a message was being sent: files and databases raise them, too.
    """
    if isinstance(error, (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)):
        return Problem.UNREACHABLE
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return Problem.UNREACHABLE
    if isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
        return Problem.UNCLEAR
    return None


# -- Anymail's exceptions -------------------------------------------------------------------------


def meaning_of(error: AnymailError, backend: Any = None) -> Meaning | None:
    """Return what an exception of Anymail's means, with a backend that knows the provider.

    None for those that are no problem of a message's.
    """
    if isinstance(error, AnymailAPIError):
        find_meaning = getattr(backend, "find_meaning", api_error_meaning)
        meaning: Meaning = find_meaning(error)
        return meaning
    if isinstance(error, AnymailUnsupportedFeature):
        return Meaning(Problem.UNSUITABLE)
    if isinstance(error, (AnymailCancelSend, AnymailWebhookValidationFailure)):
        return None
    return Meaning(Problem.MESSAGE)


def api_error_meaning(
    error: AnymailAPIError,
    reasons: Iterable[Meaning | None] = (),
    *,
    by_provider: bool | None = None,
    wait: float | None = None,
) -> Meaning:
    """Return what an error of a provider's API means.

    - ``reasons``: what the codes in its answer mean, for each the provider's own meaning; None for
      one that means no more than the HTTP status
    - ``by_provider``: see http_problem; by default, whether the answer is a JSON object
    - ``wait``: in how many seconds the provider asks to come back, if that's not in the headers
    """
    response = error.response
    status = status_of(response)
    reasons = list(reasons)
    if status is None:
        fallback = _problem_without_answer(error)
    elif 200 <= status < 300:
        fallback = _problem_in_success(error, has_reasons=bool(reasons))
        if fallback is Problem.UNCLEAR:
            reasons.append(None)
    else:
        if by_provider is None:
            by_provider = isinstance(response, Mapping) or is_json_object(response)
        fallback = http_problem(status, by_provider=by_provider)
    meaning = gravest(reason or Meaning(fallback) for reason in reasons or [None])
    if meaning.problem is Problem.BUSY:
        if wait is None:
            wait = retry_after(getattr(response, "headers", {}))
        meaning = meaning._replace(retry_after=wait)
    return meaning


def _problem_without_answer(error: AnymailAPIError) -> Problem:
    cause = error.__cause__
    if error.handed_over is False:
        return Problem.UNREACHABLE
    if isinstance(cause, requests.RequestException) and cause.response is None:
        return connection_problem(cause, error.handed_over)
    problem = None if cause is None else foreign_problem(cause)
    return problem or Problem.UNCLEAR


def _problem_in_success(error: AnymailAPIError, *, has_reasons: bool) -> Problem:
    """Return what it means if an answer with the status of a success is an error."""
    if error.__cause__ is not None:
        return Problem.UNCLEAR  # The answer, or a part of it, can't be read.
    statuses = error.recipients.values()
    is_refused = has_reasons or (statuses and all(status.is_refused for status in statuses))
    return Problem.MESSAGE if is_refused else Problem.UNCLEAR


def status_of(response: Any) -> int | None:
    """Return the HTTP status of an answer, which can also be boto3's; None if it has none."""
    if not isinstance(response, Mapping):
        status = getattr(response, "status_code", None)
    elif "ResponseMetadata" in response:
        status = response["ResponseMetadata"].get("HTTPStatusCode")
    else:
        status = None if "Error" in response else 200
    return status if isinstance(status, int) else None


def is_json_object(response: Any) -> bool:
    """Tell whether an answer is a JSON object, as nearly all errors of APIs are."""
    try:
        return isinstance(response.json(), dict)
    except (AttributeError, ValueError, RecursionError):
        return False


# -- When to come back ----------------------------------------------------------------------------

LONGEST_RETRY_AFTER = 24 * 60 * 60
"""Seconds. What asks for more is not believed."""

# In the order in which they are believed. The last one is Brevo's.
_RETRY_HEADERS = (
    "Retry-After",
    "RateLimit-Reset",
    "X-RateLimit-Reset",
    "X-Sib-RateLimit-Reset",
)

# What is larger is a POSIX time, not a number of seconds.
_EPOCH = 10_000_000


def retry_after(headers: Mapping[str, Any], now: float | None = None) -> float | None:
    """Return in how many seconds an answer's headers ask to come back; None if they don't.

    Names must be found in any case. Negative or malformed values, and those of over a day, are
    ignored.
    """
    for name in _RETRY_HEADERS:
        if (value := headers.get(name)) is not None:
            return seconds_until(str(value), now)
    return None


def seconds_until(text: str, now: float | None = None) -> float | None:
    """Return how many seconds it is until a time: a number of them, a POSIX time, or a date."""
    now = time.time() if now is None else now
    text = text.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        if seconds > _EPOCH:
            seconds -= now
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            return None
    return seconds if 0 <= seconds <= LONGEST_RETRY_AFTER else None
