"""Public keys that verify signatures of webhook calls: RSA and elliptic curve (ECDSA).

This takes the cryptography package, which is imported only when it is needed.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

from .._docs import docs_of_setting
from ..exceptions import AnymailConfigurationError, AnymailImproperlyInstalled

_PEM_ARMOR = re.compile(r"-----(BEGIN|END) PUBLIC KEY-----")


def require_cryptography(esp_name: str, install_extra: str) -> None:
    """Raise AnymailImproperlyInstalled if there is no cryptography package.

    ``install_extra`` is the extra of Anymail that has it.
    """
    try:
        import cryptography.hazmat.primitives.serialization  # noqa: F401
    except ImportError as err:
        raise AnymailImproperlyInstalled(
            missing_package="cryptography",
            install_extra=install_extra,
            feature=f"{esp_name}'s signed webhooks",
        ) from err


def load_public_key(
    key: Any,
    key_type: Literal["RSA", "EC"],
    *,
    setting: str,
    source: str,
    esp_name: str,
    install_extra: str,
) -> Any:
    """Return a public key of the cryptography package from base64 of its DER, or from PEM.

    Raises AnymailConfigurationError if it is something else, or a key of another type: naming the
    setting, and the source, which is where the provider shows it. Raises
    AnymailImproperlyInstalled without the cryptography package.
    """
    require_cryptography(esp_name, install_extra)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key_class = {"RSA": RSAPublicKey, "EC": EllipticCurvePublicKey}[key_type]
    try:
        public_key = load_der_public_key(base64.b64decode(_PEM_ARMOR.sub("", key)))
        if not isinstance(public_key, key_class):
            raise TypeError(f"not of type {key_type}")
    except (TypeError, UnsupportedAlgorithm, ValueError) as err:
        raise AnymailConfigurationError(
            f"{setting} is not a public key as in {source}.", docs=docs_of_setting(setting)
        ) from err
    return public_key


def is_signature(
    public_key: Any, signature: str, data: bytes, digest: Literal["SHA1", "SHA256"] = "SHA256"
) -> bool:
    """Tell whether a signature, which is in base64, of data was made with the private key.

    The scheme is PKCS #1 v1.5 for RSA keys and ECDSA for elliptic curve keys; False for all others.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    algorithm = getattr(hashes, digest)()
    try:
        received = base64.b64decode(signature, validate=True)
        if isinstance(public_key, RSAPublicKey):
            public_key.verify(received, data, PKCS1v15(), algorithm)
        elif isinstance(public_key, EllipticCurvePublicKey):
            public_key.verify(received, data, ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):  # ValueError: not base64
        return False
    return True
