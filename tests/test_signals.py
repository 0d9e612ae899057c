from __future__ import annotations

import pickle
from datetime import datetime, timezone
from typing import Any
from unittest.mock import patch

import django
from django.dispatch import Signal
from django.test import SimpleTestCase

from anymail import signals
from anymail.backends.test import EmailBackend
from anymail.exceptions import (
    AnymailAPIError,
    AnymailCancelSend,
    AnymailError,
    AnymailRecipientsRefused,
    Problem,
)
from anymail.inbound import AnymailInboundMessage
from anymail.message import AnymailRecipientStatus
from anymail.signals import (
    AnymailEvent,
    AnymailInboundEvent,
    AnymailTrackingEvent,
    EventType,
    RejectReason,
    inbound,
    post_send,
    pre_send,
    send_failed,
    tracking,
)
from tests.utils import make_message, use_backend


class SignalTests(SimpleTestCase):
    def test_are_django_s_signals(self):
        for signal in [pre_send, post_send, send_failed, tracking, inbound]:
            self.assertIsInstance(signal, Signal)

    def test_cancel_send_is_an_exception(self):
        # and not in this module, whatever some documentation says
        self.assertFalse(hasattr(signals, "AnymailCancelSend"))


@use_backend("anymail.backends.test.EmailBackend")
class SendSignalsTestCase(SimpleTestCase):
    def connect(self, signal: Signal, receiver: Any) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)


class PreSendTests(SendSignalsTestCase):
    def test_arguments(self):
        calls = []

        def receiver(sender, message, esp_name, **kwargs):
            calls.append((sender, message, esp_name, set(kwargs)))
            self.assertFalse(hasattr(message, "anymail_test_params"))  # not sent yet

        self.connect(pre_send, receiver)
        message = make_message()
        self.assertEqual(message.send(), 1)
        [(sender, sent, esp_name, others)] = calls
        self.assertIs(sender, EmailBackend)
        self.assertIs(sent, message)
        self.assertEqual(esp_name, "Test")
        self.assertEqual(others, {"signal"})

    def test_can_change_the_message(self):
        def receiver(sender, message, esp_name, **kwargs):
            message.to = [each for each in message.to if not each.startswith("bad")]
            message.body += " (changed)"

        self.connect(pre_send, receiver)
        message = make_message(to=["bad@example.com", "to@example.com"])
        message.send()
        params = message.anymail_test_params
        self.assertEqual([email.addr_spec for email in params["to"]], ["to@example.com"])
        self.assertEqual(params["text_body"], "Text body (changed)")

    def test_can_cancel(self):
        def receiver(sender, message, esp_name, **kwargs):
            raise AnymailCancelSend("whatever the reason")

        self.connect(pre_send, receiver)
        self.connect(post_send, lambda **kwargs: self.fail("post_send"))
        message = make_message()
        self.assertEqual(message.send(), 0)
        self.assertFalse(hasattr(message, "anymail_test_params"))
        self.assertIsNone(message.anymail_status.status)
        self.assertEqual(message.anymail_status.recipients, {})

    def test_can_drop_everyone(self):
        def receiver(sender, message, esp_name, **kwargs):
            message.to = []

        self.connect(pre_send, receiver)
        message = make_message()
        self.assertEqual(message.send(), 0)
        self.assertFalse(hasattr(message, "anymail_test_params"))

    def test_other_errors_propagate(self):
        later_calls = []

        def receiver(**kwargs):
            raise ValueError("from the receiver")

        def later(**kwargs):
            later_calls.append(kwargs)

        self.connect(pre_send, receiver)
        self.connect(pre_send, later)
        message = make_message()
        with self.assertRaisesMessage(ValueError, "from the receiver"):
            message.send()
        self.assertEqual(later_calls, [])
        self.assertFalse(hasattr(message, "anymail_test_params"))


class PostSendTests(SendSignalsTestCase):
    def test_arguments(self):
        calls = []

        def receiver(sender, message, status, esp_name, **kwargs):
            calls.append((sender, message, status, esp_name, set(kwargs)))
            self.assertTrue(hasattr(message, "anymail_test_params"))

        self.connect(post_send, receiver)
        message = make_message()
        message.send()
        [(sender, sent, status, esp_name, others)] = calls
        self.assertIs(sender, EmailBackend)
        self.assertIs(sent, message)
        self.assertIs(status, message.anymail_status)
        self.assertEqual(esp_name, "Test")
        self.assertEqual(others, {"signal", "mailer", "duration", "original"})

    def test_mailer_duration_and_original(self):
        calls = []
        self.connect(post_send, lambda **kwargs: calls.append(kwargs))
        message = make_message()
        message.send()
        [call] = calls
        self.assertEqual(call["mailer"], "default" if django.VERSION >= (6, 1) else None)
        self.assertIs(call["original"], message)
        self.assertGreaterEqual(call["duration"], 0)
        self.assertLess(call["duration"], 60)

    def test_status_is_complete(self):
        statuses = []

        def receiver(status, **kwargs):
            statuses.append((status.status, status.message_id, dict(status.recipients)))
            self.assertIsNotNone(status.esp_response)

        self.connect(post_send, receiver)
        message = make_message()
        message.send()
        [(status, message_id, recipients)] = statuses
        self.assertEqual(status, {"sent"})
        self.assertEqual(message_id, message.anymail_status.message_id)
        self.assertEqual(recipients["to@example.com"].status, "sent")

    def test_errors_do_not_stop_other_receivers(self):
        calls = []

        def first(**kwargs):
            calls.append("first")
            raise ValueError("from the first receiver")

        def second(**kwargs):
            calls.append("second")
            raise KeyError("from the second receiver")

        def third(**kwargs):
            calls.append("third")

        for receiver in [first, second, third]:
            self.connect(post_send, receiver)
        message = make_message()
        # Django logs the errors of a robust signal.
        with (
            self.assertLogs("django.dispatch", "ERROR"),
            self.assertRaisesMessage(ValueError, "from the first receiver"),
        ):
            message.send()
        self.assertEqual(calls, ["first", "second", "third"])
        self.assertEqual(message.anymail_status.status, {"sent"})

    def test_called_although_everyone_was_refused(self):
        calls = []
        self.connect(post_send, lambda status, **kwargs: calls.append(status.status))
        message = make_message()
        message.anymail_test_response = {
            "recipient_status": {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        }
        with self.assertRaises(AnymailRecipientsRefused):
            message.send()
        self.assertEqual(calls, [{"rejected"}])

    def test_not_called_after_an_error(self):
        self.connect(post_send, lambda **kwargs: self.fail("post_send"))
        for response in [AnymailAPIError("text"), {"wrong": "response"}]:
            message = make_message()
            message.anymail_test_response = response
            with self.subTest(response=response), self.assertRaises(AnymailAPIError):
                message.send()
            self.assertIsNone(message.anymail_status.status)


class SendFailedTests(SendSignalsTestCase):
    def setUp(self):
        super().setUp()
        self.calls = []
        self.connect(send_failed, lambda sender, **kwargs: self.calls.append((sender, kwargs)))

    def failing_message(self, response=None, **attrs):
        message = make_message(**attrs)
        message.anymail_test_response = AnymailAPIError("text") if response is None else response
        return message

    def test_arguments(self):
        message = self.failing_message()
        with self.assertRaises(AnymailAPIError) as caught:
            message.send()
        [(sender, call)] = self.calls
        self.assertIs(sender, EmailBackend)
        self.assertIs(call["error"], caught.exception)
        self.assertIs(call["message"], message)
        self.assertIs(call["original"], message)
        self.assertEqual(call["esp_name"], "Test")
        self.assertEqual((call["attempt"], call["final"], call["will_retry"]), (1, True, None))
        self.assertGreaterEqual(call["duration"], 0)

    def test_connection_that_cannot_be_opened(self):
        error = OSError("no network")
        with (
            patch("anymail.backends.test.EmailBackend.open", side_effect=error),
            self.assertRaises(OSError) as caught,
        ):
            make_message().send()
        self.assertEqual(caught.exception.sent_count, 0)
        [(_, call)] = self.calls
        self.assertIs(call["error"], error)
        self.assertTrue(call["final"])

    def test_not_for_success(self):
        make_message().send()
        self.assertEqual(self.calls, [])

    def test_not_for_canceled_messages(self):
        def cancel(**kwargs):
            raise AnymailCancelSend

        self.connect(pre_send, cancel)
        make_message().send()
        self.assertEqual(self.calls, [])

    def test_each_problem(self):
        refused = {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        for message, problem, may_have_been_sent in [
            (self.failing_message({"recipient_status": refused}), Problem.MESSAGE, False),
            (make_message(to=["not an address"]), Problem.MESSAGE, False),
            (make_message(subject="a\nb"), Problem.MESSAGE, False),
            (
                make_message(from_email="a@example.com, b@example.com"),
                Problem.UNSUITABLE,
                False,
            ),
            (self.failing_message(), Problem.UNCLEAR, True),
        ]:
            self.calls.clear()
            with self.subTest(problem=problem), self.assertRaises(AnymailError) as caught:
                message.send()
            error = caught.exception
            self.assertIs(error.problem, problem)
            self.assertIs(error.may_have_been_sent, may_have_been_sent)
            self.assertTrue(error.advice)
            self.assertEqual(list(error.unsent), [])
            [(_, call)] = self.calls
            self.assertIs(call["error"], error)
            restored = pickle.loads(pickle.dumps(error))
            self.assertIs(restored.problem, problem)
            self.assertEqual(restored.advice, error.advice)

    def test_accepted_in_part(self):
        error = AnymailAPIError(
            "text",
            recipients={
                "a@example.com": AnymailRecipientStatus("1", "sent"),
                "b@example.com": AnymailRecipientStatus(None, "failed"),
                "c@example.com": AnymailRecipientStatus(None, "unknown"),
            },
        )
        to = ["A <a@example.com>", "b@example.com", "c@example.com"]
        message = self.failing_message(error, to=to)
        with self.assertRaises(AnymailAPIError):
            message.send()
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(error.unsent, ["b@example.com"])

    def test_other_exceptions(self):
        def receiver(**kwargs):
            raise ValueError("from a receiver")

        self.connect(pre_send, receiver)
        with self.assertRaises(ValueError) as caught:
            make_message().send()
        [(_, call)] = self.calls
        self.assertIs(call["error"], caught.exception)

    def test_receiver_of_post_send_changes_nothing(self):
        def receiver(**kwargs):
            raise ValueError("from a receiver")

        self.connect(post_send, receiver)
        with (
            self.assertLogs("django.dispatch", "ERROR"),
            self.assertRaisesMessage(ValueError, "from a receiver"),
        ):
            make_message().send()
        self.assertEqual(self.calls, [])

    def test_errors_in_receivers(self):
        def receiver(**kwargs):
            raise ValueError("from a receiver")

        self.connect(send_failed, receiver)
        with self.assertLogs("django.dispatch", "ERROR"), self.assertRaises(AnymailAPIError):
            self.failing_message().send()

    def test_called_after_post_send(self):
        order = []
        self.connect(post_send, lambda **kwargs: order.append("post_send"))
        self.connect(send_failed, lambda **kwargs: order.append("send_failed"))
        refused = {"to@example.com": AnymailRecipientStatus(None, "rejected")}
        with self.assertRaises(AnymailRecipientsRefused):
            self.failing_message({"recipient_status": refused}).send()
        self.assertEqual(order, ["post_send", "send_failed"])

    def test_failure_while_telling_of_a_failure(self):
        """As with AdminEmailHandler, when no mail can be sent."""

        def receiver(**kwargs):
            with self.assertRaises(AnymailAPIError):
                self.failing_message().send()

        self.connect(send_failed, receiver)
        with (
            self.assertLogs("anymail.delivery", "DEBUG") as logs,
            self.assertRaises(AnymailAPIError),
        ):
            self.failing_message().send()
        self.assertEqual(len(self.calls), 1)
        self.assertEqual([record.levelname for record in logs.records], ["DEBUG"])


class EventTests(SimpleTestCase):
    timestamp = datetime(2031, 5, 6, tzinfo=timezone.utc)

    def test_event(self):
        event = AnymailEvent("sent")
        self.assertEqual(event.event_type, "sent")
        for name in ["timestamp", "event_id", "esp_event"]:
            self.assertIsNone(getattr(event, name))
        event = AnymailEvent("sent", self.timestamp, "id", {"raw": 1}, unknown=2)
        self.assertEqual(
            (event.event_type, event.timestamp, event.event_id, event.esp_event),
            ("sent", self.timestamp, "id", {"raw": 1}),
        )
        self.assertFalse(hasattr(event, "unknown"))

    def test_tracking_event_defaults(self):
        event = AnymailTrackingEvent(event_type="sent")
        self.assertIsInstance(event, AnymailEvent)
        for name in [
            "timestamp",
            "event_id",
            "esp_event",
            "message_id",
            "recipient",
            "reject_reason",
            "description",
            "mta_response",
            "click_url",
            "user_agent",
        ]:
            with self.subTest(name=name):
                self.assertIsNone(getattr(event, name))
        self.assertEqual(event.tags, [])
        self.assertEqual(event.metadata, {})
        other = AnymailTrackingEvent(event_type="sent", tags=None, metadata=None)
        self.assertEqual((other.tags, other.metadata), ([], {}))
        self.assertIsNot(event.tags, other.tags)
        self.assertIsNot(event.metadata, other.metadata)

    def test_tracking_event(self):
        values = {
            "event_type": "clicked",
            "timestamp": self.timestamp,
            "event_id": "id",
            "esp_event": {"raw": 1},
            "message_id": "message",
            "recipient": "to@example.com",
            "reject_reason": "spam",
            "description": "description",
            "mta_response": "250 OK",
            "tags": ["tag"],
            "metadata": {"a": 1},
            "click_url": "https://example.com/",
            "user_agent": "agent",
        }
        event = AnymailTrackingEvent(**values, unknown=2)
        for name, value in values.items():
            with self.subTest(name=name):
                self.assertIs(getattr(event, name), value)
        self.assertFalse(hasattr(event, "unknown"))

    def test_tracking_event_needs_a_type(self):
        with self.assertRaises(TypeError):
            AnymailTrackingEvent(message_id="message")

    def test_keyword_only(self):
        for cls in [AnymailTrackingEvent, AnymailInboundEvent]:
            with self.assertRaises(TypeError):
                cls("sent")

    def test_inbound_event(self):
        message = AnymailInboundMessage()
        event = AnymailInboundEvent(message=message, event_id="id", unknown=2)
        self.assertIsInstance(event, AnymailEvent)
        self.assertIs(event.message, message)
        self.assertEqual(event.event_type, "inbound")
        self.assertEqual(event.event_id, "id")
        self.assertFalse(hasattr(event, "unknown"))
        event = AnymailInboundEvent(event_type="inbound_failed")
        self.assertEqual(event.event_type, "inbound_failed")
        self.assertIsNone(event.message)

    def test_repr(self):
        self.assertEqual(
            repr(AnymailTrackingEvent(event_type="sent", event_id="id", recipient="a@b.c")),
            "<AnymailTrackingEvent sent id>",
        )
        self.assertEqual(repr(AnymailInboundEvent()), "<AnymailInboundEvent inbound (no event_id)>")


class ConstantsTests(SimpleTestCase):
    def constants(self, cls: type) -> dict[str, Any]:
        return {name: value for name, value in vars(cls).items() if not name.startswith("_")}

    def test_event_types(self):
        names = {
            *("queued", "sent", "rejected", "failed", "bounced", "deferred", "delivered"),
            *("autoresponded", "opened", "clicked", "complained", "unsubscribed", "subscribed"),
            *("inbound", "inbound_failed", "unknown"),
        }
        self.assertEqual(self.constants(EventType), {name.upper(): name for name in names})

    def test_reject_reasons(self):
        names = ["invalid", "bounced", "timed_out", "blocked", "spam", "unsubscribed", "other"]
        self.assertEqual(self.constants(RejectReason), {name.upper(): name for name in names})

    def test_are_plain_strings(self):
        for value in [EventType.BOUNCED, RejectReason.SPAM]:
            self.assertIs(type(value), str)
