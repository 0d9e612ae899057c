"""Who is left of a message's recipients, after it was accepted for others."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.mail import EmailMessage

from ..addresses import EmailAddress, parse_address_list
from ..exceptions import Problem
from ..message import AnymailRecipientStatus, AnymailStatus
from ..sending.keys import derived_id, idempotency_key
from .decisions import Failure

_FIELDS = ("to", "cc", "bcc")


class Rest:
    """A message, from which recipients are taken away for whom it was accepted.

    What is left is another message for the providers, and so has another idempotency key there:
    always the same for the same recipients.
    """

    def __init__(self, message: EmailMessage) -> None:
        self.message = message
        self.accepted: dict[str, AnymailRecipientStatus] = {}
        """By addr-spec."""
        self.is_partial = False
        """Whether recipients were taken away."""
        self._key: str | None = None

    def note(self, message: EmailMessage, failure: Failure) -> None:
        """Note for whom an attempt to send the message was accepted, before it failed."""
        status: AnymailStatus = getattr(message, "anymail_status", None) or AnymailStatus()
        is_unclear = failure.problem is Problem.UNCLEAR
        self.accepted |= {
            addr_spec: recipient
            for addr_spec, recipient in status.recipients.items()
            # Some providers accept messages without a word on what becomes of them.
            if recipient.is_accepted
            or not (recipient.is_refused or (is_unclear and recipient.message_id is None))
        }

    def addr_specs(self) -> list[str]:
        """Return all recipients that the message still has."""
        return [email.addr_spec for field in _FIELDS for email in self._emails(field)]

    def not_accepted(self) -> list[str]:
        """Return those of them for whom it wasn't accepted, as far as anybody knows."""
        return [addr_spec for addr_spec in self.addr_specs() if addr_spec not in self.accepted]

    def leave_after(self, failure: Failure, unsent: Iterable[str]) -> None:
        """Leave whoever is to get it in the next attempt, after one that has failed.

        ``unsent`` are those for whom that has surely not been accepted, while it was for others.
        """
        if not self.accepted:
            return
        unsent = list(unsent)
        # Who may have got it is among those who may get it twice.
        self.leave(unsent if unsent and failure.problem is not Problem.UNCLEAR else None)

    def leave(self, addr_specs: Iterable[str] | None = None) -> None:
        """Take all others away; by default, those for whom it was accepted."""
        wanted = set(self.not_accepted() if addr_specs is None else addr_specs)
        for field in _FIELDS:
            left = [email.address for email in self._emails(field) if email.addr_spec in wanted]
            setattr(self.message, field, left)
        if not self.is_partial:
            self._key = idempotency_key(self.message)
        self.is_partial = True
        if self._key is not None:
            key = derived_id(self._key, *sorted(wanted))
            self.message.idempotency_key = key  # type: ignore[attr-defined]

    def complete(self, status: AnymailStatus) -> None:
        """Add to the status of an attempt for whom the message was accepted before."""
        if self.accepted:
            status.set_recipient_status(self.accepted)

    def _emails(self, field: str) -> list[EmailAddress]:
        return parse_address_list(getattr(self.message, field), field=field)
