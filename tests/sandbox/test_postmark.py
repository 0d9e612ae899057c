from __future__ import annotations

import base64
import json
from typing import Any
from unittest.mock import ANY

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredTemplate

from .cases import Answer, SandboxTestCase

MESSAGE: dict[str, Any] = {
    "From": '"Shop, Brno" <shop@example.com>',
    "To": "Ann <ann@example.net>",
    "Subject": "Účet",
    "TextBody": "Text",
}


class PostmarkTestCase(SandboxTestCase):
    def post(self, endpoint: str, data: Any, token: str | None = None) -> Answer:
        token = self.sandbox.anymail_settings()["POSTMARK_SERVER_TOKEN"] if token is None else token
        headers = {"X-Postmark-Server-Token": token} if token else {}
        return self.post_json(f"/postmark/{endpoint}", data, **headers)

    def assert_refused(self, answer: Answer, code: int, text: str, status: int = 422) -> None:
        self.assertEqual((answer.status, answer.json["ErrorCode"]), (status, code), answer.text)
        self.assertIn(text, answer.json["Message"])
        self.assertEqual(self.sandbox.messages, [])


class EmailTests(PostmarkTestCase):
    def test_accepted(self):
        answer = self.post("email", {**MESSAGE, "Cc": "c@example.net", "Bcc": None})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(
            answer.json,
            {
                "To": "Ann <ann@example.net>",
                "Cc": "c@example.net",
                "SubmittedAt": ANY,
                "MessageID": ANY,
                "ErrorCode": 0,
                "Message": "OK",
            },
        )
        self.assertRegex(answer.json["SubmittedAt"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z\Z")
        [message] = self.sandbox.messages
        self.assertEqual(message.message_ids, [answer.json["MessageID"]])
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in message.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
            ],
        )

    def test_stored(self):
        attachments = [
            {
                "Name": "účet.csv",
                "Content": base64.b64encode(b"a;b\r\n\xe9").decode(),
                "ContentType": 'text/csv; charset="iso-8859-2"',
            },
            {
                "Name": "logo.png",
                "Content": "AAEC",
                "ContentType": "image/png",
                "ContentID": "cid:logo@inline",
            },
        ]
        data = {
            **MESSAGE,
            "HtmlBody": "<p>Text",
            "ReplyTo": "help@example.com",
            "Headers": [{"Name": "X-Shop", "Value": 7}],
            "Metadata": {"order": 4711, "name": "Žofie"},
            "Tag": "receipt",
            "TrackOpens": True,
            "TrackLinks": "None",
            "Attachments": attachments,
        }
        self.post("email", data)
        [message] = self.sandbox.messages
        self.assertEqual(message.provider, "postmark")
        self.assertEqual(message.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(message.reply_to, "help@example.com")
        self.assertEqual((message.subject, message.text, message.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((message.track_opens, message.track_clicks), (True, False))
        self.assertEqual((message.template_id, message.send_at), (None, None))
        self.assertEqual(
            message.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"a;b\r\n\xe9"),),
        )
        self.assertEqual(
            message.inline_images,
            (StoredAttachment("logo.png", "image/png", b"\0\1\2", "logo@inline"),),
        )
        copy = message.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual(copy.header_to, "Ann <ann@example.net>")
        self.assertEqual(copy.headers, {"X-Shop": "7"})
        self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
        self.assertEqual(copy.tags, ("receipt",))
        self.assertEqual(copy.merge_data, {})
        self.assertEqual(json.loads(message.request.body), data)

    def test_track_links(self):
        self.post("email", {**MESSAGE, "TrackLinks": "HtmlAndText"})
        self.post("email", MESSAGE)
        self.assertEqual([item.track_clicks for item in self.sandbox.messages], [True, None])

    def test_token(self):
        self.assert_refused(self.post("email", MESSAGE, token="wrong"), 10, "invalid", 401)
        self.assert_refused(self.post("email", MESSAGE, token=""), 10, "No Account", 401)
        # Even if there is more that is wrong
        answer = self.call("/postmark/email", b"{", {"Content-Type": "application/json"})
        self.assert_refused(answer, 10, "No Account", 401)

    def test_test_token(self):
        answer = self.post("email", MESSAGE, token="POSTMARK_API_TEST")
        self.assertEqual((answer.status, answer.json["Message"]), (200, "Test job accepted"))
        self.assertEqual(self.sandbox.messages, [])
        answer = self.post("email", {**MESSAGE, "To": "x"}, token="POSTMARK_API_TEST")
        self.assert_refused(answer, 300, "'To'")

    def test_not_json(self):
        token = {"X-Postmark-Server-Token": "sandbox-server-token"}
        for content_type, code in (("application/json", 402), ("text/plain", 409)):
            headers = {**token, "Content-Type": content_type}
            self.assert_refused(self.call("/postmark/email", b"{", headers), code, "")

    def test_unknown_endpoints(self):
        self.assertEqual(self.post("emails", MESSAGE).status, 404)
        self.assertEqual(self.post("", MESSAGE).status, 404)
        self.assertEqual(self.call("/postmark/email", method="GET").status, 404)

    def test_bad_addresses(self):
        cases = {
            "From": [("", "'From'"), (None, "'From'"), ("shop", "Error parsing 'From'")],
            "To": [
                ("", "Zero recipients"),
                ("ann", "Error parsing 'To': Illegal email address 'ann'. It must contain"),
                ("ann@exa mple.com", "Invalid 'To' address: 'ann@exa mple.com'"),
                ("žofie@example.com", "Invalid 'To' address: 'žofie@example.com'"),
                ("a@b.example, ann@", "Invalid 'To' address: 'ann@'"),
                ("Z <zofie@háj.example>", "'To': Illegal email domain 'háj.example' in address '"),
            ],
            "Cc": [("x", "Error parsing 'Cc'")],
            "Bcc": [("x", "Error parsing 'Bcc'")],
            "ReplyTo": [("x", "Error parsing 'ReplyTo'")],
        }
        for field, values in cases.items():
            for value, text in values:
                with self.subTest(field=field, value=value):
                    self.assert_refused(self.post("email", {**MESSAGE, field: value}), 300, text)

    def test_limits(self):
        def addresses(count: int) -> str:
            return ", ".join(f"u{n}@example.com" for n in range(count))

        cases = {
            "recipients": {"To": addresses(26), "Bcc": addresses(25)},
            "name 'long_name_of_metadata'": {"Metadata": {"long_name_of_metadata": "1"}},
            "TextBody or HtmlBody": {"TextBody": ""},
        }
        for text, fields in cases.items():
            with self.subTest(text):
                self.assert_refused(self.post("email", {**MESSAGE, **fields}), 300, text)
        allowed = {"To": addresses(25), "Bcc": addresses(25), "Metadata": {"m" * 20: "1"}}
        self.assertEqual(self.post("email", {**MESSAGE, **allowed}).status, 200)

    def test_wrong_types(self):
        for data in (None, [], "text", 1):
            with self.subTest(data=data):
                self.assert_refused(self.post("email", data), 403, "JSON object")
        fields: list[tuple[str, Any]] = [
            ("From", 1),
            ("To", ["a@example.com"]),
            ("Subject", {}),
            ("TextBody", []),
            ("Headers", {"X": "1"}),
            ("Headers", ["X"]),
            ("Headers", [{"Name": 1}]),
            ("Metadata", []),
            ("Tag", 1),
            ("TrackOpens", "yes"),
            ("TrackLinks", True),
            ("Attachments", "x"),
            ("Attachments", [{"Content": 1}]),
            ("Attachments", [{"Name": "a", "Content": "not base64"}]),
            ("Attachments", [{"Name": "a", "Content": "ž"}]),
            ("TemplateModel", "x"),
        ]
        for field, value in fields:
            with self.subTest(field=field, value=value):
                answer = self.post("email", {**MESSAGE, field: value})
                self.assert_refused(answer, 403, "")

    def test_suppressed(self):
        self.sandbox.suppressed.update({"ann@example.net", "bo@example.net"})
        answer = self.post("email", {**MESSAGE, "To": "Ann@example.net, bo@example.net"})
        self.assert_refused(
            answer, 406, "inactive addresses: ann@example.net, bo@example.net.\nInactive recipients"
        )

    def test_some_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        answer = self.post("email", {**MESSAGE, "Cc": "cy@example.net"})
        self.assertEqual((answer.status, answer.json["ErrorCode"]), (200, 0))
        self.assertIn(
            "Message OK, but will not deliver to these inactive addresses: ann@example.net. "
            "Inactive recipients are",
            answer.json["Message"],
        )
        [message] = self.sandbox.messages
        self.assertEqual([copy.address for copy in message.recipients], ["cy@example.net"])


class BatchTests(PostmarkTestCase):
    def test_accepted(self):
        answer = self.post(
            "email/batch",
            [MESSAGE, {**MESSAGE, "To": "x"}, "x", {**MESSAGE, "To": "bo@example.net"}],
        )
        self.assertEqual(answer.status, 200)
        self.assertEqual([item["ErrorCode"] for item in answer.json], [0, 300, 403, 0])
        sent = [(item.message_ids[0], item.recipients[0].address) for item in self.sandbox.messages]
        self.assertEqual(
            sent,
            [
                (answer.json[0]["MessageID"], "ann@example.net"),
                (answer.json[3]["MessageID"], "bo@example.net"),
            ],
        )
        self.assertEqual(len({message_id for message_id, _address in sent}), 2)

    def test_limit(self):
        self.assert_refused(self.post("email/batch", [MESSAGE] * 501), 410, "500")
        self.assertEqual(len(self.post("email/batch", [MESSAGE] * 500).json), 500)

    def test_not_an_array(self):
        self.assert_refused(self.post("email/batch", {"Messages": [MESSAGE]}), 403, "array")


class TemplateTests(PostmarkTestCase):
    template_message: dict[str, Any] = {
        "From": "shop@example.com",
        "To": "ann@example.net",
        "TemplateAlias": "welcome",
        "TemplateModel": {"name": "Ann", "n": 1},
    }

    def test_rendered(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{name}}", "{{n}}", "<b>{{n}}")
        answer = self.post("email/withTemplate/", self.template_message)
        self.assertEqual(answer.status, 200)
        [message] = self.sandbox.messages
        self.assertEqual((message.template_id, message.subject), ("welcome", ""))
        copy = message.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1", "<b>1"))
        self.assertEqual(copy.merge_data, {"name": "Ann", "n": 1})

    def test_unknown_template(self):
        data = {**self.template_message, "TemplateAlias": None, "TemplateId": 4711}
        self.assertEqual(self.post("email/withTemplate", data).status, 200)
        [message] = self.sandbox.messages
        self.assertEqual((message.template_id, message.recipients[0].subject), ("4711", ""))

    def test_batch(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{name}}")
        bo = {**self.template_message, "To": "bo@example.net", "TemplateModel": {"name": "Bo"}}
        answer = self.post(
            "email/batchWithTemplates", {"Messages": [self.template_message, bo, MESSAGE]}
        )
        self.assertEqual([item["ErrorCode"] for item in answer.json], [0, 0, 403])
        self.assertEqual(
            [(m.recipients[0].address, m.recipients[0].subject) for m in self.sandbox.messages],
            [("ann@example.net", "Hi Ann"), ("bo@example.net", "Hi Bo")],
        )
        answer = self.post("email/batchWithTemplates", [self.template_message])
        self.assertEqual((answer.status, answer.json["ErrorCode"]), (422, 403))

    def test_refused(self):
        for fields, text in (
            ({"TemplateAlias": None}, "TemplateId or TemplateAlias"),
            ({"TemplateModel": None}, "TemplateModel"),
            ({"Subject": "Hi"}, "'Subject'"),
            ({"HtmlBody": "Hi"}, "'HtmlBody'"),
        ):
            with self.subTest(text):
                answer = self.post("email/withTemplate", {**self.template_message, **fields})
                self.assert_refused(answer, 403, text)


class BulkTests(PostmarkTestCase):
    def test_accepted(self):
        answer = self.post(
            "email/bulk",
            {
                "From": "shop@example.com",
                "Subject": "Hi {{name}}",
                "TextBody": "{{n}} {{shop}}",
                "Headers": [{"Name": "X-A", "Value": "1"}, {"Name": "X-B", "Value": "1"}],
                "Metadata": {"run": "w7"},
                "TemplateModel": {"shop": "Shop"},
                "Messages": [
                    {
                        "To": "ann@example.net",
                        "TemplateModel": {"name": "Ann", "n": 1},
                        "Metadata": {"id": "u1"},
                        "Headers": [{"Name": "X-B", "Value": "2"}],
                    },
                    {"To": "bo@example.net", "Cc": "c@example.net"},
                ],
            },
        )
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json, {"ID": ANY, "Status": "Accepted", "SubmittedAt": ANY})
        ann, bo = self.sandbox.messages
        self.assertEqual(ann.subject, "Hi {{name}}")
        copy = ann.recipients[0]
        self.assertEqual((copy.subject, copy.text), ("Hi Ann", "1 Shop"))
        self.assertEqual(copy.metadata, {"run": "w7", "id": "u1"})
        self.assertEqual(copy.headers, {"X-A": "1", "X-B": "2"})
        self.assertEqual([copy.kind for copy in bo.recipients], ["to", "cc"])
        self.assertEqual(bo.recipients[0].text, " Shop")
        self.assertEqual(bo.recipients[0].headers, {"X-A": "1", "X-B": "1"})
        self.assertNotEqual(ann.message_ids, bo.message_ids)

    def test_template(self):
        self.sandbox.templates["7"] = StoredTemplate("Hi {{name}}")
        entry = {"To": "ann@example.net", "TemplateModel": {"name": "Ann"}}
        data = {"From": "shop@example.com", "TemplateId": 7, "Messages": [entry]}
        self.assertEqual(self.post("email/bulk", data).status, 200)
        self.assertEqual(self.sandbox.messages[0].recipients[0].subject, "Hi Ann")

    def test_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        entries = [{"To": "ann@example.net"}, {"To": "bo@example.net"}]
        answer = self.post("email/bulk", {**MESSAGE, "Messages": entries})
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(self.sandbox.messages), 1)

    def test_refused(self):
        for messages in (None, [], {}):
            with self.subTest(messages=messages):
                answer = self.post("email/bulk", {**MESSAGE, "Messages": messages})
                self.assert_refused(answer, 403, "Messages")
        # One bad address, and nothing is sent.
        entries = [{"To": "ann@example.net"}, {"To": "x"}]
        answer = self.post("email/bulk", {**MESSAGE, "Messages": entries})
        self.assert_refused(answer, 300, "'To'")
