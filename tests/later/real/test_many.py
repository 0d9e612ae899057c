"""Many messages, two workers, and a provider of which a fifth of all calls fail."""

from __future__ import annotations

import statistics
import threading
from collections import Counter

from django.test import tag

from ...utils import skip_without
from .cases import CeleryTestCase
from .test_kills import IMPATIENT

MESSAGES = 2000
SHARE_OF_FAULTS = 0.2
PROBLEMS = ("message", "unsuitable", "account", "busy", "unclear")
SECONDS = 300


@tag("soak")
@skip_without("celery", "redis")
class ManyMessagesTests(CeleryTestCase):
    provider_names = ("postmark",)
    own_ports = ("postmark",)

    def test_faults(self):
        undisturbed = self.median_delay(MESSAGES // 4, faults=False)
        self.setUp()
        disturbed = self.median_delay(MESSAGES, faults=True)
        self.assertLess(disturbed, 2 * undisturbed)

    def median_delay(self, count: int, *, faults: bool) -> float:
        """Send so many. Returns how long half of those took that had no fault, for each of all."""
        site = self.start_project(**IMPATIENT)
        subjects = [str(number) for number in range(count)]
        messages = [{"subject": subject} for subject in subjects]
        client = site.client()
        answers = client.send(messages=messages, mailer="later-postmark")
        self.assertEqual({status for status, _ in answers}, {"later"})
        done = threading.Event()
        breaking = threading.Thread(target=self.break_now_and_then, args=(done,))
        if faults:
            for problem in PROBLEMS:
                self.provider.fail_next(problem, share=SHARE_OF_FAULTS / len(PROBLEMS))
            breaking.start()
            self.addCleanup(breaking.join)
            self.addCleanup(done.set)
        for _ in range(2):
            site.celery_worker()
        begun = min(line["time"] for line in site.wait_for(lambda: site.noted("begun"), "begin"))

        def over() -> Counter[str]:
            ends = site.noted("accepted") + site.noted("failed", final=True)
            return Counter(line["subject"] for line in ends)

        site.wait_for(lambda: len(over()) == count, "end of all messages", SECONDS)
        arrived = self.arrived()
        accepted = Counter(line["subject"] for line in site.noted("accepted"))
        failed = {line["subject"]: line["problem"] for line in site.noted("failed", final=True)}
        self.assertEqual(set(over().values()), {1}, "one outcome for each")
        for subject in subjects:
            if subject in accepted:
                self.assertEqual(arrived[subject], 1, subject)
            elif failed[subject] == "unclear":
                self.assertLessEqual(arrived[subject], 1, subject)
            else:
                self.assertIn(failed[subject], ("message", "unsuitable"))
                self.assertEqual(arrived[subject], 0, subject)
        if faults:
            self.assertEqual(set(failed.values()), {"message", "unsuitable", "unclear"})
            self.assertGreater(len(accepted), count * (1 - SHARE_OF_FAULTS))
        else:
            self.assertEqual(failed, {})
        disturbed = {line["subject"] for line in site.noted("failed")}
        good = [line for line in site.noted("accepted") if line["subject"] not in disturbed]
        return statistics.median(line["time"] - begun for line in good) / count

    def break_now_and_then(self, done: threading.Event) -> None:
        while not done.wait(2):
            self.provider.fail_next("unreachable", provider="postmark", seconds=0.1)
