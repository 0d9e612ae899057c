from __future__ import annotations

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import SimpleTestCase, override_settings

from anymail.exceptions import AnymailUnsupportedFeature
from anymail.message import AnymailMessage
from anymail.providers import PROVIDERS
from anymail.testing import SentMail, outbox

from ..utils import make_message


def sent(message: EmailMessage, **options: object) -> SentMail:
    with outbox(**options) as box:
        message.send()
        return box.assert_sent()


def html_mail(html: str, text: str = "") -> SentMail:
    message = EmailMultiAlternatives("Subject", text, "from@example.com", ["to@example.com"])
    message.attach_alternative(html, "text/html")
    return sent(message)


def text_mail(text: str) -> SentMail:
    return sent(EmailMessage("Subject", text, "from@example.com", ["to@example.com"]))


class ContentTests(SimpleTestCase):
    def test_fields(self):
        message = AnymailMessage(
            "Žluťoučký",
            "Text",
            "Zoë <from@example.com>",
            ["Ann <ann@example.com>", "bo@example.com"],
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
            reply_to=["reply@example.com"],
            headers={"X-Order": 7},
            tags=["a"],
            metadata={"order": 7},
            template_id=3,
            merge_data={"bo@example.com": {"name": "Bo"}},
            merge_global_data={"shop": "S"},
            merge_metadata={"bo@example.com": {"user": 1}},
            merge_headers={"bo@example.com": {"X-A": "b"}},
            envelope_sender="bounces@example.com",
            track_opens=True,
            track_clicks=False,
            esp_extra={"stream": "x"},
            send_at=1_800_000_000,
        )
        message.attach_alternative("<p>HTML</p>", "text/html")
        message.attach("a.txt", "content", "text/plain")
        with override_settings(ANYMAIL={"SEND_DEFAULTS": {"tags": ["z"]}}):
            mail = sent(
                message, mailers={"default": {"BACKEND": "anymail.backends.test.EmailBackend"}}
            )
        self.assertEqual(mail.subject, "Žluťoučký")
        self.assertEqual((mail.text, mail.html), ("Text", "<p>HTML</p>"))
        self.assertEqual(mail.from_email, "Zoë <from@example.com>")
        self.assertEqual(mail.to, ["Ann <ann@example.com>", "bo@example.com"])
        self.assertEqual((mail.cc, mail.bcc), (["cc@example.com"], ["bcc@example.com"]))
        self.assertEqual(mail.reply_to, ["reply@example.com"])
        self.assertEqual(mail.headers, {"X-Order": "7"})
        self.assertEqual(mail.tags, ["z", "a"])  # with the defaults
        self.assertEqual(mail.metadata, {"order": 7})
        self.assertEqual(mail.template_id, 3)
        self.assertEqual(mail.merge_data, {"bo@example.com": {"name": "Bo"}})
        self.assertEqual(mail.merge_global_data, {"shop": "S"})
        self.assertEqual(mail.merge_metadata, {"bo@example.com": {"user": 1}})
        self.assertEqual(mail.merge_headers["bo@example.com"]["X-A"], "b")
        self.assertEqual(mail.envelope_sender, "bounces@example.com")
        self.assertEqual((mail.track_opens, mail.track_clicks), (True, False))
        self.assertEqual(mail.send_at.year, 2027)
        self.assertEqual(mail.esp_extra, {"stream": "x"})
        self.assertEqual(mail.attachment("a.txt").content, "content")
        self.assertEqual(mail.status.status, {"sent"})

    def test_what_anymail_would_refuse(self):
        mail = sent(EmailMessage("S", "Text", "from@example.com", ["no address"]))
        self.assertEqual(
            (mail.to, mail.text, mail.from_email), (["no address"], "Text", "from@example.com")
        )
        self.assertEqual(str(mail), "'S' to no address")

    def test_copy(self):
        message = make_message(to=["ann@example.com"])
        with outbox() as box:
            message.send()
            message.to = ["bo@example.com"]
            message.send()
            self.assertEqual(
                [mail.to for mail in box.mails], [["ann@example.com"], ["bo@example.com"]]
            )

    def test_attachments(self):
        message = make_message()
        message.attach("a.pdf", b"%PDF", "application/pdf")
        message.attach("b.pdf", b"1", "application/pdf")
        message.attach("b.pdf", b"2", "application/pdf")
        mail = sent(message)
        self.assertEqual(mail.attachment("a.pdf").content, b"%PDF")
        names = "Its attachments: 'a.pdf', 'b.pdf', 'b.pdf'"
        with self.assertRaisesMessage(AssertionError, f"no attachment 'c.pdf'. {names}"):
            mail.attachment("c.pdf")
        with self.assertRaisesMessage(AssertionError, f"several attachments 'b.pdf'. {names}"):
            mail.attachment("b.pdf")


class LinkTests(SimpleTestCase):
    HTML = (
        "<head><title>No</title><style>a{}</style></head>"
        '<a href="https://e.example/c?a=1&amp;b=2"> Confirm\n <b>it</b></a>'
        '<a href="https://e.example/logo"><img alt="Our logo"></a><a name="x">anchor</a>'
        '<a href="mailto:us@example.com">Write</a>'
    )

    def test_html(self):
        mail = html_mail(self.HTML, "Or go to https://e.example/text.")
        self.assertEqual(mail.link("Confirm it"), "https://e.example/c?a=1&b=2")
        self.assertEqual(mail.link("Our logo"), "https://e.example/logo")
        self.assertEqual(mail.link("Or go to"), "https://e.example/text")
        self.assertEqual(mail.link("?a=1"), "https://e.example/c?a=1&b=2")  # in the URL
        self.assertEqual(
            mail.links,
            [
                *("https://e.example/c?a=1&b=2", "https://e.example/logo", "mailto:us@example.com"),
                "https://e.example/text",
            ],
        )

    def test_text(self):
        mail = text_mail(
            "Hello,\n\nConfirm your address:\n\n  <https://e.example/c?t=(1)>\n\n"
            "Else: https://e.example/no (or https://e.example/never).\nhttps://e.example/bare!\n"
        )
        self.assertEqual(mail.link("Confirm"), "https://e.example/c?t=(1)")
        self.assertEqual(mail.link("/no"), "https://e.example/no")
        self.assertEqual(mail.links[2:], ["https://e.example/never", "https://e.example/bare"])

    def test_only_one(self):
        self.assertEqual(text_mail("Go to https://e.example/").link(), "https://e.example/")
        # The same URL in both parts
        mail = html_mail('<a href="https://e.example/">Go</a>', "Go: https://e.example/")
        self.assertEqual(mail.link("Go"), "https://e.example/")

    def test_failures(self):
        mail = html_mail('<a href="https://e.example/1">One</a><a href="https://e.example/2"></a>')
        links = "Its links:\n  One: https://e.example/1\n  (no text): https://e.example/2"
        for text, problem in [("Three", "no link with 'Three'"), ("", "several links")]:
            with self.assertRaises(AssertionError) as caught:
                mail.link(text)
            self.assertEqual(str(caught.exception), f"The mail has {problem}. {links}")
        with self.assertRaisesMessage(AssertionError, "The mail has no link. Its links: none"):
            text_mail("Hello").link()

    def test_code(self):
        self.assertEqual(text_mail("Order 9991234567, code: 123456.").code(), "123456")
        self.assertEqual(
            html_mail("<title>1</title><p>Code <b>12 34</b></p>").code(r"\d\d \d\d"), "12 34"
        )
        self.assertEqual(text_mail("Code: AB-12").code(r"[A-Z]+-(\d+)"), "12")
        mail = sent(make_message(subject="Code 654321", body="Hello"))
        self.assertEqual(mail.code(), "654321")
        with self.assertRaises(AssertionError) as caught:
            mail.code(r"\d{7}")
        self.assertEqual(str(caught.exception), "Nothing in the mail matches '\\\\d{7}':\nHello")


class AsProviderTests(SimpleTestCase):
    def test_json(self):
        mail = sent(make_message(tags=["a"], metadata={"n": 1}))
        with override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "really-secret"}):
            call = mail.as_provider("postmark")
        self.assertEqual((call.method, call.url), ("POST", "https://api.postmarkapp.com/email"))
        self.assertEqual(call.headers["X-Postmark-Server-Token"], "*****")
        self.assertEqual(call.json["Tag"], "a")
        self.assertEqual(call.further, ())
        lines = str(call).splitlines()
        self.assertEqual(lines[0], "POST https://api.postmarkapp.com/email")
        self.assertIn("X-Postmark-Server-Token: *****", lines)
        self.assertIn('  "Subject": "Subject",', lines)

    def test_unsupported_feature(self):
        mail = sent(make_message(tags=["a", "b"]))
        with self.assertRaisesMessage(AnymailUnsupportedFeature, "multiple tags"):
            mail.as_provider("postmark")

    def test_several_calls(self):
        message = make_message(to=["a@example.com", "b@example.com"])
        message.merge_data = {}
        with override_settings(ANYMAIL={"IGNORE_UNSUPPORTED_FEATURES": True}):
            call = sent(message).as_provider("postal")
        self.assertEqual(len(call.further), 1)
        self.assertEqual(str(call).count("/api/v1/send/"), 2)

    def test_every_provider(self):
        mail = sent(make_message())
        for name, provider in PROVIDERS.items():
            if provider.missing_packages:
                continue
            with self.subTest(name):
                call = mail.as_provider(name)
                self.assertEqual(call.method, "POST")
                self.assertTrue(call.url.startswith("https://"))
                self.assertNotIn("made-up", str(call))
                self.assertIn("*****", str(call))

    def test_attachment(self):
        message = make_message()
        message.attach("a.bin", b"\xff\xfe", "application/octet-stream")
        call = sent(message).as_provider("mailgun")
        self.assertIn(b"\xff\xfe", call.body)
        with self.assertRaises(ValueError):
            call.json  # noqa: B018

    def test_unknown_provider(self):
        with self.assertRaises(LookupError):
            sent(make_message()).as_provider("sendmail")
