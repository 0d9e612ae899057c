"""System checks (``manage.py check``)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.urls import get_resolver

from ._docs import with_docs
from .conf import get_anymail_setting

if TYPE_CHECKING:
    from .webhooks.base import AnymailCoreWebhookView

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
        hint=with_docs(
            f"Update your settings: rename it to {new}.", "settings#setting-WEBHOOK_SECRET"
        ),
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
            hint=with_docs(
                "Turn DEBUG_API_REQUESTS off in your production settings.",
                "settings#setting-DEBUG_API_REQUESTS",
            ),
            id="anymail.W002",
        )
    ]


def _debugging_mailers() -> bool:
    mailers: dict[str, dict[str, Any]] = getattr(settings, "MAILERS", {})
    return any(
        # In any backend's options: many projects have a subclass of Anymail's.
        config.get("OPTIONS", {}).get("debug_api_requests")
        for config in mailers.values()
    )


def check_open_webhooks(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report each webhook in the project's URLs that anyone could call. (anymail.W004)

    Views' modules are imported only if those URLs include them.
    """
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    if get_anymail_setting("require_webhook_auth", default=False):
        return []
    return [
        _open_webhook(url, view)
        for url, callback in _url_patterns(get_resolver().url_patterns)
        if (view := _view_if_open(callback)) is not None
    ]


def _open_webhook(url: str, view: AnymailCoreWebhookView) -> CheckMessage:
    choices = ["ANYMAIL['WEBHOOK_SECRET']"]
    if view.signature_setting is not None:
        choices.append(f"ANYMAIL['{view.signature_setting}']")
    return checks.Warning(
        f"Anyone could post made-up {view.esp_name} events to {url}, because that webhook has "
        "neither a secret nor a key to verify signatures.",
        hint=with_docs(
            f"Set {' or '.join(choices)} in your Django settings. If you don't use that webhook, "
            "set ANYMAIL['REQUIRE_WEBHOOK_AUTH'] = True to have it refuse all calls.",
            "securing_webhooks#securing-webhooks",
        ),
        id="anymail.W004",
    )


def _url_patterns(patterns: Iterable[Any], prefix: str = "/") -> Iterator[tuple[str, Any]]:
    """Yield URL and view function of all patterns. Parameters in URLs are left as they are."""
    for pattern in patterns:
        url = prefix + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if hasattr(pattern, "url_patterns"):
            yield from _url_patterns(pattern.url_patterns, url)
        else:
            yield url, pattern.callback


def _view_if_open(callback: Any) -> AnymailCoreWebhookView | None:
    """Return the view for a call, if that is a webhook which anyone could call."""
    load = getattr(callback, "load_anymail_view", None)
    try:
        with warnings.catch_warnings():
            # Views issue them about the same thing, for each call.
            warnings.simplefilter("ignore")
            view_function = callback if load is None else load()
            # Without it, there can't be a subclass.
            base = sys.modules.get("anymail.webhooks.base")
            view_class: Any = getattr(view_function, "view_class", object)
            if base is None or not issubclass(view_class, base.AnymailCoreWebhookView):
                return None
            view: AnymailCoreWebhookView = view_class(**view_function.view_initkwargs)
            return None if view.is_protected else view
    except Exception:  # noqa: BLE001 (whatever the view raises)
        # Settings or packages are missing: the same happens to calls, so none is accepted.
        return None


def get_configured_email_backends() -> set[str]:
    """Return the dotted paths of the email backends that the project's settings name."""
    if hasattr(settings, "MAILERS"):
        return {config.get("BACKEND", _DEFAULT_BACKEND) for config in settings.MAILERS.values()}
    # Not settings.EMAIL_BACKEND itself: Django 6.1 and later warn about that.
    return {settings._wrapped.EMAIL_BACKEND}  # type: ignore[misc]
