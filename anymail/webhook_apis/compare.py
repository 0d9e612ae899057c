"""What is different between the webhooks that a provider has and those that the project wants."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .base import Endpoint, Registered, WebhookAPI, words
from .urls import masked

Result = Literal["right", "missing", "different", "doubled", "unknown"]


@dataclass(frozen=True)
class Finding:
    """Something about a webhook, as a sentence without secrets."""

    result: Result
    text: str


def compare(
    api: WebhookAPI, kind: str, endpoint: Endpoint, registered: Iterable[Registered]
) -> list[Finding]:
    """Return what there is to say about an endpoint, for "tracking" or "inbound"."""
    all_ours = [item for item in registered if _is_for(item.address, endpoint)]
    here = [item for item in all_ours if item.kind == kind and item.address == endpoint.url]
    findings = [
        Finding("different", f"It is entered for {item.kind}, not for {kind}: {masked(item.url)}.")
        for item in all_ours
        if item.kind not in endpoint.kinds and item.address == endpoint.url
    ]
    findings += [
        Finding("different", f"Another URL is called{_of(item)}: {masked(item.url)}.")
        for item in all_ours
        if item.kind == kind and item.address != endpoint.url
    ]
    groups = in_scopes(here)
    wanted_scope = api.scope if kind == "tracking" else ""
    if not here or (wanted_scope and wanted_scope not in groups):
        where = f" ({wanted_scope})" if wanted_scope else ""
        findings.append(Finding("missing", f"Nothing calls {endpoint.url}{where}."))
    for items in groups.values():
        findings += _about_events(api, kind, items)
    for item in here:
        findings += _about_one(endpoint, item)
    findings = list(dict.fromkeys(findings))
    return findings or [Finding("right", f"{masked(here[0].url)} is as it should be.")]


def in_scopes(items: Iterable[Registered]) -> dict[str, list[Registered]]:
    """Return webhooks by the part of the account that they are for."""
    by_scope: dict[str, list[Registered]] = defaultdict(list)
    for item in items:
        by_scope[item.scope].append(item)
    return by_scope


def has_right_credentials(endpoint: Endpoint, item: Registered) -> bool | None:
    """Tell whether calls have what WEBHOOK_SECRET asks for; None if nobody knows."""
    if not endpoint.secrets or item.credentials in endpoint.secrets:
        return True
    return None if item.is_masked else False


def lacking_events(api: WebhookAPI, kind: str, items: Iterable[Registered]) -> set[str] | None:
    """Return the events that are not reported; None if it can't be told."""
    if kind != "tracking":
        return set()
    seen: set[str] = set()
    for item in items:
        if item.events is None:
            return None
        seen |= item.events
    return api.events.keys() - seen


def is_outdated(api: WebhookAPI, endpoint: Endpoint, item: Registered) -> bool:
    """Tell whether an update would make a webhook better."""
    lacks = lacking_events(api, item.kind, [item])
    return bool(lacks) or item.is_active is False or has_right_credentials(endpoint, item) is False


def _is_for(address: str, endpoint: Endpoint) -> bool:
    """Tell whether a URL is one of the endpoint, perhaps of another site."""
    return any(re.search(f"/{path}$", address) for path in endpoint.paths)


def _about_events(api: WebhookAPI, kind: str, items: Sequence[Registered]) -> Iterator[Finding]:
    """Compare the events of all webhooks with the same URL for the same part of the account."""
    where = _of(items[0])
    seen: set[str] = set()
    for number, item in enumerate(items):
        events = item.events if kind == "tracking" else None
        if events is None and number:
            yield Finding("doubled", f"It is called twice{where}.")
        elif events is not None and seen & events:
            yield Finding("doubled", f"It is called twice{where}: {words(seen & events)}.")
        seen |= events or set()
    lacks = lacking_events(api, kind, items)
    if lacks is None:
        yield Finding("unknown", f"Which events are reported can't be told{where}.")
    elif lacks:
        yield Finding("different", f"Not reported{where}: {words(lacks)}.")
    if doubling := api.doubling & seen:
        yield Finding("doubled", f"Reported beside others of the same{where}: {words(doubling)}.")


def _about_one(endpoint: Endpoint, item: Registered) -> Iterator[Finding]:
    where = _of(item)
    if item.is_active is False:
        yield Finding("different", f"It is switched off{where}.")
    match has_right_credentials(endpoint, item):
        case None:
            text = f"Whether it is called with WEBHOOK_SECRET can't be told{where}."
            yield Finding("unknown", text)
        case False:
            how = "with another secret than" if item.credentials else "without"
            yield Finding("different", f"It is called {how} WEBHOOK_SECRET{where}.")
    if item.key and endpoint.keys_setting and not endpoint.keys:
        text = f"Calls are signed, but {endpoint.keys_setting} is not set{where}."
        yield Finding("different", text)
    elif item.key and endpoint.keys and _plain(item.key) not in map(_plain, endpoint.keys):
        text = f"Calls are signed with another key than that in {endpoint.keys_setting}{where}."
        yield Finding("different", text)


def _plain(key: str) -> str:
    """Return a key without the lines around it that PEM has, and without line breaks."""
    return "".join(line.strip() for line in key.splitlines() if not line.startswith("-----"))


def _of(item: Registered) -> str:
    return f" ({item.scope})" if item.scope else ""
