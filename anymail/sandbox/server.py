"""The sandbox: an HTTP server for providers' APIs, and a client for the webhooks of a site."""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from ..providers import PROVIDERS
from . import mailbox
from .as_json import message_as_dict
from .faults import REFUSALS, Fault, Faults
from .providers import (
    InboundMail,
    Provider,
    UnsupportedEvent,
    WebhookTarget,
    load_provider,
)
from .store import (
    Store,
    StoredAttachment,
    StoredCall,
    StoredMessage,
    StoredRecipient,
    StoredTemplate,
    StoredWebhook,
)
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

LOOPBACK = "127.0.0.1"
MAX_BODY = 64 * 2**20
"""Bytes of the longest request. No provider takes more."""

WEBHOOK_SECRET = "sandbox:webhook-secret"  # noqa: S105 (protects nothing but demonstrations)
WEBHOOK_TIMEOUT = 10
"""Seconds that a site has to answer a webhook."""

MAX_ANSWER = 2**18
"""Characters that are kept of such an answer."""

CONTROL = "_sandbox"
"""Paths that start with this are the sandbox's own, not a provider's."""

MESSAGES = f"/{CONTROL}/messages"

logger = logging.getLogger("anymail.sandbox")


class LoopbackServer(socketserver.TCPServer):
    """Mixin for threading HTTP servers: runs in a thread, and leaves no connection when it stops.

    It comes before the server class, and its first argument is the port: 0 for a free one.
    """

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[Any] = set()
        self._changed = threading.Condition()
        try:
            super().__init__((LOOPBACK, port), handler)
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                raise
            raise OSError(
                err.errno, f"port {port} is taken, by another sandbox or something else"
            ) from err
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def server_bind(self) -> None:
        # The HTTP servers of the standard library ask the DNS for a name here, which can be slow.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    @property
    def base_url(self) -> str:
        """The URL of the server, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and close all connections: clients keep theirs alive."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, timeout=5)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Not on stderr: most are connections that clients have closed.
        logger.debug("Connection failed: %r", sys.exc_info()[1])


class Sandbox:
    """A local stand-in for email service providers.

    As a context manager it runs a server on a loopback address, which answers like the APIs of
    the providers in ``anymail.providers.PROVIDERS``::

        with Sandbox() as sandbox, override_settings(ANYMAIL=sandbox.anymail_settings()):
            ...

    ``port`` 0 is any free one. ``webhook_url`` is where a site includes ``anymail.urls``: it must
    be on this computer. It can be set later. ``webhook_secret`` is the site's WEBHOOK_SECRET.
    ``own_ports`` names providers whose APIs have a port of their own each, so that they can be
    unreachable: one after ``port``, always the same, unless that is 0. ``directory`` is where it
    keeps what it receives, so that a later one can begin with that.

    Raises ValueError for a webhook_url elsewhere, and if what is in the directory can't be read;
    OSError if a port is taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        own_ports: Iterable[str] = (),
        webhook_url: str | None = None,
        webhook_secret: str = WEBHOOK_SECRET,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self.store = Store(directory)
        self.faults = Faults()
        self.providers: dict[str, Provider] = {
            name: load_provider(name, self.store) for name in PROVIDERS
        }
        self.webhook_secret = webhook_secret
        self.webhook_url = webhook_url
        own_names = [self.provider(name).name for name in own_ports]
        self._server = _SandboxServer(port, self)
        ports = {name: port and port + number for number, name in enumerate(PROVIDERS, 1)}
        self._mailbox = mailbox.Mailbox(self)
        self._own_servers = {name: _OwnServer(ports[name], self) for name in own_names}

    # -- Running ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()
        for server in self._own_servers.values():
            server.start()

    def stop(self) -> None:
        """Stop. The messages are kept."""
        self.store.close()
        self._server.stop()
        for server in self._own_servers.values():
            server.stop()

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- Sending ------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The URL of the page that lists messages, without a slash at the end."""
        return self._server.base_url

    def url(self, provider: str) -> str:
        """Return the value of a provider's API_URL setting. Raises LookupError."""
        api_path = self.provider(provider).api_path
        server = self._own_servers.get(provider, self._server)
        return f"{server.base_url}/{provider}/{api_path}"

    def provider(self, name: str) -> Provider:
        """Return the stand-in for a provider. Raises LookupError."""
        try:
            return self.providers[name]
        except KeyError:
            raise LookupError(f"The sandbox has no provider {name!r}") from None

    def anymail_settings(self, *providers: str) -> dict[str, Any]:
        """Return the ANYMAIL setting for sending to the sandbox and getting its webhooks.

        For the given providers, by default all of them. Raises LookupError.
        """
        settings: dict[str, Any] = {"WEBHOOK_SECRET": self.webhook_secret}
        for name in providers or self.providers:
            settings |= self.provider(name).anymail_settings(self.url(name))
        return settings

    @property
    def messages(self) -> list[StoredMessage]:
        """What providers have accepted, in the order of arrival."""
        return self.store.messages

    @property
    def calls(self) -> list[StoredCall]:
        """The calls of providers' APIs, in the order of their answers."""
        return self.store.calls

    @property
    def webhooks(self) -> list[StoredWebhook]:
        """The calls of the site's webhooks, in the order of their answers."""
        return self.store.webhooks

    def clear(self) -> None:
        """Forget all messages, calls and webhooks, and have nothing go wrong any more."""
        self.store.clear()
        self.recover()

    @property
    def templates(self) -> dict[str, StoredTemplate]:
        """The templates that are stored at the providers, by id. Add what you need.

        Other template ids are accepted too, but give messages without content.
        """
        return self.store.templates

    @property
    def suppressed(self) -> set[str]:
        """Addresses, in lower case, that providers refuse to send to. Add what you need."""
        return self.store.suppressed

    # -- Faults -------------------------------------------------------------------------------

    def fail_next(
        self,
        problem: str,
        *,
        provider: str | None = None,
        calls: int = 1,
        share: float | None = None,
        retry_after: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Have something go wrong with the next calls of providers' APIs.

        - ``problem``: "message", "unsuitable", "account" or "busy", which the provider answers with
          its own errors; "unclear": it accepts the message, but the connection breaks before the
          answer; "unreachable": nobody listens at its port, and kept connections are closed
        - ``provider``: whose API; by default, whichever is called
        - ``calls``: how many calls; or ``share``: the chance of each call from now on, 0 to 1
        - ``retry_after``: in how many seconds a busy provider asks to come back
        - ``seconds``: how long the provider is unreachable, from now on; by default 5

        Raises LookupError for an unknown provider; ValueError for any other problem, and for
        "unreachable" without a provider in ``own_ports``.
        """
        fault = Fault(
            problem,
            seconds=retry_after if problem == "busy" else seconds,
            calls=calls if share is None else None,
            share=1 if share is None else share,
            provider=provider,
        )
        self.add_fault(fault)

    def recover(self) -> None:
        """Have nothing go wrong any more."""
        self.faults.clear()
        for server in self._own_servers.values():
            server.come_back()

    def add_fault(self, fault: Fault) -> None:
        """Have something go wrong: see fail_next."""
        if fault.provider is not None:
            self.provider(fault.provider)
        if fault.problem != "unreachable":
            self.faults.add(fault)
            return
        if fault.provider not in self._own_servers:
            raise ValueError(
                'Only a provider with a port of its own can be unreachable: Sandbox(own_ports=["'
                f'{fault.provider or "..."}"])'
            )
        assert fault.provider is not None
        assert fault.seconds is not None
        self._own_servers[fault.provider].stop_for(fault.seconds)

    # -- Webhooks -----------------------------------------------------------------------------

    @property
    def webhook_url(self) -> str | None:
        """Where the site includes ``anymail.urls``; None if no webhooks can be sent."""
        return self._webhook_url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        if url is not None and not _is_loopback(url):
            raise ValueError(f"webhook_url must be on this computer, unlike {url!r}")
        self._webhook_url = url

    @property
    def webhook_target(self) -> WebhookTarget:
        """The site for webhooks. Raises ValueError if there is no webhook_url."""
        if self._webhook_url is None:
            raise ValueError("The sandbox needs a webhook_url to send webhooks")
        return WebhookTarget(self._webhook_url, self.webhook_secret)

    def tracking_webhook(
        self, message: StoredMessage, event: str, recipient: StoredRecipient | None = None
    ) -> WebhookCall:
        """Return the call that reports an event, such as "delivered", without sending it.

        ``recipient`` is by default the message's first one. Raises UnsupportedEvent if the
        provider doesn't report such events, ValueError if there is no webhook_url.
        """
        provider = self.provider(message.provider)
        if event not in provider.events:
            raise UnsupportedEvent(
                f"{provider.esp_name} reports {', '.join(sorted(provider.events))}; not {event!r}"
            )
        recipient = recipient or message.recipients[0]
        call = provider.tracking_webhook(self.webhook_target, message, recipient, event)
        return replace(
            call,
            provider=provider.name,
            event=event,
            recipient=recipient.address,
            message=message.number,
        )

    def inbound_webhook(
        self, provider: str, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        """Return the call that reports a received message, without sending it.

        ``raw``: as raw MIME, rather than parsed by the provider. Raises UnsupportedEvent if the
        provider can't do that, LookupError if there is no such provider, ValueError if there is
        no webhook_url.
        """
        call = self.provider(provider).inbound_webhook(self.webhook_target, mail, raw=raw)
        recipient = mail.recipient.addr_spec
        return replace(call, provider=provider, event="inbound", recipient=recipient)

    def send_webhook(self, call: WebhookCall, *, replay_of: int | None = None) -> requests.Response:
        """Call a webhook, and return the site's answer.

        ``replay_of`` is the number of a call in ``webhooks`` that is made again. Raises
        requests.RequestException if there was no answer.
        """
        started = time.time()
        try:
            response = self._post(call)
        except requests.RequestException as err:
            error = f"The site does not answer: {type(err).__name__}"
            self._keep_webhook(StoredWebhook(call, started, error=error, replay_of=replay_of))
            raise
        self._keep_webhook(
            StoredWebhook(
                call,
                started,
                status=response.status_code,
                content_type=response.headers.get("Content-Type", ""),
                answer=response.text[:MAX_ANSWER],
                replay_of=replay_of,
            )
        )
        return response

    def _keep_webhook(self, webhook: StoredWebhook) -> None:
        self.store.add_webhook(replace(webhook, seconds=time.time() - webhook.time))

    def _post(self, call: WebhookCall) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # proxies don't know this computer's loopback addresses
            response = session.post(
                call.url,
                data=call.body,
                headers=dict(call.headers),
                timeout=WEBHOOK_TIMEOUT,
                allow_redirects=False,
            )
        logger.info("webhook %s: %s", urlsplit(call.url).path, response.status_code)
        return response

    def trigger(
        self,
        message: StoredMessage,
        event: str,
        recipient: StoredRecipient | None = None,
        *,
        raw: bool = False,
    ) -> requests.Response:
        """Report an event of a message to the site, and return the site's answer.

        ``event`` "inbound" is a recipient's reply. Otherwise see tracking_webhook, inbound_webhook
        and send_webhook.
        """
        if event != "inbound":
            return self.send_webhook(self.tracking_webhook(message, event, recipient))
        mail = InboundMail.reply(message, recipient or message.recipients[0], *SAMPLE_REPLY)
        call = self.inbound_webhook(message.provider, mail, raw=raw)
        return self.send_webhook(
            replace(call, recipient=mail.sender.addr_spec, message=message.number)
        )

    # -- Answering ----------------------------------------------------------------------------

    def handle(self, target: str, request: ApiRequest) -> ApiResponse | None:
        """Answer a request for the path ``target``: a provider's, or the sandbox's own.

        None is for no answer: the connection breaks.
        """
        name, _, rest = target.lstrip("/").partition("/")
        try:
            if not self._is_own_request(request):
                return ApiResponse.text("Other sites have no access to the sandbox", 403)
            if name in self.providers:
                return self._call_provider(self.providers[name], _below(request, rest))
            if name in ("", CONTROL):
                return self._handle_control(rest, request)
        except MalformedRequest as err:
            return ApiResponse.text(str(err), 400)
        except Exception:
            # Whatever was sent, the server must go on.
            logger.exception("The sandbox failed at %s %s", request.method, target)
            return ApiResponse.text("The sandbox failed; see its log", 500)
        return ApiResponse.text(f"The sandbox has {', '.join(sorted(self.providers))}", 404)

    def _call_provider(self, provider: Provider, request: ApiRequest) -> ApiResponse | None:
        started = time.time()
        fault = self.faults.next(provider.name)
        with self.store.noting_messages() as accepted:
            if fault is not None and fault.problem in REFUSALS:
                response = provider.refuse(fault.problem, request, fault.seconds)
            else:
                response = provider.webhooks.handle(request) or provider.handle(request)
        answer = None if fault is not None and fault.problem == "unclear" else response
        self.store.add_call(StoredCall(provider.name, started, request, answer, tuple(accepted)))
        return answer

    def _handle_control(self, path: str, request: ApiRequest) -> ApiResponse:
        wants_json = "application/json" in request.headers.get("Accept", "")
        if request.method in ("GET", "HEAD") and (path == "messages" or (wants_json and not path)):
            data = [message_as_dict(message) for message in self.messages]
            return ApiResponse(
                body=json.dumps({"messages": data}, indent=1).encode(),
                content_type="application/json",
            )
        if request.method == "DELETE" and path == "messages":
            self.clear()
            return ApiResponse(204)
        parts = [unquote(part) for part in path.split("/")]
        if request.method == "POST" and len(parts) == 3 and parts[0] not in mailbox.PATHS:
            return self._trigger_by_request(*parts, request=request)
        return self._mailbox.handle(path, request)

    def _is_own_request(self, request: ApiRequest) -> bool:
        """Tell whether no page of another site, in the browser of a developer, is behind it.

        Its name can lead here, too (DNS rebinding): the Host header tells. Browsers say where a
        form comes from, in Origin and Sec-Fetch-Site; links from elsewhere to the pages are fine.
        """
        host = request.headers.get("Host", urlsplit(self.base_url).netloc)
        if not _is_loopback(f"http://{host}"):
            return False
        if request.headers.get("Origin", f"http://{host}") != f"http://{host}":
            return False
        is_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        site = request.headers.get("Sec-Fetch-Site", "none")
        return is_link or site in ("none", "same-origin")

    def _trigger_by_request(
        self, provider: str, message_id: str, event: str, *, request: ApiRequest
    ) -> ApiResponse:
        try:
            message = self.store.find(provider, message_id)
            address = request.query.get("recipient")
            # Ids can be shared by all recipients, or not.
            recipient = (
                message.recipient(address)
                if address
                else next(
                    candidate
                    for candidate in message.recipients
                    if candidate.message_id.strip("<>") == message_id.strip("<>")
                )
            )
        except LookupError as err:
            return ApiResponse.json({"error": str(err)}, 404)
        try:
            answer = self.trigger(message, event, recipient, raw="raw" in request.query)
        except ValueError as err:
            return ApiResponse.json({"error": str(err)}, 400)
        except requests.RequestException as err:
            return ApiResponse.json(
                {"error": f"The site does not answer: {type(err).__name__}"}, 502
            )
        result = {"event": event, "recipient": recipient.address, "site_status": answer.status_code}
        return ApiResponse.json(result, 200 if answer.status_code // 100 == 2 else 502)


SAMPLE_REPLY: tuple[str, tuple[StoredAttachment, ...]] = (
    "Díky! Přijde v úterý.",
    (StoredAttachment("odpověď.txt", "text/plain; charset=utf-8", "Žluťoučký kůň\n".encode()),),
)
"""Text and attachments of the replies that trigger("inbound") sends."""


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _below(request: ApiRequest, path: str) -> ApiRequest:
    return ApiRequest(request.method, path, request.query, request.headers, request.body)


class _SandboxServer(LoopbackServer, ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        super().__init__(port, _Handler)


class _OwnServer:
    """A server for one provider, which can be out of reach for a while."""

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._server = _SandboxServer(port, sandbox)
        self.base_url = self._server.base_url
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            else:
                self._server.stop()

    def stop_for(self, seconds: float) -> None:
        """Be out of reach, and back after so many seconds."""
        self.stop()
        with self._lock:
            self._timer = threading.Timer(seconds, self.come_back)
            self._timer.daemon = True
            self._timer.start()

    def come_back(self) -> None:
        """Be in reach again."""
        with self._lock:
            if self._timer is not None:  # Otherwise, it is, or the sandbox was stopped meanwhile.
                self._timer.cancel()
                self._timer = None
                self._server = _SandboxServer(self._server.server_port, self._sandbox)
                self._server.start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def _handle(self) -> None:
        response = self._read_body()
        if isinstance(response, bytes):
            path, _, query = self.path.partition("?")
            request = ApiRequest(
                method=self.command,
                path=path,
                query=dict(parse_qsl(query, keep_blank_values=True)),
                headers=CaseInsensitiveDict(self.headers.items()),
                body=response,
            )
            sandbox = cast(_SandboxServer, self.server).sandbox
            answer = sandbox.handle(path, request)
            status = "no answer" if answer is None else answer.status
            # Nobody needs to know which pages somebody has looked at.
            is_page = path == "/" or (path.startswith(f"/{CONTROL}/") and path != MESSAGES)
            level = logging.DEBUG if is_page and self.command == "GET" else logging.INFO
            logger.log(level, "%s %s: %s", self.command, path, status)
            if answer is None:
                self.close_connection = True
                return
            response = answer
        else:
            self.close_connection = True  # what follows can't be told from the body
        self._answer(response)

    # The names that http.server looks for.
    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _handle  # noqa: N815

    def _read_body(self) -> bytes | ApiResponse:
        """Return the body of the request, or an error response."""
        if "Transfer-Encoding" in self.headers:
            return ApiResponse.text("The sandbox needs a Content-Length", 411)
        digits = self.headers.get("Content-Length", "0")
        if not (digits.isascii() and digits.isdecimal()):
            return ApiResponse.text("Invalid Content-Length", 400)
        # Python refuses to read very long numbers.
        length = int(digits) if len(digits) < 20 else MAX_BODY + 1
        if length > MAX_BODY:
            return ApiResponse.text(f"More than {MAX_BODY} bytes", 413)
        body = self.rfile.read(length)
        return body if len(body) == length else ApiResponse.text("The request ended early", 400)

    def _answer(self, response: ApiResponse) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        if response.stream is None:
            self.send_header("Content-Length", str(len(response.body)))
        else:
            self.close_connection = True
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for chunk in response.stream or [response.body]:
                self.wfile.write(chunk)

    def version_string(self) -> str:
        return "anymail-sandbox"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        logger.debug(format, *args)
