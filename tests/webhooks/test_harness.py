"""The fixture harness itself: that wrong results do fail."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from django.http import HttpRequest
from django.test import SimpleTestCase, override_settings
from django.urls import path

from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.inbound import AnymailInboundMessage
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent, inbound, tracking
from anymail.webhooks.base import AnymailBaseWebhookView

from .cases.base import WebhookCase, WebhookView
from .harness import (
    Fixture,
    FixtureTestCase,
    WebhookRequest,
    expand,
    find_fixtures,
    simulated_downloads,
)


class EchoTrackingView(AnymailBaseWebhookView):
    """The call's body is a list of the events' fields."""

    esp_name = "Echo"
    signal = tracking

    def validate_request(self, request: HttpRequest) -> None:
        if request.headers.get("X-Signature") != "signed":
            raise AnymailWebhookValidationFailure("Not signed")

    def parse_events(self, request: HttpRequest) -> list[Any]:
        events = []
        for data in json.loads(request.body):
            if "wrong url" in data:
                raise AnymailConfigurationError("Wrong URL for Echo")
            fields = dict(data)
            if isinstance(fields.get("timestamp"), (int, float)):
                fields["timestamp"] = datetime.fromtimestamp(fields["timestamp"], timezone.utc)
            events.append(AnymailTrackingEvent(esp_event=data, **fields))
        return events


class EchoInboundView(AnymailBaseWebhookView):
    """The call's body is a raw message."""

    esp_name = "Echo"
    signal = inbound

    def parse_events(self, request: HttpRequest) -> list[Any]:
        message = AnymailInboundMessage.parse_raw_mime_bytes(request.body)
        message.envelope_sender = request.headers.get("X-Sender")
        return [AnymailInboundEvent(message=message, esp_event=request)]


urlpatterns = [
    path("echo/tracking/", EchoTrackingView.as_view(), name="echo_tracking"),
    path("echo/inbound/", EchoInboundView.as_view(), name="echo_inbound"),
]


def _sign(request: WebhookRequest) -> None:
    request.headers["X-Signature"] = "signed"


ECHO = WebhookCase(
    esp="echo",
    esp_name="Echo",
    views=(
        WebhookView(
            "tracking", "echo_tracking", f"{__name__}.EchoTrackingView", signature="required"
        ),
        WebhookView("inbound", "echo_inbound", f"{__name__}.EchoInboundView"),
    ),
    sign=_sign,
)

DOC = "https://echo.example/docs"


@override_settings(ROOT_URLCONF=__name__)
class HarnessTests(FixtureTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        patcher = patch("tests.webhooks.harness.FIXTURES", self.directory)
        patcher.start()
        self.addCleanup(patcher.stop)

    def write(self, kind: str, call: Any, expected: Any) -> Fixture:
        fixture = Fixture("echo", kind, "case")
        fixture.path.parent.mkdir(parents=True, exist_ok=True)
        fixture.path.write_text(json.dumps({"doc": DOC, **call}))
        fixture.expected_path.write_text(json.dumps(expected))
        return fixture

    def check(self, kind: str, call: Any, expected: Any) -> None:
        self.received.clear()
        self.check_fixture(ECHO, self.write(kind, call, expected))

    def assert_fails(self, kind: str, call: Any, expected: Any, text: str = "") -> None:
        with self.assertRaises(AssertionError) as caught:
            self.check(kind, call, expected)
        self.assertIn(text, str(caught.exception))

    EVENT = {
        "event_type": "bounced",
        "timestamp": 0,
        "recipient": "to@example.com",
        "tags": ["a"],
        "metadata": {"b": 1},
    }
    EXPECTED = {**EVENT, "timestamp": "1970-01-01T02:00:00+02:00"}

    def test_right(self):
        self.check("tracking", {"json": [self.EVENT]}, {"events": [self.EXPECTED]})

    def test_right_esp_event(self):
        expected = {**self.EXPECTED, "esp_event": [0]}
        self.check("tracking", {"json": [self.EVENT]}, {"events": [expected]})

    def test_no_events(self):
        self.check("tracking", {"json": []}, {})

    def test_wrong_tracking(self):
        for change, text in [
            ({"event_type": "sent"}, "'sent'"),
            ({"timestamp": "1970-01-01T00:00:00+02:00"}, "1969-12-31"),
            ({"timestamp": None}, "None"),
            ({"recipient": None}, "recipient"),
            ({"tags": []}, "tags"),
            ({"metadata": {}}, "metadata"),
            ({"event_id": "1"}, "event_id"),
            ({"mta_reponse": "250"}, "unknown fields"),
            ({"esp_event": "whole"}, ""),
            ({"esp_event": "form"}, "QueryDict"),
        ]:
            with self.subTest(**change):
                expected = {"events": [{**self.EXPECTED, **change}]}
                self.assert_fails("tracking", {"json": [self.EVENT]}, expected, text)

    def test_unexpected_value(self):
        expected = dict(self.EXPECTED)
        del expected["tags"]
        self.assert_fails("tracking", {"json": [self.EVENT]}, {"events": [expected]}, "tags")

    def test_wrong_count(self):
        call = {"json": [self.EVENT, self.EVENT]}
        self.assert_fails("tracking", call, {"events": [self.EXPECTED]})
        self.assert_fails("tracking", call, {"events": [self.EXPECTED] * 3})

    def test_wrong_status(self):
        self.assert_fails("tracking", {"json": []}, {"status": 400}, "200 != 400")
        self.assert_fails("tracking", {"json": [], "sign": False}, {}, "400 != 200")

    def test_unsigned(self):
        self.check("tracking", {"json": [], "sign": False}, {"status": 400})

    def test_exception(self):
        call = {"json": [{"wrong url": 1}]}
        wrong_url = {"class": "AnymailConfigurationError", "contains": ["Echo"]}
        self.check("tracking", call, {"exception": wrong_url})
        self.assert_fails("tracking", {"json": []}, {"exception": wrong_url}, "not raised")
        other_text = {**wrong_url, "contains": ["Postmark"]}
        self.assert_fails("tracking", call, {"exception": other_text}, "Postmark")

    def test_event_contract(self):
        for change, text in [
            ({"event_type": "bounce"}, "bounce"),
            ({"reject_reason": "nasty"}, "nasty"),
            ({"recipient": "To <to@example.com>"}, "has a name"),
            ({"recipient": "To <to@"}, "not an addr-spec"),
            ({"recipient": ""}, "recipient is empty"),
            ({"message_id": 1}, "message_id"),
            ({"description": ["a"]}, "description"),
            ({"tags": [1]}, "tags"),
            ({"tags": "a"}, "list"),
            ({"metadata": [1]}, "dict"),
            ({"timestamp": "1970-01-01"}, "datetime"),
        ]:
            with self.subTest(**change):
                event = {**self.EVENT, **change}
                expected = {**self.EXPECTED, **change}
                self.assert_fails("tracking", {"json": [event]}, {"events": [expected]}, text)

    def test_bad_recipient(self):
        event = {**self.EVENT, "recipient": "not an address"}
        expected = {**self.EXPECTED, "recipient": "not an address"}
        self.check("tracking", {"json": [event]}, {"events": [expected]})

    MESSAGE = {
        "$crlf_lines": [
            "From: Ann <ann@example.com>",
            'To: "To, A" <a@example.com>, b@example.com',
            "Subject: =?utf-8?q?Hell=C3=B6?=",
            "Date: Tue, 06 May 2031 07:08:09 +0200",
            "Received: one",
            "Received: two",
            "MIME-Version: 1.0",
            'Content-Type: multipart/mixed; boundary="b"',
            "",
            "--b",
            "Content-Type: text/plain",
            "",
            "Text",
            "--b",
            "Content-Type: application/octet-stream",
            "Content-Disposition: attachment; filename=a.bin",
            "Content-Transfer-Encoding: base64",
            "",
            "AQID",
            "--b--",
        ]
    }
    MESSAGE_EXPECTED = {
        "from_email": "Ann <ann@example.com>",
        "to": ['"To, A" <a@example.com>', "b@example.com"],
        "subject": "Hellö",
        "date": "2031-05-06T05:08:09Z",
        "text": "Text",
        "headers": {"received": ["one", "two"], "SUBJECT": "Hellö", "X-Other": None},
        "envelope_sender": "sender@example.com",
        "attachments": [
            {"filename": "a.bin", "content_type": "application/octet-stream", "base64": "AQID"}
        ],
    }
    INBOUND = {
        "text": MESSAGE,
        "content_type": "message/rfc822",
        "headers": {"X-Sender": "sender@example.com"},
    }

    def test_right_inbound(self):
        self.check(
            "inbound",
            self.INBOUND,
            {"events": [{"message": self.MESSAGE_EXPECTED, "esp_event": "request"}]},
        )

    def test_wrong_inbound(self):
        attachment = self.MESSAGE_EXPECTED["attachments"][0]
        for change in [
            {"from_email": "ann@example.com"},
            {"to": []},
            {"cc": ["c@example.com"]},
            {"subject": "Hello"},
            {"date": "2031-05-06T07:08:09Z"},
            {"text": None},
            {"html": ""},
            {"headers": {"Received": "one"}},
            {"headers": {"Subject": None}},
            {"headers": {"X-Other": "1"}},
            {"envelope_sender": None},
            {"spam_detected": False},
            {"spam_score": 0.0},
            {"attachments": []},
            {"attachments": [attachment, attachment]},
            {"attachments": [{**attachment, "base64": "AQIE"}]},
            {"attachments": [{**attachment, "filename": None}]},
            {"attachments": [{"filename": "a.bin", "content_type": "application/octet-stream"}]},
            {"inlines": [attachment]},
            {"recipients": []},
        ]:
            with self.subTest(**change):
                message = {**self.MESSAGE_EXPECTED, **change}
                self.assert_fails("inbound", self.INBOUND, {"events": [{"message": message}]})

    def test_wrong_type_in_inbound(self):
        call = {**self.INBOUND, "headers": {"X-Sender": "S <sender@example.com>"}}
        message = {**self.MESSAGE_EXPECTED, "envelope_sender": "S <sender@example.com>"}
        self.assert_fails("inbound", call, {"events": [{"message": message}]}, "has a name")

    def test_bad_files(self):
        self.assert_fails("tracking", {"json": [], "txet": ""}, {}, "unknown keys ['txet']")
        self.assert_fails("tracking", {"json": []}, {"event": []}, "unknown keys ['event']")
        self.assert_fails("tracking", {"json": [], "text": ""}, {}, "exactly one")
        self.assert_fails("tracking", {}, {}, "exactly one")
        self.assert_fails("tracking", {"json": [], "doc": ""}, {}, '"doc"')

    def test_missing_file(self):
        for missing in ("path", "expected_path"):
            with self.subTest(missing):
                fixture = self.write("tracking", {"json": []}, {})
                getattr(fixture, missing).unlink()
                self.assertEqual(find_fixtures(), [fixture])
                with self.assertRaisesRegex(AssertionError, "is missing"):
                    self.check_fixture(ECHO, fixture)

    def test_abbreviations(self):
        (self.directory / "a.txt").write_bytes("ä\r\n".encode())
        for value, expanded in [
            ({"$lines": ["a", "b"]}, "a\nb"),
            ({"$crlf_lines": ["a", "b"]}, "a\r\nb"),
            ({"$json": {"a": {"$lines": ["b"]}}}, '{"a": "b"}'),
            ({"$file": "a.txt"}, "ä\r\n"),
            ({"$file_base64": "a.txt"}, "w6QNCg=="),
            ([{"a": {"$lines": ["b"]}}], [{"a": "b"}]),
            ({"$lines": "a", "b": 1}, {"$lines": "a", "b": 1}),
        ]:
            with self.subTest(value):
                self.assertEqual(expand(value, self.directory), expanded)


class RequestTests(SimpleTestCase):
    def request(self, **kwargs: Any) -> WebhookRequest:
        return WebhookRequest("tracking", "/", **kwargs)

    def test_json(self):
        request = self.request(json={"a": "ä"})
        self.assertEqual(request.body, '{"a": "ä"}'.encode())
        self.assertEqual(request.effective_content_type, "application/json")

    def test_form(self):
        request = self.request(form=[["a", "1"], ["b", "ä"], ["a", "2"]])
        self.assertEqual(request.body, b"a=1&b=%C3%A4&a=2")
        self.assertEqual(request.get_field("a"), "2")
        request.set_field("a", "3")
        self.assertEqual(request.body, b"b=%C3%A4&a=3")
        request.set_field("a", None)
        self.assertIsNone(request.get_field("a"))

    def test_multipart(self):
        request = self.request(
            multipart=[
                {"name": "a", "value": "ä"},
                {"name": "b", "filename": 'ö".txt', "content_type": "text/plain", "text": "ü"},
                {"name": "c", "filename": "c", "base64": "AAEC"},
            ]
        )
        boundary = request.effective_content_type.partition("boundary=")[2].encode()
        parts = request.body.split(b"--" + boundary)
        self.assertEqual(
            parts[1:],
            [
                '\r\nContent-Disposition: form-data; name="a"\r\n\r\nä\r\n'.encode(),
                '\r\nContent-Disposition: form-data; name="b"; filename="ö%22.txt"\r\n'
                "Content-Type: text/plain\r\n\r\nü\r\n".encode(),
                b'\r\nContent-Disposition: form-data; name="c"; filename="c"\r\n\r\n\0\1\2\r\n',
                b"--\r\n",
            ],
        )
        self.assertEqual(request.get_field("a"), "ä")
        request.set_field("a", "3")
        self.assertEqual(request.get_field("a"), "3")

    def test_downloads(self):
        downloads = [{"url": "https://example.com/a", "json": {"a": 1}}]
        with simulated_downloads(downloads):
            self.assertEqual(requests.get("https://example.com/a", timeout=1).json(), {"a": 1})
            with self.assertRaisesRegex(AssertionError, "Unexpected GET"):
                requests.get("https://example.com/a", timeout=1)
        with (
            self.assertRaisesRegex(AssertionError, "Not requested"),
            simulated_downloads(downloads),
        ):
            pass
