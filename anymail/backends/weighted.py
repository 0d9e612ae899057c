"""Shares messages out among several mailers."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from django.core.mail import EmailMessage

from ..delivery.strategy import StrategyBackend, mailer_names, strategy_error


class EmailBackend(StrategyBackend):
    """Gives each mailer its share of the messages, and tries the others if that doesn't take one.

    ``mailers`` is a dict of aliases and weights: numbers that say how large the shares are,
    compared with one another. Messages are shared out by chance; with ``sticky`` "recipient" or
    "domain", all messages to the same (first) recipient, or domain, go to the same mailer, as long
    as mailers and weights stay the same. For the other options see
    :ref:`strategies`.
    """

    def __init__(
        self,
        *,
        mailers: Mapping[str, float] | None = None,
        sticky: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(mailers, Mapping):
            raise strategy_error(
                "OPTIONS must have 'mailers', a dict of aliases and weights.", self.alias
            )
        self.mailers = mailer_names(mailers, alias=self.alias)
        self.weights = dict(mailers)
        for mailer, weight in self.weights.items():
            if not isinstance(weight, (int, float)) or not weight > 0 or math.isinf(weight):
                raise strategy_error(
                    f"'mailers' must have a number above 0 for {mailer!r}, not {weight!r:.100}.",
                    self.alias,
                )
        if sticky not in (None, "recipient", "domain"):
            raise strategy_error(
                f'\'sticky\' must be "recipient" or "domain", not {sticky!r:.100}.', self.alias
            )
        self.sticky = sticky

    def route(self, message: EmailMessage) -> Sequence[str]:
        key = self._key(message)
        return sorted(self.mailers, key=lambda mailer: self._rank(mailer, key))

    def _key(self, message: EmailMessage) -> str | None:
        """Return what decides on the order of mailers; None for chance."""
        recipients = message.recipients()
        if self.sticky is None or not recipients:
            return None
        address = recipients[0].rpartition("<")[2].strip(" >").lower()
        return address if self.sticky == "recipient" else address.rpartition("@")[2]

    def _rank(self, mailer: str, key: str | None) -> float:
        # Weighted rendezvous hashing: each mailer comes first for its share of keys, and is second
        # for a share of the others' that is as large.
        number = random.random() if key is None else _hash(f"{mailer}\n{key}")  # noqa: S311
        return -math.log(number or math.ulp(0)) / self.weights[mailer]


def _hash(text: str) -> float:
    """Return a number from 0 to 1, always the same for the same text."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
