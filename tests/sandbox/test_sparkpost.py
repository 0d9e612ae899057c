from __future__ import annotations

import base64
import json
import time
from typing import Any
from unittest.mock import ANY

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredTemplate

from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

URL = "/sparkpost/api/v1/transmissions/"
TO = "Ann <ann@example.net>"
ANN: dict[str, Any] = {"address": {"email": "ann@example.net", "header_to": TO}}
CONTENT: dict[str, Any] = {
    "from": '"Shop, Brno" <shop@example.com>',
    "subject": "Účet",
    "text": "Text",
}
MESSAGE: dict[str, Any] = {"content": CONTENT, "recipients": [ANN]}


class SparkPostTestCase(SandboxTestCase):
    def post(
        self, data: Any, key: str = "sandbox-api-key", url: str = URL, **headers: str
    ) -> Answer:
        return self.post_json(url, data, Authorization=key, **headers)

    def assert_refused(self, answer: Answer, status: int, code: str | None, text: str) -> None:
        self.assertEqual(answer.status, status, answer.text)
        [error] = answer.json["errors"]
        self.assertEqual(error.get("code"), code, answer.text)
        self.assertIn(text, f"{error['message']} ({error.get('description')})")
        self.assertEqual(self.sandbox.messages, [])


class SendTests(SparkPostTestCase):
    def test_accepted(self):
        for url in (URL, URL.rstrip("/")):
            answer = self.post(MESSAGE, url=url)
            self.assertEqual(answer.status, 200)
            results = {
                "total_rejected_recipients": 0,
                "total_accepted_recipients": 1,
                "id": ANY,
            }
            self.assertEqual(answer.json, {"results": results})
            self.assertEqual(self.sandbox.messages[-1].message_ids, [answer.json["results"]["id"]])

    def test_subaccount(self):
        self.assertEqual(self.post(MESSAGE, **{"X-MSYS-SUBACCOUNT": "123"}).status, 200)
        self.assertEqual(self.post(MESSAGE, **{"X-MSYS-SUBACCOUNT": "x"}).status, 422)

    def test_stored(self):
        data = {
            "content": {
                **CONTENT,
                "html": "<p>Text",
                "reply_to": "help@example.com",
                "headers": {"Cc": "Cc <cc@example.net>", "X-Shop": 7},
                "attachments": [{"name": "účet.csv", "type": "text/csv", "data": "YTti"}],
                "inline_images": [{"name": "logo@inline", "type": "image/png", "data": "AAEC"}],
            },
            "recipients": [
                {**ANN, "metadata": {"order": 4711}},
                {"address": {"email": "cc@example.net", "header_to": TO}},
                {"address": {"email": "bcc@example.net", "header_to": TO}},
                {"address": "string@example.net"},
            ],
            "campaign_id": "receipt",
            "metadata": {"run": "w7", "order": 1},
            "options": {
                "open_tracking": True,
                "click_tracking": False,
                "start_time": "2031-05-06T07:08:09-08:00",
            },
        }
        answer = self.post(data)
        self.assertEqual(answer.json["results"]["total_accepted_recipients"], 4)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.provider, "sparkpost")
        self.assertEqual(stored.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(stored.reply_to, "help@example.com")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((stored.track_opens, stored.track_clicks), (True, False))
        self.assertEqual(stored.send_at, "2031-05-06T07:08:09-08:00")
        self.assertEqual(stored.attachments, (StoredAttachment("účet.csv", "text/csv", b"a;b"),))
        self.assertEqual(
            stored.inline_images, (StoredAttachment("", "image/png", b"\0\1\2", "logo@inline"),)
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox, copy.header_to) for copy in stored.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net"), TO),
                ("cc", EmailAddress("", "cc@example.net"), TO),
                ("bcc", EmailAddress("", "bcc@example.net"), TO),
                ("to", EmailAddress("", "string@example.net"), "string@example.net"),
            ],
        )
        ann, cc, *_ = stored.recipients
        self.assertEqual(ann.metadata, {"run": "w7", "order": "4711"})
        self.assertEqual(cc.metadata, {"run": "w7", "order": "1"})
        self.assertEqual(ann.headers, {"Cc": "Cc <cc@example.net>", "X-Shop": "7"})
        self.assertEqual(ann.tags, ("receipt",))
        self.assertEqual(json.loads(stored.request.body), data)

    def test_other_forms_of_addresses(self):
        sender = {"email": "shop@example.com", "name": "Shop"}
        ann = {"address": {"email": "ann@example.net", "name": "Ann"}}
        self.post({"content": {**CONTENT, "from": sender}, "recipients": [ann]})
        [stored] = self.sandbox.messages
        self.assertEqual(stored.from_email, EmailAddress("Shop", "shop@example.com"))
        self.assertEqual(stored.recipients[0].mailbox, EmailAddress("Ann", "ann@example.net"))

    def test_substitution(self):
        content = {
            **CONTENT,
            "subject": "Hi {{ name }}",
            "html": "<b>{{site}}",
            "headers": {"X-Name": "{{Header__X_Name}}"},
        }
        data = {
            "content": content,
            "substitution_data": {"site": "Shop", "name": "friend"},
            "recipients": [
                {**ANN, "substitution_data": {"name": "Ann", "Header__X_Name": "ann"}},
                {"address": {"email": "bo@example.net", "header_to": "bo@example.net"}},
            ],
        }
        self.post(data)
        [stored] = self.sandbox.messages
        self.assertEqual(stored.subject, "Hi {{ name }}")
        self.assertEqual(
            [(copy.subject, copy.html, copy.headers) for copy in stored.recipients],
            [
                ("Hi Ann", "<b>Shop", {"X-Name": "ann"}),
                ("Hi friend", "<b>Shop", {"X-Name": ""}),
            ],
        )
        self.assertEqual(
            stored.recipients[0].merge_data,
            {"site": "Shop", "name": "Ann", "Header__X_Name": "ann"},
        )

    def test_rejected_recipients(self):
        bad = {"address": {"email": "nobody", "header_to": TO}}
        answer = self.post({**MESSAGE, "recipients": [ANN, bad]})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["results"]["total_rejected_recipients"], 1)
        self.assertEqual(answer.json["results"]["total_accepted_recipients"], 1)
        [error] = answer.json["results"]["rcpt_to_errors"]
        self.assertIn("nobody", error["description"])
        self.assertEqual(answer.json["errors"][0]["code"], "2000")
        self.assertEqual(len(self.sandbox.messages[0].recipients), 1)

    def test_all_recipients_rejected(self):
        answer = self.post({**MESSAGE, "recipients": [{"address": "nobody"}, {"address": ""}]})
        self.assertEqual(answer.json["results"]["total_rejected_recipients"], 2)
        self.assertEqual(self.sandbox.messages, [])


class TemplateTests(SparkPostTestCase):
    def test_rendered(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        data = {
            "content": {
                "template_id": "welcome",
                "from": "shop@example.com",
                "reply_to": "help@example.com",
                "headers": {"X-A": "1"},
                "attachments": [{"name": "a", "type": "b/c", "data": "AAEC"}],
            },
            "recipients": [{**ANN, "substitution_data": {"name": "Ann", "n": 1}}],
        }
        self.assertEqual(self.post(data).status, 200)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.template_id, stored.subject), ("welcome", ""))
        # All of these are the template's business.
        self.assertEqual(stored.from_email.addr_spec, "template@sandbox.example")
        self.assertEqual((stored.reply_to, stored.attachments), ("", ()))
        copy = stored.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))
        self.assertEqual(copy.headers, {})

    def test_unknown_template(self):
        for name in ("template_id", "ab_test_id"):
            self.assertEqual(self.post({"content": {name: "x"}, "recipients": [ANN]}).status, 200)
        self.sandbox.clear()
        data = {"content": {"template_id": "other"}, "recipients": [ANN]}
        self.assertEqual(self.post(data).status, 200)
        self.assertEqual(self.sandbox.messages[0].recipients[0].subject, "")

    def test_content_beside_template(self):
        for name in ("subject", "text", "html", "amp_html"):
            data = {"content": {"template_id": "welcome", name: ""}, "recipients": [ANN]}
            self.assert_refused(self.post(data), 422, "1301", f"(content.{name})")


class RefusalTests(SparkPostTestCase):
    def test_authentication(self):
        self.assert_refused(self.post(MESSAGE, key="wrong"), 401, None, "Unauthorized.")
        self.assert_refused(self.post(MESSAGE, key="Bearer sandbox-api-key"), 401, None, "")

    def test_other_urls(self):
        answer = self.post(MESSAGE, url="/sparkpost/transmissions/")
        self.assert_refused(answer, 404, "1600", "not found")
        answer = self.call(URL, headers={"Authorization": "sandbox-api-key"}, method="GET")
        self.assertEqual(answer.status, 405)

    def test_malformed_body(self):
        self.assert_refused(self.post(["a list"]), 422, "1300", "the call")
        answer = self.call(URL, b"{", {"Authorization": "sandbox-api-key"})
        self.assert_refused(answer, 422, "1300", "invalid data format/type")

    def test_refused_messages(self):
        for content, text in (
            ({"from": None}, "content.from"),
            ({"from": "shop"}, "content.from"),
            ({"from": "shop@háj.example"}, "content.from"),
            ({"from": "a@example.com, b@example.com"}, "content.from"),
            ({"from": 5}, "from"),
            ({"subject": None}, "content.subject"),
            ({"text": 5}, "text"),
            ({"headers": []}, "headers"),
            ({"attachments": "x"}, "attachments"),
            ({"attachments": [{"name": "a", "type": "b/c"}]}, "content.attachments"),
            ({"attachments": [{"name": "a", "type": "b/c", "data": "?"}]}, "content.attachments"),
            ({"inline_images": ["x"]}, "content.inline_images"),
        ):
            changed = {key: v for key, v in {**CONTENT, **content}.items() if v is not None}
            with self.subTest(content=content):
                answer = self.post({**MESSAGE, "content": changed})
                self.assertEqual(answer.status, 422)
                self.assertIn(text, answer.text)
                self.assertEqual(self.sandbox.messages, [])
        for change, code, text in (
            ({"content": None}, "1300", "content"),
            ({"content": {}}, "1400", "content"),
            ({"content": {"from": "a@example.com", "subject": "x"}}, "1400", "At least one of"),
            ({"recipients": []}, "1400", "recipients"),
            ({"recipients": "ann@example.net"}, "1300", "recipients"),
            ({"recipients": ["ann@example.net"]}, "1300", "recipients"),
            ({"recipients": [{}]}, "1400", "recipients.address"),
            ({"recipients": [{**ANN, "metadata": "x"}]}, "1300", "metadata"),
            ({"recipients": [{**ANN, "substitution_data": []}]}, "1300", "substitution_data"),
            ({"campaign_id": ["x"]}, "1300", "campaign_id"),
            ({"campaign_id": "é" * 33}, "1300", "campaign_id"),
            ({"options": {"open_tracking": "yes"}}, "1300", "open_tracking"),
            ({"options": {"start_time": "tomorrow"}}, "1300", "start_time"),
            ({"options": {"start_time": "2031-05-06T07:08:09"}}, "1300", "start_time"),
        ):
            with self.subTest(change=change):
                self.assert_refused(self.post({**MESSAGE, **change}), 422, code, text)
        answer = self.post({**MESSAGE, "recipients": {"list_id": "stored"}})
        self.assert_refused(answer, 404, "1600", "recipient list")

    def test_start_now(self):
        self.assertEqual(self.post({**MESSAGE, "options": {"start_time": "now"}}).status, 200)


class SparkPostWebhookTests(WebhookTestCase):
    """https://developers.sparkpost.com/api/webhooks/"""

    provider = "sparkpost"

    def event(self, event: str, recipient: Any = RECIPIENT, **kwargs: Any) -> tuple[str, Any]:
        """Return the event's class, and the event."""
        call = self.sandbox.tracking_webhook(message(self.provider, recipient, **kwargs), event)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/sparkpost/tracking/")
        self.assertEqual(call.headers, {"Content-Type": "application/json"})
        [item] = json.loads(call.body)
        self.assertEqual(list(item), ["msys"])
        [(event_class, payload)] = item["msys"].items()
        return event_class, payload

    def test_common_fields(self):
        for event in self.sandbox.providers["sparkpost"].events:
            with self.subTest(event):
                _class, payload = self.event(event)
                self.assertEqual(payload["raw_rcpt_to"], "ann@example.net")
                self.assertEqual(payload["transmission_id"], "<1@mg.example.com>")
                self.assertNotEqual(payload["message_id"], payload["transmission_id"])
                self.assertEqual(payload["campaign_id"], "receipt")
                self.assertEqual(payload["rcpt_meta"], {"order": "4711"})
                self.assertLess(abs(time.time() - int(payload["timestamp"])), 5)
                self.assertNotEqual(payload["event_id"], self.event(event)[1]["event_id"])

    def test_without_tag_and_with_template(self):
        _class, payload = self.event("delivered", BARE_RECIPIENT, template_id="welcome")
        self.assertNotIn("campaign_id", payload)
        self.assertEqual(payload["template_id"], "welcome")

    def test_events(self):
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            "queued": ("message_event", {"type": "injection"}),
            "delivered": ("message_event", {"type": "delivery"}),
            "deferred": ("message_event", {"type": "delay", "bounce_class": "20"}),
            "bounced": (
                "message_event",
                {"type": "bounce", "bounce_class": "30", "raw_reason": "550 5.1.1 No such user"},
            ),
            "rejected": ("message_event", {"type": "policy_rejection", "bounce_class": "25"}),
            "failed": ("gen_event", {"type": "generation_failure"}),
            "opened": ("track_event", {"type": "open"}),
            "clicked": (
                "track_event",
                {"type": "click", "target_link_url": "https://shop.example.com/?a=1&b=2"},
            ),
            "complained": ("message_event", {"type": "spam_complaint"}),
            "unsubscribed": ("unsubscribe_event", {"type": "list_unsubscribe"}),
        }
        self.assertEqual(self.sandbox.providers["sparkpost"].events, cases.keys())
        for event, (event_class, expected) in cases.items():
            with self.subTest(event):
                found_class, payload = self.event(event)
                self.assertEqual(found_class, event_class)
                self.assertEqual({**payload, **expected}, payload)
        self.assertIn("Mozilla", self.event("opened")[1]["user_agent"])

    def relay_message(self, mail: Any, **kwargs: Any) -> Any:
        call = self.sandbox.inbound_webhook("sparkpost", mail, **kwargs)
        self.assertEqual(call.url, "http://user:pass@127.0.0.1:8000/anymail/sparkpost/inbound/")
        [item] = json.loads(call.body)
        return item["msys"]["relay_message"]

    def test_inbound(self):
        for raw in (True, False):
            mail = self.mail()
            relay_message = self.relay_message(mail, raw=raw)
            self.assertEqual(relay_message["msg_from"], "žofie@example.net")
            self.assertEqual(relay_message["rcpt_to"], "shop+4711@example.com")
            self.assertEqual(relay_message["protocol"], "smtp")
            content = relay_message["content"]
            self.assertIs(content["email_rfc822_is_base64"], False)
            self.assertEqual((content["text"], content["html"]), (mail.text, mail.html))
            self.assert_mime(content["email_rfc822"], mail)

    def test_inbound_that_is_not_utf8(self):
        mail = self.mail()
        raw = b"Subject: x\r\n\r\n\xff\xfe"
        object.__setattr__(mail, "as_bytes", lambda: raw)
        content = self.relay_message(mail)["content"]
        self.assertIs(content["email_rfc822_is_base64"], True)
        self.assertEqual(base64.b64decode(content["email_rfc822"]), raw)
