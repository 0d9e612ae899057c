"""A Django project for the benchmarks, and email backends whose network is replaced."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import django
from django.conf import settings

SETTINGS = {
    "ALLOWED_HOSTS": ["*"],
    "ANYMAIL": {"POSTMARK_SERVER_TOKEN": "token", "SENDGRID_API_KEY": "key"},
    "INSTALLED_APPS": ["anymail"],
    "SECRET_KEY": "for benchmarks only",
    "USE_TZ": True,
}


def set_up() -> None:
    """Make the project this process's own. Can be called again."""
    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()


def offline_backend(name: str, answer: Any, status_code: int = 200) -> Any:
    """Return an open email backend that gets the answer (JSON data, or None) to each call."""
    set_up()
    import requests

    response = requests.Response()
    response.status_code = status_code
    response.encoding = "utf-8"
    response._content = b"" if answer is None else json.dumps(answer).encode()
    backend: Any = import_module(f"anymail.backends.{name}").EmailBackend()
    backend.open()
    backend.session.request = lambda **params: response
    return backend


def offline_postmark(to: str = "to@example.com") -> Any:
    return offline_backend(
        "postmark",
        {
            "To": to,
            "SubmittedAt": "2031-05-06T07:08:09.1234567-04:00",
            "MessageID": "b7bc2f4a-e38e-4336-af7d-e6c392c2f817",
            "ErrorCode": 0,
            "Message": "OK",
        },
    )


def offline_sendgrid() -> Any:
    return offline_backend("sendgrid", None, status_code=202)
