"""The app to put into INSTALLED_APPS: "anymail"."""

from django.apps import AppConfig
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

    def ready(self) -> None:
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
