"""The attributes of messages: one row for each, which says all about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Any, NoReturn, TypeAlias

from ..addresses import parse_address_list, parse_single_address
from ..datastructures import (
    concat_lists,
    force_non_lazy,
    force_non_lazy_dict,
    force_non_lazy_list,
    is_lazy,
    last_value,
    merge_dicts_deep,
    merge_dicts_one_level,
    merge_dicts_shallow,
)

Combiner: TypeAlias = Callable[..., Any]
"""Combines the default for an attribute and a message's value. Either can be UNSET."""

Converter: TypeAlias = Callable[..., Any]
"""Takes the value of an attribute, and returns what its ``set_...`` method gets."""

MessageAttr: TypeAlias = tuple[str, Combiner | None, Converter | str | None]
"""(attribute, combiner with SEND_DEFAULTS, converter or the name of a payload method)"""


class ValueType:
    """A type that an attribute's value must have."""

    def __init__(self, is_valid: Callable[[Any], bool], name: str) -> None:
        self.is_valid = is_valid
        self.name = name


def is_list(value: Any) -> bool:
    """Tell whether a value is a list or other iterable, but not text."""
    if isinstance(value, (list, tuple)):
        return True
    return isinstance(value, Iterable) and not (isinstance(value, (str, bytes)) or is_lazy(value))


def _is_dict(value: Any) -> bool:
    return isinstance(value, (dict, Mapping))  # dict: much quicker than Mapping alone


def _is_dict_of_dicts(value: Any) -> bool:
    if not _is_dict(value):
        return False
    types = set(map(type, value.values()))
    return types <= {dict} or all(map(_is_dict, value.values()))


LIST = ValueType(is_list, "a list or other iterable")
DICT = ValueType(_is_dict, "a dict")
DICT_OF_DICTS = ValueType(_is_dict_of_dicts, "a dict of address: dict")


class MessageAttribute:
    """What is known about an attribute of messages."""

    def __init__(
        self,
        attr: str,
        combiner: Combiner | None,
        converter: Converter | str | None,
        *,
        value_type: ValueType | None = None,
        validate: str | None = None,
        choose: str | None = None,
        adapt: str | None = None,
        check: str | None = None,
        makes_batch: bool = False,
        setter: str | None = None,
    ) -> None:
        self.attr = attr
        self.combiner = combiner
        """Combines the value with that of SEND_DEFAULTS. Without one, there is no default."""
        self.converter = converter
        """A function, or the name of a method of the payload."""
        self.value_type = value_type
        """What a value must be, also in SEND_DEFAULTS. If None, it can be anything."""
        self.validate = validate
        """A method of the payload that gets attribute and value as they are on the message."""
        self.choose = choose
        """A method of the backend that gets a value, the message's or the one in SEND_DEFAULTS, and
        returns what of it is for this backend; UNSET for nothing."""
        self.adapt = adapt
        """A method of the payload that gets the value, combined and converted, and returns
        another."""
        self.check = check
        """A method that gets attribute and value, combined and converted."""
        self.makes_batch = makes_batch
        """Whether it asks for an individual message to each ``to`` recipient."""
        self.setter = setter or f"set_{attr}"
        """The method that gets the value in the end."""
        self.is_valid = None if value_type is None else value_type.is_valid
        """Tells whether a value has that type."""
        self._know_functions()

    def _know_functions(self) -> None:
        """Note what follows from the combiner and the converter."""
        combiner, converter = self.combiner, self.converter
        self.needs_value = combiner in (None, *COMBINERS)
        """Whether nothing comes of it if neither the message nor SEND_DEFAULTS has a value."""
        self.combines_alone = not (
            combiner in (None, last_value)
            or (combiner in _SHALLOW_COMBINERS and converter in _COPYING_CONVERTERS)
        )
        """Whether the combiner is to be called for a value without a default. Of those that are
        known, it would do no more then than copy a part of what the converter copies."""
        self.method = converter if isinstance(converter, str) else None
        """The method of the payload that converts the value."""
        self.convert: Callable[[Any], Any] | None = None
        """The function that does."""
        if converter is parse_address_list or converter is parse_single_address:
            self.convert = partial(converter, field=self.attr)
        elif not isinstance(converter, str):
            self.convert = converter

    @classmethod
    def of(cls, row: MessageAttr | MessageAttribute) -> MessageAttribute:
        """Return all that is known about an attribute in a row of a payload's tables."""
        if isinstance(row, MessageAttribute):
            return row
        attr, combiner, converter = row
        known = KNOWN.get(attr)
        if known is None:
            return cls(attr, combiner, converter)
        if known.combiner is combiner and known.converter is converter:
            return known
        changed = copy(known)
        changed.combiner, changed.converter = combiner, converter
        changed._know_functions()
        return changed

    def as_row(self) -> MessageAttr:
        """Return it in the short form."""
        return self.attr, self.combiner, self.converter

    def refuse(self, where: str) -> NoReturn:
        """Raise TypeError for what Python would otherwise misread or complain about elsewhere."""
        assert self.value_type is not None
        raise TypeError(f'"{self.attr}" {where} must be {self.value_type.name}')


COMBINERS = (
    concat_lists,
    last_value,
    merge_dicts_deep,
    merge_dicts_one_level,
    merge_dicts_shallow,
)


_SHALLOW_COMBINERS = (concat_lists, merge_dicts_one_level, merge_dicts_shallow)
"""They copy lists and dicts, but not what is in these."""

_COPYING_CONVERTERS = (force_non_lazy_dict, force_non_lazy_list, parse_address_list)
"""They return new lists and dicts, at all levels."""


def _addresses(attr: str) -> MessageAttribute:
    return MessageAttribute(
        attr, concat_lists, parse_address_list, validate="validate_not_bare_string"
    )


DJANGO_ATTRIBUTES = (
    MessageAttribute("from_email", last_value, parse_address_list, setter="set_from_email_list"),
    _addresses("to"),
    _addresses("cc"),
    _addresses("bcc"),
    MessageAttribute("subject", last_value, force_non_lazy, check="check_header_value"),
    _addresses("reply_to"),
    MessageAttribute(
        "extra_headers",
        merge_dicts_shallow,
        force_non_lazy_dict,
        value_type=DICT,
        check="_check_headers",
        setter="process_extra_headers",
    ),
    MessageAttribute("body", last_value, force_non_lazy),
    MessageAttribute("alternatives", concat_lists, "prepped_alternatives", value_type=LIST),
    MessageAttribute("attachments", concat_lists, "prepped_attachments", value_type=LIST),
)


def _dict(attr: str, combiner: Combiner, **details: Any) -> MessageAttribute:
    return MessageAttribute(attr, combiner, force_non_lazy_dict, value_type=DICT, **details)


def _for_recipients(
    attr: str, combiner: Combiner | None, check: str | None = None
) -> MessageAttribute:
    return MessageAttribute(
        attr, combiner, force_non_lazy_dict, value_type=DICT_OF_DICTS, check=check, makes_batch=True
    )


ANYMAIL_ATTRIBUTES = (
    MessageAttribute("envelope_sender", last_value, parse_single_address),
    _dict("metadata", merge_dicts_shallow),
    MessageAttribute("send_at", last_value, "aware_datetime"),
    MessageAttribute("tags", concat_lists, force_non_lazy_list, value_type=LIST),
    MessageAttribute("track_clicks", last_value, None),
    MessageAttribute("track_opens", last_value, None),
    MessageAttribute("template_id", last_value, force_non_lazy, adapt="adapt_template_id"),
    _for_recipients("merge_data", merge_dicts_one_level),
    _dict("merge_global_data", merge_dicts_shallow),
    _for_recipients("merge_headers", None, check="_check_merge_headers"),
    _for_recipients("merge_metadata", merge_dicts_one_level),
    _dict("esp_extra", merge_dicts_deep, choose="choose_esp_extra"),
)

KNOWN = {row.attr: row for row in (*DJANGO_ATTRIBUTES, *ANYMAIL_ATTRIBUTES)}
