"""What all webhook views share: authentication, and sending signals for the events in a call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any

from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseForbidden
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View

from .._docs import with_docs
from ..conf import (
    as_list,
    basic_auth_secrets,
    credentials,
    get_anymail_setting,
    read_settings,
    setting,
    setting_name,
)
from ..exceptions import AnymailInsecureWebhookWarning, AnymailWebhookValidationFailure
from ..http import get_request_basic_auth
from ..methods import collect_all_methods
from ..sending.keys import KEY_IN_METADATA
from ..signals import AnymailEvent, inbound
from ..transactions import atomic, call_when_committed, databases_to_begin, mark_as_webhook
from .dedupe import LEASE_SECONDS, EventInProgress, HandledEvents
from .keys import SigningKeys
from .signatures import matches_any

# Other packages import these from here, too.
__all__ = [
    "AnymailBaseWebhookView",
    "AnymailBasicAuthMixin",
    "AnymailCoreWebhookView",
    "as_keys",
    "as_list",
    "basic_auth_secrets",
    "get_anymail_setting",
]

logger = logging.getLogger("anymail.webhooks")

as_keys = credentials  # its former name


class AnymailCoreWebhookView(View):
    """Handles a webhook call: validate the request, parse its events, send a signal for each.

    Subclasses set ``esp_name`` and ``signal``, and implement :meth:`parse_events`. Settings that
    ``as_view()`` should accept must be class attributes (Django's rule).
    """

    signal: Signal | None = None
    """``anymail.signals.tracking`` or ``anymail.signals.inbound``."""

    http_method_names = ["post", "head", "options"]

    signature_keys: SigningKeys | None = None
    """The keys for the provider's signatures, from load_signature_keys(). Set in instances."""

    signature_option = ""
    """Name of the attribute that declares the setting with the keys, if calls can be signed.

    In instances that have keys, the attribute is the first of them.
    """

    event_id_is_unique = True
    """Whether each event has an id of its own. False if events of one call share it."""

    headers_for_worker: Sequence[str] = ()
    """The headers that parse_events() looks at, beside Content-Type. (With WEBHOOK_LATER, a worker
    parses the events of a call that has been validated; it gets no other headers.)"""

    require_webhook_auth: bool = setting(
        "Whether webhooks that anyone could call refuse all calls. New projects should "
        "set it to ``True``.",
        general=True,
        default=False,
    )
    webhook_max_age: float | None = setting(
        "How many seconds a call's timestamp can be away from now, in either direction; "
        "``None`` for any number. Only where a timestamp is signed: see :ref:`the table "
        "<webhook-protection>`. Providers repeat failed calls for hours, some of them "
        "with the first timestamp: those would be refused, so prefer "
        ":setting:`WEBHOOK_DEDUPE_CACHE` against replays.",
        general=True,
        default=None,
    )
    webhook_isolate_events: bool = setting(
        "Whether all events of a call are sent to receivers even if a receiver raised an "
        "exception for one of them. (The call is answered with a 500 in the end, so that "
        "the provider repeats it. With ``ATOMIC_REQUESTS``, each event has its own transaction.)",
        general=True,
        default=False,
        options=(),
    )
    later: Any = setting(
        "Has workers handle the calls of webhooks, which answer as soon as the call is in a queue: "
        '``"tasks"``, ``"celery"``, or the path of an engine. See :doc:`webhooks_later`.',
        name="webhook_later",
        general=True,
        default=None,
        default_text="webhooks handle their calls themselves",
        options=("later",),
    )

    when_handled: Callable[[AnymailEvent], object] | None = None
    """Called for each event that receivers have handled, once that is committed."""

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        super().__init__(**kwargs)
        self.signature_keys = self.load_signature_keys()
        if self.signature_keys is not None:
            # As packages know it that have views of their own for a provider
            setattr(self, self.signature_option, self.signature_keys.first)
        # The base class's come first: what tells strangers from the provider without looking into
        # the call.
        self.validators = collect_all_methods(self.__class__, "validate_request")[::-1]

    @property
    def esp_name(self) -> str:
        """Name of the provider. Subclasses set a class attribute."""
        raise NotImplementedError(
            f"{type(self).__module__}.{type(self).__qualname__} must declare esp_name"
        )

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        # (Not with decorators of dispatch: subclasses that override it would lose them.)
        return mark_as_webhook(super().as_view(**initkwargs))

    # -- For subclasses -----------------------------------------------------------------------

    def validate_request(self, request: HttpRequest) -> Any:
        """Raise AnymailWebhookValidationFailure if the call does not come from the provider.

        *Every* definition of this method in a class and its bases is called, the bases' first:
        there is no need to call super(). Nothing in the request can be trusted here.
        """

    def load_signature_keys(self) -> SigningKeys | None:
        """Return the keys for the provider's signatures; None if these are not to be verified.

        It's called when the settings have been read. Raises AnymailConfigurationError, or
        AnymailImproperlyInstalled if they take a package that is not installed.
        """
        return None

    def decode(self, request: HttpRequest) -> Sequence[Any]:
        """Return what there is to convert in a call: plain data, without the request.

        Nothing for calls that are not about events. Raises AnymailWebhookValidationFailure if the
        call can't be understood, and AnymailConfigurationError if it's meant for another URL.
        """
        cls = type(self)
        raise NotImplementedError(
            f"{cls.__module__}.{cls.__qualname__} must implement parse_events(), or decode()"
        )

    def convert(self, data: Any) -> Sequence[AnymailEvent]:
        """Return the normalized events for an item that decode() has returned.

        What the provider only refers to is downloaded here. Raises AnymailWebhookValidationFailure
        and AnymailConfigurationError as decode() does, and AnymailAPIError if a download fails.
        """
        return [self.esp_to_anymail_event(data)]

    esp_to_anymail_event: Callable[..., AnymailEvent]
    """Returns the normalized event for one of the provider's."""

    def parse_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        """Return the normalized events in the call: decode() and convert(). Raises what they do."""
        events: list[AnymailEvent] = []
        for data in self.decode(request):
            events += self.convert(data)
        return events

    def is_about_webhook(self, request: HttpRequest) -> bool:
        """Tell whether a valid call is about the webhook itself, such as a test of its URL.

        It has no events then, and is never left to a worker.
        """
        return False

    @property
    def is_protected(self) -> bool:
        """Whether there is anything to tell the provider's calls from others': a key or secret."""
        return self.signature_keys is not None

    @property
    def signature_setting(self) -> str:
        """Name of the setting with the keys for signatures; "" if calls can't be signed."""
        return setting_name(self.signature_option, self.esp_name) if self.signature_option else ""

    def check_freshness(self, timestamp: datetime | None, max_age: float | None = None) -> None:
        """Raise AnymailWebhookValidationFailure if a call is not of about now.

        ``timestamp`` is an aware datetime that the call's signature covers; ``max_age`` how many
        seconds it can be away, by default the WEBHOOK_MAX_AGE setting (None for any number).
        """
        limit = self.webhook_max_age
        if max_age is not None:
            limit = max_age if limit is None else min(limit, max_age)
        if limit is None:
            return
        age = None if timestamp is None else abs((now() - timestamp).total_seconds())
        if age is None or age > limit:
            raise AnymailWebhookValidationFailure(
                f"{self.esp_name} webhook call that is not of the last {limit:g} seconds "
                "(check the clock of your server, and Anymail's WEBHOOK_MAX_AGE setting)"
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

        See send_events for what happens if a receiver raises an exception. With the setting
        WEBHOOK_LATER, a worker does it, and the answer is 503 if the call can't be left to one.
        """
        if not self.is_protected and self.require_webhook_auth:
            _log_unprotected(f"{type(self).__module__}.{type(self).__qualname__}", self.esp_name)
            return HttpResponseForbidden()
        # Error reports show nothing of the body, whichever receiver fails.
        request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]
        try:
            if self.later is not None:
                from .later import hand_over

                return hand_over(self, request)
            self.send_events(self._get_events(request))
        except EventInProgress:
            # It is not certain that the other call succeeds. Have the provider ask again.
            return HttpResponse(status=503, headers={"Retry-After": str(LEASE_SECONDS)})
        return HttpResponse()

    @sensitive_variables()
    def _get_events(self, request: HttpRequest) -> Sequence[AnymailEvent]:
        # The decorator is for all that is called here: error reports don't show its variables.
        self.run_validators(request)
        return self.parse_events(request)

    # -- Signals ------------------------------------------------------------------------------

    def send_events(self, events: Iterable[AnymailEvent]) -> None:
        """Send the signal for each event, except for those that were handled before.

        A receiver's exception ends it; most providers retry after the 500 that follows. With the
        setting WEBHOOK_ISOLATE_EVENTS, the other events are sent first. Then the first exception is
        raised; all others are logged. What was handled before is remembered in
        WEBHOOK_DEDUPE_CACHE, if set: that is what receivers have done without an exception, and
        what is committed where they have used databases.

        Raises EventInProgress if another call has one of the events.
        """
        assert self.signal is not None
        events = list(events)
        for event in events:
            metadata = getattr(event, "metadata", None)
            if isinstance(metadata, dict) and KEY_IN_METADATA in metadata:
                _settle(metadata.pop(KEY_IN_METADATA))
        handled = HandledEvents(
            self.esp_name,
            "inbound" if self.signal is inbound else "tracking",
            id_is_unique=self.event_id_is_unique,
        )
        databases = databases_to_begin(getattr(self, "request", None))
        if handled.cache is None and not (
            databases or self.webhook_isolate_events or self.when_handled
        ):
            # As in most projects: there is nothing to remember, nor to keep together or apart.
            signal, sender, esp_name = self.signal, type(self), self.esp_name
            for event in events:
                signal.send(sender=sender, event=event, esp_name=esp_name)
        else:
            self._send_units(events, handled, databases)

    def _send_units(
        self, events: list[AnymailEvent], handled: HandledEvents, databases: list[str]
    ) -> None:
        isolate = self.webhook_isolate_events
        # Of what is done in one transaction, nothing counts before all of it does.
        units = [events] if databases and not isolate else ([event] for event in events)
        errors: list[Exception] = []
        with handled.renewed():
            for unit in units:
                try:
                    self._send_unit(unit, handled, databases)
                except Exception as err:
                    if not isolate:
                        raise
                    errors.append(err)
        # Another call's work is no reason to hide an error.
        errors.sort(key=lambda error: isinstance(error, EventInProgress))
        for error in errors[1:]:
            if not isinstance(error, EventInProgress):
                logger.error(
                    "Another event in %s webhook call failed", self.esp_name, exc_info=error
                )
        if errors:
            raise errors[0]

    def _send_unit(
        self, events: Iterable[AnymailEvent], handled: HandledEvents, databases: list[str]
    ) -> None:
        """Send the signals for events that are handled together, or not at all."""
        assert self.signal is not None
        with handled.unfinished_given_back():
            claims = [
                (event, claim) for event in events if (claim := handled.claim(event)) is not None
            ]
            with atomic(databases):
                for event, claim in claims:
                    self.signal.send(sender=self.__class__, event=event, esp_name=self.esp_name)
                    handled.finish(claim)
                    if self.when_handled is not None:
                        call_when_committed(partial(self.when_handled, event))


def _settle(hashed_key: object) -> None:
    """Note that the message was sent of whose key an event tells."""
    if isinstance(hashed_key, str):
        # Imported when needed: others don't deliver anything.
        from ..delivery.ledger import Ledger

        Ledger().settle(hashed_key)


class AnymailBasicAuthMixin(AnymailCoreWebhookView):
    """Checks HTTP basic auth against the WEBHOOK_SECRET setting."""

    warn_if_no_basic_auth = True
    """Whether basic auth is all that protects the view, unless there are keys for signatures."""

    basic_auth: Any = setting(
        'The ``"user:password"`` for basic auth of all webhooks, or a list of several '
        "that are valid. See :ref:`securing-webhooks`.",
        name="webhook_secret",
        general=True,
        default=None,
        default_text="none",
        options=("basic_auth", "webhook_secret"),
        kind=basic_auth_secrets,
    )

    def __init__(self, **kwargs: Any) -> None:
        if not kwargs.get("basic_auth"):
            # WEBHOOK_SECRET protects also where somebody has given nothing.
            kwargs.pop("basic_auth", None)
        super().__init__(**kwargs)
        self.basic_auth = self.basic_auth or []
        is_warning = (
            self.warn_if_no_basic_auth and not self.basic_auth and self.signature_keys is None
        )
        if is_warning and not self.require_webhook_auth:
            warnings.warn(
                with_docs(
                    "Your Anymail webhooks are insecure: anyone could post made-up "
                    f"{self.esp_name} events to them. Set ANYMAIL['WEBHOOK_SECRET'] in your Django "
                    "settings.",
                    "securing_webhooks#securing-webhooks",
                ),
                AnymailInsecureWebhookWarning,
                stacklevel=2,
            )

    @property
    def is_protected(self) -> bool:
        return bool(self.basic_auth) or super().is_protected

    def validate_request(self, request: HttpRequest) -> Any:
        if not self.basic_auth:
            return
        received = get_request_basic_auth(request)
        if received is None or not matches_any(received, self.basic_auth):
            raise AnymailWebhookValidationFailure(
                f"Missing or invalid basic auth in Anymail {self.esp_name} webhook: "
                "the call must have the credentials in WEBHOOK_SECRET"
            )


class AnymailBaseWebhookView(AnymailBasicAuthMixin, AnymailCoreWebhookView):
    """Base of the providers' webhook views."""


@cache
def _log_unprotected(view: str, esp_name: str) -> None:
    # Once in the life of a process: anybody can make calls.
    logger.error(
        "Refused a call of the %s webhook, because anyone could make it, and "
        "REQUIRE_WEBHOOK_AUTH is on. Set ANYMAIL['WEBHOOK_SECRET'], or the key that verifies the "
        "provider's signatures. (%s)",
        esp_name,
        view,
    )
