"""Which calls would have a provider call the project's webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .base import Call, Endpoint, Registered, WebhookAPI
from .compare import has_right_credentials, in_scopes, is_outdated
from .urls import with_credentials


@dataclass(frozen=True)
class Change:
    """Something to do."""

    call: Call
    endpoint: Endpoint
    text: str
    """What is done by it, as a sentence without secrets."""

    is_new: bool = False


def plan(
    api: WebhookAPI, kind: str, endpoint: Endpoint, registered: Iterable[Registered]
) -> Iterator[Change]:
    """Yield what to do about an endpoint: for exactly its URL only, and nothing is deleted.

    What is there twice is left alone: which one is right, nobody knows. Raises WebhookAPIError.
    """
    here = [item for item in registered if item.kind == kind and item.address == endpoint.url]
    groups = in_scopes(here)
    wanted_scope = api.scope if kind == "tracking" else ""
    secret = endpoint.secrets[0] if endpoint.secrets else ""
    if not here or (wanted_scope and wanted_scope not in groups):
        url = with_credentials(endpoint.url, secret)
        call = api.create(kind, endpoint, url)
        yield Change(call, endpoint, f"{endpoint.url} is called for {kind}.", is_new=True)
    for items in groups.values():
        [item, *others] = items
        if others or not item.id or item.is_masked or not is_outdated(api, endpoint, item):
            continue
        right = has_right_credentials(endpoint, item)
        url = with_credentials(endpoint.url, item.credentials if right else secret)
        yield Change(api.update(item, endpoint, url), endpoint, f"{endpoint.url} is updated.")
