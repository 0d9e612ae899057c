"""What providers report: events made up, or by way of the project's webhooks."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.dispatch import Signal
from django.test import Client, override_settings
from django.urls import NoReverseMatch, reverse
from django.utils.timezone import now

from ..addresses import parse_single_address
from ..conf import project_settings
from ..inbound import AnymailInboundMessage
from ..sandbox.providers import Provider, WebhookTarget
from ..sandbox.wire import WebhookCall
from ..signals import AnymailEvent, AnymailInboundEvent, AnymailTrackingEvent, RejectReason

_SITE = "https://testserver"
"""As Django's test client calls it."""

_SECRET = "outbox:webhook-secret"  # noqa: S105 (protects nothing but tests)

_OVERRIDDEN = {
    # Some ids are the same in the next test.
    "WEBHOOK_DEDUPE_CACHE": None,
    # The test waits for the receivers.
    "WEBHOOK_LATER": None,
}


def make_tracking_event(
    event_type: str,
    *,
    recipient: str = "to@example.com",
    message_id: Any = None,
    reject_reason: str | None = None,
    **attributes: Any,
) -> AnymailTrackingEvent:
    """Return an event for unit tests of receivers of ``anymail.signals.tracking``.

    With a new event_id, and if they aren't given, a new message_id, and the reject_reason that
    usually goes with the type. The other attributes are those of AnymailTrackingEvent.
    """
    if reject_reason is None and event_type == "bounced":
        reject_reason = RejectReason.BOUNCED
    defaults = {"timestamp": now(), "event_id": str(uuid.uuid4()), "esp_event": {}}
    return AnymailTrackingEvent(
        event_type=event_type,
        recipient=recipient,
        message_id=str(uuid.uuid4()) if message_id is None else message_id,
        reject_reason=reject_reason,
        **{**defaults, **attributes},
    )


def make_inbound_event(
    *,
    from_email: str = "from@example.com",
    to: str = "to@example.com",
    subject: str = "Subject",
    text: str = "Text",
    html: str | None = None,
    attachments: Iterable[Any] = (),
    headers: Mapping[str, str] | None = None,
    **attributes: Any,
) -> AnymailInboundEvent:
    """Return an event for unit tests of receivers of ``anymail.signals.inbound``.

    ``attachments`` are (name, content, type) tuples, as Django's ``attach()`` takes them. The
    envelope's addresses are those of the header. The other attributes are those of
    AnymailInboundEvent.
    """
    message = AnymailInboundMessage.construct(
        from_email=from_email,
        to=to,
        subject=subject,
        text=text,
        html=html,
        headers=headers or {},
        attachments=[
            AnymailInboundMessage.construct_attachment(content_type, content, filename=name)
            for name, content, content_type in attachments
        ],
    )
    message.envelope_sender = parse_single_address(from_email).addr_spec
    message.envelope_recipient = parse_single_address(to).addr_spec
    defaults = {"timestamp": now(), "event_id": str(uuid.uuid4()), "esp_event": {}}
    return AnymailInboundEvent(message=message, **{**defaults, **attributes})


# -- Webhooks -----------------------------------------------------------------------------------


def webhook_target(provider: Provider) -> WebhookTarget:
    """Return where the project includes ``anymail.urls``, and a secret for its webhooks.

    Raises ImproperlyConfigured if the URLconf doesn't include them.
    """
    for webhook in provider.registered.webhook_urls():
        if webhook.path_is_regex:
            continue
        try:
            path = reverse(f"anymail:{webhook.url_name}")
        except NoReverseMatch as error:
            raise ImproperlyConfigured(
                "The project's URLconf does not include anymail.urls, where providers' webhooks "
                "arrive."
            ) from error
        base = path.removesuffix(webhook.path)
        return WebhookTarget(f"{_SITE}{base}", _SECRET)
    raise AssertionError(provider.name)


def post_webhook(
    provider: Provider, call: WebhookCall, signal: Signal, api_url: str
) -> list[AnymailEvent]:
    """Have the project's view handle a webhook call, and return the events that receivers got.

    There is at least one. ``api_url`` is where the view finds the provider's API. What a receiver
    raises is raised here. Raises AssertionError if the view refuses the call, or sends no signal.
    """
    settings = {
        **project_settings(),
        **_OVERRIDDEN,
        **provider.relaxed_settings,
        **provider.anymail_settings(api_url),
        "WEBHOOK_SECRET": _SECRET,
    }
    parts = urlsplit(call.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    headers = {name: value for name, value in call.headers.items() if name != "Content-Type"}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
    with override_settings(ANYMAIL=settings), _received(signal) as events:
        response = Client().generic(
            "POST",
            path,
            data=call.body,
            content_type=call.headers.get("Content-Type", "application/octet-stream"),
            secure=True,
            headers=headers,
        )
    if response.status_code // 100 != 2:
        raise AssertionError(
            f"The {provider.esp_name} webhook at {parts.path} has answered "
            f"{response.status_code} {response.reason_phrase}. (Keys that are arguments of "
            "as_view() can't be known here.)"
        )
    if not events:
        raise AssertionError(f"The {provider.esp_name} webhook at {parts.path} sent no signal")
    return events


@contextmanager
def _received(signal: Signal) -> Iterator[list[AnymailEvent]]:
    events: list[AnymailEvent] = []

    def receive(event: AnymailEvent, **kwargs: Any) -> None:
        events.append(event)

    signal.connect(receive)
    try:
        yield events
    finally:
        signal.disconnect(receive)
