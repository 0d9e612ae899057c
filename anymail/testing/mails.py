"""A message that was sent, with what tests ask about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.core.mail import EmailMessage

from ..addresses import EmailAddress
from ..attachments import Attachment
from ..backends.test import EmailBackend as AnymailTestBackend
from ..backends.test import TestPayload
from ..delivery.snapshot import copy_message
from ..exceptions import AnymailError
from ..known_settings import backend_without_keys
from ..message import AnymailStatus
from ..sandbox.store import StoredMessage
from .calls import ProviderCall, collect_calls

_URL = re.compile(r"""https?://[^\s<>"']+""", re.IGNORECASE)


class _Fields(TestPayload):
    """A message's attributes with the send defaults, as they are."""

    def add_alternative(self, content: Any, mimetype: str) -> None:
        self.params.setdefault("alternatives", []).append((content, mimetype))

    def set_esp_extra(self, extra: dict[str, Any]) -> None:
        self.params["esp_extra"] = extra


def read_fields(message: EmailMessage, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's attributes under the names that TestPayload has for them."""
    try:
        backend = AnymailTestBackend(send_defaults={}, ignore_unsupported_features=True)
        return _Fields(message, defaults, backend).get_params()
    except AnymailError:
        # Other backends send messages that Anymail would refuse.
        return {
            "text_body": message.body,
            "subject": message.subject,
            **{
                name: [EmailAddress.as_written("", address) for address in getattr(message, name)]
                for name in ("to", "cc", "bcc", "reply_to")
            },
        }


@dataclass(frozen=True)
class SentMail:
    """A message that a mailer has taken.

    The attributes that aren't listed are the message's, with SEND_DEFAULTS and all.
    """

    message: EmailMessage
    """The Django message as it was then, a copy. Its ``anymail_status`` is the result."""

    mailer: str | None = None
    """The alias of the mailer; None without MAILERS."""

    provider: str | None = None
    """Name of the provider's module, such as "postmark"; None if it is none of Anymail's."""

    stored: tuple[StoredMessage, ...] = ()
    """What the provider has received, as the sandbox has it."""

    later: bool = False
    """Whether it's one for a worker. Then ``mailer`` is that with which the worker sends it; the
    rest is known when it has done so."""

    _fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.subject!r} to {', '.join([*self.to, *self.cc, *self.bcc]) or 'nobody'}"

    # -- Addresses ----------------------------------------------------------------------------

    @property
    def from_email(self) -> str:
        """The From address, with its display name."""
        return str(self._fields.get("from", self.message.from_email or ""))

    @property
    def to(self) -> list[str]:
        """The addresses, with their display names."""
        return self._addresses("to")

    @property
    def cc(self) -> list[str]:
        """The addresses of Cc."""
        return self._addresses("cc")

    @property
    def bcc(self) -> list[str]:
        """The addresses of Bcc."""
        return self._addresses("bcc")

    @property
    def reply_to(self) -> list[str]:
        """The addresses of Reply-To."""
        return self._addresses("reply_to")

    def _addresses(self, name: str) -> list[str]:
        return [_readable(email) for email in self._fields.get(name, ())]

    # -- Content ------------------------------------------------------------------------------

    @property
    def subject(self) -> str:
        """The subject; empty if it's the template's."""
        return str(self._fields.get("subject") or "")

    @property
    def text(self) -> str:
        """The plain text; empty if there is none."""
        return str(self._fields.get("text_body") or "")

    @property
    def html(self) -> str:
        """The HTML; empty if there is none."""
        return str(self._fields.get("html_body") or "")

    @property
    def headers(self) -> dict[str, str]:
        """The extra headers."""
        headers = self._fields.get("extra_headers", {})
        return {name: str(value) for name, value in headers.items()}

    @property
    def attachments(self) -> list[Attachment]:
        """The attachments, with ``name``, ``content``, ``mimetype`` and ``inline``."""
        return list(self._fields.get("attachments", ()))

    def attachment(self, name: str) -> Attachment:
        """Return the attachment with this name. Raises AssertionError if there isn't just one."""
        found = [item for item in self.attachments if item.name == name]
        if len(found) != 1:
            names = ", ".join(repr(item.name) for item in self.attachments) or "none"
            what = "several attachments" if found else "no attachment"
            raise AssertionError(f"The mail has {what} {name!r}. Its attachments: {names}")
        return found[0]

    # -- Anymail's attributes -----------------------------------------------------------------

    @property
    def tags(self) -> list[str]:
        """The tags."""
        return list(self._fields.get("tags", ()))

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata."""
        return dict(self._fields.get("metadata", {}))

    @property
    def template_id(self) -> Any:
        """The template's id, or None."""
        return self._fields.get("template_id")

    @property
    def merge_data(self) -> dict[str, dict[str, Any]]:
        """The merge data by recipients' addresses."""
        return dict(self._fields.get("merge_data", {}))

    @property
    def merge_global_data(self) -> dict[str, Any]:
        """The merge data for all recipients."""
        return dict(self._fields.get("merge_global_data", {}))

    @property
    def merge_metadata(self) -> dict[str, dict[str, Any]]:
        """The metadata by recipients' addresses."""
        return dict(self._fields.get("merge_metadata", {}))

    @property
    def merge_headers(self) -> dict[str, Mapping[str, Any]]:
        """The headers by recipients' addresses."""
        return dict(self._fields.get("merge_headers", {}))

    @property
    def envelope_sender(self) -> str | None:
        """The envelope sender, or None."""
        return self._fields.get("envelope_sender")

    @property
    def send_at(self) -> Any:
        """When the provider is to send it, or None."""
        return self._fields.get("send_at")

    @property
    def track_opens(self) -> bool | None:
        """Whether opens are to be tracked; None if the message doesn't say."""
        return self._fields.get("track_opens")

    @property
    def track_clicks(self) -> bool | None:
        """Whether clicks are to be tracked; None if the message doesn't say."""
        return self._fields.get("track_clicks")

    @property
    def esp_extra(self) -> dict[str, Any]:
        """What is for the provider only."""
        return dict(self._fields.get("esp_extra", {}))

    # -- The result ---------------------------------------------------------------------------

    @property
    def status(self) -> AnymailStatus:
        """The message's ``anymail_status``, which stays empty with backends that aren't Anymail's.

        (Where the call's answer was lost, too.)
        """
        status: AnymailStatus = self.message.anymail_status  # type: ignore[attr-defined]
        return status

    @property
    def message_id(self) -> Any:
        """The id that the provider has given it: see ``AnymailStatus.message_id``."""
        return self.status.message_id

    def as_provider(self, provider: str) -> ProviderCall:
        """Return the API call that the message would become with a provider, such as "postmark".

        Credentials that the project's settings lack are made up; those that are there are masked.
        Raises AnymailUnsupportedFeature for what the provider can't do, and the other errors of
        its backend.
        """
        return collect_calls(backend_without_keys(provider), copy_message(self.message))

    # -- Links and codes ----------------------------------------------------------------------

    @property
    def links(self) -> list[str]:
        """The URLs of all links, each once: first those in the HTML, then those in the text."""
        urls = [url for url, _text in _anchors(self.html)] + _urls(self.text)
        return list(dict.fromkeys(urls))

    def link(self, text: str = "") -> str:
        """Return the URL of the link with this in its text, or in the URL.

        In plain text, the link's text is the line with the URL and the one before. Without
        ``text``, it's the only link. Raises AssertionError if there isn't exactly one URL.
        """
        candidates = [*_anchors(self.html), *_lines_with_urls(self.text)]
        found = {url for url, label in candidates if text in label}
        found = found or {url for url in self.links if text in url}
        if len(found) == 1:
            return found.pop()
        problem = "several links" if found else "no link"
        which = f" with {text!r}" if text else ""
        links = "".join(f"\n  {label or '(no text)'}: {url}" for url, label in candidates)
        raise AssertionError(f"The mail has {problem}{which}. Its links:{links or ' none'}")

    def code(self, pattern: str = r"\d{6}") -> str:
        """Return what a regular expression finds in the text, HTML or subject, as a whole word.

        Only its first group, if it has one. Raises AssertionError if there is nothing.
        """
        compiled = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)")
        for text in (self.text, _text_of(self.html), self.subject):
            if match := compiled.search(text):
                return match[1] if compiled.groups else match[0]
        raise AssertionError(
            f"Nothing in the mail matches {pattern!r}:\n{self.text or _text_of(self.html)}"
        )


def sent_mail(
    message: EmailMessage,
    *,
    mailer: str | None,
    defaults: Mapping[str, Any],
    provider: str | None = None,
    stored: tuple[StoredMessage, ...] = (),
    later: bool = False,
) -> SentMail:
    """Return the mail for a message that is being sent."""
    copy: Any = copy_message(message)
    if (status := getattr(message, "anymail_status", None)) is not None:
        copy.anymail_status = status
    return SentMail(copy, mailer, provider, stored, later, read_fields(copy, defaults))


def _readable(email: EmailAddress) -> str:
    """Return an address without any encoding."""
    return f"{email.display_name} <{email.addr_spec}>" if email.display_name else email.addr_spec


# -- HTML and text ------------------------------------------------------------------------------


class _Reader(HTMLParser):
    """Collects the links in HTML, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, list[str]]] = []
        self.text: list[str] = []
        self._in_link = False
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href"):
            self.links.append(((values["href"] or "").strip(), []))
            self._in_link = True
        elif tag in ("style", "script", "title"):
            self._hidden += 1
        elif tag == "img" and self._in_link:
            self.links[-1][1].append(values.get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._in_link = False
        elif tag in ("style", "script", "title") and self._hidden:
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text.append(data)
        if self._in_link:
            self.links[-1][1].append(data)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def _anchors(html: str) -> list[tuple[str, str]]:
    """Return (URL, text) of the links in HTML."""
    return [(url, " ".join("".join(texts).split())) for url, texts in _read(html).links]


def _text_of(html: str) -> str:
    return " ".join("".join(_read(html).text).split())


def _urls(text: str) -> list[str]:
    return [_without_punctuation(url) for url in _URL.findall(text)]


def _without_punctuation(url: str) -> str:
    """Return a URL without what ends the sentence that it stands in."""
    while url[-1] in ".,;:!?*" or (url[-1] == ")" and url.count("(") < url.count(")")):
        url = url[:-1]
    return url


def _lines_with_urls(text: str) -> list[tuple[str, str]]:
    """Return (URL, what is said about it) for the URLs in plain text."""
    found = []
    before = ""
    for line in filter(str.strip, text.splitlines()):
        urls = _urls(line)
        label = _URL.sub("", line).strip(" \t:<>()")
        found += [(url, label or before) for url in urls]
        before = "" if urls else line.strip(" \t:")
    return found
