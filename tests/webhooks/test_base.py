"""The base of all webhook views, by way of one that is made up."""

from __future__ import annotations

import base64
import warnings
from typing import Any
from unittest import skipUnless

import django
from django.http import HttpRequest
from django.test import RequestFactory, SimpleTestCase, override_settings
from django.urls import path
from django.views.generic import View

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInsecureWebhookWarning,
    AnymailWebhookValidationFailure,
)
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent, inbound, tracking
from anymail.webhooks.base import (
    AnymailBaseWebhookView,
    AnymailBasicAuthMixin,
    AnymailCoreWebhookView,
    as_list,
)
from anymail.webhooks.decoding import json_objects


class MadeUpView(AnymailBaseWebhookView):
    esp_name = "Made Up"
    signal = tracking

    def parse_events(self, request):
        return [
            AnymailTrackingEvent(event_type=event["type"], esp_event=event)
            for event in json_objects(request, self.esp_name)
        ]


class SignedView(MadeUpView):
    warn_if_no_basic_auth = False

    def validate_request(self, request):
        if request.headers.get("X-Signature") != "correct":
            raise AnymailWebhookValidationFailure("Wrong signature")


class CoreView(AnymailCoreWebhookView):
    esp_name = "Core"
    signal = inbound

    def parse_events(self, request):
        return [AnymailInboundEvent(event_id="id")]


class OverridingView(SignedView):
    """As in a project that has a reason to override dispatch"""

    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)


class MisconfiguredView(SignedView):
    def parse_events(self, request):
        raise AnymailConfigurationError("wrong URL")


urlpatterns = [
    path("basic/", MadeUpView.as_view()),
    path("signed/", SignedView.as_view()),
    path("core/", CoreView.as_view()),
    path("overriding/", OverridingView.as_view()),
    path("misconfigured/", MisconfiguredView.as_view()),
    path("core/<int:number>/", CoreView.as_view()),
]


def basic_auth(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


SECRET = "user:password"


@override_settings(ROOT_URLCONF=__name__, ANYMAIL={"WEBHOOK_SECRET": SECRET})
class ViewTestCase(SimpleTestCase):
    def setUp(self):
        self.client = self.client_class(enforce_csrf_checks=True)
        self.calls: list[Any] = []
        for signal in [tracking, inbound]:
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)

    def receive(self, signal, sender, event, esp_name, **kwargs):
        self.assertEqual(kwargs, {})
        self.calls.append((signal, sender, event, esp_name))

    def post(
        self,
        url: str = "/basic/",
        data: Any = '[{"type": "sent"}]',
        auth: str | None = SECRET,
        **headers: str,
    ):
        if auth is not None:
            headers["authorization"] = basic_auth(auth)
        return self.client.post(url, data, content_type="application/json", headers=headers)

    def assertRefused(self, response: Any) -> None:
        self.assertEqual(response.status_code, 400)
        self.assertEqual(self.calls, [])


class ClassesTests(SimpleTestCase):
    def test_bases(self):
        self.assertEqual(AnymailCoreWebhookView.__bases__, (View,))
        self.assertEqual(AnymailBasicAuthMixin.__bases__, (AnymailCoreWebhookView,))
        self.assertEqual(
            AnymailBaseWebhookView.__bases__, (AnymailBasicAuthMixin, AnymailCoreWebhookView)
        )

    def test_attributes(self):
        self.assertIsNone(AnymailCoreWebhookView.signal)
        self.assertEqual(AnymailCoreWebhookView.http_method_names, ["post", "head", "options"])
        self.assertIs(AnymailBaseWebhookView.warn_if_no_basic_auth, True)
        self.assertIsNone(AnymailBaseWebhookView.basic_auth)

    def test_abstract(self):
        class Incomplete(AnymailCoreWebhookView):
            pass

        view = Incomplete()
        with self.assertRaisesRegex(NotImplementedError, r"test_base\..*Incomplete.*esp_name"):
            _ = view.esp_name
        with self.assertRaisesRegex(NotImplementedError, r"test_base\..*Incomplete.*parse_events"):
            view.parse_events(HttpRequest())
        self.assertIsNone(view.validate_request(HttpRequest()))

    def test_as_list(self):
        for value, expected in [
            (None, []),
            ("", []),
            ([], []),
            ("secret", ["secret"]),
            (["a", "b"], ["a", "b"]),
            (("a", "b"), ["a", "b"]),
        ]:
            self.assertEqual(as_list(value), expected)


class RequestHandlingTests(ViewTestCase):
    def test_success(self):
        response = self.post()
        self.assertEqual((response.status_code, response.content), (200, b""))
        [(signal, sender, event, esp_name)] = self.calls
        self.assertIs(signal, tracking)
        self.assertIs(sender, MadeUpView)
        self.assertIsInstance(event, AnymailTrackingEvent)
        self.assertEqual(event.esp_event, {"type": "sent"})
        self.assertEqual(esp_name, "Made Up")

    def test_several_events_in_order(self):
        self.post(data='[{"type": "sent"}, {"type": "opened"}, {"type": "clicked"}]')
        self.assertEqual(
            [event.event_type for _, _, event, _ in self.calls], ["sent", "opened", "clicked"]
        )

    def test_no_events(self):
        response = self.post(data="[]")
        self.assertEqual((response.status_code, response.content), (200, b""))
        self.assertEqual(self.calls, [])

    def test_events_of_any_class(self):
        class OwnEventsView(CoreView):
            def parse_events(self, request):
                return ["own", 5]

        OwnEventsView.as_view()(RequestFactory().post("/"))
        self.assertEqual([event for _, _, event, _ in self.calls], ["own", 5])

    def test_inbound(self):
        self.post("/core/")
        [(signal, sender, _, _)] = self.calls
        self.assertIs(signal, inbound)
        self.assertIs(sender, CoreView)

    def test_url_arguments(self):
        self.assertEqual(self.post("/core/5/").status_code, 200)
        self.assertEqual(self.client.head("/core/5/").status_code, 200)

    def test_head(self):
        for url in ["/basic/", "/signed/"]:
            response = self.client.head(url)
            self.assertEqual((response.status_code, response.content), (200, b""))
        self.assertEqual(self.calls, [])

    def test_options(self):
        response = self.client.options("/basic/")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response["Allow"], "POST, HEAD, OPTIONS")

    def test_other_methods(self):
        for method in ["get", "put", "patch", "delete"]:
            with self.subTest(method=method), self.assertLogs("django.request"):
                response = getattr(self.client, method)(
                    "/basic/", headers={"authorization": basic_auth(SECRET)}
                )
                self.assertEqual(response.status_code, 405)
                self.assertEqual(response["Allow"], "POST, HEAD, OPTIONS")
        self.assertEqual(self.calls, [])

    def test_malformed(self):
        for data in ["", "{", "[5]", "{}", b"\xff"]:
            with self.subTest(data=data), self.assertLogs("django.security"):
                self.assertRefused(self.post(data=data))

    def test_other_errors_propagate(self):
        with self.assertRaises(AnymailConfigurationError):
            self.post("/misconfigured/", **{"x-signature": "correct"})
        with self.assertRaises(KeyError):
            self.post(data='[{"no type": 1}]')
        self.client.raise_request_exception = False
        with self.assertLogs("django.request", "ERROR"):
            self.assertEqual(self.post(data='[{"no type": 1}]').status_code, 500)
        self.assertEqual(self.calls, [])

    def test_receiver_errors(self):
        later_calls = []

        def broken(event, **kwargs):
            if event.event_type == "opened":
                raise ValueError("from the receiver")

        def later(event, **kwargs):
            later_calls.append(event.event_type)

        for receiver in [broken, later]:
            tracking.connect(receiver)
            self.addCleanup(tracking.disconnect, receiver)
        with self.assertRaisesMessage(ValueError, "from the receiver"):
            self.post(data='[{"type": "sent"}, {"type": "opened"}, {"type": "clicked"}]')
        self.assertEqual([event.event_type for _, _, event, _ in self.calls], ["sent", "opened"])
        self.assertEqual(later_calls, ["sent"])

    def test_signal_can_be_chosen_while_parsing(self):
        class CombinedView(SignedView):
            signal = None

            def parse_events(self, request):
                self.signal = inbound
                return [AnymailInboundEvent()]

        request = RequestFactory().post(
            "/",
            headers={"x-signature": "correct", "authorization": basic_auth(SECRET)},
        )
        self.assertEqual(CombinedView.as_view()(request).status_code, 200)
        [(signal, _, _, _)] = self.calls
        self.assertIs(signal, inbound)
        self.assertIsNone(CombinedView.signal)

    def test_nothing_is_parsed_before_validation(self):
        class Unparsed(SignedView):
            def parse_events(self, request):
                raise AssertionError("parsed")

        request = RequestFactory().post("/", headers={"authorization": basic_auth(SECRET)})
        with self.assertRaisesMessage(AnymailWebhookValidationFailure, "Wrong signature"):
            Unparsed.as_view()(request)


class MiddlewareTests(ViewTestCase):
    def test_csrf(self):
        for url in ["/basic/", "/signed/", "/core/", "/overriding/"]:
            response = self.post(url, **{"x-signature": "correct"})
            self.assertEqual(response.status_code, 200, url)

    @skipUnless(django.VERSION >= (5, 1), "Django 5.1 introduced LoginRequiredMiddleware")
    def test_login_required(self):
        from django.conf import settings

        middleware = "django.contrib.auth.middleware.LoginRequiredMiddleware"
        with override_settings(
            MIDDLEWARE=[*settings.MIDDLEWARE, middleware],
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        ):
            for url in ["/basic/", "/signed/", "/core/", "/overriding/"]:
                response = self.post(url, **{"x-signature": "correct"})
                self.assertEqual(response.status_code, 200, url)

    def test_attributes_for_middleware(self):
        for view_class in [MadeUpView, OverridingView, CoreView]:
            view = view_class.as_view()
            self.assertIs(view.csrf_exempt, True)
            self.assertIs(view.login_required, False)


class ValidatorsTests(ViewTestCase):
    def validated_by(self, view_class: type, **kwargs: Any) -> list[str]:
        view = view_class(**kwargs)
        return [validator.__qualname__.rpartition("<locals>.")[2] for validator in view.validators]

    def test_every_definition_bases_first(self):
        class Mixin(AnymailCoreWebhookView):
            def validate_request(self, request):
                pass

        class Own(Mixin, AnymailBaseWebhookView):
            esp_name = "Own"

            def validate_request(self, request):
                pass

        class Sub(Own):
            pass

        expected = [
            "AnymailCoreWebhookView.validate_request",
            "AnymailBasicAuthMixin.validate_request",
            "Mixin.validate_request",
            "Own.validate_request",
        ]
        self.assertEqual(self.validated_by(Own), expected)
        self.assertEqual(self.validated_by(Sub), expected)

    def test_all_are_called(self):
        calls = []

        class Mixin(AnymailCoreWebhookView):
            def validate_request(self, request):
                calls.append(("mixin", request))
                return False  # the value has no meaning

        class Own(Mixin, MadeUpView):
            def validate_request(self, request):
                calls.append(("own", request))

        request = RequestFactory().post("/", headers={"authorization": basic_auth(SECRET)})
        Own().run_validators(request)
        self.assertEqual(calls, [("mixin", request), ("own", request)])

        # Strangers don't get that far.
        calls.clear()
        request = RequestFactory().post("/", headers={"authorization": basic_auth("wrong:auth")})
        with self.assertRaisesMessage(AnymailWebhookValidationFailure, "basic auth"):
            Own().run_validators(request)
        self.assertEqual(calls, [])

    def test_overriding_keeps_basic_auth(self):
        signature = {"x-signature": "correct"}
        with self.assertLogs("django.security"):
            self.assertRefused(self.post("/signed/", auth="wrong:auth", **signature))
            self.assertRefused(self.post("/signed/", auth=None, **signature))
            self.assertRefused(self.post("/signed/", **{"x-signature": "wrong"}))
        self.assertEqual(self.post("/signed/", **signature).status_code, 200)


class BasicAuthTests(ViewTestCase):
    def test_correct(self):
        self.assertEqual(self.post().status_code, 200)
        self.assertEqual(len(self.calls), 1)

    def test_wrong(self):
        for auth in [
            "wrong:password",
            "user:wrong",
            "user:passwordx",
            "user:",
            "USER:password",
            "",
        ]:
            with self.subTest(auth=auth), self.assertLogs("django.security") as logs:
                self.assertRefused(self.post(auth=auth))
            self.assertIn("basic auth", logs.output[0])
            self.assertIn("Made Up", logs.output[0])
            self.assertNotIn("password", logs.output[0])

    def test_missing(self):
        with self.assertLogs("django.security"):
            self.assertRefused(self.post(auth=None))

    def test_malformed(self):
        for authorization in ["", "Basic", "Basic !!!", f"Bearer {SECRET}", "Basic dXNlcg== x"]:
            with self.subTest(authorization=authorization), self.assertLogs("django.security"):
                self.assertRefused(self.post(auth=None, authorization=authorization))

    def test_scheme_in_any_case(self):
        authorization = basic_auth(SECRET).replace("Basic", "bASIC")
        response = self.post(auth=None, authorization=authorization)
        self.assertEqual(response.status_code, 200)

    def test_several_secrets(self):
        for secrets in [["old:secret", "new:secret"], ("old:secret", "new:secret")]:
            with override_settings(ANYMAIL={"WEBHOOK_SECRET": secrets}):
                for auth in secrets:
                    self.assertEqual(self.post(auth=auth).status_code, 200)
                self.calls.clear()
                with self.assertLogs("django.security"):
                    self.assertRefused(self.post(auth="another:secret"))
                    self.assertRefused(self.post(auth="old:secretnew:secret"))

    def test_prefixed_setting(self):
        with override_settings(ANYMAIL={}, ANYMAIL_WEBHOOK_SECRET="a:b"):
            self.assertEqual(self.post(auth="a:b").status_code, 200)
            self.calls.clear()
            with self.assertLogs("django.security"):
                self.assertRefused(self.post())

    def test_international_secret(self):
        with override_settings(ANYMAIL={"WEBHOOK_SECRET": "üser:pässwörd"}):
            self.assertEqual(self.post(auth="üser:pässwörd").status_code, 200)
            self.calls.clear()
            with self.assertLogs("django.security"):
                self.assertRefused(self.post(auth="üser:passwörd"))

    def test_what_is_no_secret(self):
        for value, problem in (
            # As from an environment variable that is split at commas
            ([""], 'must be "user:password"'),
            ("password", 'must be "user:password"'),
            ([SECRET, None], 'must be "user:password"'),
            (5, 'must be "user:password"'),
            # As from a file
            (f"{SECRET}\n", "has white space"),
            ([f" {SECRET}"], "has white space"),
        ):
            with (
                self.subTest(value),
                override_settings(ANYMAIL={"WEBHOOK_SECRET": value}),
                self.assertRaisesMessage(
                    AnymailConfigurationError, f"WEBHOOK_SECRET {problem}"
                ) as caught,
            ):
                self.post(auth=None)
            self.assertNotIn("password", str(caught.exception).replace('"user:password"', ""))
            self.assertIsNone(caught.exception.__cause__)

    def test_no_esp_specific_setting(self):
        with override_settings(
            ANYMAIL={"WEBHOOK_SECRET": SECRET, "MADE_UP_WEBHOOK_SECRET": "other:secret"}
        ):
            self.assertEqual(self.post().status_code, 200)


class NotConfiguredTests(ViewTestCase):
    def test_warns(self):
        for settings in [{}, {"WEBHOOK_SECRET": ""}, {"WEBHOOK_SECRET": []}]:
            with self.subTest(settings=settings), override_settings(ANYMAIL=settings):
                self.calls.clear()
                with self.assertWarnsRegex(
                    AnymailInsecureWebhookWarning, r"Made Up.*WEBHOOK_SECRET"
                ):
                    response = self.post(auth=None)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(len(self.calls), 1)

    @override_settings(ANYMAIL={})
    def test_warns_on_each_request(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.post(auth=None)
            self.client.head("/basic/")
            with self.assertLogs("django.request"):
                self.client.get("/basic/")
        self.assertEqual(
            [warning.category for warning in caught], [AnymailInsecureWebhookWarning] * 3
        )

    @override_settings(ANYMAIL={})
    def test_signed_views_do_not_warn(self):
        response = self.post("/signed/", auth=None, **{"x-signature": "correct"})
        self.assertEqual(response.status_code, 200)

    def test_does_not_warn_if_configured(self):
        self.assertEqual(self.client.head("/basic/").status_code, 200)


class AsViewTests(ViewTestCase):
    def call(self, view: Any, auth: str | None) -> int:
        headers = {} if auth is None else {"authorization": basic_auth(auth)}
        request = RequestFactory().post(
            "/", b"[]", content_type="application/json", headers=headers
        )
        try:
            return view(request).status_code
        except AnymailWebhookValidationFailure:
            return 400

    def test_basic_auth(self):
        for secrets in ["other:secret", ["other:secret", "more:secrets"], ("other:secret",)]:
            for settings in [{}, {"WEBHOOK_SECRET": SECRET}]:
                with (
                    self.subTest(secrets=secrets, settings=settings),
                    override_settings(ANYMAIL=settings),
                ):
                    view = MadeUpView.as_view(basic_auth=secrets)
                    self.assertEqual(self.call(view, "other:secret"), 200)  # and no warning
                    self.assertEqual(self.call(view, SECRET), 400)
                    self.assertEqual(self.call(view, "o"), 400)
                    self.assertEqual(self.call(view, None), 400)

    def test_no_basic_auth_means_the_setting(self):
        for nothing in [None, [], ""]:
            view = MadeUpView.as_view(basic_auth=nothing)
            self.assertEqual(self.call(view, SECRET), 200)
            self.assertEqual(self.call(view, None), 400)

    def test_class_attribute(self):
        class OtherSecret(MadeUpView):
            basic_auth = ["other:secret"]

        for settings in [{}, {"WEBHOOK_SECRET": SECRET}]:
            with override_settings(ANYMAIL=settings):
                view = OtherSecret.as_view()
                self.assertEqual(self.call(view, "other:secret"), 200)
                self.assertEqual(self.call(view, SECRET), 400)
                view = OtherSecret.as_view(basic_auth="third:secret")
                self.assertEqual(self.call(view, "third:secret"), 200)
                self.assertEqual(self.call(view, "other:secret"), 400)

    @override_settings(ANYMAIL={})
    def test_warn_if_no_basic_auth(self):
        view = MadeUpView.as_view(warn_if_no_basic_auth=False)
        self.assertEqual(self.call(view, None), 200)
        with self.assertWarns(AnymailInsecureWebhookWarning):
            self.call(SignedView.as_view(warn_if_no_basic_auth=True), None)

    def test_webhook_secret(self):
        view = MadeUpView(webhook_secret="other:secret")
        self.assertEqual(view.basic_auth, ["other:secret"])
        with self.assertRaises(TypeError):
            MadeUpView.as_view(webhook_secret="other:secret")

    def test_settings_are_read_for_each_request(self):
        view = MadeUpView.as_view()
        with override_settings(ANYMAIL={"WEBHOOK_SECRET": "first:secret"}):
            self.assertEqual(self.call(view, "first:secret"), 200)
        with override_settings(ANYMAIL={"WEBHOOK_SECRET": "second:secret"}):
            self.assertEqual(self.call(view, "first:secret"), 400)
            self.assertEqual(self.call(view, "second:secret"), 200)
