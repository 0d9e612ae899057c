"""A project whose parts are processes of their own: one that queues messages, and workers."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import django

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[3]
SITE = Path(__file__).parent / "site"
"""What the processes import, beside Anymail."""

SECONDS = 40
"""How long to wait for what should take a few."""

CLIENT_SECONDS = 200
"""How long a command of the client's may take: it can queue thousands of messages."""

VISIBILITY_SECONDS = 5
"""After which Redis gives a job that nobody has finished to another worker."""


def redis_cache(url: str) -> dict[str, Any]:
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}


def settings_for(mailers: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return settings with mailers, as this version of Django has them, and other settings."""
    base = {
        "INSTALLED_APPS": ["anymail", "witness"],
        "SECRET_KEY": "of the site and its workers",
        "USE_TZ": True,
    }
    if django.VERSION >= (6, 1):
        return {**base, "MAILERS": mailers, **settings}
    backend = "anymail.backends.mailers.EmailBackend"
    anymail_settings = {**settings.pop("ANYMAIL", {}), "MAILERS": mailers}
    return {**base, "EMAIL_BACKEND": backend, "ANYMAIL": anymail_settings, **settings}


def celery_settings(redis_url: str, **more: Any) -> dict[str, Any]:
    """Return settings for Celery with Redis, where unfinished jobs are soon given to others."""
    options = {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
    }
    return {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": options,
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
        **more,
    }


class Project:
    """Settings, a directory for what its processes note, and these processes."""

    def __init__(self, directory: Path, settings: dict[str, Any], **environment: str) -> None:
        self.directory = directory
        self.environment = environment
        self.settings = {**settings, "WITNESS": str(directory)}
        self._processes: list[Process] = []

    def change(self, **settings: Any) -> None:
        """Have other settings, in processes that are started from now on."""
        self.settings.update(settings)

    def start(self, name: str, *arguments: str, pipes: bool = False) -> Process:
        """Start Python in a session of its own."""
        process = Process(
            self.directory / f"{name}-{len(self._processes)}.log",
            [sys.executable, *arguments],
            {
                **{key: value for key, value in os.environ.items() if key in {"PATH", "TZ"}},
                "ANYMAIL_TEST_PROJECT": json.dumps(self.settings),
                "DJANGO_SETTINGS_MODULE": "later_settings",
                "PYTHONPATH": f"{SITE}{os.pathsep}{REPOSITORY}",
                **self.environment,
            },
            pipes,
        )
        self._processes.append(process)
        return process

    def celery_worker(self, concurrency: int = 1, *arguments: str) -> Process:
        """Start a Celery worker, and wait until it's ready."""
        command = ["-m", "celery", "-A", "celery_app", "worker"]
        options = [f"--concurrency={concurrency}", "--loglevel=INFO", "-n"]
        name = f"worker{len(self._processes)}@localhost"
        options += [name, "--without-gossip", "--without-mingle", *arguments]
        process = self.start("celery", *command, *options)
        process.wait_for_output(" ready.")
        return process

    def db_workers(self, count: int) -> list[Process]:
        """Start workers of django-tasks-db, and wait until they are ready."""
        command = ("-m", "django", "db_worker", "--queue-name=*")
        options = ("--interval=0.05", "--no-startup-delay")
        processes = [self.start("db_worker", *command, *options) for _ in range(count)]
        for process in processes:
            process.wait_for_output("Starting worker")
        return processes

    def client(self) -> Client:
        """Start a process that queues messages."""
        return Client(self.start("client", "-m", "tests.later.real.client", pipes=True))

    def stop(self) -> None:
        """Kill all of its processes."""
        for process in self._processes:
            process.kill()

    # -- What they have noted -------------------------------------------------------------------

    @property
    def journal(self) -> list[dict[str, Any]]:
        try:
            lines = (self.directory / "journal").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def noted(self, what: str, **values: Any) -> list[dict[str, Any]]:
        """Return the journal's lines of one kind."""
        values["what"] = what
        return [line for line in self.journal if values.items() <= line.items()]

    def hold(self) -> None:
        """From now on, have messages held where their subjects say."""
        (self.directory / "hold").touch()

    def release(self) -> None:
        """Hold no more messages. Those who wait go on waiting, to be killed."""
        (self.directory / "hold").unlink()

    def held(self) -> dict[str, int]:
        """Return who waits to be killed: the processes, by messages' subjects."""
        found = self.directory.glob("held *")
        return {path.name.removeprefix("held "): int(path.read_text() or 0) for path in found}

    def wait_for(self, condition: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
        """Return what a condition returns once that is true. Raises AssertionError."""
        end = time.monotonic() + seconds
        while not (result := condition()):
            if time.monotonic() > end:
                logs = "\n".join(f"{p.log.name}:\n{p.output[-4000:]}" for p in self._processes)
                raise AssertionError(f"There is no {what} after {seconds} s.\n{logs}")
            time.sleep(0.05)
        return result


class Process:
    """A process, with all processes that it starts, and what they print."""

    def __init__(
        self, log: Path, command: list[str], environment: dict[str, str], pipes: bool
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self.popen = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file,
                text=True,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_output(self, text: str) -> None:
        end = time.monotonic() + SECONDS
        while text not in self.output:
            if self.popen.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{self.log.name} has not printed {text!r}:\n{self.output}")
            time.sleep(0.05)

    def terminate(self) -> None:
        """Ask it to end, and wait until it has."""
        self.popen.terminate()
        self.popen.wait(SECONDS)

    def kill(self) -> None:
        """Kill it, and what it has started, in the middle of whatever they do."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class Client:
    """The process that does what a site does, as its parent sees it."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.send = partial(self._do, "send")
        self.send_golden = partial(self._do, "send_golden")
        self.post = partial(self._do, "post")
        self.publish = partial(self._do, "publish")
        self.count_tasks = partial(self._do, "count_tasks")

    def control(self, command: str, queue: str) -> None:
        """Have Celery's workers do something about a queue."""
        self._do("control", command=command, queue=queue)

    def manage(self, *arguments: str) -> str:
        """Run a management command. Returns what it prints."""
        return str(self._do("manage", arguments=arguments))

    def _do(self, name: str, **arguments: Any) -> Any:
        popen = self.process.popen
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        popen.stdin.flush()
        ready, _, _ = select.select([popen.stdout], [], [], CLIENT_SECONDS)
        line = popen.stdout.readline() if ready else ""
        assert line, f"The process has ended, or does not answer:\n{self.process.output}"
        return json.loads(line)


@contextmanager
def project(settings: dict[str, Any], **environment: str) -> Iterator[Project]:
    """Run a project. All of its processes are gone at the end."""
    with tempfile.TemporaryDirectory() as directory:
        result = Project(Path(directory), settings, **environment)
        try:
            yield result
        finally:
            result.stop()
