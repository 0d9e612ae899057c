"""Under an ASGI server: webhook calls don't keep each other, other views or the loop waiting."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import requests
from django.http import HttpRequest, HttpResponse
from django.test import SimpleTestCase, override_settings
from django.urls import include, path

from anymail.signals import inbound, tracking
from anymail.webhooks.brevo import BrevoInboundWebhookView

from ..asgi_server import AsgiServer
from ..http_server import Answer, HttpServer, ReceivedRequest
from .cases import CASES
from .harness import BASIC_AUTH, Queue, WebhookRequest, basic_auth_header
from .large import large_mailgun_call


class Middleware:
    """One that knows no asynchronous views, such as those of many packages."""

    async_capable = False

    def __init__(self, get_response: Callable[..., HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)


class OwnView(BrevoInboundWebhookView):
    """A project's own, with hooks of all kinds."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(request, *args, **kwargs)

    def validate_request(self, request: HttpRequest) -> None:
        ran_in.append(("validate_request", threading.current_thread()))

    def send_events(self, events: Any) -> None:
        ran_in.append(("send_events", threading.current_thread()))
        super().send_events(events)


ran_in: list[tuple[str, threading.Thread]] = []


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("pong")


async def async_ping(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("pong")


urlpatterns = [
    path("anymail/", include("anymail.urls")),
    path("own/", OwnView.as_view()),
    path("ping/", ping),
    path("async_ping/", async_ping),
]


@override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
class AsgiWebhookTests(SimpleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.downloads = HttpServer(self.download)
        self.downloads.__enter__()
        self.addCleanup(self.downloads.__exit__, None, None, None)
        self.released = threading.Event()
        self.addCleanup(self.released.set)
        settings = override_settings(
            ANYMAIL={
                "WEBHOOK_SECRET": BASIC_AUTH,
                "BREVO_API_KEY": "key",
                "BREVO_API_URL": self.downloads.url,
                "MAILGUN_WEBHOOK_SIGNING_KEY": CASES["mailgun"].settings[
                    "MAILGUN_WEBHOOK_SIGNING_KEY"
                ],
                "MAILERSEND_SIGNING_SECRET": CASES["mailersend"].settings[
                    "MAILERSEND_SIGNING_SECRET"
                ],
            }
        )
        settings.enable()
        self.addCleanup(settings.disable)
        self.pool = ThreadPoolExecutor(30)
        self.addCleanup(self.pool.shutdown)
        self.serve()

    def serve(self) -> None:
        self.site = AsgiServer()
        self.site.__enter__()
        self.addCleanup(self.site.__exit__, None, None, None)

    def receive(self, signal: Any, receiver: Callable[..., Any]) -> None:
        signal.connect(receiver, weak=False)
        self.addCleanup(signal.disconnect, receiver)

    def download(self, request: ReceivedRequest) -> Answer:
        """Keep the view waiting until the test goes on."""
        self.released.wait(10)
        return Answer(body=b"content", headers={"Content-Type": "text/plain"})

    def post(self, path: str, body: Any, **headers: str) -> Future[int]:
        def post() -> int:
            headers.setdefault("Content-Type", "application/json")
            headers.setdefault("Authorization", basic_auth_header())
            data = body if isinstance(body, bytes) else json.dumps(body)
            url = f"{self.site.url}{path}"
            return requests.post(url, data, headers=headers, timeout=20).status_code

        return self.pool.submit(post)

    def post_received(self, path: str = "/anymail/brevo/inbound/") -> Future[int]:
        """Make a call about a message with an attachment that is to be downloaded."""
        attachment = {"Name": "a.txt", "ContentType": "text/plain", "DownloadToken": "token"}
        return self.post(path, {"items": [{"Attachments": [attachment]}]})

    def post_tracking(self) -> Future[int]:
        return self.post("/anymail/sendgrid/tracking/", [{"event": "open", "email": "a@b.test"}])

    def wait_for_downloads(self, number: int) -> None:
        for _ in range(1000):
            if len(self.downloads.requests) >= number:
                return
            threading.Event().wait(0.01)
        self.fail(f"{len(self.downloads.requests)} downloads")

    def assert_others_are_served(self) -> None:
        self.assert_pings()
        self.assertEqual(self.post_tracking().result(10), 200)

    def assert_pings(self) -> None:
        for name in ("ping", "async_ping"):
            self.assertEqual(requests.get(f"{self.site.url}/{name}/", timeout=10).text, "pong")

    def assert_waits_for_nobody(self, path: str = "/anymail/brevo/inbound/") -> None:
        contents: list[Any] = []
        self.receive(
            inbound,
            lambda event, **kwargs: contents.append(event.message.attachments[0].get_content()),
        )
        calls = [self.post_received(path) for _ in range(20)]
        self.wait_for_downloads(20)
        self.assert_others_are_served()
        self.assertEqual(contents, [])
        self.released.set()
        self.assertEqual([call.result(10) for call in calls], [200] * 20)
        self.assertEqual(contents, ["content"] * 20)

    def test_slow_downloads(self) -> None:
        self.assert_waits_for_nobody()

    def test_slow_downloads_with_synchronous_middleware(self) -> None:
        with override_settings(MIDDLEWARE=[f"{__name__}.Middleware"]):
            self.serve()
            self.assert_waits_for_nobody()

    def test_own_view(self) -> None:
        """Hooks are called where synchronous code belongs: never in the thread of the loop."""
        ran_in.clear()
        self.assert_waits_for_nobody("/own/")
        self.assertEqual(len(ran_in), 40)
        self.assertNotIn(self.site._thread, [thread for _, thread in ran_in])

    def test_slow_receivers(self) -> None:
        """That they are synchronous doesn't matter."""
        waiting = threading.Barrier(4)
        self.receive(inbound, lambda **kwargs: (waiting.wait(10), waiting.wait(10)))
        self.released.set()
        calls = [self.post_received() for _ in range(3)]
        waiting.wait(10)
        self.assert_others_are_served()
        waiting.wait(10)
        self.assertEqual([call.result(10) for call in calls], [200] * 3)

    def test_asynchronous_receivers(self) -> None:
        """They are awaited in the loop of the server, while others are served."""
        waiting: list[threading.Thread] = []
        started, ended = threading.Event(), []

        async def receiver(event: Any, **kwargs: Any) -> None:
            waiting.append(threading.current_thread())
            self.end = (asyncio.get_running_loop(), event_to_end := asyncio.Event())
            started.set()
            await event_to_end.wait()
            ended.append(event.recipient)

        self.receive(tracking, receiver)
        call = self.post_tracking()
        started.wait(10)
        self.assert_pings()
        self.assertEqual(ended, [])
        loop, event_to_end = self.end
        loop.call_soon_threadsafe(event_to_end.set)
        self.assertEqual(call.result(10), 200)
        self.assertEqual(ended, ["a@b.test"])
        self.assertEqual(waiting, [self.site._thread])

    def test_signed_call(self) -> None:
        received: list[str] = []
        self.receive(tracking, lambda event, **kwargs: received.append(event.event_id))
        body = {"type": "activity.sent", "data": {"id": "1", "email": {}, "object": "activity"}}
        request = WebhookRequest("tracking", "/anymail/mailersend/tracking/", json=body)
        assert CASES["mailersend"].sign is not None
        CASES["mailersend"].sign(request)
        for signature, status in ((request.headers["Signature"], 200), ("0" * 64, 400)):
            call = self.post(request.path, request.body, Signature=signature)
            self.assertEqual(call.result(10), status)
        self.assertEqual(received, ["1"])

    def test_large_call(self) -> None:
        """One that Django keeps in a file while it comes in."""
        received: list[bytes] = []
        self.receive(
            inbound,
            lambda event, **kwargs: received.append(
                event.message.attachments[0].get_content_bytes()
            ),
        )
        request = large_mailgun_call(4_000_000, "/anymail/mailgun/inbound/")
        content_type = {"Content-Type": request.effective_content_type}
        call = self.post(request.path, request.body, **content_type)
        self.assertEqual(call.result(10), 200)
        self.assertEqual([len(content) for content in received], [4_000_000])

    def test_worker(self) -> None:
        """With WEBHOOK_LATER, the call is put into the queue."""
        queue = f"{Queue.__module__}.Queue"
        self.addCleanup(Queue.jobs.clear)
        with override_settings(ANYMAIL={"WEBHOOK_SECRET": BASIC_AUTH, "WEBHOOK_LATER": queue}):
            self.assertEqual(self.post_tracking().result(10), 200)
        self.assertEqual(len(Queue.jobs), 1)
