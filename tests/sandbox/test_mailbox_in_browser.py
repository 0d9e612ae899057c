"""The mailbox in Chromium: what it's like to use, and that mail does no harm there."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

from django.test import SimpleTestCase, override_settings, tag
from playwright.sync_api import Browser, Page, expect, sync_playwright

from anymail import signals
from anymail.exceptions import AnymailAPIError
from anymail.message import AnymailMessage
from anymail.sandbox import Sandbox
from anymail.sandbox.site import ROOT_URLCONF, DemoSite

from .. import browser
from ..http_server import Answer, HttpServer
from ..utils import SAMPLE_IMAGE, use_backend

TIMEOUT = 5000  # ms; everything takes much less
PHONE = {"width": 390, "height": 800}

# Of elements that can be used, those without a name for people who don't see them; of texts, those
# with a contrast of less than 4.5 (WCAG 2.2, 1.4.3)
UNNAMED = """() => [...document.querySelectorAll(
        "a, button, input, select, textarea, iframe, summary, dialog, nav, section")]
    .filter((item) => !(item.ariaLabel || item.title || item.textContent.trim()
        || item.labels?.length || item.getAttribute("aria-labelledby")))
    .map((item) => item.outerHTML)"""
FAINT = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => channels(color).slice(0, 3)
        .map((value) => value / 255)
        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
    const background = (item) => {
        for (; item; item = item.parentElement) {
            const color = getComputedStyle(item).backgroundColor;
            if ((channels(color)[3] ?? 1) === 1) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const texts = [...document.querySelectorAll("body *")].filter((item) => item.checkVisibility()
        && [...item.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    return texts.map((item) => {
        const [dark, light] = [getComputedStyle(item).color, background(item)]
            .map(luminance).sort((one, other) => one - other);
        return [item.outerHTML.slice(0, 99), (light + 0.05) / (dark + 0.05)];
    }).filter(([, contrast]) => contrast < 4.5);
}"""
SHIFTS = """() => new Promise((done) => {
    let sum = 0;
    new PerformanceObserver((list) => { for (const shift of list.getEntries()) sum += shift.value })
        .observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})"""


@tag("exhaustive")
class BrowserTests(SimpleTestCase):
    browser: ClassVar[Browser]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        program = browser.chromium()
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.browser = playwright.chromium.launch(executable_path=program, args=browser.OPTIONS)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self) -> None:
        super().setUp()
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.sandbox = stack.enter_context(Sandbox())
        settings = {
            "ALLOWED_HOSTS": ["127.0.0.1"],
            "ANYMAIL": self.sandbox.anymail_settings(),
            "ROOT_URLCONF": ROOT_URLCONF,
        }
        stack.enter_context(use_backend("anymail.backends.postmark.EmailBackend", **settings))
        self.site = stack.enter_context(DemoSite())
        self.sandbox.webhook_url = self.site.webhook_url

    def open(self, path: str = "/", **options: Any) -> Page:
        context = self.browser.new_context(base_url=self.sandbox.base_url, **options)
        self.addCleanup(context.close)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(path)
        return page

    def send(self, subject: str = "Welcome, Ann", html: str = "<p>Hello", **fields: Any) -> str:
        """Send a message, and return the path of its page."""
        attachments = fields.pop("attachments", [])
        message = AnymailMessage(
            subject, "Hello", "shop@example.com", ["Ann <ann@example.net>"], **fields
        )
        message.attach_alternative(html, "text/html")
        for attachment in attachments:
            message.attach(*attachment)
        message.send()
        return f"/_sandbox/mail/{self.sandbox.messages[-1].number}"

    def test_round_trip(self):
        page = self.open()
        expect(page.get_by_text("Nothing has been sent yet")).to_be_visible()

        message = AnymailMessage("Welcome, Ann", "Hello", "shop@example.com", ["ann@example.net"])
        content_id = message.attach_inline_image(SAMPLE_IMAGE, "logo.png")
        html = f'<h1>Hello</h1><img src="cid:{content_id}" alt=Logo><a href="https://example.com/">'
        message.attach_alternative(html, "text/html")
        message.attach("terms.txt", "Be kind", "text/plain")
        message.send()
        page.get_by_role("link", name="Welcome, Ann").click()  # which has appeared by itself
        frame = page.frame_locator("[data-html]")
        expect(frame.get_by_role("heading", name="Hello")).to_be_visible()
        expect(frame.get_by_alt_text("Logo")).to_have_js_property("naturalWidth", 1)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download terms.txt").click()
        self.assertEqual(download.value.path().read_text(), "Be kind")
        with page.expect_popup() as popup:
            page.get_by_role("link", name="Open terms.txt").click()
        expect(popup.value.locator("pre")).to_have_text("Be kind")

        page.locator("[data-view=call]").click()
        expect(page.locator("[data-api-call]")).to_contain_text("/postmark/email")
        expect(page.locator("[data-api-answer]")).to_contain_text('"Message": "OK"')
        self.assertNotIn("sandbox-server-token", page.content())

        page.locator("[data-view=events]").click()
        page.locator("[data-report=clicked]").click()
        clicked = page.locator("[data-event=clicked]")
        expect(clicked).to_have_attribute("data-status", "200")
        expect(clicked).to_contain_text('"OriginalLink": "https://example.com/"')
        page.locator("[data-report=inbound]").click()
        expect(page.locator("[data-event=inbound]")).to_have_attribute("data-status", "200")
        self.assertEqual(
            [seen.event.event_type for seen in self.site.events], ["clicked", "inbound"]
        )

        def fail(**kwargs: Any) -> None:
            raise ValueError("No such <user>")

        signals.tracking.connect(fail)
        self.addCleanup(signals.tracking.disconnect, fail)
        with override_settings(DEBUG=True), self.assertLogs("django.request", "ERROR"):
            page.locator("[data-report=bounced]").click()
            expect(page.locator("[data-exception]")).to_have_text("ValueError: No such <user>")
        signals.tracking.disconnect(fail)
        page.get_by_role("button", name="Replay bounced").click()
        expect(page.locator("[data-event=bounced]")).to_have_count(2)
        expect(page.locator("[data-event=bounced]").first).to_have_attribute("data-status", "200")
        expect(page.locator("[data-latest]")).to_have_text("bounced")

        page.get_by_role("link", name="Write mail").click()
        page.get_by_label("Subject").fill("A question")
        page.get_by_label("Provider").last.select_option("mailgun")
        page.get_by_label("Files").set_input_files(
            {"name": "otázka.txt", "mimeType": "text/plain", "buffer": b"?"}
        )
        page.get_by_role("button", name="Receive").click()
        expect(page.locator("[data-event=inbound]")).to_have_attribute("data-status", "200")
        received = self.site.events[-1]
        self.assertEqual(received.esp_name, "Mailgun")
        self.assertEqual(received.event.message.subject, "A question")
        self.assertEqual(received.event.message.attachments[0].get_filename(), "otázka.txt")
        self.assertEqual(self.errors, [])

    def test_search(self):
        self.send("A needle", tags=["rare"])
        [needle] = self.sandbox.messages
        for number in range(60):
            hay = replace(needle.recipients[0], subject=f"Hay {number}", tags=())
            self.sandbox.store.add([replace(needle, subject="", recipients=(hay,))])
        page = self.open()
        page.keyboard.press("/")
        page.keyboard.type("needle")
        page.keyboard.press("Enter")
        expect(page.locator("[data-message]")).to_have_count(1)
        page.get_by_role("link", name="A needle").click()
        expect(page.locator("[data-message]")).to_have_count(
            1
        )  # the list is still that of the search
        page.get_by_label("Provider").select_option("Mailgun")
        expect(page.locator("[data-message]")).to_have_count(0)
        page.get_by_role("link", name="Show all").click()
        expect(page.locator("[data-message]")).to_have_count(50)
        page.get_by_role("link", name="Older").click()
        expect(page.locator("[data-message]")).to_have_count(11)
        page.get_by_role("link", name="A needle").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.locator("#counts")).to_contain_text("60 messages")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Clear all").click()
        expect(page.get_by_text("Nothing has been sent yet")).to_be_visible()

    def test_keyboard(self):
        for subject in ("three", "two", "one"):
            self.send(subject)
        page = self.open()
        for key, heading in (("j", "one"), ("j", "two"), ("j", "three"), ("k", "two")):
            page.keyboard.press(key)
            expect(page.get_by_role("heading", level=1)).to_have_text(heading)
            page.wait_for_load_state("domcontentloaded")  # it knows no keys before
        page.keyboard.press("2")
        expect(page.locator("[data-text]")).to_have_text("Hello")
        page.wait_for_load_state("domcontentloaded")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("j")  # does nothing meanwhile
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("/")
        page.keyboard.type("jk")
        expect(page.get_by_role("searchbox")).to_have_value("jk")
        page.keyboard.press("Escape")
        page.keyboard.press("u")
        expect(page.locator("body")).to_have_attribute("data-page", "list")

    def test_live_update(self):
        for number in range(20):
            path = self.send(f"Message {number}")
        page = self.open(f"{path}?view=events")
        rows = page.locator("#rows")
        page.get_by_role("link", name="Message 5").scroll_into_view_if_needed()
        page.get_by_role("link", name="Message 5").focus()
        place = page.get_by_role("link", name="Message 5").bounding_box()
        page.locator("[data-accepted]").evaluate("item => item.isOld = true")
        self.send("Newest")
        expect(page.locator("#counts")).to_have_text("21 messages")
        # What is read or chosen stays where it is, and what hasn't changed is left alone.
        after = page.get_by_role("link", name="Message 5").bounding_box()
        self.assertAlmostEqual(after["y"], place["y"], delta=1)  # browsers round it to pixels
        expect(page.get_by_role("link", name="Message 5")).to_be_focused()
        expect(page.locator("[data-accepted]")).to_have_js_property("isOld", True)
        self.sandbox.trigger(self.sandbox.messages[19], "opened")
        expect(page.locator("[data-event=opened]")).to_have_attribute("data-status", "200")
        expect(rows.locator(".event.opened")).to_have_count(1)
        self.sandbox.store.delete(self.sandbox.messages[19].number)
        expect(page.locator("body")).to_have_attribute("data-page", "list")

    def test_hostile_mail(self):
        with HttpServer(Answer(200, SAMPLE_IMAGE, {"Content-Type": "image/png"})) as elsewhere:
            evil = elsewhere.url
            script = "top.hacked = parent.hacked = self.hacked = 1; alert(1)"
            html = f"""<!doctype html>
                <meta http-equiv=refresh content="0;url={evil}/refresh"><base href="{evil}/base/">
                <script>{script}</script><script src="{evil}/script.js"></script>
                <style>@import "{evil}/import.css"; body {{ background: url({evil}/background) }}
                @font-face {{ font-family: x; src: url({evil}/font) }}
                p {{ font-family: x }}</style>
                <link rel=stylesheet href="{evil}/style.css"><link rel=preconnect href="{evil}">
                <link rel=prefetch href="{evil}/prefetch"><link rel=icon href="{evil}/icon">
                <img src=x onerror="{script}"><img src="{evil}/pixel.png" alt=pixel>
                <img srcset="{evil}/set.png 1x" alt="">
                <video poster="{evil}/poster" src="{evil}/video"></video>
                <svg onload="{script}"><script>{script}</script><image href="{evil}/svg"/></svg>
                <iframe srcdoc="<script>{script}</script>"></iframe>
                <iframe src="{evil}/frame"></iframe>
                <object data="{evil}/object"></object><embed src="{evil}/embed">
                <details open ontoggle="{script}"><summary>x</summary></details>
                <form method=post action="{self.sandbox.base_url}/_sandbox/clear" target=_top>
                <button>Get your prize</button></form>
                <p>Text <a href="javascript:{script}">Script</a>
                <a href="data:text/html,<script>{script}</script>">Data</a>
                <a href="{evil}/top" target=_top>Top</a>"""
            path = self.send(
                "\u202egpj.exe </title><script>top.hacked=1</script>",
                html,
                attachments=[
                    ("page.html", f"<script>{script}</script>", "text/html"),
                    ("image.svg", f"<svg onload='{script}'/>", "image/svg+xml"),
                ],
                metadata={"x": f"<img src=x onerror='{script}'>"},
                tags=["<svg onload=alert(1)>"],
            )
            page = self.open("/")
            dialogs = []
            page.context.on(
                "dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss())
            )
            for view in ("html", "text", "headers", "raw", "call", "links", "checks", "events"):
                page.goto(f"{path}?view={view}")
                self.assert_unharmed(page, path)
            page.goto(path)
            frame = page.frame_locator("[data-html]")
            expect(frame.get_by_text("Text")).to_be_visible()
            self.assertEqual(elsewhere.connections, 0)
            frame.get_by_role("button", name="Get your prize").click()
            frame.get_by_role("link", name="Script").click()
            frame.get_by_role("link", name="Data").click()
            frame.get_by_role("link", name="Top").click()
            page.wait_for_timeout(300)  # for what would be slow to do harm
            self.assert_unharmed(page, path)
            self.assertEqual(len(self.sandbox.messages), 1)
            self.assertEqual(elsewhere.requests, [])

            for direct in (f"{path}/html", f"{path}/files/0?show"):
                page.goto(direct)
                page.wait_for_timeout(100)
                self.assertFalse(page.evaluate("self.hacked"))
            expect(page.locator("pre")).to_contain_text("<script>")
            self.assertEqual(elsewhere.requests, [])

            page.goto(path)
            page.locator("[data-remote]").click()
            expect(page.frame_locator("[data-html]").get_by_alt_text("pixel")).to_have_js_property(
                "naturalWidth", 1
            )
            paths = {request.path for request in elsewhere.requests}
            self.assertIn("/pixel.png", paths)
            for harmful in ("/script.js", "/refresh", "/frame", "/object", "/embed"):
                self.assertNotIn(harmful, paths)
            self.assert_unharmed(page, path)
            self.assertEqual(dialogs, [])

    def assert_unharmed(self, page: Page, path: str) -> None:
        self.assertIn(path, page.url)
        for frame in page.frames:
            self.assertFalse(frame.evaluate("self.hacked"), frame.url)
        self.assertNotIn("\u202e", page.inner_text("body"))

    def test_other_sites(self):
        """Pages elsewhere, here on another port, can neither do nor read anything."""
        self.send()
        sandbox = self.sandbox.base_url
        attack = f"""<!doctype html>
            <form method=post action="{sandbox}/_sandbox/clear" target=out></form>
            <iframe name=out></iframe><iframe id=in src="{sandbox}/"></iframe>
            <script>document.forms[0].submit();
            fetch("{sandbox}/_sandbox/clear", {{method: "POST", mode: "no-cors"}}).catch(Date);
            Promise.allSettled([
                fetch("{sandbox}/_sandbox/messages").then((answer) => answer.text()),
                fetch("{sandbox}/_sandbox/messages", {{mode: "no-cors"}})
                    .then((answer) => answer.text()),
                new Promise((read, fail) => {{
                    const events = new EventSource("{sandbox}/_sandbox/live");
                    events.onerror = fail; events.onopen = read;
                }}),
            ]).then((all) => self.read = all.filter((one) => one.value).map((one) => one.value))
            </script>"""
        with HttpServer(Answer(200, attack.encode(), {"Content-Type": "text/html"})) as elsewhere:
            page = self.open(elsewhere.url)
            page.wait_for_function("self.read")
            self.assertEqual(page.evaluate("self.read"), [])
        self.assertEqual(len(self.sandbox.messages), 1)

    def test_phone(self):
        path = self.send(
            "A subject that is much longer than any phone is wide, " * 3,
            metadata={"averyverylongname": "x" * 99},
            headers={"X-Long": "y" * 200},
            attachments=[("a-rather-long-name-" * 5 + ".txt", "x", "text/plain")],
        )
        self.sandbox.trigger(self.sandbox.messages[0], "clicked")
        page = self.open(viewport=PHONE, has_touch=True)
        views = ("html", "text", "headers", "raw", "call", "links", "checks", "events")
        pages = ["/", "/_sandbox/inbound", "/_sandbox/calls", "/_sandbox/help"]
        for url in (*pages, *(f"{path}?view={view}" for view in views)):
            with self.subTest(url):
                page.goto(url)
                self.assertEqual(
                    page.evaluate("document.documentElement.scrollWidth"), PHONE["width"]
                )
        page.goto("/")
        page.get_by_role("link", name="A subject").tap()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator(".list")).to_be_hidden()
        page.get_by_role("link", name="All messages").tap()
        expect(page.locator(".list")).to_be_visible()

    def test_looks(self):
        """Names for everything that can be used, enough contrast, and nothing that jumps about."""
        image = ("logo.png", SAMPLE_IMAGE, "image/png")
        path = self.send(
            html='<a href="https://example.com/">x</a>',
            attachments=[image],
            tags=["t"],
            metadata={"a": "b"},
        )
        self.sandbox.trigger(self.sandbox.messages[0], "bounced")
        self.sandbox.webhook_secret = "wrong:secret"
        with self.assertLogs("django.security", "ERROR"):
            for event in ("delivered", "opened", "deferred", "inbound"):
                self.sandbox.trigger(self.sandbox.messages[0], event)
        self.sandbox.fail_next("account")
        with self.assertRaises(AnymailAPIError):
            self.send()
        views = ("html", "text", "headers", "raw", "call", "links", "checks", "events")
        pages = ["/", "/_sandbox/inbound", "/_sandbox/calls", "/?q=nothing", "/_sandbox/mail/0"]
        page = self.open()
        for url in (*pages, *(f"{path}?view={view}" for view in views)):
            with self.subTest(url):
                page.goto(url)
                self.assertLess(page.evaluate(SHIFTS), 0.01)  # 0.1 is said to be good
                self.assertEqual(page.evaluate(UNNAMED), [])
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    self.assertEqual(page.evaluate(FAINT), [], scheme)
        color = page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
        self.assertLess(max(int(channel) for channel in re.findall(r"\d+", color)), 60)

    def test_without_javascript(self):
        path = self.send()
        self.send("Another")
        page = self.open(java_script_enabled=False)
        page.get_by_role("searchbox").fill("welcome")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="Welcome, Ann").click()
        page.locator("[data-view=events]").click()
        page.locator("[data-report=delivered]").click()
        expect(page.locator("[data-event=delivered]")).to_have_attribute("data-status", "200")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("link", name="Show all").click()
        expect(page.locator("[data-message]")).to_have_count(1)
        self.assertEqual(len(self.sandbox.messages), 1)
        self.assertNotIn(path, page.content())
