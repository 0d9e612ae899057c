"""Messages with an idempotency key: each is sent once, whoever is asked to send it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.mail import EmailMessage

from ..addresses import parse_address_list
from ..exceptions import AnymailAPIError, AnymailError, AnymailInvalidAddress, Problem
from ..message import AnymailStatus
from ..sending.problems import ADVICE
from .decisions import Duplicates
from .ledger import Claim, Entry, Ledger, fingerprint

GRACE = 30
"""Seconds that a claim lasts beyond the call's timeouts."""

DEFAULT_CALL_SECONDS = 60
"""How long a call can take of a backend that doesn't say."""

_MAX_KEY_LENGTH = 255

_SOMEBODY_ELSE = "somebody else is sending the message with this key"


def idempotency_key(message: EmailMessage) -> str | None:
    """Return a message's key. Raises ValueError if it can't be one."""
    key = getattr(message, "idempotency_key", None)
    if key is None:
        return None
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= _MAX_KEY_LENGTH
        or not (key.isascii() and key.isprintable())
    ):
        raise ValueError(
            f"idempotency_key must be a str of 1 to {_MAX_KEY_LENGTH} printable ASCII characters"
        )
    return key


class SendingOnce:
    """The right to send a message with a key, and what is noted about it.

    ``duplicates`` says whether it may be given to another provider although its outcome is unclear.
    """

    def __init__(self, message: EmailMessage, duplicates: Duplicates = "avoid") -> None:
        key = idempotency_key(message)
        assert key is not None
        self.key = key
        self.message = message
        self.duplicates = duplicates
        self.ledger = Ledger()
        self.clock = self.ledger.clock
        self._claim: Claim | None = None
        self.first_calls: dict[str, float] = {}
        """When providers first got the key, by their names (POSIX time)."""
        self._unclear_at: str | None = None
        """The provider of which it is unclear whether it has accepted the message."""
        self._is_unclear = False

    def begin(self, seconds: float = DEFAULT_CALL_SECONDS) -> AnymailStatus | None:
        """Claim the key for so many seconds, before the message is given to anybody.

        Returns the message's status if it was sent before. Raises AnymailAPIError if somebody else
        is sending it, or nobody knows whether it was sent; ValueError if the key was used for
        another message.
        """
        claim = self.ledger.claim(self.key, fingerprint(self.message), seconds + GRACE)
        if isinstance(claim, Claim):
            self._claim = claim
            return None
        return self._go_on_from(claim, seconds)

    def _go_on_from(self, entry: Entry, seconds: float) -> AnymailStatus | None:
        if entry.state == "sent":
            return self._status(entry)
        if entry.state == "claimed" and entry.until > self.clock():
            raise self._error(Problem.BUSY, _SOMEBODY_ELSE, retry_after=entry.until - self.clock())
        claim = self.ledger.claim_again(self.key, entry, seconds + GRACE)
        if claim is None:
            raise self._error(Problem.BUSY, _SOMEBODY_ELSE, retry_after=seconds + GRACE)
        self._claim = claim
        self._is_unclear = True
        self._unclear_at = entry.esp_name
        if entry.esp_name is not None and entry.first_call is not None:
            self.first_calls[entry.esp_name] = entry.first_call
        return None

    def _status(self, entry: Entry) -> AnymailStatus:
        status = AnymailStatus()
        statuses = entry.recipient_statuses(_addr_specs(self.message))
        if statuses:
            status.set_recipient_status(statuses)
        status.mailer = entry.mailer
        status.attempts = list(entry.attempts)
        return status

    def _error(self, problem: Problem, text: str, retry_after: float | None = None) -> AnymailError:
        error = AnymailAPIError(f"idempotency_key: {text}", email_message=self.message)
        error.problem = problem
        error.may_have_been_sent = True  # by somebody else, or before
        error.is_our_own = True
        error.retry_after = retry_after
        error.advice = ADVICE[problem]
        return error

    # -- Calls --------------------------------------------------------------------------------

    def key_lives(self, backend: Any) -> bool:
        """Tell whether a backend's provider still knows the key from its first call."""
        lifetime: timedelta | None = getattr(backend, "idempotency", None)
        first_call = self.first_calls.get(getattr(backend, "esp_name", ""))
        if lifetime is None or first_call is None:
            return False
        return self.clock() - first_call < lifetime.total_seconds()

    def refusal(self, backend: Any) -> AnymailError | None:
        """Return an error if the message must not be given to a backend."""
        if not self._is_unclear:
            return None
        if getattr(backend, "esp_name", None) == self._unclear_at:
            may_send = self.key_lives(backend)
        else:
            may_send = self.duplicates == "accept"
        if may_send:
            return None
        return self._error(
            Problem.UNCLEAR, "it is unclear if the message with this key was sent before"
        )

    def note_call(self, backend: Any, mailer: str | None) -> None:
        """Note that the message is about to be given to a backend."""
        esp_name = getattr(backend, "esp_name", type(backend).__module__)
        now = self.clock()
        first_call = self.first_calls.setdefault(esp_name, now)
        seconds = getattr(backend, "call_seconds", DEFAULT_CALL_SECONDS)
        assert self._claim is not None
        self._claim = self.ledger.renew(
            self._claim, seconds + GRACE, mailer=mailer, esp_name=esp_name, first_call=first_call
        )

    # -- The end ------------------------------------------------------------------------------

    def succeed(self, status: AnymailStatus, sent: bool) -> None:
        """Note that the message was accepted; or, if it was not to be sent, free its key."""
        if self._claim is None:
            return
        if sent:
            attempts = tuple((mailer, problem) for mailer, problem in status.attempts)
            self.ledger.note_sent(self._claim, status.recipients, attempts=attempts)
        else:
            self.ledger.free(self._claim)

    def fail(self, error: Exception, *, before_call: bool = False) -> None:
        """Note that the message was not accepted, or that nobody knows."""
        if self._claim is None:
            return
        known = isinstance(error, AnymailError) and error.problem is not None
        if before_call or (known and not error.may_have_been_sent):  # type: ignore[attr-defined]
            self.ledger.free(self._claim)
        else:
            self.ledger.note_unclear(self._claim)


def _addr_specs(message: EmailMessage) -> list[str]:
    try:
        return [email.addr_spec for email in parse_address_list(message.recipients())]
    except AnymailInvalidAddress:
        return []
