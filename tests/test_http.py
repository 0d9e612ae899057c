from __future__ import annotations

import base64

import requests
from django.http import QueryDict
from django.test import RequestFactory, SimpleTestCase, override_settings
from django.utils.datastructures import MultiValueDictKeyError
from hypothesis import given
from hypothesis import strategies as st

from anymail.http import (
    DEFAULT_DOWNLOAD_CHUNK_SIZE,
    get_request_basic_auth,
    get_request_uri,
    no_netrc,
    querydict_getfirst,
)

from .properties import examples


def basic(credentials: str | bytes) -> str:
    if isinstance(credentials, str):
        credentials = credentials.encode()
    return "Basic " + base64.b64encode(credentials).decode()


class QueryDictGetFirstTests(SimpleTestCase):
    def test_first_of_several(self):
        form = QueryDict("a=1&a=2&b=3&empty=")
        self.assertEqual(querydict_getfirst(form, "a"), "1")
        self.assertEqual(form["a"], "2")  # unlike QueryDict's own
        self.assertEqual(querydict_getfirst(form, "b"), "3")
        self.assertEqual(querydict_getfirst(form, "empty"), "")

    def test_default(self):
        form = QueryDict("a=1")
        self.assertEqual(querydict_getfirst(form, "a", "default"), "1")
        self.assertEqual(querydict_getfirst(form, "x", "default"), "default")
        self.assertIsNone(querydict_getfirst(form, "x", default=None))

    def test_missing(self):
        form = QueryDict("a=1")
        with self.assertRaises(MultiValueDictKeyError) as caught:
            querydict_getfirst(form, "missing-field")
        self.assertIn("missing-field", str(caught.exception))
        with self.assertRaises(MultiValueDictKeyError) as own:
            form["missing-field"]
        self.assertEqual(str(caught.exception), str(own.exception))
        self.assertIsNone(caught.exception.__cause__)

    def test_as_a_bound_method(self):
        form = QueryDict("a=1&a=2", mutable=True)
        form.getfirst = querydict_getfirst.__get__(form)
        self.assertEqual(form.getfirst("a"), "1")
        self.assertEqual(form.getfirst("x", "default"), "default")


class BasicAuthTests(SimpleTestCase):
    def auth(self, authorization: str | None) -> str | None:
        extra = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
        return get_request_basic_auth(RequestFactory().get("/", **extra))

    def test_credentials(self):
        for credentials in ["user:password", "user:", ":password", "üser:pass:wörd", "no colon"]:
            with self.subTest(credentials=credentials):
                self.assertEqual(self.auth(basic(credentials)), credentials)

    def test_scheme_in_any_case_and_any_whitespace(self):
        encoded = basic("user:password").split()[1]
        for authorization in [f"basic {encoded}", f"BASIC   {encoded}", f" Basic\t{encoded} "]:
            with self.subTest(authorization=authorization):
                self.assertEqual(self.auth(authorization), "user:password")

    def test_anything_else_is_none(self):
        encoded = basic("user:password").split()[1]
        for authorization in [
            None,
            "",
            "Basic",
            encoded,
            f"Bearer {encoded}",
            f"Basic{encoded}",
            f"Basic {encoded} more",
            "Basic not-base64!",
            "Basic abc",  # wrong padding
            "Basic !!!!",  # nothing left after what a lenient decoder ignores
            "Basic =",
            "Basic dXNlcjpwYXNz!d29yZA==",  # good but for a character too many
            "Basic é",
            basic(b"\xff\xfe:latin-1"),
        ]:
            with self.subTest(authorization=authorization):
                self.assertIsNone(self.auth(authorization))

    @examples(300)
    @given(st.text() | st.text().map(lambda value: f"Basic {value}"))
    def test_raises_nothing(self, authorization):
        result = self.auth(authorization)
        self.assertTrue(result is None or isinstance(result, str))


class RequestUriTests(SimpleTestCase):
    def uri(self, path: str = "/path/?query=1&b=%20", **extra: str) -> str:
        return get_request_uri(RequestFactory().get(path, **extra))

    def test_without_credentials(self):
        self.assertEqual(self.uri(), "http://testserver/path/?query=1&b=%20")
        self.assertEqual(self.uri(HTTP_AUTHORIZATION="Bearer x"), self.uri())

    @override_settings(ALLOWED_HOSTS=["host.example"])
    def test_with_credentials(self):
        self.assertEqual(
            self.uri(
                HTTP_AUTHORIZATION=basic("user:pass"),
                HTTP_HOST="host.example:8443",
                **{"wsgi.url_scheme": "https"},
            ),
            "https://user:pass@host.example:8443/path/?query=1&b=%20",
        )

    @override_settings(
        ALLOWED_HOSTS=["public.example"],
        USE_X_FORWARDED_HOST=True,
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    )
    def test_honours_proxy_settings(self):
        self.assertEqual(
            self.uri(
                HTTP_AUTHORIZATION=basic("user:pass"),
                HTTP_HOST="internal.example",
                HTTP_X_FORWARDED_HOST="public.example",
                HTTP_X_FORWARDED_PROTO="https",
            ),
            "https://user:pass@public.example/path/?query=1&b=%20",
        )


class NoNetrcTests(SimpleTestCase):
    def test_no_netrc(self):
        request = requests.Request("GET", "https://api.example/").prepare()
        headers = dict(request.headers)
        self.assertIs(no_netrc(request), request)
        self.assertEqual(request.headers, headers)


class ConstantsTests(SimpleTestCase):
    def test_chunk_size(self):
        self.assertEqual(DEFAULT_DOWNLOAD_CHUNK_SIZE, 65536)
