"""Sends with the mailer "default" of ``ANYMAIL["MAILERS"]``, before Django 6.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from ..conf import DJANGO_HAS_MAILERS
from ..delivery.mailers import DEFAULT, mailers
from ..exceptions import AnymailInvalidMailer
from ..sending.awaitable import AwaitableBackend, send_with, suspendable


class EmailBackend(AwaitableBackend, BaseEmailBackend):
    """Stands for another backend: that of the mailer "default", which gets all arguments."""

    def __init__(self, fail_silently: bool = False, **kwargs: Any) -> None:
        super().__init__()
        # Django gives these to every backend, for SMTP.
        for name in ("username", "password"):
            if kwargs.get(name, self) is None:
                del kwargs[name]
        if fail_silently:
            kwargs["fail_silently"] = True
        _refuse_itself()
        self.mailer = mailers.create(DEFAULT, **kwargs)

    def open(self) -> bool | None:
        return self.mailer.open()

    def close(self) -> None:
        self.mailer.close()

    @suspendable
    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        return send_with(self.mailer, email_messages)  # type: ignore[no-any-return]


def _refuse_itself() -> None:
    """Raise AnymailInvalidMailer if the mailer "default" is this backend, without end."""
    path = mailers.settings.get(DEFAULT, {}).get("BACKEND")
    if not mailers.settings and not DJANGO_HAS_MAILERS:
        path = settings.EMAIL_BACKEND
    if path == f"{__name__}.EmailBackend":
        raise AnymailInvalidMailer(
            f"{path} sends with the mailer 'default' of {mailers.setting_name}: name the backend "
            "that is to send there.",
            alias=DEFAULT,
            docs="failover#mailers",
        )
