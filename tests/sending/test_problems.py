"""What HTTP statuses, headers and other libraries' exceptions mean."""

from __future__ import annotations

import errno
import pickle
import smtplib
import socket
import ssl
import threading
from datetime import datetime, timezone
from email.utils import format_datetime

import requests
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError

from anymail.backends.postmark import EmailBackend as PostmarkBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
    AnymailWebhookValidationFailure,
    Problem,
    problem_of,
)
from anymail.sending.problems import (
    ADVICE,
    boto_problem,
    connection_problem,
    foreign_problem,
    http_problem,
    is_configuration_error,
    retry_after,
    smtp_problem,
)

from ..utils import make_response, skip_without


class HttpStatusTests(SimpleTestCase):
    def test_statuses(self):
        for statuses, expected in [
            ((400, 409, 415, 422, 418), Problem.MESSAGE),
            ((413, 414, 431), Problem.UNSUITABLE),
            ((300, 301, 302, 304, 307, 308), Problem.ACCOUNT),
            ((401, 402, 403, 404, 405, 407, 451), Problem.ACCOUNT),
            ((420, 421, 425, 429, 503), Problem.BUSY),
            ((408, 500, 502, 504, 599), Problem.UNCLEAR),
        ]:
            for status in statuses:
                with self.subTest(status=status):
                    self.assertEqual(http_problem(status), expected)

    def test_proxy(self):
        for status, expected in [
            (400, Problem.ACCOUNT),
            (422, Problem.ACCOUNT),
            (409, Problem.MESSAGE),
            (413, Problem.UNSUITABLE),
            (429, Problem.BUSY),
            (502, Problem.UNCLEAR),
        ]:
            with self.subTest(status=status):
                self.assertEqual(http_problem(status, by_provider=False), expected)

    def test_advice(self):
        self.assertEqual(set(ADVICE), set(Problem))


def refused_url() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/"


class ConnectionTests(SimpleTestCase):
    def error(self, url: str, adapter: HTTPAdapter | None = None) -> Exception:
        with requests.Session() as session:
            session.trust_env = False
            if adapter is not None:
                session.mount("http://", adapter)
            try:
                session.post(url, data=b"message", timeout=5)
            except requests.RequestException as error:
                return error
        raise AssertionError("There was no error")

    def test_known(self):
        error = requests.ConnectionError("whatever")
        self.assertEqual(connection_problem(error, handed_over=False), Problem.UNREACHABLE)
        self.assertEqual(connection_problem(error, handed_over=True), Problem.UNCLEAR)
        self.assertEqual(connection_problem(error), Problem.UNCLEAR)

    def test_refused(self):
        self.assertEqual(connection_problem(self.error(refused_url())), Problem.UNREACHABLE)

    def test_unknown_host(self):
        error = self.error("http://nowhere.invalid/")
        self.assertEqual(connection_problem(error), Problem.UNREACHABLE)

    def test_repeated(self):
        """The first attempt may have been taken; the second is refused."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        received: list[bytes] = []

        def take_one() -> None:
            connection, _ = listener.accept()
            received.append(connection.recv(10_000))
            listener.close()
            connection.close()

        thread = threading.Thread(target=take_one)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.start()
        adapter = HTTPAdapter(max_retries=Retry(total=1, allowed_methods=None))
        error = self.error(url, adapter)
        thread.join()
        self.assertIn(b"POST", received[0])
        self.assertIn("Connection refused", str(error))
        self.assertEqual(connection_problem(error), Problem.UNCLEAR)

    def test_tls(self):
        for cause, expected in [
            (ssl.SSLCertVerificationError("self-signed"), Problem.UNREACHABLE),
            (ssl.SSLEOFError("EOF in violation of protocol"), Problem.UNCLEAR),
        ]:
            error = requests.exceptions.SSLError(cause)
            with self.subTest(cause=cause):
                self.assertEqual(connection_problem(error), expected)

    def test_others_say_nothing(self):
        for error in (
            requests.exceptions.ProxyError("proxy"),
            requests.ReadTimeout("read"),
            requests.ConnectionError("reset"),
            requests.exceptions.ChunkedEncodingError("cut"),
        ):
            with self.subTest(error=error):
                self.assertEqual(connection_problem(error), Problem.UNCLEAR)

    def test_circle_of_causes(self):
        error = requests.ConnectionError("a")
        error.__context__ = ValueError(error)
        self.assertEqual(connection_problem(error), Problem.UNCLEAR)

    def test_configuration(self):
        self.assertTrue(is_configuration_error(self.error("no-scheme.example")))
        self.assertTrue(is_configuration_error(self.error("ftp://example.com/")))
        self.assertFalse(is_configuration_error(requests.ConnectionError("reset")))


class ForeignTests(SimpleTestCase):
    def test_requests(self):
        json_error = requests.HTTPError(response=make_response(422, json_data={}))
        html_error = requests.HTTPError(response=make_response(422, body=b"<html>"))
        self.assertEqual(foreign_problem(json_error), Problem.MESSAGE)
        self.assertEqual(foreign_problem(html_error), Problem.ACCOUNT)
        self.assertEqual(foreign_problem(requests.ReadTimeout("read")), Problem.UNCLEAR)
        self.assertIsNone(foreign_problem(requests.exceptions.MissingSchema("no scheme")))

    def test_smtp(self):
        self.assertEqual(foreign_problem(smtplib.SMTPConnectError(421, b"busy")), Problem.BUSY)
        self.assertEqual(foreign_problem(smtplib.SMTPDataError(554, b"no")), Problem.MESSAGE)

    def test_anything_else(self):
        for error in (ValueError("x"), OSError("x"), KeyboardInterrupt()):
            self.assertIsNone(foreign_problem(error))

    @skip_without("boto3")
    def test_boto(self):
        from botocore import exceptions

        error = exceptions.ReadTimeoutError(endpoint_url="https://example.com/")
        self.assertEqual(foreign_problem(error), Problem.UNCLEAR)


class ProblemOfTests(SimpleTestCase):
    """Whatever a task can catch when it sends mail."""

    def test_anymail_errors(self):
        known = AnymailError("x")
        known.problem = Problem.BUSY
        response = make_response(429)
        for error, expected in [
            (known, Problem.BUSY),
            (pickle.loads(pickle.dumps(known)), Problem.BUSY),
            (AnymailAPIError("x"), Problem.UNCLEAR),
            (AnymailRequestsAPIError("x", response=response), Problem.BUSY),
            (AnymailRecipientsRefused(), Problem.MESSAGE),
            (AnymailSerializationError("x"), Problem.MESSAGE),
            (AnymailUnsupportedFeature("x"), Problem.UNSUITABLE),
            (AnymailCancelSend("x"), None),
            (AnymailWebhookValidationFailure("x"), None),
            (AnymailConfigurationError("x"), None),
            (ImproperlyConfigured("x"), None),
        ]:
            with self.subTest(error=error):
                self.assertIs(problem_of(error), expected)

    def test_with_the_provider_s_codes(self):
        response = make_response(422, json_data={"ErrorCode": 412, "Message": "No."})
        backend = PostmarkBackend(server_token="token")
        error = AnymailRequestsAPIError("x", response=response, backend=backend)
        self.assertIs(problem_of(error), Problem.ACCOUNT)

    def test_without_an_answer(self):
        for handed_over, expected in [
            (True, Problem.UNCLEAR),
            (False, Problem.UNREACHABLE),
            (None, Problem.UNREACHABLE),
        ]:
            error = AnymailAPIError("x")
            error.handed_over = handed_over
            error.__cause__ = requests.ConnectionError(ConnectTimeoutError())
            with self.subTest(handed_over=handed_over):
                self.assertIs(problem_of(error), expected)

    def test_others(self):
        for error, expected in [
            (smtplib.SMTPDataError(451, b"later"), Problem.BUSY),
            (smtplib.SMTPServerDisconnected("gone"), Problem.UNCLEAR),
            (requests.ReadTimeout("read"), Problem.UNCLEAR),
            (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Problem.UNREACHABLE),
            (OSError(errno.ENETUNREACH, "no network"), Problem.UNREACHABLE),
            (socket.gaierror(-2, "unknown"), Problem.UNREACHABLE),
            (ssl.SSLCertVerificationError("self-signed"), Problem.UNREACHABLE),
            (ssl.SSLEOFError("EOF"), Problem.UNCLEAR),
            (ConnectionResetError(errno.ECONNRESET, "reset"), Problem.UNCLEAR),
            (TimeoutError("timed out"), Problem.UNCLEAR),
            (FileNotFoundError(errno.ENOENT, "a file"), None),
            (ValueError("x"), None),
        ]:
            with self.subTest(error=error):
                self.assertIs(problem_of(error), expected)


class SmtpTests(SimpleTestCase):
    def test_while_opening(self):
        for error, expected in [
            (smtplib.SMTPAuthenticationError(535, b"no"), Problem.ACCOUNT),
            (smtplib.SMTPConnectError(421, b"later"), Problem.BUSY),
            (smtplib.SMTPConnectError(554, b"no"), Problem.UNREACHABLE),
            (smtplib.SMTPHeloError(554, b"no"), Problem.UNREACHABLE),
            (ConnectionRefusedError(), Problem.UNREACHABLE),
            (TimeoutError(), Problem.UNREACHABLE),
        ]:
            with self.subTest(error=error):
                self.assertEqual(smtp_problem(error, opening=True), expected)

    def test_while_sending(self):
        def refused(*codes):
            replies = {f"{code}-{n}@example.com": (code, b"") for n, code in enumerate(codes)}
            return smtplib.SMTPRecipientsRefused(replies)

        for error, expected in [
            (smtplib.SMTPSenderRefused(451, b"", "from@example.com"), Problem.BUSY),
            (smtplib.SMTPSenderRefused(552, b"", "from@example.com"), Problem.UNSUITABLE),
            (smtplib.SMTPSenderRefused(553, b"", "from@example.com"), Problem.ACCOUNT),
            (refused(550, 550), Problem.MESSAGE),
            (refused(550, 450), Problem.BUSY),
            (refused(552), Problem.UNSUITABLE),
            (refused(), Problem.MESSAGE),
            (smtplib.SMTPDataError(452, b""), Problem.BUSY),
            (smtplib.SMTPDataError(552, b""), Problem.UNSUITABLE),
            (smtplib.SMTPDataError(554, b""), Problem.MESSAGE),
            (smtplib.SMTPNotSupportedError("SMTPUTF8"), Problem.UNSUITABLE),
            (smtplib.SMTPServerDisconnected("gone"), Problem.UNCLEAR),
            (TimeoutError(), Problem.UNCLEAR),
        ]:
            with self.subTest(error=error):
                self.assertEqual(smtp_problem(error), expected)


@skip_without("boto3")
class BotoTests(SimpleTestCase):
    def client_error(self, code, status):
        from botocore.exceptions import ClientError

        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return ClientError(answer, "SendEmail")

    def test_client_errors(self):
        for code, status, expected in [
            ("Throttling", 400, Problem.BUSY),
            ("ThrottlingException", 400, Problem.BUSY),
            ("MailFromDomainNotVerifiedException", 400, Problem.ACCOUNT),
            ("MessageRejected", 400, Problem.MESSAGE),
            ("Else", 400, Problem.MESSAGE),
            ("Else", 500, Problem.UNCLEAR),
            (None, 403, Problem.ACCOUNT),
            (None, None, Problem.UNCLEAR),
        ]:
            with self.subTest(code=code, status=status):
                self.assertEqual(boto_problem(self.client_error(code, status)), expected)

    def test_exceptions(self):
        from botocore import exceptions

        url = "https://example.com/"
        certificate = ssl.SSLCertVerificationError("self-signed")
        for error, expected in [
            (exceptions.EndpointConnectionError(endpoint_url=url), Problem.UNREACHABLE),
            (exceptions.ConnectTimeoutError(endpoint_url=url), Problem.UNREACHABLE),
            (exceptions.ProxyConnectionError(proxy_url=url), Problem.UNREACHABLE),
            (exceptions.SSLError(endpoint_url=url, error="broken"), Problem.UNCLEAR),
            (exceptions.SSLError(endpoint_url=url, error=certificate), Problem.UNREACHABLE),
            (exceptions.ReadTimeoutError(endpoint_url=url), Problem.UNCLEAR),
            (exceptions.ConnectionClosedError(endpoint_url=url), Problem.UNCLEAR),
            (exceptions.NoCredentialsError(), Problem.ACCOUNT),
            (exceptions.TokenRetrievalError(provider="sso", error_msg=""), Problem.ACCOUNT),
            (exceptions.ParamValidationError(report="missing"), Problem.MESSAGE),
        ]:
            with self.subTest(error=error):
                self.assertEqual(boto_problem(error), expected)


class RetryAfterTests(SimpleTestCase):
    now = 1_900_000_000.0

    def retry_after(self, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return retry_after(CaseInsensitiveDict(named), self.now)

    def test_seconds(self):
        self.assertEqual(self.retry_after(Retry_After="3"), 3)
        self.assertEqual(self.retry_after(retry_after=" 1.5 "), 1.5)
        self.assertEqual(self.retry_after(ratelimit_reset="7"), 7)

    def test_date(self):
        date = datetime.fromtimestamp(self.now + 90, timezone.utc)
        self.assertEqual(self.retry_after(Retry_After=format_datetime(date, usegmt=True)), 90)

    def test_posix_time(self):
        self.assertEqual(self.retry_after(x_ratelimit_reset=str(int(self.now) + 5)), 5)

    def test_first_one_counts(self):
        self.assertEqual(self.retry_after(x_ratelimit_reset="9", Retry_After="3"), 3)

    def test_not_believed(self):
        for value in ("-1", "soon", "", "nan", "inf", "1e3", "86401", "٣", "Mon, 32 Foo 2026"):
            with self.subTest(value=value):
                self.assertIsNone(self.retry_after(Retry_After=value))
        self.assertIsNone(self.retry_after(x_ratelimit_reset=str(int(self.now) - 5)), "is over")
        self.assertIsNone(self.retry_after())
