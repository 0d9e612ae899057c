"""Parsing raw MIME: whole, in chunks, within limits."""

from __future__ import annotations

import base64
import copy
import email
import email.policy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import StringIO

from django.core.exceptions import SuspiciousOperation
from django.test import RequestFactory, SimpleTestCase, override_settings, tag

from anymail.addresses import EmailAddress
from anymail.exceptions import AnymailInboundLimitExceeded
from anymail.inbound import (
    MAX_HEADER_LENGTH,
    MAX_HEADERS,
    MAX_HEADERS_LENGTH,
    MAX_NESTING,
    MAX_PARTS,
    AnymailInboundMessage,
)
from anymail.webhooks.sparkpost import SparkPostInboundWebhookView

from ..utils import SAMPLE_IMAGE
from ..webhooks.harness import basic_auth_header
from .harness import SAMPLE_FILE, SAMPLE_MIME, parse


class ParsingTests(SimpleTestCase):
    def assertIsSample(self, message):
        self.assertIsInstance(message, AnymailInboundMessage)
        self.assertEqual(message.from_email, EmailAddress("Sender, Inc.", "from@example.com"))
        self.assertEqual(message.subject, "Test email\N{HORIZONTAL ELLIPSIS}")
        self.assertEqual(message.text, "It's a body\N{HORIZONTAL ELLIPSIS}\n")
        self.assertEqual(message.html, '<div dir="ltr">It\'s a body\N{HORIZONTAL ELLIPSIS}</div>\n')
        [received] = message.get_all("Received")
        self.assertEqual(
            received,
            "from mail.example.com (mail.example.com [192.0.2.1]) by mx.example.net with ESMTPS;"
            " Tue, 6 May 2031 07:08:10 -0700 (PDT)",
        )
        self.assertEqual(message.defects, [])
        for part in message.walk():
            self.assertIsInstance(part, AnymailInboundMessage)
            self.assertEqual(part.defects, [])

    def test_parse_raw_mime(self):
        self.assertIsSample(AnymailInboundMessage.parse_raw_mime(SAMPLE_MIME.decode("ascii")))

    def test_parse_raw_mime_8bit(self):
        message = parse("""\
            Subject: Grüße
            Content-Type: text/plain; charset="utf-8"
            Content-Transfer-Encoding: 8bit

            Žluťoučký kůň
            """)
        self.assertEqual(message.subject, "Grüße")
        self.assertEqual(message.text, "Žluťoučký kůň\n")

    def test_parse_raw_mime_needs_str(self):
        with self.assertRaisesRegex(TypeError, "parse_raw_mime_bytes"):
            AnymailInboundMessage.parse_raw_mime(SAMPLE_MIME)

    def test_parse_raw_mime_bytes(self):
        self.assertIsSample(AnymailInboundMessage.parse_raw_mime_bytes(SAMPLE_MIME))

    def test_parse_raw_mime_bytes_8bit(self):
        message = parse(
            b"Subject: Gr\xfc\xdfe\nContent-Type: text/plain; charset=iso-8859-1\n"
            b"Content-Transfer-Encoding: 8bit\n\nGr\xfc\xdfe\r\n"
        )
        self.assertEqual(message.subject, "Grüße")
        self.assertEqual(message.text, "Grüße\n")
        self.assertEqual(message.get_content_bytes(), b"Gr\xfc\xdfe\r\n")

    def test_parse_longer_than_one_read(self):
        content = SAMPLE_IMAGE * 10_000
        message = AnymailInboundMessage.construct(
            attachments=[AnymailInboundMessage.construct_attachment("image/png", content)]
        )
        [attachment] = parse(message.as_bytes()).attachments
        self.assertEqual(attachment.get_content_bytes(), content)

    def test_parse_raw_mime_chunks(self):
        for size in (1, 2, 7, 1000, len(SAMPLE_MIME)):
            for kind in (bytes, bytearray):
                with self.subTest(size=size, kind=kind):
                    chunks = (
                        kind(SAMPLE_MIME[start : start + size])
                        for start in range(0, len(SAMPLE_MIME), size)
                    )
                    self.assertIsSample(AnymailInboundMessage.parse_raw_mime_chunks(chunks))

    def test_parse_raw_mime_chunks_that_are_empty(self):
        self.assertIsSample(
            AnymailInboundMessage.parse_raw_mime_chunks([b"", SAMPLE_MIME, b"", bytearray()])
        )
        self.assertEqual(AnymailInboundMessage.parse_raw_mime_chunks([]).get_payload(), "")

    def test_parse_raw_mime_chunks_from_file(self):
        with SAMPLE_FILE.open("rb") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_chunks(file))

    def test_parse_raw_mime_chunks_does_not_collect_them(self):
        """Each chunk is parsed before the next one is asked for."""

        def chunks():
            yield b"Subject: x\n\n"
            self.assertEqual(created, 1)

        created = 0

        class CountedMessage(AnymailInboundMessage):
            def set_raw(self, name, value):
                nonlocal created
                created += 1
                super().set_raw(name, value)

        message = CountedMessage.parse_raw_mime_chunks(chunks())
        self.assertEqual(message.subject, "x")

    def test_parse_raw_mime_chunks_needs_bytes(self):
        with self.assertRaises(AttributeError):
            AnymailInboundMessage.parse_raw_mime_chunks([SAMPLE_MIME.decode("ascii")])

    def test_parse_raw_mime_file(self):
        with SAMPLE_FILE.open("rb") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_file(file))
        with SAMPLE_FILE.open(encoding="ascii") as file:
            self.assertIsSample(AnymailInboundMessage.parse_raw_mime_file(file))
        message = AnymailInboundMessage.parse_raw_mime_file(
            StringIO("Subject: č\nContent-Type: text/plain; charset=utf-8\n\nč\udcff")
        )
        self.assertEqual(message.subject, "č")
        self.assertEqual(message.text, "č\ufffd")

    def test_subclass(self):
        class CustomMessage(AnymailInboundMessage):
            pass

        for message in (
            CustomMessage.parse_raw_mime_bytes(SAMPLE_MIME),
            CustomMessage.construct(raw_headers="X: y", text="t", html="h"),
        ):
            for part in message.walk():
                self.assertIs(type(part), CustomMessage)

    def test_pickle_and_copy(self):
        message = AnymailInboundMessage.parse_raw_mime_bytes(SAMPLE_MIME)
        message.envelope_sender = "bounces@example.com"
        message.spam_score = 1.5
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            self.assertIsSample(pickle.loads(pickle.dumps(message, protocol)))
        for duplicate in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
            self.assertIsSample(duplicate)
            self.assertEqual(duplicate.envelope_sender, "bounces@example.com")
            self.assertEqual(duplicate.spam_score, 1.5)
            self.assertEqual(duplicate.as_bytes(), message.as_bytes())
            del duplicate["Subject"]
            duplicate["Subject"] = "Ändered"
            self.assertEqual(duplicate.subject, "Ändered")
            self.assertEqual(duplicate["From"], message["From"])
        self.assertIsSample(message)

    def test_pickles_are_small(self):
        """The policy is a part of each, but not all that the policy refers to."""
        self.assertNotIn(b"headerregistry", pickle.dumps(AnymailInboundMessage()))

    def test_pickles_of_earlier_releases(self):
        """They name the module that anymail.inbound was."""
        message = AnymailInboundMessage.parse_raw_mime_bytes(SAMPLE_MIME)
        pickled = pickle.dumps(message, protocol=0)
        for now, earlier in (
            (b"canymail.inbound.message\n", b"canymail.inbound\n"),
            (b"canymail.inbound.policy\nInboundPolicy\n", b"canymail.inbound\n_InboundPolicy\n"),
        ):
            self.assertIn(now, pickled)
            pickled = pickled.replace(now, earlier)
        self.assertIsSample(pickle.loads(pickled))

    def test_pickle_and_copy_constructed(self):
        attachment = AnymailInboundMessage.construct_attachment(
            "image/png", SAMPLE_IMAGE, filename="č.png"
        )
        message = AnymailInboundMessage.construct(
            subject="č", text="t", attachments=[attachment], headers={"Date": "nonsense"}
        )
        for duplicate in (pickle.loads(pickle.dumps(message)), copy.deepcopy(message)):
            self.assertEqual(duplicate.subject, "č")
            self.assertEqual(duplicate.text, "t")
            self.assertEqual(duplicate.attachments[0].get_filename(), "č.png")
            self.assertEqual(duplicate.attachments[0].get_content_bytes(), SAMPLE_IMAGE)

    def test_byte_order_mark(self):
        """It is no part of the first header's name."""
        raw = b"\xef\xbb\xbfSubject: x\n\n\xef\xbb\xbftext"
        for message in (
            parse(raw),
            AnymailInboundMessage.parse_raw_mime(raw.decode()),
            AnymailInboundMessage.parse_raw_mime_chunks(bytes([byte]) for byte in raw),
            AnymailInboundMessage.construct(raw_headers=raw.decode(), text="\ufefftext"),
        ):
            self.assertEqual(message.subject, "x")
            self.assertEqual(message.text, "\ufefftext")
        for start, body in ((b"", ""), (b"\xef", "ï"), (b"\xef\xbb", "ï»"), (raw[:3], "")):
            self.assertEqual(parse(start).text, body)

    def test_no_headers_after_blank_line(self):
        for start in (b"\n", b"\r\n"):
            with self.subTest(start=start):
                message = parse(start + b"Subject: x\n\ntext")
                self.assertIsNone(message.subject)
                self.assertIn("Subject: x", message.text)

    def test_mbox_from_line(self):
        message = parse(b"From me@example.com Tue May  6 07:08:09 2031\nSubject: x\n\ntext")
        self.assertEqual(message.subject, "x")
        self.assertEqual(message.text, "text")

    def test_stdlib_api(self):
        message = parse(SAMPLE_MIME)
        self.assertEqual(message.get_body(["plain"]).get_content(), message.text)
        self.assertEqual(list(message.iter_attachments()), [])
        self.assertEqual(len(list(message.iter_parts())), 2)
        self.assertEqual(message["SUBJECT"], message["subject"])
        self.assertEqual(message.as_bytes(), SAMPLE_MIME)
        self.assertEqual(bytes(message), SAMPLE_MIME)
        self.assertEqual(message.as_string(), SAMPLE_MIME.decode("ascii"))
        self.assertEqual(parse(message.as_bytes(policy=email.policy.SMTP)).text, message.text)


class LimitTests(SimpleTestCase):
    """Messages that are made to keep a server busy are refused."""

    def parse(self, data: bytes) -> AnymailInboundMessage:
        return AnymailInboundMessage.parse_raw_mime_bytes(data)

    @contextmanager
    def refused(self, text: str) -> Iterator[None]:
        with self.assertRaises(AnymailInboundLimitExceeded) as caught:
            yield
        self.assertIn(text, str(caught.exception))

    @staticmethod
    def nested(levels: int) -> bytes:
        """Return a message with parts nested that deeply, of both kinds that can be."""
        lines = []
        for level in range(levels):
            if level % 2:
                lines += ["Content-Type: message/rfc822", ""]
            else:
                lines += [f"Content-Type: multipart/mixed; boundary=b{level}.", "", f"--b{level}."]
        lines += ["Content-Type: text/plain", "", "innermost", ""]
        return "\n".join(lines).encode()

    def test_nesting(self):
        message = self.parse(self.nested(MAX_NESTING))
        depth, part = 0, message
        while part.is_multipart():
            depth, part = depth + 1, part.get_payload(0)
        self.assertEqual(depth, MAX_NESTING)
        self.assertEqual(part.get_content_text(), "innermost")
        self.assertEqual(self.parse(message.as_bytes()).as_bytes(), message.as_bytes())
        self.assertEqual(len(list(message.walk())), MAX_NESTING + 1)
        for levels in (MAX_NESTING + 1, 500, 100_000):
            with self.subTest(levels), self.refused(f"{MAX_NESTING} levels"):
                self.parse(self.nested(levels))

    def test_nesting_is_refused_at_once(self):
        """Not after all of it was parsed, or even received."""

        def chunks() -> Iterator[bytes]:
            yield self.nested(MAX_NESTING + 1)
            self.fail("It was read on")

        with self.refused("levels"):
            AnymailInboundMessage.parse_raw_mime_chunks(chunks())

    def test_nesting_of_attached_messages(self):
        with self.refused("levels"):
            AnymailInboundMessage.construct_attachment("message/rfc822", self.nested(1000))

    @tag("exhaustive")
    def test_parts(self):
        start = b"Content-Type: multipart/mixed; boundary=b\n\n"
        for count in (MAX_PARTS - 1, MAX_PARTS):  # The message itself is one.
            with (
                self.subTest(count),
                self.refused(f"{MAX_PARTS} MIME parts") if count == MAX_PARTS else nullcontext(),
            ):
                message = self.parse(start + b"--b\n\nx\n" * count + b"--b--\n")
                self.assertEqual(len(message.get_payload()), count)

    def test_blocks_of_delivery_reports(self):
        report = b"Content-Type: message/delivery-status\n\n" + b"Final-Recipient: x\n\n" * 20_000
        with self.refused("MIME parts"):
            self.parse(report)

    def test_headers(self):
        message = self.parse(b"X-A: b\n" * MAX_HEADERS + b"\ntext")
        self.assertEqual(len(message.keys()), MAX_HEADERS)
        with self.refused(f"{MAX_HEADERS} headers"):
            self.parse(b"X-A: b\n" * (MAX_HEADERS + 1) + b"\ntext")
        part = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
        with self.refused(f"{MAX_HEADERS} headers"):
            self.parse(part + b"X-A: b\n" * 100_000 + b"\ntext\n--b--\n")

    def test_constructed_headers(self):
        for count in (MAX_HEADERS - 2, MAX_HEADERS - 1):  # Two more describe the format.
            headers = [("X-A", "b")] * (count - 1)
            with self.subTest(count):
                message = AnymailInboundMessage.construct(subject="x", headers=headers)
                self.assertEqual(len(message.keys()), count + 2)
        for arguments in (
            {"headers": [("X-A", "b")] * (MAX_HEADERS + 1)},
            {"headers": [*[("X-A", "b")] * 100_000, *[("Subject", "b")] * 100_000]},
            {"raw_headers": "X-A: b\n" * (MAX_HEADERS + 1)},
            {"headers": {"X-A": "b" * (MAX_HEADER_LENGTH + 1)}},
            {"subject": "b" * (MAX_HEADER_LENGTH + 1)},
        ):
            with self.subTest(str(arguments)[:30]), self.refused("header"):
                AnymailInboundMessage.construct(**arguments)

    def test_header_length(self):
        message = self.parse(b"X-A: " + b"b" * MAX_HEADER_LENGTH + b"\n\ntext")
        self.assertEqual(len(message["X-A"]), MAX_HEADER_LENGTH)
        for header in (
            b"X-A: " + b"b" * (MAX_HEADER_LENGTH + 1),
            b"X-A: b" + b"\n b" * MAX_HEADER_LENGTH,
            b"X" * (MAX_HEADER_LENGTH + 1) + b": b",
        ):
            with self.subTest(header=header[:10]), self.refused(f"{MAX_HEADER_LENGTH} characters"):
                self.parse(header + b"\n\ntext")

    def test_length_of_all_headers(self):
        header = b"To: " + b"a@example.com, " * 17_000 + b"\n"
        count = MAX_HEADERS_LENGTH // len(header)
        self.assertEqual(len(self.parse(header * count + b"\ntext").get_all("To")), count)
        part = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n"
        for start in (b"", part):
            with self.refused(f"{MAX_HEADERS_LENGTH} characters"):
                self.parse(start + header * 8 + b"\ntext")
        headers = [("X-A", "b" * MAX_HEADER_LENGTH)] * 4
        with self.refused(f"{MAX_HEADERS_LENGTH} characters"):
            AnymailInboundMessage.construct(headers=headers)

    @tag("exhaustive")
    def test_encoded_messages(self):
        """Those in base64 count, too, with the levels around them."""

        def attach(content: bytes) -> bytes:
            return (
                b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
                + base64.encodebytes(content)
            )

        message = self.parse(attach(self.nested(MAX_NESTING - 1)))
        self.assertEqual(len(list(message.walk())), MAX_NESTING + 1)
        with self.refused(f"{MAX_NESTING} levels"):
            self.parse(attach(self.nested(MAX_NESTING)))
        nested = b"Subject: x\n\ntext"
        for _ in range(10):
            nested = attach(nested)
        self.assertEqual(len(list(self.parse(nested).walk())), 11)
        parts = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 6000
        both = b"Content-Type: multipart/mixed; boundary=c\n\n" + b"--c\n%s" % attach(parts) * 2
        with self.refused(f"{MAX_PARTS} MIME parts"):
            self.parse(both)

    def test_webhook_answers_400(self):
        for raw in (self.nested(100_000), b"X-A: b\n" * 100_000 + b"\n"):
            content = {"email_rfc822": raw.decode(), "email_rfc822_is_base64": False}
            event = {"msys": {"relay_message": {"content": content}}}
            request = RequestFactory().post("/", [event], content_type="application/json")
            with (
                override_settings(
                    ANYMAIL={"WEBHOOK_SECRET": "user:password"},
                    DATA_UPLOAD_MAX_MEMORY_SIZE=len(raw) * 2,
                ),
                self.refused("Received message with"),
            ):
                request.META["HTTP_AUTHORIZATION"] = basic_auth_header("user:password")
                SparkPostInboundWebhookView.as_view()(request)
            # ... which is how Django answers that.
            self.assertTrue(issubclass(AnymailInboundLimitExceeded, SuspiciousOperation))
