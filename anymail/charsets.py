"""Charsets as mail names them, and text in them or in none.

Mail programs decode as browsers do (https://encoding.spec.whatwg.org): what declares a charset is
decoded as the superset of it that is in use. What declares none, or one that nobody knows, is UTF-8
where it can be, and windows-1252 where it can't.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPES = re.compile("[\udc80-\udcff]+")
_NO_SURROGATE_ESCAPE = re.compile("[\ud800-\udc7f\udd00-\udfff]")

# Names that Python doesn't know, if there is no rule for them, and what Python calls the same.
_ALIASES = {
    "ansi-x3.110-1983": "iso8859-1",
    "big5-eten": "big5",
    "cn-big5": "big5",
    "cn-gb": "gb2312",
    "eucpkdfmtjapanese": "euc-jp",
    "iso-10646-ucs-2": "utf-16",
    "iso-ir-149": "euc-kr",
    "koi": "koi8-r",
    "koi8": "koi8-r",
    "koi8-ru": "koi8-u",
    "logical": "iso8859-8",
    "mac": "mac-roman",
    "mac-ce": "mac-latin2",
    "mac-ukrainian": "mac-cyrillic",
    "sun-eu-greek": "iso8859-7",
    "ucs-2": "utf-16",
    "unicode": "utf-16",
    "unicodefeff": "utf-16",
    "unicodefffe": "utf-16-be",
    "visual": "iso8859-8",
    "windows-31j": "cp932",
}
_RULES = {
    "cp{}": r"(?:windows|win|cp|ibm|dos|ms)-?(\d+)",
    "iso8859-{}": r"(?:iso-?)?8859-?(\d\d?)(?:[-:].*|[ei])?",  # 8859-8-i, 8859-1:1987
    "latin{}": r"(?:iso-?)?latin-?(\d\d?)",
    "utf-8": r".*utf-?8.*",
    "euc-kr": r"ks-?c-?5601.*",
    "gb2312": r"gb-?2312.*",
    "iso-2022-jp": r"iso-?2022-?jp.*|cp5022\d",
}
# What bytes can be decoded from, but is not a charset.
_NOT_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}

# What to decode with, by the charset's name in Python. The second one has what the first one lacks.
_BIG5 = ("big5hkscs", "cp950")
_EUC_JP = ("euc_jp", "euc_jis_2004")
_DECODERS = {
    "big5": _BIG5,
    "big5hkscs": _BIG5,
    "cp950": _BIG5,
    "euc_jp": _EUC_JP,
    "euc_kr": ("cp949",),
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "iso2022_jp": ("iso2022_jp_ext",),
    "iso8859-1": ("cp1252",),
    "iso8859-9": ("cp1254",),
    "iso8859-11": ("cp874",),
    "shift_jis": ("cp932",),
    "tis-620": ("cp874",),
}


@lru_cache(maxsize=256)
def find_charset(label: str) -> str | None:
    """Return the charset's name in Python, or None if there is no such charset."""
    words = label.lower().replace("_", "-").split(maxsplit=1)
    label = words[0].strip("\"'") if words else ""
    while label.startswith("x-"):
        label = label[2:]
    names = [label, label.removeprefix("cs")]
    names += [_ALIASES[name] for name in names if name in _ALIASES]
    for form, rule in _RULES.items():
        if match := re.fullmatch(rule, names[1]):
            names.append(form.format(*match.groups()))
    return next(filter(None, map(_find_codec, names)), None)


def _find_codec(name: str) -> str | None:
    try:
        codec = codecs.lookup(name).name
        "a".encode(codec).decode(codec)  # some codecs are not for text
    except (LookupError, ValueError):
        return None
    return None if codec.replace("_", "-") in _NOT_CHARSETS else codec


def decode_text(data: bytes, charset: str | None, errors: str | None = None) -> str:
    """Decode text that declares this charset, or None.

    What can't be decoded is U+FFFD, unless ``errors`` says otherwise (as for bytes.decode): then,
    UnicodeDecodeError can be raised.
    """
    codec = find_charset(charset or "us-ascii")
    if codec in (None, "ascii"):
        return data.decode("utf-8", errors) if errors else _decode_unknown(data)
    decoders: tuple[str, ...] = _DECODERS.get(codec, (codec,))
    if errors:
        return data.decode(decoders[0], errors)
    text = _decode_strictly(data, decoders)
    if text is None and codec.startswith("iso2022_jp"):
        data, decoders = _as_euc_jp(data), _EUC_JP
        text = _decode_strictly(data, decoders)
    if text is None and len(decoders) > 1:
        return _decode_pairs(data, decoders)
    if text is None:
        text = data.decode(decoders[0], "replace")
    return replace_surrogates(text) if codec == "utf-7" else text


def _decode_unknown(data: bytes) -> str:
    return _SURROGATE_ESCAPES.sub(
        lambda match: match[0].encode("ascii", "surrogateescape").decode("cp1252", "replace"),
        data.decode("utf-8", "surrogateescape"),
    )


def _decode_strictly(data: bytes, decoders: tuple[str, ...]) -> str | None:
    for decoder in decoders:
        try:
            return data.decode(decoder)
        except UnicodeDecodeError:
            pass
    return None


def _decode_pairs(data: bytes, decoders: tuple[str, ...]) -> str:
    """Decode each double-byte character with whatever decoder knows it."""

    @lru_cache
    def as_utf8(pair: bytes) -> bytes:
        text = _decode_strictly(pair, decoders)
        return (pair.decode(decoders[0], "replace") if text is None else text).encode()

    pairs = re.compile(rb"[\x80-\xff][\x40-\xff]?")
    return pairs.sub(lambda match: as_utf8(match[0]), data).decode()


# Double-byte characters, half-width katakana, and what ends them: ASCII (or nearly).
_JIS = re.compile(rb"\x1b(?:\$[@B](?P<kanji>[^\x1b\n]*)|\(I(?P<kana>[^\x1b\n]*)|\([BJ])")
_AS_KANJI = bytes(byte | 0x80 if 0x20 < byte < 0x7F else byte for byte in range(256))


def _as_euc_jp(data: bytes) -> bytes:
    """Convert ISO-2022-JP, whose decoders lack characters that mail has, such as circled digits."""
    return _JIS.sub(
        lambda match: (
            (match["kanji"] or b"").translate(_AS_KANJI)
            + b"".join(b"\x8e%c" % (byte | 0x80) for byte in match["kana"] or b"")
        ),
        data,
    )


def decode_8bit(text: str) -> str:
    """Decode the bytes in text that was decoded as ASCII, with "surrogateescape"."""
    return text if text.isascii() else _decode_unknown(to_bytes(text))


def replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which no charset has, by U+FFFD."""
    return text if text.isascii() else LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def to_bytes(text: str) -> bytes:
    """Encode as UTF-8; get back the bytes that were decoded with "surrogateescape"."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        text = _NO_SURROGATE_ESCAPE.sub("\N{REPLACEMENT CHARACTER}", text)
        return text.encode("utf-8", "surrogateescape")


def to_declared_bytes(text: str, charset: str) -> tuple[bytes, str]:
    """Encode text that declares this charset; get back bytes as above.

    Returns also the charset that it is then in: UTF-8, if that one lacks some of the characters.
    """
    codec = find_charset(charset)
    if text.isascii() or codec is None:
        return to_bytes(text), charset
    try:
        if "a".encode(codec) == b"a":
            return text.encode(codec, "surrogateescape"), charset
    except UnicodeEncodeError:
        pass
    return to_bytes(text), "utf-8"
