"""Large jobs: a file holds the job, and the queue a short one that names the file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import DEFAULT_STORAGE_ALIAS, STATICFILES_STORAGE_ALIAS, settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages

from .job import JobRefused, read_job, sign_job

FOLDER = "anymail"

_TRAVELS = ("id", "due", "max_age", "queue", "state", "esp_name")
"""What is in the short job, too: what can be needed without the file, and what changes."""

_GRACE = 24 * 60 * 60
"""How many seconds after its end a file may be there still."""


def store_job(job: str, *, storage: str, salt: str) -> str:
    """Write a job to a file. Returns a short job that stands for it.

    ``storage`` is an alias of Django's STORAGES. Raises what the storage raises.
    """
    content = read_job(job, salt=salt)
    expires = int(content.get("due", 0) + content.get("max_age", 0) + _GRACE)
    data = job.encode("ascii")
    name = storages[storage].save(
        f"{FOLDER}/{expires}-{uuid.uuid4().hex}.job", ContentFile(data, name="job")
    )
    file = {"storage": storage, "name": name, "sha256": sha256(data).hexdigest()}
    header = {name: content[name] for name in _TRAVELS if name in content}
    return sign_job({**header, "file": file}, salt=salt)


def fetch_job(job: str, *, salt: str) -> str:
    """Return the job that a short job stands for; any other job as it is.

    Raises JobRefused if its file is missing, or another one than was written; and what the storage
    raises if it can't be read.
    """
    file = _file_of(job, salt)
    if file is None:
        return job
    try:
        with storages[file["storage"]].open(file["name"]) as opened:
            data: bytes = opened.read()
    except FileNotFoundError:
        raise JobRefused("The file of a job is missing") from None
    if sha256(data).hexdigest() != file["sha256"]:
        raise JobRefused("The file of a job is not the one that was written")
    return data.decode("ascii")


def delete_job(job: str, *, salt: str) -> None:
    """Delete the file of a short job, if it is one. Raises what the storage raises."""
    file = _file_of(job, salt)
    if file is not None:
        storages[file["storage"]].delete(file["name"])


def _file_of(job: str, salt: str) -> Any:
    return read_job(job, salt=salt).get("file")


def why_public(alias: str) -> str | None:
    """Return why others may be able to read the files in a storage; None if nothing tells of that.

    ``alias`` is one of Django's STORAGES. Raises InvalidStorageError if there is none.
    """
    store = storages[alias]
    if alias in (DEFAULT_STORAGE_ALIAS, STATICFILES_STORAGE_ALIAS):
        return "it has other files in it, which sites show"
    if isinstance(store, FileSystemStorage):
        for name in ("MEDIA_ROOT", "STATIC_ROOT"):
            root = getattr(settings, name)
            if root and Path(store.location).is_relative_to(Path(root).absolute()):
                return f"its files are in {name}"
        # By default, that is MEDIA_URL, wherever the files are.
        has_own_url = getattr(store, "_base_url", None) is not None
        return "its files have URLs" if has_own_url else None
    try:
        store.url("a")
    except Exception:  # noqa: BLE001 (most have none)
        return None
    return "its files have URLs"


def left_files(storage: str, now: float) -> Iterator[str]:
    """Yield the names of files whose jobs must have ended a while ago."""
    store: Storage = storages[storage]
    try:
        _, names = store.listdir(FOLDER)
    except FileNotFoundError:  # None was written yet.
        return
    for name in names:
        expires, separator, _ = name.partition("-")
        if separator and expires.isdecimal() and int(expires) < now:
            yield f"{FOLDER}/{name}"
