"""Sending with asyncio: many messages at a time, to a provider that takes its time.

And why aiohttp: what each client takes for the same requests. (httpx is only measured if it's
installed.)
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from .measure import Table, milliseconds, ratio
from .project import set_up
from .server import LoopbackServer

MESSAGES = 1000
SERVER_SECONDS = 0.03
IN_FLIGHT = 200
BODY = "x" * 10_000
ROUNDS = 5

TIME_GOAL = 1.5
"""To the time that the provider takes for calls in flight, and the processor time of all."""
PAUSE_GOAL = 0.05
"""Seconds for which other tasks of the loop wait at the most."""


class Measured(NamedTuple):
    seconds: float
    cpu: float
    longest_pause: float

    @property
    def least_seconds(self) -> float:
        """How long it would take if nothing but the provider and computing took any time."""
        return MESSAGES / IN_FLIGHT * SERVER_SECONDS + self.cpu


async def measure(send: Callable[[], Awaitable[Any]]) -> Measured:
    """Return what sending takes, and for how long it keeps the loop from other tasks."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started - 0.001)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    started, cpu_started = time.perf_counter(), time.process_time()
    await send()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    watching.cancel()
    return Measured(seconds, cpu, longest)


def messages() -> list[Any]:
    from anymail.message import AnymailMessage

    return [
        AnymailMessage(f"Order {number}", BODY, "shop@example.com", ["customer@example.org"])
        for number in range(MESSAGES)
    ]


async def send_with_anymail(url: str) -> Measured:
    """Measure sending the messages, when connections are there already."""
    from anymail.backends.postmark import EmailBackend

    backend = EmailBackend(api_url=url)

    async def send() -> None:
        assert await backend.asend_messages(to_send, concurrency=IN_FLIGHT) == MESSAGES

    await backend.asend_messages(messages()[:IN_FLIGHT], concurrency=IN_FLIGHT)
    to_send = messages()
    return await measure(send)


def median_of(all_measured: list[Measured]) -> Measured:
    return Measured(*map(statistics.median, zip(*all_measured, strict=True)))


def measure_anymail() -> Measured:
    """Return the medians of several rounds."""
    set_up()
    with LoopbackServer(SERVER_SECONDS) as server:
        return median_of([asyncio.run(send_with_anymail(server.url)) for _ in range(ROUNDS)])


# -- Clients ----------------------------------------------------------------------------------

HEADERS = {"Content-Type": "application/json", "X-Postmark-Server-Token": "token"}


async def post_with(post: Callable[[], Awaitable[None]]) -> float:
    """Return the processor time for each of as many requests as there are messages."""
    turns = asyncio.Semaphore(IN_FLIGHT)

    async def post_in_turn() -> None:
        async with turns:
            await post()

    await asyncio.gather(*(post() for _ in range(IN_FLIGHT)))  # connections
    started = time.process_time()
    await asyncio.gather(*(post_in_turn() for _ in range(MESSAGES)))
    return (time.process_time() - started) / MESSAGES


async def post_with_aiohttp(url: str, context: ssl.SSLContext) -> float:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as client:

        async def post() -> None:
            async with client.post(f"{url}email", data=BODY.encode(), headers=HEADERS) as answer:
                await answer.json()

        return await post_with(post)


async def post_with_httpx(url: str, context: ssl.SSLContext) -> float:
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(verify=context, limits=limits) as client:

        async def post() -> None:
            (await client.post(f"{url}email", content=BODY.encode(), headers=HEADERS)).json()

        return await post_with(post)


def clients_table(own_cpu: float) -> Table:
    table = Table(
        f"Processor time of a request of {len(BODY) // 1000} kB, {IN_FLIGHT} in flight",
        ["", "each", "to aiohttp"],
    )
    with LoopbackServer(SERVER_SECONDS) as server:
        context = ssl.create_default_context(cafile=str(server.certificate))
        cpu = {"aiohttp": asyncio.run(post_with_aiohttp(server.url, context))}
        if find_spec("httpx"):
            cpu["httpx"] = asyncio.run(post_with_httpx(server.url, context))
    cpu["anymail.aio: a message"] = own_cpu
    for name, seconds in cpu.items():
        table.add(name, milliseconds(seconds), ratio(seconds, cpu["aiohttp"]))
    return table


def run() -> list[Table]:
    measured = measure_anymail()
    table = Table(
        f"{MESSAGES} messages, {SERVER_SECONDS * 1000:g} ms each at the provider, {IN_FLIGHT} in "
        "flight",
        ["", "measured", "", "goal"],
    )
    table.add(
        "to the provider's time and ours",
        milliseconds(measured.seconds),
        ratio(measured.seconds, measured.least_seconds),
        f"{TIME_GOAL:.2f} x",
    )
    table.add(
        "longest pause of the loop",
        milliseconds(measured.longest_pause),
        ratio(measured.longest_pause, measured.seconds),
        milliseconds(PAUSE_GOAL),
    )
    return [table, clients_table(measured.cpu / MESSAGES)]
