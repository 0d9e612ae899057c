"""Makes the inventories in this directory: see README.rst."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import NamedTuple


class Project(NamedTuple):
    """What to keep of a project's inventory, and how its website differs from it."""

    name: str
    types: tuple[str, ...]
    modules: tuple[str, ...]
    pages_are_directories: bool
    more: tuple[str, ...] = ()


PROJECTS = {
    "python": Project(
        name="Python",
        types=("py:",),
        modules=(
            *("abc", "ast", "collections", "contextlib", "copy", "dataclasses", "datetime"),
            *("email", "enum", "fnmatch", "functools", "hashlib", "hmac", "http", "importlib"),
            *("io", "json", "logging", "mimetypes", "os", "pathlib", "pickle", "re", "secrets"),
            *("string", "threading", "time", "types", "typing", "unittest", "urllib", "uuid"),
            "warnings",
        ),
        pages_are_directories=False,
    ),
    "django": Project(
        name="Django",
        types=("py:", "std:setting", "std:django-admin"),
        modules=(
            *("django.apps", "django.conf", "django.core", "django.db.models", "django.dispatch"),
            *("django.http", "django.template", "django.test", "django.urls", "django.utils"),
            "django.views",
        ),
        pages_are_directories=True,
        # Since Django 6.1
        more=("MAILERS std:setting 1 ref/settings/#std-setting-$ -",),
    ),
    "requests": Project(
        name="Requests", types=("py:",), modules=("requests",), pages_are_directories=True
    ),
}


def is_wanted(project: Project, name: str, kind: str) -> bool:
    """Return whether an object is kept. All built-in names are."""
    if not kind.startswith(project.types):
        return False
    if kind.startswith("std:"):
        return True
    if any(name == module or name.startswith(f"{module}.") for module in project.modules):
        return True
    return project.name == "Python" and name.partition(".")[0] in dir(__builtins__)


def trimmed(project: Project, inventory: bytes) -> bytes:
    """Return a Sphinx inventory (version 2) with only what is wanted of another."""
    *header, content = inventory.split(b"\n", 4)
    assert header[0] == b"# Sphinx inventory version 2", "another version"
    version = header[2].decode().removeprefix("# Version: ").removeprefix("# version").strip()
    lines = list(project.more)
    for line in zlib.decompress(content).decode().splitlines():
        name, kind, priority, url, title = line.split(" ", 4)
        if not is_wanted(project, name, kind):
            continue
        if project.pages_are_directories:
            page, _, anchor = url.partition("#")
            url = f"{page.removesuffix('.html').removesuffix('index')}/#{anchor}".lstrip("/")
        lines.append(f"{name} {kind} {priority} {url} {title}")
    top = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project.name}\n"
        f"# Version: {version}\n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    return top.encode() + zlib.compress("\n".join([*sorted(lines), ""]).encode(), 9)


if __name__ == "__main__":
    name, source = sys.argv[1:]
    target = Path(__file__).with_name(f"{name}.inv")
    target.write_bytes(trimmed(PROJECTS[name], Path(source).read_bytes()))
