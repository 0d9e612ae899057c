"""What tests know about all providers: from the registry, and from each provider's own files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

from django.test import tag

from anymail.known_settings import settings_of
from anymail.providers import PROVIDERS, Provider

T = TypeVar("T")

OPTIONAL_PACKAGES = {
    "aiohttp",
    "greenlet",
    "celery",
    "django_tasks",
    "uts46",
    "botocore",  # comes with boto3
    *(name for provider in PROVIDERS.values() for name in provider.packages),
}
"""What the modules can be imported without, except for the backend of Amazon SES."""


_ONE_OF_EACH_KIND = {"mailgun", "postmark", "amazon_ses"}
"""With forms, with JSON, and with an SDK."""


def tag_all_but_one_of_each_kind(name: str, test_case: type[T]) -> type[T]:
    """Tag a provider's test case of a suite for all of them as "every_provider", but for a few.

    These show what versions of Python and Django do to the code that all providers share.
    """
    if name not in PROVIDERS or name in _ONE_OF_EACH_KIND:
        return test_case
    return tag("every_provider")(test_case)


def cases_in(package: str, case_class: type[T]) -> Iterator[T]:
    """Yield the cases in the modules of all providers in a package of tests."""
    for name in PROVIDERS:
        module: Any = import_module(f"{package}.{name}")
        yield from (case for case in vars(module).values() if isinstance(case, case_class))


def own_settings(provider: Provider) -> dict[str, Any]:
    """Return what a project must have in its settings to use a provider, but no URL of an API."""
    if provider.module == "amazon_ses":
        return {"AMAZON_SES_CLIENT_PARAMS": {"region_name": "eu-west-1"}}
    return {
        item.name: "own-key"
        for item in settings_of(provider)
        if "sending" in item.required and not item.declarations["sending"].sandbox
    }
