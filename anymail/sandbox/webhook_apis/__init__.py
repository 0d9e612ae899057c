"""Stand-ins for the APIs for webhooks: the calls that ``manage.py anymail_webhooks`` makes.

A provider that has such an API has a module here, with a class ``Webhooks``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .base import Webhooks

if TYPE_CHECKING:
    from ..providers import Provider


def load_webhooks(provider: Provider) -> Webhooks:
    """Return a new stand-in; one that answers nothing, if the provider has no such API."""
    name = f"{__name__}.{provider.name}"
    if find_spec(name) is None:
        return Webhooks(provider)
    webhooks: Webhooks = import_module(name).Webhooks(provider)
    return webhooks
