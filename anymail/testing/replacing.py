"""In place of the project's mailers: the settings that are in use while an outbox is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.test import override_settings
from django.utils.module_loading import import_string

from ..backends.later import EmailBackend as LaterBackend
from ..conf import DJANGO_HAS_MAILERS, mailers_setting, project_settings
from ..delivery.strategy import StrategyBackend
from ..diagnosis import DEFAULT_BACKEND
from .later import OutboxEngine, options_with_engine
from .records import Records
from .stand_ins import stand_in

_LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
_STAND_IN = f"{__name__}.StandIn"
_OLD_MAILERS = "anymail.backends.mailers.EmailBackend"


class Replacement:
    """Stand-ins for mailers, which write to an outbox's records.

    ``as_if`` is the name of the provider that all of them are to be of; ``mailers`` are those to
    be replaced, if not the project's.
    """

    def __init__(
        self,
        records: Records,
        as_if: str | None,
        mailers: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        self.records = records
        self._as_if = as_if
        self._given = mailers
        self._originals: dict[str, tuple[str, Mapping[str, Any]]] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have the settings name the stand-ins."""
        override = override_settings(**self._settings())
        with _no_deprecation_warnings():
            override.enable()
        _in_use.append(self)
        try:
            yield
        finally:
            _in_use.remove(self)
            with _no_deprecation_warnings():
                override.disable()

    @property
    def aliases(self) -> list[str]:
        """The aliases of the mailers."""
        return list(self._originals)

    def _settings(self) -> dict[str, Any]:
        """Return the settings to be in use: the project's, with stand-ins for its mailers."""
        anymail_settings = {**project_settings(), "DELIVERY_CACHE": None, "SANDBOX": None}
        given = self._given
        configured, email_backend = _mail_settings() if given is None else (given, _OLD_MAILERS)
        self._originals = {
            alias: (config.get("BACKEND", DEFAULT_BACKEND), config.get("OPTIONS", {}))
            for alias, config in configured.items()
        }
        stand_ins = {alias: _replaced(alias, config) for alias, config in configured.items()}
        if DJANGO_HAS_MAILERS and configured:
            return {"ANYMAIL": anymail_settings, "MAILERS": stand_ins}
        if configured:
            anymail_settings["MAILERS"] = stand_ins
        if email_backend != _OLD_MAILERS:
            self._originals[""] = (email_backend, {})
            email_backend = _STAND_IN
        return {"ANYMAIL": anymail_settings, "EMAIL_BACKEND": email_backend}

    def make_stand_in(
        self, instead_of: str, alias: str | None, options: Mapping[str, Any]
    ) -> BaseEmailBackend:
        """Return what takes the place of a mailer; of EMAIL_BACKEND, if that's an empty text."""
        path, configured = self._originals[instead_of]
        return stand_in(self.records, path, {**configured, **options}, alias, self._as_if)


_in_use: list[Replacement] = []


def _current() -> Replacement:
    if not _in_use:
        raise RuntimeError("The outbox is not in use any more")
    return _in_use[-1]


class StandIn:
    """What settings have in place of a mailer: makes a backend for the outbox that is in use."""

    def __new__(  # type: ignore[misc]
        cls, *, instead_of: str = "", alias: str | None = None, **options: Any
    ) -> BaseEmailBackend:
        return _current().make_stand_in(instead_of, alias, options)


class LaterEngine(OutboxEngine):
    """What settings have in place of the engine of a mailer that delivers later."""

    def __init__(self) -> None:
        super().__init__(_current().records.note_queued)


def _mail_settings() -> tuple[Mapping[str, Mapping[str, Any]], str]:
    """Return the project's mailers and its EMAIL_BACKEND, not those that test runs put there."""
    current = mailers_setting()
    email_backend: str = settings._wrapped.EMAIL_BACKEND  # type: ignore[misc]
    for config in apps.get_app_configs():
        at_start = getattr(config, "mail_settings_at_start", None)
        if at_start is None:
            continue
        is_replaced = current and all(item == {"BACKEND": _LOCMEM} for item in current.values())
        if DJANGO_HAS_MAILERS and is_replaced:
            current = at_start["MAILERS"] or current
        if email_backend == _LOCMEM:
            email_backend = at_start["EMAIL_BACKEND"]
    return current, email_backend


@contextmanager
def _no_deprecation_warnings() -> Iterator[None]:
    # Django 6.1 warns of EMAIL_BACKEND, as it has warned the project before.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield


def _replaced(alias: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a mailer as they are to be in use."""
    try:
        backend_class: Any = import_string(config.get("BACKEND", DEFAULT_BACKEND))
    except (ImportError, ImproperlyConfigured):
        backend_class = object  # That is told when it's used.
    if issubclass(backend_class, LaterBackend):
        options = options_with_engine(config.get("OPTIONS", {}), f"{__name__}.LaterEngine")
        return {**config, "OPTIONS": options}
    if issubclass(backend_class, StrategyBackend):
        return config
    return {"BACKEND": _STAND_IN, "OPTIONS": {"instead_of": alias}}
