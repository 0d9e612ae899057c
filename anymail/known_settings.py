"""Which settings there are, as the classes that use them declare them.

For documentation and system checks: it imports what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .conf import Setting, base_url, declared_settings, setting_name
from .providers import PROVIDERS, Provider

Use = Literal["sending", "tracking", "inbound", "combined", "webhooks"]


@dataclass(frozen=True)
class KnownSetting:
    """A key of ``settings.ANYMAIL``, or a name with ``ANYMAIL_`` in front of it."""

    name: str
    """In full."""

    declarations: dict[Use, Setting]
    """By what uses it, at least one."""

    def _first(self) -> Setting:
        return next(iter(self.declarations.values()))

    @property
    def help(self) -> str:
        """What it does."""
        return " ".join(dict.fromkeys(item.help for item in self.declarations.values()))

    @property
    def default(self) -> Any:
        """UNSET if there is none, or if it depends on something."""
        return self._first().default

    @property
    def default_text(self) -> str:
        """The default in words; empty where its value tells enough."""
        return self._first().default_text

    @property
    def bare(self) -> bool:
        """Whether the name alone is read too, without ANYMAIL."""
        return any(item.bare for item in self.declarations.values())

    @property
    def used_by(self) -> str:
        """What uses it: "sending", "webhooks" or "sending and webhooks"."""
        uses = ["webhooks" if use != "sending" else use for use in self.declarations]
        return " and ".join(dict.fromkeys(uses))

    @property
    def required(self) -> list[Use]:
        """What it is required for."""
        return [use for use, item in self.declarations.items() if item.required]

    @property
    def options(self) -> tuple[str, ...]:
        """What it is called in OPTIONS of an entry in MAILERS. The first one counts."""
        declared = self.declarations.get("sending")
        return () if declared is None else tuple(declared.options)

    @property
    def argument(self) -> str:
        """What it is called as an argument of a view's ``as_view()``; empty if it's none."""
        for use, item in self.declarations.items():
            if use != "sending" and item.options:
                return item.attribute
        return ""


def general_settings() -> list[KnownSetting]:
    """Return the settings for all providers that backends have."""
    return [item for item in _without_provider() if "sending" in item.declarations]


def webhook_settings() -> list[KnownSetting]:
    """Return the settings for all providers that only webhooks have."""
    return [item for item in _without_provider() if "sending" not in item.declarations]


def _without_provider() -> list[KnownSetting]:
    from .backends.base_requests import AnymailRequestsBackend
    from .delivery.ledger import Ledger
    from .delivery.memory import Memory
    from .webhooks.base import AnymailBaseWebhookView
    from .webhooks.dedupe import HandledEvents
    from .webhooks.downloads import Downloads
    from .webhooks.kept import CallStorage

    classes: list[tuple[Use, type]] = [
        ("sending", AnymailRequestsBackend),
        *(("sending", cls) for cls in (Memory, Ledger)),
        *(
            ("webhooks", cls)
            for cls in (AnymailBaseWebhookView, CallStorage, HandledEvents, Downloads)
        ),
    ]
    return _known(
        (item.full_name(cls), use, item)
        for use, cls in classes
        for item in declared_settings(cls).values()
        if item.general
    )


def settings_of_every_provider() -> list[KnownSetting]:
    """Return the settings that each provider has, with "<PROVIDER>" in place of its name."""
    from .backends.base_requests import AnymailRequestsBackend

    return _known(
        (setting_name(item.name, "<PROVIDER>"), "sending", item)
        for item in declared_settings(AnymailRequestsBackend).values()
        if not item.general
    )


def settings_of(provider: Provider) -> list[KnownSetting]:
    """Return the settings that only one provider has.

    Raises AnymailImproperlyInstalled if the backend can't be imported without an extra.
    """
    classes: list[tuple[Use, Any]] = [("sending", import_string(provider.backend))]
    classes += [(item.kind, import_string(item.view_path)) for item in provider.webhook_views()]
    shared = {item.name for item in settings_of_every_provider()}
    return _known(
        (item.full_name(cls), use, item)
        for use, cls in classes
        for item in declared_settings(cls).values()
        if not item.general and setting_name(item.name, "<PROVIDER>") not in shared
    )


def _known(found: Iterable[tuple[str, Use, Setting]]) -> list[KnownSetting]:
    """Put what is declared several times together."""
    declarations: dict[str, dict[Use, Setting]] = {}
    for name, use, item in found:
        declarations.setdefault(name, {}).setdefault(use, item)
    return [KnownSetting(name, uses) for name, uses in declarations.items()]


@dataclass(frozen=True)
class Group:
    """Settings that the docs list together."""

    title: str
    settings: list[KnownSetting]


def groups() -> dict[str, Group]:
    """Return all settings, by the name that the docs refer to a group with."""
    return {
        "general": Group("General", general_settings()),
        "every_provider": Group("Every provider", settings_of_every_provider()),
        "webhooks": Group("Webhooks", webhook_settings()),
        **{
            name: Group(provider.esp_name, settings_of(provider))
            for name, provider in PROVIDERS.items()
        },
    }


def all_names() -> Iterator[str]:
    """Yield the full names of the settings that the docs describe one by one."""
    for name, group in groups().items():
        if name != "every_provider":
            yield from (item.name for item in group.settings)


def backend_without_keys(provider: str, **options: Any) -> Any:
    """Return the email backend of a provider, by the name of its module, to look at its calls.

    Required settings that the project doesn't have are made up. Raises LookupError for an unknown
    provider.
    """
    backend_class: Any = import_string(PROVIDERS[provider].backend)
    declared = declared_settings(backend_class)
    for item in declared.values():
        if item.required is True:
            try:
                item.read(backend_class)
            except ImproperlyConfigured:
                is_url = item.kind is base_url
                options[item.options[0]] = "https://api.example.com/" if is_url else "made-up"
    if "client_params" in declared:
        # Without these, boto3 makes no client, or looks for them on the network.
        options["client_params"] = {
            "region_name": "us-east-1",
            "aws_access_key_id": "made-up",
            "aws_secret_access_key": "made-up",
            **declared["client_params"].read(backend_class),
        }
    return backend_class(**options)
