"""Under an ASGI server: views that send mail wait for the provider without blocking the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import requests
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from anymail.exceptions import AnymailError

from ..asgi_server import AsgiServer
from ..http_server import Answer
from ..utils import make_message
from .test_sending import SendingTestCase


async def send(request: HttpRequest, subject: str) -> HttpResponse:
    message = make_message(subject=subject)
    try:
        await message.asend()
    except AnymailError as error:
        return HttpResponse(error.problem)
    return HttpResponse(message.anymail_status.message_id)


async def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


urlpatterns = [path("send/<subject>/", send), path("ping/", ping)]


@override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
class AsgiTests(SendingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.site = AsgiServer()
        self.site.__enter__()
        self.addCleanup(self.site.__exit__, None, None, None)

    def get(self, path: str) -> str:
        response = requests.get(f"{self.site.url}/{path}", timeout=10)
        return f"{response.status_code} {response.text}"

    def test_sends(self):
        self.answers["broken"] = Answer(500)
        self.assertEqual(self.get("send/a/"), "200 id of a")
        self.assertEqual(self.get("send/broken/"), "200 unclear")
        self.assertEqual(self.get("send/b/"), "200 id of b")
        self.assertEqual(self.server.connections, 1)

    def test_others_are_served_meanwhile(self):
        barrier = threading.Barrier(21)
        subjects = [str(number) for number in range(20)]
        self.answers = dict.fromkeys(subjects, lambda: barrier.wait(10))
        with ThreadPoolExecutor(20) as pool:
            answers = pool.map(lambda subject: self.get(f"send/{subject}/"), subjects)
            # All of them are waiting for the provider.
            self.assertEqual(self.get("ping/"), "200 pong")
            barrier.wait(10)
            self.assertEqual(list(answers), [f"200 id of {subject}" for subject in subjects])
