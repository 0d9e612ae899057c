"""Former place of :mod:`anymail.sending.connections`."""

from .sending.connections import (
    MAX_CONNECTIONS_PER_HOST,
    MAX_HOSTS,
    SharedConnectionsAdapter,
)

__all__ = ["MAX_CONNECTIONS_PER_HOST", "MAX_HOSTS", "SharedConnectionsAdapter"]
