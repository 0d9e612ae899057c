"""``manage.py anymail_sandbox``: the sandbox, for the project as it is configured."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from ...conf import declared_settings, sandbox_url
from ...diagnosis import providers_in_use
from ...sandbox import Sandbox
from ...sandbox.commands import DEFAULT_PORT, add_options, describe, run_until_interrupted
from ...sandbox.providers import Provider as SandboxProvider
from ...sandbox.report import Report
from ...webhook_apis.project import signing_keys, webhooks_root
from ...webhooks.base import AnymailBasicAuthMixin
from ...webhooks.keys import SharedKeys

DEFAULT_SITE = "http://127.0.0.1:8000"


class Command(BaseCommand):
    """Runs the sandbox until Ctrl-C."""

    help = (
        "Runs the sandbox, a local stand-in for email service providers, with the keys and secrets "
        "of this project. Its mail goes there with ANYMAIL['SANDBOX']."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--port", type=int, help=f"default: that of ANYMAIL['SANDBOX'], or {DEFAULT_PORT}"
        )
        parser.add_argument(
            "--site",
            metavar="URL",
            default=DEFAULT_SITE,
            help="where runserver serves this project, for webhooks; default: %(default)s",
        )
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if any(fault.problem == "unreachable" for fault in options["faults"]):
            raise CommandError(
                "Nothing can be unreachable here, as all providers have the same port. "
                "With `python -m anymail.sandbox serve`, it can."
            )
        self.stdout.ending = ""  # the report ends lines itself
        report = Report(cast(TextIO, self.stdout))
        try:
            url = sandbox_url()
            secrets = declared_settings(AnymailBasicAuthMixin)["basic_auth"].read(None)
            sandbox = Sandbox(
                port=_port(options["port"], url),
                webhook_url=webhooks_root(options["site"]),
                webhook_secret=secrets[0] if secrets else "",
                directory=options["store"],
            )
        except (ImproperlyConfigured, OSError, ValueError) as error:
            raise CommandError(f"The sandbox can't start: {describe(error)}") from error
        with sandbox:
            for fault in options["faults"]:
                sandbox.add_fault(fault)
            for note in dict.fromkeys(_notes(sandbox, url)):
                report.line(note)
            run_until_interrupted(sandbox, report)


def _port(option: int | None, url: str | None) -> int:
    if option is not None:
        return option
    return DEFAULT_PORT if url is None else urlsplit(url).port or 80


def _notes(sandbox: Sandbox, url: str | None) -> Iterator[str]:
    """Have the sandbox take the project's keys, and yield what its user should know."""
    yield "Anymail sandbox: a local stand-in for email service providers."
    if url is None:
        yield (
            "Mail goes to the real providers. To have it sent here, put into your settings for "
            f'development: ANYMAIL = {{..., "SANDBOX": "{sandbox.base_url}"}}'
        )
    if sandbox.webhook_url is None:
        yield 'There are no webhooks: your URLs have no path("anymail/", include("anymail.urls")).'
    for provider in sandbox.providers.values():
        provider.takes_any_key = True
    for name in sorted(providers_in_use()):
        yield from use_signing_keys(sandbox.provider(name))


def use_signing_keys(provider: SandboxProvider) -> Iterator[str]:
    """Have a provider sign calls with the project's keys, and yield where that can't be done."""
    for webhook in provider.registered.webhook_views():
        try:
            view_class: Any = import_string(webhook.view_path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about webhooks without a secret
                view = view_class()
        except (ImproperlyConfigured, ImportError) as error:
            yield f"{provider.esp_name}, {webhook.kind}: {str(error).partition(chr(10))[0]}"
            continue
        if isinstance(view.signature_keys, SharedKeys):
            for key in signing_keys(view)[:1]:
                setattr(provider, view.signature_option, key)
        elif view.signature_keys or getattr(view, "verifies_signatures", False):
            yield _about_signatures(provider, view.signature_setting)


def _about_signatures(provider: SandboxProvider, setting: str) -> str:
    own_key = provider.anymail_settings("").get(setting)
    unless = "you leave it out" if own_key is None else f"it is the sandbox's: {own_key!r}"
    return (
        f"Only {provider.esp_name} can make signatures that fit your {setting}: calls of webhooks "
        f"are refused in development, unless {unless}."
    )
