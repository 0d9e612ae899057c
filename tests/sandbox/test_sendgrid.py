from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any
from unittest import skipUnless
from unittest.mock import patch

from requests.structures import CaseInsensitiveDict

from anymail.addresses import EmailAddress
from anymail.sandbox import ApiRequest, Sandbox, StoredAttachment, StoredTemplate
from anymail.sandbox.wire import Form

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key
except ImportError:  # an optional package
    CAN_SIGN = False
else:
    CAN_SIGN = True

URL = "/sendgrid/v3/mail/send"
MESSAGE: dict[str, Any] = {
    "personalizations": [
        {"to": [{"email": "ann@example.net", "name": "Ann"}], "custom_args": {"anymail_id": "id-1"}}
    ],
    "from": {"email": "shop@example.com", "name": "Shop, Brno"},
    "subject": "Účet",
    "content": [{"type": "text/plain", "value": "Text"}],
}


class SendGridTestCase(SandboxTestCase):
    def post(self, data: Any, key: str = "SG.sandbox-api-key", url: str = URL) -> Answer:
        return self.post_json(url, data, Authorization=f"Bearer {key}")

    def assert_refused(self, answer: Answer, status: int, text: str) -> None:
        self.assertEqual(answer.status, status, answer.text)
        [error] = answer.json["errors"]
        self.assertIn(text, f"{error['message']} ({error['field']})")
        self.assertEqual(self.sandbox.messages, [])


class SendTests(SendGridTestCase):
    def test_accepted(self):
        answer = self.post(MESSAGE)
        self.assertEqual((answer.status, answer.body), (202, b""))
        self.assertTrue(answer.headers["X-Message-Id"])
        [stored] = self.sandbox.messages
        self.assertEqual(stored.message_ids, ["id-1"])

    def test_stored(self):
        data = {
            **MESSAGE,
            "personalizations": [
                {
                    "to": [{"email": "ann@example.net", "name": "Ann"}],
                    "cc": [{"email": "cc@example.net"}],
                    "bcc": [{"email": "bcc@example.net"}],
                    "custom_args": {"anymail_id": "id-1", "order": "4711"},
                    "headers": {"x-shop": "8"},
                }
            ],
            "reply_to_list": [{"email": "help@example.com", "name": "Help"}, {"email": "b@a.b"}],
            "content": [
                {"type": "text/plain", "value": "Text"},
                {"type": "text/html", "value": "<p>Text"},
            ],
            "headers": {"X-Shop": "7", "X-Other": "1"},
            "custom_args": {"run": "w7"},
            "categories": ["receipt", "účet"],
            "send_at": int(time.time()) + 3600,
            "tracking_settings": {"click_tracking": {"enable": False}},
            "attachments": [
                {"filename": "účet.csv", "type": "text/csv", "content": "YTti"},
                {
                    "filename": "logo.png",
                    "type": "image/png; x=y",  # SendGrid refuses no other parameters
                    "content": "AAEC",
                    "disposition": "inline",
                    "content_id": "logo@inline",
                },
            ],
        }
        self.assertEqual(self.post(data).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "sendgrid")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "Help <help@example.com>, b@a.b")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.track_opens, stored.track_clicks), (None, False))
        self.assertEqual((stored.send_at, stored.template_id), (str(data["send_at"]), None))
        self.assertEqual(stored.attachments, (StoredAttachment("účet.csv", "text/csv", b"a;b"),))
        self.assertEqual(
            stored.inline_images,
            (StoredAttachment("logo.png", "image/png; x=y", b"\0\1\2", "logo@inline"),),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("cc", EmailAddress("", "cc@example.net")),
                ("bcc", EmailAddress("", "bcc@example.net")),
            ],
        )
        copy = stored.recipients[1]
        self.assertEqual(copy.header_to, "Ann <ann@example.net>")
        self.assertEqual(copy.headers, {"x-shop": "8", "X-Other": "1"})
        self.assertEqual(copy.metadata, {"run": "w7", "order": "4711"})
        self.assertEqual(copy.tags, ("receipt", "účet"))
        self.assertEqual(json.loads(stored.request.body), data)

    def test_one_message_for_each_personalization(self):
        personalizations = [
            {"to": [{"email": "ann@example.net"}], "subject": "Other"},
            {"to": [{"email": "bo@example.net"}], "custom_args": {"anymail_id": "id-2"}},
        ]
        self.post({**MESSAGE, "personalizations": personalizations})
        ann, bo = self.sandbox.messages
        self.assertEqual((ann.subject, bo.subject), ("Other", "Účet"))
        self.assertEqual(bo.message_ids, ["id-2"])
        # Without an id of Anymail's, SendGrid's own.
        self.assertRegex(ann.message_ids[0], r"\A<.+@.+>\Z")

    def test_sandbox_mode(self):
        settings = {"mail_settings": {"sandbox_mode": {"enable": True}}}
        answer = self.post({**MESSAGE, **settings})
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.sandbox.messages, [])
        self.assert_refused(self.post({**MESSAGE, **settings, "subject": ""}), 400, "subject")

    def test_reply_to(self):
        self.post({**MESSAGE, "reply_to": {"email": "help@example.com"}})
        self.assertEqual(self.sandbox.messages[0].reply_to, "help@example.com")


class TemplateTests(SendGridTestCase):
    def template_message(self, template_id: str, **personalization: Any) -> dict[str, Any]:
        return {
            "personalizations": [{"to": [{"email": "ann@example.net"}], **personalization}],
            "from": {"email": "shop@example.com"},
            "template_id": template_id,
        }

    def test_dynamic(self):
        self.sandbox.templates["d-1"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        data = self.template_message("d-1", dynamic_template_data={"name": "Ann", "n": 1})
        self.assertEqual(self.post(data).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.template_id, stored.subject), ("d-1", ""))
        copy = stored.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))
        self.assertEqual(copy.merge_data, {"name": "Ann", "n": 1})

    def test_legacy(self):
        self.sandbox.templates["1"] = StoredTemplate("Hi -name-", "-n- {{n}}")
        data = self.template_message("1", substitutions={"-name-": "Ann", "-n-": None})
        self.assertEqual(self.post(data).status, 202)
        copy = self.sandbox.messages[0].recipients[0]
        self.assertEqual((copy.subject, copy.text), ("Hi Ann", " {{n}}"))

    def test_substitutions_without_template(self):
        [personalization] = MESSAGE["personalizations"]
        data = {
            **MESSAGE,
            "subject": "Hi :name",
            "personalizations": [{**personalization, "substitutions": {":name": "Ann"}}],
        }
        self.assertEqual(self.post(data).status, 202)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.subject, stored.recipients[0].subject), ("Hi :name", "Hi Ann"))

    def test_unknown_template(self):
        self.assertEqual(self.post(self.template_message("d-2")).status, 202)
        self.assertEqual(self.sandbox.messages[0].recipients[0].text, "")

    def test_refused(self):
        data = self.template_message("d-1", substitutions={"-a-": "b"})
        self.assert_refused(self.post(data), 400, "Substitutions may not be used")
        data = self.template_message("1", substitutions={"-a-": 5})
        self.assert_refused(self.post(data), 400, "Expected: string")


class RefusalTests(SendGridTestCase):
    def test_authentication(self):
        self.assert_refused(self.post(MESSAGE, key="wrong"), 401, "authorization grant")
        self.assert_refused(self.post_json(URL, MESSAGE), 401, "authorization grant")

    def test_other_urls(self):
        self.assert_refused(self.post(MESSAGE, url="/sendgrid/mail/send"), 404, "not found")
        self.assertEqual(self.call(URL, method="GET").status, 405)

    def test_malformed_body(self):
        self.assert_refused(self.post(["a list"]), 400, "Bad Request")
        headers = {"Authorization": "Bearer SG.sandbox-api-key"}
        self.assert_refused(self.call(URL, b"{", headers), 400, "Bad Request")

    def personalized(self, **fields: Any) -> dict[str, Any]:
        return {"personalizations": [{**MESSAGE["personalizations"][0], **fields}]}

    def test_refused_messages(self):
        ann = {"email": "ann@example.net"}
        many = [{"email": f"u{n}@example.com"} for n in range(501)]
        for change, text in (
            ({"from": None}, "Expected: dict"),
            ({"from": {"email": "shop@háj.example"}}, "valid address. (from.email)"),
            ({"from": {"email": "shop@example.com", "name": 5}}, "(from)"),
            ({"subject": ""}, "subject is required"),
            ({"subject": 5}, "(subject)"),
            ({"content": []}, "content parameter is required"),
            ({"content": [{"type": "text/plain", "value": ""}]}, "at least one character"),
            (
                {
                    "content": [
                        {"type": "text/html", "value": "<p>"},
                        {"type": "text/plain", "value": "x"},
                    ]
                },
                "text/plain must be the first",
            ),
            ({"personalizations": []}, "personalizations field is required"),
            ({"personalizations": ["x"]}, "array of objects"),
            ({"personalizations": [{"to": [ann]}] * 1001}, "At most 1000 personalizations"),
            (self.personalized(to=[]), "to array is required"),
            (self.personalized(to=[{"email": "nobody"}]), "(personalizations.to.email)"),
            (self.personalized(cc=[{"email": "ANN@example.net"}]), "[ann@example.net]"),
            (
                {"personalizations": [{"to": many}, {"to": many}]},
                "At most 1000 recipients",
            ),
            (self.personalized(custom_args={"a": 5}), "(custom_args)"),
            ({"custom_args": {"a": "x" * 10_000}}, "less than 10000 bytes"),
            ({"headers": {"X-Number": 5}}, "(headers)"),
            ({"headers": {"reply-to": "a@example.com"}}, "header reply-to is not allowed"),
            ({"headers": {"X-é": "1"}}, "not allowed"),
            ({"categories": "one"}, "(categories)"),
            ({"categories": [5]}, "(categories)"),
            ({"categories": ["x" * 256]}, "(categories)"),
            ({"categories": [str(n) for n in range(11)]}, "At most 10 categories"),
            ({"send_at": "now"}, "(send_at)"),
            ({"send_at": True}, "(send_at)"),
            ({"send_at": int(time.time()) + 73 * 3600}, "72 hours"),
            ({"reply_to": ann, "reply_to_list": [ann]}, "either reply_to or reply_to_list"),
            ({"tracking_settings": {"open_tracking": {"enable": "yes"}}}, "(enable)"),
            ({"attachments": [{"content": "AAEC"}]}, "filename parameter is required"),
            ({"attachments": [{"filename": "a", "content": ""}]}, "base64"),
            ({"attachments": [{"filename": "a", "content": "?"}]}, "base64"),
            (
                {"attachments": [{"filename": "a", "content": "AAEC", "disposition": "x"}]},
                "(attachments.0.disposition)",
            ),
            (
                {"attachments": [{"filename": "a", "content": "AAEC", "type": "a/b; CHARSET=x"}]},
                "cannot contain ';', or CRLF characters. (attachments.0.type)",
            ),
            (
                {"content": [{"type": "text/plain; charset=utf-8", "value": "Text"}]},
                "cannot contain ';', or CRLF characters. (content.0.type)",
            ),
        ):
            with self.subTest(text):
                self.assert_refused(self.post({**MESSAGE, **change}), 400, text)


class SendGridWebhookTests(WebhookTestCase):
    """https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event"""

    provider = "sendgrid"

    def event(self, event: str, recipient: Any = RECIPIENT) -> dict[str, Any]:
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/sendgrid/tracking/")
        self.assertEqual(call.headers["Content-Type"], "application/json")
        self.assertTrue(call.body.endswith(b"\r\n"))
        [payload] = json.loads(call.body)
        return dict(payload)

    def test_common_fields(self):
        for event in self.sandbox.providers["sendgrid"].events:
            with self.subTest(event):
                payload = self.event(event, BARE_RECIPIENT)
                self.assertEqual(payload["email"], "bo@example.net")
                self.assertEqual(payload["anymail_id"], "2")
                self.assertLess(abs(time.time() - payload["timestamp"]), 5)
                self.assertNotIn("category", payload)
                self.assertNotEqual(
                    payload["sg_event_id"], self.event(event, BARE_RECIPIENT)["sg_event_id"]
                )

    def test_metadata_and_tags(self):
        payload = self.event("delivered")
        self.assertEqual((payload["order"], payload["category"]), ("4711", ["receipt"]))

    def test_message_without_an_id_of_anymails(self):
        payload = self.event("delivered")
        self.assertEqual(payload["smtp-id"], "<1@mg.example.com>")
        self.assertNotIn("anymail_id", payload)

    def test_events(self):
        cases: dict[str, dict[str, Any]] = {
            "queued": {"event": "processed"},
            "delivered": {"event": "delivered", "response": "250 2.0.0 OK"},
            "deferred": {"event": "deferred"},
            "bounced": {"event": "bounce", "type": "bounce", "reason": "550 5.1.1 No such user"},
            "rejected": {"event": "dropped", "reason": "Bounced Address"},
            "opened": {"event": "open"},
            "clicked": {"event": "click", "url": "https://shop.example.com/?a=1&b=2"},
            "complained": {"event": "spamreport"},
            "unsubscribed": {"event": "unsubscribe"},
            "subscribed": {"event": "group_resubscribe"},
        }
        self.assertEqual(self.sandbox.providers["sendgrid"].events, cases.keys())
        for event, expected in cases.items():
            with self.subTest(event):
                payload = self.event(event)
                self.assertEqual({**payload, **expected}, payload)
        self.assertIn("Mozilla", self.event("opened")["useragent"])

    @skipUnless(CAN_SIGN, "cryptography is not installed")
    def test_signature(self):
        call = self.sandbox.tracking_webhook(message(self.provider), "delivered")
        settings = self.sandbox.anymail_settings("sendgrid")
        public_key = load_der_public_key(
            base64.b64decode(settings["SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"])
        )
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        timestamp = call.headers["X-Twilio-Email-Event-Webhook-Timestamp"]
        self.assertLess(abs(time.time() - int(timestamp)), 5)
        public_key.verify(  # raises an exception if it's another
            base64.b64decode(call.headers["X-Twilio-Email-Event-Webhook-Signature"]),
            timestamp.encode() + call.body,
            ec.ECDSA(hashes.SHA256()),
        )

    def test_no_signature_without_cryptography(self):
        modules = {name: None for name in sys.modules if name.partition(".")[0] == "cryptography"}
        with patch.dict(sys.modules, {"cryptography": None, **modules}):
            sandbox = Sandbox(webhook_url="http://127.0.0.1:8000/anymail")
            self.addCleanup(sandbox.stop)
            call = sandbox.tracking_webhook(message(self.provider), "delivered")
        self.assertEqual(call.headers, {"Content-Type": "application/json"})
        self.assertEqual(
            set(sandbox.anymail_settings("sendgrid")),
            {"SENDGRID_API_KEY", "SENDGRID_API_URL", "WEBHOOK_SECRET"},
        )

    def form(self, mail: Any, **kwargs: Any) -> Form:
        call = self.sandbox.inbound_webhook("sendgrid", mail, **kwargs)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/sendgrid/inbound/")
        headers = CaseInsensitiveDict(call.headers)
        return ApiRequest("POST", "", headers=headers, body=call.body).form()

    def test_inbound(self):
        mail = self.mail()
        form = self.form(mail)
        fields = dict(form.fields)
        self.assertEqual(
            json.loads(fields["envelope"]),
            {"to": ["shop+4711@example.com"], "from": "žofie@example.net"},
        )
        self.assertEqual(fields["text"], mail.text)
        self.assertEqual(fields["html"], mail.html)
        self.assertEqual(fields["attachments"], "2")
        self.assertIn("\nTo: shop+4711@example.com\n", fields["headers"])
        self.assertNotIn("\n\n", fields["headers"])
        self.assertEqual(set(json.loads(fields["charsets"]).values()), {"UTF-8"})
        info = json.loads(fields["attachment-info"])
        self.assertEqual(info["attachment1"]["filename"], "účet.csv")
        self.assertNotIn("content-id", info["attachment1"])
        self.assertEqual(info["attachment2"]["content-id"], "logo@inline")
        self.assertEqual(
            [(file.field, file.filename, file.content_type, file.content) for file in form.files],
            [
                ("attachment1", "účet.csv", "text/csv; charset=iso-8859-2", b"\xe9;\r\n"),
                ("attachment2", "logo.png", "image/png", b"\x89PNG\0"),
            ],
        )

    def test_inbound_with_text_only(self):
        fields = dict(self.form(self.mail(attachments=(), html="")).fields)
        self.assertEqual(fields["attachments"], "0")
        for name in ("html", "attachment-info"):
            self.assertNotIn(name, fields)

    def test_inbound_raw(self):
        mail = self.mail()
        fields = dict(self.form(mail, raw=True).fields)
        for name in ("headers", "text", "html", "attachments"):
            self.assertNotIn(name, fields)
        self.assert_mime(fields["email"], mail)
