"""The pages of the mailbox, as they are sent. test_mailbox_in_browser looks at them."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from email import message_from_bytes, message_from_string, policy
from html import unescape
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

from django.test import SimpleTestCase, tag
from django.utils.module_loading import import_string
from requests.structures import CaseInsensitiveDict

from anymail.addresses import EmailAddress
from anymail.providers import PROVIDERS
from anymail.sandbox import InboundMail, StoredTemplate, samples
from anymail.sandbox.mailbox import content, http, rendering, views
from anymail.sandbox.mailbox.inbound import mail_from_file
from anymail.sandbox.mailbox.mime import raw_mime
from anymail.sandbox.mailbox.text import clock, visible
from anymail.sandbox.mailbox.text import size as size_of
from anymail.sandbox.store import StoredAttachment, StoredMessage, StoredRecipient, StoredWebhook
from anymail.sandbox.wire import ApiRequest, WebhookCall

from ..http_server import Answer as SiteAnswer
from ..http_server import HttpServer
from ..utils import SAMPLE_IMAGE, use_backend
from .cases import Answer, multipart
from .test_server import MESSAGE, POSTMARK, SinkTestCase

RTL = "\u202egpj.exe"
HOSTILE = "<script>alert(1)</script>"

PIXEL = StoredAttachment("p.png", "image/png; x=y", SAMPLE_IMAGE, "pixel@x")
ANN = StoredRecipient("to", EmailAddress("", "ann@example.net"), "1", "ann@example.net", "", "", "")


def stored(html: str = "", text: str = "", **fields: Any) -> tuple[StoredMessage, StoredRecipient]:
    """Return a message, and its only recipient."""
    recipient_fields = {name: fields.pop(name) for name in ("headers", "subject") if name in fields}
    recipient = StoredRecipient(
        **{**vars(ANN), "html": html, "text": text, **recipient_fields}  # type: ignore[arg-type]
    )
    shop = EmailAddress("", "shop@example.com")
    return StoredMessage("postmark", shop, "", "", "", "", (recipient,), **fields), recipient


class PageTestCase(SinkTestCase):
    def get(self, path: str, **headers: str) -> Answer:
        return self.call(path, headers=headers, method="GET")

    def post(self, path: str, **fields: str) -> Answer:
        body = "&".join(f"{name}={quote(value)}" for name, value in fields.items())
        return self.call(path, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def send_as_mail(self, **fields: object) -> str:
        """Send a message, and return the path of its page."""
        self.send(**fields)
        return f"/_sandbox/mail/{self.sandbox.messages[-1].number}"

    def listed(self, path: str) -> list[str]:
        """Return the subjects in the list of a page."""
        found = re.findall(r'class="subject"><bdi>(.*?)</bdi>', self.get(path).text)
        return [unescape(subject) for subject in found]


class ListTests(PageTestCase):
    def test_empty(self):
        self.sandbox.webhook_url = None
        text = self.get("/").text
        self.assertIn("Nothing has been sent yet", text)
        self.assertIn("--webhook-url", text)

    def test_help(self):
        text = self.get("/_sandbox/help").text
        self.assertIn('data-page="help"', text)
        self.assertIn(f"{self.sandbox.base_url}/postmark/", text)

    def test_row(self):
        self.send(Subject="<b>Hi</b>", From="Shop <shop@example.com>")
        self.sandbox.trigger(self.sandbox.messages[0], "opened")
        text = self.get("/").text
        self.assertIn("&lt;b&gt;Hi&lt;/b&gt;", text)
        self.assertIn("<b><bdi>Ann</bdi></b> <small><bdi>ann@example.net</bdi></small>", text)
        self.assertIn("<small>and 1 more</small>", text)
        self.assertIn('>Postmark</span> <bdi class="tag">t</bdi> <bdi>shop@example.com</bdi>', text)
        self.assertIn('<span class="event opened" data-latest>opened</span>', text)
        self.sink.status = 500
        self.sandbox.trigger(self.sandbox.messages[0], "clicked")
        self.assertIn('<span class="event clicked failed" data-latest>', self.get("/").text)

    def test_newest_first(self):
        for subject in ("one", "two"):
            self.send(Subject=subject)
        self.assertEqual(self.listed("/"), ["two", "one"])

    def test_search(self):
        self.send(Subject="Žluťoučký kůň", Tag="horses", Metadata={"order": "4711"})
        self.send(
            Subject="Hello", Tag="", To="bo@example.org", Metadata={}, HtmlBody="<p>Guten Tag"
        )
        for query, subject in (
            ("žluťoučký", "Žluťoučký kůň"),
            ("KŮŇ", "Žluťoučký kůň"),
            ("horses", "Žluťoučký kůň"),
            ("order=4711", "Žluťoučký kůň"),
            ("ann@example.net", "Žluťoučký kůň"),
            ("bo@example.org guten", "Hello"),
        ):
            with self.subTest(query):
                self.assertEqual(self.listed(f"/?q={quote(query)}"), [subject])
        self.assertEqual(len(self.listed("/?q=shop@example.com")), 2)
        self.assertEqual(self.listed("/?q=nowhere"), [])
        self.assertIn("Nothing matches", self.get("/?q=nowhere").text)
        self.assertEqual(len(self.listed("/?esp=postmark")), 2)
        self.assertEqual(self.listed("/?esp=mailgun"), [])

    def test_selection_is_kept(self):
        path = self.send_as_mail(Subject="A needle")
        text = self.get(f"{path}?q=needle&esp=postmark").text
        for url in (f"{path}?q=needle&amp;esp=postmark", "/?q=needle&amp;esp=postmark"):
            self.assertIn(f'href="{url}"', text)
        answer = self.post(f"{path}/delete?q=needle&esp=postmark")
        self.assertEqual(answer.headers["Location"], "/?q=needle&esp=postmark")

    def test_pages(self):
        message, recipient = stored()
        many = [
            StoredMessage(
                **{
                    **vars(message),
                    "recipients": (
                        StoredRecipient(**{**vars(recipient), "subject": f"n{number}"}),
                    ),
                }
            )
            for number in range(1000)
        ]
        self.sandbox.store.add(many)
        started = time.process_time()
        first = self.get("/")
        self.assertLess(time.process_time() - started, 0.5)  # it takes a few hundredths
        self.assertLess(len(first.body), 100_000)
        self.assertEqual(self.listed("/")[0], "n999")
        self.assertIn('href="/?page=2" rel="next"', first.text)
        self.assertNotIn("data-newer>", first.text)
        last = self.get("/?page=20").text
        self.assertIn('href="/?page=19" rel="prev"', last)
        self.assertNotIn("data-older>", last)
        self.assertEqual(self.listed("/?page=20")[-1], "n0")
        for page in ("0", "21", "999999999999", "x", "-1", "²"):
            with self.subTest(page):
                self.assertEqual(len(self.listed(f"/?page={quote(page)}")), 50)
        # The list beside a message shows the page that it is on.
        number = self.sandbox.messages[100].number
        self.assertIn("n100", self.listed(f"/_sandbox/mail/{number}"))
        self.assertEqual(len(self.listed("/?q=n99")), 11)

    def test_delete_one(self):
        kept, deleted = self.send_as_mail(Subject="kept"), self.send_as_mail(Subject="deleted")
        self.sandbox.trigger(self.sandbox.messages[1], "opened")
        self.assertEqual(self.post(f"{deleted}/delete").status, 303)
        self.assertEqual(self.listed("/"), ["kept"])
        self.assertEqual(self.get(deleted).status, 404)
        self.assertEqual(self.get(kept).status, 200)
        self.assertEqual(self.sandbox.webhooks, [])
        [call] = self.sandbox.calls
        self.assertEqual(call.messages[0].subject, "kept")
        self.assertEqual(self.post(f"{deleted}/delete").status, 404)

    def test_delete_one_of_a_batch(self):
        batch = json.dumps([MESSAGE, {**MESSAGE, "Subject": "second"}])
        headers = {"Content-Type": "application/json", **POSTMARK}
        self.call("/postmark/email/batch", batch, headers)
        self.post(f"/_sandbox/mail/{self.sandbox.messages[0].number}/delete")
        [call] = self.sandbox.calls
        self.assertEqual([message.subject for message in call.messages], ["second"])

    def test_clear(self):
        self.send()
        self.sandbox.trigger(self.sandbox.messages[0], "opened")
        answer = self.post("/_sandbox/clear")
        self.assertEqual((answer.status, answer.headers["Location"]), (303, "/"))
        self.assertEqual((self.sandbox.messages, self.sandbox.webhooks), ([], []))

    def test_not_found(self):
        self.send()
        for method, path in (
            ("GET", "mail/1000"),
            ("GET", "mail/0/html"),
            ("GET", "mail/1/files/9"),
            ("GET", "mail/1?to=9"),
            ("GET", "mail/1/delete"),
            ("POST", "mail/1"),
            ("POST", "webhooks/1/replay"),
            ("GET", "static/none.css"),
            ("GET", "static/..%2fviews.py"),
            ("GET", "clear"),
        ):
            with self.subTest(method=method, path=path):
                self.assertEqual(self.call(f"/_sandbox/{path}", method=method).status, 404)

    def test_visits_are_not_reported(self):
        with self.assertNoLogs("anymail.sandbox", "INFO"):
            self.get("/")
            self.get("/_sandbox/help")
        with self.assertLogs("anymail.sandbox", "INFO"):
            self.post("/_sandbox/clear")

    def test_static_files(self):
        for name, content_type in (("mailbox.css", "text/css"), ("mailbox.js", "text/javascript")):
            answer = self.get(f"/_sandbox/static/{name}")
            self.assertEqual(answer.headers["Content-Type"], f"{content_type}; charset=utf-8")
            self.assertTrue(answer.body)


class MessageTests(PageTestCase):
    @tag("exhaustive")  # The others look at pages of Postmark's.
    def test_all_providers_and_views(self):
        for name in PROVIDERS:
            provider = self.sandbox.provider(name)
            if provider.missing_packages:
                continue
            with use_backend(provider.backend, ANYMAIL=self.sandbox.anymail_settings()):
                messages = [samples.tracked_message(provider), samples.html_message(provider)]
                import_string(provider.backend)().send_messages(messages)
            number = self.sandbox.messages[-1].number
            secrets = [
                value
                for key, value in provider.anymail_settings("").items()
                if "URL" not in key and isinstance(value, str) and "sandbox" in value
            ]
            for view in ("html", "text", "headers", "raw", "merge", "call", "links", "checks"):
                with self.subTest(provider=name, view=view):
                    answer = self.get(f"/_sandbox/mail/{number}?view={view}")
                    self.assertEqual(answer.status, 200)
                    self.assertIn(f'data-shown="{view}"', answer.text)
                    for secret in secrets:
                        self.assertNotIn(secret, answer.text)

    def test_facts(self):
        path = self.send_as_mail(ReplyTo="help@example.com", Metadata={"order": HOSTILE})
        text = self.get(path).text
        for expected in (
            "<h1><bdi>&lt;b&gt;Hi&lt;/b&gt;</bdi></h1>",
            "<bdi>shop@example.com</bdi>",
            "<bdi>Ann &lt;ann@example.net&gt;, bo@example.net</bdi>",
            "<bdi>help@example.com</bdi>",
            self.sandbox.messages[0].message_ids[0],
            '<bdi class="tag">t</bdi>',
            "<b>order</b> &lt;script&gt;",
            'data-file="a.txt"',
            "text/plain, 3 bytes",
        ):
            self.assertIn(expected, text)
        self.assertNotIn("<script>", text)

    def test_copies(self):
        path = self.send_as_mail()
        text = self.get(f"{path}?to=1&view=events").text
        self.assertRegex(text, r'to=1[^>]*data-copy="bo@example.net" aria-current')
        self.assertIn(f'action="{path}/report?to=1"', text)
        self.assertIn(f'href="{path}?view=raw&amp;to=1"', text)

    def test_api_call(self):
        path = self.send_as_mail()
        text = self.get(f"{path}?view=call").text
        self.assertIn(f"POST {self.sandbox.base_url}/postmark/email", text)
        self.assertIn('<span class="key">&quot;TextBody&quot;</span>: <span class="string">', text)
        self.assertIn('<th scope="row">X-Postmark-Server-Token</th><td>*****</td>', text)
        self.assertNotIn(POSTMARK["X-Postmark-Server-Token"], text)
        self.assertIn('<span class="key">&quot;ErrorCode&quot;</span>', text)

    def test_refused_calls(self):
        self.post_json("/postmark/email", {**MESSAGE, "To": "nobody"}, **POSTMARK)
        self.assertIn('title="refused">1<', self.get("/").text)
        text = self.get("/_sandbox/calls").text
        self.assertIn('<b class="badge problem">422</b>', text)
        self.assertIn("&quot;ErrorCode&quot;", text)
        self.sandbox.fail_next("unclear")
        with self.assertRaises(ConnectionError):
            self.send()
        self.assertIn("no answer", self.get("/_sandbox/calls").text)

    def test_raw(self):
        path = self.send_as_mail(Subject="Žluť", HtmlBody="<p>Hi")
        answer = self.get(f"{path}/raw")
        self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")
        mime = message_from_bytes(answer.body, policy=policy.default)
        self.assertEqual(mime["Subject"], "Žluť")
        self.assertEqual(mime["X-A"], "1")
        self.assertEqual(mime.get_body(("html",)).get_content(), "<p>Hi")
        self.assertEqual([part.get_filename() for part in mime.iter_attachments()], ["a.txt"])
        self.assertIn("&lt;p&gt;Hi", self.get(f"{path}?view=raw").text)
        with patch.object(http, "MAX_BODY", 10):
            self.assertIn("… (", self.get(f"{path}?view=raw").text)
        self.assertIn('<th scope="row">X-A</th>', self.get(f"{path}?view=headers").text)

    def test_merge_data(self):
        self.sandbox.templates["t"] = StoredTemplate("Hi {{name}}", "Dear {{name}}")
        fields = {**MESSAGE, "To": "ann@example.net", "TemplateAlias": "t"}
        for name in ("Subject", "TextBody", "Attachments"):
            fields.pop(name)
        self.post_json(
            "/postmark/email/withTemplate", {**fields, "TemplateModel": {"name": "Ann"}}, **POSTMARK
        )
        path = f"/_sandbox/mail/{self.sandbox.messages[0].number}"
        text = self.get(f"{path}?view=merge").text
        self.assertIn('<th scope="col"><bdi>name</bdi></th>', text)
        self.assertIn("<td><bdi>Ann</bdi></td><td><bdi>Hi Ann</bdi></td>", text)
        self.assertIn("<bdi data-merged-subject>Hi Ann</bdi>", text)
        self.assertIn("data-text>Dear Ann</pre>", text)
        self.assertIn("Dear Ann", self.get(f"{path}?view=text").text)


class SecurityTests(PageTestCase):
    """What is sent is anybody's: it's shown, but does nothing."""

    def test_page_headers(self):
        path = self.send_as_mail()
        for page in ("/", path, "/_sandbox/inbound", "/_sandbox/mail/999"):
            with self.subTest(page):
                headers = self.get(page).headers
                csp = headers["Content-Security-Policy"]
                for directive in ("default-src 'none'", "script-src 'self'", "frame-src 'self'"):
                    self.assertIn(directive, csp)
                self.assertIn("frame-ancestors 'none'", csp)
                self.assertNotIn("unsafe", csp)
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertEqual(headers["Cross-Origin-Resource-Policy"], "same-origin")
                self.assertEqual(headers["Cache-Control"], "no-store")
                # Forms would have "Origin: null" otherwise.
                self.assertEqual(headers["Referrer-Policy"], "same-origin")

    def test_html(self):
        path = self.send_as_mail(HtmlBody=f"<!doctype html><p>{HOSTILE}")
        answer = self.get(f"{path}/html")
        csp = answer.headers["Content-Security-Policy"]
        self.assertTrue(csp.startswith("sandbox allow-popups allow-popups-to-escape-sandbox;"))
        self.assertIn("default-src 'none'", csp)
        self.assertNotIn("script-src", csp)
        self.assertNotIn("http", csp)
        self.assertTrue(answer.text.startswith('<!doctype html><base target="_blank"><p>'))
        remote = self.get(f"{path}/html?remote=1").headers["Content-Security-Policy"]
        self.assertIn("img-src data: http: https:;", remote)
        self.assertNotIn("script-src", remote)
        frame = re.search("<iframe[^>]*>", self.get(path).text)[0]
        self.assertIn('sandbox="allow-popups allow-popups-to-escape-sandbox"', frame)

    def test_remote_content_is_offered(self):
        for html, offered in (
            ("<p>Hi", False),
            ('<a href="https://example.com/">', False),
            ('<img src="https://example.com/x.png">', True),
            ("<img src=//example.com/x.png>", True),
            ("<style>@import 'https://example.com/'</style>", True),
            ("<td style='background: url(http://example.com/x)'>", True),
        ):
            with self.subTest(html):
                path = self.send_as_mail(HtmlBody=html)
                self.assertEqual("data-remote" in self.get(path).text, offered)

    def test_files(self):
        path = self.send_as_mail(
            Attachments=[
                {"Name": name, "Content": "PHNjcmlwdD4=", "ContentType": content_type}
                for name, content_type in (
                    ("a.html", "text/html"),
                    ("a.svg", "image/svg+xml"),
                    ("a.png", "image/png"),
                    (RTL, "application/x-msdownload"),
                )
            ]
        )
        for index, shown_as in enumerate(
            ("text/plain; charset=utf-8", None, "image/png", None),
        ):
            with self.subTest(index):
                answer = self.get(f"{path}/files/{index}")
                self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")
                self.assertRegex(answer.headers["Content-Disposition"], r"^attachment; filename\*=")
                shown = self.get(f"{path}/files/{index}?show")
                if shown_as:
                    self.assertEqual(shown.headers["Content-Type"], shown_as)
                    self.assertRegex(shown.headers["Content-Disposition"], "^inline;")
                else:
                    self.assertEqual(
                        shown.headers, {**answer.headers, "Date": shown.headers["Date"]}
                    )
                for headers in (answer.headers, shown.headers):
                    csp = headers["Content-Security-Policy"]
                    self.assertTrue(csp.startswith("sandbox; default-src 'none'"))
                    self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertIn("%E2%80%AEgpj.exe", answer.headers["Content-Disposition"])

    def test_pdf(self):
        # No browser shows it in a sandbox.
        answer = rendering.attached_file(b"%PDF-", "application/pdf", "a.pdf", shown=True)
        self.assertTrue(answer.headers["Content-Security-Policy"].startswith("default-src 'none'"))
        saved = rendering.attached_file(b"%PDF-", "application/pdf", "a.pdf")
        self.assertTrue(saved.headers["Content-Security-Policy"].startswith("sandbox;"))

    def test_names_that_turn_text_around(self):
        path = self.send_as_mail(
            To=f'"{RTL}" <ann@example.net>',
            Subject=RTL,
            Attachments=[{"Name": RTL, "Content": "", "ContentType": "image/png"}],
        )
        for page in ("/", path, f"{path}?view=headers", f"{path}?view=call"):
            text = self.get(page).text
            self.assertIn("⟨U+202E⟩gpj.exe", text)
            without_attribute = re.sub(r'data-file="[^"]*"', "", text)
            self.assertNotIn("\u202e", without_attribute)

    def test_links(self):
        path = self.send_as_mail(
            HtmlBody="<a href='javascript:alert(1)'>a</a><a href='HTTPS://example.com/&quot;x'>b</a>"
        )
        text = self.get(f"{path}?view=links").text.partition("data-links")[2]
        self.assertIn('<a href="HTTPS://example.com/&quot;x" target="_blank" rel="noopener', text)
        self.assertIn('<bdi class="url">javascript:alert(1)</bdi>', text)
        self.assertNotIn('href="javascript', text)

    def test_junk(self):
        """Whatever is in a message, its pages are shown."""
        path = self.send_as_mail(
            From='"\\" <shop@example.com>',
            Subject="\ud800 \x00 \x1b",
            TextBody="\x00\ud800",
            HtmlBody="<![x <a href='http://['>\ud800 <img src=cid:a%ff <!-- ",
            Headers=[{"Name": "List-Unsubscribe", "Value": "<\x00>,,"}],
            Attachments=[
                {
                    "Name": 'a"\n\u202e',
                    "Content": "/w==",
                    "ContentType": 'x"\n/y; a*=b',
                    "ContentID": "\n",
                },
                {"Name": "\ud800", "Content": "/w==", "ContentType": "message/rfc822"},
            ],
        )
        for view in ("html", "text", "headers", "raw", "call", "links", "checks", "events"):
            with self.subTest(view):
                self.assertEqual(self.get(f"{path}?view={view}").status, 200)
        for rest in ("html", "raw", "files/0", "files/1?show"):
            with self.subTest(rest):
                self.assertEqual(self.get(f"{path}/{rest}").status, 200)


class ContentTests(SimpleTestCase):
    def states(self, **fields: Any) -> dict[str, str]:
        return {item.name: item.state for item in content.check(*stored(**fields))}

    def test_checks(self):
        one_click = {
            "list-unsubscribe": "<mailto:a@b.c>, <https://example.com/u>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        for fields, name, state in (
            ({"html": "x", "text": "x"}, "Text part", "ok"),
            ({"html": "x"}, "Text part", "problem"),
            ({}, "Text part", "note"),
            ({}, "List-Unsubscribe", "note"),
            ({}, "One-click unsubscribe", "note"),
            ({"headers": one_click}, "List-Unsubscribe", "ok"),
            ({"headers": one_click}, "One-click unsubscribe", "ok"),
            ({"headers": {"List-Unsubscribe": "https://a.b/"}}, "List-Unsubscribe", "problem"),
            ({"headers": {"List-Unsubscribe": "<ftp://a.b/>"}}, "List-Unsubscribe", "problem"),
            (
                {"headers": {**one_click, "list-unsubscribe": "<mailto:a@b.c>"}},
                "One-click unsubscribe",
                "problem",
            ),
            (
                {"headers": {**one_click, "List-Unsubscribe-Post": "yes"}},
                "One-click unsubscribe",
                "problem",
            ),
            ({"html": "<img src=x alt=''>"}, "Images", "ok"),
            ({"html": "<img src=x>"}, "Images", "problem"),
            ({"html": "<a href='https://example.com/'>"}, "Links to this computer", "ok"),
            ({"html": "<a href='http://localhost:8000/'>"}, "Links to this computer", "problem"),
            ({"html": "<img src='http://127.0.0.1/x' alt>"}, "Links to this computer", "problem"),
            ({"text": "http://[::1]:8000/a"}, "Links to this computer", "problem"),
            ({"text": "http://app.localhost/"}, "Links to this computer", "problem"),
            ({"html": "<img src='cid:x'>"}, "Inline images", "problem"),
            ({"html": "<img src='cid:pixel@x'>", "inline_images": (PIXEL,)}, "Inline images", "ok"),
            ({"html": "", "inline_images": (PIXEL,)}, "Inline images", "problem"),
            ({"subject": "Hi {{ name }}"}, "Merge fields", "problem"),
            ({"text": "Hi {name}"}, "Merge fields", "ok"),
        ):
            with self.subTest(name=name, fields=fields):
                self.assertEqual(self.states(**fields)[name], state)

    def test_links(self):
        _, recipient = stored(
            html="<a href=' https://a.example/?x=1&amp;y=2 '>One <b>two</b>"
            "<a href=https://b.example/><img alt=Logo></a> <a name=x>No</a>",
            text="See https://c.example/x). And https://a.example/?x=1&y=2.",
        )
        self.assertEqual(
            [(link.url, link.text) for link in content.find_links(recipient)],
            [
                ("https://a.example/?x=1&y=2", "One two"),
                ("https://b.example/", "Logo"),
                ("https://c.example/x", ""),
            ],
        )

    def test_html_document(self):
        images = (
            PIXEL,
            StoredAttachment("x.html", "text/html", b"<script>", "evil@x"),
        )
        message, recipient = stored(
            html="<IMG src='cid:pixel%40x'><img src=cid:evil@x><LINK rel=preconnect>",
            inline_images=images,
        )
        html = content.html_document(message, recipient)
        self.assertIn("<IMG src='data:image/png;base64,iVBOR", html)
        self.assertIn("<img src=cid:evil@x>", html)
        self.assertNotIn("<LINK", html)
        self.assertIn("<LINK", content.html_document(message, recipient, remote=True))

    def test_images_of_no_end(self):
        message, recipient = stored(html="<img src=cid:pixel@x>" * 9, inline_images=(PIXEL,))
        with patch.object(content, "MAX_IMAGES", 500):
            html = content.html_document(message, recipient)
        self.assertEqual(html.count("cid:"), 5)
        self.assertIn("data:", html)

    def test_raw_mime_with_inline_image(self):
        message, recipient = stored("<img src=cid:pixel@x>", "Hi", inline_images=(PIXEL,))
        mime = message_from_bytes(raw_mime(message, recipient), policy=policy.default)
        self.assertEqual(mime.get_content_type(), "multipart/alternative")
        text, related = mime.iter_parts()
        self.assertEqual(text.get_content(), "Hi")
        image = list(related.iter_parts())[1]
        self.assertEqual(image["Content-ID"], "<pixel@x>")
        self.assertEqual(image.get_content(), SAMPLE_IMAGE)


class HttpViewTests(SimpleTestCase):
    def show(self, body: bytes, content_type: str, **headers: str) -> http.Shown:
        all_headers = CaseInsensitiveDict({"Content-Type": content_type, **headers})
        request = ApiRequest("POST", "x", {}, all_headers, body)
        return http.show_request(request, "http://127.0.0.1/x?key=abcdef", ["sandbox-key-1"])

    def test_credentials(self):
        shown = self.show(
            b'{"key": "real", "api_key": "real", "t": "sandbox-key-1", "m": {"token": "merge"}}',
            "application/json",
            Authorization="Bearer real",
            **{"Api-Key": "real", "X-Other": "sandbox-key-1", "Idempotency-Key": "shown"},
        )
        for text in (shown.body, str(shown.headers), shown.title):
            self.assertNotIn("real", text)
            self.assertNotIn("sandbox-key-1", text)
            self.assertNotIn("abcdef", text)
        self.assertIn("merge", shown.body)
        self.assertIn(("Authorization", "Bearer *****"), shown.headers)
        self.assertIn(("Idempotency-Key", "shown"), shown.headers)

    def test_json(self):
        body = b'{"a": [1, -2.5e3, true, null], "b": "<\\"1 true", "c": "\\u202e"}'
        self.assertEqual(
            unescape(
                re.sub(
                    r'<span class="(\w+)">(.*?)</span>',
                    r"[\1 \2]",
                    self.show(body, "application/json").body,
                )
            ),
            '{\n  [key "a"]: [\n    [number 1],\n    [number -2500.0],\n    [word true],\n'
            '    [word null]\n  ],\n  [key "b"]: [string "<\\"1 true"],\n'
            '  [key "c"]: [string "⟨U+202E⟩"]\n}',
        )

    def test_long_values(self):
        base64 = "A" * 5000
        shown = self.show(
            json.dumps({"a": base64, "b": "b " * 50_000}).encode(), "application/json"
        )
        self.assertLess(len(shown.body), 2000)
        self.assertIn("(5000 characters)", shown.body)
        with patch.object(http, "MAX_BODY", 100):
            self.assertIn("… (300 characters)", self.show(b"x" * 300, "text/plain").body)
            self.assertNotIn("<span", self.show(b"[" + b"1," * 99 + b"1]", "application/json").body)

    def test_forms(self):
        shown = self.show(
            multipart(
                ('Content-Disposition: form-data; name="to"', b"<ann@example.net>"),
                ('Content-Disposition: form-data; name="api_key"', b"real"),
                ('Content-Disposition: form-data; name="vars"', b'{"a": 1}'),
                (
                    (
                        'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
                        "Content-Type: text/plain"
                    ),
                    b"<b>",
                ),
                ('Content-Disposition: form-data; name="file"; filename="b"', b"\xff"),
            ),
            "multipart/form-data; boundary=limit",
        )
        to, key, variables, text, binary = shown.parts
        self.assertEqual((to.name, to.value), ("to", "&lt;ann@example.net&gt;"))
        self.assertEqual(key.value, "*****")
        self.assertIn('<span class="number">1</span>', variables.value)
        self.assertEqual((text.value, text.details), ("&lt;b&gt;", "a.txt, text/plain, 3 bytes"))
        self.assertEqual(binary.value, "")
        shown = self.show(b"not a form", "multipart/form-data; boundary=limit")
        self.assertEqual((shown.parts, shown.body), ([], "not a form"))

    def test_exception(self):
        html = (
            '<html><title>ValueError\n          at /anymail/x</title><pre class="exception_value">'
            "no &lt;such&gt; user</pre>"
        )
        for status, content_type, answer, error, expected in (
            (200, "text/html", html, "", ""),
            (500, "text/html; charset=utf-8", html, "", "ValueError: no <such> user"),
            (500, "text/plain", "KeyError at /a/\n'x'\n\nRequest", "", "KeyError: 'x'"),
            (400, "text/html", "<title>Bad Request (400)</title>", "", "Bad Request (400)"),
            (400, "text/html", "", "", ""),
            (403, "text/plain", "Forbidden\n", "", "Forbidden"),
            (None, "", "", "ConnectionError", "ConnectionError"),
        ):
            with self.subTest(expected):
                webhook = StoredWebhook(
                    WebhookCall("", b"", {}), 0, 0, status, content_type, answer, error
                )
                self.assertEqual(http.exception_text(webhook), expected)

    def test_filters(self):
        self.assertEqual(visible("a\r\n\tb 👩\u200d👦"), "a\n\tb 👩\u200d👦")
        self.assertEqual(visible("\x00\u2066"), "⟨U+0000⟩⟨U+2066⟩")
        self.assertEqual(
            [size_of(b"x" * length) for length in (0, 1500, 2_000_000)],
            ["0 bytes", "1.5 kB", "2.0 MB"],
        )
        self.assertRegex(clock(time.time()), r"^\d\d:\d\d:\d\d$")
        self.assertRegex(clock(0), r"^19(69|70)-\d\d-\d\d \d\d:\d\d$")


class EventTests(PageTestCase):
    def test_report(self):
        path = self.send_as_mail()
        answer = self.post(f"{path}/report?to=1&q=x", event="bounced")
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.headers["Location"], f"{path}?view=events&q=x&to=1")
        [(_, _, body)] = self.sink.calls
        self.assertEqual(json.loads(body)["Email"], "bo@example.net")
        text = self.get(f"{path}?view=events").text
        self.assertRegex(text, r'data-webhook="\d+" data-event="bounced" data-status="200"')
        self.assertIn("<bdi>bo@example.net</bdi>", text)
        self.assertIn("Basic authentication with WEBHOOK_SECRET", text)
        self.assertIn(f"POST http://*****@{self.sink.base_url.removeprefix('http://')}", text)
        self.assertIn('<span class="key">&quot;RecordType&quot;</span>', text)
        self.assertNotIn(self.sandbox.webhook_secret.partition(":")[2], text)

    def test_reply(self):
        path = self.send_as_mail()
        self.post(f"{path}/report", event="inbound", raw="1")
        [(url, _, body)] = self.sink.calls
        self.assertEqual(url, "/anymail/postmark/inbound/")
        self.assertIn("RawEmail", json.loads(body))
        self.assertIn('data-event="inbound"', self.get(f"{path}?view=events").text)

    def test_buttons(self):
        path = self.send_as_mail()
        buttons = re.findall('data-report="([a-z]+)"', self.get(f"{path}?view=events").text)
        self.assertEqual(buttons[:3], ["delivered", "opened", "clicked"])
        self.assertEqual(buttons[-1], "inbound")
        self.assertEqual(set(buttons), {*self.sandbox.provider("postmark").events, "inbound"})

    def test_not_possible(self):
        path = self.send_as_mail()
        answer = self.post(f"{path}/report", event="exploded")
        self.assertEqual(answer.status, 400)
        self.assertRegex(unescape(answer.text), "data-error>Postmark reports .* not 'exploded'")
        self.sandbox.webhook_url = None
        answer = self.post(f"{path}/report", event="opened")
        self.assertRegex(answer.text, "data-error>[^<]*webhook_url")
        self.assertIn("data-frozen", answer.text)
        self.assertEqual(self.sandbox.webhooks, [])

    def test_site_that_fails(self):
        path = self.send_as_mail()
        page = b'<title>ValueError at /x</title><pre class="exception_value">Oh &lt;no&gt;</pre>'
        answer = SiteAnswer(500, page, {"Content-Type": "text/html"})
        with HttpServer(answer) as site:
            self.sandbox.webhook_url = f"{site.url}/anymail/"
            self.post(f"{path}/report", event="opened")
        text = self.get(f"{path}?view=events").text
        self.assertIn("data-exception>ValueError: Oh &lt;no&gt;</p>", text)
        self.assertIn("your site: 500", text)
        self.post(f"{path}/report", event="opened")
        text = self.get(f"{path}?view=events").text
        self.assertIn("The site does not answer: ConnectionError", text)
        self.assertEqual(len(self.sandbox.webhooks), 2)

    def test_signatures(self):
        mail = InboundMail("ann@example.net", "shop@example.com", "Hi", "Text")
        for name, provider in self.sandbox.providers.items():
            header = provider.webhook_signature[1]
            message, _ = stored()
            message = StoredMessage(**{**vars(message), "provider": name})
            calls = [self.sandbox.tracking_webhook(message, "delivered")]
            if provider.receives_mail:
                calls.append(self.sandbox.inbound_webhook(name, mail))
            with self.subTest(name):
                if header:
                    self.assertIn(header, calls[0].headers)
                signed = any("ignature" in key for call in calls for key in call.headers)
                self.assertEqual(signed, bool(header))
                self.assertEqual([call.provider for call in calls], [name] * len(calls))

    def test_replay(self):
        path = self.send_as_mail()
        self.post(f"{path}/report", event="opened")
        number = self.sandbox.webhooks[0].number
        answer = self.post(f"/_sandbox/webhooks/{number}/replay?to=1")
        self.assertEqual(answer.headers["Location"], f"{path}?view=events&to=1")
        first, second = self.sink.calls
        self.assertEqual(first[2], second[2])
        again = self.sandbox.webhooks[1]
        self.assertEqual(
            (again.replay_of, again.call.message), (number, self.sandbox.messages[0].number)
        )
        self.sink.stop()
        self.assertEqual(self.post(f"/_sandbox/webhooks/{number}/replay").status, 303)
        self.assertIsNone(self.sandbox.webhooks[2].status)


class InboundFormTests(PageTestCase):
    def form(self, *files: tuple[str, str, bytes], **fields: str) -> Answer:
        parts = [
            (f'Content-Disposition: form-data; name="{name}"', value.encode())
            for name, value in {"esp": "postmark", **fields}.items()
        ]
        parts += [
            (
                (
                    f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
                    "Content-Type: text/csv"
                ),
                body,
            )
            for field, name, body in files
        ]
        headers = {"Content-Type": "multipart/form-data; boundary=limit"}
        return self.call("/_sandbox/inbound", multipart(*parts), headers)

    def test_form(self):
        self.send()  # what belongs to a message is not listed
        self.sandbox.trigger(self.sandbox.messages[0], "opened")
        self.assertEqual(self.get("/_sandbox/inbound").text.count("data-webhook="), 0)
        # What sends is likely to receive.
        self.assertIn('<option value="postmark" selected>', self.get("/_sandbox/inbound").text)
        answer = self.form(
            ("files", "účet.csv", b"a;b"),
            ("files", "", b""),
            ("eml", "", b""),
            **{"from": "Žofie <zofie@example.net>", "to": "help@example.com"},
            subject="Ahoj\r\nX: y",
            text="Hi\r\nthere",
            html="<p>Hi",
        )
        self.assertEqual(answer.headers["Location"], "/_sandbox/inbound?esp=postmark")
        path, _, body = self.sink.calls[-1]
        self.assertEqual(path, "/anymail/postmark/inbound/")
        payload = json.loads(body)
        self.assertEqual(payload["FromFull"]["Name"], "Žofie")
        self.assertEqual(payload["Subject"], "Ahoj X: y")
        self.assertEqual(payload["TextBody"], "Hi\nthere")
        self.assertEqual([item["Name"] for item in payload["Attachments"]], ["účet.csv"])
        text = self.get(answer.headers["Location"]).text
        self.assertIn('<option value="postmark" selected>', text.partition("data-inbound")[2])
        self.assertEqual(text.count("data-webhook="), 1)
        answer = self.post(f"/_sandbox/webhooks/{self.sandbox.webhooks[-1].number}/replay")
        self.assertEqual(answer.headers["Location"], "/_sandbox/inbound")

    def test_every_provider(self):
        for name, provider in self.sandbox.providers.items():
            if provider.receives_mail:
                with self.subTest(name):
                    answer = self.form(
                        **{"esp": name, "from": "a@example.net", "to": "b@example.com"}
                    )
                    self.assertEqual(answer.status, 303)
                    self.assertIn(f"/anymail/{name}/", self.sink.calls[-1][0])

    def test_mistakes(self):
        for fields, expected in (
            ({"from": "nobody", "to": "b@example.com"}, "nobody"),
            ({"from": "a@example.net", "to": ""}, "to"),
            (
                {"from": "a@example.net", "to": "b@example.com", "esp": "unisender_go"},
                "Unisender Go",
            ),
            ({"from": "a@example.net", "to": "b@example.com", "esp": "nosuch"}, "nosuch"),
        ):
            with self.subTest(fields):
                answer = self.form(**fields, text="kept <b>")
                self.assertEqual(answer.status, 400)
                error = re.search("data-error>(.*?)</p>", answer.text, re.DOTALL)[1]
                self.assertIn(expected, unescape(error))
                self.assertIn("kept &lt;b&gt;</textarea>", answer.text)
        self.assertEqual(self.form(("eml", "x.eml", b"junk")).status, 400)
        self.assertEqual(self.call("/_sandbox/inbound", b"junk").status, 400)
        self.assertEqual(self.sink.calls, [])

    def test_eml(self):
        eml = (
            b"From: Ann <ann@example.net>\r\nTo: help@example.com, more@example.com\r\n"
            b"Subject: =?utf-8?q?=C5=BDlu=C5=A5?=\r\nMessage-ID: <1@x>\r\nX-Kept: yes\r\n"
            b"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: text/plain; charset=iso-8859-2\r\n\r\n\xbelu\xbb\r\n--b\r\n"
            b"Content-Type: text/csv; name=a.csv\r\n\r\n1;2\r\n--b\r\n"
            b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx\r\n--b--\r\n"
        )
        self.assertEqual(self.form(("eml", "a.eml", eml)).status, 303)
        payload = json.loads(self.sink.calls[-1][2])
        self.assertEqual(payload["FromFull"]["Email"], "ann@example.net")
        self.assertEqual(payload["OriginalRecipient"], "help@example.com")
        self.assertEqual((payload["Subject"], payload["TextBody"]), ("Žluť", "žluť"))
        self.assertIn({"Name": "X-Kept", "Value": "yes"}, payload["Headers"])
        self.assertIn({"Name": "Message-ID", "Value": "<1@x>"}, payload["Headers"])
        names = [item["Name"] for item in payload["Attachments"]]
        self.assertEqual(names, ["a.csv", ""])
        self.form(("eml", "a.eml", eml), raw="1")
        raw = message_from_string(json.loads(self.sink.calls[-1][2])["RawEmail"])
        self.assertEqual(raw["X-Kept"], "yes")
        self.assertEqual(raw.get_payload(0).get_payload(decode=True), b"\xbelu\xbb")

    def test_eml_in_no_charset(self):
        for head in (b"Content-Type: text/plain; charset=nosuch", b"Date: junk"):
            mail = mail_from_file(b"From: a@b.c\nTo: d@e.f\n" + head + b"\n\n\xc5\xbd")
            self.assertEqual(mail.text, "Ž")
            self.assertIsNotNone(mail.date.tzinfo)


class LiveTests(PageTestCase):
    def test_changes(self):
        self.send()
        version = self.sandbox.store.version
        address = urlsplit(self.sandbox.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            request = (
                f"GET /_sandbox/live?since={version} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n"
            )
            connection.sendall(request.encode())
            stream = connection.makefile("rb")
            head = b"".join(iter(stream.readline, b"\r\n"))
            self.assertIn(b"Content-Type: text/event-stream", head)
            self.assertNotIn(b"Content-Length", head)
            self.assertEqual([stream.readline(), stream.readline()], [b"retry: 1000\n", b"\n"])
            self.send()
            while stream.readline() != b"event: change\n":
                pass
            number = int(stream.readline().removeprefix(b"data: "))
            self.assertGreater(number, version)
            stop = threading.Thread(target=self.sandbox.stop)
            stop.start()
            stream.read()  # to the end
            stop.join(5)
            self.assertFalse(stop.is_alive())

    def test_nothing_new(self):
        self.send()
        version = self.sandbox.store.version
        mailbox = views.Mailbox(self.sandbox)
        with patch.object(views, "LIVE_SECONDS", 0.01):
            stream = mailbox.live(ApiRequest("GET", "", {"since": "0"})).stream
            self.assertEqual(next(stream), b"retry: 1000\n\n")
            self.assertIn(b"data: %d\n" % version, next(stream))
            self.assertEqual(next(stream), b": nothing new\n\n")
        for since in ("", "x", "9" * 30):
            stream = mailbox.live(ApiRequest("GET", "", {"since": since})).stream
            next(stream)
            self.assertIn(b"event: change", next(stream))
