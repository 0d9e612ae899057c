"""Inbound messages: what an ESP received for us, as an `email.message.EmailMessage`.

Everything in an inbound message is under the control of whoever sent it. So reading one never
raises because of what is in it: malformed parts of headers, unknown charsets and broken transfer
encodings give as much as can be made of them. Only messages beyond the limits below, which no real
one comes near, are refused while they are parsed: AnymailInboundLimitExceeded.
"""

from __future__ import annotations

import base64 as base64_codec
import binascii
import codecs
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from email.errors import MultipartInvariantViolationDefect
from email.feedparser import FeedParser
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import EmailPolicy, Policy
from email.policy import default as default_policy
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

from django.core.files.uploadedfile import SimpleUploadedFile

from ._docs import with_docs
from .addresses import EmailAddress
from .exceptions import AnymailDeprecationWarning, AnymailInboundLimitExceeded
from .headers import angle_wrap, parse_rfc2822date, rfc2047_decode, rfc2047_encode, unquote_string

if TYPE_CHECKING:
    from typing_extensions import Self

    EmailPolicyBase = EmailPolicy[Any]  # generic in the type stubs only
else:
    EmailPolicyBase = EmailPolicy

CHUNK_SIZE = 65536
"""Bytes that are fed to the parser, or read from a file, at a time."""

MAX_NESTING = 50
"""How deeply MIME parts can be nested. Each level makes every line below it slower to parse."""

MAX_PARTS = 10_000
"""How many MIME parts a message can have; also the blocks in delivery reports count."""

MAX_HEADERS = 1000
"""How many headers a message, or one of its parts, can have."""

MAX_HEADER_LENGTH = 256 * 1024
"""How many characters can be in the value of one header."""

DEFAULT_ATTACHMENT_NAME = "attachment"
"""Name of an uploaded file made from an attachment that has no (usable) filename."""

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class AnymailInboundMessage(EmailMessage):
    """A received email message, or one of its MIME parts.

    It has everything its base class has. Parse raw MIME with one of the ``parse_raw_mime``
    methods, or put a message together from an ESP's parsed fields with :meth:`construct`.
    Nested parts and attached messages are of this class, too.

    Attributes, all of them None unless the ESP provides them:

    - ``envelope_sender``, ``envelope_recipient``: addr-specs, str
    - ``stripped_text``, ``stripped_html``: the body without quoted replies and the like, str
    - ``spam_detected``: bool
    - ``spam_score``: float, on the scale of the ESP
    """

    envelope_sender: str | None
    envelope_recipient: str | None
    stripped_text: str | None
    stripped_html: str | None
    spam_detected: bool | None
    spam_score: float | None

    _headers: list[tuple[str, Any]]  # of the base class
    _payload: Any  # of the base class: 8-bit text in it is in surrogate escapes

    def __init__(self, policy: Policy[Any] | None = None) -> None:
        super().__init__(policy or _policy_for(type(self)))
        self.envelope_sender = None
        self.envelope_recipient = None
        self.stripped_text = None
        self.stripped_html = None
        self.spam_detected = None
        self.spam_score = None

    # Headers

    def set_raw(self, name: str, value: Any) -> None:
        # The email package's parsers call this with each header.
        self._check_new_header(name, value)
        super().set_raw(name, value)

    def _check_new_header(self, name: str, value: str) -> None:
        if len(self._headers) >= MAX_HEADERS:
            raise AnymailInboundLimitExceeded(
                f"Received message with more than {MAX_HEADERS} headers in one MIME part"
            )
        if len(name) > MAX_HEADER_LENGTH or len(value) > MAX_HEADER_LENGTH:
            raise AnymailInboundLimitExceeded(
                f"Received message with a header of more than {MAX_HEADER_LENGTH} characters"
            )

    @property
    def from_email(self) -> EmailAddress | list[EmailAddress] | None:
        """The From header: its address, a list if it has several, None if it has none."""
        addresses = self.get_address_header("From")
        if len(addresses) == 1:
            return addresses[0]
        return addresses or None

    @property
    def to(self) -> list[EmailAddress]:
        """The addresses in the To header."""
        return self.get_address_header("To")

    @property
    def cc(self) -> list[EmailAddress]:
        """The addresses in the Cc header."""
        return self.get_address_header("Cc")

    @property
    def bcc(self) -> list[EmailAddress]:
        """The addresses in the Bcc header. Few messages have one."""
        return self.get_address_header("Bcc")

    @property
    def subject(self) -> str | None:
        """The decoded Subject header, or None."""
        subject: str | None = self.get("Subject")
        return subject

    @property
    def date(self) -> datetime | None:
        """The Date header; naive if it has no offset or "-0000". None if missing or invalid."""
        return self.get_date_header("Date")

    def get_address_header(self, header: str) -> list[EmailAddress]:
        """Return the addresses in all occurrences of a header, in order.

        Display names are decoded. Groups are flattened. What is not a valid address is left out;
        the header as it was sent is in ``message[header]``.
        """
        return [
            address
            for value in self._get_raw_all(header)
            for tokens in _split_mailboxes(value)
            if (address := _parse_mailbox(tokens)) is not None
        ]

    def get_date_header(self, header: str) -> datetime | None:
        """Return the date in a header: naive if it has no offset or "-0000".

        Returns None if the header is missing or can't be parsed.
        """
        values = self._get_raw_all(header)
        return parse_rfc2822date(values[0]) if values else None

    def _get_raw_all(self, header: str) -> list[str]:
        """Return the unfolded but otherwise undecoded values of a header."""
        header = header.lower()
        return [_unfold(str(value)) for name, value in self.raw_items() if name.lower() == header]

    def get_content_disposition(self) -> str | None:
        """Return "attachment", "inline" or another disposition, in lower case; None if missing."""
        header = self.get("Content-Disposition")
        if header is None:
            return None
        parsed: str | None = getattr(header, "content_disposition", None)
        return parsed or str(header).partition(";")[0].strip().lower()

    def is_attachment(self) -> bool:
        """Tell whether this part has Content-Disposition attachment."""
        return self.get_content_disposition() == "attachment"

    def is_inline(self) -> bool:
        """Tell whether this part has Content-Disposition inline, such as an image in HTML."""
        return self.get_content_disposition() == "inline"

    # Bodies and attachments

    @property
    def text(self) -> str | None:
        r"""The plain text body, with ``\n`` line ends. None if there is none."""
        return self._get_body_text("text/plain")

    @property
    def html(self) -> str | None:
        r"""The HTML body, with ``\n`` line ends. None if there is none."""
        return self._get_body_text("text/html")

    def _get_body_text(self, content_type: str) -> str | None:
        """Return the text of the first such part, attachments and what is in them left aside."""
        pending = [self]
        while pending:
            part = pending.pop()
            if part.is_multipart():
                # Within a message, another message is attached, whatever its disposition.
                is_attached = part.is_attachment() or part.get_content_maintype() == "message"
                if part is self or not is_attached:
                    pending.extend(reversed(part._subparts()))
            elif part.get_content_type() == content_type and not part.is_attachment():
                return part.get_content_text()
        return None

    def _subparts(self) -> list[Self]:
        """Return the parts of a multipart, or the message(s) in a message/* part."""
        payload: Any = self.get_payload()
        return payload if isinstance(payload, list) else []

    @property
    def attachments(self) -> list[Self]:
        """All parts with Content-Disposition attachment, those of attached messages included."""
        return [part for part in self.walk() if part.is_attachment()]

    @property
    def inlines(self) -> list[Self]:
        """All parts with Content-Disposition inline, those of attached messages included."""
        return [part for part in self.walk() if part.is_inline()]

    @property
    def content_id_map(self) -> dict[str, Self]:
        """The inline parts that have a Content-ID, by that ID without its angle brackets."""
        return {
            str(part["Content-ID"]).strip().removeprefix("<").removesuffix(">").strip(): part
            for part in self.inlines
            if "Content-ID" in part
        }

    @property
    def inline_attachments(self) -> dict[str, Self]:
        """Return content_id_map. Deprecated."""
        warnings.warn(
            with_docs(
                "AnymailInboundMessage.inline_attachments is deprecated: use content_id_map.",
                "upgrading#upgrading-deprecated",
            ),
            AnymailDeprecationWarning,
            stacklevel=2,
        )
        return self.content_id_map

    def is_inline_attachment(self) -> bool:
        """Return is_inline(). Deprecated."""
        warnings.warn(
            with_docs(
                "AnymailInboundMessage.is_inline_attachment() is deprecated: use is_inline().",
                "upgrading#upgrading-deprecated",
            ),
            AnymailDeprecationWarning,
            stacklevel=2,
        )
        return self.is_inline()

    # Content of a part

    def get_content_bytes(self) -> bytes | None:
        """Return the transfer-decoded content; None if there is no payload.

        For an attached message (message/*), that is the whole message as bytes. For multipart/*,
        raises ValueError: use as_bytes().
        """
        maintype = self.get_content_maintype()
        if maintype == "multipart":
            raise ValueError(
                f"get_content_bytes() has no meaning for {self.get_content_type()}: use as_bytes()"
            )
        if self.is_multipart():
            return self._get_attached_bytes()
        if self._payload is None:
            return None
        try:
            content: Any = self.get_payload(decode=True)
        except ValueError:  # malformed uuencode, which Python 3.10 does not always catch
            content = self._payload.encode("ascii", "surrogateescape")
        return bytes(content)

    def _get_attached_bytes(self) -> bytes:
        """Serialize the message(s) in a message/* part, without this part's own headers."""
        attached = [part._as_sent() for part in self._subparts()]
        if self.get_content_type() == "message/delivery-status":
            # Blocks of headers, separated by an empty line (RFC 3464, section 2.1).
            return b"\n".join(block.removesuffix(b"\n") for block in attached)
        return b"".join(attached)

    def _as_sent(self) -> bytes:
        """Serialize with all headers as they came, also those that are not ASCII."""
        policy = self.policy
        if isinstance(policy, EmailPolicy):
            policy = policy.clone(utf8=True, refold_source="none")
        return self.as_bytes(policy=policy)

    def get_content_text(self, charset: str | None = None, errors: str | None = None) -> str | None:
        r"""Return the content as text with ``\n`` line ends; None if there is no payload.

        It is decoded from ``charset``, by default the one that the part declares or else
        US-ASCII. ``errors`` is as for bytes.decode, by default "replace". If Python does not know
        the declared charset, UTF-8 is tried.

        For an attached message (message/*), that is the whole message. For multipart/*, raises
        ValueError: use as_string(). Raises LookupError if ``charset`` is given but unknown.
        """
        maintype = self.get_content_maintype()
        if maintype == "multipart":
            raise ValueError(
                f"get_content_text() has no meaning for {self.get_content_type()}: use as_string()"
            )
        content = self.get_content_bytes()
        if content is None:
            return None
        if charset is None:
            if maintype == "message":
                charset = "utf-8"
            else:
                charset = _find_charset(self.get_content_charset("us-ascii")) or "utf-8"
        text = content.decode(charset, errors or "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def as_uploaded_file(self) -> SimpleUploadedFile | None:
        """Return an attachment as a Django SimpleUploadedFile.

        Its name is the last component of the filename that was sent, or "attachment" if nothing
        is left of that. The content type is what the sender claims it is. Returns None if the
        part has no Content-Disposition.
        """
        if "Content-Disposition" not in self:
            return None
        if self.get_content_maintype() == "multipart":
            content: bytes | None = self._as_sent()
        else:
            content = self.get_content_bytes()
        return SimpleUploadedFile(
            _base_name(self.get_filename()) or DEFAULT_ATTACHMENT_NAME,
            content,
            self.get_content_type(),
        )

    # Serializing

    def get_payload(self, i: int | None = None, decode: bool = False) -> Any:
        if decode and i is None and isinstance(self._payload, str):
            encoding = str(self.get("Content-Transfer-Encoding", "")).lower()
            content = _decode_base64(self._payload) if encoding == "base64" else None
            if content is not None:
                return content
        payload = super().get_payload(i, decode)  # type: ignore[call-overload]  # i and decode
        if isinstance(payload, str) and self.get_content_maintype() == "multipart":
            # That is one without boundaries. If there are 8-bit characters, those would have been
            # decoded here, and the generator would then fail to write them.
            return self._payload
        return payload

    def as_string(
        self,
        unixfrom: bool = False,
        maxheaderlen: int | None = None,
        policy: Policy[Any] | None = None,
    ) -> str:
        try:
            text = super().as_string(unixfrom, maxheaderlen, policy)
        except Exception:  # noqa: BLE001  # LookupError or CharsetError, if there is 8-bit text
            return self.as_bytes(unixfrom, policy).decode("utf-8", "replace")
        return _clean(text)

    # Parsing raw MIME

    @classmethod
    def parse_raw_mime(cls, s: str) -> Self:
        """Parse a message from a str. Its non-ASCII characters are taken as UTF-8.

        Raises TypeError for bytes, which belong in :meth:`parse_raw_mime_bytes`.
        """
        if not isinstance(s, str):
            raise TypeError(
                f"parse_raw_mime() needs str, not {type(s).__name__}; for bytes,"
                " use parse_raw_mime_bytes()"
            )
        return cls._parse(
            _to_bytes(s[start : start + CHUNK_SIZE]) for start in range(0, len(s), CHUNK_SIZE)
        )

    @classmethod
    def parse_raw_mime_bytes(cls, b: bytes) -> Self:
        """Parse a message from bytes."""
        return cls._parse([b])

    @classmethod
    def parse_raw_mime_chunks(cls, chunks: Iterable[bytes | bytearray]) -> Self:
        """Parse a message from an iterable of bytes, such as a binary file, as they come in.

        It makes no difference where the message is cut into chunks. Raises AttributeError for
        chunks of str.
        """
        return cls._parse(chunks)

    @classmethod
    def parse_raw_mime_file(cls, fp: IO[bytes] | IO[str]) -> Self:
        """Parse a message from an open file, in binary or text mode."""
        return cls._parse(_read_chunks(fp))

    @classmethod
    def _parse(cls, chunks: Iterable[bytes | bytearray]) -> Self:
        """Parse a message. All others come here.

        Raises AnymailInboundLimitExceeded, as soon as that can be told.
        """
        parts = -1  # not counting the one that the parser makes only to try it

        def make_part(policy: Policy[Any]) -> Any:
            nonlocal parts
            parts += 1
            if parts > MAX_PARTS:
                raise AnymailInboundLimitExceeded(
                    f"Received message with more than {MAX_PARTS} MIME parts"
                )
            # Those that are not complete. There is nothing public to tell how many that are.
            if parts and len(parser._msgstack) > MAX_NESTING:  # type: ignore[attr-defined]
                raise AnymailInboundLimitExceeded(
                    f"Received message with MIME parts nested more than {MAX_NESTING} levels deep"
                )
            return cls(policy=policy)

        # (The type stubs don't know that it's called with the policy.)
        parser = FeedParser(make_part, policy=_policy_for(cls))  # type: ignore[arg-type]
        base64_lines = _Base64Lines()
        for chunk in chunks:
            for start in range(0, len(chunk), CHUNK_SIZE):
                # As BytesFeedParser does it
                text = chunk[start : start + CHUNK_SIZE].decode("ascii", "surrogateescape")
                parser.feed(base64_lines.set_aside(text))
        message: Self = parser.close()
        base64_lines.put_back(message)
        return message

    # Building from an ESP's parsed fields

    @classmethod
    def construct(
        cls,
        raw_headers: str | None = None,
        from_email: str | None = None,
        to: str | None = None,
        cc: str | None = None,
        bcc: str | None = None,
        subject: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        text: str | None = None,
        text_charset: str = "utf-8",
        html: str | None = None,
        html_charset: str = "utf-8",
        attachments: Iterable[AnymailInboundMessage] | None = None,
    ) -> Self:
        """Build a message from fields that an ESP has parsed.

        - raw_headers: the header section of the message; anything after an empty line is ignored
        - from_email, to, cc, bcc, subject: header values, which replace those in raw_headers
          unless they are None
        - headers: more headers, appended. Of those that a message can have only once, such as
          Subject, the first counts; that is the argument, or raw_headers
        - text, html: bodies; text_charset and html_charset are declared in their Content-Type
        - attachments: parts from :meth:`construct_attachment`

        The result is always multipart/mixed, so headers that describe the format of the original
        body are replaced or dropped.

        Raises ValueError for line breaks in a header, TypeError for a header that is not str,
        UnicodeEncodeError for text that can't be encoded in its charset.
        """
        if raw_headers is None:
            message = cls()
        else:
            message = BytesHeaderParser(cls, policy=_policy_for(cls)).parsebytes(
                _to_bytes(raw_headers)
            )
            message.set_payload(None)
            message.defects = [
                defect  # Python 3.10 expects a body
                for defect in message.defects
                if not isinstance(defect, MultipartInvariantViolationDefect)
            ]

        arguments = {"From": from_email, "To": to, "Cc": cc, "Bcc": bcc, "Subject": subject}
        for name, value in arguments.items():
            if value is not None:
                del message[name]
                message._append_header(name, value)
        if headers is not None:
            for name, value in headers.items() if isinstance(headers, Mapping) else headers:
                message._append_header(name, value)

        for name in (
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
            "Content-Disposition",
        ):
            del message[name]
        message["MIME-Version"] = "1.0"
        message["Content-Type"] = "multipart/mixed"

        related = cls._construct_multipart("related")
        alternative = cls._construct_multipart("alternative")
        message.attach(related)
        related.attach(alternative)
        if text is not None:
            alternative.attach(cls._construct_text("plain", text, text_charset))
        if html is not None:
            alternative.attach(cls._construct_text("html", html, html_charset))
        for attachment in attachments or ():
            parent = related if attachment.is_inline() else message
            parent.attach(attachment)  # type: ignore[arg-type]  # parsing can be a subclass's
        return message

    def _append_header(self, name: str, value: str) -> None:
        """Append a header, unless it is there and can't be repeated."""
        if not isinstance(value, str):
            raise TypeError(f"Value of header {name!r} must be str, not {type(value).__name__}")
        is_unique = self.policy.header_max_count(name) is not None
        if not (is_unique and name in self):
            self._check_new_header(name, value)
            self[name] = value

    @classmethod
    def _construct_multipart(cls, subtype: str) -> Self:
        part = cls()
        part["Content-Type"] = f"multipart/{subtype}"
        part.set_payload([])
        return part

    @classmethod
    def _construct_text(cls, subtype: str, text: str, charset: str) -> Self:
        part = cls()
        part["Content-Type"] = f"text/{subtype}"
        part._set_content_text(text, charset)
        return part

    def _set_content_text(self, text: str, charset: str) -> None:
        """Set text as the payload; declare its charset, UTF-8 if Python does not know it."""
        encoding = _find_charset(charset)
        if encoding is None:
            encoding = charset = "utf-8"
        try:
            content = text.encode(encoding)
        except UnicodeEncodeError:
            # JSON can hold halves of surrogate pairs, which no charset can.
            content = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).encode(encoding)
        self.set_param("charset", charset)
        self._set_content_bytes(content)

    def _set_content_bytes(self, content: bytes) -> None:
        """Set content as the payload, in a transfer encoding that keeps it intact."""
        if self.get_content_maintype() == "text" and content.isascii() and b"\0" not in content:
            encoding, payload = "7bit", content
        else:
            encoding, payload = "base64", base64_codec.encodebytes(content)
        self["Content-Transfer-Encoding"] = encoding
        self.set_payload(payload.decode("ascii"))

    @classmethod
    def construct_attachment(
        cls,
        content_type: str | None,
        content: str | bytes,
        charset: str | None = None,
        filename: str | None = None,
        content_id: str | None = None,
        base64: bool = False,
    ) -> Self:
        """Build an attachment for :meth:`construct`.

        - content_type: may have parameters; application/octet-stream if there is no valid one
        - content: the attachment's bytes, or text; with ``base64``, encoded in base64
        - charset: of the content; for str content UTF-8 unless given here or in content_type
        - filename: as it was sent, except that line breaks become spaces
        - content_id: with or without angle brackets. If not None, the attachment is inline

        The content of message/* types is parsed as a message.

        Raises ValueError for wrong padding in base64, UnicodeEncodeError for str content that
        can't be encoded in ``charset``.
        """
        filename = _clean(_single_line(filename or ""))
        part = cls()
        part["Content-Type"] = _valid_content_type(content_type)
        if filename:
            part.set_param("name", filename)
        if charset:
            part.set_param("charset", _clean(_single_line(charset)))

        part["Content-Disposition"] = "attachment" if content_id is None else "inline"
        if filename:
            part.set_param("filename", filename, header="Content-Disposition")
        if content_id is not None:
            part["Content-ID"] = angle_wrap(_single_line(content_id).strip())

        if base64:
            if isinstance(content, str):
                content = content.encode("ascii", "ignore")
            content = base64_codec.b64decode(content)
        if part.get_content_maintype() == "message":
            part._attach_message(content)
        elif isinstance(content, str):
            part._set_attachment_text(content, charset)
        else:
            part._set_content_bytes(bytes(content))
        return part

    def _attach_message(self, content: str | bytes) -> None:
        content = _to_bytes(content) if isinstance(content, str) else bytes(content)
        # As a part of its own content type, because message/delivery-status parses into several.
        parsed = self._parse([f"Content-Type: {self.get_content_type()}\n\n".encode(), content])
        self.set_payload(parsed.get_payload())

    def _set_attachment_text(self, content: str, charset: str | None) -> None:
        declared = charset or self.get_content_charset()
        if declared is None and content.isascii():
            self._set_content_bytes(content.encode("ascii"))
            return
        try:
            self._set_content_text(content, declared or "utf-8")
        except UnicodeEncodeError:
            if charset:
                raise
            self._set_content_text(content, "utf-8")

    @classmethod
    def construct_attachment_from_uploaded_file(
        cls, file: Any, content_id: str | None = None
    ) -> Self:
        """Build an attachment from a Django UploadedFile, or another file in binary or text mode.

        The content type, filename and charset are taken from it, as far as it has them. See
        :meth:`construct_attachment`.
        """
        name = getattr(file, "name", None)  # of a TemporaryFile, an int
        charset = getattr(file, "charset", None)
        if isinstance(charset, bytes):  # as in files that Django got with a form
            charset = charset.decode("ascii", "replace")
        return cls.construct_attachment(
            content_type=getattr(file, "content_type", None),
            content=file.read(),
            charset=charset,
            filename=name if isinstance(name, str) else None,
            content_id=content_id,
        )


# Base64, most of what large messages consist of


class _Base64Lines:
    """Keeps lines of base64 aside while a message is parsed, which takes time for each line.

    The parser gets one line, a placeholder, in place of several successive ones. It makes the same
    of that: it's no header, no continuation of one, no boundary and no empty line, so in whatever
    part of a message, it's only kept, between the line before and the one after. Then the lines
    are put back. Nothing in a message can be taken for a placeholder: the parser's text is ASCII,
    with other bytes as surrogate escapes.
    """

    # Those that are not enough to save time match too, and are left. Otherwise, they would be tried
    # again from each line on.
    _LINES = re.compile(r"\n(?:[A-Za-z0-9+/=]+\r?\n)+")
    _MIN_LINES = 4
    _PLACEHOLDER = re.compile("\ue000([0-9]+)")

    def __init__(self) -> None:
        self._blocks: list[str] = []

    def set_aside(self, text: str) -> str:
        """Return text for the parser, from anywhere in a message."""
        return self._LINES.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        lines = match[0]
        if lines.count("\n") <= self._MIN_LINES:
            return lines
        # The line ends before and after are left: those can belong to a boundary.
        end = "\r\n" if lines.endswith("\r\n") else "\n"
        self._blocks.append(lines[1 : -len(end)])
        return f"\n\ue000{len(self._blocks) - 1}{end}"

    def put_back(self, message: AnymailInboundMessage) -> None:
        """Complete what the parser has returned."""
        if self._blocks:
            for part in message.walk():
                part._payload = self._complete(part._payload)
                part.preamble = self._complete(part.preamble)
                part.epilogue = self._complete(part.epilogue)

    def _complete(self, text: Any) -> Any:
        if not isinstance(text, str):  # None, or parts
            return text
        return self._PLACEHOLDER.sub(lambda match: self._blocks[int(match[1])], text)


def _decode_base64(text: str) -> bytes | None:
    """Decode lines of base64; None if there is anything wrong with it, or other white space.

    The email package gets the same, but with several copies on the way.
    """
    try:
        content = binascii.a2b_base64(text)  # which ignores what is not base64
    except ValueError:
        return None
    tail = text[-16:].rstrip("\r\n")
    padding = len(tail) - len(tail.rstrip("="))
    characters = len(text) - text.count("\n") - text.count("\r")
    # Four characters are three bytes. Each one that was ignored makes the content too short.
    is_complete = padding <= 2 and 4 * (len(content) + padding) == 3 * characters
    return content if is_complete else None


# Text as senders write it

_LINE_BREAKS = re.compile(r"[\r\n]+")
_WHITESPACE = re.compile(r"\s+")
_CONTROL_CHARS = re.compile(r"[\x00-\x1f\x7f]+")
# Those, halves of surrogate pairs, and what breaks lines or changes the direction of text: with
# that, "gpj.exe" can look like "exe.jpg".
_NOT_IN_FILE_NAME = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+"
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_SURROGATE_ESCAPE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _single_line(text: str) -> str:
    return _LINE_BREAKS.sub(" ", text)


def _clean(text: str) -> str:
    """Make 8-bit text of what the email package parsed as ASCII: UTF-8, or U+FFFD."""
    if text.isascii():
        return text
    return _to_bytes(text).decode("utf-8", "replace")


def _unfold(value: str) -> str:
    """Return a source header value on one line, as characters, encoded-words still encoded."""
    return _clean(value.replace("\r", "").replace("\n", ""))


def _to_bytes(text: str) -> bytes:
    """Encode as UTF-8; get back the bytes that were decoded with "surrogateescape"."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = _NO_SURROGATE_ESCAPE.sub("\N{REPLACEMENT CHARACTER}", text)
        return text.encode("utf-8", "surrogateescape")


def _read_chunks(fp: IO[bytes] | IO[str]) -> Iterator[bytes]:
    while chunk := fp.read(CHUNK_SIZE):
        yield _to_bytes(chunk) if isinstance(chunk, str) else chunk


def _base_name(filename: str | None) -> str | None:
    """Return the last component of a path in any notation, None if that is not a name."""
    path = _NOT_IN_FILE_NAME.sub("", filename or "").replace("\\", "/")
    name = path.rpartition("/")[2].strip()
    return None if name in {"", ".", ".."} else name


def _valid_content_type(content_type: str | None) -> str:
    """Return a Content-Type header value, a default if its media type makes no sense."""
    content_type = _single_line(content_type or "").strip()
    is_valid = _MEDIA_TYPE.fullmatch(content_type.partition(";")[0].rstrip())
    return content_type if is_valid else DEFAULT_CONTENT_TYPE


# RFC 2045, section 5.1: two tokens
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`{|}~\w-]+\s*/\s*[!#$%&'*+.^_`{|}~\w-]+", re.ASCII)

# Charsets that mail uses, under names that Python does not know.
_CHARSET_ALIASES = {
    "iso-8859-8-e": "iso-8859-8",  # RFC 1556: the suffix is about directionality only
    "iso-8859-8-i": "iso-8859-8",
    "windows-874": "cp874",
    "x-sjis": "shift_jis",
}
# What bytes can be decoded from, but is not a charset.
_NOT_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


def _find_charset(charset: str) -> str | None:
    """Return the charset's name in Python, or None if there is no such charset."""
    charset = _CHARSET_ALIASES.get(charset.lower(), charset)
    try:
        name = codecs.lookup(charset).name
        "a".encode(name).decode(name)  # some codecs are not for text
    except (LookupError, ValueError):
        return None
    return None if name.replace("_", "-") in _NOT_CHARSETS else name


# Header values

_MAX_HEADER_LENGTH = 16384
_MAX_MIME_HEADER_LENGTH = 2048
_MAX_MIME_HEADER_TOKENS = 256
_MIME_HEADERS = {
    "content-disposition",
    "content-transfer-encoding",
    "content-type",
    "mime-version",
}
_MIME_HEADER_SPECIALS = re.compile(r'[\s;"\\(<]')
_EXTENDED_PARAMETER = re.compile(r";[^;=]*\*[^;]*")
_NOT_IN_HEADER_NAME = re.compile(r"[^!-9;-~]|^$")  # RFC 5322, section 2.2
_NEWLINE_WITHOUT_SPACE = re.compile(r"\r\n[^ \t]|\r[^ \n\t]|\n[^ \t]")


class _InboundPolicy(EmailPolicyBase):
    """The default policy, except that no header can make it fail.

    The header parsers of the email package raise all kinds of errors for malformed headers, some
    of them while a message is being parsed, and take quadratic time for some long ones. Headers
    they can't handle are plain str, with encoded-words decoded, instead of header objects.

    Headers that are set are kept as source text, the same as those that have been parsed.
    """

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        if _LINE_BREAKS.search(name):
            raise ValueError("Header names may not contain linefeed or carriage return characters")
        if not isinstance(value, str):  # datetime, Address ...
            return super().header_store_parse(name, value)
        if _LINE_BREAKS.search(value):
            raise ValueError(
                f"Value of header {name!r} may not contain linefeed or carriage return characters"
            )
        return name, str(value)  # not a header object with perhaps another name

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        if hasattr(value, "name"):
            return value
        text = _unfold(value)
        if name.lower() in _MIME_HEADERS:
            return _parse_mime_header(name, text)
        header = _parse_header(name, text) if len(text) <= _MAX_HEADER_LENGTH else None
        if header is None or _LINE_BREAKS.search(header):
            # Line breaks in encoded-words are an attack on whoever uses the text in a reply.
            return _LINE_BREAKS.sub(" ", _decode_unparsed(text))
        return header

    def fold(self, name: str, value: Any) -> str:
        try:
            folded: str = super().fold(name, self._to_fold(name, value))
            self._check_folded(folded)
            return folded
        except Exception:  # noqa: BLE001  # as above
            return self._fold_unparsed(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        try:
            folded = super().fold_binary(name, self._to_fold(name, value))
            self._check_folded(folded.decode("utf-8", "replace"))
            return folded
        except Exception:  # noqa: BLE001  # as above
            return self._fold_unparsed(name, value).encode("ascii")

    def _to_fold(self, name: str, value: Any) -> Any:
        """Have characters encoded as Python 3.13 does, in earlier versions too."""
        if _NOT_IN_HEADER_NAME.search(name):
            raise ValueError("invalid header name")
        if self.utf8 or hasattr(value, "name") or value.isascii() or _LONE_SURROGATE.search(value):
            return value
        return self.header_factory(name, value)

    def _check_folded(self, folded: str) -> None:
        if _NEWLINE_WITHOUT_SPACE.search(folded.removesuffix(self.linesep)):
            raise ValueError("newline in folded header")

    def _fold_unparsed(self, name: str, value: Any) -> str:
        name = _NOT_IN_HEADER_NAME.sub("?", name)
        text = _CONTROL_CHARS.sub(" ", _unfold(str(value)))
        return f"{name}: {text if text.isascii() else rfc2047_encode(text)}{self.linesep}"


def _parse_header(name: str, text: str) -> Any:
    """Return a header object, or None if the email package fails to parse the header."""
    try:
        return default_policy.header_factory(name, text)
    except Exception:  # noqa: BLE001  # IndexError, AttributeError, RecursionError ...
        return None


def _decode_unparsed(text: str) -> str:
    try:
        return _clean(rfc2047_decode(text))
    except Exception:  # noqa: BLE001  # such as a charset with a NUL in its name
        return text


@lru_cache(maxsize=256)  # the same few are looked at again and again
def _parse_mime_header(name: str, text: str) -> Any:
    if name.lower() == "content-transfer-encoding":
        # Message.get_payload() does not expect comments, blanks or parameters there.
        text = text.partition(";")[0].partition("(")[0].strip()
    if (
        len(text) <= _MAX_MIME_HEADER_LENGTH
        and len(_MIME_HEADER_SPECIALS.findall(text)) <= _MAX_MIME_HEADER_TOKENS
    ):
        header = _parse_header(name, text)
        if header is not None and not _LINE_BREAKS.search(header):
            return header
    # Message.get_filename() and the like fail on some RFC 2231 parameters, so leave those out.
    return _EXTENDED_PARAMETER.sub("", text[:_MAX_MIME_HEADER_LENGTH])


_policies: dict[type[AnymailInboundMessage], _InboundPolicy] = {}


def _policy_for(message_class: type[AnymailInboundMessage]) -> _InboundPolicy:
    """Return the policy for messages of that class, with parts of the same class."""
    if message_class not in _policies:
        policy = _InboundPolicy(message_factory=message_class, refold_source="none")
        # Use the class's, as email.policy.default does; a copy would go into every pickle.
        object.__delattr__(policy, "header_factory")
        _policies[message_class] = policy
    return _policies[message_class]


# Addresses

# Never backtracks further than the end of one token, so it takes linear time.
_ADDRESS_TOKEN = re.compile(
    r"""
      (?P<quoted>     "[^"\\]*(?:\\.[^"\\]*)*" )
    | (?P<angle>      <(?:[^<>"\\]|\\.|"[^"\\]*(?:\\.[^"\\]*)*")*> )
    | (?P<literal>    \[[^\[\]\\]*(?:\\.[^\[\]\\]*)*\] )
    | (?P<word>       =\?[^?\s]+\?[bBqQ]\?[^?]*\?= )
    | (?P<separator>  [,;] )
    | (?P<group>      : )
    | (?P<comment>    \( )
    | (?P<text>       [^"<\[=,;:(\\]+ | \\. | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_DELIMITER = re.compile(r"\\.|[()]", re.DOTALL)


def _split_mailboxes(header: str) -> Iterator[list[tuple[str, str]]]:
    """Split an address header into one list of tokens (kind, text) per mailbox.

    Comments and group names are left out. Semicolons separate like commas.
    """
    tokens: list[tuple[str, str]] = []
    last_semicolon = header.rfind(";")
    comments_end = True  # False: there is a parenthesis without its counterpart
    pos = 0
    while match := _ADDRESS_TOKEN.match(header, pos):
        pos = match.end()
        kind = str(match.lastgroup)
        if kind == "comment" and comments_end:
            end = _find_comment_end(header, pos)
            if end is not None:
                pos = end
                tokens.append(("text", " "))
                continue
            comments_end = False
        if kind == "separator":
            yield tokens
            tokens = []
        elif kind == "group" and pos <= last_semicolon:
            tokens = []
        else:
            tokens.append((kind, match[0]))
    yield tokens


def _find_comment_end(header: str, pos: int) -> int | None:
    """Return where the comment ends that starts before pos. Comments can be nested."""
    depth = 1
    for match in _COMMENT_DELIMITER.finditer(header, pos):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    return None


def _parse_mailbox(tokens: list[tuple[str, str]]) -> EmailAddress | None:
    """Return the address that the tokens make up, or None."""
    angles = [index for index, (kind, _) in enumerate(tokens) if kind == "angle"]
    if not angles:
        display_name = ""
        addr_spec = "".join(text for _, text in tokens)
    elif len(angles) == 1 and not "".join(text for _, text in tokens[angles[0] + 1 :]).strip():
        display_name = _parse_display_name(tokens[: angles[0]])
        addr_spec = tokens[angles[0]][1][1:-1]
        if addr_spec.lstrip().startswith("@"):  # obsolete source route
            addr_spec = addr_spec.partition(":")[2]
    else:
        return None
    addr_spec = addr_spec.strip()
    # Encoded-words don't belong in an addr-spec, but the email package decodes some of them.
    if not addr_spec or "=?" in addr_spec:
        return None
    try:
        return EmailAddress(display_name, addr_spec)
    except Exception:  # noqa: BLE001  # AnymailInvalidAddress, or whatever the email package raises
        return None


def _parse_display_name(tokens: list[tuple[str, str]]) -> str:
    phrase = ""
    for kind, text in tokens:
        if kind == "quoted":
            phrase += unquote_string(text)
        else:
            text = _WHITESPACE.sub(" ", text)
            phrase += text.lstrip() if phrase.endswith(" ") else text
    return _CONTROL_CHARS.sub(" ", _decode_unparsed(phrase)).strip()
