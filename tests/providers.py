"""What tests know about all providers: from the registry, and from each provider's own files."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

from anymail.providers import PROVIDERS

T = TypeVar("T")

OPTIONAL_PACKAGES = {
    "celery",
    "django_tasks",
    "uts46",
    "botocore",  # comes with boto3
    *(name for provider in PROVIDERS.values() for name in provider.packages),
}
"""What the modules can be imported without, except for the backend of Amazon SES."""


def cases_in(package: str, case_class: type[T]) -> Iterator[T]:
    """Yield the cases in the modules of all providers in a package of tests."""
    for name in PROVIDERS:
        module: Any = import_module(f"{package}.{name}")
        yield from (case for case in vars(module).values() if isinstance(case, case_class))
