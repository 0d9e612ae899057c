"""Batches: each ``to`` recipient gets an individual message, and sees no others.

Most providers send a batch natively: they take many recipients in a call, and what differs between
them. For others, each recipient gets a call of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

from django.core.mail import EmailMessage
from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress, RecipientMap, parse_address_list
from ..datastructures import UNSET

BATCH_ATTRS = ("merge_data", "merge_headers", "merge_metadata")
_PARTIAL_ATTRS = frozenset({"to", *BATCH_ATTRS})
"""What the parts of a batch have of their own."""


class NativeBatch(NamedTuple):
    """What a provider takes in one call for a batch."""

    limit: int | None = None
    """How many messages (``to`` recipients); None if that isn't known."""
    attrs: frozenset[str] = frozenset(BATCH_ATTRS)
    """Which attributes that differ between recipients."""
    copies_each: bool = True
    """Whether recipients in ``cc`` and ``bcc`` get a copy of each message, so that it makes no
    difference if these are sent in several calls."""
    limit_counts_copies: bool = False
    """Whether the limit is for all recipients, those in ``cc`` and ``bcc`` included."""
    recipient_fields: frozenset[str] = frozenset()
    """Keys of esp_extra that take the place of the message's recipients."""

    def messages_per_call(self, copies: int) -> int | None:
        """Return for how many ``to`` recipients there is room, if so many others get copies."""
        if self.limit is None or not self.limit_counts_copies:
            return self.limit
        room = self.limit // (1 + copies) if self.copies_each else self.limit - copies
        return max(room, 1)


class BatchRecipient(NamedTuple):
    """A recipient of a batch, and what is particular to them: None if there is nothing."""

    email: EmailAddress
    merge_data: Mapping[str, Any] | None = None
    merge_headers: Mapping[str, Any] | None = None
    merge_metadata: Mapping[str, Any] | None = None


def match_recipients(
    emails: Iterable[EmailAddress], entries: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> list[BatchRecipient]:
    """Return recipients with their entries in ``{attribute: {address: entry}}``."""
    emails = list(emails)
    columns = [
        RecipientMap(found).get_all(emails) if (found := entries.get(attr)) else repeat(None)
        for attr in BATCH_ATTRS
    ]
    return list(map(BatchRecipient, emails, *columns))


def partial_messages(
    message: Any,
    defaults: Mapping[str, Any],
    to: Sequence[str | EmailAddress],
    size: int,
    entries: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Iterator[tuple[EmailMessage, Mapping[str, Any]]]:
    """Yield the same message for so many of its ``to`` recipients at a time, and its defaults.

    ``entries`` are what it has for particular recipients, ``{attribute: {address: entry}}``,
    combined with the defaults. Each part has those of its recipients, and one for nobody that has
    all fields there are: providers need these for recipients that lack some.
    """
    defaults = {attr: default for attr, default in defaults.items() if attr not in _PARTIAL_ATTRS}
    maps = {attr: RecipientMap(own) for attr, own in entries.items()}
    of_nobody = {
        attr: {"": dict.fromkeys(chain.from_iterable(own.values()), "")} if own else {}
        for attr, own in entries.items()
    }
    for start in range(0, len(to), size):
        part = copy.copy(message)
        emails = parse_address_list(to[start : start + size], field="to")
        part.to = emails
        for attr, entry_map in maps.items():
            found = zip(emails, entry_map.get_all(emails), strict=True)
            own = {email.addr_spec: entry for email, entry in found if entry is not None}
            setattr(part, attr, {**of_nobody[attr], **own})
        yield part, defaults


# What individual messages have of their own, defaults included
_OWN_ATTRS = frozenset({"to", "metadata", "extra_headers", "merge_global_data", *BATCH_ATTRS})


def individual_messages(
    message: Any, defaults: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[EmailMessage, dict[str, Any]]]:
    """Yield a message for each ``to`` recipient, and its defaults.

    ``values`` are those of the message's attributes, combined with the defaults.
    """
    defaults = {attr: default for attr, default in defaults.items() if attr not in _OWN_ATTRS}
    for recipient in match_recipients(values["to"], values):
        own = copy.copy(message)
        own.to = [str(recipient.email)]
        own.metadata = _merge(values.get("metadata"), recipient.merge_metadata)
        own.merge_global_data = _merge(values.get("merge_global_data"), recipient.merge_data)
        headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(values.get("extra_headers"))
        headers.update(recipient.merge_headers or {})
        own.extra_headers = dict(headers)
        for attr in BATCH_ATTRS:
            setattr(own, attr, UNSET)
        yield own, defaults


def _merge(common: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> Any:
    return {**(common or {}), **(own or {})} or UNSET
