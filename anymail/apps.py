"""The app to put into INSTALLED_APPS: "anymail"."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from .checks import (
    check_dedupe_cache,
    check_delivery_cache,
    check_deprecated_settings,
    check_ignored_mailers,
    check_insecure_settings,
    check_later,
    check_mailers,
    check_open_webhooks,
    check_repeated_calls,
    check_sandbox,
    check_unknown_settings,
    check_webhook_later,
    check_webhook_secret,
)


class AnymailBaseConfig(AppConfig):
    """Registers Anymail's system checks. There are no models."""

    name = "anymail"
    label = "anymail"
    verbose_name = "Anymail"

    mail_settings_at_start: dict[str, Any] | None = None
    """MAILERS (None if there is none) and EMAIL_BACKEND, before a test run replaces them."""

    def ready(self) -> None:
        self.mail_settings_at_start = {
            "MAILERS": getattr(settings, "MAILERS", None),
            # Not settings.EMAIL_BACKEND itself: Django 6.1 and later warn about that.
            "EMAIL_BACKEND": settings._wrapped.EMAIL_BACKEND,  # type: ignore[misc]
        }
        checks.register(check_deprecated_settings)
        checks.register(check_insecure_settings)
        checks.register(check_unknown_settings)
        checks.register(check_webhook_secret)
        checks.register(check_webhook_later)
        checks.register(check_ignored_mailers)
        checks.register(check_mailers)
        checks.register(check_repeated_calls)
        checks.register(check_later)
        checks.register(check_sandbox)
        checks.register(check_dedupe_cache, checks.Tags.caches)
        checks.register(check_delivery_cache, checks.Tags.caches)
        checks.register(check_open_webhooks, checks.Tags.security, deploy=True)
