"""Connections to providers that are kept after the backend which opened them is closed.

They are shared by all backends and threads of a process. What makes connections interchangeable
(scheme, host, port, TLS settings, proxy) is known to requests and urllib3, whose pools hold them.
What is added here: an end to idle connections, and nothing is shared with forked processes.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
from contextlib import suppress
from functools import partial
from ssl import SSLError
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

MAX_HOSTS = 32
MAX_CONNECTIONS_PER_HOST = 64
"""Connections to a host that are kept. There can be more while they are in use."""


class SharedConnectionsAdapter(HTTPAdapter):
    """Has a requests Session use the process's connections, and leave them open when it's closed.

    ``max_idle`` is how many seconds a connection is kept without use. (Those through a SOCKS proxy
    are not kept.)
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "max_idle"]

    def __init__(self, max_idle: float) -> None:
        self.max_idle = max_idle
        super().__init__(MAX_HOSTS, MAX_CONNECTIONS_PER_HOST)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there is one already."""

    @property
    def poolmanager(self) -> PoolManager:
        # Looked up each time, for sessions that are used on both sides of a fork.
        return _connections.pool_manager(self.max_idle)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):
            return super().proxy_manager_for(proxy, **proxy_kwargs)
        return _connections.pool_manager(
            self.max_idle, proxy, proxy_headers=self.proxy_headers(proxy), **proxy_kwargs
        )

    def close(self) -> None:
        for manager in self.proxy_manager.values():
            manager.clear()


class _Connections:
    """All shared connections of a process."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._managers: dict[tuple[float, str], PoolManager] = {}
        self._idle: WeakSet[_KeptConnection] = WeakSet()
        self._timer: threading.Timer | None = None
        self._timer_end = math.inf

    def pool_manager(self, max_idle: float, proxy: str = "", **kwargs: Any) -> PoolManager:
        """Return the pools for connections through a proxy, if any."""
        with self._lock:
            manager = self._managers.get((max_idle, proxy))
            if manager is None:
                manager_class = partial(ProxyManager, proxy) if proxy else PoolManager
                manager = manager_class(MAX_HOSTS, maxsize=MAX_CONNECTIONS_PER_HOST, **kwargs)
                manager.pool_classes_by_scheme = _pool_classes(max_idle)
                self._managers[max_idle, proxy] = manager
            return manager

    def take(self, connection: _KeptConnection) -> None:
        """Note that a connection is in use. It's closed if that comes too late."""
        with self._lock:
            self._idle.discard(connection)
            if connection.idle_until <= time.monotonic():
                connection.close()  # It opens again by itself.

    def put(self, connection: _KeptConnection, max_idle: float) -> None:
        """Note that a connection is not in use any more."""
        with self._lock:
            connection.idle_until = time.monotonic() + max_idle
            self._idle.add(connection)
            if connection.idle_until < self._timer_end:
                self._start_timer(max_idle)

    def _start_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        timer = threading.Timer(seconds, self._close_expired)
        timer.daemon = True
        timer.name = "anymail-idle-connections"
        # There are no new threads when the interpreter is about to exit, which also closes all.
        with suppress(RuntimeError):
            timer.start()
            self._timer, self._timer_end = timer, time.monotonic() + seconds

    def _close_expired(self) -> None:
        with self._lock:
            now = time.monotonic()
            for connection in [item for item in self._idle if item.idle_until <= now]:
                self._idle.discard(connection)
                connection.close()
            self._timer, self._timer_end = None, math.inf
            if self._idle:
                self._start_timer(min(item.idle_until for item in self._idle) - now)

    def close_idle(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    # Nothing here is between two states when a process forks, nor is there a thread that the new
    # one would lack.

    def before_fork(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._timer, self._timer_end = None, math.inf
        if self._idle:
            self._start_timer(0)
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent."""
        idle = list(self._idle)
        # Other threads can have held locks of the pools.
        self._reset()
        for connection in idle:
            connection.abandon()


_connections = _Connections()
atexit.register(_connections.close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_connections.before_fork,
        after_in_parent=_connections.after_fork_in_parent,
        after_in_child=_connections.after_fork_in_child,
    )


if TYPE_CHECKING:
    _ConnectionBase = HTTPConnection
    _PoolBase = HTTPConnectionPool
else:
    _ConnectionBase = _PoolBase = object


class _KeptConnection(_ConnectionBase):
    """A connection that may turn out to have been closed by the server when it's used again.

    The pool has checked that shortly before. If it is found only when the headers are sent, none
    of which has then arrived, there is no harm in sending them over a new connection. Whatever
    happens later is an error as with any connection: the server may have got the message.
    """

    idle_until = math.inf
    _was_used = False
    _may_reconnect = False

    def connect(self) -> None:
        super().connect()
        self._was_used = False

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        self._may_reconnect = self._was_used and not self.is_closed
        try:
            super().endheaders(*args, **kwargs)
        finally:
            self._may_reconnect = False
            self._was_used = True

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except (ConnectionError, SSLError):
            if not self._may_reconnect:
                raise
            self._may_reconnect = False
            self.abandon()
            self.connect()
            super().send(data)

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


class _KeepingPool(_PoolBase):
    max_idle: float

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: N802 (urllib3's name)
        # Packages that record or replace what is sent, for tests, put their own class there.
        connection_class = super().ConnectionCls
        return _KEPT_CLASSES.get(connection_class, connection_class)

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if isinstance(connection, _KeptConnection):
            _connections.take(connection)
        return connection

    def _put_conn(self, conn: Any) -> None:
        if isinstance(conn, _KeptConnection):
            _connections.put(conn, self.max_idle)
        super()._put_conn(conn)


def _pool_classes(max_idle: float) -> dict[str, type[HTTPConnectionPool]]:
    return {
        # The name is in the texts of exceptions.
        str(base.scheme): type(base.__name__, (_KeepingPool, base), {"max_idle": max_idle})
        for base in (HTTPConnectionPool, HTTPSConnectionPool)
    }
