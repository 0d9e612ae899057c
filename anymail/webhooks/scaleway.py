"""Scaleway Transactional Email webhooks, which come through Scaleway Topics and Events.

- Events: https://www.scaleway.com/en/docs/transactional-email/reference-content/webhook-events-payloads/
- Signatures: https://www.scaleway.com/en/docs/topics-and-events/reference-content/verifying-webhooks/

Topics and Events is compatible with Amazon SNS, but has certificates and URLs of its own.

Verifying signatures takes the cryptography package, which is imported only where a trust chain is
configured.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..conf import read_settings, setting, setting_name
from ..exceptions import AnymailWebhookValidationFailure
from ..headers import unfold
from ..signals import AnymailTrackingEvent, EventType, RejectReason, tracking
from .certificates import TrustChain
from .decoding import (
    as_addr_spec,
    as_iso_time,
    as_metadata,
    as_str,
    as_tags,
    as_word,
    get_list,
    json_or_none,
)
from .public_keys import require_cryptography
from .sns import SNSBaseWebhookView, confirm_with_url

# "messaging" is the name of an object storage bucket: other names belong to other customers.
CERTIFICATE_URL = re.compile(
    r"https://messaging\.s3\.(fr-par|nl-ams)\.scw\.cloud/\1/sns/[A-Za-z0-9_-]+\.crt"
)

SUBSCRIBE_URL = re.compile(r"https://sns\.mnq\.[a-z]{2}-[a-z]{3}\.scaleway\.com/\?[!-~]+")

# type -> event type, reject reason
EVENT_TYPES = {
    "email_queued": (EventType.QUEUED, None),
    "email_delivered": (EventType.DELIVERED, None),
    "email_deferred": (EventType.DEFERRED, None),
    "email_dropped": (EventType.BOUNCED, RejectReason.BOUNCED),
    "email_mailbox_not_found": (EventType.BOUNCED, RejectReason.BOUNCED),
    "email_spam": (EventType.REJECTED, RejectReason.SPAM),
    "email_blocklisted": (EventType.REJECTED, RejectReason.BLOCKED),
}


class ScalewayTrackingWebhookView(SNSBaseWebhookView):
    """Receives the events of Scaleway's Transactional Email.

    Signatures are verified if there is a trust chain in the setting SCALEWAY_SNS_TRUST_CHAIN.
    Raises AnymailConfigurationError if it is something else, AnymailImproperlyInstalled if there
    is one but no cryptography package.
    """

    esp_name = "Scaleway"
    signal = tracking
    install_extra = "scaleway"
    certificate_url = CERTIFICATE_URL
    sns_headers_are_required = False

    sns_trust_chain: Any = setting(
        "Scaleway's certificates to verify signatures of webhook calls with: text in PEM "
        "form, or the path of a file. See :ref:`scaleway-signatures`.",
        default=None,
        default_text="signatures are not verified",
    )
    trust_chain: TrustChain | None = None
    """The certificates in it. Set in instances."""

    def __init__(self, **kwargs: Any) -> None:
        read_settings(self, kwargs)
        if self.sns_trust_chain:
            require_cryptography(self.esp_name, self.install_extra)
            self.trust_chain = TrustChain.load(self.sns_trust_chain, self.signature_setting)
        super().__init__(**kwargs)

    @property
    def verifies_signatures(self) -> bool:
        return self.trust_chain is not None

    @property
    def signature_setting(self) -> str:
        return setting_name("sns_trust_chain", self.esp_name)

    def check_certificate(self, certificate: Any, now: datetime) -> None:
        assert self.trust_chain is not None
        self.trust_chain.check(certificate, now)

    def confirm_subscription(self, region: str, sns_message: dict[str, Any]) -> None:
        url = as_word(sns_message.get("SubscribeURL"))
        query = parse_qs(urlsplit(url).query) if SUBSCRIBE_URL.fullmatch(url) else {}
        wanted = {
            "Action": ["ConfirmSubscription"],
            "TopicArn": [sns_message["TopicArn"]],
            "Token": [sns_message["Token"]],
        }
        if {name: query.get(name) for name in wanted} != wanted:
            raise AnymailWebhookValidationFailure(
                "Scaleway webhook call with a SubscribeURL that would not confirm the "
                f"subscription to SNS topic {sns_message['TopicArn']!r:.300}"
            )
        confirm_with_url(url, self.esp_name)

    def esp_to_anymail_events(
        self, esp_event: dict[str, Any], sns_message: dict[str, Any]
    ) -> list[AnymailTrackingEvent]:
        event_type, reject_reason = EVENT_TYPES.get(
            as_word(esp_event.get("type")), (EventType.UNKNOWN, None)
        )
        response = (
            as_str(esp_event.get("email_response_code")),
            as_str(esp_event.get("email_response_message")),
        )
        return [
            AnymailTrackingEvent(
                event_type=event_type,
                timestamp=as_iso_time(esp_event.get("created_at")),
                event_id=as_str(esp_event.get("id")),
                esp_event=esp_event,
                message_id=as_str(esp_event.get("email_id")),
                recipient=as_addr_spec(esp_event.get("email_to")),
                reject_reason=reject_reason,
                description=as_str(
                    esp_event.get("email_error") or esp_event.get("blocklist_reason")
                ),
                mta_response=" ".join(filter(None, response)) or None,
                tags=as_tags(_json_header(esp_event, "x-tags")),
                metadata=as_metadata(_json_header(esp_event, "x-metadata")),
            )
        ]


def _json_header(esp_event: dict[str, Any], name: str) -> Any:
    """Return the JSON in a header of the sent message. None if it has something else."""
    for header in get_list(esp_event, "email_headers"):
        if isinstance(header, dict) and as_word(header.get("key")).lower() == name:
            return json_or_none(unfold(as_word(header.get("value"))))
    return None
