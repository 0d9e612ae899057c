"""The project of the tests under uvicorn, on the loopback interface."""

from __future__ import annotations

import socket
import threading
from typing import Any

import uvicorn
from django.core.asgi import get_asgi_application


class AsgiServer:
    """A context manager: serves the project, with its settings of the moment, from a thread."""

    def __enter__(self) -> AsgiServer:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        started = threading.Event()
        # get_asgi_application() would set up Django again.
        self._server = _Server(
            uvicorn.Config(get_asgi_application(), lifespan="off", log_config=None), started
        )
        self._thread = threading.Thread(target=self._server.run, args=[[self._socket]])
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: threading.Event) -> None:
        super().__init__(config)
        self._has_started = started

    async def startup(self, *args: Any, **kwargs: Any) -> None:
        await super().startup(*args, **kwargs)
        self._has_started.set()
