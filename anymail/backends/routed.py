"""Sends each message with the mailer that a function of the project chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.utils.module_loading import import_string

from ..delivery.strategy import StrategyBackend, strategy_error
from ..sending.waiting import in_thread


class EmailBackend(StrategyBackend):
    """Asks a function for the mailer of each message.

    ``choose`` is the function or its dotted path: it gets the message, and returns the alias of a
    mailer (which can be a failover backend). For the other options see
    :ref:`strategies`.
    """

    def __init__(
        self, *, choose: Callable[[EmailMessage], str] | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(choose, str):
            try:
                choose = import_string(choose)
            except ImportError as err:
                raise strategy_error(
                    f"Could not find 'choose' {choose!r}: {err}", self.alias
                ) from err
        if not callable(choose):
            raise strategy_error(
                "OPTIONS must have 'choose', a function or its dotted path.", self.alias
            )
        self.choose: Callable[[EmailMessage], str] = choose

    def route(self, message: EmailMessage) -> Sequence[str]:
        mailer = in_thread(self.choose, message)
        if not isinstance(mailer, str):
            raise TypeError(
                f"'choose' must return the alias of a mailer (str), not {type(mailer).__name__}"
            )
        return [mailer]
