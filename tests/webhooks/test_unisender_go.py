"""What the fixture pairs and the contract suite don't cover."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.test import RequestFactory, SimpleTestCase, override_settings, tag

from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.webhooks.unisender_go import (
    EVENT_TYPES,
    REJECT_REASONS,
    UnisenderGoTrackingWebhookView,
)
from tests.webhooks.harness import (
    BASIC_AUTH,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    find_fixtures,
)

PATH = "/anymail/unisender_go/tracking/"
KEY = "unisender-go-api-key"


def signed(template: str, key: str = KEY) -> str:
    """Return a call made of a template with "$AUTH" in it."""
    digest = hashlib.md5(template.replace("$AUTH", key).encode()).hexdigest()
    return template.replace("$AUTH", digest)


@tag("unisender_go")
class UnisenderGoWebhookTestCase(WebhookTestCase):
    def setUp(self) -> None:
        super().setUp()
        override = override_settings(ANYMAIL={"UNISENDER_GO_API_KEY": KEY})
        override.enable()
        self.addCleanup(override.disable)

    def post(self, body: str, authorization: str | None = None) -> Any:
        request = WebhookRequest(kind="tracking", path=PATH, text=body)
        return self.call(request, authorization=authorization)


class SignatureTests(UnisenderGoWebhookTestCase):
    def test_body_is_verified_as_it_is(self):
        for template in (
            '{"auth":"$AUTH","event_name":"x","url":"https:\\/\\/example.com\\/"}',
            '{"event_name": "x",\n "auth" : "$AUTH" }',
            '{"name":"\\u0417\\u043e\\u044f","auth":"$AUTH"}',
            '{"name":"Зоя","auth":"$AUTH","auth":"$AUTH"}',
            '{"auth":"$AUTH","again":"$AUTH $AUTH"}',
        ):
            with self.subTest(template):
                self.assertEqual(self.post(signed(template)).status_code, 200)
                self.assertEqual(self.post(signed(template, "other-key")).status_code, 400)
                self.assertEqual(self.post(f"{signed(template)} ").status_code, 400)

    def test_signature_that_is_not_a_digest(self):
        # Whatever the API key is put in place of: it must not become the digest of that.
        for auth in ("", " ", ":", "{", '\\"', "a", "$AUTH ", "$AUTH$AUTH"):
            with self.subTest(auth):
                template = '{"a": "$AUTH"}'.replace("$AUTH", auth)
                self.assertEqual(self.post(signed(template)).status_code, 400)
                self.assertEqual(self.post(f'{{"auth": "{auth}"}}').status_code, 400)

    def test_short_signature_does_not_inflate_the_body(self):
        body = '{"auth": "a", "more": "' + "a" * 1_000_000 + '"}'
        view = UnisenderGoTrackingWebhookView(api_key="k" * 1000)

        class Body(bytes):
            def replace(self, *args, **kwargs):
                raise AssertionError("1 GB")

        self.assertIs(view._is_signed(Body(body.encode()), "a"), False)
        self.assertIs(view._is_signed(Body(body.encode()), ""), False)

    def assert_error(self, data: Any) -> str:
        request = RequestFactory().post(PATH, json.dumps(data), content_type="application/json")
        with self.assertRaises(AnymailWebhookValidationFailure) as raised:
            UnisenderGoTrackingWebhookView.as_view()(request)
        text = str(raised.exception)
        self.assertIn("check Anymail UNISENDER_GO_API_KEY", text)
        self.assertNotIn(KEY, text)
        return text

    def test_error_names_the_project(self):
        for data, project_id in (
            ({"events_by_user": [{"project_id": 999}]}, "999"),
            ({"events_by_user": [{"project_id": "64328902"}]}, "64328902"),
            ({"events_by_user": [{"project_id": "1"}], "project_id": "2"}, "1"),
            ({"events_by_user": [{"user_id": 1}], "project_id": "2"}, "2"),
            ({"events_by_user": [{"project_id": None}], "project_id": 2}, "2"),
            ({"project_id": 12}, "12"),
            ({"project_id": "a-b_c"}, "a-b_c"),
        ):
            with self.subTest(data):
                self.assertIn(
                    f"check Anymail UNISENDER_GO_API_KEY setting is for Project ID {project_id}",
                    self.assert_error({"auth": "0" * 32, **data}),
                )

    def test_error_without_project(self):
        for data in (
            {},
            {"events_by_user": []},
            {"events_by_user": None},
            {"events_by_user": {"project_id": 1}},
            {"events_by_user": [None]},
            {"events_by_user": [{"user_id": 1}]},
            {"project_id": None},
            {"project_id": ""},
            {"project_id": [1]},
            {"project_id": True},
            # What anybody can send is kept out of the log.
            {"project_id": "1\nfaked line"},
            {"project_id": "1\n"},
            {"project_id": "1" * 65},
            {"project_id": "é"},
        ):
            for auth in ({}, {"auth": "0" * 32}, {"auth": None}):
                with self.subTest(data=data, auth=auth):
                    self.assertNotIn("Project ID", self.assert_error({**data, **auth}))

    def test_error_is_logged(self):
        with self.assertLogs("django.security") as logs:
            self.assertEqual(self.post('{"auth": "x", "project_id": 7}').status_code, 400)
        self.assertIn("setting is for Project ID 7", "".join(logs.output))

    def test_basic_auth_comes_first(self):
        # Then there is no need to decode what strangers send.
        with self.anymail_settings(UNISENDER_GO_API_KEY=KEY, WEBHOOK_SECRET=BASIC_AUTH):
            request = RequestFactory().post(PATH, "not JSON", content_type="application/json")
            with self.assertRaisesRegex(AnymailWebhookValidationFailure, "basic auth"):
                UnisenderGoTrackingWebhookView.as_view()(request)
            body = signed('{"auth": "$AUTH"}')
            self.assertEqual(self.post(body, basic_auth_header()).status_code, 200)
            self.assertEqual(self.post(body, basic_auth_header("a:b")).status_code, 400)
            self.assertEqual(self.post('{"auth": "x"}', basic_auth_header()).status_code, 400)


class ViewTests(UnisenderGoWebhookTestCase):
    def test_get(self):
        # Neither signed nor with basic auth
        with self.anymail_settings(UNISENDER_GO_API_KEY=KEY, WEBHOOK_SECRET=BASIC_AUTH):
            for method in ("get", "head"):
                response = getattr(self.client, method)(PATH)
                self.assertEqual((response.status_code, response.content), (200, b""))
        self.assert_no_signals()

    def test_other_methods(self):
        response = self.client.put(PATH)
        self.assertEqual(response.status_code, 405)
        self.assertEqual(response.headers["Allow"], "POST, HEAD, OPTIONS, GET")

    def test_api_key_is_required(self):
        for settings in ({}, {"UNISENDER_GO_API_KEY": ""}, {"UNISENDER_GO_API_KEY": None}):
            with self.anymail_settings(**settings):
                for method in ("get", "head", "post", "put", "options"):
                    with (
                        self.subTest(settings=settings, method=method),
                        self.assertRaisesRegex(AnymailConfigurationError, "UNISENDER_GO_API_KEY"),
                    ):
                        getattr(self.client, method)(PATH)

    def test_api_key_not_ascii(self):
        with (
            self.anymail_settings(UNISENDER_GO_API_KEY="kéy-hush"),
            self.assertRaisesRegex(AnymailConfigurationError, "UNISENDER_GO_API_KEY") as raised,
        ):
            self.client.get(PATH)
        self.assertNotIn("hush", str(raised.exception))

    def test_bare_setting(self):
        with override_settings(ANYMAIL={}, UNISENDER_GO_API_KEY="bare"):
            self.assertEqual(UnisenderGoTrackingWebhookView().api_key_bytes, b"bare")

    def test_as_view(self):
        view = UnisenderGoTrackingWebhookView.as_view(api_key="AB")
        instance = view.view_class(**view.view_initkwargs)
        self.assertEqual(instance.api_key_bytes, b"AB")

    def test_signature_is_protection(self):
        with self.anymail_settings(UNISENDER_GO_API_KEY=KEY, REQUIRE_WEBHOOK_AUTH=True):
            self.assertEqual(self.post(signed('{"auth": "$AUTH"}')).status_code, 200)

    def test_event_is_not_modified(self):
        metadata = {"anymail_id": "id-1", "order": "12"}
        data = {
            "event_name": "transactional_email_status",
            "metadata": metadata,
            "auth": "$AUTH",
        }
        self.post(signed(json.dumps(data)))
        [received] = self.received
        self.assertEqual(received.event.esp_event["metadata"], metadata)
        self.assertEqual(received.event.metadata, {"order": "12"})
        self.assertEqual(received.event.message_id, "id-1")

    def test_no_signal_if_one_event_is_malformed(self):
        good = {"event_name": "transactional_email_status", "event_data": {"status": "sent"}}
        bad = {"event_name": "transactional_email_status"}
        data = {"auth": "$AUTH", "events_by_user": [{"events": [good, bad]}]}
        self.assertEqual(self.post(signed(json.dumps(data))).status_code, 400)
        self.assert_no_signals()


@tag("unisender_go")
class FixtureTests(SimpleTestCase):
    def test_fixtures_cover_all(self):
        events = [
            event
            for fixture in find_fixtures("unisender_go", "tracking")
            for event in fixture.load_expected().get("events", [])
        ]
        self.assertLessEqual(set(EVENT_TYPES.values()), {event["event_type"] for event in events})
        self.assertLessEqual(set(REJECT_REASONS), {event.get("description") for event in events})
