"""Connections to providers: kept after the backend which opened them is closed, and watched.

They are shared by all backends and threads of a process. What makes connections interchangeable
(scheme, host, port, TLS settings, proxy) is known to requests and urllib3, whose pools hold them.
What is added here:

- an end to idle connections, and nothing is shared with forked processes;
- a request that finds its connection closed, before anything of it was written, is sent on a new
  one;
- who makes a call can know whether any of it was written: see :func:`watch_handover`.

All that stands on what requests and urllib3 let subclasses replace: an adapter's pool manager, the
manager's classes of pools, and a pool's classes of connections (ConnectionCls) and of the queue
for those that are not in use (QueueCls).
"""

from __future__ import annotations

import http.client
import math
import os
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, lru_cache, partial
from queue import Full, LifoQueue
from ssl import SSLError
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from .._docs import with_docs
from ..exceptions import AnymailWarning
from .answers import Answer

MAX_HOSTS = 32
_FIRST_WRITE = 16384
"""Bytes that are one record of TLS, and find room in the system's buffer, or an error, at once."""

MAX_LINES = 32
"""Headers that a connection remembers."""

MAX_CONNECTIONS_PER_HOST = 64
"""Connections to a host that are kept. There can be more while they are in use."""


# -- Requests' side ---------------------------------------------------------------------------


def make_adapter(max_idle: float) -> HTTPAdapter:
    """Return an adapter for a requests Session of a backend.

    ``max_idle`` is how many seconds a connection is kept without use. With 0, those of the session
    are closed with it. If urllib3 doesn't have what this takes, the adapter is requests' own, which
    does the same as with 0; AnymailWarning tells of that.
    """
    if _is_supported():
        return SharedConnectionsAdapter(max_idle)
    warnings.warn(
        with_docs(
            "Connections to providers are not kept: this version of urllib3 lacks what that takes.",
            "performance#kept-connections",
        ),
        AnymailWarning,
        stacklevel=2,
    )
    return HTTPAdapter()


@cache
def _is_supported() -> bool:
    """Tell whether pools use the classes of connections and queues that they are told to."""
    if not hasattr(HTTPConnectionPool, "ConnectionCls"):
        return False
    pool = _pool_classes(math.inf)["http"]("localhost")
    return isinstance(pool.pool, _IdleQueue)


class SharedConnectionsAdapter(HTTPAdapter):
    """Has a requests Session use the process's connections, and leave them open when it's closed.

    ``max_idle`` is how many seconds a connection is kept without use. With 0, the session has
    connections of its own, until it's closed. (So are those through a SOCKS proxy always.)
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "max_idle"]

    def __init__(self, max_idle: float) -> None:
        self.max_idle = max_idle
        super().__init__(MAX_HOSTS, MAX_CONNECTIONS_PER_HOST)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self._own_manager = None if self.max_idle else _new_manager(math.inf)

    @property
    def poolmanager(self) -> Any:
        # Looked up each time, for sessions that are used on both sides of a fork.
        return self._own_manager or _connections.pool_manager(self.max_idle)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):
            return super().proxy_manager_for(proxy, **proxy_kwargs)
        proxy_kwargs["proxy_headers"] = self.proxy_headers(proxy)
        if self.max_idle:
            return _connections.pool_manager(self.max_idle, proxy, **proxy_kwargs)
        if proxy not in self.proxy_manager:
            self.proxy_manager[proxy] = _new_manager(math.inf, proxy, **proxy_kwargs)
        return self.proxy_manager[proxy]

    # Requests computes all of these anew for each request.

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        if proxies or cert or type(self) is not SharedConnectionsAdapter:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        pools: dict[Any, Any] = self.poolmanager.known_pools
        key = request.url, verify
        pool = pools.get(key)
        if pool is None or pool.pool is None:  # It was closed.
            if len(pools) >= 4 * MAX_HOSTS:
                pools.clear()
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            pools[key] = pool
        return pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        if getattr(conn, "verified_with", None) != (verify, cert):
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
            conn.verified_with = verify, cert

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else _path_of(request.url)

    def build_response(self, req: Any, resp: Any) -> Response:
        if has_cookies(resp):  # or so it seems
            return super().build_response(req, resp)
        response = Response()
        response.status_code = resp.status
        for name, value in resp.headers.itermerged():
            response.headers[name] = value
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url
        response.request = req
        response.connection = self
        return response

    def close(self) -> None:
        for manager in (self._own_manager, *self.proxy_manager.values()):
            if manager is not None:
                manager.clear()


@lru_cache(maxsize=256)
def _path_of(url: str) -> str:
    """Return what the request line has of a URL."""
    request = PreparedRequest()
    request.url = url
    return request.path_url


_ANSWERS = frozenset({Answer, http.client.HTTPResponse})


def is_plain(raw: Any) -> bool:
    """Tell whether an answer that a requests Response is made of is what urllib3 has received."""
    return type(raw) is HTTPResponse and type(getattr(raw, "_original_response", None)) in _ANSWERS


def has_cookies(raw: Any) -> bool:
    """Tell whether there can be cookies in an answer."""
    return not is_plain(raw) or "Set-Cookie" in raw.headers or "Set-Cookie2" in raw.headers


# -- What was handed over ---------------------------------------------------------------------


class watch_handover:  # noqa: N801 (used as a statement)
    """Note whether requests that are made meanwhile, in this thread, are written at all.

    All attempts of an adapter that repeats them count as one. What opens a tunnel through a proxy
    doesn't count.
    """

    happened: bool | None = None
    """Whether any byte of a request was written. None if others' connections were used."""

    def __enter__(self) -> watch_handover:
        self._token = _handover.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        _handover.reset(self._token)


_handover: ContextVar[watch_handover | None] = ContextVar("anymail_handover", default=None)


def _note_handover(happened: bool) -> None:
    handover = _handover.get()
    if handover is not None and not handover.happened:
        handover.happened = happened


# -- Urllib3's side ---------------------------------------------------------------------------


if TYPE_CHECKING:
    _ConnectionBase = HTTPConnection
    _PoolBase = HTTPConnectionPool
else:
    _ConnectionBase = _PoolBase = object


class _KeptConnection(_ConnectionBase):
    """A connection that may turn out to have been closed by the server when it's used again.

    The pool has checked that shortly before. If it is found only with the first write, none of
    which has then arrived, there is no harm in writing that over a new connection. Whatever
    happens later is an error as with any connection: the server may have got the message.

    The first write is the headers, and the body with them if both fit: it is one packet then, and
    one system call.
    """

    response_class = Answer
    idle_until = math.inf
    _is_connecting = False
    _was_used = False
    _ends_headers = False
    _in_request = False
    _headers: bytes | None = None
    """What is left to be written together with the body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lines: dict[tuple[Any, tuple[Any, ...]], bytes] = {}
        """Headers as they were checked and encoded for earlier requests."""

    def connect(self) -> None:
        _note_handover(False)
        self._is_connecting = True
        try:
            super().connect()
        finally:
            self._is_connecting = False
        self._was_used = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._in_request = True
        try:
            super().request(*args, **kwargs)
            if self._headers is not None:
                self._write_first(self._headers)
        finally:
            self._in_request = False
            self._headers = None

    def putheader(self, header: Any, *values: Any) -> None:
        # Most headers are the same in all requests. http.client puts their lines into _buffer.
        buffer: list[bytes] = getattr(self, "_buffer", [])
        line = self._lines.get((header, values))
        if line is not None:
            buffer.append(line)
            return
        before = len(buffer)
        super().putheader(header, *values)
        if len(buffer) == before + 1 and len(self._lines) < MAX_LINES:
            self._lines[header, values] = buffer[-1]

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        self._ends_headers = True
        try:
            super().endheaders(*args, **kwargs)
        finally:
            self._ends_headers = False

    def send(self, data: Any) -> None:
        if self._is_connecting:  # to a proxy
            self._write(data)
        elif self._ends_headers:
            self._ends_headers = False
            if self._in_request:
                self._headers = data
            else:
                self._write_first(data)
        elif self._headers is None:
            self._open()
            self._write(data)
        else:
            headers, self._headers = self._headers, None
            if type(data) is bytes and len(headers) + len(data) <= _FIRST_WRITE:
                self._write_first(headers + data)
            else:
                self._write_first(headers)
                self._write(data)

    def _open(self) -> None:
        if self.sock is None and self.auto_open:
            self.connect()

    def _write_first(self, data: bytes) -> None:
        """Write the first part of a request, over a new connection if this one is of no use."""
        may_reconnect = self._was_used and not self.is_closed
        self._open()
        try:
            self._write(data)
        except (ConnectionError, SSLError):
            if not may_reconnect:
                raise
            self.abandon()
            self.connect()
            self._write(data)
        finally:
            self._was_used = True

    def _write(self, data: Any) -> None:
        """Send data, and note that it was handed over, unless none of it was."""
        happened = not self._is_connecting
        try:
            super().send(data)
        except (ConnectionError, SSLError):
            happened = False
            raise
        finally:
            _note_handover(happened)

    def abandon(self) -> None:
        """Close the socket, and nothing else."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()


class _KeptHTTPConnection(_KeptConnection, HTTPConnection):
    pass


class _KeptHTTPSConnection(_KeptConnection, HTTPSConnection):
    pass


_KEPT_CLASSES: dict[type, type[_KeptConnection]] = {
    HTTPConnection: _KeptHTTPConnection,
    HTTPSConnection: _KeptHTTPSConnection,
}


class _IdleQueue(LifoQueue[Any]):
    """A pool's connections that are not in use, and None for those that it has not opened."""

    max_idle: float

    def put(self, item: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(item, _KeptConnection):
            # First, since another thread can use it as soon as it's in the queue.
            _connections.put(item, self.max_idle)
        try:
            super().put(item, *args, **kwargs)
        except Full:
            if isinstance(item, _KeptConnection):  # The pool closes it.
                _connections.take(item)
            raise

    def get(self, *args: Any, **kwargs: Any) -> Any:
        item = super().get(*args, **kwargs)
        if isinstance(item, _KeptConnection):
            _connections.take(item)
        return item


class _KeepingPool(_PoolBase):
    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802 (urllib3's name)
        # Packages that record or replace what is sent, for tests, put their own class there.
        connection_class = super().ConnectionCls
        return _KEPT_CLASSES.get(connection_class, connection_class)


@cache
def _pool_classes(max_idle: float) -> dict[str, type[HTTPConnectionPool]]:
    queue_class = type(_IdleQueue.__name__, (_IdleQueue,), {"max_idle": max_idle})
    return {
        # The name is in the texts of exceptions.
        str(base.scheme): type(base.__name__, (_KeepingPool, base), {"QueueCls": queue_class})
        for base in (HTTPConnectionPool, HTTPSConnectionPool)
    }


class _PoolManager(PoolManager):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known_pools: dict[tuple[str, Any], HTTPConnectionPool] = {}
        """By URL of requests, and by ``verify``."""

    def clear(self) -> None:
        self.known_pools.clear()
        super().clear()


def _new_manager(max_idle: float, proxy: str = "", **kwargs: Any) -> PoolManager:
    """Return pools for connections through a proxy, if any."""
    manager_class = partial(ProxyManager, proxy) if proxy else _PoolManager
    manager = manager_class(MAX_HOSTS, maxsize=MAX_CONNECTIONS_PER_HOST, **kwargs)
    manager.pool_classes_by_scheme = _pool_classes(max_idle)
    return manager


# -- All of a process -------------------------------------------------------------------------


class _Connections:
    """All connections of a process that are not in use, and the pools of those that are shared."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        timer_class: type[threading.Timer] = threading.Timer,
    ) -> None:
        self._clock = clock
        self._timer_class = timer_class
        self._reset()

    def _reset(self) -> None:
        # The garbage collector can come in between, and close the connections of a pool.
        self._lock = threading.RLock()
        self._managers: dict[tuple[float, str], PoolManager] = {}
        self._idle: set[_KeptConnection] = set()
        self._timer: threading.Timer | None = None
        self._timer_end = math.inf

    def pool_manager(self, max_idle: float, proxy: str = "", **kwargs: Any) -> PoolManager:
        """Return the shared pools for connections through a proxy, if any."""
        with self._lock:
            manager = self._managers.get((max_idle, proxy))
            if manager is None:
                manager = _new_manager(max_idle, proxy, **kwargs)
                self._managers[max_idle, proxy] = manager
            return manager

    def take(self, connection: _KeptConnection) -> None:
        """Note that a connection is in use. It's closed if that comes too late."""
        with self._lock:
            self._idle.discard(connection)
            if connection.idle_until <= self._clock():
                connection.close()  # It opens again by itself.

    def put(self, connection: _KeptConnection, max_idle: float) -> None:
        """Note that a connection is not in use any more."""
        with self._lock:
            connection.idle_until = self._clock() + max_idle
            self._idle.add(connection)
            if connection.idle_until < self._timer_end:
                self._start_timer(max_idle)

    def _start_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_end = None, math.inf
        timer = self._timer_class(seconds, self._close_expired)
        timer.daemon = True
        timer.name = "anymail-idle-connections"
        # There are no new threads when the interpreter is about to exit, which also closes all.
        with suppress(RuntimeError):
            timer.start()
            self._timer, self._timer_end = timer, self._clock() + seconds

    def _close_expired(self) -> None:
        with self._lock:
            now = self._clock()
            for connection in list(self._idle):
                if connection.idle_until <= now:
                    self._idle.discard(connection)
                    connection.close()
            self._timer, self._timer_end = None, math.inf
            self._resume()

    def _resume(self) -> None:
        """Have a timer for the connection that expires first."""
        first = min((item.idle_until for item in list(self._idle)), default=math.inf)
        if first < math.inf:
            self._start_timer(first - self._clock())

    # Nothing here is between two states when a process forks, nor is there a thread that the new
    # one would lack.

    def before_fork(self) -> None:
        self._lock.acquire()
        while (timer := self._timer) is not None:
            self._timer, self._timer_end = None, math.inf
            self._lock.release()
            timer.cancel()
            timer.join()
            self._lock.acquire()  # It can have started another one.

    def after_fork_in_parent(self) -> None:
        self._resume()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        idle = self._idle
        # Other threads can have held locks of the pools.
        self._reset()
        for connection in idle:
            connection.abandon()


_connections = _Connections()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_connections.before_fork,
        after_in_parent=_connections.after_fork_in_parent,
        after_in_child=_connections.after_fork_in_child,
    )
