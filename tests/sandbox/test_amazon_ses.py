from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import ANY
from urllib.parse import urlsplit

from django.core.mail import EmailMultiAlternatives
from requests.structures import CaseInsensitiveDict

from anymail.addresses import EmailAddress
from anymail.exceptions import AnymailAPIError
from anymail.message import AnymailMessage
from anymail.sandbox import ApiRequest, StoredAttachment, StoredTemplate
from anymail.sandbox.amazon_ses import AmazonSES
from anymail.sandbox.store import Store

from ..utils import SAMPLE_IMAGE, make_message, skip_without, use_backend
from .cases import Answer, SandboxTestCase
from .test_webhooks import BARE_RECIPIENT, RECIPIENT, WebhookTestCase, message

SEND = "/amazon_ses/v2/email/outbound-emails"
SEND_BULK = "/amazon_ses/v2/email/outbound-bulk-emails"

MIME = """\
From: =?utf-8?q?Zo=C3=AB=2C_Brno?= <shop@example.com>
To: "Ann, A." <ann@example.net>,
 =?utf-8?b?Qm/FmWVr?= <borek@xn--hj-mia.example>
Cc: cc@example.net
Reply-To: =?utf-8?q?Pomoc=2C_1?= <help@example.com>, help2@example.com
Subject: =?utf-8?b?w5rEjXRlbmthIMSNLiA=?=
 =?utf-8?b?NDcxMQ==?= for you
Date: Fri, 20 Nov 2026 10:00:00 +0000
Message-ID: <made-by-django@example.com>
MIME-Version: 1.0
X-Shop: seven
 of nine
X-Metadata: {"order": 4711, "name": "\\u017dofie"}
X-Tag: receipt
X-Tag: =?utf-8?b?xb5pdm90?=
Content-Type: multipart/mixed; boundary=mixed

Preamble

--mixed
Content-Type: multipart/alternative; boundary=alternative

--alternative
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: quoted-printable

D=C4=9Bkujeme=20za n=
=C3=A1kup.
--alternative
Content-Type: multipart/related; boundary=related

--related
Content-Type: text/html; charset="iso-8859-2"
Content-Transfer-Encoding: base64

PGI+6Ds8L2I+
--related
Content-Type: image/png
Content-Transfer-Encoding: base64
Content-ID: <logo@inline>
Content-Disposition: inline; filename="logo.png"

iVBORw==
--related--
--alternative
Content-Type: text/calendar; method=REQUEST

BEGIN:VCALENDAR
--alternative--
--mixed
Content-Type: text/csv; charset="utf-8"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename*=utf-8''%C3%BA%C4%8Det.csv

YTti
--mixed
Content-Type: text/plain
Content-Disposition: attachment; filename="=?utf-8?q?=C3=BA=C4=8Det=2Etxt?="

second text
--mixed
Content-Type: message/rfc822
Content-Disposition: attachment

From: x@example.com
Subject: inner
Content-Type: text/plain

inner text
--mixed--
"""
ANN = {"ToAddresses": ["ann@example.net"]}
PLAIN = "From: shop@example.com\nTo: Ann <ann@example.net>\nSubject: Hi\n\nText\n"

TEMPLATE = StoredTemplate("Hello {{first}}", "{{first}} has {{points}} at {{shop}}", "<p>{{first}}")
BULK: dict[str, Any] = {
    "FromEmailAddress": '"Shop, Brno" <shop@example.com>',
    "DefaultContent": {
        "Template": {
            "TemplateName": "welcome",
            "TemplateData": '{"shop": "Zo\\u00eb\'s", "points": 0}',
        }
    },
    "BulkEmailEntries": [{"Destination": ANN}],
}


def encode(mime: str | bytes) -> str:
    return base64.b64encode(mime.encode() if isinstance(mime, str) else mime).decode()


class SESTestCase(SandboxTestCase):
    key_id = "AKIASANDBOX"
    secret = "sandbox-secret-access-key"

    def sign(self, path: str, body: bytes, headers: dict[str, str]) -> str:
        """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
        names = sorted(headers, key=str.lower)
        signed = ";".join(names).lower()
        canonical = f"POST\n{path}\n\n"
        canonical += "".join(f"{name.lower()}:{headers[name].strip()}\n" for name in names)
        canonical += f"\n{signed}\n{hashlib.sha256(body).hexdigest()}"
        when = headers["X-Amz-Date"]
        scope = f"{when[:8]}/eu-west-1/ses/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{digest}"
        key = b"AWS4" + self.secret.encode()
        for text in (when[:8], "eu-west-1", "ses", "aws4_request", to_sign):
            key = hmac.digest(key, text.encode(), "sha256")
        return (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, "
            f"SignedHeaders={signed}, Signature={key.hex()}"
        )

    def post(self, path: str, data: Any, **headers: str) -> Answer:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        signed = {
            "Content-Type": "application/json",
            "Host": urlsplit(self.sandbox.base_url).netloc,
            "X-Amz-Date": f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}",
        }
        signed["Authorization"] = self.sign(path, body, signed)
        return self.call(path, body, {**signed, **headers})

    def send(self, mime: str | bytes, **params: Any) -> Answer:
        content = {"Raw": {"Data": encode(mime)}}
        return self.post(SEND, {"Content": content, "Destination": ANN, **params})

    def bulk(self, **params: Any) -> Answer:
        return self.post(SEND_BULK, {**BULK, **params})

    def assert_refused(self, answer: Answer, code: str, text: str, status: int = 400) -> None:
        self.assertEqual((answer.status, answer.headers.get("x-amzn-ErrorType")), (status, code))
        self.assertIn(text, answer.json["message"])
        self.assertEqual(self.sandbox.messages, [])


class AuthenticationTests(SESTestCase):
    def test_signature_of_botocore(self):
        # As botocore 1.44 has signed it.
        signature = "36c64f6ed6a4619bfbcfe48d6be9b5607beb524d47d058d5920bd5c1ad3989fe"
        headers = {
            "Host": "127.0.0.1:8025",
            "Content-Type": "application/json",
            "X-Amz-Date": "20260102T030405Z",
            "Authorization": "AWS4-HMAC-SHA256 "
            "Credential=AKIASANDBOX/20260102/us-east-1/ses/aws4_request, "
            f"SignedHeaders=content-type;host;x-amz-date, Signature={signature}",
        }
        for body, code in (
            (b'{"Content": {}}', "BadRequestException"),
            (b'{"Content": {} }', "InvalidSignatureException"),
        ):
            answer = AmazonSES(Store()).handle(
                ApiRequest(
                    "POST", "v2/email/outbound-emails", {}, CaseInsensitiveDict(headers), body
                )
            )
            self.assertEqual(answer.headers["x-amzn-ErrorType"], code)

    def test_wrong_key(self):
        self.key_id = "AKIAOTHER"
        self.assert_refused(
            self.send(PLAIN), "UnrecognizedClientException", "security token", status=403
        )

    def test_wrong_secret(self):
        self.secret = "other"
        self.assert_refused(
            self.send(PLAIN), "InvalidSignatureException", "Check your AWS Secret", status=403
        )

    def test_what_is_signed(self):
        for changed in ({"X-Amz-Date": "20260102T030405Z"}, {"Content-Type": "text/plain"}):
            with self.subTest(changed):
                answer = self.post(SEND, {}, **changed)
                self.assert_refused(answer, "InvalidSignatureException", "", status=403)
        answer = self.post(SEND_BULK, {}, Authorization=self.sign(SEND, b"{}", {"X-Amz-Date": "2"}))
        self.assert_refused(answer, "InvalidSignatureException", "", status=403)

    def test_no_signature(self):
        for value in ("", "Basic YTpi", "AWS4-HMAC-SHA256 Credential=AKIASANDBOX/x, Signature=0"):
            with self.subTest(value):
                answer = self.post(SEND, {}, Authorization=value)
                code = "MissingAuthenticationTokenException"
                self.assert_refused(answer, code, "Missing Authentication Token", status=403)

    def test_other_actions(self):
        for method, path in (("GET", SEND), ("POST", "/amazon_ses/v2/email/identities")):
            answer = self.call(path, method=method)
            self.assert_refused(answer, "UnknownOperationException", "no such action", status=404)


class SendEmailTests(SESTestCase):
    def test_accepted(self):
        answer = self.send(PLAIN)
        self.assertEqual(answer.status, 200, answer.text)
        [stored] = self.sandbox.messages
        self.assertEqual(answer.json, {"MessageId": stored.message_ids[0]})
        self.assertRegex(
            stored.message_ids[0],
            r"\A0100[0-9a-f]{12}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-0+\Z",
        )
        self.assertEqual(stored.provider, "amazon_ses")
        self.assertEqual((stored.subject, stored.text, stored.html), ("Hi", "Text\n", ""))
        self.assertEqual(stored.from_email, EmailAddress("", "shop@example.com"))
        self.assertEqual((stored.track_opens, stored.send_at, stored.template_id), (None,) * 3)
        self.send(PLAIN)
        self.assertNotEqual(*(item.message_ids for item in self.sandbox.messages))

    def test_decoded(self):
        destination = {
            "ToAddresses": ["ann@example.net", "borek@xn--hj-mia.example"],
            "CcAddresses": ["cc@example.net"],
            "BccAddresses": ["Bcc <bcc@example.net>"],
        }
        for line_end in ("\n", "\r\n"):
            with self.subTest(line_end):
                self.sandbox.clear()
                answer = self.send(MIME.replace("\n", line_end), Destination=destination)
                self.assertEqual(answer.status, 200, answer.text)
                [stored] = self.sandbox.messages
                self.assertEqual(stored.from_email, EmailAddress("Zoë, Brno", "shop@example.com"))
                self.assertEqual(
                    stored.reply_to, '"Pomoc, 1" <help@example.com>, help2@example.com'
                )
                self.assertEqual(stored.subject, "Účtenka č. 4711 for you")
                self.assertEqual(stored.text, "Děkujeme za nákup.")
                self.assertEqual(stored.html, "<b>č;</b>")
                self.assertEqual(
                    stored.inline_images,
                    (StoredAttachment("logo.png", "image/png", b"\x89PNG", "logo@inline"),),
                )
                calendar, csv, txt, inner = stored.attachments
                self.assertEqual(
                    (calendar.filename, calendar.content_type, calendar.content),
                    ("", "text/calendar; method=REQUEST", b"BEGIN:VCALENDAR"),
                )
                self.assertEqual(
                    csv, StoredAttachment("účet.csv", 'text/csv; charset="utf-8"', b"a;b")
                )
                self.assertEqual(txt, StoredAttachment("účet.txt", "text/plain", b"second text"))
                self.assertEqual(inner.content_type, "message/rfc822")
                self.assertTrue(inner.content.startswith(b"From: x@example.com"), inner)
                self.assertTrue(inner.content.endswith(b"inner text"), inner)

                self.assertEqual(
                    [(copy.kind, copy.mailbox) for copy in stored.recipients],
                    [
                        ("to", EmailAddress("Ann, A.", "ann@example.net")),
                        ("to", EmailAddress("Bořek", "borek@xn--hj-mia.example")),
                        ("cc", EmailAddress("", "cc@example.net")),
                        ("bcc", EmailAddress("Bcc", "bcc@example.net")),
                    ],
                )
                copy = stored.recipients[3]
                self.assertEqual(
                    copy.header_to,
                    '"Ann, A." <ann@example.net>, Bořek <borek@xn--hj-mia.example>',
                )
                self.assertEqual(
                    (copy.subject, copy.text, copy.html), (stored.subject, stored.text, stored.html)
                )
                self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie"})
                self.assertEqual(copy.tags, ("receipt", "život"))
                # Message-ID and Date are replaced by SES.
                self.assertEqual(
                    copy.headers,
                    {
                        "X-Shop": "seven of nine",
                        "X-Metadata": '{"order": 4711, "name": "\\u017dofie"}',
                    },
                )

    def test_recipients_from_headers(self):
        mime = PLAIN.replace("To:", "Bcc: b@example.net\nTo:")
        for destination in (None, {}, {"ToAddresses": []}):
            with self.subTest(destination):
                self.sandbox.clear()
                self.assertEqual(self.send(mime, Destination=destination).status, 200)
                [stored] = self.sandbox.messages
                self.assertEqual(
                    [(copy.kind, str(copy.mailbox)) for copy in stored.recipients],
                    [("to", "Ann <ann@example.net>"), ("bcc", "b@example.net")],
                )
                self.assertNotIn("Bcc", stored.recipients[0].headers)

    def test_header_to_can_differ(self):
        mime = PLAIN.replace("Ann <ann@example.net>", "everyone@example.com")
        self.assertEqual(self.send(mime).status, 200)
        [copy] = self.sandbox.messages[0].recipients
        self.assertEqual(
            (copy.address, copy.header_to), ("ann@example.net", "everyone@example.com")
        )

    def test_headers_that_are_not_ours(self):
        for value in ("x", "[1]", '"x"', "[" * 900, "=?utf-8?b?/w==?=", "=?nosuch?q?x?="):
            with self.subTest(value[:20]):
                self.sandbox.clear()
                answer = self.send(f"X-Metadata: {value}\n{PLAIN}")
                self.assertEqual(answer.status, 200, answer.text)
                copy = self.sandbox.messages[0].recipients[0]
                self.assertEqual((copy.metadata, copy.tags), ({}, ()))
                self.assertEqual(copy.headers["X-Metadata"], value)

    def test_odd_mime(self):
        for content, expected in (
            ("Content-Type: text/plain; charset=nosuch\n\nText", ("Text", "")),
            ("Content-Type: multipart/mixed\n\nText", ("", "")),
            ("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!", ("", "")),
            ("Content-Type: text/html\n\nText", ("", "Text")),
        ):
            with self.subTest(content):
                self.sandbox.clear()
                answer = self.send(f"From: shop@example.com\nTo: ann@example.net\n{content}")
                self.assertEqual(answer.status, 200, answer.text)
                [stored] = self.sandbox.messages
                self.assertEqual((stored.text, stored.html), expected)

    def test_bodies_with_names_are_attachments(self):
        self.send(f'Content-Type: text/plain; name="a.txt"\n{PLAIN}')
        [stored] = self.sandbox.messages
        self.assertEqual(stored.text, "")
        self.assertEqual(
            stored.attachments,
            (StoredAttachment("a.txt", 'text/plain; name="a.txt"', b"Text\n"),),
        )

    def test_refused_mime(self):
        sender = "Email address is not verified. The following identities failed the check"
        cases = {
            PLAIN.replace("Hi", "Účet"): "7-bit ASCII",
            PLAIN + "Á": "7-bit ASCII",
            PLAIN + "a" * 999: "lines longer than 998 characters",
            PLAIN.replace("Hi", "Hi " * 333): "lines longer than 998 characters",
            f"subject: again\n{PLAIN}": "Duplicate header 'Subject'",
            f"From: again@example.com\n{PLAIN}": "Duplicate header 'From'",
            PLAIN.replace("From:", "X-From:"): "Missing required header 'From'",
            PLAIN.replace("shop@example.com", "shop"): "Illegal address 'shop'",
            PLAIN.replace("example.com", "example.invalid"): sender,
            "": "Content must be Raw",
        }
        for mime, text in cases.items():
            with self.subTest(mime[:60]):
                code = "MessageRejected" if text == sender else "BadRequestException"
                self.assert_refused(self.send(mime), code, text)
        self.assertEqual(self.send(PLAIN + "a" * 998).status, 200)

    def test_refused_parameters(self):
        bad, wrong_type = "BadRequestException", "SerializationException"
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"Content": None}, bad, "Content must be Raw"),
            ({"Content": {"Simple": {}}}, bad, "Content must be Raw"),
            ({"Content": "x"}, wrong_type, "Content is not an object"),
            ({"Content": {"Raw": {"Data": "?"}}}, wrong_type, "not base64"),
            ({"Content": {"Raw": {"Data": "é"}}}, wrong_type, "not base64"),
            ({"Content": {"Raw": {"Data": 1}}}, wrong_type, "Data is not a string"),
            ({"Destination": []}, wrong_type, "Destination is not an object"),
            ({"Destination": {"CcAddresses": "a@b.c"}}, wrong_type, "CcAddresses is not a list"),
            ({"Destination": {"ToAddresses": [1]}}, wrong_type, "ToAddresses is not a string"),
            ({"Destination": {"ToAddresses": ["a@háj.cz"]}}, bad, "Illegal address 'a@háj.cz'"),
            ({"Destination": {"ToAddresses": ["á@b.c"]}}, bad, "Local address contains"),
            ({"Destination": {"ToAddresses": ["a@b.c"] * 51}}, bad, "count exceeds 50"),
            ({"FeedbackForwardingEmailAddress": "x"}, bad, "Illegal address 'x'"),
            ({"FeedbackForwardingEmailAddress": "x@y.invalid"}, "MessageRejected", "x@y.invalid"),
            ({"EmailTags": [{"Name": "type", "Value": "a b"}]}, bad, "invalid tag 'a b'"),
            ({"EmailTags": [{"Name": "type"}]}, bad, "invalid tag ''"),
            ({"EmailTags": ["x"]}, wrong_type, "EmailTags is not an object"),
        ]
        for params, code, text in cases:
            with self.subTest(params):
                self.assert_refused(self.send(PLAIN, **params), code, text)
        self.assert_refused(self.post(SEND, b"{"), wrong_type, "not JSON")
        self.assert_refused(self.post(SEND, []), wrong_type, "The body is not an object")
        mime = PLAIN.replace("To:", "X-To:")
        self.assert_refused(self.send(mime, Destination={}), bad, "no recipients")
        tags = [{"Name": "type", "Value": "receipt_1"}]
        self.assertEqual(self.send(PLAIN, EmailTags=tags).status, 200)


class SendBulkEmailTests(SESTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sandbox.templates["welcome"] = TEMPLATE

    def test_rendered(self):
        entries = [
            {
                "Destination": {
                    "ToAddresses": ["=?utf-8?b?QW5uYSDDgS4=?= <ann@example.net>"],
                    "CcAddresses": ["cc@example.net"],
                    "BccAddresses": ["bcc@example.net"],
                },
                "ReplacementEmailContent": {
                    "ReplacementTemplate": {
                        "ReplacementTemplateData": '{"first": "Ann", "points": 12}'
                    }
                },
                "ReplacementHeaders": [
                    {"Name": "X-Shop", "Value": "=?utf-8?b?xb5pdm90?="},
                    {"Name": "X-Metadata", "Value": '{"run": "w7", "order": 5}'},
                    {"Name": "X-Tag", "Value": "receipt"},
                    {"Name": "X-Tag", "Value": "=?utf-8?b?xb5pdm90?="},
                ],
            },
            {"Destination": {"ToAddresses": ["bo@example.net"]}},
        ]
        answer = self.bulk(BulkEmailEntries=entries)
        self.assertEqual(answer.status, 200, answer.text)
        first, second = self.sandbox.messages
        self.assertEqual(
            answer.json,
            {
                "BulkEmailEntryResults": [
                    {"Status": "SUCCESS", "MessageId": first.message_ids[0]},
                    {"Status": "SUCCESS", "MessageId": second.message_ids[0]},
                ]
            },
        )
        self.assertNotEqual(first.message_ids, second.message_ids)
        self.assertEqual(first.from_email, EmailAddress("Shop, Brno", "shop@example.com"))
        self.assertEqual((first.template_id, first.subject), ("welcome", "Hello {{first}}"))
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in first.recipients],
            [
                ("to", EmailAddress("Anna Á.", "ann@example.net")),
                ("cc", EmailAddress("", "cc@example.net")),
                ("bcc", EmailAddress("", "bcc@example.net")),
            ],
        )
        copy = first.recipients[1]
        self.assertEqual(copy.header_to, '"Anna Á." <ann@example.net>')
        self.assertEqual(copy.subject, "Hello Ann")
        self.assertEqual((copy.text, copy.html), ("Ann has 12 at Zoë's", "<p>Ann"))
        self.assertEqual(copy.metadata, {"run": "w7", "order": "5"})
        self.assertEqual(copy.tags, ("receipt", "život"))
        self.assertEqual(copy.headers["X-Shop"], "život")
        self.assertEqual(copy.merge_data, {"shop": "Zoë's", "first": "Ann", "points": 12})

        [bo] = second.recipients
        self.assertEqual(bo.text, " has 0 at Zoë's")
        self.assertEqual((bo.headers, bo.metadata, bo.tags), ({}, {}, ()))
        self.assertEqual(bo.header_to, "bo@example.net")

    def test_reply_to(self):
        self.bulk(ReplyToAddresses=["=?utf-8?q?Pomoc=2C_1?= <h@example.com>", "i@example.com"])
        [stored] = self.sandbox.messages
        self.assertEqual(stored.reply_to, '"Pomoc, 1" <h@example.com>, i@example.com')

    def test_other_templates_are_empty(self):
        answer = self.bulk(DefaultContent={"Template": {"TemplateName": "other"}})
        self.assertEqual(answer.status, 200, answer.text)
        [stored] = self.sandbox.messages
        self.assertEqual((stored.template_id, stored.subject, stored.text), ("other", "", ""))

    def test_entries_that_fail(self):
        cases = [
            ({}, "Destination has no recipients"),
            ({"Destination": {"ToAddresses": []}}, "Destination has no recipients"),
            ({"Destination": {"ToAddresses": ["ann"]}}, "Illegal address 'ann'"),
            ({"Destination": {"ToAddresses": ["á@b.c"]}}, "Local address contains"),
            ({"Destination": {"BccAddresses": ["a@b.c"] * 51}}, "Recipient count exceeds 50"),
        ]
        answer = self.bulk(BulkEmailEntries=[entry for entry, _ in cases] + [{"Destination": ANN}])
        *results, good = answer.json["BulkEmailEntryResults"]
        for (entry, text), result in zip(cases, results, strict=True):
            with self.subTest(entry):
                self.assertEqual(result, {"Status": "INVALID_PARAMETER", "Error": ANY})
                self.assertIn(text, result["Error"])
        [stored] = self.sandbox.messages
        self.assertEqual(good, {"Status": "SUCCESS", "MessageId": stored.message_ids[0]})

    def test_refused(self):
        def header(name: str, value: str) -> dict[str, Any]:
            entry = {"Destination": ANN, "ReplacementHeaders": [{"Name": name, "Value": value}]}
            return {"BulkEmailEntries": [{"Destination": ANN}, entry]}

        def template(**params: str) -> dict[str, Any]:
            return {"DefaultContent": {"Template": params}}

        def replacement(data: str) -> dict[str, Any]:
            content = {"ReplacementTemplate": {"ReplacementTemplateData": data}}
            entry = {"Destination": ANN, "ReplacementEmailContent": content}
            return {"BulkEmailEntries": [entry]}

        headers = [{"Name": "X-Tag", "Value": "x"}] * 16
        bad, wrong_type = "BadRequestException", "SerializationException"
        cases: list[tuple[dict[str, Any], str, str]] = [
            ({"BulkEmailEntries": None}, bad, "1 to 50 entries"),
            ({"BulkEmailEntries": [{"Destination": ANN}] * 51}, bad, "1 to 50 entries"),
            ({"BulkEmailEntries": ["x"]}, wrong_type, "BulkEmailEntries is not an object"),
            ({"FromEmailAddress": None}, bad, "Missing required header 'From'"),
            ({"FromEmailAddress": "Shop <shop>"}, bad, "Illegal address 'shop'"),
            ({"FromEmailAddress": "s@x.invalid"}, "MessageRejected", "not verified"),
            ({"ReplyToAddresses": ["x"]}, bad, "Illegal address 'x'"),
            ({"DefaultEmailTags": [{"Name": "a", "Value": "č"}]}, bad, "invalid tag 'č'"),
            ({"DefaultContent": None}, bad, "must have a TemplateName"),
            (template(TemplateData="{}"), bad, "must have a TemplateName"),
            (template(TemplateName="a", TemplateData="{"), bad, "TemplateData is not JSON"),
            (
                template(TemplateName="a", TemplateData="[" * 99_999),
                bad,
                "TemplateData is not JSON",
            ),
            (template(TemplateName="a", TemplateData="[]"), wrong_type, "is not an object"),
            (replacement("x"), bad, "ReplacementTemplateData is not JSON"),
            (header("X-A", "č"), bad, "invalid header 'X-A'"),
            (header("X-A", "a\r\nBcc: b@c.d"), bad, "invalid header 'X-A'"),
            (header("X-A", "a" * 996), bad, "invalid header 'X-A'"),
            (header("X-A", ""), bad, "invalid header 'X-A'"),
            (header("X A", "a"), bad, "invalid header 'X A'"),
            (
                {"BulkEmailEntries": [{"Destination": ANN, "ReplacementHeaders": headers}]},
                bad,
                "more than 15 headers",
            ),
        ]
        for params, code, text in cases:
            with self.subTest(str(params)[:100]):
                self.assert_refused(self.bulk(**params), code, text)


class NotificationTests(WebhookTestCase):
    """https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html"""

    provider = "amazon_ses"

    def notification(self, call: Any, path: str) -> dict[str, Any]:
        """https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html"""
        self.assertEqual(call.url, f"http://user:pass@127.0.0.1:8000/anymail/amazon_ses/{path}/")
        envelope = json.loads(call.body)
        headers = CaseInsensitiveDict(call.headers)
        self.assertEqual(headers["Content-Type"], "text/plain; charset=UTF-8")
        self.assertEqual(headers["User-Agent"], "Amazon Simple Notification Service Agent")
        self.assertEqual(headers["x-amz-sns-message-type"], "Notification")
        self.assertEqual(headers["x-amz-sns-message-id"], envelope["MessageId"])
        self.assertEqual(headers["x-amz-sns-topic-arn"], envelope["TopicArn"])
        self.assertTrue(headers["x-amz-sns-subscription-arn"].startswith(envelope["TopicArn"]))
        self.assertEqual(envelope["Type"], "Notification")
        self.assert_now(envelope["Timestamp"])
        return dict(json.loads(envelope["Message"]))

    def assert_now(self, text: str) -> None:
        self.assertRegex(text, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
        self.assertLess(abs(datetime.now(timezone.utc) - when), timedelta(seconds=5))

    def track(self, event: str, recipient: Any = RECIPIENT) -> dict[str, Any]:
        call = self.sandbox.tracking_webhook(message(self.provider, recipient), event)
        return self.notification(call, "tracking")

    def test_message_ids_differ(self):
        calls = [self.sandbox.tracking_webhook(message("amazon_ses"), "sent") for _ in range(2)]
        self.assertNotEqual(*(json.loads(call.body)["MessageId"] for call in calls))

    def test_mail(self):
        for event in self.sandbox.providers["amazon_ses"].events:
            with self.subTest(event):
                mail = self.track(event)["mail"]
                self.assert_now(mail["timestamp"])
                self.assertEqual(mail["messageId"], RECIPIENT.message_id)
                self.assertEqual(mail["source"], "shop@example.com")
                self.assertEqual(mail["destination"], ["ann@example.net"])
                headers = {item["name"]: item["value"] for item in mail["headers"]}
                self.assertEqual(headers["X-Tag"], "receipt")
                self.assertEqual(headers["To"], "Ann <ann@example.net>")
                self.assertEqual(headers["Subject"], "=?utf-8?b?w5rEjWV0?=")
                self.assertEqual(mail["commonHeaders"]["subject"], "Účet")
                self.assertIs(mail["headersTruncated"], False)

    def test_events(self):
        cases: dict[str, tuple[str, str, dict[str, Any]]] = {
            "sent": ("Send", "send", {}),
            "delivered": (
                "Delivery",
                "delivery",
                {"recipients": ["ann@example.net"], "smtpResponse": "250 2.0.0 OK"},
            ),
            "opened": ("Open", "open", {"ipAddress": "203.0.113.7"}),
            "clicked": ("Click", "click", {"link": "https://shop.example.com/?a=1&b=2"}),
            "bounced": (
                "Bounce",
                "bounce",
                {"bounceType": "Permanent", "bounceSubType": "General"},
            ),
            "complained": (
                "Complaint",
                "complaint",
                {
                    "complainedRecipients": [{"emailAddress": "ann@example.net"}],
                    "complaintFeedbackType": "abuse",
                },
            ),
            "deferred": ("DeliveryDelay", "deliveryDelay", {"delayType": "MailboxFull"}),
            "rejected": ("Reject", "reject", {"reason": "Bad content"}),
            "failed": ("Rendering Failure", "failure", {"templateName": ""}),
            "unsubscribed": ("Subscription", "subscription", {"contactList": "sandbox"}),
            "subscribed": ("Subscription", "subscription", {"contactList": "sandbox"}),
        }
        self.assertEqual(self.sandbox.providers["amazon_ses"].events, cases.keys())
        for event, (event_type, name, expected) in cases.items():
            with self.subTest(event):
                payload = self.track(event)
                self.assertEqual(payload["eventType"], event_type)
                details = payload[name]
                self.assertEqual({**details, **expected}, details)
                if event not in ("sent", "rejected", "failed"):
                    self.assert_now(details["timestamp"])
        [bounced] = self.track("bounced")["bounce"]["bouncedRecipients"]
        self.assertEqual(bounced["emailAddress"], "ann@example.net")
        self.assertEqual(bounced["diagnosticCode"], "smtp; 550 5.1.1 No such user")
        [delayed] = self.track("deferred")["deliveryDelay"]["delayedRecipients"]
        self.assertEqual(delayed["emailAddress"], "ann@example.net")
        self.assertIn("Mozilla", self.track("opened")["open"]["userAgent"])

    def test_expiration_is_ahead(self):
        delay = self.track("deferred")["deliveryDelay"]
        self.assertGreater(delay["expirationTime"], delay["timestamp"])

    def test_preferences(self):
        for event, before, after in (
            ("unsubscribed", "OptIn", "OptOut"),
            ("subscribed", "OptOut", "OptIn"),
        ):
            details = self.track(event)["subscription"]
            for name, status in (("oldTopicPreferences", before), ("newTopicPreferences", after)):
                [topic] = details[name]["topicSubscriptionStatus"]
                self.assertEqual(topic["subscriptionStatus"], status)
                self.assertEqual(details[name]["unsubscribeAll"], status == "OptOut")

    def test_suppressed(self):
        self.sandbox.suppressed.add("ann@example.net")
        details = self.track("bounced")["bounce"]
        self.assertEqual(details["bounceSubType"], "OnAccountSuppressionList")

    def test_all_destinations(self):
        stored = message("amazon_ses")
        stored = type(stored)(**{**vars(stored), "recipients": (RECIPIENT, BARE_RECIPIENT)})
        call = self.sandbox.tracking_webhook(stored, "delivered", BARE_RECIPIENT)
        payload = self.notification(call, "tracking")
        self.assertEqual(payload["mail"]["destination"], ["ann@example.net", "bo@example.net"])
        self.assertEqual(payload["delivery"]["recipients"], ["bo@example.net"])

    def test_inbound(self):
        for raw in (False, True):
            mail = self.mail()
            call = self.sandbox.inbound_webhook("amazon_ses", mail, raw=raw)
            payload = self.notification(call, "inbound")
            self.assertEqual(payload["notificationType"], "Received")
            self.assertEqual(payload["mail"]["source"], "žofie@example.net")
            self.assertEqual(payload["mail"]["destination"], ["shop+4711@example.com"])
            self.assert_now(payload["mail"]["timestamp"])
            receipt = payload["receipt"]
            self.assertEqual(receipt["recipients"], ["shop+4711@example.com"])
            self.assertEqual(receipt["spamVerdict"], {"status": "PASS"})
            self.assertEqual(
                receipt["action"], {"type": "SNS", "topicArn": ANY, "encoding": "BASE64"}
            )
            content = base64.b64decode(payload["content"], validate=True)
            self.assert_mime(content.decode(), mail)


@skip_without("boto3")
class BackendTests(SandboxTestCase):
    """What boto3 and the backend make of it. For webhooks see test_demo."""

    def setUp(self) -> None:
        super().setUp()
        override = use_backend(
            "anymail.backends.amazon_ses.EmailBackend",
            ANYMAIL=self.sandbox.anymail_settings("amazon_ses"),
        )
        override.enable()
        self.addCleanup(override.disable)

    def test_send(self):
        email: Any = EmailMultiAlternatives(
            "Účtenka, č. 4711 " + "velmi dlouhá " * 20,
            "Děkujeme\nza nákup.",
            '"Zoë\'s, Brno" <shop@háj.example>',
            ['"Bořek, B." <borek@háj.example>', "ann@example.net"],
            cc=["Cc <cc@example.net>"],
            bcc=["bcc@example.net"],
            reply_to=['"Pomoc, 1" <help@example.com>'],
            headers={"X-Shop": "život"},
        )
        email.attach_alternative("<b>Děkujeme</b>", "text/html")
        email.attach("účet.csv", "á;b\n", "text/csv")
        email.attach("a.png", SAMPLE_IMAGE, "image/png")
        email.tags = ["receipt", "žluťoučký"]
        email.metadata = {"order": 4711, "name": "Žofie " * 30}
        email.envelope_sender = "bounces@example.com"
        self.assertEqual(email.send(), 1)

        [stored] = self.sandbox.messages
        self.assertEqual(stored.from_email, EmailAddress("Zoë's, Brno", "shop@xn--hj-mia.example"))
        self.assertEqual(stored.reply_to, '"Pomoc, 1" <help@example.com>')
        self.assertEqual(stored.subject.split(), email.subject.split())
        self.assertEqual(stored.text.rstrip("\n"), email.body)
        self.assertEqual(stored.html.rstrip("\n"), "<b>Děkujeme</b>")
        csv, png = stored.attachments
        self.assertEqual((csv.filename, csv.content), ("účet.csv", "á;b\n".encode()))
        self.assertEqual(
            (png.filename, png.content_type.partition(";")[0], png.content),
            ("a.png", "image/png", SAMPLE_IMAGE),
        )
        self.assertEqual(
            [(copy.kind, copy.mailbox) for copy in stored.recipients],
            [
                ("to", EmailAddress("Bořek, B.", "borek@xn--hj-mia.example")),
                ("to", EmailAddress("", "ann@example.net")),
                ("cc", EmailAddress("Cc", "cc@example.net")),
                ("bcc", EmailAddress("", "bcc@example.net")),
            ],
        )
        copy = stored.recipients[0]
        self.assertEqual(copy.tags, ("receipt", "žluťoučký"))
        self.assertEqual(copy.metadata, {"order": "4711", "name": "Žofie " * 30})
        self.assertEqual(copy.headers["X-Shop"], "život")
        assert stored.request is not None
        self.assertEqual(
            stored.request.json()["FeedbackForwardingEmailAddress"], "bounces@example.com"
        )
        status = email.anymail_status
        self.assertEqual((status.status, status.message_id), ({"queued"}, copy.message_id))

    def test_template(self):
        self.sandbox.templates["welcome"] = TEMPLATE
        email = AnymailMessage(
            from_email="Zoë <shop@example.com>",
            to=["Bořek <borek@háj.example>", "ann@example.net"],
            cc=["cc@example.net"],
            template_id="welcome",
            merge_data={"ann@example.net": {"first": "Ann"}},
            merge_global_data={"first": "you", "points": 3, "shop": "Zoë's"},
            metadata={"run": "w7"},
            merge_metadata={"borek@háj.example": {"user": "Bořek"}},
            tags=["receipt", "život"],
        )
        self.assertEqual(email.send(), 1)
        borek, ann = self.sandbox.messages
        self.assertEqual(borek.from_email, EmailAddress("Zoë", "shop@example.com"))
        self.assertEqual(
            borek.recipients[0].mailbox, EmailAddress("Bořek", "borek@xn--hj-mia.example")
        )
        self.assertEqual(borek.recipients[0].text, "you has 3 at Zoë's")
        self.assertEqual(borek.recipients[0].metadata, {"run": "w7", "user": "Bořek"})
        self.assertEqual(ann.recipients[0].text, "Ann has 3 at Zoë's")
        self.assertEqual(ann.recipients[0].metadata, {"run": "w7"})
        self.assertEqual(ann.recipients[0].tags, ("receipt", "život"))
        self.assertEqual([copy.address for copy in ann.recipients][1:], ["cc@example.net"])
        recipients = email.anymail_status.recipients
        self.assertEqual(
            {address: status.message_id for address, status in recipients.items()},
            {
                "borek@háj.example": borek.message_ids[0],
                "ann@example.net": ann.message_ids[0],
            },
        )

    def test_errors(self):
        with self.assertRaisesRegex(AnymailAPIError, "not verified.*shop@x.invalid") as caught:
            make_message(from_email="shop@x.invalid").send()
        self.assertEqual(caught.exception.response["Error"]["Code"], "MessageRejected")
        self.sandbox.providers["amazon_ses"].secret_access_key = "other"  # type: ignore[attr-defined]
        with self.assertRaisesRegex(AnymailAPIError, "Check your AWS Secret Access Key") as caught:
            make_message().send()
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], "InvalidSignatureException")
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 403)
        self.assertEqual(self.sandbox.messages, [])
