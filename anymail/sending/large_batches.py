"""Batches of which not all recipients are in memory, beside the message itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.mail import EmailMessage

from ..addresses import are_plain_addresses, parse_address_list
from .attributes import DICT_OF_DICTS
from .batches import BATCH_ATTRS, partial_messages

LARGE_BATCH = 500
"""For how many recipients it is worthwhile to find out how it's sent before all are parsed."""


def first_part(message: Any, defaults: Mapping[str, Any]) -> EmailMessage | None:
    """Return a large batch for the first of its recipients only; None if it isn't a large batch.

    The payload for that tells how the batch is to be sent.
    """
    if len(message.to) <= LARGE_BATCH or not {"to", *BATCH_ATTRS}.isdisjoint(defaults):
        return None
    values: dict[str, Any] = {attr: getattr(message, attr, None) for attr in BATCH_ATTRS}
    entries = {attr: value for attr, value in values.items() if DICT_OF_DICTS.is_valid(value)}
    if not entries or not isinstance(message.to, (list, tuple)):
        return None
    [(part, _)] = partial_messages(message, defaults, message.to[:1], 1, entries)
    return part


def addresses_one_by_one(to: Sequence[Any]) -> Sequence[Any]:
    """Return addresses of which each item is one. Raises AnymailInvalidAddress.

    That is the same list, without another copy of all addresses in memory, if they are plain ones.
    """
    return to if are_plain_addresses(to) else parse_address_list(to, field="to")
