"""Settings lookup."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from django.conf import settings

from ._docs import docs_of_setting
from .datastructures import UNSET

# Django before 6.1 passes these as None from send_mail, which must not hide a setting.
_NONE_MEANS_NOT_GIVEN = frozenset({"username", "password"})


def setting_name(name: str, esp_name: str | None = None) -> str:
    """Return the key of an option in ``settings.ANYMAIL``, such as ``MAILGUN_API_KEY``."""
    if esp_name is None:
        return name.upper()
    return f"{esp_name}_{name}".upper().replace(" ", "_")


def get_anymail_setting(
    name: str,
    default: Any = UNSET,
    esp_name: str | None = None,
    kwargs: MutableMapping[str, Any] | None = None,
    allow_bare: bool = False,
) -> Any:
    """Return an Anymail option.

    The first that is found of: ``kwargs[name]`` (which is removed from kwargs),
    ``settings.ANYMAIL["ESP_NAME"]``, ``settings.ANYMAIL_ESP_NAME``, ``settings.ESP_NAME`` (only
    with allow_bare), and the default.

    Raises AnymailConfigurationError naming the settings that would help if there is no default;
    AnymailInvalidMailer naming the option if kwargs come from Django's ``MAILERS`` (recognized by
    the mailer's "alias" in them).
    """
    if kwargs is not None and name in kwargs:
        value = kwargs.pop(name)
        if value is not None or name not in _NONE_MEANS_NOT_GIVEN:
            return value

    setting = setting_name(name, esp_name)
    prefixed = f"ANYMAIL_{setting}"
    anymail_settings = getattr(settings, "ANYMAIL", None) or {}
    if setting in anymail_settings:
        return anymail_settings[setting]
    if hasattr(settings, prefixed):
        return getattr(settings, prefixed)
    if allow_bare and hasattr(settings, setting):
        return getattr(settings, setting)
    if default is not UNSET:
        return default

    if kwargs is not None and "alias" in kwargs:
        raise _configuration_error(f"OPTIONS must define '{name}'.", setting, kwargs)
    choices = f"ANYMAIL = {{'{setting}': ...}} or {prefixed}"
    if allow_bare:
        choices += f" or {setting}"
    raise _configuration_error(f"You must set {choices} in your Django settings.", setting)


def _get_number_setting(
    name: str,
    kwargs: MutableMapping[str, Any] | None = None,
    *,
    default: float,
    minimum: float = 0,
    integer: bool = False,
) -> Any:
    """Return an option that must be a number, and at least ``minimum``.

    Raises AnymailConfigurationError naming the setting if it is anything else.
    """
    value = get_anymail_setting(name, default=default, kwargs=kwargs)
    kind = int if integer else (int, float)
    if isinstance(value, kind) and not isinstance(value, bool) and value >= minimum:
        return value
    what = "a whole number" if integer else "a number"
    setting = setting_name(name)
    text = f"{setting} must be {what} of at least {minimum:g}, not {value!r:.100}."
    raise _configuration_error(text, setting, kwargs)


def _configuration_error(
    text: str, setting: str, kwargs: Mapping[str, Any] | None = None
) -> Exception:
    """Return the exception for a mistake in a setting, or in the MAILERS entry kwargs are from."""
    # Imported when needed: exceptions pull in the HTTP library, and reading settings should not.
    from .exceptions import AnymailConfigurationError, AnymailInvalidMailer

    docs = docs_of_setting(setting)
    if kwargs is not None and "alias" in kwargs:
        return AnymailInvalidMailer(text, alias=kwargs["alias"], docs=docs)
    return AnymailConfigurationError(text, docs=docs)
