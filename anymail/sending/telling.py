"""Telling of what fails: mail that fails in the course of that isn't told of again.

Such as with Django's AdminEmailHandler, which mails what is logged about mail that fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

_is_telling: ContextVar[bool] = ContextVar("anymail_is_telling", default=False)


def is_telling() -> bool:
    """Tell whether a failure is being logged, or told receivers of send_failed."""
    return _is_telling.get()


@contextmanager
def telling() -> Iterator[None]:
    """Let what is logged or told within be about a failure."""
    token = _is_telling.set(True)
    try:
        yield
    finally:
        _is_telling.reset(token)


def log(logger: logging.Logger, level: int, text: str, *args: Any, **kwargs: Any) -> None:
    """Log that something failed; at DEBUG only, if that was in telling of another failure."""
    if is_telling():
        logger.debug(text, *args, **kwargs)
        return
    with logging_of_failure():
        logger.log(level, text, *args, **kwargs)


@contextmanager
def logging_of_failure() -> Iterator[None]:
    """Let what is logged within be about a failure, whatever log handlers make of that.

    AdminEmailHandler raises what sending its mail raises.
    """
    with telling(), suppress(Exception):
        yield
