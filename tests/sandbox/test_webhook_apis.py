"""What the stand-ins for APIs for webhooks refuse. (tests.test_webhooks_command has the rest.)"""

from __future__ import annotations

import json
from typing import Any

from .cases import AnyKeySandboxTestCase

EVENT = {"events": ["opened"]}
SENDGRID = "/sendgrid/v3/user/webhooks/event/settings"
TOKEN = {"X-Postmark-Server-Token": "x"}


class RefusalTests(AnyKeySandboxTestCase):
    def test_calls(self):
        url = "https://www.example.com/"
        mailersend = {"url": url, "name": "x", "events": [], "domain_id": "yv69oxl5kl785kw2"}
        bearer, key = {"Authorization": "Bearer x"}, {"api-key": "x"}
        cases: list[tuple[str, str, dict[str, str], Any, int]] = [
            ("POST", "/brevo/v3/webhooks", key, {"url": url}, 400),
            ("POST", "/brevo/v3/webhooks", key, {"url": "", **EVENT}, 400),
            ("POST", "/brevo/v3/webhooks", key, {"url": url, "events": ["no-such"]}, 400),
            ("POST", "/brevo/v3/webhooks", key, {"url": url, **EVENT, "no-such": 1}, 400),
            ("POST", "/brevo/v3/webhooks", key, {"url": url, **EVENT}, 201),
            ("PUT", "/brevo/v3/webhooks/1", key, EVENT, 404),
            ("PUT", "/brevo/v3/webhooks/1000", key, {"type": "inbound"}, 400),
            ("PUT", "/brevo/v3/webhooks/1000", {}, EVENT, 401),
            ("POST", "/postmark/webhooks", TOKEN, {}, 400),
            ("POST", "/postmark/webhooks", TOKEN, {"Url": url, "Triggers": {"X": 1}}, 400),
            ("PUT", "/postmark/webhooks/1", TOKEN, {"MessageStream": "x"}, 404),
            ("POST", SENDGRID, bearer, {"url": url}, 201),
            ("POST", SENDGRID, bearer, {"url": url}, 400),
            ("PATCH", f"{SENDGRID}/signed/x", bearer, {"enabled": True}, 404),
            ("POST", "/resend/webhooks", bearer, {"endpoint": url}, 400),
            ("GET", "/resend/webhooks/no-such", bearer, None, 404),
            ("POST", "/mailersend/v1/webhooks", bearer, mailersend, 201),
            ("POST", "/mailersend/v1/webhooks", bearer, mailersend, 422),
            ("POST", "/mailersend/v1/webhooks", bearer, {**mailersend, "domain_id": "x"}, 422),
            ("GET", "/mailersend/v1/webhooks", bearer, None, 422),
            ("DELETE", "/mailersend/v1/webhooks", bearer, None, 404),
            ("POST", "/mandrill/api/1.4/webhooks/list", {}, [], 400),
        ]
        for method, path, headers, data, status in cases:
            with self.subTest(path, method=method, data=data):
                body = b"" if data is None else json.dumps(data).encode()
                answer = self.call(path, body, headers, method)
                self.assertEqual(answer.status, status, answer.body)
