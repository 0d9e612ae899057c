"""What is left out of calls with requests makes no difference: not to servers, nor to hooks."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock, create_autospec, patch

import requests
from django.test import SimpleTestCase, override_settings
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase, HTTPDigestAuth
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, Retry
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util import SKIP_HEADER

from anymail.backends.postmark import EmailBackend
from anymail.exceptions import AnymailRequestsAPIError
from anymail.http import no_netrc, no_redirect
from anymail.sending import lean
from anymail.sending.connections import make_adapter

from ..http_server import Answer, HttpServer
from ..tls import make_certificate, server_context
from ..utils import make_message, skip_without

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def answer(*headers: str, body: bytes = b"{}", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class _Recorder(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        while received := self._receive():
            self.server.received.append(received)
            answers = self.server.answers
            self.wfile.write(answers.pop(0) if answers else ANSWER)

    def _receive(self) -> bytes:
        received, length = b"", 0
        while line := self.rfile.readline():
            received += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            if line == b"\r\n":
                break
        if not length and b"\r\nTransfer-Encoding: chunked\r\n" in received:
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += self.rfile.readline()
        return received + self.rfile.read(length)


class Wire(socketserver.ThreadingTCPServer):
    """A server, or proxy, that keeps the requests as they arrived: all bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.received: list[bytes] = []
        self.answers: list[bytes] = []
        self.host = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()


def plain_session(session_class: Any = requests.Session) -> Any:
    session = session_class()
    session.auth = no_netrc
    session.get_redirect_target = no_redirect
    return session


def session_like_ours(session_class: Any = requests.Session) -> Any:
    session = plain_session(session_class)
    adapter = make_adapter(30)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Signed(AuthBase):
    """Signs a request, whose body and URL it must get to see."""

    def __call__(self, request: Any) -> Any:
        request.headers["Signature"] = f"{request.method} {request.url} {request.body!r}"
        request.body = b"replaced " + request.body
        return request


@dataclass
class Case:
    """A call, and what it finds. Texts can have {host}, and {url} for the URL of the server."""

    params: dict[str, Any] = field(default_factory=dict)
    session: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)
    calls: int = 2


NO_TUNNELS = [answer("Connection: close", status="403 No")] * 2
PROXY = {"http": "http://{host}", "https": "http://{host}"}
FILES = [("file", ("name.txt", b"content", "text/plain")), ("other", ("ü.bin", b"\0\xff"))]

CASES: dict[str, Case] = {
    "JSON as text": Case({"data": '{"a": "b"}', "headers": {"Content-Type": "application/json"}}),
    "text that is not ASCII": Case({"data": "ü€"}),
    "bytes": Case({"data": b"\0\xff\r\n"}),
    "bytes of another type": Case({"data": bytearray(b"abc")}),
    "json": Case({"json": {"a": ["ü", None]}}),
    "empty json": Case({"json": {}}),
    "data counts more than json": Case({"data": "data", "json": {"a": 1}}),
    "no body": Case(),
    "no body of GET": Case({"method": "get"}),
    "empty body": Case({"data": ""}),
    "empty form": Case({"data": {}}),
    "form": Case({"data": {"a": ["1", "ü &="], "b": "c"}}),
    "form of pairs": Case({"data": [("a", 1), ("a", "2")]}),
    "form with its own type": Case({"data": {"a": "b"}, "headers": {"content-type": "text/x"}}),
    "multipart": Case({"data": {"a": "b", "c": ["d", "e"]}, "files": FILES}),
    "multipart without data": Case({"files": FILES}),
    "text with files": Case({"data": "text", "files": FILES}),
    "empty files": Case({"data": {"a": "b"}, "files": []}),
    "file": Case({"data": partial(io.BytesIO, b"of a file")}),
    "generator": Case({"data": partial(iter, [b"a", b"bc"])}),
    "method": Case({"method": "pAtch", "data": "x"}),
    "credentials": Case({"auth": ("user", "secret:ü")}),
    "credentials in a list": Case({"auth": ["user", "secret"]}),
    "empty credentials": Case({"auth": ()}),
    "auth of the session": Case(session={"auth": ("user", "secret")}),
    "auth of both": Case({"auth": ("other", "secret")}, {"auth": ("user", "secret")}),
    "no auth": Case(session={"auth": None}),
    "auth from netrc": Case(session={"auth": None}, environment={"NETRC": "{netrc}"}),
    "netrc isn't read": Case(environment={"NETRC": "{netrc}"}),
    "netrc isn't trusted": Case(
        {}, {"auth": None, "trust_env": False}, environment={"NETRC": "{netrc}"}
    ),
    "auth that signs": Case({"auth": Signed(), "data": b"body"}),
    "digest": Case(
        {"auth": partial(HTTPDigestAuth, "user", "secret"), "data": "x"},
        answers=[
            answer(
                'WWW-Authenticate: Digest realm="r", nonce="n", opaque="o"',
                "Set-Cookie: step=one",
                status="401 Unauthorized",
            )
        ],
    ),
    "credentials in the URL": Case({"url": "http://user:secret@{host}/path"}),
    "credentials in the URL and no auth": Case(
        {"url": "http://user:s%20ecret@{host}/path"}, {"auth": None}
    ),
    "params": Case({"url": "{url}?a=b#c", "params": {"d": ["e", "ü"], "f": None}}),
    "params as text": Case({"params": "a=ü&b"}),
    "params as pairs": Case({"params": [("a", 1), ("a", 2)]}),
    "params of the session": Case(session={"params": {"a": "b"}}),
    "params of both": Case({"params": {"a": "c", "d": None}}, {"params": {"a": "b", "d": "e"}}),
    "URL that is not ASCII": Case({"url": "http://{host}/pfäd/%7e %zz?q=ü"}),
    "URL without a path": Case({"url": "http://{host}"}),
    "URL with a query only": Case({"url": "http://{host}?a=b"}),
    "URL with spaces before": Case({"url": "  {url}"}),
    "URL with a fragment": Case({"url": "{url}#fragment"}),
    "URL with dots": Case({"url": "http://{host}/a/../b/./c//d"}),
    "URL in upper case": Case({"url": "HTTP://{host}/Path"}),
    "URL as bytes": Case({"url": b"{url}"}),
    "URL without a scheme": Case({"url": "{host}/path"}),
    "URL without a host": Case({"url": "http:///path"}),
    "URL with an invalid host": Case({"url": "http://*.example/"}),
    "URL of another scheme": Case({"url": "ftp://{host}/"}),
    "URL with an invalid port": Case({"url": "http://127.0.0.1:port/"}),
    "headers": Case({"headers": {"X-One": "1", "x-two": "ä b ", "user-agent": "mine"}}),
    "headers replaced": Case(
        {"headers": {"USER-AGENT": "theirs", "Accept": "text/x"}},
        {"headers": {"User-Agent": "ours", "X-Session": "session"}},
    ),
    "headers removed": Case(
        {"headers": {"User-Agent": None, "accept": None, "X-Gone": None}},
        {"headers": {"X-Gone": "1", "X-None": None}},
    ),
    "headers of another type": Case(session={"headers": OrderedDict(a="b", C="d")}),
    "header values": Case({"headers": {"Empty": "", "Bytes": b"b\xff", b"Name": "n"}}),
    "header as a number": Case({"headers": {"Number": 1}}),
    "header as a list": Case({"headers": {"List": ["a"]}}),
    "header with a line break": Case({"headers": {"Break": "a\r\nb"}}),
    "header with a space before": Case({"headers": {"Space": " a"}}),
    "header name with a line break": Case({"headers": {"Br\neak": "a"}}),
    "header that is not in Latin 1": Case({"headers": {"Euro": "€"}}),
    "headers as pairs": Case({"headers": [("a", "b")]}),
    "headers of urllib3's, left out": Case({"headers": {"User-Agent": SKIP_HEADER, "B": "b"}}),
    "Host": Case({"headers": {"Host": "other.example"}}),
    "length": Case({"data": "abc", "headers": {"Content-Length": "7"}}),
    "transfer encoding": Case({"data": "abc", "headers": {"Transfer-Encoding": "chunked"}}),
    "cookies": Case(
        answers=[answer("Set-Cookie: a=b; Path=/", "Set-Cookie: c=d; Max-Age=0")], calls=2
    ),
    "cookies of old": Case(answers=[answer('Set-Cookie2: a=b; Version="1"')]),
    "cookies of the session": Case(session={"cookies": {"a": "b"}}),
    "cookies of the call": Case({"cookies": {"a": "b"}}),
    "cookie as a header": Case(
        {"headers": {"Cookie": "mine=1"}}, answers=[answer("Set-Cookie: a=b")], calls=2
    ),
    "gzip": Case(
        answers=[answer("Content-Encoding: gzip", body=gzip.compress(b'{"a": 1}', mtime=0))]
    ),
    "broken gzip": Case(answers=[answer("Content-Encoding: gzip", body=b"broken")]),
    "charset": Case(answers=[answer("Content-Type: text/plain; charset=utf-16", body=b"a\0b\0")]),
    "no charset": Case(answers=[answer("Content-Type: text/plain", body=b"\xfc")]),
    "chunks": Case(
        answers=[
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
        ],
    ),
    "repeated headers": Case(answers=[answer("X-Test: a", "x-test: b", "X-Fold: a\r\n b")]),
    "malformed headers": Case(answers=[answer("no colon", "X-Late: a")]),
    "odd headers": Case(answers=[answer("X-Latin: \u00fc", "X-Empty:", " X-Space : 1")]),
    "no reason": Case(answers=[answer(status="299")]),
    "no content": Case(answers=[b"HTTP/1.1 204 No Content\r\n\r\n"]),
    "interim answer": Case(answers=[b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER]),
    "end of a connection": Case(answers=[answer("Connection: close")]),
    "HTTP 1.0": Case(answers=[answer().replace(b"HTTP/1.1", b"HTTP/1.0")]),
    "no HTTP": Case(answers=[b"hello\r\n\r\n"]),
    "error": Case(answers=[answer(status="503 Not Now")]),
    "redirect": Case(answers=[answer("Location: /other", status="307 Elsewhere")]),
    "redirect not allowed": Case(
        {"allow_redirects": False}, answers=[answer("Location: /other", status="302 Elsewhere")]
    ),
    "no timeout": Case({"timeout": None}),
    "timeouts": Case({"timeout": (3, 5.5)}),
    "invalid timeout": Case({"timeout": (1, 2, 3)}),
    "unknown argument": Case({"unknown": 1}),
    "stream": Case({"stream": True}),
    "stream of the session": Case(session={"stream": True}),
    "proxies": Case({"url": "http://esp.example/path?q", "proxies": PROXY}),
    "proxies of the session": Case({"url": "http://esp.example/path"}, {"proxies": PROXY}),
    "proxy for one host": Case(
        {"url": "http://esp.example/path"}, {"proxies": {"http://esp.example": "{host}"}}
    ),
    "no proxy for this host": Case(session={"proxies": {"http://esp.example": "http://*"}}),
    "tunnel": Case({"url": "https://esp.example/path"}, {"proxies": PROXY}, answers=NO_TUNNELS),
    "tunnel of the environment": Case(
        {"url": "https://esp.example:444/path"},
        environment={"HTTPS_PROXY": "http://u:p@{host}"},
        answers=NO_TUNNELS,
    ),
    "proxy of the environment": Case(
        {"url": "http://user:p@esp.example/path#f"},
        environment={"http_proxy": "http://user:secret@{host}"},
    ),
    "proxy for all of the environment": Case(
        {"url": "http://esp.example/path"}, environment={"ALL_PROXY": "http://{host}"}
    ),
    "proxy that doesn't speak HTTP": Case(
        {"url": "http://esp.example/path"}, environment={"ALL_PROXY": "socks5://127.0.0.1:1"}
    ),
    "proxy with TLS": Case(
        {"url": "http://esp.example/path"}, environment={"ALL_PROXY": "https://127.0.0.1:1"}
    ),
    "proxy of the environment isn't trusted": Case(
        session={"trust_env": False}, environment={"http_proxy": "http://127.0.0.1:1"}
    ),
    "no proxy of the environment": Case(
        environment={"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1,esp.example"}
    ),
    "no proxy for a network": Case(
        environment={"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.0/8"}
    ),
    "proxy of session and environment": Case(
        {"url": "http://esp.example/path"},
        {"proxies": {"http": "http://127.0.0.1:1"}},
        {"HTTP_PROXY": "{host}"},
    ),
    "invalid proxy": Case({"url": "http://esp.example/"}, {"proxies": {"http": "http:///x"}}),
}


DEFAULTS = {"method": "POST", "url": "{url}", "timeout": 10}


def filled(value: Any, texts: dict[str, str]) -> Any:
    """Return what a case has, with the texts in the place of their names, and files opened."""
    if type(value) is dict:
        return {name: filled(item, texts) for name, item in value.items()}
    if type(value) in (list, tuple) and all(isinstance(item, str) for item in value):
        return type(value)(filled(item, texts) for item in value)
    if isinstance(value, partial):
        return value()
    for name, text in texts.items():
        if isinstance(value, (str, bytes)):
            both = (f"{{{name}}}", text)
            value = value.replace(*(both if isinstance(value, str) else map(str.encode, both)))
    return value


def make(call: Any, session: requests.Session, params: dict[str, Any]) -> Any:
    """Return what becomes of a call, in a form that can be compared."""
    try:
        response = call(session, params)
        content = response.content
    except Exception as error:  # noqa: BLE001 (the same must come from both)
        return type(error)
    body = response.request.body
    return {
        "answer": (response.status_code, response.reason, response.url, content, response.encoding),
        "text": response.text,
        "headers": (type(response.headers), list(response.headers.items())),
        "cookies": [repr(response.cookies), repr(session.cookies)],
        "history": len(response.history),
        "elapsed": type(response.elapsed),
        "request": (response.request.method, response.request.url),
        "request body": body if isinstance(body, (str, bytes)) else type(body),
        "request headers": list(response.request.headers.items()),
        "request hooks": list(response.request.hooks),
        "raw": raw_facts(response.raw),
        "next": response.next,
    }


def raw_facts(raw: Any) -> Any:
    if not isinstance(raw, HTTPResponse):  # of another client
        return None
    return raw.status, raw.version, list(raw.headers.items()), raw.isclosed()


def call_plainly(session: requests.Session, params: dict[str, Any]) -> requests.Response:
    return session.request(**params)


class SameCallsTests(SimpleTestCase):
    """Whatever a session and a call have, the server gets the same bytes as from requests."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire()
        self.addCleanup(self.wire.server_close)
        self.addCleanup(self.wire.shutdown)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        netrc = Path(directory.name, "netrc")
        netrc.write_text("machine 127.0.0.1 login netrc password secret")
        url = f"http://{self.wire.host}/p"
        self.texts = {"host": self.wire.host, "url": url, "netrc": str(netrc)}

    def run_case(self, case: Case, session: requests.Session, call: Any) -> Any:
        """Return the bytes that arrive, and what becomes of the calls."""
        for name, value in filled(case.session, self.texts).items():
            if name in ("headers", "params", "cookies") and type(value) is dict:
                getattr(session, name).update(value)
            else:
                setattr(session, name, value)
        self.wire.received.clear()
        self.wire.answers[:] = case.answers
        environment = {"NETRC": os.devnull, **filled(case.environment, self.texts)}
        with (
            session,
            patch.dict(os.environ, environment, clear=True),
            patch("urllib3.filepost.choose_boundary", return_value="boundary"),
            patch("requests.auth.os.urandom", return_value=b"random"),
        ):
            outcomes = [
                make(call, session, filled({**DEFAULTS, **case.params}, self.texts))
                for _ in range(case.calls)
            ]
        return list(self.wire.received), outcomes

    def test_wire(self) -> None:
        for name, case in CASES.items():
            with self.subTest(name):
                expected = self.run_case(case, plain_session(), call_plainly)
                session = session_like_ours()
                self.assertTrue(lean.is_usual(session))
                self.assertEqual(self.run_case(case, session, lean.request), expected)


@skip_without("cryptography")
class SameTlsTests(SimpleTestCase):
    """Certificates come from the same places as with requests."""

    CASES: ClassVar[list[dict[str, Any]]] = [
        {},
        {"environment": {"REQUESTS_CA_BUNDLE": "{own}"}},
        {"environment": {"CURL_CA_BUNDLE": "{own}"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{own}", "CURL_CA_BUNDLE": "/missing"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "{own}"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "/missing"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{own}"}, "session": {"trust_env": False}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{own}"}, "session": {"verify": False}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{other}"}, "session": {"verify": False}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{other}"}, "session": {"verify": "{own}"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{other}"}, "params": {"verify": "{own}"}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{other}"}, "params": {"verify": True}},
        {"environment": {"REQUESTS_CA_BUNDLE": "{other}"}, "params": {"verify": False}},
        {"session": {"verify": "{own}"}},
        {"session": {"verify": "{other}"}},
        {"session": {"verify": "{directory}"}},
        {"session": {"verify": "/missing"}},
        {"session": {"verify": False}},
        {"session": {"verify": None}},
        {"session": {"verify": "{own}", "cert": "{own}"}},
        {"session": {"verify": "{own}", "cert": ("{own}", "{own}")}},
        {"session": {"verify": "{own}", "cert": "/missing"}},
        {"session": {"verify": "{own}"}, "params": {"cert": ["{own}", "/missing"]}},
        {"session": {"verify": "{own}", "cert": "/missing"}, "params": {"cert": "{own}"}},
    ]

    def test_certificates(self):
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", InsecureRequestWarning)
            directory, other = (
                Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)
            )
            own = make_certificate(directory)
            texts = {"own": str(own), "other": str(make_certificate(other))}
            texts["directory"] = str(directory)
            context = server_context(own)
            context.load_verify_locations(own)
            context.verify_mode = ssl.CERT_OPTIONAL
            server = stack.enter_context(HttpServer(tls=context))
            answered = 0
            for case in self.CASES:
                with self.subTest(case):
                    expected, outcome = (
                        self.outcome(case, server.url, texts, session, call)
                        for session, call in (
                            (plain_session(), call_plainly),
                            (session_like_ours(), lean.request),
                        )
                    )
                    self.assertEqual(outcome, expected)
                    answered += expected == 200
            self.assertEqual(answered, 13)

    def outcome(self, case: Any, url: str, texts: dict[str, str], session: Any, call: Any) -> Any:
        for name, value in filled(case.get("session", {}), texts).items():
            setattr(session, name, value)
        environment = filled(case.get("environment", {}), texts)
        params = {"method": "POST", "url": url, "timeout": 10, **case.get("params", {})}
        with session, patch.dict(os.environ, environment, clear=True):
            try:
                return call(session, filled(params, texts)).status_code
            except Exception as error:  # noqa: BLE001 (the same must come from both)
                return type(error)

    def test_environment_that_changes(self):
        """It counts for each call, also of a session that is open."""
        with tempfile.TemporaryDirectory() as directory, session_like_ours() as session:
            own = make_certificate(Path(directory))
            with HttpServer(tls=server_context(own)) as server:
                params = {"method": "POST", "url": server.url, "timeout": 10}
                for bundle in (str(own), None, str(own)):
                    environment = {"REQUESTS_CA_BUNDLE": bundle} if bundle else {}
                    with patch.dict(os.environ, environment, clear=True):
                        if bundle:
                            self.assertEqual(lean.request(session, params).status_code, 200)
                            continue
                        with self.assertRaises(requests.exceptions.SSLError):
                            lean.request(session, params)


@override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token"})
class InterceptionTests(SimpleTestCase):
    """What intercepts calls goes on doing so, also with a backend that has made others before."""

    ID = {"To": "to@example.com", "Message": "OK", "ErrorCode": 0, "MessageID": "intercepted"}

    def setUp(self) -> None:
        super().setUp()
        environment = patch.dict(os.environ, {"NO_PROXY": "127.0.0.1"})
        environment.start()
        self.addCleanup(environment.stop)
        self.server = HttpServer(Answer(body=json.dumps({**self.ID, "MessageID": "sent"}).encode()))
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.url = f"{self.server.url}/email"
        self.backend: Any = EmailBackend(api_url=self.server.url)
        self.backend.open()
        self.addCleanup(self.backend.close)
        self.assertEqual(self.send(self.backend), "sent")

    def send(self, backend: Any) -> Any:
        message: Any = make_message()
        backend.send_messages([message])
        return message.anymail_status.message_id

    def assert_intercepted(self) -> None:
        before = len(self.server.requests)
        for backend in (self.backend, EmailBackend(api_url=self.server.url)):
            self.assertEqual(self.send(backend), "intercepted")
        self.assertEqual(len(self.server.requests), before)

    def assert_not_intercepted(self) -> None:
        self.assertEqual(self.send(self.backend), "sent")

    def response(self) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response._content = json.dumps(self.ID).encode()
        return response

    def test_session_is_patched(self):
        for name in ("request", "send"):
            with patch.object(requests.Session, name, return_value=self.response()) as replacement:
                self.assert_intercepted()
            self.assertEqual(replacement.call_count, 2)
        self.assert_not_intercepted()

    def test_adapter_is_patched(self):
        with patch.object(HTTPAdapter, "send", return_value=self.response()) as replacement:
            self.assert_intercepted()
        self.assertEqual(replacement.call_args.kwargs["timeout"], 30)
        self.assert_not_intercepted()

    def test_mounted_adapter(self):
        test_case = self

        class Adapter(BaseAdapter):
            def send(self, request, **kwargs):
                return test_case.response()

            def close(self):
                pass

        self.backend.session.mount(self.url, Adapter())
        self.assertEqual(self.send(self.backend), "intercepted")
        self.assertEqual(len(self.server.requests), 1)

    def test_hooks_get_the_same(self):
        def outcome(call: Any, session: Any) -> Any:
            seen: list[Any] = []
            session.hooks["response"] += [
                lambda response, **kwargs: seen.append((response.status_code, kwargs)),
                lambda response, **kwargs: seen.append(response.request.headers["A"]),
            ]
            session.verify = False
            params = {"method": "POST", "url": self.url, "timeout": (3, 4), "headers": {"A": "b"}}
            call(session, params)
            return seen

        self.assertEqual(
            outcome(lean.request, session_like_ours()), outcome(call_plainly, plain_session())
        )

    def test_hook_that_repeats_the_call(self):
        """Cookies of all answers are kept."""
        answers = [
            Answer(status=503, headers={"Set-Cookie": "first=1"}),
            Answer(headers={"Set-Cookie": "second=2"}),
        ]

        def repeat(response: Any, **kwargs: Any) -> Any:
            if response.status_code != 503:
                return None
            again = response.connection.send(response.request, **kwargs)
            again.history.append(response)
            return again

        for call, session in ((lean.request, session_like_ours()), (call_plainly, plain_session())):
            with HttpServer(*answers) as server:
                session.hooks["response"].append(repeat)
                response = call(session, {"method": "POST", "url": server.url, "timeout": 10})
                self.assertEqual(response.status_code, 200)
                self.assertEqual(session.cookies.get_dict(), {"first": "1", "second": "2"})
                session.close()

    def test_hook(self):
        def replace(response, **kwargs):
            self.assertEqual(response.content, self.server.answers[0].body)
            return self.response()

        self.backend.session.hooks["response"].append(replace)
        self.assertEqual(self.send(self.backend), "intercepted")

    @skip_without("responses")
    def test_responses(self):
        import responses

        headers = {"Set-Cookie": "a=b"}
        with responses.RequestsMock() as mock:
            mock.post(self.url, json=self.ID, headers=headers)
            self.assert_intercepted()
            self.send(self.backend)
            self.assertEqual(mock.calls[2].request.headers["Cookie"], "a=b")
            self.assertEqual(json.loads(mock.calls[0].request.body)["To"], "to@example.com")
        with responses.RequestsMock() as mock, self.assertRaises(AnymailRequestsAPIError):
            self.send(self.backend)
        self.backend.session.cookies.clear()
        self.assert_not_intercepted()

    @skip_without("requests_mock")
    def test_requests_mock(self):
        import requests_mock

        with requests_mock.Mocker() as mock:
            mock.post(self.url, json=self.ID)
            self.assert_intercepted()
        self.assertEqual(mock.call_count, 2)
        with requests_mock.Mocker(session=self.backend.session) as mock:
            mock.post(self.url, json=self.ID)
            self.assertEqual(self.send(self.backend), "intercepted")
        self.assert_not_intercepted()

    @skip_without("vcr")
    def test_vcrpy(self):
        import vcr

        # It leaves connections that are kept, and others', to the garbage collector.
        close_connections = self.backend.session.get_adapter(self.url).poolmanager.clear
        close_connections()

        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        cassette = str(Path(directory.name, "cassette.yaml"))
        body = self.server.answers[0].body
        self.server.answers[:] = [Answer(body=json.dumps(self.ID).encode())]
        with vcr.use_cassette(cassette):
            self.assertEqual(self.send(self.backend), "intercepted")
        close_connections()
        self.server.answers[:] = [Answer(body=body)]
        with vcr.use_cassette(cassette, allow_playback_repeats=True):
            self.assert_intercepted()
        self.assert_not_intercepted()


class UsualTests(SimpleTestCase):
    """What others replace is called, and not left out."""

    METHODS = ("request", "prepare_request", "send", "merge_environment_settings", "get_adapter")

    def test_usual(self):
        class Subclass(requests.Session):
            def close(self):
                pass

        for session_class in (requests.Session, Subclass):
            session = session_like_ours(session_class)
            self.assertTrue(lean.is_usual(session))
            self.assertFalse(lean.is_intercepted(session, "https://esp.example/"))

    def test_no_session(self):
        for client in (None, Mock(), object()):
            self.assertFalse(lean.is_usual(client))

    def test_redirects_are_followed(self):
        session = requests.Session()
        self.assertFalse(lean.is_usual(session))

    def assert_unusual(self, session: Any) -> None:
        self.assertFalse(lean.is_usual(session))
        self.assertTrue(lean.is_intercepted(session, "https://esp.example/"))

    def test_subclass(self):
        for name in self.METHODS:
            with self.subTest(name):
                own_method = getattr(requests.Session, name)
                subclass = type(
                    "Own",
                    (requests.Session,),
                    {name: lambda *args, method=own_method, **kwargs: method(*args, **kwargs)},
                )
                self.assert_unusual(session_like_ours(subclass))

    def test_replaced_in_the_session(self):
        for name in self.METHODS:
            with self.subTest(name):
                session = session_like_ours()
                setattr(session, name, getattr(session, name))
                self.assert_unusual(session)

    def test_replaced_in_the_class(self):
        session = session_like_ours()
        for name in self.METHODS:
            own_method = getattr(requests.Session, name)

            @wraps(own_method)
            def traced(*args, method=own_method, **kwargs):
                return method(*args, **kwargs)

            for replacement in (traced, Mock(wraps=own_method), create_autospec(own_method)):
                with self.subTest(name), patch.object(requests.Session, name, replacement):
                    self.assert_unusual(session)
            self.assertTrue(lean.is_usual(session))

    def test_replaced_before_anything_was_imported(self):
        script = (
            "import requests\n"
            "own_method = requests.Session.request\n"
            "requests.Session.request = lambda *args, **kwargs: own_method(*args, **kwargs)\n"
            "from anymail.sending.lean import is_usual\n"
            "from anymail.http import no_redirect\n"
            "session = requests.Session()\n"
            "session.get_redirect_target = no_redirect\n"
            "print(is_usual(session))\n"
            "requests.Session.request = own_method\n"
            "print(is_usual(session))"
        )
        output = subprocess.check_output([sys.executable, "-c", script], text=True)
        self.assertEqual(output.split(), ["False", "True"])

    def test_intercepted(self):
        class Adapter(HTTPAdapter):
            pass

        def retrying(session):
            session.get_adapter(URL).max_retries = Retry(3)

        def replaced_in_adapter(session):
            session.get_adapter(URL).send = Mock()

        for prepare in (
            lambda session: session.mount("https://", HTTPAdapter()),
            lambda session: session.mount("https://esp.example/", Adapter()),
            retrying,
            replaced_in_adapter,
        ):
            session = session_like_ours()
            prepare(session)
            self.assertTrue(lean.is_usual(session))
            self.assertTrue(lean.is_intercepted(session, URL))

    def test_intercepted_beneath(self):
        session = session_like_ours()

        class GuardedSocket(socket.socket):
            pass

        class Connection(HTTPSConnection):
            pass

        for replacement in (
            patch.object(HTTPAdapter, "send"),
            patch.object(HTTPConnectionPool, "urlopen"),
            patch.object(HTTPSConnectionPool, "ConnectionCls", Connection),
            patch("socket.socket", GuardedSocket),
        ):
            with replacement:
                self.assertTrue(lean.is_usual(session))
                self.assertTrue(lean.is_intercepted(session, URL))
            self.assertFalse(lean.is_intercepted(session, URL))


URL = "https://esp.example/path"
