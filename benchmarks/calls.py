"""The processor's time for one message, over a kept TLS connection to a server on this machine.

The server is a process of its own, whose time doesn't count.
"""

from __future__ import annotations

import json
import ssl
import time
from http.client import HTTPSConnection
from typing import Any

from .measure import Table, Variant, alternate, microseconds, ratio
from .project import set_up
from .server import LoopbackServer

MESSAGES = 100
ROUNDS = 15
SEND_MESSAGES_GOAL = 0.8
"""To a plain requests session that is given the same payload."""
SEND_GOAL = 0.7
"""To calls that leave all to requests."""

HTTP, URLLIB3, REQUESTS = "http.client", "urllib3", "requests, one session"
SEND_MESSAGES, SEND = "send_messages()", "send()"
WHOLE_SEND = "send(), calls left to requests"


def seconds_per_message(rounds: int = ROUNDS) -> dict[str, float]:
    """Return the processor's seconds for a short, plain message, by who sends it."""
    set_up()
    import requests
    import urllib3

    from anymail.backends.postmark import EmailBackend
    from anymail.message import AnymailMessage

    messages = [
        AnymailMessage("Hello", "How are you?\n", "from@example.com", ["to@example.org"])
        for _ in range(MESSAGES)
    ]
    with LoopbackServer() as server:
        certificate = str(server.certificate)
        backend = EmailBackend(api_url=server.url)
        call = backend.prepare_call(backend.build_message_payload(messages[0], {})).params
        url, body, headers = call["url"], call["data"], call["headers"]
        context = ssl.create_default_context(cafile=certificate)
        connection = HTTPSConnection("127.0.0.1", server.port, context=context)
        pools = urllib3.PoolManager(ca_certs=certificate)
        session = requests.Session()

        def with_http_client() -> None:
            for _ in messages:
                connection.request("POST", "/email", body, headers)
                json.loads(connection.getresponse().read())

        def with_urllib3() -> None:
            for _ in messages:
                pools.request("POST", url, body=body, headers=headers).json()

        def with_requests() -> None:
            for _ in messages:
                session.request("POST", url, data=body, headers=headers, timeout=30).json()

        def send_together() -> None:
            EmailBackend(api_url=server.url).send_messages(messages)

        def send_with(backend_class: Any) -> None:
            for message in messages:
                backend_class(api_url=server.url).send_messages([message])

        variants: dict[str, Variant] = {
            HTTP: with_http_client,
            URLLIB3: with_urllib3,
            REQUESTS: with_requests,
            SEND_MESSAGES: send_together,
            SEND: lambda: send_with(EmailBackend),
            WHOLE_SEND: lambda: send_with(_backend_that_leaves_all_to_requests()),
        }
        seconds = alternate(variants, rounds=rounds, clock=time.process_time)
        connection.close()
        pools.clear()
        session.close()
    return {name: total / MESSAGES for name, total in seconds.items()}


def _backend_that_leaves_all_to_requests() -> Any:
    from requests.adapters import HTTPAdapter

    from anymail.backends.postmark import EmailBackend
    from anymail.sending.connections import SharedConnectionsAdapter

    class Adapter(SharedConnectionsAdapter):
        get_connection_with_tls_context = HTTPAdapter.get_connection_with_tls_context
        cert_verify = HTTPAdapter.cert_verify
        request_url = HTTPAdapter.request_url
        build_response = HTTPAdapter.build_response

    class Backend(EmailBackend):
        def create_session(self) -> Any:
            session = super().create_session()
            session.mount("https://", Adapter(self.connection_max_idle))
            session.request = session.request  # type: ignore[method-assign]
            return session

    return Backend


def run() -> list[Table]:
    seconds = seconds_per_message()
    goals = {
        SEND_MESSAGES: f"{SEND_MESSAGES_GOAL:.2f} x",
        SEND: f"{SEND_GOAL:.2f} x of {microseconds(seconds[WHOLE_SEND])}",
    }
    table = Table(
        "The processor's time for one message, over a kept connection",
        ["", "per message", "to requests", "goal"],
    )
    for name, value in seconds.items():
        to_requests = ratio(value, seconds[REQUESTS])
        table.add(name, microseconds(value), to_requests, goals.get(name, ""))
    return [table]
