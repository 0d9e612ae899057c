from __future__ import annotations

from django.test import SimpleTestCase
from requests.structures import CaseInsensitiveDict

from anymail.sandbox.mailboxes import (
    has_valid_domain,
    is_valid,
    parse_mailboxes,
    received_address,
)
from anymail.sandbox.store import render
from anymail.sandbox.wire import ApiRequest, MalformedRequest, UploadedFile

from .cases import multipart


def request_with(body: bytes, content_type: str) -> ApiRequest:
    headers = CaseInsensitiveDict({"Content-Type": content_type})
    return ApiRequest("POST", "", headers=headers, body=body)


MULTIPART = "multipart/form-data; boundary=limit"


class FormTests(SimpleTestCase):
    def test_url_encoded(self):
        form = request_with(
            b"a=1&a=2&empty=&v%3Aname=%C5%BDofie+N", "application/x-www-form-urlencoded"
        ).form()
        self.assertEqual(
            form.fields, [("a", "1"), ("a", "2"), ("empty", ""), ("v:name", "Žofie N")]
        )
        self.assertEqual(form.get("a"), "1")
        self.assertEqual(form.get_list("a"), ["1", "2"])
        self.assertIsNone(form.get("missing"))
        self.assertEqual(form.with_prefix("v:"), {"name": "Žofie N"})

    def test_many_fields(self):
        body = "&".join(f"to=u{n}@example.com" for n in range(5000)).encode()
        form = request_with(body, "application/x-www-form-urlencoded; charset=utf-8").form()
        self.assertEqual(len(form.get_list("to")), 5000)

    def test_multipart(self):
        disposition = (
            'Content-Disposition: form-data; name="attachment"; filename="účet %22a%22; b.csv"'
        )
        content = bytes(range(256)) + b"\r\n\r\n--limi\r\n"
        body = multipart(
            ('Content-Disposition: form-data; name="subject"', "Účet\r\n2".encode()),
            (f'{disposition}\r\nContent-Type: text/csv; charset="iso-8859-2"', content),
            ('Content-Disposition: form-data; name="attachment"; filename="x"', b""),
        )
        form = request_with(body, MULTIPART).form()
        self.assertEqual(form.fields, [("subject", "Účet\r\n2")])
        self.assertEqual(
            form.files,
            [
                UploadedFile(
                    "attachment", 'účet "a"; b.csv', 'text/csv; charset="iso-8859-2"', content
                ),
                UploadedFile("attachment", "x", "application/octet-stream", b""),
            ],
        )

    def test_rfc2231_file_name_is_not_understood(self):
        body = multipart(("Content-Disposition: form-data; name=a; filename*=utf-8''x.txt", b"1"))
        form = request_with(body, MULTIPART).form()
        self.assertEqual((form.fields, form.files), ([("a", "1")], []))

    def test_preamble_is_ignored(self):
        body = b"preamble\r\n" + multipart(('Content-Disposition: form-data; name="a"', b"1"))
        self.assertEqual(request_with(body, MULTIPART).form().fields, [("a", "1")])

    def test_malformed(self):
        disposition = 'Content-Disposition: form-data; name="a"'
        complete = multipart((disposition, b"1"))
        cases = {
            "no boundary": (complete, "multipart/form-data"),
            "other boundary": (complete, "multipart/form-data; boundary=other"),
            "not terminated": (complete.removesuffix(b"--\r\n"), MULTIPART),
            "cut off": (complete.removesuffix(b"--limit--\r\n"), MULTIPART),
            "cut off after the boundary": (complete.removesuffix(b"--\r\n") + b"\r\n", MULTIPART),
            "empty": (b"", MULTIPART),
            "no name": (multipart(("Content-Disposition: form-data", b"1")), MULTIPART),
            "no disposition": (multipart(("Content-Type: text/plain", b"1")), MULTIPART),
            "no header": (b"--limit\r\n1\r\n--limit--", MULTIPART),
            "not UTF-8": (multipart((disposition, b"\xe9")), MULTIPART),
            "URL-encoded, not UTF-8": (b"a=%E9", "application/x-www-form-urlencoded"),
            "JSON": (b"{}", "application/json"),
            "no type": (b"a=1", ""),
        }
        for what, (body, content_type) in cases.items():
            with self.subTest(what), self.assertRaises(MalformedRequest):
                request_with(body, content_type).form()

    def test_malformed_json(self):
        for body in (b"", b"{", b'"\xe9"', b"[" * 100_000):
            with self.subTest(body[:9]), self.assertRaises(MalformedRequest):
                request_with(body, "application/json").json()

    def test_basic_auth(self):
        cases = {
            "Basic YXBpOmE6Yg==": ("api", "a:b"),
            "basic YXBpOg==": ("api", ""),
            "Basic YXBp": ("api", ""),
            "Basic !": None,
            "Basic 6Q==": None,  # not UTF-8
            "Bearer YXBpOmE=": None,
            "": None,
        }
        for header, expected in cases.items():
            with self.subTest(header):
                request = ApiRequest(
                    "GET", "", headers=CaseInsensitiveDict({"authorization": header})
                )
                self.assertEqual(request.basic_auth, expected)


class MailboxTests(SimpleTestCase):
    def test_parse(self):
        cases = {
            "": [],
            " , ": [],
            "a@example.com": [("", "a@example.com")],
            "<a@example.com>": [("", "a@example.com")],
            "Ann A. <a@example.com>,b@example.com": [
                ("Ann A.", "a@example.com"),
                ("", "b@example.com"),
            ],
            r'"Ann \"A\", \\ <x@y>" <a@example.com>': [(r'Ann "A", \ <x@y>', "a@example.com")],
            "Žofie N <zofie@example.com>": [("Žofie N", "zofie@example.com")],
            "no address": [("", "no address")],
            "a@example.com; b@example.com": [("", "a@example.com; b@example.com")],
            "Ann <a@example.com": [("", "Ann <a@example.com")],
            "<a@example.com> b@example.com": [("", "<a@example.com> b@example.com")],
            "a@b\0": [("", "a@b ")],
        }
        for text, expected in cases.items():
            with self.subTest(text):
                mailboxes = parse_mailboxes(text)
                found = [(mailbox.display_name, mailbox.addr_spec) for mailbox in mailboxes]
                self.assertEqual(found, expected)

    def test_str_can_be_parsed(self):
        for name in ("", r'A "B", \ C', "Ann"):
            mailbox = received_address(name, "a@example.com")
            self.assertEqual(parse_mailboxes(str(mailbox)), [mailbox])

    def test_is_valid(self):
        valid = ["a@b", "a.b+c@example.com", '"a b"@example.com', "a@xn--hj-mia.example"]
        valid += ["žofie@example.com", "a@a-b.example"]
        invalid = ["", "a", "@b", "a@", "a@b@c", "a b@c", "a@b c", "a@háj.example", "a@-b"]
        invalid += ["a@b.", "a@b..c", "a@b\n", "a,b@c", "<a@b"]
        for addr_spec in valid:
            with self.subTest(addr_spec):
                self.assertTrue(is_valid(received_address("", addr_spec)))
        for addr_spec in invalid:
            with self.subTest(addr_spec):
                self.assertFalse(is_valid(received_address("", addr_spec)))
        self.assertTrue(has_valid_domain(received_address("", "a b,c@d")))
        self.assertFalse(has_valid_domain(received_address("", "@d")))
        self.assertFalse(has_valid_domain(received_address("", "a@d c")))


class RenderTests(SimpleTestCase):
    def test_render(self):
        data = {"name": "Ann <&>", "n": 2, "a.b": "c"}
        self.assertEqual(
            render("{{name}} {{ n }} {{{name}}} {{a.b}} {{missing}}| {{ two words }}", data),
            "Ann <&> 2 Ann <&> c | {{ two words }}",
        )
