"""A real HTTP server on this machine, to see the bytes that arrive and to misbehave as told."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ReceivedRequest:
    """A request as it arrived."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    """Number of the TCP connection, counted from 1."""

    def header(self, name: str) -> str | None:
        """Return the value of a header; fails if it's repeated."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} is repeated"
        return values[0] if values else None


@dataclass
class Answer:
    """What the server answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    chunked: bool = False
    reset_after: int | None = None
    """Reset the TCP connection after so many bytes of the body."""
    close: bool = False
    """Close the connection instead of answering."""
    stall: bool = False
    """Send nothing until the server is closed."""
    stall_before_end: bool = False
    """Send all of the body but the end of it, until the server is closed."""


class HttpServer:
    """A context manager: listens on a free port of the loopback interface while it's entered.

    ``answers`` are used one by one, the last one again and again. An item can be a function of the
    ReceivedRequest that returns an Answer.
    """

    def __init__(
        self,
        *answers: Answer | Callable[[ReceivedRequest], Answer],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = list(answers or [Answer()])
        self._tls = tls
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._open: set[int] = set()
        self._closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{'https' if self._tls else 'http'}://{host!s}:{port}"

    def __enter__(self) -> HttpServer:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        if self._tls:
            # The handshake is up to the handlers, so that it keeps nobody waiting.
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._closing.set()
        self._server.shutdown()
        self.close_connections()
        self._server.server_close()  # waits for the handlers
        self._thread.join()

    def close_connections(self) -> None:
        """Close all connections, such as those that are kept alive for another request."""
        with self._lock:
            for connection in self._sockets:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
            self._sockets.clear()

    @property
    def open_connections(self) -> int:
        """How many connections neither side has closed."""
        return len(self._open)

    def _connected(self, connection: socket.socket) -> int:
        with self._lock:
            self.connections += 1
            self._sockets.append(connection)
            self._open.add(self.connections)
            return self.connections

    def _disconnected(self, number: int) -> None:
        with self._lock:
            self._open.discard(number)

    def _next_answer(self, request: ReceivedRequest) -> Answer:
        with self._lock:
            self.requests.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request) if callable(answer) else answer


class _Server(ThreadingHTTPServer):
    owner: HttpServer
    daemon_threads = False
    block_on_close = True
    request_queue_size = 100  # Others have to ask again, after a second.

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections alive
    disable_nagle_algorithm = True  # Otherwise each answer takes 40 ms.
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.owner._connected(self.connection)

    def finish(self) -> None:
        self.server.owner._disconnected(self.number)
        super().finish()

    def log_message(self, *args: Any) -> None:
        """Don't print."""

    def _handle(self) -> None:
        owner = self.server.owner
        request = ReceivedRequest(
            method=self.command,
            path=self.path,
            headers=list(self.headers.items()),
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
            connection=self.number,
        )
        answer = owner._next_answer(request)
        if answer.close:
            self.close_connection = True
            return
        if answer.stall:
            owner._closing.wait()
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(answer.body) + answer.stall_before_end))
        self.end_headers()
        if answer.reset_after is not None:
            self.wfile.write(answer.body[: answer.reset_after])
            self.wfile.flush()
            self._reset()
        elif answer.chunked:
            for byte in answer.body:
                self.wfile.write(b"1\r\n%c\r\n" % byte)
            if not answer.stall_before_end:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(answer.body)
        if answer.stall_before_end:
            owner._closing.wait()
            self.close_connection = True

    def _reset(self) -> None:
        """Close the connection in the way that the other side notices as an error (RST)."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815
