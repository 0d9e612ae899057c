"""System checks (``manage.py check``)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.cache import InvalidCacheBackendError, caches
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from ._docs import with_docs
from .conf import (
    DJANGO_HAS_MAILERS,
    basic_auth_secrets,
    get_anymail_setting,
    mailers_setting,
    project_settings,
    sandbox_url,
    setting_name,
)

# Servers import this module, but run no checks: what does the work is imported by those who do.
if TYPE_CHECKING:
    from .webhooks.base import AnymailCoreWebhookView

_LATER_DOCS = "webhooks_later"


def check_deprecated_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report settings that were renamed. (anymail.E001)"""
    errors: list[CheckMessage] = []
    # Ignoring the old name would leave webhooks open that their owner thinks are protected.
    if "WEBHOOK_AUTHORIZATION" in project_settings():
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
    return any(options.get("debug_api_requests") for _, options in _mailers_options())


def _mailers_options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the alias and options of each mailer, whatever its backend.

    (Many projects have a subclass of one of Anymail's.)
    """
    for alias, config in mailers_setting().items():
        yield alias, config.get("OPTIONS", {})


def check_repeated_calls(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report parameters of boto3's client that have messages sent several times. (anymail.W005)"""
    setting = setting_name("client_params", "Amazon SES")
    params = {setting: get_anymail_setting("client_params", esp_name="Amazon SES", default=None)}
    for alias, options in _mailers_options():
        params[f"MAILERS[{alias!r}]['OPTIONS']['client_params']"] = options.get("client_params")
    return [
        checks.Warning(
            f'With the "retries" in the "config" of {where}, boto3 repeats API calls by itself. '
            "After a time-out or an error of the server, that can send a message again which has "
            "been sent.",
            hint=with_docs(
                'Remove the "retries", for one attempt; or silence this check.',
                "esps/amazon_ses#amazon-ses-retries",
            ),
            id="anymail.W005",
        )
        for where, client_params in params.items()
        if _repeats_calls(client_params)
    ]


def _repeats_calls(client_params: Any) -> bool:
    """Tell whether the arguments of a boto3 client have it repeat API calls by itself.

    The ``retries`` in their "config" can, a botocore Config or a dict.
    """
    config = client_params.get("config") if isinstance(client_params, Mapping) else None
    retries = (
        config.get("retries") if isinstance(config, Mapping) else getattr(config, "retries", None)
    )
    if not isinstance(retries, Mapping) or not retries:
        return False
    if "total_max_attempts" in retries:
        return bool(retries["total_max_attempts"] != 1)
    return retries.get("max_attempts") != 0


def check_dedupe_cache(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a WEBHOOK_DEDUPE_CACHE that lets events through twice. (anymail.W006, anymail.E006)"""
    return _check_cache(
        "webhook_dedupe_cache",
        "events of webhooks from being handled twice",
        number="006",
        docs="securing_webhooks#webhook-duplicates",
    )


def check_delivery_cache(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a DELIVERY_CACHE that lets messages be sent twice. (anymail.W010, anymail.E010)"""
    return _check_cache(
        "delivery_cache",
        "messages with an idempotency key from being sent twice",
        number="010",
        docs="failover#delivery-cache",
    )


def _check_cache(name: str, purpose: str, *, number: str, docs: str) -> list[CheckMessage]:
    """Report the cache in a setting if it isn't one that all processes share.

    In development, where there is just one process for a short time, only one that there isn't.
    """
    from .delivery.memory import why_not_shared

    setting, alias = setting_name(name), get_anymail_setting(name, default=None)
    if alias is None:
        return []
    try:
        problem = why_not_shared(caches[alias])
    except InvalidCacheBackendError:
        text = f"{setting} is {alias!r}, but there is no such cache in CACHES."
        hint = "Set it to the name of one that all of your processes share."
        return [Error(text, hint=with_docs(hint, docs), id=f"anymail.E{number}")]
    if problem is None or settings.DEBUG:
        return []
    return [
        checks.Warning(
            f"The cache {alias!r}, which {setting} names, can't keep {purpose}: {problem}.",
            hint=with_docs(
                "Use Redis, Memcached, or a database cache with a large MAX_ENTRIES.", docs
            ),
            id=f"anymail.W{number}",
        )
    ]


def check_unknown_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report keys that no part of Anymail reads, such as misspelt ones. (anymail.W007)"""
    from .diagnosis import unknown_settings

    return [
        checks.Warning(
            f"{where} has no effect: Anymail has no such setting.",
            hint=with_docs(hint, "settings#settings"),
            id="anymail.W007",
        )
        for where, hint in unknown_settings()
    ]


def check_webhook_secret(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a WEBHOOK_SECRET with which all webhooks would raise errors. (anymail.E011)"""
    name = setting_name("webhook_secret")
    try:
        basic_auth_secrets(get_anymail_setting("webhook_secret", default=None))
    except ValueError as error:  # without the secret
        text, hint = f"{name} {error}.", "Webhooks raise an error for each call."
        docs = f"settings#setting-{name}"
        return [Error(text, hint=with_docs(hint, docs), id="anymail.E011")]
    return []


def check_webhook_later(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a WEBHOOK_LATER with which calls are refused, or lost. (anymail.E020, anymail.W020)"""
    name = get_anymail_setting("webhook_later", default=None)
    if name is None:
        return []
    from .webhooks import diagnosis

    hint = "Correct it: until then, webhook calls are refused, or others can read them."
    messages: list[CheckMessage] = [
        Error(text, hint=with_docs(hint, _LATER_DOCS), id="anymail.E020")
        for text in diagnosis.errors(name)
    ]
    if not settings.DEBUG and name != "inline":
        hint = "Webhook calls can be lost, or be handled twice."
        messages += [
            checks.Warning(text, hint=with_docs(hint, _LATER_DOCS), id="anymail.W020")
            for text in diagnosis.warnings(name)
        ]
    return messages


def check_later(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report mailers that can't deliver later, or lose messages. (anymail.E012, anymail.W012)"""
    from .diagnosis import usable_mailers

    messages: list[CheckMessage] = []
    for mailer, backend in usable_mailers():
        if not hasattr(backend, "send_messages_later"):
            continue
        from .later import diagnosis

        found = {
            ("E", checks.ERROR): diagnosis.errors(backend),
            ("W", checks.WARNING): diagnosis.warnings(backend, debug=settings.DEBUG),
        }
        messages += [
            CheckMessage(
                level,
                f"With {mailer.where}, {text}.",
                hint=with_docs(hint, "api/later#later-options"),
                id=f"anymail.{letter}012",
            )
            for (letter, level), items in found.items()
            for text, hint in items
        ]
    return messages


def check_ignored_mailers(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report mailers in a setting that this version of Django does not have. (anymail.E008)"""
    where, hint = "ANYMAIL['MAILERS']", "Rename it to MAILERS, which Django has from 6.1 on."
    ignored = "MAILERS" in project_settings()
    if not DJANGO_HAS_MAILERS:
        where, ignored = "MAILERS", hasattr(settings, "MAILERS")
        hint = (
            'Before Django 6.1, set EMAIL_BACKEND = "anymail.backends.mailers.EmailBackend" and '
            'ANYMAIL = {"MAILERS": ...}; or upgrade Django.'
        )
    if not ignored:
        return []
    text = f"{where} has no effect with this version of Django. Mail is not sent as it says."
    return [Error(text, hint=with_docs(hint, "installation#setting-styles"), id="anymail.E008")]


def check_mailers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report email backends that can't be used as they are configured. (anymail.W009, .E009)

    Backends of Anymail's, and those derived from them. It's just a warning if a key or a package is
    missing, which can be there where mail is sent.
    """
    from .diagnosis import unusable_mailers

    if _sandbox_problem():
        return []  # All would say the same.
    messages: list[CheckMessage] = []
    for mailer, problem, hint, is_certain in unusable_mailers():
        text, _, docs = problem.partition("\nDocs: ")
        level, letter = (checks.ERROR, "E") if is_certain else (checks.WARNING, "W")
        messages.append(
            CheckMessage(
                level,
                f"The email backend of {mailer.where} can't be used: {text}",
                hint="\n".join(filter(None, [hint, docs and f"Docs: {docs}"])) or None,
                id=f"anymail.{letter}009",
            )
        )
    return messages


def check_sandbox(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report a SANDBOX that can't be used, and what goes elsewhere. (anymail.E014, anymail.W014)"""
    from .diagnosis import beside_sandbox

    docs = "commands#sandbox-setting"
    if problem := _sandbox_problem():
        hint = "Remove it from your production settings."
        return [Error(problem, hint=with_docs(hint, docs), id="anymail.E014")]
    url = sandbox_url()
    if url is None:
        return []
    return [
        checks.Warning(
            f"In spite of ANYMAIL['SANDBOX'], {where} calls {target}.",
            hint=with_docs(
                "Without a setting or option for that URL, the sandbox is called.", docs
            ),
            id="anymail.W014",
        )
        for where, target in beside_sandbox(url)
    ]


def _sandbox_problem() -> str | None:
    """Return why a SANDBOX setting keeps everything from being sent; None if it doesn't."""
    try:
        sandbox_url()
    except ImproperlyConfigured as error:
        return str(error).partition("\n")[0]
    return None


def check_open_webhooks(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report the webhooks in the project's URLs that anyone could call. (anymail.W004)

    Named are those of the providers that the project uses. Views' modules are imported only if
    those URLs include them.
    """
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    if get_anymail_setting("require_webhook_auth", default=False):
        return []
    named, unused = [], 0
    esp_names = _esp_names_in_use()
    for url, callback in _url_patterns(get_resolver().url_patterns):
        view = _view_if_open(callback)
        if view is None:
            continue
        # Those in other URLs than Anymail's are there to be used.
        if esp_names and view.esp_name not in esp_names and hasattr(callback, "load_anymail_view"):
            unused += 1
        else:
            named.append((url, view))
    return [_open_webhooks(named, unused)] if named or unused else []


def _esp_names_in_use() -> set[str]:
    """Return the providers that the project uses, also by former names; empty if nobody knows."""
    from .diagnosis import providers_in_use
    from .providers import PROVIDERS

    providers = [PROVIDERS[name] for name in providers_in_use()]
    return {name for item in providers for name in (item.esp_name, *item.former_names.values())}


def _open_webhooks(named: list[tuple[str, AnymailCoreWebhookView]], unused: int) -> CheckMessage:
    places = [f"{url} ({view.esp_name})" for url, view in named]
    if unused:
        places.append(f"{unused} webhooks of providers that you don't seem to use")
    keys = {view.signature_setting for _, view in named if view.signature_setting}
    choices = [f"ANYMAIL['{name}']" for name in ("WEBHOOK_SECRET", *sorted(keys))]
    return checks.Warning(
        "Anyone could post made-up events to webhooks that have neither a secret nor a key to "
        f"verify signatures: {', '.join(places)}.",
        hint=with_docs(
            "Set ANYMAIL['REQUIRE_WEBHOOK_AUTH'] = True to have them refuse all calls, and to use "
            f"them, {' or '.join(choices)}.",
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
    from .urls import loaded_view

    try:
        with warnings.catch_warnings():
            # Views issue them about the same thing, for each call.
            warnings.simplefilter("ignore")
            view_function = loaded_view(callback)
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
    from .diagnosis import configured_mailers

    return {mailer.path for mailer in configured_mailers()}
