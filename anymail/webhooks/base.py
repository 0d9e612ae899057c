"""What all webhook views share: authentication, and sending signals for the events in a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.generic import View

from ..conf import get_anymail_setting
from ..datastructures import collect_all_methods
from ..exceptions import AnymailInsecureWebhookWarning, AnymailWebhookValidationFailure
from ..http import get_request_basic_auth
from ..signals import AnymailEvent
from .signatures import matches_any


class AnymailCoreWebhookView(View):
    """Handles a webhook call: validate the request, parse its events, send a signal for each.

    Subclasses set ``esp_name`` and ``signal``, and implement :meth:`parse_events`. Settings that
    ``as_view()`` should accept must be class attributes (Django's rule).
    """

    signal: Signal | None = None
    """``anymail.signals.tracking`` or ``anymail.signals.inbound``."""

    http_method_names = ["post", "head", "options"]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators = collect_all_methods(self.__class__, "validate_request")

    @property
    def esp_name(self) -> str:
        """Name of the provider. Subclasses set a class attribute."""
        raise NotImplementedError(
            f"{type(self).__module__}.{type(self).__qualname__} must declare esp_name"
        )

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        view = super().as_view(**initkwargs)
        # Providers know no CSRF tokens and can't log in; validate_request is what protects these
        # views. (Not as decorators of dispatch: subclasses that override it would lose them.)
        view.csrf_exempt = True  # type: ignore[attr-defined]
        view.login_required = False  # type: ignore[attr-defined]
        return view

    # -- For subclasses -----------------------------------------------------------------------

    def validate_request(self, request: HttpRequest) -> Any:
        """Raise AnymailWebhookValidationFailure if the call does not come from the provider.

        *Every* definition of this method in a class and its bases is called, subclasses' first:
        there is no need to call super(). Nothing in the request can be trusted here.
        """

    def parse_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        """Return the normalized events in the call.

        Raises AnymailWebhookValidationFailure if the call can't be understood, and
        AnymailConfigurationError if it's meant for another URL.
        """
        cls = type(self)
        raise NotImplementedError(
            f"{cls.__module__}.{cls.__qualname__} must implement parse_events()"
        )

    # -- HTTP ---------------------------------------------------------------------------------

    def run_validators(self, request: HttpRequest) -> None:
        """Call the validate_request methods of the class and its bases."""
        for validator in self.validators:
            validator(self, request)

    def head(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer 200: some providers probe the URL before they use it."""
        return HttpResponse()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send a signal for each event in the call, and answer 200.

        A receiver's exception ends it. Most providers retry after the 500 that follows.
        """
        self.run_validators(request)
        events = self.parse_events(request)
        assert self.signal is not None
        for event in events:
            self.signal.send(sender=self.__class__, event=event, esp_name=self.esp_name)
        return HttpResponse()


class AnymailBasicAuthMixin(AnymailCoreWebhookView):
    """Checks HTTP basic auth against the WEBHOOK_SECRET setting."""

    warn_if_no_basic_auth = True
    """Whether basic auth is all that protects the view. False where calls are signed."""

    basic_auth: Any = None
    """Allowed "user:password" strings, or a single one; by default, from WEBHOOK_SECRET."""

    def __init__(self, **kwargs: Any) -> None:
        secrets = get_anymail_setting("webhook_secret", default=[], kwargs=kwargs)
        if kwargs.get("basic_auth"):
            secrets = kwargs["basic_auth"]
        kwargs["basic_auth"] = as_list(secrets)
        super().__init__(**kwargs)
        if self.warn_if_no_basic_auth and not self.basic_auth:
            warnings.warn(
                f"Your Anymail webhooks are insecure: anyone could post made-up {self.esp_name} "
                "events to them. Set ANYMAIL['WEBHOOK_SECRET'] in your Django settings.",
                AnymailInsecureWebhookWarning,
                stacklevel=2,
            )

    def validate_request(self, request: HttpRequest) -> Any:
        if not self.basic_auth:
            return
        received = get_request_basic_auth(request)
        if received is None or not matches_any(received, self.basic_auth):
            raise AnymailWebhookValidationFailure(
                f"Missing or invalid basic auth in Anymail {self.esp_name} webhook"
            )


class AnymailBaseWebhookView(AnymailBasicAuthMixin, AnymailCoreWebhookView):
    """Base of the providers' webhook views."""


def as_list(value: str | Iterable[str] | None) -> list[str]:
    """Return the value of a setting that can be a single secret or several of them, as a list."""
    if not value:
        return []
    return [value] if isinstance(value, str) else list(value)
