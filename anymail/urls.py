"""Webhook URLs: include them with ``path("anymail/", include("anymail.urls"))``.

Each view's module is imported with its first request, so a project pays only for the providers
that it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path, re_path

View = Callable[..., HttpResponseBase]

app_name = "anymail"


def _view_on_first_request(view_path: str) -> View:
    """Return a view function for "module:Class", found in anymail.webhooks when it is called."""
    module_name, _, class_name = view_path.partition(":")

    @cache
    def load() -> View:
        module = import_module(f"anymail.webhooks.{module_name}")
        view_class: Any = getattr(module, class_name)
        return view_class.as_view()  # type: ignore[no-any-return]

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return load()(request, *args, **kwargs)

    view.__name__ = view.__qualname__ = class_name
    view.load_anymail_view = load  # type: ignore[attr-defined]  # for a system check
    # What Django's middleware looks for, before the view is called. Providers can't log in.
    view.csrf_exempt = True  # type: ignore[attr-defined]
    view.login_required = False  # type: ignore[attr-defined]
    return view


# Path, module and class of the view in anymail.webhooks, name of the URL pattern.
WEBHOOKS = [
    (
        "amazon_ses/inbound/",
        "amazon_ses:AmazonSESInboundWebhookView",
        "amazon_ses_inbound_webhook",
    ),
    (
        "amazon_ses/tracking/",
        "amazon_ses:AmazonSESTrackingWebhookView",
        "amazon_ses_tracking_webhook",
    ),
    ("brevo/inbound/", "brevo:BrevoInboundWebhookView", "brevo_inbound_webhook"),
    ("brevo/tracking/", "brevo:BrevoTrackingWebhookView", "brevo_tracking_webhook"),
    (
        "mailersend/inbound/",
        "mailersend:MailerSendInboundWebhookView",
        "mailersend_inbound_webhook",
    ),
    (
        "mailersend/tracking/",
        "mailersend:MailerSendTrackingWebhookView",
        "mailersend_tracking_webhook",
    ),
    ("mailgun/tracking/", "mailgun:MailgunTrackingWebhookView", "mailgun_tracking_webhook"),
    ("mailjet/inbound/", "mailjet:MailjetInboundWebhookView", "mailjet_inbound_webhook"),
    ("mailjet/tracking/", "mailjet:MailjetTrackingWebhookView", "mailjet_tracking_webhook"),
    ("mailtrap/inbound/", "mailtrap:MailtrapInboundWebhookView", "mailtrap_inbound_webhook"),
    ("mailtrap/tracking/", "mailtrap:MailtrapTrackingWebhookView", "mailtrap_tracking_webhook"),
    ("mandrill/", "mandrill:MandrillCombinedWebhookView", "mandrill_webhook"),
    # The URL that earlier releases documented, before Mandrill's webhooks were combined:
    ("mandrill/tracking/", "mandrill:MandrillCombinedWebhookView", "mandrill_tracking_webhook"),
    ("postal/inbound/", "postal:PostalInboundWebhookView", "postal_inbound_webhook"),
    ("postal/tracking/", "postal:PostalTrackingWebhookView", "postal_tracking_webhook"),
    ("postmark/inbound/", "postmark:PostmarkInboundWebhookView", "postmark_inbound_webhook"),
    ("postmark/tracking/", "postmark:PostmarkTrackingWebhookView", "postmark_tracking_webhook"),
    ("resend/inbound/", "resend:ResendInboundWebhookView", "resend_inbound_webhook"),
    ("resend/tracking/", "resend:ResendTrackingWebhookView", "resend_tracking_webhook"),
    ("scaleway/tracking/", "scaleway:ScalewayTrackingWebhookView", "scaleway_tracking_webhook"),
    ("sendgrid/inbound/", "sendgrid:SendGridInboundWebhookView", "sendgrid_inbound_webhook"),
    ("sendgrid/tracking/", "sendgrid:SendGridTrackingWebhookView", "sendgrid_tracking_webhook"),
    # Brevo's former name (deprecated):
    (
        "sendinblue/inbound/",
        "sendinblue:SendinBlueInboundWebhookView",
        "sendinblue_inbound_webhook",
    ),
    (
        "sendinblue/tracking/",
        "sendinblue:SendinBlueTrackingWebhookView",
        "sendinblue_tracking_webhook",
    ),
    ("sparkpost/inbound/", "sparkpost:SparkPostInboundWebhookView", "sparkpost_inbound_webhook"),
    (
        "sparkpost/tracking/",
        "sparkpost:SparkPostTrackingWebhookView",
        "sparkpost_tracking_webhook",
    ),
    (
        "unisender_go/tracking/",
        "unisender_go:UnisenderGoTrackingWebhookView",
        "unisender_go_tracking_webhook",
    ),
]

urlpatterns: list[URLPattern] = [
    path(route, _view_on_first_request(view_path), name=name) for route, view_path, name in WEBHOOKS
]
urlpatterns.append(
    # Mailgun posts raw MIME to URLs with "mime" in them, and parsed fields to others.
    re_path(
        r"^mailgun/inbound(_mime)?/$",
        _view_on_first_request("mailgun:MailgunInboundWebhookView"),
        name="mailgun_inbound_webhook",
    )
)
