"""URLs of webhooks, and the user name and password in them."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ..masking import MASK


def with_credentials(url: str, secret: str) -> str:
    """Return a URL with a "user:password" in it, if that isn't empty."""
    if not secret:
        return url
    parts = urlsplit(url)
    user, _, password = secret.partition(":")
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"
    return urlunsplit(parts._replace(netloc=netloc))


def without_credentials(url: str) -> str:
    """Return a URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def credentials_in(url: str) -> str:
    """Return the "user:password" in a URL; empty if there is none."""
    user_info, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return ""
    user, _, password = user_info.partition(":")
    return f"{unquote(user)}:{unquote(password)}"


def masked(url: str) -> str:
    """Return a URL without its password."""
    credentials = credentials_in(url)
    if not credentials:
        return url
    scheme, _, rest = without_credentials(url).partition("://")
    return f"{scheme}://{quote(credentials.partition(':')[0], safe='')}:{MASK}@{rest}"
