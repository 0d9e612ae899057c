"""What arrives, and what is made of a server's trouble, is the same with asyncio as without."""

from __future__ import annotations

from typing import Any

from django.test import tag

from ..backends import test_over_http as without_asyncio
from ..backends.cases import CASES
from .loops import InLoop, LoopTestCase


class LoopOverHttpTestCase(LoopTestCase, without_asyncio.OverHttpTestCase):
    def make_backend(self, *args: Any, **options: Any) -> Any:
        return InLoop(self, super().make_backend(*args, **options), concurrency=1)


for _case in CASES.values():
    if _case.is_http and "api_url" in _case.options:
        _name = "".join(map(str.capitalize, _case.name.split("_"))) + "OverHttpTests"
        _attrs = {"case": _case, "__module__": __name__}
        _bases = (without_asyncio.OverHttpContract, LoopOverHttpTestCase)
        _class = type(_name, _bases, _attrs)
        globals()[_name] = _class if _case.name == "postmark" else tag("exhaustive")(_class)


class JsonBytesTests(LoopOverHttpTestCase, without_asyncio.JsonBytesTests):
    """JSON, with every kind of text."""


class MailgunBytesTests(LoopOverHttpTestCase, without_asyncio.MailgunBytesTests):
    """Forms, and multipart."""
