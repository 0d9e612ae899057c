"""Mailers of all providers, which the sandbox plays."""

from __future__ import annotations

from typing import Any, ClassVar

from django.test import SimpleTestCase

import anymail.delivery.memory
from anymail.providers import PROVIDERS
from anymail.sandbox import Sandbox

from .leaf import mailer_settings


class SandboxMailersTestCase(SimpleTestCase):
    """Has a sandbox, and a mailer for each provider, which has the provider's name."""

    sandbox: ClassVar[Sandbox]
    options: dict[str, Any] = {}
    """Of each provider's mailer."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sandbox = Sandbox()
        cls.sandbox.start()
        cls.addClassCleanup(cls.sandbox.stop)

    def setUp(self) -> None:
        super().setUp()
        self.use_settings()
        self.forget()

    def use_settings(self, *, strategies: Any = None, **anymail_settings: Any) -> None:
        """Have these mailers too, and these settings."""
        override = mailer_settings(
            {
                **{
                    name: {"BACKEND": provider.backend, "OPTIONS": self.options}
                    for name, provider in PROVIDERS.items()
                    if not provider.missing_packages
                },
                **(strategies or {}),
            },
            **self.sandbox.anymail_settings(),
            **anymail_settings,
        )
        override.enable()
        self.addCleanup(override.disable)

    def forget(self) -> None:
        """Drop what the sandbox has received, and the keys that have been used."""
        self.sandbox.clear()
        anymail.delivery.memory._process_cache.clear()
