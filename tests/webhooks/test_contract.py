"""What all webhook views have in common, checked for each view in the package "cases".

The calls are those of the fixture pairs.
"""

from __future__ import annotations

import base64
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import django
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.test import RequestFactory, modify_settings, override_settings, tag
from django.urls import path
from django.utils.module_loading import import_string

from anymail import exceptions
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInsecureWebhookWarning,
)
from anymail.signals import EventType
from anymail.webhooks import base

from ..junk import json_mutations, nested_json_mutations
from ..properties import EXAMPLES_FACTOR
from ..providers import tag_all_but_one_of_each_kind
from ..utils import skip_without
from .cases import CASES
from .cases.base import WebhookCase, WebhookView
from .harness import (
    BASIC_AUTH,
    BODY_KEYS,
    BOUNDARY,
    SIGNALS,
    Fixture,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    find_fixtures,
    simulated_downloads,
)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"

MALFORMED: dict[str, tuple[str, bytes]] = {
    "empty": (JSON, b""),
    "not JSON": (JSON, b"made-up"),
    "JSON not complete": (JSON, b'{"event": "deliv'),
    "JSON with more after it": (JSON, b"{} {}"),
    "JSON not UTF-8": (JSON, b'{"event": "\xff\xfe"}'),
    "JSON in UTF-16 without a BOM": (JSON, '{"event": "a"'.encode("utf-16-le")),
    "JSON null": (JSON, b"null"),
    "JSON true": (JSON, b"true"),
    "JSON number": (JSON, b"1"),
    "JSON NaN": (JSON, b"NaN"),
    "JSON number of 5000 digits": (JSON, b"1" * 5000),
    "JSON text": (JSON, b'"text"'),
    "JSON empty object": (JSON, b"{}"),
    "JSON empty array": (JSON, b"[]"),
    "JSON array of numbers": (JSON, b"[1, 2]"),
    "JSON array of arrays": (JSON, b"[[], []]"),
    "JSON array with null": (JSON, b"[null]"),
    "JSON array nested 100000 times": (JSON, b"[" * 100_000),
    "JSON object nested 100000 times": (JSON, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "form empty": (FORM, b""),
    "form of something else": (FORM, b"made=up&made=up"),
    "form not UTF-8": (FORM, b"event=%FF%FE&\xff=\xfe"),
    "form with JSON": (FORM, b'{"event": "deliv'),
    "multipart empty": (MULTIPART, b""),
    "multipart not complete": (
        MULTIPART,
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="event"\r\n\r\ndeliv'.encode(),
    ),
    "multipart without a boundary": ("multipart/form-data", b"--a\r\n\r\n--a--"),
    "multipart with a non-ASCII boundary": ("multipart/form-data; boundary=é", "--é--".encode()),
    "multipart not multipart": (MULTIPART, b'{"event": "deliv'),
    "text": ("text/plain", b"made-up"),
    "no content type": ("", b"made-up"),
}

BAD_AUTHORIZATION: dict[str, str] = {
    "other password": basic_auth_header("fixture-user:other"),
    "other user": basic_auth_header("other:fixture-password"),
    "no password": basic_auth_header("fixture-user"),
    "empty credentials": basic_auth_header(""),
    "colon": basic_auth_header(":"),
    "more after it": basic_auth_header(BASIC_AUTH + "x"),
    "upper case": basic_auth_header(BASIC_AUTH.upper()),
    "the text None": basic_auth_header("None"),
    "empty header": "",
    "no credentials": "Basic",
    "three parts": basic_auth_header() + " more",
    "no scheme": base64.b64encode(BASIC_AUTH.encode()).decode(),
    "not encoded": f"Basic {BASIC_AUTH}",
    "other scheme": basic_auth_header(scheme="Bearer"),
    "malformed base64": "Basic YWJj!YQ=",
    "base64 with wrong padding": "Basic YWJjY",
    "not UTF-8": basic_auth_header(b"\xff\xfe:fixture-password"),
}

BAD_REQUEST = (SuspiciousOperation, BadRequest, MultiPartParserError)
"""What Django answers with a 400."""


def only_if(applies: Callable[[WebhookCase, WebhookView], bool]) -> Callable[[Any], Any]:
    """Leave a test out of the test cases of views that it doesn't apply to."""

    def decorator(test: Any) -> Any:
        test.applies = applies
        return test

    return decorator


def is_key(setting: str) -> bool:
    """Tell whether a setting has a key that verifies signatures."""
    return setting.endswith(("_KEY", "_SECRET"))


checks_signatures = only_if(lambda case, view: view.signature != "none")
requires_signatures = only_if(lambda case, view: view.signature == "required")
signatures_are_optional = only_if(lambda case, view: view.signature == "optional")
has_keys = only_if(
    lambda case, view: view.signature != "none" and any(map(is_key, case.other_settings))
)
requires_keys = only_if(
    lambda case, view: view.signature == "required" and any(map(is_key, case.other_settings))
)
works_without_key = only_if(lambda case, view: view.signature != "required")


class WebhookContract(WebhookTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    """The tests. See _make_test_case for the test cases."""

    case: ClassVar[WebhookCase]
    view: ClassVar[WebhookView]

    def setUp(self) -> None:
        super().setUp()
        override = override_settings(
            ANYMAIL={
                "WEBHOOK_SECRET": BASIC_AUTH,
                **self.case.needed_settings,
                **self.case.settings,
            },
        )
        override.enable()
        self.addCleanup(override.disable)
        # call() checks that these are issued. Calls that are made in other ways ignore them.
        ignored = warnings.catch_warnings()
        ignored.__enter__()
        self.addCleanup(ignored.__exit__, None, None, None)
        for name in self.view.warnings:
            warnings.simplefilter("ignore", getattr(exceptions, name))
        self.view_class: Any = import_string(self.view.view)

    @contextmanager
    def anymail_settings(self, **settings: Any) -> Iterator[None]:
        with super().anymail_settings(**{**self.case.needed_settings, **settings}):
            yield

    # -- Calls --------------------------------------------------------------------------------

    # Cached: reading all these files for each test takes most of the time otherwise.

    @classmethod
    @cache
    def fixtures(cls, kind: str | None = None) -> list[Fixture]:
        """Return the fixtures (of this view's kind) that result in events."""
        found = [
            fixture
            for fixture in find_fixtures(cls.case.esp, kind or cls.view.kind)
            if fixture.path.is_file() and fixture.load_expected().get("events")
        ]
        assert found, f"needs a fixture with an event in tests/fixtures/{cls.case.esp}"
        return found

    @classmethod
    @cache
    def samples(cls) -> list[Fixture]:
        """Return one such fixture for each kind of body."""
        samples: dict[str, Fixture] = {}
        # Rather not those with downloads
        for fixture in sorted(cls.fixtures(), key=lambda fixture: "downloads" in fixture.load()):
            data = fixture.load()
            if "settings" not in data:
                body = next(key for key in BODY_KEYS if key in data)
                samples.setdefault(body, fixture)
        assert samples, "needs a fixture without settings of its own"
        return list(samples.values())

    @property
    def sample(self) -> WebhookRequest:
        return self.samples()[0].request(self.case)

    def call(self, request: WebhookRequest, *args: Any, **kwargs: Any) -> Any:
        if not request.downloads:
            return super().call(request, *args, **kwargs)
        with simulated_downloads(request.downloads, required=False):
            return super().call(request, *args, **kwargs)

    def events_of(self, fixture: Fixture) -> int:
        return len(fixture.load_expected()["events"])

    def assert_valid_event(self, event: Any) -> None:
        self.assert_event_contract(event, self.view.kind)

    @contextmanager
    def mounted(self, view: Any, at: str) -> Iterator[None]:
        """Serve a view function instead of anymail.urls."""
        urlconf = types.ModuleType("urlconf")
        urlconf.urlpatterns = [path(at.lstrip("/"), view)]  # type: ignore[attr-defined]
        with override_settings(ROOT_URLCONF=urlconf):
            yield

    # -- Right calls --------------------------------------------------------------------------

    def test_signals(self):
        for fixture in self.samples():
            with self.subTest(fixture.name):
                self.received.clear()
                self.assertEqual(self.call(fixture.request(self.case)).status_code, 200)
                self.assertEqual(len(self.received), self.events_of(fixture))
                for received in self.received:
                    self.assertEqual(received.kind, self.view.kind)
                    self.assertIs(received.sender, self.view_class)
                    self.assertEqual(received.esp_name, self.case.esp_name)
                    self.assertIsNotNone(received.event)

    def test_response_is_empty(self):
        self.assertEqual(self.call(self.sample).content, b"")

    @only_if(lambda case, view: django.VERSION >= (5, 1))
    def test_login_required_middleware(self):
        middleware = "django.contrib.auth.middleware.LoginRequiredMiddleware"
        with modify_settings(MIDDLEWARE={"append": middleware}):
            self.assertEqual(self.call(self.sample).status_code, 200)
        self.assertTrue(self.received)

    def test_subclass_that_overrides_dispatch(self):
        class Subclass(self.view_class):  # type: ignore[name-defined]
            def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
                return super().dispatch(request, *args, **kwargs)

        middleware = []
        if django.VERSION >= (5, 1):
            middleware.append("django.contrib.auth.middleware.LoginRequiredMiddleware")
        request = self.sample
        with (
            self.mounted(Subclass.as_view(), request.path),
            modify_settings(MIDDLEWARE={"append": middleware}),
        ):
            self.assertEqual(self.call(request).status_code, 200)
        self.assertEqual({received.sender for received in self.received}, {Subclass})

    # -- Methods ------------------------------------------------------------------------------

    def test_head_needs_no_validation(self):
        response = self.client.head(self.sample.path)
        self.assertEqual((response.status_code, response.content), (200, b""))
        self.assert_no_signals()

    def test_options(self):
        response = self.client.options(self.sample.path)
        self.assertEqual(response.status_code, 200)
        allowed = set(response.headers["Allow"].split(", "))
        self.assertLessEqual({"POST", "HEAD", "OPTIONS"}, allowed)
        self.assert_no_signals()

    def test_other_methods(self):
        request = self.sample
        for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE"):
            with self.subTest(method):
                response = self.client.generic(
                    method,
                    request.path,
                    data=request.body,
                    content_type=request.effective_content_type,
                    headers={**request.headers, "Authorization": basic_auth_header()},
                )
                expected = self.view.extra_methods.get(method, 405)
                self.assertEqual(response.status_code, expected)
                self.assert_no_signals()

    # -- Basic auth ---------------------------------------------------------------------------

    def test_no_auth_configured(self):
        warns = AnymailInsecureWebhookWarning if self.view.signature == "none" else None
        with self.anymail_settings(**self.case.settings):
            response = self.call(self.sample, authorization=None, warns=warns)
        self.assertEqual(response.status_code, 200)
        self.assertTrue(self.received)

    @works_without_key
    def test_insecure_warning(self):
        for name in ("post", "head"):
            with (
                self.subTest(name),
                self.anymail_settings(),
                self.assertWarnsRegex(AnymailInsecureWebhookWarning, "WEBHOOK_SECRET"),
            ):
                getattr(self.client, name)(self.sample.path)

    def test_wrong_auth(self):
        for description, authorization in BAD_AUTHORIZATION.items():
            with self.subTest(description):
                response = self.call(self.sample, authorization=authorization)
                self.assertEqual(response.status_code, 400)
                self.assert_no_signals()

    def test_missing_auth(self):
        response = self.call(self.sample, authorization=None)
        self.assertEqual(response.status_code, self.view.missing_auth_status)
        self.assert_no_signals()

    def test_scheme_in_any_case(self):
        for scheme in ("basic", "BASIC"):
            authorization = basic_auth_header(scheme=scheme)
            self.assertEqual(self.call(self.sample, authorization).status_code, 200)

    def test_non_ascii_secret(self):
        with self.anymail_settings(**self.case.settings, WEBHOOK_SECRET="üser:pässword"):
            authorization = basic_auth_header("üser:pässword")
            self.assertEqual(self.call(self.sample, authorization).status_code, 200)
            authorization = basic_auth_header("üser:pässword".encode("iso-8859-1"))
            self.assertEqual(self.call(self.sample, authorization).status_code, 400)

    def test_rotated_secrets(self):
        secrets = ["first:password", "second:password"]
        for setting in (secrets, tuple(secrets)):
            with self.anymail_settings(**self.case.settings, WEBHOOK_SECRET=setting):
                for secret in secrets:
                    response = self.call(self.sample, basic_auth_header(secret))
                    self.assertEqual(response.status_code, 200)
                self.received.clear()
                for secret in ("third:password", "first:password,second:password"):
                    response = self.call(self.sample, basic_auth_header(secret))
                    self.assertEqual(response.status_code, 400)
                self.assert_no_signals()

    def test_basic_auth_in_as_view(self):
        request = self.sample
        for basic_auth in ("user:pass", ["other:pass", "user:pass"]):
            view = self.view_class.as_view(basic_auth=basic_auth)
            with (
                self.subTest(basic_auth=basic_auth),
                self.mounted(view, request.path),
                self.anymail_settings(**self.case.settings),
            ):
                response = self.call(request, basic_auth_header("user:pass"))
                self.assertEqual(response.status_code, 200)
                self.received.clear()
                response = self.call(request, basic_auth_header("user:other"))
                self.assertEqual(response.status_code, 400)
                self.assert_no_signals()

    # -- Signatures ---------------------------------------------------------------------------

    def assert_refused(self, request: WebhookRequest) -> None:
        response = self.call(request)
        self.assertEqual(response.status_code, 400)
        self.assert_no_signals()

    @checks_signatures
    def test_unsigned(self):
        for fixture in self.samples():
            with self.subTest(fixture.name):
                self.assert_refused(fixture.request(self.case, sign=False))

    @signatures_are_optional
    def test_signature_is_optional(self):
        for fixture in self.samples():
            with (
                self.subTest(fixture.name),
                self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
            ):
                response = self.call(fixture.request(self.case, sign=False))
                self.assertEqual(response.status_code, 200)
                self.assertTrue(self.received)

    @checks_signatures
    def test_tampered(self):
        for fixture in self.samples():
            for description, tamper in self.case.tampers.items():
                with self.subTest(fixture=fixture.name, tamper=description):
                    request = fixture.request(self.case)
                    tamper(request)
                    self.assert_refused(request)

    @checks_signatures
    def test_signed_with_other_secret(self):
        with self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH, **self.case.other_settings):
            for fixture in self.samples():
                with self.subTest(fixture.name):
                    self.assert_refused(fixture.request(self.case))

    def key_settings(self, value: Callable[[Any, Any], Any]) -> dict[str, Any]:
        """Return the settings, with each key replaced by ``value(key, key of another account)``."""
        settings = dict(self.case.settings)
        for name, other in self.case.other_settings.items():
            if is_key(name):
                settings[name] = value(settings[name], other)
        return settings

    @has_keys
    def test_rotated_keys(self):
        """Settings can have several keys, and any of them is enough."""
        values: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
            "right one last": (lambda right, other: [other, right], 200),
            "right one first": (lambda right, other: [right, other], 200),
            "only the right one": (lambda right, other: [right], 200),
            "tuple": (lambda right, other: (other, right), 200),
            "one is empty": (lambda right, other: ["", right], 200),
            "only another one": (lambda right, other: [other], 400),
            "only other ones": (lambda right, other: [other, "", other], 400),
        }
        for description, (value, status) in values.items():
            settings = {"WEBHOOK_SECRET": BASIC_AUTH, **self.key_settings(value)}
            for fixture in self.samples():
                with (
                    self.subTest(fixture=fixture.name, setting=description),
                    self.anymail_settings(**settings),
                ):
                    self.received.clear()
                    response = self.call(fixture.request(self.case))
                    self.assertEqual(response.status_code, status)
                    self.assertEqual(bool(self.received), status == 200)

    @requires_keys
    def test_no_key_in_list(self):
        for empty in ([], [""], ()):
            settings = {
                "WEBHOOK_SECRET": BASIC_AUTH,
                **self.key_settings(lambda right, other, empty=empty: empty),
            }
            with (
                self.subTest(setting=empty),
                self.anymail_settings(**settings),
                self.assertRaisesRegex(AnymailConfigurationError, self.case.required_setting),
            ):
                self.call(self.sample)
        self.assert_no_signals()

    @checks_signatures
    def test_signature_does_not_replace_basic_auth(self):
        response = self.call(self.sample, basic_auth_header("other:secret"))
        self.assertEqual(response.status_code, 400)
        self.assert_no_signals()

    @requires_signatures
    def test_signature_is_required(self):
        with (
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
            self.assertRaisesRegex(AnymailConfigurationError, self.case.required_setting),
        ):
            self.call(self.sample)
        self.assert_no_signals()

    @only_if(lambda case, view: bool(view.options))
    def test_options_of_as_view(self):
        request = self.sample
        unsigned = self.samples()[0].request(self.case, sign=False)
        view = self.view_class.as_view(**self.view.options)
        with (
            self.mounted(view, request.path),
            self.anymail_settings(WEBHOOK_SECRET=BASIC_AUTH),
        ):
            self.assertEqual(self.call(request).status_code, 200)
            self.assertTrue(self.received)
            self.received.clear()
            if self.view.signature != "none":
                self.assert_refused(unsigned)

    # -- Malformed calls ----------------------------------------------------------------------

    @tag("exhaustive")
    def test_malformed(self):
        for description, (content_type, body) in MALFORMED.items():
            with self.subTest(description):
                self.received.clear()
                request = WebhookRequest(
                    kind=self.view.kind,
                    path=self.sample.path,
                    content_type=content_type,
                    raw=body,
                    warnings=self.view.warnings,
                )
                # Headers that tell the kind of call, such as those of Amazon SNS
                request.headers.update(self.sample.headers)
                if self.view.signature != "none" and self.case.signs_any_body:
                    assert self.case.sign is not None
                    self.case.sign(request)
                if description in self.view.taken_for_other_kind:
                    with self.assertRaises(AnymailConfigurationError):
                        self.call(request)
                    continue
                response = self.call(request)
                if description in self.view.accepts:
                    self.assertEqual(response.status_code, 200)
                    for received in self.received:
                        self.assert_valid_event(received.event)
                else:
                    self.assertEqual(response.status_code, 400)
                    self.assert_no_signals()

    @tag("exhaustive")
    def test_malformed_is_not_parsed_without_auth(self):
        for description, (content_type, body) in MALFORMED.items():
            with self.subTest(description):
                request = WebhookRequest(
                    self.view.kind, self.sample.path, content_type=content_type, raw=body
                )
                request.warnings = self.view.warnings
                response = self.call(request, basic_auth_header("other:secret"))
                self.assertEqual(response.status_code, 400)
                self.assert_no_signals()

    def test_required_auth(self):
        """With REQUIRE_WEBHOOK_AUTH, calls need a secret or a signature."""
        base._log_unprotected.cache_clear()
        is_signed = self.view.signature != "none"
        with (
            self.anymail_settings(**self.case.settings, REQUIRE_WEBHOOK_AUTH=True),
            nullcontext() if is_signed else self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            response = self.call(self.sample, authorization=None)
        self.assertEqual(response.status_code, 200 if is_signed else 403)
        self.assertEqual(bool(self.received), is_signed)

    @tag("exhaustive")
    def test_any_part_malformed(self):
        """Whichever part of a call is replaced by something else, it's either a 400 or an event."""
        view = self.view_class.as_view()
        factory = RequestFactory()
        seen = set()
        for fixture in self.fixtures():
            data = fixture.load()
            event_type = fixture.load_expected()["events"][0].get("event_type")
            original = fixture.request(self.case)
            with self.anymail_settings(
                **{"WEBHOOK_SECRET": BASIC_AUTH, **self.case.settings, **data.get("settings", {})}
            ):
                every = max(1, round(1 / EXAMPLES_FACTOR))
                for description, request in islice(mutations(original), 0, None, every):
                    # Has another fixture (of this type, if there's time) been changed like that?
                    change = (event_type if EXAMPLES_FACTOR > 1 else "", description)
                    if change in seen:
                        continue
                    seen.add(change)
                    self._sign_again(request)
                    with self.subTest(fixture=fixture.name, changed=description):
                        self._check_any(view, factory, request, data.get("downloads", []))

    def _sign_again(self, request: WebhookRequest) -> None:
        """Sign what was changed, if it's still something that can be signed."""
        if self.case.sign is None or self.view.signature == "none":
            return
        with suppress(AttributeError, LookupError, TypeError, ValueError):
            self.case.sign(request)

    def _check_any(
        self, view: Any, factory: RequestFactory, request: WebhookRequest, downloads: Any
    ) -> None:
        self.received.clear()
        http_request = factory.generic(
            "POST",
            request.path,
            data=request.body,
            content_type=request.effective_content_type,
            headers={"Authorization": basic_auth_header(), **request.headers},
        )
        expected = [getattr(exceptions, name) for name in request.warnings]
        try:
            with self.assert_warnings(*expected), simulated_downloads(downloads, required=False):
                response = view(http_request)
        except (*BAD_REQUEST, AnymailConfigurationError):
            self.assert_no_signals()
        except AnymailAPIError:
            # There is nothing at another URL.
            self.assertTrue(downloads)
            self.assert_no_signals()
        else:
            self.assertEqual(response.status_code, 200)
            for received in self.received:
                self.assert_valid_event(received.event)

    @only_if(lambda case, view: len(case.views) == 2 and view.refuses_other_kind)
    def test_call_of_the_other_kind(self):
        [other_kind] = {view.kind for view in self.case.views} - {self.view.kind}
        path = self.sample.path
        for fixture in self.fixtures(other_kind):
            if not fixture.load().get("kind_is_clear", True):
                continue
            if fixture.load_expected()["events"][0].get("event_type") == EventType.UNKNOWN:
                continue
            with self.subTest(fixture.name):
                self.received.clear()
                request = fixture.request(self.case, sign=False)
                request.kind = self.view.kind
                request.path = path
                if self.case.sign is not None and self.view.signature != "none":
                    self.case.sign(request)
                with self.assertRaises(AnymailConfigurationError) as caught:
                    self.call(request)  # for what can't be told, see "kind_is_clear"
                text = str(caught.exception)
                self.assertIn(self.case.esp_name, text)
                self.assertRegex(text, rf"\*([^*]* )?{self.view.kind}\*")
                self.assert_no_signals()

    # -- Receivers ----------------------------------------------------------------------------

    def test_receiver_raises(self):
        class ReceiverError(Exception):
            pass

        def receiver(**kwargs: Any) -> None:
            raise ReceiverError

        signal = SIGNALS[self.view.kind]
        signal.connect(receiver)
        self.addCleanup(signal.disconnect, receiver)
        most_events = max(self.samples(), key=self.events_of)
        with self.assertRaises(ReceiverError):
            self.call(most_events.request(self.case))
        # Our own receiver comes first. It got one event, and no more.
        self.assertEqual(len(self.received), 1)

        self.client.raise_request_exception = False
        response = self.call(most_events.request(self.case))
        self.assertEqual(response.status_code, 500)


# ---------------------------------------------------------------------------------------------
# Junk
# ---------------------------------------------------------------------------------------------

JUNK_TEXT = [
    "",
    "junk",
    "@",
    "a\r\nb: c\0",
    "é",
    "1" * 400,
    "null",
    '"text"',
    "[1]",
    '[["junk"]]',
    '{"a": 1}',
    "[",
]

JUNK_HEADERS = ["", "junk", "\xe9", "1" * 400, "{}"]


def mutations(request: WebhookRequest) -> Iterator[tuple[str, WebhookRequest]]:
    """Yield descriptions and copies of a call, each with one part of it missing or replaced."""
    if request.json is not None:
        for description, changed in json_mutations(request.json):
            copy = request.copy()
            copy.json = changed
            yield description, copy
    if request.text is not None:
        # Lines of JSON, or a line that is
        lines = request.text.split("\n")
        for i, line in enumerate(lines):
            for description, changed in nested_json_mutations(line):
                copy = request.copy()
                copy.text = "\n".join([*lines[:i], changed, *lines[i + 1 :]])
                yield f"line {i}: {description}", copy
    for name in ("form", "multipart"):
        parts = getattr(request, name)
        for i in range(len(parts or [])):
            for description, replacements in part_mutations(parts[i]):
                copy = request.copy()
                setattr(copy, name, [*parts[:i], *replacements, *parts[i + 1 :]])
                yield description, copy
    for name in request.headers:
        copy = request.copy()
        del copy.headers[name]
        yield f"no {name} header", copy
        for junk in JUNK_HEADERS:
            copy = request.copy()
            copy.headers[name] = junk
            yield f"{name} header: {junk!r}", copy


def part_mutations(part: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield what could be in place of a form field, or of a part of a multipart form."""
    if isinstance(part, list):
        name, value = part

        def replaced(new_value: str) -> Any:
            return [name, new_value]
    else:
        name = part["name"]
        value = part.get("value", "")

        def replaced(new_value: str) -> Any:
            return {"name": name, "value": new_value}

    yield f"no {name}", []
    yield f"{name} twice", [part, part]
    for junk in JUNK_TEXT:
        yield f"{name}: {junk!r}", [replaced(junk)]
        yield f"{name} preceded by {junk!r}", [replaced(junk), part]
    for description, changed in nested_json_mutations(value):
        yield f"{name}: {description}", [replaced(changed)]
    if isinstance(part, dict):
        if "filename" not in part:
            yield f"{name} as a file", [{**part, "filename": "a.txt"}]
        else:
            yield (
                f"{name} without a type",
                [{key: part[key] for key in part if key != "content_type"}],
            )
            for junk in ("", "junk", "a/b/c", "text/plain; charset=junk", "message/rfc822"):
                yield f"{name} of type {junk!r}", [{**part, "content_type": junk}]
            for junk in ("", "..", "a/b", "a\\b", "\0", "é" * 300):
                yield f"{name} with filename {junk!r}", [{**part, "filename": junk}]


# ---------------------------------------------------------------------------------------------
# One test case for each view: for example, tests.webhooks.test_contract.MailgunInboundTests
# ---------------------------------------------------------------------------------------------


def _always(case: WebhookCase, view: WebhookView) -> bool:
    return True


def _make_test_case(case: WebhookCase, view: WebhookView) -> type[WebhookContract]:
    name = "".join(map(str.capitalize, (*case.esp.split("_"), view.kind))) + "Tests"
    attrs: dict[str, Any] = {"case": case, "view": view, "__module__": __name__}
    for test_name, test in vars(WebhookContract).items():
        if not getattr(test, "applies", _always)(case, view):
            attrs[test_name] = None
    test_case = type(name, (WebhookContract, WebhookTestCase), attrs)
    return skip_without(*case.packages)(tag_all_but_one_of_each_kind(case.esp, test_case))


for _case in CASES.values():
    for _view in _case.views:
        _test_case = _make_test_case(_case, _view)
        globals()[_test_case.__name__] = _test_case
del _test_case
