"""Calls and answers as HTML to look at: without credentials, and with JSON and forms in colours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from requests.structures import CaseInsensitiveDict

from ...masking import CREDENTIAL_NAME, MASK, mask_credentials, mask_urls
from ..store import StoredWebhook
from ..wire import ApiRequest, ApiResponse, Form, MalformedRequest
from .text import visible

MAX_TEXT = 20_000
"""Characters of one value that are shown."""
MAX_BODY = 1_000_000
"""Characters of a body that are shown with colours, and of others."""
_BEGINNING = 200

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*"?)(?P<colon>\s*:)?|\b(?P<word>true|false|null)\b'
    r"|(?P<number>-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{60,}={0,2}")
_TOP_LEVEL = re.compile(rf"{CREDENTIAL_NAME.pattern}|key|auth", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A field of a form, or a file that was uploaded with it."""

    name: str
    value: SafeString
    details: str = ""


@dataclass(frozen=True)
class Shown:
    """An HTTP request or answer. The body is one piece of HTML, or consists of parts."""

    title: str
    headers: list[tuple[str, str]]
    body: SafeString
    parts: list[Part] = field(default_factory=list)


def show_request(request: ApiRequest, url: str, credentials: Iterable[str]) -> Shown:
    """Return an API call. ``url`` is the whole one; ``credentials`` are not shown anywhere."""
    credentials = list(credentials)
    body, parts = _show_body(request, credentials)
    title = f"{request.method} {mask_credentials(mask_urls(url), credentials)}"
    return Shown(title, _headers(request.headers, credentials), body, parts)


def show_response(response: ApiResponse, credentials: Iterable[str]) -> Shown:
    """Return an answer to an API call."""
    headers = {"Content-Type": response.content_type, **response.headers}
    text = response.body.decode("utf-8", "replace")
    body = highlight(mask_credentials(text, credentials), response.content_type)
    return Shown(str(response.status), _headers(headers, credentials), body)


def show_webhook(webhook: StoredWebhook) -> Shown:
    """Return a call of a webhook. Signatures are shown, the site's WEBHOOK_SECRET is not."""
    call = webhook.call
    request = ApiRequest("POST", "", {}, CaseInsensitiveDict(call.headers), call.body)
    body, parts = _show_body(request, [])
    return Shown(f"POST {mask_urls(call.url)}", list(call.headers.items()), body, parts)


def _headers(headers: Mapping[str, str], credentials: Iterable[str]) -> list[tuple[str, str]]:
    return [
        (name, _mask_header(name, mask_credentials(value, credentials)))
        for name, value in headers.items()
    ]


def _mask_header(name: str, value: str) -> str:
    if not CREDENTIAL_NAME.search(name):
        return value
    scheme, space, _ = value.partition(" ")
    return f"{scheme} {MASK}" if space else MASK


def _show_body(request: ApiRequest, credentials: Iterable[str]) -> tuple[SafeString, list[Part]]:
    """Return the body as HTML, or the parts of a form."""
    if request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            return SafeString(""), _show_form(request.form(), credentials)
        except MalformedRequest:
            pass  # shown as it is
    try:
        data = request.json()
    except MalformedRequest:
        text = mask_credentials(request.body.decode("utf-8", "replace"), credentials)
        return highlight(text, ""), []
    if isinstance(data, dict):
        data = {name: _mask_value(name, value) for name, value in data.items()}
    return _show_json(data, credentials), []


def _mask_value(name: str, value: Any) -> Any:
    # Only here: deeper down, such names can be a message's merge fields.
    return MASK if isinstance(value, str) and _TOP_LEVEL.fullmatch(name) else value


def _show_form(form: Form, credentials: Iterable[str]) -> list[Part]:
    parts = []
    for name, value in form.fields:
        value = mask_credentials(_mask_value(name, value), credentials)
        shown = highlight(value, "application/json" if value[:1] in ("{", "[") else "")
        parts.append(Part(name, shown))
    for file in form.files:
        details = f"{file.filename}, {file.content_type}, {len(file.content)} bytes"
        is_text = file.content_type.startswith(("text/", "message/"))
        text = file.content.decode("utf-8", "replace") if is_text else ""
        parts.append(Part(file.field, highlight(text, ""), details))
    return parts


def highlight(text: str, content_type: str) -> SafeString:
    """Return text as HTML; with colours if it's JSON."""
    if "json" in content_type:
        try:
            return _show_json(json.loads(text), ())
        except (ValueError, RecursionError):
            pass  # not what it says
    if len(text) > MAX_BODY:
        text = f"{text[:MAX_BODY]} … ({len(text)} characters)"
    return mark_safe(escape(visible(text)))  # noqa: S308 (escaped)


def _show_json(data: Any, credentials: Iterable[str]) -> SafeString:
    text = json.dumps(_shortened(data), indent=2, ensure_ascii=False)
    text = mask_credentials(text, credentials)
    if len(text) > MAX_BODY:
        return highlight(text, "")
    pieces: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        pieces.append(escape(text[end : match.start()]))
        kind = "key" if match["colon"] else match.lastgroup
        token = match["string"] or match[0]
        pieces.append(f'<span class="{kind}">{escape(visible(token))}</span>')
        end = match.end() - len(match["colon"] or "")
    pieces.append(escape(text[end:]))
    return mark_safe("".join(pieces))  # noqa: S308 (escaped)


def _shortened(data: Any) -> Any:
    """Return JSON data without what nobody can read: base64, and very long text."""
    if isinstance(data, dict):
        return {name: _shortened(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_shortened(value) for value in data]
    if isinstance(data, str) and (
        len(data) > MAX_TEXT
        or (len(data) > _BEGINNING and _BASE64.fullmatch(data.replace("\n", "")) is not None)
    ):
        return f"{data[:_BEGINNING]}… ({len(data)} characters)"
    return data


# Of Django's pages, in which text is escaped
_TITLE = re.compile(r"<title>([^<]*)</title>")
_EXCEPTION = re.compile(r'<pre class="exception_value">([^<]*)</pre>')
_DEBUG_TEXT = re.compile(r"(\w+) at /\S*\n(.+)")


def exception_text(webhook: StoredWebhook) -> str:
    """Return what went wrong at the site: the exception, if its answer tells (with DEBUG)."""
    if webhook.is_accepted:
        return ""
    if webhook.status is None:
        return webhook.error
    if "html" not in webhook.content_type:
        match = _DEBUG_TEXT.match(webhook.answer)
        return f"{match[1]}: {match[2]}" if match else webhook.answer.strip()[:1000]
    name, text = (
        " ".join(unescape(match[1]).split()) if match else ""
        for match in (_TITLE.search(webhook.answer), _EXCEPTION.search(webhook.answer))
    )
    return f"{name.partition(' at /')[0]}: {text}" if text else name
