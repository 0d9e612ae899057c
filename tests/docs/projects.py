"""Django projects in a directory of their own, used as their developers use them: by commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..sandbox.cases import SandboxTestCase
from .blocks import ROOT

SECONDS = 30
"""How long to wait for what should take a second or two."""


class ProjectTestCase(SandboxTestCase):
    """Has a running sandbox, and a directory for a project."""

    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.project = Project(Path(directory.name))


class Project:
    """A project, and its development server, or another process that goes on running."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.environment = {
            # Neither settings nor proxies of whoever runs the tests
            **{
                name: value
                for name, value in os.environ.items()
                if name in {"PATH", "TZ", "PYTHONPYCACHEPREFIX"}
            },
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
            **environment,
        }
        self.url = ""
        self._output: list[str] = []
        self._changed = threading.Condition()

    def run(self, *arguments: str) -> str:
        """Run Python, and return what it prints. Raises AssertionError if it fails."""
        result = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            timeout=SECONDS,
            **self._options(),
        )
        if result.returncode:
            raise AssertionError(f"{' '.join(arguments)} failed:\n{result.stdout}")
        return result.stdout

    def manage(self, *arguments: str) -> str:
        """Run a management command, and return what it prints. Raises AssertionError."""
        return self.run("manage.py", *arguments)

    def start_server(self) -> None:
        """Run the development server, on any free port, until ``stop()``."""
        self.start("manage.py", "runserver", "--noreload", "127.0.0.1:0")
        match = self.wait_for_output(r"server at (http://127\.0\.0\.1:\d+)/")
        self.url = match[1]

    def start(self, *arguments: str) -> None:
        """Run Python until ``stop()``."""
        command = [sys.executable, *arguments]
        self._process = subprocess.Popen(command, start_new_session=True, **self._options())
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def stop(self) -> None:
        """Kill what was started, and what that has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def wait_for_output(self, pattern: str) -> re.Match[str]:
        """Return the first match in what that has printed. Raises AssertionError."""
        with self._changed:
            self._changed.wait_for(
                lambda: re.search(pattern, self.output) or not self._reader.is_alive(), SECONDS
            )
            match = re.search(pattern, self.output)
        if match is None:
            raise AssertionError(f"{pattern!r} was not printed, but:\n{self.output}")
        return match

    @property
    def output(self) -> str:
        return "".join(self._output)

    def _options(self) -> dict[str, Any]:
        return {
            "cwd": self.directory,
            "env": self.environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "encoding": "utf-8",
        }

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                self._output.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
