"""Messages with an idempotency key: each is sent once, whoever is asked to send it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from ..addresses import parse_address_list
from ..exceptions import AnymailAPIError, AnymailError, AnymailInvalidAddress, Problem
from ..message import AnymailRecipientStatus, AnymailStatus
from ..sending.journey import DEFAULT_CALL_SECONDS
from ..sending.keys import idempotency_key
from ..sending.problems import ADVICE
from .decisions import Duplicates, Failure
from .ledger import Claim, Entry, Ledger, fingerprint, hashes
from .rest import Rest

GRACE = 30
"""Seconds that a claim lasts beyond the call's timeouts."""

_SOMEBODY_ELSE = "somebody else is sending the message with this key"


class SendingOnce:
    """The right to send a message with a key, and what is noted about it.

    ``duplicates`` says whether it may be given to another provider although its outcome is unclear;
    ``remember_longer`` how many seconds to remember that, in addition to SEND_DEDUPE_SECONDS.
    """

    def __init__(
        self,
        message: EmailMessage,
        duplicates: Duplicates = "avoid",
        *,
        remember_longer: float = 0,
    ) -> None:
        key = idempotency_key(message)
        assert key is not None
        self.key = key
        self.message = message
        self.duplicates = duplicates
        self.ledger = Ledger()
        self.ledger.seconds += remember_longer
        self.clock = self.ledger.clock
        self._claim: Claim | None = None
        self.is_repeat = False
        """Whether the account that it was last given to had got the key before."""
        self.earlier_statuses: Mapping[str, AnymailRecipientStatus] = {}
        """What is known of recipients from before, by addr-spec."""
        self._first_calls: dict[str, float] = {}
        """When accounts first got the key (POSIX time)."""
        self._found_unclear = False
        """Whether it was unclear before if the message had been sent."""
        self._unclear_at: set[str | None] = set()
        """The accounts of which it is unclear whether they have accepted the message."""

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
        self._found_unclear = True
        self._unclear_at = {entry.account}
        if entry.account is not None and entry.first_call is not None:
            self._first_calls[entry.account] = entry.first_call
        self.earlier_statuses = entry.recipient_statuses(_addr_specs(self.message))
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
        first_call = self._first_calls.get(_account(backend))
        if lifetime is None or first_call is None:
            return False
        return self.clock() - first_call < lifetime.total_seconds()

    def refusal(self, backend: Any) -> AnymailError | None:
        """Return an error if the message must not be given to a backend."""
        if not self._found_unclear:
            return None
        if _account(backend) in self._unclear_at:
            may_send = self.key_lives(backend)
        else:
            may_send = self.duplicates == "accept"
        if may_send:
            return None
        return self.unclear_error()

    def unclear_error(self) -> AnymailError:
        """Return the error for a message of which it's unclear if it was sent before."""
        return self._error(
            Problem.UNCLEAR, "it is unclear if the message with this key was sent before"
        )

    @property
    def is_partial(self) -> bool:
        """Whether it was last sent for some of its recipients only."""
        return self._claim is not None and self._claim.entry.rest is not None

    def restore(self, rest: Rest) -> None:
        """Leave those of the message's recipients that it was last sent for."""
        assert self._claim is not None
        left = self._claim.entry.find_rest(rest.addr_specs())
        rest.accepted = {
            addr_spec: status
            for addr_spec, status in self.earlier_statuses.items()
            if addr_spec not in left
        }
        rest.leave(left)

    def note_call(self, backend: Any, mailer: str | None, rest: Rest | None = None) -> None:
        """Note that the message is about to be given to a backend, perhaps for some only."""
        account = _account(backend)
        self.is_repeat = account in self._first_calls
        first_call = self._first_calls.setdefault(account, self.clock())
        self.renew(
            backend,
            mailer=mailer,
            esp_name=getattr(backend, "esp_name", None),
            # If nobody ends this: with several of them, it's unclear of which.
            account=account if self._unclear_at <= {account} else None,
            first_call=first_call,
            **({"rest": hashes(rest.addr_specs())} if rest and rest.is_partial else {}),
        )

    def renew(self, backend: Any, **changes: Any) -> None:
        """Have the claim last for another call of a backend's, and note what is being done."""
        seconds = getattr(backend, "call_seconds", DEFAULT_CALL_SECONDS)
        assert self._claim is not None
        self._claim = self.ledger.renew(self._claim, seconds + GRACE, **changes)

    def note_failure(self, backend: Any, failure: Failure) -> None:
        """Note what has become of the message that was given to a backend."""
        if failure.is_our_own:
            return  # without a call
        if failure.problem is Problem.UNCLEAR or failure.may_have_been_sent:
            self._unclear_at.add(_account(backend))

    @property
    def is_unclear(self) -> bool:
        """Whether any of the mailers that it was given to may have accepted it."""
        return bool(self._unclear_at)

    # -- The end ------------------------------------------------------------------------------

    def succeed(self, status: AnymailStatus, sent: bool) -> None:
        """Note that the message was accepted; or, if it was not to be sent, free its key."""
        if not sent:
            self.free()
        elif self._claim is not None:
            attempts = _attempts(status)
            self.ledger.note_sent(self._claim, status.recipients, attempts=attempts)

    def free(self) -> None:
        """Note that it was not sent, so that it can be."""
        if self.is_unclear:  # by an earlier send()
            self._note_unclear(AnymailStatus())
        elif self._claim is not None:
            self.ledger.free(self._claim)

    def fail(
        self, error: Exception, status: AnymailStatus | None, *, before_call: bool = False
    ) -> None:
        """Note that the message was not accepted, or that nobody knows.

        ``status`` is what is known of it, if anything; ``before_call`` whether nobody was asked to
        send it.
        """
        if isinstance(error, AnymailError):
            before_call |= error.problem is not None and not error.may_have_been_sent
        if before_call or isinstance(error, ImproperlyConfigured):
            self.free()
        else:
            self._note_unclear(status or AnymailStatus())

    def _note_unclear(self, status: AnymailStatus) -> None:
        if self._claim is None:
            return
        [account] = self._unclear_at if len(self._unclear_at) == 1 else [self._claim.entry.account]
        self.ledger.note_unclear(
            self._claim,
            {**self.earlier_statuses, **status.recipients},
            account=account,
            first_call=self._first_calls.get(str(account)),
            attempts=_attempts(status),
        )


def _account(backend: Any) -> str:
    """Return what tells accounts with providers apart, and says nothing about them."""
    return str(getattr(backend, "account_hash", type(backend).__module__))


def _attempts(status: AnymailStatus) -> tuple[tuple[str | None, str | None], ...]:
    return tuple((mailer, problem) for mailer, problem in status.attempts)


def _addr_specs(message: EmailMessage) -> list[str]:
    try:
        return [email.addr_spec for email in parse_address_list(message.recipients())]
    except AnymailInvalidAddress:
        return []
