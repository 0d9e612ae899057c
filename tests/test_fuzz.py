"""Random calls: whatever a webhook gets, it's an event, or an answer that says what's wrong.

The calls are those of the fixture pairs, changed at random, and signed again so that what is
behind the signature gets them. A few for each view by default, and always the same. With the
number in the environment variable ANYMAIL_FUZZ_EXAMPLES, it's that many for all the views, and
as many each for received messages and addresses::

    ANYMAIL_FUZZ_EXAMPLES=20000 python runtests.py tests.test_fuzz
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http.multipartparser import MultiPartParserError
from django.test import RequestFactory, SimpleTestCase, override_settings, tag
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anymail.addresses import parse_address_list, parse_single_address
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInboundLimitExceeded,
    AnymailInvalidAddress,
)
from anymail.inbound import AnymailInboundMessage

from .junk import JUNK
from .utils import FIXTURES, skip_without
from .webhooks.cases import CASES
from .webhooks.cases.base import WebhookCase, WebhookView
from .webhooks.harness import (
    BASIC_AUTH,
    WebhookRequest,
    WebhookTestCase,
    basic_auth_header,
    find_fixtures,
    simulated_downloads,
)

EXAMPLES = int(os.environ.get("ANYMAIL_FUZZ_EXAMPLES", "0"))
SHOW_OUTCOMES = EXAMPLES > 0
VIEWS = [(case, view) for case in CASES.values() for view in case.views]


def fuzz(default: int, share: int = 1) -> settings:
    return settings(
        max_examples=-(-EXAMPLES // share) or default,  # rounded up
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# ---------------------------------------------------------------------------------------------
# Changes
# ---------------------------------------------------------------------------------------------

WORDS = [
    *("", "0", "-1", "1e999", "NaN", "null", "{}", "[]", '{"a": 1}', "[[1]]", '"', "\\", "\0"),
    *("\r\n", "\n\n", "@", "a@b", "<>", "<a@b>", '"a" <a@b>', "=?utf-8?q?=00?=", "=?x?b?=", "é"),
    *("\u2028", "\U0001f600", "\ufeff", "%00", "%ff", "1" * 400, "x" * 5000, "(" * 300, "," * 300),
    *("2026-13-45T99:99:99Z", "99999999999999999999", "9" * 5000, "Thu, 99 Foo 99999 99:99:99"),
    *("multipart/mixed; boundary=a", "message/rfc822", "text/plain; charset=idna", "a/../b"),
    *("https://example.com/", "http://[", "//", "file:///etc/passwd", "UTF-7", "base64", "====="),
]
BYTES = [word.encode("utf-8", "surrogatepass") for word in WORDS]
BYTES += [b"\xff\xfe", b"\xed\xa0\x80", b"\x80", b"[" * 300, b'{"a":' * 200, b"--", b"\r\n\r\n"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
)
json_values = st.sampled_from(JUNK) | st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def changed_json(draw: Any, data: Any) -> Any:
    """Return JSON data with one thing in it changed, added, moved or taken away."""
    if isinstance(data, dict) and data and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(data)))
        change = draw(st.integers(0, 9))
        if change == 0:
            return {k: v for k, v in data.items() if k != key}
        if change == 1:
            return {**data, draw(st.text(max_size=5)): data[key]}
        if change == 2:
            return {**data, key: data[draw(st.sampled_from(sorted(data)))]}
        return {**data, key: changed_json(draw, data[key])}
    if isinstance(data, list) and data and draw(st.integers(0, 9)):
        i = draw(st.integers(0, len(data) - 1))
        change = draw(st.integers(0, 9))
        if change == 0:
            return [*data[:i], *data[i + 1 :]]
        if change == 1:
            return [*data, data[i]]
        return [*data[:i], changed_json(draw, data[i]), *data[i + 1 :]]
    change = draw(st.integers(0, 5))
    if isinstance(data, str) and change:
        return changed_text(draw, data)
    if change == 1:
        return [data]
    if change == 2:
        return {draw(st.sampled_from(WORDS)): data}
    return draw(json_values)


def changed_text(draw: Any, text: str) -> str:
    """Return text with something in it changed. If it's JSON, that is in the JSON."""
    if text[:1] in ("{", "[") and draw(st.integers(0, 9)):
        with suppress(ValueError, RecursionError):
            return json.dumps(changed_json(draw, json.loads(text)))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + draw(st.sampled_from([0, 1, 9, 5000])))))
    middle = draw(st.sampled_from([*WORDS, text[start:end] * 2]) | st.text(max_size=5))
    return text[:start] + middle + text[end:]


def changed_bytes(draw: Any, data: bytes) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([0, 1, 9, 5000])))))
    middle = draw(st.sampled_from([*BYTES, data[start:end] * 2]) | st.binary(max_size=5))
    return data[:start] + middle + data[end:]


def change_parts(draw: Any, parts: list[Any]) -> None:
    """Change something in a form's fields."""
    i = draw(st.integers(0, len(parts) - 1))
    change = draw(st.integers(0, 9))
    if change == 0:
        del parts[i]
    elif change == 1:
        parts.insert(draw(st.integers(0, len(parts))), parts[i])
    elif isinstance(parts[i], list):
        which = 0 if change == 2 else 1
        parts[i] = [*parts[i]]
        parts[i][which] = changed_text(draw, parts[i][which])
    else:
        keys = [key for key in parts[i] if key != "base64"]
        keys += ["value"] * 5 * ("value" in keys)  # They are more interesting than their names.
        key = draw(st.sampled_from(keys))
        parts[i] = {**parts[i], key: changed_text(draw, parts[i][key])}
        if key == "content_type":  # A line break there would only break the form.
            parts[i][key] = parts[i][key].replace("\r", "").replace("\n", "")
        if change == 3 and "value" in parts[i]:
            parts[i]["filename"] = "a.txt"


def change_structure(draw: Any, request: WebhookRequest) -> None:
    """Change something in what a call means."""
    if request.json is not None:
        request.json = changed_json(draw, request.json)
        if request.json is None:
            request.text = "null"
    elif request.text is not None:
        lines = request.text.split("\n")
        i = draw(st.integers(0, len(lines) - 1))
        lines[i] = changed_text(draw, lines[i])
        request.text = "\n".join(lines)
    elif request.form or request.multipart:
        change_parts(draw, request.form or request.multipart or [])
    elif request.raw is not None:
        request.raw = changed_bytes(draw, request.raw)


def change_headers(draw: Any, request: WebhookRequest) -> None:
    names = [*request.headers, "Content-Type"]
    name = draw(st.sampled_from(names))
    value = draw(st.sampled_from([word for word in WORDS if word.isprintable()]))
    if name == "Content-Type":
        types = ["application/json", "text/plain", "multipart/form-data", value]
        types += ["application/x-www-form-urlencoded; charset=utf-16", "application/json; charset="]
        request.content_type = draw(st.sampled_from(types))
    else:
        request.headers[name] = value


# ---------------------------------------------------------------------------------------------
# Webhooks
# ---------------------------------------------------------------------------------------------

BAD_REQUEST = (SuspiciousOperation, BadRequest, MultiPartParserError)
"""What Django answers with a 400."""


@tag("exhaustive")
class WebhookFuzz(WebhookTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    case: ClassVar[WebhookCase]
    view: ClassVar[WebhookView]

    def setUp(self) -> None:
        super().setUp()
        self.factory = RequestFactory()
        self.outcomes: Counter[str] = Counter()
        stack = ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        self.view_function = import_string(self.view.view).as_view()
        if importlib.util.find_spec("boto3"):
            no_aws = patch("boto3.session.Session.client", side_effect=AnymailAPIError("no AWS"))
            stack.enter_context(no_aws)
        self.samples = []
        for fixture in find_fixtures(self.case.esp, self.view.kind):
            data = fixture.load()
            request = fixture.request(self.case, sign=False)
            self.samples.append((fixture.name, data.get("settings", {}), request))

    def sign(self, request: WebhookRequest) -> None:
        """Sign a call, if it's still something that can be signed."""
        if self.case.sign is not None and self.view.signature != "none":
            with suppress(AssertionError, AttributeError, LookupError, TypeError, ValueError):
                self.case.sign(request)

    def call(self, request: WebhookRequest, credentials: str) -> str:  # type: ignore[override]
        """Make a call, and return what comes of it. Fails if that is not one of what's allowed."""
        headers = {
            name: "".join(filter(str.isprintable, value)) for name, value in request.headers.items()
        }
        http_request = self.factory.generic(
            "POST",
            request.path,
            data=request.body,
            content_type=request.effective_content_type,
            headers={**headers, "Authorization": basic_auth_header(credentials)},
        )
        self.received.clear()
        try:
            with simulated_downloads(request.downloads, required=False):
                response = self.view_function(http_request)
        except (*BAD_REQUEST, AnymailConfigurationError, AnymailAPIError) as error:
            # The last is for what can't be had from the provider now: it has to try again.
            self.assert_no_signals()
            str(error).encode()
            repr(error).encode()
            return type(error).__name__
        except ValueError as error:
            # Mailtrap's inbound events that are not known yet: it has to try again.
            if "Unknown type of Mailtrap inbound event" not in str(error):
                raise
            self.assert_no_signals()
            return "unknown Mailtrap event"
        self.assertIn(response.status_code, (200, 401, 403))
        if response.status_code != 200:
            self.assert_no_signals()
        for received in self.received:
            # Some URLs are for both kinds.
            self.assert_event_contract(received.event, received.kind)
        return f"{response.status_code}, {'with' if self.received else 'without'} events"

    def _assert_addr_spec(self, obj: Any, name: str) -> None:
        # What can't be parsed as an address is kept as it is, and here that can be anything.
        value = getattr(obj, name)
        with suppress(AnymailInvalidAddress):
            if value is not None:
                self.assertEqual(value, parse_single_address(value).addr_spec, name)

    def check(self, draw: Any) -> None:
        _name, own_settings, original = draw(st.sampled_from(self.samples))
        request = original.copy()
        self.sign(request)
        for _ in range(draw(st.integers(1, 3))):
            change_structure(draw, request)
        if not draw(st.integers(0, 9)):
            change_headers(draw, request)
        sign_again = bool(draw(st.integers(0, 9)))
        if sign_again:
            self.sign(request)
        if not draw(st.integers(0, 3)):
            body, content_type = request.body, request.effective_content_type
            request.json = request.text = request.form = request.multipart = None
            request.raw = changed_bytes(draw, body)
            request.content_type = content_type
            if sign_again and self.case.signs_any_body:
                self.sign(request)
        with override_settings(
            ANYMAIL={
                "WEBHOOK_SECRET": BASIC_AUTH,
                **self.case.needed_settings,
                **self.case.settings,
                **own_settings,
            }
        ):
            self.outcomes[self.call(request, BASIC_AUTH)] += 1
            outcome = self.call(request, "other:password")
            self.assert_no_signals()
            self.assertNotIn("200", outcome)
            later = ("AnymailConfigurationError", "AnymailAPIError", "unknown Mailtrap event")
            self.assertNotIn(outcome, later)

    def test_changed_calls(self):
        @fuzz(default=12, share=len(VIEWS))
        @given(st.data())
        def test(data: Any) -> None:
            self.check(data.draw)

        test()
        if SHOW_OUTCOMES:
            print(f"\n{self.case.esp} {self.view.kind}: {dict(self.outcomes.most_common())}")


def _make_test_case(case: WebhookCase, view: WebhookView) -> type[WebhookTestCase]:
    name = "".join(map(str.capitalize, (*case.esp.split("_"), view.kind))) + "Tests"
    attrs: dict[str, Any] = {"case": case, "view": view, "__module__": __name__}
    return skip_without(*case.packages)(type(name, (WebhookFuzz, WebhookTestCase), attrs))


for _case, _view in VIEWS:
    _test_case = _make_test_case(_case, _view)
    globals()[_test_case.__name__] = _test_case
del _test_case


# ---------------------------------------------------------------------------------------------
# Messages and addresses
# ---------------------------------------------------------------------------------------------

MESSAGES = [path.read_bytes() for path in sorted(FIXTURES.glob("inbound/*.eml"))]
ADDRESSES = [
    "ann@example.com",
    "Ann <ann@example.com>, bob@example.com",
    '"Example, \\"Ann\\"" <"a b"@example.com>',
    "=?utf-8?b?w6k=?= (comment) <ann@[192.0.2.1]>",
    "group: ann@example.com, bob@example.com;, <é@bücher.example>",
]


@tag("exhaustive")
class MessageTests(SimpleTestCase):
    @fuzz(default=150)
    @given(st.data())
    def test_received_messages(self, data):
        raw = data.draw(st.sampled_from(MESSAGES))
        for _ in range(data.draw(st.integers(1, 4))):
            raw = changed_bytes(data.draw, raw)
        try:
            message = AnymailInboundMessage.parse_raw_mime_bytes(raw)
        except AnymailInboundLimitExceeded:
            return
        for part in message.walk():
            part.subject, part.date, part.from_email, part.to, part.cc  # noqa: B018
            for name in part:
                str(part[name]).encode("utf-8", "surrogateescape")
            if part.get_content_maintype() != "multipart":
                part.get_content_bytes()
                (part.get_content_text() or "").encode()
            file = part.as_uploaded_file()
            if file is not None:
                self.assertNotIn("/", file.name)
                file.name.encode()
        for text in (message.text, message.html):
            self.assertNotIn("\r", text or "")
        message.content_id_map, message.attachments, message.inlines  # noqa: B018
        message.as_bytes()
        message.as_string().encode()


@tag("exhaustive")
class AddressTests(SimpleTestCase):
    @fuzz(default=300)
    @given(st.data())
    def test_addresses(self, data):
        text = data.draw(st.sampled_from(ADDRESSES) | st.text(max_size=20))
        for _ in range(data.draw(st.integers(0, 3))):
            text = changed_text(data.draw, text)
        try:
            addresses = parse_address_list([text])
        except AnymailInvalidAddress as error:
            str(error).encode("utf-8", "backslashreplace")
            return
        for address in addresses:
            # What was understood is understood the same again.
            with suppress(UnicodeError):  # domains that can't be encoded
                again = parse_single_address(str(address))
                self.assertEqual(again.addr_spec, address.addr_spec)
