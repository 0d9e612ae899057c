"""What is a body, what an attachment, what is inline: in messages as programs really make them."""

from __future__ import annotations

from itertools import count
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from anymail.inbound import AnymailInboundMessage

from ..properties import examples
from .harness import parse

# A part of a message is (Content-Type, *more headers, content), where the content is either text
# or the list of the parts in it.
TEXT = ("text/plain", "Text")
HTML = ("text/html", "<p>HTML")
ALTERNATIVE = ("multipart/alternative", [TEXT, HTML])
SHOWS_A = ("text/html", '<img src="cid:a@example.org">')
PDF = ("application/pdf; name=x.pdf", "%PDF")


def disposition(value: str) -> str:
    return f"Content-Disposition: {value}"


BOUNDARIES = count()


def mime(part: Any) -> str:
    """Return the source of a part."""
    content_type, *headers, content = part
    if isinstance(content, list):
        boundary = f"b{next(BOUNDARIES)}"
        content_type += f"; boundary={boundary}"
        parts = [f"--{boundary}\n{mime(child)}\n" for child in content]
        content = "".join(parts) + f"--{boundary}--"
    return "\n".join([f"Content-Type: {content_type}", *headers, "", content])


def summary(message: AnymailInboundMessage) -> tuple[Any, ...]:
    """Return text, html, and the names (or types) of attachments and inline parts."""
    return (
        message.text and message.text.strip(),
        message.html and message.html.strip(),
        *(
            [part.get_filename() or part.get_content_type() for part in parts]
            for parts in (message.attachments, message.inlines)
        ),
    )


# What kind of message it is, the message, its text, html, attachments and inlines
CASES: list[tuple[str, Any, str | None, str | None, list[str], list[str]]] = [
    (
        "Gmail: all attachments have a Content-ID",
        (
            "multipart/mixed",
            [
                ("multipart/related", [
                    ("multipart/alternative", [TEXT, ("text/html", '<img src="cid:ii_1">')]),
                    ("image/png; name=p.png", disposition("inline; filename=p.png"),
                     "Content-ID: <ii_1>", "X-Attachment-Id: ii_1", "PNG"),
                ]),
                ("application/pdf; name=x.pdf", disposition("attachment; filename=x.pdf"),
                 "Content-ID: <f_1>", "X-Attachment-Id: f_1", "%PDF"),
            ],
        ),
        "Text", '<img src="cid:ii_1">', ["x.pdf"], ["p.png"],
    ),
    (
        "the same without dispositions",
        (
            "multipart/mixed",
            [
                ("multipart/related", [
                    ("multipart/alternative", [TEXT, ("text/html", '<img src="CID:ii_1">')]),
                    ("image/png; name=p.png", "Content-ID: <ii_1>", "PNG"),
                ]),
                ("application/pdf; name=x.pdf", "Content-ID: <f_1>", "%PDF"),
            ],
        ),
        "Text", '<img src="CID:ii_1">', ["x.pdf"], ["p.png"],
    ),
    (
        "Apple Mail: text, picture, text",
        (
            "multipart/mixed",
            [
                ("text/plain; charset=us-ascii", "Before\n"),
                ("image/jpeg; name=a.jpg; x-unix-mode=0666", disposition("inline; filename=a.jpg"),
                 "JPEG"),
                ("text/plain; charset=us-ascii", "\nBetween\n"),
                ("text/plain; name=n.txt", disposition("attachment; filename=n.txt"), "notes"),
                ("text/plain; charset=us-ascii", "\nAfter"),
            ],
        ),
        "Before\n\n\nBetween\n\n\nAfter", None, ["n.txt"], ["a.jpg"],
    ),
    (
        "Apple Mail: the same as HTML, with an alternative as text",
        (
            "multipart/alternative",
            [
                TEXT,
                ("multipart/mixed", [
                    ("text/html", "<p>Before"),
                    ("application/pdf", disposition("inline; filename=x.pdf"), "%PDF"),
                    ("text/html", "<p>After"),
                ]),
            ],
        ),
        "Text", "<p>Before\n<p>After", [], ["x.pdf"],
    ),
    (
        "Outlook: images have a Content-ID only",
        (
            "multipart/mixed",
            [
                ("multipart/related; type=\"multipart/alternative\"", [
                    ("multipart/alternative", [
                        TEXT, ("text/html", '<v:imagedata src="cid:image001.png@01DA.5E30"/>')]),
                    ('image/png; name="image001.png"', "Content-Description: image001.png",
                     "Content-ID: <image001.png@01DA.5E30>", "PNG"),
                ]),
                PDF,
            ],
        ),
        "Text", '<v:imagedata src="cid:image001.png@01DA.5E30"/>', ["x.pdf"], ["image001.png"],
    ),
    (
        "Exchange: bodies have a Content-ID, too; and an invitation",
        (
            "multipart/alternative",
            [
                ("text/plain", "Content-ID: <1@prod.exchangelabs.com>", "Text"),
                ("text/html", "Content-ID: <2@prod.exchangelabs.com>", "<p>HTML"),
                ("text/calendar; charset=utf-8; method=REQUEST", "BEGIN:VCALENDAR"),
            ],
        ),
        "Text", "<p>HTML", [], [],
    ),
    (
        "Thunderbird: a forwarded message, and a signature",
        (
            "multipart/signed; protocol=\"application/pgp-signature\"",
            [
                ("multipart/mixed", [
                    TEXT,
                    ("message/rfc822; charset=UTF-8; name=\"Hi.eml\"",
                     disposition('attachment; filename="Hi.eml"'), mime(("multipart/mixed", [
                         ("text/plain", "forwarded"), PDF]))),
                    ("application/pgp-keys; name=key.asc",
                     disposition("attachment; filename=key.asc"), "KEY"),
                ]),
                ("application/pgp-signature; name=signature.asc", "SIGNATURE"),
            ],
        ),
        "Text", None, ["Hi.eml", "x.pdf", "key.asc"], [],
    ),
    (
        "S/MIME with a signature that is called an attachment",
        (
            "multipart/signed",
            [ALTERNATIVE, ("application/pkcs7-signature; name=smime.p7s",
                           disposition("attachment; filename=smime.p7s"), "SIGNATURE")],
        ),
        "Text", "<p>HTML", ["smime.p7s"], [],
    ),
    (
        "a shop: files without disposition, and with made-up ones",
        (
            "multipart/mixed",
            [
                ALTERNATIVE,
                ("application/pdf; name=\"invoice.pdf\"", "%PDF"),
                ("application/pdf", disposition('file; filename="2.pdf"'), "%PDF"),
                ("application/pdf; name=3.pdf", disposition("*"), "%PDF"),
                ("application/pdf", disposition('"attachment"; filename="4.pdf"'), "%PDF"),
                ("application/pdf", disposition('filename="5.pdf"'), "%PDF"),
                ("application/pdf; name=6.pdf", disposition(""), "%PDF"),
                ("text/plain; name=terms.txt", "Terms"),
                ("text/html; name=terms.html", "Terms"),
                ("text/csv", "a,b"),
                ("message/rfc822", "Subject: original\n\nOriginal"),
            ],
        ),
        "Text", "<p>HTML",
        ["invoice.pdf", "2.pdf", "3.pdf", "4.pdf", "5.pdf", "6.pdf", "terms.txt", "terms.html",
         "text/csv", "message/rfc822"],
        [],
    ),
    (
        "a picture that is not shown, and one that nobody could refer to",
        (
            "multipart/related",
            [SHOWS_A,
             ("image/png; name=a.png", "Content-ID: <a@example.org>", "PNG"),
             ("image/png; name=b.png", "Content-ID: <b@example.org>", "PNG"),
             ("image/png; name=c.png", "Content-ID: <>", "PNG"),
             ("image/png; name=d.png", "PNG")],
        ),
        None, SHOWS_A[1], ["b.png", "c.png", "d.png"], ["a.png"],
    ),
    (
        "references that are escaped, or in CSS",
        (
            "multipart/related",
            [("text/html", "<a style='background: url(cid:a%40b)'><img src=cid:c&amp;d@e>"),
             ("image/png; name=a.png", "Content-ID: <a@b>", "PNG"),
             ("image/png; name=b.png", "Content-ID: <c&d@e>", "PNG")],
        ),
        None, "<a style='background: url(cid:a%40b)'><img src=cid:c&amp;d@e>",
        [], ["a.png", "b.png"],
    ),
    (
        "a Content-ID, and no HTML",
        ("multipart/mixed",
         [TEXT, ("image/png; name=a.png", "Content-ID: <a@example.org>", "PNG"), PDF]),
        "Text", None, ["x.pdf"], ["a.png"],
    ),
    (
        "dispositions that say otherwise than the HTML",
        (
            "multipart/related",
            [SHOWS_A,
             ("image/png; name=a.png", disposition("attachment"), "Content-ID: <a@example.org>",
              "PNG"),
             ("image/png; name=b.png", disposition("inline"), "Content-ID: <b@example.org>",
              "PNG")],
        ),
        None, SHOWS_A[1], ["a.png"], ["b.png"],
    ),
    (
        "text and HTML and what it shows, all in one",
        ("multipart/related",
         [TEXT, SHOWS_A, ("image/png", "Content-ID: <a@example.org>", "PNG"),
          ("text/html", "Content-ID: <frame@example.org>", "<p>Frame")]),
        "Text", SHOWS_A[1], ["text/html"], ["image/png"],
    ),
    (
        "Lotus Notes: everything is inline",
        ("multipart/related",
         [("text/html", disposition("inline"), SHOWS_A[1]),
          ("image/gif", disposition("inline; filename=a.gif"), "Content-ID: <a@example.org>",
           "GIF"),
          ("text/css; name=a.css", disposition("inline"), "Content-ID: <b@example.org>", "CSS"),
          ("text/html", disposition("inline"), "Content-ID: <c@example.org>", "<p>Frame")]),
        None, SHOWS_A[1], [], ["a.gif", "a.css", "text/html"],
    ),
    (
        "a mailing list's footer",
        ("multipart/mixed", [ALTERNATIVE, ("text/plain", disposition("inline"), "Footer")]),
        "Text\nFooter", "<p>HTML", [], [],
    ),
    (
        "a bounce",
        (
            "multipart/report; report-type=delivery-status",
            [
                TEXT,
                ("message/delivery-status", "Reporting-MTA: dns; a\n\nFinal-Recipient: rfc822; b"),
                ("message/rfc822", mime(("multipart/mixed", [HTML, PDF]))),
            ],
        ),
        "Text", None, ["message/rfc822", "x.pdf"], [],
    ),
    (
        "a bounce with headers only",
        (
            "multipart/report; report-type=delivery-status",
            [ALTERNATIVE, ("message/delivery-status", "A: b"),
             ("text/rfc822-headers", "Subject: x")],
        ),
        "Text", "<p>HTML", [], [],
    ),
    (
        "alternatives: the first of each type, and files that don't belong there",
        (
            "multipart/alternative",
            [TEXT, ("text/plain", "Other text"),
             ("multipart/related", [SHOWS_A, ("image/gif", "Content-ID: <a@example.org>", "GIF")]),
             ("text/html", "<p>Other HTML"), ("text/x-amp-html", "<p>AMP"), PDF],
        ),
        "Text", SHOWS_A[1], ["x.pdf"], ["image/gif"],
    ),
    (
        "an attached multipart: no text of the message's own",
        ("multipart/mixed", [("multipart/mixed", disposition("attachment"), [HTML, PDF]), TEXT]),
        "Text", None, ["text/html", "x.pdf"], [],
    ),
    ("a scanner: nothing but a file", PDF, None, None, ["x.pdf"], []),
    ("a text with a file's name, but nothing else", ("text/plain; name=a.txt", "Text"),
     "Text", None, [], []),
    ("a digest", ("multipart/digest", [("message/rfc822", "Subject: a\n\nb")]),
     None, None, ["message/rfc822"], []),
    ("a multipart without boundaries", ("multipart/mixed", "Text"), "Text", None, [], []),
    ("one of these with nothing in it", ("multipart/mixed", " \n"), None, None, [], []),
    ("encrypted", ("multipart/encrypted", [
        ("application/pgp-encrypted", "Version: 1"),
        ("application/octet-stream; name=encrypted.asc", "PGP")]),
     None, None, ["application/pgp-encrypted", "encrypted.asc"], []),
]  # fmt: skip


class StructureTests(SimpleTestCase):
    def test_messages_of_all_kinds(self):
        for name, tree, *expected in CASES:
            with self.subTest(name):
                message = AnymailInboundMessage.parse_raw_mime(mime(tree))
                self.assertEqual(list(summary(message)), expected)
                self.assert_parts_agree(message)
                # In another message, it is as much.
                forwarded = ("multipart/mixed", [("message/rfc822", mime(tree))])
                attached = parse(mime(forwarded)).get_payload(0)
                self.assertEqual(list(summary(attached.get_payload(0))), expected)
                text, html, [_itself, *attachments], inlines = summary(attached)
                self.assertEqual([text, html, attachments, inlines], expected)

    def assert_parts_agree(self, message: AnymailInboundMessage) -> None:
        """Each file knows what it is, on its own, too."""
        for part in message.attachments:
            self.assertEqual((part.is_attachment(), part.is_inline()), (True, False))
        for part in message.inlines:
            self.assertEqual((part.is_attachment(), part.is_inline()), (False, True))
            if part["Content-ID"]:
                self.assertIn(str(part["Content-ID"]).strip("<>"), message.content_id_map)
        for part in (*message.attachments, *message.inlines):
            self.assertEqual(part.as_uploaded_file().read(), part.get_content_bytes())

    def test_constructed_from_fields(self):
        """The same rule as for parsed messages."""

        def attachment(content_id: str | None, disposition: str | None) -> Any:
            return AnymailInboundMessage.construct_attachment(
                "image/png", b"", filename="ž.png", content_id=content_id, disposition=disposition
            )

        for html, content_id, disposition_, expected in (
            (SHOWS_A[1], "a@example.org", "", "inline"),
            (SHOWS_A[1], "b@example.org", "", "attachment"),
            (SHOWS_A[1], None, "", "attachment"),
            (None, "a@example.org", "", "inline"),
            (None, "", "", "attachment"),
            (SHOWS_A[1], "b@example.org", "inline", "inline"),
            (SHOWS_A[1], "a@example.org", "Attachment", "attachment"),
            (SHOWS_A[1], "a@example.org", "file", "attachment"),
            (None, None, "inline", "inline"),
            # Without a disposition, as in earlier releases
            (SHOWS_A[1], "b@example.org", None, "inline"),
            (None, None, None, "attachment"),
        ):
            with self.subTest(html=html, content_id=content_id, disposition=disposition_):
                part = attachment(content_id, disposition_)
                message = AnymailInboundMessage.construct(html=html, attachments=[part])
                parts = {"attachment": message.attachments, "inline": message.inlines}
                self.assertEqual(parts.pop(expected), [part])
                self.assertEqual(list(parts.values()), [[]])
                self.assertEqual(part.get_content_disposition(), expected)
                self.assertEqual(part.get_filename(), "ž.png")
                parent = message.get_payload(0) if expected == "inline" else message
                self.assertIs(parent.get_payload()[1], part)

    @examples(300)
    @given(st.data())
    def test_every_leaf_is_in_one_place(self, data):
        """No leaf is lost, and none is there twice."""
        tree = ("multipart/mixed", [data.draw(TREES)])
        message = parse(mime(number_leaves(tree)))
        self.assert_parts_agree(message)
        files = [*map(id, message.attachments), *map(id, message.inlines)]
        self.assertEqual(len(files), len(set(files)))
        self.assertEqual(summary(parse(message.as_bytes())), summary(message))
        self.check_leaves(message, message, [], set(files))

    def check_leaves(self, part: Any, message: Any, containers: list[str], files: set[int]) -> None:
        if part.get_content_maintype() == "multipart":
            containers = [*containers, part.get_content_subtype()]
            for child in part.get_payload():
                self.check_leaves(child, message, containers, files)
            return
        if part.get_content_type() == "message/rfc822":
            [attached] = part.get_payload()
            self.check_leaves(attached, attached, [], files)
        said = part.get_content_disposition()
        bodies = f"{message.text}\n{message.html}\n"
        number = f"[{part['X-Leaf']}]"
        places = [
            id(part) in files,
            number in bodies,
            "alternative" in containers
            and part.get_content_type() in ("text/plain", "text/html")
            and said != "attachment",
            containers[-1:] == ["alternative"]
            and part.get_content_maintype() == "text"
            and not said,
            part.get_content_type() == "application/pgp-signature" and not said,
            containers[-1:] == ["report"] and part.get_content_type() == "message/delivery-status",
        ]
        if places[0] or places[1]:
            self.assertNotEqual(places[0], places[1], number)
        self.assertTrue(any(places), number)
        if said == "attachment":
            self.assertTrue(part.is_attachment() and id(part) in files)
        if said == "inline" and part.get_content_maintype() != "text":
            self.assertTrue(part.is_inline() and id(part) in files)


LEAVES = st.tuples(
    st.sampled_from(
        ["text/plain", "text/html", "text/plain; name=a.txt", "text/calendar", "image/png",
         "application/pdf; name=a.pdf", "application/pgp-signature", "message/delivery-status"]
    ),
    st.sampled_from(
        ["X-No: disposition", disposition("inline"), disposition("attachment"), disposition("*"),
         disposition("inline; filename=b")]
    ),
    st.sampled_from(["X-No: id", "Content-ID: <a@example.org>", "Content-ID: <b@example.org>"]),
)  # fmt: skip


def _containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    multiparts = st.tuples(
        st.sampled_from(
            [f"multipart/{subtype}" for subtype in
             ("mixed", "related", "alternative", "report", "signed", "unknown")]
        ),
        st.lists(parts, min_size=1, max_size=4),
    )  # fmt: skip
    return multiparts | st.tuples(st.just("message/rfc822"), parts)


TREES = st.recursive(LEAVES, _containers, max_leaves=12)


def number_leaves(tree: Any, numbers: Any = None) -> Any:
    """Return the tree for mime(), with each leaf's number in a header, and in its text."""
    numbers = numbers or count()
    match tree:
        case (content_type, list() as parts):
            return (content_type, [number_leaves(part, numbers) for part in parts])
        case ("message/rfc822", part):
            number = next(numbers)
            return ("message/rfc822", f"X-Leaf: {number}", mime(number_leaves(part, numbers)))
    number = next(numbers)
    return (*tree, f"X-Leaf: {number}", f"Text: [{number}] <img src='cid:a@example.org'>")
