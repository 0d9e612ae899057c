"""Values that may be unset, and how the values of several levels of settings combine.

Nothing here imports an HTTP library: settings lookup and system checks depend on this module,
and run in processes that never send a message.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, MutableMapping
from itertools import chain
from typing import Any, TypeAlias

from django.utils.functional import Promise

from .methods import collect_all_methods  # noqa: F401 (others may import it from here)


class _UnsetType(type):
    def __repr__(cls) -> str:
        return "<UNSET>"


class UNSET(metaclass=_UnsetType):
    """Marks an attribute or argument that was not given, where ``None`` has a meaning of its own.

    The class itself is the marker. Classes pickle, copy and deep-copy by reference, so identity
    holds in messages that have been through a task queue.
    """


Unset: TypeAlias = type[UNSET]
"""The type of :data:`UNSET`, for annotations: ``tags: list[str] | None | Unset``."""


# ---------------------------------------------------------------------------------------------
# Combiners: (default, value on the message) -> effective value
# ---------------------------------------------------------------------------------------------


def _effective(values: Iterable[Any]) -> list[Any]:
    """Return the values that take part in a combination.

    UNSET values are skipped; None discards everything before it.
    """
    result: list[Any] = []
    for value in values:
        if value is None:
            result.clear()
        elif value is not UNSET:
            result.append(value)
    return result


def last_value(*args: Any) -> Any:
    """Return the last set value, or UNSET if there is none or it is None."""
    for value in reversed(args):
        if value is None:
            break
        if value is not UNSET:
            return value
    return UNSET


last = last_value
"""Its former name."""


def concat_lists(*args: Any) -> Any:
    """Return a new list with the items of all the iterables, or UNSET if there are none."""
    values = _effective(args)
    if not values:
        return UNSET
    return [item for value in values for item in value]


def merge_dicts_shallow(*args: Any) -> Any:
    """Return a copy of the first mapping, updated with the others; UNSET if there are none."""
    values = _effective(args)
    if not values:
        return UNSET
    result = copy.copy(_mutable(values[0]))
    for value in values[1:]:
        result.update(value)
    return result


def merge_dicts_deep(*args: Any) -> Any:
    """Return a deep copy of the first mapping, recursively updated with the others.

    UNSET if there are none. See :func:`update_deep`.
    """
    values = _effective(args)
    if not values:
        return UNSET
    result = copy.deepcopy(_mutable(values[0]))
    for value in values[1:]:
        # A copy, because what it adds to the result can be updated by the next one.
        update_deep(result, copy.deepcopy(_mutable(value)))
    return result


def _mutable(value: Mapping[Any, Any]) -> MutableMapping[Any, Any]:
    return value if isinstance(value, (dict, MutableMapping)) else dict(value)


def merge_dicts_one_level(*args: Any) -> Any:
    """Combine mappings of mappings, such as ``{address: {name: value}}``.

    Keys of the first level are united, their values updated shallowly. The result and its values
    are plain, new dicts; UNSET if there are no arguments.
    """
    values = _effective(args)
    if not values:
        return UNSET
    result: dict[Any, dict[Any, Any]] = {}
    for value in values:
        for key, inner in value.items():
            result.setdefault(key, {}).update(inner)
    return result


def update_deep(dct: MutableMapping[Any, Any], other: Mapping[Any, Any]) -> None:
    """Update ``dct`` in place with ``other``, recursing where both values are mappings.

    Anything else, lists included, is replaced. Values taken from ``other`` are not copied.
    """
    for key, value in other.items():
        current = dct.get(key)
        if isinstance(current, MutableMapping) and isinstance(value, Mapping):
            update_deep(current, value)
        else:
            dct[key] = value


def getfirst(dct: Mapping[Any, Any], keys: Iterable[Any], default: Any = UNSET) -> Any:
    """Return the value of the first of ``keys`` that is present.

    Raises KeyError, listing the keys, if none is and there is no default.
    """
    keys = list(keys)
    for key in keys:
        if key in dct:
            return dct[key]
    if default is UNSET:
        raise KeyError("None of {} found".format(", ".join(map(repr, keys))))
    return default


# ---------------------------------------------------------------------------------------------
# Lazy strings
# ---------------------------------------------------------------------------------------------


def is_lazy(obj: Any) -> bool:
    """Tell whether ``obj`` is one of Django's lazy strings (gettext_lazy and such)."""
    return isinstance(obj, Promise)


def force_non_lazy(obj: Any) -> Any:
    """Return str(obj) if it is lazy, otherwise ``obj`` unchanged."""
    return str(obj) if isinstance(obj, Promise) else obj


_NOT_LAZY = frozenset({str, int, float, bool, type(None)})
"""Types of most of the values in messages: there is nothing to do about these."""


def force_non_lazy_list(obj: Any) -> Any:
    """Return a new list of ``obj``'s items, lazy ones resolved; other values as force_non_lazy."""
    if is_lazy(obj):
        return str(obj)
    try:
        items = iter(obj)
    except TypeError:
        return obj
    return [force_non_lazy(item) for item in items]


def force_non_lazy_dict(obj: Any) -> Any:
    """Return a new plain dict in which lazy values are resolved, also in nested mappings.

    Keys and lists are left alone. A value that is no mapping is treated as force_non_lazy does.
    """
    if type(obj) is dict:
        types = set(map(type, obj.values()))
        if types <= _NOT_LAZY:
            return obj.copy()
        if types == {dict}:  # as what differs between recipients
            inner = chain.from_iterable(map(dict.values, obj.values()))
            if _NOT_LAZY.issuperset(map(type, inner)):
                return dict(zip(obj, map(dict.copy, obj.values()), strict=True))
    if hasattr(obj, "items"):
        return {key: force_non_lazy_dict(value) for key, value in obj.items()}
    return force_non_lazy(obj)
