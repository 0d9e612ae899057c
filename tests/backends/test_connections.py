"""Connections that outlive the backend: shared, but never stale, and never with other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from django.test import SimpleTestCase, override_settings, tag
from requests.adapters import HTTPAdapter

from anymail import _connections
from anymail.backends.postmark import EmailBackend
from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailInvalidMailer,
    AnymailRequestsAPIError,
)

from ..http_server import Answer, HttpServer, ReceivedRequest
from ..tls import make_certificate, server_context
from ..utils import make_message, skip_without

POSTMARK_ANSWER = Answer(
    body=b'{"To": "to@example.com", "Message": "OK", "ErrorCode": 0, "MessageID": "id"}'
)


class BrokenSocket:
    """A socket on which some calls of sendall() fail."""

    def __init__(self, sock: Any, fails: set[int]) -> None:
        self._sock = sock
        self._fails = fails
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: Any) -> None:
        self._calls += 1
        if self._calls in self._fails:
            raise ConnectionResetError("broken")
        self._sock.sendall(data)


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

    def kept_connections(self) -> list[Any]:
        return list(_connections._connections._idle)

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
            self.send(server, connection_max_idle=0)
        self.assertEqual([r.connection for r in server.requests], [1, 2])
        self.wait_until(lambda: server.open_connections == 0)

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

        class RecordingConnection(_connections.HTTPConnection):
            def request(self, method, url, *args, **kwargs):
                requests_sent.append(f"{method} {url}")
                super().request(method, url, *args, **kwargs)

        server = self.serve()
        pool_class = _connections.HTTPConnectionPool
        with patch.object(pool_class, "ConnectionCls", RecordingConnection):
            self.send(server)
        self.assertEqual(requests_sent, ["POST /email"])

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

        for _ in range(2):
            ProxyBackend(api_url="http://esp.example/").send_messages([make_message()])
        self.assertEqual([r.path for r in proxy.requests], ["http://esp.example/email"] * 2)
        self.assertEqual(proxy.connections, 1)

    def test_socks_proxy_is_left_to_requests(self):
        adapter = _connections.SharedConnectionsAdapter(30)
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
        manager = _connections._connections.pool_manager(29)  # no other test has this limit
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
        with patch.object(_connections._Connections, "_start_timer"):
            self.send(server, connection_max_idle=1000)
            self.send(server, connection_max_idle=1000)
            [connection] = [c for c in self.kept_connections() if server.url.endswith(str(c.port))]
            connection.idle_until = time.monotonic()
            self.send(server, connection_max_idle=1000)
        self.assertEqual([r.connection for r in server.requests], [1, 1, 2])

    def test_no_threads_when_the_interpreter_exits(self):
        server = self.serve()
        connections = _connections._Connections()
        with (
            patch("threading.Timer.start", side_effect=RuntimeError("can't start new thread")),
            patch.object(_connections, "_connections", connections),
        ):
            self.send(server)
        connections.close_idle()
        self.assertEqual(len(server.requests), 1)


class StaleTests(ConnectionsTestCase):
    def break_connection(self, server: HttpServer, *fails: int) -> None:
        """Have the kept connection fail the given calls of sendall(), which count from 1."""
        [connection] = [c for c in self.kept_connections() if server.url.endswith(str(c.port))]
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
            self.send(server)
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
        real_connect = _connections.HTTPConnection.connect
        connects = []

        def connect(connection):
            real_connect(connection)
            connects.append(connection)
            connection.sock = BrokenSocket(connection.sock, {1})

        with (
            patch.object(_connections.HTTPConnection, "connect", connect),
            self.assertRaises(AnymailRequestsAPIError),
        ):
            self.send(server)
        self.assertEqual(len(connects), 1)

    def test_retried_once_at_most(self):
        server = self.serve()
        self.send(server)
        self.break_connection(server, 1)
        real_connect = _connections.HTTPConnection.connect

        def connect(connection):
            real_connect(connection)
            connection.sock = BrokenSocket(connection.sock, {1})

        with (
            patch.object(_connections.HTTPConnection, "connect", connect),
            self.assertRaises(AnymailRequestsAPIError),
        ):
            self.send(server)
        self.assertEqual(len(server.requests), 1)

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
