"""The same code must not only have the right types, but work."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import requests
from django.core.mail import EmailMultiAlternatives
from django.test import RequestFactory, SimpleTestCase, override_settings

from anymail.message import AnymailMessage
from anymail.signals import AnymailTrackingEvent, EventType, tracking

from . import package, project
from .own_tests import SignUpTests

__all__ = ["PackageTests", "ProjectTests", "SignUpTests"]


class ProjectTests(SimpleTestCase):
    def setUp(self) -> None:
        project.connect()
        self.addCleanup(project.disconnect)

    def test_messages(self) -> None:
        message = project.compose()
        project.set_attributes(message)
        self.assertEqual(message.template_id, 12345)
        self.assertEqual(project.ProjectMessage("Subject").tags, ["project"])
        plain = EmailMultiAlternatives()
        with mock.patch.object(project, "LOGO") as logo, mock.patch("builtins.print"):
            logo.read_bytes.return_value = b"GIF89a"
            with mock.patch("anymail.message.Path", return_value=logo):
                logo.name = "logo.gif"
                project.attach_images(plain)
        self.assertEqual(len(plain.attachments), 2)

    def test_send(self) -> None:
        message = project.compose()
        with mock.patch("requests.Session.request") as request, mock.patch("builtins.print"):
            request.return_value = requests.Response()
            request.return_value.status_code = 500
            request.return_value._content = b'{"Message": "broken"}'
            backend = project.PatientBackend(server_token="x", ignore_unsupported_features=True)
            with mock.patch.object(message, "send", lambda: backend.send_messages([message])):
                self.assertIsNone(project.send(message))
        request.assert_called_once()
        self.assertEqual(message.tags, ["welcome", "checked"])

    def test_events(self) -> None:
        with mock.patch("builtins.print") as printed:
            project.make_test_events()
        printed.assert_not_called()


class PackageTests(SimpleTestCase):
    def send(self, message: AnymailMessage) -> dict[str, Any]:
        response = requests.Response()
        response.status_code = 200
        response._content = b'{"id": "id-123"}'
        with mock.patch("requests.Session.request", return_value=response) as request:
            package.EmailBackend(api_key="key").send_messages([message])
        self.assertEqual(message.anymail_status.message_id, "id-123")
        return dict(request.call_args.kwargs)

    def test_backend(self) -> None:
        message = AnymailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        message.tags = ["tag"]
        message.attach("a.txt", "text", "text/plain")
        sent = self.send(message)
        self.assertEqual(sent["url"], "https://api.example.com/v1/send")
        self.assertEqual(
            json.loads(sent["data"]),
            {
                "from": {"email": "from@example.com"},
                "to": ["to@example.com"],
                "cc": [],
                "bcc": [],
                "subject": "Subject",
                "text": "Body",
                "attachments": [{"name": "a.txt", "content": "dGV4dA=="}],
                "tag": "tag",
            },
        )

    @override_settings(ANYMAIL={"NEW_ESP_WEBHOOK_KEY": "a-key", "WEBHOOK_SECRET": ""})
    def test_webhook(self) -> None:
        events: list[AnymailTrackingEvent] = []

        def receiver(event: AnymailTrackingEvent, **kwargs: Any) -> None:
            events.append(event)

        tracking.connect(receiver)
        self.addCleanup(tracking.disconnect, receiver)
        request = RequestFactory().post(
            "/", {"kind": "open", "to": "To <to@example.com>"}, headers={"X-Key": "a-key"}
        )
        view = package.NewTrackingWebhookView.as_view()
        self.assertEqual(view(request).status_code, 200)
        [event] = events
        self.assertEqual(event.event_type, EventType.OPENED)
        self.assertEqual(event.recipient, "to@example.com")
