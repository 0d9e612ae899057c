"""Which messages are meant: ``to=...``, ``subject__contains=...`` and so on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..addresses import EmailAddress, parse_address_list
from ..exceptions import AnymailError
from .mails import SentMail

_ADDRESSES = {"to", "cc", "bcc", "reply_to", "from_email", "envelope_sender"}
_MAPPINGS = {"headers", "metadata", "esp_extra", "merge_global_data"}
_BY_RECIPIENT = {
    "merge_data": "merge_global_data",
    "merge_metadata": "metadata",
    "merge_headers": "headers",
}
_OTHERS = {
    *(
        "attachments",
        "html",
        "later",
        "mailer",
        "message_id",
        "provider",
        "send_at",
        "subject",
        "tags",
    ),
    *("template_id", "text", "track_clicks", "track_opens"),
}
FIELDS = sorted(_ADDRESSES | _MAPPINGS | _OTHERS | _BY_RECIPIENT.keys())

LOOKUPS = ("contains", "icontains", "startswith", "endswith", "regex")

_MISSING: Any = type("_Missing", (), {"__repr__": lambda self: "not there"})()


class Lookup:
    """One condition that a mail meets or not.

    Raises TypeError for a field or lookup that doesn't exist.
    """

    def __init__(self, name: str, expected: Any) -> None:
        self.name = name
        self.expected = expected
        self.field, *rest = name.split("__")
        self.how = rest.pop() if rest and rest[-1] in LOOKUPS else "exact"
        self.key = "__".join(rest)
        if self.field not in FIELDS:
            raise TypeError(f"{name}: there is no field {self.field!r}, only {', '.join(FIELDS)}")
        if self.key and self.field not in _MAPPINGS | _BY_RECIPIENT.keys():
            raise TypeError(f"{name}: there is no lookup {self.key!r}, only {', '.join(LOOKUPS)}")

    def __str__(self) -> str:
        return f"{self.name}={self.expected!r}"

    def difference(self, mail: SentMail) -> str:
        """Return in words how a mail differs; empty if it doesn't."""
        values = list(self._values(mail))
        if any(self._matches(value) for value in values):
            return ""
        shown = " or ".join(_shorten(repr(self._shown(value))) for value in values)
        label = self.name.removesuffix(f"__{self.how}")
        if self.how == "exact":
            return f"{label} is {shown}"
        verb = {
            "contains": "does not contain",
            "icontains": "does not contain (in any case)",
            "startswith": "does not start with",
            "endswith": "does not end with",
            "regex": "does not match",
        }[self.how]
        return f"{label} {verb} {_shorten(repr(self.expected))}: {shown}"

    def _values(self, mail: SentMail) -> Iterator[Any]:
        """Yield what can be meant: it's several values if they are by recipient."""
        value = getattr(mail, self.field)
        if not self.key:
            yield value
        elif self.field in _BY_RECIPIENT:
            common = getattr(mail, _BY_RECIPIENT[self.field])
            items = [{**common, **item} for item in value.values()] or [common]
            yield from (_get(item, self.key) for item in items)
        else:
            yield _get(value, self.key)

    def _shown(self, value: Any) -> Any:
        if self.field == "attachments":
            return [item.name for item in value]
        return value

    def _matches(self, value: Any) -> bool:
        value = self._shown(value)
        if self.field in _ADDRESSES:
            return self._matches_addresses(value)
        if self.how == "exact":
            return self._equals(value)
        if self.how == "contains" and isinstance(value, (list, Mapping)):
            return self._is_in(value)
        return self._matches_text("" if value is None or value is _MISSING else str(value))

    def _matches_text(self, text: str) -> bool:
        expected = str(self.expected)
        return {
            "contains": lambda: expected in text,
            "icontains": lambda: expected.casefold() in text.casefold(),
            "startswith": lambda: text.startswith(expected),
            "endswith": lambda: text.endswith(expected),
            "regex": lambda: re.search(self.expected, text) is not None,
        }[self.how]()

    def _equals(self, value: Any) -> bool:
        if self.field not in ("tags", "attachments"):
            return bool(value == self.expected)
        if isinstance(self.expected, str):
            return self.expected in value
        return sorted(map(str, value)) == sorted(map(str, self.expected))

    def _is_in(self, value: list[Any] | Mapping[str, Any]) -> bool:
        if isinstance(self.expected, Mapping):
            return isinstance(value, Mapping) and self.expected.items() <= value.items()
        wanted = [self.expected] if isinstance(self.expected, str) else self.expected
        return all(item in value for item in wanted)

    def _matches_addresses(self, value: Any) -> bool:
        values: list[str] = [value] if isinstance(value, str) else list(value or ())
        is_text = isinstance(self.expected, str)
        if self.how not in ("exact", "contains") or (self.how == "contains" and is_text):
            return any(self._matches_text(item) for item in values)
        found = [_parse(item) for item in values]
        wanted = [_parse(item) for item in ([self.expected] if is_text else self.expected or ())]
        all_there = all(any(_same(item, other) for other in found) for item in wanted)
        return all_there and (is_text or self.how == "contains" or len(wanted) == len(found))


def _get(mapping: Mapping[str, Any], key: str) -> Any:
    return mapping.get(key, _MISSING)


def _parse(address: str) -> EmailAddress:
    try:
        [parsed] = parse_address_list([address])
    except (AnymailError, ValueError):
        return EmailAddress.as_written("", address)
    return parsed


def _same(wanted: EmailAddress, other: EmailAddress) -> bool:
    """Tell whether an address is the wanted one, and has its display name, if that is given."""
    if wanted.display_name and wanted.display_name != other.display_name:
        return False
    wanted_user, _, wanted_domain = wanted.addr_spec.rpartition("@")
    user, _, domain = other.addr_spec.rpartition("@")
    return (wanted_user, wanted_domain.lower()) == (user, domain.lower())


def _shorten(text: str, length: int = 300) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
