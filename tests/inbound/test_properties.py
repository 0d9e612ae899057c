"""What holds for all messages."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime
from io import BytesIO
from itertools import pairwise

from django.test import SimpleTestCase
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.inbound import AnymailInboundMessage

from ..properties import examples
from .harness import describe, parse

HEADER_NAMES = st.sampled_from(
    [b"From", b"To", b"Cc", b"Bcc", b"Subject", b"Date", b"Content-Type", b"Content-Disposition",
     b"Content-Transfer-Encoding", b"Content-ID", b"MIME-Version", b"X-Any"]
)  # fmt: skip
FRAGMENTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\r\n ", b"\n\n", b"\0", b"\xc3\xa9", b"\xff", b"\xe2\x80\xa8",
         b'"', b"'", b"*", b";", b"=", b"=?", b"?=", b"?q?", b"?b?", b"<", b">", b"(", b")", b"[",
         b"]", b"@", b",", b":", b"\\", b"..", b"--B", b"--B--", b"multipart/mixed; boundary=B",
         b"multipart/digest", b"message/rfc822", b"message/delivery-status", b"text/plain",
         b"text/html", b"; charset=bogus", b"; charset=idna", b"; charset=utf-16",
         b"; charset*=a'b'%FF", b"filename*0*=utf-8''%FF", b"; name=", b"attachment", b"inline",
         b"base64", b"x-uuencode", b"quoted-printable", b"begin 644 x\n", b"=?utf-8?q?=0D=0A?=",
         b"=?utf-7?q?+2AA-?=", b"=?undefined?q?x?=", b"=?unicode_escape?q?=5Cq?=",
         b"=?utf-8?b?x?=", b"a@example.com", b"Tue, 06 May 2031", b" -0000", b"9999999999",
         b"\xef\xbb\xbf", b"=?gb2312?Q?", b"=?iso-2022-jp?b?GyRC", b"=?utf-16?q?=D8", b"=C3",
         b"\x1b$B", b"\x1b(I", b"\xa3\xe1", b"'", b"utf-8''", b"*1*=%", b"*0=", b"filename=",
         b"%80", b"; charset=big5", b"; charset=iso-2022-jp", b"; charset=utf-7", b"base-64 x",
         b"U3ViamVjdDo=", b"mailto:", b"a..b@", b"Group:", b"07:08:09", b"GMT", b"+02:00",
         b"-99:99"]
    ),
)  # fmt: skip
HEADERS = st.tuples(HEADER_NAMES, st.lists(FRAGMENTS, max_size=8).map(b"".join)).map(
    lambda header: b"%s: %s\n" % header
)
ENTITIES = st.tuples(
    st.lists(HEADERS, max_size=6).map(b"".join), st.lists(FRAGMENTS, max_size=12).map(b"".join)
).map(b"\n".join)
MULTIPARTS = st.lists(ENTITIES, max_size=3).map(
    lambda entities: (
        b"Content-Type: multipart/mixed; boundary=B\n\n"
        + b"".join(b"--B\n%s\n" % entity for entity in entities)
        + b"--B--\n"
    )
)
MESSAGES = st.one_of(st.binary(max_size=200), ENTITIES, MULTIPARTS)


class PropertyTests(SimpleTestCase):
    @examples(300)
    @given(source=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=8))
    @example(source=b"Subject: a\r\n b\r\n\r\nx\r\n", cuts=[11, 17, 19, 20, 23])
    @example(source=b"Subject: \xc3\xa9\n\n\xc3\xa9", cuts=[10, 14])
    def test_result_is_independent_of_chunks(self, source, cuts):
        bounds = [0, *sorted(min(cut, len(source)) for cut in cuts), len(source)]
        chunks = [source[start:end] for start, end in pairwise(bounds)]
        self.assertEqual(b"".join(chunks), source)
        expected = describe(AnymailInboundMessage.parse_raw_mime_bytes(source))
        for variant in (chunks, [bytes([byte]) for byte in source], [source]):
            self.assertEqual(
                describe(AnymailInboundMessage.parse_raw_mime_chunks(variant)), expected
            )
        self.assertEqual(
            describe(AnymailInboundMessage.parse_raw_mime_file(BytesIO(source))), expected
        )

    @examples(100)
    @given(
        start=st.integers(0, 5),
        text=st.text(st.sampled_from("a\n\u00e9\U0001f600\udcc3\udca9\ud83d"), min_size=1),
    )
    @example(start=0, text="\udcc3\udca9\ud83d")
    def test_str_that_is_longer_than_a_chunk(self, start, text):
        body = "a" * start + text * (200_000 // len(text))
        # Bytes that were decoded as surrogates, and halves of surrogate pairs, which can't be
        expected = body.replace("\ud83d", "\ufffd").encode("utf-8", "surrogateescape")
        message = AnymailInboundMessage.parse_raw_mime(f"X: y\n\n{body}")
        self.assertEqual(message.get_content_bytes(), expected)

    def read_everything(self, message):
        """Return all text that can be got from a message. Nothing in here must raise."""
        found = [message.subject, message.text, message.html, *message.content_id_map]
        self.assertLessEqual(
            set(map(id, message.attachments + message.inlines)), set(map(id, message.walk()))
        )
        for part in message.walk():
            if part.get_content_maintype() != "multipart":
                self.assertIsInstance(part.get_content_bytes(), bytes)
                found.append(part.get_content_text())
            else:
                for read in (part.get_content_bytes, part.get_content_text):
                    with self.assertRaisesRegex(ValueError, "use as_"):
                        read()
            part.get_payload()
            found += [getattr(part, name) for name in ("text", "html", "subject")]
            for name in ("from_email", "to", "cc", "bcc", "date", "attachments", "inlines"):
                getattr(part, name)
            for name in {*part.keys(), "X-Missing"}:
                self.assertIsInstance(part.get_date_header(name), (datetime, type(None)))
                for address in part.get_address_header(name):
                    texts = [address.display_name, address.username, address.domain]
                    texts += [address.addr_spec, str(address), address.format(use_rfc2047=True)]
                    self.assertNotRegex("".join(texts), r"[\r\n\0]")
                    self.assertTrue(address.username and address.domain)
                    self.assertEqual(copy.copy(address), address)
                    found += texts
            for header in ("Content-Type", "Content-Disposition", "X-Any"):
                found += [text for pair in part.get_params([], header) for text in pair]
            found += [part.get_boundary(), part.get_content_disposition()]
            found += [part.get_content_type(), *map(str, part.values())]
            found += part.content_id_map
            self.assertLessEqual(part.is_attachment() + part.is_inline(), 1)
            found += [part.get_filename(), part.get_content_charset(), *part.values()]
            file = part.as_uploaded_file()
            if file is not None:
                self.assertNotIn(file.name, {"", ".", ".."})
                self.assertNotRegex(file.name, r"[/\\\x00-\x1f]")
                found.append(file.name)
        return [text for text in found if text is not None]

    @examples(600)
    @given(source=MESSAGES)
    @example(source=b"Content-Type: text/plain; charset=\0\n\n\x80")
    def test_nothing_raises_on_arbitrary_bytes(self, source):
        message = AnymailInboundMessage.parse_raw_mime_bytes(source)
        for text in self.read_everything(message):
            text.encode()  # no surrogates
        copy.deepcopy(message).as_bytes()
        copy.deepcopy(message).as_string().encode()
        duplicate = pickle.loads(pickle.dumps(message))
        self.assertEqual(describe(duplicate), describe(message))
        for part, copied in zip(message.walk(), duplicate.walk(), strict=True):
            self.assertEqual(copied.is_attachment(), part.is_attachment())

    @examples(300)
    @given(
        value=st.one_of(
            st.text(),
            st.lists(FRAGMENTS, max_size=8).map(
                lambda fragments: b"".join(fragments).decode("utf-8", "surrogateescape")
            ),
        ).map(lambda text: text.replace("\r", "").replace("\n", "")),
        data=st.binary(max_size=50),
    )
    @example(value="(message/rfc822\udc80", data=b"")
    @example(value="message/rfc822é", data=b"x")
    @example(value="multipart/x", data=b"")
    @example(value="message/delivery-status", data=b"\0")
    def test_nothing_raises_on_arbitrary_fields(self, value, data):
        attachments = [
            AnymailInboundMessage.construct_attachment(
                value, data, charset=value, filename=value, content_id=value
            ),
            AnymailInboundMessage.construct_attachment(f"text/plain; {value}", data),
            AnymailInboundMessage.construct_attachment("message/rfc822", data, filename=value),
            AnymailInboundMessage.construct_attachment("text/plain", value),
        ]
        message = AnymailInboundMessage.construct(
            raw_headers=value,
            from_email=value,
            to=value,
            subject=value,
            headers={"X-Any": value, "Date": value, "Content-Type": value},
            text=value,
            html=value,
            attachments=attachments,
        )
        for text in self.read_everything(message):
            text.encode()
        self.assertEqual(message.inlines, attachments[:1])
        self.assertTrue(set(map(id, attachments[1:])) <= set(map(id, message.attachments)))
        self.assertEqual(message["Content-Type"], "multipart/mixed")
        parsed = parse(message.as_bytes())
        self.assertEqual(len(list(parsed.walk())), len(list(message.walk())))

    @examples(300)
    @given(
        filename=st.text(
            st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1
        ).filter(lambda name: "=?" not in name),
        content=st.binary(),
    )
    def test_attachments_survive(self, filename, content):
        part = AnymailInboundMessage.construct_attachment(
            "application/pdf", content, filename=filename
        )
        self.assertEqual(part.get_filename(), filename)
        self.assertEqual(part.get_content_bytes(), content)
        [parsed] = parse(AnymailInboundMessage.construct(attachments=[part]).as_bytes()).attachments
        self.assertEqual(parsed.get_filename(), filename)
        self.assertEqual(parsed.get_content_bytes(), content)
