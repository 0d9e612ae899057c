"""Credentials and content stay out of errors, logs, debugging output and Django's error reports."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import logging
import os
import pickle
import traceback
import warnings
from collections.abc import Iterator
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch
from urllib.parse import quote_plus

import requests
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.test import RequestFactory, SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string
from django.views.debug import ExceptionReporter

from anymail.exceptions import (
    MAX_DESCRIPTION,
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailError,
    AnymailRequestsAPIError,
)
from anymail.headers import rfc2047_encode
from anymail.masking import (
    find_credentials,
    mask_credentials,
    mask_message,
    mask_urls,
    mask_urls_in_error,
)
from anymail.providers import PROVIDERS

from .aws import aws_environment
from .backends.cases import CASES as BACKEND_CASES
from .backends.cases.base import BackendCase
from .backends.harness import BotoTransport
from .backends.test_contract import FEATURES, only_if, over_http
from .http_server import Answer, HttpServer
from .utils import PACKAGE, make_message, make_response, skip_without
from .webhooks.cases import CASES as WEBHOOK_CASES
from .webhooks.cases.base import WebhookCase, WebhookView
from .webhooks.harness import (
    BODY_KEYS,
    SIGNALS,
    WebhookRequest,
    basic_auth_header,
    find_fixtures,
    simulated_downloads,
)

CREDENTIAL = 'Cred-"canary"/4711'
"""Part of each credential. Has what JSON, repr and URLs escape."""

CONTENT = "content-canary-0815"
"""Part of everything in a message but the addresses."""

NETWORK_ERRORS = [
    requests.Timeout("timed out"),
    requests.ConnectionError("Max retries exceeded with url: {url}"),
    requests.exceptions.InvalidURL("Invalid URL '{url}': No host supplied"),
]


class NotSerializable:
    def __repr__(self) -> str:
        return CONTENT


def spellings(secret: str) -> set[str]:
    """Return how a secret can be written."""
    quoted = {requests.utils.quote(secret), requests.utils.quote(secret, safe="")}
    escaped = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], *quoted}
    # Django's reports are HTML, too.
    escaped |= {secret.replace('"', "&quot;"), secret.replace('"', "&#34;")}
    for padding in ("", "a", "aa"):  # in basic auth, in any position
        escaped.add(base64.b64encode(f"{padding}{secret}".encode()).decode()[4:-4])
    return escaped


@tag("exhaustive")
class QuietTestCase(SimpleTestCase):
    """Looks for canaries in all that is said about an exception."""

    def setUp(self) -> None:
        super().setUp()
        self.records: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign]
        # With the level DEBUG, urllib3 logs URLs. That is the project's choice.
        handler.addFilter(lambda record: not record.name.startswith("urllib3."))
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        self.addCleanup(root.setLevel, level)
        self.addCleanup(root.removeHandler, handler)

    def report(self, error: BaseException, request: Any = None) -> str:
        """Return Django's error reports, as in mails to the site's admins."""
        reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
        with override_settings(DEBUG=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that are deprecated
            return reporter.get_traceback_html()  # has all that is in the text, and variables

    def assert_quiet(self, text: str, *secrets: str) -> None:
        for secret in secrets:
            for spelling in spellings(secret):
                start = text.find(spelling)
                if start != -1:
                    self.fail(f"{spelling!r} in: ...{text[max(start - 500, 0) : start + 100]}")

    def assert_quiet_error(self, error: BaseException, *secrets: str, request: Any = None) -> None:
        texts = {
            "str": str(error),
            "repr": repr(error),
            "args": " ".join(map(str, error.args)),
            "traceback": "".join(traceback.format_exception(error)),
            "report": self.report(error, request),
            "log": "".join(logging.Formatter().format(record) for record in self.records),
        }
        if isinstance(error, AnymailError):
            with contextlib.suppress(TypeError):  # The message can have what can't be pickled.
                copied: Any = pickle.loads(pickle.dumps(error))
                described = (copied.describe_response(), getattr(copied, "esp_message", None))
                texts["pickled"] = f"{copied} {copied!r} {described}"
                self.assertEqual(str(copied), str(error))
        for name, text in texts.items():
            with self.subTest(seen_in=name):
                self.assert_quiet(text, *secrets)


# ---------------------------------------------------------------------------------------------
# Sending
# ---------------------------------------------------------------------------------------------


def with_canary(value: Any) -> Any:
    """Return a message attribute with the canary in all its text, except for addresses."""
    if isinstance(value, str):
        return value if "@" in value or "/" in value else f"{value} {CONTENT}"
    if isinstance(value, dict):
        return {key: with_canary(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(with_canary(item) for item in value)
    return value


class BackendQuiet(QuietTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    case: ClassVar[BackendCase]

    def setUp(self) -> None:
        super().setUp()
        self.backend_class: Any = import_string(self.case.backend)
        self.options = self.canary_options()
        settings = {
            f"{self.case.esp_name}_{name}".upper().replace(" ", "_"): value
            for name, value in self.options.items()
        }
        settings["WEBHOOK_SECRET"] = f"user:{CREDENTIAL}"
        # Django's reports hide settings by their names: those with credentials are all like that.
        override = override_settings(ANYMAIL=settings)
        override.enable()
        self.addCleanup(override.disable)
        self.transport = self.case.transport(self.case)
        entered = self.transport.entered()
        entered.__enter__()
        self.addCleanup(entered.__exit__, None, None, None)

    def canary_options(self) -> dict[str, Any]:
        options = {name: self.case.options[name] for name in self.case.required}
        options |= {name: f"{name}-{CREDENTIAL}" for name in self.case.secret}
        if issubclass(self.case.transport, BotoTransport):
            keys = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            options["client_params"] = {key: f"{key}-{CREDENTIAL}" for key in keys}
            options["session_params"] = options["client_params"]
        return options

    def send(self, attrs: dict[str, Any], **options: Any) -> BaseException | None:
        """Send a message, and return the exception that this raises."""
        backend = self.backend_class(**{**self.case.base_options(), **options})
        return self._send(backend, make_message(**attrs))

    def _send(self, backend: Any, message: Any) -> BaseException | None:
        # This is the first function in Django's reports. Its variables are shown.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SendGrid: esp_extra
            try:
                backend.send_messages([message])
            except Exception as error:  # noqa: BLE001  # whichever it is
                return error
        return None

    def attrs(self, *features: str) -> dict[str, Any]:
        """Return the attributes of a message with a canary everywhere."""
        result: dict[str, Any] = {
            "subject": f"Subject {CONTENT}",
            "body": f"Body {CONTENT}",
            "attachments": [],
        }
        for feature in features:
            attrs = {**FEATURES[feature][0], **self.case.feature_attrs.get(feature, {})}
            attrs.pop("inline_image", None)
            for name, value in attrs.items():
                template_id = name == "template_id" or name in ("envelope_sender", "from_email")
                result[name] = value if template_id or value == "" else with_canary(value)
        if "attachment" in self.case.unsupported:
            del result["attachments"]
        return result

    def supported(self) -> list[str]:
        names = ("extra_headers", "html_alternative", "attachment", "metadata", "tags")
        return [name for name in names if name not in self.case.unsupported]

    def sends(self) -> Iterator[tuple[str, ...]]:
        yield tuple(self.supported())
        names = ("merge_data", "merge_global_data", "merge_headers", "merge_metadata")
        yield tuple(name for name in names if name not in self.case.unsupported)

    def assert_fails(self, attrs: dict[str, Any], *secrets: str, **options: Any) -> BaseException:
        error = self.send(attrs, **options)
        self.assertIsNotNone(error, "There was no error")
        assert error is not None
        self.assert_quiet_error(error, *secrets)
        return error

    # -- Tests --------------------------------------------------------------------------------

    def test_it_is_sent(self):
        """Else the others would prove little."""
        for features in self.sends():
            with self.subTest(features):
                self.assertIsNone(self.send(self.attrs(*features)))
        self.assertTrue(self.transport.calls)
        if self.case.is_http:
            sent = b"".join(call.body for call in self.transport.calls)
            self.assertIn(CONTENT.encode(), sent)

    @over_http
    def test_error_status(self):
        for features in self.sends():
            for status in (400, 500):
                with self.subTest(features=features, status=status):
                    self.transport.answer = make_response(status, json_data={"error": "no"})
                    error = self.assert_fails(self.attrs(*features), CREDENTIAL, CONTENT)
                    self.assertIsInstance(error, AnymailAPIError)
                    self.assertIn("error", str(error))

    @over_http
    def test_network_errors_in_another_thread(self):
        self.transport.answer = NETWORK_ERRORS[0]
        for features in self.sends():
            with self.subTest(features=features):
                self.assert_fails(self.attrs(*features), CREDENTIAL, CONTENT, send_concurrency=2)

    @over_http
    def test_echo(self):
        """An API can answer with what it got."""
        secrets = [self.options[name] for name in self.case.secret]

        def as_json(call: Any) -> Any:
            return make_response(400, json_data={"keys": secrets, "body": call.body.decode()})

        def as_text(call: Any) -> Any:
            text = f"{secrets} {secrets[0]} {call.body.decode()}".encode()
            return make_response(400, body=text, reason=f"Bad {secrets[0]}")

        def with_success(call: Any) -> Any:
            return make_response(200, body=" ".join(secrets).encode())

        def object_with_success(call: Any) -> Any:
            return make_response(200, json_data={"keys": secrets, secrets[0]: [secrets]})

        def array_with_success(call: Any) -> Any:
            return make_response(200, json_data=[{"status": secrets[0], "email": secrets}])

        for answer in (as_json, as_text, with_success, object_with_success, array_with_success):
            if "success" in answer.__name__ and not self.case.reads_answers:
                continue
            with self.subTest(answer.__name__):
                self.transport.answer = answer
                for features in self.sends():
                    attrs = {**self.attrs(*features), "to": [f"To {CONTENT} <to@example.com>"]}
                    error = self.send(attrs)
                    self.assertIsInstance(error, AnymailAPIError)
                    assert error is not None
                    self.assert_quiet_error(error, CREDENTIAL, CONTENT)
                    self.assertIn("*****", str(error))

    @over_http
    def test_network_errors(self):
        options: dict[str, Any] = {}
        if "api_url" in self.case.options:
            url = self.case.options["api_url"].removeprefix("https://")
            options["api_url"] = f"https://user:{requests.utils.quote(CREDENTIAL, '')}@{url}"
        for features in self.sends():
            for network_error in NETWORK_ERRORS:
                with self.subTest(features=features, error=type(network_error).__name__):
                    # As requests raises it: from within, and with the URL of the request

                    def answer(call: Any, network_error: Any = network_error) -> Any:
                        return type(network_error)(str(network_error).format(url=call.url))

                    self.transport.answer = answer
                    error = self.assert_fails(self.attrs(*features), CREDENTIAL, CONTENT, **options)
                    if isinstance(network_error, requests.exceptions.InvalidURL):
                        # No address that can be called is a mistake in the settings
                        self.assertIsInstance(error, AnymailConfigurationError)
                        self.assertIn("Invalid URL 'https://", str(error))
                        continue
                    self.assertIsInstance(error, type(network_error))
                    self.assertIn("Error posting to https://", str(error))

    @only_if(lambda case: issubclass(case.transport, BotoTransport))
    def test_boto_errors(self):
        from botocore.exceptions import ClientError, EndpointConnectionError

        url = (
            f"https://user:{requests.utils.quote(CREDENTIAL, '')}@email.eu-central-1.amazonaws.com/"
        )
        text = f"Not allowed for {self.options['client_params']['aws_access_key_id']}: a header "
        text += f"'custom header {CONTENT}', a subject 'Subject {CONTENT}'"
        for cause in (
            EndpointConnectionError(endpoint_url="https://email.eu-central-1.amazonaws.com/"),
            ClientError({"Error": {"Code": "400", "Message": "no"}}, "SendEmail"),
        ):
            with self.subTest(type(cause).__name__):
                self.transport.answer = cause
                for features in self.sends():
                    for concurrency in (1, 2):
                        error = self.assert_fails(
                            self.attrs(*features),
                            CREDENTIAL,
                            CONTENT,
                            send_concurrency=concurrency,
                        )
                        self.assertIsInstance(error, AnymailAPIError)
        for cause in (
            EndpointConnectionError(endpoint_url=url),
            ClientError({"Error": {"Code": "400", "Message": text}}, "SendEmail"),
        ):
            self.transport.answer = cause
            error = self.send(self.attrs("extra_headers"))
            self.assertIsInstance(error, AnymailAPIError)
            self.assert_quiet(f"{error} {error!r}", CREDENTIAL, CONTENT)

    @only_if(lambda case: case.is_http and case.reads_answers)
    def test_malformed_answers(self):
        for body in (b"<p>", b'{"id": "', b'{"made": "up"}', b"[" * 100_000):
            with self.subTest(body=body[:10]):
                self.transport.answer = make_response(200, body=body)
                error = self.assert_fails(self.attrs(*self.supported()), CREDENTIAL, CONTENT)
                self.assertIsInstance(error, AnymailAPIError)

    def test_unsupported_features(self):
        for feature in (self.case.unsupported & set(FEATURES)) - {"inline_image"}:
            with self.subTest(feature):
                attrs = self.attrs(feature)
                if feature == "multiple_tags":  # That error tells which.
                    attrs["tags"] = ["one", "two"]
                error = self.assert_fails(attrs, CREDENTIAL, CONTENT)
                self.assertIsInstance(error, AnymailError)

    def test_not_serializable(self):
        for name in self.case.serialized - {"esp_extra", "extra_headers", "merge_headers"}:
            if name in self.case.unsupported:
                continue
            value: Any = {CONTENT: NotSerializable()}
            if name in ("merge_data", "merge_metadata"):
                value = {"to@example.com": value}
            for concurrency in (1, 2):
                with self.subTest(name, concurrency=concurrency):
                    attrs = {**self.attrs(name), name: value}
                    error = self.assert_fails(
                        attrs, CREDENTIAL, CONTENT, send_concurrency=concurrency
                    )
                    self.assertIsInstance(error, AnymailError)

    def test_malformed_attributes(self):
        for attrs in (
            {"to": ["not an address"]},
            {"from_email": "two@at@example.com"},
            {"subject": f"{CONTENT}\r\nBcc: other@example.com"},
            {"headers": {"X-Custom": f"{CONTENT}\r\nBcc: other@example.com"}},
        ):
            with self.subTest(attrs=[*attrs]):
                error = self.assert_fails({**self.attrs(), **attrs}, CREDENTIAL, CONTENT)
                self.assertIsInstance(error, AnymailError)

    @over_http
    def test_debug_output(self):
        options: dict[str, Any] = {"debug_api_requests": True}
        if "api_url" in self.case.options:
            url = self.case.options["api_url"].removeprefix("https://")
            options["api_url"] = f"https://user:{requests.utils.quote(CREDENTIAL, '')}@{url}"

        def echo(call: Any) -> Any:
            secrets = [self.options[name] for name in self.case.secret]
            response = make_response(400, json_data={"keys": secrets})
            response.headers["Location"] = f"https://example.com/?token={CREDENTIAL}"
            return response

        self.transport.answer = echo
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertIsNotNone(self.send(self.attrs(), **options))
        self.assertIn("Anymail API request", output.getvalue())
        self.assert_quiet(output.getvalue(), CREDENTIAL)


def _make_backend_test_case(case: BackendCase) -> type[QuietTestCase]:
    name = "".join(map(str.capitalize, case.name.split("_"))) + "BackendTests"
    attrs: dict[str, Any] = {"case": case, "__module__": __name__}
    for test_name, test in vars(BackendQuiet).items():
        if not getattr(test, "applies", lambda case: True)(case):
            attrs[test_name] = None
    return skip_without(*case.packages)(type(name, (BackendQuiet, QuietTestCase), attrs))


for _case in BACKEND_CASES.values():
    _test_case = _make_backend_test_case(_case)
    globals()[_test_case.__name__] = _test_case
del _test_case


# ---------------------------------------------------------------------------------------------
# Webhooks
# ---------------------------------------------------------------------------------------------


class WebhookQuiet(QuietTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    case: ClassVar[WebhookCase]
    view: ClassVar[WebhookView]

    def setUp(self) -> None:
        super().setUp()
        self.settings_with_secrets = {
            "WEBHOOK_SECRET": ["user:webhook-secret-canary", "user:other-secret-canary"],
            **self.case.needed_settings,
            **self.case.settings,
        }
        override = override_settings(ANYMAIL=self.settings_with_secrets)
        override.enable()
        self.addCleanup(override.disable)
        self.view_function = import_string(self.view.view).as_view()
        # Of the keys, only those that are secret: some are public keys.
        self.secrets = [
            "webhook-secret-canary",
            "other-secret-canary",
            *find_credentials(self.case.needed_settings),
            *find_credentials(self.case.settings),
        ]

    def sample(self) -> WebhookRequest:
        for fixture in find_fixtures(self.case.esp, self.view.kind):
            data = fixture.load()
            if fixture.load_expected().get("events") and "settings" not in data:
                return fixture.request(self.case)
        raise AssertionError("needs a fixture with an event")

    def refused(self, request: WebhookRequest, authorization: str) -> tuple[BaseException, Any]:
        http_request = RequestFactory().generic(
            "POST",
            request.path,
            data=request.body,
            content_type=request.effective_content_type,
            headers={**request.headers, "Authorization": authorization},
        )
        with simulated_downloads(request.downloads, required=False):
            return self._refused(http_request), http_request

    def _refused(self, request: HttpRequest) -> BaseException:
        # This is the first function in Django's reports. Its variables are shown.
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.view_function(request)
        except (SuspiciousOperation, BadRequest) as error:
            return error
        raise AssertionError("It was not refused")

    def test_wrong_credentials(self):
        request = self.sample()
        for credentials in ("user:webhook-secret-canarx", "user:x-received-canary"):
            error, http_request = self.refused(request, basic_auth_header(credentials))
            received = credentials.partition(":")[2]
            self.assert_quiet_error(error, received, *self.secrets, request=None)
            # Which headers Django's reports show depends on its version.
            report = self.report(error, http_request)
            for secret in (received, *self.secrets):
                self.assertNotIn(secret, report)

    def test_wrong_signature(self):
        authorization = basic_auth_header("user:webhook-secret-canary")
        for description, tamper in self.case.tampers.items():
            if self.view.signature == "none":
                continue
            request = self.sample()
            with self.subTest(description):
                try:
                    tamper(request)
                except (AttributeError, KeyError, TypeError, ValueError):
                    continue  # for the other view's kind of calls
                error, _http_request = self.refused(request, authorization)
                self.assert_quiet_error(error, *self.secrets)

    def test_malformed(self):
        """Nothing of a body that can't be parsed is in the error."""
        if not self.case.signs_any_body and self.view.signature != "none":
            return
        request = self.sample()
        for name in BODY_KEYS - {"base64"}:
            setattr(request, name, None)
        request.raw = f'{{"text": "{CONTENT}", "made": '.encode()
        request.content_type = "application/json"
        if self.view.signature != "none":
            assert self.case.sign is not None
            self.case.sign(request)
        authorization = basic_auth_header("user:webhook-secret-canary")
        error, http_request = self.refused(request, authorization)
        self.assert_quiet_error(error, CONTENT, *self.secrets)
        self.assert_quiet(self.report(error, http_request), CONTENT)

    def test_receiver_raises(self):
        """The report of a receiver's error does not show the form, which can be a message."""
        request = self.sample()
        authorization = basic_auth_header("user:webhook-secret-canary")

        def receiver(**kwargs: Any) -> None:
            kwargs.clear()
            raise SuspiciousOperation("receiver")

        signal = SIGNALS[self.view.kind]
        signal.connect(receiver)
        self.addCleanup(signal.disconnect, receiver)
        error, http_request = self.refused(request, authorization)
        reporter = ExceptionReporter(http_request, type(error), error, None)
        with override_settings(DEBUG=False):
            report = reporter.get_traceback_text()
        self.assertIn("receiver", report)
        for name in http_request.POST:
            self.assertIn(f"\n{name} = '********************'\n", report)


@skip_without("boto3", "cryptography")
class SubscriptionConfirmationTests(QuietTestCase):
    """Whoever has the token in SNS's request can confirm a subscription."""

    token = "subscription-token-canary"

    def setUp(self) -> None:
        super().setUp()
        self.message = {
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Message": "You have chosen to subscribe.",
            "Timestamp": "2026-02-03T04:05:06.789Z",
            "Token": self.token,
        }

    def requests(self) -> Iterator[tuple[str, HttpRequest]]:
        """Yield the path of a view, and a call that confirms a subscription."""
        for case in WEBHOOK_CASES.values():
            if case.sns_subscription is None:
                continue
            topic, host = case.sns_subscription
            url = f"https://{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token={self.token}"
            for changes in ({}, {"TopicArn": "?"}, {"SubscribeURL": f"{url}x"}, {"Type": None}):
                body = {**self.message, "TopicArn": topic, "SubscribeURL": url, **changes}
                for view in case.views:
                    yield (
                        view.view,
                        RequestFactory().post(
                            "/",
                            json.dumps(body),
                            content_type="text/plain; charset=UTF-8",
                            headers={
                                "Authorization": basic_auth_header("user:password"),
                                "x-amz-sns-message-type": str(body["Type"]),
                                "x-amz-sns-message-id": str(body["MessageId"]),
                            },
                        ),
                    )

    def error(self, view: str, request: HttpRequest) -> BaseException | None:
        view_function = import_string(view).as_view()
        # This is the first function in Django's reports. Its variables are shown.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                view_function(request)
            except Exception as error:  # noqa: BLE001  # whichever it is
                return error
        return None

    def fail_to_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """As requests and boto3 do it."""
        if "TopicArn" in kwargs:
            from botocore.exceptions import ClientError

            details = {"Code": "AuthorizationError", "Message": "User is not authorized"}
            raise ClientError({"Error": details}, "ConfirmSubscription")
        raise requests.ConnectionError(f"Max retries exceeded with url: {args[0]}")

    def test_errors(self) -> None:
        for settings in (
            {},
            {"WEBHOOK_SECRET": "user:password"},
            {"AMAZON_SES_VERIFY_SNS_SIGNATURE": True},
            {f"{item.settings_prefix}_SNS_TOPIC_ARNS": "other" for item in PROVIDERS.values()},
        ):
            failures = 0
            for view, request in self.requests():
                with (
                    self.subTest(view=view, settings=settings),
                    override_settings(ANYMAIL=settings),
                    patch("requests.Session.get", self.fail_to_confirm),
                    patch("boto3.session.Session") as session,
                ):
                    client = session.return_value.client.return_value
                    client.confirm_subscription.side_effect = self.fail_to_confirm
                    error = self.error(view, request)
                    if error is None:
                        self.assertEqual(settings, {"WEBHOOK_SECRET": "user:password"})
                        continue
                    failures += 1
                    self.assert_quiet_error(error, self.token)
                    self.assert_quiet(self.report(error, request), self.token)
            self.assertTrue(failures)


class DownloadTests(QuietTestCase):
    """What webhooks send to fetch a message, and what they get."""

    key = "api-key-canary"
    signature = "url-signature-canary"

    answers: ClassVar[dict[str, Answer]] = {
        "error": Answer(status=404, body=b'{"message": "not found"}'),
        "no answer": Answer(stall=True),
        "too large": Answer(body=f"{CONTENT}\n".encode() * 100),
        "cut off": Answer(body=f"{CONTENT}\n".encode() * 100, reset_after=1000),
        "end is missing": Answer(body=f"{CONTENT}\n".encode() * 10, stall_before_end=True),
        "not JSON": Answer(body=b"<p>"),
    }

    def make_call(self, view: str, data: Any, settings: dict[str, Any]) -> BaseException | None:
        request = RequestFactory().post(
            "/",
            json.dumps(data),
            content_type="application/json",
            headers={"Authorization": basic_auth_header("user:password")},
        )
        with override_settings(
            ANYMAIL={
                "WEBHOOK_SECRET": "user:password",
                "INBOUND_MAX_BYTES": 500,
                "REQUESTS_TIMEOUT": 0.05,
                **settings,
            }
        ):
            return self.error_of(import_string(f"anymail.webhooks.{view}").as_view(), request)

    def error_of(self, view_function: Any, request: HttpRequest) -> BaseException | None:
        # This is the first function in Django's reports. Its variables are shown.
        try:
            view_function(request)
        except AnymailAPIError as error:
            return error
        return None

    def download(self, esp: str, answers: list[Answer], server_url: str) -> BaseException | None:
        url = f"{server_url}/raw?signature={self.signature}"
        if esp == "brevo":
            return self.make_call(
                "brevo.BrevoInboundWebhookView",
                {"items": [{"Attachments": [{"DownloadToken": "worth nothing without the key"}]}]},
                {"BREVO_API_KEY": self.key, "BREVO_API_URL": server_url},
            )
        if esp == "mailtrap":
            answers.insert(0, Answer(body=json.dumps({"raw_message_url": url}).encode()))
            events = [{"event": "inbound.message_received", "inbox_id": 7, "message_id": "8"}]
            return self.make_call(
                "mailtrap.MailtrapInboundWebhookView",
                {"events": events},
                {"MAILTRAP_API_TOKEN": self.key, "MAILTRAP_INBOUND_API_URL": server_url},
            )
        answers.insert(0, Answer(body=json.dumps({"raw": {"download_url": url}}).encode()))
        return self.make_call(
            "resend.ResendInboundWebhookView",
            {"type": "email.received", "data": {"email_id": "5"}},
            {"RESEND_API_KEY": self.key, "RESEND_API_URL": server_url},
        )

    def test_errors(self) -> None:
        for esp in ("brevo", "mailtrap", "resend"):
            for description, answer in self.answers.items():
                if description == "not JSON":
                    continue  # It's a message, then.
                with self.subTest(esp=esp, answer=description), HttpServer() as server:
                    server.answers = [answer]
                    error = self.download(esp, server.answers, server.url)
                    self.assert_no_canary(error)

    def test_errors_of_the_api(self) -> None:
        for esp in ("mailtrap", "resend"):
            for description, answer in self.answers.items():
                with self.subTest(esp=esp, answer=description), HttpServer(answer) as server:
                    self.assert_no_canary(self.download(esp, [], server.url))

    def test_no_connection(self) -> None:
        with HttpServer() as server:
            url = server.url
        for esp in ("brevo", "mailtrap", "resend"):
            with self.subTest(esp=esp):
                self.assert_no_canary(self.download(esp, [], url))

    def assert_no_canary(self, error: BaseException | None) -> None:
        self.assertIsNotNone(error, "There was no error")
        assert error is not None
        self.assert_quiet_error(error, self.key, self.signature, CONTENT)


@skip_without("boto3")
class S3DownloadTests(QuietTestCase):
    secrets = ("aws-key-id-canary", "aws-secret-key-canary", "aws-session-token-canary")

    def setUp(self) -> None:
        super().setUp()
        environment = aws_environment()
        environment.start()
        self.addCleanup(environment.stop)
        key_id, secret_key, session_token = self.secrets
        os.environ["AWS_ACCESS_KEY_ID"] = key_id
        os.environ["AWS_SECRET_ACCESS_KEY"] = secret_key
        os.environ["AWS_SESSION_TOKEN"] = session_token
        logging.getLogger("botocore").setLevel(logging.INFO)
        self.addCleanup(logging.getLogger("botocore").setLevel, logging.NOTSET)

    def download(self, url: str, settings: dict[str, Any]) -> None:
        from anymail.webhooks.amazon_ses import AmazonSESInboundWebhookView

        action = {"type": "S3", "bucketName": "bucket", "objectKey": "key"}
        event = {"notificationType": "Received", "receipt": {"action": action}}
        body = {"Type": "Notification", "MessageId": "5", "Message": json.dumps(event)}
        request = RequestFactory().post(
            "/",
            json.dumps(body),
            content_type="text/plain",
            headers={
                "Authorization": basic_auth_header("user:password"),
                "x-amz-sns-message-type": "Notification",
                "x-amz-sns-message-id": "5",
            },
        )
        anymail_settings = {"WEBHOOK_SECRET": "user:password", "INBOUND_MAX_BYTES": 500, **settings}
        with (
            override_settings(ANYMAIL=anymail_settings),
            patch.dict(os.environ, {"AWS_ENDPOINT_URL": url}),
        ):
            error = self.error_of(AmazonSESInboundWebhookView.as_view(), request)
        self.assertIsNotNone(error, "There was no error")
        assert error is not None
        self.assert_quiet_error(error, *self.secrets, CONTENT)

    def error_of(self, view_function: Any, request: HttpRequest) -> BaseException | None:
        # This is the first function in Django's reports. Its variables are shown.
        try:
            view_function(request)
        except AnymailAPIError as error:
            return error
        return None

    def test_errors(self) -> None:
        for description, answer in DownloadTests.answers.items():
            if description == "not JSON":
                continue
            with self.subTest(answer=description), HttpServer(answer) as server:
                self.download(server.url, {"REQUESTS_TIMEOUT": 0.05})

    def test_no_connection(self) -> None:
        with HttpServer() as server:
            url = server.url
        self.download(url, {})


def _make_webhook_test_case(case: WebhookCase, view: WebhookView) -> type[QuietTestCase]:
    name = "".join(map(str.capitalize, (*case.esp.split("_"), view.kind))) + "WebhookTests"
    attrs: dict[str, Any] = {"case": case, "view": view, "__module__": __name__}
    return skip_without(*case.packages)(type(name, (WebhookQuiet, QuietTestCase), attrs))


for _webhook_case in WEBHOOK_CASES.values():
    for _view in _webhook_case.views:
        _test_case = _make_webhook_test_case(_webhook_case, _view)
        globals()[_test_case.__name__] = _test_case
del _test_case


# ---------------------------------------------------------------------------------------------
# What they rely on
# ---------------------------------------------------------------------------------------------


class MaskTests(SimpleTestCase):
    def test_mask_urls(self):
        for text, expected in [
            ("https://user:pass@example.com/a", "https://*****@example.com/a"),
            ("https://key@example.com", "https://*****@example.com"),
            ("'https://u:p@x.example': No host", "'https://*****@x.example': No host"),
            ("/a?api_key=K1&b=2", "/a?api_key=*****&b=2"),
            ("/a?b=2&X-Amz-Signature=S1 (Caused", "/a?b=2&X-Amz-Signature=***** (Caused"),
            ("/a?b=2&access_token=S1#x", "/a?b=2&access_token=*****#x"),
            ("/a?to=https://b.example/?key=K&c=d", "/a?to=https://b.example/?key=*****&c=d"),
            ("/a?key=K?token=T&key=", "/a?key=*****&key="),
            ("https://user:p@ss@example.com", "https://*****@example.com"),
            ("https://example.com/a@b?c=d", "https://example.com/a@b?c=d"),
            ("mail to ann@example.com", "mail to ann@example.com"),
        ]:
            with self.subTest(text):
                self.assertEqual(mask_urls(text), expected)

    def test_mask_urls_in_error(self):
        cause = ValueError("/x?token=T1", 5)
        error = KeyError("https://u:p@x.example")
        error.__context__ = cause
        cause.__context__ = error  # Nobody knows how, but it happens.
        mask_urls_in_error(error)
        self.assertEqual(error.args, ("https://*****@x.example",))
        self.assertEqual(cause.args, ("/x?token=*****", 5))

    def test_short_credentials_stand_alone(self):
        for text, credential, expected in [
            ("abcdef-abcdefgh", "abcdef", "*****-*****gh"),
            (
                '{"key": "t", "text": "t", "at": 1}',
                "t",
                '{"key": "*****", "text": "*****", "at": 1}',
            ),
            ("Key: t\nt=t&x=tt\nb't'", "t", "Key: *****\n*****=*****&x=tt\nb'*****'"),
            ("don't, don’t, T-shirt, shirt-t", "t", "don't, don’t, T-shirt, shirt-t"),
            (r'"a\tb\t"', "t", r'"a\tb\t"'),
            ("abcde abcdef", "abcde", "***** abcdef"),
            ("nothing", "", "nothing"),
        ]:
            with self.subTest(text):
                self.assertEqual(mask_credentials(text, [credential]), expected)

    def test_the_longest_credential_first(self):
        self.assertEqual(mask_credentials("abcdefgh abcdef", ["abcdef", "abcdefgh"]), "***** *****")

    def test_mask_message(self):
        content = base64.b64encode(b"A confidential report. " * 9).decode()
        attached = EmailMessage("Forwarded subject", "Forwarded body", "a@b.c", ["d@e.f"])
        message = make_message(
            to=[
                "Bo <bo@example.com>",
                "Zoë Müller <zoe@example.com>",
                "=?utf-8?q?Jos=C3=A9?= <a@b.c>",
            ],
            attachments=[
                ("secret plan.txt", "Text of an attachment\r\nSecond line of it", "text/plain"),
                ("report.pdf", b"A confidential report. " * 9, "application/pdf"),
                (None, attached, "message/rfc822"),
            ],
            headers={"X-Header": "value of a header"},
            metadata={"card": 4111111111111111, "nested": [{"a": "nested metadata"}]},
            merge_metadata={"bo@example.com": {"a": "merge metadata"}},
            merge_headers={"bo@example.com": {"a": "merge header"}},
            tags=["name of a tag"],
        )
        message.attachments.append(MIMEText("Größenwahn überall", "plain", "iso-8859-1"))
        for text in [
            "Text of an attachment",
            "Second line of it",
            "Größenwahn überall",
            "secret plan.txt",
            content,
            content[:50],
            content[7:99],
            "\n".join(content[start : start + 76] for start in range(0, len(content), 76)),
            "Forwarded subject",
            "Forwarded body",
            "value of a header",
            "4111111111111111",
            "nested metadata",
            "merge metadata",
            "merge header",
            "name of a tag",
            "Bo",
            "Zoë Müller",
            "José",
            rfc2047_encode("Zoë Müller"),
        ]:
            as_json = json.dumps(text)[1:-1]
            for written in (text, as_json, as_json.replace("/", r"\/"), quote_plus(text)):
                with self.subTest(written):
                    self.assertEqual(
                        mask_message(f"'{written}' bo@example.com", message),
                        "'*****' bo@example.com",
                    )
        self.assertEqual(mask_message("Body: a Border's error", message), "Body: a Border's error")

    def test_find_credentials(self):
        options = {"api_key": "1", "nested": {"aws_secret_access_key": "2", "region": "x"}}
        options |= {"name": "x", "server_token": "3", "secret": "", "password": None}
        self.assertEqual([*find_credentials(options)], ["1", "2", "3"])


class LengthTests(SimpleTestCase):
    def test_answers_are_shortened(self):
        for response in (
            make_response(500, body=b"x" * 1_000_000),
            make_response(500, json_data={"error": "x" * 1_000_000}),
            make_response(500, reason="x" * 1_000_000),
        ):
            text = str(AnymailAPIError(status_code=500, response=response))
            self.assertLess(len(text), MAX_DESCRIPTION + 200)
            self.assertIn(f"(the first {MAX_DESCRIPTION} of 1000", text)

    def test_longest_answer(self):
        response = make_response(500, body=b"x" * (MAX_DESCRIPTION - 2))
        text = str(AnymailAPIError(status_code=500, response=response))
        self.assertTrue(text.endswith("x'"), text[-60:])

    def test_causes_are_shortened(self):
        error = AnymailAPIError("failed")
        error.__cause__ = ValueError("x" * 1_000_000)
        self.assertLess(len(str(error)), MAX_DESCRIPTION + 200)

    def test_a_credential_is_not_cut(self):
        class Backend:
            esp_name = "My ESP"

            def _credentials(self):
                return ["abcdefghijkl"]

        body = b"x" * (MAX_DESCRIPTION - 6) + b"abcdefghijkl"
        for answer in (body, b'"' + body + b'"'):
            response = make_response(500, body=answer, reason=body.decode())
            error = AnymailAPIError(status_code=500, response=response, backend=Backend())
            error.__cause__ = ValueError(body.decode())
            self.assertNotIn("abcd", str(error))

    def test_a_text_that_is_mostly_masked_is_not_cut(self):
        lines = [f"{number} is a line of the body" for number in range(2000)]
        message = make_message(body="\n".join(lines))
        for body in (" ".join(lines), "x" + " ".join(lines), "xy" + " ".join(lines)):
            for answer in (body.encode(), json.dumps({"error": body}).encode()):
                error = AnymailRequestsAPIError(
                    response=make_response(400, body=answer), email_message=message
                )
                self.assertNotRegex(f"{error} {error.esp_message}", r"\d is|of the")

    def test_other_texts(self):
        """A subclass's, for example."""

        class Backend:
            esp_name = "My ESP"

            def _credentials(self):
                return ["abcdefghijkl", "short"]

        error = AnymailAPIError("shorts abcdefghijkl https://u:p@example.com", backend=Backend())
        self.assertEqual(str(error), "shorts ***** https://*****@example.com")
        self.assertEqual(repr(error), "AnymailAPIError('shorts ***** https://*****@example.com')")


@tag("exhaustive")  # The same with each Python and Django.
class LoggerTests(SimpleTestCase):
    def test_names(self):
        """Projects configure one logger for all of Anymail."""
        names = []
        for path in PACKAGE.rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if path.name == "site.py":
                continue  # The sandbox's site shows what Django logs.
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "logging":
                    self.assertFalse(node.attr.islower(), f"logging.{node.attr} in {path.name}")
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                    [name] = node.args
                    if ast.unparse(name) == "__name__":
                        continue  # starts with "anymail."
                    assert isinstance(name, ast.Constant), path.name
                    names.append(str(name.value))
        self.assertTrue(names)
        for name in names:
            self.assertRegex(name, r"^anymail(\.|$)")
