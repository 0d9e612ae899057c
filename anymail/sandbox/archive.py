"""What the sandbox has received, in files: so that it is still there when it is started again."""

from __future__ import annotations

import json
import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from requests.structures import CaseInsensitiveDict

from ..addresses import EmailAddress

FORMAT = 1
"""Of the files. Those in another one are refused."""

logger = logging.getLogger("anymail.sandbox")


class Archive:
    """A directory with a file for each item: dataclasses, which are all of ``classes``.

    It is made if it isn't there; only its owner can read what is in it. Raises OSError.
    """

    def __init__(self, directory: str | os.PathLike[str], *classes: type) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._classes = {item.__name__: item for item in classes}

    def load(self, kind: str) -> list[Any]:
        """Return all items of a kind, in order. Raises ValueError for a file that can't be read."""
        items = []
        for path in sorted(self._directory.glob(f"[0-9]*.{kind}.json")):
            try:
                data = json.loads(path.read_text("utf-8"))
                if data["format"] != FORMAT:
                    raise ValueError(f"it is of format {data['format']!r:.20}")
                items.append(self._decode(data[kind]))
            except (AttributeError, LookupError, TypeError, ValueError) as err:
                raise ValueError(f"{path} can't be read: {err}") from err
        return items

    def save(self, kind: str, number: int, item: Any) -> None:
        """Keep an item, in place of an earlier one with this number. Failure is logged."""
        path = self._path(kind, number)
        new = path.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"format": FORMAT, kind: self._encode(item)}, file)
            new.replace(path)
        except OSError as err:
            logger.error("Not stored: %s", err)  # noqa: TRY400 (all there is to know)

    def delete(self, kind: str, number: int) -> None:
        """Forget an item."""
        self._path(kind, number).unlink(missing_ok=True)

    def _path(self, kind: str, number: int) -> Path:
        return self._directory / f"{number:09}.{kind}.json"

    # JSON has no bytes, tuples and objects: these are arrays that begin with their type.

    def _encode(self, value: Any) -> Any:
        if isinstance(value, EmailAddress):
            return ["address", value.display_name, value.addr_spec]
        if is_dataclass(value):
            items = {field.name: getattr(value, field.name) for field in fields(value)}
            return [type(value).__name__, self._encode(items)]
        if isinstance(value, bytes):
            return ["bytes", b64encode(value).decode()]
        if isinstance(value, CaseInsensitiveDict):
            return ["headers", self._encode(dict(value.items()))]
        if isinstance(value, Mapping):
            return {str(name): self._encode(item) for name, item in value.items()}
        if isinstance(value, tuple | list):
            return [type(value).__name__, *map(self._encode, value)]
        return value

    def _decode(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._decode(item) for name, item in value.items()}
        if not isinstance(value, list):
            return value
        kind, *rest = value
        if kind in self._classes:
            return self._classes[kind](**self._decode(rest[0]))
        return _DECODERS[kind](*map(self._decode, rest))


_DECODERS: dict[str, Any] = {
    "address": EmailAddress.as_written,
    "bytes": b64decode,
    "headers": CaseInsensitiveDict,
    "list": lambda *items: list(items),
    "tuple": lambda *items: items,
}
