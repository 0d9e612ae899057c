"""What assert_sent() and its kin find, and what they say if they don't."""

from __future__ import annotations

from typing import Any

import django
from django.core.mail import send_mail
from django.db import transaction
from django.test import SimpleTestCase, TestCase

from anymail.testing import OutboxMixin

from ..utils import make_message


class LookupTests(OutboxMixin, SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        message = make_message(
            subject="Welcome, Ann",
            body="Hello\nthere",
            to=["Ann <ann@Example.com>", "bo@example.com"],
            cc=["cc@example.com"],
            tags=["a", "b"],
            metadata={"order": 7, "a__b": 1},
            merge_data={"ann@example.com": {"name": "Ann"}, "bo@example.com": {"name": "Bo"}},
            merge_global_data={"shop": "S", "name": "Customer"},
            template_id="welcome",
            headers={"X-A": "b"},
        )
        message.attach("a.pdf", b"", "application/pdf")
        message.attach("b.pdf", b"", "application/pdf")
        message.send()

    FOUND: list[dict[str, Any]] = [
        {},
        {"to": "ann@example.com"},  # the case of domains doesn't matter
        {"to": "Ann <ann@example.com>"},
        {"to": ["bo@example.com", "ann@example.com"]},
        {"to__contains": ["bo@example.com"]},
        {"to__contains": "bo@"},
        {"to__endswith": "@example.com"},
        {"from_email": "from@example.com"},
        {"bcc": []},
        {"subject": "Welcome, Ann"},
        {"subject__contains": "Ann"},
        {"subject__icontains": "welcome"},
        {"subject__startswith": "Welcome"},
        {"subject__endswith": "Ann"},
        {"subject__regex": r"W\w+, A"},
        {"text__contains": "there"},
        {"html": ""},
        {"tags": "a"},
        {"tags": ["b", "a"]},
        {"tags__contains": "a"},
        {"tags__contains": ["a"]},
        {"metadata": {"order": 7, "a__b": 1}},
        {"metadata__contains": {"order": 7}},
        {"metadata__order": 7},
        {"metadata__order__contains": "7"},
        {"metadata__a__b": 1},
        {"merge_data__name": "Bo"},
        {"merge_data__shop": "S"},
        {"merge_global_data__shop": "S"},
        {"headers__contains": {"X-A": "b"}},
        {"template_id": "welcome"},
        {"attachments": ["b.pdf", "a.pdf"]},
        {"attachments": "a.pdf"},
        {"attachments__contains": "a.pdf"},
        {"track_opens": None},
        {"provider": None},
        {"subject__contains": "Ann", "to": "bo@example.com"},
    ]
    NOT_FOUND: list[tuple[dict[str, Any], str]] = [
        ({"to": "ann@example.org"}, "to is ['Ann <ann@Example.com>', 'bo@example.com']"),
        ({"to": "Anna <ann@example.com>"}, "to is ['Ann <ann@Example.com>', 'bo@example.com']"),
        ({"to": ["bo@example.com"]}, "to is ['Ann <ann@Example.com>', 'bo@example.com']"),
        (
            {"to__contains": "Ann@"},
            "to does not contain 'Ann@': ['Ann <ann@Example.com>', 'bo@example.com']",
        ),
        ({"bcc": "bo@example.com"}, "bcc is []"),
        ({"subject": "Welcome"}, "subject is 'Welcome, Ann'"),
        ({"subject__contains": "Bo"}, "subject does not contain 'Bo': 'Welcome, Ann'"),
        (
            {"subject__icontains": "BO"},
            "subject does not contain (in any case) 'BO': 'Welcome, Ann'",
        ),
        ({"subject__startswith": "Ann"}, "subject does not start with 'Ann': 'Welcome, Ann'"),
        ({"subject__endswith": "W"}, "subject does not end with 'W': 'Welcome, Ann'"),
        ({"subject__regex": "^Ann"}, "subject does not match '^Ann': 'Welcome, Ann'"),
        ({"tags": ["a"]}, "tags is ['a', 'b']"),
        ({"tags__contains": ["a", "c"]}, "tags does not contain ['a', 'c']: ['a', 'b']"),
        ({"metadata": {"order": 7}}, "metadata is {'order': 7, 'a__b': 1}"),
        ({"metadata__order": "7"}, "metadata__order is 7"),
        ({"metadata__user": 7}, "metadata__user is not there"),
        ({"merge_data__name": "Customer"}, "merge_data__name is 'Ann' or 'Bo'"),
        ({"template_id": None}, "template_id is 'welcome'"),
        ({"template_id__contains": "x"}, "template_id does not contain 'x': 'welcome'"),
        ({"attachments": ["a.pdf"]}, "attachments is ['a.pdf', 'b.pdf']"),
        ({"send_at__contains": "1"}, "send_at does not contain '1': None"),
        ({"text__contains": "x" * 400}, f"text does not contain '{'x' * 299}…: 'Hello\\nthere'"),
    ]

    def test_found(self):
        for lookups in self.FOUND:
            with self.subTest(lookups):
                self.assertEqual(self.outbox.assert_sent(**lookups), self.outbox.mails[0])
                with self.assertRaises(AssertionError):
                    self.outbox.assert_not_sent(**lookups)

    def test_not_found(self):
        for lookups, difference in self.NOT_FOUND:
            with self.subTest(lookups):
                self.outbox.assert_not_sent(**lookups)
                with self.assertRaises(AssertionError) as caught:
                    self.outbox.assert_sent(**lookups)
                self.assertEqual(str(caught.exception).splitlines()[3:], [f"   {difference}"])

    def test_wrong_lookups(self):
        for lookups, text in [
            (
                {"recipient": "a"},
                "recipient: there is no field 'recipient', only attachments, bcc,",
            ),
            ({"subject__like": "a"}, "subject__like: there is no lookup 'like', only contains,"),
        ]:
            with self.assertRaisesMessage(TypeError, text):
                self.outbox.assert_sent(**lookups)
        with self.assertRaisesMessage(ValueError, "assert_not_sent"):
            self.outbox.assert_sent(count=0)

    def test_which_of_several(self):
        for number in (1, 2):
            send_mail(f"Number {number}", "", None, ["cy@example.com"])
        first = self.outbox.assert_sent(to="cy@example.com")
        second = self.outbox.assert_sent(to="cy@example.com")
        self.assertEqual((first.subject, second.subject), ("Number 1", "Number 2"))
        # When all have been seen, it's the first one.
        self.assertIs(self.outbox.assert_sent(to="cy@example.com"), first)
        with self.assertRaises(AssertionError) as caught:
            self.outbox.assert_nothing_more()
        self.assertEqual(
            str(caught.exception),
            "No more mail should be sent, but there is:\n"
            "- 'Welcome, Ann' to Ann <ann@Example.com>, bo@example.com, cc@example.com",
        )
        self.outbox.assert_sent(subject__contains="Ann", count=1)
        self.outbox.assert_nothing_more()
        self.assertIs(self.outbox.assert_sent(to="cy@example.com", count=2), first)

    def test_clear(self):
        self.outbox.clear()
        self.outbox.assert_not_sent()
        self.outbox.assert_nothing_more()


class FailureTextTests(OutboxMixin, TestCase):
    maxDiff = None
    outbox_options = {"as_if": "postmark"}
    mailer = " with mailer 'default'" if django.VERSION >= (6, 1) else ""

    def assert_text(self, text: str, **lookups: Any) -> None:
        with self.assertRaises(AssertionError) as caught:
            self.outbox.assert_sent(**lookups)
        self.assertEqual(str(caught.exception), text)

    def test_nothing(self):
        self.assert_text("No mail was sent.\nNothing was sent at all.")
        self.assert_text(
            "No mail was sent with to='ann@example.com'.\nNothing was sent at all.",
            to="ann@example.com",
        )

    def test_others(self):
        send_mail("Your receipt", "…", "shop@example.com", ["ann@example.com"])
        send_mail("Welcome", "…", "shop@example.com", ["bo@example.com"])
        self.assert_text(
            "No mail was sent with to='ann@example.com', subject__contains='Welcome'.\n"
            "All that was sent (2):\n"
            "1. 'Your receipt' to ann@example.com, with postmark\n"
            "   subject does not contain 'Welcome': 'Your receipt'\n"
            "2. 'Welcome' to bo@example.com, with postmark\n"
            "   to is ['bo@example.com']",
            to="ann@example.com",
            subject__contains="Welcome",
        )
        self.assert_text(
            "1 instead of 2 mails were sent with to='bo@example.com'.\n"
            "All that was sent (2):\n"
            "1. 'Your receipt' to ann@example.com, with postmark\n"
            "   to is ['ann@example.com']\n"
            "2. 'Welcome' to bo@example.com, with postmark",
            to="bo@example.com",
            count=2,
        )
        with self.assertRaises(AssertionError) as caught:
            self.outbox.assert_not_sent(to="bo@example.com")
        self.assertEqual(
            str(caught.exception),
            "No mail with to='bo@example.com' should be sent, but there is:\n"
            "- 'Welcome' to bo@example.com, with postmark",
        )

    def test_hints(self):
        self.outbox.fail_next("account")
        with self.assertRaises(Exception):  # noqa: B017
            send_mail("Welcome", "…", "shop@example.com", ["bo@example.com"])
        transaction.on_commit(lambda: None)
        with self.assertRaises(AssertionError) as caught:
            self.outbox.assert_sent()
        attempt, waiting = str(caught.exception).splitlines()[2:]
        self.assertEqual(
            attempt, f"An attempt has failed: AnymailRequestsAPIError{self.mailer} (account)"
        )
        self.assertEqual(
            waiting,
            "Functions that wait for the transaction to be committed: 1 (see Django's "
            "captureOnCommitCallbacks)",
        )

    def test_on_commit(self):
        # As Django's TestCase has it: hooks run when the test says so.
        with self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(
                lambda: send_mail("Later", "Text", "a@example.com", ["b@example.com"]) and None
            )
            self.outbox.assert_not_sent()
        self.outbox.assert_sent(subject="Later")
