"""What a plain `message.send()` costs, over TLS to a server on this machine.

On the way to a real provider, each handshake takes several round trips more.
"""

from __future__ import annotations

import json
import ssl
from http.client import HTTPSConnection
from typing import Any

from .measure import Table, Variant, alternate, milliseconds, ratio
from .payloads import plain_message
from .project import set_up
from .server import LoopbackServer

SENDS = 150
RATIO_GOAL = 1 / 3
CONNECTIONS_GOAL = 2


def run() -> list[Table]:
    set_up()
    import requests

    from anymail.backends.postmark import EmailBackend

    with LoopbackServer() as server:
        message = plain_message()
        body = json.dumps({"Subject": "Hello", "TextBody": message.body}).encode()
        headers = {"Content-Type": "application/json", "X-Postmark-Server-Token": "token"}
        context = ssl.create_default_context(cafile=str(server.certificate))
        connections: dict[str, int] = {}

        def send_with(backend_options: dict[str, Any]) -> None:
            for _ in range(SENDS):
                backend = EmailBackend(api_url=server.url, **backend_options)
                backend.send_messages([message])

        def with_http_client() -> None:
            connection = HTTPSConnection("127.0.0.1", server.port, context=context)
            for _ in range(SENDS):
                connection.request("POST", "/email", body, headers)
                json.loads(connection.getresponse().read())
            connection.close()

        def with_one_session() -> None:
            with requests.Session() as session:
                for _ in range(SENDS):
                    session.post(f"{server.url}email", data=body, headers=headers).json()

        def with_one_backend() -> None:
            with EmailBackend(api_url=server.url, connection_max_idle=0) as backend:
                for _ in range(SENDS):
                    backend.send_messages([message])

        shared, not_shared = "send(), connections shared", "send(), CONNECTION_MAX_IDLE 0"
        variants: dict[str, Variant] = {
            "http.client, one connection": with_http_client,
            "requests, one session": with_one_session,
            "one open backend": with_one_backend,
            shared: lambda: send_with({}),
            not_shared: lambda: send_with({"connection_max_idle": 0}),
        }
        for name, variant in variants.items():
            server.connections()
            variant()
            connections[name] = server.connections()
        seconds = alternate(variants, rounds=5)

    table = Table(
        f"{SENDS} messages, one after the other",
        ["", "per message", "to not shared", "connections", "goal"],
    )
    for name in variants:
        table.add(
            name,
            milliseconds(seconds[name] / SENDS),
            ratio(seconds[name], seconds[not_shared]),
            str(connections[name]),
            f"{RATIO_GOAL:.2f} x, {CONNECTIONS_GOAL} connections" if name == shared else "",
        )
    return [table]
