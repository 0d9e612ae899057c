"""Batches that are larger than a provider takes per call, and are sent in several."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from importlib import import_module
from itertools import product
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.test import tag

from anymail.backends.postmark import PostmarkPayload
from anymail.delivery.ledger import Ledger
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailError, AnymailUnsupportedFeature, Problem
from anymail.providers import PROVIDERS
from anymail.sandbox import samples
from anymail.sandbox.faults import Fault
from anymail.sending.batches import NativeBatch
from anymail.signals import post_send

from ..utils import make_message
from .sandbox_mailers import SandboxMailersTestCase
from .test_strategies import failover

# Of the providers' documentation: how many individual messages a call can have, where it says so
LIMITS = {
    "amazon_ses": 50,
    "brevo": 1000,
    "mailersend": 500,
    "mailgun": 1000,
    "mailjet": 50,
    "mailtrap": 500,
    "postmark": 500,
    "resend": 100,
    "sendgrid": 1000,
    "sparkpost": 2000,
    "unisender_go": 500,
}
LIMITED = [name for name in LIMITS if not PROVIDERS[name].missing_packages]

CC = "cc@example.com"


def addresses(count: int) -> list[str]:
    return [f"to{number}@example.com" for number in range(count)]


class SplittingTestCase(SandboxMailersTestCase):
    def setUp(self) -> None:
        super().setUp()
        patcher = patch("anymail.sending.waiting.time.sleep", lambda seconds: None)
        patcher.start()
        self.addCleanup(patcher.stop)

    def limit(self, name: str, size: int) -> None:
        """Let a provider take fewer recipients in each call for a batch."""
        stack = ExitStack()
        self.addCleanup(stack.close)
        for value in vars(import_module(PROVIDERS[name].backend.rpartition(".")[0])).values():
            if isinstance(native := getattr(value, "native_batch", None), NativeBatch):
                changed = native._replace(limit=size)
                stack.enter_context(patch.object(value, "native_batch", changed))

    def message(self, name: str, to: list[str], **attrs: Any) -> Any:
        """Return a batch that a provider takes."""
        message = samples.batch_message(self.sandbox.provider(name))
        message.to = to
        if name == "mailersend":
            message.esp_extra = {"batch_send_mode": "use-bulk-email"}
        if name == "sparkpost":
            message.from_email = settings.DEFAULT_FROM_EMAIL  # It takes no other with a template.
        for attr, value in attrs.items():
            setattr(message, attr, value)
        return message

    def send(self, message: Any, using: str) -> Any:
        self.assertEqual(mailers[using].send_messages([message]), 1)
        return message.anymail_status

    def send_failing(self, message: Any, using: str) -> Any:
        with self.assertRaises(AnymailError) as caught:
            mailers[using].send_messages([message])
        return caught.exception

    @property
    def received(self) -> list[str]:
        return [copy.address for stored in self.sandbox.messages for copy in stored.recipients]

    def sizes(self) -> list[int]:
        """Return how many recipients each of the calls was accepted for."""
        return [
            sum(len(stored.recipients) for stored in call.messages) for call in self.sandbox.calls
        ]


class LimitsTests(SplittingTestCase):
    @tag("exhaustive")
    def test_limits(self):
        """The sandbox refuses calls that are too large."""
        self.assertLessEqual(set(LIMITS), set(PROVIDERS))
        for name in LIMITED:
            with self.subTest(name):
                self.forget()
                limit = LIMITS.get(name)
                to = addresses(limit + 1)
                message = self.message(name, to)
                status = self.send(message, name)
                self.assertEqual(self.sizes(), [limit, 1])
                self.assertEqual(sorted(self.received), sorted(to))
                self.assertEqual(set(status.recipients), set(to))
                self.assertEqual(len(status.esp_response), 2)
                self.assertEqual(message.to, to)

    def test_no_more_calls_than_necessary(self):
        for name in LIMITED:
            with self.subTest(name):
                self.forget()
                self.limit(name, 2)
                self.send(self.message(name, addresses(2)), name)
                self.assertEqual(self.sizes(), [2])

    def test_turned_off(self):
        self.use_settings(SPLIT_BATCHES=False)
        error = self.send_failing(self.message("resend", addresses(101)), "resend")
        self.assertIs(error.problem, Problem.MESSAGE)
        self.assertEqual(len(self.sandbox.calls), 1)

    def test_messages_that_are_no_batches(self):
        for name in ("sendgrid", "postmark", "unisender_go"):
            with self.subTest(name):
                self.forget()
                self.limit(name, 1)
                self.send(make_message(to=addresses(2)), name)
                self.assertEqual(self.sizes(), [2])

    def test_individual_although_no_batches(self):
        """Amazon SES's templates, and Postmark's bulk API."""
        self.options = {"use_bulk_api": True}
        self.use_settings()
        for name, attrs in {
            "amazon_ses": {"template_id": "welcome", "subject": None, "body": None},
            "postmark": {},
        }.items():
            if PROVIDERS[name].missing_packages:
                continue
            with self.subTest(name):
                self.options = {"use_bulk_api": True} if name == "postmark" else {}
                self.use_settings()
                self.forget()
                self.limit(name, 1)
                message = make_message(to=addresses(2))
                for attr, value in attrs.items():
                    setattr(message, attr, value)
                self.send(message, name)
                self.assertEqual(self.sizes(), [1, 1])

    def test_recipients_in_esp_extra(self):
        """They are those of the one call."""
        for name, extra in {
            "sparkpost": {"recipients": [{"address": to} for to in addresses(2)]},
            "unisender_go": {"recipients": [{"email": to} for to in addresses(2)]},
            "sendgrid": {"personalizations": [{"to": [{"email": to}]} for to in addresses(2)]},
            "mailjet": {"Messages": [{"To": [{"Email": to}]} for to in addresses(2)]},
            "mailgun": {"to": addresses(2)},
        }.items():
            with self.subTest(name):
                self.forget()
                self.limit(name, 1)
                self.send(make_message(to=addresses(2), merge_data={}, esp_extra=extra), name)
                self.assertEqual(self.sizes(), [2])

    @tag("exhaustive")
    def test_bytes_of_postmark_s_call(self):
        """Each of its messages has all of the content."""
        attachment = ("a.bin", b"a" * 750_000, "application/octet-stream")  # 1 MB in base64
        message = make_message(to=addresses(100), merge_data={}, attachments=[attachment])
        self.send(message, "postmark")
        self.assertEqual(self.sizes(), [44, 44, 12])
        for call in self.sandbox.calls:
            self.assertLess(len(call.request.body), 50_000_000)
        message = make_message(body="ü" * 10_000, to=addresses(500), merge_data={})
        payload: Any = mailers["postmark"].build_message_payload(message, {})
        self.assertIsInstance(payload, PostmarkPayload)
        self.assertEqual(payload.messages_per_call(), 500)


class WhoGetsWhatTests(SplittingTestCase):
    def test_own_data(self):
        self.limit("mailgun", 2)
        to = addresses(5)
        data = {address: {"name": address[:3].upper()} for address in to[:4]}
        message = self.message("mailgun", to, merge_data=data, template_id=None)
        message.body = "Hello, %recipient.name%!"
        # Whoever has no data has nothing there, also if nobody in the call has any.
        self.send(message, "mailgun")
        self.assertEqual(len(self.sandbox.calls), 3)
        texts = [copy.text for stored in self.sandbox.messages for copy in stored.recipients]
        self.assertEqual(
            texts, [*[f"Hello, {address[:3].upper()}!" for address in to[:4]], "Hello, !"]
        )

    def test_copies(self):
        for name in LIMITED:
            with self.subTest(name):
                self.forget()
                self.limit(name, 4)
                message = self.message(name, addresses(5), cc=[CC])
                if name in ("brevo", "unisender_go"):
                    self.use_settings(IGNORE_UNSUPPORTED_FEATURES=True)
                    error = self.send_failing(message, name)
                    self.assertIsInstance(error, AnymailUnsupportedFeature)
                    self.assertIn("cc or bcc", str(error))
                    self.assertEqual(self.sandbox.calls, [])
                    continue
                status = self.send(message, name)
                counts_copies = name in ("mailgun", "sendgrid", "sparkpost")
                self.assertEqual(len(self.sandbox.calls), 3 if counts_copies else 2)
                received = Counter(self.received)
                self.assertEqual({received[to] for to in addresses(5)}, {1})
                self.assertGreater(received[CC], 1, "a copy of each")
                if name != "amazon_ses":  # which has no status for them
                    self.assertIn(CC, status.recipients)

    def test_copies_of_a_single_call(self):
        for name in ("brevo", "unisender_go"):
            with self.subTest(name):
                self.forget()
                self.limit(name, 3)
                self.use_settings(IGNORE_UNSUPPORTED_FEATURES=True)
                self.send(self.message(name, addresses(2), cc=[CC]), name)
                self.assertEqual(len(self.sandbox.calls), 1)

    def test_copies_count(self):
        self.limit("unisender_go", 3)
        message = self.message("unisender_go", addresses(2), bcc=["a@example.com", CC])
        self.assertIn("cc or bcc", str(self.send_failing(message, "unisender_go")))

    def test_defaults(self):
        """Recipients in SEND_DEFAULTS get it once."""
        self.use_settings(SEND_DEFAULTS={"to": ["default@example.com"], "tags": ["default"]})
        self.limit("mailgun", 1)
        self.send(self.message("mailgun", addresses(2)), "mailgun")
        self.assertEqual(self.received, ["default@example.com", *addresses(2)])


class WayTestCase(SplittingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.limit("resend", 2)
        self.limit("brevo", 2)

    def fail_second_call(self, name: str, problem: str, **details: Any) -> None:
        provider = self.sandbox.provider(name)
        handle = provider.handle
        stack = ExitStack()

        def handle_first(request: Any) -> Any:
            stack.close()
            response = handle(request)
            self.sandbox.fail_next(problem, provider=name, **details)
            return response

        stack.enter_context(patch.object(provider, "handle", handle_first))


class WayTests(WayTestCase):
    def test_calls_are_built_when_they_are_made(self):
        built = []
        backend: Any = mailers["resend"]
        build = backend.build_message_payload

        def build_message_payload(message: Any, defaults: Any) -> Any:
            built.append((len(message.to), len(self.sandbox.calls)))
            return build(message, defaults)

        with patch.object(backend, "build_message_payload", build_message_payload):
            backend.send_messages([self.message("resend", addresses(5))])
        self.assertEqual(built, [(5, 0), (2, 0), (2, 1), (1, 2)])

    def test_signals(self):
        seen: list[Any] = []

        def receiver(status: Any, **kwargs: Any) -> None:
            seen.append(len(status.recipients))

        post_send.connect(receiver)
        self.addCleanup(post_send.disconnect, receiver)
        self.send(self.message("resend", addresses(5)), "resend")
        self.assertEqual(seen, [5])

    def test_receivers_do_not_hide_an_error(self):
        def receiver(**kwargs: Any) -> None:
            raise ValueError("receiver")

        post_send.connect(receiver)
        self.addCleanup(post_send.disconnect, receiver)
        self.fail_second_call("resend", "account")
        with self.assertLogs("django.dispatch", "ERROR"):
            error = self.send_failing(self.message("resend", addresses(5)), "resend")
        self.assertIs(error.problem, Problem.ACCOUNT)
        self.assertEqual(error.unsent, addresses(5)[2:])

    def test_rate(self):
        """It lets the first call through: what that was accepted for isn't forgotten."""
        for concurrency, key in product((1, 2), (None, "key")):
            with self.subTest(concurrency=concurrency, key=key):
                self.forget()
                options = {"rate": "1/day", "max_wait": 0, "send_concurrency": concurrency}
                limited = {"BACKEND": PROVIDERS["resend"].backend, "OPTIONS": options}
                alias = f"limited-{concurrency}-{key}"
                self.use_settings(strategies={alias: limited})
                message = self.message("resend", addresses(5), idempotency_key=key)
                error = self.send_failing(message, alias)
                self.assertIs(error.problem, Problem.BUSY)
                self.assertTrue(error.may_have_been_sent)
                self.assertEqual(error.unsent, addresses(5)[2:])
                if key:
                    self.assertEqual(Ledger().get(key).state, "unclear")

    def test_keys_of_calls(self):
        message = self.message("resend", addresses(5), idempotency_key="key")
        self.send(message, "resend")
        keys = [call.request.headers["Idempotency-Key"] for call in self.sandbox.calls]
        self.assertEqual(keys, ["key/1", "key/2", "key/3"])

    def test_lost_answer_of_a_call(self):
        """All calls are made again, and the provider recognizes those that it has accepted."""
        for name, accepted in {"resend": 200, "brevo": 400}.items():
            with self.subTest(name):
                self.forget()
                to = addresses(5)
                self.fail_second_call(name, "unclear")
                error = self.send_failing(self.message(name, to, idempotency_key="key"), name)
                self.assertIs(error.problem, Problem.UNCLEAR)
                self.assertEqual(error.unsent, to[4:])
                entry = Ledger().get("key")
                assert entry is not None
                self.assertEqual(entry.state, "unclear")
                status = self.send(self.message(name, to, idempotency_key="key"), name)
                self.assertEqual(sorted(self.received), to)
                self.assertEqual(
                    [call.response.status for call in self.sandbox.calls[2:4]], [accepted] * 2
                )
                ids = [recipient.message_id for recipient in status.recipients.values()]
                has_id = [message_id is not None for message_id in ids]
                # Brevo's answer doesn't have the ids; those of the first call are known.
                self.assertEqual(has_id, [True, True, name == "resend", name == "resend", True])
                self.assertEqual(status.status, {"queued"})


class SeveralCallsAtATimeTests(WayTestCase):
    options = {"send_concurrency": 3}

    def test_all(self):
        status = self.send(self.message("resend", addresses(7)), "resend")
        self.assertEqual(sorted(self.received), addresses(7))
        self.assertEqual(set(status.recipients), set(addresses(7)))

    def test_several_unclear_calls(self):
        """Nobody can say of any of their recipients."""
        to = addresses(12)
        self.sandbox.fail_next("unclear", provider="resend", calls=2)
        message = self.message("resend", to)
        error = self.send_failing(message, "resend")
        self.assertIs(error.problem, Problem.UNCLEAR)
        self.assertTrue(error.may_have_been_sent)
        # One more, if the first call was not among the first two that came in.
        self.assertIn(len(self.received), (6, 8))
        self.assertEqual(error.unsent, [to for to in to if to not in self.received])
        statuses = Counter(status.status for status in message.anymail_status.recipients.values())
        self.assertEqual(statuses, {"unknown": 4, "queued": len(self.received) - 4})

    def test_unclear_call_counts(self):
        """Whatever is wrong with the others."""
        for problems in (["unclear", "account"], ["account", "unclear"]):
            with self.subTest(problems):
                self.forget()
                for problem in problems:
                    self.sandbox.fail_next(problem, provider="resend")
                error = self.send_failing(self.message("resend", addresses(6)), "resend")
                self.assertIs(error.problem, Problem.UNCLEAR)


class RetriesTests(WayTestCase):
    options = {"retries": 1, "max_wait": 10}

    def test_rest(self):
        """It is another message for the provider, with another key."""
        for concurrency in (1, 2):
            self.options = {**self.options, "send_concurrency": concurrency}
            self.use_settings()
            for key in (None, "key"):
                with self.subTest(concurrency=concurrency, key=key):
                    self.forget()
                    self.fail_second_call("resend", "busy", retry_after=1)
                    to = addresses(7)
                    message = self.message("resend", to, idempotency_key=key)
                    status = self.send(message, "resend")
                    self.assertEqual(sorted(self.received), to)
                    self.assertEqual(set(status.recipients), set(to))
                    self.assertEqual(status.status, {"queued"})
                    self.assertNotIn(None, status.message_id)
                    self.assertEqual([problem for _, problem in status.attempts], ["busy", None])
                    self.assertEqual(message.to, to)

    def test_unclear(self):
        """All calls are made again, just as they were."""
        self.use_settings(strategies={"default": failover("resend")})
        for using in ("resend", "default"):
            with self.subTest(using):
                self.forget()
                self.fail_second_call("resend", "unclear")
                to = addresses(5)
                status = self.send(self.message("resend", to, idempotency_key="key"), using)
                self.assertEqual(sorted(self.received), to)
                keys = [call.request.headers["Idempotency-Key"] for call in self.sandbox.calls]
                self.assertEqual(keys, ["key/1", "key/2", "key/1", "key/2", "key/3"])
                self.assertNotIn(None, status.message_id)


class StrategyTests(WayTestCase):
    """With two mailers that use the same account, so that keys must differ."""

    def setUp(self) -> None:
        super().setUp()
        self.use_settings(
            strategies={
                "other": {"BACKEND": PROVIDERS["resend"].backend},
                "default": failover("resend", "other"),
                "accepting": failover("resend", "postmark", duplicates="accept"),
            }
        )

    def keys(self) -> list[Any]:
        return [call.request.headers.get("Idempotency-Key") for call in self.sandbox.calls]

    def test_rest(self):
        self.fail_second_call("resend", "account")
        to = addresses(5)
        message = self.message("resend", to, idempotency_key="key")
        with self.assertLogs("anymail.delivery", "WARNING"):
            status = self.send(message, "default")
        self.assertEqual(self.received, to)
        self.assertEqual(set(status.recipients), set(to))
        self.assertNotIn(None, status.message_id)
        rest_key = self.keys()[2].removesuffix("/1")
        self.assertEqual(self.keys(), ["key/1", "key/2", f"{rest_key}/1", f"{rest_key}/2"])

    def test_rest_of_which_it_is_unclear(self):
        """Sent again, nobody gets it who has it; and the provider knows the rest by its key."""
        for using in ("default", "other"):
            with self.subTest(using):
                self.forget()
                self.check_rest_of_which_it_is_unclear(using)

    def check_rest_of_which_it_is_unclear(self, using: str) -> None:
        to = addresses(5)
        faults = iter([None, Fault("account"), Fault("unclear"), Fault("unclear")])
        with (
            patch.object(self.sandbox.faults, "next", lambda name: next(faults)),
            self.assertLogs("anymail.delivery", "WARNING"),
        ):
            error = self.send_failing(self.message("resend", to, idempotency_key="key"), "default")
        self.assertIs(error.problem, Problem.UNCLEAR)
        self.assertTrue(error.may_have_been_sent)
        self.assertEqual(self.received, to[:4])  # Nobody has begun with the last one.
        status = self.send(self.message("resend", to, idempotency_key="key"), using)
        self.assertEqual(sorted(self.received), to)
        self.assertEqual(set(status.recipients), set(to))
        self.assertEqual(status.status, {"queued"})
        self.assertEqual(len(self.sandbox.calls), 6)

    def test_unclear_accepting_duplicates(self):
        """Whoever may have got it gets it again, but nobody else."""
        self.fail_second_call("resend", "unclear")
        to = addresses(5)
        with self.assertLogs("anymail.delivery", "WARNING"):
            self.send(self.message("resend", to), "accepting")
        self.assertEqual(Counter(self.received), Counter([*to, *to[2:4]]))
