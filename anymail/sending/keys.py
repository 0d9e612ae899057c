"""Idempotency keys: what a message's key can be, and what is made of it for providers.

A provider that gets the same key again, soon after, doesn't send the message again.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from ..datastructures import UNSET

MAX_LENGTH = 255

KEY_IN_METADATA = "anymail_key"
"""Under this name, what stands for a message's key travels in its metadata, for the provider's
events to tell that it was sent. No receiver gets to see it."""

# For what is made of keys. It must stay as it is: calls with the same key must look the same.
_NAMESPACE = uuid.UUID("8f7f0c1e-3a0e-4c52-9a1b-6f2b7c0d5e94")


def checked_key(key: Any) -> str:
    """Return a key. Raises ValueError if it can't be one."""
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= MAX_LENGTH
        or not (key.isascii() and key.isprintable())
    ):
        raise ValueError(
            f"idempotency_key must be a str of 1 to {MAX_LENGTH} printable ASCII characters"
        )
    return key


def idempotency_key(message: Any) -> str | None:
    """Return a message's key. Raises ValueError if it can't be one."""
    key = getattr(message, "idempotency_key", None)
    return None if key is None or key is UNSET else checked_key(key)


def as_uuid(key: str) -> str:
    """Return a key as a UUID: the key itself, if it's one, or else what is made of it."""
    try:
        if str(uuid.UUID(key)) == key.lower():
            return key
    except ValueError:
        pass
    return str(uuid.uuid5(_NAMESPACE, key))


def shortened(key: str, max_length: int) -> str:
    """Return a key that has no more than so many characters, 36 at least."""
    return key if len(key) <= max_length else as_uuid(key)


_FEW = 10


def random_ids(count: int) -> list[str]:
    """Return so many random UUIDs. Many take a quarter of the time of ``uuid.uuid4()``."""
    if count < _FEW:
        return [str(uuid.uuid4()) for _ in range(count)]
    all_digits = os.urandom(16 * count).hex()
    return [_as_uuid4(all_digits[start : start + 32]) for start in range(0, 32 * count, 32)]


def _as_uuid4(digits: str) -> str:
    """Return a UUID of version 4 with these 32 hexadecimal digits, but for the fixed bits."""
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def derived_id(key: str, *details: str) -> str:
    """Return a UUID for something in a message with a key. It's the same each time."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join([key, *details])))
