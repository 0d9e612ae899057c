"""What in a message is for particular mailers: their own esp_extra, their own ids of templates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ..datastructures import UNSET, merge_dicts_deep

if TYPE_CHECKING:
    from ..backends.base import AnymailBaseBackend


def esp_extra_for(backend: AnymailBaseBackend, esp_extra: Mapping[str, Any]) -> Any:
    """Return what of a message's esp_extra is for a backend.

    That is all of it, unless its keys are names of providers or mailers; then what these have, or
    UNSET. A mailer's comes over its provider's. Raises TypeError if that isn't a dict.
    """
    if not (
        esp_extra and all(key in _provider_names() or key in backend._mailers for key in esp_extra)
    ):
        return esp_extra
    chosen = []
    names = [*_names_of_provider(type(backend)), *([backend.alias] if backend.alias else [])]
    for name in names:
        extra = esp_extra.get(name, UNSET)
        if extra is not UNSET and extra is not None and not isinstance(extra, Mapping):
            raise TypeError(f'"esp_extra" for {name!r} must be a dict')
        chosen.append(extra)
    return merge_dicts_deep(*chosen)


@cache
def _provider_names() -> dict[str, tuple[str, ...]]:
    """Return all names of providers, with all names of the same provider."""
    from ..providers import PROVIDERS  # Few messages have an esp_extra.

    all_names = [(provider.module, *provider.former_names) for provider in PROVIDERS.values()]
    return {name: names for names in all_names for name in names}


def _names_of_provider(backend_class: type) -> tuple[str, ...]:
    """Return the names of the provider whose backend a class is, or is derived from."""
    modules = [base.__module__.rpartition(".") for base in backend_class.__mro__]
    names = (name for package, _, name in modules if package == "anymail.backends")
    return next(filter(None, map(_provider_names().get, names)), ())


def checked_template_ids(value: Any) -> dict[str, Any]:
    """Return the ids in TEMPLATE_IDS, by names. ValueError: it's not a dict."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a dict of names and ids")  # noqa: TRY004
    return {str(name): template_id for name, template_id in value.items()}
