"""The names that settings in examples can have."""

from __future__ import annotations

from functools import cache

from django.conf import global_settings

from anymail._settings import GROUPS

# What projects' settings have that is neither in Django's defaults nor in those of all versions.
OF_PROJECTS = {"BASE_DIR", "MAILERS", "ROOT_URLCONF", "WSGI_APPLICATION"}


@cache
def anymail_keys() -> set[str]:
    """Return the keys of the ANYMAIL setting."""
    every = GROUPS["every_provider"]
    prefixes = [group.prefix for group in GROUPS.values() if group.prefix and group is not every]
    own = {
        group.full_name(setting)
        for group in GROUPS.values()
        if group is not every
        for setting in group.settings
    }
    return own | {f"{prefix}_{setting.name}" for prefix in prefixes for setting in every.settings}


@cache
def top_level_names() -> set[str]:
    """Return the names that can be in a project's settings module."""
    prefixed = {f"ANYMAIL_{key}" for key in anymail_keys()}
    bare = {
        group.full_name(setting)
        for group in GROUPS.values()
        for setting in group.settings
        if setting.bare
    }
    return {"ANYMAIL"} | prefixed | bare | OF_PROJECTS | set(dir(global_settings))
