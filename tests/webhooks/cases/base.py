"""The form of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..harness import WebhookRequest

Tamper = Callable[[WebhookRequest], None]


@dataclass(frozen=True)
class WebhookView:
    """One webhook URL."""

    kind: Literal["tracking", "inbound"]
    url_name: str
    """Name of the URL pattern, with the namespace."""
    view: str
    """Dotted path of the view class."""
    signature: Literal["none", "required", "optional"] = "none"
    """Whether the view checks signatures; "optional": only if there is a setting with the key."""
    missing_auth_status: int = 400
    """Status of the answer if basic auth is required and there is none."""
    extra_methods: Mapping[str, int] = field(default_factory=dict)
    """Statuses for HTTP methods that answer otherwise than all others' 405."""
    accepts: frozenset[str] = frozenset()
    """The malformed bodies (keys of test_contract.MALFORMED) that get a 200 all the same."""
    taken_for_other_kind: frozenset[str] = frozenset()
    """Those that raise the error about calls of the other kind."""
    refuses_other_kind: bool = True
    """Whether calls of the other kind raise an error that names both."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of as_view() to the same effect as the case's settings."""
    warnings: tuple[str, ...] = ()
    """Names of warning classes (in anymail.exceptions) issued with each call."""


@dataclass(frozen=True)
class WebhookCase:
    """One provider."""

    esp: str
    """Module in anymail.webhooks, and directory in tests/fixtures."""
    esp_name: str
    views: tuple[WebhookView, ...]
    packages: tuple[str, ...] = ()
    """Optional packages that the views need: without them, their tests are skipped."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys and such, for ANYMAIL."""
    other_settings: Mapping[str, Any] = field(default_factory=dict)
    """The same settings for another account: signatures made with ``settings`` are wrong."""
    needed_settings: Mapping[str, Any] = field(default_factory=dict)
    """What the views need beside keys for signatures: all tests have it."""
    required_setting: str = ""
    """The setting that the error names if there are none, where signatures are required."""
    sign: Callable[[WebhookRequest], None] | None = None
    """Adds a correct signature made with ``settings``, replacing one that is there."""
    signs_any_body: bool = False
    """Whether ``sign`` can be used with malformed bodies: because it only sets headers."""
    example_files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    """Files that examples in the documentation read, by functions that return their content. Only
    with the packages."""
    sns_subscription: tuple[str, str] | None = None
    """An ARN of a topic and a host, if events come from an SNS topic which a webhook subscribes."""
    no_vectors: str = ""
    """Why there is no signature to test with that others have published."""
    tampers: Mapping[str, Tamper] = field(default_factory=dict)
    """What makes a correctly signed call unacceptable: {description: function}."""

    def view(self, kind: str) -> WebhookView:
        for view in self.views:
            if view.kind == kind:
                return view
        raise AssertionError(f"{self.esp} has no {kind} webhook in tests/webhooks/cases")
