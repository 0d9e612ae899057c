from __future__ import annotations

import copy
import email.message
import pickle
import tempfile
from datetime import datetime, timezone
from email.mime.image import MIMEImage
from pathlib import Path
from typing import Any
from unittest import mock

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import SimpleTestCase

from anymail.attachments import Attachment
from anymail.datastructures import UNSET
from anymail.message import (
    ANYMAIL_STATUSES,
    AnymailMessage,
    AnymailMessageMixin,
    AnymailRecipientStatus,
    AnymailStatus,
    attach_inline_image,
    attach_inline_image_file,
)
from tests.utils import SAMPLE_IMAGE, make_response

ATTRIBUTES: dict[str, Any] = {
    "esp_extra": {"nested": {"option": [1]}},
    "envelope_sender": "bounces@example.com",
    "metadata": {"user": 123},
    "send_at": datetime(2031, 5, 6, tzinfo=timezone.utc),
    "tags": ["one", "two"],
    "track_clicks": False,
    "track_opens": True,
    "template_id": "welcome",
    "merge_data": {"to@example.com": {"name": "X"}},
    "merge_global_data": {"site": "example.com"},
    "merge_headers": {"to@example.com": {"List-Unsubscribe": "<x>"}},
    "merge_metadata": {"to@example.com": {"user": 456}},
    "idempotency_key": "order-1",
    "duplicates": "accept",
}


class AnymailMessageTests(SimpleTestCase):
    def test_bases(self):
        self.assertEqual(AnymailMessage.__bases__, (AnymailMessageMixin, EmailMultiAlternatives))
        self.assertEqual(AnymailMessageMixin.__bases__, (EmailMessage,))

    def test_attributes_default_to_unset(self):
        message = AnymailMessage()
        for name in ATTRIBUTES:
            with self.subTest(name=name):
                self.assertIs(getattr(message, name), UNSET)

    def test_attributes(self):
        message = AnymailMessage(**ATTRIBUTES)
        for name, value in ATTRIBUTES.items():
            with self.subTest(name=name):
                self.assertIs(getattr(message, name), value)

    def test_none_is_kept(self):
        message = AnymailMessage(**dict.fromkeys(ATTRIBUTES))
        for name in ATTRIBUTES:
            self.assertIsNone(getattr(message, name))

    def test_status(self):
        message = AnymailMessage()
        self.assertIsInstance(message.anymail_status, AnymailStatus)
        self.assertIsNot(message.anymail_status, AnymailMessage().anymail_status)

    def test_django_s_own_arguments(self):
        message = AnymailMessage(
            "Subject",
            "Body",
            "from@example.com",
            ["to@example.com"],
            cc=["cc@example.com"],
            headers={"X-A": "1"},
            tags=["tag"],
        )
        self.assertEqual(message.subject, "Subject")
        self.assertEqual(message.body, "Body")
        self.assertEqual(message.recipients(), ["to@example.com", "cc@example.com"])
        self.assertEqual(message.extra_headers, {"X-A": "1"})
        message.attach_alternative("<p>Body</p>", "text/html")
        self.assertEqual(len(message.alternatives), 1)

    def test_unknown_arguments_are_errors(self):
        with self.assertRaises(TypeError):
            AnymailMessage(no_such_argument=1)

    def test_mixin_with_another_class(self):
        class Custom(EmailMessage):
            def __init__(self, *args, **kwargs):
                self.custom = kwargs.pop("custom")
                super().__init__(*args, **kwargs)

        class CustomAnymail(AnymailMessageMixin, Custom):
            pass

        message = CustomAnymail("Subject", custom=1, tags=["tag"])
        self.assertEqual((message.subject, message.custom, message.tags), ("Subject", 1, ["tag"]))
        self.assertIs(message.metadata, UNSET)

    def test_is_still_a_message_to_other_backends(self):
        message = AnymailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        self.assertEqual(message.message()["Subject"], "Subject")


class CopyingTests(SimpleTestCase):
    def messages(self):
        sent = AnymailMessage(
            "Subject", "Body", "from@example.com", ["to@example.com"], **ATTRIBUTES
        )
        sent.attach("note.txt", "Note", "text/plain")
        sent.attach_alternative("<p>Body</p>", "text/html")
        sent.attach_inline_image(SAMPLE_IMAGE)
        sent.anymail_status.set_recipient_status(
            {"to@example.com": AnymailRecipientStatus("id", "queued")}
        )
        sent.anymail_status.esp_response = make_response(json_data={"id": "id"})
        return [sent, AnymailMessage("Subject", tags=["tag"]), AnymailMessage(metadata=None)]

    def duplicates(self, message):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            yield pickle.loads(pickle.dumps(message, protocol))
        yield copy.deepcopy(message)
        yield copy.copy(message)

    def test_messages(self):
        for message in self.messages():
            for duplicate in self.duplicates(message):
                self.assertIs(type(duplicate), AnymailMessage)
                self.assertEqual(duplicate.subject, message.subject)
                self.assertEqual(len(duplicate.attachments), len(message.attachments))
                self.assertEqual(
                    [repr(Attachment(attachment)) for attachment in duplicate.attachments],
                    [repr(Attachment(attachment)) for attachment in message.attachments],
                )
                for name in ATTRIBUTES:
                    value = getattr(message, name)
                    if value is UNSET:
                        self.assertIs(getattr(duplicate, name), UNSET)
                    else:
                        self.assertEqual(getattr(duplicate, name), value)
                self.assertEqual(repr(duplicate.anymail_status), repr(message.anymail_status))

    def test_copies_are_independent(self):
        [message, *_] = self.messages()
        duplicate = copy.deepcopy(message)
        duplicate.metadata["user"] = 0
        duplicate.anymail_status.recipients.clear()
        self.assertEqual(message.metadata, {"user": 123})
        self.assertEqual(len(message.anymail_status.recipients), 1)

    def test_status_objects(self):
        status = AnymailStatus()
        status.set_recipient_status({"to@example.com": AnymailRecipientStatus("id", "sent")})
        status.esp_response = {"raw": "answer"}
        for duplicate in self.duplicates(status):
            self.assertEqual(duplicate.status, {"sent"})
            self.assertEqual(duplicate.message_id, "id")
            self.assertEqual(duplicate.esp_response, {"raw": "answer"})
            recipient = duplicate.recipients["to@example.com"]
            self.assertEqual((recipient.message_id, recipient.status), ("id", "sent"))

    def test_recipient_status_has_ordinary_attributes(self):
        recipient = AnymailRecipientStatus("id", "sent")
        recipient.note = "Projects can add their own"
        self.assertEqual(vars(recipient)["status"], "sent")


class InlineImageTests(SimpleTestCase):
    def attached(self, message) -> tuple[Any, Attachment]:
        [attachment] = message.attachments
        return attachment, Attachment(attachment)

    def test_attached_text_in_its_own_charset(self):
        content = "Größe".encode("iso-8859-1")
        for buffer in (bytes, bytearray, memoryview):
            attachments = [("a.csv", buffer(content), "text/csv; charset=iso-8859-1")]
            _, attachment = self.attached(AnymailMessage(attachments=attachments))
            self.assertEqual((attachment.mimetype, attachment.content), ("text/csv", "Größe"))
            self.assertEqual(attachment.content_bytes, content)

    def test_attach_inline_image(self):
        message = EmailMultiAlternatives()
        cid = attach_inline_image(message, SAMPLE_IMAGE, "pixel.png")
        self.assertRegex(cid, r"^[\w.]+@inline$")
        part, attachment = self.attached(message)
        self.assertEqual(part["Content-ID"], f"<{cid}>")
        self.assertEqual(part.get_content_type(), "image/png")
        self.assertEqual(part.get_content_disposition(), "inline")
        self.assertEqual(part.get_filename(), "pixel.png")
        self.assertEqual(part.get_payload(decode=True), SAMPLE_IMAGE)
        self.assertEqual(attachment.cid, cid)
        self.assertIs(attachment.inline, True)
        self.assertEqual(attachment.content, SAMPLE_IMAGE)
        self.assertEqual(attachment.name, "pixel.png")

    def test_kind_of_mime_object(self):
        message = EmailMessage()
        attach_inline_image(message, SAMPLE_IMAGE)
        part, _ = self.attached(message)
        if django.VERSION >= (6, 0):
            self.assertIs(type(part), email.message.MIMEPart)
        else:
            self.assertIs(type(part), MIMEImage)

    def test_without_filename(self):
        message = EmailMessage()
        attach_inline_image(message, SAMPLE_IMAGE)
        part, attachment = self.attached(message)
        self.assertEqual(part["Content-Disposition"], "inline")
        self.assertIsNone(attachment.name)

    def test_international_filename(self):
        message = EmailMessage()
        attach_inline_image(message, SAMPLE_IMAGE, "пиксель.png")
        self.assertEqual(self.attached(message)[1].name, "пиксель.png")

    def test_ids_are_unique(self):
        message = EmailMessage()
        ids = {attach_inline_image(message, SAMPLE_IMAGE) for _ in range(5)}
        self.assertEqual(len(ids), 5)

    def test_id_never_has_the_host_s_name(self):
        with mock.patch("socket.getfqdn", return_value="host.example.com"):
            cid = attach_inline_image(EmailMessage(), SAMPLE_IMAGE)
        self.assertTrue(cid.endswith("@inline"), cid)

    def test_default_idstring(self):
        message = AnymailMessage()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "picture.png"
            path.write_bytes(SAMPLE_IMAGE)
            for cid in [
                attach_inline_image(message, SAMPLE_IMAGE),
                attach_inline_image_file(message, path),
                message.attach_inline_image(SAMPLE_IMAGE),
                message.attach_inline_image_file(path),
            ]:
                self.assertRegex(cid, r"\.img@inline$")

    def test_idstring_and_domain(self):
        cid = attach_inline_image(
            EmailMessage(), SAMPLE_IMAGE, idstring="logo", domain="example.net"
        )
        self.assertRegex(cid, r"^[\w.]+\.logo@example\.net$")

    def test_subtype(self):
        for content, subtype, expected in [
            (b"<svg></svg>", "svg+xml", "image/svg+xml"),
            (SAMPLE_IMAGE, "x-custom", "image/x-custom"),
            (b"GIF89a", None, "image/gif"),
        ]:
            with self.subTest(expected=expected):
                message = EmailMessage()
                attach_inline_image(message, content, subtype=subtype)
                self.assertEqual(self.attached(message)[0].get_content_type(), expected)

    def test_unknown_type(self):
        message = EmailMessage()
        with self.assertRaises(TypeError):
            attach_inline_image(message, b"no image at all")
        self.assertEqual(message.attachments, [])

    def test_file(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "picture.png"
            path.write_bytes(SAMPLE_IMAGE)
            for argument in [path, str(path)]:
                with self.subTest(argument=argument):
                    message = EmailMessage()
                    cid = attach_inline_image_file(message, argument)
                    _, attachment = self.attached(message)
                    self.assertRegex(cid, r"^[\w.]+@inline$")
                    self.assertEqual(attachment.name, "picture.png")
                    self.assertEqual(attachment.content, SAMPLE_IMAGE)
                    self.assertEqual(attachment.cid, cid)

            message = EmailMessage()
            cid = attach_inline_image_file(message, path, "x-a", "logo", "example.net")
            self.assertTrue(cid.endswith(".logo@example.net"))
            self.assertEqual(self.attached(message)[1].mimetype, "image/x-a")

            message = AnymailMessage()
            cid = message.attach_inline_image_file(path, "x-a", "logo", "example.net")
            self.assertTrue(cid.endswith(".logo@example.net"))
            self.assertEqual(self.attached(message)[1].name, "picture.png")
            self.assertEqual(self.attached(message)[1].mimetype, "image/x-a")

            with self.assertRaises(OSError):
                attach_inline_image_file(message, Path(directory) / "missing.png")

    def test_method(self):
        message = AnymailMessage()
        cid = message.attach_inline_image(SAMPLE_IMAGE, "a.png", "x-a", "logo", "example.net")
        _, attachment = self.attached(message)
        self.assertTrue(cid.endswith(".logo@example.net"))
        self.assertEqual(attachment.cid, cid)
        self.assertEqual((attachment.name, attachment.mimetype), ("a.png", "image/x-a"))

    def test_django_can_serialize_it(self):
        message = AnymailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
        cid = message.attach_inline_image(SAMPLE_IMAGE, "a.png")
        self.assertIn(f"<{cid}>".encode(), message.message().as_bytes())


class AnymailRecipientStatusTests(SimpleTestCase):
    def test_attributes(self):
        recipient = AnymailRecipientStatus("12345", "sent")
        self.assertEqual((recipient.message_id, recipient.status), ("12345", "sent"))
        self.assertEqual(repr(recipient), "AnymailRecipientStatus('12345', 'sent')")
        recipient = AnymailRecipientStatus(message_id=None, status=None)
        self.assertEqual(repr(recipient), "AnymailRecipientStatus(None, None)")

    def test_statuses(self):
        self.assertEqual(
            ANYMAIL_STATUSES,
            ["sent", "queued", "invalid", "rejected", "failed", "unknown", "later"],
        )
        for status in [*ANYMAIL_STATUSES, None]:
            self.assertEqual(AnymailRecipientStatus("id", status).status, status)
        for status in ["delivered", "", "Sent", ["sent"]]:
            with (
                self.subTest(status=status),
                self.assertRaisesMessage(ValueError, "Invalid status"),
            ):
                AnymailRecipientStatus("id", status)

    def test_message_id_must_be_hashable(self):
        for message_id in ["id", 0, 5, None, ("a", 1)]:
            self.assertEqual(AnymailRecipientStatus(message_id, None).message_id, message_id)
        for message_id in [["id"], {"id": 1}]:
            with self.assertRaisesMessage(TypeError, "Invalid message_id"):
                AnymailRecipientStatus(message_id, "sent")


class AnymailStatusTests(SimpleTestCase):
    def status(self, **recipients: tuple[Any, Any]) -> AnymailStatus:
        status = AnymailStatus()
        status.set_recipient_status(
            {name: AnymailRecipientStatus(*args) for name, args in recipients.items()}
        )
        return status

    def test_before_sending(self):
        status = AnymailStatus()
        self.assertIsNone(status.status)
        self.assertIsNone(status.message_id)
        self.assertEqual(status.recipients, {})
        self.assertIsNone(status.esp_response)
        self.assertEqual(repr(status), "AnymailStatus<status=None>")

    def test_same_for_all(self):
        status = self.status(a=("id", "sent"), b=("id", "sent"))
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, "id")
        self.assertEqual(list(status.recipients), ["a", "b"])
        self.assertEqual(
            repr(status), "AnymailStatus<status={'sent'}, message_id='id', 2 recipients>"
        )

    def test_different(self):
        status = self.status(x=("b", "sent"), y=("a", "queued"))
        self.assertEqual(status.status, {"queued", "sent"})
        self.assertEqual(status.message_id, {"a", "b"})
        self.assertEqual(
            repr(status),
            "AnymailStatus<status={'queued', 'sent'}, message_id={'a', 'b'}, 2 recipients>",
        )

    def test_none_for_some(self):
        status = self.status(x=("b", "sent"), y=(None, "invalid"))
        self.assertEqual(status.message_id, {"b", None})
        self.assertEqual(
            repr(status),
            "AnymailStatus<status={'invalid', 'sent'}, message_id={'b', None}, 2 recipients>",
        )

    def test_numbers(self):
        status = self.status(x=(10, "sent"), y=(9, "sent"))
        self.assertIn("message_id={9, 10}", repr(status))
        self.assertEqual(
            repr(self.status(x=(0, "sent"))), "AnymailStatus<status={'sent'}, 1 recipients>"
        )

    def test_adds_others(self):
        status = self.status(x=("a", "sent"))
        for recipients, message_id, statuses in [
            ({"y": ("a", "queued")}, "a", {"sent", "queued"}),
            ({"z": (None, "failed")}, {"a", None}, {"sent", "queued", "failed"}),
            ({"v": ("b", "sent"), "w": ("c", "sent")}, {"a", "b", "c", None}, None),
            ({}, {"a", "b", "c", None}, None),
        ]:
            status.set_recipient_status(self.status(**recipients).recipients)
            self.assertEqual(status.message_id, message_id)
            self.assertEqual(status.status, statuses or {"sent", "queued", "failed"})
        self.assertEqual(list(status.recipients), [*"xyzvw"])

    def test_merges(self):
        status = self.status(x=("a", "sent"), y=("a", "queued"))
        status.set_recipient_status(
            {"y": AnymailRecipientStatus("b", "sent"), "z": AnymailRecipientStatus("b", "sent")}
        )
        self.assertEqual(list(status.recipients), ["x", "y", "z"])
        self.assertEqual(status.recipients["y"].message_id, "b")
        self.assertEqual(status.status, {"sent"})
        self.assertEqual(status.message_id, {"a", "b"})

    def test_no_recipients(self):
        status = self.status()
        self.assertEqual(status.status, set())
        self.assertEqual(status.message_id, set())
        self.assertEqual(repr(status), "AnymailStatus<status=set()>")
