"""Copies of messages, so that an attempt to send one changes nothing for the next attempt."""

from __future__ import annotations

import copy
from email.message import Message
from typing import Any

from django.core.mail import EmailMessage

from ..datastructures import UNSET
from ..sending.journey import clear_outcome

# The types of nearly all attributes, and of what is in them
_UNCHANGEABLE = frozenset({str, int, bool, float, bytes, type(None), type(UNSET)})


def copy_message(message: EmailMessage) -> EmailMessage:
    """Return a copy of a message whose lists, dicts and attachments are its own.

    Everything else is shared, such as files and locks that users keep on their messages.
    """
    result = copy.copy(message)
    # Not vars(result) itself: a subclass can have attributes that are more than their values.
    for name, value in vars(message).items():
        if type(value) not in _UNCHANGEABLE and isinstance(value, (list, dict, Message)):
            vars(result)[name] = _copied(value)
    for name in ("connection", "_connection"):  # Django 6.1 has a property for it.
        if name in vars(result):
            vars(result)[name] = None
    # What became of it when it was sent before says nothing about this attempt.
    clear_outcome(result)
    return result


def _copied(value: Any) -> Any:
    if type(value) in _UNCHANGEABLE:
        return value
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, dict):
        return copy.copy(value)
    if isinstance(value, Message):
        # Its text and headers can't be changed, so that they are not really copied.
        return copy.deepcopy(value)
    return value
