from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from typing import Any
from unittest import mock

import requests
import requests.adapters
from django.core.mail.backends.base import BaseEmailBackend
from django.test import SimpleTestCase, override_settings
from requests.structures import CaseInsensitiveDict

import anymail
from anymail.backends.base import AnymailBaseBackend, BasePayload
from anymail.backends.base_requests import (
    AnymailRequestsBackend,
    RequestsPayload,
)
from anymail.conf import get_anymail_setting
from anymail.exceptions import AnymailAPIError, AnymailError, AnymailRequestsAPIError
from anymail.http import no_netrc, with_trailing_slash
from anymail.message import AnymailRecipientStatus
from tests.utils import SAMPLE_IMAGE, make_message, make_response

from .test_base import fail_silently


class Backend(AnymailRequestsBackend):
    """The smallest backend that works"""

    esp_name = "My ESP"

    def __init__(self, **kwargs: Any) -> None:
        self.api_key = get_anymail_setting(
            "api_key", esp_name=self.esp_name, kwargs=kwargs, default="a-secret-key"
        )
        super().__init__(kwargs.pop("api_url", "https://api.example/v1/"), **kwargs)

    def build_message_payload(self, message, defaults):
        return Payload(message, defaults, self)

    def parse_recipient_status(self, response, payload, message):
        status = AnymailRecipientStatus(response.headers.get("X-Message-ID"), "queued")
        return {email.addr_spec: status for email in payload.recipients}


class Payload(RequestsPayload):
    """The smallest payload that can send a plain message"""

    def init_payload(self):
        self.data = {}
        self.recipients = []

    def set_from_email(self, email):
        self.data["from"] = str(email)

    def set_recipients(self, recipient_type, emails):
        self.recipients += emails
        self.data[recipient_type] = [str(email) for email in emails]

    def set_subject(self, subject):
        self.data["subject"] = subject

    def set_reply_to(self, emails):
        self.data["reply_to"] = [str(email) for email in emails]

    def set_extra_headers(self, headers):
        self.data["headers"] = dict(headers)

    def set_text_body(self, body):
        self.data["text"] = body

    def set_html_body(self, body):
        self.data["html"] = body

    def add_attachment(self, attachment):
        self.data.setdefault("attachments", []).append(attachment.name)


class SessionTestCase(SimpleTestCase):
    """Replaces requests.Session.request"""

    def setUp(self):
        self.response: Any = make_response()
        self.response.headers["X-Message-ID"] = "id-123"
        patcher = mock.patch("requests.Session.request", autospec=True, side_effect=self.respond)
        self.request = patcher.start()
        self.addCleanup(patcher.stop)

    def respond(self, session, **kwargs):
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


class MinimalBackendTests(SessionTestCase):
    def test_sends(self):
        message = make_message(
            cc=["cc@example.com"],
            bcc=["bcc@example.com"],
            reply_to=["reply@example.com"],
            headers={"X-A": "1"},
            attachments=[("a.png", SAMPLE_IMAGE, "image/png")],
        )
        message.attach_alternative("<p>Html</p>", "text/html")
        self.assertEqual(Backend().send_messages([message]), 1)
        self.assertEqual(
            self.request.call_args.kwargs["data"],
            {
                "from": "from@example.com",
                "to": ["to@example.com"],
                "cc": ["cc@example.com"],
                "bcc": ["bcc@example.com"],
                "subject": "Subject",
                "reply_to": ["reply@example.com"],
                "headers": {"X-A": "1"},
                "text": "Text body",
                "html": "<p>Html</p>",
                "attachments": ["a.png"],
            },
        )
        status = message.anymail_status
        self.assertEqual(status.message_id, "id-123")
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(
            set(status.recipients), {"to@example.com", "cc@example.com", "bcc@example.com"}
        )
        self.assertIs(status.esp_response, self.response)

    def test_bases(self):
        self.assertTrue(issubclass(AnymailRequestsBackend, AnymailBaseBackend))
        self.assertTrue(issubclass(RequestsPayload, BasePayload))


class TrailingSlashTests(SimpleTestCase):
    def test_with_trailing_slash(self):
        for url in ["https://api.example/v1", "https://api.example/v1/"]:
            self.assertEqual(with_trailing_slash(url), "https://api.example/v1/")


class ConstructorTests(SimpleTestCase):
    def test_attributes(self):
        backend = Backend(api_url="https://other.example/")
        self.assertEqual(backend.api_url, "https://other.example/")
        self.assertIsNone(backend.session)
        self.assertEqual(backend.timeout, 30)

    def test_timeout(self):
        for value in [5, 0.5, (3, 10), None]:
            with self.subTest(value=value):
                self.assertEqual(Backend(timeout=value).timeout, value)
                self.assertEqual(Backend(requests_timeout=value).timeout, value)
                with override_settings(ANYMAIL={"REQUESTS_TIMEOUT": value}):
                    self.assertEqual(Backend().timeout, value)
                with override_settings(ANYMAIL_REQUESTS_TIMEOUT=value):
                    self.assertEqual(Backend().timeout, value)

    @override_settings(ANYMAIL={"REQUESTS_TIMEOUT": 1, "MY_ESP_REQUESTS_TIMEOUT": 2})
    def test_timeout_precedence(self):
        self.assertEqual(Backend().timeout, 1)
        self.assertEqual(Backend(requests_timeout=3).timeout, 3)
        self.assertEqual(Backend(timeout=4).timeout, 4)
        self.assertEqual(Backend(timeout=4, requests_timeout=3).timeout, 4)
        self.assertIsNone(Backend(timeout=None, requests_timeout=3).timeout)

    def test_options_are_consumed(self):
        with mock.patch.object(BaseEmailBackend, "__init__", autospec=True) as init:
            Backend(timeout=1, requests_timeout=2, api_key="x", api_url="y", other=3)
        self.assertEqual(init.call_args.kwargs, {"other": 3})


class ConnectionTests(SessionTestCase):
    """Sessions: opened by open(), used by everything in between, closed by close()."""

    def setUp(self):
        super().setUp()
        patcher = mock.patch("requests.Session.close", autospec=True)
        self.close = patcher.start()
        self.addCleanup(patcher.stop)

    def sessions_used(self) -> list[requests.Session]:
        return [call.args[0] for call in self.request.call_args_list]

    def test_open(self):
        backend = Backend()
        self.assertIs(backend.open(), True)
        session = backend.session
        self.assertIsInstance(session, requests.Session)
        self.assertIs(backend.open(), False)
        self.assertIs(backend.session, session)
        self.close.assert_not_called()

    def test_close(self):
        backend = Backend()
        backend.close()  # nothing to do
        self.close.assert_not_called()
        backend.open()
        session = backend.session
        backend.close()
        self.close.assert_called_once_with(session)
        self.assertIsNone(backend.session)
        self.assertIs(backend.open(), True)
        self.assertIsNot(backend.session, session)

    def test_one_session_for_all_messages(self):
        backend = Backend()
        self.assertEqual(backend.send_messages([make_message(), make_message()]), 2)
        first, second = self.sessions_used()
        self.assertIs(first, second)
        self.close.assert_called_once_with(first)
        self.assertIsNone(backend.session)

    def test_opened_by_the_caller(self):
        backend = Backend()
        backend.open()
        backend.send_messages([make_message()])
        self.response = requests.Timeout()
        with self.assertRaises(AnymailAPIError):
            backend.send_messages([make_message()])
        self.response = make_response()
        backend.send_messages([make_message()])
        self.assertEqual(len({id(session) for session in self.sessions_used()}), 1)
        self.close.assert_not_called()
        backend.close()
        self.close.assert_called_once()

    def test_context_manager(self):
        with Backend() as backend:
            backend.send_messages([make_message()])
            backend.send_messages([make_message()])
            self.close.assert_not_called()
        self.close.assert_called_once()
        self.assertIsNone(backend.session)

    def test_closed_after_an_error(self):
        for response in [requests.ConnectionError(), make_response(500)]:
            self.response = response
            self.close.reset_mock()
            with self.subTest(response=response), self.assertRaises(AnymailAPIError):
                Backend().send_messages([make_message(), make_message()])
            self.close.assert_called_once()

    def test_closed_after_a_silent_error(self):
        self.response = make_response(500)
        self.assertEqual(fail_silently(Backend).send_messages([make_message(), make_message()]), 0)
        self.assertEqual(self.request.call_count, 2)
        self.close.assert_called_once()

    def test_error_creating_a_session(self):
        for error in [requests.RequestException("text"), ValueError("text")]:
            with mock.patch.object(Backend, "create_session", side_effect=error):
                backend = Backend()
                with self.assertRaises(type(error)):
                    backend.send_messages([make_message()])
                self.assertIsNone(backend.session)

                backend = fail_silently(Backend)
                self.assertIs(backend.open(), True)
                self.assertIsNone(backend.session)
                self.assertEqual(backend.send_messages([make_message()]), 0)
        self.request.assert_not_called()

    def test_error_closing(self):
        self.close.side_effect = requests.RequestException("text")
        backend = Backend()
        backend.open()
        with self.assertRaises(requests.RequestException):
            backend.close()
        self.assertIsNone(backend.session)

        backend = fail_silently(Backend)
        backend.open()
        backend.close()
        self.assertIsNone(backend.session)

        self.close.side_effect = ValueError("text")
        backend.open()
        with self.assertRaises(ValueError):
            backend.close()
        self.assertIsNone(backend.session)

    def test_not_opened(self):
        message = make_message()
        with self.assertRaises(RuntimeError) as caught:
            Backend()._send(message)
        self.assertNotIsInstance(caught.exception, AnymailError)
        self.assertRegex(str(caught.exception), r"test_base_requests\.Backend\b.*open")
        self.assertIs(fail_silently(Backend)._send(message), False)
        self.request.assert_not_called()


class CreateSessionTests(SimpleTestCase):
    def test_user_agent(self):
        with Backend() as backend:
            self.assertEqual(
                backend.session.headers["User-Agent"],
                f"django-anymail/{anymail.__version__}-my esp python-requests/"
                f"{requests.__version__}",
            )

    def test_netrc_is_not_read(self):
        with Backend() as backend:
            self.assertIs(backend.session.auth, no_netrc)

    def test_hook_only_for_debugging(self):
        with Backend() as backend:
            self.assertEqual(backend.session.hooks["response"], [])
        with Backend(debug_api_requests=True) as backend:
            self.assertEqual(len(backend.session.hooks["response"]), 1)

    def test_can_be_extended(self):
        adapter = requests.adapters.HTTPAdapter(max_retries=3)

        class Retrying(Backend):
            def create_session(self):
                session = super().create_session()
                session.mount("https://", adapter)
                session.auth = ("user", "password")
                return session

        with Retrying() as backend:
            self.assertIs(backend.session.get_adapter("https://api.example/"), adapter)
            self.assertEqual(backend.session.auth, ("user", "password"))


class PostToEspTests(SessionTestCase):
    def post(self, **options: Any) -> dict[str, Any]:
        Backend(**options).send_messages([make_message()])
        [call] = self.request.call_args_list
        self.assertEqual(len(call.args), 1)  # the session: everything else is named
        return call.kwargs

    def test_parameters(self):
        params = self.post()
        self.assertEqual(
            set(params), {"method", "url", "params", "data", "headers", "files", "auth", "timeout"}
        )
        self.assertEqual((params["method"], params["url"]), ("POST", "https://api.example/v1/"))
        self.assertEqual(params["timeout"], 30)
        for name in ["params", "headers", "files", "auth"]:
            self.assertIsNone(params[name])
        del params["timeout"]
        requests.Request(**params).prepare()  # nothing else that is meant for sessions

    def test_timeout(self):
        self.assertEqual(self.post(timeout=(1, 2))["timeout"], (1, 2))

    def test_payload_can_set_the_timeout(self):
        class Patient(Payload):
            def get_request_params(self, api_url):
                return {**super().get_request_params(api_url), "timeout": 300}

        class PatientBackend(Backend):
            def build_message_payload(self, message, defaults):
                return Patient(message, defaults, self)

        PatientBackend(timeout=5).send_messages([make_message()])
        self.assertEqual(self.request.call_args.kwargs["timeout"], 300)

    def test_connection_errors(self):
        for error in [
            requests.exceptions.SSLError("the original text"),
            requests.ConnectionError("the original text"),
            requests.Timeout("the original text"),
            requests.RequestException("the original text"),
        ]:
            self.response = error
            message = make_message()
            with self.subTest(error=error):
                with self.assertRaises(AnymailRequestsAPIError) as caught:
                    Backend().send_messages([message])
                raised = caught.exception
                self.assertIsInstance(raised, type(error))
                self.assertIs(raised.__cause__, error)
                self.assertIn("https://api.example/v1/", str(raised))
                self.assertIn("the original text", str(raised))
                self.assertIs(raised.email_message, message)
                self.assertIsInstance(raised.payload, Payload)
                self.assertEqual(raised.esp_name, "My ESP")
                self.assertIsNone(raised.response)
                self.assertIsNone(raised.status_code)

    def test_other_errors_are_not_touched(self):
        self.response = KeyError("text")
        with self.assertRaises(KeyError):
            Backend().send_messages([make_message()])

    def test_error_statuses(self):
        for status in [199, 300, 302, 400, 404, 429, 500, 503]:
            self.response = make_response(status, json_data={"error": "their text"}, reason="Why")
            message = make_message()
            with self.subTest(status=status):
                with self.assertRaises(AnymailRequestsAPIError) as caught:
                    Backend().send_messages([message])
                error = caught.exception
                self.assertEqual(error.status_code, status)
                self.assertIs(error.response, self.response)
                self.assertIs(error.email_message, message)
                self.assertIsInstance(error.payload, Payload)
                self.assertIsInstance(error.backend, Backend)
                self.assertEqual(error.args, ())
                self.assertTrue(str(error).startswith(f"My ESP API response {status} (Why):\n"))
                self.assertIn("their text", str(error))

    def test_success_statuses(self):
        for status in [200, 201, 202, 204, 299]:
            self.response = make_response(status)
            with self.subTest(status=status):
                self.assertEqual(Backend().send_messages([make_message()]), 1)

    def test_json(self):
        backend, payload, message = Backend(), object(), make_message()
        for data in [{"a": 1}, [], None, 5, "text"]:
            response = make_response(body=json.dumps(data).encode())
            self.assertEqual(backend.deserialize_json_response(response, payload, message), data)
        for body in [b"", b"<html>", b"{", b"\xff", b"[" * 200_000]:
            response = make_response(body=body, url="https://api.example/")
            with self.subTest(body=body[:9]):
                with self.assertRaises(AnymailRequestsAPIError) as caught:
                    backend.deserialize_json_response(response, payload, message)
                error = caught.exception
                self.assertIn("Invalid JSON in My ESP API response", str(error))
                self.assertIsNotNone(error.__cause__)
                self.assertIs(error.response, response)
                self.assertIs(error.payload, payload)
                self.assertIs(error.email_message, message)
                self.assertEqual(error.status_code, 200)

    def test_invalid_response_format(self):
        backend, payload, message = Backend(), object(), make_message()
        response = make_response(json_data={"odd": "answer"})
        error = backend.invalid_response_format(response, payload, message)
        self.assertIsInstance(error, AnymailRequestsAPIError)
        self.assertTrue(str(error).startswith("Invalid My ESP API response format\nMy ESP API"))
        self.assertIn('"odd": "answer"', str(error))
        self.assertIs(error.email_message, message)
        self.assertIs(error.payload, payload)
        self.assertIs(error.backend, backend)
        self.assertIs(error.response, response)


class RequestsPayloadTests(SimpleTestCase):
    http_items = {
        "method": "PUT",
        "params": {"a": "1"},
        "data": {"b": "2"},
        "headers": {"c": "3"},
        "files": [("d", "4")],
        "auth": ("e", "5"),
    }

    def make(self, cls: type = Payload, **kwargs: Any) -> Any:
        return cls(make_message(), {}, Backend(), **kwargs)

    def test_defaults(self):
        class Untouched(Payload):
            def init_payload(self):
                self.at_init = {name: getattr(self, name) for name in self.expected}
                super().init_payload()

            expected = dict.fromkeys(["params", "data", "headers", "files", "auth"])

        payload = self.make(Untouched)
        self.assertEqual(payload.at_init, Untouched.expected)
        self.assertEqual(payload.method, "POST")

    def test_items_are_attributes_before_init_payload(self):
        seen = {}
        names = list(self.http_items)

        class Reader(Payload):
            def init_payload(self):
                seen.update({name: getattr(self, name) for name in names})
                super().init_payload()

        self.make(Reader, **self.http_items)
        self.assertEqual(seen, self.http_items)
        seen.clear()
        Reader(make_message(), {}, Backend(), *self.http_items.values())  # in this order
        self.assertEqual(seen, self.http_items)

    def test_init_payload_can_replace_them(self):
        class Replacing(Payload):
            def init_payload(self):
                super().init_payload()
                self.method, self.auth = "PATCH", ("new", "auth")

        params = self.make(Replacing, **self.http_items).get_request_params("https://api.example/")
        self.assertEqual(params["method"], "PATCH")
        self.assertEqual(params["auth"], ("new", "auth"))
        self.assertEqual(params["headers"], {"c": "3"})

    def test_get_request_params(self):
        payload = self.make(**self.http_items)
        params = payload.get_request_params("https://api.example/v1/")
        self.assertEqual(
            params,
            {**self.http_items, "url": "https://api.example/v1/", "data": payload.data},
        )
        self.assertIs(params["data"], payload.data)

    def test_endpoint(self):
        for api_url, endpoint, url in [
            ("https://api.example/v1/", None, "https://api.example/v1/"),
            ("https://api.example/v1", None, "https://api.example/v1"),
            ("https://api.example/v1/", "send", "https://api.example/v1/send"),
            ("https://api.example/v1/", "send/batch?a=b", "https://api.example/v1/send/batch?a=b"),
            # As urljoin works:
            ("https://api.example/v1", "send", "https://api.example/send"),
            ("https://api.example/v1/", "/send", "https://api.example/send"),
            ("https://api.example/v1/", "", "https://api.example/v1/"),
        ]:
            payload = self.make()
            with self.subTest(api_url=api_url, endpoint=endpoint):
                payload.get_api_endpoint = lambda endpoint=endpoint: endpoint
                self.assertEqual(payload.get_request_params(api_url)["url"], url)

    def test_late_hooks(self):
        class Late(Payload):
            def get_api_endpoint(self):
                return self.data["subject"].lower()

            def serialize_data(self):
                return self.serialize_json({"batch": self.is_batch(), "to": self.data["to"]})

        params = self.make(Late).get_request_params("https://api.example/")
        self.assertEqual(params["url"], "https://api.example/subject")
        self.assertEqual(params["data"], '{"batch": false, "to": ["to@example.com"]}')


class Adapter(requests.adapters.BaseAdapter):
    """Answers without a network, below the hooks of requests"""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.response = response

    def send(self, request, **kwargs):
        self.response.request = request
        return self.response

    def close(self):
        pass


class DebugTests(SimpleTestCase):
    def dump(self, response: requests.Response, serialized: Any = "the body", **options) -> str:
        class Stubbed(Backend):
            def create_session(self):
                session = super().create_session()
                session.mount("https://", Adapter(response))
                return session

            def build_message_payload(self, message, defaults):
                payload = Payload(message, defaults, self, headers={"X-Test": "1"})
                payload.serialize_data = lambda: serialized
                return payload

        output = io.StringIO()
        with redirect_stdout(output):
            Stubbed(**{"debug_api_requests": True, **options}).send_messages([make_message()])
        return output.getvalue()

    def make_response(self, body: bytes = b"their answer") -> requests.Response:
        response = make_response(body=body, reason="OK", content_type="text/plain")
        response.headers = CaseInsensitiveDict(response.headers)
        return response

    def test_layout(self):
        lines = self.dump(self.make_response()).split("\n")
        self.assertEqual(
            lines[:3], ["", "===== Anymail API request", "POST https://api.example/v1/"]
        )
        headers_end = lines.index("", 3)
        headers = lines[3:headers_end]
        self.assertIn("X-Test: 1", headers)
        self.assertIn("Content-Length: 8", headers)
        self.assertTrue(any(line.startswith("User-Agent: django-anymail/") for line in headers))
        self.assertEqual(
            lines[headers_end:],
            [
                "",
                "the body",
                "",
                "----- Response",
                "HTTP 200 OK",
                "Content-Type: text/plain",
                "",
                "their answer",
                "",
            ],
        )

    def test_once_for_each_response(self):
        self.assertEqual(self.dump(self.make_response()).count("===== Anymail API request"), 1)

    def test_only_if_asked_for(self):
        self.assertEqual(self.dump(self.make_response(), debug_api_requests=False), "")
        with override_settings(ANYMAIL={"DEBUG_API_REQUESTS": True}):
            self.assertIn("their answer", self.dump(self.make_response()))

    def test_no_body(self):
        dump = self.dump(self.make_response(), None)
        self.assertRegex(dump, r"Content-Length: 0\n\n\n----- Response\n")
        self.assertNotIn("None", dump)

    def test_bytes(self):
        dump = self.dump(self.make_response(), "naïve\r\ntext".encode() + b"\xff")
        self.assertIn("\n\nnaïve\ntext\N{REPLACEMENT CHARACTER}\n", dump)
        dump = self.dump(self.make_response("Ant\r\nwört".encode()), "a\r\nb")
        self.assertIn("\n\na\nb\n", dump)
        self.assertIn("\n\nAnt\nwört\n", dump)

    def test_errors_are_shown_too(self):
        response = self.make_response()
        response.status_code, response.reason = 400, "Bad Request"
        output = io.StringIO()
        with redirect_stdout(output), self.assertRaises(AnymailRequestsAPIError):
            backend = Backend(debug_api_requests=True)
            backend.open()
            backend.session.mount("https://", Adapter(response))
            backend.send_messages([make_message()])
        self.assertIn("\nHTTP 400 Bad Request\n", output.getvalue())

    def test_credentials_are_hidden(self):
        response = self.make_response(b"Your key a-secret-key is fine")
        response.headers["Set-Cookie"] = "session=cookie-value"

        class Stubbed(Backend):
            def create_session(self):
                session = super().create_session()
                session.mount("https://", Adapter(response))
                session.headers["X-Server-API-Key"] = "other-key"
                session.headers["Authorization"] = b"Basic abc"
                session.headers["X-Plain"] = "visible"
                return session

        output = io.StringIO()
        with redirect_stdout(output):
            backend = Stubbed(debug_api_requests=True)
            backend.webhook_secret = ""  # nothing to hide
            backend.auth_token = None
            backend.secret_number = 5
            backend.send_messages([make_message(subject="with a-secret-key")])
        dump = output.getvalue()
        for secret in ["a-secret-key", "other-key", "Basic abc", "cookie-value"]:
            self.assertNotIn(secret, dump)
        self.assertIn("X-Server-API-Key: *****\n", dump)
        self.assertIn("Authorization: *****\n", dump)
        self.assertIn("X-Plain: visible\n", dump)
        self.assertIn("Your key ***** is fine", dump)

    def test_hook_is_static(self):
        response = self.make_response()
        response.request = requests.Request("GET", "https://api.example/").prepare()
        output = io.StringIO()
        with redirect_stdout(output):
            self.assertIsNone(AnymailRequestsBackend._dump_api_request(response, timeout=30))
        self.assertIn("GET https://api.example/\n", output.getvalue())
