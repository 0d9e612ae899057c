"""Connections that outlive the backend: shared, but never stale, and never with other processes."""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, Full
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import requests
from django.test import SimpleTestCase, override_settings, tag
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from anymail.backends.postmark import EmailBackend
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidMailer,
    AnymailRequestsAPIError,
    AnymailWarning,
    Problem,
)
from anymail.sending import connections

from ..http_server import Answer, HttpServer, ReceivedRequest
from ..tls import make_certificate, server_context
from ..utils import make_message, skip_without

POSTMARK_ANSWER = Answer(
    body=b'{"To": "to@example.com", "Message": "OK", "ErrorCode": 0, "MessageID": "id"}'
)


class BrokenSocket:
    """A socket on which some calls of sendall() fail."""

    def __init__(
        self, sock: Any, fails: set[int], error: type[OSError] = ConnectionResetError
    ) -> None:
        self._sock = sock
        self._fails = fails
        self._error = error
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: Any) -> None:
        self._calls += 1
        if self._calls in self._fails:
            raise self._error("broken")
        self._sock.sendall(data)


@contextmanager
def serve_once(handle: Any, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Listen, for one connection only, and yield the URL. ``handle`` gets the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        with closing(listener.accept()[0]) as connection:
            listener.close()
            if tls is None:
                handle(connection)
                return
            with suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True) as wrapped:
                handle(wrapped)

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
    thread.join()


@override_settings(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token"})
class ConnectionsTestCase(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        # What the environment says about proxies and certificates is not for these tests.
        environment = patch.dict("os.environ", {"NO_PROXY": "127.0.0.1"})
        environment.start()
        self.addCleanup(environment.stop)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            os.environ.pop(name, None)

    def serve(self, *answers: Any, **options: Any) -> HttpServer:
        server = HttpServer(*(answers or [POSTMARK_ANSWER]), **options)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def send(self, server: HttpServer, subject: str = "Hello", **options: Any) -> None:
        backend = EmailBackend(api_url=server.url, **options)
        backend.send_messages([make_message(subject=subject)])

    def kept_connections(self, server: HttpServer) -> list[Any]:
        return [
            connection
            for connection in connections._connections._idle
            if server.url.endswith(f":{connection.port}")
        ]

    def wait_until(self, condition: Any) -> None:
        end = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), end, "waited for 10 seconds")
            time.sleep(0.005)


class SharingTests(ConnectionsTestCase):
    def test_backends_share(self):
        server = self.serve()
        for _ in range(5):
            self.send(server)
        self.assertEqual([r.connection for r in server.requests], [1] * 5)

    def test_closing_does_not_close_them(self):
        server = self.serve()
        backend = EmailBackend(api_url=server.url)
        with backend:
            backend.send_messages([make_message()])
        self.assertIsNone(backend.session)
        self.assertEqual(server.open_connections, 1)

    def test_sharing_off(self):
        server = self.serve()
        for _ in range(2):
            backend = EmailBackend(api_url=server.url, connection_max_idle=0)
            backend.send_messages([make_message(), make_message()])
        self.assertEqual([r.connection for r in server.requests], [1, 1, 2, 2])
        self.wait_until(lambda: server.open_connections == 0)
        self.assertEqual(self.kept_connections(server), [])

    def test_pickled_session(self):
        server = self.serve()
        for max_idle, connection_numbers in ((1000, [1, 1]), (0, [2, 3])):
            server.requests.clear()
            backend = EmailBackend(api_url=server.url, connection_max_idle=max_idle)
            with backend:
                backend.send_messages([make_message()])
                session = pickle.loads(pickle.dumps(backend.session))
                with session:
                    session.post(server.url, timeout=5).close()
            self.assertEqual([r.connection for r in server.requests], connection_numbers)

    def test_urllib3_without_what_it_takes(self):
        """Such as a later version may be: backends still work."""
        pool_class = connections.HTTPConnectionPool

        class OtherPool(pool_class):
            def __init__(self, host: str, **kwargs: Any) -> None:
                super().__init__(host, **kwargs)
                self.pool = None  # It keeps them elsewhere.

        for lacking in (
            patch.object(connections, "HTTPConnectionPool", OtherPool),
            patch.object(connections, "HTTPConnectionPool", HTTPAdapter),
        ):
            for cached in (connections._is_supported, connections._pool_classes):
                cached.cache_clear()
                self.addCleanup(cached.cache_clear)
            server = self.serve()
            with lacking, self.assertWarnsRegex(AnymailWarning, "not kept.*urllib3") as caught:
                for _ in range(2):
                    self.send(server)
            self.assertEqual(len(caught.warnings), 2)
            self.assertEqual(server.connections, 2)
            self.wait_until(lambda server=server: server.open_connections == 0)

    def test_former_module(self):
        former = importlib.import_module("anymail._connections")
        self.assertIs(former.SharedConnectionsAdapter, connections.SharedConnectionsAdapter)

    def test_setting(self):
        server = self.serve()
        anymail = {"POSTMARK_SERVER_TOKEN": "token", "CONNECTION_MAX_IDLE": 0}
        with override_settings(ANYMAIL=anymail):
            self.send(server)
            self.send(server)
        self.assertEqual(server.connections, 2)

    def test_invalid_setting(self):
        for value in (-1, None, "30", True, float("nan")):
            with (
                self.subTest(value=value),
                self.assertRaisesMessage(AnymailConfigurationError, "CONNECTION_MAX_IDLE must be"),
            ):
                EmailBackend(connection_max_idle=value)

    def test_invalid_option_of_mailer(self):
        with self.assertRaises(AnymailInvalidMailer):
            EmailBackend(connection_max_idle=-1, alias="default")

    def test_custom_adapter_is_respected(self):
        class CustomBackend(EmailBackend):
            def create_session(self):
                session = super().create_session()
                session.mount("http://", HTTPAdapter())
                return session

        server = self.serve()
        for _ in range(2):
            CustomBackend(api_url=server.url).send_messages([make_message()])
        self.assertEqual(server.connections, 2)

    def test_session_of_ones_own_is_respected(self):
        class CustomBackend(EmailBackend):
            def create_session(self):
                return requests.Session()

        server = self.serve()
        for _ in range(2):
            CustomBackend(api_url=server.url).send_messages([make_message()])
        self.assertEqual(server.connections, 2)

    def test_cookies_are_not_shared(self):
        headers = {"Content-Type": "application/json", "Set-Cookie": "session=mine"}
        server = self.serve(Answer(body=POSTMARK_ANSWER.body, headers=headers))
        self.send(server)
        self.send(server)
        self.assertEqual(server.connections, 1)
        self.assertEqual([r.header("Cookie") for r in server.requests], [None, None])

    def test_replaced_connection_class(self):
        """Packages such as vcrpy have urllib3 use theirs, to record what is sent."""
        requests_sent = []

        class RecordingConnection(connections.HTTPConnection):
            def request(self, method, url, *args, **kwargs):
                requests_sent.append(f"{method} {url}")
                super().request(method, url, *args, **kwargs)

        server = self.serve()
        pool_class = connections.HTTPConnectionPool
        with patch.object(pool_class, "ConnectionCls", RecordingConnection):
            self.send(server)
        self.assertEqual(requests_sent, ["POST /email"])

    def test_connections_of_a_session_are_closed_with_it(self):
        server = self.serve()
        backend = EmailBackend(api_url=server.url, connection_max_idle=0)
        backend.open()
        session = backend.session  # which is not left to the garbage collector
        backend.send_messages([make_message()])
        self.assertEqual(server.open_connections, 1)
        backend.close()
        self.wait_until(lambda: server.open_connections == 0)
        self.assertEqual(len(session.adapters), 2)

    def test_different_limits_are_kept_apart(self):
        server = self.serve()
        self.send(server, connection_max_idle=20)
        self.send(server, connection_max_idle=10)
        self.assertEqual(server.connections, 2)

    def test_proxy(self):
        proxy = self.serve()

        class ProxyBackend(EmailBackend):
            def create_session(self):
                session = super().create_session()
                session.proxies = {"http": proxy.url}
                return session

        for max_idle, connection_numbers in ((1000, [1, 1, 1, 1]), (0, [2, 2, 3, 3])):
            proxy.requests.clear()
            for _ in range(2):
                backend = ProxyBackend(api_url="http://esp.example/", connection_max_idle=max_idle)
                backend.send_messages([make_message(), make_message()])
            self.assertEqual({r.path for r in proxy.requests}, {"http://esp.example/email"})
            self.assertEqual([r.connection for r in proxy.requests], connection_numbers)
        self.wait_until(lambda: proxy.open_connections == 1)

    def test_credentials_for_the_proxy(self):
        for max_idle in (1000, 0):
            adapter = connections.SharedConnectionsAdapter(max_idle)
            manager = adapter.proxy_manager_for("http://user:secret@proxy.example")
            self.assertEqual(
                manager.proxy_headers, {"Proxy-Authorization": "Basic dXNlcjpzZWNyZXQ="}
            )
            self.assertIs(manager, adapter.proxy_manager_for("http://user:secret@proxy.example"))
            self.assertIsNot(manager, adapter.proxy_manager_for("http://proxy.example"))

    def test_socks_proxy_is_left_to_requests(self):
        adapter = connections.SharedConnectionsAdapter(30)
        with patch("requests.adapters.SOCKSProxyManager") as manager_class:
            manager = adapter.proxy_manager_for("socks5://proxy.example")
        self.assertIs(manager, manager_class.return_value)
        adapter.close()
        manager.clear.assert_called_once_with()

    def test_threads(self):
        server = self.serve()
        errors = []

        def work(number):
            try:
                for n in range(25):
                    self.send(server, subject=f"{number}-{n}")
            except Exception as err:  # noqa: BLE001 (shown by the assertion)
                errors.append(err)

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(len(server.requests), 200)
        self.assertLessEqual(server.connections, 8)

    def test_number_of_kept_connections_is_bounded(self):
        # All at the same time, so that each needs a connection of its own.
        count = 5
        together = threading.Barrier(count)

        def answer(received: ReceivedRequest) -> Answer:
            together.wait(10)
            return POSTMARK_ANSWER

        server = self.serve(answer)
        manager = connections._connections.pool_manager(29)  # no other test has this limit
        manager.connection_pool_kw["maxsize"] = 2
        threads = [
            threading.Thread(target=self.send, args=[server], kwargs={"connection_max_idle": 29})
            for _ in range(count)
        ]
        with self.assertLogs("urllib3.connectionpool", "WARNING"):  # that it discards some
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(server.connections, count)
        self.wait_until(lambda: server.open_connections == 2)


@skip_without("cryptography")
class TLSTests(ConnectionsTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.certificate = make_certificate(Path(directory.name))

    def send_with(self, server: HttpServer, verify: Any) -> None:
        class VerifyingBackend(EmailBackend):
            def create_session(self):
                session = super().create_session()
                session.verify = verify
                return session

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # InsecureRequestWarning
            VerifyingBackend(api_url=server.url).send_messages([make_message()])

    def test_backends_share(self):
        server = self.serve(tls=server_context(self.certificate))
        for _ in range(5):
            self.send_with(server, str(self.certificate))
        self.assertEqual([r.connection for r in server.requests], [1] * 5)

    def test_handed_over(self):
        def break_tls(connection: ssl.SSLSocket) -> None:
            request = b""
            while not request.endswith(b"}"):
                request += connection.recv(1000)
            os.write(connection.fileno(), b"This is no TLS.")

        context = server_context(self.certificate)
        for handle, verify, expected in (
            (break_tls, str(self.certificate), True),
            (lambda connection: connection.recv(1000), True, False),
        ):
            with (
                self.subTest(verify=verify),
                serve_once(handle, context) as url,
                self.assertRaises(AnymailRequestsAPIError) as caught,
            ):
                self.send_with(SimpleNamespace(url=url), verify)
            self.assertIsInstance(caught.exception, requests.exceptions.SSLError)
            self.assertIs(caught.exception.handed_over, expected)

    def test_opened_again(self):
        """What is new is not sent again, even if it was used before."""
        server = self.serve(tls=server_context(self.certificate))
        self.send_with(server, str(self.certificate))
        server.close_connections()
        real_connect = connections.HTTPSConnection.connect
        connects = []

        def connect(connection: Any) -> None:
            real_connect(connection)
            connects.append(connection)
            connection.sock = BrokenSocket(connection.sock, {1})

        with (
            patch.object(connections.HTTPSConnection, "connect", connect),
            self.assertRaises(AnymailRequestsAPIError) as caught,
        ):
            self.send_with(server, str(self.certificate))
        self.assertEqual(len(connects), 1)
        self.assertIs(caught.exception.handed_over, False)

    def test_unverified_connection_is_not_used_by_those_who_verify(self):
        server = self.serve(tls=server_context(self.certificate))
        self.send_with(server, False)
        with self.assertRaises(requests.exceptions.SSLError):
            self.send_with(server, True)
        self.send_with(server, str(self.certificate))
        self.send_with(server, False)
        self.assertEqual(len(server.requests), 3)
        self.assertEqual(server.requests[0].connection, server.requests[2].connection)
        self.assertNotEqual(server.requests[0].connection, server.requests[1].connection)

    def test_closed_by_server(self):
        server = self.serve(tls=server_context(self.certificate))
        self.send_with(server, str(self.certificate))
        server.close_connections()
        self.send_with(server, str(self.certificate))
        self.assertEqual([r.connection for r in server.requests], [1, 2])


class IdleTests(ConnectionsTestCase):
    def test_closed_after_a_while(self):
        server = self.serve()
        self.send(server, connection_max_idle=0.05)
        self.wait_until(lambda: server.open_connections == 0)
        self.send(server, connection_max_idle=0.05)
        self.assertEqual(server.connections, 2)

    def test_closed_in_time_beside_others_that_are_kept_for_longer(self):
        server, other = self.serve(), self.serve()
        self.send(other, connection_max_idle=1000)
        self.send(server, connection_max_idle=0.05)
        self.wait_until(lambda: server.open_connections == 0)
        self.assertEqual(other.open_connections, 1)

    def test_those_idle_for_less_are_kept(self):
        server, other = self.serve(), self.serve()
        self.send(server, connection_max_idle=0.05)
        self.send(other, connection_max_idle=1000)
        self.wait_until(lambda: server.open_connections == 0)
        self.assertEqual(other.open_connections, 1)

    def test_not_used_if_idle_for_too_long(self):
        """Even if nothing has closed it in time."""
        server = self.serve()
        with patch.object(connections._Connections, "_start_timer"):
            self.send(server, connection_max_idle=1000)
            self.send(server, connection_max_idle=1000)
            [connection] = self.kept_connections(server)
            connection.idle_until = time.monotonic()
            self.send(server, connection_max_idle=1000)
        self.assertEqual([r.connection for r in server.requests], [1, 1, 2])

    def test_no_threads_when_the_interpreter_exits(self):
        server = self.serve()
        fresh = connections._Connections()
        with (
            patch("threading.Timer.start", side_effect=RuntimeError("can't start new thread")),
            patch.object(connections, "_connections", fresh),
        ):
            self.send(server)
        self.assertEqual(len(server.requests), 1)


class StaleTests(ConnectionsTestCase):
    def break_connection(self, server: HttpServer, *fails: int) -> None:
        """Have the kept connection fail the given calls of sendall(), which count from 1."""
        [connection] = self.kept_connections(server)
        connection.sock = BrokenSocket(connection.sock, set(fails))

    def test_closed_by_server(self):
        server = self.serve()
        self.send(server)
        server.close_connections()
        self.send(server)
        self.assertEqual([r.connection for r in server.requests], [1, 2])

    def test_found_closed_before_anything_was_sent(self):
        server = self.serve()
        self.send(server, "first")
        self.break_connection(server, 1)  # The headers are sent at first.
        self.send(server, "second")
        self.assertEqual([r.connection for r in server.requests], [1, 2])
        self.assertIn(b"second", server.requests[1].body)

    def test_found_closed_when_the_body_is_sent(self):
        """The server has got a part of the request. What it makes of that isn't known."""
        server = self.serve()
        self.send(server)
        self.break_connection(server, 2)
        with self.assertRaises(AnymailRequestsAPIError) as caught:
            self.send(server, "long enough for a second write" * 1000)
        self.assertIsInstance(caught.exception, requests.ConnectionError)
        self.assertEqual(server.connections, 1)

    def test_closed_without_an_answer(self):
        """The server may have handled the request."""
        server = self.serve(POSTMARK_ANSWER, Answer(close=True), POSTMARK_ANSWER)
        self.send(server)
        with self.assertRaises(AnymailRequestsAPIError):
            self.send(server)
        self.assertEqual(len(server.requests), 2)

    def test_new_connection_that_fails_is_not_retried(self):
        server = self.serve()
        real_connect = connections.HTTPConnection.connect
        connects = []

        def connect(connection):
            real_connect(connection)
            connects.append(connection)
            connection.sock = BrokenSocket(connection.sock, {1})

        with (
            patch.object(connections.HTTPConnection, "connect", connect),
            self.assertRaises(AnymailRequestsAPIError),
        ):
            self.send(server)
        self.assertEqual(len(connects), 1)

    def test_retried_once_at_most(self):
        server = self.serve()
        self.send(server)
        self.break_connection(server, 1)
        real_connect = connections.HTTPConnection.connect

        def connect(connection):
            real_connect(connection)
            connection.sock = BrokenSocket(connection.sock, {1})

        with (
            patch.object(connections.HTTPConnection, "connect", connect),
            self.assertRaises(AnymailRequestsAPIError),
        ):
            self.send(server)
        self.assertEqual(len(server.requests), 1)

    def test_tunnel_that_fails_is_not_retried(self):
        """The new connection of a request that is sent again: a proxy is asked for it."""
        connects = []

        def connect(connection: Any) -> None:
            connects.append(connection)
            connection.sock = BrokenSocket(Mock(), {1})
            connection.send(b"CONNECT esp.example:443")

        connection: Any = connections._KeptHTTPConnection("localhost")
        with patch.object(connections.HTTPConnection, "connect", connect):
            connection.sock = BrokenSocket(Mock(), {1})
            connection._was_used = True
            connection.putrequest("POST", "/")
            with self.assertRaises(ConnectionResetError):
                connection.endheaders()
        self.assertEqual(len(connects), 1)

    @tag("exhaustive")
    def test_nothing_is_lost_or_duplicated(self):
        """While the server closes idle connections, in between and from another thread."""
        server = self.serve()
        for number in range(2000):
            self.send(server, f"message {number}")
            if number % 3 == 0:
                server.close_connections()
        received = Counter(json.loads(request.body)["Subject"] for request in server.requests)
        self.assertEqual(len(received), 2000)
        self.assertEqual(set(received.values()), {1})
        self.assertGreater(server.connections, 600)


FORKING = """
import os, sys
import django
from django.conf import settings
settings.configure(ANYMAIL={"POSTMARK_SERVER_TOKEN": "token"})
django.setup()
from django.core.mail import EmailMessage
from anymail.backends.postmark import EmailBackend

def send(subject, backend=None):
    backend = backend or EmailBackend(api_url=sys.argv[1])
    backend.send_messages([EmailMessage(subject, "", "from@example.com", ["to@example.com"])])

send("parent")
opened = EmailBackend(api_url=sys.argv[1])
opened.open()
child = os.fork()
if child == 0:
    send("child", opened)
    send("child")
    sys.exit()
assert os.waitpid(child, 0)[1] == 0, "child failed"
send("parent", opened)
send("parent")
"""


@tag("exhaustive")
class ProcessTests(ConnectionsTestCase):
    def run_python(self, code: str, *args: str) -> None:
        """Run code, with warnings as errors; nothing must be printed, not even by destructors."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", code, *args],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_nothing_is_shared_with_forked_processes(self):
        server = self.serve()
        self.run_python(FORKING, server.url)
        by_subject: dict[str, list[int]] = {}
        for request in server.requests:
            subject = "child" if b'"child"' in request.body else "parent"
            by_subject.setdefault(subject, []).append(request.connection)
        self.assertEqual(by_subject, {"parent": [1, 1, 1], "child": [2, 2]})

    def test_closed_at_exit(self):
        server = self.serve()
        self.run_python(FORKING.partition("opened =")[0], server.url)
        self.wait_until(lambda: server.open_connections == 0)


# ---------------------------------------------------------------------------------------------
# Whether anything was handed over
# ---------------------------------------------------------------------------------------------


class HandoverTests(ConnectionsTestCase):
    def assert_handed_over(
        self, expected: bool | None, url: str, backend: Any = None, **options: Any
    ) -> Any:
        backend = backend or EmailBackend(api_url=url, **options)
        with self.assertRaises(AnymailRequestsAPIError) as caught:
            backend.send_messages([make_message()])
        error = caught.exception
        self.assertIs(error.handed_over, expected)
        self.assertIs(pickle.loads(pickle.dumps(error)).handed_over, expected)
        if expected is not None:
            problem = Problem.UNCLEAR if expected else Problem.UNREACHABLE
            self.assertEqual(error.problem, problem)
        return error

    def test_nothing_listens(self):
        for max_idle in (1000, 0):
            with HttpServer() as server:
                url = server.url
            self.assert_handed_over(False, url, connection_max_idle=max_idle)

    def test_unknown_host(self):
        with patch("socket.getaddrinfo", side_effect=socket.gaierror):
            self.assert_handed_over(False, "http://made-up.example")

    def test_no_answer(self):
        for max_idle in (1000, 0):
            for answer in (Answer(close=True), Answer(stall=True), Answer(reset_after=1)):
                server = self.serve(answer)
                with self.subTest(answer, max_idle=max_idle):
                    self.assert_handed_over(
                        True, server.url, timeout=0.2, connection_max_idle=max_idle
                    )

    def test_answer(self):
        server = self.serve(Answer(close=True), POSTMARK_ANSWER)
        session = requests.Session()
        session.mount("http://", connections.make_adapter(1000))
        with connections.watch_handover() as outer:
            with connections.watch_handover() as handover:
                self.assertIsNone(handover.happened)
                with self.assertRaises(requests.ConnectionError):
                    session.get(server.url, timeout=5)
                self.assertIs(handover.happened, True)
            with connections.watch_handover() as handover:
                session.get(server.url, timeout=5)
                self.assertIs(handover.happened, True)
            self.assertIsNone(outer.happened)
        session.get(server.url, timeout=5)
        self.assertIsNone(outer.happened)
        self.assertIsNone(connections._handover.get())

    def test_others_connections(self):
        class CustomBackend(EmailBackend):
            def create_session(self):
                return requests.Session()

        with HttpServer(Answer(close=True)) as server:
            self.assert_handed_over(None, "", CustomBackend(api_url=server.url))
        self.assert_handed_over(None, "", CustomBackend(api_url=server.url))

    def test_kept_connection(self):
        for fails, expected in (([1], False), ([2], True)):
            with HttpServer(POSTMARK_ANSWER) as server:
                self.send(server)
                [connection] = self.kept_connections(server)
                connection.sock = BrokenSocket(connection.sock, set(fails))
            with patch.object(connections._KeptConnection, "is_connected", True, create=True):
                self.assert_handed_over(expected, server.url)

    def test_new_connection(self):
        real_connect = connections.HTTPConnection.connect
        for error, expected in ((ConnectionResetError, False), (TimeoutError, True)):

            def connect(connection: Any, error: Any = error) -> None:
                real_connect(connection)
                connection.sock = BrokenSocket(connection.sock, {1}, error)

            server = self.serve()
            with (
                self.subTest(error),
                patch.object(connections.HTTPConnection, "connect", connect),
            ):
                self.assert_handed_over(expected, server.url)

    def test_repeated(self):
        """By an adapter of one's own options, after a call that was handed over, or not."""
        with HttpServer() as server:
            closed_url = server.url
        with serve_once(lambda connection: connection.recv(1000)) as url:
            for api_url, expected in ((url, True), (closed_url, False)):
                with EmailBackend(api_url=api_url) as backend:
                    retry = Retry(connect=2, read=1, allowed_methods=["POST"])
                    backend.session.get_adapter("http://").max_retries = retry
                    error = self.assert_handed_over(expected, "", backend)
                self.assertRegex(str(error), "NewConnectionError|refused")

    def test_proxy_for_https(self):
        """What opens the tunnel is not the request."""
        received = []
        for answer in (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b""):

            def handle(connection: socket.socket, answer: bytes = answer) -> None:
                received.append(connection.recv(1000))
                connection.sendall(answer)

            with self.subTest(answer), serve_once(handle) as url:
                with patch.dict("os.environ", {"https_proxy": url, "NO_PROXY": ""}):
                    self.assert_handed_over(False, "https://esp.example")
                self.assertIn(b"CONNECT esp.example:443", received.pop())

    def test_proxy_for_http(self):
        proxy = self.serve(Answer(close=True))
        with patch.dict("os.environ", {"http_proxy": proxy.url, "NO_PROXY": ""}):
            self.assert_handed_over(True, "http://esp.example")


# ---------------------------------------------------------------------------------------------
# Bookkeeping
# ---------------------------------------------------------------------------------------------


class FakeTimer:
    """A timer that runs when it's told to, by a clock that stands still."""

    made: list[FakeTimer]
    fails = False

    def __init__(self, seconds: float, function: Any) -> None:
        self.seconds, self.function = seconds, function
        self.calls: list[str] = []
        self.made.append(self)

    def start(self) -> None:
        if self.fails:
            raise RuntimeError("can't start new thread")
        self.calls.append("start")

    def cancel(self) -> None:
        self.calls.append("cancel")

    def join(self) -> None:
        self.calls.append("join")


class FakeConnection:
    idle_until = math.inf

    def __init__(self) -> None:
        self.calls: list[str] = []

    def close(self) -> None:
        self.calls.append("close")

    def abandon(self) -> None:
        self.calls.append("abandon")


class BookkeepingTests(SimpleTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.timers: list[Any] = []
        timer_class = type("Timer", (FakeTimer,), {"made": self.timers})
        self.timer_class: Any = timer_class
        self.connections: Any = connections._Connections(lambda: self.now, timer_class)

    def put(self, max_idle: float) -> Any:
        connection = FakeConnection()
        self.connections.put(connection, max_idle)
        return connection

    def run_timer(self) -> None:
        timer = self.timers[-1]
        self.assertEqual(timer.calls, ["start"])
        self.now += timer.seconds
        timer.function()

    def seconds(self) -> list[float]:
        return [timer.seconds for timer in self.timers]

    def is_locked(self) -> bool:
        """Whether another thread would have to wait."""
        taken = []

        def take() -> None:
            if self.connections._lock.acquire(blocking=False):
                taken.append(None)
                self.connections._lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        return not taken

    def test_expires(self):
        connection = self.put(30)
        self.assertEqual(connection.idle_until, 1030)
        self.assertEqual(self.seconds(), [30])
        self.assertTrue(self.timers[0].daemon)
        self.assertEqual(self.timers[0].name, "anymail-idle-connections")
        self.run_timer()
        self.assertEqual(connection.calls, ["close"])
        self.assertEqual(self.connections._idle, set())
        self.assertEqual(self.seconds(), [30])
        self.put(20)  # The next one has a timer again.
        self.assertEqual(self.seconds(), [30, 20])

    def test_one_timer_for_all(self):
        first = self.put(30)
        self.now += 10
        second, third = self.put(30), self.put(30)
        self.assertEqual(self.seconds(), [30])
        self.now -= 10
        self.run_timer()
        self.assertEqual([c.calls for c in (first, second, third)], [["close"], [], []])
        self.assertEqual(self.seconds(), [30, 10])
        self.run_timer()
        self.assertEqual([c.calls for c in (first, second, third)], [["close"]] * 3)

    def test_earlier_timer(self):
        self.put(30)
        connection = self.put(10)
        self.assertEqual(self.seconds(), [30, 10])
        self.assertEqual(self.timers[0].calls, ["start", "cancel"])
        self.put(10)
        self.assertEqual(self.seconds(), [30, 10])
        self.run_timer()
        self.assertEqual(connection.calls, ["close"])
        self.assertEqual(self.seconds(), [30, 10, 20])

    def test_kept_forever(self):
        connection = self.put(math.inf)
        self.assertEqual(self.timers, [])
        self.put(10)
        self.run_timer()
        self.assertEqual(connection.calls, [])
        self.assertEqual(self.seconds(), [10])

    def test_taken(self):
        connection = self.put(30)
        self.now += 29.9
        self.connections.take(connection)
        self.assertEqual(connection.calls, [])
        self.assertEqual(self.connections._idle, set())
        self.now += 0.1
        self.timers[0].function()
        self.assertEqual(connection.calls, [])

    def test_taken_too_late(self):
        connection = self.put(30)
        self.now += 30
        self.connections.take(connection)
        self.assertEqual(connection.calls, ["close"])

    def test_no_new_threads(self):
        self.put(30)
        self.timer_class.fails = True
        self.put(10)
        self.timer_class.fails = False
        self.put(40)  # The timer for the first was canceled.
        self.assertEqual(
            [timer.calls for timer in self.timers], [["start", "cancel"], [], ["start"]]
        )

    def test_garbage_collection_in_between(self):
        """It closes the connections of pools that nobody uses, as if they had been taken."""
        idle = [self.put(30) for _ in range(5)]

        def close(connection: Any) -> None:
            connection.calls.append("close")
            for other in idle:
                if not other.calls:
                    self.connections.take(other)

        for connection in idle:
            connection.close = partial(close, connection)
        thread = threading.Thread(target=self.run_timer, daemon=True)
        thread.start()
        thread.join(5)
        self.assertFalse(thread.is_alive(), "dead lock")
        self.assertEqual(self.connections._idle, set())
        self.assertIsNone(self.connections._timer)

    def test_fork(self):
        self.put(30)
        self.connections.before_fork()
        self.assertTrue(self.is_locked())
        self.assertEqual(self.timers[0].calls, ["start", "cancel", "join"])
        self.assertEqual(len(self.timers), 1)

    def test_fork_while_the_timer_runs(self):
        """It may start another one before it ends."""
        connection = self.put(30)

        def join() -> None:
            self.assertFalse(self.is_locked())
            self.timers[0].function()

        self.timers[0].join = join
        self.connections.before_fork()
        self.assertEqual(self.timers[1].calls, ["start", "cancel", "join"])
        self.assertEqual(len(self.timers), 2)
        self.assertEqual(connection.calls, [])

    def test_parent(self):
        connection = self.put(30)
        self.connections.before_fork()
        self.now += 10
        self.connections.after_fork_in_parent()
        self.assertFalse(self.is_locked())
        self.assertEqual(connection.calls, [])
        self.assertEqual(self.seconds(), [30, 20])
        self.put(20)
        self.assertEqual(self.seconds(), [30, 20])
        self.run_timer()
        self.assertEqual(connection.calls, ["close"])

    def test_parent_without_connections(self):
        self.connections.before_fork()
        self.connections.after_fork_in_parent()
        self.assertFalse(self.is_locked())
        self.assertEqual(self.timers, [])

    def test_child(self):
        connection = self.put(30)
        manager = self.connections.pool_manager(30)
        self.assertIs(self.connections.pool_manager(30), manager)
        self.connections.before_fork()
        self.connections.after_fork_in_child()
        self.assertFalse(self.is_locked())
        self.assertEqual(connection.calls, ["abandon"])
        self.assertEqual(self.connections._idle, set())
        self.assertIsNot(self.connections.pool_manager(30), manager)
        self.put(40)
        self.assertEqual(self.seconds(), [30, 40])


class QueueTests(SimpleTestCase):
    def setUp(self) -> None:
        self.connections: Any = connections._Connections()
        replacement = patch.object(connections, "_connections", self.connections)
        replacement.start()
        self.addCleanup(replacement.stop)
        self.pool: Any = connections._new_manager(1000).connection_from_url("http://localhost")
        self.queue: Any = type(self.pool.pool)(1)

    def connection(self) -> Any:
        return connections._KeptHTTPConnection("localhost")

    def test_idle_while_in_the_queue(self):
        connection = self.connection()
        self.queue.put(connection)
        self.assertEqual(self.connections._idle, {connection})
        self.assertAlmostEqual(connection.idle_until, time.monotonic() + 1000, delta=60)
        self.assertIs(self.queue.get(), connection)
        self.assertEqual(self.connections._idle, set())

    def test_idle_before_it_can_be_taken(self):
        connection = self.connection()
        with patch("queue.LifoQueue.put", lambda *args: self.connections.take(connection)):
            self.queue.put(connection)
        self.assertEqual(self.connections._idle, set())

    def test_full(self):
        self.queue.put(self.connection())
        for item in (self.connection(), None):
            with self.assertRaises(Full):
                self.queue.put(item, block=False)
            with self.assertRaises(Full):
                self.queue.put(item, timeout=0.001)
        self.assertEqual(len(self.connections._idle), 1)

    def test_nothing_to_wait_for(self):
        self.queue.put(None)
        self.assertIsNone(self.queue.get(block=False))
        for options in ({"block": False}, {"timeout": 0.001}):
            with self.assertRaises(Empty):
                self.queue.get(**options)

    def test_closed_pool(self):
        connection = self.connection()
        connection.sock = sock = Mock()
        self.pool.pool.get()
        self.pool.pool.put(connection)
        self.pool.close()
        sock.close.assert_called_once_with()
        self.assertEqual(self.connections._idle, set())

    def test_abandon(self):
        connection = self.connection()
        connection.abandon()
        connection.sock = sock = Mock()
        connection.putrequest("GET", "/")
        connection.abandon()
        sock.close.assert_called_once_with()
        self.assertIsNone(connection.sock)
        connection.putheader("Still", "a request")
