from __future__ import annotations

import gzip
import os
import socket
import ssl
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import requests
from django.test import SimpleTestCase, override_settings

from anymail.exceptions import AnymailAPIError, AnymailRequestsAPIError
from anymail.inbound import AnymailInboundMessage
from anymail.webhooks import downloads
from anymail.webhooks.downloads import Downloads, is_public
from tests.http_server import Answer, HttpServer
from tests.utils import skip_without

from .sns_signing import make_certificate, rsa_key


@contextmanager
def dripping_server(start, rest, seconds=0.02):
    """Run a server that answers with the start, and then the rest again and again, slowly."""
    ended = threading.Event()

    def serve():
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(start)
                while not ended.wait(seconds):
                    connection.sendall(rest)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class AllowedUrlTests(SimpleTestCase):
    def check(self, url, api_url="https://api.example.com/v1/", hosts=("*.example.net",)):
        Downloads("ESP", api_url, hosts).check_url(url)

    def test_allowed(self):
        for url in (
            "https://api.example.com/v1/messages/5",
            "https://API.example.com:443/elsewhere",
            "https://files.example.net/x?signature=y",
            "https://a.b.example.net:443/",
        ):
            with self.subTest(url=url):
                self.check(url)

    def test_refused(self):
        for url in (
            "http://api.example.com/v1/messages/5",
            "https://api.example.com:8443/",
            "https://example.com/",
            "https://files.example.net.evil.example/",
            "https://files.example.net:8443/",
            "http://files.example.net/",
            "ftp://files.example.net/",
            "https://user:pass@files.example.net/",
            "https://files.example.net@evil.example/",
            "https://evil.example/?files.example.net",
            "https://127.0.0.1/",
            "file:///etc/passwd",
            "//files.example.net/",
            "files.example.net",
            "https://files.example.net:port/",
            "https://[::1/",
            # requests connects to evil.example.
            r"https://evil.example\.example.net/",
            r"https://evil.example\@files.example.net/",
            "https://evil.example%2f.example.net/",
            "https://evil.example%23.example.net/",
            "https://evil example.example.net/",
            "https://evil.example\t.example.net/",
            "https://.example.net/",
            "https://files..example.net/",
            "https://-.example.net/",
            f"https://{'a' * 64}.example.net/",
            f"https://{'a.' * 130}example.net/",
            "https://\u200b.example.net/",
            "https://\ud800.example.net/",
            "https://[v1.x]/",
            "",
            None,
            5,
        ):
            with self.subTest(url=url), self.assertRaisesRegex(AnymailAPIError, "Refused"):
                self.check(url)

    def test_any_host_means_any_public_name(self):
        self.check("https://bucket.example/raw", hosts=["*"])
        for url in (
            "https://localhost/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://127.0.0.0x1/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
        ):
            with self.subTest(url=url), self.assertRaisesRegex(AnymailAPIError, "Refused"):
                self.check(url, hosts=["*"])

    def test_api_url_of_the_project_can_be_anywhere(self):
        self.check("http://localhost:8025/v1/x", api_url="http://localhost:8025/v1/")
        with self.assertRaises(AnymailAPIError):
            self.check("http://localhost:8026/v1/x", api_url="http://localhost:8025/v1/")

    def test_error_has_no_credentials(self):
        with self.assertRaises(AnymailAPIError) as raised:
            self.check("https://evil.example/path?signature=hush")
        self.assertNotIn("hush", str(raised.exception))
        self.assertIn("https://evil.example:443", str(raised.exception))
        self.assertEqual(raised.exception.esp_name, "ESP")


class DownloadTests(SimpleTestCase):
    def serve(self, *answers):
        server = HttpServer(*answers)
        server.__enter__()  # TestCase.enterContext is new in Python 3.11
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def test_url_is_checked(self):
        api, other = self.serve(), self.serve()
        for download in (
            Downloads("ESP", api.url).get_json,
            Downloads("ESP", api.url).get_content,
            lambda url: list(Downloads("ESP", api.url, ["*"]).iter_content(url)),
        ):
            with self.assertRaisesRegex(AnymailAPIError, "Refused to download"):
                download(other.url)
        self.assertEqual(other.requests, [])

    def test_json(self):
        server = self.serve(Answer(body=b'{"a": "\xc3\xa9"}'))
        data = Downloads("ESP", server.url).get_json(f"{server.url}/x", {"Api-Key": "k"})
        self.assertEqual(data, {"a": "é"})
        self.assertEqual(server.requests[0].header("Api-Key"), "k")
        self.assertEqual(server.requests[0].header("Accept-Encoding"), "identity")

    def test_content(self):
        server = self.serve(Answer(body=b"\x00" * 200_000, headers={"Content-Type": "image/png"}))
        content, content_type = Downloads("ESP", server.url).get_content(server.url)
        self.assertEqual((content, content_type), (b"\x00" * 200_000, "image/png"))

    def test_streamed_into_a_message(self):
        server = self.serve(Answer(body=b"Subject: Hi\r\n\r\n" + b"x" * 100, chunked=True))
        chunks = Downloads("ESP", server.url).iter_content(server.url, chunk_size=3)
        message = AnymailInboundMessage.parse_raw_mime_chunks(chunks)
        self.assertEqual(message.subject, "Hi")
        self.assertEqual(message.text, "x" * 100)

    def test_invalid_json(self):
        server = self.serve(Answer(body=b"<html>"))
        with self.assertRaisesRegex(AnymailRequestsAPIError, "Invalid JSON in ESP") as raised:
            Downloads("ESP", server.url).get_json(server.url)
        self.assertEqual(raised.exception.status_code, 200)
        self.assertIn("<html>", str(raised.exception))

    def test_error_answer(self):
        server = self.serve(Answer(status=404, body=b'{"message": "gone"}'))
        with self.assertRaises(requests.HTTPError) as raised:
            Downloads("ESP", server.url).get_json(server.url)
        self.assertIsInstance(raised.exception, AnymailRequestsAPIError)
        self.assertEqual(raised.exception.status_code, 404)
        self.assertIn('"message": "gone"', str(raised.exception))

    def test_large_error_answer(self):
        server = self.serve(Answer(status=500, body=b"x" * 3000))
        with self.assertRaises(AnymailRequestsAPIError) as raised:
            Downloads("ESP", server.url).get_json(server.url)
        self.assertEqual(len(raised.exception.response.content), downloads.MAX_ERROR_BYTES)

    def test_error_answer_that_does_not_end(self):
        server = self.serve(Answer(status=500, body=b"reason", stall_before_end=True))
        with (
            override_settings(ANYMAIL={"REQUESTS_TIMEOUT": 0.05}),
            self.assertRaises(AnymailRequestsAPIError) as raised,
        ):
            Downloads("ESP", server.url).get_json(server.url)
        self.assertEqual(raised.exception.status_code, 500)

    def test_redirects_are_not_followed(self):
        target = self.serve(Answer())
        server = self.serve(Answer(status=302, headers={"Location": target.url}))
        with self.assertRaises(AnymailRequestsAPIError):
            Downloads("ESP", server.url).get_content(server.url)
        self.assertEqual(target.requests, [])

    def test_connection_error(self):
        with HttpServer() as server:
            url = server.url
        with self.assertRaises(requests.ConnectionError) as raised:
            Downloads("ESP", url).get_content(url)
        self.assertIsInstance(raised.exception, AnymailRequestsAPIError)
        self.assertIn("Cannot download from ESP", str(raised.exception))

    def test_connection_lost_in_the_middle(self):
        server = self.serve(Answer(body=b"x" * 100_000, reset_after=10))
        with self.assertRaises(AnymailRequestsAPIError):
            Downloads("ESP", server.url).get_content(server.url)

    @override_settings(ANYMAIL={"REQUESTS_TIMEOUT": 0.05})
    def test_timeout(self):
        server = self.serve(Answer(stall=True))
        with self.assertRaises(requests.Timeout):
            Downloads("ESP", server.url).get_content(server.url)

    @override_settings(ANYMAIL={"INBOUND_MAX_BYTES": 1000})
    def test_limit_holds_for_all_of_a_message(self):
        server = self.serve(Answer(body=b"x" * 600))
        files = Downloads("ESP", server.url)
        self.assertEqual(len(files.get_content(server.url)[0]), 600)
        with self.assertRaisesRegex(AnymailAPIError, "INBOUND_MAX_BYTES=1000"):
            files.get_content(server.url)

    @override_settings(ANYMAIL={"INBOUND_MAX_BYTES": 1000})
    def test_nothing_much_beyond_the_limit_is_read(self):
        pieces = iter([b"x" * 600, b"x" * 600, b"never reached"])
        with self.assertRaises(AnymailAPIError):
            list(Downloads("ESP", "https://x.example").limit(pieces))
        self.assertEqual(list(pieces), [b"never reached"])

    @override_settings(ANYMAIL={"INBOUND_MAX_BYTES": None})
    def test_no_limit(self):
        server = self.serve(Answer(body=b"x" * 2000))
        self.assertEqual(len(Downloads("ESP", server.url).get_content(server.url)[0]), 2000)

    def test_deadline(self):
        with patch.object(downloads, "DEADLINE", 0):
            files = Downloads("ESP", "https://x.example")
            with self.assertRaisesRegex(AnymailAPIError, "longer than 0 seconds"):
                list(files.limit([b"x"]))

    def test_deadline_for_whatever_keeps_coming(self):
        """However long each wait may be, and whatever it is waited for"""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start, rest in (
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"", b"H"),
            (b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
            (b"HTTP/1.1 500 Error\r\nContent-Length: 1000000\r\n\r\n", b"x"),
            (chunked, b"1\r\nx\r\n"),
            (chunked, b"0"),
            (chunked + b"0\r\n", b"X: y\r\n"),
        ):
            with self.subTest(start=start, rest=rest), dripping_server(start, rest) as url:
                begin = time.monotonic()
                with (
                    patch.object(downloads, "DEADLINE", 0.3),
                    self.assertRaisesRegex(AnymailAPIError, "longer than 0.3 s|response 500"),
                ):
                    Downloads("ESP", url).get_content(url)
                self.assertLess(time.monotonic() - begin, 2)

    def test_limit_of_what_is_not_content(self):
        for start, rest in (
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
        ):
            with (
                self.subTest(start=start, rest=rest[:20]),
                dripping_server(start, rest, 0) as url,
                override_settings(ANYMAIL={"INBOUND_MAX_BYTES": 1000}),
                patch.object(downloads, "DEADLINE", 9),
                self.assertRaisesRegex(AnymailAPIError, "INBOUND_MAX_BYTES=1000"),
            ):
                Downloads("ESP", url).get_content(url)

    def test_deadline_holds_for_all_of_a_message(self):
        server = self.serve(Answer())
        with patch.object(downloads, "DEADLINE", 0.1):
            files = Downloads("ESP", server.url)
            files.get_content(server.url)
            time.sleep(0.2)
            with (
                patch.object(requests.Session, "get") as mock,
                self.assertRaisesRegex(AnymailAPIError, "longer than 0.1 s"),
            ):
                files.get_content(server.url)
        mock.assert_not_called()

    def test_timeout_of_each_wait(self):
        with (
            override_settings(ANYMAIL={"REQUESTS_TIMEOUT": 0.2}),
            dripping_server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"x", 0.1) as url,
        ):
            self.assertEqual(Downloads("ESP", url).get_content(url)[0], b"x" * 9)

    def test_compressed(self):
        """It's refused, for it can turn out far larger than what arrives."""
        bomb = gzip.compress(bytes(10_000_000))
        for status, encoding in ((200, "gzip"), (200, "GZIP, gzip"), (500, "gzip"), (200, "br")):
            headers = {"Content-Encoding": encoding}
            server = self.serve(Answer(status=status, body=bomb, headers=headers))
            with (
                self.subTest(status=status, encoding=encoding),
                self.assertRaisesRegex(AnymailRequestsAPIError, "Compressed content") as raised,
            ):
                Downloads("ESP", server.url).get_content(server.url)
            self.assertEqual(raised.exception.response.content, b"")
            self.assertEqual(raised.exception.status_code, status)
        server = self.serve(Answer(body=b"x", headers={"Content-Encoding": "identity"}))
        self.assertEqual(Downloads("ESP", server.url).get_content(server.url)[0], b"x")

    def test_malformed_host(self):
        """Of the API: all others are refused before."""
        for url in (f"https://{'a' * 70}.example/", "https://a..example/"):
            with self.subTest(url), self.assertRaises(AnymailAPIError) as raised:
                Downloads("ESP", url).get_content(f"{url}?token=hush")
            self.assertNotIn("hush", str(raised.exception))

    def test_through_a_proxy(self):
        with dripping_server(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n") as proxy:
            environment = {"http_proxy": proxy, "no_proxy": ""}
            with (
                patch.dict(os.environ, environment),
                patch.object(downloads, "DEADLINE", 0.3),
                self.assertRaisesRegex(AnymailAPIError, "longer than 0.3 s"),
            ):
                Downloads("ESP", "http://esp.example/").get_content("http://esp.example/")

    def test_response_is_closed(self):
        server = self.serve(Answer(body=b"x" * 2000))
        for settings, error in (
            ({}, ZeroDivisionError),
            ({"INBOUND_MAX_BYTES": 1}, AnymailAPIError),
        ):
            with (
                self.subTest(error=error.__name__),
                override_settings(ANYMAIL=settings),
                self.assertRaises(error),
                Downloads("ESP", server.url).get(server.url) as response,
            ):
                list(Downloads("ESP", server.url).chunks(response))
                raise ZeroDivisionError
            self.assertTrue(response.raw.closed)

    def test_netrc_is_not_read(self):
        server = self.serve(Answer())
        with tempfile.TemporaryDirectory() as directory:
            netrc = Path(directory, "netrc")
            netrc.write_text("machine 127.0.0.1 login someone password hush\n")
            with patch.dict(os.environ, {"NETRC": str(netrc)}):
                # Without our precaution, it would be:
                self.assertIsNotNone(requests.utils.get_netrc_auth(server.url))
                Downloads("ESP", server.url).get_content(server.url)
        self.assertIsNone(server.requests[0].header("Authorization"))


class PublicAddressTests(SimpleTestCase):
    """What a pattern allows must not lead to an internal network."""

    url = "https://files.example.net/raw?signature=hush"

    def test_is_public(self):
        for address, expected in {
            "8.8.8.8": True,
            "2606:4700::1111": True,
            "::ffff:8.8.8.8": True,
            "64:ff9b::808:808": True,
            "2002:808:808::": True,
            "127.0.0.1": False,
            "10.1.2.3": False,
            "172.16.0.1": False,
            "192.168.1.1": False,
            "100.64.0.1": False,
            "169.254.169.254": False,
            "0.0.0.0": False,
            "224.0.0.1": False,
            "255.255.255.255": False,
            "::": False,
            "::1": False,
            "fe80::1": False,
            "fe80::1%eth0": False,
            "fd00:ec2::254": False,
            "ff0e::1": False,
            "::ffff:127.0.0.1": False,
            "::ffff:169.254.169.254": False,
            "::ffff:0:7f00:1": False,  # ::ffff:0:0:0/96, RFC 2765
            "::ffff:0:808:808": False,
            "64:ff9b:1::808:808": False,  # RFC 8215
            "::127.0.0.1": False,
            "::8.8.8.8": False,
            "fec0::1": False,
            "4000::1": False,
            "2001:db8::1": False,
            "2001::1": False,
            "64:ff9b::a00:1": False,
            "2002:a00:1::": False,
        }.items():
            with self.subTest(address):
                self.assertIs(is_public(address), expected)

    def resolve_to(self, address):
        """Have all names lead to an address, whatever the port."""

        def getaddrinfo(*args, **kwargs):
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

        return patch("socket.getaddrinfo", getaddrinfo)

    def first_bytes(self, hosts, error_class):
        """Return the error, and what arrives at a server on this machine."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            self.resolve_to(listener.getsockname()),
            override_settings(ANYMAIL={"REQUESTS_TIMEOUT": 0.05}),
        ):
            with self.assertRaises(error_class) as raised:
                Downloads("ESP", "https://api.example.com/", hosts).get_content(self.url)
            connection, _ = listener.accept()
            with connection:
                return raised.exception, connection.recv(100)

    def test_internal_address(self):
        for hosts in (["*"], ["*.example.net"], ["files.example.ne?"]):
            with self.subTest(hosts=hosts):
                error, received = self.first_bytes(hosts, AnymailAPIError)
                self.assertEqual(received, b"")
                self.assertRegex(
                    str(error),
                    "^Refused to download from https://files.example.net:443: its address, "
                    "127.0.0.1, is not a public one",
                )
                self.assertNotIn("hush", str(error))
                self.assertEqual(error.esp_name, "ESP")

    def test_host_that_is_named(self):
        """It can be an internal one."""
        for hosts in (["files.example.net"], ["*", "FILES.example.net"]):
            with self.subTest(hosts=hosts):
                error, received = self.first_bytes(hosts, AnymailRequestsAPIError)
                self.assertNotEqual(received, b"")  # TLS
                self.assertIn("Cannot download from ESP", str(error))

    @skip_without("cryptography")
    def test_public_address(self):
        key = rsa_key()
        certificate = make_certificate("ca", key, dns_names=("files.example.net",))
        with tempfile.TemporaryDirectory() as directory:
            pem = Path(directory, "certificate.pem")
            pem.write_bytes(certificate_and_key(certificate, key))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            with HttpServer(Answer(body=b"content")) as server:
                server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
                with (
                    self.resolve_to(server._server.server_address),
                    patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": str(pem)}),
                    patch.object(downloads, "is_public", return_value=True) as mock,
                ):
                    files = Downloads("ESP", "https://api.example.com/", ["*"])
                    self.assertEqual(files.get_content(self.url)[0], b"content")
                    # Certificates are verified as ever.
                    with self.assertRaises(requests.exceptions.SSLError):
                        files.get_content("https://other.example.net/")
        mock.assert_called_with("127.0.0.1")


def certificate_and_key(certificate, key):
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
