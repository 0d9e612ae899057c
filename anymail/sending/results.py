"""What providers' answers to a message say about its recipients."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from ..addresses import EmailAddress, IdnaEncoder, ReportedAddresses
from ..message import AnymailRecipientStatus

FAILED = AnymailRecipientStatus(None, "failed")
"""Of a recipient for whom the message was refused."""

UNKNOWN = AnymailRecipientStatus(None, "unknown")
"""Of a recipient about whom the answer says nothing."""


class RecipientResults:
    """Collects recipients' statuses from an answer, whose results can be malformed in part.

    Read each of the answer's results in a ``with`` block: its KeyError, TypeError and
    AttributeError end only that block. The last one is in ``problem``, which is None if all went
    well. ::

        results = RecipientResults(payload.get_recipients(), self.idna_encode)
        for result in answer["results"]:
            with results:
                results.add(result["email"], AnymailRecipientStatus(result["id"], "queued"))
    """

    def __init__(
        self, recipients: Iterable[EmailAddress], idna_encode: IdnaEncoder | None = None
    ) -> None:
        self.recipients = list(recipients)
        self.statuses: dict[str, AnymailRecipientStatus] = {}
        self.problem: BaseException | None = None
        self._reported = ReportedAddresses(self.recipients, idna_encode)

    def __enter__(self) -> RecipientResults:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, (AttributeError, KeyError, TypeError)):
            return False
        self.problem = error
        return True

    def add(self, address: str, status: AnymailRecipientStatus) -> None:
        """Set the status of the recipient that the provider means by an address.

        Raises TypeError if that isn't text.
        """
        if not isinstance(address, str):
            raise TypeError("An address must be text")
        self.statuses[self._reported.addr_spec(address)] = status

    def add_all(self, emails: Iterable[EmailAddress], status: AnymailRecipientStatus) -> None:
        """Set the status of several recipients."""
        for email in emails:
            self.statuses[email.addr_spec] = status

    def add_failed(self, emails: Iterable[EmailAddress]) -> None:
        """Set the status of those to "failed" that don't have any from another result."""
        for email in emails:
            self.statuses.setdefault(email.addr_spec, FAILED)

    def with_others(self, status: AnymailRecipientStatus) -> dict[str, AnymailRecipientStatus]:
        """Return the statuses, and the given one for recipients that there is no result for."""
        return {**{email.addr_spec: status for email in self.recipients}, **self.statuses}

    def known(self) -> dict[str, AnymailRecipientStatus]:
        """Return what is to be told in spite of a problem, if something was accepted.

        The status of recipients without a result is "unknown".
        """
        if any(status.is_accepted for status in self.statuses.values()):
            return self.with_others(UNKNOWN)
        return {}
