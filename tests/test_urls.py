from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest import mock

from django.http import HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase
from django.urls import Resolver404, resolve, reverse
from django.views.generic import View

import anymail
from anymail import urls

from .test_architecture import SHARED

# URL path, name of the pattern, module and class in anymail.webhooks
WEBHOOKS = """
amazon_ses/inbound/    amazon_ses_inbound_webhook    amazon_ses:AmazonSESInboundWebhookView
amazon_ses/tracking/   amazon_ses_tracking_webhook   amazon_ses:AmazonSESTrackingWebhookView
brevo/inbound/         brevo_inbound_webhook         brevo:BrevoInboundWebhookView
brevo/tracking/        brevo_tracking_webhook        brevo:BrevoTrackingWebhookView
mailersend/inbound/    mailersend_inbound_webhook    mailersend:MailerSendInboundWebhookView
mailersend/tracking/   mailersend_tracking_webhook   mailersend:MailerSendTrackingWebhookView
mailgun/inbound/       mailgun_inbound_webhook       mailgun:MailgunInboundWebhookView
mailgun/inbound_mime/  mailgun_inbound_webhook       mailgun:MailgunInboundWebhookView
mailgun/tracking/      mailgun_tracking_webhook      mailgun:MailgunTrackingWebhookView
mailjet/inbound/       mailjet_inbound_webhook       mailjet:MailjetInboundWebhookView
mailjet/tracking/      mailjet_tracking_webhook      mailjet:MailjetTrackingWebhookView
mailtrap/inbound/      mailtrap_inbound_webhook      mailtrap:MailtrapInboundWebhookView
mailtrap/tracking/     mailtrap_tracking_webhook     mailtrap:MailtrapTrackingWebhookView
mandrill/              mandrill_webhook              mandrill:MandrillCombinedWebhookView
mandrill/tracking/     mandrill_tracking_webhook     mandrill:MandrillCombinedWebhookView
postal/inbound/        postal_inbound_webhook        postal:PostalInboundWebhookView
postal/tracking/       postal_tracking_webhook       postal:PostalTrackingWebhookView
postmark/inbound/      postmark_inbound_webhook      postmark:PostmarkInboundWebhookView
postmark/tracking/     postmark_tracking_webhook     postmark:PostmarkTrackingWebhookView
resend/inbound/        resend_inbound_webhook        resend:ResendInboundWebhookView
resend/tracking/       resend_tracking_webhook       resend:ResendTrackingWebhookView
scaleway/tracking/     scaleway_tracking_webhook     scaleway:ScalewayTrackingWebhookView
sendgrid/inbound/      sendgrid_inbound_webhook      sendgrid:SendGridInboundWebhookView
sendgrid/tracking/     sendgrid_tracking_webhook     sendgrid:SendGridTrackingWebhookView
sendinblue/inbound/    sendinblue_inbound_webhook    sendinblue:SendinBlueInboundWebhookView
sendinblue/tracking/   sendinblue_tracking_webhook   sendinblue:SendinBlueTrackingWebhookView
sparkpost/inbound/     sparkpost_inbound_webhook     sparkpost:SparkPostInboundWebhookView
sparkpost/tracking/    sparkpost_tracking_webhook    sparkpost:SparkPostTrackingWebhookView
unisender_go/tracking/ unisender_go_tracking_webhook unisender_go:UnisenderGoTrackingWebhookView
"""
TABLE = [tuple(line.split()) for line in WEBHOOKS.strip().splitlines()]


class TableTests(SimpleTestCase):
    def test_app_name(self):
        self.assertEqual(urls.app_name, "anymail")

    def test_every_name_reverses(self):
        for path, name, _ in TABLE:
            if path == "mailgun/inbound_mime/":
                continue  # Reversing the pattern can only give one of its URLs.
            with self.subTest(name=name):
                self.assertEqual(reverse(f"anymail:{name}"), f"/anymail/{path}")

    def test_every_path_resolves(self):
        for path, name, view in TABLE:
            with self.subTest(path=path):
                match = resolve(f"/anymail/{path}")
                self.assertEqual(match.view_name, f"anymail:{name}")
                self.assertEqual(match.func.__name__, view.partition(":")[2])

    def test_nothing_else(self):
        self.assertEqual(
            {pattern.name for pattern in urls.urlpatterns}, {name for _, name, _ in TABLE}
        )
        self.assertEqual(len(urls.urlpatterns), len(TABLE) - 1)
        for path in [
            "",
            "postmark/",
            "postmark/tracking",
            "scaleway/inbound/",
            "unisender_go/inbound/",
            "mandrill/inbound/",
            "mailgun/inbound_xml/",
            "xmailgun/inbound/",
            "mailgun/inbound/more/",
        ]:
            with self.subTest(path=path), self.assertRaises(Resolver404):
                resolve(f"/anymail/{path}")

    def test_views_exist(self):
        for _, _, view in TABLE:
            module, _, cls = view.partition(":")
            with self.subTest(view=view):
                imported = import_module(f"anymail.webhooks.{module}")
                self.assertTrue(issubclass(getattr(imported, cls), View))

    def test_views_are_in_the_table(self):
        package = Path(anymail.__file__).parent
        modules = {path.stem for path in (package / "webhooks").glob("*.py")}
        modules -= {"__init__", *SHARED["webhooks"]}
        self.assertLessEqual(modules, {view.partition(":")[0] for _, _, view in TABLE})


class ViewOnFirstRequestTests(SimpleTestCase):
    def setUp(self):
        self.calls: list[str] = []
        calls = self.calls

        class MadeUpView(View):
            http_method_names = ["post"]

            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                calls.append("init")

            def post(self, request, *args, **kwargs):
                return HttpResponse(f"{args} {kwargs}")

            @classmethod
            def as_view(cls, **initkwargs):
                calls.append("as_view")
                return super().as_view(**initkwargs)

        self.module = ModuleType("anymail.webhooks.made_up")
        self.module.MadeUpView = MadeUpView
        patcher = mock.patch.dict(sys.modules, {"anymail.webhooks.made_up": self.module})
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_view_is_made_once(self):
        view = urls._view_on_first_request("made_up:MadeUpView")
        self.assertEqual(self.calls, [])
        request = RequestFactory().post("/")
        self.assertEqual(view(request, "a", b="c").content, b"('a',) {'b': 'c'}")
        self.assertEqual(self.calls, ["as_view", "init"])
        view(request)
        self.assertEqual(self.calls, ["as_view", "init", "init"])  # one instance per request

    def test_a_failed_import_is_tried_again(self):
        view = urls._view_on_first_request("made_up:MadeUpView")
        with (
            mock.patch.dict(sys.modules, {"anymail.webhooks.made_up": None}),
            self.assertRaises(ImportError),
        ):
            view(RequestFactory().post("/"))
        self.assertEqual(view(RequestFactory().post("/")).status_code, 200)

    def test_attributes_for_middleware(self):
        for pattern in urls.urlpatterns:
            with self.subTest(name=pattern.name):
                self.assertIs(pattern.callback.csrf_exempt, True)
                self.assertIs(pattern.callback.login_required, False)

    def test_csrf_middleware_lets_it_pass(self):
        client = Client(enforce_csrf_checks=True)
        pattern = urls.urlpatterns[0]
        view = urls._view_on_first_request("made_up:MadeUpView")
        with mock.patch.object(pattern, "callback", view):
            response = client.post(reverse(f"anymail:{pattern.name}"))
        self.assertEqual(response.status_code, 200)
