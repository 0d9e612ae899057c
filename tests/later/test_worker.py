from __future__ import annotations

import tempfile
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings
from django.utils.module_loading import import_string

from anymail.datastructures import UNSET
from anymail.delivery.mailers import mailers
from anymail.exceptions import AnymailCancelSend, AnymailLaterError, Problem
from anymail.later import worker
from anymail.later.job import MAIL, VERSION, WEBHOOK, read_job, sign_job
from anymail.later.worker import deliver
from anymail.signals import AnymailTrackingEvent, post_send, pre_send, tracking
from anymail.webhooks.postmark import PostmarkTrackingWebhookView

from ..backends.cases import CASES
from ..delivery.leaf import CALLS, LEAF, fails
from ..delivery.leaf import EmailBackend as LeafBackend
from ..delivery.test_strategies import failover
from ..utils import make_message
from .harness import QUEUED, REFUSALS, LaterTestCase, QueueEngine, later
from .test_job import use_storage

DAY = 86400


class DeliverTests(LaterTestCase):
    """A job becomes a message, which is sent once."""

    def send(self, **attrs: Any) -> Any:
        message = make_message(**attrs)
        self.assertEqual(mailers["default"].send_messages([message]), 1)
        return message

    def test_sent(self):
        seen: list[Any] = []
        self.connect(post_send, lambda message, **kw: seen.append(message))
        message = self.send(to=["one@example.com", "two@example.com"])
        self.assertEqual(self.signals, [])
        with self.logged():
            self.assertEqual(self.work(), [0])
        self.assertEqual(self.called, ["a"])
        self.assertEqual(self.signals, [("pre_send",), ("post_send", "a")])
        [sent] = seen
        job_id = message.anymail_status.message_id
        self.assertEqual(sent.anymail_job_id, job_id)
        self.assertEqual(sent.anymail_status.status, {"sent"})
        self.assertEqual(self.entry(job_id).state, "sent")
        self.assertIsNone(message.anymail_job_id)

    def test_strategy(self):
        self.use_mailers(default=later(mailer="both"), both=failover("a", "b"))
        self.script(a=fails(Problem.ACCOUNT))
        self.send()
        with self.logged("WARNING"):
            self.work()
        self.assertEqual(self.called, ["a", "b"])
        self.assertEqual(self.final, [])

    def test_canceled(self):
        def cancel(**kwargs: Any) -> None:
            raise AnymailCancelSend

        self.connect(pre_send, cancel)
        self.send()
        with self.logged():
            self.work()
        self.assertEqual(self.called, [])

    def test_receivers_error(self):
        """It changes nothing about the message."""

        def fail(**kwargs: Any) -> None:
            raise ValueError("receiver")

        self.connect(post_send, fail)
        self.send()
        with self.assertLogs("django.dispatch", "ERROR"):
            self.work()
        self.assertEqual((self.called, self.final), (["a"], []))

    # -- Made up ------------------------------------------------------------------------------

    def assert_refused(self, job: str) -> None:
        with self.logged("ERROR"):
            deliver(job, engine=QueueEngine())
        self.assertEqual((CALLS, QUEUED), ([], []))

    def test_made_up(self):
        self.send()
        [(job, _, _)] = QUEUED
        QUEUED.clear()
        content = read_job(job, salt=MAIL)
        with override_settings(SECRET_KEY="another"):
            by_others = sign_job(content, salt=MAIL)
        for name, made_up in {
            "made up": signing.b64_encode(b'{"version": 1}').decode() + ":signature",
            "changed": job.replace("a", "b", 1),
            "another SECRET_KEY": by_others,
            "a webhook's": sign_job(content, salt=WEBHOOK),
        }.items():
            with self.subTest(name):
                self.assert_refused(made_up)

    def test_put_in_again(self):
        """A job that has ended, in whatever way, sends nothing any more."""
        for outcome in (None, fails(Problem.MESSAGE), fails(Problem.UNCLEAR)):
            with self.subTest(outcome):
                self.reset()
                self.script(a=outcome)
                self.send()
                job = QUEUED[0][0]
                with self.logged(*(["ERROR"] if outcome else [])):
                    self.work()
                self.assertEqual(len(CALLS), 1)
                for seconds in (0, DAY - 1):
                    self.clock.now += seconds
                    with self.logged("WARNING"):
                        deliver(job, engine=QueueEngine())
                self.assertEqual((len(CALLS), QUEUED), (1, []))

    def test_put_in_again_much_later(self):
        """It is too old, when nothing is remembered of it."""
        self.send()
        job = QUEUED[0][0]
        self.work()
        self.clock.now += 10 * DAY
        with self.logged("ERROR"):
            deliver(job, engine=QueueEngine())
        self.assertEqual(len(CALLS), 1)

    def test_earlier_turn_again(self):
        """The job of an attempt that was followed by another is a copy."""
        self.script(a=fails(Problem.UNREACHABLE))
        self.script(a=fails(Problem.UNREACHABLE))
        self.send()
        job = QUEUED[0][0]
        self.work_once()
        with self.logged("WARNING"):
            deliver(job, engine=QueueEngine())
        self.assertEqual((len(CALLS), len(QUEUED)), (2, 1))

    def test_newer(self):
        content = {"version": VERSION + 1, "due": self.clock.now, "max_age": 150, "queue": "mail"}
        job = signing.Signer(salt=MAIL).sign_object(content)
        with self.logged("WARNING", "WARNING", "ERROR"):
            deliver(job, engine=QueueEngine())
            self.assertEqual(QUEUED[0][:2], (job, "mail"))
            self.assertEqual(self.work(), [60, 60])

    # -- Files --------------------------------------------------------------------------------

    def test_large(self):
        self.use_mailers(default=later(inline_max=0, storage="jobs"))
        with tempfile.TemporaryDirectory() as folder, use_storage(folder):
            from django.core.files.storage import storages

            self.script(a=[fails(Problem.UNREACHABLE), fails(Problem.UNREACHABLE)])
            self.send(body="secret words " * 100)
            self.assertEqual(len(storages["jobs"].listdir("anymail")[1]), 1)
            self.assertNotIn("message", self.queued())
            with patch("builtins.open", side_effect=OSError("away")), self.logged("WARNING"):
                self.work_once()  # The storage can't be reached.
            self.assertEqual(len(self.work()), 2)
            self.assertEqual(len(CALLS), 3)
            self.assertEqual(CALLS[-1][1].body, "secret words " * 100)
            self.assertEqual(storages["jobs"].listdir("anymail")[1], [])

            self.reset()
            self.send()
            self.send(body="another")
            first, second = storages["jobs"].listdir("anymail")[1]
            with storages["jobs"].open(f"anymail/{first}") as file:
                content = file.read()
            storages["jobs"].delete(f"anymail/{second}")
            Path(folder, "anymail", second).write_bytes(content)
            with self.assertLogs("anymail.delivery", "ERROR") as logs:
                self.work()
            self.assertEqual(len(CALLS), 1)
            self.assertIn("not the one that was written", logs.output[0])

    def test_file_that_cannot_be_deleted(self):
        self.send()
        with (
            patch.object(worker, "delete_job", side_effect=OSError("away")),
            self.logged("WARNING"),
        ):
            self.work()

    # -- Time ---------------------------------------------------------------------------------

    def test_at(self):
        """The queue gets it again and again, until it's due."""
        with patch.object(QueueEngine, "longest_wait", 300, create=True), self.logged():
            make_message().send_later(at=self.clock.now + 1000)
            self.assertEqual(QUEUED[0][2].timestamp(), self.clock.now + 300)
            self.assertEqual(self.work(), [300, 300, 300, 100])
        self.assertEqual(len(CALLS), 1)

    def test_queue_is_away_while_it_waits(self):
        """The engine keeps the job."""
        make_message().send_later(at=self.clock.now + 1000)
        REFUSALS.append(ConnectionRefusedError())
        with self.assertRaises(AnymailLaterError):
            deliver(QUEUED[0][0], engine=QueueEngine())

    def test_max_age(self):
        """It counts from when it's due; and a job that is older is not sent."""
        make_message().send_later(at=self.clock.now + 5 * DAY)
        job = QUEUED[0][0]
        self.clock.now += 6 * DAY + 1
        with self.logged("ERROR"):
            deliver(job, engine=QueueEngine())
        [error] = self.final
        self.assertIs(error.problem, Problem.UNREACHABLE)
        self.assertEqual(CALLS, [])

    def test_remembered_as_long_as_the_job(self):
        """What was sent after days is not sent again by a job that is still there."""
        self.use_mailers(default=later(max_age=10 * DAY))
        self.send()
        job = QUEUED[0][0]
        self.work()
        self.clock.now += 9 * DAY
        with self.logged("WARNING"):
            deliver(job, engine=QueueEngine())
        [key] = [read_job(job, salt=MAIL)["key"]]
        self.assertEqual(self.entry(key).state, "sent")


class RetryTests(LaterTestCase):
    """What comes after a failure is what the table in the docs says."""

    def setUp(self) -> None:
        super().setUp()
        patcher = patch("random.uniform", lambda low, high: high)
        patcher.start()
        self.addCleanup(patcher.stop)
        # The default of decisions' functions is the real one.
        for name in ("after_failure", "backoff", "wait_to_repeat"):
            function: Any = getattr(worker.decisions, name)
            defaults = {**function.__kwdefaults__, "jitter": lambda low, high: high}
            patcher = patch.object(function, "__kwdefaults__", defaults)
            patcher.start()
            self.addCleanup(patcher.stop)

    def run_with(self, *outcomes: Any, **attrs: Any) -> list[float]:
        self.script(a=list(outcomes))
        mailers["default"].send_messages([make_message(**attrs)])
        return self.work()

    def test_ends_at_once(self):
        for problem in (Problem.MESSAGE, Problem.UNSUITABLE, Problem.UNCLEAR):
            with self.subTest(problem), self.logged("ERROR"):
                self.reset()
                self.final.clear()
                self.assertEqual(self.run_with(fails(problem)), [0])
                self.assertEqual([error.problem for error in self.final], [problem])
                self.assertEqual(len(CALLS), 1)

    def test_account(self):
        self.assertEqual(self.run_with(*[fails(Problem.ACCOUNT)] * 3), [0, 600, 1200, 2400])
        self.assertEqual(len(CALLS), 4)
        self.assertEqual(self.final, [])
        failed = [signal for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(
            [(attempt, final) for _, _, attempt, _, final in failed],
            [(1, False), (2, False), (3, False)],
        )

    def test_account_until_max_age(self):
        with self.logged("ERROR"):
            waits = self.run_with(*[fails(Problem.ACCOUNT)] * 20)
        self.assertLess(sum(waits), DAY)
        self.assertEqual([error.problem for error in self.final], [Problem.ACCOUNT])

    def test_busy(self):
        waits = self.run_with(
            *(fails(Problem.BUSY, retry_after=seconds) for seconds in (100.0, None, None))
        )
        # Without a time, it's 30 s, doubling.
        self.assertEqual(waits, [0, 101, 60, 120])

    def test_paused(self):
        """A mailer that the provider has named a time for gets no call until then."""
        self.run_with(None)
        self.script(a=fails(Problem.BUSY, retry_after=5.0))
        backend = mailers["default"]
        backend.send_messages([make_message(), make_message()])
        self.work_once()
        self.work_once()
        self.assertEqual(len(CALLS), 2)
        self.assertGreaterEqual(self.work_once(), 5)
        self.work()
        self.assertEqual(len(CALLS), 4)

    def test_unreachable(self):
        # Each time, it's tried twice.
        waits = self.run_with(*[fails(Problem.UNREACHABLE)] * 6)
        self.assertEqual(waits, [0, 10, 40, 160])
        attempts = [signal[2] for signal in self.signals if signal[0] == "send_failed"]
        self.assertEqual(attempts, [1, 2, 3, 4, 5, 6])

    def test_unclear_with_key(self):
        """The provider recognizes it, so it's given the same again."""
        with patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(minutes=1)):
            self.assertEqual(self.run_with(fails(Problem.UNCLEAR), None), [0, 10])
            keys = {message.idempotency_key for _, message in CALLS}
            self.assertEqual((len(CALLS), len(keys), self.final), (2, 1, []))

    def test_unclear_with_key_by_strategy(self):
        other = {**LEAF, "OPTIONS": {"api_key": "of another account"}}
        self.use_mailers(default=later(mailer="both"), both=failover("a", "b"), b=other)
        self.script(a=[fails(Problem.UNCLEAR)] * 2)
        with patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(minutes=1)):
            mailers["default"].send_messages([make_message()])
            self.work()
        self.assertEqual((self.called, self.final), (["a", "a", "a"], []))

    def test_unclear_until_key_is_forgotten(self):
        with (
            patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(seconds=25)),
            self.logged("ERROR"),
        ):
            waits = self.run_with(*[fails(Problem.UNCLEAR)] * 9)
        self.assertEqual((waits, len(CALLS)), ([0, 10, 10, 10], 3))
        self.assertEqual([error.problem for error in self.final], [Problem.UNCLEAR])

    def test_unclear_and_accepted_twice(self):
        """Another mailer gets it, if there is one."""
        both = failover("a", "b", duplicates="accept")
        self.use_mailers(default=later(mailer="both"), both=both)
        self.script(b=fails(Problem.UNCLEAR))
        with self.logged("WARNING", "ERROR"):
            self.run_with(fails(Problem.UNCLEAR))
        self.assertEqual(self.called, ["a", "b"])
        self.reset()
        with self.logged("ERROR"):
            self.use_mailers(default=later())
            self.run_with(fails(Problem.UNCLEAR), duplicates="accept")
        self.assertEqual(self.called, ["a"])

    def test_configuration(self):
        """When it's mended, the message is sent."""
        waits = self.run_with(ImproperlyConfigured("no key"), None)
        self.assertEqual((waits, self.final), ([0, 600], []))
        self.use_mailers(default=later(mailer="gone"), gone=LEAF)
        mailers["default"].send_messages([make_message()])
        self.use_mailers(gone={"BACKEND": "nonesuch.EmailBackend"}, default=later())
        self.work_once()
        self.use_mailers(gone=LEAF, default=later())
        self.work()
        self.assertEqual(self.called[-1:], ["gone"])

    def test_bugs(self):
        """Before the call, it's over; after it, nobody knows."""

        def bug(**kwargs: Any) -> None:
            raise ZeroDivisionError

        with self.logged("ERROR"):
            self.run_with(ZeroDivisionError())
        self.assertEqual(len(CALLS), 1)
        self.reset()
        pre_send.connect(bug)
        self.addCleanup(pre_send.disconnect, bug)
        with self.logged("ERROR"):
            self.run_with(duplicates="accept")
        self.assertEqual([type(error) for error in self.final], [ZeroDivisionError] * 2)

    def test_accepted_in_part(self):
        from anymail.message import AnymailRecipientStatus

        def partly(message: Any) -> Any:
            error = fails(Problem.BUSY, retry_after=60.0)
            error.recipients = {"one@example.com": AnymailRecipientStatus("id", "queued")}
            return error

        self.assertEqual(len(self.run_with(partly, to=["one@example.com", "two@example.com"])), 2)
        self.assertEqual([message.to for _, message in CALLS][1:], [["two@example.com"]])
        keys = [message.idempotency_key for _, message in CALLS]
        self.assertNotEqual(*keys)
        self.assertEqual(self.final, [])

    def test_queue_cannot_wait(self):
        with patch.object(QueueEngine, "can_wait", False, create=True), self.logged("ERROR"):
            self.run_with(fails(Problem.ACCOUNT))
        self.assertEqual([error.problem for error in self.final], [Problem.ACCOUNT])

    def test_queue_is_away(self):
        """The engine must keep the job; when it's run again, nothing is sent twice."""
        self.script(a=[fails(Problem.BUSY, retry_after=1000.0)])
        mailers["default"].send_messages([make_message()])
        job = QUEUED[0][0]
        for number in range(6):
            REFUSALS.append(ConnectionRefusedError())
            with self.assertRaises(AnymailLaterError):
                QUEUED.append((job, None, None))
                del QUEUED[:-1]
                self.work_once(redelivered=number > 0)
        QUEUED.append((job, None, None))
        self.work()
        self.assertEqual((len(CALLS), self.final), (2, []))


class Killed(BaseException):
    pass


class KilledTests(LaterTestCase):
    """Workers that die: nothing is sent twice, and nothing is lost silently."""

    def setUp(self) -> None:
        super().setUp()
        shared = patch("anymail.delivery.memory.Memory.is_shared", True)
        shared.start()
        self.addCleanup(shared.stop)

    def kill(self, times: int = 1) -> None:
        """Have the engine give a job to workers that die with it."""
        job = QUEUED[0][0]
        for number in range(times):
            with self.assertRaises(Killed):
                deliver(job, engine=QueueEngine(), redelivered=number > 0)

    def test_before_the_call(self):
        mailers["default"].send_messages([make_message()])
        with patch("anymail.later.worker.unpack_message", side_effect=Killed):
            self.kill()
        self.work()
        self.assertEqual((len(CALLS), self.final), (1, []))

    def test_in_the_call(self):
        self.script(a=Killed())
        mailers["default"].send_messages([make_message()])
        self.kill()
        with self.logged("ERROR"):
            waits = self.work()
        self.assertEqual(len(CALLS), 1)
        self.assertGreater(sum(waits), 30)  # The dead one's claim must be over.
        self.assertEqual([error.problem for error in self.final], [Problem.UNCLEAR])

    def test_in_the_call_with_key(self):
        self.script(a=Killed())
        with patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(minutes=10)):
            mailers["default"].send_messages([make_message()])
            self.kill()
            self.work()
        self.assertEqual((len(CALLS), self.final), (2, []))

    def test_after_the_call(self):
        mailers["default"].send_messages([make_message()])
        with patch("anymail.later.executions.Executions.note_end", side_effect=Killed):
            self.kill()
        with self.logged():
            self.work()
        self.assertEqual((len(CALLS), self.final), (1, []))

    def test_after_it_was_published_again(self):
        self.script(a=fails(Problem.ACCOUNT))
        mailers["default"].send_messages([make_message()])
        with patch("anymail.later.executions.Executions.note_turn", side_effect=Killed):
            self.kill()
        self.assertEqual(len(QUEUED), 2)
        with self.assertLogs("anymail.delivery", "WARNING"):
            self.work()
        self.assertEqual((len(CALLS), self.final), (2, []))

    def test_each_time(self):
        mailers["default"].send_messages([make_message()])
        with patch("anymail.later.worker.JobAttempt.make", side_effect=Killed) as make:
            self.kill(3)
            with self.logged("ERROR"):
                self.work()
        self.assertEqual(make.call_count, 3)
        self.assertEqual([error.problem for error in self.final], [Problem.UNCLEAR])
        self.assertEqual(CALLS, [])

    def test_each_time_with_key(self):
        """Also if the attempts are different turns of the job."""
        self.script(a=[Killed() for _ in range(9)])
        deaths = 0
        with patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(days=1)):
            mailers["default"].send_messages([make_message()])
            while QUEUED:
                job = QUEUED[0]
                try:
                    self.work_once()
                except Killed:
                    deaths += 1
                    QUEUED.insert(0, job)
        self.assertEqual(deaths, 3)
        self.assertEqual([error.problem for error in self.final], [Problem.UNCLEAR])

    def test_nobody_knows(self):
        """Without a shared cache, a job that another worker had is not tried again."""
        with patch("anymail.delivery.memory.Memory.is_shared", False):
            mailers["default"].send_messages([make_message()])
            with self.logged("ERROR"):
                self.work_once(redelivered=True)
            self.assertEqual(
                ([error.problem for error in self.final], CALLS), ([Problem.UNCLEAR], [])
            )
            with patch("tests.delivery.leaf.EmailBackend.idempotency", timedelta(days=1)):
                mailers["default"].send_messages([make_message()])
                self.work_once(redelivered=True)
            self.assertEqual(len(CALLS), 1)

    def test_nobody_knows_of_a_broken_mailer(self):
        mailers["default"].send_messages([make_message()])
        self.use_mailers(default=later(), a={"BACKEND": "nonesuch.EmailBackend"})
        with patch("anymail.delivery.memory.Memory.is_shared", False), self.logged("ERROR"):
            self.work_once(redelivered=True)


class SettleTests(LaterTestCase):
    """Where the outcome is unclear, a provider's event can tell."""

    mailers = {"default": later(settle=600)}

    def start(self, **attrs: Any) -> None:
        self.script(a=fails(Problem.UNCLEAR))
        mailers["default"].send_messages([make_message(**attrs)])
        self.work_once()
        self.assertEqual(QUEUED[0][2].timestamp(), self.clock.now + 600)

    def receive(self, metadata: dict[str, Any], event_type: str = "delivered") -> Any:
        """Have the provider's event come in. Returns it as receivers get it."""
        seen: list[Any] = []
        self.connect(tracking, lambda event, **kwargs: seen.append(event))
        event = AnymailTrackingEvent(event_type=event_type, metadata=metadata)
        PostmarkTrackingWebhookView(basic_auth=["a:b"]).send_events([event])
        return seen[0]

    def test_sent(self):
        for event_type in ("delivered", "bounced"):
            self.reset()
            self.start(metadata={"own": "value"})
            backend: Any = mailers["a"]
            metadata = backend.build_message_payload(CALLS[0][1], {}).params["metadata"]
            self.assertEqual(set(metadata), {"own", "anymail_key"})
            event = self.receive(metadata, event_type)
            self.assertEqual(event.metadata, {"own": "value"})
            with self.logged():
                self.work()
            self.assertEqual((len(CALLS), self.final), (1, []))

    def test_event_before_the_end_of_the_call(self):
        def in_time(message: Any) -> Any:
            self.receive({"anymail_key": message.anymail_key_for_events})
            return fails(Problem.UNCLEAR)

        self.script(a=in_time)
        mailers["default"].send_messages([make_message()])
        self.work()
        self.assertEqual((len(CALLS), self.final), (1, []))

    def test_no_event(self):
        self.start()
        self.receive({"anymail_key": "0" * 32})
        self.receive({"anymail_key": "of something else"})
        self.receive({"anymail_key": ["no text"]})
        with self.logged("ERROR"):
            self.assertEqual(len(self.work()), 1)
        self.assertEqual(
            (len(CALLS), [error.problem for error in self.final]), (1, [Problem.UNCLEAR])
        )

    def test_no_event_and_accepted_twice(self):
        both = failover("a", "b", duplicates="accept")
        other = {**LEAF, "OPTIONS": {"api_key": "of another account"}}
        self.use_mailers(default=later(mailer="both", settle=600), both=both, b=other)
        self.script(a=fails(Problem.UNCLEAR), b=[None, fails(Problem.UNCLEAR)])
        mailers["default"].send_messages([make_message(duplicates="accept")])
        self.work_once()
        self.assertEqual(self.called, ["a"])
        with self.logged():
            self.assertEqual(self.work()[0], 600)
        self.assertEqual(self.called, ["a", "b"])
        self.reset()
        self.script(a=fails(Problem.UNCLEAR), b=fails(Problem.UNCLEAR))
        mailers["default"].send_messages([make_message()])
        with self.logged("ERROR"):
            self.work()
        self.assertEqual(self.called, ["a", "b"])

    def test_bugs(self):
        """After the call, nobody knows what they mean; before it, there is nothing to wait for."""
        self.script(a=ZeroDivisionError())
        mailers["default"].send_messages([make_message()])
        self.work_once()
        self.assertEqual((len(QUEUED), self.final), (1, []))
        with self.logged("ERROR"):
            self.work()
        with self.logged("ERROR"), patch.object(LeafBackend, "run_pre_send", side_effect=KeyError):
            mailers["default"].send_messages([make_message()])
            self.work_once()
        self.assertEqual((len(QUEUED), len(self.final)), (0, 2))

    def test_no_metadata(self):
        """It's never an unsupported feature."""
        message = make_message()
        message.anymail_key_for_events = "hash"
        backend = import_string("anymail.backends.postal.EmailBackend")(
            api_key="key", api_url="https://postal.example.com/"
        )
        payload = backend.build_message_payload(message, {})
        self.assertNotIn("hash", payload.serialize_data())


class EveryProviderSettlesTests(SimpleTestCase):
    """The key is in the metadata of all providers that have any, beside other metadata."""

    def test_payloads(self):
        without = []
        for name, case in CASES.items():
            if any(find_spec(package) is None for package in case.packages):
                continue
            backend = import_string(case.backend)(**{**case.base_options(), **case.options})
            payload = type(backend.build_message_payload(make_message(), {}))
            with self.subTest(name), patch.object(payload, "set_metadata") as set_metadata:
                for metadata, default in ((UNSET, {}), (None, {"x": 1}), ({"a": 1}, {"x": 1})):
                    message = make_message(metadata=metadata)
                    message.anymail_key_for_events = "hash"
                    backend.build_message_payload(message, {"metadata": default})
                key = {"anymail_key": "hash"}
                seen = [call.args[0] for call in set_metadata.call_args_list]
                self.assertEqual(seen, [key, key, {"a": 1, "x": 1, **key}])
            message.metadata = UNSET
            if "metadata" in case.unsupported:
                without.append(name)
                backend.build_message_payload(message, {})
        self.assertEqual(without, ["minimal", "mailersend", "postal"])
