"""The pages of the mailbox, and what their buttons do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import requests

from ...masking import find_credentials, mask_urls
from ..store import StoredCall, StoredMessage, StoredRecipient, StoredWebhook
from ..wire import ApiRequest, ApiResponse, Form
from . import content, http, inbound, rendering
from .mime import raw_mime

if TYPE_CHECKING:
    from ..server import Sandbox

BASE = "/_sandbox"
PAGE_SIZE = 50
LIVE_SECONDS = 15
"""How often a page that waits for changes is told that there are none."""

_VIEWS = {
    "html": "HTML",
    "text": "Text",
    "headers": "Headers",
    "raw": "Raw",
    "merge": "Merge data",
    "call": "API call",
    "links": "Links",
    "checks": "Checks",
    "events": "Events",
}


T = TypeVar("T")


class NotFound(Exception):
    """A message or file that isn't there, or no more."""


_LIFE = {
    event: place
    for place, event in enumerate(
        ("queued", "sent", "delivered", "opened", "clicked", "deferred", "bounced", "rejected")
    )
}
"""The order in which events usually come. Others are at the end."""


@dataclass(frozen=True)
class Row:
    """A message in the list."""

    message: StoredMessage
    url: str
    esp_name: str
    latest: StoredWebhook | None
    is_current: bool

    @property
    def tags(self) -> list[str]:
        """The tags of all recipients, each one once."""
        recipients = self.message.recipients
        return list(dict.fromkeys(tag for item in recipients for tag in item.tags))


@dataclass(frozen=True)
class Selection:
    """Which messages are listed: those with all words of ``q``, and sent through ``esp``."""

    q: str = ""
    esp: str = ""

    def matches(self, message: StoredMessage) -> bool:
        """Tell whether it's one of them."""
        if self.esp and message.provider != self.esp:
            return False
        words = self.q.lower().split()
        if not words:
            return True
        text = "\n".join(_searched(message)).lower()
        return all(word in text for word in words)


def _searched(message: StoredMessage) -> Iterator[str]:
    yield from (str(message.from_email), message.reply_to, message.subject, message.text)
    yield message.html
    for recipient in message.recipients:
        yield from (str(recipient.mailbox), recipient.subject, recipient.text, recipient.html)
        yield from (*recipient.tags, recipient.message_id)
        yield from (f"{name}={value}" for name, value in recipient.metadata.items())


class Mailbox:
    """Answers requests for the pages of a sandbox, and for what they have buttons for."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.store = sandbox.store

    def handle(self, path: str, request: ApiRequest) -> ApiResponse:
        """Answer a request. ``path`` is what follows the first slash, or BASE and a slash."""
        method = "GET" if request.method == "HEAD" else request.method
        for route_method, pattern, view in ROUTES:
            match = pattern.fullmatch(path)
            if match and route_method == method:
                try:
                    return view(self, request, *match.groups())
                except NotFound:
                    break
        return self._page("error.html", request, status=404)

    # -- The list -----------------------------------------------------------------------------

    def show_list(self, request: ApiRequest) -> ApiResponse:
        return self._page("home.html", request)

    def show_help(self, request: ApiRequest) -> ApiResponse:
        return self._page("home.html", request, page="help")

    def clear(self, request: ApiRequest) -> ApiResponse:
        self.sandbox.clear()
        return rendering.redirect("/")

    def _page(
        self,
        template: str,
        request: ApiRequest,
        *,
        current: StoredMessage | None = None,
        status: int = 200,
        **context: Any,
    ) -> ApiResponse:
        version = self.store.version  # before what is shown, so that no change is missed
        selection = Selection(request.query.get("q", "").strip(), request.query.get("esp", ""))
        messages = [item for item in reversed(self.store.messages) if selection.matches(item)]
        first = self._first_row(messages, request, current)
        latest = {webhook.call.message: webhook for webhook in self.store.webhooks}
        rows = [
            Row(
                message,
                _url(f"mail/{message.number}", q=selection.q, esp=selection.esp),
                self.sandbox.provider(message.provider).esp_name,
                latest.get(message.number),
                current is not None and message.number == current.number,
            )
            for message in messages[first : first + PAGE_SIZE]
        ]
        pages = {
            name: f"/?{urlencode({**_without_empty(vars(selection)), 'page': number})}"
            for name, number in (("newer", first // PAGE_SIZE), ("older", first // PAGE_SIZE + 2))
            if 0 < number <= (len(messages) - 1) // PAGE_SIZE + 1
        }
        site = self.sandbox.webhook_url
        return rendering.render(
            template,
            {
                "base": BASE,
                "page": "list",
                "version": version,
                "selection": selection,
                "query": urlencode(_without_empty(vars(selection))),
                "providers": self.sandbox.providers.values(),
                "rows": rows,
                "pages": pages,
                "count": len(messages),
                "first": first + 1,
                "last": first + len(rows),
                "total": len(self.store.messages),
                "site": mask_urls(site) if site else "",
                "api_url": self.sandbox.base_url,
                "refused": sum(not call.messages for call in self.store.calls),
                **context,
            },
            status,
        )

    @staticmethod
    def _first_row(
        messages: list[StoredMessage], request: ApiRequest, current: StoredMessage | None
    ) -> int:
        page = request.query.get("page", "")
        if page.isascii() and page.isdecimal() and len(page) < 9:
            index = (int(page) - 1) * PAGE_SIZE
        else:
            numbers = [message.number for message in messages]
            index = numbers.index(current.number) if current and current.number in numbers else 0
        last = max(len(messages) - 1, 0)
        return min(max(index, 0), last) // PAGE_SIZE * PAGE_SIZE

    # -- A message ----------------------------------------------------------------------------

    def show_message(self, request: ApiRequest, number: str) -> ApiResponse:
        message, index, recipient = self._copy(request, number)
        view = request.query.get("view", "")
        if view not in _VIEWS:
            view = "html" if recipient.html else "text"
        return self._message_page(request, message, index, recipient, view)

    def _message_page(
        self,
        request: ApiRequest,
        message: StoredMessage,
        index: int,
        recipient: StoredRecipient,
        view: str,
        **context: Any,
    ) -> ApiResponse:
        provider = self.sandbox.provider(message.provider)
        query = {name: request.query.get(name, "") for name in ("q", "esp")}
        to = str(index) if index else ""
        path = f"mail/{message.number}"
        return self._page(
            "message.html",
            request,
            current=message,
            status=400 if context else 200,
            page="message",
            message=message,
            number=str(message.number),
            recipient=recipient,
            provider=provider,
            view=view,
            view_template=f"{view}.html",
            url=_url(path, **query),
            report_url=_url(f"{path}/report", to=to, **query),
            action_query=urlencode(_without_empty({"to": to, **query})),
            frame=_url(f"{path}/html", to=to, remote=request.query.get("remote", "")),
            raw_url=_url(f"{path}/raw", to=to),
            remote_url=_url(path, to=to, view="html", remote="1", **query),
            has_remote=content.has_remote(recipient.html),
            remote=request.query.get("remote"),
            tabs=self._tabs(message, recipient, path, {"to": to, **query}),
            copies=[
                (item, _url(path, to=str(place or ""), view=view, **query), item is recipient)
                for place, item in enumerate(message.recipients)
            ],
            files=self._files(message),
            events=[
                *sorted(provider.events, key=lambda event: (_LIFE.get(event, len(_LIFE)), event)),
                *(["inbound"] if provider.receives_mail else []),
            ],
            to=str(index),
            **self._view_context(view, message, recipient),
            **context,
        )

    def _tabs(
        self, message: StoredMessage, recipient: StoredRecipient, path: str, query: dict[str, str]
    ) -> list[tuple[str, str, str, str]]:
        """Return (view, name, URL, number of what is there) of what can be seen of a message."""
        problems = sum(item.state == "problem" for item in content.check(message, recipient))
        counts = {
            "links": len(content.find_links(recipient)),
            "checks": problems,
            "events": sum(item.call.message == message.number for item in self.store.webhooks),
        }
        hidden = set() if recipient.html else {"html"}
        if not any(item.merge_data for item in message.recipients):
            hidden.add("merge")
        return [
            (view, name, _url(path, view=view, **query), str(counts.get(view) or ""))
            for view, name in _VIEWS.items()
            if view not in hidden
        ]

    @staticmethod
    def _files(message: StoredMessage) -> list[dict[str, Any]]:
        return [
            {
                "file": file,
                "url": f"{BASE}/mail/{message.number}/files/{index}",
                "can_be_shown": rendering.can_be_shown(file.content_type),
                "is_inline": index >= len(message.attachments),
            }
            for index, file in enumerate((*message.attachments, *message.inline_images))
        ]

    def _view_context(
        self, view: str, message: StoredMessage, recipient: StoredRecipient
    ) -> dict[str, Any]:
        """Return what the template of a view needs."""
        if view == "headers":
            return {"headers": _headers(raw_mime(message, recipient))}
        if view == "raw":
            raw = raw_mime(message, recipient)
            return {"raw": http.highlight(raw.decode("utf-8", "replace"), "")}
        if view == "links":
            return {"links": content.find_links(recipient)}
        if view == "checks":
            return {"checks": content.check(message, recipient)}
        if view == "merge":
            names = dict.fromkeys(name for item in message.recipients for name in item.merge_data)
            return {
                "names": list(names),
                "merged": [
                    (
                        item,
                        [item.merge_data.get(name, "") for name in names],
                        _url(f"mail/{message.number}", view="merge", to=str(place or "")),
                    )
                    for place, item in enumerate(message.recipients)
                ],
            }
        calls = [call for call in self.store.calls if _has(call, message)]
        if view == "call":
            return {"call": self._show_call(calls[0])} if calls else {}
        if view == "events":
            webhooks = [item for item in self.store.webhooks if item.call.message == message.number]
            return {
                "timeline": [self._show_webhook(item) for item in reversed(webhooks)],
                "accepted": calls[0] if calls else None,
            }
        return {}

    def _copy(self, request: ApiRequest, number: str) -> tuple[StoredMessage, int, StoredRecipient]:
        """Return a message, and one of its recipients. Raises NotFound."""
        message = _found(self.store.message, int(number))
        index = request.query.get("to", "0")
        place = int(index) if index.isascii() and index.isdecimal() and len(index) < 9 else 0
        return message, place, _found(message.recipients.__getitem__, place)

    def show_html(self, request: ApiRequest, number: str) -> ApiResponse:
        message, _, recipient = self._copy(request, number)
        remote = bool(request.query.get("remote"))
        html = content.html_document(message, recipient, remote=remote)
        return rendering.mail_html(html, remote=remote)

    def download_raw(self, request: ApiRequest, number: str) -> ApiResponse:
        message, _, recipient = self._copy(request, number)
        return rendering.attached_file(
            raw_mime(message, recipient), "message/rfc822", f"message-{number}.eml"
        )

    def download_file(self, request: ApiRequest, number: str, index: str) -> ApiResponse:
        message = _found(self.store.message, int(number))
        files = (*message.attachments, *message.inline_images)
        file = _found(files.__getitem__, int(index))
        return rendering.attached_file(
            file.content,
            file.content_type,
            file.filename or "unnamed",
            shown="show" in request.query,
        )

    def delete(self, request: ApiRequest, number: str) -> ApiResponse:
        _found(self.store.delete, int(number))
        query = urlencode(_without_empty({key: request.query.get(key, "") for key in ("q", "esp")}))
        return rendering.redirect(f"/?{query}" if query else "/")

    # -- API calls ----------------------------------------------------------------------------

    def show_calls(self, request: ApiRequest) -> ApiResponse:
        calls = [self._show_call(call) for call in self.store.calls[-PAGE_SIZE:][::-1]]
        return self._page("calls.html", request, page="calls", calls=calls)

    def _show_call(self, call: StoredCall) -> dict[str, Any]:
        provider = self.sandbox.provider(call.provider)
        credentials = list(find_credentials(provider.anymail_settings("")))
        url = f"{self.sandbox.base_url}/{call.provider}/{call.request.path}"
        if call.request.query:
            url += f"?{urlencode(call.request.query)}"
        response = call.response
        return {
            "stored": call,
            "provider": provider,
            "request": http.show_request(call.request, url, credentials),
            "response": response and http.show_response(response, credentials),
            "is_accepted": bool(call.messages),
        }

    # -- Webhooks -----------------------------------------------------------------------------

    def report(self, request: ApiRequest, number: str) -> ApiResponse:
        """Report an event of a message, or somebody's reply to it."""
        message, index, recipient = self._copy(request, number)
        form = _form(request)
        try:
            # An error of the site, or that it is down, is among the events then.
            with suppress(requests.RequestException):
                self.sandbox.trigger(
                    message, form.get("event") or "", recipient, raw=bool(form.get("raw"))
                )
        except ValueError as err:
            return self._message_page(request, message, index, recipient, "events", error=str(err))
        return self._show_events(request, message.number)

    def replay(self, request: ApiRequest, number: str) -> ApiResponse:
        """Make a call of a webhook once more, as it was."""
        webhook = _found(self.store.webhook, int(number))
        with suppress(requests.RequestException):
            self.sandbox.send_webhook(webhook.call, replay_of=webhook.number)
        if not webhook.call.message:
            return rendering.redirect(_url("inbound"))
        return self._show_events(request, webhook.call.message)

    @staticmethod
    def _show_events(request: ApiRequest, number: int) -> ApiResponse:
        query = {key: request.query.get(key, "") for key in ("q", "esp", "to")}
        return rendering.redirect(_url(f"mail/{number}", view="events", **query))

    def _show_webhook(self, webhook: StoredWebhook) -> dict[str, Any]:
        call = webhook.call
        provider = self.sandbox.providers.get(call.provider)
        schemes = []
        if provider is not None and provider.webhook_signature[0]:
            scheme, header = provider.webhook_signature
            if not header or header in call.headers:
                schemes.append(f"{scheme}, in {header or 'the body'}")
        if mask_urls(call.url) != call.url:
            schemes.append("Basic authentication with WEBHOOK_SECRET")
        return {
            "stored": webhook,
            "esp_name": provider.esp_name if provider else "",
            "request": http.show_webhook(webhook),
            "scheme": "; ".join(schemes) or "none",
            "exception": http.exception_text(webhook),
            "milliseconds": str(round(webhook.seconds * 1000)),
        }

    # -- Inbound mail -------------------------------------------------------------------------

    def show_inbound(self, request: ApiRequest, **context: Any) -> ApiResponse:
        webhooks = [item for item in self.store.webhooks if not item.call.message]
        receiving = [item for item in self.sandbox.providers.values() if item.receives_mail]
        return self._page(
            "inbound.html",
            request,
            status=400 if context else 200,
            page="inbound",
            receiving=receiving,
            timeline=[self._show_webhook(item) for item in webhooks[-PAGE_SIZE:][::-1]],
            **{"values": {"esp": request.query.get("esp") or self._latest_provider()}, **context},
        )

    def _latest_provider(self) -> str:
        """Return the name of the provider that has sent the newest message, if there is one."""
        return self.store.messages[-1].provider if self.store.messages else ""

    def post_inbound(self, request: ApiRequest) -> ApiResponse:
        """Have a provider receive a mail."""
        form = _form(request)
        try:
            mail = inbound.mail_from_form(form)
            provider = form.get("esp") or ""
            call = self.sandbox.inbound_webhook(provider, mail, raw=bool(form.get("raw")))
        except (LookupError, ValueError) as err:
            return self.show_inbound(request, error=str(err), values=dict(form.fields))
        with suppress(requests.RequestException):
            self.sandbox.send_webhook(call)
        return rendering.redirect(_url("inbound", esp=provider))

    # -- The rest -----------------------------------------------------------------------------

    def static(self, request: ApiRequest, name: str) -> ApiResponse:
        file = rendering.static_file(name)
        if file is None:
            raise NotFound
        return file

    def live(self, request: ApiRequest) -> ApiResponse:
        """Tell of changes: server-sent events, since the version that the page has."""
        since = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        version = int(since) if since.isascii() and since.isdecimal() and len(since) < 19 else -1
        return ApiResponse(
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
            stream=self._changes(version),
        )

    def _changes(self, version: int) -> Iterator[bytes]:
        yield b"retry: 1000\n\n"
        while (changed := self.store.wait_for_change(version, LIVE_SECONDS)) is not None:
            if changed == version:
                yield b": nothing new\n\n"
            else:
                version = changed
                yield b"id: %d\nevent: change\ndata: %d\n\n" % (version, version)


ROUTES: list[tuple[str, re.Pattern[str], Callable[..., ApiResponse]]] = [
    (method, re.compile(pattern), view)
    for method, pattern, view in (
        ("GET", "", Mailbox.show_list),
        ("GET", "help", Mailbox.show_help),
        ("POST", "clear", Mailbox.clear),
        ("GET", r"mail/([0-9]{1,9})", Mailbox.show_message),
        ("POST", r"mail/([0-9]{1,9})/report", Mailbox.report),
        ("GET", r"mail/([0-9]{1,9})/html", Mailbox.show_html),
        ("GET", r"mail/([0-9]{1,9})/raw", Mailbox.download_raw),
        ("GET", r"mail/([0-9]{1,9})/files/([0-9]{1,9})", Mailbox.download_file),
        ("POST", r"mail/([0-9]{1,9})/delete", Mailbox.delete),
        ("GET", "calls", Mailbox.show_calls),
        ("POST", r"webhooks/([0-9]{1,9})/replay", Mailbox.replay),
        ("GET", "inbound", Mailbox.show_inbound),
        ("POST", "inbound", Mailbox.post_inbound),
        ("GET", "live", Mailbox.live),
        ("GET", r"static/([a-z]+\.[a-z]+)", Mailbox.static),
    )
]

PATHS = {"mail", "webhooks"}
"""The first parts of paths that are this module's, where others could be a provider's name."""


def _found(get: Callable[[int], T], number: int) -> T:
    """Return what a function finds. Raises NotFound if it raises LookupError."""
    try:
        return get(number)
    except LookupError as err:
        raise NotFound from err


def _url(path: str, **query: str) -> str:
    """Return the URL of a page, without parameters that are empty."""
    text = urlencode(_without_empty(query))
    return f"{BASE}/{path}?{text}" if text else f"{BASE}/{path}"


def _without_empty(query: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def _form(request: ApiRequest) -> Form:
    return request.form() if request.body else Form()


def _has(call: StoredCall, message: StoredMessage) -> bool:
    return any(item.number == message.number for item in call.messages)


def _headers(raw: bytes) -> list[tuple[str, str]]:
    """Return the headers of raw MIME, unfolded."""
    head = raw.partition(b"\n\n")[0].decode("utf-8", "replace")
    fields = re.sub(r"\n[ \t]+", " ", head).split("\n")
    return [(name, value.strip()) for name, _, value in (item.partition(":") for item in fields)]
