"""URLs of the demonstration's site: Anymail's webhooks, and a page that lists their events."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import include, path
from django.utils.html import format_html, format_html_join
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET, require_POST

from ..providers import PROVIDERS
from .providers import load_provider
from .samples import tracked_message
from .site import WEBHOOK_PATH, site_of
from .store import Store


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List the events that have arrived, newest first."""
    providers = [load_provider(name, Store()) for name in PROVIDERS]
    buttons = format_html_join(
        " ",
        "<form method=post action='/send/{}/'><button>Send through {}</button></form>",
        (
            (provider.name, provider.esp_name)
            for provider in providers
            if not provider.missing_packages
        ),
    )
    rows = format_html_join(
        "",
        "<tr><td>{}<td>{}<td>{}<td>{}",
        (
            (
                seen.esp_name,
                seen.event.event_type,
                getattr(seen.event, "recipient", "") or "",
                getattr(seen.event, "message_id", "") or "",
            )
            for seen in reversed(site_of(request).events)
        ),
    )
    return HttpResponse(
        format_html(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Anymail demo site</title>"
            "<h1>Events</h1>{}<table>{}</table>",
            buttons,
            rows,
        )
    )


@require_POST
def send(request: HttpRequest, name: str) -> HttpResponse:
    """Send a message through a provider."""
    if name not in PROVIDERS:
        raise Http404
    provider = load_provider(name, Store())
    import_string(provider.backend)().send_messages([tracked_message(provider)])
    return HttpResponseRedirect("/")


urlpatterns = [
    path("", index),
    path("send/<str:name>/", send),
    path(WEBHOOK_PATH, include("anymail.urls")),
]
