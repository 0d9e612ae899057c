"""Django email backends, delivery tracking and inbound mail for transactional email providers."""

from typing import TYPE_CHECKING, Any

from ._version import VERSION, __version__

if TYPE_CHECKING:
    from .delivery.mailers import mailers

__all__ = ["VERSION", "__version__", "mailers"]


def __getattr__(name: str) -> Any:
    # What it needs, Django for one, is imported when it's wanted: others only want the version.
    if name == "mailers":
        from .delivery.mailers import mailers

        return mailers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
