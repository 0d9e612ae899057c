"""Calls in an event loop: connections, TLS, timeouts, and what is known of a lost answer."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests

from anymail.aio import asend_messages
from anymail.backends.postmark import EmailBackend
from anymail.exceptions import AnymailRequestsAPIError, Problem
from anymail.sending import async_http

from ..http_server import Answer, HttpServer, ReceivedRequest
from ..sending.test_lean import Wire, answer
from ..tls import make_certificate, server_context
from ..utils import make_message
from .test_sending import OK, SendingTestCase


class TransportTestCase(SendingTestCase):
    def backend(self, url: str | None = None, **options: Any) -> EmailBackend:
        url = url or f"{self.server.url}/"
        return EmailBackend(api_url=url, server_token="token", **options)

    def send(self, backend: EmailBackend | None = None, **attributes: Any) -> Any:
        message = make_message(**attributes)
        self.await_((backend or self.backend()).asend_messages([message]))
        return message

    def send_failing(self, backend: EmailBackend | None = None) -> AnymailRequestsAPIError:
        with self.assertRaises(AnymailRequestsAPIError) as caught:
            self.send(backend)
        return caught.exception


class ConnectionsTests(TransportTestCase):
    def test_kept_for_other_backends(self):
        for _ in range(3):
            self.send()
        self.assertEqual(self.server.connections, 1)

    def test_not_kept(self):
        for _ in range(2):
            self.send(self.backend(connection_max_idle=0))
        self.assertEqual(self.server.connections, 2)

    def test_bounded(self):
        """Many tasks wait for each other's connections."""
        with patch.object(async_http, "MAX_CONNECTIONS_PER_HOST", 5):

            async def send() -> int:
                return sum(await asyncio.gather(*(make_message().asend() for _ in range(30))))

            self.assertEqual(self.await_(send()), 30)
        self.assertLessEqual(self.server.connections, 5)

    def test_opened_one_by_one(self):
        """To compute for the TLS of hundreds at once would have the loop stand still."""
        connecting = most = 0
        real = asyncio.base_events.BaseEventLoop.create_connection

        async def create_connection(loop: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal connecting, most
            connecting += 1
            most = max(most, connecting)
            try:
                return await real(loop, *args, **kwargs)
            finally:
                connecting -= 1

        with patch.object(
            asyncio.base_events.BaseEventLoop, "create_connection", create_connection
        ):
            self.await_(asend_messages([make_message() for _ in range(40)]))
        self.assertGreater(most, 1)
        self.assertLessEqual(most, async_http.MAX_CONNECTING)

    def test_closed_with_the_loop(self):
        async def send() -> None:
            await make_message().asend()

        for _ in range(2):
            asyncio.run(send())
        self.assertEqual(self.server.connections, 2)
        self.assertEqual([loop for loop in async_http._clients if loop is not self.loop], [])

    def test_loop_that_is_closed_without_a_shutdown(self):
        loop = asyncio.new_event_loop()
        backend = self.backend(connection_max_idle=0)
        loop.run_until_complete(backend.asend_messages([make_message()]))
        loop.close()
        self.assertIn(loop, async_http._clients)
        with self.assertLogs("asyncio"), self.assertWarnsRegex(ResourceWarning, "Unclosed"):
            self.send()
            gc.collect()
        self.assertNotIn(loop, async_http._clients)

    def test_several_loops(self):
        """Each thread can have a loop of its own."""
        results: list[int] = []

        def run() -> None:
            results.append(asyncio.run(asend_messages([make_message() for _ in range(5)])))

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.assertEqual(results, [5, 5, 5])

    def test_closed_by_the_server(self):
        """That is known before a connection is used again, so that no message is lost."""
        for _ in range(3):
            self.send()
            self.server.close_connections()
        self.assertEqual(self.server.connections, 3)


class TLSTests(TransportTestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.certificate = make_certificate(Path(directory.name))
        self.tls_server = HttpServer(
            Answer(200, json.dumps(OK).encode()), tls=server_context(self.certificate)
        )
        self.tls_server.__enter__()
        self.addCleanup(self.tls_server.__exit__, None, None, None)

    def test_trusted(self):
        with patch.dict("os.environ", {"REQUESTS_CA_BUNDLE": str(self.certificate)}):
            for _ in range(2):
                message = self.send(self.backend(f"{self.tls_server.url}/"))
                self.assertEqual(message.anymail_status.message_id, "id")
        self.assertEqual(self.tls_server.connections, 1)

    def test_not_trusted(self):
        error = self.send_failing(self.backend(f"{self.tls_server.url}/"))
        self.assertIsInstance(error, requests.exceptions.SSLError)
        self.assertIs(error.problem, Problem.UNREACHABLE)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(error))

    def test_contexts(self):
        """What requests has as "verify" and "cert" means the same."""
        directory = self.certificate.parent
        context = self.await_(async_http._ssl_context(False, None))
        self.assertEqual(context.verify_mode, ssl.CERT_NONE)
        self.assertFalse(context.check_hostname)
        context = self.await_(async_http._ssl_context(True, None))
        self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)
        self.assertTrue(context.check_hostname)
        self.assertGreater(len(context.get_ca_certs()), 50)
        self.assertIs(self.await_(async_http._ssl_context(True, None)), context)
        pair = [str(self.certificate), str(self.certificate)]
        for cert in (str(self.certificate), pair):
            context = self.await_(async_http._ssl_context(str(self.certificate), cert))
            self.assertEqual(len(context.get_ca_certs()), 1)
        self.await_(async_http._ssl_context(str(directory), None))
        with self.assertRaises(OSError):
            self.await_(async_http._ssl_context("/nowhere", None))

    def test_tunnel(self):
        """Through a proxy; opening the tunnel is not handing over the message."""
        wire = Wire()
        self.addCleanup(wire.server_close)
        self.addCleanup(wire.shutdown)
        environment = {"HTTPS_PROXY": f"http://user:secret@{wire.host}", "NO_PROXY": ""}
        for status, lines in (("403 No", ["Connection: close"]), ("200 OK", ["Connection: close"])):
            wire.answers[:] = [answer(*lines, status=status)]
            with self.subTest(status), patch.dict("os.environ", environment):
                error = self.send_failing(self.backend("https://esp.example/", timeout=0.3))
                self.assertIs(error.problem, Problem.UNREACHABLE)
                self.assertIs(error.handed_over, False)
                self.assertNotIn("secret", str(error))
        self.assertIn(b"CONNECT esp.example:443", wire.received[0])


class LostAnswersTests(TransportTestCase):
    def test_connection_lost(self):
        for lost in (Answer(close=True), Answer(200, b"[" * 50, reset_after=10)):
            with self.subTest(lost):
                self.answers["Subject"] = lost
                error = self.send_failing()
                self.assertIs(error.problem, Problem.UNCLEAR)
                self.assertIs(error.handed_over, True)

    def test_nothing_listens(self):
        with HttpServer() as server:
            url = f"{server.url}/"
        error = self.send_failing(self.backend(url))
        self.assertIsInstance(error, requests.ConnectionError)
        self.assertIs(error.problem, Problem.UNREACHABLE)

    def test_no_such_host(self):
        error = self.send_failing(self.backend("http://nowhere.invalid/"))
        self.assertIsInstance(error, requests.ConnectionError)
        self.assertIs(error.problem, Problem.UNREACHABLE)

    def test_read_timeout(self):
        for timeout in (0.2, (5, 0.2)):
            self.answers["Subject"] = Answer(stall=True)
            error = self.send_failing(self.backend(timeout=timeout))
            self.assertIsInstance(error, requests.ReadTimeout)
            self.assertIs(error.problem, Problem.UNCLEAR)

    def test_connect_timeout(self):
        async def connect(*args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(10)

        # Nobody listens at an address that is kept for documentation.
        with patch("aiohttp.connector.aiohappyeyeballs.start_connection", connect):
            error = self.send_failing(self.backend("http://192.0.2.1/", timeout=(0.1, 5)))
        self.assertIsInstance(error, requests.ConnectTimeout)
        self.assertIs(error.problem, Problem.UNREACHABLE)

    def test_time_that_is_left(self):
        """A strategy's deadline cuts an attempt's timeout."""
        timeouts = []
        real = async_http.send

        async def send(*args: Any, timeout: Any, **kwargs: Any) -> Any:
            timeouts.append(timeout)
            return await real(*args, timeout=timeout, **kwargs)

        with patch.object(async_http, "send", send):
            self.await_(make_message().asend(using="failover"))
        [(connect, read)] = timeouts
        self.assertEqual((connect, read), (5, 30))

    def test_wrong_settings(self):
        with self.assertRaisesMessage(Exception, "POSTMARK_API_URL"):
            self.send(self.backend("postmark/"))


class MessagesTests(TransportTestCase):
    def test_large(self):
        content = bytes(range(256)) * 10_000
        message = make_message()
        message.attach("large.bin", content, "application/octet-stream")
        self.await_(self.backend().asend_messages([message]))
        [request] = self.server.requests
        self.assertEqual(int(request.header("Content-Length") or 0), len(request.body))
        self.assertEqual(len(json.loads(request.body)["Attachments"][0]["Content"]), 3_413_336)

    def test_cookies_are_the_backends(self):
        def answer(received: ReceivedRequest) -> Answer:
            headers = {"Content-Type": "application/json", "Set-Cookie": "a=b; Path=/"}
            return Answer(200, json.dumps(OK).encode(), headers)

        self.server.answers = [answer]

        async def send() -> None:
            async with self.backend() as backend:
                for _ in range(2):
                    await backend.asend_messages([make_message()])

        self.await_(send())
        self.send()
        cookies = [request.header("Cookie") for request in self.server.requests]
        self.assertEqual(cookies, [None, "a=b", None])

    def test_debug(self):
        with patch("builtins.print") as printed:
            self.send(self.backend(debug_api_requests=True))
        [[dump]] = [call.args for call in printed.call_args_list]
        self.assertIn("===== Anymail API request\nPOST http://127.0.0.1", dump)
        self.assertIn("HTTP 200 OK", dump)
        self.assertNotIn("token", dump)

    def test_response(self):
        message = self.send()
        response = message.anymail_status.esp_response
        self.assertIsInstance(response, requests.Response)
        self.assertEqual(response.json()["MessageID"], "id of Subject")
        self.assertGreater(response.elapsed.total_seconds(), 0)
        self.assertEqual(response.headers["content-type"], "application/json")
