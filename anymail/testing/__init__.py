"""For the tests of projects: what was sent, what providers report of it, and what goes wrong.

For unittest::

    from anymail.testing import OutboxMixin

    class SignUpTests(OutboxMixin, TestCase):
        def test_confirmation(self):
            self.client.post("/sign-up/", {"email": "ann@example.com"})
            mail = self.outbox.assert_sent(to="ann@example.com", subject__contains="Welcome")
            self.client.get(mail.link("Confirm"))
            self.outbox.bounce(mail)

For pytest, there is the fixture ``anymail_outbox``; anywhere else, ``with outbox() as box``.

Nothing is sent, and no network is used: a message goes to a stand-in for the mailer's provider.
"""

from .calls import ProviderCall
from .events import make_inbound_event, make_tracking_event
from .mails import SentMail
from .outbox import Outbox, OutboxMixin, outbox

__all__ = [
    "Outbox",
    "OutboxMixin",
    "ProviderCall",
    "SentMail",
    "make_inbound_event",
    "make_tracking_event",
    "outbox",
]
