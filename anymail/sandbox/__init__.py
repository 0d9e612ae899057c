"""A local stand-in for email service providers, for demonstrations, development and tests.

``python -m anymail.sandbox demo`` shows it at work. In tests::

    from anymail.sandbox import Sandbox

    with Sandbox() as sandbox, override_settings(
        MAILERS={"default": {"BACKEND": "anymail.backends.postmark.EmailBackend"}},
        ANYMAIL=sandbox.anymail_settings(),
    ):
        send_mail("Hello, Ann", "How are you?", None, ["ann@example.com"])
        [message] = sandbox.messages
        assert message.recipients[0].subject == "Hello, Ann"

Nothing else in Anymail imports this package, and nothing in it is meant for production. It only
uses loopback addresses.
"""

from .providers import InboundMail, UnsupportedEvent
from .server import Sandbox
from .store import (
    StoredAttachment,
    StoredCall,
    StoredMessage,
    StoredRecipient,
    StoredTemplate,
    StoredWebhook,
)
from .wire import ApiRequest, WebhookCall

__all__ = [
    "ApiRequest",
    "InboundMail",
    "Sandbox",
    "StoredAttachment",
    "StoredCall",
    "StoredMessage",
    "StoredRecipient",
    "StoredTemplate",
    "StoredWebhook",
    "UnsupportedEvent",
    "WebhookCall",
]
