"""How much memory it takes to receive a large message, in each format that providers send.

That is what is in use at most, as tracemalloc sees it, from when the request's body begins to be
read until the response is there, while receivers read the text, the HTML and the attachments, one
after the other. It's compared with the size of the call: the bytes of the request's body, or of
what is downloaded instead.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus

from .measure import Table, ratio
from .receiving import basic_auth, peak_memory, receiving

MESSAGE_SIZE = 25_000_000
ATTACHMENTS = 10
GOAL = 2.2

TEXT = "Hello, please find the order attached.\r\n" * 20
HTML = "<p>Hello, please find the order attached.</p>\r\n" * 20
BOUNDARY = "----boundary-7MA4YWxkTrZu0gW"
URLENCODED = "application/x-www-form-urlencoded"

MANDRILL_URL = "http://testserver/anymail/mandrill/"
SETTINGS = {
    "BREVO_API_KEY": "key",
    "MAILERSEND_INBOUND_SECRET": "key",
    "MAILGUN_WEBHOOK_SIGNING_KEY": "key",
    "MAILTRAP_API_TOKEN": "key",
    "MANDRILL_WEBHOOK_KEY": "key",
    "MANDRILL_WEBHOOK_URL": MANDRILL_URL,
    "RESEND_API_KEY": "key",
}


@dataclass
class Call:
    """A webhook call, and what can be downloaded because of it."""

    path: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    downloads: Mapping[str, bytes] = field(default_factory=dict)
    """By the end of their URLs."""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return max(len(self.body), sum(map(len, self.downloads.values())))


# -- The message, and its parts ---------------------------------------------------------------


def contents(size: int) -> list[bytes]:
    """Return the attachments of a message of that size, whose base64 has line breaks."""
    numbers = random.Random(1)
    return [numbers.randbytes(size * 57 // 78 // ATTACHMENTS) for _ in range(ATTACHMENTS)]


@cache
def raw_message(size: int) -> str:
    message = EmailMessage(policy.SMTP)
    message["From"] = "Some Customer <customer@example.org>"
    message["To"] = "shop@example.com"
    message["Subject"] = "An order"
    message.set_content(TEXT.replace("\r", ""))
    message.add_alternative(HTML.replace("\r", ""), subtype="html")
    for content in contents(size):
        message.add_attachment(content, maintype="application", subtype="pdf", filename="a.pdf")
    return message.as_string()


def multipart(fields: Mapping[str, str], files: list[bytes] | None = None) -> dict[str, Any]:
    body = io.BytesIO()
    for name, value in fields.items():
        body.write(
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (BOUNDARY.encode(), name.encode(), value.encode())
        )
    for number, content in enumerate(files or (), 1):
        body.write(
            b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.pdf"\r\n'
            b"Content-Type: application/pdf\r\n\r\n%b\r\n"
            % (BOUNDARY.encode(), (fields["files"] % number).encode(), content)
        )
    body.write(b"--%b--\r\n" % BOUNDARY.encode())
    return {
        "body": body.getvalue(),
        "content_type": f"multipart/form-data; boundary={BOUNDARY}",
    }


def urlencoded(fields: Mapping[str, str]) -> dict[str, Any]:
    body = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items())
    return {"body": body.encode(), "content_type": URLENCODED}


# -- The formats ------------------------------------------------------------------------------


def mailgun_fields(fields: Mapping[str, str]) -> dict[str, str]:
    timestamp, token = str(int(time.time())), "token"
    signature = hmac.new(b"key", (timestamp + token).encode(), hashlib.sha256).hexdigest()
    return {"timestamp": timestamp, "token": token, "signature": signature, **fields}


def mailgun_multipart(size: int) -> Call:
    fields = mailgun_fields({"body-mime": raw_message(size)})
    return Call("mailgun/inbound_mime/", **multipart(fields))


def mailgun_urlencoded(size: int) -> Call:
    fields = mailgun_fields({"body-mime": raw_message(size)})
    return Call("mailgun/inbound_mime/", **urlencoded(fields))


def mailgun_parsed(size: int) -> Call:
    fields = mailgun_fields(
        {
            "message-headers": json.dumps([["Subject", "An order"]]),
            "body-plain": TEXT,
            "body-html": HTML,
            "files": "attachment-%d",
        }
    )
    return Call("mailgun/inbound/", **multipart(fields, contents(size * 78 // 57)))


def sendgrid_raw(size: int) -> Call:
    return Call("sendgrid/inbound/", **multipart({"email": raw_message(size)}))


def sendgrid_signed(size: int) -> Call:
    from .receiving import public_key, signature_headers

    form = multipart({"email": raw_message(size)})
    return Call(
        "sendgrid/inbound/",
        **form,
        headers=signature_headers(form["body"]),
        settings={"SENDGRID_INBOUND_WEBHOOK_VERIFICATION_KEY": public_key()},
    )


def sendgrid_parsed(size: int) -> Call:
    fields = {"headers": "Subject: An order", "text": TEXT, "html": HTML, "files": "attachment%d"}
    return Call("sendgrid/inbound/", **multipart(fields, contents(size * 78 // 57)))


def as_json(data: Any) -> bytes:
    return json.dumps(data).encode()


def encoded(size: int) -> list[str]:
    return [base64.b64encode(content).decode() for content in contents(size * 78 // 76)]


def postmark_raw(size: int) -> Call:
    data = {"RawEmail": raw_message(size), "FromFull": {}}
    return Call("postmark/inbound/", as_json(data))


def postmark_parsed(size: int) -> Call:
    attachments = [
        {"Name": "a.pdf", "ContentType": "application/pdf", "Content": content}
        for content in encoded(size)
    ]
    data = {"FromFull": {}, "TextBody": TEXT, "HtmlBody": HTML, "Attachments": attachments}
    return Call("postmark/inbound/", as_json(data))


def mailjet(size: int) -> Call:
    attachments = {f"Attachment{number}": text for number, text in enumerate(encoded(size), 1)}
    parts = [
        {"ContentRef": name, "Headers": {"Content-Type": "application/pdf; name=a.pdf"}}
        for name in attachments
    ]
    data = {"Text-part": TEXT, "Html-part": HTML, "Parts": parts, **attachments}
    return Call("mailjet/inbound/", as_json(data))


def mailersend(size: int) -> Call:
    body = as_json({"type": "inbound.message", "data": {"raw": raw_message(size)}})
    signature = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    return Call("mailersend/inbound/", body, headers={"Signature": signature})


def mandrill(size: int) -> Call:
    events = json.dumps([{"event": "inbound", "msg": {"raw_msg": raw_message(size)}}])
    signed = f"{MANDRILL_URL}mandrill_events{events}".encode()
    signature = base64.b64encode(hmac.new(b"key", signed, hashlib.sha1).digest()).decode()
    return Call(
        "mandrill/",
        **urlencoded({"mandrill_events": events}),
        headers={"X-Mandrill-Signature": signature},
    )


@cache
def postal_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def postal(size: int, *, is_base64: bool = False) -> Call:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = raw_message(size)
    message = base64.b64encode(raw.encode()).decode() if is_base64 else raw
    body = as_json({"id": 1, "rcpt_to": "to@example.com", "message": message, "base64": is_base64})
    signature = base64.b64encode(postal_key().sign(body, PKCS1v15(), SHA256())).decode()
    key = postal_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Call(
        "postal/inbound/",
        body,
        headers={"X-Postal-Signature-256": signature},
        settings={"POSTAL_WEBHOOK_KEY": base64.b64encode(key).decode()},
    )


def sparkpost(size: int, *, is_base64: bool = False) -> Call:
    raw = raw_message(size)
    content = {
        "email_rfc822": base64.b64encode(raw.encode()).decode() if is_base64 else raw,
        "email_rfc822_is_base64": is_base64,
    }
    return Call("sparkpost/inbound/", as_json([{"msys": {"relay_message": {"content": content}}}]))


def brevo(size: int) -> Call:
    files = contents(size * 78 // 57)
    attachments = [
        {"Name": "a.pdf", "ContentType": "application/pdf", "DownloadToken": f"token{number}"}
        for number in range(len(files))
    ]
    item = {"RawTextBody": TEXT, "RawHtmlBody": HTML, "Attachments": attachments}
    downloads = {f"/token{number}": content for number, content in enumerate(files)}
    return Call("brevo/inbound/", as_json({"items": [item]}), downloads=downloads)


def mailtrap(size: int) -> Call:
    event = {"event": "inbound.message_received", "inbox_id": 2, "message_id": 3}
    details = as_json({"raw_message_url": "https://files.example.com/raw"})
    downloads = {"/messages/3": details, "/raw": raw_message(size).encode()}
    return Call("mailtrap/inbound/", as_json({"events": [event]}), downloads=downloads)


def resend_raw(size: int) -> Call:
    event = {"type": "email.received", "data": {"email_id": "id"}}
    details = as_json({"raw": {"download_url": "https://files.example.com/raw"}})
    downloads = {"/id": details, "/raw": raw_message(size).encode()}
    return Call("resend/inbound/", as_json(event), downloads=downloads)


def resend_parsed(size: int) -> Call:
    event = {"type": "email.received", "data": {"email_id": "id"}}
    files = {f"/file{number}": file for number, file in enumerate(contents(size * 78 // 57))}
    attachments = [
        {"filename": "a.pdf", "download_url": f"https://files.example.com{path}"} for path in files
    ]
    details = as_json({"text": TEXT, "html": HTML, "attachments": attachments})
    return Call("resend/inbound/", as_json(event), downloads={"/id": details, **files})


def amazon_ses(size: int, action: str = "SNS", **fields: Any) -> Call:
    event = {
        "notificationType": "Received",
        "mail": {},
        "receipt": {"action": {"type": action, **fields}},
    }
    if action == "SNS":
        raw = raw_message(size)
        is_base64 = fields.get("encoding") == "BASE64"
        event["content"] = base64.b64encode(raw.encode()).decode() if is_base64 else raw
    message = {"Type": "Notification", "MessageId": "1", "Message": json.dumps(event)}
    return Call(
        "amazon_ses/inbound/",
        as_json(message),
        headers={"x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": "1"},
        downloads={"/object": raw_message(size).encode()} if action == "S3" else {},
    )


def amazon_ses_s3(size: int) -> Call:
    return amazon_ses(size, "S3", bucketName="bucket", objectKey="object")


FORMATS: dict[str, Callable[[int], Call]] = {
    "Amazon SES, S3": amazon_ses_s3,
    "Brevo": brevo,
    "MailerSend": mailersend,
    "Mailgun, MIME (multipart form)": mailgun_multipart,
    "Mailgun, MIME (urlencoded form)": mailgun_urlencoded,
    "Mailgun, parsed": mailgun_parsed,
    "Mailjet": mailjet,
    "Mailtrap": mailtrap,
    "Mandrill": mandrill,
    "Postal": postal,
    "Postal, base64": lambda size: postal(size, is_base64=True),
    "Postmark, parsed": postmark_parsed,
    "Postmark, raw": postmark_raw,
    "Resend, attachments": resend_parsed,
    "Resend, raw": resend_raw,
    "SendGrid, parsed": sendgrid_parsed,
    "SendGrid, raw": sendgrid_raw,
    "SendGrid, raw, signed": sendgrid_signed,
    "SparkPost": sparkpost,
    "SparkPost, base64": lambda size: sparkpost(size, is_base64=True),
}


# -- Measuring --------------------------------------------------------------------------------


class _Arriving(io.RawIOBase):
    """What comes in through a socket: it's in memory only when it was read."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self._left), 65536)
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


@contextmanager
def downloads_of(call: Call) -> Iterator[None]:
    import requests

    from anymail.webhooks.downloads import Downloads

    def get(self: Any, url: str, headers: Any = None) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        [content] = [data for path, data in call.downloads.items() if url.endswith(path)]
        response.raw = io.BufferedReader(_Arriving(content))
        return response

    def s3_object(self: Any, bucket_name: str, object_key: str) -> Iterator[bytes]:
        downloads = Downloads("Amazon SES")
        arriving = io.BufferedReader(_Arriving(call.downloads["/object"]))
        return downloads.limit(iter(lambda: arriving.read(self.download_chunk_size), b""))

    with ExitStack() as stack:
        stack.enter_context(patch.object(Downloads, "_get", get))
        if "/object" in call.downloads:
            from anymail.webhooks.amazon_ses import AmazonSESInboundWebhookView

            view = patch.object(AmazonSESInboundWebhookView, "download_s3_object", s3_object)
            stack.enter_context(view)
        yield


def peak_of(call: Call) -> int:
    """Return the most memory that a call takes, in bytes."""
    read = []

    def receiver(event: Any, **kwargs: Any) -> None:
        message = event.message
        text, html = message.text, message.html
        assert "order" in text and "order" in html
        for attachment in message.attachments:
            content = attachment.get_content_bytes()
            read.append(len(content))

    with receiving("inbound", receiver, **SETTINGS, **call.settings), downloads_of(call):
        from django.core.handlers.wsgi import WSGIHandler

        handler = WSGIHandler()

        def handle(body: bytes) -> None:
            environ = {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": f"/{call.path}",
                "QUERY_STRING": "",
                "SERVER_NAME": "testserver",
                "SERVER_PORT": "80",
                "CONTENT_TYPE": call.content_type,
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_AUTHORIZATION": basic_auth(),
                **{f"HTTP_{k.upper().replace('-', '_')}": v for k, v in call.headers.items()},
                "wsgi.input": io.BufferedReader(_Arriving(body)),
                "wsgi.url_scheme": "http",
            }
            response = handler(environ, lambda status, headers: None)
            assert response.status_code == 200, response
            response.close()

        handle(call.body)  # Modules are imported with the first call.
        assert len(read) == ATTACHMENTS, read
        return peak_memory(lambda: handle(call.body))


def peak_ratio(name: str, size: int = MESSAGE_SIZE) -> float:
    """Return how much memory a call in a format takes, compared with its size."""
    call = FORMATS[name](size)
    return peak_of(call) / call.size


def run() -> list[Table]:
    table = Table(
        f"Memory to receive a message of {MESSAGE_SIZE / 1e6:.0f} MB, {ATTACHMENTS} attachments",
        ["", "compared with the call", "goal"],
        note="All that is in use at a time while the call is handled, its body included.",
    )
    for name in FORMATS:
        table.add(name, ratio(peak_ratio(name), 1), f"{GOAL} x")
    return [table]
