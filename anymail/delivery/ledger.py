"""What became of messages that have an idempotency key, so that none is sent twice.

Kept in the cache that DELIVERY_CACHE names, for SEND_DEDUPE_SECONDS. An entry is JSON with a
version; it has no address in it and no content.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

from django.core.mail import EmailMessage

from ..attachments import Attachment
from ..conf import number, setting
from ..message import AnymailRecipientStatus
from .memory import Memory

_VERSION = 1

_ENTRY_PREFIX = "anymail.ledger."

State = Literal["claimed", "sent", "unclear"]


@dataclass(frozen=True)
class Entry:
    """What is known about the message with a key."""

    state: State
    """"claimed": somebody is sending it."""
    fingerprint: str
    """Of the message's sender, recipients and content: see :func:`fingerprint`. "" if unknown."""
    owner: str = ""
    """Who has claimed it."""
    until: float = 0
    """When that claim is over (POSIX time)."""
    turn: int = 0
    """How often it was claimed again, after its outcome was unclear."""
    mailer: str | None = None
    """What it was last given to."""
    esp_name: str | None = None
    account: str | None = None
    """A hash of the credentials: that of which it is unclear if it has accepted the message. None
    if nobody knows which."""
    first_call: float | None = None
    """When that account first got the key (POSIX time)."""
    rest: tuple[str, ...] | None = None
    """Hashes of the recipients' addr-specs that it got it for; None for all."""
    attempts: tuple[tuple[str | None, str | None], ...] = ()
    """(mailer, problem or None) of each attempt."""
    statuses: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """(status, message id) by the hashes of recipients' addr-specs."""

    def recipient_statuses(self, addr_specs: Iterable[str]) -> dict[str, AnymailRecipientStatus]:
        """Return the statuses that the recipients got when it was sent."""
        found = ((addr_spec, self.statuses.get(_hash(addr_spec))) for addr_spec in addr_specs)
        return {
            addr_spec: AnymailRecipientStatus(message_id=values[1], status=values[0])
            for addr_spec, values in found
            if values is not None
        }

    def find_rest(self, addr_specs: Iterable[str]) -> list[str]:
        """Return those of a message's recipients that it was last sent for."""
        rest = None if self.rest is None else set(self.rest)
        return [item for item in addr_specs if rest is None or _hash(item) in rest]


@dataclass(frozen=True)
class Claim:
    """The right to send the message with a key, until it's over."""

    key: str
    entry: Entry

    @property
    def is_new(self) -> bool:
        """Whether the message has not been given to anybody."""
        return self.entry.turn == 0 and self.entry.first_call is None


class Ledger:
    """The entries of all messages with keys.

    ``seconds`` is how long they are kept; by default, what SEND_DEDUPE_SECONDS says.
    """

    send_dedupe_seconds: float = setting(
        "How many seconds it's remembered which messages with an idempotency key were sent.",
        general=True,
        default=24 * 60 * 60,
        default_text="a day",
        kind=number(),
        none=False,
        options=(),
    )

    def __init__(
        self,
        seconds: float | None = None,
        memory: Memory | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.seconds = self.send_dedupe_seconds if seconds is None else seconds
        self.memory = memory or Memory()
        self.clock = clock or time.time

    def claim(self, key: str, fingerprint: str, seconds: float) -> Claim | Entry:
        """Claim a key for so many seconds; or return what is known about it already.

        Raises ValueError if the key was used for another message.
        """
        entry = Entry("claimed", fingerprint, owner=uuid.uuid4().hex, until=self.clock() + seconds)
        if self.memory.add(_entry_key(key), _dumps(entry), self.seconds):
            return Claim(key, entry)
        known = self.get(key)
        if known is None:  # It was freed, or has expired, right now; or the cache has failed.
            self._set(key, entry)
            return Claim(key, entry)
        if known.fingerprint and known.fingerprint != fingerprint:
            raise ValueError(
                "idempotency_key: the same key was used for another message; each message that "
                "is to be sent needs a key of its own"
            )
        return known

    def claim_again(self, key: str, entry: Entry, seconds: float) -> Claim | None:
        """Claim the key of an entry whose outcome is unclear; None if somebody else has done so."""
        turn_key = f"{_entry_key(key)}.{entry.turn}"
        # It lasts as long as the claim: whoever has got it may die before the claim is there.
        if not self.memory.add(turn_key, True, seconds):
            return None
        known = self.get(key)
        if known is not None and known.turn != entry.turn:
            return None
        claimed = replace(
            entry,
            state="claimed",
            owner=uuid.uuid4().hex,
            until=self.clock() + seconds,
            turn=entry.turn + 1,
        )
        self._set(key, claimed)
        return Claim(key, claimed)

    def renew(self, claim: Claim, seconds: float, **changes: Any) -> Claim:
        """Have a claim last so many seconds from now, and note what is being done."""
        now = self.clock()
        entry = replace(claim.entry, until=now + seconds, **changes)
        if claim.is_new and now < claim.entry.until:
            # Nobody else can have noted anything yet.
            self._set(claim.key, entry)
        else:
            self._set_if_owned(claim.key, entry)
        return Claim(claim.key, entry)

    def note_sent(
        self, claim: Claim, statuses: Mapping[str, AnymailRecipientStatus], **changes: Any
    ) -> None:
        """Note that the message was accepted, with recipients' statuses by addr-spec."""
        entry = replace(claim.entry, state="sent", statuses=_by_hash(statuses), **changes)
        message_ids = {status[1] for status in entry.statuses.values()} - {None}
        entry_key = _entry_key(claim.key)
        noted = {_alias_key(str(message_id)): entry_key for message_id in message_ids}
        self.memory.set_many({entry_key: _dumps(entry), **noted}, self.seconds)

    def note_unclear(
        self,
        claim: Claim,
        statuses: Mapping[str, AnymailRecipientStatus] | None = None,
        **changes: Any,
    ) -> None:
        """Note that nobody knows whether the message was accepted.

        ``statuses``: those of recipients of whom it is known, by addr-spec.
        """
        entry = replace(claim.entry, state="unclear", statuses=_by_hash(statuses or {}), **changes)
        self._set_if_owned(claim.key, entry)

    def free(self, claim: Claim) -> None:
        """Forget a claim: the message was surely not accepted."""
        known = self.get(claim.key)
        if known is None or known.owner == claim.entry.owner:
            self.memory.delete(_entry_key(claim.key))

    def settle(self, hashed_key: str) -> None:
        """Note that a message was accepted of whose key only the :func:`key_hash` is known.

        Anything else has no effect: it can come from anywhere.
        """
        if not re.fullmatch("[0-9a-f]{32}", hashed_key):
            return
        entry_key = _ENTRY_PREFIX + hashed_key
        entry = _loads(self.memory.get(entry_key))
        if entry is not None and entry.state != "sent":
            self.memory.set(entry_key, _dumps(replace(entry, state="sent")), self.seconds)

    def get(self, key: str) -> Entry | None:
        """Return what is known about the message with a key."""
        return _loads(self.memory.get(_entry_key(key)))

    def note_alias(self, alias: str, key: str) -> None:
        """Let a message be found by something else than its key too, such as a job's id."""
        self.memory.set(_alias_key(alias), _entry_key(key), self.seconds)

    def find(self, text: str) -> Entry | None:
        """Return the entry of a message by its key, by the provider's id for it, or by an alias."""
        entry = self.get(text)
        if entry is None and (entry_key := self.memory.get(_alias_key(text))) is not None:
            entry = _loads(self.memory.get(entry_key))
        return entry

    def _set(self, key: str, entry: Entry) -> None:
        self.memory.set(_entry_key(key), _dumps(entry), self.seconds)

    def _set_if_owned(self, key: str, entry: Entry) -> None:
        # Whoever is late, after the claim was over, must not undo what has been noted since; and a
        # provider's event can come before the end of the call that it's about.
        known = self.get(key)
        if known is None or (known.owner == entry.owner and known.state != "sent"):
            self._set(key, entry)


def hashes(addr_specs: Iterable[str]) -> tuple[str, ...]:
    """Return what stands for addresses where they should not be seen."""
    return tuple(map(_hash, addr_specs))


def key_hash(key: str) -> str:
    """Return what stands for a key where it should not be seen."""
    return _hash(key)


def fingerprint(message: EmailMessage) -> str:
    """Return a hash of what a message says and to whom: the same key must not mean another.

    Of its sender, recipients, subject, bodies, template, merge data and attachments.
    """
    digest = sha256()
    for name in _FINGERPRINTED:
        value = getattr(message, name, None)
        if value:
            digest.update(json.dumps([name, value], default=_as_json, sort_keys=True).encode())
    for item in message.attachments or ():
        attachment = Attachment(item)
        digest.update(repr((attachment.name, attachment.content_type, attachment.cid)).encode())
        digest.update(sha256(attachment.content_bytes).digest())
    return digest.hexdigest()


_FINGERPRINTED = (
    "from_email",
    "to",
    "cc",
    "bcc",
    "subject",
    "body",
    "alternatives",
    "template_id",
    "merge_data",
    "merge_global_data",
)


def _by_hash(
    statuses: Mapping[str, AnymailRecipientStatus],
) -> dict[str, tuple[str | None, Any]]:
    return {
        _hash(addr_spec): (status.status, _as_json(status.message_id))
        for addr_spec, status in statuses.items()
    }


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    return str(value)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _entry_key(key: str) -> str:
    return _ENTRY_PREFIX + key_hash(key)


def _alias_key(alias: str) -> str:
    return f"anymail.alias.{_hash(alias)}"


def _dumps(entry: Entry) -> str:
    return json.dumps({"version": _VERSION, **asdict(entry)})


def _loads(text: str | None) -> Entry | None:
    if text is None:
        return None
    try:
        values = json.loads(text)
        version = values.pop("version")
    except (AttributeError, KeyError, TypeError, ValueError):  # Others write to that cache, too.
        return Entry("unclear", "")
    if version != _VERSION:
        # Written by another release of Anymail, during an update: who knows what it means.
        return Entry("unclear", values.get("fingerprint", ""))
    return Entry(
        **{
            **values,
            "attempts": tuple(map(tuple, values["attempts"])),
            "rest": None if values["rest"] is None else tuple(values["rest"]),
            "statuses": {key: tuple(item) for key, item in values["statuses"].items()},
        }
    )
