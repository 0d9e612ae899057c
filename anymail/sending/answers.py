"""Answers of servers whose head is as it usually is: read without the parser for mails.

:mod:`http.client` parses headers as those of a mail. That takes more than half of the time that it
needs for an answer.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import Any

_USUAL_HEAD = re.compile(
    rb"HTTP/1\.1 (2(?!04)[0-9]{2}|[45][0-9]{2}) ([!-~](?:[ -~]*[!-~])?)\r\n"
    rb"((?:[A-Za-z0-9-]+: [!-~](?:[ -~]*[!-~])?\r\n){1,50})\r\n"
)
"""Status and reason; headers with a name, a value without white space around it, and all ASCII."""

_UNUSUAL_HEADER = re.compile(
    rb"^(?:transfer-encoding:|content-type: *(?:multipart|message)/)", re.IGNORECASE | re.MULTILINE
)
_LENGTH = re.compile(rb"^content-length: (.*)\r$", re.IGNORECASE | re.MULTILINE)


class Answer(http.client.HTTPResponse):
    """What http.client reads an answer with; it's read, and ends up, the same."""

    def begin(self, *args: Any, **kwargs: Any) -> None:
        if self.headers is None and self._method != "HEAD" and not self.debuglevel:
            self._begin_if_usual()
        super().begin(*args, **kwargs)  # which does nothing if there are headers

    def _begin_if_usual(self) -> None:
        if type(self.fp) is not io.BufferedReader:
            return
        match = _USUAL_HEAD.match(self.fp.peek(1))  # what has arrived at once, up to 8 KiB
        if match is None or _UNUSUAL_HEADER.search(match[3]):
            return
        length = _LENGTH.search(match[3])  # Of several, the first one counts.
        if length is None or not length[1].isdigit() or len(length[1]) > 18:
            return
        self.fp.read(match.end())
        self.code = self.status = int(match[1])
        self.reason = match[2].decode("ascii")
        self.version = 11
        headers = http.client.HTTPMessage()
        headers.set_payload("")
        for line in match[3].decode("ascii").splitlines():
            name, _, value = line.partition(": ")
            headers[name] = value
        self.headers = self.msg = headers
        self.chunked = False
        self.length = int(length[1])
        self.will_close = self._check_close()  # type: ignore[attr-defined]
