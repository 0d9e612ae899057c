"""What the modules of providers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import urljoin

import requests

from ..masking import MASK, mask_credentials, mask_urls
from ..providers import Provider
from .urls import credentials_in, masked, without_credentials

MAX_PAGES = 20
"""So many pages of a list are read at the most."""

_SECRET_FIELDS = {"Password", "key", "secret", "token"}


class WebhookAPIError(Exception):
    """What a provider has can't be told, or not be changed. The text has no secrets."""


@dataclass(frozen=True)
class Call:
    """A call of a provider's API. The path is relative to the backend's API URL."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Registered:
    """A webhook or inbound route that a provider has, in a form that is the same for all."""

    kind: str
    """ "tracking" or "inbound"."""

    url: str
    """With user name and password, if they are in there."""

    id: str = ""

    events: frozenset[str] | None = None
    """In the provider's words; None if it can't be told."""

    is_active: bool | None = None
    """None if it can't be told."""

    scope: str = ""
    """The part of the account that it is for, such as "stream outbound"; all of it if empty."""

    own_credentials: str = ""
    """The "user:password" that is in fields of its own, instead of in the URL."""

    key: str = ""
    """The key for signatures, if the provider tells."""

    data: Mapping[str, Any] = field(default_factory=dict)
    """As the provider has it."""

    @property
    def address(self) -> str:
        """The URL without user name and password."""
        return without_credentials(self.url)

    @property
    def credentials(self) -> str:
        """The "user:password" with which it's called; empty if there is none."""
        return self.own_credentials or credentials_in(self.url)

    @property
    def is_masked(self) -> bool:
        """Whether the provider doesn't tell the password."""
        password = self.credentials.partition(":")[2]
        return bool(password) and not password.strip("*\N{BULLET}")


@dataclass(frozen=True)
class Endpoint:
    """A webhook of the project."""

    kinds: tuple[str, ...]
    url: str
    """Without user name and password."""

    secrets: tuple[str, ...] = ()
    """The "user:password" that are right, the first of which is to be used."""

    keys: tuple[str, ...] = ()
    """The keys for signatures that are right."""

    keys_setting: str = ""
    """The setting that they are in; empty if calls can't be signed."""

    verifies_signatures: bool = False
    is_protected: bool = True

    problem: str = ""
    """Why each call would be an error."""

    paths: tuple[str, ...] = ()
    """Regular expressions for ends of URLs that it has as well."""


class WebhookAPI:
    """Where to enter a provider's webhooks, and its API for them. Base of all."""

    places: ClassVar[Mapping[str, str]] = {}
    """Where to enter the URL: by "tracking" and "inbound"."""

    events: ClassVar[Mapping[str, str]] = {}
    """The events to choose, in the words of the provider's API for webhooks -> event type."""

    doubling: ClassVar[frozenset[str]] = frozenset()
    """Events that come in addition to others of the same, so that both would be reported."""

    signs: ClassVar[str] = ""
    """What of a call the provider signs; empty if it signs nothing."""

    credentials_unconfirmed: ClassVar[bool] = False
    """Whether it isn't documented that the provider uses a user name and password in URLs."""

    permission: ClassVar[str] = ""
    """What the key must be allowed, if the one that sends can be without it."""

    cannot_tell: ClassVar[tuple[str, ...]] = ()
    """What --check can't find out."""

    inbound_path: ClassVar[str] = ""
    """The path below anymail.urls to enter for inbound, if it's not the usual one."""

    apply_kinds: ClassVar[tuple[str, ...]] = ()
    """What --apply can create and update."""

    def __init__(self, provider: Provider, backend: Any = None, domain: str = "") -> None:
        self.provider = provider
        self.backend = backend
        self.domain = domain
        """The one to look at, where webhooks belong to a domain."""

    # -- For subclasses -----------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a call."""
        return {}

    def auth(self) -> tuple[str, str] | None:
        """Return user name and password for basic auth of a call."""
        return None

    @property
    def scope(self) -> str:
        """The part of the account in which there must be a webhook for tracking; empty for any."""
        return ""

    def registered(self) -> Iterator[Registered]:
        """Yield what the provider has. Raises WebhookAPIError."""
        raise WebhookAPIError(f"{self.provider.esp_name} has no API for webhooks.")

    def unreadable(self, kind: str) -> str:
        """Return why registered() has nothing for "tracking" or "inbound"; empty if it has."""
        return ""

    def create(self, kind: str, endpoint: Endpoint, url: str) -> Call:
        """Return the call that creates a webhook; ``url`` has user name and password in it."""
        raise NotImplementedError

    def update(self, found: Registered, endpoint: Endpoint, url: str) -> Call:
        """Return the call that has a webhook like a new one."""
        raise NotImplementedError

    def after_create(self, answer: Any) -> Call | None:
        """Return a call to make after a webhook was created."""
        return None

    def new_key(self, answer: Any) -> str:
        """Return the key for signatures in the answer to a call; empty if there is none."""
        return ""

    # -- Calls --------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """What the paths of calls are relative to."""
        return str(self.backend.api_url)

    def url(self, call: Call) -> str:
        """Return the URL of a call."""
        return urljoin(self.base_url, call.path)

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON that there is. Raises WebhookAPIError."""
        return self.make(Call("GET", path, params=params))

    def make(self, call: Call) -> Any:
        """Make a call, and return the JSON of its answer; None if it's empty.

        Raises WebhookAPIError.
        """
        backend = self.backend
        esp_name = self.provider.esp_name
        with backend:
            # (Its hooks print what it calls: these answers have passwords in them.)
            backend.session.hooks["response"] = []
            try:
                response = backend.session.request(
                    call.method,
                    self.url(call),
                    params=call.params or None,
                    json=call.json,
                    headers={"Accept": "application/json", **self.headers()},
                    auth=self.auth(),
                    timeout=backend.timeout,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise WebhookAPIError(
                    f"{esp_name} can't be reached: {type(error).__name__}."
                ) from None
        if response.status_code in (401, 403):
            text = f"{esp_name} answers {response.status_code}: your key is not allowed to do that."
            raise WebhookAPIError(f"{text} {self.permission}".strip())
        if not 200 <= response.status_code < 300:
            text = mask_urls(self._without_secrets(response.text, call))[:300]
            raise WebhookAPIError(f"{esp_name} answers {response.status_code}: {text}")
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise WebhookAPIError(f"{esp_name}'s answer is no JSON.") from None

    def _without_secrets(self, text: str, call: Call) -> str:
        secrets = {*self.backend._credentials(), *_secrets_in(call.json)}
        return mask_credentials(text, secrets)

    def pages(self, path: str, key: str, size: int, **params: Any) -> Iterator[Any]:
        """Yield the items of a list that comes in pages, by "limit" and "offset" or "skip"."""
        offset = next(name for name in params if params[name] == 0)
        for number in range(MAX_PAGES):
            items = self.get(path, **{**params, offset: number * size})[key]
            yield from items
            if len(items) < size:
                return


def shown(data: Any) -> Any:
    """Return what a call sends, without passwords and keys in it."""
    if isinstance(data, Mapping):
        return {
            name: MASK if name in _SECRET_FIELDS and value else shown(value)
            for name, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [shown(value) for value in data]
    return masked(data) if isinstance(data, str) and "://" in data else data


def _secrets_in(data: Any) -> Iterator[str]:
    """Yield the passwords and keys in what a call sends."""
    for name, value in data.items() if isinstance(data, Mapping) else ():
        if isinstance(value, str):
            password = credentials_in(value).partition(":")[2]
            yield from filter(None, [value if name in _SECRET_FIELDS else password])
        yield from _secrets_in(value)


def words(names: Iterable[str]) -> str:
    """Return names as a list to read."""
    return ", ".join(sorted(names))


def load_webhook_api(provider: Provider) -> type[WebhookAPI]:
    """Return the class of a provider."""
    module_name, _, class_name = provider.webhook_api.partition(":")
    api: type[WebhookAPI] = getattr(import_module(f"{__package__}.{module_name}"), class_name)
    return api
