"""The provider's call for a message that went through a queue is that for one sent directly."""

from __future__ import annotations

import base64
import os
import re
from email import message_from_bytes, policy
from types import SimpleNamespace
from typing import Any

from django.test import tag

from anymail.providers import PROVIDERS
from anymail.sandbox import ApiRequest

from ...backends.harness import ApiCall
from ...golden.messages import MESSAGES
from ...golden.requests import http_call, mime_parts
from ...utils import skip_without
from .cases import CeleryTestCase

# Of the time at which a request is made
VARYING_HEADERS = {"authorization", "x-amz-date", "amz-sdk-invocation-id"}

# The job's own key, where the message has none: headers and JSON fields of providers
KEYS = {"idempotency-key", "idempotencykey", "idempotence_key"}

ALL = bool(os.environ.get("ANYMAIL_ALL_GOLDEN"))
DIFFERENT = ("mailgun", "resend")
"""Without that in the environment: a form; JSON, and a key that is honoured."""

UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


@tag("real")
@skip_without("celery", "redis")
class GoldenMessagesTests(CeleryTestCase):
    provider_names = tuple(
        name
        for name, provider in PROVIDERS.items()
        if not provider.missing_packages and (ALL or name in DIFFERENT)
    )
    maxDiff = None

    def test_same_calls(self):
        site = self.start_project()
        client = site.client()
        # (Each message that is queued is a job of its own.)
        names = [name for name in MESSAGES if name != "different_messages"]
        direct, expected = {}, []
        for provider in self.provider_names:
            for name in names:
                [outcome] = client.send_golden(names=[name], mailer=provider)
                direct[provider, name] = outcome
                expected += [(provider, name, call) for call in self.new_calls()]
        self.assertGreater(len(expected), len(names))
        self.redis.forget()  # idempotency keys
        for provider in self.provider_names:
            outcomes = client.send_golden(names=names, mailer=f"later-{provider}")
            for name, outcome in zip(names, outcomes, strict=True):
                with self.subTest(provider=provider, message=name):
                    if any(item[:2] == (provider, name) for item in expected):
                        self.assertEqual(outcome[0], "later", outcome)
                    else:  # It has not got as far as a call.
                        self.assertEqual(outcome, direct[provider, name])
        site.celery_worker()  # One process: it takes the jobs in their order.
        site.wait_for(
            lambda: len(self.provider.calls) >= len(expected), f"{len(expected)} calls", 120
        )
        for (provider, name, call), other in zip(expected, self.new_calls(), strict=True):
            with self.subTest(provider=provider, message=name):
                has_key = name == "idempotency_key"
                self.assertEqual(masked(other, has_key), masked(call, has_key))

    def new_calls(self) -> list[ApiRequest]:
        """Return the calls since the last time."""
        calls = [call.request for call in self.provider.calls]
        self.provider.clear()
        return calls


def masked(request: ApiRequest, has_key: bool) -> Any:
    """Return an API call without what is different each time."""
    call: Any = SimpleNamespace(
        method=request.method,
        url=f"{request.path}?{sorted(request.query.items())}",
        headers=request.headers,
        body=request.body,
    )
    result = http_call(ApiCall(call))
    result["headers"] = {
        name: value
        for name, value in result["headers"].items()
        if name.lower() not in VARYING_HEADERS
    }
    return _without_keys(_masked(result), KEYS if not has_key else set())


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"Raw"}:  # Amazon SES
            mime = message_from_bytes(base64.b64decode(value["Raw"]["Data"]), policy=policy.default)
            return {"Raw": mime_parts(mime)}
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return UUID.sub("<uuid>", value) if isinstance(value, str) else value


def _without_keys(value: Any, keys: set[str]) -> Any:
    if isinstance(value, list):
        return [_without_keys(item, keys) for item in value]
    if not isinstance(value, dict):
        return value
    rest = {name: item for name, item in value.items() if name.lower() not in keys}
    rest = {name: _without_keys(item, keys) for name, item in rest.items()}
    # Brevo's headers may have nothing but the key.
    return {name: item for name, item in rest.items() if item != {} or value[name] == {}}
