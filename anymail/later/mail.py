"""Messages as JSON, so that a job can hold them: all that a message of Django's or Anymail's has.

What can't travel is refused, rather than left behind.
"""

from __future__ import annotations

import base64
import email.message
import email.policy
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from email.mime.base import MIMEBase
from typing import Any
from uuid import UUID

from django.core import mail
from django.core.mail import EmailMessage

from ..addresses import parse_address_list
from ..attachments import Attachment
from ..datastructures import UNSET, force_non_lazy, is_lazy
from ..exceptions import AnymailSerializationError, Problem
from ..message import AnymailMessage, AnymailRecipientStatus, AnymailStatus
from ..sending.attributes import ANYMAIL_ATTRIBUTES
from ..sending.payload import aware_datetime
from ..sending.problems import ADVICE

_PLAIN_FIELDS = (
    *("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "extra_headers"),
    *("encoding", "content_subtype", "mixed_subtype", "alternative_subtype"),
    *(row.attr for row in ANYMAIL_ATTRIBUTES),
    *("idempotency_key", "duplicates"),
)
_FIELDS = {*_PLAIN_FIELDS, "alternatives", "attachments"}

# Those that are not the message's, but say where it is to go, or where it was.
_NOT_FOR_WORKERS = {
    *("connection", "_connection", "anymail_status", "anymail_error", "anymail_job_id"),
}

# The methods of Django's classes, in all versions, that make MIME or recipients of the fields.
_METHODS = {
    *("message", "recipients", "_add_attachment", "_add_attachments", "_add_bodies"),
    *("_create_alternatives", "_create_attachment", "_create_attachments", "_create_message"),
    *("_create_mime_attachment", "_set_list_header_if_not_empty"),
}

# The headers of a part that say what an attachment is.
_PART_HEADERS = {
    *("content-type", "content-transfer-encoding", "content-disposition", "content-id"),
    "mime-version",
}


def pack_message(message: EmailMessage) -> dict[str, Any]:
    """Return a message as JSON. Lazy text, and naive times to send at, become what they are now.

    Raises AnymailSerializationError, which names what can't travel.
    """
    _check_class(message)
    packed = {
        name: _pack(value, name)
        for name in _PLAIN_FIELDS
        if (value := getattr(message, name, UNSET)) is not UNSET
    }
    if isinstance(send_at := getattr(message, "send_at", None), date):
        packed["send_at"] = _pack(aware_datetime(send_at), "send_at")
    alternatives = getattr(message, "alternatives", None) or ()
    packed["alternatives"] = [
        [_pack_content(content, "alternatives"), _pack(mimetype, "alternatives")]
        for content, mimetype in alternatives
    ]
    packed["attachments"] = [_pack_attachment(item) for item in message.attachments or ()]
    return packed


def unpack_message(packed: Mapping[str, Any]) -> AnymailMessage:
    """Return the message that pack_message() was given, as an AnymailMessage."""
    message = AnymailMessage()
    for name in _PLAIN_FIELDS:
        if name in packed:
            setattr(message, name, _unpack(packed[name]))
    # Before Django 5.2 (and some releases of earlier ones), they are just tuples.
    alternative: Any = getattr(mail, "EmailAlternative", None) or _as_tuple
    attachment: Any = getattr(mail, "EmailAttachment", None) or _as_tuple
    message.alternatives = [alternative(*map(_unpack, item)) for item in packed["alternatives"]]
    message.attachments = [
        attachment(*map(_unpack, item)) if isinstance(item, list) else _unpack(item)
        for item in packed["attachments"]
    ]
    return message


def _as_tuple(*values: Any) -> tuple[Any, ...]:
    return values


def _refuse(what: str) -> AnymailSerializationError:
    error = AnymailSerializationError(f"A message can't be delivered later with {what}")
    error.problem = Problem.MESSAGE
    error.advice = ADVICE[Problem.MESSAGE]
    return error


def _check_class(message: EmailMessage) -> None:
    """Raise an error if a message has more to it than its fields."""
    unknown = vars(message).keys() - _FIELDS - _NOT_FOR_WORKERS
    for cls in type(message).__mro__:
        if cls is object or cls.__module__.startswith(("django.core.mail", "anymail.message")):
            continue
        for name, value in vars(cls).items():
            if name in _METHODS:
                raise _refuse(f"the {name}() of {cls.__qualname__}")
            if not (name.startswith("__") or callable(value) or name in _FIELDS):
                unknown.add(name)
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)))
        raise _refuse(f"attributes of its own, of {type(message).__qualname__}: {names}")


# -- Values ----------------------------------------------------------------------------------------

# Values that JSON doesn't have are dicts with a single key, which is one of these.
_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "$bytes": (
        bytes,
        lambda value: base64.b64encode(value).decode("ascii"),
        base64.b64decode,
    ),
    "$datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "$date": (date, date.isoformat, date.fromisoformat),
    "$time": (time, time.isoformat, time.fromisoformat),
    "$decimal": (Decimal, str, Decimal),
    "$uuid": (UUID, str, UUID),
}


def _pack(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if is_lazy(value):
        return force_non_lazy(value)
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    for kind, (cls, pack, _) in _KINDS.items():
        if isinstance(value, cls):
            return {kind: pack(value)}
    if isinstance(value, Mapping):
        pairs = [[_pack(key, where), _pack(item, where)] for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": pairs}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(item, where) for item in value]}
    if isinstance(value, Iterable):
        return [_pack(item, where) for item in value]
    raise _refuse(f"a {type(value).__qualname__} in {where!r}")


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(kind, content)] = value.items()
        if kind in _KINDS:
            return _KINDS[kind][2](content)
        if kind == "$dict":
            return {_unpack(key): _unpack(item) for key, item in content}
        if kind == "$tuple":
            return tuple(map(_unpack, content))
        if kind == "$part":
            return _unpack_part(content)
    return {key: _unpack(item) for key, item in value.items()}


# -- Attachments -----------------------------------------------------------------------------------


def _pack_attachment(item: Any) -> Any:
    if isinstance(item, email.message.Message):
        for name in item.keys():  # noqa: SIM118 (it iterates over something else)
            if name.lower() not in _PART_HEADERS:
                raise _refuse(f"a part that has the header {name!r} in 'attachments'")
        return _pack_content(item, "attachments")
    name, content, mimetype = item
    if isinstance(content, (EmailMessage, email.message.Message)):
        content, mimetype = Attachment(item).content_bytes, mimetype or "message/rfc822"
    return [_pack(value, "attachments") for value in (name, content, mimetype)]


def _pack_content(content: Any, where: str) -> Any:
    if isinstance(content, email.message.Message):
        return {"$part": _pack_part(content)}
    return _pack(content, where)


_PART_CLASSES = (email.message.EmailMessage, email.message.MIMEPart, MIMEBase)


def _pack_part(part: email.message.Message) -> dict[str, Any]:
    # get_payload() changes 8-bit text.
    payload: Any = part._payload  # type: ignore[attr-defined]
    return {
        "class": [isinstance(part, cls) for cls in _PART_CLASSES],
        "headers": [_pack_header(name, value) for name, value in part.raw_items()],
        "payload": list(map(_pack_part, payload)) if part.is_multipart() else payload,
        "preamble": part.preamble,
        "epilogue": part.epilogue,
        "default_type": part.get_default_type(),
    }


def _pack_header(name: str, value: Any) -> tuple[str, str, bool]:
    """Return name and text of a header, and whether the text is decoded."""
    if hasattr(value, "encode") and not isinstance(value, str):  # email.header.Header
        value = value.encode()
    return name, str(value), hasattr(value, "name")


def _unpack_part(packed: Mapping[str, Any]) -> email.message.Message:
    classes = [cls for cls, is_it in zip(_PART_CLASSES, packed["class"], strict=True) if is_it]
    cls: Any = classes[0] if classes else email.message.Message
    part = cls.__new__(cls)
    if cls in (MIMEBase, email.message.Message):
        # MIMEBase has arguments of its own, for headers.
        email.message.Message.__init__(part)
    else:
        cls.__init__(part, policy=email.policy.default)
    for name, value, is_decoded in packed["headers"]:
        if is_decoded:
            name, value = part.policy.header_store_parse(name, value)
        part.set_raw(name, value)
    payload = packed["payload"]
    part.set_payload(list(map(_unpack_part, payload)) if isinstance(payload, list) else payload)
    part.preamble, part.epilogue = packed["preamble"], packed["epilogue"]
    part.set_default_type(packed["default_type"])
    return part  # type: ignore[no-any-return]


def set_later_status(message: EmailMessage, job_id: str) -> None:
    """Let a message have the status of one that was queued."""
    status = AnymailStatus()
    later = AnymailRecipientStatus(job_id, "later")
    emails = parse_address_list(message.recipients())
    status.set_recipient_status({email.addr_spec: later for email in emails})
    message.anymail_status = status  # type: ignore[attr-defined]
