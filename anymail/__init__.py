"""Django email backends, delivery tracking and inbound mail for transactional email providers."""

from ._version import VERSION, __version__

__all__ = ["VERSION", "__version__"]
