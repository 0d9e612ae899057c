from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from django.core.cache.backends.locmem import LocMemCache
from django.core.mail import EmailMessage
from django.test import SimpleTestCase

from anymail.delivery.ledger import Claim, Entry, Ledger, fingerprint, key_hash
from anymail.delivery.memory import Memory
from anymail.message import AnymailMessage, AnymailRecipientStatus

from .clock import Clock
from .test_pauses import FailingCache

STATUSES = {
    "a@example.com": AnymailRecipientStatus("id-1", "queued"),
    "b@example.com": AnymailRecipientStatus(None, "rejected"),
}


class LedgerTests(SimpleTestCase):
    def setUp(self):
        self.clock = Clock()
        self.cache = LocMemCache(self.id(), {})
        self.cache.clear()
        self.ledger = Ledger(86400, Memory(self.cache), self.clock)

    def claimed(self, key: str = "key", seconds: float = 60) -> Claim:
        claim = self.ledger.claim(key, "print", seconds)
        assert isinstance(claim, Claim)
        return claim

    def known(self, key: str = "key") -> Entry:
        entry = self.ledger.claim(key, "print", 60)
        assert isinstance(entry, Entry)
        return entry

    def test_claim(self):
        claim = self.claimed()
        self.assertEqual(claim.entry.until, self.clock.now + 60)
        self.assertEqual(self.known(), claim.entry)
        self.claimed("another key")

    def test_key_of_another_message(self):
        self.claimed()
        with self.assertRaisesMessage(ValueError, "idempotency_key"):
            self.ledger.claim("key", "another print", 60)

    def test_renew(self):
        claim = self.claimed()
        self.clock.now += 50
        renewed = self.ledger.renew(claim, 60, mailer="ses", attempts=(("postmark", "busy"),))
        self.assertEqual(renewed.entry.until, self.clock.now + 60)
        self.assertEqual(self.known(), renewed.entry)
        self.assertEqual(self.known().attempts, (("postmark", "busy"),))

    def test_sent(self):
        self.ledger.note_sent(self.claimed(), STATUSES, mailer="ses")
        entry = self.known()
        self.assertEqual(entry.state, "sent")
        self.assertEqual(entry.mailer, "ses")
        found = entry.recipient_statuses([*STATUSES, "c@example.com"])
        self.assertEqual(repr(found), repr(STATUSES))

    def test_no_addresses_are_kept(self):
        self.ledger.note_sent(self.claimed(), STATUSES)
        self.assertNotIn("example.com", repr(self.cache._cache))
        self.assertNotIn(b"example.com", b"".join(self.cache._cache.values()))

    def test_freed(self):
        self.ledger.free(self.claimed())
        self.claimed()

    def test_unclear(self):
        self.ledger.note_unclear(self.claimed())
        entry = self.known()
        self.assertEqual(entry.state, "unclear")
        again = self.ledger.claim_again("key", entry, 60)
        assert again is not None
        self.assertEqual(again.entry.state, "claimed")
        self.assertIsNone(self.ledger.claim_again("key", entry, 60), "somebody else was first")
        self.ledger.note_unclear(again)
        self.assertIsNotNone(self.ledger.claim_again("key", self.known(), 60))

    def test_dies_before_the_claim(self):
        """Who gets the turn to claim it, and dies, keeps others from it for a while only."""
        self.ledger.note_unclear(self.claimed())
        entry = self.known()
        with patch.object(Ledger, "_set", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, self.ledger.claim_again, "key", entry, 60)
        self.assertIsNone(self.ledger.claim_again("key", entry, 60))
        with patch("time.time", return_value=time.time() + 62):
            self.assertIsNotNone(self.ledger.claim_again("key", entry, 60))
        with patch("time.time", return_value=time.time() + 124):
            self.assertIsNone(self.ledger.claim_again("key", entry, 60), "it's another's turn")

    def test_late_owner(self):
        """Its claim is over, and another one has taken its place."""
        late = self.claimed()
        self.ledger.note_unclear(late)
        other = self.ledger.claim_again("key", self.known(), 60)
        assert other is not None
        for action in (self.ledger.free, self.ledger.note_unclear):
            action(late)
            self.assertEqual(self.known(), other.entry)
        self.ledger.renew(replace(late, entry=replace(late.entry, until=0)), 600)
        self.assertEqual(self.known(), other.entry)
        # But what is sure counts.
        self.ledger.note_sent(late, STATUSES)
        self.assertEqual(self.known().state, "sent")

    def test_settle(self):
        self.ledger.note_unclear(self.claimed())
        self.ledger.settle(key_hash("key"))
        self.assertEqual(self.known().state, "sent")
        self.ledger.settle(key_hash("unknown"))
        self.assertIsNone(self.ledger.get("unknown"))

    def test_settle_keeps_what_is_known(self):
        self.ledger.note_sent(self.claimed(), STATUSES)
        before = self.known()
        self.ledger.settle(key_hash("key"))
        self.assertEqual(self.known(), before)

    def test_find(self):
        claim = self.claimed()
        self.ledger.note_alias("job-1", "key")
        self.ledger.note_sent(claim, STATUSES)
        for text in ("key", "job-1", "id-1"):
            self.assertEqual(self.ledger.find(text), self.known())
        self.assertIsNone(self.ledger.find("rejected"))

    def test_damaged(self):
        """Whether its message was sent is what nobody knows."""
        self.ledger.claim("key", "print", 60)
        [name] = [name.removeprefix(":1:") for name in self.cache._cache]
        for content in ("", "{", "[1]", "null", "{}", 7, b"\xff"):
            with self.subTest(content):
                self.cache.set(name, content)
                entry = self.ledger.claim("key", "print", 60)
                self.assertEqual(entry.state, "unclear")

    def test_other_version(self):
        self.claimed()
        [(cache_key, _)] = self.cache._expire_info.items()
        name = cache_key.split(":", 2)[2]
        self.cache.set(name, json.dumps({"version": 99, "fingerprint": "print"}))
        self.assertEqual(self.known().state, "unclear")

    def test_cache_fails(self):
        ledger = Ledger(86400, Memory(FailingCache()), self.clock)
        with self.assertLogs("anymail.delivery", "ERROR"):
            claim = ledger.claim("key", "print", 60)
            assert isinstance(claim, Claim)
            ledger.note_sent(claim, STATUSES)
            ledger.free(claim)

    def test_ids_that_are_numbers(self):
        self.ledger.note_sent(self.claimed(), {"a@example.com": AnymailRecipientStatus(7, "sent")})
        self.assertEqual(
            self.known().recipient_statuses(["a@example.com"])["a@example.com"].message_id, 7
        )


class FingerprintTests(SimpleTestCase):
    def make(self, change: Callable[[Any], Any] | None = None) -> EmailMessage:
        message = AnymailMessage(
            subject="Subject",
            body="Text",
            from_email="from@example.com",
            to=["to@example.com"],
            merge_data={"to@example.com": {"name": "To"}},
        )
        message.attach("a.txt", "attached", "text/plain")
        message.attach_alternative("<p>HTML</p>", "text/html")
        if change:
            change(message)
        return message

    def test_same(self):
        self.assertEqual(fingerprint(self.make()), fingerprint(self.make()))

    def test_different(self):
        def attach(name, content, mimetype):
            return lambda message: message.attach(name, content, mimetype)

        changes = [
            lambda message: message.to.append("other@example.com"),
            lambda message: message.cc.append("other@example.com"),
            lambda message: message.attachments.clear(),
            lambda message: message.attach_alternative("<p>2</p>", "text/html"),
            lambda message: message.merge_data["to@example.com"].update(name="Else"),
            *(
                lambda message, name=name: setattr(message, name, "other@example.com")
                for name in ("from_email", "subject", "body", "template_id", "merge_global_data")
            ),
            attach("b.txt", "attached", "text/plain"),
            attach("a.txt", "other", "text/plain"),
            attach("a.txt", "attached", "text/html"),
        ]
        prints = [fingerprint(self.make(change)) for change in [None, *changes]]
        self.assertEqual(len(set(prints)), len(prints))

    def test_what_is_no_part_of_the_message(self):
        def change(message):
            message.tags = ["tag"]
            message.idempotency_key = "key"

        self.assertEqual(fingerprint(self.make()), fingerprint(self.make(change)))
