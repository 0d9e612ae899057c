"""The bytes that backends send, and what they make of a real server's trouble.

Unlike test_contract.py, nothing is replaced here, from the backend to the network.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

import requests
from django.test import SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail import __version__
from anymail.exceptions import AnymailRequestsAPIError

from ..http_server import Answer, HttpServer, ReceivedRequest
from ..utils import make_message
from .cases import CASES
from .cases.base import BackendCase
from .harness import ApiCall


def _as_call(received: ReceivedRequest, base_url: str) -> ApiCall:
    """Return what arrived in the form that the cases' ``success`` expects."""
    request = requests.PreparedRequest()
    request.method = received.method
    request.url = base_url + received.path
    request.headers = requests.structures.CaseInsensitiveDict(received.headers)
    request.body = received.body
    return ApiCall(request)


class OverHttpTestCase(SimpleTestCase):
    case: ClassVar[BackendCase]

    def setUp(self) -> None:
        super().setUp()
        prefix = self.case.esp_name.upper().replace(" ", "_")
        settings = {
            f"{prefix}_{name.upper()}": self.case.options[name] for name in self.case.required
        }
        override = override_settings(ANYMAIL=settings)
        override.enable()
        self.addCleanup(override.disable)
        # Proxies in the environment of the tests are none of their business.
        override_proxies = requests.utils.set_environ("NO_PROXY", "127.0.0.1")
        override_proxies.__enter__()
        self.addCleanup(override_proxies.__exit__, None, None, None)

    def serve(self, *answers: Any) -> HttpServer:
        server = HttpServer(*(answers or [self.success]))
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def success(self, received: ReceivedRequest) -> Answer:
        assert self.case.success is not None
        response = self.case.success(_as_call(received, "https://api.example.com"))
        return Answer(response.status_code, response.content, dict(response.headers))

    def make_backend(self, server: HttpServer, backend_class: Any = None, **options: Any) -> Any:
        backend_class = backend_class or import_string(self.case.backend)
        return backend_class(api_url=f"{server.url}/base/", **options)

    def send(self, message: Any, **options: Any) -> ReceivedRequest:
        """Send a message, and return the request that arrived."""
        server = self.serve()
        self.assertEqual(self.make_backend(server, **options).send_messages([message]), 1)
        [received] = server.requests
        return received

    def assert_fails(
        self, server: HttpServer, backend_class: Any = None, **options: Any
    ) -> AnymailRequestsAPIError:
        with self.assertRaises(AnymailRequestsAPIError) as caught:
            self.make_backend(server, backend_class, **options).send_messages([make_message()])
        return caught.exception


# ---------------------------------------------------------------------------------------------
# For every backend
# ---------------------------------------------------------------------------------------------


class OverHttpContract(OverHttpTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    def test_request(self):
        message = make_message(subject="Grüße, 日本", to=["Zoë <to@bücher.example>"])
        received = self.send(message)
        self.assertEqual(received.method, "POST")
        self.assertTrue(received.path.startswith("/base/"), received.path)
        user_agent = received.header("User-Agent") or ""
        self.assertTrue(
            user_agent.startswith(f"django-anymail/{__version__}-{self.case.esp_name.lower()} ")
        )
        self.assertEqual(received.header("Content-Length"), str(len(received.body)))
        self.assertEqual(set(message.anymail_status.recipients), {"to@bücher.example"})
        self.assertEqual(message.anymail_status.status, set(self.case.statuses))

    def test_keep_alive(self):
        """All messages go through a single TCP connection."""
        server = self.serve()
        messages = [make_message(subject=f"Message {n}") for n in range(20)]
        self.assertEqual(self.make_backend(server).send_messages(messages), 20)
        self.assertEqual(len(server.requests), 20)
        self.assertEqual(server.connections, 1)

    def test_keep_alive_over_several_calls(self):
        server = self.serve()
        with self.make_backend(server) as backend:
            for _ in range(3):
                backend.send_messages([make_message()])
        self.assertEqual(server.connections, 1)

    def test_keep_alive_after_an_error(self):
        error = Answer(500, b"<p>Sorry</p>", {"Content-Type": "text/html"})
        server = self.serve(error, self.success)
        with self.make_backend(server) as backend:
            with self.assertRaises(AnymailRequestsAPIError):
                backend.send_messages([make_message()])
            backend.send_messages([make_message()])
        self.assertEqual(server.connections, 1)

    def test_keep_alive_between_backends(self):
        server = self.serve()
        for _ in range(3):
            self.make_backend(server).send_messages([make_message()])
        self.assertEqual(server.connections, 1)

    def test_no_keep_alive_between_backends(self):
        server = self.serve()
        for _ in range(2):
            self.make_backend(server, connection_max_idle=0).send_messages([make_message()])
        self.assertEqual(server.connections, 2)

    def test_chunked_answer(self):
        def answer(received: ReceivedRequest) -> Answer:
            success = self.success(received)
            return Answer(success.status, success.body, success.headers, chunked=True)

        server = self.serve(answer)
        message = make_message()
        self.assertEqual(self.make_backend(server).send_messages([message]), 1)
        self.assertEqual(message.anymail_status.status, set(self.case.statuses))

    def test_html_error(self):
        html = "<html><h1>502 Bad Gateway</h1>Grüße</html>".encode()
        server = self.serve(Answer(502, html, {"Content-Type": "text/html; charset=utf-8"}))
        error = self.assert_fails(server)
        self.assertEqual(error.status_code, 502)
        self.assertIn(f"{self.case.esp_name} API response 502 (Bad Gateway)", str(error))
        self.assertIn("<h1>502 Bad Gateway</h1>Grüße", str(error))

    def test_html_success(self):
        for status, page, media_type in (
            (200, b"<h1>It works!</h1>", "text/html; charset=utf-8"),
            (202, b"\n <!doctype HTML><title>Hello</title>", "text/plain"),
        ):
            headers = {"Content-Type": media_type, "X-Message-Id": "not-ours"}
            error = self.assert_fails(self.serve(Answer(status, page, headers)))
            self.assertEqual(error.status_code, status)
            self.assertIn("HTML page", str(error))
            self.assertIn("_API_URL", str(error))

    def test_redirects_are_not_followed(self):
        secrets = [self.case.options[name] for name in self.case.secret]
        other = self.serve(self.success)

        class OwnSessions(import_string(self.case.backend)):  # type: ignore[misc]
            def create_session(self) -> requests.Session:
                return requests.Session()

            def raise_for_status(self, response: Any, payload: Any, message: Any) -> None:
                """Accept everything."""

        for status in (301, 302, 303, 307, 308):
            query = "&".join(f"token={secret}" for secret in secrets)
            headers = {"Location": f"{other.url}/elsewhere?{query}"}
            server = self.serve(Answer(status, b"", headers))
            for backend_class in (import_string(self.case.backend), OwnSessions):
                with self.subTest(status, backend_class=backend_class):
                    error = self.assert_fails(server, backend_class)
                    self.assertEqual(error.status_code, status)
                    self.assertIn(f"{other.url}/elsewhere", str(error))
                    self.assertIn("_API_URL", str(error))
                    for secret in secrets:
                        self.assertNotIn(secret, str(error))
            self.assertEqual(len(server.requests), 2)
        self.assertEqual(other.requests, [])

    def test_timeout(self):
        server = self.serve(Answer(stall=True))
        started = time.monotonic()
        error = self.assert_fails(server, timeout=0.2)
        self.assertLess(time.monotonic() - started, 5)
        self.assertIsInstance(error, requests.ReadTimeout)
        self.assertIn(server.url, str(error))

    def test_connection_reset(self):
        for reset_after in (0, 1, 50):
            with self.subTest(reset_after=reset_after):
                server = self.serve(Answer(200, b"[" * 100, reset_after=reset_after))
                error = self.assert_fails(server)
                self.assertIsInstance(error, requests.RequestException)
                self.assertIsNotNone(error.__cause__)
                self.assertIn(server.url, str(error))
                self.assertIsNone(error.status_code)

    def test_nothing_listens(self):
        with HttpServer() as server:
            url = server.url
            backend = self.make_backend(server)
        with self.assertRaises(AnymailRequestsAPIError) as caught:
            backend.send_messages([make_message()])
        self.assertIsInstance(caught.exception, requests.ConnectionError)
        self.assertIn(url, str(caught.exception))

    def test_sending_goes_on_after_a_lost_connection(self):
        lost = Answer(200, b"[" * 100, reset_after=1)
        server = self.serve(self.success, lost, self.success)
        with self.make_backend(server) as backend:
            backend.send_messages([make_message()])
            with self.assertRaises(AnymailRequestsAPIError):
                backend.send_messages([make_message()])
            self.assertEqual(backend.send_messages([make_message()]), 1)
        self.assertEqual(server.connections, 2)


for _case in CASES.values():
    if _case.is_http and "api_url" in _case.options:
        _name = "".join(map(str.capitalize, _case.name.split("_"))) + "OverHttpTests"
        _attrs = {"case": _case, "__module__": __name__}
        globals()[_name] = type(_name, (OverHttpContract, OverHttpTestCase), _attrs)


# ---------------------------------------------------------------------------------------------
# The bytes
# ---------------------------------------------------------------------------------------------


class JsonBytesTests(OverHttpTestCase):
    case = CASES["minimal"]

    def test_json(self):
        received = self.send(
            make_message(
                subject="Grüße",
                body="日本\n",
                to=["Zoë <to@bücher.example>"],
                headers={"X-Custom": "naïve"},
            )
        )
        self.assertEqual(received.path, "/base/send")
        self.assertEqual(received.header("Content-Type"), "application/json")
        self.assertEqual(received.header("X-API-Key"), "minimal-api-key")
        self.assertEqual(
            json.loads(received.body),
            {
                "from": "from@example.com",
                "to": ["Zoë <to@xn--bcher-kva.example>"],
                "cc": [],
                "bcc": [],
                "subject": "Grüße",
                "reply_to": [],
                "headers": {"X-Custom": "naïve"},
                "text": "日本\n",
            },
        )


class PostmarkBytesTests(OverHttpTestCase):
    case = CASES["postmark"]

    def test_json(self):
        received = self.send(
            make_message(subject="Grüße", attachments=[("Übersicht.txt", "naïve", "text/plain")])
        )
        self.assertEqual(received.path, "/base/email")
        self.assertEqual(received.header("Content-Type"), "application/json")
        self.assertEqual(received.header("Accept"), "application/json")
        self.assertEqual(received.header("X-Postmark-Server-Token"), "postmark-server-token")
        self.assertEqual(
            json.loads(received.body),
            {
                "From": "from@example.com",
                "To": "to@example.com",
                "Subject": "Grüße",
                "TextBody": "Text body",
                "Attachments": [
                    {
                        "Name": "Übersicht.txt",
                        "Content": "bmHDr3Zl",
                        "ContentType": 'text/plain; charset="utf-8"',
                    }
                ],
            },
        )


class MailgunBytesTests(OverHttpTestCase):
    case = CASES["mailgun"]

    def test_urlencoded(self):
        received = self.send(
            make_message(
                subject="Grüße & more",
                to=["Zoë <to@bücher.example>", "other@example.com"],
                tags=["a b", "c"],
            )
        )
        self.assertEqual(received.path, "/base/example.com/messages")
        self.assertEqual(received.header("Content-Type"), "application/x-www-form-urlencoded")
        authorization = b64encode(b"api:mailgun-api-key").decode()
        self.assertEqual(received.header("Authorization"), f"Basic {authorization}")
        self.assertTrue(received.body.isascii())
        self.assertEqual(
            parse_qsl(received.body.decode(), strict_parsing=True),
            [
                ("from", "from@example.com"),
                ("to", "Zoë <to@xn--bcher-kva.example>"),
                ("to", "other@example.com"),
                ("subject", "Grüße & more"),
                ("text", "Text body"),
                ("o:tag", "a b"),
                ("o:tag", "c"),
            ],
        )

    def test_multipart(self):
        received = self.send(
            make_message(
                subject="Grüße",
                attachments=[
                    ('Über"sicht.txt', "naïve", "text/plain"),
                    ("日本.bin", b"\x00\r\n\xff--", "application/octet-stream"),
                ],
            )
        )
        content_type, _, boundary = (received.header("Content-Type") or "").partition("; boundary=")
        self.assertEqual(content_type, "multipart/form-data")
        parts = received.body.split(b"--" + boundary.encode())
        self.assertEqual((parts[0], parts[-1]), (b"", b"--\r\n"))
        self.assertEqual(
            parts[1:-1],
            [
                self.part('name="from"', b"from@example.com"),
                self.part('name="to"', b"to@example.com"),
                self.part('name="subject"', "Grüße".encode()),
                self.part('name="text"', b"Text body"),
                # File names as in RFC 7578: UTF-8, and no encoding of their own.
                self.part(
                    'name="attachment"; filename="Über%22sicht.txt"',
                    "naïve".encode(),
                    'text/plain; charset="utf-8"',
                ),
                self.part(
                    'name="attachment"; filename="日本.bin"',
                    b"\x00\r\n\xff--",
                    "application/octet-stream",
                ),
            ],
        )

    def part(self, disposition: str, content: bytes, content_type: str | None = None) -> bytes:
        lines = ["", f"Content-Disposition: form-data; {disposition}"]
        if content_type is not None:
            lines.append(f"Content-Type: {content_type}")
        return "\r\n".join([*lines, "", ""]).encode() + content + b"\r\n"
