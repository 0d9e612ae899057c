from __future__ import annotations

import codecs

import webencodings
from django.test import SimpleTestCase, tag
from hypothesis import example, given
from hypothesis import strategies as st
from webencodings.labels import LABELS

from anymail.charsets import decode_8bit, decode_text, find_charset, to_bytes, to_declared_bytes

from .properties import examples

# Text without a charset is UTF-8, if possible, unlike old pages. For the others, browsers refuse
# what mail has, or have to decide without a byte order mark.
NOT_LIKE_BROWSERS = {"ansi_x3.4-1968", "ascii", "us-ascii", "csiso2022kr", "iso-2022-kr"}
NOT_LIKE_BROWSERS |= {"hz-gb-2312", "x-user-defined"}


class FindCharsetTests(SimpleTestCase):
    @tag("exhaustive")
    def test_labels_of_browsers(self):
        singles = [bytes([byte]) for byte in range(256)]
        pairs = [one + two for one in singles for two in singles[0x20:]]
        for label in sorted(set(LABELS) - NOT_LIKE_BROWSERS):
            codec = webencodings.lookup(label).codec_info
            step = 7 if label == LABELS[label] else 701  # the others are only names for that
            with self.subTest(label):
                for sample in [*singles, *pairs[::step]]:
                    try:
                        expected, _ = codec.decode(sample)
                    except UnicodeDecodeError:
                        continue
                    if not codec.name.startswith("utf-16") or len(sample) > 1:
                        self.assertEqual(decode_text(sample, label), expected, sample)

    def test_labels_of_mail(self):
        for codec, labels in {
            "ascii": "us-ascii ANSI_X3.4-1968 iso-ir-6",
            "big5": "x-big5 cn-big5 big5_eten",
            "cp1251": "win-1251 x-cp1251 windows1251 cswindows1251",
            "cp850": "cp-850 ibm850 IBM-850",
            "cp874": "dos-874 windows-874",
            "cp932": "windows-31j ms932",
            "cp949": "ms949 x-windows-949 uhc",
            "euc_kr": "x-euc-kr ks_c_5601-1987 ksc5601",
            "gb2312": "GB_2312-80 cn-gb euc-cn",
            "gbk": "x-gbk cp936",
            "iso2022_jp": "iso-2022-jp ISO-2022-JP-MS cp50221",
            "iso8859-1": "iso88591 8859-1 latin-1 l1 Ansi_X3.110-1983",
            "iso8859-8": "iso-8859-8-i iso-8859-8-e visual",
            "koi8-u": "koi8-ru",
            "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
            "mac-latin2": "x-mac-ce",
            "mac-roman": "x-mac-roman macintosh",
            "utf-8": "utf8 utf_8 UTF-8; 'utf-8' x-utf-8 unicode-1-1-utf-8 utf8mb4 cp65001",
        }.items():
            for label in labels.split():
                with self.subTest(label):
                    self.assertEqual(find_charset(label), codec)
        self.assertEqual(find_charset("utf-8 (Unicode)"), "utf-8")

    def test_unknown(self):
        for label in (
            "", " ", "unknown-8bit", "x-unknown", "default", "x-", "idna", "punycode", "undefined",
            "hex", "zlib", "rot13", "unicode_escape", "raw-unicode-escape", "\0", "a\0b", "é",
            "aliases", "x" * 300, "iso-8859-99", "cp99999",
        ):  # fmt: skip
            with self.subTest(label):
                self.assertIsNone(find_charset(label))


class DecodeTests(SimpleTestCase):
    def test_supersets(self):
        """What is declared lacks these characters, but those who declare it don't know that."""
        for charset, codec, text in (
            ("iso-8859-1", "cp1252", "“5 €”"),
            ("iso-8859-9", "cp1254", "“5 €” ğ"),
            ("gb2312", "gb18030", "镕 朱"),
            ("gbk", "gb18030", "镕 € 㐀"),
            ("shift_jis", "cp932", "①㈱髙"),
            ("euc-kr", "cp949", "똠방각하"),
            ("ks_c_5601-1987", "cp949", "똠"),
            ("tis-620", "cp874", "ไทย…"),
            ("big5", "big5hkscs", "嘅 香港"),
            ("big5", "cp950", "€ 碁"),
            ("euc-jp", "euc_jis_2004", "①㈱"),
            ("iso-2022-jp", "iso2022_jp_ext", "ｶﾅ 日本"),
        ):
            with self.subTest(charset=charset, text=text):
                self.assertEqual(decode_text(text.encode(codec), charset), text)

    def test_characters_of_both_decoders(self):
        both = "嘅".encode("big5hkscs") + b", " + "€".encode("cp950") + "嘅 a".encode("big5hkscs")
        self.assertEqual(decode_text(both, "big5"), "嘅, €嘅 a")
        self.assertEqual(decode_text(both + b"\xff\xff.", "big5"), "嘅, €嘅 a\ufffd\ufffd.")
        both = "丂日".encode("euc_jp") + "①".encode("euc_jis_2004")
        self.assertIn("日①", decode_text(both, "euc-jp"))

    def test_iso_2022_jp_with_characters_of_vendors(self):
        def shift(text: str) -> bytes:
            return bytes(byte & 0x7F for byte in text.encode("euc_jis_2004"))

        data = b"\x1b$B%s\x1b(B a\n\x1b$@%s\x1b(J\x1b(I12\x1b(B." % (shift("日①"), shift("㈱"))
        self.assertEqual(decode_text(data, "ISO-2022-JP"), "日① a\n㈱ｱｲ.")

    def test_not_declared(self):
        for charset in (None, "", "us-ascii", "unknown-8bit", "idna"):
            for data, expected in (
                (b"abc", "abc"),
                ("Zażółć".encode(), "Zażółć"),
                (b"caf\xe9 \x80 \x93a\x94", "café € “a”"),
                (b"caf\xe9 caf\xc3\xa9", "café café"),
                (b"\x81", "\ufffd"),
            ):
                with self.subTest(charset=charset, data=data):
                    self.assertEqual(decode_text(data, charset), expected)

    def test_errors(self):
        for charset in (None, "us-ascii", "bogus", "utf-8", "big5", "iso-2022-jp", "utf-7"):
            with self.subTest(charset), self.assertRaises(UnicodeDecodeError):
                decode_text(b"\xff", charset, "strict")
            self.assertEqual(decode_text(b"a\xff", charset, "ignore"), "a")
        self.assertEqual(decode_text(b"caf\xe9", None, "replace"), "caf\ufffd")
        self.assertEqual(decode_text("é".encode(), "us-ascii", "strict"), "é")

    def test_declared_but_wrong(self):
        for charset in ("utf-8", "gb2312", "big5", "euc-jp", "iso-2022-jp", "euc-kr"):
            with self.subTest(charset):
                self.assertRegex(decode_text(b"a \xff", charset), "^a \ufffd+$")
        self.assertEqual(decode_text(b"+2AA-", "utf-7"), "\ufffd")  # half of a surrogate pair

    def test_8bit_text(self):
        self.assertEqual(decode_8bit("abc"), "abc")
        self.assertEqual(decode_8bit("é\udcc3\udca9\udce9\ud800"), "éé" + "é\ufffd")
        self.assertEqual(
            to_bytes("é\udcc3\udca9\udce9\ud800"), b"\xc3\xa9" * 2 + b"\xe9\xef\xbf\xbd"
        )

    def test_to_declared_bytes(self):
        for text, charset, expected in (
            ("abc", "iso-8859-1", (b"abc", "iso-8859-1")),
            ("é", "iso-8859-1", (b"\xe9", "iso-8859-1")),
            ("é\udce9", "iso-8859-1", (b"\xe9\xe9", "iso-8859-1")),
            ("č", "iso-8859-1", (b"\xc4\x8d", "utf-8")),
            ("č", "us-ascii", (b"\xc4\x8d", "utf-8")),
            ("č\udce9", "bogus", (b"\xc4\x8d\xe9", "bogus")),
            ("日\udc93\udcfa", "shift_jis", (b"\x93\xfa\x93\xfa", "shift_jis")),
            ("é", "utf-16", (b"\xc3\xa9", "utf-8")),
        ):
            with self.subTest(text=ascii(text), charset=charset):
                self.assertEqual(to_declared_bytes(text, charset), expected)

    @examples(500)
    @given(
        data=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
        charset=st.none() | st.sampled_from(sorted(LABELS)) | st.text(max_size=12),
    )
    @example(b"\x1b$B\xff", "iso-2022-jp")
    @example(b"+2AA-", "utf-7")
    def test_anything_is_text(self, data, charset):
        text = decode_text(data, charset)
        self.assertEqual(text, codecs.decode(text.encode(), "utf-8"))  # no surrogates
