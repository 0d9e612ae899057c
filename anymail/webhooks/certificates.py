"""X.509 certificates that webhook calls refer to by their URLs.

This takes the cryptography package, which is imported only when it is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from .._docs import docs_of_setting
from ..exceptions import (
    AnymailConfigurationError,
    AnymailRequestsAPIError,
    AnymailWebhookValidationFailure,
)
from .downloads import fetch_small

MAX_CERTIFICATES = 20
"""How many are kept. Those in use at a time are about one for each region."""
MAX_CERTIFICATE_BYTES = 64 * 1024


class CertificateCache:
    """Fetches certificates, and keeps those that were used last."""

    def __init__(self, max_size: int = MAX_CERTIFICATES) -> None:
        self.max_size = max_size
        self._certificates: OrderedDict[str, Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._certificates)

    def __contains__(self, url: str) -> bool:
        return url in self._certificates

    def get(self, url: str, esp_name: str) -> Any:
        """Return the certificate at a URL, which must have been checked.

        Raises AnymailWebhookValidationFailure if there is none, and AnymailRequestsAPIError if
        that can't be known.
        """
        with self._lock:
            if url in self._certificates:
                self._certificates.move_to_end(url)
                return self._certificates[url]
        certificate = _load_certificate(_fetch_certificate(url, esp_name), esp_name)
        self.put(url, certificate)
        return certificate

    def put(self, url: str, certificate: Any) -> None:
        """Keep a certificate, in place of the one that was not used for the longest time."""
        with self._lock:
            self._certificates[url] = certificate
            self._certificates.move_to_end(url)
            while len(self._certificates) > self.max_size:
                self._certificates.popitem(last=False)

    def clear(self) -> None:
        """Forget all certificates."""
        with self._lock:
            self._certificates.clear()


fetched_certificates = CertificateCache()
"""By URL. A renewed certificate has a URL of its own."""


def _fetch_certificate(url: str, esp_name: str) -> bytes:
    try:
        return fetch_small(url, esp_name, MAX_CERTIFICATE_BYTES)
    except AnymailRequestsAPIError as err:
        if not _is_temporary(err):
            raise AnymailWebhookValidationFailure(
                f"{esp_name} webhook call with an SNS SigningCertURL where there is nothing"
            ) from err
    return fetch_small(url, esp_name, MAX_CERTIFICATE_BYTES)


def _is_temporary(err: AnymailRequestsAPIError) -> bool:
    status = err.status_code
    return status is None or status == 429 or status >= 500


def _load_certificate(content: bytes, esp_name: str) -> Any:
    from cryptography import x509

    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError as err:
        raise AnymailWebhookValidationFailure(
            f"{esp_name} webhook call with an SNS SigningCertURL where there is no certificate"
        ) from err


def is_in_date(certificate: Any, now: datetime) -> bool:
    """Tell whether a certificate is valid at a time."""
    return bool(certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc)


def certificate_names(certificate: Any) -> list[str]:
    """Return the names that a certificate is for: the common name, and DNS names."""
    from cryptography import x509

    names = [
        str(attribute.value)
        for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    ]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return names
    return names + list(map(str, extension.value.get_values_for_type(x509.DNSName)))


class TrustChain:
    """The certificates that vouch for those of a provider, up to a root that is trusted."""

    def __init__(self, certificates: Iterable[Any], setting: str) -> None:
        self.certificates = list(certificates)
        self.setting = setting
        if not any(_is_issued_by(cert, cert) for cert in self.certificates):
            raise AnymailConfigurationError(
                f"{setting} has no root certificate, which is one that is signed by itself.",
                docs=docs_of_setting(setting),
            )

    @classmethod
    def load(cls, source: str | bytes | Path, setting: str) -> TrustChain:
        """Return the certificates in text in PEM form, or in the file at a path.

        ``setting`` names the source in errors. Raises AnymailConfigurationError if there are none,
        or no root among them.
        """
        from cryptography import x509

        content = source.encode() if isinstance(source, str) else source
        try:
            if not isinstance(content, bytes) or b"-----BEGIN" not in content:
                content = Path(source if isinstance(source, Path) else str(source)).read_bytes()
            found = x509.load_pem_x509_certificates(content)
        except (OSError, TypeError, ValueError) as err:
            raise AnymailConfigurationError(
                f"{setting} is neither certificates in PEM form nor the path of a file with some.",
                docs=docs_of_setting(setting),
            ) from err
        return cls(found, setting)

    def check(self, certificate: Any, now: datetime) -> None:
        """Raise AnymailWebhookValidationFailure if no root vouches for a certificate.

        Raises AnymailConfigurationError if what would vouch for it is not valid at the time.
        """
        for _ in self.certificates:
            issuers = [cert for cert in self.certificates if _is_issued_by(certificate, cert)]
            if not issuers:
                break
            valid = [issuer for issuer in issuers if is_in_date(issuer, now)]
            if not valid:
                raise AnymailConfigurationError(
                    f"The certificate of {issuers[0].subject.rfc4514_string()!r} in {self.setting} "
                    f"is valid from {issuers[0].not_valid_before_utc} to "
                    f"{issuers[0].not_valid_after_utc}. Get a new one.",
                    docs=docs_of_setting(self.setting),
                )
            certificate = valid[0]
            if _is_issued_by(certificate, certificate):
                return
        raise AnymailWebhookValidationFailure(
            f"Webhook call with a certificate that nothing in {self.setting} vouches for"
        )


def _is_issued_by(certificate: Any, issuer: Any) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, UnsupportedAlgorithm, ValueError):
        return False
    return True
