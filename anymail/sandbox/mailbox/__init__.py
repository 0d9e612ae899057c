"""The sandbox's page: a mailbox of all that was sent, with what providers know and report of it.

Pages are templates of Django, in ``templates``; ``static`` has their style, and a little JavaScript
without which they work, too. Mail is shown as what it is: content of strangers.
"""

from .views import PATHS, Mailbox

__all__ = ["PATHS", "Mailbox"]
