"""The form of a case, and those of the backends that are no provider's."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from anymail.exceptions import Problem

from ...utils import make_response
from ..harness import ApiCall, LocalTransport, RequestsTransport, Transport

PerRecipient = dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class Refusal:
    """An answer of the API which is an error, and what that means for the message.

    In the body (JSON; of text, HTML) and headers, "{date}" and "{epoch}" are in 90 seconds, in the
    forms of HTTP and POSIX.
    """

    status: int
    body: Any
    problem: Problem
    about_sender: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    is_batch: bool = False
    """Whether the call is for a batch, to two recipients."""

    @property
    def filled_in(self) -> tuple[Any, dict[str, str]]:
        """The body and headers, with times."""
        now = time.time() + 90
        body, headers = json.loads(
            json.dumps([self.body, dict(self.headers)])
            .replace("{date}", formatdate(now, usegmt=True))
            .replace("{epoch}", str(round(now)))
        )
        return body, headers


ACCOUNT, BUSY, MESSAGE, UNCLEAR, UNSUITABLE = (
    Problem.ACCOUNT,
    Problem.BUSY,
    Problem.MESSAGE,
    Problem.UNCLEAR,
    Problem.UNSUITABLE,
)


@dataclass(frozen=True)
class BackendCase:
    """One backend."""

    name: str
    """The backend's module."""
    backend: str
    """Dotted path of the backend class."""
    esp_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """All the options of its own that the backend knows, with values to test with. In other
    words, its OPTIONS in MAILERS; also used as settings, in their ``<ESP>_<OPTION>`` form."""
    packages: tuple[str, ...] = ()
    """Optional packages that it needs: without them, its tests are skipped."""
    required: tuple[str, ...] = ()
    """The options that must be set."""
    matrix_options: tuple[str, ...] = ()
    """Others without which features in the feature matrix can't be used."""
    promised_settings: str = ""
    """What projects have in their settings: names, without the provider's, that must go on working.
    After a name, "*" means that it is required, "b" that it is read without ANYMAIL too, "w" that
    only webhooks read it."""
    secret: tuple[str, ...] = ()
    """The options that must never be seen in debugging output."""
    success: Callable[[Any], Any] | None = None
    """Returns the API's answer when it accepts a call."""
    results_at: tuple[str, ...] | None = None
    """Keys of where the answer to a batch (to two recipients, if there are no batches) has a result
    for each recipient, as a list or dict; None if it has none."""
    fail: Callable[[Any, int], None] | None = None
    """Changes such an answer, as JSON: the message to recipient number n has failed."""
    refusals: tuple[Refusal, ...] = ()
    """Errors with the provider's own codes."""
    statuses: frozenset[str] = frozenset({"sent"})
    """The recipients' status after that."""
    batch_statuses: frozenset[str] | None = None
    """The same for a batch, if it's not the same."""
    unsupported: frozenset[str] = frozenset()
    """Names in test_contract.FEATURES of what the API does not offer."""
    feature_texts: Mapping[str, str] = field(default_factory=dict)
    """How the backend names an unsupported feature, if not as test_contract.FEATURES does."""
    feature_attrs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What messages need so that a feature works, by its name in FEATURES: attributes to add,
    or to use in place of those there."""
    combined_without: frozenset[str] = frozenset()
    """Features that are supported, but not together with all the others."""
    not_in_defaults: frozenset[str] = frozenset()
    """Attributes that SEND_DEFAULTS can't have."""
    template_is_batch: bool = False
    """Whether messages with a template are always individual, even without merge attributes."""
    serialized: frozenset[str] = frozenset()
    """Attributes that become JSON: other values are an AnymailSerializationError."""
    made_into_mime: bool = False
    """Whether Django has to make MIME of each message: it can't if the body is None, or parts of
    it are lazy strings."""
    accepts: frozenset[str] = frozenset()
    """Odd answers (keys of test_contract.ODD_ANSWERS) that count as success."""
    reads_answers: bool = True
    """Whether there is anything to read in the answer of an API that accepts a call."""
    per_recipient: Callable[[Any], PerRecipient] | None = None
    """Returns what a call has for individual recipients: {addr-spec as sent: {"merge_data": {...},
    "merge_metadata": {...}, "merge_headers": {...}}}; for batch-capable APIs."""
    transport: type[Transport] = RequestsTransport
    base_options: Callable[[], Mapping[str, Any]] = dict
    """Options that each test needs."""

    @property
    def is_http(self) -> bool:
        return issubclass(self.transport, RequestsTransport)


ADVANCED_FEATURES = frozenset(
    {
        "multiple_from",
        "multiple_html",
        "multiple_text",
        "amp_alternative",
        "other_alternative",
        "to_header",
        "from_header",
        "envelope_sender",
        "metadata",
        "send_at",
        "tags",
        "multiple_tags",
        "track_clicks",
        "track_opens",
        "template_id",
        "merge_data",
        "merge_global_data",
        "merge_headers",
        "merge_metadata",
        "esp_extra",
    }
)


# ---------------------------------------------------------------------------------------------


def _minimal_success(call: ApiCall) -> Any:
    return make_response(json_data={"id": "minimal-id"})


MINIMAL = BackendCase(
    name="minimal",
    backend="tests.backends.minimal.EmailBackend",
    esp_name="Minimal ESP",
    options={"api_key": "minimal-api-key", "api_url": "https://api.minimal.example/v2/"},
    required=("api_key",),
    secret=("api_key",),
    success=_minimal_success,
    unsupported=ADVANCED_FEATURES,
    feature_texts={"multiple_tags": "tags"},
    serialized=frozenset({"extra_headers"}),
)


TEST = BackendCase(
    name="test",
    backend="anymail.backends.test.EmailBackend",
    esp_name="Test",
    unsupported=frozenset({"to_header", "multiple_from"}),
    transport=LocalTransport,
)


CONSOLE = BackendCase(
    name="console",
    backend="anymail.backends.console.EmailBackend",
    esp_name="Console",
    unsupported=frozenset({"to_header", "multiple_from"}),
    made_into_mime=True,  # to print it
    transport=LocalTransport,
    base_options=lambda: {"stream": io.StringIO()},
)
