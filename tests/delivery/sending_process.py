"""A process of its own that sends messages: ``python -m tests.delivery.sending_process SETTINGS``.

It reads lines like "4 10" from standard input: that many threads are to send that many messages
each. For each line it writes one: the attempts that it took to send the messages, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]


class SendingProcess:
    """The process, as its parent sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout

    def begin(self, threads: int, messages: int) -> None:
        """Have so many threads send so many messages each."""
        self._stdin.write(f"{threads} {messages}\n")
        self._stdin.flush()

    def end(self) -> list[Any]:
        """Wait for them. Returns each message's attempts: ``[[mailer, problem], ...]``."""
        line = self._stdout.readline()
        assert line, "The process has ended"
        attempts: list[Any] = json.loads(line)
        return attempts

    def send(self, threads: int = 1, messages: int = 1) -> list[Any]:
        """Have messages sent, and return their attempts."""
        self.begin(threads, messages)
        return self.end()


@contextmanager
def sending_process(settings: dict[str, Any]) -> Iterator[SendingProcess]:
    """Run a process with these Django settings."""
    arguments = [sys.executable, "-m", __name__, json.dumps(settings)]
    with subprocess.Popen(
        arguments, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield SendingProcess(process)
        finally:
            process.kill()


def main(settings_json: str) -> None:
    import django
    from django.conf import settings

    settings.configure(**json.loads(settings_json))
    django.setup()

    from anymail import mailers

    from ..utils import make_message

    def send(count: int, attempts: list[Any]) -> None:
        for _ in range(count):
            message = make_message()
            mailers["default"].send_messages([message])
            attempts.append(message.anymail_status.attempts)

    for line in sys.stdin:
        thread_count, message_count = map(int, line.split())
        attempts: list[Any] = []
        threads = [
            threading.Thread(target=send, args=[message_count, attempts])
            for _ in range(thread_count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(attempts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
