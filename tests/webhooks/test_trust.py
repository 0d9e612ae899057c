"""Settings about which calls are acted upon, and how often."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

from django.core.cache import cache, caches
from django.test import RequestFactory, SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail.exceptions import AnymailInsecureWebhookWarning, AnymailWebhookValidationFailure
from anymail.inbound import AnymailInboundMessage
from anymail.signals import AnymailInboundEvent, AnymailTrackingEvent, inbound, tracking
from anymail.webhooks import base, dedupe
from anymail.webhooks.base import AnymailBaseWebhookView, as_keys
from anymail.webhooks.dedupe import HandledEvents, event_identity
from anymail.webhooks.resend import ResendTrackingWebhookView

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "trust"}
}


def tracking_event(**kwargs):
    return AnymailTrackingEvent(**{"event_type": "opened", "recipient": "a@example.com", **kwargs})


class View(AnymailBaseWebhookView):
    esp_name = "Test ESP"
    signal = tracking
    warn_if_no_basic_auth = False
    events = []

    def parse_events(self, request):
        return self.events


class InboundView(View):
    signal = inbound


class SharedIdView(View):
    event_id_is_unique = False


class TrustTestCase(SimpleTestCase):
    def setUp(self):
        super().setUp()
        self.handled = []
        self.errors = {}
        for signal in (tracking, inbound):
            signal.connect(self.receive)
            self.addCleanup(signal.disconnect, self.receive)
        self.addCleanup(cache.clear)

    def receive(self, sender, event, esp_name, **kwargs):
        key = getattr(event, "recipient", None) or event.event_id
        self.handled.append(key)
        if key in self.errors:
            raise self.errors[key]

    def call(self, *events, view=View):
        return view.as_view(events=list(events))(RequestFactory().post("/"))


@override_settings(CACHES=CACHES, ANYMAIL={"WEBHOOK_DEDUPE_CACHE": "default"})
class DedupeTests(TrustTestCase):
    def test_same_id(self):
        for _ in range(2):
            self.assertEqual(self.call(tracking_event(event_id="1")).status_code, 200)
        self.assertEqual(self.handled, ["a@example.com"])

    @override_settings(ANYMAIL={})
    def test_off_by_default(self):
        for _ in range(2):
            self.call(tracking_event(event_id="1"))
        self.assertEqual(len(self.handled), 2)

    def test_unique_id_is_enough(self):
        # Whatever else a repeated call says, its id is used up.
        self.call(tracking_event(event_id="1"))
        self.call(tracking_event(event_id="1", recipient="b@example.com", event_type="clicked"))
        self.assertEqual(self.handled, ["a@example.com"])

    def test_shared_id(self):
        events = [
            tracking_event(event_id="1", recipient=recipient, event_type=event_type)
            for recipient in ("a@example.com", "b@example.com")
            for event_type in ("sent", "delivered")
        ]
        self.call(*events, view=SharedIdView)
        self.assertEqual(len(self.handled), 4)
        self.call(*events, view=SharedIdView)
        self.assertEqual(len(self.handled), 4)

    def test_other_provider_and_other_kind(self):
        class OtherView(View):
            esp_name = "Other ESP"

        self.call(tracking_event(event_id="1"))
        self.call(tracking_event(event_id="1"), view=OtherView)
        self.call(AnymailInboundEvent(event_id="1"), view=InboundView)
        self.assertEqual(len(self.handled), 3)

    def test_content_of_events_without_id(self):
        when = datetime(2031, 1, 2, tzinfo=timezone.utc)
        event = {"timestamp": when, "metadata": {"a": 1}, "esp_event": {"x": [1]}}
        self.call(tracking_event(**event))
        self.call(tracking_event(**event))
        self.assertEqual(len(self.handled), 1)
        for change in (
            {"timestamp": when + timedelta(seconds=1)},
            {"recipient": "b@example.com"},
            {"event_type": "clicked"},
            {"metadata": {"a": 2}},
            {"esp_event": {"x": [2]}},
        ):
            self.handled.clear()
            self.call(tracking_event(**{**event, **change}))
            self.assertEqual(len(self.handled), 1, change)

    def test_content_of_inbound_messages(self):
        def message(text):
            return AnymailInboundMessage.construct(from_email="a@example.com", text=text)

        for text in ("one", "one", "two"):
            event = AnymailInboundEvent(message=message(text), esp_event=object())
            self.call(event, view=InboundView)
        self.assertEqual(len(self.handled), 2)
        # Looking at a message must not change it.
        self.assertNotIn("boundary", event.message["Content-Type"])

    def test_failure_is_not_handled(self):
        self.errors = {"a@example.com": RuntimeError("database is away")}
        with self.assertRaises(RuntimeError):
            self.call(tracking_event(event_id="1"))
        self.errors = {}
        self.call(tracking_event(event_id="1"))
        self.call(tracking_event(event_id="1"))
        self.assertEqual(len(self.handled), 2)

    def test_retry_of_a_batch_has_what_is_missing(self):
        batch = [
            tracking_event(event_id=str(number), recipient=f"{number}@example.com")
            for number in range(3)
        ]
        self.errors = {"1@example.com": RuntimeError()}
        with self.assertRaises(RuntimeError):
            self.call(*batch)
        self.errors = {}
        self.call(*batch)
        self.assertEqual(
            self.handled, ["0@example.com", "1@example.com", "1@example.com", "2@example.com"]
        )

    def test_concurrent_duplicates(self):
        started, finish = threading.Event(), threading.Event()

        def slow_receiver(sender, event, esp_name, **kwargs):
            started.set()
            finish.wait(5)

        tracking.connect(slow_receiver)
        self.addCleanup(tracking.disconnect, slow_receiver)
        first = threading.Thread(target=self.call, args=[tracking_event(event_id="1")])
        first.start()
        self.assertTrue(started.wait(5))
        # The first call can still fail, so this one must not be taken for done.
        response = self.call(tracking_event(event_id="1"))
        self.assertEqual(response.status_code, 503)
        self.assertIn("Retry-After", response)
        finish.set()
        first.join()
        self.assertEqual(self.call(tracking_event(event_id="1")).status_code, 200)
        self.assertEqual(self.handled, ["a@example.com"])

    @override_settings(ANYMAIL={"WEBHOOK_DEDUPE_CACHE": "default", "WEBHOOK_DEDUPE_SECONDS": -1})
    def test_forgotten_after_a_time(self):
        for _ in range(2):
            self.call(tracking_event(event_id="1"))
        self.assertEqual(len(self.handled), 2)

    def test_same_event_twice_in_a_call(self):
        self.call(tracking_event(event_id="1"), tracking_event(event_id="1"))
        self.assertEqual(len(self.handled), 1)

    def test_any_id_makes_a_key(self):
        for event_id in ("ü x" * 500, "\ud800", "a\nb"):
            self.assertEqual(self.call(tracking_event(event_id=event_id)).status_code, 200)

    def test_identity_of_unusual_content(self):
        event = tracking_event(metadata={"when": datetime(2031, 1, 1, tzinfo=timezone.utc)})
        self.assertEqual(
            event_identity(event, id_is_unique=True), event_identity(event, id_is_unique=False)
        )
        self.assertEqual(self.call(event).status_code, 200)


@override_settings(CACHES=CACHES, ANYMAIL={"WEBHOOK_DEDUPE_CACHE": "default"})
class LeaseTests(TrustTestCase):
    """How long a call has an event for itself"""

    def setUp(self):
        super().setUp()
        self.event = tracking_event(event_id="1")
        self.pauses = []
        tracking.connect(self.pause)
        self.addCleanup(tracking.disconnect, self.pause)
        self.pool = ThreadPoolExecutor()
        self.addCleanup(self.pool.shutdown)

    def pause(self, sender, event, esp_name, **kwargs):
        if self.pauses:
            started, end, error = self.pauses.pop()
            started.set()
            end.wait(5)
            if error:
                raise error

    def status(self):
        return self.call(self.event).status_code

    def begin_call(self, error=None):
        """Make a call, and return a function that lets it end and returns its status or error."""
        started, end = threading.Event(), threading.Event()
        self.pauses.append((started, end, error))
        future = self.pool.submit(self.status)
        self.assertTrue(started.wait(5))

        def end_call():
            end.set()
            return future.exception(5) or future.result()

        return end_call

    def test_killed_process(self):
        # Amazon SNS tries again after 20 seconds, and only three times.
        self.assertLess(dedupe.LEASE_SECONDS, 20)
        with patch.object(dedupe, "LEASE_SECONDS", 0.2):
            handled = HandledEvents(View.esp_name, "tracking", id_is_unique=True)
            self.assertIsNotNone(handled.claim(self.event))
        self.assertEqual(self.status(), 503)
        time.sleep(0.3)
        self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.handled), 1)

    def test_slow_receiver(self):
        with patch.multiple(dedupe, LEASE_SECONDS=0.4, RENEWAL_SECONDS=0.1):
            end_call = self.begin_call()
            time.sleep(0.8)
            self.assertEqual(self.status(), 503)
            self.assertEqual(end_call(), 200)
        self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.handled), 1)

    def test_late_failure(self):
        """It frees the event only if no other call has taken it on, or has handled it."""
        for is_first in (True, False):
            with self.subTest(is_first=is_first):
                self.handled.clear()
                cache.clear()
                late = RuntimeError("late")
                with patch.object(dedupe, "LEASE_SECONDS", 0.1):
                    end_late_call = self.begin_call(late)
                time.sleep(0.2)
                end_second_call = self.begin_call()
                if is_first:
                    self.assertIs(end_late_call(), late)
                    self.assertEqual(self.status(), 503)
                self.assertEqual(end_second_call(), 200)
                self.assertIs(end_late_call(), late)
                self.assertEqual(self.status(), 200)
                self.assertEqual(len(self.handled), 2)

    def test_late_renewal(self):
        """It neither takes the event from another call, nor forgets that it was handled."""
        handled = HandledEvents(View.esp_name, "tracking", id_is_unique=True)
        with patch.object(dedupe, "LEASE_SECONDS", 0.1):
            handled.claim(self.event)
        time.sleep(0.2)
        end_call = self.begin_call()
        handled._renew(cache)
        self.assertEqual(end_call(), 200)
        with patch.object(dedupe, "LEASE_SECONDS", 0):
            handled._renew(cache)
        self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.handled), 1)

    def test_renewals_end_with_the_call(self):
        before = set(threading.enumerate())
        with patch.object(dedupe, "RENEWAL_SECONDS", 0.01):
            end_call = self.begin_call()
            new = set(threading.enumerate()) - before
            [thread] = (thread for thread in new if thread.name == dedupe.THREAD_NAME)
            end_call()
            thread.join(5)
        self.assertFalse(thread.is_alive())

    def test_no_thread_for_renewals(self):
        with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start")):
            self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.handled), 1)

    def test_cache_fails_after_receiver(self):
        """The receiver's error is what is raised."""
        self.errors = {"a@example.com": RuntimeError("from the receiver")}
        for method in ("get", "delete"):
            with (
                self.subTest(method),
                patch.object(type(caches["default"]), method, side_effect=OSError("cache is away")),
                self.assertLogs("anymail.webhooks", "ERROR") as logs,
                self.assertRaisesMessage(RuntimeError, "from the receiver") as raised,
            ):
                self.status()
            self.assertIsNone(raised.exception.__context__)
            self.assertIn("cache is away", logs.output[0])
            cache.clear()

    def test_cache_fails_when_handled(self):
        with (
            patch.object(type(caches["default"]), "set", side_effect=OSError("cache is away")),
            self.assertLogs("anymail.webhooks", "ERROR"),
        ):
            self.assertEqual(self.status(), 200)


class IsolationTests(TrustTestCase):
    def setUp(self):
        super().setUp()
        self.batch = [tracking_event(recipient=f"{number}@example.com") for number in range(3)]
        self.errors = {"0@example.com": RuntimeError("first"), "1@example.com": ValueError()}

    def test_default(self):
        with self.assertRaisesMessage(RuntimeError, "first"):
            self.call(*self.batch)
        self.assertEqual(self.handled, ["0@example.com"])

    @override_settings(ANYMAIL={"WEBHOOK_ISOLATE_EVENTS": True})
    def test_isolated(self):
        """The first exception is raised, and all further ones are logged."""
        self.errors["2@example.com"] = KeyError("third")
        with (
            self.assertLogs("anymail.webhooks", "ERROR") as logs,
            self.assertRaisesMessage(RuntimeError, "first"),
        ):
            self.call(*self.batch)
        self.assertEqual(self.handled, ["0@example.com", "1@example.com", "2@example.com"])
        further = [record.exc_info[1] for record in logs.records]
        self.assertEqual(further, [self.errors["1@example.com"], self.errors["2@example.com"]])
        self.assertIn("Test ESP", logs.records[0].getMessage())

    @override_settings(
        CACHES=CACHES,
        ANYMAIL={"WEBHOOK_ISOLATE_EVENTS": True, "WEBHOOK_DEDUPE_CACHE": "default"},
    )
    def test_event_in_progress_hides_no_error(self):
        claimed, failing = (tracking_event(event_id=text, recipient=text) for text in ("c", "f"))
        HandledEvents(View.esp_name, "tracking", id_is_unique=True).claim(claimed)
        self.assertEqual(self.call(claimed).status_code, 503)
        self.errors = {"f": RuntimeError("receiver")}
        for events in ((claimed, failing), (failing, claimed)):
            with self.assertNoLogs("anymail.webhooks"), self.assertRaises(RuntimeError):
                self.call(*events)


class RequireAuthTests(TrustTestCase):
    def setUp(self):
        super().setUp()
        base._log_unprotected.cache_clear()

    @override_settings(ANYMAIL={"REQUIRE_WEBHOOK_AUTH": True})
    def test_unprotected(self):
        class WarningView(View):
            warn_if_no_basic_auth = True

        with self.assertLogs("anymail.webhooks", "ERROR") as logs:
            for _ in range(2):
                response = self.call(tracking_event(), view=WarningView)
                self.assertEqual(response.status_code, 403)
        self.assertEqual(self.handled, [])
        [text] = logs.output
        self.assertIn("Test ESP", text)
        self.assertIn("WEBHOOK_SECRET", text)

    @override_settings(ANYMAIL={"REQUIRE_WEBHOOK_AUTH": True})
    def test_head_is_answered(self):
        response = View.as_view()(RequestFactory().head("/"))
        self.assertEqual(response.status_code, 200)

    @override_settings(ANYMAIL={"REQUIRE_WEBHOOK_AUTH": True, "WEBHOOK_SECRET": "user:pass"})
    def test_with_secret(self):
        request = RequestFactory().post("/", headers={"Authorization": "Basic dXNlcjpwYXNz"})
        self.assertEqual(View.as_view(events=[tracking_event()])(request).status_code, 200)
        self.assertEqual(len(self.handled), 1)
        with self.assertRaises(AnymailWebhookValidationFailure):
            self.call(tracking_event())

    @override_settings(ANYMAIL={"REQUIRE_WEBHOOK_AUTH": True})
    def test_with_signature(self):
        class SignedView(View):
            is_protected = True

        self.assertEqual(self.call(tracking_event(), view=SignedView).status_code, 200)

    @override_settings(ANYMAIL={})
    def test_not_required_by_default(self):
        class WarningView(View):
            warn_if_no_basic_auth = True

        with self.assertWarns(AnymailInsecureWebhookWarning):
            response = self.call(tracking_event(), view=WarningView)
        self.assertEqual(response.status_code, 200)


class SeveralKeysTests(SimpleTestCase):
    """What views have as attributes if a setting has several keys: the first of them."""

    def test_first(self):
        for view, option, attribute, expected in (
            ("mailersend.MailerSendTrackingWebhookView", "signing_secret", "", b"a"),
            ("mailersend.MailerSendInboundWebhookView", "inbound_secret", "signing_secret", b"a"),
            ("mailgun.MailgunTrackingWebhookView", "webhook_signing_key", "", b"a"),
            ("mailtrap.MailtrapTrackingWebhookView", "tracking_secret", "", "a"),
            ("mailtrap.MailtrapInboundWebhookView", "inbound_secret", "", "a"),
            ("mandrill.MandrillCombinedWebhookView", "webhook_key", "", b"a"),
            ("postal.PostalTrackingWebhookView", "webhook_key", "", "a"),
            ("unisender_go.UnisenderGoTrackingWebhookView", "api_key", "api_key_bytes", b"a"),
        ):
            view_class = import_string(f"anymail.webhooks.{view}")
            for keys in ("a", ["a", "b"], ("", "a", "b")):
                with (
                    self.subTest(view=view, keys=keys),
                    override_settings(ANYMAIL={"MAILTRAP_API_TOKEN": "token"}),
                ):
                    function = view_class.as_view(**{option: keys})
                    instance = function.view_class(**function.view_initkwargs)
                    self.assertEqual(getattr(instance, attribute or option), expected)
                    self.assertIn(option.upper(), instance.signature_keys.setting)
                    self.assertIs(bool(instance.signature_keys), True)
                    self.assertIs(instance.is_protected, True)

    def test_resend(self):
        secrets = ["whsec_YQ==", "whsec_Yg=="]
        with override_settings(ANYMAIL={"RESEND_SIGNING_SECRET": secrets}):
            self.assertEqual(ResendTrackingWebhookView().signing_secret, secrets[0])

    def test_one_key_is_not_a_list_of_characters(self):
        self.assertEqual(as_keys("key"), ["key"])
        self.assertEqual(as_keys(5), [5])  # what is no key gets an error from the view.


class FreshnessTests(SimpleTestCase):
    def check(self, seconds, **kwargs):
        when = None
        if seconds is not None:
            when = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        View().check_freshness(when, **kwargs)

    @override_settings(ANYMAIL={})
    def test_off_by_default(self):
        for seconds in (None, -1_000_000, 1_000_000):
            self.check(seconds)

    @override_settings(ANYMAIL={"WEBHOOK_MAX_AGE": 300})
    def test_setting(self):
        self.check(0)
        self.check(-290)
        self.check(290)
        for seconds in (None, -310, 310):
            with self.assertRaisesRegex(AnymailWebhookValidationFailure, "WEBHOOK_MAX_AGE"):
                self.check(seconds)

    def test_limit_of_a_scheme(self):
        for settings, limit in (
            ({}, 300),
            ({"WEBHOOK_MAX_AGE": 600}, 300),
            ({"WEBHOOK_MAX_AGE": 60}, 60),
        ):
            with override_settings(ANYMAIL=settings):
                self.check(limit - 10, max_age=300)
                with self.assertRaises(AnymailWebhookValidationFailure):
                    self.check(limit + 10, max_age=300)
