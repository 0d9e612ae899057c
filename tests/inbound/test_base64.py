"""Base64, which does not go through the stdlib's parser."""

from __future__ import annotations

import base64
import random
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import pairwise
from unittest.mock import patch

from django.test import SimpleTestCase
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.inbound import AnymailInboundMessage
from anymail.inbound.parsing import _decode_attached_messages, _Extent

from ..properties import examples
from .harness import describe, parse

NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\n", b"\r\n", b"\r", b" \n"])
LINES = st.sampled_from(
    [b"", b"--B", b"--B--", b"--B ", b"--BA", b"--C", b"--C--", b"--", b"From x", b" AAAA", b"X: y",
     b"AAAA", b"AAA=", b"=", b"AA-A", b"AA:A", b"\xc3\xa9", b"\0", b"\xee\x80\x800",
     b"Content-Type: multipart/mixed; boundary=B", b"Content-Type: multipart/digest; boundary=C",
     b"Content-Type: multipart/mixed", b"Content-Type: message/rfc822",
     b"Content-Type: message/delivery-status", b"Content-Transfer-Encoding: base64",
     b"Content-Transfer-Encoding: 8bit"]
)  # fmt: skip
PART_STARTS = st.sampled_from(
    [[b"Content-Type: multipart/mixed; boundary=B", b"", b"--B"],
     [b"Content-Type: multipart/mixed; boundary=C", b"", b"--C"],
     [b"", b"--B", b"Content-Type: message/rfc822", b""],
     [b"--B", b"Content-Type: message/delivery-status", b""],
     [b"--B", b"Content-Type: image/png", b"Content-Transfer-Encoding: base64", b""],
     [b"--C", b"Content-Type: image/png", b"Content-Transfer-Encoding: BASE64", b""],
     [b"Content-Transfer-Encoding: base64", b""]]
)  # fmt: skip
BASE64_LINES = st.builds(
    lambda seed, length, width: [
        encoded[start : start + width]
        for encoded in [base64.b64encode(random.Random(seed).randbytes(length))]
        for start in range(0, len(encoded), width)
    ],
    seed=st.integers(0, 1000),
    length=st.integers(0, 1200),
    width=st.sampled_from([76, 76, 72, 4, 3, 1]),
)
BASE64_MESSAGES = st.lists(
    st.tuples(
        LINES.map(lambda line: [line])
        | LINES.map(lambda line: [line] * 9)
        | PART_STARTS
        | BASE64_LINES
        | BASE64_LINES,
        NEWLINES,
    ),
    max_size=10,
).map(lambda runs: b"".join(line + newline for lines, newline in runs for line in lines))


def parse_plainly(source):
    """Parse with what the stdlib has, and have attached messages decoded, as they always are."""
    policy = AnymailInboundMessage().policy
    message = BytesParser(AnymailInboundMessage, policy=policy).parsebytes(source)
    _decode_attached_messages(message, _Extent())
    return message


class Base64Tests(SimpleTestCase):
    """Base64 does not go through the stdlib's parser. It makes no difference but the time."""

    def assert_same_as_plain(self, source, *messages):
        plain = parse_plainly(source)
        expected = describe(plain)
        contents = [
            EmailMessage.get_payload(part, decode=True)
            for part in plain.walk()
            if not part.is_multipart()
        ]
        for message in messages:
            self.assertEqual(describe(message), expected)
            self.assertEqual(
                [
                    part.get_payload(decode=True)
                    for part in message.walk()
                    if not part.is_multipart()
                ],
                contents,
            )
            # Those that decoding finds
            self.assertEqual(describe(message), describe(plain))
            self.assertEqual(message.as_bytes(), plain.as_bytes())

    @examples(600)
    @example(
        source=b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n",
        changes=[],
        cuts=[],
    )
    @given(
        source=BASE64_MESSAGES,
        changes=st.lists(
            st.tuples(
                st.floats(0, 1),
                st.sampled_from([0, 0, 1, 2, 80]),
                st.sampled_from(
                    [b"", b"\n", b"\r", b"\r\n", b"\n\n", b" ", b"=", b"-", b"\xff", b"A"]
                ),
            ),
            max_size=3,
        ),
        cuts=st.lists(st.floats(0, 1), max_size=4),
    )
    def test_same_as_plain_parser(self, source, changes, cuts):
        for where, removed, added in changes:
            start = round(where * len(source))
            source = source[:start] + added + source[start + removed :]
        bounds = [0, *sorted(round(cut * len(source)) for cut in cuts), len(source)]
        chunks = [source[start:end] for start, end in pairwise(bounds)]
        self.assert_same_as_plain(
            source,
            AnymailInboundMessage.parse_raw_mime_bytes(source),
            AnymailInboundMessage.parse_raw_mime_chunks(chunks),
            AnymailInboundMessage.parse_raw_mime(source.decode("utf-8", "surrogateescape")),
        )

    def test_wherever_it_is(self):
        lines = base64.encodebytes(random.Random(1).randbytes(1000))
        multipart = b"Content-Type: multipart/mixed; boundary=B\n\n"
        for name, source in {
            "body": b"X: y\n\n%s",
            "after a header": b"X: y\n%s",
            "part": multipart + b"--B\nContent-Transfer-Encoding: base64\n\n%s--B--\n",
            "several times in parts": (
                multipart + b"--B\n\n%s\n%s--B\nX: y\n\n%s%s\n" * 12 + b"--B--\n"
            ),
            "headers of a part": multipart + b"--B\n%s--B--\n",
            "preamble": multipart + b"a\n%s--B\n\nb\n--B--\n",
            "epilogue": multipart + b"--B\n\na\n--B--\n%s",
            "after a blank line in the epilogue": multipart + b"--B\n\na\n--B--\n\n%s",
            "multipart without boundary": b"Content-Type: multipart/mixed\n\n%s",
            "multipart without parts": multipart + b"%s",
            "attached message": b"Content-Type: message/rfc822\n\nX: y\n\n%s",
            "headers of attached message": b"Content-Type: message/rfc822\n\n%s",
            "delivery report": b"Content-Type: message/delivery-status\n\nX: y\n\n%s\nX: y\n",
        }.items():
            for newline in (b"\n", b"\r\n"):
                with self.subTest(name, newline=newline):
                    message = source.replace(b"%s", lines).replace(b"\n", newline)
                    for raw in (message, message[:-1], message[:-2]):
                        self.assert_same_as_plain(
                            raw, AnymailInboundMessage.parse_raw_mime_bytes(raw)
                        )

    def test_decoding_what_is_well_formed(self):
        """It is done without the stdlib's copies."""
        for length in (0, 1, 2, 3, 1000):
            content = bytes(length)
            lines = base64.encodebytes(content)
            for encoded in (lines, lines.replace(b"\n", b"\r\n"), lines + b"\n\n", lines.strip()):
                with self.subTest(encoded=encoded[-20:]):
                    part = parse(b"Content-Transfer-Encoding: base64\n\n" + encoded)
                    with patch.object(EmailMessage, "get_payload") as in_stdlib:
                        self.assertEqual(part.get_content_bytes(), content)
                    in_stdlib.assert_not_called()

    def test_decoding_what_is_not_well_formed(self):
        for encoded in (
            b"A", b"AA", b"AAA", b"AAAA=", b"AAAA==", b"AAAA====", b"AA=", b"AA===", b"AAA==",
            b"AAAA-===", b"AAAA-=\r\n==", b"AA=A", b"AA==AAAA", b"AA=\n=", b"=", b"====", b"A===",
            b"AA AA", b"AA\x0cAA", b" AAAA", b"AAAA ", b"AAA-AAA-", b"AAAA\xc3\xa9",
        ):  # fmt: skip
            with self.subTest(encoded):
                source = b"Content-Transfer-Encoding: base64\n\n" + encoded
                self.assert_same_as_plain(source, parse(source))
