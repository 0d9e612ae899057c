"""Comparing secrets and signatures of webhook calls."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from .._docs import docs_of_setting
from ..exceptions import AnymailConfigurationError


def _as_bytes(value: str | bytes) -> bytes:
    # Lone surrogates can come from JSON; they are no reason for an error here.
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def matches(received: str | bytes, expected: str | bytes) -> bool:
    """Tell whether a secret is the expected one, in a time that gives nothing away about it."""
    return hmac.compare_digest(_as_bytes(received), _as_bytes(expected))


def matches_any(received: str | bytes, expected: Iterable[str | bytes]) -> bool:
    """Tell whether a secret is one of those expected, in a time that doesn't tell which."""
    found = False
    for candidate in expected:
        found |= matches(received, candidate)
    return found


def hmac_signature(key: str | bytes, data: str | bytes, digest: str = "sha256") -> hmac.HMAC:
    """Return the HMAC of data; take its ``hexdigest()`` or ``digest()``."""
    return hmac.new(_as_bytes(key), _as_bytes(data), digest)


def ascii_key(key: str, setting: str) -> bytes:
    """Return a key from a setting as bytes.

    Raises AnymailConfigurationError naming the setting if the key is not ASCII, as all are that
    providers give out.
    """
    try:
        return key.encode("ascii")
    except UnicodeEncodeError:
        # The original error has the key.
        raise AnymailConfigurationError(
            f"{setting} has characters that are in no key of any provider (not ASCII).",
            docs=docs_of_setting(setting),
        ) from None
