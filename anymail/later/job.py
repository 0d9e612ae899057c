"""Jobs: what travels through a queue to a worker, as one signed text.

It is signed with Django's SECRET_KEY, so that whoever can write to the queue can't make one up. It
can be read, though. Inside there is JSON, with a version: nothing that is executed or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core import signing

from ..exceptions import AnymailError

VERSION = 1

MAIL = "anymail.later"
"""The salt of jobs that are messages to be sent."""

WEBHOOK = "anymail.webhook"
"""The salt of jobs that are calls of webhooks."""


class JobRefused(AnymailError):
    """A job that this project has not made, that was changed, or whose file is missing."""


class NewerJob(AnymailError):
    """A job that was made by a later release of Anymail, during an update.

    ``content`` is what it holds. All versions have ``due`` and ``max_age`` in it.
    """

    def __init__(self, text: str, content: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.content = content


def sign_job(content: Mapping[str, Any], *, salt: str, compress: bool = True) -> str:
    """Return a job with some content, which must be JSON. ``salt`` says what it is for.

    To ``compress`` it takes seconds for tens of megabytes.

    Raises TypeError if the content can't be JSON.
    """
    signer = signing.Signer(salt=salt)
    return signer.sign_object({**content, "version": VERSION}, compress=compress)


def read_job(job: str, *, salt: str) -> dict[str, Any]:
    """Return the content of a job.

    Raises JobRefused if it's not one of this project's for that purpose; NewerJob if it's of a
    later version.
    """
    try:
        content = signing.Signer(salt=salt).unsign_object(job)
        version = content["version"]
        is_newer = version > VERSION
    except Exception as error:  # noqa: BLE001 (whatever comes of reading something made up)
        # The text of the original has the job.
        name = type(error).__name__
        raise JobRefused(f"A job is not one of this project's {salt!r} jobs ({name})") from None
    if is_newer:
        raise NewerJob(f"A job is of version {version}, but this worker knows {VERSION}", content)
    return content  # type: ignore[no-any-return]
