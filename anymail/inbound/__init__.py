"""Inbound messages: what an ESP received for us, as an `email.message.EmailMessage`.

Everything in an inbound message is under the control of whoever sent it. So reading one never
raises because of what is in it: malformed parts of headers, unknown charsets and broken transfer
encodings give as much as can be made of them. Only messages beyond some limits, which no real
one comes near, are refused while they are parsed: AnymailInboundLimitExceeded.
"""

from .addresses import MAX_ADDRESSES
from .message import DEFAULT_ATTACHMENT_NAME, AnymailInboundMessage
from .parsing import (
    CHUNK_SIZE,
    MAX_HEADER_LENGTH,
    MAX_HEADERS,
    MAX_HEADERS_LENGTH,
    MAX_NESTING,
    MAX_PARTS,
)
from .policy import InboundPolicy as _InboundPolicy  # noqa: F401  # in pickles of earlier releases
from .text import DEFAULT_CONTENT_TYPE

__all__ = [
    "CHUNK_SIZE",
    "DEFAULT_ATTACHMENT_NAME",
    "DEFAULT_CONTENT_TYPE",
    "MAX_ADDRESSES",
    "MAX_HEADERS",
    "MAX_HEADERS_LENGTH",
    "MAX_HEADER_LENGTH",
    "MAX_NESTING",
    "MAX_PARTS",
    "AnymailInboundMessage",
]
