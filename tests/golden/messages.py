"""Common messages, each with the name of its golden files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from email.message import EmailMessage as PythonEmailMessage
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any, TypeAlias, TypeVar
from unittest.mock import patch

from django.core.mail import EmailMessage

from anymail.message import AnymailMessage

from ..utils import SAMPLE_IMAGE

F = TypeVar("F", bound=Callable[[], "Messages"])

Messages: TypeAlias = "EmailMessage | list[EmailMessage]"

MESSAGES: dict[str, Callable[[], Messages]] = {}
"""Functions that return a new message, or several, by its name."""

BATCH = {"to": ["Ann <ann@example.com>", "bob@example.com", "cy@example.com"]}
TEMPLATE = {"subject": "", "body": "", "template_id": "1234"}
MERGE_DATA = {"ann@example.com": {"name": "Ann", "order": 1}, "bob@example.com": {"name": "Bob"}}
MERGE_METADATA = {"ann@example.com": {"user": "a-1"}, "bob@example.com": {"user": "b-2"}}
MERGE_HEADERS = {
    "ann@example.com": {"List-Unsubscribe": "<https://example.com/u/a>"},
    "bob@example.com": {"List-Unsubscribe": "<https://example.com/u/b>"},
}


def message(**attrs: Any) -> AnymailMessage:
    return AnymailMessage(
        **{
            "subject": "Subject",
            "body": "Text",
            "from_email": "from@example.com",
            "to": ["to@example.com"],
            **attrs,
        }
    )


def golden(function: F) -> F:
    MESSAGES[function.__name__] = function
    return function


def _just(name: str, **attrs: Any) -> None:
    MESSAGES[name] = lambda: message(**attrs)


_just("plain")
_just("empty_body", body="")
_just(
    "international",
    subject="Größe – 数量",
    body="Zażółć gęślą jaźń\n",
    from_email='"Müller, Jörg" <jm@example.com>',
    to=["佐藤 <to@müller.example>"],
)
_just("long_subject", subject="Größe " + " ".join(f"word{n}" for n in range(30)))
_just(
    "several_recipients",
    to=["Ann <ann@example.com>", '"Doe, Bob" <bob@example.com>'],
    cc=["cc1@example.com", "Cc Two <cc2@example.com>"],
    bcc=["bcc@example.com"],
)
_just("only_bcc", to=[], bcc=["bcc@example.com"])
_just("reply_to", reply_to=["Support <support@example.com>"])
_just("two_reply_to", reply_to=["support@example.com", "other@example.com"])
_just(
    "headers",
    headers={
        "X-Custom": "custom",
        "List-Unsubscribe": f"<https://example.com/unsubscribe?{'token=abcdef&' * 7}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "References": "<1@example.com> <2@example.com>",
    },
)
_just("non_ascii_header", headers={"X-Size": "größer"})
_just("from_header", from_email="bounces@example.com", headers={"From": "Shown <from@example.com>"})
_just("to_header", headers={"To": "Everybody <list@example.com>"})
_just("two_from", from_email="From <from@example.com>, other-from@example.com")
_just("envelope_sender", envelope_sender="Bounces <bounces@bücher.example>")
_just("only_cc", to=[], cc=["Cc <cc@example.com>"])
_just("reply_to_header", headers={"reply-to": "Support <support@example.com>"})


@golden
def django_message() -> EmailMessage:
    return EmailMessage("", "", "from@example.com", ["to@example.com"])


@golden
def html() -> AnymailMessage:
    result = message()
    result.attach_alternative("<p>HTML ü</p>", "text/html; charset=utf-8")
    return result


@golden
def html_only() -> AnymailMessage:
    result = message(body="<p>HTML</p>")
    result.content_subtype = "html"
    return result


@golden
def amp() -> AnymailMessage:
    result = html()
    result.attach_alternative("<html amp4email></html>", "text/x-amp-html")
    return result


@golden
def calendar_alternative() -> AnymailMessage:
    result = html()
    result.attach_alternative("BEGIN:VCALENDAR", "text/calendar; method=REQUEST")
    return result


@golden
def attachments() -> AnymailMessage:
    result = message()
    result.attach("notes.txt", "Text ü\n", "text/plain")
    result.attach("Größe.pdf", b"%PDF-1.7 \xff", "application/pdf")
    result.attach("data", b"\0\1")
    result.attachments.append((None, b"GIF89a", "image/gif"))
    part = MIMEText("Grün", "plain", "iso-8859-1")
    part.add_header("Content-Disposition", "attachment")
    result.attachments.append(part)
    return result


@golden
def content_type_parameters() -> AnymailMessage:
    result = message()
    result.attach("a.csv", "é;1\n", "text/csv; charset=utf-8")
    result.attach("latin.txt", "é".encode("iso-8859-1"), "text/plain; charset=iso-8859-1")
    result.attach("invite.ics", "BEGIN:VCALENDAR", "text/calendar; method=REQUEST")
    result.attach("from_buffer.txt", memoryview("ü".encode()), "text/plain")
    return result


@golden
def attached_message() -> AnymailMessage:
    result = message()
    forwarded = PythonEmailMessage()
    forwarded["Subject"] = "Forwarded"
    forwarded["From"] = "someone@example.net"
    forwarded.set_content("Forwarded text\n")
    result.attach("forwarded.eml", forwarded.as_bytes(), "message/rfc822")
    return result


@golden
def inline_image() -> AnymailMessage:
    result = message()
    with patch("anymail.message.make_msgid", return_value="<logo@inline>"):
        cid = result.attach_inline_image(SAMPLE_IMAGE, "image.png")
    result.attach_alternative(f'<img src="cid:{cid}">', "text/html")
    return result


@golden
def related_alternative() -> AnymailMessage:
    result = message()
    related = MIMEMultipart("related")
    related.attach(MIMEText('<img src="cid:logo@inline">', "html"))
    image = MIMEImage(SAMPLE_IMAGE, "png")
    image["Content-ID"] = "<logo@inline>"
    related.attach(image)
    result.attach_alternative(related, "multipart/related")
    return result


@golden
def inline_without_content_id() -> AnymailMessage:
    result = message()
    part = MIMEText("inline")
    part.add_header("Content-Disposition", "inline", filename="inline.txt")
    result.attachments.append(part)
    return result


@golden
def html_in_place_of_an_empty_body() -> AnymailMessage:
    result = message(body="")
    result.content_subtype = "html"
    result.attach_alternative("<p>HTML</p>", "text/html")
    return result


@golden
def two_html_alternatives() -> AnymailMessage:
    result = html()
    result.attach_alternative("<p>Second</p>", "text/html")
    return result


@golden
def two_texts() -> AnymailMessage:
    result = message()
    result.attach_alternative("Second", "text/plain")
    return result


_just("metadata", metadata={"user": "12345", "items": 6, "name": "Zoë"})
_just("idempotency_key", idempotency_key="order-1234")
_just("no_metadata_and_tags", metadata={}, tags=[])
_just("tag", tags=["Begrüßung"])
_just("two_tags", tags=["welcome", "week 7"])
_just("tracking", track_clicks=True, track_opens=False)
_just("other_tracking", track_clicks=False, track_opens=True)
_just("send_at", send_at=datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc))
_just("template", **TEMPLATE)
_just("template_name", **{**TEMPLATE, "template_id": "welcome"})


@golden
def template_alone() -> AnymailMessage:
    """Everything else is up to the template."""
    result: Any = message(template_id="1234", merge_global_data={"site": "Shop", "no": None})
    result.from_email = result.subject = result.body = None
    return result


_just("template_merge_global_data", **TEMPLATE, merge_global_data={"site": "Shop"})
_just("merge_data", **BATCH, subject="Hi", merge_data=MERGE_DATA, merge_global_data={"site": "S"})
_just(
    "merge_data_one_recipient",
    **TEMPLATE,
    merge_data={"to@example.com": {"name": "To"}},
    merge_global_data={"site": "Shop"},
)
_just(
    "template_merge_data",
    **BATCH,
    **TEMPLATE,
    merge_data=MERGE_DATA,
    merge_global_data={"site": "Shop", "name": "you"},
)
_just(
    "merge_metadata", **BATCH, merge_metadata=MERGE_METADATA, metadata={"batch": "7", "user": "-"}
)
_just("merge_headers", **BATCH, merge_headers=MERGE_HEADERS, headers={"X-Custom": "custom"})
_just("batch_with_cc", **BATCH, cc=["cc@example.com"], merge_data=MERGE_DATA)
_just(
    "template_batch",
    **BATCH,
    **TEMPLATE,
    merge_data=MERGE_DATA,
    merge_metadata=MERGE_METADATA,
    merge_headers=MERGE_HEADERS,
    tags=["welcome"],
    reply_to=["Support <support@example.com>"],
)


@golden
def different_messages() -> list[EmailMessage]:
    """Sent together. In one call, where the provider takes them so."""
    with_html = message(subject="Größe", to=["Ann <ann@example.com>"], cc=["cc@example.com"])
    with_html.attach_alternative("<p>HTML</p>", "text/html")
    with_file = message(subject="With a file", metadata={"user": "1"})
    with_file.attach("file.txt", "Text", "text/plain")
    return [message(), with_html, with_file]
