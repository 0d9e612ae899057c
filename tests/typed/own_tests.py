"""How a project tests its mail."""

from __future__ import annotations

import sys
from typing import Any

from django.core.mail import send_mail
from django.test import TestCase

from anymail.attachments import Attachment
from anymail.message import AnymailMessage
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent
from anymail.testing import (
    Outbox,
    OutboxMixin,
    ProviderCall,
    SentMail,
    make_inbound_event,
    make_tracking_event,
    outbox,
)

if sys.version_info >= (3, 11):
    from typing import assert_type
else:
    from typing_extensions import assert_type


class SignUpTests(OutboxMixin, TestCase):
    outbox_options = {"as_if": "postmark"}

    def setUp(self) -> None:
        super().setUp()
        message = AnymailMessage(
            "Hello", "Go: https://a.example/", "a@example.com", ["b@example.com"]
        )
        message.attach("a.txt", "text", "text/plain")
        message.send()

    def test_mail(self) -> None:
        assert_type(self.outbox, Outbox)
        mail = self.outbox.assert_sent(to="b@example.com", subject__contains="Hello", count=1)
        assert_type(mail, SentMail)
        assert_type(mail.to, list[str])
        assert_type(mail.link("Go"), str)
        assert_type(mail.attachment("a.txt"), Attachment)
        assert_type(mail.metadata, dict[str, Any])
        assert_type(mail.as_provider("postmark"), ProviderCall)
        assert_type(self.outbox.click(mail, mail.links[0]), AnymailTrackingEvent)
        assert_type(
            self.outbox.reply(mail, attachments=[("a", b"", "image/png")]), AnymailInboundEvent
        )
        self.outbox.fail_next("busy", mailer="default", retry_after=3)

    def test_own_outbox(self) -> None:
        with outbox(mailers={"default": {"BACKEND": "anymail.backends.test.EmailBackend"}}) as box:
            assert_type(box, Outbox)
            send_mail("Hello", "Hello!", "a@example.com", ["b@example.com"])
            box.assert_sent(mailer="default")
            box.assert_nothing_more()

    def test_events(self) -> None:
        assert_type(make_tracking_event("opened", tags=["a"]), AnymailTrackingEvent)
        assert_type(
            make_inbound_event(attachments=[("a.txt", "a", "text/plain")]), AnymailInboundEvent
        )
