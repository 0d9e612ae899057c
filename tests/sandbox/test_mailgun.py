from __future__ import annotations

import json
import re
from typing import Any

from anymail.addresses import EmailAddress
from anymail.sandbox import StoredAttachment, StoredTemplate

from .cases import Answer, SandboxTestCase, basic_auth, form, multipart

Fields = list[tuple[str, str]]
MESSAGE: Fields = [
    ("from", '"Shop, Brno" <shop@example.com>'),
    ("to", "Ann <ann@example.net>"),
    ("subject", "Účet"),
    ("text", "Text"),
]
FORM = "application/x-www-form-urlencoded"


class MailgunTestCase(SandboxTestCase):
    def post(
        self,
        fields: Fields | None = None,
        *,
        path: str = "/mailgun/v3/mg.example.com/messages",
        key: str | None = None,
        **kwargs: Any,
    ) -> Answer:
        key = self.sandbox.anymail_settings()["MAILGUN_API_KEY"] if key is None else key
        headers = {"Content-Type": FORM, "Authorization": basic_auth("api", key)}
        body = form(MESSAGE if fields is None else fields)
        return self.call(path, body, headers, **kwargs)

    def without(self, *names: str) -> Fields:
        return [(name, value) for name, value in MESSAGE if name not in names]

    def assert_refused(self, answer: Answer, text: str, status: int = 400) -> None:
        self.assertEqual(answer.status, status, answer.text)
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class MessagesTests(MailgunTestCase):
    def test_accepted(self):
        answer = self.post()
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["message"], "Queued. Thank you.")
        self.assertRegex(answer.json["id"], r"\A<\d{14}\.1\.[0-9A-F]{16}@mg\.example\.com>\Z")
        [message] = self.sandbox.messages
        self.assertEqual(message.message_ids, [answer.json["id"]])

    def test_stored(self):
        fields: Fields = [
            *MESSAGE,
            ("to", "Bo <bo@example.net>, cy@example.net"),
            ("cc", "c@example.net"),
            ("bcc", "žofie@example.net"),
            ("html", "<p>Text"),
            ("h:Reply-To", "help@example.com"),
            ("h:X-Shop", "7"),
            ("v:order", "4711"),
            ("v:name", "Žofie"),
            ("o:tag", "a"),
            ("o:tag", "b"),
            ("o:tracking-opens", "no"),
            ("o:tracking-clicks", "htmlonly"),
            ("o:deliverytime", "Tue, 06 May 2031 07:08:09 GMT"),
        ]
        self.post(fields)
        [message] = self.sandbox.messages
        self.assertEqual(message.provider, "mailgun")
        self.assertEqual(message.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual(message.reply_to, "help@example.com")
        self.assertEqual((message.subject, message.text, message.html), ("Účet", "Text", "<p>Text"))
        self.assertEqual((message.track_opens, message.track_clicks), (False, True))
        self.assertEqual(message.send_at, "Tue, 06 May 2031 07:08:09 GMT")
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in message.recipients],
            [
                ("to", EmailAddress("Ann", "ann@example.net")),
                ("to", EmailAddress("Bo", "bo@example.net")),
                ("to", EmailAddress("", "cy@example.net")),
                ("cc", EmailAddress("", "c@example.net")),
                ("bcc", EmailAddress("", "žofie@example.net")),
            ],
        )
        for copy in message.recipients:
            self.assertEqual((copy.subject, copy.text, copy.html), ("Účet", "Text", "<p>Text"))
            self.assertEqual(
                copy.header_to, "Ann <ann@example.net>, Bo <bo@example.net>, cy@example.net"
            )
            self.assertEqual(copy.headers, {"Reply-To": "help@example.com", "X-Shop": "7"})
            self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
            self.assertEqual(copy.tags, ("a", "b"))

    def test_multipart(self):
        fields = [(f'Content-Disposition: form-data; name="{n}"', v.encode()) for n, v in MESSAGE]

        def file(field: str, filename: str, content_type: str) -> str:
            return (
                f'Content-Disposition: form-data; name="{field}"; filename="{filename}"'
                f"\r\nContent-Type: {content_type}"
            )

        body = multipart(
            *fields,
            (file("attachment", "účet.csv", 'text/csv; charset="iso-8859-2"'), b"a\r\n\xe9"),
            (file("inline", "logo@inline", "image/png"), b"\0\1\2"),
            (file("inline", "", "image/png"), b"dropped"),
        )
        headers = {
            "Content-Type": "multipart/form-data; boundary=limit",
            "Authorization": basic_auth("api", "sandbox-api-key"),
        }
        answer = self.call("/mailgun/v3/mg.example.com/messages", body, headers)
        self.assertEqual(answer.status, 200, answer.text)
        [message] = self.sandbox.messages
        self.assertEqual(message.subject, "Účet")
        self.assertEqual(
            message.attachments,
            (StoredAttachment("účet.csv", 'text/csv; charset="iso-8859-2"', b"a\r\n\xe9"),),
        )
        self.assertEqual(
            message.inline_images,
            (StoredAttachment("logo@inline", "image/png", b"\0\1\2", "logo@inline"),),
        )

    def test_authentication(self):
        answer = self.post(key="wrong")
        self.assertEqual((answer.status, answer.text), (401, "Forbidden"))
        path = "/mailgun/v3/mg.example.com/messages"
        for headers in ({}, {"Authorization": basic_auth("user", "sandbox-api-key")}):
            answer = self.call(path, form(MESSAGE), {"Content-Type": FORM, **headers})
            self.assertEqual((answer.status, answer.text), (401, "Forbidden"))
        self.assertEqual(self.sandbox.messages, [])

    def test_domain(self):
        self.assert_refused(
            self.post(path="/mailgun/v3/mg.invalid/messages"), "Domain not found: mg.invalid", 404
        )
        answer = self.post(path="/mailgun/v3/h%C3%A1j.example/messages")
        self.assertIn("@háj.example>", answer.json["id"])

    def test_unknown_endpoints(self):
        for path in ("/mailgun/v3/messages", "/mailgun/messages", "/mailgun/v3/a/b/messages"):
            with self.subTest(path):
                answer = self.post(path=path)
                self.assertEqual((answer.status, answer.text), (200, "Mailgun Magnificent API"))
        self.assertEqual(self.post(method="GET").status, 405)
        self.assertEqual(self.sandbox.messages, [])

    def test_missing_fields(self):
        for fields, text in (
            (self.without("from"), "from parameter is missing"),
            (self.without("to"), "to parameter is missing"),
            ([*self.without("to"), ("cc", "c@example.net")], "to parameter is missing"),
            (self.without("text"), "Need at least one of 'text' or 'html'"),
            ([], "from parameter is missing"),
        ):
            with self.subTest(text):
                self.assert_refused(self.post(fields), text)

    def test_bad_values(self):
        for name, value in (
            ("to", "ann"),
            ("to", "ann@example.com, bo@"),
            ("to", "zofie@háj.example"),
            ("cc", "x"),
            ("bcc", "x"),
            ("from", "x"),
            ("from", "žofie@example.com"),
            ("o:tracking-opens", "True"),
            ("o:tracking-clicks", ""),
            ("o:deliverytime", "2031-05-06T07:08:09Z"),
            ("recipient-variables", "{"),
            ("recipient-variables", "[" * 100_000),
            ("recipient-variables", "[]"),
            ("recipient-variables", '{"ann@example.net": 1}'),
        ):
            with self.subTest(name=name, value=value[:20]):
                self.assert_refused(self.post([*MESSAGE, (name, value)]), name)

    def test_limits(self):
        recipients = [("to", f"u{n}@example.com") for n in range(1000)]
        self.assert_refused(self.post([*MESSAGE, *recipients]), "more than 1000 recipients")
        tags = [("o:tag", f"t{n}") for n in range(11)]
        self.assert_refused(self.post([*MESSAGE, *tags]), "more than 10 tags")
        answer = self.post([*MESSAGE, *recipients[:-1], *tags[:-1]])
        self.assertEqual(answer.status, 200)

    def test_malformed_body(self):
        authorization = {"Authorization": basic_auth("api", "sandbox-api-key")}
        for body, content_type in (
            (b"from=%E9", FORM),
            (b"--x", "multipart/form-data; boundary=x"),
            (b"{}", "application/json"),
        ):
            with self.subTest(content_type):
                headers = {"Content-Type": content_type, **authorization}
                answer = self.call("/mailgun/v3/mg.example.com/messages", body, headers)
                self.assert_refused(answer, "The ")


class BatchTests(MailgunTestCase):
    def test_recipient_variables(self):
        variables = {
            "ann@example.net": {"name": "Ann", "n": 1, "v:order": "o1", "h:X-Ref": "r1"},
            "Bo@example.net": {"name": "Bo", "v:order": "", "h:X-Ref": "r2"},
        }
        answer = self.post(
            [
                ("from", "shop@example.com"),
                ("to", "Ann <ann@example.net>"),
                ("to", "bo@example.net"),
                ("cc", "c@example.net"),
                ("subject", "Hi %recipient.name%"),
                ("text", "%recipient.n% %recipient.missing% 100%"),
                ("html", "<b>%recipient.name%"),
                ("v:order", "%recipient.v:order%"),
                ("v:run", "w7"),
                ("h:X-Ref", "%recipient.h:X-Ref%"),
                ("recipient-variables", json.dumps(variables)),
            ]
        )
        [message] = self.sandbox.messages
        self.assertEqual(message.subject, "Hi %recipient.name%")
        self.assertEqual(
            [(copy.kind, copy.address, copy.header_to) for copy in message.recipients],
            [
                ("to", "ann@example.net", "Ann <ann@example.net>"),
                ("cc", "c@example.net", "Ann <ann@example.net>"),
                ("to", "bo@example.net", "bo@example.net"),
                ("cc", "c@example.net", "bo@example.net"),
            ],
        )
        ann, ann_cc, bo, _bo_cc = message.recipients
        self.assertEqual(
            (ann.subject, ann.text, ann.html), ("Hi Ann", "1 %recipient.missing% 100%", "<b>Ann")
        )
        self.assertEqual(ann.metadata, {"order": "o1", "run": "w7"})
        self.assertEqual(ann.headers, {"X-Ref": "r1"})
        self.assertEqual(ann.merge_data, variables["ann@example.net"])
        self.assertEqual(ann_cc.subject, "Hi Ann")
        self.assertEqual((bo.subject, bo.text), ("Hi Bo", "%recipient.n% %recipient.missing% 100%"))
        self.assertEqual(bo.metadata, {"order": "", "run": "w7"})
        self.assertEqual(bo.headers, {"X-Ref": "r2"})
        self.assertEqual(message.message_ids, [answer.json["id"]])

    def test_empty_recipient_variables(self):
        self.post([*MESSAGE, ("to", "bo@example.net"), ("recipient-variables", "{}")])
        [message] = self.sandbox.messages
        self.assertEqual(
            [copy.header_to for copy in message.recipients],
            ["Ann <ann@example.net>", "bo@example.net"],
        )

    def test_template(self):
        self.sandbox.templates["welcome"] = StoredTemplate("Hi {{name}}", "{{n}} {{x}}", "<b>{{n}}")
        fields: Fields = [
            ("from", "shop@example.com"),
            ("to", "ann@example.net"),
            ("subject", ""),
            ("text", ""),
            ("template", "welcome"),
            ("t:variables", '{"x": "X", "n": 0}'),
            ("v:name", "%recipient.name%"),
            ("v:n", "1"),
            ("recipient-variables", '{"ann@example.net": {"name": "Ann"}}'),
        ]
        self.assertEqual(self.post(fields).status, 200)
        [message] = self.sandbox.messages
        self.assertEqual(message.template_id, "welcome")
        copy = message.recipients[0]
        self.assertEqual((copy.subject, copy.text, copy.html), ("Hi Ann", "1 X", "<b>1"))

        fields[2] = ("subject", "Own %recipient.name%")
        self.post(fields)
        self.assertEqual(self.sandbox.messages[-1].recipients[0].subject, "Own Ann")

    def test_unknown_template(self):
        self.post([*self.without("text"), ("template", "unknown")])
        [message] = self.sandbox.messages
        self.assertEqual((message.template_id, message.recipients[0].text), ("unknown", ""))

    def test_bad_template_variables(self):
        self.sandbox.templates["welcome"] = StoredTemplate()
        answer = self.post([*MESSAGE, ("template", "welcome"), ("t:variables", "x")])
        self.assert_refused(answer, "t:variables")


class MessageIdTests(MailgunTestCase):
    def test_distinct(self):
        ids = {self.post().json["id"] for _ in range(3)}
        self.assertEqual(len(ids), 3)
        self.assertTrue(all(re.fullmatch(r"<[^<>@]+@[^<>@]+>", item) for item in ids))
