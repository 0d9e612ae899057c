"""The names that settings in examples can have."""

from __future__ import annotations

from functools import cache

from django.conf import global_settings

from anymail import known_settings
from anymail.known_settings import Group, all_names, settings_of_every_provider
from anymail.providers import PROVIDERS

# What projects' settings have that is neither in Django's defaults nor in those of all versions.
OF_PROJECTS = {"BASE_DIR", "MAILERS", "ROOT_URLCONF", "WSGI_APPLICATION"}


@cache
def groups() -> dict[str, Group]:
    return known_settings.groups()


@cache
def anymail_keys() -> set[str]:
    """Return the keys of the ANYMAIL setting."""
    every = [item.name for item in settings_of_every_provider()]
    return set(all_names()) | {
        name.replace("<PROVIDER>", provider.settings_prefix)
        for provider in PROVIDERS.values()
        for name in every
    }


@cache
def top_level_names() -> set[str]:
    """Return the names that can be in a project's settings module."""
    prefixed = {f"ANYMAIL_{key}" for key in anymail_keys()}
    bare = {item.name for group in groups().values() for item in group.settings if item.bare}
    return {"ANYMAIL"} | prefixed | bare | OF_PROJECTS | set(dir(global_settings))
