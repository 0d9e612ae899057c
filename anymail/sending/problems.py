"""What an exception means for the message: which :class:`~anymail.exceptions.Problem` it is.

Providers' own codes are in the tables of their backends (``ERRORS``). Here is what is the same
everywhere: HTTP statuses, connections that fail, and the exceptions of requests, botocore and
smtplib.
"""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..exceptions import AnymailAPIError, Problem

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


@dataclass(frozen=True)
class Meaning:
    """What an error means."""

    problem: Problem
    about_sender: bool = False
    """Of ACCOUNT: whether it's about the sender or its domain, not about all of the account."""
    retry_after: float | None = None
    """Of BUSY: when to come back, in seconds, if the provider says so."""


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


def boto_problem(error: BaseException, codes: Mapping[str, Problem] | None = None) -> Problem:
    """Return what an exception of botocore means. ``codes`` are those of the service."""
    names = {cls.__name__ for cls in type(error).__mro__}
    response: Any = getattr(error, "response", None)
    if "ClientError" in names and isinstance(response, Mapping):
        code = str(response.get("Error", {}).get("Code", "")).removesuffix("Exception")
        if codes and code in codes:
            return codes[code]
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return http_problem(status) if isinstance(status, int) else Problem.UNCLEAR
    if names & _BOTO_CREDENTIALS:
        return Problem.ACCOUNT
    if "ParamValidationError" in names:
        return Problem.MESSAGE
    if names & _BOTO_NOT_CONNECTED:
        return Problem.UNREACHABLE
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return Problem.UNREACHABLE
    return Problem.UNCLEAR


# -- smtplib --------------------------------------------------------------------------------------


def smtp_problem(error: BaseException, *, opening: bool = False) -> Problem:
    """Return what an exception of Django's SMTP backend means.

    ``opening``: whether the connection was being opened, so that nothing can have been sent.
    """
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
            by_provider = _is_json(error.response)
            return http_problem(error.response.status_code, by_provider=by_provider)
        return connection_problem(error)
    if any(cls.__module__.startswith("botocore.") for cls in type(error).__mro__):
        return boto_problem(error)
    if isinstance(error, smtplib.SMTPException):
        return smtp_problem(error, opening=isinstance(error, smtplib.SMTPConnectError))
    return None


def _is_json(response: requests.Response) -> bool:
    try:
        return isinstance(response.json(), (dict, list))
    except (ValueError, RecursionError):
        return False


def api_error_meaning(error: AnymailAPIError) -> Meaning:
    """Return what an error of a provider's API means, as far as that's the same for all."""
    response = error.response
    if isinstance(response, requests.Response):
        problem = http_problem(response.status_code, by_provider=_is_json(response))
        return Meaning(problem, retry_after=retry_after(response.headers))
    cause = error.__cause__
    if isinstance(cause, requests.RequestException):
        return Meaning(connection_problem(cause))
    return Meaning(Problem.UNCLEAR)


# -- When to come back ----------------------------------------------------------------------------

LONGEST_RETRY_AFTER = 24 * 60 * 60
"""Seconds. What asks for more is not believed."""

# In the order in which they are believed.
_RETRY_HEADERS = ("Retry-After", "RateLimit-Reset", "X-RateLimit-Reset")

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
