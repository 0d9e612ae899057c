from __future__ import annotations

import email.message
import email.policy
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from typing import Any
from uuid import UUID

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import SimpleTestCase, override_settings
from django.utils import timezone as django_timezone
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override

from anymail.attachments import Attachment
from anymail.exceptions import AnymailSerializationError, Problem
from anymail.later.job import MAIL, read_job, sign_job
from anymail.later.mail import pack_message, unpack_message
from anymail.message import AnymailMessage, attach_inline_image
from anymail.sending.attributes import KNOWN

from ..utils import SAMPLE_IMAGE, make_message

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 (on purpose)


def through_job(message: EmailMessage) -> Any:
    job = sign_job({"message": pack_message(message)}, salt=MAIL)
    return unpack_message(read_job(job, salt=MAIL)["message"])


class RoundTripTests(SimpleTestCase):
    """A message comes out of a job as it went in."""

    def test_all_attributes(self):
        zone = timezone(timedelta(hours=2))
        values: dict[str, Any] = {
            "subject": "Größe \ud800",
            "reply_to": ["Me <me@example.com>"],
            "cc": ("cc@example.com",),
            "extra_headers": {"X-A": "1", "x-b": Decimal("1.50")},
            "metadata": {"a": 1, "b": None, "c": 1.5, "d": True, "$e": "f", "g": {"$h": 1}},
            "tags": ("one", "two"),
            "send_at": datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=zone),
            "track_opens": False,
            "template_id": 12,
            "merge_data": {"to@example.com": {"uuid": UUID(int=5), "time": time(1, 2)}},
            "merge_global_data": {"day": date(2030, 1, 1), "naive": NAIVE, 5: b"b"},
            "merge_headers": {},
            "esp_extra": {"list": [1, (2, [3])], "nested": {"$bytes": "text"}},
            "idempotency_key": "key",
            "duplicates": "accept",
            "encoding": "iso-8859-1",
            "content_subtype": "html",
            "envelope_sender": None,
        }
        message = make_message()
        for name, value in values.items():
            setattr(message, name, value)
        result = through_job(message)
        names = {*KNOWN, *values} - {"attachments", "alternatives"}
        for name in names:
            with self.subTest(name):
                expected = getattr(message, name)
                self.assertEqual(getattr(result, name), expected)
                self.assertIs(type(getattr(result, name)), type(expected))

    def test_plain_message(self):
        """Of Django's own class, with attributes added."""
        message = EmailMessage("Subject", "Body", "me@example.com", ["you@example.com"])
        message.tags = ["tag"]
        result = through_job(message)
        self.assertEqual(result.tags, ["tag"])
        self.assertEqual(vars(result)["metadata"], AnymailMessage().metadata)
        self.assertEqual(str(result.message()["Subject"]), "Subject")

    def test_lazy(self):
        """Text is what it is where the message is sent."""
        message = make_message(
            subject=gettext_lazy("Yes"), metadata={"a": lazystr("b"), "c": mark_safe("d")}
        )
        with override("de"):
            packed = pack_message(message)
        result = unpack_message(packed)
        self.assertEqual((result.subject, type(result.subject)), ("Ja", str))
        self.assertEqual(result.metadata, {"a": "b", "c": "d"})

    def test_naive_times(self):
        """Times to send at are in the time zone where the message is sent."""
        there = timezone(timedelta(hours=-5))
        with django_timezone.override(there), override_settings(USE_TZ=True):
            for value in (NAIVE, date(2030, 1, 1)):
                result = unpack_message(pack_message(make_message(send_at=value)))
                self.assertEqual(result.send_at, datetime(2030, 1, 1, tzinfo=there))
        self.assertEqual(through_job(make_message(send_at=1234.5)).send_at, 1234.5)

    def test_iterables(self):
        result = through_job(make_message(tags=(tag for tag in "ab"), merge_data={}))
        self.assertEqual((result.tags, result.merge_data), (["a", "b"], {}))

    def assert_same_attachment(self, result: Any, original: Any) -> None:
        def details(item: Any) -> dict[str, Any]:
            return {**vars(Attachment(item)), "bytes": Attachment(item).content_bytes}

        self.assertEqual(details(result), details(original))

    def test_attachments(self):
        attached = EmailMessage("Attached", "Body", "me@example.com", ["you@example.com"])
        items: list[Any] = [
            ("text.txt", "Größe", "text/plain"),
            ("text.txt", "Größe".encode("latin-1"), 'text/plain; charset="iso-8859-1"; x=y'),
            ("data", b"\x00\xff", None),
            ("a.pdf", bytearray(b"pdf"), "application/pdf"),
            (None, memoryview(b"view"), "image/png"),
            (lazystr("lazy.txt"), lazystr("lazy"), "text/plain"),
            ("bytes.eml", b"Subject: a\r\n\r\nb\r\n", "message/rfc822"),
            ("mime.eml", MIMEText("Größe", "html", "utf-8"), None),
        ]
        message = make_message()
        message.attachments = items
        result = through_job(message)
        for item, original in zip(result.attachments, items, strict=True):
            with self.subTest(original):
                self.assert_same_attachment(item, original)
        message.attachments = [("a.eml", attached, None)]
        [item] = through_job(message).attachments
        self.assertEqual((item[0], item[2]), ("a.eml", "message/rfc822"))
        self.assertIn(b"Subject: Attached", item[1])

    def test_parts(self):
        message = make_message()
        attach_inline_image(message, SAMPLE_IMAGE, "größe.png")
        modern = email.message.MIMEPart()
        modern.set_content(
            "Größe \N{SNOWMAN} " * 50,
            subtype="csv",
            charset="utf-8",
            filename="zwölf " * 20,
            params={"x": "ü"},
        )
        whole = email.message.MIMEPart()
        inner = email.message.EmailMessage()
        inner["Subject"] = "Größe"
        inner["X-Other"] = "header"
        inner.set_content("Text\n")
        inner.add_alternative("<p>Text</p>", subtype="html")
        inner.set_boundary("boundary")
        whole.set_content(inner)
        image = MIMEImage(SAMPLE_IMAGE)
        image.add_header("Content-Disposition", "inline", filename=("utf-8", "", "ü.png"))
        image["Content-ID"] = "<id@inline>"
        legacy = MIMEBase("application", "x-own")
        legacy.set_payload("a\r\nb\rc \udcff")
        message.attachments += [modern, whole, image, legacy]
        result = through_job(message)
        for item, original in zip(result.attachments, message.attachments, strict=True):
            with self.subTest(original.get_content_type()):
                self.assert_same_attachment(item, original)
                self.assertEqual(item.as_bytes(), original.as_bytes())
                self.assertEqual(isinstance(item, MIMEBase), isinstance(original, MIMEBase))
                self.assertEqual(item.policy, original.policy)

    def test_alternatives(self):
        message = make_message()
        message.attach_alternative("<p>ü</p>", "text/html")
        message.attach_alternative(b"BEGIN:VCALENDAR", "text/calendar; method=REQUEST")
        message.alternatives.append((MIMEText("<b>", "html"), "text/html"))
        result = through_job(message)
        self.assertEqual(
            [tuple(item) for item in result.alternatives[:2]],
            [tuple(item) for item in message.alternatives[:2]],
        )
        self.assertEqual(result.alternatives[2][0].as_bytes(), MIMEText("<b>", "html").as_bytes())

    def test_as_django_makes_it(self):
        """Django's other backends get the same MIME."""
        message = make_message(headers={"Date": "today", "Message-ID": "<a@b>"}, bcc=["b@c.de"])
        message.attach_alternative("<p>ü</p>", "text/html")
        message.attach("ü.txt", "Größe", "text/plain")
        attach_inline_image(message, SAMPLE_IMAGE, "image.png")
        parts = [
            [
                (part.items(), part.get_payload(decode=True))
                for part in item.message().walk()
                if not part.is_multipart()
            ]
            for item in (message, through_job(message))
        ]
        self.assertEqual(*parts)
        self.assertEqual(message.recipients(), through_job(message).recipients())

    def test_versions(self):
        """Whatever the version of Django has for attachments, its own methods understand it."""
        message = make_message()
        message.attach("a.txt", "a", "text/plain")
        result = through_job(message)
        self.assertEqual(tuple(result.attachments[0]), ("a.txt", "a", "text/plain"))
        if django.VERSION >= (6, 0):
            self.assertEqual(result.attachments[0].filename, "a.txt")


class WithMessage(EmailMessage):
    def message(self, **kwargs: Any) -> Any:
        return super().message(**kwargs)


class WithAttribute(AnymailMessage):
    category = "secret words"


class Welcome(EmailMultiAlternatives):
    """Nothing that a worker would miss."""

    content_subtype = "html"
    template_id = "welcome"

    def __init__(self, to: str) -> None:
        super().__init__("Welcome", "secret words", to=[to])

    def send(self, *args: Any, **kwargs: Any) -> int:
        return super().send(*args, **kwargs)


class RefusedTests(SimpleTestCase):
    """What can't travel is named, where the message is sent."""

    def test_refused(self):
        lock: Any = object()
        part = MIMEText("secret words")
        part["Content-Description"] = "described"
        own = make_message()
        own.user = 5
        for message, text in (
            (WithMessage("secret words"), "message() of WithMessage"),
            (WithAttribute("secret words"), "WithAttribute: 'category'"),
            (own, "AnymailMessage: 'user'"),
            (make_message(metadata={"a": lock}), "a object in 'metadata'"),
            (self.with_attachment(part), "the header 'Content-Description' in 'attachments'"),
            (self.with_attachment(("a.txt", lock, "text/plain")), "a object in 'attachments'"),
        ):
            with self.subTest(text), self.assertRaises(AnymailSerializationError) as c:
                pack_message(message)
            self.assertIn(text, str(c.exception))
            self.assertNotIn("secret words", str(c.exception))
            self.assertIs(c.exception.problem, Problem.MESSAGE)

    def with_attachment(self, item: Any) -> Any:
        message = make_message()
        message.attachments.append(item)
        return message

    def test_harmless_subclass(self):
        result = through_job(Welcome("you@example.com"))
        self.assertEqual((result.content_subtype, result.template_id), ("html", "welcome"))
