from __future__ import annotations

import sys
from types import ModuleType
from unittest import mock

from django.http import HttpResponse
from django.test import Client, RequestFactory, SimpleTestCase
from django.urls import Resolver404, resolve, reverse
from django.views.generic import View

from anymail import urls
from anymail.providers import PROVIDERS

# URL path, name of the pattern, module and class in anymail.webhooks: those of each provider that
# has them, and what is unusual
USUAL = """
{module}/inbound/    {module}_inbound_webhook    {module}:{name}InboundWebhookView
{module}/tracking/   {module}_tracking_webhook   {module}:{name}TrackingWebhookView
"""
UNUSUAL = """
mailgun/inbound_mime/  mailgun_inbound_webhook       mailgun:MailgunInboundWebhookView
mandrill/              mandrill_webhook              mandrill:MandrillCombinedWebhookView
mandrill/tracking/     mandrill_tracking_webhook     mandrill:MandrillCombinedWebhookView
sendinblue/inbound/    sendinblue_inbound_webhook    sendinblue:SendinBlueInboundWebhookView
sendinblue/tracking/   sendinblue_tracking_webhook   sendinblue:SendinBlueTrackingWebhookView
"""
COMBINED = {"mandrill"}
TABLE = [
    tuple(line.split())
    for name, provider in PROVIDERS.items()
    if name not in COMBINED
    for line in USUAL.format(module=name, name=provider.esp_name.replace(" ", "")).split("\n")
    if any(provider.reports(kind) and f"_{kind}_" in line for kind in ("tracking", "inbound"))
]
TABLE += [tuple(line.split()) for line in UNUSUAL.strip().splitlines()]


class TableTests(SimpleTestCase):
    def test_app_name(self):
        self.assertEqual(urls.app_name, "anymail")

    def test_every_name_reverses(self):
        for path, name, _ in TABLE:
            if path == "mailgun/inbound_mime/":
                self.assertEqual(reverse(f"anymail:{name}", args=["_mime"]), f"/anymail/{path}")
                continue
            with self.subTest(name=name):
                self.assertEqual(reverse(f"anymail:{name}"), f"/anymail/{path}")

    def test_every_path_resolves(self):
        for path, name, view in TABLE:
            with self.subTest(path=path):
                match = resolve(f"/anymail/{path}")
                self.assertEqual(match.view_name, f"anymail:{name}")
                self.assertEqual(match.func.__name__, view.partition(":")[2])
                self.assertTrue(issubclass(match.func.load_anymail_view().view_class, View))

    def test_nothing_else(self):
        self.assertEqual(
            {pattern.name for pattern in urls.urlpatterns}, {name for _, name, _ in TABLE}
        )
        self.assertEqual(len(urls.urlpatterns), len(TABLE) - 1)
        for path in [
            "",
            "postmark/",
            "postmark/tracking",
            "unisender_go/inbound/",
            "mandrill/inbound/",
            "mailgun/inbound_xml/",
            "xmailgun/inbound/",
            "mailgun/inbound/more/",
        ]:
            with self.subTest(path=path), self.assertRaises(Resolver404):
                resolve(f"/anymail/{path}")


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
