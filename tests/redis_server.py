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


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a server. ``with`` gives its URL.

    Skips the test if there is no Redis, and it can't be installed.
    """
    program = find_or_install("Redis", "redis-server", find_redis)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen([*command, "--dir", directory], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("redis-server does not answer")
