"""What all backends have in common, checked for each backend in the package "cases"."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import io
import itertools
import json
import pickle
import re
import traceback
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

import django
import requests
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings, tag
from django.utils.functional import lazystr
from django.utils.module_loading import import_string

from anymail import __version__
from anymail.addresses import EmailAddress
from anymail.conf import declared_settings
from anymail.datastructures import UNSET
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailConfigurationError,
    AnymailError,
    AnymailInvalidAddress,
    AnymailInvalidMailer,
    AnymailRecipientsRefused,
    AnymailRequestsAPIError,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
    InvalidMailer,
    Problem,
    problem_of,
)
from anymail.message import ANYMAIL_STATUSES, AnymailRecipientStatus
from anymail.signals import post_send, pre_send

from ..junk import json_mutations
from ..providers import tag_all_but_one_of_each_kind
from ..utils import SAMPLE_IMAGE, make_message, make_response, skip_without
from .cases import CASES
from .cases.base import BackendCase, Refusal
from .harness import LocalTransport

# What a message can have beside a plain text body: {name: (attributes, how errors name it)}.
# The attribute "inline_image" is added as one.
FEATURES: dict[str, tuple[dict[str, Any], str]] = {
    "cc": ({"cc": ["cc@example.com"]}, "cc"),
    "bcc": ({"bcc": ["bcc@example.com"]}, "bcc"),
    "reply_to": ({"reply_to": ["reply@example.com"]}, "reply_to"),
    "multiple_reply_to": (
        {"reply_to": ["reply@example.com", "Other <other@example.com>"]},
        "multiple reply_to",
    ),
    "extra_headers": ({"headers": {"X-Custom": "custom header"}}, "extra_headers"),
    "html_alternative": ({"alternatives": [("<p>HTML</p>", "text/html")]}, "html"),
    "attachment": ({"attachments": [("a.txt", "attached", "text/plain")]}, "attachments"),
    "inline_image": ({"inline_image": True}, "inline"),
    "multiple_html": (
        {"alternatives": [("<p>1</p>", "text/html"), ("<p>2</p>", "text/html")]},
        "multiple html parts",
    ),
    "multiple_text": ({"alternatives": [("2", "text/plain")]}, "multiple plaintext parts"),
    "amp_alternative": (
        {"alternatives": [("<p>", "text/html"), ("<html amp4email>", "text/x-amp-html")]},
        "alternative part with type 'text/x-amp-html'",
    ),
    "other_alternative": (
        {"alternatives": [("BEGIN:VCALENDAR", "text/calendar")]},
        "alternative part with type 'text/calendar'",
    ),
    "multiple_from": (
        {"from_email": "from@example.com, other-from@example.com"},
        "multiple from emails",
    ),
    "to_header": ({"headers": {"To": "shown@example.com"}}, "spoofing `To` header"),
    "from_header": ({"headers": {"From": "header-from@example.com"}}, "envelope_sender"),
    "envelope_sender": ({"envelope_sender": "bounces@bounces.example.net"}, "envelope_sender"),
    "metadata": ({"metadata": {"user": "12345"}}, "metadata"),
    "send_at": ({"send_at": datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)}, "send_at"),
    "tags": ({"tags": ["tag"]}, "tags"),
    "multiple_tags": ({"tags": ["tag", "other tag"]}, "multiple tags"),
    "track_clicks": ({"track_clicks": True}, "track_clicks"),
    "track_opens": ({"track_opens": True}, "track_opens"),
    "template_id": ({"template_id": "1234"}, "template_id"),
    "merge_data": ({"merge_data": {"to@example.com": {"first": "Ann"}}}, "merge_data"),
    "merge_global_data": ({"merge_global_data": {"site": "Shop"}}, "merge_global_data"),
    "merge_headers": (
        {"merge_headers": {"to@example.com": {"X-Own": "own header"}}},
        "merge_headers",
    ),
    "merge_metadata": ({"merge_metadata": {"to@example.com": {"order": "67"}}}, "merge_metadata"),
    "esp_extra": ({"esp_extra": {"esp_option": {"nested": ["value"]}}}, "esp_extra"),
}

# Those that a message can have all at once
COMBINED = (
    "cc",
    "bcc",
    "multiple_reply_to",
    "extra_headers",
    "html_alternative",
    "attachment",
    "inline_image",
    "envelope_sender",
    "metadata",
    "send_at",
    "tags",
    "track_clicks",
    "track_opens",
    "template_id",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
    "esp_extra",
)

ADDRESS_FIELDS = ("from_email", "to", "cc", "bcc", "reply_to")
SINGLE_ADDRESS_FIELDS = ("from_email", "envelope_sender")

MALFORMED_ADDRESSES = [
    "",
    " ",
    "no-at-sign",
    "no-domain@",
    "@no-local-part.example.com",
    "Comma, Not Quoted <to@example.com>",
    "two@at@example.com",
    "trailing@example.com,",
    "undisclosed-recipients:;",
    "<to@example.com> more",
]

CONTROL_CHARS = ["\r", "\n", "\r\n", "\r\n ", "\0"]

ODD_ANSWERS: dict[str, dict[str, Any]] = {
    "empty": {"body": b""},
    "HTML": {"body": b"<!DOCTYPE html><title>Hello</title>", "content_type": "text/html"},
    "JSON not complete": {"body": b'{"id": "1'},
    "JSON nested 100000 times": {"body": b"[" * 100_000},
    "JSON null": {"body": b"null"},
    "JSON true": {"body": b"true"},
    "JSON number": {"body": b"1"},
    "JSON text": {"body": b'"text"'},
    "JSON empty object": {"body": b"{}"},
    "JSON empty array": {"body": b"[]"},
    "JSON array of numbers": {"body": b"[1, 2]"},
    "JSON array of null": {"body": b"[null]"},
    "JSON array of arrays": {"body": b"[[]]"},
    "JSON array of empty objects": {"body": b"[{}]"},
    "JSON of something else": {"body": b'{"made": {"up": [null, {"id": {}}]}, "up": 1}'},
}

ERROR_STATUSES = [300, 304, 400, 401, 402, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 599]

NETWORK_ERRORS = [
    requests.ConnectionError("connection refused"),
    requests.exceptions.SSLError("certificate verify failed"),
    requests.exceptions.ProxyError("no proxy"),
    requests.Timeout("timed out"),
    requests.ConnectTimeout("timed out"),
    requests.ReadTimeout("timed out"),
    requests.TooManyRedirects("too many redirects"),
    requests.exceptions.ChunkedEncodingError("connection broken"),
    requests.exceptions.ContentDecodingError("not gzip"),
    requests.RequestException("anything else"),
]


def only_if(applies: Callable[[BackendCase], bool]) -> Callable[[Any], Any]:
    """Leave a test out of the test cases of backends that it doesn't apply to."""

    def decorator(test: Any) -> Any:
        test.applies = applies
        return test

    return decorator


over_http = only_if(lambda case: case.is_http)

has_no_batches = only_if(
    lambda case: (
        not issubclass(case.transport, LocalTransport)
        and (case.per_recipient is None or case.template_is_batch)
    )
)
"""That is, without a template."""


def counted_uuids() -> contextlib.AbstractContextManager[Any]:
    """Make the random ids in API calls the same each time."""
    numbers = itertools.count()
    return patch("uuid.uuid4", lambda: uuid.UUID(int=next(numbers)))


class NotToBeRead:
    """Settings that complain when they are looked at."""

    def __bool__(self) -> bool:
        raise AssertionError("Settings are read")


class BackendContract(SimpleTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    """The tests. See _make_test_case for the test cases."""

    case: ClassVar[BackendCase]
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        self.backend_class: Any = import_string(self.case.backend)
        override = override_settings(ANYMAIL=self.required_settings())
        override.enable()
        self.addCleanup(override.disable)
        self.transport = self.case.transport(self.case)
        entered = self.transport.entered()
        entered.__enter__()
        self.addCleanup(entered.__exit__, None, None, None)

    @property
    def calls(self) -> list[Any]:
        return self.transport.calls

    # -- Settings and messages ----------------------------------------------------------------

    def setting(self, option: str) -> str:
        return f"{self.case.esp_name}_{option}".upper().replace(" ", "_")

    def required_settings(self) -> dict[str, Any]:
        return {self.setting(name): self.case.options[name] for name in self.case.required}

    @contextlib.contextmanager
    def anymail_settings(self, **settings: Any) -> Iterator[None]:
        with override_settings(ANYMAIL={**self.required_settings(), **settings}):
            yield

    def make_backend(self, **options: Any) -> Any:
        return self.backend_class(**{**self.case.base_options(), **options})

    @contextlib.contextmanager
    def assert_silent_backend(self, **options: Any) -> Iterator[Any]:
        with self.assertWarnsMessage(
            DeprecationWarning, "Anymail will drop support for fail_silently after Django 6.2."
        ):
            backend = self.make_backend(fail_silently=True, **options)
        yield backend

    def supports(self, *features: str) -> bool:
        return self.case.unsupported.isdisjoint(features)

    def attrs_for(self, feature: str) -> dict[str, Any]:
        attrs, _text = FEATURES[feature]
        return {**attrs, **self.case.feature_attrs.get(feature, {})}

    def message(self, *features: str, **attrs: Any) -> Any:
        """Return a message with some features and attributes."""
        combined: dict[str, Any] = {}
        for feature in features:
            for name, value in self.attrs_for(feature).items():
                if name in combined and isinstance(value, dict):
                    value = {**combined[name], **value}
                elif name in combined and isinstance(value, list):
                    value = [*combined[name], *value]
                combined[name] = value
        inline_image = combined.pop("inline_image", False)
        message = make_message(**copy.deepcopy({**combined, **attrs}))
        if inline_image:
            message.attach_inline_image(SAMPLE_IMAGE, "image.png")
        return message

    def combined_features(self) -> list[str]:
        left_out = self.case.unsupported | self.case.combined_without
        return [feature for feature in COMBINED if feature not in left_out]

    def full_message(self, **attrs: Any) -> Any:
        """Return a message with everything that the backend can do."""
        return self.message(*self.combined_features(), **attrs)

    # -- Sending ------------------------------------------------------------------------------

    def send(self, message: Any, **options: Any) -> Any:
        """Send through a new backend. Returns the message's anymail_status."""
        sent = self.make_backend(**options).send_messages([message])
        self.assertEqual(sent, 1)
        return message.anymail_status

    def call_for(self, message: Any, **options: Any) -> Any:
        """Send, and return the call, to be compared with others."""
        with counted_uuids():
            self.send(message, **options)
        self.assertEqual(len(self.calls), 1)
        return self.transport.comparable(self.calls.pop())

    def assert_not_sent(self) -> None:
        self.assertEqual(self.calls, [], "The API was called")

    @contextlib.contextmanager
    def assert_refused(self, error_class: Any, *texts: str) -> Iterator[Any]:
        """Check that there is an exception before the API is called."""
        self.calls.clear()
        with self.assertRaises(error_class) as caught:
            yield caught
        for text in texts:
            self.assertIn(text, str(caught.exception))
        self.assert_not_sent()

    # -- Settings -----------------------------------------------------------------------------

    @only_if(lambda case: bool(case.required))
    def test_required_settings(self):
        for name in self.case.required:
            settings = self.required_settings()
            setting = self.setting(name)
            del settings[setting]
            with self.subTest(name), override_settings(ANYMAIL=settings):
                regex = rf"\b{setting}\b.*\bANYMAIL_{setting}\b"
                with self.assertRaisesRegex(AnymailConfigurationError, regex):
                    self.make_backend()
                # In MAILERS:
                with self.assertRaisesRegex(AnymailInvalidMailer, f"'{name}'"):
                    self.make_backend(alias="other")

    def bad_settings(self) -> Iterator[tuple[str, Any, str]]:
        """Yield options that the backend declares, values they can't have, and what is wrong."""
        declared = declared_settings(self.backend_class)
        for name in declared.keys() & set(self.case.required):
            yield name, "", "You must set"
            yield name, None, "You must set"
        for name in declared.keys() & set(self.case.secret):
            yield name, f"{self.case.options[name]}\n", "has white space"
            yield name, f" {self.case.options[name]}", "has white space"

    def test_bad_settings(self):
        for name, value, problem in self.bad_settings():
            setting = self.setting(name)
            settings = {**self.required_settings(), setting: value}
            # An option does not fall back to another account's settings.
            for options in ({}, {name: value}):
                with (
                    self.subTest(name, value=value, options=options),
                    override_settings(ANYMAIL=self.required_settings() if options else settings),
                ):
                    with self.assertRaisesMessage(AnymailConfigurationError, problem) as caught:
                        self.make_backend(**options)
                    self.assertIn(setting, str(caught.exception))
                    self.assertFalse(value and value.strip() in str(caught.exception))

    def test_options(self):
        with override_settings(ANYMAIL={}):
            self.send(self.message(), **self.case.options)
            self.send(self.message(), **self.case.options, **self.general_options())

    @only_if(lambda case: django.VERSION >= (6, 1))
    def test_options_in_mailers(self):
        with override_settings(ANYMAIL={}):
            options = {**self.case.options, **self.general_options()}
            self.send(self.message(), alias="other", **options)
            with self.assertRaisesMessage(InvalidMailer, "Unknown options 'made_up'"):
                self.make_backend(alias="other", made_up=1, **options)

    @only_if(lambda case: django.VERSION >= (6, 1))
    def test_mailers(self):
        from django.core.mail import mailers

        configuration = {
            "BACKEND": self.case.backend,
            "OPTIONS": {**self.case.base_options(), **self.case.options},
        }
        with override_settings(ANYMAIL={}, MAILERS={"other": configuration}):
            mailers["other"].send_messages([self.message()])
        self.assertEqual(len(self.calls), 1)

    def general_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "ignore_unsupported_features": True,
            "ignore_recipient_status": True,
            "debug_api_requests": False,
            "send_defaults": {},
            "idna_encoder": "idna2003",
        }
        if self.case.is_http:
            options.update(timeout=5, requests_timeout=6)
        return options

    @only_if(lambda case: bool(case.options))
    def test_options_are_settings_too(self):
        options = {**self.case.options}
        with override_settings(ANYMAIL={}):
            from_options = self.call_for(self.message(), **options)
        settings = {self.setting(name): value for name, value in options.items()}
        with override_settings(ANYMAIL=settings):
            self.assertEqual(self.call_for(self.message()), from_options)
        prefixed = {f"ANYMAIL_{name}": value for name, value in settings.items()}
        with override_settings(ANYMAIL={}, **prefixed):
            self.assertEqual(self.call_for(self.message()), from_options)
        # An option is what counts.
        others = dict.fromkeys(settings, "other")
        with override_settings(ANYMAIL=others):
            self.assertEqual(self.call_for(self.message(), **options), from_options)

    @only_if(lambda case: "api_url" in case.options)
    def test_api_url(self):
        calls = [
            self.call_for(self.message(), api_url=api_url)
            for api_url in ("https://other.example.com/base", "https://other.example.com/base/")
        ]
        self.assertEqual(calls[0], calls[1])
        _method, url, *_ = calls[0]
        self.assertTrue(url.startswith("https://other.example.com/base/"), url)

    # -- Addresses ----------------------------------------------------------------------------

    def set_address(self, message: Any, field: str, value: str) -> None:
        if field in SINGLE_ADDRESS_FIELDS:
            setattr(message, field, value)
        else:
            setattr(message, field, ["good@example.com", value])

    def test_malformed_address(self):
        for field in (*ADDRESS_FIELDS, "envelope_sender"):
            for address in MALFORMED_ADDRESSES:
                with (
                    self.subTest(field=field, address=address),
                    self.assert_refused(AnymailInvalidAddress, f"`{field}`"),
                ):
                    message = self.message("reply_to")
                    self.set_address(message, field, address)
                    self.send(message)

    def test_malformed_address_among_others(self):
        for field in ("to", "cc", "bcc", "reply_to"):
            with (
                self.subTest(field),
                self.assert_refused(
                    AnymailInvalidAddress, "Invalid email address 'bad'", f"`{field}`"
                ),
            ):
                message = self.message()
                setattr(message, field, ["good@example.com", "bad", "other@example.com"])
                self.send(message)

    def test_malformed_address_in_headers(self):
        for header in ("Reply-To", "From"):
            with (
                self.subTest(header),
                self.assert_refused(AnymailInvalidAddress, f"extra_headers['{header}']"),
            ):
                self.send(self.message(headers={header: "bad"}))

    @over_http
    def test_domain_that_cant_be_encoded(self):
        for field in ("from_email", "to"):
            with (
                self.subTest(field),
                self.assert_refused(AnymailInvalidAddress, "IDNA_ENCODER='idna2008'", "☃.example"),
            ):
                message = self.message()
                self.set_address(message, field, "a@☃.example")
                self.send(message)

    def test_bare_string(self):
        for field in ("to", "cc", "bcc", "reply_to"):
            for value in ("to@example.com", lazystr("to@example.com")):
                with self.subTest(field=field, type=type(value)), self.assert_refused(TypeError):
                    message = self.message()
                    setattr(message, field, value)
                    self.send(message)

    def test_reply_to_bare_string(self):
        text = '"reply_to" attribute must be a list or other iterable'
        with self.assert_refused(TypeError, text):
            message = self.message()
            message.reply_to = "reply@example.com"
            self.send(message)

    def test_other_iterables(self):
        lists = self.message(to=["a@example.com", "b@example.com"])
        tuples = self.message(to=("a@example.com", "b@example.com"))
        self.assertEqual(self.call_for(tuples), self.call_for(lists))

    def test_display_names(self):
        for name in ("Plain", "Doe, Jane", 'The "Best" \\ one', "Zoë", "Zoë, Q.", "日本" * 60):
            with self.subTest(name):
                address = EmailAddress(name, "to@example.com").format()
                status = self.send(self.message("cc", to=[address], from_email=address))
                self.assertEqual(set(status.recipients), {"to@example.com", "cc@example.com"})

    def test_headers_in_any_case(self):
        """Those with a meaning of their own; and one header has one value."""
        for name in ("Reply-To", "reply-to", "REPLY-TO"):
            for header, attrs in (
                ("Other <other@example.com>", {"reply_to": ["Other <other@example.com>"]}),
                (
                    "other@example.com, another@example.com",
                    {"reply_to": ["other@example.com", "another@example.com"]},
                ),
            ):
                if len(attrs["reply_to"]) > 1 and not self.supports("multiple_reply_to"):
                    continue
                with self.subTest(name=name, header=header):
                    message = self.message("reply_to", headers={name: header})
                    self.assertEqual(self.call_for(message), self.call_for(self.message(**attrs)))
        if self.supports("extra_headers"):
            several = self.message(headers={"X-Custom": "1", "x-custom": "2"})
            one = self.message(headers={"x-custom": "2"})
            self.assertEqual(self.call_for(several), self.call_for(one))

    # -- Missing parts ------------------------------------------------------------------------

    def test_nothing_to_send(self):
        self.assertFalse(self.make_backend().send_messages([]))
        self.assertEqual(self.make_backend().send_messages([self.message(to=[])]), 0)
        self.assert_not_sent()

    def test_recipients_only_in_defaults(self):
        backend = self.make_backend(send_defaults={"to": ["to@example.com"]})
        self.assertEqual(backend.send_messages([self.message(to=[])]), 0)
        self.assert_not_sent()

    def test_no_to(self):
        """Some APIs can't send that: then the error is one of Anymail's, or the API's."""
        for field in ("cc", "bcc"):
            with self.subTest(field), contextlib.suppress(AnymailError):
                status = self.send(self.message(field, to=[]))
                self.assertEqual(set(status.recipients), {f"{field}@example.com"})

    def test_empty_from_email(self):
        with self.assert_refused(AnymailInvalidAddress, "`from_email`"):
            message = self.message()
            message.from_email = ""
            self.send(message)

    def test_none(self):
        """None is for what a template at the provider has."""
        for field in ("from_email", "subject", "body", "reply_to"):
            if field == "body" and self.case.made_into_mime:
                continue
            with self.subTest(field), contextlib.suppress(AnymailError):
                message = self.message(*(["template_id"] if self.supports("template_id") else []))
                setattr(message, field, None)
                self.send(message)

    def test_none_overrides_defaults(self):
        without = self.call_for(self.message())
        for feature in ("metadata", "tags", "track_opens", "template_id", "esp_extra"):
            if not self.supports(feature):
                continue
            attrs = self.attrs_for(feature)
            if not self.case.not_in_defaults.isdisjoint(attrs):
                continue
            with self.subTest(feature):
                message = self.message(**dict.fromkeys(attrs))
                self.assertEqual(self.call_for(message, send_defaults=attrs), without)

    def test_empty_values(self):
        message = self.message(
            cc=[],
            bcc=[],
            reply_to=[],
            headers={},
            attachments=[],
            alternatives=[],
            subject="",
            body="",
        )
        self.send(message)

    # -- Lazy strings -------------------------------------------------------------------------

    def test_lazy_strings(self):
        plain = self.full_message()
        lazy = copy.deepcopy(plain)
        for name in ("from_email", "subject", "body", "envelope_sender", "template_id"):
            if isinstance(getattr(lazy, name), str):
                setattr(lazy, name, lazystr(getattr(lazy, name)))
        for name in ("to", "cc", "bcc", "reply_to", "tags"):
            if isinstance(getattr(lazy, name), list):
                setattr(lazy, name, [lazystr(item) for item in getattr(lazy, name)])
        for name in ("extra_headers", "metadata", "merge_global_data"):
            if isinstance(getattr(lazy, name), dict):
                setattr(lazy, name, {k: lazystr(v) for k, v in getattr(lazy, name).items()})
        for name in ("merge_data", "merge_metadata", "merge_headers"):
            if isinstance(getattr(lazy, name), dict):
                setattr(
                    lazy,
                    name,
                    {
                        address: {k: lazystr(v) for k, v in values.items()}
                        for address, values in getattr(lazy, name).items()
                    },
                )
        if not self.case.made_into_mime:
            lazy.alternatives = [
                (lazystr(content), mimetype) for content, mimetype in plain.alternatives
            ]
            lazy.attachments = [
                (lazystr(item[0]), lazystr(item[1]), item[2]) if isinstance(item, tuple) else item
                for item in lazy.attachments
            ]
        self.assertEqual(self.call_for(lazy), self.call_for(plain))

    # -- Unsupported features -----------------------------------------------------------------

    def test_supported_features(self):
        for feature in FEATURES:
            if self.supports(feature):
                with self.subTest(feature):
                    without = self.call_for(self.message())
                    self.assertNotEqual(self.call_for(self.message(feature)), without)

    def test_combined_features(self):
        status = self.send(self.full_message())
        self.assertEqual(
            set(status.recipients), {"to@example.com", "cc@example.com", "bcc@example.com"}
        )

    @only_if(lambda case: bool(case.unsupported))
    def test_unsupported_features(self):
        for feature in sorted(self.case.unsupported):
            _attrs, text = FEATURES[feature]
            text = self.case.feature_texts.get(feature, text)
            message = self.message(feature)
            with (
                self.subTest(feature),
                self.assert_refused(
                    AnymailUnsupportedFeature, f"{self.case.esp_name} does not support ", text
                ) as caught,
            ):
                self.send(message)
            error = caught.exception
            # Addresses are not the problem here.
            self.assertNotRegex(str(error), "(from|to)@example.com")
            self.assertIs(error.email_message, message)
            self.assertIsInstance(error.backend, self.backend_class)
            self.assertIsNotNone(error.payload)

    @only_if(lambda case: bool(case.unsupported))
    def test_ignored_unsupported_features(self):
        for feature in sorted(self.case.unsupported):
            with self.subTest(feature):
                self.send(self.message(feature), ignore_unsupported_features=True)
                with self.anymail_settings(IGNORE_UNSUPPORTED_FEATURES=True):
                    self.send(self.message(feature))
                self.assertEqual(len(self.calls), 2)
                self.calls.clear()

    # -- Send defaults ------------------------------------------------------------------------

    def test_send_defaults(self):
        """Defaults have the same effect as attributes, and are the same for each message."""
        defaults: dict[str, Any] = {}
        features = []
        for feature in self.combined_features():
            attrs = {
                "extra_headers" if name == "headers" else name: value
                for name, value in self.attrs_for(feature).items()
            }
            # merge_headers has no defaults.
            if self.case.not_in_defaults.union({"merge_headers", "inline_image"}).isdisjoint(attrs):
                features.append(feature)
                defaults.update(attrs)
        original = copy.deepcopy(defaults)
        message = self.message(*features)
        expected = self.call_for(message)
        for settings in (
            {"SEND_DEFAULTS": defaults},
            {self.setting("send_defaults"): defaults},
            {"SEND_DEFAULTS": {"tags": ["replaced"]}, self.setting("send_defaults"): defaults},
        ):
            if "tags" not in defaults and len(settings) > 1:
                continue
            with self.anymail_settings(**settings):
                for _ in range(2):
                    self.assertEqual(self.call_for(self.message()), expected)
        self.assertEqual(self.call_for(self.message(), send_defaults=defaults), expected)
        self.assertEqual(defaults, original)

    def test_send_defaults_are_not_modified(self):
        names = ("esp_extra", "metadata", "merge_data", "merge_metadata", "merge_global_data")
        features = [name for name in names if name in self.combined_features()]
        defaults = {}
        for feature in features:
            defaults.update(copy.deepcopy(self.attrs_for(feature)))
        if "extra_headers" not in self.case.not_in_defaults:
            defaults["extra_headers"] = {"X-Default": "1"}
        original = copy.deepcopy(defaults)
        with self.anymail_settings(SEND_DEFAULTS=defaults):
            self.send(self.full_message(headers={"X-Other": "2"}))
        self.assertEqual(defaults, original)

    def test_message_is_not_modified(self):
        message = self.full_message()
        before = copy.deepcopy(vars(message))
        self.send(message)
        after = dict(vars(message))
        for state in (before, after):
            for name in ("anymail_status", "anymail_error", "anymail_test_params", "attachments"):
                state.pop(name, None)
        self.assertEqual(after, before)

    # -- Serialization ------------------------------------------------------------------------

    @only_if(lambda case: bool(case.serialized))
    def test_not_serializable(self):
        for name in sorted(self.case.serialized):
            feature = name
            message = self.message(feature)
            value = Decimal("19.99")
            if name in ("merge_data", "merge_headers", "merge_metadata"):
                setattr(message, name, {"to@example.com": {"X-Price": value}})
            else:
                setattr(message, name, {"X-Price": value})
            with (
                self.subTest(name),
                self.assert_refused(
                    AnymailSerializationError,
                    f"Don't know how to send this data to {self.case.esp_name}",
                    "Decimal is not JSON serializable",
                ) as caught,
            ):
                self.send(message)
            self.assertIsInstance(caught.exception, TypeError)
            self.assertIs(caught.exception.email_message, message)

    @only_if(lambda case: bool(case.serialized))
    def test_not_serializable_silently(self):
        name = min(self.case.serialized)
        message = self.message(name)
        values: Any = {"X-Price": Decimal("19.99")}
        is_merge = name in ("merge_data", "merge_headers", "merge_metadata")
        setattr(message, name, {"to@example.com": values} if is_merge else values)
        with self.assert_silent_backend() as backend:
            self.assertEqual(backend.send_messages([message]), 0)
        self.assert_not_sent()

    @over_http
    def test_lone_surrogate(self):
        """Python's str can hold it; UTF-8 can't. It's escaped, or nothing is sent."""
        text = "a\ud800b"
        for attrs in (
            {"subject": text},
            {"body": text},
            {"alternatives": [(text, "text/html")]},
            {"headers": {"X-Custom": text}},
            {"to": [f"{text} <to@example.com>"]},
            {"attachments": [("a.txt", text, "text/plain")]},
            {"attachments": [(text, "content", "text/plain")]},
        ):
            with self.subTest(attrs):
                try:
                    self.send(self.message(**attrs))
                except (AnymailError, UnicodeEncodeError):
                    self.assert_not_sent()
                else:
                    self.calls.pop().body.decode("utf-8")

    # -- Header injection ---------------------------------------------------------------------

    def assert_injection_refused(self, message: Any, field: str) -> None:
        with self.assert_refused(AnymailError, field) as caught:
            self.send(message, ignore_unsupported_features=True)
        self.assertIsInstance(caught.exception, ValueError)
        self.assertIs(
            caught.exception.backend and type(caught.exception.backend), self.backend_class
        )

    def test_injection_in_subject(self):
        for chars in CONTROL_CHARS:
            for text in (f"Hello{chars}Bcc: x@example.com", lazystr(f"Hello{chars}")):
                with self.subTest(text=text):
                    self.assert_injection_refused(self.message(subject=text), "subject")

    def test_injection_in_headers(self):
        for chars in CONTROL_CHARS:
            for headers in (
                {"X-Custom": f"a{chars}Bcc: x@example.com"},
                {"X-Custom": lazystr(f"a{chars}")},
                {f"X-Custom{chars}Bcc": "x@example.com"},
                {"Reply-To": f"a@example.com{chars}Bcc: x@example.com"},
                {"From": f"a@example.com{chars}Bcc: x@example.com"},
                {"To": f"a@example.com{chars}Bcc: x@example.com"},
            ):
                with self.subTest(headers=headers):
                    self.assert_injection_refused(self.message(headers=headers), "extra_headers")

    def test_injection_in_merge_headers(self):
        for chars in CONTROL_CHARS:
            for headers in (
                {"X-Custom": f"a{chars}Bcc: x@example.com"},
                {"X-Custom": lazystr(f"a{chars}")},
                {f"X-Custom{chars}Bcc": "x@example.com"},
            ):
                merge_headers = {"to@example.com": headers}
                with self.subTest(merge_headers=merge_headers):
                    message = self.message(merge_headers=merge_headers)
                    self.assert_injection_refused(message, "merge_headers")

    def test_injection_in_addresses(self):
        for chars in CONTROL_CHARS:
            for field in (*ADDRESS_FIELDS, "envelope_sender"):
                for address in (
                    f"to@example.com{chars}Bcc: x@example.com",
                    f"to{chars}x@example.com",
                    f"to@example{chars}.com",
                    f"Name{chars}Bcc: x <to@example.com>",
                    f'"Name{chars}Bcc: x@example.com" <to@example.com>',
                    lazystr(f"to{chars}@example.com"),
                ):
                    with self.subTest(field=field, address=address):
                        message = self.message()
                        self.set_address(message, field, address)
                        with self.assert_refused(AnymailInvalidAddress, f"`{field}`"):
                            self.send(message, ignore_unsupported_features=True)

    def test_injection_in_send_defaults(self):
        with self.assert_refused(AnymailError, "extra_headers"):
            self.send(self.message(), send_defaults={"extra_headers": {"X-Custom": "a\r\nb: c"}})

    # -- Status -------------------------------------------------------------------------------

    def test_status(self):
        status = self.send(self.message("cc", "bcc"))
        self.assertEqual(
            set(status.recipients), {"to@example.com", "cc@example.com", "bcc@example.com"}
        )
        self.assertEqual(status.status, set(self.case.statuses))
        for recipient in status.recipients.values():
            self.assertIn(recipient.status, self.case.statuses)
        self.assertIsNotNone(status.message_id)
        self.assertIsNotNone(status.esp_response)

    def test_status_is_by_address_as_written(self):
        message = self.message(
            to=["To <Mixed.Case@EXAMPLE.com>", "ann@Bücher.example", '"quoted name"@example.com'],
            cc=["cc@日本語.example"],
        )
        status = self.send(message)
        self.assertEqual(
            set(status.recipients),
            {
                "Mixed.Case@EXAMPLE.com",
                "ann@Bücher.example",
                '"quoted name"@example.com',
                "cc@日本語.example",
            },
        )
        self.assertEqual(status.status, set(self.case.statuses))

    def test_status_on_plain_django_message(self):
        message = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        self.send(message)
        self.assertEqual(message.anymail_status.status, set(self.case.statuses))  # type: ignore[attr-defined]

    def test_status_is_new_each_time(self):
        message = self.message()
        first = self.send(message)
        message.to = ["other@example.com"]
        self.assertEqual(set(self.send(message).recipients), {"other@example.com"})
        self.assertEqual(set(first.recipients), {"to@example.com"})

    def refused_statuses(self) -> Any:
        statuses = {
            "to@example.com": AnymailRecipientStatus(None, "invalid"),
            "cc@example.com": AnymailRecipientStatus(None, "rejected"),
        }
        return patch.object(self.backend_class, "parse_recipient_status", return_value=statuses)

    def test_recipients_refused(self):
        message = self.message("cc")
        with self.refused_statuses(), self.assertRaises(AnymailRecipientsRefused) as caught:
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"invalid", "rejected"})
        self.assertIs(caught.exception.email_message, message)
        self.assertIsNotNone(caught.exception.response)

    def test_ignored_recipients_refused(self):
        message = self.message("cc")
        with self.refused_statuses():
            self.send(message, ignore_recipient_status=True)
        with self.refused_statuses(), self.anymail_settings(IGNORE_RECIPIENT_STATUS=True):
            self.send(message)
        self.assertEqual(message.anymail_status.status, {"invalid", "rejected"})

    # -- Batch --------------------------------------------------------------------------------

    @only_if(lambda case: case.per_recipient is not None)
    def test_merge_attributes_reach_their_recipients(self):
        assert self.case.per_recipient is not None
        [header] = self.attrs_for("merge_headers")["merge_headers"]["to@example.com"]
        values = {
            "merge_data": [{"first": "Ann"}, {"first": "Bob"}],
            "merge_metadata": [{"order": "1"}, {"order": "2"}],
            "merge_headers": [{header: "one"}, {header: "two"}],
        }
        for name, (for_ann, for_bob) in values.items():
            if not self.supports(name):
                continue
            attrs = {
                **self.attrs_for(name),
                "to": ["Ann <ann@Bücher.example>", "Bob@EXAMPLE.com"],
                name: {
                    "ann@bÜCHER.EXAMPLE": for_ann,
                    "Bob@example.com": for_bob,
                    "nobody@example.com": {next(iter(for_ann)): "nobody's"},
                },
            }
            with self.subTest(name):
                self.send(self.message(**attrs))
                found = self.case.per_recipient(self.calls.pop())
                self.assertEqual(
                    {address.lower(): entry[name] for address, entry in found.items()},
                    {"ann@xn--bcher-kva.example": for_ann, "bob@example.com": for_bob},
                )

    @only_if(lambda case: case.per_recipient is not None and not case.template_is_batch)
    def test_empty_merge_attributes_mean_batch(self):
        """So each recipient gets an individual message."""
        for name in ("merge_data", "merge_metadata", "merge_headers"):
            if not self.supports(name):
                continue
            with self.subTest(name):
                to = ["a@example.com", "b@example.com"]
                attrs = {**self.attrs_for(name), "to": to}
                batch = self.call_for(self.message(**{**attrs, name: {}}))
                self.assertNotEqual(batch, self.call_for(self.message(**{**attrs, name: None})))

    @only_if(lambda case: case.per_recipient is not None)
    def test_each_recipient_of_a_batch_has_a_status(self):
        to = ["a@example.com", "B@Example.com", "c@bücher.example"]
        feature = next(
            name
            for name in ("merge_metadata", "merge_data", "merge_headers")
            if self.supports(name)
        )
        status = self.send(self.message(feature, to=to))
        self.assertEqual(set(status.recipients), set(to))
        self.assertEqual(status.status, set(self.case.batch_statuses or self.case.statuses))

    def test_different_messages(self):
        """They share a call where the provider has one for that, with the same results."""
        self.transport.answer = None
        features = sorted({"metadata", "tags", "html"} & FEATURES.keys() - self.case.unsupported)
        attrs = [{}, *(self.attrs_for(feature) for feature in features), {"to": ["a@example.com"]}]
        messages = [self.message(**item) for item in attrs]
        statuses = [self.send(self.message(**item)) for item in attrs]
        self.calls.clear()
        sent = self.make_backend(send_batch_size=500).send_messages(messages)
        self.assertEqual(sent, len(messages))
        shared_call = self.backend_class.shared_call
        self.assertEqual(len(self.calls), len(messages) if shared_call is None else 1)
        for message, status in zip(messages, statuses, strict=True):
            actual = message.anymail_status
            self.assertEqual(actual.status, status.status)
            self.assertEqual(set(actual.recipients), set(status.recipients))
            self.assertIsNone(message.anymail_error)

    @over_http
    def test_different_messages_refused(self):
        """Each of them has the error that it would have if it was sent singly."""
        for refusal in self.case.refusals:
            if refusal.is_batch:
                continue  # of the same message: that has one error
            with self.subTest(refusal.body):
                self.transport.refuse(refusal)
                messages = [self.message(), self.message()]
                backend = self.make_backend(send_batch_size=500)
                if backend.shared_call is not None and "Messages" in refusal.body:
                    body = {"Messages": refusal.body["Messages"] * 2}
                    self.transport.refuse(dataclasses.replace(refusal, body=body))
                with (
                    patch("anymail.sending.runners.logger"),  # of the second one's error
                    self.assertRaises(AnymailError) as caught,
                ):
                    backend.send_messages(messages)
                self.assertIs(caught.exception, messages[0].anymail_error)
                self.assertIs(caught.exception.problem, refusal.problem)
                if backend.shared_call is not None:
                    self.assertIs(messages[1].anymail_error.problem, refusal.problem)

    def batch_in_calls(self, **attrs: Any) -> Any:
        """Return a batch that the provider has no call for."""
        to = ["Ann <ann@example.com>", "bob@example.com", "cy@example.com"]
        return self.message(**{"to": to, "merge_data": {"ann@example.com": {}}, **attrs})

    @has_no_batches
    def test_batch_in_several_calls(self):
        """No recipient sees the others."""
        own = {"ann@EXAMPLE.com": {"X-Own": "for Ann"}, "cy@example.com": {"X-Own": "for Cy"}}
        header_values = {"ann@": "for Ann", "bob@": "for all", "cy@": "for Cy"}
        for name in ("merge_data", "merge_headers", "merge_metadata"):
            for concurrency in (1, 2):
                attrs = {"headers": {"X-Own": "for all"}} if self.supports("extra_headers") else {}
                message = self.batch_in_calls(**attrs, **{"merge_data": UNSET, name: own})
                with self.subTest(name, concurrency=concurrency):
                    with self.assert_refused(AnymailUnsupportedFeature, name):
                        self.send(message)
                    status = self.send(
                        message, ignore_unsupported_features=True, send_concurrency=concurrency
                    )
                    texts = [str(self.transport.comparable(call)) for call in self.calls]
                    for who, value in header_values.items():
                        [text] = [text for text in texts if who in text]
                        self.assertFalse(any(w in text for w in header_values if w != who))
                        if name == "merge_headers" and self.supports("extra_headers"):
                            self.assertIn(value, text)
                    self.assertEqual(len(status.recipients), 3)
                    self.assertEqual(status.status, set(self.case.statuses))
                    self.assertEqual(len(status.esp_response), 3)

    @has_no_batches
    def test_batch_in_several_calls_with_copies(self):
        """Each of them would be a copy of each message: that is worse than none."""
        for name in ("cc", "bcc"):
            message = self.batch_in_calls(**{name: ["copy@example.com"]})
            with (
                self.subTest(name),
                self.assert_refused(AnymailUnsupportedFeature, "cc or bcc") as caught,
            ):
                self.send(message, ignore_unsupported_features=True)
            self.assertIs(caught.exception.email_message, message)
        message = self.batch_in_calls(to=["to@example.com"], cc=["copy@example.com"])
        status = self.send(message, ignore_unsupported_features=True)
        self.assertEqual(set(status.recipients), {"to@example.com", "copy@example.com"})
        self.calls.clear()
        message = self.batch_in_calls(to=[], cc=["copy@example.com"])
        self.call_for(message, ignore_unsupported_features=True)

    @has_no_batches
    def test_batch_in_several_calls_that_fail(self):
        """An error ends it, and what was sent is known."""

        def answer(call: Any) -> Any:
            if len(self.calls) == 2:
                return requests.ConnectionError("no connection") if self.case.is_http else no_boto()
            return self.case.success(call)

        def no_boto() -> Any:
            from botocore.exceptions import EndpointConnectionError

            return EndpointConnectionError(endpoint_url="https://example.com")

        self.transport.answer = answer
        told: list[Any] = []
        self.connect(post_send, lambda status, **kwargs: told.append(status))
        message = self.batch_in_calls()
        with self.assertRaises(AnymailAPIError) as caught:
            self.send(message, ignore_unsupported_features=True)
        self.assertEqual(len(self.calls), 2)
        error = caught.exception
        self.assertIs(error.email_message, message)
        # Over HTTP, it isn't clear whether the failed call was handed over.
        is_clear = error.problem is Problem.UNREACHABLE
        self.assertEqual(error.unsent, [*["bob@example.com"] * is_clear, "cy@example.com"])
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(told, [message.anymail_status])
        recipients = message.anymail_status.recipients
        self.assertEqual(error.recipients, recipients)
        unknown = [to for to, recipient in recipients.items() if recipient.status == "unknown"]
        self.assertEqual(unknown, ["bob@example.com"] * (not is_clear))
        self.assertEqual(set(recipients) - set(unknown), {"ann@example.com"})

    # -- What is done once --------------------------------------------------------------------

    def test_settings_are_read_once(self):
        backend = self.make_backend()
        backend.open()
        self.addCleanup(backend.close)
        with (
            override_settings(ANYMAIL=NotToBeRead()),
            patch("anymail.backends.base._resolve_idna_encoder", side_effect=AssertionError),
        ):
            messages = [self.full_message(to=["to@bücher.example"]) for _ in range(3)]
            self.assertEqual(backend.send_messages(messages), 3)
            with self.assertRaisesMessage(AssertionError, "read"):
                self.make_backend()

    def test_few_attributes(self):
        # CPython looks up attributes of objects that have more of them in a slower way.
        with self.make_backend() as backend:
            backend.send_messages([self.message()])
            self.assertLessEqual(len(vars(backend)), 30)

    @only_if(lambda case: case.is_http)
    def test_content_is_encoded_once(self):
        contents = [bytes(range(256)) * 40, b"\0\xff" * 5000]
        attachments = [("a.png", content, "image/png") for content in contents]
        batch = [
            name for name in ("merge_metadata", "merge_data") if name in self.combined_features()
        ]
        to = [f"to{number}@example.com" for number in range(3)]
        encoded: list[bytes] = []
        dumped: list[str] = []
        b64encode, encode = base64.b64encode, json.JSONEncoder.encode

        def counted_b64encode(data: Any, *args: Any) -> bytes:
            encoded.append(bytes(data))
            return b64encode(data, *args)

        def counted_encode(*args: Any) -> str:
            dumped.append(encode(*args))
            return dumped[-1]

        with (
            patch("base64.b64encode", counted_b64encode),
            patch("json.JSONEncoder.encode", counted_encode),
        ):
            self.send(self.message(*batch[:1], to=to, attachments=attachments))
        call = self.calls.pop()
        if call.content_type.startswith("multipart/"):
            self.assertEqual([part[3] for part in call.parts if part[3] in contents], contents)
        else:
            for content in contents:
                self.assertIn(b64encode(content), call.body)
                self.assertEqual(encoded.count(content), 1)
            self.assertEqual([len(text) > 10_000 for text in dumped].count(True), 1)

    # -- Copies -------------------------------------------------------------------------------

    def test_pickled_and_copied_messages(self):
        message = self.full_message()
        expected = self.call_for(message)
        for description, copied in (
            ("pickle", pickle.loads(pickle.dumps(self.unsent(message)))),
            ("deepcopy", copy.deepcopy(self.unsent(message))),
            ("copy", copy.copy(message)),
        ):
            with self.subTest(description):
                self.assertEqual(self.call_for(copied), expected)

    def unsent(self, message: Any) -> Any:
        """Return the message as it was before it was sent."""
        message = copy.copy(message)
        message.anymail_status = type(message.anymail_status)()
        vars(message).pop("anymail_test_params", None)
        return message

    def test_sent_message_can_be_pickled(self):
        message = self.full_message()
        status = self.send(message)
        copied = pickle.loads(pickle.dumps(message)).anymail_status
        self.assertEqual(copied.status, status.status)
        self.assertEqual(copied.message_id, status.message_id)
        self.assertEqual(set(copied.recipients), set(status.recipients))

    # -- Signals ------------------------------------------------------------------------------

    def connect(self, signal: Any, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    def test_pre_send(self):
        received = []

        def receiver(sender: Any, message: Any, esp_name: Any, **kwargs: Any) -> None:
            received.append((sender, message, esp_name, len(self.calls)))

        self.connect(pre_send, receiver)
        message = self.message()
        self.send(message)
        self.assertEqual(received, [(self.backend_class, message, self.case.esp_name, 0)])

    def test_pre_send_modifies(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            message.to = ["modified@example.com"]
            message.subject = "Modified"

        expected = self.call_for(self.message(to=["modified@example.com"], subject="Modified"))
        self.connect(pre_send, receiver)
        self.assertEqual(self.call_for(self.message()), expected)

    def test_pre_send_removes_recipients(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            message.to = []

        self.connect(pre_send, receiver)
        self.assertEqual(self.make_backend().send_messages([self.message()]), 0)
        self.assert_not_sent()

    def test_pre_send_cancels(self):
        def receiver(message: Any, **kwargs: Any) -> None:
            if "canceled@example.com" in message.to:
                raise AnymailCancelSend

        self.connect(pre_send, receiver)
        canceled = self.message(to=["canceled@example.com"])
        messages = [canceled, self.message()]
        self.assertEqual(self.make_backend().send_messages(messages), 1)
        self.assertEqual(len(self.calls), 1)
        self.assertIsNone(canceled.anymail_status.status)

    def test_pre_send_raises(self):
        def receiver(**kwargs: Any) -> None:
            raise ZeroDivisionError

        self.connect(pre_send, receiver)
        with self.assert_refused(ZeroDivisionError):
            self.send(self.message())

    def test_post_send(self):
        received = []

        def receiver(sender: Any, message: Any, status: Any, esp_name: Any, **kwargs: Any) -> None:
            received.append((sender, message, esp_name, len(self.calls)))
            self.assertIs(status, message.anymail_status)
            self.assertEqual(status.status, set(self.case.statuses))
            self.assertEqual(set(status.recipients), {"to@example.com"})

        self.connect(post_send, receiver)
        message = self.message()
        self.send(message)
        self.assertEqual(received, [(self.backend_class, message, self.case.esp_name, 1)])

    def test_post_send_raises(self):
        called = []

        def receiver(**kwargs: Any) -> None:
            called.append("first")
            raise ZeroDivisionError

        def other_receiver(**kwargs: Any) -> None:
            called.append("second")

        self.connect(post_send, receiver)
        self.connect(post_send, other_receiver)
        message = self.message()
        with self.assertRaises(ZeroDivisionError):
            self.send(message)
        self.assertEqual(called, ["first", "second"])
        self.assertEqual(message.anymail_status.status, set(self.case.statuses))

    def test_post_send_of_refused_recipients(self):
        statuses = []
        self.connect(post_send, lambda status, **kwargs: statuses.append(status.status))
        with self.refused_statuses(), self.assertRaises(AnymailRecipientsRefused):
            self.send(self.message("cc"))
        self.assertEqual(statuses, [{"invalid", "rejected"}])

    # -- Several messages ---------------------------------------------------------------------

    def test_several_messages(self):
        messages = [self.message(to=[f"to{n}@example.com"]) for n in range(3)]
        self.assertEqual(self.make_backend().send_messages(messages), 3)
        self.assertEqual(len(self.calls), 3)
        for n, message in enumerate(messages):
            self.assertEqual(set(message.anymail_status.recipients), {f"to{n}@example.com"})

    def test_error_ends_sending(self):
        messages = [self.message(), self.message(subject="a\nb"), self.message()]
        with self.assertRaises(AnymailError):
            self.make_backend().send_messages(messages)
        self.assertEqual(len(self.calls), 1)

    def test_fail_silently(self):
        messages = [self.message(), self.message(subject="a\nb"), self.message()]
        with self.assert_silent_backend() as backend:
            self.assertEqual(backend.send_messages(messages), 2)
        self.assertEqual(len(self.calls), 2)
        self.assertIsNone(messages[1].anymail_status.status)

    def test_fail_silently_hides_no_other_errors(self):
        def receiver(**kwargs: Any) -> None:
            raise ZeroDivisionError

        self.connect(pre_send, receiver)
        with self.assert_silent_backend() as backend, self.assertRaises(ZeroDivisionError):
            backend.send_messages([self.message()])

    # -- HTTP: errors -------------------------------------------------------------------------

    def assert_api_error(self, message: Any, backend: Any) -> Any:
        with self.assertRaises(AnymailAPIError) as caught:
            backend.send_messages([message])
        error = caught.exception
        self.assertIsInstance(error, AnymailRequestsAPIError)
        self.assertEqual(error.esp_name, self.case.esp_name)
        self.assertIs(error.email_message, message)
        self.assertIs(error.backend, backend)
        self.assertIsNotNone(error.payload)
        # Nothing was sent, as far as anybody knows.
        self.assertIsNone(message.anymail_status.status)
        self.assertIsNone(message.anymail_status.message_id)
        self.assertEqual(message.anymail_status.recipients, {})
        # It can be stored as the result of a task.
        copied = pickle.loads(pickle.dumps(error))
        self.assertIs(type(copied), type(error))
        self.assertEqual(copied.args, error.args)
        self.assertEqual(copied.status_code, error.status_code)
        for secret in self.case.secret:
            self.assertNotIn(self.case.options[secret], str(error) + repr(error))
        return error

    @over_http
    def test_error_statuses(self):
        bodies: dict[str, dict[str, Any]] = {
            "JSON": {"json_data": {"message": "made-up problem"}},
            "text": {"body": b"made-up problem", "content_type": "text/plain"},
            "HTML": {"body": b"<p>made-up problem</p>", "content_type": "text/html"},
            "empty": {},
        }
        for status in ERROR_STATUSES:
            for description, body in bodies.items():
                with self.subTest(status=status, body=description):
                    response = self.transport.answer = make_response(status, **body)
                    error = self.assert_api_error(self.message(), self.make_backend())
                    self.assertIs(error.response, response)
                    self.assertEqual(error.status_code, status)
                    text = str(error)
                    self.assertIn(f"{self.case.esp_name} API response {status}", text)
                    if body:
                        self.assertIn("made-up problem", text)

    @over_http
    def test_error_status_with_the_body_of_a_success(self):
        """The status says that it's an error."""
        for status in (300, 304, 400, 500):
            with self.subTest(status):

                def answer(call: Any, status: int = status) -> Any:
                    assert self.case.success is not None
                    return make_response(status, body=self.case.success(call).content)

                self.transport.answer = answer
                error = self.assert_api_error(self.message(), self.make_backend())
                self.assertEqual(error.status_code, status)

    @tag("exhaustive")
    @only_if(lambda case: case.is_http and case.reads_answers)
    def test_odd_answers(self):
        for description, body in ODD_ANSWERS.items():
            for features in ([], ["merge_metadata"], ["template_id"]):
                if not self.supports(*features):
                    continue
                with self.subTest(description, features=features):
                    response = self.transport.answer = make_response(200, **body)
                    message = self.message(*features)
                    if description in self.case.accepts:
                        status = self.send(message, ignore_recipient_status=True)
                        self.assert_valid_status(status)
                    else:
                        error = self.assert_api_error(message, self.make_backend())
                        self.assertIs(error.response, response)
                        self.assertEqual(error.status_code, 200)
                        self.assertIs(message.anymail_status.esp_response, response)

    @tag("exhaustive")
    @over_http
    def test_any_part_of_an_answer_malformed(self):
        """Whichever part of an answer is replaced by something else, there is no other error."""
        assert self.case.success is not None
        for features in ([], ["cc", "bcc"], ["merge_metadata"], ["template_id", "merge_data"]):
            if not self.supports(*features):
                continue
            message = self.message(*features, to=["to@example.com", "other@example.com"])
            self.send(message)
            answer = self.case.success(self.calls.pop())
            if not answer.content:
                continue
            # Some APIs tell ids and errors in headers.
            for description, changed in json_mutations(answer.json()):
                with self.subTest(features=features, changed=description):
                    response = make_response(answer.status_code, body=json.dumps(changed).encode())
                    response.headers.update(answer.headers)
                    self.transport.answer = response
                    try:
                        status = self.send(message)
                    except AnymailRequestsAPIError as error:
                        if error.recipients:
                            self.assert_valid_status(message.anymail_status)
                        else:
                            self.assertIsNone(message.anymail_status.status)
                    except AnymailRecipientsRefused:
                        self.assert_valid_status(message.anymail_status)
                    else:
                        self.assert_valid_status(status)
            self.transport.answer = None
            self.calls.clear()

    def assert_valid_status(self, status: Any) -> None:
        self.assertLessEqual(status.status, {*ANYMAIL_STATUSES})
        for address, recipient in status.recipients.items():
            self.assertIsInstance(address, str)
            self.assertIsInstance(recipient, AnymailRecipientStatus)
            self.assertIn(recipient.status, ANYMAIL_STATUSES)
            self.assertIsInstance(recipient.message_id, (str, int, float, type(None)))
        repr(status)

    # -- Answers that tell several recipients' fate --------------------------------------------

    def send_for_results(self, change: Callable[[Any], None], **options: Any) -> Any:
        """Send to two recipients, with a result for each. Returns status, post_send's, error."""
        answered: list[Any] = []

        def answer(call: Any) -> Any:
            assert self.case.success is not None
            success = self.case.success(call)
            if not self.case.is_http:
                change(success)
                answered.append(success)
                return success
            changed = success.json()
            change(changed)
            answered.append(make_response(success.status_code, json_data=changed))
            return answered[-1]

        self.transport.answer = answer
        seen: list[Any] = []
        self.connect(post_send, lambda status, **kwargs: seen.append(dict(status.recipients)))
        features = ["merge_metadata"] if self.supports("merge_metadata") else []
        message = self.message(*features, to=["to@example.com", "other@example.com"])
        error: Any = None
        try:
            self.send(message, **options)
        except AnymailAPIError as caught:
            error = caught
            self.assertIs(error.response, answered[0])
            self.assertIs(error.email_message, message)
            self.assertEqual(error.recipients, message.anymail_status.recipients)
            copied = pickle.loads(pickle.dumps(error))
            self.assertEqual(repr(copied.recipients), repr(error.recipients))
            self.assertEqual(str(copied), str(error))
        self.assertEqual(seen, [message.anymail_status.recipients])
        return message.anymail_status, error

    def statuses_of(self, status: Any) -> list[str]:
        return [status.recipients[to].status for to in ("to@example.com", "other@example.com")]

    @only_if(lambda case: case.results_at is not None)
    def test_malformed_result_beside_an_accepted_one(self):
        assert self.case.results_at is not None
        [accepted] = self.case.statuses
        for number, expected in ((0, ["unknown", accepted]), (1, [accepted, "unknown"])):
            for junk in (None, 5, []):

                def change(answer: Any, number: int = number, junk: Any = junk) -> None:
                    for key in self.case.results_at or ():
                        answer = answer[key]
                    answer[list(answer)[number] if isinstance(answer, dict) else number] = junk

                with self.subTest(number=number, junk=junk):
                    status, error = self.send_for_results(change)
                    self.assertEqual(self.statuses_of(status), expected)
                    self.assertEqual(error.sent_count, 1)
                    self.assertIn("accepted for 1 of 2 recipients", str(error))

    @only_if(lambda case: case.fail is not None)
    def test_failed_for_one_recipient(self):
        assert self.case.fail is not None
        fail = self.case.fail
        [accepted] = self.case.statuses
        for number, expected in ((0, ["failed", accepted]), (1, [accepted, "failed"])):
            with self.subTest(number=number):
                status, error = self.send_for_results(lambda answer, n=number: fail(answer, n))
                self.assertEqual(self.statuses_of(status), expected)
                if error is not None:
                    self.assertEqual(error.sent_count, 1)
                    self.assertIn("accepted for 1 of 2 recipients", str(error))

    @only_if(lambda case: case.fail is not None)
    def test_failed_for_all_recipients(self):
        def change(answer: Any) -> None:
            assert self.case.fail is not None
            for number in (0, 1):
                self.case.fail(answer, number)

        status, error = self.send_for_results(change)
        self.assertEqual(self.statuses_of(status), ["failed", "failed"])
        self.assertIsNotNone(error, "nobody was told")
        self.assertEqual(error.sent_count, 0)
        self.assertNotIn("accepted for", str(error))
        status, _ = self.send_for_results(change, ignore_recipient_status=True)
        self.assertEqual(self.statuses_of(status), ["failed", "failed"])

    # -- What errors mean ---------------------------------------------------------------------

    def assert_means(self, refusal: Refusal) -> None:
        self.transport.refuse(refusal)
        features = ["merge_metadata"] if refusal.is_batch else []
        to = ["to@example.com", "other@example.com"][: 1 + refusal.is_batch]
        with self.assertRaises(AnymailAPIError) as caught:
            self.make_backend().send_messages([self.message(*features, to=to)])
        error = caught.exception
        self.assertIs(error.problem, refusal.problem)
        self.assertIs(problem_of(error), refusal.problem)
        self.assertEqual(error.about_sender, refusal.about_sender)
        self.assertEqual(error.may_have_been_sent, refusal.problem is Problem.UNCLEAR)
        self.assertEqual(error.unsent, ())
        self.assertTrue(error.advice)
        if refusal.retry_after is None:
            self.assertIsNone(error.retry_after)
        else:
            self.assertAlmostEqual(error.retry_after, refusal.retry_after, delta=2)

    @only_if(lambda case: bool(case.refusals))
    def test_what_the_provider_s_errors_mean(self):
        for refusal in self.case.refusals:
            with self.subTest(status=refusal.status, body=refusal.body):
                self.assert_means(refusal)
        codes = json.dumps([refusal.body for refusal in self.case.refusals])
        for code in self.backend_class.ERRORS:
            text = code.decode() if isinstance(code, bytes) else str(code)
            self.assertRegex(codes, rf"\b{re.escape(text)}(?:Exception)?\b", "has no example")

    @over_http
    def test_what_other_answers_mean(self):
        """Those of proxies and the like."""
        page = "<html><body>The gateway says something.</body></html>"
        for status, problem in [
            *((status, Problem.ACCOUNT) for status in (302, 400, 401, 403, 404, 407, 422)),
            *((status, Problem.UNSUITABLE) for status in (413, 431)),
            *((status, Problem.BUSY) for status in (429, 503)),
            *((status, Problem.UNCLEAR) for status in (200, 202, 408, 500, 502, 504)),
        ]:
            with self.subTest(status=status):
                self.assert_means(Refusal(status, page, problem))

    @over_http
    def test_when_to_come_back(self):
        for name, value in [
            ("Retry-After", "90"),
            ("Retry-After", "{date}"),
            ("ratelimit-reset", "90"),
            ("x-ratelimit-reset", "{epoch}"),
        ]:
            with self.subTest(name=name, value=value):
                headers = {name: value}
                for status in (429, 503):
                    self.assert_means(
                        Refusal(status, "", Problem.BUSY, headers=headers, retry_after=90)
                    )
                # Some providers have such headers in all answers.
                self.assert_means(Refusal(413, "", Problem.UNSUITABLE, headers=headers))

    @over_http
    def test_calls_that_cant_be_made(self):
        """Whatever is wrong with the URL or the key, it's not the message's problem."""
        for network_error in (
            requests.exceptions.InvalidURL("no host"),
            requests.exceptions.InvalidSchema("no such scheme"),
            requests.exceptions.MissingSchema("no scheme"),
            requests.exceptions.InvalidProxyURL("no proxy"),
            requests.exceptions.InvalidHeader("with a line break: 'secret'"),
        ):
            with self.subTest(type(network_error).__name__):
                self.transport.answer = network_error
                message = self.message()
                with (
                    self.assertRaises(AnymailConfigurationError) as caught,
                    self.assert_silent_backend() as backend,
                ):
                    backend.send_messages([message])
                error = caught.exception
                self.assertIn(self.setting("api_url"), str(error))
                self.assertIsNone(problem_of(error))
                shown = "".join(traceback.format_exception(error))
                self.assertNotIn("secret", shown)

    @over_http
    def test_network_errors(self):
        for network_error in NETWORK_ERRORS:
            with self.subTest(type(network_error).__name__):
                self.transport.answer = network_error
                message = self.message()
                error = self.assert_api_error(message, self.make_backend())
                self.assertIsInstance(error, type(network_error))
                self.assertIs(error.__cause__, network_error)
                self.assertIn(self.calls[-1].url, str(error))
                self.assertIn(str(network_error), str(error))
                self.assertIsNone(error.status_code)
                self.assertIsNone(error.response)
                self.assertIsNone(message.anymail_status.esp_response)

    @over_http
    def test_api_error_silently(self):
        answers = [make_response(500), requests.Timeout()]
        if self.case.reads_answers:
            answers.append(make_response(body=b"<p>"))
        for answer in answers:
            self.transport.answer = answer
            message = self.message()
            with self.assert_silent_backend() as backend:
                self.assertEqual(backend.send_messages([message]), 0)
            self.assertIsNone(message.anymail_status.status)

    # -- HTTP: sessions -----------------------------------------------------------------------

    @contextlib.contextmanager
    def counted_sessions(self) -> Iterator[dict[str, int]]:
        counts = {"opened": 0, "closed": 0}
        create_session = self.backend_class.create_session
        close = requests.Session.close

        def counted_create_session(backend: Any) -> Any:
            counts["opened"] += 1
            return create_session(backend)

        def counted_close(session: Any) -> None:
            counts["closed"] += 1
            close(session)

        with (
            patch.object(self.backend_class, "create_session", counted_create_session),
            patch.object(requests.Session, "close", counted_close),
        ):
            yield counts

    @over_http
    def test_one_session_for_several_messages(self):
        with self.counted_sessions() as counts:
            self.make_backend().send_messages([self.message() for _ in range(3)])
        self.assertEqual(counts, {"opened": 1, "closed": 1})
        self.assertEqual(len(self.calls), 3)

    @over_http
    def test_no_session_for_no_messages(self):
        with self.counted_sessions() as counts:
            self.make_backend().send_messages([])
        self.assertEqual(counts, {"opened": 0, "closed": 0})

    @over_http
    def test_session_is_closed_after_errors(self):
        for answer in (make_response(500), requests.Timeout(), ZeroDivisionError()):
            self.transport.answer = answer
            with self.subTest(answer), self.counted_sessions() as counts:
                backend = self.make_backend()
                with self.assertRaises((AnymailAPIError, ZeroDivisionError)):
                    backend.send_messages([self.message()])
                self.assertEqual(counts, {"opened": 1, "closed": 1})
                self.assertIsNone(backend.session)

    @over_http
    def test_session_is_closed_after_silent_errors(self):
        self.transport.answer = make_response(500)
        with self.counted_sessions() as counts, self.assert_silent_backend() as backend:
            backend.send_messages([self.message(), self.message()])
        self.assertEqual(counts, {"opened": 1, "closed": 1})

    @over_http
    def test_opened_connection_is_reused(self):
        with self.counted_sessions() as counts:
            backend = self.make_backend()
            self.assertTrue(backend.open())
            session = backend.session
            self.assertFalse(backend.open())
            backend.send_messages([self.message()])
            self.transport.answer = make_response(500)
            with self.assertRaises(AnymailAPIError):
                backend.send_messages([self.message()])
            self.transport.answer = None
            backend.send_messages([self.message()])
            self.assertIs(backend.session, session)
            self.assertEqual(counts, {"opened": 1, "closed": 0})
            backend.close()
            self.assertEqual(counts, {"opened": 1, "closed": 1})
            self.assertIsNone(backend.session)
            backend.close()
            self.assertEqual(counts, {"opened": 1, "closed": 1})

    @over_http
    def test_context_manager(self):
        with self.counted_sessions() as counts:
            with self.make_backend() as backend:
                backend.send_messages([self.message()])
                backend.send_messages([self.message()])
                self.assertEqual(counts, {"opened": 1, "closed": 0})
            self.assertEqual(counts, {"opened": 1, "closed": 1})

    @over_http
    def test_session_cant_be_created(self):
        with patch.object(self.backend_class, "create_session", side_effect=ZeroDivisionError):
            with self.assertRaises(ZeroDivisionError):
                self.make_backend().send_messages([self.message()])
            with self.assert_silent_backend() as backend:
                self.assertEqual(backend.send_messages([self.message()]), 0)
        self.assert_not_sent()

    @over_http
    def test_messages_need_an_open_session(self):
        with self.assert_refused(RuntimeError, "open") as caught:
            self.make_backend()._send(self.message())
        self.assertNotIsInstance(caught.exception, AnymailError)

    @over_http
    def test_called_with_keyword_arguments(self):
        """Users patch Session.request in their tests, and look at its arguments by name."""
        params = {"method", "url", "params", "data", "headers", "files", "auth", "timeout"}
        with patch.object(
            requests.Session, "request", autospec=True, side_effect=requests.Session.request
        ) as mock_request:
            self.send(self.message())
        args, kwargs = mock_request.call_args
        self.assertEqual(len(args), 1)
        self.assertEqual(set(kwargs), params)

    # -- HTTP: timeout, headers, debugging ----------------------------------------------------

    def timeout_with(self, **options: Any) -> Any:
        self.send(self.message(), **options)
        return self.calls.pop().timeout

    @over_http
    def test_timeout(self):
        self.assertEqual(self.timeout_with(), 30)
        self.assertEqual(self.timeout_with(timeout=5), 5)
        self.assertEqual(self.timeout_with(requests_timeout=6), 6)
        self.assertEqual(self.timeout_with(timeout=5, requests_timeout=6), 5)
        with self.anymail_settings(REQUESTS_TIMEOUT=(3, 4)):
            self.assertEqual(self.timeout_with(), (3, 4))
            self.assertEqual(self.timeout_with(timeout=5), 5)
        with self.anymail_settings(REQUESTS_TIMEOUT=None):
            self.assertIsNone(self.timeout_with())

    @over_http
    def test_user_agent(self):
        self.send(self.message())
        self.assertEqual(
            self.calls[0].headers["User-Agent"],
            f"django-anymail/{__version__}-{self.case.esp_name.lower()} "
            f"{requests.utils.default_user_agent()}",
        )

    def debug_output(self, **options: Any) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as output, counted_uuids():
            self.send(self.message(), **options)
        return output.getvalue()

    @over_http
    def test_debug_api_requests(self):
        self.assertEqual(self.debug_output(), "")
        with self.anymail_settings(DEBUG_API_REQUESTS=True):
            output = self.debug_output()
        self.calls.clear()
        self.assertEqual(
            re.sub("boundary=.*|-{4}.*", "", self.debug_output(debug_api_requests=True)),
            re.sub("boundary=.*|-{4}.*", "", output),
        )
        call = self.calls[0]
        self.assertTrue(output.startswith("\n===== Anymail API request\n"), output)
        self.assertIn(f"\n{call.method} {call.url}\n", output)
        self.assertIn("\nUser-Agent: django-anymail/", output)
        self.assertIn("\n----- Response\nHTTP 20", output)
        self.assertIn("\nContent-Type: application/json\n", output)
        self.assertNotIn("\r", output)
        if "multipart" not in call.content_type:
            body = call.body.decode()
            for option in self.case.secret:
                body = body.replace(self.case.options[option], "*****")
            self.assertIn(f"\n\n{body}\n", output)
        assert self.case.success is not None
        self.assertIn(f"\n\n{self.case.success(call).text}\n", output)

    @over_http
    def test_debug_output_has_no_credentials(self):
        def echo(call: Any) -> Any:
            response = make_response(body=json.dumps([*self.case.options.values()]).encode())
            response.headers["Set-Cookie"] = "session=1234567890"
            return response

        self.transport.answer = echo
        output = io.StringIO()
        with (
            contextlib.redirect_stdout(output),
            contextlib.suppress(AnymailAPIError),
        ):
            self.send(self.message(), debug_api_requests=True)
        self.assertIn("HTTP 200", output.getvalue())
        self.assertNotIn("1234567890", output.getvalue())
        for option in self.case.secret:
            secret = self.case.options[option]
            for form in (secret, requests.utils.quote(secret), json.dumps(secret)[1:-1]):
                self.assertNotIn(form, output.getvalue())
            # In basic auth, it's one of two parts. Base64 of either depends on its position.
            for padding in ("", "a", "aa"):
                encoded = base64.b64encode(f"{padding}{secret}".encode()).decode()
                self.assertNotIn(encoded[4:-4], output.getvalue())

    @over_http
    def test_tls_certificates_are_verified(self):
        with patch.object(
            requests.Session, "send", autospec=True, side_effect=requests.Session.send
        ) as mock_send:
            self.send(self.message())
        # True, or the certificates that the environment says.
        self.assertTrue(mock_send.call_args.kwargs["verify"])
        self.assertTrue(self.calls[0].url.startswith("https://"))


# ---------------------------------------------------------------------------------------------
# One test case for each backend: for example, tests.backends.test_contract.PostmarkTests
# ---------------------------------------------------------------------------------------------


def _always(case: BackendCase) -> bool:
    return True


def _make_test_case(case: BackendCase) -> type[BackendContract]:
    name = "".join(map(str.capitalize, case.name.split("_"))) + "Tests"
    attrs: dict[str, Any] = {"case": case, "__module__": __name__}
    for test_name, test in vars(BackendContract).items():
        if not getattr(test, "applies", _always)(case):
            attrs[test_name] = None
    test_case = type(name, (BackendContract, SimpleTestCase), attrs)
    return skip_without(*case.packages)(tag_all_but_one_of_each_kind(case.name, test_case))


for _case in CASES.values():
    _test_case = _make_test_case(_case)
    globals()[_test_case.__name__] = _test_case
del _test_case
