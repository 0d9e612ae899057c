"""Joining the calls for several messages to one, which they share; and taking its answer apart.

A message is first made a call of its own. If the provider takes several messages in one call, those
calls are joined: their JSON as it is, between what the provider wants around it. Of the answer,
each message gets what a call of its own would have been answered with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any

import requests
from django.views.decorators.debug import sensitive_variables

from ..exceptions import AnymailError, Problem
from ..masking import mask_message
from .problems import ADVICE, Meaning
from .shared_calls import PartOfResponse, SharedCall
from .steps import ApiCall

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend
    from ..backends.base_requests import RequestsPayload


class CallToShare:
    """The call for a message, which it may share with others."""

    # (Not a tuple: Django's error reports must not show what is in it.)
    __slots__ = ("_call", "_timeout", "_traits", "endpoint", "item", "payload", "size")

    def __init__(self, endpoint: str, payload: RequestsPayload, call: ApiCall) -> None:
        self._call = call
        self.payload = payload
        self.endpoint = endpoint
        """Of the shared call."""
        params = dict(call.params)
        item = payload.shared_item(params.pop("data", None))
        self._timeout = params.pop("timeout", None)
        self._traits = params
        self.item: str = item or ""
        """The message's JSON there."""
        self.size = len(self.item if self.item.isascii() else self.item.encode())
        """How many bytes that is."""

    @property
    def is_single(self) -> bool:
        """Whether it can't be shared after all."""
        return not self.item or self._url is None or self._traits.get("files") is not None

    def can_share(self, other: CallToShare) -> bool:
        """Tell whether the calls differ in the message only, if this one can be shared."""
        return (
            other.item != ""
            and self._traits == other._traits
            and self.endpoint == other.endpoint
            and self.payload.shared_trait() == other.payload.shared_trait()
        )

    @property
    def _url(self) -> str | None:
        """That of the shared call, if it's known."""
        url, own = str(self._traits.get("url")), self.payload.get_api_endpoint() or ""
        return url.removesuffix(own) + self.endpoint if url.endswith(own) else None

    @staticmethod
    @sensitive_variables()
    def join(calls: Sequence[CallToShare], shared: SharedCall) -> ApiCall:
        """Return the call that does what all of them do."""
        first = calls[0]
        if len(calls) == 1:
            return first._call
        items = shared.separator.join([call.item for call in calls])
        params = {
            **first._traits,
            "url": first._url,
            "headers": {**(first._traits.get("headers") or {}), **shared.headers},
            "data": f"{shared.opening}{items}{shared.closing}",
            "timeout": _shortest([call._timeout for call in calls]),
        }
        return ApiCall(first._call.function, **params)


def _shortest(timeouts: Sequence[Any]) -> Any:
    """Return the timeout, as requests has it, that allows nothing longer than all of them."""
    first = timeouts[0]
    if all(timeout == first for timeout in timeouts):
        return first
    pairs = [timeout if isinstance(timeout, tuple) else (timeout, timeout) for timeout in timeouts]
    least = (
        min(inf if part is None else part for part in parts) for parts in zip(*pairs, strict=True)
    )
    return tuple(None if part == inf else part for part in least)


class UnclearAnswer(Exception):
    """An answer that doesn't tell what became of the messages that share a call."""

    def __init__(self, text: str, response: requests.Response) -> None:
        super().__init__(text)
        self.response = response

    def raise_for(self, backend: Any, payload: RequestsPayload) -> None:
        """Raise AnymailRequestsAPIError for one of the messages."""
        message = payload.whole_message
        message.anymail_status.esp_response = self.response
        if _is_success(self.response):
            # These know better if it's something else.
            backend.raise_for_status(self.response, payload, message)
            backend.deserialize_json_response(self.response, payload, message)
        error = backend.invalid_response_format(self.response, payload, message)
        error.problem = Problem.UNCLEAR
        error.may_have_been_sent = True
        error.advice = ADVICE[Problem.UNCLEAR]
        raise error from self


def _is_success(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


@sensitive_variables()
def take_apart(
    backend: AnymailBaseBackend, shared: SharedCall, response: requests.Response, count: int
) -> list[PartOfResponse] | None:
    """Return the answers to each of so many messages; None if there is one to all of them.

    Raises UnclearAnswer if nobody knows what became of the messages.
    """
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        results = None
    else:
        try:
            results = shared.results(answer, count)
        except (AttributeError, LookupError, TypeError) as error:
            text = f"The results are malformed: {type(error).__name__}: {error}"
            raise UnclearAnswer(text, response) from error
    if results is None:
        if not _is_success(response) or _meaning(backend, response).problem is not Problem.UNCLEAR:
            return None
        results = ()
    if len(results) != count:
        raise UnclearAnswer(f"Expected {count} results, got {len(results)}", response)
    return [PartOfResponse(response, status, result) for status, result in results]


def _meaning(backend: AnymailBaseBackend, response: requests.Response) -> Meaning:
    """Return what an answer means that refuses a call."""
    return backend.find_meaning(backend._api_error_class(response=response, backend=backend))


def may_be_about_one(
    backend: AnymailBaseBackend, response: Any, payloads: Iterable[RequestsPayload]
) -> bool:
    """Tell whether a call may have been refused because of only some of its messages."""
    meaning = _meaning(backend, response)
    if meaning.about_sender:
        return len({str(payload.message.from_email) for payload in payloads}) > 1
    return meaning.problem in (Problem.MESSAGE, Problem.UNSUITABLE)


def masking_all(payloads: Iterable[RequestsPayload]) -> Callable[[str], str]:
    """Return a function that masks what a text repeats of any of the messages that share a call.

    Each of them can have an error with the same text.
    """
    messages = [payload.whole_message for payload in payloads]
    return cache(lambda text: mask_message(text, *messages))


def error_of_its_own(error: Exception) -> Exception:
    """Return the same error, for another of the messages that share a call.

    An AnymailError gets to know which message it is about. Others are the same for all.
    """
    if not isinstance(error, AnymailError):
        return error
    own = type(error).__new__(type(error), *error.args)
    vars(own).update(vars(error), payload=None, recipients=dict(error.recipients))
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own.with_traceback(error.__traceback__)
