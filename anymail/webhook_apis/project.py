"""The project's side: its webhooks, and the backends with the keys for providers' APIs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils.encoding import force_str
from django.utils.module_loading import import_string

from ..conf import as_list, declared_settings
from ..diagnosis import configured_mailers
from ..providers import PROVIDERS, Provider, Webhook
from .base import Endpoint, WebhookAPI


def webhooks_root(site: str) -> str | None:
    """Return the URL at which the project includes ``anymail.urls``; None if it doesn't."""
    webhook = next(iter(next(iter(PROVIDERS.values())).webhook_urls()))
    try:
        path = reverse(f"anymail:{webhook.url_name}")
    except (NoReverseMatch, ImproperlyConfigured):
        return None
    return site.rstrip("/") + path.removesuffix(webhook.path)


def endpoints(provider: Provider, api: type[WebhookAPI], root: str) -> Iterator[Endpoint]:
    """Yield the project's webhooks of a provider. ``root`` is as webhooks_root() returns it."""
    for webhook in provider.webhook_views():
        kinds = ("tracking", "inbound") if webhook.kind == "combined" else (webhook.kind,)
        is_inbound = webhook.kind == "inbound"
        path = api.inbound_path if is_inbound and api.inbound_path else webhook.path
        yield Endpoint(kinds, root + path, paths=_paths(provider, webhook), **_details(webhook))


def _paths(provider: Provider, webhook: Webhook) -> tuple[str, ...]:
    """Return the paths of all URLs of the same view, also of its former names."""
    return tuple(item.path for item in provider.webhook_urls() if item.kind == webhook.kind)


def _details(webhook: Webhook) -> dict[str, Any]:
    """Return the arguments of an Endpoint that depend on the settings. Raises nothing."""
    details: dict[str, Any] = {}
    try:
        view_class: Any = import_string(webhook.view_path)
        # (It knows that before it has read its settings.)
        details["keys_setting"] = view_class.__new__(view_class).signature_setting
        details["secrets"] = tuple(
            declared_settings(view_class)["basic_auth"].read(view_class) or ()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about webhooks without a secret
            view = view_class()
    except (ImproperlyConfigured, ImportError) as error:
        return {**details, "problem": str(error).partition("\n")[0]}
    if view.signature_keys is not None and not view.signature_keys:
        return {**details, "problem": f"You must set {details['keys_setting']}."}
    return {
        **details,
        "keys": tuple(signing_keys(view)),
        "verifies_signatures": bool(
            view.signature_keys or getattr(view, "verifies_signatures", False)
        ),
        "is_protected": view.is_protected,
    }


def signing_keys(view: Any) -> list[str]:
    """Return the keys for signatures that a view has, as they are in the settings."""
    declared = declared_settings(type(view)).get(view.signature_option)
    if declared is None or not view.signature_keys:
        return []
    # (Without any of its own, Mailgun's view uses another setting's.)
    return [force_str(key) for key in as_list(declared.read(view)) or [view.signature_keys.first]]


def backends(provider: Provider) -> Iterator[tuple[str, Any]]:
    """Yield (mailer, backend) for the accounts that the project has at a provider.

    If it's none of the mailers, the one that is made of the settings. Raises ImproperlyConfigured
    or ImportError for those that can't be made.
    """
    backend_class: Any = import_string(provider.backend)
    seen = set()
    for mailer in configured_mailers():
        try:
            mailer_class: Any = import_string(mailer.path)
        except ImportError:
            continue
        if issubclass(mailer_class, backend_class):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about what is deprecated
                backend = mailer_class(**mailer.options)
            # (The same key can be for several regions.)
            account = (getattr(backend, "api_url", ""), *sorted(backend._credentials()))
            if account not in seen:
                seen.add(account)
                yield mailer.where, backend
    if not seen:
        yield "", backend_class()
