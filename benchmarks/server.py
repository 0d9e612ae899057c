"""A provider's API on the loopback interface, in a process of its own: `LoopbackServer()`.

It answers every POST as Postmark answers a message, or several in one call, over TLS, and takes as
long as it's told.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.tls import make_certificate, server_context

ANSWER = {
    "To": "Some Customer <customer@example.org>",
    "Message": "OK",
    "ErrorCode": 0,
    "MessageID": "id",
}


class LoopbackServer:
    """A context manager: runs the server, and has requests trust its certificate."""

    def __init__(self, delay: float = 0) -> None:
        self.delay = delay

    def __enter__(self) -> LoopbackServer:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.certificate = make_certificate(directory)
            environment = {"NO_PROXY": "127.0.0.1", "REQUESTS_CA_BUNDLE": str(self.certificate)}
            stack.enter_context(patch.dict(os.environ, environment))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(self.certificate), str(self.delay)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            self.port, self._control_port = json.loads(process.stdout.readline())
            self.url = f"https://127.0.0.1:{self.port}/"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def connections(self) -> int:
        """Return how many connections there have been since the last time."""
        with socket.create_connection(("127.0.0.1", self._control_port)) as control:
            return int(control.recv(100))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    delay: float
    connections = 0

    def handle_error(self, *args: Any) -> None:
        """Don't print: connections may end in any way."""


@cache
def _answer(messages: int | None) -> bytes:
    """Return the answer to a call with a message, or with so many."""
    body = json.dumps(ANSWER if messages is None else [ANSWER] * messages).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


class _Handler(socketserver.StreamRequestHandler):
    """As little HTTP as it takes, to measure clients and not the server."""

    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            is_batch = line.split()[1].endswith(b"/batch")
            length = 0
            while line not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = self.rfile.readline()
            body = self.rfile.read(length)
            if self.server.delay:
                time.sleep(self.server.delay)
            self.wfile.write(_answer(len(json.loads(body)) if is_batch else None))


class _Control(socketserver.BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        observed = self.server.observed
        self.request.sendall(str(observed.connections).encode())
        observed.connections = 0


def main(certificate: str, delay: str) -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.delay = float(delay)
    server.socket = server_context(Path(certificate)).wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    control: Any = socketserver.TCPServer(("127.0.0.1", 0), _Control)
    control.observed = server
    threading.Thread(target=control.serve_forever, daemon=True).start()
    print(json.dumps([server.server_address[1], control.server_address[1]]), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
