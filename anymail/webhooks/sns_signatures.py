"""Signatures of messages of Amazon SNS, and of services that are compatible with it.

- Messages: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
- Signatures: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html

Who has an account can make a topic, and subscribe it to any URL: all that a signature proves is
which topic a message is from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from ..exceptions import AnymailWebhookValidationFailure
from .certificates import fetched_certificates, is_in_date
from .decoding import as_word
from .public_keys import is_signature

# Type of SNS messages
NOTIFICATION = "Notification"
SUBSCRIPTION_CONFIRMATION = "SubscriptionConfirmation"
UNSUBSCRIBE_CONFIRMATION = "UnsubscribeConfirmation"

_CONFIRMATION_FIELDS = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)

# What signatures cover, in the order of the string to sign. Subject can be missing.
SIGNED_FIELDS = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION_CONFIRMATION: _CONFIRMATION_FIELDS,
    UNSUBSCRIBE_CONFIRMATION: _CONFIRMATION_FIELDS,
}

# SignatureVersion -> hash
HASHES: dict[str, Literal["SHA1", "SHA256"]] = {"1": "SHA1", "2": "SHA256"}


def string_to_sign(message: Mapping[str, Any]) -> bytes:
    """Return what the signature of an SNS message is made from.

    Raises AnymailWebhookValidationFailure if a field is missing, or is not text.
    """
    lines = []
    for name in SIGNED_FIELDS.get(as_word(message.get("Type")), _CONFIRMATION_FIELDS):
        value = message.get(name)
        if name == "Subject" and value is None:
            continue
        # With line breaks elsewhere, one string could be that of several messages.
        if not isinstance(value, str) or ("\n" in value and name != "Message"):
            raise AnymailWebhookValidationFailure(f"Missing or invalid {name} in SNS message")
        lines += [name, value]
    try:
        return "".join(f"{line}\n" for line in lines).encode()
    except UnicodeEncodeError as err:
        raise AnymailWebhookValidationFailure("Invalid text in SNS message") from err


def verify_signature(
    message: Mapping[str, Any],
    *,
    esp_name: str,
    certificate_url: re.Pattern[str],
    check_certificate: Callable[[Any, datetime], None],
    now: datetime,
) -> None:
    """Raise AnymailWebhookValidationFailure if the signature of an SNS message is not right.

    The certificate is only fetched if the whole of its URL matches ``certificate_url``.
    ``check_certificate`` raises AnymailWebhookValidationFailure if it is not the provider's; it is
    called with the certificate (of the cryptography package), and with ``now``, the time at which
    certificates must be valid.

    Raises AnymailRequestsAPIError if the certificate can't be fetched now, but perhaps later.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    def failure(problem: str) -> AnymailWebhookValidationFailure:
        return AnymailWebhookValidationFailure(f"{esp_name} webhook call with {problem}")

    data = string_to_sign(message)
    version, url = message.get("SignatureVersion"), message.get("SigningCertURL")
    if as_word(version) not in HASHES:
        raise failure(f"an unknown SNS SignatureVersion {version!r:.20}")
    if not isinstance(url, str) or not certificate_url.fullmatch(url):
        raise failure(f"an SNS SigningCertURL that is not {esp_name}'s: {url!r:.200}")
    certificate = fetched_certificates.get(url, esp_name)
    if not is_in_date(certificate, now):
        raise failure("an SNS certificate that is not valid now (check the clock of your server)")
    check_certificate(certificate, now)
    try:
        public_key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as err:
        raise failure("an SNS certificate whose key is not supported") from err
    if not isinstance(public_key, RSAPublicKey):
        raise failure("an SNS certificate that is not for an RSA key")
    signature = as_word(message.get("Signature"))
    if not is_signature(public_key, signature, data, HASHES[as_word(version)]):
        raise failure("an invalid SNS signature")
