"""Encoders for internationalized domain names: the values of the IDNA_ENCODER setting.

Each takes a domain and returns its encoded form, both str, and raises ValueError (which
UnicodeError, idna's and uts46's errors are) for a domain that its rules refuse.
"""

from __future__ import annotations

__all__ = ["idna2003", "idna2008", "none", "uts46"]


def idna2008(domain: str) -> str:
    """Encode as RFC 5891 says, after UTS #46 mapping, such as lower-casing.

    https://pypi.org/project/idna/
    """
    import idna

    return idna.encode(domain, uts46=True).decode("ascii")


def idna2003(domain: str) -> str:
    """Encode as RFC 3490 says, with Python's own codec: what Django's SMTP backend does."""
    return domain.encode("idna").decode("ascii")


def uts46(domain: str) -> str:
    """Encode as browsers do: UTS #46, non-transitional, symbols allowed.

    Raises AnymailImproperlyInstalled without the uts46 package.
    https://pypi.org/project/uts46/
    """
    try:
        import uts46 as uts46_package
    except ImportError as err:
        from .exceptions import AnymailImproperlyInstalled

        raise AnymailImproperlyInstalled(
            missing_package="uts46",
            install_extra="<your-esp>,uts46",
            feature='IDNA_ENCODER="uts46"',
        ) from err
    encoded: bytes = uts46_package.encode(domain)
    return encoded.decode("ascii")


def none(domain: str) -> str:
    """Leave the domain as it is, for providers that encode it themselves."""
    return domain
