"""The way of a message through an email backend, from EmailMessage to status.

- prepare: an empty status; the pre_send signal; the payload, which is the message in the provider's
  words;
- call: one call of the provider's API, or several if the message takes that many. A call is data
  until the backend makes it. That is the only step that waits for somebody else;
- finish: what the answers say: statuses; the post_send signal; an error if nobody's mail was
  accepted.

:func:`send` takes all of them, one after the other. How many messages are on their way at a time
is for runners to decide: see sequential.py and runners.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.mail import EmailMessage
from django.views.decorators.debug import sensitive_variables

from ..exceptions import AnymailError, Problem
from ..message import AnymailStatus
from .journey import Journey, clear_outcome, current_journey, on_journey
from .payload import BasePayload, payloads_of
from .problems import meaning_of
from .results import UNKNOWN

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend

T = TypeVar("T")


def send(backend: AnymailBaseBackend, message: EmailMessage) -> bool:
    """Send a message. Returns whether it was sent (rather than canceled)."""
    journey = current_journey(message)
    if journey is None:  # No runner has given it to the backend.
        with on_journey(Journey(message, mailer=backend.alias)):
            try:
                return send(backend, message)
            except Exception as error:
                message.anymail_error = error  # type: ignore[attr-defined]
                raise
    sending = prepare(backend, journey)
    if sending is None:
        return False
    try:
        sending.post_all()
    except Exception as error:
        sending.tell(error)
        raise
    sending.tell()
    sending.raise_if_refused()
    return True


def prepare(backend: AnymailBaseBackend, journey: Journey) -> Sending | None:
    """Start the message of a journey on its way. Returns None if it is not to be sent.

    Either receivers of pre_send have canceled it, or it has no recipients.
    """
    message = journey.message
    journey.start()
    journey.is_before_call = True
    status = clear_outcome(message)
    if not (backend.run_pre_send(message) and message.recipients()):
        return None
    return Sending(backend, status, journey)


# Django's error reports show no local variables of functions with @sensitive_variables(), and of
# all that is called there, in requests and boto3 too: they hold credentials and content.


class Sending:
    """A message on its way through a backend, which is open."""

    @sensitive_variables()
    def __init__(
        self, backend: AnymailBaseBackend, status: AnymailStatus, journey: Journey
    ) -> None:
        self.backend = backend
        self.message = journey.message
        self.status = status
        self.journey = journey
        self.payload, self._payloads = payloads_of(self.message, backend)
        self._responses: list[Any] = []
        self._payloads_begun = 0
        self._unclear: list[Any] = []
        """The payloads of calls of which nobody knows whether they were accepted."""

    # -- Call ---------------------------------------------------------------------------------

    @sensitive_variables()
    def post_all(self) -> None:
        """Have the backend make all calls, one after the other, and take the responses."""
        while (payload := self._next_payload()) is not None:
            self.backend.wait_for_rate(payload)
            try:
                self._take_response(payload, self.backend.post_to_esp(payload, self.message))
            except Exception as error:
                self._note_failure(payload, error)
                raise
            payload = None  # A large batch has but one of them in memory.

    @sensitive_variables()
    def next_payload(self) -> Any | None:
        """Return the payload for the next call, or None if there are no more calls to be made.

        For a runner that makes the calls itself.
        """
        return self._next_payload()

    def _next_payload(self) -> Any | None:
        try:
            payload = next(self._payloads, None)
        except AnymailError as error:
            note_subject(error, self.message, self.payload)
            raise
        self.journey.is_before_call = False
        if payload is not None and self._payloads_begun:
            self.journey.go_on()
        self._payloads_begun += 1
        return payload

    def shared_endpoint(self) -> str | None:
        """Return the path of a call that others can share; None if it must have its own."""
        find_endpoint = getattr(self.payload, "shared_endpoint", None)
        return None if find_endpoint is None else find_endpoint()

    def wait_for_rate(self, payload: Any, *, shares_call: bool = False) -> None:
        """Wait until a call can be made, or a message added to one."""
        if self.backend.rate is not None:
            with on_journey(self.journey):
                self.backend.wait_for_rate(payload, shares_call=shares_call)

    @sensitive_variables()
    def prepare_to_share(self, make: Callable[[Any, ApiCall], T]) -> T:
        """Return what ``make`` makes of the message's payload and call."""
        payload = self._next_payload()
        return make(payload, self._prepare_call(payload))

    @sensitive_variables()
    def prepare_call(self, payload: Any) -> ApiCall:
        """Return the call as data, for a runner that makes it itself."""
        return self._prepare_call(payload)

    def _prepare_call(self, payload: Any) -> ApiCall:
        try:
            with on_journey(self.journey):
                return self.backend.prepare_call(payload)
        except AnymailError as error:
            note_subject(error, self.message, payload)
            raise

    @sensitive_variables()
    def receive(self, payload: Any, get_answer: Callable[[], Any]) -> None:
        """Take the answer to a call that a runner has made. get_answer returns or raises it."""
        try:
            with on_journey(self.journey):
                try:
                    response = get_answer()
                except AnymailError as error:
                    note_subject(error, self.message, payload)
                    raise
                self.backend.raise_for_status(response, payload, self.message)
                self._take_response(payload, response)
        except Exception as error:
            self._note_failure(payload, error)
            raise

    @property
    def has_answers(self) -> bool:
        """Whether an answer was taken."""
        return bool(self._responses)

    def _take_response(self, payload: Any, response: Any) -> None:
        if self._responses:
            self.backend.forget_call(self._responses[-1])
        self._responses.append(response)
        self.status.esp_response = response if len(self._responses) == 1 else self._responses
        if self.backend.was_sent_before(response, payload):
            statuses = self.backend.parse_repeat(response, payload)
        else:
            statuses = self.backend.parse_recipient_status(response, payload, self.message)
        self.status.set_recipient_status(statuses)

    def _note_failure(self, payload: Any, error: Exception) -> None:
        if self.is_unclear(error):
            self._unclear.append(payload)

    def is_unclear(self, error: BaseException) -> bool:
        """Tell whether a call that has failed like that may have been accepted."""
        if not isinstance(error, AnymailError):
            return True  # Nobody knows what it means.
        meaning = meaning_of(error, self.backend)
        problem = error.problem or (meaning and meaning.problem)
        return problem is Problem.UNCLEAR

    # -- Finish -------------------------------------------------------------------------------

    def tell(self, error: BaseException | None = None) -> None:
        """Tell receivers of post_send, if there is something to tell in spite of an error.

        With the error, or before, it can be known what became of the message for some recipients.
        """
        if error is not None:
            self._add_known(error)
        # If the same message was sent again meanwhile, it has another status by now.
        self.message.anymail_status = self.status  # type: ignore[attr-defined]
        if error is None or self.status.recipients:
            try:
                self.backend.run_post_send(self.message)
            except Exception:
                # What a receiver raises (Django has logged it) must not hide the error.
                if error is None:
                    self.raise_if_refused()
                    raise
                self.journey.receivers_error = None

    def _add_known(self, error: BaseException) -> None:
        """Let the status, and the error, have all that is known about recipients."""
        if isinstance(error, AnymailError) and error.recipients:
            self.status.set_recipient_status(error.recipients)
        if self.status.may_be_accepted:
            self._add_unclear()
        if isinstance(error, AnymailError):
            # Those of earlier calls for the same message, too
            error.recipients = dict(self.status.recipients)

    def _add_unclear(self) -> None:
        """Say that nobody knows what became of recipients, where others' fate is known."""
        unclear = {
            email.addr_spec: UNKNOWN
            for payload in self._unclear
            if isinstance(payload, BasePayload)
            for email in payload.get_recipients()
            if email.addr_spec not in self.status.recipients
        }
        if unclear:
            self.status.set_recipient_status(unclear)

    def raise_if_refused(self) -> None:
        """Raise an error if the message was refused for all of its recipients."""
        self.backend.raise_for_recipient_status(
            self.status, self._responses[-1], self.payload, self.message
        )


class ApiCall:
    """A call of a provider's API, as data.

    ``function`` is the name of a method of the client: ``request`` of a requests session, or one
    that an SDK has. ``params`` are its arguments, such as HTTP method, URL, headers and timeout.
    """

    def __init__(self, function: str, **params: Any) -> None:
        self.function = function
        self.params = params

    def make(self, client: Any) -> Any:
        """Make the call. Returns and raises what the client does."""
        return getattr(client, self.function)(**self.params)


def note_subject(error: AnymailError, message: EmailMessage, payload: Any) -> None:
    """Let an error tell the message and payload that it is about."""
    error.email_message = message
    error.payload = error.payload or payload
