"""The requests that aiohttp sends are those of requests, and so are the responses."""

from __future__ import annotations

from typing import Any

import requests

from anymail.sending import async_http, lean
from anymail.sending.connections import watch_handover

from ..sending.test_lean import (
    CASES,
    SameCallsTests,
    call_plainly,
    plain_session,
    session_like_ours,
)
from .loops import LoopTestCase

# What makes a difference
OTHER_RESULTS = {
    "malformed headers": "aiohttp takes no answer that is not HTTP",
    "odd headers": "the same",
    "unknown argument": "nobody has any",
}


class WireTests(LoopTestCase, SameCallsTests):
    def call(self, session: requests.Session, params: dict[str, Any]) -> requests.Response:
        return self.await_(self.acall(session, params))

    async def acall(self, session: requests.Session, params: dict[str, Any]) -> requests.Response:
        request = lean.prepare(session, params)
        environment = lean.environment(session, str(request.url), params)
        if not async_http.can_send(session, request, environment):
            return lean.request(session, params)
        return await async_http.send(
            session,
            request,
            environment,
            timeout=params.get("timeout"),
            max_idle=30,
            handover=watch_handover(),
        )

    def test_wire(self) -> None:
        for name, case in CASES.items():
            if name in OTHER_RESULTS:
                continue
            with self.subTest(name):
                expected = self.run_case(case, plain_session(), call_plainly)
                actual = self.run_case(case, session_like_ours(), self.call)
                self.assertEqual(normal(actual), normal(expected))


def normal(found: Any) -> Any:
    received, outcomes = found
    return [normal_request(item) for item in received], [normal_outcome(item) for item in outcomes]


def normal_request(received: bytes) -> Any:
    head, _, body = received.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    if line.startswith(b"CONNECT "):
        # Only aiohttp says who wants a tunnel. Early versions of Python do it with HTTP/1.0.
        return line.split()[1], [
            item for item in headers if item.startswith(b"Proxy-Authorization:")
        ]
    # The encodings that answers can have are others. Without a User-Agent, urllib3 has its own.
    ignored = (b"accept-encoding: ", b"user-agent: python-urllib3/")
    return line, sorted(item for item in headers if not item.lower().startswith(ignored)), body


def normal_outcome(outcome: Any) -> Any:
    if not isinstance(outcome, dict):
        return outcome
    names = ("answer", "text", "cookies", "request", "request body")
    # (Early versions of urllib3 keep the line breaks of folded headers.)
    headers = [(name, " ".join(value.split())) for name, value in outcome["headers"][1]]
    return {name: outcome[name] for name in names} | {"headers": headers}
