from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from django.core import signing
from django.test import SimpleTestCase, override_settings

from anymail.later.job import MAIL, VERSION, WEBHOOK, JobRefused, NewerJob, read_job, sign_job
from anymail.later.storage import delete_job, fetch_job, left_files, store_job

CONTENT = {"id": "1", "due": 1000.0, "max_age": 60, "state": {}, "text": "\ud800 é" * 1000}


class JobTests(SimpleTestCase):
    """Only what the project itself has signed, for the same purpose, is read."""

    def test_round_trip(self):
        job = sign_job(CONTENT, salt=MAIL)
        self.assertLess(len(job), 1000)  # compressed
        self.assertEqual(read_job(job, salt=MAIL), {**CONTENT, "version": VERSION})

    def test_not_json(self):
        with self.assertRaises(TypeError):
            sign_job({"text": b"bytes"}, salt=MAIL)

    def test_refused(self):
        job = sign_job({"text": "secret words"}, salt=MAIL)
        with override_settings(SECRET_KEY="another"):
            by_others = sign_job({"text": "secret words"}, salt=MAIL)
        cases: dict[str, Any] = {
            "made up": "eyJhIjoxfQ:abc",
            "empty": "",
            "no text": None,
            "changed": f"A{job}",
            "another purpose": sign_job({"text": "secret words"}, salt=WEBHOOK),
            "another SECRET_KEY": by_others,
            "no job": signing.Signer(salt=MAIL).sign_object(["secret words"]),
            "no version": signing.Signer(salt=MAIL).sign_object({"text": "secret words"}),
            "no number": signing.Signer(salt=MAIL).sign_object({"version": "1"}),
        }
        for name, case in cases.items():
            with self.subTest(name), self.assertRaises(JobRefused) as caught:
                read_job(case, salt=MAIL)
            self.assertNotIn("secret words", str(caught.exception))

    def test_earlier_secret_key(self):
        job = sign_job(CONTENT, salt=MAIL)
        from django.conf import settings

        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
            self.assertEqual(read_job(job, salt=MAIL)["id"], "1")

    def test_newer(self):
        content = {"version": VERSION + 1, "due": 1.0}
        job = signing.Signer(salt=MAIL).sign_object(content)
        with self.assertRaises(NewerJob) as caught:
            read_job(job, salt=MAIL)
        self.assertEqual(caught.exception.content, content)


class StorageTests(SimpleTestCase):
    """A file of a large job can't be exchanged, not even for another one of the project's."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        settings = use_storage(folder.name)
        settings.enable()
        self.addCleanup(settings.disable)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def store(self, **content: Any) -> str:
        return store_job(sign_job({**CONTENT, **content}, salt=MAIL), storage="jobs", salt=MAIL)

    def test_round_trip(self):
        short = self.store()
        self.assertLess(len(short), 500)
        self.assertEqual(read_job(fetch_job(short, salt=MAIL), salt=MAIL)["text"], CONTENT["text"])
        header = read_job(short, salt=MAIL)
        self.assertEqual((header["id"], header["due"], header["state"]), ("1", 1000.0, {}))
        delete_job(short, salt=MAIL)
        self.assertEqual(self.files(), [])
        with self.assertRaisesMessage(JobRefused, "missing"):
            fetch_job(short, salt=MAIL)
        delete_job(short, salt=MAIL)  # once more does no harm

    def test_no_file(self):
        job = sign_job(CONTENT, salt=MAIL)
        self.assertEqual(fetch_job(job, salt=MAIL), job)
        delete_job(job, salt=MAIL)

    def test_exchanged(self):
        short = self.store()
        self.store(id="2")
        one, other = self.files()
        if fetch_job(short, salt=MAIL) != one.read_text():
            one, other = other, one
        one.write_bytes(other.read_bytes())
        with self.assertRaisesMessage(JobRefused, "not the one"):
            fetch_job(short, salt=MAIL)

    def test_other_purpose(self):
        short = self.store()
        for function in (fetch_job, delete_job):
            with self.assertRaises(JobRefused):
                function(short, salt=WEBHOOK)

    def test_left_files(self):
        self.assertEqual(list(left_files("jobs", 10**12)), [])
        self.store()
        self.store(due=10_000_000.0)
        names = list(left_files("jobs", 1_000_000))
        self.assertEqual([name.partition("-")[0] for name in names], ["anymail/87460"])


def use_storage(folder: str, alias: str = "jobs", **options: Any) -> override_settings:
    """Return settings with a storage for jobs that has no URLs."""
    backend = "django.core.files.storage.FileSystemStorage"
    options = {"location": folder, **options}
    return override_settings(STORAGES={alias: {"BACKEND": backend, "OPTIONS": options}})
