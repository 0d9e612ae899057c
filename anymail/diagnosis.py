"""What is wrong with a project's settings, found out without sending: for system checks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from inspect import Parameter, signature
from pkgutil import iter_modules
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from . import __path__ as package_path
from .conf import (
    DJANGO_HAS_MAILERS,
    as_list,
    declared_settings,
    mailers_setting,
    project_settings,
)
from .providers import PROVIDERS, Provider

DEFAULT_BACKEND = "django.core.mail.backends.smtp.EmailBackend"

# Keys of ANYMAIL that no class declares.
_OTHER_KEYS = {"MAILERS", "WEBHOOK_AUTHORIZATION"}


# -- Names of settings ------------------------------------------------------------------------


def anymail_keys() -> Iterator[tuple[str, str]]:
    """Yield all of Anymail's settings in the project: (how it is written there, key)."""
    for key in project_settings():
        yield f"ANYMAIL[{key!r}]", str(key)
    for name in dir(settings):
        if name.startswith("ANYMAIL_"):
            yield name, name.removeprefix("ANYMAIL_")


def unknown_settings() -> Iterator[tuple[str, str]]:
    """Yield (how it is written in the settings, what helps) for keys that have no effect.

    Those of other packages are left alone: keys that are like none of ours.
    """
    for where, key in anymail_keys():
        hint = _hint_for(key)
        if hint is not None:
            yield where, hint


def _hint_for(key: str) -> str | None:
    """Return what helps with a key that has no effect; None if it has one, or nobody knows."""
    prefix, provider = _provider_of_key(key.upper())
    names = _own_names(prefix, provider) if provider else _general_names()
    if not names or key in names:
        return None
    # Of all names of a provider, the beginning is the same.
    rest = {name.removeprefix(prefix): name for name in names}
    wanted = key.upper().removeprefix(prefix)
    if provider is None and any(wanted.endswith(f"_{name}") for name in names):
        return None  # another package's provider
    close = get_close_matches(wanted, rest, n=1, cutoff=0.75 if provider else 0.8)
    if close:
        return f"Did you mean {rest[close[0]]}?"
    if provider is not None:
        return f"The settings of {provider.esp_name} are {', '.join(sorted(names))}."
    misspelt = _misspelt_prefix(key.upper())
    return misspelt and f"Did you mean {misspelt}?"


def _provider_of_key(key: str) -> tuple[str, Provider | None]:
    """Return what a key has in common with all of a provider's, and the provider."""
    for provider in PROVIDERS.values():
        for prefix in provider.settings_prefixes:
            if key.startswith(f"{prefix}_"):
                return f"{prefix}_", provider
    return "", None


def _own_names(prefix: str, provider: Provider) -> set[str]:
    """Return the keys of a provider's settings; none if they can't be known."""
    from .known_settings import settings_of, settings_of_every_provider

    try:
        own = [item.name for item in settings_of(provider)]
    except ImportError:
        return set()  # An extra is missing, which is what mailers' check tells.
    names = {name.removeprefix(f"{provider.settings_prefix}_") for name in own}
    names |= {item.name.removeprefix("<PROVIDER>_") for item in settings_of_every_provider()}
    return {f"{prefix}{name}" for name in names}


def _general_names() -> set[str]:
    from .known_settings import general_settings, webhook_settings

    return {item.name for item in (*general_settings(), *webhook_settings())} | _OTHER_KEYS


def _misspelt_prefix(key: str) -> str | None:
    """Return a key with a provider's name in place of a similar one; None if there is none."""
    words = key.split("_")
    prefixes = [prefix for item in PROVIDERS.values() for prefix in item.settings_prefixes]
    for count in range(1, len(words)):
        found = get_close_matches("_".join(words[:count]), prefixes, n=1, cutoff=0.85)
        if found:
            return "_".join([*found, *words[count:]])
    return None


# -- Mailers ----------------------------------------------------------------------------------


class Mailer(NamedTuple):
    """An email backend that the project's settings name."""

    where: str
    """How it is written there."""
    path: str
    options: Mapping[str, Any]
    """With the alias, if it's one of MAILERS."""


def configured_mailers() -> Iterator[Mailer]:
    """Yield the email backends that the settings name."""
    aliases = mailers_setting()
    name = "MAILERS" if DJANGO_HAS_MAILERS else "ANYMAIL['MAILERS']"
    for alias, config in aliases.items():
        options = {**config.get("OPTIONS", {}), "alias": alias}
        yield Mailer(f"{name}[{alias!r}]", config.get("BACKEND", DEFAULT_BACKEND), options)
    if not (DJANGO_HAS_MAILERS and hasattr(settings, "MAILERS")):
        # Not settings.EMAIL_BACKEND itself: Django 6.1 and later warn about that.
        yield Mailer("EMAIL_BACKEND", settings._wrapped.EMAIL_BACKEND, {})  # type: ignore[misc]


class Unusable(NamedTuple):
    """Why a mailer can't be used."""

    mailer: Mailer
    problem: str
    hint: str
    is_certain: bool
    """Whether it can't be used anywhere: it's not for want of a key or of a package here."""


def unusable_mailers() -> Iterator[Unusable]:
    """Yield the mailers with backends of Anymail's, or derived from these, that can't be made.

    Nothing is sent, and no connection opened.
    """
    for mailer in configured_mailers():
        if mailer.path.startswith("django."):
            continue
        try:
            backend_class: Any = import_string(mailer.path)
        except ImproperlyConfigured as error:
            yield Unusable(mailer, str(error), "", is_certain=False)
            continue
        except ImportError as error:
            if hint := _similar_backend(mailer.path):
                yield Unusable(mailer, str(error), hint, is_certain=True)
            continue
        if _is_ours(backend_class) and (problem := _why_it_fails(backend_class, mailer.options)):
            hint = _similar_options(backend_class, mailer.options)
            yield Unusable(mailer, problem, hint, is_certain=not declared_settings(backend_class))


def beside_sandbox(sandbox: str) -> Iterator[tuple[str, str]]:
    """Yield (what calls, URL without path) for all that does not call the sandbox, but could.

    These are mailers, and settings for what webhooks fetch.
    """
    for mailer in configured_mailers():
        if (url := _api_url(mailer)) and not url.startswith(f"{sandbox}/"):
            yield f"the email backend of {mailer.where}", _origin(url)
    for name in sorted(providers_in_use()):
        for setting, url in _download_urls(PROVIDERS[name]):
            if not url.startswith(f"{sandbox}/"):
                yield f"the webhook with {setting}", _origin(url)


def _api_url(mailer: Mailer) -> str | None:
    """Return the URL that a mailer's backend calls; None if there is none, or it can't be made."""
    try:
        backend_class: Any = import_string(mailer.path)
        if not _is_ours(backend_class):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            backend = backend_class(**mailer.options)
        params = getattr(backend, "client_params", {})
        return str(getattr(backend, "api_url", None) or params["endpoint_url"])
    except Exception:  # noqa: BLE001 (whatever a subclass raises: unusable_mailers tells)
        return None


def _download_urls(provider: Provider) -> Iterator[tuple[str, str]]:
    """Yield (setting, URL) for the APIs that a provider's webhooks call, other than AWS's."""
    for webhook in provider.webhook_views():
        with suppress(ImportError):
            view_class: Any = import_string(webhook.view_path)
            for declared in declared_settings(view_class).values():
                if declared.sandbox is not None:
                    yield declared.full_name(view_class), str(declared.read(view_class))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def usable_mailers() -> Iterator[tuple[Mailer, Any]]:
    """Yield the mailers with backends of Anymail's, or derived from these, and their backends.

    Those that can't be made are left out.
    """
    for mailer in configured_mailers():
        try:
            backend_class: Any = import_string(mailer.path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if _is_ours(backend_class):
                    yield mailer, backend_class(**mailer.options)
        except Exception:  # noqa: BLE001, S112 (whatever a subclass raises: see unusable_mailers)
            continue


def _is_ours(backend_class: Any) -> bool:
    return any(base.__module__.startswith("anymail.") for base in backend_class.__mro__)


def _why_it_fails(backend_class: Any, options: Mapping[str, Any]) -> str | None:
    try:
        with warnings.catch_warnings():
            # They are issued again when it is used.
            warnings.simplefilter("ignore")
            backend = backend_class(**options)
        if getattr(backend, "rate", None) is not None:
            from .delivery.rate import parse_rate

            parse_rate(backend.rate)
        return _wrong_mailers(backend, options.get("alias"))
    except (ImproperlyConfigured, ImportError, TypeError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (whatever a subclass raises)
        return type(error).__name__  # Its text could have anything in it.


def _wrong_mailers(backend: Any, alias: str | None) -> str | None:
    """Return what is wrong with the other mailers that a backend sends with, if it does."""
    from .delivery.strategy import StrategyBackend

    # One that delivers later has a single one. Others' attributes can be anything.
    option = "mailers" if isinstance(backend, StrategyBackend) else "mailer"
    if option == "mailer" and not hasattr(backend, "send_messages_later"):
        return None
    aliases = mailers_setting()
    for name in as_list(getattr(backend, option, ())):
        if name not in aliases:
            close = get_close_matches(name, aliases, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            return f"{option!r} has {name!r}, but there is no such mailer.{hint}"
    if alias is not None and (circle := _find_circle([alias])):
        return f"It would send with itself: {' -> '.join(map(repr, circle))}."
    return None


def _find_circle(path: list[str]) -> list[str] | None:
    """Return the way from a mailer, by others in its "mailers", to itself; None if there is none.

    ``path`` is the way so far.
    """
    options = mailers_setting().get(path[-1], {}).get("OPTIONS", {})
    for name in as_list(options.get("mailers") or options.get("mailer")):
        if name == path[0]:
            return [*path, name]
        if name not in path and (circle := _find_circle([*path, name])):
            return circle
    return None


def _similar_backend(path: str) -> str:
    """Return a hint for a dotted path that can't be imported; empty if it's like none of ours."""
    modules = [item.name for item in iter_modules([f"{package_path[0]}/backends"])]
    known = [f"anymail.backends.{module}.EmailBackend" for module in modules]
    close = get_close_matches(path, known, n=1, cutoff=0.85)
    if close:
        return f"Did you mean {close[0]}?"
    if path.partition(".")[0] == "anymail":
        return "Anymail's backends are anymail.backends.<provider>.EmailBackend."
    return ""


def _similar_options(backend_class: Any, options: Iterable[str]) -> str:
    known = {name for item in declared_settings(backend_class).values() for name in item.options}
    known |= {
        name
        for base in backend_class.__mro__
        for name, parameter in signature(base.__init__).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }
    found = [get_close_matches(name, known, n=1) for name in options if name not in known]
    return " ".join(f"Did you mean {close[0]!r}?" for close in found if close)


def providers_in_use() -> set[str]:
    """Return the names of the providers whose backends or settings the project has."""
    used = {
        provider.module
        for _, key in anymail_keys()
        if (provider := _provider_of_key(key.upper())[1]) is not None
    }
    for mailer in configured_mailers():
        try:
            backend_class: Any = import_string(mailer.path)
        except ImportError:
            continue
        modules = {base.__module__ for base in backend_class.__mro__}
        used |= {name for name in PROVIDERS if f"anymail.backends.{name}" in modules}
    return used
