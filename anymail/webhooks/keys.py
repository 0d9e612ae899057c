"""The keys that verify the signatures of webhook calls.

A setting can have several that are valid, so that one can be replaced without losing calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from .._docs import docs_of_setting
from ..conf import as_list
from ..exceptions import AnymailConfigurationError
from .public_keys import is_signature, load_public_key
from .signatures import ascii_key, matches_any


class SigningKeys:
    """The keys of a webhook. Without any, no signature is right."""

    def __init__(self, keys: Sequence[Any], setting: str) -> None:
        self.configured = keys
        self.setting = setting
        """The name of the setting that they are from, for errors."""

    def __bool__(self) -> bool:
        return bool(self.configured)

    @property
    def first(self) -> Any:
        """The only key, or the first one; None if there is none."""
        return self.configured[0] if self.configured else None


class SharedKeys(SigningKeys):
    """Keys that the provider has, too."""

    @classmethod
    def of_ascii(cls, keys: Iterable[str], setting: str, *, required: bool = True) -> SharedKeys:
        """Return keys that are ASCII text.

        Raises AnymailConfigurationError if they are not, or if there is none but one is required.
        """
        found = cls([ascii_key(key, setting) for key in keys], setting)
        if required and not found:
            raise AnymailConfigurationError(
                f"{setting} must not be empty.", docs=docs_of_setting(setting)
            )
        return found

    def have_made(self, received: Iterable[str], sign: Callable[[Any], str | bytes]) -> bool:
        """Tell whether one of the signatures is what ``sign`` returns for one of the keys.

        The time that it takes doesn't tell which.
        """
        right = [sign(key) for key in self.configured]
        found = False
        for signature in received:
            found |= matches_any(signature, right)
        return found


class PublicKeys(SigningKeys):
    """Public keys, in base64 of their DER, or as PEM. One, or a list of several.

    They are loaded when they are needed first. That raises AnymailConfigurationError if there is
    none, or if they are something else than keys, or of another type; and
    AnymailImproperlyInstalled without the cryptography package.
    """

    def __init__(
        self,
        keys: Any,
        setting: str,
        *,
        key_type: Literal["RSA", "EC"],
        source: str,
        esp_name: str,
        install_extra: str,
    ) -> None:
        super().__init__([key for key in as_list(keys) if key], setting)
        self._loaded: list[Any] | None = None
        self._details: dict[str, Any] = {
            "key_type": key_type,
            "source": source,
            "esp_name": esp_name,
            "install_extra": install_extra,
        }

    def load(self) -> list[Any]:
        """Return the keys as those of the cryptography package."""
        if self._loaded is None:
            # All of them, so that a mistake in any is found.
            self._loaded = [
                load_public_key(key, setting=self.setting, **self._details)
                for key in self.configured or [None]
            ]
        return self._loaded

    def have_made(
        self, signature: str, data: bytes, digest: Literal["SHA1", "SHA256"] = "SHA256"
    ) -> bool:
        """Tell whether a signature of data, in base64, was made with one of the private keys."""
        return any(is_signature(key, signature, data, digest) for key in self.load())
