"""The project's mailers: configured backends with names, in every version of Django."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from ..conf import DJANGO_HAS_MAILERS, mailers_setting
from ..exceptions import AnymailInvalidMailer
from ..sending.awaitable import AwaitableBackend

DEFAULT = "default"

_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


class Mailers:
    """Connections by the aliases of mailers: ``mailers["ses"]`` returns a new one.

    They are those of Django's MAILERS setting from Django 6.1 on, and before that those of
    ``ANYMAIL["MAILERS"]``, which is a dict of the same form. Without either, there is "default":
    what EMAIL_BACKEND says.

    Raises InvalidMailer for a wrong entry, and for an alias that doesn't exist; from Django 6.1 on,
    MailerDoesNotExist for the latter.
    """

    def __getitem__(self, alias: str) -> BaseEmailBackend:
        return self.create(alias)

    def create(self, alias: str, **options: Any) -> BaseEmailBackend:
        """Return a new connection, with options in place of those in the settings."""
        if DJANGO_HAS_MAILERS and not options:
            return mail.mailers[alias]
        config = self.settings.get(alias)
        if config is None:
            if alias == DEFAULT and not self.settings:
                return mail.get_connection(**options)
            raise AnymailInvalidMailer(
                f"There is no mailer {alias!r} in {self.setting_name}, which has "
                f"{', '.join(map(repr, self))}.",
                alias=alias,
                docs="failover#mailers",
            )
        if not DJANGO_HAS_MAILERS and is_test_run():
            backend_class = import_string(_LOCMEM)
            return _named(backend_class(), alias)
        return _create(alias, config, options)

    def __contains__(self, alias: object) -> bool:
        return alias in self.settings or (alias == DEFAULT and not self.settings)

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings or (DEFAULT,))

    @property
    def default(self) -> BaseEmailBackend:
        """A new connection of the mailer "default"."""
        return self[DEFAULT]

    @property
    def setting_name(self) -> str:
        """The setting that they are in."""
        return "MAILERS" if DJANGO_HAS_MAILERS else "ANYMAIL['MAILERS']"

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The entries in the settings, by alias."""
        return mailers_setting()


mailers = Mailers()


class BackendWithMailers(AwaitableBackend, BaseEmailBackend):
    """Base of the backends that have other mailers send.

    ``kwargs`` are the arguments that they don't know themselves; ``error`` makes the exception for
    a mistake in the options from a text and the alias.
    """

    takes_alias = True

    fail_silently: bool

    def __init__(
        self,
        fail_silently: bool,
        alias: str | None,
        kwargs: dict[str, Any],
        error: Callable[[str, str | None], Exception],
    ) -> None:
        if DJANGO_HAS_MAILERS:
            kwargs["alias"] = alias
        elif kwargs:
            # Earlier versions of Django ignore what they don't know.
            raise error(f"Unknown options {', '.join(map(repr, kwargs))}.", alias)
        super().__init__(**kwargs)
        self.alias = alias
        self.fail_silently = fail_silently


def is_test_run() -> bool:
    """Tell whether Django's test runner has put its locmem backend in place of the project's."""
    if DJANGO_HAS_MAILERS:
        paths = {config.get("BACKEND") for config in mailers_setting().values()}
    else:
        # It replaces EMAIL_BACKEND only: with ANYMAIL["MAILERS"], mail would really be sent.
        paths = {settings.EMAIL_BACKEND}
    return hasattr(mail, "outbox") and paths <= {_LOCMEM}


def _create(alias: str, config: Mapping[str, Any], options: Mapping[str, Any]) -> BaseEmailBackend:
    configured = config.get("OPTIONS", {})
    if "alias" in configured:
        raise AnymailInvalidMailer(
            "OPTIONS must not define 'alias'.", alias=alias, docs="failover#mailers"
        )
    path = config.get("BACKEND", _SMTP)
    try:
        backend_class = import_string(path)
    except ImportError as err:
        raise AnymailInvalidMailer(
            f"Could not find BACKEND {path!r}: {err}", alias=alias, docs="failover#mailers"
        ) from err
    kwargs = {**configured, **options}
    if DJANGO_HAS_MAILERS or getattr(backend_class, "takes_alias", False):
        kwargs["alias"] = alias
    return _named(backend_class(**kwargs), alias)


def _named(backend: BaseEmailBackend, alias: str) -> BaseEmailBackend:
    if getattr(backend, "alias", None) is None:
        backend.alias = alias  # type: ignore[attr-defined]
    return backend
