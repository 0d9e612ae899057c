"""The class of received messages and their parts."""

from __future__ import annotations

import base64 as base64_codec
import warnings
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.errors import MultipartInvariantViolationDefect
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import EmailPolicy, Policy
from email.utils import quote
from typing import IO, TYPE_CHECKING, Any

from django.core.files.uploadedfile import SimpleUploadedFile

from .._docs import with_docs
from ..addresses import EmailAddress
from ..charsets import (
    LONE_SURROGATE,
    decode_8bit,
    decode_text,
    find_charset,
    replace_surrogates,
    to_bytes,
)
from ..exceptions import AnymailDeprecationWarning
from ..headers import angle_wrap, parse_rfc2822date
from .addresses import parse_addresses
from .contents import (
    Base64Bytes,
    Base64File,
    Contents,
    DecodedFile,
    decode_base64,
    in_pieces,
)
from .parameters import MAX_LENGTH, ParameterizedHeader, parse_parameters
from .parsing import (
    as_parsed,
    check_headers,
    parse_attached,
    parse_message,
    read_chunks,
    windows_of_chunks,
    windows_of_text,
)
from .policy import policy_for
from .structure import (
    content_id,
    explicit_disposition,
    find_bodies,
    find_files,
    implied_disposition,
    subparts,
)
from .text import base_name, single_line, unfold, valid_content_type
from .writing import join_blocks, write_bytes, write_string

if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_ATTACHMENT_NAME = "attachment"
"""Name of an uploaded file made from an attachment that has no (usable) filename."""


class _PayloadOfContents:
    """What is there in place of an attribute, in instances that don't have it."""

    def __get__(self, part: AnymailInboundMessage | None, owner: Any = None) -> Any:
        contents = None if part is None else part._contents
        return None if contents is None else contents.source()


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

    _implied_disposition: str | None = None
    """What a file is that has no Content-Disposition: "attachment" or "inline"."""

    _headers: list[tuple[str, Any]]  # of the base class
    _headers_length: int = 0  # also of those that were deleted
    # Of the base class: 8-bit text in it is in surrogate escapes. In instances without this
    # attribute, it's what _contents has.
    _payload: Any = _PayloadOfContents()
    _contents: Contents | None = None

    def __init__(self, policy: Policy[Any] | None = None) -> None:
        super().__init__(policy or policy_for(type(self)))
        self.envelope_sender = None
        self.envelope_recipient = None
        self.stripped_text = None
        self.stripped_html = None
        self.spam_detected = None
        self.spam_score = None

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_contents"}
        return {**state, "_payload": self._payload}

    def _keep(self, contents: Contents) -> None:
        """Have the payload made of that when it's asked for."""
        vars(self).pop("_payload", None)
        self._contents = contents

    def is_multipart(self) -> bool:
        """Tell whether this part has parts."""
        return isinstance(vars(self).get("_payload"), list)

    # Headers

    def set_raw(self, name: str, value: Any) -> None:
        # The email package's parsers call this with each header.
        self._check_new_header(name, value)
        super().set_raw(name, value)

    def _check_new_header(self, name: str, value: str) -> None:
        self._headers_length += len(name) + len(value)
        check_headers(len(self._headers) + 1, self._headers_length, last=max(len(name), len(value)))

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

        Display names are decoded. Groups are flattened. Addresses that exist although they are not
        valid, such as ``a..b@example.com``, are as they were sent. What can't be an address is left
        out; the header as it was sent is in ``message[header]``.
        """
        return list(parse_addresses(self._get_raw_all(header)))

    def get_date_header(self, header: str) -> datetime | None:
        """Return the date in a header: naive if it has no offset or "-0000".

        Returns None if the header is missing or can't be parsed.
        """
        values = self._get_raw_all(header)
        return parse_rfc2822date(values[0]) if values else None

    def _get_raw_all(self, header: str) -> list[str]:
        """Return the unfolded but otherwise undecoded values of a header."""
        header = header.lower()
        return [unfold(str(value)) for name, value in self.raw_items() if name.lower() == header]

    def get_content_disposition(self) -> str | None:
        """Return "attachment", "inline" or another disposition, in lower case; None if missing."""
        parsed = self._parse_parameters("Content-Disposition")
        return None if parsed is None else parsed.value.lower()

    def get_content_type(self) -> str:
        """Return the content type, in lower case: what the sender says, or the default."""
        parsed = self._parse_parameters("Content-Type")
        if parsed is None:
            return self.get_default_type()
        return parsed.value.lower() if parsed.value.count("/") == 1 else "text/plain"

    def get_filename(self, failobj: Any = None) -> Any:
        """Return the name that a file was sent with. Not safe to use as a path."""
        for header, parameter in (("Content-Disposition", "filename"), ("Content-Type", "name")):
            parsed = self._parse_parameters(header)
            name = parsed and parsed.parameters.get(parameter, "").strip()
            if name:
                return name
        return failobj

    def _parse_parameters(self, header: str) -> ParameterizedHeader | None:
        """Return the value and parameters in the first occurrence of a header."""
        header = header.lower()
        for name, value in self._headers:  # which are many, in some parts of some messages
            if name.lower() == header:
                return parse_parameters(unfold(str(value))[:MAX_LENGTH])
        return None

    def _get_params_preserve(self, failobj: Any, header: str) -> Any:
        # All methods of the base class that are about parameters call this.
        parsed = self._parse_parameters(header)
        if parsed is None:
            return failobj
        parameters = parsed.parameters.items()
        return [(parsed.value, ""), *((name, f'"{quote(value)}"') for name, value in parameters)]

    def is_attachment(self) -> bool:
        """Tell whether this part is an attachment.

        Its Content-Disposition decides: any but "inline" means yes. Without one, it is what it was
        found to be when the message was parsed. See :attr:`attachments`.
        """
        return self._get_disposition() == "attachment"

    def is_inline(self) -> bool:
        """Tell whether this part is inline, such as an image in HTML.

        See :meth:`is_attachment`, and :attr:`inlines`.
        """
        return self._get_disposition() == "inline"

    def _get_disposition(self) -> str | None:
        return explicit_disposition(self) or self._implied_disposition

    # Bodies and attachments

    @property
    def text(self) -> str | None:
        r"""The plain text body, with ``\n`` line ends. None if there is none.

        If there are pictures or files between several texts, it has them all, on lines of their
        own.
        """
        return self._get_body_text("text/plain")

    @property
    def html(self) -> str | None:
        r"""The HTML body, with ``\n`` line ends. None if there is none.

        As with text, it can be several.
        """
        return self._get_body_text("text/html")

    def _get_body_text(self, content_type: str) -> str | None:
        bodies = [part for part, found in find_bodies(self) if found == content_type]
        texts = [text for part in bodies if (text := part._get_text()) is not None]
        return "\n".join(texts) if texts else None

    def _get_text(self) -> str | None:
        """Return the text of a body, which can be what should have been a multipart."""
        if self.get_content_maintype() != "multipart":
            return self.get_content_text()
        text = decode_8bit(self._payload or "")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @property
    def attachments(self) -> list[Self]:
        """All attachments, those of attached messages included.

        They are the parts that are neither inline nor part of a body. Attached messages
        (message/rfc822) are attachments, too. Other versions of a body, signatures and delivery
        reports are only if their Content-Disposition says so.
        """
        return [part for part, disposition in find_files(self) if disposition == "attachment"]

    @property
    def inlines(self) -> list[Self]:
        """All inline parts, those of attached messages included.

        They have Content-Disposition inline, but are not part of a body; or they have none at all,
        but a Content-ID that the HTML refers to. (Any Content-ID will do if there is no HTML.)
        """
        return [part for part, disposition in find_files(self) if disposition == "inline"]

    @property
    def content_id_map(self) -> dict[str, Self]:
        """The inline parts that have a Content-ID, by that ID without its angle brackets."""
        return {content_id(part): part for part in self.inlines if "Content-ID" in part}

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
        content = self.get_payload(decode=True)
        return None if content is None else bytes(content)

    def _get_attached_bytes(self) -> bytes:
        """Serialize the message(s) in a message/* part, without this part's own headers."""
        attached = [part._as_sent() for part in subparts(self)]
        if self.get_content_type() == "message/delivery-status":
            return to_bytes(join_blocks(map(as_parsed, attached)))
        return b"".join(attached)

    def _as_sent(self) -> bytes:
        """Serialize with all headers as they came, also those that are not ASCII."""
        policy = self.policy
        if isinstance(policy, EmailPolicy):
            policy = policy.clone(utf8=True, refold_source="none")
        return self.as_bytes(policy=policy)

    def get_content_text(self, charset: str | None = None, errors: str | None = None) -> str | None:
        r"""Return the content as text with ``\n`` line ends; None if there is no payload.

        It is decoded from ``charset``, by default from the one that the part declares, as browsers
        do: "gb2312" is GB 18030, for example. If it declares none, US-ASCII, or one that nobody
        knows, it's UTF-8 where that is possible, and windows-1252 where it isn't. ``errors`` is as
        for bytes.decode, by default "replace".

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
        if charset is not None:
            text = content.decode(charset, errors or "replace")
        else:
            declared = None if maintype == "message" else self.get_content_charset()
            text = decode_text(content, declared, errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def as_uploaded_file(self) -> SimpleUploadedFile | None:
        """Return an attachment as a Django SimpleUploadedFile.

        Its name is the last component of the filename that was sent, or "attachment" if nothing
        is left of that. The content type is what the sender claims it is. Returns None for
        a part that is no file, such as a body, unless it has a Content-Disposition.
        """
        if "Content-Disposition" not in self and self._implied_disposition is None:
            return None
        if self.get_content_maintype() == "multipart":
            content: bytes | None = self._as_sent()
        else:
            content = self.get_content_bytes()
        return SimpleUploadedFile(
            base_name(self.get_filename()) or DEFAULT_ATTACHMENT_NAME,
            content,
            self.get_content_type(),
        )

    # Serializing

    def get_payload(self, i: int | None = None, decode: bool = False) -> Any:
        if decode and i is None and (content := self._decode_base64()) is not None:
            return content
        payload = self._payload
        is_text = isinstance(payload, str) and i is None and not decode
        if is_text and LONE_SURROGATE.search(payload):  # 8-bit text
            if self.get_content_maintype() == "multipart":
                # One without boundaries, which the generator fails to write if it is decoded.
                return payload
            return decode_text(to_bytes(payload), self.get_content_charset())
        try:
            return super().get_payload(i, decode)  # type: ignore[call-overload]  # i and decode
        except ValueError:  # malformed uuencode, which Python 3.10 does not always catch
            return to_bytes(payload)

    def _decode_base64(self) -> bytes | None:
        """Return the content, if it's in well-formed base64."""
        if str(self.get("Content-Transfer-Encoding", "")).lower() != "base64":
            return None
        payload = vars(self).get("_payload", self._contents)
        if isinstance(payload, str):
            return decode_base64(in_pieces(payload))
        return None if payload is None or isinstance(payload, list) else payload.decoded()

    def as_string(
        self,
        unixfrom: bool = False,
        maxheaderlen: int | None = None,
        policy: Policy[Any] | None = None,
    ) -> str:
        try:
            text = write_string(self, unixfrom, maxheaderlen, policy)
        except Exception:  # noqa: BLE001  # LookupError or CharsetError, if there is 8-bit text
            return self.as_bytes(unixfrom, policy).decode("utf-8", "replace")
        return decode_8bit(text)

    def as_bytes(self, unixfrom: bool = False, policy: Policy[Any] | None = None) -> bytes:
        """Return the message as it would be sent, as :class:`email.message.Message` does."""
        return write_bytes(self, unixfrom, policy)

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
        return parse_message(cls, windows_of_text(s))

    @classmethod
    def parse_raw_mime_bytes(cls, b: bytes | Base64Bytes) -> Self:
        """Parse a message from bytes."""
        return parse_message(cls, windows_of_chunks([b]))

    @classmethod
    def parse_raw_mime_chunks(cls, chunks: Iterable[bytes | bytearray]) -> Self:
        """Parse a message from an iterable of bytes, such as a binary file, as they come in.

        It makes no difference where the message is cut into chunks. Raises AttributeError for
        chunks of str.
        """
        return parse_message(cls, windows_of_chunks(chunks))

    @classmethod
    def parse_raw_mime_file(cls, fp: IO[bytes] | IO[str]) -> Self:
        """Parse a message from an open file, in binary or text mode."""
        return parse_message(cls, windows_of_chunks(read_chunks(fp)))

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
            message = BytesHeaderParser(cls, policy=policy_for(cls)).parsebytes(
                to_bytes(raw_headers.removeprefix("\ufeff"))
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
        html_bodies = [] if html is None else [html]
        for attachment in attachments or ():
            if "Content-Disposition" not in attachment:
                attachment._set_disposition(implied_disposition(attachment, html_bodies))
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
        encoding = find_charset(charset)
        if encoding is None:
            encoding = charset = "utf-8"
        try:
            content = text.encode(encoding)
        except UnicodeEncodeError:
            # JSON can hold halves of surrogate pairs, which no charset can.
            content = replace_surrogates(text).encode(encoding)
        self.set_param("charset", charset)
        self._set_content_bytes(content)

    def _set_content_bytes(self, content: bytes) -> None:
        """Set content as the payload, in a transfer encoding that keeps it intact."""
        if self.get_content_maintype() == "text" and content.isascii() and b"\0" not in content:
            self["Content-Transfer-Encoding"] = "7bit"
            self.set_payload(content.decode("ascii"))
        else:
            self._set_base64(DecodedFile(content))

    def _set_base64(self, contents: Contents) -> None:
        self["Content-Transfer-Encoding"] = "base64"
        self._keep(contents)

    @classmethod
    def construct_attachment(
        cls,
        content_type: str | None,
        content: str | bytes | Base64File,
        charset: str | None = None,
        filename: str | None = None,
        content_id: str | None = None,
        base64: bool = False,
        disposition: str | None = None,
    ) -> Self:
        """Build an attachment for :meth:`construct`.

        - content_type: may have parameters; application/octet-stream if there is no valid one
        - content: the attachment's bytes, or text; with ``base64``, encoded in base64
        - charset: of the content; for str content UTF-8 unless given here or in content_type
        - filename: as it was sent, except that line breaks become spaces
        - content_id: with or without angle brackets
        - disposition: "attachment" or "inline", as it was sent. If the ESP does not tell, "": then
          :meth:`construct` decides, by whether the HTML refers to the content_id. By default, the
          attachment is inline if it has a content_id (that is not None)

        The content of message/* types is parsed as a message.

        Raises ValueError for wrong padding in base64, UnicodeEncodeError for str content that
        can't be encoded in ``charset``.
        """
        filename = decode_8bit(single_line(filename or ""))
        part = cls()
        part["Content-Type"] = valid_content_type(content_type)
        if filename:
            part.set_param("name", filename)
        if charset:
            part.set_param("charset", decode_8bit(single_line(charset)))

        if disposition is None:
            disposition = "attachment" if content_id is None else "inline"
        if disposition:
            part._set_disposition("inline" if disposition.lower() == "inline" else "attachment")
        if content_id is not None:
            part["Content-ID"] = angle_wrap(single_line(content_id).strip())

        if base64 and not isinstance(content, Base64File):
            if isinstance(content, str):
                content = content.encode("ascii", "ignore")
            content = base64_codec.b64decode(content)
        maintype = part.get_content_maintype()
        if isinstance(content, Base64File):
            if maintype not in ("message", "text"):
                part._set_base64(content)
                return part
            content = content.decoded()
        if maintype == "message":
            parse_attached(part, to_bytes(content) if isinstance(content, str) else bytes(content))
        elif isinstance(content, str):
            part._set_attachment_text(content, charset)
        else:
            part._set_content_bytes(bytes(content))
        return part

    def _set_disposition(self, disposition: str) -> None:
        self["Content-Disposition"] = disposition
        if filename := self.get_filename():  # of the Content-Type
            self.set_param("filename", filename, header="Content-Disposition")

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
