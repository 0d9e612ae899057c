"""What the sandbox needs to know about a provider.

Each provider of anymail.providers has a module here, with a subclass of :class:`Provider`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import cached_property
from html import unescape
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from ..addresses import EmailAddress, parse_single_address
from ..providers import PROVIDERS
from ..providers import Provider as RegisteredProvider
from ..webhook_apis.urls import with_credentials
from .mailboxes import parse_mailboxes
from .store import Store, StoredAttachment, StoredMessage, StoredRecipient
from .webhook_apis import load_webhooks
from .webhook_apis.base import Webhooks
from .wire import ApiRequest, ApiResponse, WebhookCall

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
"""The browser of all who open or click a message."""

TOO_LARGE = ApiResponse.text("Request Entity Too Large", 413)
"""What the web servers in front of most APIs say to calls that are too large."""

_LINK = re.compile(r"""<a\s[^<>]*?\bhref\s*=\s*["']?(https?://[^"'\s>]+)""", re.IGNORECASE)


class UnsupportedEvent(ValueError):
    """An event that the provider doesn't report."""


@dataclass(frozen=True)
class WebhookTarget:
    """The Django site that gets the webhooks.

    ``url`` is where it includes ``anymail.urls``; ``secret`` is its WEBHOOK_SECRET setting,
    "user:password" or empty.
    """

    url: str
    secret: str = ""

    def webhook_url(self, path: str) -> str:
        """Return the URL to enter in a provider's dashboard. It contains the secret."""
        return with_credentials(self.url.rstrip("/") + "/" + path, self.secret)


@dataclass(frozen=True)
class InboundMail:
    """A message that somebody sends to an address for which the provider receives mail.

    ``sender`` and ``recipient`` are EmailAddress, and can be given as text ("Ann <a@example.com>").
    ``stripped_text`` is the text without the quoted message that it replies to. ``raw`` is all of
    it as raw MIME, if that isn't to be made from the rest. ``other_headers`` are those that are in
    no other attribute.
    """

    sender: EmailAddress
    recipient: EmailAddress
    subject: str
    text: str
    html: str = ""
    stripped_text: str = ""
    attachments: tuple[StoredAttachment, ...] = ()
    in_reply_to: str = ""
    message_id: str = field(default_factory=lambda: make_msgid(domain="mail.example.com"))
    date: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    raw: bytes = b""
    other_headers: tuple[tuple[str, str], ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            sender: EmailAddress | str,
            recipient: EmailAddress | str,
            subject: str,
            text: str,
            html: str = "",
            stripped_text: str = "",
            attachments: tuple[StoredAttachment, ...] = (),
            in_reply_to: str = "",
            message_id: str = ...,
            date: datetime = ...,
            raw: bytes = b"",
            other_headers: tuple[tuple[str, str], ...] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("sender", "recipient"):
            address = getattr(self, name)
            if isinstance(address, str):
                object.__setattr__(self, name, parse_single_address(address, name))

    @classmethod
    def reply(
        cls,
        message: StoredMessage,
        recipient: StoredRecipient,
        text: str,
        attachments: tuple[StoredAttachment, ...] = (),
    ) -> InboundMail:
        """Return a recipient's reply to a message, which quotes it."""
        reply_to = parse_mailboxes(message.reply_to) or [message.from_email]
        quoted = "\n".join(f"> {line}".rstrip() for line in recipient.text.splitlines())
        return cls(
            sender=recipient.mailbox,
            recipient=reply_to[0],
            subject=" ".join(f"Re: {recipient.subject}".split()),
            text=f"{text}\n\n{reply_to[0].addr_spec} wrote:\n{quoted}\n",
            stripped_text=text,
            attachments=attachments,
            in_reply_to=f"<{recipient.message_id.strip('<>')}>",
        )

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields that are not about addresses, subject or content, Unicode raw."""
        fields = [
            ("Received", f"from mail.example.com by sandbox; {format_datetime(self.date)}"),
            ("Message-ID", self.message_id),
            ("Date", format_datetime(self.date)),
            ("X-Spam-Status", "No"),
            ("X-Spam-Score", "0.1"),
        ]
        if self.in_reply_to:
            fields += [("In-Reply-To", self.in_reply_to), ("References", self.in_reply_to)]
        return [*fields, *self.other_headers]

    def as_bytes(self) -> bytes:
        """Return the message as raw MIME, as the provider's mail server receives it."""
        if self.raw:
            return self.raw
        mime = EmailMessage()
        mime["Return-Path"] = f"<{self.sender.addr_spec}>"
        for name, value in self.headers:
            mime[name] = value
        mime["From"] = str(self.sender)
        mime["To"] = str(self.recipient)
        mime["Subject"] = self.subject
        mime.set_content(self.text, cte="quoted-printable")
        if self.html:
            mime.add_alternative(self.html, subtype="html", cte="quoted-printable")
        for attachment in self.attachments:
            if attachment.content_type.startswith("message/rfc822"):
                # As such, it must not be encoded.
                attached = message_from_bytes(attachment.content, policy=SMTP)
                mime.add_attachment(attached, filename=attachment.filename, cte="7bit")
                continue
            content_type = Message()
            content_type["Content-Type"] = attachment.content_type
            mime.add_attachment(
                attachment.content,
                maintype=content_type.get_content_maintype(),
                subtype=content_type.get_content_subtype(),
                params=dict(content_type.get_params([])[1:]),
                filename=attachment.filename,
                disposition="inline" if attachment.content_id else "attachment",
                cid=f"<{attachment.content_id}>" if attachment.content_id else None,
            )
        # RFC 6532 only where it's necessary
        utf8 = self.sender.uses_eai or self.recipient.uses_eai
        return mime.as_bytes(policy=SMTP.clone(max_line_length=None, utf8=utf8, cte_type="7bit"))


class Provider(ABC):
    """A stand-in for one provider: its API for sending, and the webhooks that it calls.

    Each sandbox has an instance of its own, which can keep what the provider would keep.
    """

    name: ClassVar[str]
    """As in anymail.providers."""

    api_path: ClassVar[str] = ""
    """What API URLs have before the part that backends add, such as "v3/"."""

    events: ClassVar[frozenset[str]]
    """The tracking events that the provider reports, in Anymail's words."""

    unsupported: ClassVar[frozenset[str]] = frozenset()
    """Attributes of messages for which the provider has no equivalent, such as "track_opens".

    Also "inline_images", although that's no attribute; "non_ascii_metadata"; "hidden_recipients",
    if those of a batch see each other; "event_tags", if only events have none; and
    "reject_reason" and "stripped_text", which are attributes of events and of received messages.
    """

    template_id: ClassVar[str | int] = "welcome"
    """An example of how the provider identifies templates."""

    refusals: ClassVar[Mapping[str, ApiResponse]]
    """How it refuses calls, by the problem: see :meth:`refuse`."""

    retry_header: ClassVar[str | None] = None
    """The header in which the provider says in how many seconds to come back, if it has one."""

    webhook_signature: ClassVar[tuple[str, str]] = ("", "")
    """How calls of webhooks are signed, and the header with the signature; "" if in the body."""

    relaxed_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings in place of those by which a project makes sure of what can't be played: there are
    no private keys for some signatures, and the URLs that are called are those of the URLconf."""

    batch_esp_extra: ClassVar[Mapping[str, Any]] = {}
    """The esp_extra without which the backend refuses batches."""

    takes_any_key = False
    """Whether it takes any key for its API, such as those in the settings of a project."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def webhooks(self) -> Webhooks:
        """Its API for webhooks, and what is entered there. Nothing of it is called."""
        return load_webhooks(self)

    def is_key(self, received: str | None, *keys: str) -> bool:
        """Tell whether a call has one of the keys for the API; or any, if it takes any."""
        return bool(received) if self.takes_any_key else received in keys

    @property
    def registered(self) -> RegisteredProvider:
        """What all of Anymail knows about the provider."""
        return PROVIDERS[self.name]

    @property
    def esp_name(self) -> str:
        """The name of the provider, as backends and signals have it."""
        return self.registered.esp_name

    @property
    def backend(self) -> str:
        """Dotted path of the email backend. Not imported: the sandbox works without it."""
        return self.registered.backend

    @property
    def has_batches(self) -> bool:
        """Whether it takes an individual message to each recipient in one call."""
        return not self.unsupported.issuperset({"merge_data", "merge_metadata"})

    @property
    def receives_mail(self) -> bool:
        """Whether the provider has inbound webhooks."""
        return self.registered.reports("inbound")

    @property
    def missing_packages(self) -> str:
        """The required packages that are not installed, and how to; empty if there are none.

        The sandbox itself needs none: the provider's module must not import them.
        """
        missing = ", ".join(self.registered.missing_packages)
        return missing and f'{missing} (pip install "django-anymail[{self.registered.extra}]")'

    @abstractmethod
    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        """Return items for the ANYMAIL setting, to send to ``api_url`` and get its webhooks."""

    @abstractmethod
    def handle(self, request: ApiRequest) -> ApiResponse:
        """Answer an API call as the provider would. Put what it accepts into the store.

        Can raise MalformedRequest.
        """

    def refuse(
        self, problem: str, request: ApiRequest, retry_after: float | None = None
    ) -> ApiResponse:
        """Return the provider's answer to a call that it refuses.

        ``problem`` is one of faults.REFUSALS: it says in the provider's words that the message
        can't be sent, or not with this provider; that the account is at fault; or that it is to be
        sent again later, in ``retry_after`` seconds if the provider can say so.
        """
        response = self.refusals[problem]
        if problem != "busy" or retry_after is None or self.retry_header is None:
            return response
        headers = {**response.headers, self.retry_header: f"{retry_after:g}"}
        return replace(response, headers=headers)

    @abstractmethod
    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        """Return the call that reports an event, which is one of ``events``."""

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        """Return the call that reports a received message, as raw MIME or parsed by the provider.

        Raises UnsupportedEvent for a provider that doesn't receive mail, or not so.
        """
        raise UnsupportedEvent(f"{self.esp_name} does not receive mail")


def load_provider(name: str, store: Store) -> Provider:
    """Return a new instance of a provider. Raises LookupError for an unknown one."""
    if name not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise LookupError(f"The sandbox has no provider {name!r}, only {known}")
    module_name, _, class_name = PROVIDERS[name].sandbox.partition(":")
    module = import_module(f"{__package__}.{module_name}")
    provider_class: type[Provider] = getattr(module, class_name)
    return provider_class(store)


def clicked_link(recipient: StoredRecipient) -> str:
    """Return the first link in the message, for a click."""
    match = _LINK.search(recipient.html)
    return unescape(match[1]) if match else "https://www.example.com/"


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text, in the way of most providers' metadata."""
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}
