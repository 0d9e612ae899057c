"""A small Django site that includes ``anymail.urls``, and remembers the events it has received."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.http import HttpRequest

from .. import signals
from ..signals import AnymailEvent
from .server import LoopbackServer

ROOT_URLCONF = f"{__package__}.urls"
WEBHOOK_PATH = "anymail/"
_SITE = "anymail.sandbox.site"


@dataclass(frozen=True)
class SeenEvent:
    """What a signal receiver was called with."""

    esp_name: str
    event: Any


class EventLog:
    """Receiver of Anymail's signals, that keeps what it gets. Can be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[SeenEvent] = []

    def receive(self, event: AnymailEvent, esp_name: str, **kwargs: Any) -> None:
        """Keep an event: the receiver of both signals."""
        with self._lock:
            self._events.append(SeenEvent(esp_name, event))

    @property
    def events(self) -> list[SeenEvent]:
        """The events, in the order of their arrival."""
        with self._lock:
            return list(self._events)

    def connect(self) -> None:
        """Begin to receive."""
        signals.tracking.connect(self.receive)
        signals.inbound.connect(self.receive)

    def disconnect(self) -> None:
        """Receive no more."""
        signals.tracking.disconnect(self.receive)
        signals.inbound.disconnect(self.receive)


class _Complaints(logging.Handler):
    """Keeps what Django logs about requests that it refused or that failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self.texts.append(f"{type(error).__name__}: {error}")


class DemoSite:
    """The site, on a free port of a loopback address while used as a context manager.

    It runs in this process, with Django's settings: ROOT_URLCONF must be this module's. There
    should be only one at a time.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = _SiteServer(port, _QuietHandler)
        self._server.set_app(WSGIHandler())
        self._server.base_environ[_SITE] = self
        self._log = EventLog()
        self._complaints = _Complaints()

    @property
    def base_url(self) -> str:
        """The URL of the page that lists events, without a slash at the end."""
        return self._server.base_url

    @property
    def webhook_url(self) -> str:
        """Where the site includes ``anymail.urls``."""
        return f"{self.base_url}/{WEBHOOK_PATH}"

    @property
    def events(self) -> list[SeenEvent]:
        """The events that receivers have seen, in the order of their arrival."""
        return self._log.events

    @property
    def complaints(self) -> list[str]:
        """The errors that ended requests."""
        return self._complaints.texts

    def __enter__(self) -> DemoSite:
        self._log.connect()
        logging.getLogger("django").addHandler(self._complaints)
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()
        logging.getLogger("django").removeHandler(self._complaints)
        self._log.disconnect()


def site_of(request: HttpRequest) -> DemoSite:
    """Return the site that the request came to."""
    site: DemoSite = request.META[_SITE]
    return site


class _SiteServer(LoopbackServer, ThreadedWSGIServer):
    def server_bind(self) -> None:
        super().server_bind()
        self.setup_environ()


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Log nothing: the sandbox does."""
