"""Webhook URLs: include them with ``path("anymail/", include("anymail.urls"))``.

Each view's module is imported with its first request, so a project pays only for the providers
that it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path, re_path

from .providers import PROVIDERS, Webhook
from .transactions import mark_as_webhook

View = Callable[..., HttpResponseBase]

app_name = "anymail"


def _view_on_first_request(view_path: str) -> View:
    """Return a view function for "module:Class", found in anymail.webhooks when it is called."""
    module_name, _, class_name = view_path.partition(":")

    @cache
    def load() -> View:
        module = import_module(f"anymail.webhooks.{module_name}")
        view_class: Any = getattr(module, class_name)
        return view_class.as_view()  # type: ignore[no-any-return]

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return load()(request, *args, **kwargs)

    view.__name__ = view.__qualname__ = class_name
    view.load_anymail_view = load  # type: ignore[attr-defined]  # for loaded_view()
    return mark_as_webhook(view)


def loaded_view(view: Any) -> Any:
    """Return the view function that a URL pattern's view calls, which can be itself."""
    load = getattr(view, "load_anymail_view", None)
    return view if load is None else load()


def _pattern(webhook: Webhook) -> URLPattern:
    view = _view_on_first_request(webhook.view)
    if webhook.path_is_regex:
        return re_path(f"^{webhook.path}$", view, name=webhook.url_name)
    return path(webhook.path, view, name=webhook.url_name)


_webhooks = [webhook for provider in PROVIDERS.values() for webhook in provider.webhook_urls()]

urlpatterns = [_pattern(webhook) for webhook in _webhooks]

# Path, module and class of the view in anymail.webhooks, name of the URL pattern.
WEBHOOKS = [(webhook.path, webhook.view, webhook.url_name) for webhook in _webhooks]
