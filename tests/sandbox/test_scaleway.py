from __future__ import annotations

from typing import Any

from django.test import override_settings

from anymail.addresses import EmailAddress
from anymail.backends.scaleway import EmailBackend
from anymail.sandbox import StoredAttachment

from ..utils import make_message
from .cases import Answer, SandboxTestCase

PROJECT = "11112222-3333-4444-8555-666677778888"
URL = "/scaleway/transactional-email/v1alpha1/regions/fr-par/emails"
MESSAGE: dict[str, Any] = {
    "project_id": PROJECT,
    "from": {"email": "shop@example.com", "name": "Shop, Brno"},
    "to": [{"email": "ann@example.net", "name": "Ann"}],
    "subject": "Účtenka č. 4711",
    "text": "Děkujeme za nákup.",
}


class ScalewayTests(SandboxTestCase):
    def test_other_regions(self):
        self.sandbox.provider("scaleway").takes_any_key = True
        settings = {
            "SCALEWAY_SECRET_KEY": "own-key",
            "SCALEWAY_PROJECT_ID": PROJECT,
            "SCALEWAY_REGION": "nl-ams",
            "SANDBOX": self.sandbox.base_url,
        }
        with override_settings(ANYMAIL=settings), EmailBackend() as backend:
            message = make_message(subject="Long enough", body="Long enough")
            self.assertEqual(backend.send_messages([message]), 1)

    def post(self, data: Any, key: str = "sandbox-secret-key", url: str = URL) -> Answer:
        return self.post_json(url, data, **{"X-Auth-Token": key})

    def assert_refused(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])

    def test_accepted(self):
        answer = self.post(
            {
                **MESSAGE,
                "cc": [{"email": "cc@example.net"}],
                "html": "<p>Děkujeme</p>",
                "additional_headers": [
                    {"key": "Reply-To", "value": "help@example.com"},
                    {"key": "X-Metadata", "value": '{"order": 4711}'},
                    {"key": "X-Tags", "value": '["receipt"]'},
                    {"key": "X-Shop", "value": "7"},
                ],
                "attachments": [{"name": None, "type": "text/csv", "content": "YSxi"}],
            }
        )
        self.assertEqual(answer.status, 200)
        [message] = self.sandbox.messages
        self.assertEqual(
            [(item["id"], item["mail_rcpt"], item["rcpt_type"]) for item in answer.json["emails"]],
            [(copy.message_id, copy.address, copy.kind) for copy in message.recipients],
        )
        self.assertEqual(len(message.message_ids), 2)
        self.assertEqual(len({item["message_id"] for item in answer.json["emails"]}), 1)
        self.assertEqual({item["status"] for item in answer.json["emails"]}, {"sending"})
        self.assertEqual(message.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(message.reply_to, "help@example.com")
        self.assertEqual(message.attachments, (StoredAttachment("", "text/csv", b"a,b"),))
        ann = message.recipients[0]
        self.assertEqual(ann.mailbox, EmailAddress("Ann", "ann@example.net"))
        self.assertEqual(ann.header_to, "Ann <ann@example.net>")
        self.assertEqual(ann.metadata, {"order": "4711"})
        self.assertEqual(ann.tags, ("receipt",))
        self.assertEqual(ann.headers["X-Shop"], "7")

    def test_authentication(self):
        self.assert_refused(self.post(MESSAGE, key="wrong"), 401, "authentication is denied")
        self.assert_refused(self.post({**MESSAGE, "project_id": "other"}), 403, "permissions")

    def test_other_urls(self):
        self.assert_refused(self.post(MESSAGE, url="/scaleway/emails"), 404, "not found")

    def test_malformed_body(self):
        self.assert_refused(self.post(["a list"]), 400, "not a JSON object")
        answer = self.call(URL, b"{", {"X-Auth-Token": "sandbox-secret-key"})
        self.assert_refused(answer, 400, "not valid JSON")

    def test_refused_messages(self):
        for change, text in (
            ({"from": None}, "Invalid email from address"),
            ({"from": {"email": "shop@háj.example"}}, "Invalid email from address"),
            ({"to": []}, "no recipient"),
            ({"to": "ann@example.net"}, "to is not a list"),
            ({"to": [{"email": "nobody"}]}, "Invalid email to address"),
            ({"subject": "Short"}, "shorter than 10"),
            ({"subject": 5}, "not a string"),
            ({"text": ""}, "text or html is required"),
            ({"additional_headers": [{"key": "X-Number", "value": 5}]}, "additional_headers"),
            ({"attachments": [{"name": "a"}]}, "attachments"),
            ({"attachments": [{"name": "a", "type": "b/c", "content": "?"}]}, "attachments"),
        ):
            with self.subTest(change=change):
                self.assert_refused(self.post({**MESSAGE, **change}), 400, text)
