"""A stand-in for Amazon SES, its v2 API, and for Amazon SNS, which calls its webhooks.

- SendEmail: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
- SendBulkEmail: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendBulkEmail.html
- Signatures of API calls:
  https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
- Tracking: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
- Inbound: https://docs.aws.amazon.com/ses/latest/dg/receiving-email-notifications-contents.html
- SNS: https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html

SNS's own signatures are not there, since only Amazon can make them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Any

from ..addresses import EmailAddress
from .mailboxes import is_valid, parse_mailboxes, received_address
from .providers import USER_AGENT, InboundMail, Provider, WebhookTarget, as_text, clicked_link
from .store import StoredAttachment, StoredMessage, StoredRecipient, StoredTemplate, render
from .wire import ApiRequest, ApiResponse, MalformedRequest, WebhookCall

MAX_RECIPIENTS = 50
MAX_ENTRIES = 50
MAX_HEADERS = 15
MAX_LINE_LENGTH = 998
"""Without the line end: RFC 5321, section 4.5.3.1.6."""

UNVERIFIED_DOMAIN = ".invalid"
"""Sending domains that end like this are not verified. All others are."""

ACCOUNT = "123456789012"
REGION = "us-east-1"

# Anymail's word: eventType, and what the object with the details has beside what _details() adds.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sent": ("Send", {}),
    "delivered": (
        "Delivery",
        {
            "processingTimeMillis": 546,
            "smtpResponse": "250 2.0.0 OK",
            "reportingMTA": "a8-53.smtp-out.amazonses.com",
        },
    ),
    "opened": ("Open", {"ipAddress": "203.0.113.7", "userAgent": USER_AGENT}),
    "clicked": (
        "Click",
        {"ipAddress": "203.0.113.7", "userAgent": USER_AGENT, "linkTags": None},
    ),
    "bounced": (
        "Bounce",
        {
            "bounceType": "Permanent",
            "bounceSubType": "General",
            "reportingMTA": "dns; a8-53.smtp-out.amazonses.com",
        },
    ),
    "complained": ("Complaint", {"complaintSubType": None, "complaintFeedbackType": "abuse"}),
    "deferred": (
        "DeliveryDelay",
        {
            "delayType": "MailboxFull",
            "reportingMTA": "a8-53.smtp-out.amazonses.com",
        },
    ),
    "rejected": ("Reject", {"reason": "Bad content"}),
    "failed": (
        "Rendering Failure",
        {"errorMessage": "Attribute 'first' is not present in the rendering data."},
    ),
    "unsubscribed": ("Subscription", {"contactList": "sandbox"}),
    "subscribed": ("Subscription", {"contactList": "sandbox"}),
}

DETAILS = {"DeliveryDelay": "deliveryDelay", "Rendering Failure": "failure"}
"""The names of objects with details that are not the eventType in lower case."""

# Of which messages can have only one: RFC 5322, section 3.6.
SINGLE_HEADERS = ("Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "Subject")

# What is not among the headers of stored messages: it is elsewhere, or SES replaces it.
OTHER_HEADERS = frozenset(
    {
        "bcc",
        "cc",
        "content-transfer-encoding",
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "reply-to",
        "subject",
        "to",
        "x-tag",
    }
)

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key_id>[^/,\s]+)/(?P<scope>[^,\s]+), *"
    r"SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)
_HEADER_NAME = re.compile(r"[!-9;-@A-~]{1,126}")
_HEADER_VALUE = re.compile(r"[ -~]{1,995}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FOLD = re.compile(r"\r?\n(?=[ \t])")


class SESError(Exception):
    """An error as SES's API reports it."""

    def __init__(self, text: str, code: str = "BadRequestException", status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status

    def as_response(self) -> ApiResponse:
        answer = ApiResponse.json({"message": str(self)}, self.status)
        return replace(answer, headers={"x-amzn-ErrorType": self.code})


class AmazonSES(Provider):
    """SES's SendEmail with raw MIME, SendBulkEmail with templates, and SNS's notifications."""

    name = "amazon_ses"
    events = frozenset(EVENTS)
    unsupported = frozenset({"stripped_text", "track_clicks", "track_opens"})
    relaxed_settings = {"AMAZON_SES_VERIFY_SNS_SIGNATURE": False, "AMAZON_SES_SNS_TOPIC_ARNS": []}

    refusals = {
        "message": SESError("Local address contains control or whitespace").as_response(),
        "unsuitable": SESError(
            "Template welcome does not exist", "NotFoundException", 404
        ).as_response(),
        "account": SESError(
            "Sending paused for this account.", "SendingPausedException"
        ).as_response(),
        "busy": SESError(
            "Maximum sending rate exceeded.", "TooManyRequestsException", 429
        ).as_response(),
    }

    access_key_id = "AKIASANDBOX"
    secret_access_key = "sandbox-secret-access-key"  # noqa: S105 (opens nothing but the sandbox)

    def anymail_settings(self, api_url: str) -> dict[str, Any]:
        return {
            "AMAZON_SES_CLIENT_PARAMS": {
                "aws_access_key_id": self.access_key_id,
                "aws_secret_access_key": self.secret_access_key,
                "endpoint_url": api_url,
                "region_name": REGION,
            }
        }

    # -- API ----------------------------------------------------------------------------------

    def handle(self, request: ApiRequest) -> ApiResponse:
        actions = {
            "v2/email/outbound-emails": self._send_email,
            "v2/email/outbound-bulk-emails": self._send_bulk_email,
        }
        try:
            action = actions.get(request.path)
            if action is None or request.method != "POST":
                raise SESError("The sandbox has no such action", "UnknownOperationException", 404)
            self._check_signature(request)
            try:
                data = request.json()
            except MalformedRequest as err:
                raise SESError(str(err), "SerializationException") from err
            return ApiResponse.json(action(_Fields(data), request))
        except SESError as err:
            return err.as_response()

    def _check_signature(self, request: ApiRequest) -> None:
        authorization = request.headers.get("Authorization", "")
        match = _AUTHORIZATION.fullmatch(authorization.strip())
        if match is None:
            raise SESError(
                "Missing Authentication Token", "MissingAuthenticationTokenException", 403
            )
        if self.takes_any_key:
            return
        if match["key_id"] != self.access_key_id:
            raise SESError(
                "The security token included in the request is invalid.",
                "UnrecognizedClientException",
                403,
            )
        names = match["headers"].split(";")
        canonical_request = [
            request.method,
            f"/{self.name}/{request.path}",
            "",  # query
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            match["headers"],
            hashlib.sha256(request.body).hexdigest(),
        ]
        string_to_sign = [
            "AWS4-HMAC-SHA256",
            request.headers.get("X-Amz-Date", ""),
            match["scope"],
            hashlib.sha256("\n".join(canonical_request).encode()).hexdigest(),
        ]
        # The scope is date/region/service/aws4_request.
        key = f"AWS4{self.secret_access_key}".encode()
        for part in match["scope"].split("/"):
            key = _hmac_sha256(key, part)
        signature = _hmac_sha256(key, "\n".join(string_to_sign)).hex()
        if not hmac.compare_digest(signature, match["signature"]):
            raise SESError(
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method.",
                "InvalidSignatureException",
                403,
            )

    def _check_sender(self, fields: _Fields, mailboxes: list[EmailAddress]) -> EmailAddress:
        if not mailboxes:
            raise SESError("Missing required header 'From'.")
        feedback_to = _mailboxes(fields.string("FeedbackForwardingEmailAddress"))
        for mailbox in (*mailboxes, *feedback_to):
            _check_address(mailbox)
            if mailbox.domain.lower().endswith(UNVERIFIED_DOMAIN):
                raise SESError(
                    "Email address is not verified. The following identities failed the check in "
                    f"region {REGION.upper()}: {mailbox.addr_spec}",
                    "MessageRejected",
                )
        return mailboxes[0]

    # -- SendEmail ----------------------------------------------------------------------------

    def _send_email(self, fields: _Fields, request: ApiRequest) -> dict[str, Any]:
        raw = fields.object("Content").object("Raw").string("Data")
        if not raw:
            raise SESError("Content must be Raw, which is all that the sandbox takes")
        try:
            mime = _parse_mime(base64.b64decode(raw, validate=True))
        except ValueError as err:
            raise SESError("Data is not base64", "SerializationException") from err

        fields.check_tags("EmailTags")
        from_email = self._check_sender(fields, _mailboxes(mime.get("From", "")))
        addressed = [
            (kind, mailbox)
            for kind in ("to", "cc", "bcc")
            for mailbox in _mailboxes(mime.get(kind, ""))
        ]
        # Without Destination, these are the recipients. With it, they still have the names.
        mailboxes = fields.object("Destination").recipients() or addressed
        _check_recipients(mailboxes)
        names = {mailbox.addr_spec: mailbox.display_name for _kind, mailbox in addressed}
        header_to = ", ".join(str(mailbox) for kind, mailbox in addressed if kind == "to")
        subject = _decode(mime.get("Subject", ""))
        text, html, attachments, inline_images = _mime_content(mime)
        headers = [(name, _decode(value)) for name, value in mime.items()]
        message_id = _message_id()
        message = StoredMessage(
            provider=self.name,
            from_email=from_email,
            reply_to=", ".join(map(str, _mailboxes(mime.get("Reply-To", "")))),
            subject=subject,
            text=text,
            html=html,
            recipients=tuple(
                StoredRecipient(
                    kind=kind,
                    mailbox=received_address(
                        names.get(box.addr_spec) or box.display_name, box.addr_spec
                    ),
                    message_id=message_id,
                    header_to=header_to,
                    subject=subject,
                    text=text,
                    html=html,
                    **_header_fields(headers),
                )
                for kind, box in mailboxes
            ),
            attachments=attachments,
            inline_images=inline_images,
            request=request,
        )
        self.store.add([message])
        return {"MessageId": message_id}

    # -- SendBulkEmail ------------------------------------------------------------------------

    def _send_bulk_email(self, fields: _Fields, request: ApiRequest) -> dict[str, Any]:
        entries = fields.objects("BulkEmailEntries")
        if not 1 <= len(entries) <= MAX_ENTRIES:
            raise SESError(f"BulkEmailEntries must have 1 to {MAX_ENTRIES} entries")
        fields.check_tags("DefaultEmailTags")
        from_email = self._check_sender(fields, _mailboxes(fields.string("FromEmailAddress")))
        replies = [box for item in fields.strings("ReplyToAddresses") for box in _mailboxes(item)]
        for mailbox in replies:
            _check_address(mailbox)
        template = fields.object("DefaultContent").object("Template")
        template_id = template.string("TemplateName")
        if not template_id:
            raise SESError("DefaultContent must have a TemplateName")
        content = self.store.templates.get(template_id, StoredTemplate())
        defaults = template.json_object("TemplateData")

        # First all that can be wrong with the call, then what can be wrong with entries.
        results: list[dict[str, Any]] = []
        messages = []
        for entry in entries:
            mailboxes = entry.object("Destination").recipients()
            own = entry.object("ReplacementEmailContent").object("ReplacementTemplate")
            data = {**defaults, **own.json_object("ReplacementTemplateData")}
            headers = entry.headers("ReplacementHeaders")
            try:
                _check_recipients(mailboxes)
            except SESError as err:
                results.append({"Status": "INVALID_PARAMETER", "Error": str(err)})
                continue
            message_id = _message_id()
            results.append({"Status": "SUCCESS", "MessageId": message_id})
            header_to = ", ".join(str(mailbox) for kind, mailbox in mailboxes if kind == "to")
            messages.append(
                StoredMessage(
                    provider=self.name,
                    from_email=from_email,
                    reply_to=", ".join(map(str, replies)),
                    subject=content.subject,
                    text=content.text,
                    html=content.html,
                    recipients=tuple(
                        StoredRecipient(
                            kind=kind,
                            mailbox=mailbox,
                            message_id=message_id,
                            header_to=header_to,
                            subject=render(content.subject, data),
                            text=render(content.text, data),
                            html=render(content.html, data),
                            merge_data=data,
                            **_header_fields(headers),
                        )
                        for kind, mailbox in mailboxes
                    ),
                    template_id=template_id,
                    request=request,
                )
            )
        self.store.add(messages)
        return {"BulkEmailEntryResults": results}

    # -- Webhooks -----------------------------------------------------------------------------

    def tracking_webhook(
        self,
        target: WebhookTarget,
        message: StoredMessage,
        recipient: StoredRecipient,
        event: str,
    ) -> WebhookCall:
        event_type = EVENTS[event][0]
        headers = [
            ("From", str(message.from_email)),
            ("To", recipient.header_to),
            ("Subject", recipient.subject),
            *recipient.headers.items(),
            *(("X-Tag", tag) for tag in recipient.tags),
        ]
        ses_event = {
            "eventType": event_type,
            "mail": {
                "timestamp": _iso(),
                "source": message.from_email.addr_spec,
                "sourceArn": f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{message.from_email.domain}",
                "sendingAccountId": ACCOUNT,
                "messageId": recipient.message_id,
                "destination": [copy.address for copy in message.recipients],
                **_mail_headers(headers),
                "tags": {"ses:configuration-set": ["sandbox"]},
            },
            DETAILS.get(event_type, event_type.lower()): self._details(message, recipient, event),
        }
        return _sns_call(
            target.webhook_url("amazon_ses/tracking/"),
            "Amazon SES Email Event Notification",
            ses_event,
        )

    def _details(
        self, message: StoredMessage, recipient: StoredRecipient, event: str
    ) -> dict[str, Any]:
        """Return the object that is particular to a type of event."""
        address = recipient.address
        details: dict[str, Any] = dict(EVENTS[event][1])
        if event not in ("sent", "rejected", "failed"):
            details["timestamp"] = _iso()
        if event == "delivered":
            details["recipients"] = [address]
        elif event == "clicked":
            details["link"] = clicked_link(recipient)
        elif event == "bounced":
            details["feedbackId"] = _message_id()
            details["bouncedRecipients"] = [
                {
                    "emailAddress": address,
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 No such user",
                }
            ]
            if address.lower() in self.store.suppressed:
                details["bounceSubType"] = "OnAccountSuppressionList"
        elif event == "complained":
            details |= {
                "feedbackId": _message_id(),
                "complainedRecipients": [{"emailAddress": address}],
                "arrivalDate": _iso(),
                "userAgent": "Sandbox/1.0",
            }
        elif event == "deferred":
            details["expirationTime"] = _iso(hours_ahead=12)
            details["delayedRecipients"] = [
                {
                    "emailAddress": address,
                    "status": "4.2.2",
                    "diagnosticCode": "smtp; 452 4.2.2 Mailbox full",
                }
            ]
        elif event == "failed":
            details["templateName"] = message.template_id or ""
        elif event in ("unsubscribed", "subscribed"):
            details["source"] = "UnsubscribeHeader" if event == "unsubscribed" else "Contact"
            details["oldTopicPreferences"] = _topic_preferences(event == "subscribed")
            details["newTopicPreferences"] = _topic_preferences(event == "unsubscribed")
        return details

    def inbound_webhook(
        self, target: WebhookTarget, mail: InboundMail, *, raw: bool = False
    ) -> WebhookCall:
        # SES doesn't parse messages, so it's the same in any case.
        headers = [
            *mail.headers,
            ("From", str(mail.sender)),
            ("To", str(mail.recipient)),
            ("Subject", mail.subject),
        ]
        passed = {"status": "PASS"}
        ses_event = {
            "notificationType": "Received",
            "mail": {
                "timestamp": _iso(),
                "source": mail.sender.addr_spec,
                "messageId": uuid.uuid4().hex,
                "destination": [mail.recipient.addr_spec],
                **_mail_headers(headers),
            },
            "receipt": {
                "timestamp": _iso(),
                "processingTimeMillis": 222,
                "recipients": [mail.recipient.addr_spec],
                "spamVerdict": passed,
                "virusVerdict": passed,
                "spfVerdict": passed,
                "dkimVerdict": passed,
                "dmarcVerdict": passed,
                "action": {"type": "SNS", "topicArn": _TOPIC, "encoding": "BASE64"},
            },
            "content": base64.b64encode(mail.as_bytes()).decode(),
        }
        return _sns_call(
            target.webhook_url("amazon_ses/inbound/"),
            "Amazon SES Email Receipt Notification",
            ses_event,
        )


# -- API parameters -------------------------------------------------------------------------------


class _Fields:
    """A JSON object. What is missing or null is empty; what has the wrong type is a SESError."""

    def __init__(self, data: Any, name: str = "The body") -> None:
        if not isinstance(data, dict):
            raise SESError(f"{name} is not an object", "SerializationException")
        self.data: dict[str, Any] = data

    def object(self, name: str) -> _Fields:
        value = self.data.get(name)
        return _Fields({} if value is None else value, name)

    def string(self, name: str) -> str:
        value = self.data.get(name)
        return _string("" if value is None else value, name)

    def strings(self, name: str) -> list[str]:
        return [_string(item, name) for item in self._list(name)]

    def objects(self, name: str) -> list[_Fields]:
        return [_Fields(item, name) for item in self._list(name)]

    def _list(self, name: str) -> list[Any]:
        value = self.data.get(name)
        if not isinstance(value, list | None):
            raise SESError(f"{name} is not a list", "SerializationException")
        return value or []

    def json_object(self, name: str) -> dict[str, Any]:
        """Return the object in a string of JSON."""
        try:
            return _Fields(json.loads(self.string(name) or "{}"), name).data
        except (ValueError, RecursionError) as err:
            raise SESError(f"{name} is not JSON") from err

    def recipients(self) -> list[tuple[str, EmailAddress]]:
        """Return the recipients, and whether they are "to", "cc" or "bcc"."""
        return [
            (kind, mailbox)
            for kind in ("to", "cc", "bcc")
            for address in self.strings(f"{kind.capitalize()}Addresses")
            for mailbox in _mailboxes(address)
        ]

    def check_tags(self, name: str) -> None:
        """Check SES's message tags, which are not Anymail's tags."""
        for tag in self.objects(name):
            for text in (tag.string("Name"), tag.string("Value")):
                if not _TAG.fullmatch(text):
                    raise SESError(f"{name} has an invalid tag {text!r:.260}")

    def headers(self, name: str) -> list[tuple[str, str]]:
        items = [(item.string("Name"), item.string("Value")) for item in self.objects(name)]
        if len(items) > MAX_HEADERS:
            raise SESError(f"{name} has more than {MAX_HEADERS} headers")
        for header, value in items:
            if not _HEADER_NAME.fullmatch(header) or not _HEADER_VALUE.fullmatch(value):
                raise SESError(f"{name} has an invalid header {header!r:.130}")
        return [(header, _decode(value)) for header, value in items]


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise SESError(f"{name} is not a string", "SerializationException")
    return value


def _mailboxes(text: str) -> list[EmailAddress]:
    """Return the addresses in a header as it was sent, or in a parameter of the same form."""
    return [
        received_address(_decode(mailbox.display_name), mailbox.addr_spec)
        for mailbox in parse_mailboxes(_FOLD.sub("", text))
    ]


def _check_address(mailbox: EmailAddress) -> None:
    if mailbox.uses_eai:
        raise SESError("Local address contains control or whitespace")
    if not is_valid(mailbox):
        raise SESError(f"Illegal address {mailbox.addr_spec!r:.330}")


def _check_recipients(mailboxes: list[tuple[str, EmailAddress]]) -> None:
    if not mailboxes:
        raise SESError("Destination has no recipients")
    if len(mailboxes) > MAX_RECIPIENTS:
        raise SESError(f"Recipient count exceeds {MAX_RECIPIENTS}.")
    for _kind, mailbox in mailboxes:
        _check_address(mailbox)


def _header_fields(headers: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what recipients have from headers. X-Metadata and X-Tag are Anymail's own."""
    metadata: dict[str, Any] = {}
    for name, value in headers:
        if name.lower() == "x-metadata":
            try:
                metadata = dict(json.loads(value))
            except (TypeError, ValueError, RecursionError):
                metadata = {}  # not Anymail's
    return {
        "headers": {name: value for name, value in headers if name.lower() not in OTHER_HEADERS},
        "metadata": as_text(metadata),
        "tags": tuple(value for name, value in headers if name.lower() == "x-tag"),
    }


def _hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _message_id() -> str:
    return f"0100{int(time.time() * 1000):012x}-{uuid.uuid4()}-000000"


# -- MIME -----------------------------------------------------------------------------------------


def _parse_mime(data: bytes) -> Message:
    if not data.isascii():
        raise SESError("The message has bytes outside of 7-bit ASCII that are not encoded")
    if any(len(line) > MAX_LINE_LENGTH for line in data.splitlines()):
        raise SESError(f"The message has lines longer than {MAX_LINE_LENGTH} characters")
    # Python's newer policies lose what the headers looked like.
    mime = BytesParser(policy=compat32).parsebytes(data)
    for name in SINGLE_HEADERS:
        if len(mime.get_all(name, [])) > 1:
            raise SESError(f"Transaction failed: Duplicate header '{name}'.")
    return mime


def _decode(value: str) -> str:
    """Undo folding and encoded-words (RFC 2047)."""
    value = _FOLD.sub("", value)
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _mime_content(
    mime: Message,
) -> tuple[str, str, tuple[StoredAttachment, ...], tuple[StoredAttachment, ...]]:
    """Return text, HTML, attachments and inline images. Further alternatives are attachments."""
    bodies: dict[str, str] = {}
    attachments: list[StoredAttachment] = []
    inline_images: list[StoredAttachment] = []
    for part in _leaves(mime):
        content_type = part.get_content_type()
        is_file = part.get_filename() is not None or part.get_content_disposition() == "attachment"
        is_body = content_type in ("text/plain", "text/html") and not is_file
        if is_body and content_type not in bodies:
            bodies[content_type] = _text(part)
            continue
        attachment = StoredAttachment(
            filename=_decode(part.get_filename() or ""),
            content_type=_FOLD.sub("", part.get("Content-Type", content_type)),
            content=_content(part),
            content_id=part.get("Content-ID", "").strip().strip("<>"),
        )
        is_inline = attachment.content_id and part.get_content_disposition() != "attachment"
        (inline_images if is_inline else attachments).append(attachment)
    return (
        bodies.get("text/plain", ""),
        bodies.get("text/html", ""),
        tuple(attachments),
        tuple(inline_images),
    )


def _leaves(mime: Message) -> Iterator[Message]:
    """Return the parts that are not multipart. Attached messages are not looked into."""
    if mime.get_content_maintype() == "multipart" and mime.is_multipart():
        parts: Any = mime.get_payload()
        for part in parts:
            yield from _leaves(part)
    else:
        yield mime


def _content(part: Message) -> bytes:
    if part.is_multipart():  # an attached message, or several
        return part.as_bytes().partition(b"\n\n")[2]
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _content(part).replace(b"\r\n", b"\n")
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


# -- Notifications --------------------------------------------------------------------------------

_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:sandbox"


def _iso(hours_ahead: int = 0) -> str:
    when = datetime.now(timezone.utc) + timedelta(hours=hours_ahead)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _mail_headers(headers: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the part of a mail object that is about headers, which are as they were sent."""
    encoded = [
        (name, value if value.isascii() else Header(value, "utf-8", maxlinelen=10**6).encode())
        for name, value in headers
    ]
    by_name: Mapping[str, str] = {name.lower(): value for name, value in headers}
    common = {"from": [by_name["from"]], "to": [by_name["to"]], "subject": by_name["subject"]}
    return {
        "headersTruncated": False,
        "headers": [{"name": name, "value": value} for name, value in encoded],
        "commonHeaders": common,
    }


def _topic_preferences(opted_out: bool) -> dict[str, Any]:
    status = "OptOut" if opted_out else "OptIn"
    return {
        "unsubscribeAll": opted_out,
        "topicSubscriptionStatus": [{"topicName": "news", "subscriptionStatus": status}],
        "topicDefaultSubscriptionStatus": [],
    }


def _sns_call(url: str, subject: str, ses_event: Mapping[str, Any]) -> WebhookCall:
    message_id = str(uuid.uuid4())
    envelope = {
        "Type": "Notification",
        "MessageId": message_id,
        "TopicArn": _TOPIC,
        "Subject": subject,
        "Message": json.dumps(ses_event),
        "Timestamp": _iso(),
    }
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": message_id,
        "x-amz-sns-topic-arn": _TOPIC,
        "x-amz-sns-subscription-arn": f"{_TOPIC}:{uuid.UUID(int=1)}",
    }
    return WebhookCall.json(url, envelope, headers)
