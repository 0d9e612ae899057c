"""What the sandbox has received, in a form that is the same for all providers."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..addresses import EmailAddress
from .archive import Archive
from .wire import ApiRequest, ApiResponse, WebhookCall


@dataclass(frozen=True)
class StoredAttachment:
    """An attachment or inline image, decoded.

    The content type is as sent, parameters included. Inline images have a Content-ID, which is
    without angle brackets.
    """

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""


@dataclass(frozen=True)
class StoredRecipient:
    """The copy of a message that one recipient gets, with everything merged into it.

    - ``kind``: "to", "cc" or "bcc"
    - ``mailbox``: the address, as the provider received it (IDNs are encoded)
    - ``message_id``: the id that the provider's events have
    - ``header_to``: what the recipient sees as To; in a batch, no other recipients
    - ``subject``, ``text``, ``html`` and ``headers``: after substitution of merge data
    - ``metadata``: values are str, since that is what providers make of them
    - ``merge_data``: the data that was merged
    """

    kind: str
    mailbox: EmailAddress
    message_id: str
    header_to: str
    subject: str
    text: str
    html: str
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    merge_data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The addr-spec."""
        return self.mailbox.addr_spec


@dataclass(frozen=True)
class StoredMessage:
    """A message that a provider has accepted.

    - ``provider``: name in the sandbox, such as "postmark"
    - ``from_email``, ``reply_to``: as the provider received them
    - ``subject``, ``text``, ``html``: before merging; the recipients have the results
    - ``track_opens``, ``track_clicks``, ``send_at``, ``template_id``: None if not in the request
    - ``request``: the API call it came with; several messages can share one
    - ``number``, ``time``: what the store knows it by, and when it came (POSIX time)
    """

    provider: str
    from_email: EmailAddress
    reply_to: str
    subject: str
    text: str
    html: str
    recipients: tuple[StoredRecipient, ...]
    attachments: tuple[StoredAttachment, ...] = ()
    inline_images: tuple[StoredAttachment, ...] = ()
    track_opens: bool | None = None
    track_clicks: bool | None = None
    send_at: str | None = None
    template_id: str | None = None
    request: ApiRequest | None = None
    number: int = field(default=0, compare=False)
    time: float = field(default=0, compare=False)

    @property
    def message_ids(self) -> list[str]:
        """The recipients' message ids, each one once."""
        return list(dict.fromkeys(recipient.message_id for recipient in self.recipients))

    def recipient(self, address: str) -> StoredRecipient:
        """Return the recipient with this addr-spec, in any case. Raises LookupError."""
        for recipient in self.recipients:
            if recipient.address.lower() == address.lower():
                return recipient
        raise LookupError(f"The message has no recipient {address!r}")


@dataclass(frozen=True)
class StoredCall:
    """A call of a provider's API.

    - ``time``: when it came (POSIX time)
    - ``response``: None if the connection was broken instead
    - ``messages``: what was accepted
    - ``number``: what the store knows it by
    """

    provider: str
    time: float
    request: ApiRequest
    response: ApiResponse | None
    messages: tuple[StoredMessage, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class StoredWebhook:
    """A call of a webhook of the site.

    - ``number``: what the store knows it by
    - ``time``: when it was made (POSIX time), ``seconds``: how long the answer took
    - ``status``: the HTTP status that the site answered; None if it didn't
    - ``content_type``, ``answer``: what it answered, as far as it is kept
    - ``error``: why there was no answer
    - ``replay_of``: the number of the call that was made again
    """

    call: WebhookCall
    time: float
    seconds: float = 0
    status: int | None = None
    content_type: str = ""
    answer: str = ""
    error: str = ""
    replay_of: int | None = None
    number: int = 0

    @property
    def is_accepted(self) -> bool:
        """Whether the site took it."""
        return self.status is not None and self.status // 100 == 2


@dataclass
class KeyUse:
    """The first use of an idempotency key: the call's body, and the answer, once there is one.

    ``until`` is when the provider forgets it, a POSIX time.
    """

    until: float
    body: bytes = b""
    answer: ApiResponse | None = None


@dataclass(frozen=True)
class StoredTemplate:
    """A template at the providers. ``{{ field }}`` is replaced by the recipient's merge data."""

    subject: str = ""
    text: str = ""
    html: str = ""


_ARCHIVED = (
    *(ApiRequest, ApiResponse, WebhookCall),
    *(StoredAttachment, StoredCall, StoredMessage, StoredRecipient, StoredWebhook),
)


class Store:
    """The sandbox's memory. It can be used from any thread.

    - ``suppressed``: addresses that providers refuse to send to, in lower case
    - ``templates``: by template id. Providers accept all template ids, and leave the content of
      messages with other ones empty.

    What is in the ``directory``, if there is one, it begins with, and keeps up to date. Raises
    ValueError if that can't be read.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._version = 0
        self._closed = False
        self._last_number = 0
        self._messages: dict[int, StoredMessage] = {}
        self._calls: dict[int, StoredCall] = {}
        self._webhooks: dict[int, StoredWebhook] = {}
        self._keys: dict[tuple[str, str], KeyUse] = {}
        self._local = threading.local()
        self.suppressed: set[str] = set()
        self.templates: dict[str, StoredTemplate] = {}
        self._archive = None if directory is None else Archive(directory, *_ARCHIVED)
        if self._archive is not None:
            self._load(self._archive)

    def _save_call(self, call: StoredCall) -> None:
        self._calls[call.number] = call
        if self._archive is not None:
            # Messages have the whole request, too. A batch of them would be large.
            messages = tuple(replace(item, request=None) for item in call.messages)
            self._archive.save("call", call.number, replace(call, messages=messages))

    def _load(self, archive: Archive) -> None:
        self._calls = {item.number: _with_request(item) for item in archive.load("call")}
        self._webhooks = {item.number: item for item in archive.load("webhook")}
        for call in self._calls.values():
            self._messages |= {message.number: message for message in call.messages}
        self._last_number = max([*self._calls, *self._messages, *self._webhooks], default=0)

    @property
    def messages(self) -> list[StoredMessage]:
        """All messages, in the order of their arrival."""
        with self._lock:
            return list(self._messages.values())

    def add(self, messages: Iterable[StoredMessage]) -> None:
        """Keep messages."""
        added = []
        with self._lock:
            for message in messages:
                stored = replace(message, number=self._next_number(), time=time.time())
                self._messages[stored.number] = stored
                added.append(stored)
            self._note_change()
        noted: list[StoredMessage] | None = getattr(self._local, "noted", None)
        if noted is not None:
            noted.extend(added)

    def message(self, number: int) -> StoredMessage:
        """Return the message with this number. Raises LookupError."""
        with self._lock:
            return self._messages[number]

    def delete(self, number: int) -> None:
        """Forget a message, what is known of its API call, and its webhooks. Raises LookupError."""
        with self._lock:
            del self._messages[number]
            for call in list(self._calls.values()):
                others = tuple(item for item in call.messages if item.number != number)
                if not others and call.messages:
                    self._forget_call(call.number)
                elif len(others) < len(call.messages):
                    self._save_call(replace(call, messages=others))
            for webhook in list(self._webhooks.values()):
                if webhook.call.message == number:
                    self._forget_webhook(webhook.number)
            self._note_change()

    def _forget_call(self, number: int) -> None:
        del self._calls[number]
        if self._archive is not None:
            self._archive.delete("call", number)

    def _forget_webhook(self, number: int) -> None:
        del self._webhooks[number]
        if self._archive is not None:
            self._archive.delete("webhook", number)

    @contextmanager
    def noting_messages(self) -> Iterator[list[StoredMessage]]:
        """Return a list that gets the messages which this thread adds within."""
        noted: list[StoredMessage] = []
        self._local.noted = noted
        try:
            yield noted
        finally:
            self._local.noted = None

    @property
    def calls(self) -> list[StoredCall]:
        """All API calls, in the order of their answers."""
        with self._lock:
            return list(self._calls.values())

    def add_call(self, call: StoredCall) -> None:
        """Keep an API call."""
        with self._lock:
            stored = replace(call, number=self._next_number())
            self._save_call(stored)
            self._note_change()

    @property
    def webhooks(self) -> list[StoredWebhook]:
        """All calls of the site's webhooks, in the order of their answers."""
        with self._lock:
            return list(self._webhooks.values())

    def add_webhook(self, webhook: StoredWebhook) -> StoredWebhook:
        """Keep a call of a webhook. Returns it with its number."""
        with self._lock:
            stored = replace(webhook, number=self._next_number())
            self._webhooks[stored.number] = stored
            if self._archive is not None:
                self._archive.save("webhook", stored.number, stored)
            self._note_change()
            return stored

    def webhook(self, number: int) -> StoredWebhook:
        """Return the call of a webhook with this number. Raises LookupError."""
        with self._lock:
            return self._webhooks[number]

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    # -- Changes ------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """A number that changes with everything that is kept."""
        return self._version

    def wait_for_change(self, version: int, timeout: float) -> int | None:
        """Wait for another version than this, and return it; the same if it takes too many seconds.

        None is for a sandbox that has stopped.
        """
        with self._lock:
            self._changed.wait_for(lambda: self._closed or self._version != version, timeout)
            return None if self._closed else self._version

    def close(self) -> None:
        """Let nobody wait any more. Everything is kept."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _note_change(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def use_key(self, provider: str, key: str, use: KeyUse) -> KeyUse | None:
        """Note that an idempotency key is used.

        If the provider still knows it from an earlier call, nothing changes, and that is returned.
        """
        with self._lock:
            known = self._keys.get((provider, key))
            if known is not None and known.until > time.time():
                return known
            self._keys[provider, key] = use
            return None

    def forget_key(self, provider: str, key: str) -> None:
        """Let an idempotency key be used again: the call was refused."""
        with self._lock:
            self._keys.pop((provider, key), None)

    def clear(self) -> None:
        """Forget all messages and calls, and idempotency keys."""
        with self._lock:
            self._keys.clear()
            self._messages.clear()
            for number in list(self._calls):
                self._forget_call(number)
            for number in list(self._webhooks):
                self._forget_webhook(number)
            self._note_change()

    def find(self, provider: str, message_id: str) -> StoredMessage:
        """Return the message with this id. Angle brackets don't matter. Raises LookupError."""
        wanted = message_id.strip("<>")
        for message in reversed(self.messages):
            if message.provider == provider and any(
                wanted == known.strip("<>") for known in message.message_ids
            ):
                return message
        raise LookupError(f"No message with the id {message_id!r} was sent through {provider}")


def _with_request(call: StoredCall) -> StoredCall:
    messages = tuple(replace(item, request=call.request) for item in call.messages)
    return replace(call, messages=messages)


_FIELD = re.compile(r"\{\{\{?\s*([\w.-]+)\s*\}?\}\}")


def render(template: str, data: Mapping[str, Any]) -> str:
    """Replace ``{{ field }}`` by data; by nothing if there is no such data.

    That is as much as the template languages of most providers have in common.
    """
    return _FIELD.sub(lambda match: str(data.get(match[1], "")), template)
