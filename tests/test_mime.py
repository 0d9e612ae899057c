"""MIME of outgoing messages, read as a receiver does."""

from __future__ import annotations

import email
import email.headerregistry
import email.message
import email.policy
import re
from base64 import b64decode
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.utils import getaddresses
from quopri import decodestring
from typing import Any

from django.core.mail import EmailMessage
from django.test import SimpleTestCase
from hypothesis import example, given
from hypothesis import strategies as st

from anymail.attachments import Attachment
from anymail.exceptions import AnymailInvalidHeader
from anymail.mime import HeadersAsWritten, encoded_words, flatten, fold_addresses, fold_text

from .properties import examples

# Headers that mean something to programs, which don't decode them.
LONG_HEADERS = {
    "List-Unsubscribe": f"<https://example.com/{'u' * 90}>, <mailto:{'u' * 90}@example.com>",
    "In-Reply-To": f"<{'i' * 120}@example.com>",
    "References": " ".join(f"<{n}.{'r' * 70}@example.com>" for n in range(30)),
    "Message-ID": f"<{'m' * 200}@example.com>",
    "X-Tag": "t" * 900,
    "Feedback-ID": f"{'f' * 100}:{'g' * 100}",
    "List-Id": f"A list  of {'many' * 20}\twords <{'l' * 60}.example.com>",
    "Subject": " ".join(["word"] * 50),
}

_words = st.text("abzAZ019-_=?.,;:\"'()<>@\\/ äöß–ščžабв中文字😀é\u0301\t", min_size=1, max_size=12)
_sentences = st.lists(_words | st.sampled_from([" ", "Größe"]), min_size=5, max_size=40)
texts = _sentences.map(" ".join) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
)

GROESSE = "Größe abc def ghi jkl mno pqr stu vwx yza bcd e – neu"


# What RFC 5322 and RFC 2047 say


def read_headers(data: bytes) -> dict[str, str]:
    """Return the headers of a message, unfolded but not decoded. None may be there twice."""
    head = data.partition(b"\n\n")[0].decode("ascii") + "\n"
    for line in head.splitlines():
        assert len(line) <= 998, line
        assert line.strip(), "a line without anything but white space"
    headers: dict[str, str] = {}
    for line in re.sub(r"\n(?=[ \t])", "", head).splitlines():
        name, colon, value = line.partition(": ")
        assert colon and name not in headers, line
        headers[name] = value
    return headers


def decode(value: str) -> str:
    """Decode encoded-words. Each must be valid by itself."""
    for word in re.findall(r"=\?.*?\?=(?:\s|\Z)", value):
        assert len(word.strip()) <= 75, word
    value = re.sub(r"(=\?utf-8\?[qb]\?[^ ?]*\?=)\s+(?==\?utf-8\?[qb]\?[^ ?]*\?=)", r"\1", value)
    return re.sub(r"=\?utf-8\?([qb])\?([^ ?]*)\?=", _decode_word, value)


def _decode_word(match: re.Match[str]) -> str:
    if match[1] == "b":
        return b64decode(match[2], validate=True).decode()
    return decodestring(match[2].replace("_", " ")).decode()


def read(folded: str, name: str = "Subject") -> str:
    return read_headers(f"{name}: {folded}\n\n".encode())[name]


class TextTests(SimpleTestCase):
    @example(GROESSE)
    @example(f"{GROESSE}\u2028{GROESSE}\x85\x0b\x1c")
    @example("=?  ")
    @given(texts)
    @examples(2000)
    def test_round_trip(self, text):
        value = read(fold_text("Subject", text))
        if "=?" in text and re.fullmatch(r"[\t -~]*", text):
            # Whoever writes an encoded-word means it.
            self.assertEqual(value.strip("\t "), text.strip("\t "))
        else:
            self.assertEqual(decode(value).strip("\t "), text.strip("\t "))

    def test_white_space_at_the_ends_of_encoded_text(self):
        self.assertEqual(decode(read(fold_text("Subject", "  größe\t "))), "  größe\t ")

    def test_ascii_stays_as_it_is(self):
        for name, text in LONG_HEADERS.items():
            with self.subTest(name):
                folded = fold_text(name, text)
                self.assertEqual(read(folded, name), text)
                # Folded where that is possible
                longest = max(map(len, re.split(r"[\t ]", f"{name}:{text}")))
                self.assertLessEqual(max(map(len, folded.split("\n"))), max(78, longest + 2))

    def test_word_that_is_longer_than_a_line_may_be(self):
        for length, is_encoded in ((989, False), (990, True)):  # "Subject: " has 9.
            text = f"a b {'c' * length}"
            folded = fold_text("Subject", f"{'c' * length} a b")
            self.assertEqual("=?" in folded, is_encoded)
            self.assertEqual(decode(read(folded)), f"{'c' * length} a b")
            self.assertEqual(decode(read(fold_text("Subject", text))), text)

    def test_control_characters_are_encoded(self):
        for text in ("a\x0bb", "a\x7fb", "\x1c", "a\x85b"):
            folded = fold_text("Subject", text)
            self.assertRegex(folded, r"\A=\?utf-8\?[qb]\?\S+\?=\Z")
            self.assertEqual(decode(folded), text)

    def test_encoded_words_fit_on_lines(self):
        for name in ("Subject", "X-" + "Very-" * 10 + "Long-Name"):
            folded = fold_text(name, "Größe 中文 " * 50)
            first, *others = f"{name}: {folded}".split("\n")
            self.assertLessEqual(len(first), max(78, len(name) + 2 + 40))
            self.assertGreater(len(others), 3)
            for line in others[:-1]:
                self.assertIn(len(line), range(64, 77))

    def test_full_lines(self):
        for length, lines in ((78, 1), (79, 2)):
            text = "".ljust(length - len("Subject: ") - 4, "a") + " bcd"
            self.assertEqual(len(fold_text("Subject", text).split("\n")), lines)
        first, second, _ = fold_text("Subject", f"{'a' * 150}ä").split("\n")
        self.assertEqual((len(f"Subject: {first}"), len(second)), (78, 76))

    def test_shorter_encoding(self):
        self.assertEqual(encoded_words("Über allen"), ["=?utf-8?q?=C3=9Cber_allen?="])
        self.assertEqual(encoded_words("größe"), ["=?utf-8?b?Z3LDtsOfZQ==?="])


class AddressTests(SimpleTestCase):
    @example(["Příjmení, Křestní jméno"] * 20)
    @example([f'"{GROESSE}"', "a  b", " a", "\\", '"', "a, b <c@example.com>"])
    @given(st.lists(texts.map(lambda name: name.replace("=?", "?=")), min_size=1, max_size=5))
    @examples(1000)
    def test_round_trip(self, names):
        pairs = [(name, f"to{n}@example.com") for n, name in enumerate(names)]
        value = read(fold_addresses(pairs), "To")
        received = [(decode(name), address) for name, address in getaddresses([value])]
        self.assertEqual(received, pairs)

    def test_lines(self):
        pairs = [("A, B", "a@example.com"), ("", "b@example.com"), ("Größe " * 20, "c@example.com")]
        lines = fold_addresses(pairs).split("\n")
        self.assertEqual(lines[:2], ['"A, B" <a@example.com>,', " b@example.com,"])
        self.assertTrue(all(len(line) <= 78 for line in lines), lines)

    def test_full_lines(self):
        for length, lines in ((78, 1), (79, 2)):
            name = "a".ljust(length - len("Reply-To:  <to@example.com>,"), "a")
            folded = fold_addresses([(name, "to@example.com")])
            self.assertEqual(len(folded.split("\n")), lines)

    def test_name_that_is_longer_than_a_line_may_be(self):
        for length, is_encoded in ((988, False), (989, True)):
            folded = fold_addresses([("a" * length, "to@example.com")])
            self.assertEqual("=?" in folded, is_encoded)
            [(name, address)] = getaddresses([read(folded, "Reply-To")])
            self.assertEqual((decode(name), address), ("a" * length, "to@example.com"))

    def test_non_ascii_local_part(self):
        self.assertEqual(
            fold_addresses([("", "zoë@example.com")]), "=?utf-8?q?zo=C3=AB?=@example.com"
        )


class FlattenTests(SimpleTestCase):
    def flatten(self, mime: Any) -> bytes:
        return flatten(mime, HeadersAsWritten())

    def messages(self, **headers: str) -> list[Any]:
        """Return messages of Python's two kinds, and one as it was parsed, with the headers."""
        modern, legacy = email.message.EmailMessage(), MIMEBase("text", "plain")
        for name, value in headers.items():
            modern[name] = legacy[name] = value
        raw = "".join(f"{name}: {value}\n" for name, value in headers.items()).encode()
        parsed = [
            email.message_from_bytes(raw + b"\n", policy=policy)
            for policy in (email.policy.compat32, email.policy.default)
        ]
        return [modern, legacy, *parsed]

    def test_ascii_stays_as_it_is(self):
        for mime in self.messages(
            **{name.replace("_", "-"): v for name, v in LONG_HEADERS.items()}
        ):
            with self.subTest(type(mime), policy=mime.policy):
                received = read_headers(self.flatten(mime))
                self.assertLessEqual(LONG_HEADERS.items(), received.items())

    def test_text(self):
        for mime in self.messages(Subject=GROESSE, Comments=GROESSE):
            with self.subTest(type(mime), policy=mime.policy):
                received = read_headers(self.flatten(mime))
                self.assertEqual(decode(received["Subject"]), GROESSE)
                self.assertEqual(decode(received["Comments"]), GROESSE)

    def test_words_that_are_longer_than_a_line_may_be(self):
        for length in (989, 990):  # "X-Words: " has 9.
            for mime in self.messages(**{"X-Words": f"{'a' * length} b"}):
                with self.subTest(type(mime), policy=mime.policy, length=length):
                    data = self.flatten(mime)
                    self.assertEqual(b"=?" in data, length > 989)
                    self.assertEqual(decode(read_headers(data)["X-Words"]), f"{'a' * length} b")

    def test_addresses(self):
        names = [GROESSE + ", Inc.", "Příjmení, Jméno", "A, B" * 20]
        pairs = [(name, f"to{n}@example.com") for n, name in enumerate(names)]
        mime = email.message.EmailMessage()
        mime["To"] = [email.headerregistry.Address(name, addr_spec=spec) for name, spec in pairs]
        received = getaddresses([read_headers(self.flatten(mime))["To"]])
        self.assertEqual([(decode(name), spec) for name, spec in received], pairs)

    def test_what_is_no_plain_list_of_addresses(self):
        """What Python makes of it may not be right, but is no other header."""
        for value in (
            "undisclosed-recipients:;",
            "Us: a@example.com, b@example.com;, c@example.com",
            "zoë@example.com, a@example.com",
        ):
            mime = email.message.EmailMessage()
            mime["To"] = value
            with self.subTest(value):
                received = read_headers(self.flatten(mime))
                self.assertEqual(set(received), {"To"})
                if value.isascii():
                    self.assertEqual(decode(received["To"]), decode(value))

    def test_junk_in_attached_messages(self):
        for value in ("=?utf-8?q?a=0D=0AX-Injected:_b?= Größe <a@example.com>", "Größe <" * 50):
            for policy in (email.policy.compat32, email.policy.default):
                mime = email.message_from_bytes(f"To: {value}\n\n".encode(), policy=policy)
                with self.subTest(value, policy=policy):
                    self.assertEqual(set(read_headers(self.flatten(mime))), {"To"})

    def test_8bit_header_in_another_charset(self):
        mime = email.message_from_bytes("Subject: Größe\n\n".encode("iso-8859-1"))
        self.assertEqual(decode(read_headers(self.flatten(mime))["Subject"]), "Größe")

    def test_parameters(self):
        for filename in (
            "a" * 300,
            "a" * 1200,
            "word  x " * 40 + ".pdf",
            "Größe, 中文.pdf",
            "文" * 200,
            'a "b"; c\\d',
        ):
            modern = email.message.EmailMessage()
            modern.add_attachment(b"", "application", "pdf", filename=filename)
            legacy = MIMEMultipart()
            legacy.attach(MIMEBase("application", "pdf"))
            legacy.get_payload(0).add_header(  # type: ignore[union-attr]
                "Content-Disposition", "attachment", filename=("utf-8", "", filename)
            )
            for mime in (modern, legacy):
                with self.subTest(filename, policy=mime.policy):
                    data = self.flatten(mime)
                    self.assertLessEqual(max(map(len, data.splitlines())), 998)
                    [part] = email.message_from_bytes(
                        data, policy=email.policy.default
                    ).iter_parts()  # type: ignore[attr-defined]
                    self.assertEqual(part.get_filename(), filename)
                    self.assertEqual(part.get_content_disposition(), "attachment")

    def test_long_content_id(self):
        part = email.message.MIMEPart()
        part["Content-ID"] = f"<{'c' * 100}@example.com>"
        received = read_headers(self.flatten(part))
        self.assertEqual(received["Content-ID"], part["Content-ID"])

    def test_folded_headers_stay_as_they_are(self):
        """They may have been signed."""
        raw = b"Subject: a\n  folded\tsubject\nTo: a@example.com,\n\tb@example.com\n\nText\n"
        for policy in (email.policy.compat32, email.policy.default):
            self.assertEqual(self.flatten(email.message_from_bytes(raw, policy=policy)), raw)
        crlf = raw.replace(b"\n", b"\r\n")
        mime = email.message_from_bytes(crlf)
        self.assertEqual(flatten(mime, HeadersAsWritten(linesep="\r\n")), crlf)

    def test_folded_by_python(self):
        """It may be what was signed, if there is nothing wrong with it."""
        mime = email.message.EmailMessage()
        mime["Subject"] = "a subject of several words, " * 5 + "and an end"
        mime["Content-Type"] = f'text/plain; charset="utf-8"; name="{"n" * 40}"'
        mime["DKIM-Signature"] = f"v=1; d=example.com; bh={'b' * 44}; b={'s' * 60}"
        self.assertEqual(self.flatten(mime), mime.as_bytes())

    def test_line_breaks(self):
        for value in ("a\nX-Injected: b", "a\n\nb", "a\rb", "a\0b", "a\n"):
            for name in ("Subject", "Content-Disposition"):
                mime = email.message.EmailMessage()
                mime.set_raw(name, value)
                with self.subTest(name, value=value), self.assertRaises(AnymailInvalidHeader):
                    self.flatten(mime)

    def test_nul_in_encoded_word(self):
        mime = email.message.EmailMessage()
        mime["To"] = "=?utf-8?q?a=00b?= <a@example.com>"
        with self.assertRaises(AnymailInvalidHeader):
            self.flatten(mime)

    def test_names(self):
        for name in ("X Y", "X-Größe", "X\nY", "X:Y"):
            mime = email.message.EmailMessage()
            mime.set_raw(name, "value")
            with self.subTest(name), self.assertRaisesRegex(AnymailInvalidHeader, "name"):
                self.flatten(mime)

    def test_the_message_stays_as_it_is(self):
        [mime, *_] = self.messages(Subject=GROESSE)
        before = mime.as_bytes()
        self.flatten(mime)
        self.assertEqual(mime.as_bytes(), before)


class AttachedMessageTests(SimpleTestCase):
    """With other providers, attached messages are all the MIME that Anymail makes."""

    def test_headers(self):
        headers = {name: value for name, value in LONG_HEADERS.items() if name != "Subject"}
        attached = EmailMessage(
            GROESSE, "", "from@example.com", ["to@example.com"], headers=headers
        )
        content = Attachment(("a.eml", attached, "message/rfc822")).content_bytes
        received = read_headers(content.replace(b"\r\n", b"\n"))
        self.assertLessEqual(headers.items(), received.items())
        self.assertEqual(decode(received["Subject"]), GROESSE)
