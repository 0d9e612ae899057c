"""What it costs to receive: tracking events, and messages.

Webhook calls go through Django's test client. What is measured is all that Django and Anymail do
with them in this process, in processor time.
"""

from __future__ import annotations

import base64
import gc
import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import cache, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import include, path

from .measure import (
    Curve,
    Table,
    Variant,
    alternate,
    microseconds,
    milliseconds,
    ratio,
    seconds_per_call,
)
from .project import set_up

if TYPE_CHECKING:
    from anymail.inbound import AnymailInboundMessage

EVENTS = 500
EVENTS_GOAL = 4  # times what json.loads of the body takes
MESSAGE_SIZE = 5_000_000
PARSING_GOAL = 0.6  # of the time and memory that the email package's parser takes
PLAIN_PARSER, OUR_PARSER = "email.parser.BytesParser", "parse_raw_mime_bytes()"

BASIC_AUTH = "user:password"


# -- Webhook calls ----------------------------------------------------------------------------


def decode_only(request: HttpRequest) -> HttpResponse:
    """Do the least that a webhook view can do."""
    json.loads(request.body)
    return HttpResponse()


def signed_tracking(request: HttpRequest) -> HttpResponseBase:
    return signed_tracking_view()(request)


urlpatterns = [
    path("", include("anymail.urls")),
    path("decode/", decode_only),
    path("signed/", signed_tracking),
]


@cache
def private_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


@cache
def signed_tracking_view() -> Callable[..., HttpResponseBase]:
    from anymail.webhooks.sendgrid import SendGridTrackingWebhookView

    return SendGridTrackingWebhookView.as_view(tracking_webhook_verification_key=public_key())


def public_key() -> str:
    """Return the key for what signature_headers() signs, as SendGrid shows it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = private_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def signature_headers(body: bytes) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    timestamp = str(int(time.time()))
    signature = private_key().sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }


def tracking_call(events: int) -> bytes:
    """Return the body of a SendGrid call."""
    return json.dumps(
        [
            {
                "email": f"customer{number}@example.org",
                "timestamp": 1930000000 + number,
                "smtp-id": "<14c5d75ce93.dfd.64b1@ismtpd-555>",
                "event": "delivered",
                "category": ["receipt", "spring"],
                "sg_event_id": f"ZGVsaXZlcmVk-{number}",
                "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.1",
                "anymail_id": f"8a3f6d4e-0c1b-4a6f-9d3e-{number:012}",
                "order": str(number),
                "site": "Example Shop",
                "response": "250 OK",
                "tls": 1,
                "ip": "192.0.2.1",
            }
            for number in range(events)
        ]
    ).encode()


@contextmanager
def receiving(
    signal_name: str, receiver: Callable[..., None], **anymail_settings: Any
) -> Iterator[None]:
    """Have a project with this module's URLs, and a receiver of "tracking" or "inbound"."""
    set_up()
    from django.test import override_settings

    from anymail import signals

    settings = {
        "ANYMAIL": {"WEBHOOK_SECRET": BASIC_AUTH, **anymail_settings},
        "DATA_UPLOAD_MAX_MEMORY_SIZE": None,
        "ROOT_URLCONF": __name__,
    }
    signal = getattr(signals, signal_name)
    signal.connect(receiver)
    try:
        with override_settings(**settings):
            yield
    finally:
        signal.disconnect(receiver)


def basic_auth() -> str:
    """Return the Authorization header of calls."""
    return f"Basic {base64.b64encode(BASIC_AUTH.encode()).decode()}"


def caller(url: str, body: bytes, headers: dict[str, str] | None = None) -> Variant:
    from django.test import Client

    client = Client(headers={"Authorization": basic_auth(), **(headers or {})})

    def call() -> None:
        response = client.post(url, data=body, content_type="application/json")
        assert response.status_code == 200, response

    return call


def receive_events(events: int) -> float:
    received = 0

    def receiver(event: Any, **kwargs: Any) -> None:
        nonlocal received
        received += 1

    with receiving("tracking", receiver):
        call = caller("/sendgrid/tracking/", tracking_call(events))
        calls = max(1, 500 // events)
        seconds = seconds_per_call(call, calls=calls, clock=time.process_time)
    assert received == calls * events
    return seconds


def tracking_seconds() -> dict[str, float]:
    """Return what a SendGrid call with EVENTS events takes, and json.loads of its body alone."""
    body = tracking_call(EVENTS)
    with receiving("tracking", lambda **kwargs: None):
        return alternate(
            {
                "json.loads of the body": partial(json.loads, body),
                "an empty view that decodes the JSON": caller("/decode/", body),
                "anymail, with WEBHOOK_SECRET": caller("/sendgrid/tracking/", body),
                "the same, and the signature verified": caller(
                    "/signed/", body, signature_headers(body)
                ),
            },
            rounds=25,
            clock=time.process_time,
        )


def tracking_table() -> Table:
    seconds = tracking_seconds()
    plain = next(iter(seconds))
    table = Table(
        f"A SendGrid webhook call with {EVENTS} events",
        ["", "the call", "per event", "compared", "goal"],
    )
    for name, value in seconds.items():
        table.add(
            name,
            milliseconds(value),
            microseconds(value / EVENTS),
            ratio(value, seconds[plain]),
            f"{EVENTS_GOAL} x" if "WEBHOOK_SECRET" in name else "",
        )
    return table


# -- Messages ---------------------------------------------------------------------------------


@cache
def raw_message(size: int) -> bytes:
    """Return raw MIME of about that many bytes: two bodies, and an attachment for the rest."""
    message = EmailMessage(policy.SMTP)
    message["From"] = "Some Customer <customer@example.org>"
    message["To"] = "shop@example.com"
    message["Subject"] = "An order"
    message.set_content("Hello, please find the order attached.\n")
    message.add_alternative("<p>Hello, please find the order attached.</p>\n", subtype="html")
    overhead = len(message.as_bytes()) + 350
    content = random.Random(1).randbytes(max(1, (size - overhead) * 57 // 78))
    message.add_attachment(content, maintype="application", subtype="pdf", filename="an order.pdf")
    return message.as_bytes()


def read_plain(raw: bytes) -> list[Any]:
    """Parse and read a message with what the email package has for that."""
    message = BytesParser(policy=policy.default).parsebytes(raw)
    return [part.get_content() for part in message.walk() if not part.is_multipart()]


def read(message: AnymailInboundMessage) -> list[Any]:
    contents = [part.get_content_bytes() for part in message.attachments]
    return [message.text, message.html, *contents]


def receive_message(kilobytes: int) -> float:
    set_up()
    from anymail.inbound import AnymailInboundMessage

    raw = raw_message(kilobytes * 1000)
    return seconds_per_call(
        lambda: read(AnymailInboundMessage.parse_raw_mime_bytes(raw)),
        calls=max(1, 1000 // kilobytes),
        clock=time.process_time,
    )


def peak_memory(variant: Variant) -> int:
    """Return how many bytes are in use at most, beyond those before and those of the result."""
    gc.collect()
    tracemalloc.start()
    try:
        variant()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def parsing() -> dict[str, tuple[float, float]]:
    """Return the processor's seconds and the bytes to read a message, by who parses it."""
    set_up()
    from anymail.inbound import AnymailInboundMessage

    raw = raw_message(MESSAGE_SIZE)
    text = raw.decode()
    variants: dict[str, Variant] = {
        PLAIN_PARSER: lambda: read_plain(raw),
        OUR_PARSER: lambda: read(AnymailInboundMessage.parse_raw_mime_bytes(raw)),
        "parse_raw_mime()": lambda: read(AnymailInboundMessage.parse_raw_mime(text)),
        "parse_raw_mime_file()": lambda: read(
            AnymailInboundMessage.parse_raw_mime_file(BytesIO(raw))
        ),
    }
    for variant in variants.values():
        assert variant()[-1] == read_plain(raw)[-1]
    seconds = alternate(variants, rounds=15, clock=time.process_time)
    return {name: (seconds[name], peak_memory(variant)) for name, variant in variants.items()}


def parsing_table() -> Table:
    measured = parsing()
    plain_seconds, plain_memory = measured[PLAIN_PARSER]
    table = Table(
        f"Parsing a message of {MESSAGE_SIZE / 1e6:.1f} MB, and reading its text, HTML and "
        "attachment",
        ["", "time", "compared", "memory", "compared", "goal for both"],
        note="Memory is the most that is in use at a time, without the raw message.",
    )
    for name, (seconds, memory) in measured.items():
        table.add(
            name,
            milliseconds(seconds),
            ratio(seconds, plain_seconds),
            f"{memory / 1e6:.1f} MB",
            ratio(memory, plain_memory),
            "" if name == PLAIN_PARSER else f"{PARSING_GOAL} x",
        )
    return table


CURVES = [
    Curve("Events of one call (SendGrid)", "events", (1, 10, 100, 500, 1000, 5000), receive_events),
    Curve(
        "Size of a received message",
        "kB",
        (1, 10, 100, 1000, 10_000, 25_000),
        receive_message,
    ),
]


def run() -> list[Table]:
    return [tracking_table(), parsing_table()]
