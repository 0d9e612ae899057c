"""Signing as Amazon SNS does it, and certificates, made with the cryptography package.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import importlib.util
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

CAN_SIGN = importlib.util.find_spec("cryptography") is not None

DAY = timedelta(days=1)

NOTIFICATION = "Message MessageId Subject Timestamp TopicArn Type"
CONFIRMATION = "Message MessageId SubscribeURL Timestamp Token TopicArn Type"


def string_to_sign(message: dict[str, Any]) -> bytes:
    names = NOTIFICATION if message["Type"] == "Notification" else CONFIRMATION
    text = ""
    for name in names.split():
        if name == "Subject" and message.get(name) is None:
            continue
        text += name + "\n" + message[name] + "\n"
    return text.encode()


def rsa_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(65537, 2048)


def ec_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def make_certificate(
    name: str,
    key: Any,
    issuer: Any = None,
    issuer_key: Any = None,
    start: datetime | None = None,
    end: datetime | None = None,
    dns_names: tuple[str, ...] = (),
) -> Any:
    """Return a certificate, signed by itself if there is no issuer. Valid now by default."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now - DAY)
        .not_valid_after(end or now + DAY)
    )
    if dns_names:
        extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def as_pem(*certificates: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(cert.public_bytes(Encoding.PEM).decode() for cert in certificates)


def signature_of(message: dict[str, Any], key: Any, version: str = "1") -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    hash_class = {"1": hashes.SHA1, "2": hashes.SHA256}[version]
    signature = key.sign(string_to_sign(message), PKCS1v15(), hash_class())
    return base64.b64encode(signature).decode()


def sign_message(
    message: dict[str, Any], key: Any, certificate_url: str, version: str = "1"
) -> None:
    """Add a correct signature to an SNS message, replacing one that is there."""
    message["SignatureVersion"] = version
    message["SigningCertURL"] = certificate_url
    message["Signature"] = signature_of(message, key, version)


# What the contract tests use

AMAZON_CERTIFICATE_URL = (
    "https://sns.eu-central-1.amazonaws.com/"
    "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)


@cache
def shared_key() -> Any:
    """Return an RSA key. (Making one takes a while.)"""
    return rsa_key()


@cache
def amazon_certificate() -> Any:
    return make_certificate("sns.amazonaws.com", shared_key())
