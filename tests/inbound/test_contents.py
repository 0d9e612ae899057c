"""Contents are in memory only once."""

from __future__ import annotations

import base64
import copy
import pickle

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from anymail.inbound import AnymailInboundMessage
from anymail.inbound.contents import Base64Bytes, Base64Error, Base64File

from ..properties import examples

CONTENT = bytes(range(256)) * 1200
ENCODED = base64.encodebytes(CONTENT).decode()
RAW = f"""\
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Hello
--b
Content-Type: application/pdf
Content-Disposition: attachment
Content-Transfer-Encoding: base64

{ENCODED}
--b--
"""


def made_of_each() -> dict[str, AnymailInboundMessage]:
    """Return an attachment, by what it was made of."""
    construct = AnymailInboundMessage.construct_attachment
    parsed = {
        "text": AnymailInboundMessage.parse_raw_mime(RAW),
        "8-bit text": AnymailInboundMessage.parse_raw_mime(RAW.replace("Hello", "é" * 9)),
        "bytes": AnymailInboundMessage.parse_raw_mime_bytes(RAW.encode()),
        "chunks": AnymailInboundMessage.parse_raw_mime_chunks(
            RAW.encode()[start : start + 999] for start in range(0, len(RAW), 999)
        ),
        "base64": AnymailInboundMessage.parse_raw_mime_bytes(
            Base64Bytes(base64.encodebytes(RAW.encode()).decode())
        ),
    }
    return {name: message.attachments[0] for name, message in parsed.items()} | {
        "file": construct("application/pdf", CONTENT),
        "file in base64": construct("application/pdf", Base64File(ENCODED)),
        "file in base64 on one line": construct(
            "application/pdf", Base64File(ENCODED.replace("\n", ""))
        ),
    }


class ContentsTests(SimpleTestCase):
    def test_payload_and_content(self):
        for name, part in made_of_each().items():
            with self.subTest(name):
                self.assertNotIn("_payload", vars(part))
                self.assertEqual(part.get_content_bytes(), CONTENT)
                self.assertEqual(part.get_payload().rstrip("\n"), ENCODED.rstrip("\n"))
                self.assertEqual(part.get_payload(decode=True), CONTENT)
                self.assertEqual(part.as_uploaded_file().read(), CONTENT)
                self.assertIs(part.is_multipart(), False)
                self.assertNotIn("_payload", vars(part), "It's kept")

    def test_copies_and_pickles(self):
        """They have the payload itself, as those of earlier releases do."""
        for name, part in made_of_each().items():
            with self.subTest(name):
                for other in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
                    self.assertEqual(vars(other)["_payload"], part.get_payload())
                    self.assertNotIn("_contents", vars(other))
                    self.assertEqual(other.as_bytes(), part.as_bytes())

    def test_changes(self):
        for name, part in made_of_each().items():
            with self.subTest(name):
                encoded = part.get_payload()
                part.replace_header("Content-Transfer-Encoding", "7bit")
                self.assertEqual(part.get_content_bytes(), encoded.encode())
                part.set_payload("changed")
                self.assertEqual(part.get_content_bytes(), b"changed")
                self.assertEqual(pickle.loads(pickle.dumps(part)).get_payload(), "changed")

    def test_sources_are_not_kept_for_little(self):
        """Such as a large text with a small file."""
        source = RAW.replace("Hello", "Hello!\n" * 100_000).encode()
        [attachment] = AnymailInboundMessage.parse_raw_mime_bytes(source).attachments
        pieces = vars(attachment)["_contents"]._pieces
        self.assertLess(len(ENCODED) * 2, len(source))
        self.assertLess(sum(len(getattr(piece, "of", "")) for piece in pieces), len(source) / 2)
        self.assertEqual(attachment.get_content_bytes(), CONTENT)

    @examples(300)
    @given(
        content=st.binary(max_size=80),
        width=st.integers(1, 90),
        start=st.integers(0, 90),
        stop=st.integers(0, 90),
    )
    def test_slices_of_base64(self, content, width, start, stop):
        encoded = base64.b64encode(content).decode()
        lines = [encoded[first : first + width] for first in range(0, len(encoded), width)]
        for text in ("\n".join(lines), "".join(f"{line}\n" for line in lines)):
            try:
                found = Base64Bytes(text)
            except Base64Error:
                self.assertNotEqual(width % 4, 0)
                continue
            self.assertEqual(len(found), len(content))
            self.assertEqual(found[start:stop], content[start:stop])

    def test_not_just_base64(self):
        for text in (
            *("A", "AA", "AAA", "AA=A", "AAAA-AAA", "AA==AAAA", "é", " AAAA", "====", "A==="),
            *("AAAA====", "AAA\nA", "AAAA\r\nAAAA", "AAAA\n\nAAAA", "AAAA\nAAAAAAAA\nAAAA"),
        ):
            with self.subTest(text), self.assertRaises(Base64Error):
                Base64Bytes(text)[:]
