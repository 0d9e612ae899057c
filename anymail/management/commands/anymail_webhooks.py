"""``manage.py anymail_webhooks``: which URLs providers must call, and whether they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import sandbox_url
from ...diagnosis import providers_in_use
from ...providers import PROVIDERS, Provider
from ...webhook_apis.base import (
    Call,
    Endpoint,
    Registered,
    WebhookAPI,
    WebhookAPIError,
    load_webhook_api,
    shown,
)
from ...webhook_apis.compare import compare
from ...webhook_apis.plan import Change, plan
from ...webhook_apis.project import backends, endpoints, webhooks_root
from ...webhook_apis.urls import masked, with_credentials

SITE = "https://YOUR-SITE"

LABELS = {
    "right": "Right",
    "missing": "Missing",
    "different": "Different",
    "doubled": "Doubled",
    "unknown": "Can't be told",
}


class Command(BaseCommand):
    """Prints the URLs; with --check, compares them; with --apply, changes what providers have."""

    help = (
        "Tells which URLs to enter in the dashboards of your providers, and what protects them. "
        "With --check, it asks the providers what they have."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host",
            metavar="URL",
            help="your site, such as https://www.example.com; default: that in ALLOWED_HOSTS, if "
            "there is just one",
        )
        parser.add_argument(
            "--esp",
            dest="names",
            action="append",
            choices=list(PROVIDERS),
            metavar="NAME",
            help="a provider, can be repeated; default: those in your settings",
        )
        parser.add_argument(
            "--only", choices=["tracking", "inbound"], help="just these webhooks; default: both"
        )
        parser.add_argument(
            "--domain", default="", help="with Mailgun and MailerSend: the domain to look at"
        )
        parser.add_argument(
            "--show-secrets", action="store_true", help="print the secret in URLs, too"
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="ask the providers what they have, and tell what is different",
        )
        parser.add_argument(
            "--apply",
            action="store_true",
            help="experimental: create or update tracking webhooks at Postmark, SendGrid, Resend, "
            "MailerSend and Brevo; asks before it does",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        names = options["names"] or sorted(providers_in_use())
        if not names:
            raise CommandError("Your settings name no provider. Say which with --esp.")
        self.root = self._root()
        if (options["check"] or options["apply"]) and (sandbox := sandbox_url()):
            self.stderr.write(f"SANDBOX is set: {sandbox} is asked, in place of the providers.")
        for name in names:
            self._provider(PROVIDERS[name])

    def _root(self) -> str:
        site = self.options["host"] or _default_site()
        needs_site = self.options["check"] or self.options["apply"]
        if site == SITE and needs_site:
            raise CommandError("Say where your site is: --host https://www.example.com")
        parts = urlsplit(site)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise CommandError("--host must be an https URL, such as https://www.example.com")
        root = webhooks_root(site)
        if root is None:
            raise CommandError('Your URLs have no path("anymail/", include("anymail.urls")).')
        return root

    def _kinds(self, endpoint: Endpoint) -> list[str]:
        return [kind for kind in endpoint.kinds if self.options["only"] in (None, kind)]

    def _provider(self, provider: Provider) -> None:
        api_class = load_webhook_api(provider)
        found = [item for item in endpoints(provider, api_class, self.root) if self._kinds(item)]
        self.stdout.write(self.style.MIGRATE_HEADING(provider.esp_name))
        for endpoint in found:
            for line in self._describe(api_class, endpoint):
                self.stdout.write(f"  {line}")
        if self.options["check"] or self.options["apply"]:
            self._ask(provider, api_class, found)
        self.stdout.write("")

    # -- What to enter ------------------------------------------------------------------------

    def _describe(self, api: type[WebhookAPI], endpoint: Endpoint) -> Iterator[str]:
        kinds = self._kinds(endpoint)
        yield f"{' and '.join(kinds).capitalize()}: {self._shown(endpoint)}"
        for kind in kinds:
            yield f"  Where: {api.places[kind]}"
        if "tracking" in kinds:
            yield f"  Events: {', '.join(api.events)}"
        if endpoint.problem:
            yield f"  Calls fail: {endpoint.problem}"
            return
        yield f"  Signed: {_about_signatures(api, endpoint)}"
        yield f"  Secret: {_about_secret(api, endpoint)}"
        if not endpoint.is_protected:
            yield "  UNPROTECTED: anyone can make up calls."

    def _shown(self, endpoint: Endpoint) -> str:
        url = with_credentials(endpoint.url, _first(endpoint.secrets))
        return url if self.options["show_secrets"] else masked(url)

    # -- What there is ------------------------------------------------------------------------

    def _ask(
        self, provider: Provider, api_class: type[WebhookAPI], found: Sequence[Endpoint]
    ) -> None:
        try:
            accounts = list(backends(provider))
        except (ImproperlyConfigured, ImportError) as error:
            self._say("unknown", str(error).partition("\n")[0])
            return
        for where, backend in accounts:
            if len(accounts) > 1:
                self.stdout.write(f"  With the key of {where}:")
            api = api_class(provider, backend, self.options["domain"])
            try:
                registered = _read(api)
            except WebhookAPIError as error:
                self._say("unknown", str(error))
                continue
            self._compare(api, found, registered)
            if self.options["apply"]:
                self._apply(api, found, registered)

    def _compare(
        self, api: WebhookAPI, found: Sequence[Endpoint], registered: Sequence[Registered]
    ) -> None:
        for endpoint in found:
            for kind in self._kinds(endpoint):
                if reason := api.unreadable(kind):
                    self._say("unknown", f"{kind}: {reason}")
                    continue
                for finding in compare(api, kind, endpoint, registered):
                    self._say(finding.result, f"{kind}: {finding.text}")
        for text in api.cannot_tell:
            self._say("unknown", text)
        if api.credentials_unconfirmed and any(endpoint.secrets for endpoint in found):
            self._say("unknown", _unconfirmed(api))

    def _say(self, result: str, text: str) -> None:
        style = {"right": self.style.SUCCESS, "unknown": self.style.WARNING}
        label = style.get(result, self.style.ERROR)(LABELS[result])
        self.stdout.write(f"  {label}: {text}")

    # -- Changes ------------------------------------------------------------------------------

    def _apply(
        self, api: WebhookAPI, found: Sequence[Endpoint], registered: Sequence[Registered]
    ) -> None:
        if not api.apply_kinds:
            self.stdout.write(f"  --apply can't change anything at {api.provider.esp_name}.")
            return
        try:
            changes = [
                change
                for endpoint in found
                for kind in self._kinds(endpoint)
                # Not everybody wants to receive mail.
                if kind in api.apply_kinds and kind == (self.options["only"] or "tracking")
                for change in plan(api, kind, endpoint, registered)
            ]
        except WebhookAPIError as error:
            raise CommandError(str(error)) from error
        if not changes:
            self.stdout.write("  There is nothing that --apply could change.")
            return
        self.stdout.write("  --apply is experimental. These calls would be made:")
        for change in changes:
            self._print_call(api, change.call)
            following = api.after_create({"id": "NEW-ID"}) if change.is_new else None
            if following is not None:
                self._print_call(api, following)
        if api.credentials_unconfirmed and any(change.endpoint.secrets for change in changes):
            self.stdout.write(f"  Beware: {_unconfirmed(api)}")
        if not _is_wanted("  Make them? [y/N] "):
            self.stdout.write("  Nothing was changed.")
            return
        for change in changes:
            self._make(api, change)

    def _print_call(self, api: WebhookAPI, call: Call) -> None:
        data = call.json if self.options["show_secrets"] else shown(call.json)
        self.stdout.write(f"    {call.method} {api.url(call)}")
        self.stdout.write(f"      {json.dumps(data, ensure_ascii=False)}")

    def _make(self, api: WebhookAPI, change: Change) -> None:
        try:
            answer = api.make(change.call)
            keys = [api.new_key(answer)] if change.is_new else []
            if change.is_new and (following := api.after_create(answer)) is not None:
                keys.append(api.new_key(api.make(following)))
        except WebhookAPIError as error:
            raise CommandError(str(error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise CommandError(f"{api.provider.esp_name}'s answer is not as expected.") from error
        self.stdout.write(f"  Done: {change.text}")
        for key in filter(None, keys):
            self.stdout.write("  Put this into ANYMAIL in your settings. It is not shown again:")
            self.stdout.write(f"    {change.endpoint.keys_setting!r}: {key!r},")


def _is_wanted(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # There is nobody to ask.
        return False


def _read(api: WebhookAPI) -> list[Registered]:
    try:
        return list(api.registered())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise WebhookAPIError(
            f"{api.provider.esp_name}'s answer is not as expected ({type(error).__name__})."
        ) from error


def _default_site() -> str:
    hosts = [host for host in settings.ALLOWED_HOSTS if host.strip("[]") not in _LOCAL]
    if len(hosts) == 1 and not hosts[0].startswith((".", "*")):
        return f"https://{hosts[0]}"
    return SITE


_LOCAL = {"127.0.0.1", "::1", "localhost", "testserver"}


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


def _about_signatures(api: type[WebhookAPI], endpoint: Endpoint) -> str:
    if not api.signs:
        return "no"
    if endpoint.verifies_signatures:
        return f"{api.signs}; verified ({endpoint.keys_setting})"
    return f"{api.signs}; not verified, as {endpoint.keys_setting} is not set"


def _about_secret(api: type[WebhookAPI], endpoint: Endpoint) -> str:
    if not endpoint.secrets:
        return "none, as there is no WEBHOOK_SECRET"
    text = "WEBHOOK_SECRET is in the URL"
    if api.credentials_unconfirmed:
        text += "; whether such credentials are sent is not documented"
    return text


def _unconfirmed(api: WebhookAPI) -> str:
    return (
        f"It is not documented that {api.provider.esp_name} sends the user name and password in a "
        "URL. If it doesn't, its calls are refused as long as there is a WEBHOOK_SECRET."
    )
