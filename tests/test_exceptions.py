from __future__ import annotations

import copy
import json
import pickle
import traceback
from unittest import mock, skipIf, skipUnless
from urllib.parse import urlencode

import django
import requests
import requests.exceptions
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.test import SimpleTestCase
from django.utils.translation import gettext_lazy

from anymail import exceptions
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailDeprecationWarning,
    AnymailError,
    AnymailImproperlyInstalled,
    AnymailInboundLimitExceeded,
    AnymailInsecureWebhookWarning,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailInvalidMailer,
    AnymailNotSupportedWarning,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
    AnymailWarning,
    AnymailWebhookValidationFailure,
    InvalidMailer,
    _LazyError,
)
from tests.utils import make_message, make_response, use_backend

ANYMAIL_ERRORS = [
    AnymailError,
    AnymailAPIError,
    AnymailRequestsAPIError,
    AnymailRecipientsRefused,
    AnymailInvalidAddress,
    AnymailInvalidHeader,
    AnymailUnsupportedFeature,
    AnymailSerializationError,
    AnymailCancelSend,
    AnymailWebhookValidationFailure,
]


class Backend:
    esp_name = "My ESP"


class TreeTests(SimpleTestCase):
    def test_bases(self):
        for cls, bases in {
            AnymailError: (Exception,),
            AnymailAPIError: (AnymailError,),
            AnymailRequestsAPIError: (AnymailAPIError, requests.HTTPError),
            AnymailRecipientsRefused: (AnymailError,),
            AnymailInvalidAddress: (AnymailError, ValueError),
            AnymailInvalidHeader: (AnymailError, ValueError),
            AnymailUnsupportedFeature: (AnymailError, ValueError),
            AnymailSerializationError: (AnymailError, TypeError),
            AnymailCancelSend: (AnymailError,),
            AnymailWebhookValidationFailure: (AnymailError, SuspiciousOperation),
            AnymailInboundLimitExceeded: (AnymailWebhookValidationFailure, ValueError),
            AnymailConfigurationError: (ImproperlyConfigured,),
            AnymailInvalidMailer: (AnymailConfigurationError, InvalidMailer),
            AnymailImproperlyInstalled: (AnymailConfigurationError, ImportError),
            AnymailWarning: (Warning,),
            AnymailInsecureWebhookWarning: (AnymailWarning,),
            AnymailDeprecationWarning: (AnymailWarning, DeprecationWarning),
            AnymailNotSupportedWarning: (AnymailWarning,),
        }.items():
            with self.subTest(cls=cls.__name__):
                self.assertEqual(cls.__bases__, bases)

    def test_configuration_errors_are_never_silenced(self):
        self.assertFalse(issubclass(AnymailConfigurationError, AnymailError))

    def test_docstring_draws_all_of_it(self):
        for name, cls in vars(exceptions).items():
            if name.startswith("Anymail") and isinstance(cls, type):
                self.assertRegex(exceptions.__doc__, rf"\b{name}\b")

    @skipUnless(django.VERSION >= (6, 1), "Django 6.1 introduced InvalidMailer")
    def test_invalid_mailer_is_django_s(self):
        from django.core.mail import InvalidMailer as DjangoInvalidMailer

        self.assertIs(InvalidMailer, DjangoInvalidMailer)

    @skipIf(django.VERSION >= (6, 1), "Django has InvalidMailer since 6.1")
    def test_invalid_mailer_stand_in(self):
        self.assertTrue(issubclass(InvalidMailer, ImproperlyConfigured))
        self.assertEqual(str(InvalidMailer("text", alias="x")), "text")
        self.assertEqual(str(InvalidMailer("text")), "text")
        self.assertEqual(InvalidMailer("text", alias="x").args, ("text",))


class AnymailErrorTests(SimpleTestCase):
    def test_attributes_default_to_none(self):
        for cls in ANYMAIL_ERRORS:
            with self.subTest(cls=cls.__name__):
                error = cls("text")
                for name in [
                    "backend",
                    "email_message",
                    "payload",
                    "status_code",
                    "esp_name",
                    "response",
                ]:
                    self.assertIsNone(getattr(error, name))
                self.assertEqual(str(error), "text")
                self.assertEqual(error.args, ("text",))

    def test_attributes(self):
        backend, message, payload = Backend(), make_message(), object()
        response = make_response(400)
        for cls in ANYMAIL_ERRORS:
            with self.subTest(cls=cls.__name__):
                error = cls(
                    "text",
                    backend=backend,
                    email_message=message,
                    payload=payload,
                    status_code=400,
                    response=response,
                )
                self.assertIs(error.backend, backend)
                self.assertIs(error.email_message, message)
                self.assertIs(error.payload, payload)
                self.assertEqual(error.status_code, 400)
                self.assertIs(error.response, response)
                self.assertEqual(error.esp_name, "My ESP")

    def test_esp_name(self):
        self.assertEqual(AnymailError(esp_name="Other", backend=Backend()).esp_name, "Other")
        self.assertEqual(AnymailError(backend=Backend()).esp_name, "My ESP")

    def test_unknown_arguments_are_errors(self):
        for cls in ANYMAIL_ERRORS:
            with self.subTest(cls=cls.__name__), self.assertRaises(TypeError):
                raise cls("text", no_such_argument=1)

    def test_str_of_several_arguments(self):
        self.assertEqual(str(AnymailError("one", 2, ValueError("three"))), "one 2 three")
        self.assertEqual(str(AnymailError()), "")

    def test_str_includes_the_cause(self):
        for cause, described in [
            (ValueError("the cause"), "ValueError: the cause"),
            (KeyError("key"), "KeyError: 'key'"),
            (ValueError(), "ValueError"),
        ]:
            with self.subTest(cause=cause):
                error = AnymailError("text")
                error.__cause__ = cause
                self.assertEqual(error.describe_cause(), described)
                self.assertEqual(str(error), f"text\n{described}")
        error = AnymailError()
        error.__cause__ = ValueError("the cause")
        self.assertEqual(str(error), "ValueError: the cause")

    def test_str_includes_nested_causes(self):
        inner, outer = AnymailError("inner"), AnymailAPIError("outer")
        inner.__cause__ = ValueError("root")
        outer.__cause__ = inner
        self.assertEqual(str(outer), "outer\nAnymailError: inner\nValueError: root")

    def test_context_is_not_a_cause(self):
        try:
            try:
                raise ValueError("context")
            except ValueError:
                raise AnymailError("text")  # noqa: B904
        except AnymailError as error:
            self.assertIsNone(error.describe_cause())
            self.assertEqual(str(error), "text")

    def test_everything(self):
        error = AnymailAPIError(
            "text", esp_name="My ESP", status_code=400, response=make_response(400, body=b"no")
        )
        error.__cause__ = ValueError("the cause")
        self.assertEqual(
            str(error),
            "text\nValueError: the cause\nMy ESP API response 400 (bad_request): 'no'",
        )


class DescribeResponseTests(SimpleTestCase):
    def describe(self, response, **kwargs):
        return AnymailAPIError(**{"status_code": 400, "response": response, **kwargs})

    def test_json(self):
        response = make_response(
            400, json_data={"error": "Bad", "details": [1]}, reason="Bad Request"
        )
        error = self.describe(response, backend=Backend())
        self.assertEqual(
            str(error),
            "My ESP API response 400 (Bad Request):\n"
            '{\n  "error": "Bad",\n  "details": [\n    1\n  ]\n}',
        )
        self.assertEqual(error.describe_response(), str(error))

    def test_json_is_readable(self):
        error = self.describe(make_response(400, json_data={"error": "ungültig"}))
        self.assertIn('"error": "ungültig"', str(error))

    def test_json_can_be_printed(self):
        error = self.describe(make_response(400, body=b'{"error": "\\ud800"}'))
        str(error).encode()
        self.assertIn("\\ud800", str(error))

    def test_text(self):
        error = self.describe(make_response(400, body="Ungültig\n".encode(), reason="Bad Request"))
        self.assertEqual(str(error), "ESP API response 400 (Bad Request): 'Ungültig\\n'")

    def test_no_text(self):
        error = self.describe(make_response(400, reason="Bad Request"))
        self.assertEqual(str(error), "ESP API response 400 (Bad Request)")

    def test_reason(self):
        for reason, expected in [
            ("Ungültig", " (Ungültig)"),
            ("Ungültig".encode(), " (Ungültig)"),
            ("Ungültig".encode("iso-8859-1"), " (Ungültig)"),
            (None, ""),
            ("", ""),
        ]:
            with self.subTest(reason=reason):
                response = make_response(400)
                response.reason = reason
                self.assertEqual(str(self.describe(response)), f"ESP API response 400{expected}")

    def test_esp_name(self):
        error = self.describe(make_response(400), esp_name="Other ESP", backend=Backend())
        self.assertTrue(str(error).startswith("Other ESP API response 400"))

    def test_only_with_a_status(self):
        error = self.describe(make_response(400), status_code=None)
        self.assertIsNone(error.describe_response())
        self.assertEqual(str(error), "")

    def test_without_a_response(self):
        error = AnymailAPIError("text", status_code=400)
        self.assertIsNone(error.describe_response())
        self.assertEqual(str(error), "text")

    def test_other_kinds_of_response(self):
        for response, expected in [
            ({"a": "dict"}, "ESP API response 400"),
            (mock.Mock(spec=["text"], text="hello"), "ESP API response 400: 'hello'"),
            (
                mock.Mock(spec=["json", "text"], json=object, text="hello"),
                "ESP API response 400: 'hello'",
            ),
        ]:
            with self.subTest(response=response):
                self.assertEqual(str(self.describe(response)), expected)

    def test_nested_too_deeply(self):
        error = self.describe(make_response(400, body=b"[" * 200_000))
        self.assertTrue(str(error).startswith("ESP API response 400 (bad_request): '[[[["))


class EspMessageTests(SimpleTestCase):
    def esp_message(self, data, **kwargs):
        response = make_response(400, json_data=data)
        return AnymailAPIError("text", response=response, **kwargs).esp_message

    def test_error_fields(self):
        for data, expected in (
            ({"message": "Bad domain"}, "Bad domain"),
            ({"Message": "Bad domain", "ErrorCode": 300}, "Bad domain; 300"),
            ({"error": {"code": "E1", "message": "no"}, "id": "x"}, "E1; no"),
            ({"errors": [{"message": "no", "field": "to"}, {"message": "neither"}]}, "no; neither"),
            ({"errors": [{"message": "no"}, {"message": "no"}]}, "no"),
            (
                {"errors": {"from.email": ["must be verified", "too long"]}},
                "must be verified; too long",
            ),
            ({"errors": ["one", "two"]}, "one; two"),
            ({"Messages": [{"Status": "error", "Errors": [{"ErrorMessage": "no"}]}]}, "no"),
            ([{"status": "error", "reason": "no", "to": ["x"]}], "no"),
            ({"message": {"subject": "echo", "reason": "no"}}, "no"),
            ({"statusCode": 422, "name": "validation_error"}, "validation_error"),
            ({"message": None, "error": True, "data": {"a": "b"}}, None),
            ({}, None),
            ([], None),
            ("text", None),
        ):
            with self.subTest(data):
                self.assertEqual(self.esp_message(data), expected)

    def test_no_answer(self):
        self.assertIsNone(AnymailAPIError("text").esp_message)
        for body in (b"", b"<html>", b"[" * 100_000):
            self.assertIsNone(AnymailAPIError(response=make_response(500, body=body)).esp_message)

    def test_boto3(self):
        response = {"Error": {"Code": "MessageRejected", "Message": "not verified"}}
        error = AnymailAPIError(response=response)
        self.assertEqual(error.esp_message, "MessageRejected; not verified")

    def test_length(self):
        self.assertEqual(self.esp_message({"message": "x" * 5000}), "x" * 1000)

    def test_credentials(self):
        class BackendWithKey(Backend):
            def _credentials(self):
                return ["key-0123456789"]

        data = {"message": "key-0123456789 at https://u:p@example.com/ is wrong"}
        self.assertEqual(
            self.esp_message(data, backend=BackendWithKey()),
            "***** at https://*****@example.com/ is wrong",
        )

    def test_after_pickling(self):
        error = AnymailRequestsAPIError(response=make_response(400, json_data={"message": "no"}))
        self.assertEqual(pickle.loads(pickle.dumps(error)).esp_message, "no")


class ContentInAnswerTests(SimpleTestCase):
    """An answer can repeat the message that it is about."""

    def test_masked(self):
        message = make_message(body='Dear "Zoë",\r\nthis is private.\r\nBye', subject="About Dolly")
        message.attach_alternative("<p>also private \\o/</p>", "text/html")
        message.merge_data = {
            "to@example.com": {"name": "Ms. Secret", "age": 7, "x": ["in a list"]}
        }
        message.merge_global_data = {"place": gettext_lazy("somewhere else")}
        request = {
            "subject": message.subject,
            "text": message.body,
            "html": "<p>also private \\o/</p>",
            "data": ["Ms. Secret", "in a list", "somewhere else"],
        }
        for answer in (
            {"message": "no", "request": request},
            {"message": "no", "request": json.dumps(request)},
            {"message": f"no: {request}"},
            {"message": f"no: {urlencode(request)}"},
        ):
            error = AnymailAPIError(
                email_message=message,
                status_code=400,
                response=make_response(400, json_data=answer),
            )
            for text in (str(error), repr(error), error.esp_message):
                for secret in ("Dolly", "Zo", "private", "Secret", "in a list", "somewhere else"):
                    self.assertNotIn(secret, text)
            self.assertIn('"message": "no', str(error))
            self.assertTrue(error.esp_message.startswith("no"))

    def test_not_masked(self):
        message = make_message(body="short\n\n   \n", subject="Subject")
        response = make_response(400, json_data={"message": "Subject is too short"})
        error = AnymailAPIError(email_message=message, status_code=400, response=response)
        self.assertIn("Subject is too short", str(error))

    def test_not_a_message(self):
        response = make_response(400, body=b"no")
        for message in (None, object(), make_message(body=None)):
            error = AnymailAPIError(email_message=message, status_code=400, response=response)
            self.assertIn("'no'", str(error))

    def test_not_json(self):
        message = make_message(body="this is private")
        response = make_response(500, body=b"<p>this is private</p>")
        error = AnymailAPIError(email_message=message, status_code=500, response=response)
        self.assertIn("'<p>*****</p>'", str(error))

    def test_large_answer(self):
        message = make_message(body="this is private")
        response = make_response(500, body=b"this is private" * 100_000)
        error = AnymailAPIError(email_message=message, status_code=500, response=response)
        self.assertNotIn("private", str(error))


class AnymailRequestsAPIErrorTests(SimpleTestCase):
    def test_status_code_is_the_response_s(self):
        response = make_response(404)
        error = AnymailRequestsAPIError(response=response, esp_name="My ESP")
        self.assertEqual(error.status_code, 404)
        self.assertTrue(str(error).startswith("My ESP API response 404"))

    def test_requests_has_the_response_too(self):
        response = make_response(404)
        response.request = requests.Request("POST", "https://api.example/").prepare()
        error = AnymailRequestsAPIError("text", response=response)
        self.assertIs(error.response, response)
        self.assertIs(error.request, response.request)

    def test_without_a_response(self):
        error = AnymailRequestsAPIError("text")
        self.assertIsNone(error.status_code)
        self.assertIsNone(error.response)

    def test_combined_with_every_exception_of_requests(self):
        others = [
            cls
            for cls in vars(requests.exceptions).values()
            if isinstance(cls, type) and issubclass(cls, requests.RequestException)
        ]
        self.assertGreater(len(others), 15)
        for other in others:
            with self.subTest(other=other.__name__):
                cls = AnymailRequestsAPIError.combined_with(other)
                self.assertIs(AnymailRequestsAPIError.combined_with(other), cls)
                error = cls("text", email_message=None)
                self.assertIsInstance(error, AnymailRequestsAPIError)
                self.assertIsInstance(error, other)
                self.assertEqual(str(error), "text")
                self.assertEqual(error.args, ("text",))

    def test_combined_class(self):
        cls = AnymailRequestsAPIError.combined_with(requests.exceptions.SSLError)
        self.assertEqual(cls.__bases__, (AnymailRequestsAPIError, requests.exceptions.SSLError))
        self.assertEqual(cls.__name__, "AnymailRequestsAPIError")
        self.assertEqual(cls.__module__, "anymail.exceptions")
        self.assertEqual(cls.__doc__, AnymailRequestsAPIError.__doc__)
        same = AnymailRequestsAPIError.combined_with(requests.HTTPError)
        self.assertIs(same, AnymailRequestsAPIError)

    def test_combined_with_somebody_s_own_exception(self):
        class TooBusy(requests.RequestException):
            def __init__(self, *, retries):
                super().__init__(f"{retries} retries")

        error = AnymailRequestsAPIError.combined_with(TooBusy)("text")
        self.assertIsInstance(error, TooBusy)
        self.assertEqual(str(error), "text")


class OtherErrorsTests(SimpleTestCase):
    def test_recipients_refused(self):
        self.assertEqual(
            str(AnymailRecipientsRefused()), "All message recipients were rejected or invalid"
        )
        self.assertEqual(str(AnymailRecipientsRefused("text")), "text")

    def test_serialization_error(self):
        for kwargs, esp in [
            ({"esp_name": "Other"}, "Other"),
            ({"backend": Backend()}, "My ESP"),
            ({"esp_name": "Other", "backend": Backend()}, "Other"),
            ({}, "the ESP"),
        ]:
            with self.subTest(kwargs=kwargs):
                text = str(AnymailSerializationError(**kwargs))
                self.assertIn(f"Don't know how to send this data to {esp}.", text)
                self.assertRegex(text, "converting it to a string or number")

    def test_serialization_error_includes_the_original(self):
        orig_err = TypeError("original text")
        text = str(AnymailSerializationError(orig_err=orig_err))
        self.assertRegex(text, r"Don't know how .*\noriginal text$")
        self.assertEqual(str(AnymailSerializationError("text", orig_err)), "text\noriginal text")

    def test_improperly_installed(self):
        error = AnymailImproperlyInstalled("the_package", "my-esp", "this feature")
        self.assertRegex(str(error), "the_package package.*this feature")
        self.assertIn('pip install "django-anymail[my-esp]"', str(error))
        text = str(AnymailImproperlyInstalled("the_package"))
        self.assertIn("django-anymail[<esp>]", text)
        self.assertIn("this ESP", text)

    def test_invalid_mailer(self):
        error = AnymailInvalidMailer("Text.", alias="marketing")
        prefix = "MAILERS['marketing']: " if django.VERSION >= (6, 1) else ""
        self.assertEqual(str(error), f"{prefix}Text.")
        self.assertTrue(str(AnymailInvalidMailer("Text.")).endswith("Text."))


class PicklingTests(SimpleTestCase):
    def duplicates(self, error):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            yield pickle.loads(pickle.dumps(error, protocol))
        yield copy.deepcopy(error)
        yield copy.copy(error)

    def test_anymail_errors(self):
        for cls in ANYMAIL_ERRORS:
            with self.subTest(cls=cls.__name__):
                error = cls("text", status_code=400, esp_name="My ESP")
                for duplicate in self.duplicates(error):
                    self.assertIs(type(duplicate), cls)
                    self.assertEqual(duplicate.args, error.args)
                    self.assertEqual(str(duplicate), str(error))
                    self.assertEqual(duplicate.status_code, 400)
                    self.assertEqual(duplicate.esp_name, "My ESP")

    def test_default_texts(self):
        for error in [
            AnymailRecipientsRefused(),
            AnymailSerializationError(orig_err=TypeError("x"), backend=Backend()),
            AnymailImproperlyInstalled("package", "extra", "feature"),
            AnymailConfigurationError("text"),
            AnymailInvalidMailer("text", alias="marketing"),
        ]:
            for duplicate in self.duplicates(error):
                with self.subTest(error=error):
                    self.assertIs(type(duplicate), type(error))
                    self.assertEqual(str(duplicate), str(error))

    def test_what_can_not_be_pickled_is_left_behind(self):
        response = make_response(400, json_data={"error": "Bad"})
        response.request = requests.Request("POST", "https://api.example/").prepare()
        error = AnymailRequestsAPIError(
            "text",
            backend=open(__file__),  # noqa: SIM115, PTH123  something that can't be pickled
            payload=lambda: None,
            email_message=make_message(metadata={"a": 1}),
            response=response,
            esp_name="My ESP",
        )
        error.backend.close()
        for duplicate in self.duplicates(error):
            self.assertIsNone(duplicate.backend)
            self.assertIsNone(duplicate.payload)
            self.assertEqual(duplicate.email_message.metadata, {"a": 1})
            self.assertEqual(duplicate.response.json(), {"error": "Bad"})
            self.assertEqual(str(duplicate), str(error))
            self.assertIsNone(duplicate.request)
            self.assertIsNone(duplicate.response.request)
        self.assertIsNotNone(error.payload)
        self.assertIsNotNone(error.request)
        self.assertIsNotNone(error.response.request)

    def test_credentials_do_not_travel(self):
        response = make_response(401, body=b"no")
        response.request = requests.Request(
            "POST", "https://api.example/", headers={"Authorization": "Bearer a-secret-key"}
        ).prepare()
        error = AnymailRequestsAPIError("text", response=response)
        self.assertIn(b"a-secret-key", pickle.dumps(response))
        self.assertNotIn(b"a-secret-key", pickle.dumps(error))

    def test_other_kinds_of_response(self):
        error = AnymailAPIError("text", response={"boto": "dict"}, status_code=400)
        for duplicate in self.duplicates(error):
            self.assertEqual(duplicate.response, {"boto": "dict"})

    def test_combined_classes(self):
        for other in [requests.ConnectTimeout, requests.exceptions.JSONDecodeError]:
            error = AnymailRequestsAPIError.combined_with(other)("text", status_code=500)
            for duplicate in self.duplicates(error):
                self.assertIs(type(duplicate), type(error))
                self.assertIsInstance(duplicate, other)
                self.assertEqual(str(duplicate), "text")
                self.assertEqual(duplicate.status_code, 500)

    def test_an_error_from_sending(self):
        message = make_message()
        message.anymail_test_response = AnymailAPIError("text", email_message=message)
        with (
            use_backend("anymail.backends.test.EmailBackend"),
            self.assertRaises(AnymailAPIError) as caught,
        ):
            message.send()
        self.assertEqual(str(pickle.loads(pickle.dumps(caught.exception))), "text")


class LazyErrorTests(SimpleTestCase):
    def setUp(self):
        self.error = AnymailImproperlyInstalled("package", "extra")
        self.lazy = _LazyError(self.error)

    def assertRaisesTheError(self, callback):
        with self.assertRaises(AnymailImproperlyInstalled) as caught:
            callback()
        self.assertIs(caught.exception, self.error)

    def test_harmless(self):
        self.lazy.attribute = 1
        self.assertEqual(self.lazy.attribute, 1)

    def test_use(self):
        self.assertRaisesTheError(self.lazy)
        self.assertRaisesTheError(lambda: self.lazy("argument", keyword=1))
        self.assertRaisesTheError(lambda: self.lazy.attribute)
        self.assertRaisesTheError(lambda: self.lazy.submodule.function("argument"))

    def test_tracebacks_do_not_pile_up(self):
        lengths = set()
        for _ in range(3):
            try:
                self.lazy()
            except AnymailImproperlyInstalled as error:
                lengths.add(len(traceback.extract_tb(error.__traceback__)))
        self.assertEqual(len(lengths), 1)
