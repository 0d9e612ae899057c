from __future__ import annotations

from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.test import SimpleTestCase

from anymail.delivery.decisions import Pause
from anymail.delivery.memory import Memory
from anymail.delivery.pauses import IN_USE, MailerState, Pauses

from .clock import Clock


class FailingCache(DummyCache):
    def __init__(self) -> None:
        super().__init__("", {})

    def _fail(self, *args, **kwargs):
        raise ConnectionError("no Redis")

    get_many = set = add = delete = get = _fail


class PausesTests(SimpleTestCase):
    def setUp(self):
        self.clock = Clock()
        cache = LocMemCache(self.id(), {})
        cache.clear()
        self.pauses = Pauses(Memory(cache), self.clock)

    def state(self, mailer, domain=""):
        return self.pauses.states(["other", mailer], domain)[mailer]

    def test_no_pause(self):
        self.assertEqual(self.pauses.states(["a", "b"]), {"a": IN_USE, "b": IN_USE})

    def test_pause(self):
        self.pauses.pause("a", Pause(60))
        self.clock.now += 20
        self.assertEqual(self.state("a"), MailerState(rest=40))
        self.assertTrue(self.state("a").is_paused)
        self.assertEqual(self.state("b"), IN_USE)

    def test_named(self):
        self.pauses.pause("a", Pause(5, is_named=True))
        self.assertEqual(self.state("a"), MailerState(rest=5, is_named=True))

    def test_longer_pause_goes_on(self):
        self.pauses.pause("a", Pause(600))
        self.pauses.pause("a", Pause(5, is_named=True))
        self.assertEqual(self.state("a"), MailerState(rest=600))
        self.pauses.pause("a", Pause(700))
        self.assertEqual(self.state("a"), MailerState(rest=700))

    def test_one_probes_when_it_is_over(self):
        self.pauses.pause("a", Pause(60))
        self.clock.now += 60
        self.assertEqual(self.state("a"), MailerState(is_unproven=True))
        self.assertTrue(self.pauses.probe("a", 30))
        self.assertFalse(self.pauses.probe("a", 30))

    def test_probe_fails(self):
        self.pauses.pause("a", Pause(60))
        self.clock.now += 60
        self.pauses.probe("a", 30)
        self.pauses.pause("a", Pause(60))
        self.assertTrue(self.state("a").is_paused)
        self.clock.now += 60
        self.assertTrue(self.pauses.probe("a", 30), "the next one may probe")

    def test_probe_succeeds(self):
        self.pauses.pause("a", Pause(60))
        self.pauses.pause("a", Pause(60, sender_only=True), "example.com")
        self.clock.now += 60
        self.pauses.probe("a", 30)
        self.pauses.end("a", "example.com")
        self.assertEqual(self.state("a", "example.com"), IN_USE)

    def test_domain(self):
        self.pauses.pause("a", Pause(600, sender_only=True), "Example.com")
        self.assertEqual(self.state("a", "example.COM"), MailerState(rest=600))
        self.assertEqual(self.state("a", "example.net"), IN_USE)
        self.assertEqual(self.state("a"), IN_USE)

    def test_domain_and_mailer(self):
        self.pauses.pause("a", Pause(60, sender_only=True), "example.com")
        self.pauses.pause("a", Pause(90))
        self.assertEqual(self.state("a", "example.com").rest, 90)

    def test_pause_of_all_domains(self):
        self.pauses.pause("a", Pause(60), "example.com")
        self.assertTrue(self.state("a", "example.net").is_paused)

    def test_odd_names(self):
        self.pauses.pause("with spaces\n and ü" * 30, Pause(60))
        self.assertTrue(self.state("with spaces\n and ü" * 30).is_paused)

    def test_cache_fails(self):
        pauses = Pauses(Memory(FailingCache()), self.clock)
        with self.assertLogs("anymail.delivery", "ERROR") as logs:
            pauses.pause("a", Pause(60))
            self.assertEqual(pauses.states(["a"]), {"a": IN_USE})
            self.assertTrue(pauses.probe("a", 30))
            pauses.end("a")
        self.assertIn("DELIVERY_CACHE failed", logs.output[0])
        self.assertIn("no Redis", logs.output[0])
