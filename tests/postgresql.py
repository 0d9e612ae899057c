"""A PostgreSQL server of the tests' own, on the loopback interface, with temporary data."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .debian import find_or_install

USER = "postgres"
"""Who runs the server if it can't be the one who runs the tests: it refuses to be run by root."""

START_SECONDS = 30


@contextmanager
def postgresql_server() -> Iterator[dict[str, Any]]:
    """Run a server. ``with`` gives the settings of a database in it, as in DATABASES.

    Skips the test if there is no PostgreSQL, and it can't be installed.
    """
    programs = find_or_install("PostgreSQL", "postgresql", _find_programs)
    as_user: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []}
    if os.geteuid() != 0:
        as_user = {}
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as free:
        data, password_file = Path(directory, "data"), Path(directory, "password")
        password = secrets.token_hex()
        password_file.write_text(password)
        if as_user:
            for path in (directory, password_file):
                shutil.chown(path, USER, USER)
        run: dict[str, Any] = {"cwd": directory, "stdin": subprocess.DEVNULL, **as_user}
        subprocess.run(
            [
                *(programs / "initdb", "--pgdata", data, "--username", USER, "--no-sync"),
                *("--auth", "scram-sha-256", "--pwfile", password_file, "--encoding", "UTF8"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **run,
        )
        port = free.getsockname()[1]
        free.close()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
        }
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(programs / "postgres", "-D", data),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                stdout=log,
                stderr=log,
                **run,
            )
        try:
            _wait_for(process, port, Path(directory, "log"))
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "PORT": port,
                "NAME": "postgres",
                "USER": USER,
                "PASSWORD": password,
            }
        finally:
            process.send_signal(signal.SIGINT)  # without waiting for clients
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}")


def _find_programs() -> Path | None:
    """Return the directory with PostgreSQL's programs."""
    # Debian has them outside of PATH.
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]
    return next((path for path in candidates if (path / "initdb").exists()), None)
