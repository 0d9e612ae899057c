"""A message that went through a job is the one that was queued, whatever it has."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from typing import Any
from unittest.mock import patch

from django.core.mail import EmailMessage
from django.test import SimpleTestCase, override_settings, tag
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st

from anymail.later.job import MAIL, read_job, sign_job
from anymail.later.mail import pack_message, unpack_message
from anymail.message import AnymailMessage
from anymail.providers import PROVIDERS

from ..backends.cases.base import BackendCase
from ..golden.messages import MESSAGES
from ..golden.requests import golden_file, outcome_of, provider_cases
from ..properties import examples
from ..utils import SAMPLE_IMAGE

CASES = [case for case in provider_cases() if not PROVIDERS[case.name].missing_packages]


def through_a_job(message: EmailMessage) -> AnymailMessage:
    """Return what a worker makes of the job for a message."""
    return unpack_message(read_job(sign_job(pack_message(message), salt=MAIL), salt=MAIL))


def through_jobs(made: Any) -> Any:
    """Return the same of one message, or of several that are sent together."""
    return list(map(through_a_job, made)) if isinstance(made, list) else through_a_job(made)


class GoldenMessagesTests(SimpleTestCase):
    maxDiff = None

    def test_some(self):
        self.check(CASES[-1], list(MESSAGES))

    @tag("exhaustive")
    def test_all(self):
        for case in CASES:
            self.check(case, list(MESSAGES))

    def check(self, case: BackendCase, names: list[str]) -> None:
        for name in names:
            with self.subTest(provider=case.name, message=name):
                outcome = outcome_of(case, lambda name=name: through_jobs(MESSAGES[name]()))
                expected = json.loads(golden_file(case, name).read_text())
                self.assertEqual(json.loads(json.dumps(outcome)), expected)


ADDRESSES = [f"{name}@example.com" for name in ("ann", "bob", "cy")]

LIMITS = (datetime(2030, 1, 1), datetime(2040, 1, 1))  # noqa: DTZ001

lines = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=50)
maybe_lazy = lines | lines.map(lazystr)
times = st.datetimes(*LIMITS).map(lambda value: value.replace(microsecond=0))
zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
aware_times = st.builds(lambda time, zone: time.replace(tzinfo=zone), times, zones)
scalars = st.one_of(
    *(maybe_lazy, st.integers(-(2**40), 2**40), st.booleans(), st.none()),
    *(st.floats(-1e6, 1e6), st.decimals(-1000, 1000, places=2), aware_times, st.uuids()),
)
names = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
data = st.dictionaries(names, scalars, max_size=3)
merged = st.dictionaries(st.sampled_from(ADDRESSES), data, max_size=3)
headers = st.dictionaries(names.map(lambda name: f"X-{name}"), maybe_lazy, max_size=3)
file_names = st.one_of(st.none(), lines.filter(bool))


def _forwarded(text: str) -> EmailMessage:
    # Its Date and Message-ID are made when it's asked for its bytes.
    headers = {"Date": "Tue, 06 May 2031 07:08:09 -0000", "Message-ID": "<1@example.com>"}
    return EmailMessage("Forwarded", text, "a@example.com", ["b@example.com"], headers=headers)


def _part(part: Any, name: str | None, cid: str | None = None) -> Any:
    file_name = {} if name is None else {"filename": ("utf-8", "", name)}
    part.add_header("Content-Disposition", "inline" if cid else "attachment", **file_name)
    if cid:
        part["Content-ID"] = cid
    return part


ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "subject": maybe_lazy,
    "body": texts | texts.map(lazystr),
    "from_email": st.sampled_from(["from@example.com", "Größe <from@müller.example>"]),
    "to": st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=3),
    "cc": st.sampled_from([[], ["Cc <cc@example.com>"]]),
    "bcc": st.sampled_from([[], ["bcc@example.com"]]),
    "reply_to": st.sampled_from([[], ["one@example.com", "Two <two@example.com>"]]),
    "headers": headers,
    "metadata": data,
    "tags": st.lists(maybe_lazy, max_size=2),
    "track_clicks": st.booleans(),
    "track_opens": st.booleans() | st.none(),
    "send_at": st.one_of(times, aware_times, st.dates(*map(datetime.date, LIMITS))),
    "template_id": st.integers(1, 1000) | names,
    "merge_data": merged,
    "merge_global_data": data,
    "merge_metadata": merged,
    "merge_headers": st.dictionaries(st.sampled_from(ADDRESSES), headers, max_size=2),
    "envelope_sender": st.just("Bounces <bounces@example.com>"),
    "esp_extra": data,
    "idempotency_key": st.from_regex(r"[ -~]{1,40}", fullmatch=True),
}

ATTACHMENTS: list[st.SearchStrategy[Any]] = [
    st.tuples(file_names, st.binary(max_size=50), st.sampled_from(["image/png", "a/b", None])),
    st.tuples(file_names, texts, st.sampled_from(["text/csv", "text/plain; charset=utf-8"])),
    st.tuples(file_names, st.binary(max_size=50).map(memoryview), st.just("application/pdf")),
    st.tuples(st.just("f.eml"), texts.map(_forwarded), st.none()),
    st.builds(lambda text, name: _part(MIMEText(text, "plain", "utf-8"), name), texts, file_names),
    st.builds(lambda name: _part(MIMEImage(SAMPLE_IMAGE), name, cid="<a@b>"), file_names),
]


@st.composite
def attributes(draw: Any) -> dict[str, Any]:
    """Draw some of what a message can have."""
    chosen = draw(st.sets(st.sampled_from(sorted(ATTRIBUTES)), max_size=6)) | {"to"}
    return {name: draw(ATTRIBUTES[name]) for name in sorted(chosen)}


@st.composite
def contents(draw: Any) -> list[tuple[str, Any]]:
    """Draw what is attached to a message: (method, arguments)."""
    html = st.tuples(st.just("attach_alternative"), st.tuples(texts, st.just("text/html")))
    image = st.just(("attach_inline_image", (SAMPLE_IMAGE, "image.png")))
    attached = st.one_of(ATTACHMENTS).map(lambda item: ("attach", item))
    return list(draw(st.lists(st.one_of(html, image, attached), max_size=3)))


def build(values: dict[str, Any], content: list[tuple[str, Any]]) -> AnymailMessage:
    message = AnymailMessage(**values)
    with patch("anymail.message.make_msgid", return_value="<image@inline>"):
        for method, item in content:
            if method == "attach":
                message.attachments.append(item)
            else:
                getattr(message, method)(*item)
    return message


@override_settings(TIME_ZONE="America/New_York")
class RoundTripTests(SimpleTestCase):
    @given(values=attributes(), content=contents(), case=st.sampled_from(CASES))
    @examples(200)
    def test_same_calls(self, values: Any, content: Any, case: BackendCase) -> None:
        expected = outcome_of(case, lambda: build(values, content))
        outcome = outcome_of(case, lambda: through_a_job(build(values, content)))
        self.assertEqual(outcome, expected)
