"""Check that an installed wheel is complete, and does without the optional packages.

    python -W error tests/check_wheel.py

must be run where the wheel is installed without any of its extras. That makes it a script and
not a test case. It ends with an AssertionError that says what is wrong. With ``--tree``, it checks
what can be checked of a copy of the repository, and optional packages are made to look missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, metadata, util
from pathlib import Path
from pkgutil import walk_packages

import django
from django.conf import settings
from django.test import Client, override_settings
from django.urls import include, path
from django.utils.module_loading import import_string

import anymail
from anymail._idna import uts46
from anymail.conf import declared_settings
from anymail.datastructures import UNSET
from anymail.exceptions import AnymailImproperlyInstalled
from anymail.providers import PROVIDERS

OPTIONAL_PACKAGES = {
    "aiohttp",
    "greenlet",
    "celery",
    "django_tasks",
    "uts46",
    "botocore",  # comes with boto3
    *(name for provider in PROVIDERS.values() for name in provider.packages),
}

# Modules that may refuse to be imported without an extra.
IMPORT_NEEDS = {
    "anymail.backends.amazon_ses": "amazon-ses",
    "anymail.later.celery": "celery",
    "anymail.sending.async_http": "async",
    "anymail.sending.suspendable": "async",
    "anymail.later.celery_request": "celery",
}

# What an extra installs although nothing here imports it.
NOT_IMPORTED = {"svix"}

WEBHOOK_SECRET = "user:password"
AUTHORIZATION = "Basic dXNlcjpwYXNzd29yZA=="


def check_environment() -> None:
    assert Path(anymail.__file__).is_relative_to(sys.prefix), f"not a wheel: {anymail.__file__}"
    present = [name for name in OPTIONAL_PACKAGES if util.find_spec(name)]
    assert not present, f"installed, so that their absence cannot be checked: {present}"


def check_distribution(modules: list[str]) -> None:
    distribution = metadata.distribution("django-anymail")
    assert distribution.version == anymail.__version__, distribution.version
    files = {str(file) for file in distribution.files or ()}
    assert "anymail/py.typed" in files, "py.typed is missing"
    for name in ("templates/base.html", "static/mailbox.css", "static/mailbox.js"):
        assert f"anymail/sandbox/mailbox/{name}" in files, f"the mailbox's {name} is missing"
    assert any(name.endswith("licenses/LICENSE") for name in files), "LICENSE is missing"
    entry_points = distribution.entry_points.select(group="pytest11")
    assert [item.value for item in entry_points] == ["anymail.pytest_plugin"], entry_points
    strays = {name for name in files if not name.startswith(("anymail/", "django_anymail-"))}
    assert not strays, f"not part of the package: {strays}"

    extras = set(distribution.metadata.get_all("Provides-Extra") or ())
    missing = {provider.extra for provider in PROVIDERS.values()} - extras
    assert not missing, f"no extra for {missing}"


def assert_needs(extra: str, use: str, do: Callable[[], object]) -> None:
    try:
        do()
    except AnymailImproperlyInstalled as err:
        assert f"django-anymail[{extra}]" in str(err), f"{use} does not name its extra: {err}"
    else:
        raise AssertionError(f"{use} does not raise without the extra {extra}")


def check_modules(modules: list[str]) -> None:
    for name in modules:
        if name in IMPORT_NEEDS:
            assert_needs(IMPORT_NEEDS[name], name, lambda name=name: import_module(name))
        else:
            import_module(name)


def check_webhooks() -> None:
    """Check that webhooks say which extra they need, if all settings with keys are there."""
    # With a signature, or Postal's would not look for the package that verifies it.
    client = Client(headers={"authorization": AUTHORIZATION, "x-postal-signature": "c2ln"})
    for provider in PROVIDERS.values():
        if not provider.packages.keys() - NOT_IMPORTED:
            continue
        for webhook in provider.webhook_views("tracking"):
            view = import_string(webhook.view_path)
            keys = {
                item.full_name(view): "key"
                for item in declared_settings(view).values()
                if not item.general and item.default in (None, UNSET)
            }
            url = f"/{webhook.path}"
            with override_settings(ANYMAIL={"WEBHOOK_SECRET": WEBHOOK_SECRET, **keys}):
                assert_needs(provider.extra, url, lambda url=url: client.post(url))


if __name__ == "__main__":
    is_wheel = "--tree" not in sys.argv
    if is_wheel:
        check_environment()
    else:
        # Nothing can import what is None here.
        sys.modules |= dict.fromkeys(OPTIONAL_PACKAGES)  # type: ignore[arg-type]
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=["anymail"],
        ROOT_URLCONF="__main__",
        SECRET_KEY="for the reports of errors",
        USE_TZ=True,
    )
    django.setup()
    urlpatterns = [path("", include("anymail.urls"))]

    modules = [module.name for module in walk_packages(anymail.__path__, "anymail.")]
    modules = [name for name in modules if not name.endswith(".__main__")]
    if not util.find_spec("pytest"):  # which imports its plugin itself
        modules.remove("anymail.pytest_plugin")
    if is_wheel:
        check_distribution(modules)
    check_modules(modules)
    check_webhooks()
    assert_needs("<your-esp>,uts46", "the uts46 encoder", lambda: uts46("é.example"))
    print(f"{len(modules)} modules of django-anymail {anymail.__version__} are in order")
