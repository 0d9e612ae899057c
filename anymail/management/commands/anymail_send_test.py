"""``manage.py anymail_send_test``: send a message, and see what becomes of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...delivery.mailers import DEFAULT, mailers
from ...exceptions import AnymailError, AnymailUnsupportedFeature
from ...message import AnymailMessage

_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGMAAQAABQABDQottAAAAABJRU5ErkJggg=="
)


def _add_inline_image(message: AnymailMessage) -> None:
    content_id = message.attach_inline_image(_IMAGE, "image.png")
    message.attach_alternative(f'<p>A test message. <img src="cid:{content_id}"></p>', "text/html")


FEATURES: dict[str, Callable[[AnymailMessage], None]] = {
    "HTML": lambda message: message.attach_alternative("<p>A test message.</p>", "text/html"),
    "inline image": _add_inline_image,
    "attachment": lambda message: message.attach("attached.txt", "Größe\n", "text/plain"),
    "tags": lambda message: setattr(message, "tags", ["anymail-test"]),
    "metadata": lambda message: setattr(message, "metadata", {"test": "1"}),
    "track_opens": lambda message: setattr(message, "track_opens", True),
    "track_clicks": lambda message: setattr(message, "track_clicks", True),
}
"""What --all-features adds, each by itself."""

_OF_ANYMAIL = ("tags", "metadata", "track_opens", "track_clicks")


class Command(BaseCommand):
    """Sends a test message, and tells who took it, or what to do about the error."""

    help = "Sends a test message, and tells who took it, or what to do about the error."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("to", nargs="+", metavar="ADDRESS", help="who is to get it")
        parser.add_argument("--using", metavar="ALIAS", default=DEFAULT, help="the mailer's alias")
        parser.add_argument(
            "--from",
            dest="from_email",
            metavar="ADDRESS",
            help="the sender; by default, what DEFAULT_FROM_EMAIL says",
        )
        parser.add_argument(
            "--all-features",
            action="store_true",
            help="also send " + ", ".join(FEATURES) + ", as far as the provider supports them",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        using: str = options["using"]
        if using not in mailers:
            known = ", ".join(mailers)
            raise CommandError(f"There is no mailer {using!r}: {mailers.setting_name} has {known}.")
        message = self._message(options)
        try:
            connection: Any = mailers[using]
        except ImproperlyConfigured as error:
            raise CommandError(f"Mailer {using!r} can't be used: {error}") from error
        if options["all_features"]:
            self._add_features(message, connection, options)
        try:
            count = connection.send_messages([message])
        except AnymailError as error:
            raise CommandError(f"{error}\n{error.advice}".strip()) from error
        if not count:
            raise CommandError(
                "The message was not sent: a receiver of pre_send has canceled it, or the backend "
                "says that it has sent nothing."
            )
        self._tell(message, connection)

    @staticmethod
    def _message(options: Any) -> AnymailMessage:
        return AnymailMessage(
            subject="Test message",
            body="A test message.\n",
            from_email=options["from_email"] or settings.DEFAULT_FROM_EMAIL,
            to=options["to"],
        )

    def _add_features(self, message: AnymailMessage, connection: Any, options: Any) -> None:
        backend = _first_leaf(connection, message)
        for name, add in FEATURES.items():
            if name == "HTML":
                continue  # unless there is an inline image in it
            alone = self._message(options)
            add(alone)
            unsupported_by = _unsupported_by(backend, alone, name)
            if unsupported_by is None:
                add(message)
            else:
                self.stdout.write(f"Without {name}, which {unsupported_by} does not support.")
        if not message.alternatives:
            FEATURES["HTML"](message)

    def _tell(self, message: EmailMessage, connection: Any) -> None:
        status = getattr(message, "anymail_status", None)
        if status is None or not status.recipients:
            backend = f"{type(connection).__module__}.{type(connection).__qualname__}"
            self.stdout.write(f"Sent with {backend}, which tells no status.")
            return
        for mailer, problem in status.attempts:
            name = "the backend" if mailer is None else f"mailer {mailer!r}"
            self.stdout.write(f"{name[0].upper()}{name[1:]}: {problem or 'took it'}")
        for addr_spec, recipient in status.recipients.items():
            self.stdout.write(f"{addr_spec}: {recipient.status}, id {recipient.message_id}")
        if status.status == {"later"}:
            self.stdout.write(
                "It is in the queue, and a worker is to send it. What became of it, tells:\n"
                f"  python manage.py anymail_why {status.message_id}"
            )


def _first_leaf(connection: Any, message: EmailMessage) -> Any:
    """Return the backend that a strategy would try first, if it's one of Anymail's."""
    while hasattr(connection, "route"):
        connection = mailers[connection.route(message)[0]]
    return connection


def _unsupported_by(backend: Any, message: AnymailMessage, feature: str) -> str | None:
    """Return the name of what does not support a message with a feature; None if it's supported."""
    if not hasattr(backend, "build_message_payload"):
        return "a backend that is not Anymail's" if feature in _OF_ANYMAIL else None
    try:
        backend.build_message_payload(message, backend.send_defaults)
    except AnymailUnsupportedFeature:
        return str(backend.esp_name)
    return None
