"""Reading forms in webhook calls as they were sent, which Django's way of reading them loses.

That is fields in other charsets than the form's, and the names of uploaded files.
"""

from __future__ import annotations

import codecs
import re
import secrets
from binascii import a2b_qp
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.exceptions import TooManyFieldsSent
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from ..inbound import AnymailInboundMessage
from ..signals import AnymailEvent
from .base import AnymailBaseWebhookView
from .decoding import form_data, parse_json, parse_large_json
from .large_json import PIECE, NotLargeError

URLENCODED = "application/x-www-form-urlencoded"

NAMELESS = "file"
"""For Django, the name of an uploaded file with a name that can't be used."""

_BAD_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")
# Of parts in multipart forms
_MAX_PART_HEADERS = 1024
_NOT_PLAIN = re.compile(rb"filename|content-transfer-encoding", re.IGNORECASE)
_NAME_AS_SENT = "name_as_sent"


class _Encoded(NamedTuple):
    """The value of a field as it is in a body."""

    body: bytes
    start: int
    stop: int

    def pieces(self) -> Iterator[bytes]:
        start = self.start
        while start < self.stop:
            stop = min(start + PIECE, self.stop)
            if stop < self.stop:
                # Not within what stands for a character
                percent = self.body.find(b"%", stop - 2, stop)
                stop = percent if percent >= 0 else stop
            yield _unquote(self.body[start:stop])
            start = stop


def _unquote(value: bytes) -> bytes:
    value = value.replace(b"+", b" ")
    if _BAD_PERCENT.search(value):
        return unquote_to_bytes(value)
    # Quoted-printable is the same with another sign, and there is C code for it.
    return a2b_qp(value.replace(b"=", b"=3D").replace(b"%", b"="))


class Fields(Mapping[str, bytes]):
    """The fields of a form as bytes, the last value of each.

    They are kept as the text that is in the request's POST, too, wherever their bytes can be made
    of that again: one of them can be a whole message.
    """

    def __init__(self, charset: str) -> None:
        self.charset = charset
        self.is_utf8 = codecs.lookup(charset).name == "utf-8"
        self._kept: dict[str, str | bytes | _Encoded] = {}

    @classmethod
    def of_urlencoded(cls, body: bytes) -> Fields:
        """Return the fields of a form in UTF-8, of which long ones are decoded when they are used.

        Raises Django's TooManyFieldsSent.
        """
        limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
        if limit is not None and body.count(b"&") >= limit:
            raise TooManyFieldsSent(
                "The number of GET/POST parameters exceeded settings.DATA_UPLOAD_MAX_NUMBER_FIELDS."
            )
        fields = cls("utf-8")
        start = 0
        while start <= len(body):
            end = body.find(b"&", start)
            end = len(body) if end < 0 else end
            equals = body.find(b"=", start, end)
            name_end = end if equals < 0 else equals
            if end > start:
                name = _unquote(body[start:name_end]).decode("utf-8", "replace")
                value = _Encoded(body, min(name_end + 1, end), end)
                fields._kept[name] = value if end - name_end > PIECE else b"".join(value.pieces())
            start = end + 1
        return fields

    def add(self, name: str, raw: bytes | memoryview, text: str) -> None:
        """Add a field, and the text that it was decoded to, which POST has."""
        is_lossless = self.is_utf8 and "\N{REPLACEMENT CHARACTER}" not in text
        self._kept[name] = text if is_lossless else bytes(raw)

    def add_sent(self, name: str, value: str, sent: memoryview | None = None) -> str:
        """Add a field that was decoded as Latin-1, or is in bytes. Returns what POST is to have."""
        if sent is None and self.is_utf8 and value.isascii():
            self._kept[name] = value  # without copies
            return value
        raw = value.encode("latin-1") if sent is None else sent
        text = str(raw, self.charset, "replace")
        self.add(name, raw, text)
        return text

    def __getitem__(self, name: str) -> bytes:
        return b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a field, a long one's piece by piece. Raises KeyError."""
        value = self._kept[name]
        if isinstance(value, _Encoded):
            yield from value.pieces()
        else:
            yield value.encode() if isinstance(value, str) else value

    def is_given(self, name: str) -> bool:
        """Tell whether there is a field that isn't empty."""
        value = self._kept.get(name)
        return isinstance(value, _Encoded) or bool(value)

    def text(self, name: str) -> str | None:
        """Return the text of a field, None if it's missing."""
        return "".join(self.text_pieces(name)) if name in self else None

    def text_pieces(self, name: str) -> Iterator[str]:
        """Yield the text of a field, a long one's piece by piece. Raises KeyError."""
        if not isinstance(self._kept[name], _Encoded):
            yield self[name].decode(self.charset, "replace")
            return
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in self.pieces(name):
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    def parse_json(self, name: str, what: str) -> Any:
        """Parse the JSON in a field. Raises what the function does."""
        if isinstance(self._kept[name], _Encoded):
            with suppress(NotLargeError):
                return parse_large_json((text.encode() for text in self.text_pieces(name)), what)
        return parse_json(self.text(name) or "", what)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def parse_message(self, name: str) -> AnymailInboundMessage:
        """Parse the raw MIME in a field, which can be in any charset."""
        value = self._kept[name]
        if isinstance(value, str):
            return AnymailInboundMessage.parse_raw_mime(value)
        return AnymailInboundMessage.parse_raw_mime_chunks(self.pieces(name))


def read_form(request: HttpRequest, esp_name: str) -> Fields:
    """Return the fields of a form.

    Must be called before anything looks at the request's POST or FILES, which can then be used as
    ever, and can be called again. Uploaded files are not read into memory. If something, such as a
    middleware, was earlier, the bytes are those of what Django has decoded.

    Raises AnymailWebhookValidationFailure.
    """
    form: Fields | None = getattr(request, "_anymail_form", None)
    if form is None:
        form = _read_form(request, esp_name)
        request._anymail_form = form  # type: ignore[attr-defined]
    return form


def _read_form(request: HttpRequest, esp_name: str) -> Fields:
    if request.content_type == URLENCODED and (request.encoding or "utf-8").lower() == "utf-8":
        # Django, which takes many times the memory, does it when POST is looked at.
        return Fields.of_urlencoded(request.body)
    handler = _FormAsSent(request)
    # Without it if something has already looked at the form
    with suppress(AttributeError):
        request.upload_handlers = [handler, *request.upload_handlers]
    form = form_data(request, esp_name)
    if handler.fields is not None:
        return handler.fields
    encoding = request.encoding or settings.DEFAULT_CHARSET
    fields = Fields(encoding)
    for name in form:
        text = str(form[name])
        fields.add(name, text.encode(encoding, "replace"), text)
    return fields


def is_as_sent(request: HttpRequest) -> bool:
    """Tell whether read_form() got at what was sent, before anything else read the form."""
    return request.content_type == URLENCODED or any(
        isinstance(handler, _FormAsSent) for handler in request.upload_handlers
    )


@dataclass(frozen=True, repr=False)  # for content not to be in errors
class Upload:
    """An uploaded file. What was not sent is None."""

    field: str
    filename: str | None
    """As it was sent, slashes and all."""
    content_type: str | None
    charset: str | None
    content: bytes


def read_uploads(request: HttpRequest, form: Fields, fields: re.Pattern[str]) -> Iterator[Upload]:
    """Yield the files in the fields whose name matches, "attachment2" before "attachment10".

    ``form`` is that of read_form(): Django takes files without a name for ordinary fields.
    """
    files: MultiValueDict[str, Any] = MultiValueDict()
    if request.content_type != URLENCODED:
        files = request.FILES
    names = {name for name in (*files, *form) if fields.fullmatch(name)}
    for name in sorted(names, key=lambda name: (len(name), name)):
        for file in files.getlist(name):
            charset: Any = file.charset  # bytes
            yield Upload(
                field=name,
                filename=getattr(file, _NAME_AS_SENT, file.name),
                content_type=file.content_type,
                charset=charset.decode("ascii", "replace") if charset else None,
                content=file.read(),
            )
        if name in form:
            yield Upload(name, None, None, None, form[name])


@dataclass(frozen=True, repr=False)  # for content not to be in errors
class Form:
    """A form that can be kept without the request that it was in."""

    fields: Fields
    """As read_form() returns them."""
    charset: str
    """What text is in, if its sender doesn't say otherwise."""
    is_as_sent: bool
    """Whether nothing else had read the form, and the bytes are those that were sent."""
    uploads: list[Upload]

    @classmethod
    def read(cls, request: HttpRequest, esp_name: str, upload_fields: re.Pattern[str]) -> Form:
        """Return the form in a request. Raises AnymailWebhookValidationFailure."""
        fields = read_form(request, esp_name)
        return cls(
            fields=fields,
            charset=request.encoding or settings.DEFAULT_CHARSET,
            is_as_sent=is_as_sent(request),
            uploads=list(read_uploads(request, fields, upload_fields)),
        )

    def text(self, name: str) -> str | None:
        """Return the text of a field, None if it's missing."""
        return self.fields.text(name)


class InboundFormView(AnymailBaseWebhookView):
    """Receives messages in forms. As their ``esp_event``, events have the request."""

    def parse_events(self, request: HttpRequest) -> list[AnymailEvent]:
        return [self.esp_to_anymail_event(request)]

    def esp_to_anymail_event(self, request: HttpRequest) -> AnymailEvent:
        """Return the normalized event.

        Raises AnymailWebhookValidationFailure if there is no well-formed message.
        """
        [form] = self.decode(request)
        [event] = self.convert(form)
        event.esp_event = request
        return event


class _FormAsSent(FileUploadHandler):
    """Has Django parse a multipart form, and keeps the bytes of its fields."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.fields: Fields | None = None
        self.upload_handlers = list(request.upload_handlers)

    def handle_raw_input(
        self,
        input_data: Any,
        meta: Any,
        content_length: Any,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict[str, Any]]:
        encoding = encoding or settings.DEFAULT_CHARSET
        body = getattr(self.request, "_body", None)
        long_fields = _LongFields(body or b"", boundary)
        if body is not None and _is_within_limit(body):
            input_data = long_fields
        parser = _AsSentParser(meta, input_data, self.upload_handlers, encoding)
        raw_form, files = parser.parse()
        self.fields = Fields(encoding)
        form = QueryDict(mutable=True, encoding=encoding)
        for name, values in raw_form.lists():
            for value in values:
                form.appendlist(name, self.fields.add_sent(name, value, long_fields.get(value)))
        form._mutable = False
        return form, files


def _is_within_limit(body: bytes) -> bool:
    """Tell whether Django would take a form whatever of it is fields."""
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return limit is None or len(body) <= limit


class _LongFields:
    """The body of a multipart form without its long fields, and what is in their place.

    It's a stream for Django's parser, which would make copies of a field.
    """

    def __init__(self, body: bytes, boundary: bytes) -> None:
        self._body = body
        self._found: dict[str, slice] = {}
        # Nobody can have sent that.
        self._mark = f"long {secrets.token_hex(8)} "
        self._left = self._cut(b"--" + boundary)

    def _cut(self, delimiter: bytes) -> Iterator[bytes]:
        start, end = 0, self._body.find(delimiter)
        while end >= 0:
            next_start = end + len(delimiter)
            next_end = self._body.find(delimiter, next_start)
            value = self._long_value(next_start, next_end)
            if value is not None:
                mark = f"{self._mark}{len(self._found)}"
                self._found[mark] = value
                yield from self._pieces(start, value.start)
                yield mark.encode()
                start = value.stop
            end = next_end
        yield from self._pieces(start, len(self._body))

    def _long_value(self, start: int, end: int) -> slice | None:
        """Return where a part has a long value, if it's one that is sent as it is."""
        headers = self._body[start : start + _MAX_PART_HEADERS].partition(b"\r\n\r\n")
        value_start = start + len(headers[0]) + 4
        if end - value_start <= PIECE or not headers[1] or _NOT_PLAIN.search(headers[0]):
            return None
        # As Django does it, a line break belongs to the delimiter.
        end -= self._body[end - 1 : end] == b"\n"
        end -= self._body[end - 1 : end] == b"\r"
        return slice(value_start, end)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        for piece in range(start, end, PIECE):
            yield self._body[piece : min(piece + PIECE, end)]

    def read(self, size: int) -> bytes:
        return next(self._left, b"")

    def get(self, value: str) -> memoryview | None:
        """Return the bytes of a field, if that was a long one."""
        found = self._found.get(value)
        return None if found is None else memoryview(self._body)[found]


class _AsSentParser(MultiPartParser):
    """Decodes fields as Latin-1, which can be undone for any charset; file names as usual.

    Files also get the name that they were sent with.
    """

    def __init__(self, meta: Any, input_data: Any, upload_handlers: Any, encoding: str) -> None:
        super().__init__(meta, input_data, upload_handlers, "latin-1")
        self.filename_encoding = encoding
        self.filename = ""

    def sanitize_file_name(self, file_name: str) -> str:
        self.filename = file_name.encode("latin-1").decode(self.filename_encoding, "replace")
        # Django would drop a file whose name can't be used.
        return super().sanitize_file_name(self.filename) or NAMELESS

    def handle_file_complete(self, old_field_name: str, counters: Any) -> None:
        super().handle_file_complete(old_field_name, counters)
        # The name is still this file's. (A handler of the project can have declined the file.)
        files = self._files.getlist(old_field_name)  # type: ignore[attr-defined]
        if files and not hasattr(files[-1], _NAME_AS_SENT):
            setattr(files[-1], _NAME_AS_SENT, self.filename)
