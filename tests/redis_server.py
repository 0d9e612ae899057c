"""A Redis server of its own, on the loopback interface."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .debian import find_or_install


def find_redis() -> Path | None:
    """Return the program, if it's installed."""
    found = shutil.which("redis-server")
    return None if found is None else Path(found)


class RedisServer:
    """A server that can be stopped and started again."""

    def __init__(self, program: Path, directory: str, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [str(program), "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--dir", directory, "--save", "", *options]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        _wait_for(self.port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def forget(self) -> None:
        """Delete all that it has."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(100) == b"+OK\r\n"


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Run a server, with more options of Redis.

    Skips the test if there is no Redis, and it can't be installed.
    """
    program = find_or_install("Redis", "redis-server", find_redis)
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(program, directory, *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a server. ``with`` gives its URL. Skips the test as above."""
    with running_redis() as server:
        yield server.url


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("redis-server does not answer")
