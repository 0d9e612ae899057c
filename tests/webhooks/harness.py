"""Webhook calls as providers make them, and the fixture pairs that describe some.

tests/fixtures/README.rst explains the files. ``tests/webhooks/cases`` has what differs between
the providers.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import pickle
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import urlencode

import requests
from django.dispatch import Signal
from django.http import HttpRequest, QueryDict
from django.test import Client, RequestFactory, SimpleTestCase, override_settings
from django.urls import resolve, reverse
from django.utils.dateparse import parse_datetime
from django.utils.module_loading import import_string

from anymail import exceptions, signals
from anymail.addresses import parse_single_address
from anymail.exceptions import AnymailInvalidAddress
from anymail.later.engines import Engine
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent, EventType, RejectReason
from anymail.urls import loaded_view
from anymail.webhooks.base import AnymailCoreWebhookView
from anymail.webhooks.forms import Form

from ..utils import FIXTURES

if TYPE_CHECKING:
    from .cases.base import WebhookCase

BASIC_AUTH = "fixture-user:fixture-password"
BOUNDARY = "----fixture-boundary-7MA4YWxkTrZu0gW"

SIGNALS: dict[str, Signal] = {"tracking": signals.tracking, "inbound": signals.inbound}

MISSING: Any = object()


def basic_auth_header(credentials: str | bytes = BASIC_AUTH, scheme: str = "Basic") -> str:
    """Return the value of an Authorization header."""
    data = credentials.encode() if isinstance(credentials, str) else credentials
    return f"{scheme} {base64.b64encode(data).decode()}"


@dataclass
class WebhookRequest:
    """A webhook call before it's made. ``sign`` functions can change every part of it.

    The body is one of ``json``, ``text``, ``form``, ``multipart`` and ``raw`` (see README.rst),
    the first that is not None; JSON null is ``text="null"``.
    """

    kind: str
    path: str
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    text: str | None = None
    form: list[list[str]] | None = None
    multipart: list[dict[str, Any]] | None = None
    raw: bytes | None = None
    warnings: tuple[str, ...] = ()
    """Names of the warning classes in anymail.exceptions that come with each such call."""
    downloads: list[dict[str, Any]] = field(default_factory=list)
    """What the webhook can fetch, as in README.rst."""

    @property
    def body(self) -> bytes:
        if self.json is not None:
            try:
                return json.dumps(self.json, ensure_ascii=False).encode()
            except UnicodeEncodeError:  # a lone surrogate: that only JSON's escapes can express
                return json.dumps(self.json).encode()
        if self.text is not None:
            return self.text.encode()
        if self.form is not None:
            return urlencode([tuple(pair) for pair in self.form]).encode()
        if self.multipart is not None:
            return encode_multipart(self.multipart)
        return self.raw or b""

    @property
    def effective_content_type(self) -> str:
        if self.content_type:
            return self.content_type
        if self.form is not None:
            return "application/x-www-form-urlencoded"
        if self.multipart is not None:
            return f"multipart/form-data; boundary={BOUNDARY}"
        return "application/json"

    def get_field(self, name: str) -> str | None:
        """Return the last value of a form field."""
        if self.form is not None:
            return next((value for key, value in reversed(self.form) if key == name), None)
        return next(
            (
                part["value"]
                for part in reversed(self.multipart or [])
                if part["name"] == name and "value" in part
            ),
            None,
        )

    def set_field(self, name: str, value: str | None) -> None:
        """Replace all values of a form field by one, or by none."""
        if self.form is not None:
            self.form = [pair for pair in self.form if pair[0] != name]
            if value is not None:
                self.form.append([name, value])
        elif self.multipart is not None:
            self.multipart = [part for part in self.multipart if part["name"] != name]
            if value is not None:
                self.multipart.append({"name": name, "value": value})
        else:
            raise AssertionError("not a form")

    def copy(self) -> WebhookRequest:
        return copy.deepcopy(self)


def encode_multipart(parts: list[dict[str, Any]]) -> bytes:
    """Encode form fields and files as browsers and providers do: names in raw UTF-8."""
    body = io.BytesIO()
    for part in parts:
        disposition = f'form-data; name="{_quoted(part["name"])}"'
        if "filename" in part:
            disposition += f'; filename="{_quoted(part["filename"])}"'
        lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}"]
        if "content_type" in part:
            lines.append(f"Content-Type: {part['content_type']}")
        body.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        if "base64" in part:
            body.write(base64.b64decode(part["base64"]))
        else:
            body.write(part["text" if "text" in part else "value"].encode())
        body.write(b"\r\n")
    body.write(f"--{BOUNDARY}--\r\n".encode())
    return body.getvalue()


def _quoted(value: str) -> str:
    # https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
    return value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# ---------------------------------------------------------------------------------------------
# Test case
# ---------------------------------------------------------------------------------------------


@dataclass
class ReceivedSignal:
    kind: str
    sender: Any
    event: Any
    esp_name: str


class WebhookTestCase(SimpleTestCase):
    """Makes webhook calls and keeps the signals that follow, in ``self.received``."""

    def setUp(self) -> None:
        super().setUp()
        self.client = Client(enforce_csrf_checks=True)
        self.received: list[ReceivedSignal] = []
        for kind, signal in SIGNALS.items():
            receiver = self._make_receiver(kind)
            signal.connect(receiver, weak=False)
            self.addCleanup(signal.disconnect, receiver)

    def _make_receiver(self, kind: str) -> Any:
        def receiver(sender: Any, event: Any, esp_name: Any, **kwargs: Any) -> None:
            self.received.append(ReceivedSignal(kind, sender, event, esp_name))

        return receiver

    def call(
        self,
        request: WebhookRequest,
        authorization: str | None = MISSING,
        warns: type[Warning] | None = None,
    ) -> Any:
        """Make the call. Basic auth is added, unless ``authorization`` says otherwise.

        Fails if there are other warnings than those of the request and ``warns``.
        """
        headers = dict(request.headers)
        if authorization is MISSING:
            headers.setdefault("Authorization", basic_auth_header())
        elif authorization is not None:
            headers["Authorization"] = authorization
        expected = [getattr(exceptions, name) for name in request.warnings]
        with self.assert_warnings(*expected, *([warns] if warns else [])):
            return self.client.generic(
                "POST",
                request.path,
                data=request.body,
                content_type=request.effective_content_type,
                headers=headers,
            )

    @contextmanager
    def assert_warnings(self, *expected: type[Warning]) -> Iterator[list[Any]]:
        """Check that exactly these warnings are issued; ``with`` gives the list of them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
        self.assertCountEqual([warning.category for warning in caught], expected)

    def assert_no_signals(self) -> None:
        self.assertEqual(self.received, [], "There was a signal")

    @contextmanager
    def anymail_settings(self, **settings: Any) -> Iterator[None]:
        with override_settings(ANYMAIL=settings):
            yield

    # -- What every event promises ------------------------------------------------------------

    def assert_event_contract(self, event: Any, kind: str) -> None:
        """Check that all fields are of the types that Anymail's documentation promises."""
        event_class = AnymailTrackingEvent if kind == "tracking" else AnymailInboundEvent
        self.assertIsInstance(event, event_class)
        self.assertIs(type(event.event_type), str)
        self.assertIn(event.event_type, _constants(EventType))
        self._assert_str(event, "event_id")
        if event.timestamp is not None:
            self.assertIsInstance(event.timestamp, datetime)
            self.assertIsNotNone(event.timestamp.utcoffset(), "timestamp is naive")
        self.assertIsNotNone(event.esp_event, "esp_event is missing")
        if kind == "tracking":
            self._assert_tracking_contract(event)
        else:
            self._assert_inbound_contract(event)

    def _assert_tracking_contract(self, event: Any) -> None:
        esp_names = {received.esp_name for received in self.received if received.event is event}
        id_type = int if esp_names == {"Postal"} else str
        self.assertIn(type(event.message_id), (id_type, type(None)), "message_id")
        for name in (
            "recipient",
            "reject_reason",
            "description",
            "mta_response",
            "click_url",
            "user_agent",
        ):
            self._assert_str(event, name)
        if event.reject_reason is not None:
            self.assertIn(event.reject_reason, _constants(RejectReason))
        self._assert_addr_spec(event, "recipient")
        self.assertIsInstance(event.tags, list)
        for tag in event.tags:
            self.assertIs(type(tag), str, f"tags: {event.tags!r}")
        self.assertIsInstance(event.metadata, dict)
        for key in event.metadata:
            self.assertIsInstance(key, str, f"metadata: {event.metadata!r}")

    def _assert_inbound_contract(self, event: Any) -> None:
        from anymail.inbound import AnymailInboundMessage

        message = event.message
        self.assertIsInstance(message, AnymailInboundMessage)
        for name in ("envelope_sender", "envelope_recipient", "stripped_text", "stripped_html"):
            self._assert_str(message, name)
        self._assert_addr_spec(message, "envelope_sender")
        self._assert_addr_spec(message, "envelope_recipient")
        self.assertIn(type(message.spam_detected), (bool, type(None)), "spam_detected")
        self.assertIn(type(message.spam_score), (float, type(None)), "spam_score")
        for name in ("text", "html"):
            self.assertNotIn("\r", getattr(message, name) or "", f"line endings in {name}")
        # Whatever the message is like, receivers can look at it.
        for name in ("from_email", "to", "cc", "bcc", "subject", "date", "attachments", "inlines"):
            getattr(message, name)
        for part in (*message.attachments, *message.inlines):
            part.get_content_bytes()

    def _assert_str(self, obj: Any, name: str) -> None:
        self.assertIn(type(getattr(obj, name)), (str, type(None)), name)

    def _assert_addr_spec(self, obj: Any, name: str) -> None:
        value = getattr(obj, name)
        if not value:
            self.assertIsNone(value, f"{name} is empty")
            return
        try:
            self.assertEqual(value, parse_single_address(value).addr_spec, f"{name} has a name")
        except AnymailInvalidAddress:
            # Bad addresses are why some mail bounces.
            self.assertNotRegex(value, "[<>]", f"{name} is not an addr-spec")


def _constants(cls: type) -> set[str]:
    return {value for name, value in vars(cls).items() if name.isupper()}


class Queue(Engine):
    """Keeps jobs for a test that is the worker."""

    may_hang = False
    jobs: list[tuple[str, datetime | None]] = []
    error: Exception | None = None
    """What it raises in place of taking a job."""

    def enqueue_webhook(self, job: str, *, queue: str | None, at: datetime | None) -> None:
        if self.error is not None:
            raise self.error
        self.jobs.append((job, at))


# ---------------------------------------------------------------------------------------------
# Fixture pairs
# ---------------------------------------------------------------------------------------------

EXPECTED_SUFFIX = ".expected.json"

REQUEST_KEYS = {
    "doc",
    "content_type",
    "headers",
    "json",
    "text",
    "base64",
    "form",
    "multipart",
    "path",
    "args",
    "settings",
    "sign",
    "downloads",
    "kind_is_clear",
}
BODY_KEYS = {"json", "text", "base64", "form", "multipart"}
EXPECTED_KEYS = {"status", "events", "exception"}

EVENT_DEFAULTS: dict[str, dict[str, Any]] = {
    "tracking": {
        "timestamp": None,
        "event_id": None,
        "message_id": None,
        "recipient": None,
        "reject_reason": None,
        "description": None,
        "mta_response": None,
        "tags": [],
        "metadata": {},
        "click_url": None,
        "user_agent": None,
    },
    "inbound": {"timestamp": None, "event_id": None, "message": None},
}

MESSAGE_DEFAULTS: dict[str, Any] = {
    "from_email": None,
    "to": [],
    "cc": [],
    "bcc": [],
    "subject": None,
    "date": None,
    "text": None,
    "html": None,
    "headers": {},
    "envelope_sender": None,
    "envelope_recipient": None,
    "stripped_text": None,
    "stripped_html": None,
    "spam_detected": None,
    "spam_score": None,
    "attachments": [],
    "inlines": [],
}

PART_DEFAULTS = {"filename": None, "content_type": None, "content_id": None}
CONTENT_KEYS = {"text", "base64", "sha256"}


@dataclass(frozen=True)
class Fixture:
    """A pair of files: ``tests/fixtures/<esp>/<kind>/<name>.json`` and ``.expected.json``."""

    esp: str
    kind: str
    name: str

    @property
    def path(self) -> Path:
        return FIXTURES / self.esp / self.kind / f"{self.name}.json"

    @property
    def expected_path(self) -> Path:
        return self.path.with_name(self.name + EXPECTED_SUFFIX)

    def load(self) -> dict[str, Any]:
        return self._load(self.path, REQUEST_KEYS)

    def load_expected(self) -> dict[str, Any]:
        return self._load(self.expected_path, EXPECTED_KEYS)

    def _load(self, path: Path, allowed_keys: set[str]) -> dict[str, Any]:
        data = json.loads(path.read_text(encoding="utf-8"))
        unknown = set(data) - allowed_keys
        if unknown:
            raise AssertionError(f"{path.name}: unknown keys {sorted(unknown)}")
        expanded: dict[str, Any] = expand(data, path.parent)
        return expanded

    def request(self, case: WebhookCase, *, sign: bool = True) -> WebhookRequest:
        """Return the call that the fixture describes, signed unless it says otherwise."""
        data = self.load()
        bodies = BODY_KEYS & set(data)
        if len(bodies) != 1:
            raise AssertionError(f"{self.path.name}: needs exactly one of {sorted(BODY_KEYS)}")
        view = case.view(self.kind)
        request = WebhookRequest(
            kind=self.kind,
            path=data.get("path") or reverse(view.url_name, args=data.get("args")),
            content_type=data.get("content_type"),
            headers=data.get("headers", {}),
            json=data.get("json"),
            text="null" if "json" in data and data["json"] is None else data.get("text"),
            form=data.get("form"),
            multipart=data.get("multipart"),
            raw=base64.b64decode(data["base64"]) if "base64" in data else None,
            warnings=view.warnings,
            downloads=data.get("downloads", []),
        )
        if sign and data.get("sign", True) and case.sign is not None and view.signature != "none":
            case.sign(request)
        return request


def find_fixtures(esp: str | None = None, kind: str | None = None) -> list[Fixture]:
    """Return the fixtures, also those of which one file is missing."""
    found = set()
    for path in FIXTURES.glob(f"{esp or '*'}/{kind or '*'}/*.json"):
        name = path.name.removesuffix(EXPECTED_SUFFIX).removesuffix(".json")
        found.add((path.parent.parent.name, path.parent.name, name))
    return [Fixture(*item) for item in sorted(found)]


def expand(value: Any, directory: Path) -> Any:
    """Replace ``{"$lines": [...]}`` and the other abbreviations that README.rst lists."""
    if isinstance(value, list):
        return [expand(item, directory) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(key, argument)] = value.items()
        if key == "$lines":
            return "\n".join(argument)
        if key == "$crlf_lines":
            return "\r\n".join(argument)
        if key == "$json":
            return json.dumps(expand(argument, directory))
        if key == "$file":
            return (directory / argument).read_bytes().decode()
        if key == "$file_base64":
            return base64.b64encode((directory / argument).read_bytes()).decode()
    return {key: expand(item, directory) for key, item in value.items()}


class FixtureTestCase(WebhookTestCase):
    """Checks fixture pairs."""

    maxDiff = None

    def check_fixture(self, case: WebhookCase, fixture: Fixture) -> None:
        for path in (fixture.path, fixture.expected_path):
            self.assertTrue(path.is_file(), f"{path.name} is missing")
        data = fixture.load()
        expected = fixture.load_expected()
        self.assertTrue(data.get("doc"), f'{fixture.path.name} needs "doc": the URL of its source')
        view = case.view(fixture.kind)
        request = fixture.request(case)

        anymail_settings = {
            "WEBHOOK_SECRET": BASIC_AUTH,
            **case.needed_settings,
            **case.settings,
            **data.get("settings", {}),
        }
        with ExitStack() as stack:
            stack.enter_context(self.anymail_settings(**anymail_settings))
            stack.enter_context(simulated_downloads(data.get("downloads", [])))
            if "exception" in expected:
                self._check_exception(request, expected["exception"])
            else:
                response = self.call(request)
                self.assertEqual(response.status_code, expected.get("status", 200))
        self.assertEqual(
            [self._signal_parts(received) for received in self.received],
            [(fixture.kind, view.view, case.esp_name)] * len(expected.get("events", [])),
        )
        for received, expected_event in zip(self.received, expected.get("events", []), strict=True):
            self.assert_event_contract(received.event, fixture.kind)
            self._check_event(fixture, request, received.event, expected_event)
        if expected.get("events"):
            with self.anymail_settings(**anymail_settings):
                self._check_converter(fixture, request, expected["events"])

    def _check_converter(
        self, fixture: Fixture, call: WebhookRequest, expected: list[dict[str, Any]]
    ) -> None:
        """What is decoded needs neither the request nor the process to be converted.

        (Views of other packages can do both in parse_events.)
        """
        view_function = loaded_view(resolve(call.path).func)
        view_class = getattr(view_function, "view_class", AnymailCoreWebhookView)
        if view_class.decode is AnymailCoreWebhookView.decode:
            return
        with self.assert_warnings(*(getattr(exceptions, name) for name in call.warnings)):
            view = view_class(**view_function.view_initkwargs)
        request = RequestFactory().generic(
            "POST",
            call.path,
            call.body,
            content_type=call.effective_content_type,
            headers=call.headers,
        )
        decoded = pickle.dumps(list(view.decode(request)))
        request.close()
        with simulated_downloads(call.downloads):
            events = [event for item in pickle.loads(decoded) for event in view.convert(item)]
        for event, expected_event in zip(events, expected, strict=True):
            if expected_event.get("esp_event") == "request":
                self.assertIsInstance(event.esp_event, Form)
                event.esp_event = request
            self._check_event(fixture, call, event, expected_event)

    def _signal_parts(self, received: ReceivedSignal) -> tuple[str, str, str]:
        sender = received.sender
        return received.kind, f"{sender.__module__}.{sender.__qualname__}", received.esp_name

    def _check_exception(self, request: WebhookRequest, expected: dict[str, Any]) -> None:
        name = expected["class"]
        error_class = import_string(name) if "." in name else getattr(exceptions, name)
        with self.assertRaises(error_class) as caught:
            self.call(request)
        for text in expected["contains"]:
            self.assertIn(text, str(caught.exception))

    def _check_event(
        self, fixture: Fixture, request: WebhookRequest, event: Any, expected: dict[str, Any]
    ) -> None:
        expected = {"event_type": "inbound", **expected} if fixture.kind == "inbound" else expected
        esp_event = expected.pop("esp_event", None)
        if esp_event is not None:
            self._check_esp_event(request, event.esp_event, esp_event)

        defaults = EVENT_DEFAULTS[fixture.kind]
        self.assertLessEqual(set(expected), {"event_type", *defaults}, "unknown fields")
        wanted = {**defaults, **expected}
        wanted["timestamp"] = _utc(wanted["timestamp"])
        actual = {name: getattr(event, name) for name in wanted}
        actual["timestamp"] = _utc(actual["timestamp"])
        if fixture.kind == "inbound":
            message = actual["message"]
            if message is not None and wanted["message"] is not None:
                wanted["message"] = self._complete_message(wanted["message"])
                actual["message"] = self._describe_message(message, wanted["message"])
        self.assertEqual(actual, wanted)

    def _check_esp_event(self, request: WebhookRequest, actual: Any, expected: Any) -> None:
        if expected == "request":
            self.assertIsInstance(actual, HttpRequest)
        elif expected == "form":
            self.assertIsInstance(actual, QueryDict)
            wanted = QueryDict(mutable=True)
            for name, value in request.form or []:
                wanted.appendlist(name, value)
            for part in request.multipart or []:
                if "value" in part:
                    wanted.appendlist(part["name"], part["value"])
            self.assertEqual(actual, wanted)
        else:
            part: Any = json.loads(request.body) if request.form is None else dict(request.form)
            for key in [] if expected == "whole" else expected:
                part = json.loads(part)[key] if isinstance(part, str) else part[key]
            self.assertEqual(actual, json.loads(part) if isinstance(part, str) else part)

    def _complete_message(self, expected: dict[str, Any]) -> dict[str, Any]:
        self.assertLessEqual(set(expected), set(MESSAGE_DEFAULTS), "unknown message fields")
        wanted = {**MESSAGE_DEFAULTS, **expected}
        wanted["date"] = _utc(wanted["date"])
        for name in ("attachments", "inlines"):
            for part in wanted[name]:
                self.assertLessEqual(set(part), {*PART_DEFAULTS, *CONTENT_KEYS}, "unknown fields")
                self.assertEqual(
                    len(CONTENT_KEYS & set(part)), 1, f"needs one of {sorted(CONTENT_KEYS)}"
                )
            wanted[name] = [{**PART_DEFAULTS, **part} for part in wanted[name]]
        return wanted

    def _describe_message(self, message: Any, wanted: dict[str, Any]) -> dict[str, Any]:
        from_email = message.from_email
        described = {
            "from_email": list(map(str, from_email))
            if isinstance(from_email, list)
            else from_email and str(from_email),
            "subject": message.subject and str(message.subject),
            "date": _utc(message.date),
            "headers": {
                name: self._describe_header(message, name, value)
                for name, value in wanted["headers"].items()
            },
        }
        for name in ("to", "cc", "bcc"):
            described[name] = list(map(str, getattr(message, name)))
        for name in ("attachments", "inlines"):
            described[name] = self._describe_parts(getattr(message, name), wanted[name])
        for name in set(MESSAGE_DEFAULTS) - set(described):
            described[name] = getattr(message, name)
        return described

    def _describe_header(self, message: Any, name: str, wanted: Any) -> Any:
        values = [str(value) for value in message.get_all(name, [])]
        if isinstance(wanted, list) or len(values) > 1:
            return values
        return values[0] if values else None

    def _describe_parts(
        self, parts: list[Any], wanted: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        described = []
        for i, part in enumerate(parts):
            content_keys = CONTENT_KEYS & set(wanted[i]) if i < len(wanted) else {"base64"}
            content_id = part["Content-ID"]
            description = {
                "filename": part.get_filename(),
                "content_type": part.get_content_type(),
                "content_id": content_id and str(content_id),
            }
            for key in content_keys:
                description[key] = _content(part, key)
            described.append(description)
        return described


def _content(part: Any, form: str) -> str:
    if form == "text":
        text: str = part.get_content_text()
        return text
    data = part.get_content_bytes()
    if form == "sha256":
        return hashlib.sha256(data).hexdigest()
    return base64.b64encode(data).decode()


def _utc(value: Any) -> str | None:
    """Return a datetime, or the ISO 8601 text of one, as comparable text."""
    if isinstance(value, str):
        parsed = parse_datetime(value)
        assert parsed is not None, f"not an ISO 8601 time: {value!r}"
        value = parsed
    if value is None:
        return None
    if value.tzinfo is None:
        return f"{value.isoformat()} (naive)"
    return str(value.astimezone(timezone.utc).isoformat())


@contextmanager
def simulated_downloads(downloads: list[dict[str, Any]], required: bool = True) -> Iterator[None]:
    """Answer the HTTP requests made by the webhook from a list; fail on others.

    And if ``required``, fail if some are not made. Otherwise all others are answered with 404.
    """
    remaining = [dict(download) for download in downloads]

    def send(adapter: Any, request: Any, **kwargs: Any) -> requests.Response:
        for download in remaining:
            if (download.get("method", "GET"), download["url"]) == (request.method, request.url):
                remaining.remove(download)
                return _download_response(download, request)
        if not required:
            return _download_response({"status": 404}, request)
        raise AssertionError(f"Unexpected {request.method} {request.url}")

    with patch("requests.adapters.HTTPAdapter.send", send):
        yield
    if required and remaining:
        raise AssertionError(f"Not requested: {[download['url'] for download in remaining]}")


def _download_response(download: dict[str, Any], request: Any) -> requests.Response:
    from urllib3 import HTTPResponse

    content_type = download.get("content_type", "application/octet-stream")
    if "json" in download:
        body = json.dumps(download["json"]).encode()
        content_type = download.get("content_type", "application/json")
    elif "base64" in download:
        body = base64.b64decode(download["base64"])
    else:
        body = download.get("text", "").encode()
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        **download.get("headers", {}),
    }
    raw = HTTPResponse(
        body=io.BytesIO(body),
        status=download.get("status", 200),
        headers=headers,
        preload_content=False,
    )
    return requests.adapters.HTTPAdapter().build_response(request, raw)
