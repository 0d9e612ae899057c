"""System checks (``manage.py check``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error

from .conf import get_anymail_setting

_DEFAULT_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


def check_deprecated_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report settings that were renamed. (anymail.E001)"""
    errors: list[CheckMessage] = []
    # Ignoring the old name would leave webhooks open that their owner thinks are protected.
    if "WEBHOOK_AUTHORIZATION" in (getattr(settings, "ANYMAIL", None) or {}):
        errors.append(_renamed("ANYMAIL['WEBHOOK_AUTHORIZATION']", "WEBHOOK_SECRET"))
    if hasattr(settings, "ANYMAIL_WEBHOOK_AUTHORIZATION"):
        errors.append(_renamed("ANYMAIL_WEBHOOK_AUTHORIZATION", "ANYMAIL_WEBHOOK_SECRET"))
    return errors


def _renamed(old: str, new: str) -> Error:
    return Error(
        f"The {old} setting is now called {new}, and has no effect under its old name.",
        hint=f"Update your settings: rename it to {new}.",
        id="anymail.E001",
    )


def check_insecure_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report settings that should not be used in production. (anymail.W002)"""
    if settings.DEBUG:
        return []
    if not (get_anymail_setting("debug_api_requests", default=False) or _debugging_mailers()):
        return []
    return [
        checks.Warning(
            "DEBUG_API_REQUESTS is on, but DEBUG is off: Anymail prints all API traffic, "
            "and could leak personal data and API keys to your production logs.",
            hint="Turn DEBUG_API_REQUESTS off in your production settings.",
            id="anymail.W002",
        )
    ]


def _debugging_mailers() -> bool:
    mailers: dict[str, dict[str, Any]] = getattr(settings, "MAILERS", {})
    return any(
        config.get("BACKEND", "").startswith("anymail.")
        and config.get("OPTIONS", {}).get("debug_api_requests")
        for config in mailers.values()
    )


def get_configured_email_backends() -> set[str]:
    """Return the dotted paths of the email backends that the project's settings name."""
    if hasattr(settings, "MAILERS"):
        return {config.get("BACKEND", _DEFAULT_BACKEND) for config in settings.MAILERS.values()}
    # Not settings.EMAIL_BACKEND itself: Django 6.1 and later warn about that.
    return {settings._wrapped.EMAIL_BACKEND}  # type: ignore[misc]
