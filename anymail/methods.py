"""Methods of a class and its bases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def collect_all_methods(cls: type, method_name: str) -> list[Callable[..., Any]]:
    """Return every distinct function called ``method_name`` in the class and its bases.

    In method resolution order: a subclass's own definition comes first.
    """
    found: list[Callable[..., Any]] = []
    for base in cls.__mro__:
        method = vars(base).get(method_name)
        if method is not None and method not in found:
            found.append(method)
    return found
