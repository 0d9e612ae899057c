"""Answers of the mailbox: templates, files, and the headers that keep mail from doing harm."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.template import Context, Engine

from ..wire import ApiResponse

_HERE = Path(__file__).parent

HTML = "text/html; charset=utf-8"

_COMMON = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer", browsers would not say either where the forms come from.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
}

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

# What is shown is not trusted: no script, no form, nothing that navigates the page around it.
_MAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
    "img-src data:{remote}; font-src data:{remote}; media-src data:{remote}; "
    "style-src 'unsafe-inline'{remote}; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STATIC_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# What a browser may show, rather than save. All else could be taken for a page.
_SHOWN_TYPES = {
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"),
    "application/pdf",
}
_TEXT_TYPES = ("text/", "message/", "application/json", "application/xml")


@cache
def _engine() -> Engine:
    # Not that of Django's settings, which the sandbox may have to do without.
    return Engine(dirs=[str(_HERE / "templates")], builtins=[f"{__package__}.text"])


def render(template: str, context: Mapping[str, Any], status: int = 200) -> ApiResponse:
    """Return a page."""
    html = _engine().get_template(template).render(Context(dict(context), use_l10n=False))
    headers = {**_COMMON, "Content-Security-Policy": _PAGE_POLICY}
    return ApiResponse(status, html.encode("utf-8", "replace"), HTML, headers)


def mail_html(html: str, *, remote: bool) -> ApiResponse:
    """Return the HTML of a mail, for a frame; if ``remote``, with what it has from elsewhere."""
    policy = _MAIL_POLICY.format(remote=" http: https:" if remote else "")
    headers = {**_COMMON, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return ApiResponse(200, html.encode("utf-8", "replace"), HTML, headers)


def attached_file(
    content: bytes, content_type: str, filename: str, *, shown: bool = False
) -> ApiResponse:
    """Return a file from a mail, to save; if ``shown``, to look at, should that be harmless."""
    media_type = content_type.partition(";")[0].strip().lower()
    if shown and media_type.startswith(_TEXT_TYPES):
        served, disposition = "text/plain; charset=utf-8", "inline"
    elif shown and media_type in _SHOWN_TYPES:
        served, disposition = media_type, "inline"
    else:
        served, disposition = "application/octet-stream", "attachment"
    # Without a sandbox, which no browser shows a PDF in. It has no page's rights there, either.
    policy = _FILE_POLICY.removeprefix("sandbox; ") if served == "application/pdf" else _FILE_POLICY
    name = quote(filename, safe="", errors="replace")
    headers = {
        **_COMMON,
        "Content-Security-Policy": policy,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{name}",
    }
    return ApiResponse(200, content, served, headers)


def can_be_shown(content_type: str) -> bool:
    """Tell whether browsers may show a file from a mail."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in _SHOWN_TYPES or media_type.startswith(_TEXT_TYPES)


def static_file(name: str) -> ApiResponse | None:
    """Return a file of the page itself, or None if there is no such one."""
    path = _HERE / "static" / name
    if path.parent != _HERE / "static" or not path.is_file() or path.suffix not in _STATIC_TYPES:
        return None
    headers = {**_COMMON, "Cache-Control": "no-cache"}
    return ApiResponse(200, path.read_bytes(), _STATIC_TYPES[path.suffix], headers)


def redirect(url: str) -> ApiResponse:
    """Return an answer that shows another page, after a form was sent."""
    return ApiResponse(303, headers={**_COMMON, "Location": url})
