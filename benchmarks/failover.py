"""What a failover backend costs, as long as nothing fails: CPU over HTTP on this machine."""

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import Any

from tests.redis_server import find_redis, redis_server

from .measure import Table, Variant, alternate, milliseconds, ratio
from .payloads import plain_message
from .project import set_up
from .server import LoopbackServer

RATIO_GOAL = 1.1
SIZES = {"10 KB": (10_000, 100), "1 MB": (1_000_000, 20)}
"""Size of the body, and how many messages to time."""


def run() -> list[Table]:
    set_up()
    import django
    from django.test import override_settings

    import anymail

    redis = redis_server() if find_redis() else nullcontext("")
    with LoopbackServer() as server, redis as redis_url:
        leaf = {
            "BACKEND": "anymail.backends.postmark.EmailBackend",
            "OPTIONS": {"api_url": server.url, "server_token": "token"},
        }
        mailers = {
            "default": {
                "BACKEND": "anymail.backends.failover.EmailBackend",
                "OPTIONS": {"mailers": ["postmark", "spare"], "duplicates": "avoid"},
            },
            "postmark": leaf,
            "spare": leaf,
        }
        caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        if redis_url:
            caches["redis"] = {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis_url,
            }

        def send(alias: str, size: int, count: int, cache: str | None) -> None:
            delivery = {"DELIVERY_CACHE": cache} if cache else {}
            if django.VERSION >= (6, 1):
                names: dict[str, Any] = {"MAILERS": mailers, "ANYMAIL": delivery}
            else:
                names = {"ANYMAIL": {"MAILERS": mailers, **delivery}}
            message = plain_message()
            message.body = "x" * size
            with override_settings(CACHES=caches, **names):
                for _ in range(count):
                    assert anymail.mailers[alias].send_messages([message]) == 1

        table = Table(
            "One message, CPU of the sender", ["", "one mailer", "failover", "to one", "goal"]
        )
        for title, (size, count) in SIZES.items():
            variants: dict[str, Variant] = {
                "one": partial(send, "postmark", size, count, None),
                "failover": partial(send, "default", size, count, None),
            }
            if redis_url:
                variants["redis"] = partial(send, "default", size, count, "redis")
            seconds = alternate(variants, rounds=7, clock=time.process_time)
            for name, suffix in (("failover", ""), ("redis", ", DELIVERY_CACHE in Redis")):
                if name in seconds:
                    table.add(
                        title + suffix,
                        milliseconds(seconds["one"] / count),
                        milliseconds(seconds[name] / count),
                        ratio(seconds[name], seconds["one"]),
                        f"{RATIO_GOAL:.2f} x" if name == "failover" else "",
                    )
    return [table]
