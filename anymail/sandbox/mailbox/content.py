"""What is in a message: links and images, what should be looked at, and its HTML to look at."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

from ..store import StoredAttachment, StoredMessage, StoredRecipient

_URL = re.compile(r"""\bhttps?://[^\s<>"']+[^\s<>"'.,;:!?)\]]""", re.IGNORECASE)
_CID = re.compile(r"""\bcid:([^\s"'<>)]+)""", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_FRAME_TAG = re.compile(r"<(?=i?frame\b)", re.IGNORECASE)
_LINK_TAG = re.compile(r"<(?=link\b)", re.IGNORECASE)
_UNMERGED = re.compile(r"\{\{\s*[^{}\s][^{}]*\}\}")
_IMAGE_TYPE = re.compile(r"image/(png|jpeg|gif|webp|svg\+xml|bmp|avif|x-icon)", re.IGNORECASE)

MAX_IMAGES = 32 * 2**20
"""Characters of all images that are put into the HTML of one message."""


@dataclass(frozen=True)
class Link:
    """A link: where it leads, and its text, empty for one in plain text."""

    url: str
    text: str = ""

    @property
    def is_web(self) -> bool:
        """Whether a browser may follow it."""
        return self.url.lower().startswith(("http://", "https://"))

    @property
    def is_local(self) -> bool:
        """Whether nobody else can follow it, because it leads to the computer itself."""
        try:
            host = (urlsplit(self.url).hostname or "").rstrip(".")
        except ValueError:
            return False
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified


@dataclass(frozen=True)
class Check:
    """Something to look at, and what about it.

    ``state`` is "ok", "problem", or "note" for what not all messages need.
    """

    name: str
    state: str
    text: str


class _Finder(HTMLParser):
    """Finds links, and images."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.images: list[dict[str, str | None]] = []
        self._url: str | None = None
        self._text = ""
        with suppress(AssertionError):  # of Python's parser, for some junk
            self.feed(html)
            self.close()
        self._end_link()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("a", "area") and values.get("href"):
            self._end_link()
            self._url = (values["href"] or "").strip()
        elif tag == "img":
            self.images.append(values)
            if self._url is not None:
                self._text += values.get("alt") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        self._text += data

    def _end_link(self) -> None:
        if self._url is not None:
            self.links.append(Link(self._url, " ".join(self._text.split())))
        self._url = None
        self._text = ""


def find_links(recipient: StoredRecipient) -> list[Link]:
    """Return the links of HTML and text, each URL once."""
    links = [
        *_Finder(recipient.html).links,
        *(Link(match[0]) for match in _URL.finditer(recipient.text)),
    ]
    unique: dict[str, Link] = {}
    for link in links:
        unique.setdefault(link.url, link)
    return list(unique.values())


def check(message: StoredMessage, recipient: StoredRecipient) -> list[Check]:
    """Return what can be told of the copy of a recipient, good or bad."""
    headers = {name.lower(): value for name, value in recipient.headers.items()}
    unsubscribe = headers.get("list-unsubscribe", "")
    return [
        _check_text(recipient),
        _check_unsubscribe(unsubscribe),
        _check_one_click(unsubscribe, headers.get("list-unsubscribe-post", "")),
        _check_alternatives(recipient),
        _check_links(recipient),
        _check_images(message, recipient),
        _check_merged(recipient),
    ]


def _check_text(recipient: StoredRecipient) -> Check:
    name = "Text part"
    if recipient.text.strip():
        return Check(name, "ok", "There is one.")
    if not recipient.html.strip():
        return Check(name, "note", "The message is empty, or the provider has its content.")
    return Check(name, "problem", "Missing: there is only HTML, which not everybody can read.")


def _check_unsubscribe(value: str) -> Check:
    name = "List-Unsubscribe"
    if not value:
        text = "Missing. Bulk mail needs it; mail that somebody has asked for doesn't."
        return Check(name, "note", text)
    urls = _unsubscribe_urls(value)
    if urls is None:
        return Check(name, "problem", "Not well-formed: URLs in angle brackets, between commas.")
    if wrong := [url for url in urls if not re.match(r"(mailto|https?):", url, re.IGNORECASE)]:
        return Check(name, "problem", f"Neither mailto: nor https: {', '.join(wrong)}")
    return Check(name, "ok", ", ".join(urls))


def _check_one_click(urls: str, value: str) -> Check:
    name = "One-click unsubscribe"
    if not value:
        text = "No List-Unsubscribe-Post. Large providers ask for it in bulk mail (RFC 8058)."
        return Check(name, "note", text)
    if value.strip() != "List-Unsubscribe=One-Click":
        return Check(name, "problem", "List-Unsubscribe-Post must be “List-Unsubscribe=One-Click”.")
    if not any(url.lower().startswith("https:") for url in _unsubscribe_urls(urls) or []):
        return Check(name, "problem", "List-Unsubscribe has no https URL to post to.")
    return Check(name, "ok", "List-Unsubscribe-Post is there, and an https URL to post to.")


def _unsubscribe_urls(value: str) -> list[str] | None:
    """Return the URLs in a List-Unsubscribe header, or None if it's not well-formed (RFC 2369)."""
    items = [item.strip() for item in value.split(",")]
    if not all(re.fullmatch(r"<[^<>\s]+>", item) for item in items):
        return None
    return [item[1:-1] for item in items]


def _check_alternatives(recipient: StoredRecipient) -> Check:
    name = "Images"
    images = _Finder(recipient.html).images
    if missing := [image.get("src") or "" for image in images if image.get("alt") is None]:
        sources = ", ".join(source[:80] for source in missing[:5])
        return Check(name, "problem", f"{len(missing)} of {len(images)} without alt: {sources}")
    return Check(name, "ok", "All have an alt text." if images else "There are none.")


def _check_links(recipient: StoredRecipient) -> Check:
    name = "Links to this computer"
    links = [
        *find_links(recipient),
        *(Link(image.get("src") or "") for image in _Finder(recipient.html).images),
    ]
    if local := [link.url for link in links if link.is_local]:
        return Check(name, "problem", f"Nobody else can follow them: {', '.join(local[:5])}")
    return Check(name, "ok", "There are none.")


def _check_images(message: StoredMessage, recipient: StoredRecipient) -> Check:
    name = "Inline images"
    shown = {_content_id(match[1]) for match in _CID.finditer(recipient.html)}
    attached = {image.content_id for image in message.inline_images}
    if missing := shown - attached:
        return Check(name, "problem", f"Not attached: {', '.join(sorted(missing))}")
    if unused := attached - shown:
        return Check(name, "problem", f"Attached, but not in the HTML: {', '.join(sorted(unused))}")
    return Check(name, "ok", "All are attached." if attached else "There are none.")


def _check_merged(recipient: StoredRecipient) -> Check:
    name = "Merge fields"
    texts = (recipient.subject, recipient.text, recipient.html)
    if left := dict.fromkeys(match[0] for text in texts for match in _UNMERGED.finditer(text)):
        return Check(name, "problem", f"Left as they are: {', '.join([*left][:5])}")
    return Check(name, "ok", "None is left.")


# -- HTML to look at --------------------------------------------------------------------------


def html_document(
    message: StoredMessage, recipient: StoredRecipient, *, remote: bool = False
) -> str:
    """Return the HTML of a recipient's copy, for a sandboxed frame.

    Images that are attached are in it. Links open a new window. Neither makes it safe: the headers
    that it is served with do, which allow nothing but style and those images; and with ``remote``
    those from elsewhere.
    """
    html = "".join(_with_images(recipient.html, message.inline_images))
    # Policies keep browsers from loading them, but not from connecting to their servers.
    html = _FRAME_TAG.sub("<x-", html)
    if not remote:
        html = _LINK_TAG.sub("<x-", html)
    doctype = _DOCTYPE.match(html)
    start = doctype.end() if doctype else 0
    return f'{html[:start]}<base target="_blank">{html[start:]}'


def _with_images(html: str, images: Iterable[StoredAttachment]) -> Iterator[str]:
    urls = {
        image.content_id: f"data:{type_};base64,{b64encode(image.content).decode()}"
        for image in images
        if (type_ := image_type(image)) is not None
    }
    size = 0
    end = 0
    for match in _CID.finditer(html):
        url = urls.get(_content_id(match[1]))
        size += len(url or "")
        if url is not None and size <= MAX_IMAGES:
            yield html[end : match.start()] + url
            end = match.end()
    yield html[end:]


def _content_id(text: str) -> str:
    return unquote(unescape(text))


def image_type(attachment: StoredAttachment) -> str | None:
    """Return the media type of an image that browsers can show in a page; None for other files."""
    media_type = attachment.content_type.partition(";")[0].strip().lower()
    return media_type if _IMAGE_TYPE.fullmatch(media_type) else None


_REMOTE = re.compile(
    r"""\b(?:src|srcset|background|poster)\s*=\s*(?:["']\s*)?(?:https?:)?//"""
    r"""|url\(\s*(?:["']\s*)?(?:https?:)?//|@import|<link\b""",
    re.IGNORECASE,
)


def has_remote(html: str) -> bool:
    """Tell whether HTML seems to have images, fonts or style from elsewhere."""
    return _REMOTE.search(html) is not None
