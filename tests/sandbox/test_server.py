from __future__ import annotations

import errno
import json
import socket
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import requests
from django.core.mail import EmailMultiAlternatives
from django.test import SimpleTestCase

from anymail.addresses import EmailAddress
from anymail.providers import PROVIDERS
from anymail.providers import Provider as RegisteredProvider
from anymail.sandbox import Sandbox, UnsupportedEvent, WebhookCall
from anymail.sandbox.providers import InboundMail, Provider, load_provider
from anymail.sandbox.server import MAX_BODY, LoopbackServer
from anymail.sandbox.store import Store

from ..utils import use_backend
from .cases import SandboxTestCase

POSTMARK = {"X-Postmark-Server-Token": "sandbox-server-token"}
MESSAGE = {
    "From": "shop@example.com",
    "To": "Ann <ann@example.net>, bo@example.net",
    "Subject": "<b>Hi</b>",
    "TextBody": "<script>alert(1)</script>",
    "Tag": "t",
    "Metadata": {"order": 1},
    "Headers": [{"Name": "X-A", "Value": "1"}],
    "Attachments": [{"Name": "a.txt", "Content": "AAEC", "ContentType": "text/plain"}],
}


class WebhookSink(LoopbackServer, ThreadingHTTPServer):
    """Records requests, and answers with ``status``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        super().__init__(0, _SinkHandler)


class _SinkHandler(BaseHTTPRequestHandler):
    server: WebhookSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://192.0.2.1/")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class SinkTestCase(SandboxTestCase):
    """Has a sandbox that posts its webhooks to ``sink``."""

    def setUp(self) -> None:
        super().setUp()
        self.sink = WebhookSink()
        self.sink.start()
        self.addCleanup(self.sink.stop)
        self.sandbox.webhook_url = f"{self.sink.base_url}/anymail/"

    def send(self, **fields: object) -> str:
        return self.post_json("/postmark/email", {**MESSAGE, **fields}, **POSTMARK).json[
            "MessageID"
        ]


class HttpTests(SandboxTestCase):
    def raw(self, request: bytes) -> bytes:
        with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    @property
    def port(self) -> int:
        return urlsplit(self.sandbox.base_url).port or 0

    def test_only_on_loopback(self):
        self.assertEqual(self.sandbox._server.socket.getsockname()[0], LOOPBACK)
        self.assertEqual(urlsplit(self.sandbox.base_url).hostname, LOOPBACK)

    def test_keep_alive(self):
        connection = HTTPConnection(LOOPBACK, self.port, timeout=5)
        self.addCleanup(connection.close)
        sockets = set()
        for method, path in (("GET", "/"), ("POST", "/postmark/email"), ("HEAD", "/")):
            connection.request(method, path, b"" if method == "POST" else None)
            response = connection.getresponse()
            body = response.read()
            self.assertEqual(bool(body), method != "HEAD")
            self.assertEqual(response.version, 11)
            sockets.add(connection.sock)
        self.assertEqual(len(sockets), 1)
        self.assertNotIn(None, sockets)

    def test_stop_closes_connections(self):
        sandbox = Sandbox()
        sandbox.start()
        connection = HTTPConnection(LOOPBACK, urlsplit(sandbox.base_url).port, timeout=5)
        self.addCleanup(connection.close)
        connection.request("GET", "/")
        connection.getresponse().read()
        before = threading.active_count()
        sandbox.stop()
        self.assertEqual(connection.sock.recv(1), b"")
        self.assertLess(threading.active_count(), before)
        with self.assertRaises(OSError):
            socket.create_connection((LOOPBACK, urlsplit(sandbox.base_url).port), timeout=5)

    def test_stop_without_start(self):
        Sandbox().stop()

    def test_malformed_requests(self):
        cases = {
            b"GET\r\n\r\n": 400,
            b"BREW /postmark/email HTTP/1.1\r\n\r\n": 501,
            b"POST /postmark/email HTTP/1.1\r\nContent-Length: x\r\n\r\n": 400,
            b"POST /postmark/email HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 400,
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n": 413,
            b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1): 413,
            b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort": 400,
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 411,
            b"GET http://[ HTTP/1.1\r\n\r\n": 404,
            b"\xff\xfe\r\n\r\n": 400,
        }
        for request, status in cases.items():
            with self.subTest(request[:40]):
                # Older Python versions answer without a status line if there is no version.
                self.assertRegex(self.raw(request), rb"\A(HTTP/1.1|<!DOCTYPE[^$]*:) %d\b" % status)
        self.assertEqual(self.raw(b""), b"")
        self.assertEqual(self.call("/", method="GET").status, 200)

    def test_no_answer_after_a_body_that_is_not_read(self):
        # What follows would be taken for the next request.
        answer = self.raw(
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        self.assertEqual(answer.count(b"HTTP/1.1"), 1)
        self.assertIn(b"Connection: close", answer)

    def test_client_that_goes_away(self):
        connection = socket.create_connection((LOOPBACK, self.port), timeout=5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with self.assertLogs("anymail.sandbox", "DEBUG") as logs:
            connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n1")
            connection.close()
            self.assertEqual(self.call("/", method="GET").status, 200)
            self.sandbox.stop()
        self.assertIn("Connection failed: ", "".join(logs.output))

    def test_unknown_provider(self):
        answer = self.call("/nosuch/v1/send", "{}")
        self.assertEqual(answer.status, 404)
        for name in PROVIDERS:
            self.assertIn(name, answer.text)

    def test_malformed_body_that_the_provider_does_not_handle(self):
        with patch.object(self.sandbox.providers["postmark"], "handle", lambda r: r.json()):
            answer = self.call("/postmark/email", b"{")
        self.assertEqual((answer.status, answer.text), (400, "The body is not JSON in UTF-8"))

    def test_bug_in_a_provider(self):
        with (
            patch.object(self.sandbox.providers["postmark"], "handle", lambda request: 1 / 0),
            self.assertLogs("anymail.sandbox", "ERROR") as logs,
        ):
            self.assertEqual(self.call("/postmark/email", b"{}").status, 500)
        self.assertIn("ZeroDivisionError", logs.output[0])
        self.assertEqual(self.call("/", method="GET").status, 200)

    def test_credentials_are_not_logged(self):
        with self.assertLogs("anymail.sandbox", "DEBUG") as logs:
            self.post_json("/postmark/email?key=secret", MESSAGE, **POSTMARK)
        self.assertIn("POST /postmark/email: 200", logs.output[0])
        self.assertNotIn("sandbox-server-token", "".join(logs.output))
        self.assertNotIn("alert", "".join(logs.output))

    def test_concurrent_requests(self):
        def send() -> None:
            for _ in range(10):
                self.post_json("/postmark/email", MESSAGE, **POSTMARK)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = {message.message_ids[0] for message in self.sandbox.messages}
        self.assertEqual(len(ids), 40)


LOOPBACK = "127.0.0.1"


class ControlTests(SinkTestCase):
    def test_json(self):
        message_id = self.send()
        expected = {
            "provider": "postmark",
            "from": "shop@example.com",
            "subject": "<b>Hi</b>",
            "track_opens": None,
            "inline_images": [],
        }
        attachment = {
            "filename": "a.txt",
            "content_type": "text/plain",
            "content_id": "",
            "size": 3,
        }
        copy = {
            "kind": "to",
            "address": "ann@example.net",
            "display_name": "Ann",
            "message_id": message_id,
            "to": MESSAGE["To"],
            "subject": "<b>Hi</b>",
            "text": MESSAGE["TextBody"],
            "html": "",
            "headers": {"X-A": "1"},
            "metadata": {"order": "1"},
            "tags": ["t"],
            "merge_data": {},
        }
        for path, headers in (
            ("/_sandbox/messages", {}),
            ("/", {"Accept": "application/json"}),
        ):
            with self.subTest(path):
                answer = self.call(path, headers=headers, method="GET")
                self.assertEqual(answer.headers["Content-Type"], "application/json")
                [message] = answer.json["messages"]
                self.assertEqual({**message, **expected}, message)
                self.assertEqual(message["attachments"], [attachment])
                self.assertEqual(message["recipients"][0], copy)

    def test_clear(self):
        self.send()
        self.assertEqual(self.call("/_sandbox/messages", method="DELETE").status, 204)
        self.assertEqual(self.sandbox.messages, [])

    def test_unknown_paths(self):
        for method, path in (
            ("GET", "/_sandbox/nosuch"),
            ("DELETE", "/"),
            ("POST", "/"),
            ("POST", "/_sandbox/messages"),
            ("PUT", "/_sandbox/postmark/1/opened"),
        ):
            with self.subTest(method=method, path=path):
                self.assertEqual(self.call(path, method=method).status, 404)

    def test_trigger(self):
        message_id = self.send()
        answer = self.call(f"/_sandbox/postmark/{message_id}/opened")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.json, {"event": "opened", "recipient": "ann@example.net", "site_status": 200}
        )
        [(path, headers, body)] = self.sink.calls
        self.assertEqual(path, "/anymail/postmark/tracking/")
        self.assertEqual(json.loads(body)["RecordType"], "Open")
        self.assertEqual(headers["Content-Type"], "application/json")

    def test_trigger_for_a_recipient(self):
        message_id = self.send()
        self.call(f"/_sandbox/postmark/{message_id}/bounced?recipient=BO%40example.net")
        [(_path, _headers, body)] = self.sink.calls
        self.assertEqual(json.loads(body)["Email"], "bo@example.net")

    def test_trigger_inbound(self):
        message_id = self.send()
        for query, raw in (("", False), ("?raw", True)):
            self.call(f"/_sandbox/postmark/{message_id}/inbound{query}")
            path, _headers, body = self.sink.calls[-1]
            self.assertEqual(path, "/anymail/postmark/inbound/")
            payload = json.loads(body)
            self.assertEqual("RawEmail" in payload, raw)
            self.assertEqual(payload["FromFull"]["Email"], "ann@example.net")
            self.assertEqual(payload["Subject"], "Re: <b>Hi</b>")
            self.assertEqual(len(payload["Attachments"]), 1)

    def test_trigger_that_is_not_possible(self):
        message_id = self.send()
        for path, status, text in (
            (f"postmark/{message_id}/exploded", 400, "not 'exploded'"),
            (f"postmark/{message_id}/opened?recipient=x", 404, "no recipient 'x'"),
            ("postmark/nosuch/opened", 404, "'nosuch'"),
            (f"mailgun/{message_id}/opened", 404, "through mailgun"),
            (f"nosuch/{message_id}/opened", 404, "through nosuch"),
        ):
            with self.subTest(path):
                answer = self.call(f"/_sandbox/{path}")
                self.assertEqual(answer.status, status)
                self.assertIn(text, answer.json["error"])
        self.sandbox.webhook_url = None
        answer = self.call(f"/_sandbox/postmark/{message_id}/opened")
        self.assertEqual(answer.status, 400)
        self.assertIn("webhook_url", answer.json["error"])

    def test_site_that_refuses(self):
        message_id = self.send()
        for status in (400, 500, 302):
            self.sink.status = status
            answer = self.call(f"/_sandbox/postmark/{message_id}/opened")
            # requests counts redirects as ok; they are not followed
            self.assertEqual(answer.json["site_status"], status)
            self.assertEqual(answer.status, 502)

    def test_site_that_is_down(self):
        message_id = self.send()
        self.sink.stop()
        answer = self.call(f"/_sandbox/postmark/{message_id}/opened")
        self.assertEqual(answer.status, 502)
        self.assertIn("ConnectionError", answer.json["error"])

    def test_message_id_with_angle_brackets(self):
        self.send()
        [message] = self.sandbox.messages
        message_id = quote(f"<{message.message_ids[0]}>", safe="")
        self.assertEqual(self.call(f"/_sandbox/postmark/{message_id}/opened").status, 200)

    def test_other_sites_have_no_access(self):
        message_id = self.send()
        own = self.sandbox.base_url
        localhost = own.replace("127.0.0.1", "localhost")
        for headers, allowed in (
            ({"Origin": own}, True),
            ({"Origin": localhost, "Host": localhost.removeprefix("http://")}, True),
            ({"Origin": "https://evil.example"}, False),
            ({"Origin": "null"}, False),
            ({"Origin": "http://127.0.0.1:1"}, False),
            ({"Origin": "http://127.0.0.1:x"}, False),
            ({"Origin": localhost}, False),
            ({"Sec-Fetch-Site": "same-origin"}, True),
            ({"Sec-Fetch-Site": "same-site"}, False),
            ({"Sec-Fetch-Site": "cross-site"}, False),
            ({"Host": "evil.example"}, False),
            ({"Host": "127.0.0.1.evil.example"}, False),
        ):
            with self.subTest(headers):
                status = 200 if allowed else 403
                path = f"/_sandbox/postmark/{message_id}/opened"
                self.assertEqual(self.call(path, headers=headers).status, status)
                self.assertEqual(self.call("/", headers=headers, method="GET").status, status)
                answer = self.call("/postmark/email", b"", headers)
                self.assertEqual(answer.status == 403, not allowed)

    def test_links_from_other_sites(self):
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        self.assertEqual(self.call("/", headers=link, method="GET").status, 200)
        self.assertEqual(self.call("/_sandbox/clear", headers=link).status, 403)


class SandboxTests(SinkTestCase):
    def test_settings(self):
        settings = self.sandbox.anymail_settings()
        self.assertEqual(settings["POSTMARK_API_URL"], f"{self.sandbox.base_url}/postmark/")
        self.assertEqual(settings["MAILGUN_API_URL"], f"{self.sandbox.base_url}/mailgun/v3/")
        self.assertEqual(settings["WEBHOOK_SECRET"], self.sandbox.webhook_secret)
        self.assertEqual(
            self.sandbox.anymail_settings("postmark").keys(),
            {"WEBHOOK_SECRET", "POSTMARK_SERVER_TOKEN", "POSTMARK_API_URL"},
        )
        with self.assertRaisesMessage(LookupError, "'nosuch'"):
            self.sandbox.anymail_settings("nosuch")

    def test_backends(self):
        """What the documentation shows."""
        for provider in self.sandbox.providers.values():
            with self.subTest(provider.name):
                with use_backend(provider.backend, ANYMAIL=self.sandbox.anymail_settings()):
                    message = EmailMultiAlternatives(
                        "Hello, Ann Example",
                        "How are you?",
                        "shop@example.com",
                        ["ann@example.net"],
                    )
                    # Brevo takes nothing without it.
                    message.attach_alternative("<p>How are you?", "text/html")
                    self.assertEqual(message.send(), 1)
                self.assertEqual(
                    self.sandbox.messages[-1].recipients[0].subject, "Hello, Ann Example"
                )
                self.assertEqual(
                    str(message.anymail_status.message_id),  # Postal's are numbers
                    self.sandbox.messages[-1].message_ids[0],
                )

    def test_webhook_url_must_be_on_loopback(self):
        for url in (
            "http://192.0.2.1/anymail/",
            "http://example.com/",
            "http://127.0.0.1.example.com/",
            "http://localhost@example.com/",
            "http://[::2]/",
            "http://[",
            "anymail/",
            "",
        ):
            with (
                self.subTest(url),
                self.assertRaisesMessage(ValueError, "this computer"),
            ):
                self.sandbox.webhook_url = url
        with self.assertRaises(ValueError):
            Sandbox(webhook_url="http://example.com/")
        for url in ("http://localhost:1/", "http://127.1.2.3/", "http://[::1]:8000/a/", None):
            self.sandbox.webhook_url = url
            self.assertEqual(self.sandbox.webhook_url, url)

    def test_webhook_secret(self):
        self.sandbox.webhook_secret = "us er:p@ss:wo/rd"
        self.send()
        self.sandbox.trigger(self.sandbox.messages[0], "delivered")
        [(path, headers, _body)] = self.sink.calls
        self.assertEqual(path, "/anymail/postmark/tracking/")
        self.assertEqual(headers["Authorization"], "Basic dXMgZXI6cEBzczp3by9yZA==")

        self.sandbox.webhook_secret = ""
        self.sandbox.trigger(self.sandbox.messages[0], "delivered")
        self.assertNotIn("Authorization", self.sink.calls[-1][1])

    def test_proxies_are_not_used(self):
        self.send()
        proxy = "http://127.0.0.1:9"
        environment = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""}
        with patch.dict("os.environ", environment):
            answer = self.sandbox.trigger(self.sandbox.messages[0], "delivered")
        self.assertEqual(answer.status_code, 200)

    def test_redirects_are_not_followed(self):
        self.sink.status = 302
        answer = self.sandbox.send_webhook(WebhookCall.json(self.sink.base_url, {}))
        self.assertEqual(answer.status_code, 302)

    def test_unsupported_event(self):
        self.send()
        with self.assertRaisesMessage(UnsupportedEvent, "Postmark reports bounced, clicked"):
            self.sandbox.tracking_webhook(self.sandbox.messages[0], "exploded")

    def test_no_webhook_url(self):
        self.send()
        self.sandbox.webhook_url = None
        with self.assertRaisesMessage(ValueError, "webhook_url"):
            self.sandbox.trigger(self.sandbox.messages[0], "opened")

    def test_site_without_answer(self):
        self.send()
        self.sink.stop()
        with self.assertRaises(requests.ConnectionError):
            self.sandbox.trigger(self.sandbox.messages[0], "opened")

    def test_port_that_is_taken(self):
        with self.assertRaises(OSError):
            Sandbox(port=urlsplit(self.sandbox.base_url).port or 0)
        for number, port, text in (
            (errno.EADDRINUSE, 8026, "port 8026 is taken, by another sandbox or something else$"),
            (errno.EACCES, 80, "permitted"),
        ):
            error = OSError(number, "permitted")
            with (
                patch("socketserver.TCPServer.server_bind", side_effect=error),
                self.assertRaisesRegex(OSError, text),
            ):
                Sandbox(port=port)

    def test_clear(self):
        self.send()
        self.sandbox.clear()
        self.assertEqual(self.sandbox.messages, [])


class ProviderTests(SimpleTestCase):
    def test_names(self):
        for name in PROVIDERS:
            provider = load_provider(name, Store())
            self.assertEqual(provider.name, name)
        with self.assertRaisesMessage(LookupError, "'nosuch', only"):
            load_provider("nosuch", Store())

    def test_provider_without_inbound_mail(self):
        class Outbound(Provider):
            name = "outbound"
            anymail_settings = handle = tracking_webhook = None  # type: ignore[assignment]

        mail = InboundMail(
            EmailAddress("", "a@example.com"), EmailAddress("", "b@example.com"), "Hi", "Text"
        )
        with (
            patch.dict(PROVIDERS, outbound=RegisteredProvider("outbound", "Outbound", webhooks=())),
            self.assertRaisesMessage(UnsupportedEvent, "Outbound does not receive mail"),
        ):
            Outbound(Store()).inbound_webhook(None, mail)  # type: ignore[arg-type]
