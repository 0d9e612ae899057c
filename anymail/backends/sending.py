"""Where the runners were before; others may import them from here."""

from ..sending.runners import ConcurrentSending
from ..sending.sequential import SequentialSending
from ..sending.steps import ApiCall

__all__ = ["ApiCall", "ConcurrentSending", "SequentialSending"]
