"""What the tests with real parts share."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

from django.test import SimpleTestCase

from anymail.providers import PROVIDERS

from ...redis_server import RedisServer, running_redis
from .processes import Project, celery_settings, project, redis_cache, settings_for
from .provider import Provider


class RealTestCase(SimpleTestCase):
    """Has a provider, the sandbox; subclasses start a project with an engine."""

    provider_names = ("postmark", "resend")
    """Those of which there are mailers. Resend is one that honours idempotency keys."""
    own_ports: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.redis = self.start_redis()
        self.provider = self.stack.enter_context(Provider(own_ports=self.own_ports))

    def start_redis(self) -> RedisServer:
        return self.stack.enter_context(running_redis())

    def start_project(self, **settings: Any) -> Project:
        """Make a project with a mailer of each provider, and one that sends later by each."""
        mailers: dict[str, Any] = {}
        for name in self.provider_names:
            mailers[name] = {"BACKEND": PROVIDERS[name].backend}
            options = {"mailer": name, **self.engine_options()}
            mailers[f"later-{name}"] = {
                "BACKEND": "anymail.backends.later.EmailBackend",
                "OPTIONS": options,
            }
        anymail_settings = {
            **self.provider.anymail_settings(*self.provider_names),
            "DELIVERY_CACHE": "default",
            "REQUESTS_TIMEOUT": 6,
            **settings.pop("ANYMAIL", {}),
        }
        caches = {"default": redis_cache(self.redis.url)}
        result = self.stack.enter_context(
            project(settings_for(mailers, ANYMAIL=anymail_settings, CACHES=caches, **settings))
        )
        self.provider.project = result
        return result

    def engine_options(self) -> dict[str, Any]:
        raise NotImplementedError

    def arrived(self) -> Counter[str]:
        """Count the messages that the provider has accepted, by their subjects."""
        return Counter(message.subject for message in self.provider.messages)


class CeleryTestCase(RealTestCase):
    """Has Celery with Redis."""

    def engine_options(self) -> dict[str, Any]:
        return {"engine": "celery"}

    def start_project(self, **settings: Any) -> Project:
        return super().start_project(**{**celery_settings(self.redis.url), **settings})
