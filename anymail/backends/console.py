"""Prints messages, like Django's console backend, but with Anymail's status and signals."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.console import EmailBackend as DjangoConsoleBackend

from .test import EmailBackend as AnymailTestBackend


class EmailBackend(AnymailTestBackend, DjangoConsoleBackend):
    """An email backend for development.

    Keyword argument ``stream``: where to print; standard output by default.
    """

    esp_name = "Console"

    def get_esp_message_id(self, message: EmailMessage) -> str:
        """Return a random UUID."""
        return str(uuid.uuid4())

    def record_message(self, message: EmailMessage) -> None:
        """Keep nothing: a development server would grow with each message."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> Any:
        if not email_messages:
            return None  # as Django's console backend
        with self._lock:
            return super().send_messages(email_messages)

    def _send(self, message: EmailMessage) -> bool:
        sent = super()._send(message)
        if sent:
            self.write_message(message)
            self.stream.flush()
        return sent
