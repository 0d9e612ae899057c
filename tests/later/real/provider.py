"""A provider that takes its time, while those who call it are killed."""

from __future__ import annotations

import json
import time

from anymail.sandbox import ApiRequest, Sandbox
from anymail.sandbox.wire import ApiResponse

from .processes import SECONDS, Project


class Provider(Sandbox):
    """The sandbox; it takes ``seconds`` for each answer.

    While its project holds messages, it takes those whose subject says "during", and answers only
    once they are let go. (It must be a provider with JSON.)
    """

    def __init__(self, seconds: float = 0, own_ports: tuple[str, ...] = ()) -> None:
        super().__init__(own_ports=own_ports)
        self.seconds = seconds
        self.project: Project | None = None

    def handle(self, target: str, request: ApiRequest) -> ApiResponse | None:
        answer = super().handle(target, request)
        time.sleep(self.seconds)
        if self.project is not None and b"during" in request.body:
            fields = {name.lower(): value for name, value in json.loads(request.body).items()}
            self._hold(self.project, fields["subject"])
        return answer

    def _hold(self, project: Project, subject: str) -> None:
        if not (project.directory / "hold").exists():
            return
        begun = project.noted("begun", subject=subject)[-1]
        (project.directory / f"held {subject}").write_text(str(begun["pid"]))
        end = time.monotonic() + SECONDS
        while (project.directory / "hold").exists() and time.monotonic() < end:
            time.sleep(0.05)
