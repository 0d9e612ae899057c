"""Sends with the first of several mailers that takes the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMessage

from ..delivery.strategy import StrategyBackend, mailer_names


class EmailBackend(StrategyBackend):
    """Tries mailers in their order, until one has accepted the message.

    ``mailers`` is a list of their aliases. For the other options see
    :ref:`strategies`.
    """

    def __init__(self, *, mailers: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mailers = mailer_names(mailers, alias=self.alias)

    def route(self, message: EmailMessage) -> Sequence[str]:
        return self.mailers
