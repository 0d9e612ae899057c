"""Webhook calls that workers could not handle, as files until somebody has seen to the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages
from django.utils.text import slugify

from ..conf import setting

FOLDER = "anymail-webhooks"

_TIME = "%Y%m%dT%H%M%S"


class CallStorage:
    """Where webhook calls are that are large, or could not be handled."""

    alias: Any = setting(
        "With :setting:`WEBHOOK_LATER`, an alias of Django's ``STORAGES``: files there hold "
        "calls that are too large for a queue, and those that could not be handled. It must be "
        "one that nobody can read by URL. See :ref:`webhooks-later-storage`.",
        name="webhook_later_storage",
        general=True,
        default=None,
        default_text="none",
        options=(),
    )


@dataclass(frozen=True)
class KeptCall:
    """A call that could not be handled."""

    name: str
    """Of its file."""
    since: datetime
    esp: str
    """The provider's name, as in URLs."""


def keep(job: str, job_id: str, esp_name: str, alias: str) -> str:
    """Write a call to a file, as the signed job. Returns its name. Raises what the storage does."""
    now = datetime.now(tz=timezone.utc)
    name = f"{FOLDER}/{now:{_TIME}}_{slugify(esp_name)}_{job_id}"
    return storages[alias].save(name, ContentFile(job.encode("ascii"), name="job"))


def kept_calls() -> Iterator[KeptCall]:
    """Yield the calls in WEBHOOK_LATER_STORAGE that could not be handled, the oldest first."""
    alias = CallStorage().alias
    if alias is None:
        return
    store: Storage = storages[alias]
    try:
        _, names = store.listdir(FOLDER)
    except FileNotFoundError:  # None was written yet.
        return
    for name in sorted(names):
        time, _, rest = name.partition("_")
        with suppress(ValueError):  # for files that others have put there
            since = datetime.strptime(time, _TIME).replace(tzinfo=timezone.utc)
            yield KeptCall(f"{FOLDER}/{name}", since, rest.partition("_")[0])


def read_kept(name: str) -> str:
    """Return the job in the file of a call. Raises what the storage does."""
    with storages[CallStorage().alias].open(name) as file:
        data: bytes = file.read()
    return data.decode("ascii")


def forget(name: str) -> None:
    """Delete the file of a call. Raises what the storage does."""
    storages[CallStorage().alias].delete(name)
