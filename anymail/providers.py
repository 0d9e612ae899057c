"""The providers: an entry for each. Whatever lists them is made from this, or compared with it.

Nothing of a provider is imported here. Its code is in the modules of its name: ``backends``,
``webhooks`` and ``sandbox`` have one each, and so have the docs (``docs/esps``) and the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Literal, NamedTuple


class Webhook(NamedTuple):
    """One URL that a provider calls. What isn't given has the usual form.

    In all of them, ``{module}`` stands for the provider's module, ``{name}`` for its name in the
    names of classes, ``{kind}`` and ``{Kind}`` for the kind.
    """

    kind: Literal["tracking", "inbound", "combined"]
    """What it reports; "combined": both."""

    path: str = "{module}/{kind}/"
    """The path of the URL, relative to where a project includes anymail.urls."""

    path_is_regex: bool = False

    url_name: str = "{module}_{kind}_webhook"
    """The name of the URL pattern in the namespace "anymail"."""

    view: str = "{module}:{name}{Kind}WebhookView"
    """Module and class in anymail.webhooks."""

    @property
    def view_path(self) -> str:
        """Dotted path of the view's class."""
        return f"anymail.webhooks.{self.view.replace(':', '.')}"

    def of(self, module: str, esp_name: str) -> Webhook:
        """Return it with the names of a provider filled in."""
        names = {
            "module": module,
            "name": esp_name.replace(" ", ""),
            "kind": self.kind,
            "Kind": self.kind.capitalize(),
        }
        return self._replace(
            path=self.path.format_map(names),
            url_name=self.url_name.format_map(names),
            view=self.view.format_map(names),
        )


class Provider(NamedTuple):
    """A provider."""

    module: str
    """The name of its modules, pages, fixtures and so on; with hyphens, that of its extra."""

    esp_name: str
    """Its name in its own capitalization: what backends, signals and errors have."""

    webhooks: tuple[Webhook, ...] = (Webhook("tracking"), Webhook("inbound"))

    packages: Mapping[str, str] = MappingProxyType({})
    """What its extra installs: name of the module to import -> name of the distribution."""

    required_packages: tuple[str, ...] = ()
    """Those of the modules without which it can't be used at all."""

    former_names: Mapping[str, str] = MappingProxyType({})
    """Modules and names that it had before, which can still be used."""

    @property
    def extra(self) -> str:
        """The extra to install, as in ``django-anymail[extra]``."""
        return self.module.replace("_", "-")

    @property
    def backend(self) -> str:
        """Dotted path of the email backend."""
        return f"anymail.backends.{self.module}.EmailBackend"

    @property
    def sandbox(self) -> str:
        """Module and class in anymail.sandbox."""
        return f"{self.module}:{self.esp_name.replace(' ', '')}"

    @property
    def webhook_api(self) -> str:
        """Module and class in anymail.webhook_apis."""
        return self.sandbox

    @property
    def settings_prefix(self) -> str:
        """What the names of its settings begin with, such as "AMAZON_SES"."""
        return self.esp_name.upper().replace(" ", "_")

    @property
    def settings_prefixes(self) -> list[str]:
        """The same, and those with former names."""
        former = [name.upper().replace(" ", "_") for name in self.former_names.values()]
        return [self.settings_prefix, *former]

    @property
    def missing_packages(self) -> list[str]:
        """Those of the required packages that are not installed."""
        return [name for name in self.required_packages if find_spec(name) is None]

    def webhook_urls(self) -> Iterator[Webhook]:
        """Yield all URLs, also those with former names."""
        for module, esp_name in [(self.module, self.esp_name), *self.former_names.items()]:
            for webhook in self.webhooks:
                yield webhook.of(module, esp_name)

    def webhook_views(self, kind: str | None = None) -> list[Webhook]:
        """Return one of the URLs for each view, without those with former names.

        All views, or those that report "tracking" or "inbound".
        """
        views: dict[str, Webhook] = {}
        for item in self.webhooks:
            if kind in (None, item.kind) or item.kind == "combined":
                webhook = item.of(self.module, self.esp_name)
                views.setdefault(webhook.view, webhook)
        return list(views.values())

    def reports(self, kind: str) -> bool:
        """Whether it has a webhook for "tracking" or "inbound"."""
        return bool(self.webhook_views(kind))


PROVIDERS: dict[str, Provider] = {
    provider.module: provider
    for provider in (
        Provider(
            "amazon_ses",
            "Amazon SES",
            # cryptography, for the signatures of the webhooks, comes with the encryption client.
            packages={
                "boto3": "boto3",
                "s3_encryption": "amazon-s3-encryption-client-python",
            },
            required_packages=("boto3",),
        ),
        Provider("brevo", "Brevo", former_names={"sendinblue": "SendinBlue"}),
        Provider("mailersend", "MailerSend"),
        Provider(
            "mailgun",
            "Mailgun",
            webhooks=(
                Webhook("tracking"),
                # It posts raw MIME to URLs with "mime" in them, and parsed fields to others.
                Webhook("inbound", path="{module}/inbound(_mime)?/", path_is_regex=True),
            ),
        ),
        Provider("mailjet", "Mailjet"),
        Provider("mailtrap", "Mailtrap"),
        Provider(
            "mandrill",
            "Mandrill",
            webhooks=(
                Webhook("combined", path="{module}/", url_name="{module}_webhook"),
                # The URL that earlier releases documented, before its webhooks were combined.
                Webhook(
                    "combined", path="{module}/tracking/", url_name="{module}_tracking_webhook"
                ),
            ),
        ),
        Provider(
            "postal",
            "Postal",
            packages={"cryptography": "cryptography"},
            required_packages=("cryptography",),
        ),
        Provider("postmark", "Postmark"),
        Provider("resend", "Resend", packages={"svix": "svix"}),
        Provider(
            "scaleway",
            "Scaleway",
            webhooks=(Webhook("tracking"),),
            packages={"cryptography": "cryptography"},
        ),
        Provider("sendgrid", "SendGrid", packages={"cryptography": "cryptography"}),
        Provider("sparkpost", "SparkPost"),
        Provider("unisender_go", "Unisender Go", webhooks=(Webhook("tracking"),)),
    )
}
"""By the names of their modules, in alphabetical order."""
