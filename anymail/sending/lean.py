"""Calls with a requests Session, without what nothing asks for.

:meth:`requests.Session.request` reads the environment, parses the URL, merges headers and hooks,
and looks through cookies, for each call anew. What is here makes the same request of the same
arguments, and gives it to the same adapter:

- What depends only on the URL or the environment is kept for as long as these are the same.
- What a session does not have (cookies, hooks) is left out.
- Where there is something that isn't known here, requests' own methods are called: a subclass of
  Session, a method that has been replaced (as tools for tests and for tracing do), an argument that
  backends don't have.

Requests that are made of data need no connection: who makes calls in another way than requests can
have them from :func:`prepare` and :func:`environment`, unless :func:`is_intercepted`.
"""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from types import FunctionType
from typing import Any, NamedTuple

import requests
import urllib3
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.exceptions import InvalidHeader
from requests.hooks import dispatch_hook
from requests.sessions import merge_setting
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity, get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ..http import no_netrc, no_redirect
from .connections import SharedConnectionsAdapter, has_cookies, is_plain

_Params = Mapping[str, Any]
"""Arguments of ``Session.request``, by name."""

_OWN_METHODS = (
    "request",
    "prepare_request",
    "merge_environment_settings",
    "get_adapter",
    "send",
    "resolve_redirects",
)
"""Those of a Session that are not called here, or that others replace together with those."""

_KNOWN_PARAMS = frozenset(
    {"method", "url", "params", "data", "json", "headers", "files", "auth", "timeout"}
    | {"allow_redirects", "proxies", "stream", "verify", "cert"}
)
_NO_HOOKS: dict[str, list[Any]] = {"response": []}


def request(session: Any, params: _Params) -> Response:
    """Return (and raise) what ``session.request(**params)`` does."""
    if not (is_usual(session) and params.keys() <= _KNOWN_PARAMS):
        response: Response = session.request(**params)
        return response
    prepared = prepare(session, params)
    url: Any = prepared.url
    kwargs = {"timeout": params.get("timeout"), **environment(session, url, params)}
    adapter = session.get_adapter(url=url)
    start = time.perf_counter()
    response = adapter.send(prepared, **kwargs)
    response.elapsed = timedelta(seconds=time.perf_counter() - start)
    if prepared.hooks != _NO_HOOKS:
        response = dispatch_hook(  # type: ignore[no-untyped-call]
            "response", prepared.hooks, response, **kwargs
        )
    for answer in response.history:  # from hooks
        _keep_cookies(session, answer.request, answer)
    _keep_cookies(session, prepared, response)
    if not kwargs["stream"]:
        _read(response)
    return response


def _read(response: Response) -> None:
    """Have a response's ``content`` be there, as that does, but read it all at once."""
    content: Any = response._content  # False if it hasn't been read
    if content is False and is_plain(response.raw):
        response._content = b"".join(response.iter_content(None))
    _ = response.content


def _keep_cookies(session: Session, prepared: PreparedRequest, response: Response) -> None:
    if has_cookies(response.raw):
        extract_cookies_to_jar(  # type: ignore[no-untyped-call]
            session.cookies, prepared, response.raw
        )


# -- What is usual ----------------------------------------------------------------------------


def is_usual(session: Any) -> bool:
    """Tell whether a session works as requests has made it, and follows no redirects.

    Not if one of its methods is a subclass's, or has been replaced in the class or the session.
    """
    cls = type(session)
    if cls is not Session and not issubclass(cls, Session):
        return False
    attributes = vars(session)
    return (
        attributes.get("get_redirect_target") is no_redirect
        and attributes.keys().isdisjoint(_OWN_METHODS)
        and _are_own(_methods_of(cls))
    )


_methods_of = attrgetter(*_OWN_METHODS)
_known_methods: tuple[Any, ...] = ()


def _are_own(methods: tuple[Any, ...]) -> bool:
    """Tell whether these are requests' own methods of a session. (Nearly always, the same ones.)"""
    global _known_methods  # noqa: PLW0603
    if methods == _known_methods:
        return True
    if not all(_is_own(method, requests.sessions) for method in methods):
        return False
    _known_methods = methods
    return True


def is_intercepted(session: Session, url: str) -> bool:
    """Tell whether calls of a URL have to be made with the session, since it's not only requests.

    Such as with an adapter that somebody has mounted, or with what tools for tests have put in the
    place of classes and methods of requests, urllib3 and the standard library.

    Raises requests.exceptions.InvalidSchema if there is no adapter for the URL.
    """
    if not is_usual(session):
        return True
    adapter = session.get_adapter(url)
    return not (
        type(adapter) is SharedConnectionsAdapter
        and "send" not in vars(adapter)
        and adapter.max_retries.total == 0
        and _is_own(HTTPAdapter.send, requests.adapters)
        and _is_own(HTTPConnectionPool.urlopen, urllib3.connectionpool)
        and HTTPConnectionPool.ConnectionCls is HTTPConnection
        and HTTPSConnectionPool.ConnectionCls is HTTPSConnection
        and socket.socket.__module__ == socket.__name__
    )


def _is_own(function: Any, module: Any) -> bool:
    """Tell whether a function is one that the module has defined, and not what replaces it."""
    return type(function) is FunctionType and function.__globals__ is vars(module)


# -- Request ----------------------------------------------------------------------------------


def prepare(session: Session, params: _Params) -> PreparedRequest:
    """Return the request that ``session.request(**params)`` would send.

    Raises what that would.
    """
    url, data, headers = params["url"], params.get("data"), params.get("headers")
    auth: Any = merge_setting(  # type: ignore[no-untyped-call]
        params.get("auth"), session.auth
    )
    if not (
        type(url) is str
        and (headers is None or isinstance(headers, (dict, CaseInsensitiveDict)))
        and (auth or not session.trust_env)  # otherwise, there may be some in ~/.netrc
        and not params.get("cookies")
        and not params.get("hooks")
        and next(iter(session.cookies), None) is None
    ):
        return _prepare_with_session(session, params)
    prepared = PreparedRequest()
    prepared.method = params["method"].upper()
    if params.get("params") or session.params:
        query: Any = merge_setting(  # type: ignore[no-untyped-call]
            params.get("params") or {}, session.params
        )
        prepared.prepare_url(url, query)
    else:
        prepared.url = _prepared_url(url)
    _set_headers(prepared, session.headers, headers or {})
    prepared._cookies = RequestsCookieJar()  # type: ignore[attr-defined]
    if data and type(data) in _TEXT and not params.get("files"):
        prepared.body = data
        length = len(data if type(data) is bytes or data.isascii() else data.encode())
        prepared.headers["Content-Length"] = str(length)
    else:
        prepared.prepare_body(data or {}, params.get("files") or [], params.get("json"))
    if auth is not no_netrc:
        prepared.prepare_auth(auth, url)
    if session.hooks != _NO_HOOKS:
        prepared.prepare_hooks(session.hooks)
    return prepared


_TEXT = frozenset({str, bytes})


def _prepare_with_session(session: Session, params: _Params) -> PreparedRequest:
    url = params["url"]
    return session.prepare_request(
        requests.Request(
            method=params["method"].upper(),
            url=url.decode() if isinstance(url, bytes) else url,
            headers=params.get("headers"),
            files=params.get("files"),
            data=params.get("data") or {},
            json=params.get("json"),
            params=params.get("params") or {},
            auth=params.get("auth"),
            cookies=params.get("cookies"),
            hooks=params.get("hooks"),
        )
    )


@lru_cache(maxsize=256)
def _prepared_url(url: str) -> str | None:
    prepared = PreparedRequest()
    prepared.prepare_url(url, {})
    return prepared.url


def _set_headers(
    prepared: PreparedRequest, defaults: Mapping[str, Any], headers: Mapping[str, Any]
) -> None:
    """Give a request the headers of its session, and its own, which count; None is for no header.

    Raises requests.exceptions.InvalidHeader.
    """
    merged: Any = (
        defaults.copy() if type(defaults) is CaseInsensitiveDict else CaseInsensitiveDict(defaults)
    )
    for name, value in headers.items():
        merged[name] = value
    removed = []
    are_valid = True
    for name, value in merged.lower_items():
        if value is None:
            removed.append(name)
        elif not (type(name) is str and type(value) is str and _is_valid_header(name, value)):
            are_valid = False
    for name in removed:
        del merged[name]
    if are_valid:
        prepared.headers = merged
    else:
        prepared.prepare_headers(merged)


@lru_cache(maxsize=256)
def _is_valid_header(name: str, value: str) -> bool:
    try:
        check_header_validity((name, value))
    except InvalidHeader:
        return False
    return True


# -- Environment ------------------------------------------------------------------------------


def environment(session: Session, url: str, params: _Params) -> dict[str, Any]:
    """Return what else an adapter is to know about a call: proxies, stream, verify and cert.

    It's what ``session.merge_environment_settings`` returns. The URL is that of a request that has
    been prepared. ``params`` are the arguments of ``session.request``.
    """
    proxies, stream, verify, cert = (
        params.get(name) for name in ("proxies", "stream", "verify", "cert")
    )
    if proxies or session.proxies or not _is_environment_enough():
        return dict(session.merge_environment_settings(url, proxies or {}, stream, verify, cert))
    proxies = {}
    if session.trust_env:
        found = _environment()
        proxies = found.proxies(url).copy()
        if verify is True or verify is None:
            verify = found.ca_bundle or verify
    return {
        "proxies": proxies,
        "stream": session.stream if stream is None else stream,
        "verify": session.verify if verify is None else verify,
        "cert": session.cert if cert is None else cert,
    }


class _Environment(NamedTuple):
    """What environment variables say about calls."""

    variables: Mapping[Any, Any]
    """Those of the process when the rest was found."""
    ca_bundle: str | None
    proxies: Callable[[str], dict[str, str]]
    """Returns those for a URL, by scheme; they are not to be changed."""


_last_environment = _Environment({}, None, lambda url: {})


def _environment() -> _Environment:
    global _last_environment  # noqa: PLW0603 (replaced as a whole)
    # Reading them one by one takes longer than all the rest of a request. Where they are kept
    # encoded, as on all systems but Windows, these are quickly compared.
    variables = getattr(os.environ, "_data", os.environ)
    found = _last_environment
    if found.variables != variables:
        variables = dict(variables)
        ca_bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        found = _Environment(variables, ca_bundle, lru_cache(256)(get_environ_proxies))
        _last_environment = found
    return found


def _is_environment_enough() -> bool:
    """Tell whether proxies are in environment variables only (and not in the system's settings)."""
    return urllib.request.getproxies is urllib.request.getproxies_environment
