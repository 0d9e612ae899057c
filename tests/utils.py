"""Helpers for tests: sending through a backend with or without a network, and test content."""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import skipIf
from unittest.mock import patch

import django
import requests
from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings
from django.utils.module_loading import import_string

import anymail

FIXTURES = Path(__file__).parent / "fixtures"
PACKAGE = Path(anymail.__file__).parent

T = TypeVar("T")

# The smallest PNG: one transparent pixel.
SAMPLE_IMAGE = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
    b"\x1f\x15\xc4\x89\x00\x00\x00\rIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00"
    b"\x00\x00IEND\xaeB`\x82"
)


def skip_without(*packages: str) -> Callable[[T], T]:
    """Return a decorator that skips tests if one of the optional packages is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return skipIf(missing, f"needs optional packages: {', '.join(missing)}")


def use_backend(backend: str, **settings: Any) -> override_settings:
    """Return override_settings (decorator or context) to send through ``backend``.

    In the way that doesn't make this version of Django warn. Other settings can be added.
    """
    if django.VERSION >= (6, 1):
        return override_settings(MAILERS={"default": {"BACKEND": backend}}, **settings)
    return override_settings(EMAIL_BACKEND=backend, **settings)


def make_response(
    status: int = 200,
    *,
    json_data: Any = None,
    body: bytes = b"",
    content_type: str | None = None,
    reason: str | None = None,
    url: str = "https://api.example.test/called",
) -> requests.Response:
    """Return a requests.Response, with a JSON body if json_data is given."""
    response = requests.Response()
    response.status_code = status
    response.reason = reason or requests.status_codes._codes.get(status, ("unknown",))[0]
    if json_data is not None:
        body = json.dumps(json_data).encode()
        content_type = content_type or "application/json"
    if content_type:
        response.headers["Content-Type"] = content_type
    response.encoding = "utf-8"
    response._content = body
    response.url = url
    return response


class ApiTestCase(SimpleTestCase):
    """Sends messages with the network replaced: ``requests.Session.request`` is a mock.

    Subclasses set ``backend`` and ``settings``, and ``api_response``: either JSON data or a
    requests.Response. Tests can assign it again. A list of responses is used one by one.
    """

    backend: str
    settings: dict[str, Any] = {}
    api_response: Any = {}

    def setUp(self) -> None:
        super().setUp()
        override = use_backend(self.backend, ANYMAIL=dict(self.settings))
        override.enable()
        self.addCleanup(override.disable)
        patcher = patch("requests.Session.request", autospec=True, side_effect=self._respond)
        self.mock_request = patcher.start()
        self.addCleanup(patcher.stop)

    def _respond(self, session: requests.Session, **kwargs: Any) -> requests.Response:
        response = self.api_response
        if isinstance(response, list) and response and isinstance(response[0], requests.Response):
            response = response.pop(0)
        if isinstance(response, Exception):
            raise response
        if not isinstance(response, requests.Response):
            response = make_response(json_data=response)
        return response

    # -- What was sent ------------------------------------------------------------------------

    @property
    def api_call(self) -> dict[str, Any]:
        """The keyword arguments of the last call of requests.Session.request."""
        if not self.mock_request.called:
            self.fail("The API was not called")
        return dict(self.mock_request.call_args.kwargs)

    @property
    def api_json(self) -> Any:
        """The JSON body of the last API call."""
        return json.loads(self.api_call["data"])

    @property
    def api_data(self) -> dict[str, Any]:
        """The form data of the last API call."""
        return dict(self.api_call["data"])

    def assert_api_called(self, url: str, method: str = "POST") -> None:
        self.assertEqual((self.api_call["method"], self.api_call["url"]), (method, url))

    def assert_api_not_called(self) -> None:
        self.assertFalse(self.mock_request.called, "The API was called")

    # -- Sending ------------------------------------------------------------------------------

    def make_backend(self, **options: Any) -> Any:
        """Return an instance of the backend, options as in MAILERS."""
        return import_string(self.backend)(**options)

    def send(self, message: EmailMessage, **options: Any) -> Any:
        """Send through a backend with options. Returns the message's anymail_status."""
        with self.make_backend(**options) as connection:
            connection.send_messages([message])
        return message.anymail_status  # type: ignore[attr-defined]


def make_message(**kwargs: Any) -> Any:
    """Return an AnymailMessage with everything that every message needs."""
    from anymail.message import AnymailMessage

    return AnymailMessage(
        **{
            "subject": "Subject",
            "body": "Text body",
            "from_email": "from@example.com",
            "to": ["to@example.com"],
            **kwargs,
        }
    )


def imports_of(path: Path) -> set[str]:
    """Return the absolute names of all that a module imports, at any place in it."""
    package = ["anymail", *path.relative_to(PACKAGE).parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names
